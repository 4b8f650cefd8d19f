//! The inventory of a dataset: which records there are, so that those that vanish too early are missed.
//!
//! This program knows what it destroyed. What others destroy it sees only by the gap, and only if it knew what was there: a dataset with
//! `inventory: on` is read whole by each run, and the names of its records are kept, with the last day on which each is to be kept. After the next
//! complete scan the two are compared. A record that is gone although that day has not passed is **lost**. One whose day has passed is not: whoever
//! removed it did what the schedule asks for. Nor is what this program destroyed itself since then, as the log says: a person may have allowed a plan in
//! which a record stands that a hold protected, or that could not be dated, on the day of the inventory.
//!
//! # The file
//!
//! `STATE/inventory/STORE.DATASET`: a line of JSON ([`Head`]), then for each record its name, 32 bytes, and the day, 4 bytes, in the order of the bytes;
//! then the SHA-256 of all that. A name is the record's pseudonym in the year of the inventory, so the file says no more than the log does. When the
//! year ends, a run names the records by both years: it compares by the old names and keeps the new ones.
//!
//! It is written under another name, synced and renamed, so that it is there whole or not at all. A crash before that leaves the one before; what was
//! lost is then told once more, never forgotten. A file that is damaged, or of another scope (`path`, `where`, `table`, `key`, the place), is
//! not compared with: a new inventory begins, and that is told.
//!
//! **Never**: a comparison with a scan that was not complete or saw another place; more memory than [`HELD`] records need, however many there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind, Result, escape};

/// Records that are sorted in memory at once: 9 MB.
const HELD: usize = 1 << 18;

/// Length of a record in the file.
const LENGTH: usize = 36;

/// Length of the hash at the end.
const HASH: u64 = 32;

/// A day that never passes: the period has not begun, or never ends, or a hold protects the record.
pub const NEVER: i32 = i32::MAX;

/// A name and a day, as they lie in the file; names come first, so the bytes are in their order.
type Line = [u8; LENGTH];

/// What an inventory is one of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What the configuration says of which records there are, hashed.
    pub scope: String,
    /// The place.
    pub place: String,
    /// The store's mark.
    pub mark: String,
    /// The year whose key names the records.
    pub year: i16,
    /// When the scan began that saw them, RFC 3339.
    pub at: String,
    /// An entry of the log that is not younger than that; `None`: not known.
    #[serde(default)]
    pub entry: Option<u64>,
    /// Which log that is; `None`: not known.
    #[serde(default)]
    pub log: Option<String>,
    /// How many there are.
    pub records: u64,
}

/// An inventory, open and known to be whole.
#[derive(Debug)]
pub struct Inventory {
    /// What it is one of.
    pub head: Head,
    reader: BufReader<File>,
}

/// A new inventory, written and not in its place yet.
#[derive(Debug)]
pub struct Prepared {
    file: tempfile::NamedTempFile,
    path: PathBuf,
    begin: u64,
    records: u64,
}

/// A day as a number, in the order of days.
pub fn day(date: Date) -> i32 {
    date.since(Date::constant(1970, 1, 1)).map_or(NEVER, |span| span.get_days())
}

fn line(name: &[u8; 32], day: i32) -> Line {
    let mut line = [0; LENGTH];
    line[..32].copy_from_slice(name);
    line[32..].copy_from_slice(&day.to_be_bytes());
    line
}

fn name_of(line: &Line) -> [u8; 32] {
    let mut name = [0; 32];
    name.copy_from_slice(&line[..32]);
    name
}

fn day_of(line: &Line) -> i32 {
    i32::from_be_bytes([line[32], line[33], line[34], line[35]])
}

/// Takes names in any order and gives them back in order, with the help of temporary files.
#[derive(Debug)]
pub struct Sorter {
    folder: PathBuf,
    held: Vec<Line>,
    parts: Vec<File>,
}

/// Names in order, each once.
pub struct Sorted {
    parts: Vec<BufReader<File>>,
    next: BinaryHeap<Reverse<(Line, usize)>>,
    last: Option<Line>,
}

impl Sorter {
    /// One that puts what does not fit into memory into files in `folder` that have no name.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), held: Vec::new(), parts: Vec::new() }
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it has taken nothing.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.parts.is_empty()
    }

    /// Takes a record.
    pub fn add(&mut self, name: &[u8; 32], day: i32) -> io::Result<()> {
        self.held.push(line(name, day));
        if self.held.len() == HELD { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.held.sort_unstable();
        let mut out = BufWriter::with_capacity(1 << 16, tempfile::tempfile_in(&self.folder)?);
        for line in self.held.drain(..) {
            out.write_all(&line)?;
        }
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        self.parts.push(file);
        Ok(())
    }

    /// Everything in order.
    pub fn finish(mut self) -> io::Result<Sorted> {
        self.spill()?;
        Sorted::of(self.parts)
    }
}

