//! Dates of events: how each type and form is read, and that the server never leaves out what the reader would have wanted to see.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::super::tests::{at_most, now};
use super::*;
use crate::judge::Bound;
use crate::record::Moment;

type Write = fn(Timestamp) -> String;

fn quoted(t: Timestamp, zone: &str, form: &str) -> String {
    format!("'{}'", t.to_zoned(TimeZone::get(zone).unwrap()).strftime(form))
}

/// Type, what else the event says, how an instant is written there, and what else may stand in such a column.
const FORMS: [(&str, &str, Write, &[&str]); 14] = [
    ("date", "", |t| quoted(t, "UTC", "%Y-%m-%d"), CALENDAR),
    ("date", "as: date", |t| quoted(t, "Pacific/Kiritimati", "%Y-%m-%d"), CALENDAR),
    ("timestamp", "", |t| quoted(t, "UTC", "%Y-%m-%d %H:%M:%S"), CALENDAR),
    ("timestamp", "zone: Europe/London", |t| quoted(t, "Europe/London", "%Y-%m-%d %H:%M:%S"), CALENDAR),
    ("timestamp(0)", "zone: Pacific/Kiritimati", |t| quoted(t, "Pacific/Kiritimati", "%Y-%m-%d %H:%M:%S"), CALENDAR),
    ("timestamp", "zone: Pacific/Pago_Pago", |t| quoted(t, "Pacific/Pago_Pago", "%Y-%m-%d %H:%M:%S"), CALENDAR),
    ("timestamptz", "as: datetime", |t| format!("'{t}'"), CALENDAR),
    ("past", "", |t| quoted(t, "UTC", "%Y-%m-%d"), &["NULL", "'0999-12-31'", "'-infinity'"]),
    ("text", "", |t| quoted(t, "Pacific/Kiritimati", "%Y-%m-%d %H:%M:%S%:z"), TEXTS),
    ("text", "{ as: date }", |t| quoted(t, "UTC", "%Y-%m-%d"), TEXTS),
    ("varchar(40)", "as: datetime, zone: Pacific/Pago_Pago", |t| quoted(t, "Pacific/Pago_Pago", "%Y-%m-%dT%H:%M:%S"), TEXTS),
    ("int8", "as: unix", |t| t.as_second().to_string(), NUMBERS),
    ("float8", "as: unix-ms", |t| t.as_millisecond().to_string(), &["'NaN'", "'Infinity'", "'-Infinity'", "1e300", "NULL"]),
    ("text", "as: \"%d/%m/%Y\"", |t| quoted(t, "UTC", "%d/%m/%Y"), TEXTS),
];

const CALENDAR: &[&str] = &[
    "NULL",
    "'infinity'",
    "'-infinity'",
    "'0044-03-15 BC'",
    "'0001-01-01'",
    "'0999-12-31'",
    "'1000-01-01'",
    "'9999-12-31'",
    "'12026-01-01'",
];
const NUMBERS: &[&str] =
    &["NULL", "0", "-1", "9223372036854775807", "-9223372036854775808", "253402300800", "-30610224001", "1780000000000"];
const TEXTS: &[&str] = &[
    "NULL",
    "''",
    "' '",
    "'0000-00-00'",
    "'2025-02-30'",
    "'2025-02-29'",
    "'2024-02-29'",
    "'9999-99-99'",
    "'zzz'",
    "'20200101'",
    "'2020-01-01 '",
    "E'2020-01-01\\n'",
    "E'2020-01-01\\nx'",
    "'2020-01-01T25:00Z'",
    "'2020-01-01T10:00+99:00'",
    "'2020-01-01T10:00'",
    "'２０２０-01-01'",
    "'infinity'",
    "'-2020-01-01'",
    "'2020-1-1'",
    "'2020-01-01 10:00:00.5Z'",
    "'12020-01-01'",
    "'31/02/2020'",
    "'1/2/20'",
];

/// Every form, around the end of a day in zones ahead of, at and behind UTC, with and without an index: what is left out is no record that the
/// reader calls due, doubtful or of the future.
#[tokio::test]
async fn the_server_never_leaves_out_a_record_that_is_due_or_in_doubt() {
    let Some(db) = Db::new("CREATE DOMAIN past AS date CHECK (VALUE < '2026-06-01')").await else { return };
    for (at, (kind, says, write, others)) in FORMS.iter().enumerate() {
        let zone = ["Europe/London", "Pacific/Kiritimati", "Etc/GMT+12"][at % 3];
        let bound = at_most("end", "2026-02-28", zone);
        let Bound::AtMost { date, before, .. } = bound.clone() else { unreachable!() };
        let around =
            (-60..60).flat_map(|hour: i64| [-1, 0, 1].map(|s| Timestamp::from_second(before.as_second() + hour * 3600 + s).unwrap()));
        let mut values: Vec<String> = around.map(write).collect();
        values.extend(others.iter().map(|value| (*value).to_owned()));
        if *kind != "past" {
            // Around now: what lies in the future is a doubt too.
            values.extend((-40..40).map(|hour| write(Timestamp::from_second(now().as_second() + hour * 3600).unwrap())));
        }
        let rows: Vec<String> = values.iter().enumerate().map(|(at, value)| format!("({at}, {value})")).collect();
        let index = ["", "CREATE INDEX ON t (ended_on, id);"][at % 2].replace(" t ", &format!(" t{at} "));
        db.run(&format!("CREATE TABLE t{at} (id int PRIMARY KEY, ended_on {kind}); {index} INSERT INTO t{at} VALUES {}", rows.join(", ")))
            .await;
        let says = says.trim_matches(['{', '}', ' ']);
        let comma = if says.is_empty() { "" } else { ", " };
        let store = db.store(&format!("  people: {{ table: t{at}, key: id, events: {{ end: {{ column: ended_on{comma}{says} }} }} }}\n"));
        let place = format!("{kind} {says} {zone}");
        let everything = all(&store).await;
        assert_eq!(everything.len(), values.len(), "{place}");
        let yesterday = now().to_zoned(TimeZone::UTC).date().yesterday().unwrap();
        let wanted = |reading: &Reading| match reading {
            Reading::NotYet => false,
            Reading::Doubt(_) | Reading::Elsewhere(_) => true,
            Reading::At(moment) => {
                let future = match moment {
                    Moment::Date(date) => *date > yesterday,
                    Moment::Instant(instant) => *instant > now(),
                };
                future || Bound::admits(*moment, date, before)
            }
        };
        let expected: Vec<&Record> = everything.iter().filter(|record| wanted(&record.readings[0])).collect();
        let (mut sent, scanned) = scan(&store, Some(Bound::All(vec![bound.clone()]))).await;
        assert_eq!((scanned.incomplete, scanned.population), (None, values.len() as u64), "{place}");
        sent.sort_by_key(|record| record.key.to_text().parse::<usize>().unwrap());
        assert_eq!(sent.iter().collect::<Vec<_>>(), expected, "{place}");
        // It is a bound, and not everything is in doubt, unless the form has no meaning without a zone.
        let doubts = everything.iter().filter(|record| matches!(record.readings[0], Reading::Doubt(_))).count();
        assert!(if *says == *"" && *kind == "timestamp" { doubts == values.len() - 1 } else { sent.len() < 360 && doubts < 30 }, "{place}");
    }
}

