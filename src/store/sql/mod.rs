//! SQL databases: rows of a table as records.
//!
//! A dataset names a table, the columns that make a row unique, and the columns that hold the dates of events. A scan walks the table in
//! short reads; a removal is one transaction per batch that reads each row again before it destroys it ([`remove`]). The product never writes
//! anything into the database but those removals.
//!
//! In pipeline order: [`config`] what the administrator wrote, [`check`] whether the database fits it, [`shape`] the two joined, [`scan`] along a [`walk`],
//! [`find`], [`remove`] in one [`transaction`] after the other, along a [`stretch`] where records lie close together, while nothing new is [`hanging`] on the tables. Below them: [`statement`] the one place that assembles SQL, [`layout`] what a table is, [`push`] what the database is
//! asked to leave out, [`value`] typed values, [`when`] reading dates, [`pace`] and [`throttle`] keeping out of production's way, [`session`] a
//! connection of any engine, [`pool`] those that wait for what comes next, [`server`] how one is reached. The engines' own ways are in [`sqlite`],
//! [`postgres`] and [`mysql`].
//!
//! **Never**: a value in SQL text, an error or a log; a long read transaction; calendar arithmetic in the database; a created database file.
//!
//! **Grades**: see [`sqlite::clean`], [`postgres`] and [`mysql`]. **Crash**: see [`remove`].

mod check;
mod config;
#[cfg(test)]
mod conformance;
mod find;
mod hanging;
mod layout;
mod mysql;
mod pace;
mod places;
mod pool;
mod postgres;
mod push;
mod remove;
mod scan;
mod server;
#[cfg(test)]
#[path = "../../../tests/servers/mod.rs"]
mod servers;
mod session;
mod shape;
mod sqlite;
mod statement;
mod stretch;
#[cfg(test)]
mod tests;
mod throttle;
mod transaction;
pub(super) mod value;
mod walk;
pub(super) mod when;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::mpsc;

use self::config::{Dataset, Purge};
use self::pace::Pace;
use self::pool::Pool;
use self::remove::Removal;
use self::server::Engine;
use self::session::{Failure, Outcome, Place, Session, Trouble};
use self::statement::Dialect;
use self::throttle::Throttle;
use crate::dispose::Permit;
use crate::error::{Error, Kind as ErrorKind, Result, escape};
use crate::finding::Finding;
use crate::record::{Key, Reading, Record};
use crate::schedule::EventName;
use crate::store::{
    Act, BATCH, Cell, Configure, Counts, DatasetHead, Evidence, Fate, Found, Guard, Kept, Kind, Order, Query, Scanned, Store, StoreHead,
};
use crate::yaml::{Fields, Node, Problems, resolve};

/// SQLite files: `sqlite: PATH`.
pub const SQLITE: Kind = Kind { key: "sqlite", configure: configure_sqlite };

/// PostgreSQL servers: `postgres: postgres://USER@HOST/DATABASE`.
pub const POSTGRES: Kind = Kind { key: "postgres", configure: configure_postgres };

/// MySQL and MariaDB servers: `mysql: mysql://USER@HOST/DATABASE`.
pub const MYSQL: Kind = Kind { key: "mysql", configure: configure_mysql };

/// Transactions that delete side by side on one server.
const SERVER_LANES: usize = 3;

/// Records of a batch on PostgreSQL: what a transaction costs besides its rows is felt there, and replicas follow without waiting for its end.
const POSTGRES_BATCH: usize = 2 * BATCH;

/// How long sessions of a process that is no more are waited for: their server notices sooner or later.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// A database and its datasets.
struct Sql {
    name: String,
    place: Place,
    datasets: Vec<Arc<Dataset>>,
    pace: Pace,
    throttle: Throttle,
    pool: Arc<Pool>,
}

fn configure_sqlite(head: &StoreHead<'_>, place: &Node, _: &mut Fields<'_>, problems: &mut Problems) -> Option<Box<dyn Configure>> {
    let path: PathBuf = resolve(head.base, place.text("the path of an SQLite database", problems)?);
    Some(Configuring::begin(head, Place::Sqlite(path), Throttle::default()))
}

fn configure_postgres(head: &StoreHead<'_>, place: &Node, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Box<dyn Configure>> {
    let server = server::read(Engine::Postgres, place, fields, head.base, problems)?;
    let throttle = Throttle::read(head, &server, fields, problems);
    Some(Configuring::begin(head, Place::Postgres(server), throttle))
}

