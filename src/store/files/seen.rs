//! What a walk saw besides records: how many there were, what it passed by, and why it may not have seen everything.
//!
//! A scan for a plan goes on past links, mounts and special files, and says so. A search for lost records does not: what lies behind them may be
//! what it looks for, so it is not complete ([`Seen::passed_over`]).

use rustix::io::Errno;

use super::root::words;
use super::walk::join;
use crate::error::escape;
use crate::finding::Finding;

/// Things of one kind that are named in a finding; the rest is counted.
const EXAMPLES: usize = 3;

/// What a walk saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Records seen (of a count: in what is left out).
    pub population: u64,
    /// Whether directories were left out.
    pub left_out: bool,
    /// Why it did not see everything.
    pub incomplete: Option<String>,
    /// Something that it does not enter by its rules, where records may have been before: a link, a mount, what took another's name.
    pub passed_over: Option<String>,
    pub(super) mounts: Examples,
    special: Examples,
    pub(super) nearly: Examples,
}

/// Names of one kind: the first few, and how many.
#[derive(Debug, Default)]
pub(super) struct Examples {
    count: u64,
    names: Vec<String>,
}

impl Examples {
    pub(super) fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.names.len() < EXAMPLES {
            self.names.push(name());
        }
    }

    fn absorb(&mut self, other: Self) {
        self.count += other.count;
        self.names.extend(other.names);
        self.names.sort();
        self.names.truncate(EXAMPLES);
    }

    fn list(&self) -> String {
        let rest = self.count.saturating_sub(self.names.len() as u64);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        format!("{}{more}", self.names.join(", "))
    }
}

impl Seen {
    pub(super) fn miss(&mut self, why: String) {
        self.incomplete.get_or_insert(why);
    }

    pub(super) fn pass_over(&mut self, place: impl FnOnce() -> String) {
        self.passed_over.get_or_insert_with(place);
    }

    pub(super) fn special(&mut self, place: impl Fn() -> String) {
        self.pass_over(&place);
        self.special.add(place);
    }

    pub(super) fn mounted(&mut self, place: impl Fn() -> String) {
        self.pass_over(&place);
        self.mounts.add(place);
    }

    pub(super) fn not_opened(&mut self, path: &[u8], error: Errno) {
        match error {
            // It vanished, or something else took its name, since its directory was listed.
            Errno::NOENT => {}
            Errno::NOTDIR | Errno::LOOP => self.pass_over(|| shown(path)),
            Errno::XDEV => self.mounted(|| shown(path)),
            error => self.miss(format!("{}: the directory cannot be opened: {}", shown(path), words(error))),
        }
    }

    pub(super) fn absorb(&mut self, other: Self) {
        self.population += other.population;
        self.left_out |= other.left_out;
        if let Some(why) = other.incomplete {
            self.miss(why);
        }
        self.passed_over = self.passed_over.take().or(other.passed_over);
        self.mounts.absorb(other.mounts);
        self.special.absorb(other.special);
        self.nearly.absorb(other.nearly);
    }

    /// What a person should know of the walk.
    pub fn findings(&self, about: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.mounts.count > 0 {
            let message = format!("another file system is mounted at {}; connect it as its own store", self.mounts.list());
            findings.push(Finding::warning(about, message));
        }
        if self.special.count > 0 {
            let message =
                format!("matched by the path but never records, because they are symlinks or special files: {}", self.special.list());
            findings.push(Finding::note(about, message));
        }
        if self.nearly.count > 0 {
            let message = format!("no date of the declared form stands in the names {}; they are not looked at", self.nearly.list());
            findings.push(Finding::note(about, message));
        }
        findings
    }
}

pub(super) fn shown(path: &[u8]) -> String {
    if path.is_empty() { "the root".into() } else { escape(path) }
}

pub(super) fn shown_in(path: &[u8], name: &[u8]) -> String {
    escape(&join(path, name))
}
