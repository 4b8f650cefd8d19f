//! Rows are deleted where the scan saw them. Whatever lies there by now, only the planned versions of the planned records may go, and they go wherever they
//! lie.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::dispose::Permit;
use crate::store::Order;

/// All written by one transaction, so that nothing but place and key tells them apart: those with an even number are planned.
const MANY: &str = "CREATE TABLE people (id int PRIMARY KEY, ended_on date, name text, status text NOT NULL DEFAULT 'x');
    INSERT INTO people SELECT i, CASE WHEN i % 2 = 0 THEN date '2020-01-01' ELSE date '2024-01-01' END, 'n' FROM generate_series(1, 400) AS i;";

const WITH_CONDITION: &str = "  people: { table: people, key: id, where: \"status = 'x'\", events: { end: ended_on } }\n";

async fn estate() -> Option<(Db, Arc<dyn Store>, Vec<Record>)> {
    let db = Db::new(MANY).await?;
    let store = db.store(WITH_CONDITION);
    let planned = all(&store).await.into_iter().filter(|record| number(record) % 2 == 0).collect();
    Some((db, store, planned))
}

fn number(record: &Record) -> i64 {
    record.key.to_text().parse().unwrap()
}

/// Destroys; how many of the records were judged as they were planned, which is done only of those that were deleted where they were seen.
async fn destroyed(store: &Arc<dyn Store>, records: &[Record]) -> (Vec<Fate>, usize) {
    let as_planned = AtomicUsize::new(0);
    let guard = |at: usize, fresh: &Record| {
        as_planned.fetch_add(usize::from(std::ptr::eq(fresh, &raw const records[at])), Ordering::Relaxed);
        None
    };
    let fates = store.remove(&Permit::for_test(), "people", &Order { act: Act::Destroy, at_least: None }, records, &guard).await;
    (fates, as_planned.into_inner())
}

