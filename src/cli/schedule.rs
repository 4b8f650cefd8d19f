//! `retentiond schedule`

use clap::Subcommand;

use super::{Common, DONE};
use crate::control::{Client, Request, peer};
use crate::error::Result;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Confirm an edit: what became due only through it waits no longer
    Confirm {
        /// The edit's id, as `plan` and `status` show it
        #[arg(value_name = "EDIT")]
        edit: String,
    },
}

pub(crate) async fn execute(common: &Common, verb: &Verb) -> Result<u8> {
    let Verb::Confirm { edit } = verb;
    let config = common.load()?;
    if let Some(service) = Client::connect(&config)? {
        let request = Request::Confirm { edit: edit.clone(), on_behalf_of: peer::behind_sudo() };
        return service.ask(&request, |_| Ok(()));
    }
    let session = Session::open(config, false).await?;
    let done = session.confirm(edit, &peer::myself()).await;
    session.close().await?;
    done.map(|()| DONE)
}
