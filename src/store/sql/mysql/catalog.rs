//! What MySQL and MariaDB say about a table.
//!
//! **How columns are read.** Two different values must never be read alike, because a change that does not show would not be noticed before
//! a removal. Text in a character set that Unicode does not hold whole is therefore read by its hash, like everything that may be long: a
//! server also answers null, with no more than a warning, where a computed text is longer than its longest packet. Such columns can be
//! neither key nor date. Dates and times are read as text, because the driver takes zero dates for null.
//!
//! **Labels** (`enum`, `set`) are ordered by their numbers and compared as texts. A walk along them would leave rows out, so they are no
//! keys.

use super::super::config::Table;
use super::super::layout::{Column, Index, Layout, Sort};
use super::super::session::{Failure, Outcome, Session};
use super::super::shape;
use super::super::statement::{Bind, Dialect, Name, Statement};
use super::super::value::Cell;
use crate::error::escape;
use crate::yaml::suggest;

const AS_IT_IS: (&str, &str) = ("", "");
const AS_TEXT: (&str, &str) = ("CAST(", " AS CHAR)");
const AS_UNSIGNED: (&str, &str) = ("CAST(", " AS UNSIGNED)");
const AS_HASH: (&str, &str) = ("SHA2(", ", 256)");

/// Contents up to this length are read whole, as keys such as a UUID in 16 bytes must be.
const SHORT: i64 = 64;

/// Character sets whose every text Unicode has, and no two of which become the same there.
const FAITHFUL: &[&str] = &[
    "ascii", "cp850", "cp852", "cp866", "gb18030", "keybcs2", "koi8r", "koi8u", "latin1", "latin2", "latin5", "latin7", "macce",
    "macroman", "ucs2", "utf16", "utf16le", "utf32", "utf8", "utf8mb3", "utf8mb4",
];

/// A table as the server found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) schema: String,
    pub(super) name: String,
    /// `BASE TABLE`, or what it is instead.
    pub(super) kind: String,
    pub(super) engine: String,
    /// Whether the server is MariaDB.
    pub(super) maria: bool,
    /// About how many rows it has, by the server's statistics.
    pub(super) rows: Option<u64>,
}

/// One column as the server describes it.
struct Described {
    /// Without length and the like.
    base: String,
    /// Whole.
    declared: String,
    charset: String,
    /// The longest content in bytes.
    octets: i64,
    digits: (i64, i64),
}

/// The table that a name stands for: as it is written, or where the server does not tell capitals apart in another case.
pub(super) async fn find(session: &mut Session, table: &Table) -> Outcome<Option<Found>> {
    let mut statement = Statement::new(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, VERSION() LIKE '%MariaDB%', @@lower_case_table_names <> 0, \
         CAST(TABLE_ROWS AS SIGNED) \
         FROM information_schema.TABLES WHERE TABLE_SCHEMA = ",
    );
    schema(&mut statement, table).sql(" AND TABLE_NAME = ").value(&Cell::Text(table.name.as_str().into()));
    let mut near = None;
    for row in session.rows(&statement).await? {
        let [schema, name, kind, engine, maria, folds, rows] = row.as_slice() else { continue };
        let rows = if let Cell::Int(rows @ 1..) = rows { u64::try_from(*rows).ok() } else { None };
        let found =
            Found { schema: words(schema), name: words(name), kind: words(kind), engine: words(engine), maria: maria.is_true(), rows };
        let exact = found.name == table.name.as_str() && table.schema.as_ref().is_none_or(|schema| schema.as_str() == found.schema);
        if exact {
            return Ok(Some(found));
        }
        if folds.is_true() {
            near = Some(found);
        }
    }
    Ok(near)
}

fn schema<'s>(statement: &'s mut Statement, table: &Table) -> &'s mut Statement {
    match &table.schema {
        Some(schema) => statement.value(&Cell::Text(schema.as_str().into())),
        None => statement.sql("DATABASE()"),
    }
}

