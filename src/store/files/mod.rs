//! The files store: records that are files, or whole directories, below one root.
//!
//! Read in this order: [`dataset`] (what the configuration says), [`pattern`] (which paths are records), [`root`] (how anything is reached),
//! [`walk`] and [`seen`] (the scan), [`reading`] (dates), [`find`] (single records), [`remove`] and [`erase`] (the end of a record), [`directory`].
//!
//! **What it never does.** It follows no symlink below the root and crosses no mount. Symlinks, devices, sockets and pipes are never records. It
//! creates, renames and truncates nothing; the only things it ever changes are records that it removes and, when a dataset asks for overwriting,
//! their contents just before.
//!
//! **What tells that a file is the same**: device, inode, size, times of modification, change and birth, type. Any difference keeps the record.
//! A change that leaves all of these as they are (raw writes to the device, a clock that stands still) is not seen.
//!
//! **An absent mount** looks like an empty directory. A store whose root is no longer the directory that it was when first opened refuses to work
//! until the service is restarted, because "the record is gone" would be a lie there.
//!
//! Threads: a scan uses its dataset's `readers`; removal blocks the worker thread that polls it (the runtime is told), so batches that are to
//! run side by side are spawned as tasks.

mod companion;
mod component;
#[cfg(test)]
mod conformance;
mod dataset;
mod directory;
mod erase;
mod find;
mod medium;
mod pattern;
mod reading;
mod remove;
mod root;
mod seen;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::sync::mpsc;

use self::dataset::Dataset;
use self::root::Root;
use self::walk::{Task, Walk};
use super::{Configure, DatasetHead, Fate, Found, Guard, Kind, Order, Query, Scanned, Store, StoreHead};
use crate::dispose::Permit;
use crate::error::{Error, Kind as Trouble, Result, escape};
use crate::finding::Finding;
use crate::record::{Key, Reading, Record};
use crate::schedule::EventName;
use crate::yaml::{Fields, Node, Problems};

/// The kind `files`.
pub const KIND: Kind = Kind { key: "files", configure };

/// A files store.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    root: PathBuf,
    datasets: Vec<Dataset>,
    /// Pairs of datasets that may meet in one record, a companion included.
    related: Vec<(usize, usize)>,
    /// Device and inode of the root when it was first opened.
    first: OnceLock<((u32, u32), u64)>,
}

struct Draft {
    name: String,
    root: PathBuf,
    datasets: Vec<Dataset>,
}

fn configure(head: &StoreHead<'_>, place: &Node, _fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Box<dyn Configure>> {
    let path = place.text("the path of a directory", problems)?;
    Some(Box::new(Draft { name: head.name.to_owned(), root: head.base.join(path), datasets: Vec::new() }))
}

impl Configure for Draft {
    fn dataset(&mut self, head: &DatasetHead<'_>, fields: &mut Fields<'_>, problems: &mut Problems) {
        self.datasets.extend(Dataset::configure(head, fields, problems));
    }

    fn finish(self: Box<Self>) -> Arc<dyn Store> {
        Arc::new(Files::new(self.name, self.root, self.datasets))
    }
}

/// Stops a walk when whoever asked for it is gone.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Files {
    fn new(name: String, root: PathBuf, datasets: Vec<Dataset>) -> Self {
        let mut related = Vec::new();
        for one in 0..datasets.len() {
            for other in (0..datasets.len()).filter(|other| *other != one) {
                if find::related(&datasets[one], &datasets[other]) {
                    related.push((one, other));
                }
            }
        }
        Self { inner: Arc::new(Inner { name, root, datasets, related, first: OnceLock::new() }) }
    }

    /// Runs blocking work on its own thread.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.inner.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => done,
            Err(error) => {
                Err(Error::with_source(Trouble::Store, format!("store {}: the work came to a sudden end", self.inner.name), error))
            }
        }
    }
}

