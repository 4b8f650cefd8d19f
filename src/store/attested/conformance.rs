//! Lists before the suite that every store passes, as far as it goes: what removes is left out, for a list is never written, and without a person's
//! word every record is kept.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::KIND;
use crate::dispose::Permit;
use crate::record::Key;
use crate::schedule::EventName;
use crate::store::conformance::{Abilities, DATASET, Harness, When, suite};
use crate::store::{Act, DatasetHead, EventHead, EventPlace, Fate, Found, Kept, Order, Query, Store, StoreHead};
use crate::yaml::{Document, Problems};

struct Csv {
    _folder: tempfile::TempDir,
    path: PathBuf,
    store: Arc<dyn Store>,
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

impl Csv {
    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
    }

    async fn incomplete(&self) -> Option<String> {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let query = Query { bound: None, whole: false, now: "2026-11-22T00:00:00Z".parse().unwrap(), seen: Arc::default() };
        let drain = async { while receiver.recv().await.is_some() {} };
        tokio::join!(self.store.scan(DATASET, query, sender), drain).0.unwrap().incomplete
    }
}

#[async_trait]
impl Harness for Csv {
    const ABILITIES: Abilities =
        Abilities { not_yet_and_instants: true, group: Some("team"), knows_datasets: true, anonymises: false, unreachable: None };

    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("things.csv");
        std::fs::write(&path, "\u{feff}team,name,done,\"a note, with a comma\"\r\n").unwrap();
        let text = format!("path: {{ csv: {} }}\nevent: done\ndatasets: {{ key: name }}\n", serde_json::json!(path));
        let document = Document::parse("conformance.yaml", text).unwrap();
        let mut problems = Problems::new("conformance.yaml");
        let mut fields = document.root.fields("a store", &mut problems).unwrap();
        let (place, event, node) = (fields.take("path").unwrap(), fields.take("event").unwrap(), fields.take("datasets").unwrap());
        let head = StoreHead { name: "store", base: std::path::Path::new("/") };
        let mut configuring = (KIND.configure)(&head, place, &mut fields, &mut problems).unwrap();
        let name = EventName::parse("done").unwrap();
        let head = DatasetHead {
            name: DATASET,
            mark: node.mark,
            events: vec![EventHead { name: &name, source: EventPlace::Here(event) }],
            class_by: None,
            subject: Some(("team", node.mark)),
            anonymises: false,
            destroys: true,
            enforced: true,
            at_least: None,
        };
        let mut fields = node.fields("a dataset", &mut problems).unwrap();
        configuring.dataset(&head, &mut fields, &mut problems);
        fields.finish("the dataset", &mut problems);
        assert_eq!(problems.lines(), Vec::<String>::new());
        Self { _folder: folder, path, store: configuring.finish() }
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        let done = match when {
            When::On(date) => date.to_string(),
            When::At(instant) => instant.to_string(),
            When::NotYet => String::new(),
            When::Doubt => "2025-02-30".into(),
        };
        let mut file = std::fs::OpenOptions::new().append(true).open(&self.path).unwrap();
        writeln!(file, "{},{},{done},{}", quoted(group), quoted(name), quoted("two\nlines")).unwrap();
        Key::new(name.as_bytes())
    }

    async fn change(&self, _: &Key) {
        let text = std::fs::read_to_string(&self.path).unwrap();
        self.write(&text.replace("two\nlines", "three\n\nlines"));
    }

    async fn is_there(&self, key: &Key) -> bool {
        let mut reader = csv::Reader::from_path(&self.path).unwrap();
        reader.byte_records().any(|line| line.unwrap().get(1) == Some(key.as_bytes()))
    }
}

suite!(
    csv_list,
    super::Csv,
    what_is_due_or_in_doubt_is_sent_once_and_everything_is_counted,
    without_a_bound_everything_is_sent,
    large_datasets_come_in_batches_each_record_once,
    a_receiver_that_goes_away_is_no_error,
    look_ups_answer_for_each_value_in_order,
    look_ups_of_several_records_give_the_latest_date_or_doubt,
    what_cannot_be_anonymised_is_not_destroyed_instead,
    unknown_datasets_and_empty_orders_do_nothing,
);

const OLD: When = When::On(jiff::civil::date(2001, 2, 3));

#[tokio::test]
async fn without_a_persons_word_every_record_is_kept_and_the_list_is_what_it_was() {
    let harness = Csv::new().await;
    let keys = [harness.put("g", "one", OLD).await, harness.put("g", "two, or \"three\"", OLD).await];
    let before = std::fs::read(&harness.path).unwrap();
    let found = harness.store.fetch(DATASET, &keys).await.unwrap();
    let records: Vec<_> = found.into_iter().map(|found| if let Found::Present(one) = found { *one } else { panic!("{found:?}") }).collect();
    for act in [Act::Destroy, Act::Anonymise] {
        let order = Order { act, at_least: None };
        let fates = harness.store.remove(&Permit::for_test(), DATASET, &order, &records, &|_, _| None).await;
        assert!(fates.iter().all(|fate| matches!(fate, Fate::Kept(Kept::CannotMeetGrade(_)))) && fates.len() == 2, "{fates:?}");
    }
    assert_eq!(std::fs::read(&harness.path).unwrap(), before);
}

#[tokio::test]
async fn what_is_no_list_is_told_and_nothing_is_read_into_it() {
    let harness = Csv::new().await;
    let header = "team,name,done,note\n";
    let cases = [
        ("team,name,done,note\ng,1,2001-02-03\n", "line 2: expected 4 fields, as the first line has, found 3"),
        ("team,name,done,note\ng,,2001-02-03,n\n", "line 2: expected a key, found none"),
        ("team,nam,done,note\n", "the first line has no column \"name\"; did you mean"),
        ("team,name,name,done\n", "the first line has two columns \"name\""),
        ("", "the first line has no column \"name\""),
    ];
    for (text, words) in cases {
        harness.write(text);
        let why = harness.incomplete().await.unwrap_or_default();
        assert!(why.contains(words), "{text}: {why}");
        let found = harness.store.check().await.unwrap();
        assert!(found.iter().any(|finding| finding.message.contains(words)), "{text}: {found:?}");
        assert!(harness.store.fetch(DATASET, &[Key::new(*b"1")]).await.is_err(), "{text}");
    }
    harness.write(&format!("{header}g,1,2001-02-03,n\ng,2,2001-02-03,n\ng,1,2024-02-03,n\n"));
    let found = harness.store.check().await.unwrap();
    assert!(found[0].message.contains("record 3 has the key of one before it"), "{found:?}");
    let found = harness.store.fetch(DATASET, &[Key::new(*b"1"), Key::new(*b"2")]).await.unwrap();
    assert!(matches!(&found[..], [Found::Unknown(_), Found::Present(_)]), "{found:?}");
    std::fs::remove_file(&harness.path).unwrap();
    assert!(harness.incomplete().await.is_some_and(|why| why.contains("cannot be read")));
}
