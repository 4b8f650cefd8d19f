//! The store in front of real PostgreSQL servers, with whatever schemas, sessions and faults applications may bring along.

mod dates;
mod faults;
mod locks;
mod places;
mod races;
mod refused;
mod rights;
mod rows;
mod types;

use std::path::Path;
use std::sync::Arc;

use super::super::POSTGRES;
use super::super::servers::{self, Database, Session};
use super::super::tests::{all, configured, destroy, done, due, keys, remove, scan};
use crate::finding::Severity;
use crate::record::{Key, Reading, Record};
use crate::store::{Act, Fate, Found, Kept, Store};

/// A database of one's own on the server that all tests share.
struct Db(Database);

impl Db {
    /// `None` where there is no server; that has been said then.
    async fn new(script: &str) -> Option<Self> {
        let database = servers::postgres()?.database().await;
        database.run(script).await;
        Some(Self(database))
    }

    async fn run(&self, script: &str) {
        self.0.run(script).await;
    }

    async fn number(&self, query: &str) -> i64 {
        self.0.number(query).await
    }

    async fn texts(&self, query: &str) -> Vec<String> {
        self.0.texts(query).await
    }

    /// Another session, as an application has one.
    async fn session(&self) -> Session {
        self.0.admin().await
    }

    fn store(&self, datasets: &str) -> Arc<dyn Store> {
        store_at(&self.0.url(), datasets)
    }

    fn configured(&self, datasets: &str) -> Result<Arc<dyn Store>, Vec<String>> {
        configured(&POSTGRES, &self.0.url(), Path::new("/"), datasets)
    }

    /// Runs a script in a session of its own and waits for it, from where nothing can be awaited.
    fn run_beside(&self, script: &str) {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(self.run(script));
            });
            run.join().unwrap();
        });
    }
}

fn store_at(url: &str, datasets: &str) -> Arc<dyn Store> {
    configured(&POSTGRES, url, Path::new("/"), datasets).unwrap_or_else(|problems| panic!("{}", problems.join("\n")))
}

/// What `check` says, the blocking findings alone.
async fn blocked(store: &Arc<dyn Store>) -> Vec<String> {
    let findings = store.check().await.unwrap();
    findings.into_iter().filter(|finding| finding.severity == Severity::Blocks).map(|finding| finding.message).collect()
}

/// The words for a record that is surely still there.
fn certain(fate: &Fate) -> &str {
    match fate {
        Fate::Failed { error, uncertain: false } => error,
        other => panic!("expected a failure that did not persist, found {other:?}"),
    }
}

const PEOPLE: &str = "  people: { table: people, key: id, events: { end: ended_on } }\n";

/// Three rows that are due.
const THREE: &str = "CREATE TABLE people (id int PRIMARY KEY, ended_on date, name text);
    INSERT INTO people VALUES (1, '2020-01-01', 'CANARYNAME'), (2, '2020-01-01', 'b'), (3, '2020-01-01', 'c');";
