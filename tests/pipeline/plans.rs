//! Limits, and what a person allows.

use std::sync::Arc;

use retentiond::error::Kind;
use retentiond::session::{End, Progress};

use crate::estate::{DATASET, Estate, plans_in};

fn refused(end: &End) -> String {
    match end {
        End::Refused { plan, .. } => plan.clone(),
        other => panic!("expected a refusal, found {}", other.word()),
    }
}

#[tokio::test]
async fn a_plan_over_its_limits_destroys_nothing_until_a_person_allows_exactly_that_plan() {
    let mut estate = Estate::new("");
    for n in 0..10 {
        estate.put(&format!("old-{n}"), 400);
    }
    let plan = refused(&estate.run().await.end);
    assert_eq!(estate.keys().len(), 10);
    estate.put("due-since-then", 400);
    let ran = estate.allow(&plan).await.unwrap();
    assert_eq!(ran.counts()["destroyed"], 10);
    assert_eq!(estate.keys(), ["due-since-then"], "only what was in the plan goes");
    let allowed = estate.entries_of("allowed");
    assert_eq!((allowed.len(), allowed[0].str("person"), allowed[0].str("plan")), (1, Some("a person"), Some(plan.as_str())));
    assert!(estate.allow(&plan).await.is_err(), "a plan is spent once");
    assert!(plans_in(&estate.state()).is_empty(), "no keys are left behind");
    estate.verify();
}

#[tokio::test]
async fn an_allowed_plan_keeps_what_changed_or_is_no_longer_due_or_gone() {
    let mut estate = Estate::new("");
    for key in ["changed", "gone", "old", "younger"] {
        estate.put(key, 400);
    }
    let plan = refused(&estate.run().await.end);
    estate.put("changed", 400);
    estate.put("younger", 3);
    let keep = estate.keys();
    assert_eq!(keep.len(), 4);
    let ran = estate.allow(&plan).await.unwrap();
    assert_eq!((ran.counts()["destroyed"], ran.counts()["kept"]), (2, 2));
    assert_eq!(estate.keys(), ["changed", "younger"]);
    estate.verify();
}

#[tokio::test]
async fn an_allowed_plan_is_not_spent_under_a_schedule_that_changed_since() {
    let mut estate = Estate::new("");
    estate.put("old", 400);
    let plan = refused(&estate.run().await.end);
    estate.set_period("6 years");
    let error = estate.allow(&plan).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("the schedule has changed since the plan was made"), "{error}");
    assert_eq!(estate.keys(), ["old"]);
    assert_eq!(estate.entries_of("schedule").len(), 2, "both texts of the schedule stand in the log");
    estate.verify();
    // What changes nothing for the record changes what the log would have to say.
    estate.set_period("6  months");
    assert!(estate.allow(&plan).await.is_err());
    assert_eq!(estate.keys(), ["old"]);
}

#[tokio::test]
async fn an_allowed_plan_is_not_spent_in_report_mode() {
    let mut estate = Estate::new("");
    estate.put("old", 400);
    let plan = refused(&estate.run().await.end);
    estate.set_options("mode: report");
    assert!(estate.allow(&plan).await.is_err());
    assert_eq!(estate.keys(), ["old"]);
}

#[tokio::test]
async fn a_plan_that_was_tampered_with_or_never_made_is_not_spent() {
    let mut estate = Estate::new("");
    estate.put("old", 400);
    let plan = refused(&estate.run().await.end);
    let file = estate.state().join(format!("plans/{plan}.plan"));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(estate.allow(&plan).await.is_err());
    for id in ["0123456789abcdef", "../../etc/passwd", "", "zz"] {
        assert!(estate.allow(id).await.is_err(), "{id}");
    }
    assert_eq!(estate.keys(), ["old"]);
    estate.verify();
}

#[tokio::test]
async fn limits_count_exactly() {
    let mut estate = Estate::new("");
    for n in 0..8 {
        estate.put(&format!("young-{n}"), 1);
    }
    estate.put("old-1", 400);
    estate.put("old-2", 400);
    assert!(matches!(estate.run().await.end, End::Spent(_)), "2 of 10 is exactly 20%");
    estate.put("old-3", 400);
    estate.put("old-4", 400);
    estate.put("old-5", 400);
    refused(&estate.run().await.end);
    assert_eq!(estate.keys().len(), 11);
}

#[tokio::test]
async fn no_run_begins_by_a_schedule_that_was_withdrawn_before_it() {
    let mut estate = Estate::new("limits: unlimited");
    estate.put("old", 400);
    let session = estate.session().await;
    let before = session.renewed(estate.config(), false).await.unwrap();
    // A run has taken what is in force, and before its first entry schedule and configuration are loaded anew.
    estate.set_period("9 months");
    session.renewed(estate.config(), false).await.unwrap().write_down().await.unwrap();
    let after = session.renewed(estate.config(), false).await.unwrap();
    assert!(before.is_superseded().await.unwrap() && !after.is_superseded().await.unwrap());
    let dataset = Arc::clone(before.config.dataset("memory", DATASET).unwrap());
    let Err(refused) = before.run(&dataset, &Progress::default()).await else { panic!("it ran by what is no longer in force") };
    assert!(refused.kind() == Kind::Refused && refused.to_string().contains("loaded anew"), "{refused}");
    assert!(estate.entries_of("run-started").is_empty() && estate.keys() == ["old"]);
    let dataset = Arc::clone(after.config.dataset("memory", DATASET).unwrap());
    after.run(&dataset, &Progress::default()).await.unwrap();
    assert_eq!(estate.entries_of("run-started").len(), 1);
    // Taken back at once, it was in force for a moment all the same.
    let between = after.renewed(estate.config(), false).await.unwrap();
    for period in ["2 years", "9 months"] {
        estate.set_period(period);
        after.renewed(estate.config(), false).await.unwrap().write_down().await.unwrap();
    }
    assert!(between.is_superseded().await.unwrap());
    let refused = between.run(between.config.dataset("memory", DATASET).unwrap(), &Progress::default()).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("loaded anew")));
    session.close().await.unwrap();
    estate.verify();
}
