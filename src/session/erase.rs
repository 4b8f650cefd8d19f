//! Carrying out a request for erasure: seen, decided and shown; then, by the id of what was shown, seen and decided once more, logged, and done.
//!
//! The order of steps: what is restricted gets its hold → every decision, refusals too, is an entry of the log (`erasure-decided`) → what goes, goes
//! through the one door, in a run of its own for each dataset (`run-started` with the reason `erasure`), with its intent, the guard and the holds of that
//! moment. A crash leaves decisions that nothing followed, or intents that recovery settles by looking; whoever asks again sees what is left.
//!
//! Where a class asks for two people before its records go (`approvals: 2`), and they would go before they are due, the first who confirms an id approves
//! it (`erasure-approved`), and the second, with another account and another name, carries it out. `not-the-editor` and `approval-lasts` hold as for
//! reviews; a cooling-off does not, for a person waits for the answer.
//!
//! Memory holds the records of the one person: at most [`MOST`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{End, Mode, Progress, Ran, Session, another_place};
use crate::assess::{Assessment, Assessor};
use crate::audit::Kind as EntryKind;
use crate::clock::{self, Today};
use crate::config::Dataset;
use crate::dispose::{BY, Brake, Erasure};
use crate::erasure::case::{SHORT, asked_of_people, id_of};
use crate::erasure::{Case, Decision, Seen, Words};
use crate::error::{Error, Kind, Result, escape};
use crate::hold::{HoldKind, Wish, mistake_of_text};
use crate::plan::{Item, OverLimit, Tally};
use crate::record::{Key, Record};
use crate::review::{Decision as Approval, Standing, What, same_name, same_person};
use crate::scan::{Planned, scan, source};
use crate::schedule::{Counting, Disposition, Period};
use crate::spool::Writer;
use crate::store::BATCH;

/// Records of one person that are decided about at once. Whoever has more is no person: a camera, or a word that stands for many.
pub const MOST: usize = 20_000;

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ErasureOrder {
    /// The person or tenancy, as the stores name it.
    pub subject: String,
    /// Only this store or dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// What was shown is to be carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirmation>,
}

/// The word of who carries it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Confirmation {
    /// The id of what was shown, at least its first digits.
    pub id: String,
    /// The name of the person who decides.
    pub person: String,
    /// The reference of the request.
    pub matter: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The day by which somebody looks again at what is restricted; a year from today without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Date>,
    /// What goes may be more than the limits of its dataset.
    #[serde(default)]
    pub beyond_limits: bool,
}

impl Confirmation {
    /// The reason, if one is given.
    fn why(&self) -> Option<&str> {
        self.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty())
    }
}

/// What was found of a request in one dataset.
pub struct SeenDataset {
    /// The dataset.
    pub dataset: Arc<Dataset>,
    /// How many records about the person there are.
    pub records: u64,
    /// How many of them go.
    pub goes: u64,
    /// Why it could not be seen completely.
    pub incomplete: Option<String>,
    /// The trouble with its limits, if there is any.
    pub over: Option<OverLimit>,
    /// Why nothing is destroyed there at this moment.
    pub blocked: Option<String>,
}

/// What was found of a request, and decided.
pub struct ErasureSeen {
    /// The id of exactly this.
    pub id: String,
    /// The person's pseudonym.
    pub subject: String,
    /// Every record.
    pub cases: Vec<Case>,
    /// Every dataset that was searched.
    pub datasets: Vec<SeenDataset>,
    /// Datasets whose records name no subject.
    pub not_searched: Vec<String>,
}

/// What came of a confirmation.
pub enum Confirmed {
    /// A second person has to confirm it; this one's word stands in this entry.
    Waits(u64),
    /// It is decided, and can be carried out; so many records are restricted.
    Decided(Arc<Erasure>, u64),
}

fn refused(text: impl Into<String>) -> Error {
    Error::new(Kind::Refused, text.into())
}

fn usage(text: impl Into<String>) -> Error {
    Error::new(Kind::Usage, text.into())
}

impl ErasureSeen {
    /// The id as people use it.
    pub fn short(&self) -> &str {
        self.id.get(..SHORT).unwrap_or(&self.id)
    }

