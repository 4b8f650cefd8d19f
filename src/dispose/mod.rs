//! The one door: everything that destroys or anonymises a record comes through [`spend`].
//!
//! For each batch of a plan: its **intents** are committed to the audit log (durable before anything else happens) → the facts are **assessed**
//! again (look-ups, other datasets, holds) → the store **removes**, re-reading each record in its own transaction and asking the guard once more
//! → the **outcome** of every record is committed. There is no other caller of [`crate::store::Store::remove`]; a [`Permit`] can be made only
//! here, and only from the proof that the intent is durable.
//!
//! Several batches are on their way at once: while the store removes one (or as many as it has lanes), the intent of the next and the outcomes of the
//! last wait for the log, which gathers whatever is waiting into one write and one sync. So the disk's latency hides behind the removals.
//!
//! **When the log is lost** (disk full, I/O error), the program is told to end, or the dataset's window ends, the guard keeps every record that
//! has not been removed yet, and the log says so where it still can; no further intent is written.
//! **When the process is killed**, each intent without outcome is resolved at the next start by looking ([`crate::recover`]): until then the log says
//! no more than is true. One record's failure never stops the rest.

mod attestation;
mod batches;
mod brake;
mod entries;
mod erasure;
mod hands;
mod spent;
mod statistics;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use attestation::Attestation;
use batches::{Batch, Batches};
pub use brake::Brake;
use entries::{About, Intent, Outcomes};
pub use erasure::Erasure;
pub use hands::Hands;
pub use spent::{Counts, Spent, Stop};

use crate::assess::{Assessment, Assessor, why_kept};
use crate::audit::{AuditLog, Committed, EpochKey, write_plain_record};
use crate::clock;
use crate::config::{Dataset, KeyNames};
use crate::erasure::why_not_erased;
use crate::error::{Error, Kind, Result};
use crate::judge::Verdict;
use crate::plan::Approval;
use crate::record::Record;
use crate::review::InForce;
use crate::schedule::Disposition;
use crate::spool::Spool;
use crate::store::{Act, Evidence, Fate, Found, Guard, Kept, Order};

/// Batches under way for each lane: one in the store's hands, two whose intent or outcomes wait for the log, which a slow disk makes long. The
/// log keeps room for the outcomes of all of them.
const AHEAD: usize = 3;

/// What was looked up in other places is relied upon for this long. A store that waits, for a server to come to rest for instance, takes longer.
const FACTS_LAST: Duration = Duration::from_secs(5);

/// Why a record was kept that has to be assessed anew.
const OLD_FACTS: &str = "what was looked up elsewhere for it had become old";

/// Leave to destroy one batch of records, given out only here once the intents to do so are durable in the audit log.
#[derive(Debug)]
pub struct Permit {
    intent: u64,
    attestation: bool,
}

/// One run over one dataset: who it is, what it may use.
pub struct Run {
    /// The run's id.
    pub id: String,
    /// The audit log.
    pub log: AuditLog,
    /// Judges, and judges again.
    pub assessor: Assessor,
    /// The key of the year in which the run began: intent and outcome of a record use the same pseudonym across midnight of New Year.
    pub epoch: Arc<EpochKey>,
    /// Which approvals of review batches are in force.
    pub approvals: Arc<InForce>,
    /// Pulled from outside: finish the records in hand and start no more.
    pub brake: Brake,
    /// Records with an outcome so far, for people who watch.
    pub done: Arc<AtomicU64>,
    /// What all runs of the process have in the hands of stores.
    pub hands: Hands,
    /// The person's word that its records are destroyed, where no program can destroy them.
    pub attestation: Option<Attestation>,
    /// What was decided on a request for erasure, where the run carries that out.
    pub erasure: Option<Arc<Erasure>>,
}

/// Records of a batch, and what people approved of each.
type Approved<'a> = (&'a [Record], &'a [Option<Arc<Approval>>]);

/// What keeps the rest of a run's records, once and for all.
#[derive(Default)]
struct Ending {
    /// The audit log takes no more.
    lost: AtomicBool,
    /// The dataset's window ended. A run that met its end does not go on in the next one: its plan would be a day old.
    closed: AtomicBool,
    /// The store gave up waiting for a better moment.
    busy: AtomicBool,
}

impl Permit {
    fn new(intent: &Committed, attestation: bool) -> Self {
        Self { intent: intent.first(), attestation }
    }

