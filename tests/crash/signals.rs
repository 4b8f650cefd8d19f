//! SIGTERM: the records in hand are finished, and the log says of those announced that their turn did not come. A second one ends the program at once.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use retentiond::audit::Kind;
use rustix::process::{Pid, Signal, kill_process};

use crate::estate::{Dice, Estate, FOOTAGE, Load};

const MANY: Load = Load { footage: 9000, letters: 20, scans: 20, rows: 200 };

fn terminate(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

/// Waits until the program has destroyed something.
fn await_destruction(estate: &Estate) {
    let begun = Instant::now();
    let due: Vec<_> =
        estate.known.iter().filter(|one| one.due && one.dataset == FOOTAGE).map(|one| estate.path("media").join(&one.key)).collect();
    while estate.intents_in_journal() == 0 || due.iter().all(|path| path.exists()) {
        assert!(begun.elapsed() < Duration::from_mins(1), "the program did not begin to destroy");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_program_told_to_end_finishes_what_it_announced_and_says_that_it_stopped() {
    let mut estate = Estate::new();
    estate.add(MANY);
    let mut child = estate.start(&["run"]);
    await_destruction(&estate);
    terminate(&child);
    let begun = Instant::now();
    let status = child.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    assert_eq!(status.code(), Some(1), "it did less than it was to do");
    // Before any recovery: nothing is open.
    estate.verify();
    estate.check();
    assert_eq!(estate.runs_stopped, 1);
    assert!(estate.entries_of(Kind::Recovered).is_empty());
    let gone = estate.entries_of(Kind::Destroyed).len();
    assert!(gone > 0 && gone < 9000, "{gone}");
    estate.check_tidy();
    estate.run();
    estate.check_done();
}

#[test]
fn a_second_signal_ends_the_program_at_once_and_is_as_safe_as_a_kill() {
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut estate = Estate::new();
    estate.add(MANY);
    let mut at_once = 0;
    for _ in 0..12 {
        estate.add(Load { footage: 600, letters: 5, scans: 10, rows: 40 });
        let mut child = estate.start(&["run"]);
        thread::sleep(Duration::from_millis(dice.below(700)));
        terminate(&child);
        thread::sleep(Duration::from_millis(dice.below(8)));
        // It may have ended.
        if child.try_wait().unwrap().is_none() {
            terminate(&child);
        }
        let begun = Instant::now();
        let status = child.wait().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
        // Before the program looks after signals, they do what they do by default.
        let by_signal = status.code() == Some(128 + 15) || status.signal() == Some(15);
        assert!(by_signal || matches!(status.code(), Some(0 | 1)), "{status}");
        at_once += u32::from(status.code() == Some(128 + 15));
        estate.recover();
        estate.check();
        estate.check_tidy();
        estate.verify();
    }
    println!("{at_once} of 12 ended at the second signal");
    estate.run();
    estate.check_done();
}
