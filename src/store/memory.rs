//! A store in memory that fails on demand: for the tests of the pipeline and of programs that embed this library.
//!
//! It keeps every promise of [`Store`], and can be told to break down at each step, both ways a step can fail: "failed and did not happen" and
//! "failed but did happen". It has no configuration key; nobody connects it by accident.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{Act, BATCH, Evidence, Fate, Found, Guard, Kept, Order, Query, Scanned, Store};
use crate::dispose::Permit;
use crate::error::{Error, Kind, Result};
use crate::finding::Finding;
use crate::judge::Bound;
use crate::record::{Doubt, Key, Moment, Reading, Record};
use crate::schedule::EventName;

/// The grades of this store.
const GRADES: &[&str] = &["forgotten", "forgotten-twice"];

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    name: String,
    events: Vec<EventName>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    datasets: BTreeMap<String, BTreeMap<Key, Stored>>,
    troubles: Vec<Trouble>,
    /// How many records were ever removed or anonymised.
    changed: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    record: Record,
    anonymised: bool,
}

/// How the store is to break down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Every scan fails.
    ScanFails,
    /// Every scan sees only part of the dataset.
    ScanIncomplete,
    /// Every scan sends each record twice, as the listing of a folder that changes meanwhile may.
    ScanRepeats,
    /// Finding records fails.
    FetchFails,
    /// Look-ups fail.
    LookupFails,
    /// Removing this record fails, and it stays.
    FailsAndDidNot(Key),
    /// Removing this record reports an uncertain failure, and it stays.
    UncertainAndDidNot(Key),
    /// Removing this record reports an uncertain failure, but it is gone.
    UncertainButDid(Key),
    /// Removing answers for no record at all, having removed them.
    AnswersNothingButDid,
}

