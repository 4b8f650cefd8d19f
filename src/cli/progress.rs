//! What a person at a terminal sees while a scan, a run or a verification goes on. In a pipe: nothing.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::session::Progress;

/// Shows the progress of one dataset until it is dropped.
pub(crate) struct Shown {
    task: tokio::task::JoinHandle<()>,
    bar: ProgressBar,
}

/// Begins to show progress on standard error, if that is a terminal.
pub(crate) fn show(dataset: &str, progress: &Progress) -> Option<Shown> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let scanning = ProgressStyle::with_template("{spinner} {prefix}: {human_pos} records seen ({per_sec})")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let disposing = ProgressStyle::with_template("  {prefix}: {wide_bar} {human_pos} of {human_len} ({per_sec}, {eta} left)")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(scanning);
    bar.set_prefix(dataset.to_owned());
    let (watched, shown) = (progress.clone(), bar.clone());
    let task = tokio::spawn(async move {
        let mut disposing = Some(disposing);
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let planned = watched.planned.load(Ordering::Relaxed);
            if planned == 0 {
                shown.set_position(watched.seen.load(Ordering::Relaxed));
                continue;
            }
            if let Some(style) = disposing.take() {
                shown.reset();
                shown.set_style(style);
                shown.set_length(planned);
            }
            shown.set_position(watched.done.load(Ordering::Relaxed));
        }
    });
    Some(Shown { task, bar })
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

/// Shows how many of a known number of entries are done, until it is dropped.
pub(crate) struct Counted(Option<ProgressBar>);

impl Counted {
    /// Begins to show on standard error, if that is a terminal.
    pub(crate) fn show(what: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("  {wide_bar} {human_pos} of {human_len} entries {prefix} ({per_sec}, {eta} left)");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what);
        Self(Some(bar))
    }

    /// So many are done of so many.
    pub(crate) fn set(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
