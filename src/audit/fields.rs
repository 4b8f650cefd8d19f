//! The fields of an entry, found without building any value: what lets millions of entries be read strictly in little time.
//!
//! [`scan`] accepts exactly the objects that the JSON library accepts (a test holds the two against each other) and hands out names and values as
//! pieces of the line. What matters of a value is then read with [`text`], [`texts`] or the library itself.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use smallvec::SmallVec;

/// Arrays and objects within each other in a value at most, as the JSON library has it when it reads a whole entry.
const DEPTH: usize = 126;

/// Calls `field` with the name and the value of each field of the object that is the whole `line`; a name that is used twice is refused.
pub(super) fn scan<'a>(line: &'a str, mut field: impl FnMut(&str, &'a str) -> Result<(), String>) -> Result<(), String> {
    let mut at = Cursor { line, at: 0 };
    at.space();
    if !at.take(b'{') {
        return Err(at.expected("an object"));
    }
    // Only when a name has the same mark as one before are the names compared.
    let (mut marks, mut names) = (0_u128, SmallVec::<[Cow<'a, str>; 32]>::new());
    at.space();
    if !at.take(b'}') {
        loop {
            at.space();
            let name = text(at.string()?)?;
            at.space();
            if !at.take(b':') {
                return Err(at.expected("`:`"));
            }
            at.space();
            let begin = at.at;
            at.value(DEPTH)?;
            field(&name, &line[begin..at.at])?;
            let mark = mark(&name);
            if marks & mark != 0 && names.contains(&name) {
                return Err("a name is used twice".to_owned());
            }
            marks |= mark;
            names.push(name);
            at.space();
            if at.take(b'}') {
                break;
            }
            if !at.take(b',') {
                return Err(at.expected("`,` or `}`"));
            }
        }
    }
    at.space();
    if at.at == line.len() { Ok(()) } else { Err(at.expected("the end")) }
}

/// One of 128 marks that names mostly differ in.
fn mark(name: &str) -> u128 {
    let bytes = name.as_bytes();
    let (first, last) = (bytes.first().copied().unwrap_or(0), bytes.last().copied().unwrap_or(0));
    1 << ((usize::from(first) * 7 + usize::from(last) * 3 + bytes.len()) % 128)
}

/// The text of a value that is a string, borrowed where it holds no escape.
pub(super) fn text(value: &str) -> Result<Cow<'_, str>, String> {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).ok_or("expected a text")?;
    if inner.as_bytes().contains(&b'\\') { read(value).map(Cow::Owned) } else { Ok(Cow::Borrowed(inner)) }
}

/// Calls `each` with every element of a value that is a list of strings.
pub(super) fn texts(value: &str, mut each: impl FnMut(&str)) -> Result<(), String> {
    let mut at = Cursor { line: value, at: 0 };
    if !at.take(b'[') {
        return Err("expected a list".to_owned());
    }
    at.space();
    if at.take(b']') {
        return Ok(());
    }
    loop {
        at.space();
        each(&text(at.string()?)?);
        at.space();
        if at.take(b']') {
            return Ok(());
        }
        if !at.take(b',') {
            return Err(at.expected("a list of texts"));
        }
    }
}

/// A value of any other form, by the JSON library.
pub(super) fn read<T: DeserializeOwned>(value: &str) -> Result<T, String> {
    serde_json::from_str(value).map_err(|e| e.to_string())
}

/// A place in a line.
struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> u8 {
        // No JSON begins with it, so it stands for the end.
        self.line.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> String {
        format!("expected {what} at byte {}", self.at)
    }

    /// Passes over a string and returns it, quotes included.
    fn string(&mut self) -> Result<&'a str, String> {
        let begin = self.at;
        if !self.take(b'"') {
            return Err(self.expected("a text in quotes"));
        }
        loop {
            self.at += plain(&self.line.as_bytes()[self.at..]);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(&self.line[begin..self.at]);
                }
                b'\\' => {
                    self.at += 1;
                    match self.peek() {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                        b'u' => {
                            let digits = self.line.as_bytes().get(self.at + 1..self.at + 5);
                            if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                                return Err(self.expected("four hexadecimal digits"));
                            }
                            self.at += 5;
                        }
                        _ => return Err(self.expected("an escape")),
                    }
                }
                _ => return Err(self.expected("no control character, and a quote at the end")),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), String> {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number(),
            b'{' | b'[' if depth == 0 => Err("too many objects within each other".to_owned()),
            b'{' => self.list(b'}', |at| {
                at.string()?;
                at.space();
                if !at.take(b':') {
                    return Err(at.expected("`:`"));
                }
                at.space();
                at.value(depth - 1)
            }),
            b'[' => self.list(b']', |at| at.value(depth - 1)),
            _ => {
                let rest = &self.line.as_bytes()[self.at..];
                let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word));
                self.at += word.ok_or_else(|| self.expected("a value"))?.len();
                Ok(())
            }
        }
    }

    /// Passes over a list up to `end`; `item` passes over one of its items.
    fn list(&mut self, end: u8, item: impl Fn(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.at += 1;
        self.space();
        if self.take(end) {
            return Ok(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            if self.take(end) {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or the end of a list"));
            }
        }
    }

    fn number(&mut self) -> Result<(), String> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), String> {
        let begin = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at > begin { Ok(()) } else { Err(self.expected("a digit")) }
    }
}

