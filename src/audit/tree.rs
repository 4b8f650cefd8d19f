//! The Merkle tree of RFC 6962, kept as its right edge.
//!
//! A tree over any number of entries is held in a few kilobytes: of every level only the hashes that do not fill a tile of 256 yet. Pushing
//! a leaf may complete the tile of its level, whose hash then is pushed to the level above, and so on; completed tiles are handed to the
//! caller and forgotten. Pure: no files, no clock.
//!
//! ```text
//! leaf(d)    = SHA-256(0x00 || d)
//! node(l, r) = SHA-256(0x01 || l || r)
//! root({})   = SHA-256("")
//! root(D[n]) = node(root(D[0:k]), root(D[k:n]))      k = the largest power of two below n
//! ```

use sha2::{Digest as _, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Hashes in a full tile.
pub const TILE_WIDTH: usize = 256;

/// The hash of an entry's bytes.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    leaf_hash_of(&[entry])
}

/// [`leaf_hash`] of an entry that lies in several pieces.
pub(super) fn leaf_hash_of(pieces: &[&[u8]]) -> Hash {
    pieces.iter().fold(Sha256::new().chain_update([0]), Sha256::chain_update).finalize().into()
}

/// [`leaf_hash`] of an entry that lies behind a zero byte already: all that is hashed is in one piece, which costs less.
pub(super) fn leaf_hash_behind_zero(bytes: &[u8]) -> Hash {
    debug_assert_eq!(bytes.first(), Some(&0), "this byte makes it the hash of a leaf");
    Sha256::digest(bytes).into()
}

/// The hash of two subtrees.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut message = [1; 65];
    message[1..33].copy_from_slice(left);
    message[33..].copy_from_slice(right);
    Sha256::digest(message).into()
}

/// The root over a list of hashes, each a leaf or a full subtree of the same height; the last may be a smaller one.
pub fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

/// A tile that has all its 256 hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    /// Level: 0 holds leaves, each hash of level 1 stands for a full tile of level 0, and so on.
    pub level: u8,
    /// Index of the tile within its level.
    pub index: u64,
    /// Its hashes.
    pub hashes: Vec<Hash>,
}

/// A Merkle tree as the partial tiles at its right edge.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    size: u64,
    /// For every level the hashes behind its last full tile, at most 255.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over no entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` entries whose partial tiles are `levels`, lowest first; `None` if a tile has another width than that size demands.
    pub fn from_edge(size: u64, levels: Vec<Vec<Hash>>) -> Option<Self> {
        let fits = levels.iter().enumerate().all(|(level, hashes)| hashes.len() == width_at(size, level));
        (fits && levels.len() == level_count(size)).then_some(Self { size, levels })
    }

    /// The number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Of every level, lowest first, the hashes behind its last full tile; each at most 255, some none.
    pub fn edge(&self) -> &[Vec<Hash>] {
        &self.levels
    }

    /// Appends the hash of an entry; every tile that this completes is given to `completed`, lowest first.
    pub fn push(&mut self, leaf: Hash, completed: impl FnMut(FullTile)) {
        self.push_at(0, leaf, completed);
    }

    /// Appends the root of a full tile of level 0 in place of its 256 leaves; only right when the size is a multiple of 256.
    pub(super) fn push_tile(&mut self, root: Hash, completed: impl FnMut(FullTile)) {
        debug_assert!(self.size.is_multiple_of(TILE_WIDTH as u64), "a tile cannot follow single leaves");
        self.push_at(1, root, completed);
    }

    fn push_at(&mut self, level: usize, hash: Hash, mut completed: impl FnMut(FullTile)) {
        self.size += 1 << (8 * level);
        let mut hash = hash;
        for level in level.. {
            while self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(hash);
            if self.levels[level].len() < TILE_WIDTH {
                return;
            }
            let hashes = std::mem::replace(&mut self.levels[level], Vec::with_capacity(TILE_WIDTH));
            hash = root(&hashes);
            let number = u8::try_from(level).unwrap_or(u8::MAX);
            completed(FullTile { level: number, index: (self.size >> (8 * (level + 1))) - 1, hashes });
        }
    }

    /// The root over all entries.
    pub fn root(&self) -> Hash {
        // What lies behind the full subtrees of a level is less than one of them, so it can stand as the last, smaller hash of the list.
        let mut below: Option<Hash> = None;
        for hashes in &self.levels {
            let mut list = hashes.clone();
            list.extend(below);
            if !list.is_empty() {
                below = Some(root(&list));
            }
        }
        below.unwrap_or_else(|| root(&[]))
    }
}

/// The number of hashes in the partial tile of a level in a tree of `size` entries.
pub fn width_at(size: u64, level: usize) -> usize {
    let shift = u32::try_from(8 * level).unwrap_or(u32::MAX);
    // Masked to a byte, so the cast keeps the value.
    (size.checked_shr(shift).unwrap_or(0) & 0xff) as usize
}

