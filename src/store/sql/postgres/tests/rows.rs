//! Conditions, children, anonymising, and what the server refuses at the last moment.

use super::*;

#[tokio::test]
async fn a_condition_may_cast_and_compare_in_any_way_and_ask_no_other_table() {
    let script = "CREATE TABLE people (id int PRIMARY KEY, ended_on date, tags jsonb DEFAULT '{}', status text, at timestamptz DEFAULT now()); CREATE TABLE holds (person int);
        INSERT INTO people VALUES (1, '2020-01-01', '{\"closed\": true, \"kind\": [\"a\"]}', 'Closed'), (2, '2020-01-01', '{\"closed\": true, \"kind\": [\"a\"]}', 'closed'), (3, '2020-01-01', '{}', 'open'), (4, '2020-01-01', NULL, NULL);
        INSERT INTO holds VALUES (2);";
    let Some(db) = Db::new(script).await else { return };
    for (condition, expected) in [
        ("(tags->>'closed')::boolean", &["1", "2"][..]),
        ("tags ? 'closed' AND tags @> '{\"kind\": [\"a\"]}'::jsonb", &["1", "2"]),
        ("tags #>> '{kind,0}' = 'a' AND status ~* '^CLOSED$'", &["1", "2"]),
        ("status = 'closed' OR status = 'Closed'", &["1", "2"]),
        ("status ILIKE 'closed'", &["1", "2"]),
        ("status IS NULL", &["4"]),
        ("NULL", &[]),
        ("at <= now() AND id % 2 = 1", &["1", "3"]),
    ] {
        let store = db.store(&format!(
            "  people:\n    table: people\n    key: id\n    where: {}\n    events: {{ end: ended_on }}\n",
            serde_json::json!(condition)
        ));
        assert_eq!(blocked(&store).await, Vec::<String>::new(), "{condition}");
        assert_eq!(keys(&all(&store).await), expected, "{condition}");
        let name = Key::new(*b"3");
        let found = store.fetch("people", &[name]).await.unwrap();
        assert_eq!(matches!(found[0], Found::Present(_)), expected.contains(&"3"), "{condition}: {found:?}");
    }
    // What another table holds may change between our look and our commit, and no lock of ours hinders that.
    for condition in ["NOT EXISTS (SELECT FROM holds AS h WHERE h.person = people.id)", "id IN (TABLE holds)"] {
        let refused =
            db.configured(&format!("  people:\n    table: people\n    key: id\n    where: {condition}\n    events: {{ end: ended_on }}\n"));
        assert!(refused.is_err_and(|problems| problems[0].contains("reads other tables")), "{condition}");
    }
    let store =
        db.store("  people:\n    table: people\n    key: id\n    where: status IS DISTINCT FROM 'closed'\n    events: { end: ended_on }\n");
    let records = all(&store).await;
    assert_eq!(keys(&records), ["1", "3", "4"]);
    db.run("UPDATE people SET status = 'closed' WHERE id = 1").await;
    let fates = destroy(&store, &records).await;
    assert!(matches!(&fates[0], Fate::Kept(Kept::Changed(why)) if why.contains("`where`")), "{fates:?}");
    assert!(done(&fates[1]).verified && done(&fates[2]).verified);
}

#[tokio::test]
async fn a_condition_that_does_not_compile_is_said_before_anything_runs_and_never_lets_a_record_go() {
    let Some(db) = Db::new(THREE).await else { return };
    let fine = db.store(PEOPLE);
    let records = all(&fine).await;
    for condition in
        ["nme = 'x'", "name = ", "name + 1", "id", "no_such_function(id)", "name = 'x' LIMIT 1", "ended_on > 'nonsense'", "count(*) > 1"]
    {
        let store = db.store(&format!(
            "  people:\n    table: people\n    key: id\n    where: {}\n    events: {{ end: ended_on }}\n",
            serde_json::json!(condition)
        ));
        let said = blocked(&store).await;
        assert!(said.iter().any(|one| one.starts_with("`where`")), "{condition}: {said:?}");
        for fate in destroy(&store, &records).await {
            certain(&fate);
        }
    }
    // It compiles, and fails on some row only when it is run.
    let store = db.store("  people:\n    table: people\n    key: id\n    where: 1 / (id - 2) <> 7\n    events: { end: ended_on }\n");
    let (_, scanned) = scan(&store, due("2021-01-01")).await;
    assert!(scanned.incomplete.is_some());
    let fates = destroy(&store, &records).await;
    assert!(matches!(fates.as_slice(), [Fate::Done(_), Fate::Failed { uncertain: false, .. }, Fate::Done(_)]), "{fates:?}");
    assert_eq!(db.texts("SELECT id FROM people").await, ["2"]);
}

