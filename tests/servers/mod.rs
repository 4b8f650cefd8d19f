//! Real database servers for tests: private ones, on a socket in a temp folder, gone when the test is.
//!
//! [`postgres`], [`mariadb`] and [`mysql`] are shared by all tests of a process, which get a [`Database`] each. A test that kills a server, cuts it off or
//! needs settings makes one of its own with [`Server::private`]. Superuser is `tester`, without a password on the socket. Every server listens
//! on 127.0.0.1 as well, where a login needs a password ([`Database::role`]).
//!
//! Where the programs are not there, a line on the terminal says so and the answer is `None`; with `CI` in the environment that is a failure. But
//! not of MySQL, which is not among the packages of a stable Debian and is fetched ([`fetched`]).
//!
//! To be declared once in a crate, because the shared servers belong to the module.
//!
//! **Never**: the machine's own servers; a server, a folder or shared memory that outlives the process, also when that is killed (see
//! [`process`]).

// Every crate of tests that has this module uses a part of it.
#![allow(dead_code, unused_imports)]

mod database;
mod engine;
mod fetched;
mod process;

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use self::database::{Database, Role, Session};
pub use self::engine::Engine;
use self::engine::{Place, Programs};
use self::process::{Caretaker, PATIENCE};

/// What a private server has of its own.
#[derive(Clone, Default)]
pub struct Options {
    /// A folder for the data, as on a disk of its own; it gets a folder `data`, which stays. Otherwise the data goes with the server.
    pub folder: Option<PathBuf>,
    /// Lines for the file of settings, such as `wal_level = logical` or `log_bin = changes`. They count more than those that are there.
    pub settings: Vec<String>,
    /// Commits are not synced to the disk. They still survive a kill, only not the end of the machine.
    pub unsynced: bool,
}

/// A server. Dropped, it is killed and removed.
pub struct Server {
    engine: Engine,
    programs: Programs,
    place: Place,
    options: Options,
    running: Option<Child>,
    databases: AtomicU32,
    // After all else: it removes the folder.
    _caretaker: Caretaker,
}

/// The PostgreSQL server that all tests of this process share.
pub fn postgres() -> Option<&'static Server> {
    shared(Engine::Postgres)
}

/// The `MariaDB` server that all tests of this process share.
pub fn mariadb() -> Option<&'static Server> {
    shared(Engine::MariaDb)
}

/// The MySQL server that all tests of this process share.
pub fn mysql() -> Option<&'static Server> {
    shared(Engine::MySql)
}

/// The server of this kind that all tests of this process share.
pub fn shared(engine: Engine) -> Option<&'static Server> {
    static POSTGRES: OnceLock<Result<Server, String>> = OnceLock::new();
    static MARIADB: OnceLock<Result<Server, String>> = OnceLock::new();
    static MYSQL: OnceLock<Result<Server, String>> = OnceLock::new();
    let server = match engine {
        Engine::Postgres => &POSTGRES,
        Engine::MariaDb => &MARIADB,
        Engine::MySql => &MYSQL,
    };
    let made = server.get_or_init(|| {
        // MySQL syncs more often than the others, at no commit too. What a commit promises is looked at on private servers.
        let options = Options { unsynced: engine == Engine::MySql, ..Options::default() };
        Ok(Server::make(engine, engine.programs()?, options))
    });
    made.as_ref().map_err(|why| missing(engine, why)).ok()
}

/// Says on the terminal, also of a test that passes, what was not tested and why.
fn missing(engine: Engine, why: &str) {
    let asked_for = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!asked_for || engine == Engine::MySql, "{}: {why}", engine.name());
    let _ = writeln!(std::io::stderr(), "SKIPPED: tests with {}: {why}", engine.name());
}

impl Server {
    /// A new server for one test.
    pub fn private(engine: Engine, options: Options) -> Option<Self> {
        let programs = engine.programs().map_err(|why| missing(engine, &why)).ok()?;
        Some(Self::make(engine, programs, options))
    }

