use super::*;
use crate::record::Doubt;
use crate::store::MESSAGE;

async fn dated(declared: &str, values: &[&str]) -> Db {
    let rows: Vec<String> = values.iter().enumerate().map(|(at, value)| format!("({}, {value})", at + 1)).collect();
    Db::new(&format!("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on {declared}); INSERT INTO people VALUES {};", rows.join(", ")))
        .await
}

#[tokio::test]
async fn a_bound_sends_what_is_due_and_what_is_in_doubt_and_counts_the_rest() {
    let values = [
        "'2025-12-31'",
        "'2026-01-01'",
        "NULL",
        "''",
        "'0000-00-00'",
        "'2026-02-31'",
        "'9999-99-99'",
        "'zzz'",
        "20260101",
        "1.5",
        "x'00'",
        "'2027-01-01'",
        "'2026-05-01'",
        "'2026-05-01 '",
        "'2026-05-01' || char(0) || 'x'",
    ];
    for index in ["", "CREATE INDEX e ON people (ended_on);"] {
        let db = dated("TEXT", &values).await;
        db.run("UPDATE people SET ended_on = CAST(x'fffe' AS TEXT) WHERE id = 10").await;
        db.run(index).await;
        let store = db.store("  people: { table: people, key: id, events: { end: { column: ended_on, as: date } } }\n");
        let (records, scanned) = scan(&store, due("2025-12-31")).await;
        let mut found = keys(&records);
        found.sort_by_key(|key| key.parse::<u64>().unwrap());
        assert_eq!(found, ["1", "4", "5", "6", "7", "8", "9", "10", "11", "12", "14", "15"], "{index}");
        assert_eq!((scanned.population, scanned.incomplete), (15, None));
        let doubts = records.iter().filter(|record| matches!(record.readings[0], Reading::Doubt(_))).count();
        assert_eq!(doubts, 10, "all but the one that is due and the one of the future");
        assert_eq!(all(&store).await.len(), 15);
    }
}

#[tokio::test]
async fn a_search_for_lost_rows_sees_those_that_left_the_dataset() {
    let db = Db::new(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, name TEXT, open INTEGER);
         INSERT INTO people VALUES (1, '2020-01-01', 'A', 0), (2, '2020-01-01', 'B', 1), (3, '2020-01-01', NULL, 0)",
    )
    .await;
    let store =
        db.store("  people: { table: people, key: id, where: \"open = 0\", anonymise: { name: null }, events: { end: ended_on } }\n");
    for (whole, expected) in [(false, &["1"][..]), (true, &["1", "2", "3"][..])] {
        let (sender, mut receiver) = mpsc::channel(4);
        let query = Query { bound: None, whole, now: now(), seen: Arc::default() };
        let scanned = store.scan("people", query, sender).await.unwrap();
        let mut found = Vec::new();
        while let Some(batch) = receiver.recv().await {
            found.extend(keys(&batch));
        }
        assert_eq!((found, scanned.incomplete), (expected.iter().map(ToString::to_string).collect(), None), "whole: {whole}");
    }
}

type Write = fn(Timestamp) -> String;

