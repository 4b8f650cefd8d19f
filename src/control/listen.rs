//! The service's side of the control socket.
//!
//! Everybody may connect; the kernel says who they are, and [`peer`] what they may do. A client is given little: a few seconds to send one line of
//! bounded length, a few to take each answer, and one of [`MOST`] places. Whatever it sends, or whenever it goes away, harms nobody else; a run that
//! it ordered goes on.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::peer::{self, Rights};
use super::{MAX_LINE, MAX_ORDER, Reply, Request};
use crate::error::{Error, Kind, REFUSED, Result, escape};

/// How many clients may be connected at a time.
const MOST: usize = 32;

/// How long a client may take to ask, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait when the system has no descriptors for a new client.
const PAUSE: Duration = Duration::from_secs(1);

/// What a client asks for.
pub struct Ask {
    /// The request; whoever asks may do this.
    pub request: Request,
    /// Who asks, for the log.
    pub person: String,
    /// Takes the answers; the last is [`Reply::Done`].
    pub replies: mpsc::UnboundedSender<Reply>,
}

/// Takes what clients ask for.
pub type Take = Arc<dyn Fn(Ask) + Send + Sync>;

/// Binds the socket. What is left of a service that is no more is put away; one that answers is refused.
pub async fn bind(path: &Path) -> Result<UnixListener> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let fail = |error| Error::with_source(Kind::Io, format!("{shown}: cannot listen there; `control` names another place"), error);
    if UnixStream::connect(path).await.is_ok() {
        return Err(Error::new(Kind::Refused, format!("{shown}: another service listens there; `control` names another place")));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let socket = UnixListener::bind(path).map_err(fail)?;
    // Who may do what is decided by who connects; the folder may be closed to others all the same.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(fail)?;
    Ok(socket)
}

/// Lets clients ask, for as long as it is not dropped; `state` is how they know the state folder.
pub async fn answer(socket: UnixListener, state: String, take: Take) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                // A client for whom there is no place finds the connection closed.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let (state, take) = (state.clone(), Arc::clone(&take));
                tokio::spawn(async move {
                    if let Err(error) = client(stream, state, &take).await {
                        tracing::debug!("a client of the control socket: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("control socket: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn client(stream: UnixStream, state: String, take: &Take) -> io::Result<()> {
    let credentials = stream.peer_cred()?;
    let (uid, gid) = (credentials.uid(), credentials.gid());
    let own = rustix::process::geteuid().as_raw();
    let mut stream = BufReader::new(stream);
    // Accounts may live in a directory that takes its time.
    let rights = tokio::task::spawn_blocking(move || {
        let known = peer::rights(uid, &[], own);
        if known == Rights::Change { known } else { peer::rights(uid, &peer::groups(uid, gid), own) }
    });
    let rights = timeout(PATIENCE, rights).await.ok().and_then(std::result::Result::ok).unwrap_or(Rights::None);
    if rights == Rights::None {
        tracing::warn!(uid, "turned away at the control socket");
        let (change, read) = (peer::GROUP, peer::READERS);
        return refuse(&mut stream, REFUSED, format!("uid {uid} is neither root nor in the group {change} or {read}")).await;
    }
    let hello = Reply::Hello { version: env!("CARGO_PKG_VERSION").into(), state };
    write(&mut stream, &hello).await?;
    let mut line = Vec::new();
    let most = if rights == Rights::Change { MAX_ORDER } else { MAX_LINE };
    let limited = timeout(PATIENCE, (&mut stream).take(most as u64 + 1).read_until(b'\n', &mut line)).await;
    let Ok(read) = limited else { return refuse(&mut stream, 2, "no request came".into()).await };
    read?;
    if line.is_empty() {
        return Ok(());
    }
    if line.len() > most {
        return refuse(&mut stream, 2, format!("expected a request of at most {most} bytes in one line")).await;
    }
    let request: Request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => return refuse(&mut stream, 2, format!("the request cannot be read: {}", escape(error.to_string().as_bytes()))).await,
    };
    if rights < Rights::Change && !request.only_reads() {
        tracing::warn!(uid, "may only read, and asked to change something");
        return refuse(&mut stream, REFUSED, format!("uid {uid} may only ask how things stand; the group {} may do this", peer::GROUP))
            .await;
    }
    let behalf = request.on_behalf_of().map(str::to_owned);
    let person = tokio::task::spawn_blocking(move || peer::person(uid, behalf.as_deref())).await.unwrap_or_else(|_| format!("uid {uid}"));
    let (replies, mut answers) = mpsc::unbounded_channel();
    take(Ask { request, person, replies });
    while let Some(reply) = answers.recv().await {
        write(&mut stream, &reply).await?;
    }
    Ok(())
}

async fn refuse(stream: &mut BufReader<UnixStream>, code: u8, error: String) -> io::Result<()> {
    write(stream, &Reply::Done { code, error: Some(error) }).await
}

async fn write(stream: &mut BufReader<UnixStream>, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    match timeout(PATIENCE, stream.get_mut().write_all(&line)).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it takes no answer")),
    }
}
