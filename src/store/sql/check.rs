//! What is looked at before anything runs, on every engine: whatever would make a removal fail, take more with it than was planned, or find
//! nothing. Everything that is wrong is reported at once.
//!
//! The *dangers* among it, what a removal would take along uncounted, are looked at again while removals run ([`super::hanging`]).

use super::config::{Child, Dataset, Table, To};
use super::layout::{Sort, layout_of};
use super::session::{Outcome, Session};
use super::shape::{Shape, deepest_first, table};
use super::statement::{Dialect, Name, Statement};
use super::value::Cell;
use super::when::Form;
use super::{mysql, postgres, sqlite};
use crate::error::escape;
use crate::finding::Finding;

/// A foreign key of another table that refers to one of the dataset's tables.
pub(super) struct Reference {
    /// The table that refers, for people.
    pub(super) from: String,
    pub(super) columns: Vec<String>,
    /// What happens to its rows when a row it refers to goes: `CASCADE`, `SET NULL`, `NO ACTION`, …
    pub(super) action: String,
    /// Whether the configuration names it as a child by these columns.
    pub(super) named: bool,
}

/// A table whose rows go with a record, or are records.
pub(super) struct Parent<'a> {
    pub(super) table: &'a Table,
    /// The columns by which the rows of its children refer to it.
    pub(super) key: &'a [Name],
    pub(super) children: &'a [Child],
}

/// Looks at one dataset.
pub(super) async fn dataset(session: &mut Session, about: &str, dataset: &Dataset) -> Outcome<Vec<Finding>> {
    match session.dialect() {
        Dialect::Sqlite => return sqlite::check::dataset(session, about, dataset).await,
        Dialect::Postgres | Dialect::MySql => {}
    }
    let mut out = Vec::new();
    let shape = match Shape::find(session, dataset).await? {
        Ok(shape) => shape,
        Err(problems) => {
            out.extend(problems.into_iter().map(|problem| Finding::blocks(about, problem)));
            children(session, about, dataset, &mut out).await?;
            return Ok(out);
        }
    };
    children(session, about, dataset, &mut out).await?;
    expressions(session, about, &shape, &mut out).await?;
    dates(about, &shape, &mut out);
    counted(session, about, &shape, &mut out).await?;
    out.extend(dangers(session, dataset).await?.into_iter().map(|danger| Finding::blocks(about, danger)));
    let more = match session.dialect() {
        Dialect::MySql => mysql::check::rights(session, dataset).await?,
        _ => postgres::check::rights(session, dataset).await?,
    };
    out.extend(more.into_iter().map(|problem| Finding::blocks(about, problem)));
    Ok(out)
}

/// What a removal would take along, or do, without having counted it.
pub(super) async fn dangers(session: &mut Session, dataset: &Dataset) -> Outcome<Vec<String>> {
    let mut dangers = match session.dialect() {
        Dialect::Sqlite => return Ok(Vec::new()),
        Dialect::Postgres => postgres::check::dangers(session, dataset).await?,
        Dialect::MySql => mysql::check::dangers(session, dataset).await?,
    };
    dangers.extend(loose_children(session, dataset).await?);
    Ok(dangers)
}

/// Every table of a dataset, its own first.
pub(super) fn tables(dataset: &Dataset) -> Vec<&Table> {
    std::iter::once(&dataset.table).chain(dataset.every_child().into_iter().map(|child| &child.table)).collect()
}

/// Every table of a dataset with what hangs on it, its own first.
pub(super) fn parents(dataset: &Dataset) -> Vec<Parent<'_>> {
    let mut out = vec![Parent { table: &dataset.table, key: &dataset.key, children: &dataset.children }];
    out.extend(dataset.every_child().into_iter().map(|child| Parent { table: &child.table, key: &child.id, children: &child.children }));
    out
}

/// What is said of a trigger that runs when a record goes.
pub(super) fn trigger(name: &str, table: &str) -> String {
    format!(
        "the trigger `{}` on `{table}` runs when a record goes and may change what the plan did not count; look at it, then write \
         `triggers: accept`",
        escape(name.as_bytes())
    )
}

/// What a reference that is not named as a child means. `to` is the table that is referred to.
pub(super) fn unnamed(reference: &Reference, to: &Table) -> Option<(bool, String)> {
    if reference.named {
        return None;
    }
    let (from, to, columns, action) = (&reference.from, to.shown(), reference.columns.join(", "), &reference.action);
    Some(if matches!(action.as_str(), "CASCADE" | "SET NULL" | "SET DEFAULT") {
        let message = format!(
            "the table `{from}` refers to `{to}` by ({columns}) ON DELETE {action}: its rows would be changed without being counted; name it under \
             `children:`"
        );
        (true, message)
    } else {
        (
            false,
            format!(
                "the table `{from}` refers to `{to}` by ({columns}): records it refers to cannot be deleted; name it under `children:`"
            ),
        )
    })
}

