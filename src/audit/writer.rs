//! The three threads behind an open log.
//!
//! The **writer** takes what waits in its queue and forms a frame of it: it gives out indices and times, and hashes every entry. The **appender** owns the
//! journal and the lock: it appends frame after frame, waits for the disk and answers. The **publisher** owns the tree and turns frames into
//! tiles. While the disk is busy with one frame the next one is formed, and whatever comes meanwhile still goes into it: it is handed over when the
//! disk is free, or when it is full.
//!
//! Between two threads is a short queue each: whoever falls behind slows commits down and never makes memory grow. A frame is appended only when the one before
//! it is durable, so a crash never leaves a whole frame behind a torn one. None of them knows what an entry means, but for one thing: intents are
//! refused when what follows them might not fit.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};
use tokio::sync::{mpsc, oneshot};

use super::anchor::Anchors;
use super::appender::{Appender, Free, Job};
use super::disk::Disk;
use super::entry::{Draft, Kind, stamp};
use super::frame::{ENTRY_HEADER, Frame, MAX_BODY};
use super::journal::Journal;
use super::log::{Clock, Committed, Lock};
use super::publish::Publisher;
use super::publishing::Publishing;
use crate::error::{self, Error, Result};

/// A frame is closed at this many bytes, so that the first in it does not wait for the last: about 5 ms of writing.
const MAX_GROUP: usize = 2 << 20;

/// Frames that may wait to be published, and as many that wait to be used again: a burst while folders are synced, and 2 × 6 × 2 MiB of memory at
/// the very most of common use.
const BACKLOG: usize = 6;

/// Nonces made of one seed from the system: it takes seven times as long to give random numbers as it takes to make them here.
const NONCE_BLOCK: usize = 1024;

/// Where the answer to a commit goes.
pub(super) type Reply = oneshot::Sender<Result<Committed>>;

/// What callers ask the writer for.
#[derive(Debug)]
pub(super) enum Request {
    /// Append these and answer when they are durable.
    Commit {
        /// The entries.
        drafts: Vec<Draft>,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Publish all that came before.
    Publish(oneshot::Sender<Result<u64>>),
    /// Publish all that came before, and end.
    Close(oneshot::Sender<Result<u64>>),
    /// A checkpoint of this many entries is durable.
    Published(u64),
    /// The disk is free.
    Appended,
}

/// How far the appender is, for the writer.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Frames that it is done with.
    appended: AtomicU64,
    /// Whether the writer waits to hear of the next one.
    awaited: AtomicBool,
}

impl Progress {
    /// The appender is done with a frame; whether the writer waits to hear that.
    pub(super) fn step(&self) -> bool {
        self.appended.fetch_add(1, Ordering::SeqCst);
        self.awaited.swap(false, Ordering::SeqCst)
    }

    /// The appender has ended: nothing is waited for any more.
    pub(super) fn end(&self) {
        self.appended.store(u64::MAX, Ordering::SeqCst);
    }
}

/// What goes into frames, and the frame that is being formed.
struct Former {
    clock: Clock,
    /// The time in the newest entry.
    newest: Option<Arc<str>>,
    /// Random numbers not used yet.
    nonces: Vec<[u8; 16]>,
    /// Frames that are published, to be used again.
    used: Option<Receiver<Frame>>,
    /// Index of the first entry of the next frame.
    next: u64,
    frame: Frame,
}

impl Former {
    /// Makes entries of what one caller commits, all of it or nothing; answers which entries they will be.
    fn add(&mut self, drafts: &[Draft]) -> Result<Committed> {
        self.fetch_nonces(drafts.len())?;
        // Asked for each caller: a frame may be open for as long as a disk takes, and nothing is to be older than what it tells of. Both have the same
        // form, so the order of the texts is that of the times.
        let now: Arc<str> = stamp((self.clock)()).into();
        let at = self.newest.take().filter(|newest| *newest > now).unwrap_or(now);
        self.newest = Some(Arc::clone(&at));
        if self.frame.is_empty() {
            let used = self.used.as_ref().and_then(|used| used.try_recv().ok()).unwrap_or_default();
            self.frame = Frame::begin(self.next, used);
        }
        let first = self.frame.end();
        for draft in drafts {
            let (n, nonce) = (self.frame.end(), self.nonces.pop().unwrap_or_default());
            self.frame.push(draft.stem(), |out| draft.write(out, n, &at, nonce));
        }
        Ok(Committed::new(first, u32::try_from(drafts.len()).unwrap_or(u32::MAX), at))
    }

    /// The frame, sealed.
    fn take(&mut self) -> Frame {
        let mut frame = std::mem::take(&mut self.frame);
        frame.seal();
        self.next = frame.end();
        frame
    }

