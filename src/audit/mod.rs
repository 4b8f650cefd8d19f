//! The audit log: append-only, and verifiable by outsiders with tools that this project did not write.
//!
//! An [`entry`] is one fact as one line of JSON. It is committed when the [`mod@log`]'s journal has it on stable storage, and published when
//! it is in the Merkle [`tree`], whose [`tile`]s and signed [`checkpoint`] lie in public C2SP formats:
//!
//! ```text
//! STATE/lock                       held by the one process that writes
//! STATE/keys/log.key, log.vkey     the signing key and its public half
//! STATE/keys/pseudonym/<YEAR>.key  the keys that records are named with
//! STATE/audit/journal/<first>      committed, not all of it published yet
//! STATE/audit/tile/…               published: entries, hashes
//! STATE/audit/checkpoint           size and root, signed
//! ```
//!
//! The way of an entry: [`Draft`] → [`AuditLog::commit`] → journal → [`Committed`] → tiles → checkpoint. What comes before the journal's fsync
//! may be lost in a crash and nobody was told otherwise; what comes after it never is. A start takes the same way with what the journal holds.
//!
//! Entries name records and persons by [`pseudonym`], so that the log itself holds no personal data. [`mod@read`] and [`mod@verify`] need no lock
//! and no key but the public one, and work on a copy.
//!
//! This folder uses nothing of the rest of the program but its error type, so that it can be read and judged alone. It never changes or
//! removes a published entry, and has no function that could.

#[cfg(test)]
mod acts;
pub mod anchor;
pub mod checkpoint;
mod disk;
pub mod entry;
mod entry_proof;
#[cfg(test)]
mod faults;
mod fields;
mod holds;
mod journal;
mod keys;
pub mod log;
mod meaning;
#[cfg(test)]
mod power;
pub mod proof;
pub mod pseudonym;
mod publish;
pub mod read;
pub mod rotation;
mod secret;
#[cfg(test)]
mod tests;
pub mod tile;
pub mod tree;
pub mod verify;
mod writer;

pub use anchor::Anchor;
pub use checkpoint::{Checkpoint, SigningKey, Verifier};
pub use entry::{Draft, Entry, Kind, Stem};
pub use entry_proof::EntryProof;
pub use log::{AuditLog, Committed, Opened, Recovery, Settings};
pub use pseudonym::{EpochKey, Pseudonyms, plain_record};
pub use read::{Entries, Reader};
pub use rotation::Chain;
pub use verify::{Verified, verify};
