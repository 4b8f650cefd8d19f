//! Removal: the part of this store that cannot be undone.
//!
//! A batch is one transaction, or a few when the database is slow. It takes the write lock of SQLite, or locks its rows one by one elsewhere, so
//! that nothing can change between the look at a row and its end. All rows are read again with all their columns and the dataset's condition;
//! each is compared with what the scan saw and shown to the guard; then the rows of their children go, deepest first, and then they themselves.
//! Exactly as many rows must have gone as were counted. After the commit every record is looked for again.
//!
//! **At once.** Where the engine says of deleted rows what they were (`DELETE … RETURNING`) and nothing else goes with them, the rows are deleted first
//! and looked at before the commit: it is the same look at the same rows, which nobody can change any more, for half the work. If a single one of
//! them has to stay, or is held by another session, the transaction is rolled back and done again in the careful order above.
//!
//! **A row that another session holds** is not waited for: it is in use, so it stays, and the next run comes back to it.
//!
//! **When the transaction is lost** (a trigger refuses one of its rows, a constraint refuses the commit) nothing of it has happened, and the
//! records are tried again in halves, down to one by one, so that a bad record does not keep the rest.
//!
//! **When another session holds a lock** on a child or the whole table, a server's transaction waits a moment and is lost. Its records are tried
//! again in halves too, once everything else has had its turn, and only until [`WAIT`] is over; what is left then is failed and stays.
//!
//! **When a commit's outcome is unknown** (the connection broke, the disk failed) the records are reported as failed and *uncertain*, and
//! recovery looks.
//!
//! **A crash** leaves what the database's own journal says: all of the transaction or nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::config::{Child, Dataset, To};
use super::pace::Pace;
use super::session::{Failure, Outcome, Session, Trouble};
use super::shape::{Shape, deepest_first, read, table, whether};
use super::statement::{Dialect, Statement};
use super::throttle::Throttle;
use super::value::{Cell, difference, encoded, key_of, typed_key};
use crate::record::Record;
use crate::store::{Act, Evidence, Fate, Guard, Kept, Order};

/// How often a transaction is tried while others hold a lock that it needs; each time waits for the connection's own time-out.
const TRIES: usize = 3;

/// How long one order waits for locks of other sessions altogether, where each transaction waits by itself for a second or two.
const WAIT: Duration = Duration::from_secs(6);

/// A transaction on a server that was lost sooner did not wait for a lock in vain: it was taken out of a deadlock, and may be tried at once.
const AT_ONCE: Duration = Duration::from_millis(1250);

/// One order on its way.
pub(super) struct Removal<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) order: &'a Order,
    pub(super) records: &'a [Record],
    pub(super) guard: &'a Guard<'a>,
    pub(super) pace: &'a Pace,
    pub(super) throttle: &'a Throttle,
    /// Begins a transaction.
    pub(super) begin: &'static str,
}

/// A transaction that ended without doing what it was to do.
struct Lost {
    failure: Failure,
    /// The fates, when they are known in spite of it: whether it happened is not.
    fates: Option<Vec<Fate>>,
}

/// A fate that awaits the commit.
enum Pending {
    Settled(Fate),
    Done { parts: u64 },
}

/// The exact key of a record handed in.
struct Exact {
    /// Its bytes, by which rows are told apart here.
    name: Vec<u8>,
    cells: Vec<Cell>,
}

/// A row as it is now.
struct Fresh {
    record: Record,
    member: bool,
    anonymised: bool,
}

