//! When a store may be destroyed from: ranges of the time of day, such as `22:00-06:00`.
//!
//! A range runs from its first minute up to, and without, its second; one that ends before it begins runs through midnight. Times are
//! **civil** times: this file knows no time zone, the caller says what clocks on the wall show. So a night on which the clocks go forward
//! has an hour less in it and one on which they go back an hour more, and both end when the clock says so.
//!
//! Nothing is guessed: `5:00` and `22-6` are refused, and so is a range that begins when it ends, which might mean never or always.

use std::fmt;

use jiff::civil::Time;

use crate::error::escape;

/// One or more ranges of the time of day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    ranges: Vec<Range>,
}

/// Minutes of the day: `from` is in the range, `to` is the first that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: u16,
    to: u16,
}

/// The minutes of a day; as the end of a range, midnight at the day's end.
const DAY: u16 = 24 * 60;

const EXAMPLE: &str = "write for example 22:00-06:00";

impl Window {
    /// Parses one range.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written = text.trim();
        let shown = escape(written.as_bytes());
        let Some((from, to)) = written.split_once('-') else {
            return Err(format!("window \"{shown}\": expected two times with a hyphen between them; {EXAMPLE}"));
        };
        let minute = |text: &str| minute(text).map_err(|error| format!("window \"{shown}\": {error}"));
        let range = Range { from: minute(from)?, to: minute(to)? };
        if range.from == DAY {
            return Err(format!("window \"{shown}\": a day ends at 24:00 and begins at 00:00; write 00:00-{}", clock(range.to)));
        }
        if range.from == range.to {
            let remedy = "write 00:00-24:00 for the whole day, or leave `window` out";
            return Err(format!("window \"{shown}\": it begins when it ends, which may mean never or always; {remedy}"));
        }
        Ok(Self { ranges: vec![range] })
    }

    /// Both windows as one.
    ///
    /// # Errors
    /// A sentence that says which ranges overlap: one of them is not as somebody meant it.
    pub fn and(mut self, other: Self) -> Result<Self, String> {
        for range in other.ranges {
            // Two ranges have a minute in common when one of them begins within the other.
            if let Some(met) = self.ranges.iter().find(|one| one.contains(range.from) || range.contains(one.from)) {
                return Err(format!("the windows {met} and {range} overlap; write them as one, or mend one of them"));
            }
            self.ranges.push(range);
        }
        Ok(self)
    }

    /// Whether a clock on the wall shows a time within the window.
    pub fn contains(&self, time: Time) -> bool {
        // A time has no hour or minute below 0.
        let minute = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        self.ranges.iter().any(|range| range.contains(minute))
    }
}

impl Range {
    fn contains(self, minute: u16) -> bool {
        if self.from < self.to { (self.from..self.to).contains(&minute) } else { minute >= self.from || minute < self.to }
    }
}

