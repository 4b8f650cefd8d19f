//! How a column's value becomes the date of an event.
//!
//! The reading is strict and never guesses: a value that is not exactly of the declared form is a [`Doubt`], which keeps its record. Without
//! `as:` only ISO text is read, because text of that form says itself what it is; a bare number could be seconds, milliseconds or a Julian
//! day and is doubt until the administrator says which.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use super::value::Seen;
use crate::record::{Doubt, Moment, Reading};
use crate::schedule::load::zone_named;
use crate::yaml::{Mark, Node, Problems, Value, near};

/// How a column writes the date of an event.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) enum Form {
    /// Nothing declared: ISO text, with or without a time of day.
    Undeclared,
    /// `date`: `2026-01-31`.
    Date,
    /// `datetime`: `2026-01-31 10:00[:00[.000]][Z|+01:00]`, and plain dates, which are unmistakable too.
    DateTime,
    /// `unix`: seconds since 1970, whole or with a fraction.
    Unix,
    /// `unix-ms`: milliseconds since 1970.
    UnixMs,
    /// `julian`: days since noon on 24 November -4713.
    Julian,
    /// A pattern such as `%d/%m/%Y`.
    Pattern(Box<str>),
}

/// How to read one event's column.
#[derive(Clone, Debug)]
pub(in crate::store) struct When {
    /// The form of the values.
    pub(in crate::store) form: Form,
    /// The zone of times that name none.
    pub(in crate::store) zone: Option<TimeZone>,
}

/// The Julian day number of the start of 1970.
const JULIAN_1970: f64 = 2_440_587.5;
const DAY_MS: f64 = 86_400_000.0;
/// Earlier years are no events of records: 0001-01-01 is how some programs write that there is no date, and 26 is half a year number.
const FIRST_YEAR: i16 = 1000;
const WORDS: [&str; 5] = ["date", "datetime", "unix", "unix-ms", "julian"];

impl Form {
    /// Reads what stands behind `as:`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "unix" => Self::Unix,
            "unix-ms" => Self::UnixMs,
            "julian" => Self::Julian,
            pattern if pattern.contains('%') => Self::pattern(pattern)?,
            other => {
                let hint = near(other, WORDS);
                return Err(format!(
                    "expected date, datetime, unix, unix-ms, julian or a pattern such as \"%d/%m/%Y\", found \"{}\"{hint}",
                    crate::error::escape(other.as_bytes())
                ));
            }
        })
    }

    fn pattern(pattern: &str) -> Result<Self, String> {
        let shown = crate::error::escape(pattern.as_bytes());
        if pattern.contains("%y") || pattern.contains("%D") || pattern.contains("%g") {
            return Err(format!("the pattern \"{shown}\" has a year of two digits, which leaves the century open; it needs %Y"));
        }
        // A pattern is good when it says the whole date and reads back what it writes.
        let sample = Date::constant(2026, 11, 23).at(14, 35, 46, 0).to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
        let text =
            jiff::fmt::strtime::format(pattern, &sample).map_err(|error| format!("the pattern \"{shown}\" is not understood: {error}"))?;
        let read = BrokenDownTime::parse(pattern, &text).and_then(|parts| parts.to_date());
        if read.ok() != Some(sample.date()) {
            return Err(format!("the pattern \"{shown}\" does not give a whole date; write year (%Y), month (%m) and day (%d)"));
        }
        Ok(Self::Pattern(pattern.into()))
    }

    /// Whether a time of day can stand in this form without a zone, so that a declared zone has a meaning.
    pub(super) fn takes_zone(&self) -> bool {
        matches!(self, Self::Undeclared | Self::DateTime | Self::Pattern(_))
    }

    /// What the column is read as, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Undeclared | Self::DateTime => "ISO date and time text".into(),
            Self::Date => "ISO date text".into(),
            Self::Unix => "seconds since 1970".into(),
            Self::UnixMs => "milliseconds since 1970".into(),
            Self::Julian => "Julian days".into(),
            Self::Pattern(pattern) => format!("\"{}\"", crate::error::escape(pattern.as_bytes())),
        }
    }
}

