//! A table of faults: what goes wrong, what must be reported, and what the database holds afterwards.

use super::*;

const TWO: &str = "CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, name TEXT); INSERT INTO people VALUES (1, '2020-01-01', 'CANARYNAME'), (2, '2020-01-01', 'b'), (3, '2020-01-01', 'c');";

fn certain(fate: &Fate) -> &str {
    match fate {
        Fate::Failed { error, uncertain: false } => error,
        other => panic!("expected a failure that did not persist, found {other:?}"),
    }
}

#[tokio::test]
async fn one_bad_record_fails_alone_and_stays_whatever_stops_it() {
    for (what, fault) in [
        ("a child that restricts", "CREATE TABLE kids (p INTEGER REFERENCES people(id) ON DELETE RESTRICT); INSERT INTO kids VALUES (2)"),
        ("a child without action", "CREATE TABLE kids (p INTEGER REFERENCES people(id)); INSERT INTO kids VALUES (2)"),
        (
            "a deferred foreign key, at the commit",
            "CREATE TABLE kids (p INTEGER REFERENCES people(id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO kids VALUES (2)",
        ),
        ("RAISE(ABORT)", "CREATE TRIGGER t BEFORE DELETE ON people WHEN old.id = 2 BEGIN SELECT RAISE(ABORT, 'CANARYNAME'); END"),
        ("RAISE(FAIL)", "CREATE TRIGGER t AFTER DELETE ON people WHEN old.id = 2 BEGIN SELECT RAISE(FAIL, 'CANARYNAME'); END"),
        ("RAISE(ROLLBACK)", "CREATE TRIGGER t BEFORE DELETE ON people WHEN old.id = 2 BEGIN SELECT RAISE(ROLLBACK, 'CANARYNAME'); END"),
        ("RAISE(IGNORE)", "CREATE TRIGGER t BEFORE DELETE ON people WHEN old.id = 2 BEGIN SELECT RAISE(IGNORE); END"),
        ("a trigger that fails", "CREATE TRIGGER t BEFORE DELETE ON people WHEN old.id = 2 BEGIN INSERT INTO nowhere VALUES (1); END"),
    ] {
        let db = Db::new(TWO).await;
        let store = db.store(PEOPLE);
        let records = all(&store).await;
        db.run(fault).await;
        let fates = destroy(&store, &records).await;
        if what == "a trigger that fails" {
            // SQLite refuses the statement itself, so no record can go.
            assert!(fates.iter().all(|fate| !certain(fate).is_empty()));
            assert_eq!(db.number("SELECT count(*) FROM people").await, 3);
            continue;
        }
        assert!(done(&fates[0]).verified && done(&fates[2]).verified, "{what}: {fates:?}");
        assert!(!certain(&fates[1]).contains("CANARYNAME"), "{what}");
        assert_eq!(db.number("SELECT group_concat(id) = '2' FROM people").await, 1, "{what}");
        assert_eq!(db.number("SELECT integrity_check = 'ok' FROM pragma_integrity_check").await, 1);
    }
}

#[tokio::test]
async fn a_row_that_comes_back_at_once_is_not_called_verified() {
    let db = Db::new(TWO).await;
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    db.run("CREATE TRIGGER t AFTER DELETE ON people BEGIN INSERT INTO people VALUES (old.id, old.ended_on, old.name); END").await;
    assert!(!done(&destroy(&store, &records[..1]).await[0]).verified);
}

#[tokio::test]
async fn a_locked_database_is_waited_for_and_then_every_record_fails_with_clear_words() {
    for wal in [false, true] {
        let db = Db::new(TWO).await;
        if wal {
            db.run("PRAGMA journal_mode = WAL").await;
        }
        let store = db.store(PEOPLE);
        let records = all(&store).await;
        let mut other = db.connect().await;
        run(&mut other, "BEGIN IMMEDIATE; UPDATE people SET name = name").await;
        for fate in destroy(&store, &records).await {
            assert!(certain(&fate).contains("locked by another connection"));
        }
        run(&mut other, "ROLLBACK").await;
        assert_eq!(destroy(&store, &records).await.iter().filter(|fate| done(fate).verified).count(), 3);
    }
}

#[tokio::test]
async fn a_reader_that_holds_the_file_through_the_commit_makes_the_batch_fail_without_loss() {
    let db = Db::new(TWO).await;
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    let mut other = db.connect().await;
    run(&mut other, "BEGIN; SELECT count(*) FROM people").await;
    for fate in destroy(&store, &records).await {
        assert!(certain(&fate).contains("locked"));
    }
    run(&mut other, "ROLLBACK").await;
    assert_eq!(db.number("SELECT count(*) FROM people").await, 3);
}

