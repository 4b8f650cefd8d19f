//! The items of a plan on disk.
//!
//! A plan may hold millions of records; memory holds one batch. The file is written once, front to back, and read once. It holds keys of records, which may be personal data, so it is readable by the service's user only (0600) and removed as soon as the
//! plan is spent; plans that nobody allowed are removed after [`KEEP_DAYS`].
//!
//! ```text
//! plans/<name>.plan      "rtdplan2\n", items, footer (JSON), u32 LE length of the footer, "rtdplan2\n"
//! item                   u32 LE length of what follows; then the fields of the item, see `item`
//! ```
//!
//! The plan's id is the first 16 hexadecimal digits of the file's SHA-256: it names exactly this set of records. A file whose hash differs from
//! its recorded id is refused.
//!
//! A crash while writing leaves a temporary file (`.new-…`), which nobody holds locked and the next start removes. A crash while spending leaves
//! the plan, which is how recovery knows the keys behind the pseudonyms of open intents; once they are settled it goes.

mod item;
mod items;

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use item::Coder;
pub use items::Items;

use crate::error::{Error, Kind, Result, hex};
use crate::judge::Deciding;
use crate::plan::{Approval, Item, Tally};
use crate::record::Record;
use crate::schedule::{Basis, ClassId, Disposition, EventName};

/// Plans that were refused and never allowed are removed after this many days: by then the data has moved on, and the keys must not pile up.
pub const KEEP_DAYS: i64 = 14;

const MAGIC: &[u8; 9] = b"rtdplan2\n";

/// What a plan says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Name of the store.
    pub store: String,
    /// Name of the dataset.
    pub dataset: String,
    /// The store's mark when the plan was made.
    pub mark: String,
    /// When it was made, RFC 3339.
    pub made: String,
    /// The numbers.
    pub tally: Tally,
    /// (class id, SHA-256 of its schedule) pairs that the items refer to.
    pub rules: Vec<(String, String)>,
    /// Names of events that the items refer to.
    pub events: Vec<String>,
    /// How many items there are.
    pub items: u64,
    /// What people approved of the items, as far as it is asked of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// For the records of a review batch: what is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
}

/// What is asked about the records of a review batch: see [`crate::review`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Asked {
    /// The class that decided when they were due.
    pub class: String,
    /// The month in which their keeping ended, such as `2026-10`.
    pub month: String,
    /// The year whose pseudonyms the batch's id is made of.
    pub year: i16,
    /// Random digits that the id is made of too.
    pub nonce: String,
    /// Since when it is asked, RFC 3339.
    pub since: String,
    /// Bytes in the records.
    pub bytes: u64,
}

/// Where and when a plan is made.
pub struct Source<'a> {
    /// Name of the store.
    pub store: &'a str,
    /// Name of the dataset.
    pub dataset: &'a str,
    /// The store's mark.
    pub mark: String,
    /// The present moment, RFC 3339.
    pub made: String,
}

/// After so many bytes the system is told to begin to write them to the disk, so that little is left to wait for when the plan is to be durable.
const WRITTEN_OUT: u64 = 4 << 20;

/// A plan that is being written.
pub struct Writer {
    out: BufWriter<NamedTempFile>,
    /// How many bytes were written, and how many of them the system was told of.
    written: u64,
    told: u64,
    rules: Vec<(ClassId, Arc<str>)>,
    events: Vec<EventName>,
    approvals: Vec<Arc<Approval>>,
    /// What the item before rests on, and where that stands in the lists.
    last: Option<(Arc<Basis>, (u32, u32))>,
    items: u64,
    coder: Coder,
    buffer: Vec<u8>,
    folder: PathBuf,
}

/// A finished plan on disk. Unless it was kept under a name, it vanishes with this value.
pub struct Spool {
    file: Stored,
    /// What the plan says about itself.
    pub footer: Footer,
}

enum Stored {
    Temporary(NamedTempFile),
    Kept(PathBuf),
}

fn io(path: &Path, what: &'static str) -> impl Fn(std::io::Error) -> Error {
    let place = path.display().to_string();
    move |error| Error::with_source(Kind::Io, format!("{place}: {what}"), error)
}

