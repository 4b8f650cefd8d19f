//! One entry of the audit log: a fact, as the bytes that are hashed.
//!
//! An entry is one line of UTF-8 JSON, at most 65,535 bytes long, and its exact bytes are the leaf of the Merkle tree. It always begins with
//! the same four fields in the same order, then come the fields of its kind:
//!
//! ```text
//! {"n":12,"at":"2026-11-22T01:02:03.123Z","kind":"destroyed","nonce":"<22 characters>","run":"…","store":"…",…}
//! ```
//!
//! A [`Draft`] is an entry that has no index and no time yet. The writer puts the first four fields in front of the draft's bytes and never
//! looks into them again, so what can be wrong with a body is found when the draft is made. The nonce is 128 random bits: without it, an
//! outsider who holds only a leaf's hash could find a guessable entry by trying.
//!
//! An [`Entry`] is what a reader gets back. Reading is strict: what the writer would not have written is refused, never repaired.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::body::Body;
use crate::error::{self, Error, Result};

/// The greatest length of an entry in bytes: what the 16-bit lengths of an entry bundle can say.
pub const MAX_ENTRY: usize = 65_535;

/// The room kept for the first four fields. The longest are 20 digits, 24 characters of time, 16 of kind, 22 of nonce and 37 of punctuation
/// and names; the rest is for a longer kind to come.
const MAX_HEAD: usize = 192;

/// Bytes of most bodies at most.
const COMMON: usize = 704;

/// The names of the first four fields, which a body may not use.
const RESERVED: [&str; 4] = ["n", "at", "kind", "nonce"];

/// Length in characters of a nonce: 128 bits in base64 without padding.
const NONCE_CHARS: usize = 22;

/// What an entry says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The log was created; always entry 0.
    Opened,
    /// A schedule came into force: its id, hash and full text.
    Schedule,
    /// A run over a dataset began.
    RunStarted,
    /// The records named are about to be destroyed or anonymised.
    Intent,
    /// What the records of the intent before it count for in statistics, should they go.
    Statistics,
    /// A record was destroyed.
    Destroyed,
    /// A record was anonymised.
    Anonymised,
    /// A person confirmed that a record which no program reaches was destroyed.
    Attested,
    /// The log before this one had a person's word that a record was destroyed.
    AttestedBefore,
    /// A record is due and was reported, not touched.
    Flagged,
    /// A record that only a person can destroy is due: it became a task.
    TaskOpened,
    /// A record is still there although its ceiling has passed.
    Overdue,
    /// Records went before their time, and not through this program.
    Lost,
    /// A record of an intent was gone already.
    Absent,
    /// A record of an intent was kept after all, with the reason.
    Kept,
    /// The attempt on a record of an intent failed; it may still be there.
    Failed,
    /// What became of a record whose run was interrupted, found out at the next start.
    Recovered,
    /// A run over a dataset ended, with its counts.
    RunFinished,
    /// A person placed a hold.
    HoldPlaced,
    /// A person released a hold.
    HoldReleased,
    /// A person approved the disposal of the records of a review batch.
    Approved,
    /// A person refused the disposal of the records of a review batch.
    ReviewRefused,
    /// A person extended the keeping of the records of a review batch.
    ReviewExtended,
    /// A person took back what was decided about a review batch.
    ReviewWithdrawn,
    /// The first of two people approved what a request for erasure is answered.
    ErasureApproved,
    /// What a request for erasure is answered about one record.
    ErasureDecided,
    /// A run was refused, because its plan exceeds its limits.
    Refused,
    /// A person allowed a plan that exceeds its limits.
    Allowed,
    /// A dataset's records were bound to their classes, or to others than before.
    Bound,
    /// A person confirmed what an edit of schedule or bindings makes due.
    Confirmed,
    /// A person paused a store, or all.
    Paused,
    /// A person lifted a pause.
    Resumed,
    /// The signing key is being changed for the one named.
    KeyRotated,
    /// The pseudonym key of a year is being destroyed: its entries name nobody from then on.
    EpochForgotten,
    /// Bundles of old entries are being moved to another folder.
    Archived,
    /// The service is alive; bounds the time of the checkpoint that follows.
    Heartbeat,
    /// The service stopped in an orderly way.
    Stopped,
}

