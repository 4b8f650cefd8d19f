//! Dates that live in another dataset.

use retentiond::record::Reading;
use retentiond::session::End;
use retentiond::store::memory::{Trouble, on};

use crate::estate::{DATASET, Estate, ago};

fn estate() -> Estate {
    let mut estate = Estate::new("limits: unlimited");
    estate.look_up_dates();
    for (key, by) in [("ended", "T-1"), ("running", "T-2"), ("unknown", "T-3"), ("recent", "T-4")] {
        estate.store.put(DATASET, key, vec![Reading::Elsewhere(Some(by.into()))]);
    }
    estate.store.put(DATASET, "without", vec![Reading::Elsewhere(None)]);
    estate.store.put("dates", "T-1", vec![on(ago(estate.today(), 400))]);
    estate.store.put("dates", "T-2", vec![Reading::NotYet]);
    estate.store.put("dates", "T-4", vec![on(ago(estate.today(), 4))]);
    estate
}

#[tokio::test]
async fn only_a_date_that_was_found_and_is_old_enough_lets_a_record_go() {
    let mut estate = estate();
    let ran = estate.run().await;
    assert_eq!(estate.keys(), ["recent", "running", "unknown", "without"]);
    assert_eq!(ran.tally.undetermined, 2);
    estate.verify();
}

#[tokio::test]
async fn a_look_up_that_fails_keeps_every_record() {
    let mut estate = estate();
    estate.store.troubles(vec![Trouble::LookupFails]);
    let ran = estate.run().await;
    assert_eq!(estate.keys().len(), 5);
    assert_eq!(ran.tally.undetermined, 5);
    estate.verify();
}

#[tokio::test]
async fn a_tenant_who_returns_after_the_plan_was_made_keeps_the_file() {
    let mut estate = estate();
    estate.set_options("");
    for key in ["ended-2", "ended-3"] {
        estate.store.put(DATASET, key, vec![Reading::Elsewhere(Some("T-1".into()))]);
    }
    let End::Refused { plan, .. } = estate.run().await.end else { panic!("3 of 7 is more than 20%") };
    estate.store.put("dates", "T-1", vec![Reading::NotYet]);
    let ran = estate.allow(&plan).await.unwrap();
    assert_eq!((ran.counts()["kept"], ran.counts()["destroyed"]), (3, 0));
    assert_eq!(estate.keys().len(), 7);
    estate.verify();
}
