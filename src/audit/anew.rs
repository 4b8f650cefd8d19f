//! Beginning anew: a log that can no longer be opened is set aside, and a new one begins that names it.
//!
//! This is for a log whose key was lost, or that is damaged beyond what a backup mends. Nothing can continue such a log, for nobody could sign it. What
//! can be done is to keep it where it is verifiable up to its last checkpoint, and to say in the first entry of the next log which one that was:
//!
//! ```text
//! {"n":0,…,"kind":"opened",…,"vkey":"…","previous":{"origin":…,"size":…,"root":…,"vkey":…,"signed":true,"behind":3,"kept_as":…,"reason":…,"person":…}}
//! ```
//!
//! `signed` says whether that checkpoint was verified with the old public key, `behind` how many entries the journal had behind it. What must not end with
//! a log is carried over by the caller as entries of the new one: holds in force, runs that a crash interrupted. The keys of pseudonyms stay.
//!
//! An auditor sees it: the old public key does not verify the new log. That is how it should be, since a new key proves nothing about who made it.
//!
//! **Order.** The new log is made whole and published under `STATE/anew`. That becomes `STATE/anew.ready`, durably: from here on the new log is the log.
//! Then the old one moves to `STATE/audit-until-<time>`, its keys into `keys` there, and the new one takes their places. **Crash.** Before
//! `anew.ready` nothing has happened, and the next start removes `STATE/anew`. After it, the next start does what is left.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::checkpoint::{Checkpoint, Verifier};
use super::entry::Draft;
use super::journal::{Segment, Step, segments};
use super::log::{AuditLog, Lock, Settings, take_lock};
use super::publish::read_note;
use super::secret::shown;
use crate::error::{self, Error, Result};

/// Files of a log's keys, which go with it.
const KEYS: [&str; 5] = ["log.key", "log.vkey", "log.vkeys", "log.key.next", "log.key.old"];

/// The log before: what the first entry of the new one says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Previous {
    /// Its origin, if it has a checkpoint.
    pub origin: Option<String>,
    /// The entries that its last checkpoint covers; 0 without one.
    pub size: u64,
    /// The root that was signed, in base64.
    pub root: Option<String>,
    /// Its public key, if it is still there.
    pub vkey: Option<String>,
    /// Whether that key verifies the checkpoint.
    pub signed: bool,
    /// Entries in its journal that no checkpoint covers.
    pub behind: u64,
    /// The folder, in the state folder, that it is kept in.
    pub kept_as: String,
    /// Why it could not be opened.
    pub found: String,
    /// Why a new log was begun, in the words of the person.
    pub reason: String,
    /// Who did it.
    pub person: String,
}

/// A log that cannot be opened, held so that nobody else works on it.
#[derive(Debug)]
pub struct Anew {
    settings: Settings,
    previous: Previous,
    lock: Lock,
}

impl Anew {
    /// Makes sure that the log cannot be opened as it is, and takes its lock.
    ///
    /// [`error::Kind::Refused`] if it can be opened, if there is none, or if another process has it; other errors are those that kept it from being
    /// opened and that a new log would not mend.
    pub async fn prepare(settings: &Settings) -> Result<Self> {
        let folder = settings.state.join("audit");
        if !folder.exists() {
            return Err(Error::new(
                error::Kind::Refused,
                format!("{}: there is no log yet, so there is none to begin anew", shown(&folder)),
            ));
        }
        let found = match AuditLog::open_with(settings) {
            Ok(opened) => {
                opened.log.close().await?;
                let message = format!("{}: the log is in order; to change its key use `retentiond audit rotate-key`", shown(&folder));
                return Err(Error::new(error::Kind::Refused, message));
            }
            Err(e) if e.kind() == error::Kind::NotIntact => e.to_string(),
            Err(e) => return Err(e),
        };
        let lock = take_lock(&settings.state)?;
        let note = read_note(&folder)?;
        let checkpoint = note.as_ref().and_then(|note| Checkpoint::read_unverified(note).ok());
        let vkey = fs::read_to_string(settings.state.join("keys/log.vkey")).ok().and_then(|text| Verifier::parse(&text).ok());
        let signed = vkey.as_ref().zip(note.as_ref()).is_some_and(|(key, note)| key.verify(note).is_ok());
        let size = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        let previous = Previous {
            origin: checkpoint.as_ref().map(|checkpoint| error::escape(checkpoint.origin.as_bytes())),
            size,
            root: checkpoint.as_ref().map(Checkpoint::root_base64),
            vkey: vkey.map(|key| key.to_string()),
            signed,
            behind: journal_end(&folder).saturating_sub(size),
            kept_as: name_for(&settings.state),
            found,
            ..Previous::default()
        };
        Ok(Self { settings: settings.clone(), previous, lock })
    }

