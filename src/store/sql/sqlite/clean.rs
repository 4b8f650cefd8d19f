//! How thoroughly a removal is done, and the honest word for it.
//!
//! - `row-deleted`, `anonymised`: the row is gone or changed, and `secure_delete` has written zeros where it was in the database file. What
//!   stays: journal blocks that the file system has freed, or frames of the -wal file.
//! - `rewritten`: afterwards `VACUUM` has written the whole file anew (and the -wal is checkpointed and cut), so earlier versions of the row,
//!   deleted without zeroing by others, are gone from the live files too. Asking for `vacuumed` gets the same, since SQLite's VACUUM is both.
//!   It takes time and disk space in proportion to the file, once for each batch.
//! - `overwritten`: nothing that this removal touched is left even on the raw disk, by one of two recipes, each measured. With a rollback journal:
//!   hold the file alone, keep the journal file, VACUUM after the commit, and overwrite the journal in place. With a WAL: checkpoint, write zeros over the old
//!   frames by way of a filler table that is dropped again, checkpoint, VACUUM, checkpoint.
//!
//! What can be known beforehand is asked *before* anything is deleted: the file system writes in place (ext4 not in data=journal mode,
//! tmpfs), nobody else holds the file, freed pages are not cut off unzeroed (`auto_vacuum=FULL`), and no statistics hold values. What shows only
//! afterwards lowers the grade that is reported, with a caveat that says why.
//!
//! **A crash** between commit and clean-up leaves the residue that a lower grade would have left: a `-journal` with old pages, a longer -wal,
//! or the table `retentiond_filler`, which holds zeros and is dropped by the next clean-up. Rollback journals that this connection kept are
//! removed by SQLite's usual means at the end.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::super::session::{Failure, Outcome, Session};
use super::super::statement::Statement;
use super::super::value::Cell;
use super::beside;
use crate::store::Act;
use crate::store::data_journal::data_journal;

/// Every grade, from the lowest up.
pub(in super::super) const GRADES: &[&str] = &["anonymised", "row-deleted", "vacuumed", "rewritten", "overwritten"];

/// What a removal reached.
#[derive(Clone, Debug)]
pub(in super::super) struct Grade {
    pub(in super::super) name: &'static str,
    pub(in super::super) caveats: Vec<&'static str>,
}

/// What has been made ready on the connection before the first record.
#[derive(Clone, Debug)]
pub(in super::super) struct Preparation {
    goal: Goal,
    wal: bool,
    /// Caveats that hold whatever is reached.
    standing: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Deleted,
    Rewritten,
    Overwritten,
}

const EXT: u64 = 0xEF53;
const TMPFS: u64 = 0x0102_1994;
const XFS: u64 = 0x5846_5342;

/// One row of the filler table; several make up the length.
const FILLER_ROW: u64 = 16 << 20;

/// What a first page, a schema change and the rows' own overhead take beyond the old frames.
const FILLER_EXTRA: u64 = 64 << 10;

impl Grade {
    /// What a removal reaches without more ado.
    pub(in super::super) fn of(act: Act) -> Self {
        Self { name: if act == Act::Destroy { "row-deleted" } else { "anonymised" }, caveats: Vec::new() }
    }
}

impl Preparation {
    /// Whether the removing transaction must hold the file alone.
    pub(in super::super) fn exclusive(&self) -> bool {
        self.goal == Goal::Overwritten && !self.wal
    }
}

