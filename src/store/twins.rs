//! Two stores of one configuration that are one place.
//!
//! Each would believe to be alone: a record that a dataset of either matches could go under one while the other still keeps it. What paths and
//! addresses say is compared when the configuration is loaded. A database can be reached in ways that look nothing alike, by a socket and over the
//! network, by a name and its alias; only the database itself tells, so stores are compared by their marks once more whenever they are opened.
//!
//! **What cannot be told is let pass**: a store that does not answer is not taken for the twin of one that does, or a server that is down would end
//! the runs of every other. It is asked again when it is its turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Store;
use crate::error::escape;

/// What another store answered is believed for this long: with many datasets, each would ask all stores again at the same minute.
const BELIEVED: Duration = Duration::from_secs(30);

/// Marks that stores gave, by what makes their place unique, and when.
static GIVEN: Mutex<Option<HashMap<String, (String, Instant)>>> = Mutex::new(None);

/// What is to be said of a store that is the same place as one of the others; nothing when it is none.
pub async fn twin_of(store: &dyn Store, stores: &[Arc<dyn Store>]) -> Option<String> {
    // Of places on this machine everything was told from their paths.
    let others: Vec<_> =
        stores.iter().filter(|other| store.path().is_none() && other.path().is_none() && other.name() != store.name()).collect();
    if others.is_empty() {
        return None;
    }
    let mark = store.mark().await;
    if mark.is_empty() {
        return None;
    }
    let mut asking = tokio::task::JoinSet::new();
    for other in others {
        let other = Arc::clone(other);
        asking.spawn(async move { (mark_of(&*other).await, other) });
    }
    let mut twins: Vec<Arc<dyn Store>> = Vec::new();
    while let Some(answer) = asking.join_next().await {
        twins.extend(answer.ok().filter(|(other, _)| *other == mark).map(|(_, other)| other));
    }
    twins.sort_by(|one, other| one.name().cmp(other.name()));
    let twin = twins.first()?;
    Some(format!(
        "{} is the same database as that of store \"{}\" ({}), or a copy of it that follows; put their datasets under one store (or, where these are two \
         servers, give each a `server_id` of its own)",
        store.place(),
        escape(twin.name().as_bytes()),
        twin.place(),
    ))
}

async fn mark_of(store: &dyn Store) -> String {
    let identity = store.identity();
    let given = |given: &Option<HashMap<String, (String, Instant)>>| {
        given.as_ref()?.get(&identity).filter(|(_, at)| at.elapsed() < BELIEVED).map(|(mark, _)| mark.clone())
    };
    if let Some(mark) = given(&GIVEN.lock().unwrap_or_else(PoisonError::into_inner)) {
        return mark;
    }
    let mark = store.mark().await;
    if !mark.is_empty() {
        GIVEN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(identity, (mark.clone(), Instant::now()));
    }
    mark
}
