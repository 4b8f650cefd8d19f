//! Certificates and the deletion log, by the built program: what they say, what they refuse, and what hostile names in the log do to them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use retentiond::audit::{AuditLog, Draft, Kind};
use serde_json::{Value, json};
use tempfile::TempDir;

const SCHEDULE: &str = "schedule: housing\ntitle: Retention and disposal schedule\nowner: Data Protection Officer\napproved: 2026-11-01\n\
    time-zone: Europe/London\nclasses:\n  \
    recruitment.unsuccessful:\n    title: Unsuccessful job applications\n    keep: 6 months\n    after: outcome\n    then: destroy\n    \
    authority: limitation period for claims under the Equality Act 2010, s.123\n    source: privacy notice, \"for 6 months\"\n  \
    cctv.footage: { title: CCTV footage, keep: 23 days, after: recorded, then: destroy, no-longer-than: 24 days }\n  \
    tenancy.file: { title: Tenancy files, keep: 6 years, after: tenancy-end, then: anonymise }\n";

/// A log of these entries in a state folder of its own.
fn log_of(entries: &[(Kind, Value)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), "hq-1").unwrap().log;
    log.commit_blocking(entries.iter().map(|(kind, body)| Draft::new(*kind, body).unwrap()).collect()).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.close()).unwrap();
    dir
}

/// The body of an entry: these fields on top of those.
fn with(base: &Value, more: impl std::borrow::Borrow<Value>) -> Value {
    let mut body = base.as_object().unwrap().clone();
    body.extend(more.borrow().as_object().unwrap().clone());
    Value::Object(body)
}

/// A month as it may be: two schedules' worth of runs, with everything that a certificate tells.
fn a_month() -> Vec<(Kind, Value)> {
    let (first, second) = SCHEDULE.split_at(200);
    let schedule = |part: u32, text: &str| {
        (
            Kind::Schedule,
            json!({"id": "housing", "sha256": "aa11", "title": "Retention and disposal schedule", "part": part, "parts": 2, "text": text}),
        )
    };
    let run = |run: &str, store: &str, dataset: &str| json!({"run": run, "store": store, "dataset": dataset});
    let (cctv, jobs, files) = (run("R-1", "cctv", "footage"), run("R-2", "housing", "applicants"), run("R-3", "housing", "tenancies"));
    let started =
        |of: &Value, class: &str| (Kind::RunStarted, with(of, json!({"mode": "enforce", "rules": [{"class": class, "schedule": "aa11"}]})));
    let intent = |of: &Value, act: &str, records: Value| (Kind::Intent, with(of, json!({"act": act, "records": records})));
    let outcome = |kind: Kind, of: &Value, record: &str, class: &str, more: Value| {
        let base = with(
            of,
            json!({"record": record, "size": 1000, "class": class, "schedule": "aa11", "event": "recorded", "event_date": "2026-10-01", "due": "2026-10-24", "by": "retentiond 0.1.0"}),
        );
        (kind, with(&base, more))
    };
    let overwritten = || json!({"method": "overwrite", "grade": "overwritten", "verified": true, "caveats": ["medium-virtual", "backups-not-reached"], "beyond_use_until": "2026-12-30"});
    let unlinked = json!({"method": "unlink", "grade": "unlinked", "verified": true, "caveats": ["backups-not-reached"], "asked": "overwritten", "event_date": "2026-10-02", "beyond_use_until": "2026-12-31"});
    let counts = |counts: Value| json!({"end": "done", "counts": counts, "population": 4000, "held": 2, "undetermined": 3, "overdue": 1});
    vec![
        schedule(1, first),
        schedule(2, second),
        started(&cctv, "cctv.footage"),
        intent(&cctv, "destroy", json!(["a", "b", "c", "d", "e", "f"])),
        outcome(Kind::Destroyed, &cctv, "a", "cctv.footage", overwritten()),
        outcome(Kind::Destroyed, &cctv, "b", "cctv.footage", unlinked),
        outcome(Kind::Kept, &cctv, "c", "cctv.footage", json!({"why": "held", "detail": "hold H-7"})),
        outcome(Kind::Failed, &cctv, "d", "cctv.footage", json!({"error": "Input/output error"})),
        outcome(Kind::Absent, &cctv, "e", "cctv.footage", json!({})),
        outcome(Kind::Recovered, &cctv, "f", "cctv.footage", json!({"found": "gone", "act": "destroy"})),
        (Kind::RunFinished, with(&cctv, counts(json!({"destroyed": 2, "kept": 1, "failed": 1, "absent": 1, "recovered": 1})))),
        started(&jobs, "recruitment.unsuccessful"),
        (Kind::Allowed, with(&jobs, json!({"plan": "0123456789abcdef", "due": 1, "person": "j.smith (uid 1000)"}))),
        intent(&jobs, "destroy", json!(["g"])),
        outcome(
            Kind::Destroyed,
            &jobs,
            "g",
            "recruitment.unsuccessful",
            json!({"method": "delete", "grade": "row-deleted", "verified": true, "caveats": ["wal-frames"]}),
        ),
        (Kind::RunFinished, with(&jobs, counts(json!({"destroyed": 1})))),
        started(&files, "tenancy.file"),
        intent(&files, "anonymise", json!(["h"])),
        outcome(Kind::Anonymised, &files, "h", "tenancy.file", json!({"method": "anonymise", "grade": "anonymised", "verified": true})),
        (Kind::RunFinished, with(&files, counts(json!({"anonymised": 1})))),
    ]
}