#[tokio::test]
async fn a_replaced_file_is_seen_and_nothing_in_it_is_taken_for_the_old_rows() {
    let db = Db::new(TWO).await;
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    let other = Db::new(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, name TEXT); INSERT INTO people VALUES (1, '2020-01-01', 'other')",
    )
    .await;
    std::fs::rename(other.path(), db.path()).unwrap();
    let fates = destroy(&store, &records).await;
    assert!(matches!(fates[0], Fate::Kept(Kept::Changed(_))));
    assert_eq!(fates[1..], [Fate::Absent, Fate::Absent]);
    assert_eq!(db.number("SELECT count(*) FROM people").await, 1);
    // Replaced while it is at work: SQLite writes to no file that has lost its name.
    let order = Order { act: Act::Destroy, at_least: None };
    for when in [0, 2] {
        let db = Db::new(TWO).await;
        let store = db.store(PEOPLE);
        let records = all(&store).await;
        let other = Db::new(TWO).await;
        let guard = |at: usize, _: &Record| {
            if at == when {
                let _ = std::fs::rename(other.path(), db.path());
            }
            None
        };
        let fates = store.remove(&Permit::for_test(), "people", &order, &records, &guard).await;
        for fate in &fates {
            assert!(matches!(fate, Fate::Failed { error, uncertain: false } if error.contains("moved or replaced")), "{when}: {fate:?}");
        }
        assert_eq!(db.number("SELECT count(*) FROM people").await, 3);
    }
}

#[tokio::test]
async fn missing_foreign_damaged_and_unwritable_files_are_errors_in_words() {
    let db = Db::new(TWO).await;
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    std::fs::create_dir(db.folder.path().join("t.db-journal")).unwrap();
    for fate in destroy(&store, &records).await {
        certain(&fate);
    }
    std::fs::remove_dir(db.folder.path().join("t.db-journal")).unwrap();
    assert_eq!(db.number("SELECT count(*) FROM people").await, 3);

    let whole = std::fs::read(db.path()).unwrap();
    let mut damaged = whole.clone();
    damaged[4096..].fill(0xa5);
    for (content, says) in [
        (damaged, "damaged"),
        (b"this is no database, whatever its name may be, but it is long enough".repeat(20), "expected an SQLite database"),
        (vec![], "no table"),
    ] {
        std::fs::write(db.path(), content).unwrap();
        let said = match store.check().await.unwrap().as_slice() {
            [] => String::new(),
            findings => findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("\n"),
        };
        let (sender, _receiver) = mpsc::channel(9);
        let scanned = store.scan("people", Query { bound: None, whole: false, now: now(), seen: Arc::default() }, sender).await;
        let scanned = scanned.map_or_else(|error| error.to_string(), |scanned| scanned.incomplete.unwrap());
        assert!(said.contains(says) || scanned.contains(says), "{says}: {said} / {scanned}");
        for fate in destroy(&store, &records).await {
            certain(&fate);
        }
    }
    std::fs::remove_file(db.path()).unwrap();
    assert!(store.check().await.unwrap()[0].message.contains("No such file"));
    for fate in destroy(&store, &records).await {
        assert!(certain(&fate).contains("No such file"));
    }
    assert!(!db.path().exists(), "a missing file is never created");
    std::fs::create_dir(db.path()).unwrap();
    assert!(store.check().await.unwrap()[0].message.contains("found something else"));
}

#[tokio::test]
async fn an_anonymisation_that_a_constraint_refuses_changes_nothing() {
    let db = Db::new("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, name TEXT UNIQUE CHECK (name <> 'no')); INSERT INTO people VALUES (1, '2020-01-01', 'a'), (2, '2020-01-01', 'b')").await;
    let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, anonymise: { name: same } }\n");
    let records = all(&store).await;
    let fates = remove(&store, Act::Anonymise, None, &records).await;
    assert!(done(&fates[0]).verified);
    assert!(certain(&fates[1]).contains("constraint"));
    assert_eq!(db.number("SELECT count(*) FROM people WHERE name = 'b'").await, 1);
    let store = db.store(
        "  people: { table: people, key: id, events: { end: ended_on }, anonymise: { name: no } }\n".replace("no }", "\"no\" }").as_str(),
    );
    let records = all(&store).await;
    assert!(remove(&store, Act::Anonymise, None, &records).await.iter().all(|fate| certain(fate).contains("constraint")));
}

#[tokio::test]
async fn a_full_disk_leaves_the_records_and_says_so() {
    // A small tmpfs stands for a full disk; where mounting is not allowed there is nothing to be seen here.
    let folder = tempfile::tempdir().unwrap();
    let arguments: [&std::ffi::OsStr; 5] = ["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), "size=300k".as_ref(), "tmpfs".as_ref()];
    let Some(mounted) = Mounted::new(&arguments, folder.path().to_owned()) else { return };
    let db = Db::new("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, name BLOB); INSERT INTO people VALUES (1, '2020-01-01', randomblob(60000)), (2, '2020-01-01', randomblob(60000))").await;
    let small = Db { folder };
    std::fs::copy(db.path(), small.path()).unwrap();
    let mut filler = vec![0; 300 << 10];
    while std::fs::write(small.folder.path().join("filler"), &filler).is_err() {
        filler.truncate(filler.len() - 4096);
    }
    let store = small.store(PEOPLE);
    let records = all(&store).await;
    let fates = destroy(&store, &records).await;
    let left = all(&store).await;
    drop(mounted);
    assert!(fates.iter().all(|fate| certain(fate).contains("full")), "{fates:?}");
    assert_eq!(left, records);
}
