//! Columns of every type: as keys, and as part of what a record is.

use super::*;

const TYPES: &str = "CREATE EXTENSION IF NOT EXISTS citext; CREATE SCHEMA \"Odd.One\"; CREATE TYPE \"Odd.One\".\"mood of\" AS ENUM ('so', 'glad', 'It''s, \"fine\"');
    CREATE DOMAIN postcode AS varchar(8) NOT NULL CHECK (VALUE ~ '^[A-Z]'); CREATE DOMAIN small AS int CHECK (VALUE < 1000);
    CREATE DOMAIN smaller AS small CHECK (VALUE < 100); CREATE TYPE pair AS (a int, b text);";

#[tokio::test]
async fn a_key_of_any_type_names_exactly_its_row() {
    let Some(db) = Db::new(TYPES).await else { return };
    let uuids =
        ["'00000000-0000-0000-0000-000000000001'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"];
    let cases: [(&str, [&str; 3]); 31] = [
        ("int2", ["-32768", "0", "32767"]),
        ("int4", ["-2147483648", "7", "2147483647"]),
        ("int8", ["-9223372036854775808", "7", "9223372036854775807"]),
        ("numeric", ["'NaN'", "1.50", "123456789012345678901234567890.000000000001"]),
        ("numeric(10,2)", ["-0.01", "0", "1.5"]),
        ("float4", ["0.1", "'-Infinity'", "3.4028235e38"]),
        ("float8", ["'NaN'", "0.1", "5e-324"]),
        ("text", ["''", "'a,b%2C''\"\\ \n'", "'ä€😀'"]),
        ("text COLLATE \"en_US.utf8\"", ["'a'", "'A'", "'á'"]),
        ("varchar(3)", ["'a'", "'a '", "'a  '"]),
        ("char(4)", ["'a'", "'ab'", "' a'"]),
        ("char", ["'a'", "'b'", "'c'"]),
        ("\"char\"", ["'a'", "'b'", "'c'"]),
        ("name", ["'a'", "'A'", "'b c'"]),
        ("citext", ["'Ann'", "'bEN'", "''"]),
        ("uuid", uuids),
        ("date", ["'infinity'", "'0044-03-15 BC'", "'2026-02-28'"]),
        ("timestamp", ["'2026-02-28 10:00'", "'2026-02-28 10:00:00.000001'", "'-infinity'"]),
        ("timestamp(3)", ["'2026-02-28 10:00'", "'2026-02-28 10:00:00.001'", "'12026-01-01'"]),
        ("timestamptz", ["'2026-02-28 10:00+01'", "'2026-02-28 10:00:00.000001+14'", "'infinity'"]),
        ("time", ["'00:00'", "'24:00'", "'12:30:00.5'"]),
        ("timetz", ["'00:00+01'", "'00:00+02'", "'23:59:60-03:30'"]),
        ("interval", ["'1 month'", "'31 days'", "'-1 year 1 second'"]),
        ("\"Odd.One\".\"mood of\"", ["'so'", "'glad'", "'It''s, \"fine\"'"]),
        ("postcode", ["'A'", "'AB1 2CD'", "'Z'"]),
        ("smaller", ["-5", "0", "99"]),
        ("inet", ["'::1'", "'10.0.0.1'", "'10.0.0.1/8'"]),
        ("macaddr", ["'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'", "'00:00:00:00:00:00'"]),
        ("bit(3)", ["'000'", "'101'", "'111'"]),
        ("money", ["1", "-1.5", "1000000"]),
        ("int4range", ["'empty'", "'[1,5)'", "'[5,)'"]),
    ];
    let collations = db.number("SELECT count(*) FROM pg_collation WHERE collname = 'en_US.utf8'").await;
    for (at, (kind, values)) in cases.iter().enumerate() {
        if kind.contains("en_US") && collations == 0 {
            continue;
        }
        let rows: Vec<String> = values.iter().zip(0..).map(|(value, no)| format!("({value}, '2020-01-01', {no})")).collect();
        let rows = rows.join(", ");
        db.run(&format!("CREATE TABLE t{at} (k {kind} PRIMARY KEY, ended_on date, no int); INSERT INTO t{at} VALUES {rows}")).await;
        let store = db.store(&format!("  people: {{ table: t{at}, key: k, subject: no, events: {{ end: ended_on }} }}\n"));
        assert_eq!(blocked(&store).await, Vec::<String>::new(), "{kind}");
        only_the_middle_goes(&store, kind).await;
        assert_eq!(db.texts(&format!("SELECT no FROM t{at} ORDER BY no")).await, ["0", "2"], "{kind}");
    }
}

