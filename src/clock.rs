//! The one place that reads the clock, and the checks on whether it can be believed.
//!
//! Everything else takes the time as an argument. A clock that stands behind the newest entry of the audit log, or far ahead of it, is doubt,
//! and doubt keeps: nothing is destroyed by it. (`plan --on DATE` asks what a run on another day would do; it never destroys either.)

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Kind, Result};

/// A log whose newest entry is older than this makes the clock doubtful. A quarter is longer than any timetable leaves a running system without an
/// entry, and shorter than the typical error of a lost real-time clock, which is years.
const FAR_AHEAD: SignedDuration = SignedDuration::from_hours(92 * 24);

/// A clock this little behind the log is the ordinary stepping of time synchronisation, not doubt.
const STEP: SignedDuration = SignedDuration::from_secs(5);

/// The day that counts as today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Today {
    /// The day of this instant, in each schedule's zone.
    Now(Timestamp),
    /// This day, in every zone: for questions, never for destroying.
    On(Date),
}

impl Today {
    /// The present moment.
    pub fn now() -> Self {
        Self::Now(now())
    }

    /// Today's date in a zone.
    pub fn date_in(self, zone: &TimeZone) -> Date {
        match self {
            Self::Now(instant) => zone.to_datetime(instant).date(),
            Self::On(date) => date,
        }
    }

    /// An instant of the day: the present moment, or the end of the day asked about.
    pub fn instant(self) -> Timestamp {
        match self {
            Self::Now(instant) => instant,
            Self::On(date) => date.at(23, 59, 59, 0).to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |end| end.timestamp()),
        }
    }
}

/// The present moment by the system's clock.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Refuses a clock that the newest entry of the audit log makes doubtful. `trusted` says that a person has looked at the clock, which settles a
/// clock far ahead, never one that stands behind.
pub fn check(now: Timestamp, newest_entry: Option<Timestamp>, trusted: bool) -> Result<()> {
    let Some(newest) = newest_entry else {
        return Ok(());
    };
    if now + STEP < newest {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "clock: it is {now:.0} by the system's clock, but the newest entry of the audit log is of {newest:.0}; set the clock right, nothing was destroyed"
            ),
        ));
    }
    if !trusted && newest + FAR_AHEAD < now {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "clock: it is {now:.0} by the system's clock, more than {} days after the newest entry of the audit log ({newest:.0}); nothing was destroyed; if the clock is right, run again with --trust-clock",
                FAR_AHEAD.as_hours() / 24
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_behind_the_log_or_far_ahead_of_it_is_refused() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let newest = Some(at("2026-11-22T10:00:00Z"));
        assert!(check(at("2026-11-22T10:00:01Z"), newest, false).is_ok());
        assert!(check(at("2026-11-22T09:59:57Z"), newest, false).is_ok(), "a step of time synchronisation");
        assert!(check(at("2026-11-22T09:00:00Z"), newest, false).unwrap_err().to_string().contains("set the clock right"));
        assert!(check(at("2026-11-22T09:00:00Z"), newest, true).is_err(), "no word of a person makes a clock that stands behind right");
        assert!(check(at("2027-04-01T00:00:00Z"), newest, false).unwrap_err().to_string().contains("--trust-clock"));
        assert!(check(at("2027-04-01T00:00:00Z"), newest, true).is_ok());
        assert!(check(at("1970-01-01T00:00:00Z"), None, false).is_ok());
    }

    #[test]
    fn today_is_a_question_of_the_zone() {
        let now = Today::Now("2026-06-30T23:30:00Z".parse().unwrap());
        let london = TimeZone::get("Europe/London").unwrap();
        assert_eq!(now.date_in(&london).to_string(), "2026-07-01");
        assert_eq!(now.date_in(&TimeZone::UTC).to_string(), "2026-06-30");
    }
}
