//! What is refused before anything goes, and again while records go: tables that are none, things that happen by themselves, missing rights.

use super::*;

#[tokio::test]
async fn only_tables_are_taken_and_everything_else_is_called_by_its_name() {
    let script = format!(
        "{THREE} CREATE VIEW v AS SELECT * FROM people; CREATE MATERIALIZED VIEW m AS SELECT * FROM people; CREATE UNIQUE INDEX ON m (id);
         CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE f (id int, ended_on date) SERVER files OPTIONS (filename '/dev/null');
         CREATE SEQUENCE s; CREATE TABLE parent (LIKE people INCLUDING ALL); CREATE TABLE heir (CHECK (id > 100)) INHERITS (parent); ALTER TABLE heir ADD PRIMARY KEY (id);
         CREATE TABLE ruled (LIKE people INCLUDING ALL); CREATE RULE archived AS ON DELETE TO ruled DO INSTEAD NOTHING;
         CREATE TABLE other.people (id int PRIMARY KEY, ended_on date); INSERT INTO other.people VALUES (1, '2020-01-01');
         CREATE TABLE loose (id int, ended_on date); CREATE UNIQUE INDEX ON loose (id) WHERE id > 5;
         CREATE TABLE late (id int, ended_on date, UNIQUE (id) DEFERRABLE);"
    );
    let Some(db) = Db::new(&format!("CREATE SCHEMA other; {script}")).await else { return };
    let of = |table: &str| db.store(&format!("  people: {{ table: {table}, key: id, events: {{ end: ended_on }} }}\n"));
    for (table, words) in [
        ("v", "is a view, not a table"),
        ("m", "is a materialised view, not a table"),
        ("f", "is a foreign table, not a table"),
        ("s", "is a thing of another kind, not a table"),
        ("parent", "other tables inherit from `parent`"),
        ("ruled", "the rule `archived` rewrites what is done to `ruled`"),
        ("peopel", "there is no table `peopel`"),
        ("nowhere.people", "there is no table `nowhere.people`"),
        ("loose", "is neither the primary key nor unique by an index"),
        ("late", "is neither the primary key nor unique by an index"),
    ] {
        let said = blocked(&of(table)).await;
        assert!(said.iter().any(|one| one.contains(words)), "{table}: {said:?}");
    }
    for table in ["people", "heir", "other.people", "public.people"] {
        assert_eq!(blocked(&of(table)).await, Vec::<String>::new(), "{table}");
    }
    let store = of("other.people");
    assert!(done(&destroy(&store, &all(&store).await).await[0]).verified);
    assert_eq!(db.number("SELECT count(*) FROM people").await, 3);
    // Refused by the removal as well, whatever became of the check.
    for table in ["ruled", "parent"] {
        db.run(&format!("INSERT INTO {table} SELECT * FROM people")).await;
        let store = of(table);
        let records = all(&store).await;
        assert_eq!(records.len(), 3);
        for fate in destroy(&store, &records).await {
            certain(&fate);
        }
        assert_eq!(db.number(&format!("SELECT count(*) FROM {table}")).await, 3);
    }
}

#[tokio::test]
async fn a_foreign_key_that_would_take_rows_along_uncounted_is_refused_until_it_is_named() {
    for action in ["CASCADE", "SET NULL", "SET DEFAULT"] {
        let Some(db) = Db::new(THREE).await else { return };
        db.run(&format!("CREATE TABLE kids (p int DEFAULT NULL REFERENCES people ON DELETE {action}); CREATE INDEX ON kids (p); INSERT INTO kids VALUES (2), (2)")).await;
        let store = db.store(PEOPLE);
        let said = blocked(&store).await;
        assert!(said.len() == 1 && said[0].contains(&format!("`kids` refers to `people` by (p) ON DELETE {action}")), "{said:?}");
        let records = all(&store).await;
        for fate in destroy(&store, &records).await {
            assert!(certain(&fate).contains("name it under `children:`"));
        }
        assert_eq!(db.number("SELECT count(*) FROM kids JOIN people ON people.id = kids.p").await, 2, "{action}");
        let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: kids, key: p } ] }\n");
        assert_eq!(blocked(&store).await, Vec::<String>::new());
        let parts: Vec<u64> = destroy(&store, &records).await.iter().map(|fate| done(fate).parts).collect();
        assert_eq!(parts, [0, 2, 0], "{action}");
        assert_eq!(db.number("SELECT count(*) FROM kids").await, 0, "{action}");
    }
}

