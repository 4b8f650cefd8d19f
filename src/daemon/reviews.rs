//! What clients ask about review batches, and what they decide. Reading a batch takes its time, so each answer is a task of its own.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::state::State;
use crate::clock;
use crate::control::{Reply, Request, answers};
use crate::error::{DONE, Result};
use crate::report;
use crate::session::{self, Reviews};

/// Answers a request about reviews.
pub(super) async fn answer(state: Arc<State>, request: Request, person: String, replies: mpsc::UnboundedSender<Reply>) {
    let result = act(&state, request, &person, &replies).await;
    super::runs::answer(&state, &replies, result.map(|()| DONE));
}

async fn act(state: &State, request: Request, person: &str, replies: &mpsc::UnboundedSender<Reply>) -> Result<()> {
    let config = state.config();
    let tell = |text: String, json: serde_json::Value| {
        let _ = replies.send(Reply::Told { text, json });
    };
    match request {
        Request::Review { order, .. } => {
            let session = state.session.renewed(config, false).await?;
            let _ = replies.send(answers::review(&session, &order, person).await?);
        }
        Request::Reviews { selection } => {
            let (register, now) = (&state.session.register, clock::now());
            let formers = session::formers(&config, Some(register), now).await?;
            let reviews = Reviews { config: &config, register, formers: &formers, now };
            let rows = reviews.list(selection.as_deref()).await?;
            tell(report::reviews(&rows), serde_json::json!(rows));
        }
        Request::ReviewRecords { batch, from } => {
            session::records_of_batch(&config, &batch, from, &mut |text, json| {
                tell(text, json);
                Ok(())
            })?;
        }
        _ => {}
    }
    Ok(())
}
