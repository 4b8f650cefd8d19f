//! Power cuts: every state that the disk can be in when the power goes, as far as the log's own calls leave it open.
//!
//! A disk that writes down every operation is put under a log that lives through two processes. Then the power is cut after each operation of that
//! history in turn, and for each cut many disks are made that the history allows. Each must open, hold every entry that was answered as committed,
//! contain every checkpoint that was answered as published, verify, and go on. Some of them are put under a third process, which is cut off again.
//!
//! **What a power cut may do here.** It is what POSIX allows, which is less than any Linux file system promises:
//!
//! - What was written to a file since its last sync may be there, or not, or in part: cut at any sector of 512 bytes, sectors of it zeros or garbage,
//!   or only the file's new length with zeros. Each write for itself: a later one may be there without an earlier one. A cut of the length likewise.
//! - A name that was made, changed or removed since its folder's last sync may be as before or as after, each for itself, in any order. A
//!   rename is whole or not at all. That the file was synced says nothing about its name, and its name nothing about its contents.
//! - A folder that is lost takes along what is in it.
//! - What was synced stays: a disk that lies about that is beyond any program. `sync_many`, a commit of the whole file system, is taken to sync
//!   no more than the files it is called for. Setting blocks aside changes nothing that can be seen.
//!
//! Where what is open can be counted out, all of it is; beyond that come samples, from fixed seeds. Keys and lock are no part of it: they are
//! there before ([`super::secret`] has its own order).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::Timestamp;

use super::disk::{Disk, RealDisk};
use super::faults::{BATCHES, expect_whole, intent};
use super::keys::Keys;
use super::tests::{drafts, entries, wait, without_checkpoint};
use super::tree::{leaf_hash, root};
use super::*;

/// The unit in which a medium writes.
const SECTOR: usize = 512;

/// Up to so many disks are made for one cut; what has more possibilities is sampled.
const DISKS_A_CUT: usize = 32;

/// A file, whatever its names are.
type Id = usize;

/// Something that was done, or answered, in order.
#[derive(Clone, Debug)]
enum Step {
    Folder(PathBuf),
    Create(PathBuf, Id),
    Write(Id, u64, Arc<[u8]>),
    Cut(Id, u64),
    Sync(Id),
    Rename(PathBuf, PathBuf, Id),
    Remove(PathBuf),
    SyncFolder(PathBuf),
    /// A caller was told that these entries are committed: first index, tag, count.
    Committed(u64, String, usize),
    /// A caller was told that this checkpoint is durable.
    Published(u64, String),
}

/// What is on a medium: names below the state folder (a folder's name stands for no file), and files.
#[derive(Clone, Debug, Default)]
struct Medium {
    names: BTreeMap<PathBuf, Option<Id>>,
    files: BTreeMap<Id, Vec<u8>>,
}

#[derive(Debug, Default)]
struct Recording {
    folder: PathBuf,
    steps: Vec<Step>,
    ids: HashMap<u64, Id>,
    next: Id,
}

impl Recording {
    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.folder).unwrap().to_owned()
    }

    fn id(&self, file: &File) -> Id {
        self.ids[&file.metadata().unwrap().ino()]
    }
}

/// A disk that does what it is asked, never waits for the medium, and writes everything down.
#[derive(Clone, Debug)]
struct RecordingDisk(Arc<Mutex<Recording>>);

impl RecordingDisk {
    /// Begins with what is on a disk already.
    fn new(folder: &Path, medium: &Medium) -> Self {
        let mut recording = Recording { folder: folder.to_owned(), ..Recording::default() };
        for (path, id) in medium.names.iter().filter_map(|(path, id)| Some((path, (*id)?))) {
            let file = fs::metadata(folder.join(path));
            if let Ok(file) = file {
                recording.ids.insert(file.ino(), id);
            }
        }
        recording.next = medium.files.keys().max().map_or(0, |id| id + 1);
        Self(Arc::new(Mutex::new(recording)))
    }

