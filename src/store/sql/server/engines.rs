//! What holds on the servers of every engine alike.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::servers::{self, Database, Engine, Options, Server};
use super::super::tests::{all, configured, destroy, done};
use super::super::{MYSQL, POSTGRES};
use crate::store::Store;

const PEOPLE: &str = "  people: { table: people, key: id, events: { end: ended_on } }\n";
const THREE: &str = "CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE);
    INSERT INTO people VALUES (1, '2020-01-01'), (2, '2020-01-01'), (3, '2020-01-01')";

fn store(engine: Engine, url: &str) -> Arc<dyn Store> {
    let kind = if engine == Engine::Postgres { &POSTGRES } else { &MYSQL };
    configured(kind, url, Path::new("/"), PEOPLE).unwrap_or_else(|problems| panic!("{}", problems.join("\n")))
}

async fn three(server: &Server) -> (Database, Arc<dyn Store>) {
    let database = server.database().await;
    database.run(THREE).await;
    let store = store(server.engine(), &database.url());
    (database, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_order_after_a_servers_restart_is_carried_out() {
    for engine in Engine::BOTH {
        let Some(mut server) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { return };
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
    for engine in Engine::BOTH {
        let Some(mut server) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { return };
        let Some(other) = servers::shared(engine) else { return };
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
    let Some(server) = servers::mariadb() else { return };
    let (database, store) = three(server).await;
    // A second name of the socket, which no look at the path shows to be the same.
    let folder = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
    let name = folder.path().join("other.sock");
    std::fs::hard_link(server.folder().join("mysqld.sock"), &name).unwrap();
    let url = format!("mysql://tester@localhost/{}?socket={}", database.name(), name.display());
    let second = self::store(Engine::MariaDb, &url);
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
