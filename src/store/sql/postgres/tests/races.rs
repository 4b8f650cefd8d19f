//! An application at work beside us: no row may go that was not due when its removal was committed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;

const ROWS: u64 = 2_500;

/// Whatever becomes of a row stands in `history`, written in the transaction that did it. The triggers take the place of an application that
/// writes everything down; the dates of the events come from nobody else.
const SCHEMA: &str = "CREATE TABLE people (id int PRIMARY KEY, ended_on date, n int NOT NULL DEFAULT 0);
    CREATE TABLE kids (p int NOT NULL REFERENCES people); CREATE INDEX ON kids (p);
    CREATE TABLE history (id int, what text, ended_on date, n int, by text, at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO history VALUES (old.id, TG_TABLE_NAME, old.ended_on, old.n, current_setting(''application_name'')); RETURN old; END';
    CREATE TRIGGER t AFTER DELETE ON people FOR EACH ROW EXECUTE FUNCTION gone();
    CREATE FUNCTION child_gone() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO history (id, what, by) VALUES (old.p, ''kids'', current_setting(''application_name'')); RETURN old; END';
    CREATE TRIGGER t AFTER DELETE ON kids FOR EACH ROW EXECUTE FUNCTION child_gone();";

/// What an application does over and over, in one call each: 25 changes in transactions of their own, so that most of the time is spent on
/// changes and not on the way to the server.
const APPLICATION: &str = "CREATE PROCEDURE work(seed int) LANGUAGE plpgsql AS $$
    DECLARE who int; BEGIN
    FOR i IN 1..25 LOOP
        who := 1 + (seed * 7919 + i * 104729) % ROWS;
        BEGIN
            CASE (seed + i) % 8
                WHEN 0 THEN UPDATE people SET ended_on = NULL, n = n + 1 WHERE id = who;
                WHEN 1 THEN UPDATE people SET ended_on = '2026-06-01', n = n + 1 WHERE id = who;
                WHEN 2 THEN INSERT INTO kids SELECT id FROM people WHERE id = who;
                WHEN 3 THEN DELETE FROM kids WHERE p = who; DELETE FROM people WHERE id = who;
                WHEN 4 THEN UPDATE people SET ended_on = '2020-01-01', n = n + 1 WHERE id = who;
                ELSE INSERT INTO people VALUES (who, '2020-01-01') ON CONFLICT DO NOTHING;
            END CASE;
        EXCEPTION WHEN foreign_key_violation OR serialization_failure OR deadlock_detected OR lock_not_available THEN NULL;
        END;
        COMMIT;
    END LOOP; END $$;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_goes_that_was_not_due_at_its_own_commit() {
    let work = APPLICATION.replace("ROWS", &ROWS.to_string());
    let Some(db) =
        Db::new(&format!("{SCHEMA} {work} INSERT INTO people SELECT i, '2020-01-01' FROM generate_series(1, {ROWS}) AS i")).await
    else {
        return;
    };
    let (stop, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut applications = Vec::new();
    for application in 1..=3_u64 {
        let mut session = db.session().await;
        let (stop, changes) = (Arc::clone(&stop), Arc::clone(&changes));
        applications.push(tokio::spawn(async move {
            session
                .run(&format!("SET application_name = 'app'; SET synchronous_commit = off; SET lock_timeout = '{application}s'"))
                .await
                .unwrap();
            let mut seed = application * 31;
            while !stop.load(Ordering::Relaxed) {
                seed = (seed * 131 + 7) % 9973;
                session.run(&format!("CALL work({seed})")).await.unwrap();
                changes.fetch_add(25, Ordering::Relaxed);
            }
            session.close().await;
        }));
    }
    let store = db.store(
        "  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: kids, key: p } ], triggers: accept }\n",
    );
    let (mut gone, mut parts, mut kept) = (0, 0, 0);
    let began = std::time::Instant::now();
    while changes.load(Ordering::Relaxed) + gone < 25_000 && began.elapsed() < Duration::from_mins(1) {
        let (records, scanned) = scan(&store, due("2021-01-01")).await;
        assert_eq!(scanned.incomplete, None);
        for batch in records.chunks(200) {
            for fate in destroy(&store, batch).await {
                match fate {
                    Fate::Done(evidence) => (gone, parts) = (gone + 1, parts + evidence.parts),
                    Fate::Kept(_) | Fate::Absent => kept += 1,
                    Fate::Failed { .. } => {
                        certain(&fate);
                    }
                }
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    for application in applications {
        application.await.unwrap();
    }
    let changes = changes.load(Ordering::Relaxed);
    assert!(changes + gone >= 20_000 && gone > 1_000 && kept > 10, "all were at work: {changes} changes, {gone} gone, {kept} kept");
    // Triggers saw each row as it was in the very transaction that removed it.
    let ours = "SELECT count(*) FROM history WHERE by = 'retentiond' AND what =";
    assert_eq!(db.number(&format!("{ours} 'people' AND ended_on IS DISTINCT FROM '2020-01-01'")).await, 0, "gone without being due");
    assert_eq!(db.number(&format!("{ours} 'people'")).await, i64::try_from(gone).unwrap(), "what is reported is what went");
    assert_eq!(db.number(&format!("{ours} 'kids'")).await, i64::try_from(parts).unwrap(), "and so are the parts");
    assert!(parts > 0);
    assert_eq!(db.number("SELECT count(*) FROM kids WHERE p NOT IN (SELECT id FROM people)").await, 0);
}
