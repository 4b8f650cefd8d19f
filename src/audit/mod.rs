//! The audit log.

pub mod checkpoint;
mod disk;
pub mod entry;
mod journal;
pub mod log;
mod meaning;
pub mod pseudonym;
mod publish;
pub mod read;
mod secret;
pub mod tile;
pub mod tree;
pub mod verify;
mod writer;

pub use checkpoint::{Checkpoint, SigningKey, Verifier};
pub use entry::{Draft, Entry, Kind};
pub use log::{AuditLog, Committed, Opened, Recovery};
pub use pseudonym::{EpochKey, Pseudonyms, plain_record};
pub use read::{Entries, Reader};
pub use verify::{Verified, verify};

#[cfg(test)]
mod tests;