const TREE: &str = "CREATE TABLE people (org int, id uuid, ended_on date, PRIMARY KEY (org, id));
    CREATE TABLE notes (id serial PRIMARY KEY, org int, person uuid, FOREIGN KEY (org, person) REFERENCES people); CREATE TABLE pages (no serial PRIMARY KEY, note int REFERENCES notes ON DELETE CASCADE);
    CREATE TABLE words (page int REFERENCES pages, word text); CREATE TABLE marks (org int, person uuid REFERENCES other(u));";

const TREE_SET: &str = "  people:
    table: people
    key: [id, org]
    events: { end: ended_on }
    children:
      - { table: notes, key: [person, org], id: id, children: [ { table: pages, key: note, id: no, children: [ { table: words, key: page } ] } ] }
      - { table: marks, key: [person, org] }
";

#[tokio::test]
async fn children_of_every_level_go_with_their_record_and_are_counted_and_no_others() {
    let script = format!(
        "CREATE TABLE other (u uuid PRIMARY KEY); {TREE} INSERT INTO people SELECT o, ('00000000-0000-0000-0000-00000000000' || i)::uuid, '2020-01-01' FROM generate_series(1, 2) AS o, generate_series(1, 3) AS i;
         INSERT INTO notes (org, person) SELECT org, id FROM people, generate_series(1, 2); INSERT INTO pages (note) SELECT id FROM notes, generate_series(1, 3); INSERT INTO words SELECT no, 'w' FROM pages, generate_series(1, 2);
         INSERT INTO other SELECT DISTINCT id FROM people; INSERT INTO marks SELECT org, id FROM people;"
    );
    let Some(db) = Db::new(&script).await else { return };
    let store = db.store(TREE_SET);
    assert_eq!(blocked(&store).await, Vec::<String>::new());
    let records = all(&store).await;
    assert_eq!(records.len(), 6);
    let fates = destroy(&store, &records[1..3]).await;
    assert!(fates.iter().all(|fate| done(fate).verified && done(fate).parts == 2 + 6 + 12 + 1), "{fates:?}");
    for (table, left) in [("people", 4), ("notes", 8), ("pages", 24), ("words", 48), ("marks", 4), ("other", 3)] {
        assert_eq!(db.number(&format!("SELECT count(*) FROM {table}")).await, left, "{table}");
    }
    // Not a row without its parent.
    assert_eq!(db.number("SELECT count(*) FROM marks WHERE (org, person) NOT IN (SELECT org, id FROM people)").await, 0);
}

#[tokio::test]
async fn a_child_that_comes_in_the_middle_goes_too_or_keeps_its_record() {
    for reference in ["", "REFERENCES people"] {
        let script = format!("{THREE} CREATE TABLE kids (p int {reference}); INSERT INTO kids VALUES (1);");
        let Some(db) = Db::new(&script).await else { return };
        let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: kids, key: p } ] }\n");
        let records = all(&store).await;
        let order = crate::store::Order { act: Act::Destroy, at_least: None };
        let guard = |at: usize, _: &Record| {
            if at == 1 {
                // The row is locked by now: with a foreign key this waits for us and is refused then, without one it comes in time.
                let insert = "SET lock_timeout = '200ms'; INSERT INTO kids VALUES (1), (1)";
                if reference.is_empty() {
                    db.run_beside(insert);
                }
            }
            None
        };
        let fates = store.remove(&crate::dispose::Permit::for_test(), "people", &order, &records, &guard).await;
        assert_eq!(done(&fates[0]).parts, if reference.is_empty() { 3 } else { 1 });
        assert_eq!(db.number("SELECT count(*) FROM kids").await, 0);
    }
}

