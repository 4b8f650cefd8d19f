//! One value of a row, with the type that the engine stores it under, and the two things made of values: keys and fingerprints.
//!
//! Types are kept apart everywhere: the integer 1 and the text `1` are different keys, and a row whose 1 became `1` has changed. A record's
//! [`Key`] is text for people and logs and may lose the type; the exact key travels inside the fingerprint, which only this store reads.
//!
//! **Fingerprint**: version byte 2, 16 bytes that differ whenever the row does (of SHA-256 over all its columns; or the number that the engine gave
//! this version of it, and what tells from which columns it was read), then the encoded key values.

use std::borrow::Cow;
use std::fmt;

use jiff::civil::Date;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

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

const VERSION: u8 = 2;
const STATE: usize = 16;

/// One value of a row as the driver holds it, for as long as the row is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::store) enum Seen<'r> {
    /// No value.
    Null,
    /// An integer.
    Int(i64),
    /// An integer above those that have a sign; kept as text.
    Large(u64),
    /// A floating-point number.
    Real(f64),
    /// A calendar date as PostgreSQL counts it; kept as text.
    Day(Day),
    /// Text.
    Text(&'r str),
    /// Something stored as text that is not UTF-8.
    Mangled(&'r [u8]),
    /// Bytes.
    Blob(&'r [u8]),
}

/// The exact values of a key; that of most tables needs no allocation.
pub(super) type TypedKey = SmallVec<[Cell; 1]>;

/// A row as it is looked at; that of most tables needs no allocation.
pub(super) type SeenRow<'r> = SmallVec<[Seen<'r>; 16]>;

impl<'r> Seen<'r> {
    /// What stands here in one word, for messages: never the value.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Int(_) | Self::Large(_) => "an integer",
            Self::Real(_) => "a real number",
            Self::Day(_) => "a date",
            Self::Text(_) => "text",
            Self::Mangled(_) => "text that is not UTF-8",
            Self::Blob(_) => "bytes",
        }
    }

    /// The value as text: what a person would write to find it again. `None` for no value.
    pub(super) fn text(self) -> Option<Cow<'r, str>> {
        match self {
            Self::Null => None,
            Self::Int(value) => Some(value.to_string().into()),
            Self::Large(value) => Some(value.to_string().into()),
            Self::Real(value) => Some(format!("{value:?}").into()),
            Self::Day(day) => Some(day.to_string().into()),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Mangled(bytes) => Some(String::from_utf8_lossy(bytes)),
            Self::Blob(bytes) => Some(format!("x'{}'", hex(bytes)).into()),
        }
    }

    /// Whether a condition that gave this value holds. SQL takes every number but zero for true.
    pub(super) fn is_true(self) -> bool {
        match self {
            Self::Int(number) => number != 0,
            Self::Real(number) => number != 0.0,
            _ => false,
        }
    }

    /// How many bytes the value takes, roughly.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::Null => 0,
            Self::Int(_) | Self::Large(_) | Self::Real(_) => 8,
            // As long as its text.
            Self::Day(_) => 10,
            Self::Text(text) => text.len() as u64,
            Self::Mangled(bytes) | Self::Blob(bytes) => bytes.len() as u64,
        }
    }

    /// The value to be kept when the row is gone.
    pub(super) fn kept(self) -> Cell {
        match self {
            Self::Null => Cell::Null,
            Self::Int(value) => Cell::Int(value),
            Self::Large(value) => Cell::Text(value.to_string().into()),
            Self::Real(value) => Cell::Real(value),
            Self::Day(day) => Cell::Text(day.to_string().into()),
            Self::Text(text) => Cell::Text(text.into()),
            Self::Mangled(bytes) => Cell::Mangled(bytes.into()),
            Self::Blob(bytes) => Cell::Blob(bytes.into()),
        }
    }

    /// Tag, length, bytes: no two different lists of values encode alike.
    fn encode(self, out: &mut impl FnMut(&[u8])) {
        let mut put = |tag: u8, bytes: &[u8]| {
            let mut head = [tag; 9];
            head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            out(&head);
            out(bytes);
        };
        match self {
            Self::Null => put(0, &[]),
            Self::Int(value) => put(1, &value.to_le_bytes()),
            Self::Large(value) => put(3, value.to_string().as_bytes()),
            Self::Real(value) => put(2, &value.to_bits().to_le_bytes()),
            Self::Day(day) => put(3, day.to_string().as_bytes()),
            Self::Text(text) => put(3, text.as_bytes()),
            Self::Mangled(bytes) => put(4, bytes),
            Self::Blob(bytes) => put(5, bytes),
        }
    }
}

