//! Walking a table.
//!
//! **One walk, in one order, in short reads.** The table is cut into stretches of [`STRETCH`] rows along a unique order: the key's, or (event,
//! key) where an index gives that order for free. For each stretch one statement counts and one or more fetch what may be due or is in
//! doubt; two connections take turns at that, so that the server looks at one stretch while the other is on its way. No read transaction spans
//! two statements, so an application's writers and WAL checkpoints wait for one stretch at the most.
//!
//! **Rows that change meanwhile.** In key order the cursor only moves up and a row has one place, so a row is seen at most once unless its key
//! is changed, and a row that exists throughout is seen. In (event, key) order a row whose date moves *up* past the cursor is seen again,
//! with another fingerprint: that is counted, never destroyed twice, for removal takes only the row as it is at that moment, and the
//! stale sighting is reported as changed. A row whose date moves *down* behind the cursor is found by the next scan, a day later. The event
//! order is taken only where the dataset is the whole table, because otherwise counting would read the rows anyway, and where few rows are due.
//!
//! **What is sent**: rows within the bound; rows whose date is not plainly of the declared form; rows of the future; rows whose date lies in
//! another store and that name nothing to look it up by. Null dates are counted and not sent, unless everything is asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, mpsc, watch};

use super::config::Dataset;
use super::layout::{Column, Term};
use super::push;
use super::session::{Failure, Outcome, Session, Trouble};
use super::shape::{Shape, compare, not_null, order_by, read};
use super::statement::Statement;
use super::value::{Cell, Seen};
use crate::error::{Error, Kind, Result};
use crate::finding::Finding;
use crate::judge::Bound;
use crate::record::{Moment, Reading, Record};
use crate::schedule::EventName;
use crate::store::{MESSAGE, Query, Scanned};

/// Rows looked at in one statement: some tens of milliseconds.
const STRETCH: i64 = 10_000;

/// Where more than one row in so many is due, a table is walked in the order of its key although an index gives the order of events: rows are then
/// read, and removed, as they lie.
const MANY: u64 = 10;

/// Records fetched by one statement at the most: few enough to hold in memory, many enough that finding the place again costs nothing.
const FETCHED: usize = MESSAGE;

/// How often a statement is tried again when another connection holds the lock; each try waits for the connection's own time-out.
const TRIES: usize = 3;

/// Scans one dataset, over two sessions.
pub(super) async fn scan(
    sessions: &mut [Session; 2],
    about: &str,
    dataset: &Dataset,
    query: &Query,
    out: &mpsc::Sender<Vec<Record>>,
) -> Result<Scanned> {
    let [session, other] = sessions;
    let shape = match Shape::find(session, dataset).await? {
        Ok(shape) => shape,
        Err(problems) => return Err(Error::new(Kind::Store, format!("{about}: {}", problems.join("; ")))),
    };
    let mut scanned = Scanned::default();
    let mut walk = Walk::new(&shape, query);
    if walk.by_event && walk.many_due(session).await? {
        walk.by_key();
    }
    match walk.run([session, other], query, out, &mut scanned).await {
        Ok(true) => {}
        Ok(false) => scanned.incomplete = Some("the scan was stopped".into()),
        Err(failure) => scanned.incomplete = Some(format!("{about}: {failure}")),
    }
    if scanned.incomplete.is_none() && shape.unique.nullable {
        match unaddressable(session, &shape).await {
            Ok(0) => {}
            Ok(rows) => scanned
                .findings
                .push(Finding::warning(about, format!("{rows} rows have no key (null) and are kept for ever; give them one"))),
            Err(failure) => scanned.incomplete = Some(format!("{about}: {failure}")),
        }
    }
    Ok(scanned)
}

async fn unaddressable(session: &mut Session, shape: &Shape<'_>) -> Outcome<u64> {
    let mut statement = Statement::new("SELECT count(*)");
    shape.from(&mut statement).sql(" WHERE NOT (");
    not_null(&mut statement, shape.unique.terms.iter().map(|term| &term.column));
    statement.sql(") AND ").condition(shape.dataset.filter.as_ref());
    session.number(&statement).await
}

/// How far the stretches are measured.
struct Front {
    /// The number of the next one; `None` when there is none.
    next: Option<u64>,
    /// Where it begins.
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

/// What both sessions of a scan have in common.
struct Going<'w> {
    query: &'w Query,
    out: &'w mpsc::Sender<Vec<Record>>,
    /// The number of the stretch whose records may be sent.
    turn: watch::Sender<u64>,
    population: AtomicU64,
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

struct Walk<'s> {
    shape: &'s Shape<'s>,
    order: Vec<Term>,
    /// Whether the order begins with the event's column.
    by_event: bool,
    /// The condition for being sent; `None` when every row is.
    wanted: Option<Statement>,
    /// The condition for being a row of the dataset.
    member: Statement,
    /// Whether every row of the table is one.
    whole: bool,
}

