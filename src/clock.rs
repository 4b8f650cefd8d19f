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

/// A clock that moved ahead by this much more than time passed, while the service ran, was set: by a mistake, or by one that was put right.
const JUMP: SignedDuration = SignedDuration::from_hours(24);

/// The clock as it was looked at: what it showed, and how long the machine had run, asleep or not.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What the clock showed.
    pub at: Timestamp,
    /// How long the machine had run, which nobody can set.
    pub uptime: SignedDuration,
}

/// Looks at the clock.
pub fn look() -> Look {
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanoseconds = i32::try_from(uptime.tv_nsec).unwrap_or_default();
    Look { at: now(), uptime: SignedDuration::new(uptime.tv_sec, nanoseconds) }
}

/// Refuses a clock that has jumped far ahead since it was looked at before. `trusted` says that a person has looked at it.
pub fn check_jump(before: Look, now: Look, trusted: bool) -> Result<()> {
    let ahead = now.at.duration_since(before.at) - (now.uptime - before.uptime);
    if trusted || ahead <= JUMP {
        return Ok(());
    }
    Err(Error::new(
        Kind::Refused,
        format!(
            "clock: it is {:.0} by the system's clock, which has jumped ahead by {} hours since {:.0}; nothing was destroyed; if the clock is right, run once with --trust-clock",
            now.at,
            ahead.as_hours(),
            before.at
        ),
    ))
}

/// Refuses a clock of which the kernel does not say that it is synchronised. systemd passes the kernel's word on, whoever synchronises the clock.
pub fn check_synchronised() -> Result<()> {
    let asked = std::process::Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output();
    let why = match asked {
        Ok(output) if output.status.success() && output.stdout.trim_ascii() == b"yes" => return Ok(()),
        Ok(output) if output.status.success() && output.stdout.trim_ascii() == b"no" => {
            "the kernel says that it is not synchronised".to_owned()
        }
        Ok(output) => format!("timedatectl cannot tell whether it is synchronised ({})", output.status),
        Err(error) => format!("timedatectl cannot be asked whether it is synchronised: {error}"),
    };
    let remedy = "synchronise it, or write `clock: { synchronised: ignore }` if you are sure of it otherwise";
    Err(Error::new(Kind::Refused, format!("clock: {why}; nothing was destroyed; {remedy}")))
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
    fn a_clock_that_jumps_ahead_while_the_machine_runs_is_refused_and_a_sleep_is_not() {
        let look = |at: &str, hours: i64| Look { at: at.parse().unwrap(), uptime: SignedDuration::from_hours(hours) };
        let before = look("2026-11-22T10:00:00Z", 5);
        assert!(check_jump(before, look("2026-11-22T11:00:00Z", 6), false).is_ok());
        assert!(check_jump(before, look("2026-12-22T10:00:00Z", 5 + 30 * 24), false).is_ok(), "a month of sleep");
        assert!(check_jump(before, look("2026-11-23T09:00:00Z", 5), false).is_ok(), "put right by less than a day");
        let refused = check_jump(before, look("2026-12-22T10:00:00Z", 6), false).unwrap_err().to_string();
        assert!(refused.contains("jumped ahead by 719 hours") && refused.contains("--trust-clock"), "{refused}");
        assert!(check_jump(before, look("2026-12-22T10:00:00Z", 6), true).is_ok());
        assert!(check_jump(before, look("2026-11-22T09:00:00Z", 6), false).is_ok(), "a clock set back is told by the log");
    }

    #[test]
    fn today_is_a_question_of_the_zone() {
        let now = Today::Now("2026-06-30T23:30:00Z".parse().unwrap());
        let london = TimeZone::get("Europe/London").unwrap();
        assert_eq!(now.date_in(&london).to_string(), "2026-07-01");
        assert_eq!(now.date_in(&TimeZone::UTC).to_string(), "2026-06-30");
    }
}