/// Makes the connection ready for the grade asked for; the reason when it is known now that the grade cannot be reached.
pub(in super::super) async fn prepare(session: &mut Session, path: &Path, asked: Option<&str>) -> Outcome<Result<Preparation, String>> {
    let goal = match asked {
        None | Some("anonymised" | "row-deleted") => Goal::Deleted,
        Some("vacuumed" | "rewritten") => Goal::Rewritten,
        Some("overwritten") => Goal::Overwritten,
        Some(_) => return Ok(Err("SQLite knows no such grade".into())),
    };
    let wal = pragma(session, "PRAGMA journal_mode").await? == Some(Cell::Text("wal".into()));
    let statistics = session.number(&Statement::new("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat4'")).await? > 0
        && session.number(&Statement::new("SELECT count(*) FROM sqlite_stat4")).await? > 0;
    let full_text =
        Statement::new("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%USING fts%'");
    let full_text = session.number(&full_text).await? > 0;
    let mut preparation = Preparation { goal, wal, standing: Vec::new() };
    if statistics {
        preparation.standing.push("statistics-may-hold-values");
    }
    if full_text {
        preparation.standing.push("full-text-index-may-hold-values");
    }
    // The undo of a savepoint holds old rows: in memory, never in a temporary file.
    session.run("PRAGMA temp_store = MEMORY").await?;
    if goal == Goal::Deleted {
        return Ok(Ok(preparation));
    }
    if goal == Goal::Overwritten {
        match in_place(path) {
            Ok(caveat) => preparation.standing.extend(caveat),
            Err(why) => return Ok(Err(why)),
        }
        if pragma(session, "PRAGMA auto_vacuum").await? == Some(Cell::Int(1)) {
            return Ok(Err("auto_vacuum=FULL cuts freed pages off the file before they are zeroed".into()));
        }
        if statistics {
            return Ok(Err("the statistics of ANALYZE (sqlite_stat4) hold values of records; delete them first".into()));
        }
    }
    let alone = if wal { prepare_wal(session).await } else { prepare_journal(session, goal).await };
    Ok(match alone {
        Ok(()) => Ok(preparation),
        Err(failure) => {
            restore(session, &preparation).await;
            Err(format!("the file could not be held alone: {failure}"))
        }
    })
}

async fn prepare_wal(session: &mut Session) -> Outcome<()> {
    session.rows(&Statement::new("PRAGMA wal_autocheckpoint = 0")).await?;
    session.run("DROP TABLE IF EXISTS retentiond_filler").await?;
    checkpoint(session, "PRAGMA wal_checkpoint(RESTART)").await
}

async fn prepare_journal(session: &mut Session, goal: Goal) -> Outcome<()> {
    if goal == Goal::Overwritten {
        for (set, wanted) in [("PRAGMA locking_mode = EXCLUSIVE", "exclusive"), ("PRAGMA journal_mode = PERSIST", "persist")] {
            if pragma(session, set).await? != Some(Cell::Text(wanted.into())) {
                return Err(Failure::other("the database did not accept another locking or journal mode"));
            }
        }
    }
    session.run("BEGIN EXCLUSIVE").await?;
    session.run("ROLLBACK").await
}

/// Cleans up after the last commit and says what was reached.
pub(in super::super) async fn finish(session: &mut Session, path: &Path, preparation: &Preparation, base: Grade) -> Grade {
    let mut caveats = Vec::new();
    let reached = match (preparation.goal, preparation.wal) {
        (Goal::Deleted, _) => None,
        (Goal::Rewritten, wal) => rewrite(session, wal).await.map_err(|_| caveats.push("could-not-rewrite")).ok().map(|()| "rewritten"),
        (Goal::Overwritten, true) => {
            overwrite_wal(session, path).await.map_err(|_| caveats.push("could-not-overwrite-wal")).ok().map(|()| "overwritten")
        }
        (Goal::Overwritten, false) => {
            let rewritten = rewrite(session, false).await.map_err(|_| caveats.push("could-not-rewrite")).ok().map(|()| "rewritten");
            // Whatever came of that, the journal holds the rows as they were.
            let overwritten = overwrite_journal(path).map_err(|_| caveats.push("could-not-overwrite-journal"));
            if overwritten.is_ok() { rewritten.map(|_| "overwritten") } else { rewritten }
        }
    };
    restore(session, preparation).await;
    let name = reached.unwrap_or(base.name);
    match (name, preparation.wal) {
        ("overwritten", _) => {}
        ("rewritten", _) => caveats.push("freed-blocks"),
        (_, true) => caveats.push("wal-frames"),
        (_, false) => caveats.push("freed-journal-blocks"),
    }
    // VACUUM reaches what others left within the file. What went with a -wal or -journal that was cut or deleted earlier nobody reaches.
    if name != "rewritten" {
        caveats.push("earlier-versions-not-reached");
    }
    caveats.extend_from_slice(&preparation.standing);
    caveats.push("backups-not-reached");
    Grade { name, caveats }
}

/// Puts the connection back as it was. Nothing depends on its success: the connection is closed next, and no mode set here outlives it.
pub(in super::super) async fn restore(session: &mut Session, preparation: &Preparation) {
    if preparation.goal == Goal::Overwritten && !preparation.wal {
        let _ = pragma(session, "PRAGMA journal_mode = DELETE").await;
        let _ = pragma(session, "PRAGMA locking_mode = NORMAL").await;
        // The lock goes with the next read.
        let _ = session.rows(&Statement::new("SELECT count(*) FROM sqlite_schema")).await;
    }
}

