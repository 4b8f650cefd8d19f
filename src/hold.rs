//! Holds: what a person has forbidden to destroy.
//!
//! A hold always wins. It is tested when a record is judged, and again at the moment of destruction. Holds are entries of the audit log first;
//! the log knows subjects and records as pseudonyms only, so a hold names them that way too, and a record is compared by its own pseudonyms.
//!
//! What a person writes down to place one is a [`Wish`]; what it means for the log, and when it is in force, is [`crate::session`]'s business.

mod kind;
mod wish;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::audit::Entry;
pub use kind::HoldKind;
pub use wish::{Wish, mistake_of_text, read_csv};

/// One hold in force or once in force, as the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// The id people refer to it by.
    pub id: String,
    /// Litigation, subject access request and so on, as written.
    pub kind: String,
    /// What it protects: all parts that are given must match.
    pub scope: Scope,
    /// The last day of the hold; `None` until it is released.
    pub until: Option<Date>,
    /// What people know about it.
    pub about: About,
}

/// What people know about a hold; nothing here decides whether a record is protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The day by which somebody is to look whether it is still needed.
    pub review: Option<Date>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The reference of the case, claim or request.
    pub matter: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who placed it, or changed it last.
    pub person: Option<String>,
    /// When it was placed, or changed last, RFC 3339.
    pub at: Option<String>,
}

/// What a hold protects. An empty scope protects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Pseudonym of the subject.
    pub subject: Option<String>,
    /// Pseudonym of the record.
    pub record: Option<String>,
    /// Class id.
    pub class: Option<String>,
    /// `store/dataset`.
    pub dataset: Option<String>,
    /// The records of which an event fell within these days.
    pub events: Option<EventRange>,
}

/// A range of days in which an event of a record must have fallen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventRange {
    /// The event; `None`: any.
    pub event: Option<String>,
    /// The first day, inclusive.
    pub from: Option<Date>,
    /// The last day, inclusive.
    pub to: Option<Date>,
}

impl Hold {
    /// The hold that an entry `hold-placed` places.
    pub fn of_entry(entry: &Entry) -> Self {
        Self::of_body(&entry.fields, &entry.at)
    }

    /// The hold that is placed by the body of an entry with this time. A part that cannot be read protects more rather than less.
    pub fn of_body(body: &Map<String, Value>, at: &str) -> Self {
        let given = |name: &str| body.get(name).and_then(Value::as_str);
        let text = |name: &str| given(name).map(str::to_owned);
        let part = |name: &str| body.get("scope").and_then(|scope| scope.get(name)?.as_str());
        let day = |name: &str| part(name).and_then(|day| day.parse().ok());
        let range = EventRange { event: part("event").map(str::to_owned), from: day("event_from"), to: day("event_to") };
        let owned = |name: &str| part(name).map(str::to_owned);
        Self {
            id: text("hold").unwrap_or_default(),
            kind: text("hold_kind").unwrap_or_else(|| "other".into()),
            scope: Scope {
                subject: owned("subject"),
                record: owned("record"),
                class: owned("class"),
                dataset: owned("dataset"),
                events: Some(range).filter(|range| *range != EventRange::default()),
            },
            until: given("until").and_then(|day| day.parse().ok()),
            about: About {
                review: given("review").and_then(|day| day.parse().ok()),
                owner: text("owner"),
                matter: text("matter"),
                reason: text("reason"),
                person: text("person"),
                at: Some(at.to_owned()),
            },
        }
    }