async fn children(session: &mut Session, about: &str, dataset: &Dataset, out: &mut Vec<Finding>) -> Outcome<()> {
    for child in dataset.every_child() {
        let shown = child.table.shown();
        let layout = match layout_of(session, &child.table).await? {
            Ok(layout) => layout,
            Err(problem) => {
                out.push(Finding::blocks(about, format!("children: {problem}")));
                continue;
            }
        };
        if layout.kind != "table" {
            out.push(Finding::blocks(about, format!("children: `{shown}` is a {}, not a table", layout.kind)));
        }
        let missing: Vec<String> = child.key.iter().chain(&child.id).filter_map(|name| layout.column(name).err()).collect();
        if missing.is_empty() && !layout.is_indexed(&child.key) {
            let columns: Vec<String> = child.key.iter().map(Name::shown).collect();
            let index = format!("CREATE INDEX {}_parent ON {shown} ({})", child.table.name.shown(), columns.join(", "));
            out.push(Finding::warning(about, format!("children: each removal reads the whole table `{shown}`; `{index}`")));
        }
        if missing.is_empty() && !child.children.is_empty() && layout.unique(&child.id).is_err() {
            let message = format!("children: `id` of `{shown}` is not unique, so rows below it could belong to several records");
            out.push(Finding::blocks(about, message));
        }
        out.extend(missing.into_iter().map(|problem| Finding::blocks(about, format!("children: `{shown}`: {problem}"))));
    }
    Ok(())
}

/// Children whose keys compare otherwise than those that they refer to: rows of other records could be taken for a record's own.
async fn loose_children(session: &mut Session, dataset: &Dataset) -> Outcome<Vec<String>> {
    let mut out = Vec::new();
    for Parent { table, key, children } in parents(dataset).into_iter().filter(|parent| !parent.children.is_empty()) {
        let Ok(above) = layout_of(session, table).await? else { continue };
        for child in children {
            let Ok(below) = layout_of(session, &child.table).await? else { continue };
            for (column, key) in child.key.iter().zip(key) {
                let (Ok(at), Ok(of)) = (below.column(column), above.column(key)) else { continue };
                let (one, other) = (&below.columns[at], &above.columns[of]);
                if one.equality != other.equality {
                    out.push(format!(
                        "children: `{}`.`{}` ({}) does not compare as `{}`.`{}` ({}) does, so rows of other records could go along; make them of \
                         one type and collation",
                        child.table.shown(),
                        column.shown(),
                        one.equality,
                        table.shown(),
                        key.shown(),
                        other.equality
                    ));
                }
            }
        }
    }
    Ok(out)
}

/// Whether the database accepts what the administrator wrote, and what will be asked of it.
async fn expressions(session: &mut Session, about: &str, shape: &Shape<'_>, out: &mut Vec<Finding>) -> Outcome<()> {
    let dataset = shape.dataset;
    let mut tried: Vec<(String, Statement)> = Vec::new();
    for (what, condition) in [("where", &dataset.filter), ("anonymised", &dataset.anonymised)] {
        if let Some(condition) = condition {
            let mut statement = Statement::new("SELECT 1");
            shape.from(&mut statement).sql(" WHERE ").condition(Some(condition)).sql(" LIMIT 0");
            tried.push((format!("`{what}`"), statement));
        }
    }
    for change in &dataset.changes {
        let what = format!("`anonymise`: `{}`", change.column.shown());
        let mut statement = Statement::new("SELECT ");
        match &change.to {
            // Whether the column takes what comes of it.
            To::Expression(expression) if session.dialect() == Dialect::Postgres => {
                statement = Statement::new("EXPLAIN UPDATE ");
                table(&mut statement, &dataset.table).sql(" SET ").name(&change.column).sql(" = ").condition(Some(expression));
                statement.sql(" WHERE 1 = 0");
            }
            To::Expression(expression) => {
                shape.from(statement.condition(Some(expression))).sql(" LIMIT 0");
            }
            // Computed, so that a date that is none is found out.
            To::Constant(value) => {
                statement.sql("CASE WHEN ");
                shape.constant(&mut statement, &change.column, value);
                statement.sql(" IS NULL THEN 1 ELSE 0 END");
            }
        }
        tried.push((what, statement));
        let nullable = shape.layout.column(&change.column).is_ok_and(|at| !shape.layout.columns[at].not_null);
        if matches!(&change.to, To::Constant(Cell::Null)) && !nullable {
            let column = change.column.shown();
            out.push(Finding::blocks(about, format!("`anonymise`: `{column}` cannot be null; give it another value, such as ''")));
        }
    }
    let mut paths = Vec::new();
    deepest_first(&dataset.children, &[], &mut paths);
    if out.iter().all(|finding| finding.severity != crate::finding::Severity::Blocks) {
        for path in &paths {
            let mut statement = Statement::new("SELECT 1 FROM (");
            statement.part(&shape.count_children(path, &[])).sql(") AS retentiond_tried LIMIT 0");
            tried.push(("`children`".into(), statement));
        }
    }
    for (what, statement) in tried {
        if let Err(failure) = session.rows(&statement).await {
            out.push(Finding::blocks(about, format!("{what}: {failure}")));
        }
    }
    Ok(())
}

