//! The log, read by the format alone: nothing of the program's own reader is used.
//!
//! ```text
//! checkpoint             second line: entries that are published
//! tile/entries/N[.p/W]   for each entry: length u16 big-endian, bytes
//! journal/<first>        frames: magic 8, first index u64, count u32, length u32 (little-endian), hash 32, then for each entry: length of its own bytes u32,
//!                        cut u16, shared u16, from u32, own bytes; the entry is the own ones up to `cut`, `shared` ones of the frame from `from` on,
//!                        and the rest of its own
//! ```

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// What the log says of one record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    pub intents: u32,
    pub outcomes: u32,
    /// Outcomes by which it is gone.
    pub gone: u32,
}

pub struct Ledger {
    said: HashMap<(String, String), Said>,
    /// Entries that are in the journal only.
    pub unpublished: u64,
}

impl Ledger {
    /// Reads the log in a folder, in whatever state; one that is not there says nothing.
    pub fn read(folder: &Path) -> Self {
        let mut this = Self { said: HashMap::new(), unpublished: 0 };
        let note = fs::read_to_string(folder.join("checkpoint")).unwrap_or_default();
        let published: u64 = note.lines().nth(1).map_or(0, |size| size.parse().unwrap());
        let mut next = 0;
        while next < published {
            let (full, width) = (next / 256, (published - next).min(256));
            assert!(full < 1000, "the sweep's logs are small");
            let whole = folder.join(format!("tile/entries/{full:03}"));
            let bundle = fs::read(&whole).or_else(|_| fs::read(folder.join(format!("tile/entries/{full:03}.p/{width}")))).unwrap();
            let mut rest = bundle.as_slice();
            for _ in 0..width {
                let (entry, behind) = rest[2..].split_at(usize::from(u16::from_be_bytes([rest[0], rest[1]])));
                this.take(entry, next);
                (rest, next) = (behind, next + 1);
            }
        }
        let mut segments: Vec<_> = fs::read_dir(folder.join("journal")).into_iter().flatten().map(|file| file.unwrap().path()).collect();
        segments.sort();
        for segment in segments {
            let bytes = fs::read(segment).unwrap();
            let mut rest = bytes.as_slice();
            while rest.len() >= 56 {
                let number = |at: usize, length: usize| (0..length).rev().fold(0, |sum, i| sum << 8 | u64::from(rest[at + i]));
                let (first, count, length) = (number(8, 8), number(16, 4), usize::try_from(number(20, 4)).unwrap());
                // A torn end is as if it were not there; its hash is for the program to check.
                if rest.len() < 56 + length || count == 0 {
                    break;
                }
                let frame = &rest[..56 + length];
                let short = |at: usize| usize::from(u16::from_le_bytes([frame[at], frame[at + 1]]));
                let long = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]) as usize;
                let mut at = 56;
                for n in first..first + count {
                    let (own, from) = (&frame[at + 12..at + 12 + long(at)], long(at + 8));
                    let (before, behind) = own.split_at(short(at + 4));
                    if n == next {
                        this.take(&[before, &frame[from..from + short(at + 6)], behind].concat(), n);
                        (next, this.unpublished) = (next + 1, this.unpublished + 1);
                    }
                    at += 12 + own.len();
                }
                rest = &rest[56 + length..];
            }
        }
        this
    }

    fn take(&mut self, entry: &[u8], n: u64) {
        let entry: Value = serde_json::from_slice(entry).unwrap();
        assert_eq!(entry["n"], n);
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let dataset = format!("{}/{}", text("store"), text("dataset"));
        match entry["kind"].as_str().unwrap() {
            "intent" => {
                for record in entry["records"].as_array().unwrap() {
                    self.said.entry((dataset.clone(), record.as_str().unwrap().to_owned())).or_default().intents += 1;
                }
            }
            kind @ ("destroyed" | "absent" | "kept" | "failed" | "recovered") => {
                let said = self.said.entry((dataset, text("record"))).or_default();
                said.outcomes += 1;
                assert!(said.outcomes <= said.intents, "entry {n}: an outcome without an intent");
                said.gone += u32::from(kind == "destroyed" || kind == "absent" || matches!(&*text("found"), "gone" | "remains"));
            }
            _ => {}
        }
    }

    pub fn of(&self, dataset: &str, record: &str) -> Said {
        self.said.get(&(dataset.to_owned(), record.to_owned())).copied().unwrap_or_default()
    }
}
