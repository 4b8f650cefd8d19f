//! Appends entries like those of an enforcing run to an audit log, as fast as the log takes them, and says how fast that was.
//!
//!     append STATE ENTRIES BATCH
//!
//! `STATE` is a state folder, made if it is not there. Each batch is one commit: durable when it returns, and the next begins only then. The
//! clock stops when everything is published under a signed checkpoint. Prints a line of JSON: entries, bytes of them, seconds.

use std::path::Path;
use std::time::Instant;

use retentiond::audit::{AuditLog, Draft, Kind, Reader, Stem};
use retentiond::error::{Error, Kind as ErrorKind, Result};
use serde::Serialize;
use serde_json::json;

/// Records in an intent, as in a run.
const RECORDS: usize = 512;

fn main() -> Result<()> {
    let usage = || Error::new(ErrorKind::Usage, "usage: append STATE ENTRIES BATCH");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [state, entries, batch] = arguments.as_slice() else { return Err(usage()) };
    let (entries, batch): (usize, usize) = (entries.parse().map_err(|_| usage())?, batch.parse().map_err(|_| usage())?);
    let log = AuditLog::open(Path::new(state), "bench")?.log;
    let mut story = Story::default();
    let start = Instant::now();
    let mut done = 0;
    while done < entries {
        let count = batch.max(1).min(entries - done);
        let drafts = (0..count).map(|_| story.next()).collect::<Result<Vec<_>>>()?;
        log.commit_blocking(drafts)?;
        done += count;
    }
    tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|e| Error::with_source(ErrorKind::Io, "no runtime", e))?
        .block_on(log.close())?;
    let seconds = start.elapsed().as_secs_f64();
    let sample: Vec<u64> = Reader::open(&Path::new(state).join("audit"))?
        .entries()
        .take(20_000)
        .map(|entry| entry.map(|(_, bytes)| bytes.len() as u64))
        .collect::<Result<_>>()?;
    let mean = sample.iter().sum::<u64>() / (sample.len() as u64).max(1);
    println!("{}", json!({"entries": entries, "mean_bytes": mean, "seconds": seconds}));
    Ok(())
}

/// An intent, the outcomes of its records, the next intent. The form of an outcome is that of a run, and is made once, so that the log is
/// measured and not the making of JSON.
#[derive(Default)]
struct Story {
    intents: usize,
    names: Vec<String>,
    told: usize,
    stem: Stem,
}

/// What differs from outcome to outcome; the fields that do not are in the stem.
#[derive(Serialize)]
struct Outcome<'a> {
    record: &'a str,
    size: usize,
}

impl Story {
    fn next(&mut self) -> Result<Draft> {
        if self.told == self.names.len() {
            let first = self.intents * RECORDS;
            self.names = (first..first + RECORDS).map(|n| format!("2026:{:043x}", n as u128 * 0x9e37_79b9_7f4a_7c15)).collect();
            self.told = 0;
            self.intents += 1;
            let run = format!("20261122T010203Z-{:012x}", self.intents / 1000);
            self.stem = Stem::new(&json!({
                "run": run, "store": "cctv", "dataset": "footage", "by": "retentiond 0.1.0", "holds_checked": true, "class": "cctv.footage",
                "schedule": "fbc630bc78155e4d798cd1a83b92601e1c12d22c9b8cf88f710198d2576934d4", "event": "recorded", "event_date": "2026-10-16",
                "due": "2026-11-08", "method": "unlink", "grade": "unlinked", "verified": true,
                "caveats": ["backups-not-reached", "name-in-journal"], "parts": 0,
            }))?;
            let body = json!({"run": run, "store": "cctv", "dataset": "footage", "act": "destroy", "records": self.names});
            return Draft::new(Kind::Intent, &body);
        }
        let outcome = Outcome { record: &self.names[self.told], size: 31_415_926 + self.told };
        self.told += 1;
        Draft::on(&self.stem, Kind::Destroyed, &outcome)
    }
}
