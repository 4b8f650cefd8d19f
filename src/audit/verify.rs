//! Verifying a log from a copy of its files, with nothing but a public key: the one that signed last, or one before a rotation.
//!
//! What is checked, in the order of the log: the checkpoint's signature; that every bundle is there and its entries have the hashes in the
//! tiles of level 0; that every tile of every level is what its leaves make it; that the root is the one signed; that every entry is one that
//! the writer can have written, in its place, and no earlier than the one before; that intents and outcomes belong together, counts add up, and
//! nothing went that a hold protected. Then the journal: that it is whole and repeats what was published, and that what it adds fits on.
//!
//! The first failure ends it, with the index of the entry and the file. Intents that are still open at the end are no failure: that is how
//! a log looks whose service is running or was killed.
//!
//! Workers, one a core, read pieces of the log out of order, and one thread puts their findings in order. Memory is bounded by the pieces in
//! work and what may be open at once; where a log leaves more open than that, it is read several times. Nothing is written, no lock is taken.
//!
//! Whether each decision was right by the schedule is not asked here, for this folder knows no schedule: that is what `audit replay` does.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::Serialize;

use super::archive::Archived;
use super::checkpoint::{Checkpoint, Verifier};
use super::entry::Kind;
use super::journal::{damaged, replay_all, segments};
use super::meaning::{Before, Event, MOST_OPEN, Meaning, Share, read_entry};
use super::publish::{read_checkpoint, read_tile, tile_prefix, unread};
use super::read::Reader;
use super::rotation::Chain;
use super::secret::shown;
use super::tile::{self, Level};
use super::tree::{FullTile, Hash, TILE_WIDTH, Tree, leaf_hash, root};
use crate::error::{self, Error, Result};

/// Entries in a piece of work: 32 bundles, about 3 MB.
const PIECE: u64 = 32 * TILE_WIDTH as u64;

/// Pieces that may be in work or waiting for their turn, for each worker.
const AHEAD: usize = 4;

/// How often the journal of a log that is being written meanwhile is looked at again before giving up.
const ATTEMPTS: usize = 3;

/// What a log that is intact holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Entries that the signed checkpoint covers.
    pub size: u64,
    /// The root that was signed: base64.
    pub root: String,
    /// Which log: `retentiond/<node>`.
    pub origin: String,
    /// How many of the signed entries are of each kind.
    pub entries_by_kind: BTreeMap<Kind, u64>,
    /// The time in the first signed entry.
    pub first_at: Option<String>,
    /// The time in the last signed entry.
    pub last_at: Option<String>,
    /// Entries in the journal that no checkpoint covers yet.
    pub unpublished: u64,
    /// Bytes at the end of the journal that are no whole append: a crash, or a copy made during one.
    pub torn_bytes: u64,
    /// Records that were to be destroyed or anonymised and whose outcome is not in the log.
    pub open_intents: u64,
    /// Index of the first intent with such a record.
    pub first_open_intent: Option<u64>,
    /// How often the signing key was changed, each time as the key before it signed.
    pub rotations: u64,
    /// Bundles of entries before this one may have been archived; 0 if none was.
    pub archived: u64,
    /// Archived entries of which only the hashes were verified.
    pub absent: u64,
}

