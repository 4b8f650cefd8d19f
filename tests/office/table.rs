//! A table of any engine, or a CSV file, with the same rows.

use retentiond::audit::{AuditLog, Draft, Kind, Settings};
use sqlx::Connection as _;

use crate::program::{Program, key, servers};
use crate::servers::Database;

/// Where a test's rows lie.
pub enum Table {
    Csv,
    Sqlite,
    /// A file of its own.
    SqliteIn(&'static str),
    Server(Database),
}

impl Table {
    /// One of each kind that is a database.
    pub async fn databases() -> Vec<Self> {
        let mut all = vec![Self::Sqlite];
        for server in servers() {
            all.push(Self::Server(server.database().await));
        }
        all
    }

    /// The key and the place, as the configuration has them.
    pub fn place(&self) -> String {
        match self {
            Self::Csv => "csv: rows.csv".into(),
            Self::Sqlite | Self::SqliteIn(_) => format!("sqlite: {}", self.file()),
            Self::Server(database) => format!("{}: \"{}\"", key(database.engine()), database.url()),
        }
    }

    fn file(&self) -> &'static str {
        if let Self::SqliteIn(file) = self { file } else { "rows.db" }
    }

    /// Runs statements that every engine understands.
    pub async fn run(&self, program: &Program, script: &str) {
        match self {
            Self::Csv => unreachable!("a file takes no statements"),
            Self::Sqlite | Self::SqliteIn(_) => {
                let url = format!("sqlite://{}?mode=rwc", program.path(self.file()).display());
                let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
                sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Self::Server(database) => database.run(script).await,
        }
    }

    /// The first column of each row of a query, as text.
    pub async fn texts(&self, program: &Program, query: &str) -> Vec<String> {
        use sqlx::Row as _;
        match self {
            Self::Csv => unreachable!("a file takes no queries"),
            Self::Sqlite | Self::SqliteIn(_) => {
                let url = format!("sqlite://{}", program.path(self.file()).display());
                let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
                let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap();
                let texts = rows.iter().map(|row| row.get(0)).collect();
                connection.close().await.unwrap();
                texts
            }
            Self::Server(database) => database.texts(query).await,
        }
    }
}

/// Writes an entry while no program runs.
pub fn commit(program: &Program, kind: Kind, body: &serde_json::Value) {
    let draft = Draft::new(kind, body).unwrap();
    let settings = Settings::new(&program.path("state"), "test");
    // It blocks, which a runtime's own thread may not.
    std::thread::spawn(move || AuditLog::open_with(&settings).unwrap().log.commit_blocking(vec![draft]).unwrap()).join().unwrap();
}

/// The log is what it says, and every decision follows from it.
pub fn evidence(program: &Program) {
    let said = program.run(&["audit", "verify"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let said = program.run(&["audit", "replay"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}