impl Inner {
    fn open(&self) -> Result<Root> {
        let root = Root::open(&self.root).map_err(|error| error.context(format_args!("store {}", self.name)))?;
        let now = (root.facts.dev, root.facts.ino);
        if *self.first.get_or_init(|| now) != now {
            let message = format!(
                "store {}: expected the directory that was at {} when the service started, found another one; mount it again or restart the service",
                self.name,
                escape(self.root.as_os_str().as_encoded_bytes())
            );
            return Err(Error::new(Trouble::Store, message));
        }
        Ok(root)
    }

    fn dataset(&self, name: &str) -> Result<(usize, &Dataset)> {
        let found = self.datasets.iter().enumerate().find(|(_, dataset)| dataset.name == name);
        found.ok_or_else(|| Error::new(Trouble::Store, format!("store {}: it has no dataset {}", self.name, escape(name.as_bytes()))))
    }

    fn about(&self, dataset: &Dataset) -> String {
        format!("{}/{}", self.name, dataset.name)
    }
}

#[async_trait]
impl Store for Files {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn place(&self) -> String {
        escape(self.inner.root.as_os_str().as_encoded_bytes())
    }

    fn identity(&self) -> String {
        let path = root::canonical(&self.inner.root);
        let path = escape(path.as_os_str().as_encoded_bytes());
        match Root::open(&self.inner.root) {
            Ok(root) => format!("{path} ({}:{}:{})", root.facts.dev.0, root.facts.dev.1, root.facts.ino),
            Err(_) => path,
        }
    }

