//! Databases of a server, sessions in them, and roles that may do less than the superuser.
//!
//! What a test asks for in SQL is asked without preparing it, so that a script may have several statements and every value comes as text.
//!
//! **Never**: an error as an answer. A test that expects to be refused opens a [`Session`] and asks for the result.

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::engine::{Engine, Place, TESTER};

/// Where a server listens.
#[derive(Clone)]
pub struct Address {
    engine: Engine,
    socket: String,
    port: u16,
}

impl Address {
    pub fn new(engine: Engine, place: &Place) -> Self {
        let socket = if engine == Engine::Postgres { place.home.clone() } else { place.socket() };
        Self { engine, socket: socket.display().to_string(), port: place.port }
    }

    /// Over the socket, which asks for no password.
    pub fn url(&self, user: &str, database: &str) -> String {
        let Self { engine, socket, port } = self;
        match engine {
            // The name of the host only fills its place in the form of a URL.
            Engine::Postgres => format!("postgres://{user}@localhost:{port}/{database}?host={socket}"),
            Engine::MariaDb | Engine::MySql => format!("mysql://{user}@localhost/{database}?socket={socket}"),
        }
    }

    /// Over TCP, which always asks for one.
    fn url_over_tcp(&self, user: &str, password: &str, database: &str) -> String {
        let scheme = if self.engine == Engine::Postgres { "postgres" } else { "mysql" };
        format!("{scheme}://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }
}

/// A database of one's own. It goes with its server.
pub struct Database {
    address: Address,
    name: String,
}

impl Database {
    pub async fn create(address: Address, name: String) -> Self {
        let mut session = Session::open(&address.url(TESTER, address.engine.first_database())).await.unwrap();
        session.run(&format!("CREATE DATABASE {name}")).await.unwrap();
        session.close().await;
        Self { address, name }
    }

    pub fn engine(&self) -> Engine {
        self.address.engine
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The superuser's, over the socket.
    pub fn url(&self) -> String {
        self.address.url(TESTER, &self.name)
    }

    /// A session of the superuser's that stays open, for what must happen in one: locks, transactions, settings.
    pub async fn admin(&self) -> Session {
        Session::open(&self.url()).await.unwrap()
    }

    /// Runs a script as the superuser. PostgreSQL makes one transaction of it.
    pub async fn run(&self, script: &str) {
        let mut session = self.admin().await;
        session.run(script).await.unwrap_or_else(|error| panic!("{script}: {error}"));
        session.close().await;
    }

    /// The first column of the rows, as the engine writes it; "NULL" for none.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        let mut session = self.admin().await;
        let texts = session.texts(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        session.close().await;
        texts
    }

    /// The one number that the query answers.
    pub async fn number(&self, query: &str) -> i64 {
        let texts = self.texts(query).await;
        let [text] = texts.as_slice() else { panic!("{query}: {} rows", texts.len()) };
        text.parse().unwrap_or_else(|_| panic!("{query}: {text} is no number"))
    }

    /// Makes a login role that has these grants and no others, each as in `SELECT, DELETE ON things`. Roles belong to the whole server, so the
    /// name gets the database's behind it. With a password, of letters and digits, it may also log in over TCP.
    pub async fn role(&self, name: &str, password: Option<&str>, grants: &[&str]) -> Role {
        let name = format!("{name}_{}", self.name);
        let (accounts, mut script) = match self.address.engine {
            Engine::Postgres => {
                let password = password.map(|password| format!(" PASSWORD '{password}'"));
                (vec![name.clone()], format!("CREATE ROLE {name} LOGIN{}; ", password.as_deref().unwrap_or("")))
            }
            // An account is a user and where from.
            Engine::MariaDb | Engine::MySql => {
                let local = format!("{name}@localhost");
                let over_tcp = password.map(|password| (format!("{name}@127.0.0.1"), password));
                let mut script = format!("CREATE USER {local}; ");
                if let Some((account, password)) = &over_tcp {
                    script += &format!("CREATE USER {account} IDENTIFIED BY '{password}'; ");
                }
                (std::iter::once(local).chain(over_tcp.map(|(account, _)| account)).collect(), script)
            }
        };
        for grant in grants {
            script += &format!("GRANT {grant} TO {}; ", accounts.join(", "));
        }
        self.run(&script).await;
        let url_over_tcp = password.map(|password| self.address.url_over_tcp(&name, password, &self.name));
        Role { url: self.address.url(&name, &self.name), url_over_tcp, name }
    }
}

/// A role that may log in.
pub struct Role {
    /// Its whole name.
    pub name: String,
    /// Over the socket, without a password.
    pub url: String,
    /// Over TCP, when it has a password, which stands in it.
    pub url_over_tcp: Option<String>,
}

/// An open connection, in the words of either driver.
pub enum Session {
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

impl Session {
    pub async fn open(url: &str) -> sqlx::Result<Self> {
        if url.starts_with("postgres:") {
            PgConnection::connect(url).await.map(Self::Postgres)
        } else {
            let options: MySqlConnectOptions = url.parse()?;
            // Nobody listens at a socket.
            let options = if options.get_socket().is_some() { options.ssl_mode(MySqlSslMode::Disabled) } else { options };
            MySqlConnection::connect_with(&options).await.map(Self::MySql)
        }
    }

    /// Several statements, one after the other.
    pub async fn run(&mut self, script: &str) -> sqlx::Result<()> {
        let query = sqlx::raw_sql(AssertSqlSafe(script));
        match self {
            Self::Postgres(connection) => query.execute(connection).await.map(drop),
            Self::MySql(connection) => query.execute(connection).await.map(drop),
        }
    }

    /// The first column of the rows, as the engine writes it; "NULL" for none.
    pub async fn texts(&mut self, query: &str) -> sqlx::Result<Vec<String>> {
        let query = sqlx::raw_sql(AssertSqlSafe(query));
        let texts: Vec<Option<String>> = match self {
            Self::Postgres(connection) => {
                let rows = query.fetch_all(connection).await?;
                rows.iter().map(|row| row.try_get_unchecked(0)).collect::<sqlx::Result<_>>()?
            }
            Self::MySql(connection) => {
                let rows = query.fetch_all(connection).await?;
                rows.iter().map(|row| row.try_get_unchecked(0)).collect::<sqlx::Result<_>>()?
            }
        };
        Ok(texts.into_iter().map(|text| text.unwrap_or_else(|| "NULL".to_owned())).collect())
    }

    /// Takes leave in good order. Just dropping it is what a client does that dies.
    pub async fn close(self) {
        let _ = match self {
            Self::Postgres(connection) => connection.close().await,
            Self::MySql(connection) => connection.close().await,
        };
    }
}
