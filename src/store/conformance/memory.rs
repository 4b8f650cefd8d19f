//! The store in memory before the suite that every store passes.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Abilities, DATASET, Harness, When, suite};
use crate::record::{Doubt, Key, Moment, Reading};
use crate::store::memory::{MemoryStore, on};
use crate::store::{Found, Store};

struct Memory(Arc<MemoryStore>);

#[async_trait]
impl Harness for Memory {
    const ABILITIES: Abilities = Abilities {
        not_yet_and_instants: true,
        group: None,
        knows_datasets: false,
        anonymises: true,
        unreachable: Some("forgotten-twice"),
    };

    async fn new() -> Self {
        Self(Arc::new(MemoryStore::new("memory", &["done"])))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        let reading = match when {
            When::On(date) => on(date),
            When::At(instant) => Reading::At(Moment::Instant(instant)),
            When::NotYet => Reading::NotYet,
            When::Doubt => Reading::Doubt(Doubt::Unparsable("31/02".into())),
        };
        self.0.put_about(DATASET, name, group, vec![reading]);
        Key::new(name.as_bytes())
    }

    async fn change(&self, key: &Key) {
        let found = self.0.fetch(DATASET, std::slice::from_ref(key)).await.unwrap().remove(0);
        let Found::Present(record) = found else { panic!("{key} is not there") };
        let subject = record.subject.clone().unwrap_or_default();
        self.0.put_about(DATASET, std::str::from_utf8(key.as_bytes()).unwrap(), &subject, record.readings.to_vec());
    }

    async fn is_there(&self, key: &Key) -> bool {
        self.0.keys(DATASET).contains(&key.to_text())
    }
}

suite!(memory, super::Memory);
