//! Which approvals are in force at this moment: what the one door asks.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;

use crate::plan::Approval;

/// The approved batches of all datasets, each with the instant from which on the approval holds no more, and the entries that give it. Known to all sessions of a process: what a
/// person withdraws is gone from here before it is in the log, so that a run under way keeps the rest.
#[derive(Debug, Default)]
pub struct InForce(RwLock<BTreeMap<String, Given>>);

#[derive(Debug)]
struct Given {
    dataset: String,
    until: Timestamp,
    entries: Vec<u64>,
}

impl InForce {
    /// From now on these are the batches of the dataset that are approved.
    pub fn set(&self, dataset: &str, batches: impl IntoIterator<Item = (String, Timestamp, Vec<u64>)>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, given| given.dataset != dataset);
        let given = |(batch, until, entries)| (batch, Given { dataset: dataset.to_owned(), until, entries });
        all.extend(batches.into_iter().map(given));
    }

    /// The batch is approved no more.
    pub fn remove(&self, batch: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(batch);
    }

    /// Whether this approval is in force at the instant `now`.
    pub fn has(&self, approval: &Approval, now: Timestamp) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // One that was withdrawn and given anew is another.
        all.get(&approval.batch).is_some_and(|given| now < given.until && given.entries == approval.entries)
    }
}