    /// Whether this is what was shown under the id.
    pub fn is(&self, id: &str) -> bool {
        id.len() >= SHORT && self.id.starts_with(&id.to_ascii_lowercase())
    }

    /// How many records are decided so.
    pub fn count(&self, decision: Decision) -> u64 {
        self.cases.iter().filter(|case| case.decided.decision == decision).count() as u64
    }

    /// The datasets from which records go, and these records.
    pub fn going(&self) -> Vec<(Arc<Dataset>, Vec<&Case>)> {
        let of = |dataset: &Dataset| {
            let of = |case: &&Case| case.dataset.address == dataset.address && case.decided.decision.act().is_some();
            self.cases.iter().filter(of).collect::<Vec<_>>()
        };
        let all = self.datasets.iter().map(|seen| (Arc::clone(&seen.dataset), of(&seen.dataset)));
        all.filter(|(_, cases)| !cases.is_empty()).collect()
    }

    /// Whether a person should look: something was not seen, or cannot be told.
    pub fn needs_attention(&self) -> bool {
        let doubt = |case: &Case| case.decided.ground == crate::erasure::Ground::Doubt;
        self.datasets.iter().any(|seen| seen.incomplete.is_some()) || self.cases.iter().any(doubt)
    }
}

impl Session {
    /// Searches every dataset that names its subjects, and decides about each record of this one. Nothing is changed.
    pub async fn see_erasure(&self, subject: &str, only: Option<&str>, progress: &Progress) -> Result<ErasureSeen> {
        let all = self.config.select(only)?;
        let (named, nameless): (Vec<_>, Vec<_>) = all.into_iter().partition(|dataset| dataset.subject.is_some());
        if named.is_empty() {
            return Err(usage("no dataset there names its subjects, so nothing can be found; write `subject:` in the configuration"));
        }
        if subject.trim().is_empty() {
            return Err(usage("expected the person or tenancy as the stores name it, found nothing"));
        }
        let (mut cases, mut datasets) = (Vec::new(), Vec::new());
        for dataset in named {
            datasets.push(self.see_dataset(&dataset, subject, &mut cases, progress).await?);
        }
        let subject = self.epoch.subject(subject.as_bytes());
        let incomplete = datasets.iter().filter(|seen| seen.incomplete.is_some()).map(|seen| seen.dataset.address.clone());
        let id = id_of(&subject, &incomplete.collect::<Vec<_>>(), &cases);
        let not_searched = nameless.iter().map(|dataset| dataset.address.clone()).collect();
        Ok(ErasureSeen { id, subject, cases, datasets, not_searched })
    }

    async fn see_dataset(&self, dataset: &Arc<Dataset>, subject: &str, cases: &mut Vec<Case>, progress: &Progress) -> Result<SeenDataset> {
        let assessor = self.assessor(dataset);
        let (mut found, mut more) = (Vec::new(), false);
        let room = MOST.saturating_sub(cases.len());
        let mut listen = |record: &Record, assessment: &Assessment| {
            if record.subject.as_deref() == Some(subject) {
                more |= found.len() == room;
                if !more {
                    found.push((record.clone(), assessment.clone()));
                }
            }
        };
        // Looking is no disposal: a pause does not end it.
        let brake = Brake { signal: Arc::clone(&self.stop), ..Brake::default() };
        let planned = match scan(&assessor, None, Arc::clone(&progress.seen), &brake, true, Some(&mut listen)).await {
            Err(error) if error.kind() == Kind::Store => Planned::failed(error.to_string()),
            other => other?,
        };
        if more {
            let text = format!(
                "more than {MOST} records name this subject, which is more than one person has; look with `subject report` what they are, and \
                 choose with --only"
            );
            return Err(refused(text));
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(refused("the program was told to end; nothing was done"));
        }
        found.sort_by(|one, other| one.0.key.cmp(&other.0.key));
        let (by_hand, needed_by) = (dataset.store.is_attested(), self.config.looks_into(dataset));
        let seen = Seen { incomplete: planned.incomplete.is_some(), by_hand, kept: None, needed_by };
        let kept = self.kept_by_people(dataset, &found).await?;
        let before = cases.len();
        self.decide_cases(&assessor, found, (seen, &kept), cases).await;
        let mine = cases.get(before..).unwrap_or_default();
        let goes = mine.iter().filter(|case| case.decided.decision.act().is_some()).count() as u64;
        let tally = Tally { destroy: goes, population: planned.tally.population, ..Tally::default() };
        let over = tally.over(&dataset.limits);
        let blocked = if goes > 0 { self.blocked(dataset).await } else { None };
        Ok(SeenDataset { dataset: Arc::clone(dataset), records: mine.len() as u64, goes, incomplete: planned.incomplete, over, blocked })
    }