impl When {
    /// Reads where the date of an event stands, as the configuration says it: the name of a column, or a mapping with `column` and how it is written.
    pub(in crate::store) fn of_column<'n>(node: &'n Node, problems: &mut Problems) -> Option<(&'n str, Mark, Self)> {
        if let Value::Scalar(_) = node.value {
            return Some((node.text("the name of a column", problems)?, node.mark, Self { form: Form::Undeclared, zone: None }));
        }
        let mut fields = node.fields("the name of a column, or a mapping with `column`", problems)?;
        let column = fields.need("column", "an event", problems);
        let column = column.and_then(|node| Some((node.text("the name of a column", problems)?, node.mark)));
        let form = match fields.take("as") {
            None => Some(Form::Undeclared),
            Some(node) => node
                .text("the form of the dates", problems)
                .and_then(|text| Form::parse(text).map_err(|error| problems.add(node.mark, error)).ok()),
        };
        let zone_node = fields.take("zone");
        let zone = zone_node
            .and_then(|node| zone_named(node.text("an IANA time zone", problems)?).map_err(|error| problems.add(node.mark, error)).ok());
        fields.finish("an event", problems);
        if let (Some(form), Some(node)) = (&form, zone_node)
            && !form.takes_zone()
        {
            problems.add(node.mark, format!("{} needs no zone; remove `zone:`", form.describe()));
        }
        let (column, mark) = column?;
        Some((column, mark, Self { form: form?, zone }))
    }

    /// Reads one value. No value means that the event has not happened yet.
    pub(in crate::store) fn read(&self, cell: Seen<'_>) -> Reading {
        let wrong = || Reading::Doubt(Doubt::Unparsable(format!("{} where {} is expected", cell.kind(), self.form.describe())));
        let moment = match (&self.form, cell) {
            (_, Seen::Null) => return Reading::NotYet,
            (Form::Undeclared, Seen::Int(_) | Seen::Real(_)) => {
                return Reading::Doubt(Doubt::Unparsable("a number of undeclared meaning; write `as: unix` or `as: julian`".into()));
            }
            (Form::Undeclared | Form::Date | Form::DateTime, Seen::Day(day)) => {
                let date = day.date().map(Moment::Date).filter(plausible);
                return date.map_or_else(|| Reading::Doubt(Doubt::Unparsable("a date outside the calendar".into())), Reading::At);
            }
            (Form::Pattern(pattern), Seen::Day(day)) => return self.by_pattern(pattern, &day.to_string()).unwrap_or_else(wrong),
            (Form::Date, Seen::Text(text)) => iso_date(text.as_bytes()).map(Moment::Date),
            (Form::Undeclared | Form::DateTime, Seen::Text(text)) => match iso(text.as_bytes()) {
                Some(Iso::Local(local)) => return self.local(local),
                Some(Iso::Moment(moment)) => Some(moment),
                None => None,
            },
            (Form::Unix, Seen::Int(seconds)) => instant(i128::from(seconds) * 1_000_000_000),
            (Form::Unix, Seen::Real(seconds)) => whole(seconds * 1000.0).and_then(|ms| instant(ms * 1_000_000)),
            (Form::UnixMs, Seen::Int(ms)) => instant(i128::from(ms) * 1_000_000),
            (Form::UnixMs, Seen::Real(ms)) => whole(ms).and_then(|ms| instant(ms * 1_000_000)),
            (Form::Julian, Seen::Int(day)) => julian(f64_of(day)),
            (Form::Julian, Seen::Real(day)) => julian(day),
            (Form::Pattern(pattern), Seen::Text(text)) => return self.by_pattern(pattern, text).unwrap_or_else(wrong),
            _ => None,
        };
        moment.filter(plausible).map_or_else(wrong, Reading::At)
    }

    fn by_pattern(&self, pattern: &str, text: &str) -> Option<Reading> {
        let parts = BrokenDownTime::parse(pattern, text).ok()?;
        // `%Y` reads the 26 of 1/2/26 as the year 26.
        let date = parts.to_date().ok().filter(|date| date.year() >= FIRST_YEAR)?;
        if parts.offset().is_some() {
            return parts.to_timestamp().ok().map(|instant| Reading::At(Moment::Instant(instant)));
        }
        Some(match parts.hour() {
            None => Reading::At(Moment::Date(date)),
            Some(_) => self.local(date.to_datetime(parts.to_time().ok()?)),
        })
    }

    /// A local time in the declared zone. In the hour that a clock change repeats the later instant is taken: it keeps longer.
    fn local(&self, local: DateTime) -> Reading {
        let Some(zone) = &self.zone else {
            return Reading::Doubt(Doubt::NoZone("a time without offset; declare its `zone:`".into()));
        };
        match zone.to_ambiguous_zoned(local).later() {
            Ok(zoned) if zoned.year() >= FIRST_YEAR => Reading::At(Moment::Instant(zoned.timestamp())),
            _ => Reading::Doubt(Doubt::Unparsable("a time outside the calendar".into())),
        }
    }
}

fn plausible(moment: &Moment) -> bool {
    moment.date_in(&TimeZone::UTC).year() >= FIRST_YEAR
}

/// An ISO text as far as it can be understood without a zone.
enum Iso {
    Moment(Moment),
    Local(DateTime),
}

