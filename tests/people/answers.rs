//! Requests for erasure where the classes of a record, its dates or its destruction are somebody else's business: overlapping datasets, dates that are
//! looked up, paper, stores that cannot be seen, and what is anonymised.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::asked::ago;
use crate::office::{Office, Place, text};

const SCHEDULE: &str = "schedule: test
time-zone: Europe/London
classes:
  consent: { keep: 6 years, after: made, then: destroy, on-erasure: destroy }
  claim: { keep: 6 years, after: made, then: destroy, source: the notice }
  paper: { keep: 1 year, after: made, then: destroy, on-erasure: destroy }
  figures: { keep: 1 year, after: made, then: anonymise }
";

const HEAD: &str = "node: office
mode: enforce
schedules: schedule.yaml
state: state
limits: unlimited
control: control.sock
clock: { synchronised: ignore }
stores:
";

async fn office(stores: &str) -> Office {
    let office = Office::new(Place::Sqlite).await;
    std::fs::write(office.path("schedule.yaml"), SCHEDULE).unwrap();
    std::fs::write(office.path("retentiond.yaml"), format!("{HEAD}{stores}")).unwrap();
    office
}

fn put(office: &Office, file: &str) {
    let path = office.path(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "x").unwrap();
}

/// What is answered about each record of a person, and the id of that.
fn shown(office: &Office, code: i32) -> (BTreeMap<String, String>, String) {
    let output = office.command(&["--json", "subject", "erase", "p-eleven"]).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    let lines: Vec<Value> = text(&output).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let word = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = lines.iter().filter(|row| row["address"].is_string());
    let rows = rows.map(|row| (word(row, "address"), format!("{} {}", word(row, "decision"), word(row, "ground"))));
    (rows.collect(), word(lines.last().unwrap(), "erasure")[..16].to_owned())
}

fn confirm(office: &Office, code: i32) -> String {
    let (_, id) = shown(office, code);
    office.must(code, &["subject", "erase", "p-eleven", "--confirm", &id, "--person", "Olive Oak", "--matter", "SAR-9"])
}

