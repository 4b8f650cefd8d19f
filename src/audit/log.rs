//! The audit log, open for writing: one writer in one process.
//!
//! [`AuditLog`] is a handle to three threads. The *writer* takes what is committed and gives out indices and times, the *appender* makes it durable in
//! the journal: everything that came while the last append waited for the disk goes into the next one, with one fdatasync for all. The *publisher*
//! turns what is committed into tiles and a signed checkpoint, at the latest one second after the commit, without holding the others up.
//!
//! A commit is answered after it is durable, with [`Committed`]: nothing outside this folder can make one, so holding it is proof that the
//! entries will still be there after any crash.
//!
//! **Start.** The lock is taken, the checkpoint's signature and the tree's right edge are checked, then the journal is replayed through the
//! same code that publishes always. Any contradiction is a refusal that names the file; nothing is repaired but a torn last frame.
//!
//! **Failure.** A write or fsync of the journal that fails ends the log: every later commit fails with [`error::Kind::LogLost`] until the next
//! start. If only publishing fails, intents are refused, so that nothing more is destroyed, and outcomes still go to the journal.
//!
//! **Crash.** At any instruction: what was answered is there at the next start; what was not may be.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::anchor::check::check_newest;
use super::anchor::{Anchor, Anchors, Report};
use super::anew::{self, Previous};
use super::checkpoint::{SigningKey, Verifier, origin};
use super::disk::{Disk, RealDisk};
use super::entry::{Draft, Entry, Kind, Stem};
use super::frame::{ENTRY_HEADER, MAX_BODY};
use super::journal::{Journal, damaged, lost};
use super::keys::Keys;
use super::publish::Publisher;
use super::rotation::{self, Chain};
use super::secret::{self, shown};
use super::writer::{Request, Writer};
use super::{archive, pseudonym};
use crate::error::{self, Error, Result};

/// Requests that may wait for the writer: enough that a slow disk finds a full append waiting, few enough that callers feel it.
const QUEUE: usize = 64;

/// Where a log lies, and what becomes of its checkpoints.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The state folder: `state/audit` and `state/keys`.
    pub state: PathBuf,
    /// The node, which names the log.
    pub node: String,
    /// A file that may hold the signing key in place of `keys/log.key`: a credential that systemd hands to the service.
    pub credential: Option<PathBuf>,
    /// Where its checkpoints go.
    pub anchors: Vec<Anchor>,
    /// The log that a new one follows.
    pub(super) previous: Option<Previous>,
}

impl Settings {
    /// The log of the node `node` in the folder `state`, its key in a file, its checkpoints going nowhere else.
    pub fn new(state: &Path, node: &str) -> Self {
        Self { state: state.to_owned(), node: node.to_owned(), credential: None, anchors: Vec::new(), previous: None }
    }
}

/// Proof that entries are durable in the audit log. Only the log makes one.
#[derive(Clone, Debug)]
pub struct Committed {
    first: u64,
    count: u32,
    at: Arc<str>,
}

impl Committed {
    pub(super) fn new(first: u64, count: u32, at: Arc<str>) -> Self {
        Self { first, count, at }
    }

    /// Index of the first of the entries; the others follow it.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// How many entries, at least one.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The time in the entries: UTC, RFC 3339, milliseconds.
    pub fn at(&self) -> &str {
        &self.at
    }
}

/// An opened log, and what had to be done to open it.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub log: AuditLog,
    /// What the last process left to do.
    pub recovery: Recovery,
}

/// What was found and done when a log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of a torn last append that were cut off the journal; nobody was told that they are durable.
    pub cut_bytes: u64,
    /// Entries that were in the journal but in no checkpoint yet.
    pub replayed: u64,
    /// The log did not exist before.
    pub created: bool,
}

/// The audit log, open for writing. Clones write to the same log.
///
/// When the last clone is dropped without [`AuditLog::close`], what is committed stays durable in the journal, and the next start publishes it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Only taken when the log is dropped.
    queue: Option<mpsc::Sender<Request>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    newest_at: Option<Timestamp>,
    verifier: Verifier,
    report: Report,
}

/// The body of the first entry.
#[derive(Serialize)]
struct OpenedBody<'a> {
    version: &'a str,
    node: &'a str,
    vkey: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a Previous>,
}

/// What an entry `key-rotated` says.
#[derive(Serialize)]
struct KeysBody {
    old: String,
    new: String,
}

/// What an entry `archived` says.
#[derive(Serialize)]
struct ArchivedBody {
    end: u64,
    from: u64,
    bundles: usize,
    to: String,
}

