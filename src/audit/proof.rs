//! Proofs about the Merkle tree, as RFC 6962 (sections 2.1.1 and 2.1.2) has them.
//!
//! An *inclusion* proof shows that a leaf is in a tree, a *consistency* proof that a tree begins with all of an earlier one. Both are a few dozen
//! hashes however large the tree is. They are built from [`Subtrees`], which are the tiles of a log folder ([`Tiles`]) or anything else that
//! knows the hashes of full subtrees; they are checked with nothing but the roots.
//!
//! A proof says something about the roots it is checked with, so it is worth what these are worth: that a root is the log's is shown by a
//! signature, or by another proof.

use std::path::Path;

use super::publish::tile_prefix;
use super::tree::{Hash, TILE_WIDTH, node_hash, root};
use crate::error::{Error, Kind, Result};

/// Hashes in a tile as a power of two.
const TILE_HEIGHT: u32 = TILE_WIDTH.trailing_zeros();

/// What proofs are built from: the hashes of the full subtrees of a tree.
pub trait Subtrees {
    /// The root of the leaves from `index << height` on, `1 << height` of them.
    fn root_of(&mut self, height: u32, index: u64) -> Result<Hash>;
}

/// The tree of a log folder, as its tiles hold it. At most one tile is held.
#[derive(Debug)]
pub struct Tiles<'a> {
    folder: &'a Path,
    size: u64,
    /// Level, index and hashes of the tile that was read last.
    last: Option<(u8, u64, Vec<Hash>)>,
}

impl<'a> Tiles<'a> {
    /// The first `size` entries of the log in `folder`, which must be covered by its checkpoint.
    pub fn new(folder: &'a Path, size: u64) -> Self {
        Self { folder, size, last: None }
    }

    /// All hashes of a tile that the log has.
    fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash]> {
        let hashes = match self.last.take() {
            Some((known, at, hashes)) if known == level && at == index => hashes,
            _ => {
                let behind = (self.size >> (TILE_HEIGHT * u32::from(level))).saturating_sub(index << TILE_HEIGHT);
                let width = usize::try_from(behind).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
                tile_prefix(self.folder, level, index, width)?
            }
        };
        let (_, _, hashes) = self.last.insert((level, index, hashes));
        Ok(hashes)
    }
}

impl Subtrees for Tiles<'_> {
    fn root_of(&mut self, height: u32, index: u64) -> Result<Hash> {
        // The subtree lies within one tile: some hashes of it, and these side by side.
        if self.size.checked_shr(height).is_none_or(|count| index >= count) {
            return Err(beyond(format_args!("subtree {index} of height {height}"), self.size));
        }
        let (level, within) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let first = index << within;
        // Masked to the width of a tile, so the cast keeps the value.
        let (tile, begin) = (first >> TILE_HEIGHT, (first & 0xff) as usize);
        let end = begin + (1 << within);
        let hashes = self.tile(u8::try_from(level).unwrap_or(u8::MAX), tile)?;
        Ok(root(&hashes[begin..end]))
    }
}

/// The root of the first `size` leaves.
pub fn root_at(size: u64, tree: &mut impl Subtrees) -> Result<Hash> {
    if size == 0 { Ok(root(&[])) } else { range(0, size, tree) }
}

