//! `retentiond audit find`: every entry about one record.

use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::audit::{Entry, Pseudonyms, Reader};
use crate::cli::{Common, DONE, print_line};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::report;

#[derive(Args)]
pub(crate) struct Options {
    /// The record, such as housing/applicants:1234
    #[arg(value_name = "STORE/DATASET:KEY")]
    address: String,
}

pub(crate) fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config: std::sync::Arc<Config> = common.load()?;
    let (address, _) = config.find(&options.address)?;
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

/// The indices of the entries in the log `log` that name the record with this address; one that the log does not know is a usage error.
pub(super) fn indices_about(common: &Common, log: &Path, address: &str) -> Result<Vec<u64>> {
    let config = common.load()?;
    let (address, _) = config.find(address)?;
    let pseudonyms = Pseudonyms::open(&config.state.join("keys"))?;
    let entries = entries_about(log, &pseudonyms.all_for(&address.store, &address.dataset, address.key.as_bytes()))?;
    if entries.is_empty() {
        return Err(Error::new(Kind::Usage, format!("{address}: the log says nothing about this record")));
    }
    Ok(entries.iter().map(|entry| entry.n).collect())
}

/// Every entry that names one of these pseudonyms. An absent log has none.
pub(crate) fn entries_about(log: &Path, names: &[String]) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    if !log.is_dir() {
        return Ok(found);
    }
    let reader = Reader::open(log)?;
    super::warn_of_absent(&reader);
    for item in reader.entries() {
        let (_, bytes) = item?;
        // Most entries are about others: the text is searched before it is parsed.
        let text = String::from_utf8_lossy(&bytes);
        if names.iter().any(|name| text.contains(&json!(name).to_string())) {
            found.push(Entry::parse(&bytes)?);
        }
    }
    Ok(found)
}
