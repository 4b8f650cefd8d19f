//! Removing records: the last look, the erasure, the proof.
//!
//! For each record: its directory is opened below the root; the file is looked at through a handle and compared with what the scan saw; the
//! record is read anew, sidecars included, and the guard asked; the name is looked at once more; the contents are overwritten if so configured;
//! the name is unlinked. Then the handle must have lost that link, or, without a handle, a listing of the directory at the end of the batch must not
//! show the file. The files that go with it follow, and every directory that was touched is synced once, before anything is reported as destroyed.
//!
//! **What cannot be closed.** Linux removes names, not files. Between the last look at a name and its `unlink` lie about a millionth of a second
//! in which somebody with the right to write to that directory can put another file under the name; then that file is unlinked. If the
//! record's own file lost no name by it, the handle tells afterwards, and the outcome says loudly that it happened; where the newcomer was renamed
//! over the record, the record is gone as intended, the newcomer with it, and nothing tells. Where nobody but this process's user and root may write to the directory, there is
//! nobody to do so, and the handle is left out. A directory that is moved out of the root while its descriptor is in use takes its records along;
//! a descriptor is used for a batch and at most a tenth of a second, and only on files whose fingerprint is still the same. File systems whose
//! servers keep their own books (NFS, CIFS, FUSE) get no handle, because an open one keeps them from removing the file.
//!
//! **After a crash** between two steps: the file is there untouched, or there and partly overwritten (a new modification time), or gone with
//! companions remaining, which `fetch` tells apart. Nothing is renamed or put aside, so nothing is ever left under another name.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, RawDir, unlinkat};
use rustix::io::Errno;

use super::dataset::Dataset;
use super::directory::{Cleared, Survey, Trouble, clear, examine};
use super::erase::{Account, Eraser, GRADES, OVERWRITTEN, UNLINKED};
use super::find::{obstacle, present_companions};
use super::pattern::{Captured, Position, split};
use super::reading::{Body, record};
use super::root::{Facts, Root, instant, open_dir, open_handle, words};
use super::walk::LISTING;
use crate::record::Record;
use crate::store::{Act, Evidence, Fate, Guard, Kept, Order};

/// Directories that wait for their sync at most; each holds a descriptor.
const WAITING: usize = 64;

/// A descriptor older than this is not used again without opening its path anew.
const FRESH: Duration = Duration::from_millis(100);

/// Names that are listed at most for each one that was unlinked, to see that it is gone. One name in a listing costs a fifth of one question.
const LISTED_FOR_EACH: usize = 4;

/// Time stamps of files advance in steps of up to 10 ms; a change within one step cannot be told from its predecessor.
const STEP: SignedDuration = SignedDuration::from_millis(25);

const DAMAGED: &str = "it could not be overwritten to its end as asked; it is damaged and still there";

/// One batch.
pub struct Removal<'a> {
    root: &'a Root,
    dataset: &'a Dataset,
    guard: &'a Guard<'a>,
    eraser: Eraser,
    /// Whether nothing below an overwrite is accepted.
    insists: bool,
    dirs: Vec<Directory>,
    /// What came out, after the fact, of records whose removal seemed to have gone well.
    afterwards: Vec<(usize, String)>,
}

/// An open directory and what its path says of the records in it.
struct Place {
    fd: OwnedFd,
    /// Whether somebody besides this process's user and root may put names into it.
    shared: bool,
    /// Where it stands in the pattern; `None` when no record can be in it.
    at: Option<Position>,
    captured: Captured,
}

struct Directory {
    path: Vec<u8>,
    place: Arc<Place>,
    opened: Instant,
    /// Positions of records whose end depends on this directory's sync.
    records: Vec<usize>,
    /// Whether a name was removed from it.
    changed: bool,
    /// Names that were unlinked and have not been looked for since, with the position of the record and what it was.
    unseen: Vec<(Vec<u8>, usize, Facts)>,
}