    /// Which of these records came before people, who keep them, and through which day.
    async fn kept_by_people(&self, dataset: &Dataset, found: &[(Record, Assessment)]) -> Result<HashMap<Key, Date>> {
        let mut kept = HashMap::new();
        if found.is_empty() {
            return Ok(kept);
        }
        let keys: HashSet<&Key> = found.iter().map(|(record, _)| &record.key).collect();
        let _alone = self.shared.reviewing.lock().await;
        for (batch, looked) in self.batches_of(dataset).await? {
            let Standing::Kept { until, .. } = looked.standing else { continue };
            for item in batch.items()? {
                let key = item?.record.key;
                if keys.contains(&key) {
                    let last = kept.entry(key).or_insert(until);
                    *last = until.max(*last);
                }
            }
        }
        Ok(kept)
    }

    async fn decide_cases(
        &self,
        assessor: &Assessor,
        found: Vec<(Record, Assessment)>,
        (seen, kept): (Seen<'_>, &HashMap<Key, Date>),
        cases: &mut Vec<Case>,
    ) {
        for found in found.chunks(BATCH) {
            let records: Vec<Record> = found.iter().map(|(record, _)| record.clone()).collect();
            let says = assessor.says_on_erasure(&records).await;
            for ((record, (_, assessment)), says) in records.into_iter().zip(found).zip(says) {
                let seen = Seen { kept: kept.get(&record.key).copied(), ..seen };
                cases.push(Case::of(assessor.dataset(), &self.epoch, record, assessment, says, seen));
            }
        }
    }

    /// Why nothing is destroyed in a dataset at this moment.
    async fn blocked(&self, dataset: &Dataset) -> Option<String> {
        if dataset.mode == Mode::Report {
            return Some("is in report mode; nothing is destroyed before `mode: enforce` is written".to_owned());
        }
        if let Some(pause) = self.paused(dataset.store.name()) {
            return Some(pause);
        }
        if let Some(window) = dataset.window_shown().filter(|_| !dataset.is_open(clock::now())) {
            return Some(format!("outside its window {window}"));
        }
        self.check_clock(dataset).await.err().map(|error| error.to_string())
    }

    /// Takes a person's word for what was shown. When this returns, every decision is in the log, and what is restricted is held.
    pub async fn confirm_erasure(&self, subject: &str, seen: &ErasureSeen, word: &Confirmation, account: &str) -> Result<Confirmed> {
        if word.id.len() < SHORT || !word.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(usage(format!(
                "expected the id that `subject erase` shows, {SHORT} digits, found \"{}\"",
                escape(word.id.as_bytes())
            )));
        }
        check_words(subject, seen, word)?;
        if !seen.is(&word.id) {
            let text = format!(
                "what is there now is not what was shown under {}: look at it, and confirm {} if it is meant; nothing was done",
                escape(word.id.as_bytes()),
                seen.short()
            );
            return Err(refused(text));
        }
        if seen.cases.is_empty() {
            return Err(usage("there is no record about this subject, so there is nothing to decide"));
        }
        may_go(seen, word)?;
        let wishes = self.wishes(seen, word, account)?;
        let approvals = match self.people(seen, word, account).await? {
            People::Enough(approvals) => approvals,
            People::OneMore => {
                let body = json!({
                    "erasure": seen.id, "subject": seen.subject, "records": seen.cases.len(), "name": word.person.trim(), "person": account,
                    "matter": word.matter.trim(), "by": BY,
                });
                let committed = self.tell(EntryKind::ErasureApproved, vec![body]).await?;
                return Ok(Confirmed::Waits(committed.first()));
            }
        };
        let words = Words {
            id: &seen.id,
            subject: &seen.subject,
            name: word.person.trim(),
            person: account,
            matter: word.matter.trim(),
            reason: word.why(),
            approvals: &approvals,
            edit_delay: self.config.service.edit_delay.as_secs(),
            beyond_limits: seen.datasets.iter().any(|one| one.over.is_some()),
            by: BY,
        };
        // Were schedules written down anew between here and the entries, these would name one that was withdrawn before them.
        let edition = self.shared.edition.read().await;
        if !self.is_current(edition.as_deref()).await? {
            return Err(refused("schedule and configuration were loaded anew at this moment; look again"));
        }
        // First: were it interrupted in between, what is to be restricted is held all the same.
        if !wishes.is_empty() {
            self.place(&wishes, account).await?;
        }
        let erasure = Erasure::decide(&self.log, &seen.cases, &words).await?;
        drop(edition);
        Ok(Confirmed::Decided(Arc::new(erasure), wishes.len() as u64))
    }

