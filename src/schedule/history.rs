//! What schedule and bindings said before: so that an edit which shortens a period, or puts records into another class, destroys nothing before
//! somebody had time to notice.
//!
//! A record that is due now is disposed of only if it was due as well under everything that was in force within the last `edit-delay`: each version
//! of the classes that apply to it, and each [`Binding`] of its dataset to classes. What came first has nothing before it and does not wait; nor
//! does what a person confirmed. All of it follows from entries of the log (the texts, with the times at which they came into force, and the
//! confirmations), so that whoever replays the log comes to the same verdicts.
//!
//! What an edit changes about *which* records a dataset holds, and where their dates are (`where`, `path`, `events`), is not covered: what was
//! not looked at before cannot be judged as it would have been. Limits and report mode are there for that. A dataset that is new, or has a new
//! name, has nothing before it either.
//!
//! This file is pure: the texts and the instants come in as arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::review::days;
use super::{Disposition, RecordClass, Rule, Schedule, Schedules};

/// What a text that came into force is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextKind {
    /// A schedule; its id.
    Schedule,
    /// What binds a dataset's records to classes; its address.
    Binding,
}

/// A text that came into force, or was withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it is.
    pub kind: TextKind,
    /// The schedule's id or the dataset's address.
    pub id: String,
    /// SHA-256 of the text.
    pub sha256: String,
    /// When it came into force, or was withdrawn.
    pub at: Timestamp,
    /// The text; `None`: it was withdrawn, and nothing took its place.
    pub text: Option<String>,
}

/// What binds a dataset's records to classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// Every record has these classes.
    Classes(Vec<String>),
    /// A column or capture picks the classes of each record.
    By {
        /// The column or capture.
        source: String,
        /// Its values and the classes they stand for.
        map: BTreeMap<String, Vec<String>>,
    },
}

/// What was in force before: a record that is due waits until this instant, unless it is due under these rules too.
#[derive(Clone, Debug)]
pub struct Former {
    /// When the edit is old enough.
    pub until: Timestamp,
    rules: Rules,
}

#[derive(Clone, Debug)]
enum Rules {
    /// They cannot be told any more.
    Unknown,
    /// Those of every record.
    All(Vec<Rule>),
    /// Those of each value that picks the class; of another value they cannot be told.
    By(BTreeMap<String, Vec<Rule>>),
}

impl Former {
    /// Every rule that was in force before, of whatever record.
    pub fn all(&self) -> Vec<&Rule> {
        match &self.rules {
            Rules::Unknown => Vec::new(),
            Rules::All(rules) => rules.iter().collect(),
            Rules::By(map) => map.values().flatten().collect(),
        }
    }

    /// Whether what was in force before changes anything for some record of which the rules `in_force` are those now, and `value` picks the class. An edit
    /// that was undone, or made a period longer, changes nothing: what is due now was due before as well.
    pub fn is_felt(&self, value: Option<&str>, in_force: &[Rule]) -> bool {
        self.rules(value).is_none_or(|before| before.iter().any(|before| !in_force.iter().any(|now| covers(now, before))))
    }

    /// The rules of a record, given the value that picks its class; `None` when they cannot be told, and the record waits.
    pub fn rules(&self, value: Option<&str>) -> Option<&[Rule]> {
        match &self.rules {
            Rules::Unknown => None,
            Rules::All(rules) => Some(rules),
            Rules::By(map) => map.get(value?).map(Vec::as_slice),
        }
    }
}

/// All that was in force within the last `delay`, or since a person confirmed what there was, and is so no more.
pub struct History<'a> {
    in_force: &'a Schedules,
    /// Earlier schedules, as far as they can be read, and when they were superseded.
    schedules: Vec<(Option<Arc<Schedule>>, Timestamp)>,
    /// Earlier bindings by dataset.
    bindings: Vec<(&'a str, &'a str, Timestamp)>,
    delay: SignedDuration,
}

