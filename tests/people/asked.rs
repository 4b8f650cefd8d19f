//! An office whose records have many classes, for requests for erasure: the class of each stands in its `note`, or in the folder of its file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Output;

use jiff::ToSpan as _;
use serde_json::Value;

use crate::office::{Office, Place, text};

const SCHEDULE: &str = "schedule: test
time-zone: Europe/London
classes:
  short: { keep: 23 days, after: made, then: destroy }
  consent: { keep: 6 years, after: made, then: destroy, on-erasure: destroy }
  claim: { keep: 6 years, after: made, then: destroy, on-erasure: { refuse: \"Limitation Act 1980, s.5\" } }
  complaint: { keep: 6 years, after: made, then: destroy, on-erasure: { restrict: the complaint is open } }
  looked-at: { keep: 1 year, after: made, then: review }
  careful: { keep: 6 years, after: made, then: review, approvals: 2, on-erasure: destroy }
";

const CLASSES: [&str; 6] = ["short", "consent", "claim", "complaint", "looked-at", "careful"];

/// See the file's header.
pub struct Asked {
    pub office: Office,
}

/// A record: its number, class, person and date.
pub type Row<'a> = (u64, &'a str, &'a str, &'a str);

pub fn ago(days: i64) -> String {
    (jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() - days.days()).to_string()
}

impl Asked {
    pub async fn new(place: Place) -> Self {
        Self::of(Office::new(place).await).await
    }

    async fn of(office: Office) -> Self {
        let this = Self { office };
        this.office.sql("ALTER TABLE people ADD COLUMN kind VARCHAR(20)").await;
        let (source, path) = match this.office.place {
            Place::Files => ("capture", "path: \"{kind}/{who}/{made:%Y-%m-%d}.txt\""),
            _ => ("column", ""),
        };
        let map: Vec<String> = CLASSES.iter().map(|class| format!("{class}: {class}")).collect();
        let classes = format!("class-by: {{ {source}: kind, map: {{ {} }} }}", map.join(", "));
        this.edit("retentiond.yaml", "class: short", &classes);
        if !path.is_empty() {
            this.edit("retentiond.yaml", "path: \"{who}/{made:%Y-%m-%d}.txt\"", path);
        }
        std::fs::write(this.office.path("schedule.yaml"), SCHEDULE).unwrap();
        this
    }

    /// One office for each kind of store that this machine has.
    pub async fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for office in Office::all().await {
            all.push(Self::of(office).await);
        }
        all
    }

    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.office.path(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    pub fn file(&self, (_, kind, who, date): Row<'_>) -> PathBuf {
        self.office.path("files").join(kind).join(who).join(format!("{date}.txt"))
    }

    pub fn address(&self, row: Row<'_>) -> String {
        match self.office.place {
            Place::Files => format!("store/people:{}/{}/{}.txt", row.1, row.2, row.3),
            _ => format!("store/people:{}", row.0),
        }
    }

    pub async fn put(&self, rows: &[Row<'_>]) {
        if let Place::Files = self.office.place {
            for row in rows {
                let file = self.file(*row);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, "x").unwrap();
            }
            return;
        }
        for rows in rows.chunks(1000) {
            let rows: Vec<String> = rows.iter().map(|(id, kind, who, date)| format!("({id}, '{who}', '{date}', 'n', '{kind}')")).collect();
            self.office.sql(&format!("INSERT INTO people (id, who, made_on, note, kind) VALUES {}", rows.join(", "))).await;
        }
    }

    /// The numbers of those rows that are there.
    pub async fn there(&self, rows: &[Row<'_>]) -> BTreeSet<u64> {
        if let Place::Files = self.office.place {
            return rows.iter().filter(|row| self.file(**row).exists()).map(|row| row.0).collect();
        }
        let mut there = BTreeSet::new();
        for rows in rows.chunks(1000) {
            let list = rows.iter().map(|row| row.0.to_string()).collect::<Vec<_>>().join(", ");
            // Numbers come as texts from every engine.
            let cast = if matches!(self.office.place, Place::Sqlite) { "CAST(id AS TEXT)" } else { "CAST(id AS CHAR(20))" };
            let found = self.office.sql(&format!("SELECT {cast} FROM people WHERE id IN ({list})")).await;
            there.extend(found.iter().map(|id| id.trim().parse::<u64>().unwrap()));
        }
        there
    }

    /// What `subject erase` shows: each record's decision by its address, and the last line.
    pub fn shown(&self, subject: &str, code: i32) -> (Vec<Value>, Value) {
        let output = self.office.command(&["--json", "subject", "erase", subject]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}: {}", self.office.kind(), text(&output));
        let mut lines: Vec<Value> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().unwrap();
        (lines, summary)
    }

    /// The id of what is shown.
    pub fn id(&self, subject: &str) -> String {
        let output = self.office.command(&["--json", "subject", "erase", subject]).output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let summary: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        summary["erasure"].as_str().unwrap()[..16].to_owned()
    }

    pub fn words<'w>(subject: &'w str, id: &'w str) -> Vec<&'w str> {
        vec!["subject", "erase", subject, "--confirm", id, "--person", "Olive Oak", "--matter", "SAR-9"]
    }

    /// Confirms, and must come to this end.
    pub fn confirm(&self, subject: &str, id: &str, code: i32) -> String {
        self.office.must(code, &Self::words(subject, id))
    }

    /// The same as somebody behind sudo.
    pub fn confirm_as(&self, account: &str, name: &str, subject: &str, id: &str) -> Output {
        let words = ["subject", "erase", subject, "--confirm", id, "--person", name, "--matter", "SAR-9"];
        self.office.command(&words).env("SUDO_USER", account).output().unwrap()
    }

    /// The entries of a kind.
    pub fn entries(&self, kind: &str) -> Vec<Value> {
        let output = self.office.finish(&["audit", "list", "--json", "--kind", kind]);
        let out = String::from_utf8(output.stdout).unwrap();
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The log is whole, and every decision follows from it.
    pub fn in_order(&self) {
        self.office.must(0, &["audit", "verify"]);
        self.office.must(0, &["audit", "replay"]);
    }
}
