//! The walk through a store: several readers that share a stack of directories.
//!
//! The kernel's work decides how long a walk takes, so the walk asks it for as little as it can: one listing of each directory in large pieces,
//! one `statx` for each name that the pattern matches, and none for names that do not. Where the path alone proves that a record cannot be due,
//! it is counted without a `statx`; where a directory's date proves it for everything below, the directory is not even listed.
//!
//! Memory does not grow with the store: the stack holds [`STACK`] directories at most (a reader that finds it full goes down by itself), and
//! each reader holds one message of records.
//!
//! What it meets and does not follow it reports: symlinks and special files that the pattern matches, other file systems mounted inside, names
//! that miss the pattern only by the form of their date. A directory or file that cannot be read makes the walk incomplete.

use std::collections::HashSet;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::dataset::{Dataset, Source};
use super::directory::{Survey, Trouble};
use super::pattern::{Captured, Dated, Position};
use super::reading::{Body, record};
use super::root::{Facts, Root, open_dir, words};
use super::seen::{Seen, shown, shown_in};
use crate::judge::Bound;
use crate::record::{Key, Reading, Record};
use crate::schedule::EventName;
use crate::store::MESSAGE;

/// Bytes of one listing. Larger ones gained nothing when measured.
pub const LISTING: usize = 32 << 10;

/// Directories that wait at most; beyond it a reader goes down by itself.
const STACK: usize = 4096;

/// Names that look like companions and wait for one listing of their directory.
const SUSPECTS: usize = 1024;

/// Stack of a reader's thread: enough to go down as deep as a path can be long.
const THREAD: usize = 16 << 20;

/// One walk and what it is for.
pub struct Walk<'a> {
    /// The store's root.
    pub root: &'a Root,
    /// The dataset that is looked for.
    pub dataset: &'a Dataset,
    /// Records outside it are only counted.
    pub bound: Option<&'a Bound>,
    /// What counts as now.
    pub now: Timestamp,
    /// What is done with what is found.
    pub task: Task<'a>,
    /// Set from outside to stop early.
    pub stop: &'a AtomicBool,
}

/// What a walk is for.
pub enum Task<'a> {
    /// Hand over every record within the bound or in doubt; the walk stops when the answer is no.
    Send {
        /// Takes a batch.
        emit: &'a (dyn Fn(Vec<Record>) -> bool + Sync),
        /// Only records of which this capture is one of these.
        only: Option<(usize, &'a HashSet<&'a [u8]>)>,
        /// Counts records as they are seen.
        seen: &'a AtomicU64,
    },
    /// Count, up to this number, the records in directories that a walk with the same bound leaves out.
    CountLeftOut(u64),
}

/// A directory to be listed.
struct Dir {
    path: Vec<u8>,
    depth: usize,
    at: Position,
    captured: Captured,
    left_out: bool,
    /// Whether the files right here may be due, where the path down to here tells it of all of them alike.
    alike: Option<bool>,
}

#[derive(Default)]
struct Pending {
    dirs: Vec<Dir>,
    busy: usize,
    /// Readers that wait for a directory. To wake nobody is a system call too.
    waiting: usize,
}

/// What one reader holds.
#[derive(Default)]
struct Reader {
    seen: Seen,
    batch: Vec<Record>,
    buffers: Vec<Vec<u8>>,
    scratch: Captured,
    /// Of the population, how many were told to who watches.
    told: u64,
}

struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
    counted: AtomicU64,
    /// Some event needs more than the path.
    needs_stat: bool,
    tomorrow: Date,
    /// Seconds since 1970 after which a time lies in the future, beyond any difference of clocks and zones.
    future: i64,
}