    /// The holds that restrict what the schedule says is restricted, each tried before anything is written.
    fn wishes(&self, seen: &ErasureSeen, word: &Confirmation, account: &str) -> Result<Vec<Wish>> {
        let restricted = seen.cases.iter().filter(|case| case.decided.decision == Decision::Restrict);
        let today = Today::Now(self.now).date_in(&jiff::tz::TimeZone::UTC);
        let in_a_year = || Period::parse("1 year").ok().and_then(|year| year.due(today, Counting::After)).unwrap_or(Date::MAX);
        let wish = |case: &Case| {
            let record = format!("{}:{}", case.dataset.address, case.record.key.to_text());
            let reason = word.why().unwrap_or("restricted instead of erased").to_owned();
            let (review, matter) = (Some(word.review.unwrap_or_else(in_a_year)), Some(word.matter.trim().to_owned()));
            Wish { review, matter, ..Wish::on_record(HoldKind::Restriction, record, reason) }
        };
        let wishes: Vec<Wish> = restricted.map(wish).collect();
        for wish in &wishes {
            super::hold_of(&self.config, &self.epoch, wish, account, self.now)
                .map_err(|what| usage(format!("what is restricted: {what}")))?;
        }
        Ok(wishes)
    }

    /// Whether enough people agree that records go before they are due.
    async fn people(&self, seen: &ErasureSeen, word: &Confirmation, account: &str) -> Result<People> {
        let (terms, edited) = asked_of_people(&seen.cases);
        if terms.is_empty() {
            return Ok(People::Enough(Vec::new()));
        }
        let mut editors: BTreeSet<String> = BTreeSet::new();
        for schedule in edited {
            editors.extend(self.register.editors(&schedule).await?);
        }
        if editors.iter().any(|editor| same_person(editor, account)) {
            let text = format!(
                "{} edited or confirmed the schedule, and a class says `not-the-editor`; somebody else must confirm",
                escape(account.as_bytes())
            );
            return Err(refused(text));
        }
        let given = self.register.erasure_approvals(&seen.id).await?;
        let today = Today::Now(self.now).date_in(&jiff::tz::TimeZone::UTC);
        let own = Approval {
            entry: u64::MAX,
            what: What::Approve,
            on: today,
            person: account.to_owned(),
            name: word.person.trim().to_owned(),
            until: None,
        };
        let decisions: Vec<Approval> = given.iter().cloned().chain([own]).collect();
        let editors: Vec<String> = editors.into_iter().collect();
        match Standing::of(&decisions, &terms, &editors, today) {
            Standing::Approved { given, .. } => Ok(People::Enough(given.into_iter().filter(|entry| *entry != u64::MAX).collect())),
            Standing::Waiting { given, .. } if given.contains(&u64::MAX) => Ok(People::OneMore),
            _ => {
                let same = given.iter().find(|one| same_person(&one.person, account) || same_name(&one.name, &word.person));
                let who = same.map_or_else(|| "somebody".to_owned(), |one| format!("{}, {}", one.name, one.person));
                let text = format!(
                    "{} was confirmed by {} before; the second who confirms it must be another person, with another account and another name",
                    seen.short(),
                    escape(who.as_bytes())
                );
                Err(refused(text))
            }
        }
    }

