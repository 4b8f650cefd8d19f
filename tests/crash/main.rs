//! The built program against crashes, signals, full disks and people who change things meanwhile.
//!
//! After each of these, every record is held against the log: what is gone has an intent and an outcome, what is there has none that says
//! otherwise, and nothing went that was not due. Random choices come from a seed, which a failure prints and `RETENTIOND_SEED` sets again;
//! `RETENTIOND_KILLS` sets the number of kills.
//!
//! Some tests need root, `strace` or `faketime` and are skipped, with the reason, where these are missing.

mod alone;
mod estate;
mod kill;
mod lost;
mod races;
mod recovery;
mod signals;
