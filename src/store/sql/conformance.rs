//! SQLite before the suite that every store passes: a plain table, one that an index serves in the order of its dates, and one with a key of two
//! columns, a condition, and children.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use super::SQLITE;
use super::value::{Seen, key_of, parts_of};
use crate::record::Key;
use crate::store::Store;
use crate::store::conformance::{Abilities, Harness, When, configure, suite};

const ABILITIES: Abilities =
    Abilities { not_yet_and_instants: true, group: Some("team"), knows_datasets: true, anonymises: true, unreachable: None };

struct Database {
    _folder: tempfile::TempDir,
    path: PathBuf,
    store: Arc<dyn Store>,
    /// Whoever makes records: thousands, so one connection for all of them, and nothing that a power cut would miss.
    maker: tokio::sync::Mutex<SqliteConnection>,
}

impl Database {
    async fn new(schema: &[&'static str], dataset: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("things.db");
        let mut connection = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
        for statement in schema {
            sqlx::query(AssertSqlSafe(*statement)).execute(&mut connection).await.unwrap();
        }
        sqlx::query("PRAGMA synchronous = OFF; PRAGMA busy_timeout = 20000").execute(&mut connection).await.unwrap();
        let store = configure(&SQLITE, &path, dataset, "{ column: done, as: datetime }", "team", true);
        Self { _folder: folder, path, store, maker: connection.into() }
    }

    /// A connection of somebody else's.
    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(&self.path).busy_timeout(std::time::Duration::from_secs(20)).connect().await.unwrap()
    }

    /// Makes a record.
    async fn put(&self, team: &str, name: &str, when: When) {
        let query = sqlx::query("INSERT INTO things (team, name, done) VALUES (?, ?, ?)").bind(team).bind(name).bind(written(when));
        query.execute(&mut *self.maker.lock().await).await.unwrap();
    }

    /// Runs one statement with the team and the name, and answers the number of rows that it changed or counted.
    async fn run(&self, statement: &'static str, team: &str, name: &str) -> i64 {
        let mut connection = self.connect().await;
        let query = sqlx::query(AssertSqlSafe(statement)).bind(team.to_owned()).bind(name.to_owned());
        let row = query.fetch_optional(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        row.map_or(0, |row| row.get(0))
    }
}

fn written(when: When) -> Option<String> {
    match when {
        When::On(date) => Some(date.to_string()),
        When::At(instant) => Some(instant.to_string()),
        When::NotYet => None,
        When::Doubt => Some("2025-02-30".into()),
    }
}

/// One column is the key.
struct Plain(Database);

/// The same with an index by date, in whose order it is walked.
struct Indexed(Database);

/// A key of two columns, a condition, children.
struct Composite(Database);

fn text_of(key: &Key) -> &str {
    std::str::from_utf8(key.as_bytes()).unwrap()
}

const TABLE: &str = "CREATE TABLE things (team TEXT, name TEXT PRIMARY KEY NOT NULL, done TEXT, note TEXT DEFAULT 'a note')";

#[async_trait]
impl Harness for Plain {
    const ABILITIES: Abilities = ABILITIES;

    async fn new() -> Self {
        Self(Database::new(&[TABLE], "{ table: things, key: name, anonymise: { note: null } }").await)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.put(group, name, when).await;
        Key::new(name.as_bytes())
    }

    async fn change(&self, key: &Key) {
        self.0.run("UPDATE things SET note = note || '!' WHERE ?1 <> ?2 AND name = ?2", "", text_of(key)).await;
    }

    async fn is_there(&self, key: &Key) -> bool {
        self.0.run("SELECT count(*) FROM things WHERE ?1 = '' AND name = ?2", "", text_of(key)).await == 1
    }
}

#[async_trait]
impl Harness for Indexed {
    // Walking by date needs a dataset that is the whole table, without rows that are anonymised already.
    const ABILITIES: Abilities = Abilities { anonymises: false, ..ABILITIES };

    async fn new() -> Self {
        let mut database = Database::new(
            &[TABLE, "CREATE INDEX by_date ON things (done, name)"],
            "{ table: things, key: name, anonymise: { note: null } }",
        )
        .await;
        database.store =
            configure(&SQLITE, &database.path, "{ table: things, key: name }", "{ column: done, as: datetime }", "team", false);
        Self(database)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.put(group, name, when).await;
        Key::new(name.as_bytes())
    }

    async fn change(&self, key: &Key) {
        self.0.run("UPDATE things SET note = note || '!' WHERE ?1 <> ?2 AND name = ?2", "", text_of(key)).await;
    }

    async fn is_there(&self, key: &Key) -> bool {
        self.0.run("SELECT count(*) FROM things WHERE ?1 = '' AND name = ?2", "", text_of(key)).await == 1
    }
}

#[async_trait]
impl Harness for Composite {
    const ABILITIES: Abilities = ABILITIES;

    async fn new() -> Self {
        let schema = [
            "CREATE TABLE things (team TEXT NOT NULL, name TEXT NOT NULL, done TEXT, note TEXT DEFAULT 'a note', open INTEGER DEFAULT 0, PRIMARY KEY (team, name)) WITHOUT ROWID",
            "CREATE TABLE parts (team TEXT, name TEXT, part INTEGER, FOREIGN KEY (team, name) REFERENCES things (team, name))",
            "CREATE TRIGGER parts_of_things AFTER INSERT ON things BEGIN INSERT INTO parts VALUES (new.team, new.name, 1), (new.team, new.name, 2); END",
            "INSERT INTO things (team, name, done, open) VALUES ('g', 'outside the condition', '2001-01-01', 1)",
        ];
        let dataset = "{ table: things, key: [team, name], where: \"open = 0\", children: [ { table: parts, key: [team, name] } ], anonymise: { note: null } }";
        Self(Database::new(&schema, dataset).await)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.put(group, name, when).await;
        key_of(&[Seen::Text(group), Seen::Text(name)])
    }

    async fn change(&self, key: &Key) {
        let parts = parts_of(key.as_bytes(), 2).unwrap();
        self.0.run("UPDATE things SET note = note || '!' WHERE team = ? AND name = ?", &parts[0], &parts[1]).await;
    }

    async fn is_there(&self, key: &Key) -> bool {
        let parts = parts_of(key.as_bytes(), 2).unwrap();
        let row = self.0.run("SELECT count(*) FROM things WHERE team = ? AND name = ?", &parts[0], &parts[1]).await;
        let children = self.0.run("SELECT count(*) FROM parts WHERE team = ? AND name = ?", &parts[0], &parts[1]).await;
        assert_eq!(children, 2 * row, "children go with their record and only with it");
        assert_eq!(
            self.0.run("SELECT count(*) FROM things WHERE open = 1 AND ?1 <> ?2", "", "x").await,
            1,
            "what the condition leaves out stays"
        );
        row == 1
    }
}

suite!(plain, super::Plain);
suite!(indexed, super::Indexed);
suite!(composite, super::Composite);
