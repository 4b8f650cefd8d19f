//! Review before disposal: what people approve goes, as it was shown and no sooner than the schedule says, and nothing else does.

use retentiond::audit::{Draft, Kind as EntryKind};
use retentiond::error::{Error, Kind};
use retentiond::replay::replay;
use retentiond::review::{Order, What};
use retentiond::session::{End, Listed, Progress, Ran};
use serde_json::json;

use crate::estate::{DATASET, Estate};

const ALICE: &str = "alice (uid 1000)";
const BOB: &str = "bob (uid 1001)";

/// A class whose approvals hold at once.
fn estate(terms: &str) -> Estate {
    Estate::with_class(&format!("then: review, {terms}"), "limits: unlimited")
}

fn order(what: What, batch: &str) -> Order {
    Order { what, batch: batch.into(), name: None, reason: Some("the file is asked for".into()), until: None, except: Vec::new() }
}

fn approval(batch: &str, name: &str) -> Order {
    Order { name: Some(name.into()), reason: None, ..order(What::Approve, batch) }
}

async fn decide(estate: &Estate, order: &Order, person: &str) -> Result<String, Error> {
    let session = estate.session().await;
    let told = session.decide_review(order, person).await;
    session.close().await.unwrap();
    told.map(|told| told.text)
}

async fn list(estate: &Estate) -> Vec<Listed> {
    let session = estate.session().await;
    let rows = session.reviews().list(None).await.unwrap();
    session.close().await.unwrap();
    rows
}

/// The one batch that there is.
async fn batch(estate: &Estate) -> String {
    let rows = list(estate).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].batch.clone()
}

async fn standings(estate: &Estate) -> Vec<(&'static str, u64)> {
    let mut all: Vec<_> = list(estate).await.iter().map(|row| (row.standing, row.records)).collect();
    all.sort_unstable();
    all
}

/// The log verifies, and everything in it follows from it.
fn replayed(estate: &Estate) {
    estate.verify();
    let entries = estate.entries().len() as u64;
    let mut told = Vec::new();
    replay(&estate.log(), None, entries, &|_| {}, &mut |mismatch| {
        told.push(mismatch);
        Ok(())
    })
    .unwrap();
    assert!(told.is_empty(), "{told:#?}");
}

/// Two records of one month that are approved.
async fn approved(terms: &str) -> Estate {
    let mut estate = estate(terms);
    estate.put("one", 400);
    estate.put("two", 400);
    estate.run().await;
    let batch = batch(&estate).await;
    decide(&estate, &approval(&batch, "Alice Ames"), ALICE).await.unwrap();
    estate
}

fn findings(ran: &Ran) -> String {
    ran.findings.iter().map(|finding| finding.message.clone() + "\n").collect()
}

#[tokio::test]
async fn what_nobody_decides_stays_and_is_told() {
    let mut estate = estate("cooling-off: none");
    estate.put("one", 400);
    estate.put("two", 400);
    estate.put("young", 3);
    for _ in 0..2 {
        let ran = estate.run().await;
        assert!(findings(&ran).contains("2 records in 1 batch wait for review since 20"), "{}", findings(&ran));
        assert_eq!((ran.review.waiting, ran.review.batches, ran.tally.review), (2, 1, 2));
        assert_eq!(estate.keys(), ["one", "two", "young"]);
    }
    assert_eq!(standings(&estate).await, [("waiting", 2)]);
    assert!(estate.entries_of("intent").is_empty());
    assert_eq!(estate.entries_of("run-finished")[1].fields["review"]["waiting"], 2);
    replayed(&estate);
}

#[tokio::test]
async fn what_is_approved_goes_with_the_next_run_and_the_outcome_names_who_approved() {
    let mut estate = approved("cooling-off: none").await;
    estate.put("of another month", 500);
    let ran = estate.run().await;
    assert_eq!(ran.counts()["destroyed"], 2, "{}", findings(&ran));
    assert_eq!((ran.review.approved, ran.review.waiting), (2, 1));
    assert_eq!(estate.keys(), ["of another month"]);
    let said = &estate.entries_of("approved")[0];
    assert_eq!((said.str("name"), said.str("person"), said.u64("records")), (Some("Alice Ames"), Some(ALICE), Some(2)));
    assert!(said.str("expires").is_some() && !estate.log_text().contains("\"one\""), "no key in the log");
    for outcome in estate.entries_of("destroyed") {
        assert_eq!(outcome.str("batch"), said.str("batch"));
        assert_eq!(outcome.fields["approval"], json!([said.n]));
    }
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.review.approved), (0, 0));
    assert!(ran.review.dropped.is_empty(), "what went is not missed");
    assert_eq!(standings(&estate).await, [("waiting", 1)], "the keys of what went are not kept");
    replayed(&estate);
}

