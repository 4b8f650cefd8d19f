//! Everything [`crate::judge`] needs to know about a batch of records, asked for and put together.
//!
//! Judging is pure; the facts are not. Some dates live in other datasets and are looked up here, batch by batch; some records are matched by
//! other datasets too and must be due under those as well; holds are compared by pseudonym. The same [`Assessor`] serves the scan, the plan and
//! the moment of destruction, so there is no second way to come to a verdict.
//!
//! A look-up that fails is a doubt about the records it was for, never about the others, and never an error of the run.

mod recent;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use crate::audit::Pseudonyms;
use crate::clock::Today;
use crate::config::{ClassChoice, Config, Dataset, EventSource, Lookup};
use crate::hold::{EventRange, Holds, Subject};
use crate::judge::{Bound, RuleToday, Standing, Verdict, judge};
use crate::record::{Doubt, Reading, Record};
use crate::register::Register;
use crate::schedule::history::Former;
use crate::schedule::{Answer, ClassId, EventName, Rule};
use crate::store::{Kept, Store};
use recent::{Judged, Recent};

/// Comes to verdicts about the records of one dataset on one day.
pub struct Assessor {
    config: Arc<Config>,
    dataset: Arc<Dataset>,
    today: Today,
    holds: Arc<RwLock<Holds>>,
    pseudonyms: Arc<Pseudonyms>,
    /// The dataset's own rules with their dates, made once: the rules of every record, or those of each value that picks a class.
    rules: OwnRules,
    /// What was in force before, by dataset.
    formers: Arc<Formers>,
    /// Whether another dataset of the store may match the same records.
    overlapping: bool,
    /// The names of all classes and datasets, and of all events: what a hold names that is not among them was perhaps given another name.
    names: HashSet<String>,
    events: HashSet<String>,
    /// Which records people said they destroyed.
    register: Option<Register>,
    recent: Recent,
}

enum OwnRules {
    All(Vec<RuleToday>),
    By(BTreeMap<String, Vec<RuleToday>>),
}

fn rules_today(rules: &[Rule], today: Today) -> Vec<RuleToday> {
    rules.iter().map(|rule| RuleToday { rule: rule.clone(), today: today.date_in(&rule.schedule.zone) }).collect()
}

/// What was in force before, by dataset: see [`crate::schedule::history`].
pub type Formers = BTreeMap<String, Vec<Former>>;

/// A verdict and the readings from elsewhere that it rests on.
#[derive(Clone, Debug)]
pub struct Assessment {
    /// The verdict; records that say the same share one.
    pub verdict: Arc<Verdict>,
    /// For each event that is looked up: its position among the record's readings, and what the other dataset said.
    pub looked_up: Vec<(usize, Reading)>,
}

/// What one class, now or before an edit that is not old enough, says to a request for erasure.
#[derive(Clone, Debug)]
pub struct Says {
    /// The class; `None` when it cannot be told.
    pub rule: Option<Rule>,
    /// The dataset in which it applies to the record.
    pub dataset: String,
    /// For what was in force before: when the edit is old enough.
    pub until: Option<jiff::Timestamp>,
}

impl Says {
    /// The answer; what cannot be told refuses.
    pub fn answer(&self) -> Answer {
        self.rule.as_ref().map_or(Answer::Refuse, |rule| rule.class.answer())
    }
}

impl Assessor {
    /// An assessor for one dataset.
    pub fn new(
        config: Arc<Config>,
        dataset: Arc<Dataset>,
        today: Today,
        holds: Arc<RwLock<Holds>>,
        pseudonyms: Arc<Pseudonyms>,
        formers: Arc<Formers>,
    ) -> Self {
        let overlapping = dataset.store.overlaps().iter().any(|(one, other)| *one == dataset.name || *other == dataset.name);
        let rules = match &dataset.classes {
            ClassChoice::All(rules) => OwnRules::All(rules_today(rules, today)),
            ClassChoice::By { map, .. } => {
                OwnRules::By(map.iter().map(|(value, rules)| (value.clone(), rules_today(rules, today))).collect())
            }
        };
        let names = config.schedules.class_ids().map(ToString::to_string);
        let names = names.chain(config.datasets.iter().map(|one| one.address.clone())).collect();
        let events = config.datasets.iter().flat_map(|one| &one.events).map(|(event, _)| event.to_string()).collect();
        let recent = Recent::default();
        Self { config, dataset, today, holds, pseudonyms, rules, formers, overlapping, names, events, register: None, recent }
    }

