//! MySQL and MariaDB: connecting, and what their errors mean.
//!
//! Text, integers and floating-point numbers are read as they are, everything else as text in a form that does not depend on the server's
//! settings ([`catalog`]). The driver takes zero dates for null, so no column of a date or time is ever read as such. Long contents stand
//! in the fingerprint by their SHA-256, computed by the server, so that documents are not carried over for every look.
//!
//! **Quotes.** A word in double quotes is a name, as in standard SQL, and not a string as the server would take it by default: `"open" = 0`
//! would hold for every row otherwise, since a string that is no number is equal to 0.
//!
//! **Grades**: `row-deleted` and `anonymised`. The row is gone for every reader; its bytes stay in the pages of the table until purge and
//! later writes have gone over them, and in the redo log and, by its settings, the binary log until those are recycled. How soon a commit
//! is on the server's disk is the server's setting (`innodb_flush_log_at_trx_commit`): a record that comes back after a crash is found by
//! the next scan.

pub(super) mod catalog;
pub(super) mod check;
mod failure;
mod identity;
mod privilege;
pub(super) mod replica;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode, MySqlValueRef};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Decode, Executor as _, MySql, Row, TypeInfo, ValueRef};

use self::failure::failure;
use self::identity::Identity;
use super::config::Dataset;
use super::server::Server;
use super::session::{Connection as AnyConnection, Failure, Outcome, Session, Trouble, connected, each_row};
use super::shape::table;
use super::statement::{Dialect, Statement, Value};
use super::throttle::Load;
use super::value::{Cell, Seen, SeenRow};
use crate::error::escape;
use crate::store::BATCH;

/// Every grade, from the lowest up.
pub(super) const GRADES: &[&str] = &["anonymised", "row-deleted", "rewritten"];

/// What `row-deleted` does not reach.
pub(super) const CAVEATS: &[&str] = &["pages-until-overwritten", "redo-and-binary-logs", "replicas-follow", "backups-not-reached"];

/// Begins a transaction that deletes.
pub(super) const BEGIN: &str = "SET SESSION innodb_lock_wait_timeout = 2; START TRANSACTION READ WRITE; \
     SELECT CAST(CONNECTION_ID() AS SIGNED), CAST(@@server_id AS SIGNED)";

/// Begins one that deletes before it looks; MariaDB. It waits for nobody: a deadlock might cost an application its transaction.
pub(super) const BEGIN_AT_ONCE: &str = "SET SESSION innodb_lock_wait_timeout = 0; START TRANSACTION READ WRITE; \
     SELECT CAST(CONNECTION_ID() AS SIGNED), CAST(@@server_id AS SIGNED)";

/// Asks for the numbers of session and server, in a way that leaves nothing behind there.
const NUMBERS: &str = "SELECT CAST(CONNECTION_ID() AS SIGNED), CAST(@@server_id AS SIGNED)";

/// Statements with more values than this are not kept prepared. A batch stays below it, and mostly has as many as the last one.
const KEPT_PREPARED: usize = 2 * BATCH;

/// What every session begins with: nothing depends on the settings of the server. Dates that no calendar has, and zero dates, may stand in
/// tables and must be comparable, or a walk along them would end at the first.
const SETTINGS: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_bin; \
     SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,\
     ALLOW_INVALID_DATES', time_zone = '+00:00', autocommit = 1, completion_type = 0, foreign_key_checks = 1, unique_checks = 1, \
     sql_auto_is_null = 0, sql_safe_updates = 0, sql_select_limit = 18446744073709551615, sql_big_selects = 1, \
     innodb_lock_wait_timeout = 2, lock_wait_timeout = 5, wait_timeout = 300, lc_time_names = 'en_US', default_week_format = 0, \
     div_precision_increment = 4; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
const SETTINGS_OF_MARIADB: &str = "SET SESSION max_statement_time = 300, idle_transaction_timeout = 60, check_constraint_checks = 1";
const SETTINGS_OF_MYSQL: &str = "SET SESSION max_execution_time = 300000";

