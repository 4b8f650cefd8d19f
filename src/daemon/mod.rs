//! The service: runs every dataset on its own timetable, and is the one writer of log and register while it runs.
//!
//! **Start.** Schedule and configuration are loaded, the state folder is opened (which settles what a crash left), the control socket is bound; then
//! the service is ready. What was missed while it was down is known from the log and made up for, once ([`agenda`]). A clock that the log's newest
//! entry makes doubtful is a refusal to start.
//!
//! **Runs.** One task holds the agenda and starts a task for each run that is due. Runs that touch the same place take turns, others go side by
//! side up to a bound ([`turns`]). Each run gets a session of its own, with the day of its beginning; a clock that cannot be believed then puts the
//! run off. A run that cannot be done is tried again, ever less often, and `status` says why. One that ends without its last entry in the log is
//! settled by recovery, as after a crash, as soon as nothing else is under way.
//!
//! **Signals.** SIGHUP loads schedule and configuration anew, all or nothing: what does not load changes nothing, and the journal and `status` say
//! why. A schedule that changed is in the log with its full text before it is used; a run under way keeps the one that it began with. SIGTERM and
//! SIGINT finish the records in hand, write their outcomes, publish and end; a second one ends at once, which is as safe as any crash. SIGUSR1 logs
//! the status.
//!
//! **Watching.** [`metrics`] gives Prometheus its numbers, [`desk`] tells people of troubles, and a [`heartbeat`] in the log shows that it did not fall
//! silent. None of them can stop a run.
//!
//! **Others.** [`crate::control::listen`] takes what clients ask for; [`notify`] tells systemd how it stands, and feeds the watchdog while every run makes
//! progress. **What it never does:** decide anything about a record. That is the session's, the same as for `retentiond run`.
//!
//! **Crash.** The agenda is made anew from the log. A pause holds, a refused plan waits, an interrupted run is settled and done again.

mod agenda;
mod desk;
mod erasures;
mod heartbeat;
mod metrics;
mod notify;
mod reviews;
mod runs;
mod signals;
mod standing;
mod state;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use agenda::{Slot, Stand};
use desk::Desk;
use heartbeat::Heartbeat;
use metrics::Textfile;
use notify::Notifier;
use standing::Size;
use state::{Event, Origin, Outcome, State};

use crate::audit::{Draft, Kind as EntryKind};
use crate::clock;
use crate::config::Config;
use crate::control::listen::{self, Ask};
use crate::control::{Reply, Request, Status, client};
use crate::dispose::{Attestation, BY};
use crate::error::{Error, Kind, Result};
use crate::session::Session;

/// The service looks at the clock at least this often: it may have been set, or the machine may have slept.
const TICK: Duration = Duration::from_mins(1);

/// How often it looks again for what became of records that an unreachable store leaves open.
const RECOVER: Duration = Duration::from_mins(10);

/// Runs until a signal ends it.
pub async fn serve(file: &Path) -> Result<()> {
    let stop = Arc::default();
    let (events, inbox) = mpsc::unbounded_channel();
    signals::watch(&stop, events.clone())?;
    let config = Arc::new(Config::load(file)?);
    let session = Session::open_for_service(Arc::clone(&config), Arc::clone(&stop)).await?;
    for finding in &session.recovered {
        tracing::warn!("{}", crate::report::finding(finding));
    }
    let socket = listen::bind(&config.service.control).await?;
    let scraped = match &config.metrics.listen {
        Some(place) => Some(metrics::bind(place).await?),
        None => None,
    };
    let state = State::new(file, session, config, events);
    let mut service = Service::new(Arc::clone(&state)).await?;
    let asked = {
        let state = Arc::clone(&state);
        Arc::new(move |ask: Ask| state.tell(Event::Ask(ask)))
    };
    let listening = tokio::spawn(listen::answer(socket, client::state_of(&state.config().state), asked));
    let scraping = scraped.map(|socket| tokio::spawn(metrics::answer(socket, Arc::clone(&state))));
    Notifier::ready();
    tracing::info!(datasets = service.slots.len(), state = %state.config().state.display(), "ready");
    let result = service.work(inbox).await;
    listening.abort();
    drop(std::fs::remove_file(&state.control));
    if let Some(scraping) = scraping {
        scraping.abort();
        metrics::put_away(&state.config());
    }
    result
}

/// The one task that holds the agenda.
struct Service {
    state: Arc<State>,
    slots: BTreeMap<String, Slot>,
    /// Datasets that the timetable has a task for.
    queued: BTreeSet<String>,
    tasks: JoinSet<()>,
    notifier: Notifier,
    since: Timestamp,
    loaded: Timestamp,
    reload_refused: Option<String>,
    /// When it is to be looked again for what became of records.
    recover: Timestamp,
    recovering: bool,
    /// How runs ended since the start, by dataset and word.
    ends: BTreeMap<String, BTreeMap<String, u64>>,
    size: Arc<Size>,
    heartbeat: Heartbeat,
    textfile: Textfile,
    desk: Desk,
}

