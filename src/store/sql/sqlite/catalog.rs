//! What the database itself says about a table: its columns, what makes its rows unique, and in which order they can be walked.

use super::super::config::{Dataset, Table};
use super::super::session::{Failure, Outcome, Session};
use super::super::statement::{Name, Statement, Token, tokens};
use super::super::value::Cell;
use crate::error::escape;
use crate::yaml::suggest;

/// A table as the database describes it.
#[derive(Clone, Debug)]
pub(in super::super) struct Layout {
    pub(in super::super) columns: Vec<Column>,
    /// `table`, `view`, `virtual` or `shadow`.
    pub(in super::super) kind: String,
    without_rowid: bool,
    /// Whether the table's definition names a collation, so that a column may compare otherwise than byte by byte.
    collates: bool,
    indexes: Vec<Index>,
}

/// One column.
#[derive(Clone, Debug)]
pub(in super::super) struct Column {
    pub(in super::super) name: Name,
    declared: String,
    not_null: bool,
    /// Position in the primary key, from 1; 0 when it is not part of it.
    pk: i64,
}

/// One index whose parts are all plain columns.
#[derive(Clone, Debug)]
struct Index {
    unique: bool,
    partial: bool,
    /// Name of the column and of the collation.
    columns: Vec<(String, Name)>,
}

/// A column as a term of an order: with the collation in which it is unique or indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Term {
    pub(in super::super) at: usize,
    pub(in super::super) column: Name,
    /// `None`: byte by byte, as the column compares anyway.
    pub(in super::super) collation: Option<Name>,
}

/// What makes the rows of a dataset unique.
#[derive(Clone, Debug)]
pub(in super::super) struct Unique {
    pub(in super::super) terms: Vec<Term>,
    /// The same in the order of the index, in which rows can be walked without sorting.
    pub(in super::super) walk: Vec<Term>,
    /// Whether a key may be null, which makes its row unaddressable.
    pub(in super::super) nullable: bool,
}

impl Layout {
    /// Reads the description of a table; `None` when there is no such table.
    pub(in super::super) async fn read(session: &mut Session, table: &Name) -> Outcome<Option<Self>> {
        let text = Cell::Text(table.as_str().into());
        let mut statement = Statement::new("SELECT type, wr FROM pragma_table_list(");
        statement.value(&text).sql(") WHERE schema = 'main'");
        let Some([kind, without_rowid]) =
            session.rows(&statement).await?.into_iter().next().and_then(|row| <[Cell; 2]>::try_from(row).ok())
        else {
            return Ok(None);
        };
        let mut statement = Statement::new("SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(");
        statement.value(&text).sql(", 'main') WHERE hidden <> 1 ORDER BY cid");
        let mut columns = Vec::new();
        for row in session.rows(&statement).await? {
            if let [name, declared, not_null, pk] = row.as_slice() {
                let name = Name::new(&words(name)).map_err(Failure::other)?;
                columns.push(Column { name, declared: words(declared).to_uppercase(), not_null: number(not_null) != 0, pk: number(pk) });
            }
        }
        let mut statement = Statement::new("SELECT name, \"unique\", partial FROM pragma_index_list(");
        statement.value(&text).sql(", 'main')");
        let mut indexes = Vec::new();
        for row in session.rows(&statement).await? {
            let [name, unique, partial] = row.as_slice() else { continue };
            let mut statement = Statement::new("SELECT name, coll, \"desc\" FROM pragma_index_xinfo(");
            statement.value(name).sql(", 'main') WHERE key = 1 ORDER BY seqno");
            let parts = session.rows(&statement).await?;
            // An index over an expression has a part without a name, one in descending order cannot be walked upwards with others.
            let columns: Option<Vec<_>> = parts
                .iter()
                .map(|part| match part.as_slice() {
                    [Cell::Text(name), Cell::Text(collation), desc] if number(desc) == 0 || parts.len() == 1 => {
                        Some((name.to_string(), Name::new(collation).ok()?))
                    }
                    _ => None,
                })
                .collect();
            if let Some(columns) = columns {
                indexes.push(Index { unique: number(unique) != 0, partial: number(partial) != 0, columns });
            }
        }
        let mut statement = Statement::new("SELECT sql FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(");
        statement.value(&text).sql(")");
        let definition = session.rows(&statement).await?.into_iter().flatten().next();
        let collates = definition
            .is_none_or(|text| tokens(&words(&text)).iter().any(|t| matches!(t, Token::Word(w) if w.eq_ignore_ascii_case("COLLATE"))));
        Ok(Some(Self { collates, columns, kind: words(&kind), without_rowid: number(&without_rowid) != 0, indexes }))
    }

    /// The position of a column.
    pub(in super::super) fn column(&self, name: &Name) -> Result<usize, String> {
        self.columns.iter().position(|column| column.name.is(name.as_str())).ok_or_else(|| {
            let hint = suggest(name.as_str(), self.columns.iter().map(|column| column.name.as_str()));
            format!("there is no column `{}`{}", name.shown(), escape(hint.as_bytes()))
        })
    }