#[tokio::test]
async fn the_end_of_the_last_day_divides_what_is_due_from_what_is_not_to_the_second() {
    let script = "CREATE TABLE a (id int PRIMARY KEY, ended_on timestamptz); CREATE TABLE b (id int PRIMARY KEY, ended_on timestamp); CREATE TABLE c (id int PRIMARY KEY, ended_on date);
        CREATE TABLE d (id int PRIMARY KEY, ended_on bigint);
        INSERT INTO a VALUES (1, '2026-03-31 22:59:59.999999+00'), (2, '2026-03-31 23:00:00+00'), (3, '2026-04-01 00:00:00+01');
        INSERT INTO b VALUES (1, '2026-03-31 23:59:59.999999'), (2, '2026-04-01 00:00:00'), (3, '2026-04-01 00:00:00.000001');
        INSERT INTO c VALUES (1, '2026-03-31'), (2, '2026-04-01'), (3, NULL);
        INSERT INTO d VALUES (1, 1774997999), (2, 1774998000), (3, 1774998001);";
    let Some(db) = Db::new(script).await else { return };
    for (table, says) in [("a", ""), ("b", ", zone: Europe/London"), ("c", ""), ("d", ", as: unix")] {
        let store = db.store(&format!("  people: {{ table: {table}, key: id, events: {{ end: {{ column: ended_on{says} }} }} }}\n"));
        assert_eq!(keys(&scan(&store, due("2026-03-31")).await.0), ["1"], "{table}");
    }
}

#[tokio::test]
async fn times_that_are_no_dates_of_a_calendar_are_doubts_and_never_due() {
    let script = "CREATE TABLE people (id int PRIMARY KEY, ended_on timestamptz); INSERT INTO people VALUES
        (1, '-infinity'), (2, 'infinity'), (3, '0044-03-15 00:00+00 BC'), (4, '0999-01-01 00:00+00'), (5, '12026-01-01 00:00+00'), (6, NULL), (7, '1066-10-14 00:00+00');";
    let Some(db) = Db::new(script).await else { return };
    let store = db.store(PEOPLE);
    let (records, _) = scan(&store, due("2026-03-31")).await;
    assert_eq!(keys(&records), ["1", "2", "3", "4", "5", "7"]);
    for record in &records {
        let is_date = matches!(record.readings[0], Reading::At(_));
        assert_eq!(is_date, record.key.to_text() == "7", "{record:?}");
    }
}

/// Whatever date a column holds, its text is the server's own: it names the record where it is a key.
#[tokio::test]
async fn a_date_is_written_as_the_server_writes_it() {
    let Some(db) = Db::new(
        "CREATE TABLE t (id date PRIMARY KEY, ended_on date);
         INSERT INTO t SELECT CAST(d AS date), date '2020-01-01' FROM generate_series(timestamp '4713-11-24 BC', timestamp '290000-12-31', interval '77 days 11 years') AS d
         UNION SELECT date '1996-01-01' + n, date '2020-01-01' FROM generate_series(0, 2000) AS n
         UNION SELECT d, date '2020-01-01' FROM unnest(CAST('{infinity,-infinity,0001-12-31 BC,4713-11-24 BC,5874897-12-31,9999-12-31}' AS date[])) AS d",
    )
    .await
    else {
        return;
    };
    let store = db.store("  people: { table: t, key: id, events: { end: ended_on } }\n");
    let (mut found, mut expected) = (keys(&all(&store).await), db.texts("SELECT CAST(id AS text) FROM t").await);
    assert!(expected.len() > 4000, "{}", expected.len());
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let records = all(&store).await;
    let of_interest =
        |record: &&Record| ["infinity", "-infinity", "0001-12-31 BC", "5874897-12-31", "1996-02-29"].contains(&&*record.key.to_text());
    let chosen: Vec<Record> = records.iter().filter(of_interest).cloned().collect();
    assert_eq!(chosen.len(), 5);
    assert!(destroy(&store, &chosen).await.iter().all(|fate| done(fate).verified));
    assert_eq!(all(&store).await.len(), records.len() - 5);
}
