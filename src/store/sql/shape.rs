//! A dataset joined with the table as it is right now: which position holds what, and how a row becomes a record.

use super::config::{Child, Dataset};
use super::session::{Outcome, Session};
use super::sqlite::catalog::{Layout, Term, Unique, layout_of, strings_in_disguise};
use super::statement::{Name, Statement};
use super::value::{Cell, fingerprint, key_of};
use crate::record::{Doubt, Reading, Record};

/// A dataset and its table.
pub(super) struct Shape<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) layout: Layout,
    pub(super) unique: Unique,
    events: Vec<usize>,
    subject: Option<usize>,
    class_by: Option<usize>,
}

impl<'a> Shape<'a> {
    /// Joins the two, or says everything that does not fit.
    pub(super) async fn find(session: &mut Session, dataset: &'a Dataset) -> Outcome<Result<Self, Vec<String>>> {
        let layout = match layout_of(session, &dataset.table).await? {
            Ok(layout) => layout,
            Err(problem) => return Ok(Err(vec![problem])),
        };
        Ok(Self::join(dataset, layout))
    }

    fn join(dataset: &'a Dataset, layout: Layout) -> Result<Self, Vec<String>> {
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
        problems.extend(strings_in_disguise(dataset, &layout));
        let unique = layout.unique(&dataset.key).map_err(|problem| problems.push(problem)).ok();
        match unique {
            Some(unique) if problems.is_empty() => Ok(Self { dataset, layout, unique, events, subject, class_by }),
            _ => Err(problems),
        }
    }

    /// Begins `SELECT` with every column of the table.
    pub(super) fn select(&self) -> Statement {
        let mut statement = Statement::new("SELECT ");
        statement.names(self.layout.columns.iter().map(|column| &column.name));
        statement
    }

    /// Adds `FROM table`.
    pub(super) fn from<'s>(&self, statement: &'s mut Statement) -> &'s mut Statement {
        statement.sql(" FROM ").name(&self.dataset.table.name)
    }

    /// How many columns [`Shape::select`] names.
    pub(super) fn width(&self) -> usize {
        self.layout.columns.len()
    }

    /// Adds: the key is exactly this one.
    pub(super) fn key_is(&self, statement: &mut Statement, key: &[Cell]) {
        statement.list(" AND ", self.unique.terms.iter().zip(key), |statement, (term, value)| {
            term.add(statement);
            statement.sql(" = ").value(value);
        });
    }

    /// The key values of a row.
    pub(super) fn key(&self, row: &[Cell]) -> Vec<Cell> {
        self.unique.terms.iter().map(|term| row.get(term.at).cloned().unwrap_or(Cell::Null)).collect()
    }

    /// What a row of [`Shape::select`] says about one event.
    pub(super) fn reading(&self, row: &[Cell], event: usize) -> Reading {
        let cell = self.events.get(event).and_then(|at| row.get(*at)).unwrap_or(&Cell::Null);
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
    pub(super) fn record(&self, row: &[Cell]) -> Record {
        let row = &row[..row.len().min(self.width())];
        let key = self.key(row);
        let text = |at: Option<usize>| at.and_then(|at| row.get(at)?.text().map(Into::into));
        Record {
            key: key_of(&key),
            class_value: text(self.class_by),
            readings: (0..self.dataset.events.len()).map(|event| self.reading(row, event)).collect(),
            subject: text(self.subject),
            size: row.iter().map(Cell::size).sum(),
            fingerprint: fingerprint(row, &self.events, &key),
        }
    }

    /// Adds a condition that is true for rows that are anonymised already; `false` when that cannot be told.
    pub(super) fn anonymised(&self, statement: &mut Statement) -> bool {
        use super::config::To;
        if self.dataset.changes.is_empty() {
            return false;
        }
        if let Some(condition) = &self.dataset.anonymised {
            statement.sql("coalesce(").condition(Some(condition)).sql(", 0)");
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
            statement.name(column).sql(" IS ").value(value);
        });
        statement.sql(")");
        true
    }

    /// Adds: this row of a child table belongs to the record with this key. `path` leads from the dataset's own children down to the table.
    pub(super) fn belongs(&self, statement: &mut Statement, path: &[&Child], key: &[Cell]) {
        let Some((last, above)) = path.split_last() else { return };
        match above.last() {
            None => {
                // In the collation in which the parent's key is unique, so that no other parent's rows can be meant.
                statement.list(" AND ", last.key.iter().zip(&self.unique.terms).zip(key), |statement, ((column, term), value)| {
                    statement.name(column);
                    match &term.collation {
                        Some(collation) => statement.sql(" COLLATE ").name(collation),
                        None => statement.sql(" COLLATE BINARY"),
                    };
                    statement.sql(" = ").value(value);
                });
            }
            Some(parent) => {
                statement.sql("(").names(&last.key).sql(") IN (SELECT ").names(&parent.id).sql(" FROM ").name(&parent.table.name);
                statement.sql(" WHERE ");
                self.belongs(statement, above, key);
                statement.sql(")");
            }
        }
    }
}

impl Term {
    /// Adds the column with its collation.
    pub(super) fn add(&self, statement: &mut Statement) {
        statement.name(&self.column);
        if let Some(collation) = &self.collation {
            statement.sql(" COLLATE ").name(collation);
        }
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

/// A row-value comparison: `(a, b) > (?, ?)`. With collations SQLite finds the place in its index by the first column alone, so that is named
/// once more.
pub(super) fn compare(statement: &mut Statement, terms: &[Term], sign: &'static str, to: &[Cell]) {
    if let ([first, _, ..], [value, ..]) = (terms, to) {
        first.add(statement);
        statement.sql(if sign.contains('>') { " >= " } else { " <= " }).value(value).sql(" AND ");
    }
    statement.sql("(").list(", ", terms, |statement, term| term.add(statement));
    statement.sql(")").sql(sign).sql("(").bind(to).sql(")");
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
