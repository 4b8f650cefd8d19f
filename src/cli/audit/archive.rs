//! `retentiond audit archive`: old entries move to another folder.

use std::path::PathBuf;

use clap::Args;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use crate::audit::archive;
use crate::cli::{Common, DONE, print_line};
use crate::clock::Today;
use crate::config::Config;
use crate::control::peer;
use crate::dispose::BY;
use crate::error::{Error, Kind, Result, escape};
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Options {
    /// Only entries written before this day (UTC) [default: as the class in the configuration's `log:` says]
    #[arg(long, value_name = "DATE")]
    before: Option<Date>,
    /// The folder of the archive, which must exist [default: `archive:` in the configuration's `log:`]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config = common.load()?;
    let settings = config.log_settings();
    let before = before(&config, options.before)?;
    let missing = || Error::new(Kind::Usage, "no archive: name a folder with --to, or as `archive:` in the configuration's `log:`");
    let to = options.to.clone().or_else(|| config.log.archive.clone()).ok_or_else(missing)?;
    let to = std::path::absolute(&to).map_err(|error| Error::with_source(Kind::Usage, escape(to.as_os_str().as_encoded_bytes()), error))?;
    let session = Session::open(config.clone(), false).await?;
    let plan = archive::plan(&config.state.join("audit"), before)?;
    let rule = config.log.rule.as_ref();
    let body = json!({
        "before": before.to_string(), "class": rule.map(|rule| rule.class.id.as_str()), "schedule": rule.map(|rule| &*rule.schedule.sha256),
        "person": peer::myself(), "reason": options.reason, "by": BY,
    });
    let committed = session.log.archive(&settings, &plan, &to, &body).await;
    session.close().await?;
    let moved = if committed?.is_some() { plan.bundles.len() } else { 0 };
    if common.json {
        print_line(&json!({"bundles": moved, "end": plan.end, "from": plan.from, "to": to, "before": before.to_string()}).to_string())?;
    } else if moved == 0 {
        print_line("nothing to archive")?;
    } else {
        let shown = escape(to.as_os_str().as_encoded_bytes());
        print_line(&format!(
            "{moved} bundles of 256 entries, all before entry {}, moved to {shown}\n  verify them with: retentiond audit verify --archive {shown}",
            plan.end
        ))?;
    }
    Ok(DONE)
}

/// The instant before which entries may go: what the person says, but no later than the schedule allows.
fn before(config: &Config, day: Option<Date>) -> Result<Timestamp> {
    let start = |day: Date, zone: &TimeZone| {
        let midnight = zone.to_ambiguous_zoned(day.at(0, 0, 0, 0)).compatible();
        midnight.map(|zoned| zoned.timestamp()).map_err(|_| Error::new(Kind::Usage, format!("{day} cannot be reckoned with")))
    };
    let ruled = match &config.log.rule {
        None => None,
        Some(rule) => match rule.class.keep.cutoff(Today::now().date_in(&rule.schedule.zone)) {
            // The last day that is due goes as a whole.
            Some(last) => Some(start(last.saturating_add(1.day()), &rule.schedule.zone)?),
            None => Some(Timestamp::MIN),
        },
    };
    let asked = day.map(|day| start(day, &TimeZone::UTC)).transpose()?;
    match (asked, ruled) {
        (Some(asked), Some(ruled)) if asked > ruled => Err(Error::new(
            Kind::Refused,
            format!("the schedule keeps entries written since {ruled:.0} where they are; leave --before out, or name an earlier day"),
        )),
        (Some(asked), _) => Ok(asked),
        (None, Some(ruled)) => Ok(ruled),
        (None, None) => Err(Error::new(
            Kind::Usage,
            "which entries? name a day with --before, or a class of the schedule as `class:` in the configuration's `log:`",
        )),
    }
}
