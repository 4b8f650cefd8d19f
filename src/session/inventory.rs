//! A run's part in the inventory of its dataset: the names that its scan sees, compared with those of the scan before.
//!
//! Only a complete scan of the place that the inventory was taken of is compared. What seems to be missing is looked for once more, among all rows or
//! files of the dataset, also those that its `where` leaves out: a record that left the dataset is not lost. What is missing then is looked for in the
//! log: what went through this program since the inventory is not lost either. Then `lost` goes into the log, with how many and which, and only then
//! the new inventory takes the place of the old one.
//!
//! What went before the log was begun anew stands in the log before. Of what is missing then nobody is accused either.
//!
//! When a year begins, what went under names of the new year cannot be told by the names of an inventory of the old one. Of so many records that are
//! missing nobody is accused; a person is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;

use super::{Ran, Run, Session};
use crate::assess::Assessment;
use crate::audit::{Entry, EpochKey, Kind as EntryKind, Reader};
use crate::clock::Today;
use crate::config::Dataset;
use crate::dispose::BY;
use crate::error::{Error, Kind, Result};
use crate::finding::Finding;
use crate::inventory::{Head, Inventory, NEVER, Sorter, day, missing};
use crate::judge::Standing;
use crate::record::Record;
use crate::store::Query;

/// Names in one entry.
const NAMED: usize = 1000;

/// Records that are named in the log at most; how many there are it says in any case.
const MOST_NAMED: usize = 100_000;

/// The names that a scan has seen so far, by the key of an inventory of another year.
type OldNames = Option<(Arc<EpochKey>, Sorter)>;

/// The names that a scan has seen so far.
pub(super) struct Taking {
    path: PathBuf,
    scope: String,
    at: String,
    entry: u64,
    log: Option<String>,
    /// The key by which the new inventory names them.
    epoch: Arc<EpochKey>,
    names: Sorter,
    /// The inventory before, and the names as it has them, where that is of another year.
    before: Option<(Inventory, OldNames)>,
    /// Why there is nothing to compare with.
    begun: Option<String>,
    failed: Option<std::io::Error>,
}

impl Session {
    /// Begins to take the inventory, where the dataset keeps one.
    pub(super) fn take_inventory(&self, dataset: &Dataset) -> Result<Option<Taking>> {
        let Some(scope) = &dataset.inventory else { return Ok(None) };
        let path = Inventory::path(&self.config.state, dataset.store.name(), &dataset.name);
        let folder = path.parent().unwrap_or(&self.config.state).to_owned();
        let failed = |error| Error::with_source(Kind::Io, format!("{}: cannot be made", folder.display()), error);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let (mut before, mut begun) = (None, None);
        match Inventory::open(&path) {
            Ok(None) => begun = Some("there was none before".to_owned()),
            Err(why) => begun = Some(why),
            Ok(Some(inventory)) if inventory.head.scope != *scope || inventory.head.place != dataset.store.place() => {
                begun = Some("which records there are is configured otherwise than before".to_owned());
            }
            Ok(Some(inventory)) if inventory.head.year == self.epoch.year() => before = Some((inventory, None)),
            Ok(Some(inventory)) => match self.pseudonyms.epoch(inventory.head.year) {
                Some(epoch) => before = Some((inventory, Some((epoch, Sorter::new(&folder))))),
                None => begun = Some(format!("the key of {} is destroyed, which named its records", inventory.head.year)),
            },
        }
        let names = Sorter::new(&folder);
        let at = format!("{:.3}", self.now);
        let reader = Reader::open(&self.log_folder())?;
        let (entry, log) = (reader.published()?, reader.identity()?);
        Ok(Some(Taking { path, scope: scope.clone(), at, entry, log, epoch: Arc::clone(&self.epoch), names, before, begun, failed: None }))
    }

