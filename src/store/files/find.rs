//! Finding single records again: by key, by value, and as they appear to other datasets of the same store.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64};

use jiff::Timestamp;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::companion::Template;
use super::component::Component;
use super::dataset::Dataset;
use super::directory::{Survey, Trouble};
use super::pattern::split;
use super::reading::{Body, in_doubt, record};
use super::root::{Facts, Root, open_dir, words};
use super::walk::{Task, Walk, join};
use crate::record::{Doubt, Key, Moment, Reading, Record};
use crate::schedule::EventName;
use crate::store::Found;

/// Records of another dataset inside one directory that are looked at one by one; beyond it the directory is in doubt.
const MOST_INSIDE: usize = 10_000;

/// What stands under a record's key.
pub enum Standing {
    /// The record, and the open directory in which it stands.
    Present(Box<Record>),
    /// Nothing, and the directory in which it would stand, if that is there.
    Absent(Option<OwnedFd>),
    /// A file that by now goes with another record beside it.
    Companion,
    /// It cannot be told.
    Unknown(String),
}

/// Looks for the record under a key.
pub fn look(root: &Root, dataset: &Dataset, key: &[u8]) -> Standing {
    let Some((parent, name)) = split(key).filter(|_| dataset.pattern.matches(key)) else { return Standing::Absent(None) };
    let dir = match root.dir(parent) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR) => return Standing::Absent(None),
        Err(error) => return Standing::Unknown(obstacle(error)),
    };
    let facts = match Facts::at(&dir, name) {
        Ok(facts) => facts,
        Err(Errno::NOENT) => return Standing::Absent(Some(dir)),
        Err(error) => return Standing::Unknown(obstacle(error)),
    };
    let captured = dataset.pattern.capture(key);
    if facts.mount {
        return Standing::Unknown(obstacle(Errno::XDEV));
    }
    if dataset.directories() {
        let survey = match open_dir(&dir, name).map_err(Trouble::System).and_then(|inside| Survey::of(&inside)) {
            Ok(survey) => survey,
            Err(Trouble::System(Errno::NOENT)) => return Standing::Absent(Some(dir)),
            Err(Trouble::System(error)) => return Standing::Unknown(obstacle(error)),
            Err(trouble) => return Standing::Unknown(trouble.to_string()),
        };
        return Standing::Present(Box::new(record(dataset, Key::new(key), &dir, name, &captured, &survey.body, &survey.fingerprint())));
    }
    if !facts.is_file() {
        return Standing::Unknown("something that is not a regular file stands where the record was".into());
    }
    if dataset.looks_like_companion(name) {
        match dataset.owners(&dir, &[name.to_vec()], |beside| dataset.pattern.matches(&join(parent, beside))) {
            Ok(owners) if owners.iter().any(Option::is_some) => return Standing::Companion,
            Ok(_) => {}
            Err(error) => return Standing::Unknown(obstacle(error)),
        }
    }
    Standing::Present(Box::new(record(dataset, Key::new(key), &dir, name, &captured, &Body::of(&facts), &facts.pack())))
}

/// Looks for the record under a key, and for what goes with it.
pub fn fetch(root: &Root, dataset: &Dataset, key: &Key) -> Found {
    match look(root, dataset, key.as_bytes()) {
        Standing::Present(record) => Found::Present(record),
        Standing::Unknown(why) => Found::Unknown(why),
        Standing::Companion => Found::Outside("the file is there, and goes with another record beside it by now".into()),
        Standing::Absent(None) => Found::Absent,
        Standing::Absent(Some(dir)) => match split(key.as_bytes()).map(|(parent, name)| present_companions(dataset, &dir, parent, name)) {
            Some(Ok(there)) if !there.is_empty() => Found::Remains,
            Some(Err(error)) => Found::Unknown(obstacle(error)),
            _ => Found::Absent,
        },
    }
}

