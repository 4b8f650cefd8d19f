//! Holding the log to its anchors: every anchored checkpoint must be a prefix of it.
//!
//! That is shown by a consistency proof from the anchored checkpoint to the present one: it is built from the tiles, and it convinces only if
//! the anchored root is that of the log's first entries. A checkpoint counts if one of the log's keys signed it. Others, and torn ones, show
//! nothing about this log and are counted as foreign: a log that was begun anew leaves those of the log before.
//!
//! A start looks at the newest checkpoint of each day, which is cheap however long the log is; [`check_all`] looks at every one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::super::checkpoint::Checkpoint;
use super::super::journal::damaged;
use super::super::proof::{Tiles, check_consistency, prove_consistency};
use super::super::rotation::Chain;
use super::super::secret::shown;
use super::{Anchor, folder};
use crate::error::{self, Error, Result};

/// What a log's anchored checkpoints amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Anchored {
    /// Checkpoints of this log, each a prefix of it.
    pub checkpoints: u64,
    /// Entries that the newest of them covers.
    pub newest: Option<u64>,
    /// Checkpoints that none of the log's keys signed.
    pub foreign: u64,
}

/// What a start found at one anchor.
#[derive(Clone, Debug, Default)]
pub(in crate::audit) struct Seen {
    /// The newest checkpoint there.
    pub(super) newest: Option<Arc<str>>,
    /// What a person should know.
    pub(super) noticed: Option<String>,
}

/// Checks every checkpoint in `folder`, an anchor of the log in `log_dir`, against the log; its tiles must have been verified.
///
/// [`error::Kind::NotIntact`] with the file if one is no prefix of the log; [`error::Kind::Io`] if the folder cannot be read.
pub fn check_all(log_dir: &Path, chain: &Chain, folder: &Path) -> Result<Anchored> {
    let origin = &chain.checkpoint().origin;
    let node = origin.strip_prefix("retentiond/").unwrap_or(origin);
    let unread = |path: &Path, e| Error::with_source(error::Kind::Io, format!("{}: cannot be read", shown(path)), e);
    let mut found = Anchored::default();
    for path in folder::files(folder, node).map_err(|e| unread(folder, e))? {
        for note in folder::notes(&path, false).map_err(|e| unread(&path, e))? {
            match chain.verify(note.as_bytes()) {
                Some(anchored) => {
                    check_one(log_dir, chain.checkpoint(), &anchored, &path)?;
                    found.checkpoints += 1;
                    found.newest = found.newest.max(Some(anchored.size));
                }
                None => found.foreign += 1,
            }
        }
    }
    Ok(found)
}

/// Checks the newest checkpoints in the folders among `anchors`, as a start does; the others are not asked.
///
/// [`error::Kind::NotIntact`] if one is no prefix of the log. A folder that cannot be read is told, not refused.
pub(in crate::audit) fn check_newest(log_dir: &Path, chain: &Chain, node: &str, anchors: &[Anchor]) -> Result<Vec<Seen>> {
    anchors
        .iter()
        .map(|anchor| if let Anchor::Folder(path) = anchor { look(log_dir, chain, node, path) } else { Ok(Seen::default()) })
        .collect()
}

fn look(log_dir: &Path, chain: &Chain, node: &str, path: &Path) -> Result<Seen> {
    let noticed = |what: String| Ok(Seen { newest: None, noticed: Some(what) });
    let files: Vec<PathBuf> = match folder::files(path, node) {
        Ok(files) => files,
        Err(e) => return noticed(format!("cannot be read, so the log was not compared with it: {e}")),
    };
    let mut seen = Seen::default();
    for file in &files {
        let notes = match folder::notes(file, true) {
            Ok(notes) => notes,
            Err(e) => return noticed(format!("{} cannot be read, so the log was not compared with it: {e}", shown(file))),
        };
        let newest = notes.into_iter().rev().find_map(|note| chain.verify(note.as_bytes()).map(|anchored| (note, anchored)));
        if let Some((note, anchored)) = newest {
            check_one(log_dir, chain.checkpoint(), &anchored, file)?;
            seen.newest = Some(note.into());
        }
    }
    if seen.newest.is_none() && chain.checkpoint().size > 0 {
        seen.noticed =
            Some("holds no checkpoint of this log yet; if it should, a disk is not mounted, or somebody removed them".to_owned());
    }
    Ok(seen)
}

/// One anchored checkpoint, found in the file `place`, must be a prefix of the log.
fn check_one(log_dir: &Path, log: &Checkpoint, anchored: &Checkpoint, place: &Path) -> Result<()> {
    let remedy = "put the right log back, or begin a new one that names this one: `retentiond audit begin-anew`";
    if anchored.size > log.size {
        let message = format!(
            "a checkpoint of {} entries was anchored here, the log has {}: an older copy of it was restored, or its end was taken off; {remedy}",
            anchored.size, log.size
        );
        return Err(damaged(place, message));
    }
    let proof = prove_consistency(anchored.size, log.size, &mut Tiles::new(log_dir, log.size))?;
    check_consistency(anchored.size, anchored.root, log.size, log.root, &proof).map_err(|_| {
        let message = format!(
            "the checkpoint of {} entries that was anchored here is no prefix of the log: entries were changed; {remedy}",
            anchored.size
        );
        damaged(place, message)
    })
}
