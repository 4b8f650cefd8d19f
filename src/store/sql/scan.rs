//! Walking a table.
//!
//! **One walk, in short reads.** The table is cut into stretches of [`STRETCH`] rows along the order of its [`Walk`]. For each stretch one statement
//! counts and one or more fetch what may be due or is in doubt. No read transaction spans two statements, so an application's writers and WAL
//! checkpoints wait for one stretch at the most.
//!
//! **Several walkers**, each with a connection of its own, take the next stretch as soon as they have handed over what they found in their last, so
//! that a server looks at one while another is on its way and a third is read. They hand over in the order of the walk. In the order of events there
//! is one walker, because rows that are looked at in another order than they lie in might be passed by those whose dates move.
//!
//! **Rows that change meanwhile.** In key order the cursor only moves up and a row has one place, so a row is seen at most once unless its key
//! is changed, and a row that exists throughout is seen. In (event, key) order a row whose date moves *up* past the cursor is seen again,
//! with another fingerprint: that is counted, never destroyed twice, for removal takes only the row as it is at that moment, and the
//! stale sighting is reported as changed. A row whose date moves *down* behind the cursor is found by the next scan, a day later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use super::config::Dataset;
use super::layout::Layout;
use super::session::{Failure, Outcome, Session};
use super::shape::Shape;
use super::value::Cell;
use super::walk::{STRETCH, Walk};
use crate::error::{Error, Kind, Result};
use crate::finding::Finding;
use crate::record::Record;
use crate::store::{Query, Scanned};

/// Scans one dataset over these connections, and puts back those that may be used again; one that was stopped in the middle of an answer is dropped.
pub(super) async fn scan(
    sessions: &mut Vec<Session>,
    about: &str,
    dataset: &Arc<Dataset>,
    query: Query,
    out: mpsc::Sender<Vec<Record>>,
) -> Result<Scanned> {
    let Some(first) = sessions.first_mut() else { return Err(Error::new(Kind::Store, format!("{about}: there is no connection"))) };
    let shape = match Shape::find(first, dataset).await? {
        Ok(shape) => shape,
        Err(problems) => return Err(Error::new(Kind::Store, format!("{about}: {}", problems.join("; ")))),
    };
    let mut scanned = Scanned::default();
    let mut walk = Walk::new(&shape, &query);
    if walk.by_event && walk.many_due(first).await? {
        walk.by_key();
    }
    let passed = match passed(&walk, first).await {
        Ok(passed) => passed,
        Err(failure) => {
            scanned.incomplete = Some(format!("{about}: {failure}"));
            return Ok(scanned);
        }
    };
    query.count(passed.nulls);
    if passed.unaddressable > 0 {
        let rows = passed.unaddressable;
        scanned.findings.push(Finding::warning(about, format!("{rows} rows have no key (null) and are kept for ever; give them one")));
    }
    let table = Arc::new(Table {
        dataset: Arc::clone(dataset),
        layout: Arc::clone(&shape.layout),
        by_event: walk.by_event,
        query,
        out,
        front: Mutex::default(),
        turn: watch::Sender::new(0),
        population: AtomicU64::new(passed.nulls),
    });
    match walk_all(sessions, &table).await {
        Ok(()) => {}
        Err(Ended::Unheard) => scanned.incomplete = Some("the scan was stopped".into()),
        Err(Ended::Failed(failure)) => scanned.incomplete = Some(format!("{about}: {failure}")),
    }
    scanned.population = table.population.load(Ordering::Relaxed);
    Ok(scanned)
}

/// Rows that no walker comes by.
struct Passed {
    /// Rows of the dataset that cannot be due and that the order passes over.
    nulls: u64,
    unaddressable: u64,
}

async fn passed(walk: &Walk<'_>, session: &mut Session) -> Outcome<Passed> {
    let nulls = if walk.by_event { walk.count_nulls(session).await? } else { 0 };
    Ok(Passed { nulls, unaddressable: walk.count_unaddressable(session).await? })
}

/// A table that is walked, and what its walkers have in common.
struct Table {
    dataset: Arc<Dataset>,
    layout: Arc<Layout>,
    by_event: bool,
    query: Query,
    out: mpsc::Sender<Vec<Record>>,
    front: Mutex<Front>,
    /// The number of the stretch whose records may be sent.
    turn: watch::Sender<u64>,
    population: AtomicU64,
}

