//! Pausing a store, or everything: a person says that nothing is to be done there, and why, until somebody lifts it.
//!
//! A pause is an entry of the log first and holds across restarts, for the service and for `run` alike. A run under way finishes the records in hand
//! and stops.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde_json::json;

use super::Session;
use crate::audit::Kind as EntryKind;
use crate::config::{Config, Dataset};
use crate::dispose::{BY, Brake};
use crate::error::{Error, Kind, Result, escape};
use crate::register::Pause;
use crate::yaml::suggest;

impl Session {
    pub(super) async fn load_pauses(&self) -> Result<()> {
        let pauses = self.register.pauses().await?;
        *self.shared.pauses.write().unwrap_or_else(PoisonError::into_inner) = pauses;
        Ok(())
    }

    /// The pauses in force.
    pub fn pauses(&self) -> Vec<Pause> {
        self.shared.pauses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why nothing is done in this store, if it is paused.
    pub fn paused(&self, store: &str) -> Option<String> {
        let pauses = self.pauses();
        let pause = pauses.iter().find(|pause| pause.store.as_deref().is_none_or(|one| one == store))?;
        let what = if pause.store.is_some() { "the store is" } else { "everything is" };
        Some(format!("{what} paused since {} by {}: {}", pause.since, escape(pause.person.as_bytes()), escape(pause.reason.as_bytes())))
    }

    /// Pauses a store, or everything.
    pub async fn pause(&self, store: Option<&str>, reason: &str, person: &str) -> Result<()> {
        let _one_at_a_time = self.shared.pausing.lock().await;
        known(&self.config, store)?;
        if reason.trim().is_empty() {
            return Err(Error::new(Kind::Usage, "a pause needs a reason: write --reason TEXT"));
        }
        self.tell(EntryKind::Paused, vec![json!({"store": store, "reason": reason, "person": person, "by": BY})]).await?;
        self.load_pauses().await?;
        let brakes = self.shared.brakes.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, brake) in brakes.iter().filter(|(name, _)| store.is_none_or(|store| store == name.as_str())) {
            brake.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Lifts the pause of a store, or every pause.
    pub async fn resume(&self, store: Option<&str>, person: &str) -> Result<()> {
        let _one_at_a_time = self.shared.pausing.lock().await;
        let pauses = self.pauses();
        let refuse = |text: String| Err(Error::new(Kind::Usage, text));
        match store {
            None if pauses.is_empty() => return refuse("nothing is paused".into()),
            Some(name) if !pauses.iter().any(|pause| pause.store.as_deref() == Some(name)) => {
                // A store that is configured no longer may still be paused.
                known(&self.config, store)?;
                let all = pauses.iter().any(|pause| pause.store.is_none());
                let remedy = if all { ", everything is; write `resume` without a store to lift every pause" } else { "" };
                return refuse(format!("store \"{}\" is not paused{remedy}", escape(name.as_bytes())));
            }
            _ => {}
        }
        self.tell(EntryKind::Resumed, vec![json!({"store": store, "person": person, "by": BY})]).await?;
        self.load_pauses().await
    }

    /// The brake of a dataset's runs: pulled while a pause is in force, also one that came before the first run of this process; one that was pulled by a
    /// pause does not outlast it.
    pub(super) fn brake(&self, dataset: &Dataset) -> Brake {
        let name = dataset.store.name();
        let mut brakes = self.shared.brakes.lock().unwrap_or_else(PoisonError::into_inner);
        let brake = brakes.entry(name.to_owned()).or_default();
        // Asked under the lock: whoever pauses has said so before he comes to pull what is there.
        let paused = self.paused(name).is_some();
        if paused {
            brake.store(true, Ordering::Relaxed);
        } else if brake.load(Ordering::Relaxed) {
            *brake = Arc::default();
        }
        Brake { signal: Arc::clone(&self.stop), pause: Arc::clone(brake) }
    }
}

fn known(config: &Config, store: Option<&str>) -> Result<()> {
    let Some(name) = store else { return Ok(()) };
    if config.stores.iter().any(|one| one.name() == name) {
        return Ok(());
    }
    let hint = suggest(name, config.stores.iter().map(|one| one.name()));
    Err(Error::new(Kind::Usage, format!("no store is called \"{}\"{hint}", escape(name.as_bytes()))))
}