    /// Compares what a complete scan saw with the inventory before, tells what is lost, and keeps the new inventory.
    pub(super) async fn keep_inventory(&self, run: &Run, taking: Taking, mark: &str, ran: &mut Ran) -> Result<()> {
        let dataset = run.dataset();
        let fail = |error| Error::with_source(Kind::Io, format!("{}: the inventory cannot be taken", dataset.address), error);
        let Taking { path, scope, at, entry, log, epoch, names, before, begun, failed } = taking;
        failed.map_or(Ok(()), |error| Err(fail(error)))?;
        let head = Head {
            scope,
            place: dataset.store.place(),
            mark: mark.to_owned(),
            year: epoch.year(),
            at,
            entry: Some(entry),
            log: log.clone(),
            records: 0,
        };
        let folder = path.parent().map_or_else(|| self.config.state.clone(), PathBuf::from);
        let prepared = {
            let path = path.clone();
            apart(move || Inventory::prepare(&path, head, names.finish().map_err(unreadable)?)).await?
        };
        let records = prepared.records();
        let Some((mut inventory, renamed)) = before else {
            let why = begun.unwrap_or_default();
            apart(move || prepared.keep()).await?;
            ran.findings.push(Finding::note(&dataset.address, format!("a new inventory of {records} records begins: {why}")));
            ran.inventory = Some(json!({"records": records, "begun": why}));
            return Ok(());
        };
        if inventory.head.mark != mark {
            let text = format!(
                "{} is not the place that the inventory of {} was taken of, so nothing was compared; if it moved for good, remove {}",
                dataset.store.place(),
                inventory.head.at,
                path.display()
            );
            ran.findings.push(Finding::warning(&dataset.address, text));
            return Ok(());
        }
        let (today, since) = (day(Today::Now(self.now).date_in(&dataset.zone())), inventory.head.at.clone());
        let taken = inventory.head.entry;
        let followed = inventory.head.log.is_some() && inventory.head.log != log;
        let (named_by, old) = renamed.map_or_else(|| (Arc::clone(&epoch), None), |(key, old)| (key, Some(old)));
        let spare = folder.clone();
        let (prepared, candidates, suspects, gone, new) = apart(move || {
            let (mut candidates, mut suspects) = (Sorter::new(&spare), 0_u64);
            let mut now = old.map_or_else(|| prepared.names(), Sorter::finish).map_err(unreadable)?;
            let mut suspect = |name| {
                suspects += 1;
                candidates.add(&name, NEVER)
            };
            let (gone, new) = inventory.compare(&mut now, today, &mut suspect).map_err(unreadable)?;
            Ok((prepared, candidates, suspects, gone, new))
        })
        .await?;
        let mut lost = (0, Vec::new());
        if suspects > 0 {
            match self.everything(dataset, &named_by, Sorter::new(&folder)).await {
                Ok(there) => {
                    let spent = Gone { log: self.log_folder(), since: taken, dataset: Arc::clone(dataset), key: Arc::clone(&named_by) };
                    let unknown;
                    (lost, unknown) = apart(move || spent.apart_from(absent(&folder, candidates, there)?)).await?;
                    if followed && lost.0 > 0 {
                        ran.findings.push(Finding::warning(&dataset.address, before_the_log(lost.0, &since)));
                        lost = (0, Vec::new());
                    } else if (1..=unknown).contains(&lost.0) {
                        ran.findings.push(Finding::warning(&dataset.address, cannot_be_told(lost.0, unknown)));
                        lost = (0, Vec::new());
                    }
                }
                // Without a second look nobody is accused; the inventory before stays, and the next run compares with it.
                Err(why) => {
                    let text = format!("{suspects} records seem to be missing, and could not be looked for: {why}");
                    ran.findings.push(Finding::warning(&dataset.address, text));
                    return Ok(());
                }
            }
        }
        self.tell_lost(run, ran, (lost.0, &lost.1), &named_by, (&since, new)).await?;
        apart(move || prepared.keep()).await?;
        ran.inventory = Some(json!({"records": records, "lost": lost.0, "gone": gone, "new": new}));
        Ok(())
    }

    async fn tell_lost(
        &self,
        run: &Run,
        ran: &mut Ran,
        (lost, named): (u64, &[[u8; 32]]),
        key: &EpochKey,
        (since, new): (&str, u64),
    ) -> Result<()> {
        if lost == 0 {
            return Ok(());
        }
        let dataset = run.dataset();
        for (at, names) in named.chunks(NAMED).enumerate() {
            let names: Vec<String> = names.iter().map(|name| key.name(name)).collect();
            let body = json!({
                "run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "since": since, "part": at + 1,
                "parts": named.len().div_ceil(NAMED), "count": lost, "new": new, "records": names, "by": BY,
            });
            self.tell(EntryKind::Lost, vec![body]).await?;
        }
        let hint = if new > 0 { format!("; {new} new ones are there, which may be the same under other names") } else { String::new() };
        let text =
            format!("{lost} records are LOST: they were there at {since}, were to be kept, and are gone, not through this program{hint}");
        ran.findings.push(Finding::warning(&dataset.address, text));
        Ok(())
    }

