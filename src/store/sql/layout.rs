//! What a database says about a table, in the terms of no engine: its columns, what makes its rows unique, in which order they can be walked.
//!
//! Each engine reads its own catalogue into a [`Layout`] ([`super::sqlite::catalog`], [`super::postgres::catalog`]). With each column comes how
//! it is read and how a value is handed back to it, so that nobody else has to know types. SQLite's columns are loose: any value may stand
//! in any of them, and reading tells. The others' are typed, and what a type cannot say plainly is read as text.

use super::config::{Dataset, Table};
use super::session::{Outcome, Session};
use super::statement::{Bind, Dialect, Name, Statement};
use super::{mysql, postgres, sqlite};
use crate::error::escape;
use crate::yaml::suggest;

/// A table as the database describes it.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) dialect: Dialect,
    pub(super) columns: Vec<Column>,
    /// `table`, or what it is instead: `view`, `virtual table`, …
    pub(super) kind: String,
    /// Whether some column may compare otherwise than byte by byte, so that the collation has to be named. SQLite only.
    pub(super) collates: bool,
    /// The column that is SQLite's rowid itself, if one is.
    pub(super) rowid: Option<usize>,
    pub(super) indexes: Vec<Index>,
    /// Columns that the engine appends to every index by itself, in this order.
    pub(super) appended: Vec<String>,
    /// What the engine says of each version of a row and of no other version of the same row: so that whether a row changed is told without reading
    /// all of it; and, behind a comma, where the row lies. `None` where it says nothing of the kind.
    pub(super) version: Option<&'static str>,
    /// The number that the engine gave the table for good; 0 where it gives none.
    pub(super) number: i64,
    /// About how many rows there are, by the engine's statistics, where it has any.
    pub(super) rows: Option<u64>,
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: Name,
    /// The type in the engine's words.
    pub(super) declared: String,
    pub(super) sort: Sort,
    pub(super) not_null: bool,
    /// Bytes that every value but null takes, where the engine says so.
    pub(super) width: Option<i64>,
    /// The number that the engine gave the column for good, whatever it is called; 0 where it gives none.
    pub(super) number: i64,
    /// What stands before and behind the column's name where it is read.
    pub(super) read: (&'static str, &'static str),
    /// How a value is handed back.
    pub(super) bind: Bind,
    /// How a text is handed over that need not fit the column's length.
    pub(super) equal: Bind,
    /// Whether one value of its type can be written in several ways, such as 7 and 7.0, so that texts cannot tell whether two are the same.
    pub(super) loose: bool,
    /// What decides which values are the same, in words; empty where others look after it.
    pub(super) equality: String,
}

/// What kind of values a column holds, as far as dates and keys need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Any; each value tells. SQLite.
    Loose,
    Int,
    Real,
    /// Calendar dates.
    Date,
    /// Dates with a time of day and without zone.
    Local,
    /// Instants.
    Instant,
    /// Text in a collation.
    Text,
    /// Text out of a list, whose order is not that in which it compares: no key. MySQL.
    Label,
    /// Anything else, read as text.
    Other,
    /// Contents that are read as their hash: neither key nor date.
    Digest,
}

/// One index whose parts are all plain columns in one direction.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) unique: bool,
    pub(super) partial: bool,
    /// Whether its order is that in which `<` compares.
    pub(super) ordered: bool,
    /// The columns, each with its collation where that has to be named.
    pub(super) columns: Vec<(String, Option<Name>)>,
}

/// A column as a term of an order or a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) at: usize,
    pub(super) column: Name,
    /// The collation in which it is unique or indexed; `None`: as the column compares anyway.
    pub(super) collation: Option<Name>,
    pub(super) sort: Sort,
    pub(super) read: (&'static str, &'static str),
    pub(super) bind: Bind,
}

/// What makes the rows of a dataset unique.
#[derive(Clone, Debug)]
pub(super) struct Unique {
    pub(super) terms: Vec<Term>,
    /// The same in the order of the index, in which rows can be walked without sorting.
    pub(super) walk: Vec<Term>,
    /// Whether a key may be null, which makes its row unaddressable.
    pub(super) nullable: bool,
}

impl Layout {
    /// The position of a column.
    pub(super) fn column(&self, name: &Name) -> Result<usize, String> {
        self.columns.iter().position(|column| self.names(name, column.name.as_str())).ok_or_else(|| {
            let hint = suggest(name.as_str(), self.columns.iter().map(|column| column.name.as_str()));
            format!("there is no column `{}`{}", name.shown(), escape(hint.as_bytes()))
        })
    }

    /// Whether a name written in the configuration means this column or table: PostgreSQL tells capitals apart, the others do not.
    pub(super) fn names(&self, written: &Name, found: &str) -> bool {
        if self.dialect == Dialect::Postgres { written.as_str() == found } else { written.is(found) }
    }

    fn term(&self, at: usize, collation: Option<Name>) -> Term {
        let column = &self.columns[at];
        Term { at, column: column.name.clone(), collation, sort: column.sort, read: column.read, bind: column.bind.clone() }
    }

