//! Where a database server is and how it is reached.
//!
//! One URL says which server, database and user: `postgres://retention@db.example.org:5432/records?sslmode=verify-full`. Beside it stands
//! where the password is, never the password: `credential: NAME` (a credential of the systemd service) or `password-file: PATH`. Reading
//! the configuration opens nothing; files are looked at when somebody connects, each time anew, so that a changed password is taken up.
//!
//! **The configuration alone decides.** The drivers would fill what is left out from `PG…` variables, `~/.pgpass` and the name of the
//! system's user. Everything of that is overridden here, and a variable that cannot be overridden is refused.
//!
//! **TLS.** Over the network the server's certificate and name are checked unless the URL says less (`sslmode`), even on this machine; over
//! a socket there is no TLS. `sslrootcert` names authorities to trust besides the system's own.
//!
//! **Never**: a password in a message, in [`Server`] or in what it prints. The options that are handed to a driver hold it and would print
//! it, so whoever takes them must not. Of a URL that is refused no more is repeated than the name of a parameter or a wrong `sslmode`, and
//! that only where no password can be meant.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod hangers;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod races;
#[cfg(test)]
mod stretches;
#[cfg(test)]
mod tests;
mod url;

use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use self::url::parse;
use super::statement::Dialect;
use crate::error::escape;
use crate::password::{Source, private, source};
use crate::yaml::{Fields, Node, Problems, suggest};

/// The database systems that are reached through a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

/// A database on a server, and how it is reached. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    engine: Engine,
    user: String,
    database: String,
    way: Way,
    source: Source,
    timeout: Duration,
}

/// How the server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// Over the network. An IPv6 address stands without brackets.
    Tcp { host: String, port: u16, tls: Tls },
    /// Over a socket of this machine: the folder of PostgreSQL's sockets, whose names end in the port, or MySQL's socket itself.
    Socket { path: PathBuf, port: u16 },
}

/// What of the server's certificate is checked, and which one is shown to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tls {
    mode: Mode,
    root: Option<PathBuf>,
    /// Certificate and key.
    client: Option<(PathBuf, PathBuf)>,
}

/// What TLS is to give, in PostgreSQL's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What a URL's part may not hold as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As [`ENCODED`] for a path in a parameter, which is easier read with its slashes.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Reads where the server is out of the value of the engine's key and the keys beside it. Opens nothing; the problems are noted.
pub(super) fn read(engine: Engine, place: &Node, fields: &mut Fields<'_>, base: &Path, problems: &mut Problems) -> Option<Server> {
    let source = source(fields, base, problems);
    let text = place.text(&format!("where the database is, such as {}", engine.example()), problems)?;
    match parse(engine, text, base) {
        Ok(server) => Some(Server { source: source?, ..server }),
        Err(wrong) => {
            wrong.into_iter().for_each(|wrong| problems.add(place.mark, wrong));
            None
        }
    }
}

impl Server {
    /// Another server of the same engine, to which the same password is the way.
    pub(super) fn another(&self, place: &Node, base: &Path, problems: &mut Problems) -> Option<Self> {
        let text = place.text(&format!("where the server is, such as {}", self.engine.example()), problems)?;
        match parse(self.engine, text, base) {
            Ok(server) => Some(Self { source: self.source.clone(), ..server }),
            Err(wrong) => {
                wrong.into_iter().for_each(|wrong| problems.add(place.mark, wrong));
                None
            }
        }
    }

    /// Which SQL is spoken there.
    pub(super) fn dialect(&self) -> Dialect {
        match self.engine {
            Engine::Postgres => Dialect::Postgres,
            Engine::MySql => Dialect::MySql,
        }
    }

