//! What connections are kept for, and for how long.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::pool::Pool;
use super::super::servers::{self, Database, Engine};
use super::super::session::{Place, Session};
use super::super::statement::Statement;
use super::super::tests::{all, destroy, done};
use super::super::value::Cell;
use super::engines::{store, three};
use super::parse;
use crate::record::Key;
use crate::store::{Fate, Found};

/// The sessions in the database but the one that asks.
async fn guests(engine: Engine, database: &Database) -> i64 {
    let asks = if engine == Engine::Postgres {
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'retentiond'"
    } else {
        "SELECT count(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()"
    };
    database.number(asks).await
}

/// Waits until there are none.
async fn until_nobody(engine: Engine, database: &Database) {
    let began = Instant::now();
    while guests(engine, database).await != 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "{}: still {}", engine.name(), guests(engine, database).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends every session in the database but the one that does it; answers how many that were.
async fn throw_out(engine: Engine, database: &Database) -> i64 {
    let ended = if engine == Engine::Postgres {
        let asks =
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.number(asks).await
    } else {
        let asks = "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()";
        let mut ended = 0;
        for guest in database.texts(asks).await {
            // One that was closed in this moment is no more.
            ended += i64::from(database.admin().await.run(&format!("KILL {guest}")).await.is_ok());
        }
        ended
    };
    until_nobody(engine, database).await;
    ended
}

fn pool(engine: Engine, database: &Database) -> Pool {
    let (key, place): (_, fn(_) -> Place) =
        if engine == Engine::Postgres { (super::Engine::Postgres, Place::Postgres) } else { (super::Engine::MySql, Place::MySql) };
    Pool::new(place(parse(key, &database.url(), Path::new("/")).unwrap()))
}

/// The number that the server gave the session.
async fn number(engine: Engine, session: &mut Session) -> Cell {
    let asks = if engine == Engine::Postgres { "SELECT CAST(pg_backend_pid() AS int8)" } else { "SELECT CAST(CONNECTION_ID() AS SIGNED)" };
    session.rows(&Statement::new(asks)).await.unwrap().remove(0).remove(0)
}

#[tokio::test]
async fn what_follows_uses_the_connection_of_what_came_before() {
    for engine in Engine::ALL {
        let Some(server) = servers::shared(engine) else { continue };
        let (database, _) = three(server).await;
        let pool = pool(engine, &database);
        let mut used = HashSet::new();
        // A machine under load may be slower than a connection is kept, but not each time.
        for _ in 0..20 {
            let mut session = pool.read().await.unwrap();
            used.insert(number(engine, &mut session).await.text().unwrap().into_owned());
            pool.keep(session).await;
        }
        assert!(used.len() < 20, "{}: {used:?}", engine.name());
    }
}

#[tokio::test]
async fn no_connection_is_left_idle() {
    for engine in Engine::ALL {
        let Some(server) = servers::shared(engine) else { continue };
        let (database, store) = three(server).await;
        store.check().await.unwrap();
        let records = all(&store).await;
        for record in &records[..2] {
            assert!(done(&destroy(&store, std::slice::from_ref(record)).await[0]).verified);
            assert!(matches!(store.fetch("people", std::slice::from_ref(&record.key)).await.unwrap()[..], [Found::Absent]));
            assert!(!store.mark().await.is_empty());
        }
        until_nobody(engine, &database).await;
        assert!(done(&destroy(&store, &records[2..]).await[0]).verified);
        until_nobody(engine, &database).await;
    }
}

#[tokio::test]
async fn who_leaves_takes_its_connections_along_at_once() {
    for engine in Engine::ALL {
        let Some(server) = servers::shared(engine) else { continue };
        let (database, _) = three(server).await;
        for how in ["told to leave", "dropped"] {
            // Long before they would be closed for being idle; a machine under load may be slower, but not each time.
            let mut times = Vec::new();
            while times.len() < 10 && times.iter().all(|time| *time > Duration::from_millis(500)) {
                let store = store(engine, &database.url());
                assert!(store.fetch("people", &[Key::new("1")]).await.is_ok());
                let began = Instant::now();
                if how == "dropped" {
                    drop(store);
                } else {
                    store.leave().await;
                }
                until_nobody(engine, &database).await;
                times.push(began.elapsed());
            }
            assert!(times.len() < 10, "{}, {how}: {times:?}", engine.name());
        }
    }
}

#[tokio::test]
async fn connections_that_somebody_ended_are_not_met_again() {
    for engine in Engine::ALL {
        let Some(server) = servers::shared(engine) else { continue };
        let (database, store) = three(server).await;
        let records = all(&store).await;
        let mut ended = throw_out(engine, &database).await;
        assert_eq!(all(&store).await.len(), 3, "{}", engine.name());
        ended += throw_out(engine, &database).await;
        assert!(done(&destroy(&store, &records[..1]).await[0]).verified);
        ended += throw_out(engine, &database).await;
        assert!(done(&destroy(&store, &records[1..2]).await[0]).verified);
        ended += throw_out(engine, &database).await;
        assert!(matches!(store.fetch("people", &[Key::new("3")]).await.unwrap()[..], [Found::Present(_)]));
        assert!(ended > 0, "{}: there was nothing to be met again", engine.name());
    }
}

#[tokio::test]
async fn what_was_opened_to_read_writes_only_once_it_is_told_to_and_what_writes_reads_no_more() {
    for engine in Engine::ALL {
        let Some(server) = servers::shared(engine) else { continue };
        let (database, _) = three(server).await;
        let (pool, delete) = (pool(engine, &database), Statement::new("DELETE FROM people WHERE id = 1"));
        assert!(pool.kept_to_write().await.is_none(), "nothing is kept yet");
        assert!(pool.read().await.unwrap().execute(&delete).await.is_err(), "{}", engine.name());
        // See above: under load it may be closed before it is asked for.
        let mut writes = None;
        for _ in 0..20 {
            let reads = pool.read().await.unwrap();
            pool.keep(reads).await;
            writes = pool.kept_to_write().await;
            if writes.is_some() {
                break;
            }
        }
        let mut writes = writes.unwrap();
        assert_eq!(writes.execute(&delete).await.unwrap(), 1);
        let written_by = number(engine, &mut writes).await;
        pool.keep(writes).await;
        let mut reads = pool.read().await.unwrap();
        assert_ne!(number(engine, &mut reads).await, written_by);
        assert!(reads.execute(&Statement::new("DELETE FROM people WHERE id = 2")).await.is_err());
        // That it failed does not mean that it is lost, but after a failure nobody knows.
        let failed = number(engine, &mut reads).await;
        pool.keep(reads).await;
        assert_ne!(number(engine, &mut pool.read().await.unwrap()).await, failed);
        assert_eq!(database.number("SELECT count(*) FROM people").await, 2);
    }
}

#[tokio::test]
async fn a_table_that_is_another_one_by_now_is_read_as_it_is() {
    for engine in Engine::ALL {
        let Some(server) = servers::shared(engine) else { continue };
        let (database, store) = three(server).await;
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
