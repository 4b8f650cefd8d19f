//! Calendar arithmetic against three judges: published vectors, a second implementation on `chrono`, and a third one in Python.
//!
//! The one mistake this product must not make is to destroy a record a day early, so the rule is written again here, from the text of the
//! rule and not from the code, on libraries that share nothing with it: other dates, other zones, other month arithmetic.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeZone as _, Utc};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use retentiond::schedule::{Counting, EventName, Keep, Period, Trigger};

/// Zones with summer time at midnight, half hours, a day that never was, a standard time of their own, and none of it.
const ZONES: [chrono_tz::Tz; 12] = [
    chrono_tz::Europe::London,
    chrono_tz::Europe::Dublin,
    chrono_tz::America::New_York,
    chrono_tz::America::St_Johns,
    chrono_tz::America::Sao_Paulo,
    chrono_tz::America::Havana,
    chrono_tz::Pacific::Apia,
    chrono_tz::Pacific::Kiritimati,
    chrono_tz::Asia::Kathmandu,
    chrono_tz::Asia::Beirut,
    chrono_tz::Australia::Lord_Howe,
    chrono_tz::UTC,
];

/// A small generator (xorshift64*): the same cases on every machine and in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.roll() % u64::from(limit)).expect("the remainder is below the limit")
    }

    /// An instant from 1970 to the middle of 2037, the years for which both zone libraries read their rules from tables.
    fn instant(&mut self) -> i64 {
        i64::try_from(self.roll() % 2_130_000_000).expect("the remainder is small")
    }
}

/// One random rule, as numbers that every judge reads for itself.
#[derive(Clone, Copy, Debug)]
struct Case {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
    from: bool,
    /// Last day of the year at whose end the period starts, if it does.
    year_end: Option<(u8, u8)>,
}

impl Case {
    fn random(dice: &mut Dice) -> Self {
        // Most published periods have one unit; some cases mix all four.
        let one = dice.below(5);
        let mut pick = |unit, limit| if one == unit || one == 4 { dice.below(limit) } else { 0 };
        let (years, months, weeks, days) = (pick(0, 41), pick(1, 30), pick(2, 60), pick(3, 400));
        let days = if years + months + weeks + days == 0 { 1 } else { days };
        let ends = [(4, 5), (3, 31), (12, 31), (2, 29), (2, 28), (6, 30), (1, 1)];
        let year_end = (dice.below(4) == 0).then(|| ends[dice.below(7) as usize]);
        Self { years, months, weeks, days, from: dice.below(3) == 0, year_end }
    }

    /// The rule under test, built from text as a schedule file is.
    fn keep(&self) -> Keep {
        let mut text = String::new();
        for (count, unit) in [(self.years, "years"), (self.months, "months"), (self.weeks, "weeks"), (self.days, "days")] {
            if count > 0 {
                write!(text, "{count} {unit} ").expect("a string takes all text");
            }
        }
        let event = EventName::parse("event").expect("an event name");
        let signed = |small: u8| i8::try_from(small).expect("a month or a day");
        Keep::For {
            period: Period::parse(&text).expect("a period"),
            counting: if self.from { Counting::From } else { Counting::After },
            trigger: match self.year_end {
                Some((month, day)) => Trigger::YearEnd { month: signed(month), day: signed(day), of: event },
                None => Trigger::Event(event),
            },
            ceiling: None,
        }
    }

    /// The same rule on `chrono`: the last day on which a record is kept.
    fn due(&self, event: NaiveDate) -> NaiveDate {
        let start = self.year_end.map_or(event, |(month, day)| {
            // Walks to the year's end day by day: slow, and too plain to be wrong in the same way.
            event.iter_days().find(|day_| ends_year(*day_, u32::from(month), u32::from(day))).expect("every year ends")
        });
        let start = if self.from { start - Days::new(1) } else { start };
        let months = start.checked_add_months(Months::new(self.years * 12 + self.months)).expect("within the calendar");
        months + Days::new(u64::from(self.weeks * 7 + self.days))
    }
}

/// Whether a year that ends on `month`-`day` ends on this date; 29 February stands for the last day of February.
fn ends_year(date: NaiveDate, month: u32, day: u32) -> bool {
    let leap_day = (month, day) == (2, 29) && date.month() == 2 && (date + Days::new(1)).month() == 3;
    leap_day || (date.month(), date.day()) == (month, day)
}

fn to_jiff(date: NaiveDate) -> Date {
    let small = |number: u32| i8::try_from(number).expect("a month or a day");
    jiff::civil::date(i16::try_from(date.year()).expect("a year of the calendar"), small(date.month()), small(date.day()))
}

