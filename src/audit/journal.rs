//! The journal: where an entry becomes durable before anything else happens.
//!
//! The journal lies in `STATE/audit/journal/`, in segments named by the index of their first entry (20 digits). A segment is a row of frames,
//! one for each append ([`super::frame`]).
//!
//! An append is one write and one fdatasync; when that has returned, the entries are committed. A write or fdatasync that fails poisons the
//! journal for good: after a failed fsync the kernel may have dropped the pages, and a second call would say that all is well.
//!
//! **Crash.** The last frame may be torn: it is cut off and reported, since nobody was told that it is durable. A damaged frame that has a
//! whole one behind it was durable once, so the journal is refused; and so is one with a frame that a later version wrote. A segment begins where the one
//! before ends, so a lost tail shows too.
//!
//! **Full disk.** Blocks are set aside ahead, so that a full disk is noticed at an intent, while nothing has been destroyed yet, and the
//! outcomes of the intents before it still fit.
//!
//! **Segments.** A new segment begins when a checkpoint has been published; segments that a durable checkpoint covers are given to the caller
//! to be deleted. This module never deletes a segment that holds an entry.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::disk::Disk;
use super::frame::{Frame, HEADER, MAGIC_LENGTH};
use super::secret::shown;
use crate::error::{self, Error, Result};

/// What is kept set aside behind the end. Outcomes are mostly below 1 KiB and seldom above 2, and a run has announced at most 18,432 records that have none
/// yet: nine batches of 2048.
const RESERVE: u64 = 24 << 20;

/// How much more is set aside at once, so that it is one system call in many appends.
const RESERVE_STEP: u64 = 4 << 20;

/// A segment of this length is closed at the next checkpoint even if that does not cover it yet, so that it can go at the one after.
const LONG_SEGMENT: u64 = 4 << 20;

/// What stands next in a segment.
#[derive(Debug)]
pub(super) enum Step {
    /// A whole frame.
    Frame(Frame),
    /// Bytes that are no whole frame, from this offset on.
    Damage(u64),
    /// Nothing.
    End,
}

/// A segment being read, frame by frame.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    first: u64,
    file: BufReader<File>,
    offset: u64,
}

impl Segment {
    /// Opens the segment in `path` for reading from its beginning.
    pub(super) fn open(path: PathBuf, first: u64) -> io::Result<Self> {
        let file = BufReader::with_capacity(1 << 16, File::open(&path)?);
        Ok(Self { path, first, file, offset: 0 })
    }

    /// The segment's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next frame; after [`Step::Damage`] or [`Step::End`] it can be asked again, for a writer may have gone on.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let left = self.file.get_ref().metadata()?.len().saturating_sub(self.offset);
        if left == 0 {
            return Ok(Step::End);
        }
        let frame = self.read_frame(left)?;
        if let Some(frame) = frame {
            self.offset += frame.len() as u64;
            return Ok(Step::Frame(frame));
        }
        self.file.seek(SeekFrom::Start(self.offset))?;
        Ok(Step::Damage(self.offset))
    }

    fn read_frame(&mut self, left: u64) -> io::Result<Option<Frame>> {
        let mut bytes = vec![0; HEADER];
        if left < HEADER as u64 {
            return Ok(None);
        }
        self.file.read_exact(&mut bytes)?;
        let length = bytes.first_chunk().and_then(Frame::announced).filter(|length| *length as u64 <= left);
        let Some(length) = length else { return Ok(None) };
        bytes.resize(length, 0);
        self.file.read_exact(&mut bytes[HEADER..])?;
        Ok(Frame::check(bytes))
    }

    /// Whether a frame begins at `offset` that a later version wrote.
    fn is_of_a_later_form(&self, offset: u64) -> io::Result<bool> {
        let mut begin = [0; MAGIC_LENGTH];
        let got = self.file.get_ref().read_at(&mut begin, offset)?;
        Ok(Frame::is_of_a_later_form(&begin[..got]))
    }

    /// The offset of a whole frame behind `offset`, if there is one.
    pub(super) fn whole_frame_behind(&self, offset: u64) -> io::Result<Option<u64>> {
        let file = self.file.get_ref();
        let end = file.metadata()?.len();
        let mut window = vec![0; 1 << 16];
        let mut at = offset + 1;
        while at + HEADER as u64 <= end {
            let got = file.read_at(&mut window, at)?;
            for start in
                window[..got].windows(MAGIC_LENGTH).enumerate().filter_map(|(i, bytes)| Frame::begins(bytes).then_some(at + i as u64))
            {
                let mut candidate = Self::open(self.path.clone(), self.first)?;
                candidate.file.seek(SeekFrom::Start(start))?;
                candidate.offset = start;
                if matches!(candidate.step()?, Step::Frame(_)) {
                    return Ok(Some(start));
                }
            }
            if got < MAGIC_LENGTH {
                break;
            }
            // A magic that straddles two windows is found in the second.
            at += (got - MAGIC_LENGTH + 1) as u64;
        }
        Ok(None)
    }
}

