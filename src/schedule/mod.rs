//! The retention schedule: what the law and the organisation say, free of any system.
//!
//! A [`Schedule`] is one YAML file that reads like the published document. It holds [`RecordClass`]es; each says how long records of that
//! class are kept ([`Period`]), which event starts the period ([`Trigger`]), and what happens at its end ([`Disposition`]).
//!
//! Everything in this folder is pure: no clock, no store, no connection. `today` always comes in as an argument. A loaded schedule holds
//! parsed values only; a file that does not parse to the last key is refused whole, together with all its companions, so that a typing
//! error can never shorten a period silently.

pub mod check;
pub mod class;
pub mod erasure;
pub mod history;
pub mod load;
pub mod period;
pub mod review;
pub mod timetable;
pub mod trigger;
pub mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

pub use class::{ClassId, Disposition, Keep, RecordClass};
pub use erasure::{Answer, OnErasure};
pub use period::{Counting, Period};
pub use review::Terms;
pub use timetable::{Asked, Timetable};
pub use trigger::{EventName, Trigger};
pub use window::Window;

/// One schedule file in force.
#[derive(Debug)]
pub struct Schedule {
    /// Unique id, as in `schedule: housing`.
    pub id: String,
    /// Title of the document.
    pub title: String,
    /// Who answers for it: an office, not a person's name.
    pub owner: Option<String>,
    /// The day on which it was approved.
    pub approved: Option<Date>,
    /// The day by which it must be reviewed; a finding once it is past.
    pub review_by: Option<Date>,
    /// The zone in which days begin and end.
    pub zone: TimeZone,
    /// The zone's IANA name.
    pub zone_name: String,
    /// The record classes by id.
    pub classes: BTreeMap<ClassId, Arc<RecordClass>>,
    /// The file it came from, as messages call it.
    pub file: String,
    /// The number of the account that the file belongs to: all that a file tells of who edited it. `None` for a text that is no file.
    pub owner_uid: Option<u32>,
    /// The exact text, as it goes into the audit log.
    pub text: String,
    /// SHA-256 of the text, 64 hexadecimal digits.
    pub sha256: Arc<str>,
}

/// All schedules in force, loaded together.
#[derive(Clone, Debug, Default)]
pub struct Schedules {
    /// The schedules in the order of their file names.
    pub all: Vec<Arc<Schedule>>,
}

/// A class together with the schedule that defines it (and so with its time zone).
#[derive(Clone, Debug)]
pub struct Rule {
    /// The schedule that holds the class.
    pub schedule: Arc<Schedule>,
    /// The class.
    pub class: Arc<RecordClass>,
    /// One for each event that may start the period.
    bases: Arc<[Arc<Basis>]>,
}

/// What a due date rests on besides the date of an event. Every record of a class has the same, so they point to one.
#[derive(Debug, PartialEq, Eq)]
pub struct Basis {
    /// The class id.
    pub class: ClassId,
    /// SHA-256 of the schedule's text.
    pub schedule: Arc<str>,
    /// The event that started the period.
    pub event: EventName,
}

impl Rule {
    /// The rule that this class of the schedule is.
    pub fn new(schedule: Arc<Schedule>, class: Arc<RecordClass>) -> Self {
        let events = class.keep.trigger().map_or(&[][..], Trigger::events);
        let bases = events.iter().map(|event| Arc::new(basis(&schedule, &class, event))).collect();
        Self { schedule, class, bases }
    }

    /// What a due date rests on that this event started.
    pub fn basis(&self, event: &EventName) -> Arc<Basis> {
        let known = self.bases.iter().find(|basis| basis.event == *event);
        known.map_or_else(|| Arc::new(basis(&self.schedule, &self.class, event)), Arc::clone)
    }
}

fn basis(schedule: &Schedule, class: &RecordClass, event: &EventName) -> Basis {
    Basis { class: class.id.clone(), schedule: Arc::clone(&schedule.sha256), event: event.clone() }
}

impl Schedules {
    /// The rule for a class id, if any schedule defines it.
    pub fn rule(&self, id: &str) -> Option<Rule> {
        self.all.iter().find_map(|schedule| {
            let class = schedule.classes.get(id)?;
            Some(Rule::new(Arc::clone(schedule), Arc::clone(class)))
        })
    }

    /// Every class id of every schedule, in order.
    pub fn class_ids(&self) -> impl Iterator<Item = &ClassId> {
        self.all.iter().flat_map(|schedule| schedule.classes.keys())
    }
}
