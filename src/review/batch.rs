//! One review batch: its frozen records on disk, and the id that binds them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::audit::{EpochKey, Pseudonyms, plain_record};
use crate::config::{Dataset, KeyNames};
use crate::error::{Error, Kind, Result, escape, hex};
use crate::plan::{Item, Tally};
use crate::spool::{Asked, Items, Source, Spool, Writer};

/// How the file of a batch ends.
const ENDING: &str = ".batch";

/// How the word is called that all of a batch is gone.
const DONE: &str = ".done";

/// Digits of an id that people use.
pub const SHORT: usize = 16;

/// A batch on disk. That it is what its id says is not known before [`Batch::is_intact`] has looked.
pub struct Batch {
    /// The id, 64 hexadecimal digits.
    pub id: String,
    spool: Spool,
    asked: Asked,
}

/// The hash that becomes a batch's id.
struct Id {
    hash: Sha256,
    keys: KeyNames,
    epoch: Arc<EpochKey>,
    place: [String; 2],
}

impl Id {
    fn new(dataset: &Dataset, asked: &Asked, epoch: Arc<EpochKey>) -> Self {
        let place = [dataset.store.name().to_owned(), dataset.name.clone()];
        let mut id = Self { hash: Sha256::new(), keys: dataset.keys, epoch, place };
        id.hash.update("retentiond review 1\n");
        let [store, name] = id.place.clone();
        [&store, &name, &asked.class, &asked.month, &asked.nonce].iter().for_each(|text| id.take(text.as_bytes()));
        id
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    fn add(&mut self, item: &Item) {
        let key = item.record.key.as_bytes();
        let name = match self.keys {
            KeyNames::Plain => plain_record(key),
            KeyNames::Pseudonym => self.epoch.record(&self.place[0], &self.place[1], key),
        };
        let facts = &item.deciding;
        self.take(name.as_bytes());
        self.take(&item.record.fingerprint);
        for text in [facts.class.as_str(), &facts.schedule, facts.event.as_str()] {
            self.take(text.as_bytes());
        }
        self.take(facts.event_date.to_string().as_bytes());
        self.take(facts.due.to_string().as_bytes());
    }

    fn finish(self) -> String {
        hex(&self.hash.finalize())
    }
}

/// The month of an item: that in which its keeping ended.
pub fn month_of(item: &Item) -> String {
    item.deciding.due.strftime("%Y-%m").to_string()
}

/// What a new batch has from an undecided one whose place it takes.
#[derive(Clone, Debug)]
pub struct Heir {
    /// Since when it is asked, RFC 3339.
    pub since: String,
    /// The nonce; `None` for a new one.
    pub nonce: Option<String>,
}

fn random() -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Error::new(Kind::Io, format!("no random numbers can be had: {error}")))?;
    Ok(hex(&random))
}

/// A batch that is being frozen: records of one class and month, by their keys.
pub struct Freezing {
    writer: Writer,
    id: Id,
    asked: Asked,
    items: u64,
}

impl Freezing {
    /// Begins the batch that this item is the first of.
    pub fn begin(folder: &Path, dataset: &Dataset, epoch: &Arc<EpochKey>, first: &Item, from: Heir) -> Result<Self> {
        let (class, month) = (first.deciding.class.to_string(), month_of(first));
        let nonce = from.nonce.map_or_else(random, Ok)?;
        let asked = Asked { class, month, year: epoch.year(), nonce, since: from.since, bytes: 0 };
        let id = Id::new(dataset, &asked, Arc::clone(epoch));
        Ok(Self { writer: Writer::create(folder)?, id, asked, items: 0 })
    }

    /// Adds a record.
    pub fn add(&mut self, item: &Item) -> Result<()> {
        self.id.add(item);
        self.asked.bytes += item.record.size;
        self.items += 1;
        self.writer.add_item(item)
    }

    /// Makes the batch durable; answers its id.
    pub fn finish(self, folder: &Path, of: &Source<'_>) -> Result<String> {
        let id = self.id.finish();
        let tally = Tally { review: self.items, bytes: self.asked.bytes, ..Tally::default() };
        // Over one that is there already: what somebody did to it is mended thereby.
        self.writer.finish_with(of, tally, Some(self.asked))?.keep_as(folder, &format!("{id}{ENDING}"))?;
        Ok(id)
    }
}

