//! Children go with their record and nothing else does, and whatever else would go or stay is said before.

use super::*;

const TREE: &str = "CREATE TABLE things (id INT UNSIGNED PRIMARY KEY, done DATE, status ENUM('open', 'closed') DEFAULT 'closed');
    CREATE TABLE parts (pid BINARY(16) PRIMARY KEY, thing INT, note TEXT, INDEX (thing));
    CREATE TABLE marks (part BINARY(16), mark INT, FOREIGN KEY (part) REFERENCES parts (pid) ON DELETE CASCADE);
    INSERT INTO things (id, done) SELECT seq, '2020-01-01' FROM seq_1_to_40;
    INSERT INTO parts SELECT UNHEX(LEFT(SHA2(seq, 256), 32)), 1 + seq % 40, 'n' FROM seq_1_to_80;
    INSERT INTO marks SELECT UNHEX(LEFT(SHA2(1 + seq % 80, 256), 32)), seq FROM seq_1_to_160";

const TREE_SET: &str = "{ table: things, key: id, where: \"status = 'closed'\", anonymise: { done: null },
    children: [ { table: parts, key: thing, id: pid, children: [ { table: marks, key: part } ] } ] }";

#[tokio::test]
async fn a_record_goes_with_its_children_of_every_depth_and_nothing_else_goes() {
    for database in databases(TREE).await {
        let store = store(&database.url(), TREE_SET, "done");
        assert!(!findings(&store).await.contains("Blocks"), "{}", findings(&store).await);
        let records = all(&store).await;
        assert_eq!(records.len(), 40);
        let fates = destroy(&store, &records[..3]).await;
        assert_eq!(fates.iter().map(done).collect::<Vec<_>>(), [6, 6, 6]);
        assert_eq!(
            database.texts("SELECT count(*) FROM things UNION ALL SELECT count(*) FROM parts UNION ALL SELECT count(*) FROM marks").await,
            ["37", "74", "148"]
        );
        assert_eq!(destroy(&store, &records[..1]).await, [Fate::Absent]);
        database.run("UPDATE things SET status = 'open' WHERE id = 5; UPDATE things SET done = '2020-01-02' WHERE id = 6").await;
        let fates = destroy(&store, &records[4..6]).await;
        assert!(fates.iter().all(|fate| matches!(fate, Fate::Kept(Kept::Changed(_)))), "{fates:?}");
        database.run("UPDATE things SET done = NULL WHERE id = 10").await;
        let records = all(&store).await;
        assert_eq!(records.len(), 35);
        let fates = remove(&store, Act::Anonymise, &records).await;
        assert!(fates.iter().all(|fate| done(fate) == 0), "{fates:?}");
        assert_eq!(database.number("SELECT count(*) FROM things WHERE done IS NULL").await, 36);
        // Rows that are found count, not only those that an update finds to be different; but nothing shows that this one took hold.
        let dataset = "{ table: things, key: id, anonymise: { done: null }, anonymised: '1 = 0' }";
        let store = self::store(&database.url(), dataset, "done");
        let record = all(&store).await.remove(0);
        let fates = remove(&store, Act::Anonymise, &[record]).await;
        assert!(matches!(&fates[0], Fate::Done(evidence) if !evidence.verified), "{fates:?}");
    }
}

