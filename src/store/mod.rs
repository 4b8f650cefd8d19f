//! Stores: the places where records live.
//!
//! A [`Store`] knows one kind of place (folders, a database) and no policy. It yields [`Record`]s, finds single ones again, answers look-ups of
//! event dates, and removes records when the one door ([`crate::dispose`]) hands it a [`Permit`]. It re-reads each record at that moment, in
//! its own transaction where it has one, compares it with what the scan saw, and asks the [`Guard`] once more before anything is destroyed.
//!
//! A new kind of store is one folder beside this file and one line in [`KINDS`]; it must pass the conformance suite unchanged.
//!
//! Promises every store makes:
//! - A scan that could not see everything says so ([`Scanned::incomplete`]); nothing is destroyed then.
//! - A reading is a date only when the store is sure of it; everything else is a [`crate::record::Doubt`].
//! - `remove` touches nothing but the records handed in and what their dataset declares as part of them. A record that changed since it was
//!   read is kept. One record's failure never stops the rest, and every record gets exactly one [`Fate`], in the order handed in.
//! - `remove` returns only when what it reports is as durable as the store can make it.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::dispose::Permit;
use crate::error::Result;
use crate::finding::Finding;
use crate::judge::Bound;
use crate::record::{Key, Reading, Record};
use crate::schedule::EventName;
use crate::yaml::{Fields, Mark, Node, Problems};

pub mod attested;
#[cfg(test)]
pub(crate) mod conformance;
mod data_journal;
pub mod files;
pub mod memory;
pub mod sql;
pub mod twins;

/// Records that are assessed, announced, removed and looked up at once, unless a store says otherwise: large enough that one sync for all of them costs
/// little, small enough that a crash leaves few to look for.
pub const BATCH: usize = 1024;

/// Records of a scan in one message at most: so many that waking who judges them costs nothing, few enough to hold some messages in memory.
pub const MESSAGE: usize = 4 * BATCH;

/// Every kind of store: the key that names it in the configuration, and what reads the rest.
pub const KINDS: &[Kind] = &[files::KIND, sql::SQLITE, sql::POSTGRES, sql::MYSQL, attested::KIND];

/// A kind of store.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The key in the configuration, such as `files`, whose value says where the store is.
    pub key: &'static str,
    /// Begins reading a store of this kind. `place` is the value of the key; the kind takes its own further keys out of `fields`.
    pub configure: Begin,
}

/// Begins reading a store of one kind.
pub type Begin = fn(&StoreHead<'_>, place: &Node, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Box<dyn Configure>>;

/// What a store of any kind is told about itself.
pub struct StoreHead<'a> {
    /// The store's name.
    pub name: &'a str,
    /// The folder that relative paths start from: the folder of the configuration file.
    pub base: &'a Path,
}

/// What a dataset of any kind of store has; the kind checks that the names exist in its own terms.
pub struct DatasetHead<'a> {
    /// The dataset's name.
    pub name: &'a str,
    /// Where the dataset stands in the file.
    pub mark: Mark,
    /// The events in the dataset's order.
    pub events: Vec<EventHead<'a>>,
    /// The column or capture that picks the class.
    pub class_by: Option<(&'a str, Mark)>,
    /// The column or capture that names the subject.
    pub subject: Option<(&'a str, Mark)>,
    /// Whether some class of the dataset anonymises, so that the dataset must say how.
    pub anonymises: bool,
    /// Whether some class of the dataset destroys.
    pub destroys: bool,
    /// Whether what is due is acted upon, as opposed to reported.
    pub enforced: bool,
    /// The lowest grade that the dataset accepts, one of the store's [`Store::grades`] once it is built.
    pub at_least: Option<(&'a str, Mark)>,
}

/// One event of a dataset.
#[derive(Clone, Copy)]
pub struct EventHead<'a> {
    /// The event.
    pub name: &'a EventName,
    /// Where the date is.
    pub source: EventPlace<'a>,
}

/// Where the date of an event is.
#[derive(Clone, Copy)]
pub enum EventPlace<'a> {
    /// In the store itself; the kind reads the node.
    Here(&'a Node),
    /// In another dataset; this column or capture is the value to look it up by.
    Elsewhere(&'a str, Mark),
}

/// A store that is being read from the configuration.
pub trait Configure {
    /// Reads one dataset: takes this kind's keys out of `fields` and notes problems. The caller finishes the fields.
    fn dataset(&mut self, head: &DatasetHead<'_>, fields: &mut Fields<'_>, problems: &mut Problems);

    /// The finished store. Opens nothing yet.
    fn finish(self: Box<Self>) -> Arc<dyn Store>;
}

/// What to scan for.
#[derive(Clone)]
pub struct Query {
    /// Records outside the bound need not be sent; `None` asks for every record.
    pub bound: Option<Bound>,
    /// Also records that a condition of the dataset leaves out: who looks for a lost record must not take one that left the dataset for gone.
    pub whole: bool,
    /// The moment that counts as now: readings after it are of the future.
    pub now: Timestamp,
    /// Counts records as they are seen, for people who watch.
    pub seen: Arc<AtomicU64>,
}

/// What a scan saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Records seen in the dataset, sent or not. Parts that were left out because nothing in them can be due are not counted, so this errs low.
    pub population: u64,
    /// Whether parts were left out without being counted; [`Store::count_left_out`] counts them when it matters.
    pub left_out: bool,
    /// Why the scan is incomplete, if it is: nothing may be planned from it.
    pub incomplete: Option<String>,
    /// Things seen on the way that a person should know.
    pub findings: Vec<Finding>,
}

/// What became of looking for one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there.
    Present(Box<Record>),
    /// It is there, and holds already what anonymising writes into it.
    Anonymised(Box<Record>),
    /// Something is there under the key, so the record is not gone; but it is not one of the dataset's records now, and why.
    Outside(String),
    /// It is not there, nor any part of it.
    Absent,
    /// The record itself is gone, but parts that go with it (companion files) are still there.
    Remains,
    /// The store could not tell.
    Unknown(String),
}

