//! Ends of every kind, and what the next start makes of them.

use std::time::Duration;

use retentiond::audit::Kind;
use rustix::process::Signal;

use crate::house::{House, NEVER, await_that, none_exists};

/// Asks for a run of everything and waits until something is destroyed.
fn order_and_await_destruction(house: &House, due: &[std::path::PathBuf]) {
    house.order("{\"verb\":\"run\"}");
    await_that("something is destroyed", || due.iter().any(|path| !path.exists()));
}

#[test]
fn told_to_end_it_finishes_the_records_in_hand_within_seconds() {
    let mut house = House::new(NEVER);
    let due = house.add("one/films", 24, 12_000);
    let service = house.start();
    order_and_await_destruction(&house, &due);
    let (code, took) = service.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    house.verify();
    let left = due.iter().filter(|path| path.exists()).count();
    assert!(left > 0, "it was over too soon");
    assert_eq!(house.entries_of(Kind::Destroyed).len(), due.len() - left);
    assert!(house.entries_of(Kind::Recovered).is_empty());
    let last: Vec<_> = house.entries().iter().rev().take(2).map(|entry| entry.kind).collect();
    assert_eq!(last, [Kind::Stopped, Kind::RunFinished]);
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_next_start_settles_what_was_open() {
    let mut house = House::new(NEVER);
    let due = house.add("one/films", 24, 12_000);
    let mut service = house.start();
    order_and_await_destruction(&house, &due);
    service.signal(Signal::TERM);
    service.signal(Signal::INT);
    let begun = std::time::Instant::now();
    service.child.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(house.start().stop().0, Some(0));
    house.verify();
}

#[test]
fn killed_in_the_middle_of_runs_side_by_side_it_leaves_nothing_open_after_a_restart() {
    let mut house = House::new(NEVER);
    for round in 0..4_u32 {
        let mut due = house.add("one/films", 24, 3000);
        due.extend(house.add("two/films", 24, 3000));
        let service = house.start();
        for store in ["one", "two"] {
            house.order(&format!("{{\"verb\":\"run\",\"selection\":\"{store}\"}}"));
        }
        await_that("something is destroyed", || due.iter().any(|path| !path.exists()));
        std::thread::sleep(Duration::from_millis(u64::from(round) * 15));
        service.kill();
        // What the log says is gone is gone, and the other way round.
        let service = house.start();
        assert_eq!(service.stop().0, Some(0));
        house.verify();
        let gone = |kind: Kind| {
            house.entries_of(kind).iter().filter(|entry| kind == Kind::Destroyed || entry.str("found") == Some("gone")).count()
        };
        let said = gone(Kind::Destroyed) + gone(Kind::Recovered);
        let due_so_far = usize::try_from(round + 1).unwrap() * 6000;
        let left = ["one", "two"].iter().map(|store| count_files(&house.path(store))).sum::<usize>();
        assert_eq!(said, due_so_far - left, "round {round}");
        let open = house.entries_of(Kind::RunStarted).len() - house.entries_of(Kind::RunFinished).len();
        assert_eq!(open, 0, "round {round}");
        // The next round begins with what this one left.
    }
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    house.verify();
}

fn count_files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

#[test]
fn a_run_that_was_killed_is_done_again_without_waiting_for_the_timetable() {
    let mut house = House::new("0 3 * * *");
    let due = house.add("one/films", 24, 12_000);
    let service = house.start();
    order_and_await_destruction(&house, &due);
    service.kill();
    assert!(due.iter().any(|path| path.exists()));
    let service = house.start();
    await_that("the rest is done", || none_exists(&due));
    await_that("the run is over", || house.row("one/films")["last"]["how"] == "done");
    assert_eq!(service.stop().0, Some(0));
    house.verify();
}

pub fn a_store_that_cannot_be_read_is_tried_again_while_others_go_on() {
    let mut house = House::new("* * * * *");
    std::fs::rename(house.path("one"), house.path("away")).unwrap();
    let service = house.start();
    let elsewhere = house.add("two/films", 24, 1);
    await_that("the other store is run", || none_exists(&elsewhere));
    await_that("the failure is shown", || house.row("one/films")["failures"].as_u64() > Some(0));
    assert!(house.row("one/films")["why"].as_str().is_some());
    assert_eq!(house.finish(&["status"]).status.code(), Some(1));
    std::fs::rename(house.path("away"), house.path("one")).unwrap();
    let due = house.add("one/films", 24, 1);
    await_that("it is run again", || none_exists(&due));
    await_that("the failure is forgotten", || house.row("one/films")["failures"] == 0);
    assert_eq!(service.stop().0, Some(0));
}
