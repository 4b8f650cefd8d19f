//! One transaction of a removal: some records of an order, looked at and gone, or as they were.
//!
//! **In the careful order** the rows are read again and locked, each is judged, then the rows of their children go, deepest first, and then they
//! themselves. **At once**, where that is possible, they are deleted first and judged by what the engine says they were. Either way a row is judged
//! while nobody else can change it, and what is judged to stay has not gone when the transaction ends.
//!
//! Rows are told apart by the bytes of their exact key, as they stand in a record's fingerprint: the engine's own idea of what is equal may be wider.
//!
//! After the commit every record is looked for once more. What is found then, or cannot be looked for, is reported as done and not verified. Rows that were
//! deleted in their places (PostgreSQL) are looked for there: what an application wrote anew under their keys in that very moment is another record, which
//! the next scan finds.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::config::{Child, To};
use super::hanging;
use super::places::{self, Standing};
use super::remove::{Lost, Removal, failed};
use super::session::{Begin, Failure, Outcome, Session, Trouble, Way};
use super::shape::{Shape, deepest_first, table, whether};
use super::statement::{Dialect, Statement};
use super::stretch::Stretch;
use super::value::{Cell, Seen, TypedKey, encoded, key_bytes, key_of, seen, typed_key, version_of, whole_number};
use crate::record::Record;
use crate::store::{Act, Evidence, Fate, Kept};

/// Why a row is kept that another session has locked.
pub(super) const IN_USE: &str = "another session is working on it";

/// Records that go together or not at all.
pub(super) struct Transaction<'t> {
    removal: &'t Removal<'t>,
    /// Their positions in the order.
    positions: &'t [usize],
    began: Instant,
}

/// A record and the exact key by which it is asked for.
struct Asked<'t> {
    position: usize,
    /// The key's bytes, by which rows are told apart here.
    name: &'t [u8],
    cells: TypedKey,
}

/// Where records are looked for when they are gone.
enum Trail<'t> {
    /// By their keys.
    Keys,
    /// Along the stretch in which they lay.
    Stretch(&'t Stretch),
    /// Where they lay, and were found by their keys when they were deleted.
    Places(Vec<u64>),
}

/// A fate that awaits the commit.
enum Pending {
    Settled(Fate),
    Done { parts: u64 },
}

/// A row as it is now.
struct Fresh {
    record: Record,
    member: bool,
    anonymised: bool,
}

impl Fresh {
    /// The bytes of its key.
    fn name(&self) -> &[u8] {
        key_bytes(&self.record.fingerprint).unwrap_or_default()
    }
}

impl<'t> Transaction<'t> {
    pub(super) fn new(removal: &'t Removal<'t>, positions: &'t [usize]) -> Self {
        Self { removal, positions, began: Instant::now() }
    }

    /// Carries it out. One fate for each record, in order.
    pub(super) async fn run(&self, session: &mut Session) -> Result<Vec<Fate>, Lost> {
        let nothing = |failure| Lost { failure, fates: None };
        let (dataset, order) = (self.removal.dataset, self.removal.order);
        // A trigger may do what no rollback undoes, and children have to go first.
        let plain = dataset.children.is_empty() && !dataset.accept_triggers && order.act == Act::Destroy;
        if plain
            && session.deletes_at_once()
            && let Some(fates) = self.at_once(session).await?
        {
            return Ok(fates);
        }
        hanging::begin(session, dataset, order.act, Begin::plain(self.removal.begin)).await.map_err(nothing)?;
        match self.carefully(session).await {
            Ok((asked, pending)) => self.commit(session, &asked, pending, Trail::Keys).await,
            Err(failure) => {
                // Rolled back already, or now, or when the connection closes: without a commit nothing of it lasts.
                let _ = session.run("ROLLBACK").await;
                Err(nothing(failure))
            }
        }
    }