/// The number of levels that have a hash in a tree of `size` entries.
pub fn level_count(size: u64) -> usize {
    (64 - size.leading_zeros()).div_ceil(8) as usize
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    /// The definition of RFC 6962, word by word.
    fn naive(leaves: &[Hash]) -> Hash {
        if leaves.is_empty() {
            return Sha256::digest(b"").into();
        }
        if leaves.len() == 1 {
            return leaves[0];
        }
        let mut k = 1;
        while k * 2 < leaves.len() {
            k *= 2;
        }
        Sha256::new().chain_update([1]).chain_update(naive(&leaves[..k])).chain_update(naive(&leaves[k..])).finalize().into()
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|i| leaf_hash(i.to_string().as_bytes())).collect()
    }

    #[test]
    fn the_known_roots_come_out() {
        assert_eq!(STANDARD.encode(Tree::new().root()), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        // RFC 6962 section 2.1 as known from Certificate Transparency's tests: leaves "", 00, 10, 2021, ...
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut tree = Tree::new();
        for input in inputs {
            tree.push(leaf_hash(input), |_| unreachable!("eight leaves fill no tile"));
        }
        assert_eq!(STANDARD.encode(tree.root()), "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=");
    }

    #[test]
    fn an_entry_behind_a_zero_byte_has_the_hash_of_the_entry() {
        for length in [0, 1, 54, 55, 62, 63, 64, 600] {
            let bytes = [vec![0], vec![7; length]].concat();
            assert_eq!(leaf_hash_behind_zero(&bytes), leaf_hash(&bytes[1..]), "{length} bytes");
        }
    }

    #[test]
    fn every_size_up_to_1100_has_the_root_of_the_definition() {
        let all = leaves(1100);
        let mut tree = Tree::new();
        assert_eq!(tree.root(), naive(&[]));
        for size in 1..=all.len() {
            tree.push(all[size - 1], |_| {});
            assert_eq!(tree.root(), naive(&all[..size]), "size {size}");
            if size % 37 == 0 {
                assert_eq!(root(&all[..size]), tree.root(), "size {size}");
            }
        }
    }

    #[test]
    fn a_completed_tile_holds_the_roots_below_it() {
        let all = leaves(256 * 256 + 300);
        let (mut tree, mut tiles) = (Tree::new(), Vec::new());
        for leaf in &all {
            tree.push(*leaf, |tile| tiles.push(tile));
        }
        assert_eq!(tiles.len(), 257 + 1);
        for tile in tiles {
            let span = 256_usize.pow(u32::from(tile.level));
            let index = usize::try_from(tile.index).unwrap();
            for (i, hash) in tile.hashes.iter().enumerate() {
                let start = (index * 256 + i) * span;
                assert_eq!(*hash, naive(&all[start..start + span]));
            }
        }
        let widths: Vec<usize> = tree.edge().iter().map(Vec::len).collect();
        assert_eq!(widths, [44, 1, 1]);
    }

    #[test]
    fn widths_and_levels_follow_the_size() {
        let widths = |size| (0..level_count(size)).map(|level| width_at(size, level)).collect::<Vec<_>>();
        assert_eq!(widths(0), Vec::<usize>::new());
        assert_eq!(widths(256), [0, 1]);
        assert_eq!(widths(70_000), [112, 17, 1]);
        assert_eq!(widths(u64::MAX), [255; 8]);
        assert_eq!(width_at(u64::MAX, 63), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn a_tree_rebuilt_from_its_edge_goes_on_as_if_nothing_happened(size in 0_usize..20_000, more in 0_usize..600) {
            let all = leaves(size + more);
            let mut tree = Tree::new();
            for leaf in &all[..size] {
                tree.push(*leaf, |_| {});
            }
            let mut again = Tree::from_edge(size as u64, tree.edge()[..level_count(size as u64)].to_vec()).unwrap();
            prop_assert_eq!(again.root(), naive(&all[..size]));
            for leaf in &all[size..] {
                again.push(*leaf, |_| {});
            }
            prop_assert_eq!(again.root(), naive(&all));
            prop_assert_eq!(again.size(), (size + more) as u64);
        }

        #[test]
        fn pushing_the_roots_of_tiles_gives_the_same_tree(tiles in 0_usize..40, rest in 0_usize..256) {
            let all = leaves(tiles * 256 + rest);
            let mut tree = Tree::new();
            let (full, tail) = all.split_at(tiles * 256);
            for tile in full.chunks(256) {
                tree.push_tile(root(tile), |_| {});
            }
            for leaf in tail {
                tree.push(*leaf, |_| {});
            }
            prop_assert_eq!(tree.root(), naive(&all));
        }

        #[test]
        fn an_edge_of_another_size_is_not_taken(size in 1_u64..1_000_000, other in 1_u64..1_000_000) {
            let edge = |size| (0..level_count(size)).map(|level| vec![[0; 32]; width_at(size, level)]).collect::<Vec<_>>();
            prop_assert_eq!(Tree::from_edge(size, edge(other)).is_some(), size == other);
        }
    }
}
