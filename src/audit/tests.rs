//! Tests of the log as a whole: written, reopened, read and verified.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::json;

use super::disk::RealDisk;
use super::frame::Frame;
use super::frame::tests::push_whole;
use super::journal::Journal;
use super::*;
use crate::error;

/// Runs a future to its end.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// `count` entries that mean nothing together.
pub(super) fn drafts(count: usize, tag: &str) -> Vec<Draft> {
    (0..count).map(|i| Draft::new(Kind::Overdue, &json!({"tag": tag, "i": i})).unwrap()).collect()
}

fn intent(run: &str, records: &[&str]) -> Draft {
    let body = json!({"run": run, "store": "s", "dataset": "d", "act": "destroy", "records": records});
    Draft::new(Kind::Intent, &body).unwrap()
}

fn outcome(kind: Kind, run: &str, record: &str) -> Draft {
    Draft::new(kind, &json!({"run": run, "store": "s", "dataset": "d", "record": record})).unwrap()
}

fn open(state: &Path) -> Opened {
    AuditLog::open(state, "hq-1").unwrap()
}

/// Verifies the log of a state folder with the key that it gives out.
pub(super) fn check(state: &Path) -> error::Result<Verified> {
    let vkey = fs::read_to_string(state.join("keys/log.vkey")).unwrap();
    verify(&state.join("audit"), &vkey, &|_, _| {})
}

pub(super) fn entries(state: &Path) -> Vec<Vec<u8>> {
    let entries: Vec<_> = Reader::open(&state.join("audit")).unwrap().entries().map(Result::unwrap).collect();
    assert!(entries.iter().zip(0..).all(|((n, _), i)| *n == i));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to.join(file.file_name()));
        } else {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn a_log_is_created_written_closed_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { log, recovery } = open(dir.path());
    assert_eq!(recovery, Recovery { cut_bytes: 0, replayed: 0, created: true });
    assert_eq!(log.newest_at(), None);
    let committed = log.commit_blocking(drafts(3, "a")).unwrap();
    assert_eq!((committed.first(), committed.count(), committed.at().len()), (1, 3, 24));
    assert_eq!(wait(log.commit(drafts(700, "b"))).unwrap().first(), 4);
    assert_eq!(wait(log.publish()).unwrap(), 704);
    wait(log.close()).unwrap();

    let verified = check(dir.path()).unwrap();
    assert_eq!((verified.size, verified.unpublished, verified.torn_bytes, verified.open_intents), (704, 0, 0, 0));
    assert_eq!(verified.origin, "retentiond/hq-1");
    assert_eq!(verified.entries_by_kind, [(Kind::Opened, 1), (Kind::Overdue, 703)].into());
    let all = entries(dir.path());
    let first = Entry::parse(&all[0]).unwrap();
    assert_eq!((first.kind, first.str("node")), (Kind::Opened, Some("hq-1")));
    assert_eq!(Some(first.at), verified.first_at);
    assert_eq!(Entry::parse(&all[703]).unwrap().u64("i"), Some(699));
    assert!(!dir.path().join("audit/tile/0/000.p").exists(), "a full tile has no partial one beside it");
}

#[test]
fn every_size_around_a_tile_can_be_published_reopened_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 600] {
        let Opened { log, recovery } = open(dir.path());
        assert_eq!((recovery.cut_bytes, recovery.replayed), (0, 0), "size {size}");
        let have = usize::try_from(wait(log.publish()).unwrap()).unwrap();
        if have < size {
            log.commit_blocking(drafts(size - have, "x")).unwrap();
        }
        wait(log.close()).unwrap();
        assert_eq!(check(dir.path()).unwrap().size, size as u64);
        assert_eq!(entries(dir.path()).len(), size);
    }
}

