//! The pattern of a files dataset: which paths are records, and what their names say.
//!
//! A pattern is a path relative to the root of the store, its components split by `/`:
//!
//! | written | matches |
//! |---|---|
//! | `report.pdf` | itself |
//! | `*` | any bytes within one component, also none |
//! | `?`, `[a-z]`, `[!a-z]` | one character (of UTF-8; a byte that is not is matched by `*` and by captures only) |
//! | `{mp4,mkv}` | one of these; wildcards may stand inside |
//! | `**` | as a whole component: any number of directories, also none; at the end: everything below |
//! | `{camera}` | one byte or more within one component, captured under this name; the first capture takes as little as it can |
//! | `{recorded:%Y-%m-%d}` | a date, captured under this name; it may be spread: `{recorded:%Y}/{recorded:%m}/{recorded:%d}` |
//! | `\*` | the character itself |
//!
//! Names that begin with a dot are matched like any other: records hide nowhere.
//!
//! **One path, one reading.** Captures stand before the first `**` or after the last, so that a path can be taken apart in one way only. Where
//! a date could be read at two places of a name, or its parts contradict each other or name no day of the calendar, the date is in doubt; the
//! path still matches, and the record is kept and reported.

use jiff::civil::Date;
use regex::bytes::Regex;

use super::component::{Component, Field, Value};
use crate::error::escape;

/// Longest pattern in components: positions are bits of a `u64`.
const LONGEST: usize = 60;

/// A pattern that was read.
#[derive(Clone, Debug)]
pub struct Pattern {
    parts: Vec<Part>,
    names: Vec<String>,
    dates: Vec<String>,
}

/// One component of a pattern.
#[derive(Clone, Debug)]
pub enum Part {
    /// `**`: any number of directories.
    Deep,
    /// One name.
    One(Component),
}

/// What the names of a path say: plain captures, and dated ones.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// One value for each of [`Pattern::names`], as far as known.
    pub plain: Vec<Option<Box<[u8]>>>,
    /// One for each of [`Pattern::dates`], as far as known.
    pub dates: Vec<Dated>,
}

/// The parts of one date, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dated {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    ordinal: Option<i16>,
    contradicts: bool,
}