/// The segments in a journal's folder in order, each with the index in its name; a folder that is not there has none.
pub(super) fn segments(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be read", shown(folder)), e);
    let files = match fs::read_dir(folder) {
        Ok(files) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut found = Vec::new();
    for file in files {
        let path = file.map_err(fail)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let first = name.parse().ok().filter(|first| *name == segment_name(*first));
        let first = first.ok_or_else(|| damaged(&path, "expected only segments, named by 20 digits; move this file elsewhere"))?;
        found.push((first, path));
    }
    found.sort();
    Ok(found)
}

/// The name of the segment whose first entry has the index `first`.
fn segment_name(first: u64) -> String {
    format!("{first:020}")
}

/// The log contradicts itself in this file.
pub(super) fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(error::Kind::NotIntact, format!("{}: {what}", shown(path)))
}

/// The log could not be written.
pub(super) fn lost(path: &Path, what: &str, cause: io::Error) -> Error {
    Error::with_source(error::Kind::LogLost, format!("{}: {what}", shown(path)), cause)
}

/// The journal, open for appending.
#[derive(Debug)]
pub(super) struct Journal<D> {
    disk: D,
    folder: PathBuf,
    /// Opened before any name in it changes, so that a failure to write them back is reported to us.
    names: File,
    path: PathBuf,
    file: File,
    /// The index in the name of the segment that is appended to.
    first: u64,
    /// Its length: where the next frame goes.
    length: u64,
    /// Up to where blocks are set aside.
    reserved: u64,
    /// Whether the file system can set blocks aside.
    reserves: bool,
    /// Index of the next entry.
    next: u64,
    /// Closed segments with the index behind their last entry, oldest first.
    closed: VecDeque<(PathBuf, u64)>,
    /// Why nothing can be appended any more.
    poison: Option<String>,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal of a log that has a checkpoint of `published` entries (0: none yet), giving every frame to `replay`, in order.
    ///
    /// Returns how many bytes of a torn last frame were cut off, too. [`error::Kind::NotIntact`] if a frame is damaged that was durable
    /// once, or entries are missing.
    pub(super) fn open(disk: D, folder: &Path, published: u64, replay: impl FnMut(&Frame) -> Result<()>) -> Result<(Self, u64)> {
        let names = File::open(folder).map_err(|e| lost(folder, "cannot be opened", e))?;
        let found = segments(folder)?;
        let Some((begin, _)) = found.first() else {
            if published > 0 {
                return Err(no_journal(folder, published));
            }
            return Ok((Self::begin(disk, folder, names, 0)?, 0));
        };
        if *begin > published {
            let message = format!("entries {published} to {} are in no checkpoint and no segment; restore the newer checkpoint", begin - 1);
            return Err(damaged(folder, message));
        }
        let Replayed { last: (first, path), length, next, cut, closed, leftover } = replay_all(&found, published, replay)?;
        if next < published {
            return Err(no_journal(folder, published));
        }
        for path in leftover {
            disk.remove(&path).map_err(|e| lost(&path, "cannot be removed", e))?;
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(|e| lost(&path, "cannot be opened", e))?;
        if cut > 0 {
            disk.cut(&file, length).map_err(|e| lost(&path, "a torn frame cannot be cut off", e))?;
        }
        disk.sync(&file).map_err(|e| lost(&path, "cannot be synced", e))?;
        let folder = folder.to_owned();
        let this = Self { disk, folder, names, path, file, first, length, reserved: length, reserves: true, next, closed, poison: None };
        Ok((this, cut))
    }

    /// Begins the journal of a log that has none.
    fn begin(disk: D, folder: &Path, names: File, first: u64) -> Result<Self> {
        let path = folder.join(segment_name(first));
        let file = disk.create(&path).map_err(|e| lost(&path, "cannot be created", e))?;
        disk.sync_folder(&names).map_err(|e| lost(folder, "cannot be synced", e))?;
        let folder = folder.to_owned();
        let closed = VecDeque::new();
        Ok(Self { disk, folder, names, path, file, first, length: 0, reserved: 0, reserves: true, next: first, closed, poison: None })
    }

    /// Index of the next entry.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Why nothing can be appended any more, if so.
    pub(super) fn poison(&self) -> Option<&str> {
        self.poison.as_deref()
    }

    /// Makes sure that a frame of `bytes` and the reserve behind it fit on the disk; for intents, before they are appended. Answers how many bytes may be
    /// appended before the reserve is touched.
    ///
    /// [`error::Kind::LogLost`] if they do not fit. The journal is as it was, and outcomes can still be appended.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<i64> {
        let needed = self.length + bytes + RESERVE;
        if self.reserves && self.reserved < needed {
            self.reserve(needed)?;
        }
        let room = self.reserved.saturating_sub(self.length + RESERVE);
        Ok(if self.reserves { i64::try_from(room).unwrap_or(i64::MAX) } else { i64::MAX })
    }