/// The minute of the day that `HH:MM` names.
fn minute(text: &str) -> Result<u16, String> {
    let shown = escape(text.as_bytes());
    let digits = |part: &str| part.parse::<u16>().ok().filter(|_| part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit()));
    let (hour, minute) = text.trim().split_once(':').unwrap_or((text, ""));
    let (Some(hour), Some(minute)) = (digits(hour), digits(minute)) else {
        return Err(format!("expected a time as HH:MM, found \"{shown}\"; {EXAMPLE}"));
    };
    let time = hour * 60 + minute;
    if minute > 59 || time > DAY {
        return Err(format!("expected a time from 00:00 to 24:00, found \"{shown}\"; {EXAMPLE}"));
    }
    if text != clock(time) {
        return Err(format!("expected a time as HH:MM, found \"{shown}\"; write {}", clock(time)));
    }
    Ok(time)
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", clock(self.from), clock(self.to))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<String> = self.ranges.iter().map(Range::to_string).collect();
        f.write_str(&ranges.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::time;
    use jiff::tz::TimeZone;

    fn window(text: &str) -> Window {
        Window::parse(text).unwrap()
    }

    fn within(text: &str, hour: i8, minute: i8) -> bool {
        window(text).contains(time(hour, minute, 30, 0))
    }

    #[test]
    fn a_range_holds_its_first_minute_and_not_its_last() {
        assert!(!within("09:00-17:30", 8, 59) && within("09:00-17:30", 9, 0));
        assert!(within("09:00-17:30", 17, 29) && !within("09:00-17:30", 17, 30));
        assert!(window("09:00-17:30").contains(time(17, 29, 59, 999_999_999)));
        assert!(window("09:00-17:30").contains(time(9, 0, 0, 0)) && !window("09:00-17:30").contains(time(17, 30, 0, 0)));
    }

    #[test]
    fn a_range_that_ends_before_it_begins_runs_through_midnight() {
        for (hour, minute, inside) in
            [(21, 59, false), (22, 0, true), (23, 59, true), (0, 0, true), (5, 59, true), (6, 0, false), (12, 0, false)]
        {
            assert_eq!(within("22:00-06:00", hour, minute), inside, "{hour}:{minute}");
        }
        assert!(within("22:00-24:00", 23, 59) && !within("22:00-24:00", 0, 0));
        assert!(within("22:00-00:00", 23, 59) && !within("22:00-00:00", 0, 0));
        assert!(within("00:00-24:00", 0, 0) && within("00:00-24:00", 23, 59));
        assert!(within("00:01-00:00", 12, 0) && !within("00:01-00:00", 0, 0));
    }

    #[test]
    fn several_ranges_hold_what_each_holds_and_may_not_overlap() {
        let both = window("22:00-02:00").and(window("03:00-06:00")).unwrap();
        let at = |hour, minute| both.contains(time(hour, minute, 0, 0));
        assert!(at(1, 59) && !at(2, 0) && !at(2, 59) && at(3, 0) && !at(6, 0) && at(22, 0));
        assert_eq!(both.to_string(), "22:00-02:00, 03:00-06:00");
        assert!(window("22:00-02:00").and(window("02:00-03:00")).is_ok(), "they touch");
        for (one, other) in
            [("22:00-02:00", "01:00-03:00"), ("01:00-03:00", "22:00-02:00"), ("01:00-02:00", "01:00-02:00"), ("00:00-24:00", "23:00-01:00")]
        {
            let error = window(one).and(window(other)).unwrap_err();
            assert_eq!(error, format!("the windows {one} and {other} overlap; write them as one, or mend one of them"));
        }
    }

    #[test]
    fn what_may_mean_two_things_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("5:00-06:00", "window \"5:00-06:00\": expected a time as HH:MM, found \"5:00\"; write 05:00"),
            ("22:00-6:00", "window \"22:00-6:00\": expected a time as HH:MM, found \"6:00\"; write 06:00"),
            ("22:00-06:0", "window \"22:00-06:0\": expected a time as HH:MM, found \"06:0\"; write 06:00"),
            ("22:00 - 06:00", "window \"22:00 - 06:00\": expected a time as HH:MM, found \"22:00 \"; write 22:00"),
            ("22-06", "window \"22-06\": expected a time as HH:MM, found \"22\"; write for example 22:00-06:00"),
            ("22:00", "window \"22:00\": expected two times with a hyphen between them; write for example 22:00-06:00"),
            ("22:00–06:00", "window \"22:00–06:00\": expected two times with a hyphen between them; write for example 22:00-06:00"),
            ("22:00-25:00", "window \"22:00-25:00\": expected a time from 00:00 to 24:00, found \"25:00\"; write for example 22:00-06:00"),
            ("22:60-23:00", "window \"22:60-23:00\": expected a time from 00:00 to 24:00, found \"22:60\"; write for example 22:00-06:00"),
            ("22:00-24:01", "window \"22:00-24:01\": expected a time from 00:00 to 24:00, found \"24:01\"; write for example 22:00-06:00"),
            ("24:00-06:00", "window \"24:00-06:00\": a day ends at 24:00 and begins at 00:00; write 00:00-06:00"),
            (
                "22:00-22:00",
                "window \"22:00-22:00\": it begins when it ends, which may mean never or always; write 00:00-24:00 for the whole day, \
                 or leave `window` out",
            ),
        ] {
            assert_eq!(Window::parse(text).unwrap_err(), expected);
        }
        for text in ["", "-", "10pm-6am", "22:00:00-06:00", "22:00-06:00-07:00", "+1:00-02:00", "１２:00-13:00", "22:00-", "\u{1b}-x"] {
            assert!(Window::parse(text).unwrap_err().starts_with("window \""), "{text}");
        }
    }

    #[test]
    fn on_the_nights_on_which_the_clocks_change_the_wall_decides() {
        let london = TimeZone::get("Europe/London").unwrap();
        let night = window("01:30-02:30");
        let at = |instant: &str| night.contains(london.to_datetime(instant.parse().unwrap()).time());
        // Forward on 29 March 2026: 00:59:59 is followed by 02:00.
        assert!(!at("2026-03-29T00:59:59Z") && at("2026-03-29T01:00:00Z") && at("2026-03-29T01:29:59Z") && !at("2026-03-29T01:30:00Z"));
        // Back on 25 October 2026: 01:59:59 is followed by 01:00, and what was open closes for half an hour.
        assert!(at("2026-10-25T00:30:00Z") && at("2026-10-25T00:59:59Z") && !at("2026-10-25T01:00:00Z") && at("2026-10-25T01:30:00Z"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[-0-9: a-z–]{0,14}") {
            let _ = Window::parse(&text);
        }

        #[test]
        fn a_range_and_the_one_back_make_the_whole_day(from in 0..DAY, to in 0..DAY, minute in 0..DAY) {
            proptest::prop_assume!(from != to);
            let there = window(&format!("{}-{}", clock(from), clock(to)));
            let back = window(&format!("{}-{}", clock(to), clock(from)));
            let time = time(i8::try_from(minute / 60).unwrap(), i8::try_from(minute % 60).unwrap(), 0, 0);
            proptest::prop_assert!(there.contains(time) != back.contains(time));
            proptest::prop_assert_eq!(Window::parse(&there.to_string()), Ok(there.clone()));
            proptest::prop_assert!(there.clone().and(back).is_ok());
            proptest::prop_assert!(there.clone().and(there).is_err());
        }
    }
}
