//! One service at a time, and the same log with it as without it.

use retentiond::audit::Kind;

use crate::house::{House, NEVER, Service, await_that, comparable, none_exists, text};

#[test]
fn a_second_service_is_refused_and_the_first_goes_on() {
    let mut house = House::new(NEVER);
    let service = house.start();
    let second = house.finish(&["daemon"]);
    assert_eq!(second.status.code(), Some(3), "{}", text(&second));
    assert!(text(&second).contains(&format!("process {}", service.child.id())), "{}", text(&second));
    let due = house.add("one/films", 24, 3);
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(none_exists(&due));
    assert_eq!(service.stop().0, Some(0));
    assert!(!house.path("control.sock").exists(), "the socket is put away");
    house.verify();
}

#[test]
fn a_socket_that_a_killed_service_left_is_taken_over() {
    let house = House::new(NEVER);
    house.start().kill();
    assert!(house.path("control.sock").exists());
    let status = house.json(&["status"]);
    assert!(status["service"].is_null(), "{status}");
    let service = house.start();
    assert_eq!(house.json(&["status"])["service"]["pid"], service.child.id());
}

#[test]
fn a_state_folder_in_use_by_a_run_is_not_served() {
    let house = House::new(NEVER);
    // The lock of the state folder, as a long run would hold it.
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    let lock = std::fs::File::open(house.path("state/lock")).unwrap();
    lock.try_lock().unwrap();
    let refused = house.finish(&["daemon"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    drop(lock);
    assert_eq!(house.start().stop().0, Some(0));
}

/// What people do in a day: the exit codes, and what the log says of it.
fn a_day(with_service: bool) -> (Vec<Option<i32>>, Vec<String>) {
    let mut house = House::new(NEVER);
    let config = crate::house::copy_of(&house.path("retentiond.yaml"));
    let tight = config.replacen("two:\n    files: two", "two:\n    limits: { records: 1, share: 100% }\n    files: two", 1);
    house.write("retentiond.yaml", &tight);
    house.add("one/films", 24, 2);
    house.add("one/notes", 23, 2);
    house.add("two/films", 30, 3);
    let service: Option<Service> = with_service.then(|| house.start());
    let mut codes = Vec::new();
    let mut act = |words: &[&str]| {
        let output = house.finish(words);
        codes.push(output.status.code());
        output
    };
    act(&["run", "one"]);
    act(&["run", "no-such-store"]);
    act(&["pause", "one", "--reason", "the disk is being replaced"]);
    act(&["pause", "no-such-store", "--reason", "x"]);
    act(&["pause", "--reason", " "]);
    act(&["run", "one"]);
    act(&["resume", "two"]);
    act(&["resume", "one"]);
    act(&["resume"]);
    let refused = act(&["run", "two", "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    let plan = plan["runs"][0]["plan"].as_str().unwrap().to_owned();
    act(&["run", "--allow", "0123456789abcdef"]);
    act(&["run", "--allow", &plan]);
    act(&["run"]);
    if let Some(service) = service {
        assert_eq!(service.stop().0, Some(0));
    }
    let entries: Vec<_> = house.entries().into_iter().filter(|entry| entry.kind != Kind::Stopped).collect();
    house.verify();
    let mut lines = comparable(&entries);
    // A folder lists its files in any order.
    lines.sort();
    (codes, lines)
}

#[test]
fn verbs_say_and_write_the_same_with_the_service_and_without_it() {
    let (codes, lines) = a_day(false);
    let expected = [0, 2, 0, 2, 2, 3, 2, 0, 2, 3, 2, 0, 0].map(Some);
    assert_eq!(codes, expected);
    let (served_codes, served_lines) = a_day(true);
    assert_eq!(served_codes, codes);
    assert_eq!(served_lines, lines);
}

pub fn a_pause_holds_across_restarts_and_stops_the_timetable() {
    let mut house = House::new("* * * * *");
    let due = house.add("one/films", 24, 2);
    assert_eq!(house.finish(&["pause", "one", "--reason", "audit"]).status.code(), Some(0));
    house.start().kill();
    let service = house.start();
    let elsewhere = house.add("two/films", 24, 1);
    await_that("the other store is run", || none_exists(&elsewhere));
    assert!(due.iter().all(|path| path.exists()));
    let shown = text(&house.finish(&["status"]));
    assert!(shown.contains("PAUSED: store one") && shown.contains("audit"), "{shown}");
    assert_eq!(house.finish(&["resume"]).status.code(), Some(0));
    await_that("the store is run again", || none_exists(&due));
    assert_eq!(service.stop().0, Some(0));
    house.verify();
}
