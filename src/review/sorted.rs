//! Records sorted by class, month and key, however many there are: in pieces that fit into memory, each a file, which are then merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use super::batch::month_of;
use crate::error::Result;
use crate::plan::{Item, Tally};
use crate::spool::{Items, Source, Spool, Writer};

/// Records that are sorted in memory at once: some megabytes.
const PIECE: usize = 20_000;

/// Pieces that are merged at once: each takes two descriptors.
const MOST: usize = 64;

/// Class, month and key.
pub(super) type Place = (String, String, Vec<u8>);

pub(super) fn place_of(item: &Item) -> Place {
    (item.deciding.class.to_string(), month_of(item), item.record.key.as_bytes().to_vec())
}

/// Takes records in any order.
pub(super) struct Sorter {
    folder: PathBuf,
    piece: Vec<Item>,
    most: usize,
    written: Vec<Spool>,
}

/// The records in order.
pub(super) struct Merged {
    heads: BinaryHeap<Reverse<(Place, usize)>>,
    next: Vec<Option<Item>>,
    pieces: Vec<Items>,
    /// The files vanish with this.
    _files: Vec<Spool>,
}

impl Sorter {
    pub(super) fn new(folder: &Path) -> Self {
        Self::in_pieces_of(folder, PIECE)
    }

    fn in_pieces_of(folder: &Path, most: usize) -> Self {
        Self { folder: folder.to_owned(), piece: Vec::new(), most, written: Vec::new() }
    }

    pub(super) fn push(&mut self, item: Item) -> Result<()> {
        self.piece.push(item);
        if self.piece.len() < self.most {
            return Ok(());
        }
        self.write_piece()?;
        if self.written.len() == MOST {
            let all = Merged::of(std::mem::take(&mut self.written))?;
            let merged = write(&self.folder, all)?;
            self.written.push(merged);
        }
        Ok(())
    }

    fn write_piece(&mut self) -> Result<()> {
        let mut piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        piece.sort_by_cached_key(place_of);
        self.written.push(write(&self.folder, piece.into_iter().map(Ok))?);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Merged> {
        self.write_piece()?;
        Merged::of(self.written)
    }
}

fn write(folder: &Path, items: impl Iterator<Item = Result<Item>>) -> Result<Spool> {
    let mut writer = Writer::create(folder)?;
    for item in items {
        writer.add_item(&item?)?;
    }
    writer.finish(&Source { store: "", dataset: "", mark: String::new(), made: String::new() }, Tally::default())
}

impl Merged {
    fn of(files: Vec<Spool>) -> Result<Self> {
        let pieces = files.iter().map(Spool::items).collect::<Result<Vec<_>>>()?;
        let mut merged = Self { heads: BinaryHeap::new(), next: pieces.iter().map(|_| None).collect(), pieces, _files: files };
        for at in 0..merged.pieces.len() {
            merged.advance(at)?;
        }
        Ok(merged)
    }

    fn advance(&mut self, at: usize) -> Result<()> {
        if let Some(item) = self.pieces[at].next().transpose()? {
            self.heads.push(Reverse((place_of(&item), at)));
            self.next[at] = Some(item);
        }
        Ok(())
    }
}

impl Iterator for Merged {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((_, at)) = self.heads.pop()?;
        let item = self.next[at].take()?;
        match self.advance(at) {
            Ok(()) => Some(Ok(item)),
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Deciding;
    use crate::record::{Fingerprint, Key, Record};
    use crate::schedule::{Basis, ClassId, Disposition, EventName};
    use jiff::civil::date;

    fn item(class: &str, month: i8, key: u32) -> Item {
        let record = Record {
            key: Key::new(key.to_string().into_bytes()),
            class_value: None,
            readings: smallvec::SmallVec::new(),
            subject: None,
            size: 1,
            fingerprint: Fingerprint::from_slice(&key.to_le_bytes()),
            hint: 0,
        };
        let basis = Basis { class: ClassId::parse(class).unwrap(), schedule: "s".into(), event: EventName::parse("ended").unwrap() };
        let deciding = Deciding { basis: basis.into(), event_date: date(2020, 1, 1), due: date(2026, month, 3) };
        Item { record, then: Disposition::Review, deciding, approval: None, erasure: None }
    }

    #[test]
    fn records_in_any_order_come_back_sorted_through_more_pieces_than_are_merged_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::in_pieces_of(folder.path(), 7);
        let (mut expected, mut seed) = (Vec::new(), 1_u32);
        for _ in 0..2000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let one = item(if seed & 256 == 0 { "b.c" } else { "a.b" }, i8::try_from(seed >> 28).unwrap().clamp(1, 12), seed >> 12);
            expected.push(place_of(&one));
            sorter.push(one).unwrap();
        }
        expected.sort();
        let found: Vec<Place> = sorter.finish().unwrap().map(|item| place_of(&item.unwrap())).collect();
        assert_eq!(found, expected);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