/// The program on a log, with these words.
fn report(state: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retentiond"));
    command.arg("report").args(words).arg("--log").arg(state.join("audit")).arg("--key").arg(state.join("keys/log.vkey"));
    command.output().unwrap()
}

/// What it printed, when it ended well.
fn printed(state: &Path, words: &[&str]) -> String {
    let output = report(state, words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn certificate(state: &Path, words: &[&str]) -> Value {
    serde_json::from_str(&printed(state, &[&["certificate", "--format", "json"], words].concat())).unwrap()
}

/// Replaces what differs from log to log: times, root, key and signature.
fn normal(state: &Path, text: &str) -> String {
    let key = fs::read_to_string(state.join("keys/log.vkey")).unwrap();
    let note = fs::read_to_string(state.join("audit/checkpoint")).unwrap();
    let mut text = text.to_owned();
    let signature = note.trim_end().rsplit(' ').next().unwrap();
    for (found, shown) in [
        (signature, "SIGNATURE"),
        (note.lines().nth(2).unwrap(), "ROOT"),
        (key.trim(), "KEY"),
        (key.trim().splitn(3, '+').nth(2).unwrap(), "PUBLIC"),
    ] {
        text = text.replace(found, shown);
    }
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    for day in [now.date(), now.date().yesterday().unwrap()] {
        text = text.replace(&day.strftime("%-d %B %Y").to_string(), "TODAY").replace(&day.to_string(), "TODAY");
    }
    // A time of day: what looks like 12:34:56, with or without thousandths.
    let bytes: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    while at < bytes.len() {
        let form = |form: &str| {
            bytes.len() >= at + form.len()
                && form.chars().zip(&bytes[at..]).all(|(f, c)| if f == '0' { c.is_ascii_digit() } else { f == *c })
        };
        let length = ["00:00:00.000", "00:00:00"].into_iter().find(|text| form(text)).map_or(0, str::len);
        if length > 0 {
            out.push_str("TIME");
        } else {
            out.push(bytes[at]);
        }
        at += length.max(1);
    }
    out
}

#[test]
fn a_certificate_says_what_went_and_what_did_not() {
    let state = log_of(&a_month());
    let words = ["certificate", "--from", "2026-01-01", "--to", "2099-12-31", "--organisation", "Example Homes & Co"];
    insta::assert_snapshot!("certificate_html", normal(state.path(), &printed(state.path(), &words)));
    insta::assert_snapshot!("certificate_json", normal(state.path(), &printed(state.path(), &[&words[..], &["--json"]].concat())));
}

#[test]
fn the_deletion_log_has_a_row_for_each_outcome_in_all_three_forms() {
    let state = log_of(&a_month());
    let csv = printed(state.path(), &["log"]);
    insta::assert_snapshot!("deletion_log_csv", normal(state.path(), &csv.replace("\r\n", "\n")));
    assert_eq!(csv.matches("\r\n").count(), 9, "a heading and eight outcomes");
    let json: Value = serde_json::from_str(&printed(state.path(), &["log", "--json"])).unwrap();
    assert_eq!((json["count"].as_u64(), json["outcomes"].as_array().unwrap().len()), (Some(8), 8));
    assert_eq!(json["outcomes"][0]["caveats"], json!(["medium-virtual", "backups-not-reached"]));
    let html = printed(state.path(), &["log", "--format", "html"]);
    assert_eq!(html.matches("<tr>").count(), 9);
    balanced(&html);
}

#[test]
fn a_report_is_narrowed_by_run_days_class_and_store() {
    let state = log_of(&a_month());
    let one = certificate(state.path(), &["--run", "R-2"]);
    assert_eq!((&one["destroyed"], &one["found_gone"], &one["anonymised"]), (&json!(1), &json!(0), &json!(0)));
    assert_eq!(one["decisions"][0]["person"], "j.smith (uid 1000)");
    assert_eq!(one["rules"][0]["authority"], "limitation period for claims under the Equality Act 2010, s.123");
    let all = certificate(state.path(), &["--from", "2026-01-01", "--to", "2099-12-31"]);
    assert_eq!((&all["destroyed"], &all["found_gone"], &all["anonymised"]), (&json!(3), &json!(1), &json!(1)));
    let class = certificate(state.path(), &["--from", "2026-01-01", "--to", "2099-12-31", "--class", "tenancy.file"]);
    assert_eq!((&class["destroyed"], &class["anonymised"], class["datasets"].as_array().unwrap().len()), (&json!(0), &json!(1), 1));
    let before = certificate(state.path(), &["--from", "2020-01-01", "--to", "2020-12-31"]);
    assert_eq!((&before["destroyed"], &before["rules"]), (&json!(0), &json!([])));
    assert_eq!(before["verification"]["intact"], true);
    let rows = |words: &[&str]| printed(state.path(), &[&["log"], words].concat()).matches("\r\n").count() - 1;
    assert_eq!(rows(&["--store", "housing"]), 2);
    assert_eq!(rows(&["--store", "cctv/footage"]), 6);
    assert_eq!(rows(&["--class", "cctv.footage", "--class", "tenancy.file"]), 7);
    assert_eq!(rows(&["--to", "2020-12-31"]), 0);
    assert_eq!(rows(&["--run", "R-3"]), 1);
}

#[test]
fn what_cannot_be_meant_is_refused_in_words() {
    let state = log_of(&a_month());
    for (words, said) in [
        (vec!["certificate"], "--run"),
        (vec!["certificate", "--from", "2026-11-01"], "--to"),
        (vec!["certificate", "--run", "R-1", "--from", "2026-11-01", "--to", "2026-11-02"], "cannot be used with"),
        (vec!["certificate", "--run", "R-9"], "the log has no run \"R-9\"; `retentiond audit list --kind run-started` lists them"),
        (vec!["certificate", "--from", "2026-11-02", "--to", "2026-11-01"], "--to 2026-11-01: expected a day not before --from 2026-11-02"),
        (vec!["log", "--from", "November"], "expected a day such as 2026-11-01, found \"November\""),
    ] {
        let output = report(state.path(), &words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(said), "{words:?}: {}: {error}", output.status);
        assert!(output.stdout.is_empty());
    }
}

/// What is done to a log, in words and in deed.
type Break = (&'static str, fn(&Path));

#[test]
fn of_a_log_that_does_not_verify_nothing_is_certified_and_nothing_reported() {
    let break_it: [Break; 4] = [
        ("an entry says something else", |state| {
            let path = state.join("audit/tile/entries/000.p/21");
            let text = fs::read(&path).unwrap();
            let at = text.windows(9).position(|bytes| bytes == b"destroyed").unwrap();
            fs::write(&path, [&text[..at], b"destroyeD", &text[at + 9..]].concat()).unwrap();
        }),
        ("the checkpoint counts fewer entries", |state| {
            let path = state.join("audit/checkpoint");
            fs::write(&path, fs::read_to_string(&path).unwrap().replace("\n21\n", "\n20\n")).unwrap();
        }),
        ("a tile is not there", |state| fs::remove_file(state.join("audit/tile/0/000.p/21")).unwrap()),
        ("the checkpoint is not there", |state| fs::remove_file(state.join("audit/checkpoint")).unwrap()),
    ];
    for (what, break_it) in break_it {
        let state = log_of(&a_month());
        break_it(state.path());
        for (words, said) in [
            (vec!["certificate", "--run", "R-1"], "no certificate can be made of this log"),
            (vec!["certificate", "--run", "R-1", "--json"], "no certificate can be made of this log"),
            (vec!["log"], "no report can be made of this log"),
        ] {
            let output = report(state.path(), &words);
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(4) && error.contains(said), "{what}: {}: {error}", output.status);
            assert!(output.stdout.is_empty(), "{what}: something was printed");
        }
    }
    // Another log's key.
    let (state, other) = (log_of(&a_month()), log_of(&[(Kind::Stopped, json!({}))]));
    fs::copy(other.path().join("keys/log.vkey"), state.path().join("keys/log.vkey")).unwrap();
    assert_eq!(report(state.path(), &["certificate", "--run", "R-1"]).status.code(), Some(4));
}

#[test]
fn hostile_names_are_shown_and_never_obeyed() {
    let evil = "=HYPERLINK(\"http://x\")<script>alert('1')</script>\u{1b}[2J\u{202e}\r\n,\"";
    let of = json!({"run": evil, "store": evil, "dataset": evil});
    let mut entries = vec![
        (Kind::Schedule, json!({"id": evil, "sha256": evil, "title": evil, "part": 1, "parts": 1, "text": evil})),
        (Kind::RunStarted, with(&of, json!({"rules": [{"class": evil, "schedule": evil}]}))),
        (Kind::Allowed, with(&of, json!({"plan": evil, "person": evil}))),
        (Kind::Intent, with(&of, json!({"act": "destroy", "records": [evil, "b", "c"]}))),
    ];
    let outcome = json!({"class": evil, "schedule": evil, "event_date": evil, "method": evil, "grade": evil, "caveats": [evil], "beyond_use_until": evil,
        "asked": evil, "why": evil, "error": evil, "by": evil});
    for (kind, record) in [(Kind::Destroyed, evil), (Kind::Kept, "b"), (Kind::Failed, "c")] {
        entries.push((kind, with(&with(&of, outcome.clone()), json!({"record": record}))));
    }
    entries.push((Kind::RunFinished, with(&of, json!({"end": evil, "counts": {"destroyed": 1, "kept": 1, "failed": 1}}))));
    let state = log_of(&entries);
    let control = |text: &str| text.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
    for words in [&["certificate", "--run", evil, "--organisation", evil][..], &["log", "--format", "html", "--run", evil]] {
        let html = printed(state.path(), words);
        assert!(!html.contains("<script") && !html.contains("alert('1')"), "{html}");
        assert!(html.contains("&lt;script&gt;"), "the name is there to be read");
        assert_eq!(control(&html), None);
        balanced(&html);
    }
    let csv = printed(state.path(), &["log"]);
    assert_eq!(csv.matches("\r\n").count(), 4, "a name does not make a row");
    assert_eq!(control(&csv.replace("\r\n", "\n")), None);
    for line in csv.split_terminator("\r\n") {
        let cells = cells(line);
        assert_eq!(cells.len(), 22, "a name does not make a cell: {line}");
        assert!(cells.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@'])), "{line}");
    }
    for words in [&["log", "--json"][..], &["certificate", "--json", "--run", evil]] {
        let json = printed(state.path(), words);
        serde_json::from_str::<Value>(&json).unwrap();
    }
}

/// The cells of a line of CSV, read strictly.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut rest) = (Vec::new(), line);
    loop {
        let (mut cell, mut inside) = (String::new(), rest.strip_prefix('"').expect("a cell in quotes"));
        loop {
            let (text, behind) = inside.split_once('"').expect("the end of a cell");
            cell.push_str(text);
            let Some(more) = behind.strip_prefix('"') else {
                rest = behind;
                break;
            };
            cell.push('"');
            inside = more;
        }
        cells.push(cell);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return cells,
            None => panic!("expected a comma, found {rest}"),
        }
    }
}

/// Every element that opens closes, in order.
fn balanced(html: &str) {
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let name: String = tag.chars().take_while(|c| !c.is_whitespace() && *c != '>').collect();
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop().as_deref(), Some(closed)),
            None if ["!DOCTYPE", "meta", "br", "wbr"].contains(&name.as_str()) => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn the_certificate_of_a_real_run_counts_what_the_run_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let footage = dir.path().join("cctv/cam-1/2026-01-02");
    fs::create_dir_all(&footage).unwrap();
    for name in ["1.mp4", "2.mp4", "3.mp4"] {
        fs::write(footage.join(name), "seven b").unwrap();
    }
    fs::write(dir.path().join("schedule.yaml"), SCHEDULE).unwrap();
    let config = "node: hq-1\nmode: enforce\nlimits: unlimited\nbackups: 35 days\nschedules: schedule.yaml\nstate: state\nstores:\n  cctv:\n    files: cctv\n    \
        datasets:\n      footage: { class: cctv.footage, path: \"{camera}/{recorded:%Y-%m-%d}/*.mp4\", events: { recorded: path } }\n";
    fs::write(dir.path().join("retentiond.yaml"), config).unwrap();
    let run = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_retentiond")).arg("--config").arg(dir.path().join("retentiond.yaml")).args(words).output().unwrap()
    };
    let ran: Value = serde_json::from_slice(&run(&["run", "--json"]).stdout).unwrap();
    let name = ran["runs"][0]["run"].as_str().unwrap();
    // The log and the key of the configuration.
    let made: Value = serde_json::from_slice(&run(&["report", "certificate", "--json", "--run", name]).stdout).unwrap();
    assert_eq!((&made["destroyed"], &made["bytes"], &made["exceptions"]), (&json!(3), &json!(21), &json!([])), "{made}");
    assert_eq!((&made["rules"][0]["class"], &made["rules"][0]["keep"]), (&json!("cctv.footage"), &json!("23 days after recorded")));
    assert_eq!((&made["backups"][0]["store"], &made["backups"][0]["records"]), (&json!("cctv"), &json!(3)));
    assert_eq!(made["datasets"][0]["last"]["population"], 3);
    assert_eq!(made["verification"]["checkpoint"], fs::read_to_string(dir.path().join("state/audit/checkpoint")).unwrap());
    assert_eq!(made["schedules"][0]["owner"], "Data Protection Officer");
}
