//! One image, files full of canaries on it, one run of the program, and the search afterwards.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::image::{Canary, FileSystem, Image, must, text};

/// The date in each record's path: long past.
pub const DAY: &str = "2019-01-01";

/// The datasets of files, by folder. `accept` overwrites and takes what it gets.
pub const DATASETS: [(&str, &str); 5] = [
    ("accept", "erase: overwrite"),
    ("insist", "erase: overwrite, at-least: overwritten"),
    ("either", "erase: overwrite, at-least: overwritten, else: accept"),
    ("unlink", "erase: unlink"),
    ("folders", "erase: overwrite, record: directory"),
];

/// The program with a configuration of its own, outside of every image.
pub struct Program {
    folder: TempDir,
}

/// What the log says became of one record.
#[derive(Clone, Debug)]
pub struct Outcome(Value);

/// Files on an image that are records, and what became of them.
pub struct Lab {
    pub image: Image,
    /// The folder of the store: the mount, or one mounted above it.
    root: PathBuf,
    subjects: Vec<Subject>,
    growth: u64,
}

/// One record, or something else that is looked for.
struct Subject {
    key: String,
    canary: Canary,
    /// Its files and their sizes; none if it is no record.
    files: Vec<(PathBuf, usize)>,
    before: usize,
    after: usize,
    outcome: Option<Outcome>,
}

impl Program {
    /// With these stores: YAML, indented by two.
    pub fn new(stores: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let schedule = "schedule: canary\ntime-zone: Europe/London\nclasses:\n  thing.done: { title: Things, keep: 1 year, after: done, then: destroy }\n";
        let configuration =
            format!("node: canary\nmode: enforce\nschedules: schedule.yaml\nstate: state\nlimits: unlimited\nstores:\n{stores}");
        std::fs::write(folder.path().join("schedule.yaml"), schedule).unwrap();
        std::fs::write(folder.path().join("retentiond.yaml"), configuration).unwrap();
        Self { folder }
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let configuration = self.folder.path().join("retentiond.yaml");
        let output = Command::new(env!("CARGO_BIN_EXE_retentiond")).arg("--config").arg(configuration).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs all datasets once. The outcomes by the record's name: `STORE/DATASET:KEY`.
    pub fn outcomes(&self) -> HashMap<String, Outcome> {
        let (code, out, errors) = self.run(&["run"]);
        assert!(matches!(code, Some(0 | 1)), "{code:?}\n{out}\n{errors}");
        let (code, verified, errors) = self.run(&["audit", "verify"]);
        assert_eq!(code, Some(0), "{verified}\n{errors}\n{out}");
        let mut outcomes = HashMap::new();
        for kind in ["destroyed", "kept", "failed", "absent", "recovered"] {
            let (_, entries, _) = self.run(&["audit", "list", "--json", "--kind", kind]);
            for line in entries.lines() {
                let entry = Outcome(serde_json::from_str(line).unwrap());
                let key = entry.text("record").strip_prefix("plain:").unwrap();
                let name = format!("{}/{}:{key}", entry.text("store"), entry.text("dataset"));
                assert!(outcomes.insert(name, entry).is_none(), "one outcome for each record");
            }
        }
        outcomes
    }
}

impl Outcome {
    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// `overwritten`, `unlinked` and so on; or `kept: cannot-meet-grade`; or the kind of the entry.
    pub fn word(&self) -> String {
        match self.text("kind") {
            "destroyed" => {
                assert_eq!(self.0["verified"], Value::Bool(true), "{self:?}");
                self.text("grade").to_owned()
            }
            "kept" => format!("kept: {}", self.text("why")),
            other => other.to_owned(),
        }
    }

    pub fn has(&self, caveat: &str) -> bool {
        self.0["caveats"].as_array().is_some_and(|caveats| caveats.iter().any(|one| one == caveat))
    }

    /// Everything that it says beside the grade.
    pub fn remarks(&self) -> String {
        let caveats = self.0["caveats"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        format!("{caveats}{}{}", self.text("detail"), self.text("error"))
    }

    /// Whether it says that less was reached than asked for.
    pub fn accepted_below(&self) -> bool {
        self.text("asked") == "overwritten"
    }
}

impl Lab {
    /// `None` where this machine cannot; it has said why.
    pub fn new(file_system: &'static FileSystem) -> Option<Self> {
        Image::new(file_system).map(Self::on)
    }

    /// On an image that is mounted.
    pub fn on(image: Image) -> Self {
        let root = image.place();
        Self { image, root, subjects: Vec::new(), growth: 0 }
    }

    /// The store lies elsewhere than on the image's own mount.
    pub fn look_at(&mut self, root: PathBuf) {
        self.root = root;
    }