impl Sorted {
    fn of(parts: Vec<File>) -> io::Result<Self> {
        let parts = parts.into_iter().map(|file| BufReader::with_capacity(LENGTH * 512, file)).collect();
        let mut sorted = Self { parts, next: BinaryHeap::new(), last: None };
        for part in 0..sorted.parts.len() {
            sorted.pull(part)?;
        }
        Ok(sorted)
    }

    fn pull(&mut self, part: usize) -> io::Result<()> {
        let mut line = [0; LENGTH];
        match self.parts[part].read_exact(&mut line) {
            Ok(()) => self.next.push(Reverse((line, part))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next record. Of one that was listed twice only the last counts: the later day.
    fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let Some(Reverse((line, part))) = self.next.pop() else { return Ok(self.last.take()) };
            self.pull(part)?;
            match self.last.replace(line) {
                Some(before) if before[..32] != line[..32] => return Ok(Some(before)),
                _ => {}
            }
        }
    }
}

impl Inventory {
    /// The file of a dataset's inventory.
    pub fn path(state: &Path, store: &str, dataset: &str) -> PathBuf {
        state.join("inventory").join(format!("{store}.{dataset}"))
    }

    /// Opens an inventory; `None` when there is none, and an error in words when what is there is none that was written whole.
    pub fn open(path: &Path) -> std::result::Result<Option<Self>, String> {
        let fail = |error: io::Error| format!("{}: {error}", escape(path.as_os_str().as_encoded_bytes()));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let damaged = || format!("{}: is damaged", escape(path.as_os_str().as_encoded_bytes()));
        let length = file.metadata().map_err(fail)?.len();
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut hash = Sha256::new();
        let mut left = length.checked_sub(HASH).ok_or_else(damaged)?;
        let mut piece = vec![0; 1 << 16];
        while left > 0 {
            let most = left.min(piece.len() as u64) as usize;
            reader.read_exact(&mut piece[..most]).map_err(fail)?;
            hash.update(&piece[..most]);
            left -= most as u64;
        }
        let mut said = [0; HASH as usize];
        reader.read_exact(&mut said).map_err(fail)?;
        if said != *hash.finalize() {
            return Err(damaged());
        }
        reader.seek(SeekFrom::Start(0)).map_err(fail)?;
        let mut head = Vec::new();
        reader.by_ref().take(1 << 16).read_until(b'\n', &mut head).map_err(fail)?;
        let begin = head.len() as u64;
        let head: Head = serde_json::from_slice(&head).map_err(|_| damaged())?;
        if begin + head.records * LENGTH as u64 + HASH != length {
            return Err(damaged());
        }
        Ok(Some(Self { head, reader }))
    }

    /// Calls `lost` for each record of this inventory that is not among `now` and whose day has not passed on `today`; answers how many records are
    /// gone whose day has passed, and how many are new.
    pub fn compare(&mut self, now: &mut Sorted, today: i32, lost: &mut dyn FnMut([u8; 32]) -> io::Result<()>) -> io::Result<(u64, u64)> {
        let (mut gone, mut new) = (0, 0);
        let mut present = now.next()?;
        for _ in 0..self.head.records {
            let mut before = [0; LENGTH];
            self.reader.read_exact(&mut before)?;
            while present.is_some_and(|line| line[..32] < before[..32]) {
                new += 1;
                present = now.next()?;
            }
            if present.is_some_and(|line| line[..32] == before[..32]) {
                present = now.next()?;
            } else if day_of(&before) < today {
                gone += 1;
            } else {
                lost(name_of(&before))?;
            }
        }
        while present.is_some() {
            new += 1;
            present = now.next()?;
        }
        Ok((gone, new))
    }

