//! Decisions on requests for erasure, derived once more: whether the classes say what was answered, whether what was more careful before an edit was
//! heard, and whether what went before it was due went by such a decision.
//!
//! Each entry `erasure-decided` names every class that was asked, and what it said. From the texts in the log follows what each says; from the bindings,
//! which classes must have been asked; from the times of texts, bindings and confirmations, what was in force within the edit delay and so counted too.
//! Where a value of the record picks its class, the log does not tell the value: then the classes named must be those of some value.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Checked, Run, Wrong, derives, wrong};
use crate::audit::{Entry, Kind as EntryKind};
use crate::review::{Decision, Standing, What};
use crate::schedule::history::{Binding, Former, History, TextKind, Written};
use crate::schedule::{Answer, Disposition, RecordClass, Schedule, Schedules, Terms};

/// Every schedule by the SHA-256 of its text; `None`: not read by this version.
type Known = HashMap<String, Option<Arc<Schedule>>>;

/// A text that came into force, or was withdrawn.
struct Text {
    kind: TextKind,
    id: String,
    sha256: String,
    at: Timestamp,
    withdrawn: bool,
}

/// A decision that lets a record go.
struct Decided {
    erasure: String,
    /// Store, dataset, record, class, schedule, event, event date, due.
    facts: [String; FACTS.len()],
    early: bool,
    anonymise: bool,
}

/// What an outcome has in common with the decision that it names.
const FACTS: [&str; 8] = ["store", "dataset", "record", "class", "schedule", "event", "event_date", "due"];

/// What the log said so far.
#[derive(Default)]
pub(super) struct Erasures {
    texts: Vec<Text>,
    /// Bindings by the SHA-256 of their text, and those that have not all of their parts.
    bindings: HashMap<String, String>,
    parts: HashMap<String, String>,
    confirmed: Option<Timestamp>,
    /// By schedule, the accounts of those who edited or confirmed it.
    editors: BTreeMap<String, Vec<String>>,
    /// By request, who approved it first.
    approvals: HashMap<String, Vec<Decision>>,
    decided: HashMap<u64, Decided>,
    /// What was in force before, for the request and dataset asked last.
    formers: Option<((String, String), Vec<Former>)>,
}

/// A class that was asked.
struct Asked {
    dataset: String,
    /// `None`: it could not be told.
    class: Option<Arc<RecordClass>>,
    schedule: Option<Arc<Schedule>>,
    answer: Answer,
    before: bool,
}

fn place(entry: &Entry) -> String {
    format!("{}/{}", entry.str("store").unwrap_or_default(), entry.str("dataset").unwrap_or_default())
}

impl Erasures {
    /// A schedule came into force, or was withdrawn.
    pub(super) fn schedule(&mut self, entry: &Entry) {
        let (Some(id), Some(sha256)) = (entry.str("id"), entry.str("sha256")) else { return };
        if let Some(person) = entry.str("edited_by") {
            self.editors.entry(id.to_owned()).or_default().push(person.to_owned());
        }
        self.text(TextKind::Schedule, id.to_owned(), sha256, entry);
    }

    fn text(&mut self, kind: TextKind, id: String, sha256: &str, entry: &Entry) {
        let withdrawn = entry.bool("withdrawn") == Some(true);
        self.texts.push(Text { kind, id, sha256: sha256.to_owned(), at: entry.time().unwrap_or(Timestamp::MIN), withdrawn });
        self.formers = None;
    }

