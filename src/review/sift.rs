//! What a scan found to be reviewed, held against what people decided.
//!
//! The plan of a scan comes in; out comes the plan that is spent: with the records that are approved, and without those that only wait. On the way the
//! undecided rest is frozen anew. A dry run goes the same way and writes no batch.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use serde::Serialize;

use super::batch::{Batch, Freezing, Heir, month_of};
use super::decision::Standing as Decided;
use super::sorted::Sorter;
use crate::assess::{Assessor, why_kept};
use crate::audit::{EpochKey, Pseudonyms};
use crate::error::Result;
use crate::judge::Standing;
use crate::plan::{Approval, Item, Tally};
use crate::scan::acts;
use crate::schedule::Disposition;
use crate::spool::{Items, Source, Spool, Writer};
use crate::store::{BATCH, Found, Kept};

/// What sifting needs to know.
pub struct Facts<'a> {
    /// The folder of batches; of a dry run, any folder that can be written.
    pub folder: &'a Path,
    /// Whether batches are written and removed; a dry run only counts.
    pub write: bool,
    /// Judges what was approved once more.
    pub assessor: &'a Assessor,
    /// For the ids of batches.
    pub pseudonyms: &'a Pseudonyms,
    /// The year's key; without one nothing can be frozen.
    pub epoch: Option<Arc<EpochKey>>,
    /// The present moment, RFC 3339.
    pub now: String,
}

/// What came of it.
pub struct Sifted {
    /// What is to be spent.
    pub plan: Spool,
    /// The numbers of it.
    pub tally: Tally,
    /// What people should know.
    pub left: Left,
    /// Batches whose approval is in force, each with its last day.
    pub in_force: Vec<(String, Date, Vec<u64>)>,
}

/// Where review stands in one dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Left {
    /// Records that wait for people.
    pub waiting: u64,
    /// In how many batches.
    pub batches: u64,
    /// Since when the first of them is asked.
    pub since: Option<String>,
    /// Records whose approval can still be taken back.
    pub cooling_off: u64,
    /// Records that people refused to destroy, or keep longer.
    pub kept: u64,
    /// Records that are approved and due.
    pub approved: u64,
    /// Records that were approved and dropped out, by why.
    pub dropped: BTreeMap<String, u64>,
    /// Decided batches whose frozen records are lost or changed.
    pub lost: Vec<String>,
}

/// A batch that is decided, on the way through the records.
struct Frozen {
    batch: Batch,
    standing: Decided,
    approval: Option<Arc<Approval>>,
    matched: u64,
    /// Records that are there and not as they were approved.
    dropped: u64,
    visited: bool,
}

/// One that is being read beside the records of its class and month.
struct Cursor {
    at: usize,
    items: Items,
    next: Option<Item>,
}

/// Records of one class and month.
struct Group {
    place: (String, String),
    cursors: Vec<Cursor>,
    freezing: Option<Freezing>,
    fresh: u64,
    last: Option<Vec<u8>>,
}

struct Sifting<'a> {
    facts: &'a Facts<'a>,
    plan: &'a Spool,
    frozen: Vec<Frozen>,
    /// By class and month, what is undecided.
    since: BTreeMap<(String, String), Heir>,
    tally: Tally,
    left: Left,
    writer: Option<Writer>,
    approved: Vec<(Item, usize)>,
    missing: Vec<(Item, usize)>,
    fresh: Vec<String>,
    /// Whether people keep some records: then what the plan destroys is held against them too, for the class may no longer ask for a review.
    keeps: bool,
    /// Hashes of the keys of all records that people keep: 16 bytes each, of what people refused or extended one batch after the other.
    kept: HashSet<[u8; 16]>,
}

/// The first half of a SHA-256: nobody finds two keys alike.
fn short(key: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&<sha2::Sha256 as sha2::Digest>::digest(key)[..16]);
    short
}

