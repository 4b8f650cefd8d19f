//! A frame of the journal: the entries of one append, as the bytes on the disk. Numbers are little-endian:
//!
//! ```text
//! magic (8 bytes) | first index u64 | count u32 | length of the body u32 | hash (32 bytes) | body
//! body = for each entry: length of its own bytes u32 | cut u16 | shared u16 | from u32 | own bytes
//! hash = SHA-256 over all before it and the leaf hash of each entry in the tree
//! ```
//!
//! **What entries share is written once.** Most of an outcome is what the one before it said as well: run, dataset, schedule, grade. Such an entry is its
//! own bytes up to `cut`, then `shared` bytes of the frame from the byte `from` on, then the rest of its own: a third of the bytes to write and to wait
//! for. What is pointed at lies before the entry. An entry that shares nothing has three zeros there. In the tree and its files every entry stands whole;
//! what is saved here is never seen outside.
//!
//! The entries stand in the hash by their leaf hashes, which the tree needs anyway: so each is hashed once on its way, and what a frame is checked for is
//! what comes out of it, however it was written.
//!
//! Frames of the forms before are read, and no longer written: `2` has no cut, shared and from, and `1` a hash over the body as it is besides.

use sha2::{Digest as _, Sha256};

use super::entry::{MAX_ENTRY, Stem};
use super::tree::{Hash, leaf_hash_behind_zero, leaf_hash_of};

/// What a frame begins with. Bytes 0xff and 0xfe never occur in UTF-8, so no entry holds it.
const MAGIC: [u8; 8] = magic(b'3');

/// What frames of the forms before begin with.
const MAGIC_2: [u8; 8] = magic(b'2');
const MAGIC_1: [u8; 8] = magic(b'1');

/// Length of a magic.
pub(super) const MAGIC_LENGTH: usize = MAGIC.len();

/// Where the hash stands in a frame, behind magic, first index, count and length.
const HASH_AT: usize = 24;

/// Length of what stands before a frame's body.
pub(super) const HEADER: usize = HASH_AT + 32;

/// Length of what stands before an entry's own bytes.
pub(super) const ENTRY_HEADER: usize = 12;

/// The same in the forms before.
const OLD_ENTRY_HEADER: usize = 4;

/// The greatest body of a frame in bytes, and the most that its entries may be: more in one append would not fit the memory we promise to stay within.
pub(super) const MAX_BODY: usize = 64 << 20;

/// Less than this is not worth pointing at.
const LEAST_SHARED: usize = 32;

/// So many texts that entries may share are looked through: the outcomes of a batch are of few kinds.
const MOST_STEMS: usize = 4;

const fn magic(form: u8) -> [u8; 8] {
    [0xff, b'r', b't', b'd', b'j', 0xfe, form, b'\n']
}

/// One append: some entries in a row, as the bytes in the journal.
#[derive(Debug, Default)]
pub(super) struct Frame {
    first: u64,
    count: u32,
    /// How many bytes its entries are.
    told: usize,
    bytes: Vec<u8>,
    /// The leaf hashes of the entries, if the frame was made here; one that was read may be anybody's and keeps none.
    leaves: Vec<Hash>,
    /// What entries may share, and where in `bytes` it stands; the newest last.
    stems: Vec<(Stem, u32)>,
    /// The entry that is being appended, behind a zero byte.
    entry: Vec<u8>,
}

/// An entry in a frame: its bytes are those of the three pieces, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pieces<'f>(pub(super) [&'f [u8]; 3]);

impl Pieces<'_> {
    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.len()).sum()
    }

    /// In one piece.
    pub(super) fn to_vec(self) -> Vec<u8> {
        self.0.concat()
    }

    /// Its leaf hash.
    pub(super) fn leaf_hash(&self) -> Hash {
        leaf_hash_of(&self.0)
    }
}

