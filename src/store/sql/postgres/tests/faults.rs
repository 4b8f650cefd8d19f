//! A server that dies, is full, cuts us off or takes too long: what is reported, and what the database holds afterwards.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::super::servers::{Engine, Options, Server};
use super::super::super::tests::{Mounted, ran};
use super::*;

const ROWS: &str = "CREATE TABLE people (id int PRIMARY KEY, ended_on date, name text); INSERT INTO people SELECT i, '2020-01-01', 'n' FROM generate_series(1, 3000) AS i;";

const ACCEPT: &str = "  people: { table: people, key: id, events: { end: ended_on }, triggers: accept }\n";

/// A trigger at the commit that takes its time.
const SLOW_COMMIT: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER t AFTER DELETE ON people DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (old.id = 2) EXECUTE FUNCTION slow();";

/// Cuts off every session of ours as soon as one of them is doing this.
async fn cut_off(db: &Db, doing: &str) {
    let query = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'retentiond' AND datname = current_database() AND state <> 'idle' AND query LIKE '{doing}%'"
    );
    let mut session = db.session().await;
    let began = Instant::now();
    while session.texts(&query).await.unwrap() == ["0"] {
        assert!(began.elapsed() < Duration::from_secs(20), "never seen: {doing}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walker_that_fails_stops_the_others_and_the_scan_is_incomplete_for_its_reason() {
    let Some(db) = Db::new("CREATE TABLE people (id int PRIMARY KEY, ended_on date); INSERT INTO people SELECT i, '2020-01-01' FROM generate_series(1, 145000) AS i;").await
    else {
        return;
    };
    // The first row of the sixth stretch of fifteen.
    let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, where: \"1 / (id - 50001) < 2\" }\n");
    let (out, mut records) = tokio::sync::mpsc::channel(1);
    let query = crate::store::Query { bound: None, whole: false, now: jiff::Timestamp::now(), seen: Arc::default() };
    let scanning = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.scan("people", query, out).await.unwrap() }
    });
    let mut seen = 0;
    while let Some(some) = records.recv().await {
        seen += some.len();
    }
    let incomplete = scanning.await.unwrap().incomplete.unwrap();
    assert!(incomplete.contains("22012"), "{incomplete}");
    assert!(seen <= 50_000, "{seen}");
    store.leave().await;
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'retentiond' AND datname = current_database()";
    let began = Instant::now();
    while db.number(ours).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "a connection was left behind");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_in_the_middle_is_certain_and_one_cut_at_the_commit_is_not() {
    let Some(db) = Db::new(THREE).await else { return };
    db.run(SLOW_COMMIT).await;
    let store = db.store(ACCEPT);
    let records = all(&store).await;
    let (fates, ()) = tokio::join!(destroy(&store, &records), cut_off(&db, "COMMIT"));
    for fate in &fates {
        assert!(matches!(fate, Fate::Failed { uncertain: true, error } if error.contains("connection")), "{fate:?}");
    }
    // Recovery looks, and the next order over a new connection does it.
    let names: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
    assert!(store.fetch("people", &names).await.unwrap().iter().all(|found| matches!(found, Found::Present(_))));
    assert!(destroy(&store, &records[..1]).await.iter().all(|fate| done(fate).verified));
    let mut other = db.session().await;
    other.run("BEGIN; LOCK TABLE people IN EXCLUSIVE MODE").await.unwrap();
    let (fates, ()) = tokio::join!(destroy(&store, &records[1..]), cut_off(&db, "BEGIN"));
    // Nothing had happened, so it was tried once more over a new connection, and met the lock there.
    for fate in &fates {
        assert!(certain(fate).contains("another session holds a lock"), "{fate:?}");
    }
    other.run("ROLLBACK").await.unwrap();
    other.close().await;
    assert!(destroy(&store, &records[1..]).await.iter().all(|fate| done(fate).verified));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_a_failure_in_which_nothing_went() {
    // The first removal shortens what the session allows, so that nobody has to wait for five minutes.
    let script = format!(
        "{THREE} CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF old.id = 1 THEN PERFORM set_config(''statement_timeout'', ''100ms'', false); ELSIF old.id = 2 THEN PERFORM pg_sleep(2); END IF; RETURN old; END';
         CREATE TRIGGER t BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION slow();"
    );
    let Some(db) = Db::new(&script).await else { return };
    let store = db.store(ACCEPT);
    let records = all(&store).await;
    assert!(done(&destroy(&store, &records[..1]).await[0]).verified);
    let began = Instant::now();
    let fates = destroy(&store, &records[1..]).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(certain(&fates[0]).contains("longer than the server allows"), "{fates:?}");
    assert!(done(&fates[1]).verified, "{fates:?}");
    assert_eq!(db.texts("SELECT id FROM people").await, ["2"]);
}

#[tokio::test]
async fn a_server_that_was_made_read_only_says_so_and_nothing_goes() {
    let Some(primary) = Server::private(
        Engine::Postgres,
        Options {
            settings: vec!["wal_level = replica".into(), "max_wal_senders = 3".into(), "hot_standby = on".into()],
            unsynced: true,
            ..Options::default()
        },
    ) else {
        return;
    };
    let db = Db(primary.database().await);
    db.run(THREE).await;
    let store = db.store(PEOPLE);
    let records = all(&store).await;

    // A replica, made from the primary while it runs.
    let Some(mut replica) = Server::private(Engine::Postgres, Options { unsynced: true, ..Options::default() }) else { return };
    replica.follow(&primary);
    let url = replica.url(db.0.name());
    let on_replica = store_at(&url, PEOPLE);
    let said = blocked(&on_replica).await;
    assert!(said.iter().any(|one| one.contains("the server is a replica, which is read-only; name the primary")), "{said:?}");
    assert_eq!(all(&on_replica).await, records, "it can be read");
    for fate in destroy(&on_replica, &records).await {
        assert!(certain(&fate).contains("read-only"), "{fate:?}");
    }
    assert_eq!(db.number("SELECT count(*) FROM people").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_any_moment_loses_no_record_whose_end_was_not_told() {
    let Some(mut server) = Server::private(Engine::Postgres, Options { unsynced: true, ..Options::default() }) else { return };
    let db = Db(server.database().await);
    db.run(ROWS).await;
    let (mut uncertain, mut told, mut failed) = (0, 0, 0);
    for round in 0..8_u64 {
        let store = db.store(PEOPLE);
        let records: Vec<Record> = all(&store).await.into_iter().take(360).collect();
        assert!(records.len() > 100, "{round}");
        let running = {
            let (store, records) = (Arc::clone(&store), records.clone());
            tokio::spawn(async move {
                let mut fates = Vec::new();
                for batch in records.chunks(8) {
                    fates.extend(destroy(&store, batch).await);
                }
                fates
            })
        };
        tokio::time::sleep(Duration::from_millis(3 + round * 19)).await;
        tokio::task::block_in_place(|| server.kill());
        let fates = running.await.unwrap();
        tokio::task::block_in_place(|| server.start_again());
        let store = db.store(PEOPLE);
        let names: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
        for ((record, fate), found) in records.iter().zip(&fates).zip(store.fetch("people", &names).await.unwrap()) {
            match fate {
                Fate::Done(_) => {
                    told += 1;
                    assert_eq!(found, Found::Absent, "{round}: it was said to be gone");
                }
                Fate::Failed { uncertain: true, .. } => uncertain += 1,
                other => {
                    failed += 1;
                    certain(other);
                    assert_eq!(found, Found::Present(Box::new(record.clone())), "{round}: it was said to be there");
                }
            }
        }
    }
    // The kills met the program at work. Whether one of them meets a commit is luck.
    println!("{told} told, {failed} failed, {uncertain} uncertain");
    assert!(told > 100 && failed > 100, "{told} told, {failed} failed, {uncertain} uncertain");
}

/// A small file system of its own.
struct Disk {
    mounted: Mounted,
    folder: tempfile::TempDir,
}

impl Disk {
    fn new(megabytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (image, place) = (folder.path().join("image"), folder.path().join("disk"));
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        std::fs::create_dir(&place).unwrap();
        if !ran("mkfs.ext4", &[OsStr::new("-q"), OsStr::new("-m"), OsStr::new("0"), image.as_os_str()]) {
            return None;
        }
        let mounted = Mounted::new(&[OsStr::new("-o"), OsStr::new("loop"), image.as_os_str()], place)?;
        Some(Self { mounted, folder })
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("disk")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_server_is_a_failure_in_clear_words_and_nothing_is_lost() {
    let Some(disk) = Disk::new(160) else {
        println!("skipped: mounting a file system needs root");
        return;
    };
    let options = Options {
        folder: Some(disk.place()),
        settings: vec![
            "wal_recycle = off".into(),
            "max_wal_size = 32MB".into(),
            "min_wal_size = 32MB".into(),
            "wal_level = minimal".into(),
            "max_wal_senders = 0".into(),
        ],
        unsynced: true,
    };
    let Some(server) = Server::private(Engine::Postgres, options) else { return };
    let db = Db(server.database().await);
    // What a row leaves behind when it goes takes room: here in a table that a trigger fills.
    db.run(&format!(
        "{ROWS} CREATE UNLOGGED TABLE old (t text); ALTER TABLE old ALTER t SET STORAGE EXTERNAL; CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO old SELECT repeat(md5(random()::text), 40000); RETURN old; END'; CREATE TRIGGER t BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION keep();"
    ))
    .await;
    let store = db.store(ACCEPT);
    let records: Vec<Record> = all(&store).await.into_iter().take(40).collect();
    let file = std::fs::File::create(disk.place().join("ballast")).unwrap();
    // All but a few megabytes.
    let chunk = vec![7; 1 << 20];
    let mut megabytes: u64 = 0;
    while megabytes < 200 && std::io::Write::write_all(&mut &file, &chunk).is_ok() {
        megabytes += 1;
    }
    file.set_len((megabytes - 6) << 20).unwrap();
    let fates = destroy(&store, &records).await;
    let full =
        fates.iter().filter(|fate| matches!(fate, Fate::Failed { uncertain: false, error } if error.contains("disk is full"))).count();
    let went = fates.iter().filter(|fate| matches!(fate, Fate::Done(_))).count();
    assert!(full > 5 && full + went == records.len(), "{fates:?}");
    // Given room again, everything that was said to be there is there, and goes.
    drop(file);
    std::fs::remove_file(disk.place().join("ballast")).unwrap();
    assert_eq!(db.number("SELECT count(*) FROM people").await, 3000 - i64::try_from(went).unwrap());
    let rest: Vec<Record> =
        records.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Failed { .. })).map(|(record, _)| record.clone()).collect();
    assert!(destroy(&store, &rest[..5]).await.iter().all(|fate| done(fate).verified));
    drop(server);
    drop(disk.mounted);
}
