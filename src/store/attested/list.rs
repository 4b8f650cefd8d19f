//! A list of records in a CSV file, as spreadsheets save it.
//!
//! The first line names the columns; every other line is a record. The file is read from its beginning to its end each time, as text in UTF-8 (a mark
//! at its beginning is fine) with quotes as RFC 4180 has them. An empty field is one without a value: of an event it says that it has not happened.
//!
//! Nothing is guessed. A line with another number of fields, or without a key, ends the reading: what was seen is then incomplete, and nothing is
//! planned from it. A key that stands in two lines is told by `check`, keeps the dataset from running, and is answered with "unknown". A file that
//! changed while it was read is read as incomplete, for whoever saved it may have been half done.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use csv::{ByteRecord, Reader, ReaderBuilder};
use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;
use tokio::sync::mpsc;

use crate::dispose::Permit;
use crate::error::{Error, Kind, Result, escape};
use crate::finding::Finding;
use crate::record::{Doubt, Fingerprint, Key, Moment, Reading, Record};
use crate::schedule::EventName;
use crate::store::sql::value::{Seen, key_of};
use crate::store::sql::when::When;
use crate::store::{Configure, DatasetHead, EventPlace, Fate, Found, Guard, MESSAGE, Order, Query, Scanned, Store, StoreHead};
use crate::yaml::{Fields, Mark, Node, Problems, resolve};

/// Keys that are held at once while looking for one that stands twice: 30 MB. Longer lists are read several times.
const HELD: u64 = 1 << 20;

/// A CSV file and its dataset.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    name: String,
    path: PathBuf,
    separator: u8,
    dataset: Option<Dataset>,
}

/// How the lines are records.
#[derive(Clone, Debug)]
struct Dataset {
    name: String,
    key: Vec<String>,
    events: Vec<(EventName, Source)>,
    subject: Option<String>,
    class_by: Option<String>,
}

/// Where the date of an event is.
#[derive(Clone, Debug)]
enum Source {
    Column(String, When),
    Elsewhere(String),
}

/// The columns of a dataset by their places in the file.
struct Columns {
    key: Vec<usize>,
    events: Vec<usize>,
    subject: Option<usize>,
    class_by: Option<usize>,
}

/// The file, open, and what it was like before anything of it was read.
struct Open {
    reader: Reader<BufReader<File>>,
    header: Vec<String>,
    before: (u64, i64, i64),
}

struct Configuring(Listing);

impl Listing {
    pub(super) fn configure(
        head: &StoreHead<'_>,
        place: &Node,
        fields: &mut Fields<'_>,
        problems: &mut Problems,
    ) -> Option<Box<dyn Configure>> {
        let path = resolve(head.base, place.text("the path of a CSV file", problems)?);
        let separator = fields.take("separator").map_or(Some(b','), |node| {
            let text = node.text("the character between two fields, such as \";\"", problems)?;
            if let [one] = text.as_bytes()
                && !matches!(one, b'"' | b'\n' | b'\r')
                && one.is_ascii()
            {
                return Some(*one);
            }
            problems.add(node.mark, format!("expected one character, such as \";\", found \"{}\"", escape(text.as_bytes())));
            None
        })?;
        Some(Box::new(Configuring(Self { name: head.name.to_owned(), path, separator, dataset: None })))
    }

    fn shown(&self) -> String {
        escape(self.path.as_os_str().as_encoded_bytes())
    }

    fn dataset(&self, name: &str) -> Result<&Dataset> {
        let unknown = || Error::new(Kind::Store, format!("{}: there is no dataset \"{}\"", self.name, escape(name.as_bytes())));
        self.dataset.as_ref().filter(|dataset| dataset.name == name).ok_or_else(unknown)
    }

    fn open(&self) -> std::result::Result<Open, String> {
        let fail = |what: &dyn std::fmt::Display| format!("{}: {what}", self.shown());
        let file = File::open(&self.path).map_err(|error| fail(&format!("cannot be read: {error}")))?;
        let before = look(&file).map_err(|error| fail(&error))?;
        let mut reader = ReaderBuilder::new().delimiter(self.separator).from_reader(BufReader::new(file));
        let header = reader.byte_headers().map_err(|error| fail(&told(&error)))?;
        let header: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        Ok(Open { reader, header, before })
    }

