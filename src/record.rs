//! A record as the pipeline sees it: where it is, what is known of its events, and what tells whether it changed.
//!
//! Nothing here knows what kind of store a record lives in. A store *reads* (it turns a column, a file's time, a captured part of a path into
//! a [`Reading`]); the pipeline *judges*. A reading that cannot be told is a [`Doubt`], and doubt keeps the record.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::error::escape;

/// The key of a record within its dataset: a relative path, a primary key. Bytes, because file names are. The number of a row needs no allocation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(SmallVec<[u8; 16]>);

/// Where a record is: `store/dataset:key`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The store's name in the configuration.
    pub store: String,
    /// The dataset's name within the store.
    pub dataset: String,
    /// The record's key within the dataset.
    pub key: Key,
}

/// A point in time as a store gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A calendar date, taken as it is.
    Date(Date),
    /// An instant, whose calendar date depends on the schedule's zone.
    Instant(Timestamp),
}

/// What a store read about one event of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The event happened then.
    At(Moment),
    /// The store says by a null that the event has not happened yet.
    NotYet,
    /// The date lives in another dataset; this is the value to look it up by (`None` when the record has none).
    Elsewhere(Option<SmolStr>),
    /// It cannot be told.
    Doubt(Doubt),
}

/// Why something cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The place where the date should stand does not exist (no sidecar, no row).
    Missing(String),
    /// Something stands there that is not a date of the declared form.
    Unparsable(String),
    /// A timestamp without zone, and no zone is declared.
    NoZone(String),
    /// The date lies in the future.
    Future(Date),
    /// The look-up itself failed.
    Failed(String),
}

/// The readings of one record. Mostly there is one, which then costs no allocation: a scan makes a record for every file and row.
pub type Readings = SmallVec<[Reading; 1]>;

/// A record's fingerprint; that of a file needs no allocation.
pub type Fingerprint = SmallVec<[u8; 72]>;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key within the dataset.
    pub key: Key,
    /// For datasets with `class-by`: the value that picks the class (`None`: the record has none). Texts of up to 23 bytes need no allocation.
    pub class_value: Option<SmolStr>,
    /// One reading for each event of the dataset, in the dataset's order.
    pub readings: Readings,
    /// The person, tenancy or camera that the record is about, if the dataset names one.
    pub subject: Option<SmolStr>,
    /// Size in bytes, as far as the store knows it; 0 otherwise.
    pub size: u64,
    /// What only the store understands and what changes whenever the record does: the record is removed only while this is the same.
    pub fingerprint: Fingerprint,
    /// Where the store found it, as only the store understands, so that it finds it again sooner; 0 where that is of no use. It may be wrong by now, and
    /// decides nothing.
    pub hint: u64,
}

impl Key {
    /// A key from bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(SmallVec::from_slice(bytes.as_ref()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as one printable word: bytes that are not UTF-8, `%` and control characters are percent-encoded. [`Key::parse`] reads it back.
    pub fn to_text(&self) -> String {
        use fmt::Write;
        let mut out = String::with_capacity(self.0.len());
        // Writing to a String cannot fail.
        let encode = |out: &mut String, byte: u8| write!(out, "%{byte:02X}").unwrap_or_default();
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || c == '%' {
                    let mut buffer = [0; 4];
                    c.encode_utf8(&mut buffer).bytes().for_each(|byte| encode(&mut out, byte));
                } else {
                    out.push(c);
                }
            }
            chunk.invalid().iter().for_each(|byte| encode(&mut out, *byte));
        }
        out
    }

    /// Reads a key as [`Key::to_text`] writes it. A `%` that is not followed by two hexadecimal digits stands for itself.
    pub fn parse(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let code = bytes
                .get(at + 1..at + 3)
                .and_then(|pair| std::str::from_utf8(pair).ok())
                .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
            match (bytes[at], code.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
                (b'%', Some(byte)) => {
                    out.push(byte);
                    at += 3;
                }
                (byte, _) => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        Self::new(out)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(self.to_text().as_bytes()))
    }
}

impl Address {
    /// Parses `store/dataset:key`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(place, key)| place.split_once('/').map(|(store, dataset)| (store, dataset, key)));
        match parts {
            Some((store, dataset, key)) if !store.is_empty() && !dataset.is_empty() && !key.is_empty() => {
                Ok(Self { store: store.to_owned(), dataset: dataset.to_owned(), key: Key::parse(key) })
            }
            _ => Err(format!("expected an address such as housing/applicants:1234, found \"{}\"", escape(text.as_bytes()))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.store, self.dataset, self.key)
    }
}

impl Moment {
    /// The calendar date of this moment in a zone.
    pub fn date_in(self, zone: &TimeZone) -> Date {
        match self {
            Self::Date(date) => date,
            Self::Instant(instant) => zone.to_datetime(instant).date(),
        }
    }
}

impl Doubt {
    /// The kind of doubt, without the value that was found.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing(_) => "the date is missing",
            Self::Unparsable(_) => "not a date of the declared form",
            Self::NoZone(_) => "a timestamp without time zone, and none is declared",
            Self::Future(_) => "lies in the future",
            Self::Failed(_) => "the look-up failed",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "{what} is missing"),
            Self::Unparsable(found) => write!(f, "not a date of the declared form: {}", escape(found.as_bytes())),
            Self::NoZone(found) => write!(f, "a timestamp without time zone, and none is declared: {}", escape(found.as_bytes())),
            Self::Future(date) => write!(f, "{date} lies in the future"),
            Self::Failed(why) => write!(f, "the look-up failed: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_as_it_is_written() {
        let address = Address::parse("cctv/footage:cam-07/2026-10-01/0412.mp4").unwrap();
        assert_eq!((address.store.as_str(), address.dataset.as_str()), ("cctv", "footage"));
        assert_eq!(address.to_string(), "cctv/footage:cam-07/2026-10-01/0412.mp4");
        assert!(Address::parse("cctv:footage").is_err());
        assert!(Address::parse("cctv/footage:").is_err());
    }

    proptest::proptest! {
        #[test]
        fn every_key_survives_its_text(bytes: Vec<u8>) {
            let key = Key::new(bytes);
            proptest::prop_assert_eq!(Key::parse(&key.to_text()), key);
        }
    }
}
