//! PostgreSQL: connecting, and what its errors mean.
//!
//! Every column is read as text in a form that does not depend on the server's settings, integers and floating-point numbers excepted, and every
//! value is handed back as text with the type that it is to be read as. So any type can be a key, and a change of any column shows.
//! Contents of `bytea` columns stand in it by their SHA-256, computed by the server, so that documents are not carried over for every look.
//!
//! **Versions.** A plain table says of each row which transaction wrote it (`xmin`), and no transaction writes two versions of a row that others can
//! see. So key and `xmin` together say that a row is what the scan saw, and the other columns need not be read. It says where the row lies as well
//! (`ctid`): there it is looked for first, and that is never why it is taken for what it was, because a table that is written anew has other rows
//! there. A row that was changed and changed back is another version, and stays until the next scan. Partitioned and inherited tables, tables of
//! another access method, and datasets that anonymise are compared by their contents.
//!
//! **Grades**: `row-deleted` and `anonymised`. The row is gone for every reader; its bytes stay in the table's file until VACUUM and later writes
//! have gone over them, and in the write-ahead log until that is recycled. Replicas and archives follow by themselves. A rewriting of the table
//! reaches the table's file only, so no higher grade is ever claimed for a single record.

pub(super) mod catalog;
pub(super) mod check;
#[cfg(test)]
mod tests;

use std::time::Duration;

use sqlx::encode::IsNull;
use sqlx::error::DatabaseError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgConnection, PgDatabaseError, PgRow, PgSeverity, PgTypeInfo, PgValueFormat, PgValueRef,
};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Decode, Encode, Executor as _, Postgres, Row, Type, ValueRef};

use super::config::Dataset;
use super::server::Server;
use super::session::{Connection as AnyConnection, Failure, Outcome, Session, Trouble, connected, each_row, unanswered};
use super::shape::table;
use super::statement::{Dialect, Statement, Value};
use super::throttle::Load;
use super::value::{Cell, Day, Seen, SeenRow, block_of, place};
use crate::error::escape;

/// Every grade, from the lowest up.
pub(super) const GRADES: &[&str] = &["anonymised", "row-deleted", "vacuumed", "rewritten"];

/// What `row-deleted` does not reach.
pub(super) const CAVEATS: &[&str] = &["dead-rows-until-vacuum", "write-ahead-log", "replicas-follow", "backups-not-reached"];

/// Begins a transaction that deletes. That it may write, the session was told; to ask for it here would be refused on a replica in words that
/// do not say why.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// What every session begins with: nothing depends on the settings of server, database and role.
const SETTINGS: &str = "SET client_encoding = 'UTF8'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; SET timezone = 'UTC'; SET lc_monetary = 'C'; \
     SET bytea_output = 'hex'; SET extra_float_digits = 1; SET standard_conforming_strings = on; SET row_security = off; \
     SET plan_cache_mode = 'force_custom_plan'; SET lock_timeout = '1500ms'; SET statement_timeout = '5min'; \
     SET idle_in_transaction_session_timeout = '1min'; SET default_transaction_isolation = 'read committed'; SET synchronous_commit = on";

/// Begins one that deletes before it looks. It waits for nobody: long before the server would look for a deadlock, and might end an application's
/// transaction for it, ours has given way.
pub(super) const BEGIN_AT_ONCE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '50ms'";

/// For one that deletes records by their keys. These are few: whatever statistics say, the table is not to be read for them.
pub(super) const BY_KEYS: &str = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// For one that deletes what lies in certain places. Whichever the places, there is one way to them, and the server soon sees that it need not plan it each
/// time. That it is not told to is for the sake of foreign keys, whose checks it would then plan for values that are mostly others.
pub(super) const AT_PLACES: &str = "SET LOCAL plan_cache_mode = 'auto'";

/// For one that deletes along a stretch of keys, which is walked by the key's index and compared with what was asked for.
pub(super) const ALONG: &str = "SET LOCAL enable_nestloop = off; SET LOCAL enable_seqscan = off";

