//! Files.
use super::{Configure, Kind, StoreHead};
use crate::yaml::{Fields, Node, Problems};

/// The kind.
pub const KIND: Kind = Kind { key: "files", configure };

fn configure(_head: &StoreHead<'_>, _place: &Node, _fields: &mut Fields<'_>, _problems: &mut Problems) -> Option<Box<dyn Configure>> {
    None
}
