//! Keeping out of production's way: removal pauses while replicas lag or the server is busy, and goes on when they have caught up.
//!
//! `throttle: { lag: 5s, running: 25 }` beside a server's address. Before each transaction, but at most once a second, the server is asked how
//! far its replicas are behind and how many other sessions are at work; while either is above its bound nothing is begun. What cannot be told
//! (a right is missing, a replica does not answer) counts as above. A removal that has waited for [`PATIENCE`] gives up: the records stay, the
//! run ends as stopped, and the next one comes back to them. Whoever stops the program, or a window that closes, ends the waiting at once.

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tokio::sync::Mutex;

use super::session::{Outcome, Session};
use super::statement::Dialect;
use super::{mysql, postgres};
use crate::error::escape;
use crate::yaml::{Fields, Node, Problems};

/// How long a removal waits for a server that is busy.
const PATIENCE: Duration = Duration::from_mins(10);

/// How often a server is asked while all is well.
const ASKED: Duration = Duration::from_secs(1);

/// How often it is asked while it is waited for.
const ASKED_AGAIN: Duration = Duration::from_millis(250);

/// The bounds of one store.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// The furthest that a replica may be behind.
    pub(super) lag: Option<Duration>,
    /// The most sessions of others that may be at work.
    pub(super) running: Option<u64>,
    asked: Mutex<Option<Instant>>,
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
    /// Reads `throttle:` of a store.
    pub(super) fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> Self {
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
        if inner.mark_of("lag") == inner.mark && lag.is_none() && running.is_none() && problems.is_empty() {
            problems.add(inner.mark, "expected `lag:` or `running:` or both, found neither");
        }
        inner.finish("a throttle", problems);
        Self { lag, running, asked: Mutex::default() }
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
        if asked.is_some_and(|at| at.elapsed() < ASKED) {
            return Ok(());
        }
        let began = Instant::now();
        loop {
            let busy = match load(session).await {
                Ok(load) => self.exceeded(load),
                Err(failure) if failure.trouble == super::session::Trouble::Gone => return Ok(()),
                Err(failure) => Some(format!("its load cannot be told: {failure}")),
            };
            let Some(busy) = busy else {
                *asked = Some(Instant::now());
                return Ok(());
            };
            if began.elapsed() > PATIENCE {
                return Err(format!("the database did not come to rest within {} minutes: {busy}", PATIENCE.as_secs() / 60));
            }
            if over() {
                return Ok(());
            }
            tokio::time::sleep(ASKED_AGAIN).await;
        }
    }

    /// What is above its bound, in words.
    pub(super) fn exceeded(&self, load: Load) -> Option<String> {
        if self.lag.is_some() && load.lag == Duration::MAX {
            return Some("how far replicas are behind cannot be told by this server to this account".into());
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
    use super::*;
    use crate::yaml::Document;

    fn read(text: &str) -> Result<Throttle, Vec<String>> {
        let document = Document::parse("t.yaml", format!("throttle: {text}\n")).unwrap();
        let mut problems = Problems::new("t.yaml");
        let mut fields = document.root.fields("a store", &mut problems).unwrap();
        let throttle = Throttle::read(&mut fields, &mut problems);
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
    fn what_is_above_a_bound_is_said_and_what_is_at_it_is_not() {
        let throttle = read("{ lag: 5s, running: 2 }").unwrap();
        let load = |lag, running| Load { lag: Duration::from_secs(lag), running };
        assert_eq!(throttle.exceeded(load(5, 2)), None);
        assert_eq!(throttle.exceeded(load(6, 0)).unwrap(), "a replica is 6.0 s behind, more than 5.0 s");
        assert_eq!(throttle.exceeded(load(0, 3)).unwrap(), "3 other sessions are at work, more than 2");
    }
}
