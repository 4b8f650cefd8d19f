//! What a person does to the keys of a log.

use std::fs;
use std::process::Command;

use retentiond::audit::{Kind, Pseudonyms};

use crate::estate::{Estate, PROGRAM};

/// Kills the program at each system call that makes something durable or changes a name, one at a time, and lets `check` look at what that left.
fn kill_everywhere(estate: &Estate, arguments: &[&str], check: impl Fn(&str)) {
    estate.copy("state", "before");
    let mut kills = 0;
    for call in ["fsync", "fdatasync", "rename", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir"] {
        for number in 1..200 {
            estate.copy("before", "state");
            let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={number}"));
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, PROGRAM, "--config"]);
            let output = command.arg(estate.path("retentiond.yaml")).args(arguments).output().expect("strace");
            if output.status.success() {
                break;
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code().is_none() || output.status.code() == Some(137), "{call} {number}: {said}");
            kills += 1;
            check(&format!("{} killed at {call} {number}", arguments.join(" ")));
        }
    }
    assert!(kills > 8, "{kills} kills");
    estate.copy("before", "state");
}

#[test]
fn a_change_of_keys_survives_being_killed_anywhere_and_both_keys_verify_the_log() {
    let mut estate = Estate::new("");
    estate.work(3);
    let first = estate.vkey();
    kill_everywhere(&estate, &["audit", "rotate-key", "--reason", "yearly"], |what| {
        estate.expect(0, &["audit", "verify", "--key", &first]);
        estate.expect(0, &["run"]);
        for key in [&first, &estate.vkey()] {
            estate.expect(0, &["audit", "verify", "--key", key]);
        }
        let rotated = estate.entries(Kind::KeyRotated).len();
        assert_eq!(rotated == 1, estate.vkey() != first, "{what}");
        let left: Vec<_> = fs::read_dir(estate.state().join("keys")).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name == "log.key.next" || name == "log.key.old"), "{what}: {left:?}");
    });
    let said = estate.expect(0, &["audit", "rotate-key", "--reason", "yearly"]);
    let second = estate.vkey();
    assert!(said.contains(&first) && said.contains(&second), "{said}");
    estate.work(2);
    estate.expect(0, &["audit", "rotate-key"]);
    for key in [&first, &second, &estate.vkey()] {
        let said = estate.expect(0, &["audit", "verify", "--key", key]);
        assert!(said.contains("the signing key was changed 2 times"), "{said}");
    }
    assert_eq!(estate.entries(Kind::KeyRotated)[0].str("reason"), Some("yearly"));
    assert!(estate.entries(Kind::KeyRotated)[0].str("person").is_some());
}

