//! Boxes that people shred: they become tasks, a person confirms them, and nobody is asked twice.

use std::time::Duration;

use jiff::{ToSpan as _, Zoned};
use retentiond::audit::Kind;
use serde_json::{Value, json};

use crate::program::Program;
use crate::table::{Table, commit, evidence};

const SCHEDULE: &str = "schedule: test\ntime-zone: Europe/London\nclasses:\n  \
    paper: { title: Boxes, keep: 1 year, after: ended, then: destroy, no-longer-than: 2 years }\n";

/// Days ago, as a date.
fn ago(days: i64) -> String {
    (Zoned::now().date() - days.days()).to_string()
}

/// Box 1 is due, 2 overdue, 3 not due, 4 not begun, 5 due and held once somebody places the hold.
fn rows() -> Vec<(u32, Option<String>)> {
    vec![(1, Some(ago(400))), (2, Some(ago(1000))), (3, Some(ago(100))), (4, None), (5, Some(ago(401)))]
}

async fn office(table: &Table) -> Program {
    let dataset = if matches!(table, Table::Csv) { "" } else { "table: boxes, " };
    let program = Program::new(&format!(
        "  cabinets:\n    attested: {{ {} }}\n    datasets:\n      boxes: {{ class: paper, {dataset}key: box, events: {{ ended: closed }}, subject: tenant, keys: plain }}\n",
        table.place()
    ));
    program.write("schedule.yaml", SCHEDULE);
    if let Table::Csv = table {
        let line = |(number, day): (u32, Option<String>)| format!("{number},{},T-{number}\n", day.unwrap_or_default());
        program.write("rows.csv", &format!("box,closed,tenant\n{}", rows().into_iter().map(line).collect::<String>()));
    } else {
        let row = |(number, day): (u32, Option<String>)| {
            format!("({number}, {}, 'T-{number}')", day.map_or("NULL".into(), |day| format!("'{day}'")))
        };
        let all = rows().into_iter().map(row).collect::<Vec<_>>().join(", ");
        let script = format!(
            "CREATE TABLE boxes (box INT PRIMARY KEY, closed {}, tenant VARCHAR(20)); INSERT INTO boxes VALUES {all}",
            if matches!(table, Table::Sqlite) { "TEXT" } else { "DATE" }
        );
        table.run(&program, &script).await;
    }
    program
}

async fn everywhere() -> Vec<Table> {
    let mut all = vec![Table::Csv];
    all.extend(Table::databases().await);
    all
}

fn confirm<'a>(record: &'a str, on: &'a str) -> [&'a str; 9] {
    ["attest", "confirm", record, "--on", on, "--method", "shredded", "--number", "C-77"]
}

fn records(entries: &[Value]) -> Vec<&str> {
    let mut all: Vec<&str> = entries.iter().map(|entry| entry["record"].as_str().unwrap()).collect();
    all.sort_unstable();
    all
}

