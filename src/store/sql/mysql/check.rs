//! What MySQL and MariaDB would do without being asked, and what the account may not do.
//!
//! A server shows an account only what it may use. A foreign key of a table that the account may not read still takes rows along, and a
//! trigger still runs; so where something may be hidden, the account is asked to be given more, or the administrator to say that all is
//! well.

use super::super::check::{Parent, Reference, parents, tables, trigger, unnamed};
use super::super::config::{Dataset, Table, To};
use super::super::session::{Failure, Outcome, Session, Trouble};
use super::super::shape;
use super::super::statement::{Bind, Statement};
use super::super::value::Cell;
use super::catalog::{Found, find, layout_of, words};
use super::{privilege, replica};
use crate::error::escape;

/// A foreign key as the server describes it.
struct ForeignKey {
    /// Schema, table and its own name.
    named: (String, String, String),
    action: String,
    /// Which column refers to which.
    columns: Vec<(String, String)>,
}

/// Asks how many triggers run when rows of the dataset's tables go or change. Of those that are accepted nothing is asked.
pub(in super::super) async fn hanging(session: &mut Session, dataset: &Dataset) -> Outcome<Statement> {
    let mut asks = Statement::new("0");
    if dataset.accept_triggers {
        return Ok(asks);
    }
    for table in tables(dataset) {
        let Some(found) = find(session, table).await? else { continue };
        // One table at a time, by its name: then the server looks nowhere else.
        asks.sql(" + (SELECT count(*) FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ")
            .value(&Cell::Text(found.schema.into()));
        asks.sql(" AND EVENT_OBJECT_TABLE = ").value(&Cell::Text(found.name.into())).sql(")");
    }
    Ok(asks)
}

/// What a removal would take along without having counted it.
pub(in super::super) async fn dangers(session: &mut Session, dataset: &Dataset) -> Outcome<Vec<String>> {
    let mut out = Vec::new();
    for parent in parents(dataset) {
        let Some(found) = find(session, parent.table).await? else { continue };
        let references = references(session, &found, &parent).await?;
        out.extend(references.iter().filter_map(|reference| unnamed(reference, parent.table)).filter(|one| one.0).map(|one| one.1));
        out.extend(hidden(session, &found, parent.table, references.len() as u64).await?);
    }
    for (position, table) in tables(dataset).into_iter().enumerate() {
        let Some(found) = find(session, table).await? else { continue };
        let shown = table.shown();
        if found.kind == "SYSTEM VERSIONED" {
            out.push(format!("`{shown}` is system-versioned: it keeps every row that is deleted, so nothing can be destroyed in it"));
        } else if !found.engine.eq_ignore_ascii_case("InnoDB") {
            let engine = escape(found.engine.as_bytes());
            out.push(format!("`{shown}` is stored by {engine}, without transactions; `ALTER TABLE {shown} ENGINE = InnoDB`"));
        }
        if !dataset.accept_triggers {
            triggers(session, &found, table, position == 0 && !dataset.changes.is_empty(), &mut out).await?;
        }
    }
    Ok(out)
}

async fn triggers(session: &mut Session, found: &Found, table: &Table, updates: bool, out: &mut Vec<String>) -> Outcome<()> {
    let shown = table.shown();
    if !privilege::on_table(session, "TRIGGER", &found.schema, &found.name).await? {
        out.push(format!(
            "whether a trigger runs when a row of `{shown}` goes is not shown to the account; `GRANT TRIGGER ON {shown} TO …`, or look \
             yourself and write `triggers: accept`"
        ));
        return Ok(());
    }
    let mut statement = Statement::new("SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_MANIPULATION IN ('DELETE'");
    statement.sql(if updates { ", 'UPDATE')" } else { ")" });
    statement.sql(" AND EVENT_OBJECT_SCHEMA = ").value(&Cell::Text(found.schema.as_str().into()));
    statement.sql(" AND EVENT_OBJECT_TABLE = ").value(&Cell::Text(found.name.as_str().into()));
    for name in session.rows(&statement).await?.iter().flatten().map(words) {
        out.push(trigger(&name, &shown));
    }
    Ok(())
}