impl Cell {
    /// The value, to be looked at.
    pub(super) fn seen(&self) -> Seen<'_> {
        match self {
            Self::Null => Seen::Null,
            Self::Int(value) => Seen::Int(*value),
            Self::Real(value) => Seen::Real(*value),
            Self::Text(text) => Seen::Text(text),
            Self::Mangled(bytes) => Seen::Mangled(bytes),
            Self::Blob(bytes) => Seen::Blob(bytes),
        }
    }

    /// See [`Seen::text`].
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        self.seen().text()
    }

    /// See [`Seen::is_true`].
    pub(super) fn is_true(&self) -> bool {
        self.seen().is_true()
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
pub(super) fn encoded<'r>(cells: impl IntoIterator<Item = Seen<'r>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    cells.into_iter().for_each(|cell| cell.encode(&mut |bytes| out.extend_from_slice(bytes)));
    out
}

/// The values, to be looked at.
pub(super) fn seen(cells: &[Cell]) -> SeenRow<'_> {
    cells.iter().map(Cell::seen).collect()
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
pub(in crate::store) fn key_of(parts: &[Seen<'_>]) -> Key {
    if let [one] = parts {
        return match one {
            Seen::Mangled(bytes) => Key::new(*bytes),
            // Each row has one, and needs no text of its own for it.
            Seen::Int(number) => Key::new(itoa::Buffer::new().format(*number)),
            other => Key::new(other.text().unwrap_or_default().as_bytes()),
        };
    }
    let encoded: Vec<String> = parts.iter().map(|part| part.text().unwrap_or_default().replace('%', "%25").replace(',', "%2C")).collect();
    Key::new(encoded.join(",").into_bytes())
}

/// The key, if it is one whole number.
pub(super) fn whole_number(key: &[Cell]) -> Option<i64> {
    if let [Cell::Int(number)] = key { Some(*number) } else { None }
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

/// A calendar date by its days since 1 January 2000. The largest and the smallest number are no dates: later, and earlier, than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Day(pub(super) i32);

impl Day {
    /// The date, where it lies in a calendar of four digits.
    pub(super) fn date(self) -> Option<Date> {
        let (year, month, day) = self.parts()?;
        Date::new(i16::try_from(year).ok()?, month, day).ok()
    }

    /// Year, month and day, in the Gregorian calendar prolonged in both directions. The year before 1 is 0.
    fn parts(self) -> Option<(i64, i8, i8)> {
        if matches!(self.0, i32::MAX | i32::MIN) {
            return None;
        }
        // Years are counted from March, so that the day that is there only every fourth year is the last; 400 of them have the same number of days each
        // time. Hinnant, chrono-Compatible Low-Level Date Algorithms, 2013, shows why this is exact.
        let days = i64::from(self.0) + 730_425;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let of_month = of_year - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Some((era * 400 + year + next, i8::try_from(month).ok()?, i8::try_from(of_month).ok()?))
    }
}

impl fmt::Display for Day {
    /// As PostgreSQL writes dates.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            None => f.write_str(if self.0 > 0 { "infinity" } else { "-infinity" }),
            Some((year @ 1.., month, day)) => write!(f, "{year:04}-{month:02}-{day:02}"),
            Some((year, month, day)) => write!(f, "{:04}-{month:02}-{day:02} BC", 1 - year),
        }
    }
}

/// What a row is at a moment: it differs whenever the row does.
pub(super) type State = [u8; STATE];

