//! The certificate of destruction: what went, under which rule and on whose authority, how thoroughly, what did not go, and how an outsider checks it.
//!
//! It is made from signed entries only ([`super::signed`]), in one pass, and holds numbers, never records: its size depends on how many classes,
//! rules and reasons there are. What a person would sign under must fit together on its own, so the checkpoint stands in it verbatim.

mod html;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::selection::{Selection, dataset_of};
use super::signed::Signed;
use super::words;
use crate::audit::{Entry, Kind as EntryKind, Verified};
use crate::error::{Error, Kind, Result};
use crate::schedule::Schedules;

/// Different reasons, persons and the like that are told apart; what comes after them is counted together.
const MOST: usize = 200;

/// Stands for what comes after the first [`MOST`].
const OTHERS: &str = "others";

/// A certificate of destruction.
#[derive(Serialize)]
pub struct Certificate {
    /// Whom it is for; not from the log.
    organisation: Option<String>,
    /// When it was made, RFC 3339; not from the log.
    made: String,
    /// What it is about.
    about: Selection,
    destroyed: u64,
    anonymised: u64,
    /// Found gone after an interruption, under an intent that was in the log before.
    found_gone: u64,
    bytes: u64,
    first_at: Option<String>,
    last_at: Option<String>,
    rules: Vec<RuleLine>,
    methods: Vec<MethodLine>,
    exceptions: Vec<ExceptionLine>,
    datasets: Vec<DatasetLine>,
    decisions: Vec<DecisionLine>,
    more_decisions: u64,
    schedules: Vec<ScheduleLine>,
    backups: Vec<BackupLine>,
    programs: BTreeSet<String>,
    verification: Verification,
}

/// What went under one rule.
#[derive(Clone, Debug, Default, Serialize)]
struct RuleLine {
    dataset: String,
    class: String,
    schedule: String,
    /// From the text of the schedule in the log.
    title: Option<String>,
    keep: Option<String>,
    then: Option<String>,
    authority: Option<String>,
    source: Option<String>,
    destroyed: u64,
    anonymised: u64,
    found_gone: u64,
    bytes: u64,
    oldest_event: Option<String>,
    newest_event: Option<String>,
}

/// How records went.
#[derive(Clone, Debug, Default, Serialize)]
struct MethodLine {
    method: String,
    grade: String,
    meaning: &'static str,
    records: u64,
    /// Of them, how many the store looked after and found gone.
    verified: u64,
    caveats: Vec<CaveatLine>,
}

#[derive(Clone, Debug, Serialize)]
struct CaveatLine {
    caveat: String,
    meaning: &'static str,
    records: u64,
}

/// What did not go as planned.
#[derive(Clone, Debug, Serialize)]
struct ExceptionLine {
    what: &'static str,
    dataset: String,
    why: String,
    meaning: &'static str,
    records: u64,
}

/// What runs over one dataset came to.
#[derive(Clone, Debug, Default, Serialize)]
struct DatasetLine {
    dataset: String,
    /// Runs by how they ended.
    runs: BTreeMap<String, u64>,
    /// As the last run of the selection saw it.
    last: Option<LastRun>,
    #[serde(skip)]
    classes: BTreeSet<String>,
    /// Whether the run under way spends a plan made before, and sees nothing else.
    #[serde(skip)]
    spends: bool,
}

#[derive(Clone, Debug, Default, Serialize)]
struct LastRun {
    at: String,
    population: u64,
    held: u64,
    undetermined: u64,
    overdue: u64,
}

/// What a person decided.
#[derive(Clone, Debug, Serialize)]
struct DecisionLine {
    entry: u64,
    at: String,
    kind: &'static str,
    person: String,
    dataset: String,
    plan: String,
    records: u64,
}

/// A schedule that something was done under.
#[derive(Clone, Debug, Default, Serialize)]
struct ScheduleLine {
    id: String,
    title: String,
    sha256: String,
    /// When its text went into the log.
    since: String,
    owner: Option<String>,
    approved: Option<String>,
    entry: u64,
}

/// By when the last backup that may hold one of the records has aged out.
#[derive(Clone, Debug, Default, Serialize)]
struct BackupLine {
    store: String,
    /// The latest such day; none where nobody said how long backups are kept.
    beyond_use_until: Option<String>,
    records: u64,
    records_without_date: u64,
}

/// What shows that all this is what the log says.
#[derive(Serialize)]
struct Verification {
    intact: bool,
    origin: String,
    size: u64,
    root: String,
    log_first_at: Option<String>,
    log_last_at: Option<String>,
    unpublished: u64,
    open_intents: u64,
    key: String,
    checkpoint: String,
}