impl<'a> History<'a> {
    /// From the texts in the order in which they came into force. `bindings` are those in force, as (address, SHA-256); what is in force and not
    /// among the texts comes into force now.
    pub fn new(
        written: &'a [Written],
        confirmed: Option<Timestamp>,
        in_force: &'a Schedules,
        bindings: &BTreeMap<String, String>,
        now: Timestamp,
        delay: SignedDuration,
    ) -> Self {
        let since = now.checked_sub(delay).unwrap_or(Timestamp::MIN).max(confirmed.unwrap_or(Timestamp::MIN));
        let mut history = Self { in_force, schedules: Vec::new(), bindings: Vec::new(), delay };
        for (at, one) in written.iter().enumerate() {
            let Some(text) = &one.text else { continue };
            let next = written[at + 1..].iter().find(|other| other.kind == one.kind && other.id == one.id);
            let current = match one.kind {
                TextKind::Schedule => in_force.all.iter().find(|schedule| schedule.id == one.id).map(|schedule| &*schedule.sha256),
                TextKind::Binding => bindings.get(&one.id).map(String::as_str),
            };
            let superseded = match next {
                Some(next) => next.at,
                None if current == Some(one.sha256.as_str()) => continue,
                None => now,
            };
            if delay.is_zero() || superseded <= since {
                continue;
            }
            match one.kind {
                TextKind::Schedule => {
                    // A text that this version of the program cannot read was in force all the same.
                    let read = Schedules::parse(&one.id, text).ok().and_then(|schedules| schedules.all.into_iter().next());
                    history.schedules.push((read, superseded));
                }
                TextKind::Binding => history.bindings.push((&one.id, text, superseded)),
            }
        }
        history
    }

    /// What was in force before for the records of a dataset.
    pub fn former(&self, address: &str, binding: &Binding) -> Vec<Former> {
        let mut all = Vec::new();
        for (schedule, superseded) in &self.schedules {
            let rules = match schedule {
                None => Some(Rules::Unknown),
                Some(schedule) => self.changed(schedule, binding),
            };
            all.extend(rules.map(|rules| self.until(*superseded, rules)));
        }
        for (_, text, superseded) in self.bindings.iter().filter(|(of, ..)| *of == address) {
            let rules = match serde_json::from_str::<Binding>(text) {
                Ok(before) if before == *binding => continue,
                Ok(before) => self.bound(&before, binding),
                Err(_) => Rules::Unknown,
            };
            all.push(self.until(*superseded, rules));
        }
        all
    }

    fn until(&self, superseded: Timestamp, rules: Rules) -> Former {
        Former { until: superseded.checked_add(self.delay).unwrap_or(Timestamp::MAX), rules }
    }

    /// The rules that an earlier schedule had for the classes that apply now, as far as they were others.
    fn changed(&self, schedule: &Arc<Schedule>, binding: &Binding) -> Option<Rules> {
        let others = |classes: &[String]| {
            let rules = classes.iter().filter_map(|class| {
                let before = schedule.classes.get(class.as_str())?;
                let now = self.in_force.rule(class)?;
                let same = now.class == *before && now.schedule.zone_name == schedule.zone_name;
                (!same).then(|| Rule::new(Arc::clone(schedule), Arc::clone(before)))
            });
            rules.collect::<Vec<_>>()
        };
        match binding {
            Binding::Classes(classes) => Some(others(classes)).filter(|rules| !rules.is_empty()).map(Rules::All),
            Binding::By { map, .. } => {
                let map: BTreeMap<String, Vec<Rule>> = map.iter().map(|(value, classes)| (value.clone(), others(classes))).collect();
                map.values().any(|rules| !rules.is_empty()).then_some(Rules::By(map))
            }
        }
    }

    /// The rules of a dataset's records under an earlier binding.
    fn bound(&self, before: &Binding, now: &Binding) -> Rules {
        match (before, now) {
            (Binding::Classes(classes), _) => self.versions(classes).map_or(Rules::Unknown, Rules::All),
            (Binding::By { source, map }, Binding::By { source: same, .. }) if source == same => {
                let known = map.iter().filter_map(|(value, classes)| Some((value.clone(), self.versions(classes)?)));
                Rules::By(known.collect())
            }
            // The value that picked the class is not read any more.
            (Binding::By { .. }, _) => Rules::Unknown,
        }
    }

    /// Every version of these classes: that in force, and earlier ones. `None` when there is none of some class.
    fn versions(&self, classes: &[String]) -> Option<Vec<Rule>> {
        let mut rules = Vec::new();
        for class in classes {
            let known = rules.len();
            rules.extend(self.in_force.rule(class));
            for (schedule, _) in &self.schedules {
                let before = schedule.as_ref().and_then(|schedule| Some((schedule, schedule.classes.get(class.as_str())?)));
                rules.extend(before.map(|(schedule, class)| Rule::new(Arc::clone(schedule), Arc::clone(class))));
            }
            if rules.len() == known {
                return None;
            }
        }
        Some(rules)
    }
}

