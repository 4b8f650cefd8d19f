//! SQL databases: rows of a table as records.
//!
//! A dataset names a table, the columns that make a row unique, and the columns that hold the dates of events. A scan walks the table in
//! short reads; a removal is one transaction per batch that reads each row again before it destroys it ([`remove`]). The product never writes
//! anything into the database but those removals.
//!
//! In pipeline order: [`config`] what the administrator wrote, [`shape`] that joined with the table as it is, [`scan`], [`find`], [`remove`].
//! Below them: [`statement`] the one place that assembles SQL, [`value`] typed values, [`when`] reading dates, [`session`] a connection of any
//! engine. The engine's own ways are in [`sqlite`]; what it pushes down, checks and cleans belongs to it alone.
//!
//! **Never**: a value in SQL text, an error or a log; a long read transaction; calendar arithmetic in the database; a created database file.
//!
//! **Grades**: see [`sqlite::clean`]. **Crash**: see [`remove`].

mod config;
#[cfg(test)]
mod conformance;
mod find;
mod remove;
mod scan;
// Until an engine that is reached through a server is wired up.
#[cfg_attr(not(test), expect(dead_code))]
mod server;
mod session;
mod shape;
mod sqlite;
mod statement;
#[cfg(test)]
mod tests;
mod value;
mod when;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use self::config::Dataset;
use self::session::Place;
use crate::dispose::Permit;
use crate::error::{Error, Kind as ErrorKind, Result, escape};
use crate::finding::Finding;
use crate::record::{Key, Reading, Record};
use crate::schedule::EventName;
use crate::store::{Configure, DatasetHead, Fate, Found, Guard, Kind, Order, Query, Scanned, Store, StoreHead};
use crate::yaml::{Fields, Node, Problems, resolve};

/// SQLite files: `sqlite: PATH`.
pub const SQLITE: Kind = Kind { key: "sqlite", configure: configure_sqlite };

/// A database and its datasets.
struct Sql {
    name: String,
    place: Place,
    datasets: Vec<Dataset>,
}

fn configure_sqlite(head: &StoreHead<'_>, place: &Node, _: &mut Fields<'_>, problems: &mut Problems) -> Option<Box<dyn Configure>> {
    let path: PathBuf = resolve(head.base, place.text("the path of an SQLite database", problems)?);
    Some(Box::new(Configuring { store: Sql { name: head.name.to_owned(), place: Place::Sqlite(path), datasets: Vec::new() } }))
}

struct Configuring {
    store: Sql,
}

impl Configure for Configuring {
    fn dataset(&mut self, head: &DatasetHead<'_>, fields: &mut Fields<'_>, problems: &mut Problems) {
        if let Some(dataset) = Dataset::read(head, self.store.grades(), fields, problems) {
            self.store.datasets.push(dataset);
        }
    }

    fn finish(self: Box<Self>) -> Arc<dyn Store> {
        Arc::new(self.store)
    }
}

impl Sql {
    fn dataset(&self, name: &str) -> Result<&Dataset> {
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

    fn path(&self) -> Option<&Path> {
        let Place::Sqlite(path) = &self.place;
        Some(path)
    }

    fn grades(&self) -> &'static [&'static str] {
        self.place.grades()
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
        let mut session = match self.place.open_read().await {
            Ok(session) => session,
            Err(failure) => return Ok(vec![Finding::blocks(self.name.as_str(), failure.text)]),
        };
        let mut out = Vec::new();
        for dataset in &self.datasets {
            let about = self.about(&dataset.name);
            match sqlite::check::dataset(&mut session, &about, dataset).await {
                Ok(findings) => out.extend(findings),
                Err(failure) => out.push(Finding::blocks(about, failure.text)),
            }
        }
        session.close().await;
        Ok(out)
    }

    async fn scan(&self, dataset: &str, query: Query, out: mpsc::Sender<Vec<Record>>) -> Result<Scanned> {
        let dataset = self.dataset(dataset)?;
        let mut session = self.place.open_read().await?;
        let scanned = scan::scan(&mut session, &self.about(&dataset.name), dataset, &query, &out).await;
        session.close().await;
        scanned
    }

    async fn fetch(&self, dataset: &str, keys: &[Key]) -> Result<Vec<Found>> {
        let dataset = self.dataset(dataset)?;
        let mut session = self.place.open_read().await?;
        let found = find::fetch(&mut session, dataset, keys).await;
        session.close().await;
        found.map_err(|failure| Error::from(failure).context(self.about(&dataset.name)))
    }

    async fn lookup(&self, dataset: &str, event: &EventName, on: Option<&str>, values: &[&str]) -> Result<Vec<Reading>> {
        let dataset = self.dataset(dataset)?;
        let mut session = self.place.open_read().await?;
        let found = find::lookup(&mut session, dataset, event, on, values).await;
        session.close().await;
        found.map_err(|failure| Error::from(failure).context(self.about(&dataset.name)))
    }

    async fn elsewhere(&self, dataset: &str, records: &[Record]) -> Result<Vec<Vec<(String, Record)>>> {
        let dataset = self.dataset(dataset)?;
        let others: Vec<&Dataset> = self.datasets.iter().filter(|other| other.name != dataset.name).collect();
        if others.is_empty() || records.is_empty() {
            return Ok(vec![Vec::new(); records.len()]);
        }
        let mut session = self.place.open_read().await?;
        let found = find::elsewhere(&mut session, dataset, &others, records).await;
        session.close().await;
        found.map_err(|failure| Error::from(failure).context(self.about(&dataset.name)))
    }

    async fn remove(&self, _permit: &Permit, dataset: &str, order: &Order, records: &[Record], guard: &Guard<'_>) -> Vec<Fate> {
        match self.dataset(dataset) {
            Ok(dataset) => remove::Removal { dataset, order, records, guard }.run(&self.place).await,
            Err(error) => vec![Fate::Failed { error: error.to_string(), uncertain: false }; records.len()],
        }
    }
}