fn configure_mysql(head: &StoreHead<'_>, place: &Node, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Box<dyn Configure>> {
    let server = server::read(Engine::MySql, place, fields, head.base, problems)?;
    let throttle = Throttle::read(head, &server, fields, problems);
    Some(Configuring::begin(head, Place::MySql(server), throttle))
}

/// Records of a batch in a place.
fn batch_of(place: &Place) -> usize {
    if matches!(place, Place::Postgres(_)) { POSTGRES_BATCH } else { BATCH }
}

struct Configuring {
    store: Sql,
}

impl Configuring {
    fn begin(head: &StoreHead<'_>, place: Place, throttle: Throttle) -> Box<dyn Configure> {
        let name = head.name.to_owned();
        let (pace, pool) = (Pace::new(batch_of(&place)), Arc::new(Pool::new(place.clone())));
        Box::new(Self { store: Sql { name, place, datasets: Vec::new(), pace, throttle, pool } })
    }
}

impl Configure for Configuring {
    fn dataset(&mut self, head: &DatasetHead<'_>, fields: &mut Fields<'_>, problems: &mut Problems) {
        if let Some(dataset) = Dataset::read(head, self.store.place.dialect(), self.store.grades(), fields, problems) {
            self.store.datasets.push(Arc::new(dataset));
        }
    }

    fn finish(self: Box<Self>) -> Arc<dyn Store> {
        Arc::new(self.store)
    }
}

impl Sql {
    fn dataset(&self, name: &str) -> Result<&Arc<Dataset>> {
        self.datasets
            .iter()
            .find(|dataset| dataset.name == name)
            .ok_or_else(|| Error::new(ErrorKind::Store, format!("{}: there is no dataset \"{}\"", self.name, escape(name.as_bytes()))))
    }

    fn about(&self, dataset: &str) -> String {
        format!("{}/{dataset}", self.name)
    }
}

#[async_trait]
impl Store for Sql {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> String {
        self.place.shown()
    }

    fn identity(&self) -> String {
        self.place.identity()
    }

    async fn mark(&self) -> String {
        // What an SQLite file is, its path tells. Of a server that cannot be asked nothing is known, and a plan or an intent of its is not touched.
        if let Place::Sqlite(_) = &self.place {
            return String::new();
        }
        // A new connection reaches who answers now.
        let Ok(mut session) = self.place.open_read().await else { return String::new() };
        let mark = session.mark().await.unwrap_or_default();
        self.pool.keep(session).await;
        mark
    }

    async fn at_rest(&self) -> std::result::Result<(), String> {
        if let Place::Sqlite(_) = &self.place {
            return Ok(());
        }
        let began = Instant::now();
        // What is looked at next is looked at over this connection, or others that are new: a server that was lost may have been taken over for.
        self.pool.clear().await;
        let mut session = self.place.open_read().await.map_err(|failure| failure.text)?;
        let rest = loop {
            let under_way = match session.dialect() {
                Dialect::MySql => mysql::under_way(&mut session).await,
                _ => postgres::under_way(&mut session).await,
            };
            match under_way {
                Ok(false) => break Ok(()),
                Ok(true) if began.elapsed() > UNDER_WAY => {
                    break Err("a session of this program's account that is none of this process is still at work in the database".into());
                }
                Ok(true) => tokio::time::sleep(Duration::from_millis(250)).await,
                Err(failure) => break Err(failure.text),
            }
        };
        self.pool.keep(session).await;
        rest
    }

    fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(path) => Some(path),
            Place::Postgres(_) | Place::MySql(_) => None,
        }
    }

    fn grades(&self) -> &'static [&'static str] {
        self.place.grades()
    }

    fn lanes(&self) -> usize {
        // A server's disk and its processors are not busy at the same time, and neither are ours.
        if matches!(self.place, Place::Sqlite(_)) { 1 } else { SERVER_LANES }
    }

    fn batch(&self) -> usize {
        batch_of(&self.place)
    }

    fn overlaps(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for (at, one) in self.datasets.iter().enumerate() {
            for other in &self.datasets[at + 1..] {
                let goes_with = |one: &Dataset, other: &Dataset| one.every_child().iter().any(|child| child.table.same(&other.table));
                if one.table.same(&other.table) || goes_with(one, other) || goes_with(other, one) {
                    out.push((one.name.clone(), other.name.clone()));
                }
            }
        }
        out
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        let mut session = match self.pool.read().await {
            Ok(session) => session,
            Err(failure) => return Ok(vec![Finding::blocks(self.name.as_str(), failure.text)]),
        };
        let mut out = Vec::new();
        if let Place::Postgres(server) | Place::MySql(server) = &self.place {
            out.extend(server.weaknesses().into_iter().map(|weak| Finding::warning(self.name.as_str(), weak)));
        }
        out.extend(self.throttle.weaknesses().into_iter().map(|weak| Finding::warning(self.name.as_str(), weak)));
        self.check_throttle(&mut session, &mut out).await;
        for dataset in &self.datasets {
            let about = self.about(&dataset.name);
            match check::dataset(&mut session, &about, dataset).await {
                Ok(findings) => out.extend(findings),
                Err(failure) => out.push(Finding::blocks(about, failure.text)),
            }
        }
        if session.dialect() == Dialect::Postgres {
            match postgres::check::shared(&mut session, &self.datasets).await {
                Ok(shared) => out.extend(shared.into_iter().map(|(dataset, why)| Finding::blocks(self.about(&dataset), why))),
                Err(failure) => out.push(Finding::blocks(self.name.as_str(), failure.text)),
            }
        }
        self.pool.keep(session).await;
        Ok(out)
    }

    async fn scan(&self, dataset: &str, query: Query, out: mpsc::Sender<Vec<Record>>) -> Result<Scanned> {
        let dataset = self.dataset(dataset)?;
        let (one, two) = tokio::try_join!(Box::pin(self.pool.read()), Box::pin(self.pool.read()))?;
        let mut sessions = vec![one, two];
        let scanned = scan::scan(&mut sessions, &self.pool, &self.about(&dataset.name), dataset, query, out).await;
        for session in sessions {
            if scanned.as_ref().is_ok_and(|scanned| scanned.incomplete.is_none()) {
                self.pool.keep(session).await;
            } else {
                self.pool.give_up(session).await;
            }
        }
        scanned
    }

    async fn fetch(&self, dataset: &str, keys: &[Key]) -> Result<Vec<Found>> {
        let dataset = self.dataset(dataset)?;
        let mut session = self.pool.read().await?;
        let found = find::fetch(&mut session, dataset, keys).await;
        self.pool.keep(session).await;
        found.map_err(|failure| Error::from(failure).context(self.about(&dataset.name)))
    }

    async fn lookup(&self, dataset: &str, event: &EventName, on: Option<&str>, values: &[&str]) -> Result<Vec<Reading>> {
        let dataset = self.dataset(dataset)?;
        let mut session = self.pool.read().await?;
        let found = find::lookup(&mut session, dataset, event, on, values).await;
        self.pool.keep(session).await;
        found.map_err(|failure| Error::from(failure).context(self.about(&dataset.name)))
    }

    async fn elsewhere(&self, dataset: &str, records: &[Record]) -> Result<Vec<Vec<(String, Record)>>> {
        let dataset = self.dataset(dataset)?;
        let others: Vec<&Dataset> = self.datasets.iter().map(|other| &**other).filter(|other| other.name != dataset.name).collect();
        if others.is_empty() || records.is_empty() {
            return Ok(vec![Vec::new(); records.len()]);
        }
        let mut session = self.pool.read().await?;
        let found = find::elsewhere(&mut session, dataset, &others, records).await;
        self.pool.keep(session).await;
        found.map_err(|failure| Error::from(failure).context(self.about(&dataset.name)))
    }

    fn counts(&self, dataset: &str) -> Option<Counts> {
        let counts = self.dataset(dataset).ok()?.counts.as_ref()?;
        Some(Counts { by: counts.by.iter().map(|name| name.as_str().to_owned()).collect(), smallest: counts.smallest })
    }

    async fn cells(&self, dataset: &str, keys: &[Key]) -> Result<Vec<Option<Cell>>> {
        let dataset = self.dataset(dataset)?;
        let mut session = self.pool.read().await?;
        let found = find::cells(&mut session, dataset, keys).await;
        self.pool.keep(session).await;
        found.map_err(|failure| Error::from(failure).context(self.about(&dataset.name)))
    }

    async fn leave(&self) {
        self.pool.clear().await;
    }

    async fn purge(&self, dataset: &str) -> Option<(&'static str, std::result::Result<(), String>)> {
        let dataset = self.dataset(dataset).ok()?;
        let purge = dataset.purge?;
        Some((purge.as_str(), self.purge_with(purge, dataset).await.map_err(|failure| failure.text)))
    }

    async fn remove(&self, _permit: &Permit, dataset: &str, order: &Order, records: &[Record], guard: &Guard<'_>) -> Vec<Fate> {
        let all = |fate: Fate| vec![fate; records.len()];
        let dataset = match self.dataset(dataset) {
            Ok(dataset) => dataset,
            Err(error) => return all(Fate::Failed { error: error.to_string(), uncertain: false }),
        };
        if order.act == Act::Anonymise && order.at_least.as_deref() == Some("row-deleted") {
            let why = "an anonymised row is still there; name a grade above row-deleted, or none";
            return all(Fate::Kept(Kept::CannotMeetGrade(why.into())));
        }
        let removal = |begin| Removal { dataset, order, records, guard, pace: &self.pace, throttle: &self.throttle, begin };
        match &self.place {
            Place::Sqlite(path) => sqlite::remove(path, order, records.len(), removal).await,
            Place::Postgres(_) => self.remove_from(postgres::CAVEATS, &removal(postgres::BEGIN)).await,
            Place::MySql(_) => self.remove_from(mysql::CAVEATS, &removal(mysql::BEGIN)).await,
        }
    }
}

