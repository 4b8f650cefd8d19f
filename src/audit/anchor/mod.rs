//! Anchors: places outside the log's own reach that are told of each checkpoint, so that a log put back or written anew is noticed.
//!
//! Tree and signature show that no entry was changed under a checkpoint. They cannot show that somebody with the key and the disk did not put an
//! older copy in place, or sign another history. A checkpoint that lies where this somebody cannot reach shows it: it must be a prefix of the
//! log for ever. There are four kinds of places:
//!
//! - [`Anchor::Journald`]: the journal of the system, in a field of its own.
//! - [`Anchor::Folder`]: a folder, best one on another machine: [`folder`] has the format. The only kind that a start reads back.
//! - [`Anchor::Command`]: a command that gets the checkpoint on standard input.
//! - [`Anchor::Witness`]: a service that checks each checkpoint against the one before and cosigns it: [`witness`].
//!
//! **Order.** A checkpoint is anchored only when it is durable here, so an anchored checkpoint that is ahead of the log is never our doing.
//!
//! **Failure.** Every anchor has a thread of its own, and the log never waits for one but for a few seconds when it is closed. What cannot be
//! anchored waits in a short queue, is tried again, and gives way to newer checkpoints, which say more; it is reported, and nothing is lost from
//! the log. **Start.** [`check`] reads the folders that can be read and refuses a log of which an anchored checkpoint is no prefix.

pub mod check;
mod command;
mod folder;
mod journald;
pub mod witness;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::secret::shown;

/// Checkpoints that wait for one anchor at most: a minute of uninterrupted work.
const MOST_WAITING: usize = 64;

/// How long closing the log waits for its anchors, all together. A mount that hangs would hold it for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// After a failure an anchor is left alone for this long, and twice as long after each further one, up to the second.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A place that is told of every checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The journal of the system; the program's own messages where there is none.
    Journald,
    /// A folder that exists.
    Folder(PathBuf),
    /// A program and its arguments; no shell.
    Command(Vec<String>),
    /// A witness.
    Witness(Box<witness::Witness>),
}

impl Anchor {
    /// What people call it.
    pub fn name(&self) -> String {
        match self {
            Self::Journald => "journald".to_owned(),
            Self::Folder(folder) => shown(folder),
            Self::Command(words) => format!("command {}", crate::error::escape(words.first().map_or(&[], |word| word.as_bytes()))),
            Self::Witness(witness) => format!("witness {}", witness.name()),
        }
    }
}

/// A checkpoint on its way out.
#[derive(Clone, Debug)]
struct Note {
    size: u64,
    text: Arc<str>,
}

/// Something that a checkpoint can be put into.
trait Place: Send {
    /// Puts it there, durably as far as the place can say; the words of a failure follow the place's name.
    fn put(&mut self, note: &Note) -> Result<(), String>;

    /// Whether a checkpoint that waits is worth nothing once a newer one is there.
    fn newest_only(&self) -> bool {
        false
    }
}

/// How it stands with an anchor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// What people call it.
    pub anchor: String,
    /// The number of entries of the newest checkpoint that it took in this process.
    pub size: Option<u64>,
    /// When it took that one.
    pub taken: Option<Timestamp>,
    /// Why the newest attempt failed, if it did.
    pub failed: Option<String>,
    /// What was seen at the start and a person should know.
    pub noticed: Option<String>,
}

/// How it stands with the anchors of a log; can be asked after the log was closed.
#[derive(Clone, Debug, Default)]
pub struct Report(Vec<Arc<Shared>>);

impl Report {
    /// Every anchor in the order of the settings.
    pub fn states(&self) -> Vec<State> {
        self.0.iter().map(|shared| shared.lock().state.clone()).collect()
    }
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Note>,
    newest_only: bool,
    closed: bool,
    /// Whether the thread has ended.
    ended: bool,
    state: State,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The anchors of an open log, each with its thread.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    shared: Vec<Arc<Shared>>,
}