    /// The names of everything that is there, also of what the dataset leaves out at present.
    async fn everything(&self, dataset: &Arc<Dataset>, key: &EpochKey, mut names: Sorter) -> std::result::Result<Sorter, String> {
        let (out, mut batches) = mpsc::channel::<Vec<Record>>(4);
        let query = Query { bound: None, whole: true, now: self.now, seen: Arc::default() };
        let scanning = tokio::spawn({
            let dataset = Arc::clone(dataset);
            async move { dataset.store.scan(&dataset.name, query, out).await }
        });
        let mut failed = None;
        while let Some(batch) = batches.recv().await {
            for record in &batch {
                let name = key.record_bytes(dataset.store.name(), &dataset.name, record.key.as_bytes());
                failed = failed.or(names.add(&name, 0).err());
            }
        }
        let scanned = scanning.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        match (scanned.incomplete, failed) {
            (Some(why), _) => Err(why),
            (None, Some(error)) => Err(error.to_string()),
            (None, None) => Ok(names),
        }
    }
}

/// Records that are missing: how many, and the first of them.
type Missing = (u64, Vec<[u8; 32]>);

/// The candidates that are not there.
fn absent(folder: &Path, candidates: Sorter, there: Sorter) -> Result<Sorter> {
    let mut absent = Sorter::new(folder);
    missing(candidates, there.finish().map_err(unreadable)?, &mut |name| absent.add(&name, NEVER)).map_err(unreadable)?;
    Ok(absent)
}

/// What went through this program since an inventory was taken, as the log says.
struct Gone {
    log: PathBuf,
    /// The entry from which on it is to be read; `None`: not known, and nothing is read.
    since: Option<u64>,
    dataset: Arc<Dataset>,
    key: Arc<EpochKey>,
}

impl Gone {
    /// Of the records that are absent those that this program did not destroy; and how many it destroyed under names that the key cannot tell.
    fn apart_from(&self, absent: Sorter) -> Result<(Missing, u64)> {
        let (mut ours, mut unknown) = (Sorter::new(absent.folder()), 0);
        if let Some(since) = self.since.filter(|_| !absent.is_empty()) {
            let (store, name) = (self.dataset.store.name(), self.dataset.name.as_str());
            for item in Reader::open(&self.log)?.from(since) {
                let entry = Entry::parse(&item?.1)?;
                if !went(&entry) || entry.str("store") != Some(store) || entry.str("dataset") != Some(name) {
                    continue;
                }
                match entry.str("record").and_then(|record| self.key.bytes_of(store, name, record)) {
                    Some(name) => ours.add(&name, NEVER).map_err(unreadable)?,
                    None => unknown += 1,
                }
            }
        }
        let mut lost = (0_u64, Vec::new());
        let mut tell = |name| {
            lost.0 += 1;
            if lost.1.len() < MOST_NAMED {
                lost.1.push(name);
            }
            Ok(())
        };
        missing(absent, ours.finish().map_err(unreadable)?, &mut tell).map_err(unreadable)?;
        Ok((lost, unknown))
    }
}

fn before_the_log(missing: u64, since: &str) -> String {
    format!(
        "{missing} records are missing that were there at {since}, and the log was begun anew since then: what went through this program before that stands in \
         the log that was set aside, so it cannot be told whether any was lost"
    )
}

fn cannot_be_told(missing: u64, unknown: u64) -> String {
    format!(
        "{missing} records are missing, and {unknown} went through this program under names of another year: it cannot be told whether any was lost"
    )
}

/// Whether an entry says that a record is gone, and through this program.
fn went(entry: &Entry) -> bool {
    match entry.kind {
        EntryKind::Destroyed | EntryKind::Attested => true,
        EntryKind::Recovered => matches!(entry.str("found"), Some("gone" | "remains")),
        _ => false,
    }
}

impl Taking {
    /// Takes a record that the scan saw.
    pub(super) fn take(&mut self, dataset: &Dataset, record: &Record, assessment: &Assessment) {
        let verdict = &assessment.verdict;
        let until = match (verdict.standing, &verdict.deciding) {
            (Standing::Due | Standing::NotYetDue, Some(facts)) => day(facts.due),
            _ => NEVER,
        };
        let name = |key: &EpochKey| key.record_bytes(dataset.store.name(), &dataset.name, record.key.as_bytes());
        let mut add = |sorter: &mut Sorter, name: [u8; 32]| {
            if let Err(error) = sorter.add(&name, until) {
                self.failed.get_or_insert(error);
            }
        };
        add(&mut self.names, name(&self.epoch));
        if let Some((_, Some((key, sorter)))) = &mut self.before {
            let name = name(key);
            add(sorter, name);
        }
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::with_source(Kind::Io, "the inventory cannot be read", error)
}

/// Does what reads and writes files where that holds nobody up.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::with_source(Kind::Io, "taking the inventory ended abnormally", error))?
}