impl Kind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 37] = [
        Self::Opened,
        Self::Schedule,
        Self::RunStarted,
        Self::Intent,
        Self::Statistics,
        Self::Destroyed,
        Self::Anonymised,
        Self::Attested,
        Self::AttestedBefore,
        Self::Flagged,
        Self::TaskOpened,
        Self::Overdue,
        Self::Lost,
        Self::Absent,
        Self::Kept,
        Self::Failed,
        Self::Recovered,
        Self::RunFinished,
        Self::HoldPlaced,
        Self::HoldReleased,
        Self::Approved,
        Self::ReviewRefused,
        Self::ReviewExtended,
        Self::ReviewWithdrawn,
        Self::ErasureApproved,
        Self::ErasureDecided,
        Self::Refused,
        Self::Allowed,
        Self::Bound,
        Self::Confirmed,
        Self::Paused,
        Self::Resumed,
        Self::KeyRotated,
        Self::EpochForgotten,
        Self::Archived,
        Self::Heartbeat,
        Self::Stopped,
    ];

    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Schedule => "schedule",
            Self::RunStarted => "run-started",
            Self::Intent => "intent",
            Self::Statistics => "statistics",
            Self::Destroyed => "destroyed",
            Self::Anonymised => "anonymised",
            Self::Attested => "attested",
            Self::AttestedBefore => "attested-before",
            Self::Flagged => "flagged",
            Self::TaskOpened => "task-opened",
            Self::Overdue => "overdue",
            Self::Lost => "lost",
            Self::Absent => "absent",
            Self::Kept => "kept",
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::RunFinished => "run-finished",
            Self::HoldPlaced => "hold-placed",
            Self::HoldReleased => "hold-released",
            Self::Approved => "approved",
            Self::ReviewRefused => "review-refused",
            Self::ReviewExtended => "review-extended",
            Self::ReviewWithdrawn => "review-withdrawn",
            Self::ErasureApproved => "erasure-approved",
            Self::ErasureDecided => "erasure-decided",
            Self::Refused => "refused",
            Self::Allowed => "allowed",
            Self::Bound => "bound",
            Self::Confirmed => "confirmed",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::KeyRotated => "key-rotated",
            Self::EpochForgotten => "epoch-forgotten",
            Self::Archived => "archived",
            Self::Heartbeat => "heartbeat",
            Self::Stopped => "stopped",
        }
    }

    /// Whether an entry of this kind says what became of one record of an intent.
    pub fn is_outcome(self) -> bool {
        matches!(self, Self::Destroyed | Self::Anonymised | Self::Attested | Self::Absent | Self::Kept | Self::Failed | Self::Recovered)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
            let found = error::escape(word.as_bytes());
            Error::new(error::Kind::Usage, format!("kind of entry: expected one such as `destroyed` or `hold-placed`, found `{found}`"))
        })
    }
}

/// An entry that has no index, no time and no nonce yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    kind: Kind,
    /// Its first fields.
    stem: Stem,
    /// The bytes behind them: the other fields, each with a comma in front, and the closing brace.
    tail: Vec<u8>,
}

/// Fields that many drafts have in common, written once and kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stem(Arc<[u8]>);

impl Stem {
    /// The fields of `body`, which must serialise to a JSON object.
    ///
    /// Refused with [`error::Kind::Refused`]: a body that is no object.
    pub fn new(body: &impl Serialize) -> Result<Self> {
        Self::default().and(body)
    }

