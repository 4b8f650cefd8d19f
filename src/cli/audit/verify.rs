//! `retentiond audit verify`: the log, checked offline with nothing but its folder and a public key; and held to its anchors and its archive.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Place;
use crate::audit::anchor::check::{Anchored, check_all};
use crate::audit::{Chain, Verifier, verify_with};
use crate::cli::progress::Counted;
use crate::cli::{Common, DONE, FINDINGS, print_line};
use crate::error::{Result, escape};
use crate::report;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Also prove that every checkpoint in this folder of an anchor is a prefix of the log; may be repeated
    #[arg(long, value_name = "DIR")]
    anchors: Vec<PathBuf>,
    /// Also verify the archived entries, all of which must be in this folder
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

pub(crate) fn execute(common: &Common, options: &Options) -> Result<u8> {
    let (log, key) = options.place.find(common)?;
    let shown = Counted::show("verified");
    let verified = verify_with(&log, &key, options.archive.as_deref(), &|done, total| shown.set(done, total))?;
    drop(shown);
    let mut anchored: Vec<(String, Anchored)> = Vec::new();
    if !options.anchors.is_empty() {
        let chain = Chain::open(&log, &Verifier::parse(&key)?)?;
        for folder in &options.anchors {
            anchored.push((escape(folder.as_os_str().as_encoded_bytes()), check_all(&log, &chain, folder)?));
        }
    }
    // Whoever names an anchor expects it to show something.
    let empty = anchored.iter().any(|(_, found)| found.checkpoints == 0);
    if common.json {
        let mut row = report::verified_json(&verified);
        if !anchored.is_empty() {
            row["anchors"] = anchored.iter().map(|(folder, found)| json!({"folder": folder, "found": found})).collect();
        }
        print_line(&row.to_string())?;
    } else {
        print_line(&report::verified(&log, &verified))?;
        for (folder, Anchored { checkpoints, newest, foreign }) in &anchored {
            let newest = newest.map_or(String::new(), |size| format!(", up to {size} entries"));
            let foreign =
                if *foreign > 0 { format!("; {foreign} others are torn or signed with no key of this log") } else { String::new() };
            print_line(&format!("  anchored in {folder}: {checkpoints} checkpoints, each a prefix of the log{newest}{foreign}"))?;
        }
    }
    Ok(if verified.open_intents > 0 || empty { FINDINGS } else { DONE })
}
