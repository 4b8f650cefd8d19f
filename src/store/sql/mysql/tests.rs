//! Against a real MariaDB and a real MySQL: what its types hold, what would go along with a record, what others hold locked, what is lost on the way.

mod faults;
mod guarding;
mod reading;
mod rights;

use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::super::MYSQL;
use super::super::servers::{self, Database, Engine, Options, Server};
use crate::dispose::Permit;
use crate::judge::Bound;
use crate::record::{Key, Moment, Reading, Record};
use crate::schedule::EventName;
use crate::store::conformance::configure;
use crate::store::{Act, Fate, Found, Kept, Order, Query, Scanned, Store};

/// The name that the suite's configuration gives to the dataset.
const DATASET: &str = "things";

/// The servers that there are, of both engines.
fn servers() -> impl Iterator<Item = &'static Server> {
    Engine::OF_MYSQL.into_iter().filter_map(servers::shared)
}

/// A database on each of them, in which the script ran. MariaDB has tables of numbers at hand, such as `seq_1_to_40`; on MySQL they are made.
async fn databases(script: &str) -> Vec<Database> {
    let mut databases = Vec::new();
    for server in servers() {
        let database = server.database().await;
        for last in script.split("seq_1_to_").skip(1).filter(|_| server.engine() == Engine::MySql) {
            let last: u32 = last.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
            let numbers: Vec<String> = (1..=last).map(|number| format!("({number})")).collect();
            let table = format!("seq_1_to_{last}");
            let numbers = numbers.join(", ");
            database
                .run(&format!("CREATE TABLE IF NOT EXISTS {table} (seq INT PRIMARY KEY); INSERT IGNORE INTO {table} VALUES {numbers}"))
                .await;
        }
        database.run(script).await;
        databases.push(database);
    }
    databases
}

fn store(url: &str, dataset: &str, event: &str) -> Arc<dyn Store> {
    configure(&MYSQL, Path::new(url), dataset, event, "id", dataset.contains("anonymise"))
}

/// A store over one table with the key `id` and the event in `done`.
fn plain(database: &Database) -> Arc<dyn Store> {
    store(&database.url(), "{ table: things, key: id }", "done")
}

async fn scan(store: &Arc<dyn Store>, bound: Option<Bound>) -> (Vec<Record>, Scanned) {
    let (sender, mut receiver) = mpsc::channel(4);
    let query = Query { bound, whole: false, now: "2026-06-15T12:00:00Z".parse().unwrap(), seen: Arc::default() };
    let other = Arc::clone(store);
    let walk = tokio::spawn(async move { other.scan(DATASET, query, sender).await });
    let mut records = Vec::new();
    while let Some(batch) = receiver.recv().await {
        records.extend(batch);
    }
    let scanned = walk.await.unwrap().unwrap();
    assert_eq!(scanned.incomplete, None);
    (records, scanned)
}

async fn all(store: &Arc<dyn Store>) -> Vec<Record> {
    let (records, scanned) = scan(store, None).await;
    assert_eq!(scanned.population, records.len() as u64);
    records
}

/// At most this date, in Berlin.
fn due(date: &str) -> Bound {
    let date: Date = date.parse().unwrap();
    let before = date.tomorrow().unwrap().at(0, 0, 0, 0).to_zoned(TimeZone::get("Europe/Berlin").unwrap()).unwrap().timestamp();
    Bound::All(vec![Bound::AtMost { event: EventName::parse("done").unwrap(), date, before }])
}

fn keys(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.key.to_text()).collect()
}

async fn remove(store: &Arc<dyn Store>, act: Act, records: &[Record]) -> Vec<Fate> {
    let order = Order { act, at_least: None };
    store.remove(&Permit::for_test(), DATASET, &order, records, &|_, _| None).await
}

async fn destroy(store: &Arc<dyn Store>, records: &[Record]) -> Vec<Fate> {
    remove(store, Act::Destroy, records).await
}

/// How many rows of others went along; panics unless it is done and looked for afterwards.
fn done(fate: &Fate) -> u64 {
    let Fate::Done(evidence) = fate else { panic!("expected it to be done, found {fate:?}") };
    assert!(evidence.verified, "{evidence:?}");
    evidence.parts
}

/// Everything that the check finds, one a line, what blocks before all else.
async fn findings(store: &Arc<dyn Store>) -> String {
    let found = store.check().await.unwrap();
    found.iter().map(|finding| format!("{:?}: {}\n", finding.severity, finding.message)).collect::<Vec<_>>().concat()
}
