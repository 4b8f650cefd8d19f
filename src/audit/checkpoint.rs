//! The checkpoint: the log's size and root, signed, so that an outsider can hold the log to it.
//!
//! A checkpoint is a C2SP tlog-checkpoint in a signed-note, signed with Ed25519 (signature type 0x01):
//!
//! ```text
//! retentiond/hq-1                  origin, and the name of the key
//! 70000                            entries
//! <root>                           base64, 44 characters
//!
//! — retentiond/hq-1 <base64 of the key's id and the signature>
//! ```
//!
//! A signing key is text in the form of Go's note package, `PRIVATE+KEY+<name>+<id>+<base64>`, its public half `<name>+<id>+<base64>`; `keys`
//! says where they lie. Signature lines of other keys (witnesses, the key before a rotation) are read over. A checkpoint has no time: that is
//! what `heartbeat` entries are for.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha256};

use super::secret::shown;
use super::tree::Hash;
use crate::error::{self, Error, Result};

/// The signature type of Ed25519 in a signed note.
const ED25519: u8 = 0x01;

/// What a signature line begins with: U+2014 and a space.
pub(super) const SIGNATURE: &str = "\u{2014} ";

/// The greatest length of a checkpoint file in bytes that is read; ours are 200 bytes, and a hundred witnesses would fit.
pub(super) const MAX_CHECKPOINT: u64 = 16 << 10;

/// The origin of the log of a node, which is also the name of its key.
///
/// Refused with [`error::Kind::Config`]: a node whose name has other characters than letters, digits, `.`, `_` and `-`.
pub fn origin(node: &str) -> Result<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if node.is_empty() || !node.bytes().all(allowed) {
        let found = error::escape(node.as_bytes());
        return Err(Error::new(error::Kind::Config, format!("node: expected letters, digits, `.`, `_` and `-`, found `{found}`")));
    }
    Ok(format!("retentiond/{node}"))
}

