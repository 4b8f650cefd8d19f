//! The proof for one entry: that it is in the log that a checkpoint was signed for, in the text form of the C2SP tlog-proof specification.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>                   not ours; read over where another tool wrote it, for nothing authenticates it
//! index <decimal>
//! <base64 hash>                    the siblings from the leaf to the root, one a line
//!
//! <checkpoint, verbatim>
//! ```
//!
//! Entry, proof and public key together are enough to check it: no log, no network, no trust in who hands it over.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{Checkpoint, Verifier};
use super::proof::{Tiles, check_inclusion, prove_inclusion};
use super::publish::read_note;
use super::tree::{Hash, leaf_hash};
use crate::error::{self, Error, Result};

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// No proof has more hashes than the greatest tree has levels.
const MAX_HASHES: usize = 64;

/// A proof that an entry is in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryProof {
    /// Index of the entry.
    pub index: u64,
    /// The siblings from the leaf to the root.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl EntryProof {
    /// Proves the entry `n` of the log in `log_dir`, under its present checkpoint.
    ///
    /// [`error::Kind::Refused`] if the checkpoint does not cover the entry yet, [`error::Kind::NotIntact`] if it is not signed by the key of
    /// `verifier` or there is none.
    pub fn of(log_dir: &Path, n: u64, verifier: &Verifier) -> Result<Self> {
        let at = |error: Error| error.context(super::secret::shown(log_dir));
        let missing = || Error::new(error::Kind::NotIntact, "expected a checkpoint, found none");
        let note = read_note(log_dir)?.ok_or_else(missing).map_err(at)?;
        let Checkpoint { size, .. } = verifier.verify(&note).map_err(at)?;
        if n >= size {
            let message = format!("entry {n} is in no checkpoint yet, the newest covers {size}; a running service signs one every second");
            return Err(at(Error::new(error::Kind::Refused, message)));
        }
        let hashes = prove_inclusion(n, size, &mut Tiles::new(log_dir, size))?;
        let checkpoint = String::from_utf8(note).map_err(|_| missing())?;
        Ok(Self { index: n, hashes, checkpoint })
    }

    /// Reads a proof as the specification has it; anything else is [`error::Kind::NotIntact`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let refuse = |what: &str| Error::new(error::Kind::NotIntact, format!("tlog-proof: {what}"));
        let text = std::str::from_utf8(bytes).map_err(|_| refuse("expected utf-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(|| refuse("expected a blank line and a checkpoint behind it"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(refuse(&format!("expected `{HEADER}` as the first line")));
        }
        if let Some(extra) = lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            STANDARD.decode(extra).map_err(|_| refuse("expected `extra` in base64"))?;
            lines.next();
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or_else(|| refuse("expected a line `index <number>`"))?;
        let canonical = index.bytes().all(|b| b.is_ascii_digit()) && (index == "0" || !index.starts_with('0'));
        let index = index.parse().ok().filter(|_| canonical).ok_or_else(|| refuse("expected a decimal number as the index"))?;
        let hash = |line| STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
        let hashes: Option<Vec<Hash>> = lines.map(hash).collect();
        let hashes = hashes.ok_or_else(|| refuse("expected hashes of 32 bytes in base64, one a line"))?;
        if hashes.len() > MAX_HASHES {
            return Err(refuse(&format!("expected at most {MAX_HASHES} hashes, found {}", hashes.len())));
        }
        Ok(Self { index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that the log of `verifier` has exactly these bytes as the entry of this index; answers the checkpoint that was signed.
    ///
    /// [`error::Kind::NotIntact`] if the proof does not show it.
    pub fn check(&self, entry: &[u8], verifier: &Verifier) -> Result<Checkpoint> {
        let checkpoint = verifier.verify(self.checkpoint.as_bytes())?;
        check_inclusion(self.index, checkpoint.size, leaf_hash(entry), checkpoint.root, &self.hashes)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for EntryProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}\nindex {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::super::tests::{drafts, entries, wait};
    use super::super::{AuditLog, Draft, Kind};
    use super::*;

    #[test]
    fn the_text_is_that_of_the_specification() {
        let hashes = vec![[7; 32], [8; 32]];
        let proof = EntryProof { index: 73_894, hashes, checkpoint: "example.com/log\n109482\nroot\n\n\u{2014} x y\n".to_owned() };
        let text = "c2sp.org/tlog-proof@v1\nindex 73894\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\
            CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=\n\nexample.com/log\n109482\nroot\n\n\u{2014} x y\n";
        assert_eq!(proof.to_string(), text);
        assert_eq!(EntryProof::parse(text.as_bytes()).unwrap(), proof);
        let extra = text.replace("index", "extra YWdl\nindex");
        assert_eq!(EntryProof::parse(extra.as_bytes()).unwrap(), proof);
        // What transparency-dev/merkle publishes as the text for the index 5 and the hashes of "hash1" and "hash2".
        let published = "c2sp.org/tlog-proof@v1\nindex 5\nrzFuy5Go7nrpkhBwKy1HWPMM3eO/YePY54fXRoH5Cm4=\n\
            5784L25ZFbP4hhm4ZiI+vx1RxMUyHMzeLp/3AKMlkIY=\n\ntest checkpoint\n";
        assert_eq!(EntryProof::parse(published.as_bytes()).unwrap().to_string(), published);
        let alone = EntryProof { index: 0, hashes: Vec::new(), checkpoint: "checkpoint\n".to_owned() };
        assert_eq!(alone.to_string(), "c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n");
        assert_eq!(EntryProof::parse(alone.to_string().as_bytes()).unwrap(), alone);
    }

    #[test]
    fn what_is_no_proof_is_refused() {
        // The broken proofs that the published implementations test with, and some more.
        let texts = [
            "wrong-header\nindex 0\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nextra !!notbase64!!\nindex 0\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\n\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nindex notanumber\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nindex -5\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nindex +5\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nindex 05\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nindex \n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nindex 18446744073709551616\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nindex 0\n!!notbase64!!\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nindex 0\nBwcHBwcHBwcHBwcHBwcHBw==\n\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\nindex 0\ncheckpoint\n",
            "c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\ncheckpoint\r\n",
            "index 0\n\ncheckpoint\n",
            "",
        ];
        for text in texts {
            assert_eq!(EntryProof::parse(text.as_bytes()).unwrap_err().kind(), error::Kind::NotIntact, "{text}");
        }
        let hash = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
        let long = format!("c2sp.org/tlog-proof@v1\nindex 0\n{}\ncheckpoint\n", hash.repeat(65));
        assert!(EntryProof::parse(long.as_bytes()).is_err());
    }

    #[test]
    fn every_entry_of_a_log_is_proven_and_no_byte_of_entry_or_proof_can_change() {
        let dir = tempfile::tempdir().unwrap();
        let log = AuditLog::open(dir.path(), "hq-1").unwrap().log;
        log.commit_blocking(drafts(598, "a")).unwrap();
        wait(log.close()).unwrap();
        let folder = dir.path().join("audit");
        let verifier = Verifier::parse(&fs::read_to_string(dir.path().join("keys/log.vkey")).unwrap()).unwrap();
        let all = entries(dir.path());
        for (n, entry) in (0..).zip(&all) {
            let proof = EntryProof::of(&folder, n, &verifier).unwrap();
            assert_eq!(proof.check(entry, &verifier).unwrap().size, 599);
        }
        let proof = EntryProof::of(&folder, 300, &verifier).unwrap().to_string();
        for at in 0..proof.len() {
            let mut bad = proof.clone().into_bytes();
            bad[at] ^= 1;
            let checked = EntryProof::parse(&bad).and_then(|bad| bad.check(&all[300], &verifier));
            assert_eq!(checked.unwrap_err().kind(), error::Kind::NotIntact, "byte {at}");
        }
        let proof = EntryProof::parse(proof.as_bytes()).unwrap();
        for at in 0..all[300].len() {
            let mut bad = all[300].clone();
            bad[at] ^= 1;
            assert!(proof.check(&bad, &verifier).is_err(), "byte {at}");
        }
        assert!(proof.check(&all[301], &verifier).is_err());
        assert_eq!(EntryProof::of(&folder, 599, &verifier).unwrap_err().kind(), error::Kind::Refused);

        // The proof holds for as long as the key does, however the log grows; and no other log's key accepts it.
        let log = AuditLog::open(dir.path(), "hq-1").unwrap().log;
        log.commit_blocking(vec![Draft::new(Kind::Stopped, &json!({})).unwrap()]).unwrap();
        wait(log.close()).unwrap();
        proof.check(&all[300], &verifier).unwrap();
        let other = tempfile::tempdir().unwrap();
        wait(AuditLog::open(other.path(), "hq-1").unwrap().log.close()).unwrap();
        let other = Verifier::parse(&fs::read_to_string(other.path().join("keys/log.vkey")).unwrap()).unwrap();
        assert_eq!(proof.check(&all[300], &other).unwrap_err().kind(), error::Kind::NotIntact);
    }
}
