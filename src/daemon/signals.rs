//! Signals: SIGTERM and SIGINT end the service, a second one at once; SIGHUP reloads; SIGUSR1 logs the status.
//!
//! One thread sleeps until a signal comes. What ends the service is set by the handler itself, so that runs see it even if nobody else does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

use super::state::Event;
use crate::dispose::Brake;
use crate::error::{Error, Kind, Result};

/// Watches signals from now on.
pub(super) fn watch(stop: &Arc<AtomicBool>, events: mpsc::UnboundedSender<Event>) -> Result<()> {
    Brake::pull_on_signals(stop)?;
    let fail = |error| Error::with_source(Kind::Io, "signals cannot be handled", error);
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1]).map_err(fail)?;
    let watch = move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Event::Reload,
                SIGUSR1 => Event::LogStatus,
                _ => Event::Stop,
            };
            if events.send(event).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map(drop).map_err(fail)
}
