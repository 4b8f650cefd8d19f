//! The heartbeat: an entry of the log, now and then, that says that the service is alive.
//!
//! A log in which nothing happens and one that somebody holds back look alike. So the service writes an entry at an interval (`heartbeat`, a day by
//! default): its version, how long it has run, how often it will write, and how far each anchor has come. The time since the last one is known from
//! the log, so a service that is started each morning writes one a day all the same. The entry also bounds the time of the checkpoint after it,
//! which has none itself.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::state::State;
use crate::audit::Kind as EntryKind;
use crate::dispose::BY;
use crate::error::{Kind, Result};

/// How soon it is tried again when the log did not take it.
const RETRY: Duration = Duration::from_mins(10);

/// When the last one was, and when one is tried again.
pub(super) struct Heartbeat {
    last: Timestamp,
    not_before: Timestamp,
}

impl Heartbeat {
    /// The last one as the log knows it; without one the interval begins now.
    pub(super) fn new(last: Option<Timestamp>, now: Timestamp) -> Self {
        // One of a time to come would silence this log.
        Self { last: last.map_or(now, |last| last.min(now)), not_before: now }
    }

    /// Writes one if it is due, and answers how long none will be.
    pub(super) async fn beat(&mut self, state: &State, interval: Duration, since: Timestamp, now: Timestamp) -> Result<Duration> {
        if interval.is_zero() {
            return Ok(Duration::MAX);
        }
        let next = (self.last + interval).max(self.not_before);
        if next > now {
            return Ok(next.duration_since(now).unsigned_abs());
        }
        let anchors = state.session.log.anchors().states();
        let anchors: Vec<_> =
            anchors.iter().map(|one| json!({"anchor": one.anchor, "size": one.size, "failing": one.failed.is_some()})).collect();
        let body = json!({
            "by": BY, "uptime": now.duration_since(since).as_secs().max(0), "interval": interval.as_secs(), "anchors": anchors,
        });
        match state.session.tell(EntryKind::Heartbeat, vec![body]).await {
            Ok(_) => {
                self.last = now;
                Ok(interval)
            }
            // Without its log the service can do nothing.
            Err(error) if matches!(error.kind(), Kind::LogLost | Kind::NotIntact) => Err(error),
            Err(error) => {
                tracing::warn!("the heartbeat could not be written: {error}");
                self.not_before = now + RETRY;
                Ok(RETRY)
            }
        }
    }
}