    /// Makes sure that there are so many nonces.
    fn fetch_nonces(&mut self, count: usize) -> Result<()> {
        while self.nonces.len() < count {
            let mut seed = <StdRng as SeedableRng>::Seed::default();
            getrandom::fill(&mut seed)
                .map_err(|e| Error::with_source(error::Kind::LogLost, "audit log: no random numbers for the entries", e))?;
            let mut random = StdRng::from_seed(seed);
            self.nonces.resize_with(self.nonces.len() + NONCE_BLOCK, Default::default);
            let new = self.nonces.len() - NONCE_BLOCK;
            random.fill_bytes(self.nonces[new..].as_flattened_mut());
        }
        Ok(())
    }
}

/// The writing half of an open log, before its threads run.
pub(super) struct Writer<D> {
    former: Former,
    journal: Journal<D>,
    lock: Lock,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(journal: Journal<D>, clock: Clock, newest: Option<String>, lock: Lock) -> Self {
        let (next, newest) = (journal.next(), newest.map(Into::into));
        let former = Former { clock, newest, nonces: Vec::new(), used: None, next, frame: Frame::default() };
        Self { former, journal, lock }
    }

    /// Appends entries; when this returns they are durable.
    pub(super) fn append(&mut self, drafts: &[Draft]) -> Result<Frame> {
        self.former.add(drafts)?;
        let frame = self.former.take();
        self.journal.append(&frame)?;
        Ok(frame)
    }

    /// Starts the threads; they end when every sender of `requests` is gone, or on [`Request::Close`].
    pub(super) fn start(
        mut self,
        publisher: Publisher<D>,
        requests: mpsc::Receiver<Request>,
        queue: mpsc::WeakSender<Request>,
        anchors: Anchors,
    ) -> Result<Vec<JoinHandle<()>>> {
        let (work, works) = sync_channel(BACKLOG);
        let (publisher_used, used) = sync_channel(BACKLOG);
        // One frame waits while another one is appended, and only when it is full.
        let (jobs, waiting) = sync_channel(1);
        self.former.used = Some(used);
        let (broken, progress) = (Arc::<OnceLock<String>>::default(), Arc::<Progress>::default());
        let (until, published) = sync_channel(0);
        let publishing =
            Publishing { publisher, used: publisher_used, queue: queue.clone(), broken: Arc::clone(&broken), anchors, _until: until };
        let (journal, lock) = (self.journal, self.lock);
        let free = Free { progress: Arc::clone(&progress), queue };
        let appender = Appender { journal, work, free, broken: Arc::clone(&broken), published, lock };
        let (replies, handed, room) = (Vec::new(), 0, i64::MIN);
        let forming = Forming { former: self.former, replies, jobs, progress, handed, room, broken };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
            spawned.map_err(|e: io::Error| Error::with_source(error::Kind::Io, "audit log: a thread cannot be started", e))
        };
        let publishing = spawn("audit-publish", Box::new(move || publishing.run(&works)))?;
        let appending = spawn("audit-append", Box::new(move || appender.run(&waiting)))?;
        let writing = spawn("audit-write", Box::new(move || forming.run(requests)))?;
        Ok(vec![writing, appending, publishing])
    }
}

/// The writer thread.
struct Forming {
    former: Former,
    /// Who waits for the frame that is being formed, each with what it is told when that is durable.
    replies: Vec<(Committed, Reply)>,
    jobs: SyncSender<Job>,
    progress: Arc<Progress>,
    /// Frames that were handed over.
    handed: u64,
    /// Bytes that the journal surely has room for before it touches what is kept for outcomes, besides what was handed over. Less than none when that is
    /// not known.
    room: i64,
    /// Why publishing has ended, if it has.
    broken: Arc<OnceLock<String>>,
}

