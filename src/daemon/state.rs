//! What the tasks of the service share, and what they tell the one that holds the agenda.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::desk::About;
use super::shown;
use super::turns::{Need, Turns};
use crate::config::{Config, Dataset, EventSource};
use crate::control::listen::Ask;
use crate::control::{Reply, Status, status};
use crate::error::{Error, Kind, Result};
use crate::register::{Pause, Register, Scanned};
use crate::session::{self, Progress, Session};

/// What the tasks of the service share.
pub(super) struct State {
    /// The configuration file.
    pub(super) file: PathBuf,
    /// The path of the control socket.
    pub(super) control: PathBuf,
    /// The session that opened the state folder; runs use further ones.
    pub(super) session: Session,
    pub(super) turns: Arc<Turns>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    config: RwLock<Arc<Config>>,
    running: Mutex<BTreeMap<String, Running>>,
    /// Datasets whose last run did not come to its end: those that they look into must wait.
    undone: Mutex<BTreeSet<String>>,
    /// Why the clock was not believed when it was last looked at.
    clock_refused: Mutex<Option<String>>,
}

/// What the task that holds the agenda is told.
pub(super) enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    LogStatus,
    /// A run began.
    Began { dataset: String, at: Timestamp },
    /// A run ended, or could not begin.
    Ended { dataset: String, origin: Origin, end: &'static str, outcome: Outcome },
    /// Recovery looked what became of records.
    Recovered(Result<()>),
    /// Prometheus wants its numbers.
    Scrape(oneshot::Sender<String>),
    /// A notice arrived, or did not.
    Delivered { channel: &'static str, about: About, result: std::result::Result<(), String> },
    /// A client asks for something.
    Ask(Ask),
}

/// Who asked for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Timetable,
    Person,
}

/// What came of a run, for the agenda.
pub(super) enum Outcome {
    /// All that could be done, or what only a person can change.
    Done,
    /// It waits for something that may pass soon.
    PutOff(String),
    /// It is tried again.
    Failed(String),
    /// The audit log is lost.
    Lost(Error),
}

/// A run under way.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) since: Timestamp,
    pub(super) progress: Progress,
}

