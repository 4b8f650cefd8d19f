//! A housing office: six stores of five kinds, a calendar that the test turns, and the people who work there.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::program::Program;
use crate::servers::{self, Engine};
use crate::table::Table;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

const SCHEDULE: &str = "schedule: office
title: Retention and disposal schedule
owner: Data Protection Officer
time-zone: Europe/London
classes:
  cctv.footage:    { title: CCTV footage,            keep: 23 days,  after: recorded,    then: destroy }
  calls.recording: { title: Call recordings,         keep: 3 months, after: call,        then: destroy, on-erasure: destroy }
  repairs.request: { title: Repair requests,         keep: 1 year,   after: closed,      then: destroy, on-erasure: destroy }
  recruitment:     { title: Unsuccessful applicants, keep: 6 months, after: outcome,     then: anonymise }
  paper.file:      { title: Paper files,             keep: 6 years,  after: closed,      then: destroy }
  tenancy.file:    { title: Tenancy files,           keep: 6 years,  after: tenancy-end, then: review,
                     approvals: 2, cooling-off: 3 days, approval-lasts: 14 days, authority: \"Limitation Act 1980, s.5\" }
";

/// The office, in March of the next year.
pub struct House {
    pub program: Program,
    year: i16,
    tenancies: Table,
    applicants: Table,
    repairs: Table,
}

impl House {
    /// `None`, with a word, where days cannot be made to pass or nobody can act as several people.
    pub async fn new() -> Option<Self> {
        let root = std::process::Command::new("id").arg("-u").output().unwrap().stdout.trim_ascii() == b"0";
        if !root || !Path::new(LIBRARY).exists() {
            println!("skipped: this needs root, who may act as others, and libfaketime");
            return None;
        }
        let server = async |engine, file| match servers::shared(engine) {
            Some(server) => Table::Server(server.database().await),
            None => Table::SqliteIn(file),
        };
        let (tenancies, repairs) = (server(Engine::Postgres, "tenancies.db").await, server(Engine::MariaDb, "repairs.db").await);
        let applicants = Table::SqliteIn("applicants.db");
        let stores = format!(
            "  cctv:
    files: cctv
    datasets:
      footage: {{ class: cctv.footage, path: \"{{camera}}/{{recorded:%Y-%m-%d}}/*.mp4\", events: {{ recorded: path }}, keys: plain }}
  calls:
    files: calls
    datasets:
      recordings: {{ class: calls.recording, path: \"{{caller}}/{{call:%Y-%m-%d}}/*.wav\", events: {{ call: path }}, subject: caller, keys: plain }}
  lettings:
    {}
    datasets:
      tenancies: {{ class: tenancy.file, table: tenancies, key: id, events: {{ tenancy-end: ended_on }}, subject: tenant }}
  works:
    {}
    datasets:
      repairs: {{ class: repairs.request, table: repairs, key: id, events: {{ closed: closed_on }}, subject: tenant, inventory: on }}
  hr:
    {}
    datasets:
      applicants:
        {{ class: recruitment, table: applicants, key: id, events: {{ outcome: outcome_on }}, anonymise: {{ name: null, email: '' }},
           statistics: {{ by: [ward], smallest: 10 }} }}
  cabinets:
    attested: {{ csv: boxes.csv }}
    datasets:
      boxes: {{ class: paper.file, key: box, events: {{ closed: closed }}, subject: tenant, keys: plain }}
",
            tenancies.place(),
            repairs.place(),
            applicants.place()
        );
        let mut program = Program::new(&stores);
        program.write("schedule.yaml", SCHEDULE);
        program.set("LD_PRELOAD", LIBRARY);
        let house = Self { program, year: jiff::Zoned::now().year() + 1, tenancies, applicants, repairs };
        house.fill().await;
        Some(house)
    }

    /// Everything as it is found on the first of March.
    async fn fill(&self) {
        let on = |years_ago: i16, day: &str| self.date(years_ago, day);
        for clip in ["cam-1/02-05/lift", "cam-1/02-10/door", "cam-1/02-10/fight", "cam-2/02-10/yard", "cam-1/02-20/lift"] {
            let (camera, rest) = clip.split_once('/').unwrap();
            self.program.write(&format!("cctv/{camera}/{}-{rest}.mp4", self.year), clip);
        }
        for (caller, day) in [("T-40", "11-25"), ("T-50", "11-25"), ("T-2", "12-04"), ("T-7", "12-31"), ("T-8", "12-31")] {
            self.program.write(&format!("calls/{caller}/{}/call.wav", on(1, day)), "said");
        }
        let ended =
            [on(6, "02-10"), on(6, "02-11"), on(6, "02-12"), on(6, "02-13"), "-".into(), on(6, "01-15"), on(6, "01-16"), on(2, "05-05")];
        let rows = (1..).zip(&ended).map(|(id, day)| format!("({id}, 'T-{id}', {}, 'file')", sql(day))).collect::<Vec<_>>().join(", ");
        let table = "CREATE TABLE tenancies (id INT PRIMARY KEY, tenant VARCHAR(10) NOT NULL, ended_on DATE, note VARCHAR(20));
                     CREATE INDEX tenancies_ended_on ON tenancies (ended_on, id)";
        self.tenancies.run(&self.program, &format!("{table}; INSERT INTO tenancies VALUES {rows}")).await;
        let closed = [(1, on(2, "05-01")), (2, on(1, "03-03")), (9, on(1, "03-10")), (4, on(1, "06-01")), (8, "-".into())];
        let rows = closed.iter().map(|(id, day)| format!("({id}, 'T-{id}', {}, 'tap')", sql(day))).collect::<Vec<_>>().join(", ");
        let table = "CREATE TABLE repairs (id INT PRIMARY KEY, tenant VARCHAR(10) NOT NULL, closed_on DATE, note VARCHAR(20));
                     CREATE INDEX repairs_closed_on ON repairs (closed_on, id)";
        self.repairs.run(&self.program, &format!("{table}; INSERT INTO repairs VALUES {rows}")).await;
        let applicant = |id: u32| {
            let (ward, day) = match id {
                1..=12 => ("North", "08-10"),
                13 | 14 => ("South", "08-11"),
                _ => ("North", "09-20"),
            };
            format!("({id}, 'Ann {id}', 'ann{id}@example.org', '{ward}', '{}')", on(1, day))
        };
        let rows = (1..=15).map(applicant).collect::<Vec<_>>().join(", ");
        let table = "CREATE TABLE applicants (id INT PRIMARY KEY, name TEXT, email TEXT, ward TEXT, outcome_on DATE)";
        self.applicants.run(&self.program, &format!("{table}; INSERT INTO applicants VALUES {rows}")).await;
        let boxes = format!("box,closed,tenant\nB-1,{},T-1\nB-2,{},T-9\nB-3,{},T-5\n", on(7, "02-01"), on(7, "02-02"), on(1, "02-03"));
        self.program.write("boxes.csv", &boxes);
    }

    /// A day such as `03-05`, so many years ago.
    pub fn date(&self, years_ago: i16, day: &str) -> String {
        format!("{}-{day}", self.year - years_ago)
    }

    /// It becomes ten o'clock in the morning of this day of the year.
    pub fn becomes(&mut self, day: &str) {
        let then: Timestamp = format!("{}T10:00:00Z", self.date(0, day)).parse().unwrap();
        let ahead = then.duration_since(Timestamp::now()).as_secs();
        self.program.set("FAKETIME", format!("{ahead:+}"));
        self.person("root");
    }

    /// From now on this person gives the commands.
    pub fn person(&mut self, account: &str) {
        self.program.set("SUDO_USER", account);
    }

    /// What a command says that must end like this.
    pub fn says(&self, code: i32, words: &[&str]) -> String {
        self.program.must(code, words)
    }

    /// The nightly run, which says what it did.
    pub fn run(&self) -> String {
        let said = self.program.run(&["run"]);
        assert!(matches!(said.code, Some(0 | 1)), "{:?}: {}", said.code, said.text);
        said.text
    }

    /// What is said of one record.
    pub fn explains(&self, address: &str) -> String {
        self.says(0, &["explain", address])
    }

    /// The hold of a matter.
    pub fn hold(&self, matter: &str) -> String {
        let list: Value = serde_json::from_str(self.program.run(&["hold", "list", "--json"]).text.trim()).unwrap();
        let hold = list["holds"].as_array().unwrap().iter().find(|hold| hold["matter"] == matter);
        hold.unwrap_or_else(|| panic!("{matter}: {list}"))["hold"].as_str().unwrap().to_owned()
    }

    /// The review batch of tenancies of which this was the last month of keeping.
    pub fn batch(&self, month: &str) -> String {
        let list: Value = serde_json::from_str(self.says(0, &["review", "list", "--json"]).trim()).unwrap();
        let month = self.date(0, month);
        let batch = list.as_array().unwrap().iter().find(|batch| batch["month"] == *month);
        batch.unwrap_or_else(|| panic!("{month}: {list}"))["batch"].as_str().unwrap().to_owned()
    }

    /// The clips that are there, as `camera/day/name`.
    pub fn clips(&self) -> BTreeSet<String> {
        self.files("cctv", "mp4")
    }

    /// The calls that are there, by who called.
    pub fn callers(&self) -> BTreeSet<String> {
        self.files("calls", "wav").iter().map(|file| file.split('/').next().unwrap().to_owned()).collect()
    }

    fn files(&self, below: &str, extension: &str) -> BTreeSet<String> {
        let (root, mut all) = (self.program.path(below), BTreeSet::new());
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().with_extension("");
                    assert!(path.extension().is_some_and(|found| found == extension), "{}", path.display());
                    all.insert(name.to_str().unwrap().replace(&format!("{}-", self.year), ""));
                }
            }
        }
        all
    }

    /// Whose tenancies are there.
    pub async fn tenants(&self) -> String {
        self.tenancies.texts(&self.program, "SELECT tenant FROM tenancies ORDER BY id").await.join(" ")
    }

    /// Whose repairs are there.
    pub async fn repairs(&self) -> String {
        self.repairs.texts(&self.program, "SELECT tenant FROM repairs ORDER BY id").await.join(" ")
    }

    /// The applicants who still have a name.
    pub async fn names(&self) -> Vec<String> {
        self.applicants.texts(&self.program, "SELECT name FROM applicants WHERE name IS NOT NULL ORDER BY id").await
    }

    /// How many applicants there are, with a name or without.
    pub async fn applicants(&self) -> usize {
        self.applicants.texts(&self.program, "SELECT ward FROM applicants").await.len()
    }

    /// Somebody at the lettings desk works on the tenancies.
    pub async fn lettings_desk(&self, statement: &str) {
        self.tenancies.run(&self.program, statement).await;
    }

    /// Somebody works on the repairs' table, past the program.
    pub async fn works_desk(&self, statement: &str) {
        self.repairs.run(&self.program, statement).await;
    }
}

fn sql(day: &str) -> String {
    if day == "-" { "NULL".to_owned() } else { format!("'{day}'") }
}

/// A set of names.
pub fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
