//! Things that come to hang on a table while records go from it.

use std::path::Path;
use std::sync::Arc;

use super::super::servers::{self, Database, Engine};
use super::super::tests::{all, configured, destroy, done, remove};
use super::super::{MYSQL, POSTGRES};
use crate::record::Record;
use crate::store::{Act, Fate, Kept, Order, Store};

const PEOPLE: &str = "  people: { table: people, key: id, events: { end: ended_on }, anonymise: { note: null } }\n";
const ROWS: &str = "CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE, note VARCHAR(10)); CREATE TABLE log (id INT);
    INSERT INTO people VALUES (1, '2020-01-01', 'n'), (2, '2020-01-01', 'n'), (3, '2020-01-01', 'n'), (4, '2020-01-01', 'n')";

async fn estate(engine: Engine, sets: &str) -> Option<(Database, Arc<dyn Store>)> {
    let database = servers::shared(engine)?.database().await;
    database.run(ROWS).await;
    let kind = if engine == Engine::Postgres { &POSTGRES } else { &MYSQL };
    let store = configured(kind, &database.url(), Path::new("/"), sets).unwrap();
    Some((database, store))
}

const FUNCTION: &str =
    "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (old.id); RETURN old; END'; ";

#[tokio::test]
async fn what_comes_to_hang_on_a_table_is_met_by_the_very_next_transaction() {
    let plain = "  people: { table: people, key: id, events: { end: ended_on } }\n";
    for (engine, act, makes, ends, words) in [
        (
            Engine::Postgres,
            Act::Destroy,
            format!("{FUNCTION} CREATE TRIGGER t AFTER DELETE ON people FOR EACH ROW EXECUTE FUNCTION noted()"),
            "DROP TRIGGER t ON people; DROP FUNCTION noted",
            "the trigger `t`",
        ),
        (
            Engine::Postgres,
            Act::Anonymise,
            format!("{FUNCTION} CREATE TRIGGER t AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION noted()"),
            "DROP TRIGGER t ON people; DROP FUNCTION noted",
            "the trigger `t`",
        ),
        (
            Engine::Postgres,
            Act::Destroy,
            "CREATE RULE r AS ON DELETE TO people DO ALSO INSERT INTO log VALUES (old.id)".into(),
            "DROP RULE r ON people",
            "the rule `r`",
        ),
        (
            Engine::Postgres,
            Act::Destroy,
            "CREATE TABLE kids (p int REFERENCES people ON DELETE CASCADE); INSERT INTO kids SELECT id FROM people".into(),
            "DROP TABLE kids",
            "ON DELETE CASCADE",
        ),
        (
            Engine::Postgres,
            Act::Destroy,
            "ALTER TABLE people RENAME TO former; CREATE TABLE people (LIKE former INCLUDING ALL); INSERT INTO people SELECT * FROM former;
             CREATE RULE r AS ON DELETE TO people DO ALSO INSERT INTO log VALUES (old.id)"
                .into(),
            "DROP RULE r ON people",
            "the rule `r`",
        ),
        (
            Engine::MariaDb,
            Act::Destroy,
            "CREATE TRIGGER t AFTER DELETE ON people FOR EACH ROW INSERT INTO log VALUES (old.id)".into(),
            "DROP TRIGGER t",
            "the trigger `t`",
        ),
        (
            Engine::MariaDb,
            Act::Anonymise,
            "CREATE TRIGGER t AFTER UPDATE ON people FOR EACH ROW INSERT INTO log VALUES (old.id)".into(),
            "DROP TRIGGER t",
            "the trigger `t`",
        ),
        (
            Engine::MySql,
            Act::Destroy,
            "CREATE TRIGGER t AFTER DELETE ON people FOR EACH ROW INSERT INTO log VALUES (old.id)".into(),
            "DROP TRIGGER t",
            "the trigger `t`",
        ),
        (
            Engine::MySql,
            Act::Anonymise,
            "CREATE TRIGGER t AFTER UPDATE ON people FOR EACH ROW INSERT INTO log VALUES (old.id)".into(),
            "DROP TRIGGER t",
            "the trigger `t`",
        ),
    ] {
        let Some((database, store)) = estate(engine, if act == Act::Destroy { plain } else { PEOPLE }).await else { continue };
        let records = all(&store).await;
        // The tables are looked at now, over a connection that is kept.
        assert!(done(&remove(&store, act, None, &records[..1]).await[0]).verified);
        database.run(&makes).await;
        for fate in remove(&store, act, None, &records[1..3]).await {
            let Fate::Failed { error, uncertain: false } = &fate else { panic!("{makes}: {fate:?}") };
            assert!(error.contains(words), "{makes}: {error}");
        }
        assert_eq!(database.number("SELECT count(*) FROM log").await, 0, "{makes}");
        assert_eq!(database.number("SELECT count(*) FROM people WHERE note = 'n'").await, 3, "{makes}");
        if words.contains("CASCADE") {
            assert_eq!(database.number("SELECT count(*) FROM kids").await, 3);
        }
        database.run(ends).await;
        let again = all(&store).await;
        let again: Vec<Record> = again.into_iter().filter(|record| record.key.to_text() != "1").collect();
        assert!(remove(&store, act, None, &again).await.iter().all(|fate| done(fate).verified), "{makes}");
    }
}

