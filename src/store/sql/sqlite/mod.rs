//! The SQLite engine: opening the file, running statements, and saying what went wrong without repeating a value.
//!
//! **Two kinds of connection.** Everything but removal opens the file read-only. Removal opens its own connection, with `foreign_keys`,
//! `secure_delete` (zeroes where a row was; the default differs from build to build) and `synchronous=FULL` set *and read back*; if one of
//! them does not hold, nothing is removed. The file is never created.
//!
//! **The file is opened by SQLite alone.** POSIX locks belong to the process: were this program to open and close the database file in any
//! other way while SQLite holds it, every lock on it would be gone. So its path is only ever looked at (`stat`), never opened.

pub(super) mod catalog;
pub(super) mod check;
pub(super) mod clean;
pub(super) mod push;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteValueRef};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Decode, Executor as _, Row, Sqlite, TypeInfo, ValueRef};

use self::clean::Grade;
use super::remove::Removal;
use super::session::{Connection as AnyConnection, Failure, Outcome, Session, Trouble, each_row};
use super::statement::{Dialect, Statement, Value};
use super::value::{Cell, Seen, SeenRow};
use crate::error::escape;
use crate::store::{Fate, Kept, Order};

/// A connection to one SQLite file.
pub(in super::super) struct Connection {
    inner: SqliteConnection,
}

/// Which file a path leads to: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct FileId(u64, u64);

/// How long one statement waits for another connection's lock. An application's write takes milliseconds; longer means something is stuck.
const BUSY: Duration = Duration::from_secs(2);

/// Rows that wait between the connection's thread and us. Rows may hold whole documents, so few.
const ROWS_WAITING: usize = 4;

/// Opens the file for reading.
pub(super) async fn open_read(path: &Path) -> Outcome<Session> {
    open(path, true).await
}

/// Opens the file for removal, and makes sure that the connection is as removal needs it.
pub(super) async fn open_write(path: &Path) -> Outcome<Session> {
    let mut session = open(path, false).await?;
    for (set, ask, wanted, what) in [
        ("PRAGMA foreign_keys = ON", "PRAGMA foreign_keys", 1, "foreign_keys"),
        ("PRAGMA secure_delete = ON", "PRAGMA secure_delete", 1, "secure_delete"),
        ("PRAGMA synchronous = FULL", "PRAGMA synchronous", 2, "synchronous=FULL"),
    ] {
        session.rows(&Statement::new(set)).await?;
        let found = session.rows(&Statement::new(ask)).await?;
        if found != [[Cell::Int(wanted)]] {
            return Err(Failure::other(format!(
                "expected {what} to hold once it is set, found that this SQLite does not; nothing was removed"
            )));
        }
    }
    Ok(session)
}

async fn open(path: &Path, read_only: bool) -> Outcome<Session> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(Failure::other(format!("{shown}: expected a database file, found something else"))),
        Err(error) => return Err(Failure::other(format!("{shown}: expected a database file: {error}"))),
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .read_only(read_only)
        .busy_timeout(BUSY)
        .row_buffer_size(ROWS_WAITING)
        .disable_statement_logging();
    let inner = SqliteConnection::connect_with(&options).await.map_err(|error| failure(&error).at(&shown))?;
    let mut session = Session::new(AnyConnection::Sqlite(Connection { inner }));
    // Opening is lazy: the first read tells whether this is a database and whether it can be read.
    if let Err(failure) = session.rows(&Statement::new("SELECT count(*) FROM sqlite_schema")).await {
        return Err(failure.at(&shown));
    }
    Ok(session)
}

/// Carries out a removal from a file, as thoroughly as it is ordered. One fate for each record, in order.
pub(super) async fn remove<'a>(path: &Path, order: &Order, records: usize, removal: impl FnOnce(&'static str) -> Removal<'a>) -> Vec<Fate> {
    let all = |fate: Fate| vec![fate; records];
    let failed = |error: String, uncertain| Fate::Failed { error, uncertain };
    let before = file_id(path);
    let mut session = match open_write(path).await {
        Ok(session) => session,
        Err(failure) => return all(failed(failure.text, false)),
    };
    let preparation = match clean::prepare(&mut session, path, order.at_least.as_deref()).await {
        Ok(Ok(preparation)) => preparation,
        refused => {
            session.close().await;
            return all(match refused {
                Ok(Err(why)) => Fate::Kept(Kept::CannotMeetGrade(why)),
                Err(failure) => failed(failure.text, false),
                Ok(Ok(_)) => failed("not prepared".into(), false),
            });
        }
    };
    let begin = if preparation.exclusive() { "BEGIN EXCLUSIVE" } else { "BEGIN IMMEDIATE" };
    let mut fates = removal(begin).spend(&mut session).await;
    let mut grade = Grade::of(order.act);
    if fates.iter().any(|fate| matches!(fate, Fate::Done(_))) {
        grade = clean::finish(&mut session, path, &preparation, grade).await;
    } else {
        clean::restore(&mut session, &preparation).await;
    }
    if file_id(path) != before {
        let fate = failed("the database file was replaced while records were being removed from it".into(), true);
        fates.iter_mut().filter(|fate| matches!(fate, Fate::Done(_) | Fate::Absent)).for_each(|one| *one = fate.clone());
    }
    for fate in &mut fates {
        if let Fate::Done(evidence) = fate {
            evidence.grade = grade.name;
            evidence.caveats = grade.caveats.clone().into();
        }
    }
    session.close().await;
    fates
}

