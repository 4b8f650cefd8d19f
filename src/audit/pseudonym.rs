//! Pseudonyms: how the log names a record or a person without saying who it is.
//!
//! A pseudonym is `<epoch>:` and the base64url of HMAC-SHA-256 under the key of the epoch, a calendar year. Whoever holds the key can answer
//! "was record X destroyed?" by computing X's pseudonym; whoever does not can learn nothing. Destroying the key of a year makes that year's
//! entries anonymous without touching a hash of the log.
//!
//! The message is the store, the dataset and the record's key, each with its length (u64, little-endian) in front, so that no two triples
//! give the same message. Subjects are told apart from records by a length in front that no store's name can have.
//!
//! Keys are 32 random bytes in `STATE/keys/pseudonym/<YEAR>.key`, readable by their owner only, made whole or not at all and never written
//! over, but for [`destroy`]: that is done only after the log has an entry that says so. A dataset whose keys are not personal is named by [`plain_record`] instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::secret::{self, shown};
use crate::error::{self, Error, Result};

/// Length of an epoch's key in bytes: the output of the hash, more adds nothing.
const KEY_BYTES: usize = 32;

/// Length in characters of a pseudonym behind its year: 256 bits in base64 without padding.
const CHARS: usize = 43;

/// Stands where a record's message has the length of the store's name.
const SUBJECT: u64 = u64::MAX;

/// The pseudonym keys of every epoch that still has one.
#[derive(Debug)]
pub struct Pseudonyms {
    folder: PathBuf,
    epochs: BTreeMap<i16, Arc<EpochKey>>,
}

impl Pseudonyms {
    /// Loads the keys in `pseudonym/` under the folder `keys_dir`; a folder that does not exist holds none.
    ///
    /// A key that others can read is [`error::Kind::Refused`]; one of another length, or a file that is no key, is [`error::Kind::Io`].
    pub fn open(keys_dir: &Path) -> Result<Self> {
        let folder = keys_dir.join("pseudonym");
        let mut epochs = BTreeMap::new();
        let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be read", shown(&folder)), e);
        let files = match fs::read_dir(&folder) {
            Ok(files) => files,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self { folder, epochs }),
            Err(e) => return Err(fail(e)),
        };
        for file in files {
            let path = file.map_err(fail)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".key.new") {
                continue;
            }
            let year = name.strip_suffix(".key").and_then(|stem| stem.parse().ok()).filter(|year| *name == file_name(*year));
            let Some(year) = year else {
                let message = format!("{}: expected key files such as 2026.key only; move this file elsewhere", shown(&path));
                return Err(Error::new(error::Kind::Io, message));
            };
            // A key destroyed since the folder was listed is gone, and that is all.
            if let Some(secret) = secret::read(&path)? {
                epochs.insert(year, Arc::new(EpochKey::from_file(year, &path, &secret)?));
            }
        }
        Ok(Self { folder, epochs })
    }

    /// The key of the year `year`, made durable now if there is none.
    pub fn create_epoch(&mut self, year: i16) -> Result<Arc<EpochKey>> {
        if let Some(key) = self.epochs.get(&year) {
            return Ok(Arc::clone(key));
        }
        let mut secret = [0; KEY_BYTES];
        getrandom::fill(&mut secret).map_err(|e| Error::with_source(error::Kind::Io, "random numbers: none to be had", e))?;
        secret::create_folder(&self.folder)?;
        let path = self.folder.join(file_name(year));
        secret::create(&path, &secret, 0o600)?;
        let key = Arc::new(EpochKey::from_file(year, &path, &secret)?);
        self.epochs.insert(year, Arc::clone(&key));
        Ok(key)
    }

    /// The years that have a key, oldest first.
    pub fn years(&self) -> impl Iterator<Item = i16> {
        self.epochs.keys().copied()
    }

    /// The key of the year `year`, if it was made and not destroyed.
    pub fn epoch(&self, year: i16) -> Option<Arc<EpochKey>> {
        self.epochs.get(&year).cloned()
    }

    /// Every name that the log may have given a record: one an epoch, oldest first, then the plain one.
    pub fn all_for(&self, store: &str, dataset: &str, key: &[u8]) -> Vec<String> {
        let mut names: Vec<String> = self.epochs.values().map(|epoch| epoch.record(store, dataset, key)).collect();
        names.push(plain_record(key));
        names
    }

    /// Every name that the log may have given a subject: one an epoch, oldest first, then the plain one.
    pub fn all_for_subject(&self, subject: &[u8]) -> Vec<String> {
        let mut names: Vec<String> = self.epochs.values().map(|epoch| epoch.subject(subject)).collect();
        names.push(plain_record(subject));
        names
    }
}

/// Destroys the key of the year `year` in `pseudonym/` under the folder `keys_dir`; one that is not there is fine.
pub(super) fn destroy(keys_dir: &Path, year: i16) -> Result<()> {
    secret::destroy(&keys_dir.join("pseudonym").join(file_name(year)))
}

/// The name of the file that holds the key of a year.
fn file_name(year: i16) -> String {
    format!("{year:04}.key")
}