/// A connection to one database of a server.
pub(in super::super) struct Connection {
    inner: MySqlConnection,
    /// Whether it says of deleted rows what they were.
    returns_deleted: bool,
    identity: Identity,
    /// The number that the server gave the session, and the server's own.
    numbers: (i64, i64),
}

/// Connects.
pub(super) async fn open(server: &Server, read_only: bool) -> Outcome<Session> {
    let shown = server.shown();
    let options = server.mysql_options().map_err(|why| Failure::other(why).at(&shown))?;
    let inner = connected(server, connect(options), failure).await.map_err(|failure| failure.at(&shown))?;
    let mut connection = Connection { inner, returns_deleted: false, identity: Identity::default(), numbers: (0, 0) };
    connection.prepare(read_only).await.map_err(|failure| failure.at(&shown))?;
    connection.identity.meet(server).map_err(|failure| failure.at(&shown))?;
    let (whole, number) = (connection.identity.whole(), connection.numbers.0);
    Ok(Session::new(AnyConnection::MySql(connection)).numbered(whole, number))
}

/// Connects. An account of MySQL's (`caching_sha2_password`) proves that it knows its password by telling it, and only once the server has it in mind
/// by what can be computed from it. The driver tells it under TLS alone; over a socket, where the server waits for it too, it says something else and
/// is not let in. So a socket that lets nobody in is asked once more, under TLS, where the server has that.
async fn connect(options: MySqlConnectOptions) -> sqlx::Result<MySqlConnection> {
    match options.connect().await {
        Err(refused) if options.get_socket().is_some() && failure::is_stranger(&refused) => {
            let again = options.ssl_mode(MySqlSslMode::Required).connect().await;
            again.map_err(|error| if matches!(error, sqlx::Error::Tls(_)) { refused } else { error })
        }
        connected => connected,
    }
}

/// How far replicas are behind and how many other sessions are at work. Which replicas there are only an account with PROCESS sees, and how
/// far they are behind only they themselves know: where there is one, that cannot be told.
pub(super) async fn load(session: &mut Session) -> Outcome<Load> {
    let status = session.rows(&Statement::new("SHOW GLOBAL STATUS LIKE 'Threads_running'")).await?;
    let running = status.iter().flatten().nth(1).and_then(Cell::text).and_then(|text| text.parse::<u64>().ok());
    let Some(running) = running else { return Err(Failure::other("the server's answer about its load could not be read")) };
    let replicas = Statement::new("SELECT count(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'");
    let alone = privilege::everywhere(session, "PROCESS").await? && session.number(&replicas).await? == 0;
    let lag = if alone { Duration::ZERO } else { Duration::MAX };
    // This session is at work, too.
    Ok(Load { lag, running: running.saturating_sub(1) })
}

/// Sessions of this account in this database that are none of this process: what a process left behind that is no more. Until they end, a row may
/// still go.
pub(super) async fn under_way(session: &mut Session) -> Outcome<bool> {
    let statement = Statement::new(
        "SELECT CAST(ID AS SIGNED), ID = CONNECTION_ID() FROM information_schema.PROCESSLIST \
         WHERE USER = LEFT(USER(), CHAR_LENGTH(USER()) - LOCATE('@', REVERSE(USER()))) AND DB = DATABASE()",
    );
    let (own, others): (Vec<_>, Vec<_>) =
        session.rows(&statement).await?.into_iter().partition(|row| row.get(1).is_some_and(Cell::is_true));
    if own.is_empty() {
        return Err(Failure::other("the account cannot see its own sessions, so nobody can tell whether something is still under way"));
    }
    Ok(others.iter().any(|row| !matches!(row.first(), Some(Cell::Int(number)) if session.is_ours(*number))))
}

/// Rebuilds the tables of a dataset.
pub(super) async fn optimize(session: &mut Session, dataset: &Dataset) -> Outcome<()> {
    // Only MariaDB limits the time of such statements, and reads what stands in this comment.
    session.run("SET SESSION lock_wait_timeout = 5 /*M!100600 , max_statement_time = 0 */").await?;
    for one in super::check::tables(dataset) {
        let mut statement = Statement::new("OPTIMIZE TABLE ");
        table(&mut statement, one);
        // What goes wrong is an answer like any other, in words that could hold a value.
        let wrong = |row: &Vec<Cell>| row.get(2).and_then(Cell::text).is_none_or(|kind| kind.eq_ignore_ascii_case("error"));
        if session.rows(&statement).await?.iter().any(wrong) {
            let shown = one.shown();
            return Err(Failure::other(format!("`{shown}` could not be rebuilt; try `OPTIMIZE TABLE {shown}` to see why")));
        }
    }
    Ok(())
}

