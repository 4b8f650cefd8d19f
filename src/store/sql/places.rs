//! Rows of PostgreSQL where the scan saw them: the shortest way to a row, and the one that other rows may have come to lie on.
//!
//! A row's place (`ctid`) is of use for as long as the row is the same version (`xmin`). Then it may be taken by another row: one that was written there
//! since, or any other when the whole table was written anew. **So a place never says which row it is.** The commit comes only after every row that went was
//! found to have the key and the version of one planned record, and none of these was missing; otherwise the transaction is to be undone, whatever went
//! in it, and done in another way.
//!
//! Of keys that are one whole number each, every row finds its own among the planned ones by halving (`width_bucket`, exact where it is compared afterwards),
//! and no other row goes. Of all others what lies there goes, and the engine says what that was, in the order of the places, to be compared as a whole;
//! it costs half as much again.
//!
//! **Functions are called by their full names**: one of the same name that takes exactly these types may stand in a schema in which others may create.
//!
//! A row that another session changes in the meantime, and that the engine then looks at anew, is another version and does not fit.

use std::collections::HashSet;

use super::layout::Sort;
use super::session::{Outcome, Session};
use super::shape::{Shape, table};
use super::statement::{Bind, Name, Statement};
use super::value::{Cell, whole_number};

/// Where a record was seen, and which version of it.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    pub(super) place: u64,
    pub(super) version: u32,
}

/// Deletes records where they were seen, in the versions that were seen; whether all of them were found there, and nothing else went. Their keys are all
/// different, and stand in step. If not, other rows may have gone, and the transaction is to be undone.
pub(super) async fn delete(session: &mut Session, shape: &Shape<'_>, keys: &[&[Cell]], standing: &[Standing]) -> Outcome<bool> {
    if let Some(mut numbered) = numbered(shape, keys, standing) {
        numbered.sort_unstable_by_key(|(number, _)| *number);
        let statement = delete_known(shape, &numbered);
        return Ok(session.execute(&statement).await? == keys.len() as u64);
    }
    let mut order: Vec<(&[Cell], Standing)> = keys.iter().copied().zip(standing.iter().copied()).collect();
    // The engine visits places in the order in which they lie, and says in that order what went.
    order.sort_unstable_by_key(|(_, standing)| standing.place);
    Ok(session.number(&delete_saying_what(shape, &order)).await? == 1)
}

/// The keys of the rows that lie in these places: of a row that was not deleted, or of one that came there since.
pub(super) async fn still_there(session: &mut Session, shape: &Shape<'_>, places: Vec<u64>) -> Outcome<HashSet<Vec<u8>>> {
    let mut there = shape.select_keys();
    // Whichever the places, there is one way to them: the server is not to weigh each of them.
    there.sql("ctid = ANY(CAST((SELECT ").places(places).sql(") AS tid[]))");
    session.keys(&there).await
}

/// Each record by its key, where that is one whole number.
fn numbered(shape: &Shape<'_>, keys: &[&[Cell]], standing: &[Standing]) -> Option<Vec<(i64, Standing)>> {
    let [term] = shape.unique.terms.as_slice() else { return None };
    if term.sort != Sort::Int {
        return None;
    }
    keys.iter().zip(standing).map(|(key, standing)| Some((whole_number(key)?, *standing))).collect()
}

/// Deletes of what lies in these places the rows with these keys in these versions: as many go as are found. The keys rise.
fn delete_known(shape: &Shape<'_>, records: &[(i64, Standing)]) -> Statement {
    let mut statement = delete_from(shape);
    statement.sql(" USING (SELECT ");
    statement.array(records.iter().map(|(key, _)| Cell::Int(*key)).collect(), &Bind::Cast("int8".into())).sql(" AS retentiond_keys, ");
    statement.versions(records.iter().map(|(_, standing)| standing.version).collect());
    statement.sql(" AS retentiond_versions) AS retentiond_known");
    which_lie_in(&mut statement, shape, records.iter().map(|(_, standing)| standing.place).collect());
    if let Some(term) = shape.unique.terms.first() {
        let key = |statement: &mut Statement| {
            statement.sql("CAST(").name(&term.column).sql(" AS int8)");
        };
        key(statement.sql(" AND retentiond_known.retentiond_keys[pg_catalog.width_bucket("));
        key(statement.sql(", retentiond_known.retentiond_keys)] = "));
        key(statement.sql(" AND retentiond_known.retentiond_versions[pg_catalog.width_bucket("));
        statement.sql(", retentiond_known.retentiond_keys)] = xmin");
    }
    statement
}

/// Deletes what lies in these places, and tells by a 1 whether that were the rows with these keys in these versions, all of them and in this order, and
/// nothing else. The places stand in the order in which they lie. Keys are compared by the bytes of what is read of them: what the engine takes for the
/// same may be another record.
fn delete_saying_what(shape: &Shape<'_>, records: &[(&[Cell], Standing)]) -> Statement {
    let names: Vec<Name> = (0..shape.unique.terms.len()).filter_map(|at| Name::new(&format!("retentiond_{at}")).ok()).collect();
    let terms = || shape.unique.terms.iter().zip(&names);
    let mut statement = Statement::new("WITH retentiond_gone AS (");
    statement.part(&delete_from(shape));
    which_lie_in(&mut statement, shape, records.iter().map(|(_, standing)| standing.place).collect());
    statement.sql(" RETURNING ").list(", ", terms(), |statement, (term, name)| {
        let (before, after) = if term.sort == Sort::Int { ("CAST(", " AS int8)") } else { ("CAST(", " AS text) COLLATE \"C\"") };
        statement.sql(before).name(&term.column).sql(after).sql(" AS ").name(name);
    });
    let count = Cell::Int(i64::try_from(records.len()).unwrap_or(-1));
    statement.sql(", xmin AS retentiond_version) SELECT CASE WHEN count(*) = ").value(&count);
    for (at, (term, name)) in terms().enumerate() {
        let part = records.iter().filter_map(|(key, _)| key.get(at).cloned()).collect();
        let kind = if term.sort == Sort::Int { "int8" } else { "text" };
        statement.sql(" AND pg_catalog.array_agg(").name(name).sql(") = ").array(part, &Bind::Cast(kind.into()));
    }
    let versions = records.iter().map(|(_, standing)| standing.version).collect();
    statement.sql(" AND pg_catalog.array_agg(retentiond_version) = ").versions(versions).sql(" THEN 1 ELSE 0 END FROM retentiond_gone");
    statement
}

/// Begins to delete from the table and from no other that inherits from it: places are those of one table.
fn delete_from(shape: &Shape<'_>) -> Statement {
    let mut statement = Statement::new("DELETE FROM ONLY ");
    table(&mut statement, &shape.dataset.table);
    statement
}

/// Adds: the row lies in one of these places, and satisfies the dataset's condition.
fn which_lie_in(statement: &mut Statement, shape: &Shape<'_>, places: Vec<u64>) {
    statement.sql(" WHERE ctid = ANY(").places(places).sql(")");
    if let Some(filter) = &shape.dataset.filter {
        // No index serves it so: the places are the one way to the rows, and say in which order they come.
        statement.sql(" AND CASE WHEN ").condition(Some(filter)).sql(" THEN true ELSE false END");
    }
}
