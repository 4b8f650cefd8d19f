//! The way through a table: in which order its rows are looked at, what is asked of them, and which are sent.
//!
//! **The order** is the key's, or (event, key) where an index gives that for free. The latter is taken only where the dataset is the whole table,
//! because otherwise counting would read the rows anyway, and where few rows are due.
//!
//! **What is sent**: rows within the bound; rows whose date is not plainly of the declared form; rows of the future; rows whose date lies in
//! another store and that name nothing to look it up by. Null dates are counted and not sent, unless everything is asked for.
//!
//! Nothing of it changes while it is gone, so that several connections may go the same way.

use super::layout::{Column, Term};
use super::push;
use super::session::{Failure, Outcome, Session, Trouble};
use super::shape::{Shape, compare, not_null, order_by, read};
use super::statement::Statement;
use super::value::{Cell, Seen};
use crate::judge::Bound;
use crate::record::{Moment, Reading, Record};
use crate::schedule::EventName;
use crate::store::{MESSAGE, Query};

/// Rows looked at in one statement: some tens of milliseconds.
pub(super) const STRETCH: u64 = 10_000;

/// Where more than one row in so many is due, a table is walked in the order of its key although an index gives the order of events: rows are then
/// read, and removed, as they lie.
const MANY: u64 = 10;

/// Records fetched by one statement at the most: few enough to hold in memory, many enough that finding the place again costs nothing.
const FETCHED: usize = MESSAGE;

/// How often a statement is tried again when another connection holds the lock; each try waits for the connection's own time-out.
const TRIES: usize = 3;

/// What was tried already.
#[derive(Default)]
struct Tries(usize);

/// What one statement brought.
#[derive(Default)]
pub(super) struct Fetched {
    /// Rows that the database found.
    pub(super) rows: usize,
    /// Those of them that are worth being sent.
    pub(super) records: Vec<Record>,
    /// The place of the last row, if there may be more.
    pub(super) last: Option<Vec<Cell>>,
}

impl Tries {
    /// The failure, unless it is worth another try.
    fn again(&mut self, failure: Failure) -> Outcome<()> {
        self.0 += 1;
        if failure.trouble == Trouble::Busy && self.0 < TRIES { Ok(()) } else { Err(failure) }
    }
}

/// See the file's header.
pub(super) struct Walk<'s> {
    shape: &'s Shape<'s>,
    query: &'s Query,
    order: Vec<Term>,
    /// Whether the order begins with the event's column.
    pub(super) by_event: bool,
    /// The condition for being sent; `None` when every row is.
    pub(super) wanted: Option<Statement>,
    /// The condition for being a row of the dataset.
    member: Statement,
    /// Whether every row of the table is one.
    pub(super) whole: bool,
}

impl<'s> Walk<'s> {
    pub(super) fn new(shape: &'s Shape<'s>, query: &'s Query) -> Self {
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
        Self { shape, query, order, by_event, wanted, member, whole }
    }

    /// Whether so many rows may be due that to look each of them up by its key, as the order of events demands, costs more than to read the whole table.
    pub(super) async fn many_due(&self, session: &mut Session) -> Outcome<bool> {
        let (Some(wanted), Some(rows)) = (&self.wanted, self.shape.layout.rows) else { return Ok(false) };
        let many = rows / MANY;
        let mut statement = Statement::new("SELECT count(*) FROM (SELECT 1 AS retentiond_ ");
        self.shape.from(&mut statement).sql(" WHERE ").part(wanted).sql(" LIMIT ");
        statement.value(&Cell::Int(i64::try_from(many).unwrap_or(i64::MAX))).sql(") AS retentiond_due");
        Ok(patient(session, &statement, number).await?.into_iter().sum::<u64>() >= many.max(1))
    }

    /// Walks in the order of the key after all.
    pub(super) fn by_key(&mut self) {
        (self.order, self.by_event) = (self.shape.unique.walk.clone(), false);
    }

