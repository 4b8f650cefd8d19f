//! Tiles: how the tree and the entries lie in files, as the C2SP tlog-tiles specification has it.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]           32-byte hashes, one behind the other; full with 256 of them
//! tile/entries/<N>[.p/<W>]       an entry bundle: each entry as its length (u16, big-endian) and its bytes; full with 256
//! ```
//!
//! `<N>` is written in groups of three digits, all but the last with an `x` in front: 1234067 is `x001/x234/067`. `<W>`, 1 to 255, is there
//! for partial tiles only. Empty tiles do not exist. Pure: paths and bytes, no files.

use super::tree::{Hash, TILE_WIDTH, level_count, width_at};

/// Which file of the tree: a tile of hashes or a bundle of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Entry bundles.
    Entries,
    /// Tiles of this level; 0 holds the leaves.
    Hashes(u8),
}

/// The path below the log's folder of the tile `index`; `width` 256 names the full one, less a partial one.
pub fn path(level: Level, index: u64, width: usize) -> String {
    let mut path = match level {
        Level::Entries => "tile/entries/".to_owned(),
        Level::Hashes(level) => format!("tile/{level}/"),
    };
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    path.push_str(&groups.join("/"));
    if width < TILE_WIDTH {
        path.push_str(".p/");
        path.push_str(&width.to_string());
    }
    path
}

/// Where an entry lies: the index of its tile of level 0 and of its bundle, and its place in them.
pub fn place(n: u64) -> (u64, usize) {
    // Masked to a byte, so the cast keeps the value.
    (n / TILE_WIDTH as u64, (n & 0xff) as usize)
}

/// How many entries the bundle `index` has in a log of `size` entries: 256, or less in the last one.
pub fn bundle_width(index: u64, size: u64) -> usize {
    let left = size.saturating_sub(index.saturating_mul(TILE_WIDTH as u64));
    usize::try_from(left).map_or(TILE_WIDTH, |left| left.min(TILE_WIDTH))
}

/// The tiles of hashes at the right edge of a tree of `size` entries that are partial: level, index and width, lowest first.
pub fn partial_edge(size: u64) -> impl Iterator<Item = (u8, u64, usize)> {
    (0..level_count(size)).filter_map(move |level| {
        let width = width_at(size, level);
        let index = size.checked_shr(u32::try_from(8 * (level + 1)).ok()?).unwrap_or(0);
        (width > 0).then_some((u8::try_from(level).ok()?, index, width))
    })
}

/// Appends an entry, which may lie in several pieces, to a bundle. The entry's length must fit 16 bits, as every entry that was drafted does.
pub fn append_to_bundle(bundle: &mut Vec<u8>, entry: &[&[u8]]) {
    let length: usize = entry.iter().map(|piece| piece.len()).sum();
    debug_assert!(u16::try_from(length).is_ok(), "an entry is never longer than 65,535 bytes");
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    bundle.extend_from_slice(&length.to_be_bytes());
    let end = bundle.len() + usize::from(length);
    entry.iter().for_each(|piece| bundle.extend_from_slice(piece));
    bundle.truncate(end);
}

/// The entries of a bundle of `width` entries; what does not fit is told in words that follow the file's name.
pub fn read_bundle(bundle: &[u8], width: usize) -> Result<Vec<&[u8]>, String> {
    let mut entries = Vec::with_capacity(width);
    let mut rest = bundle;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((entry, behind)) = behind.split_at_checked(length) else {
            return Err(format!("entry {} of the bundle: expected {length} bytes, found {}", entries.len(), behind.len()));
        };
        entries.push(entry);
        rest = behind;
    }
    if !rest.is_empty() || entries.len() != width {
        return Err(format!("expected {width} entries, found {} and {} bytes behind them", entries.len(), rest.len()));
    }
    Ok(entries)
}

/// The bytes of a tile.
pub fn tile_bytes(hashes: &[Hash]) -> &[u8] {
    hashes.as_flattened()
}

/// The hashes of a tile of `width` hashes; what does not fit is told in words that follow the file's name.
pub fn read_tile(bytes: &[u8], width: usize) -> Result<Vec<Hash>, String> {
    let (hashes, rest) = bytes.as_chunks();
    if hashes.len() != width || !rest.is_empty() {
        return Err(format!("expected {} bytes, found {}", width * size_of::<Hash>(), bytes.len()));
    }
    Ok(hashes.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(path(Level::Hashes(0), 5, 256), "tile/0/005");
        assert_eq!(path(Level::Hashes(63), 1234, 256), "tile/63/x001/234");
        assert_eq!(path(Level::Entries, 1_234_067, 256), "tile/entries/x001/x234/067");
        assert_eq!(path(Level::Hashes(0), 273, 112), "tile/0/273.p/112");
        assert_eq!(path(Level::Entries, 1000, 1), "tile/entries/x001/000.p/1");
    }

    #[test]
    fn the_edge_of_70000_entries_is_that_of_the_specification() {
        assert_eq!(partial_edge(70_000).collect::<Vec<_>>(), [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
        assert_eq!(partial_edge(256).collect::<Vec<_>>(), [(1, 0, 1)]);
        assert_eq!(partial_edge(0).count(), 0);
        assert_eq!(partial_edge(u64::MAX).count(), 8);
    }

    #[test]
    fn an_entry_has_one_place() {
        assert_eq!((place(255), place(256)), ((0, 255), (1, 0)));
        assert_eq!((bundle_width(0, 300), bundle_width(1, 300), bundle_width(2, 300)), (256, 44, 0));
    }

    #[test]
    fn a_bundle_that_is_short_long_or_of_another_width_is_told() {
        let mut bundle = Vec::new();
        append_to_bundle(&mut bundle, &[b"o", b"", b"ne"]);
        append_to_bundle(&mut bundle, &[b""]);
        assert_eq!(bundle, b"\x00\x03one\x00\x00");
        assert_eq!(read_bundle(&bundle, 2).unwrap(), [b"one".as_slice(), b""]);
        assert_eq!(read_bundle(&bundle, 3).unwrap_err(), "expected 3 entries, found 2 and 0 bytes behind them");
        assert_eq!(read_bundle(&bundle[..4], 2).unwrap_err(), "entry 0 of the bundle: expected 3 bytes, found 2");
        assert_eq!(read_bundle(&bundle[..6], 2).unwrap_err(), "expected 2 entries, found 1 and 1 bytes behind them");
    }

    #[test]
    fn a_tile_of_another_length_is_told() {
        assert_eq!(read_tile(&[7; 64], 2).unwrap(), [[7; 32]; 2]);
        assert_eq!(read_tile(&[7; 63], 2).unwrap_err(), "expected 64 bytes, found 63");
        assert_eq!(read_tile(tile_bytes(&[[1; 32]]), 2).unwrap_err(), "expected 64 bytes, found 32");
    }

    proptest! {
        #[test]
        fn any_entries_come_back_from_their_bundle(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..256)) {
            let mut bundle = Vec::new();
            for entry in &entries {
                append_to_bundle(&mut bundle, &[entry]);
            }
            prop_assert_eq!(read_bundle(&bundle, entries.len()).unwrap(), entries);
        }
    }
}