    /// What is known of the log.
    pub fn previous(&self) -> &Previous {
        &self.previous
    }

    /// Makes the new log with the entries `carried` behind its first, and puts it in the place of the old one.
    ///
    /// `reason` and `person` go into the first entry. When this returns the new log is closed and can be opened.
    pub async fn begin(mut self, reason: &str, person: &str, carried: Vec<Draft>) -> Result<Previous> {
        let state = self.settings.state.clone();
        (self.previous.reason, self.previous.person) = (reason.to_owned(), person.to_owned());
        let staging = state.join("anew");
        remove_staging(&state)?;
        let mut settings = Settings::new(&staging, &self.settings.node);
        settings.previous = Some(self.previous.clone());
        let log = AuditLog::open_with(&settings)?.log;
        // A commit has an upper size; what is carried over is mostly little.
        let mut rest = carried.into_iter().peekable();
        while rest.peek().is_some() {
            log.commit(rest.by_ref().take(256).collect()).await?;
        }
        log.close().await?;
        let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be made", shown(&staging)), e);
        fs::write(staging.join("kept-as"), &self.previous.kept_as).map_err(fail)?;
        for path in [staging.join("kept-as"), staging.clone(), state.clone()] {
            sync(&path)?;
        }
        fs::rename(&staging, state.join("anew.ready")).map_err(fail)?;
        sync(&state)?;
        finish(&state)?;
        drop(self.lock);
        Ok(self.previous)
    }
}

/// A name for the old log that nothing has: two logs may be set aside within a second.
fn name_for(state: &Path) -> String {
    let name = format!("audit-until-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let others = (2_u32..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone()).chain(others).find(|name| !state.join(name).exists()).unwrap_or(name)
}

/// The index behind the last whole frame of the journal, as far as it can be read.
fn journal_end(folder: &Path) -> u64 {
    let mut end = 0;
    for (first, path) in segments(&folder.join("journal")).unwrap_or_default() {
        let Ok(mut segment) = Segment::open(path, first) else { continue };
        while let Ok(Step::Frame(frame)) = segment.step() {
            end = end.max(frame.end());
        }
    }
    end
}

fn sync(path: &Path) -> Result<()> {
    let fail = |e| Error::with_source(error::Kind::Io, format!("{}: cannot be synced", shown(path)), e);
    File::open(path).and_then(|handle| handle.sync_all()).map_err(fail)
}

fn remove_staging(state: &Path) -> Result<()> {
    let staging = state.join("anew");
    match fs::remove_dir_all(&staging) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::with_source(error::Kind::Io, format!("{}: cannot be removed", shown(&staging)), e))
        }
        _ => Ok(()),
    }
}

/// Puts a new log that is ready in the place of the old one; with nothing ready, removes what was never finished. The caller holds the lock.
pub(super) fn finish(state: &Path) -> Result<()> {
    let ready = state.join("anew.ready");
    if !ready.is_dir() {
        return remove_staging(state);
    }
    let fail = |path: &Path, e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be put in its place", shown(path)), e);
    let name = fs::read_to_string(ready.join("kept-as")).map_err(|e| fail(&ready.join("kept-as"), e))?;
    let kept = state.join(&name);
    // Each step is undone by none of the others, and is not taken again once the new file has left its place.
    let swap = |from: PathBuf, to: PathBuf, aside: PathBuf| -> Result<()> {
        if from.exists() {
            if to.exists() {
                fs::rename(&to, &aside).map_err(|e| fail(&to, e))?;
            }
            fs::rename(&from, &to).map_err(|e| fail(&from, e))?;
        }
        Ok(())
    };
    swap(ready.join("audit"), state.join("audit"), kept.clone())?;
    sync(state)?;
    let (keys, aside) = (state.join("keys"), kept.join("keys"));
    for folder in [&keys, &aside] {
        fs::create_dir_all(folder).map_err(|e| fail(folder, e))?;
    }
    for name in KEYS {
        let (from, to) = (ready.join("keys").join(name), keys.join(name));
        if from.exists() {
            swap(from, to, aside.join(name))?;
        } else if name.starts_with("log.key.") || name == "log.vkeys" {
            // The new log has none of these, so one that is there is the old log's.
            if to.exists() {
                fs::rename(&to, aside.join(name)).map_err(|e| fail(&to, e))?;
            }
        }
    }
    for folder in [&keys, &aside, &kept] {
        sync(folder)?;
    }
    fs::remove_dir_all(&ready).map_err(|e| fail(&ready, e))?;
    sync(state)
}