    /// A path of a record, its folder made.
    pub fn path(&self, dataset: &str, name: &str) -> PathBuf {
        let path = self.root.join(dataset).join(DAY).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A record full of its canary, written and synced; the file is opened by the caller's own means.
    pub fn put_with(&mut self, dataset: &str, name: &str, make: impl FnOnce(&Path, &Canary) -> usize) -> PathBuf {
        let (path, canary) = (self.path(dataset, name), Canary::new());
        let size = make(&path, &canary);
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        self.add(format!("{dataset}:{dataset}/{DAY}/{name}"), canary, vec![(path.clone(), size)]);
        path
    }

    /// A record of so many bytes, full of its canary.
    pub fn put(&mut self, dataset: &str, name: &str, size: usize) -> PathBuf {
        self.put_with(dataset, name, |path, canary| {
            std::fs::write(path, canary.fill(size)).unwrap();
            size
        })
    }

    /// A folder that is one record, with files of these sizes.
    pub fn put_folder(&mut self, name: &str, sizes: &[(&str, usize)]) -> PathBuf {
        let (folder, canary) = (self.path("folders", name), Canary::new());
        let mut files = Vec::new();
        for (file, size) in sizes {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, canary.fill(*size)).unwrap();
            files.push((path, *size));
        }
        self.add(format!("folders:folders/{DAY}/{name}"), canary, files);
        folder
    }

    /// Something that is looked for and is no record.
    pub fn trace(&mut self, name: &str) -> Canary {
        let canary = Canary::new();
        self.add(name.to_owned(), canary.clone(), Vec::new());
        canary
    }

    fn add(&mut self, key: String, canary: Canary, files: Vec<(PathBuf, usize)>) {
        self.subjects.push(Subject { key, canary, files, before: 0, after: 0, outcome: None });
    }

    /// Everything is on the disk and nothing of it in memory; then counts what there is.
    pub fn settle(&mut self) {
        self.image.unmount();
        self.note_before();
        self.image.mount();
    }

    /// Everything is on the disk; then counts what there is.
    pub fn settle_mounted(&mut self) {
        self.image.sync();
        self.note_before();
    }

    fn note_before(&mut self) {
        let mut found = self.image.search();
        for subject in &mut self.subjects {
            subject.before = found.remove(&subject.canary).unwrap_or(0);
        }
    }

    /// Runs the program over every dataset. What it kept, or failed at, must be as it was.
    pub fn run(&mut self) {
        let mut stores = format!("  disk:\n    files: \"{}\"\n    datasets:\n", text(&self.root));
        for (dataset, options) in DATASETS {
            let path =
                if dataset == "folders" { format!("{dataset}/{{done:%Y-%m-%d}}/*/**") } else { format!("{dataset}/{{done:%Y-%m-%d}}/*") };
            let _ = writeln!(
                stores,
                "      {dataset}: {{ class: thing.done, path: \"{path}\", events: {{ done: path }}, keys: plain, {options} }}"
            );
            std::fs::create_dir_all(self.root.join(dataset)).unwrap();
        }
        self.image.sync();
        let allocated = self.image.allocated();
        let mut outcomes = Program::new(&stores).outcomes();
        self.image.sync();
        self.growth = self.image.allocated().saturating_sub(allocated);
        for subject in self.subjects.iter_mut().filter(|subject| !subject.files.is_empty()) {
            let outcome = outcomes.remove(&format!("disk/{}", subject.key));
            let outcome = outcome.unwrap_or_else(|| panic!("{}: no outcome of {}", self.image.name(), subject.key));
            let left = subject.files.iter().filter(|(path, _)| path.symlink_metadata().is_ok());
            // Under another root the files themselves are not where the record was.
            if outcome.text("kind") != "destroyed" {
                for (path, size) in left {
                    let content = std::fs::read(path).unwrap();
                    assert!(content.len() >= *size && sparse_equal(&content, &subject.canary, *size), "{}: damaged", subject.key);
                }
            } else if self.root == self.image.place() {
                assert_eq!(left.count(), 0, "{}: destroyed, and still there", subject.key);
            }
            subject.outcome = Some(outcome);
        }
        assert!(outcomes.is_empty(), "{outcomes:?}");
    }

