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

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::error::escape;
use crate::yaml::{Fields, Node, Problems, resolve, suggest};

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

/// Where the password is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// There is none: the server knows us by our certificate or by our user.
    Nothing,
    /// A credential that systemd hands to the service.
    Credential(String),
    /// A file that only we can read.
    File(PathBuf),
}

/// A password, which does not show itself.
struct Password(String);

/// How long connecting may take when the URL does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time that may be asked for: a run must not seem to hang.
const LONGEST_TIMEOUT: u64 = 600;

/// Longest password that is read, in bytes: tokens of clouds have some thousand.
const LONGEST: u64 = 16 << 10;

/// What a URL's part may not hold as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As [`ENCODED`] for a path in a parameter, which is easier read with its slashes.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// What is said of a secret in the file, whatever it is and wherever it stands.
const NO_SECRETS: &str = "secrets never stand in the file; remove the password here and write `credential:` (of the systemd service) \
     or `password-file:` beside it. In a parameter, `@` is written %40";

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

/// Where the password is; `None` when what is written there cannot be meant.
fn source(fields: &mut Fields<'_>, base: &Path, problems: &mut Problems) -> Option<Source> {
    let (credential, file) = (fields.take("credential"), fields.take("password-file"));
    match (credential, file) {
        (None, None) => Some(Source::Nothing),
        (Some(_), Some(node)) => {
            problems.add(node.mark, "`credential` and `password-file` stand together, and there is one password; keep one");
            None
        }
        (Some(node), None) => {
            let name = node.text("the name of a credential of the systemd service", problems)?;
            // The name becomes the name of a file, and must not lead out of the folder.
            let fine = name.len() <= 255 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
            if !fine || name.starts_with('.') {
                // Somebody may have written the password itself.
                let expected = "expected the name of a credential, in letters, digits, `.`, `_` and `-`, found something else";
                problems.add(node.mark, format!("{expected}; write the NAME of `LoadCredential=NAME:…` in the service's unit"));
                return None;
            }
            Some(Source::Credential(name.to_owned()))
        }
        (None, Some(node)) => {
            let written = node.text("the path of a file that holds the password", problems)?;
            Some(Source::File(resolve(base, written)))
        }
    }
}

/// What a URL's parameters say.
#[derive(Default)]
struct Parameters {
    mode: Option<Mode>,
    root: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    socket: Option<PathBuf>,
    timeout: Option<Duration>,
}

/// The server that a URL names; otherwise everything that is wrong with it, in words that repeat none of its values.
fn parse(engine: Engine, text: &str, base: &Path) -> Result<Server, Vec<String>> {
    let form = |wrong: &str| vec![format!("{wrong}; write for example {}", engine.example())];
    // First of all: whatever stands between a colon and an `@` may be a password, and must not be taken for anything else and repeated.
    let behind_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    if behind_scheme.rsplit_once('@').is_some_and(|(before, _)| before.contains(':') || before.to_ascii_lowercase().contains("%3a")) {
        return Err(vec![format!("found a password: {NO_SECRETS}")]);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(form(&format!("expected a URL that begins with `{}://`, found something else", engine.key())));
    };
    if scheme != engine.key() {
        let known = ["postgres", "postgresql", "mysql", "mariadb"].into_iter().find(|known| *known == scheme);
        let found = known.map_or_else(|| "another beginning".to_owned(), |known| format!("`{known}://`"));
        return Err(form(&format!("expected a URL that begins with `{}://`, found {found}", engine.key())));
    }
    if rest.chars().any(|c| c.is_control() || c.is_whitespace() || c == '#') {
        return Err(form("found a space, a `#` or a control character in the URL, where such are written %20, %23 and the like"));
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password with a `&` in it seems to be several parameters, whose names must not be repeated.
    let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default().to_ascii_lowercase());
    if names.into_iter().any(|name| ["pass", "pwd", "secret", "token"].iter().any(|word| name.contains(word))) {
        return Err(vec![format!("found a password among the parameters: {NO_SECRETS}")]);
    }
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    let Some((user, address)) = authority.split_once('@') else {
        return Err(form("expected the database's user before an `@`, found none"));
    };
    let user = decoded(user).filter(|user| !user.is_empty() && !user.contains(':'));
    let user = user.ok_or_else(|| form("expected the database's user before the `@`, found none that can be read"))?;
    let database = Some(database).filter(|name| !name.contains('/')).and_then(decoded).filter(|name| !name.is_empty());
    let database =
        database.ok_or_else(|| form("expected the name of one database after the host and a `/`, found none that can be read"))?;
    let (host, port) = split_address(address).map_err(|wrong| form(&wrong))?;
    // Only now: before it was sure that a `@` ends the user, the names of parameters might have been parts of a password.
    let parameters = parameters(engine, query, base)?;
    let timeout = parameters.timeout.unwrap_or(TIMEOUT);
    let way = way(engine, host, port, parameters).map_err(|wrong| form(&wrong))?;
    Ok(Server { engine, user, database, way, source: Source::Nothing, timeout })
}

