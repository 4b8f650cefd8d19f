//! A file system in a file, and the search of its raw blocks.

use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A kind of file system and how it is made and mounted.
pub struct FileSystem {
    pub name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// A command that changes the new image before it is mounted.
    tune: &'static [&'static str],
    mebibytes: u64,
    options: &'static str,
}

const EXT4_BASE: FileSystem =
    FileSystem { name: "ext4", program: "mkfs.ext4", arguments: &["-q", "-F"], tune: &[], mebibytes: 64, options: "nodiscard" };

/// As it comes.
pub const EXT4: FileSystem = EXT4_BASE;
/// Data goes through the journal, by a mount option.
pub const EXT4_DATA_JOURNAL: FileSystem =
    FileSystem { name: "ext4 data=journal", arguments: &["-q", "-F", "-J", "size=16"], options: "nodiscard,data=journal", ..EXT4_BASE };
/// The same, by a default in the superblock that no mount option tells of.
pub const EXT4_DATA_JOURNAL_BY_DEFAULT: FileSystem = FileSystem {
    name: "ext4 data=journal by default",
    arguments: &["-q", "-F", "-J", "size=16"],
    tune: &["tune2fs", "-o", "journal_data"],
    ..EXT4_BASE
};
/// Small files lie in their inodes.
pub const EXT4_INLINE: FileSystem =
    FileSystem { name: "ext4 inline_data", arguments: &["-q", "-F", "-I", "512", "-O", "inline_data"], ..EXT4_BASE };
/// Files can share extents.
pub const XFS: FileSystem = FileSystem {
    name: "xfs",
    program: "mkfs.xfs",
    arguments: &["-q", "-f", "-m", "reflink=1"],
    tune: &[],
    mebibytes: 320,
    options: "nodiscard",
};
/// Writes go elsewhere.
pub const BTRFS: FileSystem =
    FileSystem { name: "btrfs", program: "mkfs.btrfs", arguments: &["-q", "-f"], tune: &[], mebibytes: 128, options: "nodiscard" };

/// Something to be found again: as good as random, so that it is neither compressed nor there by accident.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Canary([u8; Canary::LENGTH]);

/// An image and its mount. Dropped, it leaves neither mount nor loop device, also when a test panics.
pub struct Image {
    folder: TempDir,
    file_system: &'static FileSystem,
    /// Further mounts on top, in the order of mounting.
    above: Vec<PathBuf>,
}

/// Blocks of zeros are passed over without looking at each byte.
const BLOCK: usize = 4096;

impl Canary {
    pub const LENGTH: usize = 32;
    /// All begin with this, so that one pass looks for them all. Never written anywhere but as part of a canary.
    const HEAD: &'static [u8] = b"cAnArY#";

    pub fn new() -> Self {
        let mut bytes = [0; Self::LENGTH];
        getrandom::fill(&mut bytes).unwrap();
        // Text, so that it can stand in a statement of SQL too.
        bytes
            .iter_mut()
            .for_each(|byte| *byte = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[usize::from(*byte % 64)]);
        bytes[..Self::HEAD.len()].copy_from_slice(Self::HEAD);
        Self(bytes)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap()
    }

