//! Tests of the acts that a start finishes: changing the signing key, and destroying a pseudonym key.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::tests::{check, copy, drafts, entries, wait};
use super::*;
use crate::error;

fn open(state: &Path) -> AuditLog {
    AuditLog::open(state, "hq-1").unwrap().log
}

fn vkey(state: &Path) -> String {
    fs::read_to_string(state.join("keys/log.vkey")).unwrap().trim().to_owned()
}

/// Writes some entries, then changes the key.
fn rotate(state: &Path, count: usize) {
    let log = open(state);
    log.commit_blocking(drafts(count, "before")).unwrap();
    wait(log.rotate_key(&Settings::new(state, "hq-1"), &json!({"person": "somebody"}))).unwrap();
    wait(log.close()).unwrap();
    wait(open(state).close()).unwrap();
}

#[test]
fn a_log_whose_key_changed_is_verified_with_each_of_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    wait(open(state).close()).unwrap();
    let mut keys = vec![vkey(state)];
    for count in [3, 300, 1] {
        rotate(state, count);
        keys.push(vkey(state));
    }
    let verify_all = |what: &str| {
        for key in &keys {
            let verified = verify(&state.join("audit"), key, &|_, _| {}).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(verified.rotations, 3, "{what}");
        }
    };
    verify_all("right after the handover");
    let log = open(state);
    log.commit_blocking(drafts(400, "after")).unwrap();
    wait(log.close()).unwrap();
    verify_all("after entries under the new key");
    assert_eq!(fs::read_to_string(state.join("keys/log.vkeys")).unwrap().lines().collect::<Vec<_>>(), keys);
    let stranger = SigningKey::generate("hq-1").unwrap().verifier().to_string();
    assert_eq!(verify(&state.join("audit"), &stranger, &|_, _| {}).unwrap_err().kind(), error::Kind::NotIntact);
    let entry = entries(state).iter().map(|bytes| Entry::parse(bytes).unwrap()).rfind(|entry| entry.kind == Kind::KeyRotated).unwrap();
    assert_eq!((entry.str("person"), entry.str("old"), entry.str("new")), (Some("somebody"), Some(&*keys[2]), Some(&*keys[3])));
}

#[test]
fn a_chain_of_keys_with_a_piece_missing_or_replaced_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    wait(open(&state).close()).unwrap();
    let first = vkey(&state);
    rotate(&state, 3);
    rotate(&state, 5);
    let log = open(&state);
    log.commit_blocking(drafts(1, "after")).unwrap();
    wait(log.close()).unwrap();
    let handovers: Vec<_> = {
        let mut found: Vec<_> = fs::read_dir(state.join("audit/handover")).unwrap().map(|file| file.unwrap().file_name()).collect();
        found.sort();
        found
    };
    assert_eq!(handovers, ["00000000000000000004", "00000000000000000010"]);
    let last = vkey(&state);
    let broken = |what: &str, damage: &dyn Fn(&Path)| {
        let other = tempfile::tempdir().unwrap();
        copy(&state.join("audit"), other.path());
        damage(other.path());
        for key in [&first, &last] {
            let error = verify(other.path(), key, &|_, _| {}).unwrap_err();
            assert_eq!(error.kind(), error::Kind::NotIntact, "{what}: {error}");
        }
    };
    let at = |folder: &Path, i: usize| folder.join("handover").join(&handovers[i]);
    broken("no handovers at all", &|folder| fs::remove_dir_all(folder.join("handover")).unwrap());
    broken("the first is missing", &|folder| fs::remove_file(at(folder, 0)).unwrap());
    broken("the last is missing", &|folder| fs::remove_file(at(folder, 1)).unwrap());
    broken("the old key did not sign", &|folder| {
        let note = fs::read_to_string(at(folder, 1)).unwrap();
        let lines: Vec<&str> = note.lines().collect();
        fs::write(at(folder, 1), format!("{}\n\n{}\n", lines[..3].join("\n"), lines[5])).unwrap();
    });
    broken("the new key did not sign", &|folder| {
        let note = fs::read_to_string(at(folder, 0)).unwrap();
        let lines: Vec<&str> = note.lines().collect();
        fs::write(at(folder, 0), format!("{}\n", lines[..5].join("\n"))).unwrap();
    });
    broken("it belongs to another entry", &|folder| {
        fs::copy(at(folder, 0), at(folder, 1)).unwrap();
    });
}

#[test]
fn a_thief_who_writes_a_log_of_his_own_with_a_change_of_keys_is_refused_by_the_first_key() {
    let dir = tempfile::tempdir().unwrap();
    let (honest, forged) = (dir.path().join("honest"), dir.path().join("forged"));
    for state in [&honest, &forged] {
        wait(open(state).close()).unwrap();
        rotate(state, 2);
    }
    let error =
        verify(&forged.join("audit"), fs::read_to_string(honest.join("keys/log.vkeys")).unwrap().lines().next().unwrap(), &|_, _| {});
    assert_eq!(error.unwrap_err().kind(), error::Kind::NotIntact);
}

#[test]
fn a_rotation_that_was_announced_is_finished_by_whatever_opens_the_log_next() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let log = open(state);
    let old = vkey(state);
    wait(log.rotate_key(&Settings::new(state, "hq-1"), &json!({}))).unwrap();
    drop(log);
    // Not finished: signed with the old key, and intact.
    check(state).unwrap();
    assert_eq!(vkey(state), old);
    let log = open(state);
    assert_ne!(vkey(state), old);
    assert_eq!(log.verifier().to_string(), vkey(state));
    log.commit_blocking(drafts(1, "x")).unwrap();
    wait(log.close()).unwrap();
    assert_eq!(check(state).unwrap().rotations, 1);

    // The new key is there before the entry, so it can only be missing if somebody took it.
    let log = open(state);
    wait(log.rotate_key(&Settings::new(state, "hq-1"), &json!({}))).unwrap();
    wait(log.close()).unwrap();
    fs::rename(state.join("keys/log.key.next"), state.join("taken")).unwrap();
    let error = AuditLog::open(state, "hq-1").unwrap_err();
    assert!(error.kind() == error::Kind::NotIntact && error.to_string().contains("log.key.next: expected the key"), "{error}");
    fs::rename(state.join("taken"), state.join("keys/log.key.next")).unwrap();
    wait(open(state).close()).unwrap();
    assert_eq!(check(state).unwrap().rotations, 2);
}

#[test]
fn a_forgotten_epoch_loses_its_key_at_the_next_start_and_no_other_does() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let mut pseudonyms = Pseudonyms::open(&state.join("keys")).unwrap();
    let log = open(state);
    for year in [2019, 2020] {
        pseudonyms.create_epoch(year).unwrap();
    }
    wait(log.forget_epoch(2019, &json!({"person": "somebody"}))).unwrap();
    assert_eq!(Pseudonyms::open(&state.join("keys")).unwrap().years().collect::<Vec<_>>(), [2019, 2020], "the entry comes first");
    drop(log);
    let log = open(state);
    assert_eq!(Pseudonyms::open(&state.join("keys")).unwrap().years().collect::<Vec<_>>(), [2020]);
    log.commit_blocking(drafts(1, "x")).unwrap();
    wait(log.close()).unwrap();
    wait(open(state).close()).unwrap();
    assert_eq!(check(state).unwrap().entries_by_kind[&Kind::EpochForgotten], 1);
}
