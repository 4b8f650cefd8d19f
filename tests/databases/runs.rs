//! Whole runs: checked, planned, carried out, verified; with dates from everywhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::program::{Program, key, servers};
use crate::servers::{Database, Engine};

const TABLES: &str = "CREATE TABLE tenancies (id VARCHAR(20) PRIMARY KEY, ended_on DATE);
    CREATE TABLE applicants (id INT PRIMARY KEY, status VARCHAR(20), outcome_date DATE, note VARCHAR(200));
    CREATE TABLE interviews (id INT PRIMARY KEY, applicant_id INT NOT NULL, note VARCHAR(200), FOREIGN KEY (applicant_id) REFERENCES applicants (id));
    CREATE INDEX interviews_of ON interviews (applicant_id);
    CREATE TABLE claims (id INT PRIMARY KEY, contract VARCHAR(20)); CREATE TABLE clips (id INT PRIMARY KEY, film VARCHAR(80));";

/// Datasets of all three kinds of stores whose dates lie in one another.
fn stores(database: &Database) -> String {
    format!(
        "  housing:\n    {}: {}\n    datasets:\n      \
         tenancies: {{ class: long, table: tenancies, key: id, events: {{ ended: ended_on }} }}\n      \
         applicants: {{ class: short, table: applicants, key: id, where: \"status = 'no'\", events: {{ ended: outcome_date }}, children: [ {{ table: interviews, key: applicant_id }} ] }}\n      \
         claims: {{ class: short, table: claims, key: id, events: {{ ended: {{ lookup: local.contracts, by: contract }} }} }}\n      \
         clips: {{ class: short, table: clips, key: id, events: {{ ended: {{ lookup: media.films, by: film }} }} }}\n  \
         local:\n    sqlite: local.db\n    datasets:\n      \
         contracts: {{ class: long, table: contracts, key: id, events: {{ ended: ended_on }} }}\n      \
         keys: {{ class: short, table: keys, key: id, events: {{ ended: {{ lookup: housing.tenancies, by: tenancy }} }} }}\n  \
         media:\n    files: media\n    datasets:\n      \
         films: {{ class: long, path: \"films/{{ended:%Y-%m-%d}}/*.mp4\", events: {{ ended: path }} }}\n      \
         letters: {{ class: short, path: \"letters/{{tenancy}}/*.txt\", events: {{ ended: {{ lookup: housing.tenancies, by: tenancy }} }} }}\n",
        key(database.engine()),
        database.url()
    )
}