    /// The place as a person would name it.
    pub(super) fn shown(&self) -> String {
        let user = utf8_percent_encode(&self.user, ENCODED);
        let database = utf8_percent_encode(&self.database, ENCODED);
        let (key, usual) = (self.engine.key(), self.engine.port());
        match &self.way {
            Way::Tcp { host, port, .. } => format!("{key}://{user}@{}{}/{database}", bracketed(host), shown_port(*port, usual)),
            Way::Socket { path, port } => {
                let path = path.to_string_lossy();
                let path = utf8_percent_encode(&path, ENCODED_PATH);
                let parameter = self.engine.socket_parameter();
                let host = if self.engine == Engine::MySql { "localhost" } else { "" };
                format!("{key}://{user}@{host}{}/{database}?{parameter}={path}", shown_port(*port, usual))
            }
        }
    }

    /// What makes the database unique, whatever it is called: the user and the way of asking do not count. A socket and a network address
    /// of one server are two places to this; only the server itself can tell ([`crate::store::twins`]).
    pub(super) fn identity(&self) -> String {
        let (key, database) = (self.engine.key(), utf8_percent_encode(&self.database, ENCODED));
        match &self.way {
            Way::Tcp { host, port, .. } => {
                let host = host.parse::<IpAddr>().map_or_else(|_| host.trim_end_matches('.').to_owned(), |address| address.to_string());
                format!("{key}:{}:{port}/{database}", bracketed(&host))
            }
            Way::Socket { path, port } => {
                let mut path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                if self.engine == Engine::Postgres {
                    path.push(format!(".s.PGSQL.{port}"));
                }
                format!("{key}:{}:{database}", shown_path(&path))
            }
        }
    }

    /// How long connecting may take; the drivers leave that to whoever connects.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.timeout
    }

    /// What of the way to the server is weaker than it could be, in words for a warning. Who can read this machine's own traffic can read
    /// the records as well, so on the machine itself TLS may be off.
    pub(super) fn weaknesses(&self) -> Vec<String> {
        let Way::Tcp { host, tls, .. } = &self.way else { return Vec::new() };
        let weakness = match tls.mode {
            Mode::VerifyFull => return Vec::new(),
            Mode::Disable if is_this_machine(host) => return Vec::new(),
            Mode::Disable => "nothing is encrypted: whoever is on the way can read the records, and command what is destroyed",
            Mode::Require => "the server's certificate is not checked: another server can pass for it, and the password goes there",
            Mode::VerifyCa => {
                "the server's name is not checked: whoever holds a certificate of any authority that this system trusts can pass for it"
            }
        };
        vec![format!("is reached over the network with `sslmode={}`, so {weakness}; write `sslmode=verify-full`", tls.mode.as_str())]
    }

    /// What PostgreSQL's driver needs to connect. **Holds the password**, and prints it when asked to print itself.
    pub(super) fn postgres_options(&self) -> Result<PgConnectOptions, String> {
        self.refuse_environment(|name| std::env::var_os(name).is_some())?;
        let password = self.source.password()?;
        let options = PgConnectOptions::new_without_pgpass()
            .username(&self.user)
            .database(&self.database)
            // Without one the driver would take over PGPASSWORD; it sends an empty one where it has none.
            .password(password.as_ref().map_or("", |password| password.0.as_str()))
            .application_name("retentiond")
            .disable_statement_logging();
        Ok(match &self.way {
            Way::Socket { path, port } => options.host("localhost").port(*port).socket(path).ssl_mode(PgSslMode::Disable),
            Way::Tcp { host, port, tls } => {
                tls.look()?;
                let mut options = options.host(host).port(*port).ssl_mode(tls.mode.postgres());
                if let Some(root) = &tls.root {
                    options = options.ssl_root_cert(root);
                }
                if let Some((certificate, key)) = &tls.client {
                    options = options.ssl_client_cert(certificate).ssl_client_key(key);
                }
                options
            }
        })
    }

    /// What MySQL's driver needs to connect. **Holds the password**, and prints it when asked to print itself.
    pub(super) fn mysql_options(&self) -> Result<MySqlConnectOptions, String> {
        let mut options = MySqlConnectOptions::new()
            .username(&self.user)
            .database(&self.database)
            .charset("utf8mb4")
            .timezone("+00:00".to_owned())
            // The administrator's own conditions are read as the server reads them, not as the driver would like.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .disable_statement_logging();
        if let Some(password) = self.source.password()? {
            options = options.password(&password.0);
        }
        Ok(match &self.way {
            Way::Socket { path, .. } => options.socket(path).ssl_mode(MySqlSslMode::Disabled),
            Way::Tcp { host, port, tls } => {
                tls.look()?;
                options = options.host(host).port(*port).ssl_mode(tls.mode.mysql());
                if let Some(root) = &tls.root {
                    options = options.ssl_ca(root);
                }
                if let Some((certificate, key)) = &tls.client {
                    options = options.ssl_client_cert(certificate).ssl_client_key(key);
                }
                options
            }
        })
    }

    /// Variables that PostgreSQL's driver takes over and that can be neither overridden nor taken back.
    fn refuse_environment(&self, is_set: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut intruders = vec!["PGOPTIONS"];
        if let Way::Tcp { tls, .. } = &self.way
            && tls.mode != Mode::Disable
        {
            if tls.root.is_none() {
                intruders.push("PGSSLROOTCERT");
            }
            if tls.client.is_none() {
                intruders.extend(["PGSSLCERT", "PGSSLKEY"]);
            }
        }
        match intruders.into_iter().find(|name| is_set(name)) {
            None => Ok(()),
            Some(name) => {
                Err(format!("the environment has the variable {name}, and only the configuration says how databases are reached; unset it"))
            }
        }
    }
}