/// Proves that the leaf `n` is in the tree of the first `size` leaves.
pub fn prove_inclusion(n: u64, size: u64, tree: &mut impl Subtrees) -> Result<Vec<Hash>> {
    if n >= size {
        return Err(beyond(format_args!("entry {n}"), size));
    }
    let mut proof = Vec::new();
    let (mut begin, mut end) = (0, size);
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        let sibling = if n < middle {
            let sibling = (middle, end);
            end = middle;
            sibling
        } else {
            let sibling = (begin, middle);
            begin = middle;
            sibling
        };
        proof.push(range(sibling.0, sibling.1, tree)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the tree of the first `second` leaves begins with that of the first `first`.
pub fn prove_consistency(first: u64, second: u64, tree: &mut impl Subtrees) -> Result<Vec<Hash>> {
    if first > second {
        return Err(beyond(format_args!("a tree of {first}"), second));
    }
    let mut proof = Vec::new();
    if first == 0 {
        return Ok(proof);
    }
    let (mut begin, mut end) = (0, second);
    // Down to the subtree at whose end the first tree ends.
    while end > first {
        let middle = begin + split(end - begin);
        if first <= middle {
            proof.push(range(middle, end, tree)?);
            end = middle;
        } else {
            proof.push(range(begin, middle, tree)?);
            begin = middle;
        }
    }
    // A subtree that is the whole first tree is known to who checks the proof.
    if begin > 0 {
        proof.push(range(begin, end, tree)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that a tree of `size` leaves with this root has the leaf hash `leaf` at `n`; [`Kind::NotIntact`] if the proof does not show it.
pub fn check_inclusion(n: u64, size: u64, leaf: Hash, root: Hash, proof: &[Hash]) -> Result<()> {
    if n >= size {
        return Err(beyond(format_args!("entry {n}"), size));
    }
    let (mut place, mut last, mut hash) = (n, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return Err(refused(format_args!("inclusion proof: more hashes than lead from entry {n} to the root of {size}")));
        }
        if is_right(place, last) {
            hash = node_hash(sibling, &hash);
            (place, last) = skip_lone(place, last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if last != 0 || hash != root {
        return Err(refused(format_args!("inclusion proof: does not lead from entry {n} to the root of {size}")));
    }
    Ok(())
}

/// Checks that the tree of `second` leaves with `second_root` begins with that of `first` leaves with `first_root`; [`Kind::NotIntact`] if the
/// proof does not show it.
pub fn check_consistency(first: u64, first_root: Hash, second: u64, second_root: Hash, proof: &[Hash]) -> Result<()> {
    let no = || refused(format_args!("consistency proof: does not show that the tree of {second} begins with that of {first}"));
    if first > second {
        return Err(beyond(format_args!("a tree of {first}"), second));
    }
    if first == 0 || first == second {
        // Nothing to show, but that the roots can be right.
        let right = if first == second { first_root == second_root } else { first_root == root(&[]) };
        let right = right && (second > 0 || second_root == root(&[]));
        return if right && proof.is_empty() { Ok(()) } else { Err(no()) };
    }
    let (mut place, mut last) = (first - 1, second - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    // Where the first tree is one full subtree, its root is the first hash.
    let (start, rest) = if place == 0 { (&first_root, proof) } else { proof.split_first().ok_or_else(no)? };
    let (mut old, mut new) = (*start, *start);
    for hash in rest {
        if last == 0 {
            return Err(no());
        }
        if is_right(place, last) {
            (old, new) = (node_hash(hash, &old), node_hash(hash, &new));
            (place, last) = skip_lone(place, last);
        } else {
            new = node_hash(&new, hash);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if last == 0 && old == first_root && new == second_root { Ok(()) } else { Err(no()) }
}

/// Whether the sibling of a node stands on its left: it is a right child, or the last of its level, which meets its sibling further up.
fn is_right(place: u64, last: u64) -> bool {
    place & 1 == 1 || place == last
}

/// Goes up while a node has no sibling.
fn skip_lone(mut place: u64, mut last: u64) -> (u64, u64) {
    while place & 1 == 0 && place != 0 {
        (place, last) = (place >> 1, last >> 1);
    }
    (place, last)
}

/// The root of the leaves from `begin` to before `end`, a subtree as RFC 6962 splits them.
fn range(begin: u64, end: u64, tree: &mut impl Subtrees) -> Result<Hash> {
    let count = end - begin;
    if count.is_power_of_two() {
        let height = count.trailing_zeros();
        return tree.root_of(height, begin >> height);
    }
    let middle = begin + split(count);
    Ok(node_hash(&range(begin, middle, tree)?, &range(middle, end, tree)?))
}

/// How many of `count` leaves, at least two, the left subtree has: the largest power of two below `count`.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

fn beyond(what: std::fmt::Arguments<'_>, size: u64) -> Error {
    Error::new(Kind::NotIntact, format!("audit log: {what} does not lie within {size} entries"))
}

fn refused(what: std::fmt::Arguments<'_>) -> Error {
    Error::new(Kind::NotIntact, what.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::super::tree::{Tree, leaf_hash};
    use super::*;

    /// A tree in memory: of every height, the roots of its full subtrees.
    struct Memory(Vec<Vec<Hash>>);

    impl Memory {
        fn of(leaves: Vec<Hash>) -> Self {
            let mut heights = vec![leaves];
            while let Some(below) = heights.last().filter(|below| below.len() > 1) {
                let above = below.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
                heights.push(above);
            }
            Self(heights)
        }

        /// A million leaves that are cheap to make and all different.
        fn million() -> &'static Self {
            static TREE: OnceLock<Memory> = OnceLock::new();
            TREE.get_or_init(|| Self::of((0..MILLION).map(synthetic).collect()))
        }

        fn leaf(&self, n: u64) -> Hash {
            self.0[0][usize::try_from(n).unwrap()]
        }
    }

    impl Subtrees for &Memory {
        fn root_of(&mut self, height: u32, index: u64) -> Result<Hash> {
            Ok(self.0[height as usize][usize::try_from(index).unwrap()])
        }
    }

    const MILLION: u64 = 1_000_000;

    fn synthetic(n: u64) -> Hash {
        let mut hash = [0x5a; 32];
        hash[..8].copy_from_slice(&n.to_le_bytes());
        hash
    }

    /// Every way to spoil a proof a little: a bit of each hash, a hash less or more at either end, two hashes exchanged.
    fn spoiled(proof: &[Hash]) -> Vec<Vec<Hash>> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Vec<Hash>)| {
            let mut other = proof.to_vec();
            change(&mut other);
            if other != proof {
                all.push(other);
            }
        };
        for at in 0..proof.len() {
            add(&|proof| proof[at][at % 32] ^= 1 << (at % 8));
            add(&|proof| proof.swap(0, at));
            add(&|proof| {
                proof.remove(at);
            });
            add(&|proof| proof.insert(at, proof[at]));
        }
        add(&|proof| proof.push([0; 32]));
        add(&|proof| proof.insert(0, [0; 32]));
        add(&|proof| proof.reverse());
        all
    }

    #[test]
    fn the_published_vectors_come_out_and_are_accepted() {
        let hex = |text: &str| -> Vec<u8> {
            let digits = if text == "-" { "" } else { text };
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
        };
        let (mut leaves, mut roots, mut checked) = (Vec::new(), Vec::new(), 0);
        for line in include_str!("../../tests/data/rfc6962-proofs.txt").lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            let hashes = || words[3..].iter().map(|word| hex(word).try_into().unwrap()).collect::<Vec<Hash>>();
            match words[0] {
                "leaf" => leaves.push(leaf_hash(&hex(words[2]))),
                "root" => {
                    roots.push(hex(words[2]).try_into().unwrap());
                    assert_eq!(root_at(number(1), &mut &Memory::of(leaves.clone())).unwrap(), roots[roots.len() - 1]);
                }
                "inclusion" => {
                    let (n, size, proof) = (number(1), number(2), hashes());
                    assert_eq!(prove_inclusion(n, size, &mut &Memory::of(leaves.clone())).unwrap(), proof, "{line}");
                    check_inclusion(n, size, leaves[n as usize], roots[size as usize], &proof).unwrap();
                    checked += 1;
                }
                "consistency" => {
                    let (first, second, proof) = (number(1), number(2), hashes());
                    assert_eq!(prove_consistency(first, second, &mut &Memory::of(leaves.clone())).unwrap(), proof, "{line}");
                    check_consistency(first, roots[first as usize], second, roots[second as usize], &proof).unwrap();
                    checked += 1;
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!((leaves.len(), roots.len(), checked), (8, 9, 10));
    }

    /// Which places of a tree are looked at: all of a small one, the edges and an eighth, another for each size, of a larger one.
    fn looked_at(n: u64, size: u64) -> bool {
        size <= 260 || n < 2 || size - n < 3 || n % 8 == size % 8
    }

    #[test]
    fn entries_of_every_size_to_1100_are_proven_and_in_no_other_place() {
        let tree = Memory::of((0..1100).map(synthetic).collect());
        for size in 1..=1100 {
            let root = root_at(size, &mut &tree).unwrap();
            for n in (0..size).filter(|n| looked_at(*n, size)) {
                let proof = prove_inclusion(n, size, &mut &tree).unwrap();
                check_inclusion(n, size, tree.leaf(n), root, &proof).unwrap();
                assert!(check_inclusion(n, size, tree.leaf((n + 1) % size), root, &proof).is_err() || size == 1, "{n} of {size}");
                if (n + size) % 97 == 0 {
                    for other in [n ^ 1, n ^ 2, n.wrapping_sub(1), n + 1, size].into_iter().filter(|other| *other != n) {
                        assert!(check_inclusion(other, size, tree.leaf(n), root, &proof).is_err(), "{n} as {other} of {size}");
                    }
                    for bad in spoiled(&proof) {
                        assert!(check_inclusion(n, size, tree.leaf(n), root, &bad).is_err(), "{n} of {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_size_to_1100_is_proven_to_begin_with_smaller_ones() {
        let tree = Memory::of((0..1100).map(synthetic).collect());
        let roots: Vec<Hash> = (0..=1100).map(|size| root_at(size, &mut &tree).unwrap()).collect();
        for second in 0..=1100 {
            for first in (0..=second).filter(|first| looked_at(*first, second)) {
                let (old, new) = (roots[first as usize], roots[second as usize]);
                let proof = prove_consistency(first, second, &mut &tree).unwrap();
                check_consistency(first, old, second, new, &proof).unwrap();
                if (first + second) % 97 != 0 {
                    continue;
                }
                let mut wrong = old;
                wrong[7] ^= 4;
                assert!(check_consistency(first, wrong, second, new, &proof).is_err(), "{first} of {second}");
                assert!(check_consistency(first, new, second, old, &proof).is_err() || first == second, "{first} of {second}");
                for bad in spoiled(&proof) {
                    assert!(check_consistency(first, old, second, new, &bad).is_err(), "{first} of {second}");
                }
            }
        }
    }

    #[test]
    fn what_lies_beyond_the_tree_has_no_proof() {
        let tree = &Memory::of((0..5).map(synthetic).collect());
        assert!(prove_inclusion(5, 5, &mut &*tree).is_err());
        assert!(prove_inclusion(0, 0, &mut &*tree).is_err());
        assert!(prove_consistency(5, 4, &mut &*tree).is_err());
        let empty = root(&[]);
        for (n, size) in [(0, 0), (1, 0), (2, 1), (u64::MAX, 5)] {
            assert!(check_inclusion(n, size, tree.leaf(0), tree.leaf(0), &[]).is_err());
        }
        assert!(check_consistency(0, empty, 5, synthetic(1), &[]).is_ok());
        assert!(check_consistency(0, synthetic(1), 5, synthetic(1), &[]).is_err());
        assert!(check_consistency(0, synthetic(1), 0, synthetic(1), &[]).is_err());
        assert!(check_consistency(2, synthetic(1), 1, synthetic(1), &[]).is_err());
        assert!(check_consistency(1, synthetic(1), 2, synthetic(2), &[]).is_err());
    }

    #[test]
    fn the_tiles_of_a_folder_give_the_same_proofs() {
        let dir = tempfile::tempdir().unwrap();
        let size = 70_000;
        let mut tree = Tree::new();
        let write = |level, index, hashes: &[Hash]| {
            let path = dir.path().join(super::super::tile::path(super::super::tile::Level::Hashes(level), index, hashes.len()));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, super::super::tile::tile_bytes(hashes)).unwrap();
        };
        for n in 0..size {
            tree.push(synthetic(n), |tile| write(tile.level, tile.index, &tile.hashes));
        }
        for (level, index, _) in super::super::tile::partial_edge(size) {
            write(level, index, &tree.edge()[usize::from(level)]);
        }
        let mut tiles = Tiles::new(dir.path(), size);
        let mut memory = Memory::million();
        for n in [0, 1, 255, 256, 4_095, 65_535, 65_536, 69_887, 69_888, 69_999] {
            assert_eq!(prove_inclusion(n, size, &mut tiles).unwrap(), prove_inclusion(n, size, &mut memory).unwrap(), "{n}");
            // Of an earlier size too, although its partial tiles are gone.
            for first in [1, n.max(1), n + 1] {
                let proofs = (prove_consistency(first, size, &mut tiles).unwrap(), prove_consistency(first, size, &mut memory).unwrap());
                assert_eq!(proofs.0, proofs.1, "{first}");
                assert_eq!(root_at(first, &mut tiles).unwrap(), root_at(first, &mut memory).unwrap());
            }
        }
        assert_eq!(root_at(size, &mut tiles).unwrap(), tree.root());
        assert!(prove_inclusion(0, size + 1, &mut tiles).is_err());
        std::fs::remove_file(dir.path().join("tile/1/000")).unwrap();
        assert!(prove_inclusion(3, size, &mut Tiles::new(dir.path(), size)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn proofs_of_any_size_hold_and_no_spoiled_one_does(size in 1..=MILLION, n in any::<u64>(), first in any::<u64>()) {
            let (n, first) = (n % size, first % (size + 1));
            let mut tree = Memory::million();
            let root = root_at(size, &mut tree).unwrap();
            let proof = prove_inclusion(n, size, &mut tree).unwrap();
            prop_assert!(proof.len() <= 20);
            check_inclusion(n, size, tree.leaf(n), root, &proof).unwrap();
            for bad in spoiled(&proof) {
                prop_assert!(check_inclusion(n, size, tree.leaf(n), root, &bad).is_err());
            }
            let other = (n + 1 + first) % size;
            prop_assert!(other == n || check_inclusion(other, size, tree.leaf(n), root, &proof).is_err());

            let old = root_at(first, &mut tree).unwrap();
            let proof = prove_consistency(first, size, &mut tree).unwrap();
            check_consistency(first, old, size, root, &proof).unwrap();
            for bad in spoiled(&proof) {
                prop_assert!(check_consistency(first, old, size, root, &bad).is_err());
            }
            let mut wrong = old;
            wrong[31] ^= 1;
            prop_assert!(check_consistency(first, wrong, size, root, &proof).is_err());
        }

        #[test]
        fn no_input_makes_checking_panic(n: u64, size: u64, proof in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
            prop_assert!(check_inclusion(n, size, [1; 32], [2; 32], &proof).is_err());
            prop_assert!(check_consistency(n, [1; 32], size, [2; 32], &proof).is_err());
        }
    }
}
