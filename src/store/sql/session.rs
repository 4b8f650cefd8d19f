//! A connection to a database, whichever engine it is, and what can go wrong with one.
//!
//! Everything above speaks to a [`Session`] in [`Statement`]s and [`Cell`]s; an engine joins as one more variant here.

use std::fmt;
use std::path::PathBuf;

use super::sqlite::{self, Connection};
use super::statement::Statement;
use super::value::Cell;
use crate::error::{Error, Kind, escape};

/// Where a database is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// An SQLite file.
    Sqlite(PathBuf),
}

impl Place {
    /// The place as a person would name it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => escape(path.as_os_str().as_encoded_bytes()),
        }
    }

    /// What makes it unique.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Sqlite(path) => {
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                format!("sqlite:{}", escape(path.as_os_str().as_encoded_bytes()))
            }
        }
    }

    /// The grades of destruction that the engine knows.
    pub(super) fn grades(&self) -> &'static [&'static str] {
        match self {
            Self::Sqlite(_) => sqlite::clean::GRADES,
        }
    }

    /// Connects for reading.
    pub(super) async fn open_read(&self) -> Outcome<Session> {
        match self {
            Self::Sqlite(path) => sqlite::open_read(path).await,
        }
    }
}

/// A connection.
pub(super) enum Session {
    /// SQLite.
    Sqlite(Connection),
}

/// What kind of failure, as far as it decides what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Somebody else holds the lock.
    Busy,
    /// A constraint or a trigger of the database refused.
    Refused,
    /// Anything else.
    Other,
}

/// Why a statement failed, without any value of a record.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) trouble: Trouble,
    pub(super) text: String,
}

pub(super) type Outcome<T> = Result<T, Failure>;

impl Session {
    /// Runs a query and maps each row as it arrives, so that only what the mapping keeps is held in memory.
    pub(super) async fn map<T: Send + Unpin>(&mut self, statement: &Statement, each: impl FnMut(Vec<Cell>) -> T + Send) -> Outcome<Vec<T>> {
        match self {
            Self::Sqlite(connection) => connection.map(statement, each).await,
        }
    }

    /// All rows of a query whose result is known to be small.
    pub(super) async fn rows(&mut self, statement: &Statement) -> Outcome<Vec<Vec<Cell>>> {
        self.map(statement, |row| row).await
    }

    /// The first value of the first row as a number, 0 when there is none.
    pub(super) async fn number(&mut self, statement: &Statement) -> Outcome<u64> {
        let first = self.rows(statement).await?.into_iter().next().and_then(|row| row.into_iter().next());
        Ok(match first {
            Some(Cell::Int(number)) => u64::try_from(number).unwrap_or(0),
            _ => 0,
        })
    }

    /// Runs a statement and says how many rows it changed.
    pub(super) async fn execute(&mut self, statement: &Statement) -> Outcome<u64> {
        match self {
            Self::Sqlite(connection) => connection.execute(statement).await,
        }
    }

    /// Runs a statement that has no values.
    pub(super) async fn run(&mut self, text: &'static str) -> Outcome<()> {
        self.execute(&Statement::new(text)).await.map(|_| ())
    }

    /// Closes the connection in order.
    pub(super) async fn close(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await,
        }
    }
}

impl Failure {
    /// A failure that is not the engine's.
    pub(super) fn other(text: impl Into<String>) -> Self {
        Self { trouble: Trouble::Other, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(Kind::Store, failure.text)
    }
}