/// The state of a row of which everything was read.
pub(super) fn state_of(row: &[Seen<'_>]) -> State {
    // In one piece, and mostly without allocation: this is done twice for every row that goes.
    let mut bytes: SmallVec<[u8; 512]> = SmallVec::new();
    row.iter().for_each(|cell| cell.encode(&mut |part| bytes.extend_from_slice(part)));
    let mut state = [0; STATE];
    state.copy_from_slice(&Sha256::digest(&bytes)[..STATE]);
    state
}

/// What tells from which columns of which table a row was read, whatever their names are by now.
pub(super) type Origin = [u8; 8];

/// The origin with these numbers, which the engine gave the table and its columns.
pub(super) fn origin_of(numbers: impl IntoIterator<Item = i64>) -> Origin {
    let mut hash = Sha256::new();
    numbers.into_iter().for_each(|number| hash.update(number.to_le_bytes()));
    let mut origin = Origin::default();
    origin.copy_from_slice(&hash.finalize()[..8]);
    origin
}

/// The state of a row whose version the engine names by a number, read from there; nothing when it names none.
pub(super) fn state_of_version(version: Seen<'_>, origin: Origin) -> Option<State> {
    let Seen::Int(version) = version else { return None };
    let mut state = [0; STATE];
    state[..4].copy_from_slice(&u32::try_from(version).ok()?.to_le_bytes());
    state[4..12].copy_from_slice(&origin);
    Some(state)
}

/// Where a row lies in the file of its table, as one number in the order of places: the block, and behind it the number within. 0 is no place.
pub(super) fn place(block: u32, within: u16) -> u64 {
    u64::from(block) << 16 | u64::from(within)
}

/// The block and the number within of a place.
pub(super) fn block_of(place: u64) -> (u32, u16) {
    // What is further up was never put there.
    ((place >> 16) as u32, (place & 0xffff) as u16)
}

/// The number of the version in a fingerprint; `None` when there is something else, or it was read from elsewhere.
pub(super) fn version_of(fingerprint: &[u8], origin: Origin) -> Option<u32> {
    let state = fingerprint.strip_prefix(&[VERSION])?.first_chunk::<STATE>()?;
    let (number, rest) = state.split_first_chunk()?;
    let rest = rest.strip_prefix(&origin)?;
    rest.iter().all(|byte| *byte == 0).then_some(u32::from_le_bytes(*number))
}

/// Makes the fingerprint of a row.
pub(super) fn fingerprint(state: &State, key: &[Seen<'_>]) -> Fingerprint {
    let mut out = Fingerprint::new();
    out.push(VERSION);
    out.extend_from_slice(state);
    key.iter().for_each(|cell| cell.encode(&mut |bytes| out.extend_from_slice(bytes)));
    out
}

/// The part of a fingerprint in which the exact key stands: no two keys have the same. `None` when it was not made here.
pub(super) fn key_bytes(fingerprint: &[u8]) -> Option<&[u8]> {
    let (version, rest) = fingerprint.split_first()?;
    rest.get(STATE..).filter(|_| *version == VERSION)
}

/// The exact key values in a fingerprint; `None` when it was not made here or has another number of parts.
pub(super) fn typed_key(fingerprint: &[u8], parts: usize) -> Option<TypedKey> {
    let mut rest = key_bytes(fingerprint)?;
    let mut key = TypedKey::new();
    while !rest.is_empty() {
        key.push(Cell::decode(&mut rest)?);
    }
    (key.len() == parts && !key.contains(&Cell::Null)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_and_the_same_digits_as_text_are_different_keys_with_the_same_name() {
        let (one, two) = ([Seen::Int(1)], [Seen::Text("1")]);
        assert_eq!(key_of(&one), key_of(&two));
        for number in [0, -1, i64::MAX, i64::MIN] {
            assert_eq!(key_of(&[Seen::Int(number)]).as_bytes(), number.to_string().as_bytes());
        }
        let print = |row: &[Seen<'_>]| fingerprint(&state_of(row), row);
        assert_ne!(state_of(&one), state_of(&two));
        assert_eq!(typed_key(&print(&one), 1).unwrap().as_slice(), [Cell::Int(1)]);
        assert_eq!(key_bytes(&print(&one)).unwrap(), encoded(one));
        assert_eq!(typed_key(&print(&one), 2), None);
        let (origin, other) = (origin_of([16_384, 1, 3]), origin_of([16_384, 3, 1]));
        assert_ne!(origin, other);
        assert_eq!(state_of_version(Seen::Null, origin), None);
        let newest = fingerprint(&state_of_version(Seen::Int(4_294_967_295), origin).unwrap(), &one);
        assert_eq!((version_of(&newest, origin), version_of(&newest, other)), (Some(u32::MAX), None));
        assert_eq!(version_of(&print(&one), origin), None);
        assert_eq!(state_of_version(Seen::Int(4_294_967_296), origin), None);
        assert_eq!(state_of_version(Seen::Int(-1), origin), None);
        assert_ne!(state_of_version(Seen::Int(7), origin), state_of_version(Seen::Int(8), origin));
        assert_eq!(typed_key(b"hostile", 1), None);
        assert_eq!(typed_key(&[1; 200], 1), None);
    }

    #[test]
    fn a_day_is_the_date_that_so_many_days_lead_to() {
        let epoch = Date::constant(2000, 1, 1);
        // Every day of 400 years, and some of each other year of the calendar.
        let days = (-146_097..146_097).chain((-4_370_000..2_921_000).step_by(89));
        for day in days {
            let expected = epoch.checked_add(jiff::Span::new().days(day)).ok();
            assert_eq!(Day(day).date(), expected, "{day}");
        }
        let texts = [0, -730_119, -730_120, -730_121, 2_921_939, 2_921_940, i32::MAX, i32::MIN].map(|day| Day(day).to_string());
        let expected = ["2000-01-01", "0001-01-01", "0001-12-31 BC", "0001-12-30 BC", "9999-12-31", "10000-01-01", "infinity", "-infinity"];
        assert_eq!(texts, expected);
        assert_eq!([i32::MAX, i32::MIN, 2_921_940].map(|day| Day(day).date()), [None; 3]);
        let (day, text) = ([Seen::Day(Day(9_826))], [Seen::Text("2026-11-26")]);
        assert_eq!((encoded(day), key_of(&day), state_of(&day)), (encoded(text), key_of(&text), state_of(&text)));
        assert_eq!(day[0].kept(), Cell::Text("2026-11-26".into()));
    }

    #[test]
    fn a_composite_key_is_read_back_whatever_its_parts_hold() {
        for parts in [["a", "b"], ["a,b", "c"], ["%2C", ",%25"], ["", ""]] {
            let key = key_of(&parts.map(Seen::Text));
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
