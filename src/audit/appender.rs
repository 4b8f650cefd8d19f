//! The appender thread: what it has answered for is durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::{mpsc, oneshot};

use super::disk::Disk;
use super::journal::{Frame, Journal};
use super::log::{Committed, Lock};
use super::writer::{Progress, Reply, Request};
use crate::error::{self, Error, Result};

/// What the writer asks the appender for.
pub(super) enum Job {
    /// Append this frame and answer those whose entries it has, each with their number, in order.
    Frame {
        frame: Frame,
        at: Arc<str>,
        replies: Vec<(u32, Reply)>,
    },
    /// Make room for so many bytes and what follows them; the answer is for how many there is room.
    Room {
        bytes: u64,
        answer: SyncSender<Result<i64>>,
    },
    Publish(oneshot::Sender<Result<u64>>),
    Close(oneshot::Sender<Result<u64>>),
    /// A checkpoint of so many entries is durable.
    Retire(u64),
}

/// What the appender asks the publisher for.
pub(super) enum Work {
    Frame(Frame),
    Publish(oneshot::Sender<Result<u64>>),
    Close(SyncSender<Result<u64>>),
    /// Delete these segments of the journal.
    Delete(Vec<PathBuf>),
}

/// The appender thread.
pub(super) struct Appender<D> {
    pub(super) journal: Journal<D>,
    pub(super) work: SyncSender<Work>,
    pub(super) progress: Arc<Progress>,
    pub(super) queue: mpsc::WeakSender<Request>,
    pub(super) _lock: Lock,
}

impl<D: Disk> Appender<D> {
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Frame { frame, at, replies } => self.append(frame, &at, replies),
                Job::Room { bytes, answer } => {
                    let room = self.journal.make_room(bytes);
                    let _ = answer.send(room);
                }
                Job::Publish(reply) => {
                    // If the publisher has ended, the reply is dropped with it and the caller hears that the log is closed.
                    let _ = self.work.send(Work::Publish(reply));
                }
                Job::Retire(size) => {
                    let covered = self.journal.retire(size);
                    if !covered.is_empty() {
                        let _ = self.work.send(Work::Delete(covered));
                    }
                }
                Job::Close(reply) => return self.close(reply),
            }
        }
    }

    /// Appends a frame and answers everyone who waits for it.
    fn append(&mut self, frame: Frame, at: &Arc<str>, replies: Vec<(u32, Reply)>) {
        let appended = self.journal.append(&frame);
        // The next frame need not wait for the answers. If the queue is full the writer is awake, and looks by itself.
        if self.progress.step()
            && let Some(queue) = self.queue.upgrade()
        {
            let _ = queue.try_send(Request::Appended);
        }
        let mut first = frame.first();
        for (count, reply) in replies {
            let answer = match &appended {
                Ok(()) => Ok(Committed::new(first, count, Arc::clone(at))),
                Err(e) => Err(Error::new(e.kind(), e.to_string())),
            };
            // A caller that no longer waits needs no answer.
            let _ = reply.send(answer);
            first += u64::from(count);
        }
        if appended.is_ok() {
            let _ = self.work.send(Work::Frame(frame));
        }
    }

    /// Ends the log: everything is published, the journal is left empty, and the lock is free before the answer goes out.
    fn close(mut self, reply: oneshot::Sender<Result<u64>>) {
        let (done, result) = sync_channel(1);
        let _ = self.work.send(Work::Close(done));
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
