//! A session: the state folder opened for writing, and what a run does from its first entry to its last.
//!
//! One process opens the state; [`Session::renewed`] gives it further sessions on the same log and register, each with the day and the configuration
//! of its moment, so that the service may run several datasets side by side for months. What such sessions know together is in [`shared`].
//!
//! Opening is the same after a clean stop and after a crash: take the lock and bring the log to its end, look at the clock, project the log into
//! the register, and settle what a crash left open. Only then can a run begin.
//!
//! A run over one dataset: `run-started` → scan, judge, plan → `flagged` for what people are to look at → limits → in report mode nothing more; in
//! enforce mode the plan is made durable and spent through the one door → `run-finished` with counts that add up.

mod allow;
mod decide;
mod edits;
mod erase;
mod flags;
mod holds;
mod inventory;
mod onlooker;
mod pause;
mod ran;
mod reviews;
mod shared;
mod tasks;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use jiff::Timestamp;
use serde_json::json;

use crate::assess::{Assessment, Assessor, Formers};
use crate::audit::anchor::State;
use crate::audit::{AuditLog, Committed, Draft, Entry, EpochKey, Kind as EntryKind, Pseudonyms};
use crate::clock::{self, Today};
use crate::config::{ClassChoice, Config, Dataset, Mode};
use crate::dispose::{BY, Run, Spent, spend};
use crate::error::{Error, Kind, Result, hex};
use crate::finding::Finding;
use crate::hold::Holds;
use crate::plan::Tally;
use crate::record::Record;
use crate::register::Register;
use crate::review::Left;
use crate::scan::{Listen, scan};
use crate::spool::Spool;
pub use decide::Told;
pub use edits::{Edit, edit, edit_id, formers};
pub use erase::{Confirmation, Confirmed, ErasureOrder, ErasureSeen, SeenDataset};
pub use holds::{Extension, HoldOrder, NamedHold, Which, hold as hold_of, named as named_holds};
pub use onlooker::Onlooker;
pub use ran::{End, Ran, exit_code, waits_for};
pub use reviews::{Listed, Looked, Reviews, batch_of, is_reviewed, records_of_batch, review_planned};
use shared::Shared;
pub use tasks::Attested;

/// Longest piece of a schedule's text in one entry, in bytes before JSON escapes it, which at worst makes six of one.
const TEXT_PIECE: usize = 9_000;

/// The state folder, opened by the one process that may write.
pub struct Session {
    /// The configuration.
    pub config: Arc<Config>,
    /// The audit log.
    pub log: AuditLog,
    /// The register.
    pub register: Register,
    /// What recovery did, for people.
    pub recovered: Vec<Finding>,
    /// Set by a signal: finish the records in hand and start no more.
    pub stop: Arc<AtomicBool>,
    /// What all sessions of the process know together.
    pub(crate) shared: Arc<Shared>,
    pub(crate) now: Timestamp,
    pub(crate) pseudonyms: Arc<Pseudonyms>,
    pub(crate) epoch: Arc<EpochKey>,
    pub(crate) holds: Arc<RwLock<Holds>>,
    /// What was in force before, for what became due only through an edit.
    formers: Arc<Formers>,
    /// The last entry with a text that was in force when those were asked for.
    texts: Option<u64>,
}

/// Numbers that grow while a run goes on, for people who watch.
#[derive(Clone, Default)]
pub struct Progress {
    /// Records seen by the scan.
    pub seen: Arc<AtomicU64>,
    /// Records with an outcome.
    pub done: Arc<AtomicU64>,
    /// Records of the plan that is being spent; 0 while scanning.
    pub planned: Arc<AtomicU64>,
}

impl Session {
    /// Opens the state folder, settles what a crash left open, and writes down schedules that changed.
    pub async fn open(config: Arc<Config>, trust_clock: bool) -> Result<Self> {
        Self::open_with(config, trust_clock, false, Arc::default()).await
    }

    /// Opens the state folder for the service; `stop` ends even what a crash left to do.
    pub async fn open_for_service(config: Arc<Config>, stop: Arc<AtomicBool>) -> Result<Self> {
        Self::open_with(config, false, true, stop).await
    }