/// The pseudonym key of one year.
pub struct EpochKey {
    year: i16,
    /// What every pseudonym of the year begins with.
    prefix: String,
    /// The HMAC with the key taken in and no message yet; copied for each pseudonym.
    keyed: Hmac<Sha256>,
}

impl EpochKey {
    fn from_file(year: i16, path: &Path, secret: &[u8]) -> Result<Self> {
        let keyed = Hmac::new_from_slice(secret).ok().filter(|_| secret.len() == KEY_BYTES).ok_or_else(|| {
            let found = secret.len();
            let message = format!("{}: expected a key of {KEY_BYTES} bytes, found {found}; restore it from a backup", shown(path));
            Error::new(error::Kind::Io, message)
        })?;
        Ok(Self { year, prefix: format!("{year:04}:"), keyed })
    }

    /// The year that the key belongs to.
    pub fn year(&self) -> i16 {
        self.year
    }

    /// The pseudonym of a record, such as `2026:` and 43 characters.
    pub fn record(&self, store: &str, dataset: &str, key: &[u8]) -> String {
        self.name(&self.record_bytes(store, dataset, key))
    }

    /// Appends the pseudonym of a record.
    pub fn write_record(&self, names: &mut String, store: &str, dataset: &str, key: &[u8]) {
        self.write_name(names, &self.record_bytes(store, dataset, key));
    }

    /// The bytes that the pseudonym of a record writes down; [`EpochKey::name`] makes it of them.
    pub fn record_bytes(&self, store: &str, dataset: &str, key: &[u8]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        for part in [store.as_bytes(), dataset.as_bytes(), key] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// The pseudonym of a person or tenancy; the same bytes as a record's key give another pseudonym.
    pub fn subject(&self, subject: &[u8]) -> String {
        let mut mac = self.keyed.clone();
        mac.update(&SUBJECT.to_le_bytes());
        mac.update(&(subject.len() as u64).to_le_bytes());
        mac.update(subject);
        self.name(&mac.finalize().into_bytes().into())
    }

    /// The bytes that [`EpochKey::record_bytes`] gives for a record which the log calls by this name; `None` for a name of another year.
    pub fn bytes_of(&self, store: &str, dataset: &str, name: &str) -> Option<[u8; 32]> {
        if let Some(key) = plain_key(name) {
            return Some(self.record_bytes(store, dataset, &key));
        }
        let (year, rest) = name.split_once(':')?;
        let bytes = URL_SAFE_NO_PAD.decode(rest).ok().filter(|_| year.parse() == Ok(self.year))?;
        bytes.try_into().ok()
    }

    /// The pseudonym with these bytes.
    pub fn name(&self, bytes: &[u8; 32]) -> String {
        let mut name = String::with_capacity(self.prefix.len() + CHARS);
        self.write_name(&mut name, bytes);
        name
    }

    fn write_name(&self, names: &mut String, bytes: &[u8; 32]) {
        let mut chars = [0; CHARS];
        // 32 bytes are 43 characters, always, and all of them ASCII.
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut chars);
        debug_assert_eq!(written, Ok(CHARS));
        names.push_str(&self.prefix);
        names.push_str(std::str::from_utf8(&chars).unwrap_or_default());
    }
}

impl std::fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EpochKey").field("year", &self.year).finish_non_exhaustive()
    }
}

/// The name of a record whose key is not personal: `plain:` and the key.
///
/// Bytes that are not UTF-8, control characters and `%` itself are percent-encoded, so that two keys never have one name.
pub fn plain_record(key: &[u8]) -> String {
    let mut name = String::with_capacity(6 + key.len());
    write_plain_record(&mut name, key);
    name
}

/// Appends what [`plain_record`] answers.
pub fn write_plain_record(name: &mut String, key: &[u8]) {
    name.push_str("plain:");
    let encode = |name: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(name, "%{byte:02X}");
        }
    };
    for chunk in key.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c.is_control() {
                encode(name, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                name.push(c);
            }
        }
        encode(name, chunk.invalid());
    }
}

