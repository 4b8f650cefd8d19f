//! A connection to a database, whichever engine it is, and what can go wrong with one.
//!
//! Everything above speaks to a [`Session`] in [`Statement`]s and [`Cell`]s; an engine joins as one more variant here and in [`Place`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_core::Stream;
use sqlx::Either;

use super::config::Dataset;
use super::hanging::Hanging;
use super::layout::Layout;
use super::server::Server;
use super::shape::Shape;
use super::statement::{Dialect, Statement};
use super::value::{Cell, Seen, encoded};
use super::{mysql, postgres, sqlite};
use crate::error::{Error, Kind, escape};

/// What a database says of its tables is asked again after this time at the latest.
pub(super) const KNOWN: Duration = Duration::from_secs(5);

/// Where a database is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A database of a PostgreSQL server.
    Postgres(Server),
    /// A database of a MySQL or MariaDB server.
    MySql(Server),
}

/// A statement that has no answer after this time has lost its server: servers end them sooner.
const PATIENCE: Duration = Duration::from_mins(6);

/// Sessions of this process by what their server says of itself and the number that it gave them, so that they are known under whatever name the
/// server was reached. What they have begun is theirs to end.
static LIVE: Mutex<BTreeSet<(String, i64)>> = Mutex::new(BTreeSet::new());

/// One of [`LIVE`], for as long as it is held.
struct Live(String, i64);

/// How a transaction begins.
#[derive(Clone, Copy)]
pub(super) struct Begin {
    pub(super) text: &'static str,
    /// How rows are found in it. Whatever else is asked in the transaction comes before, and is not found so.
    pub(super) then: Option<&'static str>,
}

impl Begin {
    /// In which nothing is set.
    pub(super) fn plain(text: &'static str) -> Self {
        Self { text, then: None }
    }
}

/// A connection.
pub(super) struct Session {
    connection: Connection,
    opened: Instant,
    /// Whether its transactions may change something.
    writes: bool,
    patience: Duration,
    /// Nobody knows in what state it is: it answers nothing more, and is not used again.
    lost: bool,
    /// Whether something that it was asked for ended in a failure.
    failed: bool,
    /// Known as ours for as long as it is held.
    live: Option<Live>,
    layouts: HashMap<String, (Instant, Arc<Layout>)>,
    hanging: HashMap<String, Hanging>,
    /// How many names it was asked for.
    numbers: u32,
}

/// The engine's own connection.
pub(super) enum Connection {
    Sqlite(sqlite::Connection),
    Postgres(postgres::Connection),
    MySql(mysql::Connection),
}

/// What kind of failure, as far as it decides what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Somebody else holds a lock, or two transactions got in each other's way: the transaction did not happen and may be tried again.
    Busy,
    /// A constraint or a trigger of the database refused.
    Refused,
    /// Something would go along that nobody counted: no record of the dataset may go.
    Danger,
    /// The connection is lost.
    Gone,
    /// Anything else.
    Other,
}

/// How a transaction finds the rows that it deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Each by its key.
    Keys,
    /// By walking along the stretch in which they lie.
    Stretch,
    /// Where the scan saw them.
    Places,
}

/// Why a statement failed, without any value of a record.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) trouble: Trouble,
    pub(super) text: String,
}

pub(super) type Outcome<T> = Result<T, Failure>;