impl<'s> Walk<'s> {
    fn new(shape: &'s Shape<'s>, query: &Query) -> Self {
        let mut member = Statement::default();
        let filter = shape.dataset.filter.as_ref().filter(|_| !query.whole);
        member.condition(filter);
        let mut whole = filter.is_none();
        // With `class-by` some rows may be due for destruction, and those are wanted whether anonymised or not.
        if shape.dataset.anonymises && shape.dataset.class_by.is_none() && !query.whole {
            let mut done = Statement::default();
            if shape.anonymised(&mut done) {
                member.sql(" AND NOT ").part(&done);
                whole = false;
            }
        }
        let wanted = query.bound.as_ref().map(|bound| wanted(shape, bound, query));
        let by_event = single(query.bound.as_ref())
            .filter(|_| shape.dataset.filter.is_none() && !shape.dataset.anonymises && shape.dataset.events.len() == 1)
            .and_then(|_| shape.layout.event_order(shape.event_at(0), &shape.unique));
        let by_event = by_event.filter(|_| shape.dataset.events[0].when.is_some());
        let (order, by_event) = by_event.map_or_else(|| (shape.unique.walk.clone(), false), |order| (order, true));
        Self { shape, order, by_event, wanted, member, whole }
    }

    /// Whether so many rows may be due that to look each of them up by its key, as the order of events demands, costs more than to read the whole table.
    async fn many_due(&self, session: &mut Session) -> Outcome<bool> {
        let (Some(wanted), Some(rows)) = (&self.wanted, self.shape.layout.rows) else { return Ok(false) };
        let many = rows / MANY;
        let mut statement = Statement::new("SELECT count(*) FROM (SELECT 1 AS retentiond_ ");
        self.shape.from(&mut statement).sql(" WHERE ").part(wanted).sql(" LIMIT ");
        statement.value(&Cell::Int(i64::try_from(many).unwrap_or(i64::MAX))).sql(") AS retentiond_due");
        Ok(patient(session, &statement, number).await?.into_iter().sum::<u64>() >= many.max(1))
    }

    /// Walks in the order of the key after all.
    fn by_key(&mut self) {
        (self.order, self.by_event) = (self.shape.unique.walk.clone(), false);
    }

    /// Walks to the end; `false` when nobody listens any more. Both sessions do the same: each takes the next stretch while the other fetches the one before,
    /// and hands over what it found when its turn has come. In the order of events one session does it all, because rows that are looked at in another
    /// order than they lie in might be passed by those whose dates move.
    async fn run(
        &self,
        sessions: [&mut Session; 2],
        query: &Query,
        out: &mpsc::Sender<Vec<Record>>,
        scanned: &mut Scanned,
    ) -> Outcome<bool> {
        let [one, other] = sessions;
        if self.by_event {
            // Nulls stand before every date in the index and are never sent here.
            let mut statement = Statement::new("SELECT count(*)");
            self.shape.from(&mut statement).sql(" WHERE ").name(&self.order[0].column).sql(" IS NULL");
            let nulls = patient(one, &statement, number).await?.into_iter().sum();
            scanned.population += nulls;
            query.count(nulls);
        }
        let front = Mutex::new(Front { next: Some(0), cursor: None });
        let going = Going { query, out, turn: watch::Sender::new(0), population: AtomicU64::new(0) };
        let beside = async { if self.by_event { Ok(()) } else { self.take_turns(other, &front, &going).await } };
        let ended = tokio::try_join!(self.take_turns(one, &front, &going), beside);
        scanned.population += going.population.into_inner();
        match ended {
            Ok(_) => Ok(true),
            Err(Ended::Unheard) => Ok(false),
            Err(Ended::Failed(failure)) => Err(failure),
        }
    }

    /// Takes one stretch after the other until there is none.
    async fn take_turns(&self, session: &mut Session, front: &Mutex<Front>, going: &Going<'_>) -> std::result::Result<(), Ended> {
        while let Some(stretch) = self.next_stretch(session, front).await? {
            let sent = self.send(session, &stretch, going).await?;
            // Rows may come and go between the two statements; what was sent was there.
            let seen = stretch.counted.max(sent);
            going.population.fetch_add(seen, Ordering::Relaxed);
            going.query.count(seen - sent);
            going.turn.send_replace(stretch.number + 1);
        }
        Ok(())
    }

