//! What columns hold is told apart, found again, and read as dates where it is one.

use super::*;

/// Types and values that differ from each other; values are the server's literals.
const TYPES: &[(&str, &[&str])] = &[
    ("TINYINT", &["-128", "0", "127"]),
    ("TINYINT UNSIGNED", &["0", "127", "128", "255"]),
    ("TINYINT(1) UNSIGNED", &["1", "200", "255"]),
    ("BOOL", &["0", "1", "-56"]),
    ("SMALLINT UNSIGNED ZEROFILL", &["7", "65535"]),
    ("MEDIUMINT", &["-8388608", "8388607"]),
    ("INT UNSIGNED", &["0", "2147483648", "4294967295"]),
    ("BIGINT", &["-9223372036854775808", "-1", "9223372036854775807"]),
    ("BIGINT UNSIGNED", &["0", "9223372036854775807", "9223372036854775808", "18446744073709551614", "18446744073709551615"]),
    ("DECIMAL(65,30)", &["0", "0.000000000000000000000000000001", "99999999999999999999999999999999999", "-1.5"]),
    (
        "DECIMAL(65,0)",
        &[
            "99999999999999999999999999999999999999999999999999999999999999999",
            "99999999999999999999999999999999999999999999999999999999999999998",
        ],
    ),
    ("FLOAT", &["0", "0.1", "0.10000001", "3.4e38", "-1.5"]),
    ("DOUBLE", &["0.1", "0.10000000000000002", "1e300", "123456789012345678"]),
    ("DATE", &["'0000-00-00'", "'2025-00-00'", "'2025-02-30'", "'2025-03-02'", "'9999-12-31'"]),
    ("DATETIME(6)", &["'0000-00-00'", "'2025-02-30 10:00:00'", "'2025-03-02 10:00:00'", "'2025-03-02 10:00:00.000001'"]),
    ("TIMESTAMP(6)", &["'0000-00-00'", "'1970-01-01 00:00:01'", "'2025-03-30 01:30:00'", "'2025-03-30 01:30:00.000001'"]),
    ("TIME(3)", &["'-838:59:59.999'", "'00:00:00'", "'00:00:00.001'", "'838:59:59'"]),
    ("YEAR", &["0", "1901", "2000", "2155"]),
    ("BIT(64)", &["0", "1", "x'ffffffffffffffff'", "x'fffffffffffffffe'"]),
    (
        "UUID",
        &["'123e4567-e89b-12d3-a456-426655440000'", "'123e4567-e89b-12d3-a456-426655440001'", "'00000000-0000-0000-0000-000000000000'"],
    ),
    ("INET6", &["'::'", "'::1'", "'2001:db8::ff00:42:8329'"]),
    ("CHAR(20)", &["''", "'a'", "'B'", "'\u{e9}\u{1f600}'", "'back\\\\slash'", "'quo''te'"]),
    ("VARCHAR(20) CHARACTER SET latin1", &["''", "'a'", "'\u{e9}'", "'\u{20ac}'", "'%'"]),
    ("VARCHAR(20) CHARACTER SET ucs2", &["'a'", "'\u{e9}'", "'\u{4e2d}'"]),
    ("TINYTEXT", &["'a'", "'b'"]),
    ("TEXT", &["'a'", "'a\n'", "'b'"]),
    ("VARCHAR(20) CHARACTER SET cp1251", &["x'98'", "'?'", "x'c0'"]),
    ("VARCHAR(20) CHARACTER SET sjis", &["'a'", "x'8140'", "x'815f'"]),
    ("LONGTEXT", &["'a'", "REPEAT('a', 300000)", "CONCAT(REPEAT('a', 299999), 'b')"]),
    ("ENUM('a', 'b', '\u{e9}')", &["'a'", "'b'", "'\u{e9}'"]),
    ("SET('a', 'b')", &["''", "'a'", "'a,b'"]),
    ("BINARY(16)", &["x'00'", "x'0001'", "x'ffffffffffffffffffffffffffffffff'"]),
    ("VARBINARY(16)", &["''", "x'00'", "x'0000'", "x'ff00'"]),
    ("VARBINARY(400)", &["''", "x'00'", "x'0000'"]),
    ("BLOB", &["''", "x'ff'", "REPEAT(x'ff', 60000)"]),
    ("JSON", &["'{}'", "'{\"a\": 1}'", "'[1, 2]'"]),
    ("GEOMETRY", &["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(1 3)')", "ST_GeomFromText('POINT(1 2)', 4326)"]),
];

/// Those that the engine has.
fn types(database: &Database) -> impl Iterator<Item = &'static (&'static str, &'static [&'static str])> {
    let mysql = database.engine() == Engine::MySql;
    TYPES.iter().filter(move |(kind, _)| !(mysql && matches!(*kind, "UUID" | "INET6")))
}

/// Dates that no calendar has, and the largest numbers, may stand in tables.
const LOOSE: &str = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'; ";

