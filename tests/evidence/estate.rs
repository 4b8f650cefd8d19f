//! A log as the built program makes it: an enforcing run over small files, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use jiff::ToSpan;
use retentiond::audit::tile::{self, Level};
use retentiond::audit::tree::{Tree, leaf_hash};
use retentiond::audit::{Reader, SigningKey};
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_retentiond");

const SCHEDULE: &str = "schedule: test\ntime-zone: UTC\nclasses:\n  \
    clip: { keep: 23 days, after: recorded, then: destroy }\n  \
    letter: { keep: 6 months, after: written, then: review, no-longer-than: 9 months }\n";

const CONFIG: &str = "node: evidence-1
mode: enforce
schedules: schedule.yaml
state: state
limits: unlimited
stores:
  media:
    files: media
    datasets:
      clips:
        class: clip
        path: \"clips/{recorded:%Y-%m-%d}/*.mp4\"
        events: { recorded: path }
      letters:
        class: letter
        path: \"letters/{written:%Y-%m-%d}/*.txt\"
        events: { written: path }
        keys: plain
";

/// A folder with configuration, store and state.
pub struct Estate {
    folder: TempDir,
}

impl Estate {
    /// Destroys so many clips of forty days ago, keeps ten of yesterday, and flags three letters.
    pub fn with_clips(count: usize) -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(this.path("schedule.yaml"), SCHEDULE).unwrap();
        fs::write(this.path("retentiond.yaml"), CONFIG).unwrap();
        for n in 0..count {
            this.put(&format!("clips/{}/{n:05}.mp4", Self::ago(40 + i64::from(n % 3 == 0))));
        }
        for n in 0..10 {
            this.put(&format!("clips/{}/{n:05}.mp4", Self::ago(1)));
        }
        for n in 0..3 {
            this.put(&format!("letters/{}/{n}.txt", Self::ago(250)));
        }
        this.run();
        this
    }

    /// The estate that most tests only read: 700 records went, so there are full and partial tiles on two levels.
    pub fn shared() -> &'static Self {
        static ESTATE: OnceLock<Estate> = OnceLock::new();
        ESTATE.get_or_init(|| Self::with_clips(700))
    }

    pub fn ago(days: i64) -> String {
        (jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() - days.days()).to_string()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn put(&self, name: &str) {
        let path = self.path("media").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    pub fn run(&self) {
        let output = self.retentiond(&["run"]);
        assert!([Some(0), Some(1)].contains(&output.status.code()), "{output:?}");
    }

    pub fn log(&self) -> PathBuf {
        self.path("state/audit")
    }

    pub fn key(&self) -> String {
        fs::read_to_string(self.path("state/keys/log.vkey")).unwrap().trim().to_owned()
    }

    /// The built program, in the estate's folder.
    pub fn retentiond(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM).current_dir(&self.folder).args(["--config", "retentiond.yaml"]).args(arguments).output().unwrap()
    }

    pub fn entries(&self) -> Vec<String> {
        let entries = Reader::open(&self.log()).unwrap().entries();
        entries.map(|entry| String::from_utf8(entry.unwrap().1).unwrap()).collect()
    }

    /// A log that this estate's key signed, whatever its entries say: what somebody who has the key can make.
    pub fn forge(&self, entries: &[String]) -> TempDir {
        let file = self.path("state/keys/log.key");
        let key = SigningKey::parse(&fs::read(&file).unwrap(), &file, "evidence-1").unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_log(folder.path(), entries, Some(&key));
        folder
    }
}

/// Writes bundles and tiles of these entries, and a signed checkpoint where there is a key.
pub fn write_log(folder: &Path, entries: &[String], key: Option<&SigningKey>) {
    let write = |level, index, width, bytes: &[u8]| {
        let path = folder.join(tile::path(level, index, width));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let (mut tree, mut bundle) = (Tree::new(), Vec::new());
    for (n, entry) in (0..).zip(entries) {
        tile::append_to_bundle(&mut bundle, &[entry.as_bytes()]);
        tree.push(leaf_hash(entry.as_bytes()), |full| write(Level::Hashes(full.level), full.index, 256, tile::tile_bytes(&full.hashes)));
        let (index, place) = tile::place(n);
        if place == 255 {
            write(Level::Entries, index, 256, &std::mem::take(&mut bundle));
        }
    }
    for (level, index, width) in tile::partial_edge(tree.size()) {
        write(Level::Hashes(level), index, width, tile::tile_bytes(&tree.edge()[usize::from(level)]));
        if level == 0 {
            write(Level::Entries, index, width, &bundle);
        }
    }
    if let Some(key) = key {
        fs::write(folder.join("checkpoint"), key.sign(tree.size(), tree.root())).unwrap();
    }
}

/// Runs the program without any configuration: an outsider has none.
pub fn outsider(arguments: &[&str]) -> Output {
    let nowhere = tempfile::tempdir().unwrap();
    Command::new(PROGRAM).current_dir(&nowhere).args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
