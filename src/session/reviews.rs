//! Where review batches stand, and the step of a run that holds its plan against them.
//!
//! The terms are those of every class with `then: review` that applies to the records, as the schedule says now, as it said when each approval was
//! given, and as it said before an edit that is not old enough: all must be met. So an edit of the schedule makes nothing easier at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Ran, Session};
use crate::assess::{Assessor, Formers};
use crate::audit::Pseudonyms;
use crate::clock::Today;
use crate::config::{ClassChoice, Config, Dataset};
use crate::control::PAGE;
use crate::dispose::Run;
use crate::error::Result;
use crate::finding::Finding;
use crate::judge::Reason;
use crate::plan::{Item, Tally};
use crate::record::Address;
use crate::register::{Decided, Register};
use crate::review::batch::SHORT;
use crate::review::{self, Batch, Decision, Facts, Left, Standing, What, sift};
use crate::scan::{Planned, source};
use crate::schedule::{Disposition, Rule, Schedules, Terms};
use crate::spool::{Spool, Writer};

/// What is needed to tell where batches stand: with or without the lock of the state folder.
pub struct Reviews<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The register.
    pub register: &'a Register,
    /// What was in force before.
    pub formers: &'a Formers,
    /// The present moment.
    pub now: Timestamp,
}

/// What was found of a batch.
pub struct Looked {
    /// Where it stands.
    pub standing: Standing,
    /// What was decided about it.
    pub decisions: Vec<Decided>,
    /// What must be met.
    pub terms: Vec<Terms>,
    /// The accounts of those who edited or confirmed the schedule.
    pub editors: Vec<String>,
    /// The class and its schedule as they are now; `None` when there is no such class or dataset any more, and nothing can be decided.
    pub rule: Option<Rule>,
    /// Today in the zone of the schedule.
    pub today: Date,
}

impl Reviews<'_> {
    /// Looks where a batch stands.
    pub async fn look(&self, batch: &Batch) -> Result<Looked> {
        let decisions = self.register.decisions(&batch.id).await?;
        let class = &batch.asked().class;
        let dataset = self.config.dataset(batch.store_name(), batch.dataset_name());
        let (Some(rule), Some(dataset)) = (self.config.schedules.rule(class), dataset) else {
            // Nothing can be approved any more; what people keep stays kept.
            let today = Today::Now(self.now).date_in(&TimeZone::UTC);
            let keeping = decisions.iter().filter(|one| one.what != What::Approve).map(|one| decision(one, &TimeZone::UTC));
            let standing = Standing::of(&keeping.collect::<Vec<_>>(), &[], &[], today);
            return Ok(Looked { standing, decisions, terms: Vec::new(), editors: Vec::new(), rule: None, today });
        };
        let mut terms = self.terms(dataset, class);
        let unknown = self.add_earlier_terms(&rule, &decisions, &mut terms).await?;
        let editors = self.register.editors(&rule.schedule.id).await?;
        let zone = &rule.schedule.zone;
        let today = Today::Now(self.now).date_in(zone);
        let usable = |one: &&Decided| one.what != What::Approve || !unknown.contains(&one.schedule);
        let all: Vec<Decision> = decisions.iter().filter(usable).map(|one| decision(one, zone)).collect();
        let standing = Standing::of(&all, &terms, &editors, today);
        Ok(Looked { standing, decisions, terms, editors, rule: Some(rule), today })
    }

    /// Every batch, with where it stands: no key is in it.
    pub async fn list(&self, selection: Option<&str>) -> Result<Vec<Listed>> {
        let wanted: Option<Vec<String>> = match selection {
            Some(_) => Some(self.config.select(selection)?.iter().map(|dataset| dataset.address.clone()).collect()),
            None => None,
        };
        let (all, _) = Batch::all(&review::folder(self.config))?;
        let mut rows = Vec::new();
        for batch in all {
            if wanted.as_ref().is_none_or(|wanted| wanted.contains(&batch.dataset())) {
                let looked = self.look(&batch).await?;
                rows.push(Listed::of(&batch, &looked));
            }
        }
        Ok(rows)
    }

    /// The terms of every class that may apply to a record of this one, now and before an edit that is not old enough.
    fn terms(&self, dataset: &Dataset, class: &str) -> Vec<Terms> {
        let mut terms: Vec<Terms> = Vec::new();
        let mut add = |rule: &Rule| {
            if rule.class.then == Some(Disposition::Review) && !terms.contains(&rule.class.review) {
                terms.push(rule.class.review);
            }
        };
        let lists: Vec<&[Rule]> = match &dataset.classes {
            ClassChoice::All(rules) => vec![rules],
            ClassChoice::By { map, .. } => map.values().map(Vec::as_slice).collect(),
        };
        lists.into_iter().filter(|rules| rules.iter().any(|rule| rule.class.id.as_str() == class)).flatten().for_each(&mut add);
        self.formers.get(&dataset.address).into_iter().flatten().flat_map(|former| former.all()).for_each(&mut add);
        terms
    }

    /// The terms of the class as the schedule had it when each approval was given; answers the schedules that cannot be read any more.
    async fn add_earlier_terms(&self, rule: &Rule, decisions: &[Decided], terms: &mut Vec<Terms>) -> Result<Vec<String>> {
        let mut earlier: Vec<&str> = decisions.iter().filter(|one| one.what == What::Approve).map(|one| one.schedule.as_str()).collect();
        earlier.retain(|schedule| *schedule != &*rule.schedule.sha256);
        if earlier.is_empty() {
            return Ok(Vec::new());
        }
        earlier.sort_unstable();
        earlier.dedup();
        let mut unknown = Vec::new();
        for schedule in earlier {
            let text = self.register.schedule_text(schedule).await?;
            let read = text.and_then(|(id, text)| Schedules::parse(&id, &text).ok());
            match read.and_then(|schedules| schedules.rule(rule.class.id.as_str())) {
                Some(before) if before.class.then == Some(Disposition::Review) => terms.push(before.class.review),
                Some(_) => {}
                None => unknown.push(schedule.to_owned()),
            }
        }
        Ok(unknown)
    }
}

