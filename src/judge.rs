//! The verdict on one record: due, or kept and why.
//!
//! This is where the schedule meets a record, and it is pure: the classes, what the store read, the holds and today's date come in as
//! arguments; out comes a [`Verdict`] that carries its reasons. The same function is used for a dry run, for a real run, and once more at the
//! moment of destruction.
//!
//! Several classes may apply: the record is due only when it is due under every one of them (the longest wins), the earliest ceiling counts,
//! and of several dispositions the most careful one is taken. Anything in doubt under any class keeps the record.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::record::{Doubt, Moment, Reading};
use crate::schedule::trigger::{Known, Start};
use crate::schedule::{Answer, Basis, ClassId, Disposition, EventName, Keep, Rule};

/// A rule together with today's date in the rule's zone.
#[derive(Clone, Debug)]
pub struct RuleToday {
    /// The rule.
    pub rule: Rule,
    /// Today in the zone of the rule's schedule.
    pub today: Date,
}

/// The decision about one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is decided.
    pub standing: Standing,
    /// What happens to a record that is due; `None` when it is not.
    pub then: Option<Disposition>,
    /// What happens to it once people have approved what `then: review` put before them: no more than every class allows.
    pub on_approval: Option<Disposition>,
    /// What a request for erasure is answered as far as the classes go, whatever the standing is: the most careful of their answers, and of those that
    /// they gave before an edit that is not old enough.
    pub on_erasure: Answer,
    /// Why a request for erasure would have been refused before an edit that is not old enough, and when it is, though its classes said destroy then as
    /// well: the period had not begun, or that could not be told.
    pub not_begun_before: Option<Box<(jiff::Timestamp, Standing, Reason)>>,
    /// The facts that decided, of the class that keeps the record longest.
    pub deciding: Option<Deciding>,
    /// The day after which the record's presence is (or will be) overdue, and whether it is past.
    pub ceiling: Option<(Date, bool)>,
    /// Every reason, one or more for each class.
    pub reasons: Reasons,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Its period is over under every class.
    Due,
    /// It is due only through an edit that is not old enough.
    Waiting,
    /// Its period is running.
    NotYetDue,
    /// The event that starts its period has not happened.
    NotStarted,
    /// It is kept for ever.
    Permanent,
    /// Something cannot be told; it stays.
    Undetermined,
    /// A hold protects it.
    Held,
}

/// The facts that decide a due date: the class, the event, its date, and the last day of keeping. Stands for its [`Basis`] as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deciding {
    /// The class and the event.
    pub basis: Arc<Basis>,
    /// The local date on which it fell.
    pub event_date: Date,
    /// The last day on which the record must be kept.
    pub due: Date,
}

impl Deref for Deciding {
    type Target = Basis;

    fn deref(&self) -> &Basis {
        &self.basis
    }
}

/// One reason of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Under this class the period is over.
    Over(Deciding),
    /// Under this class the period is running.
    Running(Deciding),
    /// Under this class the date leaves the calendar.
    BeyondCalendar(ClassId),
    /// The event has not happened yet.
    NotStarted {
        /// The class id.
        class: ClassId,
        /// The event.
        event: EventName,
    },
    /// The event's date is in doubt.
    Doubt {
        /// The class id.
        class: ClassId,
        /// The event.
        event: EventName,
        /// Why.
        doubt: Doubt,
    },
    /// The class keeps its records permanently.
    Permanent(ClassId),
    /// The value that picks the class is not in the map, or missing.
    NoClass(Option<String>),
    /// A hold protects the record.
    Held {
        /// The hold's id.
        hold: String,
        /// The hold's kind.
        kind: String,
    },
    /// The record is present past its ceiling.
    Overdue {
        /// The last day on which it might have been present.
        after: Date,
    },
    /// It is due now, and was not before an edit that is not old enough.
    Edited {
        /// When the edit is old enough.
        until: jiff::Timestamp,
        /// What kept the record before; `None` when that cannot be told.
        before: Option<Box<Reason>>,
    },
    /// Another dataset matches the same record, and this is what it says.
    Elsewhere {
        /// `store/dataset`.
        dataset: String,
        /// Its reason for keeping the record.
        reason: Box<Reason>,
    },
}

/// Mostly there is one, which then costs no allocation: every record of a store is judged.
pub type Reasons = smallvec::SmallVec<[Reason; 1]>;

