//! The one place that assembles SQL.
//!
//! A [`Statement`] is put together from four kinds of parts and no others: text of this program (`&'static str`, so nothing computed can get
//! in), [`Name`]s, which are checked when they are made and quoted when they are written (and once more where a function wants them as a text), values, which are only ever bound, and
//! [`Condition`]s, the SQL that the administrator wrote, which are checked to be one closed expression before they are put in parentheses. A
//! statement belongs to no engine until [`Statement::text`] writes it in a [`Dialect`].
//!
//! **Quoting.** SQLite takes a word in double quotes that is not a column for a string, silently. Names are therefore written in backticks,
//! which SQLite and MySQL understand and which never become strings: a column that was dropped is an error, not a constant. PostgreSQL never
//! takes double quotes for anything but a name.
//!
//! **Values.** SQLite and MySQL take a value as what it is. PostgreSQL is given every value as text together with the type that it is to be read
//! as, so that whatever type a column has, extensions' too, what was read from it as text finds its row again.

use super::value::Cell;
use crate::error::escape;

/// Which engine's SQL a statement is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    MySql,
}

/// A name of a table, column or collation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(Box<str>);

/// Longest name accepted; the engines allow 63 to 128 bytes or have no limit.
const LONGEST: usize = 128;

/// SQL written by the administrator: one expression, checked to be closed in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition(Box<str>);

/// How a value is handed over so that a column of a certain type can be compared with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bind {
    /// As it is.
    Bare,
    /// As text that is read as this type, in the words in which the database names the type.
    Cast(Box<str>),
    /// As hexadecimal digits of its bytes.
    Unhex,
    /// As a time whose text ends in `Z`, which the engine does not want to see.
    Utc,
}

/// A statement and the values bound to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Statement {
    parts: Vec<Part>,
    values: Vec<Value>,
}

/// A piece of a statement.
#[derive(Clone, Debug)]
enum Part {
    Sql(&'static str),
    Name(Name),
    /// The administrator's.
    Raw(Box<str>),
    /// The next value.
    Value(Bind),
    /// The next value, read once for the whole statement.
    Once(Bind),
    /// The next value, which is a list, as an array of this type; PostgreSQL only.
    Array(Bind),
    /// Names with dots between, as a text: how functions of PostgreSQL take the name of a table.
    Spelled(Vec<Name>),
    /// Both sides are the same value, or both are null.
    Same,
    /// The text on the left fits the regular expression on the right.
    Matches,
}

/// What is bound to one place of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    One(Cell),
    Many(Vec<Cell>),
    /// Numbers of transactions, which have no sign; PostgreSQL only.
    Versions(Vec<u32>),
    /// Where rows lie in the file of their table, as [`super::value::place`] writes it; PostgreSQL only.
    Places(Vec<u64>),
}

/// A word of SQL text, as far as this store needs to tell words apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A word or number outside quotes.
    Word(String),
    /// A string in single quotes.
    Text,
    /// A word in double quotes, with the quotes removed.
    Quoted(String),
    /// A word in backticks or brackets.
    Name,
    /// Any other character.
    Sign(char),
    /// A comment begins here.
    Comment,
    /// A quote that is not closed.
    Open,
}

impl Value {
    /// A list that holds whole numbers and nothing else.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        let Self::Many(cells) = self else { return None };
        // Of an empty list nobody knows of what.
        cells.first()?;
        cells.iter().map(|cell| if let Cell::Int(number) = cell { Some(*number) } else { None }).collect()
    }
}

impl Name {
    /// Checks a name.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(format!(
                "expected a name of 1 to {LONGEST} bytes without control characters, found \"{}\"",
                escape(text.as_bytes())
            ));
        }
        Ok(Self(text.into()))
    }

    /// The bare name.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name for messages.
    pub(super) fn shown(&self) -> String {
        escape(self.0.as_bytes())
    }

    /// Whether both name the same thing: engines fold the case of names.
    pub(super) fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }
}

