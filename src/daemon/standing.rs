//! How the service stands: all that `status` shows, and Prometheus and notices are made of.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::agenda::Stand;
use super::state::State;
use super::{Service, lot, shown, state, status_of};
use crate::audit::anchor;
use crate::clock;
use crate::control::{Status, status};
use crate::error::Result;

/// How old the size of the log's folder may be: it has some files for each 256 entries, and counting them all is work.
const AGE: Duration = Duration::from_mins(15);

impl Service {
    pub(super) async fn status(&mut self) -> Result<Status> {
        let now = clock::now();
        let mut status = status_of(&self.state.session.configured(self.state.config())).await?;
        let most = self.state.config().service.catch_up_delay;
        let running = self.state.running();
        for row in &mut status.datasets {
            row.running = running.get(&row.dataset).map(state::Running::shown);
            let Some(slot) = self.slots.get_mut(&row.dataset) else { continue };
            row.failures = slot.failures;
            row.why = slot.why.clone();
            row.period = slot.period();
            row.ends = self.ends.get(&row.dataset).cloned().unwrap_or_default();
            row.next = match slot.stand(now, most, lot()) {
                Stand::Due => Some(shown(now)),
                Stand::Wait(next) => next.map(shown),
            };
        }
        status.service = Some(status::Service {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            since: shown(self.since),
            loaded: shown(self.loaded),
            reload_refused: self.reload_refused.clone(),
            clock_refused: self.state.clock_refused(),
            stopping: self.state.session.stop.load(Ordering::Relaxed),
        });
        if let Some(log) = &mut status.log {
            log.bytes = self.size.counted(&self.state);
            log.anchors = self.state.session.log.anchors().states().into_iter().map(anchor).collect();
        }
        status.notices = self.desk.channels();
        Ok(status)
    }
}

fn anchor(state: anchor::State) -> status::Anchor {
    status::Anchor { anchor: state.anchor, taken: state.taken.map(shown), failed: state.failed }
}

/// The log as its checkpoint tells of it; `None` when there is none that can be read.
pub(super) fn log_of(folder: &Path) -> Option<status::Log> {
    let path = folder.join("checkpoint");
    // Origin, size, root. Whether it is signed is for those to check who rely on it.
    let entries = std::fs::read_to_string(&path).ok()?.lines().nth(1)?.parse().ok()?;
    let written = std::fs::metadata(&path).and_then(|found| found.modified()).ok().and_then(|at| Timestamp::try_from(at).ok());
    Some(status::Log { entries, checkpoint: written.map(shown), ..status::Log::default() })
}

/// How many bytes the log's folder takes, counted now and then in a thread of its own.
#[derive(Default)]
pub(super) struct Size(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    bytes: Option<u64>,
    at: Option<Instant>,
}

impl Size {
    /// What was counted last; counts anew if that is old.
    pub(super) fn counted(self: &Arc<Self>, state: &State) -> Option<u64> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, old) = (counted.bytes, counted.at.is_none_or(|at| at.elapsed() > AGE));
        drop(counted);
        if old {
            self.count(state);
        }
        bytes
    }

    /// Begins to count.
    pub(super) fn count(self: &Arc<Self>, state: &State) {
        let (this, folder) = (Arc::clone(self), state.config().state.join("audit"));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at = Some(Instant::now());
        tokio::task::spawn_blocking(move || {
            let bytes = taken(folder);
            this.0.lock().unwrap_or_else(PoisonError::into_inner).bytes = Some(bytes);
        });
    }
}

/// Bytes on the disk below a folder, as far as it can be read; files that go away meanwhile count nothing.
fn taken(folder: PathBuf) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += found.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    bytes
}