/// Judges one record.
///
/// `reading` gives what the store read of an event (`None` when the dataset does not name the event, which is doubt). `held` is the hold that
/// protects the record, as (id, kind). An empty list of rules keeps the record.
pub fn judge<'r>(rules: &[RuleToday], reading: impl Fn(&EventName) -> Option<&'r Reading>, held: Option<(&str, &str)>) -> Verdict {
    let mut standing = Standing::Due;
    let (mut then, mut on_approval): (Option<Disposition>, Option<Disposition>) = (None, None);
    let mut deciding: Option<Deciding> = None;
    let mut ceiling: Option<(Date, bool)> = None;
    let mut reasons = Reasons::new();
    // Without a class nobody says that it may go.
    let mut on_erasure = if rules.is_empty() { Answer::Refuse } else { Answer::Destroy };
    if rules.is_empty() {
        standing = Standing::Undetermined;
        reasons.push(Reason::NoClass(None));
    }
    for RuleToday { rule, today } in rules {
        let class = rule.class.id.as_str();
        let (one, reason, after) = judge_class(rule, *today, &reading);
        standing = standing.max_keeping(one);
        if let Reason::Over(facts) | Reason::Running(facts) = &reason
            && deciding.as_ref().is_none_or(|known| known.due < facts.due)
        {
            deciding = Some(facts.clone());
        }
        reasons.push(reason);
        if let Some(after) = after {
            let overdue = after < *today;
            if overdue {
                reasons.push(Reason::Overdue { after });
            }
            ceiling = Some(ceiling.map_or((after, overdue), |(known, was)| (known.min(after), was || overdue)));
        }
        // A class without a disposition keeps permanently, so `then` of the others never comes to pass.
        debug_assert!(rule.class.then.is_some() || matches!(rule.class.keep, Keep::Permanently), "{class} has a period but no disposition");
        then = careful(then, rule.class.then);
        on_approval = careful(on_approval, rule.class.then.map(approved));
        on_erasure = on_erasure.max(rule.class.answer());
    }
    if let Some((id, kind)) = held {
        standing = Standing::Held;
        reasons.insert(0, Reason::Held { hold: id.to_owned(), kind: kind.to_owned() });
    }
    let (then, on_approval) = if standing == Standing::Due { (then, on_approval) } else { (None, None) };
    // Due without a disposition cannot come out of a loaded schedule; if it ever did, the record stays.
    if standing == Standing::Due && then.is_none() {
        standing = Standing::Undetermined;
    }
    Verdict { standing, then, on_approval, on_erasure, not_begun_before: None, deciding, ceiling, reasons }
}

fn judge_class<'r>(rule: &Rule, today: Date, reading: &impl Fn(&EventName) -> Option<&'r Reading>) -> (Standing, Reason, Option<Date>) {
    let class = || rule.class.id.clone();
    let keep = &rule.class.keep;
    let Some(trigger) = keep.trigger() else {
        return (Standing::Permanent, Reason::Permanent(class()), None);
    };
    match trigger.start(|event| known(reading(event), &rule.schedule.zone, today)) {
        Start::NotYet(event) => (Standing::NotStarted, Reason::NotStarted { class: class(), event }, None),
        Start::Doubt(event, doubt) => (Standing::Undetermined, Reason::Doubt { class: class(), event, doubt }, None),
        Start::On { name, event, .. } => {
            let Some(due) = keep.due(event) else {
                return (Standing::NotYetDue, Reason::BeyondCalendar(class()), None);
            };
            let facts = Deciding { basis: rule.basis(&name), event_date: event, due };
            let after = keep.overdue_after(event);
            if due < today { (Standing::Due, Reason::Over(facts), after) } else { (Standing::NotYetDue, Reason::Running(facts), after) }
        }
    }
}

fn known(reading: Option<&Reading>, zone: &TimeZone, today: Date) -> Known<Doubt> {
    match reading {
        None => Known::Doubt(Doubt::Missing("the source of this event".into())),
        Some(Reading::NotYet) => Known::NotYet,
        Some(Reading::Doubt(doubt)) => Known::Doubt(doubt.clone()),
        Some(Reading::Elsewhere(_)) => Known::Doubt(Doubt::Failed("the other dataset was not asked".into())),
        Some(Reading::At(moment)) => match moment.date_in(zone) {
            date if date > today => Known::Doubt(Doubt::Future(date)),
            date => Known::On(date),
        },
    }
}

/// Of two dispositions the one that does less that cannot be undone.
fn more_careful(one: Disposition, other: Disposition) -> Disposition {
    if one.reach() <= other.reach() { one } else { other }
}