/// The foreign keys that refer to a table, as far as the account is shown them.
async fn references(session: &mut Session, found: &Found, parent: &Parent<'_>) -> Outcome<Vec<Reference>> {
    let mut known = Vec::new();
    for child in parent.children {
        known.push((find(session, &child.table).await?, child));
    }
    let mut statement = Statement::new(
        "SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, COALESCE(r.DELETE_RULE, 'CASCADE'), k.COLUMN_NAME, \
         k.REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE AS k LEFT JOIN information_schema.REFERENTIAL_CONSTRAINTS AS r \
         ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME \
         WHERE k.REFERENCED_TABLE_SCHEMA = ",
    );
    statement.value(&Cell::Text(found.schema.as_str().into()));
    statement.sql(" AND k.REFERENCED_TABLE_NAME = ").value(&Cell::Text(found.name.as_str().into()));
    statement.sql(" ORDER BY 1, 2, 3, k.ORDINAL_POSITION");
    let mut keys: Vec<ForeignKey> = Vec::new();
    for row in session.rows(&statement).await? {
        let [schema, table, name, action, column, to] = row.as_slice() else { continue };
        let named = (words(schema), words(table), words(name));
        if keys.last().is_none_or(|last| last.named != named) {
            keys.push(ForeignKey { named, action: words(action), columns: Vec::new() });
        }
        if let Some(key) = keys.last_mut() {
            key.columns.push((words(column), words(to)));
        }
    }
    let mut out = Vec::new();
    for ForeignKey { named: (schema, table, _), action, columns } in keys {
        let named = known.iter().any(|(child, how)| {
            let pairs = || how.key.iter().zip(parent.key);
            child.as_ref().is_some_and(|child| child.schema == schema && child.name == table)
                && how.key.len() == columns.len()
                && pairs().len() == columns.len()
                && pairs().all(|(own, to)| columns.iter().any(|(column, referenced)| own.is(column) && to.is(referenced)))
        });
        let from = if schema == found.schema { table } else { format!("{schema}.{table}") };
        let columns = columns.iter().map(|(column, _)| escape(column.as_bytes())).collect();
        out.push(Reference { from: escape(from.as_bytes()), columns, action, named });
    }
    Ok(out)
}

/// Whether more foreign keys refer to a table than the account is shown. `InnoDB`'s own list has all of them, for who has PROCESS.
async fn hidden(session: &mut Session, found: &Found, table: &Table, seen: u64) -> Outcome<Option<String>> {
    // Who may read everything is shown everything.
    if privilege::everywhere(session, "SELECT").await? {
        return Ok(None);
    }
    let shown = table.shown();
    let list = if found.maria { "information_schema.INNODB_SYS_FOREIGN" } else { "information_schema.INNODB_FOREIGN" };
    let mut statement = Statement::new("SELECT count(*) FROM ");
    statement.sql(list);
    // Names of other characters are written there in a way of its own. Then only that no foreign key of the whole server is hidden helps.
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let seen = if plain(&found.schema) && plain(&found.name) {
        statement.sql(" WHERE REF_NAME = ").value(&Cell::Text(format!("{}/{}", found.schema, found.name).into()));
        seen
    } else {
        session.number(&Statement::new("SELECT count(*) FROM information_schema.REFERENTIAL_CONSTRAINTS")).await?
    };
    Ok(match session.number(&statement).await {
        Ok(all) if all <= seen => None,
        Ok(_) => Some(format!(
            "a table that the account may not read refers to `{shown}`, and its rows may go uncounted; grant the account SELECT on it"
        )),
        Err(failure) if failure.trouble == Trouble::Other => Some(format!(
            "a table that the account may not read could refer to `{shown}`, and its rows would go uncounted; \
             `GRANT PROCESS ON *.* TO …` shows the account which tables do"
        )),
        Err(failure) => return Err(failure),
    })
}