    /// Deletes first and looks then. Nothing when one of the records has to stay, or none can be told from the others so: then nothing has happened.
    async fn at_once(&self, session: &mut Session) -> Result<Option<Vec<Fate>>, Lost> {
        let nothing = |failure| Lost { failure, fates: None };
        let Ok(shape) = session.shape(self.removal.dataset).await.map_err(nothing)? else { return Ok(None) };
        let Ok(asked) = self.positions.iter().map(|position| self.asked(&shape, *position)).collect::<Result<Vec<_>, _>>() else {
            return Ok(None);
        };
        // What is named twice goes once, which takes a closer look.
        if !all_different(&asked) {
            return Ok(None);
        }
        let standing = self.standing(&shape);
        let stretch = if standing.is_some() { None } else { self.stretch(&shape, &asked) };
        let ways = match (&standing, &stretch) {
            (Some(_), _) if !self.removal.pace.may_look() => return Ok(None),
            (Some(_), _) => &[Way::Places][..],
            (None, Some(stretch)) if stretch.is_dated() && self.removal.pace.may_walk() => &[Way::Stretch, Way::Keys],
            _ => &[Way::Keys],
        };
        for way in ways {
            match hanging::begin(session, self.removal.dataset, self.removal.order.act, session.begin_at_once(*way)).await {
                // The careful order waits longer.
                Err(failure) if failure.trouble == Trouble::Busy => return Ok(None),
                begun => begun.map_err(nothing)?,
            }
            let deleted = match &standing {
                Some(standing) => self.delete_standing(session, &shape, &asked, standing).await,
                None => self.delete_returning(session, &shape, &asked, stretch.as_ref().filter(|_| *way == Way::Stretch)).await,
            };
            if standing.is_some() && !matches!(&deleted, Err(Failure { trouble: Trouble::Gone | Trouble::Busy, .. })) {
                self.removal.pace.looked(matches!(&deleted, Ok(true)));
            }
            match deleted {
                Ok(true) => {
                    let done = self.positions.iter().map(|_| Pending::Done { parts: 0 }).collect();
                    let trail = match (&standing, &stretch) {
                        (Some(standing), _) => Trail::Places(standing.iter().map(|standing| standing.place).collect()),
                        (None, Some(stretch)) if stretch.is_dated() => Trail::Stretch(stretch),
                        _ => Trail::Keys,
                    };
                    return self.commit(session, &asked, done, trail).await.map(Some);
                }
                Err(failure) if failure.trouble == Trouble::Gone => return Err(nothing(failure)),
                deleted => {
                    session.run("ROLLBACK").await.map_err(nothing)?;
                    if *way == Way::Stretch && deleted.is_ok() {
                        self.removal.pace.strayed();
                    }
                }
            }
        }
        Ok(None)
    }

    /// Ends a transaction in which everything was done. `trail` is where all of its records lay.
    async fn commit(&self, session: &mut Session, asked: &[Asked<'_>], pending: Vec<Pending>, trail: Trail<'_>) -> Result<Vec<Fate>, Lost> {
        let act = self.removal.order.act;
        // How long the commit takes is the disk's affair: it would take as long for fewer rows.
        self.removal.pace.took(self.positions.len(), self.began.elapsed());
        if let Err(failure) = session.run("COMMIT").await {
            let rolled_back = session.run("ROLLBACK").await.is_ok();
            // A refused or locked-out commit is one that did not happen, and that the connection still answers proves that it was heard.
            if rolled_back && matches!(failure.trouble, Trouble::Busy | Trouble::Refused) {
                return Err(Lost { failure, fates: None });
            }
            let fates = pending.into_iter().map(|one| match one {
                Pending::Settled(fate) => fate,
                Pending::Done { .. } => failed(&failure.text, true),
            });
            let fates = Some(fates.collect());
            return Err(Lost { failure, fates });
        }
        let settled: HashSet<usize> =
            self.positions.iter().zip(&pending).filter(|(_, one)| matches!(one, Pending::Settled(_))).map(|(at, _)| *at).collect();
        let looked_for: Vec<&Asked<'_>> = asked.iter().filter(|one| !settled.contains(&one.position)).collect();
        // Where nobody could look, nothing is verified.
        let there = self.look_again(session, &looked_for, trail).await.ok();
        let fates = self.positions.iter().zip(pending).map(|(position, one)| match one {
            Pending::Settled(fate) => fate,
            Pending::Done { parts } => {
                let method = if act == Act::Destroy { "delete" } else { "anonymise" };
                let verified = there.as_ref().is_some_and(|there| !there.contains(position));
                Fate::Done(Evidence { method, grade: "", verified, caveats: Cow::default(), parts })
            }
        });
        Ok(fates.collect())
    }

    /// The record at a position and its exact key.
    fn asked(&self, shape: &Shape<'_>, position: usize) -> Result<Asked<'t>, &'static str> {
        let record = &self.removal.records[position];
        let key = key_bytes(&record.fingerprint).zip(typed_key(&record.fingerprint, shape.unique.terms.len()));
        let Some((name, cells)) = key else {
            return Err("the record was not read by this store, or its dataset has another key now");
        };
        // The log names a record by its key: it must be the one that goes.
        if key_of(&seen(&cells)) == record.key {
            Ok(Asked { position, name, cells })
        } else {
            Err("the record's key and its fingerprint are of different records")
        }
    }

    /// Deletes what lies where the records were seen, and tells whether that were those records in the versions that were planned, all of them and nothing
    /// else: then each of them was there and was what it had been, and is judged by what is known of it.
    async fn delete_standing(&self, session: &mut Session, shape: &Shape<'_>, asked: &[Asked<'_>], standing: &[Standing]) -> Outcome<bool> {
        if !places::delete(session, shape, &keys(asked), standing).await? {
            return Ok(false);
        }
        hanging::is_as_known(session, self.removal.dataset, Act::Destroy).await?;
        // The last thing before the commit.
        Ok(asked.iter().all(|one| (self.removal.guard)(one.position, &self.removal.records[one.position]).is_none()))
    }