#[test]
fn what_was_committed_survives_a_process_that_ends_without_closing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log;
    log.commit_blocking(drafts(300, "a")).unwrap();
    drop(log);
    let before = entries(dir.path());
    let verified = check(dir.path()).unwrap();
    assert_eq!(verified.size + verified.unpublished, 301);
    let Opened { log, recovery } = open(dir.path());
    assert_eq!((recovery.created, recovery.cut_bytes, recovery.replayed), (false, 0, verified.unpublished));
    assert_eq!(log.newest_at(), Entry::parse(&before[300]).unwrap().time());
    assert_eq!(entries(dir.path()), before);
    assert_eq!(check(dir.path()).unwrap().size, 301);
}

#[test]
fn commits_of_many_threads_stay_together_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log;
    let firsts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (log, firsts) = (log.clone(), &firsts);
            scope.spawn(move || {
                for turn in 0..20 {
                    let tag = format!("{thread}/{turn}");
                    let committed = log.commit_blocking(drafts(5, &tag)).unwrap();
                    firsts.lock().unwrap().push((committed.first(), tag));
                }
            });
        }
    });
    wait(log.close()).unwrap();
    let all = entries(dir.path());
    assert_eq!(all.len(), 801);
    for (first, tag) in firsts.into_inner().unwrap() {
        for i in 0..5 {
            let entry = Entry::parse(&all[usize::try_from(first + i).unwrap()]).unwrap();
            assert_eq!((entry.str("tag"), entry.u64("i")), (Some(tag.as_str()), Some(i)));
        }
    }
    check(dir.path()).unwrap();
}

#[test]
fn an_idle_log_is_published_within_seconds_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log;
    log.commit_blocking(drafts(10, "a")).unwrap();
    let reader = Reader::open(&dir.path().join("audit")).unwrap();
    let start = std::time::Instant::now();
    while reader.published().unwrap() < 11 {
        assert!(start.elapsed().as_secs() < 10, "no checkpoint after ten seconds");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Everything is covered now, so the journal has only an empty segment left.
    while files(&dir.path().join("audit/journal")).len() > 1 || !dir.path().join("audit/journal/00000000000000000011").exists() {
        assert!(start.elapsed().as_secs() < 10, "the journal was not retired");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_second_writer_is_refused_and_told_who_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log;
    let error = AuditLog::open(dir.path(), "hq-1").unwrap_err();
    assert_eq!(error.kind(), error::Kind::Refused);
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
    let clone = log.clone();
    wait(log.close()).unwrap();
    assert_eq!(clone.commit_blocking(drafts(1, "late")).unwrap_err().kind(), error::Kind::LogLost);
    drop(clone);
    open(dir.path());
}

#[test]
fn another_node_or_a_lost_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    wait(open(dir.path()).log.close()).unwrap();
    assert_eq!(AuditLog::open(dir.path(), "hq-2").unwrap_err().kind(), error::Kind::Config);
    assert_eq!(AuditLog::open(dir.path(), "hq 1").unwrap_err().kind(), error::Kind::Config);
    fs::remove_file(dir.path().join("keys/log.key")).unwrap();
    assert_eq!(AuditLog::open(dir.path(), "hq-1").unwrap_err().kind(), error::Kind::NotIntact);
}

