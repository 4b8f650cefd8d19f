//! A witness as an anchor: the client of the C2SP tlog-witness protocol, with the cosignatures of tlog-cosignature (Ed25519).
//!
//! A witness remembers for each log the last checkpoint that it cosigned. It is sent the size of that one, a consistency proof from there, and
//! the new checkpoint, and answers with a cosignature: "at this time, this was the largest tree that I saw of this log, and it began with all that
//! I saw before". So a log that was put back or written anew gets no cosignature, wherever its files and keys are.
//!
//! ```text
//! POST <url>/add-checkpoint
//! old 70000                        size of the checkpoint that the witness cosigned last
//! <base64>                         hashes of the consistency proof, one a line
//!                                  (blank line)
//! <checkpoint, word for word>
//! ```
//!
//! 200 brings signature lines, of which the configured witness's own must verify; others are ignored. 409 brings the size that the witness
//! has: if it is smaller than ours we try once more from there; if it is larger, this log is an older copy. Everything else is a failure with its
//! reason.
//!
//! The checkpoint with the cosignature is kept as `STATE/audit/witnessed/<id of the key, 8 hex digits>`, replaced as a whole. `checkpoint` itself
//! is left alone: it is written and read while the witness thinks.
//!
//! Nothing that a witness answers is trusted beyond what its key signed: answers are short or refused, redirects are not followed, no proxy is asked,
//! and everything has to be over in ten seconds.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::super::checkpoint::{Checkpoint, SIGNATURE};
use super::super::proof::{Tiles, prove_consistency};
use super::super::secret;
use super::{Note, Place};
use crate::error::escape;

/// The signature type of a timestamped Ed25519 cosignature.
const COSIGNATURE: u8 = 0x04;

/// How long everything about one checkpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer in bytes that is read: a hundred signatures would fit.
const LONGEST: u64 = 16 << 10;

/// How far a witness's clock may be ahead of ours, in seconds.
const AHEAD: i64 = 3600;

/// A witness: where it is asked, and the key that it cosigns with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    url: String,
    name: String,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl Witness {
    /// A witness at `url` (its submission prefix) with the verification key `vkey`, `<name>+<8 hex digits>+<base64>` of type 0x04.
    ///
    /// Refused with words that name what was expected: a URL that is neither `https://` nor `http://` to this machine, a key that is none.
    pub fn new(url: &str, vkey: &str) -> Result<Self, String> {
        check_url(url)?;
        let found = || escape(vkey.as_bytes());
        let refuse = |what: &str| format!("expected {what}, found \"{}\"", found());
        let mut parts = vkey.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refuse("the witness's key as <name>+<id>+<key>"));
        };
        let key = STANDARD.decode(key).map_err(|_| refuse("the witness's key in base64"))?;
        let Some((&COSIGNATURE, key)) = key.split_first() else {
            return Err(refuse("a key for cosignatures (type 0x04, its base64 begins with B)"));
        };
        let key: Option<[u8; 32]> = key.try_into().ok();
        let key = key.and_then(|key| ed25519_dalek::VerifyingKey::from_bytes(&key).ok());
        let key = key.ok_or_else(|| refuse("an ed25519 key of 32 bytes"))?;
        let digest = Sha256::new().chain_update(name).chain_update([b'\n', COSIGNATURE]).chain_update(key.as_bytes()).finalize();
        let this = Self {
            url: url.trim_end_matches('/').to_owned(),
            name: name.to_owned(),
            id: [digest[0], digest[1], digest[2], digest[3]],
            key,
        };
        if name.is_empty() || name.contains(char::is_whitespace) || this.hex() != id {
            return Err(refuse("an id that belongs to name and key"));
        }
        Ok(this)
    }

    /// The name of its key.
    pub fn name(&self) -> String {
        escape(self.name.as_bytes())
    }

    fn hex(&self) -> String {
        crate::error::hex(&self.id)
    }

    pub(super) fn client(&self, folder: &Path) -> Client {
        let kept = folder.join("witnessed").join(self.hex());
        // What the witness has is asked for when this is wrong or not there.
        let old = fs::read(&kept).ok().and_then(|note| Checkpoint::read_unverified(&note).ok()).map_or(0, |checkpoint| checkpoint.size);
        Client { witness: self.clone(), folder: folder.to_owned(), kept, old, agent: None }
    }

    /// The line of `answer` with which this witness cosigned the checkpoint `note`.
    fn cosignature<'a>(&self, note: &str, answer: &'a str, now: Timestamp) -> Result<&'a str, String> {
        let text = note.find("\n\n").map(|end| &note[..=end]).ok_or("the checkpoint has no text")?;
        for line in answer.lines() {
            let Some((name, blob)) = line.strip_prefix(SIGNATURE).and_then(|line| line.split_once(' ')) else {
                return Err("expected signature lines".to_owned());
            };
            let blob = STANDARD.decode(blob).map_err(|_| "expected signatures in base64")?;
            let Some((id, rest)) = blob.split_first_chunk::<4>() else { return Err("expected a signature with a key's id".to_owned()) };
            if name != self.name || *id != self.id {
                continue;
            }
            let Some((time, signature)) = rest.split_first_chunk::<8>() else {
                return Err("expected a time in the cosignature".to_owned());
            };
            let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| "expected a cosignature of 72 bytes")?;
            let time = i64::try_from(u64::from_be_bytes(*time)).map_err(|_| "expected a time that can be")?;
            let message = format!("cosignature/v1\ntime {time}\n{text}");
            if self.key.verify_strict(message.as_bytes(), &signature).is_err() {
                return Err("its cosignature does not belong to the checkpoint".to_owned());
            }
            if time > now.as_second().saturating_add(AHEAD) {
                return Err("its cosignature is of a time to come; one of the two clocks is wrong".to_owned());
            }
            return Ok(line);
        }
        Err(format!("expected a cosignature of {}, found none", self.name()))
    }
}

