//! Verdicts that were come to a moment ago, for the next record that says the same.
//!
//! What a verdict rests on is the same for as long as an [`super::Assessor`] lives: the rules, what was in force before them, and the day that counts
//! as today. Where no hold protects the record and no date is looked up elsewhere, only its readings and the value that picks its class are left, and
//! most rows say a day, of which there are few. Whoever asks has made sure of the holds at that moment; a verdict that rests on one never comes here.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use smol_str::SmolStr;

use crate::judge::Verdict;
use crate::record::{Moment, Reading, Readings};

/// Verdicts that are kept at most: those of the days of ten years.
const PLACES: usize = 4096;

/// See the file's header.
#[derive(Default)]
pub(super) struct Recent(Mutex<Vec<Option<Known>>>);

struct Known {
    class_value: Option<SmolStr>,
    readings: Readings,
    verdict: Arc<Verdict>,
}

/// A verdict, known or new.
pub(super) enum Judged {
    Known(Arc<Verdict>),
    Anew(Verdict),
}

impl Judged {
    /// To be shared with other records.
    pub(super) fn shared(self) -> Arc<Verdict> {
        match self {
            Self::Known(verdict) => verdict,
            Self::Anew(verdict) => Arc::new(verdict),
        }
    }
}

impl Deref for Judged {
    type Target = Verdict;

    fn deref(&self) -> &Verdict {
        match self {
            Self::Known(verdict) => verdict,
            Self::Anew(verdict) => verdict,
        }
    }
}

impl Recent {
    /// The verdict on a record that no hold protects, come to by `judge` unless it is known. Nothing for a record that says other things than days,
    /// of which hardly two say the same.
    pub(super) fn verdict(&self, class_value: Option<&str>, readings: &Readings, judge: impl FnOnce() -> Verdict) -> Option<Arc<Verdict>> {
        let place = place(class_value, readings)?;
        // Whoever would have to wait judges for himself, which takes no longer.
        let mut known = self.0.try_lock().ok()?;
        if known.is_empty() {
            known.resize_with(PLACES, || None);
        }
        let known = known.get_mut(place)?;
        if let Some(known) = known
            && known.readings == *readings
            && known.class_value.as_deref() == class_value
        {
            return Some(Arc::clone(&known.verdict));
        }
        let verdict = Arc::new(judge());
        *known = Some(Known { class_value: class_value.map(Into::into), readings: readings.clone(), verdict: Arc::clone(&verdict) });
        Some(verdict)
    }
}

/// Where the verdict on such a record is kept: the days of some years lie side by side, so that none takes the place of another.
fn place(class_value: Option<&str>, readings: &Readings) -> Option<usize> {
    let mut place = 0_usize;
    for reading in readings {
        let day = match reading {
            Reading::NotYet => 0,
            Reading::At(Moment::Date(date)) => {
                let [year, month, day] =
                    [date.year().unsigned_abs(), u16::from(date.month().unsigned_abs()), u16::from(date.day().unsigned_abs())];
                usize::from(year) * 372 + usize::from(month) * 31 + usize::from(day)
            }
            Reading::At(Moment::Instant(_)) | Reading::Elsewhere(_) | Reading::Doubt(_) => return None,
        };
        place = place.wrapping_mul(61).wrapping_add(day);
    }
    let class = class_value.unwrap_or_default().bytes();
    Some(class.fold(place, |place, byte| place.wrapping_mul(61).wrapping_add(usize::from(byte))) % PLACES)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::judge::{RuleToday, judge};
    use crate::record::Doubt;
    use crate::schedule::{EventName, Schedules};

    /// The rules of each value that picks a class, and of none.
    fn rules() -> Vec<(Option<&'static str>, Vec<RuleToday>)> {
        let text = "schedule: s\ntime-zone: Europe/London\nclasses:\n  one: { title: One, keep: 1 month, no-longer-than: 2 months, after: end, then: destroy }\n  \
                    two: { title: Two, keep: 40 days, after: { latest-of: [end, paid] }, then: review }\n";
        let schedules = Schedules::parse("s", text).unwrap();
        let rule = |class: &str| RuleToday { rule: schedules.rule(class).unwrap(), today: date(2026, 11, 22) };
        vec![(None, vec![]), (Some("a"), vec![rule("one")]), (Some("b"), vec![rule("two")]), (Some("ab"), vec![rule("one"), rule("two")])]
    }

    fn reading() -> impl Strategy<Value = Reading> {
        let day = |day: i32| Reading::At(Moment::Date(date(2026, 12, 31).saturating_sub(jiff::Span::new().days(day))));
        prop_oneof![
            8 => (0..120_i32).prop_map(day),
            // Days that are kept in the same places.
            4 => ((0..3_i32), (0..20_i32)).prop_map(move |(round, some)| day(round * 4018 + some)),
            1 => Just(Reading::NotYet),
            1 => Just(Reading::Elsewhere(None)),
            1 => Just(Reading::Doubt(Doubt::NoZone("x".into()))),
            1 => (0..9_i64).prop_map(|hour| Reading::At(Moment::Instant(jiff::Timestamp::from_second(1_790_000_000 + hour * 3600).unwrap()))),
        ]
    }

    proptest! {
        #[test]
        fn a_verdict_that_is_known_is_the_one_that_judging_comes_to(said in proptest::collection::vec((0..4_usize, reading(), reading()), 1..400)) {
            let (rules, recent) = (rules(), Recent::default());
            for (at, end, paid) in said {
                let (class_value, rules) = &rules[at];
                let readings: Readings = [end, paid].into_iter().collect();
                let anew = || judge(rules, |event: &EventName| readings.get(usize::from(event.as_str() == "paid")), None);
                let verdict = recent.verdict(*class_value, &readings, anew);
                let days = |one: &Reading| matches!(one, Reading::NotYet | Reading::At(Moment::Date(_)));
                prop_assert_eq!(verdict.is_some(), readings.iter().all(days));
                if let Some(verdict) = verdict {
                    prop_assert_eq!(&*verdict, &anew());
                }
            }
        }
    }

    #[test]
    fn the_days_of_ten_years_do_not_take_the_places_of_each_other() {
        let mut day = date(2016, 1, 1);
        let mut places = std::collections::HashSet::new();
        while day < date(2026, 1, 1) {
            assert!(places.insert(place(None, &Readings::from_iter([Reading::At(Moment::Date(day))]))), "{day}");
            day = day.tomorrow().unwrap();
        }
    }

    #[test]
    fn what_is_known_is_not_judged_again() {
        let (rules, recent) = (rules(), Recent::default());
        let readings = Readings::from_iter([Reading::At(Moment::Date(date(2026, 1, 2)))]);
        let verdict = |judges: bool| {
            recent.verdict(Some("a"), &readings, || {
                assert!(judges);
                judge(&rules[1].1, |_| readings.first(), None)
            })
        };
        let first = verdict(true).unwrap();
        assert!(Arc::ptr_eq(&first, &verdict(false).unwrap()));
    }
}
