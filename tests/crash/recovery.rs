//! Recovery itself: what it may remove, and what it may say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use retentiond::audit::{AuditLog, Draft, Entry, Kind};

use crate::estate::{Estate, FOOTAGE, Load, PROGRAM, text};
use crate::lost::no_strace;

/// An estate with one record that is gone by a crash and whose companion is still there, under an open intent. Answers the companion.
fn with_remains() -> (Estate, PathBuf) {
    let mut estate = Estate::new();
    estate.run();
    estate.add(Load { footage: 1, letters: 0, scans: 0, rows: 0 });
    let due = estate.known.iter().find(|one| one.due && one.dataset == FOOTAGE).unwrap();
    let record = estate.path("media").join(&due.key);
    let companion = record.with_extension("jpg");
    fs::write(&companion, &due.key).unwrap();
    killed_at(&estate, "unlinkat", 2, &["run", "media/footage"]);
    assert!(!record.exists() && companion.exists());
    (estate, companion)
}

/// Kills the program before its call number `nth`, and says whether it came so far.
fn killed_at(estate: &Estate, call: &str, nth: usize, words: &[&str]) -> bool {
    let options = [format!("--trace={call}"), format!("--inject={call}:signal=KILL:when={nth}")];
    estate.command_under_strace(&options, words).output().unwrap().status.code().is_none()
}

#[test]
fn a_recovery_that_is_killed_at_each_of_its_writes_still_leaves_nothing_behind() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    for call in ["fdatasync", "unlinkat", "rename"] {
        for nth in 1.. {
            let (mut estate, companion) = with_remains();
            let hit = killed_at(&estate, call, nth, &["run", "media/nothing"]);
            estate.recover();
            assert!(!companion.exists(), "{call} {nth}: the companion outlived its record, and nothing would ever remove it");
            estate.check_done();
            if !hit {
                println!("{call}: {} kills", nth - 1);
                break;
            }
        }
    }
}

#[test]
fn a_hold_placed_after_the_crash_keeps_what_is_left_of_the_record() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    let (estate, companion) = with_remains();
    let log = AuditLog::open(estate.state(), "crash-1").unwrap().log;
    let body = serde_json::json!({"hold": "H-1", "hold_kind": "litigation", "scope": {"dataset": FOOTAGE}});
    log.commit_blocking(vec![Draft::new(Kind::HoldPlaced, &body).unwrap()]).unwrap();
    drop(log);
    estate.recover();
    assert!(companion.exists(), "recovery removed what is held");
    estate.verify();
    estate.check_tidy();
}

#[test]
fn what_is_left_of_a_record_stays_while_its_store_is_paused() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    let (mut estate, companion) = with_remains();
    let log = AuditLog::open(estate.state(), "crash-1").unwrap().log;
    let body = serde_json::json!({"store": "media", "reason": "repair", "person": "somebody"});
    log.commit_blocking(vec![Draft::new(Kind::Paused, &body).unwrap()]).unwrap();
    drop(log);
    for _ in 0..2 {
        estate.finish(&["run", "media/nothing"]);
        assert!(companion.exists(), "recovery removed something while the store was paused");
    }
    estate.finish(&["resume", "media"]);
    estate.recover();
    assert!(!companion.exists(), "the companion outlived its record, and nothing would ever remove it");
    estate.check_done();
}

/// Gives every dataset a window that opens so many hours from now and is open for two.
fn set_window(estate: &Estate, hours: i64) {
    let clock = |hours: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).strftime("%H:00");
    let config = fs::read_to_string(estate.config()).unwrap();
    let lines = config.lines().filter(|line| !line.starts_with("window:")).collect::<Vec<_>>().join("\n");
    fs::write(estate.config(), format!("window: {}-{}\n{lines}", clock(hours), clock(hours + 2))).unwrap();
}