fn listed(program: &Program) -> Vec<String> {
    let said = program.run(&["attest", "list", "--json"]);
    let lines = said.text.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["address"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn due_boxes_become_tasks_and_a_person_confirms_each_once() {
    for table in everywhere().await {
        let program = office(&table).await;
        let said = program.run(&["check", "--connect"]);
        assert!(matches!(said.code, Some(0 | 1)) && !said.text.contains("blocks:"), "{}", said.text);
        let said = program.run(&["plan"]);
        assert!(said.text.contains("3 due, to be destroyed by people") && said.text.contains("1 overdue"), "{}", said.text);
        program.must(1, &["run"]);
        assert_eq!(records(&program.entries("task-opened")), ["plain:1", "plain:2", "plain:5"]);
        commit(&program, Kind::HoldPlaced, &json!({"hold": "h-5", "hold_kind": "litigation", "scope": {"record": "plain:5"}}));
        program.must(1, &["run"]);
        assert_eq!(program.entries("task-opened").len(), 3, "a task is opened once");
        let status: Value = serde_json::from_str(program.must(1, &["status", "--json"]).trim()).unwrap();
        assert_eq!(status["datasets"][0]["tasks"], json!({"open": 2, "overdue": 1}), "the held one is none while it is held");
        assert_eq!(listed(&program), ["cabinets/boxes:1", "cabinets/boxes:2"]);

        let today = ago(0);
        let scan = program.write("certificate.pdf", "scanned");
        let scan = scan.to_str().unwrap();
        let words = [&confirm("cabinets/boxes:1", &today)[..], &["--certificate", scan, "--keep"]].concat();
        program.must(0, &words);
        let attested = program.entries("attested");
        assert_eq!(records(&attested), ["plain:1"]);
        let sha256 = format!("{:x}", <sha2::Sha256 as sha2::Digest>::digest(b"scanned"));
        assert_eq!(attested[0]["sha256"], *sha256);
        assert_eq!(std::fs::read(program.path("state/certificates").join(sha256)).unwrap(), b"scanned");
        for (field, value) in [("on", &*today), ("method", "shredded"), ("certificate", "C-77"), ("grade", "attested"), ("class", "paper")]
        {
            assert_eq!(attested[0][field], value, "{field}");
        }
        assert!(attested[0]["person"].as_str().is_some_and(|person| !person.is_empty()) && attested[0]["verified"] == false);

        assert!(program.must(3, &confirm("cabinets/boxes:1", &today)).contains("confirmed already"));
        assert!(program.must(3, &confirm("cabinets/boxes:5", &today)).contains("held by h-5 (litigation)"));
        assert!(program.must(3, &confirm("cabinets/boxes:77", &today)).contains("the list has no such record"));
        assert!(program.must(2, &confirm("cabinets/boxes:2", "2999-01-01")).contains("has not come yet"));
        assert!(program.must(2, &confirm("cabinets/crates:2", &today)).contains("no dataset is called"));
        // Gone before its time, and before it was due although it is due now: both are true, and both are losses.
        assert!(program.must(1, &confirm("cabinets/boxes:3", &today)).contains("TOO EARLY"));
        assert!(program.must(1, &confirm("cabinets/boxes:4", &today)).contains("TOO EARLY"));
        let said = program.must(1, &confirm("cabinets/boxes:2", &ago(900)));
        assert!(said.contains("TOO EARLY"), "{said}");
        assert_eq!(records(&program.entries("lost")), ["plain:2", "plain:3", "plain:4"]);
        assert_eq!(records(&program.entries("attested")), ["plain:1"], "neither the held nor the early one");

        // Nobody is asked again: not by the next run, and not by one with a register made anew from the log.
        for remove in [false, true] {
            if remove {
                std::fs::remove_file(program.path("state/register.db")).unwrap();
            }
            let said = program.run(&["run"]);
            // A database is not asked for rows that cannot be due.
            let seen = if matches!(table, Table::Csv) { 4 } else { 2 };
            assert!(said.text.contains(&format!("{seen} destroyed by people, and still in the list")), "{}", said.text);
            assert_eq!(program.entries("task-opened").len(), 3);
            assert_eq!(listed(&program), Vec::<String>::new());
        }
        assert!(program.must(0, &["explain", "cabinets/boxes:1"]).contains("a person has said so"));
        assert!(program.must(0, &["explain", "cabinets/boxes:3"]).contains("LOST"));
        assert!(program.must(0, &["explain", "cabinets/boxes:5"]).contains("is held"));
        // A box that is filed anew under an old number is another box.
        if let Table::Csv = table {
            let text = std::fs::read_to_string(program.path("rows.csv")).unwrap();
            program.write("rows.csv", &text.replace(&format!("1,{}", ago(400)), &format!("1,{}", ago(390))));
            program.run(&["run"]);
            assert_eq!(listed(&program), ["cabinets/boxes:1"]);
            assert_eq!(records(&program.entries("task-opened")), ["plain:1", "plain:1", "plain:2", "plain:5"]);
        } else {
            assert_eq!(table.texts(&program, "SELECT tenant FROM boxes ORDER BY box").await.len(), 5, "the list is the office's");
        }
        assert_eq!(program.entries("destroyed").len(), 0);
        evidence(&program);
    }
}

#[tokio::test]
async fn in_report_mode_nobody_is_asked_and_nothing_is_confirmed() {
    let program = office(&Table::Csv).await;
    let text = std::fs::read_to_string(program.path("retentiond.yaml")).unwrap();
    program.write("retentiond.yaml", &text.replace("mode: enforce", "mode: report"));
    program.run(&["run"]);
    assert_eq!(program.entries("task-opened").len(), 0);
    assert!(program.must(3, &confirm("cabinets/boxes:1", &ago(0))).contains("report mode"));
    evidence(&program);
}

#[tokio::test]
async fn a_task_that_vanishes_from_the_list_is_told() {
    let program = office(&Table::Csv).await;
    program.run(&["run"]);
    program.write("rows.csv", &format!("box,closed,tenant\n1,{},T\n", ago(400)));
    let said = program.must(1, &["run"]);
    assert!(said.contains("2 tasks ended without a confirmation"), "{said}");
    // Half a list is no list: nothing ends, nothing is opened.
    program.write("rows.csv", &format!("box,closed,tenant\n1,{},T\n7\n", ago(400)));
    let said = program.must(1, &["run"]);
    assert!(said.contains("line 3: expected 3 fields") && said.contains("nothing was done"), "{said}");
    let status: Value = serde_json::from_str(program.must(1, &["status", "--json"]).trim()).unwrap();
    assert_eq!(status["datasets"][0]["tasks"]["open"], 1);
}

#[tokio::test]
async fn a_confirmation_that_is_killed_is_whole_or_not_there() {
    let program = office(&Table::Csv).await;
    program.run(&["run"]);
    let today = ago(0);
    let words = confirm("cabinets/boxes:1", &today);
    let (mut killed, mut step) = (0, 1);
    loop {
        let mut child = program.start(&words);
        std::thread::sleep(Duration::from_millis(step));
        step += 4;
        let done = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(program.run(&["audit", "verify"]).code, Some(0 | 1)), "an open intent at most");
        if done.is_some() {
            break;
        }
        killed += 1;
        // The next start settles what was open.
        program.run(&["run"]);
        evidence(&program);
        match program.entries("attested").len() {
            0 => assert!(listed(&program).contains(&"cabinets/boxes:1".to_owned())),
            1 => break,
            more => panic!("confirmed {more} times"),
        }
    }
    assert!(killed > 0);
    assert!(program.must(3, &words).contains("confirmed already"));
    assert_eq!(program.entries("attested").len(), 1);
}

#[tokio::test]
async fn the_service_takes_a_confirmation_while_it_runs() {
    let program = office(&Table::Csv).await;
    let text = std::fs::read_to_string(program.path("retentiond.yaml")).unwrap();
    program.write("retentiond.yaml", &format!("control: control.sock\nclock: {{ synchronised: ignore }}\n{text}"));
    let mut service = program.start(&["daemon"]);
    let began = std::time::Instant::now();
    while program.run(&["status", "--json"]).text.contains("\"service\":null") {
        assert!(began.elapsed() < Duration::from_mins(1));
        std::thread::sleep(Duration::from_millis(50));
    }
    program.must(1, &["run"]);
    program.must(0, &confirm("cabinets/boxes:1", &ago(0)));
    assert!(program.must(3, &confirm("cabinets/boxes:1", &ago(0))).contains("confirmed already"));
    assert!(program.must(1, &confirm("cabinets/boxes:3", &ago(0))).contains("TOO EARLY"));
    rustix::process::kill_process(rustix::process::Pid::from_child(&service), rustix::process::Signal::TERM).unwrap();
    service.wait().unwrap();
    assert_eq!(program.entries("attested").len(), 1);
    evidence(&program);
}

#[tokio::test]
async fn a_box_whose_class_asks_for_a_review_is_confirmed_once_people_have_approved_it() {
    let program = office(&Table::Csv).await;
    program.write("schedule.yaml", &SCHEDULE.replace("then: destroy", "then: review, cooling-off: none"));
    let said = program.run(&["run"]);
    assert!(matches!(said.code, Some(0 | 1)), "{}", said.text);
    assert!(listed(&program).is_empty(), "nobody is asked to destroy what nobody approved");
    let yesterday = ago(1);
    let said = program.must(3, &confirm("cabinets/boxes:1", &yesterday));
    assert!(said.contains("nobody has approved"), "{said}");
    let batches: Value = serde_json::from_str(program.must(0, &["review", "list", "--json"]).trim()).unwrap();
    for batch in batches.as_array().unwrap() {
        program.must(0, &["review", "approve", batch["batch"].as_str().unwrap(), "--name", "A. Person"]);
    }
    let said = program.run(&["run"]);
    assert!(matches!(said.code, Some(0 | 1)), "{}", said.text);
    assert!(program.entries("intent").is_empty(), "the program cannot destroy a box");
    let tasks = listed(&program);
    assert!(tasks.iter().any(|task| task == "cabinets/boxes:1"), "{tasks:?}\n{}", said.text);
    program.must(
        0,
        &["attest", "confirm", "cabinets/boxes:1", "--on", &(Zoned::now().date()).to_string(), "--method", "shredded", "--number", "C-77"],
    );
    let attested = program.entries("attested");
    assert_eq!(attested.len(), 1);
    assert!(attested[0]["approval"].as_array().is_some_and(|entries| entries.len() == 1), "{}", attested[0]);
    program.must(0, &["audit", "verify"]);
    program.must(0, &["audit", "replay"]);
}

#[tokio::test]
async fn a_box_that_went_too_early_for_another_of_its_classes_is_lost_and_the_log_follows() {
    let program = office(&Table::Csv).await;
    let text = std::fs::read_to_string(program.path("retentiond.yaml")).unwrap();
    for (more, class) in [
        ("lease: { title: Leases, keep: 1 year, after: lease-end, then: destroy }", "lease"),
        ("minutes: { title: Minutes, keep: permanently }", "minutes"),
    ] {
        program.write("schedule.yaml", &format!("{SCHEDULE}  {more}\n"));
        let both = text.replace("class: paper", &format!("class: [paper, {class}]"));
        program.write("retentiond.yaml", &both.replace("ended: closed }", "ended: closed, lease-end: left }"));
        // The period of the one class is over; that of the other has not begun, or never ends.
        program.write("rows.csv", &format!("box,closed,tenant,left\n{class},{},T-1,\n", ago(400)));
        let said = program.must(1, &confirm(&format!("cabinets/boxes:{class}"), &ago(0)));
        assert!(said.contains("TOO EARLY"), "{said}");
        evidence(&program);
    }
    assert_eq!(records(&program.entries("lost")), ["plain:lease", "plain:minutes"]);
}

#[tokio::test]
async fn no_task_rests_on_an_approval_that_was_taken_back_while_tasks_were_opened() {
    const MANY: usize = 5000;
    let program = office(&Table::Csv).await;
    program.write("schedule.yaml", &SCHEDULE.replace("then: destroy", "then: review, cooling-off: none"));
    let rows = (0..MANY).map(|number| format!("{number},{}", ago(400))).collect::<Vec<_>>().join(",T\n");
    program.write("rows.csv", &format!("box,closed,tenant\n{rows},T\n"));
    program.run(&["run"]);
    let list: Value = serde_json::from_str(program.must(0, &["review", "list", "--json"]).trim()).unwrap();
    let batch = list[0]["batch"].as_str().unwrap().to_owned();
    program.must(0, &["review", "approve", &batch, "--name", "Alice Ames"]);
    let text = std::fs::read_to_string(program.path("retentiond.yaml")).unwrap();
    program.write("retentiond.yaml", &format!("control: control.sock\nclock: {{ synchronised: ignore }}\n{text}"));
    let mut service = program.start(&["daemon"]);
    let began = std::time::Instant::now();
    while program.run(&["status", "--json"]).text.contains("\"service\":null") {
        assert!(began.elapsed() < Duration::from_mins(1));
    }
    let mut run = program.start(&["run"]);
    while program.entries("task-opened").is_empty() {
        assert!(began.elapsed() < Duration::from_mins(2) && run.try_wait().unwrap().is_none(), "no task was seen while the run went on");
    }
    program.must(0, &["review", "withdraw", &batch]);
    run.wait().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&service), rustix::process::Signal::TERM).unwrap();
    service.wait().unwrap();
    let opened = program.entries("task-opened");
    let withdrawn = program.entries("review-withdrawn")[0]["n"].as_u64();
    let late = opened.iter().filter(|task| task["n"].as_u64() > withdrawn).count();
    assert_eq!(late, 0, "of {} tasks", opened.len());
    assert!(opened.len() < MANY, "the run was over before anything was taken back");
    evidence(&program);
}