/// Different values of a column to count by, at most: more make cells of few records each, or name single ones.
const DISTINCT: i64 = 100;

/// Whether columns that statistics count by look like keys: looked at are ten thousand rows.
pub(super) async fn counted(session: &mut Session, about: &str, shape: &Shape<'_>, out: &mut Vec<Finding>) -> Outcome<()> {
    for column in shape.dataset.counts.iter().flat_map(|counts| &counts.by) {
        let mut statement = Statement::new("SELECT count(*), count(DISTINCT ");
        statement.name(column).sql(") FROM (SELECT ").name(column);
        shape.from(&mut statement).sql(" LIMIT 10000) AS retentiond_sample");
        let rows = session.rows(&statement).await?;
        let number = |at: usize| match rows.first().and_then(|row| row.get(at)) {
            Some(Cell::Int(number)) => *number,
            _ => 0,
        };
        let (rows, distinct) = (number(0), number(1));
        if distinct > DISTINCT || rows >= 20 && distinct * 2 > rows {
            let message = format!(
                "`statistics`: `{}` has {distinct} different values in {rows} rows and looks like a key; count by columns of few values that say \
                 nothing about a person",
                column.shown()
            );
            out.push(Finding::warning(about, message));
        }
    }
    Ok(())
}

/// Whether the columns of dates hold what is declared, as far as their types tell, and whether an index serves them.
fn dates(about: &str, shape: &Shape<'_>, out: &mut Vec<Finding>) {
    let dataset = shape.dataset;
    for (at, event) in dataset.events.iter().enumerate() {
        let Some(when) = &event.when else { continue };
        let column = &shape.layout.columns[shape.event_at(at)];
        let (shown, declared) = (column.name.shown(), &column.declared);
        let iso = matches!(when.form, Form::Undeclared | Form::Date | Form::DateTime);
        let problem = match (column.sort, &when.form) {
            (Sort::Int | Sort::Real, Form::Undeclared) => {
                Some(format!("`{shown}` holds numbers ({declared}), which could mean several things; write `as: unix` or `as: unix-ms`"))
            }
            (Sort::Date | Sort::Text, _) if iso => None,
            (Sort::Int | Sort::Real, Form::Unix | Form::UnixMs)
            | (Sort::Text, Form::Pattern(_))
            | (Sort::Local | Sort::Instant, Form::Undeclared | Form::DateTime) => None,
            (_, form) => {
                let expected = match column.sort {
                    Sort::Date => "leave `as:` out",
                    Sort::Local | Sort::Instant => "leave `as:` out, or write `as: datetime`",
                    Sort::Text => "write `as:` with the form of its dates, such as `as: \"%d/%m/%Y\"`",
                    _ => "name a column of a date, time, integer or text type",
                };
                Some(format!("`{shown}` is of type {declared}, which cannot be read as {}; {expected}", form.describe()))
            }
        };
        out.extend(problem.map(|problem| Finding::blocks(about, problem)));
        if column.sort == Sort::Local && when.zone.is_none() {
            let message =
                format!("`{shown}` holds times without zone ({declared}); declare their `zone:`, until then these records are kept");
            out.push(Finding::warning(about, message));
        }
        let whole = dataset.filter.is_none() && dataset.events.len() == 1;
        if shape.layout.event_order(shape.event_at(at), &shape.unique).is_none() && whole {
            let keys: Vec<String> =
                std::iter::once(&column.name).chain(shape.unique.walk.iter().map(|term| &term.column)).map(Name::shown).collect();
            let index = format!("CREATE INDEX {}_{shown} ON {} ({})", dataset.table.name.shown(), dataset.table.shown(), keys.join(", "));
            out.push(Finding::warning(about, format!("no index serves `{shown}`, so each scan reads the whole table; `{index}`")));
        }
    }
}
