//! Holds: what a person has forbidden to destroy.
//!
//! A hold always wins. It is tested when a record is judged, and again at the moment of destruction. Holds are entries of the audit log first;
//! the log knows subjects and records as pseudonyms only, so a hold names them that way too, and a record is compared by its own pseudonyms.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;

/// One hold in force or once in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The id people refer to it by.
    pub id: String,
    /// Litigation, subject access request and so on, as written.
    pub kind: String,
    /// What it protects: all parts that are given must match.
    pub scope: Scope,
    /// The last day of the hold; `None` until it is released.
    pub until: Option<Date>,
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
}

/// All holds in force, arranged so that a record that no hold concerns costs next to nothing.
#[derive(Clone, Debug, Default)]
pub struct Holds {
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
}

impl Holds {
    /// Arranges holds for testing.
    pub fn new(holds: impl IntoIterator<Item = Hold>) -> Self {
        let mut all = Self::default();
        for hold in holds {
            let hold = Arc::new(hold);
            match (&hold.scope.record, &hold.scope.subject) {
                (Some(record), _) => all.by_record.entry(record.clone()).or_default().push(hold),
                (None, Some(subject)) => all.by_subject.entry(subject.clone()).or_default().push(hold),
                (None, None) => all.wide.push(hold),
            }
        }
        all
    }

    /// How many holds there are.
    pub fn len(&self) -> usize {
        self.wide.len() + self.by_record.values().chain(self.by_subject.values()).map(Vec::len).sum::<usize>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first hold that protects this record on the day `today`.
    pub fn protecting(&self, it: &Subject<'_>, today: Date) -> Option<&Arc<Hold>> {
        let applies = |hold: &&Arc<Hold>, subjects: Option<&[String]>| {
            let scope = &hold.scope;
            hold.until.is_none_or(|until| today <= until)
                && scope.class.as_deref().is_none_or(|class| it.classes.contains(&class))
                && scope.dataset.as_deref().is_none_or(|dataset| dataset == it.dataset)
                && match (&scope.subject, subjects) {
                    (Some(subject), Some(names)) => names.contains(subject),
                    (Some(subject), None) => (it.subject_names)().contains(subject),
                    (None, _) => true,
                }
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
        Hold { id: "h1".into(), kind: "litigation".into(), scope, until }
    }

    fn protects(hold: Hold, today: Date) -> bool {
        let it = Subject {
            dataset: "housing/applicants",
            classes: &["recruitment.unsuccessful"],
            record_names: &|| vec!["2025:old".into(), "2026:r".into()],
            subject_names: &|| vec!["2026:s".into()],
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
        assert!(protects(hold(Scope::default(), Some(today)), today), "the last day is still held");
        assert!(!protects(hold(Scope::default(), Some(today.yesterday().unwrap())), today));
    }
}
