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

fn kind_of(text: &str) -> TextKind {
    if text == word(TextKind::Schedule) { TextKind::Schedule } else { TextKind::Binding }
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

    /// The schedules and bindings that were in force at this instant or later, in the order of the log: those that came into force since, and before
    /// them the one that was in force then. What an edit replaced long ago is not read, however many edits there were.
    pub async fn written_since(&self, since: Timestamp) -> Result<Vec<Written>> {
        let text = "WITH starts AS (SELECT kind, id, entry, LEAD(at) OVER (PARTITION BY kind, id ORDER BY entry) AS ended FROM texts WHERE part <= 1),
            firsts AS (SELECT kind, id, MIN(entry) AS entry FROM starts WHERE ended IS NULL OR ended > ? GROUP BY kind, id)
            SELECT texts.kind, texts.id, sha256, at, part, text FROM firsts JOIN texts ON texts.kind = firsts.kind AND texts.id = firsts.id
            AND texts.entry >= firsts.entry ORDER BY texts.entry";
        let query = sqlx::query(text).bind(format!("{since:.3}"));
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        let mut all: Vec<Written> = Vec::new();
        for row in &rows {
            let kind = kind_of(row.get(0));
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

    /// The last entry with the text of a schedule or binding, or that withdraws one.
    pub async fn last_text(&self) -> Result<Option<u64>> {
        let row = sqlx::query("SELECT MAX(entry) FROM texts").fetch_one(&self.pool).await.map_err(fail(&self.path))?;
        Ok(row.get::<Option<i64>, _>(0).and_then(|entry| u64::try_from(entry).ok()))
    }

    /// SHA-256 of each schedule and binding that stands in the log as in force, by kind and id.
    pub async fn in_force(&self) -> Result<BTreeMap<(TextKind, String), String>> {
        let text = "SELECT kind, id, sha256 FROM texts WHERE entry IN (SELECT MAX(entry) FROM texts GROUP BY kind, id) AND part > 0";
        let rows = sqlx::query(text).fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        Ok(rows.iter().map(|row| ((kind_of(row.get(0)), row.get(1)), row.get(2))).collect())
    }

    /// Id and text of the schedule with this SHA-256, if it ever was in force.
    pub async fn schedule_text(&self, sha256: &str) -> Result<Option<(String, String)>> {
        let text = "SELECT id, part, text FROM texts WHERE kind = ? AND sha256 = ? AND part > 0 ORDER BY entry";
        let query = sqlx::query(text).bind(word(TextKind::Schedule)).bind(sha256);
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        let mut found: Option<(String, String)> = None;
        for row in &rows {
            match &mut found {
                // The same text may have come into force more than once.
                Some(_) if row.get::<i64, _>(1) == 1 => break,
                Some((_, whole)) => whole.push_str(row.get(2)),
                None => found = Some((row.get(0), row.get(2))),
            }
        }
        Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: u64, minute: u64, id: &str, text: Option<(u64, u64, &str)>) -> Entry {
        let mut fields = serde_json::Map::from_iter([("id".to_owned(), json!(id)), ("sha256".to_owned(), json!(format!("{id}-{minute}")))]);
        match text {
            Some((part, parts, text)) => {
                fields.extend([("part".to_owned(), json!(part)), ("parts".to_owned(), json!(parts)), ("text".to_owned(), json!(text))]);
            }
            None => drop(fields.insert("withdrawn".to_owned(), json!(true))),
        }
        let at = format!("2026-11-22T{:02}:{:02}:00.000Z", minute / 60, minute % 60);
        Entry { n, at, kind: crate::audit::Kind::Schedule, nonce: String::new(), fields }
    }

    #[tokio::test]
    async fn of_many_edits_only_those_are_read_that_were_in_force_since_a_moment() {
        let folder = tempfile::tempdir().unwrap();
        let register = Register::open(folder.path()).await.unwrap();
        let mut entries =
            vec![text(0, 0, "withdrawn", Some((1, 1, "w"))), text(1, 1, "withdrawn", None), text(2, 2, "old", Some((1, 1, "o")))];
        for minute in 3..1000 {
            let n = minute * 2;
            entries.extend([text(n, minute, "long", Some((1, 2, "first, "))), text(n + 1, minute, "long", Some((2, 2, "second")))]);
        }
        register.apply(&entries).await.unwrap();
        let shown =
            |all: Vec<Written>| all.iter().map(|one| format!("{} {}", one.sha256, one.text.as_deref().unwrap_or("-"))).collect::<Vec<_>>();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        // At the very moment of an edit what it replaced is no longer in force.
        let found = shown(register.written_since(at("2026-11-22T16:38:00Z")).await.unwrap());
        assert_eq!(found, ["withdrawn-1 -", "old-2 o", "long-998 first, second", "long-999 first, second"]);
        let found = shown(register.written_since(at("2026-11-22T16:37:59.999Z")).await.unwrap());
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(register.written_since(Timestamp::MIN).await.unwrap().len(), 1000);
        assert_eq!(register.written_since(Timestamp::MAX).await.unwrap().len(), 3);
        let in_force: Vec<String> = register.in_force().await.unwrap().into_values().collect();
        assert_eq!(in_force, ["long-999", "old-2"]);
        assert_eq!(register.schedule_text("long-500").await.unwrap(), Some(("long".into(), "first, second".into())));
        assert_eq!(register.schedule_text("long-2000").await.unwrap(), None);
    }
}