    /// Sets blocks aside up to this offset, and some more if there are.
    fn reserve(&mut self, needed: u64) -> Result<()> {
        let from = self.reserved.max(self.length);
        let mut to = needed + RESERVE_STEP;
        let mut result = self.disk.reserve(&self.file, from, to - from);
        if result.is_err() {
            // What is left may still do for this one.
            to = needed;
            result = self.disk.reserve(&self.file, from, to - from);
        }
        match result {
            Ok(()) => self.reserved = to,
            Err(e) if [Errno::OPNOTSUPP, Errno::NOSYS].contains(&Errno::from_io_error(&e).unwrap_or(Errno::IO)) => self.reserves = false,
            Err(e) => return Err(lost(&self.path, "no room for what is about to be destroyed, so nothing was; free some disk space", e)),
        }
        Ok(())
    }

    /// Appends a sealed frame and waits until it is durable: the commit point.
    ///
    /// [`error::Kind::LogLost`] if that failed, now and for every later call; whether the frame is on the disk is found out at the next start.
    pub(super) fn append(&mut self, frame: &Frame) -> Result<()> {
        if let Some(why) = &self.poison {
            return Err(Error::new(error::Kind::LogLost, why.clone()));
        }
        let written = self.disk.write(&self.file, frame.bytes(), self.length).and_then(|()| self.disk.sync(&self.file));
        if let Err(e) = written {
            let error = lost(&self.path, "an entry could not be made durable, so nothing more is written until the next start", e);
            self.poison = Some(error.to_string());
            return Err(error);
        }
        self.length += frame.len() as u64;
        self.next = frame.end();
        Ok(())
    }

    /// Called when a checkpoint of `published` entries is durable: begins a new segment if it is time, and returns the segments that may be
    /// deleted.
    ///
    /// A new segment that cannot be made is no failure: the present one goes on. An empty file may stay; the next start knows what it is.
    pub(super) fn retire(&mut self, published: u64) -> Vec<PathBuf> {
        if self.length > 0 && self.poison.is_none() && (self.next <= published || self.length >= LONG_SEGMENT) {
            self.begin_segment();
        }
        let mut covered = Vec::new();
        while self.closed.front().is_some_and(|(_, end)| *end <= published) {
            covered.extend(self.closed.pop_front().map(|(path, _)| path));
        }
        covered
    }

