//! Requests for erasure that clients bring. Looking takes its time, and what goes waits for its turn like any run, so each is a task of its own.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::state::{self, State};
use crate::control::Reply;
use crate::control::answers::{self, Erasing};
use crate::error::{Error, Kind, Result};
use crate::report;
use crate::session::{ErasureOrder, Progress, exit_code};

/// Answers a request for erasure.
pub(super) async fn answer(state: Arc<State>, order: ErasureOrder, person: String, replies: mpsc::UnboundedSender<Reply>) {
    let result = act(&state, &order, &person, &replies).await;
    super::runs::answer(&state, &replies, result);
}

async fn act(state: &Arc<State>, order: &ErasureOrder, person: &str, replies: &mpsc::UnboundedSender<Reply>) -> Result<u8> {
    let config = state.config();
    let session = state.session.renewed(Arc::clone(&config), false).await?;
    let progress = Progress::default();
    let seen = session.see_erasure(&order.subject, order.only.as_deref(), &progress).await?;
    // Who went away finds it in the log.
    let tell = |reply| {
        let _ = replies.send(reply);
        Ok(())
    };
    let erasure = match answers::erasure(&session, order, (&seen, person, &state.file), tell).await? {
        Erasing::Told(code) => return Ok(code),
        Erasing::Decided(erasure) => erasure,
    };
    let mut rans = Vec::new();
    for (dataset, cases) in seen.going() {
        let ended = || Error::new(Kind::Refused, "the service is about to end; ask for the rest again");
        let _turn = state.turns.take(state::need(&config, &dataset)).await.ok_or_else(ended)?;
        // What was decided rests on this configuration.
        if !Arc::ptr_eq(&config, &state.config()) {
            return Err(Error::new(Kind::Refused, "the configuration was loaded anew meanwhile; ask for the rest again"));
        }
        let progress = Progress::default();
        let _shown = state.show(&dataset.address, &progress);
        let ran = session.carry_out_erasure(&erasure, &dataset, &cases, &progress).await?;
        let _ = replies.send(Reply::Ran { text: report::ran(&ran, &state.file), json: report::ran_json(&ran) });
        rans.push(ran);
    }
    Ok(exit_code(&rans, seen.needs_attention()))
}