/// A rule as its schedule's text in the log has it.
struct Rule {
    title: String,
    keep: String,
    then: Option<&'static str>,
    authority: Option<String>,
    source: Option<String>,
}

/// A schedule whose text is in the log.
#[derive(Default)]
struct Known {
    line: ScheduleLine,
    text: String,
    rules: BTreeMap<String, Rule>,
}

/// Counts on the way through the log.
#[derive(Default)]
struct Gathering {
    about: Selection,
    schedules: BTreeMap<String, Known>,
    /// By dataset, class and schedule.
    rules: BTreeMap<(String, String, String), RuleLine>,
    methods: BTreeMap<(String, String), MethodLine>,
    caveats: BTreeMap<(String, String, String), u64>,
    exceptions: BTreeMap<(&'static str, String, String), u64>,
    datasets: BTreeMap<String, DatasetLine>,
    decisions: Vec<DecisionLine>,
    more_decisions: u64,
    /// Approvals outside of what is asked for, by entry, until something rests on them.
    relied_upon: BTreeMap<u64, DecisionLine>,
    /// Decisions that let records go on requests for erasure: the request of each, and each request until something rests on it.
    erasures: BTreeMap<u64, String>,
    requests: BTreeMap<String, DecisionLine>,
    backups: BTreeMap<String, BackupLine>,
    programs: BTreeSet<String>,
    first_at: Option<String>,
    last_at: Option<String>,
    run_seen: bool,
}

impl Certificate {
    /// Makes the certificate of what was selected; [`Kind::Usage`] if the log knows no such run.
    pub fn gather(signed: &Signed, about: Selection, organisation: Option<String>, made: String) -> Result<Self> {
        let mut gathering = Gathering { about, ..Gathering::default() };
        signed.entries(|entry| {
            gathering.take(entry);
            Ok(())
        })?;
        if let (Some(run), false) = (&gathering.about.run, gathering.run_seen) {
            let run = crate::error::escape(run.as_bytes());
            return Err(Error::new(
                Kind::Usage,
                format!("the log has no run \"{run}\"; `retentiond audit list --kind run-started` lists them"),
            ));
        }
        Ok(gathering.close(signed, organisation, made))
    }

    /// Every record that is gone.
    fn gone(&self) -> u64 {
        self.destroyed + self.found_gone
    }
}

impl Gathering {
    fn take(&mut self, entry: &Entry) {
        if entry.kind == EntryKind::Schedule {
            return self.learn(entry);
        }
        if !self.about.covers(entry) {
            // An approval belongs to no run, and may be older than what went because of it.
            if entry.kind == EntryKind::Approved {
                let line = Self::decision(entry);
                self.relied_upon.insert(entry.n, line);
            }
            if entry.kind == EntryKind::ErasureDecided {
                self.request(entry);
            }
            return;
        }
        let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
        match entry.kind {
            EntryKind::RunStarted => {
                self.run_seen = true;
                let line = self.dataset(entry);
                // One that spends a plan, or has another reason than to look, saw nothing itself.
                line.spends = ["plan", "reason"].iter().any(|name| entry.fields.contains_key(*name));
                let rules = entry.fields.get("rules").and_then(serde_json::Value::as_array).into_iter().flatten();
                line.classes = rules.filter_map(|rule| rule.get("class")?.as_str().map(str::to_owned)).collect();
            }
            EntryKind::RunFinished => {
                let number = |name: &str| entry.u64(name).unwrap_or_default();
                let last = LastRun {
                    at: entry.at.clone(),
                    population: number("population"),
                    held: number("held"),
                    undetermined: number("undetermined"),
                    overdue: number("overdue"),
                };
                let seen = entry.fields.contains_key("population");
                let line = self.dataset(entry);
                *line.runs.entry(text("end")).or_default() += 1;
                // A run that recovery closed saw nothing itself either.
                line.last = Some(last).filter(|_| seen && !line.spends).or_else(|| line.last.take());
            }
            EntryKind::Allowed => self.decide(entry),
            EntryKind::ErasureDecided => self.request(entry),
            EntryKind::Approved | EntryKind::ReviewRefused | EntryKind::ReviewExtended | EntryKind::ReviewWithdrawn
                if self.about.has_class(&text("class")) =>
            {
                self.decide(entry);
            }
            EntryKind::Refused if entry.fields.contains_key("person") => self.decide(entry),
            kind if kind.is_outcome() && self.about.has_class(&text("class")) => self.outcome(entry),
            _ => {}
        }
    }

    fn dataset(&mut self, entry: &Entry) -> &mut DatasetLine {
        let dataset = dataset_of(entry);
        self.datasets.entry(dataset.clone()).or_insert_with(|| DatasetLine { dataset, ..DatasetLine::default() })
    }

