//! The connections of a store that are not in use at the moment.
//!
//! A server takes longer to let somebody in, and to read its own catalogue for them, than to answer most of what is asked; and one thing follows another:
//! a database is checked, scanned, removed from. So a connection is kept when its work is done, for whatever comes next.
//!
//! - **Not for long**: it is closed when nothing came for [`IDLE`], and given to nobody [`OPEN`] after it was opened. A server sees no idle guests, a
//!   password that was changed is asked for, and whoever took over for a server is found.
//! - **Not after a failure**: nobody knows what state it is in. Where one is lost, all are closed: another server may answer in its place by now.
//! - **Not unasked**: a server that was restarted has closed it. Who reads gets one that has just answered. Who removes may get one that has not, and is
//!   told so: a question before each batch would cost more than the attempt.
//! - **What reads cannot write**, by the server's own word, until it is told that it may. What may write is not used to read.
//! - **Nothing is remembered** by one that reads of what it was used for before: a table may have other columns now than when a statement was prepared.
//!
//! SQLite's are opened each time and closed at once: that is quick, and an open file is in the way of whoever moves it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::session::{Outcome, Place, Session};
use super::statement::Dialect;

/// A connection for which there is no use is closed after this time.
const IDLE: Duration = Duration::from_secs(1);

/// A connection is given out for this long after it was opened.
const OPEN: Duration = Duration::from_mins(1);

/// See the file's header.
pub(super) struct Pool {
    place: Place,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    idle: Vec<Idle>,
    /// Closes what is idle for too long, while anything is idle.
    closing: Option<JoinHandle<()>>,
}

/// A connection that waits to be used.
struct Idle {
    session: Session,
    since: Instant,
}

impl Pool {
    pub(super) fn new(place: Place) -> Self {
        Self { place, kept: Arc::default() }
    }

    /// A connection that reads.
    pub(super) async fn read(&self) -> Outcome<Session> {
        while let Some(session) = self.take(|session| !session.writes()).await {
            if let Some(session) = self.renewed(session, false).await {
                return Ok(session);
            }
        }
        self.place.open_read().await
    }

    /// A connection that was kept and may write now, if there is one. It may have been closed meanwhile.
    pub(super) async fn kept_to_write(&self) -> Option<Session> {
        if let Some(session) = self.take(Session::writes).await {
            return Some(session);
        }
        while let Some(session) = self.take(|_| true).await {
            if let Some(session) = self.renewed(session, true).await {
                return Some(session);
            }
        }
        None
    }

    /// The connection, if it still answers, in the time in which a new one would have to be there.
    async fn renewed(&self, mut session: Session, writes: bool) -> Option<Session> {
        session.renew(writes, self.place.connect_timeout()).await.is_ok().then_some(session)
    }

    /// Takes back a connection that has done its work. Whether one that writes may be used again after a failure, who removes with it knows.
    pub(super) async fn keep(&self, session: Session) {
        let failed = session.is_lost() || !session.writes() && session.has_failed();
        if failed || session.dialect() == Dialect::Sqlite || session.age() >= OPEN {
            return self.give_up(session).await;
        }
        let mut kept = locked(&self.kept);
        kept.idle.push(Idle { session, since: Instant::now() });
        // One that was begun in a runtime that is no more has ended with it.
        if kept.closing.as_ref().is_none_or(JoinHandle::is_finished) {
            kept.closing = Some(tokio::spawn(close_idle(Arc::clone(&self.kept))));
        }
    }

    /// Closes a connection that is not to be used again; if it is lost, all that is kept with it.
    pub(super) async fn give_up(&self, session: Session) {
        if session.is_lost() {
            self.clear().await;
        }
        session.close().await;
    }

    /// Closes all that is kept.
    pub(super) async fn clear(&self) {
        let all = std::mem::take(&mut locked(&self.kept).idle);
        close(all).await;
    }

    /// The one of this kind that was used last.
    async fn take(&self, fits: impl Fn(&Session) -> bool + Send) -> Option<Session> {
        let (found, old) = {
            let idle = &mut locked(&self.kept).idle;
            let old: Vec<Idle> = idle.extract_if(.., |one| one.session.age() >= OPEN).collect();
            let found = idle.iter().rposition(|one| fits(&one.session)).map(|at| idle.remove(at).session);
            (found, old)
        };
        close(old).await;
        found
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut locked(&self.kept).idle);
        // In order where that is possible; a server notices otherwise, too.
        if let (false, Ok(runtime)) = (idle.is_empty(), Handle::try_current()) {
            runtime.spawn(close(idle));
        }
    }
}

/// Closes each connection when it was idle for long enough, until there is none.
async fn close_idle(kept: Arc<Mutex<Kept>>) {
    loop {
        let first = {
            let mut kept = locked(&kept);
            let Some(first) = kept.idle.iter().map(|one| one.since).min() else {
                // Said before anybody can add one.
                kept.closing = None;
                return;
            };
            first
        };
        tokio::time::sleep((first + IDLE).saturating_duration_since(Instant::now())).await;
        let over: Vec<Idle> = locked(&kept).idle.extract_if(.., |one| one.since.elapsed() >= IDLE).collect();
        close(over).await;
    }
}

async fn close(all: Vec<Idle>) {
    for one in all {
        one.session.close().await;
    }
}

fn locked(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