#[tokio::test]
async fn every_change_of_a_column_of_any_type_shows() {
    for database in databases("DO 0").await {
        for (kind, values) in types(&database) {
            let null = if kind.starts_with("TIMESTAMP") { "NULL" } else { "" };
            database
            .run(&format!(
                "DROP TABLE IF EXISTS things; CREATE TABLE things (id INT PRIMARY KEY, done DATE, v {kind} {null}); INSERT INTO things (id) VALUES (1)"
            ))
            .await;
            let store = plain(&database);
            let mut seen = vec![all(&store).await.remove(0).fingerprint];
            for value in *values {
                database.run(&format!("{LOOSE}UPDATE things SET v = {value}")).await;
                let records = all(&store).await;
                assert!(!seen.contains(&records[0].fingerprint), "{kind}: {value}");
                // What is one moment is the same the next.
                assert_eq!(all(&store).await, records, "{kind}: {value}");
                seen.push(records[0].fingerprint.clone());
            }
            let record = all(&store).await.remove(0);
            database.run("UPDATE things SET v = NULL").await;
            assert!(matches!(&destroy(&store, &[record]).await[0], Fate::Kept(Kept::Changed(_))), "{kind}");
        }
    }
}

#[tokio::test]
async fn a_key_of_any_type_is_found_again_and_removed_alone() {
    for database in databases("DO 0").await {
        let (mut keyed, mut refused) = (0, Vec::new());
        for (kind, values) in
            types(&database).filter(|(kind, _)| !["TEXT", "BLOB", "LONG", "JSON", "GEOM", "TINYT"].iter().any(|no| kind.starts_with(no)))
        {
            for columns in ["v", "v, id", "id, v"] {
                database
                    .run(&format!(
                        "DROP TABLE IF EXISTS things; CREATE TABLE things (id INT, done DATE, v {kind} NOT NULL, PRIMARY KEY ({columns}))"
                    ))
                    .await;
                let rows: Vec<String> = values.iter().map(|value| format!("(7, {value})")).collect();
                database.run(&format!("{LOOSE}INSERT INTO things (id, v) VALUES {}", rows.join(", "))).await;
                let store = store(&database.url(), &format!("{{ table: things, key: [{columns}] }}"), "done");
                let blocked = findings(&store).await;
                if blocked.contains("cannot name a record") {
                    refused.push(*kind);
                    continue;
                }
                let about = format!("{kind} ({columns})");
                let records = all(&store).await;
                assert_eq!(records.len(), values.len(), "{about}");
                let names: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
                let found = store.fetch(DATASET, &names).await.unwrap();
                for (record, found) in records.iter().zip(&found) {
                    assert!(matches!(found, Found::Present(one) if **one == *record), "{about}: {} {found:?}", record.key);
                }
                let strangers: Vec<Key> = ["", "x", "x,y", "7,7", "-1", "18446744073709551616", "2025-02-31", "zz,zz"]
                    .map(|key| Key::new(key.as_bytes()))
                    .to_vec();
                for (key, found) in strangers.iter().zip(store.fetch(DATASET, &strangers).await.unwrap()) {
                    assert!(names.contains(key) || matches!(found, Found::Absent), "{about}: {key} {found:?}");
                }
                for (at, record) in records.iter().enumerate() {
                    let fate = destroy(&store, std::slice::from_ref(record)).await.remove(0);
                    assert!(matches!(&fate, Fate::Done(evidence) if evidence.verified), "{about}: {} {fate:?}", record.key);
                    assert_eq!(keys(&all(&store).await), keys(&records[at + 1..]), "{about}");
                }
                keyed += 1;
            }
        }
        refused.dedup();
        assert_eq!(
            refused,
            [
                "VARCHAR(20) CHARACTER SET cp1251",
                "VARCHAR(20) CHARACTER SET sjis",
                "ENUM('a', 'b', '\u{e9}')",
                "SET('a', 'b')",
                "VARBINARY(400)"
            ]
        );
        assert!(keyed > 70, "{keyed}");
    }
}

/// Rows with a number and a date each; those that are due or in doubt, and how the walk goes.
async fn dated(kind: &str, event: &str, rows: &[(&str, bool)]) {
    for database in databases("DO 0").await {
        for index in ["", ", INDEX by_date (done)", ", INDEX by_date (done, id)"] {
            database.run(&format!("DROP TABLE IF EXISTS things; CREATE TABLE things (id INT PRIMARY KEY, done {kind} NULL{index})")).await;
            let values: Vec<String> = rows.iter().enumerate().map(|(at, (value, _))| format!("({at}, {value})")).collect();
            database.run(&format!("{LOOSE}INSERT INTO things VALUES {}", values.join(", "))).await;
            let store = store(&database.url(), "{ table: things, key: id }", event);
            assert!(!findings(&store).await.contains("Blocks"), "{kind}: {}", findings(&store).await);
            let (records, scanned) = scan(&store, Some(due("2020-01-01"))).await;
            assert_eq!(scanned.population, rows.len() as u64, "{kind}{index}");
            let mut sent = keys(&records);
            sent.sort_by_key(|key| key.parse::<usize>().unwrap());
            let expected: Vec<String> = rows.iter().enumerate().filter(|(_, (_, sent))| *sent).map(|(at, _)| at.to_string()).collect();
            assert_eq!(sent, expected, "{kind}{index}: {rows:?}");
            for record in &records {
                // What is not a date is doubt, and never null, which would mean that the event is still to come.
                assert!(!matches!(record.readings[0], Reading::NotYet), "{kind}{index}: {record:?}");
            }
        }
    }
}

