//! MariaDB before the suite that every store passes: a plain table, one that an index serves in the order of its dates, and one with a key
//! of two columns, a condition, and children.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::super::MYSQL;
use super::super::servers::{self, Database};
use super::super::value::{Cell, key_of, parts_of};
use crate::record::Key;
use crate::store::Store;
use crate::store::conformance::{Abilities, Harness, When, configure, suite};

const ABILITIES: Abilities =
    Abilities { not_yet_and_instants: true, group: Some("team"), knows_datasets: true, anonymises: true, unreachable: Some("rewritten") };

struct Things {
    database: Database,
    store: Arc<dyn Store>,
}

impl Things {
    async fn new(schema: &str, dataset: &str, anonymises: bool) -> Self {
        let server = servers::mariadb().expect("the suite is left out where there is no server");
        let database = server.database().await;
        database.run(schema).await;
        let dataset = dataset.replace("DATABASE", database.name());
        let store = configure(&MYSQL, Path::new(&database.url()), &dataset, "{ column: done, as: datetime }", "team", anonymises);
        Self { database, store }
    }

    async fn put(&self, team: &str, name: &str, when: When) {
        let done = match when {
            When::On(date) => quoted(&date.to_string()),
            When::At(instant) => quoted(&instant.to_string()),
            When::NotYet => "NULL".into(),
            When::Doubt => "'2025-02-30'".into(),
        };
        self.database.run(&format!("INSERT INTO things (team, name, done) VALUES ({}, {}, {done})", quoted(team), quoted(name))).await;
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn text_of(key: &Key) -> String {
    quoted(std::str::from_utf8(key.as_bytes()).unwrap())
}

/// One column is the key.
struct Plain(Things);

/// The same with an index by date, in whose order it is walked.
struct Indexed(Things);

/// A key of two columns, a condition, children.
struct Composite(Things);

const TABLE: &str = "CREATE TABLE things (team VARCHAR(100), name VARCHAR(200) PRIMARY KEY, done VARCHAR(40), \
    note TEXT DEFAULT 'a note', extra BLOB DEFAULT 'x') COLLATE utf8mb4_nopad_bin";

#[async_trait]
impl Harness for Plain {
    const ABILITIES: Abilities = ABILITIES;

    async fn new() -> Self {
        Self(Things::new(TABLE, "{ table: things, key: name, anonymise: { note: null } }", true).await)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.put(group, name, when).await;
        Key::new(name.as_bytes())
    }

    async fn change(&self, key: &Key) {
        self.0.database.run(&format!("UPDATE things SET note = CONCAT(note, '!') WHERE name = {}", text_of(key))).await;
    }

    async fn is_there(&self, key: &Key) -> bool {
        self.0.database.number(&format!("SELECT count(*) FROM things WHERE name = {}", text_of(key))).await == 1
    }
}

#[async_trait]
impl Harness for Indexed {
    // Walking by date needs a dataset that is the whole table, without rows that are anonymised already.
    const ABILITIES: Abilities = Abilities { anonymises: false, ..ABILITIES };

    async fn new() -> Self {
        // The engine appends the key to the index by itself.
        let schema = format!("{TABLE}; CREATE INDEX by_date ON things (done)");
        Self(Things::new(&schema, "{ table: things, key: name }", false).await)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.put(group, name, when).await;
        Key::new(name.as_bytes())
    }

    async fn change(&self, key: &Key) {
        self.0.database.run(&format!("UPDATE things SET extra = 'y' WHERE name = {}", text_of(key))).await;
    }

    async fn is_there(&self, key: &Key) -> bool {
        self.0.database.number(&format!("SELECT count(*) FROM things WHERE name = {}", text_of(key))).await == 1
    }
}

#[async_trait]
impl Harness for Composite {
    const ABILITIES: Abilities = ABILITIES;

    async fn new() -> Self {
        let schema = "CREATE TABLE things (team VARCHAR(100), name VARCHAR(200), done VARCHAR(40), \
                note TEXT DEFAULT 'a note', `open` INT DEFAULT 0, PRIMARY KEY (name, team)) COLLATE utf8mb4_nopad_bin;
            CREATE TABLE parts (team VARCHAR(100), name VARCHAR(200), part INT, \
                FOREIGN KEY (name, team) REFERENCES things (name, team)) COLLATE utf8mb4_nopad_bin;
            CREATE TRIGGER parts_of_things AFTER INSERT ON things FOR EACH ROW \
                INSERT INTO parts VALUES (new.team, new.name, 1), (new.team, new.name, 2);
            INSERT INTO things (team, name, done, `open`) VALUES ('g', 'outside the condition', '2001-01-01', 1)";
        let dataset = "{ table: DATABASE.things, key: [team, name], where: '`open` = 0', \
            children: [ { table: parts, key: [team, name] } ], anonymise: { note: null } }";
        Self(Things::new(schema, dataset, true).await)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.put(group, name, when).await;
        key_of(&[Cell::Text(group.into()), Cell::Text(name.into())])
    }

    async fn change(&self, key: &Key) {
        let parts = parts_of(key.as_bytes(), 2).unwrap();
        let (team, name) = (quoted(&parts[0]), quoted(&parts[1]));
        self.0.database.run(&format!("UPDATE things SET note = CONCAT(note, '!') WHERE team = {team} AND name = {name}")).await;
    }

    async fn is_there(&self, key: &Key) -> bool {
        let parts = parts_of(key.as_bytes(), 2).unwrap();
        let (team, name) = (quoted(&parts[0]), quoted(&parts[1]));
        let count =
            async |table| self.0.database.number(&format!("SELECT count(*) FROM {table} WHERE team = {team} AND name = {name}")).await;
        let (rows, children) = (count("things").await, count("parts").await);
        assert_eq!(children, 2 * rows, "children go with their record and only with it");
        let outside = self.0.database.number("SELECT count(*) FROM things WHERE `open` = 1").await;
        assert_eq!(outside, 1, "what the condition leaves out stays");
        rows == 1
    }
}

suite!(plain, super::Plain);
suite!(indexed, super::Indexed);
suite!(composite, super::Composite);
