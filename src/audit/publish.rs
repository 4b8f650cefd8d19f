//! Publishing: from committed entries to bundles, tiles and a signed checkpoint.
//!
//! The publisher takes frames in order, appends their entries to the tree and writes every bundle and tile that becomes full. At a
//! checkpoint the partial ones at the right edge are written too, then the checkpoint. A file is written under another name (`.new` at its
//! end), synced and renamed, and then its folder is synced, so a name never stands for half a file; the checkpoint comes after everything that
//! it covers, so it never claims what is not there. A tile is renamed only where nothing has its name: none is ever replaced.
//!
//! **Crash.** Files without a checkpoint may be left. The next start replays the journal through this same code, which makes the same files
//! again; a file that is there already with another content is a contradiction, and the log is refused rather than signed a second way.
//!
//! Partial tiles go only when the full tile is covered by a durable checkpoint. Nothing else is ever deleted.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Resource, getrlimit};

use super::checkpoint::{Checkpoint, MAX_CHECKPOINT, SigningKey, Verifier};
use super::disk::Disk;
use super::frame::Frame;
use super::journal::{damaged, lost};
use super::rotation;
use super::secret::shown;
use super::tile::{self, Level};
use super::tree::{Hash, TILE_WIDTH, Tree, leaf_hash, level_count, width_at};
use crate::error::{self, Error, Result};

/// Files that wait for their names at most: then they are synced together, and their folders once for all of them. Whoever else waits for the disk
/// is kept waiting by each time. They are open until then, and a quarter of the files that the process may have open is all they may be.
const MAX_STAGED: usize = 512;

/// Up to so many files are synced one after the other, which waits for nobody else's writes; more are synced together with their file system.
const FEW_FILES: usize = 8;

/// A file that is written and still has its other name.
#[derive(Debug)]
struct Staged {
    /// The name that it will have.
    path: PathBuf,
    /// The name that it has.
    other: PathBuf,
    /// Whether it takes the place of a file; else there must be none.
    replaces: bool,
}

/// The Merkle tree of a log and its files.
#[derive(Debug)]
pub(super) struct Publisher<D> {
    disk: D,
    folder: PathBuf,
    key: SigningKey,
    tree: Tree,
    /// The entries behind the last full bundle, as a bundle.
    bundle: Vec<u8>,
    /// Files that are written and still have their other name.
    staged: Vec<Staged>,
    /// Their handles, in step, until they are synced.
    handles: Vec<File>,
    /// So many of them at most.
    most_staged: usize,
    /// The log's folder, opened before anything was written.
    system: File,
    /// Folders of partial tiles that exist.
    partial: BTreeSet<PathBuf>,
    /// Those of them whose full tile is in no checkpoint yet.
    superseded: Vec<PathBuf>,
    /// Entries covered by the checkpoint on the disk.
    published: u64,
    /// That checkpoint, word for word; empty if there is none yet.
    note: Arc<str>,
    /// The leaf hashes of a published tile, to compare entries with that come again.
    compared: Option<(u64, Vec<Hash>)>,
}

impl<D: Disk> Publisher<D> {
    /// Loads the right edge of the log in `folder` and checks it against the checkpoint; a log without checkpoint is empty.
    ///
    /// [`error::Kind::NotIntact`] if the signature, a tile or the last bundle contradicts the others.
    pub(super) fn open(disk: D, folder: &Path, key: SigningKey) -> Result<Self> {
        let system = File::open(folder).map_err(|e| lost(folder, "cannot be opened", e))?;
        let mut this = Self {
            disk,
            folder: folder.to_owned(),
            key,
            tree: Tree::new(),
            bundle: Vec::new(),
            staged: Vec::new(),
            handles: Vec::new(),
            most_staged: most_staged(getrlimit(Resource::Nofile).current),
            system,
            partial: BTreeSet::new(),
            superseded: Vec::new(),
            published: 0,
            note: Arc::default(),
            compared: None,
        };
        let Some(note) = read_note(folder)? else { return Ok(this) };
        let checkpoint = this.key.verifier().verify(&note).map_err(|e| e.context(shown(folder)))?;
        this.note = String::from_utf8_lossy(&note).into();
        let size = checkpoint.size;
        let mut levels = vec![Vec::new(); level_count(size)];
        for (level, index, width) in tile::partial_edge(size) {
            levels[usize::from(level)] = read_tile(folder, level, index, width)?;
            this.expect_partial(Level::Hashes(level), index);
        }
        let path = folder.join("checkpoint");
        let tree = Tree::from_edge(size, levels).filter(|tree| tree.root() == checkpoint.root);
        this.tree =
            tree.ok_or_else(|| damaged(&path, "the tiles at the right edge have another root than the checkpoint; restore them"))?;
        let width = width_at(size, 0);
        if width > 0 {
            let index = size / TILE_WIDTH as u64;
            let path = folder.join(tile::path(Level::Entries, index, width));
            this.bundle = read(&path)?;
            let entries = tile::read_bundle(&this.bundle, width).map_err(|what| damaged(&path, what))?;
            let matches = entries.iter().zip(&this.tree.edge()[0]).position(|(entry, hash)| leaf_hash(entry) != *hash);
            if let Some(i) = matches {
                let n = index * TILE_WIDTH as u64 + i as u64;
                return Err(damaged(&path, format!("entry {n} has another hash than in {}", tile::path(Level::Hashes(0), index, width))));
            }
            this.expect_partial(Level::Entries, index);
        }
        this.published = size;
        this.tidy();
        Ok(this)
    }

