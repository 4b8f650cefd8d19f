//! Where the program's own messages go, and in what form.
//!
//! Under systemd, when standard error leads to the journal, messages go there by its own protocol: with priorities, and with fields that can be
//! searched for (`journalctl RETENTIOND_DATASET=cctv/footage`). Elsewhere they are lines on standard error, for people or, on request, JSON for
//! programs. Which of them, the program finds out (`JOURNAL_STREAM`), or is told by `--log-format` or `RETENTIOND_LOG_FORMAT`.
//!
//! Record keys are never in a message above debug level, whatever the form: that is the callers' promise, and tests hold them to it.

use std::io::IsTerminal as _;

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The variable that says in which form messages are written when the command line does not.
const VARIABLE: &str = "RETENTIOND_LOG_FORMAT";

/// The form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// The journal when standard error leads there, text otherwise
    Auto,
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
    /// The journal of the system
    Journal,
}

/// Sets up logging with this filter; answers whether messages go to the journal.
pub fn init(format: Option<LogFormat>, filter: &str) -> bool {
    let filter = EnvFilter::try_from_env("RETENTIOND_LOG").unwrap_or_else(|_| filter.into());
    let named = std::env::var(VARIABLE).ok().and_then(|name| <LogFormat as clap::ValueEnum>::from_str(&name, true).ok());
    let format = match format.or(named).unwrap_or(LogFormat::Auto) {
        LogFormat::Auto if stderr_is_the_journal() => LogFormat::Journal,
        other => other,
    };
    if format == LogFormat::Journal {
        match tracing_journald::layer() {
            Ok(layer) => {
                let priorities = PriorityMappings { info: Priority::Informational, debug: Priority::Debug, ..PriorityMappings::new() };
                let layer = layer.with_field_prefix(Some("RETENTIOND".into())).with_syslog_identifier("retentiond".into());
                tracing_subscriber::registry().with(filter).with(layer.with_priority_mappings(priorities)).init();
                return true;
            }
            Err(error) => eprintln!("retentiond: the journal cannot be reached, so messages go to standard error: {error}"),
        }
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if format == LogFormat::Json {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
    false
}

/// Whether systemd connected standard error with the journal, and it still is.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}
