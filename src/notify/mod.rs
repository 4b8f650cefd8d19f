//! Notices: what people who do not watch a screen are told, and the two ways to them, by mail and by a request to a web server.
//!
//! A [`Notice`] is made of the status and nothing else, so it says what `status` says, in plain words and with what to do next. There are two: a
//! *trouble* that needs a person soon (a run refused by its limits, records past their ceiling, a dataset that cannot be run), and a *summary* now and
//! then. When each is sent, and again, is the service's to decide.
//!
//! **What it never holds:** a record's key, a person, a reason that a person wrote, or the text of an error, which may hold any of them. It names
//! datasets, the titles of their classes, and numbers. Whoever wants more is sent to the machine.

pub mod mail;
pub mod webhook;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;

pub use mail::Mail;
pub use webhook::Webhook;

use crate::config::Config;
use crate::control::Status;
use crate::control::status::Dataset;
use crate::error::escape;

/// The longest line of a notice for people, in characters.
const WIDTH: usize = 72;

/// What kind of notice it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// Something needs a person soon.
    Trouble,
    /// How everything stands.
    Summary,
}

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What kind: `refused`, `overdue`, `failing`, `failed`, `stale`, `reload-refused`, `clock-refused`, `anchor-failing`.
    pub kind: &'static str,
    /// The dataset or the anchor; nothing where it is about the service.
    pub about: String,
    /// What is wrong, in plain words.
    pub what: String,
    /// What to do next.
    pub todo: String,
}

/// How a dataset stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `store/dataset`.
    pub dataset: String,
    /// The titles of its classes.
    pub classes: String,
    /// How its last run ended.
    pub last: Option<String>,
    /// When the last complete scan ended.
    pub scanned: Option<String>,
    /// Records of the dataset.
    pub population: u64,
    /// Records by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Records past their ceiling.
    pub overdue: u64,
    /// Whether it is paused.
    pub paused: bool,
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The node that tells.
    pub node: String,
    /// When it was made, RFC 3339.
    pub at: String,
    /// Which kind of notice.
    pub occasion: Occasion,
    /// What needs a person.
    pub troubles: Vec<Trouble>,
    /// Every dataset, in a summary.
    pub datasets: Vec<Row>,
}

impl Trouble {
    /// What tells it apart from others; the same one has the same key at another time.
    pub fn key(&self) -> String {
        format!("{} {}", self.kind, self.about)
    }
}

fn titles(config: &Config, address: &str) -> String {
    let dataset = config.datasets.iter().find(|dataset| dataset.address == address);
    let rules = dataset.map(|dataset| dataset.rules()).unwrap_or_default();
    let title = |rule: &crate::schedule::Rule| {
        let class = &rule.class;
        escape(class.title.as_bytes())
    };
    rules.iter().map(|rule| title(rule)).collect::<Vec<_>>().join(", ")
}

fn is_paused(status: &Status, row: &Dataset) -> bool {
    let store = row.dataset.split('/').next().unwrap_or_default();
    status.pauses.iter().any(|pause| pause.store.as_deref().is_none_or(|one| one == store))
}

/// What of the status needs a person.
pub fn troubles(status: &Status, now: Timestamp) -> Vec<Trouble> {
    let mut found = Vec::new();
    let mut add = |kind, about: &str, what: String, todo: String| found.push(Trouble { kind, about: about.to_owned(), what, todo });
    if let Some(service) = &status.service {
        if service.reload_refused.is_some() {
            add(
                "reload-refused",
                "",
                "Schedule and configuration could not be loaded anew. What was in force before still is.".into(),
                "`retentiond check` names the file, the line and the remedy.".into(),
            );
        }
        if service.clock_refused.is_some() {
            add(
                "clock-refused",
                "",
                "The clock of the machine cannot be believed, so nothing is destroyed.".into(),
                "`retentiond status` says why; set the clock right.".into(),
            );
        }
    }
    for anchor in status.log.iter().flat_map(|log| &log.anchors).filter(|anchor| anchor.failed.is_some()) {
        add(
            "anchor-failing",
            &anchor.anchor,
            "This place took no checkpoint of the audit log the last time. The log itself is whole.".into(),
            "`retentiond status` says why; it is tried again by itself.".into(),
        );
    }
    for row in &status.datasets {
        dataset_troubles(status, row, now, &mut add);
    }
    found
}