    /// The same, and it knows from the register which records people said they destroyed.
    #[must_use]
    pub fn with_register(self, register: Option<Register>) -> Self {
        Self { register, ..self }
    }

    /// The day that counts as today.
    pub fn today(&self) -> Today {
        self.today
    }

    /// All stores of the configuration.
    pub fn stores(&self) -> &[Arc<dyn Store>] {
        &self.config.stores
    }

    /// The dataset.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// What a scan may leave out: records that no class of the dataset can make due today. Events that are looked up bind nothing here.
    pub fn bound(&self) -> Bound {
        let here = |bound: Bound| self.without_lookups(bound);
        match &self.rules {
            OwnRules::All(rules) => here(Bound::of_all(rules)),
            OwnRules::By(map) => Bound::Any(map.values().map(|rules| here(Bound::of_all(rules))).collect()),
        }
    }

    /// Drops bounds on events whose dates are elsewhere: the store cannot test them.
    fn without_lookups(&self, bound: Bound) -> Bound {
        match bound {
            Bound::AtMost { ref event, .. } => match self.dataset.event_index(event).map(|at| &self.dataset.events[at].1) {
                Some(EventSource::Here) => bound,
                _ => Bound::All(Vec::new()),
            },
            Bound::All(bounds) => Bound::All(bounds.into_iter().map(|bound| self.without_lookups(bound)).collect()),
            Bound::Any(bounds) => Bound::Any(bounds.into_iter().map(|bound| self.without_lookups(bound)).collect()),
            Bound::Never => Bound::Never,
        }
    }

    /// The rules of a record of this dataset; none when the value that picks the class is missing or not in the map.
    fn own_rules(&self, record: &Record) -> &[RuleToday] {
        match &self.rules {
            OwnRules::All(rules) => rules,
            OwnRules::By(map) => record.class_value.as_deref().and_then(|value| map.get(value)).map_or(&[], Vec::as_slice),
        }
    }

    /// Whether a verdict needs more than the record itself: dates that are looked up, or other datasets that may match the same record.
    pub fn asks_elsewhere(&self) -> bool {
        self.overlapping || self.dataset.events.iter().any(|(_, source)| *source != EventSource::Here)
    }

    /// Verdicts about records, in order.
    pub async fn assess(&self, records: &[Record]) -> Vec<Assessment> {
        let looked_up = self.look_up(&self.dataset, records).await;
        // Without holds and look-ups a verdict depends on readings and class alone, and the records of one day's folder have these in common.
        let no_holds = self.holds.read().is_ok_and(|holds| holds.is_empty());
        let mut assessments: Vec<Assessment> = Vec::with_capacity(records.len());
        let mut before: Option<&Record> = None;
        for (record, looked_up) in records.iter().zip(looked_up.into_iter().chain(std::iter::repeat_with(Vec::new))) {
            let alike = |one: &&Record| {
                no_holds && looked_up.is_empty() && one.readings == record.readings && one.class_value == record.class_value
            };
            let verdict = match (before.filter(alike), assessments.last()) {
                (Some(_), Some(last)) if last.looked_up.is_empty() => Arc::clone(&last.verdict),
                _ => self.judge_own(record, &looked_up).shared(),
            };
            before = Some(record);
            assessments.push(Assessment { verdict, looked_up });
        }
        if self.overlapping {
            self.assess_elsewhere(records, &mut assessments).await;
        }
        assessments
    }

    /// Which of the records a person has said to be destroyed. One whose date is later than the date that was confirmed is another record that was filed
    /// under the same key since, or one about which the list says something new: it is judged like any other.
    pub async fn attested(&self, records: &[Record], assessments: &[Assessment]) -> crate::error::Result<Vec<bool>> {
        let Some(register) = &self.register else { return Ok(vec![false; records.len()]) };
        let mut gone = Vec::with_capacity(records.len());
        for (record, assessment) in records.iter().zip(assessments) {
            let names = self.pseudonyms.all_for(self.dataset.store.name(), &self.dataset.name, record.key.as_bytes());
            let confirmed = register.attested(&self.dataset.address, &names).await?;
            let date = assessment.verdict.deciding.as_ref().map(|facts| facts.event_date);
            gone.push(confirmed.is_some_and(|confirmed| date <= Some(confirmed)));
        }
        Ok(gone)
    }