/// Holds the plan of a scan against the batches of its dataset, each with where it stands today.
pub async fn sift(facts: &Facts<'_>, plan: Spool, known: Vec<(Batch, Decided)>) -> Result<Sifted> {
    let tally = plan.footer.tally.clone();
    let mut undecided = Vec::new();
    let mut sifting = Sifting {
        facts,
        plan: &plan,
        frozen: Vec::new(),
        since: BTreeMap::new(),
        tally,
        left: Left::default(),
        writer: None,
        approved: Vec::new(),
        missing: Vec::new(),
        fresh: Vec::new(),
        keeps: false,
        kept: HashSet::new(),
    };
    for (batch, standing) in known {
        if standing.is_decided() {
            sifting.freeze(batch, standing)?;
        } else {
            let place = (batch.asked().class.clone(), batch.asked().month.clone());
            let mine = Heir { since: batch.asked().since.clone(), nonce: Some(batch.asked().nonce.clone()) };
            let from = sifting.since.entry(place).or_insert_with(|| mine.clone());
            if mine.since < from.since {
                *from = mine;
            }
            undecided.push(batch);
        }
    }
    sifting.pass().await?;
    let Sifting { frozen, fresh, left, tally, writer, .. } = sifting;
    let in_force = frozen.iter().filter_map(|one| match &one.standing {
        Decided::Approved { given, until } => Some((one.batch.id.clone(), *until, given.clone())),
        _ => None,
    });
    let in_force = in_force.collect();
    if facts.write {
        for batch in undecided.into_iter().filter(|batch| !fresh.contains(&batch.id)) {
            batch.remove()?;
        }
        for one in frozen {
            // All of it is gone: nothing is asked or approved any more, and its keys need not be kept.
            if one.matched == 0 && one.dropped == 0 && !matches!(one.standing, Decided::Kept { .. }) {
                match one.standing {
                    Decided::Approved { .. } => one.batch.done(facts.folder)?,
                    _ => one.batch.remove()?,
                }
            }
        }
    }
    let footer = &plan.footer;
    let plan = match writer {
        Some(writer) => {
            let of = Source { store: &footer.store, dataset: &footer.dataset, mark: footer.mark.clone(), made: footer.made.clone() };
            writer.finish(&of, tally.clone())?
        }
        None => plan,
    };
    Ok(Sifted { plan, tally, left, in_force })
}

