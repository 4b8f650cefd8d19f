//! `retentiond audit rotate-key`: another key signs the log from now on.

use clap::Args;
use serde_json::json;

use crate::audit::AuditLog;
use crate::cli::{Common, DONE, print_line};
use crate::control::peer;
use crate::dispose::BY;
use crate::error::Result;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Options {
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config = common.load()?;
    let settings = config.log_settings();
    let session = Session::open(config.clone(), false).await?;
    let old = session.log.verifier().to_string();
    session.log.rotate_key(&settings, &json!({"person": peer::myself(), "reason": options.reason, "by": BY})).await?;
    session.close().await?;
    // The start finishes what the entry announced.
    let log = AuditLog::open_with(&settings)?.log;
    let new = log.verifier().to_string();
    log.close().await?;
    if common.json {
        print_line(&json!({"old": old, "new": new}).to_string())?;
        return Ok(DONE);
    }
    print_line(&format!(
        "the log is signed with another key from now on\n  before: {old}\n  now:    {new}\n  either verifies the whole log; give auditors the new line, in keys/log.vkey"
    ))?;
    if settings.credential.is_some_and(|path| path.exists()) {
        print_line(
            "  the new key is in keys/log.key; encrypt it as the service's credential in place of the old one, then remove that file",
        )?;
    }
    Ok(DONE)
}
