//! `retentiond audit prove`: the evidence for single entries, to be handed to somebody who has not the log.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Place, find};
use crate::audit::{EntryProof, Reader, Verifier};
use crate::cli::{Common, DONE, print, print_line};
use crate::error::{Error, Kind, Result, escape};

#[derive(Args)]
pub(crate) struct Options {
    /// The index of an entry, or a record, such as housing/applicants:1234, for every entry that names it
    #[arg(value_name = "INDEX|STORE/DATASET:KEY")]
    what: String,
    /// Write each entry to DIR/INDEX.json and its proof to DIR/INDEX.tlog-proof [default: both to standard output]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn execute(common: &Common, options: &Options) -> Result<u8> {
    let (log, key) = options.place.find(common)?;
    let verifier = Verifier::parse(&key)?;
    let indices = match options.what.parse::<u64>() {
        Ok(index) => vec![index],
        Err(_) => find::indices_about(common, &log, &options.what)?,
    };
    let reader = Reader::open(&log)?;
    for index in indices {
        let missing = || Error::new(Kind::Usage, format!("the log has no entry {index}"));
        let entry = reader.get(index)?.ok_or_else(missing)?;
        let proof = EntryProof::of(&log, index, &verifier)?;
        // What does not hold is never handed out.
        proof.check(&entry, &verifier).map_err(|error| error.context(format_args!("entry {index}")))?;
        let text = String::from_utf8_lossy(&entry);
        if let Some(folder) = &options.out {
            let paths = [("json", entry.as_slice()), ("tlog-proof", proof.to_string().as_bytes())].map(|(end, bytes)| {
                let path = folder.join(format!("{index}.{end}"));
                write(&path, bytes).map(|()| path)
            });
            let [entry, proof] = paths;
            let (entry, proof) = (entry?, proof?);
            if common.json {
                print_line(&json!({"index": index, "entry_file": entry, "proof_file": proof}).to_string())?;
            } else {
                print_line(&format!("entry {index}: {}, {}", shown(&entry), shown(&proof)))?;
            }
        } else if common.json {
            print_line(&json!({"index": index, "entry": text, "proof": proof.to_string()}).to_string())?;
        } else {
            print(&format!("{text}\n{proof}"))?;
        }
    }
    Ok(DONE)
}

/// Writes a file that is not there yet, or has this very content.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |error| Error::with_source(Kind::Io, format!("{}: cannot be written", shown(path)), error);
    if std::fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
