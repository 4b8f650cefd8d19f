//! What a database is asked to leave out of a scan.
//!
//! Three questions about a column, each as an SQL expression: may its date lie *within* a bound, is it *plain* (surely a date that the reader in
//! `when.rs` reads), and may it lie in the *future*. The answers may err in one direction only, the one that sends more: `within` and `future`
//! are true for every value that the reader puts there, `plain` only for values that it surely reads as a date. No database does calendar
//! arithmetic here. SQLite, where any value may stand in any column, has its own answers in [`super::sqlite::push`]; here are those of columns
//! that have a type.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::layout::{Column, Sort};
use super::sqlite::push as loose;
use super::statement::{Bind, Dialect, Statement};
use super::value::Cell;
use super::when::{Form, When};

/// Seconds since 1970 of the first and last moments that every calendar involved can hold: the years 1001 to 9998.
const FIRST: i64 = -30_578_688_000;
const LAST: i64 = 253_370_764_799;

/// Dates of the years 1001 to 9998 of which no calendar doubts that they exist; 29 February is left to the reader.
const CIVIL: &str = "[1-9][0-9][0-9][0-9]-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)";

/// The very end of a text: nothing follows, not even one of the line ends that some engines' `$` and `.` pass over.
const END: &str = "(?![^ ]| )";

/// Adds: the date may be at most `date`, that is before the instant `before`. False for null.
pub(super) fn within(out: &mut Statement, column: &Column, form: &Form, date: Date, before: Timestamp) {
    match (column.sort, form) {
        (Sort::Loose, _) => loose::within(out, &column.name, form, date, before),
        (Sort::Date, Form::Undeclared | Form::Date | Form::DateTime) => day(out, column, " <= ", Some(date)),
        // The text's own date may run ahead of the schedule's by both offsets, each less than a day.
        (Sort::Local, Form::Undeclared | Form::Date | Form::DateTime) => day(out, column, " < ", later(date, 3)),
        (Sort::Instant, Form::Undeclared | Form::DateTime) => instant(out, column, " <= ", before),
        (Sort::Text, Form::Undeclared | Form::Date | Form::DateTime) => text(out, column, " < ", later(date, 3)),
        (Sort::Int | Sort::Real, Form::Unix) => number(out, column, " <= ", before.as_second() + 1),
        (Sort::Int | Sort::Real, Form::UnixMs) => number(out, column, " <= ", before.as_millisecond() + 1),
        _ => present(out, column),
    }
}

/// Adds: the date may be after `now`. False for null.
pub(super) fn future(out: &mut Statement, column: &Column, form: &Form, now: Timestamp) {
    // Somewhere it is still yesterday; and a text's own date may lag behind by its offset.
    let today = now.to_zoned(TimeZone::UTC).date();
    let early = |days: i8| (0..days).try_fold(today, |date, _| date.yesterday()).ok();
    match (column.sort, form) {
        (Sort::Loose, _) => loose::future(out, &column.name, form, now),
        (Sort::Date, Form::Undeclared | Form::Date | Form::DateTime) => day(out, column, " > ", early(1)),
        (Sort::Local, Form::Undeclared | Form::Date | Form::DateTime) => day(out, column, " > ", early(2)),
        (Sort::Instant, Form::Undeclared | Form::DateTime) => instant(out, column, " >= ", now),
        (Sort::Text, Form::Undeclared | Form::Date | Form::DateTime) => text(out, column, " > ", early(2)),
        (Sort::Int | Sort::Real, Form::Unix) => number(out, column, " >= ", now.as_second() - 1),
        (Sort::Int | Sort::Real, Form::UnixMs) => number(out, column, " >= ", now.as_millisecond() - 1),
        _ => present(out, column),
    }
}

/// Adds: the value is surely a date of the form. Null is plain: it says that the event has not happened.
pub(super) fn plain(out: &mut Statement, dialect: Dialect, column: &Column, when: &When) {
    if column.sort == Sort::Loose {
        return loose::plain(out, &column.name, when);
    }
    let (name, local) = (&column.name, when.zone.is_some());
    out.sql("(").name(name).sql(" IS NULL OR ");
    match (column.sort, &when.form) {
        (Sort::Local, _) if !local => {
            out.sql("1 = 0");
        }
        _ if is_dated(column, when) => calendar(out, dialect, column),
        (Sort::Text, Form::Date) => matches(out, column, &format!("^{CIVIL}{END}")),
        (Sort::Text, Form::Undeclared | Form::DateTime) => {
            let zone = if local { "(Z|[+-][01][0-9]:[0-5][0-9])?" } else { "(Z|[+-][01][0-9]:[0-5][0-9])" };
            let time = "([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?";
            matches(out, column, &format!("^{CIVIL}([T ]{time}{zone})?{END}"));
        }
        (Sort::Int | Sort::Real, Form::Unix) => between(out, column, FIRST, LAST),
        (Sort::Int | Sort::Real, Form::UnixMs) => between(out, column, FIRST * 1000, LAST * 1000),
        // Every row is sent then, and the reader tells.
        (_, Form::Pattern(_)) => {
            out.sql("1 = 1");
        }
        _ => {
            out.sql("1 = 0");
        }
    }
    out.sql(")");
}

