//! One item of a plan as bytes.
//!
//! ```text
//! item      disposition u8 (16 more: behind it, as a varint, which of the plan's approvals; 32 more: behind that, the entry that decided the erasure; 64 more: behind that, the hint) | rule, event: varint | event date, due: date | key | class value, subject, fingerprint: bytes | size: varint
//!           | number of readings u8 | readings
//! key       varint: how many bytes are those of the key before it; then the others, as bytes
//! bytes     varint: 0 for nothing, otherwise the length and one more; then the bytes
//! date      year i16 LE | month i8 | day i8
//! reading   0: not yet | 1: date | 2: seconds i64 LE, nanoseconds i32 LE | 3: bytes to look it up by | 4: doubt
//! ```
//!
//! Keys come in the order of the scan, so that neighbours mostly share a folder: what they share is written once.

use std::collections::BTreeMap;
use std::sync::Arc;

use integer_encoding::VarInt;
use jiff::Timestamp;
use jiff::civil::Date;
use smol_str::SmolStr;

use crate::judge::Deciding;
use crate::plan::{Approval, Item};
use crate::record::{Doubt, Fingerprint, Key, Moment, Reading, Readings, Record};
use crate::schedule::{Basis, ClassId, Disposition, EventName};

const DISPOSITIONS: [Disposition; 4] = Disposition::ALL;

/// Added to the disposition of an item that people approved.
const APPROVED: u8 = 16;

/// Added to that of an item whose erasure was decided.
const ERASED: u8 = 32;

/// Added to that of an item of which the store said where it lies.
const HINTED: u8 = 64;

/// The lists of a plan that its items refer to: rules, events, approvals.
pub(super) type Lists<'a> = (&'a [(ClassId, Arc<str>)], &'a [EventName], &'a [Arc<Approval>]);

/// Writes or reads the items of one plan, in order.
#[derive(Default)]
pub(super) struct Coder {
    /// The key of the item before.
    last: Vec<u8>,
    /// What items rest on that were read, by their rule and event: those that rest on the same point to one.
    bases: BTreeMap<(u64, u64), Arc<Basis>>,
}

impl Coder {
    /// Appends an item; `rule`, `event` and `approval` are positions in the plan's lists, `erasure` an entry of the log.
    pub(super) fn encode(
        &mut self,
        out: &mut Vec<u8>,
        record: &Record,
        then: Disposition,
        deciding: &Deciding,
        (rule, event, approval, erasure): (u32, u32, Option<u32>, Option<u64>),
    ) {
        let then = DISPOSITIONS.iter().position(|known| *known == then).unwrap_or(0);
        let then = u8::try_from(then).unwrap_or(0);
        let hint = Some(record.hint).filter(|hint| *hint > 0);
        out.push(then + approval.map_or(0, |_| APPROVED) + erasure.map_or(0, |_| ERASED) + hint.map_or(0, |_| HINTED));
        approval.into_iter().for_each(|approval| encode_number(out, u64::from(approval)));
        erasure.into_iter().chain(hint).for_each(|number| encode_number(out, number));
        encode_number(out, u64::from(rule));
        encode_number(out, u64::from(event));
        encode_date(out, deciding.event_date);
        encode_date(out, deciding.due);
        let key = record.key.as_bytes();
        let shared = key.iter().zip(&self.last).take_while(|(one, other)| one == other).count();
        encode_number(out, shared as u64);
        encode_bytes(out, Some(&key[shared..]));
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
        encode_bytes(out, record.class_value.as_deref().map(str::as_bytes));
        encode_bytes(out, record.subject.as_deref().map(str::as_bytes));
        encode_bytes(out, Some(&record.fingerprint));
        encode_number(out, record.size);
        out.push(u8::try_from(record.readings.len()).unwrap_or(u8::MAX));
        for reading in &record.readings {
            encode_reading(out, reading);
        }
    }

    /// The item that these bytes are; `None` when they are none.
    pub(super) fn decode<T>(&mut self, bytes: &[u8], (rules, events, approvals): Lists<'_>, take: impl FnOnce(Item) -> T) -> Option<T> {
        let mut bytes = Bytes(bytes);
        let then = bytes.array::<1>()?[0];
        let approval = match then & APPROVED {
            0 => None,
            _ => Some(Arc::clone(approvals.get(usize::try_from(bytes.number()?).ok()?)?)),
        };
        let erasure = if then & ERASED == 0 { None } else { Some(bytes.number()?) };
        let hint = if then & HINTED == 0 { 0 } else { bytes.number()? };
        let then = *DISPOSITIONS.get(usize::from(then & !(APPROVED | ERASED | HINTED)))?;
        let (rule, event) = (bytes.number()?, bytes.number()?);
        let basis = self.basis(rule, event, (rules, events))?;
        let (event_date, due) = (bytes.date()?, bytes.date()?);
        let shared = usize::try_from(bytes.number()?).ok().filter(|shared| *shared <= self.last.len())?;
        self.last.truncate(shared);
        self.last.extend_from_slice(bytes.given()?);
        let key = Key::new(self.last.as_slice());
        let (class_value, subject) = (bytes.text()?, bytes.text()?);
        let fingerprint = Fingerprint::from_slice(bytes.given()?);
        let size = bytes.number()?;
        let count = bytes.array::<1>()?[0];
        let mut readings = Readings::with_capacity(usize::from(count));
        for _ in 0..count {
            readings.push(bytes.reading()?);
        }
        let deciding = Deciding { basis, event_date, due };
        let record = Record { key, class_value, readings, subject, size, fingerprint, hint };
        bytes.0.is_empty().then(|| take(Item { record, then, deciding, approval, erasure }))
    }

