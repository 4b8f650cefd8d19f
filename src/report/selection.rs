//! Which entries of the log a report is about.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::audit::Entry;

/// Which entries a report is about. What is not said does not narrow it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Selection {
    /// One run.
    pub run: Option<String>,
    /// The first day, UTC.
    pub from: Option<Date>,
    /// The last day, UTC.
    pub to: Option<Date>,
    /// Record classes.
    pub classes: Vec<String>,
    /// `STORE` or `STORE/DATASET`.
    pub store: Option<String>,
}

impl Selection {
    /// Whether an entry is of the run, the days and the store.
    pub fn covers(&self, entry: &Entry) -> bool {
        let text = |name: &str| entry.str(name).unwrap_or_default();
        let of_store = |wanted: &String| text("store") == wanted || dataset_of(entry) == *wanted;
        let of_days = self.from.is_none() && self.to.is_none() || entry.time().is_some_and(|at| self.has_day(at));
        of_days && self.run.as_ref().is_none_or(|run| text("run") == run) && self.store.as_ref().is_none_or(of_store)
    }

    /// Whether a class is among those asked for.
    pub fn has_class(&self, class: &str) -> bool {
        self.classes.is_empty() || self.classes.iter().any(|wanted| wanted == class)
    }

    fn has_day(&self, at: Timestamp) -> bool {
        let day = at.to_zoned(TimeZone::UTC).date();
        self.from.is_none_or(|from| day >= from) && self.to.is_none_or(|to| day <= to)
    }

    /// The selection as people say it.
    pub fn shown(&self) -> String {
        let mut parts = Vec::new();
        match (self.from, self.to) {
            (Some(from), Some(to)) if from == to => parts.push(day(from)),
            (Some(from), Some(to)) => parts.push(format!("{} to {}", day(from), day(to))),
            (Some(from), None) => parts.push(format!("from {}", day(from))),
            (None, Some(to)) => parts.push(format!("until {}", day(to))),
            (None, None) => {}
        }
        parts.extend(self.run.iter().map(|run| format!("run {run}")));
        if parts.is_empty() {
            parts.push("the whole log".to_owned());
        }
        parts.extend(self.store.iter().map(|store| format!("only {store}")));
        if !self.classes.is_empty() {
            parts.push(format!("only {}", self.classes.join(", ")));
        }
        parts.join("; ")
    }
}

/// `1 October 2026`.
pub(super) fn day(date: Date) -> String {
    date.strftime("%-d %B %Y").to_string()
}

/// `STORE/DATASET` of an entry.
pub(super) fn dataset_of(entry: &Entry) -> String {
    format!("{}/{}", entry.str("store").unwrap_or_default(), entry.str("dataset").unwrap_or_default())
}
