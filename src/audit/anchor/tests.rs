//! Tests of anchors on an open log: what reaches them, what a slow or broken one costs, and which logs they refuse.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::tests::{copy, drafts, wait};
use super::super::{AuditLog, Settings, Verifier, verify};
use super::*;
use crate::error;

fn settings(state: &Path, anchors: Vec<Anchor>) -> Settings {
    Settings { anchors, ..Settings::new(state, "hq-1") }
}

/// The file of checkpoints in a folder of which there is one.
fn only_file(folder: &Path) -> PathBuf {
    let files = folder::files(folder, "hq-1").unwrap();
    assert_eq!(files.len(), 1, "the test ran over midnight, or nothing was written");
    files[0].clone()
}

/// Opens, commits, publishes twice and closes; returns how the anchors fared.
fn life(settings: &Settings, tag: &str) -> Vec<State> {
    let log = AuditLog::open_with(settings).unwrap().log;
    let report = log.anchors();
    for count in [3, 300] {
        log.commit_blocking(drafts(count, tag)).unwrap();
        wait(log.publish()).unwrap();
    }
    wait(log.close()).unwrap();
    report.states()
}

fn chain(state: &Path) -> Chain {
    let vkey = fs::read_to_string(state.join("keys/log.vkey")).unwrap();
    Chain::open(&state.join("audit"), &Verifier::parse(&vkey).unwrap()).unwrap()
}

use super::super::Chain;

#[test]
fn every_published_checkpoint_is_anchored_word_for_word_and_proved_to_be_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let (state, folder) = (dir.path().join("state"), dir.path().join("anchor"));
    fs::create_dir(&folder).unwrap();
    let settings = settings(&state, vec![Anchor::Folder(folder.clone()), Anchor::Command(vec!["false".to_owned()])]);
    let states = life(&settings, "a");
    assert_eq!((states[0].size, &states[0].failed), (Some(304), &None));
    assert!(states[1].failed.as_ref().unwrap().contains("exit status: 1") && states[1].size.is_none());
    life(&settings, "b");
    let file = only_file(&folder);
    let notes = folder::notes(&file, false).unwrap();
    let sizes: Vec<u64> = notes.iter().map(|note| note.lines().nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(sizes, [1, 4, 304, 307, 607]);
    assert_eq!(fs::read_to_string(&file).unwrap(), notes.concat(), "nothing but checkpoints");
    assert_eq!(notes[4], fs::read_to_string(state.join("audit/checkpoint")).unwrap());
    let found = check::check_all(&state.join("audit"), &chain(&state), &folder).unwrap();
    assert_eq!(found, check::Anchored { checkpoints: 5, newest: Some(607), foreign: 0 });
}

#[test]
fn a_restored_older_copy_and_another_history_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (state, folder) = (dir.path().join("state"), dir.path().join("anchor"));
    fs::create_dir(&folder).unwrap();
    let settings = settings(&state, vec![Anchor::Folder(folder.clone())]);
    life(&settings, "a");
    copy(&state, &dir.path().join("older"));
    life(&settings, "b");
    let newest = fs::read(state.join("audit/checkpoint")).unwrap();

    let older = Settings { state: dir.path().join("older"), ..settings.clone() };
    let before = fs::read(older.state.join("audit/checkpoint")).unwrap();
    let error = AuditLog::open_with(&older).unwrap_err();
    assert_eq!(error.kind(), error::Kind::NotIntact);
    assert!(error.to_string().contains("a checkpoint of 607 entries was anchored here, the log has 304: an older copy"), "{error}");
    assert_eq!(fs::read(older.state.join("audit/checkpoint")).unwrap(), before);

    // The thief has the key, and goes on from the older copy with another history, beyond what was anchored.
    let alone = Settings { anchors: Vec::new(), ..older.clone() };
    life(&alone, "forged");
    life(&alone, "forged");
    let vkey = fs::read_to_string(state.join("keys/log.vkey")).unwrap();
    assert_eq!(verify(&older.state.join("audit"), &vkey, &|_, _| {}).unwrap().size, 910, "tree and signature cannot show it");
    let error = AuditLog::open_with(&older).unwrap_err();
    assert!(error.kind() == error::Kind::NotIntact && error.to_string().contains("no prefix of the log: entries were changed"), "{error}");
    let error = check::check_all(&older.state.join("audit"), &chain(&older.state), &folder).unwrap_err();
    assert!(error.to_string().contains("the checkpoint of 307 entries"), "{error}");

    assert_eq!(fs::read(state.join("audit/checkpoint")).unwrap(), newest);
    life(&settings, "c");
}