/// Verifies the log in the folder `log_dir` with the public key `vkey` (the line in `log.vkey`).
///
/// `progress` is told how many entries are done and how many there are. [`error::Kind::NotIntact`] with the first bad entry, the file and
/// the reason; [`error::Kind::Usage`] if the key is none; [`error::Kind::Io`] if a file cannot be read.
pub fn verify(log_dir: &Path, vkey: &str, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Verified> {
    verify_with(log_dir, vkey, None, progress)
}

/// Verifies a log as [`verify`] does, and its archived bundles in the folder `archive`, all of which must be there.
///
/// Without an archive, of archived entries no more is verified than that the tree has their hashes.
pub fn verify_with(log_dir: &Path, vkey: &str, archive: Option<&Path>, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Verified> {
    let chain = Chain::open(log_dir, &Verifier::parse(vkey)?)?;
    verify_within(log_dir, &chain, archive, MOST_OPEN, progress)
}

/// Verifies the log of a chain of keys while at most so many records are held whose outcome is not known.
fn verify_within(
    log_dir: &Path,
    chain: &Chain,
    archive: Option<&Path>,
    most: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Verified> {
    let shelf = Shelf { archived: Archived::of(log_dir)?, archive };
    let read = |share| -> Result<_> {
        let mut fold = Fold::new(log_dir, chain.checkpoint().clone(), &shelf, Meaning::of(share, most));
        fold.published(progress)?;
        fold.finish_tree()?;
        chain.check(fold.kinds[Kind::KeyRotated as usize])?;
        shelf.archived.check(&Reader::open(log_dir)?.own())?;
        let tail = fold.tail(chain.signer())?;
        Ok((fold, tail))
    };
    let (fold, tail) = read(Share::ALL)?;
    let (mut open_intents, mut first_open_intent) = tail.meaning.open();
    let mut shares = tail.meaning.left().to_vec();
    while let Some(share) = shares.pop() {
        let (_, tail) = read(share)?;
        let (more, first) = tail.meaning.open();
        open_intents += more;
        first_open_intent = first_open_intent.into_iter().chain(first).min();
        shares.extend(tail.meaning.left());
    }
    let entries_by_kind = Kind::ALL.into_iter().zip(fold.kinds).filter(|(_, count)| *count > 0).collect();
    Ok(Verified {
        size: fold.checkpoint.size,
        root: fold.checkpoint.root_base64(),
        origin: fold.checkpoint.origin,
        entries_by_kind,
        first_at: fold.first_at,
        last_at: fold.last_at,
        unpublished: tail.entries,
        torn_bytes: tail.torn,
        open_intents,
        first_open_intent,
        rotations: chain.rotations(),
        archived: shelf.archived.end,
        absent: fold.absent,
    })
}

/// Where bundles lie.
struct Shelf<'a> {
    archived: Archived,
    /// The folder of the archive, if it is verified too.
    archive: Option<&'a Path>,
}

impl Shelf<'_> {
    /// The first entry from which on meaning can be judged.
    fn from(&self) -> u64 {
        if self.archive.is_some() { 0 } else { self.archived.from }
    }

    /// Reads a full bundle that is not in the log from the archive, and answers its path; `None` if it may be absent.
    fn archived(&self, index: u64, missing: Error, bundle: &mut Vec<u8>) -> Result<Option<PathBuf>> {
        if !self.archived.covers(index) || missing.kind() != error::Kind::NotIntact {
            return Err(missing);
        }
        let Some(archive) = self.archive else { return Ok(None) };
        let path = archive.join(tile::path(Level::Entries, index, TILE_WIDTH));
        bundle.clear();
        let read = File::open(&path).and_then(|mut file| file.read_to_end(bundle));
        read.map_err(|e| unread(&path, e)).map(|_| Some(path))
    }
}

/// What a worker found in its piece of the log.
struct Piece {
    /// The roots of its full tiles of level 0.
    roots: Vec<Hash>,
    /// The leaf hashes behind the last full tile of the log.
    leaves: Vec<Hash>,
    kinds: [u64; Kind::ALL.len()],
    /// Empty if no entry was read, as all are archived.
    first_at: String,
    last_at: String,
    events: Vec<Event>,
    absent: u64,
}

/// Puts the pieces together, in order.
struct Fold<'a> {
    folder: &'a Path,
    checkpoint: Checkpoint,
    tree: Tree,
    meaning: Meaning,
    kinds: [u64; Kind::ALL.len()],
    first_at: Option<String>,
    last_at: Option<String>,
    shelf: &'a Shelf<'a>,
    absent: u64,
}

/// What the journal adds to the published log.
struct Tail {
    meaning: Meaning,
    entries: u64,
    torn: u64,
}

impl<'a> Fold<'a> {
    fn new(folder: &'a Path, checkpoint: Checkpoint, shelf: &'a Shelf<'a>, meaning: Meaning) -> Self {
        let tree = Tree::new();
        Self { folder, checkpoint, tree, meaning, kinds: [0; Kind::ALL.len()], first_at: None, last_at: None, shelf, absent: 0 }
    }

