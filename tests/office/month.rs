//! A month in the life of an office: everything that people and records do to each other, on one estate and in one log.
//!
//! It is March. Reviews are under way when a tenant asks for what is held about her, another one comes back, the police want a clip, a training course
//! ends, a box is shredded, a tenant asks to be forgotten, and somebody deletes what was to be kept. Each day is told as it goes by: what people do, what the next run does, and what
//! an officer who asks is told. At the end the log has exactly what went, it verifies, and every decision in it follows.

mod house;

use serde_json::Value;

use crate::table::evidence;
use house::{House, set};

#[tokio::test]
async fn a_month_in_the_life_of_an_office() {
    let Some(mut house) = House::new().await else { return };
    let house = &mut house;

    house.becomes("03-01");
    two_holds_that_must_not_last_for_ever(house);
    the_first_run_takes_what_is_plainly_due(house).await;

    house.becomes("03-02");
    one_of_two_people_approves_two_batches(house);

    house.becomes("03-03");
    an_access_request_arrives(house);
    the_second_person_approves(house);

    house.becomes("03-05");
    the_police_want_a_clip(house);
    a_tenant_returns(house).await;
    one_approval_is_taken_back(house).await;

    house.becomes("03-07");
    what_was_approved_goes_but_for_what_became_of_it_since(house).await;

    house.becomes("03-08");
    a_box_is_shredded(house);

    house.becomes("03-10");
    the_training_course_has_its_last_day(house);
    house.becomes("03-11");
    the_training_hold_is_over_by_itself(house);

    house.becomes("03-12");
    the_access_request_is_answered(house).await;

    house.becomes("03-14");
    somebody_deletes_what_was_to_be_kept(house).await;

    house.becomes("03-18");
    a_tenant_asks_to_be_forgotten(house).await;

    house.becomes("03-22");
    a_restriction_is_to_be_looked_at(house);
    the_last_applicant_loses_a_name(house).await;

    house.becomes("03-24");
    the_police_are_done(house);

    house.becomes("03-31");
    nothing_else_has_changed(house).await;
    the_month_is_reported(house);
    evidence(&house.program);
}

/// What is kept for training must end, and what is restricted must be looked at: without those days no such hold is placed.
fn two_holds_that_must_not_last_for_ever(house: &House) {
    let lesson = format!("calls/recordings:T-40/{}/call.wav", house.date(1, "11-25"));
    let training = ["hold", "place", "--kind", "training", "--record", &lesson, "--matter", "COURSE", "--reason", "how to calm a caller"];
    assert!(house.says(2, &training).contains("needs a last day"));
    let said = house.says(0, &[&training[..], &["--until", &house.date(0, "03-10")]].concat());
    assert!(
        said.contains(&format!("is in force: training hold on record {lesson}, until the end of {}", house.date(0, "03-10"))),
        "{said}"
    );
    let restriction = ["hold", "place", "--kind", "restriction", "--subject", "T-9", "--matter", "R-9", "--reason", "accuracy is disputed"];
    assert!(house.says(2, &restriction).contains("needs a day of review"));
    house.says(0, &[&restriction[..], &["--review", &house.date(0, "03-20")]].concat());
}

async fn the_first_run_takes_what_is_plainly_due(house: &House) {
    let said = house.run();
    assert!(said.contains("6 records in 2 batches wait for review"), "{said}");
    assert!(said.contains("1 new tasks for people"), "{said}");
    assert_eq!(house.clips(), set(&["cam-1/02-10/door", "cam-1/02-10/fight", "cam-2/02-10/yard", "cam-1/02-20/lift"]));
    assert_eq!(house.callers(), set(&["T-40", "T-2", "T-7", "T-8"]), "T-40 is held for the course, T-50 is not");
    assert_eq!(house.tenants().await, "T-1 T-2 T-3 T-4 T-5 T-6 T-7 T-8", "people decide about tenancies");
    assert_eq!(house.repairs().await, "T-2 T-4 T-8 T-9");
    assert_eq!((house.names().await, house.applicants().await), (vec!["Ann 15".to_owned()], 15), "the others are anonymised");

    let said = house.explains(&format!("calls/recordings:T-40/{}/call.wav", house.date(1, "11-25")));
    assert!(said.contains("is held") && said.contains("(training)"), "{said}");
    let said = house.explains("hr/applicants:3");
    assert!(said.contains("is there, anonymised") && said.contains("anonymised under recruitment: outcome on"), "{said}");
    let statistics = house.says(0, &["report", "statistics"]);
    assert!(statistics.contains("\"ward=North\",\"12\"") && statistics.contains("\"ward=South\",\"fewer than 10\""), "{statistics}");
    let tasks = house.says(0, &["attest", "list"]);
    assert!(tasks.contains("cabinets/boxes:B-1") && !tasks.contains("B-2"), "B-2 is T-9's, who has a restriction: {tasks}");
}

