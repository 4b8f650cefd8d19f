//! From the items of a plan to batches: what goes under one intent.

use std::collections::HashSet;
use std::sync::Arc;

use super::Run;
use crate::error::Result;
use crate::judge::Deciding;
use crate::plan::{Approval, Item};
use crate::record::Record;
use crate::schedule::Disposition;
use crate::store::{Act, BATCH};

/// An entry of the log holds at most 65,535 bytes; an intent stays well below that however long its keys are.
const INTENT_BYTES: usize = 56 * 1024;

/// Records of a plan to which the same is to be done, under one intent; the lists run in step.
pub(super) struct Batch {
    pub(super) act: Act,
    /// The records' names in the log.
    pub(super) names: Vec<Arc<str>>,
    pub(super) records: Vec<Record>,
    /// What makes each record due.
    pub(super) deciding: Vec<Deciding>,
    /// What people approved of each, where that is needed.
    pub(super) approvals: Vec<Option<Arc<Approval>>>,
}

/// Cuts the items of a plan into batches of one act each that fit into one intent.
pub(super) struct Batches {
    pub(super) items: crate::spool::Items,
    pub(super) run: Arc<Run>,
    /// The first item of the next batch, which did not fit into the last one.
    pub(super) waiting: Option<(Act, Arc<str>, Item)>,
    /// Records with an intent and no outcome yet. A folder that changes while it is listed may show a name twice, and then the plan holds the
    /// record twice.
    pub(super) in_hand: HashSet<Arc<str>>,
}

impl Batches {
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>> {
        let Some(first) = self.next_item()? else {
            return Ok(None);
        };
        let mut batch = Batch { act: first.0, names: Vec::new(), records: Vec::new(), deciding: Vec::new(), approvals: Vec::new() };
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some((act, name, item)) = next {
            bytes += name.len() + 3;
            let fits = act == batch.act && (batch.names.is_empty() || (bytes <= INTENT_BYTES && batch.names.len() < BATCH));
            if !fits {
                self.waiting = Some((act, name, item));
                break;
            }
            batch.names.push(name);
            batch.records.push(item.record);
            batch.deciding.push(item.deciding);
            batch.approvals.push(item.approval);
            next = self.next_item()?;
        }
        Ok(Some(batch))
    }

    fn next_item(&mut self) -> Result<Option<(Act, Arc<str>, Item)>> {
        if let Some(waiting) = self.waiting.take() {
            return Ok(Some(waiting));
        }
        for item in self.items.by_ref() {
            let item = item?;
            let act = match item.then {
                Disposition::Destroy => Act::Destroy,
                Disposition::Anonymise => Act::Anonymise,
                Disposition::Review | Disposition::Flag => continue,
            };
            let name: Arc<str> = self.run.name(&item.record).into();
            if self.in_hand.insert(Arc::clone(&name)) {
                return Ok(Some((act, name, item)));
            }
        }
        Ok(None)
    }
}