impl Connection {
    /// Looks who is there, and sets everything that a session depends on.
    async fn prepare(&mut self, read_only: bool) -> Outcome<()> {
        let rows = self.rows(&Statement::new("SELECT VERSION(), SHA2('', 256) IS NOT NULL")).await?;
        let Some([version, hashes]) = rows.first().map(Vec::as_slice) else {
            return Err(Failure::other("the server does not say what it is"));
        };
        self.identity = Identity::read(&self.rows(&Statement::new(identity::ASKED)).await?);
        self.numbers = self.ask_numbers().await?;
        let own = settings_for(&version.text().unwrap_or_default()).map_err(Failure::other)?;
        if !hashes.is_true() {
            return Err(Failure::other("the server cannot compute SHA-256, by which contents are compared"));
        }
        self.returns_deleted = own == SETTINGS_OF_MARIADB;
        self.run(SETTINGS).await?;
        self.run(own).await?;
        self.allow(read_only).await
    }

    /// Lets transactions only read, or write too.
    async fn allow(&mut self, read_only: bool) -> Outcome<()> {
        self.run(if read_only { "SET SESSION TRANSACTION READ ONLY" } else { "SET SESSION TRANSACTION READ WRITE" }).await
    }

    /// Forgets what was prepared, and lets transactions only read, or write too.
    pub(in super::super) async fn renew(&mut self, read_only: bool) -> Outcome<()> {
        self.inner.clear_cached_statements().await.map_err(|error| failure(&error))?;
        self.allow(read_only).await
    }

    /// All rows of a query whose result is known to be small.
    async fn rows(&mut self, statement: &Statement) -> Outcome<Vec<Vec<Cell>>> {
        let mut out = Vec::new();
        self.each(statement, |row| out.push(row.iter().map(|cell| cell.kept()).collect())).await?;
        Ok(out)
    }

    async fn ask_numbers(&mut self) -> Outcome<(i64, i64)> {
        let row = self.inner.fetch_one(sqlx::raw_sql(NUMBERS)).await.map_err(|error| failure(&error))?;
        numbers(&row).map_err(|error| failure(&error))
    }

    /// Begins a transaction with text that asks for [`NUMBERS`] in the same breath; whether the session that answers is the one that was prepared, on
    /// the same server.
    pub(in super::super) async fn begin(&mut self, statement: &Statement) -> Outcome<Option<Option<String>>> {
        let text = AssertSqlSafe(statement.text(Dialect::MySql));
        let rows = self.inner.fetch_all(sqlx::raw_sql(text)).await.map_err(|error| failure(&error))?;
        Ok((rows.first().and_then(|row| numbers(row).ok()) == Some(self.numbers)).then_some(None))
    }

    /// What tells the database from any other; empty when the server does not say.
    pub(in super::super) async fn mark(&mut self) -> Outcome<String> {
        let rows = self.rows(&Statement::new("SELECT DATABASE()")).await?;
        Ok(self.identity.mark(&rows.iter().flatten().next().map(catalog::words).unwrap_or_default()))
    }

    /// Whether the server says of deleted rows what they were.
    pub(in super::super) fn returns_deleted(&self) -> bool {
        self.returns_deleted
    }

