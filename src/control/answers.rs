//! What people are answered to an order that is carried out in the same way everywhere: by the service, by a command that has the lock for long, and by
//! a verb that takes it itself.

use super::Reply;
use crate::error::Result;
use crate::report;
use crate::review::Order;
use crate::session::{HoldOrder, Session};

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
