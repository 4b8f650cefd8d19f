//! Keeping out of production's way: removal pauses while replicas lag or the server is busy, and goes on when they have caught up.
//!
//! `throttle: { lag: 5s, running: 25 }` beside a server's address. PostgreSQL's primary knows how far its replicas are behind; MySQL's and
//! MariaDB's does not, so there they are named, `replicas: [ mysql://… ]`, and asked themselves. Before each transaction, but at most once a second, the server is asked how
//! far its replicas are behind and how many other sessions are at work; while either is above its bound nothing is begun. What cannot be told
//! (a right is missing, a replica does not answer) counts as above. A removal that has waited for [`PATIENCE`] gives up: the records stay, the
//! run ends as stopped, and the next one comes back to them. That it waits, and for what, is said in the system's journal. Whoever stops the program, or a window that closes, ends the waiting at once.

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tokio::sync::Mutex;

use super::server::Server;
use super::session::{Failure, Outcome, Session};
use super::statement::Dialect;
use super::{mysql, postgres};
use crate::error::escape;
use crate::store::StoreHead;
use crate::yaml::{Fields, Node, Problems};

/// How long a removal waits for a server that is busy.
const PATIENCE: Duration = Duration::from_mins(10);

/// How often a server is asked while all is well.
const ASKED: Duration = Duration::from_secs(1);

/// How often it is asked while it is waited for.
const ASKED_AGAIN: Duration = Duration::from_millis(250);

/// A wait that is longer than this is told.
const TOLD: Duration = Duration::from_secs(1);

/// The bounds of one store.
#[derive(Default)]
pub(super) struct Throttle {
    /// The store's name.
    about: String,
    /// The furthest that a replica may be behind.
    pub(super) lag: Option<Duration>,
    /// The most sessions of others that may be at work.
    pub(super) running: Option<u64>,
    /// Replicas that are asked themselves.
    replicas: Vec<Server>,
    asked: Mutex<Asked>,
}

/// What is kept from one look to the next.
#[derive(Default)]
struct Asked {
    /// When all was well.
    well: Option<Instant>,
    /// Connections to the replicas, in their order.
    open: Vec<Option<Session>>,
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    /// How far the replica is behind that is furthest; zero when there is none, the most there is when it cannot be told.
    pub(super) lag: Duration,
    /// Other sessions at work.
    pub(super) running: u64,
}

impl Throttle {
    /// Reads `throttle:` of a store on this server.
    pub(super) fn read(head: &StoreHead<'_>, server: &Server, fields: &mut Fields<'_>, problems: &mut Problems) -> Self {
        let Some(mut inner) = fields.take("throttle").and_then(|node| node.fields("a throttle: `{ lag: 5s, running: 25 }`", problems))
        else {
            return Self::default();
        };
        let lag = inner.take("lag").and_then(|node| duration(node, problems));
        let running = inner.take("running").and_then(|node| {
            let text = node.text("the most sessions that may be at work, such as 25", problems)?;
            let number = text.parse().ok().filter(|number| *number > 0);
            if number.is_none() {
                problems.add(node.mark, format!("expected a number of sessions of 1 or more, found \"{}\"", escape(text.as_bytes())));
            }
            number
        });
        let replicas = inner.take("replicas").map_or_else(Vec::new, |node| replicas(node, head, server, problems));
        if !replicas.is_empty() && lag.is_none() {
            problems.add(inner.mark_of("replicas"), "expected `lag:` beside `replicas:`, which says how far they may be behind");
        }
        if inner.mark_of("lag") == inner.mark && lag.is_none() && running.is_none() && problems.is_empty() {
            problems.add(inner.mark, "expected `lag:` or `running:` or both, found neither");
        }
        inner.finish("a throttle", problems);
        Self { about: head.name.to_owned(), lag, running, replicas, asked: Mutex::default() }
    }

    /// Whether anything is bounded.
    pub(super) fn is_set(&self) -> bool {
        self.lag.is_some() || self.running.is_some()
    }

