//! Holds in force, as the log has them, and the plain names that people gave when they placed them, which the log must not have.

use sqlx::{Row, Sqlite, Transaction};

use super::{Register, fail};
use crate::audit::Entry;
use crate::error::Result;
use crate::hold::Hold;

/// What a person named when placing a hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HoldNames {
    /// The hold's id.
    pub hold: String,
    /// The person or tenancy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The record's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

impl Register {
    /// The holds that were placed and not released, oldest first.
    pub async fn holds(&self) -> Result<Vec<Hold>> {
        let query = sqlx::query("SELECT body, at FROM holds ORDER BY entry, id");
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        let hold = |row: &sqlx::sqlite::SqliteRow| {
            let unreadable = |error| {
                let text = format!("{}: a hold cannot be read; delete the register, it is built again from the log", self.path.display());
                crate::error::Error::with_source(crate::error::Kind::Io, text, error)
            };
            serde_json::from_str(row.get(0)).map(|body| Hold::of_body(&body, row.get(1))).map_err(unreadable)
        };
        rows.iter().map(hold).collect()
    }

    /// The plain names of holds, in force or about to be.
    pub async fn hold_names(&self) -> Result<Vec<HoldNames>> {
        let query = sqlx::query("SELECT hold, subject, record FROM hold_names ORDER BY hold");
        let rows = query.fetch_all(&self.pool).await.map_err(fail(&self.path))?;
        Ok(rows.iter().map(|row| HoldNames { hold: row.get(0), subject: row.get(1), record: row.get(2) }).collect())
    }

    /// Keeps the plain names of holds.
    pub async fn name_holds(&self, names: &[HoldNames]) -> Result<()> {
        let fail = fail(&self.path);
        let mut transaction = self.pool.begin().await.map_err(&fail)?;
        for HoldNames { hold, subject, record } in names {
            let query = sqlx::query("INSERT OR REPLACE INTO hold_names VALUES (?, ?, ?)").bind(hold).bind(subject).bind(record);
            query.execute(&mut *transaction).await.map_err(&fail)?;
        }
        transaction.commit().await.map_err(&fail)
    }

    /// Forgets names whose hold was never placed, or is no more.
    pub async fn forget_names(&self) -> Result<()> {
        let query = sqlx::query("DELETE FROM hold_names WHERE hold NOT IN (SELECT id FROM holds)");
        query.execute(&self.pool).await.map_err(fail(&self.path))?;
        Ok(())
    }
}

pub(super) async fn placed(transaction: &mut Transaction<'_, Sqlite>, entry: &Entry) -> std::result::Result<(), sqlx::Error> {
    let scope = |name: &str| entry.fields.get("scope").and_then(|scope| scope.get(name)?.as_str()).map(str::to_owned);
    // The rest of what a hold is stands in its entry.
    let body = serde_json::to_string(&entry.fields).unwrap_or_default();
    sqlx::query("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?)")
        .bind(entry.str("hold"))
        .bind(scope("subject"))
        .bind(scope("record"))
        .bind(i64::try_from(entry.n).unwrap_or(i64::MAX))
        .bind(&entry.at)
        .bind(body)
        .execute(&mut **transaction)
        .await
        .map(drop)
}

pub(super) async fn released(transaction: &mut Transaction<'_, Sqlite>, entry: &Entry) -> std::result::Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM holds WHERE id = ?").bind(entry.str("hold")).execute(&mut **transaction).await?;
    sqlx::query("DELETE FROM hold_names WHERE hold = ?").bind(entry.str("hold")).execute(&mut **transaction).await.map(drop)
}