#[tokio::test]
async fn report_mode_and_limits_hold_for_what_is_approved() {
    let mut estate = approved("cooling-off: none").await;
    estate.set_options("mode: report, limits: unlimited");
    let ran = estate.run().await;
    assert!(matches!(ran.end, End::Reported(None)) && ran.tally.destroy == 2);
    assert_eq!(estate.keys(), ["one", "two"]);
    estate.set_options("");
    let End::Refused { plan, .. } = estate.run().await.end else { panic!("two of two are more than a fifth") };
    assert_eq!(estate.keys(), ["one", "two"]);
    let ran = estate.allow(&plan).await.unwrap();
    assert_eq!(ran.counts()["destroyed"], 2);
    replayed(&estate);
}

#[tokio::test]
async fn a_plan_that_is_allowed_after_the_approval_was_taken_back_destroys_nothing() {
    let mut estate = approved("cooling-off: none").await;
    estate.set_options("");
    let End::Refused { plan, .. } = estate.run().await.end else { panic!("two of two are more than a fifth") };
    let batch = batch(&estate).await;
    decide(&estate, &order(What::Withdraw, &batch), BOB).await.unwrap();
    let ran = estate.allow(&plan).await.unwrap();
    assert_eq!((ran.counts()["destroyed"], ran.counts()["kept"]), (0, 2));
    assert_eq!(estate.entries_of("kept")[0].str("why"), Some("not-approved"));
    assert_eq!(estate.keys(), ["one", "two"]);
    replayed(&estate);
}

#[tokio::test]
async fn nothing_goes_in_the_cooling_off_and_what_is_withdrawn_in_it_is_asked_again() {
    let mut estate = approved("approvals: 1").await;
    let told = standings(&estate).await;
    assert_eq!(told, [("cooling-off", 2)]);
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.review.cooling_off), (0, 2));
    let first = batch(&estate).await;
    let again = decide(&estate, &approval(&first, "Bob Brown"), BOB).await.unwrap_err();
    assert!(again.to_string().contains("is approved already"), "{again}");
    decide(&estate, &order(What::Withdraw, &first), BOB).await.unwrap();
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.review.waiting), (0, 2));
    assert_eq!(estate.keys(), ["one", "two"]);
    let nothing = decide(&estate, &order(What::Withdraw, &first), BOB).await.unwrap_err();
    assert!(nothing.to_string().contains("nothing is decided"), "{nothing}");
    replayed(&estate);
}

#[tokio::test]
async fn one_person_under_two_names_and_one_name_with_two_accounts_are_not_two_people() {
    let mut estate = approved("approvals: 2, cooling-off: none").await;
    let batch = batch(&estate).await;
    for (name, person) in [("Bob Brown", ALICE), ("alice  AMES", BOB), ("Bob Brown", "alice (uid 0)"), ("Bob Brown", "uid 1000")] {
        let error = decide(&estate, &approval(&batch, name), person).await.unwrap_err();
        assert!(error.kind() == Kind::Refused && error.to_string().contains("must be another person's"), "{error}");
    }
    let error = decide(&estate, &approval(&batch, " . "), BOB).await.unwrap_err();
    assert!(error.kind() == Kind::Usage && error.to_string().contains("--name"), "{error}");
    assert_eq!(estate.run().await.counts()["destroyed"], 0, "one of two");
    decide(&estate, &approval(&batch, "Bob Brown"), BOB).await.unwrap();
    assert_eq!(estate.run().await.counts()["destroyed"], 2);
    let named = estate.entries_of("destroyed")[0].fields["approval"].as_array().unwrap().len();
    assert_eq!(named, 2);
    replayed(&estate);
}