    /// Does something and writes it down, nothing else in between.
    fn note<T>(&self, act: impl FnOnce() -> io::Result<T>, step: impl FnOnce(&mut Recording, &T) -> Step) -> io::Result<T> {
        let mut recording = self.0.lock().unwrap();
        let done = act()?;
        let step = step(&mut recording, &done);
        recording.steps.push(step);
        Ok(done)
    }

    /// Gives a file another name by `act` and writes it down.
    fn moved(&self, from: &Path, to: &Path, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "the model knows renames within a folder only");
        self.note(act, |recording, ()| {
            let id = recording.ids[&fs::metadata(to).unwrap().ino()];
            Step::Rename(recording.below(from), recording.below(to), id)
        })
    }

    fn told(&self, step: Step) {
        self.0.lock().unwrap().steps.push(step);
    }
}

impl Disk for RecordingDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.note(|| fs::create_dir(path), |recording, ()| Step::Folder(recording.below(path)))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.note(
            || RealDisk.create(path),
            |recording, file| {
                let id = recording.next;
                recording.next += 1;
                recording.ids.insert(file.metadata().unwrap().ino(), id);
                Step::Create(recording.below(path), id)
            },
        )
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.note(|| file.write_all_at(bytes, offset), |recording, ()| Step::Write(recording.id(file), offset, bytes.into()))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.note(|| Ok(()), |recording, ()| Step::Sync(recording.id(file)))
    }

    fn sync_many(&self, _system: &File, files: &[File]) -> io::Result<()> {
        files.iter().try_for_each(|file| self.sync(file))
    }

    fn reserve(&self, _file: &File, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.note(|| file.set_len(length), |recording, ()| Step::Cut(recording.id(file), length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.moved(from, to, || RealDisk.rename(from, to))
    }

    fn name(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.moved(from, to, || RealDisk.name(from, to))
    }

    fn sync_folder(&self, folder: &File) -> io::Result<()> {
        let path = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(folder)))?;
        // The folder above the state folder is not ours.
        self.note(|| Ok(()), |recording, ()| Step::SyncFolder(recording.below(&path)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note(|| RealDisk.remove(path), |recording, ()| Step::Remove(recording.below(path)))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        for file in fs::read_dir(path)? {
            self.remove(&file?.path())?;
        }
        self.note(|| fs::remove_dir(path), |recording, ()| Step::Remove(recording.below(path)))
    }
}

/// How much of a step a medium holds after the cut.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Nothing,
    All,
    /// A write up to a sector.
    Begin(usize),
    /// The new length of the file, and zeros.
    Length,
    /// All but one sector, which is zeros.
    Hole(usize),
    /// All but one sector, which is something else.
    Garbage(usize),
}

impl Medium {
    /// What lies in a folder, all of it synced.
    fn read(folder: &Path) -> Self {
        fn walk(medium: &mut Medium, folder: &Path, below: &Path) {
            for file in fs::read_dir(folder.join(below)).unwrap() {
                let file = file.unwrap();
                let path = below.join(file.file_name());
                if file.file_type().unwrap().is_dir() {
                    medium.names.insert(path.clone(), None);
                    walk(medium, folder, &path);
                } else {
                    let id = medium.files.len();
                    medium.files.insert(id, fs::read(file.path()).unwrap());
                    medium.names.insert(path, Some(id));
                }
            }
        }
        let mut medium = Self::default();
        if folder.join("audit").exists() {
            medium.names.insert("audit".into(), None);
            walk(&mut medium, folder, Path::new("audit"));
        }
        medium
    }

