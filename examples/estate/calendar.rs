//! Dates counted back from today, by jiff alone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::Result;

/// Today in the time zone of the shipped schedule.
pub struct Calendar {
    pub today: Date,
    pub zone: TimeZone,
}

impl Calendar {
    pub fn new() -> Result<Self> {
        let zone = TimeZone::get("Europe/London")?;
        Ok(Self { today: zone.to_datetime(Timestamp::now()).date(), zone })
    }

    /// The day so long ago.
    pub fn ago(&self, period: &str) -> Date {
        self.today - span(period)
    }

    /// The day so far ahead.
    pub fn ahead(&self, period: &str) -> Date {
        self.today + span(period)
    }

    pub fn days_ago(&self, days: i64) -> Date {
        self.today - Span::new().days(days)
    }

    /// The latest event date at which the period is over today: its last day of keeping was yesterday, or before it where the months are of
    /// different length. The day after it is the earliest event date whose record must still be kept.
    pub fn last_due(&self, keep: &str) -> Date {
        let mut date = self.ago(keep) + Span::new().days(3);
        while date + span(keep) >= self.today {
            date -= Span::new().days(1);
        }
        date
    }
}

/// Periods here are written by us, as `6 months`.
fn span(period: &str) -> Span {
    let (number, unit) = period.split_once(' ').expect("a number and a unit");
    let number: i64 = number.parse().expect("a whole number");
    match unit.trim_end_matches('s') {
        "day" => Span::new().days(number),
        "month" => Span::new().months(number),
        "year" => Span::new().years(number),
        other => panic!("no unit is called {other}"),
    }
}