impl Running {
    pub(super) fn shown(&self) -> status::Running {
        let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        status::Running {
            since: shown(self.since),
            seen: number(&self.progress.seen),
            planned: number(&self.progress.planned),
            done: number(&self.progress.done),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub(super) fn new(file: &Path, session: Session, config: Arc<Config>, events: mpsc::UnboundedSender<Event>) -> Arc<Self> {
        Arc::new(Self {
            file: file.to_owned(),
            control: config.service.control.clone(),
            session,
            turns: Turns::new(config.service.runs_at_once),
            events,
            config: RwLock::new(config),
            running: Mutex::default(),
            undone: Mutex::default(),
            clock_refused: Mutex::default(),
        })
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_config(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The runs under way.
    pub(super) fn running(&self) -> BTreeMap<String, Running> {
        locked(&self.running).clone()
    }

    pub(super) fn nothing_runs(&self) -> bool {
        locked(&self.running).is_empty()
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody listens any more only when the service ends.
        let _ = self.events.send(event);
    }

    /// Shows a run as under way until the guard is dropped.
    pub(super) fn show(self: &Arc<Self>, dataset: &str, progress: &Progress) -> Shown {
        let running = Running { since: crate::clock::now(), progress: progress.clone() };
        locked(&self.running).insert(dataset.to_owned(), running);
        Shown { state: Arc::clone(self), dataset: dataset.to_owned() }
    }

    /// Why the clock was not believed when it was last looked at.
    pub(super) fn clock_refused(&self) -> Option<String> {
        locked(&self.clock_refused).clone()
    }

    pub(super) fn set_clock_refused(&self, why: Option<String>) {
        *locked(&self.clock_refused) = why;
    }

    pub(super) fn set_undone(&self, dataset: &str, undone: bool) {
        let mut all = locked(&self.undone);
        if undone {
            all.insert(dataset.to_owned());
        } else {
            all.remove(dataset);
        }
    }

    /// The dataset that looks into this one and whose last run did not come to its end.
    pub(super) fn waits_for(&self, dataset: &Dataset) -> Option<String> {
        let undone = locked(&self.undone);
        let config = self.config();
        let asker = config.datasets.iter().find(|one| undone.contains(&one.address) && one.looks_into(dataset));
        asker.map(|asker| asker.address.clone())
    }
}

/// A run shown as under way.
pub(super) struct Shown {
    state: Arc<State>,
    dataset: String,
}

impl Drop for Shown {
    fn drop(&mut self) {
        locked(&self.state.running).remove(&self.dataset);
    }
}

/// The places that a run over this dataset touches.
pub(super) fn need(config: &Config, dataset: &Dataset) -> Need {
    let looked_into = dataset.events.iter().filter_map(|(_, source)| match source {
        EventSource::Lookup(lookup) => config.dataset(&lookup.store, &lookup.dataset),
        EventSource::Here => None,
    });
    let stores = std::iter::once(dataset.store.identity()).chain(looked_into.map(|other| other.store.identity()));
    Need::Places(stores.collect())
}

/// The last answer to a request, and the error that the service cannot outlive, if it is one.
pub(super) fn done(result: Result<u8>) -> (Reply, Option<Error>) {
    match result {
        Ok(code) => (Reply::Done { code, error: None }, None),
        Err(error) => {
            let reply = Reply::Done { code: error.kind().exit_code(), error: Some(error.to_string()) };
            let lost = matches!(error.kind(), Kind::LogLost | Kind::NotIntact);
            (reply, lost.then_some(error))
        }
    }
}

/// The status as far as the register knows it.
pub(super) async fn known(config: &Config, register: &Register, pauses: Vec<Pause>) -> Result<Status> {
    let mut status = unknown(config);
    for last in register.last_runs().await? {
        if let Some(row) = status.datasets.iter_mut().find(|row| row.dataset == last.dataset) {
            row.satisfied = last.satisfied.map(shown);
            row.scanned = last.scanned.map(scanned);
            row.last = Some(status::Last { run: last.run, began: shown(last.began), ended: last.ended.map(shown), how: last.how });
        }
    }
    if let Some(log) = &mut status.log {
        log.heartbeat = register.heartbeat().await?.map(shown);
    }
    for row in &mut status.datasets {
        row.lost = register.losses(&row.dataset).await?.map(|(records, last)| status::Lost { records, last });
    }
    for dataset in config.datasets.iter().filter(|dataset| dataset.store.is_attested()) {
        let today = crate::clock::Today::now().date_in(&dataset.zone());
        let tasks = register.count_tasks(&dataset.address, today).await?;
        if let Some(row) = status.datasets.iter_mut().find(|row| row.dataset == dataset.address) {
            row.tasks = Some(status::Tasks { open: tasks.open, overdue: tasks.overdue });
        }
    }
    let formers = session::formers(config, Some(register), crate::clock::now()).await?;
    let shown_edit = |edit: session::Edit| status::Edit { id: edit.id, until: shown(edit.until) };
    status.edit = session::edit(config, &formers).map(shown_edit);
    let reviews = session::Reviews { config, register, formers: &formers, now: crate::clock::now() };
    // Who may not read the batches is told the rest.
    let listed = reviews.list(None).await.unwrap_or_default();
    let mut waiting: Option<status::Reviews> = None;
    for row in listed.iter().filter(|row| row.standing == "waiting") {
        let all = waiting.get_or_insert_with(|| status::Reviews { since: row.since.clone(), ..status::Reviews::default() });
        all.batches += 1;
        all.records += row.records;
        all.since = all.since.clone().min(row.since.clone());
    }
    status.reviews = waiting;
    let pause = |pause: Pause| status::Pause { store: pause.store, since: pause.since, reason: pause.reason, person: pause.person };
    let (now, holds) = (crate::clock::now(), register.holds().await?);
    status.holds = holds.iter().filter(|hold| !hold.is_surely_over(now)).count() as u64;
    status.holds_to_review = holds.iter().filter(|hold| hold.review_is_overdue(now)).map(|hold| hold.id.clone()).collect();
    status.pauses = pauses.into_iter().map(pause).collect();
    Ok(status)
}

/// The status when there is no register yet.
pub(super) fn unknown(config: &Config) -> Status {
    let row = |dataset: &Arc<Dataset>| status::Dataset {
        dataset: dataset.address.clone(),
        mode: dataset.mode.as_str().into(),
        scan: dataset.scan.as_ref().map(ToString::to_string),
        ..status::Dataset::default()
    };
    let log = super::standing::log_of(&config.state.join("audit"));
    Status { log, datasets: config.datasets.iter().map(row).collect(), ..Status::default() }
}

fn scanned(scan: Scanned) -> status::Scanned {
    let Scanned { began, ended, population, overdue, failed, verdicts } = scan;
    status::Scanned { began: shown(began), ended: shown(ended), population, overdue, failed, verdicts }
}