    /// These fields and, behind them, those of `body`. Refused as [`Stem::new`] refuses.
    pub fn and(&self, body: &impl Serialize) -> Result<Self> {
        let mut longer = self.0.to_vec();
        put(&mut longer, body).map_err(|what| Error::new(error::Kind::Refused, format!("fields of audit entries: {what}")))?;
        Ok(Self(longer.into()))
    }

    /// The fields as they stand in an entry, each with a comma in front.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Appends the fields of `body`, each with a comma in front.
fn put(tail: &mut Vec<u8>, body: &impl Serialize) -> std::result::Result<(), String> {
    let begin = tail.len();
    serde_json::to_writer(&mut *tail, body).map_err(|e| format!("the body cannot be written as json: {e}"))?;
    if tail.get(begin) != Some(&b'{') {
        return Err("expected a body that is a json object, found another json value".to_owned());
    }
    tail.pop();
    if tail.len() == begin + 1 {
        tail.truncate(begin);
    } else {
        tail[begin] = b',';
    }
    Ok(())
}

fn refused(kind: Kind, what: &str) -> Error {
    Error::new(error::Kind::Refused, format!("audit entry `{kind}`: {what}"))
}

impl Draft {
    /// Makes a draft of `body`, which must serialise to a JSON object.
    ///
    /// Refused with [`error::Kind::Refused`]: a body that is no object, uses a name twice or one of `n`, `at`, `kind` and `nonce`, or would
    /// make the entry longer than 65,535 bytes.
    pub fn new(kind: Kind, body: &impl Serialize) -> Result<Self> {
        Self::on(&Stem::default(), kind, body)
    }

    /// Makes a draft of the fields of `stem` and, behind them, those of `body`. Refused as [`Draft::new`] refuses.
    pub fn on(stem: &Stem, kind: Kind, body: &impl Serialize) -> Result<Self> {
        let mut tail = Vec::with_capacity(COMMON);
        put(&mut tail, body).map_err(|what| refused(kind, &what))?;
        Self::checked(stem, kind, tail)
    }

    /// Makes a draft of the fields of `stem` and, behind them, those of a body that was written field by field. Refused as [`Draft::new`] refuses.
    pub fn written(stem: &Stem, kind: Kind, body: Body) -> Result<Self> {
        Self::checked(stem, kind, body.into_bytes())
    }

    fn checked(stem: &Stem, kind: Kind, mut tail: Vec<u8>) -> Result<Self> {
        tail.push(b'}');
        let length = (stem.0.len() + tail.len()).max(2);
        if length + MAX_HEAD > MAX_ENTRY {
            let most = MAX_ENTRY - MAX_HEAD;
            return Err(refused(kind, &format!("expected a body of at most {most} bytes, found {length}; split it over several entries")));
        }
        // The names of a body stand in the program's text, so every test run sees a clash; reading each body again would cost more than writing it.
        if cfg!(debug_assertions) {
            let mut whole = [&stem.0, tail.as_slice()].concat();
            whole.splice(..usize::from(whole[0] == b','), [b'{']);
            serde_json::from_slice::<FreeNames>(&whole).map_err(|e| refused(kind, &e.to_string()))?;
        }
        Ok(Self { kind, stem: stem.clone(), tail })
    }

    /// What the entry will say happened.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The greatest length in bytes that the entry can have.
    pub(super) fn max_len(&self) -> usize {
        MAX_HEAD + self.stem.0.len() + self.tail.len()
    }

    /// The fields that it may have in common with others.
    pub(super) fn stem(&self) -> &Stem {
        &self.stem
    }