fn zone(tz: chrono_tz::Tz) -> TimeZone {
    TimeZone::get(tz.name()).unwrap_or_else(|error| panic!("{}: {error}", tz.name()))
}

fn local_date(zone: &TimeZone, second: i64) -> Date {
    Timestamp::from_second(second).expect("an instant").to_zoned(zone.clone()).date()
}

/// The first instant of the first day on which a record with this due date may be destroyed, as the product's clock sees days.
fn first_allowed(zone: &TimeZone, due: Date) -> Timestamp {
    due.tomorrow().expect("a day").to_zoned(zone.clone()).expect("a zoned day").start_of_day().expect("the day's start").timestamp()
}

struct Vector {
    id: String,
    trigger: String,
    counting: String,
    period: String,
    columns: Vec<String>,
}

fn vectors() -> Vec<Vector> {
    include_str!("data/period-vectors.csv")
        .lines()
        .skip(1)
        .map(|line| {
            // Only the last column, the note, is ever quoted.
            let mut columns = line.splitn(9, ',').map(str::to_owned);
            let mut next = || columns.next().expect("nine columns");
            Vector { id: next(), trigger: next(), counting: next(), period: next(), columns: (0..4).map(|_| next()).collect() }
        })
        .collect()
}

#[test]
fn every_published_vector_holds_to_the_first_allowed_second() {
    let london = TimeZone::get("Europe/London").unwrap();
    let vectors = vectors();
    assert_eq!(vectors.len(), 32);
    let mut refused = 0;
    for Vector { id, trigger, counting, period, columns } in vectors {
        let [london_date, last_day, allowed_london, allowed_utc] = &columns[..] else { panic!("row {id}") };
        let event = if trigger.contains('T') {
            trigger.parse::<Timestamp>().unwrap().to_zoned(london.clone()).date()
        } else {
            trigger.parse::<Date>().unwrap()
        };
        assert_eq!(event.to_string(), *london_date, "row {id}: the local date of the event");
        let counting = match counting.as_str() {
            "after" => Counting::After,
            "from_and_including" => Counting::From,
            "elapsed" => {
                let message = Period::parse(&period).expect_err("elapsed hours are no retention period");
                assert!(message.contains("unit below a day"), "row {id}: {message}");
                refused += 1;
                continue;
            }
            other => panic!("row {id}: {other}"),
        };
        let due = Period::parse(&period).unwrap().due(event, counting).unwrap();
        assert_eq!(due.to_string(), *last_day, "row {id}: the last day of the period");
        let allowed = first_allowed(&london, due);
        assert_eq!(allowed.to_string(), *allowed_utc, "row {id}: the first allowed instant");
        assert_eq!(allowed, allowed_london.parse::<Timestamp>().unwrap(), "row {id}: the same instant in London time");
        // The comparison that the product makes flips in exactly this second.
        let second = allowed.as_second();
        assert!(local_date(&london, second - 1) <= due, "row {id}: a second before, the record is kept");
        assert!(local_date(&london, second) > due, "row {id}: in this second, it may go");
    }
    assert_eq!(refused, 1, "one row measures elapsed time");
}

#[test]
fn a_second_implementation_agrees_on_every_due_date_and_every_cutoff() {
    let mut dice = Dice(0x0005_EED0_F7E5_7E57);
    for _ in 0..6_000 {
        let case = Case::random(&mut dice);
        let keep = case.keep();
        for _ in 0..5 {
            let event = NaiveDate::from_ymd_opt(1950, 1, 1).unwrap() + Days::new(u64::from(dice.below(60_000)));
            let due = case.due(event);
            assert_eq!(keep.due(to_jiff(event)), Some(to_jiff(due)), "{case:?} after {event}");
        }
        // The cutoff that stores push down, on the day before, on, and after a due date.
        let event = NaiveDate::from_ymd_opt(1960, 1, 1).unwrap() + Days::new(u64::from(dice.below(50_000)));
        let due = case.due(event);
        for (today, goes) in [(due - Days::new(1), false), (due, false), (due + Days::new(1), true)] {
            let pushed = keep.cutoff(to_jiff(today)).is_some_and(|cutoff| to_jiff(event) <= cutoff);
            assert_eq!(pushed, goes, "{case:?} after {event}, due {due}, on {today}");
        }
    }
}

