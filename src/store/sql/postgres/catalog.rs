//! What PostgreSQL says about a table.

use super::super::config::Table;
use super::super::layout::{Column, Index, Layout, Sort};
use super::super::session::{Failure, Outcome, Session};
use super::super::statement::{Bind, Dialect, Name, Statement};
use super::super::value::Cell;
use crate::error::escape;
use crate::yaml::suggest;

/// How a column is read as text.
pub(in super::super) const AS_TEXT: (&str, &str) = ("CAST(", " AS text)");

/// The table that a name stands for, as the server finds it; `None` when there is none.
pub(super) async fn oid(session: &mut Session, table: &Table) -> Outcome<Option<i64>> {
    let name = |name: &Name| format!("\"{}\"", name.as_str().replace('"', "\"\""));
    let whole = table.schema.as_ref().map_or_else(|| name(&table.name), |schema| format!("{}.{}", name(schema), name(&table.name)));
    // To name anything in a schema that is closed to the role is an error.
    let mut statement = Statement::new("SELECT CASE WHEN EXISTS (");
    closed(&mut statement, table).sql(") THEN NULL ELSE CAST(CAST(to_regclass(");
    statement.value(&Cell::Text(whole.into())).sql(") AS oid) AS int8) END");
    Ok(session
        .rows(&statement)
        .await?
        .into_iter()
        .flatten()
        .next()
        .and_then(|cell| if let Cell::Int(oid) = cell { Some(oid) } else { None }))
}

/// The transaction that wrote the row. Each one that changes a row leaves its own number there, and it stays when a table is vacuumed or written anew.
/// Numbers come round after four thousand million; what a row says of its events is read and judged in any case. Partitions and tables of other
/// kinds may say something else, or nothing. With it comes where the row lies, which holds until the table is written anew.
const VERSION: &str = "xmin, ctid";

/// Adds a query that gives the table's schema if the role may not look into it.
fn closed<'s>(statement: &'s mut Statement, table: &Table) -> &'s mut Statement {
    let schema = table.schema.as_ref().map_or(Cell::Null, |schema| Cell::Text(schema.as_str().into()));
    statement.sql("SELECT CAST(nspname AS text) FROM pg_namespace WHERE NOT has_schema_privilege(oid, 'USAGE') AND nspname = ");
    statement.value(&schema)
}

/// Reads the layout of a dataset's table; the reason why it cannot be used otherwise.
pub(in super::super) async fn layout_of(session: &mut Session, table: &Table) -> Outcome<Result<Layout, String>> {
    let Some(oid) = oid(session, table).await? else {
        let mut hidden = Statement::default();
        if let (Some(schema), false) = (&table.schema, session.rows(closed(&mut hidden, table)).await?.is_empty()) {
            let schema = schema.shown();
            return Ok(Err(format!("the role lacks USAGE on the schema `{schema}`; `GRANT USAGE ON SCHEMA {schema} TO …`")));
        }
        let names = Statement::new("SELECT CAST(relname AS text) FROM pg_class WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)");
        let names: Vec<String> = session.rows(&names).await?.iter().flatten().map(words).collect();
        let hint = suggest(table.name.as_str(), names.iter().map(String::as_str));
        return Ok(Err(format!("there is no table `{}`{}", table.shown(), escape(hint.as_bytes()))));
    };
    let (number, oid) = (oid, Cell::Int(oid));
    let mut statement = Statement::new(
        "SELECT CAST(c.relkind AS text), CASE WHEN c.relkind = 'r' AND NOT c.relhassubclass AND a.amname = 'heap' THEN 1 ELSE 0 END, \
         CAST(c.reltuples AS int8) \
         FROM pg_class AS c LEFT JOIN pg_am AS a ON a.oid = c.relam WHERE c.oid = CAST(",
    );
    statement.value(&oid).sql(" AS oid)");
    let described = session.rows(&statement).await?;
    let first = described.first().map_or(&[][..], Vec::as_slice);
    let version = first.get(1).is_some_and(Cell::is_true).then_some(VERSION);
    let rows = if let Some(Cell::Int(rows @ 1..)) = first.get(2) { u64::try_from(*rows).ok() } else { None };
    let kind = match first.first().map(words).as_deref() {
        Some("r" | "p") => "table",
        Some("v") => "view",
        Some("m") => "materialised view",
        Some("f") => "foreign table",
        _ => "thing of another kind",
    };
    let columns = columns(session, &oid).await?;
    let indexes = indexes(session, &oid).await?;
    let kind = kind.to_owned();
    Ok(Ok(Layout {
        dialect: Dialect::Postgres,
        columns,
        kind,
        collates: false,
        rowid: None,
        indexes,
        appended: Vec::new(),
        version,
        number,
        rows,
    }))
}

