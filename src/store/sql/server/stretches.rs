//! Records that lie close to each other go along a stretch. Whatever else lies there, or came there, or changed there, must be as it is in the plan or
//! stay as it is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::super::servers::{self, Database, Engine};
use super::super::tests::{all, configured, destroy, done};
use super::super::{MYSQL, POSTGRES};
use crate::record::Record;
use crate::store::{Act, Fate, Kept, Order, Store};

const PEOPLE: &str = "  people: { table: people, key: id, where: \"status = 'x'\", events: { end: ended_on } }\n";

/// How many rows there are; every other one is planned, and what lies between them is younger.
const ROWS: i64 = 400;

fn planned(number: i64) -> bool {
    number % 2 == 0
}

async fn estate(engine: Engine, first: i64) -> Option<(Database, Arc<dyn Store>, Vec<Record>)> {
    let database = servers::shared(engine)?.database().await;
    database.run("CREATE TABLE people (id BIGINT PRIMARY KEY, ended_on DATE, note VARCHAR(20), status VARCHAR(10))").await;
    let row = |at: i64| format!("({}, '{}', 'n', 'x')", first + at, if planned(at) { "2020-01-01" } else { "2024-01-01" });
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    database.run(&format!("INSERT INTO people VALUES {}", rows.join(", "))).await;
    let kind = if engine == Engine::Postgres { &POSTGRES } else { &MYSQL };
    let store = configured(kind, &database.url(), Path::new("/"), PEOPLE).unwrap();
    let old: BTreeSet<String> = (0..ROWS).filter(|at| planned(*at)).map(|at| (first + at).to_string()).collect();
    let records: Vec<Record> = all(&store).await.into_iter().filter(|record| old.contains(&record.key.to_text())).collect();
    assert_eq!(records.len(), old.len());
    Some((database, store, records))
}

