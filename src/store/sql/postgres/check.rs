//! What PostgreSQL would do without being asked, and what the role may not do.

use std::sync::Arc;

use super::super::check::{Parent, Reference, parents, tables, trigger, unnamed};
use super::super::config::{Child, Dataset, Table};
use super::super::session::{Outcome, Session};
use super::super::statement::{Bind, Statement};
use super::super::value::Cell;
use super::catalog::{oid, words};
use crate::error::escape;

/// What a removal would take along without having counted it.
pub(in super::super) async fn dangers(session: &mut Session, dataset: &Dataset) -> Outcome<Vec<String>> {
    let mut out = Vec::new();
    out.extend(changed_with(session, dataset).await?);
    for parent in parents(dataset) {
        for reference in references(session, &parent).await? {
            out.extend(unnamed(&reference, parent.table).filter(|(danger, _)| *danger).map(|(_, message)| message));
        }
    }
    for (position, table) in tables(dataset).into_iter().enumerate() {
        let Some(oid) = oid(session, table).await? else { continue };
        let oid = Cell::Int(oid);
        if !dataset.accept_triggers {
            // 8: DELETE, 16: UPDATE.
            let fires: i64 = if position == 0 && !dataset.changes.is_empty() { 8 | 16 } else { 8 };
            // Triggers of partitions fire as well, and up to PostgreSQL 14 those that a partition has from its whole are called internal.
            let mut statement = Statement::new(
                "SELECT CAST(t.tgname AS text) FROM pg_trigger AS t WHERE (NOT t.tgisinternal OR t.tgparentid <> 0 AND t.tgconstrrelid = 0) \
                 AND t.tgenabled <> 'D' AND t.tgtype & CAST(",
            );
            statement.value(&Cell::Int(fires)).sql(" AS int4) <> 0 AND t.tgrelid IN (");
            itself_and_parts(&mut statement, &oid);
            statement.sql(") AND NOT EXISTS (SELECT FROM pg_trigger AS p WHERE p.oid = t.tgparentid AND p.tgrelid IN (");
            itself_and_parts(&mut statement, &oid);
            statement.sql("))");
            for name in session.rows(&statement).await?.iter().flatten().map(words) {
                out.push(trigger(&name, &table.shown()));
            }
        }
        let mut statement =
            Statement::new("SELECT CAST(rulename AS text) FROM pg_rewrite WHERE ev_enabled <> 'D' AND ev_type <> '1' AND ev_class = CAST(");
        statement.value(&oid).sql(" AS oid)");
        for name in session.rows(&statement).await?.iter().flatten().map(words) {
            let (name, table) = (escape(name.as_bytes()), table.shown());
            out.push(format!("the rule `{name}` rewrites what is done to `{table}`; a table with such rules is left alone"));
        }
        let mut statement = Statement::new(
            "SELECT count(*) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent WHERE c.relkind = 'r' AND c.oid = CAST(",
        );
        statement.value(&oid).sql(" AS oid)");
        if session.number(&statement).await? > 0 {
            out.push(format!(
                "other tables inherit from `{}`, whose keys are not unique among them; name each of them instead",
                table.shown()
            ));
        }
    }
    Ok(out)
}

/// Asks for all that hangs on the dataset's tables, as a text that is another one as soon as there is a trigger, a rule or a foreign key more (which is a
/// trigger of the table that it refers to), or one is another than it was, or another table bears one of the names. And whether a table has parts, of
/// which there may be more later.
pub(in super::super) async fn hanging(session: &mut Session, dataset: &Dataset) -> Outcome<(Statement, bool)> {
    let tables = tables(dataset);
    let mut own = Statement::new("ARRAY[");
    own.list(", ", &tables, |own, table| {
        own.sql("CAST(to_regclass(").spelled(table.schema.iter().chain([&table.name])).sql(") AS oid)");
    });
    own.sql("]");
    let mut parts = Statement::new("SELECT count(*) FROM pg_class WHERE (relkind <> 'r' OR relhassubclass) AND oid = ANY(");
    parts.part(&own).sql(")");
    let grows = session.number(&parts).await? > 0;
    let mut asks = Statement::new("(SELECT ");
    let catalogues = [("pg_class", "oid"), ("pg_trigger", "tgrelid"), ("pg_rewrite", "ev_class")];
    asks.list(" || '/' || ", catalogues, |asks, (catalogue, of)| {
        asks.sql("coalesce((SELECT string_agg(CAST(oid AS text) || ':' || CAST(xmin AS text), ' ' ORDER BY oid) FROM ").sql(catalogue);
        asks.sql(" WHERE ").sql(of).sql(" = ANY(o.own)), '')");
    });
    asks.sql(" FROM (SELECT ").part(&own);
    if grows {
        asks.sql(" || ARRAY(SELECT CAST(p.relid AS oid) FROM pg_catalog.unnest(")
            .part(&own)
            .sql(") AS t(oid), pg_partition_tree(t.oid) AS p)");
    }
    asks.sql(" AS own) AS o)");
    Ok((asks, grows))
}

