//! What `check` looks at in an SQLite file, beyond what every use of it looks at anyway: whatever would make a removal fail, take more with it
//! than was planned, or find nothing. Everything that is wrong is reported at once.

use super::super::check::{Reference, parents, tables, trigger, unnamed};
use super::super::config::{Child, Dataset, Table};
use super::super::session::{Outcome, Session};
use super::super::shape::Shape;
use super::super::statement::{Name, Statement, Token, tokens};
use super::super::value::Cell;
use super::super::when::{Form, When};
use super::catalog::{layout_of, number, words};
use crate::error::escape;
use crate::finding::Finding;

/// Looks at one dataset.
pub(in super::super) async fn dataset(session: &mut Session, about: &str, dataset: &Dataset) -> Outcome<Vec<Finding>> {
    let mut out = Vec::new();
    let shape = match Shape::find(session, dataset).await? {
        Ok(shape) => Some(shape),
        Err(problems) => {
            out.extend(problems.into_iter().map(|problem| Finding::blocks(about, problem)));
            None
        }
    };
    for child in dataset.every_child() {
        child_exists(session, about, child, &mut out).await?;
    }
    let tables = tables(dataset);
    foreign_keys(session, about, dataset, &mut out).await?;
    triggers(session, about, dataset, &tables, &mut out).await?;
    full_text(session, about, &tables, &mut out).await?;
    let Some(shape) = shape else { return Ok(out) };
    let mut compiles = true;
    for (what, condition) in [("where", &dataset.filter), ("anonymised", &dataset.anonymised)] {
        if let Some(condition) = condition {
            let mut statement = Statement::new("SELECT 1");
            shape.from(&mut statement).sql(" WHERE ").condition(Some(condition)).sql(" LIMIT 0");
            if let Err(failure) = session.rows(&statement).await {
                compiles = false;
                out.push(Finding::blocks(about, format!("`{what}`: {failure}")));
            }
        }
    }
    for change in &dataset.changes {
        if let super::super::config::To::Expression(expression) = &change.to {
            let mut statement = Statement::new("SELECT ");
            statement.condition(Some(expression));
            shape.from(&mut statement).sql(" LIMIT 0");
            if let Err(failure) = session.rows(&statement).await {
                out.push(Finding::blocks(about, format!("`anonymise`: `{}`: {failure}", change.column.shown())));
            }
        }
    }
    for (at, event) in dataset.events.iter().enumerate() {
        let Some(when) = &event.when else { continue };
        if compiles {
            storage(session, about, &shape, at, when, &mut out).await?;
        }
        if shape.layout.event_order(shape.event_at(at), &shape.unique).is_none() && dataset.filter.is_none() && dataset.events.len() == 1 {
            let (table, column) = (dataset.table.name.shown(), event.column.shown());
            let message = format!(
                "no index serves `{column}`, so each scan reads the whole table; `CREATE INDEX {table}_{column} ON {table} ({column})`"
            );
            out.push(Finding::note(about, message));
        }
    }
    super::super::check::counted(session, about, &shape, &mut out).await?;
    Ok(out)
}

async fn child_exists(session: &mut Session, about: &str, child: &Child, out: &mut Vec<Finding>) -> Outcome<()> {
    let shown = child.table.shown();
    let layout = match layout_of(session, &child.table).await? {
        Ok(layout) => layout,
        Err(problem) => {
            out.push(Finding::blocks(about, format!("children: {problem}")));
            return Ok(());
        }
    };
    if layout.kind != "table" {
        out.push(Finding::blocks(about, format!("children: `{shown}` is a {}, not a table", layout.kind)));
    }
    let missing: Vec<String> = child.key.iter().chain(&child.id).filter_map(|name| layout.column(name).err()).collect();
    if missing.is_empty() && !layout.is_indexed(&child.key) {
        let columns: Vec<String> = child.key.iter().map(Name::shown).collect();
        let message = format!(
            "children: each removal reads the whole table `{shown}`; `CREATE INDEX {shown}_parent ON {shown} ({})`",
            columns.join(", ")
        );
        out.push(Finding::note(about, message));
    }
    out.extend(missing.into_iter().map(|problem| Finding::blocks(about, format!("children: `{shown}`: {problem}"))));
    Ok(())
}