/// Where in a pattern a directory stands: the set of parts that its next name may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u64);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence that says what was expected and what was found.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pattern = Self { parts: Vec::new(), names: Vec::new(), dates: Vec::new() };
        if text.starts_with('/') {
            return Err("expected a path relative to the store's root, found a leading `/`; remove it".into());
        }
        if text.contains('\0') {
            return Err("expected a path, found a NUL character".into());
        }
        for piece in text.split('/') {
            match piece {
                "" => return Err("expected names between single slashes, found an empty one (`//`, or a `/` at the end)".into()),
                "." | ".." => return Err(format!("expected names below the store's root, found `{piece}`")),
                "**" if matches!(pattern.parts.last(), Some(Part::Deep)) => {}
                "**" => pattern.parts.push(Part::Deep),
                _ => {
                    let component = Component::parse(piece, &mut pattern.names, &mut pattern.dates)?;
                    pattern.parts.push(Part::One(component));
                }
            }
        }
        if pattern.parts.len() > LONGEST {
            return Err(format!("expected at most {LONGEST} names, found {}", pattern.parts.len()));
        }
        pattern.check_captures()?;
        Ok(pattern)
    }

    fn check_captures(&self) -> Result<(), String> {
        if let Some(name) = self.names.iter().find(|name| self.dates.contains(name)) {
            return Err(format!("the capture {{{name}}} stands once with a date form and once without; give one of them another name"));
        }
        for (index, name) in self.dates.iter().enumerate() {
            let fields: Vec<Field> = self.components().flat_map(|one| one.fields(index)).collect();
            let has = |field| fields.contains(&field);
            if !(has(Field::Year) && (has(Field::Ordinal) || has(Field::Month) && has(Field::Day))) {
                return Err(format!(
                    "the parts of {{{name}}} make no full date; expected %Y, %m and %d (or %Y and %j, or %F) together, in one place or several"
                ));
            }
        }
        let (before, after) = self.ends();
        if after > before && self.parts[before..after].iter().any(|part| matches!(part, Part::One(one) if one.captures())) {
            return Err(
                "a capture stands between two `**`, where a path could be read in several ways; put it before the first or after the last"
                    .into(),
            );
        }
        Ok(())
    }

    /// The parts before the first `**`, and where the parts after the last begin.
    fn ends(&self) -> (usize, usize) {
        let deep = |part: &Part| matches!(part, Part::Deep);
        match (self.parts.iter().position(deep), self.parts.iter().rposition(deep)) {
            (Some(first), Some(last)) => (first, last + 1),
            _ => (self.parts.len(), self.parts.len()),
        }
    }

    fn components(&self) -> impl Iterator<Item = &Component> {
        self.parts.iter().filter_map(|part| match part {
            Part::Deep => None,
            Part::One(component) => Some(component),
        })
    }

    /// The names of plain captures.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names of dated captures.
    pub fn dates(&self) -> &[String] {
        &self.dates
    }

    /// The number of leading parts that are plain text: directories that the administrator named, not found.
    pub fn fixed(&self) -> usize {
        self.parts.iter().take_while(|part| matches!(part, Part::One(one) if one.exact().is_some())).count()
    }

    /// The part for the last name, when it is not `**`.
    pub fn last(&self) -> Option<&Component> {
        match self.parts.last() {
            Some(Part::One(component)) => Some(component),
            _ => None,
        }
    }

    /// Whether a `**` stands anywhere.
    pub fn is_deep(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Deep))
    }

    /// Whether the names after the last `**` (without one: the last name) capture anything, so that directories alone do not tell all.
    pub fn tail_captures(&self) -> bool {
        let from = if self.is_deep() { self.ends().1 } else { self.parts.len() - 1 };
        self.parts[from..].iter().any(|part| matches!(part, Part::One(one) if one.captures()))
    }

    /// For a record that is a directory: the pattern of the directory itself, without the `**` that ends this one.
    pub fn directory(&self) -> Option<Self> {
        let mut inner = self.clone();
        (matches!(inner.parts.pop(), Some(Part::Deep)) && !inner.is_deep() && !inner.parts.is_empty()).then_some(inner)
    }

    /// This pattern with another last part: for files that stand beside its files.
    pub fn beside(&self, last: Component) -> Self {
        let mut other = self.clone();
        if matches!(other.parts.last(), Some(Part::One(_))) {
            other.parts.pop();
        }
        other.parts.push(Part::One(last));
        other
    }

    /// Nothing captured yet.
    pub fn nothing(&self) -> Captured {
        Captured { plain: vec![None; self.names.len()], dates: vec![Dated::default(); self.dates.len()] }
    }

    /// The position of the root.
    pub fn start(&self) -> Position {
        self.closed(1)
    }

    fn closed(&self, mut bits: u64) -> Position {
        for (index, part) in self.parts.iter().enumerate() {
            if matches!(part, Part::Deep) && bits & (1 << index) != 0 {
                bits |= 1 << (index + 1);
            }
        }
        Position(bits)
    }

    /// The position of a directory of this name within a directory at `at`; `None` when nothing below it can match.
    pub fn enter(&self, at: Position, name: &[u8]) -> Option<Position> {
        let mut bits = 0;
        for (index, part) in self.parts.iter().enumerate().filter(|(index, _)| at.0 & (1 << index) != 0) {
            match part {
                Part::Deep => bits |= 1 << index,
                Part::One(component) if index + 1 < self.parts.len() && component.matches(name) => bits |= 1 << (index + 1),
                Part::One(_) => {}
            }
        }
        (bits != 0).then(|| self.closed(bits))
    }

    /// Whether a name within a directory at `at` is matched by the whole pattern.
    #[inline]
    pub fn accepts(&self, at: Position, name: &[u8]) -> bool {
        let last = self.parts.len() - 1;
        at.0 & (1 << last) != 0
            && match &self.parts[last] {
                Part::Deep => true,
                Part::One(component) => component.matches(name),
            }
    }

    /// Whether a name within a directory at `at` fails only because no date stands where one should.
    pub fn nearly(&self, at: Position, name: &[u8], directory: bool) -> bool {
        let last = self.parts.len() - 1;
        self.parts.iter().enumerate().any(|(index, part)| {
            at.0 & (1 << index) != 0 && (index == last) != directory && matches!(part, Part::One(one) if one.nearly(name))
        })
    }

    /// Whether the pattern matches a path.
    pub fn matches(&self, path: &[u8]) -> bool {
        let Some((parents, name)) = split(path) else { return false };
        let mut names = parents.split(|byte| *byte == b'/').filter(|_| !parents.is_empty());
        names.try_fold(self.start(), |at, parent| self.enter(at, parent)).is_some_and(|at| self.accepts(at, name))
    }

    /// The position of a directory (`None` when nothing below it can match) and what its path says.
    pub fn of_directory(&self, path: &[u8]) -> (Option<Position>, Captured) {
        let mut captured = self.nothing();
        let mut at = Some(self.start());
        for (depth, name) in path.split(|byte| *byte == b'/').enumerate().filter(|_| !path.is_empty()) {
            at = at.and_then(|at| self.enter(at, name));
            self.capture_at(depth, name, &mut captured);
        }
        (at, captured)
    }

    /// Adds what the name of a directory says, `depth` names below the root. Does nothing from the first `**` on.
    pub fn capture_at(&self, depth: usize, name: &[u8], into: &mut Captured) {
        if depth < self.ends().0
            && let Some(Part::One(component)) = self.parts.get(depth)
        {
            component.capture(name, into);
        }
    }

    /// What a path says that the pattern matches.
    pub fn capture(&self, path: &[u8]) -> Captured {
        let mut captured = self.nothing();
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let (before, after) = self.ends();
        for (part, name) in self.parts[..before].iter().zip(&names) {
            if let Part::One(component) = part {
                component.capture(name, &mut captured);
            }
        }
        for (part, name) in self.parts[after..].iter().rev().zip(names.iter().rev()) {
            if let Part::One(component) = part {
                component.capture(name, &mut captured);
            }
        }
        captured
    }

    /// Whether some path may be matched by both patterns. Errs towards yes.
    pub fn may_meet(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.parts.len(), other.parts.len());
        // `meets[i][j]`: the rest from i of mine and the rest from j of theirs may match the same rest of a path.
        let mut meets = vec![vec![false; theirs + 1]; mine + 1];
        meets[mine][theirs] = true;
        for i in (0..=mine).rev() {
            for j in (0..=theirs).rev() {
                if meets[i][j] {
                    continue;
                }
                // A `**` takes nothing, one name, or one name and more; at the end of a pattern it takes at least one.
                meets[i][j] = match (self.parts.get(i), other.parts.get(j)) {
                    (Some(Part::Deep), Some(Part::Deep)) if i + 1 == mine && j + 1 == theirs => true,
                    (Some(Part::Deep), Some(_)) | (Some(_), Some(Part::Deep)) => meets[i + 1][j] || meets[i][j + 1] || meets[i + 1][j + 1],
                    (Some(Part::Deep), None) => i + 1 < mine && meets[i + 1][j],
                    (None, Some(Part::Deep)) => j + 1 < theirs && meets[i][j + 1],
                    (Some(Part::One(a)), Some(Part::One(b))) => meets[i + 1][j + 1] && a.may_meet(b),
                    _ => false,
                };
            }
        }
        meets[0][0]
    }
}