    async fn mark(&self) -> String {
        // The device's number may change when the machine starts again; the file system's id and the folder's inode do not.
        let facts = Root::open(&self.inner.root).ok().and_then(|root| Some((rustix::fs::fstatvfs(root.fd()).ok()?.f_fsid, root.facts.ino)));
        facts.map_or_else(|| "not there".to_owned(), |(file_system, inode)| format!("{file_system:x}:{inode}"))
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.inner.root)
    }

    fn grades(&self) -> &'static [&'static str] {
        erase::GRADES
    }

    fn lanes(&self) -> usize {
        // Some remove while others wait for their directory's sync, however slow the disk is; more of them only contend for the journal.
        4
    }

    fn overlaps(&self) -> Vec<(String, String)> {
        let datasets = &self.inner.datasets;
        let pairs = self.inner.related.iter().filter(|(one, other)| one < other).map(|(one, other)| (&datasets[*one], &datasets[*other]));
        pairs
            .filter(|(one, other)| one.reach().may_meet(other.reach()))
            .map(|(one, other)| (one.name.clone(), other.name.clone()))
            .collect()
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        self.blocking(|inner| {
            let root = inner.open()?;
            let mut findings = Vec::new();
            for dataset in inner.datasets.iter().filter(|dataset| dataset.overwrite) {
                let medium = medium::Medium::of(root.fd());
                let why = match medium.refuses {
                    Some(caveat) => {
                        format!("nothing can be overwritten in place here ({caveat}), so records are at best `{}`", erase::UNLINKED)
                    }
                    None if medium.only_without_copy => {
                        "only files that are exempt from copy-on-write (chattr +C) can be overwritten in place here".into()
                    }
                    None => continue,
                };
                findings.push(Finding::warning(inner.about(dataset), why));
            }
            Ok(findings)
        })
        .await
    }

    async fn scan(&self, dataset: &str, query: Query, out: mpsc::Sender<Vec<Record>>) -> Result<Scanned> {
        let name = dataset.to_owned();
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let flag = stop.0.clone();
        self.blocking(move |inner| {
            let (_, dataset) = inner.dataset(&name)?;
            let root = inner.open()?;
            let walk = Walk {
                root: &root,
                dataset,
                bound: query.bound.as_ref(),
                now: query.now,
                task: Task::Send { emit: &|batch| out.blocking_send(batch).is_ok(), only: None, seen: &query.seen },
                stop: &flag,
            };
            let seen = walk.run();
            let findings = seen.findings(&inner.about(dataset));
            let passed_over =
                seen.passed_over.filter(|_| query.whole).map(|place| format!("{place} is not entered, and records may be there"));
            let incomplete = seen.incomplete.or(passed_over);
            Ok(Scanned { population: seen.population, left_out: seen.left_out, incomplete, findings })
        })
        .await
    }

    async fn count_left_out(&self, dataset: &str, query: Query, enough: u64) -> Result<u64> {
        let name = dataset.to_owned();
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let flag = stop.0.clone();
        self.blocking(move |inner| {
            let (_, dataset) = inner.dataset(&name)?;
            let root = inner.open()?;
            let task = Task::CountLeftOut(enough);
            let walk = Walk { root: &root, dataset, bound: query.bound.as_ref(), now: query.now, task, stop: &flag };
            // What could not be read is not counted: the number errs low.
            Ok(if enough == 0 { 0 } else { walk.run().population })
        })
        .await
    }

    async fn fetch(&self, dataset: &str, keys: &[Key]) -> Result<Vec<Found>> {
        let (name, keys) = (dataset.to_owned(), keys.to_vec());
        self.blocking(move |inner| {
            let (_, dataset) = inner.dataset(&name)?;
            let root = inner.open()?;
            Ok(keys.iter().map(|key| find::fetch(&root, dataset, key)).collect())
        })
        .await
    }

    async fn lookup(&self, dataset: &str, event: &EventName, on: Option<&str>, values: &[&str]) -> Result<Vec<Reading>> {
        let (name, event, on) = (dataset.to_owned(), event.clone(), on.map(str::to_owned));
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        self.blocking(move |inner| {
            let (_, dataset) = inner.dataset(&name)?;
            let root = inner.open()?;
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let Some(on) = on else {
                return Ok(values.iter().map(|value| find::lookup_key(&root, dataset, &event, value)).collect());
            };
            let Some(on) = dataset.pattern.names().iter().position(|name| *name == on) else {
                let message = format!("store {}: dataset {} has no capture {}", inner.name, dataset.name, escape(on.as_bytes()));
                return Err(Error::new(Trouble::Store, message));
            };
            Ok(find::lookup(&root, dataset, &event, on, &values))
        })
        .await
    }

    async fn elsewhere(&self, dataset: &str, records: &[Record]) -> Result<Vec<Vec<(String, Record)>>> {
        let (at, _) = self.inner.dataset(dataset)?;
        let others: Vec<usize> = self.inner.related.iter().filter(|(one, _)| *one == at).map(|(_, other)| *other).collect();
        if others.is_empty() {
            return Ok(vec![Vec::new(); records.len()]);
        }
        let keys: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
        self.blocking(move |inner| {
            let root = inner.open()?;
            let mut found = vec![Vec::new(); keys.len()];
            for other in others {
                let other = &inner.datasets[other];
                let mut cache = HashMap::new();
                for (key, found) in keys.iter().zip(&mut found) {
                    let records = find::elsewhere(&root, &inner.datasets[at], other, key.as_bytes(), &mut cache);
                    found.extend(records.into_iter().map(|record| (other.name.clone(), record)));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn remove(&self, _permit: &Permit, dataset: &str, order: &Order, records: &[Record], guard: &Guard<'_>) -> Vec<Fate> {
        let work = || {
            let opened = self.inner.dataset(dataset).and_then(|(_, dataset)| Ok((dataset, self.inner.open()?)));
            match opened {
                Ok((dataset, root)) => remove::remove(&root, dataset, order, records, guard),
                Err(error) => records.iter().map(|_| Fate::Failed { error: error.to_string(), uncertain: false }).collect(),
            }
        };
        // The guard is borrowed, so the work cannot move to another thread; the runtime moves its other tasks away instead, where it can.
        match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
            _ => work(),
        }
    }
}