impl Condition {
    /// Checks that the text is one expression that cannot reach out of the parentheses around it.
    pub(super) fn new(text: &str, dialect: Dialect) -> Result<Self, String> {
        let refuse = |what: &str| Err(format!("expected one SQL expression, found {what}"));
        let mut depth = 0_i32;
        let mut before = None;
        for token in tokens(text) {
            match &token {
                Token::Sign(';') => return refuse("`;`; remove it"),
                Token::Comment => return refuse("a comment (`--` or `/*`); remove it"),
                Token::Open => return refuse("a quote that is not closed; close it"),
                Token::Text
                    if dialect == Dialect::Postgres && matches!(&before, Some(Token::Word(word)) if word.eq_ignore_ascii_case("e")) =>
                {
                    return refuse("a string with escapes (E'…'); write it without");
                }
                // Within brackets PostgreSQL sees quotes where others see a name.
                Token::Name if dialect == Dialect::Postgres => return refuse("`[` or a backtick; write it without"),
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                // PostgreSQL casts with `::` and has operators such as `?`, `@>` and `#>>`; its parameters and its other quotes begin with `$`.
                Token::Sign(':' | '?' | '@' | '#') if dialect == Dialect::Postgres => {}
                Token::Sign(sign @ ('?' | ':' | '@' | '$' | '#')) => {
                    return Err(format!("expected one SQL expression without parameters, found `{sign}`; write the value out"));
                }
                _ => {}
            }
            if depth < 0 {
                return refuse("a `)` without its `(`");
            }
            before = Some(token);
        }
        // Signs that one engine takes for quotes and another for something else would hide from one what the other runs.
        let strange: &[char] = match dialect {
            Dialect::Sqlite => &[],
            Dialect::Postgres => &['`'],
            Dialect::MySql => &['\\', '['],
        };
        if let Some(sign) = text.chars().find(|c| strange.contains(c)) {
            return Err(format!("expected one SQL expression that reads alike everywhere, found `{sign}`; write it without"));
        }
        match (depth, before) {
            (1.., _) => refuse("a `(` without its `)`"),
            (_, None) => refuse("nothing"),
            _ if text.contains('\0') => refuse("a zero byte"),
            _ => Ok(Self(text.into())),
        }
    }

    /// Whether the text has a query in it.
    pub(super) fn reads_tables(&self) -> bool {
        let words = ["SELECT", "TABLE", "VALUES", "WITH"];
        tokens(&self.0).iter().any(|token| matches!(token, Token::Word(word) if words.iter().any(|known| word.eq_ignore_ascii_case(known))))
    }

    /// The words in double quotes, which must be columns: SQLite would take any other for a string.
    pub(super) fn quoted(&self) -> Vec<String> {
        tokens(&self.0).into_iter().filter_map(|token| if let Token::Quoted(name) = token { Some(name) } else { None }).collect()
    }
}

impl Statement {
    /// Begins a statement.
    pub(super) fn new(text: &'static str) -> Self {
        Self { parts: vec![Part::Sql(text)], values: Vec::new() }
    }

    /// Adds text of this program.
    pub(super) fn sql(&mut self, text: &'static str) -> &mut Self {
        self.parts.push(Part::Sql(text));
        self
    }

    /// Adds a name, quoted.
    pub(super) fn name(&mut self, name: &Name) -> &mut Self {
        self.parts.push(Part::Name(name.clone()));
        self
    }