#[tokio::test]
async fn the_one_who_confirmed_the_schedule_may_not_approve_where_the_class_says_so() {
    let mut estate = estate("not-the-editor: true, cooling-off: none");
    estate.put("one", 400);
    let session = estate.session().await;
    let schedules = json!([{"id": "test", "sha256": "x"}]);
    session
        .log
        .commit(vec![Draft::new(EntryKind::Confirmed, &json!({"edit": "x", "schedules": schedules, "person": ALICE})).unwrap()])
        .await
        .unwrap();
    session.close().await.unwrap();
    estate.run().await;
    let batch = batch(&estate).await;
    let error = decide(&estate, &approval(&batch, "Alice Ames"), ALICE).await.unwrap_err();
    assert!(error.to_string().contains("edited or confirmed the schedule test"), "{error}");
    // Whoever writes past the program is not believed either.
    let session = estate.session().await;
    let body = json!({"batch": batch, "store": "memory", "dataset": DATASET, "class": "thing.done", "schedule": "x", "person": ALICE, "name": "A", "records": 1});
    session.log.commit(vec![Draft::new(EntryKind::Approved, &body).unwrap()]).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(estate.run().await.counts()["destroyed"], 0);
    decide(&estate, &approval(&batch, "Bob Brown"), BOB).await.unwrap();
    assert_eq!(estate.run().await.counts()["destroyed"], 1);
    replayed(&estate);
}

#[tokio::test]
async fn what_changed_after_it_was_shown_stays_and_what_came_later_was_not_approved() {
    let mut estate = approved("cooling-off: none").await;
    // Edited: the event moved by a day. Added: to the same month.
    estate.put("one", 401);
    estate.put("three", 400);
    let ran = estate.run().await;
    assert_eq!(ran.counts()["destroyed"], 1, "{}", findings(&ran));
    assert_eq!(estate.keys(), ["one", "three"]);
    assert_eq!(ran.review.dropped.values().sum::<u64>(), 1);
    assert!(findings(&ran).contains("1 record that people approved stayed: changed since it was shown"), "{}", findings(&ran));
    assert!(ran.needs_attention());
    assert_eq!(ran.review.waiting, 2);
    replayed(&estate);
}

#[tokio::test]
async fn what_is_held_in_between_stays_and_goes_once_the_hold_is_released() {
    let mut estate = approved("cooling-off: none").await;
    let session = estate.session().await;
    let body = json!({"hold": "H-1", "hold_kind": "litigation", "scope": {"record": estate.pseudonym("one")}});
    session.log.commit(vec![Draft::new(EntryKind::HoldPlaced, &body).unwrap()]).await.unwrap();
    session.close().await.unwrap();
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.review.dropped.get("held")), (1, Some(&1)));
    assert_eq!(estate.keys(), ["one"]);
    let session = estate.session().await;
    session.log.commit(vec![Draft::new(EntryKind::HoldReleased, &json!({"hold": "H-1"})).unwrap()]).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(estate.run().await.counts()["destroyed"], 1);
    replayed(&estate);
}

#[tokio::test]
async fn a_batch_that_was_tampered_with_or_is_lost_destroys_nothing_and_is_asked_again() {
    for harm in ["a byte", "removed", "another batch's records"] {
        let mut estate = approved("cooling-off: none").await;
        let folder = estate.state().join("review");
        let id = batch(&estate).await;
        let path = folder.join(format!("{id}.batch"));
        let mut bytes = std::fs::read(&path).unwrap();
        match harm {
            "a byte" => {
                // In the first item's key.
                let at = bytes.windows(3).position(|three| three == b"one").unwrap();
                bytes[at] = b'0';
                std::fs::write(&path, bytes).unwrap();
            }
            "removed" => std::fs::remove_file(&path).unwrap(),
            _ => {
                estate.put("other", 800);
                let session = estate.session().await;
                let dataset = std::sync::Arc::clone(session.config.dataset("memory", DATASET).unwrap());
                estate.set_options("mode: report, limits: unlimited");
                session.close().await.unwrap();
                drop(dataset);
                estate.run().await;
                let other = list(&estate).await.into_iter().find(|row| row.batch != id).unwrap().batch;
                std::fs::copy(folder.join(format!("{other}.batch")), &path).unwrap();
                estate.set_options("limits: unlimited");
            }
        }
        let ran = estate.run().await;
        assert_eq!(ran.counts()["destroyed"], 0, "{harm}");
        assert!(estate.keys().len() >= 2 && estate.entries_of("intent").is_empty(), "{harm}");
        assert!(
            findings(&ran).contains(&format!("{} are lost or were changed; nothing of it is destroyed", &id[..16])),
            "{harm}: {}",
            findings(&ran)
        );
        // Frozen anew, the same set is another batch.
        assert_eq!(estate.run().await.counts()["destroyed"], 0, "{harm}");
        let again = list(&estate).await.into_iter().find(|row| row.records == 2).unwrap();
        assert!(again.batch != id && again.standing == "waiting", "{harm}: {again:?}");
        decide(&estate, &approval(&again.batch, "Bob Brown"), BOB).await.unwrap();
        assert_eq!(estate.run().await.counts()["destroyed"], 2, "{harm}");
        replayed(&estate);
    }
}