/// Every form, at every second around the end of a day in a zone ahead of, at and behind UTC: what the bound admits is sent.
#[tokio::test]
async fn the_database_never_leaves_out_a_record_that_the_bound_admits() {
    let forms: [(&str, &str, Write); 7] = [
        ("date", "TEXT", |t| format!("'{}'", t.to_zoned(TimeZone::UTC).date())),
        ("datetime", "TEXT", |t| format!("'{t}'")),
        ("datetime", "TEXT", |t| {
            format!("'{}'", t.to_zoned(TimeZone::get("Pacific/Kiritimati").unwrap()).strftime("%Y-%m-%d %H:%M:%S%:z"))
        }),
        ("datetime", "DATETIME", |t| {
            format!("'{}'", t.to_zoned(TimeZone::get("Pacific/Pago_Pago").unwrap()).strftime("%Y-%m-%dT%H:%M:%S%z"))
        }),
        ("unix", "INTEGER", |t| t.as_second().to_string()),
        ("unix-ms", "INTEGER", |t| t.as_millisecond().to_string()),
        ("julian", "REAL", |t| format!("{:?}", 2_440_587.5 + f64::from(i32::try_from(t.as_second()).unwrap()) / 86_400.0)),
    ];
    let hours: Vec<i64> = (-60..60).collect();
    for (form, declared, write) in forms {
        for zone in ["Europe/London", "Pacific/Kiritimati", "Etc/GMT+12"] {
            let bound = at_most("end", "2026-02-28", zone);
            let Bound::AtMost { date, before, .. } = bound.clone() else { unreachable!() };
            let moments: Vec<Timestamp> = hours
                .iter()
                .flat_map(|hour| [-1, 0, 1].map(|s| Timestamp::from_second(before.as_second() + hour * 3600 + s).unwrap()))
                .collect();
            let values: Vec<String> = moments.iter().map(|moment| write(*moment)).collect();
            let db = dated(declared, &values.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let store =
                db.store(&format!("  people: {{ table: people, key: id, events: {{ end: {{ column: ended_on, as: {form} }} }} }}\n"));
            let expected: Vec<String> = all(&store)
                .await
                .into_iter()
                .filter(|record| matches!(record.readings[0], Reading::At(moment) if Bound::admits(moment, date, before)))
                .map(|record| record.key.to_text())
                .collect();
            assert!(expected.len() > 100 && expected.len() < 300, "{form} {zone}: {}", expected.len());
            let (sent, _) = scan(&store, Some(bound)).await;
            assert_eq!(keys(&sent), expected, "{form} {zone}");
            if form != "date" {
                let instants = moments.iter().filter(|moment| **moment < before).count();
                assert_eq!(sent.len(), instants, "{form} {zone}: the readings are the instants that were written");
            }
        }
    }
}

#[tokio::test]
async fn a_declared_form_and_a_time_without_offset_are_read_or_doubted() {
    let db = dated("TEXT", &["'28/02/2026'", "'01/03/2026'", "'1/3/26'", "NULL"]).await;
    let store = db.store("  people: { table: people, key: id, events: { end: { column: ended_on, as: \"%d/%m/%Y\" } } }\n");
    assert_eq!(keys(&scan(&store, due("2026-02-28")).await.0), ["1", "3"]);
    let db = dated("TEXT", &["'2026-03-31 23:30:00'", "'2026-04-01 00:30:00'", "'2026-05-01T00:00Z'"]).await;
    let store = db.store("  people: { table: people, key: id, events: { end: { column: ended_on, zone: Europe/London } } }\n");
    assert_eq!(keys(&scan(&store, due("2026-03-31")).await.0), ["1"]);
    let store = db.store(PEOPLE);
    let (records, _) = scan(&store, due("2026-03-01")).await;
    assert_eq!(keys(&records), ["1", "2"], "without a zone both are in doubt, far from the bound as they are");
    assert!(matches!(records[0].readings[0], Reading::Doubt(Doubt::NoZone(_))));
}

#[tokio::test]
async fn a_large_table_is_walked_once_whatever_its_key_and_order() {
    let tables = [
        ("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT)", "id", "i"),
        ("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT); CREATE INDEX e ON people (ended_on)", "id", "i"),
        (
            "CREATE TABLE people (id TEXT PRIMARY KEY, ended_on TEXT) WITHOUT ROWID; CREATE INDEX e ON people (ended_on, id)",
            "id",
            "'k' || i",
        ),
        ("CREATE TABLE people (id TEXT PRIMARY KEY COLLATE NOCASE, ended_on TEXT)", "id", "printf('%x', i)"),
        (
            "CREATE TABLE people (id, ended_on TEXT); CREATE UNIQUE INDEX u ON people (id)",
            "id",
            "CASE i % 3 WHEN 0 THEN i WHEN 1 THEN '' || i ELSE i + 0.5 END",
        ),
        ("CREATE TABLE people (id INTEGER, ended_on TEXT, UNIQUE (id COLLATE BINARY))", "id", "i"),
        (
            "CREATE TABLE people (id TEXT COLLATE NOCASE, ended_on TEXT); CREATE UNIQUE INDEX u ON people (id COLLATE BINARY)",
            "id",
            "CASE i % 2 WHEN 0 THEN 'a' || i ELSE 'A' || (i - 1) END",
        ),
        ("CREATE TABLE people (a, id INTEGER, ended_on TEXT, PRIMARY KEY (id, a)) WITHOUT ROWID", "[a, id]", "i"),
    ];
    for (table, key, value) in tables {
        let db = Db::new(&format!(
            "{table}; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
             INSERT INTO people (id, ended_on{}) SELECT {value}, CASE WHEN i % 5 = 0 THEN NULL ELSE date('2020-01-01', (i % 2000) || ' days') END{} FROM n",
            if key == "id" { "" } else { ", a" },
            if key == "id" { "" } else { ", i % 7" },
        ))
        .await;
        let store = db.store(&format!("  people: {{ table: people, key: {key}, events: {{ end: ended_on }} }}\n"));
        for bound in [None, Some(due("2022-01-01")), Some(due("1999-01-01")), Some(Bound::Never)] {
            let (records, scanned) = scan(&store, bound.clone()).await;
            let expected = match &bound {
                None => 25_000,
                Some(Bound::Never) => 0,
                Some(_) => {
                    db.number(&format!(
                        "SELECT count(*) FROM people WHERE ended_on <= '{}'",
                        if bound == Some(due("1999-01-01")) { "1999-01-01" } else { "2022-01-01" }
                    ))
                    .await
                }
            };
            assert_eq!(i64::try_from(records.len()).unwrap(), expected, "{table} {bound:?}");
            assert_eq!((scanned.population, scanned.incomplete), (25_000, None), "{table} {bound:?}");
            let mut prints: Vec<_> = records.iter().map(|record| record.fingerprint.clone()).collect();
            prints.sort();
            prints.dedup();
            assert_eq!(prints.len(), records.len(), "{table}: nothing twice");
        }
    }
}

#[tokio::test]
async fn walks_use_the_index_of_their_order_instead_of_sorting() {
    use super::super::shape::{compare, order_by};
    let db = Db::new(
        "CREATE TABLE people (id TEXT PRIMARY KEY, ended_on TEXT); CREATE TABLE two (a TEXT, b INTEGER, PRIMARY KEY (b, a));
         CREATE TABLE three (id INTEGER PRIMARY KEY, ended_on TEXT); CREATE INDEX e ON three (ended_on)",
    )
    .await;
    let mut session = Place::Sqlite(db.path()).open_read().await.unwrap();
    for (table, key, by_event) in [("people", vec!["id"], false), ("two", vec!["a", "b"], false), ("three", vec!["id"], true)] {
        let name = statement::Name::new(table).unwrap();
        let layout = layout::layout_of(&mut session, &config::Table { schema: None, name: name.clone() }).await.unwrap().unwrap();
        let key: Vec<_> = key.into_iter().map(|name| statement::Name::new(name).unwrap()).collect();
        let unique = layout.unique(&key).unwrap();
        let order = if by_event { layout.event_order(1, &unique).unwrap() } else { unique.walk.clone() };
        let mut asked = statement::Statement::new("EXPLAIN QUERY PLAN SELECT * FROM ");
        asked.name(&name).sql(" WHERE ");
        let cursor = vec![value::Cell::Text("x".into()); order.len()];
        compare(&mut asked, &order, " > ", &cursor);
        order_by(&mut asked, &order);
        let plan = format!("{:?}", session.rows(&asked).await.unwrap());
        assert!(plan.contains("SEARCH") && !plan.contains("TEMP B-TREE"), "{table}: {plan}");
    }
}

#[tokio::test]
async fn batches_stay_small_and_a_receiver_that_leaves_ends_the_scan_without_an_error() {
    let db = Db::new("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) INSERT INTO people SELECT i, '2020-01-01' FROM n").await;
    let store = db.store(PEOPLE);
    assert_eq!(scan(&store, due("2021-01-01")).await.0.len(), 9000);
    let (sender, mut receiver) = mpsc::channel(1);
    let query = Query { bound: None, whole: false, now: now(), seen: Arc::default() };
    let other = Arc::clone(&store);
    let walk = tokio::spawn(async move { other.scan("people", query, sender).await });
    assert_eq!(receiver.recv().await.unwrap().len(), MESSAGE);
    drop(receiver);
    assert!(walk.await.unwrap().unwrap().incomplete.is_some());
}

#[tokio::test]
async fn a_scan_that_is_told_to_stop_takes_its_walkers_along() {
    let db = Db::new(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) INSERT INTO people SELECT i, '2020-01-01' FROM n",
    )
    .await;
    let store = db.store(PEOPLE);
    let (out, mut records) = mpsc::channel(1);
    let query = Query { bound: None, whole: false, now: now(), seen: Arc::default() };
    let scanning = tokio::spawn(async move { store.scan("people", query, out).await });
    let first = records.recv().await.unwrap().len();
    scanning.abort();
    assert!(scanning.await.unwrap_err().is_cancelled());
    // What was under way is still there, and then there is nobody left who could send anything.
    let rest = async {
        let mut rest = 0;
        while let Some(some) = records.recv().await {
            rest += some.len();
        }
        rest
    };
    let rest = tokio::time::timeout(Duration::from_secs(10), rest).await.unwrap();
    assert!(first > 0 && first + rest < 50_000, "{first} and {rest}");
}