fn one_of_two_people_approves_two_batches(house: &mut House) {
    let (january, february) = (house.batch("01"), house.batch("02"));
    let shown = house.says(0, &["review", "show", &february]);
    for id in 1..=4 {
        assert!(shown.contains(&format!("lettings/tenancies:{id}\t")), "{shown}");
    }
    assert!(shown.contains(&format!("kept until the end of {}", house.date(0, "02-11"))), "{shown}");
    house.person("alice");
    for batch in [&january, &february] {
        let said = house.says(0, &["review", "approve", batch, "--name", "Alice Ames"]);
        assert!(said.contains("it waits for the approval of 1 more person"), "{said}");
    }
    let said = house.says(3, &["review", "approve", &february, "--name", "A. Nother"]);
    assert!(said.contains("must be another person's"), "{said}");
    let said = house.run();
    assert!(said.contains("6 records in 2 batches wait for review"), "one of two is not enough: {said}");
}

/// T-2's tenancy is one of four in a batch that is half approved.
fn an_access_request_arrives(house: &mut House) {
    let place = ["hold", "place", "--kind", "access-request", "--subject", "T-2", "--matter", "SAR-1", "--reason", "asked on 3 March"];
    let said = house.says(0, &place);
    assert!(said.contains("access-request hold on subject T-2, until it is released"), "{said}");
    assert!(said.contains("it does NOT reach cctv/footage, hr/applicants, whose records name no subject"), "{said}");
    let said = house.says(0, &["hold", "show", &house.hold("SAR-1")]);
    assert!(said.contains("lettings/tenancies: 1 record, 1 of them due but for this"), "{said}");
    assert!(said.contains("calls/recordings: 1 record, 0 of them due") && said.contains("it protects 3 records now"), "{said}");
    let said = house.says(0, &["subject", "report", "T-2"]);
    for address in ["lettings/tenancies:2", "works/repairs:2", "calls/recordings:T-2/"] {
        assert!(said.contains(address), "{said}");
    }
    assert!(said.contains("3 records in 4 datasets") && said.contains("NOT searched"), "{said}");
}

fn the_second_person_approves(house: &mut House) {
    house.person("bob");
    for batch in [house.batch("01"), house.batch("02")] {
        let said = house.says(0, &["review", "approve", &batch, "--name", "Bob Brown"]);
        assert!(said.contains(&format!("nothing goes before {}", house.date(0, "03-07"))), "{said}");
    }
    let said = house.says(0, &["review", "list"]);
    assert!(said.contains("approved by Alice Ames, alice (uid 0)") && said.contains("approved by Bob Brown, bob (uid 0)"), "{said}");
}

fn the_police_want_a_clip(house: &House) {
    let clip = format!("cctv/footage:cam-1/{}/fight.mp4", house.date(0, "02-10"));
    let said = house.says(0, &["hold", "place", "--kind", "police", "--record", &clip, "--matter", "CR-77", "--reason", "crime number 77"]);
    assert!(said.contains("police hold on record cctv/footage:cam-1/"), "{said}");
    let said = house.explains(&clip);
    assert!(said.contains("is held: nothing happens to it until the hold is released") && said.contains("(police)"), "{said}");
}