/// A decision with its day in a zone.
fn decision(one: &Decided, zone: &TimeZone) -> Decision {
    Decision {
        entry: one.entry,
        what: one.what,
        on: zone.to_datetime(one.at).date(),
        person: one.person.clone(),
        name: one.name.clone(),
        until: one.until,
    }
}

/// One batch in a listing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// The id, 64 hexadecimal digits.
    pub batch: String,
    /// `store/dataset`.
    pub dataset: String,
    /// The class's id.
    pub class: String,
    /// Its title; `None` when there is no such class any more.
    pub title: Option<String>,
    /// The month in which the keeping of the records ended.
    pub month: String,
    /// How many there are.
    pub records: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Since when it is asked.
    pub since: String,
    /// `waiting`, `cooling-off`, `approved`, `refused` or `extended`.
    pub standing: &'static str,
    /// The same in a sentence.
    pub words: String,
    /// What the class asks for.
    pub terms: Vec<String>,
    /// What was decided, in sentences.
    pub decisions: Vec<String>,
}

impl Listed {
    fn of(batch: &Batch, looked: &Looked) -> Self {
        let asked = batch.asked();
        Self {
            batch: batch.id.clone(),
            dataset: batch.dataset(),
            class: asked.class.clone(),
            title: looked.rule.as_ref().map(|rule| rule.class.title.clone()),
            month: asked.month.clone(),
            records: batch.records(),
            bytes: asked.bytes,
            since: asked.since.clone(),
            standing: looked.standing.word(),
            words: looked.words(),
            terms: looked.terms.iter().map(ToString::to_string).collect(),
            decisions: looked.decisions.iter().map(Decided::to_string).collect(),
        }
    }
}

impl Looked {
    /// Where it stands, in a sentence.
    pub fn words(&self) -> String {
        if self.rule.is_none() {
            return "its class or dataset is no longer configured: nothing of it goes".to_owned();
        }
        match &self.standing {
            Standing::Waiting { given, missing, until } => {
                let more = if *missing == 1 { "1 person".to_owned() } else { format!("{missing} people") };
                match until.filter(|_| !given.is_empty()) {
                    Some(until) => format!("waits for the approval of {more} more; what was given is over after {until}"),
                    None => format!("waits for the approval of {more}"),
                }
            }
            Standing::CoolingOff { ready, .. } => format!("approved; nothing goes before {ready}, and until then it can be withdrawn"),
            Standing::Approved { until, .. } => {
                format!("approved until {until}; the next run destroys what is still due, unchanged and not held")
            }
            Standing::Kept { until, refused: true } => format!("refused; kept through {until}, and asked again then"),
            Standing::Kept { until, refused: false } => format!("extended; kept through {until}, and asked again then"),
        }
    }
}

/// Records told at once.
const LINES: usize = 200;