    fn decide(&mut self, entry: &Entry) {
        let line = Self::decision(entry);
        self.add_decision(line);
    }

    fn add_decision(&mut self, line: DecisionLine) {
        if self.decisions.len() == MOST {
            self.more_decisions += 1;
            return;
        }
        self.decisions.push(line);
    }

    /// A decision that lets a record go on a request for erasure; all of a request and dataset are one line.
    fn request(&mut self, entry: &Entry) {
        if !matches!(entry.str("decision"), Some("destroy" | "anonymise")) {
            return;
        }
        let request = format!("{} {}", entry.str("erasure").unwrap_or_default(), dataset_of(entry));
        self.erasures.insert(entry.n, request.clone());
        self.requests.entry(request).and_modify(|line| line.records += 1).or_insert_with(|| Self::decision(entry));
    }

    fn decision(entry: &Entry) -> DecisionLine {
        let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
        let name = text("name");
        let batch = if entry.kind == EntryKind::ErasureDecided { text("erasure") } else { text("batch") };
        DecisionLine {
            entry: entry.n,
            at: entry.at.clone(),
            kind: entry.kind.as_str(),
            // The account is the kernel's word, the name the person's own.
            person: if name.is_empty() { text("person") } else { format!("{name}, {}", text("person")) },
            dataset: dataset_of(entry),
            plan: if batch.is_empty() { text("plan") } else { batch.get(..16).unwrap_or(&batch).to_owned() },
            records: entry.u64("due").or(entry.u64("records")).unwrap_or(1),
        }
    }

    fn outcome(&mut self, entry: &Entry) {
        let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
        self.first_at.get_or_insert_with(|| entry.at.clone());
        self.last_at = Some(entry.at.clone());
        if self.programs.len() < MOST {
            self.programs.insert(text("by"));
        }
        let approvals = entry.fields.get("approval").and_then(serde_json::Value::as_array).into_iter().flatten();
        let request = entry.u64("erasure").and_then(|n| self.requests.remove(self.erasures.get(&n)?));
        request.into_iter().for_each(|line| self.add_decision(line));
        for line in approvals.filter_map(|n| self.relied_upon.remove(&n.as_u64()?)).collect::<Vec<_>>() {
            self.add_decision(line);
        }
        let dataset = dataset_of(entry);
        let found_gone = entry.kind == EntryKind::Recovered && matches!(entry.str("found"), Some("gone" | "remains"));
        match entry.kind {
            EntryKind::Absent => self.except("gone already", dataset, "somebody else removed it before"),
            EntryKind::Kept => self.except("kept", dataset, &text("why")),
            EntryKind::Failed => self.except("failed, still there", dataset, &text("error")),
            EntryKind::Recovered if !found_gone => {
                self.except("interrupted, still there", dataset, "the next run takes it up");
            }
            _ => self.gone(entry, dataset, found_gone),
        }
    }

    /// A record that is gone, or whose person is.
    fn gone(&mut self, entry: &Entry, dataset: String, found_gone: bool) {
        let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
        let (class, schedule) = (text("class"), text("schedule"));
        let line = self.rules.entry((dataset.clone(), class.clone(), schedule.clone())).or_default();
        (line.dataset, line.class, line.schedule) = (dataset.clone(), class, schedule);
        match entry.kind {
            _ if found_gone => line.found_gone += 1,
            EntryKind::Anonymised => line.anonymised += 1,
            _ => line.destroyed += 1,
        }
        if entry.kind != EntryKind::Anonymised {
            line.bytes += entry.u64("size").unwrap_or_default();
        }
        if let Some(event) = entry.str("event_date") {
            // Dates of this form are in the order of their texts.
            if line.oldest_event.as_deref().is_none_or(|oldest| event < oldest) {
                line.oldest_event = Some(event.to_owned());
            }
            if line.newest_event.as_deref().is_none_or(|newest| event > newest) {
                line.newest_event = Some(event.to_owned());
            }
        }

        let known = |text: String, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text };
        let (method, grade) = (known(text("method"), "found-gone"), known(text("grade"), "unknown"));
        let line = self.methods.entry((method.clone(), grade.clone())).or_default();
        line.records += 1;
        line.verified += u64::from(entry.bool("verified") == Some(true));
        for caveat in entry.strs("caveats") {
            *self.caveats.entry((method.clone(), grade.clone(), caveat.to_owned())).or_default() += 1;
        }
        if let Some(asked) = entry.str("asked") {
            self.except("went less thoroughly than asked", dataset, &format!("reached {grade}, asked for {asked}"));
        }

        let backup = self.backups.entry(text("store")).or_default();
        backup.store = text("store");
        match entry.str("beyond_use_until") {
            Some(day) => {
                backup.records += 1;
                if backup.beyond_use_until.as_deref().is_none_or(|latest| day > latest) {
                    backup.beyond_use_until = Some(day.to_owned());
                }
            }
            None => backup.records_without_date += 1,
        }
    }

