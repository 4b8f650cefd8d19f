//! The URL of a database on a server.
//!
//! It is read by hand, because no word of what may be a password is to be repeated, whatever is wrong with the rest.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::{Engine, Mode, Server, Tls, Way};
use crate::error::escape;
use crate::password::Source;
use crate::yaml::{resolve, suggest};

/// How long connecting may take when the URL does not say.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time that may be asked for: a run must not seem to hang.
const LONGEST_TIMEOUT: u64 = 600;

/// What is said of a secret in the file, whatever it is and wherever it stands.
const NO_SECRETS: &str = "secrets never stand in the file; remove the password here and write `credential:` (of the systemd service) \
     or `password-file:` beside it. In a parameter, `@` is written %40";

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
pub(super) fn parse(engine: Engine, text: &str, base: &Path) -> Result<Server, Vec<String>> {
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