    /// Entries covered by the checkpoint on the disk.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// The checkpoint on the disk, word for word; empty if there is none yet.
    pub(super) fn note(&self) -> Arc<str> {
        Arc::clone(&self.note)
    }

    /// The key that signs.
    pub(super) fn signer(&self) -> Verifier {
        self.key.verifier()
    }

    /// Entries in the tree.
    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The newest entry of the tree, if there is one.
    pub(super) fn last_entry(&self) -> Result<Option<Vec<u8>>> {
        let width = width_at(self.tree.size(), 0);
        let Some(full) = (self.tree.size() / TILE_WIDTH as u64).checked_sub(u64::from(width == 0)) else { return Ok(None) };
        let path = self.folder.join(tile::path(Level::Entries, full, TILE_WIDTH));
        let (bundle, width) = if width > 0 { (self.bundle.clone(), width) } else { (read(&path)?, TILE_WIDTH) };
        let entries = tile::read_bundle(&bundle, width).map_err(|what| damaged(&path, what))?;
        Ok(entries.last().map(|entry| entry.to_vec()))
    }

    /// Appends the entries of a frame to the tree; those that are in it already must be the same.
    pub(super) fn integrate(&mut self, frame: &Frame) -> Result<()> {
        if frame.first() > self.tree.size() {
            let message = format!("the journal goes on with entry {}, the tree ends at {}", frame.first(), self.tree.size());
            return Err(damaged(&self.folder, message));
        }
        for (n, (entry, leaf)) in (frame.first()..).zip(frame.leaves()) {
            if n < self.tree.size() {
                self.compare(n, leaf)?;
                continue;
            }
            tile::append_to_bundle(&mut self.bundle, &entry.0);
            let mut full = Vec::new();
            self.tree.push(leaf, |tile| full.push(tile));
            if full.is_empty() {
                continue;
            }
            let bundle = std::mem::take(&mut self.bundle);
            self.stage_tile(Level::Entries, tile::place(n).0, TILE_WIDTH, &bundle)?;
            self.bundle = bundle;
            self.bundle.clear();
            for tile in full {
                self.stage_tile(Level::Hashes(tile.level), tile.index, TILE_WIDTH, tile::tile_bytes(&tile.hashes))?;
            }
            if self.staged.len() >= self.most_staged {
                self.name_staged()?;
            }
        }
        Ok(())
    }

    /// Makes everything in the tree durable and signs a checkpoint of it; returns the number of entries that it covers.
    pub(super) fn publish(&mut self) -> Result<u64> {
        let size = self.tree.size();
        if size == self.published {
            return Ok(size);
        }
        for (level, index, width) in tile::partial_edge(size) {
            let bytes = tile::tile_bytes(&self.tree.edge()[usize::from(level)]).to_vec();
            self.stage_tile(Level::Hashes(level), index, width, &bytes)?;
            self.expect_partial(Level::Hashes(level), index);
            if level == 0 {
                let bundle = std::mem::take(&mut self.bundle);
                self.stage_tile(Level::Entries, index, width, &bundle)?;
                self.bundle = bundle;
                self.expect_partial(Level::Entries, index);
            }
        }
        // Everything that the checkpoint covers has its name before the checkpoint has.
        self.name_staged()?;
        let note = self.key.sign(size, self.tree.root());
        self.replace(self.folder.join("checkpoint"), note.as_bytes())?;
        self.published = size;
        self.note = note.into();
        for folder in self.superseded.drain(..) {
            // What stays is in nobody's way.
            let _ = self.disk.remove_folder(&folder);
        }
        Ok(size)
    }

    /// Deletes a segment of the journal that a durable checkpoint covers. What stays is compared and retired at the next start.
    pub(super) fn delete_segment(&self, path: &Path) {
        let _ = self.disk.remove(path);
    }

