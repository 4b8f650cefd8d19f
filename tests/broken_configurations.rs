//! Broken configurations, one fault a file: nothing loads, and each message says where, what was expected, what was found, and the remedy.
//!
//! All messages stand in one snapshot. When one of them changes, read it as the administrator who has to mend the file. The schedules beside
//! the files are whole; cases that are folders have schedules of their own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use retentiond::config::Config;
use retentiond::error::Kind;
use retentiond::schedule::Schedules;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken/configurations")
}

/// Every case: a file, or a folder with the configuration and its schedules.
fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| !case.ends_with("schedules"));
    cases.sort();
    cases
}

fn name(case: &Path) -> String {
    case.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The message of a case, without the folder that this repository happens to stand in.
fn message(case: &Path) -> String {
    let file = if case.is_dir() { case.join("retentiond.yaml") } else { case.to_owned() };
    let error = Config::load(&file).map(|_| ()).expect_err(&format!("{} is broken, yet it loads", name(case)));
    assert_eq!(error.kind(), Kind::Config, "{}", name(case));
    let folder = folder().display().to_string();
    error.to_string().replace(&format!("{folder}/"), "").replace(&folder, ".")
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
fn the_schedules_beside_the_files_are_whole() {
    Schedules::load(&folder().join("schedules")).map(|_| ()).unwrap();
}

#[test]
fn each_file_has_one_fault_and_its_message_begins_with_the_place() {
    let cases = cases();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    for case in cases.iter().filter(|case| case.is_file()) {
        let message = message(case);
        // A misspelt key is reported twice: as a key that nobody knows, and as the one that is missing.
        let most = if message.contains("unknown key") { 2 } else { 1 };
        assert!(message.lines().count() <= most, "one fault, one line: {message}");
        for line in message.lines() {
            let rest = line.strip_prefix(&name(case)).unwrap_or_else(|| panic!("{line} does not begin with the file's name"));
            let place: Vec<usize> = rest.split(':').skip(1).take(2).map_while(|number| number.parse().ok()).collect();
            assert!(place.len() == 2 && place.iter().all(|number| *number >= 1), "no line and column: {line}");
            assert!(!line.ends_with('.') && !line.contains(char::is_control), "{line}");
        }
    }
}

#[test]
fn no_message_repeats_a_secret() {
    for case in cases() {
        assert!(!message(&case).contains("correct-horse"), "{}", name(&case));
    }
}

#[test]
fn a_broken_schedule_and_a_broken_configuration_are_reported_together() {
    let message = message(&folder().join("folder-schedule-and-configuration-broken"));
    assert!(message.contains("schedules/a.yaml:4:19: "), "{message}");
    assert!(message.contains("retentiond.yaml:1:7: "), "{message}");
}

#[test]
fn all_problems_of_a_configuration_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("retentiond.yaml");
    let text = "node: a b\nmode: destroy\nlimits: { records: many, share: 200% }\nscan: \"* *\"\nstate: [x]\nschedules: nowhere\ncolour: red\nstores:\n  a b:\n    sqlite: a.db\n    datasets:\n      d: { tabel: t, key: id, where: \"a;b\" }\n";
    std::fs::write(&path, text).unwrap();
    let error = Config::load(&path).map(|_| ()).expect_err("nothing loads").to_string();
    let places: Vec<&str> = error.lines().map(|line| line.rsplit_once("retentiond.yaml:").expect("a place").1).collect();
    let begins =
        ["1:7: ", "2:7: ", "3:20: ", "3:33: ", "4:7: ", "5:8: ", "6:12: ", "7:1: ", "9:3: ", "12:10: ", "12:10: ", "12:12: ", "12:38: "];
    assert_eq!(places.len(), begins.len(), "{error}");
    for (line, begin) in places.iter().zip(begins) {
        assert!(line.starts_with(begin), "expected {begin}, found {line}");
    }
}

#[test]
fn a_configuration_that_does_not_exist_or_is_no_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| {
        let error = Config::load(path).map(|_| ()).expect_err("there is no configuration");
        assert_eq!(error.kind(), Kind::Config);
        error.to_string().replace(&format!("{}", folder.path().display()), "DIR")
    };
    let missing = error(&folder.path().join("retentiond.yaml"));
    assert!(missing.starts_with("DIR/retentiond.yaml: expected a readable YAML file: No such file"), "{missing}");
    let directory = error(folder.path());
    assert!(directory.starts_with("DIR: expected a readable YAML file: Is a directory"), "{directory}");
    let endless = error(Path::new("/dev/zero"));
    assert!(endless.starts_with("/dev/zero: expected at most 4194304 bytes"), "{endless}");
}

#[test]
fn a_schedules_folder_that_cannot_be_read_is_an_error_and_never_an_empty_schedule() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("retentiond.yaml");
    std::fs::copy(self::folder().join("folder-schedule-broken/retentiond.yaml"), &path).unwrap();
    let schedules = folder.path().join("schedules");
    std::fs::create_dir(&schedules).unwrap();
    std::fs::set_permissions(&schedules, std::fs::Permissions::from_mode(0o000)).unwrap();
    let readable = std::fs::read_dir(&schedules).is_ok();
    let error = Config::load(&path).map(|_| ()).expect_err("there is no schedule").to_string();
    std::fs::set_permissions(&schedules, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Whoever runs the tests as root may read everything, and finds the folder empty.
    let expected = if readable { "found none" } else { "Permission denied" };
    assert!(error.contains(expected), "{error}");
}

/// What the program does with a configuration: exit code, standard output, standard error.
fn retentiond(config: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = assert_cmd::Command::cargo_bin("retentiond")
        .unwrap()
        .env_remove("RETENTIOND_LOG")
        .arg("--config")
        .arg(config)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_refuses_a_broken_configuration_before_it_touches_anything() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(folder.path().join("schedules")).unwrap();
    std::fs::copy(self::folder().join("schedules/small.yaml"), folder.path().join("schedules/small.yaml")).unwrap();
    let config = folder.path().join("retentiond.yaml");
    for case in ["mode-unknown.yaml", "class-unknown.yaml", "event-missing.yaml", "where-with-two-statements.yaml", "stores-empty.yaml"] {
        let text = std::fs::read_to_string(self::folder().join(case)).unwrap();
        std::fs::write(&config, format!("state: {}\n{text}", state.display())).unwrap();
        for verb in ["check", "plan", "run"] {
            let (code, out, err) = retentiond(&config, &[verb]);
            assert_eq!(code, Some(2), "{case} {verb}: {err}");
            assert_eq!(out, "", "{case} {verb}");
            assert!(err.starts_with(&format!("{}:", config.display())), "{case} {verb}: {err}");
            assert!(!state.exists(), "{case} {verb} made the state folder");
        }
    }
    let (code, out, err) = retentiond(&folder.path().join("nowhere.yaml"), &["check"]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("nowhere.yaml: expected a readable YAML file"), "{err}");
}

#[test]
fn checking_a_whole_configuration_makes_no_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("retentiond.yaml");
    std::fs::create_dir(folder.path().join("schedules")).unwrap();
    std::fs::copy(self::folder().join("schedules/small.yaml"), folder.path().join("schedules/small.yaml")).unwrap();
    let text = "node: a\nstate: state\nstores:\n  db:\n    sqlite: people.db\n    datasets:\n      people: { class: person, table: people, key: id, events: { left: left_on } }\n";
    std::fs::write(&config, text).unwrap();
    let (code, out, err) = retentiond(&config, &["check"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(!folder.path().join("state").exists() && !folder.path().join("people.db").exists());
}
