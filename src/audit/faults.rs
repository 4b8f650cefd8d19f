//! The fault table: every file operation of a log's life fails once, in every way that a disk can fail, and the log is opened again.
//!
//! For each operation in turn: it fails and nothing of it persisted; it fails and all of it persisted; a write fails halfway. After that the
//! process is dead (every later operation fails), or the disk recovers and the process goes on as far as the log lets it. Then the log is
//! opened on a disk that works: it must open, hold every entry that was acknowledged at its index, verify, and go on.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rustix::io::Errno;
use serde_json::json;

use super::disk::{Disk, RealDisk};
use super::tests::{check, drafts, entries, wait};
use super::*;
use crate::error::{self, Result};

/// How the chosen operation fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Nothing of it persisted; for a sync, nothing since the sync before.
    Without,
    /// All of it persisted.
    With,
    /// Half of a write persisted.
    Half,
}

#[derive(Debug, Default)]
struct State {
    operations: usize,
    /// The operation that fails, and how, and whether all after it fail too.
    plan: Option<(usize, Fault, bool)>,
    /// Whether the operation has come and failed.
    failed: bool,
    /// Fails every reservation, or every creation of a file, with this.
    no_reserve: Option<Errno>,
    no_create: Option<Errno>,
    /// The synced length of files, by inode.
    synced: HashMap<u64, u64>,
    /// Names that changed since their folder was synced, with what they stood for.
    names: Vec<(PathBuf, Option<Vec<u8>>)>,
}

/// A disk that fails as planned. It never really syncs: the test's "crash" is that the files are put into the state that a crash leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

impl FaultyDisk {
    fn failing(operation: usize, fault: Fault, dead: bool) -> Self {
        Self(Arc::new(Mutex::new(State { plan: Some((operation, fault, dead)), ..State::default() })))
    }

    /// Whether the planned fault has come.
    fn failed(&self) -> bool {
        self.0.lock().unwrap().failed
    }

    /// Does `act` unless it is to fail, and `undo` if it is to fail without effect on a disk that crashes with it.
    fn step<T>(&self, act: impl Fn(&mut State) -> io::Result<T>, undo: impl Fn(&mut State) -> io::Result<()>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        let number = state.operations;
        state.operations += 1;
        match state.plan {
            Some((_, _, true)) if state.failed => Err(Errno::IO.into()),
            // What is no write cannot fail halfway.
            Some((operation, fault, dead)) if number == operation && fault != Fault::Half => {
                state.failed = true;
                match fault {
                    Fault::With => drop(act(&mut state)?),
                    _ if dead => undo(&mut state)?,
                    _ => {}
                }
                Err(Errno::IO.into())
            }
            _ => act(&mut state),
        }
    }
}

impl Disk for FaultyDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        self.step(|_| RealDisk.create_folders(path), |_| Ok(()))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let act = |state: &mut State| {
            if let Some(errno) = state.no_create {
                return Err(errno.into());
            }
            let file = RealDisk.create(path)?;
            state.names.push((path.to_owned(), None));
            Ok(file)
        };
        self.step(act, |_| Ok(()))
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        {
            let mut state = self.0.lock().unwrap();
            if let Some((operation, Fault::Half, _)) = state.plan
                && !state.failed
                && state.operations >= operation
            {
                // The first write from there on.
                state.plan = Some((state.operations, Fault::Half, true));
                state.operations += 1;
                state.failed = true;
                file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
                return Err(Errno::IO.into());
            }
        }
        self.step(|_| file.write_all_at(bytes, offset), |_| Ok(()))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let meta = file.metadata()?;
        let act = |state: &mut State| {
            state.synced.insert(meta.ino(), meta.len());
            Ok(())
        };
        self.step(act, |state| file.set_len(state.synced.get(&meta.ino()).copied().unwrap_or(0)))
    }

    fn sync_many(&self, _system: &File, files: &[File]) -> io::Result<()> {
        // Any subset of them may be durable when it fails: each is a step of its own.
        files.iter().try_for_each(|file| self.sync(file))
    }

    fn reserve(&self, file: &File, offset: u64, length: u64) -> io::Result<()> {
        let act = |state: &mut State| state.no_reserve.map_or(Ok(()), |errno| Err(errno.into()));
        let _ = (file, offset, length);
        self.step(act, |_| Ok(()))
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.step(|_| file.set_len(length), |_| Ok(()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let act = |state: &mut State| {
            state.names.push((to.to_owned(), fs::read(to).ok()));
            RealDisk.rename(from, to)
        };
        self.step(act, |_| Ok(()))
    }

    fn name(&self, from: &Path, to: &Path) -> io::Result<()> {
        let act = |state: &mut State| {
            RealDisk.name(from, to)?;
            state.names.push((to.to_owned(), None));
            Ok(())
        };
        self.step(act, |_| Ok(()))
    }

    fn sync_folder(&self, folder: &File) -> io::Result<()> {
        let inode = folder.metadata()?.ino();
        let inside = |path: &Path| path.parent().and_then(|p| fs::metadata(p).ok()).is_some_and(|meta| meta.ino() == inode);
        let act = |state: &mut State| {
            state.names.retain(|(path, _)| !inside(path));
            Ok(())
        };
        let undo = |state: &mut State| {
            for (path, before) in state.names.drain(..).rev().filter(|(path, _)| inside(path)) {
                match before {
                    Some(content) => fs::write(&path, content)?,
                    None => drop(fs::remove_file(&path)),
                }
            }
            Ok(())
        };
        self.step(act, undo)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|_| RealDisk.remove(path), |_| Ok(()))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.step(|_| RealDisk.remove_folder(path), |_| Ok(()))
    }
}

