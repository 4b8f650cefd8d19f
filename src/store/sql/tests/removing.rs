use super::*;

const TREE: &str = "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, ended_on TEXT, status TEXT);
    CREATE TABLE interviews (iid TEXT PRIMARY KEY, person INTEGER REFERENCES people(id), text TEXT);
    CREATE TABLE marks (interview TEXT REFERENCES interviews(iid), mark TEXT);
    INSERT INTO people VALUES (1, 'Ann', '2020-01-01', 'x'), (2, 'Ben', '2020-01-01', 'x'), (3, 'Cem', NULL, 'x');
    INSERT INTO interviews VALUES ('a', 1, 't'), ('b', 1, 't'), ('c', 2, 't');
    INSERT INTO marks VALUES ('a', 'm'), ('a', 'n'), ('b', 'm'), ('c', 'm');";

const TREE_SET: &str = "  people:
    { table: people, key: id, where: \"status = 'x'\", events: { end: ended_on },
      children: [ { table: interviews, key: person, id: iid, children: [ { table: marks, key: interview } ] } ] }
";

#[tokio::test]
async fn a_record_goes_with_its_children_of_every_depth_and_nothing_else_goes() {
    let db = Db::new(TREE).await;
    let store = db.store(TREE_SET);
    let records = all(&store).await;
    let fates = destroy(&store, &records[..1]).await;
    let evidence = done(&fates[0]);
    assert_eq!((evidence.method, evidence.grade, evidence.verified, evidence.parts), ("delete", "row-deleted", true, 5));
    assert!(evidence.caveats.contains(&"freed-journal-blocks") && evidence.caveats.contains(&"backups-not-reached"));
    assert_eq!(db.number("SELECT group_concat(id, '') = '23' FROM people").await, 1);
    assert_eq!(db.number("SELECT group_concat(iid, '') = 'c' FROM interviews").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM marks").await, 1);
    assert_eq!(destroy(&store, &records[..1]).await, [Fate::Absent]);
}

#[tokio::test]
async fn what_changed_since_the_scan_is_kept_and_says_what_kind_of_thing_changed() {
    for (change, says) in [
        ("UPDATE people SET ended_on = '2020-01-02'", "the date of an event"),
        ("UPDATE people SET ended_on = NULL", "the date of an event"),
        ("UPDATE people SET name = 'Bob'", "other than those of its events"),
        ("UPDATE people SET name = CAST(name AS BLOB)", "other than those of its events"),
        ("UPDATE people SET status = 'reopened'", "`where`"),
        ("ALTER TABLE people ADD COLUMN extra TEXT", "other than those of its events"),
    ] {
        let db = Db::new(TREE).await;
        let store = db.store(TREE_SET);
        let records = all(&store).await;
        db.run(change).await;
        for fate in destroy(&store, &records[..2]).await {
            let Fate::Kept(Kept::Changed(what)) = &fate else { panic!("{change}: {fate:?}") };
            assert!(what.contains(says) && !what.contains("Bob"), "{change}: {what}");
        }
        assert_eq!(db.number("SELECT (SELECT count(*) FROM people) + (SELECT count(*) FROM marks)").await, 7);
    }
}

#[tokio::test]
async fn the_guard_is_asked_for_each_record_as_it_is_now_and_its_answer_keeps_the_record() {
    let db = Db::new(TREE).await;
    let store = db.store(TREE_SET);
    let records = all(&store).await;
    let order = Order { act: Act::Destroy, at_least: None };
    let guard = |at: usize, fresh: &Record| {
        assert_eq!(*fresh, records[at]);
        (at == 1).then(|| Kept::Held("H1".into()))
    };
    let fates = store.remove(&Permit::for_test(), "people", &order, &records, &guard).await;
    assert!(matches!((&fates[0], &fates[2]), (Fate::Done(_), Fate::Done(_))));
    assert_eq!(fates[1], Fate::Kept(Kept::Held("H1".into())));
    assert_eq!(db.number("SELECT group_concat(id) = '2' FROM people").await, 1);
}

#[tokio::test]
async fn keys_of_other_types_and_letters_are_other_records() {
    let db = Db::new(
        "CREATE TABLE people (id COLLATE NOCASE, ended_on TEXT); CREATE UNIQUE INDEX u ON people (id COLLATE BINARY);
         CREATE TABLE notes (person TEXT COLLATE NOCASE);
         INSERT INTO people VALUES (1, NULL), ('1', NULL), ('a', NULL), ('A', NULL), (x'61', NULL), (CAST(x'ff' AS TEXT), NULL);
         INSERT INTO notes VALUES ('a'), ('A')",
    )
    .await;
    let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: notes, key: person } ] }\n");
    let records = all(&store).await;
    assert_eq!(records.len(), 6);
    let lower: Vec<Record> = records.iter().filter(|record| record.key.as_bytes() == b"a").cloned().collect();
    assert_eq!(done(&destroy(&store, &lower).await[0]).parts, 1);
    assert_eq!(db.number("SELECT count(*) FROM notes WHERE person = 'A' COLLATE BINARY").await, 1);
    let one: Vec<Record> = records.iter().filter(|record| record.key.as_bytes() == b"1").take(1).cloned().collect();
    done(&destroy(&store, &one).await[0]);
    assert_eq!(
        db.number("SELECT count(*) FROM people WHERE typeof(id) = 'text' AND id = '1'").await,
        1,
        "the integer went, the text stayed"
    );
    let mangled: Vec<Record> = records.iter().filter(|record| record.key.as_bytes() == b"\xff").cloned().collect();
    done(&destroy(&store, &mangled).await[0]);
    assert_eq!(db.number("SELECT count(*) FROM people").await, 3);
}