impl MemoryStore {
    /// An empty store whose datasets all have these events.
    pub fn new(name: &str, events: &[&str]) -> Self {
        let events = events.iter().map(|event| EventName::parse(event).expect("an event name")).collect();
        Self { name: name.to_owned(), events, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record, replacing one with the same key. Its fingerprint changes with every put.
    pub fn put(&self, dataset: &str, key: &str, readings: Vec<Reading>) {
        self.put_about(dataset, key, &format!("subject of {key}"), readings);
    }

    /// The same, about somebody in particular.
    pub fn put_about(&self, dataset: &str, key: &str, subject: &str, readings: Vec<Reading>) {
        let mut inner = self.inner();
        inner.changed += 1;
        let record = Record {
            key: Key::new(key.as_bytes()),
            class_value: None,
            readings: readings.into(),
            subject: Some(subject.into()),
            size: 100,
            fingerprint: inner.changed.to_le_bytes().as_slice().into(),
            hint: 0,
        };
        inner.datasets.entry(dataset.to_owned()).or_default().insert(record.key.clone(), Stored { record, anonymised: false });
    }

    /// The keys that are there and not anonymised, in order.
    pub fn keys(&self, dataset: &str) -> Vec<String> {
        let inner = self.inner();
        let records = inner.datasets.get(dataset).into_iter().flatten();
        records.filter(|(_, stored)| !stored.anonymised).map(|(key, _)| key.to_text()).collect()
    }

    /// Makes the store break down from now on; an empty list mends it.
    pub fn troubles(&self, troubles: Vec<Trouble>) {
        self.inner().troubles = troubles;
    }
}

impl Inner {
    fn has(&self, trouble: &Trouble) -> bool {
        self.troubles.contains(trouble)
    }

    fn fail_on(&self, trouble: &Trouble, what: &str) -> Result<()> {
        if self.has(trouble) { Err(Error::new(Kind::Store, format!("{what} failed on demand"))) } else { Ok(()) }
    }

    fn remove_one(&mut self, dataset: &str, order: &Order, planned: &Record, position: usize, guard: &Guard<'_>) -> Fate {
        let Some(stored) = self.datasets.get(dataset).and_then(|records| records.get(&planned.key)).cloned() else {
            return Fate::Absent;
        };
        if stored.anonymised {
            return Fate::Absent;
        }
        if stored.record.fingerprint != planned.fingerprint {
            return Fate::Kept(Kept::Changed("the record".into()));
        }
        if order.at_least.as_deref().is_some_and(|least| !Evidence::reaches(GRADES[0], least, GRADES)) {
            return Fate::Kept(Kept::CannotMeetGrade("memory is forgotten once".into()));
        }
        if let Some(kept) = guard(position, &stored.record) {
            return Fate::Kept(kept);
        }
        let failed = |uncertain| Fate::Failed { error: "failed on demand".into(), uncertain };
        let key = &planned.key;
        if self.has(&Trouble::FailsAndDidNot(key.clone())) {
            return failed(false);
        }
        if self.has(&Trouble::UncertainAndDidNot(key.clone())) {
            return failed(true);
        }
        self.changed += 1;
        if let Some(records) = self.datasets.get_mut(dataset) {
            match order.act {
                Act::Destroy => drop(records.remove(key)),
                Act::Anonymise => {
                    if let Some(stored) = records.get_mut(key) {
                        stored.anonymised = true;
                    }
                }
            }
        }
        if self.has(&Trouble::UncertainButDid(key.clone())) {
            return failed(true);
        }
        Fate::Done(Evidence { method: "forget", grade: GRADES[0], verified: true, caveats: Cow::default(), parts: 0 })
    }
}

fn may_be_due(events: &[EventName], record: &Record, bound: &Bound) -> bool {
    bound.may_hold(&mut |event, date, before| {
        let at = events.iter().position(|known| known == event);
        match at.and_then(|at| record.readings.get(at)) {
            Some(Reading::At(moment)) => Bound::admits(*moment, date, before),
            Some(Reading::NotYet) => false,
            _ => true,
        }
    })
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> String {
        format!("memory:{}", self.name)
    }

    fn grades(&self) -> &'static [&'static str] {
        GRADES
    }

    fn lanes(&self) -> usize {
        3
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn scan(&self, dataset: &str, query: Query, out: mpsc::Sender<Vec<Record>>) -> Result<Scanned> {
        let (records, scanned) = {
            let inner = self.inner();
            inner.fail_on(&Trouble::ScanFails, "the scan")?;
            let all = inner
                .datasets
                .get(dataset)
                .into_iter()
                .flatten()
                .filter(|(_, stored)| !stored.anonymised)
                .map(|(_, stored)| stored.record.clone());
            let all: Vec<Record> = all.collect();
            let incomplete = inner.has(&Trouble::ScanIncomplete).then(|| "half of it could not be seen".to_owned());
            let scanned = Scanned { population: all.len() as u64, incomplete, ..Scanned::default() };
            (all, scanned)
        };
        query.count(scanned.population);
        let yesterday = query.now.to_zoned(jiff::tz::TimeZone::UTC).date().yesterday().unwrap_or(jiff::civil::Date::MIN);
        let doubtful = |record: &Record| {
            record.readings.iter().any(|reading| match reading {
                Reading::Doubt(_) | Reading::Elsewhere(None) => true,
                // Somewhere it is still yesterday: what may lie in the future is for the judge to tell.
                Reading::At(Moment::Date(date)) => *date > yesterday,
                Reading::At(Moment::Instant(instant)) => *instant > query.now,
                Reading::NotYet | Reading::Elsewhere(Some(_)) => false,
            })
        };
        let wanted = |record: &Record| query.bound.as_ref().is_none_or(|bound| doubtful(record) || may_be_due(&self.events, record, bound));
        let times = if self.inner().has(&Trouble::ScanRepeats) { 2 } else { 1 };
        let sent: Vec<Record> = records.into_iter().filter(wanted).flat_map(|record| vec![record; times]).collect();
        for batch in sent.chunks(BATCH) {
            if out.send(batch.to_vec()).await.is_err() {
                break;
            }
        }
        Ok(scanned)
    }

    async fn fetch(&self, dataset: &str, keys: &[Key]) -> Result<Vec<Found>> {
        let inner = self.inner();
        inner.fail_on(&Trouble::FetchFails, "finding records")?;
        let records = inner.datasets.get(dataset);
        let find = |key: &Key| records.and_then(|records| records.get(key)).filter(|stored| !stored.anonymised);
        Ok(keys.iter().map(|key| find(key).map_or(Found::Absent, |stored| Found::Present(Box::new(stored.record.clone())))).collect())
    }

    async fn lookup(&self, dataset: &str, event: &EventName, _on: Option<&str>, values: &[&str]) -> Result<Vec<Reading>> {
        let inner = self.inner();
        inner.fail_on(&Trouble::LookupFails, "the look-up")?;
        let at = self.events.iter().position(|known| known == event).unwrap_or(usize::MAX);
        let records = inner.datasets.get(dataset);
        let reading = |value: &&str| {
            records.and_then(|records| records.get(&Key::new(value.as_bytes()))).and_then(|stored| stored.record.readings.get(at).cloned())
        };
        Ok(values.iter().map(|value| reading(value).unwrap_or(Reading::Doubt(Doubt::Missing("the row".into())))).collect())
    }

    async fn remove(&self, _permit: &Permit, dataset: &str, order: &Order, records: &[Record], guard: &Guard<'_>) -> Vec<Fate> {
        let mut inner = self.inner();
        let mut fates: Vec<Fate> = Vec::with_capacity(records.len());
        for (position, planned) in records.iter().enumerate() {
            let fate = inner.remove_one(dataset, order, planned, position, guard);
            fates.push(fate);
        }
        if inner.has(&Trouble::AnswersNothingButDid) {
            fates.clear();
        }
        fates
    }
}

/// A reading of a date, for tests.
pub fn on(date: jiff::civil::Date) -> Reading {
    Reading::At(Moment::Date(date))
}
