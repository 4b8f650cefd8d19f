//! What SQLite says about a table.

use super::super::config::{Dataset, Table};
use super::super::layout::{Column, Index, Layout, Sort};
use super::super::session::{Failure, Outcome, Session};
use super::super::statement::{Bind, Dialect, Name, Statement, Token, tokens};
use super::super::value::Cell;
use crate::error::escape;
use crate::yaml::suggest;

/// Reads the description of a table; `None` when there is no such table.
async fn read(session: &mut Session, table: &Name) -> Outcome<Option<Layout>> {
    let text = Cell::Text(table.as_str().into());
    let mut statement = Statement::new("SELECT type, wr FROM pragma_table_list(");
    statement.value(&text).sql(") WHERE schema = 'main'");
    let Some([kind, without_rowid]) = session.rows(&statement).await?.into_iter().next().and_then(|row| <[Cell; 2]>::try_from(row).ok())
    else {
        return Ok(None);
    };
    let without_rowid = number(&without_rowid) != 0;
    let mut statement = Statement::new("SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(");
    statement.value(&text).sql(", 'main') WHERE hidden <> 1 ORDER BY cid");
    let mut columns = Vec::new();
    let mut keys = Vec::new();
    for row in session.rows(&statement).await? {
        if let [name, declared, not_null, pk] = row.as_slice() {
            let name = Name::new(&words(name)).map_err(Failure::other)?;
            if number(pk) > 0 {
                keys.push(columns.len());
            }
            let not_null = number(not_null) != 0 || (without_rowid && number(pk) > 0);
            let declared = words(declared).to_uppercase();
            columns.push(Column {
                name,
                declared,
                sort: Sort::Loose,
                not_null,
                width: None,
                number: 0,
                read: ("", ""),
                bind: Bind::Bare,
                equal: Bind::Bare,
                loose: false,
                equality: String::new(),
            });
        }
    }
    let indexes = indexes(session, &text).await?;
    // Exactly `INTEGER PRIMARY KEY` is the rowid; were it DESC, an index of its own would exist and be found.
    let rowid = match keys.as_slice() {
        [at] if columns[*at].declared == "INTEGER" && !without_rowid => {
            let own = |index: &Index| {
                index.unique && !index.partial && matches!(index.columns.as_slice(), [(only, _)] if columns[*at].name.is(only))
            };
            (!indexes.iter().any(own)).then_some(*at)
        }
        _ => None,
    };
    let mut statement = Statement::new("SELECT sql FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(");
    statement.value(&text).sql(")");
    let definition = session.rows(&statement).await?.into_iter().flatten().next();
    let collates = definition
        .is_none_or(|text| tokens(&words(&text)).iter().any(|t| matches!(t, Token::Word(w) if w.eq_ignore_ascii_case("COLLATE"))));
    let appended = rowid.iter().map(|at| columns[*at].name.as_str().to_owned()).collect();
    Ok(Some(Layout {
        dialect: Dialect::Sqlite,
        columns,
        kind: words(&kind),
        collates,
        rowid,
        indexes,
        appended,
        version: None,
        number: 0,
        rows: None,
    }))
}

async fn indexes(session: &mut Session, table: &Cell) -> Outcome<Vec<Index>> {
    let mut statement = Statement::new("SELECT name, \"unique\", partial FROM pragma_index_list(");
    statement.value(table).sql(", 'main')");
    let mut indexes = Vec::new();
    for row in session.rows(&statement).await? {
        let [name, unique, partial] = row.as_slice() else { continue };
        let mut statement = Statement::new("SELECT name, coll, \"desc\" FROM pragma_index_xinfo(");
        statement.value(name).sql(", 'main') WHERE key = 1 ORDER BY seqno");
        let parts = session.rows(&statement).await?;
        // An index over an expression has a part without a name, one in descending order cannot be walked upwards with others.
        let columns: Option<Vec<_>> = parts
            .iter()
            .map(|part| match part.as_slice() {
                [Cell::Text(name), Cell::Text(collation), desc] if number(desc) == 0 || parts.len() == 1 => {
                    Some((name.to_string(), Some(Name::new(collation).ok()?)))
                }
                _ => None,
            })
            .collect();
        if let Some(columns) = columns {
            indexes.push(Index { unique: number(unique) != 0, partial: number(partial) != 0, ordered: true, columns });
        }
    }
    Ok(indexes)
}

/// Reads the layout of a dataset's table; the reason why it cannot be used otherwise.
pub(in super::super) async fn layout_of(session: &mut Session, table: &Table) -> Outcome<Result<Layout, String>> {
    if table.schema.as_ref().is_some_and(|schema| !schema.is("main")) {
        return Ok(Err(format!("there is no table `{}`: an SQLite file has only the schema main", table.shown())));
    }
    if let Some(layout) = read(session, &table.name).await? {
        return Ok(Ok(layout));
    }
    let names = session
        .rows(&Statement::new("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"))
        .await?;
    let names: Vec<String> = names.iter().filter_map(|row| row.first().map(words)).collect();
    let hint = suggest(table.name.as_str(), names.iter().map(String::as_str));
    Ok(Err(format!("there is no table `{}`{}", table.shown(), escape(hint.as_bytes()))))
}

/// The words in double quotes in the dataset's conditions that are no columns of the table: SQLite would take them for strings.
pub(in super::super) fn strings_in_disguise(dataset: &Dataset, layout: &Layout) -> Vec<String> {
    let conditions = dataset.filter.iter().chain(&dataset.anonymised);
    let expressions = dataset.changes.iter().filter_map(|change| match &change.to {
        super::super::config::To::Expression(expression) => Some(expression),
        super::super::config::To::Constant(_) => None,
    });
    let mut out = Vec::new();
    for quoted in conditions.chain(expressions).flat_map(super::super::statement::Condition::quoted) {
        let known = layout.columns.iter().any(|column| column.name.is(&quoted)) || dataset.table.name.is(&quoted);
        if !known {
            let shown = escape(quoted.as_bytes());
            out.push(format!("\"{shown}\" is no column of the table, so SQLite would take it for a string; write '{shown}' for a string"));
        }
    }
    out
}

pub(super) fn words(cell: &Cell) -> String {
    cell.text().unwrap_or_default().into_owned()
}

pub(super) fn number(cell: &Cell) -> i64 {
    if let Cell::Int(number) = cell { *number } else { 0 }
}