    /// Deletes a segment that [`Journal::retire`] gave out. What stays is compared and retired at the next start.
    pub(super) fn delete_segment(&self, path: &Path) {
        let _ = self.disk.remove(path);
    }

    fn begin_segment(&mut self) {
        let path = self.folder.join(segment_name(self.next));
        // Left by an earlier attempt; it cannot be the present segment, which begins earlier.
        let _ = self.disk.remove(&path);
        let Ok(file) = self.disk.create(&path) else {
            let _ = self.disk.remove(&path);
            return;
        };
        let reserved = if self.reserves { self.disk.reserve(&file, 0, RESERVE + RESERVE_STEP) } else { Ok(()) };
        if reserved.and_then(|()| self.disk.sync_folder(&self.names)).is_err() {
            let _ = self.disk.remove(&path);
            return;
        }
        self.closed.push_back((std::mem::replace(&mut self.path, path), self.next));
        self.file = file;
        self.first = self.next;
        self.length = 0;
        self.reserved = if self.reserves { RESERVE + RESERVE_STEP } else { 0 };
    }
}

/// What reading all segments found.
pub(super) struct Replayed {
    /// The segment to go on with.
    last: (u64, PathBuf),
    /// The length of its whole frames.
    length: u64,
    /// Index behind the last whole frame.
    next: u64,
    /// Bytes of the torn frame.
    pub(super) cut: u64,
    /// The segments before the last.
    closed: VecDeque<(PathBuf, u64)>,
    /// Empty files of a new segment that did not come to be.
    leftover: Vec<PathBuf>,
}

/// Reads all segments, giving every frame to `replay`; `published` entries are covered by a checkpoint. Nothing is written.
pub(super) fn replay_all(found: &[(u64, PathBuf)], published: u64, mut replay: impl FnMut(&Frame) -> Result<()>) -> Result<Replayed> {
    let mut this = Replayed { last: found[0].clone(), length: 0, next: found[0].0, cut: 0, closed: VecDeque::new(), leftover: Vec::new() };
    for (i, (first, path)) in found.iter().enumerate() {
        let unread = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be read", shown(path)), e);
        let empty = fs::metadata(path).map_err(unread)?.len() == 0;
        if empty && *first <= this.next && i > 0 && !(*first == this.next && i + 1 == found.len() && this.cut == 0) {
            this.leftover.push(path.clone());
            continue;
        }
        if this.cut > 0 {
            return Err(damaged(&this.last.1, format!("the frame at byte {} is damaged, and another segment follows", this.length)));
        }
        // A hole in what the checkpoint covers is what a crash leaves that undid some of several deletions.
        if *first != this.next && !(this.next < *first && *first <= published) {
            return Err(damaged(path, format!("expected the segment to begin with entry {}, as the one before ends there", this.next)));
        }
        if i > 0 {
            this.closed.push_back((this.last.1.clone(), this.next));
        }
        (this.last, this.length, this.next) = ((*first, path.clone()), 0, *first);
        let mut segment = Segment::open(path.clone(), *first).map_err(unread)?;
        loop {
            match segment.step().map_err(unread)? {
                Step::Frame(frame) if frame.first() == this.next => {
                    replay(&frame)?;
                    this.next = frame.end();
                    this.length = segment.offset;
                }
                Step::Frame(frame) => {
                    let message = format!("the frame at byte {}: expected entry {}, found entry {}", this.length, this.next, frame.first());
                    return Err(damaged(path, message));
                }
                Step::Damage(offset) => {
                    if let Some(whole) = segment.whole_frame_behind(offset).map_err(unread)? {
                        return Err(damaged(path, format!("the frame at byte {offset} is damaged, but the one at byte {whole} is whole")));
                    }
                    if segment.is_of_a_later_form(offset).map_err(unread)? {
                        let message = format!(
                            "the frame at byte {offset} has a form that is not known here; use the version that wrote it, or a later one"
                        );
                        return Err(damaged(path, message));
                    }
                    this.cut = fs::metadata(path).map_err(unread)?.len() - offset;
                    break;
                }
                Step::End => break,
            }
        }
    }
    Ok(this)
}