/// A checkpoint goes over the network encrypted, or not over the network.
fn check_url(url: &str) -> Result<(), String> {
    let refuse = || {
        let found = escape(url.as_bytes());
        format!("expected a URL such as https://witness.example.org/, or http:// to this machine itself, found \"{found}\"")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(refuse)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let here = matches!(host, "localhost" | "127.0.0.1" | "::1");
    let fine = !host.is_empty()
        && !authority.contains('@')
        && !url.contains(['?', '#'])
        && !url.contains(|c: char| c.is_whitespace() || c.is_control());
    if fine && (scheme == "https" || scheme == "http" && here) { Ok(()) } else { Err(refuse()) }
}

/// The client of one witness for the log in a folder.
pub(super) struct Client {
    witness: Witness,
    folder: PathBuf,
    /// Where the cosigned checkpoint is kept.
    kept: PathBuf,
    /// The size that the witness cosigned last, as far as we know.
    old: u64,
    agent: Option<ureq::Agent>,
}

/// What a witness answered.
struct Answer {
    status: u16,
    size: bool,
    body: String,
}

impl Client {
    fn agent(&mut self) -> Result<&ureq::Agent, String> {
        if self.agent.is_none() {
            let mut config = ureq::Agent::config_builder()
                .timeout_global(Some(PATIENCE))
                .max_redirects(0)
                .max_redirects_will_error(false)
                .http_status_as_error(false)
                .proxy(None)
                .user_agent(concat!("retentiond/", env!("CARGO_PKG_VERSION")));
            if self.witness.url.starts_with("https:") {
                config = config.tls_config(tls()?);
            }
            self.agent = Some(config.build().into());
        }
        self.agent.as_ref().ok_or_else(|| "cannot be asked".to_owned())
    }

    fn ask(&mut self, note: &Note, old: u64) -> Result<Answer, String> {
        let proof = prove_consistency(old, note.size, &mut Tiles::new(&self.folder, note.size)).map_err(|e| e.to_string())?;
        let mut body = format!("old {old}\n");
        for hash in proof {
            body.push_str(&STANDARD.encode(hash));
            body.push('\n');
        }
        body.push('\n');
        body.push_str(&note.text);
        let url = format!("{}/add-checkpoint", self.witness.url);
        let mut response =
            self.agent()?.post(&url).content_type("text/plain; charset=utf-8").send(body.as_bytes()).map_err(|e| clean(&e.to_string()))?;
        let status = response.status().as_u16();
        let size = response.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/x.tlog.size"));
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(LONGEST + 1).read_to_end(&mut bytes);
        read.map_err(|e| format!("its answer broke off: {}", clean(&e.to_string())))?;
        if bytes.len() as u64 > LONGEST {
            return Err(format!("expected an answer of at most {LONGEST} bytes, found more"));
        }
        let body = String::from_utf8(bytes).map_err(|_| "expected an answer in utf-8")?;
        Ok(Answer { status, size, body })
    }

    fn keep(&self, note: &str, line: &str) -> crate::error::Result<()> {
        if let Some(folder) = self.kept.parent().filter(|folder| !folder.is_dir()) {
            let fail = |e| crate::error::Error::with_source(crate::error::Kind::Io, secret::shown(folder), e);
            fs::create_dir(folder).and_then(|()| fs::File::open(&self.folder)?.sync_all()).map_err(fail)?;
        }
        secret::replace(&self.kept, format!("{note}{line}\n").as_bytes(), 0o644)
    }
}

/// A message of a library, in one line of readable characters and not too long.
fn clean(text: &str) -> String {
    escape(text.chars().take(200).collect::<String>().as_bytes())
}

/// The system's roots, and the cryptography that the databases use too.
fn tls() -> Result<ureq::tls::TlsConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    let roots: Vec<_> = found.certs.iter().map(|root| ureq::tls::Certificate::from_der(root).to_owned()).collect();
    if roots.is_empty() {
        return Err("no certificate authorities are known on this machine; install ca-certificates".to_owned());
    }
    // Another part of the program may have set the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::Specific(Arc::new(roots))).build())
}

