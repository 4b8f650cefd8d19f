//! `retentiond audit replay`: every decision in the log derived again from the log alone.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Place;
use crate::audit::verify_with;
use crate::cli::progress::Counted;
use crate::cli::{Common, DONE, FINDINGS, print_line};
use crate::error::{Error, Kind, Result};
use crate::replay::replay;
use crate::report;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Also replay the archived entries, all of which must be in this folder
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

pub(crate) fn execute(common: &Common, options: &Options) -> Result<u8> {
    let (log, key) = options.place.find(common)?;
    // What follows from entries that are not the log's is worth nothing.
    let shown = Counted::show("verified");
    let archive = options.archive.as_deref();
    let verified = verify_with(&log, &key, archive, &|done, total| shown.set(done, total))?;
    drop(shown);
    let entries = verified.size + verified.unpublished;
    let shown = Counted::show("replayed");
    let mut first = None;
    let replayed = replay(&log, archive, entries, &|done| shown.set(done, entries), &mut |mismatch| {
        first.get_or_insert(mismatch.entry);
        if common.json { print_line(&json!({"mismatch": mismatch}).to_string()) } else { print_line(&report::mismatch(&mismatch)) }
    })?;
    drop(shown);
    if common.json {
        print_line(&json!({"replayed": replayed, "origin": verified.origin, "size": verified.size, "root": verified.root}).to_string())?;
    } else {
        print_line(&report::replayed(&log, &replayed))?;
    }
    match first {
        Some(first) => {
            let message = format!("{} decisions do not follow from the log, the first in entry {first}", replayed.mismatches);
            Err(Error::new(Kind::NotIntact, message))
        }
        None => Ok(if replayed.unjudged > 0 { FINDINGS } else { DONE }),
    }
}
