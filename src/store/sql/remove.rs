//! Removal: the part of this store that cannot be undone.
//!
//! A batch is one transaction, or a few when the database is slow. It takes the write lock of SQLite, or locks its rows one by one elsewhere, so
//! that nothing can change between the look at a row and its end. All rows are read again with all their columns and the dataset's condition;
//! each is compared with what the scan saw and shown to the guard; then the rows of their children go, deepest first, and then they themselves.
//! Exactly as many rows must have gone as were counted. After the commit every record is looked for again.
//!
//! **At once.** Where the engine says of deleted rows what they were (`DELETE … RETURNING`) and nothing else goes with them, the rows are deleted first
//! and looked at before the commit: it is the same look at the same rows, which nobody can change any more, for half the work. If a single one of
//! them has to stay, or is held by another session, the transaction is rolled back and done again in the careful order above. Where rows have
//! versions and places (PostgreSQL), what lies where the scan saw the records is deleted, and the same statement tells whether that were their keys in
//! the planned versions and nothing else: then each of them was what it had been, and the look after the commit is at these places. Elsewhere, records
//! that lie close to each other are found by walking along them ([`super::stretch`]), before the commit and after.
//!
//! **What hangs on the tables**, such as a foreign key that cascades, is looked at before anything goes, and asked for anew in every transaction
//! ([`super::hanging`]).
//!
//! **A row that another session holds** is tried once more a moment later and otherwise not waited for: it is in use, so it stays, and the next run
//! comes back to it.
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

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::config::Dataset;
use super::pace::Pace;
use super::session::{Failure, Session, Trouble};
use super::statement::Dialect;
use super::throttle::Throttle;
use super::transaction::{IN_USE, Transaction};
use crate::record::Record;
use crate::store::{Fate, Guard, Kept, Order};

/// How often a transaction is tried while others hold a lock that it needs; each time waits for the connection's own time-out.
const TRIES: usize = 3;

/// How long one order waits for locks of other sessions altogether, where each transaction waits by itself for a second or two.
const WAIT: Duration = Duration::from_secs(6);

/// A transaction on a server that was lost sooner did not wait for a lock in vain: it was taken out of a deadlock, and may be tried at once.
const AT_ONCE: Duration = Duration::from_millis(1250);

/// How long a row is left to whoever holds it before it is tried once more.
const ONCE_MORE: Duration = Duration::from_millis(20);

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
pub(super) struct Lost {
    pub(super) failure: Failure,
    /// The fates, when they are known in spite of it: whether it happened is not.
    pub(super) fates: Option<Vec<Fate>>,
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
                Ok(fates) => fates,
                Err(Lost { failure, fates }) => {
                    let divides = match failure.trouble {
                        Trouble::Refused | Trouble::Other => true,
                        // Not SQLite, where there is one lock for everything.
                        Trouble::Busy => session.dialect() != Dialect::Sqlite,
                        Trouble::Gone | Trouble::Danger => false,
                    };
                    if failure.trouble == Trouble::Busy && divides {
                        waited += started.elapsed();
                    }
                    if matches!(failure.trouble, Trouble::Gone | Trouble::Danger) || waited >= WAIT {
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
        let mut fates: Vec<Fate> = fates.into_iter().map(|fate| fate.unwrap_or_else(|| failed("no outcome", true))).collect();
        if over.is_none() {
            self.once_more(session, &mut fates).await;
        }
        fates
    }

    /// Tries rows that another session held once more: it may have been a transaction of ours, whose search touched the row behind its last one.
    async fn once_more(&self, session: &mut Session, fates: &mut [Fate]) {
        let held = |at: &usize| matches!(&fates[*at], Fate::Kept(Kept::Changed(why)) if why == IN_USE);
        let held: Vec<usize> = (0..fates.len()).filter(held).collect();
        if held.is_empty() || session.dialect() == Dialect::Sqlite || self.is_over(&held) {
            return;
        }
        tokio::time::sleep(ONCE_MORE).await;
        // What fails now was kept before, and is.
        let again = match self.patiently(session, &held).await {
            Ok(again) | Err(Lost { fates: Some(again), .. }) => again,
            Err(Lost { fates: None, .. }) => return,
        };
        held.into_iter().zip(again).for_each(|(at, fate)| fates[at] = fate);
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
            match Transaction::new(self, positions).run(session).await {
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
}

pub(super) fn failed(error: &str, uncertain: bool) -> Fate {
    Fate::Failed { error: error.to_owned(), uncertain }
}
