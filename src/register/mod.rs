//! The register: what the program remembers between runs, as a projection of the audit log.
//!
//! Holds in force, schedules in force and before, pauses, each dataset's last run and "flagged since" are entries of the log first; the register is a table of them that can be asked
//! quickly. It is an `SQLite` database, `STATE/register.db`. It may be deleted at any time: `retentiond register rebuild` (or the next run) reads
//! the log again and has the same register, but for one thing that the log must not know: [`HoldNames`], the plain names of what people placed holds
//! on. Holds protect without them; only people then see pseudonyms. Of records that nobody named it never holds the key.
//!
//! `applied` is the number of log entries that the register reflects, and `log` names the log: one of another log is made anew. On opening, the entries after it are projected; this is also how a crash is
//! noticed: an intent without an outcome for each of its records is an [`OpenIntent`], and `applied` stays before it until recovery has written
//! what became of the records. A crash between the log and the register loses nothing, because the log is read again from `applied`, and
//! projecting an entry twice changes nothing.
//!
//! A flag is removed when a complete scan no longer finds the record due. That is not an entry, so a rebuilt register may show a flag again until
//! the next scan.

mod erasures;
mod facts;
mod holds;
mod projection;
mod reviews;
mod tasks;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, Sqlite, Transaction};

pub use facts::{LastRun, Pause, Scanned};
pub use holds::HoldNames;
pub use projection::{OpenIntent, Projected, Unfinished};
pub use reviews::Decided;
pub use tasks::{Task, Tasks};

use crate::error::{Error, Kind, Result};

