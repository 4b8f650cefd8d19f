//! A small estate for the built program: files of which all are due, and a state folder that can be copied and put back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use retentiond::audit::{Entry, Kind, Reader};
use serde_json::Value;
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_retentiond");

const SCHEDULE: &str = "schedule: test\ntime-zone: UTC\nclasses:\n  \
    short: { keep: 23 days, after: recorded, then: destroy }\n  \
    the-log: { keep: 7 years, after: entry, then: review }\n";

pub struct Estate {
    folder: TempDir,
    serial: u32,
}

impl Estate {
    /// An estate whose configuration has these lines too.
    pub fn new(lines: &str) -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap(), serial: 0 };
        fs::write(this.path("schedule.yaml"), SCHEDULE).unwrap();
        this.configure(lines);
        this
    }

    pub fn configure(&self, lines: &str) {
        let text = format!(
            "node: keys-1\nmode: enforce\nlimits: unlimited\nschedules: schedule.yaml\nstate: state\n{lines}\nstores:\n  cctv:\n    files: cctv\n    \
             datasets:\n      footage: {{ class: short, path: \"{{recorded:%Y-%m-%d}}/*.mp4\", events: {{ recorded: path }}, keys: plain }}\n      \
             people: {{ class: short, path: \"people/{{recorded:%Y-%m-%d}}/*.mp4\", events: {{ recorded: path }} }}\n"
        );
        fs::write(self.path("retentiond.yaml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Adds records that are due.
    pub fn add(&mut self, count: u32) {
        let day = self.path("cctv/2020-01-01");
        fs::create_dir_all(&day).unwrap();
        for _ in 0..count {
            self.serial += 1;
            fs::write(day.join(format!("{:06}.mp4", self.serial)), "x").unwrap();
        }
    }

    /// How many records are there.
    pub fn left(&self) -> usize {
        fs::read_dir(self.path("cctv/2020-01-01")).map_or(0, Iterator::count)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--config")
            .arg(self.path("retentiond.yaml"))
            .args(arguments)
            .env_remove("RETENTIOND_LOG")
            .env_remove("CREDENTIALS_DIRECTORY");
        command
    }

    /// Runs the program and expects this exit code; what it printed.
    pub fn expect(&self, code: i32, arguments: &[&str]) -> String {
        expect(code, &self.command(arguments).output().unwrap(), &arguments.join(" "))
    }

    /// Adds records and runs; all of them must go.
    pub fn work(&mut self, count: u32) -> String {
        self.add(count);
        let said = self.expect(0, &["run"]);
        assert_eq!(self.left(), 0);
        said
    }

    pub fn verify(&self) -> Value {
        serde_json::from_str(self.expect(0, &["--json", "audit", "verify"]).lines().next().unwrap()).unwrap()
    }

    pub fn vkey(&self) -> String {
        fs::read_to_string(self.state().join("keys/log.vkey")).unwrap().trim().to_owned()
    }

    pub fn entries(&self, kind: Kind) -> Vec<Entry> {
        let entries = Reader::open(&self.state().join("audit")).unwrap().entries();
        entries.map(|item| Entry::parse(&item.unwrap().1).unwrap()).filter(|entry| entry.kind == kind).collect()
    }

    /// Keeps a copy of the state folder, or puts one back.
    pub fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.path(to));
        let done = Command::new("cp").arg("-a").arg(self.path(from)).arg(self.path(to)).status().unwrap();
        assert!(done.success());
    }
}

pub fn expect(code: i32, output: &Output, what: &str) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{what}: {text}");
    text
}

/// The Python that has the library which the witness is written with.
pub fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}
