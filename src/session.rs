//! A session: the state folder opened for writing, and what a run does from its first entry to its last.
//!
//! Opening is the same after a clean stop and after a crash: take the lock and bring the log to its end, look at the clock, project the log into
//! the register, and settle what a crash left open. Only then can a run begin.
//!
//! A run over one dataset: `run-started` → scan, judge, plan → `flagged` for what people are to look at → limits → in report mode nothing more; in
//! enforce mode the plan is made durable and spent through the one door → `run-finished` with counts that add up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use jiff::Timestamp;
use serde_json::json;

use crate::assess::Assessor;
use crate::audit::anchor::State;
use crate::audit::{AuditLog, Draft, EpochKey, Kind as EntryKind, Pseudonyms};
use crate::clock::{self, Today};
use crate::config::{ClassChoice, Config, Dataset, Mode};
use crate::dispose::{BY, Run, Spent, spend};
use crate::error::{Error, Kind, Result, hex};
use crate::finding::{Finding, Severity};
use crate::hold::Holds;
use crate::plan::{Item, OverLimit, Tally};
use crate::register::{Flag, Register};
use crate::scan::{acts, scan};
use crate::schedule::Disposition;
use crate::spool::{self, Spool};
use crate::store::BATCH;

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
    /// Whether some intent is open: the register then does not claim to reflect the log beyond it.
    pub(crate) unsettled: AtomicBool,
    pub(crate) now: Timestamp,
    pub(crate) pseudonyms: Arc<Pseudonyms>,
    pub(crate) epoch: Arc<EpochKey>,
    pub(crate) holds: Arc<RwLock<Holds>>,
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

/// What came of a run over one dataset.
pub struct Ran {
    /// The run's id.
    pub run: String,
    /// The dataset.
    pub dataset: Arc<Dataset>,
    /// What the scan saw; empty when a stored plan was spent.
    pub tally: Tally,
    /// How it ended.
    pub end: End,
    /// Records flagged for the first time.
    pub flagged: u64,
    /// Things a person should know.
    pub findings: Vec<Finding>,
}

/// How a run ended.
pub enum End {
    /// Report mode: nothing was done.
    Reported(Option<OverLimit>),
    /// The plan was spent.
    Spent(Spent),
    /// The plan exceeds its limits and waits under this id for a person.
    Refused {
        /// The plan's id.
        plan: String,
        /// Why.
        over: OverLimit,
    },
    /// The dataset could not be seen completely; nothing was planned.
    Incomplete(String),
}