    /// Appends the entry's final bytes to `out`; answers where in `out` the fields of its stem begin.
    pub(super) fn write(&self, out: &mut Vec<u8>, n: u64, at: &str, nonce: [u8; 16]) -> usize {
        let mut chars = [0; NONCE_CHARS];
        // 16 bytes are 22 characters, always.
        let _ = URL_SAFE_NO_PAD.encode_slice(nonce, &mut chars);
        out.extend_from_slice(b"{\"n\":");
        // Writing to a vector cannot fail.
        let _ = serde_json::to_writer(&mut *out, &n);
        out.extend_from_slice(b",\"at\":\"");
        out.extend_from_slice(at.as_bytes());
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(self.kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"nonce\":\"");
        out.extend_from_slice(&chars);
        out.push(b'"');
        let stem = out.len();
        out.extend_from_slice(&self.stem.0);
        out.extend_from_slice(&self.tail);
        stem
    }
}

/// The log's way to write an instant: UTC, always three digits of a second, so that the order of the texts is the order of the times.
pub(super) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The first four fields of an entry, found without reading the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) n: u64,
    pub(super) at: &'a str,
    pub(super) kind: Kind,
    pub(super) nonce: &'a str,
}

impl<'a> Head<'a> {
    /// Reads the head of an entry, strictly; the words of the failure complete "expected ..., found ...".
    pub(super) fn parse(line: &'a str) -> std::result::Result<Self, String> {
        Self::parse_behind(line, &mut String::new())
    }

    /// [`Head::parse`] behind an entry with the time `before`, which was found to be one: entries of one append have the same.
    pub(super) fn parse_behind(line: &'a str, before: &mut String) -> std::result::Result<Self, String> {
        let rest = line.strip_prefix("{\"n\":").ok_or("expected an entry that begins with `{\"n\":`")?;
        // Each value ends at the first byte that it cannot hold: searching for whole words would cost more than all the rest.
        let up_to = |rest: &'a str, end: u8, next: &str| {
            let (value, rest) = rest.split_at(rest.bytes().position(|byte| byte == end)?);
            Some((value, rest.strip_prefix(next)?))
        };
        let (digits, rest) = up_to(rest, b',', ",\"at\":\"").ok_or("expected `at` as the second field")?;
        let (at, rest) = up_to(rest, b'"', "\",\"kind\":\"").ok_or("expected `kind` as the third field")?;
        let (kind, rest) = up_to(rest, b'"', "\",\"nonce\":\"").ok_or("expected `nonce` as the fourth field")?;
        let (nonce, rest) = up_to(rest, b'"', "\"").ok_or("expected a nonce in quotes")?;
        if !rest.starts_with(['}', ',']) {
            return Err("expected `}` or `,` behind the nonce".to_owned());
        }
        let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let n = digits.parse().ok().filter(|_| canonical).ok_or_else(|| format!("expected a number as `n`, found `{}`", shown(digits)))?;
        if *before != at {
            if !is_stamp(at) {
                return Err(format!("expected `at` like 2026-11-22T01:02:03.123Z, found `{}`", shown(at)));
            }
            at.clone_into(before);
        }
        let kind = Kind::ALL.into_iter().find(|k| k.as_str() == kind).ok_or_else(|| format!("found the unknown kind `{}`", shown(kind)))?;
        let in_alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if nonce.len() != NONCE_CHARS || !nonce.bytes().all(in_alphabet) {
            return Err(format!("expected a nonce of {NONCE_CHARS} characters, found `{}`", shown(nonce)));
        }
        Ok(Self { n, at, kind, nonce })
    }
}

/// A piece of an entry for a message: escaped, and cut to a length that a terminal can bear.
fn shown(text: &str) -> String {
    error::escape(text.chars().take(60).collect::<String>().as_bytes())
}

/// Whether a text is an instant as [`stamp`] writes it.
fn is_stamp(at: &str) -> bool {
    let form = b"0000-00-00T00:00:00.000Z";
    let fits = |(found, form): (u8, &u8)| if *form == b'0' { found.is_ascii_digit() } else { found == *form };
    at.len() == form.len() && at.bytes().zip(form).all(fits) && at.parse::<Timestamp>().is_ok_and(|t| stamp(t) == at)
}

