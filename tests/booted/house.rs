//! The stores of the container: a folder of footage and an SQLite database, made from outside, where the test also looks what is still there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::civil::Date;
use jiff::{ToSpan, Zoned};

/// The group that owns the records; the service is a member by a drop-in.
pub const GROUP: u32 = 4711;

pub const SCHEDULE: &str = "schedule: booted
time-zone: UTC
classes:
  cctv.footage: { title: CCTV footage, keep: 23 days, after: recorded, then: destroy }
  recruitment.unsuccessful: { title: Unsuccessful applications, keep: 6 months, after: outcome, then: destroy }
";

pub const CONFIGURATION: &str = r#"node: booted
mode: enforce
schedules: schedules
scan: "* * * * *"
limits: unlimited
clock: { synchronised: ignore }
stores:
  cctv:
    files: /srv/cctv
    datasets:
      footage: { class: cctv.footage, path: "{camera}/{recorded:%Y-%m-%d}/*.mp4", events: { recorded: path }, keys: plain }
  housing:
    sqlite: /srv/housing/housing.db
    datasets:
      applicants: { class: recruitment.unsuccessful, table: applicants, key: id, events: { outcome: outcome_date } }
"#;

pub struct House {
    folder: PathBuf,
    /// The day on which the test began: it may run into the next, which makes nothing else due.
    today: Date,
    /// Records that were due, files and rows.
    pub due: usize,
}

impl House {
    pub fn new(folder: &Path) -> Self {
        for name in ["cctv", "cctv/yard", "housing"] {
            fs::create_dir_all(folder.join(name)).unwrap();
            shared(&folder.join(name), 0o2775);
        }
        let house = Self { folder: folder.to_owned(), today: Zoned::now().date(), due: 0 };
        let day = |days: i64| (house.today - days.days()).to_string();
        let rows = [day(400), day(300), day(3), day(1)].map(|day| format!("INSERT INTO applicants(outcome_date) VALUES ('{day}');"));
        let script = format!(
            "CREATE TABLE applicants(id INTEGER PRIMARY KEY, outcome_date TEXT); INSERT INTO applicants(outcome_date) VALUES (NULL); {}",
            rows.concat()
        );
        house.sql(&script);
        shared(&folder.join("housing/housing.db"), 0o664);
        Self { due: 2, ..house }
    }

    pub fn sql(&self, script: &str) -> String {
        let output = Command::new("sqlite3")
            .args(["-cmd", ".timeout 10000"])
            .arg(self.folder.join("housing/housing.db"))
            .arg(script)
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Adds footage of so many days ago.
    pub fn film(&mut self, days: i64, many: usize) {
        let folder = self.of(days);
        if !folder.exists() {
            fs::create_dir(&folder).unwrap();
            shared(&folder, 0o2775);
        }
        let first = self.films(days);
        for serial in first..first + many {
            let path = folder.join(format!("{serial:05}.mp4"));
            fs::write(&path, "film").unwrap();
            shared(&path, 0o664);
        }
        if days > 23 {
            self.due += many;
        }
    }

    /// How much footage of that day is there.
    pub fn films(&self, days: i64) -> usize {
        fs::read_dir(self.of(days)).map_or(0, Iterator::count)
    }

    fn of(&self, days: i64) -> PathBuf {
        self.folder.join("cctv/yard").join((self.today - days.days()).to_string())
    }

    /// Rows that are there.
    pub fn rows(&self) -> usize {
        self.sql("SELECT count(*) FROM applicants").parse().unwrap()
    }
}

fn shared(path: &Path, mode: u32) {
    chown(path, Some(0), Some(GROUP)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
