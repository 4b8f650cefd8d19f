//! One value of a row, with the type that the engine stores it under, and the two things made of values: keys and fingerprints.
//!
//! Types are kept apart everywhere: the integer 1 and the text `1` are different keys, and a row whose 1 became `1` has changed. A record's
//! [`Key`] is text for people and logs and may lose the type; the exact key travels inside the fingerprint, which only this store reads.
//!
//! **Fingerprint**: version byte 1, 16 bytes of SHA-256 over all columns of the row, 8 bytes of SHA-256 over the event columns (so that a
//! change can be named without keeping a value), then the encoded key values.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::record::{Fingerprint, Key};

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// No value.
    Null,
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(Box<str>),
    /// Something stored as text that is not UTF-8.
    Mangled(Box<[u8]>),
    /// Bytes.
    Blob(Box<[u8]>),
}

const VERSION: u8 = 1;
const ROW: usize = 16;
const EVENTS: usize = 8;

impl Cell {
    /// What stands here in one word, for messages: never the value.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Int(_) => "an integer",
            Self::Real(_) => "a real number",
            Self::Text(_) => "text",
            Self::Mangled(_) => "text that is not UTF-8",
            Self::Blob(_) => "bytes",
        }
    }

    /// The value as text: what a person would write to find it again. `None` for no value.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Null => None,
            Self::Int(value) => Some(value.to_string().into()),
            Self::Real(value) => Some(format!("{value:?}").into()),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Mangled(bytes) => Some(String::from_utf8_lossy(bytes)),
            Self::Blob(bytes) => Some(format!("x'{}'", hex(bytes)).into()),
        }
    }

    /// Whether a condition that gave this value holds. SQL takes every number but zero for true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Int(number) => *number != 0,
            Self::Real(number) => *number != 0.0,
            _ => false,
        }
    }

    /// How many bytes the value takes, roughly.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Null => 0,
            Self::Int(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len() as u64,
            Self::Mangled(bytes) | Self::Blob(bytes) => bytes.len() as u64,
        }
    }

    /// Every typed value whose text is exactly `text`: what a typed column must be asked for when only the text is known.
    pub(super) fn candidates(text: &str) -> Vec<Self> {
        let mut all = vec![Self::Text(text.into())];
        all.extend(text.parse().ok().map(Self::Int));
        all.extend(text.parse().ok().filter(|value: &f64| value.is_finite()).map(Self::Real));
        all.extend(text.strip_prefix("x'").and_then(|rest| rest.strip_suffix('\'')).and_then(unhex).map(Self::Blob));
        all.retain(|cell| cell.text().as_deref() == Some(text));
        all
    }

    /// Tag, length, bytes: no two different lists of values encode alike.
    fn encode(&self, out: &mut impl FnMut(&[u8])) {
        let mut put = |tag: u8, bytes: &[u8]| {
            out(&[tag]);
            out(&(bytes.len() as u64).to_le_bytes());
            out(bytes);
        };
        match self {
            Self::Null => put(0, &[]),
            Self::Int(value) => put(1, &value.to_le_bytes()),
            Self::Real(value) => put(2, &value.to_bits().to_le_bytes()),
            Self::Text(text) => put(3, text.as_bytes()),
            Self::Mangled(bytes) => put(4, bytes),
            Self::Blob(bytes) => put(5, bytes),
        }
    }

    fn decode(rest: &mut &[u8]) -> Option<Self> {
        let (tag, after) = rest.split_first()?;
        let (length, after) = after.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (bytes, after) = after.split_at_checked(length)?;
        *rest = after;
        Some(match tag {
            0 => Self::Null,
            1 => Self::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
            2 => Self::Real(f64::from_bits(u64::from_le_bytes(bytes.try_into().ok()?))),
            3 => Self::Text(std::str::from_utf8(bytes).ok()?.into()),
            4 => Self::Mangled(bytes.into()),
            5 => Self::Blob(bytes.into()),
            _ => return None,
        })
    }
}