impl Writer {
    /// Begins a plan in the folder, which is created when it is not there.
    pub fn create(folder: &Path) -> Result<Self> {
        let fail = io(folder, "a plan cannot be written");
        std::fs::create_dir_all(folder).map_err(&fail)?;
        let file = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(folder)
            .map_err(&fail)?;
        // Free again when this process ends in whatever way: that is how `clean` knows that nobody writes the file any more.
        file.as_file().try_lock().map_err(|error| fail(error.into()))?;
        let mut writer = Self {
            out: BufWriter::with_capacity(1 << 16, file),
            written: 0,
            told: 0,
            rules: Vec::new(),
            events: Vec::new(),
            approvals: Vec::new(),
            last: None,
            items: 0,
            coder: Coder::default(),
            buffer: Vec::with_capacity(512),
            folder: folder.to_owned(),
        };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| io(&self.folder, "a plan cannot be written")(error))?;
        self.written += bytes.len() as u64;
        if self.written - self.told >= WRITTEN_OUT {
            // What is said to be not needed soon is written out at once, and until that is done it stays in memory. It is no more than advice.
            let length = NonZeroU64::new(self.written - self.told);
            let _ = fadvise(self.out.get_ref().as_file(), self.told, length, Advice::DontNeed);
            self.told = self.written;
        }
        Ok(())
    }

    /// Adds an item.
    pub fn add(&mut self, record: &Record, then: Disposition, deciding: &Deciding) -> Result<()> {
        self.add_resting(record, then, deciding, (None, None))
    }

    /// Adds an item as another plan holds it.
    pub fn add_item(&mut self, item: &Item) -> Result<()> {
        self.add_resting(&item.record, item.then, &item.deciding, (item.approval.as_ref(), item.erasure))
    }

    /// Adds an item with what it rests on besides its class.
    fn add_resting(
        &mut self,
        record: &Record,
        then: Disposition,
        deciding: &Deciding,
        (approval, erasure): (Option<&Arc<Approval>>, Option<u64>),
    ) -> Result<()> {
        let approval = approval.map(|approval| index_of(&mut self.approvals, |known| known == approval, || Arc::clone(approval)));
        let (rule, event) = self.places_of(&deciding.basis);
        if u8::try_from(record.readings.len()).is_err() {
            return Err(Error::new(Kind::Store, "a plan holds at most 255 events of a record"));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(&[0; 4]);
        self.coder.encode(&mut buffer, record, then, deciding, (rule, event, approval, erasure));
        let length =
            u32::try_from(buffer.len() - 4).map_err(|_| Error::new(Kind::Store, "a record has a key or a fingerprint that is too long"))?;
        buffer[..4].copy_from_slice(&length.to_le_bytes());
        let written = self.write(&buffer);
        self.buffer = buffer;
        self.items += 1;
        written
    }

    /// Where rule and event stand in the plan's lists.
    fn places_of(&mut self, basis: &Arc<Basis>) -> (u32, u32) {
        if let Some((_, places)) = self.last.as_ref().filter(|(last, _)| last == basis) {
            return *places;
        }
        let rule = index_of(
            &mut self.rules,
            |(class, schedule)| *class == basis.class && *schedule == basis.schedule,
            || (basis.class.clone(), Arc::clone(&basis.schedule)),
        );
        let event = index_of(&mut self.events, |event| *event == basis.event, || basis.event.clone());
        self.last = Some((Arc::clone(basis), (rule, event)));
        (rule, event)
    }

    /// Finishes the plan.
    pub fn finish(self, of: &Source<'_>, tally: Tally) -> Result<Spool> {
        self.finish_with(of, tally, None)
    }

    /// Finishes the file of a review batch, or of a plan.
    pub fn finish_with(mut self, of: &Source<'_>, tally: Tally, asked: Option<Asked>) -> Result<Spool> {
        let footer = Footer {
            store: of.store.to_owned(),
            dataset: of.dataset.to_owned(),
            mark: of.mark.clone(),
            made: of.made.clone(),
            tally,
            rules: self.rules.iter().map(|(class, schedule)| (class.to_string(), schedule.to_string())).collect(),
            events: self.events.iter().map(ToString::to_string).collect(),
            items: self.items,
            approvals: self.approvals.iter().map(|approval| Approval::clone(approval)).collect(),
            asked,
        };
        let json = serde_json::to_vec(&footer).map_err(|error| Error::with_source(Kind::Io, "a plan cannot be written", error))?;
        let length = u32::try_from(json.len()).map_err(|_| Error::new(Kind::Io, "a plan's footer is too long"))?;
        self.write(&json)?;
        self.write(&length.to_le_bytes())?;
        self.write(MAGIC)?;
        let fail = io(&self.folder, "a plan cannot be written");
        let file = self.out.into_inner().map_err(|error| fail(error.into_error()))?;
        Ok(Spool { file: Stored::Temporary(file), footer })
    }
}

