//! What the service tells systemd: that it is ready, how it stands in a line, and that it is alive.
//!
//! The watchdog is fed while the agenda turns and every run under way makes progress: records seen, or outcomes written. A run that shows none for
//! `stalled-after` starves it, and systemd restarts the service, whose first act is recovery. Without systemd nothing is told, and a run that makes
//! no progress is only reported.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use super::state::Running;

/// Talks to systemd.
pub(super) struct Notifier {
    watchdog: Option<Duration>,
    fed: Instant,
    said: String,
    /// What each run had done when it last did something, and when that was.
    seen: BTreeMap<String, (String, u64, Instant)>,
    stalled: Option<String>,
}

fn tell(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd could not be told: {error}");
    }
}

impl Notifier {
    pub(super) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), fed: Instant::now(), said: String::new(), seen: BTreeMap::new(), stalled: None }
    }

    /// The longest that the agenda may sleep: half of what the watchdog allows.
    pub(super) fn interval(&self) -> Duration {
        self.watchdog.map_or(Duration::MAX, |watchdog| watchdog / 2)
    }

    pub(super) fn ready() {
        tell(&[NotifyState::Ready]);
    }

    pub(super) fn reloading() {
        let now = NotifyState::monotonic_usec_now();
        tell(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>());
    }

    pub(super) fn reloaded() {
        tell(&[NotifyState::Ready]);
    }

    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping, NotifyState::Status("finishing the records in hand")]);
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&mut self, text: &str) {
        if text != self.said {
            tell(&[NotifyState::Status(text)]);
            text.clone_into(&mut self.said);
        }
    }

    /// Feeds the watchdog unless some run has made no progress for too long; answers that run's dataset.
    pub(super) fn feed(&mut self, running: &BTreeMap<String, Running>, patience: Duration) -> Option<String> {
        let now = Instant::now();
        self.seen.retain(|dataset, _| running.contains_key(dataset));
        let mut stalled = None;
        for (dataset, run) in running {
            let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let progress = &run.progress;
            let done = number(&progress.seen).wrapping_add(number(&progress.planned)).wrapping_add(number(&progress.done));
            let since = super::shown(run.since);
            match self.seen.get_mut(dataset) {
                Some((begun, before, at)) if *begun == since && *before == done => {
                    if now.duration_since(*at) > patience {
                        stalled = Some(dataset.clone());
                    }
                }
                _ => drop(self.seen.insert(dataset.clone(), (since, done, now))),
            }
        }
        if stalled != self.stalled {
            if let Some(dataset) = &stalled {
                tracing::error!(
                    store = super::store_of(dataset),
                    dataset,
                    "no progress for {} seconds; the watchdog is no longer fed",
                    patience.as_secs()
                );
            }
            self.stalled.clone_from(&stalled);
        }
        // A little before half of the time is over, so that whatever else wakes the service does not put it off.
        let due = self.watchdog.is_some_and(|watchdog| now.duration_since(self.fed) + Duration::from_millis(200) >= watchdog / 2);
        if stalled.is_none() && due {
            tell(&[NotifyState::Watchdog]);
            self.fed = now;
        }
        stalled
    }
}
