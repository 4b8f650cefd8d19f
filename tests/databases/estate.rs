//! Rows in a database, and the log held against each of them: what is gone was due and has its intent and its outcome, what is there has none
//! that says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::time::{Duration, Instant};

use retentiond::audit::{Entry, Kind, Reader};

use crate::program::{Program, key};
use crate::servers::Database;

/// One table whose rows go with children, in the careful order, and one whose rows go at once; and an empty one, so that the program can be
/// started to recover and do nothing else.
const TABLES: &str = "CREATE TABLE applicants (id INT PRIMARY KEY, status VARCHAR(20), ended_on DATE, note VARCHAR(200));
    CREATE TABLE interviews (id INT PRIMARY KEY, applicant_id INT NOT NULL, FOREIGN KEY (applicant_id) REFERENCES applicants (id));
    CREATE INDEX interviews_of ON interviews (applicant_id);
    CREATE TABLE letters (id INT PRIMARY KEY, status VARCHAR(20), ended_on DATE, note VARCHAR(200));
    CREATE TABLE nothing (id INT PRIMARY KEY, ended_on DATE)";

const DATASETS: &str = "      applicants: { class: short, table: applicants, key: id, where: \"status = 'no'\", events: { ended: ended_on }, keys: plain, children: [ { table: interviews, key: applicant_id } ] }
      letters: { class: short, table: letters, key: id, where: \"status = 'no'\", events: { ended: ended_on }, keys: plain }
      nothing: { class: short, table: nothing, key: id, events: { ended: ended_on } }
";

const RECORDS: [&str; 2] = ["applicants", "letters"];

/// Numbers that look random and are the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }

    pub async fn pause(&mut self, most: Duration) {
        tokio::time::sleep(Duration::from_micros(self.below(u64::try_from(most.as_micros()).unwrap()))).await;
    }
}

/// What the log says of one record.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    intents: u32,
    outcomes: u32,
    gone: u32,
}

pub struct Estate {
    pub database: Database,
    pub program: Program,
    rows: i64,
    /// The log is read up to here.
    read: u64,
    said: BTreeMap<(String, i64), Said>,
    pub recovered: u64,
}

/// Whether the row of this number is due: three in eight are not, each for another reason.
fn is_due(id: i64) -> bool {
    id % 8 > 2
}

fn stores(database: &Database) -> String {
    format!("  housing:\n    {}: {}\n    datasets:\n{DATASETS}", key(database.engine()), database.url())
}

impl Estate {
    pub async fn new(database: Database) -> Self {
        database.run(TABLES).await;
        let program = Program::new(&stores(&database));
        Self { database, program, rows: 0, read: 0, said: BTreeMap::new(), recovered: 0 }
    }

    /// Lets another database, with the same tables and no rows, stand under the store's name.
    pub async fn configure_at(&self, other: &Database) {
        other.run(TABLES).await;
        self.program.configure(&stores(other));
    }

    pub fn configure_back(&self) {
        self.program.configure(&stores(&self.database));
    }

    /// At most as many records in one run.
    pub fn limit(&self, records: &str) {
        let text = std::fs::read_to_string(self.program.path("retentiond.yaml")).unwrap();
        let text = text.replace("limits: unlimited", &format!("limits: {{ records: {records}, share: unlimited }}"));
        std::fs::write(self.program.path("retentiond.yaml"), text).unwrap();
    }

    /// Puts as many new rows into each table.
    pub async fn add(&mut self, rows: i64) {
        let ids = self.rows..self.rows + rows;
        self.rows += rows;
        let row = |id: i64| {
            let (status, date) = match id % 8 {
                0 => ("no", "NULL"),
                1 => ("no", "'2098-01-01'"),
                2 => ("on hold", "'2019-01-01'"),
                _ => ("no", "'2019-01-01'"),
            };
            format!("({id}, '{status}', {date}, 'n')")
        };
        let all = ids.clone().map(row).collect::<Vec<_>>().join(", ");
        let children = ids.map(|id| format!("({id}, {id})")).collect::<Vec<_>>().join(", ");
        let mut session = self.database.admin().await;
        session.run("BEGIN").await.unwrap();
        for table in RECORDS {
            session.run(&format!("INSERT INTO {table} VALUES {all}")).await.unwrap();
        }
        session.run(&format!("INSERT INTO interviews VALUES {children}")).await.unwrap();
        session.run("COMMIT").await.unwrap();
        session.close().await;
    }

