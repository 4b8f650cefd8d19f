//! Reading the log, by whoever may read its files: no lock, no key, nothing written.
//!
//! A [`Reader`] works on the folder of a running log and on a copy of one, with or without its journal. Entries come in order: the published
//! ones from the bundles, up to the size in the checkpoint, then those that are only in the journal so far. While a writer is active, what it
//! commits meanwhile may be seen or not; an entry that is seen is whole.
//!
//! Entries that were archived are read from the archive where that can be reached, and passed over where not: [`Reader::absent`] says so.
//!
//! Signatures and hashes are not checked here, that is `verify`'s business, nor is an entry's content.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::archive::Archived;
use super::checkpoint::Checkpoint;
use super::frame::Pieces;
use super::journal::{Segment, Step, damaged, segments};
use super::publish::{read_note, unread};
use super::tile::{self, Level};
use super::tree::TILE_WIDTH;
use crate::error::{self, Error, Result};

/// How often a file that vanished while it was being looked for is looked for again, before that counts as damage. A writer publishes once
/// a second, so two in a row are already strange.
const ATTEMPTS: usize = 4;

/// The log in a folder, for reading.
#[derive(Clone, Debug)]
pub struct Reader {
    folder: PathBuf,
    archived: Archived,
}

impl Reader {
    /// Opens the log in the folder `log_dir` (`STATE/audit` or a copy of it); one that has neither checkpoint nor journal is
    /// [`error::Kind::Io`].
    pub fn open(log_dir: &Path) -> Result<Self> {
        let this = Self { folder: log_dir.to_owned(), archived: Archived::of(log_dir)? };
        if this.published()? == 0 && segments(&this.folder.join("journal"))?.is_empty() {
            let message = format!("{}: expected an audit log, found neither checkpoint nor journal", super::secret::shown(log_dir));
            return Err(Error::new(error::Kind::Io, message));
        }
        Ok(this)
    }

    /// The same log with its archive in another folder than it was moved to.
    #[must_use]
    pub fn with_archive(mut self, archive: &Path) -> Self {
        archive.clone_into(&mut self.archived.to);
        self
    }

    /// The log without what was archived.
    #[must_use]
    pub fn own(mut self) -> Self {
        self.archived.to = PathBuf::new();
        self
    }

    /// Names this log among all others: the SHA-256 of its first entry, which is never archived. One that follows another begins with an entry of its own.
    pub fn identity(&self) -> Result<Option<String>> {
        Ok(self.get(0)?.map(|first| error::hex(&<sha2::Sha256 as sha2::Digest>::digest(first))))
    }

    /// The log's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A sentence about entries that were archived and cannot be read where they went; `None` if there are none such.
    pub fn absent(&self) -> Option<String> {
        let Archived { end, to, .. } = &self.archived;
        if *end == 0 || to.join("tile/entries").is_dir() {
            return None;
        }
        let place = if to.as_os_str().is_empty() { "another folder".to_owned() } else { super::secret::shown(to) };
        Some(format!(
            "entries before {end} were archived to {place}, which cannot be read here: they are not shown but where they were kept"
        ))
    }

    /// No run that has an entry before this one has one behind it: what was archived may lack half of a run before, and never matters from here on.
    pub fn settled_before(&self) -> u64 {
        self.archived.from
    }

    /// The number of entries that the checkpoint covers now.
    pub fn published(&self) -> Result<u64> {
        let Some(note) = read_note(&self.folder)? else { return Ok(0) };
        Checkpoint::read_unverified(&note).map(|checkpoint| checkpoint.size).map_err(|e| e.context(super::secret::shown(&self.folder)))
    }

    /// All entries, from the first.
    pub fn entries(&self) -> Entries {
        self.from(0)
    }

    /// The entries from the index `first` on; none if the log is not that long.
    pub fn from(&self, first: u64) -> Entries {
        let waiting = VecDeque::new();
        Entries { reader: self.clone(), next: first, size: None, waiting, journal: Vec::new(), segment: None, done: false }
    }

    /// The entry with the index `n`; `None` if the log is not that long.
    ///
    /// [`error::Kind::Io`] if it was archived and cannot be read where it went.
    pub fn get(&self, n: u64) -> Result<Option<Vec<u8>>> {
        match self.from(n).next().transpose()? {
            Some((found, entry)) if found == n => Ok(Some(entry)),
            None => Ok(None),
            Some(_) => {
                let why = self.absent().unwrap_or_default();
                Err(Error::new(error::Kind::Io, format!("entry {n} is not here: {why}; name its archive")))
            }
        }
    }

