//! What came of spending a plan: numbers that add up, and what went wrong in a few words.

use serde::Serialize;

use crate::clock;
use crate::config::Dataset;
use crate::record::Record;
use crate::store::{Act, Fate};

/// How many records ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Destroyed.
    pub destroyed: u64,
    /// Anonymised.
    pub anonymised: u64,
    /// Destroyed by people, who said so.
    pub attested: u64,
    /// Flagged for the first time.
    pub flagged: u64,
    /// Gone already.
    pub absent: u64,
    /// Kept at the last moment.
    pub kept: u64,
    /// Failed; still there.
    pub failed: u64,
    /// Found gone after the store could not say what became of them.
    pub recovered: u64,
}

/// What came of spending a plan.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// The numbers.
    pub counts: Counts,
    /// Bytes of destroyed records.
    pub bytes: u64,
    /// Records whose fate is not known: their intents stay open until recovery can look.
    pub(super) open: u64,
    /// Marks of records that have their outcome, until the next batch is cut.
    pub(super) settled: Vec<u64>,
    /// What ended it before the plan was spent, if something did.
    pub stopped: Option<Stop>,
    /// Different errors and reasons that occurred, at most a few, with how often.
    pub troubles: Vec<(String, u64)>,
    /// What cleaned up behind the records, if anything did, and whether it could.
    pub purged: Option<(&'static str, Result<(), String>)>,
}

/// What ends a run before its plan is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A signal.
    Signal,
    /// A person paused the store.
    Paused,
    /// The dataset's window was not open, or no longer.
    Window,
    /// The store was too busy for too long.
    Busy,
}

impl Stop {
    /// The word of the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Paused => "paused",
            Self::Window => "window",
            Self::Busy => "busy",
        }
    }

    /// Why a record was kept that was announced already.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Signal => "the program was told to end",
            Self::Paused => "the store was paused",
            Self::Window => "its window ended",
            Self::Busy => "the store was too busy for too long",
        }
    }
}

impl Counts {
    /// All records with an outcome; those that were only flagged are not among them.
    pub fn total(&self) -> u64 {
        self.destroyed + self.anonymised + self.attested + self.absent + self.kept + self.failed + self.recovered
    }
}

/// The most different troubles that are told apart.
const TROUBLES: usize = 10;

impl Spent {
    /// Nothing was done, because this came first.
    pub fn stopped(stop: Stop) -> Self {
        Self { stopped: Some(stop), ..Self::default() }
    }

    /// Lets the store clean up behind what went, if the dataset's configuration asks for it and nothing speaks against taking the time.
    pub async fn purge(&mut self, dataset: &Dataset) {
        let gone = self.counts.destroyed + self.counts.anonymised + self.counts.recovered > 0;
        if gone && self.stopped.is_none() && dataset.is_open(clock::now()) {
            self.purged = dataset.store.purge(&dataset.name).await;
        }
    }

    /// Records whose fate is not known.
    pub fn open(&self) -> u64 {
        self.open
    }

    pub(super) fn count(&mut self, attested: bool, act: Act, record: &Record, fate: &Fate) {
        let counts = &mut self.counts;
        let trouble = match fate {
            Fate::Done(evidence) => {
                match (evidence.method, act) {
                    ("found-gone" | super::FOUND_ANONYMISED, _) => counts.recovered += 1,
                    (_, Act::Destroy) if attested => counts.attested += 1,
                    (_, Act::Destroy) => counts.destroyed += 1,
                    (_, Act::Anonymise) => counts.anonymised += 1,
                }
                self.bytes += if act == Act::Destroy { record.size } else { 0 };
                return;
            }
            Fate::Absent => {
                counts.absent += 1;
                return;
            }
            Fate::Kept(kept) => {
                counts.kept += 1;
                kept.to_string()
            }
            Fate::Failed { error, uncertain } => {
                counts.failed += u64::from(!uncertain);
                self.open += u64::from(*uncertain);
                error.clone()
            }
        };
        self.trouble(trouble, 1);
    }

    pub(super) fn trouble(&mut self, text: String, times: u64) {
        if let Some((_, count)) = self.troubles.iter_mut().find(|(known, _)| *known == text) {
            *count += times;
        } else if self.troubles.len() < TROUBLES {
            self.troubles.push((text, times));
        } else if let Some((_, count)) = self.troubles.last_mut() {
            *count += times;
        }
    }

    pub(super) fn add(&mut self, part: Self) {
        let (mine, theirs) = (&mut self.counts, part.counts);
        mine.destroyed += theirs.destroyed;
        mine.anonymised += theirs.anonymised;
        mine.attested += theirs.attested;
        mine.flagged += theirs.flagged;
        mine.absent += theirs.absent;
        mine.kept += theirs.kept;
        mine.failed += theirs.failed;
        mine.recovered += theirs.recovered;
        self.bytes += part.bytes;
        self.open += part.open;
        self.stopped = self.stopped.or(part.stopped);
        for (text, times) in part.troubles {
            self.trouble(text, times);
        }
    }
}
