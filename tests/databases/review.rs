//! Review before disposal with the built program, on files, SQLite, PostgreSQL and MariaDB: what people approve goes, and nothing else.
//!
//! Who approves is told by the account; as root, sudo's word is played. Tests that need other days run the program under `faketime`. Both are skipped,
//! with a word, where they cannot be had.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Program, key, servers};
use crate::servers::Database;

const TABLE: &str = "CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE, note VARCHAR(40));";
const ROWS: &str = "INSERT INTO people VALUES (1, '2019-01-01', 'n'), (2, '2019-01-02', 'n'), (3, '2019-01-03', 'n'), (4, '2098-01-01', 'n'), (5, '2019-01-05', 'n')";

/// A place with five records, of which the fourth is not due.
enum Place {
    Files,
    Sqlite,
    Server(Database),
}

struct Office {
    program: Program,
    place: Place,
}

impl Office {
    async fn new(place: Place, class: &str) -> Self {
        let stores = match &place {
            Place::Files => format!(
                "  s:\n    files: records\n    datasets:\n      d: {{ class: {class}, path: \"{{ended:%Y-%m-%d}}/*\", events: {{ ended: path }} }}\n"
            ),
            Place::Sqlite => format!(
                "  s:\n    sqlite: people.db\n    datasets:\n      d: {{ class: {class}, table: people, key: id, events: {{ ended: ended_on }} }}\n"
            ),
            Place::Server(database) => format!(
                "  s:\n    {}: {}\n    datasets:\n      d: {{ class: {class}, table: people, key: id, events: {{ ended: ended_on }} }}\n",
                key(database.engine()),
                database.url()
            ),
        };
        let office = Self { program: Program::new(&stores), place };
        match &office.place {
            Place::Files => {
                for (id, day) in [(1, "2019-01-01"), (2, "2019-01-02"), (3, "2019-01-03"), (4, "2098-01-01"), (5, "2019-01-05")] {
                    office.program.write(&format!("records/{day}/{id}"), "n");
                }
            }
            Place::Sqlite => {
                office.sqlite("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, note TEXT)").await;
                office.sqlite(ROWS).await;
            }
            Place::Server(database) => {
                database.run(TABLE).await;
                database.run(ROWS).await;
            }
        }
        office
    }

    async fn sqlite(&self, script: &str) -> Vec<String> {
        use sqlx::{Connection as _, Row as _};
        let url = format!("sqlite://{}?mode=rwc", self.program.path("people.db").display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(script)).fetch_all(&mut connection).await.unwrap();
        let texts = rows.iter().map(|row| row.get(0)).collect();
        connection.close().await.unwrap();
        texts
    }

    /// The records that are there.
    async fn there(&self) -> Vec<String> {
        match &self.place {
            Place::Files => {
                let folders = std::fs::read_dir(self.program.path("records")).unwrap().map(|entry| entry.unwrap().path());
                let files = folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
                let mut all: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
                all.sort();
                all
            }
            Place::Sqlite => self.sqlite("SELECT CAST(id AS TEXT) FROM people ORDER BY id").await,
            Place::Server(database) => database.texts("SELECT id FROM people ORDER BY id").await,
        }
    }

    /// Somebody works on a record.
    async fn edit(&self, id: i32) {
        let statement = format!("UPDATE people SET note = 'edited' WHERE id = {id}");
        match &self.place {
            Place::Files => drop(self.program.write(&format!("records/2019-01-0{id}/{id}"), "edited")),
            Place::Sqlite => drop(self.sqlite(&statement).await),
            Place::Server(database) => database.run(&statement).await,
        }
    }

    /// Somebody adds a record to the same month.
    async fn add(&self, id: i32) {
        let statement = format!("INSERT INTO people VALUES ({id}, '2019-01-0{id}', 'n')");
        match &self.place {
            Place::Files => drop(self.program.write(&format!("records/2019-01-0{id}/{id}"), "n")),
            Place::Sqlite => drop(self.sqlite(&statement).await),
            Place::Server(database) => database.run(&statement).await,
        }
    }

    fn address(&self, id: i32) -> String {
        match self.place {
            Place::Files => format!("s/d:2019-01-0{id}/{id}"),
            _ => format!("s/d:{id}"),
        }
    }

    fn list(&self) -> Vec<Value> {
        let text = self.program.must(0, &["--json", "review", "list"]);
        serde_json::from_str(text.trim()).unwrap()
    }

    fn batch(&self) -> String {
        let rows = self.list();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0]["batch"].as_str().unwrap().to_owned()
    }

    fn run(&self) -> String {
        let said = self.program.run(&["run"]);
        assert!(matches!(said.code, Some(0 | 1)), "{:?}: {}", said.code, said.text);
        said.text
    }

    fn in_order(&self) {
        self.program.must(0, &["audit", "verify"]);
        self.program.must(0, &["audit", "replay"]);
    }
}

