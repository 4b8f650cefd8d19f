//! SIGHUP: all or nothing.

use retentiond::audit::Kind;
use rustix::process::Signal;

use crate::house::{House, NEVER, SCHEDULE, await_that, copy_of, none_exists, text};

#[test]
fn a_file_that_does_not_load_changes_nothing_and_says_why() {
    let mut house = House::new(NEVER);
    let service = house.start();
    house.write("schedule.yaml", &SCHEDULE.replace("23 days", "6m"));
    service.signal(Signal::HUP);
    await_that("the reload is refused", || service.said().contains("what was in force stays in force"));
    assert!(service.said().contains("unit below a day"), "{}", service.said());
    // Who asks the service needs no files that load: that they do not is what the status has to say.
    let status = house.finish(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status).contains("unit below a day") && text(&status).contains("one/films"), "{}", text(&status));
    assert_eq!(house.finish(&["pause", "one", "--reason", "the schedule is being mended"]).status.code(), Some(0));
    assert_eq!(house.finish(&["resume"]).status.code(), Some(0));
    let refused = house.finish(&["reload"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("unit below a day"), "{}", text(&refused));
    // A verb that acts on records reads the files itself before it does anything, so the socket is asked.
    let answer = house.ask_raw(b"{\"verb\":\"run\"}\n");
    assert!(answer.contains("\"code\":0"), "the old schedule is in force: {answer}");
    house.write("schedule.yaml", &SCHEDULE.replace("23 days", "22 days"));
    assert_eq!(house.finish(&["reload"]).status.code(), Some(0));
    assert_eq!(house.entries_of(Kind::Schedule).len(), 2, "the answer comes when the new schedule is in the log");
    let texts: Vec<_> = house.entries_of(Kind::Schedule).iter().map(|entry| entry.str("text").unwrap().to_owned()).collect();
    assert!(texts[0].contains("23 days") && texts[1].contains("22 days"));
    assert!(house.json(&["status"])["service"]["reload-refused"].is_null());
    let due = house.add("one/films", 24, 1);
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(none_exists(&due));
    assert_eq!(service.stop().0, Some(0));
    let refused = house.finish(&["reload"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused).contains("expected a running service, found none"), "{}", text(&refused));
    house.verify();
}

#[test]
fn what_a_restart_must_change_is_refused_by_a_reload() {
    let house = House::new(NEVER);
    let service = house.start();
    let config = copy_of(&house.path("retentiond.yaml"));
    for (from, to) in [("node: house", "node: other"), ("state: state", "state: elsewhere"), ("control.sock", "other.sock")] {
        house.write("retentiond.yaml", &config.replace(from, to));
        let answer = house.ask_raw(b"{\"verb\":\"reload\"}\n");
        assert!(answer.contains("needs a restart") && answer.contains("\"code\":2"), "{answer}");
    }
    assert!(!house.path("elsewhere").exists());
    house.write("retentiond.yaml", &config);
    assert!(house.ask_raw(b"{\"verb\":\"reload\"}\n").contains("\"code\":0"));
    assert_eq!(service.stop().0, Some(0));
}

pub fn a_timetable_that_a_reload_brings_is_kept_and_one_that_it_takes_away_is_not() {
    let mut house = House::new(NEVER);
    let service = house.start();
    let config = copy_of(&house.path("retentiond.yaml"));
    house.write("retentiond.yaml", &config.replace(NEVER, "* * * * *"));
    service.signal(Signal::HUP);
    let due = house.add("two/films", 24, 1);
    await_that("the new timetable comes", || none_exists(&due));
    house.write("retentiond.yaml", &config.replace("  two:\n    files: two", "  three:\n    files: two"));
    assert!(house.ask_raw(b"{\"verb\":\"reload\"}\n").contains("\"code\":0"));
    let shown = text(&house.finish(&["status"]));
    assert!(shown.contains("three/films") && !shown.contains("two/films"), "{shown}");
    assert_eq!(service.stop().0, Some(0));
}

#[test]
fn a_signal_for_the_status_logs_it() {
    let house = House::new(NEVER);
    let service = house.start();
    service.signal(Signal::USR1);
    await_that("the status is logged", || service.said().contains("two/films (enforce mode, \"0 0 29 2 *\", next at"));
    assert_eq!(service.stop().0, Some(0));
}