/// The companions of a record that are there and regular files, each with what it is, without those that another record claims too.
pub fn present_companions(dataset: &Dataset, dir: &OwnedFd, parent: &[u8], name: &[u8]) -> rustix::io::Result<Vec<(Vec<u8>, Facts)>> {
    if dataset.companions.is_empty() {
        return Ok(Vec::new());
    }
    let matches = |beside: &[u8]| dataset.pattern.matches(&join(parent, beside));
    let mut there = Vec::new();
    for companion in dataset.companions_of(name, matches) {
        match Facts::at(dir, companion.as_slice()) {
            Ok(facts) if facts.is_file() && !facts.mount => there.push((companion, facts)),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    if dataset.shares_companions() && !there.is_empty() {
        let names: Vec<Vec<u8>> = there.iter().map(|(name, _)| name.clone()).collect();
        let owners = dataset.owners(dir, &names, |beside| beside != name && matches(beside))?;
        let mut owners = owners.iter();
        there.retain(|_| owners.next().is_none_or(Option::is_none));
    }
    Ok(there)
}

/// Why a place below the root could not be reached.
pub fn obstacle(error: Errno) -> String {
    match error {
        Errno::LOOP => "a symlink stands in its path, which is not followed".into(),
        Errno::XDEV => "another file system is mounted in its path".into(),
        error => words(error),
    }
}

/// The reading of one event of the record under a key.
pub fn lookup_key(root: &Root, dataset: &Dataset, event: &EventName, key: &str) -> Reading {
    let Some(at) = dataset.events.iter().position(|(name, _)| name == event) else {
        return Reading::Doubt(Doubt::Missing("the event in the dataset that is looked up".into()));
    };
    match look(root, dataset, key.as_bytes()) {
        Standing::Present(record) => record.readings[at].clone(),
        Standing::Absent(_) | Standing::Companion => Reading::Doubt(Doubt::Missing("the record that is looked up".into())),
        Standing::Unknown(why) => Reading::Doubt(Doubt::Failed(why)),
    }
}

/// The readings of one event for values of a capture: one walk for all of them.
pub fn lookup(root: &Root, dataset: &Dataset, event: &EventName, on: usize, values: &[&str]) -> Vec<Reading> {
    let Some(at) = dataset.events.iter().position(|(name, _)| name == event) else {
        return values.iter().map(|_| Reading::Doubt(Doubt::Missing("the event in the dataset that is looked up".into()))).collect();
    };
    let wanted: HashSet<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
    let found: Mutex<HashMap<Box<[u8]>, Reading>> = Mutex::default();
    let emit = |batch: Vec<Record>| {
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        for mut record in batch {
            let captured = dataset.pattern.capture(record.key.as_bytes());
            let Some(value) = captured.plain.into_iter().nth(on).flatten() else { continue };
            let reading = std::mem::replace(&mut record.readings[at], Reading::NotYet);
            match found.entry(value) {
                std::collections::hash_map::Entry::Vacant(entry) => _ = entry.insert(reading),
                std::collections::hash_map::Entry::Occupied(mut entry) => {
                    let both = latest(entry.get(), reading);
                    entry.insert(both);
                }
            }
        }
        true
    };
    let stop = AtomicBool::new(false);
    let walk = Walk {
        root,
        dataset,
        bound: None,
        now: Timestamp::MAX,
        task: Task::Send { emit: &emit, only: Some((on, &wanted)), seen: &AtomicU64::new(0) },
        stop: &stop,
    };
    let seen = walk.run();
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let reading = |value: &&str| match (&seen.incomplete, found.get(value.as_bytes())) {
        // A record that was not seen may have the later date.
        (Some(why), _) => Reading::Doubt(Doubt::Failed(why.clone())),
        (None, Some(Reading::Elsewhere(_))) => Reading::Doubt(Doubt::Failed("the dataset that is looked up looks elsewhere itself".into())),
        (None, Some(reading)) => reading.clone(),
        (None, None) => Reading::Doubt(Doubt::Missing("the record that is looked up".into())),
    };
    values.iter().map(reading).collect()
}

/// The later of two readings for the same value; doubt when one of them has no date.
fn latest(one: &Reading, other: Reading) -> Reading {
    match (one, other) {
        (Reading::At(Moment::Date(one)), Reading::At(Moment::Date(other))) => Reading::At(Moment::Date(other.max(*one))),
        (Reading::At(Moment::Instant(one)), Reading::At(Moment::Instant(other))) => Reading::At(Moment::Instant(other.max(*one))),
        (Reading::NotYet, Reading::NotYet) => Reading::NotYet,
        (Reading::Doubt(doubt), _) => Reading::Doubt(doubt.clone()),
        (_, Reading::Doubt(doubt)) => Reading::Doubt(doubt),
        _ => Reading::Doubt(Doubt::Failed("several records match, and not all of them have a date of one kind".into())),
    }
}

/// Whether two datasets may ever meet in one record, a companion included. Errs towards yes.
pub fn related(one: &Dataset, other: &Dataset) -> bool {
    let beside = |dataset: &Dataset, template: &Template| dataset.pattern.beside(Component::affix(&template.prefix, &template.suffix));
    one.reach().may_meet(other.reach())
        || one.companions.iter().any(|template| beside(one, template).may_meet(other.reach()))
        || other.companions.iter().any(|template| beside(other, template).may_meet(one.reach()))
}

/// The records of `other` that are the same thing as a record of `dataset`, lie inside it, contain it, go with it, or own it.
pub fn elsewhere(root: &Root, dataset: &Dataset, other: &Dataset, key: &[u8], cache: &mut HashMap<Vec<u8>, Option<Record>>) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    let Some((parent, name)) = split(key) else { return found };
    let mut paths = vec![key.to_vec()];
    if let Ok(dir) = root.dir(parent) {
        match present_companions(dataset, &dir, parent, name) {
            Ok(there) => paths.extend(there.into_iter().map(|(companion, _)| join(parent, &companion))),
            Err(error) => found.push(in_doubt(other, key, &obstacle(error))),
        }
        // A part of another record must not go before that record may.
        let matches = |beside: &[u8]| other.pattern.matches(&join(parent, beside));
        if !other.directories() {
            match other.owners(&dir, &[name.to_vec()], matches) {
                Ok(owners) => paths.extend(owners.into_iter().flatten().map(|owner| join(parent, &owner))),
                Err(error) => found.push(in_doubt(other, key, &obstacle(error))),
            }
        }
    }
    let mut add = |path: &[u8], found: &mut Vec<Record>| {
        if found.iter().any(|known| known.key.as_bytes() == path) {
            return;
        }
        let record = cache.entry(path.to_vec()).or_insert_with(|| match look(root, other, path) {
            Standing::Present(record) => Some(*record),
            Standing::Absent(_) | Standing::Companion => None,
            Standing::Unknown(why) => Some(in_doubt(other, path, &why)),
        });
        found.extend(record.clone());
    };
    for path in &paths {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends.filter(|end| *end == path.len() || other.directories()) {
            if other.pattern.matches(&path[..end]) {
                add(&path[..end], &mut found);
            }
        }
    }
    if dataset.directories() {
        let mut inside = Vec::new();
        match root.dir(key).map_err(Trouble::System).and_then(|dir| list(&dir, &mut key.to_vec(), other, &mut inside, 0)) {
            Ok(()) if inside.len() < MOST_INSIDE => inside.iter().for_each(|path| add(path, &mut found)),
            Ok(()) => found.push(in_doubt(other, key, "the directory holds too many records of this dataset to look at each")),
            Err(Trouble::System(Errno::NOENT)) => {}
            Err(trouble) => found.push(in_doubt(other, key, &trouble.to_string())),
        }
    }
    // Memory is bounded by what one batch needs; directories are the only thing that several records of a batch share.
    if cache.len() > MOST_INSIDE {
        cache.clear();
    }
    found
}

/// Collects the paths below a directory that the dataset's pattern matches.
fn list(dir: &OwnedFd, path: &mut Vec<u8>, other: &Dataset, inside: &mut Vec<Vec<u8>>, depth: usize) -> Result<(), Trouble> {
    super::directory::each(dir, depth, |name, facts| {
        let before = path.len();
        path.push(b'/');
        path.extend_from_slice(name);
        let directory = facts.kind() == rustix::fs::FileType::Directory;
        if directory == other.directories() && inside.len() < MOST_INSIDE && other.pattern.matches(path) {
            inside.push(path.clone());
        } else if directory && inside.len() < MOST_INSIDE {
            match open_dir(dir, name) {
                Ok(below) => list(&below, path, other, inside, depth + 1)?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(Trouble::System(error)),
            }
        }
        path.truncate(before);
        Ok(())
    })
}
