//! One component of a pattern: what a single name must look like, and what it says.
//!
//! Most components are plain text, or one wildcard or capture between two plain texts; these are compared byte by byte. Everything else becomes
//! a regular expression, which takes linear time whatever the name is.

use std::fmt::Write;

use regex::bytes::Regex;

use super::pattern::{Captured, whole};
use crate::error::escape;

/// One component of a pattern.
#[derive(Clone, Debug)]
pub struct Component {
    tokens: Vec<Token>,
    shape: Shape,
    /// The same with every variable part taking as much as it can: where the two readings of a date differ, the date is in doubt.
    greedy: Option<Regex>,
    /// The same with anything in place of the dates.
    loose: Option<Regex>,
}

/// How a name is compared.
#[derive(Clone, Debug)]
enum Shape {
    Exact(Box<[u8]>),
    /// Prefix, suffix, and at least so many bytes between.
    Affix(Box<[u8]>, Box<[u8]>, usize),
    Regex(Regex),
}

#[derive(Clone, Debug)]
enum Token {
    Text(String),
    Star,
    Character,
    Class(bool, Vec<(char, char)>),
    Either(Vec<Vec<Token>>),
    Plain(usize),
    Date(usize, Vec<Piece>),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Field(Field),
}

/// A part of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `%Y`
    Year,
    /// `%m`
    Month,
    /// `%d`
    Day,
    /// `%j`, the day of the year.
    Ordinal,
    /// `%H`, `%M`, `%S`: allowed and ignored.
    Clock,
}

