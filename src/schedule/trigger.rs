//! The event that starts a period, and how a start date is found when several events take part.

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;

/// The name of an event, such as `tenancy-end`: lower-case words joined by hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName(Arc<str>);

/// What starts a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// One event.
    Event(EventName),
    /// The latest of several events; all must have happened.
    LatestOf(Vec<EventName>),
    /// The earliest of several events; those that have not happened are passed over, but at least one must have.
    EarliestOf(Vec<EventName>),
    /// The end of the (tax, financial) year in which an event falls.
    YearEnd {
        /// Month of the year's last day, 1 to 12.
        month: i8,
        /// Day of the month of the year's last day; 29 February means the last day of February.
        day: i8,
        /// The event.
        of: EventName,
    },
}

/// What is known of one event of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<D> {
    /// It happened on this local date.
    On(Date),
    /// It has not happened yet: the store says so by a null.
    NotYet,
    /// It cannot be told.
    Doubt(D),
}

/// The start of a record's period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start<D> {
    /// The period starts with this event, which fell on `event`; it is counted from `start` (the same day but for `year-end`).
    On {
        /// The event that decided.
        name: EventName,
        /// The date on which that event fell.
        event: Date,
        /// The date from which the period is counted.
        start: Date,
    },
    /// This event has not happened yet, so the period has not started.
    NotYet(EventName),
    /// This event is in doubt, so the start is.
    Doubt(EventName, D),
}

impl EventName {
    /// Checks a name: lower-case letters and digits in words joined by single hyphens.
    pub fn parse(text: &str) -> Result<Self, String> {
        let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if text.len() <= 64 && text.split('-').all(word) {
            return Ok(Self(text.into()));
        }
        let better: String = text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let better = better.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
        let hint = if better.is_empty() || better.len() > 64 { String::new() } else { format!("; write `{better}`") };
        Err(format!(
            "expected an event name in lower-case words joined by hyphens, found \"{}\"{hint}",
            crate::error::escape(text.as_bytes())
        ))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for EventName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Trigger {
    /// Every event that takes part.
    pub fn events(&self) -> &[EventName] {
        match self {
            Self::Event(name) | Self::YearEnd { of: name, .. } => std::slice::from_ref(name),
            Self::LatestOf(names) | Self::EarliestOf(names) => names,
        }
    }

    /// The start of the period for what is known of the events. Doubt about any event that takes part is doubt about the start.
    pub fn start<D>(&self, mut known: impl FnMut(&EventName) -> Known<D>) -> Start<D> {
        let earliest = matches!(self, Self::EarliestOf(_));
        let mut deciding: Option<(Date, &EventName)> = None;
        let mut not_yet = None;
        for name in self.events() {
            match known(name) {
                Known::On(date) => {
                    let new = (date, name);
                    deciding = Some(deciding.map_or(new, |known| if earliest { known.min(new) } else { known.max(new) }));
                }
                Known::NotYet => not_yet = not_yet.or(Some(name)),
                Known::Doubt(why) => return Start::Doubt(name.clone(), why),
            }
        }
        let chosen = deciding.filter(|_| earliest || not_yet.is_none());
        match (chosen, not_yet) {
            (Some((event, name)), _) => Start::On { name: name.clone(), event, start: self.count_from(event) },
            (None, Some(name)) => Start::NotYet(name.clone()),
            // A trigger always names an event, so one of the two is there; should that ever break, nothing starts.
            (None, None) => Start::NotYet(self.events().first().cloned().unwrap_or_else(|| EventName("".into()))),
        }
    }

    /// The date from which a period counts when the deciding event fell on `event`. Never decreases as `event` grows.
    pub fn count_from(&self, event: Date) -> Date {
        match *self {
            Self::YearEnd { month, day, .. } => {
                let end = |year| Date::new(year, month, 1).ok().map(|first| first.last_of_month().min(last_day(first, day)));
                let this = end(event.year());
                let next = end(event.year().saturating_add(1));
                match (this, next) {
                    (Some(end), _) if event <= end => end,
                    (_, Some(end)) => end,
                    _ => Date::MAX,
                }
            }
            _ => event,
        }
    }
}

fn last_day(first: Date, day: i8) -> Date {
    Date::new(first.year(), first.month(), day).unwrap_or_else(|_| first.last_of_month())
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[EventName]| names.iter().map(EventName::as_str).collect::<Vec<_>>().join(", ");
        match self {
            Self::Event(name) => write!(f, "{name}"),
            Self::LatestOf(names) => write!(f, "the latest of {}", list(names)),
            Self::EarliestOf(names) => write!(f, "the earliest of {}", list(names)),
            Self::YearEnd { month, day, of } => write!(f, "the end of the year (to {month:02}-{day:02}) of {of}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn name(text: &str) -> EventName {
        EventName::parse(text).unwrap()
    }

    #[test]
    fn the_tax_year_ends_on_the_first_fifth_of_april_not_before_the_event() {
        let trigger = Trigger::YearEnd { month: 4, day: 5, of: name("paid") };
        assert_eq!(trigger.count_from(date(2019, 4, 5)), date(2019, 4, 5));
        assert_eq!(trigger.count_from(date(2019, 4, 6)), date(2020, 4, 5));
        let february = Trigger::YearEnd { month: 2, day: 29, of: name("paid") };
        assert_eq!(february.count_from(date(2024, 2, 29)), date(2024, 2, 29));
        assert_eq!(february.count_from(date(2023, 1, 1)), date(2023, 2, 28));
        assert_eq!(february.count_from(Date::MAX), Date::MAX);
    }

    #[test]
    fn the_latest_waits_for_all_and_the_earliest_for_one() {
        let known = |n: &EventName| match n.as_str() {
            "a" => Known::<&str>::On(date(2020, 1, 1)),
            "b" => Known::On(date(2021, 1, 1)),
            "never" => Known::NotYet,
            _ => Known::Doubt("unparsable"),
        };
        let on = |n: &str, d: Date| Start::On { name: name(n), event: d, start: d };
        let latest = |names: &[&str]| Trigger::LatestOf(names.iter().map(|n| name(n)).collect()).start(known);
        let earliest = |names: &[&str]| Trigger::EarliestOf(names.iter().map(|n| name(n)).collect()).start(known);
        assert_eq!(latest(&["a", "b"]), on("b", date(2021, 1, 1)));
        assert_eq!(latest(&["a", "never"]), Start::NotYet(name("never")));
        assert_eq!(latest(&["a", "x"]), Start::Doubt(name("x"), "unparsable"));
        assert_eq!(earliest(&["b", "a", "never"]), on("a", date(2020, 1, 1)));
        assert_eq!(earliest(&["never"]), Start::NotYet(name("never")));
        assert_eq!(earliest(&["a", "x"]), Start::Doubt(name("x"), "unparsable"));
    }

    #[test]
    fn event_names_are_plain_words() {
        assert!(EventName::parse("tenancy-end").is_ok());
        assert_eq!(
            EventName::parse("Tenancy End").unwrap_err(),
            "expected an event name in lower-case words joined by hyphens, found \"Tenancy End\"; write `tenancy-end`"
        );
        assert!(EventName::parse("").is_err());
        assert!(EventName::parse("a--b").is_err());
    }
}
