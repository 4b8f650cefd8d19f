//! Removal: the part of this store that cannot be undone.
//!
//! One batch is one transaction that takes the write lock at its start, so that nothing can change between the look at a row and its end.
//! For each record, within a savepoint of its own: the row is read again with all its columns and the dataset's condition, compared with what
//! the scan saw, shown to the guard; then the rows of its children go, deepest first, and then the row, and exactly one row must have gone.
//! A record that fails rolls back to its savepoint and the others go on. After the commit every record is looked for again.
//!
//! **When the whole transaction is lost** (a trigger rolled it back, the disk is full, a deferred constraint refuses the commit) nothing of it
//! has happened, and each record is tried again in a transaction of its own, so that one bad record does not keep the rest.
//!
//! **When a commit's outcome is unknown** (the connection broke, the disk failed) the records are reported as failed and *uncertain*, and
//! recovery looks.
//!
//! **A crash** leaves SQLite's journal, from which the next opening restores either all of the transaction or nothing.

use super::config::Child;
use super::config::{Dataset, To};
use super::session::{Failure, Outcome, Place, Session, Trouble};
use super::shape::{Shape, deepest_first};
use super::sqlite;
use super::sqlite::clean::{self, Grade, Preparation};
use super::statement::Statement;
use super::value::{Cell, difference, key_of, typed_key};
use crate::record::Record;
use crate::store::{Act, Evidence, Fate, Guard, Kept, Order};

/// How often the write lock is asked for; each time waits for the connection's own time-out.
const TRIES: usize = 3;

/// One order on its way.
pub(super) struct Removal<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) order: &'a Order,
    pub(super) records: &'a [Record],
    pub(super) guard: &'a Guard<'a>,
}

/// A transaction that ended without doing what it was to do.
struct Lost {
    failure: Failure,
    /// Whether it may have happened all the same.
    uncertain: bool,
}

/// A fate that awaits the commit.
enum Pending {
    Settled(Fate),
    Done { parts: u64 },
}