    /// Who says what to a request for erasure of each record: the classes that apply to it in every dataset that matches it, and those that did before an
    /// edit that is not old enough.
    pub async fn says_on_erasure(&self, records: &[Record]) -> Vec<Vec<Says>> {
        let mut all: Vec<Vec<Says>> =
            records.iter().map(|record| self.says(&self.dataset, record, self.own_rules(record).iter().map(|one| &one.rule))).collect();
        if self.overlapping {
            let others = self.dataset.store.elsewhere(&self.dataset.name, records).await;
            let Some(others) = others.ok().filter(|others| others.len() == records.len()) else {
                all.iter_mut().for_each(|says| says.push(Says { rule: None, dataset: self.dataset.address.clone(), until: None }));
                return all;
            };
            for (others, says) in others.into_iter().zip(&mut all) {
                for (name, record) in others {
                    if let Some(other) = self.config.dataset(self.dataset.store.name(), &name) {
                        says.extend(self.says(other, &record, other.rules_for(&record)));
                    }
                }
            }
        }
        all
    }

    fn says<'r>(&self, dataset: &Dataset, record: &Record, rules: impl IntoIterator<Item = &'r Rule>) -> Vec<Says> {
        let says = |rule: Option<&Rule>, until| Says { rule: rule.cloned(), dataset: dataset.address.clone(), until };
        let mut all: Vec<Says> = rules.into_iter().map(|rule| says(Some(rule), None)).collect();
        // Many edits may have brought the same words back: each is asked once, for as long as the last of them counts.
        let mut before = |rule: Option<&Rule>, until| {
            let same = |one: &&mut Says| one.until.is_some() && one.rule.as_ref().map(words_of) == rule.map(words_of);
            match all.iter_mut().find(same) {
                Some(one) => one.until = one.until.max(Some(until)),
                None => all.push(says(rule, Some(until))),
            }
        };
        for former in self.formers.get(&dataset.address).into_iter().flatten() {
            match former.rules(record.class_value.as_deref()) {
                Some(rules) => rules.iter().for_each(|rule| before(Some(rule), former.until)),
                None => before(None, former.until),
            }
        }
        all
    }

    /// Judges one record of this dataset again with fresh readings, and the readings from elsewhere that were looked up for it just before.
    /// Answers why it must be kept, or nothing when it may go; `kept` says that of a verdict.
    pub fn still_due(
        &self,
        fresh: &Record,
        planned: &Record,
        looked_up: &[(usize, Reading)],
        kept: &dyn Fn(&Verdict) -> Option<Kept>,
    ) -> Option<Kept> {
        for (at, _) in looked_up {
            if fresh.readings.get(*at) != planned.readings.get(*at) {
                return Some(Kept::Changed("what its date is looked up by".into()));
            }
        }
        kept(&self.judge_own(fresh, looked_up))
    }

    /// The verdict on a record of this dataset, unless it is known: see [`recent`].
    fn judge_own(&self, record: &Record, looked_up: &[(usize, Reading)]) -> Judged {
        let rules = self.own_rules(record);
        let held = self.held(&self.dataset, rules, record, looked_up);
        let judge = |held| self.judge_held((&self.dataset, rules), record, looked_up, held);
        let free = held.is_none() && looked_up.is_empty();
        let known = if free { self.recent.verdict(record.class_value.as_deref(), &record.readings, || judge(None)) } else { None };
        known.map_or_else(|| Judged::Anew(judge(held.as_ref())), Judged::Known)
    }

    fn judge(&self, dataset: &Dataset, rules: &[RuleToday], record: &Record, looked_up: &[(usize, Reading)]) -> Verdict {
        let held = self.held(dataset, rules, record, looked_up);
        self.judge_held((dataset, rules), record, looked_up, held.as_ref())
    }

    /// The hold, as (id, kind), that protects a record at this moment.
    fn held(&self, dataset: &Dataset, rules: &[RuleToday], record: &Record, looked_up: &[(usize, Reading)]) -> Option<(String, String)> {
        let holds = self.holds.read().unwrap_or_else(PoisonError::into_inner);
        if holds.is_empty() { None } else { self.protecting(&holds, dataset, record, rules, &reading_of(dataset, record, looked_up)) }
    }

    /// A verdict that rests on this hold, or none, and otherwise only on what stays the same for as long as this value lives.
    fn judge_held(
        &self,
        (dataset, rules): (&Dataset, &[RuleToday]),
        record: &Record,
        looked_up: &[(usize, Reading)],
        held: Option<&(String, String)>,
    ) -> Verdict {
        let reading = reading_of(dataset, record, looked_up);
        let verdict = judge(rules, &reading, held.map(|(id, kind)| (id.as_str(), kind.as_str())));
        let formers = self.formers.get(&dataset.address).map_or(&[][..], Vec::as_slice);
        formers.iter().fold(verdict, |verdict, former| {
            let before = former.rules(record.class_value.as_deref()).map(|rules| rules_today(rules, self.today));
            verdict.and_before(former.until, before.as_deref(), &reading)
        })
    }

    /// Whether some hold in force names a subject.
    pub fn holds_name_subjects(&self) -> bool {
        self.holds.read().unwrap_or_else(PoisonError::into_inner).name_subjects()
    }

    fn protecting<'r>(
        &self,
        holds: &Holds,
        dataset: &Dataset,
        record: &Record,
        rules: &[RuleToday],
        reading: &dyn Fn(&EventName) -> Option<&'r Reading>,
    ) -> Option<(String, String)> {
        // In each zone that applies; what cannot be told may be within.
        let within = |range: &EventRange| {
            if range.event.as_deref().is_some_and(|event| !self.events.contains(event)) {
                return true;
            }
            dataset.events.iter().filter(|(name, _)| range.event.as_deref().is_none_or(|one| one == name.as_str())).any(|(name, _)| {
                match reading(name) {
                    Some(Reading::At(moment)) => {
                        rules.iter().any(|one| range.holds(name.as_str(), moment.date_in(&one.rule.schedule.zone)))
                    }
                    Some(Reading::NotYet) => false,
                    Some(Reading::Doubt(_) | Reading::Elsewhere(_)) | None => true,
                }
            })
        };
        let classes: Vec<&str> = rules.iter().map(|rule| rule.rule.class.id.as_str()).collect();
        let it = Subject {
            dataset: &dataset.address,
            classes: &classes,
            record_names: &|| self.pseudonyms.all_for(dataset.store.name(), &dataset.name, record.key.as_bytes()),
            subject_names: &|| {
                record.subject.as_deref().map_or_else(Vec::new, |subject| self.pseudonyms.all_for_subject(subject.as_bytes()))
            },
            within: &within,
            is_known: &|name| self.names.contains(name),
        };
        // Without a rule there is no schedule and no zone; the record stays in any case. The earliest zone's date keeps a hold longest.
        let today = rules.iter().map(|rule| rule.today).min().unwrap_or(jiff::civil::Date::MIN);
        holds.protecting(&it, today).map(|hold| (hold.id.clone(), hold.kind.clone()))
    }

    /// For each record the readings of the events that are looked up elsewhere; an empty list where none are.
    async fn look_up(&self, dataset: &Dataset, records: &[Record]) -> Vec<Vec<(usize, Reading)>> {
        if dataset.events.iter().all(|(_, source)| *source == EventSource::Here) {
            return Vec::new();
        }
        let mut found = vec![Vec::new(); records.len()];
        for (at, (_, source)) in dataset.events.iter().enumerate() {
            if let EventSource::Lookup(lookup) = source {
                let by: Vec<Option<&str>> = records.iter().map(|record| by_value(record, at)).collect();
                for ((reading, value), found) in self.answers(lookup, &by).await.into_iter().zip(&by).zip(&mut found) {
                    let reading = if value.is_none() { Reading::Doubt(Doubt::Missing(format!("`{}`", lookup.by))) } else { reading };
                    found.push((at, reading));
                }
            }
        }
        found
    }

    /// One answer for each value, each distinct value asked once.
    async fn answers(&self, lookup: &Lookup, by: &[Option<&str>]) -> Vec<Reading> {
        let failed = |why: String| vec![Reading::Doubt(Doubt::Failed(why)); by.len()];
        let Some(target) = self.config.dataset(&lookup.store, &lookup.dataset) else {
            return failed(format!("{}.{} does not exist", lookup.store, lookup.dataset));
        };
        let mut distinct: BTreeMap<&str, usize> = BTreeMap::new();
        let mut values: Vec<&str> = Vec::new();
        for value in by.iter().flatten() {
            distinct.entry(value).or_insert_with(|| {
                values.push(value);
                values.len() - 1
            });
        }
        if values.is_empty() {
            return failed("there is no value to look up".into());
        }
        match target.store.lookup(&target.name, &lookup.event, lookup.on.as_deref(), &values).await {
            Ok(readings) if readings.len() == values.len() => {
                let answer = |value: Option<&str>| value.and_then(|value| distinct.get(value)).and_then(|at| readings.get(*at));
                by.iter().map(|value| answer(*value).cloned().unwrap_or(Reading::Doubt(Doubt::Failed("no answer".into())))).collect()
            }
            Ok(_) => failed(format!("{} answered another number of values", target.address)),
            Err(error) => failed(error.to_string()),
        }
    }

    /// Adds to each verdict what other datasets of the store say about the same record.
    async fn assess_elsewhere(&self, records: &[Record], assessments: &mut [Assessment]) {
        let others = match self.dataset.store.elsewhere(&self.dataset.name, records).await {
            Ok(others) if others.len() == records.len() => others,
            Ok(_) => return self.doubt_all(assessments, "the store answered for another number of records"),
            Err(error) => return self.doubt_all(assessments, &error.to_string()),
        };
        for (others, assessment) in others.into_iter().zip(assessments) {
            for (name, record) in others {
                let Some(other) = self.config.dataset(self.dataset.store.name(), &name) else {
                    continue;
                };
                let looked_up = self.look_up(other, std::slice::from_ref(&record)).await.pop().unwrap_or_default();
                let rules = rules_today(other.rules_for(&record), self.today);
                let verdict = self.judge(other, &rules, &record, &looked_up);
                let so_far = Verdict::clone(&assessment.verdict);
                assessment.verdict = Arc::new(so_far.and_elsewhere(&other.address, verdict));
            }
        }
    }

    fn doubt_all(&self, assessments: &mut [Assessment], why: &str) {
        for assessment in assessments {
            let doubt = crate::judge::Reason::Doubt {
                class: self.dataset.rules()[0].class.id.clone(),
                event: self.dataset.events.first().map_or_else(unnamed_event, |(name, _)| name.clone()),
                doubt: Doubt::Failed(format!("other datasets could not be asked about the same record: {why}")),
            };
            let verdict = Arc::make_mut(&mut assessment.verdict);
            verdict.standing = verdict.standing.max_keeping(Standing::Undetermined);
            (verdict.then, verdict.on_approval) = (None, None);
            verdict.on_erasure = verdict.on_erasure.max(Answer::Refuse);
            verdict.reasons.push(doubt);
        }
    }
}