    /// Returns when the server is free enough for the next transaction, or why not, in words. `over` tells that there is no use in waiting.
    pub(super) async fn wait(&self, session: &mut Session, over: impl Fn() -> bool) -> Result<(), String> {
        if !self.is_set() {
            return Ok(());
        }
        let mut asked = self.asked.lock().await;
        if asked.well.is_some_and(|at| at.elapsed() < ASKED) {
            return Ok(());
        }
        let began = Instant::now();
        let mut told = false;
        loop {
            let busy = match self.load_with(session, &mut asked.open).await {
                Ok(load) => self.exceeded(load),
                Err(failure) if failure.trouble == super::session::Trouble::Gone => return Ok(()),
                Err(failure) => Some(format!("its load cannot be told: {failure}")),
            };
            let Some(busy) = busy else {
                if told {
                    tracing::warn!("{}: removal goes on after {} s", self.about, began.elapsed().as_secs());
                }
                asked.well = Some(Instant::now());
                return Ok(());
            };
            if !told && began.elapsed() > TOLD {
                tracing::warn!("{}: removal waits: {busy}", self.about);
                told = true;
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("the database did not come to rest within {} minutes: {busy}", PATIENCE.as_secs() / 60));
            }
            if over() {
                return Ok(());
            }
            tokio::time::sleep(ASKED_AGAIN).await;
        }
    }

    /// Asks the server, and the replicas that are named.
    pub(super) async fn load(&self, session: &mut Session) -> Outcome<Load> {
        self.load_with(session, &mut self.asked.lock().await.open).await
    }

    async fn load_with(&self, session: &mut Session, open: &mut Vec<Option<Session>>) -> Outcome<Load> {
        let mut load = load(session).await?;
        if !self.replicas.is_empty() {
            load.lag = Duration::ZERO;
        }
        open.resize_with(self.replicas.len(), || None);
        for (replica, kept) in self.replicas.iter().zip(open) {
            let failed = |failure: Failure| Failure::other(format!("the replica {}: {}", replica.shown(), failure.text));
            // A connection that was kept may have been closed meanwhile.
            let answer = match kept.take() {
                Some(mut session) => mysql::replica::lag(&mut session).await.ok().map(|lag| (lag, session)),
                None => None,
            };
            let (lag, session) = if let Some(answer) = answer {
                answer
            } else {
                let cannot = |failure: Failure| Failure::other(format!("a replica cannot be asked: {}", failure.text));
                let mut session = mysql::open(replica, true).await.map_err(cannot)?;
                (mysql::replica::lag(&mut session).await.map_err(failed)?, session)
            };
            *kept = Some(session);
            load.lag = load.lag.max(lag);
        }
        Ok(load)
    }

    /// What of the ways to the replicas is weaker than it could be, in words for a warning.
    pub(super) fn weaknesses(&self) -> Vec<String> {
        let weak = |replica: &Server| {
            replica.weaknesses().into_iter().map(|weak| format!("the replica {} {weak}", replica.shown())).collect::<Vec<_>>()
        };
        self.replicas.iter().flat_map(weak).collect()
    }

    /// What is above its bound, in words.
    pub(super) fn exceeded(&self, load: Load) -> Option<String> {
        if self.lag.is_some() && load.lag == Duration::MAX {
            let said = "how far replicas are behind cannot be told by this server to this account; name them, `replicas: [ mysql://… ]`";
            return Some(said.into());
        }
        if let Some(most) = self.lag.filter(|most| load.lag > *most) {
            return Some(format!("a replica is {:.1} s behind, more than {:.1} s", load.lag.as_secs_f64(), most.as_secs_f64()));
        }
        let most = self.running.filter(|most| load.running > *most)?;
        Some(format!("{} other sessions are at work, more than {most}", load.running))
    }
}

/// Asks the server.
pub(super) async fn load(session: &mut Session) -> Outcome<Load> {
    match session.dialect() {
        Dialect::Sqlite => Ok(Load { lag: Duration::ZERO, running: 0 }),
        Dialect::Postgres => postgres::load(session).await,
        Dialect::MySql => mysql::load(session).await,
    }
}

/// The servers that replicate from the store's own.
fn replicas(node: &Node, head: &StoreHead<'_>, server: &Server, problems: &mut Problems) -> Vec<Server> {
    if server.dialect() == Dialect::Postgres {
        problems.add(node.mark, "PostgreSQL's primary knows itself how far its replicas are behind; leave `replicas:` out");
        return Vec::new();
    }
    let mut out: Vec<Server> = Vec::new();
    for node in node.one_or_more("where a replica is, such as mysql://user@replica.example.org/database, or a list of such", problems) {
        let Some(replica) = server.another(node, head.base, problems) else { continue };
        if replica.identity() == server.identity() || out.iter().any(|other| other.identity() == replica.identity()) {
            problems.add(node.mark, "expected the address of another server, found one that stands here already");
            continue;
        }
        out.push(replica);
    }
    out
}

