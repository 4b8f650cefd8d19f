//! How the service stands, as text for people.

use std::fmt::Write as _;

use crate::control::Status;
use crate::control::status::Dataset;
use crate::error::escape;

/// The answer of `status`.
pub fn status(status: &Status) -> String {
    let mut out = String::new();
    match &status.service {
        None => out.push_str("no service runs\n"),
        Some(service) => {
            let _ = writeln!(out, "service {} runs as process {} since {}", service.version, service.pid, service.since);
            let _ = writeln!(out, "  schedule and configuration of {}", service.loaded);
            if let Some(why) = &service.reload_refused {
                let _ = writeln!(out, "  the last reload was REFUSED, what was in force stays in force:");
                for line in why.lines() {
                    let _ = writeln!(out, "    {}", escape(line.as_bytes()));
                }
            }
            if service.stopping {
                out.push_str("  it is about to end\n");
            }
        }
    }
    for pause in &status.pauses {
        let what = pause.store.as_deref().map_or("everything".to_owned(), |store| format!("store {}", escape(store.as_bytes())));
        let (person, reason) = (escape(pause.person.as_bytes()), escape(pause.reason.as_bytes()));
        let _ = writeln!(out, "PAUSED: {what}, since {} by {person}: {reason}", pause.since);
    }
    if status.holds > 0 {
        let _ = writeln!(out, "{} in force", super::count(status.holds, "hold"));
    }
    if !status.holds_to_review.is_empty() {
        let ids: Vec<String> = status.holds_to_review.iter().map(|id| escape(id.as_bytes())).collect();
        let _ = writeln!(out, "OVERDUE for review: {}; `hold list` shows them", ids.join(", "));
    }
    if let Some(edit) = &status.edit {
        let _ = writeln!(
            out,
            "what became due only through edit {} waits until {}; `schedule confirm {}` confirms it",
            edit.id, edit.until, edit.id
        );
    }
    if let Some(reviews) = &status.reviews {
        let since = escape(reviews.since.as_bytes());
        let records = super::count(reviews.records, "record");
        let _ = writeln!(
            out,
            "review batches that wait for people: {}, with {records}, since {since}; `review list` shows them",
            reviews.batches
        );
    }
    status.datasets.iter().for_each(|row| dataset(&mut out, row));
    out
}

fn dataset(out: &mut String, row: &Dataset) {
    let _ = write!(out, "{} ({} mode", row.dataset, row.mode);
    let _ = match (&row.scan, &row.next) {
        (Some(scan), Some(next)) => writeln!(out, ", \"{scan}\", next at {next})"),
        (Some(scan), None) => writeln!(out, ", \"{scan}\")"),
        (None, _) => writeln!(out, ", no timetable)"),
    };
    if let Some(run) = &row.running {
        let _ = match run.planned {
            0 => writeln!(out, "  running since {}: {} records seen", run.since, run.seen),
            planned => writeln!(out, "  running since {}: {} of {planned} records done", run.since, run.done),
        };
    }
    match &row.last {
        None => out.push_str("  never run\n"),
        Some(last) => {
            let how = match (&last.how, &last.ended) {
                (Some(how), Some(ended)) => format!("{how} at {ended}"),
                _ if row.running.is_some() => "under way".to_owned(),
                _ => "not ended".to_owned(),
            };
            let _ = writeln!(out, "  last run began {}: {}", last.began, escape(how.as_bytes()));
        }
    }
    if let Some(why) = &row.why {
        let times = match row.failures {
            0 => "waits".to_owned(),
            1 => "could not be run".to_owned(),
            many => format!("could not be run, {many} times in a row"),
        };
        let _ = writeln!(out, "  {times}: {}", escape(why.as_bytes()));
    }
}
