//! `retentiond register`

use clap::Subcommand;

use super::{Common, DONE, print_line};
use crate::error::Result;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Delete the register and build it again from the audit log
    Rebuild,
}

pub(crate) async fn execute(common: &Common, verb: &Verb) -> Result<u8> {
    let Verb::Rebuild = verb;
    let config = common.load()?;
    let session = Session::open(config.clone(), true).await?;
    session.register.rebuild(&config.state.join("audit")).await?;
    let entries = session.register.applied().await?;
    session.close().await?;
    print_line(&format!("the register was built again from {entries} entries of the audit log"))?;
    Ok(DONE)
}
