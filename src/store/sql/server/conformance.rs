//! Servers before the suite that every store passes: a plain table, one that an index serves in the order of its dates, and one with a key of
//! two columns, a condition, and children. What the engines write differently is their [`Flavour`].

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::super::servers::{self, Database};
use super::super::value::{Seen, key_of, parts_of};
use super::super::{MYSQL, POSTGRES};
use crate::record::Key;
use crate::store::conformance::{Abilities, Harness, When, configure, suite};
use crate::store::{Kind, Store};

const ABILITIES: Abilities =
    Abilities { not_yet_and_instants: true, group: Some("team"), knows_datasets: true, anonymises: true, unreachable: Some("rewritten") };

/// What an engine writes in its own way.
trait Flavour: Send + Sync {
    const KIND: &'static Kind;
    /// The table of which one column is the key.
    const TABLE: &'static str;
    /// An index by date that gives the order (date, key).
    const BY_DATE: &'static str;
    /// The tables of which the key has two columns, and a row outside the condition.
    const COMPOSITE: &'static str;
    /// What stands for `BINARY` in both.
    const COLLATION: &'static str = "";
    /// The dataset for them; `DATABASE` stands for the database's name.
    const DATASET: &'static str;
    /// What makes a note longer.
    const LONGER: &'static str;
    /// What holds for the row outside the condition.
    const OUTSIDE: &'static str;

    fn server() -> Option<&'static servers::Server>;

    fn quoted(text: &str) -> String;
}

struct Postgres;

impl Flavour for Postgres {
    const KIND: &'static Kind = &POSTGRES;
    const TABLE: &'static str =
        "CREATE TABLE things (team text, name text PRIMARY KEY, done text, note text DEFAULT 'a note', extra bytea DEFAULT 'x')";
    const BY_DATE: &'static str = "CREATE INDEX by_date ON things (done, name)";
    const COMPOSITE: &'static str =
        "CREATE TABLE things (team text, name text, done text, note text DEFAULT 'a note', open int DEFAULT 0, PRIMARY KEY (name, team));
        CREATE TABLE parts (team text, name text, part int, FOREIGN KEY (team, name) REFERENCES things (team, name));
        CREATE FUNCTION add_parts() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO parts VALUES (new.team, new.name, 1), (new.team, new.name, 2); RETURN new; END';
        CREATE TRIGGER parts_of_things AFTER INSERT ON things FOR EACH ROW EXECUTE FUNCTION add_parts();
        INSERT INTO things (team, name, done, open) VALUES ('g', 'outside the condition', '2001-01-01', 1)";
    const DATASET: &'static str = "{ table: public.things, key: [team, name], where: \"open = 0::int\", \
        children: [ { table: parts, key: [team, name] } ], anonymise: { note: null } }";
    const LONGER: &'static str = "note || '!'";
    const OUTSIDE: &'static str = "open = 1";

    fn server() -> Option<&'static servers::Server> {
        servers::postgres()
    }

    fn quoted(text: &str) -> String {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// What both engines of the store `mysql` write alike. `BINARY` stands for a collation that tells all texts apart, also by spaces at their end.
const TABLE: &str = "CREATE TABLE things (team VARCHAR(100), name VARCHAR(200) PRIMARY KEY, done VARCHAR(40), \
    note TEXT DEFAULT ('a note'), extra BLOB DEFAULT ('x')) COLLATE BINARY";
const COMPOSITE: &str = "CREATE TABLE things (team VARCHAR(100), name VARCHAR(200), done VARCHAR(40), \
        note TEXT DEFAULT ('a note'), `open` INT DEFAULT 0, PRIMARY KEY (name, team)) COLLATE BINARY;
    CREATE TABLE parts (team VARCHAR(100), name VARCHAR(200), part INT, \
        FOREIGN KEY (name, team) REFERENCES things (name, team)) COLLATE BINARY;
    CREATE TRIGGER parts_of_things AFTER INSERT ON things FOR EACH ROW \
        INSERT INTO parts VALUES (new.team, new.name, 1), (new.team, new.name, 2);
    INSERT INTO things (team, name, done, `open`) VALUES ('g', 'outside the condition', '2001-01-01', 1)";

struct MariaDb;
struct MySql;

macro_rules! of_mysql {
    ($flavour:ty, $server:path, $collation:literal) => {
        impl Flavour for $flavour {
            const KIND: &'static Kind = &MYSQL;
            const TABLE: &'static str = TABLE;
            // The engine appends the key to the index by itself.
            const BY_DATE: &'static str = "CREATE INDEX by_date ON things (done)";
            const COMPOSITE: &'static str = COMPOSITE;
            const COLLATION: &'static str = $collation;
            const DATASET: &'static str = "{ table: DATABASE.things, key: [team, name], where: '`open` = 0', \
                children: [ { table: parts, key: [team, name] } ], anonymise: { note: null } }";
            const LONGER: &'static str = "CONCAT(note, '!')";
            const OUTSIDE: &'static str = "`open` = 1";

            fn server() -> Option<&'static servers::Server> {
                $server()
            }

            fn quoted(text: &str) -> String {
                format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
            }
        }
    };
}

of_mysql!(MariaDb, servers::mariadb, "utf8mb4_nopad_bin");
of_mysql!(MySql, servers::mysql, "utf8mb4_0900_bin");

