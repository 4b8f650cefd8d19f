//! `retentiond audit list`: entries of the log, oldest first.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use crate::audit::{Entry, Kind as EntryKind, Reader};
use crate::cli::{Common, DONE, print, print_line};
use crate::error::{Error, Kind, Result, escape};
use crate::report;

#[derive(Args)]
pub(crate) struct Options {
    /// Only entries of this kind, such as destroyed, kept, refused, run-finished; may be repeated
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only entries about this record class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only entries about this store or dataset
    #[arg(long, value_name = "STORE[/DATASET]")]
    store: Option<String>,
    /// Only entries of this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only entries from this day or instant on (UTC)
    #[arg(long, value_name = "DATE|TIME", value_parser = parse_from)]
    since: Option<Timestamp>,
    /// Only entries before this day or instant (UTC)
    #[arg(long, value_name = "DATE|TIME", value_parser = parse_from)]
    until: Option<Timestamp>,
    /// Only the last entries that match [default: all]
    #[arg(long, value_name = "NUMBER")]
    last: Option<usize>,
    /// The log's folder [default: audit in the configured state folder]
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

pub(crate) fn execute(common: &Common, options: &Options) -> Result<u8> {
    let kinds = options.kind.iter().map(|word| parse_kind(word)).collect::<Result<Vec<_>>>()?;
    let log = match &options.log {
        Some(folder) => folder.clone(),
        None => common.load()?.state.join("audit"),
    };
    let matches = |entry: &Entry| {
        let text = |name: &str| entry.str(name).unwrap_or_default();
        let at = || entry.at.parse::<Timestamp>().ok();
        let place = || format!("{}/{}", text("store"), text("dataset"));
        (kinds.is_empty() || kinds.contains(&entry.kind))
            && options.class.as_deref().is_none_or(|class| text("class") == class)
            && options.store.as_deref().is_none_or(|wanted| text("store") == wanted || place() == wanted)
            && options.run.as_deref().is_none_or(|run| text("run") == run)
            && options.since.is_none_or(|since| at().is_some_and(|at| at >= since))
            && options.until.is_none_or(|until| at().is_some_and(|at| at < until))
    };
    if !common.json {
        print_line(&report::entry_heading())?;
    }
    // With --last only so many lines are held; without, entries are printed as they are read.
    let mut last: std::collections::VecDeque<Vec<u8>> = std::collections::VecDeque::new();
    let reader = Reader::open(&log)?;
    super::warn_of_absent(&reader);
    for item in reader.entries() {
        let (_, bytes) = item?;
        let entry = Entry::parse(&bytes)?;
        if !matches(&entry) {
            continue;
        }
        if let Some(most) = options.last {
            last.push_back(bytes);
            if last.len() > most {
                last.pop_front();
            }
        } else {
            print_entry(common, &bytes, &entry)?;
        }
    }
    for bytes in last {
        print_entry(common, &bytes, &Entry::parse(&bytes)?)?;
    }
    Ok(DONE)
}

fn parse_kind(word: &str) -> Result<EntryKind> {
    word.parse().map_err(|_| {
        let hint = crate::yaml::suggest(word, EntryKind::ALL.iter().map(|kind| kind.as_str()));
        Error::new(Kind::Usage, format!("no entry is of kind \"{}\"{hint}", escape(word.as_bytes())))
    })
}

fn print_entry(common: &Common, bytes: &[u8], entry: &Entry) -> Result<()> {
    // The stored bytes themselves: what a leaf is hashed from.
    if common.json { print(&format!("{}\n", String::from_utf8_lossy(bytes))) } else { print_line(&report::entry(entry)) }
}

fn parse_from(text: &str) -> std::result::Result<Timestamp, String> {
    if let Ok(day) = text.parse::<jiff::civil::Date>()
        && let Ok(start) = day.to_zoned(jiff::tz::TimeZone::UTC)
    {
        return Ok(start.timestamp());
    }
    text.parse().map_err(|_| {
        format!("expected a day such as 2026-11-01 or an instant such as 2026-11-01T08:00:00Z, found \"{}\"", escape(text.as_bytes()))
    })
}
