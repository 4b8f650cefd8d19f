//! When datasets are scanned: five cron fields as administrators know them.
//!
//! `minute hour day-of-month month day-of-week`, or one of `@hourly @daily @weekly @monthly @yearly`. When both days are restricted, either
//! suffices (as in cron(8)); 0 and 7 are Sunday; months and weekdays may be named. A timetable that never fires (31 February) is refused when it
//! is read.
//!
//! Times are **civil** times, what clocks on the wall show; [`Timetable::next_run`] turns them into instants of a zone. There each civil time of
//! the table happens once. One that the clocks skip in spring happens at the end of the gap, together with whatever else was skipped there; one
//! that they show twice in autumn happens the first time. So later times never come before earlier ones, and a table of each minute pauses for
//! an hour in autumn. This file never asks what time it is.
//!
//! The `cron` crate parses and steps; three of its ways differ from what administrators expect and are mended here: it wants a seconds field,
//! counts Sunday as 1, and demands both day fields at once.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, TimeZone, Timelike, Utc};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone as Zone};
use jiff::{SignedDuration, Timestamp};

/// What a timetable asks for at some moment, given when it was last satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing before this instant.
    Next(Timestamp),
    /// A run, since this instant: the first that was not satisfied. However many were missed, they are made up for by one run.
    Since(Timestamp),
    /// Nothing any more: the calendar ends.
    Never,
}

/// A set of civil times at which something is to happen.
#[derive(Clone, Debug)]
pub struct Timetable {
    written: String,
    any_of: Vec<cron::Schedule>,
}

impl Timetable {
    /// Parses the five fields.
    ///
    /// # Errors
    /// A sentence that says which field is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "write for example \"15 2 * * *\" for every night at 02:15";
        let written = text.trim().to_owned();
        let expanded = match written.as_str() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other if other.starts_with('@') => {
                let hint = crate::yaml::suggest(other, ["@hourly", "@daily", "@weekly", "@monthly", "@yearly"]);
                return Err(format!("timetable \"{}\" is unknown{hint}", crate::error::escape(other.as_bytes())));
            }
            other => other,
        };
        let fields: Vec<&str> = expanded.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let (found, shown) = (fields.len(), crate::error::escape(written.as_bytes()));
            return Err(format!("timetable \"{shown}\" has {found} fields, expected 5 (minute hour day month weekday); {EXAMPLE}"));
        };
        let refuse = |field: &str, found: &str| {
            format!("timetable field {field} \"{}\" is not understood; {EXAMPLE}", crate::error::escape(found.as_bytes()))
        };
        for (name, found) in [("minute", minute), ("hour", hour), ("day", day), ("month", month), ("weekday", weekday)] {
            if !found.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'*' | b',' | b'-' | b'/')) {
                return Err(refuse(name, found));
            }
        }
        let weekday = weekdays(weekday).ok_or_else(|| refuse("weekday", weekday))?;
        let build = |day: &str, weekday: &str| {
            cron::Schedule::from_str(&format!("0 {minute} {hour} {day} {month} {weekday}"))
                .map_err(|_| format!("timetable \"{}\" is not understood; {EXAMPLE}", crate::error::escape(written.as_bytes())))
        };
        // As in cron(8), a field that begins with `*` restricts nothing for the question whether both days are given.
        let any_of = if day.starts_with('*') || weekday.starts_with('*') {
            vec![build(day, &weekday)?]
        } else {
            vec![build(day, "*")?, build("*", &weekday)?]
        };
        let timetable = Self { written, any_of };
        if timetable.next_after(jiff::civil::date(2024, 1, 1).at(0, 0, 0, 0)).is_none() {
            return Err(format!("timetable \"{}\" never comes: no year has that day", timetable.written));
        }
        Ok(timetable)
    }

    /// The first time of the table that lies after `civil`, to the minute; `None` at the end of the calendar.
    pub fn next_after(&self, civil: DateTime) -> Option<DateTime> {
        let year = i32::from(civil.year());
        let (month, day) = (u32::try_from(civil.month()).ok()?, u32::try_from(civil.day()).ok()?);
        let (hour, minute, second) =
            (u32::try_from(civil.hour()).ok()?, u32::try_from(civil.minute()).ok()?, u32::try_from(civil.second()).ok()?);
        let from = Utc.from_utc_datetime(&NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(hour, minute, second)?);
        let next = self.any_of.iter().filter_map(|schedule| schedule.after(&from).next()).min()?;
        let small = |value: u32| i8::try_from(value).ok();
        DateTime::new(
            i16::try_from(next.year()).ok()?,
            small(next.month())?,
            small(next.day())?,
            small(next.hour())?,
            small(next.minute())?,
            0,
            0,
        )
        .ok()
    }

    /// The first instant after `after` at which the table asks for a run in the zone; `None` at the end of the calendar.
    pub fn next_run(&self, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
        // No civil time up to this one comes after `after`, because instants never go back as civil times go on.
        let mut civil = zone.to_datetime(after);
        loop {
            civil = self.next_after(civil)?;
            let instant = instant(zone, civil)?;
            if instant > after {
                return Some(instant);
            }
        }
    }

    /// What the table asks for at `now`, when the last run began at `last`.
    pub fn asks(&self, zone: &Zone, last: Timestamp, now: Timestamp) -> Asked {
        match self.next_run(zone, last) {
            Some(next) if next <= now => Asked::Since(next),
            Some(next) => Asked::Next(next),
            None => Asked::Never,
        }
    }
}