    /// Checks everything that the checkpoint covers but the upper edge of the tree.
    fn published(&mut self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<()> {
        let (folder, size, shelf) = (self.folder, self.checkpoint.size, self.shelf);
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let line = Line::new(size.div_ceil(PIECE), workers * AHEAD);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(number) = line.take() {
                        line.put(number, read_piece(folder, shelf, number * PIECE, size));
                    }
                });
            }
            let _stop = StopOnDrop(&line);
            while let Some(piece) = line.next() {
                self.add(piece?)?;
                progress(self.tree.size(), size);
            }
            Ok(())
        })
    }

    fn add(&mut self, piece: Piece) -> Result<()> {
        if let Some(last) = &self.last_at
            && *last > piece.first_at
            && !piece.first_at.is_empty()
        {
            let n = self.tree.size();
            return Err(bad_entry(self.folder, n, self.checkpoint.size, &goes_back(last, &piece.first_at)));
        }
        let mut full = Vec::new();
        for root in piece.roots {
            self.tree.push_tile(root, |tile| full.push(tile));
        }
        for leaf in piece.leaves {
            self.tree.push(leaf, |tile| full.push(tile));
        }
        for FullTile { level, index, hashes } in full {
            let found = read_tile(self.folder, level, index, TILE_WIDTH)?;
            if found != hashes {
                return Err(self.bad_tile(level, index, TILE_WIDTH));
            }
        }
        for event in piece.events {
            self.meaning.take(event).map_err(|(n, what)| bad_entry(self.folder, n, self.checkpoint.size, &what))?;
        }
        for (sum, count) in self.kinds.iter_mut().zip(piece.kinds) {
            *sum += count;
        }
        self.absent += piece.absent;
        if !piece.first_at.is_empty() {
            self.first_at.get_or_insert(piece.first_at);
            self.last_at = Some(piece.last_at);
        }
        Ok(())
    }

    /// Checks the partial tiles at the right edge, and the root.
    fn finish_tree(&self) -> Result<()> {
        for (level, index, width) in tile::partial_edge(self.checkpoint.size) {
            if tile_prefix(self.folder, level, index, width)? != self.tree.edge()[usize::from(level)] {
                return Err(self.bad_tile(level, index, width));
            }
        }
        if self.tree.root() != self.checkpoint.root {
            let message = format!("the {} entries have another root than the one signed", self.checkpoint.size);
            return Err(damaged(&self.folder.join("checkpoint"), message));
        }
        Ok(())
    }

    fn bad_tile(&self, level: u8, index: u64, width: usize) -> Error {
        let path = self.folder.join(tile::path(Level::Hashes(level), index, width));
        let first = index << (8 * (u32::from(level) + 1));
        damaged(&path, format!("the hashes are not those of the tiles below, which begin with entry {first}"))
    }

    /// Checks the journal and what it adds.
    fn tail(&self, verifier: &Verifier) -> Result<Tail> {
        for _ in 1..ATTEMPTS {
            match self.try_tail() {
                // A service that publishes meanwhile deletes segments under our hands.
                Err(_) if read_checkpoint(self.folder, verifier)?.is_some_and(|now| now != self.checkpoint) => {}
                other => return other,
            }
        }
        self.try_tail()
    }

    fn try_tail(&self) -> Result<Tail> {
        let size = self.checkpoint.size;
        let mut tail = Tail { meaning: self.meaning.clone(), entries: 0, torn: 0 };
        let folder = self.folder.join("journal");
        let found = segments(&folder)?;
        // A journal that begins behind the checkpoint was copied later than it, so there is nothing here that fits on.
        if found.first().is_none_or(|(first, _)| *first > size) {
            return Ok(tail);
        }
        let (mut before, mut last_at) = (Before::default(), self.last_at.clone().unwrap_or_default());
        let mut tile: (u64, Vec<Hash>) = (u64::MAX, Vec::new());
        let replayed = replay_all(&found, size, |frame| {
            for (n, entry) in (frame.first()..).zip(frame.entries()) {
                let bad = |what: &str| damaged(&folder, format!("entry {n}: {what}"));
                if n < size {
                    let (index, place) = tile::place(n);
                    if tile.0 != index {
                        tile = (index, tile_prefix(self.folder, 0, index, tile::bundle_width(index, size))?);
                    }
                    if tile.1.get(place) != Some(&entry.leaf_hash()) {
                        return Err(bad("the journal has another entry than was published"));
                    }
                    continue;
                }
                let entry = entry.to_vec();
                let (head, event) = read_entry(n, &entry, &mut before).map_err(|what| bad(&what))?;
                if *head.at < *last_at {
                    return Err(bad(&goes_back(&last_at, head.at)));
                }
                head.at.clone_into(&mut last_at);
                event.map_or(Ok(()), |event| tail.meaning.take(event)).map_err(|(_, what)| bad(&what))?;
                tail.entries += 1;
            }
            Ok(())
        })?;
        tail.torn = replayed.cut;
        Ok(tail)
    }
}