/// Looks at how the values of an event's column are stored: what is not declared is never guessed at.
async fn storage(session: &mut Session, about: &str, shape: &Shape<'_>, at: usize, when: &When, out: &mut Vec<Finding>) -> Outcome<()> {
    let column = &shape.dataset.events[at].column;
    let shown = column.shown();
    let mut statement = Statement::new("SELECT ");
    for (position, kind) in ["integer", "real", "text", "blob"].into_iter().enumerate() {
        statement
            .sql(if position > 0 { ", " } else { "" })
            .sql("total(typeof(")
            .name(column)
            .sql(") = ")
            .value(&Cell::Text(kind.into()))
            .sql(") > 0");
    }
    statement
        .sql(", total(typeof(")
        .name(column)
        .sql(") = 'text' AND ")
        .name(column)
        .sql(" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]') > 0");
    statement
        .sql(", total(typeof(")
        .name(column)
        .sql(") = 'text' AND ")
        .name(column)
        .sql(" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][T ][0-9][0-9]:*') > 0");
    // A time that ends in neither Z nor an offset.
    statement.sql(", total(typeof(").name(column).sql(") = 'text' AND ").name(column);
    statement.sql(" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][T ][0-9][0-9]:*' AND ").name(column);
    statement.sql(" NOT GLOB '*[Zz]' AND substr(").name(column).sql(", 12) NOT GLOB '*[+-]*') > 0");
    statement.sql(", max(CASE WHEN typeof(").name(column).sql(") IN ('integer', 'real') THEN CAST(").name(column).sql(" AS INTEGER) END)");
    shape.from(&mut statement).sql(" WHERE ").condition(shape.dataset.filter.as_ref());
    let Some(row) = session.rows(&statement).await?.into_iter().next() else { return Ok(()) };
    let has = |at: usize| row.get(at).is_some_and(|cell| number(cell) != 0);
    let (integer, real, text, blob, dates, times, naive) = (has(0), has(1), has(2), has(3), has(4), has(5), has(6));
    let kinds = [(integer || real, "numbers"), (text, "text"), (blob, "bytes")];
    let kinds: Vec<&str> = kinds.into_iter().filter_map(|(has, name)| has.then_some(name)).collect();
    match kinds.as_slice() {
        [] => return Ok(()),
        [_] => {}
        several => {
            let message =
                format!("`{shown}` holds {} mixed; its dates cannot be relied on until all are of one kind", several.join(" and "));
            out.push(Finding::blocks(about, message));
            return Ok(());
        }
    }
    if when.form == Form::Undeclared {
        if integer || real {
            let kind = if real { "real numbers" } else { "integers" };
            let message =
                format!("`{shown}` holds {kind}, which could mean several things; write `as: unix`, `as: unix-ms` or `as: julian`");
            out.push(Finding::blocks(about, message));
        } else if blob || !(dates || times) {
            let message = format!("`{shown}` holds no ISO dates; write `as:` with their form, such as `as: \"%d/%m/%Y\"`");
            out.push(Finding::blocks(about, message));
        } else {
            let what = if times { "ISO date and time text" } else { "ISO date text" };
            out.push(Finding::note(about, format!("reads {shown} as {what}")));
        }
    } else {
        let numeric = matches!(when.form, Form::Unix | Form::UnixMs | Form::Julian);
        if numeric != (integer || real) {
            let message = format!("`{shown}` is declared as {} but holds {}", when.form.describe(), kinds.join(" and "));
            out.push(Finding::blocks(about, message));
        }
        let latest = row.get(7).map_or(0, number);
        if when.form == Form::UnixMs && latest > 0 && latest < 100_000_000_000 {
            let message = format!(
                "`{shown}` is declared as milliseconds since 1970, but all its dates would lie before 1974; write `as: unix` if these are seconds"
            );
            out.push(Finding::blocks(about, message));
        }
    }
    if naive && when.zone.is_none() && when.form.takes_zone() && !numeric_form(&when.form) {
        out.push(Finding::warning(
            about,
            format!("`{shown}` holds times without offset; declare their `zone:`, until then these records are kept"),
        ));
    }
    Ok(())
}