/// One thing that a name says.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A plain capture.
    Plain(usize, &'a [u8]),
    /// A part of a date.
    Date(usize, Field, i16),
    /// A date that can be read at several places of the name.
    Ambiguous(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Lazy,
    Greedy,
    Loose,
}

impl Field {
    fn width(self) -> usize {
        match self {
            Self::Year => 4,
            Self::Ordinal => 3,
            Self::Month | Self::Day | Self::Clock => 2,
        }
    }
}

impl Component {
    pub(super) fn parse(text: &str, names: &mut Vec<String>, dates: &mut Vec<String>) -> Result<Self, String> {
        let mut reader = Reader { rest: text.chars().peekable(), names, dates };
        let tokens = reader.tokens(false)?;
        Self::new(tokens)
    }

    /// The component that matches every name with this beginning and this end.
    pub fn affix(prefix: &str, suffix: &str) -> Self {
        let shape = Shape::Affix(prefix.as_bytes().into(), suffix.as_bytes().into(), 0);
        Self { tokens: Vec::new(), shape, greedy: None, loose: None }
    }

    fn new(tokens: Vec<Token>) -> Result<Self, String> {
        let dated = tokens.iter().any(|token| matches!(token, Token::Date(..)));
        let text = |token: Option<&Token>| match token {
            Some(Token::Text(text)) => Some(text.as_bytes().into()),
            None => Some(Box::default()),
            _ => None,
        };
        let shape = match tokens.as_slice() {
            [Token::Text(text)] => Shape::Exact(text.as_bytes().into()),
            [one] if one.is_span() => Shape::Affix(Box::default(), Box::default(), one.least()),
            [before, one] if one.is_span() && text(Some(before)).is_some() => {
                Shape::Affix(text(Some(before)).unwrap_or_default(), Box::default(), one.least())
            }
            [one, after] if one.is_span() && text(Some(after)).is_some() => {
                Shape::Affix(Box::default(), text(Some(after)).unwrap_or_default(), one.least())
            }
            [before, one, after] if one.is_span() && text(Some(before)).is_some() && text(Some(after)).is_some() => {
                Shape::Affix(text(Some(before)).unwrap_or_default(), text(Some(after)).unwrap_or_default(), one.least())
            }
            _ => Shape::Regex(whole(&expression(&tokens, Mode::Lazy))?),
        };
        let movable = tokens.iter().any(|token| !matches!(token, Token::Text(_) | Token::Date(..) | Token::Character | Token::Class(..)));
        let greedy = if dated && movable { Some(whole(&expression(&tokens, Mode::Greedy))?) } else { None };
        let loose = if dated { Some(whole(&expression(&tokens, Mode::Loose))?) } else { None };
        Ok(Self { tokens, shape, greedy, loose })
    }

    /// Whether the name fits.
    #[inline]
    pub fn matches(&self, name: &[u8]) -> bool {
        match &self.shape {
            Shape::Exact(text) => name == &**text,
            Shape::Affix(prefix, suffix, least) => {
                name.len() >= prefix.len() + suffix.len() + least && name.starts_with(prefix) && name.ends_with(suffix)
            }
            Shape::Regex(regex) => regex.is_match(name),
        }
    }

    /// Whether the name would fit if anything were a date.
    pub fn nearly(&self, name: &[u8]) -> bool {
        self.loose.as_ref().is_some_and(|loose| loose.is_match(name) && !self.matches(name))
    }

    /// The text, when the component is nothing but text.
    pub fn exact(&self) -> Option<&[u8]> {
        match &self.shape {
            Shape::Exact(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the names that fit all end in the same extension, so that no two of them have the same stem.
    pub fn fixes_extension(&self) -> bool {
        match (&self.shape, self.tokens.last()) {
            (Shape::Exact(_), _) => true,
            (_, Some(Token::Text(text))) => text.contains('.'),
            _ => false,
        }
    }

    /// Whether anything is captured.
    pub fn captures(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Plain(_) | Token::Date(..)))
    }

    /// The parts of a date that stand here.
    pub(super) fn fields(&self, date: usize) -> Vec<Field> {
        let mut fields = Vec::new();
        for token in &self.tokens {
            if let Token::Date(index, pieces) = token
                && *index == date
            {
                fields.extend(pieces.iter().filter_map(|piece| if let Piece::Field(field) = piece { Some(*field) } else { None }));
            }
        }
        fields
    }

    /// Adds what a name that fits says.
    pub fn capture(&self, name: &[u8], into: &mut Captured) {
        match &self.shape {
            Shape::Affix(prefix, suffix, _) => {
                let plain = self.tokens.iter().find_map(|token| if let Token::Plain(index) = token { Some(*index) } else { None });
                if let Some(index) = plain {
                    let middle = name.get(prefix.len()..name.len().saturating_sub(suffix.len())).unwrap_or_default();
                    into.set(Value::Plain(index, middle));
                }
            }
            Shape::Regex(regex) if self.captures() => {
                let Some(found) = regex.captures(name) else { return };
                let groups: Vec<&[u8]> =
                    found.iter().skip(1).map(|group| group.map(|group| group.as_bytes()).unwrap_or_default()).collect();
                let other = self.greedy.as_ref().and_then(|greedy| greedy.captures(name));
                let mut at = 0;
                for token in &self.tokens {
                    match token {
                        Token::Plain(index) => {
                            into.set(Value::Plain(*index, groups[at]));
                            at += 1;
                        }
                        Token::Date(index, pieces) => {
                            for piece in pieces {
                                let Piece::Field(field) = piece else { continue };
                                let number = groups[at]
                                    .iter()
                                    .fold(0, |sum: i16, digit| sum.saturating_mul(10).saturating_add(i16::from(digit.wrapping_sub(b'0'))));
                                into.set(Value::Date(*index, *field, number));
                                if let Some(other) = &other
                                    && other.get(at + 1).map(|group| group.as_bytes()) != Some(groups[at])
                                {
                                    into.set(Value::Ambiguous(*index));
                                }
                                at += 1;
                            }
                        }
                        _ => {}
                    }
                }
            }
            Shape::Exact(_) | Shape::Regex(_) => {}
        }
    }

    /// Whether some name may fit both. Errs towards yes.
    pub fn may_meet(&self, other: &Self) -> bool {
        match (&self.shape, &other.shape) {
            (Shape::Exact(text), _) => other.matches(text),
            (_, Shape::Exact(text)) => self.matches(text),
            _ => {
                let ((a, y), (b, z)) = (self.ends(), other.ends());
                (a.starts_with(b) || b.starts_with(a)) && (y.ends_with(z) || z.ends_with(y))
            }
        }
    }

    /// The text that every name begins with, and the one that every name ends with, as far as known.
    fn ends(&self) -> (&[u8], &[u8]) {
        if let Shape::Affix(prefix, suffix, _) = &self.shape {
            return (prefix, suffix);
        }
        let first = if let Some(Token::Text(text)) = self.tokens.first() { text.as_bytes() } else { &[] };
        let last = if let Some(Token::Text(text)) = self.tokens.last() { text.as_bytes() } else { &[] };
        (first, last)
    }
}

impl Token {
    fn is_span(&self) -> bool {
        matches!(self, Self::Star | Self::Plain(_))
    }

    fn least(&self) -> usize {
        usize::from(matches!(self, Self::Plain(_)))
    }
}

fn expression(tokens: &[Token], mode: Mode) -> String {
    let mut out = String::new();
    let lazy = if mode == Mode::Greedy { "" } else { "?" };
    for token in tokens {
        match token {
            Token::Text(text) => out.push_str(&regex::escape(text)),
            Token::Star => out.extend(["(?s-u:.)*", lazy]),
            Token::Character => out.push('.'),
            Token::Class(negated, ranges) => {
                out.push_str(if *negated { "[^" } else { "[" });
                for (low, high) in ranges {
                    // Writing to a String cannot fail.
                    write!(out, r"\x{{{:X}}}-\x{{{:X}}}", u32::from(*low), u32::from(*high)).unwrap_or_default();
                }
                out.push(']');
            }
            Token::Either(options) => {
                let options: Vec<String> = options.iter().map(|option| expression(option, mode)).collect();
                out.extend(["(?:", &options.join("|"), ")"]);
            }
            Token::Plain(_) => out.extend(["((?s-u:.)+", lazy, ")"]),
            Token::Date(_, pieces) if mode != Mode::Loose => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.push_str(&regex::escape(text)),
                        Piece::Field(field) => out.extend(["(", &"[0-9]".repeat(field.width()), ")"]),
                    }
                }
            }
            Token::Date(..) => out.push_str("(?s-u:.)+"),
        }
    }
    out
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    names: &'a mut Vec<String>,
    dates: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn tokens(&mut self, inside: bool) -> Result<Vec<Token>, String> {
        let mut tokens: Vec<Token> = Vec::new();
        while let Some(c) = self.rest.peek().copied() {
            if inside && matches!(c, ',' | '}') {
                break;
            }
            self.rest.next();
            let token = match c {
                '*' if self.rest.peek() == Some(&'*') => {
                    return Err("expected `**` only as a whole component: `**` stands alone between slashes".into());
                }
                '*' => Token::Star,
                '?' => Token::Character,
                '[' => self.class()?,
                '{' if inside => return Err("expected plain names and wildcards inside `{…,…}`, found another `{` inside it".into()),
                '{' => self.braces()?,
                '}' => return Err("expected an opening `{` before `}`; write `\\}` for the character itself".into()),
                '\\' => match self.rest.next() {
                    Some(c) => Token::Text(c.to_string()),
                    None => return Err("expected a character after the backslash".into()),
                },
                other => Token::Text(other.to_string()),
            };
            match (tokens.last_mut(), token) {
                (Some(Token::Text(before)), Token::Text(text)) => before.push_str(&text),
                (_, token) => tokens.push(token),
            }
        }
        Ok(tokens)
    }

    fn class(&mut self) -> Result<Token, String> {
        const OPEN: &str = "expected a closing `]`; write `\\[` for the character itself";
        let negated = self.rest.next_if(|c| matches!(c, '!' | '^')).is_some();
        let mut ranges = Vec::new();
        loop {
            let low = match self.rest.next().ok_or(OPEN)? {
                ']' if !ranges.is_empty() => return Ok(Token::Class(negated, ranges)),
                '\\' => self.rest.next().ok_or(OPEN)?,
                c => c,
            };
            let mut high = low;
            if self.rest.peek() == Some(&'-') {
                self.rest.next();
                match self.rest.peek().copied() {
                    None => return Err(OPEN.into()),
                    Some(']') => ranges.push(('-', '-')),
                    Some(c) => {
                        self.rest.next();
                        high = if c == '\\' { self.rest.next().ok_or(OPEN)? } else { c };
                    }
                }
            }
            if low > high {
                return Err(format!("expected a range from low to high, found `{}`", escape(format!("{low}-{high}").as_bytes())));
            }
            ranges.push((low, high));
        }
    }

    /// What follows a `{`: a capture, a dated capture, or alternatives.
    fn braces(&mut self) -> Result<Token, String> {
        const OPEN: &str = "expected a closing `}` before the next `/`; a date is spread over directories as {d:%Y}/{d:%m}/{d:%d}, and `\\{` is the character itself";
        let ahead: String = self.rest.clone().take_while(|c| *c != '}').collect();
        if !self.rest.clone().any(|c| c == '}') {
            return Err(OPEN.into());
        }
        if ahead.contains('%') || ahead.contains(':') && !ahead.contains(',') {
            self.rest.by_ref().take_while(|c| *c != '}').for_each(drop);
            let (name, form) = ahead.split_once(':').unwrap_or(("", &ahead));
            return self.dated(name, form);
        }
        if !ahead.contains(',') {
            self.rest.by_ref().take_while(|c| *c != '}').for_each(drop);
            check_name(&ahead)?;
            if self.names.contains(&ahead) {
                return Err(format!("the capture {{{ahead}}} stands here twice; give one of them another name"));
            }
            self.names.push(ahead);
            return Ok(Token::Plain(self.names.len() - 1));
        }
        let mut options = Vec::new();
        loop {
            options.push(self.tokens(true)?);
            match self.rest.next() {
                Some(',') => {}
                Some('}') => return Ok(Token::Either(options)),
                _ => return Err(OPEN.into()),
            }
        }
    }

    fn dated(&mut self, name: &str, form: &str) -> Result<Token, String> {
        check_name(name)?;
        let mut pieces = Vec::new();
        let mut rest = form.chars();
        while let Some(c) = rest.next() {
            let fields: &[Field] = match (c, if c == '%' { rest.next() } else { None }) {
                ('%', Some('Y')) => &[Field::Year],
                ('%', Some('m')) => &[Field::Month],
                ('%', Some('d')) => &[Field::Day],
                ('%', Some('j')) => &[Field::Ordinal],
                ('%', Some('H' | 'M' | 'S')) => &[Field::Clock],
                ('%', Some('F')) => &[Field::Year, Field::Month, Field::Day],
                ('%', Some('%')) => {
                    pieces.push(Piece::Text("%".into()));
                    continue;
                }
                ('%', other) => {
                    let other = other.map(String::from).unwrap_or_default();
                    let found = escape(other.as_bytes());
                    return Err(format!("expected %Y, %m, %d, %j, %F, %H, %M or %S in the date form of {{{name}}}, found `%{found}`"));
                }
                (text, _) => {
                    pieces.push(Piece::Text(text.into()));
                    continue;
                }
            };
            for (index, field) in fields.iter().enumerate() {
                if index > 0 {
                    pieces.push(Piece::Text("-".into()));
                }
                pieces.push(Piece::Field(*field));
            }
        }
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field(_))) {
            return Err(format!("expected a date form such as {{{name}:%Y-%m-%d}}, found `{}`", escape(form.as_bytes())));
        }
        let index = self.dates.iter().position(|known| known == name).unwrap_or_else(|| {
            self.dates.push(name.to_owned());
            self.dates.len() - 1
        });
        Ok(Token::Date(index, pieces))
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.len() <= 64 && name.chars().all(plain) {
        return Ok(());
    }
    Err(format!(
        "expected a capture such as {{camera}} (letters, digits, `-`, `_`) or alternatives such as {{mp4,mkv}}, found `{{{}}}`",
        escape(name.as_bytes())
    ))
}
