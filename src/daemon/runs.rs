//! Runs: by the timetable, by a person's order, and recovery between them.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use super::state::{self, Event, Origin, Outcome, State};
use super::turns::Need;
use crate::config::Mode;
use crate::control::{Reply, answers};
use crate::dispose::{Attestation, Stop};
use crate::error::{DONE, Error, Kind, Result};
use crate::report;
use crate::session::{End, HoldOrder, Progress, Ran, exit_code, waits_for};

/// What a person asked for.
pub(super) struct Order {
    pub(super) selection: Option<String>,
    pub(super) allow: Option<String>,
    pub(super) trust_clock: bool,
    pub(super) person: String,
}

/// Words for runs that have none in the log.
const FAILED: &str = "failed";
const PUT_OFF: &str = "put-off";
const NOT_RUN: &str = "not-run";

/// Tells the agenda that a run ended, even if its task is torn down.
struct Telling {
    state: Arc<State>,
    dataset: String,
    origin: Origin,
    /// The word for how it ended.
    end: &'static str,
    outcome: Option<Outcome>,
}

impl Drop for Telling {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| Outcome::Failed("the run ended abnormally".into()));
        self.state.tell(Event::Ended { dataset: std::mem::take(&mut self.dataset), origin: self.origin, end: self.end, outcome });
    }
}

/// One run that the timetable asked for.
pub(super) async fn by_timetable(state: Arc<State>, address: String) {
    let mut telling =
        Telling { state: Arc::clone(&state), dataset: address.clone(), origin: Origin::Timetable, end: FAILED, outcome: None };
    let outcome = match run(&state, &address, None).await {
        Ok(Some(ran)) => {
            telling.end = ran.end.word();
            outcome_of(&ran)
        }
        Ok(None) => {
            telling.end = NOT_RUN;
            Outcome::Done
        }
        Err(Trouble::PutOff(why)) => {
            telling.end = PUT_OFF;
            Outcome::PutOff(why)
        }
        Err(Trouble::Error(error)) => failed(error),
    };
    telling.outcome = Some(outcome);
}