impl Session {
    /// Opens the state folder, settles what a crash left open, and writes down schedules that changed.
    pub async fn open(config: Arc<Config>, trust_clock: bool) -> Result<Self> {
        let opened = AuditLog::open_with(&config.log_settings())?;
        let log = opened.log;
        let now = clock::now();
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
            stop: Arc::default(),
            unsettled: AtomicBool::new(false),
            now,
            pseudonyms: Arc::new(pseudonyms),
            epoch,
            holds: Arc::default(),
        };
        session.recover().await?;
        session.write_down_schedules().await?;
        Ok(session)
    }

    /// The folder of plans.
    pub fn plans(&self) -> PathBuf {
        plans_folder(&self.config)
    }

    /// Publishes the log and gives up the lock.
    pub async fn close(self) -> Result<()> {
        self.log.close().await
    }

    /// Every schedule in force whose text is not in the log as it stands goes into the log in full, so that an auditor can derive each due date.
    async fn write_down_schedules(&self) -> Result<()> {
        let known = self.register.schedules().await?;
        for schedule in &self.config.schedules.all {
            if known.get(&schedule.id).map(String::as_str) == Some(&*schedule.sha256) {
                continue;
            }
            let pieces = pieces(&schedule.text, TEXT_PIECE);
            let mut drafts = Vec::new();
            for (at, text) in pieces.iter().enumerate() {
                let body = json!({
                    "id": schedule.id, "sha256": &*schedule.sha256, "title": schedule.title, "part": at + 1, "parts": pieces.len(), "text": text, "by": BY,
                });
                drafts.push(Draft::new(EntryKind::Schedule, &body)?);
            }
            self.log.commit(drafts).await?;
        }
        // What is still open stays ahead of what the register counts as applied, so that the next start sees it again.
        self.register.project(&self.config.state.join("audit")).await.map(drop)
    }

    /// An assessor for one of the datasets, on the day of this session.
    pub fn assessor(&self, dataset: &Arc<Dataset>) -> Assessor {
        Assessor::new(
            Arc::clone(&self.config),
            Arc::clone(dataset),
            Today::Now(self.now),
            Arc::clone(&self.holds),
            Arc::clone(&self.pseudonyms),
        )
    }

    pub(crate) fn new_run(&self, dataset: &Arc<Dataset>, progress: &Progress) -> Result<Arc<Run>> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|error| Error::new(Kind::Io, format!("no random numbers can be had: {error}")))?;
        Ok(Arc::new(Run {
            id: format!("{}-{}", self.now.strftime("%Y%m%dT%H%M%SZ"), hex(&random)),
            log: self.log.clone(),
            assessor: self.assessor(dataset),
            epoch: Arc::clone(&self.epoch),
            stop: Arc::clone(&self.stop),
            done: Arc::clone(&progress.done),
        }))
    }

    /// Runs one dataset: scan, plan, and in enforce mode dispose.
    pub async fn run(&self, dataset: &Arc<Dataset>, progress: &Progress) -> Result<Ran> {
        let run = self.new_run(dataset, progress)?;
        let mark = self.started(&run, None, None).await?;
        let planned = match scan(&run.assessor, Some(&self.plans()), Arc::clone(&progress.seen), &self.stop, false, None).await {
            Ok(planned) => planned,
            // A store that cannot be scanned is that dataset's trouble; a disk that takes no plan or a lost log is everybody's.
            Err(error) if error.kind() == Kind::Store => {
                let ran = Ran::incomplete(&run, error.to_string());
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
            findings: planned.findings,
        };
        match planned.plan {
            None if self.stop.load(Ordering::Relaxed) => ran.end = End::Spent(Spent::stopped()),
            None => ran.end = End::Incomplete(planned.incomplete.unwrap_or_else(|| "the scan did not say why".into())),
            Some(plan) if plan.footer.mark != mark => ran.end = End::Incomplete(another_place(dataset)),
            Some(plan) => {
                self.tell_overdue(&run, &ran.tally).await?;
                ran.flagged = self.flag(&run, &plan).await?;
                ran.end = self.decide(&run, plan, &ran.tally, progress).await?;
            }
        }
        self.finished(&run, &ran).await?;
        Ok(ran)
    }

    /// Report, refuse or spend.
    async fn decide(&self, run: &Arc<Run>, mut plan: Spool, tally: &Tally, progress: &Progress) -> Result<End> {
        let dataset = run.dataset();
        let over = tally.over(&dataset.limits);
        if dataset.mode == Mode::Report {
            return Ok(End::Reported(over));
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

    /// Spends exactly the plan that was refused under this id.
    pub async fn allow(&self, id: &str, person: &str, progress: &Progress) -> Result<Ran> {
        let path = self.plans().join(format!("{id}.plan"));
        if !spool::is_id(id) || !path.exists() {
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "no refused plan has the id \"{}\"; plans are kept for {} days and spent once: run again to see the present plan",
                    crate::error::escape(id.as_bytes()),
                    spool::KEEP_DAYS
                ),
            ));
        }
        let plan = Spool::open(&path, Some(id))?;
        let (store, name) = (plan.footer.store.clone(), plan.footer.dataset.clone());
        let dataset = self
            .config
            .dataset(&store, &name)
            .ok_or_else(|| Error::new(Kind::Refused, format!("the plan is of {store}/{name}, which is no longer configured")))?;
        if dataset.mode == Mode::Report {
            return Err(Error::new(
                Kind::Refused,
                format!("{}: is in report mode; nothing is destroyed before `mode: enforce` is written", dataset.address),
            ));
        }
        if plan.footer.mark != dataset.store.mark().await {
            let place = dataset.store.place();
            return Err(Error::new(
                Kind::Refused,
                format!("{}: {place} is not the place that the plan was made for; is a disk not mounted?", dataset.address),
            ));
        }
        // The outcomes will say by which schedule each record was due, and that must be one in force.
        let in_force = |rule: &(String, String)| self.config.schedules.rule(&rule.0).is_some_and(|now| *now.schedule.sha256 == *rule.1);
        if !plan.footer.rules.iter().all(in_force) {
            return Err(Error::new(
                Kind::Refused,
                format!("{}: the schedule has changed since the plan was made; run again to see the present plan", dataset.address),
            ));
        }
        // The plan is spent once; outside the window it would be used up for nothing.
        if let Some(window) = dataset.window_shown().filter(|_| !dataset.is_open(clock::now())) {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{}: outside its window {window}; nothing was disposed of; the plan waits, run it again within the window",
                    dataset.address
                ),
            ));
        }
        let run = self.new_run(dataset, progress)?;
        if self.started(&run, Some(id), None).await? != plan.footer.mark {
            let ran = Ran::incomplete(&run, another_place(dataset));
            self.finished(&run, &ran).await?;
            return Ok(ran);
        }
        let disposed = plan.footer.tally.disposed();
        let body = json!({"run": run.id, "store": store, "dataset": name, "plan": id, "due": disposed, "person": person});
        self.log.commit(vec![Draft::new(EntryKind::Allowed, &body)?]).await?;
        // From here on the plan belongs to this run: it is spent once, and recovery finds it under the run's id.
        let mine = self.plans().join(format!("{}.plan", run.id));
        let rename = std::fs::rename(&path, &mine).and_then(|()| std::fs::File::open(self.plans())?.sync_all());
        rename.map_err(|error| Error::with_source(Kind::Io, format!("{}: the plan cannot be taken over", path.display()), error))?;
        let plan = Spool::open(&mine, Some(id))?;
        let end = self.spend_and_discard(&run, plan, disposed, progress).await?;
        let ran = Ran { run: run.id.clone(), dataset: Arc::clone(dataset), tally: Tally::default(), end, flagged: 0, findings: Vec::new() };
        self.finished(&run, &ran).await?;
        Ok(ran)
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
        self.log.commit(vec![Draft::new(EntryKind::RunStarted, &body)?]).await?;
        Ok(mark)
    }

    async fn finished(&self, run: &Run, ran: &Ran) -> Result<()> {
        let dataset = run.dataset();
        let mut body = json!({
            "run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "mode": dataset.mode.as_str(), "end": ran.end.word(),
            "counts": ran.counts(), "population": ran.tally.population, "due": ran.tally.due(), "held": ran.tally.held,
            "undetermined": ran.tally.undetermined, "overdue": ran.tally.overdue,
        });
        if let End::Incomplete(_) = &ran.end {
            body["incomplete"] = json!(true);
        }
        if let End::Spent(Spent { purged: Some((what, done)), .. }) = &ran.end {
            body["purge"] = json!({"what": what, "done": done.is_ok()});
        }
        if matches!(&ran.end, End::Spent(spent) if spent.open() > 0) {
            // A run with a record whose fate is open is not finished: recovery closes it once it knows.
            self.unsettled.store(true, Ordering::Relaxed);
            return self.log.publish().await.map(drop);
        }
        let last = self.log.commit(vec![Draft::new(EntryKind::RunFinished, &body)?]).await?;
        self.log.publish().await?;
        if !self.unsettled.load(Ordering::Relaxed) {
            // What the run said that the register shows, its flags, is in the register already; nothing of it needs reading again.
            self.register.set_applied(last.first() + u64::from(last.count())).await?;
        }
        Ok(())
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

    /// Flags what people are to look at: an entry for each record that was not flagged before.
    async fn flag(&self, run: &Run, plan: &Spool) -> Result<u64> {
        let dataset = run.dataset();
        if plan.footer.tally.review + plan.footer.tally.flag > 0 {
            let mut flagged = 0;
            let mut batch: Vec<Item> = Vec::with_capacity(BATCH);
            for item in plan.items()? {
                let item = item?;
                if !acts(item.then) {
                    batch.push(item);
                }
                if batch.len() == BATCH {
                    flagged += self.flag_batch(run, std::mem::take(&mut batch)).await?;
                }
            }
            flagged += self.flag_batch(run, batch).await?;
            self.register.unflag_others(&dataset.address, &run.id).await?;
            return Ok(flagged);
        }
        self.register.unflag_others(&dataset.address, &run.id).await?;
        Ok(0)
    }

    async fn flag_batch(&self, run: &Run, items: Vec<Item>) -> Result<u64> {
        let dataset = run.dataset();
        let mut drafts = Vec::new();
        let mut flags = Vec::new();
        for item in items {
            let mut names = self.pseudonyms.all_for(dataset.store.name(), &dataset.name, item.record.key.as_bytes());
            names.push(run.name(&item.record));
            let known = self.register.flags(&dataset.address, &names).await?.into_values().next();
            let disposition = if item.then == Disposition::Review { "review" } else { "flag" };
            let record = known.as_ref().map_or_else(|| run.name(&item.record), |flag| flag.record.clone());
            let since = known.as_ref().map_or_else(|| format!("{:.0}", self.now), |flag| flag.since.clone());
            let due = item.deciding.due.to_string();
            if known.is_none() {
                let body = json!({
                    "run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "class": item.deciding.class.as_str(), "record": record,
                    "then": disposition, "size": item.record.size, "schedule": &*item.deciding.schedule, "event": item.deciding.event.as_str(),
                    "event_date": item.deciding.event_date.to_string(), "due": due,
                });
                drafts.push(Draft::new(EntryKind::Flagged, &body)?);
            }
            flags.push(Flag { record, since, disposition: disposition.to_owned(), due });
        }
        let new = u64::try_from(drafts.len()).unwrap_or(0);
        if !drafts.is_empty() {
            self.log.commit(drafts).await?;
        }
        self.register.flag(&dataset.address, &run.id, &flags).await?;
        Ok(new)
    }
}