    /// Adds names, quoted, with commas between.
    pub(super) fn names<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) -> &mut Self {
        self.list(", ", names, |statement, name| {
            statement.name(name);
        })
    }

    /// Adds a text in which these names stand as PostgreSQL reads them, quoted; PostgreSQL only, whose sessions here take a backslash for nothing special.
    pub(super) fn spelled<'n>(&mut self, names: impl IntoIterator<Item = &'n Name>) -> &mut Self {
        self.parts.push(Part::Spelled(names.into_iter().cloned().collect()));
        self
    }

    /// Adds a bound value.
    pub(super) fn value(&mut self, value: &Cell) -> &mut Self {
        self.typed(value, &Bind::Bare)
    }

    /// Adds a bound value that a column of a certain type is compared with or set to.
    pub(super) fn typed(&mut self, value: &Cell, bind: &Bind) -> &mut Self {
        self.parts.push(Part::Value(bind.clone()));
        let value = match value {
            Cell::Text(text) if *bind == Bind::Utc => Cell::Text(text.strip_suffix('Z').unwrap_or(text).into()),
            other => other.clone(),
        };
        self.values.push(Value::One(value));
        self
    }

    /// Adds a bound value that every row is compared with. PostgreSQL would read the text of a date again for each row otherwise, because settings
    /// might have changed in between. Not for what an index is searched by: the planner does not know what it will be.
    pub(super) fn once(&mut self, value: &Cell, bind: &Bind) -> &mut Self {
        self.typed(value, bind);
        self.parts.pop();
        self.parts.push(Part::Once(bind.clone()));
        self
    }

    /// Adds a list of values as one array; PostgreSQL only.
    pub(super) fn array(&mut self, values: Vec<Cell>, bind: &Bind) -> &mut Self {
        self.parts.push(Part::Array(bind.clone()));
        self.values.push(Value::Many(values));
        self
    }

    /// Adds a list of the numbers of transactions as one array; PostgreSQL only.
    pub(super) fn versions(&mut self, numbers: Vec<u32>) -> &mut Self {
        self.parts.push(Part::Array(Bind::Bare));
        self.values.push(Value::Versions(numbers));
        self
    }

    /// Adds a list of places as one array; PostgreSQL only.
    pub(super) fn places(&mut self, places: Vec<u64>) -> &mut Self {
        self.parts.push(Part::Array(Bind::Bare));
        self.values.push(Value::Places(places));
        self
    }

    /// Adds bound values with commas between.
    pub(super) fn bind<'a>(&mut self, values: impl IntoIterator<Item = &'a Cell>) -> &mut Self {
        self.list(", ", values, |statement, value| {
            statement.value(value);
        })
    }

    /// Adds the comparison that finds two nulls the same.
    pub(super) fn same(&mut self) -> &mut Self {
        self.parts.push(Part::Same);
        self
    }

    /// Adds: this column fits the regular expression that follows.
    pub(super) fn matches(&mut self, column: &Name) -> &mut Self {
        self.name(column);
        self.parts.push(Part::Matches);
        self
    }

    /// Adds the administrator's expression in parentheses; nothing given stands for true.
    pub(super) fn condition(&mut self, condition: Option<&Condition>) -> &mut Self {
        self.sql("(");
        match condition {
            Some(condition) => self.parts.push(Part::Raw(condition.0.clone())),
            None => self.parts.push(Part::Sql("1 = 1")),
        }
        self.sql(")")
    }

    /// Adds several things of one kind with text of this program between them.
    pub(super) fn list<T>(
        &mut self,
        between: &'static str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.sql(between);
            }
            each(self, item);
        }
        self
    }

    /// Adds another statement's text and values.
    pub(super) fn part(&mut self, other: &Self) -> &mut Self {
        self.parts.extend(other.parts.iter().cloned());
        self.values.extend(other.values.iter().cloned());
        self
    }

    /// The text in which the engine is asked.
    pub(super) fn text(&self, dialect: Dialect) -> String {
        let mut out = String::with_capacity(256);
        let mut values = self.values.iter().zip(1..);
        for part in &self.parts {
            match part {
                Part::Sql(text) => out.push_str(text),
                Part::Raw(text) => out.push_str(text),
                Part::Name(name) => dialect.quote(&name.0, &mut out),
                Part::Spelled(names) => {
                    let mut spelled = String::new();
                    for name in names {
                        spelled.push_str(if spelled.is_empty() { "" } else { "." });
                        dialect.quote(&name.0, &mut spelled);
                    }
                    out.push_str(&format!("'{}'", spelled.replace('\'', "''")));
                }
                Part::Same => out.push_str(match dialect {
                    Dialect::Sqlite => " IS ",
                    Dialect::Postgres => " IS NOT DISTINCT FROM ",
                    Dialect::MySql => " <=> ",
                }),
                Part::Matches => out.push_str(if dialect == Dialect::Postgres { " ~ " } else { " REGEXP " }),
                Part::Value(bind) | Part::Array(bind) | Part::Once(bind) => {
                    if let Some((value, number)) = values.next() {
                        let query = matches!(part, Part::Once(_)) && dialect == Dialect::Postgres;
                        out.push_str(if query { "(SELECT " } else { "" });
                        dialect.place(value, number, bind, &mut out);
                        out.push_str(if query { ")" } else { "" });
                    }
                }
            }
        }
        out
    }

    /// The values in the order of the text.
    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }
}

