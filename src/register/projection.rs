//! From log entries to the register, and to the intents that a crash left open.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::{Flag, Register, erasures, facts, fail, holds, insert_flag, reviews, tasks};
use crate::audit::{Entry, Kind as EntryKind, Reader};
use crate::error::{Error, Kind, Result};
use crate::schedule::history::TextKind;
use crate::store::Act;

/// How many entries are projected in one transaction: large enough to be fast, small enough to hold.
const CHUNK: usize = 4096;

/// An intent whose records do not all have an outcome: what a crash left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIntent {
    /// Index of the intent's entry.
    pub entry: u64,
    /// The run that declared it.
    pub run: String,
    /// Name of the store.
    pub store: String,
    /// Name of the dataset.
    pub dataset: String,
    /// The mark of the store when the run began.
    pub mark: String,
    /// What was intended.
    pub act: Act,
    /// Whether it was announced in the log before this one: what its records rest on stands there.
    pub carried: bool,
    /// Pseudonyms of the records without outcome.
    pub records: HashSet<String>,
}

/// What projecting the log brought to light.
#[derive(Clone, Debug, Default)]
pub struct Projected {
    /// How many entries the log has.
    pub entries: u64,
    /// Intents without outcome for some record, in the order of the log.
    pub open: Vec<OpenIntent>,
    /// Runs that began and did not finish.
    pub unfinished: Vec<Unfinished>,
}