    fn apply(&mut self, step: &Step, kept: Kept) {
        let all = !matches!(kept, Kept::Nothing);
        match step {
            Step::Write(id, offset, bytes) if all => {
                let at = usize::try_from(*offset).unwrap();
                let content = self.files.entry(*id).or_default();
                let upto = if let Kept::Begin(upto) = kept { upto.min(bytes.len()) } else { bytes.len() };
                content.resize(content.len().max(at + upto), 0);
                content[at..at + upto].copy_from_slice(&bytes[..upto]);
                let hole = match kept {
                    Kept::Length => 0..bytes.len(),
                    Kept::Hole(from) | Kept::Garbage(from) => from..(from + SECTOR).min(bytes.len()),
                    _ => 0..0,
                };
                let filling = if let Kept::Garbage(_) = kept { 0xa5 } else { 0 };
                content[at + hole.start..at + hole.end].fill(filling);
            }
            Step::Cut(id, length) if all => self.files.entry(*id).or_default().resize(usize::try_from(*length).unwrap(), 0),
            Step::Folder(path) if all => drop(self.names.insert(path.clone(), None)),
            Step::Create(path, id) => {
                // The file is there from the beginning; its name may not be.
                self.files.entry(*id).or_default();
                if all {
                    self.names.insert(path.clone(), Some(*id));
                }
            }
            Step::Rename(from, to, id) if all => {
                self.names.remove(from);
                self.names.insert(to.clone(), Some(*id));
            }
            Step::Remove(path) if all => drop(self.names.remove(path)),
            _ => {}
        }
    }

    /// Puts it on a real disk, in a folder that holds the keys already. A name whose folder is not there cannot be reached.
    fn lay_out(&self, folder: &Path) {
        for (path, id) in &self.names {
            let whole = folder.join(path);
            if whole.parent().is_some_and(Path::is_dir) {
                match id {
                    Some(id) => fs::write(whole, &self.files[id]).unwrap(),
                    None => fs::create_dir(whole).unwrap(),
                }
            }
        }
    }

    /// What of it can be reached, as a number.
    fn digest(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        for (path, id) in &self.names {
            let reached = path.ancestors().skip(1).all(|above| above.as_os_str().is_empty() || self.names.contains_key(above));
            if reached {
                (path, id.map(|id| &self.files[&id])).hash(&mut hash);
            }
        }
        hash.finish()
    }
}

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).unwrap()
    }

    /// A write that was under way.
    fn torn(&mut self, length: usize) -> Kept {
        let sector = self.below(length.div_ceil(SECTOR)) * SECTOR;
        match self.below(4) {
            0 => Kept::Begin(sector),
            1 => Kept::Length,
            2 => Kept::Hole(sector),
            _ => Kept::Garbage(sector),
        }
    }
}

/// What is on the medium for sure after these steps, and what is open, in order.
fn settled<'a>(begin: &Medium, steps: &'a [Step]) -> (Medium, Vec<&'a Step>) {
    let (mut medium, mut open) = (begin.clone(), Vec::<&Step>::new());
    for step in steps {
        match step {
            Step::Committed(..) | Step::Published(..) => {}
            Step::Sync(_) | Step::SyncFolder(_) => {
                let (done, still): (Vec<_>, Vec<_>) = open.drain(..).partition(|earlier| makes_durable(step, earlier));
                done.into_iter().for_each(|step| medium.apply(step, Kept::All));
                open = still;
            }
            other => open.push(other),
        }
    }
    (medium, open)
}

/// Whether a sync covers an earlier step.
fn makes_durable(sync: &Step, step: &Step) -> bool {
    match (sync, step) {
        (Step::Sync(synced), Step::Write(id, ..) | Step::Cut(id, _)) => id == synced,
        (Step::SyncFolder(folder), Step::Folder(path) | Step::Create(path, _) | Step::Rename(_, path, _) | Step::Remove(path)) => {
            path.parent() == Some(folder)
        }
        _ => false,
    }
}

/// The disks that may be found after the power was cut behind these steps.
fn disks(begin: &Medium, steps: &[Step], dice: &mut Dice) -> Vec<Medium> {
    let (sure, open) = settled(begin, steps);
    // Nothing of a step, all of it, or for a write a part.
    let ways = |step: &Step| if matches!(step, Step::Write(..)) { 3 } else { 2 };
    let possible = open.iter().try_fold(1_usize, |product, step| product.checked_mul(ways(step))).unwrap_or(usize::MAX);
    let make = |number: usize, random: bool, dice: &mut Dice| {
        let (mut medium, mut number) = (sure.clone(), number);
        for step in &open {
            let way = if random { dice.below(ways(step)) } else { number % ways(step) };
            number /= ways(step);
            let kept = match (way, step) {
                (0, _) => Kept::Nothing,
                (2, Step::Write(_, _, bytes)) => dice.torn(bytes.len()),
                _ => Kept::All,
            };
            medium.apply(step, kept);
        }
        medium
    };
    if possible <= DISKS_A_CUT {
        // Parts of a write are many, so each way is gone twice.
        return (0..2 * possible).map(|number| make(number % possible, false, dice)).collect();
    }
    let mut all = sure.clone();
    open.iter().for_each(|step| all.apply(step, Kept::All));
    let mut disks = vec![make(0, false, dice), all];
    disks.extend((2..DISKS_A_CUT).map(|_| make(0, true, dice)));
    disks
}