#[test]
fn a_torn_or_foreign_checkpoint_is_read_over_and_the_next_begins_on_a_new_line() {
    let dir = tempfile::tempdir().unwrap();
    let (state, folder) = (dir.path().join("state"), dir.path().join("anchor"));
    fs::create_dir(&folder).unwrap();
    let settings = settings(&state, vec![Anchor::Folder(folder.clone())]);
    life(&settings, "a");
    let file = only_file(&folder);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 20]).unwrap();
    life(&settings, "b");
    let found = check::check_all(&state.join("audit"), &chain(&state), &folder).unwrap();
    assert_eq!((found.checkpoints, found.newest, found.foreign), (5, Some(607), 1), "the start anchored again what was torn");
    fs::write(&file, [b"\n\xff garbage\n\n\n".as_slice(), &fs::read(&file).unwrap()].concat()).unwrap();
    assert_eq!(check::check_all(&state.join("audit"), &chain(&state), &folder).unwrap().checkpoints, 5);
}

#[test]
fn an_anchor_that_is_not_there_costs_nothing_but_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let (state, folder) = (dir.path().join("state"), dir.path().join("anchor"));
    let settings = settings(&state, vec![Anchor::Folder(folder.clone())]);
    let states = life(&settings, "a");
    assert!(states[0].failed.as_ref().unwrap().contains("is a disk not mounted?"), "{states:?}");
    assert!(states[0].noticed.as_ref().unwrap().contains("cannot be read"), "{states:?}");
    fs::create_dir(&folder).unwrap();
    let states = life(&settings, "b");
    assert!(states[0].noticed.as_ref().unwrap().contains("holds no checkpoint of this log yet"), "{states:?}");
    assert_eq!((states[0].size, &states[0].failed), (Some(607), &None));
    assert_eq!(life(&settings, "c")[0].noticed, None);
}

#[test]
fn an_anchor_that_hangs_does_not_hold_up_commits_and_gives_way_to_newer_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let got = dir.path().join("got");
    let script = format!("sleep 1; cat >> {}", got.display());
    let settings = settings(&state, vec![Anchor::Command(["sh", "-c", &script].map(str::to_owned).to_vec())]);
    let log = AuditLog::open_with(&settings).unwrap().log;
    let start = Instant::now();
    for _ in 0..100 {
        log.commit_blocking(drafts(1, "x")).unwrap();
        wait(log.publish()).unwrap();
    }
    let published = start.elapsed();
    let report = log.anchors();
    wait(log.close()).unwrap();
    assert!(published < Duration::from_secs(20), "a hundred checkpoints took {published:?}");
    assert!(start.elapsed() < published + PATIENCE + Duration::from_secs(5));
    assert!(report.states()[0].failed.as_ref().unwrap().contains("did not answer within 10 seconds"), "{:?}", report.states());
}

#[test]
fn an_anchor_survives_a_change_of_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (state, folder) = (dir.path().join("state"), dir.path().join("anchor"));
    fs::create_dir(&folder).unwrap();
    let settings = settings(&state, vec![Anchor::Folder(folder.clone())]);
    life(&settings, "a");
    let log = AuditLog::open_with(&settings).unwrap().log;
    wait(log.rotate_key(&settings, &serde_json::json!({}))).unwrap();
    wait(log.close()).unwrap();
    life(&settings, "b");
    let found = check::check_all(&state.join("audit"), &chain(&state), &folder).unwrap();
    assert_eq!((found.newest, found.foreign), (Some(608), 0));
}
