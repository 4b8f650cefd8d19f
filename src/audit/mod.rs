//! The audit log: append-only, and verifiable by outsiders with tools that this project did not write.
//!
//! An [`entry`] is one fact as one line of JSON. It is committed when the [`mod@log`]'s journal has it on stable storage, and published when
//! it is in the Merkle [`tree`], whose [`tile`]s and signed [`checkpoint`] lie in public C2SP formats:
//!
//! ```text
//! STATE/lock                       held by the one process that writes
//! STATE/keys/log.key, log.vkey     the signing key and its public half; log.vkeys: all so far
//! STATE/keys/pseudonym/<YEAR>.key  the keys that records are named with
//! STATE/audit/journal/<first>      committed, not all of it published yet
//! STATE/audit/tile/…               published: entries, hashes
//! STATE/audit/checkpoint           size and root, signed
//! STATE/audit/handover/<entry>     a checkpoint that two keys signed: where one followed the other
//! STATE/audit/witnessed/<key>      a checkpoint with the cosignature of a witness
//! STATE/audit/archived             which entries were moved elsewhere
//! ```
//!
//! The way of an entry: [`Draft`] → [`AuditLog::commit`] → journal → [`Committed`] → tiles → checkpoint. What comes before the journal's fsync
//! may be lost in a crash and nobody was told otherwise; what comes after it never is. A start takes the same way with what the journal holds.
//!
//! Entries name records and persons by [`pseudonym`], so that the log itself holds no personal data. [`mod@read`] and [`mod@verify`] need no lock
//! and no key but the public one, and work on a copy.
//!
//! Who holds the key and the disk can still put an older copy in place, which [`anchor`] notices. The signing key can be changed ([`rotation`]), old
//! entries can be moved ([`archive`]), and a log whose key was lost is followed by one that names it ([`anew`]).
//!
//! This folder uses nothing of the rest of the program but its error type, so that it can be read and judged alone. It never changes a
//! published entry, and has no function that could; it removes one only after it has a copy that matches the tree, and has said so in the log.

#[cfg(test)]
mod acts;
pub mod anchor;
pub mod anew;
mod appender;
pub mod archive;
mod body;
pub mod checkpoint;
mod disk;
pub mod entry;
mod entry_proof;
pub mod erasures;
#[cfg(test)]
mod faults;
mod fields;
mod frame;
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
mod publishing;
pub mod read;
pub mod reviews;
mod rotation;
mod secret;
#[cfg(test)]
mod tests;
pub mod tile;
pub mod tree;
pub mod verify;
mod writer;

pub use anchor::Anchor;
pub use anew::Anew;
pub use archive::Archived;
pub use body::{Body, escapes};
pub use checkpoint::{Checkpoint, SigningKey, Verifier};
pub use entry::{Draft, Entry, Kind, Stem};
pub use entry_proof::EntryProof;
pub use log::{AuditLog, Committed, Opened, Recovery, Settings};
pub use pseudonym::{EpochKey, Pseudonyms, plain_record, write_plain_record};
pub use read::{Entries, Reader};
pub use rotation::Chain;
pub use verify::{Verified, verify, verify_with};