fn numeric_form(form: &Form) -> bool {
    matches!(form, Form::Unix | Form::UnixMs | Form::Julian)
}

/// Looks at which tables refer to those of the dataset and what the engine would do to their rows.
async fn foreign_keys(session: &mut Session, about: &str, dataset: &Dataset, out: &mut Vec<Finding>) -> Outcome<()> {
    let statement = Statement::new(
        "SELECT s.name, f.id, f.\"table\", f.\"from\", f.on_delete FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) AS f \
         WHERE s.type = 'table' ORDER BY s.name, f.id, f.seq",
    );
    let mut references: Vec<(String, i64, String, Vec<String>, String)> = Vec::new();
    for row in session.rows(&statement).await? {
        let [from, id, to, column, action] = row.as_slice() else { continue };
        let (from, id) = (words(from), number(id));
        match references.last_mut() {
            Some(last) if last.0 == from && last.1 == id => last.3.push(words(column)),
            _ => references.push((from, id, words(to), vec![words(column)], words(action).to_uppercase())),
        }
    }
    for parent in parents(dataset) {
        for (from, _, _, columns, action) in references.iter().filter(|reference| parent.table.name.is(&reference.2)) {
            let named = parent.children.iter().any(|child| {
                child.table.name.is(from)
                    && child.key.len() == columns.len()
                    && columns.iter().all(|column| child.key.iter().any(|key| key.is(column)))
            });
            let columns = columns.iter().map(|column| escape(column.as_bytes())).collect();
            let reference = Reference { from: escape(from.as_bytes()), columns, action: action.clone(), named };
            out.extend(
                unnamed(&reference, parent.table)
                    .map(|(danger, message)| if danger { Finding::blocks(about, message) } else { Finding::warning(about, message) }),
            );
        }
    }
    Ok(())
}

async fn triggers(session: &mut Session, about: &str, dataset: &Dataset, tables: &[&Table], out: &mut Vec<Finding>) -> Outcome<()> {
    if dataset.accept_triggers {
        return Ok(());
    }
    let statement = Statement::new("SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger'");
    for row in session.rows(&statement).await? {
        let [name, table, text] = row.as_slice() else { continue };
        let concerned = tables.iter().position(|known| known.name.is(&words(table)));
        let Some(position) = concerned else { continue };
        let head: Vec<String> = tokens(&words(text))
            .into_iter()
            .map_while(|token| match token {
                Token::Word(word) if word.eq_ignore_ascii_case("ON") => None,
                Token::Word(word) => Some(word.to_uppercase()),
                _ => Some(String::new()),
            })
            .collect();
        let fires = |event: &str| head.iter().any(|word| word == event);
        if fires("DELETE") || (fires("UPDATE") && !dataset.changes.is_empty() && position == 0) {
            let message = trigger(&words(name), &escape(words(table).as_bytes()));
            out.push(Finding::blocks(about, message));
        }
    }
    Ok(())
}

async fn full_text(session: &mut Session, about: &str, tables: &[&Table], out: &mut Vec<Finding>) -> Outcome<()> {
    let statement =
        Statement::new("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%USING fts%'");
    for row in session.rows(&statement).await? {
        let [name, text] = row.as_slice() else { continue };
        let mentions = tokens(&words(text)).into_iter().any(|token| match token {
            Token::Word(word) | Token::Quoted(word) => tables.iter().any(|table| table.name.is(&word)),
            Token::Text => words(text).to_lowercase().contains("content"),
            _ => false,
        });
        let name = escape(words(name).as_bytes());
        let message = if mentions {
            format!(
                "the full-text table `{name}` keeps the words of records that are deleted here; delete its rows by a trigger or as children"
            )
        } else {
            format!("the full-text table `{name}` may keep the words of records that are deleted here; make sure that it does not")
        };
        out.push(Finding::warning(about, message));
    }
    Ok(())
}