/// How many bytes at the beginning are neither a quote, a backslash nor a control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let mut at = 0;
    // Eight bytes at once: a subtraction borrows into the high bit of a byte that is smaller than what is taken away.
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let has_zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let found = (has_zero(word ^ (ONES * u64::from(b'"')))
            | has_zero(word ^ (ONES * u64::from(b'\\')))
            | (word.wrapping_sub(ONES * 0x20) & !word))
            & HIGH;
        if found != 0 {
            // A borrow may mark bytes behind the first, never one before it.
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    at + bytes[at..].iter().position(special).unwrap_or(bytes.len() - at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use std::collections::HashMap;

    use super::*;

    fn accepts(line: &str) -> bool {
        scan(line, |_, _| Ok(())).is_ok()
    }

    /// What the library says, to which a name used twice is none of its business.
    #[expect(clippy::zero_sized_map_values, reason = "the library reads no object as a set")]
    fn library(line: &str) -> Option<HashMap<String, IgnoredAny>> {
        serde_json::from_str(line).ok()
    }

    #[test]
    fn names_and_values_are_pieces_of_the_line() {
        let line = r#" {"a":1 , "b" : "x\"y" ,"c":[1,{"d":"}"}],"d":{}, "e":-0.5e+7,"f":null}"#;
        let mut found = Vec::new();
        scan(line, |name, value| {
            found.push(format!("{name}={value}"));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, ["a=1", r#"b="x\"y""#, r#"c=[1,{"d":"}"}]"#, "d={}", "e=-0.5e+7", "f=null"]);
        assert_eq!(text(r#""x\"yA""#).unwrap(), "x\"yA");
        assert!(matches!(text(r#""plain""#).unwrap(), Cow::Borrowed("plain")));
        let mut all = Vec::new();
        texts(r#"["a" , "b\n"]"#, |one| all.push(one.to_owned())).unwrap();
        assert_eq!(all, ["a", "b\n"]);
        assert!(texts(r#"["a",1]"#, |_| ()).is_err());
        assert!(texts("[]", |_| panic!()).is_ok());
    }

    #[test]
    fn a_name_that_is_used_twice_is_refused_however_it_is_written() {
        assert!(!accepts(r#"{"ab":1,"b":2,"ab":3}"#));
        assert!(!accepts(r#"{"ab":1,"\u0061b":3}"#));
        assert!(accepts(r#"{"ab":{"ab":1,"ab":2}}"#), "within a value it is the reader's business");
        let many = (0..200).map(|n| format!("\"name{n}\":{n},")).collect::<Vec<_>>().concat();
        assert!(accepts(&format!("{{{many}\"x\":1}}")));
        assert!(!accepts(&format!("{{{many}\"name117\":1}}")));
    }

    #[test]
    fn what_the_library_refuses_is_refused() {
        let broken = [
            "",
            "{",
            "}",
            "[]",
            "1",
            "{}x",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":1e}"#,
            r#"{"a":+1}"#,
            r#"{"a":tru}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            r#"{"a":"\u12"}"#,
            "{\"a\":\"\t\"}",
            r#"{"a":"}"#,
            "{a:1}",
            r#"{"a":[1,]}"#,
            r#"{"a":[1}"#,
            r#"{"a" 1}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a":-}"#,
            r#"{"a":nan}"#,
            r#"{"\ud800":1}"#,
        ];
        for line in broken {
            assert!(!accepts(line) && library(line).is_none(), "{line}");
        }
        for depth in [100, 125, 126, 127, 128, 200] {
            let line = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(accepts(&line), serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{depth}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn it_accepts_what_the_library_accepts(pieces in prop::collection::vec("[{}\\[\\]:,\"\\\\ 0-9aeEu.+\t\u{1f}\u{fc}-]|\"a\":|\"b\":1,|true|null|\"[^\"]{0,20}\"", 0..12)) {
            let line = format!("{{\"x\":{}}}", pieces.concat());
            match library(&line) {
                Some(fields) => {
                    // Only here the two may differ: a name used twice.
                    let mut count = 0;
                    let accepted = scan(&line, |_, _| { count += 1; Ok(()) });
                    prop_assert!(accepted.is_ok() && count == fields.len() || accepted == Err("a name is used twice".to_owned()), "{} {:?}", line, accepted);
                }
                None => prop_assert!(!accepts(&line), "{}", line),
            }
        }

        #[test]
        fn plain_bytes_are_counted_as_one_by_one(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(bytes.len());
            prop_assert_eq!(plain(&bytes), expected);
        }
    }
}