fn index_of<T>(list: &mut Vec<T>, same: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> u32 {
    let at = list.iter().rposition(same).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    });
    u32::try_from(at).expect("a dataset has fewer classes and events than 2^32")
}

/// Whether this is the form of a plan's id.
pub fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The id of the plan in a file.
fn id_of(file: &mut File) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(file, &mut hash)?;
    Ok(hex(&hash.finalize()[..8]))
}

impl Spool {
    /// Makes the plan durable under `<name>.plan` in its folder, so that it survives this process.
    pub fn keep(&mut self, folder: &Path, name: &str) -> Result<()> {
        self.keep_as(folder, &format!("{name}.plan"))
    }

    /// Makes the file durable under this name in its folder.
    pub fn keep_as(&mut self, folder: &Path, name: &str) -> Result<()> {
        let path = folder.join(name);
        if let Stored::Temporary(_) = self.file {
            let Stored::Temporary(file) = std::mem::replace(&mut self.file, Stored::Kept(path.clone())) else {
                unreachable!("matched above")
            };
            let fail = io(&path, "a plan cannot be written");
            file.as_file().sync_all().map_err(&fail)?;
            file.persist(&path).map_err(|error| fail(error.error))?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(&fail)?;
        }
        Ok(())
    }

    /// The plan's id, from what is in its file.
    pub fn id(&self) -> Result<String> {
        self.reader().and_then(|mut file| id_of(&mut file)).map_err(io(self.path(), "the plan cannot be read"))
    }

    /// Whether the file was written more than so many days ago.
    pub fn is_older_than(&self, days: i64) -> bool {
        let most = std::time::Duration::from_secs(u64::try_from(days).unwrap_or(0) * 86_400);
        std::fs::metadata(self.path()).and_then(|meta| meta.modified()).is_ok_and(|time| time.elapsed().is_ok_and(|age| age > most))
    }

    fn path(&self) -> &Path {
        match &self.file {
            Stored::Temporary(file) => file.path(),
            Stored::Kept(path) => path,
        }
    }

    fn reader(&self) -> std::io::Result<File> {
        match &self.file {
            Stored::Temporary(file) => file.reopen(),
            Stored::Kept(path) => File::open(path),
        }
    }

    /// Opens a plan that was kept, and checks that it is what its id says when `id` is given.
    pub fn open(path: &Path, id: Option<&str>) -> Result<Self> {
        let fail = io(path, "the plan cannot be read");
        let broken =
            |what: &str| Error::new(Kind::Refused, format!("{}: expected a plan, {what}; run again to make a new one", path.display()));
        let mut file = File::open(path).map_err(&fail)?;
        if let Some(id) = id
            && id_of(&mut file).map_err(&fail)? != id
        {
            return Err(broken("found one that was changed"));
        }
        let length = file.metadata().map_err(&fail)?.len();
        let ending = u64::try_from(MAGIC.len()).unwrap_or(0) + 4;
        if length < ending + 9 {
            return Err(broken("found a file that is too short"));
        }
        let mut end = [0; 13];
        file.seek(SeekFrom::Start(length - ending)).and_then(|_| file.read_exact(&mut end)).map_err(&fail)?;
        let size = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
        if end[4..] != MAGIC[..] || size > length - ending - 9 {
            return Err(broken("found something else"));
        }
        let mut json = vec![0; usize::try_from(size).map_err(|_| broken("found something else"))?];
        file.seek(SeekFrom::Start(length - ending - size)).and_then(|_| file.read_exact(&mut json)).map_err(&fail)?;
        let footer = serde_json::from_slice(&json).map_err(|_| broken("found something else"))?;
        Ok(Self { file: Stored::Kept(path.to_owned()), footer })
    }