/// What the server says when it is to carry out what was not prepared in this session.
const NOT_KEPT: &str = "26000";

/// A connection to one database of a server.
pub(in super::super) struct Connection {
    inner: PgConnection,
    /// The number of the server's process behind it.
    number: i32,
}

/// Connects.
pub(super) async fn open(server: &Server, read_only: bool) -> Outcome<Session> {
    let shown = server.shown();
    let options = server.postgres_options().map_err(|why| Failure::other(why).at(&shown))?;
    let inner = connected(server, options.connect(), failure).await.map_err(|failure| failure.at(&shown))?;
    let mut connection = Connection { inner, number: 0 };
    let began = connection.prepare(read_only).await.map_err(|failure| failure.at(&shown))?;
    let number = connection.number.into();
    Ok(Session::new(AnyConnection::Postgres(connection)).numbered(began, number))
}

/// How far replicas are behind and how many other sessions are at work.
pub(super) async fn load(session: &mut Session) -> Outcome<Load> {
    // What a replica said of its lag held when it said so: where it has not replayed everything, it has fallen behind further since.
    let statement = Statement::new(
        "SELECT (SELECT CAST(coalesce(max(extract(epoch FROM coalesce(replay_lag, interval '0') + CASE WHEN replay_lsn < \
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END \
           THEN greatest(clock_timestamp() - reply_time, interval '0') ELSE interval '0' END)), 0) AS float8) FROM pg_stat_replication), \
         (SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND backend_type = 'client backend' \
           AND NOT (application_name = 'retentiond' AND usename = current_user)), \
         (SELECT count(*) FROM pg_stat_replication WHERE state IS NULL) + (SELECT count(*) FROM pg_stat_activity WHERE backend_type IS NULL)",
    );
    match session.rows(&statement).await?.first().map(Vec::as_slice) {
        Some([_, _, Cell::Int(1..)]) => {
            Err(Failure::other("the role may not see what others do and how far replicas are; `GRANT pg_read_all_stats TO …`"))
        }
        Some([Cell::Real(lag), Cell::Int(running), _]) => {
            let lag = Duration::try_from_secs_f64(lag.max(0.0)).unwrap_or(Duration::MAX);
            Ok(Load { lag, running: u64::try_from(*running).unwrap_or(0) })
        }
        _ => Err(Failure::other("the server's answer about its load could not be read")),
    }
}

/// Vacuums the tables of a dataset. VACUUM passes over a table that the role may not vacuum, with no more than a warning, so that is asked before.
pub(super) async fn vacuum(session: &mut Session, dataset: &Dataset) -> Outcome<()> {
    session.run("SET statement_timeout = 0").await?;
    for one in super::check::tables(dataset) {
        let shown = one.shown();
        let Some(oid) = catalog::oid(session, one).await? else {
            return Err(Failure::other(format!("there is no table `{shown}`")));
        };
        let mut owns = Statement::new(
            "SELECT CASE WHEN pg_has_role(c.relowner, 'USAGE') OR (CAST(current_setting('server_version_num') AS int4) >= 170000 \
             AND pg_has_role('pg_maintain', 'USAGE')) THEN 1 ELSE 0 END FROM pg_class AS c WHERE c.oid = CAST(",
        );
        owns.value(&Cell::Int(oid)).sql(" AS oid)");
        if session.number(&owns).await? != 1 {
            return Err(Failure::other(format!("only the owner of `{shown}` may vacuum it (or pg_maintain, from PostgreSQL 17)")));
        }
        let mut statement = Statement::new("VACUUM (ANALYZE) ");
        table(&mut statement, one);
        session.execute(&statement).await?;
    }
    Ok(())
}

/// Sessions of this role that have begun something here and are none of this process: what a process left behind that is no more. Until they end,
/// a row may still go.
pub(super) async fn under_way(session: &mut Session) -> Outcome<bool> {
    let statement = Statement::new(
        "SELECT CAST(pid AS int8) FROM pg_stat_activity WHERE application_name = 'retentiond' AND usename = current_user \
         AND datname = current_database() AND (backend_xid IS NOT NULL OR state <> 'idle') AND pid <> pg_backend_pid()",
    );
    let others = session.rows(&statement).await?;
    Ok(others.iter().flatten().any(|cell| !matches!(cell, Cell::Int(number) if session.is_ours(*number))))
}