    /// Deletes all records, or what lies in their stretch and is not newer than they are, and looks at what the engine says of every row that went:
    /// whether those are the records and no other row, and each of them may go.
    async fn delete_returning(
        &self,
        session: &mut Session,
        shape: &Shape<'_>,
        asked: &[Asked<'_>],
        along: Option<&Stretch>,
    ) -> Outcome<bool> {
        let mut names: HashMap<&[u8], usize> = asked.iter().map(|one| (one.name, one.position)).collect();
        let mut member = Statement::default();
        member.condition(self.removal.dataset.filter.as_ref());
        let mut statement = Statement::new("DELETE");
        shape.from(&mut statement).sql(" WHERE ");
        match along {
            Some(stretch) => {
                stretch.keys(&mut statement, shape);
                stretch.not_newer(&mut statement, shape);
                statement.sql(" AND ").part(&member);
            }
            None => shape.key_in(&mut statement, &keys(asked)),
        }
        statement.sql(" RETURNING ");
        shape.columns(&mut statement);
        whether(&mut statement, &member);
        let rows = session.map(&statement, |row| Self::fresh(shape, row)).await?;
        hanging::is_as_known(session, self.removal.dataset, Act::Destroy).await?;
        // As many as were asked for, and each of them another one that was: so every one of them, and nothing else.
        let mut goes = rows.len() == asked.len();
        for row in rows {
            goes = goes && names.remove(row.name()).is_some_and(|position| self.verdict(position, std::slice::from_ref(&row)).is_none());
        }
        Ok(goes && names.is_empty())
    }

    /// Where the keys of all records lie close together.
    fn stretch(&self, shape: &Shape<'_>, asked: &[Asked<'_>]) -> Option<Stretch> {
        let records: Vec<&Record> = self.positions.iter().map(|position| &self.removal.records[*position]).collect();
        Stretch::of(shape, &keys(asked), &records)
    }

    /// Where all records were seen, and in which versions, where the engine says so and all were read with it.
    fn standing(&self, shape: &Shape<'_>) -> Option<Vec<Standing>> {
        let origin = shape.versions()?;
        let standing = |position: &usize| {
            let record = &self.removal.records[*position];
            Some(Standing { place: record.hint, version: version_of(&record.fingerprint, origin)? }).filter(|standing| standing.place > 0)
        };
        self.positions.iter().map(standing).collect()
    }

