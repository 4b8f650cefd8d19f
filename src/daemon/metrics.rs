//! Numbers for Prometheus: an HTTP server that only this machine reaches, and a file for the textfile collector of node-exporter.
//!
//! The server knows one request, `GET /metrics`. Whoever asks is given [`PATIENCE`] to send at most [`MAX_REQUEST`] bytes and one of [`MOST`] places,
//! gets one answer, and is disconnected; so nobody can hold up a run, or each other for long. The file is replaced as a whole, behind each run and
//! every few minutes, and its folder must exist; a file that cannot be written is told in the journal, once.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::state::{Event, State};
use crate::config::{Config, Listen};
use crate::control::listen;
use crate::error::{Error, Kind, Result, escape};
use crate::metrics::CONTENT_TYPE;

/// How many scrapers may be connected at a time.
const MOST: usize = 8;

/// How long one may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest request in bytes: Prometheus sends some 300.
const MAX_REQUEST: usize = 8 << 10;

/// Headers of a request that are read at most.
const MAX_HEADERS: usize = 64;

/// How long to wait when the system has no descriptors for a new client.
const PAUSE: Duration = Duration::from_secs(1);

/// How old the file may be: its age tells whoever watches that nobody writes it any more.
const AGE: Duration = Duration::from_mins(5);

/// What is listened at.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Begins to listen.
pub(super) async fn bind(place: &Listen) -> Result<Socket> {
    match place {
        Listen::Socket(path) => listen::bind_at(path, "metrics: listen").await.map(Socket::Unix),
        Listen::Loopback(at) => {
            let fail =
                |error| Error::with_source(Kind::Io, format!("{at}: cannot listen there; `metrics: listen` names another place"), error);
            TcpListener::bind(at).await.map(Socket::Tcp).map_err(fail)
        }
    }
}

/// Removes the socket that was listened at, if it has a path.
pub(super) fn put_away(config: &Config) {
    if let Some(Listen::Socket(path)) = &config.metrics.listen {
        // The next start does it otherwise.
        drop(std::fs::remove_file(path));
    }
}

/// Answers scrapers, for as long as the service runs.
pub(super) async fn answer(socket: Socket, state: Arc<State>) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let accepted = match &socket {
            Socket::Tcp(socket) => socket.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn Stream>),
            Socket::Unix(socket) => socket.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn Stream>),
        };
        match accepted {
            Ok(stream) => {
                // One for whom there is no place finds the connection closed.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    if let Err(error) = scrape(stream, &state).await {
                        tracing::debug!("a client of the metrics: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("metrics: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn scrape(mut stream: Box<dyn Stream>, state: &State) -> io::Result<()> {
    let (status, body) = match timeout(PATIENCE, request(&mut stream)).await {
        Err(_) => ("408 Request Timeout", "no request came\n".to_owned()),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(None)) => return Ok(()),
        Ok(Ok(Some(Err(refusal)))) => refusal,
        Ok(Ok(Some(Ok(())))) => {
            let (reply, text) = oneshot::channel();
            state.tell(Event::Scrape(reply));
            match timeout(PATIENCE, text).await {
                Ok(Ok(text)) => ("200 OK", text),
                _ => ("503 Service Unavailable", "the service is about to end, or stuck\n".to_owned()),
            }
        }
    };
    let kind = if status.starts_with("200") { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let send = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    };
    timeout(PATIENCE, send).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it takes no answer")))
}

type Refusal = (&'static str, String);

/// Reads a request; `None` when nobody asks anything, the inner error when it is not one that is answered.
async fn request(stream: &mut Box<dyn Stream>) -> io::Result<Option<std::result::Result<(), Refusal>>> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece[..read]);
        match judge(&bytes) {
            Some(judged) => return Ok(Some(judged)),
            None if bytes.len() >= MAX_REQUEST => {
                return Ok(Some(Err((
                    "431 Request Header Fields Too Large",
                    format!("expected a request of at most {MAX_REQUEST} bytes\n"),
                ))));
            }
            None => {}
        }
    }
}

/// What is to be said to these bytes; `None` while the request is not whole.
fn judge(bytes: &[u8]) -> Option<std::result::Result<(), Refusal>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Some(Err(("400 Bad Request", "expected a request in HTTP/1\n".into()))),
    }
    let path = request.path.unwrap_or_default();
    Some(match (request.method, path.split('?').next()) {
        (Some("GET"), Some("/metrics")) => Ok(()),
        (_, Some("/metrics")) => Err(("405 Method Not Allowed", "expected GET\n".into())),
        _ => Err(("404 Not Found", "the numbers are at /metrics\n".into())),
    })
}

/// The file for the textfile collector.
#[derive(Default)]
pub(super) struct Textfile {
    written: Option<Timestamp>,
    failing: bool,
    changed: bool,
}

impl Textfile {
    /// What it says is out of date.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.changed || self.written.is_none_or(|written| now.duration_since(written).unsigned_abs() >= AGE)
    }

    /// Replaces the file.
    pub(super) fn write(&mut self, path: &Path, text: &str, now: Timestamp) {
        (self.written, self.changed) = (Some(now), false);
        let shown = escape(path.as_os_str().as_encoded_bytes());
        let replaced = replace(path, text);
        match &replaced {
            Ok(()) if self.failing => tracing::info!("{shown}: the numbers are written again"),
            Err(error) if !self.failing => tracing::warn!("{shown}: the numbers for the textfile collector cannot be written: {error}"),
            _ => {}
        }
        self.failing = replaced.is_err();
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The collector reads only names that end in .prom.
    let mut file = tempfile::Builder::new().prefix(".retentiond-").suffix(".new").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    // The collector runs as another user.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_is_answered_and_all_others_are_told_why_not() {
        let status = |bytes: &str| judge(bytes.as_bytes()).map(|judged| judged.err().map_or("200", |(status, _)| &status[..3]));
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), Some("200"));
        assert_eq!(status("GET /metrics?name[]=x HTTP/1.0\r\n\r\n"), Some("200"));
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: x\r\n"), None);
        assert_eq!(status("POST /metrics HTTP/1.1\r\n\r\n"), Some("405"));
        assert_eq!(status("HEAD /metrics HTTP/1.1\r\n\r\n"), Some("405"));
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), Some("404"));
        assert_eq!(status("GET /metrics/../state HTTP/1.1\r\n\r\n"), Some("404"));
        assert_eq!(status("{\"verb\":\"run\"}\n"), Some("400"));
        assert_eq!(status(&format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65))), Some("400"));
    }
}