    /// Reads every line, as long as `take` wants more. Answers whether the whole file was read; the error says why it could not be.
    fn each(&self, dataset: &Dataset, take: &mut dyn FnMut(Record) -> bool) -> std::result::Result<bool, String> {
        let mut open = self.open()?;
        let fail = |what: &str| format!("{}: {what}", self.shown());
        let columns = dataset.columns(&open.header).map_err(|missing| fail(&missing.join("; ")))?;
        let mut line = ByteRecord::new();
        while open.reader.read_byte_record(&mut line).map_err(|error| fail(&told(&error)))? {
            let at = line.position().map_or(0, csv::Position::line);
            if columns.key.iter().any(|column| line.get(*column).is_none_or(<[u8]>::is_empty)) {
                return Err(fail(&format!("line {at}: expected a key, found none")));
            }
            if !take(dataset.record(&columns, &line)) {
                return Ok(false);
            }
        }
        let after = look(open.reader.get_ref().get_ref()).map_err(|error| fail(&error.to_string()))?;
        if after != open.before {
            return Err(fail("changed while it was read"));
        }
        Ok(true)
    }

    /// Everything that is wrong with the file, as far as the dataset is concerned.
    fn look_over(&self, dataset: &Dataset) -> Vec<String> {
        let columns = self.open().and_then(|open| {
            let missing = dataset.columns(&open.header).err().unwrap_or_default();
            if missing.is_empty() { Ok(()) } else { Err(format!("{}: {}", self.shown(), missing.join("; "))) }
        });
        if let Err(why) = columns {
            return vec![why];
        }
        let (mut parts, mut part) = (1, 0);
        while part < parts {
            let (mut lines, mut held, mut twice) = (0_u64, HashSet::new(), None);
            let read = self.each(dataset, &mut |record| {
                lines += 1;
                let hash: [u8; 16] = Sha256::digest(record.key.as_bytes())[..16].try_into().unwrap_or_default();
                if u64::from(hash[0]) % parts == part && !held.insert(hash) && twice.is_none() {
                    twice = Some(lines);
                }
                // What does not fit is looked at in parts of the keys.
                held.len() as u64 <= 2 * HELD
            });
            match (read, twice) {
                (Err(why), _) => return vec![why],
                (_, Some(line)) => {
                    let text = format!("{}: record {line} has the key of one before it; give each a key of its own", self.shown());
                    return vec![text];
                }
                (Ok(false), _) if parts < 256 => (parts, part) = (parts * 2, 0),
                _ => part += 1,
            }
        }
        Vec::new()
    }

    /// What the list says of these keys.
    fn find(&self, dataset: &Dataset, keys: &[Key]) -> std::result::Result<Vec<Found>, String> {
        let wanted: HashSet<&Key> = keys.iter().collect();
        let mut found: HashMap<Key, Found> = HashMap::new();
        self.each(dataset, &mut |record| {
            if wanted.contains(&record.key) {
                let key = record.key.clone();
                let twice = || Found::Unknown("two lines have its key".into());
                let now = if found.contains_key(&key) { twice() } else { Found::Present(Box::new(record)) };
                found.insert(key, now);
            }
            true
        })?;
        Ok(keys.iter().map(|key| found.get(key).cloned().unwrap_or(Found::Absent)).collect())
    }
}

/// What tells whether a file was written to: its length and the time of the last write.
fn look(file: &File) -> std::io::Result<(u64, i64, i64)> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::Error::other("expected a file"));
    }
    Ok((found.len(), found.mtime(), found.mtime_nsec()))
}

/// What a reader of CSV complains of, without any content.
fn told(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("line {line}: expected {expected_len} fields, as the first line has, found {len}")
        }
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        _ => "is no CSV file that can be read".to_owned(),
    }
}

