//! The two threads behind an open log.
//!
//! The writer thread owns the journal and the lock. It takes everything that waits in its queue, appends it as one frame, answers, and hands
//! the frame on. The publisher thread owns the tree. Between them is a short queue: a publisher that falls behind slows commits down, it never
//! makes memory grow. Neither thread knows what an entry means, but for one thing: intents are refused when what follows them might not fit.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::anchor::Anchors;
use super::disk::Disk;
use super::entry::{Draft, Kind, stamp};
use super::journal::{Frame, Journal};
use super::log::{Clock, Committed, Lock};
use super::publish::Publisher;
use crate::error::{self, Error, Result};

/// An append is closed at this many bytes, so that the first in it does not wait for the last: about 10 ms of writing.
const MAX_GROUP: usize = 4 << 20;

/// Frames that may wait to be published, and as many that wait to be used again: a burst while folders are synced, and 2 × 6 × 4 MiB of memory at
/// the very most of common use.
const BACKLOG: usize = 6;

/// The age of a commit at which it is published without being asked: what an outsider can be shown is never older than this.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Nonces fetched from the system at once: its call costs 30 times what a nonce costs.
const NONCE_BLOCK: usize = 256;

/// What callers ask the writer for.
#[derive(Debug)]
pub(super) enum Request {
    /// Append these and answer when they are durable.
    Commit {
        /// The entries.
        drafts: Vec<Draft>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Committed>>,
    },
    /// Publish all that came before.
    Publish(oneshot::Sender<Result<u64>>),
    /// Publish all that came before, and end.
    Close(oneshot::Sender<Result<u64>>),
    /// A checkpoint of this many entries is durable.
    Published(u64),
}

/// What the writer asks the publisher for.
enum Work {
    Frame(Frame),
    Publish(oneshot::Sender<Result<u64>>),
    Close(SyncSender<Result<u64>>),
    /// Delete these segments of the journal.
    Delete(Vec<PathBuf>),
}

/// The writing half of an open log.
pub(super) struct Writer<D> {
    journal: Journal<D>,
    clock: Clock,
    /// The time in the newest entry.
    newest: Option<Arc<str>>,
    /// Random numbers not used yet.
    nonces: Vec<[u8; 16]>,
    /// Frames that are published, to be used again.
    used: Option<Receiver<Frame>>,
    /// Why publishing has ended, if it has.
    broken: Arc<OnceLock<String>>,
    _lock: Lock,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(journal: Journal<D>, clock: Clock, newest: Option<String>, lock: Lock) -> Self {
        let (nonces, broken) = (Vec::new(), Arc::default());
        Self { journal, clock, newest: newest.map(Into::into), nonces, used: None, broken, _lock: lock }
    }

    /// Starts both threads; they end when every sender of `requests` is gone, or on [`Request::Close`].
    pub(super) fn start(
        mut self,
        publisher: Publisher<D>,
        requests: mpsc::Receiver<Request>,
        queue: mpsc::WeakSender<Request>,
        anchors: Anchors,
    ) -> Result<Vec<JoinHandle<()>>> {
        let (work, works) = sync_channel(BACKLOG);
        let (publisher_used, used) = sync_channel(BACKLOG);
        self.used = Some(used);
        let broken = Arc::clone(&self.broken);
        let fail = |e: io::Error| Error::with_source(error::Kind::Io, "audit log: a thread cannot be started", e);
        let publishing = Publishing { publisher, used: publisher_used, queue, broken, anchors };
        let publishing = thread::Builder::new().name("audit-publish".to_owned()).spawn(move || publishing.run(&works)).map_err(fail)?;
        let writing = thread::Builder::new().name("audit-write".to_owned()).spawn(move || self.run(requests, &work)).map_err(fail)?;
        Ok(vec![writing, publishing])
    }

