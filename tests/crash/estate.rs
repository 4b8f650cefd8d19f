//! An estate on disk for the built program: files with companions, directories, rows with children, dates that live in another store.
//!
//! The estate remembers every record that it ever put there and whether it was due, so that afterwards each one can be held against the log.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use jiff::ToSpan;
use jiff::civil::Date;
use retentiond::audit::{Entry, Kind, Pseudonyms, Reader, plain_record};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{Connection, Row};
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_retentiond");

/// The days that every class of the estate keeps its records.
pub const KEEP: i64 = 23;

/// Children of each row.
const CHILDREN: i64 = 2;

pub const FOOTAGE: &str = "media/footage";
pub const TAPES: &str = "media/tapes";
pub const LETTERS: &str = "media/letters";
pub const SCANS: &str = "documents/scans";
pub const APPLICANTS: &str = "housing/applicants";
pub const TENANCIES: &str = "housing/tenancies";

const SCHEDULE: &str = "schedule: test\ntime-zone: UTC\nclasses:\n  \
    short: { keep: 23 days, after: ended, then: destroy }\n  \
    long: { keep: 40 years, after: ended, then: destroy }\n";

/// `STATE` and `ROOT` are replaced.
const CONFIG: &str = r#"
node: crash-1
mode: enforce
schedules: schedule.yaml
state: STATE
limits: unlimited
stores:
  media:
    files: ROOT/media
    datasets:
      footage:
        class: short
        path: "footage/{camera}/{ended:%Y-%m-%d}/*.mp4"
        events: { ended: path }
        companions: ["{stem}.jpg"]
        keys: plain
        prune-empty: true
      tapes: { class: short, path: "tapes/{ended:%Y-%m-%d}-*.wav", events: { ended: path }, erase: overwrite }
      letters:
        class: short
        path: "letters/{tenancy}/*.txt"
        events: { ended: { lookup: housing.tenancies, by: tenancy } }
      inbox: { class: short, path: "inbox/{box}/{shelf}/*.dat", events: { ended: modified }, keys: plain }
      nothing: { class: short, path: "nothing/*", events: { ended: modified } }
  documents:
    files: ROOT/documents
    datasets:
      scans:
        class: short
        path: "scans/{tenancy}/**"
        record: directory
        events: { ended: { lookup: housing.tenancies, by: tenancy } }
  housing:
    sqlite: ROOT/housing.db
    datasets:
      applicants:
        class: short
        table: applicants
        key: id
        where: "status = 'unsuccessful'"
        events: { ended: outcome_date }
        children: [ { table: interviews, key: applicant_id } ]
      tenancies: { class: long, table: tenancies, key: id, events: { ended: ended_on }, keys: plain }
"#;

const TABLES: &str = "
CREATE TABLE tenancies (id TEXT PRIMARY KEY, ended_on TEXT);
CREATE TABLE applicants (id TEXT PRIMARY KEY, status TEXT NOT NULL, outcome_date TEXT, note TEXT);
CREATE TABLE interviews (id INTEGER PRIMARY KEY, applicant_id TEXT NOT NULL, note TEXT);
CREATE INDEX interviews_of ON interviews (applicant_id);
";

/// Numbers that look random and are the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

/// One record that was put into the estate.
pub struct Known {
    pub dataset: &'static str,
    pub key: String,
    pub due: bool,
    /// Its name in the log; found when the keys exist.
    pub name: Option<String>,
    /// Seen gone, with its outcome in the log, and nothing of it left.
    settled: bool,
}

/// What the log says of one record.
#[derive(Default)]
struct Said {
    intents: u32,
    gone: u32,
    outcomes: u32,
}

/// How many records of which kind to add.
#[derive(Clone, Copy)]
pub struct Load {
    pub footage: u64,
    pub letters: u64,
    pub scans: u64,
    pub rows: u64,
}

pub struct Estate {
    pub folder: TempDir,
    state: PathBuf,
    pub known: Vec<Known>,
    today: Date,
    serial: u64,
    runtime: tokio::runtime::Runtime,
    /// What the log says, as far as it has been read.
    said: HashMap<(String, String), Said>,
    read: u64,
    pub runs_stopped: u32,
}

