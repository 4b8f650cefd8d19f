//! The chain of keys: how a log that was signed with several keys, one after the other, is verified with any one of them.
//!
//! A rotation is an entry `key-rotated`, which names the public keys before and after it, and a *handover*: a checkpoint that covers the entry
//! and carries the signatures of both keys. The handover is kept, word for word, beside the tiles:
//!
//! ```text
//! STATE/audit/handover/<index of the entry, 20 digits>
//! ```
//!
//! With the signature of the old key it says: this log went on with the new one. With that of the new key: whoever holds the new key agreed.
//! So an auditor needs one public key that is known to be the log's, and it does not matter which:
//!
//! - **The newest** verifies the checkpoint itself.
//! - **An earlier one** verifies its handover, which leads to the key after it, and so on to the one that signed the checkpoint.
//!
//! In both cases every handover must be signed by both its keys, the keys must follow each other without a gap from the one in entry 0, every
//! handover must be a prefix of the log, and every `key-rotated` entry must have one, except the newest entry of a log whose rotation broke off.
//!
//! What this cannot show: that a stolen key was not used before it was changed. A checkpoint that was anchored before the theft can.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, MAX_CHECKPOINT, Verifier};
use super::entry::{Entry, Kind};
use super::journal::damaged;
use super::proof::{Tiles, root_at};
use super::publish::{read_note, unread};
use super::read::Reader;
use super::secret::shown;
use super::tree::root;
use crate::error::{self, Error, Result};

/// Where the handover at the entry `n` lies, below the log's folder.
pub(super) fn path(folder: &Path, n: u64) -> PathBuf {
    folder.join("handover").join(format!("{n:020}"))
}

/// The public keys that a `key-rotated` entry names: before and after.
pub(super) fn keys_of(entry: &Entry) -> Result<(Verifier, Verifier)> {
    let key = |name: &str| {
        let text = entry.str(name).ok_or_else(|| Error::new(error::Kind::NotIntact, format!("entry {}: expected `{name}`", entry.n)))?;
        Verifier::parse(text).map_err(|e| Error::new(error::Kind::NotIntact, format!("entry {}: {e}", entry.n)))
    };
    Ok((key("old")?, key("new")?))
}

/// One change of keys.
#[derive(Clone, Debug)]
struct Link {
    /// The index of its entry.
    n: u64,
    old: Verifier,
    new: Verifier,
    /// What both signed.
    handover: Checkpoint,
}

/// The keys of a log, in the order in which they signed.
#[derive(Clone, Debug)]
pub struct Chain {
    folder: PathBuf,
    links: Vec<Link>,
    /// The key that signed the checkpoint.
    signer: Verifier,
    /// The checkpoint.
    checkpoint: Checkpoint,
}

impl Chain {
    /// The chain of the log in `folder`, and its checkpoint, verified with `trusted`, any of the log's keys.
    ///
    /// The handovers are not compared with the tree yet: that is [`Chain::check`]. [`error::Kind::NotIntact`] if there is no checkpoint, or
    /// no chain leads from `trusted` to the key that signed it.
    pub fn open(folder: &Path, trusted: &Verifier) -> Result<Self> {
        let Some(note) = read_note(folder)? else {
            return Err(damaged(&folder.join("checkpoint"), "expected a checkpoint, found none"));
        };
        let links = read_links(folder)?;
        let direct = trusted.verify(&note);
        if links.is_empty() {
            let checkpoint = direct.map_err(|e| e.context(shown(folder)))?;
            return Ok(Self { folder: folder.to_owned(), links, signer: trusted.clone(), checkpoint });
        }
        for pair in links.windows(2) {
            if pair[0].new != pair[1].old {
                let what = format!("expected a handover from {}, to which entry {} changed", pair[0].new, pair[0].n);
                return Err(damaged(&path(folder, pair[1].n), what));
            }
        }
        if !links.iter().any(|link| link.old == *trusted || link.new == *trusted) {
            direct.map_err(|e| e.context(shown(folder)))?;
            return Err(damaged(&folder.join("handover"), format!("expected a handover from or to {trusted}, found none")));
        }
        let last = &links[links.len() - 1];
        let checkpoint = last.new.verify(&note).or_else(|e| {
            // A crash came before the checkpoint had the new key's signature: it is the handover's, with that of the old key alone.
            last.old.verify(&note).ok().filter(|found| *found == last.handover).ok_or_else(|| e.context(shown(folder)))
        })?;
        let signer = last.new.clone();
        Ok(Self { folder: folder.to_owned(), links, signer, checkpoint })
    }

