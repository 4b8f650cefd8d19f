//! Results as text for people.

use std::fmt::Write;
use std::path::Path;

use super::{bytes, count};
use crate::assess::Assessment;
use crate::audit::{Entry, Kind as EntryKind, Verified};
use crate::compare::{Change, Compared};
use crate::config::{Config, Dataset};
use crate::error::{DONE, FINDINGS, escape};
use crate::finding::{Finding, Severity};
use crate::judge::Standing;
use crate::plan::Tally;
use crate::record::{Address, Record};
use crate::replay::{Mismatch, Replayed};
use crate::scan::Planned;
use crate::session::{Attested, Edit, End, Ran};
use crate::store::Found;

/// One finding in a line.
pub fn finding(finding: &Finding) -> String {
    format!("{}: {}: {}", finding.severity.as_str(), escape(finding.about.as_bytes()), finding.message)
}

/// The answer of `check`.
pub fn check(config: &Config, findings: &[Finding], opened: bool) -> String {
    let mut out = String::new();
    for one in findings {
        line(&mut out, &finding(one));
    }
    let classes = config.schedules.class_ids().count();
    let enforced = config.datasets.iter().filter(|dataset| dataset.mode == crate::config::Mode::Enforce).count();
    line(
        &mut out,
        &format!(
            "{}: {} in {}, {} in {}; {} of the datasets in enforce mode",
            config.file,
            plural(classes, "class", "classes"),
            plural(config.schedules.all.len(), "schedule", "schedules"),
            plural(config.datasets.len(), "dataset", "datasets"),
            plural(config.stores.len(), "store", "stores"),
            enforced,
        ),
    );
    if !opened {
        line(&mut out, "the stores were not opened; `check --connect` looks whether they are there and hold what the datasets name");
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let _ = write!(
        out,
        "{}, {}, {}",
        plural(count(Severity::Blocks), "blocking finding", "blocking findings"),
        plural(count(Severity::Warning), "warning", "warnings"),
        plural(count(Severity::Note), "note", "notes")
    );
    out
}

fn plural(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn heading(dataset: &Dataset) -> String {
    let rules: Vec<String> = dataset.rules().iter().map(|rule| format!("{} ({})", rule.class.id, rule.class.keep)).collect();
    format!("{}: {}", dataset.address, rules.join(", "))
}

fn tally_lines(out: &mut String, tally: &Tally) {
    let least = if tally.population_is_least { "at least " } else { "" };
    line(out, &format!("  {least}{}", count(tally.population, "record")));
    let due = [
        (tally.destroy, "to be destroyed"),
        (tally.anonymise, "to be anonymised"),
        (tally.by_hand, "to be destroyed by people"),
        (tally.review, "waiting for review"),
        (tally.flag, "flagged as expired"),
    ];
    for (number, what) in due.into_iter().filter(|(number, _)| *number > 0) {
        let size = if what == "to be destroyed" && tally.bytes > 0 { format!(", {}", bytes(tally.bytes)) } else { String::new() };
        line(out, &format!("  {number} due, {what}{size}"));
    }
    if tally.due() == 0 {
        line(out, "  none due");
    }
    if let Some(oldest) = tally.oldest {
        line(out, &format!("  oldest event among them: {oldest}"));
    }
    if tally.attested > 0 {
        line(out, &format!("  {} destroyed by people, and still in the list", tally.attested));
    }
    if tally.held > 0 {
        line(out, &format!("  {} kept under a hold", tally.held));
    }
    if tally.waiting > 0 {
        line(out, &format!("  {} kept for now, because only an edit of the schedule made them due", tally.waiting));
    }
    if tally.overdue > 0 {
        line(out, &format!("  {} overdue: present past the ceiling of the schedule", tally.overdue));
    }
    let rest = tally.population.saturating_sub(tally.due() + tally.attested + tally.held + tally.waiting + tally.undetermined);
    if rest > 0 {
        line(out, &format!("  {least}{rest} kept, because their period is running or has not begun"));
    }
    if tally.undetermined > 0 {
        line(out, &format!("  {} kept because something cannot be told:", tally.undetermined));
        for (why, times) in &tally.doubts {
            line(out, &format!("    {times} × {}", escape(why.as_bytes())));
        }
    }
}

/// The command that allows a refused plan.
pub fn allow_command(config: &Path, plan: &str) -> String {
    format!("{} run --allow {plan}", program(config))
}

/// How many records wait through an edit, and how a person confirms it.
pub fn waiting(records: u64, edit: &Edit, config: &Path) -> String {
    format!(
        "{} due only through an edit; they wait until {:.0} at the latest. If the edit is meant, confirm it: {} schedule confirm {}",
        if records == 1 { "1 record is".to_owned() } else { format!("{records} records are") },
        edit.until,
        program(config),
        edit.id
    )
}

pub(super) fn program(config: &Path) -> String {
    if config == Path::new(crate::config::DEFAULT_FILE) {
        return "retentiond".to_owned();
    }
    format!("retentiond --config {}", escape(config.as_os_str().as_encoded_bytes()))
}

/// The plan of one dataset.
pub fn planned(dataset: &Dataset, planned: &Planned, allow: Option<&str>) -> String {
    let mut out = String::new();
    line(&mut out, &heading(dataset));
    for one in &planned.findings {
        line(&mut out, &format!("  {}", finding(one)));
    }
    if let Some(why) = &planned.incomplete {
        line(&mut out, &format!("  no plan, nothing would be done: {}", escape(why.as_bytes())));
        return out;
    }
    tally_lines(&mut out, &planned.tally);
    let over = planned.tally.over(&dataset.limits);
    if let Some(window) = dataset.window_shown().filter(|_| dataset.mode == crate::config::Mode::Enforce && planned.tally.disposed() > 0) {
        line(&mut out, &format!("  only within its window {window}"));
    }
    match (dataset.mode, over) {
        (crate::config::Mode::Report, None) => line(&mut out, "  report mode: a run would only report this"),
        (crate::config::Mode::Report, Some(over)) => {
            line(&mut out, &format!("  report mode: a run would only report this; in enforce mode it would refuse: {over}"));
        }
        (crate::config::Mode::Enforce, None) if planned.tally.disposed() > 0 => {
            line(&mut out, &format!("  a run would do this (limit: {})", dataset.limits));
        }
        (crate::config::Mode::Enforce, None) if planned.tally.by_hand > 0 => line(&mut out, "  a run would make these tasks of people"),
        (crate::config::Mode::Enforce, None) => {}
        (crate::config::Mode::Enforce, Some(over)) => {
            line(&mut out, &format!("  a run would refuse: {over}"));
            match allow {
                Some(command) => line(&mut out, &format!("  to allow exactly this plan: {command}")),
                None => line(&mut out, "  the run that refuses will say how to allow exactly that plan"),
            }
        }
    }
    out
}

/// One record of a listing.
pub fn listed(dataset: &Dataset, record: &Record, assessment: &Assessment, json: bool) -> String {
    let address = Address { store: dataset.store.name().to_owned(), dataset: dataset.name.clone(), key: record.key.clone() };
    if json {
        let mut value = super::verdict_json(&assessment.verdict);
        value["address"] = serde_json::json!(address.to_string());
        return value.to_string();
    }
    let reasons: Vec<String> = assessment.verdict.reasons.iter().map(|reason| escape(reason.to_string().as_bytes())).collect();
    let then = assessment.verdict.then.map_or(String::new(), |then| format!(" → {}", then.as_str()));
    format!("{}{then}\t{address}\t{}", assessment.verdict.standing.as_str(), reasons.join("; "))
}

/// One record that an edit changes.
pub fn changed(change: Change, dataset: &Dataset, record: &Record, after: &Assessment, json: bool) -> String {
    let line = listed(dataset, record, after, json);
    if !json {
        return format!("{}\t{line}", change.as_str());
    }
    // What `listed` makes is an object.
    line.replacen('{', &format!("{{\"change\":\"{}\",", change.as_str()), 1)
}

/// What an edited schedule would change in one dataset.
pub fn compared(dataset: &Dataset, compared: &Compared) -> String {
    let mut out = String::new();
    line(&mut out, &format!("{}:", dataset.address));
    if let Some(why) = &compared.incomplete {
        line(&mut out, &format!("  it could not be seen completely: {}", escape(why.as_bytes())));
    }
    line(&mut out, &format!("  {} judged", count(compared.records, "record")));
    for (what, number) in &compared.newly_due {
        line(&mut out, &format!("  {number} NEWLY DUE: {what}"));
    }
    for (what, number) in &compared.newly_protected {
        line(&mut out, &format!("  {number} newly protected: due now ({what}), and no longer"));
    }
    for (what, number) in &compared.otherwise {
        line(&mut out, &format!("  {number} due for something else: from {what}"));
    }
    if compared.newly_due.is_empty() && compared.newly_protected.is_empty() && compared.otherwise.is_empty() {
        line(&mut out, "  nothing changes");
    }
    out
}

/// The collected lines as one text, and the collection empty.
pub fn flush(lines: &mut Vec<String>) -> String {
    let mut text = std::mem::take(lines).join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// What a run over one dataset did.
pub fn ran(ran: &Ran, config: &Path) -> String {
    let mut out = String::new();
    line(&mut out, &heading(&ran.dataset));
    for one in &ran.findings {
        line(&mut out, &format!("  {}", finding(one)));
    }
    match &ran.end {
        End::Incomplete(why) => {
            line(&mut out, &format!("  nothing was done: {}", escape(why.as_bytes())));
            return out;
        }
        End::Paused(why) => {
            line(&mut out, &format!("  nothing was done: {why}"));
            return out;
        }
        End::Reported(over) => {
            tally_lines(&mut out, &ran.tally);
            if let Some(over) = over {
                line(&mut out, &format!("  in enforce mode this would be refused: {over}"));
            }
            line(&mut out, "  report mode: nothing was destroyed");
        }
        End::Refused { plan, over } => {
            tally_lines(&mut out, &ran.tally);
            line(&mut out, &format!("  REFUSED, nothing was destroyed: {over}"));
            line(&mut out, &format!("  to allow exactly this plan: {}", allow_command(config, plan)));
        }
        End::Spent(spent) => {
            if ran.tally != Tally::default() {
                tally_lines(&mut out, &ran.tally);
            }
            let counts = spent.counts;
            let rows = [
                (counts.destroyed, format!("destroyed, {}", bytes(spent.bytes))),
                (counts.anonymised, "anonymised".into()),
                (counts.recovered, "destroyed, as a second look showed".into()),
                (counts.absent, "were gone already".into()),
                (counts.kept, "kept at the last moment".into()),
                (counts.failed, "FAILED and are still there".into()),
                (spent.open(), "in doubt: the next start looks again".into()),
            ];
            for (number, what) in rows.into_iter().filter(|(number, _)| *number > 0) {
                line(&mut out, &format!("  {number} {what}"));
            }
            for (what, times) in &spent.troubles {
                line(&mut out, &format!("    {times} × {}", escape(what.as_bytes())));
            }
            match &spent.purged {
                Some((what, Ok(()))) => line(&mut out, &format!("  then {what}: done")),
                Some((what, Err(why))) => line(&mut out, &format!("  then {what}: FAILED: {}", escape(why.as_bytes()))),
                None => {}
            }
            if let Some(stopped) = super::stopped(ran) {
                line(&mut out, &format!("  {stopped}"));
            }
        }
    }
    if ran.flagged > 0 {
        line(&mut out, &format!("  {} newly flagged", ran.flagged));
    }
    if ran.tasks > 0 {
        line(&mut out, &format!("  {} new tasks for people; `attest list` names them", ran.tasks));
    }
    out
}

/// What became of a person's word that a record is destroyed: for people, for programs, and the exit code.
pub fn attested(address: &str, attested: &Attested) -> (String, serde_json::Value, u8) {
    let shown = escape(address.as_bytes());
    match attested {
        Attested::Confirmed { run } => {
            let json = serde_json::json!({"address": address, "attested": true, "early": false, "run": run});
            (format!("{shown} is confirmed: its destruction is in the audit log"), json, DONE)
        }
        Attested::Early { why } => {
            let json = serde_json::json!({"address": address, "attested": true, "early": true, "why": why});
            let text = format!(
                "{shown} was destroyed TOO EARLY: {why}. That it is lost is in the audit log; whoever answers for the schedule must know of it"
            );
            (text, json, FINDINGS)
        }
    }
}

/// Why a record is kept, due, held or gone.
pub fn explained(
    address: &Address,
    dataset: &Dataset,
    found: &Found,
    attested: bool,
    assessment: Option<&Assessment>,
    entries: &[Entry],
) -> String {
    let mut out = String::new();
    match (found, assessment) {
        (Found::Present(_), _) if attested => {
            line(
                &mut out,
                &format!(
                    "{address} is destroyed: a person has said so. Only its line in the list is left, and nobody is asked for it again."
                ),
            );
        }
        (Found::Present(record), Some(assessment)) => {
            let verdict = &assessment.verdict;
            let answer = match (verdict.standing, verdict.then) {
                (Standing::Due, Some(then)) => format!("is due: its period is over, and its class says {}", then.as_str()),
                (Standing::Waiting, _) => "is kept for now: only an edit of the schedule, or of its dataset's class, made it due".into(),
                (Standing::NotYetDue, _) => "is kept: its period is still running".into(),
                (Standing::NotStarted, _) => "is kept: the event that starts its period has not happened".into(),
                (Standing::Permanent, _) => "is kept permanently".into(),
                (Standing::Held, _) => "is held: nothing happens to it until the hold is released".into(),
                (Standing::Undetermined | Standing::Due, _) => "is kept, because something cannot be told".into(),
            };
            line(&mut out, &format!("{address} {answer}."));
            for reason in &verdict.reasons {
                line(&mut out, &format!("  {}", escape(reason.to_string().as_bytes())));
            }
            for rule in dataset.rules_for(record) {
                line(
                    &mut out,
                    &format!(
                        "  rule: {} \"{}\": {}, of schedule {} ({})",
                        rule.class.id, rule.class.title, rule.class.keep, rule.schedule.id, rule.schedule.file
                    ),
                );
                if let Some(authority) = &rule.class.authority {
                    line(&mut out, &format!("    on the authority of: {authority}"));
                }
            }
            if let (Standing::Due, crate::config::Mode::Report) = (verdict.standing, dataset.mode) {
                line(&mut out, "  the dataset is in report mode: a run only reports it");
            }
            if let (Standing::Due, true) = (verdict.standing, dataset.store.is_attested()) {
                line(&mut out, "  only a person can destroy it, and then says so with `attest confirm`");
            }
            if let Some((day, false)) = verdict.ceiling {
                line(&mut out, &format!("  it must be gone after {day}"));
            }
        }
        (Found::Present(_), None) => line(&mut out, &format!("{address} is there, but could not be judged.")),
        (Found::Anonymised(_), _) => line(&mut out, &format!("{address} is there, anonymised.")),
        (Found::Outside(why), _) => {
            line(&mut out, &format!("{address} is no record of this dataset at present: {}.", escape(why.as_bytes())));
        }
        (Found::Absent, _) if entries.is_empty() => line(&mut out, &format!("{address} is not there, and the log says nothing about it.")),
        (Found::Absent, _) => line(&mut out, &format!("{address} is gone.")),
        (Found::Remains, _) => line(&mut out, &format!("{address} is gone, but companion files are left; the next run removes them.")),
        (Found::Unknown(why), _) => line(&mut out, &format!("{address} could not be looked at: {}", escape(why.as_bytes()))),
    }
    if !entries.is_empty() {
        line(&mut out, "  the audit log says:");
        for one in entries {
            line(&mut out, &format!("    {}", story(one)));
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// One entry as a sentence.
fn story(entry: &Entry) -> String {
    let asked = entry.u64("erasure").map_or(String::new(), |decided| format!(", on a request for erasure (entry {decided})"));
    let text = |name: &str| entry.str(name).map(|value| escape(value.as_bytes())).unwrap_or_default();
    let rule = || format!("under {}: {} on {}, kept until the end of {}", text("class"), text("event"), text("event_date"), text("due"));
    let what = match entry.kind {
        EntryKind::Intent => format!("run {} announced to {} it", text("run"), text("act")),
        EntryKind::Destroyed => format!("destroyed ({}, grade {}) {}{asked}", text("method"), text("grade"), rule()),
        EntryKind::Anonymised => format!("anonymised {}{asked}", rule()),
        EntryKind::Flagged => format!("flagged for {} {}", text("then"), rule()),
        EntryKind::Attested => format!(
            "{} says that it was destroyed on {} ({}, certificate {}) {}",
            text("person"),
            text("on"),
            text("method"),
            text("certificate"),
            rule()
        ),
        EntryKind::AttestedBefore => format!(
            "the log before this one says (entry {}) that {} destroyed it on {} ({}, certificate {})",
            entry.u64("carried_from").unwrap_or_default(),
            text("person"),
            text("on"),
            text("method"),
            text("certificate")
        ),
        EntryKind::TaskOpened => format!("a person was to destroy it {}", rule()),
        EntryKind::Lost if entry.str("on").is_some() => {
            format!("LOST: {} says that it was destroyed on {}, too early {}", text("person"), text("on"), rule())
        }
        EntryKind::Lost => "LOST: it was missed, and nothing says that it might go".into(),
        EntryKind::Absent => "it was gone already".into(),
        EntryKind::Kept => format!("kept at the last moment: {} {}", text("why"), text("detail")),
        EntryKind::Failed => format!("could not be destroyed: {}", text("error")),
        EntryKind::Recovered => format!("after an interrupted run it was found {}", text("found")),
        EntryKind::ErasureDecided => erasure_decided(entry),
        other => other.as_str().to_owned(),
    };
    format!("{} (entry {}): {what}", entry.at, entry.n)
}

/// What a request for erasure was answered about a record, by whom.
fn erasure_decided(entry: &Entry) -> String {
    let text = |name: &str| entry.str(name).map(|value| escape(value.as_bytes())).unwrap_or_default();
    let reason = entry.str("reason").map_or(String::new(), |reason| format!(" ({})", escape(reason.as_bytes())));
    format!(
        "on a request for erasure, matter {}{reason}, {}, {} decided: {}: {}",
        text("matter"),
        text("name"),
        text("person"),
        text("decision"),
        text("why")
    )
}

/// The heading of a table of entries.
pub fn entry_heading() -> String {
    format!("{:>8}  {:<24}  {:<13}  {:<24}  WHAT", "ENTRY", "AT", "KIND", "WHERE")
}

/// One entry as a row of a table.
pub fn entry(entry: &Entry) -> String {
    let text = |name: &str| entry.str(name).map(|value| escape(value.as_bytes()));
    let place = match (text("store"), text("dataset")) {
        (Some(store), Some(dataset)) => format!("{store}/{dataset}"),
        _ => "-".into(),
    };
    let number = |name: &str| entry.fields.get(name).and_then(serde_json::Value::as_u64);
    let what = match entry.kind {
        EntryKind::Opened => format!("log opened by {}", text("version").unwrap_or_default()),
        EntryKind::Schedule => format!(
            "schedule {}, part {} of {} of its text, sha256 {}",
            text("id").unwrap_or_default(),
            number("part").unwrap_or(1),
            number("parts").unwrap_or(1),
            text("sha256").unwrap_or_default()
        ),
        EntryKind::Intent => {
            let records = entry.fields.get("records").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
            format!("to {} {records} records, run {}", text("act").unwrap_or_default(), text("run").unwrap_or_default())
        }
        EntryKind::Statistics => {
            let records = entry.fields.get("of").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
            format!("what {records} records count for in the statistics, run {}", text("run").unwrap_or_default())
        }
        EntryKind::RunStarted => format!("run {} in {} mode", text("run").unwrap_or_default(), text("mode").unwrap_or_default()),
        EntryKind::RunFinished => {
            let counts = entry.fields.get("counts").and_then(serde_json::Value::as_object);
            let counts: Vec<String> =
                counts.into_iter().flatten().filter(|(_, n)| n.as_u64() != Some(0)).map(|(kind, n)| format!("{n} {kind}")).collect();
            format!(
                "run {} {}: {}",
                text("run").unwrap_or_default(),
                text("end").unwrap_or_default(),
                if counts.is_empty() { "nothing to do".into() } else { counts.join(", ") }
            )
        }
        EntryKind::Refused => format!(
            "plan {}: {} of {} due, limit {}",
            text("plan").unwrap_or_default(),
            number("due").unwrap_or(0),
            number("population").unwrap_or(0),
            text("limits").unwrap_or_default()
        ),
        EntryKind::Allowed => format!("plan {} allowed by {}", text("plan").unwrap_or_default(), text("person").unwrap_or_default()),
        EntryKind::Bound if entry.bool("withdrawn") == Some(true) => "is no longer configured".into(),
        EntryKind::Bound => format!("its records belong to {}", text("text").unwrap_or_default()),
        EntryKind::Confirmed => format!("edit {} confirmed by {}", text("edit").unwrap_or_default(), text("person").unwrap_or_default()),
        EntryKind::Paused | EntryKind::Resumed => {
            let what = text("store").map_or("everything".into(), |store| format!("store {store}"));
            let why = text("reason").map_or(String::new(), |reason| format!(": {reason}"));
            format!("{what}, by {}{why}", text("person").unwrap_or_default())
        }
        EntryKind::Heartbeat => {
            let anchors = entry.fields.get("anchors").and_then(serde_json::Value::as_array).into_iter().flatten();
            let failing: Vec<String> = anchors
                .filter(|one| one["failing"] == true)
                .map(|one| escape(one["anchor"].as_str().unwrap_or_default().as_bytes()))
                .collect();
            let failing = if failing.is_empty() { String::new() } else { format!("; anchors that take nothing: {}", failing.join(", ")) };
            format!(
                "alive for {} hours, next within {} hours{failing}",
                number("uptime").unwrap_or(0) / 3600,
                number("interval").unwrap_or(0).div_ceil(3600)
            )
        }
        EntryKind::Approved | EntryKind::ReviewRefused | EntryKind::ReviewExtended | EntryKind::ReviewWithdrawn => {
            let batch = text("batch").unwrap_or_default();
            let name = text("name").filter(|name| !name.is_empty()).map_or(String::new(), |name| format!("{name}, "));
            let until = text("until").map_or(String::new(), |until| format!(", kept until {until}"));
            let why = text("reason").filter(|reason| !reason.is_empty()).map_or(String::new(), |reason| format!(": {reason}"));
            let (records, person) = (number("records").unwrap_or(0), text("person").unwrap_or_default());
            format!("batch {}, {}, by {name}{person}{until}{why}", batch.get(..16).unwrap_or(&batch), count(records, "record"))
        }
        EntryKind::HoldPlaced | EntryKind::HoldReleased => {
            let kind = text("hold_kind").map_or(String::new(), |kind| format!(" ({kind})"));
            let until = text("until").map_or(String::new(), |until| format!(" until {until}"));
            let matter = text("matter").map_or(String::new(), |matter| format!(", matter {matter}"));
            let why = text("reason").map_or(String::new(), |reason| format!(": {reason}"));
            format!("{}{kind}{until}{matter}, by {}{why}", text("hold").unwrap_or_default(), text("person").unwrap_or_default())
        }
        EntryKind::ErasureDecided => format!("{}  {}", text("record").unwrap_or_default(), erasure_decided(entry)),
        EntryKind::ErasureApproved => {
            let (id, name) = (text("erasure").unwrap_or_default(), text("name").unwrap_or_default());
            let (records, person) = (number("records").unwrap_or(0), text("person").unwrap_or_default());
            format!("request for erasure {}, {}, by {name}, {person}", id.get(..16).unwrap_or(&id), count(records, "record"))
        }
        EntryKind::Overdue => format!("{} records past their ceiling", number("records").unwrap_or(0)),
        _ => {
            let parts = [
                text("record"),
                text("class"),
                text("grade").or_else(|| text("why")).or_else(|| text("found")).or_else(|| text("error")),
                text("event_date"),
            ];
            parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
        }
    };
    format!("{:>8}  {:<24}  {:<13}  {place:<24}  {what}", entry.n, entry.at, entry.kind.as_str())
}

/// What verifying the log brought.
pub fn verified(log: &Path, verified: &Verified) -> String {
    let mut out = String::new();
    line(&mut out, &format!("{}: intact", escape(log.as_os_str().as_encoded_bytes())));
    line(
        &mut out,
        &format!(
            "  log {}, {}, root {}",
            verified.origin,
            if verified.size == 1 { "1 entry".to_owned() } else { format!("{} entries", verified.size) },
            verified.root
        ),
    );
    if let (Some(first), Some(last)) = (&verified.first_at, &verified.last_at) {
        line(&mut out, &format!("  from {first} to {last}"));
    }
    let kinds: Vec<String> = verified.entries_by_kind.iter().map(|(kind, number)| format!("{number} {}", kind.as_str())).collect();
    line(&mut out, &format!("  {}", kinds.join(", ")));
    if verified.unpublished > 0 {
        line(&mut out, &format!("  {} more in the journal, not yet covered by a signed checkpoint", verified.unpublished));
    }
    if verified.open_intents > 0 {
        line(
            &mut out,
            &format!(
                "  {} without outcome: a run was interrupted; the next run looks what became of the records",
                count(verified.open_intents, "intent")
            ),
        );
    }
    if verified.rotations > 0 {
        line(&mut out, &format!("  the signing key was changed {}, each time signed by the one before", count(verified.rotations, "time")));
    }
    if verified.archived > 0 {
        let what = if verified.absent > 0 {
            format!("of {} of them no more than the hashes was verified; --archive names where they are", verified.absent)
        } else {
            "all of them were verified".to_owned()
        };
        line(&mut out, &format!("  entries before {} were archived: {what}", verified.archived));
    }
    line(&mut out, "  this shows that the log is whole and signed by its key; that nobody restored an older copy, anchors must show");
    line(&mut out, "  whether each decision follows from the schedule in the log is shown by `audit replay`");
    out.truncate(out.trim_end().len());
    out
}

/// A decision that does not follow from the log.
pub fn mismatch(mismatch: &Mismatch) -> String {
    let Mismatch { entry, at, kind, says, derived } = mismatch;
    format!("entry {entry} ({kind}, {at}): the log says {says}; derived: {derived}")
}

/// What replaying the log brought.
pub fn replayed(log: &Path, replayed: &Replayed) -> String {
    let mut out = String::new();
    let verdict = if replayed.mismatches == 0 {
        "intact, and every decision follows from it"
    } else {
        "intact, but not every decision follows from it"
    };
    line(&mut out, &format!("{}: {verdict}", escape(log.as_os_str().as_encoded_bytes())));
    line(
        &mut out,
        &format!(
            "  {} derived again, of {} under {}",
            count(replayed.decisions, "decision"),
            count(replayed.runs, "run"),
            count(replayed.schedules, "schedule text")
        ),
    );
    if replayed.without_rule > 0 {
        let text = format!(
            "  {} after a crash in which the plan was lost say of no rule why the record was due",
            count(replayed.without_rule, "outcome")
        );
        line(&mut out, &text);
    }
    if replayed.archived > 0 {
        let text = format!(
            "  nothing was derived of {} that belong to runs of which some entries are archived; --archive names where they are",
            if replayed.archived == 1 { "1 entry".to_owned() } else { format!("{} entries", replayed.archived) }
        );
        line(&mut out, &text);
    }
    if replayed.unjudged > 0 {
        let text = format!(
            "  {} not derived: this version does not read the schedule; use the one that wrote the entries",
            count(replayed.unjudged, "decision")
        );
        line(&mut out, &text);
    }
    out.truncate(out.trim_end().len());
    out
}