fn dataset_troubles(status: &Status, row: &Dataset, now: Timestamp, add: &mut impl FnMut(&'static str, &str, String, String)) {
    let name = &row.dataset;
    let number = |number: u64| crate::report::words::number(number);
    let scanned = row.scanned.as_ref();
    if row.last.as_ref().and_then(|last| last.how.as_deref()) == Some("refused") {
        let due = |scan: &crate::control::status::Scanned| {
            let of = |verdict: &str| scan.verdicts.get(verdict).copied().unwrap_or_default();
            format!(
                ": {} of {} records are due, more than its limits allow",
                number(of("destroy") + of("anonymise")),
                number(scan.population)
            )
        };
        add(
            "refused",
            name,
            format!("The last run was refused{}. Nothing was destroyed.", scanned.map(due).unwrap_or_default()),
            format!(
                "look at it with `retentiond plan {name}`. If it is right, `retentiond run {name}` names the command that allows exactly this plan."
            ),
        );
    }
    if let Some(scan) = scanned.filter(|scan| scan.overdue > 0) {
        add(
            "overdue",
            name,
            format!("{} records are still there past the longest time that the schedule allows.", number(scan.overdue)),
            format!("`retentiond plan {name} --list` names them and says for each what keeps it."),
        );
    }
    if let Some(scan) = scanned.filter(|scan| scan.failed > 0) {
        add(
            "failed",
            name,
            format!("{} records were due and could not be disposed of.", number(scan.failed)),
            format!("`retentiond audit list --kind failed` has them; `retentiond run {name}` tries again, as the timetable does."),
        );
    }
    if row.failures > 0 {
        let times = if row.failures == 1 { "once".to_owned() } else { format!("{} times in a row", row.failures) };
        add(
            "failing",
            name,
            format!("It could not be run, {times}. Its records stay, those that are due as well."),
            "`retentiond status` says why; it is tried again by itself.".into(),
        );
    }
    let since = scanned.map(|scan| scan.ended.as_str()).or_else(|| status.service.as_ref().map(|service| service.since.as_str()));
    let age = since.and_then(|since| since.parse::<Timestamp>().ok()).map(|since| now.duration_since(since));
    let patience = row.period.and_then(|period| i64::try_from(period.saturating_mul(2)).ok()).map(SignedDuration::from_secs);
    if !is_paused(status, row)
        && let (Some(age), Some(patience)) = (age, patience)
        && age > patience
    {
        add(
            "stale",
            name,
            "It has not been scanned completely for two periods of its timetable, so nobody knows what is due there.".into(),
            "`retentiond status` says why.".into(),
        );
    }
}

impl Notice {
    /// A notice of these troubles.
    pub fn of_troubles(config: &Config, troubles: Vec<Trouble>, now: Timestamp) -> Self {
        Self {
            node: config.node.clone(),
            at: format!("{now:.0}"),
            occasion: Occasion::Trouble,
            troubles: with_titles(config, troubles),
            datasets: Vec::new(),
        }
    }

    /// A summary of everything.
    pub fn summary(config: &Config, status: &Status, now: Timestamp) -> Self {
        let row = |row: &Dataset| {
            let scan = row.scanned.clone().unwrap_or_default();
            Row {
                dataset: row.dataset.clone(),
                classes: titles(config, &row.dataset),
                last: row.last.as_ref().and_then(|last| last.how.clone()),
                scanned: row.scanned.as_ref().map(|scan| scan.ended.clone()),
                population: scan.population,
                verdicts: scan.verdicts,
                overdue: scan.overdue,
                paused: is_paused(status, row),
            }
        };
        Self {
            node: config.node.clone(),
            at: format!("{now:.0}"),
            occasion: Occasion::Summary,
            troubles: with_titles(config, troubles(status, now)),
            datasets: status.datasets.iter().map(row).collect(),
        }
    }

    /// In one line.
    pub fn subject(&self) -> String {
        let troubles = match &self.troubles[..] {
            [] => "all is well".to_owned(),
            [one] if one.about.is_empty() => one.kind.replace('-', " "),
            [one] => format!("{}: {}", one.about, one.kind.replace('-', " ")),
            many => format!("{} matters need a person", many.len()),
        };
        let subject = match self.occasion {
            Occasion::Trouble => format!("retentiond {}: {troubles}", self.node),
            Occasion::Summary => format!("retentiond {}, summary: {troubles}", self.node),
        };
        escape(subject.as_bytes())
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        match (self.occasion, self.troubles.is_empty()) {
            (_, false) => paragraph(&mut out, "", &format!("retentiond on {} needs a person:", self.node)),
            (_, true) => paragraph(&mut out, "", &format!("retentiond on {} needs nobody.", self.node)),
        }
        for trouble in &self.troubles {
            out.push('\n');
            if !trouble.about.is_empty() {
                paragraph(&mut out, "", &trouble.about);
            }
            paragraph(&mut out, "  ", &trouble.what);
            paragraph(&mut out, "  ", &format!("What to do: {}", trouble.todo));
        }
        if self.occasion == Occasion::Summary {
            out.push_str("\nThe datasets, as their last complete scans saw them:\n");
            self.datasets.iter().for_each(|row| self::row(&mut out, row));
        }
        out.push('\n');
        paragraph(&mut out, "", "Written by retentiond itself. It names no record and no person; the machine knows more.");
        out
    }
}

/// Puts the titles of its classes behind each dataset.
fn with_titles(config: &Config, mut troubles: Vec<Trouble>) -> Vec<Trouble> {
    for trouble in &mut troubles {
        let titles = titles(config, &trouble.about);
        if !titles.is_empty() {
            let _ = write!(trouble.about, " ({titles})");
        }
    }
    troubles
}

fn row(out: &mut String, row: &Row) {
    let number = |verdict: &str| crate::report::words::number(row.verdicts.get(verdict).copied().unwrap_or_default());
    out.push('\n');
    paragraph(out, "", &format!("{} ({}){}", row.dataset, row.classes, if row.paused { ", paused" } else { "" }));
    let Some(scanned) = &row.scanned else {
        return paragraph(out, "  ", "never scanned completely");
    };
    let parts = [
        format!("{} records", crate::report::words::number(row.population)),
        format!("{} due to be destroyed", number("destroy")),
        format!("{} to be anonymised", number("anonymise")),
        format!("{} for review", number("review")),
        format!("{} held", number("held")),
        format!("{} undetermined", number("undetermined")),
        format!("{} past their ceiling", crate::report::words::number(row.overdue)),
    ];
    paragraph(out, "  ", &parts.join(", "));
    paragraph(out, "  ", &format!("scanned {scanned}, last run {}", row.last.as_deref().unwrap_or("not ended")));
}

/// Appends words in lines of bounded length.
fn paragraph(out: &mut String, indent: &str, text: &str) {
    let mut line = indent.to_owned();
    for word in text.split(' ') {
        if line.len() > indent.len() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            indent.clone_into(&mut line);
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}

/// The certificates in a file, for servers of which the system's authorities know nothing.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| format!("{shown}: expected certificates in PEM: {}", clean(&error.to_string())))?;
    if read.is_empty() { Err(format!("{shown}: expected certificates in PEM, found none")) } else { Ok(read) }
}

/// A message of a library or a server, in one line of readable characters and not too long.
fn clean(text: &str) -> String {
    escape(text.chars().take(200).collect::<String>().as_bytes())
}

fn is_this_machine(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}