    fn fresh(shape: &Shape<'_>, row: &[Seen<'_>]) -> Fresh {
        let truth = |at: usize| row.get(at).is_some_and(|cell| cell.is_true());
        let (member, anonymised) = (truth(shape.width()), truth(shape.width() + 1));
        Fresh { record: shape.record(row), member, anonymised }
    }

    /// Every record in the careful order. An error means that the transaction itself is gone.
    async fn carefully(&self, session: &mut Session) -> Outcome<(Vec<Asked<'t>>, Vec<Pending>)> {
        let shape = match session.shape(self.removal.dataset).await? {
            Ok(shape) => shape,
            Err(problems) => {
                let fates = self.positions.iter().map(|_| Pending::Settled(failed(&problems.join("; "), false)));
                return Ok((Vec::new(), fates.collect()));
            }
        };
        let mut wrong: HashMap<usize, &str> = HashMap::new();
        let mut asked: Vec<Asked<'t>> = Vec::with_capacity(self.positions.len());
        for position in self.positions {
            match self.asked(&shape, *position) {
                Ok(one) => asked.push(one),
                Err(why) => drop(wrong.insert(*position, why)),
            }
        }
        let mut fresh = self.lock(session, &shape, &asked).await?;
        let missing: Vec<&[Cell]> = asked.iter().filter(|one| !fresh.contains_key(one.name)).map(|one| one.cells.as_slice()).collect();
        let in_use = if missing.is_empty() { HashSet::new() } else { present(session, &shape, &missing).await? };
        let respelled = respelled(session, &shape, &missing, &in_use).await?;
        let mut out: Vec<Pending> = Vec::with_capacity(self.positions.len());
        let mut going: Vec<&Asked<'_>> = Vec::new();
        let mut rest = asked.iter();
        for position in self.positions {
            if let Some(why) = wrong.get(position) {
                out.push(Pending::Settled(failed(why, false)));
                continue;
            }
            let Some(one) = rest.next() else { break };
            out.push(match fresh.remove(one.name) {
                None if in_use.contains(one.name) => Pending::Settled(Fate::Kept(Kept::Changed(IN_USE.into()))),
                None if respelled.contains(one.name) => {
                    Pending::Settled(Fate::Kept(Kept::Changed("its key is written in another way by now".into())))
                }
                // Gone, or named twice: then it goes once.
                None => Pending::Settled(Fate::Absent),
                Some(rows) => {
                    if let Some(fate) = self.verdict(*position, &rows) {
                        Pending::Settled(fate)
                    } else {
                        going.push(one);
                        Pending::Done { parts: 0 }
                    }
                }
            });
        }
        if going.is_empty() {
            return Ok((asked, out));
        }
        let keys = keys(going.iter().copied());
        let parts = match self.removal.order.act {
            Act::Destroy => destroy(session, &shape, &keys).await?,
            Act::Anonymise => {
                anonymise(session, &shape, &keys).await?;
                HashMap::new()
            }
        };
        hanging::is_as_known(session, self.removal.dataset, self.removal.order.act).await?;
        let mut going = going.iter();
        for one in &mut out {
            if let Pending::Done { parts: count } = one {
                *count = going.next().and_then(|one| parts.get(one.name).copied()).unwrap_or(0);
            }
        }
        Ok((asked, out))
    }

    /// Reads the rows again and locks them, leaving out those that another session has locked. By the bytes of their keys.
    async fn lock(&self, session: &mut Session, shape: &Shape<'_>, asked: &[Asked<'_>]) -> Outcome<HashMap<Vec<u8>, Vec<Fresh>>> {
        let names: HashMap<&[u8], &[Cell]> = asked.iter().map(|one| (one.name, one.cells.as_slice())).collect();
        let mut fresh: HashMap<Vec<u8>, Vec<Fresh>> = HashMap::with_capacity(names.len());
        if names.is_empty() {
            return Ok(fresh);
        }
        let (mut member, mut done) = (Statement::default(), Statement::default());
        member.condition(self.removal.dataset.filter.as_ref());
        if !shape.anonymised(&mut done) {
            done = Statement::new("1 = 0");
        }
        let mut statement = shape.select();
        whether(&mut statement, &member);
        whether(&mut statement, &done);
        shape.from(&mut statement).sql(" WHERE ");
        shape.key_in(&mut statement, &names.values().copied().collect::<Vec<_>>());
        statement.sql(session.locking());
        let rows = session.map(&statement, |row| Self::fresh(shape, row)).await?;
        // The engine compares by affinity and collation; a key is the same only when type and bytes are.
        for row in rows.into_iter().filter(|row| names.contains_key(row.name())) {
            fresh.entry(row.name().to_vec()).or_default().push(row);
        }
        Ok(fresh)
    }

    /// Why a record that is there does not go; nothing when it does.
    fn verdict(&self, position: usize, rows: &[Fresh]) -> Option<Fate> {
        let [row] = rows else { return Some(failed("several rows have the record's key", false)) };
        if !row.member {
            return Some(Fate::Kept(Kept::Changed("it no longer satisfies the dataset's `where`".into())));
        }
        let (was, is) = (&self.removal.records[position], &row.record);
        if was.fingerprint != is.fingerprint {
            let dated = was.readings != is.readings;
            let what = if dated { "a column that holds the date of an event" } else { "a column other than those of its events" };
            return Some(Fate::Kept(Kept::Changed(what.into())));
        }
        if self.removal.order.act == Act::Anonymise && row.anonymised {
            return Some(Fate::Kept(Kept::NotDue("it is anonymised already".into())));
        }
        (self.removal.guard)(position, &row.record).map(Fate::Kept)
    }

    /// Looks again after the commit: the positions of records that are not gone, or not changed as ordered, as far as can be told.
    async fn look_again(&self, session: &mut Session, asked: &[&Asked<'_>], trail: Trail<'_>) -> Outcome<HashSet<usize>> {
        if asked.is_empty() {
            return Ok(HashSet::new());
        }
        let shape = session.shape(self.removal.dataset).await?.map_err(|problems| Failure::other(problems.join("; ")))?;
        let keys = || keys(asked.iter().copied());
        if self.removal.order.act == Act::Destroy {
            let there = match trail {
                Trail::Places(places) => places::still_there(session, &shape, places).await?,
                Trail::Stretch(stretch) => still_along(session, &shape, stretch).await?,
                Trail::Keys => present(session, &shape, &keys()).await?,
            };
            let found = |one: &&&Asked<'_>| !there.is_empty() && there.contains(one.name);
            return Ok(asked.iter().filter(found).map(|one| one.position).collect());
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
        shape.key_in(&mut statement, &keys());
        let as_ordered = |row: &[Seen<'_>]| {
            let fingerprint = shape.record(row).fingerprint;
            (key_bytes(&fingerprint).unwrap_or_default().to_vec(), (row.last().is_some_and(|cell| cell.is_true()), fingerprint))
        };
        let now: HashMap<_, _> = session.map(&statement, as_ordered).await?.into_iter().collect();
        // Constants stand there; and that the row as a whole is another one shows that computed values took hold.
        let holds = |one: &&&Asked<'_>| {
            let was = &self.removal.records[one.position].fingerprint;
            now.get(one.name).is_some_and(|(constants, is)| *constants && is != was)
        };
        Ok(asked.iter().filter(|one| !holds(one)).map(|one| one.position).collect())
    }
}