    /// Hands the log over to the key `next`, as the entry `n` announced: everything is published, the checkpoint gets the new key's signature
    /// beside that of the old one and is kept as the handover, and from now on the new key signs.
    pub(super) fn hand_over(&mut self, n: u64, next: SigningKey) -> Result<()> {
        self.publish()?;
        let both = next.sign_too(&self.note)?;
        let handover = rotation::path(&self.folder, n);
        // A start after a crash finds it there, with the same content: both signatures are a function of key and text.
        self.replace(handover, both.as_bytes())?;
        self.replace(self.folder.join("checkpoint"), both.as_bytes())?;
        (self.note, self.key) = (both.into(), next);
        Ok(())
    }

    /// Compares an entry that is in the log already with what was published.
    fn compare(&mut self, n: u64, leaf: Hash) -> Result<()> {
        let (index, place) = tile::place(n);
        let width = tile::bundle_width(index, self.published);
        let hashes = match self.compared.take() {
            Some((tile, hashes)) if tile == index => hashes,
            _ => read_tile(&self.folder, 0, index, width)?,
        };
        let same = hashes.get(place) == Some(&leaf);
        self.compared = Some((index, hashes));
        if same {
            return Ok(());
        }
        let tile = tile::path(Level::Hashes(0), index, width);
        Err(damaged(&self.folder.join("journal"), format!("entry {n} is another one than was published in {tile}")))
    }

    fn stage_tile(&mut self, level: Level, index: u64, width: usize, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(tile::path(level, index, width));
        if width == TILE_WIDTH {
            let partial = path.with_added_extension("p");
            if self.partial.remove(&partial) {
                self.superseded.push(partial);
            }
        }
        self.stage(path, bytes, false)
    }

    /// Puts a file in place of the one that has its name, durably.
    fn replace(&mut self, path: PathBuf, bytes: &[u8]) -> Result<()> {
        self.stage(path, bytes, true)?;
        self.name_staged()
    }

    /// Writes a file under its other name.
    fn stage(&mut self, path: PathBuf, bytes: &[u8], replaces: bool) -> Result<()> {
        let other = path.with_added_extension("new");
        let fail = |e: io::Error| lost(&other, "cannot be written", e);
        let file = match self.disk.create(&other) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&other).and_then(|()| self.disk.create(&other)).map_err(fail)?
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_folder(&self.disk, path.parent().unwrap_or(&self.folder))?;
                self.disk.create(&other).map_err(fail)?
            }
            created => created.map_err(fail)?,
        };
        self.disk.write(&file, bytes, 0).map_err(fail)?;
        self.staged.push(Staged { path, other, replaces });
        self.handles.push(file);
        Ok(())
    }

    /// Syncs the staged files.
    fn sync_staged(&self) -> Result<()> {
        if self.staged.len() > FEW_FILES {
            return self.disk.sync_many(&self.system, &self.handles).map_err(|e| lost(&self.folder, "cannot be synced", e));
        }
        let each = |(file, handle): (&Staged, &File)| self.disk.sync(handle).map_err(|e| lost(&file.path, "cannot be synced", e));
        self.staged.iter().zip(&self.handles).try_for_each(each)
    }

    /// Makes the staged files durable, then gives them their names, then makes the names durable.
    fn name_staged(&mut self) -> Result<()> {
        self.sync_staged()?;
        self.handles.clear();
        // As texts, which are compared faster than paths.
        let folders: BTreeSet<&OsStr> = self.staged.iter().filter_map(|file| file.path.parent().map(Path::as_os_str)).collect();
        let mut open = Vec::with_capacity(folders.len());
        for folder in folders.into_iter().map(Path::new) {
            open.push((folder, File::open(folder).map_err(|e| lost(folder, "cannot be opened", e))?));
        }
        for file in &self.staged {
            self.name(file)?;
        }
        for (folder, handle) in open {
            self.disk.sync_folder(&handle).map_err(|e| lost(folder, "cannot be synced", e))?;
        }
        self.staged.clear();
        Ok(())
    }

    /// Gives a staged file its name. A tile that has the name already must be the same, and stays; its own name may not be durable yet, so its
    /// folder is synced like that of a new one.
    fn name(&self, Staged { path, other, replaces }: &Staged) -> Result<()> {
        let named = if *replaces { self.disk.rename(other, path) } else { self.disk.name(other, path) };
        match named {
            Err(e) if !replaces && e.kind() == io::ErrorKind::AlreadyExists => {}
            named => return named.map_err(|e| lost(path, "cannot be renamed into place", e)),
        }
        let content = |path: &Path| fs::read(path).map_err(|e| lost(path, "cannot be read", e));
        if content(path)? != content(other)? {
            return Err(damaged(path, "another content was published before; restore the checkpoint and journal that belong to it"));
        }
        // What stays is in nobody's way.
        let _ = self.disk.remove(other);
        Ok(())
    }

    /// The folder in which partial versions of a tile lie.
    fn partial_folder(&self, level: Level, index: u64) -> PathBuf {
        self.folder.join(tile::path(level, index, TILE_WIDTH)).with_added_extension("p")
    }

    fn expect_partial(&mut self, level: Level, index: u64) {
        let folder = self.partial_folder(level, index);
        self.partial.insert(folder);
    }

    /// Removes what a crash left beside the tiles at the right edge: unfinished files, and partial tiles that are full by now.
    fn tidy(&self) {
        for partial in &self.partial {
            let beside = partial.parent().map(fs::read_dir).into_iter().flatten().flatten();
            for file in beside.chain(fs::read_dir(partial).into_iter().flatten()).flatten() {
                let path = file.path();
                if path.extension().is_some_and(|extension| extension == "new") {
                    let _ = self.disk.remove(&path);
                } else if path.extension().is_some_and(|extension| extension == "p") && path < *partial {
                    // Of one folder, so the order of the paths is that of the indices.
                    let _ = self.disk.remove_folder(&path);
                }
            }
        }
    }
}

