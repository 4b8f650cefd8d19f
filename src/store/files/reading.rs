//! What a record says: its events, its subject, its class.
//!
//! A date is read only where the store is sure of it. A missing sidecar, a field that is no date, an impossible date in a path, a timestamp
//! without zone, a file system that keeps no creation time: each is a doubt, which keeps the record and is reported. A sidecar's `null` says that
//! the event has not happened yet. Sidecars are read with the same care as records are opened: never through a symlink, never a pipe.

use std::io::Read;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use smol_str::SmolStr;

use super::dataset::{Dataset, Sidecar, Source};
use super::pattern::Captured;
use super::root::{Facts, instant, open_file, words};
use crate::record::{Doubt, Fingerprint, Key, Moment, Reading, Readings, Record};

/// Largest sidecar that is read. Metadata of one recording is a few kilobytes.
const LARGEST_SIDECAR: u64 = 1 << 20;

/// The times and the size of a record: of a file, or of everything inside a directory.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// Last write.
    pub mtime: (i64, u32),
    /// Creation.
    pub btime: Option<(i64, u32)>,
    /// Size in bytes.
    pub size: u64,
    /// Why nothing may be believed about it, if so.
    pub doubt: Option<&'static str>,
}

impl Body {
    /// The body of a plain file.
    pub fn of(facts: &Facts) -> Self {
        Self { mtime: facts.mtime, btime: facts.btime, size: facts.size, doubt: None }
    }
}

/// A whole record. `dir` is the open directory in which `name` stands.
pub fn record(dataset: &Dataset, key: Key, dir: impl AsFd, name: &[u8], captured: &Captured, body: &Body, fingerprint: &[u8]) -> Record {
    let readings = dataset.events.iter().map(|(_, source)| read(source, &dir, name, captured, body)).collect();
    assemble(dataset, key, captured, readings, body.size, fingerprint)
}

/// A record of which nothing can be told but that it may be there.
pub fn in_doubt(dataset: &Dataset, key: &[u8], why: &str) -> Record {
    let readings = dataset.events.iter().map(|_| Reading::Doubt(Doubt::Failed(why.to_owned()))).collect();
    let captured = if dataset.pattern.matches(key) { dataset.pattern.capture(key) } else { dataset.pattern.nothing() };
    assemble(dataset, Key::new(key), &captured, readings, 0, &[])
}

fn assemble(dataset: &Dataset, key: Key, captured: &Captured, readings: Readings, size: u64, fingerprint: &[u8]) -> Record {
    let text = |index: Option<usize>| Some(text(captured.plain[index?].as_deref()?));
    Record {
        key,
        class_value: text(dataset.class_by),
        readings,
        subject: text(dataset.subject),
        size,
        fingerprint: Fingerprint::from_slice(fingerprint),
        hint: 0,
    }
}

/// A captured name as text; what is not UTF-8 is written as keys are.
fn text(bytes: &[u8]) -> SmolStr {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => Key::new(bytes).to_text().into(),
    }
}

/// One event.
pub fn read(source: &Source, dir: impl AsFd, name: &[u8], captured: &Captured, body: &Body) -> Reading {
    if let Some(why) = body.doubt {
        return Reading::Doubt(Doubt::Failed(why.into()));
    }
    match source {
        Source::Path(index) => match captured.dates[*index].date() {
            Some(Ok(date)) => Reading::At(Moment::Date(date)),
            Some(Err(found)) => Reading::Doubt(Doubt::Unparsable(found)),
            None => Reading::Doubt(Doubt::Missing("the date in the path".into())),
        },
        Source::Modified => at(body.mtime),
        Source::Created => {
            body.btime.map_or_else(|| Reading::Doubt(Doubt::Missing("the creation time, which this file system does not keep,".into())), at)
        }
        Source::Sidecar(sidecar) => sidecar.read(dir, name),
        Source::Elsewhere(index) => match captured.plain[*index].as_deref().map(std::str::from_utf8) {
            Some(Ok(value)) => Reading::Elsewhere(Some(value.into())),
            Some(Err(_)) => Reading::Doubt(Doubt::Failed("the value in the path is not UTF-8, so it cannot be looked up".into())),
            None => Reading::Elsewhere(None),
        },
    }
}

fn at(time: (i64, u32)) -> Reading {
    match instant(time) {
        Some(instant) => Reading::At(Moment::Instant(instant)),
        None => Reading::Doubt(Doubt::Unparsable(format!("{} seconds since 1970", time.0))),
    }
}

