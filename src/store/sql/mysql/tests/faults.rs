//! What others do meanwhile, and what is lost on the way.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::super::server;
use super::super::{load, open, settings_for};
use super::*;
use crate::yaml::{Document, Problems};

const THREE: &str = "CREATE TABLE things (id INT PRIMARY KEY, done DATE, name VARCHAR(40) UNIQUE);
    INSERT INTO things VALUES (1, '2020-01-01', 'CANARYNAME'), (2, '2020-01-01', 'b'), (3, '2020-01-01', 'c')";

fn certain(fate: &Fate) -> &str {
    match fate {
        Fate::Failed { error, uncertain: false } => error,
        other => panic!("expected a failure that did not persist, found {other:?}"),
    }
}

#[tokio::test]
async fn one_bad_record_fails_alone_and_no_value_of_it_is_told() {
    for server in servers() {
        for fault in [
            "CREATE TABLE kids (thing INT, FOREIGN KEY (thing) REFERENCES things (id)); INSERT INTO kids VALUES (1)",
            "CREATE TRIGGER t BEFORE DELETE ON things FOR EACH ROW \
         IF old.id = 1 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'CANARYNAME'; END IF",
            "CREATE TRIGGER t AFTER DELETE ON things FOR EACH ROW IF old.id = 1 THEN INSERT INTO things VALUES (1, NULL, old.name); END IF",
            "CREATE TABLE copies (name VARCHAR(3)); CREATE TRIGGER t AFTER DELETE ON things FOR EACH ROW INSERT INTO copies VALUES (old.name)",
        ] {
            let database = server.database().await;
            database.run(THREE).await;
            database.run(fault).await;
            let store = store(&database.url(), "{ table: things, key: id, triggers: accept }", "done");
            let records = all(&store).await;
            let fates = destroy(&store, &records).await;
            assert!(!certain(&fates[0]).contains("CANARY"), "{fault}: {fates:?}");
            if fault.contains("INSERT INTO things") {
                // The table itself is busy, whichever record it is.
                continue;
            }
            assert!(matches!((&fates[1], &fates[2]), (Fate::Done(_), Fate::Done(_))), "{fault}: {fates:?}");
            assert_eq!(database.texts("SELECT id FROM things").await, ["1"], "{fault}");
        }
        let database = server.database().await;
        database.run(THREE).await;
        let store = store(&database.url(), "{ table: things, key: id, anonymise: { name: CANARYNAME } }", "done");
        let records: Vec<Record> = all(&store).await;
        assert_eq!(keys(&records), ["2", "3"]);
        for fate in remove(&store, Act::Anonymise, &records).await {
            assert_eq!(certain(&fate), "a constraint of the database refused");
        }
    }
}

#[tokio::test]
async fn rows_that_another_session_holds_stay_and_the_others_go() {
    let script = format!("{THREE}; CREATE TABLE kids (thing INT, INDEX (thing)); INSERT INTO kids VALUES (2), (3)");
    for database in databases(&script).await {
        let store = store(&database.url(), "{ table: things, key: id, children: [ { table: kids, key: thing } ] }", "done");
        let records = all(&store).await;
        let mut other = database.admin().await;
        other.run("BEGIN; UPDATE things SET name = 'held' WHERE id = 2").await.unwrap();
        let began = Instant::now();
        let fates = destroy(&store, &records).await;
        assert_eq!((done(&fates[0]), done(&fates[2])), (0, 1));
        assert!(matches!(&fates[1], Fate::Kept(Kept::Changed(why)) if why.contains("another session")), "{fates:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "it was waited for");
        other.run("ROLLBACK; BEGIN; DELETE FROM things WHERE id = 2").await.unwrap();
        assert!(matches!(&destroy(&store, &records[1..2]).await[0], Fate::Kept(Kept::Changed(_))));
        // A child that is held is waited for, a while.
        other.run("ROLLBACK; BEGIN; SELECT * FROM kids WHERE thing = 2 FOR UPDATE").await.unwrap();
        assert_eq!(certain(&destroy(&store, &records[1..2]).await[0]), "another session holds a lock");
        other.run("ROLLBACK").await.unwrap();
        assert_eq!(done(&destroy(&store, &records[1..2]).await[0]), 1);
        other.close().await;
    }
}

#[tokio::test]
async fn a_deadlock_is_tried_again() {
    let script = format!(
        "{THREE}; CREATE TABLE kids (thing INT, INDEX (thing)); INSERT INTO kids VALUES (1); \
         CREATE TABLE weight (n INT PRIMARY KEY); INSERT INTO weight SELECT seq FROM seq_1_to_5000"
    );
    for database in databases(&script).await {
        let store = store(&database.url(), "{ table: things, key: id, children: [ { table: kids, key: thing } ] }", "done");
        let records = all(&store).await;
        let mut other = database.admin().await;
        // The other is the heavier one, so the removal is the one to give way.
        other.run("BEGIN; DELETE FROM weight; DELETE FROM kids WHERE thing = 1").await.unwrap();
        let rival = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let result = other.run("UPDATE things SET id = id WHERE id = 1; ROLLBACK").await;
            other.close().await;
            result
        });
        let fates = destroy(&store, &records[..1]).await;
        rival.await.unwrap().unwrap();
        assert!(server_saw_a_deadlock(&database).await);
        // When it is tried again, the other may hold the row still; in no case is the deadlock itself the end of it.
        match &fates[0] {
            Fate::Kept(Kept::Changed(_)) => assert_eq!(done(&destroy(&store, &records[..1]).await[0]), 1),
            fate => assert_eq!(done(fate), 1),
        }
    }
}

