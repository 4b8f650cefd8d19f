//! `retentiond audit begin-anew`: a log that cannot be opened is followed by one that names it.

use clap::Args;
use serde_json::json;

use crate::anew::carried;
use crate::audit::Anew;
use crate::cli::{Common, DONE, confirm, print_line};
use crate::control::peer;
use crate::error::Result;
use crate::register::Register;

#[derive(Args)]
pub(crate) struct Options {
    /// Why, for the first entry of the new log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Go on although the old log cannot be read to its end: holds, what people decided, and interrupted runs that stand behind the damage are lost
    #[arg(long)]
    accept_loss: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config = common.load()?;
    let anew = Anew::prepare(&config.log_settings()).await?;
    let drafts = carried(&config.state.join("audit"), options.accept_loss)?;
    let count = drafts.len();
    let act = format!("setting aside the log of {} signed entries and beginning another", anew.previous().size);
    confirm(options.yes, &act, &config.node)?;
    // It reflects the old log, and is built again from the new one, which has what must not be lost.
    Register::remove(&config.state)?;
    let previous = anew.begin(&options.reason, &peer::myself(), drafts).await?;
    if common.json {
        print_line(&json!({"previous": previous, "carried": count}).to_string())?;
        return Ok(DONE);
    }
    print_line(&format!(
        "a new log has begun; its first entry names the one before\n  \
         the old log is kept in {}, signed up to entry {}, with {} entries behind that\n  \
         {count} entries were carried over: holds in force, what people keep longer or destroyed, and runs that were interrupted\n  \
         give auditors and witnesses the new line in keys/log.vkey; flags are set again by the next run",
        previous.kept_as, previous.size, previous.behind
    ))?;
    Ok(DONE)
}