/// Her tenancy goes on: the end that had started its period is taken out.
async fn a_tenant_returns(house: &House) {
    house.lettings_desk("UPDATE tenancies SET ended_on = NULL WHERE id = 3").await;
    let said = house.explains("lettings/tenancies:3");
    assert!(said.contains("is kept: the event that starts its period has not happened"), "{said}");
}

async fn one_approval_is_taken_back(house: &mut House) {
    house.person("bob");
    let said = house.says(0, &["review", "withdraw", &house.batch("01"), "--name", "Bob Brown", "--reason", "a claim may come"]);
    assert!(said.contains("withdrawn: 2 records") && said.contains("waits for the approval of 2 people"), "{said}");
    let said = house.run();
    assert!(said.contains("2 records in 1 batch wait for review"), "{said}");
    assert_eq!(house.tenants().await, "T-1 T-2 T-3 T-4 T-5 T-6 T-7 T-8", "the other batch cools off");
}

async fn what_was_approved_goes_but_for_what_became_of_it_since(house: &House) {
    let said = house.run();
    assert_eq!(house.tenants().await, "T-2 T-3 T-5 T-6 T-7 T-8", "{said}");
    assert!(said.contains("1 record that people approved stayed: held"), "{said}");
    assert!(said.contains("1 record that people approved stayed: changed since it was shown"), "{said}");
    let said = house.explains("lettings/tenancies:1");
    assert!(said.contains("is gone") && said.contains("destroyed (") && said.contains("under tenancy.file"), "{said}");
    let said = house.explains("lettings/tenancies:2");
    assert!(said.contains("is held") && said.contains("(access-request)"), "{said}");
    assert_eq!(house.clips(), set(&["cam-1/02-10/fight", "cam-1/02-20/lift"]), "the others of that day went");
    assert!(house.callers().contains("T-2") && house.repairs().await.contains("T-2"), "they became due after she had asked");
    let status = house.program.run(&["status"]).text;
    assert!(status.contains("4 holds in force"), "{status}");
    assert!(status.contains("review batches that wait for people: 1, with 2 records"), "{status}");
}

fn a_box_is_shredded(house: &mut House) {
    house.person("carol");
    let scan = house.program.write("scan.pdf", "certificate C-4711");
    let (scan, yesterday) = (scan.to_str().unwrap().to_owned(), house.date(0, "03-07"));
    let confirm = |code, number| {
        let how = ["--method", "shredded, P-4", "--number", "C-4711", "--certificate", &scan, "--keep"];
        house.says(code, &[&["attest", "confirm", number, "--on", &yesterday], &how[..]].concat())
    };
    let text = confirm(0, "cabinets/boxes:B-1");
    assert!(text.contains("is confirmed: its destruction is in the audit log"), "{text}");
    assert!(confirm(3, "cabinets/boxes:B-1").contains("confirmed already"));
    let text = confirm(3, "cabinets/boxes:B-2");
    assert!(text.contains("(restriction); it must not be destroyed before the hold is released"), "{text}");
    let text = house.explains("cabinets/boxes:B-1");
    assert!(text.contains("is destroyed: a person has said so"), "{text}");
    assert!(text.contains("carol (uid 0) says that it was destroyed on") && text.contains("certificate C-4711"), "{text}");
    assert!(!house.says(0, &["attest", "list"]).contains("B-1"), "nobody is asked again");
    let kept: Vec<_> = std::fs::read_dir(house.program.path("state/certificates")).unwrap().collect();
    assert_eq!(kept.len(), 1, "the scan is kept by its hash");
}

fn the_training_course_has_its_last_day(house: &House) {
    house.run();
    assert!(house.callers().contains("T-40"), "the last day counts whole");
}

fn the_training_hold_is_over_by_itself(house: &House) {
    let said = house.run();
    assert_eq!(house.callers(), set(&["T-2", "T-7", "T-8"]), "nobody had to release it: {said}");
    let lesson = format!("calls/recordings:T-40/{}/call.wav", house.date(1, "11-25"));
    let said = house.explains(&lesson);
    assert!(said.contains("is gone") && said.contains("under calls.recording"), "{said}");
}