#[tokio::test]
async fn what_the_plan_would_not_count_is_refused() {
    const KIDS: &str = "{ table: things, key: id, children: [ { table: kids, key: thing } ] }";
    const BARE: &str = "{ table: things, key: id }";
    let table = "CREATE TABLE things (id INT PRIMARY KEY, code INT UNIQUE, done DATE)";
    let text = "CREATE TABLE things (id VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY, done DATE)";
    for server in servers() {
        for (script, dataset, says) in [
            (
                format!("{table}; CREATE TABLE kids (thing INT, FOREIGN KEY (thing) REFERENCES things (id) ON DELETE CASCADE)"),
                BARE,
                "ON DELETE CASCADE",
            ),
            (
                format!("{table}; CREATE TABLE kids (thing INT, FOREIGN KEY (thing) REFERENCES things (id) ON DELETE SET NULL)"),
                BARE,
                "ON DELETE SET NULL",
            ),
            // Named, but by a column that refers to another than the key.
            (
                format!("{table}; CREATE TABLE kids (thing INT, FOREIGN KEY (thing) REFERENCES things (code) ON DELETE CASCADE)"),
                KIDS,
                "ON DELETE CASCADE",
            ),
            (
                format!(
                    "{table}; CREATE DATABASE other_DB; \
                 CREATE TABLE other_DB.kids (thing INT, FOREIGN KEY (thing) REFERENCES DB.things (id) ON DELETE CASCADE)"
                ),
                BARE,
                "other_",
            ),
            (
                format!(
                    "{table}; CREATE TABLE kids (thing INT PRIMARY KEY, FOREIGN KEY (thing) REFERENCES things (id)); \
                 CREATE TABLE more (kid INT, FOREIGN KEY (kid) REFERENCES kids (thing) ON DELETE CASCADE)"
                ),
                KIDS,
                "the table `more` refers to `kids`",
            ),
            (format!("{table}; CREATE TRIGGER t BEFORE DELETE ON things FOR EACH ROW SET @a = 1"), BARE, "the trigger `t` on `things`"),
            (
                format!("{table}; CREATE TABLE kids (thing INT); CREATE TRIGGER t AFTER DELETE ON kids FOR EACH ROW SET @a = 1"),
                KIDS,
                "the trigger `t` on `kids`",
            ),
            (format!("{table}; ALTER TABLE things ENGINE = MyISAM"), BARE, "without transactions"),
            (format!("{table}; CREATE TABLE kids (thing INT) ENGINE = Aria"), KIDS, "without transactions"),
            (format!("{table}; CREATE TABLE kids (thing INT) WITH SYSTEM VERSIONING"), KIDS, "system-versioned"),
            (format!("{text}; CREATE TABLE kids (thing VARCHAR(20) COLLATE utf8mb4_general_ci)"), KIDS, "utf8mb4_general_ci"),
            (format!("{text}; CREATE TABLE kids (thing INT)"), KIDS, "one type and collation"),
            (format!("{table}; CREATE TABLE kids (thing VARCHAR(20))"), KIDS, "one type and collation"),
        ] {
            // What only MariaDB has.
            if server.engine() == Engine::MySql && ["Aria", "SYSTEM VERSIONING"].iter().any(|own| script.contains(own)) {
                continue;
            }
            let database = server.database().await;
            database.run(&script.replace("DB", database.name())).await;
            database.run("INSERT INTO things (id, done) VALUES ('1', '2020-01-01')").await;
            let store = store(&database.url(), dataset, "done");
            let found = findings(&store).await;
            assert!(found.contains("Blocks") && found.contains(says), "{script}: {found}");
            let records = all(&store).await;
            let fates = destroy(&store, &records).await;
            assert!(matches!(&fates[0], Fate::Failed { error, uncertain: false } if error.contains(says)), "{script}: {fates:?}");
            assert_eq!(database.number("SELECT count(*) FROM things").await, 1);
        }
        let database = server.database().await;
        database.run("CREATE TABLE things (id INT PRIMARY KEY, done DATE)").await;
        if server.engine() == Engine::MariaDb {
            database.run("ALTER TABLE things ADD SYSTEM VERSIONING").await;
            let found = findings(&plain(&database)).await;
            assert!(found.contains("system-versioned table, which keeps what is deleted"), "{found}");
        }
        database.run("CREATE OR REPLACE VIEW v AS SELECT 1 AS id, CURRENT_DATE AS done").await;
        let found = findings(&store(&database.url(), "{ table: v, key: id }", "done")).await;
        assert!(found.contains("`v` is a view, not a table"), "{found}");
        let found = findings(&store(&database.url(), "{ table: thing, key: id }", "done")).await;
        assert!(found.contains("there is no table `thing`") && found.contains("things"), "{found}");
    }
}

