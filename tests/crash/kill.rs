//! SIGKILL at any moment: while starting, recovering, scanning, destroying, publishing.

use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use crate::estate::{Dice, Estate, Load};

const FIRST: Load = Load { footage: 1500, letters: 60, scans: 40, rows: 300 };
const MORE: Load = Load { footage: 60, letters: 6, scans: 4, rows: 24 };

/// Kills in one estate before the next one begins, so that no log grows so long that reading it takes the time.
const KILLS_AN_ESTATE: u64 = 40;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}: expected a number, found {text}")))
}

/// Prints what to set to see the same again, if the test fails.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("RETENTIOND_SEED={} shows it again, as far as time allows", self.0);
        }
    }
}

fn kill(mut child: Child) {
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().unwrap();
}

/// Waits until the journal holds an intent that was not there before, but no longer than `most`.
fn await_intent(estate: &Estate, most: Duration) {
    let begun = Instant::now();
    let before = estate.intents_in_journal();
    while begun.elapsed() < most && estate.intents_in_journal() <= before {
        thread::sleep(Duration::from_millis(2));
    }
}

fn pause(dice: &mut Dice, most: Duration) {
    thread::sleep(Duration::from_micros(dice.below(u64::try_from(most.as_micros()).unwrap())));
}

/// One estate and its kills. Answers how many hit a running program.
fn life(seed: u64, kills: u64) -> u64 {
    let _tell = TellSeed(seed);
    let mut dice = Dice::new(seed);
    let mut estate = Estate::new();
    estate.add(FIRST);
    estate.add_tapes(30);
    // The very first start, which makes keys and log, is killed too.
    let mut hits = 0;
    for _ in 0..3 {
        hits += kill_after(estate.start(&["run"]), &mut dice, Duration::from_millis(60));
    }
    let begun = Instant::now();
    estate.run();
    let mut whole = begun.elapsed();
    estate.check_done();
    for round in 0..kills {
        estate.add(MORE);
        estate.add_tapes(2);
        let child = estate.start(&["run"]);
        hits += match dice.below(8) {
            0..=3 => kill_after(child, &mut dice, whole),
            4 | 5 => {
                await_intent(&estate, whole);
                kill_after(child, &mut dice, whole / 8)
            }
            _ => kill_after(child, &mut dice, whole / 3),
        };
        // Recovery is killed as well, sometimes over and over.
        while dice.below(3) == 0 {
            hits += kill_after(estate.start(&["run", "media/nothing"]), &mut dice, whole / 3);
        }
        estate.recover();
        estate.check();
        estate.check_tidy();
        estate.verify();
        if round % 10 == 9 {
            estate.add(MORE);
            let begun = Instant::now();
            estate.run();
            whole = begun.elapsed();
            estate.check_done();
        }
    }
    estate.run();
    estate.check_done();
    hits
}

/// Kills after a while of at most `most`, and answers 1 if the program was still running then.
fn kill_after(mut child: Child, dice: &mut Dice, most: Duration) -> u64 {
    pause(dice, most);
    let hit = child.try_wait().unwrap().is_none();
    kill(child);
    u64::from(hit)
}

#[test]
fn a_kill_at_any_moment_loses_no_record_that_is_not_due_and_no_outcome() {
    let seed = number("RETENTIOND_SEED")
        .unwrap_or_else(|| u64::from(std::process::id()) ^ u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs()));
    let kills = number("RETENTIOND_KILLS").unwrap_or(240);
    let begun = Instant::now();
    let lives = kills.div_ceil(KILLS_AN_ESTATE);
    let hits: u64 = thread::scope(|scope| {
        // Two at a time: while one waits for the disk the other goes on.
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                (0..lives).filter(|life| life % 2 == half).map(|n| life(seed.wrapping_add(n), KILLS_AN_ESTATE.min(kills))).sum::<u64>()
            })
        });
        halves.map(|half| half.join().unwrap()).iter().sum()
    });
    println!("{hits} kills hit a running program, in {:.0?}", begun.elapsed());
    assert!(hits >= kills / 2, "only {hits} kills hit a running program");
}

#[test]
fn a_kill_before_each_single_write_in_turn_loses_nothing() {
    if let Some(why) = crate::lost::no_strace() {
        return println!("skipped: {why}");
    }
    let mut estate = Estate::new();
    estate.add(Load { footage: 40, letters: 5, scans: 5, rows: 16 });
    estate.run();
    for call in ["fdatasync", "fsync", "pwrite64", "rename", "unlink", "unlinkat", "ftruncate", "mkdir", "fallocate", "openat"] {
        // Calls that are many and alike are sampled.
        let step = match call {
            "openat" => 23,
            "unlinkat" => 4,
            "pwrite64" => 3,
            _ => 1,
        };
        for nth in (1..).step_by(step) {
            estate.add(Load { footage: 10, letters: 2, scans: 2, rows: 8 });
            let options = [format!("--trace={call}"), format!("--inject={call}:signal=KILL:when={nth}")];
            let output = estate.command_under_strace(&options, &["run"]).output().unwrap();
            estate.recover();
            estate.check();
            estate.check_tidy();
            if output.status.code().is_some() {
                println!("{call}: {} kills", (nth - 1) / step);
                break;
            }
            assert!(nth < 2000, "{call}: the program never ends");
        }
        estate.verify();
    }
    estate.run();
    estate.check_done();
}