    /// The bundle that holds the published entry `n`, full or as the checkpoint of `size` entries has it.
    fn bundle(&self, n: u64, size: u64) -> Result<Option<VecDeque<Vec<u8>>>> {
        let (index, _) = tile::place(n);
        let partial = tile::bundle_width(index, size);
        let archive = Some(&self.archived.to).filter(|to| self.archived.covers(index) && !to.as_os_str().is_empty());
        for (folder, width) in [(Some(&self.folder), TILE_WIDTH), (archive, TILE_WIDTH), (Some(&self.folder), partial)] {
            let Some(folder) = folder else { continue };
            let path = folder.join(tile::path(Level::Entries, index, width));
            match fs::read(&path) {
                Ok(bundle) => {
                    let entries = tile::read_bundle(&bundle, width).map_err(|what| damaged(&path, what))?;
                    // The rest of a full bundle may not be in the checkpoint yet: it comes from the journal, or after the next checkpoint.
                    return Ok(Some(entries[..partial].iter().map(|entry| entry.to_vec()).collect()));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(unread(&path, e)),
            }
        }
        Ok(None)
    }
}

/// The entries of a log in order, each with its index. Ends after the first error.
#[derive(Debug)]
pub struct Entries {
    reader: Reader,
    /// Index of the next entry.
    next: u64,
    /// Entries in the checkpoint as it was looked at last.
    size: Option<u64>,
    /// Entries that have been read and come next.
    waiting: VecDeque<Vec<u8>>,
    /// Segments of the journal still to be read, the next one last.
    journal: Vec<(u64, PathBuf)>,
    /// The segment being read.
    segment: Option<Segment>,
    done: bool,
}

impl Iterator for Entries {
    type Item = Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.waiting.is_empty() && !self.done {
            match self.fill() {
                Ok(()) => self.done = self.waiting.is_empty(),
                Err(e) => {
                    self.done = true;
                    return Some(Err(e));
                }
            }
        }
        let entry = self.waiting.pop_front()?;
        self.next += 1;
        Some(Ok((self.next - 1, entry)))
    }
}

impl Entries {
    /// Reads the next bundle or frame; leaves nothing waiting at the end of the log.
    fn fill(&mut self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let size = match self.size {
                Some(size) if self.next < size || self.segment.is_some() => size,
                _ => self.reader.published()?,
            };
            self.size = Some(size);
            if self.next < size {
                (self.segment, self.journal) = (None, Vec::new());
                if let Some(mut entries) = self.reader.bundle(self.next, size)? {
                    entries.drain(..tile::place(self.next).1);
                    self.waiting = entries;
                    return Ok(());
                }
                let (index, _) = tile::place(self.next);
                if self.reader.archived.covers(index) {
                    self.next = (index + 1) * TILE_WIDTH as u64;
                    return self.fill();
                }
                // A partial bundle went while we looked, because the full one is there now.
                continue;
            }
            if self.fill_from_journal()? {
                return Ok(());
            }
            // Not in the journal: published meanwhile, or the end.
            if self.reader.published()? <= self.next {
                return Ok(());
            }
            self.size = None;
        }
        let path = self.reader.folder.join(tile::path(Level::Entries, tile::place(self.next).0, TILE_WIDTH));
        Err(damaged(&path, format!("expected the bundle of entry {} here or as a partial one, found none", self.next)))
    }

    /// Reads the frame of the journal that holds the next entry; false if there is none.
    fn fill_from_journal(&mut self) -> Result<bool> {
        if self.segment.is_none() {
            let mut found = segments(&self.reader.folder.join("journal"))?;
            // All but the last that begins at or before the next entry are past.
            let begin = found.iter().rposition(|(first, _)| *first <= self.next).unwrap_or(found.len());
            self.journal = found.split_off(begin);
            self.journal.reverse();
        }
        let mut read_again = true;
        loop {
            if self.segment.is_none() {
                let Some((first, path)) = self.journal.pop() else { return Ok(false) };
                match Segment::open(path.clone(), first) {
                    Ok(segment) => self.segment = Some(segment),
                    // Retired, because its entries are published now.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
                    Err(e) => return Err(unread(&path, e)),
                }
            }
            let Some(segment) = &mut self.segment else { return Ok(false) };
            let path = segment.path().to_owned();
            match segment.step().map_err(|e| unread(&path, e))? {
                Step::Frame(frame) if frame.end() <= self.next => {}
                Step::Frame(frame) => {
                    let Some(skip) = self.next.checked_sub(frame.first()) else {
                        return Err(damaged(&path, format!("expected entry {}, found entry {}", self.next, frame.first())));
                    };
                    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                    self.waiting = frame.entries().skip(skip).map(Pieces::to_vec).collect();
                    return Ok(true);
                }
                // A frame being written right now looks damaged, and is whole or still the last when looked at again.
                Step::Damage(_) if std::mem::take(&mut read_again) => {}
                Step::Damage(offset) => {
                    if segment.whole_frame_behind(offset).map_err(|e| unread(&path, e))?.is_some() {
                        return Err(damaged(&path, format!("the frame at byte {offset} is damaged, but one behind it is whole")));
                    }
                    self.segment = None;
                    return Ok(false);
                }
                Step::End => self.segment = None,
            }
        }
    }
}