impl Dataset {
    fn read(head: &DatasetHead<'_>, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        let what = format!("dataset \"{}\"", escape(head.name.as_bytes()));
        for key in ["table", "where"] {
            if let Some(node) = fields.take(key) {
                problems.add(node.mark, format!("{what}: `{key}` is for tables; every line of a CSV file is a record of its one dataset"));
            }
        }
        let key = fields.need("key", &what, problems).map(|node| {
            let nodes = node.one_or_more("the column that tells records apart, or a list of them", problems);
            nodes.into_iter().filter_map(|node| node.text("the name of a column", problems).map(str::to_owned)).collect::<Vec<_>>()
        });
        let source = |place: &EventPlace<'_>, problems: &mut Problems| match place {
            EventPlace::Here(node) => When::of_column(node, problems).map(|(column, _, when)| Source::Column(column.to_owned(), when)),
            EventPlace::Elsewhere(by, _) => Some(Source::Elsewhere((*by).to_owned())),
        };
        let events = head.events.iter().filter_map(|event| Some((event.name.clone(), source(&event.source, problems)?))).collect();
        let column = |named: Option<(&str, Mark)>| named.map(|(name, _)| name.to_owned());
        Some(Self { name: head.name.to_owned(), key: key?, events, subject: column(head.subject), class_by: column(head.class_by) })
    }

    /// Where the columns are, or which ones the file does not have.
    fn columns(&self, header: &[String]) -> std::result::Result<Columns, Vec<String>> {
        let mut missing = Vec::new();
        let mut at = |name: &String| {
            let mut places = header.iter().enumerate().filter(|(_, one)| *one == name).map(|(at, _)| at);
            let shown = escape(name.as_bytes());
            match (places.next(), places.next()) {
                (Some(at), None) => at,
                (Some(_), Some(_)) => {
                    missing.push(format!("the first line has two columns \"{shown}\""));
                    0
                }
                (None, _) => {
                    let hint = crate::yaml::suggest(name, header.iter().map(String::as_str));
                    missing.push(format!("the first line has no column \"{shown}\"{hint}"));
                    0
                }
            }
        };
        let columns = Columns {
            key: self.key.iter().map(&mut at).collect(),
            events: self.events.iter().map(|(_, Source::Column(name, _) | Source::Elsewhere(name))| at(name)).collect(),
            subject: self.subject.as_ref().map(&mut at),
            class_by: self.class_by.as_ref().map(&mut at),
        };
        if missing.is_empty() { Ok(columns) } else { Err(missing) }
    }

    fn record(&self, columns: &Columns, line: &ByteRecord) -> Record {
        let field = |column: usize| line.get(column).unwrap_or_default();
        let seen = |column: usize| seen(field(column));
        let text = |column: usize| (!field(column).is_empty()).then(|| SmolStr::from(String::from_utf8_lossy(field(column))));
        let mut hash = Sha256::new();
        for field in line {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        let reading = |((_, source), column): (&(EventName, Source), &usize)| match source {
            Source::Column(_, when) => when.read(seen(*column)),
            Source::Elsewhere(_) => Reading::Elsewhere(text(*column)),
        };
        let parts: Vec<Seen<'_>> = columns.key.iter().map(|column| seen(*column)).collect();
        Record {
            key: key_of(&parts),
            class_value: columns.class_by.and_then(text),
            readings: self.events.iter().zip(&columns.events).map(reading).collect(),
            subject: columns.subject.and_then(text),
            size: 0,
            fingerprint: Fingerprint::from_slice(&hash.finalize()),
            hint: 0,
        }
    }
}

fn seen(field: &[u8]) -> Seen<'_> {
    match std::str::from_utf8(field) {
        Ok("") => Seen::Null,
        Ok(text) => Seen::Text(text),
        Err(_) => Seen::Mangled(field),
    }
}

impl Configure for Configuring {
    fn dataset(&mut self, head: &DatasetHead<'_>, fields: &mut Fields<'_>, problems: &mut Problems) {
        let read = Dataset::read(head, fields, problems);
        if self.0.dataset.is_some() {
            problems.add(head.mark, "a CSV file is one dataset, found several; `class-by` gives lines classes of their own");
            return;
        }
        self.0.dataset = read;
    }

    fn finish(self: Box<Self>) -> Arc<dyn Store> {
        Arc::new(self.0)
    }
}

/// Does what reads a file where that holds nobody up.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::with_source(Kind::Store, "reading a list ended abnormally", error))
}

#[async_trait]
impl Store for Listing {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> String {
        self.shown()
    }

    fn identity(&self) -> String {
        std::fs::canonicalize(&self.path).map_or_else(|_| self.shown(), |path| escape(path.as_os_str().as_encoded_bytes()))
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn grades(&self) -> &'static [&'static str] {
        super::GRADES
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        let Some(dataset) = self.dataset.clone() else { return Ok(Vec::new()) };
        let about = format!("{}/{}", self.name, dataset.name);
        let this = self.clone();
        let wrong = apart(move || this.look_over(&dataset)).await?;
        Ok(wrong.into_iter().map(|why| Finding::blocks(about.as_str(), why)).collect())
    }