    async fn open_with(config: Arc<Config>, trust_clock: bool, unattended: bool, stop: Arc<AtomicBool>) -> Result<Self> {
        let opened = AuditLog::open_with(&config.log_settings())?;
        let log = opened.log;
        let look = clock::look();
        let now = look.at;
        clock::check(now, log.newest_at(), trust_clock)?;
        let mut recovered = Vec::new();
        if opened.recovery.cut_bytes > 0 {
            let text = format!(
                "{} bytes of an unfinished write were cut from the journal's end; they were never acted on",
                opened.recovery.cut_bytes
            );
            recovered.push(Finding::note("audit log", text));
        }
        let mut pseudonyms = Pseudonyms::open(&config.state.join("keys"))?;
        let year = now.to_zoned(jiff::tz::TimeZone::UTC).year();
        let epoch = pseudonyms.create_epoch(year)?;
        let register = Register::open(&config.state).await?;
        let mut session = Self {
            config,
            log,
            register,
            recovered,
            stop,
            shared: Arc::new(Shared::new(look, unattended)),
            now,
            pseudonyms: Arc::new(pseudonyms),
            epoch,
            holds: Arc::default(),
            formers: Arc::default(),
            texts: None,
        };
        let projected = session.project().await?;
        // Where somebody paused, recovery removes nothing either.
        session.load_pauses().await?;
        // What recovery removes (what is left of records that are gone) is judged by what is in the log as in force, and by holds.
        session.write_down().await?;
        session.texts = session.register.last_text().await?;
        session.formers = Arc::new(formers(&session.config, Some(&session.register), now).await?);
        session.recovered.extend(session.settle_all(projected).await?);
        session.rename_holds().await?;
        Ok(session)
    }

    /// A further session on the same log and register: at this moment, with this configuration. Refused when the clock cannot be believed.
    pub async fn renewed(&self, config: Arc<Config>, trust_clock: bool) -> Result<Self> {
        let now = self.shared.look(trust_clock)?;
        let year = now.to_zoned(jiff::tz::TimeZone::UTC).year();
        let (mut pseudonyms, mut epoch) = (Arc::clone(&self.pseudonyms), Arc::clone(&self.epoch));
        if epoch.year() != year {
            let mut anew = Pseudonyms::open(&config.state.join("keys"))?;
            epoch = anew.create_epoch(year)?;
            pseudonyms = Arc::new(anew);
        }
        // First: what is written down meanwhile is noticed.
        let texts = self.register.last_text().await?;
        let formers = Arc::new(formers(&config, Some(&self.register), now).await?);
        let new_year = epoch.year() != self.epoch.year();
        let renewed = Self { now, pseudonyms, epoch, formers, texts, ..self.configured(config) };
        if new_year {
            renewed.rename_holds().await?;
        }
        Ok(renewed)
    }

    /// This session with another configuration, for what depends on no clock.
    #[must_use]
    pub fn configured(&self, config: Arc<Config>) -> Self {
        Self {
            config,
            log: self.log.clone(),
            register: self.register.clone(),
            recovered: Vec::new(),
            stop: Arc::clone(&self.stop),
            shared: Arc::clone(&self.shared),
            now: self.now,
            pseudonyms: Arc::clone(&self.pseudonyms),
            epoch: Arc::clone(&self.epoch),
            holds: Arc::clone(&self.holds),
            formers: Arc::clone(&self.formers),
            texts: self.texts,
        }
    }

    /// Whether some run of this process did not come to its last entry, or some intent of the past is open: [`Session::recover`] looks at that.
    pub async fn is_unsettled(&self) -> bool {
        self.shared.is_unsettled().await
    }

    /// The instant that counts as now.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Commits entries that the register keeps something of, and lets it know. Nothing else may bring such entries into the log while runs are under
    /// way: the register must not claim to reflect an entry that it never saw.
    pub(crate) async fn tell(&self, kind: EntryKind, bodies: Vec<serde_json::Value>) -> Result<Committed> {
        // Before anything is held back: what the log cannot hold is the fault of who asked for it, and ends nothing.
        let drafts = bodies.iter().map(|body| Draft::new(kind, body)).collect::<Result<Vec<_>>>()?;
        let token = self.shared.begin().await;
        let committed = self.log.commit(drafts).await?;
        let entry = |(n, body): (u64, serde_json::Value)| Entry {
            n,
            at: committed.at().to_owned(),
            kind,
            nonce: String::new(),
            fields: if let serde_json::Value::Object(fields) = body { fields } else { serde_json::Map::new() },
        };
        let entries: Vec<Entry> = (committed.first()..).zip(bodies).map(entry).collect();
        self.register.apply(&entries).await?;
        self.shared.end(token, &committed, &self.register).await?;
        Ok(committed)
    }

