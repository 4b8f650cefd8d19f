//! A plan: the frozen set of records that are due in one dataset, and the limits it must keep.
//!
//! A plan is a value. It is built from one complete scan, shown by `plan`, and spent by `run`; both build it with the same code, and the dry
//! run merely stops before spending. Its items are spooled to disk ([`crate::spool`]), never held in memory; what is held is the [`Tally`].
//!
//! A plan that exceeds its limits destroys nothing. It is kept on disk under its id until a person allows exactly that plan, which then is spent
//! and nothing more. Every item is judged again at the moment of destruction, so an old plan can only do less than it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::judge::{Deciding, Reason, Standing, Verdict};
use crate::record::Record;
use crate::schedule::Disposition;

/// One due record of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The record as the scan saw it.
    pub record: Record,
    /// What its class says happens now.
    pub then: Disposition,
    /// The facts that make it due.
    pub deciding: Deciding,
    /// For what `then: review` put before people: what they approved.
    pub approval: Option<Arc<Approval>>,
    /// For what goes because a person asked to be forgotten: the entry that decided it.
    pub erasure: Option<u64>,
}

/// What people approved, as the log says it: a batch, and the entries of those who did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Approval {
    /// The batch's id, 64 hexadecimal digits.
    pub batch: String,
    /// Indexes of the entries of kind `approved`.
    pub entries: Vec<u64>,
}

/// Numbers about everything a scan saw in one dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// Records in the dataset, as far as the scan counted them.
    pub population: u64,
    /// Whether parts of the dataset that cannot hold due records were left out of the count.
    pub population_is_least: bool,
    /// Due and to be destroyed.
    pub destroy: u64,
    /// Due and to be anonymised.
    pub anonymise: u64,
    /// Due and to be destroyed by people.
    #[serde(default)]
    pub by_hand: u64,
    /// Destroyed by people, who said so; only their list still has them.
    #[serde(default)]
    pub attested: u64,
    /// Due and waiting for a person.
    pub review: u64,
    /// Due and to be flagged only.
    pub flag: u64,
    /// Kept because a hold protects them.
    pub held: u64,
    /// Kept because something cannot be told.
    pub undetermined: u64,
    /// Kept because only an edit that is not old enough made them due.
    #[serde(default)]
    pub waiting: u64,
    /// Seen one by one and kept because the period is running, has not started, or never ends.
    pub kept: u64,
    /// Present past their ceiling.
    pub overdue: u64,
    /// Bytes in records that are to be destroyed.
    pub bytes: u64,
    /// The earliest event date among due records.
    pub oldest: Option<Date>,
    /// How often each reason for doubt occurred.
    pub doubts: BTreeMap<String, u64>,
}

/// Why a plan may not be spent as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverLimit {
    /// Records that the plan would dispose of.
    pub due: u64,
    /// Records of the dataset, at least.
    pub population: u64,
    /// The limits, in words.
    pub limits: String,
}

/// The most different reasons for doubt that are counted apart, so that hostile data cannot fill the memory.
const DOUBTS: usize = 20;

impl Tally {
    /// Counts one verdict.
    pub fn count(&mut self, verdict: &Verdict, record: &Record) {
        if verdict.is_overdue() {
            self.overdue += 1;
        }
        match (verdict.standing, verdict.then) {
            (Standing::Due, Some(then)) => {
                match then {
                    Disposition::Destroy => {
                        self.destroy += 1;
                        self.bytes += record.size;
                    }
                    Disposition::Anonymise => self.anonymise += 1,
                    Disposition::Review => self.review += 1,
                    Disposition::Flag => self.flag += 1,
                }
                let event = verdict.deciding.as_ref().map(|facts| facts.event_date);
                self.oldest = [self.oldest, event].into_iter().flatten().min();
            }
            (Standing::Held, _) => self.held += 1,
            (Standing::Waiting, _) => self.waiting += 1,
            (Standing::Undetermined | Standing::Due, _) => {
                self.undetermined += 1;
                for reason in &verdict.reasons {
                    self.count_doubt(reason);
                }
            }
            (Standing::NotYetDue | Standing::NotStarted | Standing::Permanent, _) => self.kept += 1,
        }
    }

    /// Counts one verdict about a record that only people can destroy.
    pub fn count_by_hand(&mut self, verdict: &Verdict, record: &Record) {
        self.count(verdict, record);
        if (verdict.standing, verdict.then) == (Standing::Due, Some(Disposition::Destroy)) {
            self.destroy -= 1;
            self.bytes -= record.size;
            self.by_hand += 1;
        }
    }

    fn count_doubt(&mut self, reason: &Reason) {
        if !matches!(reason, Reason::Doubt { .. } | Reason::NoClass(_) | Reason::Elsewhere { .. }) {
            return;
        }
        // Without the value itself: thousands of different bad values are one kind of trouble.
        let text = reason.without_values();
        if self.doubts.len() < DOUBTS || self.doubts.contains_key(&text) {
            *self.doubts.entry(text).or_default() += 1;
        } else {
            *self.doubts.entry("other reasons".into()).or_default() += 1;
        }
    }

    /// An item is not disposed of after all: a person keeps it.
    pub fn take_back(&mut self, item: &Item) {
        let number = match item.then {
            Disposition::Destroy => {
                self.bytes = self.bytes.saturating_sub(item.record.size);
                &mut self.destroy
            }
            Disposition::Anonymise => &mut self.anonymise,
            Disposition::Review | Disposition::Flag => return,
        };
        *number = number.saturating_sub(1);
        self.kept += 1;
    }

    /// Records that the plan would change or remove: what limits count.
    pub fn disposed(&self) -> u64 {
        self.destroy + self.anonymise
    }

    /// Records by verdict, by the words of the log.
    pub fn verdicts(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("destroy", self.destroy),
            ("anonymise", self.anonymise),
            ("review", self.review),
            ("flag", self.flag),
            ("held", self.held),
            ("undetermined", self.undetermined),
            ("waiting", self.waiting),
            ("kept", self.kept),
        ])
    }

    /// Records due in any way.
    pub fn due(&self) -> u64 {
        self.disposed() + self.by_hand + self.review + self.flag
    }

    /// The trouble with the limits, if there is any.
    pub fn over(&self, limits: &Limits) -> Option<OverLimit> {
        (!limits.allow(self.disposed(), self.population)).then(|| OverLimit {
            due: self.disposed(),
            population: self.population,
            limits: limits.to_string(),
        })
    }
}

impl std::fmt::Display for OverLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let share = if self.population == 0 { 100.0 } else { self.due as f64 * 100.0 / self.population as f64 };
        write!(f, "{} of {} records ({share:.1}%) are due, more than the limit of {}", self.due, self.population, self.limits)
    }
}