#[test]
fn what_is_left_of_a_record_waits_for_the_window_and_is_not_forgotten() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    let (mut estate, companion) = with_remains();
    set_window(&estate, 3);
    for _ in 0..2 {
        let output = estate.finish(&["run", "media/nothing"]);
        assert!(text(&output).contains("companion files of 1 records that are gone are left"), "{}", text(&output));
        assert!(companion.exists(), "recovery removed something outside the window");
    }
    set_window(&estate, -1);
    estate.recover();
    assert!(!companion.exists(), "the companion outlived its record, and nothing would ever remove it");
    estate.check_done();
}

/// Puts an empty folder in the place of the media, as an unmounted disk leaves it, and back.
fn unmounted(estate: &Estate, work: impl FnOnce(&Path)) {
    let (media, aside) = (estate.path("media"), estate.path("aside"));
    fs::rename(&media, &aside).unwrap();
    fs::create_dir(&media).unwrap();
    work(&media);
    fs::remove_dir(&media).unwrap();
    fs::rename(&aside, &media).unwrap();
}

#[test]
fn on_a_disk_that_is_not_mounted_nothing_is_believed_to_be_gone() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    // The run was killed; or it came to its end and could not tell what became of a record, as on a disk that breaks.
    for ended in [false, true] {
        let mut estate = Estate::new();
        estate.run();
        estate.add(Load { footage: 20, letters: 0, scans: 0, rows: 0 });
        if ended {
            let options = ["--trace=unlinkat".to_owned(), "--inject=unlinkat:error=EIO:when=2+2".to_owned()];
            let output = estate.command_under_strace(&options, &["run", "media/footage"]).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        } else {
            assert!(killed_at(&estate, "unlinkat", 8, &["run", "media/footage"]));
        }
        let open = estate.finish(&["audit", "verify"]);
        assert_eq!(open.status.code(), Some(1), "an intent is open: {}", text(&open));
        let recovered = estate.entries_of(Kind::Recovered).len();
        for _ in 0..2 {
            unmounted(&estate, |_| {
                let output = estate.finish(&["run", "documents"]);
                assert_eq!(output.status.code(), Some(1), "{}", text(&output));
            });
            assert_eq!(estate.entries_of(Kind::Recovered).len(), recovered, "an empty folder was believed");
        }
        estate.recover();
        estate.check();
        estate.check_tidy();
        estate.verify();
        estate.run();
        estate.check_done();
    }
}

#[test]
fn what_recovery_removes_is_judged_by_a_schedule_that_is_in_the_log_before() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    let (mut estate, companion) = with_remains();
    let schedule = estate.path("schedule.yaml");
    let text = fs::read_to_string(&schedule).unwrap();
    fs::write(&schedule, format!("{text}# edited while nothing ran\n")).unwrap();
    estate.recover();
    assert!(!companion.exists());
    let mut written = std::collections::BTreeSet::new();
    let mut recoveries = 0;
    for entry in estate.entries() {
        if entry.kind == Kind::Schedule {
            written.insert(entry.str("sha256").unwrap().to_owned());
        }
        if entry.kind == Kind::RunStarted {
            recoveries += usize::from(entry.str("reason") == Some("recovery"));
            for rule in entry.fields["rules"].as_array().unwrap() {
                assert!(written.contains(rule["schedule"].as_str().unwrap()), "entry {} goes by a schedule that came later", entry.n);
            }
        }
    }
    assert!(recoveries > 0 && written.len() > 1);
    estate.check_done();
    estate.verify();
}