    /// Writes an inventory beside the one in `path`, whole and synced; [`Prepared::keep`] puts it there.
    pub fn prepare(path: &Path, mut head: Head, mut records: Sorted) -> Result<Prepared> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut write = || {
            // How many there are stands in front and is known at the end.
            let mut body = BufWriter::with_capacity(1 << 16, tempfile::tempfile_in(folder)?);
            head.records = 0;
            while let Some(line) = records.next()? {
                body.write_all(&line)?;
                head.records += 1;
            }
            let mut body = body.into_inner().map_err(io::IntoInnerError::into_error)?;
            body.seek(SeekFrom::Start(0))?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            let mut hash = Sha256::new();
            let mut first = serde_json::to_vec(&head)?;
            first.push(b'\n');
            hash.update(&first);
            file.write_all(&first)?;
            let mut piece = vec![0; 1 << 16];
            loop {
                let read = body.read(&mut piece)?;
                if read == 0 {
                    break;
                }
                hash.update(&piece[..read]);
                file.write_all(&piece[..read])?;
            }
            file.write_all(&hash.finalize())?;
            file.as_file().sync_all()?;
            Ok(Prepared { file, path: path.to_owned(), begin: first.len() as u64, records: head.records })
        };
        write().map_err(unwritable(path))
    }
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> Error {
    let place = escape(path.as_os_str().as_encoded_bytes());
    move |error| Error::with_source(Kind::Io, format!("{place}: cannot be written"), error)
}

impl Prepared {
    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Its names in order.
    pub fn names(&self) -> io::Result<Sorted> {
        let mut file = self.file.reopen()?;
        file.seek(SeekFrom::Start(self.begin))?;
        // The hash at the end is shorter than a record and is taken for none.
        Sorted::of(vec![file])
    }

    /// Puts it in the place of the one before, durably.
    pub fn keep(self) -> Result<()> {
        let keep = || {
            self.file.persist(&self.path).map_err(|error| error.error)?;
            File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        let path = self.path.clone();
        keep().map_err(unwritable(&path))
    }
}

/// Of names in any order, those that are not among `present`.
pub fn missing(candidates: Sorter, mut present: Sorted, tell: &mut dyn FnMut([u8; 32]) -> io::Result<()>) -> io::Result<()> {
    let mut candidates = candidates.finish()?;
    let mut there = present.next()?;
    while let Some(line) = candidates.next()? {
        while there.is_some_and(|there| there[..32] < line[..32]) {
            there = present.next()?;
        }
        if there.is_none_or(|there| there[..32] != line[..32]) {
            tell(name_of(&line))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> [u8; 32] {
        Sha256::digest(n.to_le_bytes()).into()
    }

    fn sorter(folder: &Path, records: impl IntoIterator<Item = (u32, i32)>) -> Sorter {
        let mut sorter = Sorter::new(folder);
        records.into_iter().for_each(|(n, day)| sorter.add(&name(n), day).unwrap());
        sorter
    }

    fn head() -> Head {
        Head {
            scope: "s".into(),
            place: "p".into(),
            mark: "m".into(),
            year: 2026,
            at: "2026-11-22T00:00:00Z".into(),
            entry: None,
            log: None,
            records: 0,
        }
    }

    #[test]
    fn what_vanished_before_its_day_is_lost_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.d");
        // More than are held at once, some of them twice.
        let many = 2 * HELD as u32 + 10;
        let all = (0..many).chain(0..10).map(|n| (n, if n % 2 == 0 { NEVER } else { 100 }));
        let prepared = Inventory::prepare(&path, head(), sorter(folder.path(), all).finish().unwrap()).unwrap();
        assert_eq!(prepared.records(), u64::from(many));
        assert!(!path.exists());
        prepared.keep().unwrap();
        let mut inventory = Inventory::open(&path).unwrap().unwrap();
        assert_eq!(inventory.head.records, u64::from(many));
        let now = (0..many + 5).filter(|n| n % 1000 != 0 && n % 1000 != 1).map(|n| (n, 7));
        let mut lost = Vec::new();
        let mut now = sorter(folder.path(), now).finish().unwrap();
        let (gone, new) = inventory
            .compare(&mut now, 101, &mut |name| {
                lost.push(name);
                Ok(())
            })
            .unwrap();
        let mut expected: Vec<_> = (0..many).step_by(1000).map(name).collect();
        expected.sort_unstable();
        assert_eq!((lost, gone, new), (expected, u64::from((many - 2) / 1000 + 1), 5));
        let mut kept = Vec::new();
        let candidates = sorter(folder.path(), [(1, 0), (2, 0), (3, 0)]);
        missing(candidates, sorter(folder.path(), [(2, 9), (9, 9)]).finish().unwrap(), &mut |name| {
            kept.push(name);
            Ok(())
        })
        .unwrap();
        kept.sort_unstable();
        let mut expected = vec![name(1), name(3)];
        expected.sort_unstable();
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_damaged_inventory_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.d");
        assert!(Inventory::open(&path).unwrap().is_none());
        Inventory::prepare(&path, head(), sorter(folder.path(), (0..50).map(|n| (n, 1))).finish().unwrap()).unwrap().keep().unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Inventory::open(&path).is_err(), "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(Inventory::open(&path).is_err(), "cut at {at}");
        }
    }
}
