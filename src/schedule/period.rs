//! Retention periods and the calendar arithmetic of the law.
//!
//! The day of the event is day 0 and is not counted (`after`), or is the first day (`from`, "beginning with"). Years and months are added in
//! one step and clamp to the end of a shorter month; then the days are added. The result is the *due date*: the last day on which the record
//! must be kept. It may be destroyed from the start of the following day.
//!
//! Because clamping never reverses order, "due on this day" is one comparison against a *cutoff*, the latest event date whose due date is past.
//! Stores push that comparison down; no store ever does calendar arithmetic itself.
//!
//! Units below a day do not exist here. `6m` is refused (it reads as six minutes to some and as six months to others), as are zero and
//! negative periods. Sources of the rules: Dodds v Walker [1981] 1 WLR 1027 (clamping), Matthew v Sedman [2021] UKSC 19 (whole days).

use std::fmt;

use jiff::Span;
use jiff::civil::Date;

/// Longer periods than this many years are refused: who means for ever writes `keep: permanently`.
const LONGEST_YEARS: u32 = 1000;

/// Whether the day of the event itself is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// `after:` the event's day is day 0 and is not counted.
    After,
    /// `from:` the event's day is the first day ("beginning with").
    From,
}

/// A retention period in calendar units, at least one day long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
}

impl Period {
    /// Parses `6 months`, `1 year 6 months`, `1 year, 3 months and 10 days`, or ISO 8601 (`P6M`, `P1Y3M10D`, `P2W`).
    ///
    /// # Errors
    /// A sentence that completes `period "…"`: what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let iso =
            text.strip_prefix(['P', 'p']).is_some_and(|body| !body.starts_with(|c: char| c.is_alphabetic() && !matches!(c, 'T' | 't')));
        let parts = if iso && !text.contains(' ') { iso_parts(text)? } else { plain_parts(text)? };
        let mut period = Self { years: 0, months: 0, weeks: 0, days: 0 };
        let mut last = 0;
        for (count, unit) in parts {
            let (rank, slot) = match unit {
                Unit::Year => (1, &mut period.years),
                Unit::Month => (2, &mut period.months),
                Unit::Week => (3, &mut period.weeks),
                Unit::Day => (4, &mut period.days),
            };
            if rank <= last {
                return Err("names its units twice or out of order; write years, months, weeks and days in that order".into());
            }
            last = rank;
            *slot = count;
        }
        if period == (Self { years: 0, months: 0, weeks: 0, days: 0 }) {
            return Err("is zero; the shortest period is 1 day".into());
        }
        let years = u64::from(period.years) + u64::from(period.months) / 12 + (u64::from(period.weeks) * 7 + u64::from(period.days)) / 366;
        if years > u64::from(LONGEST_YEARS) {
            return Err(format!("is longer than {LONGEST_YEARS} years; write `keep: permanently` for records that are never destroyed"));
        }
        Ok(period)
    }

    /// A period of whole days, for defaults.
    pub(super) const fn of_days(days: u32) -> Self {
        Self { years: 0, months: 0, weeks: 0, days }
    }

    /// The last day on which a record must be kept: event date plus period. `None` when the date leaves the calendar (then nothing is due).
    pub fn due(self, event: Date, counting: Counting) -> Option<Date> {
        let start = match counting {
            Counting::After => event,
            Counting::From => event.yesterday().ok()?,
        };
        let months = i64::from(self.years) * 12 + i64::from(self.months);
        let days = i64::from(self.weeks) * 7 + i64::from(self.days);
        let clamped = start.checked_add(Span::new().try_months(months).ok()?).ok()?;
        clamped.checked_add(Span::new().try_days(days).ok()?).ok()
    }

    /// Whether this period ends before `other` for some event date, so that it cannot serve as its ceiling.
    pub fn ends_before(self, other: Self) -> bool {
        // Four whole years starting in a leap year see every month length and both kinds of year as start and as end.
        let mut day = jiff::civil::date(2024, 1, 1);
        let end = jiff::civil::date(2028, 1, 1);
        while day < end {
            match (self.due(day, Counting::After), other.due(day, Counting::After)) {
                (Some(mine), Some(theirs)) if mine >= theirs => {}
                _ => return true,
            }
            day = day.tomorrow().expect("the year 2028 is within the calendar");
        }
        false
    }
}