fn open(disk: &FaultyDisk, state: &Path) -> Result<Opened> {
    AuditLog::open_on(disk.clone(), Box::new(Timestamp::now), &Settings::new(state, "hq-1"))
}

pub(super) fn intent(run: usize) -> Draft {
    let body = json!({"run": run.to_string(), "store": "s", "dataset": "d", "act": "destroy", "records": ["a"]});
    Draft::new(Kind::Intent, &body).unwrap()
}

/// How many entries are committed at once: with an intent in the second, the second process fills the first tile
/// exactly, publishes it, and goes on.
pub(super) const BATCHES: [usize; 3] = [122, 3, 3];

/// The life of a log: two processes, commits of several sizes across two tiles, checkpoints in between. Goes on after failures, as far as it
/// can, and returns what was acknowledged: first index, tag and count.
fn live(disk: &FaultyDisk, state: &Path) -> Vec<(u64, String, usize)> {
    let mut acknowledged = Vec::new();
    for process in 0..2 {
        let Ok(Opened { log, .. }) = open(disk, state) else { continue };
        for (turn, count) in BATCHES.into_iter().enumerate() {
            let tag = format!("{process}/{turn}");
            let mut batch = drafts(count, &tag);
            if turn == 1 {
                batch.push(intent(process));
            }
            if let Ok(committed) = log.commit_blocking(batch) {
                acknowledged.push((committed.first(), tag, count));
            }
            if turn == 1 {
                let _ = wait(log.publish());
            }
        }
        if process == 0 {
            let _ = wait(log.close());
        }
    }
    acknowledged
}

