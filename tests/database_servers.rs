//! The servers that other tests stand on are what they are said to be: they start, keep what was committed through a kill, let in who may
//! come in, and leave nothing behind.

mod servers;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use servers::{Engine, Options, Server, Session};

const SCRIPT: &str = "CREATE TABLE things (id INT PRIMARY KEY, name VARCHAR(20));
    INSERT INTO things VALUES (1, 'one'), (2, NULL);
    INSERT INTO things VALUES (3, 'drei')";

async fn shared(server: &Server) {
    let (one, other) = tokio::join!(server.database(), server.database());
    one.run(SCRIPT).await;
    assert_eq!(one.number("SELECT count(*) FROM things").await, 3);
    assert_eq!(one.texts("SELECT name FROM things ORDER BY id").await, ["one", "NULL", "drei"]);
    assert!(other.admin().await.texts("SELECT * FROM things").await.is_err());

    // What one session holds open, another does not see.
    let mut session = one.admin().await;
    session.run("BEGIN; DELETE FROM things").await.unwrap();
    assert_eq!(one.number("SELECT count(*) FROM things").await, 3);
    session.run("ROLLBACK").await.unwrap();

    // A role may do what was granted, from both sides.
    let reader = one.role("reader", Some("secret1"), &["SELECT ON things"]).await;
    let over_tcp = reader.url_over_tcp.clone().unwrap();
    for url in [&reader.url, &over_tcp] {
        let mut session = Session::open(url).await.unwrap();
        assert_eq!(session.texts("SELECT id FROM things ORDER BY id").await.unwrap(), ["1", "2", "3"]);
        assert!(session.run("DELETE FROM things").await.is_err());
        session.close().await;
    }
    assert!(Session::open(&over_tcp.replace("secret1", "secret2")).await.is_err());
    assert!(Session::open(&over_tcp.replace(":secret1", "")).await.is_err());
}

#[tokio::test]
async fn postgres_is_shared() {
    let Some(server) = servers::postgres() else { return };
    shared(server).await;
}

#[tokio::test]
async fn mariadb_is_shared() {
    let Some(server) = servers::mariadb() else { return };
    shared(server).await;
}

#[tokio::test]
async fn mysql_is_shared() {
    let Some(server) = servers::mysql() else { return };
    shared(server).await;
}

/// A server on a folder of its own, killed amid a transaction.
async fn killed(engine: Engine, setting: &str, shown: &str) {
    let folder = tempfile::tempdir().unwrap();
    // Also what is not synced survives a kill.
    let options = Options { folder: Some(folder.path().to_owned()), settings: vec![setting.to_owned()], unsynced: true };
    let Some(mut server) = Server::private(engine, options) else { return };
    assert!(server.data().starts_with(folder.path()));
    let database = server.database().await;
    database.run(SCRIPT).await;
    assert_eq!(database.texts(shown).await.len(), 1);

    let mut open = database.admin().await;
    open.run("BEGIN; INSERT INTO things VALUES (4, 'open')").await.unwrap();
    let processes = server.processes();
    server.kill();
    assert!(processes.iter().all(|process| gone(*process)));
    assert!(open.run("COMMIT").await.is_err());
    assert!(Session::open(&database.url()).await.is_err());

    server.start_again();
    assert_eq!(database.texts("SELECT id FROM things ORDER BY id").await, ["1", "2", "3"]);

    server.stop();
    assert!(Session::open(&database.url()).await.is_err());
    server.start_again();
    assert_eq!(database.number("SELECT count(*) FROM things").await, 3);

    let home = server.folder().to_owned();
    drop(server);
    assert!(!home.exists());
    assert!(folder.path().join("data").exists());
}

#[tokio::test]
async fn postgres_keeps_what_was_committed() {
    killed(Engine::Postgres, "wal_level = logical", "SELECT setting FROM pg_settings WHERE name = 'wal_level' AND setting = 'logical'")
        .await;
}

#[tokio::test]
async fn mariadb_keeps_what_was_committed() {
    killed(Engine::MariaDb, "log_bin = changes", "SELECT 1 FROM dual WHERE @@log_bin = 1").await;
}

#[tokio::test]
async fn mysql_keeps_what_was_committed() {
    killed(Engine::MySql, "log_bin = changes", "SELECT 1 FROM dual WHERE @@log_bin = 1").await;
}

/// Tells this program to be the one that is looked at from outside.
const INNER: &str = "DATABASE_SERVERS_INNER";

/// What can be seen of a process: ended, or merely not collected yet.
fn gone(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |text| text.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// The pieces of shared memory that the folder's server owns.
fn shared_memory(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("data/postmaster.pid")).ok()?;
    Some(text.lines().nth(6)?.split_whitespace().nth(1)?.to_owned())
}

fn is_shared_memory(id: &str) -> bool {
    std::fs::read_to_string("/proc/sysvipc/shm").unwrap().lines().any(|line| line.split_whitespace().nth(1) == Some(id))
}

/// Starts what there is, tells of it, and waits for a word.
fn inner() {
    // The name of the test stands on this line already.
    println!();
    let servers: Vec<_> = Engine::ALL.into_iter().filter_map(servers::shared).collect();
    for server in &servers {
        println!("folder {}", server.folder().display());
        server.processes().iter().for_each(|process| println!("process {process}"));
    }
    println!("ready {}", servers.len());
    let _ = std::io::stdin().read(&mut [0]);
}

fn nothing_is_left_after(end: impl FnOnce(&mut Child)) {
    if std::env::var_os(INNER).is_some() {
        return inner();
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1", &name])
        .env(INNER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut folders, mut processes) = (Vec::<PathBuf>::new(), Vec::<u32>::new());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = lines.inspect(|line| match line.split_once(' ') {
        Some(("folder", path)) => folders.push(path.into()),
        Some(("process", id)) => processes.push(id.parse().unwrap()),
        _ => {}
    });
    let ready = lines.find_map(|line| line.strip_prefix("ready ")?.parse::<usize>().ok());
    assert_eq!(ready, Some(folders.len()));
    assert!(folders.iter().all(|folder| folder.is_dir()));
    assert!(!processes.iter().any(|process| gone(*process)));
    let memory: Vec<String> = folders.iter().filter_map(|folder| shared_memory(folder)).collect();
    assert!(memory.iter().all(|id| is_shared_memory(id)));

    end(&mut child);
    child.wait().unwrap();
    let begun = Instant::now();
    loop {
        let left: Vec<_> = processes.iter().filter(|process| !gone(**process)).collect();
        let left = format!(
            "{left:?} {:?} {:?}",
            folders.iter().filter(|folder| folder.exists()).collect::<Vec<_>>(),
            memory.iter().filter(|id| is_shared_memory(id)).collect::<Vec<_>>()
        );
        if left == "[] [] []" {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{left}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nothing_is_left_when_the_tests_end() {
    nothing_is_left_after(|child| child.stdin.take().unwrap().write_all(b"!").unwrap());
}

#[test]
fn nothing_is_left_when_the_tests_are_killed() {
    nothing_is_left_after(|child| child.kill().unwrap());
}