/// The latest date for which `due` lies before `today`, when `due` never decreases as its argument grows; `None` when there is none.
///
/// `event ≤ cutoff` is then the same as `due(event) < today`.
pub fn cutoff(today: Date, due: impl Fn(Date) -> Option<Date>) -> Option<Date> {
    let is_due = |day: i64| date_of(day).and_then(&due).is_some_and(|due| due < today);
    let (mut low, mut high) = (day_number(Date::MIN) - 1, day_number(today));
    while low < high {
        let middle = (low + high + 1).div_euclid(2);
        if is_due(middle) { low = middle } else { high = middle - 1 }
    }
    // The first days of the calendar have no day before them, so a period that begins `from` them is never due: still no error, only kept.
    date_of(low).filter(|_| is_due(low))
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

fn day_number(date: Date) -> i64 {
    date.since(EPOCH).map_or(0, |span| i64::from(span.get_days()))
}

fn date_of(day: i64) -> Option<Date> {
    EPOCH.checked_add(Span::new().try_days(day).ok()?).ok()
}

#[derive(Clone, Copy)]
enum Unit {
    Year,
    Month,
    Week,
    Day,
}

fn count_of(digits: &str) -> Result<u32, String> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("has \"{}\" where a whole number was expected", crate::error::escape(digits.as_bytes())));
    }
    digits.parse().map_err(|_| format!("has a number that is too large: {digits}"))
}

fn plain_parts(text: &str) -> Result<Vec<(u32, Unit)>, String> {
    const EXAMPLE: &str = "write for example \"6 months\", \"23 days\" or \"1 year 6 months\"";
    if text.is_empty() {
        return Err(format!("is empty; {EXAMPLE}"));
    }
    if text.starts_with('-') {
        return Err("is negative; a period is 1 day or longer".into());
    }
    // A period that breaks off was meant to be longer: "1 year and" is not one year.
    if text.ends_with(',') || text.split_whitespace().next_back() == Some("and") {
        return Err(format!("breaks off; {EXAMPLE}"));
    }
    let words: Vec<&str> = text.split([' ', ',', '\t']).filter(|word| !word.is_empty() && *word != "and").collect();
    let mut parts = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let split = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
        let (digits, glued) = word.split_at(split);
        if digits.is_empty() {
            return Err(format!("has \"{}\" where a number in digits was expected; {EXAMPLE}", crate::error::escape(word.as_bytes())));
        }
        let unit = if glued.is_empty() { words.next().unwrap_or("") } else { glued };
        let unit = match unit.to_ascii_lowercase().as_str() {
            "year" | "years" => Unit::Year,
            "month" | "months" => Unit::Month,
            "week" | "weeks" => Unit::Week,
            "day" | "days" => Unit::Day,
            "m" | "min" | "mins" => return Err(format!("has a unit below a day; write \"{}\"", plural(digits, "month"))),
            "minute" | "minutes" | "hour" | "hours" | "h" | "hr" | "hrs" | "second" | "seconds" | "s" | "sec" => {
                return Err("has a unit below a day; periods are whole days or longer".into());
            }
            "y" | "yr" | "yrs" => return Err(format!("abbreviates its unit; write \"{}\"", plural(digits, "year"))),
            "mo" | "mos" | "mon" => return Err(format!("abbreviates its unit; write \"{}\"", plural(digits, "month"))),
            "w" | "wk" | "wks" => return Err(format!("abbreviates its unit; write \"{}\"", plural(digits, "week"))),
            "d" => return Err(format!("abbreviates its unit; write \"{}\"", plural(digits, "day"))),
            "" => return Err(format!("has no unit; write \"{}\" or \"{}\"", plural(digits, "day"), plural(digits, "month"))),
            other if other.starts_with('.') => return Err("has a fraction; write whole numbers, such as \"1 year 6 months\"".into()),
            other => {
                let hint = crate::yaml::suggest(other, ["days", "weeks", "months", "years"]);
                return Err(format!("has the unknown unit \"{}\"{hint}", crate::error::escape(other.as_bytes())));
            }
        };
        parts.push((count_of(digits)?, unit));
    }
    Ok(parts)
}