#[tokio::test]
async fn what_refuses_at_the_commit_keeps_only_its_own_record() {
    let raise = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF old.id = 2 THEN RAISE EXCEPTION ''CANARYNAME %'', old.name; END IF; RETURN NULL; END';";
    for (what, fault) in [
        ("a foreign key, at once", "CREATE TABLE kids (p int REFERENCES people); INSERT INTO kids VALUES (2)".to_owned()),
        ("a foreign key that restricts", "CREATE TABLE kids (p int REFERENCES people ON DELETE RESTRICT); INSERT INTO kids VALUES (2)".to_owned()),
        ("a foreign key, at the commit", "CREATE TABLE kids (p int REFERENCES people DEFERRABLE INITIALLY DEFERRED); INSERT INTO kids VALUES (2)".to_owned()),
        ("a trigger, at once", format!("{raise} CREATE TRIGGER t AFTER DELETE ON people FOR EACH ROW EXECUTE FUNCTION no()")),
        ("a trigger, at the commit", format!("{raise} CREATE CONSTRAINT TRIGGER t AFTER DELETE ON people DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no()")),
        ("a trigger that divides by zero", "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1 / (old.id - 2); RETURN old; END'; CREATE TRIGGER t BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION no()".to_owned()),
    ] {
        let Some(db) = Db::new(THREE).await else { return };
        let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, triggers: accept }\n");
        let records = all(&store).await;
        db.run(&fault).await;
        let fates = destroy(&store, &records).await;
        assert!(done(&fates[0]).verified && done(&fates[2]).verified, "{what}: {fates:?}");
        assert!(!certain(&fates[1]).contains("CANARY"), "{what}: {fates:?}");
        assert_eq!(db.texts("SELECT id FROM people").await, ["2"], "{what}");
    }
}

