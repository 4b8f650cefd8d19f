//! The alert rules that are shipped: every number in them is one that the program says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use retentiond::control::Status;
use retentiond::control::status::{Anchor, Channel, Dataset, Last, Log, Scanned, Service};

fn rules() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alerts/retentiond.rules.yml")
}

/// The names of everything that the program can say.
fn names() -> BTreeSet<String> {
    let at = || Some("2026-11-25T00:00:00Z".to_owned());
    let log = Log {
        bytes: Some(1),
        checkpoint: at(),
        heartbeat: at(),
        anchors: vec![Anchor { anchor: "a".into(), taken: at(), failed: None }],
        ..Log::default()
    };
    let mut dataset = Dataset { dataset: "a/b".into(), satisfied: at(), next: at(), period: Some(1), ..Dataset::default() };
    dataset.last = Some(Last { began: at().unwrap(), ended: at(), ..Last::default() });
    let verdicts = [("undetermined".to_owned(), 1)].into();
    dataset.scanned = Some(Scanned { began: at().unwrap(), ended: at().unwrap(), verdicts, ..Scanned::default() });
    dataset.ends = [("done".to_owned(), 1)].into();
    let notices = vec![Channel { channel: "mail".into(), delivered: at(), ..Channel::default() }];
    let service = Service { since: at().unwrap(), loaded: at().unwrap(), ..Service::default() };
    let status = Status { service: Some(service), log: Some(log), notices, datasets: vec![dataset], ..Status::default() };
    let text = retentiond::metrics::text(&status);
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_shipped_rules_ask_for_numbers_that_the_program_says() {
    let text = std::fs::read_to_string(rules()).unwrap();
    let parsed: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    let known = names();
    let mut alerts = BTreeSet::new();
    for rule in parsed["groups"][0]["rules"].as_array().unwrap() {
        assert!(alerts.insert(rule["alert"].as_str().unwrap().to_owned()), "{rule}");
        assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{rule}");
        let expression = rule["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !c.is_ascii_lowercase() && c != '_').filter(|word| word.starts_with("retentiond_"));
        let unknown: Vec<&str> = words.clone().filter(|word| !known.contains(*word)).collect();
        assert!(unknown.is_empty() && words.count() > 0, "{expression}: {unknown:?} is not among {known:?}");
    }
    assert!(alerts.len() >= 7, "{alerts:?}");
}

#[test]
fn promtool_takes_the_shipped_rules_and_they_alert_when_they_should() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/watched/rules.test.yml");
    for (what, file) in [("check", rules()), ("test", tests)] {
        match Command::new("promtool").args([what, "rules"]).arg(file).output() {
            Ok(output) => assert!(output.status.success(), "{}", crate::house::text(&output)),
            Err(_) => println!("skipped: there is no promtool"),
        }
    }
}