fn plural(digits: &str, unit: &str) -> String {
    if digits == "1" { format!("1 {unit}") } else { format!("{digits} {unit}s") }
}

fn iso_parts(text: &str) -> Result<Vec<(u32, Unit)>, String> {
    let body = &text[1..];
    if body.contains(['T', 't']) {
        return Err("has a time part, a unit below a day; periods are whole days or longer".into());
    }
    let mut parts = Vec::new();
    let mut digits = String::new();
    for c in body.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c.to_ascii_uppercase() {
            'Y' => Unit::Year,
            'M' => Unit::Month,
            'W' => Unit::Week,
            'D' => Unit::Day,
            _ => return Err("is not an ISO 8601 period; write for example P6M, P1Y3M10D or \"6 months\"".into()),
        };
        parts.push((count_of(&std::mem::take(&mut digits))?, unit));
    }
    if parts.is_empty() || !digits.is_empty() {
        return Err("is not an ISO 8601 period; write for example P6M, P1Y3M10D or \"6 months\"".into());
    }
    Ok(parts)
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(self.years, "year"), (self.months, "month"), (self.weeks, "week"), (self.days, "day")];
        let mut first = true;
        for (count, unit) in units.into_iter().filter(|(count, _)| *count > 0) {
            if !std::mem::take(&mut first) {
                f.write_str(" ")?;
            }
            f.write_str(&plural(&count.to_string(), unit))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn period(text: &str) -> Period {
        Period::parse(text).unwrap()
    }

    #[test]
    fn every_way_to_write_a_period_means_the_same() {
        for text in ["1 year 3 months 10 days", "1 year, 3 months and 10 days", "P1Y3M10D", "p1y3m10d", " 1 year  3 month 10 day "] {
            assert_eq!(period(text).to_string(), "1 year 3 months 10 days", "{text}");
        }
        assert_eq!(period("2 weeks").to_string(), "2 weeks");
        assert_eq!(period("23days").to_string(), "23 days");
    }

    #[test]
    fn what_could_mean_something_else_is_refused_with_what_to_write() {
        let cases = [
            ("6m", "has a unit below a day; write \"6 months\""),
            ("1m", "has a unit below a day; write \"1 month\""),
            ("6y", "abbreviates its unit; write \"6 years\""),
            ("23", "has no unit; write \"23 days\" or \"23 months\""),
            ("6 hours", "has a unit below a day; periods are whole days or longer"),
            ("PT720H", "has a time part, a unit below a day; periods are whole days or longer"),
            ("-P6M", "is negative; a period is 1 day or longer"),
            ("-6 months", "is negative; a period is 1 day or longer"),
            ("P0D", "is zero; the shortest period is 1 day"),
            ("0 days", "is zero; the shortest period is 1 day"),
            (
                "six months",
                "has \"six\" where a number in digits was expected; write for example \"6 months\", \"23 days\" or \"1 year 6 months\"",
            ),
            ("6 monts", "has the unknown unit \"monts\"; did you mean `months`?"),
            ("1 year and", "breaks off; write for example \"6 months\", \"23 days\" or \"1 year 6 months\""),
            ("1 year,", "breaks off; write for example \"6 months\", \"23 days\" or \"1 year 6 months\""),
            ("6 months 1 year", "names its units twice or out of order; write years, months, weeks and days in that order"),
            ("1.5 years", "has a fraction; write whole numbers, such as \"1 year 6 months\""),
            (
                "permanent",
                "has \"permanent\" where a number in digits was expected; write for example \"6 months\", \"23 days\" or \"1 year 6 months\"",
            ),
            ("4000000000 days", "is longer than 1000 years; write `keep: permanently` for records that are never destroyed"),
            ("99999999999 days", "has a number that is too large: 99999999999"),
            ("P", "is not an ISO 8601 period; write for example P6M, P1Y3M10D or \"6 months\""),
            ("", "is empty; write for example \"6 months\", \"23 days\" or \"1 year 6 months\""),
        ];
        for (text, message) in cases {
            assert_eq!(Period::parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_ceiling_may_not_end_before_its_floor_for_any_event_date() {
        assert!(period("30 days").ends_before(period("1 month")));
        assert!(!period("31 days").ends_before(period("1 month")));
        assert!(period("365 days").ends_before(period("1 year")));
        assert!(!period("9 months").ends_before(period("6 months")));
        assert!(!period("6 months").ends_before(period("6 months")));
    }

    #[test]
    fn dates_at_the_ends_of_the_calendar_are_never_due_and_never_a_panic() {
        assert_eq!(period("1000 years").due(Date::MAX, Counting::After), None);
        assert_eq!(period("1 day").due(Date::MIN, Counting::From), None);
        assert_eq!(cutoff(Date::MIN, |event| period("1 day").due(event, Counting::After)), None);
        assert!(cutoff(Date::MAX, |event| period("1 day").due(event, Counting::After)).is_some());
    }

    fn any_date() -> impl Strategy<Value = Date> {
        (0i64..47_847).prop_map(|days| date(1970, 1, 1).checked_add(Span::new().days(days)).unwrap())
    }

    fn any_period() -> impl Strategy<Value = Period> {
        (0u32..45, 0u32..30, 0u32..6, 0u32..800)
            .prop_filter("a period is at least a day", |(y, m, w, d)| y + m + w + d > 0)
            .prop_map(|(years, months, weeks, days)| Period { years, months, weeks, days })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn the_cutoff_is_the_per_record_rule(today in any_date(), event in any_date(), period in any_period(), from: bool) {
            let counting = if from { Counting::From } else { Counting::After };
            let cutoff = cutoff(today, |event| period.due(event, counting));
            let due = period.due(event, counting).is_some_and(|due| due < today);
            prop_assert_eq!(cutoff.is_some_and(|cutoff| event <= cutoff), due);
        }

        #[test]
        fn a_later_event_is_never_due_earlier(event in any_date(), period in any_period(), from: bool) {
            let counting = if from { Counting::From } else { Counting::After };
            prop_assert!(period.due(event, counting) <= period.due(event.tomorrow().unwrap(), counting));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9PpTYMWD ,.a-z\u{e9}-]{0,20}") {
            let _ = Period::parse(&text);
        }
    }

    /// All dates of 1970 to 2100, around the boundary of each: the cutoff of every day moves exactly as the due dates do.
    #[test]
    fn the_cutoff_holds_on_every_day_of_1970_to_2100() {
        for (text, counting) in [
            ("6 months", Counting::After),
            ("1 year 3 months 10 days", Counting::After),
            ("3 months", Counting::From),
            ("23 days", Counting::After),
        ] {
            let period = period(text);
            let mut event = date(1970, 1, 1);
            while event < date(2101, 1, 1) {
                let due = period.due(event, counting).unwrap();
                let on_due = cutoff(due, |event| period.due(event, counting)).unwrap();
                let next_day = cutoff(due.tomorrow().unwrap(), |event| period.due(event, counting)).unwrap();
                assert!(on_due < event, "{text}: {event} must still be kept on {due}");
                assert!(event <= next_day, "{text}: {event} may go on the day after {due}");
                event = event.tomorrow().unwrap();
            }
        }
    }
}
