//! Walking a table.
//!
//! **One walk, in short reads.** The table is cut into stretches of [`STRETCH`] rows along the order of its [`Walk`]. For each stretch one statement
//! counts and one or more fetch what may be due or is in doubt. No read transaction spans two statements, so an application's writers and WAL
//! checkpoints wait for one stretch at the most.
//!
//! **Several walkers**, each with a connection of its own, take the next stretch as soon as they have handed over what they found in their last, so
//! that one stretch is looked at while another is on its way and a third is read: two, and a third where a table is long and one more connection can be
//! had. They hand over in the order of the walk, and when one fails the others stop. In the order of events there is one walker, because rows that are
//! looked at in another order than they lie in might be passed by those whose dates move.
//!
//! **Rows that change meanwhile.** In key order the cursor only moves up and a row has one place, so a row is seen at most once unless its key
//! is changed, and a row that exists throughout is seen. In (event, key) order a row whose date moves *up* past the cursor is seen again,
//! with another fingerprint: that is counted, never destroyed twice, for removal takes only the row as it is at that moment, and the
//! stale sighting is reported as changed. A row whose date moves *down* behind the cursor is found by the next scan, a day later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::config::Dataset;
use super::layout::Layout;
use super::pool::Pool;
use super::session::{Failure, Outcome, Session};
use super::shape::Shape;
use super::statement::Dialect;
use super::value::Cell;
use super::walk::{STRETCH, Walk};
use crate::error::{Error, Kind, Result};
use crate::finding::Finding;
use crate::record::Record;
use crate::store::{Query, Scanned};

/// The number of no stretch: the walk has ended before its end.
const STOPPED: u64 = u64::MAX;

/// A third connection is asked for when so many stretches were handed over: then the table is long enough, and whoever needed a connection to begin with
/// has given it back.
const LONG: u64 = 2;

/// How long those that walk beside one that failed may take to end in order.
const IN_ORDER: Duration = Duration::from_secs(1);

/// Scans one dataset over these connections, and another one of the pool if the table is long. Puts back those that may be used again; one that was stopped
/// in the middle of an answer is dropped.
pub(super) async fn scan(
    sessions: &mut Vec<Session>,
    pool: &Arc<Pool>,
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
    if walk.by_event {
        // Nulls stand before every date in the index and are never sent here.
        match walk.count_nulls(first).await {
            Ok(nulls) => scanned.population = nulls,
            Err(failure) => scanned.incomplete = Some(format!("{about}: {failure}")),
        }
        query.count(scanned.population);
    }
    let table = Arc::new(Table {
        dataset: Arc::clone(dataset),
        layout: Arc::clone(&shape.layout),
        by_event: walk.by_event,
        query: query.clone(),
        out,
        front: Mutex::default(),
        over: watch::Sender::new(false),
        turn: watch::Sender::new(0),
        population: AtomicU64::new(scanned.population),
    });
    if scanned.incomplete.is_none() {
        match walk_all(sessions, pool, &table).await {
            Ok(()) => {}
            Err(Ended::Unheard | Ended::Stopped) => scanned.incomplete = Some("the scan was stopped".into()),
            Err(Ended::Failed(failure)) => scanned.incomplete = Some(format!("{about}: {failure}")),
        }
    }
    scanned.population = table.population.load(Ordering::Relaxed);
    if let (None, Some(session)) = (&scanned.incomplete, sessions.first_mut()) {
        match walk.count_unaddressable(session).await {
            Ok(0) => {}
            Ok(rows) => scanned
                .findings
                .push(Finding::warning(about, format!("{rows} rows have no key (null) and are kept for ever; give them one"))),
            Err(failure) => scanned.incomplete = Some(format!("{about}: {failure}")),
        }
    }
    Ok(scanned)
}

