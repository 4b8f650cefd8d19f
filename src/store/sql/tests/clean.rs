//! Canaries: what is left of removed rows in the files.

use super::*;

const CANARY: &str = "CANARY7f3a";

async fn with_canaries(mode: &str) -> (Db, SqliteConnection) {
    canaries_in(tempfile::tempdir().unwrap(), mode).await
}

async fn canaries_in(folder: tempfile::TempDir, mode: &str) -> (Db, SqliteConnection) {
    let db = Db::at(folder, &format!(
        "PRAGMA journal_mode = {mode}; CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, name TEXT, story TEXT); CREATE INDEX i ON people (name);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
         INSERT INTO people SELECT i, '2020-01-01', CASE WHEN i % 2 THEN '{CANARY}-' || i ELSE 'plain-' || i END,
            CASE WHEN i % 2 THEN '{CANARY}' || hex(randomblob(8000)) ELSE hex(randomblob(500)) END FROM n"
    ))
    .await;
    // An application that stays connected, idle, so that a -wal file lives on.
    let mut idle = db.connect().await;
    run(&mut idle, "SELECT count(*) FROM people").await;
    (db, idle)
}

/// Canaries in the file and those beside it.
fn canaries(db: &Db) -> Vec<(String, usize)> {
    let mut out = Vec::new();
    for suffix in ["", "-journal", "-wal"] {
        let bytes = std::fs::read(format!("{}{suffix}", db.path().display())).unwrap_or_default();
        let found = bytes.windows(CANARY.len()).filter(|window| *window == CANARY.as_bytes()).count();
        if found > 0 {
            out.push((suffix.to_owned(), found));
        }
    }
    out
}

async fn odd(store: &Arc<dyn Store>) -> Vec<Record> {
    all(store).await.into_iter().filter(|record| record.key.to_text().parse::<u64>().unwrap() % 2 == 1).collect()
}

#[tokio::test]
async fn deleted_rows_are_zeroed_in_the_database_file() {
    let (db, idle) = with_canaries("DELETE").await;
    assert!(!canaries(&db).is_empty());
    let store = db.store(PEOPLE);
    let fates = destroy(&store, &odd(&store).await).await;
    assert!(fates.iter().all(|fate| done(fate).verified && done(fate).grade == "row-deleted"));
    assert_eq!(canaries(&db), []);
    drop(idle);
}

#[tokio::test]
async fn in_wal_mode_frames_keep_the_rows_and_the_caveat_says_so() {
    let (db, idle) = with_canaries("WAL").await;
    let store = db.store(PEOPLE);
    let fates = destroy(&store, &odd(&store).await).await;
    assert!(fates.iter().all(|fate| done(fate).caveats.contains(&"wal-frames")));
    assert!(!canaries(&db).is_empty(), "if this is clean, the caveat is wrong");
    drop(idle);
}

#[tokio::test]
async fn the_recipes_leave_nothing_in_any_file_and_the_database_whole() {
    for mode in ["DELETE", "TRUNCATE", "PERSIST", "WAL"] {
        for (asked, act) in
            [("overwritten", Act::Destroy), ("rewritten", Act::Destroy), ("vacuumed", Act::Destroy), ("overwritten", Act::Anonymise)]
        {
            let (db, idle) = with_canaries(mode).await;
            if mode != "WAL" {
                // An idle connection holds no lock on the file.
                drop(idle);
            }
            let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, at-least: overwritten, anonymise: { name: null, story: gone } }\n");
            let records = odd(&store).await;
            let fates = remove(&store, act, Some(asked), &records).await;
            let wanted = if asked == "overwritten" { asked } else { "rewritten" };
            for fate in &fates {
                assert_eq!((done(fate).grade, done(fate).verified), (wanted, true), "{mode} {asked}: {fate:?}");
            }
            assert_eq!(canaries(&db), [], "{mode} {asked}");
            let rows = if act == Act::Destroy { 100 } else { 200 };
            assert_eq!(db.number("SELECT count(*) FROM people").await, rows);
            assert_eq!(db.number("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'retentiond%'").await, 0);
            assert_eq!(db.number("SELECT integrity_check = 'ok' FROM pragma_integrity_check").await, 1);
            assert_eq!(
                db.number("SELECT journal_mode = 'wal' FROM pragma_journal_mode").await,
                i64::from(mode == "WAL"),
                "the mode is as it was"
            );
        }
    }
}