/// What the role or the server does not allow, and what else is wrong.
pub(in super::super) async fn rights(session: &mut Session, dataset: &Dataset) -> Outcome<Vec<String>> {
    let mut out = Vec::new();
    let replica = Statement::new("SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END");
    if session.number(&replica).await? == 1 {
        out.push("the server is a replica, which is read-only; name the primary".into());
    }
    for (position, table) in tables(dataset).into_iter().enumerate() {
        let Some(oid) = oid(session, table).await? else { continue };
        let oid = Cell::Int(oid);
        let may = |right: &'static str, any_column: bool| {
            let mut statement = Statement::new(if any_column {
                "SELECT CASE WHEN has_any_column_privilege(CAST("
            } else {
                "SELECT CASE WHEN has_table_privilege(CAST("
            });
            statement.value(&oid).sql(" AS oid), '").sql(right).sql("') THEN 1 ELSE 0 END");
            statement
        };
        let mut wanted = vec![("SELECT", false)];
        if dataset.enforced && dataset.destroys {
            wanted.push(("DELETE", false));
        }
        if dataset.enforced && position == 0 && (dataset.destroys || dataset.anonymises) {
            // Locking a row needs the right to change some column of it.
            wanted.push(("UPDATE", true));
        }
        for (right, any_column) in wanted {
            if session.number(&may(right, any_column)).await? == 0 {
                let columns = if any_column { " (of at least one column, to lock rows)" } else { "" };
                out.push(format!("the role lacks {right}{columns} on `{0}`; `GRANT {right} ON {0} TO …`", table.shown()));
            }
        }
        if dataset.enforced && position == 0 {
            for change in &dataset.changes {
                let mut statement = Statement::new("SELECT CASE WHEN has_column_privilege(CAST(");
                statement
                    .value(&oid)
                    .sql(" AS oid), ")
                    .value(&Cell::Text(change.column.as_str().into()))
                    .sql(", 'UPDATE') THEN 1 ELSE 0 END");
                if session.number(&statement).await.is_ok_and(|may| may == 0) {
                    let (column, table) = (change.column.shown(), table.shown());
                    out.push(format!("the role lacks UPDATE on `{table}`.`{column}`; `GRANT UPDATE ({column}) ON {table} TO …`"));
                }
            }
        }
        let mut statement = Statement::new("SELECT CASE WHEN row_security_active(CAST(");
        statement.value(&oid).sql(" AS oid)) THEN 1 ELSE 0 END");
        if session.number(&statement).await? == 1 {
            out.push(format!(
                "row-level security may hide rows of `{}` from the role, and nothing tells which; it needs BYPASSRLS (`ALTER ROLE … BYPASSRLS`)",
                table.shown()
            ));
        }
    }
    Ok(out)
}

/// Adds a query for the table's own id and those of all its partitions.
fn itself_and_parts(statement: &mut Statement, oid: &Cell) {
    statement.sql("SELECT CAST(").value(oid).sql(" AS oid) UNION SELECT CAST(relid AS oid) FROM pg_partition_tree(CAST(");
    statement.value(oid).sql(" AS oid))");
}

/// Rows of other tables that an anonymised column would change along with it.
async fn changed_with(session: &mut Session, dataset: &Dataset) -> Outcome<Vec<String>> {
    let (false, Some(oid)) = (dataset.changes.is_empty(), oid(session, &dataset.table).await?) else { return Ok(Vec::new()) };
    let mut statement = Statement::new(
        "SELECT DISTINCT CAST(CAST(c.conrelid AS regclass) AS text) FROM pg_constraint AS c CROSS JOIN LATERAL pg_catalog.unnest(c.confkey) AS k(at) \
         JOIN pg_attribute AS a ON a.attrelid = c.confrelid AND a.attnum = k.at \
         WHERE c.contype = 'f' AND c.confupdtype IN ('c', 'n', 'd') AND CAST(a.attname AS text) = ANY(",
    );
    let changed = dataset.changes.iter().map(|change| Cell::Text(change.column.as_str().into())).collect();
    statement.array(changed, &Bind::Cast("text".into())).sql(") AND c.confrelid IN (");
    itself_and_parts(&mut statement, &Cell::Int(oid));
    statement.sql(")");
    let table = dataset.table.shown();
    let said = |from: String| {
        format!(
            "the table `{}` follows changes of `{table}` (ON UPDATE): anonymising would change its rows without being counted",
            escape(from.as_bytes())
        )
    };
    Ok(session.rows(&statement).await?.iter().flatten().map(words).map(said).collect())
}