/// At most [`PAGE`] records of a batch from the record `from` on, in groups: as text, and as a list of JSON objects.
pub fn records_of_batch(config: &Config, id: &str, from: u64, tell: &mut dyn FnMut(String, Value) -> Result<()>) -> Result<()> {
    let batch = Batch::find(&review::folder(config), id)?;
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    let (from, most) = (usize::try_from(from).unwrap_or(usize::MAX), usize::try_from(PAGE).unwrap_or(usize::MAX));
    for item in batch.items()?.skip(from).take(most) {
        let item = item?;
        let key = item.record.key.clone();
        let address = Address { store: batch.store_name().to_owned(), dataset: batch.dataset_name().to_owned(), key };
        let facts = &item.deciding;
        let reason = Reason::Over(facts.clone()).to_string();
        lines.push(format!("{address}\t{}\t{reason}", item.record.size));
        rows.push(json!({
            "address": address.to_string(), "size": item.record.size, "class": facts.class.as_str(), "event": facts.event.as_str(),
            "event-date": facts.event_date.to_string(), "due": facts.due.to_string(), "reason": reason,
        }));
        if lines.len() == LINES {
            tell(std::mem::take(&mut lines).join("\n"), Value::Array(std::mem::take(&mut rows)))?;
        }
    }
    if lines.is_empty() { Ok(()) } else { tell(lines.join("\n"), Value::Array(rows)) }
}

/// The batch that holds this record, if one does.
pub fn batch_of(config: &Config, address: &Address) -> Result<Option<Batch>> {
    let (all, _) = Batch::all(&review::folder(config))?;
    let wanted = format!("{}/{}", address.store, address.dataset);
    for batch in all.into_iter().filter(|batch| batch.dataset() == wanted) {
        for item in batch.items()? {
            // Sorted, so the rest holds no such key.
            match item?.record.key.cmp(&address.key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(Some(batch)),
                std::cmp::Ordering::Greater => break,
            }
        }
    }
    Ok(None)
}

/// The first instant that is after this day.
fn end_of(day: Date, zone: &TimeZone) -> Timestamp {
    day.tomorrow().ok().and_then(|next| zone.to_zoned(next.at(0, 0, 0, 0)).ok()).map_or(Timestamp::MIN, |start| start.timestamp())
}

impl Session {
    /// What tells where batches stand.
    pub fn reviews(&self) -> Reviews<'_> {
        Reviews { config: &self.config, register: &self.register, formers: &self.formers, now: self.now }
    }

    /// The batches of a dataset, and where each stands.
    pub(super) async fn batches_of(&self, dataset: &Dataset) -> Result<Vec<(Batch, Looked)>> {
        let (all, _) = Batch::all(&review::folder(&self.config))?;
        let mut known = Vec::new();
        for batch in all.into_iter().filter(|batch| batch.dataset() == dataset.address) {
            let looked = self.reviews().look(&batch).await?;
            known.push((batch, looked));
        }
        Ok(known)
    }

    /// Lets the one door know which approvals of a dataset are in force today.
    pub(crate) async fn refresh_approvals(&self, dataset: &Dataset) -> Result<()> {
        let _alone = self.shared.reviewing.lock().await;
        let mut in_force = Vec::new();
        for (batch, looked) in self.batches_of(dataset).await? {
            if let (Standing::Approved { given, until }, Some(rule)) = (&looked.standing, &looked.rule) {
                in_force.push((batch.id.clone(), end_of(*until, &rule.schedule.zone), given.clone()));
            }
        }
        self.shared.approvals.set(&dataset.address, in_force);
        Ok(())
    }

    /// The item as it is destroyed, if people approved just this one and the approval is in force; changes nothing of any batch.
    pub(super) async fn approved(&self, dataset: &Arc<Dataset>, assessor: &Assessor, item: &Item) -> Result<Option<Item>> {
        self.refresh_approvals(dataset).await?;
        let mut writer = Writer::create(&self.plans())?;
        writer.add_item(item)?;
        let plan = writer.finish(&source(dataset).await, Tally { review: 1, ..Tally::default() })?;
        let _alone = self.shared.reviewing.lock().await;
        let known = self.batches_of(dataset).await?.into_iter().map(|(batch, looked)| (batch, looked.standing)).collect();
        let (folder, now) = (self.plans(), format!("{:.0}", self.now));
        let facts = Facts { folder: &folder, write: false, assessor, pseudonyms: &self.pseudonyms, epoch: None, now };
        let sifted = sift(&facts, plan, known).await?;
        let found = sifted.plan.items()?.next().transpose()?;
        Ok(found.filter(|item| item.then == Disposition::Destroy && item.approval.is_some()))
    }

    /// Approved batches whose file is not there, although not all of them is gone.
    async fn lost_batches(&self, dataset: &Dataset, known: &[(Batch, Looked)]) -> Result<Vec<String>> {
        let folder = review::folder(&self.config);
        // The zone of the day matters little: this only tells people.
        let approved = self.register.approved_batches(&dataset.address, Today::Now(self.now).date_in(&TimeZone::UTC)).await?;
        let done = Batch::all_done(&folder, &dataset.address);
        done.iter().filter(|id| !approved.contains(id)).for_each(|id| Batch::forget_done(&folder, id));
        let there = |id: &String| done.contains(id) || known.iter().any(|(batch, _)| batch.id == *id);
        Ok(approved.into_iter().filter(|id| !there(id)).map(|id| id.get(..SHORT).unwrap_or(&id).to_owned()).collect())
    }

    /// Holds the plan of a run against what people decided, and freezes what they are to decide: answers the plan that is spent.
    pub(super) async fn review(&self, run: &Run, plan: Spool, ran: &mut Ran) -> Result<Spool> {
        let dataset = Arc::clone(run.dataset());
        let _alone = self.shared.reviewing.lock().await;
        let known = self.batches_of(&dataset).await?;
        let gone = self.lost_batches(&dataset, &known).await?;
        ran.findings.extend(findings(&dataset.address, &Left { lost: gone, ..Left::default() }));
        if known.is_empty() && plan.footer.tally.review == 0 {
            self.shared.approvals.set(&dataset.address, []);
            return Ok(plan);
        }
        let folder = review::folder(&self.config);
        let zones: BTreeMap<String, TimeZone> =
            known.iter().filter_map(|(batch, looked)| Some((batch.id.clone(), looked.rule.as_ref()?.schedule.zone.clone()))).collect();
        let facts = Facts {
            folder: &folder,
            write: true,
            assessor: &run.assessor,
            pseudonyms: &self.pseudonyms,
            epoch: Some(Arc::clone(&self.epoch)),
            now: format!("{:.0}", self.now),
        };
        let sifted = sift(&facts, plan, known.into_iter().map(|(batch, looked)| (batch, looked.standing)).collect()).await?;
        let in_force = sifted.in_force.into_iter();
        let in_force = in_force.filter_map(|(id, until, given)| Some((id.clone(), end_of(until, zones.get(&id)?), given)));
        self.shared.approvals.set(&dataset.address, in_force);
        ran.tally = sifted.tally;
        ran.findings.extend(findings(&dataset.address, &sifted.left));
        ran.review = sifted.left;
        Ok(sifted.plan)
    }
}