#[tokio::test]
async fn rows_without_a_key_and_rows_outside_the_condition_are_never_sent() {
    let db = Db::new(
        "CREATE TABLE people (id TEXT PRIMARY KEY, ended_on TEXT, status TEXT);
         INSERT INTO people VALUES (NULL, '2020-01-01', 'x'), (NULL, '2020-01-01', 'x'), ('a', '2020-01-01', 'x'), ('b', '2020-01-01', 'y'), ('c', '2020-01-01', NULL)",
    )
    .await;
    let store = db.store("  people: { table: people, key: id, where: \"status = 'x' OR status = 'z'\", events: { end: ended_on } }\n");
    let (records, scanned) = scan(&store, due("2021-01-01")).await;
    assert_eq!(keys(&records), ["a"]);
    assert_eq!(scanned.population, 1);
    assert!(scanned.findings[0].message.starts_with("2 rows have no key"));
}

#[tokio::test]
async fn events_that_lie_elsewhere_subjects_and_class_values_are_read_as_text() {
    let db = Db::new(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, tenancy, person, kind);
         INSERT INTO people VALUES (1, 7, 'P1', 'lease'), (2, '07', 8, NULL), (3, NULL, NULL, 2.5)",
    )
    .await;
    let store = db.store(
        "  people: { table: people, key: id, subject: person, class-by: kind, events: { end: { lookup: housing.x, by: tenancy } } }\n",
    );
    let (records, _) = scan(&store, due("2021-01-01")).await;
    let read: Vec<_> = records.iter().map(|r| (r.readings[0].clone(), r.subject.as_deref(), r.class_value.as_deref())).collect();
    assert_eq!(
        read,
        [
            (Reading::Elsewhere(Some("7".into())), Some("P1"), Some("lease")),
            (Reading::Elsewhere(Some("07".into())), Some("8"), None),
            (Reading::Elsewhere(None), None, Some("2.5")),
        ]
    );
}

