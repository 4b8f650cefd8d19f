//! What happens between a decision and the removal: whatever changed meanwhile is kept, and nobody else's leave counts.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::{Connection as _, Row as _};

use super::*;
use crate::config::Config;
use crate::dispose::Spent;
use crate::session::{HoldOrder, Which, edit_id};

const SCHEDULE: &str = "schedule: test
time-zone: Europe/London
classes:
  consent: { keep: 90 years, after: made, then: destroy, on-erasure: destroy }
  claim: { keep: 90 years, after: made, then: destroy }
";

const CONFIG: &str = "node: hq-1
mode: enforce
schedules: schedule.yaml
state: state
limits: unlimited
clock: { synchronised: ignore }
stores:
  store:
    sqlite: records.db
    datasets:
      people: { class-by: { column: kind, map: { consent: consent, claim: claim } }, table: people, key: id, events: { made: made_on }, subject: who }
";

async fn sql(folder: &Path, text: &str) -> BTreeSet<i64> {
    let url = format!("sqlite://{}?mode=rwc", folder.join("records.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned())).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Six records of one person, and the session that decides about them.
async fn office() -> (tempfile::TempDir, Session) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("schedule.yaml"), SCHEDULE).unwrap();
    std::fs::write(folder.path().join("retentiond.yaml"), CONFIG).unwrap();
    sql(folder.path(), "CREATE TABLE people (id INTEGER PRIMARY KEY, who TEXT, made_on TEXT, kind TEXT)").await;
    let rows: Vec<String> = (1..=6).map(|id| format!("({id}, 'p-eleven', '2020-01-0{id}', 'consent')")).collect();
    sql(folder.path(), &format!("INSERT INTO people VALUES {}", rows.join(", "))).await;
    let config = Arc::new(Config::load(&folder.path().join("retentiond.yaml")).unwrap());
    let session = Session::open(config, false).await.unwrap();
    (folder, session)
}

async fn decided(session: &Session) -> (ErasureSeen, Arc<Erasure>) {
    let seen = session.see_erasure("p-eleven", None, &Progress::default()).await.unwrap();
    assert_eq!(seen.count(Decision::Destroy), seen.cases.len() as u64);
    let (person, matter) = ("Olive Oak".to_owned(), "SAR-9".to_owned());
    let word = Confirmation { id: seen.id.clone(), person, matter, reason: None, review: None, beyond_limits: false };
    match session.confirm_erasure("p-eleven", &seen, &word, "olive (uid 1)").await.unwrap() {
        Confirmed::Decided(erasure, 0) => (seen, erasure),
        _ => panic!("one person is enough, and nothing is restricted"),
    }
}

async fn carry_out(session: &Session, erasure: &Arc<Erasure>, cases: &[&Case]) -> Spent {
    let dataset = Arc::clone(session.config.datasets.first().unwrap());
    match session.carry_out_erasure(erasure, &dataset, cases, &Progress::default()).await.unwrap().end {
        End::Spent(spent) => spent,
        _ => panic!("the run was to spend its plan"),
    }
}

#[tokio::test]
async fn whatever_changed_since_it_was_decided_is_kept() {
    let (folder, session) = office().await;
    let (seen, erasure) = decided(&session).await;
    // Another person's now; of another class; of another day; held; touched, so that it is another row. One is as it was.
    sql(folder.path(), "UPDATE people SET who = 'p-twelve' WHERE id = 1").await;
    sql(folder.path(), "UPDATE people SET kind = 'claim' WHERE id = 2").await;
    sql(folder.path(), "UPDATE people SET made_on = '2021-01-01' WHERE id = 3").await;
    sql(folder.path(), "UPDATE people SET made_on = NULL WHERE id = 5").await;
    let wish = Wish::on_record(HoldKind::Litigation, "store/people:4".into(), "a claim".into());
    let wish = Wish { matter: Some("C7".into()), ..wish };
    session.carry_out(&HoldOrder::Place { holds: vec![wish] }, "somebody").await.unwrap();
    let cases: Vec<&Case> = seen.cases.iter().collect();
    let spent = carry_out(&session, &erasure, &cases).await;
    assert_eq!((spent.counts.destroyed, spent.counts.kept), (1, 5), "{:?}", spent.troubles);
    assert_eq!(sql(folder.path(), "SELECT id FROM people").await, BTreeSet::from([1, 2, 3, 4, 5]));
    // Released, it is not destroyed by the old decision either, unless somebody carries just that out again.
    let release = HoldOrder::Release { which: Which::Matter("C7".into()), reason: "settled".into() };
    session.carry_out(&release, "somebody").await.unwrap();
    let dataset = Arc::clone(session.config.datasets.first().unwrap());
    session.run(&dataset, &Progress::default()).await.unwrap();
    assert_eq!(sql(folder.path(), "SELECT id FROM people").await.len(), 5);
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_pause_that_comes_after_the_decision_is_obeyed_by_the_first_run_of_the_process() {
    let (folder, session) = office().await;
    let (seen, erasure) = decided(&session).await;
    session.pause(Some("store"), "repair", "somebody").await.unwrap();
    let cases: Vec<&Case> = seen.cases.iter().collect();
    let spent = carry_out(&session, &erasure, &cases).await;
    assert_eq!((spent.counts.destroyed, spent.stopped), (0, Some(crate::dispose::Stop::Paused)));
    assert_eq!(sql(folder.path(), "SELECT id FROM people").await.len(), 6);
    session.resume(Some("store"), "somebody").await.unwrap();
    assert_eq!(carry_out(&session, &erasure, &cases).await.counts.destroyed, 6, "a pause that was lifted holds nothing back");
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_plan_that_names_a_decision_destroys_nothing_early_without_the_leave_for_just_that_record() {
    let (folder, session) = office().await;
    let (seen, erasure) = decided(&session).await;
    let dataset = Arc::clone(session.config.datasets.first().unwrap());
    // A run that carries nothing out, with the items of one that does.
    let spend = async |erasure: Option<Arc<Erasure>>, cases: &[Case]| {
        let mut run = session.new_run(&dataset, &Progress::default()).unwrap();
        Arc::get_mut(&mut run).unwrap().erasure = erasure;
        session.started(&run, None, None).await.unwrap();
        let mut writer = Writer::create(&session.plans()).unwrap();
        for case in cases {
            let deciding = case.deciding.clone().unwrap();
            let item = Item { record: case.record.clone(), then: Disposition::Destroy, deciding, approval: None, erasure: Some(1) };
            writer.add_item(&item).unwrap();
        }
        let plan = writer.finish(&source(&dataset).await, Tally::default()).unwrap();
        crate::dispose::spend(&run, &plan).await.unwrap().counts
    };
    let counts = spend(None, &seen.cases).await;
    assert_eq!((counts.destroyed, counts.kept), (0, 6));
    // Leave for a record as it was is none for what it is now.
    sql(folder.path(), "UPDATE people SET made_on = '2021-01-01'").await;
    let now = session.see_erasure("p-eleven", None, &Progress::default()).await.unwrap();
    let counts = spend(Some(erasure), &now.cases).await;
    assert_eq!((counts.destroyed, counts.kept), (0, 6));
    assert_eq!(sql(folder.path(), "SELECT id FROM people").await.len(), 6);
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_decision_is_of_no_use_once_the_classes_no_longer_say_so() {
    let (folder, session) = office().await;
    let (seen, erasure) = decided(&session).await;
    let file = folder.path().join("schedule.yaml");
    std::fs::write(&file, SCHEDULE.replace(", on-erasure: destroy", "")).unwrap();
    let config = Arc::new(Config::load(&folder.path().join("retentiond.yaml")).unwrap());
    session.renewed(Arc::clone(&config), false).await.unwrap().write_down().await.unwrap();
    let edited = session.renewed(config, false).await.unwrap();
    let cases: Vec<&Case> = seen.cases.iter().collect();
    let spent = carry_out(&edited, &erasure, &cases).await;
    assert_eq!((spent.counts.destroyed, spent.counts.kept), (0, 6), "{:?}", spent.troubles);
    session.close().await.unwrap();
}

#[tokio::test]
async fn an_edit_to_and_fro_while_it_was_looked_at_is_noticed() {
    let (folder, session) = office().await;
    let seen = session.see_erasure("p-eleven", None, &Progress::default()).await.unwrap();
    let load = async |text: &str| {
        std::fs::write(folder.path().join("schedule.yaml"), text).unwrap();
        let config = Arc::new(Config::load(&folder.path().join("retentiond.yaml")).unwrap());
        session.renewed(config, false).await.unwrap().write_down().await.unwrap();
    };
    load(&SCHEDULE.replace(", on-erasure: destroy", "")).await;
    load(SCHEDULE).await;
    let (person, matter) = ("Olive Oak".to_owned(), "SAR-9".to_owned());
    let word = Confirmation { id: seen.id.clone(), person, matter, reason: None, review: None, beyond_limits: false };
    let refused = session.confirm_erasure("p-eleven", &seen, &word, "olive (uid 1)").await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("were loaded anew"), "{refused}");
    // Looked at again, what was in force in between refuses.
    let again = session.renewed(Arc::clone(&session.config), false).await.unwrap();
    let seen = again.see_erasure("p-eleven", None, &Progress::default()).await.unwrap();
    assert_eq!(seen.count(Decision::Refuse), 6);
    session.close().await.unwrap();
}

#[tokio::test]
async fn what_people_keep_after_a_review_is_refused() {
    let (folder, session) = office().await;
    let text =
        SCHEDULE.replace("keep: 90 years, after: made, then: destroy, on-erasure", "keep: 1 year, after: made, then: review, on-erasure");
    std::fs::write(folder.path().join("schedule.yaml"), text).unwrap();
    session.close().await.unwrap();
    let config = Arc::new(Config::load(&folder.path().join("retentiond.yaml")).unwrap());
    // The edit is confirmed, or everything would wait for it.
    let session = Session::open(Arc::clone(&config), false).await.unwrap();
    session.confirm(&edit_id(&config), "somebody").await.unwrap();
    session.close().await.unwrap();
    let session = Session::open(config, false).await.unwrap();
    let dataset = Arc::clone(session.config.datasets.first().unwrap());
    session.run(&dataset, &Progress::default()).await.unwrap();
    let seen = session.see_erasure("p-eleven", None, &Progress::default()).await.unwrap();
    assert_eq!(seen.count(Decision::Destroy), 6, "{:?}", seen.cases.iter().map(|case| &case.decided).collect::<Vec<_>>());
    for batch in session.reviews().list(None).await.unwrap() {
        let (batch, reason, until) = (batch.batch, Some("an inquiry".to_owned()), Some(jiff::civil::date(2199, 1, 1)));
        let order = crate::review::Order { what: What::Extend, batch, name: None, reason, until, except: Vec::new() };
        session.decide_review(&order, "somebody").await.unwrap();
    }
    let seen = session.see_erasure("p-eleven", None, &Progress::default()).await.unwrap();
    assert_eq!(seen.count(Decision::Refuse), 6);
    assert!(seen.cases.iter().all(|case| case.decided.why.contains("people keep it through 2199-01-01")));
    session.close().await.unwrap();
}