async fn left(db: &Db) -> BTreeSet<i64> {
    db.texts("SELECT id FROM people").await.iter().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn rows_are_deleted_where_they_were_seen_in_whatever_order_they_come() {
    let turns: [fn(&mut Vec<Record>); 3] = [|_| {}, |records| records.reverse(), |records| records.rotate_left(7)];
    for turn in turns {
        let Some((db, store, mut records)) = estate().await else { return };
        turn(&mut records);
        let (fates, as_planned) = destroyed(&store, &records).await;
        assert!(fates.iter().all(|fate| done(fate).verified));
        assert_eq!(as_planned, records.len());
        assert_eq!(left(&db).await, (1..=400).filter(|id| id % 2 == 1).collect());
    }
}

#[tokio::test]
async fn keys_of_several_columns_and_of_other_types_are_found_in_their_places() {
    for (columns, key) in [
        ("a text, b int, PRIMARY KEY (b, a)", "[a, b]"),
        ("a varchar(9), b numeric, PRIMARY KEY (a, b)", "[b, a]"),
        ("a postcode, b uuid DEFAULT gen_random_uuid(), PRIMARY KEY (a, b)", "[a, b]"),
        ("a char(4), b date, PRIMARY KEY (a, b)", "[a, b]"),
        ("a bytea, b timestamptz, PRIMARY KEY (b)", "b"),
    ] {
        let values = match columns {
            columns if columns.contains("uuid") => "chr(64 + i), gen_random_uuid()",
            columns if columns.contains("date") => "chr(64 + i), date '2020-01-01' + i",
            columns if columns.contains("timestamptz") => "'\\x00', timestamptz '2020-01-01' + i * interval '1 microsecond'",
            _ => "chr(64 + i), i",
        };
        let script = format!(
            "CREATE DOMAIN postcode AS text CHECK (length(value) < 9); CREATE TABLE people ({columns}, ended_on date);
             INSERT INTO people SELECT {values}, '2020-01-01' FROM generate_series(1, 20) AS i;"
        );
        let Some(db) = Db::new(&script).await else { return };
        let store = db.store(&format!("  people: {{ table: people, key: {key}, events: {{ end: ended_on }} }}\n"));
        let records = all(&store).await;
        let (fates, as_planned) = destroyed(&store, &records[5..]).await;
        assert!(fates.iter().all(|fate| done(fate).verified), "{columns}");
        assert_eq!(as_planned, 15, "{columns}");
        assert_eq!(keys(&all(&store).await), keys(&records[..5]), "{columns}");
    }
}

#[tokio::test]
async fn whole_numbers_of_every_width_find_their_rows_however_these_lie() {
    for (kind, first) in [
        ("smallint", i64::from(i16::MIN)),
        ("smallint", i64::from(i16::MAX) - 19),
        ("int", i64::from(i32::MIN)),
        ("bigint", i64::MIN),
        ("bigint", -10),
        ("bigint", i64::MAX - 19),
        ("whole", i64::MAX - 19),
    ] {
        // The highest keys lie first, every row is of a version of its own, and every other one is planned.
        let script = format!("CREATE DOMAIN whole AS bigint; CREATE TABLE people (id {kind} PRIMARY KEY, ended_on date);");
        let Some(db) = Db::new(&script).await else { return };
        for at in (0..20).rev() {
            db.run(&format!("INSERT INTO people VALUES ({}, '2020-01-01')", first + at)).await;
        }
        let store = db.store(PEOPLE);
        let (planned, others): (Vec<Record>, Vec<Record>) =
            all(&store).await.into_iter().partition(|record| (number(record) - first) % 2 == 0);
        let (fates, as_planned) = destroyed(&store, &planned).await;
        assert!(fates.iter().all(|fate| done(fate).verified), "{kind} from {first}");
        assert_eq!(as_planned, 10, "{kind} from {first}");
        assert_eq!(keys(&all(&store).await), keys(&others), "{kind} from {first}");
    }
}

#[tokio::test]
async fn names_that_somebody_else_gave_the_same_way_are_not_taken_for_ours() {
    for does in [
        // It takes exactly these types, so it would be taken rather than the server's own, which takes any.
        "CREATE FUNCTION width_bucket(bigint, bigint[]) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''foreign''; END'",
        "CREATE FUNCTION pg_column_size(text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''foreign''; END'",
        "ALTER TABLE people ADD COLUMN retentiond_keys bigint[], ADD COLUMN retentiond_versions xid[], ADD COLUMN retentiond_known int",
    ] {
        let Some(db) = Db::new(MANY).await else { return };
        db.run(does).await;
        let store = db.store(WITH_CONDITION);
        let planned: Vec<Record> = all(&store).await.into_iter().filter(|record| number(record) % 2 == 0).collect();
        let (fates, as_planned) = destroyed(&store, &planned).await;
        assert!(fates.iter().all(|fate| done(fate).verified), "{does}");
        assert_eq!(as_planned, planned.len(), "{does}");
        assert_eq!(left(&db).await, (1..=400).filter(|id| id % 2 == 1).collect(), "{does}");
    }
}

/// What waits for the key to be free is another record.
#[tokio::test]
async fn a_row_that_comes_under_the_key_of_one_that_goes_stays() {
    let Some((db, store, records)) = estate().await else { return };
    let mut other = db.session().await;
    let comes = async {
        // It waits as long as the row before it may come back.
        while other.run("INSERT INTO people VALUES (100, '2026-01-01', 'new')").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let ((fates, _), ()) = tokio::join!(destroyed(&store, &records), comes);
    assert!(fates.iter().all(|fate| matches!(fate, Fate::Done(_))));
    assert_eq!(db.texts("SELECT name FROM people WHERE id = 100").await, ["new"]);
    assert_eq!(left(&db).await, (1..=400).filter(|id| id % 2 == 1 || *id == 100).collect());
}

#[tokio::test]
async fn a_row_that_is_changed_while_its_place_is_waited_for_stays() {
    let Some((db, store, records)) = estate().await else { return };
    let mut other = db.session().await;
    other.run("BEGIN").await.unwrap();
    other.run("UPDATE people SET name = 'other' WHERE id IN (100, 101)").await.unwrap();
    let removal = destroyed(&store, &records);
    let change = async {
        // Until it waits, which it does not do for long.
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'retentiond'";
        for _ in 0..500 {
            if db.number(waits).await > 0 {
                break;
            }
        }
        other.run("COMMIT").await.unwrap();
    };
    let ((fates, _), ()) = tokio::join!(removal, change);
    let kept: Vec<i64> =
        records.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Kept(_))).map(|(record, _)| number(record)).collect();
    assert_eq!(kept, [100]);
    assert_eq!(left(&db).await, (1..=400).filter(|id| id % 2 == 1 || *id == 100).collect());
}