impl Tls {
    /// The driver's words for a file that it cannot read do not say which.
    fn look(&self) -> Result<(), String> {
        let files = self.root.iter().chain(self.client.iter().map(|(certificate, _)| certificate));
        for path in files {
            File::open(path).map_err(|error| format!("{}: expected a certificate: {error}", shown_path(path)))?;
        }
        self.client.as_ref().map_or(Ok(()), |(_, key)| private(key, "key"))
    }
}

fn shown_path(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn shown_port(port: u16, usual: u16) -> String {
    if port == usual { String::new() } else { format!(":{port}") }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Engine {
    /// The key in the configuration, which is the URL's scheme too.
    fn key(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::MySql => 3306,
        }
    }

    /// The parameter that names a socket: each engine's own.
    fn socket_parameter(self) -> &'static str {
        match self {
            Self::Postgres => "host",
            Self::MySql => "socket",
        }
    }

    fn example_socket(self) -> &'static str {
        match self {
            Self::Postgres => "/run/postgresql",
            Self::MySql => "/run/mysqld/mysqld.sock",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Postgres => "postgres://user@db.example.org:5432/database",
            Self::MySql => "mysql://user@db.example.org:3306/database",
        }
    }
}

impl Mode {
    const ALL: [Self; 4] = [Self::Disable, Self::Require, Self::VerifyCa, Self::VerifyFull];

    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        // Modes that fall back to no encryption when somebody on the way says so are not among them.
        let hint = || suggest(text, Self::ALL.map(Self::as_str));
        found.ok_or_else(|| format!("unknown `sslmode` \"{}\"{}", escape(text.as_bytes()), hint()))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    fn postgres(self) -> PgSslMode {
        match self {
            Self::Disable => PgSslMode::Disable,
            Self::Require => PgSslMode::Require,
            Self::VerifyCa => PgSslMode::VerifyCa,
            Self::VerifyFull => PgSslMode::VerifyFull,
        }
    }

    fn mysql(self) -> MySqlSslMode {
        match self {
            Self::Disable => MySqlSslMode::Disabled,
            Self::Require => MySqlSslMode::Required,
            Self::VerifyCa => MySqlSslMode::VerifyCa,
            Self::VerifyFull => MySqlSslMode::VerifyIdentity,
        }
    }
}
