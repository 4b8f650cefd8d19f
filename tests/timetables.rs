//! Ten simulated years of timetables in several zones, against a calendar that is told apart from the one in the program.
//!
//! The oracle lists the days that match, takes the instants of their civil times from another library's zones, and finds the end of a gap by
//! trying one minute after the other.

use std::collections::BTreeSet;

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, TimeZone as _};
use chrono_tz::Tz;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use retentiond::schedule::{Asked, Timetable};

const ZONES: [&str; 8] = [
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Europe/Dublin",
];

/// A table as sets, and as an administrator writes it.
#[derive(Clone, Debug)]
struct Table {
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    days: Option<BTreeSet<u32>>,
    months: Option<BTreeSet<u32>>,
    /// Sunday is 0, or 7 where it is so written.
    weekdays: Option<BTreeSet<u32>>,
}

fn list(set: &BTreeSet<u32>) -> String {
    set.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

impl Table {
    fn text(&self) -> String {
        let all = |set: &Option<BTreeSet<u32>>| set.as_ref().map_or("*".to_owned(), list);
        format!("{} {} {} {} {}", list(&self.minutes), list(&self.hours), all(&self.days), all(&self.months), all(&self.weekdays))
    }

    fn matches(&self, day: NaiveDate) -> bool {
        let weekday = day.weekday().num_days_from_sunday();
        let by_day = self.days.as_ref().map(|days| days.contains(&day.day()));
        let by_weekday = self.weekdays.as_ref().map(|days| days.iter().any(|one| one % 7 == weekday));
        let of_month = self.months.as_ref().is_none_or(|months| months.contains(&day.month()));
        of_month
            && match (by_day, by_weekday) {
                (Some(one), Some(other)) => one || other,
                (one, other) => one.unwrap_or(true) && other.unwrap_or(true),
            }
    }

    /// The seconds since 1970 at which it fires from `from` (not included) to `to`.
    fn expected(&self, zone: Tz, from: i64, to: i64) -> Vec<i64> {
        let day = |second: i64| chrono::DateTime::from_timestamp(second, 0).unwrap().date_naive();
        let mut instants = Vec::new();
        let mut at = day(from) - chrono::Days::new(2);
        while at <= day(to) + chrono::Days::new(2) {
            if self.matches(at) {
                for hour in &self.hours {
                    instants.extend(self.minutes.iter().map(|minute| instant(zone, at.and_hms_opt(*hour, *minute, 0).unwrap())));
                }
            }
            at = at + chrono::Days::new(1);
        }
        assert!(instants.is_sorted(), "later civil times never come before earlier ones");
        instants.dedup();
        instants.retain(|instant| from < *instant && *instant <= to);
        instants
    }
}

/// The first instant of a civil time, or the end of the gap that it lies in.
fn instant(zone: Tz, mut civil: NaiveDateTime) -> i64 {
    loop {
        if let Some(found) = zone.from_local_datetime(&civil).earliest() {
            return found.timestamp();
        }
        civil += chrono::TimeDelta::minutes(1);
    }
}

fn table() -> impl Strategy<Value = Table> {
    let set = |range: std::ops::Range<u32>, most: usize| prop::collection::btree_set(range, 1..=most);
    // The hours of the night are those that clocks skip and repeat.
    let hours = prop_oneof![set(0..4, 2), set(0..24, 2)];
    let days = prop::option::weighted(0.4, set(1..29, 3));
    (set(0..60, 2), hours, days, prop::option::weighted(0.2, set(1..13, 4)), prop::option::weighted(0.4, set(0..8, 3)))
        .prop_map(|(minutes, hours, days, months, weekdays)| Table { minutes, hours, days, months, weekdays })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Begins ten years anywhere from 2005, which takes in the day that Samoa skipped, to 2027.
fn start() -> impl Strategy<Value = i64> {
    1_104_537_600_i64..1_798_761_600
}

const TEN_YEARS: i64 = 3_652 * 86_400;

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&ZONES[..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn in_ten_years_each_civil_time_fires_once_never_early_and_in_order(table in table(), zone in zones(), from in start()) {
        let (mine, other) = (TimeZone::get(zone).unwrap(), zone.parse::<Tz>().unwrap());
        let timetable = Timetable::parse(&table.text()).unwrap();
        let mut fired = Vec::new();
        let mut last = at(from);
        while let Some(next) = timetable.next_run(&mine, last).filter(|next| next.as_second() <= from + TEN_YEARS) {
            prop_assert!(next > last);
            fired.push(next.as_second());
            last = next;
        }
        prop_assert_eq!(fired, table.expected(other, from, from + TEN_YEARS), "{} in {}", table.text(), zone);
    }

    #[test]
    fn after_an_outage_what_was_missed_is_made_up_for_once(
        table in table(),
        zone in zones(),
        from in start(),
        spans in prop::collection::vec((1_i64..40 * 86_400, 1_i64..10 * 86_400), 1..30),
    ) {
        let (mine, other) = (TimeZone::get(zone).unwrap(), zone.parse::<Tz>().unwrap());
        let timetable = Timetable::parse(&table.text()).unwrap();
        let end = from + spans.iter().map(|(up, down)| up + down).sum::<i64>();
        let occurrences = table.expected(other, from, end);
        let (mut now, mut last) = (from, from);
        let mut seen = 0;
        for (up, down) in spans {
            // While it is up it sleeps until it is asked for something.
            let until = now + up;
            let missed = occurrences[seen..].iter().take_while(|one| **one <= now).count();
            let mut fires = Vec::new();
            loop {
                match timetable.asks(&mine, at(last), at(now)) {
                    Asked::Since(since) => {
                        prop_assert!(since.as_second() <= now, "never early");
                        fires.push(now);
                        last = now;
                    }
                    Asked::Next(next) if next.as_second() <= until => now = next.as_second(),
                    _ => break,
                }
            }
            let on_time: Vec<i64> = occurrences[seen + missed..].iter().copied().take_while(|one| *one <= until).collect();
            let begun = until - up;
            let made_up: Vec<i64> = (missed > 0).then_some(begun).into_iter().collect();
            seen += missed + on_time.len();
            prop_assert_eq!(fires, [made_up, on_time].concat(), "{} in {}: {} were missed", table.text(), zone, missed);
            now = until + down;
        }
    }
}
