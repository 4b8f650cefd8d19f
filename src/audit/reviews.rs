//! Approvals as the log alone shows them: whether what an outcome names was said before, by different people, and not taken back.
//!
//! ```text
//! approved                                            batch, store, dataset, class, person, name
//! review-refused, review-extended, review-withdrawn   batch: what was approved of it before counts no more
//! outcomes                                            batch, approval: the indexes of the entries `approved` that they rest on
//! ```
//!
//! An approval counts when it stands before the intent and nothing that ends it stands between the two. How many are needed, and for how long they
//! hold, stands in the schedule: `audit replay` derives that.

use std::collections::HashMap;

use super::entry::Kind;
use super::fields::{read, scan, text};
use super::meaning::{Id, id};

/// A decision as an entry has it.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    batch: Id,
    approves: bool,
    dataset: Id,
    class: Id,
    person: Id,
    name: Id,
}

/// What an outcome rests on.
#[derive(Clone, Debug)]
pub(super) struct Approval {
    pub(super) batch: Id,
    pub(super) entries: Vec<u64>,
}

impl Decided {
    /// Reads the body of a decision, strictly.
    pub(super) fn parse(kind: Kind, line: &str) -> Result<Self, String> {
        let mut found: [Option<String>; 6] = Default::default();
        let names = ["batch", "store", "dataset", "class", "person", "name"];
        scan(line, |name, value| {
            if let Some(at) = names.iter().position(|known| *known == name) {
                found[at] = Some(text(value)?.into_owned());
            }
            Ok(())
        })?;
        let [batch, store, dataset, class, person, name] = found;
        let need =
            |value: Option<String>, what: &str| value.ok_or_else(|| format!("expected `{what}` in an entry of kind {kind}, found none"));
        let name = need(name, "name")?.to_lowercase();
        let person = need(person, "person")?;
        if kind == Kind::Approved && (name.trim().is_empty() || person.is_empty()) {
            return Err("expected `name` and `person` of somebody in an entry of kind approved, found nobody".to_owned());
        }
        Ok(Self {
            batch: id(&[&need(batch, "batch")?]),
            approves: kind == Kind::Approved,
            dataset: id(&[&format!("{}/{}", need(store, "store")?, need(dataset, "dataset")?)]),
            class: id(&[&need(class, "class")?]),
            person: id(&[&person]),
            name: id(&[name.trim()]),
        })
    }
}

impl Approval {
    /// Of the fields of an outcome.
    pub(super) fn parse(batch: Option<&str>, entries: Option<&str>) -> Result<Option<Box<Self>>, String> {
        match (batch, entries) {
            (Some(batch), Some(entries)) => Ok(Some(Box::new(Self { batch: id(&[batch]), entries: read(entries)? }))),
            (None, None) => Ok(None),
            _ => Err("expected `batch` and `approval` together".to_owned()),
        }
    }
}

/// What people decided, by batch, as far as the log was read: a few numbers for each decision.
#[derive(Clone, Debug, Default)]
pub(super) struct Reviews(HashMap<Id, Vec<(u64, Decided)>>);

impl Reviews {
    pub(super) fn decide(&mut self, n: u64, decided: Decided) {
        self.0.entry(decided.batch).or_default().push((n, decided));
    }

    /// Why an outcome does not rest on what it names; the words complete "destroyed, but ...".
    pub(super) fn check(&self, approval: &Approval, intent: u64, dataset: &Id, class: Option<&Id>) -> Result<(), String> {
        let all = self.0.get(&approval.batch).map_or(&[][..], Vec::as_slice);
        let mut people: Vec<&Decided> = Vec::new();
        for entry in &approval.entries {
            let named = all.iter().find(|(n, one)| n == entry && one.approves && *n < intent);
            let Some((_, one)) = named else {
                return Err(format!("entry {entry} is no approval of its review batch before its intent, entry {intent}"));
            };
            if one.dataset != *dataset || class.is_some_and(|class| one.class != *class) {
                return Err(format!("the approval of entry {entry} is about another dataset or class"));
            }
            if let Some((end, _)) = all.iter().find(|(n, one)| !one.approves && *n > *entry && *n < intent) {
                return Err(format!("the approval of entry {entry} was ended by entry {end}, before its intent, entry {intent}"));
            }
            if people.iter().any(|other| other.person == one.person || other.name == one.name) {
                return Err(format!("the approval of entry {entry} is by somebody who had approved already"));
            }
            people.push(one);
        }
        if people.is_empty() { Err("it names no approval of its review batch".to_owned()) } else { Ok(()) }
    }
}