    /// What an item rests on; nothing where the lists do not have it.
    fn basis(&mut self, rule: u64, event: u64, (rules, events): (&[(ClassId, Arc<str>)], &[EventName])) -> Option<Arc<Basis>> {
        if let Some(basis) = self.bases.get(&(rule, event)) {
            return Some(Arc::clone(basis));
        }
        let (class, schedule) = rules.get(usize::try_from(rule).ok()?)?;
        let name = events.get(usize::try_from(event).ok()?)?;
        let basis = Arc::new(Basis { class: class.clone(), schedule: Arc::clone(schedule), event: name.clone() });
        self.bases.insert((rule, event), Arc::clone(&basis));
        Some(basis)
    }
}

fn encode_number(out: &mut Vec<u8>, number: u64) {
    // Most are so small that they are their own only byte.
    if let Ok(byte @ ..0x80) = u8::try_from(number) {
        return out.push(byte);
    }
    let mut buffer = [0; 10];
    let length = number.encode_var(&mut buffer);
    out.extend_from_slice(&buffer[..length]);
}

fn encode_date(out: &mut Vec<u8>, date: Date) {
    out.extend_from_slice(&date.year().to_le_bytes());
    out.extend_from_slice(&date.month().to_le_bytes());
    out.extend_from_slice(&date.day().to_le_bytes());
}

fn encode_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    encode_number(out, bytes.map_or(0, |bytes| bytes.len() as u64 + 1));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn encode_reading(out: &mut Vec<u8>, reading: &Reading) {
    match reading {
        Reading::NotYet => out.push(0),
        Reading::At(Moment::Date(date)) => {
            out.push(1);
            encode_date(out, *date);
        }
        Reading::At(Moment::Instant(instant)) => {
            out.push(2);
            out.extend_from_slice(&instant.as_second().to_le_bytes());
            out.extend_from_slice(&instant.subsec_nanosecond().to_le_bytes());
        }
        Reading::Elsewhere(value) => {
            out.push(3);
            encode_bytes(out, value.as_deref().map(str::as_bytes));
        }
        Reading::Doubt(_) => out.push(4),
    }
}

/// What is left of an item to be read. Every `None` says that it is broken.
struct Bytes<'a>(&'a [u8]);

#[allow(clippy::option_option)] // Broken, or nothing, or something.
impl<'a> Bytes<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u64> {
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(u64::from(*byte));
        }
        let (number, length) = u64::decode_var(self.0)?;
        self.0 = &self.0[length..];
        Some(number)
    }

    /// Bytes; the inner `None` says that there are none.
    fn field(&mut self) -> Option<Option<&'a [u8]>> {
        let Some(length) = self.number()?.checked_sub(1) else { return Some(None) };
        let (head, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(head))
    }

    /// Bytes that have to be there.
    fn given(&mut self) -> Option<&'a [u8]> {
        self.field()?
    }

    fn text(&mut self) -> Option<Option<SmolStr>> {
        match self.field()? {
            Some(bytes) => std::str::from_utf8(bytes).ok().map(|text| Some(text.into())),
            None => Some(None),
        }
    }

    fn date(&mut self) -> Option<Date> {
        let [y0, y1, month, day] = self.array()?;
        Date::new(i16::from_le_bytes([y0, y1]), i8::from_le_bytes([month]), i8::from_le_bytes([day])).ok()
    }

    fn reading(&mut self) -> Option<Reading> {
        Some(match self.array::<1>()?[0] {
            0 => Reading::NotYet,
            1 => Reading::At(Moment::Date(self.date()?)),
            2 => {
                let (second, nanosecond) = (i64::from_le_bytes(self.array()?), i32::from_le_bytes(self.array()?));
                Reading::At(Moment::Instant(Timestamp::new(second, nanosecond).ok()?))
            }
            3 => Reading::Elsewhere(self.text()?),
            4 => Reading::Doubt(Doubt::Failed("not kept in the plan".into())),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, last: Vec<u8>) {
            let rules = [(ClassId::parse("a.b").unwrap(), Arc::from("sha"))];
            let _ = Coder { last, ..Coder::default() }.decode(&bytes, (&rules, &[EventName::parse("event").unwrap()], &[]), |item| item);
        }

        #[test]
        fn every_instant_and_number_is_read_back(
            second in -377_705_023_201_i64..253_402_207_200, nanosecond in 0..1_000_000_000_i32, number: u64, shift in 0..64_u32
        ) {
            let number = number >> shift;
            let instant = Timestamp::new(second, nanosecond).unwrap();
            let mut out = Vec::new();
            encode_reading(&mut out, &Reading::At(Moment::Instant(instant)));
            encode_number(&mut out, number);
            let mut buffer = [0; 10];
            let length = number.encode_var(&mut buffer);
            proptest::prop_assert!(out.ends_with(&buffer[..length]));
            let mut bytes = Bytes(&out);
            proptest::prop_assert_eq!(bytes.reading(), Some(Reading::At(Moment::Instant(instant))));
            proptest::prop_assert_eq!(bytes.number(), Some(number));
            proptest::prop_assert!(bytes.0.is_empty());
        }
    }
}
