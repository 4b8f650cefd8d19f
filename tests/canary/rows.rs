//! Rows of SQLite databases: in the live files, and on the raw disk.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::image::{BTRFS, Canary, EXT4, EXT4_DATA_JOURNAL, EXT4_DATA_JOURNAL_BY_DEFAULT, FileSystem, Image, XFS, count, must, text};
use crate::lab::{Outcome, Program};

/// Rows in each database; every other one is due and full of canaries.
const ROWS: usize = 200;

/// An application that is connected to a database.
struct App {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

/// A database on the image.
struct Database {
    name: String,
    mode: &'static str,
    /// The dataset's own options.
    options: &'static str,
    path: PathBuf,
    canary: Canary,
    before: usize,
    live: usize,
    after: usize,
    outcomes: Vec<Outcome>,
}

/// Databases on one image.
struct Rows {
    image: Image,
    databases: Vec<Database>,
}

impl App {
    fn on(path: &std::path::Path) -> Self {
        let mut child = Command::new("sqlite3")
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3 is installed where the tests run");
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Runs statements; returns what they print, without the last line break.
    fn run(&mut self, statements: &str) -> String {
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{statements}; SELECT 'end of answer';").and_then(|()| input.flush()).unwrap();
        let mut answer = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the application ended: {statements}");
            if line == "end of answer\n" {
                return answer.trim_end().to_owned();
            }
            answer += &line;
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // The end of its input ends it in good order.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Database {
    /// Canaries in the database and the files beside it.
    fn count_live(&self) -> usize {
        let files = ["", "-journal", "-wal"].map(|suffix| std::fs::read(format!("{}{suffix}", self.path.display())).unwrap_or_default());
        files.iter().map(|bytes| count(bytes).remove(&self.canary).unwrap_or(0)).sum()
    }

    /// One word for all rows: they go together.
    fn word(&self) -> String {
        let words: BTreeSet<String> = self.outcomes.iter().map(Outcome::word).collect();
        assert_eq!((words.len(), self.outcomes.len()), (1, ROWS / 2), "{}: {words:?}", self.name);
        words.into_iter().next().unwrap()
    }

    fn outcome(&self) -> &Outcome {
        &self.outcomes[0]
    }

    fn has(&self, caveat: &str) -> bool {
        self.outcomes.iter().all(|outcome| outcome.has(caveat))
    }
}

impl Rows {
    fn new(file_system: &'static FileSystem) -> Option<Self> {
        Some(Self { image: Image::new(file_system)?, databases: Vec::new() })
    }

    /// A new database, and the application that made it, still connected. What the application does at its end is done before that.
    fn put(&mut self, name: &str, mode: &'static str, options: &'static str) -> App {
        let path = self.image.place().join(format!("{name}.db"));
        let canary = Canary::new();
        let mut app = App::on(&path);
        let bird = canary.text();
        let long = canary.fill(640);
        let long = std::str::from_utf8(&long).unwrap();
        app.run(&format!(
            "PRAGMA journal_mode = {mode};
             CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, name TEXT, story TEXT, note TEXT); CREATE INDEX names ON people (name);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
             INSERT INTO people SELECT i,
                CASE WHEN i % 2 THEN '2019-01-01' ELSE date('now') END,
                CASE WHEN i % 2 THEN '{bird}-' || i ELSE 'plain-' || i END,
                CASE WHEN i % 2 THEN '{bird}' || hex(randomblob(4000)) || '{long}' ELSE hex(randomblob(500)) END,
                NULL FROM n;"
        ));
        let name = name.to_owned();
        self.databases.push(Database { name, mode, options, path, canary, before: 0, live: 0, after: 0, outcomes: Vec::new() });
        app
    }

    /// Runs the program over all, and looks at what is left in the live files while the applications are still connected.
    fn run(&mut self) {
        self.image.sync();
        let mut found = self.image.search();
        let mut stores = String::new();
        for database in &mut self.databases {
            database.before = found.remove(&database.canary).unwrap_or(0);
            let (name, path, options) = (&database.name, text(&database.path), database.options);
            let _ = writeln!(
                stores,
                "  {name}:\n    sqlite: \"{path}\"\n    datasets:\n      people: {{ class: thing.done, table: people, key: id, events: {{ done: ended_on }}, keys: plain{options} }}"
            );
        }
        let mut outcomes: HashMap<String, Vec<Outcome>> = HashMap::new();
        for (key, outcome) in Program::new(&stores).outcomes() {
            outcomes.entry(key.split('/').next().unwrap().to_owned()).or_default().push(outcome);
        }
        for database in &mut self.databases {
            database.outcomes = outcomes.remove(&database.name).unwrap_or_default();
            database.live = database.count_live();
        }
    }

    /// The applications have gone: each database is whole, in its mode and with the right rows. Then unmounts and searches.
    fn search(&mut self) {
        let checks = "PRAGMA journal_mode; PRAGMA integrity_check; SELECT count(*) FROM people WHERE id % 2; SELECT count(*) FROM people;
                      SELECT count(*) FROM sqlite_schema WHERE name LIKE 'retentiond%'";
        for database in &self.databases {
            // Only WAL is a property of the file; every other mode belongs to a connection, which begins with `delete`.
            let mode = if database.mode == "wal" { "wal" } else { "delete" };
            let due = if database.word().starts_with("kept") { ROWS / 2 } else { 0 };
            let answer = must("sqlite3", &[text(&database.path), checks]);
            assert_eq!(answer, format!("{mode}\nok\n{due}\n{}\n0", ROWS / 2 + due), "{}", database.name);
            assert!(!PathBuf::from(format!("{}-journal", database.path.display())).exists(), "{}", database.name);
        }
        self.image.unmount();
        let mut found = self.image.search();
        let mut table = String::new();
        for database in &mut self.databases {
            database.after = found.remove(&database.canary).unwrap_or(0);
            let (word, remarks) = (database.word(), database.outcome().remarks());
            let Database { name, before, live, after, .. } = database;
            let _ = writeln!(table, "| {} | {name} | {word} | {before} | live {live}, raw {after} | {remarks} |", self.image.name());
        }
        println!("{table}");
        for database in &self.databases {
            let claimed = database.word() == "overwritten";
            assert!(database.before > 0, "{}: the search found nothing before", database.name);
            assert!(!claimed || database.live == 0, "{}: left in the live files\n{table}", database.name);
            // What went before this removal is another matter, and the outcome must say that it is.
            assert!(!claimed || database.has("earlier-versions-not-reached"), "{}", database.name);
        }
    }

    /// What is left of a database that was no subject.
    fn raw(&self, database: &Database) -> usize {
        self.image.search().remove(&database.canary).unwrap_or(0)
    }

    fn get(&self, name: &str) -> &Database {
        self.databases.iter().find(|database| database.name == name).unwrap()
    }

    fn overwritten(&self, name: &str) {
        let database = self.get(name);
        assert_eq!(
            (database.word().as_str(), database.live, database.after),
            ("overwritten", 0, 0),
            "{name}: {}",
            database.outcome().remarks()
        );
    }

    fn kept(&self, name: &str) {
        let database = self.get(name);
        assert_eq!(database.word(), "kept: cannot-meet-grade", "{name}: {}", database.outcome().remarks());
        assert!(database.live > 0 && database.after > 0, "{name}");
    }

    /// A lower grade, with its caveat, and the residue that the caveat is about.
    fn lower(&self, name: &str, grade: &str, caveat: &str) {
        let database = self.get(name);
        assert_eq!(database.word(), grade, "{name}: {}", database.outcome().remarks());
        assert!(database.has(caveat), "{name}: {}", database.outcome().remarks());
        assert!(database.after > 0, "{name}: nothing is left, so it is no case");
    }
}

const INSIST: &str = ", at-least: overwritten";

#[test]
fn overwritten_rows_are_gone_from_the_raw_disk() {
    let Some(mut rows) = Rows::new(&EXT4) else { return };
    let mut apps = vec![
        rows.put("delete", "delete", INSIST),
        rows.put("truncate", "truncate", INSIST),
        rows.put("persist", "persist", INSIST),
        rows.put("wal", "wal", INSIST),
        rows.put("delete-reader", "delete", INSIST),
        rows.put("wal-reader", "wal", INSIST),
        rows.put("full-vacuum", "delete", INSIST),
    ];
    apps[6].run("PRAGMA auto_vacuum = FULL; VACUUM");
    let mut readers: Vec<App> = ["delete-reader", "wal-reader"].map(|name| App::on(&rows.get(name).path)).into();
    for reader in &mut readers {
        assert_eq!(reader.run("BEGIN; SELECT count(*) FROM people"), ROWS.to_string());
    }
    // The reader of a -wal is in the way only of what is newer than what it reads.
    apps[5].run("UPDATE people SET note = 'new' WHERE id = 2");
    rows.run();
    drop((apps, readers));
    rows.search();
    for name in ["delete", "truncate", "persist", "wal"] {
        rows.overwritten(name);
    }
    for name in ["delete-reader", "wal-reader", "full-vacuum"] {
        rows.kept(name);
    }
}

/// One database on an image of its own, so that nothing else takes the blocks that it frees. Before the run the application does what `before`
/// says; afterwards, still connected, it checkpoints.
fn alone(name: &str, mode: &'static str, options: &'static str, before: &str) -> Option<Rows> {
    let mut rows = Rows::new(&EXT4)?;
    let mut app = rows.put(name, mode, options);
    app.run(before);
    rows.run();
    if mode == "wal" {
        assert!(app.run("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("0|"), "{name}");
    }
    assert_eq!(rows.get(name).count_live(), 0, "{name}: what stays is in no live file");
    drop(app);
    rows.search();
    Some(rows)
}

#[test]
fn lower_grades_say_what_stays_on_the_raw_disk() {
    for (mode, options, grade, caveat) in [
        ("delete", "", "row-deleted", "freed-journal-blocks"),
        ("truncate", "", "row-deleted", "freed-journal-blocks"),
        ("delete", ", at-least: rewritten", "rewritten", "freed-blocks"),
        ("wal", "", "row-deleted", "wal-frames"),
        ("wal", ", at-least: rewritten", "rewritten", "freed-blocks"),
    ] {
        let Some(rows) = alone("rows", mode, options, "") else { return };
        rows.lower("rows", grade, caveat);
        assert_eq!(rows.get("rows").live > 0, caveat == "wal-frames", "{mode}{options}: until the application's own checkpoint");
    }
}

#[test]
fn where_a_lower_grade_is_accepted_the_outcome_says_what_was_asked() {
    let Some(rows) = alone("rows", "delete", ", at-least: overwritten, else: accept", "") else { return };
    let rows = rows.get("rows");
    assert!(rows.word() == "overwritten" && rows.after == 0 || rows.outcome().accepted_below(), "{:?}", rows.outcome());
}

#[test]
fn what_went_before_is_out_of_reach_and_the_caveat_says_so() {
    // Larger than what the removal itself writes into freed blocks.
    let before = "PRAGMA secure_delete = OFF; CREATE TABLE old AS SELECT a.story FROM people a, people b WHERE a.id % 2 AND b.id <= 5;
                  DROP TABLE old; VACUUM";
    for mode in ["delete", "wal"] {
        let Some(rows) = alone("rows", mode, INSIST, before) else { return };
        rows.lower("rows", "overwritten", "earlier-versions-not-reached");
    }
}

/// Nothing is shared any more, and still XFS writes elsewhere, into blocks that it had set aside. The control shows it; the program cannot see it
/// and must claim nothing.
#[test]
fn on_xfs_rows_are_not_said_to_be_overwritten() {
    let Some(mut rows) = Rows::new(&XFS) else { return };
    let mut apps = Vec::new();
    for (name, options) in [("insist", INSIST), ("default", ""), ("control", ", mode: report")] {
        let mut app = rows.put(name, "delete", options);
        let (path, copy) = (rows.get(name).path.clone(), rows.image.place().join(format!("{name}-copy")));
        must("cp", &["--reflink=always", text(&path), text(&copy)]);
        app.run("UPDATE people SET note = 'x' WHERE id % 40 = 2");
        std::fs::remove_file(&copy).unwrap();
        apps.push(app);
    }
    let wal = rows.put("wal", "wal", INSIST);
    rows.image.sync();
    // The rows are overwritten by the application, and no journal of it holds a copy.
    apps[2].run("PRAGMA secure_delete = ON; PRAGMA journal_mode = MEMORY; DELETE FROM people WHERE id % 2");
    rows.run();
    drop((apps, wal));
    let control = rows.databases.remove(2);
    assert_eq!((control.outcomes.len(), control.live), (0, 0));
    rows.search();
    assert!(rows.raw(&control) > 0, "the zeros went elsewhere");
    rows.kept("insist");
    rows.kept("wal");
    rows.lower("default", "row-deleted", "freed-journal-blocks");
}

#[test]
fn where_changes_are_written_elsewhere_rows_are_not_said_to_be_overwritten() {
    for file_system in [&BTRFS, &EXT4_DATA_JOURNAL, &EXT4_DATA_JOURNAL_BY_DEFAULT] {
        let Some(mut rows) = Rows::new(file_system) else { continue };
        let apps = [rows.put("delete", "delete", INSIST), rows.put("wal", "wal", INSIST), rows.put("default", "delete", "")];
        rows.run();
        drop(apps);
        rows.search();
        rows.kept("delete");
        rows.kept("wal");
        rows.lower("default", "row-deleted", "freed-journal-blocks");
        assert_eq!(rows.get("default").live, 0);
    }
}
