//! `retentiond reload`

use super::Common;
use crate::control::{Client, Request};
use crate::error::{Error, Kind, Result};

/// Answers when the service has loaded its files or refused them; a refusal is said here too, and what was in force stays in force.
pub(crate) fn execute(common: &Common) -> Result<u8> {
    let Some(service) = Client::of(&common.config)? else {
        return Err(Error::new(Kind::Refused, "expected a running service, found none; without one every verb reads the files anew"));
    };
    service.ask(&Request::Reload {}, |_| Ok(()))
}