/// What is to be done to a batch of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Destroy or anonymise.
    pub act: Act,
    /// The lowest grade to be accepted; below it the record is kept.
    pub at_least: Option<String>,
}

/// How statistics count the records of a dataset before they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The columns whose values are counted.
    pub by: Vec<String>,
    /// Counts below this are not shown to anybody.
    pub smallest: u64,
}

/// What one record counts for: a value for each column.
pub type Cell = Vec<Option<String>>;

/// The two things that are done to records and cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Destroy the record.
    Destroy,
    /// Remove from it what points to a person.
    Anonymise,
}

/// Asked by a store for each record at the moment of destruction, with the position in the batch and the record as it was just re-read, inside
/// the store's transaction where there is one. An answer keeps the record.
pub type Guard<'a> = dyn Fn(usize, &Record) -> Option<Kept> + Send + Sync + 'a;

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Destroyed or anonymised, and how.
    Done(Evidence),
    /// It was gone already.
    Absent,
    /// It is still there, untouched, and why.
    Kept(Kept),
    /// Something went wrong; as far as the store knows the record is still there. When it cannot know, `uncertain` is set and recovery looks again.
    Failed {
        /// What went wrong, without the record's key.
        error: String,
        /// Whether the record may be gone all the same.
        uncertain: bool,
    },
}

/// Why a record was kept at the moment of destruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is not the record that the scan saw: what changed.
    Changed(String),
    /// It is no longer due, and why.
    NotDue(String),
    /// The run ended before its turn came, and why.
    Stopped(String),
    /// A hold protects it: the hold's id.
    Held(String),
    /// Nobody, or not enough people, approved that it goes, and why it matters.
    NotApproved(String),
    /// The store cannot reach the lowest grade accepted, and why.
    CannotMeetGrade(String),
}

/// How a record was destroyed: what the audit log says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was done, such as `unlink`, `overwrite`, `delete`.
    pub method: &'static str,
    /// The grade really reached, one of the store's [`Store::grades`].
    pub grade: &'static str,
    /// Whether the store looked again and found it gone (or changed as ordered). What was written anew under its key since is another record.
    pub verified: bool,
    /// What this grade does not reach. Mostly the same for all records of a store, and then no copy.
    pub caveats: Cow<'static, [&'static str]>,
    /// Parts that went with the record: companion files, files of a directory, rows of children.
    pub parts: u64,
}