#[test]
fn the_time_in_the_log_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(Mutex::new("2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap()));
    let clock = || {
        let now = Arc::clone(&now);
        Box::new(move || *now.lock().unwrap())
    };
    let log = AuditLog::open_on(RealDisk, clock(), &Settings::new(dir.path(), "hq-1")).unwrap().log;
    *now.lock().unwrap() = "2026-11-22T09:00:00Z".parse().unwrap();
    assert_eq!(log.commit_blocking(drafts(1, "a")).unwrap().at(), "2026-11-22T10:00:00.000Z");
    drop(log);
    let log = AuditLog::open_on(RealDisk, clock(), &Settings::new(dir.path(), "hq-1")).unwrap().log;
    assert_eq!(log.newest_at(), Some("2026-11-22T10:00:00Z".parse().unwrap()));
    assert_eq!(log.commit_blocking(drafts(1, "b")).unwrap().at(), "2026-11-22T10:00:00.000Z");
    *now.lock().unwrap() = "2026-11-22T11:00:00.5Z".parse().unwrap();
    assert_eq!(log.commit_blocking(drafts(1, "c")).unwrap().at(), "2026-11-22T11:00:00.500Z");
    wait(log.close()).unwrap();
    check(dir.path()).unwrap();
}

#[test]
fn a_last_append_torn_anywhere_is_cut_off_and_the_rest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log;
    log.commit_blocking(drafts(2, "kept")).unwrap();
    let segment = files(&dir.path().join("audit/journal")).pop().unwrap();
    let whole = usize::try_from(fs::metadata(&segment).unwrap().len()).unwrap();
    log.commit_blocking(drafts(1, "torn")).unwrap();
    let bytes = fs::read(&segment).unwrap();
    drop(log);
    assert!(bytes.len() > whole);
    for torn in whole..bytes.len() {
        let state = tempfile::tempdir().unwrap();
        copy(dir.path(), state.path());
        fs::write(state.path().join(segment.strip_prefix(dir.path()).unwrap()), &bytes[..torn]).unwrap();
        let Opened { log, recovery } = open(state.path());
        assert_eq!(recovery.cut_bytes, (torn - whole) as u64, "torn at {torn}");
        let committed = log.commit_blocking(drafts(1, "after")).unwrap();
        assert_eq!(committed.first(), 3, "torn at {torn}");
        wait(log.close()).unwrap();
        assert_eq!(check(state.path()).unwrap().size, 4);
    }
}

#[test]
fn an_older_checkpoint_or_an_older_journal_contradicts_what_came_after() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log;
    log.commit_blocking(drafts(300, "a")).unwrap();
    wait(log.close()).unwrap();
    let old = tempfile::tempdir().unwrap();
    copy(dir.path(), old.path());
    let log = open(dir.path()).log;
    log.commit_blocking(drafts(300, "b")).unwrap();
    wait(log.close()).unwrap();

    let refuse = |change: &dyn Fn(&Path), words: &str| {
        let state = tempfile::tempdir().unwrap();
        copy(dir.path(), state.path());
        change(state.path());
        let error = AuditLog::open(state.path(), "hq-1").unwrap_err();
        assert_eq!(error.kind(), error::Kind::NotIntact);
        assert!(error.to_string().contains(words), "{error}");
    };
    let old_file = |state: &Path, name: &str| fs::copy(old.path().join(name), state.join(name)).map(|_| ()).unwrap();
    // Its partial tiles are gone, as the full ones are covered.
    refuse(&|state| old_file(state, "audit/checkpoint"), "tile/0/001.p/45");
    let older_audit = |state: &Path| {
        let journal = state.join("audit/journal");
        let kept = state.join("kept");
        fs::rename(&journal, &kept).unwrap();
        fs::remove_dir_all(state.join("audit")).unwrap();
        copy(&old.path().join("audit"), &state.join("audit"));
        fs::remove_dir_all(&journal).unwrap();
        fs::rename(&kept, &journal).unwrap();
    };
    refuse(&older_audit, "entries 301 to 600 are in no checkpoint and no segment");
    let older_journal = |state: &Path| {
        fs::remove_dir_all(state.join("audit/journal")).unwrap();
        copy(&old.path().join("audit/journal"), &state.join("audit/journal"));
    };
    refuse(&older_journal, "expected a segment that reaches entry 601");
    refuse(&|state| fs::remove_dir_all(state.join("audit/journal")).unwrap(), "expected a segment that reaches entry 601");
    refuse(&|state| fs::remove_file(state.join("audit/checkpoint")).unwrap(), "entries 0 to 600 are in no checkpoint");
}

