//! Whose turn it is: runs that touch the same place never overlap, others go side by side up to a bound.
//!
//! A dataset's run touches its own store and those that its dates are looked up in; so a record that another dataset's date depends on cannot go
//! while that one is being judged. Turns come in the order in which they were asked for: who waits for a place is not overtaken by another who needs
//! it too. Nothing here knows datasets or time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What a run needs for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// These places.
    Places(BTreeSet<String>),
    /// That nothing else is under way.
    Everything,
}

/// See the file's header.
pub struct Turns {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    bound: usize,
    next: u64,
    waiting: Vec<(u64, Need)>,
    taken: Vec<(u64, Need)>,
    closed: bool,
}

/// A turn; it ends when this is dropped.
pub struct Turn {
    turns: Arc<Turns>,
    ticket: u64,
}

impl Need {
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Places(one), Self::Places(other)) => !one.is_disjoint(other),
            _ => true,
        }
    }
}

impl State {
    fn may_begin(&self, ticket: u64, need: &Need) -> bool {
        let earlier = self.waiting.iter().take_while(|(other, _)| *other != ticket);
        self.taken.len() < self.bound && !self.taken.iter().chain(earlier).any(|(_, other)| need.meets(other))
    }
}

impl Turns {
    /// Turns of which at most `bound` are taken at a time.
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { bound, ..State::default() }), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the bound; who has a turn keeps it.
    pub fn set_bound(&self, bound: usize) {
        self.state().bound = bound;
        self.changed.notify_waiters();
    }

    /// Nobody gets a turn any more.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
    }

    /// Waits for a turn; `None` once they are closed.
    pub async fn take(self: &Arc<Self>, need: Need) -> Option<Turn> {
        let ticket = {
            let mut state = self.state();
            state.next += 1;
            let ticket = state.next;
            state.waiting.push((ticket, need.clone()));
            ticket
        };
        // Whoever stops waiting leaves the queue, and whoever has a turn leaves the place.
        let turn = Turn { turns: Arc::clone(self), ticket };
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if state.closed {
                    return None;
                }
                if state.may_begin(ticket, &need) {
                    state.waiting.retain(|(other, _)| *other != ticket);
                    state.taken.push((ticket, need));
                    return Some(turn);
                }
            }
            changed.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state();
            state.waiting.retain(|(other, _)| *other != self.ticket);
            state.taken.retain(|(other, _)| *other != self.ticket);
        }
        self.turns.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting<'a> = Pin<Box<dyn Future<Output = Option<Turn>> + 'a>>;

    fn need(places: &[&str]) -> Need {
        Need::Places(places.iter().map(|place| (*place).to_owned()).collect())
    }

    fn poll(waiting: &mut Waiting<'_>) -> Option<Turn> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => turn,
            Poll::Pending => None,
        }
    }

    #[test]
    fn runs_of_one_place_take_turns_and_others_go_side_by_side_within_the_bound() {
        let turns = Turns::new(2);
        let mut wait: Vec<Waiting<'_>> = [&["a"][..], &["a", "b"], &["b"], &["c"], &["d"]]
            .iter()
            .map(|places| Box::pin(turns.take(need(places))) as Waiting<'_>)
            .collect();
        let a = poll(&mut wait[0]).expect("the first goes at once");
        assert!(poll(&mut wait[1]).is_none(), "its place is taken");
        assert!(poll(&mut wait[2]).is_none(), "it would overtake one that needs the same place");
        let c = poll(&mut wait[3]).expect("another place");
        assert!(poll(&mut wait[4]).is_none(), "two are under way");
        drop(c);
        let d = poll(&mut wait[4]).expect("one ended");
        drop(a);
        let ab = poll(&mut wait[1]).expect("its turn has come");
        assert!(poll(&mut wait[2]).is_none());
        drop((ab, d));
        assert!(poll(&mut wait[2]).is_some());
    }

    #[test]
    fn who_needs_everything_waits_for_all_and_nobody_overtakes() {
        let turns = Turns::new(4);
        let mut first: Waiting<'_> = Box::pin(turns.take(need(&["a"])));
        let a = poll(&mut first).unwrap();
        let mut everything: Waiting<'_> = Box::pin(turns.take(Need::Everything));
        let mut later: Waiting<'_> = Box::pin(turns.take(need(&["b"])));
        assert!(poll(&mut everything).is_none());
        assert!(poll(&mut later).is_none());
        drop(a);
        let all = poll(&mut everything).unwrap();
        assert!(poll(&mut later).is_none());
        drop(all);
        assert!(poll(&mut later).is_some());
    }

    #[test]
    fn who_gives_up_waiting_holds_nobody_back() {
        let turns = Turns::new(1);
        let mut first: Waiting<'_> = Box::pin(turns.take(need(&["a"])));
        let a = poll(&mut first).unwrap();
        let mut second: Waiting<'_> = Box::pin(turns.take(need(&["a"])));
        let mut third: Waiting<'_> = Box::pin(turns.take(need(&["a"])));
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
        drop(second);
        drop(a);
        assert!(poll(&mut third).is_some());
        turns.close();
        let mut late: Waiting<'_> = Box::pin(turns.take(need(&["b"])));
        assert!(matches!(late.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
    }
}
