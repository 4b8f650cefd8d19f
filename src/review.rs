//! Review before disposal: due records of a class with `then: review`, put before people in batches that a person can decide.
//!
//! **A batch** is what one dataset has due in one class and one month (that of the last day of keeping). Each complete scan sorts the records that
//! are to be reviewed, leaves out those that people have decided about, and freezes the rest in one file a batch. The batch's id is a hash over
//! exactly these records, so an approval means what was shown and nothing else:
//!
//! ```text
//! STATE/review/<id>.batch    the items, as a plan holds them ([`crate::spool`]), sorted by key; in the footer, what is asked
//! STATE/review/<id>.done     what was approved of it went, or is gone: the dataset, and a line break; until the approval is over
//! id                         SHA-256, 64 hexadecimal digits (people use the first 16), over "retentiond review 1\n", then as texts: store, dataset,
//!                            class, month, nonce; then of each item: the record's pseudonym, fingerprint, class, schedule (SHA-256), event, event
//!                            date, due
//! text                       its length, u64 LE, and its bytes
//! ```
//!
//! The nonce is random and passes from an undecided batch to what takes its place, so a set that did not change keeps its id from scan to scan. Once
//! an approval was spent, or its file is lost, the id never comes again: the same records, restored from a backup, are asked about anew.
//!
//! **Decisions** are entries of the log first ([`decision`]): `approved`, `review-refused`, `review-extended`, `review-withdrawn`, with the
//! batch's id, numbers, and who decided, never with a record's key. The register has a table of them. A batch that is decided, or half decided, stays
//! frozen as it is; what comes to its month later makes another batch. An undecided batch gives way to what the next scan finds.
//!
//! **Disposal** belongs to the next run of the dataset. Records of a batch that enough people approved, whose cooling-off is over and whose approval
//! still holds, become part of the run's plan, if the scan found them due and as they were frozen: what is held, changed, reclassified or no longer
//! due drops out and is told. From there on they are records of a plan like others: limits, mode, window and pause hold, and at the one door each is
//! judged once more, and it is asked once more whether its approval is in force ([`InForce`]). The outcome names the batch and the entries.
//!
//! **Never**: it destroys nothing itself, and takes silence for consent. What nobody decides is kept, and told.
//!
//! **Crash.** Entries come before everything; a file comes under its name only when it is whole. Files of new batches are there before those that they
//! replace are removed; what a crash leaves too many, the next scan removes. A file that is lost, or no longer has its hash, is no batch: whatever was
//! approved of it, nothing goes, and people are asked anew. The files hold keys, are readable by the service's user only, and are removed once nothing
//! of theirs is asked or approved: after a disposal at the next run, at the latest when the approval is over.
//!
//! Memory holds a few thousand records, however many there are: they are sorted in files ([`sorted`]).

pub mod batch;
pub mod decision;
mod in_force;
mod order;
mod sift;
mod sorted;

use std::path::PathBuf;

pub use batch::Batch;
pub use decision::{Decision, Standing, What, same_name, same_person};
pub use in_force::InForce;
pub use order::Order;
pub use sift::{Facts, Left, Sifted, sift};

use crate::config::Config;

/// The folder of review batches of a configuration.
pub fn folder(config: &Config) -> PathBuf {
    config.state.join("review")
}
