//! What holds on the servers of every engine alike.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::servers::{self, Database, Engine, Options, Server};
use super::super::tests::{all, configured, destroy, done, remove};
use super::super::{MYSQL, POSTGRES};
use crate::record::Key;
use crate::store::{Act, Fate, Found, Kept, Store};

const PEOPLE: &str = "  people: { table: people, key: id, events: { end: ended_on } }\n";
const THREE: &str = "CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE);
    INSERT INTO people VALUES (1, '2020-01-01'), (2, '2020-01-01'), (3, '2020-01-01')";

pub(super) fn store(engine: Engine, url: &str) -> Arc<dyn Store> {
    let kind = if engine == Engine::Postgres { &POSTGRES } else { &MYSQL };
    configured(kind, url, Path::new("/"), PEOPLE).unwrap_or_else(|problems| panic!("{}", problems.join("\n")))
}

pub(super) async fn three(server: &Server) -> (Database, Arc<dyn Store>) {
    let database = server.database().await;
    database.run(THREE).await;
    let store = store(server.engine(), &database.url());
    (database, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_order_after_a_servers_restart_is_carried_out() {
    for engine in Engine::ALL {
        let Some(mut server) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { continue };
        let (database, store) = three(&server).await;
        let records = all(&store).await;
        assert!(done(&destroy(&store, &records[..1]).await[0]).verified);
        tokio::task::block_in_place(|| {
            server.kill();
            server.start_again();
        });
        assert!(destroy(&store, &records[1..]).await.iter().all(|fate| done(fate).verified), "{}", engine.name());
        assert_eq!(database.number("SELECT count(*) FROM people").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_told_from_one_on_another_server_and_from_another_on_its_own_and_stays_the_same_across_restarts() {
    for engine in Engine::ALL {
        let Some(mut server) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { continue };
        let Some(other) = servers::shared(engine) else { continue };
        let (_, one) = three(&server).await;
        let (_, beside) = three(&server).await;
        let (_, elsewhere) = three(other).await;
        let mark = one.mark().await;
        assert!(!mark.is_empty(), "{}", engine.name());
        assert_ne!(mark, beside.mark().await);
        assert_ne!(mark, elsewhere.mark().await);
        tokio::task::block_in_place(|| server.kill());
        assert_eq!(one.mark().await, "", "of a server that cannot be asked nothing is known");
        tokio::task::block_in_place(|| server.start_again());
        assert_eq!(one.mark().await, mark);
        // A role that may do no more than it must can tell it as well.
        let (database, _) = three(&server).await;
        let role = database.role("plain", None, &["SELECT ON people"]).await;
        assert_eq!(store(engine, &role.url).mark().await, store(engine, &database.url()).mark().await);
    }
}

#[tokio::test]
async fn two_names_of_one_server_do_not_wait_for_each_others_sessions() {
    for engine in Engine::OF_MYSQL {
        let Some(server) = servers::shared(engine) else { continue };
        let (database, store) = three(server).await;
        // A second name of the socket, which no look at the path shows to be the same.
        let folder = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
        let name = folder.path().join("other.sock");
        std::fs::hard_link(server.folder().join("mysqld.sock"), &name).unwrap();
        let url = format!("mysql://tester@localhost/{}?socket={}", database.name(), name.display());
        let second = self::store(engine, &url);
        assert_ne!(store.identity(), second.identity());
        let records = all(&store).await;
        assert!(done(&destroy(&store, &records[..1]).await[0]).verified);
        let began = std::time::Instant::now();
        second.at_rest().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
        // And one that is none of ours is waited for.
        let stranger = database.admin().await;
        assert!(second.at_rest().await.is_err());
        stranger.close().await;
    }
}

#[tokio::test]
async fn a_row_whose_key_was_respelled_is_in_doubt_and_not_absent() {
    for (engine, column) in [
        (Engine::Postgres, "text COLLATE loose"),
        (Engine::Postgres, "citext"),
        (Engine::MariaDb, "VARCHAR(20) COLLATE utf8mb4_general_ci"),
        (Engine::MySql, "VARCHAR(20) COLLATE utf8mb4_0900_ai_ci"),
    ] {
        let Some(server) = servers::shared(engine) else { continue };
        let database = server.database().await;
        if engine == Engine::Postgres {
            database
                .run("CREATE EXTENSION citext; CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
                .await;
        }
        database.run(&format!("CREATE TABLE people (id {column} PRIMARY KEY, ended_on DATE)")).await;
        let people = ["anna", "bert", "carla", "dora"];
        let rows = people.map(|name| format!("('{name}', '2020-01-01')")).join(", ");
        database.run(&format!("INSERT INTO people VALUES {rows}")).await;
        let store = store(engine, &database.url());
        let records = all(&store).await;
        assert_eq!(records.len(), 4, "{column}");
        database.run("UPDATE people SET id = 'BERT' WHERE id = 'bert'").await;
        database.run("DELETE FROM people WHERE id = 'carla'").await;
        let names: Vec<Key> = people.map(|name| Key::new(name.as_bytes())).to_vec();
        let found = store.fetch("people", &names).await.unwrap();
        assert!(matches!(&found[..], [Found::Present(_), Found::Outside(_), Found::Absent, Found::Present(_)]), "{column}: {found:?}");
        let fates = destroy(&store, &records).await;
        let respelled = |fate: &Fate| matches!(fate, Fate::Kept(Kept::Changed(why)) if why.contains("written in another way"));
        assert!(
            done(&fates[0]).verified && respelled(&fates[1]) && fates[2] == Fate::Absent && done(&fates[3]).verified,
            "{column}: {fates:?}"
        );
        assert_eq!(database.texts("SELECT id FROM people").await, ["BERT"]);
    }
}

#[tokio::test]
async fn a_row_that_was_anonymised_is_found_so() {
    for engine in Engine::ALL {
        let Some(server) = servers::shared(engine) else { continue };
        let database = server.database().await;
        database.run("CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE, name VARCHAR(20), city VARCHAR(20))").await;
        database.run("INSERT INTO people VALUES (1, '2020-01-01', 'a', 'b'), (2, '2020-01-01', 'a', 'b')").await;
        let sets = "  people: { table: people, key: id, events: { end: ended_on }, anonymise: { name: null, city: '-' } }\n";
        let kind = if engine == Engine::Postgres { &POSTGRES } else { &MYSQL };
        let store = configured(kind, &database.url(), Path::new("/"), sets).unwrap();
        let records = all(&store).await;
        assert!(done(&remove(&store, Act::Anonymise, None, &records[..1]).await[0]).verified);
        database.run("UPDATE people SET name = NULL WHERE id = 2").await;
        let names: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
        let found = store.fetch("people", &names).await.unwrap();
        assert!(matches!(&found[..], [Found::Anonymised(_), Found::Present(_)]), "one column is not enough: {found:?}");
    }
}

#[tokio::test]
async fn keys_of_every_common_type_are_looked_up_by_their_index() {
    let Some(server) = servers::postgres() else { return };
    for (kind, value) in [
        ("uuid", "CAST(md5(CAST(i AS text)) AS uuid)"),
        ("date", "DATE '0200-01-01' + i"),
        ("timestamp", "TIMESTAMP '1000-01-01' + i * interval '1.000001 hours'"),
        ("timestamptz(3)", "TIMESTAMPTZ '1000-01-01 00:00:00+00' + i * interval '1.001 hours'"),
        ("numeric", "i * 1.0625"),
        ("citext", "'Name ' || i"),
    ] {
        let database = server.database().await;
        database.run("CREATE EXTENSION citext").await;
        database
            .run(&format!(
                "CREATE TABLE people (id {kind} PRIMARY KEY, ended_on date); INSERT INTO people SELECT {value}, '2020-01-01' FROM generate_series(1, 20000) AS i; ANALYZE people"
            ))
            .await;
        let store = store(Engine::Postgres, &database.url());
        let records = all(&store).await;
        let read = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'people'";
        // Statistics come a little after a session ends.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = database.number(read).await;
        let asked: Vec<Key> =
            records.iter().step_by(997).map(|record| record.key.clone()).chain([Key::new(b"no such".as_slice())]).collect();
        let found = store.fetch("people", &asked).await.unwrap();
        assert!(found[..asked.len() - 1].iter().all(|one| matches!(one, Found::Present(_))), "{kind}: {found:?}");
        assert_eq!(found.last(), Some(&Found::Absent), "{kind}");
        // Without the key that the type cannot read, which is compared as text.
        let found = store.fetch("people", &asked[..asked.len() - 1]).await.unwrap();
        assert!(found.iter().all(|one| matches!(one, Found::Present(_))), "{kind}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = database.number(read).await;
        let strange = if matches!(kind, "uuid" | "citext") { 0 } else { 20_000 };
        assert!(after - before <= strange, "{kind}: {} rows were read in turn", after - before);
    }
}