/// Whether a record that is due under the one rule was due under the other as well, for the same and no more, on no easier terms; and a request for
/// erasure was answered no more carefully.
fn covers(now: &Rule, before: &Rule) -> bool {
    let (one, other) = (&now.class, &before.class);
    let same_start = one.keep.trigger() == other.keep.trigger() && now.schedule.zone_name == before.schedule.zone_name;
    let reach = |class: &RecordClass| class.then.map(Disposition::reach);
    let terms = one.then != Some(Disposition::Review) || other.then != Some(Disposition::Review) || one.review.are_no_easier(&other.review);
    // What leaves the calendar is never due.
    let due = |class: &RecordClass, day| class.keep.due(day).unwrap_or(Date::MAX);
    let erasure = other.answer() <= one.answer();
    same_start && reach(one) <= reach(other) && terms && erasure && days().all(|day| due(other, day) <= due(one, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + number * DAY).unwrap()
    }

    fn text(classes: &str) -> String {
        format!("schedule: s\ntime-zone: UTC\nclasses:\n{classes}")
    }

    fn class(id: &str, keep: &str) -> String {
        format!("  {id}: {{ keep: {keep}, after: made, then: destroy }}\n")
    }

    fn written(kind: TextKind, id: &str, at: i64, text: &str) -> Written {
        Written { kind, id: id.into(), sha256: sha(kind, text), at: day(at), text: Some(text.into()) }
    }

    fn sha(kind: TextKind, text: &str) -> String {
        match kind {
            TextKind::Schedule => Schedules::parse("s", text).map_or("none".into(), |schedules| schedules.all[0].sha256.to_string()),
            TextKind::Binding => text.into(),
        }
    }

    fn bound(classes: &[&str]) -> Binding {
        Binding::Classes(classes.iter().map(|class| (*class).to_owned()).collect())
    }

    /// The periods that a record must be due under besides those in force, and for how many days more; `?` where they cannot be told.
    fn waits(history: &[Written], in_force: &str, binding: &Binding, now: i64, confirmed: Option<i64>) -> Vec<String> {
        let schedules = Schedules::parse("s", in_force).unwrap();
        let bindings = BTreeMap::from([("a/b".to_owned(), serde_json::to_string(binding).unwrap())]);
        let delay = SignedDuration::from_hours(7 * 24);
        let history = History::new(history, confirmed.map(day), &schedules, &bindings, day(now), delay);
        let shown = |former: Former| {
            let days = former.until.duration_since(day(now)).as_secs() / DAY;
            let rules =
                former.rules(None).map(|rules| rules.iter().map(|rule| rule.class.keep.to_string()).collect::<Vec<_>>().join(" + "));
            format!("{} for {days}", rules.unwrap_or("?".into()))
        };
        history.former("a/b", binding).into_iter().map(shown).collect()
    }

    #[test]
    fn what_was_in_force_within_the_delay_counts_and_nothing_before_it() {
        let (long, short) = (text(&class("c", "6 years")), text(&class("c", "6 months")));
        let binding = bound(&["c"]);
        let first = [written(TextKind::Schedule, "s", 0, &long)];
        assert!(waits(&first, &long, &binding, 1, None).is_empty(), "the first schedule does not wait");
        let edited = [first[0].clone(), written(TextKind::Schedule, "s", 10, &short)];
        assert_eq!(waits(&edited, &short, &binding, 10, None), ["6 years after made for 7"]);
        assert_eq!(waits(&edited, &short, &binding, 16, None), ["6 years after made for 1"]);
        assert!(waits(&edited, &short, &binding, 17, None).is_empty(), "the delay is over");
        assert!(waits(&edited, &short, &binding, 12, Some(11)).is_empty(), "a person confirmed it");
        assert_eq!(waits(&edited, &short, &binding, 12, Some(9)), ["6 years after made for 5"], "confirmed before the edit");
        assert_eq!(waits(&first, &short, &binding, 20, None), ["6 years after made for 7"], "edited just now, and not in the log yet");
    }

    #[test]
    fn an_edit_to_and_fro_and_one_of_something_else() {
        let (long, short) = (text(&class("c", "6 years")), text(&class("c", "6 months")));
        let binding = bound(&["c"]);
        let to_and_fro: Vec<_> =
            [(0, &short), (10, &long), (11, &short)].map(|(at, text)| written(TextKind::Schedule, "s", at, text)).into();
        assert_eq!(waits(&to_and_fro, &short, &binding, 12, None), ["6 years after made for 6"]);
        let more = text(&(class("c", "6 years") + &class("d", "1 year")));
        let history = [written(TextKind::Schedule, "s", 0, &long), written(TextKind::Schedule, "s", 10, &more)];
        assert!(waits(&history, &more, &binding, 10, None).is_empty(), "the class itself did not change");
    }

    #[test]
    fn only_an_edit_that_something_may_wait_for_is_felt() {
        let felt = |before: &str, now: &str| {
            let (before, now) = (text(&format!("  c: {{ {before} }}\n")), text(&format!("  c: {{ {now} }}\n")));
            let written = [written(TextKind::Schedule, "s", 0, &before), written(TextKind::Schedule, "s", 10, &now)];
            let in_force = Schedules::parse("s", &now).unwrap();
            let binding = BTreeMap::from([("a/b".to_owned(), serde_json::to_string(&bound(&["c"])).unwrap())]);
            let history = History::new(&written, None, &in_force, &binding, day(12), SignedDuration::from_hours(7 * 24));
            history.former("a/b", &bound(&["c"])).iter().any(|former| former.is_felt(None, &[in_force.rule("c").unwrap()]))
        };
        let years = "keep: 6 years, after: made, then: destroy";
        let review = "keep: 6 years, after: made, then: review";
        assert!(felt(years, "keep: 6 months, after: made, then: destroy"));
        assert!(!felt("keep: 6 months, after: made, then: destroy", years), "longer, or undone");
        assert!(felt("keep: 1 month, after: made, then: destroy", "keep: 30 days, after: made, then: destroy"), "of some months");
        assert!(felt(years, "keep: 6 years, after: sold, then: destroy"));
        assert!(felt(years, "keep: 6 years, from: made, then: destroy"), "by a day");
        assert!(felt("keep: permanently", years));
        assert!(felt(review, years) && !felt(years, review));
        assert!(!felt(years, "keep: 6 years, after: made, then: destroy, authority: a law"));
        assert!(felt(&format!("{review}, approvals: 2"), review) && !felt(review, &format!("{review}, approvals: 2")));
        assert!(felt(&format!("{review}, not-the-editor: true"), review));
        let erased = format!("{years}, on-erasure: destroy");
        assert!(felt(years, &erased) && !felt(&erased, years), "what may go on a request for erasure");
        assert!(
            felt(&format!("{years}, on-erasure: restrict"), years) && !felt(years, &format!("{years}, on-erasure: {{ refuse: a law }}"))
        );
        assert!(felt(review, &format!("{review}, cooling-off: none")) && !felt(&format!("{review}, cooling-off: none"), review));
        assert!(
            felt(review, &format!("{review}, approval-lasts: 90 days")) && !felt(&format!("{review}, approval-lasts: 90 days"), review)
        );
    }

    #[test]
    fn another_class_of_a_dataset_waits_like_another_period() {
        let schedule = text(&(class("long", "6 years") + &class("short", "6 months")));
        let binding = |classes: &[&str]| serde_json::to_string(&bound(classes)).unwrap();
        let history = [
            written(TextKind::Schedule, "s", 0, &schedule),
            written(TextKind::Binding, "a/b", 0, &binding(&["long"])),
            written(TextKind::Binding, "a/b", 10, &binding(&["short"])),
            written(TextKind::Binding, "a/other", 10, &binding(&["short"])),
        ];
        assert_eq!(waits(&history, &schedule, &bound(&["short"]), 12, None), ["6 years after made for 5"]);
        // The class it had before is no longer in the schedule either: the text that was in force then still is in the log.
        let alone = text(&class("short", "6 months"));
        let mut history = history.to_vec();
        history.push(written(TextKind::Schedule, "s", 11, &alone));
        assert_eq!(
            waits(&history, &alone, &bound(&["short"]), 12, None),
            ["6 years after made for 5"],
            "the schedule's own edit changes nothing about the class that applies now"
        );
    }

    #[test]
    fn what_cannot_be_read_any_more_waits() {
        let schedule = text(&class("c", "6 months"));
        let history = [written(TextKind::Schedule, "s", 0, "not: a schedule"), written(TextKind::Schedule, "s", 10, &schedule)];
        assert_eq!(waits(&history, &schedule, &bound(&["c"]), 12, None), ["? for 5"]);
        let by = Binding::By { source: "kind".into(), map: BTreeMap::from([("x".into(), vec!["c".into()])]) };
        let history = [
            written(TextKind::Schedule, "s", 0, &schedule),
            written(TextKind::Binding, "a/b", 0, &serde_json::to_string(&by).unwrap()),
            written(TextKind::Binding, "a/b", 10, &serde_json::to_string(&bound(&["c"])).unwrap()),
        ];
        assert_eq!(
            waits(&history, &schedule, &bound(&["c"]), 12, None),
            ["? for 5"],
            "the value that picked the class is not read any more"
        );
    }

    #[test]
    fn a_schedule_that_was_withdrawn_counts_from_then_on() {
        let (before, after) = (text(&class("c", "6 years")), text(&class("c", "6 months")).replace("schedule: s", "schedule: t"));
        let mut withdrawn = written(TextKind::Schedule, "s", 10, "");
        withdrawn.text = None;
        let history = [written(TextKind::Schedule, "s", 0, &before), withdrawn, written(TextKind::Schedule, "t", 10, &after)];
        assert_eq!(
            waits(&history, &after, &bound(&["c"]), 12, None),
            ["6 years after made for 5"],
            "under another id it is the same class"
        );
    }
}