#[test]
fn the_ends_of_all_months_in_forty_years_agree_for_every_length_of_period() {
    // Every clamp there is lies here: from the last days and the first days of each month, by 1 to 48 months, both ways of counting.
    let mut day = NaiveDate::from_ymd_opt(1990, 1, 1).unwrap();
    let ends: Vec<NaiveDate> = std::iter::from_fn(|| {
        day = day + Days::new(1);
        (day.year() < 2030).then_some(day)
    })
    .filter(|day| day.day() > 27 || day.day() == 1)
    .collect();
    for months in [1, 2, 3, 5, 6, 9, 11, 12, 13, 18, 24, 36, 48] {
        for from in [false, true] {
            let case = Case { years: 0, months, weeks: 0, days: 0, from, year_end: None };
            let keep = case.keep();
            for event in &ends {
                assert_eq!(keep.due(to_jiff(*event)), Some(to_jiff(case.due(*event))), "{case:?} after {event}");
            }
        }
    }
}

#[test]
fn instants_fall_on_the_same_local_date_in_every_zone() {
    let mut dice = Dice(0x20_2611_0100);
    for tz in ZONES {
        let zone = zone(tz);
        for _ in 0..4_000 {
            let second = dice.instant();
            let theirs = DateTime::<Utc>::from_timestamp(second, 0).unwrap().with_timezone(&tz).date_naive();
            assert_eq!(local_date(&zone, second), to_jiff(theirs), "{} at {second}", tz.name());
        }
    }
}

#[test]
fn nothing_is_due_a_second_before_the_local_day_after_its_due_date_begins() {
    let mut dice = Dice(0xDEAD_11FE);
    let mut judged = 0;
    for tz in ZONES {
        let zone = zone(tz);
        for _ in 0..800 {
            let case = Case { year_end: None, ..Case::random(&mut dice) };
            let keep = case.keep();
            // The event is an instant; the oracle takes its date in the zone and finds the end of the due date by hand.
            let instant = DateTime::<Utc>::from_timestamp(dice.instant(), 0).unwrap();
            let due = case.due(instant.with_timezone(&tz).date_naive());
            // Past 2037 the tables end; until 2011 the date of Newfoundland went back once a year, see below.
            if due.year() > 2036 || (tz == chrono_tz::America::St_Johns && due.year() < 2012) {
                continue;
            }
            judged += 1;
            let ours = keep.due(local_date(&zone, instant.timestamp())).unwrap();
            let begins = first_second_after(tz, due);
            assert_eq!(first_allowed(&zone, ours).as_second(), begins, "{} {case:?} {instant}, due {due}", tz.name());
            for (second, goes) in [(begins - 86_400, false), (begins - 1, false), (begins, true), (begins + 86_400, true)] {
                let is_due = ours < local_date(&zone, second);
                assert_eq!(is_due, goes, "{} {case:?} {instant}, due {due}, at {second}", tz.name());
            }
        }
    }
    assert!(judged > 5_000, "{judged}");
}

