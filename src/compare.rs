//! What an edited schedule would change before it is put in force: newly due, newly protected, or due for something else.
//!
//! Every record of a dataset is judged twice, by what is in force and by the edited schedule, on the same day and with the same holds. Neither
//! judgement waits for the edit delay: the question is what comes after it. Nothing is changed, and nothing is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::assess::{Assessment, Assessor};
use crate::error::Result;
use crate::judge::Standing;
use crate::record::Record;
use crate::scan::look_at_store;
use crate::store::{BATCH, Query};

/// What an edit changes in one dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Compared {
    /// Records that were judged.
    pub records: u64,
    /// Due by the edited schedule only, by what would be done to them.
    pub newly_due: BTreeMap<&'static str, u64>,
    /// Due now, and no longer by the edited schedule, by what would have been done to them.
    pub newly_protected: BTreeMap<&'static str, u64>,
    /// Due either way, for something else: `review to destroy`.
    pub otherwise: BTreeMap<String, u64>,
    /// Why the dataset could not be seen completely.
    pub incomplete: Option<String>,
}

/// How an edit changes one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It would be due.
    NewlyDue,
    /// It would no longer be due.
    NewlyProtected,
    /// It would be due for something else.
    Otherwise,
}

impl Change {
    /// The words for listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewlyDue => "newly-due",
            Self::NewlyProtected => "newly-protected",
            Self::Otherwise => "due-otherwise",
        }
    }
}

/// Called for each record that an edit changes.
pub type Listen<'a> = dyn FnMut(Change, &Record, &Assessment) + Send + 'a;

/// Judges every record of a dataset by what is in force and by the edited schedule.
pub async fn compare(now: &Assessor, edited: &Assessor, listen: &mut Listen<'_>) -> Result<Compared> {
    let dataset = Arc::clone(now.dataset());
    let mut compared = Compared::default();
    if let (_, Some(why)) = look_at_store(&dataset, now.stores()).await? {
        compared.incomplete = Some(why);
        return Ok(compared);
    }
    let query = Query { bound: None, whole: false, now: now.today().instant(), seen: Arc::default() };
    let (out, mut messages) = mpsc::channel(1);
    let scanning = tokio::spawn({
        let dataset = Arc::clone(&dataset);
        async move { dataset.store.scan(&dataset.name, query, out).await }
    });
    while let Some(message) = messages.recv().await {
        for batch in message.chunks(BATCH) {
            let (before, after) = (now.assess(batch).await, edited.assess(batch).await);
            for ((record, before), after) in batch.iter().zip(&before).zip(&after) {
                if let Some(change) = compared.count(before, after) {
                    listen(change, record, after);
                }
            }
        }
    }
    let ended = scanning.await;
    compared.incomplete = match ended {
        Ok(scanned) => scanned.map_err(|error| error.context(&dataset.address))?.incomplete,
        Err(error) => Some(format!("the scan ended abnormally: {error}")),
    };
    Ok(compared)
}

impl Compared {
    fn count(&mut self, before: &Assessment, after: &Assessment) -> Option<Change> {
        self.records += 1;
        let due = |one: &Assessment| one.verdict.then.filter(|_| one.verdict.standing == Standing::Due);
        match (due(before), due(after)) {
            (None, Some(then)) => {
                *self.newly_due.entry(then.as_str()).or_default() += 1;
                Some(Change::NewlyDue)
            }
            (Some(then), None) => {
                *self.newly_protected.entry(then.as_str()).or_default() += 1;
                Some(Change::NewlyProtected)
            }
            (Some(one), Some(other)) if one != other => {
                *self.otherwise.entry(format!("{} to {}", one.as_str(), other.as_str())).or_default() += 1;
                Some(Change::Otherwise)
            }
            _ => None,
        }
    }
}
