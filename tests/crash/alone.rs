//! One writer at a time, a clock that can be believed, and a state folder that lost files.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use retentiond::audit::Kind;

use crate::estate::{Dice, Estate, Load, PROGRAM, names_in, text};

#[test]
fn a_second_run_beside_the_first_is_refused_and_told_who_runs() {
    let mut estate = Estate::new();
    estate.add(Load { footage: 3000, letters: 0, scans: 0, rows: 0 });
    let mut first = estate.start(&["run"]);
    let lock = estate.state().join("lock");
    while fs::read_to_string(&lock).map_or(true, |text| text.trim().is_empty()) {
        thread::sleep(Duration::from_millis(1));
    }
    let mut refused = 0;
    while first.try_wait().unwrap().is_none() {
        let second = estate.finish(&["run"]);
        if second.status.code() == Some(3) {
            refused += 1;
            assert!(text(&second).contains(&format!("process {}", first.id())), "{}", text(&second));
        }
    }
    assert!(refused > 0, "the first run was over too soon");
    estate.run();
    estate.check_done();
}

#[test]
fn two_runs_started_together_again_and_again_never_work_side_by_side() {
    let mut estate = Estate::new();
    for _ in 0..6 {
        estate.add(Load { footage: 200, letters: 5, scans: 5, rows: 16 });
        let both = [estate.start(&["run"]), estate.start(&["run"])];
        let mut codes = both.map(|mut child| child.wait().unwrap().code().unwrap());
        codes.sort_unstable();
        assert!(codes == [0, 3] || codes == [0, 0], "{codes:?}");
        estate.check_done();
    }
}

#[test]
fn a_clock_that_stands_behind_the_log_destroys_nothing() {
    if Command::new("faketime").args(["-f", "-1d", "true"]).status().map_or(true, |status| !status.success()) {
        return println!("skipped: faketime cannot be used here");
    }
    let mut estate = Estate::new();
    estate.run();
    estate.add(Load { footage: 50, letters: 5, scans: 5, rows: 16 });
    for (shift, far) in [("-1d", false), ("-90s", false), ("+300d", true)] {
        let mut command = Command::new("faketime");
        let output = command.args(["-f", shift, PROGRAM, "--config"]).arg(estate.config()).arg("run").output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{shift}: {}", text(&output));
        assert!(text(&output).contains("clock"), "{}", text(&output));
        assert_eq!(text(&output).contains("--trust-clock"), far, "{}", text(&output));
    }
    assert!(estate.entries_of(Kind::Intent).is_empty());
    estate.run();
    estate.check_done();
}

/// What is taken from the state folder after a kill.
fn take(estate: &Estate, dice: &mut Dice) {
    let state = estate.state();
    let which = dice.below(4);
    if which != 0 {
        for name in ["register.db", "register.db-wal", "register.db-shm"] {
            let _ = fs::remove_file(state.join(name));
        }
    }
    match which {
        1 => {}
        3 => {
            // A plan cut short, as a bad copy or a broken disk leaves it.
            for name in names_in(&state.join("plans")) {
                let path = state.join("plans").join(name);
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            }
        }
        _ => {
            let _ = fs::remove_dir_all(state.join("plans"));
        }
    }
}

#[test]
fn a_killed_run_is_settled_without_the_register_and_without_its_plan() {
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut estate = Estate::new();
    estate.run();
    let mut recovered = 0;
    for _ in 0..12 {
        estate.add(Load { footage: 300, letters: 10, scans: 10, rows: 40 });
        let mut child = estate.start(&["run"]);
        thread::sleep(Duration::from_millis(60 + dice.below(300)));
        let _ = child.kill();
        child.wait().unwrap();
        take(&estate, &mut dice);
        estate.recover();
        estate.check();
        estate.check_tidy();
        estate.verify();
        recovered = estate.entries_of(Kind::Recovered).len();
    }
    println!("{recovered} records recovered");
    assert!(recovered > 50, "too few kills hit: {recovered}");
    estate.run();
    estate.check();
    estate.check_tidy();
    estate.verify();
}