#[tokio::test]
async fn composite_keys_reach_children_and_grandchildren_by_all_their_columns() {
    let db = Db::new(
        "CREATE TABLE people (a TEXT, b INTEGER, ended_on TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
         CREATE TABLE kids (pa TEXT, pb INTEGER, x INTEGER, y INTEGER); CREATE TABLE grand (kx INTEGER, ky INTEGER);
         INSERT INTO people VALUES ('p', 1, NULL), ('p', 2, NULL); INSERT INTO kids VALUES ('p', 1, 1, 1), ('p', 2, 1, 2); INSERT INTO grand VALUES (1, 1), (1, 2), (1, 2)",
    )
    .await;
    let set = "  people: { table: people, key: [a, b], events: { end: ended_on }, children: [ { table: kids, key: [pa, pb], id: [x, y], children: [ { table: grand, key: [kx, ky] } ] } ] }\n";
    let store = db.store(set);
    let records = all(&store).await;
    assert_eq!(done(&destroy(&store, &records[1..]).await[0]).parts, 3);
    assert_eq!(
        db.number("SELECT (SELECT count(*) FROM people) * 100 + (SELECT count(*) FROM kids) * 10 + (SELECT count(*) FROM grand)").await,
        111
    );
}

const ANONYMISE: &str = "  people: { table: people, key: id, events: { end: ended_on }, anonymise: { name: null, note: removed, n: 0, code: { sql: \"hex(randomblob(8))\" } } }\n";

#[tokio::test]
async fn anonymising_changes_only_what_is_named_and_is_not_done_twice() {
    let db = Db::new(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, note TEXT, n TEXT, code TEXT, kept TEXT, ended_on TEXT);
         INSERT INTO people VALUES (1, 'Ann', 'x', '5', 'C1', 'k', '2020-01-01'), (2, 'Ben', 'x', '5', 'C2', 'k', '2020-01-01')",
    )
    .await;
    let store = db.store(ANONYMISE);
    let (records, _) = scan(&store, due("2021-01-01")).await;
    let fates = remove(&store, Act::Anonymise, None, &records[..1]).await;
    let evidence = done(&fates[0]);
    assert_eq!((evidence.method, evidence.grade, evidence.verified), ("anonymise", "anonymised", true));
    assert_eq!(
        db.number(
            "SELECT count(*) FROM people WHERE id = 1 AND name IS NULL AND note = 'removed' AND n = '0' AND code <> 'C1' AND kept = 'k'"
        )
        .await,
        1
    );
    assert_eq!(db.number("SELECT count(*) FROM people WHERE id = 2 AND name = 'Ben' AND code = 'C2'").await, 1);
    let (left, scanned) = scan(&store, due("2021-01-01")).await;
    assert_eq!((keys(&left), scanned.population), (vec!["2".to_owned()], 1));
    let again = store.fetch("people", &[records[0].key.clone()]).await.unwrap();
    let Found::Anonymised(again) = &again[0] else { panic!("{again:?}") };
    assert!(matches!(&remove(&store, Act::Anonymise, None, std::slice::from_ref(again)).await[0], Fate::Kept(Kept::NotDue(_))));
    assert!(matches!(&remove(&store, Act::Anonymise, None, &records[..1]).await[0], Fate::Kept(Kept::Changed(_))));
}

#[tokio::test]
async fn every_record_gets_one_fate_in_order_in_a_batch_of_any_size() {
    let db = Db::new("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO people SELECT i, '2020-01-01' FROM n").await;
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    db.run("DELETE FROM people WHERE id % 10 = 0; UPDATE people SET ended_on = NULL WHERE id % 10 = 1").await;
    for (at, fate) in destroy(&store, &records).await.iter().enumerate() {
        match (at + 1) % 10 {
            0 => assert_eq!(*fate, Fate::Absent),
            1 => assert!(matches!(fate, Fate::Kept(Kept::Changed(_)))),
            _ => assert!(done(fate).verified),
        }
    }
    assert_eq!(db.number("SELECT count(*) FROM people").await, 100);
    assert!(destroy(&store, &[]).await.is_empty());
}

#[tokio::test]
async fn records_of_another_store_are_not_taken_for_rows() {
    let db = Db::new(TREE).await;
    let store = db.store(TREE_SET);
    let mut record = all(&store).await.remove(0);
    record.fingerprint = b"something else".as_slice().into();
    assert!(matches!(&destroy(&store, &[record]).await[0], Fate::Failed { uncertain: false, .. }));
    assert_eq!(db.number("SELECT count(*) FROM people").await, 3);
}
