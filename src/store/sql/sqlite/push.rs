//! What SQLite is asked to leave out of a scan.
//!
//! Three questions about a column, each as an SQL expression: may its date lie *within* a bound, is it *plain* (surely of the declared form),
//! and may it lie in the *future*. The answers may err in one direction only, the one that sends more: `within` and `future` are true for
//! every value that the reader in `when.rs` puts there, `plain` only for values that the reader surely reads as a date. No database does
//! calendar arithmetic here; `date()` and `datetime()` are used solely to see whether SQLite finds a text to be a possible date.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::super::statement::{Name, Statement};
use super::super::value::Cell;
use super::super::when::{Form, When};

/// Seconds since 1970 of the first and last moments that every calendar involved can hold: the years 1001 to 9998.
const FIRST: i64 = -30_578_688_000;
const LAST: i64 = 253_370_764_799;

const JULIAN_1970: f64 = 2_440_587.5;

/// Adds: the date may be at most `date`, that is before the instant `before`. False for null.
pub(in super::super) fn within(out: &mut Statement, column: &Name, form: &Form, date: Date, before: Timestamp) {
    match form {
        Form::Date => text_before(out, column, date, 1),
        // The text's own date may run ahead of the schedule's by both offsets, each less than a day.
        Form::Undeclared | Form::DateTime => text_before(out, column, date, 3),
        Form::Unix => number(out, column, " <= ", before.as_second() + 1),
        Form::UnixMs => number(out, column, " <= ", before.as_millisecond() + 1),
        Form::Julian => julian(out, column, " <= ", before.as_second() + 1),
        Form::Pattern(_) => {
            out.name(column).sql(" IS NOT NULL");
        }
    }
}

/// Adds: the date may be after `now`. False for null.
pub(in super::super) fn future(out: &mut Statement, column: &Name, form: &Form, now: Timestamp) {
    match form {
        Form::Date | Form::Undeclared | Form::DateTime => {
            // Somewhere it is still yesterday; and a text's own date may lag behind by its offset.
            let days = if *form == Form::Date { 1 } else { 2 };
            let date = now.to_zoned(TimeZone::UTC).date();
            let date = (0..days).try_fold(date, |date, _| date.yesterday()).unwrap_or(Date::MIN);
            out.name(column).sql(" > ").value(&Cell::Text(date.to_string().into()));
        }
        Form::Unix => number(out, column, " >= ", now.as_second() - 1),
        Form::UnixMs => number(out, column, " >= ", now.as_millisecond() - 1),
        Form::Julian => julian(out, column, " >= ", now.as_second() - 1),
        Form::Pattern(_) => {
            out.name(column).sql(" IS NOT NULL");
        }
    }
}

/// Adds: the value is surely a date of the form. Null is plain: it says that the event has not happened.
pub(in super::super) fn plain(out: &mut Statement, column: &Name, when: &When) {
    let c = column;
    out.sql("(").name(c).sql(" IS NULL OR ");
    match when.form {
        Form::Date => date_only(out, c),
        Form::Undeclared | Form::DateTime => {
            out.sql("(");
            date_only(out, c);
            out.sql(") OR (typeof(").name(c).sql(") = 'text' AND ").name(c);
            out.sql(" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][T ][0-2][0-9]:[0-5][0-9]*' AND substr(").name(c);
            out.sql(", 12, 2) < '24' AND instr(").name(c).sql(", char(0)) = 0 AND substr(").name(c);
            // What follows the minutes is left to datetime(), which takes seconds, a fraction, Z and ±HH:MM, and also spaces and z, which are
            // not let through to it.
            out.sql(", 12) NOT GLOB '*[^0-9:.Z+-]*' AND date(substr(").name(c).sql(", 1, 10)) IS substr(").name(c);
            out.sql(", 1, 10) AND datetime(").name(c).sql(") IS NOT NULL AND substr(").name(c).sql(", 1, 4) BETWEEN '1001' AND '9998'");
            if when.zone.is_none() {
                out.sql(" AND (substr(").name(c).sql(", -1) = 'Z' OR substr(").name(c).sql(", -6, 1) IN ('+', '-'))");
            }
            out.sql(")");
        }
        Form::Unix => numeric(out, c, &Cell::Int(FIRST), &Cell::Int(LAST)),
        Form::UnixMs => numeric(out, c, &Cell::Int(FIRST * 1000), &Cell::Int(LAST * 1000)),
        Form::Julian => numeric(out, c, &Cell::Real(day(FIRST)), &Cell::Real(day(LAST))),
        // Every row of such a column is sent, so nothing is left out that would have to be plain.
        Form::Pattern(_) => {
            out.sql("1 = 1");
        }
    }
    out.sql(")");
}

fn date_only(out: &mut Statement, c: &Name) {
    out.sql("typeof(").name(c).sql(") = 'text' AND length(CAST(").name(c).sql(" AS BLOB)) = 10 AND ").name(c);
    // SQLite takes 2026-02-31 for the third of March: a possible date is one that comes back as it went in.
    out.sql(" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]' AND date(")
        .name(c)
        .sql(") IS ")
        .name(c)
        .sql(" AND ")
        .name(c)
        .sql(" >= '1000'");
}

fn numeric(out: &mut Statement, c: &Name, first: &Cell, last: &Cell) {
    out.sql("typeof(").name(c).sql(") IN ('integer', 'real') AND ").name(c).sql(" BETWEEN ").value(first).sql(" AND ").value(last);
}

fn text_before(out: &mut Statement, column: &Name, date: Date, days: u8) {
    let end = (0..days).try_fold(date, |date, _| date.tomorrow());
    match end {
        Ok(end) if end.year() >= 0 => out.name(column).sql(" < ").value(&Cell::Text(end.to_string().into())),
        // Outside the years that compare as text: everything may lie within.
        _ => out.name(column).sql(" IS NOT NULL"),
    };
}

fn number(out: &mut Statement, column: &Name, compare: &'static str, limit: i64) {
    out.name(column).sql(compare).value(&Cell::Int(limit));
}

fn julian(out: &mut Statement, column: &Name, compare: &'static str, second: i64) {
    out.name(column).sql(compare).value(&Cell::Real(day(second)));
}

fn day(second: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds of the calendar are far below 2^53")]
    let second = second as f64;
    JULIAN_1970 + second / 86_400.0
}
