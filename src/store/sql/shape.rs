//! A dataset joined with the table as it is right now: which position holds what, and how a row becomes a record.

use std::sync::Arc;

use super::config::{Child, Dataset, Table};
use super::layout::{Layout, Sort, Term, Unique, layout_of, strange_words};
use super::postgres::catalog::AS_TEXT;
use super::session::{Outcome, Session};
use super::statement::{Dialect, Name, Statement};
use super::value::{Cell, Origin, Seen, SeenRow, fingerprint, key_of, origin_of, state_of, state_of_version};
use crate::record::{Doubt, Reading, Record};

/// The name that computed columns of a result bear, so that none of them hides a column of the table.
const COMPUTED: &str = " AS retentiond_";

/// What stands before a column of the record where rows of other tables are counted for it.
const RECORD: &str = "retentiond_record.";

/// A dataset and its table.
pub(super) struct Shape<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) layout: Arc<Layout>,
    pub(super) unique: Unique,
    events: Vec<usize>,
    subject: Option<usize>,
    class_by: Option<usize>,
    /// The columns that are read, by their positions in the layout: all of them, or those that matter and the row's version.
    read: Vec<usize>,
    /// What the engine says of the row's version, where that is read.
    version: Option<&'static str>,
    /// From which columns a version is read: columns may change their names, and rows remain the versions that they are.
    origin: Origin,
}

impl<'a> Shape<'a> {
    /// Joins the two, or says everything that does not fit.
    pub(super) async fn find(session: &mut Session, dataset: &'a Dataset) -> Outcome<Result<Self, Vec<String>>> {
        let layout = match layout_of(session, &dataset.table).await? {
            Ok(layout) => layout,
            Err(problem) => return Ok(Err(vec![problem])),
        };
        Ok(Self::join(dataset, Arc::new(layout)))
    }

    /// Joins the dataset with a table that was looked at a moment ago.
    pub(super) fn join(dataset: &'a Dataset, layout: Arc<Layout>) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let note = |result: Result<usize, String>, problems: &mut Vec<String>| result.map_err(|problem| problems.push(problem)).ok();
        if layout.kind != "table" {
            problems.push(format!("`{}` is a {}, not a table; rows are destroyed in tables only", dataset.table.shown(), layout.kind));
        }
        let events: Vec<_> = dataset.events.iter().filter_map(|event| note(layout.column(&event.column), &mut problems)).collect();
        let subject = dataset.subject.as_ref().and_then(|name| note(layout.column(name), &mut problems));
        let class_by = dataset.class_by.as_ref().and_then(|name| note(layout.column(name), &mut problems));
        for change in &dataset.changes {
            note(layout.column(&change.column), &mut problems);
        }
        for column in dataset.counts.iter().flat_map(|counts| &counts.by) {
            note(layout.column(column), &mut problems);
        }
        problems.extend(strange_words(dataset, &layout));
        let unique = layout.unique(&dataset.key).map_err(|problem| problems.push(problem)).ok();
        match unique {
            Some(unique) if problems.is_empty() => {
                // That values were changed as ordered, only the whole row shows.
                let version = layout.version.filter(|_| dataset.changes.is_empty());
                let mut read: Vec<usize> = if version.is_some() {
                    unique.terms.iter().map(|term| term.at).chain(events.iter().copied()).chain(subject).chain(class_by).collect()
                } else {
                    (0..layout.columns.len()).collect()
                };
                let apart = |at: &[usize]| at.iter().map(|at| layout.columns[*at].number).chain([-1]).collect::<Vec<_>>();
                let keys: Vec<usize> = unique.terms.iter().map(|term| term.at).collect();
                let roles = [&keys, &events, &Vec::from_iter(subject), &Vec::from_iter(class_by)].map(|at| apart(at));
                let origin = origin_of([layout.number].into_iter().chain(roles.into_iter().flatten()));
                read.sort_unstable();
                read.dedup();
                Ok(Self { dataset, layout, unique, events, subject, class_by, read, version, origin })
            }
            _ => Err(problems),
        }
    }

    /// Begins `SELECT` with all that is read of a row.
    pub(super) fn select(&self) -> Statement {
        let mut statement = Statement::new("SELECT ");
        self.columns(&mut statement);
        statement
    }

    /// Begins `SELECT` with the keys of rows, up to what they satisfy.
    pub(super) fn select_keys(&self) -> Statement {
        let mut statement = Statement::new("SELECT ");
        statement.list(", ", &self.unique.terms, |statement, term| read(statement, &term.column, term.read));
        self.from(&mut statement).sql(" WHERE ");
        statement
    }

