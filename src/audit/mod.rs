//! The audit log.

pub mod checkpoint;
pub mod entry;
pub mod pseudonym;
mod secret;
pub mod tile;
pub mod tree;
