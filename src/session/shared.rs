//! What all sessions of one process know together: how far the register reflects the log, the latest moment, and the brakes of the stores.
//!
//! `applied` in the register says that it reflects the first so many entries and that no intent among them is open; the next start reads on from
//! there. While several runs are under way it may not pass the first entry of the oldest of them, or a crash would leave open what that one had
//! announced. So each run, and each entry that the register is still to take in, holds `applied` back until it is done. One that fails holds it
//! back until the next start, or until [`Session::recover`](super::Session::recover) has read on from there.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;

use crate::audit::Committed;
use crate::clock::{self, Look};
use crate::dispose::Hands;
use crate::error::Result;
use crate::register::{Pause, Register};
use crate::review::InForce;

/// See the file's header.
pub(crate) struct Shared {
    applied: tokio::sync::Mutex<Applied>,
    look: Mutex<Look>,
    /// Whether nobody watches: the service.
    pub(super) unattended: bool,
    pub(super) pauses: RwLock<Vec<Pause>>,
    /// Held by who pauses or resumes: what one has read of the register must not replace what another has read after it.
    pub(super) pausing: tokio::sync::Mutex<()>,
    pub(super) brakes: Mutex<HashMap<String, Arc<AtomicBool>>>,
    /// What the runs have in the hands of stores.
    pub(crate) hands: Hands,
    /// Held by who changes or releases holds.
    pub(super) holding: tokio::sync::Mutex<()>,
    /// Whether the holds of the register are in memory; from then on memory is ahead of it.
    pub(crate) holds_loaded: AtomicBool,
    /// The approvals of review batches that are in force.
    pub(super) approvals: Arc<InForce>,
    /// Held while the files of review batches are written, or decided about.
    pub(super) reviewing: tokio::sync::Mutex<()>,
    /// What stands in the log as in force, by the id that a person confirms it by; nothing while that changes. A run reads it until its first entry is
    /// committed, so no run says that it goes by what was withdrawn before it.
    pub(super) edition: tokio::sync::RwLock<Option<String>>,
}

struct Applied {
    /// Entries that nothing holds back any more, up to here.
    reached: u64,
    /// What holds `applied` back, and where.
    holding: BTreeMap<u64, u64>,
    runs: HashMap<String, u64>,
    next: u64,
    /// Whether some intent of the past is open, or may be: until recovery has looked.
    unsettled: bool,
}

/// Holds `applied` back until it is given to [`Shared::end`].
pub(super) struct Token(u64);

impl Shared {
    pub(super) fn new(look: Look, unattended: bool) -> Self {
        let applied = Applied { reached: 0, holding: BTreeMap::new(), runs: HashMap::new(), next: 0, unsettled: true };
        Self {
            applied: applied.into(),
            look: Mutex::new(look),
            unattended,
            pauses: RwLock::default(),
            pausing: tokio::sync::Mutex::default(),
            brakes: Mutex::default(),
            hands: Hands::default(),
            holding: tokio::sync::Mutex::default(),
            holds_loaded: AtomicBool::new(false),
            approvals: Arc::default(),
            reviewing: tokio::sync::Mutex::default(),
            edition: tokio::sync::RwLock::default(),
        }
    }

    /// Looks at the clock; refuses one that cannot be believed after the look before, which then stays what it is compared with.
    pub(super) fn look(&self, trusted: bool) -> Result<Timestamp> {
        let mut before = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::look();
        clock::check(now.at, Some(before.at), trusted)?;
        clock::check_jump(*before, now, trusted)?;
        // Set back by a little, it is still held against the latest moment.
        if now.at > before.at {
            *before = now;
        }
        Ok(now.at)
    }

    /// Something is about to enter the log that the register does not reflect yet.
    pub(super) async fn begin(&self) -> Token {
        let mut applied = self.applied.lock().await;
        applied.next += 1;
        // Whatever is committed from now on lies behind all that was settled before.
        let (token, from) = (applied.next, applied.reached);
        applied.holding.insert(token, from);
        Token(token)
    }

    /// These entries are in the register.
    pub(super) async fn end(&self, token: Token, last: &Committed, register: &Register) -> Result<()> {
        let mut applied = self.applied.lock().await;
        applied.holding.remove(&token.0);
        applied.reach(last, register).await
    }

    /// From now on it is the run that holds `applied` back, at its first entry.
    pub(super) async fn run_began(&self, token: Token, run: &str, first: u64) {
        let mut applied = self.applied.lock().await;
        applied.holding.insert(token.0, first);
        applied.runs.insert(run.to_owned(), token.0);
    }

    pub(super) async fn run_ended(&self, run: &str, last: &Committed, register: &Register) -> Result<()> {
        let mut applied = self.applied.lock().await;
        if let Some(token) = applied.runs.remove(run) {
            applied.holding.remove(&token);
        }
        applied.reach(last, register).await
    }

    /// The register reflects the whole log but for what is open, and nothing is under way.
    pub(crate) async fn settled(&self, entries: u64, unsettled: bool) {
        let mut applied = self.applied.lock().await;
        // Who is telling the log something at this moment goes on holding back.
        let ended: Vec<u64> = std::mem::take(&mut applied.runs).into_values().collect();
        applied.holding.retain(|token, _| !ended.contains(token));
        applied.unsettled = unsettled;
        if !unsettled {
            applied.reached = applied.reached.max(entries);
        }
    }

    /// Whether some run of this process did not come to its last entry, or some intent of the past is open.
    pub(crate) async fn is_unsettled(&self) -> bool {
        let applied = self.applied.lock().await;
        applied.unsettled || !applied.runs.is_empty()
    }
}

impl Applied {
    /// Moves on as far as nothing holds back. The lock is held meanwhile, so an older number never replaces a newer one.
    async fn reach(&mut self, last: &Committed, register: &Register) -> Result<()> {
        if self.unsettled {
            return Ok(());
        }
        let end = last.first() + u64::from(last.count());
        let most = self.holding.values().copied().min().unwrap_or(u64::MAX).min(end);
        if most > self.reached {
            register.set_applied(most).await?;
            self.reached = most;
        }
        Ok(())
    }
}
