//! What is left of a row on the server's disk, against what the log says of it.

use std::path::Path;

use crate::program::{ENGINES, Program, count, key};
use crate::servers::{Engine, Options, Server};

const CANARY: &str = "KANARIENVOGEL-5dbe2f";

/// Rows that are due and hold a canary each.
const ROWS: usize = 40;

/// How often the canary stands in files below a folder.
fn search(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let found = entries.flatten().map(|entry| {
        let path = entry.path();
        if path.is_dir() { search(&path) } else { count(&std::fs::read(&path).unwrap_or_default(), CANARY.as_bytes()) }
    });
    found.sum()
}

/// Tables and everything that is not the log of writes; and that log.
fn places(engine: Engine, server: &Server) -> (usize, usize) {
    match engine {
        Engine::Postgres => (search(&server.data().join("base")), search(&server.data().join("pg_wal"))),
        Engine::MariaDb | Engine::MySql => (search(server.data()), 0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_row_is_called_deleted_and_no_more_while_its_bytes_are_still_there() {
    for engine in ENGINES {
        let Some(mut server) = Server::private(engine, Options::default()) else { continue };
        let database = server.database().await;
        let mut session = database.admin().await;
        if engine == Engine::Postgres {
            // Not until we say so.
            session.run("CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE, story TEXT, big TEXT) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off)").await.unwrap();
            session.run("ALTER TABLE people ALTER story SET STORAGE PLAIN, ALTER big SET STORAGE EXTERNAL").await.unwrap();
        } else {
            session.run("CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE, story TEXT, big TEXT)").await.unwrap();
        }
        for id in 0..ROWS * 2 {
            let (date, story) = if id % 2 == 0 { ("'2019-01-01'", CANARY) } else { ("NULL", "plain") };
            // The large one lies outside of the row.
            let big = format!("{story}{}", "x".repeat(4000));
            session.run(&format!("INSERT INTO people VALUES ({id}, {date}, '{story}', '{big}')")).await.unwrap();
        }
        if engine == Engine::Postgres {
            session.run("CHECKPOINT").await.unwrap();
        }
        session.close().await;
        let (tables, log) = places(engine, &server);
        assert!(tables >= ROWS * 2, "before, all of it is found: {tables}, {log}");

        let program = Program::new(&format!(
            "  housing:\n    {}: {}\n    datasets:\n      people: {{ class: short, table: people, key: id, events: {{ ended: ended_on }} }}\n",
            key(engine),
            database.url()
        ));
        program.run(&["run"]);
        program.must(0, &["audit", "verify"]);
        assert_eq!(database.number("SELECT count(*) FROM people").await, i64::try_from(ROWS).unwrap());
        assert_eq!(database.number(&format!("SELECT count(*) FROM people WHERE story LIKE '{CANARY}%' OR big LIKE '{CANARY}%'")).await, 0);
        let outcomes = program.entries("destroyed");
        assert_eq!(outcomes.len(), ROWS);
        for outcome in &outcomes {
            assert_eq!(outcome["grade"], "row-deleted", "{outcome}");
            let caveats: Vec<&str> = outcome["caveats"].as_array().into_iter().flatten().filter_map(|caveat| caveat.as_str()).collect();
            for caveat in ["dead-rows-until-vacuum", "write-ahead-log", "replicas-follow", "backups-not-reached"] {
                assert!(engine != Engine::Postgres || caveats.contains(&caveat), "{outcome}");
            }
        }
        if engine != Engine::Postgres {
            continue;
        }
        // `dead-rows-until-vacuum` and `write-ahead-log`: both are true.
        database.run("CHECKPOINT").await;
        let (tables, log) = places(engine, &server);
        assert!(tables >= ROWS * 2 && log >= ROWS, "deleted, and still there: {tables} in tables, {log} in the log of writes");
        // VACUUM frees the room without writing over it; a table that is written anew has only what is left. The log of writes has it on.
        let mut session = database.admin().await;
        session.run("VACUUM FULL people").await.unwrap();
        session.run("CHECKPOINT").await.unwrap();
        session.close().await;
        let (tables, log) = places(engine, &server);
        assert_eq!(tables, 0, "rewritten");
        assert!(log >= ROWS, "the log of writes still has it: {log}");
        // Whatever becomes of the bytes later, the log does not take back what it said, and asking for more than this keeps the rows.
        let mut session = database.admin().await;
        session.run(&format!("INSERT INTO people VALUES (1000, '2019-01-01', '{CANARY}', '')")).await.unwrap();
        session.close().await;
        program.configure(&format!(
            "  housing:\n    {}: {}\n    datasets:\n      people: {{ class: short, table: people, key: id, events: {{ ended: ended_on }}, at-least: vacuumed }}\n",
            key(engine),
            database.url()
        ));
        program.run(&["run"]);
        assert_eq!(database.number("SELECT count(*) FROM people WHERE id = 1000").await, 1, "what cannot be reached is not begun");
        let kept = program.entries("kept");
        assert!(kept.iter().any(|entry| entry["why"] == "cannot-meet-grade"), "{kept:?}");
        server.kill();
    }
}