/// Reads the layout of a dataset's table; the reason why it cannot be used otherwise.
pub(in super::super) async fn layout_of(session: &mut Session, table: &Table) -> Outcome<Result<Layout, String>> {
    let Some(found) = find(session, table).await? else {
        let mut statement = Statement::new("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ");
        schema(&mut statement, table);
        let names: Vec<String> = session.rows(&statement).await?.iter().flatten().map(words).collect();
        let hint = suggest(table.name.as_str(), names.iter().map(String::as_str));
        return Ok(Err(format!("there is no table `{}`{}", table.shown(), escape(hint.as_bytes()))));
    };
    let kind = match found.kind.as_str() {
        "BASE TABLE" => "table".to_owned(),
        "SYSTEM VERSIONED" => "system-versioned table, which keeps what is deleted".to_owned(),
        other => escape(other.to_ascii_lowercase().as_bytes()),
    };
    if kind == "table" {
        // A column that the account may not read is not even described to it, and a change of it would not be seen.
        let mut all = Statement::new("SELECT * FROM ");
        shape::table(&mut all, table).sql(" LIMIT 0");
        if let Err(failure) = session.rows(&all).await {
            let Failure { trouble, text } = failure;
            let text = format!("`{}` cannot be read as a whole: {text}", table.shown());
            return if trouble == super::super::session::Trouble::Other { Ok(Err(text)) } else { Err(Failure { trouble, text }) };
        }
    }
    let columns = columns(session, &found).await?;
    let indexes = indexes(session, &found).await?;
    let primary = indexes.iter().find(|(name, index)| name == "PRIMARY" && index.ordered);
    let appended = match primary {
        Some((_, index)) if found.engine.eq_ignore_ascii_case("InnoDB") => index.columns.iter().map(|(name, _)| name.clone()).collect(),
        _ => Vec::new(),
    };
    let indexes = indexes.into_iter().map(|(_, index)| index).collect();
    Ok(Ok(Layout {
        dialect: Dialect::MySql,
        columns,
        kind,
        collates: false,
        rowid: None,
        indexes,
        appended,
        version: None,
        number: 0,
        rows: found.rows,
    }))
}

/// Adds which table a description is asked for.
fn of<'s>(statement: &'s mut Statement, found: &Found) -> &'s mut Statement {
    statement.sql(" WHERE TABLE_SCHEMA = ").value(&Cell::Text(found.schema.as_str().into()));
    statement.sql(" AND TABLE_NAME = ").value(&Cell::Text(found.name.as_str().into()))
}

async fn columns(session: &mut Session, found: &Found) -> Outcome<Vec<Column>> {
    let mut statement = Statement::new(
        "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, \
         CAST(CHARACTER_OCTET_LENGTH AS SIGNED), CAST(NUMERIC_PRECISION AS SIGNED), CAST(NUMERIC_SCALE AS SIGNED) \
         FROM information_schema.COLUMNS",
    );
    of(&mut statement, found).sql(" ORDER BY ORDINAL_POSITION");
    let mut columns = Vec::new();
    for row in session.rows(&statement).await? {
        let [table, name, declared, base, nullable, charset, collation, octets, precision, scale] = row.as_slice() else { continue };
        // The comparison of names may be looser than the names are.
        if words(table) != found.name {
            continue;
        }
        let number = |cell: &Cell| if let Cell::Int(number) = cell { *number } else { 0 };
        let described = Described {
            base: words(base).to_ascii_lowercase(),
            declared: words(declared),
            charset: words(charset).to_ascii_lowercase(),
            octets: if *octets == Cell::Null { i64::MAX } else { number(octets) },
            digits: (number(precision), number(scale)),
        };
        let (sort, read, bind) = described.way();
        let name = Name::new(&words(name)).map_err(Failure::other)?;
        let (equal, loose, not_null) = (bind.clone(), sort == Sort::Real, words(nullable) == "NO");
        let equality = match (sort, collation) {
            (Sort::Int, _) => "a whole number".into(),
            (Sort::Real, _) => "a real number".into(),
            (Sort::Text, Cell::Text(collation)) => format!("text in {collation}"),
            _ => described.declared.clone(),
        };
        columns.push(Column {
            name,
            declared: described.declared,
            sort,
            not_null,
            width: None,
            number: 0,
            read,
            bind,
            equal,
            loose,
            equality,
        });
    }
    Ok(columns)
}

