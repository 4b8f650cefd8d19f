//! The fault sweep: every file-system call of an enforcing run fails once, one at a time, and nothing is lost, hidden or made up.
//!
//! **Count.** `strace` writes down the calls of an undisturbed run of the built program that touch the estate: its state folder (log, keys,
//! register, plans) and its stores (files that are unlinked, files that are written over, directories that are one record, rows with children).
//! There are two such runs: one that makes keys and log, and one that finds what a killed run left. ([`trace`])
//!
//! **Inject.** For each of these calls in turn, and each of the faults `EIO`, `ENOSPC` and `SIGKILL`: a fresh estate, and the same run with that
//! one call failing, or the program killed instead of it. `strace` counts the calls of each thread for itself, so a call is named by its path too and is
//! the n-th of its name on that path in its thread. Where two threads make the n-th call on the same path, an error meets both of them, and a
//! kill the first. A fault counts only when `strace` says that it struck; in full, every kind of call must have been struck by every
//! fault, and of all strikes 95 in 100 must hit: where threads share the work differently, some do not. ([`fault`])
//!
//! **Judge.** At once: nothing is gone without a durable intent. Then the program is started again without faults, and must end well; `audit
//! verify` must find the log intact and no intent open; every record that was due is gone and every other is there, and the log says so of each.
//! The log is read for this by a reader of this test alone. ([`ledger`])
//!
//! `cargo test` strikes each kind of call (name, kind of path, whether a thread of the log makes it) once, with each fault in turn. Everything:
//!
//! ```text
//! RETENTIOND_SWEEP=full cargo test --test sweep -- --nocapture
//! ```
//!
//! Any other value strikes the calls whose description contains it, such as `SIGKILL fsync state/audit`, with every fault. Without `strace` the test
//! is skipped, and says so.

#[path = "../crash/estate.rs"]
// The crash tests use the rest of it.
#[allow(dead_code)]
mod estate;
mod fault;
mod ledger;
mod site;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use fault::{Fault, Strike};
use site::{Scenario, Site};
use trace::Call;

/// How often a strike is tried that met no call, because threads shared the work differently this time.
const TRIES: usize = 4;

/// Processes at a time, each with its own estate: while one waits for the disk the other goes on.
const SIDE_BY_SIDE: usize = 2;

/// What came of one strike.
enum End {
    Struck,
    Missed,
    Failed(String),
}

/// Which strikes are made.
enum Size {
    Sample,
    Full,
    Only(String),
}

impl Size {
    fn from_environment() -> Self {
        match std::env::var("RETENTIOND_SWEEP") {
            Err(_) => Self::Sample,
            Ok(text) if text == "full" => Self::Full,
            Ok(text) => Self::Only(text),
        }
    }
}

/// One fault at each call of a scenario; in a sample one call of each kind, the faults taking turns.
///
/// The kinds that a scenario shares with one before it are not struck again in a sample, but for the plans, which mean something else there.
fn strikes(scenario: Scenario, calls: &[Call], size: &Size, kinds: &mut BTreeSet<(String, String)>) -> Vec<Strike> {
    let mut strikes = Vec::new();
    kinds.retain(|(kind, _)| !kind.contains(" state/plans/"));
    for call in calls {
        let number = kinds.len();
        let first = kinds.insert((call.kind(), call.role().to_owned()));
        for (turn, fault) in Fault::ALL.into_iter().enumerate() {
            let strike = Strike::new(scenario, fault, call);
            let wanted = match size {
                // Only a kill ends the program at the call for sure, so every other strike is one.
                Size::Sample => first && if number.is_multiple_of(2) { fault == Fault::Kill } else { turn == number / 2 % 2 },
                Size::Full => true,
                Size::Only(text) => strike.to_string().contains(text),
            };
            if wanted && !strikes.contains(&strike) {
                strikes.push(strike);
            }
        }
    }
    strikes
}

/// Carries out a strike and holds the estate against its log.
fn carry_out(strike: &Strike) -> End {
    for _ in 0..TRIES {
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let mut site = Site::new(strike.scenario);
            let struck = strike.strike(&site.estate);
            site.expect_no_secret_loss();
            site.restart_and_judge();
            struck
        }));
        match tried {
            Ok(true) => return End::Struck,
            Ok(false) => {}
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                println!("failed: {strike}");
                return End::Failed(text.unwrap_or_default());
            }
        }
    }
    End::Missed
}

fn sweep(strikes: &[Strike]) -> Vec<End> {
    let next = AtomicUsize::new(0);
    let ends: Vec<Mutex<End>> = strikes.iter().map(|_| Mutex::new(End::Missed)).collect();
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some((strike, end)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    strikes.get(at).zip(ends.get(at))
                } {
                    *end.lock().unwrap() = carry_out(strike);
                    let begun = next.load(Ordering::Relaxed);
                    if begun.is_multiple_of(250) {
                        println!("{begun} of {} strikes made", strikes.len());
                    }
                }
            });
        }
    });
    ends.into_iter().map(|end| end.into_inner().unwrap()).collect()
}

#[test]
fn no_fault_at_any_file_system_call_loses_a_record_hides_one_or_leaves_one_behind() {
    if let Some(why) = fault::no_strace() {
        return println!("skipped: {why}");
    }
    let (size, begun) = (Size::from_environment(), Instant::now());
    let (mut all, mut kinds) = (Vec::new(), BTreeSet::new());
    for scenario in Scenario::ALL {
        let calls = Site::new(scenario).count_calls();
        let strikes = strikes(scenario, &calls, &size, &mut kinds);
        println!("{scenario}: {} calls, {} strikes", calls.len(), strikes.len());
        all.extend(strikes);
    }
    let ends = sweep(&all);

    let mut struck: BTreeMap<(String, Fault), usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut missed = Vec::new();
    for (strike, end) in all.iter().zip(&ends) {
        let hits = struck.entry((strike.kind.clone(), strike.fault)).or_default();
        match end {
            End::Struck => *hits += 1,
            End::Missed => missed.push(strike),
            End::Failed(text) => failures.push(format!("{strike}\n{text}")),
        }
    }
    for fault in Fault::ALL {
        let hits: usize = struck.iter().filter(|((_, of), _)| *of == fault).map(|(_, hits)| hits).sum();
        println!("{fault}: {hits} strikes hit");
    }
    println!("{} of {} strikes hit, {} failed, in {:.0?}", all.len() - missed.len(), all.len(), failures.len(), begun.elapsed());
    missed.iter().for_each(|strike| println!("missed: {strike}"));
    assert!(failures.is_empty(), "{} strikes went wrong:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(!all.is_empty(), "no call fits what RETENTIOND_SWEEP asks for");
    let never: Vec<_> = struck.iter().filter(|(_, hits)| **hits == 0).map(|(kind, _)| kind).collect();
    assert!(missed.len() * 20 <= all.len(), "{} of {} strikes met no call", missed.len(), all.len());
    assert!(never.len() * 20 <= struck.len(), "kinds of calls that no fault met: {never:?}");
    if let Size::Full = size {
        assert!(never.is_empty(), "kinds of calls that no fault met: {never:?}");
    }
}