    /// So many bytes full of it.
    pub fn fill(&self, length: usize) -> Vec<u8> {
        self.0.iter().copied().cycle().take(length).collect()
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// How often each canary occurs in some bytes.
pub fn count(bytes: &[u8]) -> HashMap<Canary, usize> {
    let mut found = HashMap::new();
    for at in 0..(bytes.len() + 1).saturating_sub(Canary::LENGTH) {
        if bytes[at] == Canary::HEAD[0] && bytes[at..].starts_with(Canary::HEAD) {
            *found.entry(Canary(bytes[at..at + Canary::LENGTH].try_into().unwrap())).or_insert(0) += 1;
        }
    }
    found
}

/// Runs a program; its output, or why it failed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
    match Command::new(program).args(arguments).env("PATH", path).env("LC_ALL", "C").output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("{program} {}: {} {text}", arguments.join(" "), output.status))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Runs a program that must succeed.
pub fn must(program: &str, arguments: &[&str]) -> String {
    run(program, arguments).unwrap_or_else(|why| panic!("{why}"))
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Image {
    /// Makes and mounts an image. `None`, and a line on the terminal that says why, where this machine cannot.
    pub fn new(file_system: &'static FileSystem) -> Option<Self> {
        Self::try_new(file_system).map_err(|why| skip(file_system.name, &why)).ok()
    }

    fn try_new(file_system: &'static FileSystem) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount an image".into());
        }
        let image = Self { folder: tempfile::tempdir().unwrap(), file_system, above: Vec::new() };
        let file = std::fs::File::create(image.file()).unwrap();
        file.set_len(file_system.mebibytes << 20).unwrap();
        drop(file);
        std::fs::create_dir(image.place()).unwrap();
        let file = image.file();
        run(file_system.program, &[file_system.arguments, &[text(&file)]].concat())?;
        if let [program, arguments @ ..] = file_system.tune {
            run(program, &[arguments, &[text(&file)]].concat())?;
        }
        image.try_mount()?;
        Ok(image)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub fn place(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    pub fn name(&self) -> &'static str {
        self.file_system.name
    }

    fn try_mount(&self) -> Result<(), String> {
        let options = format!("loop,{}", self.file_system.options);
        run("mount", &["-o", &options, text(&self.file()), text(&self.place())]).map(|_| ())
    }

    pub fn mount(&self) {
        self.try_mount().unwrap_or_else(|why| panic!("{why}"));
    }

    /// Mounts something else in the image's own folder; `None` where this machine cannot.
    pub fn mount_above(&mut self, name: &str, kind: &str, options: &str) -> Option<PathBuf> {
        let place = self.folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        match run("mount", &["-t", kind, "-o", options, kind, text(&place)]) {
            Ok(_) => {
                self.above.push(place.clone());
                Some(place)
            }
            Err(why) => {
                skip(kind, &why);
                None
            }
        }
    }

    /// Unmounts everything, which also writes everything.
    pub fn unmount(&mut self) {
        self.try_unmount().unwrap_or_else(|why| panic!("{why}"));
    }

    fn try_unmount(&mut self) -> Result<(), String> {
        while let Some(place) = self.above.last() {
            unmount(place)?;
            self.above.pop();
        }
        unmount(&self.place())
    }

    /// Writes what is in memory onto the image, which stays mounted.
    pub fn sync(&self) {
        must("sync", &["-f", text(&self.place())]);
    }

    /// How often each canary stands on the raw image.
    pub fn search(&self) -> HashMap<Canary, usize> {
        let mut file = std::fs::File::open(self.file()).unwrap();
        let mut found: HashMap<Canary, usize> = HashMap::new();
        let mut block = vec![0; BLOCK];
        let zeros = vec![0; BLOCK];
        // Blocks in a row that are not empty; a canary may lie across their borders.
        let mut run = Vec::new();
        let mut add = |run: &mut Vec<u8>| {
            count(run).into_iter().for_each(|(canary, times)| *found.entry(canary).or_insert(0) += times);
            run.clear();
        };
        for _ in 0..(self.file_system.mebibytes << 20) / BLOCK as u64 {
            file.read_exact(&mut block).unwrap();
            if block == zeros {
                add(&mut run);
            } else {
                run.extend_from_slice(&block);
            }
        }
        add(&mut run);
        found
    }

    /// Bytes that the image takes of the disk it lies on: it is sparse itself and grows with each block that is first written to.
    pub fn allocated(&self) -> u64 {
        std::fs::metadata(self.file()).unwrap().blocks() * 512
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.try_unmount().is_err() {
            for place in self.above.iter().rev().chain([&self.place()]) {
                let _ = run("umount", &["--lazy", text(place)]);
            }
        }
        // The loop device goes with its mount. Only where something held on to it is there one left.
        for device in run("losetup", &["--noheadings", "--output", "NAME", "--associated", text(&self.file())]).unwrap_or_default().lines()
        {
            let _ = run("losetup", &["--detach", device]);
        }
    }
}

/// Unmounts; waits a little for others who look at every file system that there is.
fn unmount(place: &Path) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        if run("mountpoint", &["-q", text(place)]).is_err() {
            return Ok(());
        }
        match run("umount", &[text(place)]) {
            Ok(_) => return Ok(()),
            Err(why) if begun.elapsed() > Duration::from_secs(5) => return Err(why),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Says on the terminal, also of a test that passes, what was not tested and why.
pub fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: canaries on {what}: {why}");
}