/// A run that began and did not finish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// The run's id.
    pub run: String,
    /// Name of the store.
    pub store: String,
    /// Name of the dataset.
    pub dataset: String,
    mark: String,
    /// How many entries of each kind of outcome it wrote.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Register {
    /// Brings the register up to the end of the log in `log`, and finds what a crash left open.
    pub async fn project(&self, log: &Path) -> Result<Projected> {
        let mut from = self.applied().await?;
        let reader = Reader::open(log)?;
        let (this, known) = (reader.identity()?, self.log().await?);
        // By the number alone a register that was put back would pass for one of a log that followed, and lack holds that were placed there.
        if (from > 0 || known.is_some()) && known != this || from > 0 && reader.get(from - 1)?.is_none() {
            // Another log, or an older copy: what the register reflects is not this log's.
            self.forget().await?;
            from = 0;
        }
        if let Some(this) = this.filter(|_| from == 0) {
            self.set_log(&this).await?;
        }
        let mut walk = Walk { entries: from, open: BTreeMap::new(), unfinished: BTreeMap::new() };
        let mut chunk: Vec<Entry> = Vec::with_capacity(CHUNK);
        for item in reader.from(from) {
            let (index, bytes) = item?;
            let entry = Entry::parse(&bytes).map_err(|error| error.context(format!("entry {index} of the audit log")))?;
            walk.entries = entry.n + 1;
            // Of runs before, all have ended; some of their entries may have been archived, and the rest would look interrupted.
            if entry.n >= reader.settled_before() {
                walk.see(&entry)?;
            }
            if is_projected(entry.kind) {
                chunk.push(entry);
            }
            if chunk.len() == CHUNK {
                self.apply(&chunk).await?;
                chunk.clear();
            }
        }
        self.apply(&chunk).await?;
        let projected = Projected {
            entries: walk.entries,
            open: walk.open.into_values().collect(),
            unfinished: walk.unfinished.into_values().collect(),
        };
        if projected.open.is_empty() && projected.unfinished.is_empty() {
            self.set_applied(projected.entries).await?;
        }
        Ok(projected)
    }

    /// Forgets everything and reads the whole log again.
    pub async fn rebuild(&self, log: &Path) -> Result<Projected> {
        self.forget().await?;
        self.project(log).await
    }

    /// All at once: a register that lacks a hold and counts the hold's entry as applied would let go what is held.
    async fn forget(&self) -> Result<()> {
        let fail = fail(&self.path);
        let mut transaction = self.pool.begin().await.map_err(&fail)?;
        for table in super::PROJECTED {
            let query = sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table}")));
            query.execute(&mut *transaction).await.map_err(&fail)?;
        }
        let query = sqlx::query("INSERT OR REPLACE INTO state VALUES ('applied', '0')");
        query.execute(&mut *transaction).await.map_err(&fail)?;
        transaction.commit().await.map_err(&fail)
    }

    /// Takes in entries that have just been committed, as reading them from the log would.
    pub async fn apply(&self, entries: &[Entry]) -> Result<()> {
        let fail = fail(&self.path);
        let mut transaction = self.pool.begin().await.map_err(&fail)?;
        for entry in entries {
            let text = |name: &str| entry.str(name).map(str::to_owned);
            let index = i64::try_from(entry.n).unwrap_or(i64::MAX);
            match entry.kind {
                EntryKind::Schedule => {
                    let query = if entry.bool("withdrawn") == Some(true) {
                        sqlx::query("DELETE FROM schedules WHERE id = ?").bind(text("id"))
                    } else {
                        sqlx::query("INSERT OR REPLACE INTO schedules VALUES (?, ?, ?)").bind(text("id")).bind(text("sha256")).bind(index)
                    };
                    query.execute(&mut *transaction).await.map_err(&fail)?;
                    facts::written(&mut transaction, TextKind::Schedule, entry).await.map_err(&fail)?;
                    reviews::edited(&mut transaction, entry).await.map_err(&fail)?;
                }
                EntryKind::Bound => facts::written(&mut transaction, TextKind::Binding, entry).await.map_err(&fail)?,
                EntryKind::Confirmed => {
                    facts::confirmed(&mut transaction, entry).await.map_err(&fail)?;
                    reviews::edited(&mut transaction, entry).await.map_err(&fail)?;
                }
                EntryKind::Approved | EntryKind::ReviewRefused | EntryKind::ReviewExtended | EntryKind::ReviewWithdrawn => {
                    reviews::decided(&mut transaction, entry).await.map_err(&fail)?;
                }
                EntryKind::RunStarted => facts::run_started(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::RunFinished => facts::run_finished(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::Paused => facts::paused(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::Resumed => facts::resumed(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::Heartbeat => facts::heartbeat(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::HoldPlaced => holds::placed(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::HoldReleased => holds::released(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::Flagged => {
                    let dataset = format!("{}/{}", text("store").unwrap_or_default(), text("dataset").unwrap_or_default());
                    let flag = Flag {
                        record: text("record").unwrap_or_default(),
                        since: entry.at.clone(),
                        disposition: text("then").unwrap_or_default(),
                        due: text("due").unwrap_or_default(),
                    };
                    insert_flag(&mut transaction, &dataset, &text("run").unwrap_or_default(), &flag).await.map_err(&fail)?;
                }
                EntryKind::TaskOpened => tasks::opened(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::Attested | EntryKind::AttestedBefore => tasks::attested(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::Lost => tasks::lost(&mut transaction, entry).await.map_err(&fail)?,
                EntryKind::ErasureApproved => erasures::approved(&mut transaction, entry).await.map_err(&fail)?,
                _ => {}
            }
        }
        transaction.commit().await.map_err(&fail)
    }
}

/// Whether the register keeps something of entries of this kind.
fn is_projected(kind: EntryKind) -> bool {
    matches!(
        kind,
        EntryKind::Schedule
            | EntryKind::Bound
            | EntryKind::Confirmed
            | EntryKind::HoldPlaced
            | EntryKind::HoldReleased
            | EntryKind::Flagged
            | EntryKind::TaskOpened
            | EntryKind::Attested
            | EntryKind::AttestedBefore
            | EntryKind::Lost
            | EntryKind::RunStarted
            | EntryKind::RunFinished
            | EntryKind::Paused
            | EntryKind::Resumed
            | EntryKind::Heartbeat
            | EntryKind::Approved
            | EntryKind::ReviewRefused
            | EntryKind::ReviewExtended
            | EntryKind::ReviewWithdrawn
            | EntryKind::ErasureApproved
    )
}

/// Follows intents and outcomes along the log.
struct Walk {
    entries: u64,
    open: BTreeMap<u64, OpenIntent>,
    unfinished: BTreeMap<String, Unfinished>,
}

impl Walk {
    fn see(&mut self, entry: &Entry) -> Result<()> {
        let need = |name: &str| {
            let missing =
                || Error::new(Kind::NotIntact, format!("entry {} of the audit log ({}) has no `{name}`", entry.n, entry.kind.as_str()));
            entry.str(name).map(str::to_owned).ok_or_else(missing)
        };
        match entry.kind {
            EntryKind::RunStarted => {
                let run = need("run")?;
                let mark = entry.str("mark").unwrap_or_default().to_owned();
                let begun =
                    Unfinished { run: run.clone(), store: need("store")?, dataset: need("dataset")?, mark, counts: BTreeMap::new() };
                self.unfinished.insert(run, begun);
            }
            EntryKind::RunFinished => {
                self.unfinished.remove(&need("run")?);
            }
            EntryKind::Intent => {
                let act = if need("act")? == Act::Anonymise.as_str() { Act::Anonymise } else { Act::Destroy };
                let records = entry.fields.get("records").and_then(|records| records.as_array()).into_iter().flatten();
                let records = records.filter_map(|record| record.as_str().map(str::to_owned)).collect();
                let run = need("run")?;
                let mark = self.unfinished.get(&run).map(|begun| begun.mark.clone()).unwrap_or_default();
                let carried = entry.u64("carried_from").is_some();
                let open =
                    OpenIntent { entry: entry.n, run, store: need("store")?, dataset: need("dataset")?, mark, act, carried, records };
                self.open.insert(entry.n, open);
            }
            EntryKind::Destroyed
            | EntryKind::Anonymised
            | EntryKind::Attested
            | EntryKind::Absent
            | EntryKind::Kept
            | EntryKind::Failed
            | EntryKind::Recovered => {
                let record = need("record")?;
                if let Some(unfinished) = self.unfinished.get_mut(&need("run")?) {
                    *unfinished.counts.entry(entry.kind.as_str()).or_default() += 1;
                }
                let intent = entry.fields.get("intent").and_then(serde_json::Value::as_u64);
                let intent =
                    intent.ok_or_else(|| Error::new(Kind::NotIntact, format!("entry {} of the audit log has no `intent`", entry.n)))?;
                if let Some(open) = self.open.get_mut(&intent) {
                    open.records.remove(&record);
                    if open.records.is_empty() {
                        self.open.remove(&intent);
                    }
                }
            }
            EntryKind::Flagged | EntryKind::TaskOpened => {
                if let Some(unfinished) = self.unfinished.get_mut(&need("run")?) {
                    *unfinished.counts.entry(entry.kind.as_str()).or_default() += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
