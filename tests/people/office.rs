//! A folder with a configuration, one store of some kind with records that name their subjects, and the program.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use tempfile::TempDir;

use crate::servers::{self, Database, Engine};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_retentiond");

const SCHEDULE: &str = "schedule: test\ntime-zone: Europe/London\nclasses:\n  \
    short: { title: Short, keep: 23 days, after: made, then: destroy }\n";

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where the records of an office live. Each has a number, and the subject `subject-<number>`.
pub enum Place {
    Files,
    Sqlite,
    Server(Database),
}

pub struct Office {
    folder: TempDir,
    pub place: Place,
}

/// The running service, ended when it is dropped.
pub struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub const OLD: &str = "2019-01-01";

impl Office {
    pub async fn new(place: Place) -> Self {
        let office = Self { folder: tempfile::tempdir().unwrap(), place };
        let (store, dataset) = match &office.place {
            Place::Files => {
                std::fs::create_dir_all(office.path("files")).unwrap();
                ("files: files".to_owned(), "path: \"{who}/{made:%Y-%m-%d}.txt\", events: { made: path }, subject: who")
            }
            Place::Sqlite => ("sqlite: office.db".to_owned(), TABLE),
            Place::Server(database) => {
                let kind = if database.engine() == Engine::Postgres { "postgres" } else { "mysql" };
                (format!("{kind}: {}", database.url()), TABLE)
            }
        };
        let config = format!(
            "node: office\nmode: enforce\nschedules: schedule.yaml\nstate: state\nlimits: unlimited\ncontrol: control.sock\n\
             clock: {{ synchronised: ignore }}\nstores:\n  store:\n    {store}\n    datasets:\n      people: {{ class: short, {dataset} }}\n"
        );
        std::fs::write(office.path("retentiond.yaml"), config).unwrap();
        std::fs::write(office.path("schedule.yaml"), SCHEDULE).unwrap();
        office.sql("CREATE TABLE people (id INT PRIMARY KEY, who VARCHAR(40) NOT NULL, made_on DATE, note VARCHAR(200))").await;
        office.sql("CREATE INDEX people_made_on ON people (made_on, id)").await;
        office
    }

    /// One office for each kind of store that this machine has.
    pub async fn all() -> Vec<Self> {
        let mut offices = vec![Self::new(Place::Files).await, Self::new(Place::Sqlite).await];
        for engine in [Engine::Postgres, Engine::MariaDb] {
            if let Some(server) = servers::shared(engine) {
                offices.push(Self::new(Place::Server(server.database().await)).await);
            }
        }
        offices
    }

    pub fn kind(&self) -> &'static str {
        match &self.place {
            Place::Files => "files",
            Place::Sqlite => "sqlite",
            Place::Server(database) => database.engine().name(),
        }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn file(&self, id: u64, date: &str) -> PathBuf {
        self.path("files").join(format!("subject-{id}")).join(format!("{date}.txt"))
    }

    /// The address of a record.
    pub fn address(&self, id: u64) -> String {
        match self.place {
            Place::Files => format!("store/people:subject-{id}/{OLD}.txt"),
            _ => format!("store/people:{id}"),
        }
    }

    /// Runs a statement in the database, if the records are in one; answers the first column of the rows.
    pub async fn sql(&self, text: &str) -> Vec<String> {
        match &self.place {
            Place::Files => Vec::new(),
            Place::Sqlite => {
                let url = format!("sqlite://{}?mode=rwc", self.path("office.db").display());
                let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
                let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(text)).fetch_all(&mut connection).await.unwrap();
                let texts = rows.iter().map(|row| row.get(0)).collect();
                connection.close().await.unwrap();
                texts
            }
            Place::Server(database) if text.starts_with("SELECT") => database.texts(text).await,
            Place::Server(database) => {
                database.run(text).await;
                Vec::new()
            }
        }
    }

    /// Puts records there whose period is over.
    pub async fn fill(&self, ids: std::ops::Range<u64>) {
        if let Place::Files = self.place {
            for id in ids {
                let file = self.file(id, OLD);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, "x").unwrap();
            }
            return;
        }
        let rows: Vec<String> = ids.map(|id| format!("({id}, 'subject-{id}', '{OLD}', 'n')")).collect();
        for rows in rows.chunks(5000) {
            self.sql(&format!("INSERT INTO people VALUES {}", rows.join(", "))).await;
        }
    }

    /// Those of the records that are there.
    pub async fn present(&self, ids: &[u64]) -> BTreeSet<u64> {
        if let Place::Files = self.place {
            return ids.iter().copied().filter(|id| self.file(*id, OLD).exists()).collect();
        }
        let list = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let found = self.sql(&format!("SELECT who FROM people WHERE id IN ({list})")).await;
        found.iter().map(|who| who.strip_prefix("subject-").unwrap().parse().unwrap()).collect()
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.path("retentiond.yaml")).args(words).stdin(Stdio::null());
        command
    }

    pub fn finish(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs and must come to this end; answers what it said.
    pub fn must(&self, code: i32, words: &[&str]) -> String {
        let output = self.finish(words);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(code), "{}: {words:?}\n{text}", self.kind());
        text
    }

    /// The verb's output in JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let output = self.command(words).arg("--json").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {}", text(&output)))
    }

    /// The ids of the holds in force.
    pub fn holds(&self) -> Vec<String> {
        let holds = self.json(&["hold", "list"]);
        holds["holds"].as_array().unwrap().iter().map(|hold| hold["hold"].as_str().unwrap().to_owned()).collect()
    }

    /// Starts the service and waits until it answers.
    pub fn start(&self) -> Service {
        let child = self.command(&["daemon"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let service = Service(child);
        self.await_socket();
        service
    }

    pub fn await_socket(&self) {
        let begun = Instant::now();
        while UnixStream::connect(self.path("control.sock")).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{}: nobody answers", self.kind());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks whoever listens behind the control socket; answers every line. `None`: nobody listens.
    pub fn ask(&self, request: &Value) -> Option<Vec<Value>> {
        ask(&self.path("control.sock"), request)
    }
}

const TABLE: &str = "table: people, key: id, events: { made: made_on }, subject: who";

/// Places a hold on each of these records' subjects through the socket; whether they are in force. `None`: nobody listens any more.
pub fn place(socket: &Path, ids: &[u64]) -> Option<bool> {
    let hold = |id: &u64| json!({"kind": "litigation", "subject": format!("subject-{id}"), "reason": "a race"});
    let holds: Vec<Value> = ids.iter().map(hold).collect();
    let answers = ask(socket, &json!({"verb": "hold", "order": {"act": "place", "holds": holds}}))?;
    let last = answers.last()?;
    Some(last["answer"] == "done" && last["code"] == 0)
}

pub fn ask(socket: &Path, request: &Value) -> Option<Vec<Value>> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    let mut greeting = String::new();
    stream.read_line(&mut greeting).ok()?;
    stream.get_mut().write_all(format!("{request}\n").as_bytes()).ok()?;
    let lines = stream.lines().map_while(Result::ok);
    Some(lines.map(|line| serde_json::from_str(&line).unwrap()).collect())
}

pub fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}\n{err}")
}
