//! The race: holds are placed at random moments while a run destroys at full speed, and no record goes after the command that held it returned.
//!
//! A trial is one hold on one record. Right after the order came back, the record is looked for: whatever is there then must be there for good.
//! `RETENTIOND_RACE=100000` asks for so many trials on each kind of store; without it there are some thousands.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::office::{Office, place};

/// Who place holds at the same time.
const PEOPLE: u64 = 4;

/// Numbers that look random and are the same for the same seed.
fn dice(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What came of a round.
#[derive(Default)]
struct Round {
    /// Holds that came into force while the record was there.
    in_time: BTreeSet<u64>,
    /// Holds that came when it was gone already.
    too_late: u64,
}

/// One run over these records, with holds on some of them in between. `run` carries the run out, `socket` is asked meanwhile.
async fn round(office: &Office, ids: std::ops::Range<u64>, seed: u64, run: impl FnOnce() + Send) -> Round {
    office.fill(ids.clone()).await;
    let (over, tried) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut rounds = Vec::new();
    std::thread::scope(|scope| {
        let person = |person: u64| {
            let (over, tried, ids) = (&over, &tried, ids.clone());
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let mut state = seed * PEOPLE + person;
                // Each has records of their own, so that none is held twice.
                let mut mine: Vec<u64> = ids.filter(|id| id % PEOPLE == person).collect();
                let mut round = Round::default();
                while !over.load(Ordering::Relaxed) && !mine.is_empty() {
                    let many = 1 + usize::try_from(dice(&mut state) % 40).unwrap();
                    let chosen: Vec<u64> = (0..many.min(mine.len()))
                        .map(|_| mine.swap_remove(usize::try_from(dice(&mut state)).unwrap_or_default() % mine.len()))
                        .collect();
                    // Nobody listens before and after a run from the command line.
                    if place(&office.path("control.sock"), &chosen) != Some(true) {
                        mine.extend(chosen);
                        std::thread::sleep(std::time::Duration::from_millis(1));
                        continue;
                    }
                    let there = runtime.block_on(office.present(&chosen));
                    tried.fetch_add(chosen.len() as u64, Ordering::Relaxed);
                    round.too_late += (chosen.len() - there.len()) as u64;
                    round.in_time.extend(there);
                }
                round
            })
        };
        let people: Vec<_> = (0..PEOPLE).map(person).collect();
        run();
        over.store(true, Ordering::Relaxed);
        rounds.extend(people.into_iter().map(|person| person.join().unwrap()));
    });
    let mut all = Round::default();
    for round in rounds {
        all.too_late += round.too_late;
        all.in_time.extend(round.in_time);
    }
    let held: Vec<u64> = all.in_time.iter().copied().collect();
    for held in held.chunks(1000) {
        let there = office.present(held).await;
        let gone: Vec<&u64> = held.iter().filter(|id| !there.contains(id)).collect();
        assert!(gone.is_empty(), "{}: destroyed after the command that held it returned: {gone:?}", office.kind());
    }
    all
}

async fn race(office: &Office, trials: u64) {
    let service = office.start();
    let (mut done, mut too_late, mut next, mut seed) = (0, 0, 0, 1);
    while done < trials {
        let many = 6_000;
        let run = || {
            let answers = office.ask(&json!({"verb": "run"})).unwrap();
            let last = answers.last().unwrap();
            assert!(last["code"] == 0 || last["code"] == 1, "{}: {answers:?}", office.kind());
        };
        let round = round(office, next..next + many, seed, run).await;
        next += many;
        seed += 1;
        done += round.in_time.len() as u64 + round.too_late;
        too_late += round.too_late;
    }
    drop(service);
    println!("{}: {done} trials, {too_late} of them after the record had gone", office.kind());
    assert!(too_late > 0 && too_late < done, "{}: the holds did not meet the run: {too_late} of {done}", office.kind());
    office.must(0, &["audit", "verify"]);
    office.must(0, &["audit", "replay"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_goes_after_the_command_that_held_it_returned() {
    let trials = std::env::var("RETENTIOND_RACE").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500);
    for office in Office::all().await {
        race(&office, trials).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_from_the_command_line_takes_holds_too() {
    for office in Office::all().await {
        let run = || {
            let status = office.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert!(matches!(status.code(), Some(0 | 1)), "{}: {status}", office.kind());
        };
        let round = round(&office, 0..6_000, 7, run).await;
        assert!(!round.in_time.is_empty(), "{}: no hold was placed while the run went on", office.kind());
        assert!(!office.path("control.sock").exists(), "the run put its socket away");
        office.must(0, &["audit", "verify"]);
    }
}
