//! How the service goes about it: what it listens on, how much it does at once, and how careful it is with clocks and edits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::escape;
use crate::yaml::{Fields, Node, Problems, near};

/// Where the service listens when the configuration does not say.
pub const DEFAULT_CONTROL: &str = "/run/retentiond/control.sock";

/// The keys of the configuration that are about the program, not about a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The socket through which other verbs talk to the service.
    pub control: PathBuf,
    /// How many datasets are run side by side, each in another store. Default 4.
    pub runs_at_once: usize,
    /// The longest that a missed run waits before it is made up for; how long, is drawn by lot. Default: not at all.
    pub catch_up_delay: Duration,
    /// How long a run may show no progress before the service lets its supervisor restart it. Default 1 hour.
    pub stalled_after: Duration,
    /// How long what became due only through an edit waits. Default 7 days; zero: not at all.
    pub edit_delay: Duration,
    /// How often the service writes to the log that it is alive. Default 1 day; zero: never.
    pub heartbeat: Duration,
    /// Whether the kernel must say that the clock is synchronised; `None`: for the service, not for a person's `run`.
    pub synchronised: Option<bool>,
}

/// The longest that may be written, a year: what is longer is a mistake.
const MOST: Duration = Duration::from_hours(366 * 24);

impl Default for Service {
    fn default() -> Self {
        Self {
            control: PathBuf::from(DEFAULT_CONTROL),
            runs_at_once: 4,
            catch_up_delay: Duration::ZERO,
            stalled_after: Duration::from_hours(1),
            edit_delay: Duration::from_hours(7 * 24),
            heartbeat: Duration::from_hours(24),
            synchronised: None,
        }
    }
}

impl Service {
    pub(super) fn read(fields: &mut Fields<'_>, base: &Path, problems: &mut Problems) -> Self {
        let mut service = Self::default();
        if let Some(text) = fields.take("control").and_then(|node| node.text("a path for `control`", problems)) {
            service.control = base.join(text);
        }
        if let Some(node) = fields.take("runs-at-once")
            && let Some(text) = node.text("a number of runs such as 4", problems)
        {
            match text.parse::<usize>() {
                Ok(number @ 1..=64) => service.runs_at_once = number,
                _ => problems
                    .add(node.mark, format!("expected `runs-at-once` to be a number from 1 to 64, found \"{}\"", escape(text.as_bytes()))),
            }
        }
        let mut span = |key: &'static str, into: &mut Duration, may_be_none: bool| {
            if let Some(found) = fields.take(key).and_then(|node| span_of(key, node, may_be_none, problems)) {
                *into = found;
            }
        };
        span("catch-up-delay", &mut service.catch_up_delay, true);
        span("stalled-after", &mut service.stalled_after, false);
        span("edit-delay", &mut service.edit_delay, true);
        span("heartbeat", &mut service.heartbeat, true);
        if let Some(node) = fields.take("clock")
            && let Some(mut inner) = node.fields("`clock: { synchronised: required }`", problems)
        {
            service.synchronised = inner.take("synchronised").and_then(|node| synchronised(node, problems));
            inner.finish("clock", problems);
        }
        service
    }
}

fn synchronised(node: &Node, problems: &mut Problems) -> Option<bool> {
    match node.text("`synchronised` to be required or ignore", problems)? {
        "required" => Some(true),
        "ignore" => Some(false),
        other => {
            let hint = near(other, ["required", "ignore"]);
            problems
                .add(node.mark, format!("expected `synchronised` to be required or ignore, found \"{}\"{hint}", escape(other.as_bytes())));
            None
        }
    }
}

/// A number and a unit from seconds to days, or `none` where that has a meaning.
pub(super) fn span_of(key: &str, node: &Node, may_be_none: bool, problems: &mut Problems) -> Option<Duration> {
    let text = node.text(&format!("a time for `{key}`, such as 30 minutes or 7 days"), problems)?;
    if may_be_none && text == "none" {
        return Some(Duration::ZERO);
    }
    let span = text.split_once(' ').and_then(|(number, unit)| {
        let number = number.parse::<u32>().ok().filter(|number| *number > 0)?;
        let unit = match unit.trim() {
            "second" | "seconds" => 1,
            "minute" | "minutes" => 60,
            "hour" | "hours" => 3_600,
            "day" | "days" => 86_400,
            "week" | "weeks" => 7 * 86_400,
            _ => return None,
        };
        Some(Duration::from_secs(u64::from(number) * unit)).filter(|span| *span <= MOST)
    });
    if span.is_none() {
        let none = if may_be_none { ", or none" } else { "" };
        problems.add(
            node.mark,
            format!(
                "expected `{key}` as a time of at most a year such as 30 minutes or 7 days{none}, found \"{}\"",
                escape(text.as_bytes())
            ),
        );
    }
    span
}
