//! The window of a dataset: outside it nothing goes, and a run that meets its end keeps the rest.
//!
//! Tests in this process have the clock of the machine and set the window around it. Those that need the clock of their own run the program
//! under `faketime`, and are skipped where that is missing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use retentiond::error::Kind;
use retentiond::report;
use retentiond::schedule::Window;
use retentiond::session::{End, Ran};
use serde_json::Value;
use tempfile::TempDir;

use crate::estate::{Estate, plans_in};

/// The window from so many minutes after now to so many, in London.
fn from_now(from: i64, to: i64) -> Window {
    let zone = TimeZone::get("Europe/London").unwrap();
    let now = zone.to_datetime(retentiond::clock::now()).time();
    let clock = |minutes: i64| now.wrapping_add(jiff::Span::new().minutes(minutes)).strftime("%H:%M").to_string();
    Window::parse(&format!("{}-{}", clock(from), clock(to))).unwrap()
}

fn said(ran: &Ran) -> (String, Value) {
    (report::ran(ran, Path::new("/etc/retentiond/retentiond.yaml")), report::ran_json(ran))
}

#[tokio::test]
async fn a_run_outside_the_window_destroys_nothing_and_says_so() {
    let mut estate = Estate::new("limits: unlimited");
    estate.put("old", 400);
    let window = from_now(60, 120);
    let sentence = format!("outside its window {window} (Europe/London); nothing was disposed of");
    estate.set_window(Some(window));
    let ran = estate.run().await;
    assert_eq!(estate.keys(), ["old"]);
    assert!(estate.entries_of("intent").is_empty());
    assert_eq!(estate.entries_of("run-finished")[0].str("end"), Some("stopped"));
    let (text, json) = said(&ran);
    assert!(text.contains(&format!("\n  {sentence}\n")) && text.contains("  1 due, to be destroyed"), "{text}");
    assert_eq!((json["end"].as_str(), json["stopped"].as_str()), (Some("stopped"), Some(sentence.as_str())));
    assert!(ran.needs_attention());
    assert!(plans_in(&estate.state()).is_empty(), "no keys are left behind");
    estate.verify();
    estate.set_window(Some(from_now(-60, 60)));
    let ran = estate.run().await;
    assert_eq!((ran.end.word(), ran.counts()["destroyed"]), ("done", 1));
    assert!(said(&ran).1["stopped"].is_null() && estate.keys().is_empty());
    estate.verify();
}

#[tokio::test]
async fn outside_the_window_there_is_nothing_to_say_when_nothing_is_due() {
    let mut estate = Estate::new("limits: unlimited");
    estate.put("young", 3);
    estate.set_window(Some(from_now(60, 120)));
    let ran = estate.run().await;
    assert_eq!(ran.end.word(), "done");
    assert!(!ran.needs_attention());
}

#[tokio::test]
async fn a_plan_that_a_person_allows_outside_the_window_is_not_used_up() {
    let mut estate = Estate::new("");
    for n in 0..10 {
        estate.put(&format!("old-{n}"), 400);
    }
    estate.set_window(Some(from_now(60, 120)));
    let End::Refused { plan, .. } = estate.run().await.end else { panic!("expected a refusal") };
    let Err(error) = estate.allow(&plan).await else { panic!("a plan was spent outside its window") };
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("(Europe/London); nothing was disposed of; the plan waits"), "{error}");
    assert_eq!((estate.keys().len(), estate.entries_of("allowed").len()), (10, 0));
    estate.set_window(None);
    assert_eq!(estate.allow(&plan).await.unwrap().counts()["destroyed"], 10);
    estate.verify();
}

/// Files in folders that bear the date of their event, and the program with a clock that the test sets.
struct Program {
    folder: TempDir,
}