/// "Due" is a comparison with the local date of now, so it must not come true, and false again, and true for good: a local date that goes
/// back would let a record go up to an hour early. Newfoundland's did until 2011, when its clocks went back at one minute past midnight.
#[test]
fn in_no_zone_in_use_does_the_date_ever_go_back() {
    let dates_go_back = |zone: &TimeZone, from: &str, to: &str| {
        let (from, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
        zone.following(from)
            .map(|transition| transition.timestamp())
            .take_while(|at| *at < to)
            .any(|at| local_date(zone, at.as_second() - 1) > local_date(zone, at.as_second()))
    };
    let newfoundland = zone(chrono_tz::America::St_Johns);
    assert!(dates_go_back(&newfoundland, "2010-01-01T00:00:00Z", "2011-01-01T00:00:00Z"), "the test can see it");
    for tz in chrono_tz::TZ_VARIANTS {
        // Names that this machine's zone files no longer know cannot be written in a schedule either.
        if let Ok(zone) = TimeZone::get(tz.name()) {
            assert!(!dates_go_back(&zone, "2012-01-01T00:00:00Z", "2060-01-01T00:00:00Z"), "{}", tz.name());
        }
    }
}

/// The first second whose local date lies after `due`, found by halving over the hours in which a day can end anywhere on earth.
fn first_second_after(tz: chrono_tz::Tz, due: NaiveDate) -> i64 {
    let noon = |date: NaiveDate| Utc.from_utc_datetime(&date.and_hms_opt(12, 0, 0).unwrap()).timestamp();
    let past = |second: i64| DateTime::<Utc>::from_timestamp(second, 0).unwrap().with_timezone(&tz).date_naive() > due;
    let (mut low, mut high) = (noon(due) - 86_400, noon(due) + 2 * 86_400);
    assert!(!past(low) && past(high));
    while high - low > 1 {
        let middle = i64::midpoint(low, high);
        if past(middle) { high = middle } else { low = middle }
    }
    high
}

#[test]
fn the_day_that_samoa_skipped_ends_no_period_early() {
    // There was no 30 December 2011 in Apia: 29 December was followed by 31 December.
    let apia = TimeZone::get("Pacific/Apia").unwrap();
    let due = Period::parse("23 days").unwrap().due(jiff::civil::date(2011, 12, 6), Counting::After).unwrap();
    assert_eq!(due, jiff::civil::date(2011, 12, 29));
    assert_eq!(first_allowed(&apia, due).to_string(), "2011-12-30T10:00:00Z");
    let on_the_skipped_day = Period::parse("24 days").unwrap().due(jiff::civil::date(2011, 12, 6), Counting::After).unwrap();
    assert_eq!(first_allowed(&apia, on_the_skipped_day).to_string(), "2011-12-30T10:00:00Z");
}

#[test]
fn no_event_date_of_a_century_is_due_before_an_earlier_one() {
    // Push-down rests on this: a later event never ends earlier, whatever the mixture of units, counting and year ends.
    let mut dice = Dice(0x0060_0D0D);
    for _ in 0..150 {
        let case = Case::random(&mut dice);
        let keep = case.keep();
        let (mut event, mut last) = (jiff::civil::date(2019, 12, 30), Date::MIN);
        for _ in 0..1_600 {
            let due = keep.due(event).unwrap();
            assert!(last <= due, "{case:?}: {event} is due {due}, the day before it {last}");
            assert!(case.from || event < due, "{case:?}: {event} is due {due}");
            (event, last) = (event.checked_add(1.day()).unwrap(), due);
        }
    }
}

/// The rule a third time. Reads `second,zone,years,months,days,from,year-end month,day` and writes `local date,due date,first second allowed`.
const PYTHON: &str = r#"
import calendar, sys
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo
zones = {}
for line in sys.stdin:
    second, name, years, months, days, from_, month, day = line.strip().split(",")
    second, years, months, days, from_, month, day = (int(x) for x in (second, years, months, days, from_, month, day))
    try:
        zone = zones.get(name) or zones.setdefault(name, ZoneInfo(name))
    except Exception:
        print("SKIP no zone data")
        sys.exit(0)
    local = datetime.fromtimestamp(second, timezone.utc).astimezone(zone).date()
    start = local
    if month:
        for year in (local.year, local.year + 1):
            end = date(year, month, min(day, calendar.monthrange(year, month)[1]))
            if end >= local:
                start = end
                break
    start -= timedelta(days=from_)
    total = start.year * 12 + start.month - 1 + years * 12 + months
    year, month = divmod(total, 12)
    month += 1
    due = date(year, month, min(start.day, calendar.monthrange(year, month)[1])) + timedelta(days=days)
    # The first full second of the next local day: halve between two UTC noons.
    noon = int(datetime(due.year, due.month, due.day, 12, tzinfo=timezone.utc).timestamp())
    low, high = noon - 86400, noon + 2 * 86400
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, timezone.utc).astimezone(zone).date() > due:
            high = middle
        else:
            low = middle
    print(f"{local},{due},{high}")
"#;

#[test]
fn a_third_implementation_in_python_agrees() {
    let mut dice = Dice(0x7472_6565);
    let cases: Vec<(i64, chrono_tz::Tz, Case)> = (0..3_000)
        .map(|_| (dice.instant() / 2, ZONES[dice.below(12) as usize], Case::random(&mut dice)))
        .map(|(second, tz, case)| (second, tz, Case { years: case.years.min(25), ..case }))
        .collect();
    let input: String = cases.iter().fold(String::new(), |mut text, (second, tz, case)| {
        let Case { years, months, weeks, days, from, year_end } = *case;
        let (month, day) = year_end.unwrap_or((0, 0));
        writeln!(text, "{second},{},{years},{months},{},{},{month},{day}", tz.name(), weeks * 7 + days, u8::from(from)).unwrap();
        text
    });
    let child = Command::new("python3").args(["-c", PYTHON]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: python3 is not installed, so the third oracle did not judge");
        return;
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("python3 ends");
    let text = String::from_utf8(output.stdout).expect("python3 writes UTF-8");
    if text.contains("SKIP") {
        eprintln!("skipped: python3 has no zone data, so the third oracle did not judge");
        return;
    }
    writer.join().expect("the writer ends").expect("python3 reads all cases");
    assert!(output.status.success(), "python3 failed");
    let answers: Vec<&str> = text.lines().collect();
    assert_eq!(answers.len(), cases.len());
    for (answer, (second, tz, case)) in answers.into_iter().zip(cases) {
        let zone = zone(tz);
        let event = local_date(&zone, second);
        let due = case.keep().due(event).unwrap();
        let ours = format!("{event},{due},{}", first_allowed(&zone, due).as_second());
        assert_eq!(ours, answer, "{} {second} {case:?}", tz.name());
    }
}