    /// Index of the entry of the first intent in the audit log.
    pub fn intent(&self) -> u64 {
        self.intent
    }

    /// Whether a person says that the records are destroyed already.
    pub fn is_attestation(&self) -> bool {
        self.attestation
    }

    /// For the unit tests of stores, which have no log: not in the built program.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self { intent: 0, attestation: false }
    }
}

/// Spends a plan: disposes of its items, batch by batch. Fails only when the log is lost or the plan cannot be read; what was done until then is
/// in the log, or an open intent.
pub async fn spend(run: &Arc<Run>, plan: &Spool) -> Result<Spent> {
    let ending = Arc::new(Ending::default());
    let lanes = Arc::new(Semaphore::new(run.dataset().store.lanes().max(1)));
    let most = AHEAD * lanes.available_permits();
    let mut batches = Batches::new(run, plan.items()?);
    let mut under_way = JoinSet::new();
    let mut spent = Spent::default();
    let mut trouble: Option<Error> = None;
    loop {
        while trouble.is_none() && under_way.len() < most && run.stopped(&ending).is_none() {
            match batches.next_batch() {
                Ok(Some(batch)) => {
                    let (run, ending, lanes) = (Arc::clone(run), Arc::clone(&ending), Arc::clone(&lanes));
                    under_way.spawn(async move { run.batch(batch, &ending, &lanes).await });
                }
                Ok(None) => break,
                Err(error) => trouble = Some(error),
            }
        }
        let Some(ended) = under_way.join_next().await else {
            let stop = run.stopped(&ending).filter(|_| batches.next_batch().is_ok_and(|more| more.is_some()));
            spent.stopped = spent.stopped.or(stop);
            break;
        };
        match ended {
            Ok(Ok(part)) => {
                batches.settle(&part.settled);
                spent.add(part);
            }
            Ok(Err(error)) => trouble = trouble.or(Some(error)),
            Err(error) => {
                trouble = trouble.or(Some(Error::with_source(
                    Kind::Store,
                    format!("{}: a batch ended abnormally", run.dataset().address),
                    error,
                )));
            }
        }
    }
    trouble.map_or(Ok(spent), Err)
}

impl Run {
    /// The dataset of the run.
    pub fn dataset(&self) -> &Arc<Dataset> {
        self.assessor.dataset()
    }

    /// The name of a record in the log.
    pub fn name(&self, record: &Record) -> String {
        let mut name = String::new();
        self.write_name(record, &mut name);
        name
    }

    /// Appends the name of a record in the log.
    fn write_name(&self, record: &Record, names: &mut String) {
        let dataset = self.dataset();
        match dataset.keys {
            KeyNames::Plain => write_plain_record(names, record.key.as_bytes()),
            KeyNames::Pseudonym => self.epoch.write_record(names, dataset.store.name(), &dataset.name, record.key.as_bytes()),
        }
    }

    /// What ends the run at this moment, if something does.
    fn stopped(&self, ending: &Ending) -> Option<Stop> {
        if let Some(stop) = self.brake.pulled() {
            return Some(stop);
        }
        if ending.busy.load(Ordering::Relaxed) {
            return Some(Stop::Busy);
        }
        // The store asks for every record: where there is no window, not even the clock is looked at.
        if self.dataset().window.is_none() || !ending.closed.load(Ordering::Relaxed) && self.dataset().is_open(clock::now()) {
            return None;
        }
        ending.closed.store(true, Ordering::Relaxed);
        Some(Stop::Window)
    }

    /// One batch through the door.
    async fn batch(&self, batch: Batch, ending: &Ending, lanes: &Semaphore) -> Result<Spent> {
        let result = self.through_the_door(batch, ending, lanes).await;
        if result.is_err() {
            ending.lost.store(true, Ordering::SeqCst);
        }
        result
    }

