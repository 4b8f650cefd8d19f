//! The one place that assembles SQL.
//!
//! A [`Statement`] is put together from four kinds of parts and no others: text of this program (`&'static str`, so nothing computed can get
//! in), [`Name`]s, which are checked when they are made and quoted when they are written, values, which are only ever bound, and
//! [`Condition`]s, the SQL that the administrator wrote, which are checked to be one closed expression before they are put in parentheses.
//!
//! **Quoting.** SQLite takes a word in double quotes that is not a column for a string, silently. Names are therefore written in backticks,
//! which SQLite and MySQL understand and which never become strings: a column that was dropped is an error, not a constant.

use super::value::Cell;
use crate::error::escape;

/// A name of a table, column or collation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(Box<str>);

/// Longest name accepted; the engines allow 63 to 128 bytes or have no limit.
const LONGEST: usize = 128;

/// SQL written by the administrator: one expression, checked to be closed in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition(Box<str>);

/// A statement and the values bound to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Statement {
    text: String,
    values: Vec<Cell>,
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
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut depth = 0_i32;
        let mut empty = true;
        for token in tokens(text) {
            empty = false;
            match token {
                Token::Sign(';') => return Err("expected one SQL expression, found `;`; remove it".into()),
                Token::Comment => return Err("expected one SQL expression, found a comment (`--` or `/*`); remove it".into()),
                Token::Open => return Err("expected one SQL expression, found a quote that is not closed; close it".into()),
                Token::Sign(sign @ ('?' | ':' | '@' | '$' | '#')) => {
                    return Err(format!("expected one SQL expression without parameters, found `{sign}`; write the value out"));
                }
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                _ => {}
            }
            if depth < 0 {
                return Err("expected one SQL expression, found a `)` without its `(`".into());
            }
        }
        if depth > 0 {
            return Err("expected one SQL expression, found a `(` without its `)`".into());
        }
        if empty {
            return Err("expected one SQL expression, found nothing".into());
        }
        if text.contains('\0') {
            return Err("expected one SQL expression, found a zero byte".into());
        }
        Ok(Self(text.into()))
    }

    /// The words in double quotes, which must be columns: SQLite would take any other for a string.
    pub(super) fn quoted(&self) -> Vec<String> {
        tokens(&self.0).into_iter().filter_map(|token| if let Token::Quoted(name) = token { Some(name) } else { None }).collect()
    }
}

impl Statement {
    /// Begins a statement.
    pub(super) fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    /// Adds text of this program.
    pub(super) fn sql(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a name, quoted.
    pub(super) fn name(&mut self, name: &Name) -> &mut Self {
        self.text.push('`');
        self.text.push_str(&name.0.replace('`', "``"));
        self.text.push('`');
        self
    }

    /// Adds names, quoted, with commas between.
    pub(super) fn names<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) -> &mut Self {
        self.list(", ", names, |statement, name| {
            statement.name(name);
        })
    }

    /// Adds a bound value. Text that is not UTF-8 is bound as bytes and cast, because drivers bind only UTF-8 as text.
    pub(super) fn value(&mut self, value: &Cell) -> &mut Self {
        match value {
            Cell::Mangled(bytes) => {
                self.text.push_str("CAST(? AS TEXT)");
                self.values.push(Cell::Blob(bytes.clone()));
            }
            other => {
                self.text.push('?');
                self.values.push(other.clone());
            }
        }
        self
    }

    /// Adds bound values with commas between.
    pub(super) fn bind<'a>(&mut self, values: impl IntoIterator<Item = &'a Cell>) -> &mut Self {
        self.list(", ", values, |statement, value| {
            statement.value(value);
        })
    }

    /// Adds the administrator's expression in parentheses; nothing given stands for true.
    pub(super) fn condition(&mut self, condition: Option<&Condition>) -> &mut Self {
        self.text.push('(');
        self.text.push_str(condition.map_or("1 = 1", |condition| &condition.0));
        self.text.push(')');
        self
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
        self.text.push_str(&other.text);
        self.values.extend(other.values.iter().cloned());
        self
    }

    /// The text, with `?` for each value.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The values in the order of the text.
    pub(super) fn values(&self) -> &[Cell] {
        &self.values
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
            assert!(Condition::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", "  ", "a) OR (1", "a; DROP TABLE t", "a -- b", "a /* b", "a = 'x", "(a", "a = ?", "a = :b", "a = @b", "a = $1", "a\0"]
        {
            assert!(Condition::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_quoted_and_values_are_bound() {
        let mut statement = Statement::new("SELECT ");
        statement.name(&Name::new("od`d; --").unwrap()).sql(" = ").value(&Cell::Text("' OR 1".into()));
        assert_eq!(statement.text(), "SELECT `od``d; --` = ?");
        assert_eq!(statement.values().len(), 1);
        assert!(Name::new("").is_err() && Name::new("a\nb").is_err() && Name::new("a\0").is_err());
    }
}
