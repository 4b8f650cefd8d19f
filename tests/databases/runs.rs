//! Whole runs: checked, planned, carried out, verified; with dates from everywhere; killed in the middle.

use std::time::Duration;

use crate::program::{Program, key, servers};
use crate::servers::Database;

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
async fn a_run_that_is_killed_at_any_moment_is_settled_by_the_next() {
    const ROWS: i64 = 6000;
    for server in servers() {
        let database = server.database().await;
        database.run(TABLES).await;
        let program = Program::new(&stores(&database));
        in_sqlite(
            &program,
            "CREATE TABLE contracts (id TEXT PRIMARY KEY, ended_on TEXT); CREATE TABLE keys (id INTEGER PRIMARY KEY, tenancy TEXT)",
        )
        .await;
        std::fs::create_dir_all(program.path("media")).unwrap();
        let mut session = database.admin().await;
        session.run("BEGIN").await.unwrap();
        // Plain SQL of every engine. One in five is not due.
        for first in (0..ROWS).step_by(1000) {
            let ids = first..first + 1000;
            let date = |id: i64| if id % 5 == 0 { "NULL" } else { "'2019-01-01'" };
            let rows: Vec<String> = ids.clone().map(|id| format!("({id}, 'no', {}, 'n')", date(id))).collect();
            session.run(&format!("INSERT INTO applicants VALUES {}", rows.join(", "))).await.unwrap();
            let rows: Vec<String> = ids.map(|id| format!("({id}, {id}, 'n')")).collect();
            session.run(&format!("INSERT INTO interviews VALUES {}", rows.join(", "))).await.unwrap();
        }
        session.run("COMMIT").await.unwrap();
        session.close().await;
        let mut hits = 0;
        for round in 0..8_u64 {
            let before = database.number("SELECT count(*) FROM applicants").await;
            let mut child = program.start();
            // The first batch is on its way when the first row is gone; then a little later each time.
            let begun = std::time::Instant::now();
            while database.number("SELECT count(*) FROM applicants").await == before && begun.elapsed() < Duration::from_secs(20) {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(round * 3)).await;
            hits += u32::from(child.try_wait().unwrap().is_none());
            let _ = child.kill();
            child.wait().unwrap();
            assert_eq!(
                database
                    .number("SELECT count(*) FROM applicants a WHERE NOT EXISTS (SELECT 1 FROM interviews i WHERE i.applicant_id = a.id)")
                    .await,
                0
            );
        }
        assert!(hits >= 3, "only {hits} kills hit a program at work");
        let said = program.run(&["run"]);
        assert!(matches!(said.code, Some(0 | 1)), "{}", said.text);
        assert_eq!(database.number("SELECT count(*) FROM applicants").await, ROWS / 5);
        assert_eq!(database.number("SELECT count(*) FROM interviews").await, ROWS / 5);
        assert_eq!(
            database.number("SELECT count(*) FROM applicants WHERE outcome_date IS NULL").await,
            ROWS / 5,
            "none went that was not due"
        );
        program.must(0, &["audit", "verify"]);
        // Every row that is gone has its outcome, and only one that says so.
        let gone = |entry: &&serde_json::Value| entry["kind"] == "destroyed" || entry["found"] == "gone";
        let (destroyed, recovered) = (program.entries("destroyed"), program.entries("recovered"));
        let mut told: Vec<&str> = destroyed.iter().chain(&recovered).filter(gone).map(|entry| entry["record"].as_str().unwrap()).collect();
        told.sort_unstable();
        let all = told.len();
        told.dedup();
        assert_eq!((told.len(), all), ((ROWS - ROWS / 5) as usize, (ROWS - ROWS / 5) as usize), "{} recovered", recovered.len());
        assert!(!recovered.is_empty(), "no kill left anything to settle");
    }
}