/// What a checkpoint says: this log had this root when it had this many entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// The number of entries.
    pub size: u64,
    /// The root of the Merkle tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The root as people and files write it: base64, 44 characters.
    pub fn root_base64(&self) -> String {
        STANDARD.encode(self.root)
    }

    /// The text that is signed: three lines.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root_base64())
    }

    /// Reads a checkpoint without asking who signed it: for readers, to whom it only says where to look.
    pub(super) fn read_unverified(note: &[u8]) -> Result<Self> {
        let refuse = |what: &str| Error::new(error::Kind::NotIntact, format!("checkpoint: {what}"));
        let note = std::str::from_utf8(note).map_err(|_| refuse("expected utf-8"))?;
        let end = note.find("\n\n").ok_or_else(|| refuse("expected a blank line before the signatures"))?;
        Self::parse(&note[..=end]).map_err(|what| refuse(&what))
    }

    /// Reads the signed text, strictly.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut lines = text.strip_suffix('\n').ok_or("expected a line break at the end of the text")?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next()) else {
            return Err("expected three lines: origin, size and root".to_owned());
        };
        let canonical = size.bytes().all(|b| b.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let size = size.parse().ok().filter(|_| canonical).ok_or("expected the size as a decimal number in the second line")?;
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        let root = root.ok_or("expected a root of 32 bytes in base64 in the third line")?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// The key that signs checkpoints.
pub struct SigningKey {
    name: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// Makes a key for a node's log from fresh random numbers; nothing is written.
    pub fn generate(node: &str) -> Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|e| Error::with_source(error::Kind::Io, "random numbers: none to be had", e))?;
        Ok(Self { name: origin(node)?, key: ed25519_dalek::SigningKey::from_bytes(&seed) })
    }

    /// The text of a key's file.
    pub(super) fn secret(&self) -> String {
        let key = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        format!("PRIVATE+KEY+{}+{}+{}\n", self.name, hex(self.verifier().id), STANDARD.encode(key))
    }

    /// Reads the text of the key file `path` for a node's log.
    ///
    /// Refused: a key that is none ([`error::Kind::NotIntact`]), or of another node ([`error::Kind::Config`]).
    pub fn parse(content: &[u8], path: &Path, node: &str) -> Result<Self> {
        let damaged =
            || Error::new(error::Kind::NotIntact, format!("{}: expected a signing key, found something else; restore it", shown(path)));
        let text = std::str::from_utf8(content).map_err(|_| damaged())?;
        let mut parts = text.trim_end().strip_prefix("PRIVATE+KEY+").ok_or_else(damaged)?.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(damaged()) };
        let key = STANDARD.decode(key).map_err(|_| damaged())?;
        let Some((&ED25519, seed)) = key.split_first() else { return Err(damaged()) };
        let seed = seed.try_into().map_err(|_| damaged())?;
        let this = Self { name: name.to_owned(), key: ed25519_dalek::SigningKey::from_bytes(seed) };
        if hex(this.verifier().id) != id {
            return Err(damaged());
        }
        let expected = origin(node)?;
        if name != expected {
            let name = error::escape(name.as_bytes());
            let message =
                format!("{}: expected the key of {expected}, found that of {name}; a log keeps the node it began with", shown(path));
            return Err(Error::new(error::Kind::Config, message));
        }
        Ok(this)
    }

    /// The public half.
    pub fn verifier(&self) -> Verifier {
        Verifier::new(&self.name, self.key.verifying_key())
    }

    /// The signed checkpoint of a log with this size and root, as it lies in the file.
    pub fn sign(&self, size: u64, root: Hash) -> String {
        let text = Checkpoint { origin: self.name.clone(), size, root }.text();
        format!("{text}\n{}", self.signature(&text))
    }

    /// The line that signs a checkpoint's text.
    fn signature(&self, text: &str) -> String {
        let mut signature = self.verifier().id.to_vec();
        signature.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("{SIGNATURE}{} {}\n", self.name, STANDARD.encode(signature))
    }

    /// The signed checkpoint `note` with a signature of this key behind the others; as it is when it has one.
    ///
    /// [`error::Kind::NotIntact`] if it is no checkpoint of this key's log.
    pub(super) fn sign_too(&self, note: &str) -> Result<String> {
        if self.verifier().verify(note.as_bytes()).is_ok() {
            return Ok(note.to_owned());
        }
        let text = Checkpoint::read_unverified(note.as_bytes())?.text();
        let signed = format!("{note}{}", self.signature(&text));
        self.verifier().verify(signed.as_bytes())?;
        Ok(signed)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The key that checkpoints are verified with; printed, it is the text in `log.vkey`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl Verifier {
    fn new(name: &str, key: ed25519_dalek::VerifyingKey) -> Self {
        let digest = Sha256::new().chain_update(name).chain_update([b'\n', ED25519]).chain_update(key.as_bytes()).finalize();
        let id = [digest[0], digest[1], digest[2], digest[3]];
        Self { name: name.to_owned(), id, key }
    }

    /// Reads a key as `log.vkey` has it: `<name>+<8 hex digits>+<base64>`. Anything else is [`error::Kind::Usage`].
    pub fn parse(vkey: &str) -> Result<Self> {
        let refuse = |what: &str| {
            let found = error::escape(vkey.trim_end().as_bytes());
            Error::new(error::Kind::Usage, format!("verification key: {what}, found `{found}`; it is the line in keys/log.vkey"))
        };
        let mut parts = vkey.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refuse("expected <name>+<id>+<key>"));
        };
        let key = STANDARD.decode(key).map_err(|_| refuse("expected a key in base64"))?;
        let Some((&ED25519, key)) = key.split_first() else { return Err(refuse("expected an ed25519 key")) };
        let key = key.try_into().ok().and_then(|key| ed25519_dalek::VerifyingKey::from_bytes(key).ok());
        let this = Self::new(name, key.ok_or_else(|| refuse("expected an ed25519 key"))?);
        if name.is_empty() || name.contains(char::is_whitespace) || hex(this.id) != id {
            return Err(refuse("expected an id that belongs to name and key"));
        }
        Ok(this)
    }

    /// The name of the key, which is the origin of its log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a checkpoint and checks that this key signed it for its own log.
    ///
    /// [`error::Kind::NotIntact`] if it is no checkpoint, is that of another log, or the signature is missing or wrong.
    pub fn verify(&self, note: &[u8]) -> Result<Checkpoint> {
        let refuse = |what: &str| Error::new(error::Kind::NotIntact, format!("checkpoint: {what}"));
        let note = std::str::from_utf8(note).map_err(|_| refuse("expected utf-8"))?;
        let end = note.find("\n\n").ok_or_else(|| refuse("expected a blank line before the signatures"))?;
        let (text, signatures) = (&note[..=end], &note[end + 2..]);
        let lines = signatures.strip_suffix('\n').ok_or_else(|| refuse("expected a line break at the end"))?;
        let mut signed = false;
        for line in lines.split('\n') {
            let line = line.strip_prefix(SIGNATURE).and_then(|line| line.split_once(' '));
            let (name, blob) = line.ok_or_else(|| refuse("expected a signature line `\u{2014} <name> <base64>`"))?;
            let blob = STANDARD.decode(blob).map_err(|_| refuse("expected a signature in base64"))?;
            let Some((id, signature)) = blob.split_first_chunk() else { return Err(refuse("expected a signature with a key's id")) };
            if name != self.name || *id != self.id {
                continue;
            }
            let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| refuse("expected a signature of 64 bytes"))?;
            if signed || self.key.verify_strict(text.as_bytes(), &signature).is_err() {
                return Err(refuse(&format!("the signature of {} does not belong to the text", self.name)));
            }
            signed = true;
        }
        if !signed {
            return Err(refuse(&format!("expected a signature of {self}, found none")));
        }
        let checkpoint = Checkpoint::parse(text).map_err(|what| refuse(&what))?;
        if checkpoint.origin != self.name {
            let found = error::escape(checkpoint.origin.as_bytes());
            return Err(refuse(&format!("expected the log {}, found {found}", self.name)));
        }
        Ok(checkpoint)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, hex(self.id), STANDARD.encode(key))
    }
}

