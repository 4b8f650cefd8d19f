//! Requests for erasure: who approved one, where a class asks for two people.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sqlx::{Row, SqliteConnection};

use super::{Register, fail};
use crate::audit::Entry;
use crate::error::Result;
use crate::review::{Decision, What};

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
}

pub(super) async fn approved(connection: &mut SqliteConnection, entry: &Entry) -> std::result::Result<(), sqlx::Error> {
    let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
    let query =
        sqlx::query("INSERT OR REPLACE INTO erasure_approvals VALUES (?, ?, ?, ?, ?)").bind(i64::try_from(entry.n).unwrap_or(i64::MAX));
    query.bind(text("erasure")).bind(&entry.at).bind(text("person")).bind(text("name")).execute(connection).await.map(drop)
}