    /// The folder of the audit log.
    pub(crate) fn log_folder(&self) -> PathBuf {
        self.config.state.join("audit")
    }

    /// The folder of plans.
    pub fn plans(&self) -> PathBuf {
        plans_folder(&self.config)
    }

    /// Publishes the log and gives up the lock.
    pub async fn close(self) -> Result<()> {
        self.log.close().await
    }

    /// An assessor for one of the datasets, on the day of this session.
    pub fn assessor(&self, dataset: &Arc<Dataset>) -> Assessor {
        Assessor::new(
            Arc::clone(&self.config),
            Arc::clone(dataset),
            Today::Now(self.now),
            Arc::clone(&self.holds),
            Arc::clone(&self.pseudonyms),
            Arc::clone(&self.formers),
        )
        .with_register(Some(self.register.clone()))
    }

    pub(crate) fn new_run(&self, dataset: &Arc<Dataset>, progress: &Progress) -> Result<Arc<Run>> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|error| Error::new(Kind::Io, format!("no random numbers can be had: {error}")))?;
        Ok(Arc::new(Run {
            id: format!("{}-{}", self.now.strftime("%Y%m%dT%H%M%SZ"), hex(&random)),
            log: self.log.clone(),
            assessor: self.assessor(dataset),
            epoch: Arc::clone(&self.epoch),
            approvals: Arc::clone(&self.shared.approvals),
            brake: self.brake(dataset),
            done: Arc::clone(&progress.done),
            hands: self.shared.hands.clone(),
            attestation: None,
            erasure: None,
        }))
    }

    /// Runs one dataset: scan, plan, and in enforce mode dispose.
    pub async fn run(&self, dataset: &Arc<Dataset>, progress: &Progress) -> Result<Ran> {
        let run = self.new_run(dataset, progress)?;
        if let Some(pause) = self.paused(dataset.store.name()) {
            return Ok(Ran::without_a_plan(&run, End::Paused(pause)));
        }
        self.check_clock(dataset).await?;
        let mark = self.started(&run, None, None).await?;
        let mut taking = self.take_inventory(dataset)?;
        let whole = taking.is_some();
        let mut take = |record: &Record, assessment: &Assessment| {
            if let Some(taking) = &mut taking {
                taking.take(dataset, record, assessment);
            }
        };
        let listen = whole.then_some(&mut take as &mut Listen<'_>);
        let planned = match scan(&run.assessor, Some(&self.plans()), Arc::clone(&progress.seen), &run.brake, whole, listen).await {
            Ok(planned) => planned,
            // A store that cannot be scanned is that dataset's trouble; a disk that takes no plan or a lost log is everybody's.
            Err(error) if error.kind() == Kind::Store => {
                let ran = Ran::without_a_plan(&run, End::Incomplete(error.to_string()));
                self.finished(&run, &ran).await?;
                return Ok(ran);
            }
            Err(error) => return Err(error),
        };
        let mut ran = Ran {
            run: run.id.clone(),
            dataset: Arc::clone(dataset),
            tally: planned.tally,
            end: End::Reported(None),
            flagged: 0,
            tasks: 0,
            inventory: None,
            review: Left::default(),
            findings: planned.findings,
        };
        match (planned.plan, run.brake.pulled()) {
            (None, Some(stop)) => ran.end = End::Spent(Spent::stopped(stop)),
            (None, None) => ran.end = End::Incomplete(planned.incomplete.unwrap_or_else(|| "the scan did not say why".into())),
            (Some(plan), _) if plan.footer.mark != mark => ran.end = End::Incomplete(another_place(dataset)),
            (Some(plan), _) => {
                self.tell_overdue(&run, &ran.tally).await?;
                if let Some(taking) = taking {
                    self.keep_inventory(&run, taking, &mark, &mut ran).await?;
                }
                ran.flagged = self.flag(&run, &plan).await?;
                let plan = self.review(&run, plan, &mut ran).await?;
                self.open_tasks(&run, &plan, &mut ran).await?;
                ran.end = self.decide(&run, plan, &ran.tally, progress).await?;
            }
        }
        self.finished(&run, &ran).await?;
        Ok(ran)
    }

    /// Refuses a clock that is not synchronised, where that is required: by the configuration, or because nobody watches. Report mode destroys nothing.
    async fn check_clock(&self, dataset: &Dataset) -> Result<()> {
        let required = self.config.service.synchronised.unwrap_or(self.shared.unattended);
        if dataset.mode == Mode::Report || !required {
            return Ok(());
        }
        let asked = tokio::task::spawn_blocking(clock::check_synchronised).await;
        asked.map_err(|error| Error::with_source(Kind::Refused, "clock: it could not be asked whether it is synchronised", error))?
    }

    /// Report, refuse or spend.
    async fn decide(&self, run: &Arc<Run>, mut plan: Spool, tally: &Tally, progress: &Progress) -> Result<End> {
        let dataset = run.dataset();
        let over = tally.over(&dataset.limits);
        if dataset.mode == Mode::Report {
            return Ok(End::Reported(over));
        }
        if dataset.store.is_attested() {
            // What is due there became a task of people.
            return Ok(End::Spent(Spent::default()));
        }
        if let Some(over) = over {
            let id = plan.id()?;
            plan.keep(&self.plans(), &id)?;
            let body = json!({
                "run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "plan": id, "due": over.due, "population": over.population,
                "limits": over.limits,
            });
            self.log.commit(vec![Draft::new(EntryKind::Refused, &body)?]).await?;
            return Ok(End::Refused { plan: id, over });
        }
        if tally.disposed() == 0 {
            return Ok(End::Spent(Spent::default()));
        }
        plan.keep(&self.plans(), &run.id)?;
        self.spend_and_discard(run, plan, tally.disposed(), progress).await
    }

    async fn spend_and_discard(&self, run: &Arc<Run>, plan: Spool, planned: u64, progress: &Progress) -> Result<End> {
        progress.planned.store(planned, Ordering::Relaxed);
        let mut spent = spend(run, &plan).await?;
        spent.purge(run.dataset()).await;
        // While some record's fate is open the plan stays, so that recovery knows its key.
        if spent.open() == 0 {
            plan.discard()?;
        }
        Ok(End::Spent(spent))
    }

    /// Writes down that a run begins, the refused plan that it spends, and why it is no run like others; answers the mark of the place that stands in
    /// the entry.
    ///
    /// After a crash recovery believes only a place with that mark. So whoever goes on to destroy must see the same mark once more: one that could not
    /// be told at this moment would leave the run's intents open for ever.
    pub(crate) async fn started(&self, run: &Run, plan: Option<&str>, reason: Option<&str>) -> Result<String> {
        let dataset = run.dataset();
        let rules: Vec<_> =
            dataset.rules().iter().map(|rule| json!({"class": rule.class.id.as_str(), "schedule": &*rule.schedule.sha256})).collect();
        let zone = dataset.rules().first().map(|rule| rule.schedule.zone.clone());
        let mut body = json!({
            "run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "mode": dataset.mode.as_str(), "rules": rules, "by": BY,
            // Whether each record has all these classes, or those that a value of its own picks.
            "apply": if matches!(dataset.classes, ClassChoice::All(_)) { "all" } else { "some" },
            "today": zone.map(|zone| Today::Now(self.now).date_in(&zone).to_string()),
        });
        let mark = dataset.store.mark().await;
        if !mark.is_empty() {
            body["mark"] = json!(mark);
        }
        if let Some(plan) = plan {
            body["plan"] = json!(plan);
        }
        if let Some(reason) = reason {
            body["reason"] = json!(reason);
        }
        if let Some(erasure) = &run.erasure {
            body["erasure"] = json!(erasure.id());
        }
        if let Some(former) = self.formers.get(&dataset.address) {
            // What is due now is judged by what was in force before as well; until when, follows from the log.
            body["edit_delay"] = json!(self.config.service.edit_delay.as_secs());
            body["waits_until"] = json!(former.iter().map(|former| former.until).max().map(|until| format!("{until:.3}")));
        }
        // Were schedules written down anew between here and the entry, it would name one that was withdrawn before it.
        let edition = self.shared.edition.read().await;
        if !self.is_current(edition.as_deref()).await? {
            return Err(Error::new(
                Kind::Refused,
                format!("{}: schedule and configuration were loaded anew at this moment; try again", dataset.address),
            ));
        }
        // From here until it is finished, the register reflects the log up to here at most.
        let token = self.shared.begin().await;
        let begun = self.tell(EntryKind::RunStarted, vec![body]).await?;
        drop(edition);
        self.shared.run_began(token, &run.id, begun.first()).await;
        Ok(mark)
    }

    async fn finished(&self, run: &Run, ran: &Ran) -> Result<()> {
        let dataset = run.dataset();
        let mut body = json!({
            "run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "mode": dataset.mode.as_str(), "end": ran.end.word(),
            "counts": ran.counts(), "population": ran.tally.population, "due": ran.tally.due(), "held": ran.tally.held,
            "undetermined": ran.tally.undetermined, "overdue": ran.tally.overdue, "verdicts": ran.tally.verdicts(),
        });
        if let Some(inventory) = &ran.inventory {
            body["inventory"] = inventory.clone();
        }
        if !ran.review.is_empty() {
            body["review"] = json!(ran.review);
        }
        if let End::Incomplete(_) = &ran.end {
            body["incomplete"] = json!(true);
        }
        if let End::Spent(Spent { purged: Some((what, done)), .. }) = &ran.end {
            body["purge"] = json!({"what": what, "done": done.is_ok()});
        }
        if let End::Spent(Spent { stopped: Some(stop), .. }) = &ran.end {
            body["stopped"] = json!(stop.word());
        }
        if matches!(&ran.end, End::Spent(spent) if spent.open() > 0) {
            // A run with a record whose fate is open is not finished: recovery closes it once it knows.
            return self.log.publish().await.map(drop);
        }
        self.finish_run(&run.id, body).await?;
        self.log.publish().await.map(drop)
    }

    /// The last entry of a run. What the run said that the register shows is in the register already; nothing of it needs reading again.
    pub(crate) async fn finish_run(&self, run: &str, body: serde_json::Value) -> Result<()> {
        let last = self.tell(EntryKind::RunFinished, vec![body]).await?;
        self.shared.run_ended(run, &last, &self.register).await
    }

    /// Records past their ceiling are a breach of the schedule: the log says how many there are.
    async fn tell_overdue(&self, run: &Run, tally: &Tally) -> Result<()> {
        if tally.overdue == 0 {
            return Ok(());
        }
        let dataset = run.dataset();
        let body = json!({
            "run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "records": tally.overdue,
            "oldest_event": tally.oldest.map(|day| day.to_string()),
        });
        self.log.commit(vec![Draft::new(EntryKind::Overdue, &body)?]).await.map(drop)
    }
}