    async fn scan(&self, dataset: &str, query: Query, out: mpsc::Sender<Vec<Record>>) -> Result<Scanned> {
        let (this, dataset) = (self.clone(), self.dataset(dataset)?.clone());
        apart(move || {
            let mut scanned = Scanned::default();
            let mut batch = Vec::new();
            // Lists are short, and who asks learns more from all of them.
            let read = this.each(&dataset, &mut |record| {
                scanned.population += 1;
                query.count(1);
                batch.push(record);
                batch.len() < MESSAGE || out.blocking_send(std::mem::take(&mut batch)).is_ok()
            });
            if !batch.is_empty() && matches!(read, Ok(true) | Err(_)) {
                // A receiver that went away is told nothing more.
                let _ = out.blocking_send(batch);
            }
            scanned.incomplete = read.err();
            scanned
        })
        .await
    }

    async fn fetch(&self, dataset: &str, keys: &[Key]) -> Result<Vec<Found>> {
        let (this, dataset, keys) = (self.clone(), self.dataset(dataset)?.clone(), keys.to_vec());
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let found = apart(move || this.find(&dataset, &keys)).await?;
        found.map_err(|why| Error::new(Kind::Store, why))
    }

    async fn lookup(&self, dataset: &str, event: &EventName, on: Option<&str>, values: &[&str]) -> Result<Vec<Reading>> {
        let (this, dataset) = (self.clone(), self.dataset(dataset)?.clone());
        let no_event = || Error::new(Kind::Store, format!("{}/{} has no event `{event}`", self.name, dataset.name));
        let at = dataset.events.iter().position(|(name, _)| name == event).ok_or_else(no_event)?;
        // Looked up by another column than the key, that column stands in for it.
        let by = on.map_or_else(|| dataset.key.clone(), |on| vec![on.to_owned()]);
        let looked_up = Dataset { key: by, ..dataset };
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let read = apart(move || {
            let wanted: HashSet<&[u8]> = values.iter().map(String::as_bytes).collect();
            let mut found: HashMap<Box<[u8]>, Reading> = HashMap::new();
            this.each_named(&looked_up, &mut |record| {
                if wanted.contains(record.key.as_bytes()) {
                    let reading = record.readings[at].clone();
                    let known = found.remove(record.key.as_bytes());
                    found.insert(record.key.as_bytes().into(), known.map_or(reading.clone(), |known| later(known, reading)));
                }
            })?;
            let missing = || Reading::Doubt(Doubt::Missing("the line".into()));
            Ok::<_, String>(values.iter().map(|value| found.get(value.as_bytes()).cloned().unwrap_or_else(missing)).collect())
        });
        read.await?.map_err(|why| Error::new(Kind::Store, why))
    }

    async fn remove(&self, _: &Permit, _: &str, _: &Order, records: &[Record], _: &Guard<'_>) -> Vec<Fate> {
        let error = "a list of records is read and never written".to_owned();
        vec![Fate::Failed { error, uncertain: false }; records.len()]
    }
}

impl Listing {
    /// [`Listing::each`] for lines that have a value where the key is looked for; the others are passed over.
    fn each_named(&self, dataset: &Dataset, take: &mut dyn FnMut(Record)) -> std::result::Result<(), String> {
        let mut open = self.open()?;
        let fail = |what: &str| format!("{}: {what}", self.shown());
        let columns = dataset.columns(&open.header).map_err(|missing| fail(&missing.join("; ")))?;
        let mut line = ByteRecord::new();
        while open.reader.read_byte_record(&mut line).map_err(|error| fail(&told(&error)))? {
            if columns.key.iter().all(|column| line.get(*column).is_some_and(|field| !field.is_empty())) {
                take(dataset.record(&columns, &line));
            }
        }
        Ok(())
    }
}

/// Of two records for one value: the later date, or what is not a date.
fn later(one: Reading, other: Reading) -> Reading {
    match (&one, &other) {
        (Reading::At(Moment::Date(first)), Reading::At(Moment::Date(second))) => {
            if first < second {
                other
            } else {
                one
            }
        }
        (Reading::At(Moment::Instant(first)), Reading::At(Moment::Instant(second))) => {
            if first < second {
                other
            } else {
                one
            }
        }
        (Reading::At(_), Reading::At(_)) => Reading::Doubt(Doubt::Failed("some lines hold a date and some a time".into())),
        (Reading::NotYet, Reading::NotYet) => Reading::NotYet,
        (Reading::Doubt(_), _) => one,
        (_, Reading::Doubt(_)) => other,
        _ => Reading::Doubt(Doubt::Missing("the date in some lines".into())),
    }
}
