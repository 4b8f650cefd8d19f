//! The nights on which clocks are changed, by the built program under a clock that was set.

use std::process::Command;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use retentiond::audit::Kind;

use crate::house::{House, PROGRAM, Service, await_that, has};

/// Runs the service from this time in UTC until the first dataset was run so often; answers when the runs began.
fn runs_from(house: &House, begin: &str, many: usize) -> Vec<Timestamp> {
    let mut command = Command::new("faketime");
    // The clock that measures intervals stays as it is: timers are not to be moved.
    command.args(["-f", &format!("@{begin}"), PROGRAM, "--config"]).arg(house.path("retentiond.yaml")).arg("daemon");
    command.env("TZ", "UTC").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    let service = Service::spawn(command);
    let of_films = |kind| {
        let entries = if house.path("state/audit/checkpoint").exists() { house.entries_of(kind) } else { Vec::new() };
        let of_films = entries.into_iter().filter(|entry| entry.str("store") == Some("two"));
        of_films.map(|entry| entry.time().unwrap()).collect::<Vec<_>>()
    };
    // One that is cut short would rightly be done again at the next start.
    await_that("the runs", || of_films(Kind::RunFinished).len() >= many);
    // `faketime` waits for the program, which is another process.
    let holder: i32 = crate::house::copy_of(&house.path("state/lock")).trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(holder).unwrap(), rustix::process::Signal::TERM).unwrap();
    let mut service = service;
    assert_eq!(service.child.wait().unwrap().code(), Some(0), "{}", service.said());
    of_films(Kind::RunStarted)
}

fn in_london(runs: &[Timestamp]) -> Vec<String> {
    let zone = TimeZone::get("Europe/London").unwrap();
    runs.iter().map(|run| run.to_zoned(zone.clone()).strftime("%d %H:%M %Z").to_string()).collect()
}

pub fn in_the_spring_night_a_run_that_the_clocks_skip_comes_once_and_later() {
    if !has("faketime", &["-f", "-1d", "true"]) {
        return;
    }
    let house = House::new("30 1 * * *");
    // 01:30 is not shown on this night: at 01:00 GMT clocks are put forward to 02:00 BST.
    assert_eq!(in_london(&runs_from(&house, "2027-03-28 00:59:40", 1)), ["28 02:00 BST"]);
    // A minute later nothing is asked for any more, and on the next day it is again.
    assert_eq!(in_london(&runs_from(&house, "2027-03-29 00:29:40", 2)), ["28 02:00 BST", "29 01:30 BST"]);
    house.verify();
}

pub fn in_the_autumn_night_a_time_that_clocks_show_twice_is_run_once() {
    if !has("faketime", &["-f", "-1d", "true"]) {
        return;
    }
    let house = House::new("*/30 1-2 * * *");
    // 01:30 BST, then 01:30 GMT an hour later, which is not asked for; then 02:00 GMT.
    assert_eq!(in_london(&runs_from(&house, "2027-10-31 00:29:40", 1)), ["31 01:30 BST"]);
    let again = runs_from(&house, "2027-10-31 01:59:40", 2);
    assert_eq!(in_london(&again), ["31 01:30 BST", "31 02:00 GMT"]);
    house.verify();
}

pub fn the_second_half_of_the_autumn_night_and_what_was_missed_are_told_apart() {
    if !has("faketime", &["-f", "-1d", "true"]) {
        return;
    }
    let house = House::new("15 1 * * *");
    assert_eq!(in_london(&runs_from(&house, "2027-10-31 00:14:40", 1)), ["31 01:15 BST"]);
    // Off for four days: made up for once, at once.
    let made_up = runs_from(&house, "2027-11-04 12:00:00", 2);
    assert_eq!(in_london(&made_up)[1], "04 12:00 GMT");
    let next = runs_from(&house, "2027-11-05 01:14:40", 3);
    assert_eq!(in_london(&next)[2], "05 01:15 GMT");
}