#[tokio::test]
async fn a_refusal_and_an_extension_keep_until_their_day_and_end_an_approval() {
    let mut estate = approved("cooling-off: none").await;
    let batch = batch(&estate).await;
    let no = order(What::Refuse, &batch);
    let told = decide(&estate, &no, BOB).await.unwrap();
    assert!(told.contains("it is kept through 20"), "{told}");
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.review.kept, ran.review.waiting), (0, 2, 0));
    let error = decide(&estate, &approval(&batch, "Alice Ames"), ALICE).await.unwrap_err();
    assert!(error.to_string().contains("was refused until"), "{error}");
    decide(&estate, &order(What::Withdraw, &batch), BOB).await.unwrap();
    let error = decide(&estate, &order(What::Extend, &batch), BOB).await.unwrap_err();
    assert!(error.to_string().contains("--until"), "{error}");
    let past = Order { until: Some(estate.today()), ..order(What::Extend, &batch) };
    assert!(decide(&estate, &past, BOB).await.unwrap_err().to_string().contains("after today"));
    let longer = Order { until: estate.today().tomorrow().ok(), ..order(What::Extend, &batch) };
    decide(&estate, &longer, BOB).await.unwrap();
    // An edit of the record ends no extension.
    estate.put("one", 401);
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.review.kept, ran.review.waiting), (0, 2, 0));
    assert_eq!(standings(&estate).await, [("extended", 2)]);
    let silent = Order { reason: None, ..order(What::Refuse, &batch) };
    assert!(decide(&estate, &silent, BOB).await.unwrap_err().to_string().contains("needs a reason"));
    replayed(&estate);
}

#[tokio::test]
async fn what_people_keep_longer_stays_although_its_class_no_longer_asks_for_a_review() {
    let mut estate = estate("cooling-off: none");
    estate.put("one", 400);
    estate.run().await;
    let kept = batch(&estate).await;
    let longer = Order { until: Some(jiff::civil::date(2199, 1, 1)), ..order(What::Extend, &kept) };
    decide(&estate, &longer, BOB).await.unwrap();
    estate.put("two", 400);
    estate.put("three", 700);
    // Confirmed, so that nothing waits for the edit's sake.
    estate.set_class("6 months", "then: destroy");
    let session = estate.session().await;
    let edit = session.edit().unwrap().id;
    session.confirm(&edit, ALICE).await.unwrap();
    session.close().await.unwrap();
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.review.kept), (2, 1), "{}", findings(&ran));
    assert_eq!(estate.keys(), ["one"]);
    replayed(&estate);
    decide(&estate, &order(What::Withdraw, &kept), BOB).await.unwrap();
    assert_eq!(estate.run().await.counts()["destroyed"], 1);
    replayed(&estate);
}

#[tokio::test]
async fn what_people_keep_longer_stays_although_its_period_ends_in_another_month_now() {
    let mut estate = estate("cooling-off: none");
    estate.put("one", 700);
    estate.run().await;
    let kept = batch(&estate).await;
    let longer = Order { until: Some(jiff::civil::date(2199, 1, 1)), ..order(What::Extend, &kept) };
    decide(&estate, &longer, BOB).await.unwrap();
    estate.put("two", 700);
    estate.set_class("9 months", "then: destroy");
    let session = estate.session().await;
    if let Some(edit) = session.edit() {
        session.confirm(&edit.id, ALICE).await.unwrap();
    }
    session.close().await.unwrap();
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], estate.keys()), (1, vec!["one".to_owned()]), "{}", findings(&ran));
    replayed(&estate);
}

#[tokio::test]
async fn single_records_can_be_left_out_of_an_approval() {
    let mut estate = estate("cooling-off: none");
    for key in ["one", "two", "three"] {
        estate.put(key, 400);
    }
    estate.run().await;
    let whole = batch(&estate).await;
    let except = |key: &str| Order { except: vec![format!("memory/{DATASET}:{key}")], ..approval(&whole, "Alice Ames") };
    let error = decide(&estate, &except("four"), ALICE).await.unwrap_err();
    assert!(error.to_string().contains("has no record memory/things:four"), "{error}");
    let told = decide(&estate, &except("two"), ALICE).await.unwrap();
    assert!(told.contains("approved: 2 records") && told.contains("what was left out waits"), "{told}");
    assert_eq!(standings(&estate).await, [("approved", 2), ("waiting", 1)]);
    assert_eq!(estate.run().await.counts()["destroyed"], 2);
    assert_eq!(estate.keys(), ["two"]);
    replayed(&estate);
}

