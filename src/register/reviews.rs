//! What people decided about review batches, and who edited the schedules: entries of the log, by batch and by schedule.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;
use sqlx::{Row, Sqlite, Transaction};

use super::{Register, fail};
use crate::audit::{Entry, Kind as EntryKind};
use crate::error::Result;
use crate::review::What;

type Done = std::result::Result<(), sqlx::Error>;

/// One decision as the log has it: the day depends on the zone of the class's schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Index of its entry.
    pub entry: u64,
    /// What was decided.
    pub what: What,
    /// When.
    pub at: Timestamp,
    /// The account.
    pub person: String,
    /// The name given.
    pub name: String,
    /// The last day of keeping, of refusals and extensions.
    pub until: Option<Date>,
    /// Why, where it was said.
    pub reason: String,
    /// SHA-256 of the schedule then in force.
    pub schedule: String,
}

impl std::fmt::Display for Decided {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.what {
            What::Approve => "approved",
            What::Refuse => "refused",
            What::Extend => "extended",
            What::Withdraw => "taken back",
        };
        let shown = |text: &str| crate::error::escape(text.as_bytes());
        let who = if self.name.is_empty() { shown(&self.person) } else { format!("{}, {}", shown(&self.name), shown(&self.person)) };
        write!(f, "{word} by {who} at {:.0}", self.at)?;
        if let Some(until) = self.until {
            write!(f, ", until {until}")?;
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", shown(&self.reason))?;
        }
        write!(f, " (entry {})", self.entry)
    }
}

impl Register {
    /// The decisions about a batch, in the order of the log.
    pub async fn decisions(&self, batch: &str) -> Result<Vec<Decided>> {
        let query =
            sqlx::query("SELECT entry, kind, at, person, name, until, reason, schedule FROM decisions WHERE batch = ? ORDER BY entry");
        let rows = query.bind(batch).fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        let decided = |row: &sqlx::sqlite::SqliteRow| {
            let kind = row.get::<&str, _>(1).parse::<EntryKind>().ok()?;
            Some(Decided {
                entry: u64::try_from(row.get::<i64, _>(0)).unwrap_or_default(),
                what: What::of(kind)?,
                // One that cannot be read counts for nothing: it lies in the future.
                at: row.get::<&str, _>(2).parse().unwrap_or(Timestamp::MAX),
                person: row.get(3),
                name: row.get(4),
                until: row.get::<Option<&str>, _>(5).and_then(|day| day.parse().ok()),
                reason: row.get(6),
                schedule: row.get(7),
            })
        };
        Ok(rows.iter().filter_map(decided).collect())
    }

    /// The batches of a dataset that somebody approved, which nobody ended since, and whose approval says that it holds on the day `today`.
    pub async fn approved_batches(&self, dataset: &str, today: Date) -> Result<Vec<String>> {
        let text = "SELECT batch FROM decisions AS one WHERE dataset = ? AND kind = 'approved' AND expires >= ? AND NOT EXISTS
            (SELECT 1 FROM decisions AS other WHERE other.batch = one.batch AND other.entry > one.entry AND other.kind <> 'approved')
            GROUP BY batch ORDER BY MIN(entry)";
        let rows = sqlx::query(text).bind(dataset).bind(today.to_string()).fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The accounts of those who edited or confirmed any version of a schedule.
    pub async fn editors(&self, schedule: &str) -> Result<Vec<String>> {
        let query = sqlx::query("SELECT DISTINCT person FROM editors WHERE schedule = ? ORDER BY person").bind(schedule);
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

pub(super) async fn decided(transaction: &mut Transaction<'_, Sqlite>, entry: &Entry) -> Done {
    let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
    sqlx::query("INSERT OR REPLACE INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(i64::try_from(entry.n).unwrap_or(i64::MAX))
        .bind(text("batch"))
        .bind(entry.kind.as_str())
        .bind(&entry.at)
        .bind(text("person"))
        .bind(text("name"))
        .bind(entry.str("until").map(str::to_owned))
        .bind(text("reason"))
        .bind(text("schedule"))
        .bind(format!("{}/{}", text("store"), text("dataset")))
        .bind(entry.str("expires").map(str::to_owned))
        .execute(&mut **transaction)
        .await
        .map(drop)
}

/// Of `schedule`, whose file it is; of `confirmed`, who confirmed what.
pub(super) async fn edited(transaction: &mut Transaction<'_, Sqlite>, entry: &Entry) -> Done {
    let (person, schedules) = if entry.kind == EntryKind::Schedule {
        (entry.str("edited_by"), entry.str("id").into_iter().map(str::to_owned).collect::<Vec<_>>())
    } else {
        let schedules = entry.fields.get("schedules").and_then(Value::as_array).into_iter().flatten();
        (entry.str("person"), schedules.filter_map(|one| one.get("id")?.as_str().map(str::to_owned)).collect())
    };
    for schedule in schedules {
        if let Some(person) = person {
            let query = sqlx::query("INSERT OR REPLACE INTO editors VALUES (?, ?, ?)");
            let query = query.bind(i64::try_from(entry.n).unwrap_or(i64::MAX)).bind(schedule).bind(person.to_owned());
            query.execute(&mut **transaction).await?;
        }
    }
    Ok(())
}
