//! One suite for all stores: the promises at the top of [`crate::store`] and on each method of [`Store`], asked of every kind alike.
//!
//! A kind of store joins with a [`Harness`], which makes records in it without the store's help, and one line: `conformance::suite!(name, Harness)`
//! makes a test of every promise. The suite never asks what kind of store it has before it. Where kinds differ by nature, the harness says so in
//! [`Abilities`], and each difference is a sentence there:
//!
//! | kind | differs by nature |
//! |---|---|
//! | memory | looks up by key alone; knows no datasets beforehand |
//! | SQLite | – |
//! | PostgreSQL, MariaDB | a rewritten table is a grade that no single record reaches |
//! | files, date in a sidecar | cannot anonymise |
//! | files, date in the path | cannot anonymise; a path has no way to say "not yet", and dates without time of day only |
//! | directories | the same |

mod memory;
pub(crate) mod promises;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use super::{DatasetHead, EventHead, EventPlace, Kind, Store, StoreHead};
use crate::record::Key;
use crate::schedule::EventName;
use crate::yaml::{Document, Problems};

/// The dataset that every harness has. Its one event is `done`.
pub(crate) const DATASET: &str = "things";

/// What the record says about the event `done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It was on this date.
    On(Date),
    /// It was at this instant.
    At(Timestamp),
    /// It has not happened yet.
    NotYet,
    /// Something stands there that is no date.
    Doubt,
}

/// In what a kind of store differs from others by nature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    /// It can say that an event has not happened yet, and hold times of day.
    pub(crate) not_yet_and_instants: bool,
    /// The column or capture that holds the group of a record, when records can be looked up by anything but the key.
    pub(crate) group: Option<&'static str>,
    /// It knows its datasets beforehand, so that an unknown one is an error and not an empty one.
    pub(crate) knows_datasets: bool,
    /// It can anonymise; otherwise an order to do so touches nothing.
    pub(crate) anonymises: bool,
    /// A grade that it knows and cannot reach here.
    pub(crate) unreachable: Option<&'static str>,
}

/// A store of one kind, empty when it is made, and a hand that puts records into it behind its back.
#[async_trait]
pub(crate) trait Harness: Send + Sync + Sized {
    /// In what this kind differs.
    const ABILITIES: Abilities;

    /// Whether there is what it needs here, such as a server. Otherwise its tests are left out, and it has said why.
    fn there() -> bool {
        true
    }

    /// An empty store with the dataset [`DATASET`].
    async fn new() -> Self;

    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// Makes a record that no other has the name of; answers its key. A group may have several records and is a plain word.
    async fn put(&self, group: &str, name: &str, when: When) -> Key;

    /// Changes the record, but not the date of its event.
    async fn change(&self, key: &Key);

    /// Whether the record is there and whole, as anybody but the store would see it.
    async fn is_there(&self, key: &Key) -> bool;
}

/// A test of every promise for one kind of store.
macro_rules! suite {
    ($name:ident, $harness:ty) => {
        $crate::store::conformance::suite!($name, $harness,
            what_is_due_or_in_doubt_is_sent_once_and_everything_is_counted,
            without_a_bound_everything_is_sent,
            large_datasets_come_in_batches_each_record_once,
            a_receiver_that_goes_away_is_no_error,
            records_are_found_by_key_in_the_order_asked,
            look_ups_answer_for_each_value_in_order,
            look_ups_of_several_records_give_the_latest_date_or_doubt,
            each_record_has_one_fate_in_order_and_the_others_stay,
            a_large_batch_is_removed_whole,
            what_changed_is_kept_and_the_rest_goes,
            a_forged_or_foreign_fingerprint_destroys_nothing,
            the_guard_sees_the_record_as_it_is_and_its_word_is_final,
            a_record_handed_in_twice_goes_once,
            a_grade_that_is_not_reached_keeps_the_record,
            odd_names_are_names_like_others,
            names_that_are_nearly_alike_are_different_records,
            what_cannot_be_anonymised_is_not_destroyed_instead,
            unknown_datasets_and_empty_orders_do_nothing,
            scans_beside_a_removal_see_what_stays_exactly_once,
            two_removals_at_once_destroy_each_record_at_most_once,
        );
    };
    ($name:ident, $harness:ty, $($promise:ident),* $(,)?) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    if <$harness as $crate::store::conformance::Harness>::there() {
                        $crate::store::conformance::promises::$promise::<$harness>().await;
                    }
                }
            )*
        }
    };
}
pub(crate) use suite;

/// Builds a store of a kind from its own keys, as the configuration would. `place` is the value of the kind's key, `dataset` the dataset's keys in
/// YAML beside `events`, `event` where the date of `done` stands.
pub(crate) fn configure(kind: &Kind, place: &Path, dataset: &str, event: &str, subject: &str, anonymises: bool) -> Arc<dyn Store> {
    let text = format!("path: {}\nevent: {event}\ndatasets: {dataset}\n", serde_json::json!(place));
    let document = Document::parse("conformance.yaml", text).unwrap();
    let mut problems = Problems::new("conformance.yaml");
    let mut fields = document.root.fields("a store", &mut problems).unwrap();
    let (place, event) = (fields.take("path").unwrap(), fields.take("event").unwrap());
    let node = fields.take("datasets").unwrap();
    let head = StoreHead { name: "store", base: Path::new("/") };
    let Some(mut configuring) = (kind.configure)(&head, place, &mut fields, &mut problems) else { panic!("{:?}", problems.lines()) };
    let name = done();
    let head = DatasetHead {
        name: DATASET,
        mark: node.mark,
        events: vec![EventHead { name: &name, source: EventPlace::Here(event) }],
        class_by: None,
        subject: Some((subject, node.mark)),
        anonymises,
        destroys: true,
        enforced: true,
        at_least: None,
    };
    let mut fields = node.fields("a dataset", &mut problems).unwrap();
    configuring.dataset(&head, &mut fields, &mut problems);
    fields.finish("the dataset", &mut problems);
    assert_eq!(problems.lines(), Vec::<String>::new());
    configuring.finish()
}

fn done() -> EventName {
    EventName::parse("done").unwrap()
}