impl Removal<'_> {
    /// Carries out the order. One fate for each record, in order.
    pub(super) async fn run(&self, place: &Place) -> Vec<Fate> {
        let Place::Sqlite(path) = place;
        let before = sqlite::file_id(path);
        let mut session = match sqlite::open_write(path).await {
            Ok(session) => session,
            Err(failure) => return self.all(&failed(&failure.text, false)),
        };
        let fates = self.with(&mut session, path, before).await;
        session.close().await;
        fates
    }

    fn all(&self, fate: &Fate) -> Vec<Fate> {
        vec![fate.clone(); self.records.len()]
    }

    async fn with(&self, session: &mut Session, path: &std::path::Path, before: Option<sqlite::FileId>) -> Vec<Fate> {
        let asked = self.order.at_least.as_deref();
        let preparation = match clean::prepare(session, path, asked).await {
            Ok(Ok(preparation)) => preparation,
            Ok(Err(why)) => return self.all(&Fate::Kept(Kept::CannotMeetGrade(why))),
            Err(failure) => return self.all(&failed(&failure.text, false)),
        };
        if self.order.act == Act::Anonymise && asked.is_some_and(|asked| asked == "row-deleted") {
            let why = "an anonymised row is still there; name a grade above row-deleted, or none";
            return self.all(&Fate::Kept(Kept::CannotMeetGrade(why.into())));
        }
        let positions: Vec<usize> = (0..self.records.len()).collect();
        let mut fates = self.spend(session, &preparation, &positions).await;
        let changed = fates.iter().any(|fate| matches!(fate, Fate::Done(_)));
        let mut grade = Grade::of(self.order.act);
        if changed {
            grade = clean::finish(session, path, &preparation, grade).await;
        } else {
            clean::restore(session, &preparation).await;
        }
        if sqlite::file_id(path) != before {
            let fate = failed("the database file was replaced while records were being removed from it", true);
            fates.iter_mut().filter(|fate| matches!(fate, Fate::Done(_) | Fate::Absent)).for_each(|one| *one = fate.clone());
        }
        for fate in &mut fates {
            if let Fate::Done(evidence) = fate {
                evidence.grade = grade.name;
                evidence.caveats.clone_from(&grade.caveats);
            }
        }
        fates
    }

    /// One transaction for all, or one for each when that is lost.
    async fn spend(&self, session: &mut Session, preparation: &Preparation, positions: &[usize]) -> Vec<Fate> {
        match self.transaction(session, preparation, positions).await {
            Ok(fates) | Err((_, Some(fates))) => fates,
            Err((lost, None)) if lost.failure.trouble == Trouble::Busy || positions.len() == 1 => {
                vec![failed(&lost.failure.text, lost.uncertain); positions.len()]
            }
            Err((_, None)) => {
                let mut fates = Vec::with_capacity(positions.len());
                for position in positions {
                    fates.push(match self.transaction(session, preparation, std::slice::from_ref(position)).await {
                        Ok(mut one) => one.pop(),
                        Err((lost, one)) => one.and_then(|mut one| one.pop()).or(Some(failed(&lost.failure.text, lost.uncertain))),
                    });
                }
                fates.into_iter().map(|fate| fate.unwrap_or_else(|| failed("no outcome", true))).collect()
            }
        }
    }

    /// One transaction. An error comes with the fates when they are known in spite of it (the outcome of the commit is not).
    async fn transaction(
        &self,
        session: &mut Session,
        preparation: &Preparation,
        positions: &[usize],
    ) -> Result<Vec<Fate>, (Lost, Option<Vec<Fate>>)> {
        let certain = |failure| (Lost { failure, uncertain: false }, None);
        self.begin(session, preparation).await.map_err(certain)?;
        let pending = match self.batch(session, positions).await {
            Ok(pending) => pending,
            Err(failure) => {
                // Rolled back already, or now, or when the connection closes: without a commit nothing of it lasts.
                let _ = session.run("ROLLBACK").await;
                return Err(certain(failure));
            }
        };
        if let Err(failure) = session.run("COMMIT").await {
            let rolled_back = session.run("ROLLBACK").await.is_ok();
            // A refused or locked-out commit leaves the transaction open, and the rollback proves that it was.
            if rolled_back && failure.trouble != Trouble::Other {
                return Err(certain(failure));
            }
            let fates = pending.into_iter().map(|one| match one {
                Pending::Settled(fate) => fate,
                Pending::Done { .. } => failed(&failure.text, true),
            });
            let fates = fates.collect();
            return Err((Lost { failure, uncertain: true }, Some(fates)));
        }
        let shape = Shape::find(session, self.dataset).await;
        let mut fates = Vec::with_capacity(pending.len());
        for (position, one) in positions.iter().zip(pending) {
            fates.push(match one {
                Pending::Settled(fate) => fate,
                Pending::Done { parts } => {
                    let verified = match &shape {
                        Ok(Ok(shape)) => self.verify(session, shape, &self.records[*position]).await.unwrap_or(false),
                        _ => false,
                    };
                    let method = if self.order.act == Act::Destroy { "delete" } else { "anonymise" };
                    Fate::Done(Evidence { method, grade: Grade::of(self.order.act).name, verified, caveats: Vec::new(), parts })
                }
            });
        }
        Ok(fates)
    }

    async fn begin(&self, session: &mut Session, preparation: &Preparation) -> Outcome<()> {
        let begin = if preparation.exclusive() { "BEGIN EXCLUSIVE" } else { "BEGIN IMMEDIATE" };
        let mut tries = 1;
        loop {
            match session.run(begin).await {
                Err(failure) if failure.trouble == Trouble::Busy && tries < TRIES => tries += 1,
                other => return other,
            }
        }
    }

    /// Every record of one transaction. An error means that the transaction itself is gone.
    async fn batch(&self, session: &mut Session, positions: &[usize]) -> Outcome<Vec<Pending>> {
        let shape = match Shape::find(session, self.dataset).await? {
            Ok(shape) => shape,
            Err(problems) => return Ok(positions.iter().map(|_| Pending::Settled(failed(&problems.join("; "), false))).collect()),
        };
        let mut out = Vec::with_capacity(positions.len());
        for position in positions {
            session.run("SAVEPOINT one").await?;
            match self.one(session, &shape, *position).await {
                Ok(pending) => out.push(pending),
                Err(failure) => {
                    // When the savepoint is gone the engine has rolled back everything, and the error of this statement says so.
                    if session.run("ROLLBACK TO one").await.is_err() {
                        return Err(failure);
                    }
                    out.push(Pending::Settled(failed(&failure.text, false)));
                }
            }
            session.run("RELEASE one").await?;
        }
        Ok(out)
    }

    async fn one(&self, session: &mut Session, shape: &Shape<'_>, position: usize) -> Outcome<Pending> {
        let record = &self.records[position];
        let settled = |fate| Ok(Pending::Settled(fate));
        let Some(key) = typed_key(&record.fingerprint, shape.unique.terms.len()) else {
            return settled(failed("the record was not read by this store, or its dataset has another key now", false));
        };
        // The log names a record by its key: it must be the one that goes.
        if key_of(&key) != record.key {
            return settled(failed("the record's key and its fingerprint are of different records", false));
        }
        let mut statement = shape.select();
        statement.sql(", ").condition(self.dataset.filter.as_ref());
        let mut done = Statement::default();
        let tells = shape.anonymised(&mut done);
        statement.sql(", ").part(if tells { &done } else { statement_false() });
        shape.from(&mut statement).sql(" WHERE ");
        shape.key_is(&mut statement, &key);
        // The engine compares by affinity and collation; a key is the same only when type and bytes are.
        let rows =
            session.rows(&statement).await?.into_iter().filter(|row| shape.key(row).iter().zip(&key).all(|(one, two)| one.same(two)));
        let rows: Vec<_> = rows.collect();
        let row = match rows.as_slice() {
            [] => return settled(Fate::Absent),
            [row] => row,
            _ => return settled(failed("several rows have the record's key", false)),
        };
        let truth = |at: usize| row.get(at).is_some_and(Cell::is_true);
        if !truth(shape.width()) {
            return settled(Fate::Kept(Kept::Changed("it no longer satisfies the dataset's `where`".into())));
        }
        let fresh = shape.record(row);
        if let Some(what) = difference(&record.fingerprint, &fresh.fingerprint) {
            return settled(Fate::Kept(Kept::Changed(what.into())));
        }
        if self.order.act == Act::Anonymise && truth(shape.width() + 1) {
            return settled(Fate::Kept(Kept::NotDue("it is anonymised already".into())));
        }
        if let Some(kept) = (self.guard)(position, &fresh) {
            return settled(Fate::Kept(kept));
        }
        match self.order.act {
            Act::Destroy => destroy(session, shape, &key).await,
            Act::Anonymise => anonymise(session, shape, &key).await,
        }
    }

    /// Looks again after the commit: gone, or changed as ordered.
    async fn verify(&self, session: &mut Session, shape: &Shape<'_>, record: &Record) -> Outcome<bool> {
        let Some(key) = typed_key(&record.fingerprint, shape.unique.terms.len()) else { return Ok(false) };
        match self.order.act {
            Act::Destroy => {
                let mut statement = Statement::new("SELECT count(*)");
                shape.from(&mut statement).sql(" WHERE ");
                shape.key_is(&mut statement, &key);
                Ok(session.number(&statement).await? == 0)
            }
            Act::Anonymise => {
                let mut statement = shape.select();
                statement.sql(", ");
                statement.list(" AND ", shape.dataset.changes.iter(), |statement, change| match &change.to {
                    To::Constant(value) => {
                        statement.name(&change.column).sql(" IS ").value(value);
                    }
                    To::Expression(_) => {
                        statement.sql("1 = 1");
                    }
                });
                shape.from(&mut statement).sql(" WHERE ");
                shape.key_is(&mut statement, &key);
                let rows = session.rows(&statement).await?;
                let [row] = rows.as_slice() else { return Ok(false) };
                let constants = row.last().is_some_and(Cell::is_true);
                // Constants stand there; and that the row as a whole is another one shows that computed values took hold.
                Ok(constants && shape.record(row).fingerprint != record.fingerprint)
            }
        }
    }
}