impl Frame {
    /// Begins a frame whose first entry has the index `first`, in the memory of one that is not needed any more.
    pub(super) fn begin(first: u64, used: Self) -> Self {
        let Self { mut bytes, mut leaves, mut stems, entry, .. } = used;
        bytes.clear();
        bytes.extend_from_slice(&MAGIC);
        bytes.resize(HEADER, 0);
        leaves.clear();
        stems.clear();
        Self { first, count: 0, told: 0, bytes, leaves, stems, entry }
    }

    /// Appends the entry that `write` writes, which answers where in it `stem` begins. The caller keeps all entries together below [`MAX_BODY`].
    pub(super) fn push(&mut self, stem: &Stem, write: impl FnOnce(&mut Vec<u8>) -> usize) {
        self.entry.clear();
        self.entry.push(0);
        let at = write(&mut self.entry).saturating_sub(1);
        self.leaves.push(leaf_hash_behind_zero(&self.entry));
        let entry = &self.entry[1..];
        let (before, rest) = entry.split_at(at.min(entry.len()));
        let (shared, behind) = rest.split_at(stem.bytes().len().min(rest.len()));
        // Where it is not the stem that stands there, the entry shares nothing.
        let shares = shared.len() >= LEAST_SHARED && shared == stem.bytes();
        let known = shares.then(|| self.stems.iter().rev().find(|(known, _)| known == stem).map(|(_, from)| *from)).flatten();
        let own: &[&[u8]] = if known.is_some() { &[before, behind] } else { &[before, shared, behind] };
        let length = number(own.iter().map(|piece| piece.len()).sum());
        let (cut, shared_length) = if known.is_some() { (short(before.len()), short(shared.len())) } else { (0, 0) };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&cut.to_le_bytes());
        self.bytes.extend_from_slice(&shared_length.to_le_bytes());
        self.bytes.extend_from_slice(&known.unwrap_or(0).to_le_bytes());
        own.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        if shares && known.is_none() {
            if self.stems.len() == MOST_STEMS {
                self.stems.remove(0);
            }
            self.stems.push((stem.clone(), number(start + ENTRY_HEADER + before.len())));
        }
        self.told += entry.len();
        self.count += 1;
    }

    /// Fills in the header; nothing may be appended after.
    pub(super) fn seal(&mut self) {
        let length = number(self.bytes.len() - HEADER);
        self.bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&self.count.to_le_bytes());
        self.bytes[20..24].copy_from_slice(&length.to_le_bytes());
        let hash = hash(&self.bytes, &self.leaves);
        self.bytes[HASH_AT..HEADER].copy_from_slice(&hash);
    }

    /// Whether there is no entry in it.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its length in bytes, also before it has begun.
    pub(super) fn len(&self) -> usize {
        self.bytes.len().max(HEADER)
    }

    /// How many bytes its entries are.
    pub(super) fn told(&self) -> usize {
        self.told
    }

    /// What is written to the disk.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The index of the first entry.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The index behind the last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// The entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Pieces<'_>> {
        let points = self.bytes.starts_with(&MAGIC);
        let mut at = HEADER;
        std::iter::from_fn(move || {
            let (entry, end) = self.entry_at(at, points)?;
            at = end;
            Some(entry)
        })
    }

    /// The entry whose header begins at this byte, and where it ends; nothing when no entry can be there.
    fn entry_at(&self, at: usize, points: bool) -> Option<(Pieces<'_>, usize)> {
        let (length, rest) = self.bytes.get(at..)?.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        if !points {
            return Some((Pieces([rest.get(..length)?, &[], &[]]), at + OLD_ENTRY_HEADER + length));
        }
        let (cut, rest) = rest.split_first_chunk()?;
        let (shared, rest) = rest.split_first_chunk()?;
        let (from, rest) = rest.split_first_chunk()?;
        let [cut, shared] = [cut, shared].map(|number| usize::from(u16::from_le_bytes(*number)));
        let from = u32::from_le_bytes(*from) as usize;
        if shared == 0 && (cut, from) != (0, 0) {
            return None;
        }
        let (before, behind) = rest.get(..length)?.split_at_checked(cut)?;
        // Only what lies before the entry can be pointed at.
        let shared = self.bytes.get(..at)?.get(from..)?.get(..shared)?;
        Some((Pieces([before, shared, behind]), at + ENTRY_HEADER + length))
    }

    /// The entries with their leaf hashes, in order.
    pub(super) fn leaves(&self) -> impl Iterator<Item = (Pieces<'_>, Hash)> {
        let mut known = self.leaves.iter();
        self.entries().map(move |entry| (entry, known.next().copied().unwrap_or_else(|| entry.leaf_hash())))
    }

    /// Whether a frame begins with these bytes.
    pub(super) fn begins(bytes: &[u8]) -> bool {
        bytes.first_chunk().is_some_and(|magic| [MAGIC, MAGIC_2, MAGIC_1].contains(magic))
    }

    /// Whether these bytes are those with which a frame of a form begins that is not known here: a later version wrote it.
    pub(super) fn is_of_a_later_form(bytes: &[u8]) -> bool {
        bytes.first_chunk().is_some_and(|begin: &[u8; MAGIC_LENGTH]| *begin == magic(begin[6]) && !Self::begins(begin))
    }

    /// The length of the frame that a header announces, unless it cannot be the header of a frame.
    pub(super) fn announced(header: &[u8; HEADER]) -> Option<usize> {
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (count, length) = (number(16), number(20) as usize);
        (Self::begins(header) && count > 0 && length <= MAX_BODY).then_some(HEADER + length)
    }

    /// The frame in `bytes`, unless they are anything else than exactly one whole frame.
    pub(super) fn check(bytes: Vec<u8>) -> Option<Self> {
        let header = bytes.first_chunk()?;
        if Self::announced(header)? != bytes.len() {
            return None;
        }
        let first = u64::from_le_bytes(header[8..16].try_into().ok()?);
        let count = u32::from_le_bytes(header[16..20].try_into().ok()?);
        first.checked_add(u64::from(count))?;
        let mut frame = Self { first, count, bytes, ..Self::default() };
        let points = frame.bytes.starts_with(&MAGIC);
        let (mut at, mut entries, mut told) = (HEADER, 0_u32, 0_usize);
        while at < frame.bytes.len() {
            let (entry, end) = frame.entry_at(at, points)?;
            (at, entries, told) = (end, entries.checked_add(1)?, told.checked_add(entry.len())?);
            // What was written here never is more, however little it takes to say.
            if entry.len() > MAX_ENTRY || told > MAX_BODY {
                return None;
            }
        }
        frame.told = told;
        let whole = || {
            if frame.bytes.starts_with(&MAGIC_1) {
                return Sha256::new().chain_update(&frame.bytes[..HASH_AT]).chain_update(&frame.bytes[HEADER..]).finalize().into();
            }
            hash(&frame.bytes, &frame.entries().map(|entry| entry.leaf_hash()).collect::<Vec<_>>())
        };
        (entries == count && whole() == frame.bytes[HASH_AT..HEADER]).then_some(frame)
    }
}