/// How many files may wait for their names where a process may have so many open; no limit is none.
fn most_staged(open: Option<u64>) -> usize {
    open.map_or(MAX_STAGED, |open| usize::try_from(open / 4).unwrap_or(MAX_STAGED)).clamp(1, MAX_STAGED)
}

/// Makes a folder and its missing parents, durably.
fn make_folder(disk: &impl Disk, folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or_else(|| Path::new("."));
    make_folder(disk, above)?;
    let handle = File::open(above).map_err(|e| lost(above, "cannot be opened", e))?;
    disk.create_folders(folder).map_err(|e| lost(folder, "cannot be created", e))?;
    disk.sync_folder(&handle).map_err(|e| lost(above, "cannot be synced", e))
}

/// The checkpoint of the log in `folder`, its signature checked; `None` if there is none.
pub(super) fn read_checkpoint(folder: &Path, verifier: &Verifier) -> Result<Option<Checkpoint>> {
    match read_note(folder)? {
        Some(note) => verifier.verify(&note).map(Some).map_err(|e| e.context(shown(folder))),
        None => Ok(None),
    }
}

/// The checkpoint of the log in `folder` as it lies in its file; `None` if there is none.
pub(super) fn read_note(folder: &Path) -> Result<Option<Vec<u8>>> {
    let path = folder.join("checkpoint");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unread(&path, e)),
    };
    let mut note = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_CHECKPOINT), &mut note).map_err(|e| unread(&path, e))?;
    Ok(Some(note))
}

/// The hashes of a tile.
pub(super) fn read_tile(folder: &Path, level: u8, index: u64, width: usize) -> Result<Vec<Hash>> {
    let path = folder.join(tile::path(Level::Hashes(level), index, width));
    tile::read_tile(&read(&path)?, width).map_err(|what| damaged(&path, what))
}

/// The first `width` hashes of a tile: a partial one may have made way for the full one.
pub(super) fn tile_prefix(folder: &Path, level: u8, index: u64, width: usize) -> Result<Vec<Hash>> {
    let missing = |e: &Error| e.kind() == error::Kind::NotIntact && !folder.join(tile::path(Level::Hashes(level), index, width)).exists();
    match read_tile(folder, level, index, width) {
        Err(e) if width < TILE_WIDTH && missing(&e) => {
            let mut hashes = read_tile(folder, level, index, TILE_WIDTH).map_err(|_| e)?;
            hashes.truncate(width);
            Ok(hashes)
        }
        other => other,
    }
}

/// A file of the log that has to be there.
fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| unread(path, e))
}

/// A file that cannot be read: the log is not intact if it is missing, and no more than unreadable otherwise.
pub(super) fn unread(path: &Path, e: io::Error) -> Error {
    if e.kind() == io::ErrorKind::NotFound {
        return damaged(path, "expected a file, found none; restore it from a copy of the log");
    }
    Error::with_source(error::Kind::Io, format!("{}: cannot be read", shown(path)), e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_files_that_may_be_open_may_wait_for_their_names() {
        let most = [None, Some(u64::MAX), Some(4096), Some(1024), Some(64), Some(3), Some(0)].map(most_staged);
        assert_eq!(most, [512, 512, 512, 256, 16, 1, 1]);
    }
}