/// Raised when the tables change; another version is rebuilt from the log.
const VERSION: i64 = 6;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS schedules (id TEXT PRIMARY KEY, sha256 TEXT NOT NULL, entry INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS holds (id TEXT PRIMARY KEY, subject TEXT, record TEXT, entry INTEGER NOT NULL, at TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hold_names (hold TEXT PRIMARY KEY, subject TEXT, record TEXT) STRICT;
CREATE TABLE IF NOT EXISTS flags (dataset TEXT NOT NULL, record TEXT NOT NULL, since TEXT NOT NULL, disposition TEXT NOT NULL, due TEXT NOT NULL, run TEXT NOT NULL,
    PRIMARY KEY (dataset, record)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS texts (entry INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, sha256 TEXT NOT NULL, at TEXT NOT NULL, part INTEGER NOT NULL,
    parts INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS texts_of ON texts (kind, id, entry, part, at);
CREATE TABLE IF NOT EXISTS confirmations (entry INTEGER PRIMARY KEY, at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS runs (dataset TEXT PRIMARY KEY, run TEXT NOT NULL, began TEXT NOT NULL, ended TEXT, how TEXT, satisfied TEXT,
    scan_began TEXT, scan_ended TEXT, scan TEXT) STRICT;
CREATE TABLE IF NOT EXISTS heartbeats (name TEXT PRIMARY KEY, at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS decisions (entry INTEGER PRIMARY KEY, batch TEXT NOT NULL, kind TEXT NOT NULL, at TEXT NOT NULL, person TEXT NOT NULL, name TEXT NOT NULL,
    until TEXT, reason TEXT NOT NULL, schedule TEXT NOT NULL, dataset TEXT NOT NULL, expires TEXT) STRICT;
CREATE INDEX IF NOT EXISTS decisions_of ON decisions (batch);
CREATE TABLE IF NOT EXISTS editors (entry INTEGER NOT NULL, schedule TEXT NOT NULL, person TEXT NOT NULL, PRIMARY KEY (schedule, entry)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pauses (store TEXT PRIMARY KEY, since TEXT NOT NULL, reason TEXT NOT NULL, person TEXT NOT NULL, entry INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tasks (dataset TEXT NOT NULL, record TEXT NOT NULL, since TEXT NOT NULL, class TEXT NOT NULL, due TEXT NOT NULL, ceiling TEXT, run TEXT NOT NULL,
    PRIMARY KEY (dataset, record)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attested (dataset TEXT NOT NULL, record TEXT NOT NULL, event_date TEXT NOT NULL, PRIMARY KEY (dataset, record)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasure_approvals (entry INTEGER PRIMARY KEY, erasure TEXT NOT NULL, at TEXT NOT NULL, person TEXT NOT NULL, name TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS losses (entry INTEGER PRIMARY KEY, dataset TEXT NOT NULL, at TEXT NOT NULL, records INTEGER NOT NULL) STRICT;
";

/// Every table that is a projection of the log.
const PROJECTED: [&str; 14] = [
    "schedules",
    "holds",
    "flags",
    "texts",
    "confirmations",
    "runs",
    "pauses",
    "heartbeats",
    "tasks",
    "attested",
    "losses",
    "decisions",
    "editors",
    "erasure_approvals",
];

/// The register's database; clones use the same.
#[derive(Clone)]
pub struct Register {
    pool: SqlitePool,
    path: PathBuf,
}

/// A record that was flagged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The record's pseudonym.
    pub record: String,
    /// When it was first flagged, RFC 3339.
    pub since: String,
    /// `review` or `flag`.
    pub disposition: String,
    /// The last day of keeping.
    pub due: String,
}

fn fail(path: &Path) -> impl Fn(sqlx::Error) -> Error {
    let place = path.display().to_string();
    move |error| Error::with_source(Kind::Io, format!("{place}: the register cannot be used"), error)
}

impl Register {
    /// Opens or creates the register of a state folder. Only the process that holds the log's lock may call this.
    pub async fn open(state: &Path) -> Result<Self> {
        let path = state.join("register.db");
        match Self::open_at(&path, false).await {
            Ok(register) if register.version().await == Some(VERSION) => Ok(register),
            other => {
                // Another version or a damaged file: the log has everything that matters.
                let mut names = Vec::new();
                if let Ok(register) = other {
                    // A version before there were names has none.
                    names = register.hold_names().await.unwrap_or_default();
                    register.pool.close().await;
                }
                if path.exists() {
                    tracing::warn!(file = %path.display(), "the register is of another version or damaged and is rebuilt from the audit log");
                }
                Self::remove(state)?;
                let register = Self::open_at(&path, true).await?;
                register.name_holds(&names).await?;
                Ok(register)
            }
        }
    }

    /// Opens the register for reading, without a lock; `None` when there is none yet.
    pub async fn open_for_reading(state: &Path) -> Result<Option<Self>> {
        let path = state.join("register.db");
        if !path.exists() {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new().filename(&path).read_only(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.map_err(fail(&path))?;
        let register = Self { pool, path };
        Ok(if register.version().await == Some(VERSION) { Some(register) } else { None })
    }

    /// Removes the register, so that the next opening rebuilds it.
    pub fn remove(state: &Path) -> Result<()> {
        for name in ["register.db", "register.db-wal", "register.db-shm", "register.db-journal"] {
            let path = state.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::with_source(Kind::Io, format!("{}: cannot be removed", path.display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn open_at(path: &Path, create: bool) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            // A lost tail of the register is projected again from the log.
            .synchronous(SqliteSynchronous::Normal)
            .pragma("secure_delete", "ON")
            // KiB. What the register holds is read by key; more of it in memory would only grow with its age.
            .pragma("cache_size", "-1024");
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.map_err(fail(path))?;
        if create {
            sqlx::raw_sql(TABLES).execute(&pool).await.map_err(fail(path))?;
            sqlx::query("INSERT OR REPLACE INTO state VALUES ('version', ?)")
                .bind(VERSION.to_string())
                .execute(&pool)
                .await
                .map_err(fail(path))?;
        }
        Ok(Self { pool, path: path.to_owned() })
    }

    async fn version(&self) -> Option<i64> {
        self.state("version").await.ok().flatten().and_then(|value| value.parse().ok())
    }

    async fn state(&self, name: &str) -> Result<Option<String>> {
        let row =
            sqlx::query("SELECT value FROM state WHERE name = ?").bind(name).fetch_optional(&self.pool).await.map_err(fail(&self.path))?;
        Ok(row.map(|row| row.get(0)))
    }

    /// How many entries of the log are reflected.
    pub async fn applied(&self) -> Result<u64> {
        Ok(self.state("applied").await?.and_then(|value| value.parse().ok()).unwrap_or(0))
    }

    /// The identity of the log that it reflects.
    async fn log(&self) -> Result<Option<String>> {
        self.state("log").await
    }

    /// Says which log it reflects.
    async fn set_log(&self, identity: &str) -> Result<()> {
        let query = sqlx::query("INSERT OR REPLACE INTO state VALUES ('log', ?)").bind(identity);
        query.execute(&self.pool).await.map(drop).map_err(fail(&self.path))
    }

    /// Says that the register reflects the first `entries` of the log and that no intent among them is open.
    pub async fn set_applied(&self, entries: u64) -> Result<()> {
        let query = sqlx::query("INSERT OR REPLACE INTO state VALUES ('applied', ?)").bind(entries.to_string());
        query.execute(&self.pool).await.map_err(fail(&self.path))?;
        Ok(())
    }

    /// Id and SHA-256 of each schedule whose text stands in the log as the one in force.
    pub async fn schedules(&self) -> Result<HashMap<String, String>> {
        let rows = sqlx::query("SELECT id, sha256 FROM schedules").fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Of these pseudonyms, those that are flagged in the dataset.
    pub async fn flags(&self, dataset: &str, records: &[String]) -> Result<HashMap<String, Flag>> {
        let mut found = HashMap::new();
        for record in records {
            let query =
                sqlx::query("SELECT since, disposition, due FROM flags WHERE dataset = ? AND record = ?").bind(dataset).bind(record);
            if let Some(row) = query.fetch_optional(&self.pool).await.map_err(fail(&self.path))? {
                let flag = Flag { record: record.clone(), since: row.get(0), disposition: row.get(1), due: row.get(2) };
                found.insert(record.clone(), flag);
            }
        }
        Ok(found)
    }

    /// What rests on pseudonyms of the year `year`, in words: holds in force by their ids, and how many records are flagged.
    pub async fn names_of(&self, year: i16) -> Result<Vec<String>> {
        let pattern = format!("{year:04}:%");
        let query = sqlx::query("SELECT id FROM holds WHERE subject LIKE ?1 OR record LIKE ?1 ORDER BY entry").bind(&pattern);
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        let mut found: Vec<String> =
            rows.iter().map(|row| format!("the hold {}", crate::error::escape(row.get::<String, _>(0).as_bytes()))).collect();
        let query = sqlx::query("SELECT COUNT(*) FROM flags WHERE record LIKE ?").bind(&pattern);
        let flags: i64 = query.fetch_one(&self.pool).await.map_err(fail(&self.path))?.get(0);
        if flags > 0 {
            found.push(format!("{flags} flagged records"));
        }
        found.extend(self.attested_in(&pattern).await?);
        Ok(found)
    }

    /// How many records of the dataset are flagged with each disposition.
    pub async fn count_flags(&self, dataset: &str) -> Result<HashMap<String, u64>> {
        let query = sqlx::query("SELECT disposition, COUNT(*) FROM flags WHERE dataset = ? GROUP BY disposition").bind(dataset);
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        Ok(rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<i64, _>(1)).unwrap_or(0))).collect())
    }

    /// Flags records, or says of flagged ones that this run still found them due.
    pub async fn flag(&self, dataset: &str, run: &str, flags: &[Flag]) -> Result<()> {
        let fail = fail(&self.path);
        let mut transaction = self.pool.begin().await.map_err(&fail)?;
        for flag in flags {
            insert_flag(&mut transaction, dataset, run, flag).await.map_err(&fail)?;
        }
        transaction.commit().await.map_err(&fail)
    }

    /// Removes the flags of the dataset that this run, which scanned all of it, no longer found due.
    pub async fn unflag_others(&self, dataset: &str, run: &str) -> Result<()> {
        let query = sqlx::query("DELETE FROM flags WHERE dataset = ? AND run <> ?").bind(dataset).bind(run);
        query.execute(&self.pool).await.map_err(fail(&self.path))?;
        Ok(())
    }
}

async fn insert_flag(
    transaction: &mut Transaction<'_, Sqlite>,
    dataset: &str,
    run: &str,
    flag: &Flag,
) -> std::result::Result<(), sqlx::Error> {
    // The first flag decides "since"; a later one says that the record is still due, perhaps for another reason.
    let text = "INSERT INTO flags (dataset, record, since, disposition, due, run) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (dataset, record) DO UPDATE SET disposition = excluded.disposition, due = excluded.due, run = excluded.run";
    let query = sqlx::query(text).bind(dataset).bind(&flag.record).bind(&flag.since).bind(&flag.disposition).bind(&flag.due).bind(run);
    query.execute(&mut **transaction).await.map(drop)
}