/// A place where records live.
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's name in the configuration.
    fn name(&self) -> &str;

    /// The place, as a person would name it, without secrets.
    fn place(&self) -> String;

    /// What makes the place unique, so that the same one is not connected twice under two names. May look at the place.
    fn identity(&self) -> String {
        self.place()
    }

    /// What tells the place apart from another one that stands under the same name, such as an empty mount point whose disk is not mounted. It
    /// stays the same across restarts of the machine; empty when the store cannot tell.
    async fn mark(&self) -> String {
        String::new()
    }

    /// Whether nothing that this program has begun in the store can still come to pass, such as a commit that a server was told of by a process
    /// that is no more. Until then looking proves nothing. The error says why not.
    async fn at_rest(&self) -> std::result::Result<(), String> {
        Ok(())
    }

    /// The file or folder of this machine that the place is, if it is one: no other store and no state folder may lie inside.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// The grades of destruction that this store knows, from the lowest up.
    fn grades(&self) -> &'static [&'static str];

    /// How many batches may be removed side by side. Databases want one; file systems gain from a few.
    fn lanes(&self) -> usize {
        1
    }

    /// Records of a batch at most: more where much of what a batch costs does not grow with it, and nothing waits for it meanwhile.
    fn batch(&self) -> usize {
        BATCH
    }

    /// Whether only people can destroy its records, so that what is due becomes their task and they confirm it: paper, and what others keep. Of such
    /// records the store knows where they are filed, and never changes that.
    fn is_attested(&self) -> bool {
        false
    }

    /// Pairs of datasets that may match the same record, as far as can be told without reading any.
    fn overlaps(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Looks whether the place is there and everything the datasets name exists; reads no record. Opens the store.
    async fn check(&self) -> Result<Vec<Finding>>;

    /// Sends every record of the dataset that may be due within the bound, and every record in doubt, in messages of at most [`MESSAGE`].
    /// Stops early, without error, when the receiver is gone.
    async fn scan(&self, dataset: &str, query: Query, out: mpsc::Sender<Vec<Record>>) -> Result<Scanned>;

    /// Counts records that a scan with this query leaves out without counting, and stops counting at `enough`.
    async fn count_left_out(&self, _dataset: &str, _query: Query, _enough: u64) -> Result<u64> {
        Ok(0)
    }

    /// Finds records by key, in the order of the keys.
    async fn fetch(&self, dataset: &str, keys: &[Key]) -> Result<Vec<Found>>;

    /// The reading of `event` for each of `values`, looked up in the dataset by `on` (a column or capture; `None`: the key). Several records
    /// for one value give the latest date, or doubt when one of them has none. No record gives doubt.
    async fn lookup(&self, dataset: &str, event: &EventName, on: Option<&str>, values: &[&str]) -> Result<Vec<Reading>>;

    /// For each record: the records of *other* datasets of this store that are the same thing, or that would go with it.
    async fn elsewhere(&self, _dataset: &str, records: &[Record]) -> Result<Vec<Vec<(String, Record)>>> {
        Ok(vec![Vec::new(); records.len()])
    }

    /// How the statistics of the dataset count its records, if it has any.
    fn counts(&self, _dataset: &str) -> Option<Counts> {
        None
    }

    /// For each key what its record counts for: the value of each column of [`Store::counts`], `None` within for no value. `None` for a record that is
    /// not there.
    async fn cells(&self, _dataset: &str, keys: &[Key]) -> Result<Vec<Option<Cell>>> {
        Ok(vec![None; keys.len()])
    }

    /// Told that nothing more is asked for now: whatever is kept open for what comes next is closed.
    async fn leave(&self) {}

    /// Lets the place clean up behind the records that went from the dataset, if its configuration asks for that: what was done, and whether it
    /// could be. Touches no record.
    async fn purge(&self, _dataset: &str) -> Option<(&'static str, std::result::Result<(), String>)> {
        None
    }

    /// Destroys or anonymises records, each only if it is as it was when it was read and the guard says nothing. One fate for each, in order.
    async fn remove(&self, permit: &Permit, dataset: &str, order: &Order, records: &[Record], guard: &Guard<'_>) -> Vec<Fate>;
}

impl Query {
    /// Adds to the number of records seen.
    pub fn count(&self, records: u64) {
        self.seen.fetch_add(records, Ordering::Relaxed);
    }
}

impl Evidence {
    /// Whether the grade reaches the lowest one accepted, in the order of `ladder`. A grade that the ladder does not know reaches nothing.
    pub fn reaches(grade: &str, at_least: &str, ladder: &[&str]) -> bool {
        let rank = |name: &str| ladder.iter().position(|known| *known == name);
        matches!((rank(grade), rank(at_least)), (Some(reached), Some(asked)) if reached >= asked)
    }
}

impl Kept {
    /// The word that the audit log uses.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::NotDue(_) => "no-longer-due",
            Self::Stopped(_) => "run-stopped",
            Self::Held(_) => "held",
            Self::NotApproved(_) => "not-approved",
            Self::CannotMeetGrade(_) => "cannot-meet-grade",
        }
    }

    /// The explanation that belongs to the word.
    pub fn detail(&self) -> &str {
        match self {
            Self::Changed(detail)
            | Self::NotDue(detail)
            | Self::Stopped(detail)
            | Self::Held(detail)
            | Self::NotApproved(detail)
            | Self::CannotMeetGrade(detail) => detail,
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(what) => write!(f, "changed since the scan: {what}"),
            Self::NotDue(why) => write!(f, "no longer due: {why}"),
            Self::Stopped(why) => write!(f, "its turn did not come: {why}"),
            Self::Held(hold) => write!(f, "held by {hold}"),
            Self::NotApproved(why) => write!(f, "not approved: {why}"),
            Self::CannotMeetGrade(why) => write!(f, "the grade asked for cannot be met: {why}"),
        }
    }
}

impl Act {
    /// The word of the audit log and of the schedule.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Anonymise => "anonymise",
        }
    }
}