fn duration(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let text = node.text("how far replicas may be behind, such as 5s", problems)?;
    let read = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok()).filter(|time| !time.is_zero());
    if read.is_none() {
        problems.add(node.mark, format!("expected a time such as 5s, 500ms or 1m30s, found \"{}\"", escape(text.as_bytes())));
    }
    read
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::server::{self, Engine};
    use super::*;
    use crate::yaml::Document;

    fn read(text: &str) -> Result<Throttle, Vec<String>> {
        read_beside("mysql", text)
    }

    fn read_beside(key: &'static str, text: &str) -> Result<Throttle, Vec<String>> {
        let document = Document::parse("t.yaml", format!("{key}: {key}://u@h/d\nthrottle: {text}\n")).unwrap();
        let mut problems = Problems::new("t.yaml");
        let mut fields = document.root.fields("a store", &mut problems).unwrap();
        let engine = if key == "mysql" { Engine::MySql } else { Engine::Postgres };
        let place = fields.take(key).unwrap();
        let server = server::read(engine, place, &mut fields, Path::new("/"), &mut problems).unwrap();
        let head = StoreHead { name: "housing", base: Path::new("/") };
        let throttle = Throttle::read(&head, &server, &mut fields, &mut problems);
        if problems.is_empty() { Ok(throttle) } else { Err(problems.lines()) }
    }

    #[test]
    fn bounds_are_read_with_their_units_and_anything_else_is_refused() {
        let throttle = read("{ lag: 1m30s, running: 25 }").unwrap();
        assert_eq!((throttle.lag, throttle.running), (Some(Duration::from_secs(90)), Some(25)));
        assert_eq!(read("{ lag: 500ms }").unwrap().lag, Some(Duration::from_millis(500)));
        for wrong in [
            "{ lag: 5 }",
            "{ lag: -5s }",
            "{ lag: 0s }",
            "{ lag: soon }",
            "{ running: 0 }",
            "{ running: many }",
            "{}",
            "{ lagg: 5s }",
            "5s",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(!Throttle::default().is_set());
    }

    #[test]
    fn replicas_are_named_where_their_primary_does_not_know_them_and_each_is_another_server() {
        let throttle = read("{ lag: 5s, replicas: [ mysql://u@one/d, mysql://u@two/d ] }").unwrap();
        assert_eq!(throttle.replicas.len(), 2);
        assert_eq!(read("{ lag: 5s, replicas: mysql://u@one/d }").unwrap().replicas.len(), 1);
        for (wrong, why) in [
            ("{ running: 5, replicas: mysql://u@one/d }", "expected `lag:`"),
            ("{ lag: 5s, replicas: mysql://other@h:3306/d }", "another server"),
            ("{ lag: 5s, replicas: [ mysql://u@one/d, mysql://u@one./d ] }", "another server"),
            ("{ lag: 5s, replicas: postgres://u@one/d }", "begins with `mysql://`"),
            ("{ lag: 5s, replicas: mysql://u:secret@one/d }", "found a password"),
        ] {
            let problems = read(wrong).err().unwrap_or_default().join("\n");
            assert!(problems.contains(why) && !problems.contains("secret@"), "{wrong}: {problems}");
        }
        let problems = read_beside("postgres", "{ lag: 5s, replicas: postgres://u@one/d }").err().unwrap().join("\n");
        assert!(problems.contains("leave `replicas:` out"), "{problems}");
    }

    #[test]
    fn what_is_above_a_bound_is_said_and_what_is_at_it_is_not() {
        let throttle = read("{ lag: 5s, running: 2 }").unwrap();
        let load = |lag, running| Load { lag: Duration::from_secs(lag), running };
        assert_eq!(throttle.exceeded(load(5, 2)), None);
        assert_eq!(throttle.exceeded(load(6, 0)).unwrap(), "a replica is 6.0 s behind, more than 5.0 s");
        assert_eq!(throttle.exceeded(load(0, 3)).unwrap(), "3 other sessions are at work, more than 2");
    }
}
