//! A record class: one row of the retention schedule.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;

use super::erasure::OnErasure;
use super::period::{Counting, Period, cutoff};
use super::review::Terms;
use super::trigger::Trigger;

/// The id of a record class, such as `tenancy.file`: lower-case words joined by `.`, `-` or `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(Arc<str>);

/// What happens to a record at the end of its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is destroyed.
    Destroy,
    /// A person decides.
    Review,
    /// It is listed as expired; nothing else happens.
    Flag,
    /// What points to a person is removed; the rest stays.
    Anonymise,
}

/// How long records of a class are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// For ever: no record of the class is ever due.
    Permanently,
    /// For a period that an event starts.
    For {
        /// The floor.
        period: Period,
        /// Whether the day of the event counts.
        counting: Counting,
        /// What starts the period.
        trigger: Trigger,
        /// The ceiling (`no-longer-than`), counted from the same start: still present past it is an overdue finding.
        ceiling: Option<Period>,
    },
}

/// One class of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordClass {
    /// The id, unique across all loaded schedules.
    pub id: ClassId,
    /// The title people read.
    pub title: String,
    /// How long.
    pub keep: Keep,
    /// And then; `None` for classes kept permanently.
    pub then: Option<Disposition>,
    /// With `then: review`, who must approve and when it may follow.
    pub review: Terms,
    /// What it answers to a person who asks to be forgotten before its period is over.
    pub on_erasure: OnErasure,
    /// The law or limitation period that the period rests on.
    pub authority: Option<String>,
    /// The published statement it carries out.
    pub source: Option<String>,
}

impl ClassId {
    /// Checks an id.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fine = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if text.len() <= 100 && text.split(['.', '-', '_']).all(fine) {
            return Ok(Self(text.into()));
        }
        Err(format!(
            "expected a class id in lower-case words joined by `.`, `-` or `_`, such as `tenancy.file`, found \"{}\"",
            crate::error::escape(text.as_bytes())
        ))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ClassId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Disposition {
    /// The word of the schedule file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Review => "review",
            Self::Flag => "flag",
            Self::Anonymise => "anonymise",
        }
    }

    /// How much of what cannot be undone it does: of several dispositions the one with the least reach is the most careful.
    pub fn reach(self) -> u8 {
        match self {
            Self::Flag => 0,
            Self::Review => 1,
            Self::Anonymise => 2,
            Self::Destroy => 3,
        }
    }

    /// All words, for messages and parsing.
    pub const ALL: [Self; 4] = [Self::Destroy, Self::Review, Self::Flag, Self::Anonymise];
}

impl Keep {
    /// The last day on which a record must be kept whose deciding event fell on `event`; `None` when it is never due.
    pub fn due(&self, event: Date) -> Option<Date> {
        match self {
            Self::Permanently => None,
            Self::For { period, counting, trigger, .. } => period.due(trigger.count_from(event), *counting),
        }
    }

    /// The last day on which a record may still be present without being overdue; `None` without a ceiling.
    pub fn overdue_after(&self, event: Date) -> Option<Date> {
        match self {
            Self::For { counting, trigger, ceiling: Some(ceiling), .. } => ceiling.due(trigger.count_from(event), *counting),
            _ => None,
        }
    }

    /// The latest event date that is due on `today`; `None` when none is.
    pub fn cutoff(&self, today: Date) -> Option<Date> {
        match self {
            Self::Permanently => None,
            Self::For { .. } => cutoff(today, |event| self.due(event)),
        }
    }

    /// The events that decide; none for classes kept permanently.
    pub fn trigger(&self) -> Option<&Trigger> {
        match self {
            Self::Permanently => None,
            Self::For { trigger, .. } => Some(trigger),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanently => f.write_str("permanently"),
            Self::For { period, counting, trigger, .. } => {
                let word = if *counting == Counting::From { "from" } else { "after" };
                write!(f, "{period} {word} {trigger}")
            }
        }
    }
}
