//! Requests for erasure: who approved one, and which records went because of one.
//!
//! The second is for inventories, which would miss them: a record that went is entered when its run is over, by every name that it may have, and from
//! the log by the name that stands there.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sqlx::{Row, SqliteConnection};

use super::{Register, fail};
use crate::audit::{Entry, Kind as EntryKind};
use crate::error::Result;
use crate::review::{Decision, What};

type Done = std::result::Result<(), sqlx::Error>;

impl Register {
    /// Who approved what a request is answered, in the order of the log, with days in UTC.
    pub async fn erasure_approvals(&self, erasure: &str) -> Result<Vec<Decision>> {
        let query = sqlx::query("SELECT entry, at, person, name FROM erasure_approvals WHERE erasure = ? ORDER BY entry").bind(erasure);
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        let decision = |row: &sqlx::sqlite::SqliteRow| Decision {
            entry: u64::try_from(row.get::<i64, _>(0)).unwrap_or_default(),
            what: What::Approve,
            // One that cannot be read counts for nothing: it lies in the future.
            on: TimeZone::UTC.to_datetime(row.get::<&str, _>(1).parse().unwrap_or(Timestamp::MAX)).date(),
            person: row.get(2),
            name: row.get(3),
            until: None,
        };
        Ok(rows.iter().map(decision).collect())
    }

    /// Takes in that the record with these names went at that time.
    pub async fn erased(&self, dataset: &str, at: &str, names: &[String]) -> Result<()> {
        let fail = fail(&self.path);
        let mut connection = self.pool.acquire().await.map_err(&fail)?;
        for name in names {
            keep(&mut connection, dataset, at, name).await.map_err(&fail)?;
        }
        Ok(())
    }

    /// The names of records of a dataset that went since then.
    pub async fn all_erased(&self, dataset: &str, since: &str) -> Result<HashSet<String>> {
        let query = sqlx::query("SELECT record FROM erased WHERE dataset = ? AND at >= ?").bind(dataset).bind(since);
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

async fn keep(connection: &mut SqliteConnection, dataset: &str, at: &str, name: &str) -> Done {
    let text =
        "INSERT INTO erased (dataset, record, at) VALUES (?, ?, ?) ON CONFLICT (dataset, record) DO UPDATE SET at = max(at, excluded.at)";
    sqlx::query(text).bind(dataset).bind(name).bind(at).execute(connection).await.map(drop)
}

pub(super) async fn approved(connection: &mut SqliteConnection, entry: &Entry) -> Done {
    let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
    let query =
        sqlx::query("INSERT OR REPLACE INTO erasure_approvals VALUES (?, ?, ?, ?, ?)").bind(i64::try_from(entry.n).unwrap_or(i64::MAX));
    query.bind(text("erasure")).bind(&entry.at).bind(text("person")).bind(text("name")).execute(connection).await.map(drop)
}

/// Whether an outcome says that a record went on a request for erasure.
pub(super) fn is_erased(entry: &Entry) -> bool {
    let gone = entry.kind == EntryKind::Destroyed || entry.kind == EntryKind::Recovered && entry.str("found") == Some("gone");
    gone && entry.u64("erasure").is_some()
}

pub(super) async fn gone(connection: &mut SqliteConnection, entry: &Entry) -> Done {
    let dataset = format!("{}/{}", entry.str("store").unwrap_or_default(), entry.str("dataset").unwrap_or_default());
    keep(connection, &dataset, &entry.at, entry.str("record").unwrap_or_default()).await
}