/// Why nothing is destroyed where the place is not surely the one that the log names.
fn another_place(dataset: &Dataset) -> String {
    format!("{} is not surely the place that it was when the run began; is a disk being mounted?", dataset.store.place())
}

/// What a person should know about the anchors of a log, as they stand after it was closed.
pub fn anchor_findings(states: &[State]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for State { anchor, size, failed, noticed } in states {
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

impl End {
    /// The word of the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Reported(_) => "reported",
            Self::Spent(spent) if spent.stopped.is_some() => "stopped",
            Self::Spent(_) => "done",
            Self::Refused { .. } => "refused",
            Self::Incomplete(_) => "incomplete",
        }
    }
}

impl Ran {
    fn incomplete(run: &Run, why: String) -> Self {
        Self {
            run: run.id.clone(),
            dataset: Arc::clone(run.dataset()),
            tally: Tally::default(),
            end: End::Incomplete(why),
            flagged: 0,
            findings: Vec::new(),
        }
    }

    /// The numbers of entries by kind that the run wrote, as `run-finished` states them.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = match &self.end {
            End::Spent(spent) => spent.counts,
            _ => crate::dispose::Counts::default(),
        };
        BTreeMap::from([
            ("destroyed", counts.destroyed),
            ("anonymised", counts.anonymised),
            ("flagged", self.flagged),
            ("absent", counts.absent),
            ("kept", counts.kept),
            ("failed", counts.failed),
            ("recovered", counts.recovered),
        ])
    }

    /// Whether a person must look: failures, refusals, incomplete scans, overdue or undetermined records, findings above a note.
    pub fn needs_attention(&self) -> bool {
        let tally = &self.tally;
        let end = match &self.end {
            End::Reported(over) => over.is_some(),
            End::Spent(spent) => {
                spent.counts.failed > 0
                    || spent.stopped.is_some()
                    || !spent.troubles.is_empty()
                    || matches!(spent.purged, Some((_, Err(_))))
            }
            End::Refused { .. } | End::Incomplete(_) => true,
        };
        end || tally.undetermined > 0 || tally.overdue > 0 || self.findings.iter().any(|finding| finding.severity != Severity::Note)
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
