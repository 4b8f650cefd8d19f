//! The archive of the built program.

use std::fs;

use retentiond::audit::Kind;

use crate::estate::Estate;

#[test]
fn old_entries_move_to_the_archive_and_everything_that_reads_them_copes() {
    let mut estate = Estate::new("log: { archive: archive }");
    estate.work(1200);
    estate.work(3);
    let hold = serde_json::json!({"hold": "h-1", "hold_kind": "court", "scope": {"dataset": "cctv/people"}});
    commit(&estate, Kind::HoldPlaced, &hold);
    let size = estate.verify()["size"].as_u64().unwrap();
    let said = estate.expect(2, &["audit", "archive"]);
    assert!(said.contains("which entries?"), "{said}");
    let said = estate.expect(3, &["audit", "archive", "--before", "2999-01-01"]);
    assert!(said.contains("expected the folder of the archive, found none"), "{said}");
    fs::create_dir(estate.path("archive")).unwrap();
    estate.expect(0, &["audit", "archive", "--before", "2020-01-01"]);
    assert!(estate.entries(Kind::Archived).is_empty());
    let said = estate.expect(0, &["audit", "archive", "--before", "2999-01-01", "--reason", "the disk is small"]);
    assert!(said.contains("bundles of 256 entries"), "{said}");
    let entry = estate.entries(Kind::Archived).pop().unwrap();
    assert_eq!((entry.str("reason"), entry.u64("bundles")), (Some("the disk is small"), Some(3)));

    let said = estate.expect(0, &["audit", "verify"]);
    assert!(said.contains("of 768 of them no more than the hashes was verified; --archive names where they are"), "{said}");
    let archive = estate.path("archive").display().to_string();
    let said = estate.expect(0, &["audit", "verify", "--archive", &archive]);
    assert!(said.contains("all of them were verified"), "{said}");
    let said = estate.expect(0, &["audit", "replay", "--archive", &archive]);
    assert!(said.contains("1203 decisions derived again"), "{said}");
    let said = estate.expect(0, &["audit", "replay"]);
    assert!(said.contains("runs of which some entries are archived"), "{said}");
    let find = |words: &str| {
        let said = estate.expect(0, &["audit", "find", "cctv/footage:2020-01-01/000600.mp4"]);
        assert!(said.contains(words), "{said}");
        let said = estate.expect(0, &["explain", "cctv/footage:2020-01-01/000600.mp4"]);
        assert!(said.contains(words), "{said}");
    };
    find("destroyed");
    assert!(estate.expect(0, &["audit", "list", "--kind", "destroyed"]).lines().count() > 1203);

    // Without the archive.
    fs::rename(estate.path("archive"), estate.path("away")).unwrap();
    find("were archived to");
    let said = estate.expect(0, &["audit", "list", "--kind", "destroyed"]);
    assert!(said.contains("were archived to"), "{said}");
    let said = estate.expect(1, &["audit", "prove", "600"]);
    assert!(said.contains("entry 600 is not here"), "{said}");
    estate.expect(4, &["audit", "verify", "--archive", &archive]);
    estate.expect(4, &["audit", "replay", "--archive", &archive]);
    estate.expect(0, &["audit", "replay"]);
    estate.expect(0, &["register", "rebuild"]);
    for name in ["register.db", "register.db-wal", "register.db-shm"] {
        let _ = fs::remove_file(estate.state().join(name));
    }
    // The hold is known from the log alone, and the schedule is not written down again.
    fs::create_dir_all(estate.path("cctv/people/2020-01-01")).unwrap();
    fs::write(estate.path("cctv/people/2020-01-01/a.mp4"), "x").unwrap();
    estate.work(2);
    assert!(estate.path("cctv/people/2020-01-01/a.mp4").exists());
    assert_eq!(estate.entries(Kind::Schedule).len(), 1);
    assert!(estate.verify()["size"].as_u64().unwrap() > size);
}

pub fn commit(estate: &Estate, kind: Kind, body: &serde_json::Value) {
    let log = retentiond::audit::AuditLog::open(&estate.state(), "keys-1").unwrap().log;
    log.commit_blocking(vec![retentiond::audit::Draft::new(kind, body).unwrap()]).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.close()).unwrap();
}

#[test]
fn the_schedule_says_which_entries_stay_in_place() {
    let mut estate = Estate::new("log: { class: the-log, archive: archive }");
    fs::create_dir(estate.path("archive")).unwrap();
    estate.work(600);
    let said = estate.expect(0, &["audit", "archive"]);
    assert!(said.contains("nothing to archive"), "{said}");
    let said = estate.expect(3, &["audit", "archive", "--before", "2999-01-01"]);
    assert!(said.contains("the schedule keeps entries written since"), "{said}");
    let said = estate.expect(0, &["check"]);
    assert!(!said.contains("no dataset has these classes"), "{said}");
}