#[tokio::test]
async fn dates_are_due_or_doubtful_or_left_out_in_every_form() {
    let days = [
        ("NULL", false),
        ("'0000-00-00'", true),
        ("'2019-00-00'", true),
        ("'2025-00-05'", true),
        ("'2025-02-30'", true),
        ("'2019-12-31'", true),
        ("'2020-01-01'", true),
        ("'2020-01-02'", false),
        ("'2025-12-31'", false),
        ("'2027-01-01'", true),
        ("'9999-12-31'", true),
        ("'0026-01-01'", true),
    ];
    dated("DATE", "done", &days).await;
    let times = [
        ("NULL", false),
        ("'0000-00-00'", true),
        ("'2025-00-05 10:00:00'", true),
        ("'2019-12-31 23:59:59.999999'", true),
        ("'2020-01-01 23:59:59'", true),
        ("'2020-01-05 00:00:00'", false),
        ("'2025-12-31 00:00:00'", false),
        ("'2027-01-01 00:00:00'", true),
    ];
    dated("DATETIME(6)", "{ column: done, zone: Europe/Berlin }", &times).await;
    dated(
        "TIMESTAMP(3)",
        "done",
        &[("NULL", false), ("'0000-00-00'", true), ("'2019-12-31 23:00:00'", true), ("'2020-01-03'", false), ("'2027-01-01'", true)],
    )
    .await;
    let seconds = [("NULL", false), ("1577836800", true), ("1578096000", false), ("4000000000", true), ("0", true)];
    for kind in ["INT UNSIGNED", "BIGINT", "BIGINT UNSIGNED", "DOUBLE"] {
        dated(kind, "{ column: done, as: unix }", &seconds).await;
    }
    dated(
        "BIGINT UNSIGNED",
        "{ column: done, as: unix-ms }",
        &[("1577836800000", true), ("1578096000000", false), ("18446744073709551615", true)],
    )
    .await;
    let texts = [
        ("NULL", false),
        ("''", true),
        ("'2019-12-31'", true),
        ("'2020-01-09'", false),
        ("'2020-01-09\\n'", true),
        ("'2020-01-09\\r'", true),
        ("'2020-01-09x'", true),
        ("'2020-01-09 '", true),
        ("'2020-01-09T10:00:00Z'", false),
        ("'2020-01-09t10:00:00z'", false),
        ("'2020-01-09T10:00:00'", true),
        ("'\u{ff12}020-01-09'", true),
        ("'2020-02-30'", true),
        ("'2027-01-01'", true),
        ("'never'", true),
    ];
    for kind in ["VARCHAR(40)", "VARCHAR(40) COLLATE utf8mb4_bin", "VARCHAR(40) COLLATE utf8mb4_unicode_ci", "TINYTEXT"] {
        if kind != "TINYTEXT" {
            dated(kind, "done", &texts).await;
        }
    }
}

#[tokio::test]
async fn a_walk_in_several_stretches_counts_and_sends_each_row_once() {
    let script = "CREATE TABLE things (id INT UNSIGNED, part VARCHAR(10) CHARACTER SET latin1, done DATE,
            PRIMARY KEY (id, part), INDEX by_date (done));
        INSERT INTO things SELECT seq DIV 3, CONCAT('p', seq), DATE_ADD('2000-01-01', INTERVAL seq DIV 100 DAY) FROM seq_1_to_25000";
    for database in databases(script).await {
        for index in ["", "DROP INDEX by_date ON things"] {
            database.run(&format!("SET @a = 1; {index}")).await;
            let store = store(&database.url(), "{ table: things, key: [id, part] }", "done");
            assert_eq!(all(&store).await.len(), 25_000);
            let (records, scanned) = scan(&store, Some(due("2000-03-01"))).await;
            assert_eq!(
                (i64::try_from(records.len()).unwrap(), scanned.population),
                (database.number("SELECT count(*) FROM things WHERE done <= '2000-03-01'").await, 25_000)
            );
            let (records, _) = scan(&store, Some(due("2000-01-10"))).await;
            assert!(destroy(&store, &records).await.iter().all(|fate| done(fate) == 0));
            database
                .run(
                    "INSERT INTO things SELECT seq DIV 3, CONCAT('p', seq), DATE_ADD('2000-01-01', INTERVAL seq DIV 100 DAY) \
                FROM seq_1_to_25000 \
            WHERE seq DIV 100 < 10",
                )
                .await;
        }
        assert!(matches!(all(&plain_of_two(&database)).await[0].readings[0], Reading::At(Moment::Date(_))));
    }
}

fn plain_of_two(database: &Database) -> Arc<dyn Store> {
    store(&database.url(), "{ table: things, key: [part, id], where: \"\\\"id\\\" < 100\" }", "done")
}
