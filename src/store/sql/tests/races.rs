//! An application at work beside us: no row may be destroyed that was not due when its removal was committed.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_is_destroyed_that_was_not_due_at_its_own_commit() {
    for mode in ["DELETE", "WAL"] {
        // Each deleted row leaves its date behind, written in the same transaction that removed it.
        let db = Db::new(&format!(
            "PRAGMA journal_mode = {mode};
             CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, n INTEGER DEFAULT 0); CREATE TABLE gone (id INTEGER, ended_on TEXT);
             CREATE TRIGGER t BEFORE DELETE ON people BEGIN INSERT INTO gone VALUES (old.id, old.ended_on); END;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600) INSERT INTO people (id, ended_on) SELECT i, '2020-01-01' FROM n"
        ))
        .await;
        let stop = Arc::new(AtomicBool::new(false));
        let writes = Arc::new(AtomicU64::new(0));
        let mut connection = db.connect().await;
        let application = tokio::spawn({
            let (stop, writes) = (Arc::clone(&stop), Arc::clone(&writes));
            async move {
                let mut at: u64 = 7;
                while !stop.load(Ordering::Relaxed) {
                    at = (at * 7919 + 13) % 600;
                    let date = ["'2026-06-01'", "NULL", "'2020-01-01'", "'junk'"][usize::try_from(at % 4).unwrap()];
                    run(&mut connection, &format!("UPDATE people SET ended_on = {date}, n = n + 1 WHERE id = {at}")).await;
                    writes.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_micros(300)).await;
                }
            }
        });
        let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, triggers: accept }\n");
        let mut gone = 0;
        for round in 0..6 {
            // On a busy machine the application may not have had its turn.
            while writes.load(Ordering::Relaxed) < 8 * round {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let (records, _) = scan(&store, due("2021-01-01")).await;
            let records: Vec<Record> =
                records.into_iter().filter(|record| record.readings[0] == Reading::At(Moment::Date(Date::constant(2020, 1, 1)))).collect();
            for batch in records.chunks(40) {
                gone += destroy(&store, batch).await.iter().filter(|fate| matches!(fate, Fate::Done(_))).count();
            }
        }
        stop.store(true, Ordering::Relaxed);
        application.await.unwrap();
        assert!(writes.load(Ordering::Relaxed) > 20 && gone > 20, "both were at work: {writes:?} {gone}");
        assert_eq!(db.number("SELECT count(*) FROM gone WHERE ended_on IS NOT '2020-01-01'").await, 0, "{mode}");
        assert_eq!(db.number("SELECT count(*) FROM gone").await, i64::try_from(gone).unwrap(), "{mode}: what is reported is what went");
    }
}

#[tokio::test]
async fn what_the_guard_sees_cannot_change_before_the_record_goes() {
    let db = Db::new("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT); INSERT INTO people VALUES (1, '2020-01-01')").await;
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    let path = db.path();
    let order = Order { act: Act::Destroy, at_least: None };
    let guard = |_: usize, _: &Record| {
        // Another process, while the guard is asked: the write lock is ours.
        let output = std::process::Command::new("sqlite3").arg(&path).arg("UPDATE people SET ended_on = NULL").output();
        assert!(output.is_err() || output.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("locked")));
        None
    };
    let fates = store.remove(&Permit::for_test(), "people", &order, &records, &guard).await;
    assert!(done(&fates[0]).verified);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_exist_throughout_a_scan_are_seen_exactly_once_in_key_order() {
    let db = Db::new("PRAGMA journal_mode = WAL; CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) INSERT INTO people SELECT i * 2, '2020-01-01' FROM n").await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut connection = db.connect().await;
    let application = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut at: u64 = 7;
            while !stop.load(Ordering::Relaxed) {
                at = (at * 7919 + 13) % 30_000;
                run(&mut connection, &format!("UPDATE people SET ended_on = '2020-01-0{}' WHERE id = {}; INSERT OR IGNORE INTO people VALUES ({}, '2020-01-01'); DELETE FROM people WHERE id % 2 = 1 AND id < {}", 1 + at % 9, at * 2, at * 2 + 1, at)).await;
            }
        }
    });
    let store = db.store(PEOPLE);
    for _ in 0..3 {
        let (records, scanned) = scan(&store, due("2021-01-01")).await;
        assert_eq!(scanned.incomplete, None);
        let mut even: Vec<u64> = records.iter().map(|record| record.key.to_text().parse().unwrap()).filter(|id| id % 2 == 0).collect();
        assert_eq!(even.len(), 30_000);
        even.dedup();
        assert_eq!(even.len(), 30_000);
    }
    stop.store(true, Ordering::Relaxed);
    application.await.unwrap();
}
