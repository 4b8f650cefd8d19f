//! The fault table: each step of store and log fails, with and without effect; afterwards every record gone has its intent and its outcome, and no
//! record that is present has an outcome that says otherwise.

use std::collections::HashSet;

use retentiond::record::Key;
use retentiond::session::End;
use retentiond::store::memory::Trouble;

use crate::estate::{Estate, plans_in};

fn key(text: &str) -> Key {
    Key::new(text.as_bytes())
}

/// What the log claims of each record: the names said to be gone.
fn said_gone(estate: &Estate) -> HashSet<String> {
    let gone = |entry: &retentiond::audit::Entry| match entry.kind.as_str() {
        "destroyed" | "absent" => true,
        "recovered" => entry.str("found") == Some("gone"),
        _ => false,
    };
    estate.entries().iter().filter(|entry| gone(entry)).filter_map(|entry| entry.str("record").map(str::to_owned)).collect()
}

fn log_is_true(estate: &Estate, all: &[&str]) {
    let said = said_gone(estate);
    let present = estate.keys();
    for record in all {
        let there = present.contains(&(*record).to_owned());
        assert_eq!(!there, said.contains(&estate.pseudonym(record)), "{record}: is there: {there}");
    }
}

#[tokio::test]
async fn a_scan_that_fails_or_is_incomplete_destroys_nothing() {
    for trouble in [Trouble::ScanFails, Trouble::ScanIncomplete] {
        let mut estate = Estate::new("limits: unlimited");
        estate.put("old", 400);
        estate.store.troubles(vec![trouble.clone()]);
        let ran = estate.run().await;
        assert!(matches!(ran.end, End::Incomplete(_)), "{trouble:?}");
        assert_eq!(estate.keys(), ["old"]);
        assert!(estate.entries_of("intent").is_empty());
        estate.verify();
    }
}

#[tokio::test]
async fn one_failing_record_never_stops_the_rest() {
    let mut estate = Estate::new("limits: unlimited");
    let names: Vec<String> = (0..1500).map(|n| format!("r{n:04}")).collect();
    for name in &names {
        estate.put(name, 400);
    }
    estate.store.troubles(vec![Trouble::FailsAndDidNot(key("r0700"))]);
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.counts()["failed"]), (1499, 1));
    assert_eq!(estate.keys(), ["r0700"]);
    log_is_true(&estate, &names.iter().map(String::as_str).collect::<Vec<_>>());
    estate.verify();
    estate.store.troubles(Vec::new());
    assert_eq!(estate.run().await.counts()["destroyed"], 1, "the next run tries again");
}

#[tokio::test]
async fn an_uncertain_failure_is_settled_by_looking() {
    let mut estate = Estate::new("limits: unlimited");
    for name in ["did", "did-not", "fine"] {
        estate.put(name, 400);
    }
    estate.store.troubles(vec![Trouble::UncertainButDid(key("did")), Trouble::UncertainAndDidNot(key("did-not"))]);
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.counts()["recovered"], ran.counts()["failed"]), (1, 1, 1));
    log_is_true(&estate, &["did", "did-not", "fine"]);
    estate.verify();
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_known_stops_nothing() {
    let mut estate = Estate::new("limits: unlimited");
    estate.put("did", 400);
    estate.store.troubles(vec![Trouble::UncertainButDid(key("did")), Trouble::FetchFails]);
    assert!(matches!(estate.run().await.end, End::Spent(_)));
    assert_eq!(estate.verify_open(), 1);
    estate.store.troubles(Vec::new());
    estate.open_and_close().await;
    log_is_true(&estate, &["did"]);
    estate.verify();
}

#[tokio::test]
async fn a_record_that_is_listed_twice_goes_once() {
    let mut estate = Estate::new("limits: unlimited");
    let names: Vec<String> = (0..1500).map(|n| format!("r{n:04}")).collect();
    for name in &names {
        estate.put(name, 400);
    }
    estate.store.troubles(vec![Trouble::ScanRepeats]);
    let ran = estate.run().await;
    let counts = ran.counts();
    assert_eq!((counts["destroyed"], counts["failed"]), (1500, 0));
    log_is_true(&estate, &names.iter().map(String::as_str).collect::<Vec<_>>());
    estate.verify();
}

#[tokio::test]
async fn what_cannot_be_looked_at_stays_open_until_the_next_start_looks() {
    for keep_plan in [true, false] {
        let mut estate = Estate::new("limits: unlimited");
        for name in ["did", "did-not", "fine"] {
            estate.put(name, 400);
        }
        estate.store.troubles(vec![Trouble::UncertainButDid(key("did")), Trouble::UncertainAndDidNot(key("did-not")), Trouble::FetchFails]);
        estate.run().await;
        assert_eq!(estate.verify_open(), 2);
        assert_eq!(plans_in(&estate.state()).len(), 1, "the plan stays, so that recovery knows the keys");
        let session = estate.session().await;
        assert!(
            session.recovered.iter().any(|finding| finding.message.contains("cannot be looked for")),
            "the store still cannot be asked"
        );
        session.close().await.unwrap();
        assert_eq!(estate.verify_open(), 2);
        if !keep_plan {
            std::fs::remove_dir_all(estate.state().join("plans")).unwrap();
            std::fs::remove_file(estate.state().join("register.db")).unwrap();
        }
        estate.store.troubles(Vec::new());
        estate.open_and_close().await;
        estate.verify();
        log_is_true(&estate, &["did", "did-not", "fine"]);
        assert!(plans_in(&estate.state()).is_empty());
        assert_eq!(estate.entries_of("recovered").len(), 2);
    }
}

#[tokio::test]
async fn a_store_that_answers_nothing_is_not_believed() {
    let mut estate = Estate::new("limits: unlimited");
    for name in ["one", "two"] {
        estate.put(name, 400);
    }
    estate.store.troubles(vec![Trouble::AnswersNothingButDid]);
    let ran = estate.run().await;
    assert_eq!(ran.counts()["recovered"], 2);
    log_is_true(&estate, &["one", "two"]);
    estate.verify();
}

#[tokio::test]
async fn a_grade_that_cannot_be_met_keeps_the_record_unless_less_is_accepted() {
    let mut estate = Estate::new("limits: unlimited, at-least: forgotten-twice");
    estate.put("old", 400);
    let ran = estate.run().await;
    assert_eq!(ran.counts()["kept"], 1);
    assert_eq!(estate.entries_of("kept")[0].str("why"), Some("cannot-meet-grade"));
    estate.set_options("limits: unlimited, at-least: forgotten-twice, else: accept");
    let ran = estate.run().await;
    assert_eq!(ran.counts()["destroyed"], 1);
    assert_eq!(estate.entries_of("destroyed")[0].str("asked"), Some("forgotten-twice"));
    estate.verify();
}