    /// Unmounts and searches. Whatever was claimed, `overwritten` must be true.
    pub fn search(&mut self) {
        self.image.unmount();
        let mut found = self.image.search();
        let mut table = String::new();
        for subject in &mut self.subjects {
            subject.after = found.remove(&subject.canary).unwrap_or(0);
            let (word, remarks) = subject.outcome.as_ref().map(|one| (one.word(), one.remarks())).unwrap_or_default();
            let _ = writeln!(
                table,
                "| {} | {} | {word} | {} | {} | {remarks} |",
                self.image.name(),
                subject.key,
                subject.before,
                subject.after
            );
        }
        println!("{table}");
        for subject in &self.subjects {
            let claimed = subject.outcome.as_ref().is_some_and(|outcome| outcome.word() == "overwritten");
            assert!(!claimed || subject.after == 0, "{} on {}: claimed to be overwritten\n{table}", subject.key, self.image.name());
        }
    }

    fn subject(&self, dataset: &str, name: &str) -> (&Subject, &Outcome) {
        let key = format!("{dataset}:{dataset}/{DAY}/{name}");
        let subject = self.subjects.iter().find(|subject| subject.key == key).unwrap();
        (subject, subject.outcome.as_ref().unwrap())
    }

    /// It was there, it is said to be overwritten, and nothing is left.
    pub fn overwritten(&self, dataset: &str, name: &str) -> &Outcome {
        let (subject, outcome) = self.subject(dataset, name);
        assert_eq!(outcome.word(), "overwritten", "{} on {}: {}", subject.key, self.image.name(), outcome.remarks());
        assert!(subject.before > 0, "{}: the search found nothing before", subject.key);
        assert_eq!(subject.after, 0);
        for caveat in ["prior-versions-unknown", "medium-virtual", "backups-not-reached", "name-in-journal"] {
            assert!(outcome.has(caveat), "{}: {caveat} is not among {}", subject.key, outcome.remarks());
        }
        outcome
    }

    /// It was there, only the name is said to be gone and why, and the contents are left.
    pub fn unlinked(&self, dataset: &str, name: &str, caveat: &str) -> &Outcome {
        let (subject, outcome) = self.subject(dataset, name);
        assert_eq!(outcome.word(), "unlinked", "{} on {}: {}", subject.key, self.image.name(), outcome.remarks());
        assert!(outcome.has(caveat), "{} on {}: {caveat} is not among {}", subject.key, self.image.name(), outcome.remarks());
        assert_eq!(outcome.accepted_below(), dataset == "either", "{outcome:?}");
        assert!(subject.before > 0 && subject.after > 0, "{} on {}: nothing is left, so it is no case", subject.key, self.image.name());
        outcome
    }

    /// It was there, could not be overwritten, and is untouched.
    pub fn kept(&self, dataset: &str, name: &str) {
        let (subject, outcome) = self.subject(dataset, name);
        assert_eq!(outcome.word(), "kept: cannot-meet-grade", "{} on {}: {}", subject.key, self.image.name(), outcome.remarks());
        assert!(subject.before > 0 && subject.after > 0, "{} on {}", subject.key, self.image.name());
    }

    /// It was there, could not be removed at all, and is untouched.
    pub fn failed(&self, dataset: &str, name: &str) {
        let (subject, outcome) = self.subject(dataset, name);
        assert_eq!(outcome.word(), "failed", "{} on {}: {}", subject.key, self.image.name(), outcome.remarks());
        assert!(subject.before > 0 && subject.after > 0, "{} on {}", subject.key, self.image.name());
    }

    /// Every file of a folder is said to be overwritten, and none is left.
    pub fn folder_overwritten(&self, name: &str) {
        self.overwritten("folders", name);
    }

    /// Not every file of a folder is said to be overwritten, and something is left.
    pub fn folder_unlinked(&self, name: &str, caveat: &str) {
        self.unlinked("folders", name, caveat);
    }

    /// What the log says of a record, whatever it is.
    pub fn outcome(&self, dataset: &str, name: &str) -> &Outcome {
        self.subject(dataset, name).1
    }

    /// How much of something that is no record is left.
    pub fn left(&self, name: &str) -> usize {
        self.subjects.iter().find(|subject| subject.key == name).unwrap().after
    }

    pub fn canary(&self, dataset: &str, name: &str) -> Canary {
        let key = format!("{dataset}:{dataset}/{DAY}/{name}");
        self.subjects.iter().find(|subject| subject.key == key).unwrap().canary.clone()
    }

    /// By how many bytes the run made the image grow.
    pub fn growth(&self) -> u64 {
        self.growth
    }

    /// Sets a flag of a file, or several.
    pub fn flag(path: &Path, flags: &str) {
        must("chattr", &[flags, text(path)]);
    }
}

/// Whether the file begins with so many bytes of its canary.
fn sparse_equal(content: &[u8], canary: &Canary, size: usize) -> bool {
    content.get(..size).is_some_and(|part| part == canary.fill(size))
}
