//! What the register knows of records that people destroy: which are their tasks, and which they have confirmed.
//!
//! A task ends when its record is confirmed, or when a complete scan no longer finds it due. The latter is no entry, so a rebuilt register may show a
//! task again until the next scan. A confirmation never ends: the list may go on naming the record for ever, and nobody is to be asked for it again.

use jiff::civil::Date;
use sqlx::{Row, SqliteConnection};

use super::{Register, fail};
use crate::audit::Entry;
use crate::error::Result;

type Done = std::result::Result<(), sqlx::Error>;

/// A record that a person is to destroy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The record's pseudonym.
    pub record: String,
    /// Since when it is a task, RFC 3339.
    pub since: String,
    /// The class that decided.
    pub class: String,
    /// The last day of keeping.
    pub due: Date,
    /// The last day on which it may still be there.
    pub ceiling: Option<Date>,
}

/// How many tasks a dataset has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// All of them.
    pub open: u64,
    /// Those whose record should have been gone before today.
    pub overdue: u64,
}

fn number(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

impl Register {
    /// The task of the record that goes by one of these pseudonyms.
    pub async fn task(&self, dataset: &str, names: &[String]) -> Result<Option<Task>> {
        for name in names {
            let query = sqlx::query("SELECT since, class, due, ceiling FROM tasks WHERE dataset = ? AND record = ?");
            let row = query.bind(dataset).bind(name).fetch_optional(&self.pool).await.map_err(fail(&self.path))?;
            if let Some(row) = row {
                let day = |at: usize| row.get::<Option<String>, _>(at).and_then(|day| day.parse().ok());
                let (record, since, class) = (name.clone(), row.get(0), row.get(1));
                return Ok(Some(Task { record, since, class, due: day(2).unwrap_or(Date::MIN), ceiling: day(3) }));
            }
        }
        Ok(None)
    }

    /// How many tasks the dataset has, on the day `today`.
    pub async fn count_tasks(&self, dataset: &str, today: Date) -> Result<Tasks> {
        let query = sqlx::query("SELECT COUNT(*), COUNT(*) FILTER (WHERE ceiling < ?) FROM tasks WHERE dataset = ?");
        let row = query.bind(today.to_string()).bind(dataset).fetch_one(&self.pool).await.map_err(fail(&self.path))?;
        Ok(Tasks { open: number(row.get(0)), overdue: number(row.get(1)) })
    }

    /// How many records of the dataset were lost, ever, and when the last of them was missed.
    pub async fn losses(&self, dataset: &str) -> Result<Option<(u64, String)>> {
        let query = sqlx::query("SELECT sum(records), max(at) FROM losses WHERE dataset = ? HAVING count(*) > 0").bind(dataset);
        let row = query.fetch_optional(&self.pool).await.map_err(fail(&self.path))?;
        Ok(row.map(|row| (number(row.get(0)), row.get(1))))
    }

    /// Opens tasks, or says of open ones that this run still found them due.
    pub async fn open_tasks(&self, dataset: &str, run: &str, tasks: &[Task]) -> Result<()> {
        let fail = fail(&self.path);
        let mut transaction = self.pool.begin().await.map_err(&fail)?;
        for task in tasks {
            insert(&mut transaction, dataset, run, task).await.map_err(&fail)?;
        }
        transaction.commit().await.map_err(&fail)
    }

    /// Ends the tasks of the dataset that this run, which scanned all of it, no longer found due; answers how many.
    pub async fn close_other_tasks(&self, dataset: &str, run: &str) -> Result<u64> {
        let query = sqlx::query("DELETE FROM tasks WHERE dataset = ? AND run <> ?").bind(dataset).bind(run);
        Ok(query.execute(&self.pool).await.map_err(fail(&self.path))?.rows_affected())
    }

    /// The date of the event with which the record that goes by one of these pseudonyms was confirmed to be destroyed.
    pub async fn attested(&self, dataset: &str, names: &[String]) -> Result<Option<Date>> {
        let mut latest = None;
        for name in names {
            let query = sqlx::query("SELECT event_date FROM attested WHERE dataset = ? AND record = ?").bind(dataset).bind(name);
            let row = query.fetch_optional(&self.pool).await.map_err(fail(&self.path))?;
            latest = latest.max(row.and_then(|row| row.get::<String, _>(0).parse().ok()));
        }
        Ok(latest)
    }

    /// Takes in that a record was confirmed, as the log says already: the first of `names` is the one there, the others may be those of its task.
    pub async fn confirm_destroyed(&self, dataset: &str, names: &[String], event_date: Date) -> Result<()> {
        let fail = fail(&self.path);
        let mut connection = self.pool.acquire().await.map_err(&fail)?;
        if let Some(name) = names.first() {
            keep(&mut connection, dataset, name, &event_date.to_string()).await.map_err(&fail)?;
        }
        for name in names {
            end(&mut connection, dataset, name).await.map_err(&fail)?;
        }
        Ok(())
    }

    /// How many confirmations rest on pseudonyms of this pattern, in words. Without the key of their year nobody could tell any more which records they
    /// are about, and they would be asked for again.
    pub(super) async fn attested_in(&self, pattern: &str) -> Result<Option<String>> {
        let query = sqlx::query("SELECT COUNT(*) FROM attested WHERE record LIKE ?").bind(pattern);
        let count: i64 = query.fetch_one(&self.pool).await.map_err(fail(&self.path))?.get(0);
        Ok((count > 0).then(|| format!("{count} confirmations of records that people destroyed")))
    }
}

/// Records that went too early: one that a person confirmed, or those that an inventory missed.
pub(super) async fn lost(connection: &mut SqliteConnection, entry: &Entry) -> Done {
    attested(connection, entry).await?;
    // What does not fit into one entry is told by several, each with the number of all.
    let records = if entry.u64("part").unwrap_or(1) == 1 { entry.u64("count").unwrap_or(1) } else { 0 };
    let query = sqlx::query("INSERT OR REPLACE INTO losses VALUES (?, ?, ?, ?)");
    let query = query.bind(i64::try_from(entry.n).unwrap_or(i64::MAX)).bind(dataset_of(entry)).bind(&entry.at);
    query.bind(i64::try_from(records).unwrap_or(i64::MAX)).execute(connection).await.map(drop)
}

async fn insert(connection: &mut SqliteConnection, dataset: &str, run: &str, task: &Task) -> Done {
    let text = "INSERT INTO tasks (dataset, record, since, class, due, ceiling, run) VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (dataset, record) DO UPDATE SET class = excluded.class, due = excluded.due, ceiling = excluded.ceiling, run = excluded.run";
    let query = sqlx::query(text).bind(dataset).bind(&task.record).bind(&task.since).bind(&task.class).bind(task.due.to_string());
    query.bind(task.ceiling.map(|day| day.to_string())).bind(run).execute(connection).await.map(drop)
}

fn dataset_of(entry: &Entry) -> String {
    format!("{}/{}", entry.str("store").unwrap_or_default(), entry.str("dataset").unwrap_or_default())
}

pub(super) async fn opened(connection: &mut SqliteConnection, entry: &Entry) -> Done {
    let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
    let day = |name: &str| entry.str(name).and_then(|day| day.parse().ok());
    let task = Task {
        record: text("record"),
        since: entry.at.clone(),
        class: text("class"),
        due: day("due").unwrap_or(Date::MIN),
        ceiling: day("ceiling"),
    };
    insert(connection, &dataset_of(entry), &text("run"), &task).await
}

/// A record that a person says is destroyed, in time or too early. Read again, an older entry never replaces a newer one.
pub(super) async fn attested(connection: &mut SqliteConnection, entry: &Entry) -> Done {
    let (Some(record), Some(_)) = (entry.str("record"), entry.str("certificate")) else { return Ok(()) };
    let dataset = dataset_of(entry);
    // Of a record that had no date any date that the list comes to name is a later one.
    keep(connection, &dataset, record, entry.str("event_date").unwrap_or("0001-01-01")).await?;
    end(connection, &dataset, record).await
}

async fn keep(connection: &mut SqliteConnection, dataset: &str, record: &str, event_date: &str) -> Done {
    let text = "INSERT INTO attested (dataset, record, event_date) VALUES (?, ?, ?)
        ON CONFLICT (dataset, record) DO UPDATE SET event_date = max(event_date, excluded.event_date)";
    sqlx::query(text).bind(dataset).bind(record).bind(event_date).execute(connection).await.map(drop)
}

async fn end(connection: &mut SqliteConnection, dataset: &str, record: &str) -> Done {
    let query = sqlx::query("DELETE FROM tasks WHERE dataset = ? AND record = ?").bind(dataset).bind(record);
    query.execute(connection).await.map(drop)
}