impl Program {
    /// `None`, and a word about it, where no other time can be had.
    fn new(window: &str, files: usize) -> Option<Self> {
        if !Command::new("faketime").args(["-f", "-1d", "true"]).status().is_ok_and(|status| status.success()) {
            println!("skipped: faketime cannot be used here");
            return None;
        }
        let this = Self { folder: tempfile::tempdir().unwrap() };
        let schedule = "schedule: test\ntime-zone: Europe/London\nclasses:\n  test.old: { keep: 1 month, after: made, then: destroy }\n";
        std::fs::create_dir_all(this.records()).unwrap();
        std::fs::write(this.path("schedule.yaml"), schedule).unwrap();
        let configuration = format!(
            "node: test\nstate: state\nschedules: schedule.yaml\nmode: enforce\nlimits: unlimited\nstores:\n  s:\n    files: records\n    \
             window: {window}\n    datasets:\n      d: {{ class: test.old, path: \"{{made:%Y-%m-%d}}/*\", events: {{ made: path }} }}\n"
        );
        std::fs::write(this.path("retentiond.yaml"), configuration).unwrap();
        for file in 0..files {
            std::fs::write(this.records().join(file.to_string()), "x").unwrap();
        }
        Some(this)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn records(&self) -> PathBuf {
        self.path("records/2020-01-01")
    }

    fn left(&self) -> usize {
        std::fs::read_dir(self.records()).unwrap().count()
    }

    /// Sets the clock, in UTC; a program that is running sees it at once.
    fn set_clock(&self, time: &str) {
        let new = self.path("clock.new");
        std::fs::write(&new, format!("@{time}\n")).unwrap();
        std::fs::rename(new, self.path("clock")).unwrap();
    }

    /// Starts it at this time, in UTC. The library that sets the clock says the true time now and then while several threads make it read its file
    /// anew, so there is a file only where the clock is to change.
    fn start_at(&self, time: &str) -> Child {
        let mut command = Command::new("faketime");
        command.env("TZ", "UTC").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").args([
            "-f",
            &format!("@{time}"),
            env!("CARGO_BIN_EXE_retentiond"),
        ]);
        self.run(command)
    }

    /// Starts it with the clock that [`Program::set_clock`] sets.
    fn start(&self) -> Child {
        let mut command = Command::new("faketime");
        // The wrapper knows where its library is; the time comes from the file, which may change.
        command.args(["-f", "+0d", "env", "-u", "FAKETIME", "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "TZ=UTC"]);
        command.arg(format!("FAKETIME_TIMESTAMP_FILE={}", self.path("clock").display())).arg(env!("CARGO_BIN_EXE_retentiond"));
        self.run(command)
    }

    fn run(&self, mut command: Command) -> Child {
        command.arg("--config").arg(self.path("retentiond.yaml")).args(["--json", "run", "--trust-clock"]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    }

    /// How the run ended: exit code, and what it said.
    fn end(child: Child) -> (Option<i32>, Value) {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"))["runs"][0].take())
    }
}

#[test]
fn the_window_is_of_the_schedules_zone_and_runs_through_midnight() {
    // In July, London is an hour ahead of UTC. The clock may jump by some milliseconds when it is read anew, so no time is on the edge.
    for (time, inside) in [
        ("2031-07-01 20:59:50", false),
        ("2031-07-01 21:00:10", true),
        ("2031-07-01 22:59:50", true),
        ("2031-07-01 23:00:10", true),
        ("2031-07-02 00:30:00", true),
        ("2031-07-02 01:00:10", false),
        ("2031-07-02 02:30:00", true),
        ("2031-07-02 05:00:10", false),
        ("2031-01-02 05:30:00", true),
    ] {
        let Some(program) = Program::new("[22:00-02:00, 03:00-06:00]", 3) else { return };
        let (code, run) = Program::end(program.start_at(time));
        assert_eq!((program.left(), code), if inside { (0, Some(0)) } else { (3, Some(1)) }, "{time}: {run}");
        let sentence = "outside its window 22:00-02:00, 03:00-06:00 (Europe/London); nothing was disposed of";
        assert_eq!(run["stopped"].as_str(), (!inside).then_some(sentence), "{time}: {run}");
    }
}

#[test]
fn a_run_that_meets_the_end_of_its_window_keeps_the_rest_for_the_next() {
    const FILES: usize = 20_000;
    let Some(program) = Program::new("22:00-06:00", FILES) else { return };
    program.set_clock("2031-07-02 04:59:00");
    let child = program.start();
    let begun = Instant::now();
    while program.left() == FILES && begun.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(1));
    }
    program.set_clock("2031-07-02 05:00:10");
    let (code, run) = Program::end(child);
    let left = program.left();
    assert!(left > 0 && left < FILES, "{left} left: {run}");
    assert_eq!((code, run["end"].as_str()), (Some(1), Some("stopped")), "{run}");
    let sentence = "its window 22:00-06:00 (Europe/London) ended; the rest is done by the next run within it";
    assert_eq!(run["stopped"], sentence, "{run}");
    assert_eq!(run["counts"]["destroyed"], FILES - left, "every record that is gone has its outcome");
    let kept = run["counts"]["kept"].as_u64().unwrap();
    let reasons: Vec<&str> = run["troubles"].as_array().unwrap().iter().filter_map(|trouble| trouble["what"].as_str()).collect();
    assert!(if kept == 0 { reasons.is_empty() } else { reasons == ["its turn did not come: its window ended"] }, "{run}");
    // Back at work in the next night, and to the end.
    let (code, run) = Program::end(program.start_at("2031-07-02 21:30:00"));
    assert_eq!((program.left(), code), (0, Some(0)), "{run}");
}