async fn columns(session: &mut Session, oid: &Cell) -> Outcome<Vec<Column>> {
    // A domain is read as what it is made of, and compared so as well: what it demands of its values holds for no bound or cursor. Arrays
    // of text have a collation too.
    let mut statement = Statement::new(
        "SELECT CAST(a.attname AS text), format_type(a.atttypid, a.atttypmod), format_type(t.oid, NULL), a.attnotnull, \
         a.attcollation <> 0 AND t.typcategory = 'S', format_type(t.oid, b.mod), \
         CASE WHEN c.collisdeterministic THEN '' ELSE CAST(c.oid AS text) END, CAST(nullif(a.attlen, -1) AS int8), CAST(a.attnum AS int8) \
         FROM pg_attribute AS a CROSS JOIN LATERAL ( \
           WITH RECURSIVE down(oid, mod, depth) AS ( \
             SELECT a.atttypid, a.atttypmod, 0 \
             UNION ALL SELECT d.typbasetype, d.typtypmod, depth + 1 FROM down JOIN pg_type AS d ON d.oid = down.oid AND d.typtype = 'd' \
           ) SELECT oid, mod FROM down ORDER BY depth DESC LIMIT 1 \
         ) AS b JOIN pg_type AS t ON t.oid = b.oid LEFT JOIN pg_collation AS c ON c.oid = a.attcollation WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = CAST(",
    );
    statement.value(oid).sql(" AS oid) ORDER BY a.attnum");
    let mut columns = Vec::new();
    for row in session.rows(&statement).await? {
        let [name, declared, base, not_null, collated, bind, folds, width, Cell::Int(number)] = row.as_slice() else { continue };
        let (declared, base) = (words(declared), words(base));
        let (sort, read) = match base.as_str() {
            "smallint" | "integer" | "bigint" => (Sort::Int, ("CAST(", " AS int8)")),
            "real" | "double precision" => (Sort::Real, ("CAST(", " AS float8)")),
            "date" => (Sort::Date, ("", "")),
            "timestamp without time zone" => (Sort::Local, AS_TEXT),
            "timestamp with time zone" => (Sort::Instant, AS_TEXT),
            "bytea" => (Sort::Digest, ("encode(sha256(", "), 'hex')")),
            _ if collated.is_true() => (Sort::Text, AS_TEXT),
            _ => (Sort::Other, AS_TEXT),
        };
        let name = Name::new(&words(name)).map_err(Failure::other)?;
        // Of texts without a collation of their own mind, bytes decide.
        let folds = words(folds);
        let equality = match (base.as_str(), sort) {
            (_, Sort::Int) => "a whole number".into(),
            ("text" | "character varying", _) if folds.is_empty() => "text".into(),
            (base, _) => format!("{base} {folds}").trim_end().to_owned(),
        };
        let loose = matches!(sort, Sort::Real) || matches!(base.as_str(), "numeric" | "interval" | "money" | "jsonb" | "json");
        // By its name in the standard, text of fixed length would be cut to one character.
        let (bind, equal) = (Bind::Cast(words(bind).into()), Bind::Cast(if base == "character" { "bpchar" } else { base.as_str() }.into()));
        let width = if let Cell::Int(width @ 1..) = width { Some(*width) } else { None };
        columns.push(Column {
            name,
            bind,
            equal,
            loose,
            equality,
            declared,
            sort,
            not_null: not_null.is_true(),
            width,
            number: *number,
            read,
        });
    }
    Ok(columns)
}

async fn indexes(session: &mut Session, oid: &Cell) -> Outcome<Vec<Index>> {
    // Only the key's own columns, not those that the index carries along; and what is unique in another collation than the column's is not unique. An order that is not the default, or another comparison than the
    // type's own, cannot be walked as `<` compares.
    let mut statement = Statement::new(
        "SELECT CAST(i.indexrelid AS int8), i.indisunique AND NOT EXISTS (SELECT FROM generate_series(1, CAST(i.indnkeyatts AS int4)) AS u(n) \
           JOIN pg_attribute AS ua ON ua.attrelid = i.indrelid AND ua.attnum = i.indkey[u.n - 1] WHERE i.indcollation[u.n - 1] <> ua.attcollation), \
         i.indpred IS NOT NULL, CAST(a.attname AS text), \
         i.indoption[k.n - 1] = 0 AND c.opcdefault AND m.amname = 'btree' AND (i.indcollation[k.n - 1] = 0 OR i.indcollation[k.n - 1] = a.attcollation) \
         FROM pg_index AS i JOIN pg_class AS r ON r.oid = i.indexrelid JOIN pg_am AS m ON m.oid = r.relam \
         CROSS JOIN LATERAL generate_series(1, CAST(i.indnkeyatts AS int4)) AS k(n) \
         LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n - 1] AND a.attnum > 0 \
         LEFT JOIN pg_opclass AS c ON c.oid = i.indclass[k.n - 1] \
         WHERE i.indisvalid AND i.indimmediate AND i.indrelid = CAST(",
    );
    statement.value(oid).sql(" AS oid) ORDER BY i.indisprimary DESC, i.indexrelid, k.n");
    let mut indexes: Vec<(i64, Option<Index>)> = Vec::new();
    for row in session.rows(&statement).await? {
        let [Cell::Int(id), unique, partial, column, ordered] = row.as_slice() else { continue };
        if indexes.last().is_none_or(|(last, _)| last != id) {
            let index = Index { unique: unique.is_true(), partial: partial.is_true(), ordered: true, columns: Vec::new() };
            indexes.push((*id, Some(index)));
        }
        if let Some((_, index)) = indexes.last_mut() {
            match (index.as_mut(), column) {
                (Some(index), Cell::Text(column)) => {
                    index.ordered &= ordered.is_true();
                    index.columns.push((column.to_string(), None));
                }
                // Over an expression.
                _ => *index = None,
            }
        }
    }
    Ok(indexes.into_iter().filter_map(|(_, index)| index).collect())
}

pub(super) fn words(cell: &Cell) -> String {
    cell.text().unwrap_or_default().into_owned()
}