    /// The chain of a log in `folder` that has no checkpoint yet and will be signed with `signer`.
    pub(super) fn begin(folder: &Path, signer: &Verifier) -> Self {
        let checkpoint = Checkpoint { origin: signer.name().to_owned(), size: 0, root: root(&[]) };
        Self { folder: folder.to_owned(), links: Vec::new(), signer: signer.clone(), checkpoint }
    }

    /// The checkpoint of the log.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The key that signs now.
    pub(super) fn signer(&self) -> &Verifier {
        &self.signer
    }

    /// How often the key was changed.
    pub fn rotations(&self) -> u64 {
        self.links.len() as u64
    }

    /// Every key, oldest first.
    pub fn keys(&self) -> Vec<&Verifier> {
        self.links.iter().map(|link| &link.old).chain([&self.signer]).collect()
    }

    /// The checkpoint in `note` if any of the log's keys signed it.
    pub(super) fn verify(&self, note: &[u8]) -> Option<Checkpoint> {
        self.keys().into_iter().find_map(|key| key.verify(note).ok())
    }

    /// Checks the chain against the log's tree, whose tiles must have been verified, and against its `rotated` entries of that kind.
    pub(super) fn check(&self, rotated: u64) -> Result<()> {
        let size = self.checkpoint.size;
        let mut tiles = Tiles::new(&self.folder, size);
        for link in &self.links {
            let place = path(&self.folder, link.n);
            if link.handover.size > size || root_at(link.handover.size, &mut tiles)? != link.handover.root {
                return Err(damaged(&place, format!("the {} entries that it covers are not those of the log", link.handover.size)));
            }
        }
        let reader = Reader::open(&self.folder)?;
        let entry = |n| reader.get(n)?.map(|bytes| Entry::parse(&bytes)).transpose();
        let first = entry(0)?.and_then(|entry| entry.str("vkey").map(str::to_owned));
        let begun = self.links.first().map_or(&self.signer, |link| &link.old);
        if first.as_deref() != Some(begun.to_string().as_str()) {
            return Err(damaged(&self.folder, format!("entry 0: expected the log to begin with the key {begun}")));
        }
        if rotated == self.rotations() {
            return Ok(());
        }
        // A rotation that broke off: the newest entry names a key that did not sign yet.
        let newest = size.checked_sub(1).map(entry).transpose()?.flatten();
        let pending = newest.filter(|entry| entry.kind == Kind::KeyRotated && !path(&self.folder, entry.n).exists());
        if rotated == self.rotations() + 1 && pending.is_some() {
            return Ok(());
        }
        let message = format!("expected a handover for each of the {rotated} entries of kind key-rotated, found {}", self.rotations());
        Err(damaged(&self.folder.join("handover"), message))
    }
}

/// The handovers of the log in `folder` in order, each signed by both keys that its entry names.
fn read_links(folder: &Path) -> Result<Vec<Link>> {
    let place = folder.join("handover");
    let files = match fs::read_dir(&place) {
        Ok(files) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unread(&place, e)),
    };
    let mut links = Vec::new();
    for file in files {
        let file = file.map_err(|e| unread(&place, e))?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".new") {
            continue;
        }
        let n = name.parse().ok().filter(|n| file == path(folder, *n));
        let n = n.ok_or_else(|| damaged(&file, "expected only handovers, named by 20 digits; move this file elsewhere"))?;
        let note = fs::File::open(&file).and_then(|file| {
            let mut note = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, MAX_CHECKPOINT), &mut note).map(|_| note)
        });
        let note = note.map_err(|e| unread(&file, e))?;
        let bytes = Reader::open(folder)?.get(n)?.ok_or_else(|| damaged(&file, format!("the log has no entry {n}")))?;
        let entry = Entry::parse(&bytes)?;
        if entry.kind != Kind::KeyRotated {
            return Err(damaged(&file, format!("expected entry {n} to be of kind key-rotated, found {}", entry.kind)));
        }
        let (old, new) = keys_of(&entry)?;
        let handover = old.verify(&note).map_err(|e| e.context(shown(&file)))?;
        new.verify(&note).map_err(|e| e.context(shown(&file)))?;
        if handover.size <= n {
            return Err(damaged(&file, format!("expected a checkpoint that covers entry {n}, found one of {}", handover.size)));
        }
        links.push(Link { n, old, new, handover });
    }
    links.sort_by_key(|link| link.n);
    Ok(links)
}
