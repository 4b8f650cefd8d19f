//! From the items of a plan to batches: what a store is asked to remove at once, and under which intents.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use super::Run;
use crate::audit::escapes;
use crate::error::Result;
use crate::judge::Deciding;
use crate::plan::{Approval, Item};
use crate::record::Record;
use crate::schedule::Disposition;
use crate::spool::Items;
use crate::store::{Act, BATCH};

/// An entry of the log holds at most 65,535 bytes; an intent stays well below that however long its keys are.
const INTENT_BYTES: usize = 56 * 1024;

/// Records of a plan to which the same is to be done; the lists run in step.
pub(super) struct Batch {
    pub(super) act: Act,
    /// The records' names in the log, in as many lists as it needs intents.
    pub(super) intents: Vec<Names>,
    /// The same, as numbers by which [`Batches`] knows them.
    pub(super) marks: Vec<u64>,
    pub(super) records: Vec<Record>,
    /// What makes each record due.
    pub(super) deciding: Vec<Deciding>,
    /// What people approved of each, where that is needed.
    pub(super) approvals: Vec<Option<Arc<Approval>>>,
    /// The entry that decided about each, on a request for erasure.
    pub(super) erasures: Vec<Option<u64>>,
}

/// Names of records in one text, one behind the other.
#[derive(Default)]
pub(super) struct Names {
    text: String,
    ends: Vec<usize>,
    /// How much longer they all are in JSON.
    escapes: usize,
}

/// Cuts the items of a plan into batches of one act each, as large as the store wants them.
pub(super) struct Batches {
    items: Items,
    run: Arc<Run>,
    /// Records of a batch at most.
    most: usize,
    /// The first item of the next batch, which did not fit into the last one, and its mark.
    waiting: Option<(Item, Act, u64)>,
    /// Records with an intent and no outcome yet, by a hash of their name that nobody outside can foresee. A folder that changes while it is listed may
    /// show a name twice, and then the plan holds the record twice. Of two names with one hash, which nobody will ever see, one waits for the next run.
    in_hand: HashSet<u64, BuildHasherDefault<Marked>>,
    hasher: RandomState,
}

/// Takes a mark, which is a hash already, for its own hash.
#[derive(Default)]
struct Marked(u64);

impl Hasher for Marked {
    fn write_u64(&mut self, mark: u64) {
        self.0 = mark;
    }

    /// Nothing but marks comes here; whatever did would be told apart, only less well.
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Names {
    /// Adds a name, which `write` appends, and answers it.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut String)) -> &str {
        let begin = self.text.len();
        write(&mut self.text);
        self.ends.push(self.text.len());
        self.escapes += escapes(&self.text[begin..]);
        &self.text[begin..]
    }

    /// Takes out the name that was added last.
    fn take_back(&mut self) {
        drop(self.move_on());
    }

    /// Takes out the name that was added last, as the first of another list.
    fn move_on(&mut self) -> Self {
        self.ends.pop();
        let text = self.text.split_off(self.ends.last().copied().unwrap_or(0));
        let escapes = escapes(&text);
        self.escapes -= escapes;
        Self { ends: vec![text.len()], text, escapes }
    }

    /// Whether what they have become with the one that was added last still fits into one intent.
    fn fit(&self) -> bool {
        let names = self.ends.len();
        names == 1 || (names <= BATCH && self.bytes() <= INTENT_BYTES)
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// How long they are together, each with the quotes and the comma that it gets in a list.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.escapes + 3 * self.ends.len()
    }

    /// The names, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut begin = 0;
        self.ends.iter().map(move |end| &self.text[std::mem::replace(&mut begin, *end)..*end])
    }
}

impl Batch {
    fn new(most: usize) -> Self {
        Self {
            act: Act::Destroy,
            intents: Vec::new(),
            marks: Vec::with_capacity(most),
            records: Vec::with_capacity(most),
            deciding: Vec::with_capacity(most),
            approvals: Vec::with_capacity(most),
            erasures: Vec::with_capacity(most),
        }
    }