/// A list of values as bytes that no other list has.
pub(super) fn encoded(cells: &[Cell]) -> Vec<u8> {
    let size: usize = cells.iter().map(|cell| 9 + usize::try_from(cell.size()).unwrap_or(0)).sum();
    let mut out = Vec::with_capacity(size);
    cells.iter().for_each(|cell| cell.encode(&mut |bytes| out.extend_from_slice(bytes)));
    out
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

fn unhex(text: &str) -> Option<Box<[u8]>> {
    let digits = text.as_bytes();
    digits.chunks(2).map(|pair| (pair.len() == 2).then(|| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())?).collect()
}

/// The key that people see: the parts joined by `,`, with `,` and `%` percent-encoded where there are several parts.
pub(super) fn key_of(parts: &[Cell]) -> Key {
    if let [one] = parts {
        return match one {
            Cell::Mangled(bytes) => Key::new(bytes.clone()),
            other => Key::new(other.text().unwrap_or_default().as_bytes()),
        };
    }
    let encoded: Vec<String> = parts.iter().map(|part| part.text().unwrap_or_default().replace('%', "%25").replace(',', "%2C")).collect();
    Key::new(encoded.join(",").into_bytes())
}

/// The texts of a key's parts, or `None` when the key cannot be one of `parts` parts.
pub(super) fn parts_of(key: &[u8], parts: usize) -> Option<Vec<String>> {
    let text = std::str::from_utf8(key).ok()?;
    if parts == 1 {
        return Some(vec![text.to_owned()]);
    }
    let found: Vec<String> = text.split(',').map(|part| part.replace("%2C", ",").replace("%25", "%")).collect();
    (found.len() == parts).then_some(found)
}

/// Makes the fingerprint of a row.
pub(super) fn fingerprint(row: &[Cell], events: &[usize], key: &[Cell]) -> Fingerprint {
    let mut out = Fingerprint::new();
    out.push(VERSION);
    out.extend_from_slice(&Sha256::digest(encoded(row))[..ROW]);
    let mut dates = Vec::with_capacity(64);
    events.iter().filter_map(|at| row.get(*at)).for_each(|cell| cell.encode(&mut |bytes| dates.extend_from_slice(bytes)));
    out.extend_from_slice(&Sha256::digest(dates)[..EVENTS]);
    for cell in key {
        cell.encode(&mut |bytes| out.extend_from_slice(bytes));
    }
    out
}

/// The exact key values in a fingerprint; `None` when it was not made here or has another number of parts.
pub(super) fn typed_key(fingerprint: &[u8], parts: usize) -> Option<Vec<Cell>> {
    let (version, rest) = fingerprint.split_first()?;
    let (_, mut rest) = rest.split_at_checked(ROW + EVENTS)?;
    let mut key = Vec::with_capacity(parts);
    while !rest.is_empty() {
        key.push(Cell::decode(&mut rest)?);
    }
    (*version == VERSION && key.len() == parts && !key.contains(&Cell::Null)).then_some(key)
}

/// What kind of thing differs between two fingerprints of one row, in words; `None` when nothing does.
pub(super) fn difference(was: &[u8], is: &[u8]) -> Option<&'static str> {
    let events = 1 + ROW..1 + ROW + EVENTS;
    if was == is {
        None
    } else if was.get(events.clone()) == is.get(events) {
        Some("a column other than those of its events")
    } else {
        Some("a column that holds the date of an event")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_and_the_same_digits_as_text_are_different_keys_with_the_same_name() {
        let (one, two) = ([Cell::Int(1)], [Cell::Text("1".into())]);
        assert_eq!(key_of(&one), key_of(&two));
        assert_ne!(fingerprint(&one, &[], &one), fingerprint(&two, &[], &two));
        assert_eq!(typed_key(&fingerprint(&one, &[], &one), 1).unwrap(), one);
        assert_eq!(typed_key(&fingerprint(&one, &[], &one), 2), None);
        assert_eq!(typed_key(b"hostile", 1), None);
        assert_eq!(typed_key(&[1; 200], 1), None);
    }

    #[test]
    fn a_composite_key_is_read_back_whatever_its_parts_hold() {
        for parts in [["a", "b"], ["a,b", "c"], ["%2C", ",%25"], ["", ""]] {
            let key = key_of(&parts.map(|part| Cell::Text(part.into())));
            assert_eq!(parts_of(key.as_bytes(), 2).unwrap(), parts);
        }
        assert_eq!(parts_of(b"a,b,c", 2), None);
        assert_eq!(parts_of(b"a,b", 1).unwrap(), ["a,b"]);
    }

    #[test]
    fn a_text_is_asked_for_as_every_value_that_is_written_exactly_so_and_no_other() {
        assert_eq!(Cell::candidates("7"), [Cell::Text("7".into()), Cell::Int(7)]);
        assert_eq!(Cell::candidates("07"), [Cell::Text("07".into())]);
        assert_eq!(Cell::candidates("7.5"), [Cell::Text("7.5".into()), Cell::Real(7.5)]);
        assert_eq!(Cell::candidates("x'0a'"), [Cell::Text("x'0a'".into()), Cell::Blob([10].into())]);
    }
}