/// Reads and checks the entries from `first` on, at most [`PIECE`] of them.
fn read_piece(folder: &Path, shelf: &Shelf<'_>, first: u64, size: u64) -> Result<Piece> {
    let (roots, leaves) = (Vec::new(), Vec::new());
    let mut piece = Piece {
        roots,
        leaves,
        kinds: [0; Kind::ALL.len()],
        first_at: String::new(),
        last_at: String::new(),
        events: Vec::new(),
        absent: 0,
    };
    let (mut before, mut bundle) = (Before::default(), Vec::new());
    let mut n = first;
    let end = size.min(first + PIECE);
    while n < end {
        let (index, _) = tile::place(n);
        let width = tile::bundle_width(index, end);
        let hashes = tile_prefix(folder, 0, index, width)?;
        let (stored, elsewhere) = match read_bundle(folder, index, width, &mut bundle) {
            Ok(stored) => (stored, None),
            Err(missing) => {
                let Some(path) = shelf.archived(index, missing, &mut bundle)? else {
                    // Of these the tree has the hashes, and that is all that can be said.
                    piece.absent += width as u64;
                    n += width as u64;
                    piece.roots.push(root(&hashes));
                    continue;
                };
                (TILE_WIDTH, Some(path))
            }
        };
        let path = || elsewhere.clone().unwrap_or_else(|| folder.join(tile::path(Level::Entries, index, stored)));
        let entries = tile::read_bundle(&bundle, stored).map_err(|what| damaged(&path(), format!("from entry {n} on: {what}")))?;
        for (entry, hash) in entries[..width].iter().zip(&hashes) {
            if leaf_hash(entry) != *hash {
                let tile = tile::path(Level::Hashes(0), index, width);
                return Err(damaged(&path(), format!("entry {n} has another hash than in {tile}")));
            }
            let (head, event) = read_entry(n, entry, &mut before).map_err(|what| bad_entry(folder, n, size, &what))?;
            if *head.at < *piece.last_at {
                return Err(bad_entry(folder, n, size, &goes_back(&piece.last_at, head.at)));
            }
            if piece.first_at.is_empty() {
                head.at.clone_into(&mut piece.first_at);
            }
            if piece.last_at != head.at {
                head.at.clone_into(&mut piece.last_at);
            }
            piece.kinds[head.kind as usize] += 1;
            piece.events.extend(event.filter(|event| n >= shelf.from() || event.stands_alone()));
            n += 1;
        }
        if width == TILE_WIDTH {
            piece.roots.push(root(&hashes));
        } else {
            piece.leaves = hashes;
        }
    }
    Ok(piece)
}

/// Reads the bundle that holds `width` entries or more, and answers how many it holds: a partial one may have made way for the full one.
fn read_bundle(folder: &Path, index: u64, width: usize, bundle: &mut Vec<u8>) -> Result<usize> {
    // Into the same memory each time: what the system would have to make anew costs as much as hashing it.
    let mut read = |width| {
        bundle.clear();
        let mut file = File::open(folder.join(tile::path(Level::Entries, index, width)))?;
        file.read_to_end(bundle).map(|_| width)
    };
    match read(width) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && width < TILE_WIDTH => read(TILE_WIDTH).map_err(|_| e),
        other => other,
    }
    .map_err(|e| unread(&folder.join(tile::path(Level::Entries, index, width)), e))
    .map_err(|e| e.context(format_args!("from entry {} on", index * TILE_WIDTH as u64)))
}