#[test]
fn the_signing_key_may_come_as_a_credential_of_the_service() {
    let mut estate = Estate::new("log: { credential: signing }");
    estate.work(1);
    let credentials = estate.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::rename(estate.state().join("keys/log.key"), credentials.join("signing")).unwrap();
    estate.add(1);
    let said = estate.expect(4, &["run"]);
    assert!(said.contains("expected the key that signs the log") && said.contains("begin-anew"), "{said}");
    let run = |arguments: &[&str]| estate.command(arguments).env("CREDENTIALS_DIRECTORY", &credentials).output().unwrap();
    let output = run(&["run"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(estate.left(), 0);
    let output = run(&["audit", "rotate-key"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("encrypt it as the service's credential"), "{output:?}");
    estate.expect(0, &["run"]);
    estate.verify();
}

/// An estate with a key for 2019, whose evidence period is over.
fn with_2019(lines: &str) -> Estate {
    let mut estate = Estate::new(lines);
    estate.work(1);
    Pseudonyms::open(&estate.state().join("keys")).unwrap().create_epoch(2019).unwrap();
    estate
}

fn years(estate: &Estate) -> Vec<i16> {
    Pseudonyms::open(&estate.state().join("keys")).unwrap().years().collect()
}

#[test]
fn a_year_is_forgotten_only_when_nothing_needs_it_and_a_person_says_so() {
    let estate = with_2019("log: { evidence: 1 year }");
    let now = *years(&estate).last().unwrap();
    let refused = |code: i32, arguments: &[&str], words: &str| {
        let said = estate.expect(code, &[&["audit", "forget"], arguments].concat());
        assert!(said.contains(words), "{said}");
        assert_eq!(years(&estate), [2019, now]);
    };
    refused(3, &["--epoch", &now.to_string(), "--yes"], "is not over");
    refused(3, &["--epoch", &(now + 1).to_string(), "--yes"], "is not over");
    refused(3, &["--epoch", "2018", "--yes"], "has no key");
    refused(2, &["--epoch", "2019"], "say --yes if it is meant");
    estate.configure("log: { evidence: 100 years }");
    refused(3, &["--epoch", "2019", "--yes"], "are evidence until 2119-12-31");
    estate.configure("log: { evidence: 1 year }");
    // A hold on a subject that is named by that year's key.
    let hold = serde_json::json!({"hold": "h-1", "hold_kind": "court", "scope": {"subject": "2019:abc"}});
    commit(&estate, Kind::HoldPlaced, &hold);
    refused(3, &["--epoch", "2019", "--yes"], "still needed: the hold h-1");
    commit(&estate, Kind::HoldReleased, &serde_json::json!({"hold": "h-1"}));
    let flagged =
        serde_json::json!({"run": "r", "store": "cctv", "dataset": "gone", "record": "2019:abc", "then": "flag", "due": "2020-01-01"});
    commit(&estate, Kind::Flagged, &flagged);
    refused(3, &["--epoch", "2019", "--yes"], "still needed: 1 flagged records");
}

fn commit(estate: &Estate, kind: Kind, body: &serde_json::Value) {
    // A program that another test starts at this moment has a copy of the lock that was held here last, until it has begun.
    let log = loop {
        match retentiond::audit::AuditLog::open(&estate.state(), "keys-1") {
            Err(error) if error.kind() == retentiond::error::Kind::Refused => std::thread::sleep(std::time::Duration::from_millis(5)),
            opened => break opened.unwrap().log,
        }
    };
    log.commit_blocking(vec![retentiond::audit::Draft::new(kind, body).unwrap()]).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.close()).unwrap();
}

#[test]
fn forgetting_a_year_survives_being_killed_anywhere_and_never_destroys_a_key_without_an_entry() {
    let estate = with_2019("log: { evidence: 1 year }");
    let now = *years(&estate).last().unwrap();
    kill_everywhere(&estate, &["audit", "forget", "--epoch", "2019", "--yes"], |what| {
        let gone_at_once = years(&estate) == [now];
        estate.expect(0, &["run"]);
        let entries = estate.entries(Kind::EpochForgotten).len();
        assert_eq!(years(&estate) == [now], entries == 1, "{what}");
        assert!(!gone_at_once || entries == 1, "{what}");
        estate.verify();
    });
    estate.expect(0, &["audit", "forget", "--epoch", "2019", "--yes", "--reason", "seven years are over"]);
    assert_eq!(years(&estate), [now]);
    let entry = estate.entries(Kind::EpochForgotten).pop().unwrap();
    assert_eq!((entry.u64("epoch"), entry.str("reason")), (Some(2019), Some("seven years are over")));
    let said = estate.expect(3, &["audit", "forget", "--epoch", "2019", "--yes"]);
    assert!(said.contains("forgotten already"), "{said}");
}

#[test]
fn a_log_whose_key_was_lost_is_followed_by_one_that_names_it_and_keeps_its_holds() {
    let mut estate = Estate::new("");
    estate.work(2);
    let said = estate.expect(3, &["audit", "begin-anew", "--reason", "for fun", "--yes"]);
    assert!(said.contains("the log is in order") && said.contains("rotate-key"), "{said}");
    let hold = serde_json::json!({"hold": "h-1", "hold_kind": "court", "scope": {"dataset": "cctv/footage"}, "matter": "M 7"});
    commit(&estate, Kind::HoldPlaced, &hold);
    commit(&estate, Kind::HoldPlaced, &serde_json::json!({"hold": "h-2", "scope": {}}));
    commit(&estate, Kind::HoldReleased, &serde_json::json!({"hold": "h-2"}));
    let old = estate.vkey();
    let root = estate.verify()["root"].as_str().unwrap().to_owned();
    fs::remove_file(estate.state().join("keys/log.key")).unwrap();
    estate.add(2);
    estate.expect(4, &["run"]);
    let said = estate.expect(2, &["audit", "begin-anew", "--reason", "lost"]);
    assert!(said.contains("say --yes if it is meant"), "{said}");

    kill_everywhere(&estate, &["audit", "begin-anew", "--reason", "lost", "--yes"], |what| {
        let output = estate.command(&["run"]).output().unwrap();
        match output.status.code() {
            // Nothing had happened.
            Some(4) => assert!(!estate.state().join("anew").exists() || estate.vkey() == old, "{what}"),
            Some(0 | 1) => {
                assert_ne!(estate.vkey(), old, "{what}");
                estate.verify();
                assert_eq!(estate.entries(Kind::HoldPlaced).len(), 1, "{what}");
            }
            other => panic!("{what}: {other:?} {output:?}"),
        }
        assert_eq!(estate.left(), 2, "{what}: a hold always wins");
    });
    let said = estate.expect(0, &["audit", "begin-anew", "--reason", "lost", "--yes"]);
    assert!(said.contains("its first entry names the one before") && said.contains("1 entries were carried over"), "{said}");
    estate.expect(0, &["run"]);
    assert_eq!(estate.left(), 2, "the hold is in force in the new log");
    let first = estate.entries(Kind::Opened).pop().unwrap();
    let previous = &first.fields["previous"];
    assert_eq!(
        (previous["root"].as_str(), previous["vkey"].as_str(), previous["signed"].as_bool()),
        (Some(&*root), Some(&*old), Some(true))
    );
    let kept = estate.state().join(previous["kept_as"].as_str().unwrap());
    estate.expect(0, &["audit", "verify", "--log", &kept.display().to_string(), "--key", &old]);
    estate.expect(4, &["audit", "verify", "--key", &old]);
    let held = estate.entries(Kind::HoldPlaced).pop().unwrap();
    assert_eq!((held.str("matter"), held.u64("carried_from").is_some()), (Some("M 7"), true));
    commit(&estate, Kind::HoldReleased, &serde_json::json!({"hold": "h-1"}));
    estate.work(0);
}

#[test]
fn an_interrupted_run_is_settled_in_the_log_that_follows() {
    let mut estate = Estate::new("");
    estate.work(2);
    estate.add(400);
    let mut child = estate.command(&["run"]).spawn().unwrap();
    while estate.left() == 400 {
        assert!(child.try_wait().unwrap().is_none(), "the run was over too soon");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(estate.state().join("keys/log.key")).unwrap();
    let left = estate.left();
    let outcomes = estate.entries(Kind::Destroyed).len() - 2;
    estate.expect(0, &["audit", "begin-anew", "--reason", "lost", "--yes"]);
    estate.expect(0, &["run"]);
    assert_eq!(estate.left(), 0);
    let found = |word: &str| estate.entries(Kind::Recovered).iter().filter(|entry| entry.str("found") == Some(word)).count();
    assert_eq!(
        (found("gone"), found("present") <= left),
        (400 - left - outcomes, true),
        "each record that went has its outcome in one of the two logs"
    );
    estate.verify();
    estate.expect(0, &["audit", "replay"]);
}

#[test]
fn what_people_destroyed_and_what_they_keep_is_known_in_the_log_that_follows() {
    let estate = Estate::new("");
    let text = fs::read_to_string(estate.path("retentiond.yaml")).unwrap();
    let boxes = "  paper:\n    attested: { csv: boxes.csv }\n    datasets:\n      boxes: { class: short, key: box, events: { recorded: closed } }\n  \
                 letters:\n    files: letters\n    datasets:\n      sent: { class: asked, path: \"{recorded:%Y-%m-%d}/*.txt\", events: { recorded: path } }\n";
    fs::write(estate.path("retentiond.yaml"), text + boxes).unwrap();
    let schedule = fs::read_to_string(estate.path("schedule.yaml")).unwrap();
    fs::write(estate.path("schedule.yaml"), schedule + "  asked: { keep: 23 days, after: recorded, then: review, cooling-off: none }\n")
        .unwrap();
    fs::write(estate.path("boxes.csv"), "box,closed\n1,2020-01-01\n2,2020-01-01\n3,2020-01-01\n").unwrap();
    fs::create_dir_all(estate.path("letters/2020-01-01")).unwrap();
    fs::write(estate.path("letters/2020-01-01/1.txt"), "x").unwrap();
    estate.command(&["run"]).output().unwrap();
    let confirm = |number: &str, on: &str| {
        let words = ["attest", "confirm", &format!("paper/boxes:{number}"), "--on", on, "--method", "shredded", "--number", "C-1"];
        estate.command(&words).output().unwrap()
    };
    let shown = |output: &std::process::Output| String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert_eq!(confirm("1", "2020-03-01").status.code(), Some(0));
    assert_eq!(confirm("2", "2020-01-02").status.code(), Some(1), "too early");
    let list: serde_json::Value = serde_json::from_str(estate.expect(0, &["--json", "review", "list"]).lines().next().unwrap()).unwrap();
    estate.expect(0, &["review", "extend", list[0]["batch"].as_str().unwrap(), "--until", "2199-01-01", "--reason", "an inquiry"]);
    // A second time, what was carried over is carried over again.
    for _ in 0..2 {
        fs::remove_file(estate.state().join("keys/log.key")).unwrap();
        let said = estate.expect(0, &["audit", "begin-anew", "--reason", "lost", "--yes"]);
        assert!(said.contains("3 entries were carried over"), "{said}");
        let before = estate.entries(Kind::AttestedBefore);
        assert_eq!(before.len(), 2);
        assert!(before.iter().all(|entry| entry.str("certificate") == Some("C-1") && entry.u64("carried_from").is_some()));
        estate.command(&["run"]).output().unwrap();
        for number in ["1", "2"] {
            let again = confirm(number, "2020-03-01");
            assert!(again.status.code() == Some(3) && shown(&again).contains("confirmed already"), "{}", shown(&again));
            assert!(estate.expect(0, &["explain", &format!("paper/boxes:{number}")]).contains("the log before this one says (entry "));
        }
        let listed = estate.expect(0, &["attest", "list"]);
        assert!(listed.contains("paper/boxes:3") && !listed.contains("paper/boxes:1"), "{listed}");
        assert!(estate.expect(0, &["review", "list"]).contains("extended; kept through 2199-01-01"));
        estate.verify();
        estate.expect(0, &["audit", "replay"]);
    }
}

#[test]
fn forgetting_a_year_tells_of_reviews_and_waits_for_what_people_keep() {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    if !std::path::Path::new(LIBRARY).exists() {
        return println!("skipped: libfaketime is not here");
    }
    let estate = Estate::new("log: { evidence: 1 year }");
    let schedule = fs::read_to_string(estate.path("schedule.yaml")).unwrap();
    fs::write(estate.path("schedule.yaml"), schedule.replace("recorded, then: destroy", "recorded, then: review")).unwrap();
    let day = estate.path("cctv/2018-01-01");
    fs::create_dir_all(&day).unwrap();
    fs::write(day.join("1.mp4"), "x").unwrap();
    let in_2019 = |day: &str, words: &[&str]| {
        let mut command = estate.command(words);
        command.env("LD_PRELOAD", LIBRARY).env("FAKETIME", format!("@2019-06-{day} 12:00:00")).output().unwrap()
    };
    in_2019("01", &["run"]);
    let list: serde_json::Value = serde_json::from_str(estate.expect(0, &["--json", "review", "list"]).lines().next().unwrap()).unwrap();
    let batch = list[0]["batch"].as_str().unwrap();
    in_2019("02", &["review", "extend", batch, "--until", "2199-01-01", "--reason", "an inquiry"]);
    let forget = ["audit", "forget", "--epoch", "2019"];
    estate.command(&["run", "--trust-clock"]).output().unwrap();
    let said = estate.expect(3, &[&forget[..], &["--yes"]].concat());
    assert!(said.contains(&format!("the review batch {}, which a person keeps until 2199-01-01", &batch[..16])), "{said}");
    estate.expect(0, &["review", "withdraw", batch]);
    let said = estate.expect(2, &forget);
    assert!(said.contains(&format!("frozen under the names of 2019: {}", &batch[..16])), "{said}");
    let said = estate.expect(0, &[&forget[..], &["--yes"]].concat());
    assert!(said.contains("may have to be reviewed again"), "{said}");
    estate.command(&["run"]).output().unwrap();
    let again: serde_json::Value = serde_json::from_str(estate.expect(0, &["--json", "review", "list"]).lines().next().unwrap()).unwrap();
    assert!(again[0]["standing"] == "waiting" && again[0]["records"] == 1, "{again}");
    estate.verify();
}