impl Sql {
    async fn purge_with(&self, purge: Purge, dataset: &Dataset) -> Outcome<()> {
        let mut session = self.place.open_write().await?;
        session.without_haste();
        let done = match (purge, session.dialect()) {
            (_, Dialect::Sqlite) => sqlite::clean::vacuum(&mut session).await,
            (Purge::Vacuum, _) => postgres::vacuum(&mut session, dataset).await,
            (Purge::Optimize, _) => mysql::optimize(&mut session, dataset).await,
        };
        session.close().await;
        done
    }

    /// Looks whether the throttle can be told what it asks.
    async fn check_throttle(&self, session: &mut Session, out: &mut Vec<Finding>) {
        if !self.throttle.is_set() {
            return;
        }
        let unknown = match self.throttle.load(session).await {
            Ok(load) if self.throttle.lag.is_some() && load.lag == Duration::MAX => self.throttle.exceeded(load),
            Ok(_) => None,
            Err(failure) => Some(failure.text),
        };
        out.extend(unknown.map(|why| Finding::blocks(self.name.as_str(), format!("`throttle`: {why}"))));
    }

    /// Removes from a server, over the connection of the last batch if there is one.
    async fn remove_from(&self, caveats: &'static [&'static str], removal: &Removal<'_>) -> Vec<Fate> {
        let all = |fate: Fate| vec![fate; removal.records.len()];
        let grade = if removal.order.act == Act::Destroy { "row-deleted" } else { "anonymised" };
        if let Some(asked) = &removal.order.at_least
            && !Evidence::reaches(grade, asked, self.place.grades())
        {
            let why = format!(
                "a row that a server's client {} reaches `{grade}` at best",
                if grade == "anonymised" { "changes" } else { "deletes" }
            );
            return all(Fate::Kept(Kept::CannotMeetGrade(why)));
        }
        let kept = self.pool.kept_to_write().await;
        let may_be_closed = kept.is_some();
        let mut fates = self.spend_over(kept, removal).await;
        // A server that was restarted has closed the connections that were kept: where nothing of the order has happened, it is given once more.
        if may_be_closed && fates.as_ref().is_err_and(|failure| failure.trouble == Trouble::Gone) {
            fates = self.spend_over(None, removal).await;
        }
        let mut fates = fates.unwrap_or_else(|failure| all(Fate::Failed { error: failure.text, uncertain: false }));
        for fate in &mut fates {
            if let Fate::Done(evidence) = fate {
                evidence.grade = grade;
                evidence.caveats = caveats.into();
            }
        }
        fates
    }

    /// Removes over this connection, or over a new one. A failure means that nothing has happened, to none of the records.
    async fn spend_over(&self, kept: Option<Session>, removal: &Removal<'_>) -> Outcome<Vec<Fate>> {
        let mut session = match kept {
            Some(session) => session,
            None => self.place.open_write().await?,
        };
        if let Err(failure) = hanging::look(&mut session, removal.dataset).await {
            self.pool.give_up(session).await;
            return Err(failure);
        }
        let fates = removal.spend(&mut session).await;
        // After a failure the connection may be in a state that nobody knows.
        if session.is_lost() || fates.iter().any(|fate| matches!(fate, Fate::Failed { .. })) {
            let lost = session.is_lost();
            self.pool.give_up(session).await;
            let certain = |fate: &Fate| if let Fate::Failed { error, uncertain: false } = fate { Some(error.clone()) } else { None };
            let failures: Option<Vec<String>> = fates.iter().map(certain).collect();
            if let Some(text) = failures.filter(|_| lost).and_then(|texts| texts.into_iter().next()) {
                return Err(Failure::gone(text));
            }
        } else {
            self.pool.keep(session).await;
        }
        Ok(fates)
    }
}