    /// Whether the columns are unique together, and in which collations.
    pub(super) fn unique(&self, key: &[Name]) -> Result<Unique, String> {
        let at = key.iter().map(|name| self.column(name)).collect::<Result<Vec<_>, _>>()?;
        if let Some(at) = at.iter().find(|at| matches!(self.columns[**at].sort, Sort::Digest | Sort::Label)) {
            let column = &self.columns[*at];
            return Err(format!("the key column `{}` is of type {}, which cannot name a record", column.name.shown(), column.declared));
        }
        if let [only] = at.as_slice()
            && self.rowid == Some(*only)
        {
            let terms = vec![self.term(*only, None)];
            return Ok(Unique { walk: terms.clone(), terms, nullable: false });
        }
        let matching = |index: &&Index| {
            index.unique
                && !index.partial
                && index.columns.len() == key.len()
                && key.iter().all(|name| index.columns.iter().any(|(column, _)| self.names(name, column)))
        };
        let Some(index) = self.indexes.iter().filter(matching).find(|index| index.ordered).or_else(|| self.indexes.iter().find(matching))
        else {
            let names: Vec<String> = key.iter().map(Name::shown).collect();
            return Err(format!(
                "the key ({}) is neither the primary key nor unique by an index, so one record could stand for several rows",
                names.join(", ")
            ));
        };
        let mut terms: Vec<(Option<usize>, Term)> = Vec::new();
        for (at, name) in at.iter().zip(key) {
            let place = index.columns.iter().position(|(column, _)| self.names(name, column));
            // Left out where it says nothing new: SQLite finds its way by a bare column best.
            let collation =
                place.and_then(|place| index.columns[place].1.clone()).filter(|collation| self.collates || !collation.is("BINARY"));
            terms.push((place, self.term(*at, collation)));
        }
        let mut walk = terms.clone();
        walk.sort_by_key(|(place, _)| *place);
        let bare = |terms: Vec<(Option<usize>, Term)>| terms.into_iter().map(|(_, term)| term).collect::<Vec<_>>();
        let nullable = at.iter().any(|at| !self.columns[*at].not_null);
        Ok(Unique { terms: bare(terms), walk: bare(walk), nullable })
    }

    /// Whether some index begins with these columns.
    pub(super) fn is_indexed(&self, columns: &[Name]) -> bool {
        let begins = |found: &[(String, Option<Name>)]| {
            found.len() >= columns.len()
                && columns.iter().all(|name| found[..columns.len()].iter().any(|(column, _)| self.names(name, column)))
        };
        let rowid = matches!((self.rowid, columns), (Some(at), [only]) if self.names(only, self.columns[at].name.as_str()));
        rowid || self.indexes.iter().any(|index| !index.partial && begins(&index.columns))
    }

    /// The order (event, key), when an index gives it without sorting.
    pub(super) fn event_order(&self, event: usize, unique: &Unique) -> Option<Vec<Term>> {
        let name = &self.columns[event].name;
        if unique.terms.iter().any(|term| term.at == event) || matches!(self.columns[event].sort, Sort::Digest | Sort::Label) {
            return None;
        }
        // Dates are compared as plain bytes: another collation would order them otherwise.
        let plain = |collation: &Option<Name>| collation.as_ref().is_none_or(|collation| collation.is("BINARY"));
        let appended: Vec<(String, Option<Name>)> = self.appended.iter().map(|name| (name.clone(), None)).collect();
        self.indexes.iter().find(|index| {
            let Some((first, rest)) = index.columns.split_first() else { return false };
            let rest: Vec<_> = rest.iter().chain(if rest.is_empty() { appended.as_slice() } else { &[] }).collect();
            let rest_is_key = rest.len() == unique.terms.len()
                && rest.iter().zip(&unique.terms).all(|((column, collation), term)| {
                    let same = term.collation.as_ref().map_or_else(|| plain(collation), |known| collation.as_ref() == Some(known));
                    term.column.as_str().eq_ignore_ascii_case(column) && same
                });
            !index.partial && index.ordered && name.is(&first.0) && plain(&first.1) && rest_is_key
        })?;
        let mut terms = vec![self.term(event, None)];
        terms.extend(unique.terms.iter().cloned());
        Some(terms)
    }
}

impl Term {
    /// Adds the column with its collation.
    pub(super) fn add(&self, statement: &mut Statement) {
        statement.name(&self.column);
        if let Some(collation) = &self.collation {
            statement.sql(" COLLATE ").name(collation);
        }
    }
}

/// Reads the layout of a dataset's table; the reason why it cannot be used otherwise.
pub(super) async fn layout_of(session: &mut Session, table: &Table) -> Outcome<Result<Layout, String>> {
    match session.dialect() {
        Dialect::Sqlite => sqlite::catalog::layout_of(session, table).await,
        Dialect::Postgres => postgres::catalog::layout_of(session, table).await,
        Dialect::MySql => mysql::catalog::layout_of(session, table).await,
    }
}

/// What is wrong with the dataset's own SQL on this engine.
pub(super) fn strange_words(dataset: &Dataset, layout: &Layout) -> Vec<String> {
    if layout.dialect == Dialect::Sqlite { sqlite::catalog::strings_in_disguise(dataset, layout) } else { Vec::new() }
}
