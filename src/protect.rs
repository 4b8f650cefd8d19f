//! What holds protect now: the records of each store that they cover, and which of them would be due without.
//!
//! Every record of a dataset is judged as a run would judge it, with these holds and no others. Nothing is changed, and nothing is kept. A hold that
//! covers nothing today may cover something tomorrow: what is answered is a count, not the hold.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::Serialize;

use crate::assess::{Assessment, Assessor};
use crate::dispose::Brake;
use crate::error::{Kind, Result};
use crate::judge::{Reason, Standing};
use crate::record::Record;
use crate::scan::{Planned, scan};

/// What holds protect in one dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Protected {
    /// `store/dataset`.
    pub dataset: String,
    /// Records that they protect.
    pub records: u64,
    /// Of these, the ones whose period is over: they would go.
    pub due: u64,
    /// Why the dataset could not be seen completely.
    pub incomplete: Option<String>,
}

/// Called for each record that is protected; whether it would be due.
pub type Listen<'a> = dyn FnMut(&Record, &Assessment, bool) + Send + 'a;

/// Looks what the assessor's holds protect in its dataset.
pub async fn protected(assessor: &Assessor, seen: Arc<AtomicU64>, listen: &mut Listen<'_>) -> Result<Protected> {
    let mut found = Protected { dataset: assessor.dataset().address.clone(), ..Protected::default() };
    let mut see = |record: &Record, assessment: &Assessment| {
        let verdict = &assessment.verdict;
        if verdict.standing == Standing::Held {
            let over = |reason: &Reason| matches!(reason, Reason::Over(_) | Reason::Overdue { .. } | Reason::Held { .. });
            let due = verdict.reasons.iter().all(over);
            found.records += 1;
            found.due += u64::from(due);
            listen(record, assessment, due);
        }
    };
    let planned = match scan(assessor, None, seen, &Brake::default(), true, Some(&mut see)).await {
        Ok(planned) => planned,
        Err(error) if error.kind() == Kind::Store => Planned::failed(error.to_string()),
        Err(error) => return Err(error),
    };
    found.incomplete = planned.incomplete;
    Ok(found)
}