    /// The items from the first to the last.
    pub fn items(&self) -> Result<Items> {
        let path = self.path();
        let fail = io(path, "the plan cannot be read");
        let mut file = self.reader().map_err(&fail)?;
        let start = u64::try_from(MAGIC.len()).unwrap_or(0);
        let length = file.metadata().map_err(&fail)?.len();
        let footer = serde_json::to_vec(&self.footer).map_err(|error| Error::with_source(Kind::Io, "the plan cannot be read", error))?;
        let tail = u64::try_from(footer.len()).unwrap_or(0) + 4 + start;
        file.seek(SeekFrom::Start(start)).map_err(&fail)?;
        let parse = |text: &String| EventName::parse(text).map_err(|error| Error::new(Kind::Refused, error));
        let class = |(id, sha): &(String, String)| {
            let id = ClassId::parse(id).map_err(|error| Error::new(Kind::Refused, error))?;
            Ok((id, Arc::from(sha.as_str())))
        };
        Ok(Items {
            input: BufReader::with_capacity(1 << 16, file).take(length.saturating_sub(tail + start)),
            rules: self.footer.rules.iter().map(class).collect::<Result<_>>()?,
            events: self.footer.events.iter().map(parse).collect::<Result<_>>()?,
            approvals: self.footer.approvals.iter().cloned().map(Arc::new).collect(),
            shown: path.display().to_string(),
            coder: Coder::default(),
            body: Vec::new(),
        })
    }

    /// Removes a plan that was kept. It is no error when it is gone.
    pub fn discard(self) -> Result<()> {
        match self.file {
            Stored::Temporary(_) => Ok(()),
            Stored::Kept(path) => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(&path, "the plan cannot be removed")(error)),
                _ => Ok(()),
            },
        }
    }
}

/// Removes what crashes left behind and refused plans that nobody allowed in time. To be called while no run goes on; the plans of the runs
/// in `needed` stay.
pub fn clean(folder: &Path, needed: &[String]) {
    let old = std::time::Duration::from_secs(u64::try_from(KEEP_DAYS).unwrap_or(0) * 86_400);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let stale = match name.strip_suffix(".plan") {
            None => name.starts_with(".new-") && nobody_writes(&entry.path()),
            Some(id) if is_id(id) => {
                let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
                age > old
            }
            Some(run) => !needed.iter().any(|needed| needed == run),
        };
        // What cannot be removed now is tried again at the next start.
        if stale && std::fs::remove_file(entry.path()).is_err() {
            tracing::warn!(file = %entry.path().display(), "an old plan cannot be removed");
        }
    }
}

