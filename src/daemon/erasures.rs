//! Requests for erasure that clients bring. Looking takes its time, and what goes waits for its turn like any run, so each is a task of its own.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use super::state::{self, State};
use crate::control::Reply;
use crate::error::{DONE, Error, FINDINGS, Kind, Result};
use crate::report;
use crate::session::{Confirmed, ErasureOrder, Progress, exit_code};

/// Answers a request for erasure.
pub(super) async fn answer(state: Arc<State>, order: ErasureOrder, person: String, replies: mpsc::UnboundedSender<Reply>) {
    let result = act(&state, &order, &person, &replies).await;
    super::runs::answer(&state, &replies, result);
}

async fn act(state: &Arc<State>, order: &ErasureOrder, person: &str, replies: &mpsc::UnboundedSender<Reply>) -> Result<u8> {
    // Who went away finds it in the log.
    let tell = |(text, json): (String, Value)| drop(replies.send(Reply::Told { text, json }));
    let config = state.config();
    let session = state.session.renewed(Arc::clone(&config), false).await?;
    let progress = Progress::default();
    let seen = session.see_erasure(&order.subject, order.only.as_deref(), &progress).await?;
    let Some(word) = order.confirm.as_ref().filter(|word| seen.is(&word.id)) else {
        report::erasure_cases(&seen).into_iter().for_each(&tell);
        tell(report::erasure_seen(&seen, &order.subject, &state.file));
        if let Some(word) = &order.confirm {
            // Refuses, and says why.
            session.confirm_erasure(&order.subject, &seen, word, person).await?;
        }
        return Ok(if seen.needs_attention() { FINDINGS } else { DONE });
    };
    let erasure = match session.confirm_erasure(&order.subject, &seen, word, person).await? {
        Confirmed::Waits(entry) => {
            tell(report::erasure_waits(&seen, entry));
            return Ok(DONE);
        }
        Confirmed::Decided(erasure, restricted) => {
            tell(report::erasure_decided(&seen, restricted));
            erasure
        }
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