#[tokio::test]
async fn records_are_found_again_by_key_and_only_by_exactly_that_key() {
    let db = Db::new(
        "CREATE TABLE people (id, ended_on TEXT, s TEXT); CREATE UNIQUE INDEX u ON people (id);
         INSERT INTO people VALUES (1, '2020-01-01', 'x'), ('01', '2020-01-01', 'x'), ('2', NULL, 'x'), (2, NULL, 'x'), ('out', NULL, 'y'), (x'ff', NULL, 'x')",
    )
    .await;
    let store = db.store("  people: { table: people, key: id, where: \"s = 'x'\", events: { end: ended_on } }\n");
    let asked = ["01", "1", "001", "2", "out", "x'ff'", "nothing", ""].map(|key| Key::new(key.as_bytes()));
    let found = store.fetch("people", &asked).await.unwrap();
    assert!(matches!(&found[0], Found::Present(record) if record.key == asked[0]));
    assert!(matches!(&found[1], Found::Present(record) if record.key == asked[1]));
    assert!(matches!(&found[3], Found::Unknown(_)), "the integer and the text are written alike");
    assert!(matches!(&found[4], Found::Outside(_)), "outside the condition, but not gone");
    assert!(matches!(&found[5], Found::Present(_)));
    for at in [2, 6, 7] {
        assert_eq!(found[at], Found::Absent, "{at}");
    }
    let db = Db::new("CREATE TABLE people (a TEXT, b INTEGER, ended_on TEXT, PRIMARY KEY (a, b)); INSERT INTO people VALUES ('x,y', 1, NULL), ('x', 2, NULL)").await;
    let store = db.store("  people: { table: people, key: [a, b], events: { end: ended_on } }\n");
    for record in all(&store).await {
        assert_eq!(store.fetch("people", std::slice::from_ref(&record.key)).await.unwrap(), [Found::Present(Box::new(record))]);
    }
    assert_eq!(store.fetch("people", &[Key::new(*b"x")]).await.unwrap(), [Found::Absent]);
}

