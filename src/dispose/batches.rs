//! From the items of a plan to batches: what goes under one intent.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
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
    /// The same, as numbers by which [`Batches::in_hand`] knows them.
    pub(super) marks: Vec<u64>,
    pub(super) records: Vec<Record>,
    /// What makes each record due.
    pub(super) deciding: Vec<Deciding>,
    /// What people approved of each, where that is needed.
    pub(super) approvals: Vec<Option<Arc<Approval>>>,
    /// The entry that decided about each, on a request for erasure.
    pub(super) erasures: Vec<Option<u64>>,
}

/// Cuts the items of a plan into batches of one act each that fit into one intent.
pub(super) struct Batches {
    pub(super) items: crate::spool::Items,
    pub(super) run: Arc<Run>,
    /// The first item of the next batch, which did not fit into the last one.
    pub(super) waiting: Option<Next>,
    /// Records with an intent and no outcome yet, by a hash of their name that nobody outside can foresee. A folder that changes while it is listed may
    /// show a name twice, and then the plan holds the record twice. Of two names with one hash, which nobody will ever see, one waits for the next run.
    pub(super) in_hand: HashSet<u64>,
    pub(super) hasher: RandomState,
}

/// An item with what is to be done to it, its name in the log, and the hash of that.
pub(super) struct Next {
    act: Act,
    name: Arc<str>,
    mark: u64,
    item: Item,
}

impl Batches {
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>> {
        let Some(first) = self.next_item()? else {
            return Ok(None);
        };
        let mut batch = Batch {
            act: first.act,
            names: Vec::new(),
            marks: Vec::new(),
            records: Vec::new(),
            deciding: Vec::new(),
            approvals: Vec::new(),
            erasures: Vec::new(),
        };
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(Next { act, name, mark, item }) = next {
            bytes += name.len() + 3;
            let fits = act == batch.act && (batch.names.is_empty() || (bytes <= INTENT_BYTES && batch.names.len() < BATCH));
            if !fits {
                self.waiting = Some(Next { act, name, mark, item });
                break;
            }
            batch.names.push(name);
            batch.marks.push(mark);
            batch.records.push(item.record);
            batch.deciding.push(item.deciding);
            batch.approvals.push(item.approval);
            batch.erasures.push(item.erasure);
            next = self.next_item()?;
        }
        Ok(Some(batch))
    }

    fn next_item(&mut self) -> Result<Option<Next>> {
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
            let mark = self.hasher.hash_one(&name);
            if self.in_hand.insert(mark) {
                return Ok(Some(Next { act, name, mark, item }));
            }
        }
        Ok(None)
    }
}