impl Service {
    async fn new(state: Arc<State>) -> Result<Self> {
        let now = clock::now();
        let last_heartbeat = state.session.register.heartbeat().await?;
        let desk = Desk::open(&state.config(), now);
        let mut service = Self {
            state,
            slots: BTreeMap::new(),
            queued: BTreeSet::new(),
            tasks: JoinSet::new(),
            notifier: Notifier::new(),
            since: now,
            loaded: now,
            reload_refused: None,
            recover: now + RECOVER,
            recovering: false,
            ends: BTreeMap::new(),
            size: Arc::default(),
            heartbeat: Heartbeat::new(last_heartbeat, now),
            textfile: Textfile::default(),
            desk,
        };
        service.size.count(&service.state);
        service.make_slots(now).await?;
        Ok(service)
    }

    /// Puts the datasets of the configuration on the agenda; those that were on it keep what is known of them.
    async fn make_slots(&mut self, now: Timestamp) -> Result<()> {
        let last_runs = self.state.session.register.last_runs().await?;
        let mut before = std::mem::take(&mut self.slots);
        for dataset in &self.state.config().datasets {
            let last = last_runs.iter().find(|last| last.dataset == dataset.address);
            if last.is_some_and(|last| !matches!(last.how.as_deref(), Some("done" | "reported"))) && !before.contains_key(&dataset.address)
            {
                self.state.set_undone(&dataset.address, true);
            }
            let slot = match before.remove(&dataset.address) {
                Some(slot) => slot.taken_over(Arc::clone(dataset)),
                None => Slot::new(Arc::clone(dataset), last, now),
            };
            self.slots.insert(dataset.address.clone(), slot);
        }
        Ok(())
    }