/// Writes the whole file anew, as `purge: vacuum` asks once a run is done.
pub(in super::super) async fn vacuum(session: &mut Session) -> Outcome<()> {
    let mode = session.rows(&Statement::new("PRAGMA journal_mode")).await?;
    rewrite(session, mode == [[Cell::Text("wal".into())]]).await
}

async fn rewrite(session: &mut Session, wal: bool) -> Outcome<()> {
    // The copy that VACUUM makes may be large, and holds live rows only.
    session.run("PRAGMA temp_store = FILE").await?;
    session.run("VACUUM").await?;
    if wal { checkpoint(session, "PRAGMA wal_checkpoint(TRUNCATE)").await } else { Ok(()) }
}

async fn overwrite_wal(session: &mut Session, path: &Path) -> Outcome<()> {
    checkpoint(session, "PRAGMA wal_checkpoint(RESTART)").await?;
    let length = std::fs::metadata(beside(path, "-wal")).map_or(0, |found| found.len());
    let mut left = length + FILLER_EXTRA;
    session.run("BEGIN IMMEDIATE").await?;
    let filled = async {
        session.run("CREATE TABLE retentiond_filler (zeros BLOB)").await?;
        while left > 0 {
            let size = left.min(FILLER_ROW);
            let mut statement = Statement::new("INSERT INTO retentiond_filler VALUES (zeroblob(");
            statement.value(&Cell::Int(i64::try_from(size).unwrap_or(0))).sql("))");
            session.execute(&statement).await?;
            left -= size;
        }
        session.run("COMMIT").await
    };
    if let Err(failure) = filled.await {
        let _ = session.run("ROLLBACK").await;
        return Err(failure);
    }
    session.run("DROP TABLE retentiond_filler").await?;
    checkpoint(session, "PRAGMA wal_checkpoint(TRUNCATE)").await?;
    rewrite(session, true).await
}

/// Writes zeros over the whole journal file where it lies, and waits until they are on the disk. The journal is not the database file: no lock
/// of SQLite's is on it, so opening and closing it takes none away.
fn overwrite_journal(path: &Path) -> std::io::Result<()> {
    let journal = beside(path, "-journal");
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    // Not `File::create`, which would free the very blocks that are to be overwritten.
    let mut file = OpenOptions::new().write(true).custom_flags(flags).open(journal)?;
    let mut left = file.metadata()?.len();
    let zeros = vec![0; 1 << 16];
    while left > 0 {
        let size = left.min(zeros.len() as u64);
        file.write_all(&zeros[..usize::try_from(size).unwrap_or(zeros.len())])?;
        left -= size;
    }
    file.sync_data()
}

/// Whether the file system writes file contents in place, with the caveat that belongs to it; otherwise why not.
///
/// XFS does, but not for extents that a copy shares, nor for blocks near one that was shared once. Only the file's extents tell that, and to
/// read them the database file would have to be opened, and closed, which takes away SQLite's locks.
fn in_place(path: &Path) -> Result<Option<&'static str>, String> {
    let found = rustix::fs::statfs(path).map_err(|error| format!("the file system cannot be told: {error}"))?;
    match u64::try_from(found.f_type).unwrap_or(0) {
        EXT => {
            let device = std::fs::metadata(path).map_err(|error| error.to_string())?.dev();
            match data_journal(rustix::fs::major(device), rustix::fs::minor(device)) {
                Some(false) => Ok(None),
                Some(true) => Err("the file system journals file contents (data=journal)".into()),
                None => Err("whether the file system journals file contents cannot be told".into()),
            }
        }
        TMPFS => Ok(Some("medium-is-memory")),
        XFS => Err("XFS may write changes elsewhere where the file shares extents with a copy, or did".into()),
        _ => Err("the file system is not known to write in place".into()),
    }
}

async fn pragma(session: &mut Session, text: &'static str) -> Outcome<Option<Cell>> {
    Ok(session.rows(&Statement::new(text)).await?.into_iter().next().and_then(|row| row.into_iter().next()))
}

/// A checkpoint counts only when the first column says that nobody was in its way.
async fn checkpoint(session: &mut Session, text: &'static str) -> Outcome<()> {
    match pragma(session, text).await? {
        Some(Cell::Int(0)) => Ok(()),
        _ => Err(Failure::other("another connection is in the way of a checkpoint")),
    }
}
