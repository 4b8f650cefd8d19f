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

/// Entries of a run over `count` records, whole.
fn run(name: &str, count: usize) -> Vec<Draft> {
    let draft = |kind, body: serde_json::Value| Draft::new(kind, &body).unwrap();
    let records: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    let group = |body: serde_json::Value| {
        let mut body = body;
        for (field, value) in [("run", name), ("store", "s"), ("dataset", "d")] {
            body[field] = json!(value);
        }
        body
    };
    let mut drafts =
        vec![draft(Kind::RunStarted, group(json!({}))), draft(Kind::Intent, group(json!({"act": "destroy", "records": records})))];
    drafts.extend(records.iter().map(|record| draft(Kind::Destroyed, group(json!({"record": record})))));
    drafts.push(draft(Kind::RunFinished, group(json!({"counts": {"destroyed": count}}))));
    drafts
}

/// A log of several runs, a hold between them, and a run that is still under way; returns the index of the hold's entry.
fn long_log(state: &Path) -> u64 {
    let log = open(state);
    for (name, count) in [("a", 500), ("b", 300)] {
        log.commit_blocking(run(name, count)).unwrap();
    }
    let hold = log
        .commit_blocking(vec![Draft::new(Kind::HoldPlaced, &json!({"hold": "h", "scope": {"class": "another.one"}})).unwrap()])
        .unwrap()
        .first();
    log.commit_blocking(run("c", 700)).unwrap();
    let mut last = run("under way", 900);
    last.truncate(700);
    log.commit_blocking(last).unwrap();
    wait(log.close()).unwrap();
    hold
}

fn later() -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)
}

fn archive_all(state: &Path, to: &Path) -> archive::Plan {
    let log = open(state);
    let plan = archive::plan(&state.join("audit"), later()).unwrap();
    wait(log.archive(&Settings::new(state, "hq-1"), &plan, to, &json!({"person": "somebody"}))).unwrap();
    wait(log.close()).unwrap();
    plan
}

#[test]
fn old_bundles_move_to_the_archive_and_the_log_stays_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (state, to) = (dir.path().join("state"), dir.path().join("archive"));
    let hold = long_log(&state);
    let before = entries(&state);
    fs::create_dir(&to).unwrap();
    assert_eq!(archive::plan(&state.join("audit"), jiff::Timestamp::UNIX_EPOCH).unwrap().bundles, Vec::<u64>::new(), "nothing is that old");
    let plan = archive_all(&state, &to);
    // Run c ends with entry 1510; the run under way, and the bundle of the newest entry, stay.
    assert_eq!((plan.from, plan.end), (1511, 1280));
    assert_eq!(hold / 256, 3);
    assert_eq!(plan.bundles, [1, 2, 4], "the first has the first entry, the fourth the hold");

    let log = state.join("audit");
    let key = vkey(&state);
    let verified = verify(&log, &key, &|_, _| {}).unwrap();
    assert_eq!((verified.archived, verified.absent, verified.open_intents), (1280, 768, 202));
    let whole = verify_with(&log, &key, Some(&to), &|_, _| {}).unwrap();
    assert_eq!((whole.absent, whole.entries_by_kind[&Kind::Destroyed]), (0, 500 + 300 + 700 + 698));

    // Where the archive can be reached, readers notice nothing.
    let now: Vec<Vec<u8>> = Reader::open(&log).unwrap().entries().map(|item| item.unwrap().1).collect();
    assert_eq!((now.len(), &now[..before.len()]), (before.len() + 1, &before[..]));
    assert_eq!(Reader::open(&log).unwrap().absent(), None);
    fs::rename(&to, dir.path().join("away")).unwrap();
    let reader = Reader::open(&log).unwrap();
    let indices: Vec<u64> = reader.entries().map(|item| item.unwrap().0).collect();
    assert!(indices.len() == now.len() - 768 && indices.contains(&hold) && indices.contains(&0) && !indices.contains(&300));
    assert!(reader.absent().unwrap().contains("entries before 1280 were archived to"));
    assert!(reader.get(300).unwrap_err().to_string().starts_with("entry 300 is not here: entries before 1280 were archived"));
    assert_eq!(reader.with_archive(&dir.path().join("away")).get(300).unwrap().unwrap(), before[300]);
    assert_eq!(verify_with(&log, &key, Some(&to), &|_, _| {}).unwrap_err().kind(), error::Kind::NotIntact);

    // The log goes on, and more can be archived.
    fs::rename(dir.path().join("away"), &to).unwrap();
    let log = open(&state);
    log.commit_blocking(vec![Draft::new(Kind::RunFinished, &json!({"run": "x", "store": "s", "dataset": "d", "counts": {}})).unwrap()])
        .unwrap();
    wait(log.close()).unwrap();
    assert_eq!(archive_all(&state, &to).bundles, Vec::<u64>::new(), "a run is under way since");
    check(&state).unwrap();
}