/// What tells one version of a class from all others.
fn words_of(rule: &Rule) -> (&ClassId, &str) {
    (&rule.class.id, &rule.schedule.sha256)
}

/// What is known of each event of a record: what was looked up elsewhere, or else what the record itself says.
fn reading_of<'r>(
    dataset: &'r Dataset,
    record: &'r Record,
    looked_up: &'r [(usize, Reading)],
) -> impl Fn(&EventName) -> Option<&'r Reading> {
    move |event| {
        let at = dataset.event_index(event)?;
        looked_up.iter().find(|(known, _)| *known == at).map(|(_, reading)| reading).or_else(|| record.readings.get(at))
    }
}

fn unnamed_event() -> EventName {
    EventName::parse("event").expect("a plain word is an event name")
}

fn by_value(record: &Record, at: usize) -> Option<&str> {
    match record.readings.get(at) {
        Some(Reading::Elsewhere(value)) => value.as_deref(),
        _ => None,
    }
}

/// Why a verdict keeps the record, as the audit log says it; nothing when it is due.
pub fn why_kept(verdict: &Verdict) -> Option<Kept> {
    let text = || verdict.reasons.iter().map(crate::judge::Reason::without_values).collect::<Vec<_>>().join("; ");
    match verdict.standing {
        Standing::Due => None,
        Standing::Held => match verdict.reasons.first() {
            Some(crate::judge::Reason::Held { hold, .. }) => Some(Kept::Held(hold.clone())),
            _ => Some(Kept::Held(text())),
        },
        _ => Some(Kept::NotDue(text())),
    }
}