fn statement_false() -> &'static Statement {
    static FALSE: std::sync::LazyLock<Statement> = std::sync::LazyLock::new(|| Statement::new("0"));
    &FALSE
}

fn failed(error: &str, uncertain: bool) -> Fate {
    Fate::Failed { error: error.to_owned(), uncertain }
}

async fn destroy(session: &mut Session, shape: &Shape<'_>, key: &[Cell]) -> Outcome<Pending> {
    let mut paths: Vec<Vec<&Child>> = Vec::new();
    deepest_first(&shape.dataset.children, &[], &mut paths);
    let mut parts = 0;
    for path in &paths {
        let Some(child) = path.last() else { continue };
        let mut statement = Statement::new("DELETE FROM ");
        statement.name(&child.table.name).sql(" WHERE ");
        shape.belongs(&mut statement, path, key);
        parts += session.execute(&statement).await?;
    }
    let mut statement = Statement::new("DELETE");
    shape.from(&mut statement).sql(" WHERE ");
    shape.key_is(&mut statement, key);
    exactly_one(session.execute(&statement).await?)?;
    Ok(Pending::Done { parts })
}

async fn anonymise(session: &mut Session, shape: &Shape<'_>, key: &[Cell]) -> Outcome<Pending> {
    if shape.dataset.changes.is_empty() {
        return Err(Failure::other("the dataset does not say how to anonymise; write `anonymise:`"));
    }
    let mut statement = Statement::new("UPDATE ");
    statement.name(&shape.dataset.table.name).sql(" SET ");
    statement.list(", ", &shape.dataset.changes, |statement, change| {
        statement.name(&change.column).sql(" = ");
        match &change.to {
            To::Constant(value) => statement.value(value),
            To::Expression(expression) => statement.condition(Some(expression)),
        };
    });
    statement.sql(" WHERE ");
    shape.key_is(&mut statement, key);
    exactly_one(session.execute(&statement).await?)?;
    Ok(Pending::Done { parts: 0 })
}

fn exactly_one(rows: u64) -> Outcome<()> {
    if rows == 1 { Ok(()) } else { Err(Failure::other(format!("expected one row to be affected, found {rows}; it was left as it was"))) }
}