/// What tells this database from any other, and stays the same when a replica takes over.
pub(super) async fn mark(session: &mut Session) -> Outcome<String> {
    let statement = Statement::new(
        "SELECT CAST(s.system_identifier AS text) || '/' || CAST(d.oid AS text) FROM pg_control_system() AS s, pg_database AS d WHERE d.datname = current_database()",
    );
    let mark = session.rows(&statement).await?.into_iter().flatten().next();
    Ok(mark.and_then(|cell| cell.text().map(std::borrow::Cow::into_owned)).unwrap_or_default())
}

impl Connection {
    /// Sets everything that a session depends on; answers when and where the server began, by which it is told from every other.
    async fn prepare(&mut self, read_only: bool) -> Outcome<String> {
        self.run(SETTINGS).await?;
        self.allow(read_only).await?;
        self.number = self.ask_number().await?;
        let asked = "SELECT CAST(pg_postmaster_start_time() AS text) || ' ' || current_setting('port')";
        let row = self.inner.fetch_one(sqlx::raw_sql(asked)).await.map_err(|error| failure(&error))?;
        row.try_get(0).map_err(|error| failure(&error))
    }

    /// Lets transactions only read, or write too.
    async fn allow(&mut self, read_only: bool) -> Outcome<()> {
        self.run(if read_only { "SET default_transaction_read_only = on" } else { "SET default_transaction_read_only = off" }).await
    }

    /// Forgets what was prepared, and lets transactions only read, or write too.
    pub(in super::super) async fn renew(&mut self, read_only: bool) -> Outcome<()> {
        self.inner.clear_cached_statements().await.map_err(|error| failure(&error))?;
        self.allow(read_only).await
    }

    /// Asks for the number of the server's process, in a way that leaves nothing behind there.
    async fn ask_number(&mut self) -> Outcome<i32> {
        let row = self.inner.fetch_one(sqlx::raw_sql("SELECT pg_backend_pid()")).await.map_err(|error| failure(&error))?;
        row.try_get(0).map_err(|error| failure(&error))
    }

    /// Begins a transaction with a statement that asks for the number of the server's process in the same breath. Nothing when the one that answers is
    /// not the one that was prepared; otherwise what it answers beside that.
    pub(in super::super) async fn begin(&mut self, statement: &Statement) -> Outcome<Option<Option<String>>> {
        let text = AssertSqlSafe(statement.text(Dialect::Postgres));
        let rows = match self.inner.fetch_all(sqlx::raw_sql(text)).await {
            // The session that was prepared would know the question.
            Err(error) if error.as_database_error().and_then(DatabaseError::code).as_deref() == Some(NOT_KEPT) => return Ok(None),
            rows => rows.map_err(|error| failure(&error))?,
        };
        let Some(row) = rows.first().filter(|row| row.try_get(0).is_ok_and(|number: i32| number == self.number)) else { return Ok(None) };
        Ok(Some(row.try_get(1).ok()))
    }

