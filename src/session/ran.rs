//! What came of a run over one dataset: how it ended, and what people and programs should make of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Dataset;
use crate::dispose::{Counts, Run, Spent, Stop};
use crate::error::{DONE, FINDINGS, REFUSED};
use crate::finding::{Finding, Severity};
use crate::plan::{OverLimit, Tally};
use crate::review::Left;

/// What came of a run over one dataset.
pub struct Ran {
    /// The run's id.
    pub run: String,
    /// The dataset.
    pub dataset: Arc<Dataset>,
    /// What the scan saw; empty when a stored plan was spent.
    pub tally: Tally,
    /// How it ended.
    pub end: End,
    /// Records flagged for the first time.
    pub flagged: u64,
    /// Records that became tasks of people.
    pub tasks: u64,
    /// What came of the inventory, where the dataset keeps one.
    pub inventory: Option<serde_json::Value>,
    /// Where review stands.
    pub review: Left,
    /// Things a person should know.
    pub findings: Vec<Finding>,
}

/// How a run ended.
pub enum End {
    /// Report mode: nothing was done.
    Reported(Option<OverLimit>),
    /// The plan was spent.
    Spent(Spent),
    /// The plan exceeds its limits and waits under this id for a person.
    Refused {
        /// The plan's id.
        plan: String,
        /// Why.
        over: OverLimit,
    },
    /// The dataset could not be seen completely; nothing was planned.
    Incomplete(String),
    /// The store is paused, and this is what the person said; the run did not begin.
    Paused(String),
}

impl End {
    /// The word of the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Reported(_) => "reported",
            Self::Spent(spent) if spent.stopped.is_some() => "stopped",
            Self::Spent(_) => "done",
            Self::Refused { .. } => "refused",
            Self::Incomplete(_) => "incomplete",
            Self::Paused(_) => "paused",
        }
    }
}

impl Ran {
    pub(super) fn without_a_plan(run: &Run, end: End) -> Self {
        Self {
            run: run.id.clone(),
            dataset: Arc::clone(run.dataset()),
            tally: Tally::default(),
            end,
            flagged: 0,
            tasks: 0,
            inventory: None,
            review: Left::default(),
            findings: Vec::new(),
        }
    }

    /// The numbers of entries by kind that the run wrote, as `run-finished` states them.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = match &self.end {
            End::Spent(spent) => spent.counts,
            _ => Counts::default(),
        };
        let mut all = BTreeMap::from([
            ("destroyed", counts.destroyed),
            ("anonymised", counts.anonymised),
            ("flagged", self.flagged),
            ("absent", counts.absent),
            ("kept", counts.kept),
            ("failed", counts.failed),
            ("recovered", counts.recovered),
        ]);
        // Most datasets know nothing of these.
        all.extend([("task-opened", self.tasks), ("attested", counts.attested)].into_iter().filter(|(_, number)| *number > 0));
        all
    }

    /// Whether the run did not do all that it was to do, so that it is worth trying again before long: `None` when it did, or when only a person or the
    /// next time of the timetable can change it.
    pub fn failure(&self) -> Option<String> {
        match &self.end {
            End::Incomplete(why) => Some(why.clone()),
            End::Spent(spent) if spent.open() > 0 => Some(format!("what became of {} records is not known yet", spent.open())),
            End::Spent(spent) if spent.stopped == Some(Stop::Busy) => Some("the store was too busy for too long".into()),
            _ => None,
        }
    }

    /// Whether what other datasets are asked by must wait: this run did not come to its end.
    pub fn is_undone(&self) -> bool {
        match &self.end {
            End::Spent(spent) => spent.stopped.is_some() || spent.open() > 0,
            End::Refused { .. } | End::Incomplete(_) | End::Paused(_) => true,
            End::Reported(_) => false,
        }
    }

    /// Whether a person must look: failures, refusals, incomplete scans, overdue or undetermined records, findings above a note.
    pub fn needs_attention(&self) -> bool {
        let tally = &self.tally;
        let end = match &self.end {
            End::Reported(over) => over.is_some(),
            End::Spent(spent) => {
                spent.counts.failed > 0
                    || spent.stopped.is_some()
                    || !spent.troubles.is_empty()
                    || matches!(spent.purged, Some((_, Err(_))))
            }
            End::Refused { .. } | End::Incomplete(_) | End::Paused(_) => true,
        };
        end || tally.undetermined > 0 || tally.overdue > 0 || self.findings.iter().any(|finding| finding.severity != Severity::Note)
    }
}

/// The exit code of runs, when nothing else needs `attention` already.
pub fn exit_code(rans: &[Ran], attention: bool) -> u8 {
    if rans.iter().any(|ran| matches!(ran.end, End::Refused { .. } | End::Paused(_))) {
        return REFUSED;
    }
    if attention || rans.iter().any(Ran::needs_attention) { FINDINGS } else { DONE }
}

/// The dataset that looks into this one and whose run did not come to its end. Were the records of this one destroyed now, those of the other that
/// are due could never be dated again.
pub fn waits_for(dataset: &Dataset, rans: &[Ran]) -> Option<String> {
    let asker = rans.iter().filter(|ran| ran.is_undone()).find(|ran| ran.dataset.looks_into(dataset));
    asker.map(|ran| ran.dataset.address.clone())
}
