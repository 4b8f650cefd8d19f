//! What differs between the engines: programs, settings, how a server is made, started and seen to be ready.
//!
//! The settings are small, because several servers may run beside each other; what a commit promises is untouched unless a test asks for it.
//!
//! **Never**: the machine's own settings of these servers, or its own servers.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::fetched;
use super::process::{User, find};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    MariaDb,
    MySql,
}

/// The superuser of every server; on the socket without a password.
pub const TESTER: &str = "tester";

/// The programs of an engine, and who runs them.
pub struct Programs {
    server: PathBuf,
    /// Makes a server's data; for MySQL a folder that holds what it would make.
    install: PathBuf,
    pub user: User,
}

impl Programs {
    /// Copies the data of a server of PostgreSQL that runs, so that a server with the copy replicates from it.
    pub fn copy(&self, to: &Place, from: &Place) -> Command {
        let mut command = self.user.command(&self.install.with_file_name("pg_basebackup"));
        command.args(["--write-recovery-conf", "--checkpoint", "fast", "--no-sync", "--username", TESTER, "--pgdata"]).arg(&to.data);
        command.arg("--host").arg(&from.home).args(["--port", &from.port.to_string()]).current_dir(&to.home);
        command
    }
}

/// Where a server lives.
pub struct Place {
    /// Settings, socket and what it says.
    pub home: PathBuf,
    pub data: PathBuf,
    pub port: u16,
}

impl Place {
    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    fn settings(&self) -> PathBuf {
        self.home.join("settings")
    }

    /// For all but PostgreSQL, which names its socket by the port.
    pub fn socket(&self) -> PathBuf {
        self.home.join("mysqld.sock")
    }
}

/// The folder of the newest version that Debian's packages have installed.
fn newest_postgres() -> Option<PathBuf> {
    let entries = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let versions = entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))));
    versions.filter(|(_, folder)| folder.join("postgres").is_file()).max().map(|(_, folder)| folder)
}

