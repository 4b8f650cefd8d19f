//! Leave to destroy records before they are due, because it was decided so on a request for erasure.
//!
//! It is made here and nowhere else, of entries of the log that have just been committed, for exactly the records that they name, as they were then.
//! The one door asks for it record by record: a record without it is destroyed when it is due or not at all, whatever the items of a plan say. After a
//! crash there is none, and whoever asked asks again. Only for what is left of a record that is gone already, such as its companions, is it read from
//! the log once more ([`Erasure::of_what_is_left`]): nobody could ask for that again.

use std::collections::HashMap;

use crate::audit::{AuditLog, Draft, Entry, Kind as EntryKind, Reader};
use crate::config::Dataset;
use crate::erasure::{Case, Decision, Ground, Words, why_not_erased};
use crate::error::Result;
use crate::judge::{Deciding, Verdict};
use crate::plan::Item;
use crate::record::{Fingerprint, Key, Reading, Record};
use crate::store::{BATCH, Kept};

/// The decisions about one person's records, durable in the audit log.
#[derive(Debug)]
pub struct Erasure {
    id: String,
    /// By dataset and key: what lets a record go.
    decided: HashMap<String, HashMap<Key, Leave>>,
}

/// Of one record: the entry that decided, and what it was like.
#[derive(Debug)]
pub(super) struct Leave {
    entry: u64,
    /// Whether it may go although it is not due.
    early: bool,
    fingerprint: Fingerprint,
    /// The period that was decided about.
    deciding: Option<Deciding>,
}

impl Erasure {
    /// Writes the decisions into the log, all of them, and answers the leave that follows from those that let a record go.
    pub async fn decide(log: &AuditLog, cases: &[Case], words: &Words<'_>) -> Result<Self> {
        let mut decided: HashMap<String, HashMap<Key, Leave>> = HashMap::new();
        for cases in cases.chunks(BATCH) {
            let drafts = cases.iter().map(|case| Draft::new(EntryKind::ErasureDecided, &case.body(words))).collect::<Result<Vec<_>>>()?;
            let committed = log.commit(drafts).await?;
            for (entry, case) in (committed.first()..).zip(cases) {
                if case.decided.decision.act().is_some() {
                    let (fingerprint, deciding) = (case.record.fingerprint.clone(), case.deciding.clone());
                    let leave = Leave { entry, early: case.is_early(), fingerprint, deciding };
                    decided.entry(case.dataset.address.clone()).or_default().insert(case.record.key.clone(), leave);
                }
            }
        }
        Ok(Self { id: words.id.to_owned(), decided })
    }

    /// Leave to remove what is left of records that went by decisions of this log, each by the name that it has there. Those whose decision the log does
    /// not have are left out; nothing when that is all of them.
    pub fn of_what_is_left(log: &Reader, dataset: &Dataset, left: &[(String, Item)]) -> Result<Option<Self>> {
        let mut this = Self { id: String::new(), decided: HashMap::new() };
        for (name, item) in left {
            let Some(entry) = item.erasure else { continue };
            let Some(decision) = log.get(entry)?.and_then(|bytes| Entry::parse(&bytes).ok()) else { continue };
            let text = |name: &str| decision.str(name).unwrap_or_default();
            let same = text("store") == dataset.store.name() && text("dataset") == dataset.name && text("record") == name.as_str();
            if decision.kind != EntryKind::ErasureDecided || !same || text("decision") != Decision::Destroy.as_str() {
                continue;
            }
            text("erasure").clone_into(&mut this.id);
            let early = text("ground") == Ground::Class.as_str();
            let leave = Leave { entry, early, fingerprint: item.record.fingerprint.clone(), deciding: Some(item.deciding.clone()) };
            this.decided.entry(dataset.address.clone()).or_default().insert(item.record.key.clone(), leave);
        }
        Ok((!this.decided.is_empty()).then_some(this))
    }

    /// The id of the request.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The entry that decided about a record of this dataset that goes.
    pub fn entry(&self, dataset: &str, record: &Record) -> Option<u64> {
        self.leave(dataset, record).map(|leave| leave.entry)
    }

    pub(super) fn leave(&self, dataset: &str, record: &Record) -> Option<&Leave> {
        self.decided.get(dataset)?.get(&record.key).filter(|leave| leave.fingerprint == record.fingerprint)
    }
}

impl Leave {
    /// Whether it lets the record go although it is not due.
    pub(super) fn is_early(&self) -> bool {
        self.early
    }

    /// Why the record is kept after all, by a verdict of this moment for which everything was asked that bears on it.
    pub(super) fn kept(&self, verdict: &Verdict) -> Option<Kept> {
        let same = verdict.deciding == self.deciding;
        why_not_erased(verdict).or_else(|| (!same).then(|| Kept::Changed("the period that its erasure was decided by".into())))
    }
}

/// What is not as it was when the decision was made: then it was another record's.
pub(super) fn changed(fresh: &Record, decided: &Record) -> Option<Kept> {
    // What a doubt was about is not kept in a plan.
    let alike = |(one, other): (&Reading, &Reading)| one == other || matches!((one, other), (Reading::Doubt(_), Reading::Doubt(_)));
    let dates = fresh.readings.len() == decided.readings.len() && fresh.readings.iter().zip(&decided.readings).all(alike);
    let same = dates && fresh.subject == decided.subject && fresh.class_value == decided.class_value;
    (!same).then(|| Kept::Changed("whom it is about, its class or its dates are others than when its erasure was decided".into()))
}
