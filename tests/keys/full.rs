//! A state folder on a disk that is really full.

use std::fs;
use std::process::Command;

use retentiond::audit::Kind;

use crate::estate::Estate;

/// So many that the log of them is larger than what is set aside for outcomes.
const RECORDS: usize = 30_000;

/// A file system in memory of this size, mounted until dropped.
struct Small<'a>(&'a std::path::Path);

impl<'a> Small<'a> {
    fn mount(at: &'a std::path::Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output();
        done.is_ok_and(|done| done.status.success()).then_some(Self(at))
    }

    fn grow(&self, size: &str) {
        assert!(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_stops_before_the_next_record_and_leaves_a_log_that_is_intact() {
    // Too small to begin with; and one that fills up on the way.
    for (size, none_go) in [("6m", true), ("34m", false)] {
        let mut estate = Estate::new("");
        let state = estate.state();
        let Some(small) = Small::mount(&state, size) else { return println!("skipped: only root can mount a small disk") };
        estate.add(u32::try_from(RECORDS).unwrap());
        let said = estate.expect(4, &["run"]);
        assert!(said.contains("No space left on device"), "{size}: {said}");
        let left = estate.left();
        assert_eq!(none_go, left == RECORDS, "{size}: {left} left");
        assert!(left > 0, "{size}: the disk was large enough for all");
        // What is gone has its outcome, or at least its intent, and the log is whole.
        let verified = estate.command(&["--json", "audit", "verify"]).output().unwrap();
        assert!(matches!(verified.status.code(), Some(0 | 1)), "{size}: {verified:?}");
        let (destroyed, intents) = (estate.entries(Kind::Destroyed).len(), estate.entries(Kind::Intent));
        let announced: usize = intents.iter().map(|entry| entry.strs("records").count()).sum();
        assert!(
            destroyed <= RECORDS - left && RECORDS - left <= announced,
            "{size}: {left} left, {destroyed} destroyed, {announced} announced"
        );
        small.grow("200m");
        estate.expect(0, &["run"]);
        assert_eq!(estate.left(), 0, "{size}");
        estate.verify();
        let gone = estate.entries(Kind::Recovered).iter().filter(|entry| entry.str("found") == Some("gone")).count();
        assert_eq!(estate.entries(Kind::Destroyed).len() + gone, RECORDS, "{size}");
        drop(small);
    }
}