#[tokio::test]
async fn a_look_up_gives_the_latest_date_and_doubt_when_one_of_several_has_none() {
    let db = Db::new(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, tenant, ended_on TEXT, status TEXT DEFAULT 'ended');
         INSERT INTO people (tenant, ended_on) VALUES ('A', '2020-01-01'), ('A', '2021-01-01'), ('B', '2020-01-01'), ('B', NULL), ('C', NULL), (7, '2020-01-01'), ('07', '2022-01-01'), ('F', 'junk'), ('F', '2020-01-01');
         INSERT INTO people (tenant, ended_on, status) VALUES ('D', '2020-01-01', 'ended'), ('D', NULL, 'running'), ('E', '2020-01-01', 'running')",
    )
    .await;
    let store = db.store("  people: { table: people, key: id, where: \"status = 'ended'\", events: { end: ended_on } }\n");
    let look = async |on: Option<&'static str>, values: &[&str]| store.lookup("people", &event("end"), on, values).await.unwrap();
    let on = |date: &str| Reading::At(Moment::Date(date.parse().unwrap()));
    let found = look(Some("tenant"), &["A", "B", "C", "7", "07", "a", "D", "E", "nobody", "F", "A"]).await;
    assert_eq!(found[0], on("2021-01-01"));
    assert!(matches!(found[1], Reading::Doubt(_)), "one of several has no date");
    assert_eq!(found[2], Reading::NotYet);
    assert_eq!((&found[3], &found[4]), (&on("2020-01-01"), &on("2022-01-01")));
    assert!(matches!(found[5], Reading::Doubt(Doubt::Missing(_))));
    assert!(matches!(found[6], Reading::Doubt(_)), "a running tenancy outside the condition counts");
    assert!(matches!(found[7], Reading::Doubt(Doubt::Missing(_))), "a row outside the condition cannot answer alone");
    assert!(matches!(found[8], Reading::Doubt(Doubt::Missing(_))));
    assert!(matches!(found[9], Reading::Doubt(_)));
    assert_eq!(found[10], on("2021-01-01"));
    assert_eq!(
        look(None, &["1", "01", "5"]).await,
        [on("2020-01-01"), Reading::Doubt(Doubt::Missing("a row with this value".into())), Reading::NotYet]
    );
    assert!(store.lookup("people", &event("end"), Some("nope"), &["1"]).await.is_err());
}