/// Whether every date that is not [`plain`] is surely [`within`] any bound or in the [`future`]: what lies before or behind all calendars, in columns of a
/// type in which nothing but dates can be. To ask for that as well would cost something for every row that is not due yet.
pub(super) fn is_told_by_bounds(dialect: Dialect, column: &Column, when: &When) -> bool {
    // MySQL may hold days that no calendar has.
    is_dated(column, when) && dialect == Dialect::Postgres
}

/// Whether the type of the column says that dates are in it which the reader can tell.
fn is_dated(column: &Column, when: &When) -> bool {
    match (column.sort, &when.form) {
        (Sort::Date, Form::Undeclared | Form::Date | Form::DateTime) | (Sort::Instant, Form::Undeclared | Form::DateTime) => true,
        (Sort::Local, Form::Undeclared | Form::DateTime) => when.zone.is_some(),
        _ => false,
    }
}

fn present(out: &mut Statement, column: &Column) {
    out.name(&column.name).sql(" IS NOT NULL");
}

fn later(date: Date, days: i8) -> Option<Date> {
    (0..days).try_fold(date, |date, _| date.tomorrow()).ok()
}

/// Compares with a date; where the calendar ends, everything may lie there.
fn day(out: &mut Statement, column: &Column, compare: &'static str, date: Option<Date>) {
    match date.filter(|date| date.year() > 1000) {
        Some(date) => {
            let bind = if column.bind == Bind::Utc { &Bind::Bare } else { &column.bind };
            out.name(&column.name).sql(compare).once(&Cell::Text(date.to_string().into()), bind);
        }
        None => present(out, column),
    }
}

/// Compares with an instant, in the second.
fn instant(out: &mut Statement, column: &Column, compare: &'static str, at: Timestamp) {
    let at = Timestamp::new(at.as_second() + i64::from(compare.contains('<')), 0).unwrap_or(at);
    out.name(&column.name).sql(compare).once(&Cell::Text(at.to_string().into()), &column.bind);
}

/// Compares text byte by byte.
fn text(out: &mut Statement, column: &Column, compare: &'static str, date: Option<Date>) {
    match date.filter(|date| date.year() > 1000) {
        Some(date) => {
            // Digits and hyphens come in the same order in every collation, and before letters.
            out.name(&column.name).sql(compare).value(&Cell::Text(date.to_string().into()));
        }
        None => present(out, column),
    }
}

fn number(out: &mut Statement, column: &Column, compare: &'static str, limit: i64) {
    out.name(&column.name).sql(compare).value(&Cell::Int(limit));
}

fn between(out: &mut Statement, column: &Column, first: i64, last: i64) {
    out.name(&column.name).sql(" BETWEEN ").value(&Cell::Int(first)).sql(" AND ").value(&Cell::Int(last));
}

fn calendar(out: &mut Statement, dialect: Dialect, column: &Column) {
    let bind = if column.bind == Bind::Utc { &Bind::Bare } else { &column.bind };
    let bound = |text: &str| Cell::Text(text.into());
    out.name(&column.name).sql(" BETWEEN ").once(&bound("1001-01-01"), bind).sql(" AND ").once(&bound("9998-12-31"), bind);
    // MySQL may hold the 0th of a month, and 30 February. Others would pay for the question with every row.
    if dialect != Dialect::MySql {
        return;
    }
    let part = |out: &mut Statement, before: &'static str, after: &'static str| {
        out.sql(before).name(&column.name).sql(after);
    };
    part(out, " AND EXTRACT(MONTH FROM ", ") > 0");
    part(out, " AND (EXTRACT(DAY FROM ", ") BETWEEN 1 AND 28");
    part(out, " OR (EXTRACT(DAY FROM ", ") BETWEEN 29 AND 30");
    part(out, " AND EXTRACT(MONTH FROM ", ") <> 2)");
    part(out, " OR (EXTRACT(DAY FROM ", ") = 31");
    part(out, " AND EXTRACT(MONTH FROM ", ") IN (1, 3, 5, 7, 8, 10, 12)))");
}

fn matches(out: &mut Statement, column: &Column, pattern: &str) {
    out.matches(&column.name).value(&Cell::Text(pattern.into()));
}