impl Place for Client {
    fn put(&mut self, note: &Note) -> Result<(), String> {
        // A log that is shorter than what the witness cosigned is sent all the same: the witness then says what it has.
        let mut old = if self.old <= note.size { self.old } else { 0 };
        for again in [false, true] {
            let answer = self.ask(note, old)?;
            match answer.status {
                200 => {
                    let line = self.witness.cosignature(&note.text, &answer.body, Timestamp::now())?;
                    self.keep(&note.text, line).map_err(|e| e.to_string())?;
                    self.old = note.size;
                    return Ok(());
                }
                409 => {
                    let size = answer.body.strip_suffix('\n').filter(|_| answer.size).and_then(|size| size.parse::<u64>().ok());
                    match size {
                        Some(size) if size > note.size => {
                            return Err(format!(
                                "has cosigned {size} entries of this log, which has {}: an older copy of it was restored, or another log bears its name",
                                note.size
                            ));
                        }
                        Some(size) if size != old && !again => old = size,
                        _ => return Err(format!("holds another log of this name that it cosigned at {old} entries, or answers at random")),
                    }
                }
                422 => return Err(format!("does not find the {old} entries that it cosigned at the beginning of this log")),
                403 => return Err("does not know the key of this log; give its operator the line in keys/log.vkey".to_owned()),
                404 => return Err("does not know this log; give its operator the line in keys/log.vkey".to_owned()),
                status => return Err(format!("answered with status {status}")),
            }
        }
        Err("asked for one size, then for another".to_owned())
    }

    fn newest_only(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signer as _;

    use super::*;

    /// The key of RFC 8032, test 1, as that of a witness.
    fn witness() -> (Witness, ed25519_dalek::SigningKey) {
        let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
        let public = key.verifying_key();
        let digest = Sha256::new().chain_update("witness.example/w1\n\x04").chain_update(public.as_bytes()).finalize();
        let text = STANDARD.encode([&[COSIGNATURE], public.as_bytes().as_slice()].concat());
        let vkey = format!("witness.example/w1+{}+{text}", crate::error::hex(&digest[..4]));
        (Witness::new("https://witness.example/", &vkey).unwrap(), key)
    }

    #[test]
    fn a_witness_is_reached_encrypted_or_on_this_machine() {
        for url in
            ["https://w.example", "https://w.example:8443/prefix/", "http://localhost:80/", "http://127.0.0.1:8080", "http://[::1]:80/a"]
        {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in [
            "http://w.example/",
            "w.example",
            "https://",
            "ftp://localhost/",
            "http://localhost@w.example/",
            "http://localhost.evil/",
            "https://w/?a",
            "https://w /",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_cosignature_of_the_specification_s_form_is_verified_and_nothing_else() {
        let (witness, key) = witness();
        let note = "retentiond/hq-1\n7\nroot\n\n\u{2014} retentiond/hq-1 abc\n";
        let now = Timestamp::from_second(1_679_315_147).unwrap();
        let sign = |time: u64, message: &str, key: &ed25519_dalek::SigningKey| {
            let mut blob = witness.id.to_vec();
            blob.extend_from_slice(&time.to_be_bytes());
            blob.extend_from_slice(&key.sign(message.as_bytes()).to_bytes());
            format!("\u{2014} witness.example/w1 {}\n", STANDARD.encode(blob))
        };
        let message = "cosignature/v1\ntime 1679315147\nretentiond/hq-1\n7\nroot\n";
        let good = sign(1_679_315_147, message, &key);
        assert_eq!(witness.cosignature(note, &good, now), Ok(good.trim_end()));
        let other = "\u{2014} other.example/w CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==\n";
        assert_eq!(witness.cosignature(note, &format!("{other}{good}"), now), Ok(good.trim_end()));
        let refused = |answer: &str| witness.cosignature(note, answer, now).unwrap_err();
        assert!(refused(other).contains("expected a cosignature of witness.example/w1, found none"));
        assert!(refused("").contains("found none"));
        assert!(refused(&sign(1_679_315_148, message, &key)).contains("does not belong"));
        assert!(refused(&sign(1_679_315_147, message, &ed25519_dalek::SigningKey::from_bytes(&[6; 32]))).contains("does not belong"));
        let future = message.replace("1679315147", "1679325147");
        assert!(refused(&sign(1_679_325_147, &future, &key)).contains("time to come"));
        assert!(refused(&good.replace("w1 ", "w1 A")).contains("base64"));
        assert!(refused("<html>\n").contains("signature lines"));
        for flip in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[flip] ^= 1;
            let found = String::from_utf8(bad).map(|bad| witness.cosignature(note, &bad, now).map(str::to_owned));
            assert!(!matches!(found, Ok(Ok(_))) || flip == good.len() - 1, "byte {flip}");
        }
    }

    #[test]
    fn a_key_of_a_log_is_no_key_of_a_witness() {
        let log = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        assert!(Witness::new("https://w.example/", log).unwrap_err().contains("type 0x04"));
        assert!(Witness::new("https://w.example/", "a+b").unwrap_err().contains("<name>+<id>+<key>"));
    }
}