impl Dialect {
    /// Writes a name in the engine's quotes.
    fn quote(self, name: &str, out: &mut String) {
        let (quote, doubled) = if self == Self::Postgres { ('"', "\"\"") } else { ('`', "``") };
        out.push(quote);
        for c in name.chars() {
            if c == quote {
                out.push_str(doubled);
            } else {
                out.push(c);
            }
        }
        out.push(quote);
    }

    /// Writes the place that a value takes.
    fn place(self, value: &Value, number: usize, bind: &Bind, out: &mut String) {
        if self == Self::Postgres {
            // Numbers are sent as such; to write and read them as text would cost more than to find their rows.
            if let (Bind::Cast(kind), Some(_)) = (bind, value.integers()) {
                out.push_str(&format!("CAST(CAST(${number} AS int8[]) AS {kind}[])"));
                return;
            }
            let (kind, array) = match (bind, value) {
                (Bind::Cast(kind), Value::One(_)) => (&**kind, ""),
                (Bind::Cast(kind), Value::Many(_) | Value::Versions(_) | Value::Places(_)) => (&**kind, "[]"),
                (_, Value::One(Cell::Int(_))) => ("int8", ""),
                (_, Value::One(Cell::Real(_))) => ("float8", ""),
                (_, Value::One(_)) => ("text", ""),
                (_, Value::Many(_)) => ("text", "[]"),
                (_, Value::Versions(_)) => ("xid", "[]"),
                (_, Value::Places(_)) => ("tid", "[]"),
            };
            out.push_str(&format!("CAST(${number} AS {kind}{array})"));
            return;
        }
        // Text that is not UTF-8 is bound as bytes and cast, because drivers bind only UTF-8 as text.
        let (before, after) = match (bind, value) {
            // MySQL would take the text for a number with a sign, and the largest of those for every larger one.
            (Bind::Cast(kind), Value::One(Cell::Text(_))) if &**kind == "UNSIGNED" => ("CAST(CAST(", " AS CHAR) AS UNSIGNED)".to_owned()),
            (Bind::Cast(kind), _) => ("CAST(", format!(" AS {kind})")),
            (Bind::Unhex, _) => ("UNHEX(", ")".to_owned()),
            (Bind::Utc, _) => ("CAST(", " AS DATETIME(6))".to_owned()),
            (_, Value::One(Cell::Mangled(_))) => ("CAST(", " AS TEXT)".to_owned()),
            _ => ("", String::new()),
        };
        out.push_str(before);
        out.push('?');
        out.push_str(&after);
    }
}

