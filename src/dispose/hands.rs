//! What is in the hands of stores at this moment: so that who places a hold can wait until everything is over that began before it was known.
//!
//! A batch is in hand from before the store is asked to remove it until what became of each record is settled. A guard that runs in between sees the
//! holds of its moment; a hold that comes later is seen by every guard of a batch that is taken in hand after it, and [`Hands::pass`] waits for
//! those that were in hand already. Nobody else waits: removals go on meanwhile.

use std::collections::BTreeSet;
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
