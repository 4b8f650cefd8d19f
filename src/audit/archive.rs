//! The archive: old entry bundles in another folder, while the tree that vouches for them stays where it is.
//!
//! Only full bundles are moved, and only their own files: every hash stays, so the log is still whole, and an archived bundle that comes back can be
//! held against it at any time. In the archive a bundle has the path that it had in the log:
//!
//! ```text
//! ARCHIVE/tile/entries/<N>         as in the log
//! STATE/audit/archived             what has been moved: four lines, below
//!
//! end 70144                        bundles of entries before this one may be in the archive; a multiple of 256
//! from 70200                       from this entry on the log speaks for itself
//! entry 81234                      the entry of kind `archived` that says so
//! to /srv/archive                  where they went, escaped
//! ```
//!
//! **What stays.** A bundle stays where it is if it holds anything but what runs wrote about records: a schedule's text, a hold or its release, an
//! approval, a refusal, a change of keys, the first entry. So holds in force and schedules can be read from the log alone for ever, and the register
//! can be built again without the archive; only records that were flagged long ago and still wait are then flagged anew. `from` is a place at which no
//! run was under way, so no intent is torn from its outcomes; of the entries before it the log alone says only that they were not changed.
//!
//! **Order.** Bundles are copied, synced, and read back against the hashes. The entry `archived` is written and published. The file `archived` is
//! replaced. Only then are the bundles removed from the log. **Crash.** Up to the entry, copies may lie in the archive that nobody asks for; up to the
//! last step, bundles lie in both places. The same command finishes it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::entry::{Entry, Kind};
use super::journal::{damaged, lost};
use super::publish::{read_note, tile_prefix, unread};
use super::read::Reader;
use super::secret::{self, shown};
use super::tile::{self, Level};
use super::tree::{TILE_WIDTH, leaf_hash};
use crate::error::{self, Error, Result};

/// Entries in a bundle.
const WIDTH: u64 = TILE_WIDTH as u64;

/// What has been moved out of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Archived {
    /// Bundles of entries before this one may be in the archive; 0 for a log of which nothing was moved.
    pub end: u64,
    /// From this entry on the log speaks for itself.
    pub from: u64,
    /// The index of the entry that says so.
    pub entry: u64,
    /// Where they went.
    pub to: PathBuf,
}

impl Archived {
    /// What was moved out of the log in `folder`.
    pub fn of(folder: &Path) -> Result<Self> {
        let path = folder.join("archived");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(unread(&path, e)),
        };
        let bad = || damaged(&path, "expected the lines `end`, `from`, `entry` and `to`; restore it from a copy of the log");
        let mut lines = text.lines();
        let mut value =
            |name: &str| lines.next().and_then(|line| line.strip_prefix(name)).and_then(|rest| rest.strip_prefix(' ')).ok_or_else(bad);
        let (end, from, entry, to) = (value("end")?, value("from")?, value("entry")?, value("to")?);
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
        let this = Self { end: number(end)?, from: number(from)?, entry: number(entry)?, to: PathBuf::from(to) };
        if this.end > this.from || this.from > this.entry || !this.end.is_multiple_of(WIDTH) {
            return Err(bad());
        }
        Ok(this)
    }

    /// Whether the bundle `index` may be in the archive.
    pub(super) fn covers(&self, index: u64) -> bool {
        index < self.end / WIDTH
    }

    /// Whether the entry that the file names says what the file says.
    pub(super) fn check(&self, reader: &Reader) -> Result<()> {
        if self.end == 0 {
            return Ok(());
        }
        let entry = reader.get(self.entry)?.map(|bytes| Entry::parse(&bytes)).transpose()?;
        let says =
            |entry: &Entry| entry.kind == Kind::Archived && entry.u64("end") == Some(self.end) && entry.u64("from") == Some(self.from);
        if entry.as_ref().is_some_and(says) {
            return Ok(());
        }
        Err(damaged(
            &reader.folder().join("archived"),
            format!("entry {} does not say that the entries before {} were archived", self.entry, self.end),
        ))
    }
}

/// Bundles that may be moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// As in [`Archived`].
    pub end: u64,
    /// As in [`Archived`].
    pub from: u64,
    /// The indices of the bundles to be moved, those that were moved already left out.
    pub bundles: Vec<u64>,
}

/// Whether an entry is one that a bundle is kept for.
fn stays(kind: Kind) -> bool {
    match kind {
        Kind::RunStarted
        | Kind::Intent
        | Kind::Statistics
        | Kind::Destroyed
        | Kind::Anonymised
        | Kind::Flagged
        | Kind::TaskOpened
        | Kind::Overdue
        | Kind::Absent
        | Kind::Kept
        | Kind::Failed
        | Kind::Recovered
        | Kind::RunFinished
        | Kind::Heartbeat
        | Kind::Stopped => false,
        Kind::Opened
        | Kind::Schedule
        | Kind::HoldPlaced
        | Kind::HoldReleased
        | Kind::Approved
        | Kind::Attested
        | Kind::AttestedBefore
        | Kind::Lost
        | Kind::ReviewRefused
        | Kind::ReviewExtended
        | Kind::ReviewWithdrawn
        | Kind::ErasureApproved
        | Kind::ErasureDecided
        | Kind::Refused
        | Kind::Allowed
        | Kind::Bound
        | Kind::Confirmed
        | Kind::Paused
        | Kind::Resumed
        | Kind::KeyRotated
        | Kind::EpochForgotten
        | Kind::Archived => true,
    }
}