enum Trouble {
    PutOff(String),
    Error(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Runs a dataset when its turn comes; nothing when the service ends first, or the dataset is no longer configured.
async fn run(state: &Arc<State>, address: &str, trust_clock: Option<bool>) -> std::result::Result<Option<Ran>, Trouble> {
    let find = || {
        let config = state.config();
        let dataset = config.datasets.iter().find(|dataset| dataset.address == address).cloned();
        dataset.map(|dataset| (config, dataset))
    };
    let Some((config, dataset)) = find() else { return Ok(None) };
    let mut need = state::need(&config, &dataset);
    let (config, dataset, _turn) = loop {
        let Some(turn) = state.turns.take(need.clone()).await else { return Ok(None) };
        // The configuration may have changed meanwhile.
        let Some((config, dataset)) = find() else { return Ok(None) };
        let now_needed = state::need(&config, &dataset);
        if now_needed == need {
            break (config, dataset, turn);
        }
        need = now_needed;
    };
    if trust_clock.is_none()
        && let Some(asker) = state.waits_for(&dataset)
    {
        return Err(Trouble::PutOff(format!("dates of {asker} are looked up in it, whose last run did not come to its end")));
    }
    let session = match state.session.renewed(config, trust_clock.unwrap_or(false)).await {
        Ok(session) => session,
        Err(error) => {
            if error.kind() == Kind::Refused {
                state.set_clock_refused(Some(error.to_string()));
                if trust_clock.is_none() {
                    return Err(Trouble::PutOff(error.to_string()));
                }
            }
            return Err(error.into());
        }
    };
    let progress = Progress::default();
    let _shown = state.show(address, &progress);
    state.tell(Event::Began { dataset: address.to_owned(), at: session.now() });
    let ran = match session.run(&dataset, &progress).await {
        Ok(ran) => ran,
        // A reload came between; it makes the timetable anew, and who ordered the run orders it again.
        Err(error) if error.kind() == Kind::Refused && session.is_superseded().await? => {
            return Err(if trust_clock.is_none() { Trouble::PutOff(error.to_string()) } else { error.into() });
        }
        Err(error) => {
            if error.kind() == Kind::Refused {
                // What a run is refused for before it begins is the clock.
                state.set_clock_refused(Some(error.to_string()));
                if trust_clock.is_none() {
                    return Err(Trouble::PutOff(error.to_string()));
                }
            }
            return Err(error.into());
        }
    };
    // Report mode does not ask the kernel whether the clock is synchronised.
    if dataset.mode == Mode::Enforce || state.clock_refused().is_some_and(|why| !why.contains("synchronised")) {
        state.set_clock_refused(None);
    }
    state.set_undone(address, ran.is_undone());
    let (store, end, due) = (super::store_of(address), ran.end.word(), ran.tally.due());
    tracing::info!(store, dataset = address, run = ran.run, end, due, counts = ?ran.counts(), "ran");
    Ok(Some(ran))
}

fn outcome_of(ran: &Ran) -> Outcome {
    match (ran.failure(), &ran.end) {
        (Some(why), _) => Outcome::Failed(why),
        (None, End::Paused(why)) => Outcome::PutOff(why.clone()),
        (None, End::Spent(spent)) if spent.stopped == Some(Stop::Paused) => Outcome::PutOff("the store was paused".into()),
        _ => Outcome::Done,
    }
}

fn failed(error: Error) -> Outcome {
    match error.kind() {
        Kind::LogLost | Kind::NotIntact => Outcome::Lost(error),
        _ => Outcome::Failed(error.to_string()),
    }
}

/// What a person ordered, as `retentiond run` does it on its own.
pub(super) async fn by_order(state: Arc<State>, order: Order, replies: mpsc::UnboundedSender<Reply>) {
    let result = match &order.allow {
        Some(plan) => allow(&state, plan, &order, &replies).await,
        None => run_all(&state, &order, &replies).await,
    };
    answer(&state, &replies, result);
}

/// Places, extends or releases holds.
pub(super) async fn hold(state: Arc<State>, order: HoldOrder, person: String, replies: mpsc::UnboundedSender<Reply>) {
    let session = state.session.configured(state.config());
    let result = answers::hold(&session, &order, &person).await.map(|reply| {
        let _ = replies.send(reply);
        DONE
    });
    answer(&state, &replies, result);
}

/// The last answer; what the service cannot outlive, the agenda hears of too. A client that went away finds what it did in the log.
pub(super) fn answer(state: &State, replies: &mpsc::UnboundedSender<Reply>, result: Result<u8>) {
    let (reply, lost) = state::done(result);
    let _ = replies.send(reply);
    if let Some(error) = lost {
        state.tell(Event::Ended { dataset: String::new(), origin: Origin::Person, end: FAILED, outcome: Outcome::Lost(error) });
    }
}

async fn run_all(state: &Arc<State>, order: &Order, replies: &mpsc::UnboundedSender<Reply>) -> Result<u8> {
    let datasets = state.config().select(order.selection.as_deref())?;
    let mut rans = Vec::new();
    for dataset in &datasets {
        if let Some(asker) = waits_for(dataset, &rans) {
            let text =
                format!("{} is left for the next run: dates of {asker} are looked up in it, which could not be done", dataset.address);
            let _ = replies.send(Reply::Ran { text, json: Value::Null });
            continue;
        }
        let mut telling =
            Telling { state: Arc::clone(state), dataset: dataset.address.clone(), origin: Origin::Person, end: FAILED, outcome: None };
        match run(state, &dataset.address, Some(order.trust_clock)).await {
            Ok(Some(ran)) => {
                telling.end = ran.end.word();
                telling.outcome = Some(outcome_of(&ran));
                send(state, replies, &ran);
                rans.push(ran);
            }
            Ok(None) => {
                telling.end = NOT_RUN;
                telling.outcome = Some(Outcome::Done);
                break;
            }
            Err(Trouble::PutOff(why)) => {
                telling.end = PUT_OFF;
                telling.outcome = Some(Outcome::PutOff(why.clone()));
                return Err(Error::new(Kind::Refused, why));
            }
            Err(Trouble::Error(error)) => {
                telling.outcome = Some(Outcome::Failed(error.to_string()));
                return Err(error);
            }
        }
    }
    Ok(exit_code(&rans, rans.len() < datasets.len()))
}

async fn allow(state: &Arc<State>, plan: &str, order: &Order, replies: &mpsc::UnboundedSender<Reply>) -> Result<u8> {
    let config = state.config();
    let session = state.session.renewed(Arc::clone(&config), order.trust_clock).await?;
    let dataset = session.dataset_of_plan(plan)?;
    let ended = || Error::new(Kind::Refused, "the service is about to end; the plan waits");
    let _turn = state.turns.take(state::need(&config, &dataset)).await.ok_or_else(ended)?;
    let progress = Progress::default();
    let _shown = state.show(&dataset.address, &progress);
    let ran = session.allow(plan, &order.person, &progress).await?;
    state.set_undone(&dataset.address, ran.is_undone());
    send(state, replies, &ran);
    Ok(exit_code(&[ran], false))
}

fn send(state: &State, replies: &mpsc::UnboundedSender<Reply>, ran: &Ran) {
    // Who went away finds it in the log.
    let _ = replies.send(Reply::Ran { text: report::ran(ran, &state.file), json: report::ran_json(ran) });
}

/// Settles what a run left open that did not come to its last entry, as the next start would.
pub(super) async fn recover(state: Arc<State>) {
    let Some(_turn) = state.turns.take(Need::Everything).await else { return };
    let result = async {
        let session = state.session.renewed(state.config(), false).await?;
        for finding in session.recover().await? {
            tracing::warn!("{}", report::finding(&finding));
        }
        Ok::<(), Error>(())
    };
    let result = match result.await {
        // A clock that cannot be believed may be right the next time.
        Err(error) if error.kind() != Kind::LogLost && error.kind() != Kind::NotIntact => {
            tracing::warn!("what became of records could not be looked at: {error}");
            Ok(())
        }
        other => other,
    };
    state.tell(Event::Recovered(result));
}

/// Takes a person's word that a record is destroyed. It is a run like others, so it waits for its turn: nothing else settles what it has announced.
pub(super) async fn attest(state: Arc<State>, address: String, word: Attestation, replies: mpsc::UnboundedSender<Reply>) {
    let done = async {
        let config = state.config();
        let (_, dataset) = config.find(&address)?;
        let ended = || Error::new(Kind::Refused, "the service is about to end; confirm it again");
        let _turn = state.turns.take(state::need(&config, &dataset)).await.ok_or_else(ended)?;
        let session = state.session.renewed(config, false).await?;
        let attested = session.attest(&address, word).await?;
        let (text, json, code) = report::attested(&address, &attested);
        // Who went away finds it in the log.
        let _ = replies.send(Reply::Attested { text, json });
        Ok(code)
    };
    answer(&state, &replies, done.await);
}