#[test]
fn a_journal_that_repeats_other_entries_than_were_published_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (state, tag) in [(&one, "one"), (&two, "two")] {
        let log = open(state.path()).log;
        log.commit_blocking(drafts(3, tag)).unwrap();
        let journal = tempfile::tempdir().unwrap();
        copy(&state.path().join("audit/journal"), journal.path());
        wait(log.close()).unwrap();
        fs::remove_dir_all(state.path().join("audit/journal")).unwrap();
        copy(journal.path(), &state.path().join("audit/journal"));
    }
    check(one.path()).unwrap();
    fs::remove_dir_all(one.path().join("audit/journal")).unwrap();
    copy(&two.path().join("audit/journal"), &one.path().join("audit/journal"));
    let error = AuditLog::open(one.path(), "hq-1").unwrap_err();
    assert!(error.to_string().ends_with("entry 0 is another one than was published in tile/0/000.p/4"), "{error}");
    let error = check(one.path()).unwrap_err();
    assert!(error.to_string().ends_with("entry 0: the journal has another entry than was published"), "{error}");
}

/// A log of 601 entries whose tiles are there and whose checkpoint is not, as a power cut may leave it.
pub(super) fn without_checkpoint() -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let log = open(state.path()).log;
    log.commit_blocking(drafts(600, "a")).unwrap();
    wait(log.close()).unwrap();
    let mut frame = Frame::begin(0, Frame::default());
    entries(state.path()).iter().for_each(|entry| push_whole(&mut frame, entry));
    frame.seal();
    let folder = state.path().join("audit/journal");
    files(&folder).iter().for_each(|segment| fs::remove_file(segment).unwrap());
    Journal::open(RealDisk, &folder, 0, |_| Ok(())).unwrap().0.append(&frame).unwrap();
    fs::remove_file(state.path().join("audit/checkpoint")).unwrap();
    state
}

#[test]
fn a_tile_without_a_checkpoint_stays_if_it_is_the_same_and_refuses_the_log_if_not() {
    let state = without_checkpoint();
    let tiles = files(&state.path().join("audit/tile"));
    assert_eq!(tiles.len(), 2 * 3 + 1, "{tiles:?}");
    for path in &tiles {
        let bytes = fs::read(path).unwrap();
        let other = [&bytes[..bytes.len() - 1], b"?"].concat();
        fs::write(path, &other).unwrap();
        let error = AuditLog::open(state.path(), "hq-1").unwrap_err();
        let words = format!("{}: another content was published before", path.display());
        assert!(error.kind() == error::Kind::NotIntact && error.to_string().starts_with(&words), "{error}");
        assert_eq!(fs::read(path).unwrap(), other);
        fs::write(path, &bytes).unwrap();
    }
    let inodes = || tiles.iter().map(|path| fs::metadata(path).unwrap().ino()).collect::<Vec<_>>();
    let before = inodes();
    let Opened { log, recovery } = open(state.path());
    assert_eq!(recovery.replayed, 601);
    wait(log.close()).unwrap();
    assert_eq!((files(&state.path().join("audit/tile")), inodes()), (tiles.clone(), before), "nothing replaced, nothing left beside");
    assert_eq!(check(state.path()).unwrap().size, 601);
}

#[test]
fn no_byte_of_a_log_can_change_unseen() {
    // On a machine that stands still for a second the tail is published before we look: then once more.
    let (copied, whole) = (0..10)
        .find_map(|_| {
            let copied = tempfile::tempdir().unwrap();
            let log = open(copied.path()).log;
            log.commit_blocking(drafts(299, "a")).unwrap();
            wait(log.publish()).unwrap();
            let mut run = vec![intent("r", &["x", "y"]), outcome(Kind::Destroyed, "r", "x")];
            run.extend(drafts(3, "b"));
            log.commit_blocking(run).unwrap();
            drop(log);
            let whole = check(copied.path()).unwrap();
            ((whole.size, whole.unpublished, whole.open_intents) == (300, 5, 1)).then_some((copied, whole))
        })
        .unwrap();

    let all = files(&copied.path().join("audit"));
    assert!(all.len() >= 7, "{all:?}");
    for path in all {
        let bytes = fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x04;
            fs::write(&path, &bad).unwrap();
            let seen = check(copied.path()).map_or(true, |found| found != whole && found.torn_bytes > 0);
            assert!(seen, "{} byte {at}", path.display());
        }
        for cut in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            if cut < bytes.len() {
                fs::write(&path, &bytes[..cut]).unwrap();
                let seen = check(copied.path()).map_or(true, |found| found != whole);
                assert!(seen, "{} cut to {cut}", path.display());
            }
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        fs::write(&path, longer).unwrap();
        assert!(check(copied.path()).map_or(true, |found| found != whole), "{} with a byte behind", path.display());
        fs::remove_file(&path).unwrap();
        assert!(check(copied.path()).map_or(true, |found| found != whole), "{} removed", path.display());
        fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(check(copied.path()).unwrap(), whole);
}

