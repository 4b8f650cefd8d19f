//! A stretch of keys: records that lie so close to each other that to walk along them costs less than to look each of them up.
//!
//! Rows lie in the order of whole-numbered keys, and a plan is cut into batches in the same order, so a batch mostly is such a stretch. What lies
//! between its records and is none of them is mostly younger than they are: the dates of the newest tell it apart.
//!
//! **A stretch says where to look and never what goes.** It may hold rows that no plan has, and may miss some that a plan has: whoever walks along
//! one compares every row with the plan, and undoes everything when there is a single one too many or too few.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::layout::Sort;
use super::push;
use super::shape::Shape;
use super::statement::{Dialect, Statement};
use super::value::{Cell, whole_number};
use crate::record::{Moment, Reading, Record};

/// Rows that are passed for each record at the most. On both engines it costs as much to look one row up as to pass three or four.
const PASSED: i128 = 4;

/// Fewer records are looked up one by one.
const FEWEST: usize = 32;

/// Where the records of a transaction lie.
pub(super) struct Stretch {
    first: i64,
    before_last: i64,
    last: i64,
    /// For each event whose date every record has, its position and the latest of those dates: as a day, and as an instant.
    newest: Vec<(usize, Date, Timestamp)>,
}

impl Stretch {
    /// The stretch in which these keys lie, each of another record; `None` where to look them up is the better way.
    pub(super) fn of(shape: &Shape<'_>, keys: &[&[Cell]], records: &[&Record]) -> Option<Self> {
        let [term] = shape.unique.terms.as_slice() else { return None };
        if term.sort != Sort::Int || keys.len() < FEWEST {
            return None;
        }
        let mut numbers: Vec<i64> = keys.iter().map(|key| whole_number(key)).collect::<Option<_>>()?;
        numbers.sort_unstable();
        let [first, .., before_last, last] = *numbers.as_slice() else { return None };
        let passed = i128::from(last) - i128::from(first) + 1;
        let close = passed <= PASSED * numbers.len() as i128;
        let newest = (0..shape.dataset.events.len()).filter_map(|event| {
            let moments = records.iter().map(|record| latest(record, event)).collect::<Option<Vec<_>>>()?;
            let (days, instants): (Vec<_>, Vec<_>) = moments.into_iter().unzip();
            Some((event, days.into_iter().max()?, instants.into_iter().max()?))
        });
        close.then(|| Self { first, before_last, last, newest: newest.collect() })
    }

    /// Adds: the key lies in the stretch.
    pub(super) fn keys(&self, statement: &mut Statement, shape: &Shape<'_>) {
        let Some(term) = shape.unique.terms.first() else { return };
        let between = |statement: &mut Statement, last: i64| {
            term.add(statement);
            statement.sql(" BETWEEN ").typed(&Cell::Int(self.first), &term.bind).sql(" AND ").typed(&Cell::Int(last), &term.bind);
        };
        if shape.layout.dialect != Dialect::MySql {
            return between(statement, self.last);
        }
        // InnoDB sees that a stretch has ended by the row behind it, and locks that row for the look: it may be one that a transaction beside this one
        // is about to delete. Whoever looks up a single row looks no further.
        between(statement.sql("("), self.before_last);
        term.add(statement.sql(" OR "));
        statement.sql(" = ").typed(&Cell::Int(self.last), &term.bind).sql(")");
    }

    /// Adds: no event is later than the latest of the records', as far as the engine can be asked.
    pub(super) fn not_newer(&self, statement: &mut Statement, shape: &Shape<'_>) {
        for (event, date, before) in &self.newest {
            if let Some(when) = &shape.dataset.events[*event].when {
                statement.sql(" AND ");
                push::within(statement, &shape.layout.columns[shape.event_at(*event)], &when.form, *date, *before);
            }
        }
    }

    /// Whether there is a date by which rows in between can be told apart.
    pub(super) fn is_dated(&self) -> bool {
        !self.newest.is_empty()
    }
}

/// When an event of a record happened, at the latest, as a day and as an instant; `None` where there is no date.
fn latest(record: &Record, event: usize) -> Option<(Date, Timestamp)> {
    match record.readings.get(event)? {
        Reading::At(Moment::Date(day)) => {
            // Wherever it is still that day.
            let over = day.checked_add(jiff::Span::new().days(2)).ok()?;
            Some((*day, over.to_zoned(TimeZone::UTC).ok()?.timestamp()))
        }
        Reading::At(Moment::Instant(instant)) => Some((instant.to_zoned(TimeZone::UTC).date(), *instant)),
        _ => None,
    }
}