/// What an entry `epoch-forgotten` says.
#[derive(Serialize)]
struct EpochBody {
    epoch: i16,
}

impl AuditLog {
    /// Opens the log in the folder `state` for the node `node`, or creates it: `state/audit` and `state/keys`.
    ///
    /// [`error::Kind::Refused`] if another process has it open, [`error::Kind::NotIntact`] if it contradicts itself,
    /// [`error::Kind::LogLost`] if it cannot be written, [`error::Kind::Config`] if the node's name is not allowed or another one.
    pub fn open(state: &Path, node: &str) -> Result<Opened> {
        Self::open_with(&Settings::new(state, node))
    }

    /// Opens the log that the settings describe; refused as [`AuditLog::open`] refuses.
    pub fn open_with(settings: &Settings) -> Result<Opened> {
        Self::open_on(RealDisk, Box::new(Timestamp::now), settings)
    }

    /// Opens the log on a disk and with a clock.
    pub(super) fn open_on<D: Disk>(disk: D, clock: Clock, settings: &Settings) -> Result<Opened> {
        let (state, node) = (settings.state.as_path(), settings.node.as_str());
        origin(node)?;
        secret::create_folder(state)?;
        let lock = take_lock(state)?;
        anew::finish(state)?;
        let folder = state.join("audit");
        let journal_folder = folder.join("journal");
        let keys = Keys::new(&state.join("keys"), node, settings.credential.clone());
        let key = load_key(state, &keys)?;
        for (new, above) in [(&folder, state), (&journal_folder, folder.as_path())] {
            disk.create_folders(new).map_err(|e| lost(new, "cannot be created", e))?;
            let above = File::open(above).map_err(|e| lost(above, "cannot be opened", e))?;
            disk.sync_folder(&above).map_err(|e| lost(new, "cannot be synced", e))?;
        }

        let mut publisher = Publisher::open(disk.clone(), &folder, key)?;
        let covered = publisher.published();
        let chain = if covered > 0 { Chain::open(&folder, &publisher.signer())? } else { Chain::begin(&folder, &publisher.signer()) };
        let seen = check_newest(&folder, &chain, node, &settings.anchors)?;
        let (mut journal, cut_bytes) = Journal::open(disk, &journal_folder, covered, |frame| publisher.integrate(frame))?;
        let replayed = publisher.size() - covered;
        // What was replayed may be in the page cache only, if an earlier fsync failed. Publishing writes it again.
        let size = publisher.publish()?;
        for path in journal.retire(size) {
            publisher.delete_segment(&path);
        }

        let newest = publisher.last_entry()?.map(|entry| Entry::parse(&entry)).transpose();
        let newest = newest.map_err(|e| e.context(format_args!("{}: the newest entry", shown(&folder))))?;
        let newest_at = newest.as_ref().and_then(Entry::time);
        if let Some(newest) = &newest {
            finish(newest, &mut publisher, &keys)?;
        }
        let verifier = publisher.signer();
        keys.settle(&verifier)?;

        let created = size == 0;
        let mut writer = Writer::new(journal, clock, newest.map(|entry| entry.at), lock);
        if created {
            let body =
                OpenedBody { version: env!("CARGO_PKG_VERSION"), node, vkey: verifier.to_string(), previous: settings.previous.as_ref() };
            let frame = writer.append(&[Draft::new(Kind::Opened, &body)?])?;
            publisher.integrate(&frame)?;
            publisher.publish()?;
        }
        let (queue, requests) = mpsc::channel(QUEUE);
        let anchors = Anchors::start(&settings.anchors, &folder, node, seen);
        let anchors = anchors.map_err(|e| Error::with_source(error::Kind::Io, "audit log: a thread cannot be started", e))?;
        // A crash may have come between the checkpoint and its anchors.
        anchors.publish(publisher.published(), &publisher.note());
        let report = anchors.report();
        let threads = writer.start(publisher, requests, queue.downgrade(), anchors)?;
        let shared = Shared { queue: Some(queue), threads: Mutex::new(threads), newest_at, verifier, report };
        Ok(Opened { log: Self { shared: Arc::new(shared) }, recovery: Recovery { cut_bytes, replayed, created } })
    }