impl Engine {
    pub const ALL: [Self; 3] = [Self::Postgres, Self::MariaDb, Self::MySql];
    /// Those that the store `mysql` is for.
    pub const OF_MYSQL: [Self; 2] = [Self::MariaDb, Self::MySql];

    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        }
    }

    /// The database that every server has from the beginning.
    pub fn first_database(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb | Self::MySql => "mysql",
        }
    }

    /// The signal that makes a server end in good order without waiting for its clients.
    pub fn stop_signal(self) -> &'static str {
        match self {
            Self::Postgres => "INT",
            Self::MariaDb | Self::MySql => "TERM",
        }
    }

    /// The programs, or what is missing.
    pub fn programs(self) -> Result<Programs, String> {
        let first = if self == Self::Postgres { newest_postgres() } else { None };
        let program = |name: &str| find(name, first.clone()).ok_or_else(|| format!("there is no program {name}"));
        for name in ["setpriv", "ipcrm", "kill", "sh"] {
            program(name)?;
        }
        match self {
            Self::Postgres => {
                let user = User::of_server(&["postgres", "nobody"])?;
                Ok(Programs { server: program("postgres")?, install: program("initdb")?, user })
            }
            Self::MariaDb => {
                // The program that installs needs this one and does not say so well.
                program("my_print_defaults")?;
                let user = User::of_server(&["mysql", "nobody"])?;
                Ok(Programs { server: program("mariadbd")?, install: program("mariadb-install-db")?, user })
            }
            Self::MySql => {
                let folder = fetched::mysql()?;
                let user = User::of_server(&["mysql", "nobody"])?;
                user.reaches(&folder)?;
                Ok(Programs { server: folder.join("mysqld"), install: folder.join("data"), user })
            }
        }
    }

    fn settings(self, place: &Place, unsynced: bool) -> Vec<String> {
        let Place { home, data, port } = place;
        let (home, data, socket) = (home.display(), data.display(), place.socket());
        let mut lines = match self {
            Self::Postgres => vec![
                format!("data_directory = '{data}'"),
                format!("hba_file = '{home}/logins'"),
                format!("unix_socket_directories = '{home}'"),
                "listen_addresses = '127.0.0.1'".to_owned(),
                format!("port = {port}"),
                "shared_buffers = 16MB".to_owned(),
                // Otherwise a server that is killed leaves files in /dev/shm.
                "dynamic_shared_memory_type = mmap".to_owned(),
                "jit = off".to_owned(),
                "timezone = 'UTC'".to_owned(),
            ],
            Self::MariaDb => vec![
                "[mariadbd]".to_owned(),
                format!("datadir = {data}"),
                format!("tmpdir = {home}/tmp"),
                format!("socket = {}", socket.display()),
                format!("pid_file = {home}/pid"),
                "bind_address = 127.0.0.1".to_owned(),
                format!("port = {port}"),
                "skip_name_resolve = ON".to_owned(),
                "character_set_server = utf8mb4".to_owned(),
                "innodb_buffer_pool_size = 24M".to_owned(),
                "innodb_log_file_size = 16M".to_owned(),
                "innodb_use_native_aio = OFF".to_owned(),
                "key_buffer_size = 1M".to_owned(),
                "aria_pagecache_buffer_size = 4M".to_owned(),
            ],
            Self::MySql => vec![
                "[mysqld]".to_owned(),
                format!("datadir = {data}"),
                format!("tmpdir = {home}/tmp"),
                "secure_file_priv = NULL".to_owned(),
                format!("socket = {}", socket.display()),
                format!("pid_file = {home}/pid"),
                "bind_address = 127.0.0.1".to_owned(),
                format!("port = {port}"),
                "mysqlx = OFF".to_owned(),
                "skip_name_resolve = ON".to_owned(),
                "character_set_server = utf8mb4".to_owned(),
                "performance_schema = OFF".to_owned(),
                // As MariaDB has it. What comes later counts more.
                "disable_log_bin".to_owned(),
                "innodb_buffer_pool_size = 24M".to_owned(),
                "innodb_redo_log_capacity = 32M".to_owned(),
                "innodb_use_native_aio = OFF".to_owned(),
                "key_buffer_size = 1M".to_owned(),
            ],
        };
        if unsynced {
            lines.extend(match self {
                Self::Postgres => vec!["fsync = off".to_owned()],
                // Still handed to the kernel at every commit, so that a kill loses nothing.
                Self::MariaDb => vec!["debug_no_sync".to_owned(), "innodb_flush_log_at_trx_commit = 2".to_owned()],
                Self::MySql => vec!["innodb_flush_method = nosync".to_owned(), "innodb_flush_log_at_trx_commit = 2".to_owned()],
            });
        }
        lines
    }

    /// Writes the settings. What is last counts.
    pub fn configure(self, programs: &Programs, place: &Place, unsynced: bool, more: &[String]) -> std::io::Result<()> {
        let mut lines = self.settings(place, unsynced);
        lines.extend_from_slice(more);
        programs.user.write(&place.settings(), (lines.join("\n") + "\n").as_bytes())?;
        match self {
            Self::Postgres => programs.user.write(
                &place.home.join("logins"),
                b"local all,replication all trust\nhost all,replication all 127.0.0.1/32 scram-sha-256\n",
            ),
            Self::MariaDb => programs.user.write(
                &place.home.join("superuser"),
                format!(
                    "SET SESSION sql_log_bin = 0;\nCREATE USER IF NOT EXISTS {TESTER}@localhost;\n\
                     GRANT ALL ON *.* TO {TESTER}@localhost WITH GRANT OPTION;\n"
                )
                .as_bytes(),
            ),
            // Is in the data from the beginning.
            Self::MySql => Ok(()),
        }
    }

    /// Fills an empty data folder.
    pub fn install(self, programs: &Programs, place: &Place) -> Result<(), String> {
        let mut command = programs.user.command(&programs.install);
        match self {
            Self::Postgres => {
                command.arg("--pgdata").arg(&place.data).args(["--username", TESTER, "--auth", "trust"]);
                command.args(["--encoding", "UTF8", "--locale", "C", "--no-sync"]);
            }
            Self::MariaDb => {
                programs.user.make_folder(&place.home.join("tmp"), 0o700).map_err(|error| error.to_string())?;
                command.arg(format!("--defaults-file={}", place.settings().display()));
                command.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--debug-no-sync"]);
                // Works where the name of the machine cannot be looked up.
                command.args(["--skip-name-resolve", "--force"]);
            }
            Self::MySql => {
                let made = programs.user.make_folder(&place.home.join("tmp"), 0o700);
                return made.and_then(|()| programs.user.copy(&programs.install, &place.data)).map_err(|error| error.to_string());
            }
        }
        let output = command.current_dir(&place.home).output().map_err(|error| error.to_string())?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("{}: {}\n{}{}", programs.install.display(), output.status, said(&output.stdout), said(&output.stderr)))
        }
    }

    /// The server itself.
    pub fn command(self, programs: &Programs, place: &Place) -> Command {
        let mut command = programs.user.command(&programs.server);
        match self {
            Self::Postgres => command.arg("-D").arg(&place.data).arg("-c").arg(format!("config_file={}", place.settings().display())),
            Self::MariaDb => command
                .arg(format!("--defaults-file={}", place.settings().display()))
                .arg(format!("--init-file={}", place.home.join("superuser").display())),
            Self::MySql => command.arg(format!("--defaults-file={}", place.settings().display())),
        };
        command.current_dir(&place.home);
        command
    }

    /// Whether the server that is this process answers queries.
    pub fn ready(self, place: &Place, process: u32) -> bool {
        match self {
            // It says so in a file, which may still be there from an earlier process.
            Self::Postgres => std::fs::read_to_string(place.data.join("postmaster.pid")).is_ok_and(|text| {
                let mut lines = text.lines().map(str::trim);
                lines.next() == Some(&process.to_string()) && lines.nth(6) == Some("ready")
            }),
            // It listens early, and greets when it is ready.
            Self::MariaDb | Self::MySql => greets(&place.socket()),
        }
    }
}

fn greets(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    stream.set_read_timeout(Some(Duration::from_millis(200))).is_ok() && stream.read_exact(&mut [0; 5]).is_ok()
}