    /// Destroys what was decided to go from one dataset, as a run of its own.
    pub async fn carry_out_erasure(
        &self,
        erasure: &Arc<Erasure>,
        dataset: &Arc<Dataset>,
        cases: &[&Case],
        progress: &Progress,
    ) -> Result<Ran> {
        let mut run = self.new_run(dataset, progress)?;
        if let Some(run) = Arc::get_mut(&mut run) {
            run.erasure = Some(Arc::clone(erasure));
        }
        let mark = self.started(&run, None, Some("erasure")).await?;
        let mut writer = Writer::create(&self.plans())?;
        let mut tally = Tally::default();
        for case in cases {
            let (Some(then), Some(deciding)) = (case.decided.decision.act(), case.deciding.clone()) else { continue };
            let entry = erasure.entry(&dataset.address, &case.record);
            if then == Disposition::Destroy {
                tally.destroy += 1;
                tally.bytes += case.record.size;
            } else {
                tally.anonymise += 1;
            }
            writer.add_item(&Item { record: case.record.clone(), then, deciding, approval: None, erasure: entry })?;
        }
        let disposed = tally.disposed();
        let mut plan = writer.finish(&source(dataset).await, tally)?;
        let mut ran = Ran::without_a_plan(&run, End::Incomplete(another_place(dataset)));
        if plan.footer.mark == mark {
            plan.keep(&self.plans(), &run.id)?;
            ran.end = self.spend_and_discard(&run, plan, disposed, progress).await?;
        }
        self.finished(&run, &ran).await?;
        Ok(ran)
    }
}

enum People {
    /// They do; these entries say so besides the one who confirms now.
    Enough(Vec<u64>),
    /// One more has to confirm.
    OneMore,
}

/// What a person says goes into the log, and may not name whom it is about.
fn check_words(subject: &str, seen: &ErasureSeen, word: &Confirmation) -> Result<()> {
    if !word.person.chars().any(char::is_alphabetic) {
        return Err(usage("a decision needs the name of the person who makes it: write --person \"NAME\""));
    }
    if word.matter.trim().is_empty() {
        return Err(usage("a decision needs the reference of the request: write --matter REFERENCE"));
    }
    let mut personal = vec![subject.to_owned()];
    personal.extend(seen.cases.iter().map(|case| case.record.key.to_text()));
    let texts = [("--matter", Some(word.matter.as_str())), ("--reason", word.reason.as_deref()), ("--person", Some(word.person.as_str()))];
    let mistake = texts.into_iter().find_map(|(name, text)| {
        let text = text?;
        if text.chars().any(char::is_control) {
            return Some(format!("expected `{name}` to be one line of plain text, found \"{}\"", escape(text.as_bytes())));
        }
        mistake_of_text(name, text, &personal)
    });
    mistake.map_or(Ok(()), |what| Err(usage(what)))
}

/// Refuses when nothing may be destroyed at this moment where something is to go: all of a request is decided, or none.
fn may_go(seen: &ErasureSeen, word: &Confirmation) -> Result<()> {
    let mut why = Vec::new();
    for one in seen.datasets.iter().filter(|one| one.goes > 0) {
        if let Some(blocked) = &one.blocked {
            why.push(format!("{}: {blocked}", one.dataset.address));
        } else if let Some(over) = one.over.as_ref().filter(|_| !word.beyond_limits) {
            let text = format!(
                "{}: {} of {} records would go, more than the limit of {}; write --beyond-limits if it is meant",
                one.dataset.address, over.due, over.population, over.limits
            );
            why.push(text);
        }
    }
    if why.is_empty() {
        return Ok(());
    }
    why.push("nothing was decided; --only STORE/DATASET chooses others".to_owned());
    Err(refused(why.join("\n")))
}

#[cfg(test)]
mod tests;
