//! What ends a run from outside: the program is told to end, or a person pauses the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Stop;
use crate::error::{Error, Kind, Result};

/// Two levers; a clone moves with the original. Whoever looks finishes the records in hand and starts no more.
#[derive(Clone, Debug, Default)]
pub struct Brake {
    /// Pulled by a signal, for all runs of the program.
    pub signal: Arc<AtomicBool>,
    /// Pulled by a pause, for the runs of one store.
    pub pause: Arc<AtomicBool>,
}

impl Brake {
    /// What it was pulled for, if it was.
    pub fn pulled(&self) -> Option<Stop> {
        if self.signal.load(Ordering::Relaxed) {
            return Some(Stop::Signal);
        }
        self.pause.load(Ordering::Relaxed).then_some(Stop::Paused)
    }
}

impl Brake {
    /// From now on the first SIGINT or SIGTERM sets `stop`: the records in hand are finished, their outcomes written and the log published. A second
    /// one ends the program at once, which is as safe as any crash.
    pub fn pull_on_signals(stop: &Arc<AtomicBool>) -> Result<()> {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(stop))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(stop)))
                .map_err(|error| Error::with_source(Kind::Io, "signals cannot be handled", error))?;
        }
        Ok(())
    }
}
