//! One record of a request for erasure: what was found, what was decided, and how the log says it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Decided, Decision, Ground, Seen, decide};
use crate::assess::{Assessment, Says};
use crate::audit::{EpochKey, plain_record};
use crate::config::{Dataset, KeyNames};
use crate::error::hex;
use crate::judge::Deciding;
use crate::record::{Address, Record};
use crate::schedule::{Disposition, Terms};

/// Digits of a request's id that people use.
pub const SHORT: usize = 16;

/// The longest reason that goes into an entry, in bytes.
const WHY: usize = 4000;

/// See the file's header.
#[derive(Clone)]
pub struct Case {
    /// The record's dataset.
    pub dataset: Arc<Dataset>,
    /// The record as the scan saw it.
    pub record: Record,
    /// Its name in the log.
    pub name: String,
    /// Its fingerprint, as a pseudonym: what it was like when it was decided about, for whoever has the key and nobody else.
    pub state: String,
    /// The period that keeps it longest, where one runs or is over.
    pub deciding: Option<Deciding>,
    /// Every class that was asked.
    pub says: Vec<Says>,
    /// What was decided.
    pub decided: Decided,
}

/// What a person says who carries a request out, and what else all of its entries have in common.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    /// The request's id.
    pub id: &'a str,
    /// The pseudonym of the person or tenancy.
    pub subject: &'a str,
    /// The name that was given.
    pub name: &'a str,
    /// The account.
    pub person: &'a str,
    /// The reference of the request.
    pub matter: &'a str,
    /// Why, where it was said.
    pub reason: Option<&'a str>,
    /// Entries of others who approved it.
    pub approvals: &'a [u64],
    /// For how long an edit does not count, in seconds.
    pub edit_delay: u64,
    /// The person said that what goes may be more than the limits of its dataset, and it is.
    pub beyond_limits: bool,
    /// Which program.
    pub by: &'a str,
}

impl Case {
    /// Decides about a record that a scan found.
    pub fn of(dataset: &Arc<Dataset>, epoch: &EpochKey, record: Record, assessment: &Assessment, says: Vec<Says>, seen: Seen<'_>) -> Self {
        let key = record.key.as_bytes();
        let name = match dataset.keys {
            KeyNames::Plain => plain_record(key),
            KeyNames::Pseudonym => epoch.record(dataset.store.name(), &dataset.name, key),
        };
        // No store's name and no dataset's are these, so the name is no record's.
        let state = epoch.record("state of", &dataset.address, &record.fingerprint);
        let verdict = &assessment.verdict;
        let decided = decide(verdict, &says, seen);
        Self { dataset: Arc::clone(dataset), name, state, deciding: verdict.deciding.clone(), says, decided, record }
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        Address { store: self.dataset.store.name().to_owned(), dataset: self.dataset.name.clone(), key: self.record.key.clone() }
    }

    /// Whether it is destroyed although no run would destroy it.
    pub fn is_early(&self) -> bool {
        (self.decided.decision, self.decided.ground) == (Decision::Destroy, Ground::Class)
    }

    /// The body of its entry `erasure-decided`.
    pub fn body(&self, words: &Words<'_>) -> Value {
        let rule = |one: &Says| {
            let mut rule = json!({"dataset": one.dataset, "says": one.answer().as_str()});
            if let Some(known) = &one.rule {
                rule["class"] = json!(known.class.id.as_str());
                rule["schedule"] = json!(&*known.schedule.sha256);
            }
            if let Some(until) = one.until {
                rule["until"] = json!(format!("{until:.3}"));
            }
            rule
        };
        let why = &self.decided.why;
        let cut = (0..=WHY.min(why.len())).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
        let mut body = json!({
            "erasure": words.id, "subject": words.subject, "store": self.dataset.store.name(), "dataset": self.dataset.name,
            "record": self.name, "state": self.state, "decision": self.decided.decision.as_str(), "ground": self.decided.ground.as_str(),
            "why": &why[..cut], "rules": self.says.iter().map(rule).collect::<Vec<_>>(), "edit_delay": words.edit_delay,
            "name": words.name, "person": words.person, "matter": words.matter, "by": words.by,
        });
        if let Some(facts) = &self.deciding {
            body["class"] = json!(facts.class.as_str());
            body["schedule"] = json!(&*facts.schedule);
            body["event"] = json!(facts.event.as_str());
            body["event_date"] = json!(facts.event_date.to_string());
            body["due"] = json!(facts.due.to_string());
        }
        if let Some((hold, _)) = &self.decided.hold {
            body["hold"] = json!(hold);
        }
        if let Some(reason) = words.reason {
            body["reason"] = json!(reason);
        }
        if words.beyond_limits {
            body["beyond_limits"] = json!(true);
        }
        if self.is_early() && !words.approvals.is_empty() {
            body["approvals"] = json!(words.approvals);
        }
        body
    }
}

/// The id of exactly these cases, 64 hexadecimal digits: SHA-256 over "retentiond erasure 1\n" and then, each as its length (u64 LE) and its bytes, the
/// subject's pseudonym; the addresses of datasets that could not be seen completely; and of each case, by dataset and key, its names, what was decided
/// and why, and each class that was asked with the hash of its schedule.
pub fn id_of(subject: &str, incomplete: &[String], cases: &[Case]) -> String {
    let mut hash = Sha256::new();
    hash.update("retentiond erasure 1\n");
    let mut take = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    take(subject);
    take(&incomplete.len().to_string());
    incomplete.iter().for_each(|address| take(address));
    let mut sorted: Vec<&Case> = cases.iter().collect();
    sorted.sort_by(|one, other| (&one.dataset.address, &one.record.key).cmp(&(&other.dataset.address, &other.record.key)));
    for case in sorted {
        for text in [&*case.dataset.address, &case.name, &case.state, case.decided.decision.as_str(), case.decided.ground.as_str()] {
            take(text);
        }
        take(&case.decided.why);
        let facts = case.deciding.as_ref();
        take(&facts.map_or_else(String::new, |facts| format!("{} {} {} {}", facts.class, facts.schedule, facts.event, facts.due)));
        take(&case.says.len().to_string());
        for one in &case.says {
            take(one.answer().as_str());
            take(&one.rule.as_ref().map_or_else(String::new, |rule| format!("{} {}", rule.class.id, rule.schedule.sha256)));
        }
    }
    hex(&hash.finalize())
}

/// What the classes of the records that go early ask of people before that, without a cooling-off, for the person who asked waits; and the schedules whose
/// editors may not be among them.
pub fn asked_of_people(cases: &[Case]) -> (Vec<Terms>, BTreeSet<String>) {
    let (mut asked, mut edited) = (Vec::new(), BTreeSet::new());
    for rule in cases.iter().filter(|case| case.is_early()).flat_map(|case| &case.says).filter_map(|one| one.rule.as_ref()) {
        let terms = Terms { cooling_off: None, ..rule.class.review };
        if rule.class.then == Some(Disposition::Review) && !asked.contains(&terms) {
            asked.push(terms);
        }
        if terms.not_the_editor {
            edited.insert(rule.schedule.id.clone());
        }
    }
    (asked, edited)
}