    /// Adds an item whose name was added.
    fn push(&mut self, item: Item, mark: u64) {
        self.marks.push(mark);
        self.records.push(item.record);
        self.deciding.push(item.deciding);
        self.approvals.push(item.approval);
        self.erasures.push(item.erasure);
    }
}

impl Batches {
    pub(super) fn new(run: &Arc<Run>, items: Items) -> Self {
        // What is asked elsewhere for each record takes its time, and is only good for a while.
        let most = if run.assessor.asks_elsewhere() { BATCH } else { usize::MAX };
        let most = run.dataset().store.batch().clamp(1, most);
        Self { items, run: Arc::clone(run), most, waiting: None, in_hand: HashSet::default(), hasher: RandomState::new() }
    }

    /// These have their outcome.
    pub(super) fn settle(&mut self, marks: &[u64]) {
        for mark in marks {
            self.in_hand.remove(mark);
        }
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut batch = Batch::new(self.most);
        // However long the names are: the log keeps room for the outcomes of so many.
        let intents = self.most.div_ceil(BATCH);
        let mut names = Names::default();
        if let Some((item, act, mark)) = self.waiting.take() {
            batch.act = act;
            names.add(|name| self.run.write_name(&item.record, name));
            batch.push(item, mark);
        }
        // Whether the next item may fit as well.
        let mut add = |item: Item| {
            let act = match item.then {
                Disposition::Destroy => Act::Destroy,
                Disposition::Anonymise => Act::Anonymise,
                Disposition::Review | Disposition::Flag => return true,
            };
            let mark = self.hasher.hash_one(names.add(|name| self.run.write_name(&item.record, name)));
            if !self.in_hand.insert(mark) {
                names.take_back();
                return true;
            }
            let fit = names.fit();
            if batch.records.is_empty() {
                batch.act = act;
            } else if act != batch.act || batch.records.len() == self.most || (!fit && batch.intents.len() + 1 == intents) {
                names.take_back();
                self.waiting = Some((item, act, mark));
                return false;
            } else if !fit {
                let next = names.move_on();
                batch.intents.push(std::mem::replace(&mut names, next));
            }
            batch.push(item, mark);
            true
        };
        while let Some(more) = self.items.take_next(&mut add) {
            if !more? {
                break;
            }
        }
        if names.count() > 0 {
            batch.intents.push(names);
        }
        Ok((!batch.records.is_empty()).then_some(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_one_by_one_and_the_last_can_be_taken_back() {
        let mut names = Names::default();
        for name in ["2026:one", "", "plain:\"two\""] {
            assert_eq!(names.add(|text| text.push_str(name)), name);
        }
        assert_eq!(names.iter().collect::<Vec<_>>(), ["2026:one", "", "plain:\"two\""]);
        let length = |names: &Names| names.iter().map(|name| serde_json::to_string(name).unwrap().len() + 1).sum::<usize>();
        assert_eq!(names.bytes(), length(&names));
        let next = names.move_on();
        assert_eq!(next.iter().collect::<Vec<_>>(), ["plain:\"two\""]);
        assert_eq!((next.bytes(), next.count()), (length(&next), 1));
        names.add(|text| text.push_str("three"));
        assert_eq!(names.iter().collect::<Vec<_>>(), ["2026:one", "", "three"]);
        assert_eq!((names.bytes(), names.count()), (length(&names), 3));
    }

    #[test]
    fn a_mark_is_its_own_hash_and_is_found_again() {
        let mut marks: HashSet<u64, BuildHasherDefault<Marked>> = HashSet::default();
        assert!((0..1000).all(|mark: u64| marks.insert(mark << 40)));
        assert_eq!(marks.hasher().hash_one(7_u64), 7);
        assert!((0..1000).all(|mark: u64| !marks.insert(mark << 40) && marks.remove(&(mark << 40))));
        assert!(marks.is_empty());
    }
}
