//! What is in the hands of stores at this moment: so that who places a hold can wait until everything is over that began before it was known.
//!
//! A batch is in hand from before the store is asked to remove it until what became of each record is settled. A guard that runs in between sees the
//! holds of its moment; a hold that comes later is seen by every guard of a batch that is taken in hand after it, and [`Hands::pass`] waits for
//! those that were in hand already. Nobody else waits: removals go on meanwhile.
//!
//! A server that is lost in the middle of a commit may complete it at any later time. Such records are **adrift**: nobody can wait for them, or a
//! server that stays away would keep people from placing holds; they are told instead, until recovery has looked what became of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// See the file's header; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Hands(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: Mutex<Open>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    batches: BTreeSet<u64>,
    adrift: BTreeMap<String, u64>,
}

/// A batch in hand, until it is dropped.
#[derive(Debug)]
pub struct InHand {
    hands: Hands,
    number: u64,
}

impl Hands {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a batch in hand.
    pub(super) fn take(&self) -> InHand {
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.batches.insert(number);
        InHand { hands: self.clone(), number }
    }

    /// Records by dataset of whose removal nobody knows whether it came to pass, or still may.
    pub fn adrift(&self) -> Vec<(String, u64)> {
        self.open().adrift.iter().map(|(dataset, records)| (dataset.clone(), *records)).collect()
    }

    /// Recovery has looked: these are all that are adrift.
    pub(crate) fn set_adrift(&self, found: impl Iterator<Item = (String, u64)>) {
        let mut adrift = BTreeMap::new();
        for (dataset, records) in found {
            *adrift.entry(dataset).or_default() += records;
        }
        self.open().adrift = adrift;
    }

    /// Waits until no batch is in hand that was when this was called.
    pub async fn pass(&self) {
        let before = self.open().next;
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            // Counted from here: what is freed between the look and the wait is not missed.
            freed.as_mut().enable();
            if self.open().batches.first().is_none_or(|first| *first >= before) {
                return;
            }
            freed.await;
        }
    }
}

impl InHand {
    /// Lays the batch down; of so many of its records nobody knows what became of them.
    pub(super) fn lay_down(self, dataset: &str, unknown: u64) {
        if unknown > 0 {
            // Before it is out of hand: whoever passes knows of it.
            *self.hands.open().adrift.entry(dataset.to_owned()).or_default() += unknown;
        }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.hands.open().batches.remove(&self.number);
        self.hands.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_passes_waits_for_what_was_in_hand_and_for_nothing_later() {
        let hands = Hands::default();
        hands.pass().await;
        let (first, second) = (hands.take(), hands.take());
        let passing = tokio::spawn({
            let hands = hands.clone();
            async move { hands.pass().await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let later = hands.take();
        drop(second);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!passing.is_finished(), "the first batch is still in hand");
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), passing).await.expect("nothing is waited for any more").unwrap();
        drop(later);
        assert!(hands.open().batches.is_empty());
    }
}