async fn in_sqlite(program: &Program, script: &str) -> Vec<String> {
    use sqlx::{Connection as _, Row as _};
    let url = format!("sqlite://{}?mode=rwc", program.path("local.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(script)).fetch_all(&mut connection).await.unwrap();
    let texts = rows.iter().map(|row| row.get(0)).collect();
    connection.close().await.unwrap();
    texts
}

#[tokio::test]
async fn records_go_by_dates_that_lie_in_databases_and_files_in_every_direction() {
    for server in servers() {
        let database = server.database().await;
        database.run(TABLES).await;
        database
            .run(
                "INSERT INTO tenancies VALUES ('T-old', '2019-01-01'), ('T-open', NULL), ('T-new', '2098-01-01');
                 INSERT INTO applicants VALUES (1, 'no', '2019-01-01', 'n'), (2, 'yes', '2019-01-01', 'n'), (3, 'no', NULL, 'n'), (4, 'no', '2019-01-02', 'n');
                 INSERT INTO interviews VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'c');
                 INSERT INTO claims VALUES (1, 'C-old'), (2, 'C-open'), (3, 'C-none'), (4, NULL);
                 INSERT INTO clips VALUES (1, 'films/2019-01-01/a.mp4'), (2, 'films/2019-01-01/none.mp4')",
            )
            .await;
        let program = Program::new(&stores(&database));
        in_sqlite(
            &program,
            "CREATE TABLE contracts (id TEXT PRIMARY KEY, ended_on TEXT); INSERT INTO contracts VALUES ('C-old', '2019-01-01'), ('C-open', NULL);
             CREATE TABLE keys (id INTEGER PRIMARY KEY, tenancy TEXT); INSERT INTO keys VALUES (1, 'T-old'), (2, 'T-open'), (3, 'T-none'), (4, 'T-new')",
        )
        .await;
        program.write("media/films/2019-01-01/a.mp4", "film");
        for tenancy in ["T-old", "T-open", "T-none"] {
            program.write(&format!("media/letters/{tenancy}/1.txt"), tenancy);
        }
        let said = program.run(&["check", "--connect"]);
        assert!(matches!(said.code, Some(0 | 1)) && !said.text.contains("blocks:"), "{}", said.text);
        let said = program.run(&["plan"]);
        assert!(said.text.contains("applicants"), "{}", said.text);
        assert_eq!(database.number("SELECT count(*) FROM applicants").await, 4, "a plan does nothing");
        let said = program.run(&["run"]);
        assert!(matches!(said.code, Some(0 | 1)), "{}", said.text);
        for (query, left) in [
            ("SELECT id FROM tenancies ORDER BY id", &["T-new", "T-old", "T-open"][..]),
            ("SELECT id FROM applicants ORDER BY id", &["2", "3"]),
            ("SELECT id FROM interviews ORDER BY id", &["3"]),
            ("SELECT id FROM claims ORDER BY id", &["2", "3", "4"]),
            ("SELECT id FROM clips ORDER BY id", &["2"]),
        ] {
            assert_eq!(database.texts(query).await, left, "{query}\n{}", said.text);
        }
        assert_eq!(in_sqlite(&program, "SELECT CAST(id AS TEXT) FROM keys ORDER BY id").await, ["2", "3", "4"]);
        let letter = |tenancy: &str| program.path(&format!("media/letters/{tenancy}/1.txt")).exists();
        assert_eq!(["T-old", "T-open", "T-none"].map(letter), [false, true, true]);
        program.must(0, &["audit", "verify"]);
        let destroyed = program.entries("destroyed");
        assert_eq!(destroyed.len(), 6);
        let row =
            destroyed.iter().find(|entry| entry["dataset"] == "applicants" && entry["parts"] == 2).expect("the parts stand in the log");
        assert_eq!((row["grade"].as_str(), row["verified"].as_bool()), (Some("row-deleted"), Some(true)));
        assert!(row["caveats"].as_array().is_some_and(|caveats| !caveats.is_empty()), "{row}");
        // There is nothing more to do.
        program.run(&["run"]);
        assert_eq!(program.entries("destroyed").len(), 6);
    }
}

#[tokio::test]
async fn however_many_records_go_at_once_each_outcome_names_the_intent_that_announced_its_record() {
    const ROWS: usize = 5000;
    for server in servers() {
        let database = server.database().await;
        database
            .run("CREATE TABLE letters (id VARCHAR(80) PRIMARY KEY, ended_on DATE); CREATE TABLE calls (id INT PRIMARY KEY, ended_on DATE)")
            .await;
        for from in (0..ROWS).step_by(1000) {
            let rows = |id: &dyn Fn(usize) -> String| {
                (from..from + 1000).map(|at| format!("({}, '2019-01-01')", id(at))).collect::<Vec<_>>().join(", ")
            };
            // Long names, of which an intent holds fewer.
            let letters = rows(&|at| format!("'{}{at:05}'", "\"".repeat(60)));
            database.run(&format!("INSERT INTO letters VALUES {letters}; INSERT INTO calls VALUES {}", rows(&|at| at.to_string()))).await;
        }
        let program = Program::new(&format!(
            "  housing:\n    {}: {}\n    datasets:\n      letters: {{ class: short, table: letters, key: id, keys: plain, events: {{ ended: ended_on }} }}\n      \
             calls: {{ class: short, table: calls, key: id, events: {{ ended: ended_on }} }}\n",
            key(database.engine()),
            database.url()
        ));
        let said = program.run(&["run"]);
        assert!(matches!(said.code, Some(0 | 1)), "{}", said.text);
        for table in ["letters", "calls"] {
            assert_eq!(database.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{}", said.text);
        }
        program.must(0, &["audit", "verify"]);
        program.must(0, &["audit", "replay"]);
        let names = |entry: &serde_json::Value| -> Vec<String> {
            entry["records"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let intents: BTreeMap<u64, Vec<String>> =
            program.entries("intent").iter().map(|entry| (entry["n"].as_u64().unwrap(), names(entry))).collect();
        let announced: BTreeSet<&String> = intents.values().flatten().collect();
        assert_eq!((announced.len(), intents.values().map(Vec::len).sum::<usize>()), (2 * ROWS, 2 * ROWS), "each is announced once");
        let outcomes = program.entries("destroyed");
        let mut gone = BTreeSet::new();
        for outcome in &outcomes {
            let (intent, record) = (outcome["intent"].as_u64().unwrap(), outcome["record"].as_str().unwrap().to_owned());
            assert!(intents[&intent].contains(&record), "{outcome}");
            gone.insert(record);
        }
        assert_eq!((outcomes.len(), gone.len()), (2 * ROWS, 2 * ROWS));
        let together = intents.keys().filter(|n| intents.contains_key(&(*n + 1))).count();
        assert!(database.engine() != Engine::Postgres || together >= 2, "batches there take several intents: {:?}", intents.keys());
    }
}