impl Walk<'_> {
    /// Walks. Blocks until done.
    pub fn run(&self) -> Seen {
        let pattern = &self.dataset.pattern;
        let start = Dir { path: Vec::new(), depth: 0, at: pattern.start(), captured: pattern.nothing(), left_out: false, alike: None };
        let day = jiff::SignedDuration::from_hours(24);
        let tomorrow = self.now.saturating_add(day).unwrap_or(Timestamp::MAX);
        let shared = Shared {
            pending: Mutex::new(Pending { dirs: vec![start], ..Pending::default() }),
            wake: Condvar::new(),
            counted: AtomicU64::new(0),
            needs_stat: self.dataset.events.iter().any(|(_, source)| !matches!(source, Source::Path(_) | Source::Elsewhere(_))),
            tomorrow: jiff::tz::TimeZone::UTC.to_datetime(tomorrow).date(),
            future: tomorrow.as_second(),
        };
        let mut seen = std::thread::scope(|scope| {
            let spawn = |_| {
                let builder = std::thread::Builder::new().name("files-reader".into()).stack_size(THREAD);
                // Where no further thread is to be had, those that run do the work.
                builder.spawn_scoped(scope, || self.reader(&shared)).ok()
            };
            let threads: Vec<_> = (0..self.dataset.readers).filter_map(spawn).collect();
            let mut all = if threads.is_empty() { self.reader(&shared) } else { Seen::default() };
            for thread in threads {
                match thread.join() {
                    Ok(seen) => all.absorb(seen),
                    Err(_) => all.miss("a reader of this walk came to a sudden end".into()),
                }
            }
            all
        });
        if let Task::CountLeftOut(enough) = self.task {
            seen.population = shared.counted.load(Ordering::Relaxed).min(enough);
        }
        seen
    }

    fn reader(&self, shared: &Shared) -> Seen {
        // Should a reader panic, the others must not wait for its directory for ever.
        struct Done<'s>(&'s Shared);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                let mut pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
                pending.busy -= 1;
                if pending.busy == 0 {
                    self.0.wake.notify_all();
                }
            }
        }
        let mut reader = Reader { scratch: self.dataset.pattern.nothing(), ..Reader::default() };
        while let Some(dir) = self.next(shared) {
            let _done = Done(shared);
            self.list(&dir, &mut reader, shared);
        }
        self.flush(&mut reader);
        reader.seen
    }

    fn next(&self, shared: &Shared) -> Option<Dir> {
        let mut pending = shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                shared.wake.notify_all();
                return None;
            }
            if let Some(dir) = pending.dirs.pop() {
                pending.busy += 1;
                return Some(dir);
            }
            if pending.busy == 0 {
                return None;
            }
            pending.waiting += 1;
            pending = shared.wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
            pending.waiting -= 1;
        }
    }

    fn list(&self, dir: &Dir, reader: &mut Reader, shared: &Shared) {
        let fd = match self.root.dir(&dir.path) {
            Ok(fd) => fd,
            Err(error) => return reader.seen.not_opened(&dir.path, error),
        };
        let mut buffer = reader.buffers.pop().unwrap_or_else(|| Vec::with_capacity(LISTING));
        let mut suspects: Vec<Vec<u8>> = Vec::new();
        let mut entries = RawDir::new(&fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let entry = match entry {
                Ok(entry) => entry,
                // The directory was removed while it was being listed.
                Err(Errno::NOENT) => break,
                Err(error) => {
                    reader.seen.miss(format!("{}: the directory cannot be read: {}", shown(&dir.path), words(error)));
                    break;
                }
            };
            let name = entry.file_name();
            let bytes = name.to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match Facts::at(&fd, name) {
                    Ok(facts) => facts.kind(),
                    Err(Errno::NOENT) => continue,
                    Err(error) => {
                        reader.seen.miss(format!("{}: cannot be read: {}", shown_in(&dir.path, bytes), words(error)));
                        continue;
                    }
                },
                kind => kind,
            };
            match kind {
                FileType::Directory => self.directory(dir, &fd, bytes, reader, shared),
                kind if self.dataset.directories() || !self.dataset.pattern.accepts(dir.at, bytes) => {
                    if kind != FileType::RegularFile && self.dataset.pattern.enter(dir.at, bytes).is_some() {
                        reader.seen.pass_over(|| shown_in(&dir.path, bytes));
                    }
                    if kind == FileType::RegularFile && self.dataset.pattern.nearly(dir.at, bytes, self.dataset.directories()) {
                        reader.seen.nearly.add(|| shown_in(&dir.path, bytes));
                    }
                }
                FileType::RegularFile if self.dataset.looks_like_companion(bytes) => {
                    suspects.push(bytes.to_vec());
                    if suspects.len() == SUSPECTS {
                        self.suspects(dir, &fd, &mut suspects, reader, shared);
                    }
                }
                FileType::RegularFile => self.file(dir, &fd, name, reader, shared),
                _ => reader.seen.special(|| shown_in(&dir.path, bytes)),
            }
        }
        self.suspects(dir, &fd, &mut suspects, reader, shared);
        reader.buffers.push(buffer);
        if let Task::Send { seen, .. } = self.task {
            seen.fetch_add(reader.seen.population - reader.told, Ordering::Relaxed);
            reader.told = reader.seen.population;
        }
    }

    /// Names that have the form of a companion: records only if nothing beside them owns them.
    fn suspects(&self, dir: &Dir, fd: &OwnedFd, suspects: &mut Vec<Vec<u8>>, reader: &mut Reader, shared: &Shared) {
        if suspects.is_empty() || matches!(self.task, Task::CountLeftOut(_)) {
            // A count must rather be too low than too high, so it counts none of them.
            suspects.clear();
            return;
        }
        match self.dataset.owners(fd, suspects, |name| self.dataset.pattern.accepts(dir.at, name)) {
            Ok(owners) => {
                for (name, _) in suspects.drain(..).zip(owners).filter(|(_, owner)| owner.is_none()) {
                    if let Ok(name) = std::ffi::CString::new(name) {
                        self.file(dir, fd, &name, reader, shared);
                    }
                }
            }
            Err(Errno::NOENT) => suspects.clear(),
            Err(error) => {
                suspects.clear();
                reader.seen.miss(format!("{}: the directory cannot be read: {}", shown(&dir.path), words(error)));
            }
        }
    }

    fn directory(&self, dir: &Dir, fd: &OwnedFd, name: &[u8], reader: &mut Reader, shared: &Shared) {
        let pattern = &self.dataset.pattern;
        let is_record = self.dataset.directories() && pattern.accepts(dir.at, name);
        let next = if is_record { None } else { pattern.enter(dir.at, name) };
        if !is_record && next.is_none() {
            if pattern.nearly(dir.at, name, !self.dataset.directories()) {
                reader.seen.nearly.add(|| shown_in(&dir.path, name));
            }
            return;
        }
        let mut captured = dir.captured.clone();
        pattern.capture_at(dir.depth, name, &mut captured);
        let mut left_out = dir.left_out || self.leaves_out(&captured, shared);
        match &self.task {
            Task::Send { only: Some((on, values)), .. } if captured.plain[*on].as_deref().is_some_and(|value| !values.contains(&value)) => {
                return;
            }
            Task::Send { .. } if left_out => {
                reader.seen.left_out = true;
                return;
            }
            Task::Send { .. } => left_out = false,
            // With every date known, nothing below will be left out that was not by now.
            Task::CountLeftOut(_) if !left_out && captured.dates.iter().all(|date| date.date().is_some()) => return,
            Task::CountLeftOut(_) => {}
        }
        let mut path = dir.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let Some(at) = next else {
            return self.whole_directory(&path, fd, name, &captured, left_out, reader, shared);
        };
        let told_here = !shared.needs_stat && !pattern.tail_captures();
        let alike = told_here.then(|| self.may_hold(&captured, None, shared));
        let below = Dir { path, depth: dir.depth + 1, at, captured, left_out, alike };
        let mut pending = shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.dirs.len() < STACK {
            pending.dirs.push(below);
            let anyone = pending.waiting > 0;
            drop(pending);
            if anyone {
                shared.wake.notify_one();
            }
        } else {
            drop(pending);
            self.list(&below, reader, shared);
        }
    }

    /// A directory that is a record as a whole.
    #[allow(clippy::too_many_arguments)] // The parts of one directory, which nobody else puts together.
    fn whole_directory(
        &self,
        path: &[u8],
        parent: &OwnedFd,
        name: &[u8],
        captured: &Captured,
        left_out: bool,
        reader: &mut Reader,
        shared: &Shared,
    ) {
        let Task::Send { .. } = self.task else {
            if left_out {
                self.count(shared);
            }
            return;
        };
        if !self.may_hold(captured, None, shared) && !shared.needs_stat {
            reader.seen.population += 1;
            return;
        }
        let opened = match open_dir(parent, name) {
            Ok(fd) => fd,
            Err(error) => return reader.seen.not_opened(path, error),
        };
        let survey = match Survey::of(&opened) {
            Ok(survey) => survey,
            Err(Trouble::System(Errno::NOENT)) => return,
            Err(trouble) => return reader.seen.miss(format!("{}: {trouble}", shown(path))),
        };
        if survey.body.doubt.is_some() {
            reader.seen.mounts.add(|| format!("inside {}", shown(path)));
        }
        reader.seen.population += 1;
        let record = record(self.dataset, Key::new(path), parent, name, captured, &survey.body, &survey.fingerprint());
        if self.sends(&record, shared) {
            self.send(record, reader);
        }
    }

    fn file(&self, dir: &Dir, fd: &OwnedFd, name: &CStr, reader: &mut Reader, shared: &Shared) {
        if matches!(self.task, Task::CountLeftOut(_)) {
            if dir.left_out {
                self.count(shared);
            }
            return;
        }
        let bytes = name.to_bytes();
        let pattern = &self.dataset.pattern;
        let mut captured = &dir.captured;
        let mut whole = None;
        if pattern.tail_captures() {
            if pattern.is_deep() {
                captured = whole.insert(pattern.capture(&join(&dir.path, bytes)));
            } else {
                reader.scratch.plain.clone_from(&dir.captured.plain);
                reader.scratch.dates.clone_from(&dir.captured.dates);
                pattern.capture_at(dir.depth, bytes, &mut reader.scratch);
                captured = &reader.scratch;
            }
        }
        if let Task::Send { only: Some((on, values)), .. } = &self.task
            && !captured.plain[*on].as_deref().is_some_and(|value| values.contains(&value))
        {
            return;
        }
        let alike = dir.alike;
        if !shared.needs_stat && !alike.unwrap_or_else(|| self.may_hold(captured, None, shared)) {
            reader.seen.population += 1;
            return;
        }
        let facts = match Facts::at(fd, name) {
            Ok(facts) => facts,
            Err(Errno::NOENT) => return,
            Err(error) => return reader.seen.miss(format!("{}: cannot be read: {}", shown_in(&dir.path, bytes), words(error))),
        };
        if !facts.is_file() {
            return reader.seen.special(|| shown_in(&dir.path, bytes));
        }
        if facts.mount {
            return reader.seen.mounted(|| shown_in(&dir.path, bytes));
        }
        reader.seen.population += 1;
        let body = Body::of(&facts);
        if !alike.unwrap_or_else(|| self.may_hold(captured, Some(&body), shared)) && !self.dataset.has_sidecars() {
            return;
        }
        let key = Key::new(join(&dir.path, bytes));
        let record = record(self.dataset, key, fd, bytes, captured, &body, &facts.pack());
        if !self.dataset.has_sidecars() || self.sends(&record, shared) {
            self.send(record, reader);
        }
    }

    fn count(&self, shared: &Shared) {
        if let Task::CountLeftOut(enough) = self.task
            && shared.counted.fetch_add(1, Ordering::Relaxed) + 1 >= enough
        {
            self.stop.store(true, Ordering::Relaxed);
            shared.wake.notify_all();
        }
    }

    fn send(&self, record: Record, reader: &mut Reader) {
        reader.batch.push(record);
        if reader.batch.len() >= MESSAGE {
            self.flush(reader);
        }
    }

    fn flush(&self, reader: &mut Reader) {
        if let Task::Send { emit, .. } = self.task
            && !reader.batch.is_empty()
            && !emit(std::mem::replace(&mut reader.batch, Vec::with_capacity(MESSAGE)))
        {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn source(&self, event: &EventName) -> Option<&Source> {
        self.dataset.events.iter().find(|(name, _)| name == event).map(|(_, source)| source)
    }

    /// Whether what is known of the path proves that nothing below it can be due, nor lies in the future.
    fn leaves_out(&self, captured: &Captured, shared: &Shared) -> bool {
        let Some(bound) = self.bound else { return false };
        if captured.dates.iter().all(|date| date.earliest().is_none()) {
            return false;
        }
        let future = |date: &Dated| date.latest().is_none_or(|latest| latest > shared.tomorrow);
        !bound.may_hold(&mut |event, date, _| match self.source(event) {
            Some(Source::Path(index)) => {
                let known = &captured.dates[*index];
                known.earliest().is_none_or(|earliest| earliest <= date) || future(known)
            }
            _ => true,
        })
    }

    /// Whether a record may be due, or is in doubt, as far as the path and (when given) its own times tell.
    #[inline]
    fn may_hold(&self, captured: &Captured, body: Option<&Body>, shared: &Shared) -> bool {
        let Some(bound) = self.bound else { return true };
        for (_, source) in &self.dataset.events {
            let doubtful = match (source, body) {
                (Source::Path(index), _) => match captured.dates[*index].date() {
                    Some(Ok(date)) => date > shared.tomorrow,
                    _ => true,
                },
                (Source::Elsewhere(index), _) => captured.plain[*index].as_deref().is_none_or(|value| std::str::from_utf8(value).is_err()),
                (Source::Modified, Some(body)) => body.mtime.0 > shared.future || body.doubt.is_some(),
                (Source::Created, Some(body)) => body.btime.is_none_or(|btime| btime.0 > shared.future),
                _ => false,
            };
            if doubtful {
                return true;
            }
        }
        bound.may_hold(&mut |event, date, before| match (self.source(event), body) {
            (Some(Source::Path(index)), _) => captured.dates[*index].date().is_none_or(|known| known.is_ok_and(|known| known <= date)),
            (Some(Source::Modified), Some(body)) => earlier(body.mtime, before),
            (Some(Source::Created), Some(body)) => body.btime.is_none_or(|btime| earlier(btime, before)),
            _ => true,
        })
    }

    /// Whether a record that was read completely is to be sent.
    fn sends(&self, record: &Record, shared: &Shared) -> bool {
        let Some(bound) = self.bound else { return true };
        let reading =
            |event: &EventName| self.dataset.events.iter().position(|(name, _)| name == event).map(|index| &record.readings[index]);
        let doubtful = |reading: &Reading| match reading {
            Reading::Doubt(_) => true,
            Reading::At(moment) => moment.date_in(&jiff::tz::TimeZone::UTC) > shared.tomorrow,
            Reading::NotYet | Reading::Elsewhere(_) => false,
        };
        record.readings.iter().any(doubtful)
            || bound.may_hold(&mut |event, date, before| match reading(event) {
                Some(Reading::At(moment)) => Bound::admits(*moment, date, before),
                Some(Reading::NotYet) => false,
                _ => true,
            })
    }
}

/// Whether a file's time lies before an instant; true in the very second where only nanoseconds could tell.
#[inline]
fn earlier(time: (i64, u32), before: Timestamp) -> bool {
    time.0 < before.as_second() + i64::from(before.subsec_nanosecond() > 0)
}

/// The path of a name in a directory.
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