    fn intents_in_journal(&self) -> usize {
        let files = std::fs::read_dir(self.program.path("state/audit/journal")).into_iter().flatten().flatten();
        let count = |bytes: Vec<u8>| crate::program::count(&bytes, b"\"kind\":\"intent\"");
        files.filter_map(|file| std::fs::read(file.path()).ok()).map(count).sum()
    }

    /// Starts a run, and waits until it has announced something; it may end before.
    pub async fn start_until_intent(&self) -> Child {
        let before = self.intents_in_journal();
        let mut child = self.program.start(&["run"]);
        let began = Instant::now();
        while self.intents_in_journal() <= before && child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        child
    }

    /// Starts the program so that it settles what was interrupted, and removes nothing.
    pub fn recover(&self) {
        let said = self.program.run(&["run", "housing/nothing"]);
        assert!(matches!(said.code, Some(0 | 1)), "{:?}: {}", said.code, said.text);
    }

    /// Reads what was added to the log since.
    fn read_on(&mut self) {
        for item in Reader::open(&self.program.path("state/audit")).unwrap().from(self.read) {
            let (index, bytes) = item.unwrap();
            let entry = Entry::parse(&bytes).unwrap();
            self.read = index + 1;
            let dataset = entry.str("dataset").unwrap_or_default().to_owned();
            let id = |name: &str| name.strip_prefix("plain:").unwrap().parse::<i64>().unwrap();
            match entry.kind {
                Kind::Intent => {
                    for name in entry.fields["records"].as_array().unwrap() {
                        self.said.entry((dataset.clone(), id(name.as_str().unwrap()))).or_default().intents += 1;
                    }
                }
                Kind::Destroyed | Kind::Absent | Kind::Kept | Kind::Failed | Kind::Recovered => {
                    let said = self.said.entry((dataset, id(entry.str("record").unwrap()))).or_default();
                    said.outcomes += 1;
                    assert!(said.outcomes <= said.intents, "entry {index}: an outcome without an intent");
                    assert!(entry.kind != Kind::Absent, "entry {index}: nobody else removes anything here");
                    said.gone += u32::from(entry.kind == Kind::Destroyed || entry.str("found") == Some("gone"));
                    self.recovered += u64::from(entry.kind == Kind::Recovered);
                }
                _ => {}
            }
        }
    }

    /// Every row against the log, once nothing is open any more.
    pub async fn check(&mut self) {
        self.program.must(0, &["audit", "verify"]);
        self.read_on();
        for table in RECORDS {
            let there: BTreeSet<i64> =
                self.database.texts(&format!("SELECT id FROM {table}")).await.iter().map(|id| id.parse().unwrap()).collect();
            for id in 0..self.rows {
                let said = self.said.get(&(table.to_owned(), id)).copied().unwrap_or_default();
                let gone = !there.contains(&id);
                assert!(!gone || is_due(id), "{table} {id} is gone and was not due");
                assert!(is_due(id) || said.intents == 0, "{table} {id} was announced and was not due");
                assert_eq!(said.intents, said.outcomes, "{table} {id}: every intent has its outcome: {said:?}");
                assert_eq!(said.gone, u32::from(gone), "{table} {id}: gone is {gone}, and the log says {said:?}");
            }
        }
        let (parents, children) = ("SELECT count(*) FROM applicants", "SELECT count(*) FROM interviews");
        assert_eq!(self.database.number(parents).await, self.database.number(children).await, "children go with their record");
    }

    /// Carries out the rest; everything that is due is gone then.
    pub async fn finish(&mut self) {
        let said = self.program.run(&["run"]);
        assert!(matches!(said.code, Some(0 | 1)), "{}", said.text);
        self.check().await;
        for table in RECORDS {
            let left = self.database.number(&format!("SELECT count(*) FROM {table}")).await;
            let kept = (0..self.rows).filter(|id| !is_due(*id)).count();
            assert_eq!(left, i64::try_from(kept).unwrap(), "{}", said.text);
        }
    }
}