/// Whether no two of them have the same key.
fn all_different(asked: &[Asked<'_>]) -> bool {
    // A plan stands in the order of its keys, and whole numbers that rise are different.
    let rises =
        asked.is_sorted_by(|one, next| whole_number(&one.cells).zip(whole_number(&next.cells)).is_some_and(|(one, next)| one < next));
    rises || asked.iter().map(|one| one.name).collect::<HashSet<_>>().len() == asked.len()
}

/// The keys by which records are asked for.
fn keys<'k>(asked: impl IntoIterator<Item = &'k Asked<'k>>) -> Vec<&'k [Cell]> {
    asked.into_iter().map(|one| one.cells.as_slice()).collect()
}

/// Which of these keys have a row, by the bytes of the key.
async fn present(session: &mut Session, shape: &Shape<'_>, keys: &[&[Cell]]) -> Outcome<HashSet<Vec<u8>>> {
    let mut there = shape.select_keys();
    shape.key_in(&mut there, keys);
    session.keys(&there).await
}

/// The keys of the rows that lie in a stretch and are no newer than its records were: if one of them was not deleted, it is among these.
async fn still_along(session: &mut Session, shape: &Shape<'_>, stretch: &Stretch) -> Outcome<HashSet<Vec<u8>>> {
    let mut there = shape.select_keys();
    stretch.keys(&mut there, shape);
    stretch.not_newer(&mut there, shape);
    session.keys(&there).await
}

/// Which of these keys, that have no row any more, have one whose key the engine finds the same and that is written otherwise: an application
/// changed capitals or blanks. `there` are the rows that asking for all of them brought.
async fn respelled(session: &mut Session, shape: &Shape<'_>, missing: &[&[Cell]], there: &HashSet<Vec<u8>>) -> Outcome<HashSet<Vec<u8>>> {
    let name = |key: &&[Cell]| encoded(key.iter().map(Cell::seen));
    let names: HashSet<Vec<u8>> = missing.iter().map(name).collect();
    let mut out = HashSet::new();
    if there.is_subset(&names) {
        return Ok(out);
    }
    for key in missing {
        let found = present(session, shape, &[*key]).await?;
        let name = name(key);
        if !found.is_empty() && !found.contains(&name) {
            out.insert(name);
        }
    }
    Ok(out)
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
            *parts.entry(encoded(key.iter().map(Cell::seen))).or_default() += count;
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