/// Why nothing is destroyed where the place is not surely the one that the log names.
fn another_place(dataset: &Dataset) -> String {
    format!("{} is not surely the place that it was when the run began; is a disk being mounted?", dataset.store.place())
}

/// What a person should know about the anchors of a log, as they stand after it was closed.
pub fn anchor_findings(states: &[State]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for State { anchor, size, failed, noticed, .. } in states {
        findings.extend(noticed.as_ref().map(|what| Finding::note(format!("anchor {anchor}"), what)));
        let taken = size.map_or("no checkpoint".to_owned(), |size| format!("the one of {size} entries as the last"));
        findings.extend(failed.as_ref().map(|why| Finding::warning(format!("anchor {anchor}"), format!("{why}; it took {taken}"))));
    }
    findings
}

/// The folder of plans of a configuration.
pub fn plans_folder(config: &Config) -> PathBuf {
    config.state.join("plans")
}

/// Cuts text at character boundaries into pieces of at most `most` bytes; the pieces joined are the text.
fn pieces(text: &str, most: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > most {
        let cut = (0..=most).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(cut);
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

impl Mode {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Enforce => "enforce",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_pieces_is_the_text() {
        let text = "größer ".repeat(3000);
        let cut = pieces(&text, 1000);
        assert!(cut.len() > 20 && cut.iter().all(|piece| piece.len() <= 1000));
        assert_eq!(cut.concat(), text);
        assert_eq!(pieces("", 10), [""]);
    }
}