#[test]
fn a_signed_log_that_makes_no_sense_is_not_intact() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log;
    log.commit_blocking(vec![intent("r", &["a"]), outcome(Kind::Destroyed, "r", "a"), outcome(Kind::Destroyed, "r", "a")]).unwrap();
    wait(log.close()).unwrap();
    let error = check(dir.path()).unwrap_err();
    assert_eq!(error.kind(), error::Kind::NotIntact);
    assert!(error.to_string().contains("tile/entries/000.p/4: entry 3: destroyed without an intent"), "{error}");
}

#[test]
fn another_key_does_not_verify_the_log() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    wait(open(dir.path()).log.close()).unwrap();
    wait(open(other.path()).log.close()).unwrap();
    fs::copy(other.path().join("keys/log.vkey"), dir.path().join("keys/log.vkey")).unwrap();
    assert_eq!(check(dir.path()).unwrap_err().kind(), error::Kind::NotIntact);
    assert_eq!(verify(&dir.path().join("audit"), "nonsense", &|_, _| {}).unwrap_err().kind(), error::Kind::Usage);
}

#[test]
fn a_reader_sees_whole_entries_in_order_while_a_writer_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log;
    let reader = Reader::open(&dir.path().join("audit")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..60 {
                log.commit_blocking(drafts(37, "x")).unwrap();
                if turn % 7 == 0 {
                    wait(log.publish()).unwrap();
                }
            }
        });
        let mut seen = 0;
        while seen < 60 * 37 + 1 {
            let all: Vec<_> = reader.entries().map(Result::unwrap).collect();
            assert!(all.len() >= seen, "entries vanished: {} after {seen}", all.len());
            assert!(all.iter().zip(0..).all(|((n, entry), i)| *n == i && Entry::parse(entry).unwrap().n == i));
            seen = all.len();
        }
    });
    assert_eq!(reader.from(2000).next().unwrap().unwrap().0, 2000);
    assert_eq!(reader.get(2220).unwrap().map(|entry| Entry::parse(&entry).unwrap().n), Some(2220));
    assert_eq!(reader.get(2221).unwrap(), None);
    wait(log.close()).unwrap();
    // A copy without a journal is a log, too.
    fs::remove_dir_all(dir.path().join("audit/journal")).unwrap();
    assert_eq!(entries(dir.path()).len(), 60 * 37 + 1);
    check(dir.path()).unwrap();
}

#[test]
fn a_commit_of_nothing_or_of_too_much_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log;
    assert_eq!(log.commit_blocking(Vec::new()).unwrap_err().kind(), error::Kind::Refused);
    let large = Draft::new(Kind::Schedule, &json!({"text": "x".repeat(65_000)})).unwrap();
    assert_eq!(log.commit_blocking(vec![large.clone(); 1100]).unwrap_err().kind(), error::Kind::Refused);
    assert_eq!(log.commit_blocking(vec![large; 300]).unwrap().count(), 300);
    wait(log.close()).unwrap();
    assert_eq!(check(dir.path()).unwrap().size, 301);
}