impl Anchors {
    /// Starts a thread for each anchor of the log in `folder`; `seen` says what the start found at each.
    pub(super) fn start(anchors: &[Anchor], folder: &Path, node: &str, seen: Vec<check::Seen>) -> std::io::Result<Self> {
        let mut this = Self::default();
        for (anchor, seen) in anchors.iter().zip(seen) {
            let place: Box<dyn Place> = match anchor {
                Anchor::Journald => Box::new(journald::Journald::new(Path::new(journald::SOCKET))),
                Anchor::Folder(path) => Box::new(folder::Folder::new(path, node, seen.newest)),
                Anchor::Command(words) => Box::new(command::Command::new(words)),
                Anchor::Witness(witness) => Box::new(witness.client(folder)),
            };
            let state = State { anchor: anchor.name(), noticed: seen.noticed, ..State::default() };
            let inner = Inner { waiting: VecDeque::new(), newest_only: place.newest_only(), closed: false, ended: false, state };
            let shared = Arc::new(Shared { inner: Mutex::new(inner), changed: Condvar::new() });
            this.shared.push(Arc::clone(&shared));
            thread::Builder::new().name("audit-anchor".to_owned()).spawn(move || work(&shared, place))?;
        }
        Ok(this)
    }

    pub(super) fn report(&self) -> Report {
        Report(self.shared.clone())
    }

    /// Hands a durable checkpoint to every anchor; waits for none.
    pub(super) fn publish(&self, size: u64, text: &Arc<str>) {
        for shared in &self.shared {
            let mut inner = shared.lock();
            if inner.newest_only {
                inner.waiting.clear();
            } else if inner.waiting.len() >= MOST_WAITING {
                inner.waiting.pop_front();
            }
            inner.waiting.push_back(Note { size, text: Arc::clone(text) });
            shared.changed.notify_all();
        }
    }

    /// Tries once more what waits, and returns when every anchor has done so or the patience is over.
    pub(super) fn finish(&self) {
        for shared in &self.shared {
            shared.lock().closed = true;
            shared.changed.notify_all();
        }
        let end = Instant::now() + PATIENCE;
        for shared in &self.shared {
            let mut inner = shared.lock();
            while !inner.ended {
                let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                    let why = format!("did not answer within {} seconds", PATIENCE.as_secs());
                    inner.state.failed.get_or_insert(why);
                    break;
                };
                inner = shared.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl Drop for Anchors {
    fn drop(&mut self) {
        // The threads end by themselves.
        for shared in &self.shared {
            shared.lock().closed = true;
            shared.changed.notify_all();
        }
    }
}

/// The thread of one anchor.
fn work(shared: &Shared, mut place: Box<dyn Place>) {
    let mut pause = FIRST_PAUSE;
    let mut rest_until: Option<Instant> = None;
    let mut inner = shared.lock();
    loop {
        let resting = rest_until.and_then(|until| until.checked_duration_since(Instant::now())).filter(|_| !inner.closed);
        inner = match (inner.waiting.front().cloned(), resting) {
            (None, _) if inner.closed => break,
            (None, _) => shared.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            (Some(_), Some(rest)) => shared.changed.wait_timeout(inner, rest).unwrap_or_else(PoisonError::into_inner).0,
            (Some(note), None) => {
                inner.waiting.pop_front();
                drop(inner);
                let result = place.put(&note);
                inner = shared.lock();
                match result {
                    Ok(()) => {
                        if inner.state.failed.take().is_some() {
                            tracing::info!("anchor {}: takes checkpoints again", inner.state.anchor);
                        }
                        inner.state.size = Some(note.size);
                        inner.state.taken = Some(Timestamp::now());
                        (pause, rest_until) = (FIRST_PAUSE, None);
                    }
                    Err(why) => {
                        if inner.state.failed.as_ref() != Some(&why) {
                            tracing::warn!("anchor {}: {why}", inner.state.anchor);
                        }
                        inner.state.failed = Some(why);
                        if inner.closed {
                            break;
                        }
                        if inner.waiting.is_empty() || !inner.newest_only {
                            inner.waiting.push_front(note);
                        }
                        rest_until = Some(Instant::now() + pause);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
                inner
            }
        };
    }
    inner.ended = true;
    shared.changed.notify_all();
}

#[cfg(test)]
mod tests;