/// Which file the path leads to now.
pub(super) fn file_id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|found| FileId(found.dev(), found.ino()))
}

/// The path of a file that SQLite keeps beside the database, such as `-journal`. SQLite resolves links first, and so do we.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(suffix);
    name.into()
}

impl Connection {
    pub(in super::super) async fn each(&mut self, statement: &Statement, mut each: impl FnMut(&[Seen<'_>]) + Send) -> Outcome<()> {
        let query = sqlx::query_with::<Sqlite, _>(AssertSqlSafe(statement.text(Dialect::Sqlite)), arguments(statement)?);
        each_row(self.inner.fetch_many(query), |row| seen(row).map(|row| each(&row))).await.map_err(|error| failure(&error))
    }

    pub(in super::super) async fn execute(&mut self, statement: &Statement) -> Outcome<u64> {
        let query = sqlx::query_with::<Sqlite, _>(AssertSqlSafe(statement.text(Dialect::Sqlite)), arguments(statement)?);
        query.execute(&mut self.inner).await.map(|done| done.rows_affected()).map_err(|error| failure(&error))
    }

    pub(in super::super) async fn close(self) {
        // Nothing hangs on the close: whatever had to be durable was committed before.
        let _ = self.inner.close().await;
    }
}

fn arguments(statement: &Statement) -> Outcome<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in statement.values() {
        let Value::One(value) = value else {
            return Err(Failure::other("SQLite takes no lists of values"));
        };
        let added = match value {
            Cell::Null => arguments.add(None::<i64>),
            Cell::Int(value) => arguments.add(*value),
            Cell::Real(value) => arguments.add(*value),
            Cell::Text(text) => arguments.add(text.to_string()),
            Cell::Mangled(bytes) | Cell::Blob(bytes) => arguments.add(bytes.to_vec()),
        };
        added.map_err(|_| Failure::other("a value could not be bound"))?;
    }
    Ok(arguments)
}

fn seen(row: &SqliteRow) -> sqlx::Result<SeenRow<'_>> {
    (0..row.len()).map(|at| value(row.try_get_raw(at)?).map_err(sqlx::Error::Decode)).collect()
}

fn value(value: SqliteValueRef<'_>) -> Result<Seen<'_>, sqlx::error::BoxDynError> {
    if value.is_null() {
        return Ok(Seen::Null);
    }
    let kind = value.type_info().into_owned();
    Ok(match kind.name() {
        "INTEGER" => Seen::Int(<i64 as Decode<'_, Sqlite>>::decode(value)?),
        "REAL" => Seen::Real(<f64 as Decode<'_, Sqlite>>::decode(value)?),
        "TEXT" => {
            let bytes = <&[u8] as Decode<'_, Sqlite>>::decode(value)?;
            std::str::from_utf8(bytes).map_or(Seen::Mangled(bytes), Seen::Text)
        }
        _ => Seen::Blob(<&[u8] as Decode<'_, Sqlite>>::decode(value)?),
    })
}

/// Words for an error. Only a failure to understand a statement is quoted from SQLite: it names tables and columns. Anything that comes of
/// running one might carry a value (a trigger writes its own messages), so it is described by its code alone.
fn failure(error: &sqlx::Error) -> Failure {
    let Some(error) = error.as_database_error() else {
        return match error {
            sqlx::Error::Io(error) => Failure::other(format!("the connection failed: {error}")),
            sqlx::Error::WorkerCrashed => Failure::other("the connection's thread ended"),
            _ => Failure::other("the database gave an answer that could not be read"),
        };
    };
    let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
    let (trouble, text) = match (code & 0xff, code) {
        (5 | 6, _) => (Trouble::Busy, "the database is locked by another connection".to_owned()),
        (19, 787) => (Trouble::Refused, "a foreign key of another table refers to the record; name that table under `children:`".into()),
        (19, 1811) => (Trouble::Refused, "a trigger or a foreign key of the database refused".into()),
        (19, _) => (Trouble::Refused, "a constraint of the database refused".into()),
        (8, 1032) => (Trouble::Other, "the database file was moved or replaced while it was open".into()),
        (8, _) => (Trouble::Other, "the database, or the folder it lies in, cannot be written".into()),
        (10, _) => (Trouble::Other, format!("reading or writing the file failed (SQLite error {code})")),
        (11, _) => (Trouble::Other, "the database file is damaged; run `PRAGMA integrity_check` and restore it".into()),
        (13, _) => (Trouble::Other, "the disk or the database is full".into()),
        (14, _) => {
            let remedy = "a database in WAL mode needs write permission on its folder, for its -shm file";
            (Trouble::Other, format!("the file, its journal or its -wal file cannot be opened ({remedy})"))
        }
        (26, _) => (Trouble::Other, "expected an SQLite database, found a file of another kind (or an encrypted one)".into()),
        (1, 1) => (Trouble::Other, format!("SQLite does not accept the statement: {}", escape(error.message().as_bytes()))),
        _ => (Trouble::Other, format!("SQLite error {code}")),
    };
    Failure { trouble, text }
}