    /// Adds all that is read of a row: columns as they are read, and behind them its version and its size where not every column is.
    pub(super) fn columns(&self, statement: &mut Statement) {
        statement.list(", ", &self.read, |statement, at| {
            let column = &self.layout.columns[*at];
            read(statement, &column.name, column.read);
        });
        if let Some(version) = self.version {
            statement.sql(", ").sql(version).sql(COMPUTED).sql(", ");
            self.size(statement);
            statement.sql(COMPUTED);
        }
    }

    /// Adds how many bytes the values of a row take, for PostgreSQL: it is asked for no more than it has to look at.
    fn size(&self, statement: &mut Statement) {
        let always: i64 = self.layout.columns.iter().filter(|column| column.not_null).filter_map(|column| column.width).sum();
        statement.sql("CAST(").value(&Cell::Int(always));
        for column in &self.layout.columns {
            match (column.width, column.not_null) {
                (Some(_), true) => {}
                (Some(width), false) => {
                    statement.sql(" + CASE WHEN ").name(&column.name).sql(" IS NULL THEN 0 ELSE ").value(&Cell::Int(width)).sql(" END");
                }
                (None, true) => {
                    statement.sql(" + pg_catalog.pg_column_size(").name(&column.name).sql(")");
                }
                (None, false) => {
                    statement.sql(" + coalesce(pg_catalog.pg_column_size(").name(&column.name).sql("), 0)");
                }
            }
        }
        statement.sql(" AS int8)");
    }