impl Captured {
    /// Takes over one captured value.
    pub(super) fn set(&mut self, value: Value<'_>) {
        match value {
            Value::Plain(index, bytes) => self.plain[index] = Some(bytes.into()),
            Value::Date(index, field, number) => self.dates[index].set(field, number),
            Value::Ambiguous(index) => self.dates[index].contradicts = true,
        }
    }
}

impl Dated {
    fn set(&mut self, field: Field, number: i16) {
        fn put<T: PartialEq + Copy>(slot: &mut Option<T>, value: Option<T>, contradicts: &mut bool) {
            match (*slot, value) {
                (Some(known), Some(value)) if known == value => {}
                (None, Some(value)) => *slot = Some(value),
                _ => *contradicts = true,
            }
        }
        let small = i8::try_from(number).ok();
        match field {
            Field::Year => put(&mut self.year, Some(number), &mut self.contradicts),
            Field::Month => put(&mut self.month, small, &mut self.contradicts),
            Field::Day => put(&mut self.day, small, &mut self.contradicts),
            Field::Ordinal => put(&mut self.ordinal, Some(number), &mut self.contradicts),
            Field::Clock => {}
        }
    }

    /// The date: `None` while parts are missing, an error with the text of what stands there when it is no day of the calendar.
    pub fn date(&self) -> Option<Result<Date, String>> {
        let year = self.year?;
        let by_ordinal = self.ordinal.map(|ordinal| Date::new(year, 1, 1).ok()?.with().day_of_year(ordinal).build().ok());
        let by_month = match (self.month, self.day) {
            (Some(month), Some(day)) => Some(Date::new(year, month, day).ok()),
            _ => None,
        };
        let date = match (by_month, by_ordinal) {
            (Some(one), Some(other)) if one == other => one,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return None,
            _ => None,
        };
        Some(date.filter(|_| !self.contradicts).ok_or_else(|| self.text()))
    }