    fn except(&mut self, what: &'static str, dataset: String, why: &str) {
        let key = (what, dataset, why.to_owned());
        let key = if self.exceptions.len() < MOST || self.exceptions.contains_key(&key) { key } else { (what, key.1, OTHERS.to_owned()) };
        *self.exceptions.entry(key).or_default() += 1;
    }

    /// Learns a schedule from its text in the log, which may come in pieces.
    fn learn(&mut self, entry: &Entry) {
        let text = |name: &str| entry.str(name).unwrap_or_default();
        let known = self.schedules.entry(text("sha256").to_owned()).or_default();
        let (part, parts) = (entry.u64("part").unwrap_or(1), entry.u64("parts").unwrap_or(1));
        if part == 1 {
            known.text.clear();
            known.line = ScheduleLine {
                id: text("id").to_owned(),
                title: text("title").to_owned(),
                sha256: text("sha256").to_owned(),
                since: entry.at.clone(),
                entry: entry.n,
                ..ScheduleLine::default()
            };
        }
        known.text.push_str(text("text"));
        if part < parts {
            return;
        }
        let text = std::mem::take(&mut known.text);
        // A text of another version of this program may not be read by this one; what was done under it counts all the same.
        let Ok(schedules) = Schedules::parse("the log", &text) else { return };
        for schedule in schedules.all {
            known.line.owner.clone_from(&schedule.owner);
            known.line.approved = schedule.approved.map(|day| day.to_string());
            for class in schedule.classes.values() {
                let rule = Rule {
                    title: class.title.clone(),
                    keep: class.keep.to_string(),
                    then: class.then.map(crate::schedule::Disposition::as_str),
                    authority: class.authority.clone(),
                    source: class.source.clone(),
                };
                known.rules.insert(class.id.to_string(), rule);
            }
        }
    }

    fn close(mut self, signed: &Signed, organisation: Option<String>, made: String) -> Certificate {
        for line in self.rules.values_mut() {
            let rule = self.schedules.get(&line.schedule).and_then(|known| known.rules.get(&line.class));
            if let Some(rule) = rule {
                line.title = Some(rule.title.clone());
                line.keep = Some(rule.keep.clone());
                line.then = rule.then.map(str::to_owned);
                line.authority.clone_from(&rule.authority);
                line.source.clone_from(&rule.source);
            }
        }
        for ((method, grade), line) in &mut self.methods {
            (line.method, line.grade, line.meaning) = (method.clone(), grade.clone(), words::grade(method, grade));
        }
        for ((method, grade, caveat), records) in self.caveats {
            if let Some(line) = self.methods.get_mut(&(method, grade)) {
                let meaning = words::caveat(&caveat);
                line.caveats.push(CaveatLine { caveat, meaning, records });
            }
        }
        let exceptions = self.exceptions.into_iter().map(|((what, dataset, why), records)| {
            let meaning = if what == "kept" { words::kept(&why) } else { "" };
            ExceptionLine { what, dataset, why, meaning, records }
        });
        let used: BTreeSet<&String> = self.rules.values().map(|line| &line.schedule).collect();
        let schedules = self.schedules.iter().filter(|(sha256, _)| used.contains(sha256)).map(|(_, known)| known.line.clone());
        let concerns = |line: &DatasetLine| self.about.classes.is_empty() || line.classes.iter().any(|class| self.about.has_class(class));
        let sum = |of: fn(&RuleLine) -> u64| self.rules.values().map(of).sum();
        let Verified { size, root, origin, first_at, last_at, unpublished, open_intents, .. } = signed.verified.clone();
        Certificate {
            organisation,
            made,
            destroyed: sum(|line| line.destroyed),
            anonymised: sum(|line| line.anonymised),
            found_gone: sum(|line| line.found_gone),
            bytes: sum(|line| line.bytes),
            first_at: self.first_at,
            last_at: self.last_at,
            methods: self.methods.into_values().collect(),
            exceptions: exceptions.collect(),
            datasets: self.datasets.into_values().filter(concerns).collect(),
            decisions: self.decisions,
            more_decisions: self.more_decisions,
            schedules: schedules.collect(),
            rules: self.rules.into_values().collect(),
            backups: self.backups.into_values().collect(),
            programs: self.programs,
            verification: Verification {
                intact: true,
                origin,
                size,
                root,
                log_first_at: first_at,
                log_last_at: last_at,
                unpublished,
                open_intents,
                key: signed.key.clone(),
                checkpoint: signed.note.clone(),
            },
            about: self.about,
        }
    }
}
