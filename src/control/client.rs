//! The client's side of the control socket: finds the running service, asks, and passes the answers on.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{MAX_LINE, Reply, Request};
use crate::config::{Config, Whereabouts};
use crate::error::{Error, Kind, Result, escape};

/// How long the greeting and the request may take: a service that does not answer in this time is stuck. The answer to a run takes as long as the run.
const GREETING: Duration = Duration::from_secs(10);

/// A connection to the running service.
pub struct Client {
    stream: BufReader<UnixStream>,
    place: String,
}

impl Client {
    /// Connects to the service of this configuration; `None` when none runs there, and the verb is to act itself.
    pub fn connect(config: &Config) -> Result<Option<Self>> {
        Self::at(&config.state, &config.service.control)
    }

    /// The same for a configuration that need not load, which is of use to whoever asks the service and nothing else.
    pub fn of(file: &Path) -> Result<Option<Self>> {
        let Whereabouts { state, control } = Whereabouts::read(file)?;
        Self::at(&state, &control)
    }

    fn at(state: &Path, path: &Path) -> Result<Option<Self>> {
        let place = escape(path.as_os_str().as_encoded_bytes());
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            // Nothing is there, or the socket of a service that is no more.
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => return Ok(None),
            // A folder that this user may not enter says nothing of a service; the lock will.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(Error::with_source(Kind::Io, format!("{place}: the service cannot be reached"), error)),
        };
        let limit = stream.set_read_timeout(Some(GREETING)).and_then(|()| stream.set_write_timeout(Some(GREETING)));
        limit.map_err(|error| Error::with_source(Kind::Io, format!("{place}: the service cannot be reached"), error))?;
        let mut client = Self { stream: BufReader::new(stream), place };
        match client.next()? {
            Some(Reply::Hello { state: theirs, .. }) if theirs == state_of(state) => Ok(Some(client)),
            Some(Reply::Hello { .. }) => Ok(None),
            Some(Reply::Done { error, .. }) => {
                let why = error.unwrap_or_else(|| "it gave no reason".into());
                Err(Error::new(Kind::Refused, format!("{}: the service turned this down: {why}", client.place)))
            }
            other => Err(Error::new(Kind::Io, format!("{}: expected the service's greeting, found {other:?}", client.place))),
        }
    }

    /// Sends the request and takes every answer until the last; answers the exit code.
    pub fn ask(mut self, request: &Request, mut take: impl FnMut(Reply) -> Result<()>) -> Result<u8> {
        let fail = |error: std::io::Error| Error::with_source(Kind::Io, format!("{}: the service cannot be asked", self.place), error);
        let mut line =
            serde_json::to_vec(request).map_err(|error| Error::with_source(Kind::Usage, "the request cannot be written", error))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(fail)?;
        self.stream.get_mut().set_read_timeout(None).map_err(fail)?;
        loop {
            match self.next()? {
                Some(Reply::Done { code, error }) => {
                    if let Some(error) = error {
                        eprintln!("{error}");
                    }
                    return Ok(code);
                }
                Some(reply) => take(reply)?,
                None => {
                    return Err(Error::new(
                        Kind::Io,
                        format!("{}: the service ended before it had answered; what it had begun is in the audit log", self.place),
                    ));
                }
            }
        }
    }

    /// The next answer; `None` at the end.
    fn next(&mut self) -> Result<Option<Reply>> {
        let fail = |error: std::io::Error| Error::with_source(Kind::Io, format!("{}: the service does not answer", self.place), error);
        let mut line = Vec::new();
        // An answer may be longer than a request: a status names every dataset.
        self.stream.by_ref().take(64 * MAX_LINE as u64).read_until(b'\n', &mut line).map_err(fail)?;
        if line.is_empty() {
            return Ok(None);
        }
        let reply = serde_json::from_slice(&line);
        reply.map(Some).map_err(|error| Error::with_source(Kind::Io, format!("{}: the answer cannot be read", self.place), error))
    }
}

/// How service and client name the state folder to each other.
pub fn state_of(state: &Path) -> String {
    let state = std::fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
    escape(state.as_os_str().as_encoded_bytes())
}