/// A key's id as eight hex digits.
fn hex(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey { name: "retentiond/hq-1".to_owned(), key: ed25519_dalek::SigningKey::from_bytes(&[9; 32]) }
    }

    #[test]
    fn the_verification_key_of_the_specification_is_read_and_written() {
        let vector = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let verifier = Verifier::parse(vector).unwrap();
        assert_eq!((verifier.name(), hex(verifier.id)), ("example.com/foo", "530d903a".to_owned()));
        assert_eq!(verifier.to_string(), vector);
        for broken in
            ["", "a+b", &vector.replace("530d903a", "530d903b"), &vector.replace("foo", "fox"), &vector[..40], &format!("{vector}=")]
        {
            assert!(Verifier::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_checkpoint_has_the_form_of_the_specification() {
        let note = key().sign(70_000, [3; 32]);
        let lines: Vec<&str> = note.split('\n').collect();
        assert_eq!(lines[..4], ["retentiond/hq-1", "70000", "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=", ""]);
        assert!(lines[4].starts_with("\u{2014} retentiond/hq-1 "));
        assert_eq!((lines[5], lines.len()), ("", 6));
        let checkpoint = key().verifier().verify(note.as_bytes()).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (70_000, [3; 32]));
    }

    #[test]
    fn no_byte_of_a_checkpoint_can_change() {
        let note = key().sign(1234, [5; 32]).into_bytes();
        for at in 0..note.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut bad = note.clone();
                bad[at] ^= flip;
                assert!(key().verifier().verify(&bad).is_err(), "byte {at} xor {flip}");
            }
            assert!(key().verifier().verify(&note[..at]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn signatures_of_witnesses_are_read_over_but_never_enough() {
        let witness = SigningKey { name: "example.com/witness".to_owned(), key: ed25519_dalek::SigningKey::from_bytes(&[4; 32]) };
        let ours = key().sign(7, [1; 32]);
        let line = witness.sign(7, [1; 32]).lines().last().unwrap().to_owned();
        assert!(key().verifier().verify(format!("{ours}{line}\n").as_bytes()).is_ok());
        let (text, _) = ours.split_once("\n\n").unwrap();
        assert!(key().verifier().verify(format!("{text}\n\n{line}\n").as_bytes()).is_err());
    }

    #[test]
    fn a_signed_text_that_is_no_checkpoint_of_this_log_is_refused() {
        let root = STANDARD.encode([0; 32]);
        let texts = [
            format!("retentiond/hq-2\n1\n{root}\n"),
            format!("retentiond/hq-1\n01\n{root}\n"),
            format!("retentiond/hq-1\n+1\n{root}\n"),
            format!("retentiond/hq-1\n1\n{}\n", &root[..40]),
            format!("retentiond/hq-1\n1\n{root}\nextension\n"),
            "retentiond/hq-1\n1\n".to_owned(),
        ];
        for text in texts {
            let mut blob = key().verifier().id.to_vec();
            blob.extend_from_slice(&key().key.sign(text.as_bytes()).to_bytes());
            let note = format!("{text}\n{SIGNATURE}retentiond/hq-1 {}\n", STANDARD.encode(blob));
            assert_eq!(key().verifier().verify(note.as_bytes()).unwrap_err().kind(), error::Kind::NotIntact, "{text}");
        }
    }

    #[test]
    fn a_node_has_a_plain_name() {
        assert_eq!(origin("hq-1.example_2").unwrap(), "retentiond/hq-1.example_2");
        for node in ["", "a b", "a+b", "a/b", "\u{e4}", "a\n"] {
            assert_eq!(origin(node).unwrap_err().kind(), error::Kind::Config, "{node:?}");
        }
    }
}