/// Of the dispositions of several classes the most careful one.
fn careful(one: Option<Disposition>, other: Option<Disposition>) -> Option<Disposition> {
    match (one, other) {
        (Some(one), Some(other)) => Some(more_careful(one, other)),
        (one, other) => one.or(other),
    }
}

/// What a disposition comes to once people have approved it.
fn approved(then: Disposition) -> Disposition {
    if then == Disposition::Review { Disposition::Destroy } else { then }
}

impl Verdict {
    /// Adds what was in force before an edit that is old enough only at `until`: a record that is due waits, unless it is due under these rules too.
    /// `None`: they cannot be told, and it waits. Of two dispositions the more careful one is taken.
    #[must_use]
    pub fn and_before<'r>(
        mut self,
        until: jiff::Timestamp,
        rules: Option<&[RuleToday]>,
        reading: impl Fn(&EventName) -> Option<&'r Reading>,
    ) -> Self {
        let answered = rules.map_or(Some(Answer::Refuse), |rules| rules.iter().map(|one| one.rule.class.answer()).max());
        self.on_erasure = self.on_erasure.max(answered.unwrap_or(Answer::Destroy));
        if self.on_erasure == Answer::Destroy {
            let without_period = |one: &RuleToday| match judge_class(&one.rule, one.today, &reading) {
                (_, Reason::Over(_) | Reason::Running(_), _) => None,
                (standing, reason, _) => Some(Box::new((until, standing, reason))),
            };
            self.not_begun_before = self.not_begun_before.or_else(|| rules.unwrap_or_default().iter().find_map(without_period));
        }
        if !matches!(self.standing, Standing::Due | Standing::Waiting) {
            return self;
        }
        let mut before = Vec::new();
        for RuleToday { rule, today } in rules.unwrap_or_default() {
            match judge_class(rule, *today, &reading) {
                (Standing::Due, ..) => {
                    self.then = self.then.and_then(|then| Some(more_careful(then, rule.class.then?)));
                    self.on_approval = self.on_approval.and_then(|then| Some(more_careful(then, approved(rule.class.then?))));
                }
                (_, reason, _) => before.push(Some(Box::new(reason))),
            }
        }
        if rules.is_none() {
            before.push(None);
        }
        if !before.is_empty() || self.then.is_none() {
            (self.standing, self.then, self.on_approval) = (Standing::Waiting, None, None);
        }
        self.reasons.extend(before.into_iter().map(|before| Reason::Edited { until, before }));
        self
    }

    /// Adds what another dataset, which matches the same record, says. The record stays unless both say that it is due.
    #[must_use]
    pub fn and_elsewhere(mut self, dataset: &str, other: Verdict) -> Self {
        if other.standing != Standing::Due {
            for reason in other.reasons {
                self.reasons.push(Reason::Elsewhere { dataset: dataset.to_owned(), reason: Box::new(reason) });
            }
        }
        self.standing = self.standing.max_keeping(other.standing);
        self.on_erasure = self.on_erasure.max(other.on_erasure);
        self.not_begun_before = self.not_begun_before.or(other.not_begun_before);
        self.then = match (self.standing, self.then, other.then) {
            (Standing::Due, Some(one), Some(two)) => Some(more_careful(one, two)),
            _ => None,
        };
        self.on_approval = match (self.then, self.on_approval, other.on_approval) {
            (Some(_), Some(one), Some(two)) => Some(more_careful(one, two)),
            _ => None,
        };
        if let (Some(mine), Some(theirs)) = (&self.deciding, other.deciding)
            && mine.due < theirs.due
        {
            self.deciding = Some(theirs);
        }
        self
    }

    /// Whether the record is present past its ceiling.
    pub fn is_overdue(&self) -> bool {
        self.ceiling.is_some_and(|(_, past)| past)
    }
}

impl Standing {
    /// Of two standings the one that keeps the record; doubt and holds weigh most.
    #[must_use]
    pub fn max_keeping(self, other: Self) -> Self {
        self.max(other)
    }

    /// The word for tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Waiting => "waiting",
            Self::NotYetDue => "not-yet-due",
            Self::NotStarted => "not-started",
            Self::Permanent => "permanent",
            Self::Undetermined => "undetermined",
            Self::Held => "held",
        }
    }
}