    pub(in super::super) async fn each(&mut self, statement: &Statement, mut each: impl FnMut(&[Seen<'_>]) + Send) -> Outcome<()> {
        let query = sqlx::query_with::<MySql, _>(AssertSqlSafe(statement.text(Dialect::MySql)), arguments(statement)?);
        let query = query.persistent(statement.values().len() <= KEPT_PREPARED);
        each_row(self.inner.fetch_many(query), |row| seen(row).map(|row| each(&row))).await.map_err(|error| failure(&error))
    }

    /// Counts the rows that were found, not those that an UPDATE found to be different: the driver asks for that.
    pub(in super::super) async fn execute(&mut self, statement: &Statement) -> Outcome<u64> {
        let query = sqlx::query_with::<MySql, _>(AssertSqlSafe(statement.text(Dialect::MySql)), arguments(statement)?);
        let query = query.persistent(statement.values().len() <= KEPT_PREPARED);
        query.execute(&mut self.inner).await.map(|done| done.rows_affected()).map_err(|error| failure(&error))
    }

    /// Runs text that has no values, several statements if need be.
    pub(in super::super) async fn run(&mut self, text: &'static str) -> Outcome<()> {
        self.inner.execute(sqlx::raw_sql(text)).await.map(|_| ()).map_err(|error| {
            let mut failure = failure(&error);
            // Only a lock that was not got proves that a commit did not happen; one that was interrupted may have.
            if text == "COMMIT" && failure::interrupted(&error) {
                failure.trouble = Trouble::Other;
            }
            failure
        })
    }

    pub(in super::super) async fn close(self) {
        // Nothing hangs on the close: whatever had to be durable was committed before.
        let _ = self.inner.close().await;
    }
}

/// The settings that only this kind of server has; why it cannot be used otherwise.
fn settings_for(version: &str) -> Result<&'static str, String> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let maria = version.to_ascii_lowercase().contains("mariadb");
    let (name, least, settings) = if maria { ("MariaDB", (10, 6), SETTINGS_OF_MARIADB) } else { ("MySQL", (8, 0), SETTINGS_OF_MYSQL) };
    if found < least {
        let (major, minor) = least;
        return Err(format!(
            "the server says that it is version {}; {name} {major}.{minor} is the first that can leave out rows which others have locked",
            escape(version.as_bytes())
        ));
    }
    Ok(settings)
}

/// What [`NUMBERS`] answers.
fn numbers(row: &MySqlRow) -> sqlx::Result<(i64, i64)> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

fn arguments(statement: &Statement) -> Outcome<MySqlArguments> {
    let mut arguments = MySqlArguments::default();
    for value in statement.values() {
        let added = match value {
            Value::One(Cell::Int(number)) => arguments.add(*number),
            Value::One(Cell::Real(number)) => arguments.add(*number),
            Value::One(Cell::Mangled(bytes) | Cell::Blob(bytes)) => arguments.add(bytes.to_vec()),
            Value::One(cell) => arguments.add(cell.text().map(Cow::into_owned)),
            Value::Many(_) | Value::Versions(_) | Value::Places(_) => return Err(Failure::other("MySQL has no arrays")),
        };
        added.map_err(|_| Failure::other("a value could not be bound"))?;
    }
    Ok(arguments)
}

fn seen(row: &MySqlRow) -> sqlx::Result<SeenRow<'_>> {
    let mut seen = SeenRow::new();
    for at in 0..row.len() {
        seen.push(value(row.try_get_raw(at)?).map_err(sqlx::Error::Decode)?);
    }
    Ok(seen)
}

fn value(value: MySqlValueRef<'_>) -> Result<Seen<'_>, sqlx::error::BoxDynError> {
    let kind = value.type_info().into_owned();
    // The driver would say that a zero date is null.
    if matches!(kind.name(), "DATE" | "DATETIME" | "TIMESTAMP" | "TIME") {
        return Err("a date or time that was not asked for as text".into());
    }
    if value.is_null() {
        return Ok(Seen::Null);
    }
    Ok(match kind.name() {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Seen::Int(<i64 as Decode<'_, MySql>>::decode(value)?),
        unsigned if unsigned.ends_with("UNSIGNED") || unsigned == "YEAR" => {
            let number = <u64 as Decode<'_, MySql>>::decode(value)?;
            i64::try_from(number).map_or(Seen::Large(number), Seen::Int)
        }
        "FLOAT" | "DOUBLE" => Seen::Real(<f64 as Decode<'_, MySql>>::decode(value)?),
        _ => {
            let bytes = <&[u8] as Decode<'_, MySql>>::decode(value)?;
            std::str::from_utf8(bytes).map_or(Seen::Mangled(bytes), Seen::Text)
        }
    })
}
