//! The appender thread: what it has answered for is durable.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::disk::Disk;
use super::frame::Frame;
use super::journal::Journal;
use super::log::{Committed, Lock};
use super::writer::{Progress, Reply, Request};
use crate::error::{self, Error, Result};

/// What the writer asks the appender for.
pub(super) enum Job {
    /// Append this frame and tell those whose entries it has.
    Frame {
        frame: Frame,
        replies: Vec<(Committed, Reply)>,
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
    pub(super) free: Free,
    /// Why publishing has ended, if it has.
    pub(super) broken: Arc<OnceLock<String>>,
    /// Says by its end that the publisher has ended.
    pub(super) published: Receiver<()>,
    pub(super) lock: Lock,
}

/// Tells the writer that the disk is free, also when the appender ends in whatever way: then nothing is waited for any more.
pub(super) struct Free {
    pub(super) progress: Arc<Progress>,
    pub(super) queue: mpsc::WeakSender<Request>,
}

impl Free {
    fn tell(&self) {
        // If the queue is full the writer is awake, and looks by itself.
        if let Some(queue) = self.queue.upgrade() {
            let _ = queue.try_send(Request::Appended);
        }
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        self.progress.end();
        self.tell();
    }
}

impl<D: Disk> Appender<D> {
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Frame { frame, replies } => self.append(frame, replies),
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
        self.end();
    }

    /// Appends a frame and answers everyone who waits for it.
    fn append(&mut self, frame: Frame, replies: Vec<(Committed, Reply)>) {
        let appended = self.journal.append(&frame);
        // The next frame need not wait for the answers.
        if self.free.progress.step() {
            self.free.tell();
        }
        for (committed, reply) in replies {
            let answer = match &appended {
                Ok(()) => Ok(committed),
                Err(e) => Err(Error::new(e.kind(), e.to_string())),
            };
            // A caller that no longer waits needs no answer.
            let _ = reply.send(answer);
        }
        if appended.is_ok() && self.work.send(Work::Frame(frame)).is_err() {
            let _ = self.broken.set("the publishing thread is gone".to_owned());
        }
    }

    /// Ends when the publisher has ended too, so that nobody writes any more when the lock is free.
    fn end(self) {
        let Self { journal, work, published, lock, .. } = self;
        drop((journal, work));
        // It says nothing, and is over when the publisher is.
        let _ = published.recv();
        drop(lock);
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
        self.end();
        let _ = reply.send(result);
    }
}
