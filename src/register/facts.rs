//! What the register knows besides holds and flags: each dataset's last run, what is paused, and which texts were in force since when.
//!
//! Projecting an entry twice changes nothing here either: a text's part has its entry as its key, and an older entry never replaces a newer one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use super::{Register, fail};
use crate::audit::Entry;
use crate::error::Result;
use crate::schedule::history::{TextKind, Written};

type Done = std::result::Result<(), sqlx::Error>;

/// The last run over a dataset that scanned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// `store/dataset`.
    pub dataset: String,
    /// The run's id.
    pub run: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None` while it goes on, or when a crash ended it.
    pub ended: Option<Timestamp>,
    /// How it ended: the word of `run-finished`.
    pub how: Option<String>,
    /// When a run over this dataset last came to its end.
    pub satisfied: Option<Timestamp>,
    /// What the last complete scan saw.
    pub scanned: Option<Scanned>,
}

/// What the last complete scan of a dataset saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// When its run began.
    pub began: Timestamp,
    /// When its run ended.
    pub ended: Timestamp,
    /// Records of the dataset.
    pub population: u64,
    /// Records past their ceiling.
    pub overdue: u64,
    /// Records that its run could not dispose of.
    pub failed: u64,
    /// Records by verdict.
    pub verdicts: BTreeMap<String, u64>,
}

/// A pause in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The store; `None`: everything.
    pub store: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why.
    pub reason: String,
    /// Who paused it.
    pub person: String,
}

fn word(kind: TextKind) -> &'static str {
    match kind {
        TextKind::Schedule => "schedule",
        TextKind::Binding => "binding",
    }
}

/// An instant as the log writes it; one that cannot be read is as old as can be.
fn instant(text: &str) -> Timestamp {
    text.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Register {
    /// The last run over each dataset.
    pub async fn last_runs(&self) -> Result<Vec<LastRun>> {
        let query =
            sqlx::query("SELECT dataset, run, began, ended, how, satisfied, scan_began, scan_ended, scan FROM runs ORDER BY dataset");
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        let optional = |row: &sqlx::sqlite::SqliteRow, at: usize| row.get::<Option<String>, _>(at).map(|text| instant(&text));
        let last = |row: &sqlx::sqlite::SqliteRow| LastRun {
            dataset: row.get(0),
            run: row.get(1),
            began: instant(row.get(2)),
            ended: optional(row, 3),
            how: row.get(4),
            satisfied: optional(row, 5),
            scanned: optional(row, 6).zip(optional(row, 7)).map(|(began, ended)| scanned(began, ended, row.get(8))),
        };
        Ok(rows.iter().map(last).collect())
    }

    /// When the service last wrote that it is alive.
    pub async fn heartbeat(&self) -> Result<Option<Timestamp>> {
        let row = sqlx::query("SELECT at FROM heartbeats").fetch_optional(&self.pool).await.map_err(fail(&self.path))?;
        Ok(row.map(|row| instant(row.get(0))))
    }

    /// The pauses in force.
    pub async fn pauses(&self) -> Result<Vec<Pause>> {
        let query = sqlx::query("SELECT store, since, reason, person FROM pauses ORDER BY entry");
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        let pause = |row: &sqlx::sqlite::SqliteRow| {
            let store: String = row.get(0);
            Pause { store: Some(store).filter(|store| !store.is_empty()), since: row.get(1), reason: row.get(2), person: row.get(3) }
        };
        Ok(rows.iter().map(pause).collect())
    }

    /// Every schedule and binding that came into force, in the order of the log.
    pub async fn written(&self) -> Result<Vec<Written>> {
        let query = sqlx::query("SELECT kind, id, sha256, at, part, text FROM texts ORDER BY entry");
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        let mut all: Vec<Written> = Vec::new();
        for row in &rows {
            let kind = if row.get::<&str, _>(0) == word(TextKind::Schedule) { TextKind::Schedule } else { TextKind::Binding };
            let (id, sha256, at): (String, String, &str) = (row.get(1), row.get(2), row.get(3));
            let (part, text): (i64, String) = (row.get(4), row.get(5));
            match all.last_mut() {
                // The parts of a text stand next to each other.
                Some(Written { text: Some(whole), .. }) if part > 1 => whole.push_str(&text),
                _ => all.push(Written { kind, id, sha256, at: instant(at), text: (part > 0).then_some(text) }),
            }
        }
        Ok(all)
    }

    /// When a person last confirmed an edit.
    pub async fn confirmed(&self) -> Result<Option<Timestamp>> {
        let query = sqlx::query("SELECT MAX(at) FROM confirmations");
        let row = query.fetch_one(&self.pool).await.map_err(fail(&self.path))?;
        Ok(row.get::<Option<String>, _>(0).map(|at| instant(&at)))
    }
}

/// Reads what [`run_finished`] wrote.
fn scanned(began: Timestamp, ended: Timestamp, text: Option<String>) -> Scanned {
    let value: Value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let verdicts = value.get("verdicts").and_then(Value::as_object).into_iter().flatten();
    let verdicts = verdicts.filter_map(|(verdict, number)| Some((verdict.clone(), number.as_u64()?))).collect();
    Scanned { began, ended, population: number("population"), overdue: number("overdue"), failed: number("failed"), verdicts }
}

fn dataset_of(entry: &Entry) -> String {
    format!("{}/{}", entry.str("store").unwrap_or_default(), entry.str("dataset").unwrap_or_default())
}

fn index_of(entry: &Entry) -> i64 {
    i64::try_from(entry.n).unwrap_or(i64::MAX)
}

pub(super) async fn written(transaction: &mut Transaction<'_, Sqlite>, kind: TextKind, entry: &Entry) -> Done {
    let withdrawn = entry.bool("withdrawn") == Some(true);
    let number = |name: &str| entry.fields.get(name).and_then(Value::as_i64).unwrap_or(1);
    let id = if kind == TextKind::Schedule { entry.str("id").unwrap_or_default().to_owned() } else { dataset_of(entry) };
    sqlx::query("INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(index_of(entry))
        .bind(word(kind))
        .bind(id)
        .bind(entry.str("sha256").unwrap_or_default())
        .bind(&entry.at)
        .bind(if withdrawn { 0 } else { number("part") })
        .bind(number("parts"))
        .bind(entry.str("text").unwrap_or_default())
        .execute(&mut **transaction)
        .await
        .map(drop)
}

pub(super) async fn confirmed(transaction: &mut Transaction<'_, Sqlite>, entry: &Entry) -> Done {
    let query = sqlx::query("INSERT OR REPLACE INTO confirmations VALUES (?, ?)").bind(index_of(entry)).bind(&entry.at);
    query.execute(&mut **transaction).await.map(drop)
}

/// A run that spends a plan that was refused, or tidies up behind a crash, scans nothing: it is none that a timetable asked for.
pub(super) async fn run_started(transaction: &mut Transaction<'_, Sqlite>, entry: &Entry) -> Done {
    if entry.str("plan").is_some() || entry.str("reason").is_some() {
        return Ok(());
    }
    // Read again, an entry says nothing new of a run that ended, and nothing at all where a later one began.
    let text = "INSERT INTO runs (dataset, run, began) VALUES (?, ?, ?) ON CONFLICT (dataset) DO UPDATE
        SET run = excluded.run, began = excluded.began, ended = NULL, how = NULL WHERE began <= excluded.began AND run <> excluded.run";
    let query = sqlx::query(text).bind(dataset_of(entry)).bind(entry.str("run")).bind(&entry.at);
    query.execute(&mut **transaction).await.map(drop)
}

pub(super) async fn run_finished(transaction: &mut Transaction<'_, Sqlite>, entry: &Entry) -> Done {
    let end = entry.str("end").unwrap_or_default();
    let how = entry.str("stopped").map_or_else(|| end.to_owned(), |why| format!("{end}: {why}"));
    let satisfied = matches!(end, "done" | "reported").then_some(&entry.at);
    // A run that is refused has seen everything, and so has one that only reports.
    let complete = matches!(end, "done" | "reported" | "refused");
    let scan = complete.then(|| {
        let field = |name: &str| entry.fields.get(name);
        let failed = field("counts").and_then(|counts| counts.get("failed"));
        json!({"population": field("population"), "overdue": field("overdue"), "failed": failed, "verdicts": field("verdicts")}).to_string()
    });
    let text = "UPDATE runs SET ended = ?1, how = ?2, satisfied = coalesce(?3, satisfied), scan = coalesce(?4, scan),
        scan_began = iif(?4 IS NULL, scan_began, began), scan_ended = iif(?4 IS NULL, scan_ended, ?1) WHERE dataset = ?5 AND run = ?6";
    let query = sqlx::query(text).bind(&entry.at).bind(how).bind(satisfied).bind(scan).bind(dataset_of(entry)).bind(entry.str("run"));
    query.execute(&mut **transaction).await.map(drop)
}

pub(super) async fn heartbeat(transaction: &mut SqliteConnection, entry: &Entry) -> Done {
    let query = sqlx::query("INSERT OR REPLACE INTO heartbeats VALUES ('last', ?)").bind(&entry.at);
    query.execute(transaction).await.map(drop)
}

pub(super) async fn paused(transaction: &mut SqliteConnection, entry: &Entry) -> Done {
    sqlx::query("INSERT OR REPLACE INTO pauses VALUES (?, ?, ?, ?, ?)")
        .bind(entry.str("store").unwrap_or_default())
        .bind(&entry.at)
        .bind(entry.str("reason").unwrap_or_default())
        .bind(entry.str("person").unwrap_or_default())
        .bind(index_of(entry))
        .execute(transaction)
        .await
        .map(drop)
}

pub(super) async fn resumed(transaction: &mut SqliteConnection, entry: &Entry) -> Done {
    // Resuming everything lifts every pause.
    let query = match entry.str("store") {
        Some(store) => sqlx::query("DELETE FROM pauses WHERE store = ? AND entry < ?").bind(store.to_owned()).bind(index_of(entry)),
        None => sqlx::query("DELETE FROM pauses WHERE entry < ?").bind(index_of(entry)),
    };
    query.execute(transaction).await.map(drop)
}
