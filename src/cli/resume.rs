//! `retentiond resume`

use clap::Args;

use super::{Common, DONE};
use crate::control::{Client, Request, peer};
use crate::error::Result;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Options {
    /// Only this store [default: every pause]
    #[arg(value_name = "STORE")]
    store: Option<String>,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    if let Some(service) = Client::of(&common.config)? {
        return service.ask(&Request::Resume { store: options.store.clone(), on_behalf_of: peer::behind_sudo() }, |_| Ok(()));
    }
    let session = Session::open(common.load()?, false).await?;
    let done = session.resume(options.store.as_deref(), &peer::myself()).await;
    session.close().await?;
    done.map(|()| DONE)
}
