//! Finding single records again: by key, by a value that another store holds, and as members of other datasets.

use std::collections::{HashMap, HashSet};

use jiff::civil::{Date, Time};

use super::config::Dataset;
use super::layout::{Column, Layout, Sort};
use super::postgres::catalog::AS_TEXT;
use super::session::{Failure, Outcome, Session};
use super::shape::{Shape, deepest_first, read, whether};
use super::statement::{Bind, Dialect, Name, Statement};
use super::value::{Cell, Seen, key_of, parts_of, typed_key};
use crate::record::{Doubt, Key, Moment, Reading, Record};
use crate::schedule::EventName;
use crate::store::{self, Found};

/// Keys or values asked for in one statement, well below what any engine accepts as parameters.
const ASKED: usize = 100;

/// Joins, or fails with everything that does not fit.
async fn shape<'a>(session: &mut Session, dataset: &'a Dataset) -> Outcome<Shape<'a>> {
    Shape::find(session, dataset).await?.map_err(|problems| Failure::other(problems.join("; ")))
}

/// Finds records by key, in the order of the keys. A row that is there but no longer belongs to the dataset is not absent: recovery would take
/// it for destroyed.
pub(super) async fn fetch(session: &mut Session, dataset: &Dataset, keys: &[Key]) -> Outcome<Vec<Found>> {
    let shape = shape(session, dataset).await?;
    let columns: Vec<usize> = shape.unique.terms.iter().map(|term| term.at).collect();
    let (mut member, mut done) = (Statement::default(), Statement::default());
    member.condition(dataset.filter.as_ref());
    if !shape.anonymised(&mut done) {
        done = Statement::new("1 = 0");
    }
    let mut out = Vec::with_capacity(keys.len());
    for keys in keys.chunks(ASKED) {
        let asked: Vec<_> = keys.iter().filter_map(|key| parts_of(key.as_bytes(), columns.len())).collect();
        let rows = if asked.is_empty() {
            Vec::new()
        } else {
            let mut statement = shape.select();
            whether(&mut statement, &member);
            whether(&mut statement, &done);
            shape.from(&mut statement).sql(" WHERE ");
            any_of(&mut statement, &shape.layout, &columns, &asked);
            let truth = |row: &[Seen<'_>], at: usize| row.get(at).is_some_and(|cell| cell.is_true());
            let (member, done) = (shape.width(), shape.width() + 1);
            session.map(&statement, |row| (shape.record(row), truth(row, member), truth(row, done))).await?
        };
        let respelled = rows.iter().any(|(record, _, _)| !keys.contains(&record.key));
        for key in keys {
            let mut matching = rows.iter().filter(|(record, _, _)| record.key == *key);
            out.push(match (matching.next(), matching.next()) {
                _ if std::str::from_utf8(key.as_bytes()).is_err() => Found::Unknown("the key is not UTF-8 text".into()),
                (None, _) if respelled && is_respelled(session, &shape, &columns, key).await? => {
                    Found::Outside("a row is there whose key the database finds the same, and which is written otherwise".into())
                }
                (None, _) => Found::Absent,
                (Some((_, false, _)), None) => Found::Outside("the row is there, but does not satisfy the dataset's `where`".into()),
                (Some((one, true, false)), None) => Found::Present(Box::new(one.clone())),
                (Some((one, true, true)), None) => Found::Anonymised(Box::new(one.clone())),
                (Some(_), Some(_)) => Found::Unknown("several rows have keys that are written alike".into()),
            });
        }
    }
    Ok(out)
}

/// What statistics count the records with these keys for, in the order of the keys.
pub(super) async fn cells(session: &mut Session, dataset: &Dataset, keys: &[Key]) -> Outcome<Vec<Option<store::Cell>>> {
    let shape = shape(session, dataset).await?;
    let by: Vec<usize> = dataset.counts.iter().flat_map(|counts| &counts.by).filter_map(|name| shape.layout.column(name).ok()).collect();
    let columns: Vec<usize> = shape.unique.terms.iter().map(|term| term.at).collect();
    let mut out = Vec::with_capacity(keys.len());
    for keys in keys.chunks(ASKED) {
        let asked: Vec<_> = keys.iter().filter_map(|key| parts_of(key.as_bytes(), columns.len())).collect();
        let mut rows: HashMap<Key, store::Cell> = HashMap::new();
        if !asked.is_empty() {
            let mut statement = shape.select();
            for at in &by {
                read(statement.sql(", "), &shape.layout.columns[*at].name, shape.layout.columns[*at].read);
            }
            shape.from(&mut statement).sql(" WHERE ");
            any_of(&mut statement, &shape.layout, &columns, &asked);
            let value = |row: &[Seen<'_>], at: usize| row.get(at).and_then(|seen| seen.text()).map(std::borrow::Cow::into_owned);
            let width = shape.width();
            let cell = |row: &[Seen<'_>]| (width..width + by.len()).map(|at| value(row, at)).collect::<store::Cell>();
            rows.extend(session.map(&statement, |row| (shape.record(row).key, cell(row))).await?);
        }
        out.extend(keys.iter().map(|key| rows.get(key).cloned()));
    }
    Ok(out)
}

/// Whether a row is there whose key is this one but for the writing of its texts: capitals, accents, blanks, as far as the column's collation
/// passes over them.
async fn is_respelled(session: &mut Session, shape: &Shape<'_>, columns: &[usize], key: &Key) -> Outcome<bool> {
    let Some(parts) = parts_of(key.as_bytes(), columns.len()) else { return Ok(false) };
    let mut statement = Statement::new("SELECT ");
    statement.list(", ", columns, |statement, at| read(statement, &shape.layout.columns[*at].name, shape.layout.columns[*at].read));
    shape.from(&mut statement).sql(" WHERE ");
    any_of(&mut statement, &shape.layout, columns, std::slice::from_ref(&parts));
    let rows = session.rows(&statement).await?;
    let same = |((at, part), cell): ((&usize, &String), &Cell)| {
        matches!((shape.layout.columns[*at].sort, cell), (Sort::Text | Sort::Loose, Cell::Text(_)))
            || cell.text().is_some_and(|text| text == *part)
    };
    Ok(rows.iter().any(|row| columns.iter().zip(&parts).zip(row).all(same)))
}

/// Adds: the columns hold values that are written like one of `asked`. May be true for more rows than that, because the engine compares by
/// affinity and collation; the caller compares texts.
fn any_of(statement: &mut Statement, layout: &Layout, columns: &[usize], asked: &[Vec<String>]) {
    statement.sql("(").list(" OR ", asked, |statement, parts| {
        statement.sql("(").list(" AND ", columns.iter().zip(parts), |statement, (at, text)| {
            // PostgreSQL's text holds no zero byte, and it is an error to ask for one.
            if layout.dialect == Dialect::Postgres && text.contains('\0') {
                statement.sql("1 = 0");
            } else {
                is_written(statement, layout.dialect, &layout.columns[*at], text);
            }
        });
        statement.sql(")");
    });
    statement.sql(")");
}

/// Adds: the column holds a value that is written like this text.
fn is_written(statement: &mut Statement, dialect: Dialect, column: &Column, text: &str) {
    let candidates = match column.sort {
        Sort::Loose => Cell::candidates(text),
        // What is above the numbers that have a sign is read as text.
        Sort::Int if dialect == Dialect::MySql && text.parse::<i64>().is_err() && text.parse::<u64>().is_ok() => {
            statement.name(&column.name).sql(" = ").typed(&Cell::Text(text.into()), &column.bind);
            return;
        }
        // An index finds it, and what is no such value is none here and no error.
        Sort::Other if dialect == Dialect::MySql && column.bind != Bind::Bare => {
            statement.name(&column.name).sql(" = ").typed(&Cell::Text(text.into()), &column.bind);
            return;
        }
        // Other texts cannot stand there, and would be an error where a number is expected.
        Sort::Int => text.parse().ok().map(Cell::Int).filter(|cell| cell.text().as_deref() == Some(text)).into_iter().collect(),
        Sort::Real => text.parse().ok().map(Cell::Real).filter(|cell| cell.text().as_deref() == Some(text)).into_iter().collect(),
        Sort::Text if dialect == Dialect::Postgres => {
            statement.name(&column.name).sql(" = ").typed(&Cell::Text(text.into()), &column.equal);
            return;
        }
        Sort::Text => vec![Cell::Text(text.into())],
        // What is no UUID as PostgreSQL writes it stands in no such column.
        Sort::Other if dialect == Dialect::Postgres && column.equal == Bind::Cast("uuid".into()) && !is_canonical(&column.equal, text) => {
            Vec::new()
        }
        Sort::Date | Sort::Local | Sort::Instant | Sort::Other if dialect == Dialect::Postgres && is_canonical(&column.equal, text) => {
            // As its type compares it, which an index serves.
            statement.name(&column.name).sql(" = ").typed(&Cell::Text(text.into()), &column.equal);
            return;
        }
        Sort::Date | Sort::Local | Sort::Instant | Sort::Label | Sort::Other | Sort::Digest => {
            // Compared as text: whatever it is, it is no error to ask for it.
            let (before, after) = if (dialect, column.sort) == (Dialect::Postgres, Sort::Date) { AS_TEXT } else { column.read };
            statement.sql(before).name(&column.name).sql(after).sql(" = ").value(&Cell::Text(text.into()));
            return;
        }
    };
    if candidates.is_empty() {
        statement.sql("1 = 0");
    } else {
        statement.name(&column.name).sql(" IN (").bind(&candidates).sql(")");
    }
}

/// Whether PostgreSQL reads this text as a value of the type, for certain: to hand it one that it does not read is an error. What is not known here
/// is compared as text.
fn is_canonical(of: &Bind, text: &str) -> bool {
    let Bind::Cast(kind) = of else { return false };
    let date = |text: &str| text.len() == 10 && text.parse::<Date>().is_ok_and(|date| date.year() > 0);
    let time = |text: &str| {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = !part.is_empty() && part.len() <= 6 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits && whole.len() == 8 && whole.as_bytes()[2] == b':' && whole.parse::<Time>().is_ok()
    };
    let both = |text: &str| text.split_once(' ').is_some_and(|(day, hour)| date(day) && time(hour));
    match &**kind {
        "uuid" => {
            let hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
            text.len() == 36 && text.bytes().enumerate().all(|(at, b)| if hyphen(at) { b == b'-' } else { b.is_ascii_hexdigit() })
        }
        "date" => date(text),
        "timestamp without time zone" => both(text),
        "timestamp with time zone" => text.strip_suffix("+00").is_some_and(both),
        "numeric" => {
            let digits = |text: &str| !text.is_empty() && text.len() < 100 && text.bytes().all(|byte| byte.is_ascii_digit());
            let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
            digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(part)
        }
        // It finds what differs in capitals as well, and the caller tells.
        kind => kind == "citext" || kind.ends_with(".citext"),
    }
}

/// The reading of an event for each value. Rows outside the dataset's condition cannot answer alone, but they count for lateness: that one
/// tenancy ended says nothing while another of the same tenant runs.
pub(super) async fn lookup(
    session: &mut Session,
    dataset: &Dataset,
    event: &EventName,
    on: Option<&str>,
    values: &[&str],
) -> Outcome<Vec<Reading>> {
    let shape = shape(session, dataset).await?;
    let Some(event) = dataset.event(event) else {
        return Err(Failure::other(format!("the dataset has no event `{event}`")));
    };
    let columns: Vec<usize> = match on {
        None => shape.unique.terms.iter().map(|term| term.at).collect(),
        Some(name) => vec![Name::new(name).and_then(|name| shape.layout.column(&name)).map_err(Failure::other)?],
    };
    if let Some(loose) = columns.iter().map(|at| &shape.layout.columns[*at]).find(|column| column.loose) {
        let (column, declared) = (loose.name.shown(), &loose.declared);
        return Err(Failure::other(format!(
            "`{column}` is of type {declared}, in which one value can be written in several ways; dates cannot be looked up by it"
        )));
    }
    // Values that are written alike are asked for one by one: whether the column takes them for the same shows only when a row comes back that is
    // written otherwise than what was asked for.
    let mut spellings: HashMap<String, HashSet<&str>> = HashMap::new();
    for value in values {
        spellings.entry(folded(value)).or_default().insert(value);
    }
    let (alone, together): (Vec<usize>, Vec<usize>) = (0..values.len()).partition(|at| spellings[&folded(values[*at])].len() > 1);
    let mut answers: HashMap<usize, Reading> = HashMap::with_capacity(values.len());
    for places in together.chunks(ASKED).chain(alone.chunks(1)) {
        let asked: Vec<&str> = places.iter().map(|at| values[*at]).collect();
        answers.extend(places.iter().copied().zip(readings(session, &shape, event, &columns, &asked).await?));
    }
    let silent = || Reading::Doubt(Doubt::Failed("no answer".into()));
    Ok((0..values.len()).map(|at| answers.remove(&at).unwrap_or_else(silent)).collect())
}

/// The reading of an event for each of a few values, no two of which are written alike, in one statement.
async fn readings(session: &mut Session, shape: &Shape<'_>, event: usize, columns: &[usize], values: &[&str]) -> Outcome<Vec<Reading>> {
    let asked: Vec<_> = values.iter().filter_map(|value| parts_of(value.as_bytes(), columns.len())).collect();
    let mut found = Vec::new();
    if !asked.is_empty() {
        let mut member = Statement::default();
        member.condition(shape.dataset.filter.as_ref());
        let mut statement = Statement::new("SELECT ");
        statement.list(", ", columns.iter().chain(std::iter::once(&shape.event_at(event))), |statement, at| {
            read(statement, &shape.layout.columns[*at].name, shape.layout.columns[*at].read);
        });
        whether(&mut statement, &member);
        shape.from(&mut statement).sql(" WHERE ");
        any_of(&mut statement, &shape.layout, columns, &asked);
        found = session
            .map(&statement, |row| {
                let (key, rest) = row.split_at(columns.len().min(row.len()));
                let member = rest.last().is_some_and(|cell| cell.is_true());
                let reading = match &shape.dataset.events[event].when {
                    Some(when) => when.read(rest.first().copied().unwrap_or(Seen::Null)),
                    None => Reading::Doubt(Doubt::Failed("the date itself lies in a third dataset".into())),
                };
                (key_of(key), member, reading)
            })
            .await?;
    }
    // Rows that the database finds equal to a value and that are written otherwise: capitals, accents, blanks. Whether an application takes
    // them for the same nobody can tell, so where there are some, the value's date is in doubt.
    let alike: Vec<String> = found
        .iter()
        .filter(|(key, _, _)| !values.iter().any(|value| value.as_bytes() == key.as_bytes()))
        .map(|(key, _, _)| folded(&key.to_text()))
        .collect();
    let unclear = !alike.iter().all(|alike| values.iter().any(|value| folded(value) == *alike));
    let answer = |value: &&str| {
        if unclear || alike.contains(&folded(value)) {
            return Reading::Doubt(Doubt::Failed("rows whose value is written alike, and not the same, are there too".into()));
        }
        let rows = found.iter().filter(|(key, _, _)| key.as_bytes() == value.as_bytes());
        latest(rows.map(|(_, member, reading)| (*member, reading)))
    };
    Ok(values.iter().map(answer).collect())
}

/// A text without what collations commonly pass over.
fn folded(text: &str) -> String {
    text.trim_end().to_lowercase()
}

/// Of several rows the latest date; doubt when one of them has none.
fn latest<'r>(rows: impl Iterator<Item = (bool, &'r Reading)>) -> Reading {
    let rows: Vec<_> = rows.collect();
    if !rows.iter().any(|(member, _)| *member) {
        return Reading::Doubt(Doubt::Missing("a row with this value".into()));
    }
    if let [(_, only)] = rows.as_slice() {
        return (*only).clone();
    }
    let mut best: Option<Moment> = None;
    for (_, reading) in rows {
        let moment = match reading {
            Reading::At(moment) => *moment,
            Reading::Doubt(doubt) => return Reading::Doubt(doubt.clone()),
            Reading::NotYet | Reading::Elsewhere(_) => {
                return Reading::Doubt(Doubt::Missing("the date in one of several rows with this value".into()));
            }
        };
        best = Some(match (best, moment) {
            (None, moment) => moment,
            (Some(Moment::Date(one)), Moment::Date(two)) => Moment::Date(one.max(two)),
            (Some(Moment::Instant(one)), Moment::Instant(two)) => Moment::Instant(one.max(two)),
            _ => return Reading::Doubt(Doubt::Unparsable("dates in some rows and times in others, which have no common order".into())),
        });
    }
    best.map_or_else(|| Reading::Doubt(Doubt::Missing("a row with this value".into())), Reading::At)
}

/// For each record of `dataset`, the records of the other datasets that are the same row, or rows that would go with it.
pub(super) async fn elsewhere(
    session: &mut Session,
    dataset: &Dataset,
    others: &[&Dataset],
    records: &[Record],
) -> Outcome<Vec<Vec<(String, Record)>>> {
    let mut out = vec![Vec::new(); records.len()];
    let mut paths = vec![];
    deepest_first(&dataset.children, &[], &mut paths);
    let concerned = |other: &Dataset| {
        other.table.same(&dataset.table) || paths.iter().any(|path| path.last().is_some_and(|c| c.table.same(&other.table)))
    };
    if !others.iter().any(|other| concerned(other)) {
        return Ok(out);
    }
    let own = shape(session, dataset).await?;
    for other in others.iter().filter(|other| concerned(other)) {
        let theirs = shape(session, other).await?;
        for (record, out) in records.iter().zip(&mut out) {
            let Some(key) = typed_key(&record.fingerprint, own.unique.terms.len()) else {
                return Err(Failure::other("the record was not read by this store"));
            };
            let mut statement = theirs.select();
            theirs.from(&mut statement).sql(" WHERE ").condition(other.filter.as_ref()).sql(" AND (1 = 0");
            if other.table.same(&dataset.table) {
                statement.sql(" OR (");
                own.key_in(&mut statement, &[&key]);
                statement.sql(")");
            }
            for path in paths.iter().filter(|path| path.last().is_some_and(|child| child.table.same(&other.table))) {
                statement.sql(" OR (");
                own.belongs(&mut statement, path, &[&key]);
                statement.sql(")");
            }
            statement.sql(")");
            let found = session.map(&statement, |row| theirs.record(row)).await?;
            out.extend(found.into_iter().map(|record| (other.name.clone(), record)));
        }
    }
    Ok(out)
}
