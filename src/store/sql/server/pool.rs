//! What connections are kept for, and for how long.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::pool::Pool;
use super::super::servers::{self, Database, Engine};
use super::super::session::Place;
use super::super::statement::Statement;
use super::super::tests::{all, configured, destroy, done};
use super::super::{MYSQL, POSTGRES};
use super::parse;
use crate::record::Key;
use crate::store::{Fate, Found, Store};

const PEOPLE: &str = "  people: { table: people, key: id, events: { end: ended_on } }\n";
const THREE: &str = "CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE);
    INSERT INTO people VALUES (1, '2020-01-01'), (2, '2020-01-01'), (3, '2020-01-01')";

async fn three(engine: Engine) -> Option<Database> {
    let database = servers::shared(engine)?.database().await;
    database.run(THREE).await;
    Some(database)
}

fn store(engine: Engine, database: &Database) -> Arc<dyn Store> {
    let kind = if engine == Engine::Postgres { &POSTGRES } else { &MYSQL };
    configured(kind, &database.url(), Path::new("/"), PEOPLE).unwrap_or_else(|problems| panic!("{}", problems.join("\n")))
}

/// The sessions in the database but the one that asks.
async fn guests(engine: Engine, database: &Database) -> i64 {
    let asks = if engine == Engine::Postgres {
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'retentiond'"
    } else {
        "SELECT count(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()"
    };
    database.number(asks).await
}

/// Waits until there are so many.
async fn until_guests(engine: Engine, database: &Database, expected: i64) {
    let began = Instant::now();
    while guests(engine, database).await != expected {
        assert!(began.elapsed() < Duration::from_secs(20), "{}: still {}", engine.name(), guests(engine, database).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Ends every session in the database but the one that does it.
async fn throw_out(engine: Engine, database: &Database) {
    if engine == Engine::Postgres {
        let asks =
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(database.number(asks).await > 0);
    } else {
        let asks = "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()";
        let guests = database.texts(asks).await;
        assert!(!guests.is_empty());
        for guest in guests {
            database.run(&format!("KILL {guest}")).await;
        }
    }
    until_guests(engine, database, 0).await;
}

fn pool(engine: Engine, database: &Database) -> Pool {
    let (key, place): (_, fn(_) -> Place) =
        if engine == Engine::Postgres { (super::Engine::Postgres, Place::Postgres) } else { (super::Engine::MySql, Place::MySql) };
    Pool::new(place(parse(key, &database.url(), Path::new("/")).unwrap()))
}

#[tokio::test]
async fn what_follows_uses_the_connections_of_what_came_before_and_none_is_left_idle() {
    for engine in Engine::ALL {
        let Some(database) = three(engine).await else { continue };
        let store = store(engine, &database);
        store.check().await.unwrap();
        let records = all(&store).await;
        for record in &records[..2] {
            assert!(done(&destroy(&store, std::slice::from_ref(record)).await[0]).verified);
            assert!(matches!(store.fetch("people", std::slice::from_ref(&record.key)).await.unwrap()[..], [Found::Absent]));
            assert!(!store.mark().await.is_empty());
        }
        // A scan takes two.
        assert_eq!(guests(engine, &database).await, 2, "{}", engine.name());
        until_guests(engine, &database, 0).await;
        assert!(done(&destroy(&store, &records[2..]).await[0]).verified);
        assert_eq!(guests(engine, &database).await, 1);
        store.leave().await;
        until_guests(engine, &database, 0).await;
        assert!(all(&store).await.is_empty());
        // Whoever forgets to leave does not stay.
        drop(store);
        until_guests(engine, &database, 0).await;
    }
}

#[tokio::test]
async fn connections_that_somebody_ended_are_not_met_again() {
    for engine in Engine::ALL {
        let Some(database) = three(engine).await else { continue };
        let store = store(engine, &database);
        let records = all(&store).await;
        throw_out(engine, &database).await;
        assert_eq!(all(&store).await.len(), 3, "{}", engine.name());
        throw_out(engine, &database).await;
        assert!(done(&destroy(&store, &records[..1]).await[0]).verified);
        throw_out(engine, &database).await;
        assert!(done(&destroy(&store, &records[1..2]).await[0]).verified);
        throw_out(engine, &database).await;
        assert!(matches!(store.fetch("people", &[Key::new("3")]).await.unwrap()[..], [Found::Present(_)]));
    }
}

#[tokio::test]
async fn what_was_opened_to_read_writes_only_once_it_is_told_to_and_what_writes_reads_no_more() {
    for engine in Engine::ALL {
        let Some(database) = three(engine).await else { continue };
        let (pool, delete) = (pool(engine, &database), Statement::new("DELETE FROM people WHERE id = 1"));
        assert!(pool.kept_to_write().await.is_none(), "nothing is kept yet");
        let mut reads = pool.read().await.unwrap();
        assert!(reads.execute(&delete).await.is_err(), "{}", engine.name());
        pool.keep(reads).await;
        let mut writes = pool.kept_to_write().await.unwrap();
        assert_eq!(writes.execute(&delete).await.unwrap(), 1);
        pool.keep(writes).await;
        let mut reads = pool.read().await.unwrap();
        assert!(reads.execute(&Statement::new("DELETE FROM people WHERE id = 2")).await.is_err());
        assert_eq!(guests(engine, &database).await, 2);
        // That one failed does not mean that it is lost, but after a failure nobody knows.
        let failed = reads.execute(&Statement::new("DELETE FROM nobody")).await;
        assert!(pool.keep_after(reads, failed).await.is_err());
        assert_eq!(guests(engine, &database).await, 1);
        assert_eq!(database.number("SELECT count(*) FROM people").await, 2);
    }
}

#[tokio::test]
async fn a_table_that_is_another_one_by_now_is_read_as_it_is() {
    for engine in Engine::ALL {
        let Some(database) = three(engine).await else { continue };
        let store = store(engine, &database);
        assert_eq!(all(&store).await[0].size, 4 + if engine == Engine::Postgres { 4 } else { 14 });
        database.run("DROP TABLE people; CREATE TABLE people (ended_on VARCHAR(20), id BIGINT PRIMARY KEY)").await;
        database.run("INSERT INTO people VALUES ('2020-01-01', 7), ('2020-01-01', 8)").await;
        let records = all(&store).await;
        assert_eq!(
            records.iter().map(|record| record.key.clone()).collect::<Vec<_>>(),
            [Key::new("7"), Key::new("8")],
            "{}",
            engine.name()
        );
        assert!(done(&destroy(&store, &records[..1]).await[0]).verified);
        // A connection that removed from it as it was believes what it knows for some seconds: then the record may stay until later, and nothing else.
        database.run("ALTER TABLE people ADD COLUMN note VARCHAR(20)").await;
        let records = all(&store).await;
        if !matches!(destroy(&store, &records).await[0], Fate::Done(_)) {
            store.leave().await;
            assert!(done(&destroy(&store, &records).await[0]).verified);
        }
    }
}