/// The hash of a frame, from its header and the leaf hashes of its entries.
fn hash(frame: &[u8], leaves: &[Hash]) -> [u8; 32] {
    Sha256::new().chain_update(&frame[..HASH_AT]).chain_update(leaves.as_flattened()).finalize().into()
}

/// A place or a length in a frame, which is never longer than [`MAX_BODY`] and its headers.
fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A length in an entry, which is at most 65,535 bytes long.
fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tree::leaf_hash;
    use super::*;

    /// A sealed frame of entries that share nothing.
    pub(in super::super) fn frame(first: u64, entries: &[&str]) -> Frame {
        let mut frame = Frame::begin(first, Frame::default());
        entries.iter().for_each(|entry| push_whole(&mut frame, entry.as_bytes()));
        frame.seal();
        frame
    }

    /// Appends an entry that shares nothing.
    pub(in super::super) fn push_whole(frame: &mut Frame, entry: &[u8]) {
        frame.push(&Stem::default(), |out| {
            out.extend_from_slice(entry);
            0
        });
    }

    /// A frame of an earlier form with the same entries.
    pub(in super::super) fn in_form(form: u8, frame: &Frame) -> Frame {
        let mut bytes = frame.bytes[..HEADER].to_vec();
        bytes[..8].copy_from_slice(&magic(form));
        for entry in frame.entries() {
            bytes.extend_from_slice(&number(entry.len()).to_le_bytes());
            bytes.extend_from_slice(&entry.to_vec());
        }
        let length = number(bytes.len() - HEADER);
        bytes[20..24].copy_from_slice(&length.to_le_bytes());
        let hash = if form == b'1' {
            Sha256::new().chain_update(&bytes[..HASH_AT]).chain_update(&bytes[HEADER..]).finalize().into()
        } else {
            hash(&bytes, &frame.entries().map(|entry| entry.leaf_hash()).collect::<Vec<_>>())
        };
        bytes[HASH_AT..HEADER].copy_from_slice(&hash);
        Frame { first: frame.first, count: frame.count, bytes, ..Frame::default() }
    }

    fn stem(text: &str) -> Stem {
        Stem::new(&json!({ "text": text })).unwrap()
    }

    /// Appends an entry with a stem between two texts of its own.
    fn push(frame: &mut Frame, before: &str, stem: &Stem, behind: &str) -> Vec<u8> {
        frame.push(stem, |out| {
            out.extend_from_slice(before.as_bytes());
            let at = out.len();
            out.extend_from_slice(stem.bytes());
            out.extend_from_slice(behind.as_bytes());
            at
        });
        [before.as_bytes(), stem.bytes(), behind.as_bytes()].concat()
    }

    fn is(frame: &Frame, entries: &[Vec<u8>]) {
        assert_eq!(frame.entries().map(Pieces::to_vec).collect::<Vec<_>>(), entries);
        assert!(frame.leaves().map(|(_, leaf)| leaf).eq(entries.iter().map(|entry| leaf_hash(entry))));
    }

    #[test]
    fn what_entries_share_is_written_once_and_comes_back_in_each_of_them() {
        let mut frame = Frame::begin(7, Frame::default());
        let [one, other] = ["what most outcomes say, and more than once", "what some others say, and not as often as that"].map(stem);
        let mut entries = vec![push(&mut frame, "{", &stem("short"), "}"), push(&mut frame, "{", &Stem::default(), "}")];
        for n in 0..100 {
            entries.push(push(&mut frame, &format!("{{{n}"), if n % 7 == 3 { &other } else { &one }, &format!("{}}}", "x".repeat(n))));
        }
        // Made of the same fields, so it is the same.
        entries.push(push(&mut frame, "", &stem("what most outcomes say, and more than once"), ""));
        frame.seal();
        is(&frame, &entries);
        let told: usize = entries.iter().map(Vec::len).sum();
        let saved = 86 * one.bytes().len() + 13 * other.bytes().len();
        assert_eq!((frame.told(), frame.len()), (told, HEADER + 103 * ENTRY_HEADER + told - saved));
        let read = Frame::check(frame.bytes.clone()).unwrap();
        is(&read, &entries);
        assert_eq!((read.first(), read.end(), read.told()), (7, 110, told));
        // The memory of one frame is that of the next, and nothing of the one is in the other.
        let mut next = Frame::begin(110, frame);
        let entries = [push(&mut next, "", &one, "!"), push(&mut next, "", &one, "?")];
        next.seal();
        is(&Frame::check(next.bytes.clone()).unwrap(), &entries);
    }

    #[test]
    fn of_many_stems_the_newest_are_known() {
        let mut frame = Frame::begin(0, Frame::default());
        let stems: Vec<Stem> = (0..=MOST_STEMS).map(|n| stem(&format!("{n} of the many things that entries may share"))).collect();
        let entries: Vec<Vec<u8>> = stems.iter().chain(&stems).chain(stems.last()).map(|stem| push(&mut frame, "", stem, "")).collect();
        frame.seal();
        is(&Frame::check(frame.bytes.clone()).unwrap(), &entries);
        assert_eq!(frame.len(), HEADER + entries.len() * ENTRY_HEADER + (entries.len() - 1) * stems[0].bytes().len());
    }

    #[test]
    fn an_entry_in_which_the_stem_stands_elsewhere_is_written_whole() {
        let stem = stem("what most outcomes say, and more than once");
        let whole = [b"{", stem.bytes(), b"}"].concat();
        for at in [0, 1, 2, 3, whole.len(), whole.len() + 1, usize::MAX] {
            let mut frame = Frame::begin(0, Frame::default());
            for _ in 0..2 {
                frame.push(&stem, |out| {
                    out.extend_from_slice(&whole);
                    at
                });
            }
            frame.seal();
            is(&Frame::check(frame.bytes.clone()).unwrap(), &[whole.clone(), whole.clone()]);
        }
    }

    #[test]
    fn frames_of_the_forms_before_say_the_same() {
        let now = frame(4, &["a", "", "c"]);
        for form in [b'1', b'2'] {
            let old = Frame::check(in_form(form, &now).bytes).unwrap();
            assert_eq!((old.first(), old.end()), (4, 7));
            assert!(old.entries().map(Pieces::to_vec).eq(now.entries().map(Pieces::to_vec)));
        }
        let later = in_form(b'4', &now);
        assert!(Frame::is_of_a_later_form(&later.bytes) && !Frame::is_of_a_later_form(&now.bytes) && !Frame::is_of_a_later_form(b"short"));
        assert!(Frame::check(later.bytes).is_none());
    }

    #[test]
    fn a_frame_with_any_bit_changed_says_the_same_or_is_none() {
        let mut frame = Frame::begin(0, Frame::default());
        let stem = stem("what most outcomes say, and more than once");
        let entries: Vec<Vec<u8>> = (0..4).map(|n| push(&mut frame, &format!("{{{n}"), &stem, "}")).collect();
        frame.seal();
        for bit in 0..8 * frame.bytes.len() {
            let mut bytes = frame.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Some(read) = Frame::check(bytes) {
                is(&read, &entries);
            }
        }
    }

    #[test]
    fn a_frame_that_would_be_more_than_can_be_is_none() {
        // Every entry points at the first one, which is as long as entries get.
        let long = stem(&"x".repeat(60_000));
        let mut frame = Frame::begin(0, Frame::default());
        let most = MAX_BODY / long.bytes().len();
        for _ in 0..most {
            push(&mut frame, "", &long, "");
        }
        frame.seal();
        assert!(Frame::check(frame.bytes.clone()).is_some() && frame.len() < 200_000);
        let mut frame = Frame::begin(0, frame);
        for _ in 0..=most {
            push(&mut frame, "", &long, "");
        }
        frame.seal();
        assert!(Frame::check(frame.bytes).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_behind_a_header_are_a_frame_or_none(count in 0_u32..4, body in prop::collection::vec(any::<u8>(), 0..200), form in b'1'..=b'4') {
            let mut bytes = magic(form).to_vec();
            bytes.extend_from_slice(&0_u64.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(&number(body.len()).to_le_bytes());
            bytes.extend_from_slice(&[0; 32]);
            bytes.extend_from_slice(&body);
            // Whatever is asked of such a frame ends, and panics nowhere.
            let frame = Frame { first: 0, count, bytes: bytes.clone(), ..Frame::default() };
            let lengths: Vec<usize> = frame.entries().map(|entry| entry.to_vec().len()).collect();
            prop_assert!(lengths.len() <= body.len());
            prop_assert!(Frame::check(bytes).is_none());
        }

        #[test]
        fn any_entries_come_back(entries in prop::collection::vec((".{0,20}", 0..6_usize, ".{0,20}"), 1..60)) {
            let stems: Vec<Stem> = (0..6).map(|n| stem(&"shared ".repeat(3 * n))).collect();
            let mut frame = Frame::begin(3, Frame::default());
            let entries: Vec<Vec<u8>> =
                entries.iter().map(|(before, nth, behind)| push(&mut frame, before, &stems[*nth], behind)).collect();
            frame.seal();
            is(&frame, &entries);
            is(&Frame::check(frame.bytes.clone()).unwrap(), &entries);
        }
    }
}