/// A table that is walked, and what its walkers have in common.
struct Table {
    dataset: Arc<Dataset>,
    layout: Arc<Layout>,
    by_event: bool,
    query: Query,
    out: mpsc::Sender<Vec<Record>>,
    front: Mutex<Front>,
    /// Whether the last stretch is measured.
    over: watch::Sender<bool>,
    /// The number of the stretch whose records may be sent; [`STOPPED`] when there is none any more.
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
    /// Another walker failed.
    Stopped,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Walks the table to its end. In the order of events only the first connection goes.
async fn walk_all(sessions: &mut Vec<Session>, pool: &Arc<Pool>, table: &Arc<Table>) -> std::result::Result<(), Ended> {
    let walkers = if table.by_event { 1 } else { sessions.len() };
    // Whoever drops this future stops them.
    let mut walking: JoinSet<(Option<Session>, _)> = sessions
        .drain(..walkers)
        .map(|mut session| {
            let table = Arc::clone(table);
            async move {
                let walked = table.walk_or_stop(&mut session).await;
                (Some(session), walked)
            }
        })
        .collect();
    // SQLite works in this process, and would be one more that shares its processors.
    if !table.by_event && table.layout.dialect != Dialect::Sqlite {
        let (table, pool) = (Arc::clone(table), Arc::clone(pool));
        walking.spawn(async move {
            // Where no more connections are to be had, the others do it as well.
            let Some(mut session) = table.one_more(&pool).await else { return (None, Ok(())) };
            let walked = table.walk_or_stop(&mut session).await;
            (Some(session), walked)
        });
    }
    let mut ended = Ok(());
    let mut until = None;
    loop {
        let walked = match until {
            None => walking.join_next().await,
            Some(until) => {
                if let Ok(walked) = tokio::time::timeout_at(until, walking.join_next()).await {
                    walked
                } else {
                    walking.abort_all();
                    walking.join_next().await
                }
            }
        };
        let Some(walked) = walked else { break };
        // What a panic says may hold a value of a record.
        let (session, walked) = walked.unwrap_or_else(|_| {
            table.turn.send_replace(STOPPED);
            (None, Err(Failure::other("the scan ended abnormally").into()))
        });
        sessions.extend(session);
        if ended.is_ok() && matches!(walked, Err(Ended::Unheard | Ended::Failed(_))) {
            ended = walked;
            until = Some(Instant::now() + IN_ORDER);
        }
    }
    ended?;
    let measured = table.front.lock().await.measured;
    if *table.over.borrow() && *table.turn.borrow() == measured {
        Ok(())
    } else {
        Err(Failure::other("the scan ended before the table did").into())
    }
}

impl Table {
    /// Walks, and takes care that nobody else goes on after a failure.
    async fn walk_or_stop(&self, session: &mut Session) -> std::result::Result<(), Ended> {
        let walked = self.walk(session).await;
        if walked.is_err() {
            self.turn.send_replace(STOPPED);
        }
        walked
    }

    /// One more connection, once the table has shown itself to be long, and while it is not over.
    async fn one_more(&self, pool: &Pool) -> Option<Session> {
        let (mut over, mut turn) = (self.over.subscribe(), self.turn.subscribe());
        let one_more = async {
            turn.wait_for(|turn| *turn >= LONG).await.ok().filter(|turn| **turn != STOPPED)?;
            pool.read().await.ok()
        };
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => None,
            session = one_more => session,
        }
    }

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
            self.turn.send_if_modified(|turn| {
                let goes_on = *turn != STOPPED;
                if goes_on {
                    *turn = stretch.number + 1;
                }
                goes_on
            });
        }
        Ok(())
    }

    /// Measures and counts the next stretch.
    async fn next_stretch(&self, session: &mut Session, walk: &Walk<'_>) -> Outcome<Option<Measured>> {
        let mut front = self.front.lock().await;
        if *self.over.borrow() || *self.turn.borrow() == STOPPED {
            return Ok(None);
        }
        let number = front.measured;
        let begin = front.cursor.clone();
        let end = walk.stretch(session, begin.as_deref()).await?;
        front.cursor.clone_from(&end);
        front.measured += 1;
        self.over.send_replace(end.is_none());
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
            // Records go out in the order of the walk.
            let turn = self.turn.subscribe().wait_for(|turn| [stretch.number, STOPPED].contains(turn)).await.map(|turn| *turn);
            if turn.is_ok_and(|turn| turn == STOPPED) {
                return Err(Ended::Stopped);
            }
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