#[tokio::test]
async fn a_grade_that_cannot_be_met_keeps_the_records_before_anything_is_deleted() {
    for mode in ["DELETE", "WAL"] {
        for asked in ["overwritten", "rewritten"] {
            let (db, idle) = with_canaries(mode).await;
            let store = db.store(PEOPLE);
            let records = odd(&store).await;
            let mut reader = db.connect().await;
            run(&mut reader, "BEGIN; SELECT count(*) FROM people").await;
            if mode == "WAL" {
                // A reader of an older state: the checkpoint cannot pass it.
                db.run("UPDATE people SET name = name WHERE id = 2").await;
            }
            for fate in remove(&store, Act::Destroy, Some(asked), &records[..3]).await {
                assert!(matches!(&fate, Fate::Kept(Kept::CannotMeetGrade(_))), "{mode} {asked}: {fate:?}");
            }
            run(&mut reader, "ROLLBACK").await;
            assert_eq!(db.number("SELECT count(*) FROM people").await, 200);
            assert_eq!(
                remove(&store, Act::Destroy, Some(asked), &records[..3]).await.iter().filter(|fate| done(fate).grade == asked).count(),
                3
            );
            drop(idle);
        }
    }
    let db = Db::new(
        "PRAGMA auto_vacuum = FULL; CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT); INSERT INTO people VALUES (1, NULL)",
    )
    .await;
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    assert!(matches!(&remove(&store, Act::Destroy, Some("overwritten"), &records).await[0], Fate::Kept(Kept::CannotMeetGrade(_))));
    assert!(matches!(&remove(&store, Act::Destroy, Some("melted"), &records).await[0], Fate::Kept(Kept::CannotMeetGrade(_))));
    db.run("ANALYZE").await;
    assert_eq!(done(&destroy(&store, &records).await[0]).grade, "row-deleted");
}

#[tokio::test]
async fn a_checkpoint_that_fails_only_afterwards_lowers_the_grade_that_is_reported() {
    let (db, idle) = with_canaries("WAL").await;
    let store = db.store(PEOPLE);
    let records = odd(&store).await;
    // A reader that comes while the removal is under way.
    let mut reader = std::process::Command::new("sqlite3")
        .arg(db.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("sqlite3 is installed where the tests run");
    let (mut input, mut output) =
        (std::io::BufWriter::new(reader.stdin.take().unwrap()), std::io::BufReader::new(reader.stdout.take().unwrap()));
    let channel = std::sync::Mutex::new((&mut input, &mut output, false));
    let order = Order { act: Act::Destroy, at_least: Some("overwritten".into()) };
    let guard = |_: usize, _: &Record| {
        use std::io::{BufRead, Write};
        let mut channel = channel.lock().unwrap();
        let (input, output, begun) = &mut *channel;
        if !*begun {
            writeln!(input, "BEGIN; SELECT count(*) FROM people;").and_then(|()| input.flush()).unwrap();
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            assert_eq!(line, "200\n");
            *begun = true;
        }
        None
    };
    let fates = store.remove(&Permit::for_test(), "people", &order, &records[..2], &guard).await;
    for fate in &fates {
        assert_eq!(done(fate).grade, "row-deleted");
        assert!(done(fate).caveats.contains(&"could-not-overwrite-wal") && done(fate).caveats.contains(&"wal-frames"));
    }
    drop(input);
    reader.wait().unwrap();
    drop(idle);
}

#[tokio::test]
async fn connections_for_removal_have_what_removal_relies_on() {
    let (db, idle) = with_canaries("DELETE").await;
    let mut session = sqlite::open_write(&db.path()).await.unwrap();
    for ask in ["PRAGMA secure_delete", "PRAGMA foreign_keys"] {
        assert_eq!(session.rows(&statement::Statement::new(ask)).await.unwrap(), [[value::Cell::Int(1)]]);
    }
    session.close().await;
    let mut session = sqlite::open_read(&db.path()).await.unwrap();
    assert!(session.run("DELETE FROM people").await.is_err(), "a connection for reading cannot write");
    drop(idle);
}

/// The claim of the grade, on the raw blocks of a disk image. Needs the right to mount; elsewhere the file tests above stand alone.
#[tokio::test]
async fn nothing_of_overwritten_rows_is_left_on_the_raw_disk() {
    for (mode, asked, clean) in
        [("DELETE", None, false), ("DELETE", Some("overwritten"), true), ("WAL", None, false), ("WAL", Some("overwritten"), true)]
    {
        let outside = tempfile::tempdir().unwrap();
        let (image, mount) = (outside.path().join("image"), outside.path().join("mount"));
        std::fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).unwrap();
        std::fs::create_dir(&mount).unwrap();
        if !ran("mkfs.ext4", &["-q".as_ref(), image.as_os_str()]) {
            return;
        }
        let Some(mounted) = Mounted::new(&["-o".as_ref(), "loop,nodiscard".as_ref(), image.as_os_str()], mount.clone()) else { return };
        let (db, idle) = canaries_in(tempfile::tempdir_in(&mount).unwrap(), mode).await;
        let store = db.store(PEOPLE);
        let records = odd(&store).await;
        let fates = remove(&store, Act::Destroy, asked, &records).await;
        let reached: Vec<_> = fates.iter().map(|fate| done(fate).grade).collect();
        idle.close().await.unwrap();
        let left = db.number("SELECT count(*) FROM people").await;
        // The folder itself is taken away by the unmounting: deleting it is no part of what is tested.
        let _ = db.folder.keep();
        drop(mounted);
        let raw = std::fs::read(&image).unwrap();
        let found = raw.windows(CANARY.len()).filter(|window| *window == CANARY.as_bytes()).count();
        assert_eq!(left, 100);
        assert!(reached.iter().all(|grade| *grade == asked.unwrap_or("row-deleted")), "{mode}: {reached:?}");
        assert_eq!(found == 0, clean, "{mode} {asked:?}: {found} canaries on the raw disk");
    }
}