async fn left(database: &Database) -> BTreeSet<i64> {
    database.texts("SELECT id FROM people").await.iter().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn what_lies_between_the_records_of_a_stretch_stays_and_they_go_wherever_on_the_line_they_lie() {
    for engine in Engine::ALL {
        for first in [1, -ROWS / 2, i64::MIN, i64::MAX - ROWS + 1] {
            let Some((database, store, records)) = estate(engine, first).await else { continue };
            assert!(destroy(&store, &records).await.iter().all(|fate| done(fate).verified), "{} from {first}", engine.name());
            let between: BTreeSet<i64> = (0..ROWS).filter(|at| !planned(*at)).map(|at| first + at).collect();
            assert_eq!(left(&database).await, between);
        }
    }
}

#[tokio::test]
async fn whatever_changed_in_a_stretch_since_the_scan_stays_and_nothing_goes_in_its_place() {
    for engine in Engine::ALL {
        // What an application does, which rows it saves or brings, and how many records are gone already.
        for (does, stays, absent) in [
            ("UPDATE people SET ended_on = '2019-01-01' WHERE id = 101", vec![101], 0),
            ("UPDATE people SET ended_on = '2020-01-01' WHERE id % 2 = 1", vec![], 0),
            ("UPDATE people SET ended_on = '2024-01-01' WHERE id = 100", vec![100], 0),
            ("UPDATE people SET ended_on = '2019-01-01' WHERE id = 100", vec![100], 0),
            ("UPDATE people SET ended_on = NULL WHERE id = 100", vec![100], 0),
            ("UPDATE people SET note = 'new' WHERE id = 100", vec![100], 0),
            ("UPDATE people SET status = 'y' WHERE id = 100", vec![100], 0),
            ("DELETE FROM people WHERE id = 100", vec![], 1),
            // As many as were planned, and not the same.
            ("DELETE FROM people WHERE id = 100; UPDATE people SET ended_on = '2020-01-01' WHERE id = 101", vec![101], 1),
            ("DELETE FROM people WHERE id IN (100, 101); INSERT INTO people VALUES (101, '2020-01-01', 'n', 'x')", vec![101], 1),
            ("UPDATE people SET id = 1000 WHERE id = 100; UPDATE people SET id = 100 WHERE id = 101", vec![100, 1000], 0),
            ("DELETE FROM people WHERE id = 0; INSERT INTO people VALUES (-1, '2020-01-01', 'n', 'x')", vec![-1], 1),
            ("DELETE FROM people WHERE id = 398; INSERT INTO people VALUES (400, '2020-01-01', 'n', 'x')", vec![400], 1),
        ] {
            let Some((database, store, records)) = estate(engine, 0).await else { continue };
            database.run(does).await;
            let mut expected: BTreeSet<i64> = left(&database).await.into_iter().filter(|id| id % 2 != 0).collect();
            expected.extend(&stays);
            for round in 0..2 {
                let fates = destroy(&store, &records).await;
                assert_eq!(left(&database).await, expected, "{}: {does}", engine.name());
                for (record, fate) in records.iter().zip(&fates) {
                    let there = expected.contains(&record.key.to_text().parse().unwrap());
                    let fits = match fate {
                        Fate::Done(evidence) => round == 0 && !there && evidence.verified,
                        Fate::Absent => !there,
                        Fate::Kept(Kept::Changed(_)) => there,
                        _ => false,
                    };
                    assert!(fits, "{}: {does}: {}: {fate:?}", engine.name(), record.key.to_text());
                }
                let gone = fates.iter().filter(|fate| **fate == Fate::Absent).count();
                let kept = fates.iter().filter(|fate| matches!(fate, Fate::Kept(_))).count();
                assert_eq!(gone, if round == 0 { absent } else { records.len() - kept }, "{}: {does}", engine.name());
            }
        }
    }
}

#[tokio::test]
async fn a_record_of_a_stretch_that_the_guard_holds_stays_and_the_others_go() {
    for engine in Engine::ALL {
        let Some((database, store, records)) = estate(engine, 0).await else { continue };
        let order = Order { act: Act::Destroy, at_least: None };
        let guard = |at: usize, fresh: &Record| {
            assert_eq!(*fresh, records[at]);
            (at == 50).then(|| Kept::Held("H1".into()))
        };
        let fates = store.remove(&crate::dispose::Permit::for_test(), "people", &order, &records, &guard).await;
        for (at, fate) in fates.iter().enumerate() {
            assert!(if at == 50 { *fate == Fate::Kept(Kept::Held("H1".into())) } else { done(fate).verified }, "{at}: {fate:?}");
        }
        let expected: BTreeSet<i64> = (0..ROWS).filter(|at| !planned(*at) || *at == 100).collect();
        assert_eq!(left(&database).await, expected, "{}", engine.name());
    }
}

#[tokio::test]
async fn what_another_session_holds_in_a_stretch_is_waited_for_by_nobody() {
    for engine in Engine::ALL {
        for (held, kept) in [(101, 0), (100, 1)] {
            let Some((database, store, records)) = estate(engine, 0).await else { continue };
            // Of a table that hardly has other rows MariaDB reads all, however it is asked.
            let far = (0..8000).map(|at| format!("({}, '2024-01-01', 'far', 'x')", 1_000_000 + at)).collect::<Vec<_>>().join(", ");
            database.run(&format!("INSERT INTO people VALUES {far}")).await;
            database.run(if engine == Engine::Postgres { "ANALYZE people" } else { "ANALYZE TABLE people" }).await;
            let mut other = database.admin().await;
            other.run("BEGIN").await.unwrap();
            other.run(&format!("UPDATE people SET note = 'held' WHERE id = {held}")).await.unwrap();
            let fates = destroy(&store, &records).await;
            let failed: Vec<&Fate> = fates.iter().filter(|fate| matches!(fate, Fate::Failed { .. })).take(1).collect();
            assert!(failed.is_empty(), "{}: {held}: {failed:?}", engine.name());
            assert_eq!(fates.iter().filter(|fate| matches!(fate, Fate::Kept(_))).count(), kept, "{}: {held}", engine.name());
            assert_eq!(fates.iter().filter(|fate| matches!(fate, Fate::Done(_))).count(), records.len() - kept);
            other.run("COMMIT").await.unwrap();
            other.close().await;
            let expected: BTreeSet<i64> = (0..ROWS).filter(|at| !planned(*at) || (kept == 1 && *at == 100)).collect();
            let left: BTreeSet<i64> = left(&database).await.into_iter().filter(|id| *id < 1_000_000).collect();
            assert_eq!(left, expected, "{}", engine.name());
        }
    }
}

#[tokio::test]
async fn for_rows_that_go_the_server_reads_no_table_that_refers_to_them_from_end_to_end() {
    let Some((database, store, records)) = estate(Engine::Postgres, 0).await else { return };
    database.run("CREATE TABLE visits (id INT PRIMARY KEY, person BIGINT NOT NULL REFERENCES people)").await;
    database.run("CREATE INDEX visits_of ON visits (person)").await;
    database.run("INSERT INTO visits SELECT n, 1 FROM generate_series(1, 20000) n").await;
    database.run("ANALYZE visits").await;
    let reads =
        "SELECT CAST(seq_scan AS text) || ' ' || CAST(coalesce(idx_scan, 0) AS text) FROM pg_stat_user_tables WHERE relname = 'visits'";
    let read = async || {
        let text = database.texts(reads).await.join("");
        let (whole, by_index) = text.split_once(' ').unwrap();
        (whole.parse::<u64>().unwrap(), by_index.parse::<u64>().unwrap())
    };
    // Sessions tell what they have read when they end, and the one that made the table has.
    let before = read().await;
    assert!(destroy(&store, &records).await.iter().all(|fate| done(fate).verified));
    drop(store);
    let mut after = before;
    for _ in 0..200 {
        after = read().await;
        if after.1 > before.1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(after, (before.0, before.1 + records.len() as u64), "each row is looked for by the index");
}
