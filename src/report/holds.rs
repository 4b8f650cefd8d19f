//! Holds, as people read them.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::count;
use crate::config::Config;
use crate::error::escape;
use crate::hold::{EventRange, Hold, HoldKind};
use crate::protect::Protected;
use crate::session::{HoldOrder, NamedHold};

/// What was done about holds.
///
/// `adrift` are records by dataset of whose removal nobody knows whether it came to pass: a hold that is placed cannot promise that they stay.
pub fn hold_order(order: &HoldOrder, holds: &[NamedHold], config: &Config, adrift: &[(String, u64)]) -> String {
    let mut out = String::new();
    for one in holds {
        let NamedHold { hold, .. } = one;
        match order {
            HoldOrder::Place { .. } => {
                let _ = writeln!(out, "{} is in force: {} hold on {}, {}", hold.id, hold.kind, scope(one), lasts(hold));
            }
            HoldOrder::Extend { .. } => {
                let review = hold.about.review.map(|day| format!(", to be reviewed by {day}")).unwrap_or_default();
                let _ = writeln!(out, "{} is in force, {}{review}", hold.id, lasts(hold));
            }
            HoldOrder::Release { .. } => {
                let _ = writeln!(out, "{} is released: {}; what is due of it goes at the next run", hold.id, scope(one));
            }
        }
    }
    let by_subject = |one: &NamedHold| one.hold.scope.subject.is_some() && one.hold.scope.dataset.is_none();
    if matches!(order, HoldOrder::Place { .. }) && holds.iter().any(by_subject) {
        let (named, nameless): (Vec<_>, Vec<_>) = config.datasets.iter().partition(|dataset| dataset.subject.is_some());
        let list = |datasets: &[&std::sync::Arc<crate::config::Dataset>]| {
            datasets.iter().map(|dataset| dataset.address.as_str()).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(out, "a hold on a subject reaches {}", list(&named));
        if !nameless.is_empty() {
            let _ = writeln!(out, "it does NOT reach {}, whose records name no subject", list(&nameless));
        }
    }
    for (dataset, records) in adrift.iter().filter(|_| matches!(order, HoldOrder::Place { .. })) {
        let _ = writeln!(
            out,
            "NOT promised for {} of {dataset}: their removal had begun before, and the store was lost before it said what became of them; \
             recovery looks as soon as the store answers, and `status` and the log tell",
            count(*records, "record")
        );
    }
    out.pop();
    out
}

/// The holds in force, for people.
pub fn hold_list(holds: &[NamedHold], now: Timestamp) -> String {
    if holds.is_empty() {
        return "no holds are in force".into();
    }
    let mut out = String::new();
    for one in holds {
        let NamedHold { hold, .. } = one;
        let state = if hold.is_surely_over(now) { " (OVER: protects nothing any more)" } else { "" };
        let _ = writeln!(out, "{} {} hold on {}, {}{state}", hold.id, hold.kind, scope(one), lasts(hold));
        details(&mut out, hold, now);
    }
    let overdue = holds.iter().filter(|one| one.hold.review_is_overdue(now)).count();
    let _ = write!(out, "{}", count(holds.len() as u64, "hold"));
    if overdue > 0 {
        let _ = write!(out, "; the review of {overdue} is OVERDUE: `hold extend` or `hold release`");
    }
    out
}

fn details(out: &mut String, hold: &Hold, now: Timestamp) {
    let about = &hold.about;
    let safe = |text: &Option<String>| text.as_deref().map(|text| escape(text.as_bytes()));
    let kind: Option<HoldKind> = hold.kind.parse().ok();
    if let Some(kind) = kind {
        let _ = writeln!(out, "  {kind}: {}", kind.meaning());
    }
    if let Some(matter) = safe(&about.matter) {
        let _ = writeln!(out, "  matter {matter}");
    }
    if let Some(reason) = safe(&about.reason) {
        let _ = writeln!(out, "  because: {reason}");
    }
    if let (Some(owner), Some(person)) = (safe(&about.owner), safe(&about.person)) {
        let at = about.at.as_deref().unwrap_or_default();
        let _ = writeln!(out, "  owner {owner}; placed or last changed {at} by {person}");
    }
    if let Some(review) = about.review {
        let overdue = if hold.review_is_overdue(now) { ": OVERDUE" } else { "" };
        let _ = writeln!(out, "  to be reviewed by {review}{overdue}");
    }
}

fn lasts(hold: &Hold) -> String {
    hold.until.map_or_else(|| "until it is released".to_owned(), |until| format!("until the end of {until}"))
}

/// What a hold protects, in words; plain names where they are known.
fn scope(one: &NamedHold) -> String {
    let NamedHold { hold, names } = one;
    let named = |plain: &Option<String>, pseudonym: &Option<String>| {
        let plain = plain.as_deref().map(|name| escape(name.as_bytes()));
        plain.or_else(|| pseudonym.as_deref().map(|name| escape(name.as_bytes())))
    };
    let scope = &hold.scope;
    let mut parts = Vec::new();
    if let Some(subject) = named(&names.subject, &scope.subject) {
        parts.push(format!("subject {subject}"));
    }
    if let Some(record) = named(&names.record, &scope.record) {
        parts.push(format!("record {record}"));
    }
    if let Some(class) = &scope.class {
        parts.push(format!("class {}", escape(class.as_bytes())));
    }
    if let (Some(dataset), None) = (&scope.dataset, &scope.record) {
        parts.push(format!("dataset {}", escape(dataset.as_bytes())));
    }
    if let Some(EventRange { event, from, to }) = &scope.events {
        let event = event.as_deref().map_or("events".to_owned(), |event| escape(event.as_bytes()));
        let from = from.map(|day| format!(" from {day}")).unwrap_or_default();
        let to = to.map(|day| format!(" to {day}")).unwrap_or_default();
        parts.push(format!("{event}{from}{to}"));
    }
    if parts.is_empty() { "everything".into() } else { parts.join(" and ") }
}

/// Holds for programs.
pub fn holds_json(holds: &[NamedHold]) -> Value {
    holds.iter().map(json_of).collect()
}

fn json_of(one: &NamedHold) -> Value {
    let NamedHold { hold, names } = one;
    let Value::Object(mut body) = hold.to_body() else { return Value::Null };
    body.insert("at".into(), json!(hold.about.at));
    let plain: Map<String, Value> = [("subject", &names.subject), ("record", &names.record)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))))
        .collect();
    body.insert("names".into(), Value::Object(plain));
    Value::Object(body)
}

/// What holds protect now.
pub fn protected(found: &[Protected]) -> String {
    let mut out = String::new();
    for one in found {
        let _ = write!(out, "  {}: ", one.dataset);
        let _ = match (&one.incomplete, one.records) {
            (None, 0) => writeln!(out, "nothing"),
            (None, records) => writeln!(out, "{}, {} of them due but for this", count(records, "record"), one.due),
            (Some(why), records) => {
                writeln!(out, "at least {}, for it could not be seen completely: {}", count(records, "record"), escape(why.as_bytes()))
            }
        };
    }
    let _ = write!(out, "it protects {} now", count(found.iter().map(|one| one.records).sum(), "record"));
    out
}