/// What the account or the server does not allow.
pub(in super::super) async fn rights(session: &mut Session, dataset: &Dataset) -> Outcome<Vec<String>> {
    let mut out = Vec::new();
    let is_on = |value: &str| !matches!(value, "OFF" | "0" | "");
    let settings = Statement::new(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only', 'innodb_read_only', 'log_bin', 'binlog_format')",
    );
    let settings: Vec<(String, String)> =
        session.rows(&settings).await?.iter().filter_map(|row| Some((words(row.first()?), words(row.get(1)?)))).collect();
    let value = |name: &str| settings.iter().find(|(is, _)| is == name).map_or("", |(_, value)| value.as_str());
    for name in ["read_only", "super_read_only", "innodb_read_only"] {
        if is_on(value(name)) {
            out.push(format!("the server is read-only (`{name}`), as replicas are; name the primary"));
        }
    }
    if is_on(value("log_bin")) && value("binlog_format") == "STATEMENT" {
        out.push("the server's `binlog_format` is STATEMENT, with which it refuses removals; set it to ROW or MIXED".into());
    }
    if replica::replicates(session).await? {
        out.push("the server is a replica: what is removed here stays where it comes from; name the primary".into());
    }
    constants(session, dataset, &mut out).await?;
    attempts(session, dataset, &mut out).await?;
    Ok(out)
}

/// Constants for columns of bytes are written in hexadecimal digits, as these are read; anything else would become null.
async fn constants(session: &mut Session, dataset: &Dataset, out: &mut Vec<String>) -> Outcome<()> {
    let Ok(layout) = layout_of(session, &dataset.table).await? else { return Ok(()) };
    for change in &dataset.changes {
        let Ok(at) = layout.column(&change.column) else { continue };
        let To::Constant(cell) = &change.to else { continue };
        let digits = |text: &str| text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if layout.columns[at].bind == Bind::Unhex && cell.text().is_some_and(|text| !digits(&text)) {
            let column = change.column.shown();
            out.push(format!("`anonymise`: `{column}` holds bytes; write its new value as their hexadecimal digits, such as \"00ff\""));
        }
    }
    Ok(())
}

/// Tries everything that a removal does, on no rows, in a transaction that is rolled back; nothing that no class of the dataset asks for.
async fn attempts(session: &mut Session, dataset: &Dataset, out: &mut Vec<String>) -> Outcome<()> {
    let mut tried = Vec::new();
    let removes = |position| dataset.enforced && (dataset.destroys || (dataset.anonymises && position == 0));
    for (position, table) in tables(dataset).into_iter().enumerate() {
        if !removes(position) || find(session, table).await?.is_none() {
            continue;
        }
        let mut locking = Statement::new("SELECT * FROM ");
        shape::table(&mut locking, table).sql(" LIMIT 0").sql(" FOR UPDATE SKIP LOCKED");
        let mut deleting = Statement::new("DELETE FROM ");
        shape::table(&mut deleting, table).sql(" WHERE 1 = 0");
        tried.push(locking);
        tried.extend(Some(deleting).filter(|_| dataset.destroys));
        for change in dataset.changes.iter().filter(|_| position == 0) {
            let mut updating = Statement::new("UPDATE ");
            shape::table(&mut updating, table).sql(" SET ").name(&change.column).sql(" = ").name(&change.column).sql(" WHERE 1 = 0");
            tried.push(updating);
        }
    }
    let result = attempt(session, &tried, out).await;
    // Nothing was changed; a connection that is lost rolls back by itself.
    let _ = session.run("ROLLBACK").await;
    match result {
        Err(failure) if failure.trouble == Trouble::Gone => Err(failure),
        Err(failure) => {
            out.push(failure.text);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn attempt(session: &mut Session, tried: &[Statement], out: &mut Vec<String>) -> Result<(), Failure> {
    session.run(super::BEGIN).await?;
    for statement in tried {
        match session.execute(statement).await {
            Err(failure) if failure.trouble == Trouble::Gone => return Err(failure),
            Err(failure) if !out.contains(&failure.text) => out.push(failure.text),
            _ => {}
        }
    }
    Ok(())
}