#[test]
fn archiving_that_broke_off_anywhere_is_finished_by_doing_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    long_log(&state);
    for step in 0..4 {
        let (other, to) = (dir.path().join(format!("state-{step}")), dir.path().join(format!("archive-{step}")));
        copy(&state, &other);
        fs::create_dir(&to).unwrap();
        let log_dir = other.join("audit");
        let plan = archive::plan(&log_dir, later()).unwrap();
        if step == 0 {
            // Half copied, and a torn file.
            let half = archive::Plan { bundles: plan.bundles[..1].to_vec(), ..plan.clone() };
            archive::copy(&log_dir, &half, &to).unwrap();
            fs::write(to.join("tile/entries/002.new"), "torn").unwrap();
        } else {
            archive::copy(&log_dir, &plan, &to).unwrap();
        }
        if step > 1 {
            let log = open(&other);
            let body = json!({"end": plan.end, "from": plan.from});
            let n = log.commit_blocking(vec![Draft::new(Kind::Archived, &body).unwrap()]).unwrap().first();
            wait(log.close()).unwrap();
            if step > 2 {
                let half = archive::Plan { bundles: plan.bundles[..1].to_vec(), ..plan.clone() };
                archive::remove(&log_dir, &half, n, &to).unwrap();
            }
        }
        check(&other).unwrap_or_else(|e| panic!("step {step}: {e}"));
        archive_all(&other, &to);
        let verified = check(&other).unwrap_or_else(|e| panic!("step {step}: {e}"));
        assert_eq!(verified.absent, 768, "step {step}");
        assert_eq!(verify_with(&log_dir, &vkey(&other), Some(&to), &|_, _| {}).unwrap().absent, 0, "step {step}");
    }
}

#[test]
fn a_bundle_that_is_missing_without_being_archived_or_wrong_in_the_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (state, to) = (dir.path().join("state"), dir.path().join("archive"));
    long_log(&state);
    let log = state.join("audit");
    let bundle = fs::read(log.join("tile/entries/002")).unwrap();
    fs::remove_file(log.join("tile/entries/002")).unwrap();
    assert_eq!(check(&state).unwrap_err().kind(), error::Kind::NotIntact);
    // Saying so in the file alone is not enough.
    fs::write(log.join("archived"), "end 1280\nfrom 1511\nentry 1600\nto /nowhere\n").unwrap();
    let error = check(&state).unwrap_err();
    assert!(
        error.kind() == error::Kind::NotIntact
            && error.to_string().contains("entry 1600 does not say that the entries before 1280 were archived"),
        "{error}"
    );
    fs::write(log.join("archived"), "end many\n").unwrap();
    assert_eq!(check(&state).unwrap_err().kind(), error::Kind::NotIntact);
    fs::remove_file(log.join("archived")).unwrap();

    let mut bad = bundle.clone();
    bad[100] ^= 1;
    fs::write(log.join("tile/entries/002"), &bad).unwrap();
    fs::create_dir(&to).unwrap();
    let plan = archive::plan(&log, later());
    if let Ok(plan) = plan {
        assert_eq!(archive::copy(&log, &plan, &to).unwrap_err().kind(), error::Kind::NotIntact, "what is wrong is not moved");
    }
    fs::write(log.join("tile/entries/002"), &bundle).unwrap();
    archive_all(&state, &to);
    fs::write(to.join("tile/entries/002"), &bad).unwrap();
    let error = verify_with(&log, &vkey(&state), Some(&to), &|_, _| {}).unwrap_err();
    assert!(error.kind() == error::Kind::NotIntact && error.to_string().contains("archive/tile/entries/002"), "{error}");
}