impl Described {
    /// What the column holds, how it is read, and how a value is handed back to it.
    fn way(&self) -> (Sort, (&'static str, &'static str), Bind) {
        let cast = |kind: &str| Bind::Cast(kind.into());
        let unsigned = self.declared.to_ascii_lowercase().contains("unsigned");
        let faithful = FAITHFUL.contains(&self.charset.as_str());
        match self.base.as_str() {
            // The driver takes one digit for a truth value, and the sign from there.
            "tinyint" if unsigned => (Sort::Int, AS_UNSIGNED, Bind::Bare),
            "bigint" if unsigned => (Sort::Int, AS_IT_IS, cast("UNSIGNED")),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => (Sort::Int, AS_IT_IS, Bind::Bare),
            "float" | "double" => (Sort::Real, AS_IT_IS, Bind::Bare),
            "decimal" => {
                let (precision, scale) = self.digits;
                (Sort::Other, AS_TEXT, cast(&format!("DECIMAL({precision},{scale})")))
            }
            "date" => (Sort::Date, AS_TEXT, cast("DATE")),
            "datetime" => (Sort::Local, AS_TEXT, cast("DATETIME(6)")),
            "timestamp" => (Sort::Instant, ("CONCAT(CAST(", " AS CHAR), 'Z')"), Bind::Utc),
            "time" => (Sort::Other, AS_TEXT, Bind::Bare),
            "year" => (Sort::Other, ("CAST(", " AS SIGNED)"), Bind::Bare),
            "bit" => (Sort::Other, AS_UNSIGNED, cast("UNSIGNED")),
            "uuid" => (Sort::Other, AS_TEXT, cast("UUID")),
            "inet6" => (Sort::Other, AS_TEXT, cast("INET6")),
            "inet4" => (Sort::Other, AS_TEXT, cast("INET4")),
            "char" | "varchar" | "tinytext" | "text" if faithful => (Sort::Text, AS_IT_IS, Bind::Bare),
            "enum" | "set" if faithful => (Sort::Label, AS_IT_IS, Bind::Bare),
            "binary" | "varbinary" if self.octets <= SHORT => (Sort::Other, ("HEX(", ")"), Bind::Unhex),
            // Long texts and contents, documents, geometries, and whatever else there will be.
            _ => (Sort::Digest, AS_HASH, Bind::Bare),
        }
    }
}

async fn indexes(session: &mut Session, found: &Found) -> Outcome<Vec<(String, Index)>> {
    let mut statement = Statement::new("SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, COLLATION, INDEX_TYPE, ");
    // An index that the planner ignores still keeps rows apart.
    statement.sql(if found.maria { "IGNORED = 'NO'" } else { "IS_VISIBLE = 'YES'" }).sql(" FROM information_schema.STATISTICS");
    of(&mut statement, found).sql(" ORDER BY INDEX_NAME = 'PRIMARY' DESC, INDEX_NAME, SEQ_IN_INDEX");
    let mut indexes: Vec<(String, Option<Index>)> = Vec::new();
    for row in session.rows(&statement).await? {
        let [table, name, non_unique, column, part, collation, kind, visible] = row.as_slice() else { continue };
        let (name, kind) = (words(name), words(kind));
        if words(table) != found.name {
            continue;
        }
        if indexes.last().is_none_or(|(last, _)| *last != name) {
            let index = Index { unique: !non_unique.is_true(), partial: false, ordered: true, columns: Vec::new() };
            indexes.push((name, Some(index)));
        }
        if let Some((_, index)) = indexes.last_mut() {
            match (index.as_mut(), column, kind.as_str()) {
                (Some(index), Cell::Text(column), "BTREE" | "HASH") if *part == Cell::Null => {
                    index.ordered &= kind == "BTREE" && words(collation) == "A" && visible.is_true();
                    index.columns.push((column.to_string(), None));
                }
                // Over an expression or a part of a column, or of a kind that finds something else than whole values.
                _ => *index = None,
            }
        }
    }
    Ok(indexes.into_iter().filter_map(|(name, index)| Some((name, index?))).collect())
}

pub(super) fn words(cell: &Cell) -> String {
    cell.text().unwrap_or_default().into_owned()
}
