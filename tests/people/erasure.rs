//! Requests for erasure: each record gets its answer, exactly what was shown is carried out, and whatever is in doubt or forbidden stays.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::asked::{Asked, Row, ago};
use crate::evidence::{outsider, write_log};
use crate::office::{Place, ask, text};

fn decision<'s>(shown: &'s [Value], address: &str) -> (&'s str, &'s str) {
    let row = shown.iter().find(|row| row["address"] == address).unwrap_or_else(|| panic!("{address}: {shown:?}"));
    (row["decision"].as_str().unwrap(), row["ground"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_gets_its_answer_and_exactly_what_was_shown_is_carried_out() {
    let (young, other, old, older) = (ago(100), ago(101), ago(500), ago(501));
    let mine: [Row<'_>; 7] = [
        (1, "consent", "p-eleven", &young),
        (2, "claim", "p-eleven", &young),
        (3, "complaint", "p-eleven", &young),
        (4, "short", "p-eleven", &old),
        (5, "consent", "p-eleven", "2999-01-01"),
        (6, "consent", "p-eleven", &other),
        (7, "looked-at", "p-eleven", &older),
    ];
    let theirs: [Row<'_>; 3] = [(8, "consent", "p-twelve", &young), (9, "short", "p-twelve", &old), (10, "consent", "p", &young)];
    for (nth, one) in Asked::all().await.into_iter().enumerate() {
        one.put(&mine).await;
        one.put(&theirs).await;
        let kind = one.office.kind();
        // Through the service as well as alone.
        let service = (nth % 2 == 1).then(|| one.office.start());
        one.office.must(0, &["hold", "place", "--kind", "police", "--record", &one.address(mine[5]), "--reason", "crime 1"]);
        let (shown, summary) = one.shown("p-eleven", 1);
        let expected = [
            ("destroy", "class"),
            ("refuse", "class"),
            ("restrict", "class"),
            ("destroy", "due"),
            ("refuse", "doubt"),
            ("refuse", "hold"),
            ("wait", "review"),
        ];
        assert_eq!(shown.len(), mine.len(), "{kind}: of others nothing");
        for (row, expected) in mine.iter().zip(expected) {
            assert_eq!(decision(&shown, &one.address(*row)), expected, "{kind}: {row:?}");
        }
        assert_eq!(summary["decisions"], json!({"destroy": 2, "anonymise": 0, "wait": 1, "refuse": 3, "restrict": 1}), "{kind}");
        let said = one.office.must(1, &["subject", "erase", "p-eleven"]);
        let id = one.id("p-eleven");
        assert!(said.contains(&format!("--confirm {id} --person NAME --matter REFERENCE")), "{said}");
        assert!(said.contains("Limitation Act 1980, s.5; its period ends with "), "{said}");
        assert!(said.contains("7 records in 1 dataset: 2 to be destroyed"), "{said}");
        // Nothing has happened.
        assert_eq!(one.there(&mine).await.len(), 7, "{kind}");
        assert!(one.entries("erasure-decided").is_empty() && one.office.holds().len() == 1, "{kind}");

        let said = one.confirm("p-eleven", "0123456789abcdef", 3);
        assert!(said.contains(&format!("confirm {id} if it is meant; nothing was done")), "{kind}: {said}");
        one.confirm("p-eleven", "01234567", 2);
        let named = ["subject", "erase", "p-eleven", "--confirm", &id, "--person", "O", "--matter", "about p-Eleven"];
        assert!(one.office.must(2, &named).contains("names the subject or record"), "{kind}");
        assert!(one.entries("erasure-decided").is_empty() && one.there(&mine).await.len() == 7, "{kind}");

        let said = one.confirm("p-eleven", &id, 1);
        assert!(said.contains("decided, and in the log: 2 decided to be destroyed, 1 due"), "{kind}: {said}");
        assert_eq!(one.there(&mine).await.into_iter().collect::<Vec<_>>(), [2, 3, 5, 6, 7], "{kind}");
        assert_eq!(one.there(&theirs).await.len(), 3, "{kind}: others' records stay");
        let decided = one.entries("erasure-decided");
        assert_eq!(decided.len(), 7, "{kind}: refusals are logged too");
        for entry in one.entries("destroyed") {
            let by = decided.iter().find(|decided| decided["n"] == entry["erasure"]).unwrap();
            assert!(by["record"] == entry["record"] && by["decision"] == "destroy", "{kind}: {entry}");
            assert!(by["person"].is_string() && by["name"] == "Olive Oak" && by["matter"] == "SAR-9", "{kind}: {by}");
        }
        let log = one.office.must(0, &["audit", "list"]);
        assert!(!log.contains("p-eleven") && !log.contains(&young.replace('-', "/")), "{kind}: {log}");
        let holds = one.office.json(&["hold", "list"]);
        let restriction = holds["holds"].as_array().unwrap().iter().find(|hold| hold["hold_kind"] == "restriction").unwrap();
        assert!(restriction["matter"] == "SAR-9" && restriction["review"].is_string(), "{kind}: {restriction}");

        let said = one.office.must(0, &["explain", &one.address(mine[0])]);
        assert!(said.contains("is gone.") && said.contains("Olive Oak") && said.contains("on a request for erasure (entry "), "{said}");
        let said = one.office.must(0, &["explain", &one.address(mine[1])]);
        assert!(said.contains("on a request for erasure it would be refused: claim: Limitation Act 1980, s.5"), "{said}");
        assert!(said.contains("matter SAR-9, Olive Oak, ") && said.contains("decided: refuse"), "{said}");
        let said = one.office.must(0, &["explain", &one.address(theirs[0])]);
        assert!(said.contains("on a request for erasure it would be destroyed: consent"), "{said}");
        // Asked again, the rest is as it was, and what is restricted is held.
        let (shown, _) = one.shown("p-eleven", 1);
        assert_eq!(decision(&shown, &one.address(mine[2])), ("refuse", "hold"), "{kind}");
        drop(service);
        let csv = one.office.must(0, &["report", "log"]);
        assert!(csv.lines().next().unwrap().contains("\"erasure\""), "{csv}");
        let page = one.office.must(0, &["report", "certificate", "--from", "2020-01-01", "--to", "2199-01-01"]);
        assert!(page.contains("decided on the request for erasure"), "{page}");
        one.in_order();
        // The register is made anew from the log.
        one.office.must(0, &["register", "rebuild"]);
        one.in_order();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_since_it_was_shown_is_shown_anew_and_not_touched() {
    let (young, later) = (ago(100), ago(90));
    let rows: [Row<'_>; 2] = [(1, "consent", "p-eleven", &young), (2, "consent", "p-eleven", &later)];
    for one in Asked::all().await {
        one.put(&rows[..1]).await;
        let id = one.id("p-eleven");
        // Another record; then the same records in another state; then other words of the schedule.
        one.put(&rows[1..]).await;
        one.confirm("p-eleven", &id, 3);
        let id = one.id("p-eleven");
        match one.office.place {
            Place::Files => std::fs::write(one.file(rows[0]), "more").unwrap(),
            _ => drop(one.office.sql("UPDATE people SET note = 'more' WHERE id = 1").await),
        }
        one.confirm("p-eleven", &id, 3);
        let id = one.id("p-eleven");
        one.edit("schedule.yaml", "classes:", "classes: # edited");
        one.confirm("p-eleven", &id, 3);
        assert_eq!(one.there(&rows).await.len(), 2, "{}", one.office.kind());
        assert!(one.entries("erasure-decided").is_empty());
        let id = one.id("p-eleven");
        one.confirm("p-eleven", &id, 0);
        assert!(one.there(&rows).await.is_empty(), "{}", one.office.kind());
        one.in_order();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_access_request_refuses_everything_until_it_is_answered() {
    let (young, old) = (ago(100), ago(500));
    let rows: [Row<'_>; 2] = [(1, "consent", "p-eleven", &young), (2, "short", "p-eleven", &old)];
    for one in Asked::all().await {
        one.put(&rows).await;
        let before = one.id("p-eleven");
        one.office.must(0, &["hold", "place", "--kind", "access-request", "--subject", "p-eleven", "--reason", "SAR 8", "--matter", "S8"]);
        one.confirm("p-eleven", &before, 3);
        let (shown, summary) = one.shown("p-eleven", 0);
        assert!(shown.iter().all(|row| row["decision"] == "refuse" && row["why"].as_str().unwrap().contains("(access-request)")));
        assert_eq!(summary["decisions"]["refuse"], 2);
        one.confirm("p-eleven", &one.id("p-eleven"), 0);
        assert_eq!(one.there(&rows).await.len(), 2, "{}", one.office.kind());
        assert_eq!(one.entries("erasure-decided").len(), 2, "both refusals are logged");
        one.office.must(0, &["hold", "release", "--matter", "S8", "--reason", "answered"]);
        one.confirm("p-eleven", &one.id("p-eleven"), 0);
        assert!(one.there(&rows).await.is_empty(), "{}", one.office.kind());
        one.in_order();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_newly_says_destroy_waits_as_a_shorter_period_does() {
    let young = ago(100);
    let rows: [Row<'_>; 1] = [(1, "claim", "p-eleven", &young)];
    for one in [Asked::new(Place::Files).await, Asked::new(Place::Sqlite).await] {
        one.put(&rows).await;
        one.office.must(0, &["run"]);
        one.edit("schedule.yaml", "on-erasure: { refuse: \"Limitation Act 1980, s.5\" }", "on-erasure: destroy");
        let (shown, _) = one.shown("p-eleven", 0);
        assert_eq!(decision(&shown, &one.address(rows[0])), ("refuse", "class"));
        assert!(shown[0]["why"].as_str().unwrap().contains("as it was before an edit that counts from"), "{shown:?}");
        one.confirm("p-eleven", &one.id("p-eleven"), 0);
        assert_eq!(one.there(&rows).await.len(), 1);
        // A person confirms the edit, and it counts.
        let said = one.office.must(2, &["schedule", "confirm", "0000000000000000"]);
        let edit = said.split("what is in force now is ").nth(1).unwrap()[..16].to_owned();
        one.office.must(0, &["schedule", "confirm", &edit]);
        one.confirm("p-eleven", &one.id("p-eleven"), 0);
        assert!(one.there(&rows).await.is_empty());
        one.in_order();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_by_which_a_period_begins_earlier_lets_nothing_go_before_it_is_old_enough() {
    // Until the edit the period begins with a day that has not come, and what it is about goes on; after it, with one that is past.
    let (young, rows) = (ago(100), [1, 2]);
    let one = Asked::new(Place::Sqlite).await;
    one.office.sql("ALTER TABLE people ADD COLUMN ended_on DATE").await;
    one.edit("retentiond.yaml", "made: made_on", "made: made_on, ended: ended_on");
    let file = one.office.path("schedule.yaml");
    let schedule = std::fs::read_to_string(&file).unwrap();
    let of_ended = schedule.replace(
        "keep: 6 years, after: made, then: destroy, on-erasure: destroy",
        "keep: 6 years, after: ended, then: destroy, on-erasure: destroy",
    );
    assert_ne!(schedule, of_ended);
    std::fs::write(&file, of_ended).unwrap();
    for id in rows {
        one.put(&[(id, "consent", "p-eleven", &young)]).await;
    }
    // Of the one nobody can tell when it ended.
    one.office.sql("UPDATE people SET ended_on = '2999-01-01' WHERE id = 2").await;
    one.office.must(1, &["run"]);
    let (shown, _) = one.shown("p-eleven", 1);
    assert_eq!(decision(&shown, "store/people:1"), ("refuse", "not-begun"));
    assert_eq!(decision(&shown, "store/people:2"), ("refuse", "doubt"));
    std::fs::write(&file, schedule).unwrap();
    let (shown, _) = one.shown("p-eleven", 1);
    assert_eq!(decision(&shown, "store/people:1"), ("refuse", "not-begun"), "{shown:?}");
    assert_eq!(decision(&shown, "store/people:2"), ("refuse", "doubt"), "{shown:?}");
    assert!(shown[0]["why"].as_str().unwrap().contains("before an edit that counts from"), "{shown:?}");
    one.confirm("p-eleven", &one.id("p-eleven"), 1);
    assert_eq!(one.office.sql("SELECT CAST(id AS TEXT) FROM people").await.len(), 2);
    // A person confirms the edit, and it counts.
    let said = one.office.must(2, &["schedule", "confirm", "0000000000000000"]);
    let edit = said.split("what is in force now is ").nth(1).unwrap()[..16].to_owned();
    one.office.must(0, &["schedule", "confirm", &edit]);
    one.confirm("p-eleven", &one.id("p-eleven"), 0);
    assert!(one.office.sql("SELECT CAST(id AS TEXT) FROM people").await.is_empty());
    one.in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_schedule_and_classes_were_edited_each_version_is_asked_once() {
    let young = ago(100);
    let one = Asked::new(Place::Sqlite).await;
    one.put(&[(1, "consent", "p-eleven", &young)]).await;
    one.office.must(0, &["run"]);
    let (asked, other) = ("consent: { keep: 6 years,", "consent: { keep: 7 years,");
    let (map, longer) = ("consent: consent, ", "consent: [ consent, claim ], ");
    for _ in 0..3 {
        one.edit("schedule.yaml", asked, other);
        one.office.must(0, &["check"]);
        one.office.must(0, &["run"]);
        one.edit("schedule.yaml", other, asked);
        one.office.must(0, &["run"]);
        one.edit("retentiond.yaml", map, longer);
        one.office.must(0, &["run"]);
        one.edit("retentiond.yaml", longer, map);
        one.office.must(0, &["run"]);
    }
    one.confirm("p-eleven", &one.id("p-eleven"), 0);
    let rules = one.entries("erasure-decided")[0]["rules"].as_array().unwrap().clone();
    let mut versions: Vec<String> =
        rules.iter().map(|rule| format!("{} {} {}", rule["class"], rule["schedule"], rule["until"].is_string())).collect();
    versions.sort();
    versions.dedup();
    assert_eq!(rules.len(), versions.len(), "{rules:?}");
    assert_eq!(rules.len(), 5, "{rules:?}");
    one.in_order();
}

/// Sets the log aside and begins another.
fn begin_anew(one: &Asked) {
    std::fs::remove_file(one.office.path("state/keys/log.key")).unwrap();
    one.office.must(0, &["audit", "begin-anew", "--reason", "lost", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_on_a_request_before_the_log_was_begun_anew_is_not_lost() {
    let (young, other) = (ago(100), ago(90));
    let rows: [Row<'_>; 2] = [(1, "consent", "p-eleven", &young), (2, "consent", "p-twelve", &other)];
    let one = Asked::new(Place::Sqlite).await;
    one.edit("retentiond.yaml", "subject: who", "subject: who, inventory: on");
    one.put(&rows).await;
    one.office.must(0, &["run"]);
    one.confirm("p-eleven", &one.id("p-eleven"), 0);
    begin_anew(&one);
    let said = one.office.must(1, &["run"]);
    assert!(said.contains("1 records are missing") && said.contains("the log was begun anew since then"), "{said}");
    assert!(one.entries("lost").is_empty(), "{:?}", one.entries("lost"));
    one.office.must(0, &["run"]);
    one.office.sql("DELETE FROM people WHERE id = 2").await;
    one.office.must(1, &["run"]);
    assert_eq!(one.entries("lost")[0]["count"], 1, "what nobody decided about is missed");
    one.in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_of_the_log_before_that_is_put_back_hides_no_hold() {
    let old = ago(500);
    let rows: [Row<'_>; 1] = [(1, "short", "p-eleven", &old)];
    let one = Asked::new(Place::Sqlite).await;
    for n in 0..40 {
        let matter = format!("M{n}");
        one.office.must(0, &["hold", "place", "--kind", "litigation", "--subject", "p-other", "--reason", "a claim", "--matter", &matter]);
        one.office.must(0, &["hold", "release", "--matter", &matter, "--reason", "settled"]);
    }
    let files = || std::fs::read_dir(one.office.path("state")).unwrap().map(|file| file.unwrap().path());
    let of_register = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("register.db");
    let kept: Vec<_> = files().filter(of_register).map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    begin_anew(&one);
    one.put(&rows).await;
    one.office.must(0, &["hold", "place", "--kind", "litigation", "--subject", "p-eleven", "--reason", "a claim", "--matter", "N"]);
    for _ in 0..40 {
        // The log is as long as the one before.
        one.office.must(0, &["pause", "store", "--reason", "repair"]);
        one.office.must(0, &["resume", "store"]);
    }
    files().filter(of_register).for_each(|path| std::fs::remove_file(path).unwrap());
    kept.into_iter().for_each(|(bytes, path)| std::fs::write(path, bytes).unwrap());
    one.office.must(0, &["run"]);
    assert_eq!(one.there(&rows).await.len(), 1, "the hold protects it");
    assert_eq!(one.office.holds().len(), 1);
    one.in_order();
}

/// Begins what is to be done, and kills it once it has announced what goes and nothing has gone.
async fn killed_at_the_intent(one: &Asked, words: &[&str]) {
    let url = format!("sqlite://{}", one.office.path("office.db").display());
    let mut lock = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    let before = one.entries("intent").len();
    let mut child = one.office.command(words).stdout(std::process::Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while one.entries("intent").len() == before {
        assert!(child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_mins(1), "nothing is announced: {words:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    lock.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_interrupted_is_settled_in_the_log_that_follows_without_what_stands_in_the_old_one() {
    let (young, old) = (ago(100), ago(500));
    for gone in [false, true] {
        for class in ["consent", "looked-at"] {
            let one = Asked::new(Place::Sqlite).await;
            one.edit("schedule.yaml", "then: review }", "then: review, cooling-off: none }");
            let day = if class == "consent" { &young } else { &old };
            one.put(&[(1, class, "p-eleven", day)]).await;
            if class == "consent" {
                let id = one.id("p-eleven");
                killed_at_the_intent(&one, &Asked::words("p-eleven", &id)).await;
            } else {
                one.office.must(0, &["run"]);
                let listed = one.office.finish(&["--json", "review", "list"]);
                let listed: Value = serde_json::from_str(String::from_utf8_lossy(&listed.stdout).lines().next().unwrap()).unwrap();
                one.office.must(0, &["review", "approve", listed[0]["batch"].as_str().unwrap(), "--name", "Olive Oak"]);
                killed_at_the_intent(&one, &["run"]).await;
            }
            if gone {
                one.office.sql("DELETE FROM people").await;
            }
            begin_anew(&one);
            one.office.finish(&["run"]);
            let recovered = one.entries("recovered");
            assert_eq!(recovered.len(), 1, "{class}");
            assert_eq!(recovered[0]["found"], if gone { "gone" } else { "present" }, "{class}");
            one.in_order();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_class_asks_for_two_people_two_confirm_with_accounts_of_their_own() {
    if text(&std::process::Command::new("id").arg("-u").output().unwrap()).trim() != "0" {
        println!("skipped: only root can act for others");
        return;
    }
    let young = ago(100);
    let rows: [Row<'_>; 2] = [(1, "careful", "p-eleven", &young), (2, "consent", "p-eleven", &young)];
    for served in [false, true] {
        let one = Asked::new(Place::Sqlite).await;
        one.put(&rows).await;
        let service = served.then(|| one.office.start());
        let id = one.id("p-eleven");
        let said = one.office.must(0, &["subject", "erase", "p-eleven"]);
        assert!(said.contains("two people have to, each with an account of their own"), "{said}");
        let first = one.confirm_as("alice", "Alice Ames", "p-eleven", &id);
        assert!(first.status.code() == Some(0) && text(&first).contains("a second person"), "{}", text(&first));
        assert_eq!(one.there(&rows).await.len(), 2, "one is not enough");
        for (account, name) in [("alice", "Bob Brown"), ("bob", "alice AMES")] {
            let again = one.confirm_as(account, name, "p-eleven", &id);
            assert!(again.status.code() == Some(3) && text(&again).contains("must be another person"), "{}", text(&again));
        }
        assert!(one.entries("erasure-decided").is_empty());
        let second = one.confirm_as("bob", "Bob Brown", "p-eleven", &id);
        assert_eq!(second.status.code(), Some(0), "{}", text(&second));
        assert!(one.there(&rows).await.is_empty());
        let decided = one.entries("erasure-decided");
        let approved = one.entries("erasure-approved");
        assert_eq!(decided[0]["approvals"], json!([approved[0]["n"]]));
        drop(service);
        one.in_order();
        // Without the first word, the decision does not follow.
        let forged = forged(&one, |entries| {
            for entry in entries {
                if entry["kind"] == "erasure-decided" {
                    entry.as_object_mut().unwrap().remove("approvals");
                }
            }
        });
        assert!(forged.contains("not enough different people made it"), "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_in_report_mode_or_beyond_the_limits_or_while_paused_or_outside_the_window() {
    let young = ago(100);
    let rows: [Row<'_>; 2] = [(1, "consent", "p-eleven", &young), (2, "consent", "p-twelve", &young)];
    let one = Asked::new(Place::Sqlite).await;
    one.put(&rows).await;
    let refused = |words: &str| {
        let said = one.confirm("p-eleven", &one.id("p-eleven"), 3);
        assert!(said.contains(words) && said.contains("nothing was decided"), "expected {words}: {said}");
        assert!(one.entries("erasure-decided").is_empty());
    };
    one.edit("retentiond.yaml", "mode: enforce", "mode: report");
    refused("is in report mode");
    one.edit("retentiond.yaml", "mode: report", "mode: enforce");
    one.edit("retentiond.yaml", "limits: unlimited", "limits: { records: 10000, share: 20% }");
    refused("1 of 2 records would go, more than the limit of");
    one.office.must(0, &["pause", "store", "--reason", "repair"]);
    refused("paused");
    one.office.must(0, &["resume", "store"]);
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::get("Europe/London").unwrap());
    let hour = |ahead: i64| now.checked_add(jiff::Span::new().hours(ahead)).unwrap().strftime("%H:00").to_string();
    one.edit("retentiond.yaml", "mode: enforce", &format!("mode: enforce\nwindow: \"{}-{}\"", hour(3), hour(4)));
    refused("outside its window");
    one.edit("retentiond.yaml", &format!("window: \"{}-{}\"\n", hour(3), hour(4)), "");
    assert_eq!(one.there(&rows).await.len(), 2);
    let id = one.id("p-eleven");
    one.office.must(0, &[&Asked::words("p-eleven", &id)[..], &["--beyond-limits"]].concat());
    assert_eq!(one.there(&rows).await.into_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(one.entries("erasure-decided")[0]["beyond_limits"], true, "who went beyond them stands in the log");
    one.in_order();
}

/// Many records of one person, each of another day, all of which may go.
fn many(number: u64) -> Vec<(u64, String)> {
    (0..number).map(|id| (id, ago(i64::try_from(id % 1500).unwrap() + 10))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_is_asked_again_and_done() {
    for one in Asked::all().await {
        let days = many(1400);
        let rows: Vec<Row<'_>> = days.iter().map(|(id, day)| (*id, "consent", "p-eleven", day.as_str())).collect();
        one.put(&rows).await;
        let mut kills = 0;
        for nth in 0..12_u64 {
            let before = one.there(&rows).await.len();
            if before == 0 {
                break;
            }
            let id = one.id("p-eleven");
            let mut child = one.office.command(&Asked::words("p-eleven", &id)).spawn().unwrap();
            let began = Instant::now();
            // Between the decision and the first removal, or as soon as something went.
            let wait = Duration::from_millis(20 * (nth % 4));
            while child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(20) {
                if began.elapsed() > wait && (nth % 2 == 0 || one.there(&rows).await.len() < before) {
                    child.kill().unwrap();
                    kills += 1;
                    break;
                }
            }
            child.wait().unwrap();
            if kills == 4 {
                break;
            }
        }
        // What was interrupted is settled by looking.
        one.office.finish(&["run"]);
        if !one.there(&rows).await.is_empty() {
            one.confirm("p-eleven", &one.id("p-eleven"), 0);
        }
        assert!(kills > 0 && one.there(&rows).await.is_empty(), "{}: {kills} kills", one.office.kind());
        let gone = one.entries("destroyed").len() + one.entries("recovered").iter().filter(|entry| entry["found"] == "gone").count();
        assert_eq!(gone, rows.len(), "{}: each record went once", one.office.kind());
        one.in_order();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_comes_in_between_wins() {
    for one in Asked::all().await {
        let days = many(1400);
        let rows: Vec<Row<'_>> = days.iter().map(|(id, day)| (*id, "consent", "p-eleven", day.as_str())).collect();
        one.put(&rows).await;
        let service = one.office.start();
        let id = one.id("p-eleven");
        let mut child = one.office.command(&Asked::words("p-eleven", &id)).stdout(std::process::Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while one.entries("erasure-decided").is_empty() {
            assert!(began.elapsed() < Duration::from_mins(1), "{}: nothing is decided", one.office.kind());
        }
        let order = json!({"act": "place", "holds": [{"kind": "litigation", "subject": "p-eleven", "reason": "a claim"}]});
        let answers = ask(&one.office.path("control.sock"), &json!({"verb": "hold", "order": order})).unwrap();
        assert_eq!(answers.last().unwrap()["code"], 0, "{answers:?}");
        let there = one.there(&rows).await;
        child.wait().unwrap();
        assert_eq!(one.there(&rows).await, there, "{}: nothing goes once the hold is in force", one.office.kind());
        drop(service);
        one.in_order();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_on_a_request_is_not_lost() {
    let (young, other) = (ago(100), ago(90));
    let rows: [Row<'_>; 2] = [(1, "consent", "p-eleven", &young), (2, "consent", "p-twelve", &other)];
    for one in [Asked::new(Place::Files).await, Asked::new(Place::Sqlite).await] {
        one.edit("retentiond.yaml", "subject: who", "subject: who, inventory: on");
        one.put(&rows).await;
        one.office.must(0, &["run"]);
        one.confirm("p-eleven", &one.id("p-eleven"), 0);
        one.office.must(0, &["run"]);
        assert!(one.entries("lost").is_empty(), "{:?}", one.entries("lost"));
        match one.office.place {
            Place::Files => std::fs::remove_file(one.file(rows[1])).unwrap(),
            _ => drop(one.office.sql("DELETE FROM people WHERE id = 2").await),
        }
        one.office.must(1, &["run"]);
        assert_eq!(one.entries("lost")[0]["count"], 1, "what nobody decided about is missed");
        one.in_order();
    }
}

/// What `audit verify` and `audit replay` say of a log that somebody who has its key changed.
fn forged(one: &Asked, change: impl FnOnce(&mut Vec<Value>)) -> String {
    let entries = retentiond::audit::Reader::open(&one.office.path("state/audit")).unwrap().entries();
    let mut entries: Vec<Value> = entries.map(|entry| serde_json::from_slice(&entry.unwrap().1).unwrap()).collect();
    change(&mut entries);
    let lines: Vec<String> = entries.iter().map(line).collect();
    let file = one.office.path("state/keys/log.key");
    let key = retentiond::audit::SigningKey::parse(&std::fs::read(&file).unwrap(), &file, "office").unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), &lines, Some(&key));
    let vkey = std::fs::read_to_string(one.office.path("state/keys/log.vkey")).unwrap();
    let ask = |verb: &str| text(&outsider(&["audit", verb, "--log", folder.path().to_str().unwrap(), "--key", vkey.trim()]));
    format!("{}\n{}", ask("verify"), ask("replay"))
}

/// An entry as it stands in the log: the first four fields first.
fn line(entry: &Value) -> String {
    let mut fields = entry.as_object().unwrap().clone();
    let head: Vec<String> =
        ["n", "at", "kind", "nonce"].iter().map(|name| format!("\"{name}\":{}", fields.remove(*name).unwrap())).collect();
    let rest: Vec<String> = fields.iter().map(|(name, value)| format!(",{}:{value}", json!(name))).collect();
    format!("{{{}{}}}", head.join(","), rest.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lies_about_an_erasure_is_told() {
    let young = ago(100);
    let rows: [Row<'_>; 2] = [(1, "consent", "p-eleven", &young), (2, "claim", "p-eleven", &young)];
    let one = Asked::new(Place::Sqlite).await;
    one.put(&rows).await;
    one.confirm("p-eleven", &one.id("p-eleven"), 0);
    let of = |entries: &[Value], kind: &str, decision: Option<&str>| {
        let found = |entry: &Value| entry["kind"] == kind && decision.is_none_or(|decision| entry["decision"] == decision);
        entries.iter().position(found).unwrap()
    };
    let said = forged(&one, |_| {});
    assert!(said.contains("intact, and every decision follows from it"), "{said}");
    // What went too early without a decision.
    let said = forged(&one, |entries| {
        let at = of(entries, "destroyed", None);
        entries[at].as_object_mut().unwrap().remove("erasure");
    });
    assert!(said.contains("no decision on a request for erasure is named"), "{said}");
    // A refusal that was made a decision to destroy.
    let said = forged(&one, |entries| {
        let at = of(entries, "erasure-decided", Some("refuse"));
        entries[at]["decision"] = json!("destroy");
    });
    assert!(said.contains("the most careful class says refuse"), "{said}");
    let said = forged(&one, |entries| {
        let at = of(entries, "erasure-decided", Some("refuse"));
        entries[at]["decision"] = json!("destroy");
        entries[at]["rules"][0]["says"] = json!("destroy");
    });
    assert!(said.contains("the class claim says destroy to a request for erasure; derived: its text says refuse"), "{said}");
    // The outcome of one record under the decision about another.
    let said = forged(&one, |entries| {
        let (refused, gone) = (of(entries, "erasure-decided", Some("refuse")), of(entries, "destroyed", None));
        entries[gone]["erasure"] = entries[refused]["n"].clone();
    });
    assert!(said.contains("that lets a record go on a request for erasure"), "{said}");
    let said = forged(&one, |entries| {
        let at = of(entries, "erasure-decided", Some("destroy"));
        entries[at]["record"] = json!("2026:another");
    });
    assert!(said.contains("is about another record"), "{said}");
    // Another due date than the decision had.
    let said = forged(&one, |entries| {
        let at = of(entries, "destroyed", None);
        entries[at]["event_date"] = json!("2024-01-01");
    });
    assert!(said.contains("that decision is about event_date"), "{said}");
    // A run that carries out another request.
    let said = forged(&one, |entries| {
        let at = entries.iter().position(|entry| entry["kind"] == "run-started" && entry["reason"] == "erasure").unwrap();
        entries[at]["erasure"] = json!("00");
    });
    assert!(said.contains("the run does not carry out the request of that decision"), "{said}");
    // A schedule that said otherwise shortly before.
    let said = forged(&one, |entries| {
        let at = of(entries, "schedule", None);
        let mut before = entries[at].clone();
        let text = before["text"].as_str().unwrap().replace("on-erasure: destroy", "on-erasure: refuse");
        before["sha256"] = json!(retentiond::schedule::Schedules::parse("s", &text).unwrap().all[0].sha256.to_string());
        before["text"] = json!(text);
        entries.insert(at, before);
        for (n, entry) in entries.iter_mut().enumerate() {
            for name in ["erasure", "intent"] {
                if let Some(old) = entry[name].as_u64() {
                    entry[name] = json!(old + 1);
                }
            }
            entry["n"] = json!(n);
        }
    });
    assert!(said.contains("before an edit that counts from") && said.contains("the answer was refuse"), "{said}");
}
