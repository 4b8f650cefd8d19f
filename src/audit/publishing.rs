//! The publisher thread: everything that is committed is published, at the latest [`MAX_AGE`] later.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::anchor::Anchors;
use super::appender::Work;
use super::disk::Disk;
use super::frame::Frame;
use super::publish::Publisher;
use super::writer::Request;
use crate::error::{self, Error, Result};

/// The age of a commit at which it is published without being asked: what an outsider can be shown is never older than this.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The publisher thread.
pub(super) struct Publishing<D> {
    pub(super) publisher: Publisher<D>,
    /// Frames go back to the writer here.
    pub(super) used: SyncSender<Frame>,
    pub(super) queue: mpsc::WeakSender<Request>,
    /// Why publishing has ended, if it has.
    pub(super) broken: Arc<OnceLock<String>>,
    pub(super) anchors: Anchors,
    /// Dropped when it has ended.
    pub(super) _until: SyncSender<()>,
}

impl<D: Disk> Publishing<D> {
    pub(super) fn run(mut self, works: &Receiver<Work>) {
        // Since when there is something that no checkpoint covers.
        let mut since: Option<Instant> = None;
        loop {
            let work = match since {
                // Nothing to do: no wakeups.
                None => works.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => works.recv_timeout(MAX_AGE.saturating_sub(since.elapsed())),
            };
            match work {
                Ok(Work::Frame(frame)) => {
                    since = since.or_else(|| Some(Instant::now()));
                    if self.broken.get().is_none()
                        && let Err(e) = self.publisher.integrate(&frame)
                    {
                        self.give_up(&e);
                    }
                    // The writer has enough of them if this one does not fit.
                    let _ = self.used.try_send(frame);
                }
                Ok(Work::Publish(reply)) => {
                    since = None;
                    let _ = reply.send(self.publish());
                }
                Ok(Work::Close(done)) => {
                    let result = self.publish();
                    self.anchors.finish();
                    let _ = done.send(result);
                    return;
                }
                Ok(Work::Delete(segments)) => {
                    for path in segments {
                        self.publisher.delete_segment(&path);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Dropped without close: the journal has what is not published.
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if since.is_some_and(|since| since.elapsed() >= MAX_AGE) {
                since = None;
                // A failure is kept, and told to whoever asks for an intent, a checkpoint or the end.
                let _ = self.publish();
            }
        }
    }

    fn publish(&mut self) -> Result<u64> {
        if let Some(why) = self.broken.get() {
            return Err(Error::new(error::Kind::LogLost, why.clone()));
        }
        let before = self.publisher.published();
        match self.publisher.publish() {
            Ok(size) => {
                // It is durable here, so it may go elsewhere.
                if size > before {
                    self.anchors.publish(size, &self.publisher.note());
                }
                // If its queue is full the writer hears of the next one.
                if let Some(queue) = self.queue.upgrade() {
                    let _ = queue.try_send(Request::Published(size));
                }
                Ok(size)
            }
            Err(e) => {
                self.give_up(&e);
                Err(e)
            }
        }
    }

    /// A failed fsync must not be tried again, and a tree that lacks an entry must not be signed: publishing ends until the next start.
    fn give_up(&self, e: &Error) {
        let _ = self.broken.set(e.to_string());
    }
}