/// Splits SQL text into words, as far as quotes, comments and parentheses go.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            '\'' | '"' | '`' | '[' => {
                let close = if c == '[' { ']' } else { c };
                let mut word = String::new();
                let closed = loop {
                    match rest.next() {
                        None => break false,
                        // A doubled quote stands for itself; brackets cannot be doubled.
                        Some(found) if found == close && c != '[' && rest.peek() == Some(&close) => {
                            word.push(close);
                            rest.next();
                        }
                        Some(found) if found == close => break true,
                        Some(other) => word.push(other),
                    }
                };
                out.push(match (closed, c) {
                    (false, _) => Token::Open,
                    (true, '\'') => Token::Text,
                    (true, '"') => Token::Quoted(word),
                    (true, _) => Token::Name,
                });
            }
            '-' if rest.peek() == Some(&'-') => out.push(Token::Comment),
            '/' if rest.peek() == Some(&'*') => out.push(Token::Comment),
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                    word.push(next);
                }
                out.push(Token::Word(word));
            }
            other => out.push(Token::Sign(other)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_cannot_reach_out_of_its_parentheses() {
        for good in ["status = 'closed'", "a = 'x;y -- z'", "(a) OR (b)", "\"a\" IN (1, 2)", "a - -1 > 0", "[a)] = `b(`", "n = 'it''s'"] {
            assert!(Condition::new(good, Dialect::Sqlite).is_ok(), "{good}");
        }
        let engines = [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql];
        for bad in ["", "  ", "a) OR (1", "a; DROP TABLE t", "a -- b", "a /* b", "a = 'x", "(a", "a = $1", "a\0", "$$ ) OR ( $$"] {
            assert!(engines.iter().all(|dialect| Condition::new(bad, *dialect).is_err()), "{bad}");
        }
        for bad in ["a = ?", "a = :b", "a = @b", "a # b"] {
            assert!(Condition::new(bad, Dialect::Sqlite).is_err() && Condition::new(bad, Dialect::MySql).is_err(), "{bad}");
        }
        for good in ["a::date < now()", "doc @> '{\"a\": 1}'", "doc ? 'a'", "doc #>> '{a}' ~ '^\\d'"] {
            assert!(Condition::new(good, Dialect::Postgres).is_ok(), "{good}");
        }
        for bad in ["doc['a]'] IS NULL) OR ('[' <> 'x' AND arr[1] = 1", "a ` ) OR ( ` b", "E'\\' ) OR ( '' = '", "e'x'"] {
            assert!(Condition::new(bad, Dialect::Postgres).is_err(), "{bad}");
        }
        for bad in ["a = '\\' ) OR ( b = '", "a = [1]"] {
            assert!(Condition::new(bad, Dialect::MySql).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_quoted_and_values_are_bound() {
        let mut statement = Statement::new("SELECT ");
        statement.name(&Name::new("od`d; --").unwrap()).sql(" = ").value(&Cell::Text("' OR 1".into()));
        assert_eq!(statement.text(Dialect::Sqlite), "SELECT `od``d; --` = ?");
        assert_eq!(statement.text(Dialect::MySql), "SELECT `od``d; --` = ?");
        assert_eq!(statement.text(Dialect::Postgres), "SELECT \"od`d; --\" = CAST($1 AS text)");
        let mut statement = Statement::new("");
        statement.name(&Name::new("a\"b").unwrap()).same().typed(&Cell::Text("7".into()), &Bind::Cast("integer".into()));
        statement.sql(" AND x = ANY(").array(vec![Cell::Int(1)], &Bind::Cast("bigint".into())).sql(")");
        let text = "\"a\"\"b\" IS NOT DISTINCT FROM CAST($1 AS integer) AND x = ANY(CAST(CAST($2 AS int8[]) AS bigint[]))";
        assert_eq!(statement.text(Dialect::Postgres), text);
        assert_eq!(statement.values(), [Value::One(Cell::Text("7".into())), Value::Many(vec![Cell::Int(1)])]);
        let mut statement = Statement::new("");
        statement.spelled(&[Name::new("it's").unwrap(), Name::new("a\"b.c'); --").unwrap()]);
        assert_eq!(statement.text(Dialect::Postgres), "'\"it''s\".\"a\"\"b.c''); --\"'");
        assert!(Name::new("").is_err() && Name::new("a\nb").is_err() && Name::new("a\0").is_err());
    }
}