/// Socket or network, and what TLS is to do there.
fn way(engine: Engine, host: Option<String>, port: Option<u16>, parameters: Parameters) -> Result<Way, String> {
    let Parameters { mode, root, certificate, key, socket, timeout: _ } = parameters;
    if let Some(path) = socket {
        let parameter = engine.socket_parameter();
        match (engine, host.as_deref()) {
            (_, None | Some("localhost")) => {}
            _ => return Err(format!("found a host and `{parameter}=`, which names a socket of this machine; keep one")),
        }
        if engine == Engine::MySql && port.is_some() {
            return Err("found a port and `socket=`; a socket has no port, remove it".to_owned());
        }
        if mode.is_some_and(|mode| mode != Mode::Disable) || root.is_some() || certificate.is_some() || key.is_some() {
            return Err("found TLS asked for over a socket, where there is none; remove `sslmode` and the certificates".to_owned());
        }
        return Ok(Way::Socket { path, port: port.unwrap_or(engine.port()) });
    }
    let Some(host) = host else {
        let (parameter, example) = (engine.socket_parameter(), engine.example_socket());
        return Err(format!("expected the server's host after the `@`, or its socket as `?{parameter}={example}`, found neither"));
    };
    let mode = mode.unwrap_or(Mode::VerifyFull);
    let client = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err("found one of `sslcert` and `sslkey` without the other; a client's certificate needs both".to_owned()),
    };
    if root.is_some() && matches!(mode, Mode::Disable | Mode::Require) {
        let word = mode.as_str();
        return Err(format!("found `sslrootcert` with `sslmode={word}`, which checks no certificate; write `sslmode=verify-full`"));
    }
    if client.is_some() && mode == Mode::Disable {
        return Err("found `sslcert` with `sslmode=disable`, which shows none; write `sslmode=verify-full`".to_owned());
    }
    Ok(Way::Tcp { host, port: port.unwrap_or(engine.port()), tls: Tls { mode, root, client } })
}

/// The parameters of a URL; only those that are known, each once.
fn parameters(engine: Engine, query: &str, base: &Path) -> Result<Parameters, Vec<String>> {
    let pairs: Vec<(&str, &str)> =
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    let socket = engine.socket_parameter();
    let known = ["sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", socket];
    let mut out = Parameters::default();
    let mut wrong = Vec::new();
    for (at, (name, value)) in pairs.iter().enumerate() {
        let shown = escape(name.as_bytes());
        if !known.contains(name) {
            let hint = if *name == "user" { "; write the user before an `@`".to_owned() } else { suggest(name, known) };
            wrong.push(format!("unknown parameter `{shown}`{hint}"));
            continue;
        }
        if pairs[..at].iter().any(|(other, _)| other == name) {
            wrong.push(format!("the parameter `{shown}` stands here twice; remove one of the two"));
            continue;
        }
        let Some(value) = decoded(value).filter(|value| !value.is_empty()) else {
            wrong.push(format!("expected a value for the parameter `{shown}`, found none that can be read"));
            continue;
        };
        match *name {
            "sslmode" => match Mode::parse(&value) {
                Ok(mode) => out.mode = Some(mode),
                Err(error) => wrong.push(error),
            },
            "sslrootcert" if value == "system" => {
                wrong.push("leave `sslrootcert=system` out; the system's authorities are trusted".to_owned());
            }
            "sslrootcert" => out.root = Some(resolve(base, &value)),
            "sslcert" => out.certificate = Some(resolve(base, &value)),
            "sslkey" => out.key = Some(resolve(base, &value)),
            "connect_timeout" => match value.parse::<u64>().ok().filter(|seconds| (1..=LONGEST_TIMEOUT).contains(seconds)) {
                Some(seconds) => out.timeout = Some(Duration::from_secs(seconds)),
                None => wrong.push(format!("expected `connect_timeout` in seconds, from 1 to {LONGEST_TIMEOUT}, found something else")),
            },
            _ if value.starts_with('/') => out.socket = Some(PathBuf::from(value)),
            _ => wrong.push(format!(
                "expected the whole path of a socket for `{socket}`, such as {}, found something else; a host stands after the `@`",
                engine.example_socket()
            )),
        }
    }
    if wrong.is_empty() { Ok(out) } else { Err(wrong) }
}