#[tokio::test]
async fn a_child_is_only_named_when_it_refers_to_the_key_by_which_its_rows_are_counted() {
    // The rows of `kids` refer to another column than the dataset's key, so counting them by the key would miss them.
    let Some(db) = Db::new(
        "CREATE TABLE people (id int PRIMARY KEY, no int UNIQUE, ended_on date); INSERT INTO people VALUES (1, 7, '2020-01-01'), (7, 1, NULL);
         CREATE TABLE kids (p int REFERENCES people (no) ON DELETE CASCADE); INSERT INTO kids VALUES (7)",
    )
    .await
    else {
        return;
    };
    let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: kids, key: p } ] }\n");
    assert!(blocked(&store).await.iter().any(|one| one.contains("ON DELETE CASCADE")));
    let records = all(&store).await;
    certain(&destroy(&store, &records[..1]).await[0]);
    assert_eq!(db.number("SELECT count(*) FROM kids").await, 1);
    // The same with the columns of a key of two crossed.
    db.run(
        "CREATE TABLE two (a int, b int, ended_on date, PRIMARY KEY (a, b)); INSERT INTO two VALUES (1, 2, '2020-01-01'), (2, 1, NULL);
         CREATE TABLE of_two (x int, y int, FOREIGN KEY (y, x) REFERENCES two (a, b) ON DELETE CASCADE); INSERT INTO of_two VALUES (2, 1)",
    )
    .await;
    let crossed = "  people: { table: two, key: [a, b], events: { end: ended_on }, children: [ { table: of_two, key: [x, y] } ] }\n";
    let store = db.store(crossed);
    assert!(blocked(&store).await.iter().any(|one| one.contains("ON DELETE CASCADE")));
    let store = db.store(&crossed.replace("[x, y]", "[y, x]"));
    assert_eq!(blocked(&store).await, Vec::<String>::new());
    let records = all(&store).await;
    assert_eq!(done(&destroy(&store, &records[..1]).await[0]).parts, 1);
}

#[tokio::test]
async fn what_hangs_on_partitions_is_seen_from_the_whole_and_from_the_part() {
    let script = "CREATE TABLE people (id int, ended_on date, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF people FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
        CREATE TABLE lowest PARTITION OF low FOR VALUES FROM (0) TO (50);
        CREATE TABLE high PARTITION OF people FOR VALUES FROM (100) TO (200);
        INSERT INTO people VALUES (1, '2020-01-01'), (2, NULL), (101, '2020-01-01');";
    let whole = "  people: { table: people, key: id, events: { end: ended_on } }\n";
    let part = "  people: { table: lowest, key: id, events: { end: ended_on } }\n";
    let Some(db) = Db::new(script).await else { return };
    for set in [whole, part] {
        assert_eq!(blocked(&db.store(set)).await, Vec::<String>::new());
    }
    for (what, makes, ends, words) in [
        ("a key to the whole", "CREATE TABLE kids (p int REFERENCES people ON DELETE CASCADE)", "DROP TABLE kids", "ON DELETE CASCADE"),
        ("a key to the part", "CREATE TABLE kids (p int REFERENCES lowest ON DELETE SET NULL)", "DROP TABLE kids", "ON DELETE SET NULL"),
        (
            "a trigger of the whole",
            "CREATE TRIGGER t BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "DROP TRIGGER t ON people",
            "the trigger `t`",
        ),
        (
            "a trigger of the part",
            "CREATE TRIGGER t BEFORE DELETE ON lowest FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "DROP TRIGGER t ON lowest",
            "the trigger `t`",
        ),
    ] {
        db.run(makes).await;
        for set in [whole, part] {
            let store = db.store(set);
            let said = blocked(&store).await;
            assert_eq!(said.iter().filter(|one| one.contains(words)).count(), 1, "{what}, from {set}: {said:?}");
            let records = all(&store).await;
            assert!(certain(&destroy(&store, &records[..1]).await[0]).contains(words), "{what}");
        }
        db.run(ends).await;
    }
    let store = db.store(whole);
    let (records, scanned) = scan(&store, due("2021-01-01")).await;
    assert_eq!((keys(&records), scanned.population), (vec!["1".to_owned(), "101".to_owned()], 3));
    assert!(destroy(&store, &records).await.iter().all(|fate| done(fate).verified));
    assert_eq!(db.texts("SELECT id FROM people").await, ["2"]);
}

#[tokio::test]
async fn triggers_are_refused_until_they_are_accepted() {
    let script = format!(
        "{THREE} CREATE FUNCTION keep_two() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF old.id = 2 THEN RETURN NULL; END IF; RETURN old; END';
         CREATE TRIGGER on_update BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION keep_two();
         CREATE TRIGGER on_insert AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION keep_two();
         CREATE TRIGGER off BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION keep_two(); ALTER TABLE people DISABLE TRIGGER off;"
    );
    let Some(db) = Db::new(&script).await else { return };
    assert_eq!(blocked(&db.store(PEOPLE)).await, Vec::<String>::new(), "none of them runs when a record goes");
    let anonymises = "  people: { table: people, key: id, events: { end: ended_on }, anonymise: { name: null } }\n";
    assert!(blocked(&db.store(anonymises)).await[0].contains("the trigger `on_update` on `people`"));
    db.run("ALTER TABLE people ENABLE TRIGGER off").await;
    let store = db.store(PEOPLE);
    assert!(blocked(&store).await[0].contains("the trigger `off` on `people`"));
    let records = all(&store).await;
    assert!(destroy(&store, &records).await.iter().all(|fate| certain(fate).contains("triggers: accept")));
    let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, triggers: accept }\n");
    assert_eq!(blocked(&store).await, Vec::<String>::new());
    let fates = destroy(&store, &records).await;
    assert!(done(&fates[0]).verified && done(&fates[2]).verified);
    assert!(certain(&fates[1]).contains("expected 1 rows"), "the trigger saved it: {:?}", fates[1]);
    assert_eq!(db.texts("SELECT id FROM people").await, ["2"]);
}