#[tokio::test]
async fn a_schedule_that_became_longer_keeps_what_was_approved() {
    let mut estate = approved("cooling-off: none").await;
    estate.set_class("3 years", "then: review, cooling-off: none");
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.review.dropped.get("no longer due")), (0, Some(&2)));
    estate.set_class("6 months", "then: flag");
    assert_eq!(estate.run().await.counts()["destroyed"], 0);
    assert_eq!(estate.keys(), ["one", "two"]);
    replayed(&estate);
}

#[tokio::test]
async fn terms_that_an_edit_makes_easier_hold_on_as_they_were_for_what_was_approved_and_within_the_delay() {
    let mut estate = approved("approvals: 2, cooling-off: none").await;
    estate.set_class("6 months", "then: review, cooling-off: none");
    assert_eq!(estate.run().await.counts()["destroyed"], 0, "two were asked for when the first approved");
    let batch = batch(&estate).await;
    decide(&estate, &order(What::Withdraw, &batch), BOB).await.unwrap();
    decide(&estate, &approval(&batch, "Bob Brown"), BOB).await.unwrap();
    assert_eq!(estate.run().await.counts()["destroyed"], 0, "the edit is younger than edit-delay");
    assert_eq!(estate.keys(), ["one", "two"]);
    replayed(&estate);
}

#[tokio::test]
async fn more_approvals_than_the_log_alone_asks_for_are_in_order_and_each_must_count() {
    let mut estate = estate("approvals: 2, cooling-off: none");
    estate.put("one", 400);
    estate.run().await;
    // Two are asked for while the edit is young; that it is, replaying does not derive.
    estate.set_class("6 months", "then: review, cooling-off: none");
    estate.run().await;
    let id = batch(&estate).await;
    decide(&estate, &approval(&id, "Alice Ames"), ALICE).await.unwrap();
    assert_eq!(estate.run().await.counts()["destroyed"], 0);
    decide(&estate, &approval(&id, "Bob Brown"), BOB).await.unwrap();
    assert_eq!(estate.run().await.counts()["destroyed"], 1);
    let both: Vec<u64> = estate.entries_of("approved").iter().map(|entry| entry.n).collect();
    assert_eq!(estate.entries_of("destroyed")[0].fields["approval"], json!(both));
    replayed(&estate);
    for named in [vec![both[0], both[0]], vec![both[0], 0], vec![both[0], both[1], both[1] + 1], vec![]] {
        let told = fabricated(&estate, &id, &named).await;
        assert!(told.contains("was missing"), "{named:?}: {told}");
    }
}

#[tokio::test]
async fn an_edit_elsewhere_in_the_schedule_ends_no_approval() {
    let mut estate = approved("cooling-off: none").await;
    estate.set_class("6 months", "then: review, cooling-off: none, authority: a law");
    assert_eq!(estate.run().await.counts()["destroyed"], 2);
    replayed(&estate);
}

#[tokio::test]
async fn an_approval_is_spent_once() {
    let mut estate = approved("cooling-off: none").await;
    estate.run().await;
    estate.run().await;
    // Restored from a backup, to the last bit.
    estate.put("one", 400);
    estate.put("two", 400);
    let ran = estate.run().await;
    assert_eq!((ran.counts()["destroyed"], ran.review.waiting), (0, 2));
    assert!(!findings(&ran).contains("lost"), "{}", findings(&ran));
    assert_eq!(standings(&estate).await, [("waiting", 2)]);
    replayed(&estate);
}

#[tokio::test]
async fn decisions_survive_the_loss_of_the_register() {
    let mut estate = approved("cooling-off: none").await;
    std::fs::remove_file(estate.state().join("register.db")).unwrap();
    assert_eq!(standings(&estate).await, [("approved", 2)]);
    assert_eq!(estate.run().await.counts()["destroyed"], 2);
    replayed(&estate);
}