fn iso(text: &[u8]) -> Option<Iso> {
    let (head, rest) = text.split_at_checked(10)?;
    let date = iso_date(head)?;
    let Some((separator, rest)) = rest.split_first() else {
        return Some(Iso::Moment(Moment::Date(date)));
    };
    // Engines that compare regardless of case take both for plain dates.
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let (hour, rest) = two(rest)?;
    let (minute, mut rest) = two(rest.strip_prefix(b":")?)?;
    let (mut second, mut nanos) = (0, 0);
    if let Some(after) = rest.strip_prefix(b":") {
        (second, rest) = two(after)?;
        if let Some(after) = rest.strip_prefix(b".") {
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            nanos = (0..9).fold(0, |sum, at| sum * 10 + after[..digits].get(at).map_or(0, |digit| i32::from(digit - b'0')));
            rest = &after[digits..];
        }
    }
    let local = DateTime::new(date.year(), date.month(), date.day(), hour, minute, second, nanos).ok()?;
    let (sign, after) = match rest.split_first() {
        None => return Some(Iso::Local(local)),
        Some((b'Z' | b'z', [])) => (1, &b"00"[..]),
        Some((b'+', after)) => (1, after),
        Some((b'-', after)) => (-1, after),
        Some(_) => return None,
    };
    let (hours, after) = two(after)?;
    let (minutes, after) = if after.is_empty() { (0, after) } else { two(after.strip_prefix(b":").unwrap_or(after))? };
    if !after.is_empty() || hours > 23 || minutes > 59 {
        return None;
    }
    let offset = jiff::tz::Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)).ok()?;
    offset.to_timestamp(local).ok().map(|instant| Iso::Moment(Moment::Instant(instant)))
}

fn iso_date(text: &[u8]) -> Option<Date> {
    let (century, rest) = two(text)?;
    let (year, rest) = two(rest)?;
    let (month, rest) = two(rest.strip_prefix(b"-")?)?;
    let (day, rest) = two(rest.strip_prefix(b"-")?)?;
    if !rest.is_empty() {
        return None;
    }
    Date::new(i16::from(century) * 100 + i16::from(year), month, day).ok()
}

fn two(text: &[u8]) -> Option<(i8, &[u8])> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => Some(((tens - b'0').cast_signed() * 10 + (ones - b'0').cast_signed(), rest)),
        _ => None,
    }
}

fn instant(nanoseconds: i128) -> Option<Moment> {
    Timestamp::from_nanosecond(nanoseconds).ok().map(Moment::Instant)
}

/// To whole milliseconds as SQLite does it, to the nearest.
fn julian(day: f64) -> Option<Moment> {
    whole(((day - JULIAN_1970) * DAY_MS).round()).and_then(|ms| instant(ms * 1_000_000))
}

fn whole(number: f64) -> Option<i128> {
    // Beyond this no date lies in the calendar, and below it the conversion is exact.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked, and the fraction is meant to go")]
    (number.is_finite() && number.abs() < 1e15).then(|| number.floor() as i128)
}

