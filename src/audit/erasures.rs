//! Decisions on requests for erasure, as the log alone shows them: whether what went because of one was decided before, and nothing went too early without.
//!
//! ```text
//! erasure-approved   the first of two people, where a class asks for two
//!                    erasure (the id of what was shown), subject, records, person, name, matter, by
//! erasure-decided    what one record's request is answered
//!                    erasure, subject, store, dataset, record, state (of the record, as a pseudonym), decision (destroy, anonymise, wait, refuse,
//!                    restrict), ground, why, rules (each class that was asked: class, schedule, says, dataset, until), class, schedule, event,
//!                    event_date, due (where a period runs or is over), hold, approvals (of others), edit_delay (seconds), beyond_limits (the person said so), person,
//!                    name, matter, reason, by
//! outcomes           erasure: the index of the entry `erasure-decided` that they rest on
//! ```
//!
//! A decision counts when it stands before the intent, is about the same record of the same dataset, and says what was done. Which answer the schedule
//! gives is derived by `audit replay`. A record that was destroyed before the last day of its keeping was over anywhere in the world rests on a
//! decision, or the log contradicts itself.

use std::collections::HashMap;

use super::fields::{scan, text};
use super::meaning::{Id, id};

/// A decision as its entry has it, of those that let a record go.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    dataset: Id,
    record: Id,
    anonymise: bool,
}

impl Decided {
    /// Reads the body of `erasure-decided`, strictly; nothing when the record stays.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, String> {
        let mut found: [Option<String>; 4] = Default::default();
        let names = ["store", "dataset", "record", "decision"];
        scan(line, |name, value| {
            if let Some(at) = names.iter().position(|known| *known == name) {
                found[at] = Some(text(value)?.into_owned());
            }
            Ok(())
        })?;
        let [store, dataset, record, decision] = found;
        let need = |value: Option<String>, what: &str| {
            value.ok_or_else(|| format!("expected `{what}` in an entry of kind erasure-decided, found none"))
        };
        let (store, dataset, record) = (need(store, "store")?, need(dataset, "dataset")?, need(record, "record")?);
        let anonymise = match need(decision, "decision")?.as_str() {
            "destroy" => false,
            "anonymise" => true,
            "wait" | "refuse" | "restrict" => return Ok(None),
            _ => return Err("expected `decision` to be destroy, anonymise, wait, refuse or restrict".to_owned()),
        };
        Ok(Some(Self { dataset: id(&[&format!("{store}/{dataset}")]), record: id(&[&record]), anonymise }))
    }
}

/// The decisions that let records go, as far as the log was read: a few numbers for each.
#[derive(Clone, Debug, Default)]
pub(super) struct Erasures(HashMap<u64, Decided>);

impl Erasures {
    pub(super) fn decide(&mut self, n: u64, decided: Decided) {
        self.0.insert(n, decided);
    }

    /// Why an outcome does not rest on the decision that it names; the words complete "destroyed, but ...".
    pub(super) fn check(&self, named: u64, (intent, anonymise): (u64, bool), dataset: &Id, record: &Id) -> Result<(), String> {
        let Some(decided) = self.0.get(&named).filter(|_| named < intent) else {
            return Err(format!(
                "entry {named} is no decision before its intent, entry {intent}, that lets a record go on a request for erasure"
            ));
        };
        if decided.dataset != *dataset || decided.record != *record {
            return Err(format!("the decision of entry {named} is about another record"));
        }
        if decided.anonymise != anonymise {
            return Err(format!("the decision of entry {named} was to do the other thing"));
        }
        Ok(())
    }
}

/// Whether a day was surely not over anywhere at the time `at`: it ends first where clocks are fourteen hours ahead.
pub(super) fn surely_lasts(day: &str, at: &str) -> bool {
    let end = format!("{day}T10:00");
    day.len() == 10 && at.get(..16).is_some_and(|at| at < end.as_str())
}