#[tokio::test]
async fn a_withdrawal_in_the_middle_of_a_run_keeps_the_rest() {
    let estate = approved("cooling-off: none").await;
    let session = estate.session().await;
    let dataset = std::sync::Arc::clone(session.config.dataset("memory", DATASET).unwrap());
    let id = session.reviews().list(None).await.unwrap()[0].batch.clone();
    // As soon as the run has made its plan; which of both comes first is nobody's to say, but the log must be in order either way.
    let progress = Progress::default();
    let (ran, told) = tokio::join!(session.run(&dataset, &progress), async {
        while progress.planned.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        session.decide_review(&order(What::Withdraw, &id), BOB).await
    });
    let ran = ran.unwrap();
    drop(told.unwrap());
    assert_eq!(ran.counts()["destroyed"] + ran.counts()["kept"], 2);
    session.close().await.unwrap();
    replayed(&estate);
}

/// Writes a disposal of the first flagged record into the log that no run of ours would write, and answers what replaying it tells.
async fn fabricated(estate: &Estate, batch: &str, approval: &[u64]) -> String {
    let flagged = estate.entries_of("flagged").remove(0).fields;
    let mut started = estate.entries_of("run-started").pop().unwrap().fields;
    started.insert("run".into(), json!("fabricated"));
    started.insert("today".into(), json!(estate.today().to_string()));
    let session = estate.session().await;
    let commit = async |kind, body: &serde_json::Value| session.log.commit(vec![Draft::new(kind, body).unwrap()]).await.unwrap().first();
    commit(EntryKind::RunStarted, &json!(started)).await;
    let place = json!({"run": "fabricated", "store": "memory", "dataset": DATASET});
    let mut intent = place.clone();
    (intent["act"], intent["records"]) = (json!("destroy"), json!([flagged["record"]]));
    let intent = commit(EntryKind::Intent, &intent).await;
    let mut outcome = json!(flagged);
    outcome["schedule"] = started["rules"][0]["schedule"].clone();
    (outcome["run"], outcome["intent"], outcome["holds_checked"]) = (json!("fabricated"), json!(intent), json!(true));
    outcome.as_object_mut().unwrap().remove("then");
    if !batch.is_empty() {
        (outcome["batch"], outcome["approval"]) = (json!(batch), json!(approval));
    }
    commit(EntryKind::Destroyed, &outcome).await;
    session.close().await.unwrap();
    let mut told = String::new();
    replay(&estate.log(), None, estate.entries().len() as u64, &|_| {}, &mut |mismatch| {
        told += &format!("{} {}: {}\n", mismatch.kind, mismatch.says, mismatch.derived);
        Ok(())
    })
    .unwrap();
    told
}

#[tokio::test]
async fn replaying_the_log_tells_what_went_without_enough_approvals() {
    let said = |estate: &Estate| estate.entries_of("approved").iter().map(|entry| entry.n).collect::<Vec<_>>();
    let estate = approved("approvals: 2, cooling-off: none").await;
    let id = batch(&estate).await;
    let told = fabricated(&estate, &id, &said(&estate)).await;
    assert!(told.contains("the approval of 1 was missing"), "{told}");
    let estate = approved("cooling-off: none").await;
    let id = batch(&estate).await;
    let told = fabricated(&estate, &id, &said(&estate)).await;
    assert_eq!(told, "", "this one is in order");
    let told = fabricated(&estate, "", &[]).await;
    assert!(told.contains("the classes of the run allow no more than review, and no approval is named"), "{told}");
    let told = fabricated(&estate, "another", &said(&estate)).await;
    assert!(told.contains("the approval of 1 was missing"), "{told}");
    let told = fabricated(&estate, &id, &[0]).await;
    assert!(told.contains("approved by the entries [0]"), "{told}");
    let estate = approved("approvals: 1").await;
    let id = batch(&estate).await;
    let told = fabricated(&estate, &id, &said(&estate)).await;
    assert!(told.contains("none before 20") && told.contains("cooling-off 7 days"), "{told}");
    let estate = approved("cooling-off: none").await;
    let id = batch(&estate).await;
    decide(&estate, &order(What::Withdraw, &id), BOB).await.unwrap();
    let told = fabricated(&estate, &id, &said(&estate)).await;
    assert!(told.contains("the approval of 1 was missing"), "{told}");
    let estate = approved("cooling-off: none").await;
    let id = batch(&estate).await;
    decide(&estate, &order(What::Refuse, &id), BOB).await.unwrap();
    let told = fabricated(&estate, &id, &said(&estate)).await;
    assert!(told.contains("a person kept it through 20"), "{told}");
}
