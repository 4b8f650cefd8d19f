//! Approvals, derived once more: whether what went although its class says `then: review` was approved by enough people, in time, and not taken back.
//!
//! How many people, how long the cooling-off is, and for how long an approval holds stand in the schedule's text; who edited it, in the entries
//! `schedule` and `confirmed`; what was decided, in the entries of the batch. All that stands before the intent counts, what ended an approval too.
//!
//! An outcome may name more approvals than follow from here: a run also asks for what another class asks that a column may pick, and for what was in
//! force before an edit that is not old enough. So each one that is named must be an approval in force, of that batch, by somebody else than the others,
//! and there must be no fewer than follow from here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{Checked, wrong};
use crate::audit::Entry;
use crate::review::{Decision, Standing, What};
use crate::schedule::{Disposition, Schedule, Terms};

/// A decision as the log has it.
struct Decided {
    entry: Entry,
    what: What,
}

/// What people decided, and who edited schedules, as far as the log was read.
#[derive(Default)]
pub(super) struct Reviews {
    /// By batch, in the order of the log.
    decided: HashMap<String, Vec<Decided>>,
    /// By schedule: the entry, and the account.
    editors: BTreeMap<String, Vec<(u64, String)>>,
}

/// What an outcome is held against.
pub(super) struct Rested<'a> {
    /// Where its run began: who edited the schedule later was no editor then.
    pub(super) began: u64,
    /// The day on which the run judged.
    pub(super) today: Date,
    pub(super) zone: &'a TimeZone,
    /// The schedule that it names.
    pub(super) schedule: &'a Schedule,
    pub(super) class: &'a str,
    /// What every class that applies asks for.
    pub(super) terms: Vec<Terms>,
    /// Every schedule by the SHA-256 of its text.
    pub(super) known: &'a HashMap<String, Option<Arc<Schedule>>>,
}

impl Reviews {
    /// A decision, or an edit.
    pub(super) fn see(&mut self, entry: &Entry) {
        if let Some(what) = What::of(entry.kind) {
            let batch = entry.str("batch").unwrap_or_default().to_owned();
            self.decided.entry(batch).or_default().push(Decided { entry: entry.clone(), what });
            return;
        }
        let (person, ids): (_, Vec<&str>) = if let Some(person) = entry.str("edited_by") {
            (Some(person), entry.str("id").into_iter().collect())
        } else {
            let schedules = entry.fields.get("schedules").and_then(Value::as_array).into_iter().flatten();
            (entry.str("person"), schedules.filter_map(|one| one.get("id")?.as_str()).collect())
        };
        for id in ids {
            if let Some(person) = person {
                self.editors.entry(id.to_owned()).or_default().push((entry.n, person.to_owned()));
            }
        }
    }

    /// Whether the approval that an outcome names lets it be.
    pub(super) fn check(&self, outcome: &Entry, rested: &Rested<'_>) -> Checked {
        let Some(batch) = outcome.str("batch") else {
            return wrong("a disposal", "one that names what people approved: the class says `then: review`");
        };
        let named: Vec<u64> =
            outcome.fields.get("approval").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64).collect();
        let all = self.decided.get(batch).map_or(&[][..], Vec::as_slice);
        for one in all {
            for field in ["store", "dataset", "class"] {
                if one.entry.str(field) != outcome.str(field) {
                    let (said, is) = (one.entry.str(field).unwrap_or_default(), outcome.str(field).unwrap_or_default());
                    return wrong(format!("the {field} {is}"), format!("entry {} is about the {field} {said}", one.entry.n));
                }
            }
        }
        let intent = outcome.u64("intent").unwrap_or(outcome.n);
        let mut terms = rested.terms.clone();
        let mut decisions = Vec::new();
        for one in all.iter().filter(|one| one.entry.n < intent) {
            let is_named = named.contains(&one.entry.n);
            if one.what == What::Approve {
                // What was given while the run was looking, and it does not name, it may not have seen.
                if !is_named && one.entry.n > rested.began {
                    continue;
                }
                let schedule = one.entry.str("schedule").and_then(|sha256| rested.known.get(sha256));
                // What cannot be read cannot have been relied upon.
                let Some(Some(schedule)) = schedule else { continue };
                let Some(class) = schedule.classes.get(rested.class) else { continue };
                if class.then == Some(Disposition::Review) {
                    terms.push(class.review);
                }
                if !is_named {
                    continue;
                }
            }
            let text = |name: &str| one.entry.str(name).unwrap_or_default().to_owned();
            decisions.push(Decision {
                entry: one.entry.n,
                what: one.what,
                on: one.entry.time().map_or(Date::MAX, |at| rested.zone.to_datetime(at).date()),
                person: text("person"),
                name: text("name"),
                until: one.entry.str("until").and_then(|day| day.parse().ok()),
            });
        }
        let editors = self.editors.get(&rested.schedule.id).into_iter().flatten();
        let editors: Vec<String> = editors.filter(|(n, _)| *n < rested.began).map(|(_, person)| person.clone()).collect();
        let asked = terms.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        // Each one that is named must count, so as many are needed.
        let approvals = u8::try_from(named.len()).unwrap_or(u8::MAX);
        terms.push(Terms { approvals, ..terms.first().copied().unwrap_or_default() });
        match Standing::of(&decisions, &terms, &editors, rested.today) {
            Standing::Approved { given, .. } if given.len() == named.len() => Ok(()),
            Standing::Approved { given, .. } => {
                wrong(format!("approved by the entries {named:?}"), format!("it was approved by {given:?}"))
            }
            Standing::CoolingOff { ready, .. } => {
                wrong(format!("a disposal on {}", rested.today), format!("none before {ready} ({asked})"))
            }
            Standing::Kept { until, .. } => wrong("a disposal", format!("a person kept it through {until}")),
            Standing::Waiting { missing, .. } => wrong(
                format!("approved by the entries {named:?}"),
                format!("on {} the approval of {missing} was missing ({asked})", rested.today),
            ),
        }
    }
}