#[tokio::test]
async fn datasets_on_one_table_and_on_child_tables_see_each_other() {
    let db = Db::new(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, ref TEXT UNIQUE, ended_on TEXT, s TEXT); CREATE TABLE notes (id INTEGER PRIMARY KEY, person INTEGER, ended_on TEXT);
         INSERT INTO people VALUES (1, 'r1', '2020-01-01', 'x'), (2, 'r2', '2020-01-01', 'y'); INSERT INTO notes VALUES (10, 1, '2025-01-01'), (11, 2, NULL), (12, 1, NULL)",
    )
    .await;
    let store = db.store(
        "  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: notes, key: person } ] }
  others: { table: PEOPLE, key: ref, where: \"s = 'y'\", events: { end: ended_on } }
  notes: { table: notes, key: id, events: { end: ended_on } }
",
    );
    let names = |pairs: &[(&str, &str)]| pairs.iter().map(|(one, two)| ((*one).to_owned(), (*two).to_owned())).collect::<Vec<_>>();
    assert_eq!(store.overlaps(), names(&[("people", "others"), ("people", "notes")]));
    let found = store.elsewhere("people", &all(&store).await).await.unwrap();
    let found: Vec<Vec<_>> =
        found.into_iter().map(|one| one.into_iter().map(|(set, record)| format!("{set}:{}", record.key)).collect()).collect();
    assert_eq!(found, [vec!["notes:10", "notes:12"], vec!["others:r2", "notes:11"]]);
}

/// Texts that are almost dates, all of them past the bound and none in the future: exactly those that the reader doubts are sent.
#[tokio::test]
async fn whatever_the_reader_doubts_is_sent_however_far_from_the_bound_it_lies() {
    let seeds = ["2010-05-17", "2010-05-17 10:20", "2010-05-17T10:20:30Z", "2010-05-17 10:20:30.125+01:00", "2010-02-28T23:59:59-0330"];
    let alphabet: Vec<char> = "0123456789-:TZz+. /\u{e9}".chars().collect();
    let mut state: u64 = 42;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let values: Vec<String> = (0..6000)
        .map(|_| {
            let mut text: Vec<char> = seeds[next(seeds.len())].chars().collect();
            for _ in 0..=next(2) {
                // The century stays, so that the text stays between bound and now.
                let at = 3 + next(text.len() - 3);
                match next(3) {
                    0 => text[at] = alphabet[next(alphabet.len())],
                    1 => text.insert(at, alphabet[next(alphabet.len())]),
                    _ => text.truncate(at.max(6)),
                }
            }
            format!("'{}'", text.into_iter().collect::<String>())
        })
        .collect();
    let db = dated("TEXT", &values.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for event in
        ["ended_on", "{ column: ended_on, as: date }", "{ column: ended_on, as: datetime }", "{ column: ended_on, zone: Asia/Kolkata }"]
    {
        let store = db.store(&format!("  people: {{ table: people, key: id, events: {{ end: {event} }} }}\n"));
        let everything = all(&store).await;
        let doubted: Vec<Record> = everything.iter().filter(|record| matches!(record.readings[0], Reading::Doubt(_))).cloned().collect();
        assert!(doubted.len() > 1000 && doubted.len() < 5900, "{event}: {}", doubted.len());
        assert_eq!(keys(&scan(&store, due("1999-01-01")).await.0), keys(&doubted), "{event}");
    }
}
