//! Results as JSON, for programs. Keys are stable: they are part of the interface.

use serde_json::{Value, json};

use crate::audit::Verified;
use crate::config::Dataset;
use crate::error::Result;
use crate::judge::{Reason, Verdict};
use crate::plan::OverLimit;
use crate::scan::Planned;
use crate::session::{End, Ran};
use crate::spool::Spool;

/// A verdict with its reasons.
pub fn verdict(verdict: &Verdict) -> Value {
    json!({
        "standing": verdict.standing.as_str(),
        "then": verdict.then.map(crate::schedule::Disposition::as_str),
        "class": verdict.deciding.as_ref().map(|facts| facts.class.as_str()),
        "event": verdict.deciding.as_ref().map(|facts| facts.event.as_str()),
        "event_date": verdict.deciding.as_ref().map(|facts| facts.event_date.to_string()),
        "due": verdict.deciding.as_ref().map(|facts| facts.due.to_string()),
        "overdue": verdict.is_overdue(),
        "no_longer_than": verdict.ceiling.map(|(day, _)| day.to_string()),
        "reasons": verdict.reasons.iter().map(Reason::to_string).collect::<Vec<_>>(),
    })
}

/// What a plan of one dataset says.
pub fn planned(dataset: &Dataset, planned: &Planned, allow: Option<&str>) -> Result<Value> {
    let id = planned.plan.as_ref().map(Spool::id).transpose()?;
    let over = planned.tally.over(&dataset.limits);
    Ok(json!({
        "dataset": dataset.address,
        "mode": dataset.mode.as_str(),
        "plan": id,
        "tally": planned.tally,
        "limits": dataset.limits.to_string(),
        "window": dataset.window_shown(),
        "over": over,
        "refused": over.as_ref().map(OverLimit::to_string),
        "allow": allow,
        "incomplete": planned.incomplete,
        "findings": planned.findings,
    }))
}

/// What a run over one dataset did.
pub fn ran(ran: &Ran) -> Value {
    let mut value = json!({
        "run": ran.run,
        "dataset": ran.dataset.address,
        "mode": ran.dataset.mode.as_str(),
        "end": ran.end.word(),
        "counts": ran.counts(),
        "tally": ran.tally,
        "findings": ran.findings,
    });
    match &ran.end {
        End::Reported(over) => value["over"] = json!(over),
        End::Spent(spent) => {
            value["bytes"] = json!(spent.bytes);
            value["stopped"] = json!(super::stopped(ran));
            value["purged"] = json!(spent.purged.as_ref().map(|(what, done)| json!({"what": what, "error": done.as_ref().err()})));
            value["uncertain"] = json!(spent.open());
            value["troubles"] = json!(spent.troubles.iter().map(|(text, times)| json!({"what": text, "times": times})).collect::<Vec<_>>());
        }
        End::Refused { plan, over } => {
            value["plan"] = json!(plan);
            value["over"] = json!(over);
        }
        End::Incomplete(why) => value["incomplete"] = json!(why),
        End::Paused(why) => value["paused"] = json!(why),
    }
    value
}

/// What verifying the log brought.
pub fn verified(verified: &Verified) -> Value {
    let kinds: serde_json::Map<String, Value> =
        verified.entries_by_kind.iter().map(|(kind, count)| (kind.as_str().to_owned(), json!(count))).collect();
    json!({
        "intact": true,
        "origin": verified.origin,
        "size": verified.size,
        "root": verified.root,
        "entries": kinds,
        "first_at": verified.first_at,
        "last_at": verified.last_at,
        "unpublished": verified.unpublished,
        "open_intents": verified.open_intents,
        "rotations": verified.rotations,
        "archived": verified.archived,
        "absent": verified.absent,
    })
}