fn f64_of(number: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a number too large to be exact is no Julian day and is refused by the calendar")]
    let number = number as f64;
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: &str, zone: Option<&str>, cell: &Seen<'_>) -> Reading {
        let form = if form.is_empty() { Form::Undeclared } else { Form::parse(form).unwrap() };
        When { form, zone: zone.map(|name| TimeZone::get(name).unwrap()) }.read(*cell)
    }

    fn text(form: &str, zone: Option<&str>, value: &str) -> Reading {
        read(form, zone, &Seen::Text(value))
    }

    fn at(instant: &str) -> Reading {
        Reading::At(Moment::Instant(instant.parse().unwrap()))
    }

    fn on(date: &str) -> Reading {
        Reading::At(Moment::Date(date.parse().unwrap()))
    }

    #[test]
    fn each_form_reads_its_boundaries_as_the_calendar_does() {
        let london = Some("Europe/London");
        for form in ["", "date", "datetime"] {
            assert_eq!(text(form, None, "2024-02-29"), on("2024-02-29"), "{form}");
            assert_eq!(text(form, None, "2026-12-31"), on("2026-12-31"));
        }
        for form in ["", "datetime"] {
            assert_eq!(text(form, None, "2026-03-31T23:59:59Z"), at("2026-03-31T23:59:59Z"));
            assert_eq!(text(form, None, "2026-03-31 23:59:59.123456789012+01:00"), at("2026-03-31T22:59:59.123456789Z"));
            assert_eq!(text(form, None, "2026-03-31 23:59-0530"), at("2026-04-01T05:29:00Z"));
            assert_eq!(text(form, None, "2026-03-31 23:59+02"), at("2026-03-31T21:59:00Z"));
            assert_eq!(text(form, london, "2026-07-01 00:30:00"), at("2026-06-30T23:30:00Z"));
            // Repeated hour: the later instant. Skipped hour: the later one too.
            assert_eq!(text(form, london, "2026-10-25 01:30:00"), at("2026-10-25T01:30:00Z"));
            assert_eq!(text(form, london, "2026-03-29 01:30:00"), at("2026-03-29T01:30:00Z"));
        }
        for (seconds, instant) in [(0, "1970-01-01T00:00:00Z"), (-1, "1969-12-31T23:59:59Z"), (1_772_323_199, "2026-02-28T23:59:59Z")] {
            assert_eq!(read("unix", None, &Seen::Int(seconds)), at(instant));
            assert_eq!(read("unix", None, &Seen::Real(f64_of(seconds))), at(instant));
            assert_eq!(read("unix-ms", None, &Seen::Int(seconds * 1000)), at(instant));
            assert_eq!(read("julian", None, &Seen::Real(JULIAN_1970 + f64_of(seconds) / 86_400.0)), at(instant));
        }
        assert_eq!(text("%d/%m/%Y", None, "28/02/2026"), on("2026-02-28"));
        assert_eq!(text("%d/%m/%Y %H:%M", london, "01/07/2026 00:30"), at("2026-06-30T23:30:00Z"));
        assert_eq!(text("%Y%m%dT%H%M%S%z", None, "20260701T003000+0100"), at("2026-06-30T23:30:00Z"));
    }

    #[test]
    fn what_is_not_exactly_of_the_form_is_doubt() {
        for value in [
            "",
            " ",
            "0000-00-00",
            "2026-02-31",
            "2026-02-29",
            "2026-2-1",
            "20260201",
            "2026-02-01x",
            " 2026-02-01",
            "2026-02-01 ",
            "2026-02-01T",
            "2026-02-01T24:00",
            "2026-02-01T10:00:00.",
            "2026-02-01T10:00:60",
            "2026-02-01T10:00:00+",
            "2026-02-01T10:00:00+1",
            "now",
            "2026-02-01T10",
            "2026-02-01 10:00 Z",
            "-2026-02-01",
            "９９９９-01-01",
            "2026-02-01T10:00:00+99:00",
            "2026-02-01T10:00Zz",
            "9999-99-99",
            "\0",
        ] {
            for form in ["", "date", "datetime", "unix", "unix-ms", "julian", "%d/%m/%Y"] {
                let reading = text(form, Some("Europe/London"), value);
                assert!(matches!(reading, Reading::Doubt(Doubt::Unparsable(_))), "{form}: {value:?}: {reading:?}");
            }
        }
        for value in ["31/02/2026", "1/2/26", "01/02/2026 ", "01/02/2026x", "2026-02-01"] {
            assert!(matches!(text("%d/%m/%Y", None, value), Reading::Doubt(_)), "{value}");
        }
        for form in ["unix", "unix-ms", "julian"] {
            for cell in
                [Seen::Int(i64::MAX), Seen::Int(i64::MIN), Seen::Real(f64::INFINITY), Seen::Real(1e300), Seen::Text("1"), Seen::Blob(&[1])]
            {
                assert!(matches!(read(form, None, &cell), Reading::Doubt(_)), "{form}");
            }
        }
        assert!(matches!(read("", None, &Seen::Int(1_700_000_000)), Reading::Doubt(_)), "a number is never guessed at");
        assert!(matches!(text("datetime", None, "2026-02-01 10:00"), Reading::Doubt(Doubt::NoZone(_))));
        assert_eq!(read("date", None, &Seen::Null), Reading::NotYet);
    }

    #[test]
    fn a_doubt_never_repeats_the_value() {
        let Reading::Doubt(doubt) = text("", None, "secret-value") else { panic!("read") };
        assert!(!doubt.to_string().contains("secret"));
    }

    #[test]
    fn patterns_that_do_not_say_the_whole_date_are_refused() {
        for bad in ["%d/%m/%y", "%H:%M", "%Y", "%d/%m", "%Q", "%"] {
            assert!(Form::parse(bad).is_err(), "{bad}");
        }
        assert!(Form::parse("dat").unwrap_err().contains("did you mean"));
    }

    proptest::proptest! {
        #[test]
        fn no_value_makes_the_reader_panic(text in "[0-9TZ:.+\\- /]{0,30}|\\PC{0,30}", number: i64, real: f64) {
            for form in ["", "date", "datetime", "unix", "unix-ms", "julian", "%d/%m/%Y %H:%M"] {
                for cell in [Seen::Text(&text), Seen::Int(number), Seen::Real(real)] {
                    let _ = read(form, Some("Europe/London"), &cell);
                }
            }
        }

        #[test]
        fn every_iso_time_that_jiff_writes_is_read_back(second in -30_500_000_000_i64..250_000_000_000) {
            let instant = Timestamp::from_second(second).unwrap();
            proptest::prop_assert_eq!(text("", None, &instant.to_string()), Reading::At(Moment::Instant(instant)));
        }
    }
}