#[tokio::test]
async fn nothing_else_goes_that_lies_there_by_now() {
    for (does, gone) in [
        // Written anew, and each row lies where another one was.
        ("DELETE FROM people WHERE id = 1; VACUUM FULL people", 0),
        ("DELETE FROM people WHERE id <= 100; VACUUM FULL people", 50),
        ("CREATE INDEX turned ON people ((-id)); CLUSTER people USING turned", 0),
        // One row is gone, and another one came into its place.
        ("DELETE FROM people WHERE id = 100; VACUUM people; INSERT INTO people VALUES (401, '2020-01-01', 'new')", 1),
        ("DELETE FROM people WHERE id = 100; VACUUM people; INSERT INTO people VALUES (1001, '2020-01-01', 'new')", 1),
    ] {
        let Some((db, store, records)) = estate().await else { return };
        // Some of it does not run within a transaction.
        for statement in does.split("; ") {
            db.run(statement).await;
        }
        let before = left(&db).await;
        // What the server's own upkeep looks at meanwhile keeps dead rows in their places, and then the others stay in theirs.
        let now = all(&store).await;
        let is_there = |was: &Record| now.iter().any(|now| now.key == was.key && now.hint == was.hint);
        let all_there = records.iter().all(is_there);
        let (fates, as_planned) = destroyed(&store, &records).await;
        assert_eq!(as_planned, if all_there { records.len() } else { 0 }, "{does}");
        let planned: BTreeSet<i64> = records.iter().map(number).collect();
        assert_eq!(left(&db).await, &before - &planned, "{does}");
        assert_eq!(fates.iter().filter(|fate| matches!(fate, Fate::Absent)).count(), gone, "{does}");
        assert!(fates.iter().filter(|fate| !matches!(fate, Fate::Absent)).all(|fate| done(fate).verified), "{does}");
    }
}

#[tokio::test]
async fn a_record_that_is_no_longer_what_it_was_stays_wherever_it_lies() {
    for (does, stays) in [
        ("UPDATE people SET name = 'other' WHERE id = 100", true),
        ("UPDATE people SET ended_on = '2026-01-01' WHERE id = 100", true),
        ("UPDATE people SET status = 'y' WHERE id = 100", true),
        // The same values in another version, in the very same place.
        ("DELETE FROM people WHERE id = 100; VACUUM people; INSERT INTO people VALUES (100, '2020-01-01', 'n')", true),
        ("UPDATE people SET name = 'other' WHERE id = 101", false),
    ] {
        let Some((db, store, records)) = estate().await else { return };
        for statement in does.split("; ") {
            db.run(statement).await;
        }
        let (fates, _) = destroyed(&store, &records).await;
        let kept: Vec<i64> =
            records.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Kept(_))).map(|(record, _)| number(record)).collect();
        assert_eq!(kept, if stays { vec![100] } else { vec![] }, "{does}");
        let expected: BTreeSet<i64> = (1..=400).filter(|id| id % 2 == 1 || stays && *id == 100).collect();
        assert_eq!(left(&db).await, expected, "{does}");
    }
}

/// What is done to hints, with the place of any row at hand.
type Change = fn(&mut Vec<Record>, &dyn Fn(i64) -> u64);

/// A hint comes with a plan that lay on the disk: whatever stands there, it only helps to find the record.
#[tokio::test]
async fn a_hint_decides_nothing() {
    let Some((db, store, records)) = estate().await else { return };
    let everything = all(&store).await;
    let place_of = |id: i64| everything.iter().find(|record| number(record) == id).unwrap().hint;
    let changes: [Change; 5] = [
        // The place of a row that no plan has.
        |records, place_of| records[3].hint = place_of(1),
        |records, _| records.swap(0, 1),
        |records, _| {
            let (one, other) = (records[0].hint, records[1].hint);
            (records[0].hint, records[1].hint) = (other, one);
        },
        |records, _| records.iter_mut().for_each(|record| record.hint = 0),
        |records, _| records.iter_mut().for_each(|record| record.hint = u64::MAX),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut part: Vec<Record> = records[at * 20..(at + 1) * 20].to_vec();
        let before = left(&db).await;
        change(&mut part, &place_of);
        assert!(destroyed(&store, &part).await.0.iter().all(|fate| done(fate).verified), "{at}");
        let planned: BTreeSet<i64> = part.iter().map(number).collect();
        assert_eq!(left(&db).await, &before - &planned, "{at}");
    }
}