/// Host and port of `host:port`, `[::1]:port` or nothing.
fn split_address(address: &str) -> Result<(Option<String>, Option<u16>), String> {
    let (host, port) = match address.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, rest))) if host.parse::<Ipv6Addr>().is_ok() => match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("expected `:` and a port after the address in brackets, found something else".to_owned()),
        },
        Some(_) => return Err("expected an IPv6 address in brackets, such as [::1], found something else".to_owned()),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Some(number),
            _ => return Err("expected a port, a number from 1 to 65535, after the host and a colon, found something else".to_owned()),
        },
    };
    let fine = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) || host.parse::<Ipv6Addr>().is_ok();
    if !fine || host.len() > 253 {
        return Err(
            "expected a host in letters, digits, `.`, `-` and `_`, found something else; an IPv6 address stands in brackets".to_owned()
        );
    }
    Ok((Some(host.to_ascii_lowercase()).filter(|host| !host.is_empty()), port))
}

/// A part of a URL with its `%XX` replaced; `None` when that gives no plain text.
fn decoded(part: &str) -> Option<String> {
    let whole = part.split('%').skip(1).all(|after| after.len() >= 2 && after.bytes().take(2).all(|b| b.is_ascii_hexdigit()));
    let text = percent_decode_str(part).decode_utf8().ok().filter(|_| whole)?;
    (!text.chars().any(char::is_control)).then(|| text.into_owned())
}

impl Server {
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
    /// of one server are two places to this; only the server itself could tell.
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
        let password = self.password()?;
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
        if let Some(password) = self.password()? {
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

    /// The password as it is now.
    fn password(&self) -> Result<Option<Password>, String> {
        self.password_from(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref())
    }

    fn password_from(&self, credentials: Option<&Path>) -> Result<Option<Password>, String> {
        match &self.source {
            Source::Nothing => Ok(None),
            Source::File(path) => {
                private(path, "password")?;
                password_in(path).map(Some)
            }
            Source::Credential(name) => {
                let Some(folder) = credentials.filter(|folder| folder.is_absolute()) else {
                    return Err(format!(
                        "the credential \"{name}\" is handed over by systemd only, and CREDENTIALS_DIRECTORY is not set; start the service \
                         with `LoadCredential={name}:PATH` in its unit, or write `password-file:`"
                    ));
                };
                let path = folder.join(name);
                if !path.exists() {
                    return Err(format!("the service has no credential \"{name}\"; write `LoadCredential={name}:PATH` in its unit"));
                }
                // Its permissions are systemd's: an access list makes it look readable for a group.
                password_in(&path).map(Some)
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

/// Whether a file is there and only its owner can use it.
fn private(path: &Path, what: &str) -> Result<(), String> {
    let shown = shown_path(path);
    let found = std::fs::metadata(path).map_err(|error| format!("{shown}: expected a file with the {what}: {error}"))?;
    if !found.is_file() {
        return Err(format!("{shown}: expected a file with the {what}, found something else"));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "{shown}: expected a {what} that only its owner can read, found mode {mode:04o}; run `chmod 600` on it and consider \
             who has read it"
        ));
    }
    Ok(())
}

/// The password that a file holds, without the line end that editors put behind it.
fn password_in(path: &Path) -> Result<Password, String> {
    let shown = shown_path(path);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{shown}: the password cannot be read: {error}"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("{shown}: expected a password of at most {LONGEST} bytes, found more"));
    }
    // The error of the conversion would hold the bytes.
    let Ok(mut text) = String::from_utf8(bytes) else {
        return Err(format!("{shown}: expected a password in UTF-8, found bytes that are not"));
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(format!("{shown}: expected a password, found nothing"));
    }
    if text.contains('\0') {
        return Err(format!("{shown}: expected a password, found a byte 0 in it, where the server would end it"));
    }
    Ok(Password(text))
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

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(not shown)")
    }
}

#[cfg(test)]
mod tests;
