//! `retentiond pause`

use clap::Args;

use super::{Common, DONE};
use crate::control::{Client, Request, peer};
use crate::error::Result;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Options {
    /// Only this store [default: everything]
    #[arg(value_name = "STORE")]
    store: Option<String>,
    /// Why; it is written to the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    if let Some(service) = Client::of(&common.config)? {
        let (store, reason) = (options.store.clone(), options.reason.clone());
        return service.ask(&Request::Pause { store, reason, on_behalf_of: peer::behind_sudo() }, |_| Ok(()));
    }
    let session = Session::open(common.load()?, false).await?;
    let done = session.pause(options.store.as_deref(), &options.reason, &peer::myself()).await;
    session.close().await?;
    done.map(|()| DONE)
}