/// Of three records the second goes and is absent then; the others are found by their keys, before and after.
async fn only_the_middle_goes(store: &Arc<dyn Store>, what: &str) {
    let mut records = all(store).await;
    assert_eq!(records.len(), 3, "{what}");
    records.sort_by(|one, other| one.subject.cmp(&other.subject));
    let names: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
    let found = store.fetch("people", &names).await.unwrap();
    for (record, found) in records.iter().zip(found) {
        assert_eq!(found, Found::Present(Box::new(record.clone())), "{what}: found again by its key");
    }
    assert!(done(&destroy(store, &records[1..2]).await[0]).verified, "{what}");
    let found = store.fetch("people", &names).await.unwrap();
    assert!(matches!(found.as_slice(), [Found::Present(_), Found::Absent, Found::Present(_)]), "{what}: {found:?}");
    assert_eq!(destroy(store, &records[1..2]).await, [Fate::Absent], "{what}");
}

#[tokio::test]
async fn names_of_any_letters_and_keys_of_several_columns_name_exactly_their_row() {
    let script = format!(
        "{TYPES} CREATE TABLE \"Odd.One\".\"my \"\"own\"\".People\" (\"The.Key\" uuid, \"that.key\" text, \"a b\"\"c\" numeric(8,3), no int, \"End\" date,
         PRIMARY KEY (\"a b\"\"c\", \"The.Key\", \"that.key\"));
         INSERT INTO \"Odd.One\".\"my \"\"own\"\".People\" VALUES
            ('00000000-0000-0000-0000-000000000001', 'a,b', 1.5, 1, '2020-01-01'), ('00000000-0000-0000-0000-000000000001', 'a%2Cb', 1.5, 2, '2020-01-01'),
            ('00000000-0000-0000-0000-000000000002', 'a,b', 1.5, 3, '2020-01-01');"
    );
    let Some(db) = Db::new(&script).await else { return };
    let store =
        db.store("  people:\n    table: 'Odd.One.my \"own\".People'\n    key: [The.Key, that.key, 'a b\"c']\n    subject: no\n    events: { end: End }\n");
    // The schema's name ends at the first dot, so this one cannot be written.
    assert!(blocked(&store).await[0].contains("there is no table"));
    db.run("ALTER SCHEMA \"Odd.One\" RENAME TO \"Odd One\"").await;
    let store =
        db.store("  people:\n    table: 'Odd One.my \"own\".People'\n    key: [The.Key, that.key, 'a b\"c']\n    subject: no\n    events: { end: End }\n");
    assert_eq!(blocked(&store).await, Vec::<String>::new());
    only_the_middle_goes(&store, "names").await;
    // Capitals count.
    let store =
        db.store("  people:\n    table: 'Odd One.my \"own\".people'\n    key: [The.Key, that.key, 'a b\"c']\n    subject: no\n    events: { end: end }\n");
    assert!(blocked(&store).await[0].contains("there is no table"));
}

/// Of partitions the contents of every column are compared, so that a change that was undone is none.
#[tokio::test]
async fn a_change_of_any_column_keeps_the_record_and_its_undoing_lets_it_go_where_contents_are_compared() {
    change_and_undo(" PARTITION BY RANGE (id); CREATE TABLE people_of_all_ages PARTITION OF people DEFAULT", true).await;
}

/// Of a plain table PostgreSQL itself says which transaction wrote the row, and a row that was changed back is another version of it.
#[tokio::test]
async fn a_change_of_any_column_keeps_the_record_until_the_next_scan_where_versions_are_compared() {
    change_and_undo("", false).await;
}

async fn change_and_undo(kind: &str, contents: bool) {
    let columns = [
        ("int2", "1", "2"),
        ("int8", "9223372036854775806", "9223372036854775807"),
        ("int4", "0", "NULL"),
        ("numeric", "1.5", "1.50"),
        ("numeric", "'NaN'", "0"),
        ("float4", "0.1", "0.10000001"),
        ("float8", "0.1", "0.10000000000000002"),
        ("float8", "0", "'-0'"),
        ("text", "''", "NULL"),
        ("text", "'a'", "'a '"),
        ("varchar(9)", "'é'", "E'e\\u0301'"),
        ("char(9)", "'a'", "'A'"),
        ("citext", "'a'", "'A'"),
        ("uuid", "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"),
        ("bool", "true", "false"),
        ("date", "'infinity'", "'-infinity'"),
        ("date", "'0044-03-15 BC'", "'0044-03-15'"),
        ("timestamp", "'2026-01-01'", "'2026-01-01 00:00:00.000001'"),
        ("timestamptz", "'2026-01-01 00:00+00'", "'2026-01-01 00:00+01'"),
        ("timetz", "'00:00+00'", "'01:00+01'"),
        ("interval", "'1 month'", "'30 days'"),
        ("interval", "'1 day'", "'24 hours'"),
        ("json", "'{\"a\": 1}'", "'{\"a\":1}'"),
        ("jsonb", "'{\"a\": 1}'", "'{\"a\": 1.0}'"),
        ("xml", "'<a/>'", "'<b/>'"),
        ("bytea", "'\\x00ff'", "'\\x00fe'"),
        ("bytea", "''", "NULL"),
        ("text[]", "ARRAY['a,b']", "ARRAY['a', 'b']"),
        ("int[]", "'{1,NULL}'", "'{1}'"),
        ("int[]", "'{}'", "NULL"),
        ("float8[]", "'{0.1}'", "'{0.10000000000000002}'"),
        ("bytea[]", "ARRAY['\\x00'::bytea]", "ARRAY['\\x01'::bytea]"),
        ("\"Odd.One\".\"mood of\"", "'so'", "'glad'"),
        ("postcode", "'A'", "'B'"),
        ("pair", "'(1,a)'", "'(1,b)'"),
        ("inet", "'10.0.0.1'", "'10.0.0.1/8'"),
        ("bit varying", "'0'", "'00'"),
        ("tsvector", "'a'", "'b'"),
        ("point", "'(0,0.1)'", "'(0,0.10000000000000002)'"),
        ("tstzrange", "'[2026-01-01 00:00+00,)'", "'[2026-01-01 00:00+01,)'"),
        ("money", "1", "1.01"),
        ("oid", "1", "2"),
        ("regclass", "'pg_class'", "'pg_type'"),
    ];
    let declared: Vec<String> = columns.iter().enumerate().map(|(at, (kind, _, _))| format!("c{at} {kind}")).collect();
    let before: Vec<&str> = columns.iter().map(|(_, before, _)| *before).collect();
    let script = format!(
        "{TYPES} CREATE TABLE people (id int PRIMARY KEY, ended_on date, {}){kind}; INSERT INTO people SELECT i, '2020-01-01', {} FROM generate_series(0, {}) AS i",
        declared.join(", "),
        before.join(", "),
        columns.len() - 1
    );
    let Some(db) = Db::new(&script).await else { return };
    let store = db.store(PEOPLE);
    let records = all(&store).await;
    let set = |values: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        let set = columns.iter().enumerate().map(|(at, column)| format!("UPDATE people SET c{at} = {} WHERE id = {at};", values(column)));
        set.collect::<String>()
    };
    db.run(&set(|column| column.2)).await;
    for (fate, (kind, before, after)) in destroy(&store, &records).await.iter().zip(columns) {
        assert!(matches!(fate, Fate::Kept(Kept::Changed(_))), "{kind}: {before} became {after}: {fate:?}");
    }
    assert_eq!(db.number("SELECT count(*) FROM people").await, i64::try_from(records.len()).unwrap());
    db.run(&set(|column| column.1)).await;
    if !contents {
        for (fate, (kind, before, _)) in destroy(&store, &records).await.iter().zip(&columns) {
            assert!(matches!(fate, Fate::Kept(Kept::Changed(_))), "{kind}: {before} was changed twice: {fate:?}");
        }
    }
    let records = if contents { records } else { all(&store).await };
    for (fate, (kind, before, _)) in destroy(&store, &records).await.iter().zip(columns) {
        assert!(matches!(fate, Fate::Done(_)), "{kind}: is {before} again: {fate:?}");
    }
}