#[tokio::test]
async fn a_row_that_comes_back_at_once_is_not_called_verified() {
    let script = format!(
        "{THREE} CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO people VALUES (old.id, old.ended_on, old.name); RETURN NULL; END';
         CREATE TRIGGER t AFTER DELETE ON people FOR EACH ROW WHEN (old.id = 2) EXECUTE FUNCTION back();"
    );
    let Some(db) = Db::new(&script).await else { return };
    let store = db.store("  people: { table: people, key: id, events: { end: ended_on }, triggers: accept }\n");
    let fates = destroy(&store, &all(&store).await).await;
    assert_eq!(fates.iter().map(|fate| done(fate).verified).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn anonymising_sets_constants_of_every_type_once() {
    let columns = [
        ("int4", "7", "0", "0"),
        ("int8", "7", "null", "NULL"),
        ("numeric(10,2)", "7", "1.5", "1.50"),
        ("float8", "7", "0.1", "0.1"),
        ("bool", "true", "false", "false"),
        ("text", "'a'", "'removed ''x'' \\'", "removed 'x' \\"),
        ("text", "'a'", "''", ""),
        ("varchar(20)", "'a'", "'7'", "7"),
        ("char(5)", "'a'", "ab", "ab"),
        ("citext", "'a'", "removed", "removed"),
        ("uuid", "'00000000-0000-0000-0000-000000000001'", "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000"),
        ("date", "'1970-05-05'", "1900-01-01", "1900-01-01"),
        ("timestamptz", "now()", "'1900-01-01T00:00:00Z'", "1900-01-01 00:00:00+00"),
        ("json", "'{}'", "null", "NULL"),
        ("json", "'{}'", "'{\"a\": 1}'", "{\"a\": 1}"),
        ("jsonb", "'{}'", "'{\"b\":1,\"a\":2}'", "{\"a\": 2, \"b\": 1}"),
        ("xml", "'<a/>'", "<b/>", "<b/>"),
        ("point", "'(1,1)'", "'(0,0)'", "(0,0)"),
        ("text[]", "'{a}'", "'{}'", "{}"),
        ("inet", "'10.0.0.1'", "0.0.0.0", "0.0.0.0/32"),
        ("bytea", "'abc'", "'\\x00'", "\\x00"),
        ("\"Odd.One\".\"mood of\"", "'so'", "glad", "glad"),
        ("postcode", "'AB'", "Z", "Z"),
    ];
    let prelude = "CREATE EXTENSION citext; CREATE SCHEMA \"Odd.One\"; CREATE TYPE \"Odd.One\".\"mood of\" AS ENUM ('so', 'glad'); CREATE DOMAIN postcode AS varchar(8) NOT NULL;";
    let declared: Vec<String> = columns.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind}")).collect();
    let values: Vec<&str> = columns.iter().map(|(_, before, ..)| *before).collect();
    let script = format!(
        "{prelude} CREATE TABLE people (id int PRIMARY KEY, ended_on date, n int DEFAULT 5, code text, {}); INSERT INTO people SELECT i, '2020-01-01', 5, 'K' || i, {} FROM generate_series(1, 3) AS i",
        declared.join(", "),
        values.join(", ")
    );
    let Some(db) = Db::new(&script).await else { return };
    let changes: Vec<String> = columns.iter().enumerate().map(|(at, (_, _, to, _))| format!("      c{at}: {to}\n")).collect();
    let store = db.store(&format!(
        "  people:\n    table: people\n    key: id\n    events: {{ end: ended_on }}\n    anonymise:\n      code: {{ sql: \"'x' || md5(code)\" }}\n      n: {{ sql: n + 1 }}\n{}",
        changes.concat()
    ));
    assert_eq!(blocked(&store).await, Vec::<String>::new());
    let (records, scanned) = scan(&store, due("2021-01-01")).await;
    assert_eq!((keys(&records), scanned.incomplete), (vec!["1".to_owned(), "2".into(), "3".into()], None));
    for fate in remove(&store, Act::Anonymise, None, &records[..2]).await {
        assert!(done(&fate).verified && done(&fate).grade == "anonymised", "{fate:?}");
    }
    for (at, (kind, _, _, after)) in columns.iter().enumerate() {
        let now = db.texts(&format!("SELECT CAST(c{at} AS text) FROM people WHERE id = 1")).await;
        assert_eq!(now, [*after], "{kind}");
    }
    assert_eq!(db.texts("SELECT n || '/' || length(code) FROM people ORDER BY id").await, ["6/33", "6/33", "5/2"]);
    // It is done: the next scan does not come back to them, and nothing is computed a second time.
    let (left, scanned) = scan(&store, due("2021-01-01")).await;
    assert_eq!((keys(&left), scanned.population), (vec!["3".to_owned()], 1));
    let Found::Anonymised(again) = store.fetch("people", &[records[0].key.clone()]).await.unwrap().remove(0) else { panic!() };
    assert!(matches!(&remove(&store, Act::Anonymise, None, &[*again]).await[0], Fate::Kept(Kept::NotDue(_))));
    assert_eq!(db.number("SELECT max(n) FROM people").await, 6);
}

#[tokio::test]
async fn constants_that_a_column_cannot_take_are_said_before_anything_runs() {
    let Some(db) = Db::new("CREATE TABLE people (id int PRIMARY KEY, ended_on date, n int, d date, j jsonb, u uuid NOT NULL)").await else {
        return;
    };
    for change in
        ["n: x", "d: never", "j: '{'", "u: null", "u: ''", "d: 2020-01-01, n: { sql: \"'x' || id\" }", "d: 2020-01-01, n: { sql: nope }"]
    {
        let store = db.store(&format!("  people: {{ table: people, key: id, events: {{ end: ended_on }}, anonymise: {{ {change} }} }}\n"));
        let said = blocked(&store).await;
        assert!(said.iter().any(|one| one.starts_with("`anonymise`")), "{change}: {said:?}");
    }
}