/// The plan of a dry run as a real one would spend it: with what people approved.
pub async fn review_planned(
    reviews: &Reviews<'_>,
    assessor: &Assessor,
    pseudonyms: &Pseudonyms,
    spool: &Path,
    planned: &mut Planned,
) -> Result<()> {
    let dataset = assessor.dataset();
    let mut known = Vec::new();
    for batch in Batch::all(&review::folder(reviews.config))?.0.into_iter().filter(|batch| batch.dataset() == dataset.address) {
        let standing = reviews.look(&batch).await?.standing;
        known.push((batch, standing));
    }
    let Some(plan) = planned.plan.take() else { return Ok(()) };
    let facts = Facts { folder: spool, write: false, assessor, pseudonyms, epoch: None, now: format!("{:.0}", reviews.now) };
    let sifted = sift(&facts, plan, known).await?;
    planned.tally = sifted.tally;
    planned.findings.extend(findings(&dataset.address, &sifted.left));
    planned.plan = Some(sifted.plan);
    Ok(())
}

/// Whether anything of a dataset is before people, as far as this user may know.
pub fn is_reviewed(config: &Config, dataset: &Dataset) -> bool {
    Batch::all(&review::folder(config)).is_ok_and(|(all, _)| all.iter().any(|batch| batch.dataset() == dataset.address))
}

/// What people should know about the reviews of a dataset.
pub fn findings(dataset: &str, left: &Left) -> Vec<Finding> {
    let mut findings = Vec::new();
    let records = |number: u64| if number == 1 { "1 record".to_owned() } else { format!("{number} records") };
    if left.waiting > 0 {
        let batches = if left.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", left.batches) };
        let since = left.since.as_deref().and_then(|since| since.get(..10)).unwrap_or("now");
        let wait = if left.waiting == 1 { "waits" } else { "wait" };
        let text = format!(
            "{} in {batches} {wait} for review since {since} and stay until people decide; see `review list`",
            records(left.waiting)
        );
        findings.push(Finding::note(dataset, text));
    }
    for (why, number) in &left.dropped {
        let text = format!("{} that people approved stayed: {why}", records(*number));
        // A hold is a person's will; the rest may be a mistake.
        findings.push(if why == "held" { Finding::note(dataset, text) } else { Finding::warning(dataset, text) });
    }
    for batch in &left.lost {
        let text = format!(
            "the frozen records of the review batch {batch} are lost or were changed; nothing of it is destroyed, and it is to be reviewed again"
        );
        findings.push(Finding::warning(dataset, text));
    }
    findings
}
