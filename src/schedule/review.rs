//! The terms of a review: who must approve that records of a class go, and when they may go after that.
//!
//! A class with `then: review` puts its due records before people. It may say how many of them must agree (`approvals`), whether the one who edited
//! the schedule may be among them (`not-the-editor`), how long an approval can be taken back before anything happens (`cooling-off`), and for how long
//! it holds (`approval-lasts`). Days are days of the schedule's zone, counted as periods are: of an approval given on the 1st, a cooling-off of 7 days
//! covers the whole 8th, and the first record may go on the 9th.

use std::fmt;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::period::{Counting, Period};

/// See the file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How many different people must approve: 1 or 2.
    pub approvals: u8,
    /// Whether neither may be one who edited or confirmed the schedule, as far as the log knows.
    pub not_the_editor: bool,
    /// How long an approval waits before anything happens; `None`: not at all.
    pub cooling_off: Option<Period>,
    /// For how long an approval holds.
    pub lasts: Period,
}

impl Default for Terms {
    /// One person, a week in which it can be taken back, a month in which it holds: who approves on a Friday can still be asked on Monday, and
    /// nothing that was approved long ago goes by surprise.
    fn default() -> Self {
        Self { approvals: 1, not_the_editor: false, cooling_off: Some(Period::of_days(7)), lasts: Period::of_days(30) }
    }
}

impl Terms {
    /// The first day on which records may go, when the last approval that is needed was given on this day; `None`: never.
    pub fn ready(&self, given: Date) -> Option<Date> {
        match self.cooling_off {
            Some(period) => period.due(given, Counting::After)?.tomorrow().ok(),
            None => Some(given),
        }
    }

    /// Whether an approval is over before anything may happen, for some day on which it is given.
    pub(super) fn never_meet(&self) -> bool {
        days().any(|day| !matches!((self.ready(day), self.last_day(day)), (Some(ready), Some(last)) if ready <= last))
    }

    /// Whether what meets these terms meets the others as well.
    pub(super) fn are_no_easier(&self, other: &Self) -> bool {
        let ready = |terms: &Self, day| terms.ready(day).unwrap_or(Date::MAX);
        self.approvals >= other.approvals
            && self.not_the_editor >= other.not_the_editor
            && days().all(|day| ready(other, day) <= ready(self, day) && self.last_day(day) <= other.last_day(day))
    }

    /// The last day on which an approval of this day holds; `None`: it leaves the calendar, and never holds.
    pub fn last_day(&self, given: Date) -> Option<Date> {
        self.lasts.due(given, Counting::After)
    }
}

/// Four whole years starting in a leap year, which see every month length and both kinds of year.
pub(super) fn days() -> impl Iterator<Item = Date> {
    jiff::civil::date(2024, 1, 1).series(1.day()).take(4 * 365 + 1)
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.approvals == 1 { "1 person approves" } else { "2 people approve" })?;
        if self.not_the_editor {
            f.write_str(", neither edited the schedule")?;
        }
        match self.cooling_off {
            Some(period) => write!(f, ", cooling-off {period}")?,
            None => f.write_str(", no cooling-off")?,
        }
        write!(f, ", an approval lasts {}", self.lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn the_days_of_a_cooling_off_are_whole_days() {
        let terms = Terms::default();
        assert_eq!(terms.ready(date(2026, 11, 1)), Some(date(2026, 11, 9)));
        assert_eq!(terms.last_day(date(2026, 11, 1)), Some(date(2026, 12, 1)));
        let at_once = Terms { cooling_off: None, ..terms };
        assert_eq!(at_once.ready(date(2026, 11, 1)), Some(date(2026, 11, 1)));
        assert_eq!(terms.ready(Date::MAX), None, "what leaves the calendar never comes");
    }
}