    /// What a row of [`Shape::select`] holds in a column of the layout.
    pub(super) fn cell<'r>(&self, row: &[Seen<'r>], column: usize) -> Seen<'r> {
        let place = if self.version.is_some() { self.read.binary_search(&column).ok() } else { Some(column) };
        place.and_then(|place| row.get(place)).copied().unwrap_or(Seen::Null)
    }

    /// Adds `FROM table`.
    pub(super) fn from<'s>(&self, statement: &'s mut Statement) -> &'s mut Statement {
        table(statement.sql(" FROM "), &self.dataset.table)
    }

    /// How many values [`Shape::select`] gives.
    pub(super) fn width(&self) -> usize {
        self.read.len() + if self.version.is_some() { 3 } else { 0 }
    }

    /// Adds: the key is one of these, at least one.
    pub(super) fn key_in(&self, statement: &mut Statement, keys: &[&[Cell]]) {
        self.columns_in(statement, &self.unique.terms, keys);
    }

    /// From which columns versions are read, where the engine tells versions of a row apart.
    pub(super) fn versions(&self) -> Option<Origin> {
        self.version.map(|_| self.origin)
    }

    /// Adds: these columns, in the order of the key, hold one of these keys.
    fn columns_in(&self, statement: &mut Statement, columns: &[Term], keys: &[&[Cell]]) {
        let part = |at: usize| keys.iter().filter_map(move |key| key.get(at).cloned());
        match (self.layout.dialect, columns) {
            // MySQL has no empty lists.
            (Dialect::MySql, _) if keys.is_empty() => {
                statement.sql("1 = 0");
            }
            (Dialect::Postgres, [only]) => {
                only.add(statement);
                statement.sql(" = ANY(").array(part(0).collect(), &self.unique.terms[0].bind).sql(")");
            }
            (Dialect::Postgres, _) => {
                statement.sql("(").list(", ", columns, |statement, term| term.add(statement));
                statement.sql(") IN (SELECT * FROM ROWS FROM (").list(
                    ", ",
                    self.unique.terms.iter().enumerate(),
                    |statement, (at, term)| {
                        statement.sql("pg_catalog.unnest(").array(part(at).collect(), &term.bind).sql(")");
                    },
                );
                statement.sql("))");
            }
            (_, [only]) => {
                only.add(statement);
                let mut values: Vec<Cell> = part(0).collect();
                if self.layout.dialect == Dialect::MySql {
                    // A list of another length is another statement, to be prepared anew: so there are only a few lengths, and the last key fills them up.
                    let last = values.last().cloned();
                    values.resize(values.len().next_power_of_two(), last.unwrap_or(Cell::Null));
                }
                statement.sql(" IN (").list(", ", values, |statement, value| {
                    statement.typed(&value, &self.unique.terms[0].bind);
                });
                statement.sql(")");
            }
            _ => {
                statement.sql("(").list(" OR ", keys, |statement, key| {
                    statement.sql("(").list(
                        " AND ",
                        columns.iter().zip(&self.unique.terms).zip(*key),
                        |statement, ((column, own), value)| {
                            column.add(statement);
                            statement.sql(" = ").typed(value, &own.bind);
                        },
                    );
                    statement.sql(")");
                });
                statement.sql(")");
            }
        }
    }

    /// The key values of a row.
    pub(super) fn key<'r>(&self, row: &[Seen<'r>]) -> SeenRow<'r> {
        self.unique.terms.iter().map(|term| self.cell(row, term.at)).collect()
    }

    /// What a row of [`Shape::select`] says about one event.
    pub(super) fn reading(&self, row: &[Seen<'_>], event: usize) -> Reading {
        let cell = self.events.get(event).map_or(Seen::Null, |at| self.cell(row, *at));
        match self.dataset.events.get(event) {
            None => Reading::Doubt(Doubt::Failed("the dataset has no such event".into())),
            Some(event) => match &event.when {
                Some(when) => when.read(cell),
                None => Reading::Elsewhere(cell.text().map(Into::into)),
            },
        }
    }

    /// The position of an event's column.
    pub(super) fn event_at(&self, event: usize) -> usize {
        self.events[event]
    }

    /// The record that a row of [`Shape::select`] is.
    pub(super) fn record(&self, row: &[Seen<'_>]) -> Record {
        let row = &row[..row.len().min(self.width())];
        let key = self.key(row);
        let text = |at: Option<usize>| at.and_then(|at| self.cell(row, at).text().map(Into::into));
        // Version, place and size stand last. Of a version that cannot be read, what was read of the row has to do.
        let (size, hint, state) = match row.split_last_chunk() {
            Some((read, [version, Seen::Int(place), Seen::Int(size)])) if self.version.is_some() => {
                let state = state_of_version(*version, self.origin).unwrap_or_else(|| state_of(read));
                (u64::try_from(*size).unwrap_or(0), u64::try_from(*place).unwrap_or(0), state)
            }
            _ => (row.iter().map(|cell| cell.size()).sum(), 0, state_of(row)),
        };
        Record {
            key: key_of(&key),
            class_value: text(self.class_by),
            readings: (0..self.dataset.events.len()).map(|event| self.reading(row, event)).collect(),
            subject: text(self.subject),
            size,
            fingerprint: fingerprint(&state, &key),
            hint,
        }
    }

    /// Adds a condition that is true for rows that are anonymised already; `false` when that cannot be told.
    pub(super) fn anonymised(&self, statement: &mut Statement) -> bool {
        use super::config::To;
        if self.dataset.changes.is_empty() {
            return false;
        }
        if let Some(condition) = &self.dataset.anonymised {
            statement.sql("(CASE WHEN ").condition(Some(condition)).sql(" THEN 1 ELSE 0 END = 1)");
            return true;
        }
        let constants: Vec<_> = self
            .dataset
            .changes
            .iter()
            .filter_map(|c| if let To::Constant(value) = &c.to { Some((&c.column, value)) } else { None })
            .collect();
        if constants.is_empty() {
            return false;
        }
        statement.sql("(").list(" AND ", constants, |statement, (column, value)| {
            self.is_constant(statement, column, value);
        });
        statement.sql(")");
        true
    }

    /// Adds: the column holds this constant, or both are null.
    pub(super) fn is_constant(&self, statement: &mut Statement, column: &Name, value: &Cell) {
        if matches!(value, Cell::Null) {
            statement.name(column).sql(" IS NULL");
            return;
        }
        // Some of PostgreSQL's types cannot be compared, only their texts: json, xml, points.
        let as_text = self.layout.dialect == Dialect::Postgres
            && self.layout.column(column).is_ok_and(|at| self.layout.columns[at].sort == Sort::Other);
        let (before, after) = if as_text { AS_TEXT } else { ("", "") };
        statement.sql(before).name(column).sql(after).same().sql(before);
        self.constant(statement, column, value);
        statement.sql(after);
    }

    /// Adds a constant as the column takes it.
    pub(super) fn constant(&self, statement: &mut Statement, column: &Name, value: &Cell) {
        match self.layout.column(column) {
            Ok(at) => statement.typed(value, &self.layout.columns[at].bind),
            Err(_) => statement.value(value),
        };
    }

    /// Adds: this row of a child table belongs to one of the records with these keys. `path` leads from the dataset's own children down to the
    /// table.
    pub(super) fn belongs(&self, statement: &mut Statement, path: &[&Child], keys: &[&[Cell]]) {
        let Some((last, above)) = path.split_last() else { return };
        match above.last() {
            None => {
                // In the collation in which the parent's key is unique, so that no other parent's rows can be meant.
                let terms: Vec<Term> =
                    last.key.iter().zip(&self.unique.terms).map(|(column, term)| self.term_of_child(column, term)).collect();
                self.columns_in(statement, &terms, keys);
            }
            Some(parent) => {
                statement.sql("(").names(&last.key).sql(") IN (SELECT ").names(&parent.id).sql(" FROM ");
                table(statement, &parent.table).sql(" WHERE ");
                self.belongs(statement, above, keys);
                statement.sql(")");
            }
        }
    }

    /// Counts, for each of the records with these keys, the rows at the end of a path: `SELECT key, count`.
    pub(super) fn count_children(&self, path: &[&Child], keys: &[&[Cell]]) -> Statement {
        let mut statement = Statement::new("SELECT ");
        statement.list(", ", &self.unique.terms, |statement, term| {
            let (before, after) = term.read;
            statement.sql(before).sql(RECORD).name(&term.column).sql(after);
        });
        if let Some((last, above)) = path.split_last() {
            table(statement.sql(", (SELECT count(*) FROM "), &last.table).sql(" WHERE ");
            self.belongs_to_the_record(&mut statement, last, above);
            statement.sql(")");
        }
        table(statement.sql(" FROM "), &self.dataset.table).sql(" AS retentiond_record WHERE ");
        self.key_in(&mut statement, keys);
        statement
    }

    fn belongs_to_the_record(&self, statement: &mut Statement, last: &Child, above: &[&Child]) {
        match above.split_last() {
            None => {
                statement.list(" AND ", last.key.iter().zip(&self.unique.terms), |statement, (column, term)| {
                    self.term_of_child(column, term).add(statement);
                    statement.sql(" = ").sql(RECORD).name(&term.column);
                });
            }
            Some((parent, above)) => {
                statement.sql("(").names(&last.key).sql(") IN (SELECT ").names(&parent.id).sql(" FROM ");
                table(statement, &parent.table).sql(" WHERE ");
                self.belongs_to_the_record(statement, parent, above);
                statement.sql(")");
            }
        }
    }

    fn term_of_child(&self, column: &Name, term: &Term) -> Term {
        let collation = match (self.layout.dialect, &term.collation) {
            (Dialect::Sqlite, None) => Name::new("BINARY").ok(),
            (_, collation) => collation.clone(),
        };
        Term { column: column.clone(), collation, ..term.clone() }
    }
}

/// Adds, to the list of what is selected, whether a condition holds.
pub(super) fn whether(statement: &mut Statement, condition: &Statement) {
    statement.sql(", CASE WHEN ").part(condition).sql(" THEN 1 ELSE 0 END");
}

/// Adds a table, with its schema if that is named.
pub(super) fn table<'s>(statement: &'s mut Statement, table: &Table) -> &'s mut Statement {
    if let Some(schema) = &table.schema {
        statement.name(schema).sql(".");
    }
    statement.name(&table.name)
}

