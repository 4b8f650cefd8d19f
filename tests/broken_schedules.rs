//! Broken schedules, one fault a file: nothing loads, and each message says where, what was expected, what was found, and the remedy.
//!
//! All messages stand in one snapshot. When one of them changes, read it as the administrator who has to mend the file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use retentiond::error::Kind;
use retentiond::schedule::Schedules;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken/schedules")
}

/// Every case: a file, or a folder that is loaded as one.
fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn name(case: &Path) -> String {
    case.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The message of a case, without the folder that this repository happens to stand in.
fn message(case: &Path) -> String {
    let error = Schedules::load(case).map(|_| ()).expect_err(&format!("{} is broken, yet it loads", name(case)));
    assert_eq!(error.kind(), Kind::Config, "{}", name(case));
    error.to_string().replace(&format!("{}/", folder().display()), "")
}

#[test]
fn every_message_is_one_that_an_administrator_can_act_on() {
    let mut all = String::new();
    for case in cases() {
        writeln!(all, "{}\n    {}\n", name(&case), message(&case).replace('\n', "\n    ")).unwrap();
    }
    insta::assert_snapshot!("messages", all);
}

#[test]
fn each_file_has_one_fault_and_its_message_begins_with_the_place() {
    let cases = cases();
    assert!(cases.len() >= 36, "{} cases", cases.len());
    for case in cases {
        let message = message(&case);
        // A misspelt key is reported twice: as a key that nobody knows, and as the one that is missing.
        let most = if message.contains("unknown key") { 2 } else { 1 };
        assert!(message.lines().count() <= most, "one fault, one line: {message}");
        let rest = message.strip_prefix(&name(&case)).unwrap_or_else(|| panic!("{message} does not begin with the file's name"));
        assert!(rest.starts_with([':', '/']), "{message}");
        assert!(!message.ends_with('.') && !message.contains('\u{1b}'), "{message}");
        // Whatever can be placed in a file is placed: line and column from 1.
        if case.is_file() {
            let place: Vec<&str> = rest.split(':').skip(1).take(2).collect();
            assert!(place.iter().all(|number| number.parse::<usize>().is_ok_and(|number| number >= 1)), "no line and column: {message}");
        }
    }
}

#[test]
fn one_bad_file_among_good_ones_loads_nothing() {
    let folder = folder().join("folder-one-bad-among-good");
    Schedules::load(&folder.join("1-good.yaml")).expect("the first file is good");
    Schedules::load(&folder.join("3-good.yaml")).expect("the last file is good");
    Schedules::load(&folder).map(|_| ()).expect_err("together they do not load");
}

#[test]
fn a_file_whose_ending_is_in_capitals_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(self::folder().join("period-six-m.yaml"), folder.path().join("LEGAL.YAML")).unwrap();
    std::fs::copy(self::folder().join("folder-one-bad-among-good/1-good.yaml"), folder.path().join("good.yml")).unwrap();
    let error = Schedules::load(folder.path()).map(|_| ()).expect_err("one of the two is broken").to_string();
    assert!(error.contains("LEGAL.YAML:10:11: "), "{error}");
}

#[test]
fn all_problems_of_all_files_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.yaml", "schedule: A\ntime-zone: Mars/Olympus\nclasses:\n  x: { keep: 6m, after: Some day, then: shred, colour: red }\n");
    write("b.yaml", "schedule: b\ntime-zone: UTC\nclasses:\n  y: { keep: 1 day, after: e, then: flag }\n");
    write("c.yaml", "schedule: c\ntime-zone: UTC\nclasses:\n  y: { keep: 1 day, after: e, then: flag }\n");
    write("d.yaml", "schedule: [\n");
    write("e.yaml", "schedule: e\nschedule: e\n");
    let error = Schedules::load(folder.path()).map(|_| ()).expect_err("nothing loads").to_string();
    let found: Vec<&str> = error.lines().map(|line| line.rsplit_once(".yaml:").expect("a place").1).collect();
    let begins = [
        "1:11: expected a schedule id",
        "2:12: expected an IANA time zone",
        "4:14: class \"x\": period \"6m\"",
        "4:25: class \"x\": expected an event name",
        "4:41: class \"x\": expected `then`",
        "4:48: class \"x\": unknown key `colour`",
        "4:3: the class `y` stands in",
        "2:1: ",
        "2:1: the key `schedule` stands here a second time",
    ];
    assert_eq!(found.len(), begins.len(), "{error}");
    for (line, begin) in found.iter().zip(begins) {
        assert!(line.starts_with(begin), "expected {begin}, found {line}");
    }
}

#[test]
fn a_file_that_is_far_too_long_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.yaml");
    std::fs::File::create(&path).unwrap().set_len(5 << 20).unwrap();
    let error = Schedules::load(&path).map(|_| ()).expect_err("too long").to_string();
    assert!(error.ends_with("long.yaml: expected at most 4194304 bytes, found 5242880"), "{error}");
}

#[test]
fn a_schedule_that_does_not_exist_is_an_error_and_never_an_empty_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let error = Schedules::load(&folder.path().join("none.yaml")).map(|_| ()).expect_err("there is no such file").to_string();
    assert!(error.contains("none.yaml: expected a schedule file or a folder of schedule files: No such file"), "{error}");
}

#[test]
fn what_editors_do_to_files_is_no_fault() {
    let text = "schedule: a\ntime-zone: Europe/London\nclasses:\n  x: { keep: 6 months, after: outcome, then: destroy }\n";
    let keep = |text: &str| Schedules::parse("t.yaml", text).map(|schedules| schedules.rule("x").unwrap().class.keep.to_string());
    for variant in
        [text.replace('\n', "\r\n"), format!("\u{feff}{text}"), format!("---\n{text}"), format!("{text}...\n"), format!("{text}\n \n")]
    {
        assert_eq!(keep(&variant).unwrap_or_else(|error| panic!("{error}: {variant:?}")), "6 months after outcome");
    }
}