/// A folder with keys, which all these logs have in common.
fn with_keys(keys: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    for name in ["log.key", "log.vkey"] {
        fs::copy(keys.join(name), dir.path().join("keys").join(name)).unwrap();
    }
    dir
}

/// One process: opens the log, commits across a tile's border with an intent among it, publishes in between, and ends in good order or not.
fn process(disk: &RecordingDisk, state: &Path, name: usize, closes: bool) {
    let log = AuditLog::open_on(disk.clone(), Box::new(Timestamp::now), &Settings::new(state, "hq-1")).unwrap().log;
    for (turn, count) in BATCHES.into_iter().enumerate() {
        let tag = format!("{name}/{turn}");
        let mut batch = drafts(count, &tag);
        if turn == 1 {
            batch.push(intent(name));
        }
        let committed = log.commit_blocking(batch).unwrap();
        disk.told(Step::Committed(committed.first(), tag, count));
        if turn == 1 {
            let size = wait(log.publish()).unwrap();
            let note = fs::read(state.join("audit/checkpoint")).unwrap();
            let checkpoint = Checkpoint::read_unverified(&note).unwrap();
            assert!(checkpoint.size >= size);
            disk.told(Step::Published(checkpoint.size, checkpoint.root_base64()));
        }
    }
    if closes {
        wait(log.close()).unwrap();
    }
}

/// Entries that were answered as committed: first index, tag, count.
type Answered = Vec<(u64, String, usize)>;

/// What callers were told in these steps: entries, and checkpoints by size and root.
fn promises(steps: &[Step]) -> (Answered, Vec<(u64, String)>) {
    let committed = steps.iter().filter_map(|step| match step {
        Step::Committed(first, tag, count) => Some((*first, tag.clone(), *count)),
        _ => None,
    });
    let published = steps.iter().filter_map(|step| match step {
        Step::Published(size, root) => Some((*size, root.clone())),
        _ => None,
    });
    (committed.collect(), published.collect())
}

/// Lays a disk out and holds the log on it against what callers were told.
fn judge(medium: &Medium, keys: &Path, steps: &[Step], what: &str) {
    let dir = with_keys(keys);
    medium.lay_out(dir.path());
    let (committed, published) = promises(steps);
    expect_whole(dir.path(), &committed, what);
    let leaves: Vec<_> = entries(dir.path()).iter().map(|entry| leaf_hash(entry)).collect();
    for (size, signed) in published {
        let part = root(&leaves[..usize::try_from(size).unwrap()]);
        assert_eq!(Checkpoint { origin: String::new(), size, root: part }.root_base64(), signed, "{what}");
    }
}

/// Cuts the power behind each of the steps from `from` on and judges what may be found; `every` thins the cuts out. Answers how many disks differed.
fn cut_everywhere(begin: &Medium, steps: &[Step], (from, every): (usize, usize), keys: &Path, seed: u64) -> usize {
    let mut seen = HashSet::new();
    for cut in (from..=steps.len()).step_by(every) {
        let steps = &steps[..cut];
        let told = promises(steps).0.len();
        for (number, medium) in disks(begin, steps, &mut Dice(seed ^ (cut as u64) << 32)).into_iter().enumerate() {
            // The same disk with the same promises has been judged.
            if seen.insert((medium.digest(), told)) {
                judge(&medium, keys, steps, &format!("seed {seed}, cut behind step {cut} ({:?}), disk {number}", steps.last().map(short)));
            }
        }
    }
    seen.len()
}