    /// Counts the rows that a walk in the order of events does not come by: those without a date.
    pub(super) async fn count_nulls(&self, session: &mut Session) -> Outcome<u64> {
        let mut statement = Statement::new("SELECT count(*)");
        self.shape.from(&mut statement).sql(" WHERE ").name(&self.order[0].column).sql(" IS NULL");
        Ok(patient(session, &statement, number).await?.into_iter().sum())
    }

    /// Counts the rows that no walk comes by, because their key is null.
    pub(super) async fn count_unaddressable(&self, session: &mut Session) -> Outcome<u64> {
        if !self.shape.unique.nullable {
            return Ok(0);
        }
        let mut statement = Statement::new("SELECT count(*)");
        self.shape.from(&mut statement).sql(" WHERE NOT (");
        not_null(&mut statement, self.shape.unique.terms.iter().map(|term| &term.column));
        statement.sql(") AND ").condition(self.shape.dataset.filter.as_ref());
        session.number(&statement).await
    }

    /// The last place of the next stretch; `None` when the rest of the table is shorter than one.
    pub(super) async fn stretch(&self, session: &mut Session, cursor: Option<&[Cell]>) -> Outcome<Option<Vec<Cell>>> {
        let mut statement = Statement::new("SELECT ");
        statement.list(", ", &self.order, |statement, term| read(statement, &term.column, term.read));
        self.shape.from(&mut statement).sql(" WHERE ");
        self.range(&mut statement, cursor, None);
        order_by(&mut statement, &self.order);
        statement.sql(" LIMIT 1 OFFSET ").value(&Cell::Int(STRETCH.cast_signed() - 1));
        let kept = |row: &[Seen<'_>]| row.iter().map(|cell| cell.kept()).collect();
        Ok(patient(session, &statement, kept).await?.into_iter().next())
    }

    /// Counts the dataset's rows behind one place of the order up to another.
    pub(super) async fn count(&self, session: &mut Session, cursor: Option<&[Cell]>, end: Option<&[Cell]>) -> Outcome<u64> {
        let mut statement = Statement::new("SELECT count(*)");
        self.shape.from(&mut statement).sql(" WHERE ");
        self.range(&mut statement, cursor, end);
        statement.sql(" AND ").part(&self.member);
        Ok(patient(session, &statement, number).await?.into_iter().sum())
    }

    /// Fetches up to [`FETCHED`] of the wanted rows behind one place of the order up to another. There is room for so many records from the start.
    pub(super) async fn fetch(
        &self,
        session: &mut Session,
        cursor: Option<&[Cell]>,
        end: Option<&[Cell]>,
        room: usize,
    ) -> Outcome<Fetched> {
        let mut statement = self.shape.select();
        self.shape.from(&mut statement).sql(" WHERE ");
        self.range(&mut statement, cursor, end);
        statement.sql(" AND ").part(&self.member);
        if let Some(wanted) = &self.wanted {
            statement.sql(" AND (").part(wanted).sql(")");
        }
        order_by(&mut statement, &self.order);
        statement.sql(" LIMIT ").value(&Cell::Int(i64::try_from(FETCHED).unwrap_or(i64::MAX)));
        let mut tries = Tries::default();
        loop {
            let mut fetched = Fetched { records: Vec::with_capacity(room), ..Fetched::default() };
            let each = |row: &[Seen<'_>]| {
                fetched.rows += 1;
                if fetched.rows == FETCHED {
                    fetched.last = Some(self.order.iter().map(|term| self.shape.cell(row, term.at).kept()).collect());
                }
                let record = self.shape.record(row);
                if possibly(self.shape, self.query, &record) {
                    fetched.records.push(record);
                }
            };
            match session.each(&statement, each).await {
                Ok(()) => return Ok(fetched),
                Err(failure) => tries.again(failure)?,
            }
        }
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

/// Runs a query, again for a while when another connection holds the lock: an application's write passes.
async fn patient<T: Send>(session: &mut Session, statement: &Statement, mut each: impl FnMut(&[Seen<'_>]) -> T + Send) -> Outcome<Vec<T>> {
    let mut tries = Tries::default();
    loop {
        match session.map(statement, &mut each).await {
            Ok(found) => return Ok(found),
            Err(failure) => tries.again(failure)?,
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
