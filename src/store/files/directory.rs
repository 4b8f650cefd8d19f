//! A directory that is one record (`record: directory`).
//!
//! Its fingerprint covers everything inside: for each entry its path and what `statx` says of it, hashed and added up, so that the order of
//! listing does not matter and memory does not grow with the number of entries. Symlinks, pipes, sockets and device nodes inside belong to the
//! record by their names; they are unlinked and never followed or opened. A file system that is mounted inside puts the record in doubt.
//!
//! Removal goes depth first, by descriptor. Each entry is looked at again just before it is unlinked, and whatever changed or appeared since
//! the survey (its change time is later than every one that the survey saw) stays. Then the directory is not empty and stays too, and the outcome
//! says so: part of the record is gone, and what remains is a directory with a later date. The same remains after a crash half way.

use std::fmt;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, RawDir, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::erase::{Account, Eraser};
use super::reading::Body;
use super::root::{Facts, open_dir, words};
use super::walk::LISTING;

/// Deeper nesting than this inside one record is not walked: each level holds a descriptor open.
const DEEPEST: usize = 100;

/// What stands inside a directory.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Newest write, creation, size of everything.
    pub body: Body,
    /// Latest change of anything inside or of the directory itself.
    pub newest: (i64, u32),
    /// Entries inside, at any depth.
    pub entries: u64,
    sum: [u64; 4],
}

/// Why a directory could not be surveyed.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The system refused something.
    System(Errno),
    /// It is nested too deep.
    Deep,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "cannot be read to its end: {}", words(*error)),
            Self::Deep => write!(f, "directories are nested more than {DEEPEST} deep inside; such a record is not walked"),
        }
    }
}

impl Survey {
    /// Looks at everything inside an open directory.
    pub fn of(dir: &OwnedFd) -> Result<Self, Trouble> {
        let facts = Facts::of_handle(dir).map_err(Trouble::System)?;
        let body = Body { mtime: facts.mtime, btime: facts.btime, size: 0, doubt: None };
        let mut survey = Self { body, newest: facts.ctime, entries: 0, sum: [0; 4] };
        survey.add(b"", &facts);
        survey.list(dir, &mut Vec::new(), 0)?;
        Ok(survey)
    }

    fn list(&mut self, dir: &OwnedFd, path: &mut Vec<u8>, depth: usize) -> Result<(), Trouble> {
        let before = path.len();
        each(dir, depth, |name, facts| {
            self.entries += 1;
            path.truncate(before);
            path.push(b'/');
            path.extend_from_slice(name);
            self.add(path, &facts);
            self.newest = self.newest.max(facts.ctime);
            self.body.mtime = self.body.mtime.max(facts.mtime);
            if facts.mount {
                self.body.doubt = Some("another file system is mounted inside");
            } else if facts.is_file() {
                self.body.size = self.body.size.saturating_add(facts.size);
            } else if facts.kind() == FileType::Directory {
                match open_dir(dir, name) {
                    Ok(below) => self.list(&below, path, depth + 1)?,
                    Err(Errno::XDEV) => self.body.doubt = Some("another file system is mounted inside"),
                    // It vanished, or something else took its name: the fingerprint will tell.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(error) => return Err(Trouble::System(error)),
                }
            }
            Ok(())
        })?;
        path.truncate(before);
        Ok(())
    }

    fn add(&mut self, path: &[u8], facts: &Facts) {
        let hash = Sha256::new().chain_update(facts.pack()).chain_update(path).finalize();
        for (lane, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            *lane = lane.wrapping_add(u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        }
    }

    /// The fingerprint of everything inside.
    pub fn fingerprint(&self) -> Vec<u8> {
        let mut packed = vec![2];
        packed.extend_from_slice(&self.entries.to_le_bytes());
        self.sum.iter().for_each(|lane| packed.extend_from_slice(&lane.to_le_bytes()));
        packed
    }
}

/// Calls for every entry of a directory but itself and its parent. Entries that vanish meanwhile are passed over.
pub fn each(dir: &OwnedFd, depth: usize, mut visit: impl FnMut(&[u8], Facts) -> Result<(), Trouble>) -> Result<(), Trouble> {
    if depth > DEEPEST {
        return Err(Trouble::Deep);
    }
    // A descriptor of its own: its position in the listing is not shared.
    let listing = open_dir(dir, b".").map_err(Trouble::System)?;
    let mut buffer = Vec::with_capacity(LISTING);
    let mut entries = RawDir::new(listing, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(Trouble::System)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match Facts::at(dir, name) {
            Ok(facts) => visit(name.to_bytes(), facts)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(Trouble::System(error)),
        }
    }
    Ok(())
}

/// What became of what was inside.
#[derive(Debug, Default)]
pub struct Cleared {
    /// Entries removed.
    pub gone: u64,
    /// The first reason why something could not be removed.
    pub failed: Option<String>,
    depth: usize,
}

/// Whether every regular file inside can be overwritten; the first reason if not.
pub fn examine(dir: &OwnedFd, depth: usize, eraser: &Eraser) -> Result<(), (&'static str, String)> {
    let mut first = None;
    let walked = each(dir, depth, |name, facts| {
        if first.is_some() || facts.mount {
            return Ok(());
        }
        if facts.is_file() {
            first = eraser.examine(dir, name, &facts).err();
        } else if facts.kind() == FileType::Directory {
            let below = open_dir(dir, name).map_err(Trouble::System)?;
            first = examine(&below, depth + 1, eraser).err();
        }
        Ok(())
    });
    match (first, walked) {
        (Some(reason), _) => Err(reason),
        (None, Err(trouble)) => Err(("not-writable", trouble.to_string())),
        (None, Ok(())) => Ok(()),
    }
}

/// Removes everything inside an open directory that did not change after `newest`. Returns how many entries stayed.
pub fn clear(dir: &OwnedFd, newest: (i64, u32), eraser: &mut Eraser, overwrite: bool, account: &mut Account, cleared: &mut Cleared) -> u64 {
    loop {
        let before = cleared.gone;
        let mut left = 0;
        let mut failed = None;
        let walked = each(dir, cleared.depth, |name, facts| {
            if facts.ctime > newest || facts.mount {
                left += 1;
                return Ok(());
            }
            let mut flags = AtFlags::empty();
            if facts.kind() == FileType::Directory {
                flags = AtFlags::REMOVEDIR;
                let inside = match open_dir(dir, name) {
                    Ok(below) => {
                        cleared.depth += 1;
                        let inside = clear(&below, newest, eraser, overwrite, account, cleared);
                        cleared.depth -= 1;
                        inside
                    }
                    Err(error) => {
                        failed = Some(words(error));
                        1
                    }
                };
                if inside > 0 {
                    left += inside;
                    return Ok(());
                }
            } else if facts.is_file() {
                account.links(&facts);
                if overwrite {
                    eraser.overwrite(dir, name, &facts, account);
                }
            }
            match unlinkat(dir, name, flags) {
                Ok(()) => {
                    cleared.gone += 1;
                    account.parts += 1;
                }
                Err(Errno::NOENT) => {}
                Err(error) => {
                    left += 1;
                    if !matches!(error, Errno::NOTEMPTY | Errno::EXIST) {
                        failed = Some(words(error));
                    }
                }
            }
            Ok(())
        });
        // Removing while listing may hide entries on some file systems, so go through until a pass removes nothing.
        if cleared.gone == before {
            if let Some(why) = failed.or(walked.err().map(|trouble| trouble.to_string())) {
                cleared.failed.get_or_insert(why);
                left = left.max(1);
            }
            return left;
        }
    }
}