async fn the_access_request_is_answered(house: &House) {
    let said = house.says(0, &["hold", "release", "--matter", "SAR-1", "--reason", "answered on 12 March"]);
    assert!(said.contains("is released: subject T-2; what is due of it goes at the next run"), "{said}");
    house.run();
    assert_eq!(house.tenants().await, "T-3 T-5 T-6 T-7 T-8", "it was approved, and the approval lasts");
    assert_eq!(house.repairs().await, "T-4 T-8 T-9", "T-9's became due yesterday, and is restricted");
    assert_eq!(house.callers(), set(&["T-7", "T-8"]));
    let outcomes = house.program.entries("destroyed");
    let tenancy = outcomes.iter().rfind(|entry| entry["dataset"] == "tenancies").unwrap();
    assert_eq!(tenancy["approval"].as_array().unwrap().len(), 2, "{tenancy}");
    assert!(house.says(0, &["subject", "report", "T-2"]).contains("0 records in 4 datasets"));
}

async fn somebody_deletes_what_was_to_be_kept(house: &House) {
    house.works_desk("DELETE FROM repairs WHERE id = 4").await;
    let said = house.says(1, &["run", "works/repairs"]);
    assert!(said.contains("1 records are LOST") && said.contains("not through this program"), "{said}");
    assert!(house.explains("works/repairs:4").contains("LOST: it was missed, and nothing says that it might go"));
    let status = house.program.run(&["status"]).text;
    assert!(status.contains("1 LOST before their time"), "{status}");
    assert!(!house.says(0, &["run", "works/repairs"]).contains("LOST"), "it is told once");
}