/// The key that [`plain_record`] made this name of.
fn plain_key(name: &str) -> Option<Vec<u8>> {
    let mut rest = name.strip_prefix("plain:")?;
    let mut key = Vec::with_capacity(rest.len());
    while let Some(at) = rest.find('%') {
        key.extend_from_slice(&rest.as_bytes()[..at]);
        key.push(u8::from_str_radix(rest.get(at + 1..at + 3)?, 16).ok()?);
        rest = &rest[at + 3..];
    }
    key.extend_from_slice(rest.as_bytes());
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(year: i16, fill: u8) -> EpochKey {
        EpochKey::from_file(year, Path::new("test.key"), &[fill; KEY_BYTES]).unwrap()
    }

    #[test]
    fn a_pseudonym_is_the_hmac_that_anyone_with_the_key_can_compute() {
        // python3: hmac.new(b"\x01"*32, b"".join(struct.pack("<Q",len(p))+p for p in (b"cctv",b"footage",b"cam-07")), "sha256")
        assert_eq!(key(2026, 1).record("cctv", "footage", b"cam-07"), "2026:yM-8cx1dcRFudenZsp3OnD9T2fnFaEnjckOunXCXLKY");
        let mut names = "before,".to_owned();
        key(2026, 1).write_record(&mut names, "cctv", "footage", b"cam-07");
        assert_eq!(names, "before,2026:yM-8cx1dcRFudenZsp3OnD9T2fnFaEnjckOunXCXLKY");
        assert_eq!(key(-7, 1).name(&[0; 32]), format!("-007:{}", "A".repeat(43)));
        // the same with struct.pack("<QQ", 2**64-1, 6) + b"cam-07"
        assert_eq!(key(2026, 1).subject(b"cam-07"), "2026:vw2-OnZ_ArTaeTNeZ2s5lCpMQJM_U9wOLp9uNYZtgOE");
    }

    #[test]
    fn a_name_in_the_log_gives_back_the_bytes_of_its_year() {
        let (this, next) = (key(2026, 1), key(2027, 2));
        for record in [&b"cam-07"[..], b"100%/25%2", b"a\nb\xff", b"2026:x", "Gr\u{f6}\u{df}e".as_bytes(), b""] {
            let bytes = Some(this.record_bytes("s", "d", record));
            assert_eq!(this.bytes_of("s", "d", &this.record("s", "d", record)), bytes);
            assert_eq!(this.bytes_of("s", "d", &plain_record(record)), bytes);
            assert_eq!(next.bytes_of("s", "d", &this.record("s", "d", record)), None);
        }
        for name in ["plain:%", "plain:%4", "plain:%zz", "2026:short", "2026", ""] {
            assert_eq!(this.bytes_of("s", "d", name), None, "{name}");
        }
    }

    #[test]
    fn stores_datasets_keys_subjects_and_years_do_not_share_pseudonyms() {
        let (this, next) = (key(2026, 1), key(2027, 2));
        let names = [
            this.record("ab", "c", b"d"),
            this.record("a", "bc", b"d"),
            this.record("a", "b", b"cd"),
            this.record("", "", b"d"),
            this.subject(b"d"),
            next.record("ab", "c", b"d"),
        ];
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name}");
        }
    }

    #[test]
    fn keys_survive_reopening_and_a_destroyed_year_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Pseudonyms::open(dir.path()).unwrap();
        assert!(first.epoch(2026).is_none());
        let name = first.create_epoch(2026).unwrap().record("s", "d", b"k");
        assert_eq!(first.create_epoch(2026).unwrap().record("s", "d", b"k"), name);
        first.create_epoch(2027).unwrap();

        let again = Pseudonyms::open(dir.path()).unwrap();
        let all = again.all_for("s", "d", b"k");
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].as_str(), all[2].as_str()), (name.as_str(), "plain:k"));
        assert_eq!(again.all_for_subject(b"k").len(), 3);

        fs::remove_file(dir.path().join("pseudonym/2026.key")).unwrap();
        assert!(Pseudonyms::open(dir.path()).unwrap().epoch(2026).is_none());
    }

    #[test]
    fn a_key_of_the_wrong_length_and_a_stray_file_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        Pseudonyms::open(dir.path()).unwrap().create_epoch(2026).unwrap();
        secret::create(&dir.path().join("pseudonym/2027.key"), b"short", 0o600).unwrap();
        let error = Pseudonyms::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("2027.key: expected a key of 32 bytes, found 5"), "{error}");
        fs::rename(dir.path().join("pseudonym/2027.key"), dir.path().join("pseudonym/27.key")).unwrap();
        let error = Pseudonyms::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("27.key: expected key files such as 2026.key only"), "{error}");
    }

    #[test]
    fn a_key_is_never_shown_by_debug() {
        assert_eq!(format!("{:?}", key(2026, 0x41)), "EpochKey { year: 2026, .. }");
    }

    #[test]
    fn a_plain_key_keeps_its_letters_and_loses_what_could_break_a_line() {
        assert_eq!(plain_record("cam-07/Stra\u{df}e.mp4".as_bytes()), "plain:cam-07/Stra\u{df}e.mp4");
        assert_eq!(plain_record(b"50%\n\xff\xc3"), "plain:50%25%0A%FF%C3");
        assert_eq!(plain_record("\u{85}".as_bytes()), "plain:%C2%85");
    }

    proptest! {
        #[test]
        fn two_plain_keys_never_have_one_name(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            let decoded = |name: &str| {
                let (mut out, bytes) = (Vec::new(), &name.as_bytes()[6..]);
                let mut i = 0;
                while i < bytes.len() {
                    if bytes[i] == b'%' {
                        out.push(u8::from_str_radix(std::str::from_utf8(&bytes[i + 1..i + 3]).unwrap(), 16).unwrap());
                        i += 3;
                    } else {
                        out.push(bytes[i]);
                        i += 1;
                    }
                }
                out
            };
            prop_assert_eq!(decoded(&plain_record(&a)), a.clone());
            prop_assert_eq!(plain_record(&a) == plain_record(&b), a == b);
        }
    }
}