async fn places() -> Vec<Place> {
    let mut all = vec![Place::Files, Place::Sqlite];
    for server in servers() {
        all.push(Place::Server(server.database().await));
    }
    all
}

#[tokio::test]
async fn what_people_approve_goes_on_every_kind_of_store_and_nothing_else() {
    for place in places().await {
        let office = Office::new(place, "asked").await;
        let program = &office.program;
        let said = office.run();
        assert!(said.contains("4 records in 1 batch wait for review"), "{said}");
        assert_eq!(office.there().await, ["1", "2", "3", "4", "5"]);
        let batch = office.batch();
        let shown = program.must(0, &["review", "show", &batch[..12]]);
        assert!(shown.contains(&format!("{}\t", office.address(3))) && shown.contains("kept until the end of 2020-01-03"), "{shown}");
        let said = program.must(0, &["review", "approve", &batch[..16], "--name", "Alice Ames", "--except", &office.address(3)]);
        assert!(said.contains("approved: 3 records of s/d, asked, due in 2020-01"), "{said}");
        office.edit(5).await;
        office.add(6).await;
        let planned = program.run(&["plan"]).text;
        assert!(planned.contains("2 due, to be destroyed") && planned.contains("3 due, waiting for review"), "{planned}");
        assert_eq!(office.there().await.len(), 6, "a plan does nothing");
        let said = office.run();
        assert!(said.contains("2 destroyed"), "{said}");
        assert!(said.contains("1 record that people approved stayed: changed since it was shown"), "{said}");
        assert_eq!(office.there().await, ["3", "4", "5", "6"], "{said}");
        let explained = program.must(0, &["explain", &office.address(3)]);
        assert!(explained.contains("review: in the batch") && explained.contains("waits for the approval of 1 person"), "{explained}");
        let destroyed = program.entries("destroyed");
        let certificate = program.must(0, &["report", "certificate", "--json", "--run", destroyed[0]["run"].as_str().unwrap()]);
        assert!(certificate.contains("Alice Ames, "), "{certificate}");
        assert!(destroyed.iter().all(|entry| entry["approval"].as_array().is_some_and(|all| all.len() == 1)), "{destroyed:?}");
        let waiting: Vec<u64> =
            office.list().iter().filter(|row| row["standing"] == "waiting").map(|row| row["records"].as_u64().unwrap()).collect();
        assert_eq!(waiting, [3]);
        office.in_order();
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_disposal_destroys_nothing_that_was_not_approved_and_nothing_twice() {
    for place in places().await {
        let office = Office::new(place, "asked").await;
        // A second month, which nobody approves; and enough records that a run takes its time.
        let mut values = Vec::new();
        for id in 100..2100 {
            let day = if id % 4 == 0 { "2019-03-01" } else { "2019-01-20" };
            match &office.place {
                Place::Files => drop(office.program.write(&format!("records/{day}/{id}"), "n")),
                _ => values.push(format!("({id}, '{day}', 'n')")),
            }
        }
        let insert = format!("INSERT INTO people VALUES {}", values.join(", "));
        match &office.place {
            Place::Files => {}
            Place::Sqlite => drop(office.sqlite(&insert).await),
            Place::Server(database) => database.run(&insert).await,
        }
        office.run();
        let january = office.list().into_iter().find(|row| row["month"] == "2020-01").unwrap();
        assert_eq!(january["records"], 1504);
        office.program.must(0, &["review", "approve", january["batch"].as_str().unwrap(), "--name", "Alice Ames"]);
        let before = office.there().await.len();
        let mut kills = 0;
        for _ in 0..6 {
            let mut child = office.program.start(&["run"]);
            let began = Instant::now();
            // As soon as something went, or at the end.
            while child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(20) {
                if office.there().await.len() < before {
                    child.kill().unwrap();
                    kills += 1;
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            child.wait().unwrap();
            if kills > 0 {
                break;
            }
        }
        office.run();
        let left = office.there().await;
        let march = left.iter().filter(|id| id.len() >= 3).count();
        assert_eq!((left.len(), march), (501, 500), "{kills} kills");
        office.in_order();
        let outcomes = office.program.entries("destroyed").len()
            + office.program.entries("recovered").iter().filter(|one| one["found"] == "gone").count();
        assert_eq!(outcomes, 1504, "each record went once");
    }
}

/// The program as somebody behind sudo; `None` where this is not root.
fn as_somebody(office: &Office, name: &str, days: u32, words: &[&str]) -> Option<(Option<i32>, String)> {
    let root = std::process::Command::new("id").arg("-u").output().ok()?;
    let faketime = std::process::Command::new("faketime").args(["-f", "-1d", "true"]).status();
    if root.stdout.trim_ascii() != b"0" || !faketime.is_ok_and(|status| status.success()) {
        println!("skipped: this needs root and faketime");
        return None;
    }
    let mut command = std::process::Command::new("faketime");
    command.args(["-f", &format!("+{days}d"), env!("CARGO_BIN_EXE_retentiond"), "--config"]).arg(office.program.path("retentiond.yaml"));
    let output = command.args(words).env("SUDO_USER", name).env("FAKETIME_DONT_FAKE_MONOTONIC", "1").output().unwrap();
    let text = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some((output.status.code(), text))
}

#[tokio::test]
async fn two_people_a_cooling_off_and_an_end_by_the_days_of_the_calendar() {
    for place in [Place::Files, Place::Sqlite] {
        let office = Office::new(place, "careful").await;
        office.run();
        let batch = office.batch();
        let approve = |who: &str, name: &str, days| as_somebody(&office, who, days, &["review", "approve", &batch, "--name", name]);
        let Some((code, text)) = approve("alice", "Alice Ames", 0) else { return };
        assert!(code == Some(0) && text.contains("it waits for the approval of 1 more person"), "{text}");
        for (who, name) in [("alice", "Bob Brown"), ("bob", "ALICE AMES")] {
            let (code, text) = approve(who, name, 0).unwrap();
            assert!(code == Some(3) && text.contains("must be another person's"), "{text}");
        }
        let (code, text) = approve("bob", "Bob Brown", 1).unwrap();
        assert!(code == Some(0) && text.contains("nothing goes before"), "{text}");
        // The second approved on day 1, the cooling-off covers three days, so day 5 is the first.
        let (_, text) = as_somebody(&office, "carol", 4, &["run"]).unwrap();
        assert_eq!(office.there().await.len(), 5, "{text}");
        let (_, text) = as_somebody(&office, "carol", 5, &["--json", "review", "list"]).unwrap();
        assert!(text.contains("\"standing\":\"approved\""), "{text}");
        // The first approval is over after ten days; then there is one of two.
        let (_, text) = as_somebody(&office, "carol", 11, &["run"]).unwrap();
        assert!(office.there().await.len() == 5 && text.contains("wait for review"), "{text}");
        let (code, text) = approve("alice", "Alice Ames", 11).unwrap();
        assert_eq!(code, Some(0), "{text}");
        // Bob's holds through day 11, and the cooling-off is not over by then.
        let (_, text) = as_somebody(&office, "carol", 15, &["run"]).unwrap();
        assert_eq!(office.there().await.len(), 5, "{text}");
        let (code, text) = approve("bob", "Bob Brown", 15).unwrap();
        assert_eq!(code, Some(0), "{text}");
        let (_, text) = as_somebody(&office, "carol", 19, &["run"]).unwrap();
        assert_eq!(office.there().await, ["4"], "{text}");
        office.in_order();
    }
}

#[tokio::test]
async fn decisions_go_through_the_service_when_it_runs_and_come_to_the_same() {
    let office = Office::new(Place::Sqlite, "asked").await;
    office.run();
    let file = office.program.path("retentiond.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("control: control.sock\nclock: {{ synchronised: ignore }}\n{text}")).unwrap();
    let mut service = office.program.start(&["daemon"]);
    let began = Instant::now();
    while UnixStream::connect(office.program.path("control.sock")).is_err() {
        assert!(began.elapsed() < Duration::from_secs(30) && service.try_wait().unwrap().is_none(), "the service does not come up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let batch = office.batch();
    let status = office.program.run(&["status"]).text;
    assert!(status.contains("review batches that wait for people: 1, with 4 records"), "{status}");
    let shown = office.program.must(0, &["--json", "review", "show", &batch]);
    assert_eq!(shown.trim().lines().count(), 4, "{shown}");
    let said = office.program.must(0, &["review", "extend", &batch, "--until", "2199-01-01", "--reason", "an inquiry"]);
    assert!(said.contains("it is kept through 2199-01-01"), "{said}");
    let said = office.program.must(3, &["review", "approve", &batch, "--name", "Alice Ames"]);
    assert!(said.contains("was extended until 2199-01-01"), "{said}");
    office.program.must(0, &["review", "withdraw", &batch]);
    office.program.must(2, &["review", "approve", "00000000", "--name", "Alice Ames"]);
    office.program.must(0, &["review", "approve", &batch, "--name", "Alice Ames"]);
    office.run();
    assert_eq!(office.there().await, ["4"]);
    // The service is ours, and told by its number.
    let ended = std::process::Command::new("kill").args(["-TERM", &service.id().to_string()]).status().unwrap();
    assert!(ended.success() && service.wait().unwrap().success());
    office.in_order();
    assert_eq!(office.program.entries("review-extended")[0]["reason"], "an inquiry");
}
