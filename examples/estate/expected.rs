//! What must become of every record, written down before retentiond sees any of them.
//!
//! `EXPECTED.tsv` has one line for each record, its fields separated by tabs:
//!
//! | field | holds |
//! |---|---|
//! | outcome | `destroyed`, `review` (due, and waiting for a person), `kept` or `undetermined` (the date cannot be told, so it stays) |
//! | address | the record's address for `retentiond explain`; `-` for what is no record of its own |
//! | place | `file PATH` or `row TABLE COLUMN VALUE` |
//! | why | one sentence for a reader |
//!
//! Lines that begin with `#` are comments; the first of them ends with the day for which the list was made.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::{Estate, Result};

const FILE: &str = "EXPECTED.tsv";

/// What must become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Destroyed,
    Review,
    Kept,
    Undetermined,
}

/// Where a record is, so that it can be looked for without asking retentiond.
pub enum Place {
    File(String),
    Row { table: &'static str, column: &'static str, value: i64 },
}

/// The list.
#[derive(Default)]
pub struct Expected(Vec<String>);

impl Expected {
    /// Notes a record that a dataset holds.
    pub fn record(&mut self, outcome: Outcome, address: &str, place: &Place, why: &str) {
        self.0.push(format!("{outcome}\t{address}\t{place}\t{why}"));
    }

    /// Notes something that is part of a record, or of none.
    pub fn part(&mut self, outcome: Outcome, place: &Place, why: &str) {
        self.record(outcome, "-", place, why);
    }

    pub fn len(&self) -> usize {
        self.0.iter().filter(|line| !line.contains("\t-\t")).count()
    }

    pub fn write(&self, estate: &Estate) -> Result<()> {
        let mut text =
            format!("# what must become of every record of this estate on {}\n# outcome\taddress\tplace\twhy\n", estate.calendar.today);
        for line in &self.0 {
            writeln!(text, "{line}")?;
        }
        estate.create(FILE, text)?;
        Ok(())
    }
}

/// Looks for every record on the list, without retentiond's help, and says what is not as expected.
pub async fn verify(dir: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(dir.join(FILE)).map_err(|error| format!("{}: {error}", dir.join(FILE).display()))?;
    let mut housing = SqliteConnectOptions::new().filename(dir.join("housing.db")).read_only(true).connect().await?;
    let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut wrong = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [outcome, address, place, why] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("{FILE}: expected four fields, found: {line}").into());
        };
        let there = is_there(dir, place, &mut housing).await?;
        let fine = there != (outcome == "destroyed");
        if address != "-" {
            let count = counts.entry(outcome.to_owned()).or_default();
            count.0 += 1;
            count.1 += u64::from(!fine);
        }
        if !fine {
            wrong += 1;
            println!("NOT AS EXPECTED: {place} is {}; expected: {outcome} ({why})", if there { "still there" } else { "gone" });
        }
    }
    for (outcome, (all, wrong)) in &counts {
        println!("{outcome:<13}{all:>5} expected, {wrong} otherwise");
    }
    Ok(wrong == 0 && !counts.is_empty())
}

async fn is_there(dir: &Path, place: &str, housing: &mut SqliteConnection) -> Result<bool> {
    if let Some(path) = place.strip_prefix("file ") {
        return Ok(dir.join(path).symlink_metadata().is_ok());
    }
    let ["row", table, column, value] = place.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("{FILE}: expected a place, found: {place}").into());
    };
    // The names come from the list that this program wrote.
    let query = format!("SELECT count(*) FROM {table} WHERE {column} = ?");
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(query)).bind(value.parse::<i64>()?).fetch_one(housing).await?;
    Ok(count > 0)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Destroyed => "destroyed",
            Self::Review => "review",
            Self::Kept => "kept",
            Self::Undetermined => "undetermined",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {path}"),
            Self::Row { table, column, value } => write!(f, "row {table} {column} {value}"),
        }
    }
}