/// An entry as a reader sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The entry's index; the first is 0.
    pub n: u64,
    /// When it was written: UTC, RFC 3339 with three digits of a second. Never earlier than in the entry before.
    pub at: String,
    /// What happened.
    pub kind: Kind,
    /// 128 random bits, base64url.
    pub nonce: String,
    /// The fields of its kind.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Entry {
    /// Reads an entry from its stored bytes; refused with [`error::Kind::NotIntact`] if the writer cannot have written them.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let refuse = |what: &str| Error::new(error::Kind::NotIntact, format!("audit entry: {what}"));
        if bytes.len() > MAX_ENTRY {
            return Err(refuse(&format!("expected at most {MAX_ENTRY} bytes, found {}", bytes.len())));
        }
        let line = std::str::from_utf8(bytes).map_err(|e| refuse(&e.to_string()))?;
        if line.contains('\n') {
            return Err(refuse("expected one line, found a line break"));
        }
        let head = Head::parse(line).map_err(|what| refuse(&what))?;
        let UniqueNames(mut fields) = serde_json::from_str(line).map_err(|e| refuse(&e.to_string()))?;
        for name in RESERVED {
            fields.remove(name);
        }
        Ok(Self { n: head.n, at: head.at.to_owned(), kind: head.kind, nonce: head.nonce.to_owned(), fields })
    }

    /// The instant in `at`; `None` only for an entry that was not read by [`Entry::parse`].
    pub fn time(&self) -> Option<Timestamp> {
        self.at.parse().ok()
    }

    /// A field that is a text.
    pub fn str(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// A field that is a whole number, not negative.
    pub fn u64(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.as_u64()
    }

    /// A field that is true or false.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.fields.get(name)?.as_bool()
    }

    /// The texts of a field that is a list; nothing if it is absent or no list.
    pub fn strs(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
}

/// A name of a field, borrowed where it holds no escape.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object of which no name is reserved or used twice.
struct FreeNames;