#[test]
fn a_log_whose_key_was_lost_is_followed_by_one_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let settings = Settings::new(state, "hq-1");
    assert_eq!(wait(Anew::prepare(&settings)).unwrap_err().kind(), error::Kind::Refused, "no log");
    let log = open(state);
    log.commit_blocking(drafts(300, "old")).unwrap();
    wait(log.close()).unwrap();
    assert_eq!(wait(Anew::prepare(&settings)).unwrap_err().kind(), error::Kind::Refused, "a log in order");
    let (old_key, old_root) = (vkey(state), check(state).unwrap().root);
    fs::remove_file(state.join("keys/log.key")).unwrap();

    let anew = wait(Anew::prepare(&settings)).unwrap();
    assert_eq!(AuditLog::open(state, "hq-1").unwrap_err().kind(), error::Kind::Refused, "the lock is held");
    let previous = wait(anew.begin("the disk with the key broke", "somebody", drafts(3, "carried"))).unwrap();
    assert_eq!((previous.size, previous.root.as_deref(), previous.signed, previous.behind), (301, Some(&*old_root), true, 0));
    let kept = state.join(&previous.kept_as);
    assert_eq!(verify(&kept, &old_key, &|_, _| {}).unwrap().size, 301, "the old log stays verifiable");
    assert!(kept.join("keys/log.vkey").exists() && !state.join("anew.ready").exists() && !state.join("anew").exists());

    let all = entries(state);
    let first = Entry::parse(&all[0]).unwrap();
    let named = &first.fields["previous"];
    assert_eq!((named["root"].as_str(), named["vkey"].as_str()), (Some(&*old_root), Some(&*old_key)));
    assert_eq!((named["reason"].as_str(), named["person"].as_str()), (Some("the disk with the key broke"), Some("somebody")));
    assert_eq!(all.len(), 4);
    assert_eq!(check(state).unwrap().size, 4);
    assert_ne!(vkey(state), old_key);
    wait(open(state).close()).unwrap();
}

#[test]
fn a_new_beginning_that_broke_off_anywhere_is_finished_or_undone_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    wait(open(&old).close()).unwrap();
    rotate(&old, 3);
    let new = dir.path().join("new");
    wait(open(&new).close()).unwrap();
    for step in 0..5 {
        let state = dir.path().join(format!("state-{step}"));
        copy(&old, &state);
        let staged = if step == 0 { "anew" } else { "anew.ready" };
        copy(&new, &state.join(staged));
        fs::write(state.join(staged).join("kept-as"), "audit-until-then").unwrap();
        let (ready, kept) = (state.join("anew.ready"), state.join("audit-until-then"));
        let rename = |from: &Path, to: &Path| fs::rename(from, to).unwrap();
        if step > 1 {
            rename(&state.join("audit"), &kept);
        }
        if step > 2 {
            rename(&ready.join("audit"), &state.join("audit"));
            fs::create_dir(kept.join("keys")).unwrap();
            rename(&state.join("keys/log.key"), &kept.join("keys/log.key"));
        }
        if step > 3 {
            rename(&ready.join("keys/log.key"), &state.join("keys/log.key"));
        }
        let log = open(&state);
        let expected = if step == 0 { vkey(&old) } else { vkey(&new) };
        assert_eq!(log.verifier().to_string(), expected, "step {step}");
        wait(log.close()).unwrap();
        assert_eq!(check(&state).unwrap().size, if step == 0 { 5 } else { 1 }, "step {step}");
        assert!(!state.join("anew").exists() && !ready.exists(), "step {step}");
        if step > 0 {
            assert_eq!(verify(&kept, &vkey(&old), &|_, _| {}).unwrap().size, 5, "step {step}");
            for name in ["log.key", "log.vkey", "log.vkeys"] {
                assert_eq!(
                    fs::read(kept.join("keys").join(name)).unwrap(),
                    fs::read(old.join("keys").join(name)).unwrap(),
                    "step {step} {name}"
                );
            }
            assert!(!state.join("keys/log.vkeys").exists(), "step {step}");
        }
    }
}
