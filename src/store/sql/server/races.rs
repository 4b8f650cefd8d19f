//! Applications at work beside removals, on each engine and in both orders of removing: no row may go that was not due when its removal was
//! committed.
//!
//! Nothing in the database watches us here, because rows of a table with triggers never go at once. Instead the applications write down, in the
//! transaction that did it, what each of their changes left: a row that is gone without an application having deleted it must have been due by the
//! last word about it, and so must one that an application could only put there anew because it was gone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::servers::{self, Engine};
use super::super::tests::{configured, destroy, due, scan};
use super::super::{MYSQL, POSTGRES};
use crate::store::{Fate, Kept};

const ROWS: u64 = 1_200;

/// Changes of applications and removals that one race must have seen before it ends.
const EVENTS: u64 = 15_000;

const AT_ONCE: &str = "  people: { table: people, key: id, where: \"status <> 'hold'\", events: { end: ended_on } }\n";
const CAREFUL: &str =
    "  people: { table: people, key: id, where: \"status <> 'hold'\", events: { end: ended_on }, children: [ { table: kids, key: p } ] }\n";

const SCHEMA: &str =
    "CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE, status VARCHAR(10) NOT NULL DEFAULT 'closed', n INT NOT NULL DEFAULT 0);
    CREATE TABLE history (seq SERIAL PRIMARY KEY, id INT NOT NULL, what VARCHAR(10) NOT NULL, due INT NOT NULL);";

/// Not there where rows go at once: a table that refers to them would not hinder that, but rows of it would.
const KIDS: &str = "CREATE TABLE kids (p INT NOT NULL, FOREIGN KEY (p) REFERENCES people (id)); CREATE INDEX kids_of ON kids (p);";

/// What an application does over and over: event dates that change, tenancies that are opened again, holds, children, and rows that go and come.
/// `CHANGED` stands for the engine's way to say that the statement before it changed a row.
const WORK: &str = "CASE (seed + i) % 10
        WHEN 0 THEN UPDATE people SET ended_on = NULL, n = n + 1 WHERE id = who;
            CHANGED INSERT INTO history (id, what, due) VALUES (who, 'open', 0); END IF;
        WHEN 1 THEN UPDATE people SET ended_on = '2026-06-01', n = n + 1 WHERE id = who;
            CHANGED INSERT INTO history (id, what, due) VALUES (who, 'later', 0); END IF;
        WHEN 2 THEN UPDATE people SET status = 'hold' WHERE id = who;
            CHANGED INSERT INTO history (id, what, due) VALUES (who, 'hold', 0); END IF;
        WHEN 3 THEN UPDATE people SET status = 'closed', ended_on = '2020-01-01', n = n + 1 WHERE id = who;
            CHANGED INSERT INTO history (id, what, due) VALUES (who, 'due', 1); END IF;
        WHEN 4 THEN LEAVE_KIDS DELETE FROM people WHERE id = who;
            CHANGED INSERT INTO history (id, what, due) VALUES (who, 'deleted', 0); END IF;
        WHEN 5 THEN ADD_KIDS
        ELSE PUT
            CHANGED INSERT INTO history (id, what, due) VALUES (who, 'put', 1); END IF;
    END CASE;";

fn application(engine: Engine, kids: bool) -> String {
    let work = WORK.replace("LEAVE_KIDS", if kids { "DELETE FROM kids WHERE p = who;" } else { "" });
    let nothing = if engine == Engine::Postgres { "NULL;" } else { "DO 0;" };
    let work = work.replace("ADD_KIDS", if kids { "INSERT INTO kids SELECT id FROM people WHERE id = who;" } else { nothing });
    let who = format!("1 + (seed * 7919 + i * 104729) % {ROWS}");
    match engine {
        Engine::Postgres => {
            let work = work
                .replace("CHANGED", "IF FOUND THEN")
                .replace("PUT", "INSERT INTO people VALUES (who, '2020-01-01') ON CONFLICT DO NOTHING;");
            format!(
                "CREATE PROCEDURE work(seed int) LANGUAGE plpgsql AS $$ DECLARE who int; BEGIN FOR i IN 1..25 LOOP who := {who}; BEGIN {work}
                 EXCEPTION WHEN foreign_key_violation OR serialization_failure OR deadlock_detected OR lock_not_available THEN NULL; END;
                 COMMIT; END LOOP; END $$;"
            )
        }
        Engine::MariaDb | Engine::MySql => {
            let work = work
                .replace("CHANGED", "IF ROW_COUNT() > 0 THEN")
                .replace("PUT", "INSERT IGNORE INTO people (id, ended_on) VALUES (who, '2020-01-01');");
            format!(
                "CREATE PROCEDURE work(seed INT) BEGIN DECLARE who INT; DECLARE i INT DEFAULT 0; DECLARE lost INT;
                 DECLARE CONTINUE HANDLER FOR 1205, 1213, 1020, 1451, 1452 SET lost = 1;
                 WHILE i < 25 DO SET i = i + 1; SET lost = 0; SET who = {who}; START TRANSACTION; {work}
                 IF lost THEN ROLLBACK; ELSE COMMIT; END IF; END WHILE; END"
            )
        }
    }
}