/// An entry that is signed and wrong.
fn bad_entry(folder: &Path, n: u64, size: u64, what: &str) -> Error {
    let (index, _) = tile::place(n);
    let width = tile::bundle_width(index, size);
    let path = folder.join(tile::path(Level::Entries, index, width));
    Error::new(error::Kind::NotIntact, format!("{}: entry {n}: {what}", shown(&path)))
}

fn goes_back(earlier: &str, later: &str) -> String {
    format!("expected a time not before {earlier}, which is in the entry before, found {later}")
}

/// Pieces of work given out in order, and their results handed on in order, never more than `ahead` apart.
struct Line {
    state: Mutex<Waiting>,
    changed: Condvar,
    pieces: u64,
    ahead: usize,
}

struct Waiting {
    /// The piece to be handed on next.
    turn: u64,
    /// The results of that piece and those after it, as far as they were given out.
    results: VecDeque<Option<Result<Piece>>>,
    stopped: bool,
}

impl Line {
    fn new(pieces: u64, ahead: usize) -> Self {
        let state = Mutex::new(Waiting { turn: 0, results: VecDeque::new(), stopped: false });
        Self { state, changed: Condvar::new(), pieces, ahead }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece to work on; `None` when there is none left.
    fn take(&self) -> Option<u64> {
        let mut state = self.lock();
        loop {
            let number = state.turn + state.results.len() as u64;
            if state.stopped || number >= self.pieces {
                return None;
            }
            if state.results.len() < self.ahead {
                state.results.push_back(None);
                return Some(number);
            }
            state = self.wait(state);
        }
    }

    fn put(&self, number: u64, result: Result<Piece>) {
        let mut state = self.lock();
        let place = usize::try_from(number - state.turn).unwrap_or(usize::MAX);
        if let Some(slot) = state.results.get_mut(place) {
            *slot = Some(result);
        }
        self.changed.notify_all();
    }

    /// The result of the next piece in order; `None` after the last.
    fn next(&self) -> Option<Result<Piece>> {
        let mut state = self.lock();
        loop {
            if state.turn == self.pieces {
                return None;
            }
            if let Some(Some(_)) = state.results.front() {
                state.turn += 1;
                self.changed.notify_all();
                return state.results.pop_front().flatten();
            }
            state = self.wait(state);
        }
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

/// Sends the workers home, however the reader of the line ends.
struct StopOnDrop<'a>(&'a Line);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::wait;
    use super::super::{AuditLog, Draft};
    use super::*;

    #[test]
    fn a_log_with_more_open_than_may_be_held_is_verified_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let log = AuditLog::open(dir.path(), "hq-1").unwrap().log;
        let body = |more: serde_json::Value| {
            let mut body = json!({"run": "r", "store": "s", "dataset": "d"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let names: Vec<String> = (0..600).map(|n| format!("record-{n}")).collect();
        let mut drafts: Vec<Draft> =
            names.chunks(20).map(|names| Draft::new(Kind::Intent, &body(json!({"act": "destroy", "records": names}))).unwrap()).collect();
        drafts.extend(names[100..].iter().map(|name| Draft::new(Kind::Destroyed, &body(json!({"record": name}))).unwrap()));
        log.commit_blocking(drafts).unwrap();
        wait(log.publish()).unwrap();
        let folder = dir.path().join("audit");
        let verifier = log.verifier().clone();
        let look = |most| verify_within(&folder, &Chain::open(&folder, &verifier).unwrap(), None, most, &|_, _| {});
        let whole = look(MOST_OPEN).unwrap();
        assert_eq!((whole.size, whole.open_intents, whole.first_open_intent), (531, 100, Some(1)));
        assert_eq!(look(30).unwrap(), whole);
        // What does not fit is found in whichever share it lies.
        log.commit_blocking(vec![Draft::new(Kind::Destroyed, &body(json!({"record": names[599]}))).unwrap()]).unwrap();
        wait(log.publish()).unwrap();
        assert!(look(30).unwrap_err().to_string().contains("entry 531: destroyed without an intent"));
        wait(log.close()).unwrap();
    }
}
