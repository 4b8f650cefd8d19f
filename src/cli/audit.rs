//! `retentiond audit`: read, search and verify the log. None of it needs the lock, a store or the register.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::{Common, DONE, explain::find_dataset, print, print_line};
use crate::audit::{Entry, Kind as EntryKind, Pseudonyms, Reader, verify};
use crate::config::Config;
use crate::error::{Error, Kind, Result, escape};
use crate::report;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Print entries of the log, oldest first
    List(List),
    /// Print every entry about one record
    Find(Find),
    /// Verify the log, offline, with nothing but its folder and the public key
    Verify(Verify),
}

#[derive(Args)]
pub(crate) struct List {
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

#[derive(Args)]
pub(crate) struct Find {
    /// The record, such as housing/applicants:1234
    #[arg(value_name = "STORE/DATASET:KEY")]
    address: String,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The log's folder, which may be a copy [default: audit in the configured state folder]
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// The public key, or a file that holds it [default: keys/log.vkey in the configured state folder]
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
}

pub(crate) fn execute(common: &Common, verb: Verb) -> Result<u8> {
    match verb {
        Verb::List(list) => execute_list(common, &list),
        Verb::Find(find) => execute_find(common, &find),
        Verb::Verify(options) => execute_verify(common, &options),
    }
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

fn log_folder(common: &Common, named: Option<&PathBuf>) -> Result<PathBuf> {
    match named {
        Some(folder) => Ok(folder.clone()),
        None => Ok(common.load()?.state.join("audit")),
    }
}

fn execute_list(common: &Common, options: &List) -> Result<u8> {
    let kinds = options.kind.iter().map(|word| parse_kind(word)).collect::<Result<Vec<_>>>()?;
    let log = log_folder(common, options.log.as_ref())?;
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
    for item in Reader::open(&log)?.entries() {
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

fn execute_find(common: &Common, options: &Find) -> Result<u8> {
    let config: std::sync::Arc<Config> = common.load()?;
    let (address, _) = find_dataset(&config, &options.address)?;
    let pseudonyms = Pseudonyms::open(&config.state.join("keys"))?;
    let names = pseudonyms.all_for(&address.store, &address.dataset, address.key.as_bytes());
    let entries = entries_about(&config.state.join("audit"), &names)?;
    if common.json {
        print_line(&json!({"address": address.to_string(), "names": names, "entries": entries}).to_string())?;
        return Ok(DONE);
    }
    if entries.is_empty() {
        print_line(&format!("{address}: the log says nothing about this record"))?;
        return Ok(DONE);
    }
    print_line(&report::entry_heading())?;
    for entry in &entries {
        print_line(&report::entry(entry))?;
    }
    Ok(DONE)
}

/// Every entry that names one of these pseudonyms. An absent log has none.
pub(super) fn entries_about(log: &Path, names: &[String]) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    if !log.is_dir() {
        return Ok(found);
    }
    for item in Reader::open(log)?.entries() {
        let (_, bytes) = item?;
        // Most entries are about others: the text is searched before it is parsed.
        let text = String::from_utf8_lossy(&bytes);
        if names.iter().any(|name| text.contains(&json!(name).to_string())) {
            found.push(Entry::parse(&bytes)?);
        }
    }
    Ok(found)
}

fn execute_verify(common: &Common, options: &Verify) -> Result<u8> {
    let config = if options.log.is_some() && options.key.is_some() { None } else { Some(common.load()?) };
    let state = |part: &str| config.as_ref().map(|config| config.state.join(part)).unwrap_or_default();
    let log = options.log.clone().unwrap_or_else(|| state("audit"));
    let key = match &options.key {
        Some(key) if !Path::new(key).exists() => key.clone(),
        Some(file) => read_key(Path::new(file))?,
        None => read_key(&state("keys").join("log.vkey"))?,
    };
    let verified = verify(&log, key.trim(), &|_, _| {})?;
    if common.json {
        print_line(&report::verified_json(&verified).to_string())?;
    } else {
        print_line(&report::verified(&log, &verified))?;
    }
    Ok(if verified.open_intents > 0 { super::FINDINGS } else { DONE })
}

fn read_key(file: &Path) -> Result<String> {
    let shown = escape(file.as_os_str().as_encoded_bytes());
    std::fs::read_to_string(file).map_err(|error| Error::with_source(Kind::Usage, format!("{shown}: expected the log's public key"), error))
}