    pub(in super::super) async fn each(&mut self, statement: &Statement, mut each: impl FnMut(&[Seen<'_>]) + Send) -> Outcome<()> {
        let query = sqlx::query_with::<Postgres, _>(AssertSqlSafe(statement.text(Dialect::Postgres)), arguments(statement)?);
        each_row(self.inner.fetch_many(query), |row| seen(row).map(|row| each(&row))).await.map_err(|error| failure(&error))
    }

    pub(in super::super) async fn execute(&mut self, statement: &Statement) -> Outcome<u64> {
        let query = sqlx::query_with::<Postgres, _>(AssertSqlSafe(statement.text(Dialect::Postgres)), arguments(statement)?);
        query.execute(&mut self.inner).await.map(|done| done.rows_affected()).map_err(|error| failure(&error))
    }

    /// Runs text that has no values, several statements if need be.
    pub(in super::super) async fn run(&mut self, text: &'static str) -> Outcome<()> {
        self.inner.execute(sqlx::raw_sql(text)).await.map(|_| ()).map_err(|error| failure(&error))
    }

    pub(in super::super) async fn close(self) {
        // Nothing hangs on the close: whatever had to be durable was committed before.
        let _ = self.inner.close().await;
    }
}

fn arguments(statement: &Statement) -> Outcome<PgArguments> {
    let text = |cell: &Cell| cell.text().map(std::borrow::Cow::into_owned);
    let mut arguments = PgArguments::default();
    for value in statement.values() {
        let added = match value {
            Value::One(cell) => arguments.add(text(cell)),
            Value::Many(cells) => match value.integers() {
                Some(numbers) => arguments.add(numbers),
                None => arguments.add(cells.iter().map(text).collect::<Vec<_>>()),
            },
            Value::Versions(numbers) => arguments.add(Unknown::versions(numbers)),
            Value::Places(places) => arguments.add(Unknown::places(places)),
        };
        added.map_err(|_| Failure::other("a value could not be bound"))?;
    }
    Ok(arguments)
}

/// An array of a type that the driver does not know, in the server's binary form.
struct Unknown {
    array: Oid,
    element: u32,
    count: usize,
    width: usize,
    bytes: Vec<u8>,
}

impl Unknown {
    /// Numbers of transactions.
    fn versions(numbers: &[u32]) -> Self {
        Self::of((1011, 28), 4, numbers, |bytes, number| bytes.extend_from_slice(&number.to_be_bytes()))
    }

    /// Places of rows.
    fn places(places: &[u64]) -> Self {
        Self::of((1010, 27), 6, places, |bytes, place| {
            let (block, within) = block_of(*place);
            bytes.extend_from_slice(&block.to_be_bytes());
            bytes.extend_from_slice(&within.to_be_bytes());
        })
    }

    /// The numbers that PostgreSQL itself gives the types, and the width of an element in bytes.
    fn of<T>((array, element): (u32, u32), width: usize, all: &[T], put: impl Fn(&mut Vec<u8>, &T)) -> Self {
        let mut bytes = Vec::with_capacity(all.len() * width);
        all.iter().for_each(|one| put(&mut bytes, one));
        Self { array: Oid(array), element, count: all.len(), width, bytes }
    }
}

impl Type<Postgres> for Unknown {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1010))
    }
}

impl Encode<'_, Postgres> for Unknown {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, sqlx::error::BoxDynError> {
        let number = |number: usize| i32::try_from(number).map(i32::to_be_bytes);
        // One dimension, no nulls, counted from one.
        buffer.extend_from_slice(&1_i32.to_be_bytes());
        buffer.extend_from_slice(&0_i32.to_be_bytes());
        buffer.extend_from_slice(&self.element.to_be_bytes());
        buffer.extend_from_slice(&number(self.count)?);
        buffer.extend_from_slice(&1_i32.to_be_bytes());
        for element in self.bytes.chunks(self.width) {
            buffer.extend_from_slice(&number(element.len())?);
            buffer.extend_from_slice(element);
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(self.array))
    }
}

fn seen(row: &PgRow) -> sqlx::Result<SeenRow<'_>> {
    let mut seen = SeenRow::new();
    for at in 0..row.len() {
        seen.push(value(row.try_get_raw(at)?).map_err(sqlx::Error::Decode)?);
    }
    Ok(seen)
}