/// A step without the bytes that it wrote.
fn short(step: &Step) -> String {
    match step {
        Step::Write(id, offset, bytes) => format!("{} bytes to file {id} at {offset}", bytes.len()),
        other => format!("{other:?}"),
    }
}

/// The life of a log through two processes, written down.
fn two_processes(keys: &Path) -> Vec<Step> {
    let dir = with_keys(keys);
    let disk = RecordingDisk::new(dir.path(), &Medium::default());
    process(&disk, dir.path(), 0, true);
    process(&disk, dir.path(), 1, false);
    std::mem::take(&mut disk.0.lock().unwrap().steps)
}

#[test]
fn whatever_a_power_cut_leaves_opens_holds_what_was_promised_and_verifies() {
    let keys = tempfile::tempdir().unwrap();
    Keys::new(keys.path(), "hq-1", None).create().unwrap();
    let steps = two_processes(keys.path());
    // Two halves side by side.
    let disks: usize = thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let (steps, keys) = (&steps, keys.path());
            scope.spawn(move || cut_everywhere(&Medium::default(), steps, (half, 2), keys, 1))
        });
        halves.map(|half| half.join().unwrap()).iter().sum()
    });
    println!("{} steps, {disks} different disks", steps.len());
    assert!(steps.len() > 100 && disks > 500, "{} steps, {disks} disks", steps.len());
}

#[test]
fn a_power_cut_while_the_log_recovers_from_a_power_cut_leaves_as_little_to_doubt() {
    let keys = tempfile::tempdir().unwrap();
    Keys::new(keys.path(), "hq-1", None).create().unwrap();
    let steps = two_processes(keys.path());
    let lives = 6_u64;
    let disks: usize = thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let (steps, keys) = (&steps, keys.path());
            scope.spawn(move || {
                let mut disks_seen = 0;
                for life in (0..lives).filter(|life| life % 2 == half) {
                    let mut dice = Dice(1000 + life);
                    let cut = 1 + dice.below(steps.len());
                    let found = disks(&Medium::default(), &steps[..cut], &mut dice);
                    let dir = with_keys(keys);
                    found[dice.below(found.len())].lay_out(dir.path());
                    let begin = Medium::read(dir.path());
                    let disk = RecordingDisk::new(dir.path(), &begin);
                    process(&disk, dir.path(), 2, life % 4 < 2);
                    let mut both: Vec<Step> =
                        steps[..cut].iter().filter(|step| matches!(step, Step::Committed(..) | Step::Published(..))).cloned().collect();
                    let told = both.len();
                    both.append(&mut disk.0.lock().unwrap().steps);
                    disks_seen += cut_everywhere(&begin, &both, (told, 3), keys, 2000 + life);
                }
                disks_seen
            })
        });
        halves.map(|half| half.join().unwrap()).iter().sum()
    });
    println!("{lives} lives, {disks} different disks");
    assert!(disks > 200, "{disks} disks");
}

#[test]
fn the_names_of_tiles_that_an_earlier_process_left_are_durable_before_a_checkpoint_covers_them() {
    let dir = without_checkpoint();
    let disk = RecordingDisk::new(dir.path(), &Medium::read(dir.path()));
    let opened = AuditLog::open_on(disk.clone(), Box::new(Timestamp::now), &Settings::new(dir.path(), "hq-1")).unwrap();
    assert_eq!(opened.recovery.replayed, 601);
    let steps = std::mem::take(&mut disk.0.lock().unwrap().steps);
    let signed = steps.iter().position(|step| matches!(step, Step::Rename(_, to, _) if to == Path::new("audit/checkpoint"))).unwrap();
    for folder in ["tile/entries", "tile/entries/002.p", "tile/0", "tile/0/002.p", "tile/1/000.p"] {
        let synced = |step: &Step| matches!(step, Step::SyncFolder(path) if *path == Path::new("audit").join(folder));
        assert!(steps[..signed].iter().any(synced), "{folder}");
    }
}
