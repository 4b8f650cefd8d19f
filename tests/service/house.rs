//! A house with a service in it: a configuration, folders of records, and the running program.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{ToSpan, Zoned};
use retentiond::audit::{Entry, Kind, Reader};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_retentiond");

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub const SCHEDULE: &str = "schedule: test\ntime-zone: Europe/London\nclasses:\n  short: { keep: 23 days, after: made, then: destroy }\n";

/// `SCAN` is replaced.
pub const CONFIG: &str = r#"
node: house
mode: enforce
schedules: schedule.yaml
state: state
limits: unlimited
scan: "SCAN"
control: control.sock
clock: { synchronised: ignore }
stores:
  one:
    files: one
    datasets:
      films: { class: short, path: "films/{made:%Y-%m-%d}/*.mp4", events: { made: path }, keys: plain }
      notes: { class: short, path: "notes/{made:%Y-%m-%d}/*.txt", events: { made: path }, keys: plain }
  two:
    files: two
    datasets:
      films: { class: short, path: "films/{made:%Y-%m-%d}/*.mp4", events: { made: path }, keys: plain }
"#;

/// A table that does not come within a test.
pub const NEVER: &str = "0 0 29 2 *";

pub struct House {
    folder: TempDir,
    serial: u32,
}

/// The running service, ended when it is dropped.
pub struct Service {
    pub child: Child,
    pub said: Arc<Mutex<String>>,
}

impl House {
    pub fn new(scan: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let house = Self { folder, serial: 0 };
        for below in ["one/films", "one/notes", "two/films"] {
            fs::create_dir_all(house.path(below)).unwrap();
        }
        house.write("schedule.yaml", SCHEDULE);
        house.write("retentiond.yaml", &CONFIG.replace("SCAN", scan));
        house
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Adds so many records to a dataset, of so many days ago; answers their paths.
    pub fn add(&mut self, dataset: &str, days: i64, many: u32) -> Vec<PathBuf> {
        let (store, name) = dataset.split_once('/').unwrap();
        let day = Zoned::now().date() - days.days();
        let folder = self.path(store).join(name).join(day.to_string());
        fs::create_dir_all(&folder).unwrap();
        let end = if name == "notes" { "txt" } else { "mp4" };
        let file = |serial| {
            let path = folder.join(format!("{serial}.{end}"));
            fs::write(&path, "x").unwrap();
            path
        };
        self.serial += many;
        (self.serial - many..self.serial).map(file).collect()
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.path("retentiond.yaml")).args(words).stdin(Stdio::null());
        command
    }

    /// Another verb, to its end.
    pub fn finish(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The verb's output in JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let output = self.command(words).arg("--json").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
    }

    /// Starts the service and waits until it answers.
    pub fn start(&self) -> Service {
        let service = Service::spawn(self.command(&["daemon"]));
        self.await_ready(&service);
        service
    }

    pub fn await_ready(&self, service: &Service) {
        await_that("the service is ready", || service.said().contains("ready") && UnixStream::connect(self.path("control.sock")).is_ok());
    }

    /// Orders something and goes away without waiting for the answer.
    pub fn order(&self, request: &str) {
        let stream = UnixStream::connect(self.path("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).unwrap();
        assert!(greeting.contains("hello"), "{greeting}");
        stream.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    }

    /// Sends bytes to the socket as they are, and answers all that comes back.
    pub fn ask_raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.path("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The other side may have had enough before the end.
        let _ = stream.write_all(bytes);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    pub fn entries(&self) -> Vec<Entry> {
        let entries = Reader::open(&self.path("state/audit")).unwrap().entries();
        entries.map(|entry| Entry::parse(&entry.unwrap().1).unwrap()).collect()
    }

    pub fn entries_of(&self, kind: Kind) -> Vec<Entry> {
        self.entries().into_iter().filter(|entry| entry.kind == kind).collect()
    }

    /// The program under a clock that is set by these words of `faketime`; answers how the verb ended.
    pub fn finish_at(&self, shift: &str, words: &[&str]) -> Output {
        let mut command = Command::new("faketime");
        command.args(["-f", shift, PROGRAM, "--config"]).arg(self.path("retentiond.yaml")).args(words).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// The row of a dataset in `status`.
    pub fn row(&self, dataset: &str) -> Value {
        let status = self.json(&["status"]);
        status["datasets"].as_array().unwrap().iter().find(|row| row["dataset"] == dataset).unwrap().clone()
    }

    pub fn verify(&self) {
        let output = self.finish(&["audit", "verify"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
}

impl Service {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said: Arc<Mutex<String>> = Arc::default();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn({
            let said = Arc::clone(&said);
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    let mut said = said.lock().unwrap();
                    said.push_str(&line);
                    said.push('\n');
                }
            }
        });
        Self { child, said }
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Ends it as systemd does, and answers how it ended and how long that took.
    pub fn stop(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        (status.code(), begun.elapsed())
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the service said:\n{}", self.said());
        }
    }
}

pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub fn none_exists(paths: &[PathBuf]) -> bool {
    !paths.iter().any(|path| path.exists())
}

pub fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

/// A private copy of a log's entries without what differs from run to run.
pub fn comparable(entries: &[Entry]) -> Vec<String> {
    let line = |entry: &Entry| {
        let mut fields = entry.fields.clone();
        for name in ["run", "intent", "vkey", "plan", "mark"] {
            fields.remove(name);
        }
        format!("{} {}", entry.kind, Value::Object(fields))
    };
    entries.iter().map(line).collect()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn has(program: &str, words: &[&str]) -> bool {
    let works = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        println!("skipped: {program} cannot be used here");
    }
    works
}

pub fn copy_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
