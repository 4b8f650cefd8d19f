//! The pipeline over a store in memory that breaks down on demand: what is due goes, everything else stays, and the log says which.

mod estate;
mod faults;
mod holds;
mod lookups;
mod plans;
mod review;
mod window;

use estate::Estate;
use retentiond::session::End;

#[tokio::test]
async fn what_is_due_goes_and_everything_else_stays() {
    let mut estate = Estate::new("limits: unlimited");
    estate.put("old", 400);
    estate.put("boundary-kept", estate.days_to_boundary());
    estate.put("boundary-gone", estate.days_to_boundary() + 1);
    estate.put("young", 3);
    estate.put_not_yet("running");
    estate.put_doubt("doubtful");
    estate.put("future", -5);
    let ran = estate.run().await;
    assert!(matches!(ran.end, End::Spent(_)));
    assert_eq!(estate.keys(), ["boundary-kept", "doubtful", "future", "running", "young"]);
    assert_eq!(ran.counts()["destroyed"], 2);
    let outcomes = estate.entries_of("destroyed");
    assert_eq!(outcomes.len(), 2);
    for outcome in &outcomes {
        for field in [
            "run",
            "store",
            "dataset",
            "class",
            "record",
            "size",
            "schedule",
            "event",
            "event_date",
            "due",
            "holds_checked",
            "by",
            "method",
            "grade",
            "verified",
            "caveats",
        ] {
            assert!(outcome.fields.contains_key(field), "an outcome answers {field}");
        }
        assert!(outcome.str("record").unwrap().starts_with("20"), "a pseudonym with its epoch");
    }
    estate.verify();
}

#[tokio::test]
async fn report_mode_destroys_nothing() {
    let mut estate = Estate::new("mode: report, limits: unlimited");
    estate.put("old", 400);
    let ran = estate.run().await;
    assert!(matches!(ran.end, End::Reported(_)));
    assert_eq!(estate.keys(), ["old"]);
    assert!(estate.entries_of("intent").is_empty());
    estate.verify();
}

#[tokio::test]
async fn the_log_holds_no_keys_and_no_subjects() {
    let mut estate = Estate::new("limits: unlimited");
    estate.put("Erika Mustermann", 400);
    estate.put_doubt("Max Mustermann");
    estate.run().await;
    assert_eq!(estate.keys(), ["Max Mustermann"]);
    let text = estate.log_text();
    assert!(text.contains("\"destroyed\""));
    assert!(!text.contains("Mustermann"), "{text}");
}

#[tokio::test]
async fn keys_that_are_not_personal_stand_in_the_log_when_the_dataset_says_so() {
    let mut estate = Estate::new("limits: unlimited, keys: plain");
    estate.put("cam-07/clip.mp4", 400);
    estate.run().await;
    assert_eq!(estate.entries_of("destroyed")[0].str("record"), Some("plain:cam-07/clip.mp4"));
}

#[tokio::test]
async fn what_a_person_decides_is_flagged_once_and_stays() {
    let mut estate = Estate::with_class("then: review", "limits: unlimited");
    estate.put("one", 400);
    estate.put("two", 300);
    estate.put("young", 1);
    let first = estate.run().await;
    assert_eq!(first.flagged, 2);
    let again = estate.run().await;
    assert_eq!(again.flagged, 0, "flagged already");
    assert_eq!(estate.keys(), ["one", "two", "young"]);
    assert_eq!(estate.entries_of("flagged").len(), 2);
    let before = estate.flags().await;
    assert_eq!(before.get("review"), Some(&2));
    std::fs::remove_file(estate.state().join("register.db")).unwrap();
    estate.open_and_close().await;
    assert_eq!(estate.flags().await, before, "the register is a projection of the log");
    estate.put("one", 2);
    estate.run().await;
    assert_eq!(estate.flags().await.get("review"), Some(&1), "what is no longer due is no longer flagged");
    estate.verify();
}

#[tokio::test]
async fn anonymised_records_are_kept_and_not_anonymised_again() {
    let mut estate = Estate::with_class("then: anonymise", "limits: unlimited");
    estate.put("one", 400);
    let ran = estate.run().await;
    assert_eq!(ran.counts()["anonymised"], 1);
    assert_eq!(estate.run().await.counts()["anonymised"], 0);
    estate.verify();
}

#[tokio::test]
async fn two_sessions_on_one_state_are_impossible() {
    let estate = Estate::new("limits: unlimited");
    let first = estate.session().await;
    let second = estate.try_session().await;
    assert!(second.is_err_and(|error| error.kind() == retentiond::error::Kind::Refused));
    first.close().await.unwrap();
    assert!(estate.try_session().await.is_ok());
}

#[tokio::test]
async fn a_hold_in_the_log_wins_and_its_release_lets_go() {
    use retentiond::audit::{Draft, Kind};
    let mut estate = Estate::new("limits: unlimited");
    estate.put("held", 400);
    estate.put("free", 400);
    estate.open_and_close().await;
    let session = estate.session().await;
    let name = estate.pseudonym("held");
    let body = serde_json::json!({"hold": "H-1", "hold_kind": "litigation", "scope": {"record": name}});
    session.log.commit(vec![Draft::new(Kind::HoldPlaced, &body).unwrap()]).await.unwrap();
    session.close().await.unwrap();
    let ran = estate.run().await;
    assert_eq!(estate.keys(), ["held"]);
    assert_eq!(ran.tally.held, 1);
    let session = estate.session().await;
    let body = serde_json::json!({"hold": "H-1"});
    session.log.commit(vec![Draft::new(Kind::HoldReleased, &body).unwrap()]).await.unwrap();
    session.close().await.unwrap();
    estate.run().await;
    assert!(estate.keys().is_empty());
    estate.verify();
}