/// The tables of several datasets that hold the same rows under different names, as a partitioned table and its partitions do.
pub(in super::super) async fn shared(session: &mut Session, datasets: &[Arc<Dataset>]) -> Outcome<Vec<(String, String)>> {
    let mut roots: Vec<(&Dataset, &Table, i64)> = Vec::new();
    for dataset in datasets {
        for table in tables(dataset) {
            let Some(oid) = oid(session, table).await? else { continue };
            let mut statement = Statement::new("SELECT CAST(CAST(coalesce(pg_partition_root(CAST(");
            statement.value(&Cell::Int(oid)).sql(" AS oid)), CAST(").value(&Cell::Int(oid)).sql(" AS oid)) AS oid) AS int8)");
            let root = i64::try_from(session.number(&statement).await?).unwrap_or(oid);
            roots.push((dataset, table, root));
        }
    }
    let mut out = Vec::new();
    for (at, (dataset, table, root)) in roots.iter().enumerate() {
        if let Some((other, named, _)) =
            roots[..at].iter().find(|(other, named, is)| is == root && !named.same(table) && other.name != dataset.name)
        {
            let (table, named, other) = (table.shown(), named.shown(), &other.name);
            out.push((
                dataset.name.clone(),
                format!("`{table}` and `{named}` of the dataset {other} hold the same rows; name one and the same table in both"),
            ));
        }
    }
    Ok(out)
}

/// The foreign keys that refer to a table or to partitions of it.
async fn references(session: &mut Session, parent: &Parent<'_>) -> Outcome<Vec<Reference>> {
    let Some(oid) = oid(session, parent.table).await? else { return Ok(Vec::new()) };
    let mut statement = Statement::new(
        "SELECT CAST(c.conrelid AS int8), CAST(CAST(c.conrelid AS regclass) AS text), CAST(c.confdeltype AS text), \
         (SELECT string_agg(CAST(a.attname AS text), chr(31) ORDER BY k.n) FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY AS k(at, n) \
           JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.at), \
         (SELECT string_agg(CAST(a.attname AS text), chr(31) ORDER BY k.n) FROM pg_catalog.unnest(c.confkey) WITH ORDINALITY AS k(at, n) \
           JOIN pg_attribute AS a ON a.attrelid = c.confrelid AND a.attnum = k.at) \
         FROM pg_constraint AS c WHERE c.contype = 'f' AND c.confrelid IN (",
    );
    itself_and_parts(&mut statement, &Cell::Int(oid));
    // A foreign key to or from a partitioned table is written down again for each partition.
    statement.sql(") AND NOT EXISTS (SELECT FROM pg_constraint AS p WHERE p.oid = c.conparentid AND p.confrelid IN (");
    itself_and_parts(&mut statement, &Cell::Int(oid));
    statement.sql("))");
    let mut known = Vec::new();
    for child in parent.children {
        known.push((super::catalog::oid(session, &child.table).await?, child));
    }
    let mut out = Vec::new();
    for row in session.rows(&statement).await? {
        let [Cell::Int(from), name, action, columns, to] = row.as_slice() else { continue };
        let list = |cell: &Cell| -> Vec<String> { words(cell).split('\u{1f}').map(str::to_owned).collect() };
        let (columns, to) = (list(columns), list(to));
        // Only rows that are counted by the very columns that the foreign key ties together.
        let tied = |child: &Child| {
            child.key.len() == columns.len()
                && child
                    .key
                    .iter()
                    .zip(parent.key)
                    .all(|(column, key)| columns.iter().zip(&to).any(|(c, t)| c == column.as_str() && t == key.as_str()))
        };
        let named = known.iter().any(|(oid, child)| *oid == Some(*from) && tied(child));
        let action = match words(action).as_str() {
            "c" => "CASCADE",
            "n" => "SET NULL",
            "d" => "SET DEFAULT",
            "r" => "RESTRICT",
            _ => "NO ACTION",
        };
        let columns = columns.iter().map(|column| escape(column.as_bytes())).collect();
        out.push(Reference { from: escape(words(name).as_bytes()), columns, action: action.to_owned(), named });
    }
    Ok(out)
}
