//! How much a removal asks of a database at once.
//!
//! A transaction holds locks and makes replicas wait for as long as it lasts, so its size follows the time that the last ones took up to their
//! commits: doubled while they are quick, halved when one is slow. The size is remembered for the life of the program, per store.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use crate::store::BATCH;

/// A transaction that took longer is followed by smaller ones.
const SLOW: Duration = Duration::from_millis(50);

/// A transaction that took less may be followed by larger ones.
const QUICK: Duration = Duration::from_millis(20);

/// Rows of the smallest transaction.
const LEAST: usize = 16;

/// The present size of a store's transactions.
#[derive(Debug)]
pub(super) struct Pace {
    rows: AtomicUsize,
    /// Rows of the largest transaction.
    most: usize,
    /// Transactions to come that do not walk along a stretch.
    straight: AtomicUsize,
    /// How many transactions in a row did not find their records where they were seen.
    misses: AtomicU32,
    /// Transactions to come that do not look there.
    elsewhere: AtomicUsize,
}

/// Misses from which on no more transactions are spared the attempt.
const MOST_MISSES: u32 = 6;

/// Transactions that are spared the attempt after one that met rows on its way which no plan had: where some are, more are.
const SPARED: usize = 50;

impl Pace {
    /// Transactions of up to `most` rows, as soon as those of a batch are quick.
    pub(super) fn new(most: usize) -> Self {
        Self {
            rows: AtomicUsize::new(BATCH.min(most)),
            most,
            straight: AtomicUsize::new(0),
            misses: AtomicU32::new(0),
            elsewhere: AtomicUsize::new(0),
        }
    }

    /// Rows that the next transaction may have.
    pub(super) fn size(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// Whether the next transaction may walk along a stretch.
    pub(super) fn may_walk(&self) -> bool {
        is_over(&self.straight)
    }

    /// Told that a transaction met on its way what it was not to take, and was undone.
    pub(super) fn strayed(&self) {
        self.straight.store(SPARED, Ordering::Relaxed);
    }

    /// Whether the next transaction may look for its records where they were seen.
    pub(super) fn may_look(&self) -> bool {
        is_over(&self.elsewhere)
    }

    /// Told whether a transaction found its records where they were seen. Where one did not, a single record may have changed; where several in a row did
    /// not, the table was perhaps written anew, and fewer and fewer try.
    pub(super) fn looked(&self, found: bool) {
        if found {
            self.misses.store(0, Ordering::Relaxed);
            return;
        }
        let misses = self.misses.fetch_add(1, Ordering::Relaxed).min(MOST_MISSES);
        self.elsewhere.store((1 << misses) - 1, Ordering::Relaxed);
    }

    /// Told how long a transaction of so many rows took.
    pub(super) fn took(&self, rows: usize, time: Duration) {
        let size = self.size();
        let next = if time > SLOW {
            rows.min(size) / 2
        } else if time < QUICK && rows >= size {
            size * 2
        } else {
            return;
        };
        self.rows.store(next.clamp(LEAST, self.most), Ordering::Relaxed);
    }
}

/// Takes one from what is left; whether nothing was.
fn is_over(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_transaction_that_strayed_some_do_not_walk() {
        let pace = Pace::new(2 * BATCH);
        assert!(pace.may_walk() && pace.may_walk());
        pace.strayed();
        assert_eq!((0..=SPARED).filter(|_| pace.may_walk()).count(), 1);
        assert!(pace.may_walk());
    }

    #[test]
    fn the_more_transactions_miss_their_records_in_a_row_the_fewer_look_there() {
        let pace = Pace::new(2 * BATCH);
        let spared = || (0..1000).take_while(|_| !pace.may_look()).count();
        assert!(pace.may_look());
        for expected in [0, 1, 3, 7, 15, 31, 63, 63, 63] {
            pace.looked(false);
            assert_eq!(spared(), expected);
        }
        pace.looked(true);
        pace.looked(false);
        assert!(pace.may_look());
    }

    #[test]
    fn slow_transactions_make_the_next_smaller_and_quick_ones_larger_within_bounds() {
        let pace = Pace::new(2 * BATCH);
        assert_eq!(pace.size(), BATCH);
        for expected in [512, 256, 128, 64, 32, 16, 16] {
            pace.took(pace.size(), Duration::from_millis(80));
            assert_eq!(pace.size(), expected);
        }
        // A short rest of a batch says nothing about a full one.
        pace.took(3, Duration::from_millis(1));
        pace.took(16, Duration::from_millis(30));
        assert_eq!(pace.size(), 16);
        for expected in [32, 64, 128, 256, 512, 1024, 2048, 2048] {
            pace.took(pace.size(), Duration::from_millis(5));
            assert_eq!(pace.size(), expected);
        }
    }
}
