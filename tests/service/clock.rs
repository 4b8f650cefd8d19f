//! A clock that cannot be believed destroys nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::house::{House, NEVER, PROGRAM, Service, await_that, copy_of, has, none_exists, text};

/// Puts a `timedatectl` in the house that says this, and answers the search path that finds it first.
fn kernel_says(house: &House, word: &str) -> String {
    let folder = house.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    house.write("bin/timedatectl", &format!("#!/bin/sh\necho {word}\n"));
    std::fs::set_permissions(folder.join("timedatectl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn a_clock_that_is_not_synchronised_destroys_nothing_where_that_is_required() {
    let mut house = House::new(NEVER);
    let config = copy_of(&house.path("retentiond.yaml"));
    house.write("retentiond.yaml", &config.replace("synchronised: ignore", "synchronised: required"));
    let due = house.add("one/films", 24, 2);
    let run = |path: &str| house.command(&["run"]).env("PATH", path).output().unwrap();
    let output = run(&kernel_says(&house, "no"));
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("not synchronised") && text(&output).contains("synchronised: ignore"), "{}", text(&output));
    // Who cannot be asked has not said yes.
    let output = run("/nonexistent");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(due.iter().all(|path| path.exists()));
    let output = run(&kernel_says(&house, "yes"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(none_exists(&due));
}

pub fn the_service_waits_for_the_clock_unless_it_is_told_to_ignore_it() {
    let mut house = House::new("* * * * *");
    let config = copy_of(&house.path("retentiond.yaml"));
    house.write("retentiond.yaml", &config.replace("clock: { synchronised: ignore }\n", ""));
    let due = house.add("one/films", 24, 2);
    let path = kernel_says(&house, "no");
    let mut command = house.command(&["daemon"]);
    command.env("PATH", path);
    let service = Service::spawn(command);
    house.await_ready(&service);
    await_that("it is put off", || house.row("one/films")["why"].as_str().is_some_and(|why| why.contains("not synchronised")));
    assert!(due.iter().all(|path| path.exists()));
    kernel_says(&house, "yes");
    await_that("the clock is right by now", || none_exists(&due));
    assert_eq!(service.stop().0, Some(0));
    house.verify();
}

#[test]
fn a_clock_that_jumps_ahead_while_the_service_runs_needs_a_person() {
    if !has("faketime", &["-f", "-1d", "true"]) {
        return;
    }
    let mut house = House::new(NEVER);
    let young = house.add("one/films", 3, 2);
    let set_clock = |text: &str| {
        house.write("clock.new", text);
        std::fs::rename(house.path("clock.new"), house.path("clock")).unwrap();
    };
    set_clock("+0d\n");
    let mut command = Command::new("faketime");
    command.args(["-f", "+0d", "env", "-u", "FAKETIME", "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]);
    command.arg(format!("FAKETIME_TIMESTAMP_FILE={}", house.path("clock").display())).arg(PROGRAM);
    command.arg("--config").arg(house.path("retentiond.yaml")).arg("daemon");
    let mut service = Service::spawn(command);
    house.await_ready(&service);
    set_clock("+30d\n");
    let output = house.finish(&["run"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("jumped ahead") && text(&output).contains("--trust-clock"), "{}", text(&output));
    assert!(young.iter().all(|path| path.exists()));
    let output = house.finish(&["run", "--trust-clock"]);
    assert!(output.status.code() == Some(0) && none_exists(&young), "{}", text(&output));
    let holder: i32 = copy_of(&house.path("state/lock")).trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(holder).unwrap(), rustix::process::Signal::TERM).unwrap();
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
}