    /// The earliest day that this can still turn out to be; `None` when that cannot be told.
    pub fn earliest(&self) -> Option<Date> {
        match self.date() {
            Some(date) => date.ok(),
            None if self.contradicts => None,
            None => Date::new(self.year?, self.month.unwrap_or(1), 1).ok(),
        }
    }

    /// The latest day that this can still turn out to be; `None` when that cannot be told.
    pub fn latest(&self) -> Option<Date> {
        match self.date() {
            Some(date) => date.ok(),
            None if self.contradicts => None,
            None => Date::new(self.year?, self.month.unwrap_or(12), 1).ok().map(Date::last_of_month),
        }
    }

    fn text(self) -> String {
        let number = |value: Option<i16>, width: usize| value.map_or("?".repeat(width), |value| format!("{value:0width$}"));
        let rest = match (self.month, self.day, self.ordinal) {
            (None, None, ordinal) => number(ordinal, 3),
            (month, day, _) => format!("{}-{}", number(month.map(i16::from), 2), number(day.map(i16::from), 2)),
        };
        let why = if self.contradicts { " and something else" } else { "" };
        format!("{}-{rest}{why}", number(self.year, 4))
    }
}

/// A path taken apart into its directory (empty: the root) and its last name. `None` for what is no relative path of plain names.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let plain = |name: &[u8]| !name.is_empty() && name != b"." && name != b".." && !name.contains(&0);
    if !path.split(|byte| *byte == b'/').all(plain) {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    })
}

