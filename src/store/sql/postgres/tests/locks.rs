//! Applications that hold locks while records go: what is in use stays, what is not goes, and nobody waits for long.

use std::time::{Duration, Instant};

use super::*;

/// The longest that one order may wait for others.
const PATIENCE: Duration = Duration::from_secs(12);

fn in_use(fate: &Fate) -> bool {
    matches!(fate, Fate::Kept(Kept::Changed(why)) if why.contains("another session is working on it"))
}

#[tokio::test]
async fn a_row_that_another_session_holds_stays_and_the_others_go_at_once() {
    for hold in [
        "SELECT * FROM people WHERE id = 2 FOR UPDATE",
        "SELECT * FROM people WHERE id = 2 FOR KEY SHARE",
        "UPDATE people SET name = 'x' WHERE id = 2",
        "DELETE FROM people WHERE id = 2",
        "INSERT INTO kids VALUES (2)",
    ] {
        let Some(db) = Db::new(&format!("{THREE} CREATE TABLE kids (p int REFERENCES people)")).await else { return };
        let store = db.store(PEOPLE);
        let records = all(&store).await;
        let mut other = db.session().await;
        other.run(&format!("BEGIN; {hold}")).await.unwrap();
        let began = Instant::now();
        let fates = destroy(&store, &records).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{hold}: nobody is waited for");
        assert!(done(&fates[0]).verified && in_use(&fates[1]) && done(&fates[2]).verified, "{hold}: {fates:?}");
        other.run("ROLLBACK").await.unwrap();
        other.close().await;
        assert!(done(&destroy(&store, &records[1..2]).await[0]).verified, "{hold}: given back, it goes");
    }
}

#[tokio::test]
async fn a_lock_on_the_whole_table_ends_in_clear_words_soon_and_loses_nothing() {
    let script = "CREATE TABLE people (id int PRIMARY KEY, ended_on date); INSERT INTO people SELECT i, '2020-01-01' FROM generate_series(1, 500) AS i";
    let Some(db) = Db::new(script).await else { return };
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    let mut other = db.session().await;
    other.run("BEGIN; LOCK TABLE people IN EXCLUSIVE MODE").await.unwrap();
    let began = Instant::now();
    for fate in destroy(&store, &records).await {
        assert!(certain(&fate).contains("another session holds a lock"), "{fate:?}");
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    other.run("ROLLBACK").await.unwrap();
    other.close().await;
    assert_eq!(db.number("SELECT count(*) FROM people").await, 500);
    assert!(destroy(&store, &records).await.iter().all(|fate| done(fate).verified));
}

#[tokio::test]
async fn a_locked_child_keeps_its_record_and_does_not_keep_the_others() {
    let script = "CREATE TABLE people (id int PRIMARY KEY, ended_on date); CREATE TABLE kids (p int REFERENCES people, note text); CREATE INDEX ON kids (p);
        INSERT INTO people SELECT i, '2020-01-01' FROM generate_series(1, 6) AS i; INSERT INTO kids SELECT id, 'n' FROM people;";
    let Some(db) = Db::new(script).await else { return };
    let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: kids, key: p } ] }\n");
    let records = all(&store).await;
    let mut other = db.session().await;
    other.run("BEGIN; UPDATE kids SET note = 'in use' WHERE p = 5").await.unwrap();
    let began = Instant::now();
    let fates = destroy(&store, &records).await;
    let took = began.elapsed();
    other.run("COMMIT").await.unwrap();
    other.close().await;
    assert!(took < PATIENCE, "{took:?}");
    for (record, fate) in records.iter().zip(&fates) {
        if record.key.to_text() == "5" {
            assert!(certain(fate).contains("holds a lock"), "{fate:?}");
        } else {
            assert_eq!(done(fate).parts, 1);
        }
    }
    assert_eq!(db.texts("SELECT p || note FROM kids JOIN people ON p = id").await, ["5in use"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_with_an_application_ends_and_leaves_record_and_children_together() {
    let script = format!("{THREE} CREATE TABLE kids (p int, note text); INSERT INTO kids VALUES (1, 'n'), (2, 'n'), (3, 'n');");
    let Some(db) = Db::new(&script).await else { return };
    let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: kids, key: p } ] }\n");
    let records = all(&store).await;
    let mut other = db.session().await;
    other.run("BEGIN; UPDATE kids SET note = 'other' WHERE p = 2").await.unwrap();
    let application = tokio::spawn(async move {
        // By now the row is locked by us, and we wait for its child.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let done = other.run("UPDATE people SET name = 'other' WHERE id = 2; COMMIT").await;
        other.close().await;
        done.is_ok()
    });
    let began = Instant::now();
    let fates = destroy(&store, &records).await;
    let application_won = application.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    for (record, fate) in records.iter().zip(&fates) {
        let there = |table: &str, column: &str| format!("SELECT count(*) FROM {table} WHERE {column} = {}", record.key.to_text());
        let (row, child) = (db.number(&there("people", "id")).await, db.number(&there("kids", "p")).await);
        assert_eq!((row, child), if matches!(fate, Fate::Done(_)) { (0, 0) } else { (1, 1) }, "{fate:?}");
    }
    if application_won {
        assert_eq!(db.number("SELECT count(*) FROM people WHERE name = 'other'").await, 1, "what the application changed stays");
    }
    assert!(matches!(fates[0], Fate::Done(_)) && matches!(fates[2], Fate::Done(_)), "{fates:?}");
}

#[tokio::test]
async fn a_serializable_application_beside_us_hinders_nothing_and_loses_nothing() {
    let Some(db) = Db::new(THREE).await else { return };
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    let mut other = db.session().await;
    other.run("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM people; UPDATE people SET name = 'x' WHERE id = 3").await.unwrap();
    let fates = destroy(&store, &records).await;
    assert!(done(&fates[0]).verified && done(&fates[1]).verified && in_use(&fates[2]), "{fates:?}");
    // Its snapshot still has the rows; changing one of them is an error that it expects at its level.
    assert_eq!(other.texts("SELECT count(*) FROM people").await.unwrap(), ["3"]);
    assert!(other.run("UPDATE people SET name = 'y' WHERE id = 1").await.is_err());
    other.close().await;
    assert_eq!(db.texts("SELECT id || name FROM people").await, ["3c"]);
}
