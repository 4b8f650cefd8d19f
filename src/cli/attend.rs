//! What a command that has the lock for long answers behind the control socket, so that nobody has to wait for its end to protect a record.
//!
//! Holds, pauses, decisions about reviews and the status cannot wait; everything else is refused until the command has ended. Where no socket can be had (its folder is not
//! there, or not this user's) the command does its work without, and holds have to wait for the lock as any other verb.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::control::listen::{self, Ask};
use crate::control::{Reply, Request, client};
use crate::daemon;
use crate::error::{DONE, Error, FINDINGS, Kind, Result};
use crate::report;
use crate::session::Session;

/// Answers until it is dropped.
pub(super) struct Attending {
    tasks: [JoinHandle<()>; 2],
    socket: std::path::PathBuf,
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // What is left of it harms nobody: the next who binds it puts it away.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Begins to answer.
pub(super) async fn attend(session: &Session) -> Option<Attending> {
    let path = session.config.service.control.clone();
    let socket = match listen::bind(&path).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::debug!("holds have to wait for the end of this run: {error}");
            return None;
        }
    };
    let (asks, mut asked) = mpsc::unbounded_channel::<Ask>();
    let listening = tokio::spawn(listen::answer(
        socket,
        client::state_of(&session.config.state),
        Arc::new(move |ask| {
            // Nobody takes it only when the run has ended.
            let _ = asks.send(ask);
        }),
    ));
    let session = session.configured(Arc::clone(&session.config));
    let answering = tokio::spawn(async move {
        while let Some(Ask { request, person, replies }) = asked.recv().await {
            let session = session.configured(Arc::clone(&session.config));
            tokio::spawn(async move {
                let done = match answer(&session, &request, &person, &replies).await {
                    Ok(code) => Reply::Done { code, error: None },
                    Err(error) => Reply::Done { code: error.kind().exit_code(), error: Some(error.to_string()) },
                };
                let _ = replies.send(done);
            });
        }
    });
    Some(Attending { tasks: [listening, answering], socket: path })
}

async fn answer(session: &Session, request: &Request, person: &str, replies: &mpsc::UnboundedSender<Reply>) -> Result<u8> {
    match request {
        Request::Status {} => {
            let status = daemon::status_of(session).await?;
            let code = if status.needs_attention() { FINDINGS } else { DONE };
            let _ = replies.send(Reply::Status(Box::new(status)));
            Ok(code)
        }
        Request::Hold { order, .. } => {
            let holds = session.carry_out(order, person).await?;
            let text = report::hold_order(order, &holds, &session.config, &session.adrift());
            let _ = replies.send(Reply::Told { text, json: report::holds_json(&holds) });
            Ok(DONE)
        }
        // What is taken back must not wait until it is gone.
        Request::Review { order, .. } => {
            let told = session.decide_review(order, person).await?;
            let _ = replies.send(Reply::Told { text: told.text, json: told.json });
            Ok(DONE)
        }
        Request::Pause { store, reason, .. } => session.pause(store.as_deref(), reason, person).await.map(|()| DONE),
        Request::Resume { store, .. } => session.resume(store.as_deref(), person).await.map(|()| DONE),
        _ => Err(Error::new(Kind::Refused, "a run that was started by hand is under way; try again when it has ended")),
    }
}
