//! The body of an entry written field by field, for the entries of which there are as many as records: the bytes are those that the JSON library
//! writes (tests hold the two against each other), at a fraction of what its way through every field costs.

use std::io::Write as _;

use jiff::civil::Date;
use serde::Serialize;

/// Fields of an entry in the order in which they were added. What uses a name twice is found as with any other body, see [`super::Draft::new`].
#[derive(Clone, Debug, Default)]
pub struct Body(Vec<u8>);

impl Body {
    /// No fields, and room for so many bytes of them.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Each with a comma in front.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Adds a text.
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    /// Adds a list of texts.
    pub fn texts<'t>(&mut self, name: &'static str, values: impl Iterator<Item = &'t str>) {
        self.name(name);
        self.0.push(b'[');
        for (nth, value) in values.enumerate() {
            if nth > 0 {
                self.0.push(b',');
            }
            self.quoted(value);
        }
        self.0.push(b']');
    }

    /// Adds a number.
    pub fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        self.by_library(&value);
    }

    /// Adds a date.
    pub fn date(&mut self, name: &'static str, value: Date) {
        self.name(name);
        self.0.push(b'"');
        match u16::try_from(value.year()) {
            Ok(year @ ..10_000) => {
                let (year, month, day) = (u32::from(year), u32::from(value.month().unsigned_abs()), u32::from(value.day().unsigned_abs()));
                let digit = |number: u32| b'0' + u8::try_from(number % 10).unwrap_or(0);
                let text = [
                    digit(year / 1000),
                    digit(year / 100),
                    digit(year / 10),
                    digit(year),
                    b'-',
                    digit(month / 10),
                    digit(month),
                    b'-',
                    digit(day / 10),
                    digit(day),
                ];
                self.0.extend_from_slice(&text);
            }
            // Writing to a vector cannot fail.
            _ => write!(self.0, "{value}").unwrap_or_default(),
        }
        self.0.push(b'"');
    }

    /// Adds a list of numbers.
    pub fn numbers(&mut self, name: &'static str, values: &[u64]) {
        self.name(name);
        self.by_library(values);
    }

    /// Names stand in the program's text and need no escape.
    #[inline]
    fn name(&mut self, name: &'static str) {
        debug_assert!(is_plain(name), "{name}");
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn quoted(&mut self, text: &str) {
        if is_plain(text) {
            self.0.push(b'"');
            self.0.extend_from_slice(text.as_bytes());
            self.0.push(b'"');
        } else {
            self.by_library(text);
        }
    }

    /// Numbers and texts can always be written, and writing to a vector cannot fail.
    fn by_library(&mut self, value: &(impl Serialize + ?Sized)) {
        let written = serde_json::to_writer(&mut self.0, value);
        debug_assert!(written.is_ok());
    }
}

/// How many bytes a text gets in JSON beside its own and the quotes.
pub fn escapes(text: &str) -> usize {
    let more = |byte: u8| match byte {
        b'"' | b'\\' | b'\x08' | b'\t' | b'\n' | b'\x0c' | b'\r' => 1,
        0..0x20 => 5,
        _ => 0,
    };
    // Of most texts that is known sooner.
    if is_plain(text) { 0 } else { text.bytes().map(more).sum() }
}

/// Whether JSON writes the text as it is. Looks at every byte without a branch, which is faster than to stop at the first that it does not.
fn is_plain(text: &str) -> bool {
    let special = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
    text.bytes().fold(0, |any, byte| any | special(byte)) == 0
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    /// What the JSON library writes of an object with this one field.
    fn by_library(value: impl Serialize) -> String {
        let object = serde_json::to_string(&std::collections::BTreeMap::from([("name", value)])).unwrap();
        format!(",{}", &object[1..object.len() - 1])
    }

    fn written(write: impl FnOnce(&mut Body)) -> String {
        let mut body = Body::default();
        write(&mut body);
        String::from_utf8(body.into_bytes()).unwrap()
    }

    #[test]
    fn every_single_character_of_note_is_written_as_the_library_writes_it() {
        for c in ('\0'..='\u{2ff}').chain(['\u{2028}', '\u{2029}', '\u{feff}', '\u{ffff}', '\u{10ffff}']) {
            let text = format!("2026:{c}x");
            assert_eq!(written(|body| body.text("name", &text)), by_library(&text));
            assert_eq!(text.len() + escapes(&text) + 2, serde_json::to_string(&text).unwrap().len(), "{c:?}");
        }
    }

    #[test]
    fn dates_are_written_as_the_library_writes_them() {
        let mut day = date(1899, 12, 25);
        while day < date(2110, 1, 5) {
            assert_eq!(written(|body| body.date("name", day)), by_library(day));
            day = day.tomorrow().unwrap();
        }
        for year in -9999..=9999 {
            for day in [date(year, 1, 1), date(year, 9, 30), date(year, 12, 31).saturating_sub(30.days())] {
                assert_eq!(written(|body| body.date("name", day)), by_library(day));
            }
        }
    }

    proptest! {
        #[test]
        fn texts_and_numbers_are_written_as_the_library_writes_them(texts: Vec<String>, number: u64, shift in 0..64_u32) {
            for text in &texts {
                prop_assert_eq!(written(|body| body.text("name", text)), by_library(text));
            }
            prop_assert_eq!(written(|body| body.texts("name", texts.iter().map(String::as_str))), by_library(&texts));
            prop_assert_eq!(written(|body| body.number("name", number >> shift)), by_library(number >> shift));
            prop_assert_eq!(written(|body| body.numbers("name", &[number, 0, number >> shift])), by_library([number, 0, number >> shift]));
        }
    }
}