    /// What else matters here of what the log says.
    pub(super) fn see(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::Bound => {
                let (address, sha256) = (place(entry), entry.str("sha256").unwrap_or_default());
                let (part, parts) = (entry.u64("part").unwrap_or(1), entry.u64("parts").unwrap_or(1));
                let text = self.parts.entry(address.clone()).or_default();
                if part == 1 {
                    text.clear();
                }
                text.push_str(entry.str("text").unwrap_or_default());
                if part >= parts {
                    let text = self.parts.remove(&address).unwrap_or_default();
                    self.bindings.insert(sha256.to_owned(), text);
                    self.text(TextKind::Binding, address, sha256, entry);
                }
            }
            EntryKind::Confirmed => {
                self.confirmed = self.confirmed.max(entry.time());
                self.formers = None;
                let schedules = entry.fields.get("schedules").and_then(Value::as_array).into_iter().flatten();
                for id in schedules.filter_map(|one| one.get("id")?.as_str()) {
                    self.editors.entry(id.to_owned()).or_default().extend(entry.str("person").map(str::to_owned));
                }
            }
            EntryKind::ErasureApproved => {
                let id = entry.str("erasure").unwrap_or_default().to_owned();
                self.approvals.entry(id).or_default().push(word_of(entry));
            }
            _ => {}
        }
    }

    /// A decision. Answers whether it could be judged: a schedule may be in words that this version does not read.
    pub(super) fn decide(&mut self, entry: &Entry, known: &Known, in_force: &BTreeMap<String, String>) -> Result<bool, Wrong> {
        let need = ["erasure", "store", "dataset", "record", "decision", "ground"].map(|name| entry.str(name));
        let [Some(erasure), Some(_), Some(_), Some(_), Some(decision), Some(ground)] = need else {
            return wrong("a decision on erasure", "one with `erasure`, `store`, `dataset`, `record`, `decision` and `ground`");
        };
        let early = (decision, ground) == ("destroy", "class");
        if matches!(decision, "destroy" | "anonymise") {
            let facts = FACTS.map(|name| entry.str(name).unwrap_or_default().to_owned());
            let decided = Decided { erasure: erasure.to_owned(), facts, early, anonymise: decision == "anonymise" };
            self.decided.insert(entry.n, decided);
        }
        let Some(asked) = asked(entry, known, in_force)? else { return Ok(false) };
        let careful = asked.iter().map(|one| one.answer).max().unwrap_or_default();
        match (decision, ground) {
            (_, "class") if decision != careful.as_str() => {
                return wrong(format!("the decision {decision}"), format!("the most careful class says {careful}"));
            }
            ("destroy", "class") => {
                self.all_asked(entry, &asked)?;
                self.heard_before(entry, known, in_force, &asked)?;
                self.by_enough_people(entry, &asked)?;
                facts(entry, known, false)?;
            }
            ("destroy" | "anonymise", "due") => facts(entry, known, true)?,
            ("refuse" | "restrict", "class") | ("refuse" | "wait", _) => {}
            _ => return wrong(format!("the decision {decision} on the ground {ground}"), "no schedule leads to it"),
        }
        Ok(true)
    }

    /// Whether every class that the dataset's binding gives the record was asked.
    fn all_asked(&self, entry: &Entry, asked: &[Asked]) -> Checked {
        let address = place(entry);
        let mut own: Vec<&str> = asked
            .iter()
            .filter(|one| !one.before && one.dataset == address)
            .filter_map(|one| Some(one.class.as_ref()?.id.as_str()))
            .collect();
        own.sort_unstable();
        own.dedup();
        if own.is_empty() {
            return wrong("the decision destroy", "no class of the record's dataset was asked");
        }
        let all = match self.binding(&address) {
            None => true,
            Some(Binding::Classes(classes)) => classes.iter().all(|class| own.contains(&class.as_str())),
            Some(Binding::By { map, .. }) => !values(&map, &own).is_empty(),
        };
        if all { Ok(()) } else { wrong(format!("the classes {} were asked", own.join(", ")), "others belong to the dataset's records") }
    }

    fn binding(&self, address: &str) -> Option<Binding> {
        let last = self.texts.iter().rfind(|one| one.kind == TextKind::Binding && one.id == address)?;
        serde_json::from_str(self.bindings.get(&last.sha256).filter(|_| !last.withdrawn)?).ok()
    }

    /// Whether what was in force within the edit delay says destroy as well.
    fn heard_before(&mut self, entry: &Entry, known: &Known, in_force: &BTreeMap<String, String>, asked: &[Asked]) -> Checked {
        let address = place(entry);
        let Some(binding) = self.binding(&address) else { return Ok(()) };
        let key = (entry.str("erasure").unwrap_or_default().to_owned(), address.clone());
        let formers = match &self.formers {
            Some((of, formers)) if *of == key => formers,
            _ => {
                let formers = self.formers_of(entry, known, in_force, &address, &binding);
                &self.formers.insert((key, formers)).1
            }
        };
        let own: Vec<&str> = asked
            .iter()
            .filter(|one| !one.before && one.dataset == address)
            .filter_map(|one| Some(one.class.as_ref()?.id.as_str()))
            .collect();
        for former in formers {
            let says = |value: Option<&str>| {
                former
                    .rules(value)
                    .map_or(Answer::Refuse, |rules| rules.iter().map(|rule| rule.class.answer()).max().unwrap_or(Answer::Destroy))
            };
            let answer = match &binding {
                Binding::Classes(_) => says(None),
                Binding::By { map, .. } => values(map, &own).into_iter().map(|value| says(Some(value))).min().unwrap_or_default(),
            };
            if answer != Answer::Destroy {
                let until = former.until;
                return wrong("the decision destroy", format!("before an edit that counts from {until:.0} on, the answer was {answer}"));
            }
        }
        Ok(())
    }

    fn formers_of(
        &self,
        entry: &Entry,
        known: &Known,
        in_force: &BTreeMap<String, String>,
        address: &str,
        binding: &Binding,
    ) -> Vec<Former> {
        let text = |one: &Text| match one.kind {
            TextKind::Schedule => known.get(&one.sha256).and_then(|read| Some(read.as_ref()?.text.clone())),
            TextKind::Binding => self.bindings.get(&one.sha256).cloned(),
        };
        let written = |one: &Text| Written {
            kind: one.kind,
            id: one.id.clone(),
            sha256: one.sha256.clone(),
            at: one.at,
            // One that is not read any more is told by its being no schedule.
            text: if one.withdrawn { None } else { Some(text(one).unwrap_or_default()) },
        };
        let written: Vec<Written> = self.texts.iter().map(written).collect();
        let all = in_force.values().filter_map(|sha256| known.get(sha256)?.clone()).collect();
        let mut bindings = BTreeMap::new();
        for one in self.texts.iter().filter(|one| one.kind == TextKind::Binding) {
            if one.withdrawn {
                bindings.remove(&one.id)
            } else {
                bindings.insert(one.id.clone(), one.sha256.clone())
            };
        }
        let delay =
            entry.u64("edit_delay").and_then(|seconds| i64::try_from(seconds).ok()).map_or(SignedDuration::MAX, SignedDuration::from_secs);
        let now = entry.time().unwrap_or(Timestamp::MIN);
        History::new(&written, self.confirmed, &Schedules { all }, &bindings, now, delay).former(address, binding)
    }

    /// Whether as many people decided it as the classes ask for before anything goes.
    fn by_enough_people(&self, entry: &Entry, asked: &[Asked]) -> Checked {
        let (mut terms, mut editors): (Vec<Terms>, Vec<String>) = (Vec::new(), Vec::new());
        for one in asked {
            let (Some(class), Some(schedule)) = (&one.class, &one.schedule) else { continue };
            if class.then == Some(Disposition::Review) {
                terms.push(Terms { cooling_off: None, ..class.review });
                if class.review.not_the_editor {
                    editors.extend(self.editors.get(&schedule.id).into_iter().flatten().cloned());
                }
            }
        }
        if terms.is_empty() {
            return Ok(());
        }
        let named = entry.fields.get("approvals").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64);
        let given = self.approvals.get(entry.str("erasure").unwrap_or_default()).map_or(&[][..], Vec::as_slice);
        let mut decisions = Vec::new();
        for named in named {
            match given.iter().find(|one| one.entry == named) {
                Some(one) => decisions.push(one.clone()),
                None => return wrong(format!("approved by entry {named}"), "no such entry approved this request before"),
            }
        }
        let own = word_of(entry);
        let today = own.on;
        decisions.push(own);
        if let Standing::Approved { .. } = Standing::of(&decisions, &terms, &editors, today) {
            return Ok(());
        }
        let asked = terms.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        wrong("the decision destroy", format!("not enough different people made it ({asked})"))
    }

    /// The decision that an outcome rests on; answers whether it let the record go before it was due.
    pub(super) fn rested(&self, outcome: &Entry, run: &Run) -> Result<bool, Wrong> {
        let Some(named) = outcome.u64("erasure") else { return Ok(false) };
        let says = || format!("decided by entry {named}");
        let intent = outcome.u64("intent").unwrap_or(outcome.n);
        let Some(decided) = self.decided.get(&named).filter(|_| named < intent) else {
            return wrong(says(), "no decision before its intent that lets a record go is there");
        };
        // What is left of a record that went is removed by a run of its own.
        if !run.recovery && run.erasure.as_deref() != Some(decided.erasure.as_str()) {
            return wrong(says(), "the run does not carry out the request of that decision");
        }
        for (name, decided) in FACTS.iter().zip(&decided.facts) {
            let found = outcome.str(name).unwrap_or_default();
            if found != decided {
                return wrong(format!("{name} {found}, {}", says()), format!("that decision is about {name} {decided}"));
            }
        }
        let done = outcome.kind == EntryKind::Anonymised;
        if matches!(outcome.kind, EntryKind::Destroyed | EntryKind::Anonymised) && done != decided.anonymise {
            return wrong(format!("{}, {}", outcome.kind, says()), "that decision was to do the other thing");
        }
        Ok(decided.early)
    }
}

