//! `retentiond audit check-proof`: one entry checked with its proof and the public key, and nothing else.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{read_key, state_key};
use crate::audit::{Entry, EntryProof, Verifier};
use crate::cli::{Common, DONE, print_line};
use crate::error::{Error, Kind, Result, escape};
use crate::report;

/// More than any entry and its proof need; a file that is longer is another one.
const MOST: u64 = 1 << 20;

#[derive(Args)]
pub(crate) struct Options {
    /// The proof, or what `audit prove` prints: the entry, a line break and the proof; - reads standard input
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// The entry's exact bytes [default: PROOF with .json at its end, if PROOF does not hold the entry]
    #[arg(value_name = "ENTRY")]
    entry: Option<PathBuf>,
    /// The public key, or a file that holds it [default: keys/log.vkey in the configured state folder]
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
}

pub(crate) fn execute(common: &Common, options: &Options) -> Result<u8> {
    let key = match &options.key {
        Some(key) => read_key(key)?,
        None => state_key(common.load()?.as_ref())?,
    };
    let verifier = Verifier::parse(&key)?;
    let content = read(&options.proof)?;
    let joined = content.starts_with(b"{").then(|| content.iter().position(|byte| *byte == b'\n')).flatten();
    let (entry, proof) = match (&options.entry, joined) {
        (None, Some(end)) => (content[..end].to_vec(), &content[end + 1..]),
        (None, None) => (read(&options.proof.with_extension("json"))?, content.as_slice()),
        (Some(entry), _) => (read(entry)?, content.as_slice()),
    };
    let place = |error: Error| error.context(shown(&options.proof));
    let proof = EntryProof::parse(proof).map_err(place)?;
    let checkpoint = match proof.check(&entry, &verifier) {
        // An editor's line break at the end is the one thing that is easily added unawares, so it is worth its own words.
        Err(_) if entry.strip_suffix(b"\n").is_some_and(|entry| proof.check(entry, &verifier).is_ok()) => {
            let message = "the entry has a line break at its end that does not belong to it; remove it";
            return Err(place(Error::new(Kind::NotIntact, message)));
        }
        checked => checked.map_err(place)?,
    };
    if common.json {
        let entry: Value = serde_json::from_slice(&entry).unwrap_or_else(|_| json!(String::from_utf8_lossy(&entry)));
        let proven = json!({"proven": true, "index": proof.index, "origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root_base64(), "entry": entry});
        print_line(&proven.to_string())?;
        return Ok(DONE);
    }
    print_line(&format!(
        "proven: this is entry {} of the log {}, signed when it had {}",
        proof.index,
        checkpoint.origin,
        if checkpoint.size == 1 { "1 entry".to_owned() } else { format!("{} entries", checkpoint.size) }
    ))?;
    if let Ok(entry) = Entry::parse(&entry) {
        print_line(&report::entry_heading())?;
        print_line(&report::entry(&entry))?;
    }
    Ok(DONE)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let fail = |error| Error::with_source(Kind::Usage, format!("{}: cannot be read", shown(path)), error);
    let mut content = Vec::new();
    let mut source: Box<dyn std::io::Read> =
        if path.as_os_str() == "-" { Box::new(std::io::stdin()) } else { Box::new(std::fs::File::open(path).map_err(fail)?) };
    source.by_ref().take(MOST).read_to_end(&mut content).map_err(fail)?;
    Ok(content)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