async fn race(engine: Engine, kids: bool) {
    let Some(server) = servers::shared(engine) else { return };
    let about = format!("{}, {}", engine.name(), if kids { "with children" } else { "at once" });
    let database = server.database().await;
    database.run(SCHEMA).await;
    if kids {
        database.run(KIDS).await;
    }
    database.run(&application(engine, kids)).await;
    let ids: Vec<String> = (1..=ROWS).map(|id| format!("({id}, '2020-01-01')")).collect();
    database.run(&format!("INSERT INTO people (id, ended_on) VALUES {}", ids.join(", "))).await;
    database.run("INSERT INTO history (id, what, due) SELECT id, 'put', 1 FROM people").await;
    let (stop, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut applications = Vec::new();
    for application in 1..=3_u64 {
        let mut session = database.admin().await;
        let (stop, changes) = (Arc::clone(&stop), Arc::clone(&changes));
        let settings = match engine {
            Engine::Postgres => "SET synchronous_commit = off; SET lock_timeout = '2s'",
            Engine::MariaDb | Engine::MySql => "SET SESSION innodb_lock_wait_timeout = 2",
        };
        applications.push(tokio::spawn(async move {
            session.run(settings).await.unwrap();
            let mut seed = application * 31;
            while !stop.load(Ordering::Relaxed) {
                seed = (seed * 131 + 7) % 9973;
                session.run(&format!("CALL work({seed})")).await.unwrap();
                changes.fetch_add(25, Ordering::Relaxed);
            }
            session.close().await;
        }));
    }
    let kind = if engine == Engine::Postgres { &POSTGRES } else { &MYSQL };
    let store = configured(kind, &database.url(), Path::new("/"), if kids { CAREFUL } else { AT_ONCE }).unwrap();
    let (mut gone, mut kept) = (0, 0);
    let began = Instant::now();
    while (changes.load(Ordering::Relaxed) + gone < EVENTS || gone < ROWS || kept == 0) && began.elapsed() < Duration::from_mins(1) {
        let (records, scanned) = scan(&store, due("2021-01-01")).await;
        assert_eq!(scanned.incomplete, None, "{about}");
        for batch in records.chunks(100) {
            for fate in destroy(&store, batch).await {
                match fate {
                    Fate::Done(_) => gone += 1,
                    Fate::Kept(Kept::Changed(_)) | Fate::Absent => kept += 1,
                    Fate::Failed { uncertain: false, .. } => {}
                    other => panic!("{about}: {other:?}"),
                }
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    for application in applications {
        application.await.unwrap();
    }
    let changes = changes.load(Ordering::Relaxed);
    println!("{about}: {changes} changes, {gone} gone, {kept} kept in {:.1?}", began.elapsed());
    assert!(changes + gone >= EVENTS && gone >= ROWS && kept > 0, "{about}: {changes} changes, {gone} gone, {kept} kept");
    // Each life of a row, and by which word it ended where no application ended it.
    let ended = "(SELECT what, due, LEAD(what) OVER (PARTITION BY id ORDER BY seq) AS next, id FROM history) AS h
        WHERE what <> 'deleted' AND (next = 'put' OR next IS NULL AND id NOT IN (SELECT id FROM people))";
    assert_eq!(
        database.texts(&format!("SELECT what FROM {ended} AND due = 0")).await,
        Vec::<String>::new(),
        "{about}: gone without being due"
    );
    let went = database.number(&format!("SELECT count(*) FROM {ended}")).await;
    assert_eq!(went, i64::try_from(gone).unwrap(), "{about}: what is reported is what went");
    if kids {
        assert_eq!(database.number("SELECT count(*) FROM kids WHERE p NOT IN (SELECT id FROM people)").await, 0, "{about}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_goes_at_once_that_was_not_due_at_its_own_commit() {
    for engine in Engine::ALL {
        race(engine, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_goes_with_its_children_that_was_not_due_at_its_own_commit() {
    for engine in Engine::ALL {
        race(engine, true).await;
    }
}