/// How far the stretches are measured.
#[derive(Default)]
struct Front {
    /// So many are.
    measured: u64,
    /// Where the next one begins.
    cursor: Option<Vec<Cell>>,
    /// Whether there is no next one.
    over: bool,
}

/// A stretch of the table, behind one place of the order up to another.
struct Measured {
    number: u64,
    begin: Option<Vec<Cell>>,
    end: Option<Vec<Cell>>,
    /// Its rows.
    counted: u64,
}

/// Why a walk ends before its end.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Walks the table to its end over these connections. In the order of events only the first goes.
async fn walk_all(sessions: &mut Vec<Session>, table: &Arc<Table>) -> std::result::Result<(), Ended> {
    let walkers = if table.by_event { 1 } else { sessions.len() };
    // Whoever drops this future stops them.
    let mut walking: JoinSet<_> = sessions
        .drain(..walkers)
        .map(|mut session| {
            let table = Arc::clone(table);
            async move {
                let walked = table.walk(&mut session).await;
                (session, walked)
            }
        })
        .collect();
    let mut ended = Ok(());
    while let Some(walked) = walking.join_next().await {
        let walked = match walked {
            Ok((session, walked)) => {
                sessions.push(session);
                walked
            }
            Err(error) => Err(Failure::other(format!("the scan ended abnormally: {error}")).into()),
        };
        if ended.is_ok() && walked.is_err() {
            ended = walked;
            walking.abort_all();
        }
    }
    ended?;
    let front = table.front.lock().await;
    if front.over && *table.turn.borrow() == front.measured {
        Ok(())
    } else {
        Err(Failure::other("the scan ended before the table did").into())
    }
}

impl Table {
    /// Takes one stretch after the other until there is none.
    async fn walk(&self, session: &mut Session) -> std::result::Result<(), Ended> {
        let shape = Shape::join(&self.dataset, Arc::clone(&self.layout)).map_err(|problems| Failure::other(problems.join("; ")))?;
        let mut walk = Walk::new(&shape, &self.query);
        if !self.by_event {
            walk.by_key();
        }
        let mut room = 0;
        while let Some(stretch) = self.next_stretch(session, &walk).await? {
            let sent = self.send(session, &walk, &stretch, &mut room).await?;
            // Rows may come and go between the two statements; what was sent was there.
            let seen = stretch.counted.max(sent);
            self.population.fetch_add(seen, Ordering::Relaxed);
            self.query.count(seen - sent);
            self.turn.send_replace(stretch.number + 1);
        }
        Ok(())
    }

    /// Measures and counts the next stretch.
    async fn next_stretch(&self, session: &mut Session, walk: &Walk<'_>) -> Outcome<Option<Measured>> {
        let mut front = self.front.lock().await;
        if front.over {
            return Ok(None);
        }
        let number = front.measured;
        let begin = front.cursor.clone();
        let end = walk.stretch(session, begin.as_deref()).await?;
        front.cursor.clone_from(&end);
        front.over = end.is_none();
        front.measured += 1;
        // The next one can be measured meanwhile.
        drop(front);
        let counted = match (&walk.wanted, &end) {
            (None, _) => 0,
            // Its last row was found by counting.
            (Some(_), Some(_)) if walk.whole => STRETCH,
            (Some(_), _) => walk.count(session, begin.as_deref(), end.as_deref()).await?,
        };
        Ok(Some(Measured { number, begin, end, counted }))
    }

    /// Sends what is wanted of one stretch; answers how many rows that were. `room` is for as many records as the last one had.
    async fn send(&self, session: &mut Session, walk: &Walk<'_>, stretch: &Measured, room: &mut usize) -> std::result::Result<u64, Ended> {
        let mut sent = 0;
        let mut cursor = stretch.begin.clone();
        loop {
            let fetched = walk.fetch(session, cursor.as_deref(), stretch.end.as_deref(), *room).await?;
            *room = fetched.records.len();
            let rows = fetched.rows as u64;
            sent += rows;
            // At once, so that whoever watches sees a slow scan go on.
            self.query.count(rows);
            // Records go out in the order of the walk. Nobody sends turns any more when the scan is over.
            self.turn.subscribe().wait_for(|turn| *turn == stretch.number).await.map_err(|_| Ended::Unheard)?;
            if !fetched.records.is_empty() && self.out.send(fetched.records).await.is_err() {
                return Err(Ended::Unheard);
            }
            match fetched.last {
                Some(last) => cursor = Some(last),
                None => return Ok(sent),
            }
        }
    }
}
