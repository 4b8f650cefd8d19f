//! What people read: results as text for a terminal and as JSON, the certificate of destruction, and the deletion log.
//!
//! Reasons are data everywhere else ([`crate::judge::Reason`], [`crate::store::Kept`], [`crate::plan::Tally`]); here they become words. Names from
//! outside are escaped before they reach a terminal.

mod certificate;
mod deletion_log;
mod erasures;
mod holds;
mod json;
mod markup;
mod reviews;
mod selection;
mod signed;
mod statistics;
mod status;
mod text;
pub(crate) mod words;

pub use certificate::Certificate;
pub use deletion_log::{Form, write as write_deletion_log};

pub use erasures::{erasure_cases, erasure_decided, erasure_seen, erasure_waits, on_erasure};
pub use holds::{hold_list, hold_order, holds_json, protected as protected_text};
pub use json::{planned as planned_json, ran as ran_json, verdict as verdict_json, verified as verified_json};
pub use reviews::reviews;
pub use selection::Selection;
pub use signed::Signed;
pub use statistics::Statistics;
pub use status::status;
pub use text::{
    allow_command, attested, changed, check, compared, entry, entry_heading, explained, finding, flush, listed, mismatch, planned, ran,
    replayed, verified, waiting,
};

use crate::dispose::Stop;
use crate::session::{End, Ran};

/// What ended a run before its plan was spent, if something did.
fn stopped(ran: &Ran) -> Option<String> {
    let End::Spent(spent) = &ran.end else { return None };
    let window = ran.dataset.window_shown().unwrap_or_default();
    let nothing = spent.counts.total() + spent.open() == 0;
    spent.stopped.map(|stop| match stop {
        Stop::Signal => "stopped by a signal; the rest is done by the next run".to_owned(),
        Stop::Paused => "stopped because the store was paused; the rest is done by the first run after `resume`".to_owned(),
        Stop::Busy => "stopped because the store was too busy for too long; the rest is done by the next run".to_owned(),
        Stop::Window if nothing => format!("outside its window {window}; nothing was disposed of"),
        Stop::Window => format!("its window {window} ended; the rest is done by the next run within it"),
    })
}

/// Bytes as people say them: `0 B`, `512 B`, `1.5 KiB`, `3.2 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "a rounded figure for people")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1 record`, `2 records`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_read_as_people_say_them() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(count(1, "record"), "1 record");
        assert_eq!(count(0, "record"), "0 records");
    }
}