impl Forming {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            let mut request = requests.try_recv().ok();
            if request.is_none() {
                // Nothing else waits.
                self.hand_over_or_await();
                request = requests.blocking_recv();
            }
            let Some(request) = request else { break };
            match request {
                Request::Commit { drafts, reply } => self.commit(&drafts, reply),
                Request::Appended => {}
                Request::Publish(reply) => self.ask(Job::Publish(reply)),
                Request::Published(size) => {
                    self.ask(Job::Retire(size));
                    // There may be a new segment.
                    self.room = i64::MIN;
                }
                Request::Close(reply) => return self.ask(Job::Close(reply)),
            }
        }
        self.hand_over();
    }

    /// Adds what one caller commits to the frame.
    fn commit(&mut self, drafts: &[Draft], reply: Reply) {
        let bytes = drafts.iter().map(|draft| draft.max_len() + ENTRY_HEADER).sum::<usize>();
        if self.former.frame.len() + bytes > MAX_GROUP || self.former.frame.told() + bytes > MAX_BODY {
            self.hand_over();
        }
        match self.check_intents(drafts, bytes).and_then(|()| self.former.add(drafts)) {
            Ok(committed) => self.replies.push((committed, reply)),
            // A caller that no longer waits needs no answer.
            Err(e) => drop(reply.send(Err(e))),
        }
    }

    /// Whether what follows an intent will find room, if there is one among these.
    fn check_intents(&mut self, drafts: &[Draft], bytes: usize) -> Result<()> {
        if !drafts.iter().any(|draft| draft.kind() == Kind::Intent) {
            return Ok(());
        }
        if let Some(why) = self.broken.get() {
            return Err(Error::new(
                error::Kind::LogLost,
                format!("audit log: no more intents until the next start, as publishing failed: {why}"),
            ));
        }
        let needed = self.former.frame.len() + bytes;
        if i64::try_from(needed).is_ok_and(|needed| needed <= self.room) {
            return Ok(());
        }
        let (answer, room) = sync_channel(1);
        // If the appender has ended, the answer is dropped with the question.
        let _ = self.jobs.send(Job::Room { bytes: needed as u64, answer });
        self.room = room.recv().unwrap_or_else(|_| Err(Error::new(error::Kind::LogLost, "audit log: the appending thread is gone")))?;
        Ok(())
    }

    /// Hands the frame over if the disk is free; otherwise the appender says when it is.
    fn hand_over_or_await(&mut self) {
        if self.replies.is_empty() {
            return;
        }
        // First said and then looked: the appender does it the other way round, so one of both notices.
        self.progress.awaited.store(true, Ordering::SeqCst);
        if self.progress.appended.load(Ordering::SeqCst) >= self.handed {
            self.progress.awaited.store(false, Ordering::SeqCst);
            self.hand_over();
        }
    }

    /// Hands the frame over, if there is anything in it, and waits while another one is waiting already.
    fn hand_over(&mut self) {
        if self.replies.is_empty() {
            return;
        }
        let frame = self.former.take();
        self.room = self.room.saturating_sub(i64::try_from(frame.len()).unwrap_or(i64::MAX));
        self.handed += 1;
        // If the appender has ended, the replies are dropped with the frame, and the callers hear that the log is closed.
        let _ = self.jobs.send(Job::Frame { frame, replies: std::mem::take(&mut self.replies) });
    }

    /// Asks for something that comes after all that was committed before.
    fn ask(&mut self, job: Job) {
        self.hand_over();
        let _ = self.jobs.send(job);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::audit::Entry;

    #[test]
    fn no_nonce_comes_twice_within_what_is_made_of_a_seed_nor_across_seeds() {
        let mut nonces = std::collections::HashSet::new();
        for _ in 0..3 {
            let clock: Clock = Box::new(|| Timestamp::UNIX_EPOCH);
            let mut former = Former { clock, newest: None, nonces: Vec::new(), used: None, next: 0, frame: Frame::default() };
            for count in [1, NONCE_BLOCK, NONCE_BLOCK + 1, 7] {
                former.add(&vec![Draft::new(Kind::Overdue, &json!({})).unwrap(); count]).unwrap();
            }
            let frame = former.take();
            assert!(frame.entries().all(|entry| nonces.insert(Entry::parse(&entry.to_vec()).unwrap().nonce)));
        }
        assert_eq!(nonces.len(), 3 * (2 * NONCE_BLOCK + 9));
    }

    #[test]
    fn entries_have_the_time_of_their_commit_however_long_the_frame_is_open_and_never_an_earlier_one_than_those_before() {
        let times = Mutex::new(vec![2_i64, 7, 5, 1].into_iter());
        let clock: Clock = Box::new(move || Timestamp::from_second(times.lock().unwrap().next().unwrap()).unwrap());
        let mut former = Former { clock, newest: None, nonces: Vec::new(), used: None, next: 40, frame: Frame::default() };
        let drafts = |count: usize| vec![Draft::new(Kind::Overdue, &json!({})).unwrap(); count];
        let said: Vec<Committed> = [1, 2, 1, 300].map(|count| former.add(&drafts(count)).unwrap()).into();
        assert_eq!(said.iter().map(|one| (one.first(), one.count())).collect::<Vec<_>>(), [(40, 1), (41, 2), (43, 1), (44, 300)]);
        let frame = former.take();
        let entries: Vec<Entry> = frame.entries().map(|entry| Entry::parse(&entry.to_vec()).unwrap()).collect();
        assert_eq!(entries.iter().map(|entry| entry.n).collect::<Vec<_>>(), (40..344).collect::<Vec<_>>());
        for (at, one) in [2, 7, 7, 7].into_iter().zip(&said) {
            let written = stamp(Timestamp::from_second(at).unwrap());
            assert_eq!(one.at(), written);
            let of = usize::try_from(one.first() - 40).unwrap();
            assert!(entries[of..of + one.count() as usize].iter().all(|entry| entry.at == written));
        }
        assert_eq!((former.next, former.frame.is_empty()), (344, true));
    }
}