async fn server_saw_a_deadlock(database: &Database) -> bool {
    let count = match database.engine() {
        Engine::MySql => "SELECT `COUNT` FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'",
        _ => "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Innodb_deadlocks'",
    };
    database.number(count).await > 0
}

/// A way to a server that is cut when a commit goes over it: before it has arrived, or before its answer has.
struct Cut {
    folder: tempfile::TempDir,
    armed: Arc<AtomicBool>,
}

impl Cut {
    fn new(server: PathBuf, arrives: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let armed = Arc::new(AtomicBool::new(false));
        let sees = Arc::clone(&armed);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(upstream) = UnixStream::connect(&server) else { return };
                let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                let sees = Arc::clone(&sees);
                std::thread::spawn(move || {
                    let mut buffer = [0; 8192];
                    while let Ok(length @ 1..) = from.read(&mut buffer) {
                        let bytes = &buffer[..length];
                        let commits = sees.load(Ordering::SeqCst) && bytes.windows(7).any(|window| window == b"\x03COMMIT");
                        if commits {
                            let _ = from.shutdown(Shutdown::Both);
                        }
                        if (!commits || arrives) && to.write_all(bytes).is_err() {
                            break;
                        }
                        if commits {
                            // Time for the server to carry it out.
                            std::thread::sleep(Duration::from_millis(500));
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (mut from, mut to) = (upstream, client);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        });
        Self { folder, armed }
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_uncertain_whether_it_happened_or_not() {
    for arrives in [true, false] {
        for database in databases(THREE).await {
            let (place, socket) =
                database.url().split_once("?socket=").map(|(place, socket)| (place.to_owned(), PathBuf::from(socket))).unwrap();
            let cut = Cut::new(socket, arrives);
            let store =
                store(&format!("{place}?socket={}", cut.folder.path().join("socket").display()), "{ table: things, key: id }", "done");
            let records = all(&store).await;
            cut.armed.store(true, Ordering::SeqCst);
            for fate in destroy(&store, &records[..2]).await {
                assert!(matches!(fate, Fate::Failed { uncertain: true, .. }), "{fate:?}");
            }
            cut.armed.store(false, Ordering::SeqCst);
            // A server takes a moment to notice that a client has left.
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(database.number("SELECT count(*) FROM things").await, if arrives { 1 } else { 3 });
            // The next removal has another connection.
            done(&destroy(&store, &records[2..]).await[0]);
        }
    }
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_is_connected_to_again() {
    for engine in Engine::OF_MYSQL {
        let options = Options { unsynced: true, ..Options::default() };
        let Some(mut server) = Server::private(engine, options) else { continue };
        let database = server.database().await;
        database.run(THREE).await;
        let store = plain(&database);
        let records = all(&store).await;
        done(&destroy(&store, &records[..1]).await[0]);
        server.kill();
        assert!(findings(&store).await.contains("the connection failed"));
        assert!(certain(&destroy(&store, &records[1..2]).await[0]).contains("the connection failed"));
        server.start_again();
        done(&destroy(&store, &records[1..2]).await[0]);
        assert_eq!(database.texts("SELECT id FROM things").await, ["3"]);
    }
}

#[tokio::test]
async fn tables_are_rebuilt_and_the_load_is_told() {
    for database in databases(THREE).await {
        let url = database.url();
        let one = store(&url, "{ table: things, key: id, purge: optimize }", "done");
        assert_eq!(one.purge(DATASET).await, Some(("optimize", Ok(()))));
        let (_, failed) = store(&url, "{ table: nothing, key: id, purge: optimize }", "done").purge(DATASET).await.unwrap();
        assert!(failed.unwrap_err().contains("`nothing` could not be rebuilt"));
        // How far replicas are behind is told only where it is certain that there are none.
        let role = database.role("reader", None, &["SELECT ON things"]).await;
        for (url, lag) in [(&url, Duration::ZERO), (&role.url, Duration::MAX)] {
            let mut session = open(&server_at(url), true).await.unwrap();
            assert_eq!(load(&mut session).await.unwrap().lag, lag);
            session.close().await;
        }
    }
}

fn server_at(url: &str) -> server::Server {
    server_with(&format!("mysql: {url}\n"))
}

fn server_with(yaml: &str) -> server::Server {
    let document = Document::parse("t.yaml", yaml.to_owned()).unwrap();
    let mut problems = Problems::new("t.yaml");
    let mut fields = document.root.fields("a store", &mut problems).unwrap();
    let place = fields.take("mysql").unwrap();
    server::read(server::Engine::MySql, place, &mut fields, Path::new("/"), &mut problems).unwrap()
}

#[tokio::test]
async fn an_account_that_must_tell_its_password_tells_it_where_nobody_listens() {
    for engine in Engine::OF_MYSQL {
        let Some(server) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { continue };
        let database = server.database().await;
        let name = database.name();
        for host in ["localhost", "127.0.0.1"] {
            database.run(&format!("CREATE USER teller@{host} IDENTIFIED BY 'secret1'; GRANT ALL ON {name}.* TO teller@{host}")).await;
        }
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, "secret1\n").unwrap();
        std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let at = |url: &str| server_with(&format!("mysql: {url}\npassword-file: {}\n", password.display()));
        let plain = at(&format!("mysql://teller@127.0.0.1:{}/{name}?sslmode=disable", server.port()));
        if engine == Engine::MySql {
            let refused = open(&plain, true).await.err().unwrap().text;
            assert!(refused.contains("wants to be told the password") && !refused.contains("secret1"), "{refused}");
        }
        let socket = at(&format!("mysql://teller@localhost/{name}?socket={}", server.folder().join("mysqld.sock").display()));
        let tls = at(&format!("mysql://teller@127.0.0.1:{}/{name}?sslmode=require", server.port()));
        let ways: &[_] = if engine == Engine::MySql { &[&socket, &socket, &tls] } else { &[&socket, &plain] };
        for (at, way) in ways.iter().enumerate() {
            let opened = open(way, true).await;
            opened.unwrap_or_else(|failure| panic!("{}, {at}: {}", engine.name(), failure.text)).close().await;
        }
        std::fs::write(&password, "secret2").unwrap();
        for way in ways {
            let refused = open(way, true).await.err().unwrap().text;
            assert!(refused.contains("the server did not let us in") && !refused.contains("secret2"), "{refused}");
        }
    }
}

#[test]
fn servers_that_cannot_leave_out_locked_rows_are_refused() {
    for good in ["10.6.0-MariaDB", "10.11.19-MariaDB-0+deb12u1", "11.4.2-MariaDB-log", "8.0.36", "8.4.0-commercial", "9.1.0"] {
        assert!(settings_for(good).is_ok(), "{good}");
    }
    for bad in ["10.5.29-MariaDB", "5.7.44-log", "5.5.5", "", "unknown", "5.7.25-TiDB-v7.5.0"] {
        assert!(settings_for(bad).unwrap_err().contains("the first that"), "{bad}");
    }
}