/// Whether the process that wrote a temporary file has ended.
fn nobody_writes(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Fingerprint, Key, Moment, Reading};
    use jiff::civil::date;

    fn item(key: &[u8]) -> Item {
        let record = Record {
            key: Key::new(key),
            class_value: Some("lease".into()),
            readings: [
                Reading::At(Moment::Date(date(2020, 2, 29))),
                Reading::At(Moment::Instant("2026-01-02T03:04:05.678901234Z".parse().unwrap())),
                Reading::Elsewhere(Some("T-1".into())),
                Reading::Elsewhere(None),
                Reading::NotYet,
            ]
            .into_iter()
            .collect(),
            subject: None,
            size: 77,
            fingerprint: Fingerprint::from_slice(&[1, 2, 3]),
            hint: 1 << 40,
        };
        let basis = Basis {
            class: ClassId::parse("tenancy.file").unwrap(),
            schedule: "ab".repeat(32).into(),
            event: EventName::parse("tenancy-end").unwrap(),
        };
        let deciding = Deciding { basis: basis.into(), event_date: date(2020, 2, 29), due: date(2026, 2, 28) };
        Item { record, then: Disposition::Destroy, deciding, approval: None, erasure: None }
    }

    fn spool(folder: &Path, keys: &[&[u8]]) -> Spool {
        let mut writer = Writer::create(folder).unwrap();
        for key in keys {
            let item = item(key);
            writer.add(&item.record, item.then, &item.deciding).unwrap();
        }
        writer
            .finish(&Source { store: "s", dataset: "d", mark: String::new(), made: "2026-11-22T00:00:00Z".into() }, Tally::default())
            .unwrap()
    }

    #[test]
    fn a_plan_is_read_back_as_it_was_written_and_vanishes_unless_kept() {
        let folder = tempfile::tempdir().unwrap();
        let keys: [&[u8]; 6] = [b"one", b"\xff\xfe/two", b"\xff\xfe/twenty", b"\xff", b"", b"one"];
        let plan = spool(folder.path(), &keys);
        let read: Vec<Item> = plan.items().unwrap().map(Result::unwrap).collect();
        assert_eq!(read, keys.map(item));
        drop(plan);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn items_of_every_length_are_read_wherever_a_buffer_ends() {
        let folder = tempfile::tempdir().unwrap();
        // Keys that share nothing, so that items are as long as they; the longest do not fit into a buffer.
        let lengths = (0..700).chain([65_000, 65_400, 65_480, 65_530, 65_540, 70_000, 200_000, 3]);
        let keys: Vec<Vec<u8>> = lengths.enumerate().map(|(nth, length)| vec![u8::try_from(nth % 251).unwrap(); length]).collect();
        let plan = spool(folder.path(), &keys.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let read: Vec<Item> = plan.items().unwrap().map(Result::unwrap).collect();
        assert!(read.into_iter().eq(keys.iter().map(|key| item(key))));
    }

    #[test]
    fn an_item_keeps_what_people_approved_or_decided_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let approved = |batch: &str| Some(Arc::new(Approval { batch: batch.into(), entries: vec![7, 9] }));
        let mut items = [b"one", b"two", b"six"].map(|key| item(key));
        (items[0].approval, items[2].approval) = (approved("b1"), approved("b2"));
        (items[1].erasure, items[2].erasure) = (Some(41), Some(u64::MAX));
        let mut writer = Writer::create(folder.path()).unwrap();
        items.iter().for_each(|item| writer.add_item(item).unwrap());
        let of = Source { store: "s", dataset: "d", mark: String::new(), made: "2026-11-22T00:00:00Z".into() };
        let plan = writer.finish(&of, Tally::default()).unwrap();
        assert_eq!(plan.items().unwrap().map(Result::unwrap).collect::<Vec<_>>(), items);
    }

    #[test]
    fn what_a_crash_left_is_cleaned_away_and_what_is_in_use_or_waits_for_a_person_stays() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            [".new-abc", "20261122T033931Z-81742c50f73c.plan", "20261122T033931Z-000000000000.plan", "0123456789abcdef.plan", "other"]
        {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let _in_use = Writer::create(folder.path()).unwrap();
        clean(folder.path(), &["20261122T033931Z-000000000000".to_owned()]);
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        assert!(names[0].starts_with(".new-") && names[0] != ".new-abc", "{names:?}");
        assert_eq!(names[1..], ["0123456789abcdef.plan", "20261122T033931Z-000000000000.plan", "other"]);
    }

    #[test]
    fn a_kept_plan_is_the_plan_of_its_id_and_a_changed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = spool(folder.path(), &[b"one", b"two"]);
        let id = plan.id().unwrap();
        plan.keep(folder.path(), &id).unwrap();
        let path = folder.path().join(format!("{id}.plan"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Spool::open(&path, Some(&id)).unwrap();
        assert_eq!(again.items().unwrap().map(Result::unwrap).count(), 2);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(Spool::open(&path, Some(&id)).is_err(), "byte {at}");
        }
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Spool::open(&path, None).is_err() || length == 0, "cut at {length}");
        }
    }
}