impl Removal<'_> {
    /// Spends the whole order. One fate for each record, in order, without a grade yet.
    pub(super) async fn spend(&self, session: &mut Session) -> Vec<Fate> {
        let mut fates: Vec<Option<Fate>> = vec![None; self.records.len()];
        let all: Vec<usize> = (0..self.records.len()).collect();
        let mut groups: VecDeque<Vec<usize>> = VecDeque::new();
        let mut rest = all.as_slice();
        let mut waited = Duration::ZERO;
        let mut over: Option<Failure> = None;
        loop {
            let (now, later) = rest.split_at(self.pace.size().min(rest.len()));
            rest = later;
            // Halves come last, so that one bad record does not keep the others waiting.
            let Some(group) = (if now.is_empty() { groups.pop_front() } else { Some(now.to_vec()) }) else { break };
            if over.is_none()
                && let Err(busy) = self.throttle.wait(session, || self.is_over(&group)).await
            {
                // What has no fate yet stays; the next group would wait as long.
                fates.iter_mut().filter(|fate| fate.is_none()).for_each(|fate| *fate = Some(Fate::Kept(Kept::Stopped(busy.clone()))));
                break;
            }
            let started = Instant::now();
            let done = match &over {
                Some(failure) => Err(Lost { failure: failure.clone(), fates: None }),
                None => self.patiently(session, &group).await,
            };
            let settled = match done {
                Ok(fates) => {
                    self.pace.took(group.len(), started.elapsed());
                    fates
                }
                Err(Lost { failure, fates }) => {
                    let divides = match failure.trouble {
                        Trouble::Refused | Trouble::Other => true,
                        // Not SQLite, where there is one lock for everything.
                        Trouble::Busy => session.dialect() != Dialect::Sqlite,
                        Trouble::Gone => false,
                    };
                    if failure.trouble == Trouble::Busy && divides {
                        waited += started.elapsed();
                    }
                    if failure.trouble == Trouble::Gone || waited >= WAIT {
                        over = Some(failure.clone());
                    }
                    match fates {
                        Some(fates) => fates,
                        None if divides && over.is_none() && group.len() > 1 => {
                            let (one, other) = group.split_at(group.len().div_ceil(2));
                            groups.extend([one.to_vec(), other.to_vec()]);
                            continue;
                        }
                        None => vec![failed(&failure.text, false); group.len()],
                    }
                }
            };
            for (position, fate) in group.into_iter().zip(settled) {
                fates[position] = Some(fate);
            }
        }
        fates.into_iter().map(|fate| fate.unwrap_or_else(|| failed("no outcome", true))).collect()
    }

    /// Whether the guard will let none of these go, because the run ends.
    fn is_over(&self, positions: &[usize]) -> bool {
        positions.first().is_some_and(|at| matches!((self.guard)(*at, &self.records[*at]), Some(Kept::Stopped(_))))
    }

    /// One transaction, again for a while when another one holds a lock that it needs.
    async fn patiently(&self, session: &mut Session, positions: &[usize]) -> Result<Vec<Fate>, Lost> {
        let mut tries = 1;
        loop {
            let started = Instant::now();
            match self.transaction(session, positions).await {
                Err(lost)
                    if lost.failure.trouble == Trouble::Busy
                        && lost.fates.is_none()
                        && tries < TRIES
                        && (session.dialect() == Dialect::Sqlite || started.elapsed() < AT_ONCE) =>
                {
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    async fn transaction(&self, session: &mut Session, positions: &[usize]) -> Result<Vec<Fate>, Lost> {
        let nothing = |failure| Lost { failure, fates: None };
        // A trigger may do what no rollback undoes, and children have to go first.
        let plain = self.dataset.children.is_empty() && !self.dataset.accept_triggers && self.order.act == Act::Destroy;
        if let Some(begin) = session.begin_at_once().filter(|_| plain) {
            self.begin(session, begin).await.map_err(nothing)?;
            match self.delete_at_once(session, positions).await {
                Ok(true) => return self.commit(session, positions, positions.iter().map(|_| Pending::Done { parts: 0 }).collect()).await,
                Ok(false) => session.run("ROLLBACK").await.map_err(nothing)?,
                Err(failure) => {
                    if failure.trouble == Trouble::Gone {
                        return Err(nothing(failure));
                    }
                    session.run("ROLLBACK").await.map_err(nothing)?;
                }
            }
        }
        self.begin(session, self.begin).await.map_err(nothing)?;
        let pending = match self.batch(session, positions).await {
            Ok(pending) => pending,
            Err(failure) => {
                // Rolled back already, or now, or when the connection closes: without a commit nothing of it lasts.
                let _ = session.run("ROLLBACK").await;
                return Err(nothing(failure));
            }
        };
        self.commit(session, positions, pending).await
    }

    /// Begins a transaction in the session that was prepared for it, and in no other.
    async fn begin(&self, session: &mut Session, begin: &'static str) -> Outcome<()> {
        session.run(begin).await?;
        if session.is_itself().await? {
            return Ok(());
        }
        let _ = session.run("ROLLBACK").await;
        let text =
            "transactions reach the server through a pool that mixes sessions; connect to the server itself, or pool by session".into();
        Err(Failure { trouble: Trouble::Gone, text })
    }

    /// Ends a transaction in which everything was done.
    async fn commit(&self, session: &mut Session, positions: &[usize], pending: Vec<Pending>) -> Result<Vec<Fate>, Lost> {
        let nothing = |failure| Lost { failure, fates: None };
        if let Err(failure) = session.run("COMMIT").await {
            let rolled_back = session.run("ROLLBACK").await.is_ok();
            // A refused or locked-out commit is one that did not happen, and that the connection still answers proves that it was heard.
            if rolled_back && matches!(failure.trouble, Trouble::Busy | Trouble::Refused) {
                return Err(nothing(failure));
            }
            let fates = pending.into_iter().map(|one| match one {
                Pending::Settled(fate) => fate,
                Pending::Done { .. } => failed(&failure.text, true),
            });
            let fates = Some(fates.collect());
            return Err(Lost { failure, fates });
        }
        let done: Vec<usize> =
            positions.iter().zip(&pending).filter(|(_, one)| matches!(one, Pending::Done { .. })).map(|(at, _)| *at).collect();
        let unverified = if done.is_empty() { HashSet::new() } else { self.unverified(session, &done).await };
        let fates = positions.iter().zip(pending).map(|(position, one)| match one {
            Pending::Settled(fate) => fate,
            Pending::Done { parts } => {
                let method = if self.order.act == Act::Destroy { "delete" } else { "anonymise" };
                let verified = !unverified.contains(position);
                Fate::Done(Evidence { method, grade: "", verified, caveats: Vec::new(), parts })
            }
        });
        Ok(fates.collect())
    }

    /// Deletes all records and looks at what went; `false` when one of them has to stay, so that nothing of it may be committed.
    async fn delete_at_once(&self, session: &mut Session, positions: &[usize]) -> Outcome<bool> {
        let Ok(shape) = session.shape(self.dataset).await? else { return Ok(false) };
        let mut names: HashMap<Vec<u8>, usize> = HashMap::with_capacity(positions.len());
        let mut asked: Vec<Vec<Cell>> = Vec::with_capacity(positions.len());
        for position in positions {
            let Ok(key) = self.key(&shape, *position) else { return Ok(false) };
            // What is named twice goes once, which takes a closer look.
            if names.insert(key.name, *position).is_some() {
                return Ok(false);
            }
            asked.push(key.cells);
        }
        let mut member = Statement::default();
        member.condition(self.dataset.filter.as_ref());
        let keys: Vec<&[Cell]> = asked.iter().map(Vec::as_slice).collect();
        let mut statement = Statement::new("DELETE");
        shape.from(&mut statement).sql(" WHERE ");
        shape.key_in(&mut statement, &keys);
        statement.sql(" RETURNING ");
        shape.columns(&mut statement);
        whether(&mut statement, &member);
        let rows = session.map(&statement, |row| Self::fresh(&shape, &row)).await?;
        // As many as were asked for, and each of them another one that was: so every one of them, and nothing else.
        let mut goes = rows.len() == positions.len();
        for (name, row) in rows {
            goes = goes && names.remove(&name).is_some_and(|position| self.verdict(position, std::slice::from_ref(&row)).is_none());
        }
        Ok(goes && names.is_empty())
    }

    fn fresh(shape: &Shape<'_>, row: &[Cell]) -> (Vec<u8>, Fresh) {
        let truth = |at: usize| row.get(at).is_some_and(Cell::is_true);
        let (member, anonymised) = (truth(shape.width()), truth(shape.width() + 1));
        (encoded(&shape.key(row)), Fresh { record: shape.record(row), member, anonymised })
    }

    /// Every record of one transaction. An error means that the transaction itself is gone.
    async fn batch(&self, session: &mut Session, positions: &[usize]) -> Outcome<Vec<Pending>> {
        let shape = match session.shape(self.dataset).await? {
            Ok(shape) => shape,
            Err(problems) => return Ok(positions.iter().map(|_| Pending::Settled(failed(&problems.join("; "), false))).collect()),
        };
        let keys: Vec<Result<Exact, &str>> = positions.iter().map(|position| self.key(&shape, *position)).collect();
        let asked: HashMap<&[u8], &[Cell]> = keys.iter().flatten().map(|key| (key.name.as_slice(), key.cells.as_slice())).collect();
        let mut fresh = self.lock(session, &shape, &asked).await?;
        let missing: Vec<&[Cell]> = asked.iter().filter(|(name, _)| !fresh.contains_key(**name)).map(|(_, key)| *key).collect();
        let in_use = if missing.is_empty() { HashSet::new() } else { present(session, &shape, &missing).await? };
        let respelled = respelled(session, &shape, &missing, &in_use).await?;
        let mut out: Vec<Pending> = Vec::with_capacity(positions.len());
        let mut going: Vec<&Exact> = Vec::new();
        for (position, key) in positions.iter().zip(&keys) {
            out.push(match key {
                Err(why) => Pending::Settled(failed(why, false)),
                Ok(key) => match fresh.remove(&key.name) {
                    None if in_use.contains(&key.name) => {
                        Pending::Settled(Fate::Kept(Kept::Changed("another session is working on it".into())))
                    }
                    None if respelled.contains(&key.name) => {
                        Pending::Settled(Fate::Kept(Kept::Changed("its key is written in another way by now".into())))
                    }
                    // Gone, or named twice: then it goes once.
                    None => Pending::Settled(Fate::Absent),
                    Some(rows) => {
                        if let Some(fate) = self.verdict(*position, &rows) {
                            Pending::Settled(fate)
                        } else {
                            going.push(key);
                            Pending::Done { parts: 0 }
                        }
                    }
                },
            });
        }
        if going.is_empty() {
            return Ok(out);
        }
        let keys: Vec<&[Cell]> = going.iter().map(|key| key.cells.as_slice()).collect();
        let parts = match self.order.act {
            Act::Destroy => destroy(session, &shape, &keys).await?,
            Act::Anonymise => {
                anonymise(session, &shape, &keys).await?;
                HashMap::new()
            }
        };
        let mut going = going.iter();
        for one in &mut out {
            if let Pending::Done { parts: count } = one {
                *count = going.next().and_then(|key| parts.get(&key.name).copied()).unwrap_or(0);
            }
        }
        Ok(out)
    }

    /// The exact key of a record handed in.
    fn key(&self, shape: &Shape<'_>, position: usize) -> Result<Exact, &'static str> {
        let record = &self.records[position];
        let Some(cells) = typed_key(&record.fingerprint, shape.unique.terms.len()) else {
            return Err("the record was not read by this store, or its dataset has another key now");
        };
        // The log names a record by its key: it must be the one that goes.
        if key_of(&cells) == record.key {
            Ok(Exact { name: encoded(&cells), cells })
        } else {
            Err("the record's key and its fingerprint are of different records")
        }
    }

    /// Reads the rows again and locks them, leaving out those that another session has locked. By encoded key.
    async fn lock(
        &self,
        session: &mut Session,
        shape: &Shape<'_>,
        asked: &HashMap<&[u8], &[Cell]>,
    ) -> Outcome<HashMap<Vec<u8>, Vec<Fresh>>> {
        let mut fresh: HashMap<Vec<u8>, Vec<Fresh>> = HashMap::with_capacity(asked.len());
        if asked.is_empty() {
            return Ok(fresh);
        }
        let (mut member, mut done) = (Statement::default(), Statement::default());
        member.condition(self.dataset.filter.as_ref());
        if !shape.anonymised(&mut done) {
            done = Statement::new("1 = 0");
        }
        let keys: Vec<&[Cell]> = asked.values().copied().collect();
        let mut statement = shape.select();
        whether(&mut statement, &member);
        whether(&mut statement, &done);
        shape.from(&mut statement).sql(" WHERE ");
        shape.key_in(&mut statement, &keys);
        statement.sql(session.locking());
        let rows = session.map(&statement, |row| Self::fresh(shape, &row)).await?;
        // The engine compares by affinity and collation; a key is the same only when type and bytes are.
        for (name, row) in rows.into_iter().filter(|(name, _)| asked.contains_key(name.as_slice())) {
            fresh.entry(name).or_default().push(row);
        }
        Ok(fresh)
    }

    /// Why a record that is there does not go; nothing when it does.
    fn verdict(&self, position: usize, rows: &[Fresh]) -> Option<Fate> {
        let [row] = rows else { return Some(failed("several rows have the record's key", false)) };
        if !row.member {
            return Some(Fate::Kept(Kept::Changed("it no longer satisfies the dataset's `where`".into())));
        }
        if let Some(what) = difference(&self.records[position].fingerprint, &row.record.fingerprint) {
            return Some(Fate::Kept(Kept::Changed(what.into())));
        }
        if self.order.act == Act::Anonymise && row.anonymised {
            return Some(Fate::Kept(Kept::NotDue("it is anonymised already".into())));
        }
        (self.guard)(position, &row.record).map(Fate::Kept)
    }

    /// Looks again after the commit: which records are not gone, or not changed as ordered, as far as can be told.
    async fn unverified(&self, session: &mut Session, done: &[usize]) -> HashSet<usize> {
        self.look_again(session, done).await.unwrap_or_else(|_| done.iter().copied().collect())
    }

    async fn look_again(&self, session: &mut Session, done: &[usize]) -> Outcome<HashSet<usize>> {
        let shape = session.shape(self.dataset).await?.map_err(|problems| Failure::other(problems.join("; ")))?;
        let keys: Vec<(usize, Exact)> = done.iter().filter_map(|at| Some((*at, self.key(&shape, *at).ok()?))).collect();
        let asked: Vec<&[Cell]> = keys.iter().map(|(_, key)| key.cells.as_slice()).collect();
        if self.order.act == Act::Destroy {
            let there = present(session, &shape, &asked).await?;
            return Ok(keys.iter().filter(|(_, key)| there.contains(&key.name)).map(|(at, _)| *at).collect());
        }
        let mut constants = Statement::new("1 = 1");
        for change in &shape.dataset.changes {
            if let To::Constant(value) = &change.to {
                constants.sql(" AND ");
                shape.is_constant(&mut constants, &change.column, value);
            }
        }
        let mut statement = shape.select();
        whether(&mut statement, &constants);
        shape.from(&mut statement).sql(" WHERE ");
        shape.key_in(&mut statement, &asked);
        let as_ordered =
            |row: Vec<Cell>| (encoded(&shape.key(&row)), (row.last().is_some_and(Cell::is_true), shape.record(&row).fingerprint));
        let now: HashMap<_, _> = session.map(&statement, as_ordered).await?.into_iter().collect();
        // Constants stand there; and that the row as a whole is another one shows that computed values took hold.
        let holds =
            |at: &usize, key: &Exact| now.get(&key.name).is_some_and(|(constants, is)| *constants && *is != self.records[*at].fingerprint);
        Ok(keys.iter().filter(|(at, key)| !holds(at, key)).map(|(at, _)| *at).collect())
    }
}

/// Which of these keys have a row, by encoded key.
async fn present(session: &mut Session, shape: &Shape<'_>, keys: &[&[Cell]]) -> Outcome<HashSet<Vec<u8>>> {
    let mut statement = Statement::new("SELECT ");
    statement.list(", ", &shape.unique.terms, |statement, term| read(statement, &term.column, term.read));
    shape.from(&mut statement).sql(" WHERE ");
    shape.key_in(&mut statement, keys);
    Ok(session.map(&statement, |row| encoded(&row)).await?.into_iter().collect())
}

/// Which of these keys, that have no row any more, have one whose key the engine finds the same and that is written otherwise: an application
/// changed capitals or blanks. `there` are the rows that asking for all of them brought.
async fn respelled(session: &mut Session, shape: &Shape<'_>, missing: &[&[Cell]], there: &HashSet<Vec<u8>>) -> Outcome<HashSet<Vec<u8>>> {
    let names: HashSet<Vec<u8>> = missing.iter().map(|key| encoded(key)).collect();
    let mut out = HashSet::new();
    if there.is_subset(&names) {
        return Ok(out);
    }
    for key in missing {
        let found = present(session, shape, &[*key]).await?;
        let name = encoded(key);
        if !found.is_empty() && !found.contains(&name) {
            out.insert(name);
        }
    }
    Ok(out)
}

fn failed(error: &str, uncertain: bool) -> Fate {
    Fate::Failed { error: error.to_owned(), uncertain }
}

/// Deletes records with their children; answers how many rows of children went with each, by encoded key.
async fn destroy(session: &mut Session, shape: &Shape<'_>, keys: &[&[Cell]]) -> Outcome<HashMap<Vec<u8>, u64>> {
    let mut paths: Vec<Vec<&Child>> = Vec::new();
    deepest_first(&shape.dataset.children, &[], &mut paths);
    let mut parts: HashMap<Vec<u8>, u64> = HashMap::new();
    for path in &paths {
        let Some(child) = path.last() else { continue };
        // Counted one path after the other, because a row may be reached by two: it goes with the first.
        let mut counted = 0;
        for row in session.rows(&shape.count_children(path, keys)).await? {
            let (key, count) = row.split_at(shape.unique.terms.len().min(row.len()));
            let count = if let [Cell::Int(count)] = count { u64::try_from(*count).unwrap_or(0) } else { 0 };
            counted += count;
            *parts.entry(encoded(key)).or_default() += count;
        }
        let mut statement = Statement::new("DELETE ");
        if shape.layout.dialect == Dialect::MySql && path.len() > 1 {
            // Only in this form does MariaDB begin with the parents; it would read the whole table otherwise.
            table(&mut statement, &child.table).sql(" ");
        }
        table(statement.sql("FROM "), &child.table).sql(" WHERE ");
        shape.belongs(&mut statement, path, keys);
        if session.execute(&statement).await? != counted {
            let what =
                format!("rows of `{}` came or went meanwhile, or belong to several records; nothing was changed", child.table.shown());
            return Err(Failure::refused(what));
        }
    }
    let mut statement = Statement::new("DELETE");
    shape.from(&mut statement).sql(" WHERE ");
    shape.key_in(&mut statement, keys);
    exactly(keys.len(), session.execute(&statement).await?)?;
    Ok(parts)
}

async fn anonymise(session: &mut Session, shape: &Shape<'_>, keys: &[&[Cell]]) -> Outcome<()> {
    if shape.dataset.changes.is_empty() {
        return Err(Failure::other("the dataset does not say how to anonymise; write `anonymise:`"));
    }
    let mut statement = Statement::new("UPDATE ");
    table(&mut statement, &shape.dataset.table).sql(" SET ");
    statement.list(", ", &shape.dataset.changes, |statement, change| {
        statement.name(&change.column).sql(" = ");
        match &change.to {
            To::Constant(value) => shape.constant(statement, &change.column, value),
            To::Expression(expression) => {
                statement.condition(Some(expression));
            }
        }
    });
    statement.sql(" WHERE ");
    shape.key_in(&mut statement, keys);
    exactly(keys.len(), session.execute(&statement).await?)
}

fn exactly(expected: usize, rows: u64) -> Outcome<()> {
    if rows == expected as u64 {
        return Ok(());
    }
    Err(Failure::refused(format!("expected {expected} rows to be affected, found {rows}; nothing was changed")))
}
