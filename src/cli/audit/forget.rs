//! `retentiond audit forget`: the names that the log gave to the records of a year come to name nobody.

use clap::Args;
use jiff::civil::Date;
use serde_json::json;

use crate::audit::{AuditLog, Pseudonyms};
use crate::cli::{Common, DONE, confirm, print_line, tell_line};
use crate::clock::Today;
use crate::config::Config;
use crate::control::peer;
use crate::dispose::BY;
use crate::error::{Error, Kind, Result};
use crate::review::{self, Batch, Standing};
use crate::schedule::Counting;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Options {
    /// The year
    #[arg(long, value_name = "YEAR")]
    epoch: i16,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config = common.load()?;
    let settings = config.log_settings();
    let year = options.epoch;
    evidence_is_over(&config, year)?;
    let keys = config.state.join("keys");
    if !Pseudonyms::open(&keys)?.years().any(|known| known == year) {
        return Err(Error::new(Kind::Refused, format!("the year {year} has no key: it was never used, or is forgotten already")));
    }
    let session = Session::open(config.clone(), false).await?;
    let needed = still_needed(&session, year).await?;
    if !needed.is_empty() {
        let message = format!("the names of {year} are still needed: {}; settle these first", needed.join(", "));
        return Err(Error::new(Kind::Refused, message));
    }
    let frozen = frozen_in(&config, year)?;
    if !frozen.is_empty() {
        let ids = frozen.iter().map(Batch::short).collect::<Vec<_>>().join(", ");
        tell_line(&format!(
            "review batches were frozen under the names of {year}: {ids}; without its key nobody can tell that they are what was shown, so they \
             may have to be reviewed again"
        ))?;
    }
    confirm(options.yes, &format!("destroying the key of {year}"), &year.to_string())?;
    session.log.forget_epoch(year, &json!({"person": peer::myself(), "reason": options.reason, "by": BY})).await?;
    session.close().await?;
    // The start finishes what the entry announced.
    AuditLog::open_with(&settings)?.log.close().await?;
    if common.json {
        let frozen: Vec<&str> = frozen.iter().map(|batch| batch.id.as_str()).collect();
        print_line(&json!({"epoch": year, "forgotten": true, "review-again": frozen}).to_string())?;
    } else {
        print_line(&format!(
            "the key of {year} is destroyed: entries of that year name nobody any more\n  \
             copies of STATE/keys in backups hold it until they are gone"
        ))?;
    }
    Ok(DONE)
}

/// The names of a year stay evidence until the configured period after its end.
fn evidence_is_over(config: &Config, year: i16) -> Result<()> {
    let today = Today::now().date_in(&jiff::tz::TimeZone::UTC);
    if year >= today.year() {
        return Err(Error::new(Kind::Refused, format!("{year} is not over: its names are in use")));
    }
    let end = Date::new(year, 12, 31).map_err(|_| Error::new(Kind::Usage, format!("{year} is no year")))?;
    match config.log.evidence.and_then(|period| period.due(end, Counting::After)) {
        Some(due) if today > due => Ok(()),
        due => {
            let until = due.map_or("for ever".to_owned(), |due| format!("until {due}"));
            let message =
                format!("the names of {year} are evidence {until}, by `evidence:` in the configuration's `log:` or its default of 7 years");
            Err(Error::new(Kind::Refused, message))
        }
    }
}

/// The review batches that are known by names of the year.
fn frozen_in(config: &Config, year: i16) -> Result<Vec<Batch>> {
    let (mut all, _) = Batch::all(&review::folder(config))?;
    all.retain(|batch| batch.asked().year == year);
    Ok(all)
}

/// What still rests on names of the year.
async fn still_needed(session: &Session, year: i16) -> Result<Vec<String>> {
    let mut needed = session.register.names_of(year).await?;
    let prefix = format!("{year:04}:");
    let projected = session.register.project(&session.config.state.join("audit")).await?;
    let open = projected.open.iter().filter(|open| open.records.iter().any(|record| record.starts_with(&prefix)));
    needed.extend(open.map(|open| format!("the interrupted run {}", open.run)));
    for batch in frozen_in(&session.config, year)? {
        if let Standing::Kept { until, .. } = session.reviews().look(&batch).await?.standing {
            needed.push(format!("the review batch {}, which a person keeps until {until}", batch.short()));
        }
    }
    Ok(needed)
}