/// The journal that belongs to the checkpoint is not there.
fn no_journal(folder: &Path, published: u64) -> Error {
    let message = format!(
        "expected a segment that reaches entry {published}, where the checkpoint ends, found none; entries behind the checkpoint may be lost: \
         restore the segment, or make an empty file {} here to accept the loss",
        segment_name(published)
    );
    damaged(folder, message)
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::super::frame::tests::{frame, in_form};
    use super::super::frame::{ENTRY_HEADER, Pieces};
    use super::*;

    /// Opens the journal and returns it with all its entries and the bytes cut.
    fn open(folder: &Path, published: u64) -> Result<(Journal<RealDisk>, Vec<String>, u64)> {
        let mut entries = Vec::new();
        let text = |entry: Pieces<'_>| String::from_utf8(entry.to_vec()).unwrap();
        let (journal, cut) = Journal::open(RealDisk, folder, published, |frame| {
            entries.extend(frame.entries().map(text));
            Ok(())
        })?;
        Ok((journal, entries, cut))
    }

    #[test]
    fn what_was_appended_is_replayed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = open(dir.path(), 0).unwrap();
        journal.make_room(100).unwrap();
        journal.append(&frame(0, &["a", "", "c"])).unwrap();
        journal.append(&frame(3, &["d"])).unwrap();
        assert_eq!(fs::metadata(dir.path().join("00000000000000000000")).unwrap().len(), (2 * HEADER + 4 * ENTRY_HEADER + 4 - 1) as u64);
        let (journal, entries, cut) = open(dir.path(), 0).unwrap();
        assert_eq!((journal.next(), entries, cut), (4, ["a", "", "c", "d"].map(String::from).to_vec(), 0));
    }

    #[test]
    fn frames_of_the_forms_before_are_read_and_damage_in_them_is_noticed() {
        for form in [b'1', b'2'] {
            let dir = tempfile::tempdir().unwrap();
            let (mut journal, ..) = open(dir.path(), 0).unwrap();
            let old = in_form(form, &frame(0, &["one", "two"]));
            journal.append(&old).unwrap();
            journal.append(&frame(2, &["three"])).unwrap();
            let path = journal.path.clone();
            let (journal, entries, cut) = open(dir.path(), 0).unwrap();
            assert_eq!((journal.next(), entries, cut), (3, ["one", "two", "three"].map(String::from).to_vec(), 0));
            let whole = fs::read(&path).unwrap();
            for at in 0..old.len() {
                let mut bad = whole.clone();
                bad[at] ^= 0x20;
                fs::write(&path, &bad).unwrap();
                assert_eq!(open(dir.path(), 0).unwrap_err().kind(), error::Kind::NotIntact, "form {form}, byte {at}");
            }
        }
    }

    #[test]
    fn a_frame_of_a_later_form_is_refused_and_never_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = open(dir.path(), 0).unwrap();
        journal.append(&frame(0, &["one"])).unwrap();
        let known = journal.length;
        journal.append(&in_form(b'4', &frame(1, &["two"]))).unwrap();
        let before = fs::read(&journal.path).unwrap();
        let error = open(dir.path(), 0).unwrap_err();
        assert_eq!(error.kind(), error::Kind::NotIntact);
        let words = format!("the frame at byte {known} has a form that is not known here; use the version that wrote it, or a later one");
        assert!(error.to_string().ends_with(&words), "{error}");
        assert_eq!(fs::read(&journal.path).unwrap(), before);
    }

    #[test]
    fn a_torn_last_frame_is_cut_off_wherever_it_was_torn() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = open(dir.path(), 0).unwrap();
        journal.append(&frame(0, &["one"])).unwrap();
        let whole = journal.length;
        journal.append(&frame(1, &["two", "three"])).unwrap();
        let path = journal.path.clone();
        let bytes = fs::read(&path).unwrap();
        for torn in usize::try_from(whole).unwrap()..bytes.len() {
            fs::write(&path, &bytes[..torn]).unwrap();
            let (journal, entries, cut) = open(dir.path(), 0).unwrap();
            assert_eq!((journal.next(), entries.len(), cut), (1, 1, torn as u64 - whole), "torn at {torn}");
            assert_eq!(fs::metadata(&path).unwrap().len(), whole);
        }
    }

    #[test]
    fn a_damaged_frame_with_a_whole_one_behind_it_is_refused_by_file_and_offset() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = open(dir.path(), 0).unwrap();
        journal.append(&frame(0, &["one"])).unwrap();
        let damaged_at = usize::try_from(journal.length).unwrap();
        journal.append(&frame(1, &["two"])).unwrap();
        let whole_at = usize::try_from(journal.length).unwrap();
        journal.append(&frame(2, &["x".repeat(50_000).as_str(); 4])).unwrap();
        let bytes = fs::read(&journal.path).unwrap();
        for at in damaged_at..whole_at {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            fs::write(&journal.path, &bad).unwrap();
            let error = open(dir.path(), 0).unwrap_err();
            assert_eq!(error.kind(), error::Kind::NotIntact);
            let message = format!("the frame at byte {damaged_at} is damaged, but the one at byte {whole_at} is whole");
            assert!(error.to_string().ends_with(&message), "{error}");
            assert_eq!(fs::read(&journal.path).unwrap(), bad, "a refusal changes nothing");
        }
    }

    #[test]
    fn segments_begin_at_checkpoints_and_go_when_covered() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = open(dir.path(), 0).unwrap();
        journal.append(&frame(0, &["one", "two"])).unwrap();
        assert!(journal.retire(1).is_empty(), "entry 1 is in no checkpoint");
        let covered = journal.retire(2);
        assert_eq!(covered, [dir.path().join("00000000000000000000")]);
        journal.append(&frame(2, &["three"])).unwrap();
        // As after a crash before the deletion: both segments are there.
        let (journal, entries, _) = open(dir.path(), 2).unwrap();
        assert_eq!((journal.next(), entries.len(), journal.closed.len()), (3, 3, 1));
        fs::remove_file(&covered[0]).unwrap();
        assert_eq!(open(dir.path(), 2).unwrap().1, ["three"]);
        let error = open(dir.path(), 1).unwrap_err().to_string();
        assert!(error.ends_with("entries 1 to 1 are in no checkpoint and no segment; restore the newer checkpoint"), "{error}");
    }

    #[test]
    fn a_lost_tail_or_a_lost_journal_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = open(dir.path(), 0).unwrap();
        journal.append(&frame(0, &["one"])).unwrap();
        let whole = journal.length;
        journal.append(&frame(1, &["two"])).unwrap();
        journal.retire(2);
        let first = dir.path().join("00000000000000000000");
        for length in [whole, whole + 7] {
            File::options().write(true).open(&first).unwrap().set_len(length).unwrap();
            assert_eq!(open(dir.path(), 0).unwrap_err().kind(), error::Kind::NotIntact, "length {length}");
        }
        fs::remove_file(&first).unwrap();
        fs::remove_file(dir.path().join("00000000000000000002")).unwrap();
        let error = open(dir.path(), 2).unwrap_err().to_string();
        assert!(error.ends_with("make an empty file 00000000000000000002 here to accept the loss"), "{error}");
        fs::write(dir.path().join("00000000000000000002"), "").unwrap();
        assert_eq!(open(dir.path(), 2).unwrap().0.next(), 2);
    }

    #[test]
    fn an_empty_segment_that_did_not_come_to_be_is_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = open(dir.path(), 0).unwrap();
        journal.append(&frame(0, &["one"])).unwrap();
        fs::write(dir.path().join("00000000000000000001"), "").unwrap();
        journal.append(&frame(1, &["two"])).unwrap();
        journal.append(&frame(2, &["three"])).unwrap();
        let (journal, entries, _) = open(dir.path(), 0).unwrap();
        assert_eq!((journal.next(), entries.len()), (3, 3));
        assert!(!dir.path().join("00000000000000000001").exists());
        fs::write(dir.path().join("notes.txt"), "").unwrap();
        assert!(open(dir.path(), 0).unwrap_err().to_string().contains("notes.txt: expected only segments"));
    }
}
