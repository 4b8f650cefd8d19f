//! A folder as an anchor: one file a day, to which every checkpoint is appended word for word.
//!
//! ```text
//! <folder>/retentiond-<node>/2026-11-25.checkpoints
//! ```
//!
//! A file is checkpoints one behind the other, each as it lay in the log: text, blank line, signatures. The day is that of UTC. At most one a
//! second is published, and only while there is work, so a day of uninterrupted work is 17 MB, an ordinary one a few kilobytes. Several nodes may
//! share a folder. Files are only ever appended to; who keeps the folder may remove old days, and then loses what those could show.
//!
//! The folder must exist: a disk that is not mounted must not be taken for one. It should be writable for this service alone and, where the file
//! system can do it, for appending only (`chattr +a`); whoever can change it can undo what it is for.
//!
//! **Crash.** The last checkpoint of a file may be torn. It is no evidence and is read over; the next one begins on a new line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::super::checkpoint::{MAX_CHECKPOINT, SIGNATURE};
use super::{Note, Place};

/// How the name of a file ends.
const ENDING: &str = ".checkpoints";

/// The greatest file in bytes that is read: ten times what a day can bring.
const MOST: u64 = 170 << 20;

/// Where the files of a node lie.
pub(super) fn of_node(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("retentiond-{node}"))
}

/// A folder that takes checkpoints.
pub(super) struct Folder {
    place: PathBuf,
    node: String,
    /// The checkpoint that was taken last.
    newest: Option<Arc<str>>,
}

impl Folder {
    pub(super) fn new(folder: &Path, node: &str, newest: Option<Arc<str>>) -> Self {
        Self { place: folder.to_owned(), node: node.to_owned(), newest }
    }

    fn append(&self, text: &str) -> io::Result<()> {
        let mine = of_node(&self.place, &self.node);
        match fs::create_dir(&mine) {
            Ok(()) => File::open(&self.place)?.sync_all()?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        let day = Timestamp::now().strftime("%Y-%m-%d");
        let path = mine.join(format!("{day}{ENDING}"));
        let names = File::open(&mine)?;
        let new = !path.exists();
        let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(&path)?;
        let torn = !new && last_byte(&path)?.is_some_and(|byte| byte != b'\n');
        let text = if torn { format!("\n{text}") } else { text.to_owned() };
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        if new { names.sync_all() } else { Ok(()) }
    }
}

fn last_byte(path: &Path) -> io::Result<Option<u8>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(Some(byte[0]))
}

impl Place for Folder {
    fn put(&mut self, note: &Note) -> Result<(), String> {
        // The same checkpoint comes again when a log is opened and closed without an entry.
        if self.newest.as_ref() == Some(&note.text) {
            return Ok(());
        }
        if !self.place.is_dir() {
            return Err("expected a folder, found none; is a disk not mounted?".to_owned());
        }
        self.append(&note.text).map_err(|e| format!("the checkpoint of {} entries cannot be written: {e}", note.size))?;
        self.newest = Some(Arc::clone(&note.text));
        Ok(())
    }
}

/// The files of checkpoints in a folder, oldest first: those of `retentiond-<node>` in it, or else its own.
pub(super) fn files(folder: &Path, node: &str) -> io::Result<Vec<PathBuf>> {
    let mine = of_node(folder, node);
    let mut found = Vec::new();
    for file in fs::read_dir(if mine.is_dir() { &mine } else { folder })? {
        let path = file?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(ENDING.as_bytes())) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The checkpoints in a file, as far as they can be told apart; `tail` reads only the end, which holds the newest.
pub(super) fn notes(path: &Path, tail: bool) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MOST {
        return Err(io::Error::other(format!("expected at most {MOST} bytes, found {length}")));
    }
    if tail {
        file.seek(SeekFrom::Start(length.saturating_sub(2 * MAX_CHECKPOINT)))?;
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(split(&String::from_utf8_lossy(&bytes)))
}

/// Tells checkpoints apart that stand one behind the other. Each is the three lines before a blank line and the signatures behind it, so that
/// torn pieces between them do no harm.
fn split(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut found = Vec::new();
    for blank in 3..lines.len() {
        let signatures = lines[blank + 1..].iter().take_while(|line| line.starts_with(SIGNATURE)).count();
        if lines[blank] == "\n" && signatures > 0 {
            found.push(lines[blank - 3..=blank + signatures].concat());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_told_apart_whatever_lies_torn_between_them() {
        let note = |size: u64| format!("o\n{size}\nroot\n\n{SIGNATURE}o aaaa\n");
        let two = format!("o\n3\nroot\n\n{SIGNATURE}o aaaa\n{SIGNATURE}w bbbb\n");
        let whole = note(1) + &note(2) + &two;
        assert_eq!(split(&whole), [note(1), note(2), two.clone()]);
        for cut in 0..note(1).len() {
            let torn = &note(1)[..(0..=cut).rev().find(|at| note(1).is_char_boundary(*at)).unwrap()];
            let joint = if torn.is_empty() || torn.ends_with('\n') { "" } else { "\n" };
            let found = split(&format!("{}{torn}{joint}{}", note(7), note(8)));
            assert!(found.contains(&note(7)) && found.contains(&note(8)), "cut at {cut}: {found:?}");
        }
        assert!(split("").is_empty() && split("\n\n\n\n").is_empty() && split(SIGNATURE).is_empty());
    }
}
