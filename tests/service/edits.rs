//! Edits of the schedule: what became due only through one waits, for `run` and for the service alike.

use std::path::PathBuf;

use retentiond::audit::Kind;
use rustix::process::Signal;
use serde_json::Value;

use crate::house::{House, NEVER, SCHEDULE, await_that, copy_of, has, none_exists, text};

/// A house whose records of 30 days are not due yet, and which has run once.
fn house_that_keeps_40_days() -> (House, Vec<PathBuf>) {
    let mut house = House::new(NEVER);
    house.write("schedule.yaml", &SCHEDULE.replace("23 days", "40 days"));
    let young = house.add("one/films", 30, 2);
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    (house, young)
}

fn all_exist(paths: &[PathBuf]) -> bool {
    paths.iter().all(|path| path.exists())
}

/// The id of the edit that waits, as `plan` shows it.
fn edit_id(house: &House) -> String {
    let shown = text(&house.finish(&["plan"]));
    let line = shown.lines().find(|line| line.contains("schedule confirm")).unwrap_or_else(|| panic!("{shown}"));
    line.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn what_is_due_only_through_an_edit_waits_and_the_rest_does_not() {
    let (mut house, young) = house_that_keeps_40_days();
    house.write("schedule.yaml", SCHEDULE);
    let old = house.add("one/films", 41, 2);
    let ran = house.json(&["run", "one/films"]);
    assert!(all_exist(&young) && none_exists(&old), "{ran}");
    assert_eq!((&ran["runs"][0]["tally"]["waiting"], &ran["runs"][0]["tally"]["destroy"]), (&Value::from(2), &Value::from(2)), "{ran}");
    let listed = text(&house.finish(&["plan", "one/films", "--list"]));
    assert!(listed.contains("due only through an edit") && listed.contains("to be kept until the end of"), "{listed}");
    // Who replays the log finds both texts before the run, and that the run was held against them.
    let started = house.entries_of(Kind::RunStarted).pop().unwrap();
    assert!(started.str("waits_until").is_some(), "{started:?}");
    assert_eq!(house.entries_of(Kind::Schedule).len(), 2);
    house.verify();
}

#[test]
fn an_edit_that_a_person_confirms_waits_no_longer_and_another_one_does() {
    let (house, young) = house_that_keeps_40_days();
    house.write("schedule.yaml", &SCHEDULE.replace("23 days", "28 days"));
    let first = edit_id(&house);
    house.write("schedule.yaml", SCHEDULE);
    let stale = house.finish(&["schedule", "confirm", &first]);
    assert_eq!(stale.status.code(), Some(2), "another text is in force by now: {}", text(&stale));
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(all_exist(&young));
    let id = edit_id(&house);
    assert_eq!(house.finish(&["schedule", "confirm", &id]).status.code(), Some(0));
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(none_exists(&young));
    let again = house.finish(&["schedule", "confirm", &id]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    let confirmed = house.entries_of(Kind::Confirmed);
    assert_eq!((confirmed.len(), confirmed[0].str("edit")), (1, Some(id.as_str())));
    house.verify();
}

#[test]
fn an_edit_is_old_enough_after_the_delay_and_not_a_day_before() {
    if !has("faketime", &["-f", "-1d", "true"]) {
        return;
    }
    let (house, young) = house_that_keeps_40_days();
    house.write("schedule.yaml", SCHEDULE);
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    let output = house.finish_at("+6d", &["run"]);
    assert!(output.status.code() == Some(0) && all_exist(&young), "{}", text(&output));
    let output = house.finish_at("+7d", &["run"]);
    assert!(output.status.code() == Some(0) && none_exists(&young), "{}", text(&output));
    house.verify();
}

#[test]
fn another_class_for_a_dataset_waits_too_and_none_switches_it_off() {
    let mut house = House::new(NEVER);
    let two = SCHEDULE.to_owned() + "  long: { keep: 40 days, after: made, then: destroy }\n";
    house.write("schedule.yaml", &two);
    let config = copy_of(&house.path("retentiond.yaml"));
    house.write("retentiond.yaml", &config.replace("class: short", "class: long"));
    let young = house.add("one/films", 30, 2);
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    house.write("retentiond.yaml", &config);
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(all_exist(&young));
    house.write("retentiond.yaml", &format!("edit-delay: none\n{config}"));
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(none_exists(&young));
    house.verify();
}

#[test]
fn an_edit_that_was_undone_holds_nothing_back_and_is_not_told() {
    let (house, young) = house_that_keeps_40_days();
    let told = |house: &House| !house.json(&["status"])["edit"].is_null();
    house.write("schedule.yaml", SCHEDULE);
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(told(&house));
    house.write("schedule.yaml", &SCHEDULE.replace("23 days", "40 days"));
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(all_exist(&young) && !told(&house), "{}", text(&house.finish(&["status"])));
    // Made longer and shorter again, what was to be kept for some days waits.
    house.write("schedule.yaml", &SCHEDULE.replace("23 days", "60 days"));
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(!told(&house));
    house.write("schedule.yaml", &SCHEDULE.replace("23 days", "40 days"));
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    assert!(told(&house));
    house.verify();
}

pub fn the_service_waits_with_an_edit_that_it_reloads_until_it_is_confirmed() {
    let (house, young) = house_that_keeps_40_days();
    let config = copy_of(&house.path("retentiond.yaml"));
    house.write("retentiond.yaml", &config.replace(NEVER, "* * * * *"));
    let service = house.start();
    house.write("schedule.yaml", SCHEDULE);
    service.signal(Signal::HUP);
    await_that("the edit is in force", || house.entries_of(Kind::Schedule).len() == 2);
    let reloaded = house.entries_of(Kind::RunStarted).len();
    await_that("it is run", || house.entries_of(Kind::RunFinished).len() >= reloaded + 3);
    assert!(all_exist(&young));
    let status = house.json(&["status"]);
    let id = status["edit"]["id"].as_str().unwrap().to_owned();
    assert_eq!(id, edit_id(&house));
    assert_eq!(house.finish(&["schedule", "confirm", &id]).status.code(), Some(0));
    await_that("it goes", || none_exists(&young));
    assert_eq!(service.stop().0, Some(0));
    house.verify();
}

#[test]
fn a_plan_against_an_edited_schedule_tells_what_would_change() {
    let mut house = House::new(NEVER);
    house.add("one/films", 30, 3);
    house.add("one/films", 22, 2);
    house.add("one/notes", 10, 1);
    let changes = |keep: &str, then: &str| {
        house.write("edited.yaml", &SCHEDULE.replace("23 days", keep).replace("destroy", then));
        let compared = house.json(&["plan", "one", "--against", house.path("edited.yaml").to_str().unwrap()]);
        let rows = compared["against"].as_array().unwrap().clone();
        let row = rows.into_iter().find(|row| row["dataset"] == "one/films").unwrap()["changes"].take();
        (row["newly-due"].clone(), row["newly-protected"].clone(), row["otherwise"].clone())
    };
    let (none, number) = (|| serde_json::json!({}), |what: &str, many: u32| serde_json::json!({what: many}));
    assert_eq!(changes("23 days", "destroy"), (none(), none(), none()));
    assert_eq!(changes("20 days", "destroy"), (number("destroy", 2), none(), none()));
    assert_eq!(changes("31 days", "destroy"), (none(), number("destroy", 3), none()));
    assert_eq!(changes("20 days", "review"), (number("review", 2), none(), number("destroy to review", 3)));
    house.write("edited.yaml", &SCHEDULE.replace("23 days", "20 days"));
    let listed = text(&house.finish(&["plan", "one", "--list", "--against", house.path("edited.yaml").to_str().unwrap()]));
    assert_eq!(listed.lines().filter(|line| line.starts_with("newly-due\tdue")).count(), 2, "{listed}");
    house.write("edited.yaml", "not: a schedule");
    assert_eq!(house.finish(&["plan", "--against", house.path("edited.yaml").to_str().unwrap()]).status.code(), Some(2));
    assert!(!house.path("state/audit").exists(), "nothing was put in force");
}