/// Of T-8 there are a tenancy that ended two years ago, a call, and a repair that is not closed. None of them is due.
async fn a_tenant_asks_to_be_forgotten(house: &mut House) {
    house.person("dave");
    let said = house.says(0, &["subject", "erase", "T-8"]);
    assert!(said.contains("Limitation Act 1980, s.5; its period ends with "), "{said}");
    assert!(said.contains("its period has not begun, so what it is about goes on"), "{said}");
    assert!(said.contains("its class says `on-erasure: destroy`"), "{said}");
    assert!(house.callers().contains("T-8"), "it was only asked: {said}");
    let id = said.split("--confirm ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let confirm = ["subject", "erase", "T-8", "--confirm", &id, "--person", "Dave Dunn", "--matter", "ER-8"];
    house.says(0, &confirm);
    assert_eq!(house.callers(), set(&["T-7"]));
    assert!(house.tenants().await.contains("T-8") && house.repairs().await.contains("T-8"), "what the law or an open repair needs stays");
    let said = house.explains(&format!("calls/recordings:T-8/{}/call.wav", house.date(1, "12-31")));
    assert!(said.contains("is gone") && said.contains("ER-8") && said.contains("Dave Dunn"), "{said}");
    let said = house.explains("lettings/tenancies:8");
    assert!(said.contains("Limitation Act 1980, s.5") && said.contains("ER-8"), "{said}");
    let decisions = house.program.entries("erasure-decided");
    assert_eq!(decisions.len(), 3, "refusals are in the log as well: {decisions:?}");
}

fn a_restriction_is_to_be_looked_at(house: &House) {
    let hold = house.hold("R-9");
    assert!(house.program.run(&["status"]).text.contains(&format!("OVERDUE for review: {hold}")));
    let said = house.program.run(&["hold", "show", &hold]).text;
    assert!(said.contains(": OVERDUE") && said.contains("right to restriction"), "{said}");
    assert!(said.contains("works/repairs: 1 record, 1 of them due but for this"), "{said}");
    let said = house.says(0, &["hold", "extend", &hold, "--review", &house.date(0, "09-20"), "--reason", "still disputed"]);
    assert!(said.contains(&format!("to be reviewed by {}", house.date(0, "09-20"))), "{said}");
    assert!(!house.program.run(&["status"]).text.contains("OVERDUE for review"));
}

async fn the_last_applicant_loses_a_name(house: &House) {
    let said = house.run();
    assert!(said.contains("1 anonymised"), "{said}");
    assert_eq!((house.names().await, house.applicants().await), (vec![], 15));
    assert_eq!(house.clips(), set(&["cam-1/02-10/fight"]), "its 23 days were over as well");
    let said = house.says(0, &["report", "statistics", "--json"]);
    let cells: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(cells["cells"].as_array().unwrap().len(), 3, "two wards in August, one in September: {cells}");
}

fn the_police_are_done(house: &House) {
    house.says(0, &["hold", "release", "--matter", "CR-77", "--reason", "the clip was handed over"]);
    house.run();
    assert_eq!(house.clips(), set(&[]));
}

async fn nothing_else_has_changed(house: &House) {
    let said = house.run();
    assert!(!said.contains("destroyed,") && !said.contains(" 1 anonymised"), "{said}");
    assert_eq!(house.tenants().await, "T-3 T-5 T-6 T-7 T-8");
    assert_eq!(house.repairs().await, "T-8 T-9");
    assert_eq!(house.callers(), set(&["T-7"]), "three months from 31 December are over when 31 March is");
    let said = house.says(0, &["review", "list"]);
    assert!(said.contains("1 batch; records that wait for people: 2") && said.contains("taken back by Bob Brown, bob (uid 0)"), "{said}");
    assert!(house.explains("works/repairs:9").contains("(restriction)"));
    assert!(house.explains("lettings/tenancies:5").contains("the event that starts its period has not happened"));
}

/// The log of the month has exactly what went, and so has the certificate; no name is in either.
fn the_month_is_reported(house: &House) {
    let (from, to) = (house.date(0, "03-01"), house.date(0, "03-31"));
    let month = ["--from", &from, "--to", &to, "--json"];
    let log: Value = serde_json::from_str(house.says(0, &[&["report", "log"], &month[..]].concat()).trim()).unwrap();
    let mut went: Vec<String> = Vec::new();
    for row in log["outcomes"].as_array().unwrap() {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let record = text("record").strip_prefix("plain:").unwrap_or("-");
        went.push(format!("{} {} {record}", text("outcome"), text("dataset")));
    }
    went.sort();
    let (day, course, call) = (house.date(0, "02-10"), house.date(1, "11-25"), house.date(1, "12-04"));
    let mut expected = vec![
        "attested boxes B-1".to_owned(),
        format!("destroyed footage cam-1/{}/lift.mp4", house.date(0, "02-05")),
        format!("destroyed footage cam-1/{}/lift.mp4", house.date(0, "02-20")),
        format!("destroyed footage cam-1/{day}/door.mp4"),
        format!("destroyed footage cam-1/{day}/fight.mp4"),
        format!("destroyed footage cam-2/{day}/yard.mp4"),
        format!("destroyed recordings T-2/{call}/call.wav"),
        format!("destroyed recordings T-40/{course}/call.wav"),
        format!("destroyed recordings T-50/{course}/call.wav"),
        format!("destroyed recordings T-8/{}/call.wav", house.date(1, "12-31")),
    ];
    expected.extend(vec!["anonymised applicants -".to_owned(); 15]);
    expected.extend(vec!["destroyed repairs -".to_owned(); 2]);
    expected.extend(vec!["destroyed tenancies -".to_owned(); 3]);
    expected.sort();
    assert_eq!(went, expected);

    let text = house.says(0, &[&["report", "certificate"], &month[..]].concat());
    let certificate: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&certificate["destroyed"], &certificate["anonymised"]), (&Value::from(15), &Value::from(15)));
    assert!(text.contains("Alice Ames, alice (uid 0)") && text.contains("Bob Brown, bob (uid 0)"), "{text}");
    let table = house.says(0, &["report", "log", "--from", &from, "--to", &to]);
    assert!(table.contains("carol (uid 0) says so; destroyed on") && table.contains("certificate C-4711"), "{table}");
    assert!(!table.contains("Ann 3") && !text.contains("Ann 3"));
    assert_eq!(house.program.entries("lost").len(), 1);
}
