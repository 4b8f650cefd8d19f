//! Rows that lose what points to a person and stay, and what is counted of rows before they go.

use serde_json::Value;

use crate::program::Program;
use crate::table::{Table, evidence};

const SCHEDULE: &str = "schedule: test\ntime-zone: Europe/London\nclasses:\n  \
    short: { title: Short, keep: 1 year, after: ended, then: destroy }\n  \
    blank: { title: Blank, keep: 1 year, after: ended, then: anonymise }\n";

const ANONYMISE: &str = "anonymise: { name: null, email: '', age: 0, city: { sql: \"substr(city, 1, 1)\" } }";

fn office(table: &Table, datasets: &str) -> Program {
    let program = Program::new(&format!("  housing:\n    {}\n    datasets:\n{datasets}", table.place()));
    program.write("schedule.yaml", SCHEDULE);
    program
}

/// So many people in each of some wards, all of whom left in the same month.
fn people(wards: &[(&str, u32)]) -> String {
    let mut rows = Vec::new();
    for (ward, many) in wards {
        for _ in 0..*many {
            let id = rows.len();
            rows.push(format!("({id}, 'Ann {id}', 'ann{id}@example.org', 42, 'York', '{ward}', '2019-03-{:02}')", 1 + id % 28));
        }
    }
    format!(
        "CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(40), email VARCHAR(40), age INT, city VARCHAR(20), ward VARCHAR(20), left_on VARCHAR(10));
         INSERT INTO people VALUES {}",
        rows.join(", ")
    )
}

const ENDED: &str = "events: { ended: { column: left_on, as: date } }";

#[tokio::test]
async fn columns_become_null_constant_or_computed_and_once_is_enough() {
    for table in Table::databases().await {
        let program = office(&table, &format!("      people: {{ class: blank, table: people, key: id, {ENDED}, {ANONYMISE} }}\n"));
        table.run(&program, &people(&[("North", 2)])).await;
        table.run(&program, "INSERT INTO people VALUES (7, 'Eve', 'eve@example.org', 33, 'Leeds', 'North', NULL)").await;
        program.run(&["check", "--connect"]);
        program.run(&["run"]);
        let left = "SELECT coalesce(name, 'null') || '|' || coalesce(email, 'null') || '|' || CAST(age AS CHAR(4)) || '|' || city || '|' || ward FROM people ORDER BY id";
        let left = if matches!(&table, Table::Server(database) if database.engine() == crate::servers::Engine::MariaDb) {
            "SELECT concat_ws('|', coalesce(name, 'null'), email, age, city, ward) FROM people ORDER BY id"
        } else {
            left
        };
        let texts = |rows: Vec<String>| rows.iter().map(|row| row.replace(' ', "")).collect::<Vec<_>>();
        let after = ["null||0|Y|North", "null||0|Y|North", "Eve|eve@example.org|33|Leeds|North"];
        assert_eq!(texts(table.texts(&program, left).await), after);
        let anonymised = program.entries("anonymised");
        assert_eq!(anonymised.len(), 2);
        assert!(anonymised.iter().all(|entry| entry["verified"] == true && entry["grade"] == "anonymised"), "{anonymised:?}");
        let said = program.run(&["run"]);
        assert!(said.text.contains("none due"), "{}", said.text);
        assert_eq!(texts(table.texts(&program, left).await), after, "what is computed is computed once");
        assert_eq!(program.entries("anonymised").len(), 2);
        assert!(program.must(0, &["explain", "housing/people:0"]).contains("anonymised"));
        evidence(&program);
    }
}

fn cells(program: &Program) -> Vec<Value> {
    let said = program.must(0, &["report", "statistics", "--json"]);
    let report: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(report["uncounted"], serde_json::json!([]));
    report["cells"].as_array().unwrap().clone()
}

fn shown(cells: &[Value]) -> Vec<String> {
    let shown = |cell: &Value| format!("{} {} {} {}", cell["outcome"], cell["month"], cell["by"]["ward"], cell["records"]).replace('"', "");
    cells.iter().map(shown).collect()
}