fn value(value: PgValueRef<'_>) -> Result<Seen<'_>, sqlx::error::BoxDynError> {
    if value.is_null() {
        return Ok(Seen::Null);
    }
    // The numbers that PostgreSQL itself gives these types.
    Ok(match value.type_info().oid().map_or(0, |oid| oid.0) {
        20 => Seen::Int(<i64 as Decode<'_, Postgres>>::decode(value)?),
        23 => Seen::Int(<i32 as Decode<'_, Postgres>>::decode(value)?.into()),
        701 => Seen::Real(<f64 as Decode<'_, Postgres>>::decode(value)?),
        16 => Seen::Int(<bool as Decode<'_, Postgres>>::decode(value)?.into()),
        1082 if value.format() == PgValueFormat::Binary => Seen::Day(Day(i32::from_be_bytes(value.as_bytes()?.try_into()?))),
        // The number of a transaction, which the driver knows nothing of.
        28 if value.format() == PgValueFormat::Binary => Seen::Int(u32::from_be_bytes(value.as_bytes()?.try_into()?).into()),
        // Where a row lies.
        27 if value.format() == PgValueFormat::Binary => {
            let ([a, b, c, d], within): ([u8; 4], [u8; 2]) = match value.as_bytes()?.split_first_chunk() {
                Some((block, within)) => (*block, within.try_into()?),
                None => return Err("a place of six bytes was expected".into()),
            };
            Seen::Int(place(u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes(within)).cast_signed())
        }
        _ => Seen::Text(<&str as Decode<'_, Postgres>>::decode(value)?),
    })
}

/// Routines of the server whose messages hold names and nothing else.
const NAMES_ONLY: [&str; 9] = [
    "aclcheck_error",
    "errorMissingColumn",
    "errorMissingRTE",
    "op_error",
    "ParseFuncOrColumn",
    "parserOpenTable",
    "RangeVarGetRelidExtended",
    "scanner_yyerror",
    "transformColumnRef",
];

/// Words for an error. What the server says of a statement that it did not understand names tables and columns and is quoted; anything that
/// comes of running one might carry a value of a record and is described by its code alone.
fn failure(error: &sqlx::Error) -> Failure {
    let Some(error) = error.as_database_error() else {
        return unanswered(error);
    };
    let code = error.code().unwrap_or_default().into_owned();
    // What a trigger or a cast says may hold a value; what these routines of the server say names tables, columns, roles and databases only.
    let own = error.try_downcast_ref::<PgDatabaseError>();
    let names_only = own.is_some_and(|own| {
        own.severity().is_error() && own.routine().is_some_and(|routine| NAMES_ONLY.contains(&routine)) && own.r#where().is_none()
    });
    let connecting = own.is_some_and(|own| matches!(own.severity(), PgSeverity::Fatal | PgSeverity::Panic));
    let said = || if names_only || connecting { escape(error.message().as_bytes()) } else { format!("error {}", escape(code.as_bytes())) };
    let (trouble, text) = match code.as_str() {
        "40001" | "40P01" => (Trouble::Busy, "another transaction got in the way (deadlock or serialization)".to_owned()),
        "55P03" => (Trouble::Busy, "another session holds a lock".into()),
        "57014" => (Trouble::Busy, "the statement took longer than the server allows".into()),
        "23503" => (Trouble::Refused, "a foreign key of another table refers to the record; name that table under `children:`".into()),
        code if code.starts_with("23") => (Trouble::Refused, "a constraint of the database refused".into()),
        "P0001" => (Trouble::Refused, "a trigger or function of the database refused".into()),
        "25006" => (Trouble::Other, "the server is read-only (a replica, or set so)".into()),
        "42501" => (Trouble::Other, format!("the role lacks a privilege: {}", said())),
        "53100" => (Trouble::Other, "the server's disk is full".into()),
        "53300" => (Trouble::Gone, "the server takes no more connections".into()),
        "28000" | "28P01" => (Trouble::Other, format!("the server did not let us in: {}", said())),
        "3D000" => (Trouble::Other, said()),
        code if code.starts_with("57P") || code.starts_with("08") => (Trouble::Gone, "the server ended the connection".into()),
        // Syntax errors and undefined names.
        code if code.starts_with("42") => (Trouble::Other, format!("PostgreSQL does not accept the statement: {}", said())),
        code => (Trouble::Other, format!("PostgreSQL error {}", escape(code.as_bytes()))),
    };
    Failure { trouble, text }
}
