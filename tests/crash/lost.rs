//! The disk of the log fills up or breaks: destruction stops at once, and what was done is found out at the next start.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use retentiond::audit::Kind;

use crate::estate::{Estate, Load, names_in, text};

/// Why `strace` cannot be used here, if so.
pub fn no_strace() -> Option<String> {
    let tried = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "--inject=uname:error=EIO:when=1", "true"]).output();
    match tried {
        Err(error) => Some(format!("strace cannot be started: {error}")),
        Ok(output) if !output.status.success() => Some(format!("strace may not trace here: {}", text(&output).trim())),
        Ok(_) => None,
    }
}

/// A small file system in memory, mounted for as long as this lives.
struct Small {
    folder: PathBuf,
    _parent: tempfile::TempDir,
}

impl Small {
    fn mount(megabytes: u32) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can mount a file system".into());
        }
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("small");
        fs::create_dir(&folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "small"]).arg(&folder).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { folder, _parent: parent }),
            Ok(output) => Err(format!("nothing can be mounted: {}", text(&output).trim())),
            Err(error) => Err(format!("nothing can be mounted: {error}")),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.folder).status();
        assert!(thread::panicking() || unmounted.is_ok_and(|status| status.success()));
    }
}

/// Fills a file system to its last byte.
fn fill(folder: &Path) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(folder.join("filler")).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

/// How many of the estate's records are gone, by looking.
fn gone(estate: &Estate) -> usize {
    let there = |one: &crate::estate::Known| match one.dataset {
        crate::estate::FOOTAGE | crate::estate::LETTERS => estate.path("media").join(&one.key).exists(),
        crate::estate::SCANS => estate.path("documents").join(&one.key).exists(),
        _ => true,
    };
    estate.known.iter().filter(|one| !there(one)).count()
}

fn intended(estate: &Estate) -> usize {
    estate.entries_of(Kind::Intent).iter().map(|entry| entry.fields["records"].as_array().unwrap().len()).sum()
}

#[test]
fn a_full_disk_under_the_log_stops_destruction_and_what_went_has_its_outcome() {
    for size in [28, 72] {
        let small = match Small::mount(size) {
            Ok(small) => small,
            Err(why) => return println!("skipped: {why}"),
        };
        let state = small.folder.join("state");
        let mut estate = Estate::with_state(&state);
        estate.add(Load { footage: 16_000, letters: 0, scans: 0, rows: 0 });
        let child = estate.command(&["run", "media/footage"]).stdout(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while names_in(&state.join("plans")).iter().all(|name| name.starts_with(".new-")) && begun.elapsed() < Duration::from_mins(1) {
            thread::sleep(Duration::from_millis(2));
        }
        fill(&small.folder);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output));
        let (gone, intended) = (gone(&estate), intended(&estate));
        assert!(gone < 16_000, "the disk was full and everything went all the same");
        assert!(gone <= intended, "{gone} records are gone, {intended} are in intents");
        println!("{size} MiB: {gone} of 16000 were gone when it stopped, {intended} announced");

        // Still full: nothing more goes.
        let again = estate.finish(&["run", "media/footage"]);
        assert_ne!(again.status.code(), Some(0));
        assert!(self::gone(&estate) <= intended.max(self::intended(&estate)));

        fs::remove_file(small.folder.join("filler")).unwrap();
        estate.recover();
        estate.check();
        estate.check_tidy();
        estate.verify();
    }
}

#[test]
fn a_sync_of_the_journal_that_fails_ends_the_run_and_the_next_start_finds_the_truth() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    let mut estate = Estate::new();
    estate.run();
    let mut lost = 0;
    let mut ends = 0;
    for nth in (1..=9).chain([14, 22, 30]) {
        for call in ["fdatasync", "pwrite64"] {
            estate.add(Load { footage: 200, letters: 5, scans: 0, rows: 0 });
            let options = [format!("--trace={call}"), format!("--inject={call}:error=EIO:when={nth}+")];
            let output = estate.command_under_strace(&options, &["run", "media"]).output().unwrap();
            let (gone, intended) = (gone(&estate), intended(&estate));
            assert!(gone <= intended, "{call} {nth}: {gone} records are gone, {intended} are in intents");
            if output.status.code() != Some(0) {
                // The register may be the first to notice; it is no part of the log.
                let register = text(&output).contains("register");
                assert_eq!(output.status.code(), Some(if register { 1 } else { 4 }), "{call} {nth}: {}", text(&output));
                lost += u32::from(!register);
                ends += 1;
            }
            estate.recover();
            estate.check();
            estate.check_tidy();
            estate.verify();
        }
    }
    println!("{ends} runs ended early, {lost} of them for the log");
    assert!(lost >= 8, "only {lost} of the failures hit the log");
    estate.run();
    estate.check_done();
}

#[test]
fn records_whose_removal_fails_are_failed_and_the_rest_goes_on() {
    if let Some(why) = no_strace() {
        return println!("skipped: {why}");
    }
    for every in [2, 5] {
        let mut estate = Estate::new();
        estate.run();
        estate.add(Load { footage: 200, letters: 5, scans: 10, rows: 16 });
        let options = ["--trace=unlinkat".to_owned(), format!("--inject=unlinkat:error=EIO:when=3+{every}")];
        let output = estate.command_under_strace(&options, &["run"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let failed = estate.entries_of(Kind::Failed).len();
        let destroyed = estate.entries_of(Kind::Destroyed).len();
        assert!(failed >= 20 && destroyed >= 60, "{failed} failed, {destroyed} destroyed");
        estate.recover();
        estate.check();
        estate.check_tidy();
        estate.verify();
        estate.run();
        estate.check_done();
    }
}