impl Reason {
    /// The reason without any value that came out of a record: what the audit log and counts may hold, which personal data must not enter.
    pub fn without_values(&self) -> String {
        match self {
            Self::Doubt { class, event, doubt } => format!("{class}: {event}: {}", doubt.kind()),
            Self::NoClass(_) => "no class applies to the value that picks it".to_owned(),
            Self::Elsewhere { dataset, reason } => format!("also in {dataset}: {}", reason.without_values()),
            Self::Edited { until, before: Some(before) } => format!("{}{}", edited(*until), before.without_values()),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over(d) => write!(f, "{}: {} was on {}, kept until the end of {}", d.class, d.event, d.event_date, d.due),
            Self::Running(d) => write!(f, "{}: {} was on {}, to be kept until the end of {}", d.class, d.event, d.event_date, d.due),
            Self::BeyondCalendar(class) => write!(f, "{class}: the due date lies beyond the calendar"),
            Self::NotStarted { class, event } => write!(f, "{class}: {event} has not happened yet"),
            Self::Doubt { class, event, doubt } => write!(f, "{class}: {event} cannot be told: {doubt}"),
            Self::Permanent(class) => write!(f, "{class}: kept permanently"),
            Self::NoClass(None) => f.write_str("no class applies: the value that picks the class is missing"),
            Self::NoClass(Some(value)) => {
                write!(f, "no class applies: \"{}\" is not in the map of `class-by`", crate::error::escape(value.as_bytes()))
            }
            Self::Held { hold, kind } => write!(f, "held by {hold} ({kind})"),
            Self::Overdue { after } => write!(f, "overdue: it should not have been here after {after}"),
            Self::Elsewhere { dataset, reason } => write!(f, "also in {dataset}: {reason}"),
            Self::Edited { until, before: Some(before) } => write!(f, "{}{before}", edited(*until)),
            Self::Edited { until, before: None } => write!(f, "{}that cannot be told any more", edited(*until)),
        }
    }
}

fn edited(until: jiff::Timestamp) -> String {
    format!("due only through an edit: waits until {until:.0}, or until a person confirms it; before, ")
}

/// Which events a moment must not lie after for a record to be possibly due: what a store may use to leave out records that cannot be due.
///
/// It never leaves out a record that [`judge`] would call due. Records in doubt are a store's to report in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The event must have fallen on this date or before, which is before this instant.
    AtMost {
        /// The event.
        event: EventName,
        /// The latest date, inclusive.
        date: Date,
        /// The start of the following day in the schedule's zone.
        before: jiff::Timestamp,
    },
    /// All must hold.
    All(Vec<Bound>),
    /// One must hold.
    Any(Vec<Bound>),
    /// No record can be due.
    Never,
}

impl Bound {
    /// The bound of one rule.
    pub fn of(RuleToday { rule, today }: &RuleToday) -> Self {
        let keep = &rule.class.keep;
        let (Some(trigger), Some(date)) = (keep.trigger(), keep.cutoff(*today)) else {
            return Self::Never;
        };
        let before =
            date.tomorrow().ok().and_then(|next| rule.schedule.zone.to_zoned(next.at(0, 0, 0, 0)).ok()).map(|start| start.timestamp());
        let Some(before) = before else {
            return Self::Never;
        };
        let each = |events: &[EventName]| events.iter().map(|event| Self::AtMost { event: event.clone(), date, before }).collect();
        match trigger {
            crate::schedule::Trigger::EarliestOf(events) => Self::Any(each(events)),
            other => Self::All(each(other.events())),
        }
    }

    /// The bound of a record to which all of these rules apply.
    pub fn of_all(rules: &[RuleToday]) -> Self {
        if rules.is_empty() { Self::Never } else { Self::All(rules.iter().map(Self::of).collect()) }
    }

    /// Whether a record may be due, given a test for each single event bound (which says `true` when it cannot tell).
    pub fn may_hold(&self, test: &mut impl FnMut(&EventName, Date, jiff::Timestamp) -> bool) -> bool {
        match self {
            Self::AtMost { event, date, before } => test(event, *date, *before),
            Self::All(bounds) => bounds.iter().all(|bound| bound.may_hold(test)),
            Self::Any(bounds) => bounds.iter().any(|bound| bound.may_hold(test)),
            Self::Never => false,
        }
    }

    /// Whether a moment lies within a single event bound.
    pub fn admits(moment: Moment, date: Date, before: jiff::Timestamp) -> bool {
        match moment {
            Moment::Date(day) => day <= date,
            Moment::Instant(instant) => instant < before,
        }
    }
}