/// Removes one batch. One fate for each record, in order.
pub fn remove(root: &Root, dataset: &Dataset, order: &Order, records: &[Record], guard: &Guard<'_>) -> Vec<Fate> {
    if order.act == Act::Anonymise {
        return records.iter().map(|_| failed("files cannot be anonymised", false)).collect();
    }
    let accepted = order.at_least.as_deref().unwrap_or(UNLINKED);
    let reachable = if dataset.overwrite { OVERWRITTEN } else { UNLINKED };
    if !Evidence::reaches(reachable, accepted, GRADES) {
        let why = format!("the dataset's erasure reaches `{reachable}` at best");
        return records.iter().map(|_| Fate::Kept(Kept::CannotMeetGrade(why.clone()))).collect();
    }
    let mut removal = Removal {
        root,
        dataset,
        guard,
        eraser: Eraser::new(root.fd(), dataset.overwrite),
        insists: accepted != UNLINKED,
        dirs: Vec::new(),
        afterwards: Vec::new(),
    };
    let mut fates: Vec<Option<Fate>> = vec![None; records.len()];
    for index in by_inode(records) {
        fates[index] = Some(removal.one(index, &records[index]));
    }
    removal.sync_all();
    for (index, trouble) in removal.afterwards {
        if matches!(fates[index], Some(Fate::Done(_) | Fate::Absent)) {
            fates[index] = Some(failed(&trouble, true));
        }
    }
    fates.into_iter().map(|fate| fate.unwrap_or_else(|| failed("its turn did not come", false))).collect()
}

/// Positions of the records as they are taken: records of one directory that follow each other by the number of their inode. File systems list a
/// directory in the order of a hash and keep inodes in that of creation, and freeing neighbours one after the other costs a tenth less.
fn by_inode(records: &[Record]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    let parent = |index: &usize| split(records[*index].key.as_bytes()).map(|(parent, _)| parent);
    for together in order.chunk_by_mut(|one, next| parent(one) == parent(next)) {
        together.sort_by_key(|index| Facts::packed_ino(&records[*index].fingerprint));
    }
    order
}

/// Whether somebody besides this process's user and root may put names into a directory. The group's bits bound every access control list.
fn others_may_write(dir: &OwnedFd) -> bool {
    rustix::fs::fstat(dir).map_or(true, |stat| {
        let ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
        !ours || stat.st_mode & 0o022 != 0
    })
}

/// The names in a directory, if there are not more than `most` and it can be read.
fn names_left(dir: &OwnedFd, most: usize) -> Option<HashSet<Vec<u8>>> {
    // Opened anew: a descriptor has one place in its directory.
    let fd = open_dir(dir, b".").ok()?;
    let mut buffer = Vec::with_capacity(LISTING);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut left = HashSet::new();
    while let Some(entry) = entries.next() {
        left.insert(entry.ok()?.file_name().to_bytes().to_vec());
        if left.len() > most {
            return None;
        }
    }
    Some(left)
}