    /// Measures and counts the next stretch.
    async fn next_stretch(&self, session: &mut Session, front: &Mutex<Front>) -> Outcome<Option<Measured>> {
        let mut front = front.lock().await;
        let Some(number) = front.next else { return Ok(None) };
        let begin = front.cursor.take();
        let end = self.stretch(session, begin.as_deref()).await?;
        front.cursor.clone_from(&end);
        front.next = end.is_some().then_some(number + 1);
        // The next one can be measured meanwhile.
        drop(front);
        let counted = match (&self.wanted, &end) {
            (None, _) => 0,
            // Its last row was found by counting.
            (Some(_), Some(_)) if self.whole => u64::try_from(STRETCH).unwrap_or(0),
            (Some(_), _) => self.count(session, begin.as_deref(), end.as_deref()).await?,
        };
        Ok(Some(Measured { number, begin, end, counted }))
    }

    /// Sends what is wanted of one stretch; answers how many rows that were.
    async fn send(&self, session: &mut Session, stretch: &Measured, going: &Going<'_>) -> std::result::Result<u64, Ended> {
        let mut sent = 0;
        let mut cursor = stretch.begin.clone();
        loop {
            let (rows, last) = self.fetch(session, cursor.as_deref(), stretch.end.as_deref()).await?;
            let full = rows.len() == FETCHED;
            sent += rows.len() as u64;
            // At once, so that whoever watches sees a slow scan go on.
            going.query.count(rows.len() as u64);
            if full {
                cursor = Some(last);
            }
            let due: Vec<Record> = rows.into_iter().filter(|record| possibly(self.shape, going.query, record)).collect();
            // Records go out in the order of the walk. Nobody sends turns any more when the scan is over.
            going.turn.subscribe().wait_for(|turn| *turn == stretch.number).await.map_err(|_| Ended::Unheard)?;
            if !due.is_empty() && going.out.send(due).await.is_err() {
                return Err(Ended::Unheard);
            }
            if !full {
                return Ok(sent);
            }
        }
    }