    fn run(mut self, mut requests: mpsc::Receiver<Request>, work: &SyncSender<Work>) {
        while let Some(request) = requests.blocking_recv() {
            let (mut groups, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(request);
            while let Some(Request::Commit { drafts, reply }) = next {
                bytes += drafts.iter().map(Draft::max_len).sum::<usize>();
                groups.push(drafts);
                replies.push(reply);
                next = if bytes < MAX_GROUP { requests.try_recv().ok() } else { None };
            }
            if !groups.is_empty() {
                self.commit(groups, replies, work);
            }
            match next {
                Some(Request::Publish(reply)) => {
                    // If the publisher has ended, the reply is dropped with it and the caller hears that the log is closed.
                    let _ = work.send(Work::Publish(reply));
                }
                Some(Request::Published(size)) => {
                    let covered = self.journal.retire(size);
                    if !covered.is_empty() {
                        let _ = work.send(Work::Delete(covered));
                    }
                }
                Some(Request::Close(reply)) => return self.close(reply, work),
                Some(Request::Commit { .. }) | None => {}
            }
        }
    }

    /// Appends the entries of several callers at once and answers each.
    fn commit(&mut self, mut groups: Vec<Vec<Draft>>, mut replies: Vec<oneshot::Sender<Result<Committed>>>, work: &SyncSender<Work>) {
        if let Err(e) = self.check_intents(&groups) {
            let is_intent = |group: &Vec<Draft>| group.iter().any(|draft| draft.kind() == Kind::Intent);
            let (mut left, mut waiting) = (Vec::new(), Vec::new());
            for (group, reply) in groups.into_iter().zip(replies) {
                if is_intent(&group) {
                    // A caller that no longer waits needs no answer, here and below.
                    let _ = reply.send(Err(Error::new(e.kind(), e.to_string())));
                } else {
                    left.push(group);
                    waiting.push(reply);
                }
            }
            (groups, replies) = (left, waiting);
            if groups.is_empty() {
                return;
            }
        }
        match self.append(&groups) {
            Ok(frame) => {
                let at = self.newest.clone().unwrap_or_default();
                let mut first = frame.first();
                for (group, reply) in groups.iter().zip(replies) {
                    let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
                    let _ = reply.send(Ok(Committed::new(first, count, Arc::clone(&at))));
                    first += u64::from(count);
                }
                let _ = work.send(Work::Frame(frame));
            }
            Err(e) => {
                for reply in replies {
                    let _ = reply.send(Err(Error::new(e.kind(), e.to_string())));
                }
            }
        }
    }

    /// Whether what follows an intent will find room, if there is one among these.
    fn check_intents(&mut self, groups: &[Vec<Draft>]) -> Result<()> {
        if !groups.iter().flatten().any(|draft| draft.kind() == Kind::Intent) {
            return Ok(());
        }
        if let Some(why) = self.broken.get() {
            return Err(Error::new(
                error::Kind::LogLost,
                format!("audit log: no more intents until the next start, as publishing failed: {why}"),
            ));
        }
        let bytes: usize = groups.iter().flatten().map(|draft| draft.max_len() + 4).sum();
        self.journal.make_room(bytes as u64)
    }

    /// Makes entries of the drafts and appends them as one frame; when this returns they are durable.
    pub(super) fn append(&mut self, groups: &[Vec<Draft>]) -> Result<Frame> {
        let now: Arc<str> = stamp((self.clock)()).into();
        // Both have the same form, so the order of the texts is that of the times.
        let at = self.newest.take().filter(|newest| *newest > now).unwrap_or(now);
        self.newest = Some(Arc::clone(&at));
        let used = self.used.as_ref().and_then(|used| used.try_recv().ok()).unwrap_or_default();
        let mut frame = Frame::begin(self.journal.next(), used);
        for draft in groups.iter().flatten() {
            let (n, nonce) = (frame.end(), self.nonce()?);
            frame.push(|out| draft.write(out, n, &at, nonce));
        }
        frame.seal();
        self.journal.append(&frame)?;
        Ok(frame)
    }

    fn nonce(&mut self) -> Result<[u8; 16]> {
        if self.nonces.is_empty() {
            let mut random = [0; 16 * NONCE_BLOCK];
            getrandom::fill(&mut random)
                .map_err(|e| Error::with_source(error::Kind::LogLost, "audit log: no random numbers for the entries", e))?;
            self.nonces.extend_from_slice(random.as_chunks().0);
        }
        Ok(self.nonces.pop().unwrap_or_default())
    }

    /// Ends the log: everything is published, the journal is left empty, and the lock is free before the answer goes out.
    fn close(mut self, reply: oneshot::Sender<Result<u64>>, work: &SyncSender<Work>) {
        let (done, result) = sync_channel(1);
        let _ = work.send(Work::Close(done));
        let gone = || Err(Error::new(error::Kind::LogLost, "audit log: the publishing thread is gone"));
        let mut result = result.recv().unwrap_or_else(|_| gone());
        if let (Ok(size), None) = (&result, self.journal.poison()) {
            for path in self.journal.retire(*size) {
                self.journal.delete_segment(&path);
            }
        }
        if let Some(why) = self.journal.poison() {
            result = Err(Error::new(error::Kind::LogLost, why.to_owned()));
        }
        drop(self);
        let _ = reply.send(result);
    }
}

/// The publisher thread.
struct Publishing<D> {
    publisher: Publisher<D>,
    /// Frames go back to the writer here.
    used: SyncSender<Frame>,
    queue: mpsc::WeakSender<Request>,
    broken: Arc<OnceLock<String>>,
    anchors: Anchors,
}

impl<D: Disk> Publishing<D> {
    fn run(mut self, works: &Receiver<Work>) {
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