fn in_order(office: &Office) {
    office.must(0, &["audit", "verify"]);
    office.must(0, &["audit", "replay"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_two_datasets_match_goes_only_if_both_say_so() {
    let office = office(
        "  store:
    files: files
    datasets:
      all: { class: consent, path: \"{who}/{made:%Y-%m-%d}.txt\", events: { made: path }, subject: who }
      old: { class: claim, path: \"p-eleven/{made:%Y-%m-%d}.txt\", events: { made: path } }
",
    )
    .await;
    put(&office, &format!("files/p-eleven/{}.txt", ago(100)));
    put(&office, &format!("files/p-twelve/{}.txt", ago(100)));
    let (rows, _) = shown(&office, 0);
    assert_eq!(rows.into_values().collect::<Vec<_>>(), ["refuse class"]);
    let said = office.must(0, &["subject", "erase", "p-eleven"]);
    assert!(said.contains("claim: the notice") && said.contains("NOT searched, for their records name no subject: store/old"), "{said}");
    confirm(&office, 0);
    assert!(office.path(&format!("files/p-eleven/{}.txt", ago(100))).exists());
    // The other one says so as well; the edit of the binding is confirmed.
    let file = office.path("retentiond.yaml");
    let config = std::fs::read_to_string(&file).unwrap().replace("class: claim", "class: consent");
    std::fs::write(&file, config).unwrap();
    let (rows, _) = shown(&office, 0);
    assert_eq!(rows.into_values().collect::<Vec<_>>(), ["refuse class"], "it was another class a moment ago");
    let said = text(&office.finish(&["schedule", "confirm", "0000000000000000"]));
    let edit = said.split("what is in force now is ").nth(1).unwrap()[..16].to_owned();
    office.must(0, &["schedule", "confirm", &edit]);
    confirm(&office, 0);
    assert!(!office.path(&format!("files/p-eleven/{}.txt", ago(100))).exists());
    assert!(office.path(&format!("files/p-twelve/{}.txt", ago(100))).exists());
    in_order(&office);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_date_is_looked_up_goes_while_it_can_be_told() {
    let office = office(
        "  store:
    files: files
    datasets:
      scans:
        class: consent
        path: \"{who}/{name}.txt\"
        subject: who
        events: { made: { lookup: rows.people, by: who } }
        keys: plain
  rows:
    sqlite: office.db
    datasets:
      people: { class: claim, table: tenants, key: who, events: { made: made_on } }
",
    )
    .await;
    put(&office, "files/p-eleven/one.txt");
    office.sql("CREATE TABLE tenants (who VARCHAR(40) NOT NULL PRIMARY KEY, made_on TEXT)").await;
    let (rows, _) = shown(&office, 1);
    assert_eq!(rows["store/scans:p-eleven/one.txt"], "refuse doubt", "there is no row yet");
    office.sql(&format!("INSERT INTO tenants VALUES ('p-eleven', '{}')", ago(50))).await;
    let (rows, _) = shown(&office, 0);
    assert_eq!(rows["store/scans:p-eleven/one.txt"], "destroy class");
    office.sql("UPDATE tenants SET made_on = NULL").await;
    let (rows, _) = shown(&office, 0);
    assert_eq!(rows["store/scans:p-eleven/one.txt"], "refuse not-begun");
    office.sql(&format!("UPDATE tenants SET made_on = '{}'", ago(40))).await;
    confirm(&office, 0);
    assert!(!office.path("files/p-eleven/one.txt").exists());
    in_order(&office);
}

#[tokio::test(flavor = "multi_thread")]
async fn paper_waits_and_what_cannot_be_seen_stays() {
    let office = office(
        "  cabinets:
    attested: { csv: boxes.csv }
    datasets:
      boxes: { class: paper, key: box, events: { made: closed }, subject: tenant }
  away:
    files: not-mounted
    datasets:
      scans: { class: consent, path: \"{who}/{made:%Y-%m-%d}.txt\", events: { made: path }, subject: who }
",
    )
    .await;
    let boxes = format!("box,closed,tenant\n1,{},p-eleven\n2,{},p-eleven\n3,{},p-twelve\n", ago(400), ago(100), ago(400));
    std::fs::write(office.path("boxes.csv"), boxes).unwrap();
    let (rows, _) = shown(&office, 1);
    assert_eq!((&*rows["cabinets/boxes:1"], &*rows["cabinets/boxes:2"]), ("wait by-hand", "refuse by-hand"));
    let said = office.must(1, &["subject", "erase", "p-eleven"]);
    assert!(said.contains("it could NOT be seen completely"), "{said}");
    let said = confirm(&office, 1);
    assert!(said.contains("1 due, and waiting for people, 1 refused"), "{said}");
    in_order(&office);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_anonymised_where_its_class_says_so_and_a_person_without_records_is_told() {
    let office = office(
        "  rows:
    sqlite: office.db
    datasets:
      people: { class: figures, table: people, key: id, events: { made: made_on }, subject: who, anonymise: { note: null } }
",
    )
    .await;
    let said = office.must(0, &["subject", "erase", "p-eleven"]);
    assert!(said.contains("0 records in 1 dataset") && !said.contains("--confirm"), "{said}");
    office.sql(&format!("INSERT INTO people VALUES (1, 'p-eleven', '{}', 'n'), (2, 'p-eleven', '{}', 'n')", ago(500), ago(50))).await;
    let (rows, _) = shown(&office, 0);
    assert_eq!((&*rows["rows/people:1"], &*rows["rows/people:2"]), ("anonymise due", "refuse class"));
    confirm(&office, 0);
    assert_eq!(office.sql("SELECT coalesce(note, 'gone') FROM people ORDER BY id").await, ["gone", "n"]);
    let outcome = office.must(0, &["audit", "list", "--json", "--kind", "anonymised"]);
    assert!(outcome.contains("\"erasure\":"), "{outcome}");
    in_order(&office);
}