impl Place {
    /// The place as a person would name it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => escape(path.as_os_str().as_encoded_bytes()),
            Self::Postgres(server) | Self::MySql(server) => server.shown(),
        }
    }

    /// What makes it unique.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Sqlite(path) => {
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                format!("sqlite:{}", escape(path.as_os_str().as_encoded_bytes()))
            }
            Self::Postgres(server) | Self::MySql(server) => server.identity(),
        }
    }

    /// Which SQL is spoken there.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
        }
    }

    /// How long connecting may take; a file is there or is not.
    pub(super) fn connect_timeout(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::ZERO,
            Self::Postgres(server) | Self::MySql(server) => server.connect_timeout(),
        }
    }

    /// The grades of destruction that the engine knows.
    pub(super) fn grades(&self) -> &'static [&'static str] {
        match self {
            Self::Sqlite(_) => sqlite::clean::GRADES,
            Self::Postgres(_) => postgres::GRADES,
            Self::MySql(_) => mysql::GRADES,
        }
    }

    /// Connects for reading.
    pub(super) async fn open_read(&self) -> Outcome<Session> {
        match self {
            Self::Sqlite(path) => sqlite::open_read(path).await,
            Self::Postgres(server) => postgres::open(server, true).await,
            Self::MySql(server) => mysql::open(server, true).await,
        }
    }

    /// Connects for what changes the database.
    pub(super) async fn open_write(&self) -> Outcome<Session> {
        let opened = match self {
            Self::Sqlite(path) => sqlite::open_write(path).await,
            Self::Postgres(server) => postgres::open(server, false).await,
            Self::MySql(server) => mysql::open(server, false).await,
        };
        opened.map(|session| Session { writes: true, ..session })
    }
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            opened: Instant::now(),
            writes: false,
            patience: PATIENCE,
            lost: false,
            failed: false,
            live: None,
            layouts: HashMap::new(),
            hanging: HashMap::new(),
            numbers: 0,
        }
    }

    /// For how long it has been open.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whether its transactions may change something.
    pub(super) fn writes(&self) -> bool {
        self.writes
    }

    /// Makes a server's session that was kept ready to be used again, to read or to write: an answer in time shows that it is there, and it forgets what
    /// it prepared for tables as they were.
    pub(super) async fn renew(&mut self, writes: bool, patience: Duration) -> Outcome<()> {
        self.usable()?;
        let renewed = match &mut self.connection {
            Connection::Sqlite(_) => Err(Failure::other("it is opened for one of both")),
            Connection::Postgres(connection) => soon(patience, connection.renew(!writes)).await,
            Connection::MySql(connection) => soon(patience, connection.renew(!writes)).await,
        };
        self.noted(renewed)?;
        self.layouts.clear();
        self.writes = writes;
        Ok(())
    }

    /// Takes a session of a server, which gave it this number, for one of this process.
    pub(super) fn numbered(mut self, server: String, number: i64) -> Self {
        self.live = Some(Live::new(server, number));
        self
    }

    /// Whether the session of this number on the same server is one of this process.
    pub(super) fn is_ours(&self, number: i64) -> bool {
        let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        self.live.as_ref().is_some_and(|own| live.contains(&(own.0.clone(), number)))
    }

    /// Lets statements take as long as they need.
    pub(super) fn without_haste(&mut self) {
        self.patience = Duration::from_hours(24);
    }

    /// Begins a transaction in the session that was prepared for it, and in no other: a go-between may hand each transaction to another one, with
    /// other settings. The statement has no values, and answers what the session was prepared by; what it answers beside that comes back.
    pub(super) async fn begin(&mut self, statement: &Statement) -> Outcome<Option<String>> {
        self.usable()?;
        let answer = match &mut self.connection {
            Connection::Sqlite(connection) => connection.execute(statement).await.map(|_| Some(None)),
            Connection::Postgres(connection) => soon(self.patience, connection.begin(statement)).await,
            Connection::MySql(connection) => soon(self.patience, connection.begin(statement)).await,
        };
        let answer = self.noted(answer);
        if !matches!(answer, Ok(Some(_))) && !self.lost && self.dialect() != Dialect::Sqlite {
            // It may have begun before it failed.
            self.run("ROLLBACK").await?;
        }
        if let Some(rest) = answer? {
            return Ok(rest);
        }
        let text = "transactions reach the server through a pool that mixes sessions; connect to the server itself, or pool by session";
        self.noted(Err(Failure::gone(text)))
    }

    /// What tells the database from any other; empty when nothing does.
    pub(super) async fn mark(&mut self) -> Outcome<String> {
        match &mut self.connection {
            Connection::Sqlite(_) => Ok(String::new()),
            Connection::Postgres(_) => postgres::mark(self).await,
            Connection::MySql(connection) => connection.mark().await,
        }
    }

    /// Which SQL is spoken.
    pub(super) fn dialect(&self) -> Dialect {
        match &self.connection {
            Connection::Sqlite(_) => Dialect::Sqlite,
            Connection::Postgres(_) => Dialect::Postgres,
            Connection::MySql(_) => Dialect::MySql,
        }
    }

    /// What stands behind a `SELECT` that locks its rows.
    pub(super) fn locking(&self) -> &'static str {
        match &self.connection {
            // The whole file is locked.
            Connection::Sqlite(_) => "",
            Connection::Postgres(_) | Connection::MySql(_) => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// Whether the engine says of deleted rows what they were, so that a transaction can delete before it looks.
    pub(super) fn deletes_at_once(&self) -> bool {
        match &self.connection {
            Connection::Sqlite(_) => false,
            Connection::Postgres(_) => true,
            Connection::MySql(connection) => connection.returns_deleted(),
        }
    }

    /// Begins a transaction that deletes before it looks, and finds its rows so.
    pub(super) fn begin_at_once(&self, way: Way) -> Begin {
        match (&self.connection, way) {
            (Connection::Sqlite(_), _) => Begin::plain("BEGIN"),
            (Connection::Postgres(_), Way::Keys) => Begin { text: postgres::BEGIN_AT_ONCE, then: Some(postgres::BY_KEYS) },
            (Connection::Postgres(_), Way::Stretch) => Begin { text: postgres::BEGIN_AT_ONCE, then: Some(postgres::ALONG) },
            (Connection::Postgres(_), Way::Places) => Begin { text: postgres::BEGIN_AT_ONCE, then: Some(postgres::AT_PLACES) },
            (Connection::MySql(_), _) => Begin::plain(mysql::BEGIN_AT_ONCE),
        }
    }

    /// What hung on the tables of a dataset when they were last looked at.
    pub(super) fn hanging(&self, dataset: &str) -> Option<&Hanging> {
        self.hanging.get(dataset)
    }

    /// Keeps what hangs on the tables of a dataset.
    pub(super) fn remember_hanging(&mut self, dataset: &str, hanging: Hanging) {
        self.hanging.insert(dataset.to_owned(), hanging);
    }

    /// Lets the tables of a dataset be looked at before the next transaction, and be described anew. What was known comes back.
    pub(super) fn forget_hanging(&mut self, dataset: &str) -> Option<Hanging> {
        self.layouts.remove(dataset);
        self.hanging.remove(dataset)
    }

    /// A number that this session has not given out yet.
    pub(super) fn next_number(&mut self) -> u32 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }

    /// The dataset joined with its table; everything that does not fit otherwise. A server is asked for the table's description only now and
    /// then: what was dropped since is an error of the statement that names it.
    pub(super) async fn shape<'a>(&mut self, dataset: &'a Dataset) -> Outcome<Result<Shape<'a>, Vec<String>>> {
        if self.dialect() == Dialect::Sqlite {
            return Shape::find(self, dataset).await;
        }
        if let Some((read, layout)) = self.layouts.get(&dataset.name)
            && read.elapsed() < KNOWN
        {
            return Ok(Shape::join(dataset, Arc::clone(layout)));
        }
        let found = Shape::find(self, dataset).await?;
        if let Ok(shape) = &found {
            self.layouts.insert(dataset.name.clone(), (Instant::now(), Arc::clone(&shape.layout)));
        }
        Ok(found)
    }

    /// Hands over every row that a query brings as it arrives. After a failure some may have been handed over.
    pub(super) async fn each(&mut self, statement: &Statement, each: impl FnMut(&[Seen<'_>]) + Send) -> Outcome<()> {
        self.usable()?;
        let patience = self.patience;
        let answer = match &mut self.connection {
            Connection::Sqlite(connection) => connection.each(statement, each).await,
            Connection::Postgres(connection) => soon(patience, connection.each(statement, each)).await,
            Connection::MySql(connection) => soon(patience, connection.each(statement, each)).await,
        };
        self.noted(answer)
    }

    /// What `each` makes of every row that a query brings.
    pub(super) async fn map<T: Send>(&mut self, statement: &Statement, mut each: impl FnMut(&[Seen<'_>]) -> T + Send) -> Outcome<Vec<T>> {
        let mut out = Vec::new();
        self.each(statement, |row| out.push(each(row))).await?;
        Ok(out)
    }

    /// Whether something that it was asked for ended in a failure.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether nobody knows any more what state it is in.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    fn usable(&self) -> Outcome<()> {
        if self.lost { Err(Failure::gone("the connection was lost")) } else { Ok(()) }
    }

    fn noted<T>(&mut self, answer: Outcome<T>) -> Outcome<T> {
        self.failed |= answer.is_err();
        self.lost |= answer.as_ref().is_err_and(|failure| failure.trouble == Trouble::Gone);
        answer
    }

    /// All rows of a query whose result is known to be small.
    pub(super) async fn rows(&mut self, statement: &Statement) -> Outcome<Vec<Vec<Cell>>> {
        self.map(statement, |row| row.iter().map(|cell| cell.kept()).collect()).await
    }

    /// The keys that a query brings, as the bytes by which rows are told apart.
    pub(super) async fn keys(&mut self, statement: &Statement) -> Outcome<HashSet<Vec<u8>>> {
        Ok(self.map(statement, |row| encoded(row.iter().copied())).await?.into_iter().collect())
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
        self.usable()?;
        let answer = match &mut self.connection {
            Connection::Sqlite(connection) => connection.execute(statement).await,
            Connection::Postgres(connection) => soon(self.patience, connection.execute(statement)).await,
            Connection::MySql(connection) => soon(self.patience, connection.execute(statement)).await,
        };
        self.noted(answer)
    }

    /// Runs a statement that has no values. A server's session in which not even a rollback succeeds is lost: to begin the next transaction there
    /// could commit what was to be undone.
    pub(super) async fn run(&mut self, text: &'static str) -> Outcome<()> {
        self.usable()?;
        let answer = match &mut self.connection {
            Connection::Sqlite(connection) => return connection.execute(&Statement::new(text)).await.map(|_| ()),
            Connection::Postgres(connection) => soon(self.patience, connection.run(text)).await,
            Connection::MySql(connection) => soon(self.patience, connection.run(text)).await,
        };
        let undone = |failure| if text == "ROLLBACK" { Failure { trouble: Trouble::Gone, ..failure } } else { failure };
        self.noted(answer.map_err(undone))
    }

    /// Closes the connection in order.
    pub(super) async fn close(self) {
        match self.connection {
            Connection::Sqlite(connection) => connection.close().await,
            Connection::Postgres(connection) => connection.close().await,
            Connection::MySql(connection) => connection.close().await,
        }
    }
}

/// A driver's connection to a server, in the time that the configuration gives it.
pub(super) async fn connected<C>(
    server: &Server,
    connecting: impl Future<Output = sqlx::Result<C>>,
    failure: impl Fn(&sqlx::Error) -> Failure,
) -> Outcome<C> {
    match tokio::time::timeout(server.connect_timeout(), connecting).await {
        Ok(connected) => connected.map_err(|error| failure(&error)),
        Err(_) => Err(Failure::gone(format!("no answer within {} s", server.connect_timeout().as_secs()))),
    }
}

/// What an error means that is not the server's own: something on the way to it.
pub(super) fn unanswered(error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Io(error) => Failure::gone(not_connected(&error.to_string())),
        sqlx::Error::Tls(error) => Failure::gone(format!("the server's certificate was not accepted, or it offers no TLS: {error}")),
        sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Failure::gone("the connection was lost"),
        _ => Failure::other("the database gave an answer that could not be read"),
    }
}

/// Words for what came of the network, or of TLS, whose errors come the same way.
fn not_connected(said: &str) -> String {
    match said.strip_prefix("invalid peer certificate: ") {
        None => format!("the connection failed: {said}"),
        Some("UnknownIssuer") => {
            "the server's certificate is of no authority that is trusted here; name its authority with `sslrootcert=`".into()
        }
        Some(why) => format!("the server's certificate was not accepted: {}", escape(why.as_bytes())),
    }
}

/// Hands over the rows of what a driver answers as they arrive. The driver's own ways would take each of them through one more stream.
pub(super) async fn each_row<D, R>(
    mut answers: impl Stream<Item = sqlx::Result<Either<D, R>>> + Unpin,
    mut each: impl FnMut(&R) -> sqlx::Result<()>,
) -> sqlx::Result<()> {
    while let Some(answer) = poll_fn(|context| Pin::new(&mut answers).poll_next(context)).await {
        if let Either::Right(row) = answer? {
            each(&row)?;
        }
    }
    Ok(())
}

/// An answer in time, or a lost connection.
async fn soon<T>(patience: Duration, answer: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let lost = || Failure::gone(format!("the server did not answer within {} minutes", patience.as_secs() / 60));
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| Err(lost()))
}

impl Live {
    fn new(server: String, number: i64) -> Self {
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).insert((server.clone(), number));
        Self(server, number)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).remove(&(std::mem::take(&mut self.0), self.1));
    }
}

impl Failure {
    /// A failure that is not the engine's.
    pub(super) fn other(text: impl Into<String>) -> Self {
        Self { trouble: Trouble::Other, text: text.into() }
    }

    /// The connection is lost.
    pub(super) fn gone(text: impl Into<String>) -> Self {
        Self { trouble: Trouble::Gone, text: text.into() }
    }

    /// What the database did is not what was ordered, and was undone.
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self { trouble: Trouble::Refused, text: text.into() }
    }

    /// Says where it happened.
    pub(super) fn at(mut self, place: &str) -> Self {
        self.text = format!("{place}: {}", self.text);
        self
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
