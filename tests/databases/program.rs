//! The program with a configuration of its own, and everything that it ever said.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::servers::{self, Database, Engine, Role, Server};

/// The engines that stores can be on.
pub const ENGINES: [Engine; 3] = Engine::ALL;

const SCHEDULE: &str = "schedule: test\ntime-zone: Europe/London\nclasses:\n  \
    short: { title: Short, keep: 1 year, after: ended, then: destroy }\n  blank: { title: Blank, keep: 1 year, after: ended, then: anonymise }\n  long: { title: Long, keep: 80 years, after: ended, then: destroy }\n  asked: { title: Asked, keep: 1 year, after: ended, then: review, cooling-off: none }\n  \
    careful: { title: Careful, keep: 1 year, after: ended, then: review, approvals: 2, not-the-editor: true, cooling-off: 3 days, approval-lasts: 10 days }\n";

/// The servers that there are.
pub fn servers() -> impl Iterator<Item = &'static Server> {
    ENGINES.into_iter().filter_map(servers::shared)
}

/// The key of a store in the configuration.
pub fn key(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "postgres",
        Engine::MariaDb | Engine::MySql => "mysql",
    }
}

/// How a role logs in with its password on this machine. MySQL wants to be told it, and is told under TLS only.
pub fn over_tcp(engine: Engine) -> &'static str {
    if engine == Engine::MySql { "sslmode=require" } else { "sslmode=disable" }
}

/// What a role needs to keep the records of one table, in the words of its engine. MariaDB and MySQL tell only who may use them of triggers, and who has
/// PROCESS of the tables that refer to others.
pub fn rights(engine: Engine, table: &str) -> Vec<String> {
    match engine {
        Engine::Postgres => vec![format!("SELECT, DELETE, UPDATE ON {table}")],
        Engine::MariaDb | Engine::MySql => vec![format!("SELECT, DELETE, UPDATE, TRIGGER ON {table}"), "PROCESS ON *.*".to_owned()],
    }
}

/// A role with these rights and a password.
pub async fn keeper(database: &Database, password: &str) -> Role {
    let rights = rights(database.engine(), "people");
    database.role("keeper", Some(password), &rights.iter().map(String::as_str).collect::<Vec<_>>()).await
}

pub struct Program {
    folder: TempDir,
    said: RefCell<String>,
    environment: Vec<(&'static str, String)>,
}

/// What one call said.
pub struct Said {
    pub code: Option<i32>,
    pub text: String,
}

impl Program {
    /// With these stores: YAML, indented by two.
    pub fn new(stores: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("schedule.yaml"), SCHEDULE).unwrap();
        let this = Self { folder, said: RefCell::default(), environment: Vec::new() };
        this.configure(stores);
        this
    }

    pub fn configure(&self, stores: &str) {
        let text = format!("node: test\nmode: enforce\nschedules: schedule.yaml\nstate: state\nlimits: unlimited\nstores:\n{stores}");
        std::fs::write(self.path("retentiond.yaml"), text).unwrap();
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.push((name, value.into()));
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn write(&self, below: &str, content: &str) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retentiond"));
        command.arg("--config").arg(self.path("retentiond.yaml")).args(words).stdin(Stdio::null());
        command.env_remove("CREDENTIALS_DIRECTORY").envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn run(&self, words: &[&str]) -> Said {
        let output = self.command(words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let text = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
        *self.said.borrow_mut() += &text;
        Said { code: output.status.code(), text }
    }

    /// Runs and must come to this end.
    pub fn must(&self, code: i32, words: &[&str]) -> String {
        let said = self.run(words);
        assert_eq!(said.code, Some(code), "{words:?}\n{}", said.text);
        said.text
    }

    /// Runs in the background.
    pub fn start(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs in the background, and what it says stands in a file.
    pub fn start_telling(&self, file: &str, words: &[&str]) -> Child {
        let file = std::fs::File::create(self.path(file)).unwrap();
        self.command(words).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap()
    }

    /// The entries of the log of one kind.
    pub fn entries(&self, kind: &str) -> Vec<Value> {
        let output = self.command(&["audit", "list", "--json", "--kind", kind]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Where the text stands in anything that was said or written down.
    pub fn betrays(&self, secret: &str, except: &Path) -> Vec<String> {
        let mut found = Vec::new();
        if self.said.borrow().contains(secret) {
            found.push("what it said".to_owned());
        }
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path != except && count(&std::fs::read(&path).unwrap(), secret.as_bytes()) > 0 {
                    found.push(path.display().to_string());
                }
            }
        }
        found
    }

    pub fn has_said(&self, text: &str) -> bool {
        self.said.borrow().contains(text)
    }
}

/// How often these bytes occur.
pub fn count(bytes: &[u8], searched: &[u8]) -> usize {
    let first = searched[0];
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
    starts.filter(|(at, _)| bytes[*at..].starts_with(searched)).count()
}