impl<'de> Deserialize<'de> for FreeNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = FreeNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a json object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<FreeNames, A::Error> {
                let mut seen: Vec<Cow<'de, str>> = Vec::with_capacity(24);
                while let Some(Name(name)) = map.next_key()? {
                    if RESERVED.contains(&name.as_ref()) {
                        return Err(serde::de::Error::custom(format_args!("the name `{name}` is the writer's own; rename the field")));
                    }
                    if seen.contains(&name) {
                        let name = error::escape(name.as_bytes());
                        return Err(serde::de::Error::custom(format_args!("the name `{name}` is used twice")));
                    }
                    seen.push(name);
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(FreeNames)
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// An object of which no name is used twice, with its values.
struct UniqueNames(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = UniqueNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a json object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<UniqueNames, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.contains_key(&name) {
                        let name = error::escape(name.as_bytes());
                        return Err(serde::de::Error::custom(format_args!("the name `{name}` is used twice")));
                    }
                    fields.insert(name, value);
                }
                Ok(UniqueNames(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn line(n: u64, draft: &Draft) -> String {
        let mut out = Vec::new();
        draft.write(&mut out, n, "2026-11-22T01:02:03.123Z", [7; 16]);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_final_bytes_are_the_head_and_then_the_body() {
        let draft = Draft::new(Kind::Destroyed, &json!({"store": "cctv", "size": 3})).unwrap();
        let head = r#"{"n":12,"at":"2026-11-22T01:02:03.123Z","kind":"destroyed","nonce":"BwcHBwcHBwcHBwcHBwcHBw""#;
        assert_eq!(line(12, &draft), format!(r#"{head},"size":3,"store":"cctv"}}"#));
        let empty = Draft::new(Kind::Heartbeat, &json!({})).unwrap();
        assert!(line(0, &empty).ends_with(r#"BwcHBw"}"#));
    }

    #[test]
    fn every_kind_is_written_read_and_serialised_with_the_same_word() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse::<Kind>().unwrap(), kind);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert!(Kind::ALL.windows(2).all(|pair| pair[0] < pair[1]), "the list must follow the declaration");
        assert!("Destroyed".parse::<Kind>().is_err());
    }

    #[test]
    fn a_body_that_the_log_cannot_hold_is_refused() {
        let cases = [
            (json!([1]), "audit entry `flagged`: expected a body that is a json object, found another json value"),
            (json!({"at": 1}), "audit entry `flagged`: the name `at` is the writer's own; rename the field at line 1 column 5"),
        ];
        for (body, message) in cases {
            assert_eq!(Draft::new(Kind::Flagged, &body).unwrap_err().to_string(), message);
        }
        assert!(Draft::new(Kind::Flagged, &json!({"inner": {"at": 1, "n": 2}})).is_ok());
    }

    #[test]
    fn the_longest_body_fits_and_one_byte_more_is_refused() {
        let most = MAX_ENTRY - MAX_HEAD - r#"{"x":""}"#.len();
        let draft = Draft::new(Kind::HoldReleased, &json!({"x": "a".repeat(most)})).unwrap();
        assert!(line(u64::MAX, &draft).len() <= MAX_ENTRY);
        let error = Draft::new(Kind::HoldReleased, &json!({"x": "a".repeat(most + 1)})).unwrap_err();
        assert!(error.to_string().ends_with("found 65344; split it over several entries"), "{error}");
    }

    #[test]
    fn what_the_writer_cannot_have_written_is_not_an_entry() {
        let good = line(12, &Draft::new(Kind::Kept, &json!({"why": "held"})).unwrap());
        assert_eq!(Entry::parse(good.as_bytes()).unwrap().str("why"), Some("held"));
        let broken = [
            good.replace("12", "012"),
            good.replace("12,", "-12,"),
            good.replace("123Z", "123+01:00"),
            good.replace("-11-22T", "-13-22T"),
            good.replace("03.123Z", "60.123Z"),
            good.replace("kept", "Kept"),
            good.replace("BwcHBwcHBwcHBwcHBwcHBw", "BwcHBwcHBwcHBwcHBwcHB"),
            good.replace("BwcHBwcHBwcHBwcHBwcHBw", "BwcHBwcHBwcHBwcHBwcHB+"),
            good.replace(r#""why":"held""#, r#""why":"held","why":"no""#),
            good.replace(r#""why""#, r#""n""#),
            good.replace(r#","why""#, ",\n\"why\""),
            format!("{good} x"),
            good[..good.len() - 1].to_owned(),
        ];
        for line in broken {
            assert!(Entry::parse(line.as_bytes()).is_err(), "{line}");
        }
        let mut bytes = good.into_bytes();
        let last = bytes.len() - 3;
        bytes[last] = 0xff;
        assert!(Entry::parse(&bytes).is_err());
    }

    #[test]
    fn a_time_is_cut_to_milliseconds_and_never_rounded_up() {
        let at: Timestamp = "2026-12-31T23:59:59.999999999Z".parse().unwrap();
        assert_eq!(stamp(at), "2026-12-31T23:59:59.999Z");
        assert_eq!(stamp("2026-01-02T03:04:05Z".parse().unwrap()), "2026-01-02T03:04:05.000Z");
    }

    proptest! {
        #[test]
        fn any_body_comes_back_as_it_was(name in "[a-z_]{5,9}", text in any::<String>(), number in any::<u64>(), n in any::<u64>()) {
            let body = json!({name.clone(): text, "count": number});
            let draft = Draft::new(Kind::Approved, &body).unwrap();
            let entry = Entry::parse(line(n, &draft).as_bytes()).unwrap();
            prop_assert_eq!(entry.n, n);
            prop_assert_eq!(Value::Object(entry.fields), body);
        }
    }
}