    /// Whether the columns are unique together, and in which collations.
    pub(in super::super) fn unique(&self, key: &[Name]) -> Result<Unique, String> {
        let at = key.iter().map(|name| self.column(name)).collect::<Result<Vec<_>, _>>()?;
        let term = |at: usize, collation: Option<Name>| Term { at, column: self.columns[at].name.clone(), collation };
        if let [only] = at.as_slice()
            && self.rowid() == Some(*only)
        {
            let terms = vec![term(*only, None)];
            return Ok(Unique { walk: terms.clone(), terms, nullable: false });
        }
        let matching = |index: &&Index| {
            index.unique
                && !index.partial
                && index.columns.len() == key.len()
                && key.iter().all(|name| index.columns.iter().any(|(column, _)| name.is(column)))
        };
        let Some(index) = self.indexes.iter().find(matching) else {
            let names: Vec<String> = key.iter().map(Name::shown).collect();
            return Err(format!(
                "the key ({}) is neither the primary key nor unique by an index, so one record could stand for several rows",
                names.join(", ")
            ));
        };
        let collated = |name: &Name| index.columns.iter().position(|(column, _)| name.is(column));
        let mut terms: Vec<(Option<usize>, Term)> = Vec::new();
        for (at, name) in at.iter().zip(key) {
            let place = collated(name);
            // Left out where it says nothing new: SQLite finds its way by a bare column best.
            let collation = place.map(|place| index.columns[place].1.clone()).filter(|collation| self.collates || !collation.is("BINARY"));
            terms.push((place, term(*at, collation)));
        }
        let mut walk = terms.clone();
        walk.sort_by_key(|(place, _)| *place);
        let bare = |terms: Vec<(Option<usize>, Term)>| terms.into_iter().map(|(_, term)| term).collect::<Vec<_>>();
        let nullable = at.iter().any(|at| !(self.columns[*at].not_null || self.without_rowid && self.columns[*at].pk > 0));
        Ok(Unique { terms: bare(terms), walk: bare(walk), nullable })
    }

    /// The column that is the rowid itself, if one is.
    fn rowid(&self) -> Option<usize> {
        let mut keys = self.columns.iter().enumerate().filter(|(_, column)| column.pk > 0);
        match (keys.next(), keys.next()) {
            // Exactly `INTEGER PRIMARY KEY` is the rowid; were it DESC, an index of its own would exist and be found.
            (Some((at, column)), None) if column.declared == "INTEGER" && !self.without_rowid => {
                let indexed = self
                    .indexes
                    .iter()
                    .any(|index| index.unique && !index.partial && index.columns.len() == 1 && column.name.is(&index.columns[0].0));
                (!indexed).then_some(at)
            }
            _ => None,
        }
    }

    /// Whether some index begins with these columns.
    pub(in super::super) fn is_indexed(&self, columns: &[Name]) -> bool {
        let begins = |found: &[(String, Name)]| {
            found.len() >= columns.len() && columns.iter().all(|name| found[..columns.len()].iter().any(|(column, _)| name.is(column)))
        };
        let primary =
            self.columns.iter().filter(|column| column.pk == 1).any(|column| columns.len() == 1 && columns[0].is(column.name.as_str()));
        primary || self.indexes.iter().any(|index| !index.partial && begins(&index.columns))
    }

    /// The order (event, key), when an index gives it without sorting.
    pub(in super::super) fn event_order(&self, event: usize, unique: &Unique) -> Option<Vec<Term>> {
        let name = &self.columns[event].name;
        if unique.terms.iter().any(|term| term.at == event) {
            return None;
        }
        self.indexes.iter().find(|index| {
            let Some((first, rest)) = index.columns.split_first() else { return false };
            let rest_is_key = rest.len() == unique.terms.len()
                && rest.iter().zip(&unique.terms).all(|((column, collation), term)| {
                    term.column.is(column) && term.collation.as_ref().map_or(collation.is("BINARY"), |known| known == collation)
                });
            let rowid = matches!(unique.terms.as_slice(), [one] if self.rowid() == Some(one.at));
            // Dates are compared as plain bytes: another collation would order them otherwise.
            !index.partial && name.is(&first.0) && first.1.is("BINARY") && (rest_is_key || (rest.is_empty() && rowid))
        })?;
        let mut terms = vec![Term { at: event, column: name.clone(), collation: None }];
        terms.extend(unique.terms.iter().cloned());
        Some(terms)
    }
}

/// Reads the layout of a dataset's table; the reason why it cannot be used otherwise.
pub(in super::super) async fn layout_of(session: &mut Session, table: &Table) -> Outcome<Result<Layout, String>> {
    if table.schema.as_ref().is_some_and(|schema| !schema.is("main")) {
        return Ok(Err(format!("there is no table `{}`: an SQLite file has only the schema main", table.shown())));
    }
    if let Some(layout) = Layout::read(session, &table.name).await? {
        return Ok(Ok(layout));
    }
    let names = session
        .rows(&Statement::new("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"))
        .await?;
    let names: Vec<String> = names.iter().filter_map(|row| row.first().map(words)).collect();
    let hint = suggest(table.name.as_str(), names.iter().map(String::as_str));
    Ok(Err(format!("there is no table `{}`{}", table.shown(), escape(hint.as_bytes()))))
}

/// The words in double quotes in the dataset's conditions that are no columns of the table: SQLite would take them for strings.
pub(in super::super) fn strings_in_disguise(dataset: &Dataset, layout: &Layout) -> Vec<String> {
    let conditions = dataset.filter.iter().chain(&dataset.anonymised);
    let expressions = dataset.changes.iter().filter_map(|change| match &change.to {
        super::super::config::To::Expression(expression) => Some(expression),
        super::super::config::To::Constant(_) => None,
    });
    let mut out = Vec::new();
    for quoted in conditions.chain(expressions).flat_map(super::super::statement::Condition::quoted) {
        let known = layout.columns.iter().any(|column| column.name.is(&quoted)) || dataset.table.name.is(&quoted);
        if !known {
            let shown = escape(quoted.as_bytes());
            out.push(format!("\"{shown}\" is no column of the table, so SQLite would take it for a string; write '{shown}' for a string"));
        }
    }
    out
}

pub(super) fn words(cell: &Cell) -> String {
    cell.text().unwrap_or_default().into_owned()
}

pub(super) fn number(cell: &Cell) -> i64 {
    if let Cell::Int(number) = cell { *number } else { 0 }
}