/// The values of a map that stand for just these classes.
fn values<'m>(map: &'m BTreeMap<String, Vec<String>>, classes: &[&str]) -> Vec<&'m str> {
    let same = |one: &&String| {
        let of = &map[one.as_str()];
        of.len() == classes.len() && of.iter().all(|class| classes.contains(&class.as_str()))
    };
    map.keys().filter(same).map(String::as_str).collect()
}

/// Who made a decision, and when, in UTC.
fn word_of(entry: &Entry) -> Decision {
    let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
    let on = entry.time().map_or(Date::MAX, |at| TimeZone::UTC.to_datetime(at).date());
    Decision { entry: entry.n, what: What::Approve, on, person: text("person"), name: text("name"), until: None }
}

/// Every class that an entry says was asked, each held against its text; nothing when some schedule is not read by this version.
fn asked(entry: &Entry, known: &Known, in_force: &BTreeMap<String, String>) -> Result<Option<Vec<Asked>>, Wrong> {
    let mut all = Vec::new();
    for rule in entry.fields.get("rules").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| rule.get(name).and_then(Value::as_str);
        let (dataset, before) = (text("dataset").unwrap_or_default().to_owned(), rule.get("until").is_some());
        let Some(answer) = text("says").and_then(Answer::of) else {
            return wrong("a class that was asked", "one with its answer in `says`");
        };
        let (Some(id), Some(sha256)) = (text("class"), text("schedule")) else {
            if answer == Answer::Destroy {
                return wrong("destroy, of a class that cannot be told", "what cannot be told refuses");
            }
            all.push(Asked { dataset, class: None, schedule: None, answer, before });
            continue;
        };
        let Some(read) = known.get(sha256) else {
            return wrong(format!("by the schedule {sha256}"), "no schedule before this entry has this sha256");
        };
        let Some(schedule) = read else { return Ok(None) };
        let Some(class) = schedule.classes.get(id) else {
            return wrong(format!("by the class {id}"), format!("the schedule {} has no such class", schedule.id));
        };
        if !before && !in_force.values().any(|one| one == sha256) {
            return wrong(format!("by the schedule {sha256}"), "it was not in force then");
        }
        if class.answer() != answer {
            return wrong(format!("the class {id} says {answer} to a request for erasure"), format!("its text says {}", class.answer()));
        }
        all.push(Asked { dataset, class: Some(Arc::clone(class)), schedule: Some(Arc::clone(schedule)), answer, before });
    }
    Ok(Some(all))
}

/// Whether the period that an entry names ends on the day that it says; and, where it is to be over, that it is.
fn facts(entry: &Entry, known: &Known, over: bool) -> Checked {
    let [Some(class), Some(sha256), Some(event), Some(event_date), Some(due)] =
        ["class", "schedule", "event", "event_date", "due"].map(|name| entry.str(name))
    else {
        return wrong("a decision that lets a record go", "one with `class`, `schedule`, `event`, `event_date` and `due`");
    };
    let Some(Some(schedule)) = known.get(sha256) else { return Ok(()) };
    let Some(class) = schedule.classes.get(class) else {
        return wrong(format!("by the class {class}"), format!("the schedule {} has no such class", schedule.id));
    };
    let due = derives(class, [event, event_date, due])?;
    let written = entry.time().map_or(Date::MIN, |at| schedule.zone.to_datetime(at).date());
    if over && due >= written {
        return wrong(format!("due, on {written}"), format!("to be kept until the end of {due} ({})", schedule.zone_name));
    }
    Ok(())
}