    async fn through_the_door(&self, batch: Batch, ending: &Ending, lanes: &Semaphore) -> Result<Spent> {
        let dataset = self.dataset();
        let Batch { act, intents, marks, records, deciding, approvals, erasures } = batch;
        let counted = match self.counted_by_intent(&intents, &records, &deciding).await {
            Ok(counted) => counted,
            // What could not be counted stays until it can.
            Err(error) => {
                let mut spent = Spent { settled: marks, ..Spent::default() };
                spent.trouble(
                    format!("kept, because what it counts for in the statistics could not be read: {error}"),
                    records.len() as u64,
                );
                return Ok(spent);
            }
        };
        let (mut drafts, mut places) = (Vec::new(), Vec::with_capacity(intents.len()));
        for (names, counted) in intents.iter().zip(counted) {
            places.push(drafts.len() as u64);
            let intent = Intent { run: &self.id, store: dataset.store.name(), dataset: &dataset.name, act, records: names };
            drafts.push(intent.draft()?);
            drafts.extend(counted);
        }
        let announced = self.log.commit(drafts).await?;
        let permit = Permit::new(&announced, self.attestation.is_some());
        // Never closed; without a lane nothing but the pace is lost. Whoever is asked what became of a record must not meet the next batch there.
        let lane = lanes.acquire().await.ok();
        // A hold that is placed from here on waits until what this batch may have taken already is settled.
        let in_hand = self.hands.take();
        let mut fates = self.remove(&permit, act, (&records, &approvals), ending).await;
        let mut spent = Spent { settled: Vec::with_capacity(records.len()), ..Spent::default() };
        let mut drafts = Vec::with_capacity(records.len());
        let troubles = self.settle(act, &records, &mut fates).await;
        let unknown = fates.iter().filter(|fate| is_uncertain(fate)).count();
        in_hand.lay_down(&dataset.address, unknown as u64);
        let name_subjects = self.assessor.holds_name_subjects();
        let mut outcomes = Outcomes::new(self, permit.intent)?;
        let facts = records.iter().zip(&deciding).zip(approvals.iter().zip(&erasures));
        let names = places.iter().zip(&intents).flat_map(|(place, names)| names.iter().map(|name| (announced.first() + *place, name)));
        let named = names.zip(&marks).zip(facts);
        for (at, ((((intent, name), mark), ((record, deciding), (approval, erasure))), fate)) in named.zip(&fates).enumerate() {
            outcomes.under(intent)?;
            let trouble = troubles.get(&at);
            let subject = record.subject.as_deref().filter(|_| name_subjects).map(|subject| self.epoch.subject(subject.as_bytes()));
            let what = About { name, subject: subject.as_deref(), record, deciding, approval: approval.as_deref(), erasure: *erasure };
            if let Some(draft) = outcomes.outcome(&what, act, (fate, trouble.map(String::as_str)))? {
                drafts.push(draft);
                spent.settled.push(*mark);
            }
            if let Fate::Kept(Kept::Stopped(_)) = fate {
                // Where nothing else ends the run it was the store that gave up, and it would make every further batch wait as long.
                let store = self.stopped(ending).is_none() && !ending.lost.load(Ordering::SeqCst);
                ending.busy.fetch_or(store, Ordering::Relaxed);
                spent.stopped = self.stopped(ending);
            }
            spent.count(self.attestation.is_some(), act, record, fate);
            if let Some(trouble) = trouble {
                spent.trouble(trouble.clone(), 1);
            }
            // A store keeps what it knows it cannot destroy well enough; some learn it only afterwards, and then a person must know.
            if let Fate::Done(evidence) = fate
                && let Some(asked) = self.missed(evidence).filter(|_| !self.dataset().accept_lower)
            {
                spent.trouble(
                    format!("destroyed with the grade \"{}\", less than \"{asked}\", which the dataset asks for", evidence.grade),
                    1,
                );
            }
        }
        drop(lane);
        // The fate of every record of a batch may be open.
        if !drafts.is_empty() {
            self.log.commit(drafts).await?;
        }
        self.done.fetch_add(u64::try_from(records.len()).unwrap_or(0), Ordering::Relaxed);
        Ok(spent)
    }

    /// Lets the store remove what is still due. Records that were kept because the store waited until what was looked up elsewhere had become old are
    /// assessed anew and tried again.
    async fn remove(&self, permit: &Permit, act: Act, (records, approvals): Approved<'_>, ending: &Ending) -> Vec<Fate> {
        let mut fates = self.remove_by_facts(permit, act, (records, approvals), ending).await;
        for _ in 0..2 {
            let old = |at: &usize| matches!(&fates[*at], Fate::Kept(Kept::Changed(why)) if why == OLD_FACTS);
            let again: Vec<usize> = (0..records.len()).filter(old).collect();
            if again.is_empty() {
                break;
            }
            let records: Vec<Record> = again.iter().map(|at| records[*at].clone()).collect();
            let approvals: Vec<_> = again.iter().map(|at| approvals.get(*at).cloned().flatten()).collect();
            let tried = self.remove_by_facts(permit, act, (&records, &approvals), ending).await;
            again.into_iter().zip(tried).for_each(|(at, fate)| fates[at] = fate);
        }
        fates
    }