#[tokio::test]
async fn a_record_that_the_guard_holds_stays_and_the_others_go() {
    let Some((db, store, records)) = estate().await else { return };
    let guard = |_: usize, fresh: &Record| (number(fresh) == 200).then(|| Kept::NotDue("held".into()));
    let fates = store.remove(&Permit::for_test(), "people", &Order { act: Act::Destroy, at_least: None }, &records, &guard).await;
    assert_eq!(fates.iter().filter(|fate| matches!(fate, Fate::Kept(_))).count(), 1);
    assert_eq!(left(&db).await, (1..=400).filter(|id| id % 2 == 1 || *id == 200).collect());
}

/// Sizes are asked for column by column, and only where they are not known beforehand.
#[tokio::test]
async fn the_size_of_a_record_is_that_of_its_values() {
    let script = "CREATE TABLE people (id int PRIMARY KEY, ended_on date, a int NOT NULL, b text, c text NOT NULL, d uuid, e name);
        INSERT INTO people VALUES (1, '2020-01-01', 1, NULL, 'abc', NULL, NULL), (2, NULL, 1, repeat('x', 500), '', gen_random_uuid(), 'n');";
    let Some(db) = Db::new(script).await else { return };
    let query = "SELECT CAST(coalesce(pg_column_size(id), 0) + coalesce(pg_column_size(ended_on), 0) + coalesce(pg_column_size(a), 0) + coalesce(pg_column_size(b), 0)
        + coalesce(pg_column_size(c), 0) + coalesce(pg_column_size(d), 0) + coalesce(pg_column_size(e), 0) AS text) FROM people ORDER BY id";
    let sizes: Vec<u64> = db.texts(query).await.iter().map(|size| size.parse().unwrap()).collect();
    assert_eq!(all(&db.store(PEOPLE)).await.iter().map(|record| record.size).collect::<Vec<_>>(), sizes);
}

/// A key that the engine finds the same, and that a unique index of another mind tells apart, is another record.
#[tokio::test]
async fn a_key_that_is_written_otherwise_is_another_record_even_in_the_same_place() {
    let script = "CREATE EXTENSION citext; CREATE TABLE people (code citext NOT NULL, ended_on date); CREATE UNIQUE INDEX exact ON people (code text_ops);
        INSERT INTO people VALUES ('abc', '2020-01-01'), ('ABC', '2026-01-01');";
    let Some(db) = Db::new(script).await else { return };
    let store = db.store("  people: { table: people, key: code, events: { end: ended_on } }\n");
    let mut records = all(&store).await;
    records.sort_by_key(|record| record.key.to_text());
    let [other, planned] = records.as_slice() else { panic!("{records:?}") };
    let planned = Record { hint: other.hint, ..planned.clone() };
    destroyed(&store, &[planned]).await;
    assert_eq!(db.texts("SELECT CAST(code AS text) FROM people WHERE ended_on = '2026-01-01'").await, ["ABC"]);
}

/// A column that bears the name of the event's by now was never judged.
#[tokio::test]
async fn a_record_that_was_read_from_other_columns_stays() {
    for (does, reads_others) in [
        ("ALTER TABLE people RENAME ended_on TO began_on; ALTER TABLE people RENAME moved_on TO ended_on", true),
        ("ALTER TABLE people RENAME id TO number; ALTER TABLE people RENAME other TO id; ALTER TABLE people ADD UNIQUE (id)", true),
        ("ALTER TABLE people RENAME name TO called", false),
        ("ALTER TABLE people ADD COLUMN more text", false),
    ] {
        let script = "CREATE TABLE people (id int PRIMARY KEY, other int NOT NULL, ended_on date, moved_on date, name text);
            INSERT INTO people SELECT i, i, '2020-01-01', '2026-01-01', 'n' FROM generate_series(1, 50) AS i;";
        let Some(db) = Db::new(script).await else { return };
        let records = all(&db.store(PEOPLE)).await;
        db.run(does).await;
        let fates = destroy(&db.store(PEOPLE), &records).await;
        let kept = fates.iter().filter(|fate| matches!(fate, Fate::Kept(Kept::Changed(_)))).count();
        assert_eq!(
            (kept, db.number("SELECT count(*) FROM people").await),
            if reads_others { (50, 50) } else { (0, 0) },
            "{does}: {fates:?}"
        );
    }
}