    async fn work(&mut self, mut inbox: mpsc::UnboundedReceiver<Event>) -> Result<()> {
        loop {
            let wake = self.start_what_is_due().await.min(self.watch().await?);
            self.notify();
            let sleep = wake.min(self.notifier.interval());
            tokio::select! {
                biased;
                event = inbox.recv() => match event {
                    Some(Event::Stop) | None => break,
                    Some(event) => self.take(event).await?,
                },
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = ended.map_err(|error| error.to_string()) {
                        tracing::error!("a task ended abnormally: {error}");
                    }
                }
                () = tokio::time::sleep(sleep) => {}
            }
        }
        self.drain(inbox).await
    }

    /// Starts a task for each run that is due, and answers how long nothing more will be.
    async fn start_what_is_due(&mut self) -> Duration {
        let now = clock::now();
        let config = self.state.config();
        let most = config.service.catch_up_delay;
        let mut wake = now + TICK;
        // A dataset whose dates lie in another one comes before that.
        for dataset in config.select(None).unwrap_or_default() {
            let Some(slot) = self.slots.get_mut(&dataset.address).filter(|_| !self.queued.contains(&dataset.address)) else { continue };
            if self.state.session.paused(dataset.store.name()).is_some() {
                continue;
            }
            match slot.stand(now, most, lot()) {
                Stand::Due => {
                    self.queued.insert(dataset.address.clone());
                    self.tasks.spawn(runs::by_timetable(Arc::clone(&self.state), dataset.address.clone()));
                }
                Stand::Wait(Some(next)) => wake = wake.min(next),
                Stand::Wait(None) => {}
            }
        }
        if !self.recovering && self.state.nothing_runs() && self.state.session.is_unsettled().await && self.recover <= now {
            self.recovering = true;
            self.tasks.spawn(runs::recover(Arc::clone(&self.state)));
        }
        // Waking a moment late is better than waking a moment early and again.
        Duration::try_from(wake.duration_since(now)).unwrap_or_default() + Duration::from_millis(5)
    }

    async fn take(&mut self, event: Event) -> Result<()> {
        let now = clock::now();
        match event {
            Event::Reload => {
                // Told in the journal and by `status`.
                let _ = self.reload().await;
            }
            Event::LogStatus => {
                let mut status = self.status().await?;
                status
                    .datasets
                    .iter_mut()
                    .filter_map(|row| row.why.as_mut())
                    .for_each(|why| "`retentiond status` says why".clone_into(why));
                for line in crate::report::status(&status).lines() {
                    tracing::info!("{line}");
                }
            }
            Event::Began { dataset, at } => {
                if let Some(slot) = self.slots.get_mut(&dataset) {
                    slot.began(at);
                }
            }
            Event::Ended { dataset, origin, end, outcome } => {
                if !dataset.is_empty() {
                    *self.ends.entry(dataset.clone()).or_default().entry(end.to_owned()).or_default() += 1;
                }
                self.changed();
                self.ended(&dataset, origin, outcome, now)?;
            }
            Event::Recovered(result) => {
                self.recovering = false;
                self.recover = now + RECOVER;
                result?;
            }
            Event::Scrape(reply) => {
                // A scraper that went away needs no answer.
                let _ = reply.send(crate::metrics::text(&self.status().await?));
            }
            Event::Delivered { channel, about, result } => self.desk.delivered(channel, &about, result, now),
            Event::Ask(ask) => return self.answer(ask).await,
            Event::Stop => {}
        }
        Ok(())
    }

    fn ended(&mut self, dataset: &str, origin: Origin, outcome: Outcome, now: Timestamp) -> Result<()> {
        if origin == Origin::Timetable {
            self.queued.remove(dataset);
        }
        let slot = self.slots.get_mut(dataset);
        match outcome {
            Outcome::Done => {
                slot.into_iter().for_each(Slot::succeeded);
            }
            Outcome::PutOff(why) => {
                tracing::info!(store = store_of(dataset), dataset, "put off: {why}");
                slot.into_iter().for_each(|slot| slot.put_off(now, why.clone()));
            }
            Outcome::Failed(why) => {
                // Why, may name records, which the journal must not; the status is read by those who may.
                tracing::warn!(store = store_of(dataset), dataset, "could not be run, and is tried again; `retentiond status` says why");
                tracing::debug!(store = store_of(dataset), dataset, "could not be run: {why}");
                self.recover = self.recover.min(now);
                slot.into_iter().for_each(|slot| slot.failed(now, why.clone()));
            }
            // Without its log the service can do nothing; whoever starts it again lets it recover.
            Outcome::Lost(error) => return Err(error),
        }
        Ok(())
    }

    async fn answer(&mut self, Ask { request, person, replies }: Ask) -> Result<()> {
        let session = self.state.session.configured(self.state.config());
        let done = match request {
            Request::Status {} => {
                let status = self.status().await?;
                let code = if status.needs_attention() { crate::error::FINDINGS } else { crate::error::DONE };
                // A client that went away needs no answer, here and below.
                let _ = replies.send(Reply::Status(Box::new(status)));
                Ok(code)
            }
            Request::Run { selection, allow, trust_clock, .. } => {
                let order = runs::Order { selection, allow, trust_clock, person };
                self.tasks.spawn(runs::by_order(Arc::clone(&self.state), order, replies.clone()));
                return Ok(());
            }
            Request::Pause { store, reason, .. } => session.pause(store.as_deref(), &reason, &person).await.map(|()| crate::error::DONE),
            Request::Resume { store, .. } => session.resume(store.as_deref(), &person).await.map(|()| crate::error::DONE),
            Request::Confirm { edit, .. } => {
                let confirmed = self.confirm(&edit, &person).await;
                confirmed.map(|()| crate::error::DONE)
            }
            Request::Hold { order, .. } => {
                // Waits for what stores have in hand, while everything else goes on.
                self.tasks.spawn(runs::hold(Arc::clone(&self.state), order, person, replies));
                return Ok(());
            }
            Request::Attest { address, on, method, certificate, sha256, .. } => {
                let word = Attestation { person, on, method, certificate, sha256 };
                self.tasks.spawn(runs::attest(Arc::clone(&self.state), address, word, replies.clone()));
                return Ok(());
            }
            request @ (Request::Reviews { .. } | Request::ReviewRecords { .. } | Request::Review { .. }) => {
                self.tasks.spawn(reviews::answer(Arc::clone(&self.state), request, person, replies.clone()));
                return Ok(());
            }
            Request::Erase { order, .. } => {
                self.tasks.spawn(erasures::answer(Arc::clone(&self.state), order, person, replies.clone()));
                return Ok(());
            }
            Request::Reload {} => self.reload().await.map(|()| crate::error::DONE),
        };
        let (reply, lost) = state::done(done);
        let _ = replies.send(reply);
        lost.map_or(Ok(()), Err)
    }

    async fn confirm(&self, edit: &str, person: &str) -> Result<()> {
        self.state.session.renewed(self.state.config(), false).await?.confirm(edit, person).await
    }

    /// Takes in schedule and configuration anew: all of it, or nothing.
    async fn reload(&mut self) -> Result<()> {
        Notifier::reloading();
        let result = self.try_reload().await;
        match &result {
            Ok(()) => {
                self.reload_refused = None;
                self.loaded = clock::now();
                tracing::info!("schedule and configuration were loaded anew");
            }
            Err(error) => {
                tracing::error!("what was in force stays in force: {error}");
                self.reload_refused = Some(error.to_string());
            }
        }
        Notifier::reloaded();
        self.changed();
        result
    }

    /// What watchers see may be different now.
    fn changed(&mut self) {
        self.textfile.changed();
        self.desk.changed();
    }

    /// Does what watchers are due, and answers how long nothing more will be.
    async fn watch(&mut self) -> Result<Duration> {
        let now = clock::now();
        let config = self.state.config();
        let mut wake = self.heartbeat.beat(&self.state, config.service.heartbeat, self.since, now).await?;
        if let Some(path) = config.metrics.textfile.as_deref().filter(|_| self.textfile.is_due(now)) {
            let text = crate::metrics::text(&self.status().await?);
            self.textfile.write(path, &text, now);
        }
        if let Some(notify) = &config.notify {
            if self.desk.is_due(now) {
                let status = self.status().await?;
                self.desk.look(&self.state, &config, notify, &status, now);
            }
            wake = wake.min(self.desk.wake(now));
        }
        Ok(wake)
    }

    async fn try_reload(&mut self) -> Result<()> {
        let before = self.state.config();
        let config = Arc::new(Config::load(&self.state.file)?);
        let fixed = [
            ("node", config.node != before.node),
            ("state", config.state != before.state),
            ("control", config.service.control != before.service.control),
            ("metrics: listen", config.metrics.listen != before.metrics.listen),
        ];
        if let Some((key, _)) = fixed.iter().find(|(_, changed)| *changed) {
            return Err(Error::new(Kind::Config, format!("{}: `{key}` changed, which needs a restart of the service", config.file)));
        }
        // In the log before it is used.
        self.state.session.renewed(Arc::clone(&config), false).await?.write_down().await?;
        self.state.turns.set_bound(config.service.runs_at_once);
        self.desk.reconfigure(&config);
        self.state.set_config(config);
        self.make_slots(clock::now()).await
    }

    fn notify(&mut self) {
        let running = self.state.running();
        let failing = self.slots.values().filter(|slot| slot.failures > 0).count();
        let stalled = self.notifier.feed(&running, self.state.config().service.stalled_after);
        let mut parts = Vec::new();
        if let Some(dataset) = stalled {
            parts.push(format!("{dataset} makes no progress"));
        }
        match running.len() {
            0 => parts.push(format!("{} datasets, none running", self.slots.len())),
            1 => parts.push(format!("running {}", running.keys().next().map_or("", String::as_str))),
            many => parts.push(format!("running {many} datasets")),
        }
        if failing > 0 {
            parts.push(format!("{failing} could not be run"));
        }
        if !self.state.session.pauses().is_empty() {
            parts.push("paused".into());
        }
        if self.reload_refused.is_some() {
            parts.push("the last reload was refused".into());
        }
        self.notifier.status(&parts.join("; "));
    }

    /// Ends: no run begins any more, those under way finish the records in hand.
    async fn drain(&mut self, mut inbox: mpsc::UnboundedReceiver<Event>) -> Result<()> {
        Notifier::stopping();
        tracing::info!("told to end; {} runs finish the records in hand", self.state.running().len());
        self.state.turns.close();
        while self.tasks.join_next().await.is_some() {}
        inbox.close();
        let mut result = Ok(());
        while let Some(event) = inbox.recv().await {
            if let Event::Ended { outcome: Outcome::Lost(error), .. } | Event::Recovered(Err(error)) = event {
                result = Err(error);
            }
        }
        result?;
        self.state.config().leave().await;
        let log = &self.state.session.log;
        log.commit(vec![Draft::new(EntryKind::Stopped, &json!({"by": BY, "reason": "signal"}))?]).await?;
        log.clone().close().await
    }
}

/// The status as far as the register knows it.
pub async fn status_of(session: &Session) -> Result<Status> {
    state::known(&session.config, &session.register, session.pauses()).await
}

/// The status of a service that does not run, read without its lock.
pub async fn status_without(config: &Config) -> Result<Status> {
    match crate::register::Register::open_for_reading(&config.state).await? {
        Some(register) => {
            let pauses = register.pauses().await?;
            state::known(config, &register, pauses).await
        }
        None => Ok(state::unknown(config)),
    }
}

fn shown(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// The store of an address, for the journal.
fn store_of(dataset: &str) -> &str {
    dataset.split('/').next().unwrap_or(dataset)
}

/// A number from 0 to 1 by lot; without random numbers, the middle.
fn lot() -> f64 {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_or(0.5, |()| f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
}