impl Sifting<'_> {
    fn freeze(&mut self, batch: Batch, standing: Decided) -> Result<()> {
        if !batch.is_intact(self.facts.assessor.dataset(), self.facts.pseudonyms)? {
            self.left.lost.push(batch.short().to_owned());
            return if self.facts.write { batch.remove() } else { Ok(()) };
        }
        let approval = match &standing {
            Decided::Approved { given, .. } => Some(Arc::new(Approval { batch: batch.id.clone(), entries: given.clone() })),
            _ => None,
        };
        self.frozen.push(Frozen { batch, standing, approval, matched: 0, dropped: 0, visited: false });
        Ok(())
    }

    /// Goes through the records in the order of class, month and key.
    async fn pass(&mut self) -> Result<()> {
        for one in self.frozen.iter().filter(|one| matches!(one.standing, Decided::Kept { .. })) {
            for item in one.batch.items()? {
                self.kept.insert(short(item?.record.key.as_bytes()));
            }
        }
        self.keeps = !self.kept.is_empty();
        let mut sorter = Sorter::new(self.facts.folder);
        for item in self.plan.items()? {
            let item = item?;
            if item.then == Disposition::Review || self.keeps && acts(item.then) {
                sorter.push(item)?;
            }
        }
        let mut group: Option<Group> = None;
        for item in sorter.finish()? {
            let item = item?;
            let place = (item.deciding.class.to_string(), month_of(&item));
            if let Some(ended) = group.take_if(|group| group.place != place) {
                self.close(ended).await?;
            }
            let group = match &mut group {
                Some(group) => group,
                none => none.insert(self.open(place)?),
            };
            self.take(group, item).await?;
        }
        if let Some(ended) = group {
            self.close(ended).await?;
        }
        // Batches of whose class and month nothing is due any more.
        for at in 0..self.frozen.len() {
            if !self.frozen[at].visited {
                let place = (self.frozen[at].batch.asked().class.clone(), self.frozen[at].batch.asked().month.clone());
                let alone = self.open(place)?;
                self.close(alone).await?;
            }
        }
        self.add_approved().await?;
        if self.keeps {
            // What people keep is not in it, even if that is all.
            self.writer()?;
        }
        self.look_for_missing().await
    }

    fn open(&mut self, place: (String, String)) -> Result<Group> {
        let mut cursors = Vec::new();
        for (at, one) in self.frozen.iter_mut().enumerate() {
            if one.batch.asked().class == place.0 && one.batch.asked().month == place.1 {
                one.visited = true;
                let mut items = one.batch.items()?;
                let next = items.next().transpose()?;
                cursors.push(Cursor { at, items, next });
            }
        }
        Ok(Group { place, cursors, freezing: None, fresh: 0, last: None })
    }

    /// One record that is to be reviewed.
    async fn take(&mut self, group: &mut Group, item: Item) -> Result<()> {
        let key = item.record.key.as_bytes();
        // A folder that changes while it is listed may show a name twice.
        if group.last.as_deref() == Some(key) {
            return Ok(());
        }
        group.last = Some(key.to_vec());
        let mut taken = false;
        for at in 0..group.cursors.len() {
            while let Some(passed) = group.cursors[at].pass(key)? {
                self.miss(passed, group.cursors[at].at).await?;
            }
            let cursor = &mut group.cursors[at];
            if cursor.next.as_ref().is_none_or(|next| next.record.key.as_bytes() != key) {
                continue;
            }
            let frozen = &mut self.frozen[cursor.at];
            let kept = matches!(frozen.standing, Decided::Kept { .. });
            // A record that a person keeps is kept whatever became of it; what was approved is what was shown, and nothing else. What goes by its class
            // alone needs no approval.
            if !taken && (kept || item.then == Disposition::Review && cursor.next.as_ref().is_some_and(|next| is_same(next, &item))) {
                taken = true;
                frozen.matched += 1;
                let at = cursor.at;
                cursor.next = cursor.items.next().transpose()?;
                match frozen.standing {
                    Decided::Kept { .. } => {
                        self.left.kept += 1;
                        self.tally.take_back(&item);
                    }
                    Decided::CoolingOff { .. } => self.left.cooling_off += 1,
                    Decided::Waiting { .. } => self.left.waiting += 1,
                    Decided::Approved { .. } => {
                        self.approved.push((item.clone(), at));
                        if self.approved.len() == BATCH {
                            self.add_approved().await?;
                        }
                    }
                }
            }
        }
        if taken {
            return Ok(());
        }
        if acts(item.then) {
            // Its class or its month may be others now than those that it was shown with.
            if self.kept.contains(&short(key)) {
                self.left.kept += 1;
                self.tally.take_back(&item);
                return Ok(());
            }
            return self.writer()?.add_item(&item);
        }
        group.fresh += 1;
        if let (true, Some(epoch)) = (self.facts.write, &self.facts.epoch) {
            let freezing = match &mut group.freezing {
                Some(freezing) => freezing,
                none => {
                    let new = Heir { since: self.facts.now.clone(), nonce: None };
                    let from = self.since.get(&group.place).cloned().unwrap_or(new);
                    none.insert(Freezing::begin(self.facts.folder, self.facts.assessor.dataset(), epoch, &item, from)?)
                }
            };
            freezing.add(&item)?;
        }
        Ok(())
    }

    async fn close(&mut self, mut group: Group) -> Result<()> {
        for cursor in &mut group.cursors {
            while let Some(item) = cursor.next.take() {
                cursor.next = cursor.items.next().transpose()?;
                self.miss(item, cursor.at).await?;
            }
            let frozen = &self.frozen[cursor.at];
            if matches!(frozen.standing, Decided::Waiting { .. }) && frozen.matched > 0 {
                let since = frozen.batch.asked().since.clone();
                self.left.asks(since);
            }
        }
        if group.fresh > 0 {
            self.left.waiting += group.fresh;
            self.left.asks(self.since.get(&group.place).map_or(&self.facts.now, |from| &from.since).clone());
        }
        if let Some(freezing) = group.freezing {
            let footer = &self.plan.footer;
            let of = Source { store: &footer.store, dataset: &footer.dataset, mark: footer.mark.clone(), made: footer.made.clone() };
            self.fresh.push(freezing.finish(self.facts.folder, &of)?);
        }
        Ok(())
    }

    /// Puts approved records into the plan that is spent, each judged once more.
    async fn add_approved(&mut self) -> Result<()> {
        let approved = std::mem::take(&mut self.approved);
        let records: Vec<_> = approved.iter().map(|(item, _)| item.record.clone()).collect();
        let assessments = self.facts.assessor.assess(&records).await;
        for ((item, at), assessment) in approved.into_iter().zip(&assessments) {
            let verdict = &assessment.verdict;
            let then = verdict.on_approval.filter(|then| acts(*then));
            let (Standing::Due, Some(then), Some(deciding)) = (verdict.standing, then, &verdict.deciding) else {
                self.frozen[at].dropped += 1;
                self.left.drop_out("no class allows its destruction, or it is no longer due");
                continue;
            };
            let approval = self.frozen[at].approval.clone();
            let item = Item { then, deciding: deciding.clone(), approval, record: item.record, erasure: None };
            self.tally.review = self.tally.review.saturating_sub(1);
            if then == Disposition::Destroy {
                self.tally.destroy += 1;
                self.tally.bytes += item.record.size;
            } else {
                self.tally.anonymise += 1;
            }
            self.left.approved += 1;
            self.writer()?.add_item(&item)?;
        }
        Ok(())
    }

    /// The plan that is spent, as far as it is written: what goes by its class comes first, or by and by where some of it may be kept.
    fn writer(&mut self) -> Result<&mut Writer> {
        if let Some(writer) = self.writer.take() {
            return Ok(self.writer.insert(writer));
        }
        let mut writer = Writer::create(self.facts.folder)?;
        for other in self.plan.items()?.take_while(|_| !self.keeps) {
            let other = other?;
            if acts(other.then) {
                writer.add_item(&other)?;
            }
        }
        Ok(self.writer.insert(writer))
    }

    /// A record of a decided batch that the scan did not find due as it was.
    async fn miss(&mut self, item: Item, at: usize) -> Result<()> {
        if matches!(self.frozen[at].standing, Decided::Kept { .. }) {
            return Ok(());
        }
        self.missing.push((item, at));
        if self.missing.len() == BATCH { self.look_for_missing().await } else { Ok(()) }
    }

    async fn look_for_missing(&mut self) -> Result<()> {
        let missing = std::mem::take(&mut self.missing);
        if missing.is_empty() {
            return Ok(());
        }
        let (assessor, dataset) = (self.facts.assessor, self.facts.assessor.dataset());
        let keys: Vec<_> = missing.iter().map(|(item, _)| item.record.key.clone()).collect();
        let found = dataset.store.fetch(&dataset.name, &keys).await.unwrap_or_default();
        for (nth, (item, at)) in missing.into_iter().enumerate() {
            let why = match found.get(nth).filter(|_| found.len() == keys.len()) {
                Some(Found::Absent) => continue,
                Some(Found::Present(fresh)) => {
                    let verdict = assessor.assess(std::slice::from_ref(&**fresh)).await.pop();
                    match verdict.and_then(|one| why_kept(&one.verdict)) {
                        Some(Kept::Held(_)) => "held",
                        _ if fresh.fingerprint != item.record.fingerprint => "changed since it was shown",
                        Some(_) => "no longer due",
                        None => "due under another class or date than was shown",
                    }
                }
                Some(Found::Anonymised(_)) => "anonymised",
                Some(Found::Outside(_)) => "no longer a record of the dataset",
                Some(Found::Remains) => "gone but for companion files",
                Some(Found::Unknown(_)) | None => "the store cannot tell",
            };
            self.frozen[at].dropped += 1;
            if matches!(self.frozen[at].standing, Decided::Approved { .. }) {
                self.left.drop_out(why);
            }
        }
        Ok(())
    }
}

/// Whether a record is what was shown: unchanged, in the same class, due by the same event. The text of the schedule may have changed elsewhere.
fn is_same(shown: &Item, now: &Item) -> bool {
    let (one, other) = (&shown.deciding, &now.deciding);
    shown.record.fingerprint == now.record.fingerprint
        && shown.record.class_value == now.record.class_value
        && (&one.class, &one.event, one.event_date, one.due) == (&other.class, &other.event, other.event_date, other.due)
}

impl Cursor {
    /// The next record before this key.
    fn pass(&mut self, key: &[u8]) -> Result<Option<Item>> {
        if self.next.as_ref().is_none_or(|next| next.record.key.as_bytes() >= key) {
            return Ok(None);
        }
        let passed = self.next.take();
        self.next = self.items.next().transpose()?;
        Ok(passed)
    }
}

impl Left {
    fn asks(&mut self, since: String) {
        self.batches += 1;
        if self.since.as_ref().is_none_or(|first| since < *first) {
            self.since = Some(since);
        }
    }

    fn drop_out(&mut self, why: &str) {
        *self.dropped.entry(why.to_owned()).or_default() += 1;
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