    /// The last place of the next stretch; `None` when the rest of the table is shorter than one.
    async fn stretch(&self, session: &mut Session, cursor: Option<&[Cell]>) -> Outcome<Option<Vec<Cell>>> {
        let mut statement = Statement::new("SELECT ");
        statement.list(", ", &self.order, |statement, term| read(statement, &term.column, term.read));
        self.shape.from(&mut statement).sql(" WHERE ");
        self.range(&mut statement, cursor, None);
        order_by(&mut statement, &self.order);
        statement.sql(" LIMIT 1 OFFSET ").value(&Cell::Int(STRETCH - 1));
        let kept = |row: &[Seen<'_>]| row.iter().map(|cell| cell.kept()).collect();
        Ok(patient(session, &statement, kept).await?.into_iter().next())
    }

    async fn count(&self, session: &mut Session, cursor: Option<&[Cell]>, end: Option<&[Cell]>) -> Outcome<u64> {
        let mut statement = Statement::new("SELECT count(*)");
        self.shape.from(&mut statement).sql(" WHERE ");
        self.range(&mut statement, cursor, end);
        statement.sql(" AND ").part(&self.member);
        Ok(patient(session, &statement, number).await?.into_iter().sum())
    }

    /// Up to [`FETCHED`] records of the stretch, and the place of the last.
    async fn fetch(&self, session: &mut Session, cursor: Option<&[Cell]>, end: Option<&[Cell]>) -> Outcome<(Vec<Record>, Vec<Cell>)> {
        let mut statement = self.shape.select();
        self.shape.from(&mut statement).sql(" WHERE ");
        self.range(&mut statement, cursor, end);
        statement.sql(" AND ").part(&self.member);
        if let Some(wanted) = &self.wanted {
            statement.sql(" AND (").part(wanted).sql(")");
        }
        order_by(&mut statement, &self.order);
        statement.sql(" LIMIT ").value(&Cell::Int(i64::try_from(FETCHED).unwrap_or(i64::MAX)));
        let mut last = Vec::with_capacity(self.order.len());
        let records = patient(session, &statement, |row| {
            last.clear();
            last.extend(self.order.iter().map(|term| self.shape.cell(row, term.at).kept()));
            self.shape.record(row)
        });
        let records = records.await?;
        Ok((records, last))
    }

    fn range(&self, statement: &mut Statement, cursor: Option<&[Cell]>, end: Option<&[Cell]>) {
        not_null(statement, self.order.iter().map(|term| &term.column));
        if let Some(cursor) = cursor {
            statement.sql(" AND ");
            compare(statement, &self.order, " > ", cursor);
        }
        if let Some(end) = end {
            statement.sql(" AND ");
            compare(statement, &self.order, " <= ", end);
        }
    }
}

/// Runs a query again for a while when another connection holds the lock: an application's write passes.
async fn patient<T: Send + Unpin>(
    session: &mut Session,
    statement: &Statement,
    mut each: impl FnMut(&[Seen<'_>]) -> T + Send,
) -> Outcome<Vec<T>> {
    let mut tries = 1;
    loop {
        match session.map(statement, &mut each).await {
            Err(failure) if failure.trouble == Trouble::Busy && tries < TRIES => tries += 1,
            other => return other,
        }
    }
}

fn number(row: &[Seen<'_>]) -> u64 {
    if let Some(Seen::Int(number)) = row.first() { u64::try_from(*number).unwrap_or(0) } else { 0 }
}

/// The event of the one event bound that a bound comes down to, if it does.
fn single(bound: Option<&Bound>) -> Option<&EventName> {
    match bound? {
        Bound::AtMost { event, .. } => Some(event),
        Bound::All(bounds) | Bound::Any(bounds) if bounds.len() == 1 => single(bounds.first()),
        _ => None,
    }
}

/// The condition under which a row is fetched at all.
fn wanted(shape: &Shape<'_>, bound: &Bound, query: &Query) -> Statement {
    let mut out = Statement::default();
    within(shape, bound, &mut out);
    let only = single(Some(bound)).and_then(|event| shape.dataset.event(event));
    for (at, event) in shape.dataset.events.iter().enumerate() {
        match (&event.when, column(shape, at)) {
            (Some(when), column) => {
                if only != Some(at) || !push::is_told_by_bounds(shape.layout.dialect, column, when) {
                    out.sql(" OR NOT ");
                    push::plain(&mut out, shape.layout.dialect, column, when);
                }
                out.sql(" OR ");
                push::future(&mut out, column, &when.form, query.now);
            }
            (None, column) => {
                out.sql(" OR ").name(&column.name).sql(" IS NULL");
            }
        }
    }
    out
}

fn column<'s>(shape: &'s Shape<'_>, event: usize) -> &'s Column {
    &shape.layout.columns[shape.event_at(event)]
}

fn within(shape: &Shape<'_>, bound: &Bound, out: &mut Statement) {
    match bound {
        Bound::AtMost { event, date, before } => match shape.dataset.event(event) {
            Some(at) => match &shape.dataset.events[at].when {
                Some(when) => push::within(out, column(shape, at), &when.form, *date, *before),
                None => {
                    out.name(&column(shape, at).name).sql(" IS NOT NULL");
                }
            },
            // The dataset does not have the event: every record is in doubt.
            None => {
                out.sql("1 = 1");
            }
        },
        Bound::Never => {
            out.sql("1 = 0");
        }
        Bound::All(bounds) | Bound::Any(bounds) => {
            let (between, none) = if matches!(bound, Bound::All(_)) { (" AND ", "1 = 1") } else { (" OR ", "1 = 0") };
            out.sql("(").list(between, bounds, |out, bound| within(shape, bound, out));
            if bounds.is_empty() {
                out.sql(none);
            }
            out.sql(")");
        }
    }
}

/// Whether a fetched record is worth sending: the database was asked a wider question than it had to be.
fn possibly(shape: &Shape<'_>, query: &Query, record: &Record) -> bool {
    let Some(bound) = &query.bound else { return true };
    // Somewhere it is still yesterday.
    let today = query.now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let today = today.yesterday().unwrap_or(today);
    let doubtful = record.readings.iter().any(|reading| match reading {
        Reading::Doubt(_) | Reading::Elsewhere(None) => true,
        Reading::At(Moment::Date(date)) => *date > today,
        Reading::At(Moment::Instant(instant)) => *instant > query.now,
        Reading::NotYet | Reading::Elsewhere(Some(_)) => false,
    });
    doubtful
        || bound.may_hold(&mut |event, date, before| match shape.dataset.event(event).map(|at| &record.readings[at]) {
            Some(Reading::At(moment)) => Bound::admits(*moment, date, before),
            Some(Reading::NotYet) => false,
            Some(Reading::Doubt(_) | Reading::Elsewhere(_)) | None => true,
        })
}