/// The log must open on a disk that works, hold what was acknowledged, verify, and go on.
pub(super) fn expect_whole(state: &Path, acknowledged: &[(u64, String, usize)], what: &str) {
    let log = open(&FaultyDisk::default(), state).unwrap_or_else(|e| panic!("{what}: {e}")).log;
    let committed = log.commit_blocking(drafts(1, "after")).unwrap_or_else(|e| panic!("{what}: {e}"));
    wait(log.close()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let all = entries(state);
    assert_eq!(committed.first(), all.len() as u64 - 1, "{what}");
    for (first, tag, count) in acknowledged {
        for i in 0..*count {
            let entry = &all[usize::try_from(*first).unwrap() + i];
            let body = format!(r#","i":{i},"tag":"{tag}"}}"#);
            assert!(entry.ends_with(body.as_bytes()), "{what}: expected {body}, found {}", String::from_utf8_lossy(entry));
        }
    }
    let verified = check(state).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!((verified.size, verified.unpublished, verified.torn_bytes), (all.len() as u64, 0, 0), "{what}");
}

/// Fails each operation of the life of a log in this way; returns how many lives that took.
fn fail_each(fault: Fault, dead: bool) -> usize {
    // The keys are made once: they do not go through the disk that fails, and take longer than all the rest.
    let keys = tempfile::tempdir().unwrap();
    keys::Keys::new(keys.path(), "hq-1", None).create().unwrap();
    let (mut operation, mut lives) = (0, 0);
    loop {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        for name in ["log.key", "log.vkey"] {
            fs::copy(keys.path().join(name), dir.path().join("keys").join(name)).unwrap();
        }
        let disk = FaultyDisk::failing(operation, fault, dead);
        let acknowledged = live(&disk, dir.path());
        expect_whole(dir.path(), &acknowledged, &format!("operation {operation} {fault:?}, dead after: {dead}"));
        if !disk.failed() {
            assert_eq!(acknowledged.len(), 2 * BATCHES.len(), "without a fault, every commit is acknowledged");
            return lives;
        }
        // A write that failed halfway may have come later than asked for.
        operation = disk.0.lock().unwrap().plan.map_or(operation, |(operation, ..)| operation) + 1;
        lives += 1;
    }
}

#[test]
fn no_acknowledged_entry_is_lost_when_an_operation_fails_without_effect_and_the_process_dies() {
    assert!(fail_each(Fault::Without, true) > 80);
}

#[test]
fn no_acknowledged_entry_is_lost_when_an_operation_fails_with_effect_and_the_process_dies() {
    assert!(fail_each(Fault::With, true) > 80);
}

#[test]
fn no_acknowledged_entry_is_lost_when_a_write_is_torn_and_the_process_dies() {
    assert!(fail_each(Fault::Half, true) > 15);
}

#[test]
fn no_acknowledged_entry_is_lost_when_an_operation_fails_and_the_process_goes_on() {
    assert!(fail_each(Fault::Without, false) > 80);
}

#[test]
fn no_acknowledged_entry_is_lost_when_an_operation_seems_to_fail_and_the_process_goes_on() {
    assert!(fail_each(Fault::With, false) > 80);
}

#[test]
fn a_journal_that_failed_once_takes_nothing_more_until_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let log = open(&disk, dir.path()).unwrap().log;
    {
        let mut state = disk.0.lock().unwrap();
        // The write goes through, its sync does not.
        state.plan = Some((state.operations + 1, Fault::With, false));
    }
    for _ in 0..3 {
        assert_eq!(log.commit_blocking(drafts(1, "x")).unwrap_err().kind(), error::Kind::LogLost);
    }
    assert_eq!(wait(log.close()).unwrap_err().kind(), error::Kind::LogLost);
    let Opened { log, recovery } = open(&FaultyDisk::default(), dir.path()).unwrap();
    assert_eq!(recovery.replayed, 1, "the one that was on the disk after all");
    assert_eq!(log.commit_blocking(drafts(1, "y")).unwrap().first(), 2);
}

#[test]
fn a_full_disk_refuses_intents_and_still_takes_outcomes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let log = open(&disk, dir.path()).unwrap().log;
    disk.0.lock().unwrap().no_reserve = Some(Errno::NOSPC);
    let error = log.commit_blocking(vec![intent(1)]).unwrap_err();
    assert_eq!(error.kind(), error::Kind::LogLost);
    assert!(error.to_string().contains("no room for what is about to be destroyed, so nothing was"), "{error}");
    assert_eq!(log.commit_blocking(drafts(2, "outcomes")).unwrap().first(), 1);
    disk.0.lock().unwrap().no_reserve = None;
    assert_eq!(log.commit_blocking(vec![intent(1)]).unwrap().first(), 3);
    wait(log.close()).unwrap();
    assert_eq!(check(dir.path()).unwrap().open_intents, 1);
}

#[test]
fn a_file_system_that_cannot_reserve_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    disk.0.lock().unwrap().no_reserve = Some(Errno::OPNOTSUPP);
    let log = open(&disk, dir.path()).unwrap().log;
    assert_eq!(log.commit_blocking(vec![intent(1)]).unwrap().first(), 1);
    wait(log.close()).unwrap();
    assert!(dir.path().join("audit/journal/00000000000000000002").exists(), "a segment can begin without a reserve");
}

#[test]
fn when_publishing_fails_intents_are_refused_and_outcomes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let log = open(&disk, dir.path()).unwrap().log;
    disk.0.lock().unwrap().no_create = Some(Errno::NOSPC);
    assert_eq!(log.commit_blocking(vec![intent(1)]).unwrap().first(), 1);
    assert_eq!(wait(log.publish()).unwrap_err().kind(), error::Kind::LogLost);
    let error = log.commit_blocking(vec![intent(2)]).unwrap_err();
    assert!(error.kind() == error::Kind::LogLost && error.to_string().contains("no more intents until the next start"), "{error}");
    let committed = log.commit_blocking(drafts(300, "outcomes")).unwrap();
    assert_eq!(wait(log.close()).unwrap_err().kind(), error::Kind::LogLost);
    expect_whole(dir.path(), &[(committed.first(), "outcomes".to_owned(), 300)], "after the disk has room again");
}

#[test]
fn queued_commits_share_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let log = open(&disk, dir.path()).unwrap().log;
    let before = disk.0.lock().unwrap().operations;
    let held = disk.0.lock().unwrap();
    // While the disk stands still the queue fills; the first commit is already under way alone.
    let threads: Vec<_> = (0..20)
        .map(|i| {
            let log = log.clone();
            std::thread::spawn(move || log.commit_blocking(drafts(1, &i.to_string())).unwrap().first())
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(held);
    let mut firsts: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (1..=20).collect::<Vec<_>>());
    let operations = disk.0.lock().unwrap().operations - before;
    assert!(operations <= 10, "20 commits took {operations} writes and syncs");
}
