//! What hangs on the tables of a dataset: triggers, rules, foreign keys of other tables. Whatever of it could take along what no plan counted is a
//! *danger*, and nothing is removed while there is one.
//!
//! To look at all of it takes many questions, so it is done now and then ([`KNOWN`]); whether something has come to hang there since is asked
//! in every transaction.
//!
//! - **PostgreSQL**: exact. A transaction locks the tables as a deletion does before it asks, and nobody can hang anything on them from then until it
//!   ends. Where it may not lock them (anonymising needs no right to delete), and where partitions may come meanwhile, it asks once more before it
//!   commits: then nothing was there that it does not see, and what happened is undone.
//! - **MySQL and MariaDB**: exact for triggers, which are asked for before the commit, when the tables are in use by the transaction. To find the foreign keys
//!   that refer to a table, the server reads those of all tables while nobody else can, so it is asked every [`KNOWN`] only: a foreign key that is
//!   added to a table under removal, and that cascades, may take rows along uncounted for as long.
//! - **SQLite** has one lock for everything, and is looked at in each transaction anyway.

use std::time::Instant;

use super::check;
use super::config::Dataset;
use super::session::{Begin, Failure, KNOWN, Outcome, Session, Trouble};
use super::shape::table;
use super::statement::{Dialect, Name, Statement};
use super::value::Cell;
use super::{mysql, postgres};
use crate::store::Act;

/// What hung on the tables of a dataset when they were looked at.
#[derive(Clone, Debug)]
pub(super) struct Hanging {
    at: Instant,
    /// Asks what hangs there, as one value that is another one when anything has changed.
    asks: Statement,
    answer: Cell,
    /// The name under which the session keeps that question with the number of its own process in front, where it is asked in each transaction.
    kept: Option<Name>,
    /// Whether tables are added to it without a lock that a removal would meet.
    grows: bool,
}

/// Looks at everything that hangs on the dataset's tables, unless that was done a moment ago. A danger is a failure.
pub(super) async fn look(session: &mut Session, dataset: &Dataset) -> Outcome<()> {
    let fresh = |hanging: &Hanging| hanging.at.elapsed() < KNOWN;
    if session.hanging(&dataset.name).is_some_and(fresh) {
        return Ok(());
    }
    if let Some(Hanging { kept: Some(kept), .. }) = session.forget_hanging(&dataset.name) {
        session.execute(Statement::new("DEALLOCATE ").name(&kept)).await?;
    }
    let at = Instant::now();
    let (asks, grows) = match session.dialect() {
        Dialect::Sqlite => return Ok(()),
        Dialect::Postgres => postgres::check::hanging(session, dataset).await?,
        Dialect::MySql => (mysql::check::hanging(session, dataset).await?, false),
    };
    // Before the look: what comes to hang there during it shows in the first transaction.
    let answer = answer(session, &asks).await?;
    let dangers = check::dangers(session, dataset).await?;
    if dangers.is_empty() {
        let kept = if session.dialect() == Dialect::Postgres { Some(keep(session, &asks).await?) } else { None };
        session.remember_hanging(&dataset.name, Hanging { at, asks, answer, kept, grows });
        return Ok(());
    }
    Err(Failure { trouble: Trouble::Danger, text: dangers.join("; ") })
}

/// Lets the session keep the question, so that it is not parsed and planned anew for every transaction: that takes longer than to answer it.
async fn keep(session: &mut Session, asks: &Statement) -> Outcome<Name> {
    let name = Name::new(&format!("retentiond_{}", session.next_number())).map_err(Failure::other)?;
    let mut statement = Statement::new("PREPARE ");
    statement.name(&name).sql(" AS SELECT pg_backend_pid(), ").part(asks);
    session.execute(&statement).await?;
    Ok(name)
}

async fn answer(session: &mut Session, asks: &Statement) -> Outcome<Cell> {
    let mut statement = Statement::new("SELECT ");
    statement.part(asks);
    Ok(session.rows(&statement).await?.into_iter().flatten().next().unwrap_or(Cell::Null))
}

/// Begins a transaction that removes from the dataset's tables: in the session that was prepared for it, and while nothing hangs there that was not
/// looked at.
pub(super) async fn begin(session: &mut Session, dataset: &Dataset, act: Act, how: Begin) -> Outcome<()> {
    for _ in 0..3 {
        look(session, dataset).await?;
        let known = session.hanging(&dataset.name).cloned();
        let mut statement = Statement::new(how.text);
        if let Some(kept) = known.as_ref().and_then(|known| known.kept.as_ref()) {
            if act == Act::Destroy {
                statement.sql("; LOCK TABLE ").list(", ", check::tables(dataset), |statement, one| {
                    table(statement, one);
                });
                statement.sql(" IN ROW EXCLUSIVE MODE");
            }
            statement.sql("; EXECUTE ").name(kept);
        }
        if let Some(then) = how.then {
            statement.sql("; ").sql(then);
        }
        let begun = session.begin(&statement).await?;
        let Some(known) = known.filter(|known| known.kept.is_some()) else { return Ok(()) };
        if begun.is_some_and(|found| known.answer.text().is_some_and(|known| known == found)) {
            return Ok(());
        }
        session.run("ROLLBACK").await?;
        drop(session.forget_hanging(&dataset.name));
    }
    Err(changing())
}

/// To be asked when the rows are gone and before the commit, where [`begin`] could not see everything: whether nothing hangs on the tables that was not
/// looked at. The transaction is to be undone otherwise.
pub(super) async fn is_as_known(session: &mut Session, dataset: &Dataset, act: Act) -> Outcome<()> {
    let Some(known) = session.hanging(&dataset.name).cloned() else { return Ok(()) };
    if session.dialect() == Dialect::Postgres && act == Act::Destroy && !known.grows {
        return Ok(());
    }
    if answer(session, &known.asks).await? == known.answer {
        return Ok(());
    }
    drop(session.forget_hanging(&dataset.name));
    Err(changing())
}

/// To be tried again, and looked at before.
fn changing() -> Failure {
    Failure { trouble: Trouble::Busy, text: "its tables, or what hangs on them, are being changed".into() }
}