impl Estate {
    pub fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), None)
    }

    /// An estate whose state lies in another folder.
    pub fn with_state(state: &Path) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), Some(state))
    }

    pub fn in_folder(folder: TempDir, state: Option<&Path>) -> Self {
        let state = state.map_or_else(|| folder.path().join("state"), Path::to_owned);
        for place in ["media/footage", "media/tapes", "media/letters", "media/nothing", "media/inbox", "documents/scans"] {
            fs::create_dir_all(folder.path().join(place)).unwrap();
        }
        fs::write(folder.path().join("schedule.yaml"), SCHEDULE).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Should the test run past midnight, what is due on "today" must not become destroyable meanwhile.
        let today = (jiff::Timestamp::now() + 15.minutes()).to_zoned(jiff::tz::TimeZone::UTC).date();
        let this = Self { folder, state, known: Vec::new(), today, serial: 0, runtime, said: HashMap::new(), read: 0, runs_stopped: 0 };
        this.configure(CONFIG);
        this.in_database(async |db| {
            sqlx::raw_sql(TABLES).execute(db).await.unwrap();
        });
        this
    }

    /// Writes the configuration; `STATE` and `ROOT` are replaced. Nothing is overwritten where the program would warn that this has no meaning:
    /// anywhere but on ext4 and XFS.
    pub fn configure(&self, config: &str) {
        let in_place = matches!(rustix::fs::statfs(self.folder.path()).unwrap().f_type, 0xef53 | 0x5846_5342);
        let config = if in_place { config.to_owned() } else { config.replace("erase: overwrite", "erase: unlink") };
        let config = config.replace("STATE", self.state.to_str().unwrap()).replace("ROOT", self.folder.path().to_str().unwrap());
        fs::write(self.config(), config).unwrap();
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn config(&self) -> PathBuf {
        self.path("retentiond.yaml")
    }

    pub fn database(&self) -> PathBuf {
        self.path("housing.db")
    }

    pub fn in_database<T>(&self, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
        self.runtime.block_on(async {
            let mut db = connect(&self.database()).await;
            let result = work(&mut db).await;
            db.close().await.unwrap();
            result
        })
    }

    /// A date so many days before today.
    pub fn ago(&self, days: i64) -> Date {
        self.today - days.days()
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn note(&mut self, dataset: &'static str, key: String, due: bool) {
        self.known.push(Known { dataset, key, due, name: None, settled: false });
    }

    /// Adds records that are due, and for every eight of them some that are not: young, on their last day of keeping, without a date.
    pub fn add(&mut self, load: Load) {
        for n in 0..load.footage {
            self.add_footage(KEEP + 1 + i64::try_from(n % 5).unwrap(), true);
            if n % 8 == 0 {
                // The due date itself: to be kept through the whole day.
                self.add_footage(KEEP, false);
                self.add_footage(1, false);
            }
        }
        let mut rows = Vec::new();
        let mut tenancies = Vec::new();
        for n in 0..load.rows {
            rows.push((KEEP + 1, "unsuccessful", true));
            if n % 8 == 0 {
                rows.extend([(KEEP, "unsuccessful", false), (400, "open", false), (2, "unsuccessful", false)]);
            }
        }
        for n in 0..load.letters.max(load.scans) {
            let ended = [Some(KEEP + 1), Some(KEEP), None, Some(KEEP + 9), Some(KEEP + 300)][(n % 5) as usize];
            let due = ended.is_some_and(|days| days > KEEP);
            let serial = self.next();
            let tenancy = format!("T-{serial}");
            tenancies.push((tenancy.clone(), ended));
            if n < load.letters {
                self.add_letters(&tenancy, due);
            }
            if n < load.scans {
                self.add_scan(&tenancy, due);
            }
        }
        let rows: Vec<_> = rows.into_iter().map(|(days, status, due)| (format!("A-{}", self.next()), days, status, due)).collect();
        let today = self.today;
        let date = |days: i64| (today - days.days()).to_string();
        self.in_database(async |db| {
            let mut transaction = db.begin().await.unwrap();
            for (id, ended) in &tenancies {
                let query = sqlx::query("INSERT INTO tenancies VALUES (?, ?)").bind(id).bind(ended.map(date));
                query.execute(&mut *transaction).await.unwrap();
            }
            for (id, days, status, _) in &rows {
                let query = sqlx::query("INSERT INTO applicants VALUES (?, ?, ?, 'note')").bind(id).bind(status).bind(date(*days));
                query.execute(&mut *transaction).await.unwrap();
                for _ in 0..CHILDREN {
                    let query = sqlx::query("INSERT INTO interviews (applicant_id, note) VALUES (?, 'said')").bind(id);
                    query.execute(&mut *transaction).await.unwrap();
                }
            }
            transaction.commit().await.unwrap();
        });
        for (tenancy, _) in tenancies {
            self.note(TENANCIES, tenancy, false);
        }
        for (id, _, _, due) in rows {
            self.note(APPLICANTS, id, due);
        }
    }

    fn add_footage(&mut self, days: i64, due: bool) {
        let serial = self.next();
        let key = format!("footage/cam-{}/{}/{serial}.mp4", serial % 7, self.ago(days));
        let path = self.path("media").join(&key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if serial.is_multiple_of(2) {
            fs::write(path.with_extension("jpg"), &key).unwrap();
        }
        fs::write(&path, &key).unwrap();
        self.note(FOOTAGE, key, due);
    }

    /// Adds recordings that are written over before they go: so many that are due, and one on its last day of keeping.
    pub fn add_tapes(&mut self, due: i64) {
        for days in (0..due).map(|n| KEEP + 1 + n).chain([KEEP]) {
            let key = format!("tapes/{}-{}.wav", self.ago(days), self.next());
            fs::write(self.path("media").join(&key), &key).unwrap();
            self.note(TAPES, key, days > KEEP);
        }
    }

    fn add_letters(&mut self, tenancy: &str, due: bool) {
        for n in 0..3 {
            let key = format!("letters/{tenancy}/{n}.txt");
            let path = self.path("media").join(&key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &key).unwrap();
            self.note(LETTERS, key, due);
        }
    }

    fn add_scan(&mut self, tenancy: &str, due: bool) {
        let key = format!("scans/{tenancy}");
        let path = self.path("documents").join(&key);
        for below in ["", "letters", "letters/old"] {
            fs::create_dir_all(path.join(below)).unwrap();
            for n in 0..3 {
                fs::write(path.join(below).join(format!("{n}.pdf")), &key).unwrap();
            }
        }
        self.note(SCANS, key, due);
    }

    /// The program with the estate's configuration.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        self.finish_command(&mut command, words);
        command
    }

    /// The program under `strace` with these options.
    pub fn command_under_strace(&self, options: &[String], words: &[&str]) -> Command {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(self.path("strace.out")).args(options).arg(PROGRAM);
        self.finish_command(&mut command, words);
        command
    }

    fn finish_command(&self, command: &mut Command, words: &[&str]) {
        command.arg("--config").arg(self.config()).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    pub fn start(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs the program to its end.
    pub fn finish(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Starts the program so that it recovers, and has nothing else to do.
    pub fn recover(&self) {
        let output = self.finish(&["run", "media/nothing"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }

    /// Runs the program on everything until its end.
    pub fn run(&self) {
        let output = self.finish(&["run"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }

    /// How many intents the journal holds that are not published yet, whatever state it is in.
    pub fn intents_in_journal(&self) -> usize {
        let files = fs::read_dir(self.state.join("audit/journal")).into_iter().flatten().flatten();
        let count = |bytes: Vec<u8>| bytes.windows(15).filter(|window| window == b"\"kind\":\"intent\"").count();
        files.filter_map(|file| fs::read(file.path()).ok()).map(count).sum()
    }

    pub fn entries(&self) -> Vec<Entry> {
        let entries = Reader::open(&self.state.join("audit")).unwrap().entries();
        entries.map(|entry| Entry::parse(&entry.unwrap().1).unwrap()).collect()
    }

    pub fn entries_of(&self, kind: Kind) -> Vec<Entry> {
        self.entries().into_iter().filter(|entry| entry.kind == kind).collect()
    }

    /// Reads what was added to the log since.
    fn read_on(&mut self) {
        for item in Reader::open(&self.state.join("audit")).unwrap().from(self.read) {
            let (index, bytes) = item.unwrap();
            let entry = Entry::parse(&bytes).unwrap();
            self.read = index + 1;
            let dataset = format!("{}/{}", entry.str("store").unwrap_or_default(), entry.str("dataset").unwrap_or_default());
            let record = entry.str("record").unwrap_or_default().to_owned();
            match entry.kind {
                Kind::Intent => {
                    for record in entry.fields["records"].as_array().unwrap() {
                        let said = self.said.entry((dataset.clone(), record.as_str().unwrap().to_owned())).or_default();
                        said.intents += 1;
                    }
                }
                Kind::Destroyed | Kind::Absent | Kind::Kept | Kind::Failed | Kind::Recovered => {
                    let said = self.said.entry((dataset, record)).or_default();
                    said.outcomes += 1;
                    let gone =
                        matches!(entry.kind, Kind::Destroyed | Kind::Absent) || matches!(entry.str("found"), Some("gone" | "remains"));
                    said.gone += u32::from(gone);
                    assert!(said.outcomes <= said.intents, "entry {index}: an outcome without an intent");
                }
                Kind::RunFinished if entry.str("end") == Some("stopped") => self.runs_stopped += 1,
                _ => {}
            }
        }
    }

    /// Finds out what the records are named in the log.
    pub fn name_records(&mut self) {
        let pseudonyms = Pseudonyms::open(&self.state.join("keys")).unwrap();
        for known in self.known.iter_mut().filter(|known| known.name.is_none()) {
            let (store, dataset) = known.dataset.split_once('/').unwrap();
            known.name = Some(match known.dataset {
                FOOTAGE | TENANCIES => plain_record(known.key.as_bytes()),
                _ => pseudonyms.all_for(store, dataset, known.key.as_bytes()).remove(0),
            });
        }
    }

    /// Holds every record against the log. To be called after the program has started anew and settled what was open.
    pub fn check(&mut self) {
        self.read_on();
        self.name_records();
        let rows = self.rows();
        let mut known = std::mem::take(&mut self.known);
        for one in known.iter_mut().filter(|one| !one.settled) {
            let there = self.is_there(one, &rows);
            let name = one.name.clone().unwrap_or_default();
            let place = format!("{}:{} (due: {})", one.dataset, one.key, one.due);
            let said = self.said.get(&(one.dataset.to_owned(), name));
            let (intents, gone, outcomes) = said.map_or((0, 0, 0), |said| (said.intents, said.gone, said.outcomes));
            assert_eq!(intents, outcomes, "{place}: as many outcomes as intents");
            if one.due {
                assert_eq!(!there, gone > 0, "{place}: is there: {there}, the log says gone {gone} times");
            } else {
                assert!(there, "{place}: is not due and not there");
                assert_eq!(intents, 0, "{place}: is not due, and an intent names it");
            }
            one.settled = !there;
        }
        self.known = known;
    }

    /// Looks whether a record is in its store; what is there must be whole.
    pub fn is_there(&self, one: &Known, rows: &HashSet<String>) -> bool {
        match one.dataset {
            FOOTAGE => self.footage_is_there(one),
            // One that is due may be written over already.
            TAPES if one.due => self.path("media").join(&one.key).exists(),
            LETTERS | TAPES => file_is_there(&self.path("media").join(&one.key), &one.key),
            SCANS => self.scan_is_there(one),
            _ => rows.contains(&one.key),
        }
    }

    /// Everything due is gone with all that goes with it, everything else is there, and nothing is left lying about.
    pub fn check_done(&mut self) {
        self.check();
        for one in &self.known {
            assert_eq!(one.settled, one.due, "{}:{}", one.dataset, one.key);
            if one.settled && one.dataset == FOOTAGE {
                let companion = self.path("media").join(&one.key).with_extension("jpg");
                assert!(!companion.exists(), "{}: the companion outlived its record", companion.display());
            }
        }
        self.check_tidy();
        self.verify();
    }

    /// Nothing piles up in the state folder.
    pub fn check_tidy(&self) {
        let plans: Vec<_> = names_in(&self.state.join("plans"));
        assert!(plans.is_empty(), "plans left behind: {plans:?}");
        let journal = names_in(&self.state.join("audit/journal"));
        let bytes: u64 = journal.iter().map(|name| fs::metadata(self.state.join("audit/journal").join(name)).unwrap().len()).sum();
        assert!(journal.len() <= 2 && bytes < 1 << 20, "the journal grows: {journal:?}, {bytes} bytes");
    }

    /// The log is intact and no intent is open.
    pub fn verify(&self) {
        let output = self.finish(&["audit", "verify"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }

    fn footage_is_there(&self, one: &Known) -> bool {
        let path = self.path("media").join(&one.key);
        let there = file_is_there(&path, &one.key);
        let serial: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        if there && serial.is_multiple_of(2) {
            assert!(file_is_there(&path.with_extension("jpg"), &one.key), "{}: lost its companion", one.key);
        }
        there
    }

    fn scan_is_there(&self, one: &Known) -> bool {
        let path = self.path("documents").join(&one.key);
        if !one.due {
            for below in ["", "letters", "letters/old"] {
                for n in 0..3 {
                    assert!(file_is_there(&path.join(below).join(format!("{n}.pdf")), &one.key), "{}: lost a part", one.key);
                }
            }
        }
        path.exists()
    }

    /// Ids of all rows. A row without all its children, or children without their row, fail the test.
    pub fn rows(&self) -> HashSet<String> {
        self.in_database(async |db| {
            let odd = "SELECT a.id FROM applicants a LEFT JOIN interviews i ON i.applicant_id = a.id GROUP BY a.id HAVING count(i.id) <> ?
                UNION ALL SELECT applicant_id FROM interviews WHERE applicant_id NOT IN (SELECT id FROM applicants)";
            let odd = sqlx::query(odd).bind(CHILDREN).fetch_all(&mut *db).await.unwrap();
            let odd: Vec<String> = odd.iter().map(|row| row.get(0)).collect();
            assert!(odd.is_empty(), "a row and its children part: {odd:?}");
            let rows = sqlx::query("SELECT id FROM applicants UNION ALL SELECT id FROM tenancies").fetch_all(db).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        })
    }
}

pub async fn connect(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(std::time::Duration::from_secs(20));
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// Whether the file is there; if it is, it must be as it was written.
fn file_is_there(path: &Path, content: &str) -> bool {
    match fs::read_to_string(path) {
        Ok(found) => {
            assert_eq!(found, content, "{}", path.display());
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

pub fn names_in(folder: &Path) -> Vec<String> {
    let Ok(names) = fs::read_dir(folder) else { return Vec::new() };
    names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

pub fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}