/// The instant of a civil time: the first of two, and the end of the gap for one that clocks do not show.
fn instant(zone: &Zone, civil: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let AmbiguousOffset::Gap { before, .. } = ambiguous.offset() else {
        return ambiguous.compatible().ok();
    };
    // Read as if the clocks had not been changed, it lies behind the change by as much as it lies in the gap.
    let behind = before.to_timestamp(civil).ok()?;
    let just_after = behind.checked_add(SignedDuration::from_secs(1)).ok()?;
    zone.preceding(just_after).next().map(|change| change.timestamp())
}

/// Weekdays with Sunday as 0 or 7, or named, as the crate's 1 to 7; a step or a range is written out.
fn weekdays(field: &str) -> Option<String> {
    const NAMES: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    if field == "*" {
        return Some("*".into());
    }
    let number = |word: &str| -> Option<usize> {
        let lower = word.to_ascii_lowercase();
        NAMES.iter().position(|name| lower == *name || lower == name[..3]).or_else(|| word.parse().ok().filter(|n| *n <= 7))
    };
    let mut days = [false; 7];
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((first, last)) => (number(first)?, number(last)?),
            None if step > 1 => (number(range)?, 6),
            None => (number(range)?, number(range)?),
        };
        if first > last {
            return None;
        }
        (first..=last).step_by(step).for_each(|day| days[day % 7] = true);
    }
    let listed: Vec<String> = (0..7).filter(|day| days[*day]).map(|day| (day + 1).to_string()).collect();
    Some(listed.join(","))
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn next(table: &str, from: DateTime) -> String {
        Timetable::parse(table).unwrap().next_after(from).map_or("never".into(), |next| next.to_string())
    }

    #[test]
    fn the_five_fields_mean_what_administrators_expect() {
        let sunday = date(2026, 11, 22).at(12, 0, 0, 0);
        assert_eq!(next("15 2 * * *", sunday), "2026-11-23T02:15:00");
        assert_eq!(next("0 3 * * 0", sunday), "2026-11-29T03:00:00");
        assert_eq!(next("0 3 * * 7", sunday), "2026-11-29T03:00:00");
        assert_eq!(next("0 3 * * mon-fri", sunday), "2026-11-23T03:00:00");
        assert_eq!(next("0 3 * * 5-7", sunday), "2026-11-27T03:00:00");
        assert_eq!(next("0 3 1 * 1", sunday), "2026-11-23T03:00:00", "day of month OR day of week");
        assert_eq!(next("0 3 24 * 5", sunday), "2026-11-24T03:00:00", "day of month OR day of week");
        assert_eq!(next("*/20 * * * *", sunday), "2026-11-22T12:20:00");
        assert_eq!(next("0 0 29 2 *", sunday), "2028-02-29T00:00:00");
        assert_eq!(next("@daily", sunday), "2026-11-23T00:00:00");
    }

    #[test]
    fn a_time_that_the_clocks_skip_or_repeat_happens_once() {
        let runs = |table: &str, zone: &str, from: &str, many: usize| {
            let (table, zone) = (Timetable::parse(table).unwrap(), Zone::get(zone).unwrap());
            let mut at: Timestamp = from.parse().unwrap();
            let mut next = || {
                at = table.next_run(&zone, at).unwrap();
                at.to_zoned(zone.clone()).strftime("%d %H:%M %Z").to_string()
            };
            (0..many).map(|_| next()).collect::<Vec<_>>().join(", ")
        };
        let spring = "2027-03-27T12:00:00Z";
        assert_eq!(runs("30 1 * * *", "Europe/London", spring, 2), "28 02:00 BST, 29 01:30 BST");
        assert_eq!(runs("0,30 0-2 * * *", "Europe/London", spring, 4), "28 00:00 GMT, 28 00:30 GMT, 28 02:00 BST, 28 02:30 BST");
        let autumn = "2027-10-30T12:00:00Z";
        assert_eq!(runs("30 1 * * *", "Europe/London", autumn, 2), "31 01:30 BST, 01 01:30 GMT");
        assert_eq!(runs("*/30 1-2 * * *", "Europe/London", autumn, 3), "31 01:00 BST, 31 01:30 BST, 31 02:00 GMT");
        // Half an hour is skipped here, and a whole day there.
        assert_eq!(runs("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", 2), "04 02:30 +11, 05 02:15 +11");
        assert_eq!(runs("15 2 * * *", "Pacific/Apia", "2011-12-29T02:00:00Z", 3), "29 02:15 -10, 31 00:00 +14, 31 02:15 +14");
    }

    #[test]
    fn runs_that_were_missed_are_asked_for_once() {
        let (table, zone) = (Timetable::parse("15 2 * * *").unwrap(), Zone::get("Europe/London").unwrap());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let last = at("2026-11-20T02:15:00Z");
        assert_eq!(table.asks(&zone, last, at("2026-11-21T02:14:59Z")), Asked::Next(at("2026-11-21T02:15:00Z")));
        assert_eq!(table.asks(&zone, last, at("2026-11-21T02:15:00Z")), Asked::Since(at("2026-11-21T02:15:00Z")));
        let after_a_week = at("2026-11-28T09:00:00Z");
        assert_eq!(table.asks(&zone, last, after_a_week), Asked::Since(at("2026-11-21T02:15:00Z")));
        assert_eq!(table.asks(&zone, after_a_week, after_a_week), Asked::Next(at("2026-11-29T02:15:00Z")));
    }

    #[test]
    fn what_never_comes_or_cannot_be_read_is_refused() {
        let refused = |text: &str| Timetable::parse(text).unwrap_err();
        assert!(refused("0 0 31 2 *").contains("never comes"));
        assert!(refused("0 2 * *").contains("has 4 fields, expected 5"));
        assert!(refused("0 0 2 * * *").contains("has 6 fields, expected 5"));
        assert!(refused("61 2 * * *").contains("is not understood"));
        assert!(refused("0 2 * * 8").contains("field weekday \"8\""));
        assert!(refused("0 2 * * money").contains("field weekday \"money\""));
        assert!(Timetable::parse("0 2 * * Monday,fri").is_ok());
        assert!(refused("@dayly").contains("did you mean `@daily`?"));
        assert!(refused("").contains("has 0 fields"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[-0-9*/,a-zA-Z@? ]{0,24}") {
            let _ = Timetable::parse(&text);
        }
    }
}