/// A regular expression over whole names; an error in the words of this language.
pub(super) fn whole(expression: &str) -> Result<Regex, String> {
    Regex::new(&format!(r"\A(?s:{expression})\z"))
        .map_err(|error| format!("cannot be used: {}", escape(error.to_string().replace('\n', " ").as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn plain(captured: &Captured) -> Vec<&str> {
        captured.plain.iter().map(|value| std::str::from_utf8(value.as_deref().unwrap()).unwrap()).collect()
    }

    #[test]
    fn a_pattern_matches_whole_paths_component_by_component() {
        for (text, yes, no) in [
            ("*.mp4", &["a.mp4", ".mp4", ".hidden.mp4"][..], &["a.mp", "d/a.mp4", "a.mp4x"][..]),
            ("{camera}/*.mp4", &["c/a.mp4", "..c/a.mp4"], &["a.mp4", "x/c/a.mp4"]),
            ("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["z", "a/b/zz", "b/z"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b/a"]),
            ("**/z", &["z", "a/z"], &["za"]),
            ("r?.{pdf,t*}", &["r1.pdf", "r\u{e9}.tiff"], &["r.pdf", "r12.pdf", "r1.doc"]),
            ("[a-c]\\*[!x]", &["a*y", "c*\u{e9}"], &["d*y", "a*x", "aby"]),
            ("{recorded:%Y%m%d}T*", &["20261001T1"], &["2026100T1"]),
        ] {
            for path in yes {
                assert!(pattern(text).matches(path.as_bytes()), "{text} should match {path}");
            }
            for path in no {
                assert!(!pattern(text).matches(path.as_bytes()), "{text} should not match {path}");
            }
        }
        assert!(pattern("{x}/*").matches(b"\xff\xfe/\x80"), "names that are not UTF-8 are records too");
    }

    #[test]
    fn captures_are_read_from_both_ends_of_a_path() {
        let captured = pattern("{site}/**/{camera}-{clip}.mp4").capture(b"north/a/b/cam-7-1.mp4");
        assert_eq!(plain(&captured), ["north", "cam", "7-1"]);
        let captured = pattern("{t}/**").capture(b"t-1/a/b");
        assert_eq!(plain(&captured), ["t-1"]);
    }

    #[test]
    fn a_date_may_be_spread_over_a_path_and_must_exist_in_the_calendar() {
        let read = |text: &str, path: &str| {
            assert!(pattern(text).matches(path.as_bytes()), "{text} should match {path}");
            pattern(text).capture(path.as_bytes()).dates[0].date().unwrap()
        };
        assert_eq!(read("{d:%Y-%m-%d}/*", "2026-10-01/x"), Ok(date(2026, 10, 1)));
        assert_eq!(read("{d:%Y}/{d:%m}/{d:%d}/*", "2026/10/01/x"), Ok(date(2026, 10, 1)));
        assert_eq!(read("{d:%F}T{d:%H%M%S}.mp4", "2026-10-01T235960.mp4"), Ok(date(2026, 10, 1)));
        assert_eq!(read("{d:%Y%j}.log", "2024366.log"), Ok(date(2024, 12, 31)));
        assert_eq!(read("{d:%Y}/{d:%Y-%m-%d}", "2026/2026-10-01"), Ok(date(2026, 10, 1)));
        assert_eq!(read("{d:%Y-%m-%d}/*", "2026-02-31/x"), Err("2026-02-31".into()));
        assert!(read("{d:%Y%j}.log", "2023366.log").is_err());
        assert!(read("{d:%Y}/{d:%Y-%m-%d}", "2025/2026-10-01").is_err(), "parts that contradict each other are in doubt");
        assert!(read("*{d:%Y%m%d}*", "20200101-20261001").is_err(), "a name with two dates is in doubt");
        assert!(read("{c}_{d:%Y%m%d}_*.mp4", "c_20200101_20261001_x.mp4").is_err());
        assert_eq!(read("{c}_{d:%Y%m%d}.mp4", "c_1_20200101.mp4"), Ok(date(2020, 1, 1)));
    }

    #[test]
    fn a_date_that_is_known_in_part_bounds_the_whole() {
        let pattern = pattern("{d:%Y}/{d:%m}/{d:%d}/*");
        let mut captured = pattern.nothing();
        assert_eq!(captured.dates[0].earliest(), None);
        pattern.capture_at(0, b"2026", &mut captured);
        assert_eq!(captured.dates[0].earliest(), Some(date(2026, 1, 1)));
        assert_eq!(captured.dates[0].latest(), Some(date(2026, 12, 31)));
        pattern.capture_at(1, b"02", &mut captured);
        assert_eq!(captured.dates[0].earliest(), Some(date(2026, 2, 1)));
        assert_eq!(captured.dates[0].latest(), Some(date(2026, 2, 28)));
        pattern.capture_at(2, b"31", &mut captured);
        assert_eq!(captured.dates[0].earliest(), None, "an impossible date bounds nothing");
    }

    #[test]
    fn what_is_not_a_pattern_is_refused_with_a_remedy() {
        for (text, words) in [
            ("/srv/x", "leading `/`"),
            ("a//b", "empty"),
            ("a/", "empty"),
            ("", "empty"),
            ("../x", "`..`"),
            ("a/./b", "`.`"),
            ("a**", "`**` stands alone"),
            ("{a", "closing `}`"),
            ("a}", "opening `{`"),
            ("{}", "capture"),
            ("{a b}", "capture"),
            ("{a}{a}", "twice"),
            ("{a}/{a:%F}", "another name"),
            ("{d:%Y-%m}/*", "no full date"),
            ("{d:%y%m%d}/*", "%y"),
            ("{d:%Y/%m/%d}/*", "closing `}`"),
            ("{d:}", "date form"),
            ("[a", "closing `]`"),
            ("[z-a]", "z-a"),
            ("{a,{b,c}}", "inside"),
            ("**/{a}/**/b", "between two `**`"),
            ("a\\", "backslash"),
        ] {
            let message = Pattern::parse(text).expect_err(text);
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn patterns_that_may_match_the_same_path_are_found() {
        for (one, other, meet) in [
            ("a/*", "*/b", true),
            ("a/*.mp4", "a/*.jpg", false),
            ("a/x*", "a/*x", true),
            ("a/**", "a/b/c", true),
            ("a/**", "b/**", false),
            ("**", "x", true),
            ("a/**/z", "**/y", false),
            ("{c}/{d:%F}/*", "cam/2026-10-01/x", true),
            ("{c}/{d:%F}/*", "cam/yesterday/x", false),
            ("a", "a/**", false),
        ] {
            assert_eq!(pattern(one).may_meet(&pattern(other)), meet, "{one} and {other}");
            assert_eq!(pattern(other).may_meet(&pattern(one)), meet, "{other} and {one}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_path_makes_the_matcher_panic(text in "[a-z*?{}\\[\\]:%YmdFj,/!\\\\.-]{0,24}|\\PC{0,24}", path: Vec<u8>) {
            if let Ok(pattern) = Pattern::parse(&text) {
                let _ = pattern.capture(&path);
                let _ = pattern.matches(&path) || pattern.may_meet(&pattern);
            }
        }

        #[test]
        fn without_captures_a_pattern_means_what_a_glob_means(
            text in "([ab.]|\\*|\\?|\\[ab\\]|\\[!a\\]|\\{a,b\\*\\}){1,5}(/([ab.]|\\*|\\?|\\[a-b\\]){1,4}|/\\*\\*){0,3}",
            path in "[ab][ab.]{0,3}(/[ab][ab.]{0,3}){0,3}",
        ) {
            if let Ok(pattern) = Pattern::parse(&text) {
                // globset lets a negated class match a separator; components here never do.
                let glob = globset::GlobBuilder::new(&text.replace("[!a]", "[!a/]")).literal_separator(true).build().unwrap().compile_matcher();
                prop_assert_eq!(pattern.matches(path.as_bytes()), glob.is_match(&path), "{} on {}", text, path);
                if pattern.matches(path.as_bytes()) {
                    prop_assert!(Pattern::parse(&path).unwrap().may_meet(&pattern));
                }
            }
        }
    }
}