#[tokio::test]
async fn what_goes_is_counted_by_month_and_column_and_few_are_not_shown() {
    for table in Table::databases().await {
        for class in ["short", "blank"] {
            let anonymise = if class == "blank" { ANONYMISE } else { "children: []" };
            let statistics = "statistics: { by: [ward], smallest: 5 }";
            let program = office(
                &table,
                &format!("      people: {{ class: {class}, table: people, key: id, {ENDED}, {anonymise}, {statistics} }}\n"),
            );
            table.run(&program, "DROP TABLE IF EXISTS people").await;
            table.run(&program, &people(&[("North", 1500), ("South", 5), ("East", 4)])).await;
            table
                .run(
                    &program,
                    "INSERT INTO people VALUES (9001, 'x', 'x', 1, 'x', NULL, '2018-12-31'), (9002, 'x', 'x', 1, 'x', 'North', NULL)",
                )
                .await;
            let said = program.run(&["check", "--connect"]);
            assert!(!said.text.contains("statistics"), "{}", said.text);
            program.run(&["run"]);
            let outcome = if class == "short" { "destroyed" } else { "anonymised" };
            let wanted =
                ["2018-12 null null", "2019-03 East null", "2019-03 North 1500", "2019-03 South 5"].map(|row| format!("{outcome} {row}"));
            assert_eq!(shown(&cells(&program)), wanted);
            let said = program.must(0, &["report", "statistics", "--store", "housing/people"]);
            assert!(said.contains(&format!("\"housing/people\",\"{outcome}\",\"2019-03\",\"ward=North\",\"1500\"")), "{said}");
            assert!(said.contains("\"ward=East\",\"fewer than 5\"") && !said.contains(",\"4\""), "{said}");
            program.run(&["run"]);
            assert_eq!(shown(&cells(&program)), wanted, "nothing is counted twice");
            evidence(&program);
        }
    }
}

#[tokio::test]
async fn a_killed_run_neither_loses_nor_repeats_a_count() {
    for table in Table::databases().await {
        let statistics = "statistics: { by: [ward], smallest: 1 }";
        let program = office(&table, &format!("      people: {{ class: short, table: people, key: id, {ENDED}, {statistics} }}\n"));
        table.run(&program, &people(&[("North", 3000), ("South", 700)])).await;
        let (mut killed, mut step) = (0, 60);
        loop {
            let mut child = program.start(&["run"]);
            std::thread::sleep(std::time::Duration::from_millis(step));
            step = step * 8 / 5;
            let done = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            child.wait().unwrap();
            if done {
                break;
            }
            killed += 1;
        }
        program.run(&["run"]);
        assert!(killed > 1);
        assert_eq!(table.texts(&program, "SELECT name FROM people").await.len(), 0);
        assert_eq!(shown(&cells(&program)), ["destroyed 2019-03 North 3000", "destroyed 2019-03 South 700"]);
        evidence(&program);
    }
}

#[tokio::test]
async fn columns_that_look_like_keys_are_told_and_those_of_persons_refused() {
    let table = Table::Sqlite;
    let dataset = |by: &str| {
        format!(
            "      people: {{ class: blank, table: people, key: id, {ENDED}, {ANONYMISE}, subject: city, statistics: {{ by: [{by}] }} }}\n"
        )
    };
    let program = office(&table, &dataset("left_on"));
    table.run(&program, &people(&[("North", 28)])).await;
    let said = program.must(1, &["check", "--connect"]);
    assert!(said.contains("`left_on` has 28 different values in 28 rows and looks like a key"), "{said}");
    for (by, why) in [("id", "tells records apart"), ("name", "is anonymised"), ("city", "names a person")] {
        let program = office(&table, &dataset(by));
        let said = program.must(2, &["check"]);
        assert!(said.contains("statistics cannot be counted by") && said.contains(why), "{said}");
    }
}