    /// Appends entries, in order and next to each other, and returns when they are durable.
    ///
    /// A commit that is no longer awaited is carried out all the same. [`error::Kind::Refused`] if there is no entry or more than 64 MiB of
    /// them; [`error::Kind::LogLost`] if they are not known to be durable, or there is an intent among them and no room or no tree for what
    /// follows.
    pub async fn commit(&self, drafts: Vec<Draft>) -> Result<Committed> {
        check_size(&drafts)?;
        let (reply, answer) = oneshot::channel();
        self.queue()?.send(Request::Commit { drafts, reply }).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// [`AuditLog::commit`] for a thread that runs no async code; it blocks.
    pub fn commit_blocking(&self, drafts: Vec<Draft>) -> Result<Committed> {
        check_size(&drafts)?;
        let (reply, answer) = oneshot::channel();
        self.queue()?.blocking_send(Request::Commit { drafts, reply }).map_err(|_| closed())?;
        answer.blocking_recv().map_err(|_| closed())?
    }

    /// Publishes everything that was committed before, and returns the number of entries that the signed checkpoint covers when it is durable.
    pub async fn publish(&self) -> Result<u64> {
        let (reply, answer) = oneshot::channel();
        self.queue()?.send(Request::Publish(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Publishes everything, ends the log for all its clones and releases the lock.
    pub async fn close(self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.queue()?.send(Request::Close(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?.map(|_| ())
    }

    /// Begins to change the signing key: makes the new one and writes the entry that names both, with the fields of `body` (who and why) before them.
    ///
    /// Nothing may be committed after it. The next start finishes the change, so close the log and open it again.
    pub async fn rotate_key(&self, settings: &Settings, body: &impl Serialize) -> Result<Committed> {
        let keys = Keys::new(&settings.state.join("keys"), &settings.node, None);
        let next = keys.create_next()?;
        let named = KeysBody { old: self.verifier().to_string(), new: next.verifier().to_string() };
        self.commit(vec![Draft::on(&Stem::new(body)?, Kind::KeyRotated, &named)?]).await
    }

    /// Begins to destroy the pseudonym key of the year `year`: writes the entry that says so, with the fields of `body` (who and why) before it.
    ///
    /// Nothing may be committed after it. The next start destroys the key, so close the log and open it again.
    pub async fn forget_epoch(&self, year: i16, body: &impl Serialize) -> Result<Committed> {
        self.commit(vec![Draft::on(&Stem::new(body)?, Kind::EpochForgotten, &EpochBody { epoch: year })?]).await
    }

    /// Moves bundles of old entries to the folder `to`, as the plan says, and returns the entry that says so, which has the fields of `body` (who and
    /// why) too. With nothing to move, nothing is written.
    ///
    /// [`error::Kind::Refused`] if `to` is no folder, [`error::Kind::NotIntact`] if a bundle is not what the tree says.
    pub async fn archive(&self, settings: &Settings, plan: &archive::Plan, to: &Path, body: &impl Serialize) -> Result<Option<Committed>> {
        if plan.bundles.is_empty() {
            return Ok(None);
        }
        let folder = settings.state.join("audit");
        archive::copy(&folder, plan, to)?;
        let (end, from, bundles) = (plan.end, plan.from, plan.bundles.len());
        let named = ArchivedBody { end, from, bundles, to: shown(to) };
        let committed = self.commit(vec![Draft::on(&Stem::new(body)?, Kind::Archived, &named)?]).await?;
        self.publish().await?;
        archive::remove(&folder, plan, committed.first(), to)?;
        Ok(Some(committed))
    }

    /// The time in the newest entry when the log was opened; `None` for a log just created. A clock that is behind it is wrong.
    pub fn newest_at(&self) -> Option<Timestamp> {
        self.shared.newest_at
    }

    /// How it stands with the log's anchors; what is asked after the log was closed is final.
    pub fn anchors(&self) -> Report {
        self.shared.report.clone()
    }

    /// The key that verifies this log's checkpoints.
    pub fn verifier(&self) -> &Verifier {
        &self.shared.verifier
    }

    fn queue(&self) -> Result<&mpsc::Sender<Request>> {
        self.shared.queue.as_ref().ok_or_else(closed)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Without a sender the threads end; the lock is free when this returns.
        self.queue = None;
        for thread in self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
    }
}

/// Where the times in the log come from.
pub(super) type Clock = Box<dyn Fn() -> Timestamp + Send>;

/// The lock of a state folder; free again when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread forked and that has not yet become its program holds a copy, and with it the lock.
        let _ = self.file.unlock();
    }
}

/// Takes the lock of a state folder and writes our process id into it.
///
/// Root is turned away from the folder of another user: what root makes there, the service's user could not open, and the service would not start
/// again.
pub(super) fn take_lock(state: &Path) -> Result<Lock> {
    let path = state.join("lock");
    let fail = |e| Error::with_source(error::Kind::Io, format!("{}: cannot be locked", shown(&path)), e);
    let owner = std::fs::metadata(state).map_err(fail)?.uid();
    if rustix::process::geteuid().is_root() && owner != 0 {
        let state = shown(state);
        let message = format!(
            "{state}: expected to be written by its owner (uid {owner}), found root, whose files would lock the service out; start the service \
             and call again, or prefix the command with: runuser -u \"$(stat -c %U {state})\" --"
        );
        return Err(Error::new(error::Kind::Refused, message));
    }
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // A holder that cannot be read is unknown, and still the holder.
            let _ = file.take(20).read_to_string(&mut holder);
            let holder: String = holder.chars().filter(char::is_ascii_digit).collect();
            let holder = if holder.is_empty() { "another process".to_owned() } else { format!("process {holder}") };
            let message = format!("{}: the audit log is in use by {holder}; wait for it, or talk to the running service", shown(&path));
            return Err(Error::new(error::Kind::Refused, message));
        }
        Err(TryLockError::Error(e)) => return Err(fail(e)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fail)?;
    Ok(Lock { file })
}

/// Loads the signing key; makes it if there is no log yet that another one signed.
fn load_key(state: &Path, keys: &Keys) -> Result<SigningKey> {
    let folder = state.join("audit");
    if let Some(key) = keys.load()? {
        let begun = folder.join("checkpoint").exists() || !super::journal::segments(&folder.join("journal"))?.is_empty();
        if !begun && folder.join("tile").exists() {
            return Err(damaged(&folder, "expected a checkpoint or a journal beside the tiles, found neither; restore them"));
        }
        return Ok(key);
    }
    if folder.exists() {
        let message = format!(
            "expected the key that signs the log in {}, found none; restore it from a backup, or begin a new log that names this one: \
             `retentiond audit begin-anew`",
            shown(&folder)
        );
        return Err(damaged(&keys.path("log.key"), message));
    }
    keys.create()
}

/// Finishes the act that the newest entry announced, if a crash came between. Nothing is appended in between, so only the newest can be unfinished.
fn finish<D: Disk>(newest: &Entry, publisher: &mut Publisher<D>, keys: &Keys) -> Result<()> {
    match newest.kind {
        Kind::KeyRotated => {
            let (old, new) = rotation::keys_of(newest)?;
            if publisher.signer() != new {
                let next = keys.next()?.filter(|next| next.verifier() == new).ok_or_else(|| {
                    damaged(&keys.path("log.key.next"), format!("expected the key {new}, which entry {} announced; restore it", newest.n))
                })?;
                publisher.hand_over(newest.n, next)?;
            }
            keys.promote(&old, &new)
        }
        Kind::EpochForgotten => match newest.u64("epoch").and_then(|year| i16::try_from(year).ok()) {
            Some(year) => pseudonym::destroy(keys.folder(), year),
            None => Err(Error::new(error::Kind::NotIntact, format!("entry {}: expected `epoch` to be a year", newest.n))),
        },
        _ => Ok(()),
    }
}

/// Refuses what the journal cannot append at once.
fn check_size(drafts: &[Draft]) -> Result<()> {
    let bytes: usize = drafts.iter().map(|draft| draft.max_len() + ENTRY_HEADER).sum();
    if drafts.is_empty() || bytes > MAX_BODY {
        let found = drafts.len();
        let message = format!("audit log: expected between one entry and {MAX_BODY} bytes of them at once, found {found} of {bytes} bytes");
        return Err(Error::new(error::Kind::Refused, message));
    }
    Ok(())
}

fn closed() -> Error {
    Error::new(error::Kind::LogLost, "audit log: it was closed, so nothing more can be written")
}

#[cfg(test)]
mod tests {
    use super::take_lock;

    #[test]
    fn a_lock_is_free_when_it_is_dropped_even_while_a_forked_child_has_a_copy_of_it() {
        let state = tempfile::tempdir().unwrap();
        let lock = take_lock(state.path()).unwrap();
        // What `fork` gives a child, until that becomes its program.
        let copy = lock.file.try_clone().unwrap();
        drop(lock);
        let next = take_lock(state.path()).unwrap();
        drop(copy);
        assert!(take_lock(state.path()).is_err(), "the copy took the lock of another with it");
        drop(next);
    }
}