/// Adds a column as it is read.
pub(super) fn read(statement: &mut Statement, column: &Name, (before, after): (&'static str, &'static str)) {
    statement.sql(before).name(column).sql(after);
    if !after.is_empty() {
        statement.sql(COMPUTED);
    }
}

/// Every child with the way that leads to it, deepest first.
pub(super) fn deepest_first<'a>(children: &'a [Child], above: &[&'a Child], out: &mut Vec<Vec<&'a Child>>) {
    for child in children {
        let mut path = above.to_vec();
        path.push(child);
        deepest_first(&child.children, &path, out);
        out.push(path);
    }
}

/// A row-value comparison: `(a, b) > (?, ?)`. SQLite with collations and MySQL find the place in an index by the first column alone, so that is
/// named once more.
pub(super) fn compare(statement: &mut Statement, terms: &[Term], sign: &'static str, to: &[Cell]) {
    if let ([first, _, ..], [value, ..]) = (terms, to) {
        first.add(statement);
        statement.sql(if sign.contains('>') { " >= " } else { " <= " }).typed(value, &first.bind).sql(" AND ");
    }
    statement.sql("(").list(", ", terms, |statement, term| term.add(statement));
    statement.sql(")").sql(sign).sql("(").list(", ", terms.iter().zip(to), |statement, (term, value)| {
        statement.typed(value, &term.bind);
    });
    statement.sql(")");
}

/// Adds `ORDER BY` the terms.
pub(super) fn order_by(statement: &mut Statement, terms: &[Term]) {
    statement.sql(" ORDER BY ").list(", ", terms, |statement, term| term.add(statement));
}

/// Adds: none of these columns is null.
pub(super) fn not_null<'n>(statement: &mut Statement, columns: impl IntoIterator<Item = &'n Name>) {
    statement.list(" AND ", columns, |statement, column| {
        statement.name(column).sql(" IS NOT NULL");
    });
}