#[tokio::test]
async fn what_server_database_and_role_are_set_to_changes_nothing_about_a_record() {
    let script = "CREATE TABLE people (id timestamptz PRIMARY KEY, ended_on date, a bytea, b interval, c float8, d money, e timestamptz[]);
        INSERT INTO people VALUES ('2026-01-01 00:00+00', '2020-01-02', '\\x00ff', '1 year 2 days', 0.1, 1234.5, '{2026-01-01}');";
    let Some(db) = Db::new(script).await else { return };
    let store = db.store(PEOPLE);
    let before = all(&store).await;
    let name = db.0.name();
    let settings = [
        "timezone = 'Asia/Tokyo'",
        "datestyle = 'German, DMY'",
        "intervalstyle = 'sql_standard'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "default_transaction_isolation = 'serializable'",
        // Last, because nobody can alter anything afterwards.
        "default_transaction_read_only = on",
    ];
    for setting in settings {
        db.run(&format!("ALTER DATABASE {name} SET {setting}")).await;
    }
    let store = db.store(PEOPLE);
    assert_eq!(all(&store).await, before);
    assert!(matches!(store.fetch("people", &[before[0].key.clone()]).await.unwrap()[0], Found::Present(_)));
    assert!(done(&destroy(&store, &before).await[0]).verified);
}
