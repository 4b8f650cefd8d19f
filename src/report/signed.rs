//! The signed part of a log, for reports that somebody signs: verified first, and then read again in such a way that what is reported is what was
//! signed.
//!
//! Opening verifies the whole log. Reading hashes every entry once more on its way to the report, and fails at the end if those entries have another
//! root than the checkpoint: whatever somebody does to the files between the two, no report is made of anything else than signed entries. Entries that
//! are only in the journal so far are left out.

use std::path::{Path, PathBuf};

use crate::audit::tree::{Tree, leaf_hash};
use crate::audit::{Checkpoint, Entry, Reader, Verified, Verifier, verify};
use crate::error::{Error, Kind, Result, escape};

/// How often a log that grows meanwhile is verified again, to have its checkpoint and the verification of the same moment.
const ATTEMPTS: usize = 3;

/// A log that was verified.
pub struct Signed {
    folder: PathBuf,
    /// What verifying brought.
    pub verified: Verified,
    /// The key that it was verified with.
    pub key: String,
    /// The checkpoint, as it lies in its file.
    pub note: String,
    checkpoint: Checkpoint,
}

impl Signed {
    /// Verifies the log in a folder; [`Kind::NotIntact`] if it is not intact.
    pub fn open(folder: &Path, key: &str) -> Result<Self> {
        let path = folder.join("checkpoint");
        let read = || {
            std::fs::read(&path).map_err(|error| {
                let shown = escape(path.as_os_str().as_encoded_bytes());
                Error::with_source(Kind::NotIntact, format!("{shown}: expected the log's signed checkpoint"), error)
            })
        };
        for _ in 0..ATTEMPTS {
            let note = read()?;
            let verified = verify(folder, key, &|_, _| {})?;
            let checkpoint = Verifier::parse(key)?.verify(&note)?;
            if checkpoint.size == verified.size && checkpoint.root_base64() == verified.root {
                let note = String::from_utf8_lossy(&note).into_owned();
                return Ok(Self { folder: folder.to_owned(), verified, key: key.to_owned(), note, checkpoint });
            }
        }
        Err(Error::new(Kind::Io, "the audit log grows faster than it can be verified; make the report from a copy of it"))
    }

    /// Gives every signed entry to `take`, in order.
    pub fn entries(&self, mut take: impl FnMut(&Entry) -> Result<()>) -> Result<()> {
        let mut tree = Tree::new();
        if self.checkpoint.size > 0 {
            for item in Reader::open(&self.folder)?.entries() {
                let (_, bytes) = item?;
                tree.push(leaf_hash(&bytes), drop);
                take(&Entry::parse(&bytes)?)?;
                if tree.size() == self.checkpoint.size {
                    break;
                }
            }
        }
        if tree.size() != self.checkpoint.size || tree.root() != self.checkpoint.root {
            let shown = escape(self.folder.as_os_str().as_encoded_bytes());
            return Err(Error::new(Kind::NotIntact, format!("{shown}: the log changed after it was verified; this report is void")));
        }
        Ok(())
    }
}