struct Things<F> {
    database: Database,
    store: Arc<dyn Store>,
    /// Whoever makes records: thousands, so one session for all of them.
    maker: tokio::sync::Mutex<servers::Session>,
    flavour: PhantomData<F>,
}

impl<F: Flavour> Things<F> {
    async fn new(schema: &str, dataset: &str, anonymises: bool) -> Self {
        let server = F::server().expect("the suite is left out where there is no server");
        let database = server.database().await;
        database.run(&schema.replace("BINARY", F::COLLATION)).await;
        let dataset = dataset.replace("DATABASE", database.name());
        let store = configure(F::KIND, Path::new(&database.url()), &dataset, "{ column: done, as: datetime }", "team", anonymises);
        let maker = database.admin().await.into();
        Self { database, store, maker, flavour: PhantomData }
    }

    async fn put(&self, team: &str, name: &str, when: When) {
        let done = match when {
            When::On(date) => F::quoted(&date.to_string()),
            When::At(instant) => F::quoted(&instant.to_string()),
            When::NotYet => "NULL".into(),
            When::Doubt => "'2025-02-30'".into(),
        };
        let (team, name) = (F::quoted(team), F::quoted(name));
        let statement = format!("INSERT INTO things (team, name, done) VALUES ({team}, {name}, {done})");
        self.maker.lock().await.run(&statement).await.unwrap();
    }

    /// Sets a column of the row that one column names.
    async fn set(&self, what: &str, key: &Key) {
        self.database.run(&format!("UPDATE things SET {what} WHERE name = {}", Self::text_of(key))).await;
    }

    async fn has(&self, key: &Key) -> bool {
        self.database.number(&format!("SELECT count(*) FROM things WHERE name = {}", Self::text_of(key))).await == 1
    }

    fn text_of(key: &Key) -> String {
        F::quoted(std::str::from_utf8(key.as_bytes()).unwrap())
    }

    /// The condition for the row that two columns name.
    fn both(key: &Key) -> String {
        let parts = parts_of(key.as_bytes(), 2).unwrap();
        format!("team = {} AND name = {}", F::quoted(&parts[0]), F::quoted(&parts[1]))
    }
}

/// One column is the key.
struct Plain<F>(Things<F>);

/// The same with an index by date, in whose order it is walked.
struct Indexed<F>(Things<F>);

/// A key of two columns, a condition, children.
struct Composite<F>(Things<F>);

#[async_trait]
impl<F: Flavour> Harness for Plain<F> {
    const ABILITIES: Abilities = ABILITIES;

    fn there() -> bool {
        F::server().is_some()
    }

    async fn new() -> Self {
        Self(Things::new(F::TABLE, "{ table: things, key: name, anonymise: { note: null } }", true).await)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.put(group, name, when).await;
        Key::new(name.as_bytes())
    }

    async fn change(&self, key: &Key) {
        self.0.set(&format!("note = {}", F::LONGER), key).await;
    }

    async fn is_there(&self, key: &Key) -> bool {
        self.0.has(key).await
    }
}

#[async_trait]
impl<F: Flavour> Harness for Indexed<F> {
    // Walking by date needs a dataset that is the whole table, without rows that are anonymised already.
    const ABILITIES: Abilities = Abilities { anonymises: false, ..ABILITIES };

    fn there() -> bool {
        F::server().is_some()
    }

    async fn new() -> Self {
        Self(Things::new(&format!("{}; {}", F::TABLE, F::BY_DATE), "{ table: things, key: name }", false).await)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.put(group, name, when).await;
        Key::new(name.as_bytes())
    }

    async fn change(&self, key: &Key) {
        self.0.set("extra = 'y'", key).await;
    }

    async fn is_there(&self, key: &Key) -> bool {
        self.0.has(key).await
    }
}

#[async_trait]
impl<F: Flavour> Harness for Composite<F> {
    const ABILITIES: Abilities = ABILITIES;

    fn there() -> bool {
        F::server().is_some()
    }

    async fn new() -> Self {
        Self(Things::new(F::COMPOSITE, F::DATASET, true).await)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.put(group, name, when).await;
        key_of(&[Seen::Text(group), Seen::Text(name)])
    }

    async fn change(&self, key: &Key) {
        self.0.database.run(&format!("UPDATE things SET note = {} WHERE {}", F::LONGER, Things::<F>::both(key))).await;
    }

    async fn is_there(&self, key: &Key) -> bool {
        let both = Things::<F>::both(key);
        let count = async |table| self.0.database.number(&format!("SELECT count(*) FROM {table} WHERE {both}")).await;
        let (rows, children) = (count("things").await, count("parts").await);
        assert_eq!(children, 2 * rows, "children go with their record and only with it");
        let outside = self.0.database.number(&format!("SELECT count(*) FROM things WHERE {}", F::OUTSIDE)).await;
        assert_eq!(outside, 1, "what the condition leaves out stays");
        rows == 1
    }
}

suite!(postgres_plain, super::Plain<super::Postgres>);
suite!(postgres_indexed, super::Indexed<super::Postgres>);
suite!(postgres_composite, super::Composite<super::Postgres>);
suite!(mariadb_plain, super::Plain<super::MariaDb>);
suite!(mariadb_indexed, super::Indexed<super::MariaDb>);
suite!(mariadb_composite, super::Composite<super::MariaDb>);
suite!(mysql_plain, super::Plain<super::MySql>);
suite!(mysql_indexed, super::Indexed<super::MySql>);
suite!(mysql_composite, super::Composite<super::MySql>);