/// Syncs a directory by way of the C library, so that one in front of it (a test's, a debugger's) can fail or delay it.
fn fsync(dir: &OwnedFd) -> rustix::io::Result<()> {
    dir.try_clone().and_then(|dir| File::from(dir).sync_all()).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn failed(error: &str, uncertain: bool) -> Fate {
    Fate::Failed { error: error.to_owned(), uncertain }
}

fn changed(what: impl Into<String>) -> Fate {
    Fate::Kept(Kept::Changed(what.into()))
}

impl Removal<'_> {
    fn one(&mut self, index: usize, seen: &Record) -> Fate {
        let key = seen.key.as_bytes();
        let foreign = || failed("the key is none of this dataset", false);
        let Some((parent, name)) = split(key) else { return foreign() };
        let pattern = &self.dataset.pattern;
        let place = match self.place(parent) {
            Ok(place) if !place.at.is_some_and(|at| pattern.accepts(at, name)) => return foreign(),
            Ok(place) => place,
            Err(_) if !pattern.matches(key) => return foreign(),
            Err(Errno::NOENT | Errno::NOTDIR) => return Fate::Absent,
            Err(error @ (Errno::LOOP | Errno::XDEV)) => return changed(obstacle(error)),
            Err(error) => return failed(&format!("its directory cannot be opened: {}", words(error)), false),
        };
        let fate = if self.dataset.directories() {
            self.directory(index, seen, &place.fd, parent, name)
        } else {
            self.file(index, seen, &place, parent, name)
        };
        if !matches!(fate, Fate::Kept(_)) {
            self.touched(parent, index);
        }
        fate
    }

    fn file(&mut self, index: usize, seen: &Record, place: &Place, parent: &[u8], name: &[u8]) -> Fate {
        let dir = &place.fd;
        let watched = self.eraser.medium.counts_links && place.shared;
        let handle = if watched { open_handle(dir, name).map(Some) } else { Ok(None) };
        let facts = handle.and_then(|handle| {
            let facts = handle.as_ref().map_or_else(|| Facts::at(dir, name), Facts::of_handle)?;
            Ok((handle, facts))
        });
        let (handle, facts) = match facts {
            Ok(found) => found,
            Err(Errno::NOENT) => return self.remains(index, seen, dir, parent, name),
            Err(error @ (Errno::LOOP | Errno::XDEV)) => return changed(obstacle(error)),
            Err(error) => return failed(&words(error), false),
        };
        if let Some(what) = facts.differs(&seen.fingerprint) {
            return changed(what);
        }
        let mut companions = match present_companions(self.dataset, dir, parent, name) {
            Ok(there) => there,
            Err(error) => return failed(&format!("files that go with it cannot be read: {}", words(error)), false),
        };
        let mut account = Account::new(self.dataset.overwrite);
        let mut prepared = Vec::with_capacity(companions.len() + 1);
        if self.dataset.overwrite {
            for (name, facts) in std::iter::once((name, &facts)).chain(companions.iter().map(|(name, facts)| (name.as_slice(), facts))) {
                match self.eraser.examine(dir, name, facts) {
                    Ok(ready) => prepared.push(Some(ready)),
                    Err((_, why)) if self.insists => return Fate::Kept(Kept::CannotMeetGrade(why)),
                    Err((caveat, _)) => {
                        account.lower(caveat);
                        prepared.push(None);
                    }
                }
            }
        }
        let pattern = &self.dataset.pattern;
        let whole = pattern.tail_captures().then(|| pattern.capture(seen.key.as_bytes()));
        let captured = whole.as_ref().unwrap_or(&place.captured);
        let now = record(self.dataset, seen.key.clone(), dir, name, captured, &Body::of(&facts), &facts.pack());
        if let Some(kept) = (self.guard)(index, &now) {
            return Fate::Kept(kept);
        }
        // The last look: the same file under the same name, unchanged through all that reading. Where the first look was at the name itself, nobody
        // else can change names, and no file was read since, it would be the same look twice.
        let read_since = self.dataset.overwrite || self.dataset.has_sidecars() || !companions.is_empty();
        match if place.shared || read_since { Facts::at(dir, name) } else { Ok(facts) } {
            Ok(last) if last == facts => {}
            Ok(last) => return changed(last.differs(&seen.fingerprint).unwrap_or("it was linked or unlinked elsewhere")),
            Err(Errno::NOENT) => return self.remains(index, seen, dir, parent, name),
            Err(error) => return failed(&words(error), false),
        }
        account.links(&facts);
        let mut prepared = prepared.into_iter();
        if let Some(ready) = prepared.next().flatten() {
            // The handle open for writing must be this file too: what was found under the name may have been another for a moment.
            if !ready.facts().is_ok_and(|held| held == facts) {
                return changed("another file stood in its place for a moment");
            }
            self.eraser.wipe(&ready, &mut account);
            if self.insists && !account.overwritten {
                return failed(DAMAGED, true);
            }
            if !Facts::at(dir, name).is_ok_and(|now| now.same_inode(&facts)) {
                return failed("it was overwritten, but its name was moved meanwhile; look for it", true);
            }
        }
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return failed("its name vanished at the last moment; it may have been moved", true),
            // Nothing was done to it, unless it was overwritten before, or the disk broke on the way.
            Err(error) => return failed(&words(error), self.dataset.overwrite || error == Errno::IO),
        }
        let lost = handle.as_ref().map(|handle| Facts::of_handle(handle).map(|after| after.links));
        if let Some(lost) = lost
            && lost != Ok(facts.links - 1)
        {
            let error = "SOMEBODY CHANGED THE DIRECTORY AT THE VERY MOMENT OF REMOVAL: another file may have been unlinked in its place; compare with a backup";
            return failed(error, true);
        }
        // The handle has told that this file lost a name; without one the directory is asked, for all of a batch at once.
        self.changed();
        if handle.is_none() && companions.is_empty() {
            if let Some(last) = self.dirs.last_mut() {
                last.unseen.push((name.to_vec(), index, facts));
            }
        } else if handle.is_none() && Facts::at(dir, name).map_or_else(|error| error != Errno::NOENT, |now| now.same_inode(&facts)) {
            // What goes with it, its dates perhaps, stays with it.
            return failed("it was unlinked and is still there", true);
        }
        for (at, ready) in prepared.enumerate() {
            if let Some(ready) = ready
                && companions.get(at).is_some_and(|(_, facts)| ready.facts().is_ok_and(|held| held == *facts))
            {
                self.eraser.wipe(&ready, &mut account);
            }
        }
        self.finish(dir, &mut companions, account)
    }

    /// The main part is gone; what goes with it follows.
    fn finish(&mut self, dir: &OwnedFd, companions: &mut Vec<(Vec<u8>, Facts)>, mut account: Account) -> Fate {
        for (name, facts) in companions.drain(..) {
            account.links(&facts);
            let same = match Facts::at(dir, name.as_slice()) {
                Ok(now) => now.same_inode(&facts),
                Err(Errno::NOENT) => continue,
                Err(_) => false,
            };
            let removed = if same { unlinkat(dir, name.as_slice(), AtFlags::empty()) } else { Err(Errno::EXIST) };
            if removed.is_ok() {
                self.changed();
            }
            if !matches!(removed, Ok(()) | Err(Errno::NOENT)) {
                return failed("the record is gone, but a file that goes with it could not be removed", true);
            }
            account.parts += 1;
        }
        let method = if account.overwritten { "overwrite" } else { "unlink" };
        let (grade, caveats, parts) = account.close(&self.eraser.medium);
        Fate::Done(Evidence { method, grade, verified: true, caveats: caveats.into(), parts })
    }

    /// The record is gone already; what went with it may not be. Nothing is reported as destroyed here.
    fn remains(&mut self, index: usize, seen: &Record, dir: &OwnedFd, parent: &[u8], name: &[u8]) -> Fate {
        let mut companions = match present_companions(self.dataset, dir, parent, name) {
            Ok(there) if there.is_empty() => return Fate::Absent,
            Ok(there) => there,
            Err(error) => return failed(&format!("files that go with it cannot be read: {}", words(error)), true),
        };
        if let Some(kept) = (self.guard)(index, seen) {
            return Fate::Kept(kept);
        }
        let mut account = Account::new(self.dataset.overwrite);
        if self.dataset.overwrite {
            for (name, facts) in &companions {
                match self.eraser.examine(dir, name, facts) {
                    Ok(ready) => self.eraser.wipe(&ready, &mut account),
                    Err((_, why)) if self.insists => return Fate::Kept(Kept::CannotMeetGrade(why)),
                    Err((caveat, _)) => account.lower(caveat),
                }
            }
        }
        match self.finish(dir, &mut companions, account) {
            Fate::Done(_) => Fate::Absent,
            other => other,
        }
    }

    fn directory(&mut self, index: usize, seen: &Record, dir: &OwnedFd, parent: &[u8], name: &[u8]) -> Fate {
        let inside = match open_dir(dir, name) {
            Ok(inside) => inside,
            Err(Errno::NOENT) => return self.remains(index, seen, dir, parent, name),
            Err(Errno::NOTDIR) => return changed("it is no longer a directory"),
            Err(error @ (Errno::LOOP | Errno::XDEV)) => return changed(obstacle(error)),
            Err(error) => return failed(&words(error), false),
        };
        let mut survey = match Survey::of(&inside) {
            Ok(survey) => survey,
            Err(trouble) => return failed(&trouble.to_string(), false),
        };
        // What changes from now on must be later than everything that was seen, and be seen to be later.
        let wait = instant(survey.newest).map(|newest| newest.duration_since(crate::clock::now()) + STEP);
        match wait.map(Duration::try_from) {
            Some(Ok(wait)) if wait <= STEP.unsigned_abs() => {
                std::thread::sleep(wait);
                match Survey::of(&inside) {
                    Ok(again) if again.newest == survey.newest => survey = again,
                    Ok(_) | Err(Trouble::System(Errno::NOENT)) => return changed("something inside was changed a moment ago"),
                    Err(trouble) => return failed(&trouble.to_string(), false),
                }
            }
            // The time has passed already: the difference is negative.
            Some(Err(_)) => {}
            Some(Ok(_)) | None => return changed("something inside bears a time of the future"),
        }
        let fingerprint = survey.fingerprint();
        if *fingerprint != *seen.fingerprint {
            return changed("something inside was added, changed or removed");
        }
        if self.insists
            && let Err((_, why)) = examine(&inside, 0, &self.eraser)
        {
            return Fate::Kept(Kept::CannotMeetGrade(why));
        }
        let captured = self.dataset.pattern.capture(seen.key.as_bytes());
        let now = record(self.dataset, seen.key.clone(), dir, name, &captured, &survey.body, &fingerprint);
        if let Some(kept) = (self.guard)(index, &now) {
            return Fate::Kept(kept);
        }
        if survey.body.doubt.is_some() {
            return failed("another file system is mounted inside", false);
        }
        let mut companions = match present_companions(self.dataset, dir, parent, name) {
            Ok(there) => there,
            Err(error) => return failed(&format!("files that go with it cannot be read: {}", words(error)), false),
        };
        let mut account = Account::new(self.dataset.overwrite);
        let mut cleared = Cleared::default();
        let left = clear(&inside, survey.newest, &mut self.eraser, self.dataset.overwrite, &mut account, &mut cleared);
        if left > 0 {
            return match cleared.failed {
                None if cleared.gone == 0 => changed("something inside was changed at the last moment"),
                None => failed(
                    &format!("{left} entries inside appeared or changed while it was being removed and were left; the rest is gone"),
                    true,
                ),
                Some(why) => {
                    failed(&format!("part of it could not be removed ({why}); {} entries are gone", cleared.gone), cleared.gone > 0)
                }
            };
        }
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) => self.changed(),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                return failed("something appeared inside while it was being removed; the rest is gone", true);
            }
            Err(error) => return failed(&format!("its contents are gone, the directory could not be removed: {}", words(error)), true),
        }
        if !matches!(Facts::at(dir, name), Err(Errno::NOENT)) {
            return failed("it was removed, and something stands under its name again", true);
        }
        if self.dataset.overwrite {
            for (name, facts) in &companions {
                self.eraser.overwrite(dir, name, facts, &mut account);
            }
        }
        self.finish(dir, &mut companions, account)
    }

    /// The open directory of a path: the same descriptor for records that follow each other closely.
    fn place(&mut self, path: &[u8]) -> rustix::io::Result<Arc<Place>> {
        if let Some(known) = self.dirs.last()
            && known.path == path
            && known.opened.elapsed() < FRESH
        {
            return Ok(Arc::clone(&known.place));
        }
        let fd = self.root.dir(path)?;
        if self.dirs.last().is_some_and(|last| last.records.is_empty()) {
            self.dirs.pop();
        }
        if self.dirs.len() >= WAITING {
            self.sync_all();
        }
        let (at, captured) = self.dataset.pattern.of_directory(path);
        let place = Arc::new(Place { shared: others_may_write(&fd), fd, at, captured });
        self.dirs.push(Directory {
            path: path.to_vec(),
            place: Arc::clone(&place),
            opened: Instant::now(),
            records: Vec::new(),
            changed: false,
            unseen: Vec::new(),
        });
        Ok(place)
    }

    /// A name was removed from the directory of the record in hand.
    fn changed(&mut self) {
        if let Some(last) = self.dirs.last_mut() {
            last.changed = true;
        }
    }

    fn touched(&mut self, path: &[u8], index: usize) {
        if let Some(last) = self.dirs.last_mut()
            && last.path == path
        {
            last.records.push(index);
        }
    }

    /// Looks whether the names that were unlinked are gone, or are other files by now.
    fn verify(&mut self, dir: &Directory) {
        if dir.unseen.is_empty() {
            return;
        }
        let fd = &dir.place.fd;
        let still_there = |(name, _, facts): &&(Vec<u8>, usize, Facts)| match Facts::at(fd, name.as_slice()) {
            Ok(now) => now.same_inode(facts),
            Err(error) => error != Errno::NOENT,
        };
        // Mostly a directory has few names left, so that one listing tells more cheaply than a question for each.
        let listed = names_left(fd, LISTED_FOR_EACH * dir.unseen.len());
        let suspects = dir.unseen.iter().filter(|(name, ..)| listed.as_ref().is_none_or(|left| left.contains(name)));
        for (_, index, _) in suspects.filter(still_there) {
            self.afterwards.push((*index, "it was unlinked and is still there".to_owned()));
        }
    }

    /// Makes durable what was done so far, and gives every record the failure of the sync it depends on: where all directories share one journal
    /// the sync of the one that was changed last, elsewhere the sync of its own.
    fn sync_all(&mut self) {
        let dirs: Vec<Directory> = std::mem::take(&mut self.dirs).into_iter().filter(|dir| !dir.records.is_empty()).collect();
        // The sync of a directory that was not changed waits for nothing.
        let last = dirs.iter().rev().find(|dir| dir.changed).filter(|_| self.eraser.medium.one_journal);
        let together = last.map(|dir| fsync(&dir.place.fd));
        for dir in dirs {
            self.verify(&dir);
            if let Err(error) = together.unwrap_or_else(|| fsync(&dir.place.fd)) {
                let trouble = format!("it was removed, but its directory could not be synced: {}", words(error));
                self.afterwards.extend(dir.records.iter().map(|index| (*index, trouble.clone())));
            }
            if self.dataset.prune_empty {
                self.prune(&dir.path);
            }
        }
    }

    /// Removes directories that became empty, upwards; never the root, and none that the pattern names literally.
    fn prune(&self, path: &[u8]) {
        let mut path = path;
        while !path.is_empty() && path.split(|byte| *byte == b'/').count() > self.dataset.pattern.fixed() {
            let Some((parent, name)) = split(path) else { return };
            let Ok(dir) = self.root.dir(parent) else { return };
            // Only an empty directory can be removed this way; whatever hinders it, it stays.
            if unlinkat(&dir, name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
            // A directory that comes back empty after a power cut does no harm.
            let _ = fsync(&dir);
            path = parent;
        }
    }
}
