//! What people are answered to an order that is carried out in the same way everywhere: by the service, by a command that has the lock for long, and by
//! a verb that takes it itself.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::Reply;
use crate::dispose::Erasure;
use crate::error::{DONE, FINDINGS, Result};
use crate::report;
use crate::review::Order;
use crate::session::{Confirmed, ErasureOrder, ErasureSeen, HoldOrder, Session};

/// Places, extends or releases holds.
pub async fn hold(session: &Session, order: &HoldOrder, person: &str) -> Result<Reply> {
    let holds = session.carry_out(order, person).await?;
    // Asked when the holds are in force: what is adrift then was so before, or never met their guards.
    let text = report::hold_order(order, &holds, &session.config, &session.adrift());
    Ok(Reply::Told { text, json: report::holds_json(&holds) })
}

/// Takes down what a person decided about a review batch.
pub async fn review(session: &Session, order: &Order, person: &str) -> Result<Reply> {
    let told = session.decide_review(order, person).await?;
    Ok(Reply::Told { text: told.text, json: told.json })
}

/// What came of a request for erasure.
pub enum Erasing {
    /// All was said that there is to say, with this exit code.
    Told(u8),
    /// It is decided, and waits to be carried out.
    Decided(Arc<Erasure>),
}

/// Shows what was seen of a request, or takes a person's word for it. `file` is the configuration, as people name it.
pub async fn erasure(
    session: &Session,
    order: &ErasureOrder,
    (seen, person, file): (&ErasureSeen, &str, &Path),
    tell: impl Fn(Reply) -> Result<()>,
) -> Result<Erasing> {
    let tell = |(text, json): (String, Value)| tell(Reply::Told { text, json });
    let Some(word) = order.confirm.as_ref().filter(|word| seen.is(&word.id)) else {
        report::erasure_cases(seen).into_iter().try_for_each(&tell)?;
        tell(report::erasure_seen(seen, &order.subject, file))?;
        if let Some(word) = &order.confirm {
            // Refuses, and says why.
            session.confirm_erasure(&order.subject, seen, word, person).await?;
        }
        return Ok(Erasing::Told(if seen.needs_attention() { FINDINGS } else { DONE }));
    };
    match session.confirm_erasure(&order.subject, seen, word, person).await? {
        Confirmed::Waits(entry) => tell(report::erasure_waits(seen, entry)).map(|()| Erasing::Told(DONE)),
        Confirmed::Decided(erasure, restricted) => {
            tell(report::erasure_decided(seen, restricted))?;
            Ok(Erasing::Decided(erasure))
        }
    }
}