#[tokio::test]
async fn triggers_that_are_accepted_may_come_and_go() {
    let sets = "  people: { table: people, key: id, events: { end: ended_on }, triggers: accept }\n";
    let Some((database, store)) = estate(Engine::Postgres, sets).await else { return };
    let records = all(&store).await;
    assert!(done(&destroy(&store, &records[..1]).await[0]).verified);
    database.run(&format!("{FUNCTION} CREATE TRIGGER t AFTER DELETE ON people FOR EACH ROW EXECUTE FUNCTION noted()")).await;
    assert!(done(&destroy(&store, &records[1..2]).await[0]).verified);
    assert_eq!(database.texts("SELECT id FROM log").await, ["2"]);
}

/// Between the look and the commit nobody gets anything onto the table: the guard is asked in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_hung_on_a_table_between_the_look_and_the_commit() {
    let plain = "  people: { table: people, key: id, events: { end: ended_on } }\n";
    let children = "  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: log, key: id } ] }\n";
    for sets in [plain, children] {
        let Some((database, store)) = estate(Engine::Postgres, sets).await else { return };
        database.run(FUNCTION).await;
        let records = all(&store).await;
        let order = Order { act: Act::Destroy, at_least: None };
        let tried = std::sync::Mutex::new(Vec::new());
        let guard = |_: usize, _: &Record| {
            let attempt = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut other = database.admin().await;
                    other.run("SET lock_timeout = '200ms'").await.unwrap();
                    for (at, makes) in [
                        "CREATE TRIGGER t AFTER DELETE ON people FOR EACH ROW EXECUTE FUNCTION noted()",
                        "CREATE RULE r AS ON DELETE TO people DO ALSO INSERT INTO log VALUES (old.id)",
                        "CREATE TABLE kids (p int REFERENCES people ON DELETE CASCADE)",
                        "CREATE TRIGGER t AFTER DELETE ON log FOR EACH ROW EXECUTE FUNCTION noted()",
                    ]
                    .into_iter()
                    .enumerate()
                    {
                        // The children's table is in use only where there are children.
                        if at < 3 || sets.contains("children") {
                            let refused = other.run(makes).await.is_err();
                            tried.lock().unwrap().push((makes, refused));
                        }
                    }
                    other.close().await;
                });
            };
            std::thread::scope(|scope| scope.spawn(attempt).join().unwrap());
            None::<Kept>
        };
        let fates = store.remove(&crate::dispose::Permit::for_test(), "people", &order, &records[..1], &guard).await;
        assert!(done(&fates[0]).verified, "{fates:?}");
        let tried = tried.into_inner().unwrap();
        assert!(!tried.is_empty() && tried.iter().all(|(_, refused)| *refused), "{sets}: {tried:?}");
    }
}
