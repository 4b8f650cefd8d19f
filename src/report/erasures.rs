//! What a request for erasure came to, for people and programs.

use std::path::Path;

use serde_json::{Value, json};

use super::{bytes, count, text::program};
use crate::erasure::case::asked_of_people;
use crate::erasure::{Case, Decided, Decision};
use crate::error::escape;
use crate::session::ErasureSeen;

/// Records told at once.
const LINES: usize = 100;

/// What is said of so many records with this decision.
fn words(decision: Decision, done: bool) -> &'static str {
    match (decision, done) {
        (Decision::Destroy, false) => "to be destroyed",
        (Decision::Destroy, true) => "decided to be destroyed",
        (Decision::Anonymise, false) => "to be anonymised",
        (Decision::Anonymise, true) => "decided to be anonymised",
        (Decision::Wait, _) => "due, and waiting for people",
        (Decision::Refuse, _) => "refused",
        (Decision::Restrict, false) => "to be restricted",
        (Decision::Restrict, true) => "restricted",
    }
}

/// Every record with what is decided about it, in groups: as text, and as a list of JSON objects.
pub fn erasure_cases(seen: &ErasureSeen) -> Vec<(String, Value)> {
    let line = |case: &Case| {
        let decided = &case.decided;
        format!("{}\t{}\t{}", decided.decision.as_str(), case.address(), escape(decided.why.as_bytes()))
    };
    let row = |case: &Case| {
        let decided = &case.decided;
        let facts = case.deciding.as_ref();
        json!({
            "address": case.address().to_string(), "decision": decided.decision.as_str(), "ground": decided.ground.as_str(), "why": decided.why,
            "classes": case.says.iter().filter_map(|one| Some(one.rule.as_ref()?.class.id.to_string())).collect::<Vec<_>>(),
            "hold": decided.hold.as_ref().map(|(id, _)| id), "due": facts.map(|facts| facts.due.to_string()), "size": case.record.size,
        })
    };
    let told = |cases: &[Case]| {
        let lines: Vec<String> = cases.iter().map(line).collect();
        (lines.join("\n"), Value::Array(cases.iter().map(row).collect()))
    };
    seen.cases.chunks(LINES).map(told).collect()
}

fn quoted(word: &str) -> String {
    let shown = escape(word.as_bytes());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@+".contains(c);
    if shown.chars().all(plain) { shown } else { format!("'{}'", shown.replace('\'', "'\\''")) }
}

/// What was found in each dataset, the numbers, and how to carry it out.
pub fn erasure_seen(seen: &ErasureSeen, subject: &str, config: &Path) -> (String, Value) {
    let mut lines = Vec::new();
    for one in &seen.datasets {
        lines.push(format!("{}: {}", one.dataset.address, count(one.records, "record")));
        let incomplete = one.incomplete.as_ref().map(|why| format!("  it could NOT be seen completely: {}", escape(why.as_bytes())));
        let blocked = one.blocked.as_ref().map(|why| format!("  nothing would be destroyed there now: {why}"));
        let over = one.over.as_ref().map(|over| {
            let (goes, all) = (over.due, over.population);
            format!("  {goes} of {all} records would go, more than the limit of {}: --beyond-limits says that it is meant", over.limits)
        });
        lines.extend(incomplete.into_iter().chain(blocked).chain(over));
    }
    let numbers: Vec<(Decision, u64)> = Decision::ALL.map(|decision| (decision, seen.count(decision))).into();
    let told: Vec<String> = numbers
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(decision, number)| format!("{number} {}", words(*decision, false)))
        .collect();
    let size: u64 = seen.cases.iter().filter(|case| case.decided.decision.act().is_some()).map(|case| case.record.size).sum();
    let size = if size > 0 { format!(" ({})", bytes(size)) } else { String::new() };
    let all = format!("{} in {}", count(seen.cases.len() as u64, "record"), count(seen.datasets.len() as u64, "dataset"));
    lines.push(if told.is_empty() { all } else { format!("{all}: {}{size}", told.join(", ")) });
    if !seen.not_searched.is_empty() {
        lines.push(format!("NOT searched, for their records name no subject: {}", seen.not_searched.join(", ")));
    }
    let (terms, _) = asked_of_people(&seen.cases);
    let people = terms.iter().map(|terms| terms.approvals).max().unwrap_or(1);
    if !seen.cases.is_empty() {
        let two = if people > 1 { " (two people have to, each with an account of their own)" } else { "" };
        lines.push(format!(
            "nothing was done yet; to carry out exactly this{two}: {} subject erase {} --confirm {} --person NAME --matter REFERENCE",
            program(config),
            quoted(subject),
            seen.short()
        ));
    }
    let datasets: Vec<Value> = seen
        .datasets
        .iter()
        .map(|one| {
            json!({
                "dataset": one.dataset.address, "records": one.records, "goes": one.goes, "incomplete": one.incomplete, "blocked": one.blocked,
                "over-limits": one.over.is_some(),
            })
        })
        .collect();
    let counts: serde_json::Map<String, Value> =
        numbers.into_iter().map(|(decision, number)| (decision.as_str().to_owned(), json!(number))).collect();
    let json = json!({
        "erasure": seen.id, "datasets": datasets, "records": seen.cases.len(), "decisions": counts, "not_searched": seen.not_searched,
        "people": people,
    });
    (lines.join("\n"), json)
}

/// That a first person confirmed, and a second one has to.
pub fn erasure_waits(seen: &ErasureSeen, entry: u64) -> (String, Value) {
    let text = format!(
        "your word stands in the log (entry {entry}); a second person, with another account and another name, confirms {} as well, and it is carried out",
        seen.short()
    );
    (text, json!({"erasure": seen.id, "decided": false, "entry": entry}))
}

/// That every decision is in the log.
pub fn erasure_decided(seen: &ErasureSeen, restricted: u64) -> (String, Value) {
    let told: Vec<String> = Decision::ALL
        .iter()
        .filter(|decision| seen.count(**decision) > 0)
        .map(|decision| format!("{} {}", seen.count(*decision), words(*decision, true)))
        .collect();
    let text = format!("decided, and in the log: {}", told.join(", "));
    (text, json!({"erasure": seen.id, "decided": true, "restricted": restricted}))
}

/// What a request for erasure would be answered about one record, in a line of `explain`.
pub fn on_erasure(decided: &Decided, names_subjects: bool) -> String {
    let what = match decided.decision {
        Decision::Destroy => "it would be destroyed",
        Decision::Anonymise => "it would be anonymised",
        Decision::Wait => "it would wait for people",
        Decision::Refuse => "it would be refused",
        Decision::Restrict => "it would be kept, and restricted by a hold",
    };
    let found = if names_subjects { "" } else { " (its dataset names no subjects, so `subject erase` does not find it)" };
    format!("  on a request for erasure {what}: {}{found}", escape(decided.why.as_bytes()))
}
