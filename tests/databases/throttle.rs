//! Keeping out of production's way, on servers that are really busy and replicas that are really behind: the run waits, says so, and goes on when
//! they have come to rest.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::program::{ENGINES, Program, key};
use crate::servers::{Database, Engine, Options, Server, Session};

const ROWS: &str = "SELECT count(*) FROM people";

async fn people(database: &Database) {
    database.run("CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE)").await;
    let rows: Vec<String> = (0..200).map(|id| format!("({id}, '2019-01-01')")).collect();
    database.run(&format!("INSERT INTO people VALUES {}", rows.join(", "))).await;
}

fn program(database: &Database, throttle: &str) -> Program {
    Program::new(&format!(
        "  housing:\n    {}: {}\n    throttle: {throttle}\n    datasets:\n      people: {{ class: short, table: people, key: id, events: {{ ended: ended_on }} }}\n",
        key(database.engine()),
        database.url()
    ))
}

/// A run whose words can be read while it goes on.
struct Running {
    program: Program,
    child: Child,
}

impl Running {
    fn start(program: Program) -> Self {
        let child = program.start_telling("said", &["run"]);
        Self { program, child }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.program.path("said")).unwrap()
    }

    async fn until_said(&mut self, words: &str) {
        let began = Instant::now();
        while !self.said().contains(words) {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended before it said \"{words}\": {}", self.said());
            assert!(began.elapsed() < Duration::from_secs(30), "it never said \"{words}\": {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// It waits, and nothing goes meanwhile.
    async fn waits(&mut self, database: &Database, words: &str) {
        self.until_said("housing: removal waits: ").await;
        assert!(self.said().contains(words), "{words}: {}", self.said());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(self.child.try_wait().unwrap().is_none(), "{}", self.said());
        assert_eq!(database.number(ROWS).await, 200, "nothing goes while it waits");
    }

    async fn ends(mut self) -> Program {
        self.until_said("housing: removal goes on after ").await;
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(30), "it does not end: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.program
    }

    async fn goes_on(self, database: &Database) {
        let program = self.ends().await;
        assert_eq!(database.number(ROWS).await, 0);
        program.must(0, &["audit", "verify"]);
    }
}

/// Sessions of an application that are at work until they are ended.
struct Busy(Vec<tokio::task::JoinHandle<bool>>);

impl Busy {
    async fn new(database: &Database) -> Self {
        let work = if database.engine() == Engine::Postgres { "SELECT pg_sleep(120)" } else { "DO SLEEP(120)" };
        let mut sessions = Vec::new();
        for _ in 0..5 {
            let mut session = database.admin().await;
            sessions.push(tokio::spawn(async move { session.run(work).await.is_err() }));
        }
        Self(sessions)
    }

    async fn end(self, database: &Database) {
        let (sessions, end) = match database.engine() {
            Engine::Postgres => ("SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(120)'", "SELECT pg_terminate_backend"),
            Engine::MariaDb | Engine::MySql => ("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO = 'DO SLEEP(120)'", "KILL "),
        };
        for session in database.texts(sessions).await {
            database.run(&format!("{end}({session})")).await;
        }
        for session in self.0 {
            assert!(session.await.unwrap(), "it was ended");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_while_more_sessions_are_at_work_than_allowed_and_goes_on_when_they_are_done() {
    for engine in ENGINES {
        // Of its own, because MariaDB tells how many are at work on the whole server.
        let Some(server) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { continue };
        let database = server.database().await;
        people(&database).await;
        let busy = Busy::new(&database).await;
        let mut running = Running::start(program(&database, "{ running: 3 }"));
        running.waits(&database, "other sessions are at work, more than 3").await;
        busy.end(&database).await;
        running.goes_on(&database).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_date_that_is_looked_up_elsewhere_and_changes_while_a_run_waits_is_seen() {
    for engine in ENGINES {
        let Some(server) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { continue };
        let (database, other) = (server.database().await, server.database().await);
        database.run("CREATE TABLE people (id INT PRIMARY KEY, contract INT)").await;
        other.run("CREATE TABLE contracts (id INT PRIMARY KEY, ended_on DATE)").await;
        let rows: Vec<String> = (0..200).map(|id| format!("({id}, {})", id % 2)).collect();
        database.run(&format!("INSERT INTO people VALUES {}", rows.join(", "))).await;
        other.run("INSERT INTO contracts VALUES (0, '2019-01-01'), (1, '2019-01-01')").await;
        let program = Program::new(&format!(
            "  housing:\n    {0}: {1}\n    throttle: {{ running: 3 }}\n    datasets:\n      people: {{ class: short, table: people, key: id, events: {{ ended: {{ lookup: law.contracts, by: contract }} }} }}\n  \
             law:\n    {0}: {2}\n    datasets:\n      contracts: {{ class: long, table: contracts, key: id, events: {{ ended: ended_on }} }}\n",
            key(engine),
            database.url(),
            other.url()
        ));
        let busy = Busy::new(&database).await;
        let mut running = Running::start(program);
        running.waits(&database, "other sessions are at work, more than 3").await;
        // The contract runs again: whoever looked before does not know.
        other.run("UPDATE contracts SET ended_on = NULL WHERE id = 1").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        busy.end(&database).await;
        let program = running.ends().await;
        assert_eq!(database.texts("SELECT DISTINCT contract FROM people").await, ["1"], "{}", engine.name());
        assert_eq!(database.number(ROWS).await, 100);
        program.must(0, &["audit", "verify"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_for_a_replica_of_postgres_that_is_behind() {
    let settings = ["wal_level = replica", "max_wal_senders = 3", "hot_standby = on"].map(str::to_owned).to_vec();
    let Some(primary) = Server::private(Engine::Postgres, Options { settings, unsynced: true, ..Options::default() }) else { return };
    let Some(mut replica) = Server::private(Engine::Postgres, Options { unsynced: true, ..Options::default() }) else { return };
    let database = primary.database().await;
    people(&database).await;
    tokio::task::block_in_place(|| replica.follow(&primary));
    let mut on_replica = Session::open(&replica.url("postgres")).await.unwrap();
    on_replica.run("SELECT pg_wal_replay_pause()").await.unwrap();
    database.run("CREATE TABLE later (id INT)").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut running = Running::start(program(&database, "{ lag: 1s }"));
    running.waits(&database, "s behind, more than 1.0 s").await;
    on_replica.run("SELECT pg_wal_replay_resume()").await.unwrap();
    running.goes_on(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_asks_the_replicas_of_mariadb_and_waits_for_one_that_is_behind() {
    replicas_are_asked(&MARIADB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_asks_the_replicas_of_mysql_and_waits_for_one_that_is_behind() {
    replicas_are_asked(&MYSQL).await;
}

/// How an engine is told to replicate.
struct Words {
    engine: Engine,
    /// The replica begins here; `FROM` stands for what is asked of the primary, `PORT` for its port.
    asked: &'static str,
    begin: &'static str,
    halt: &'static str,
    /// `SECONDS` stands for how late everything is applied.
    delay: &'static str,
}

const MARIADB: Words = Words {
    engine: Engine::MariaDb,
    asked: "SELECT @@gtid_binlog_pos",
    begin: "SET GLOBAL gtid_slave_pos = 'FROM'; CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = PORT, MASTER_USER = 'copier', \
        MASTER_PASSWORD = 'copy', MASTER_USE_GTID = slave_pos; START SLAVE",
    halt: "STOP SLAVE SQL_THREAD",
    delay: "STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = SECONDS; START SLAVE",
};

/// MySQL's replica begins at the beginning, and is told the password under TLS only.
const MYSQL: Words = Words {
    engine: Engine::MySql,
    asked: "SELECT 1",
    begin: "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = PORT, SOURCE_USER = 'copier', SOURCE_PASSWORD = 'copy', \
        SOURCE_SSL = 1; START REPLICA",
    halt: "STOP REPLICA SQL_THREAD",
    delay: "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_DELAY = SECONDS; START REPLICA",
};

async fn replicas_are_asked(words: &Words) {
    let numbered = |number: u32| {
        let settings = vec!["log_bin = changes".to_owned(), format!("server_id = {number}")];
        Server::private(words.engine, Options { settings, unsynced: true, ..Options::default() })
    };
    let (Some(primary), Some(replica)) = (numbered(1), numbered(2)) else { return };
    let first = primary.database().await;
    let mut on_primary = first.admin().await;
    on_primary.run("CREATE USER copier@127.0.0.1 IDENTIFIED BY 'copy'; GRANT REPLICATION SLAVE ON *.* TO copier@127.0.0.1").await.unwrap();
    let mut on_replica = Session::open(&replica.url("mysql")).await.unwrap();
    let from = on_primary.texts(words.asked).await.unwrap().remove(0);
    on_replica.run(&words.begin.replace("FROM", &from).replace("= PORT", &format!("= {}", primary.port()))).await.unwrap();
    let database = primary.database().await;
    people(&database).await;
    let throttle = |lag: &str| format!("{{ lag: {lag}, replicas: [ \"{}\" ] }}", replica.url("mysql"));
    // A primary alone cannot tell.
    let said = program(&database, "{ lag: 1s }").run(&["check", "--connect"]).text;
    assert!(said.contains("cannot be told by this server to this account; name them, `replicas: [ mysql://… ]`"), "{said}");
    let began = Instant::now();
    let mut said = String::new();
    while (said.is_empty() || said.contains("blocks:")) && began.elapsed() < Duration::from_secs(20) {
        said = program(&database, &throttle("10s")).run(&["check", "--connect"]).text;
    }
    assert!(!said.contains("blocks:"), "{said}");
    // One that does not replicate cannot tell either, and one that is none never will.
    on_replica.run(words.halt).await.unwrap();
    let said = program(&database, &throttle("10s")).run(&["check", "--connect"]).text;
    assert!(said.contains("its replication does not run"), "{said}");
    let none = Server::private(words.engine, Options { unsynced: true, ..Options::default() }).unwrap();
    let said = program(&database, &format!("{{ lag: 1s, replicas: \"{}\" }}", none.url("mysql"))).run(&["check", "--connect"]).text;
    assert!(said.contains("it is no replica"), "{said}");
    // It applies everything eight seconds late.
    on_replica.run(&words.delay.replace("SECONDS", "8")).await.unwrap();
    database.run("CREATE TABLE later (id INT)").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut running = Running::start(program(&database, &throttle("1s")));
    running.waits(&database, "s behind, more than 1.0 s").await;
    on_replica.run(&words.delay.replace("SECONDS", "0")).await.unwrap();
    running.goes_on(&database).await;
}