    /// Assesses the batch again and lets the store remove what is still due.
    async fn remove_by_facts(&self, permit: &Permit, act: Act, (records, approvals): Approved<'_>, ending: &Ending) -> Vec<Fate> {
        let dataset = self.dataset();
        // Where nothing has to be asked elsewhere, the guard judges each record anew when the store has just re-read it; once is enough.
        let asked = Instant::now();
        let assessments = if self.assessor.asks_elsewhere() { self.assessor.assess(records).await } else { Vec::new() };
        let kept = |(at, one): (usize, &Assessment)| {
            self.kept((&one.verdict, true), act, &records[at], approvals.get(at).and_then(Option::as_deref)).map(Fate::Kept)
        };
        let mut fates: Vec<Option<Fate>> = assessments.iter().enumerate().map(kept).collect();
        let positions: Vec<usize> = (0..records.len()).filter(|at| fates.get(*at).is_none_or(Option::is_none)).collect();
        let due: Cow<'_, [Record]> =
            if positions.len() == records.len() { records.into() } else { positions.iter().map(|at| records[*at].clone()).collect() };
        let guard = |position: usize, fresh: &Record| {
            if ending.lost.load(Ordering::SeqCst) {
                return Some(Kept::Stopped("the audit log took no more of what the run announced".into()));
            }
            if let Some(stop) = self.stopped(ending) {
                return Some(Kept::Stopped(stop.why().into()));
            }
            let Some(at) = positions.get(position).copied() else {
                return Some(Kept::Changed("the store asked about a record that is not in the batch".into()));
            };
            if !assessments.is_empty() && asked.elapsed() > FACTS_LAST {
                return Some(Kept::Changed(OLD_FACTS.into()));
            }
            let looked_up = assessments.get(at).map_or(&[][..], |assessment| &assessment.looked_up);
            let approval = approvals.get(at).and_then(Option::as_deref);
            if self.early(act, &records[at]).is_some()
                && let Some(changed) = erasure::changed(fresh, &records[at])
            {
                return Some(changed);
            }
            self.assessor.still_due(fresh, &records[at], looked_up, &|verdict| {
                self.kept((verdict, assessments.is_empty()), act, &records[at], approval)
            })
        };
        let order = Order { act, at_least: dataset.at_least.clone() };
        let mut removed = if due.is_empty() { Vec::new() } else { dataset.store.remove(permit, &dataset.name, &order, &due, &guard).await };
        let answered = removed.len() == due.len();
        if answered && dataset.accept_lower {
            self.accept_lower(permit, act, &due, &guard, &mut removed).await;
        }
        if answered && positions.len() == records.len() {
            return removed;
        }
        fates.resize(records.len(), None);
        for (at, fate) in positions.into_iter().zip(removed) {
            fates[at] = Some(fate);
        }
        // A store that answers for another number of records has broken its promise: nothing it said can be believed, so every record is looked at.
        let missing = || Fate::Failed { error: "the store did not say what became of the record".into(), uncertain: true };
        let due_again = |fate: Option<Fate>| fate.filter(|fate| answered || matches!(fate, Fate::Kept(_))).unwrap_or_else(missing);
        fates.into_iter().map(due_again).collect()
    }

    /// Leave to destroy this record, as it was planned, although it is not due.
    fn early(&self, act: Act, planned: &Record) -> Option<&erasure::Leave> {
        let leave = self.erasure.as_ref()?.leave(&self.dataset().address, planned);
        leave.filter(|leave| act == Act::Destroy && leave.is_early())
    }

    /// Why a record is kept after all: it is not due, or what is to be done is not allowed. `whole` says whether the verdict is of all that bears on it,
    /// or of the record itself only, while the rest was asked just before.
    fn kept(&self, (verdict, whole): (&Verdict, bool), act: Act, planned: &Record, approval: Option<&Approval>) -> Option<Kept> {
        match self.early(act, planned) {
            Some(leave) if whole => leave.kept(verdict),
            Some(_) => why_not_erased(verdict),
            None => why_kept(verdict).or_else(|| self.not_allowed(verdict, act, approval)),
        }
    }