impl Sidecar {
    fn read(&self, dir: impl AsFd, name: &[u8]) -> Reading {
        let doubt = |doubt| Reading::Doubt(doubt);
        let Some(file) = self.template.of(name) else {
            return doubt(Doubt::Missing("a sidecar of another name than the record".into()));
        };
        let bytes = match contents(dir, &file) {
            Ok(bytes) => bytes,
            Err(Trouble::Missing) => return doubt(Doubt::Missing("the sidecar".into())),
            Err(Trouble::Other(why)) => return doubt(Doubt::Failed(format!("the sidecar {why}"))),
        };
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
            return doubt(Doubt::Failed("the sidecar is not JSON".into()));
        };
        let mut value = &json;
        for field in &self.field {
            match value.get(field) {
                Some(inner) => value = inner,
                None => return doubt(Doubt::Missing(format!("the field {} of the sidecar", self.field.join(".")))),
            }
        }
        match value {
            serde_json::Value::Null => Reading::NotYet,
            serde_json::Value::String(text) => moment(text, self.zone.as_ref()),
            other => doubt(Doubt::Unparsable(shortened(&other.to_string()))),
        }
    }
}

enum Trouble {
    Missing,
    Other(String),
}

fn contents(dir: impl AsFd, name: &[u8]) -> Result<Vec<u8>, Trouble> {
    let fd = match open_file(dir, name, OFlags::RDONLY) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Err(Trouble::Missing),
        Err(Errno::LOOP) => return Err(Trouble::Other("is a symlink, which is not followed".into())),
        Err(error) => return Err(Trouble::Other(format!("cannot be opened: {}", words(error)))),
    };
    match Facts::of_handle(&fd) {
        Ok(facts) if !facts.is_file() => return Err(Trouble::Other("is not a regular file".into())),
        Ok(facts) if facts.size > LARGEST_SIDECAR => return Err(Trouble::Other(format!("is larger than {LARGEST_SIDECAR} bytes"))),
        Ok(_) => {}
        Err(error) => return Err(Trouble::Other(format!("cannot be read: {}", words(error)))),
    }
    let mut bytes = Vec::new();
    match std::fs::File::from(fd).take(LARGEST_SIDECAR).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Trouble::Other(format!("cannot be read: {error}"))),
    }
}

/// A date, an instant, or a local time in the declared zone. Of an hour that comes twice the later one counts.
fn moment(text: &str, zone: Option<&TimeZone>) -> Reading {
    let unparsable = || Reading::Doubt(Doubt::Unparsable(shortened(text)));
    // The calendar library would take a date out of a longer text; here a date is ten characters.
    if text.len() == 10 {
        return text.parse::<Date>().map_or_else(|_| unparsable(), |date| Reading::At(Moment::Date(date)));
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Reading::At(Moment::Instant(instant));
    }
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Reading::At(Moment::Instant(zoned.timestamp()));
    }
    match (text.parse::<DateTime>(), zone) {
        (Ok(_), None) => Reading::Doubt(Doubt::NoZone(shortened(text))),
        (Ok(local), Some(zone)) if text.contains(':') => match zone.to_ambiguous_timestamp(local).later() {
            Ok(instant) => Reading::At(Moment::Instant(instant)),
            Err(_) => unparsable(),
        },
        _ => unparsable(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_sidecar_date_is_believed_only_in_a_form_that_has_one_meaning() {
        let london = TimeZone::get("Europe/London").unwrap();
        let instant = |text: &str| Reading::At(Moment::Instant(text.parse().unwrap()));
        assert_eq!(moment("2026-10-01", None), Reading::At(Moment::Date(date(2026, 10, 1))));
        assert_eq!(moment("2026-10-01T09:00:00+01:00", None), instant("2026-10-01T08:00:00Z"));
        assert_eq!(moment("2026-10-01T09:00:00[Europe/London]", None), instant("2026-10-01T08:00:00Z"));
        assert_eq!(moment("2026-10-01 09:00:00", Some(&london)), instant("2026-10-01T08:00:00Z"));
        assert_eq!(moment("2026-10-25T01:30:00", Some(&london)), instant("2026-10-25T01:30:00Z"), "of an hour that comes twice, the later");
        assert!(matches!(moment("2026-10-01 09:00:00", None), Reading::Doubt(Doubt::NoZone(_))));
        for text in ["", "2026-02-31", "2026-02-31T00:00:00Z", "01/10/2026", "20261001", "1761955200", "yesterday", "2026-10-01x"] {
            assert!(
                matches!(moment(text, Some(&london)), Reading::Doubt(Doubt::Unparsable(_))),
                "{text}: {:?}",
                moment(text, Some(&london))
            );
        }
    }
}
