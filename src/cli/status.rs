//! `retentiond status`: asks the running service; without one it reads what the register knows, under no lock.

use super::{Common, DONE, FINDINGS, print, print_line};
use crate::control::{Client, Reply, Request, Status};
use crate::daemon;
use crate::error::{Error, Kind, Result};
use crate::report;

pub(crate) async fn execute(common: &Common) -> Result<u8> {
    let Some(service) = Client::of(&common.config)? else {
        let config = common.load()?;
        let status = daemon::status_without(&config).await?;
        show(common, &status)?;
        return Ok(if status.needs_attention() { FINDINGS } else { DONE });
    };
    service.ask(&Request::Status {}, |reply| match reply {
        Reply::Status(status) => show(common, &status),
        _ => Ok(()),
    })
}

fn show(common: &Common, status: &Status) -> Result<()> {
    if !common.json {
        return print(&report::status(status));
    }
    let json = serde_json::to_string(status).map_err(|error| Error::with_source(Kind::Io, "the status cannot be written", error))?;
    print_line(&json)
}