    fn make(engine: Engine, programs: Programs, options: Options) -> Self {
        let user = programs.user;
        let home = process::folder(user).unwrap();
        let data = options.folder.as_ref().unwrap_or(&home).join("data");
        // From here on nothing is left behind, whatever fails.
        let caretaker = Caretaker::of(&home, &data).unwrap();
        if let Some(folder) = &options.folder {
            user.let_through(folder).unwrap();
        }
        user.make_folder(&data, 0o700).unwrap();
        let place = Place { home, data, port: free_port() };
        let databases = AtomicU32::new(0);
        let mut server = Self { engine, programs, place, options, running: None, databases, _caretaker: caretaker };
        server.configure();
        engine.install(&server.programs, &server.place).unwrap_or_else(|why| panic!("{}: {why}", engine.name()));
        let mut tries = 1..3;
        while let Err(why) = server.start() {
            // Somebody else may have taken the port meanwhile.
            let taken = TcpListener::bind(("127.0.0.1", server.place.port)).is_err();
            assert!(taken && tries.next().is_some(), "{why}");
            server.place.port = free_port();
            server.configure();
        }
        server
    }

    fn configure(&self) {
        self.engine.configure(&self.programs, &self.place, self.options.unsynced, &self.options.settings).unwrap();
    }

    fn start(&mut self) -> Result<(), String> {
        let mut command = self.engine.command(&self.programs, &self.place);
        let log = File::options().create(true).append(true).open(self.place.log()).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let mut child = process::spawn(command).map_err(|error| error.to_string())?;
        let mut ended = None;
        let ready = process::until(PATIENCE, || {
            ended = child.try_wait().unwrap();
            ended.is_some() || self.engine.ready(&self.place, child.id())
        });
        if ready && ended.is_none() {
            self.running = Some(child);
            return Ok(());
        }
        let how = ended.map_or_else(|| "it is not ready in time".to_owned(), |status| status.to_string());
        if ended.is_none() {
            process::kill_whole(child);
        }
        Err(format!("{}: {how}\n{}", self.engine.name(), self.log()))
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where it is alive, apart from its data: sockets, settings.
    pub fn folder(&self) -> &Path {
        &self.place.home
    }

    /// The folder of its data.
    pub fn data(&self) -> &Path {
        &self.place.data
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// What it has said since it was made.
    pub fn log(&self) -> String {
        std::fs::read(self.place.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// All its processes, the one that started the others first.
    pub fn processes(&self) -> Vec<u32> {
        let first = self.running.as_ref().map(Child::id);
        first.into_iter().flat_map(|first| std::iter::once(first).chain(process::children(first))).collect()
    }

    /// A new, empty database.
    pub async fn database(&self) -> Database {
        let name = format!("db{}", 1 + self.databases.fetch_add(1, Ordering::Relaxed));
        Database::create(database::Address::new(self.engine, &self.place), name).await
    }

    /// The superuser's way to one of its databases, over the socket.
    pub fn url(&self, database: &str) -> String {
        database::Address::new(self.engine, &self.place).url(engine::TESTER, database)
    }

    /// Becomes a replica of this one, from now on; PostgreSQL only, for which that means other data.
    pub fn follow(&mut self, primary: &Self) {
        assert_eq!((self.engine, primary.engine), (Engine::Postgres, Engine::Postgres));
        self.stop();
        std::fs::remove_dir_all(&self.place.data).unwrap();
        self.programs.user.make_folder(&self.place.data, 0o700).unwrap();
        let copied = self.programs.copy(&self.place, &primary.place).output().unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        self.start_again();
    }

    /// Puts a file into the server's folder that only the server may read, such as the key of a certificate.
    pub fn keep(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.place.home.join(name);
        self.programs.user.write(&path, content).unwrap();
        path
    }

    /// Adds lines to the settings, for when it is started again.
    pub fn set(&mut self, lines: &[&str]) {
        self.options.settings.extend(lines.iter().map(|line| (*line).to_owned()));
        self.configure();
    }

    /// Kills all its processes with SIGKILL, as a crash does. Ends nothing in good order.
    pub fn kill(&mut self) {
        if let Some(child) = self.running.take() {
            process::kill_whole(child);
        }
    }

    /// Stops it in good order, without waiting for its clients.
    pub fn stop(&mut self) {
        let mut child = self.running.take().expect("a server that runs");
        process::signal(self.engine.stop_signal(), &[child.id()]);
        if !process::until(PATIENCE, || child.try_wait().unwrap().is_some()) {
            process::kill_whole(child);
            panic!("{} does not stop\n{}", self.engine.name(), self.log());
        }
    }

    /// Starts it with the data that is there, on the same socket and port.
    pub fn start_again(&mut self) {
        // It may have died by itself.
        if let Some(mut child) = self.running.take() {
            assert!(child.try_wait().unwrap().is_some(), "{} still runs", self.engine.name());
        }
        self.start().unwrap_or_else(|why| panic!("{why}"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