impl Batch {
    fn open(path: &Path) -> Result<Self> {
        let broken = || Error::new(Kind::Refused, format!("{}: expected a review batch, found something else", path.display()));
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING)).ok_or_else(broken)?;
        let spool = Spool::open(path, None)?;
        let asked = spool.footer.asked.clone().ok_or_else(broken)?;
        Ok(Self { id: id.to_owned(), spool, asked })
    }

    /// Removes what crashes left in the folder, and batches of datasets that are no longer configured: after so many days, for a configuration may be
    /// mistaken. To be called while nothing is under way.
    pub fn clean(folder: &Path, is_configured: impl Fn(&str) -> bool) -> Result<()> {
        crate::spool::clean(folder, &[]);
        for batch in Self::all(folder)?.0 {
            if !is_configured(&batch.dataset()) && batch.spool.is_older_than(crate::spool::KEEP_DAYS) {
                batch.remove()?;
            }
        }
        Ok(())
    }

    /// Every batch in the folder, by dataset, class and month; and the files that are none.
    pub fn all(folder: &Path) -> Result<(Vec<Self>, Vec<PathBuf>)> {
        let fail = |error| Error::with_source(Kind::Io, format!("{}: review batches cannot be listed", folder.display()), error);
        let files = match std::fs::read_dir(folder) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            Err(error) => return Err(fail(error)),
        };
        let (mut all, mut broken) = (Vec::new(), Vec::new());
        for file in files {
            let path = file.map_err(fail)?.path();
            if !path.as_os_str().as_encoded_bytes().ends_with(ENDING.as_bytes()) {
                continue;
            }
            match Self::open(&path) {
                Ok(batch) => all.push(batch),
                Err(error) if error.kind() == Kind::Io && path.exists() => return Err(error),
                // One that a scan has just removed is no trouble.
                Err(_) if path.exists() => broken.push(path),
                Err(_) => {}
            }
        }
        all.sort_by_cached_key(|batch| (batch.dataset(), batch.asked.class.clone(), batch.asked.month.clone(), batch.id.clone()));
        Ok((all, broken))
    }

    /// The batch whose id begins like this.
    pub fn find(folder: &Path, id: &str) -> Result<Self> {
        let shown = escape(id.as_bytes());
        let usage = |what: &str| Error::new(Kind::Usage, format!("{what} \"{shown}\"; `review list` shows what waits"));
        if id.len() < 8 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(usage("expected the id of a review batch, at least its first 8 digits, found"));
        }
        let (all, _) = Self::all(folder)?;
        let mut found = all.into_iter().filter(|batch| batch.id.starts_with(id));
        match (found.next(), found.next()) {
            (Some(batch), None) => Ok(batch),
            (Some(_), Some(_)) => Err(usage("more than one review batch begins with")),
            _ => Err(usage("no review batch that is asked or approved has the id")),
        }
    }

    /// What is asked.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The id as people use it.
    pub fn short(&self) -> &str {
        self.id.get(..SHORT).unwrap_or(&self.id)
    }

    /// `store/dataset`.
    pub fn dataset(&self) -> String {
        format!("{}/{}", self.spool.footer.store, self.spool.footer.dataset)
    }

    /// Name of the store.
    pub fn store_name(&self) -> &str {
        &self.spool.footer.store
    }

    /// Name of the dataset in its store.
    pub fn dataset_name(&self) -> &str {
        &self.spool.footer.dataset
    }

    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.spool.footer.items
    }

    /// The records, by their keys.
    pub fn items(&self) -> Result<Items> {
        self.spool.items()
    }

    /// Whether the records are those that the id was made of. Reads them all.
    pub fn is_intact(&self, dataset: &Dataset, pseudonyms: &Pseudonyms) -> Result<bool> {
        let same_place = self.store_name() == dataset.store.name() && self.dataset_name() == dataset.name;
        // A year whose key was destroyed names nobody any more: what was frozen then cannot be told.
        let Some(epoch) = pseudonyms.epoch(self.asked.year).filter(|_| same_place) else { return Ok(false) };
        let mut id = Id::new(dataset, &self.asked, epoch);
        let (mut last, mut bytes, mut records): (Option<Vec<u8>>, u64, u64) = (None, 0, 0);
        for item in self.items()? {
            let item = match item {
                Ok(item) => item,
                Err(error) if error.kind() == Kind::Io => return Err(error),
                Err(_) => return Ok(false),
            };
            let key = item.record.key.as_bytes();
            if last.as_deref().is_some_and(|last| last >= key) {
                return Ok(false);
            }
            last = Some(key.to_vec());
            bytes += item.record.size;
            records += 1;
            id.add(&item);
        }
        Ok(id.finish() == self.id && bytes == self.asked.bytes && records == self.records())
    }

    /// Removes it and leaves a word that it was not lost: all that was approved is gone.
    pub fn done(self, folder: &Path) -> Result<()> {
        let path = folder.join(format!("{}{DONE}", self.id));
        let fail = |error| Error::with_source(Kind::Io, format!("{}: cannot be written", path.display()), error);
        std::fs::write(&path, format!("{}\n", self.dataset())).map_err(fail)?;
        self.remove()
    }

    /// The ids of batches of a dataset of which all is gone.
    pub fn all_done(folder: &Path, dataset: &str) -> Vec<String> {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let of = |file: std::fs::DirEntry| {
            let id = file.file_name().to_str()?.strip_suffix(DONE)?.to_owned();
            (std::fs::read_to_string(file.path()).ok()?.trim_end() == dataset).then_some(id)
        };
        files.filter_map(of).collect()
    }

    /// Forgets that all of a batch is gone, once nothing could be made of its approval.
    pub fn forget_done(folder: &Path, id: &str) {
        // What cannot be removed now is tried again by the next run.
        drop(std::fs::remove_file(folder.join(format!("{id}{DONE}"))));
    }

    /// Removes it.
    pub fn remove(self) -> Result<()> {
        self.spool.discard()
    }
}