#[tokio::test]
async fn everything_that_the_account_may_not_do_or_see_is_said_at_once() {
    let script = "CREATE TABLE things (id INT PRIMARY KEY, done DATE, note TEXT, secret INT); CREATE TABLE kids (thing INT, INDEX (thing));
        INSERT INTO things VALUES (1, '2020-01-01', 'n', 1)";
    for database in databases(script).await {
        let dataset = "{ table: things, key: id, children: [ { table: kids, key: thing } ], anonymise: { note: null } }";
        let name = database.name().to_owned();
        let on = |grants: &[&str]| grants.iter().map(|grant| grant.replace("DB", &name)).collect::<Vec<_>>();
        for (role, grants, says) in [
            (
                "a",
                on(&["SELECT ON DB.*", "PROCESS ON *.*", "TRIGGER ON DB.*"]),
                &["DELETE command denied", "UPDATE command denied", "kids"][..],
            ),
            ("b", on(&["SELECT, DELETE, UPDATE ON DB.*", "TRIGGER ON DB.*"]), &["GRANT PROCESS"][..]),
            ("c", on(&["SELECT, DELETE, UPDATE ON DB.*", "PROCESS ON *.*"]), &["GRANT TRIGGER ON things", "GRANT TRIGGER ON kids"][..]),
            (
                "d",
                on(&["SELECT (id, done, note), DELETE, UPDATE ON DB.things", "SELECT ON DB.kids"]),
                &["`things` cannot be read as a whole"][..],
            ),
            ("e", on(&["SELECT, DELETE, UPDATE, TRIGGER ON DB.things", "SELECT, DELETE, TRIGGER ON DB.kids", "PROCESS ON *.*"]), &[][..]),
            ("f", on(&["SELECT, DELETE, UPDATE ON *.*", "TRIGGER ON DB.*"]), &[][..]),
        ] {
            let role = database.role(role, None, &grants.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let found = findings(&store(&role.url, dataset, "done")).await;
            assert_eq!(found.contains("Blocks"), !says.is_empty(), "{}: {found}", role.name);
            for says in says {
                assert!(found.contains(says), "{}: {says}: {found}", role.name);
            }
        }
        // A cascade of a table that it may not see.
        let role = database
            .role(
                "g",
                None,
                &on(&["SELECT, DELETE, UPDATE, TRIGGER ON DB.things", "PROCESS ON *.*"]).iter().map(String::as_str).collect::<Vec<_>>(),
            )
            .await;
        let store = store(&role.url, "{ table: things, key: id }", "done");
        assert!(!findings(&store).await.contains("Blocks"));
        database.run("CREATE TABLE hidden (thing INT, FOREIGN KEY (thing) REFERENCES things (id) ON DELETE CASCADE)").await;
        let found = findings(&store).await;
        assert!(found.contains("a table that the account may not read refers to `things`"), "{found}");
        let records = all(&store).await;
        assert!(matches!(destroy(&store, &records).await[0], Fate::Failed { .. }));
    }
}

#[tokio::test]
async fn conditions_take_double_quotes_for_names_and_backslashes_are_refused() {
    let script = "CREATE TABLE things (id INT PRIMARY KEY, done DATE, `open` INT);
        INSERT INTO things VALUES (1, '2020-01-01', 1), (2, '2020-01-01', 0)";
    for database in databases(script).await {
        let store = |condition: &str| store(&database.url(), &format!("{{ table: things, key: id, where: '{condition}' }}"), "done");
        assert_eq!(keys(&all(&store("\"open\" = 0")).await), ["2"]);
        let found = findings(&store("\"opened\" = 0")).await;
        assert!(found.contains("Blocks") && found.contains("Unknown column 'opened'"), "{found}");
    }
}

#[tokio::test]
async fn a_server_that_is_read_only_or_writes_statements_into_its_log_is_refused() {
    for engine in Engine::OF_MYSQL {
        let options = Options {
            settings: vec!["read_only = ON".into(), "log_bin = changes".into(), "binlog_format = STATEMENT".into()],
            unsynced: true,
            ..Options::default()
        };
        let Some(server) = Server::private(engine, options) else { continue };
        let database = server.database().await;
        database.run("CREATE TABLE things (id INT PRIMARY KEY, done DATE); INSERT INTO things VALUES (1, '2020-01-01')").await;
        let store = plain(&database);
        let found = findings(&store).await;
        assert!(found.contains("`read_only`") && found.contains("`binlog_format` is STATEMENT"), "{found}");
        let records = all(&store).await;
        let fates = destroy(&store, &records).await;
        assert!(matches!(&fates[0], Fate::Failed { error, uncertain: false } if error.contains("binlog_format")), "{fates:?}");
        assert!(!found.contains("is a replica"), "{found}");
        let follow = match engine {
            Engine::MySql => {
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1, SOURCE_USER = 'nobody'; START REPLICA"
            }
            _ => "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'nobody'; START SLAVE",
        };
        database.run(follow).await;
        let found = findings(&store).await;
        assert!(found.contains("is a replica"), "{found}");
    }
}
