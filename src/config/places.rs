//! Places that may not meet: those of two stores, and state folder, schedules, anchors or archive with any store.
//!
//! Two stores on one place, or one inside the other, would each believe to be alone: a record that two datasets match could not be seen as
//! one, and might go while the other dataset still keeps it; a database could be taken for a file. And a store that holds the state folder, or
//! lies in it, could come to destroy the audit log; one that holds the schedules, the schedules. All of this is told from paths and from what the file system says the paths lead to, before
//! anything is opened. Databases under two spellings are told apart when they are opened ([`crate::store::twins`]).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log::Named;
use crate::error::escape;
use crate::store::Store;
use crate::yaml::{Mark, Problems};

/// A place on this machine.
struct Place {
    path: PathBuf,
    /// Device and inode, which two paths share that lead to one place (hard links, bind mounts).
    id: Option<(u64, u64)>,
}

/// How one place stands to another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    Same,
    Inside,
    Contains,
}

impl Place {
    fn new(path: &Path) -> Self {
        Self { path: canonical(path), id: std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino())) }
    }

    fn to(&self, other: &Self) -> Option<Relation> {
        let same_id = self.id.is_some() && self.id == other.id;
        if same_id || self.path == other.path {
            Some(Relation::Same)
        } else if self.path.starts_with(&other.path) {
            Some(Relation::Inside)
        } else if other.path.starts_with(&self.path) {
            Some(Relation::Contains)
        } else {
            None
        }
    }

    fn shown(&self) -> String {
        escape(self.path.as_os_str().as_encoded_bytes())
    }
}

impl Relation {
    fn words(self) -> &'static str {
        match self {
            Self::Same => "is the same place as",
            Self::Inside => "lies inside",
            Self::Contains => "contains",
        }
    }
}

/// Notes a problem for each pair of places that meet.
pub(super) fn refuse_meetings(stores: &[(Arc<dyn Store>, Mark)], own: &[(Named, &str)], problems: &mut Problems) {
    let places: Vec<Option<Place>> = stores.iter().map(|(store, _)| store.path().map(Place::new)).collect();
    for (at, (store, mark)) in stores.iter().enumerate() {
        for (before, (other, _)) in stores[..at].iter().enumerate() {
            let relation = match (&places[at], &places[before]) {
                (Some(place), Some(other)) => place.to(other),
                _ => (store.identity() == other.identity()).then_some(Relation::Same),
            };
            let Some(relation) = relation else { continue };
            let remedy = match relation {
                Relation::Same => "put their datasets under one store",
                Relation::Inside | Relation::Contains => "put their datasets under one store, or give each a place of its own",
            };
            problems.add(
                *mark,
                format!(
                    "store \"{}\" ({}) {} store \"{}\" ({}); {remedy}",
                    escape(store.name().as_bytes()),
                    store.place(),
                    relation.words(),
                    escape(other.name().as_bytes()),
                    other.place(),
                ),
            );
        }
    }
    for (Named { what, path, mark }, loss) in own {
        let own = Place::new(path);
        for ((store, _), place) in stores.iter().zip(&places) {
            let Some(relation) = place.as_ref().and_then(|place| own.to(place)) else { continue };
            problems.add(
                *mark,
                format!(
                    "{what} ({}) {} store \"{}\" ({}), which could destroy {loss}; give each a place of its own",
                    own.shown(),
                    relation.words(),
                    escape(store.name().as_bytes()),
                    store.place(),
                ),
            );
        }
    }
}

/// The path without links, as far as it exists; the rest as it is written.
fn canonical(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest = Vec::new();
    let mut at = path.as_path();
    loop {
        if let Ok(found) = std::fs::canonicalize(at) {
            return rest.iter().rev().fold(found, |path, name| path.join(name));
        }
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { return path };
        rest.push(name);
        at = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_by_what_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        std::fs::create_dir_all(path("ab")).unwrap();
        std::os::unix::fs::symlink(path("a"), path("link")).unwrap();
        std::fs::write(path("a/x.db"), "").unwrap();
        std::fs::hard_link(path("a/x.db"), path("ab/y.db")).unwrap();
        let relation = |one: &str, other: &str| Place::new(&path(one)).to(&Place::new(&path(other))).map(Relation::words);
        assert_eq!(relation("a", "./a/"), Some("is the same place as"));
        assert_eq!(relation("link", "a"), Some("is the same place as"));
        assert_eq!(relation("link/b", "a"), Some("lies inside"));
        assert_eq!(relation("a", "link/b/none"), Some("contains"));
        assert_eq!(relation("none/./x", "none"), Some("lies inside"));
        assert_eq!(relation("none", "none/"), Some("is the same place as"));
        assert_eq!(relation("a/x.db", "ab/y.db"), Some("is the same place as"), "two names of one file");
        assert_eq!(relation("a", "ab"), None);
        assert_eq!(relation("a/x.db", "a/x.dba"), None);
    }
}