    /// The body of the entry that places it.
    pub fn to_body(&self) -> Value {
        let day = |day: Option<Date>| day.map(|day| day.to_string());
        let Scope { subject, record, class, dataset, events } = &self.scope;
        let mut scope = Map::new();
        let range = events.clone().unwrap_or_default();
        let parts = [("subject", subject.clone()), ("record", record.clone()), ("class", class.clone()), ("dataset", dataset.clone())];
        let ranged = [("event", range.event), ("event_from", day(range.from)), ("event_to", day(range.to))];
        scope.extend(parts.into_iter().chain(ranged).filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
        let about = &self.about;
        let mut body = Map::from_iter([
            ("hold".to_owned(), json!(self.id)),
            ("hold_kind".to_owned(), json!(self.kind)),
            ("scope".to_owned(), Value::Object(scope)),
        ]);
        let rest = [
            ("until", day(self.until)),
            ("review", day(about.review)),
            ("owner", about.owner.clone()),
            ("matter", about.matter.clone()),
            ("reason", about.reason.clone()),
            ("person", about.person.clone()),
        ];
        body.extend(rest.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
        Value::Object(body)
    }

    /// Whether its day of review is over everywhere, and it is not.
    pub fn review_is_overdue(&self, at: Timestamp) -> bool {
        !self.is_surely_over(at) && Self { until: self.about.review, ..Self::default() }.is_surely_over(at)
    }

    /// Whether its last day is not over anywhere at this moment. The day ends first where clocks are fourteen hours ahead.
    pub fn surely_lasts(&self, at: Timestamp) -> bool {
        let end = |until: Date| until.at(10, 0, 0, 0).to_zoned(TimeZone::UTC).map(|end| end.timestamp());
        self.until.is_none_or(|until| end(until).is_ok_and(|end| at < end))
    }

    /// Whether its last day is over everywhere at this moment. It ends last where clocks are twelve hours behind.
    pub fn is_surely_over(&self, at: Timestamp) -> bool {
        let end = |until: Date| until.tomorrow().and_then(|next| next.at(12, 0, 0, 0).to_zoned(TimeZone::UTC)).map(|end| end.timestamp());
        self.until.is_some_and(|until| end(until).is_ok_and(|end| at >= end))
    }
}

impl EventRange {
    /// Whether this event, on this day, is one of the range.
    pub fn holds(&self, event: &str, day: Date) -> bool {
        self.event.as_deref().is_none_or(|name| name == event)
            && self.from.is_none_or(|from| from <= day)
            && self.to.is_none_or(|to| day <= to)
    }
}

/// Holds, arranged so that a record that no hold concerns costs next to nothing, and one more or less costs little too.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    all: HashMap<String, Arc<Hold>>,
    by_record: HashMap<String, Vec<Arc<Hold>>>,
    by_subject: HashMap<String, Vec<Arc<Hold>>>,
    wide: Vec<Arc<Hold>>,
}

/// What a hold is compared with. The names are computed only when some hold needs them.
pub struct Subject<'a> {
    /// `store/dataset`.
    pub dataset: &'a str,
    /// The ids of all classes that apply.
    pub classes: &'a [&'a str],
    /// Every pseudonym the record may be known by.
    pub record_names: &'a dyn Fn() -> Vec<String>,
    /// Every pseudonym the record's subject may be known by.
    pub subject_names: &'a dyn Fn() -> Vec<String>,
    /// Whether some event of the record fell within the range, or might have.
    pub within: &'a dyn Fn(&EventRange) -> bool,
    /// Whether there is a class or dataset of this name: one that there is no more was perhaps given another name, and a hold on it then protects
    /// whatever else it covers.
    pub is_known: &'a dyn Fn(&str) -> bool,
}

impl Holds {
    /// Arranges holds for testing.
    pub fn new(holds: impl IntoIterator<Item = Hold>) -> Self {
        let mut all = Self::default();
        for hold in holds {
            all.insert(hold);
        }
        all
    }

    /// Adds a hold; one with the same id makes way for it.
    pub fn insert(&mut self, hold: Hold) {
        self.remove(&hold.id);
        let hold = Arc::new(hold);
        self.all.insert(hold.id.clone(), Arc::clone(&hold));
        match (&hold.scope.record, &hold.scope.subject) {
            (Some(record), _) => self.by_record.entry(record.clone()).or_default().push(hold),
            (None, Some(subject)) => self.by_subject.entry(subject.clone()).or_default().push(hold),
            (None, None) => self.wide.push(hold),
        }
    }

    /// Takes a hold out.
    pub fn remove(&mut self, id: &str) -> Option<Arc<Hold>> {
        let hold = self.all.remove(id)?;
        let without = |map: &mut HashMap<String, Vec<Arc<Hold>>>, name: &str| {
            if let Some(holds) = map.get_mut(name) {
                holds.retain(|one| one.id != id);
                if holds.is_empty() {
                    map.remove(name);
                }
            }
        };
        match (&hold.scope.record, &hold.scope.subject) {
            (Some(record), _) => without(&mut self.by_record, record),
            (None, Some(subject)) => without(&mut self.by_subject, subject),
            (None, None) => self.wide.retain(|one| one.id != id),
        }
        Some(hold)
    }

    /// The hold with this id.
    pub fn get(&self, id: &str) -> Option<&Arc<Hold>> {
        self.all.get(id)
    }