#[test]
fn in_another_year_what_is_left_of_a_record_goes_under_the_name_that_it_was_announced_by() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    if !Command::new("faketime").args(["-f", "-1d", "true"]).status().is_ok_and(|status| status.success()) {
        return println!("skipped: faketime cannot be used here");
    }
    let (estate, companion) = with_remains();
    let announced = |intents: &[Entry]| intents.last().unwrap().fields["records"].clone();
    let before = estate.entries_of(Kind::Intent);
    let mut command = Command::new("faketime");
    command.args(["-f", "+380d", PROGRAM, "--config"]).arg(estate.config()).args(["run", "media/nothing", "--trust-clock"]);
    let output = command.output().unwrap();
    assert!(!companion.exists(), "{}", text(&output));
    let after = estate.entries_of(Kind::Intent);
    assert_eq!((after.len(), announced(&after)), (before.len() + 1, announced(&before)));
    let year = |entry: &Entry| entry.at[..4].parse::<i16>().unwrap();
    assert!(year(after.last().unwrap()) > year(before.last().unwrap()));
    estate.verify();
}

/// A picture of p-1 and what goes with it, not due for years, whose erasure was decided and cut off when the picture was gone. Answers the picture's
/// companion.
fn erased_by_half(folder: &Path) -> PathBuf {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    write(
        "schedule.yaml",
        "schedule: s\ntime-zone: UTC\nclasses:\n  c: { keep: 9 years, after: made, then: destroy, on-erasure: destroy }\n",
    );
    write(
        "retentiond.yaml",
        "node: n\nmode: enforce\nschedules: schedule.yaml\nstate: state\nlimits: unlimited\nstores:\n  pictures:\n    files: pictures\n    datasets:\n      \
         all: { class: c, path: \"{who}/{made:%Y-%m-%d}/*.jpg\", events: { made: path }, subject: who, companions: [\"{stem}.txt\"] }\n",
    );
    let day = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 30)).strftime("%Y-%m-%d").to_string();
    let picture = write(&format!("pictures/p-1/{day}/a.jpg"), "picture");
    let companion = write(&format!("pictures/p-1/{day}/a.txt"), "who is on it");
    assert!(program(folder, &["run"]).status.success());
    let shown = text(&program(folder, &["subject", "erase", "p-1"]));
    let id = shown.split("--confirm ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(folder.join("strace")).args(["--trace=unlinkat", "--inject=unlinkat:signal=KILL:when=2"]);
    command.arg(PROGRAM).arg("--config").arg(folder.join("retentiond.yaml")).args(["subject", "erase", "p-1", "--confirm", id]);
    let killed = command.args(["--person", "Olive Oak", "--matter", "ER-1"]).output().unwrap();
    assert!(killed.status.code().is_none() && !picture.exists() && companion.exists(), "{}", text(&killed));
    companion
}

fn program(folder: &Path, words: &[&str]) -> std::process::Output {
    Command::new(PROGRAM).arg("--config").arg(folder.join("retentiond.yaml")).args(words).output().unwrap()
}

#[test]
fn what_is_left_of_a_record_that_a_person_asked_to_erase_goes_at_the_next_start() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    let folder = tempfile::tempdir().unwrap();
    let companion = erased_by_half(folder.path());
    let ran = program(folder.path(), &["run"]);
    assert!(!companion.exists(), "the companion outlived its record, and nobody would ever find it: {}", text(&ran));
    for words in [["audit", "verify"], ["audit", "replay"]] {
        let said = program(folder.path(), &words);
        assert!(said.status.success(), "{words:?}: {}", text(&said));
    }
}

#[test]
fn a_hold_keeps_what_is_left_of_a_record_that_a_person_asked_to_erase() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    let folder = tempfile::tempdir().unwrap();
    let companion = erased_by_half(folder.path());
    let log = AuditLog::open(&folder.path().join("state"), "n").unwrap().log;
    let body = serde_json::json!({"hold": "H-1", "hold_kind": "litigation", "scope": {"dataset": "pictures/all"}});
    log.commit_blocking(vec![Draft::new(Kind::HoldPlaced, &body).unwrap()]).unwrap();
    drop(log);
    program(folder.path(), &["run"]);
    assert!(companion.exists(), "recovery removed what is held");
    assert!(program(folder.path(), &["audit", "verify"]).status.success());
}
