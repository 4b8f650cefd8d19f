//! Tests of the store as a whole, against real database files.

mod check;
mod clean;
mod faults;
mod races;
mod removing;
mod scanning;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::sync::mpsc;

use super::*;
use crate::finding::Severity;
use crate::judge::Bound;
use crate::record::Moment;
use crate::store::{Act, EventHead, EventPlace, Evidence, Kept};
use crate::yaml::Document;

/// A database in a folder of its own, and what an application does to it.
struct Db {
    folder: tempfile::TempDir,
}

impl Db {
    async fn new(script: &str) -> Self {
        Self::at(tempfile::tempdir().unwrap(), script).await
    }

    async fn at(folder: tempfile::TempDir, script: &str) -> Self {
        let db = Self { folder };
        std::fs::write(db.path(), b"").unwrap();
        db.run(script).await;
        db
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("t.db")
    }

    async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path()).foreign_keys(false).busy_timeout(Duration::from_secs(10));
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    async fn run(&self, script: &str) {
        let mut connection = self.connect().await;
        run(&mut connection, script).await;
        connection.close().await.unwrap();
    }

    async fn number(&self, query: &str) -> i64 {
        let mut connection = self.connect().await;
        let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        row.get(0)
    }

    /// The store, from the YAML of its datasets.
    fn store(&self, datasets: &str) -> Arc<dyn Store> {
        self.configure(datasets).unwrap_or_else(|problems| panic!("{}", problems.join("\n")))
    }

    fn configure(&self, datasets: &str) -> std::result::Result<Arc<dyn Store>, Vec<String>> {
        configured(&SQLITE, "t.db", self.folder.path(), datasets)
    }
}

/// A store of some kind, from the YAML of its datasets.
pub(super) fn configured(kind: &Kind, place: &str, base: &Path, datasets: &str) -> std::result::Result<Arc<dyn Store>, Vec<String>> {
    let text = format!("{}: {place}\ndatasets:\n{datasets}", kind.key);
    let document = Document::parse("t.yaml", text).unwrap();
    let mut problems = Problems::new("t.yaml");
    let mut fields = document.root.fields("a store", &mut problems).unwrap();
    let place = fields.take(kind.key).unwrap();
    let sets = fields.take("datasets").unwrap().fields("datasets", &mut problems).unwrap();
    let head = StoreHead { name: "housing", base };
    let Some(mut configuring) = (kind.configure)(&head, place, &mut fields, &mut problems) else { return Err(problems.lines()) };
    for (name, mark, node) in sets.names() {
        let mut fields = node.fields("a dataset", &mut problems).unwrap();
        let events = fields.take("events").map(|node| node.fields("events", &mut problems).unwrap());
        let events: Vec<_> =
            events.into_iter().flat_map(Fields::names).map(|(name, _, node)| (EventName::parse(name).unwrap(), node)).collect();
        let events = events.iter().map(|(name, node)| {
            let source = match node.fields("event", &mut Problems::new("ignored")) {
                Some(mut fields) if fields.has("lookup") => {
                    let by = fields.take("by").unwrap();
                    EventPlace::Elsewhere(by.text("by", &mut Problems::new("ignored")).unwrap(), by.mark)
                }
                _ => EventPlace::Here(node),
            };
            EventHead { name, source }
        });
        let events = events.collect();
        let mut named = |key| fields.take(key).map(|node| (node.text("a name", &mut Problems::new("ignored")).unwrap(), node.mark));
        let (subject, class_by, at_least) = (named("subject"), named("class-by"), named("at-least"));
        let anonymises = fields.has("anonymise");
        let destroys = !anonymises || class_by.is_some();
        let head = DatasetHead { name, mark, events, class_by, subject, anonymises, destroys, enforced: true, at_least };
        configuring.dataset(&head, &mut fields, &mut problems);
        fields.finish("a dataset", &mut problems);
    }
    let lines = problems.lines();
    if lines.is_empty() { Ok(configuring.finish()) } else { Err(lines) }
}

pub(super) fn ran(program: &str, arguments: &[&std::ffi::OsStr]) -> bool {
    std::process::Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A file system of its own, unmounted at the end whatever happens.
pub(super) struct Mounted(PathBuf);

impl Mounted {
    /// `None` where mounting is not allowed.
    pub(super) fn new(arguments: &[&std::ffi::OsStr], at: PathBuf) -> Option<Self> {
        ran("mount", &[arguments, &[at.as_os_str()]].concat()).then_some(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        ran("umount", &[self.0.as_os_str()]);
    }
}

async fn run(connection: &mut SqliteConnection, script: &str) {
    sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await.unwrap_or_else(|error| panic!("{script}: {error}"));
}

pub(super) fn event(name: &str) -> EventName {
    EventName::parse(name).unwrap()
}

pub(super) fn now() -> Timestamp {
    "2026-06-15T12:00:00Z".parse().unwrap()
}

/// The bound "at most this date", as a schedule in this zone gives it.
pub(super) fn at_most(name: &str, date: &str, zone: &str) -> Bound {
    let date: Date = date.parse().unwrap();
    let before = date.tomorrow().unwrap().at(0, 0, 0, 0).to_zoned(TimeZone::get(zone).unwrap()).unwrap().timestamp();
    Bound::AtMost { event: event(name), date, before }
}

pub(super) fn due(date: &str) -> Bound {
    Bound::All(vec![at_most("end", date, "Europe/London")])
}

pub(super) async fn scan(store: &Arc<dyn Store>, bound: impl Into<Option<Bound>>) -> (Vec<Record>, Scanned) {
    let (sender, mut receiver) = mpsc::channel(4);
    let query = Query { bound: bound.into(), whole: false, now: now(), seen: Arc::default() };
    let seen = Arc::clone(&query.seen);
    let other = Arc::clone(store);
    let walk = tokio::spawn(async move { other.scan("people", query, sender).await });
    let mut records = Vec::new();
    while let Some(batch) = receiver.recv().await {
        assert!(!batch.is_empty() && batch.len() <= crate::store::MESSAGE);
        records.extend(batch);
    }
    let scanned = walk.await.unwrap().unwrap();
    assert_eq!(scanned.population, seen.load(std::sync::atomic::Ordering::Relaxed));
    (records, scanned)
}

pub(super) async fn all(store: &Arc<dyn Store>) -> Vec<Record> {
    let (records, scanned) = scan(store, None).await;
    assert_eq!(scanned.incomplete, None);
    assert_eq!(scanned.population, records.len() as u64);
    records
}

pub(super) fn keys(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.key.to_text()).collect()
}

pub(super) async fn remove(store: &Arc<dyn Store>, act: Act, at_least: Option<&str>, records: &[Record]) -> Vec<Fate> {
    let order = Order { act, at_least: at_least.map(str::to_owned) };
    let fates = store.remove(&Permit::for_test(), "people", &order, records, &|_, _| None).await;
    assert_eq!(fates.len(), records.len());
    fates
}

pub(super) async fn destroy(store: &Arc<dyn Store>, records: &[Record]) -> Vec<Fate> {
    remove(store, Act::Destroy, None, records).await
}

pub(super) fn done(fate: &Fate) -> &Evidence {
    match fate {
        Fate::Done(evidence) => evidence,
        other => panic!("expected it to be done, found {other:?}"),
    }
}

const PEOPLE: &str = "  people: { table: people, key: id, events: { end: ended_on } }\n";