    /// Every hold, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Hold>> {
        self.all.values()
    }

    /// How many holds there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether some hold names a subject: then the log names the subjects of what went, so that an auditor can compare.
    pub fn name_subjects(&self) -> bool {
        !self.by_subject.is_empty() || self.by_record.values().flatten().any(|hold| hold.scope.subject.is_some())
    }

    /// The first hold that protects this record on the day `today`.
    pub fn protecting(&self, it: &Subject<'_>, today: Date) -> Option<&Arc<Hold>> {
        let applies = |hold: &&Arc<Hold>, subjects: Option<&[String]>| {
            let scope = &hold.scope;
            hold.until.is_none_or(|until| today <= until)
                && scope.class.as_deref().is_none_or(|class| it.classes.contains(&class) || !(it.is_known)(class))
                && scope.dataset.as_deref().is_none_or(|dataset| dataset == it.dataset || !(it.is_known)(dataset))
                && match (&scope.subject, subjects) {
                    (Some(subject), Some(names)) => names.contains(subject),
                    (Some(subject), None) => (it.subject_names)().contains(subject),
                    (None, _) => true,
                }
                && scope.events.as_ref().is_none_or(|range| (it.within)(range))
        };
        if let Some(hold) = self.wide.iter().find(|hold| applies(hold, None)) {
            return Some(hold);
        }
        if !self.by_record.is_empty() {
            for name in (it.record_names)() {
                if let Some(hold) = self.by_record.get(&name).and_then(|holds| holds.iter().find(|hold| applies(hold, None))) {
                    return Some(hold);
                }
            }
        }
        if !self.by_subject.is_empty() {
            let names = (it.subject_names)();
            for name in &names {
                if let Some(hold) = self.by_subject.get(name).and_then(|holds| holds.iter().find(|hold| applies(hold, Some(&names)))) {
                    return Some(hold);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn hold(scope: Scope, until: Option<Date>) -> Hold {
        Hold { id: "h1".into(), kind: "litigation".into(), scope, until, about: About::default() }
    }

    fn protects(hold: Hold, today: Date) -> bool {
        let it = Subject {
            dataset: "housing/applicants",
            classes: &["recruitment.unsuccessful"],
            record_names: &|| vec!["2025:old".into(), "2026:r".into()],
            subject_names: &|| vec!["2026:s".into()],
            within: &|range| range.holds("outcome", date(2026, 2, 1)),
            is_known: &|name| !name.starts_with("former"),
        };
        Holds::new([hold]).protecting(&it, today).is_some()
    }

    #[test]
    fn a_hold_protects_what_all_of_its_parts_name_until_its_last_day() {
        let today = date(2026, 11, 22);
        let scope = |subject: Option<&str>, record: Option<&str>, class: Option<&str>, dataset: Option<&str>| Scope {
            subject: subject.map(Into::into),
            record: record.map(Into::into),
            class: class.map(Into::into),
            dataset: dataset.map(Into::into),
            events: None,
        };
        assert!(protects(hold(Scope::default(), None), today));
        assert!(protects(hold(scope(Some("2026:s"), None, None, None), None), today));
        assert!(protects(hold(scope(None, Some("2025:old"), None, None), None), today));
        assert!(protects(
            hold(scope(Some("2026:s"), Some("2026:r"), Some("recruitment.unsuccessful"), Some("housing/applicants")), None),
            today
        ));
        assert!(!protects(hold(scope(Some("2026:other"), None, None, None), None), today));
        assert!(!protects(hold(scope(Some("2026:other"), Some("2026:r"), None, None), None), today));
        assert!(!protects(hold(scope(Some("2026:s"), None, Some("tenancy.file"), None), None), today));
        assert!(!protects(hold(scope(None, None, None, Some("housing/other")), None), today));
        assert!(protects(hold(scope(None, None, Some("former.class"), None), None), today), "a class that was given another name");
        assert!(protects(hold(scope(None, None, None, Some("former/dataset")), None), today), "a dataset that was given another name");
        assert!(protects(hold(Scope::default(), Some(today)), today), "the last day is still held");
        assert!(!protects(hold(Scope::default(), Some(today.yesterday().unwrap())), today));
    }

    #[test]
    fn a_range_of_events_is_inclusive_at_both_ends_and_may_name_the_event() {
        let today = date(2026, 11, 22);
        let range = |event: Option<&str>, from: Option<Date>, to: Option<Date>| {
            let events = Some(EventRange { event: event.map(Into::into), from, to });
            protects(hold(Scope { events, ..Scope::default() }, None), today)
        };
        let day = date(2026, 2, 1);
        assert!(range(None, Some(day), Some(day)));
        assert!(range(Some("outcome"), None, Some(day)));
        assert!(range(None, Some(day), None));
        assert!(!range(None, Some(day.tomorrow().unwrap()), None));
        assert!(!range(None, None, Some(day.yesterday().unwrap())));
        assert!(!range(Some("tenancy-end"), Some(day), Some(day)));
    }

    #[test]
    fn a_hold_that_is_taken_out_protects_nothing_and_leaves_the_others() {
        let it = Subject {
            dataset: "a/b",
            classes: &["c"],
            record_names: &|| vec!["2026:r".into()],
            subject_names: &|| vec!["2026:s".into()],
            within: &|_| true,
            is_known: &|_| true,
        };
        let today = date(2026, 11, 22);
        let named = |id: &str, scope: Scope| Hold { id: id.into(), scope, ..Hold::default() };
        let subject = || Scope { subject: Some("2026:s".into()), ..Scope::default() };
        let record = || Scope { record: Some("2026:r".into()), ..Scope::default() };
        let mut holds =
            Holds::new([named("one", subject()), named("two", subject()), named("three", record()), named("four", Scope::default())]);
        for (left, id) in ["four", "three", "one", "two"].into_iter().enumerate() {
            assert_eq!(holds.len(), 4 - left);
            assert!(holds.protecting(&it, today).is_some());
            assert!(holds.remove(id).is_some() && holds.remove(id).is_none());
        }
        assert!(holds.is_empty() && !holds.name_subjects() && holds.protecting(&it, today).is_none());
        holds.insert(named("one", subject()));
        holds.insert(named("one", Scope { dataset: Some("a/other".into()), ..subject() }));
        assert!(holds.protecting(&it, today).is_none(), "placed again, it has the new scope only");
    }
}
