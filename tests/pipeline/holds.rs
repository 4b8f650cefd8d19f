//! A hold that is placed while a store has passed its guard and has not removed the record yet: the command waits, and tells the truth.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use retentiond::dispose::Permit;
use retentiond::error::Result;
use retentiond::hold::Wish;
use retentiond::record::{Key, Reading, Record};
use retentiond::schedule::EventName;
use retentiond::session::{Progress, Session, Which};
use retentiond::store::memory::MemoryStore;
use retentiond::store::{Fate, Found, Guard, Kept, Order, Query, Scanned, Store};
use tokio::sync::{Notify, mpsc};

use crate::estate::{DATASET, Estate};

/// A store that stops between the guard's word and the removal, until it is let go.
struct Hesitant {
    inner: Arc<MemoryStore>,
    /// Set once a guard has spoken.
    asked: AtomicBool,
    go: Notify,
    /// Whether it hesitates still.
    hesitates: AtomicBool,
    /// Whether it is lost when it has removed a record, so that nobody learns what became of it.
    lost: AtomicBool,
}

impl Hesitant {
    fn of(inner: &Arc<MemoryStore>, hesitates: bool, lost: bool) -> Arc<Self> {
        let (hesitates, lost) = (AtomicBool::new(hesitates), AtomicBool::new(lost));
        Arc::new(Self { inner: Arc::clone(inner), asked: AtomicBool::new(false), go: Notify::new(), hesitates, lost })
    }
}

#[async_trait]
impl Store for Hesitant {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn grades(&self) -> &'static [&'static str] {
        self.inner.grades()
    }

    async fn check(&self) -> Result<Vec<retentiond::finding::Finding>> {
        self.inner.check().await
    }

    async fn scan(&self, dataset: &str, query: Query, out: mpsc::Sender<Vec<Record>>) -> Result<Scanned> {
        self.inner.scan(dataset, query, out).await
    }

    async fn fetch(&self, dataset: &str, keys: &[Key]) -> Result<Vec<Found>> {
        self.inner.fetch(dataset, keys).await
    }

    async fn lookup(&self, dataset: &str, event: &EventName, on: Option<&str>, values: &[&str]) -> Result<Vec<Reading>> {
        self.inner.lookup(dataset, event, on, values).await
    }

    async fn remove(&self, permit: &Permit, dataset: &str, order: &Order, records: &[Record], guard: &Guard<'_>) -> Vec<Fate> {
        let said: Vec<Mutex<Option<Kept>>> = (0..records.len()).map(|at| Mutex::new(guard(at, &records[at]))).collect();
        self.asked.store(true, Ordering::SeqCst);
        if self.hesitates.swap(false, Ordering::SeqCst) {
            self.go.notified().await;
        }
        let fates = self.inner.remove(permit, dataset, order, records, &|at, _| said[at].lock().unwrap().clone()).await;
        if self.lost.load(Ordering::SeqCst) {
            return fates.iter().map(|_| Fate::Failed { error: "the connection broke".into(), uncertain: true }).collect();
        }
        fates
    }

    async fn at_rest(&self) -> std::result::Result<(), String> {
        if self.lost.load(Ordering::SeqCst) { Err("the server does not answer".into()) } else { Ok(()) }
    }
}

fn wish(key: &str) -> Wish {
    let wish = serde_json::json!({"kind": "police", "record": format!("memory/{DATASET}:{key}"), "reason": "crime 12"});
    serde_json::from_value(wish).unwrap()
}

async fn placed(session: &Session, key: &str) -> String {
    session.place(&[wish(key)], "a person").await.unwrap().remove(0).hold.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_waits_for_what_a_guard_let_pass_before_it_was_known() {
    let mut estate = Estate::new("limits: unlimited");
    estate.put("old", 400);
    estate.put("older", 500);
    let store = Hesitant::of(&estate.store, true, false);
    estate.front = Some(Arc::clone(&store) as Arc<dyn Store>);
    let session = Arc::new(estate.session().await);
    let running = tokio::spawn({
        let session = Arc::clone(&session);
        async move {
            let dataset = Arc::clone(session.config.dataset("memory", DATASET).unwrap());
            session.run(&dataset, &Progress::default()).await.unwrap()
        }
    });
    while !store.asked.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let placing = tokio::spawn({
        let session = Arc::clone(&session);
        async move { placed(&session, "old").await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!placing.is_finished(), "the record may still go, so the hold is not in force yet");
    assert!(estate.entries_of("hold-placed").is_empty(), "what the log says is true");
    store.go.notify_one();
    placing.await.unwrap();
    assert!(estate.keys().is_empty(), "it had gone when the command returned");
    running.await.unwrap();
    Arc::into_inner(session).unwrap().close().await.unwrap();
    let (gone, held) = (estate.entries_of("intent")[0].n, estate.entries_of("hold-placed")[0].n);
    assert!(gone < held, "so an auditor sees that it was under way");
    estate.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_in_force_for_sessions_of_the_same_process_that_come_after_it() {
    let estate = Estate::new("limits: unlimited");
    estate.put("old", 400);
    let session = estate.session().await;
    let id = placed(&session, "old").await;
    for _ in 0..2 {
        let later = session.renewed(estate.config(), true).await.unwrap();
        let dataset = Arc::clone(later.config.dataset("memory", DATASET).unwrap());
        let ran = later.run(&dataset, &Progress::default()).await.unwrap();
        assert_eq!((ran.tally.held, estate.keys().len()), (1, 1));
    }
    session.release(&Which::Ids(vec![id]), "solved", "a person").await.unwrap();
    let dataset = Arc::clone(session.config.dataset("memory", DATASET).unwrap());
    session.run(&dataset, &Progress::default()).await.unwrap();
    assert!(estate.keys().is_empty());
    session.close().await.unwrap();
    estate.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_does_not_promise_what_a_lost_server_may_still_do() {
    let mut estate = Estate::new("limits: unlimited");
    estate.put("old", 400);
    let store = Hesitant::of(&estate.store, false, true);
    estate.front = Some(Arc::clone(&store) as Arc<dyn Store>);
    let session = estate.session().await;
    let dataset = Arc::clone(session.config.dataset("memory", DATASET).unwrap());
    session.run(&dataset, &Progress::default()).await.unwrap();
    let adrift = vec![(format!("memory/{DATASET}"), 1)];
    assert_eq!(session.adrift(), adrift);
    let order = retentiond::session::HoldOrder::Place { holds: vec![wish("old")] };
    let holds = session.carry_out(&order, "a person").await.unwrap();
    let text = retentiond::report::hold_order(&order, &holds, &session.config, &session.adrift());
    assert!(text.contains("is in force") && text.contains(&format!("NOT promised for 1 record of memory/{DATASET}")), "{text}");
    session.close().await.unwrap();
    // A later start knows of it as well, for as long as nobody could look.
    let session = estate.session().await;
    assert_eq!(session.adrift(), adrift);
    session.close().await.unwrap();
    store.lost.store(false, Ordering::SeqCst);
    let session = estate.session().await;
    assert!(session.adrift().is_empty());
    let text = retentiond::report::hold_order(&order, &holds, &session.config, &session.adrift());
    assert!(!text.contains("NOT promised"), "{text}");
    session.close().await.unwrap();
    estate.verify();
}