    /// Why a record that is due is kept all the same: its classes do not allow what is to be done, or not without an approval that is in force.
    fn not_allowed(&self, verdict: &Verdict, act: Act, approval: Option<&Approval>) -> Option<Kept> {
        let needed = if act == Act::Destroy { Disposition::Destroy } else { Disposition::Anonymise };
        let reaches = |then: Option<Disposition>| then.is_some_and(|then| then.reach() >= needed.reach());
        let Some(approval) = approval else {
            let why = "its class does not say so, or only once people have approved it";
            return (!reaches(verdict.then)).then(|| Kept::NotApproved(why.into()));
        };
        if !self.approvals.has(approval, clock::now()) {
            return Some(Kept::NotApproved("what people approved was taken back, or is over".into()));
        }
        (!reaches(verdict.on_approval)).then(|| Kept::NotApproved("no approval lets its classes do so".into()))
    }

    /// With `else: accept`, what the store kept because it cannot reach the grade goes all the same, as well as the store can.
    async fn accept_lower(&self, permit: &Permit, act: Act, due: &[Record], guard: &Guard<'_>, fates: &mut [Fate]) {
        let dataset = self.dataset();
        let below = |at: &usize| matches!(fates[*at], Fate::Kept(Kept::CannotMeetGrade(_)));
        let again: Vec<usize> = (0..due.len()).filter(below).collect();
        if again.is_empty() {
            return;
        }
        let records: Vec<Record> = again.iter().map(|at| due[*at].clone()).collect();
        let at_its_place = |position: usize, fresh: &Record| guard(again.get(position).copied().unwrap_or(usize::MAX), fresh);
        let removed = dataset.store.remove(permit, &dataset.name, &Order { act, at_least: None }, &records, &at_its_place).await;
        let answered = removed.len() == again.len();
        for (nth, at) in again.iter().enumerate() {
            let silent = || Fate::Failed { error: "the store did not say what became of the record".into(), uncertain: true };
            fates[*at] = removed.get(nth).filter(|_| answered).cloned().unwrap_or_else(silent);
        }
    }

    /// Fates that the store was uncertain of are settled by looking, once nothing more can come to pass. When looking fails too, they stay uncertain
    /// and the intent stays open. Answers, by the record's position, what the store said went wrong with one that is gone, for it may matter to people.
    async fn settle(&self, act: Act, records: &[Record], fates: &mut [Fate]) -> HashMap<usize, String> {
        let mut troubles = HashMap::new();
        let open: Vec<usize> = (0..fates.len()).filter(|at| is_uncertain(&fates[*at])).collect();
        let dataset = self.dataset();
        if open.is_empty() || dataset.store.at_rest().await.is_err() {
            return troubles;
        }
        let keys: Vec<_> = open.iter().map(|at| records[*at].key.clone()).collect();
        let found = dataset.store.fetch(&dataset.name, &keys).await.ok().filter(|found| found.len() == keys.len());
        for (at, found) in open.into_iter().zip(found.into_iter().flatten()) {
            let Fate::Failed { error, uncertain } = &mut fates[at] else { continue };
            // An anonymised record is there, and only one that is what it was is surely not anonymised.
            let untouched = |fresh: &Record| act == Act::Destroy || fresh.fingerprint == records[at].fingerprint;
            let gone = match found {
                Found::Absent => "found-gone",
                Found::Anonymised(fresh) if act == Act::Anonymise && fresh.fingerprint != records[at].fingerprint => FOUND_ANONYMISED,
                Found::Present(fresh) | Found::Anonymised(fresh) => {
                    *uncertain = !untouched(&fresh);
                    continue;
                }
                Found::Outside(_) => {
                    *uncertain = act != Act::Destroy;
                    continue;
                }
                Found::Remains | Found::Unknown(_) => continue,
            };
            troubles.insert(at, std::mem::take(error));
            fates[at] = Fate::Done(Evidence {
                method: gone,
                grade: "unknown",
                verified: true,
                caveats: Cow::Borrowed(&["grade-unknown"]),
                parts: 0,
            });
        }
        troubles
    }
}

fn is_uncertain(fate: &Fate) -> bool {
    matches!(fate, Fate::Failed { uncertain: true, .. })
}

/// How a record was anonymised of which only a look told.
const FOUND_ANONYMISED: &str = "found-anonymised";

/// Who destroys: the program and its version.
pub const BY: &str = concat!("retentiond ", env!("CARGO_PKG_VERSION"));