/// Finds the bundles of the log in `folder` all of whose entries were written before `before`, and that nothing keeps.
pub fn plan(folder: &Path, before: Timestamp) -> Result<Plan> {
    let size = read_note(folder)?.map_or(Ok(0), |note| Checkpoint::read_unverified(&note).map(|checkpoint| checkpoint.size))?;
    // The bundle of the newest entry is never moved: a start reads it.
    let most = size.saturating_sub(1) / WIDTH * WIDTH;
    let archived = Archived::of(folder)?;
    let mut under_way: HashSet<String> = HashSet::new();
    let (mut from, mut candidates, mut kept) = (archived.from, Vec::new(), false);
    for item in Reader::open(folder)?.own().from(0) {
        let (n, bytes) = item?;
        let entry = Entry::parse(&bytes).map_err(|e| e.context(format_args!("entry {n}")))?;
        if entry.time().is_none_or(|at| at >= before) {
            break;
        }
        if n.is_multiple_of(WIDTH) {
            kept = false;
        }
        kept |= stays(entry.kind);
        if (n + 1).is_multiple_of(WIDTH) && !kept {
            candidates.push(n / WIDTH);
        }
        match (entry.kind, entry.str("run")) {
            (Kind::RunStarted, Some(run)) => drop(under_way.insert(run.to_owned())),
            (Kind::RunFinished, Some(run)) => drop(under_way.remove(run)),
            _ => {}
        }
        if under_way.is_empty() {
            from = from.max(n + 1);
        }
    }
    let end = (from / WIDTH * WIDTH).min(most).max(archived.end);
    candidates.retain(|index| *index < end / WIDTH);
    Ok(Plan { end, from, bundles: candidates })
}

/// Copies the bundles of a plan to the folder `to` and makes sure that the copies are durable and right. The log is not touched.
pub(super) fn copy(folder: &Path, plan: &Plan, to: &Path) -> Result<()> {
    if !to.is_dir() {
        let message = format!("{}: expected the folder of the archive, found none; make it, or mount its disk", shown(to));
        return Err(Error::new(error::Kind::Refused, message));
    }
    let mut folders = HashSet::new();
    for index in &plan.bundles {
        let name = tile::path(Level::Entries, *index, TILE_WIDTH);
        let bundle = read_right(folder, &folder.join(&name), *index)?;
        let path = to.join(&name);
        let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be written", shown(&path)), e);
        match fs::read(&path) {
            Ok(found) if found == bundle => {}
            Ok(_) => return Err(damaged(&path, "another bundle lies here; is this the archive of another log?")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let above = path.parent().unwrap_or(to);
                fs::create_dir_all(above).map_err(fail)?;
                let staged = path.with_added_extension("new");
                let mut file = File::create(&staged).map_err(fail)?;
                file.write_all(&bundle).and_then(|()| file.sync_all()).map_err(fail)?;
                fs::rename(&staged, &path).map_err(fail)?;
            }
            Err(e) => return Err(fail(e)),
        }
        folders.extend(path.ancestors().skip(1).take_while(|above| above.starts_with(to)).map(Path::to_path_buf));
    }
    for above in folders {
        let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be synced", shown(&above)), e);
        File::open(&above).and_then(|handle| handle.sync_all()).map_err(fail)?;
    }
    for index in &plan.bundles {
        read_right(folder, &to.join(tile::path(Level::Entries, *index, TILE_WIDTH)), *index)?;
    }
    Ok(())
}

/// The bundle in `path`, every entry of which has the hash in the log's tree.
fn read_right(folder: &Path, path: &Path, index: u64) -> Result<Vec<u8>> {
    let bundle = fs::read(path).map_err(|e| unread(path, e))?;
    let hashes = tile_prefix(folder, 0, index, TILE_WIDTH)?;
    let entries = tile::read_bundle(&bundle, TILE_WIDTH).map_err(|what| damaged(path, what))?;
    match entries.iter().zip(&hashes).position(|(entry, hash)| leaf_hash(entry) != *hash) {
        Some(i) => Err(damaged(path, format!("entry {} has another hash than in the tree", index * WIDTH + i as u64))),
        None => Ok(bundle),
    }
}

/// Says in the log's folder what has been moved, then removes the bundles of the plan there: the entry `entry` is durable and says the same.
pub(super) fn remove(folder: &Path, plan: &Plan, entry: u64, to: &Path) -> Result<()> {
    let to_line = to.to_str().filter(|text| !text.contains(char::is_control)).unwrap_or_default();
    let text = format!("end {}\nfrom {}\nentry {entry}\nto {to_line}\n", plan.end, plan.from);
    secret::replace(&folder.join("archived"), text.as_bytes(), 0o644)?;
    let mut folders = HashSet::new();
    for index in &plan.bundles {
        let path = folder.join(tile::path(Level::Entries, *index, TILE_WIDTH));
        fs::remove_file(&path).map_err(|e| lost(&path, "cannot be removed", e))?;
        folders.extend(path.parent().map(Path::to_path_buf));
    }
    for above in folders {
        File::open(&above).and_then(|handle| handle.sync_all()).map_err(|e| lost(&above, "cannot be synced", e))?;
    }
    Ok(())
}
