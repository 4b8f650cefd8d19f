//! Holds as people use them: placed, listed, shown, extended, released, and what the log and the register know of them.

use std::path::Path;

use serde_json::Value;

use crate::office::{Office, Place, text};

fn files_below(folder: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, out) } else { out.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_record_stays_until_the_hold_is_released_on_every_kind_of_store() {
    for office in Office::all().await {
        office.fill(1..5).await;
        office.must(0, &["hold", "place", "--kind", "litigation", "--subject", "subject-1", "--reason", "claim 7", "--matter", "C7"]);
        office.must(0, &["hold", "place", "--kind", "police", "--record", &office.address(2), "--reason", "crime 12"]);
        let shown = office.json(&["hold", "show", &office.holds()[0]]);
        assert_eq!(shown["protects"][0]["records"], 1, "{}: {shown}", office.kind());
        assert_eq!(shown["protects"][0]["due"], 1, "{}: {shown}", office.kind());
        office.must(0, &["run"]);
        assert_eq!(office.present(&[1, 2, 3, 4]).await.into_iter().collect::<Vec<_>>(), [1, 2], "{}", office.kind());
        let said = office.must(0, &["explain", &office.address(1)]);
        assert!(said.contains("is held") && said.contains("(litigation)"), "{said}");
        // The register is a projection: without it the holds are in force all the same.
        for name in ["register.db", "register.db-wal", "register.db-shm"] {
            let _ = std::fs::remove_file(office.path("state").join(name));
        }
        office.must(0, &["run"]);
        assert_eq!(office.present(&[1, 2]).await.len(), 2, "{}", office.kind());
        office.must(0, &["hold", "release", "--matter", "C7", "--reason", "settled"]);
        office.must(0, &["run"]);
        assert_eq!(office.present(&[1, 2]).await.into_iter().collect::<Vec<_>>(), [2], "{}", office.kind());
        office.must(0, &["audit", "verify"]);
        office.must(0, &["audit", "replay"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_and_the_command_alone_leave_the_same_log() {
    let bodies = |office: &Office| -> Vec<Value> {
        let output = office.finish(&["audit", "list", "--json"]);
        let entries = String::from_utf8(output.stdout).unwrap();
        let entries = entries.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries
            .filter(|entry| entry["kind"].as_str().unwrap().starts_with("hold-"))
            .map(|mut entry| {
                for name in ["n", "at", "nonce", "hold", "scope"] {
                    entry.as_object_mut().unwrap().remove(name);
                }
                entry
            })
            .collect()
    };
    let mut logs = Vec::new();
    for served in [false, true] {
        let office = Office::new(Place::Sqlite).await;
        office.fill(1..3).await;
        let service = served.then(|| office.start());
        let place = ["hold", "place", "--kind", "training", "--subject", "subject-1", "--until", "2099-01-01", "--reason", "course"];
        office.must(0, &place);
        let id = office.holds().remove(0);
        office.must(0, &["hold", "extend", &id, "--until", "2099-02-01", "--reason", "another course"]);
        office.must(0, &["hold", "release", &id, "--reason", "over"]);
        office.must(2, &["hold", "release", &id, "--reason", "again"]);
        drop(service);
        logs.push(bodies(&office));
    }
    assert_eq!(logs[0].len(), 3);
    assert_eq!(logs[0], logs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_and_nothing_is_placed() {
    let office = Office::new(Place::Sqlite).await;
    office.fill(1..3).await;
    let wrong: &[(&[&str], &str)] = &[
        (&["--kind", "litigation", "--reason", "r"], "expected what it protects"),
        (&["--kind", "training", "--subject", "subject-1", "--reason", "r"], "needs a last day"),
        (&["--kind", "restriction", "--subject", "subject-1", "--reason", "r"], "needs a day of review"),
        (&["--kind", "other", "--subject", "subject-1", "--reason", "about Subject-1"], "names the subject or record"),
        (&["--kind", "other", "--class", "shrot", "--reason", "r"], "did you mean `short`?"),
        (&["--kind", "other", "--dataset", "store/poeple", "--reason", "r"], "did you mean `store/people`?"),
        (&["--kind", "other", "--record", "store/poeple:1", "--reason", "r"], "did you mean `store/people`?"),
        (&["--kind", "other", "--subject", "subject-1", "--until", "2020-01-01", "--reason", "r"], "a last day that is not over"),
        (&["--kind", "other", "--event-from", "2020-02-01", "--event-to", "2020-01-01", "--reason", "r"], "to begin before it ends"),
        (&["--kind", "other", "--event", "made", "--class", "short", "--reason", "r"], "an event without a range of days"),
        (&["--kind", "other", "--everything", "--class", "short", "--reason", "r"], "exclude each other"),
        (&["--kind", "other", "--subject", "subject-1", "--reason", " "], "expected a reason"),
    ];
    for served in [false, true] {
        let service = served.then(|| office.start());
        for (words, expected) in wrong {
            let said = office.must(2, &[&["hold", "place"], *words].concat());
            assert!(said.contains(expected), "{words:?}: {said}");
        }
        drop(service);
    }
    std::fs::write(office.path("holds.csv"), "kind,subject,reason\npolice,subject-1,crime 1\npolcie,subject-2,crime 2\n").unwrap();
    let path = office.path("holds.csv");
    let said = office.must(2, &["hold", "place", "--yes", "--csv", path.to_str().unwrap()]);
    assert!(said.contains("holds.csv:3: `kind`: expected one of"), "{said}");
    assert!(office.holds().is_empty());
    office.must(0, &["run"]);
    assert!(office.present(&[1, 2]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_previewed_and_placed_as_a_whole() {
    let office = Office::new(Place::Files).await;
    office.fill(1..4).await;
    std::fs::write(office.path("holds.csv"), "kind,subject,reason,matter\npolice,subject-1,crime 1,M\npolice,subject-2,crime 2,M\n")
        .unwrap();
    let path = office.path("holds.csv");
    let path = path.to_str().unwrap();
    let said = office.must(0, &["hold", "place", "--csv", path, "--preview"]);
    assert!(said.contains("it protects 2 records now") && said.contains("Nothing was placed yet."), "{said}");
    // Without a terminal nobody can be asked.
    office.must(2, &["hold", "place", "--csv", path]);
    assert!(office.holds().is_empty());
    office.must(0, &["hold", "place", "--csv", path, "--yes"]);
    assert_eq!(office.holds().len(), 2);
    office.must(0, &["run"]);
    assert_eq!(office.present(&[1, 2, 3]).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_names_stand_in_the_register_and_nowhere_else() {
    let office = Office::new(Place::Sqlite).await;
    office.sql("INSERT INTO people VALUES (77, 'zebedee-quirk', '2019-01-01', 'n')").await;
    let service = office.start();
    office.must(0, &["hold", "place", "--kind", "complaint", "--subject", "zebedee-quirk", "--reason", "complaint 9"]);
    assert_eq!(office.json(&["hold", "list"])["holds"][0]["names"]["subject"], "zebedee-quirk");
    office.must(0, &["run"]);
    drop(service);
    let mut files = Vec::new();
    files_below(&office.path("state"), &mut files);
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let told = bytes.windows(13).any(|window| window == b"zebedee-quirk");
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!told || name.starts_with("register.db"), "{name} names the subject");
    }
    let id = office.holds().remove(0);
    office.must(0, &["hold", "release", &id, "--reason", "answered"]);
    assert!(office.json(&["hold", "list"])["holds"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_can_be_taken_out_of_the_register_and_back_into_a_new_one() {
    let office = Office::new(Place::Sqlite).await;
    office.fill(1..2).await;
    office.must(0, &["hold", "place", "--kind", "complaint", "--subject", "subject-1", "--reason", "complaint 9"]);
    let export = office.path("names.json");
    let export = export.to_str().unwrap();
    office.must(0, &["register", "export", export]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(export).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds personal data");
    for name in ["register.db", "register.db-wal", "register.db-shm"] {
        let _ = std::fs::remove_file(office.path("state").join(name));
    }
    office.must(0, &["run"]);
    assert_eq!(office.present(&[1]).await.len(), 1, "held without its plain name");
    assert!(office.json(&["hold", "list"])["holds"][0]["names"]["subject"].is_null());
    office.must(0, &["register", "import", export]);
    assert_eq!(office.json(&["hold", "list"])["holds"][0]["names"]["subject"], "subject-1");
    // A name that is not the one that the log knows by its pseudonym is no name of this hold.
    let other = std::fs::read_to_string(export).unwrap().replace("subject-1", "subject-2");
    std::fs::write(export, other).unwrap();
    let said = text(&office.finish(&["register", "import", export]));
    assert!(said.contains("is not what the log names"), "{said}");
    assert_eq!(office.json(&["hold", "list"])["holds"][0]["names"]["subject"], "subject-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_by_class_dataset_or_days_of_an_event_protects_what_it_says() {
    let office = Office::new(Place::Sqlite).await;
    office
        .sql("INSERT INTO people VALUES (1, 'a', '2019-01-01', ''), (2, 'b', '2019-02-01', ''), (3, 'c', '2019-03-01', ''), (4, 'd', '2019-04-01', '')")
        .await;
    let days = ["hold", "place", "--kind", "investigation", "--dataset", "store/people", "--event", "made", "--event-from", "2019-02-01"];
    office.must(0, &[&days[..], &["--event-to", "2019-03-01", "--reason", "inquiry 3"]].concat());
    office.must(0, &["run"]);
    assert_eq!(office.sql("SELECT who FROM people ORDER BY id").await, ["b", "c"]);
    let all = office.holds().remove(0);
    office.must(0, &["hold", "place", "--kind", "investigation", "--class", "short", "--reason", "inquiry 3"]);
    office.must(0, &["hold", "release", &all, "--reason", "the class is held"]);
    office.must(0, &["run"]);
    assert_eq!(office.sql("SELECT who FROM people ORDER BY id").await, ["b", "c"]);
    office.must(0, &["audit", "verify"]);
    office.must(0, &["audit", "replay"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_about_a_person_is_listed_with_its_holds_on_every_kind_of_store() {
    for office in Office::all().await {
        office.fill(1..30).await;
        office.must(0, &["hold", "place", "--kind", "access-request", "--subject", "subject-7", "--reason", "request 3"]);
        let said = office.must(0, &["subject", "report", "subject-7"]);
        assert!(said.contains(&format!("held\t{}\t", office.address(7))) && said.contains("(access-request)"), "{said}");
        assert!(said.contains("1 record in 1 dataset") && said.contains("1 held, 0 due"), "{said}");
        assert!(!said.contains("subject-8") && !said.contains(&format!("{}\t", office.address(8))), "of others nothing: {said}");
        let said = office.must(0, &["subject", "report", "subject-8"]);
        assert!(said.contains("0 held, 1 due"), "{said}");
        let said = office.must(0, &["subject", "report", "subject"]);
        assert!(said.contains("0 records in 1 dataset"), "a name is not the beginning of another: {said}");
        let log = office.must(0, &["audit", "list"]);
        assert!(!log.contains("subject-7"), "who asks leaves nothing about the person in the log: {log}");
        assert!(log.contains("(access-request), by ") && log.contains(": request 3"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_does_not_load_keeps_nobody_from_placing_a_hold() {
    let office = Office::new(Place::Sqlite).await;
    office.fill(1..3).await;
    let service = office.start();
    let whole = std::fs::read_to_string(office.path("schedule.yaml")).unwrap();
    std::fs::write(office.path("schedule.yaml"), "schedule: [").unwrap();
    office.must(0, &["hold", "place", "--kind", "police", "--subject", "subject-1", "--reason", "crime 1"]);
    std::fs::write(office.path("schedule.yaml"), whole).unwrap();
    office.must(0, &["run"]);
    assert_eq!(office.present(&[1, 2]).await.into_iter().collect::<Vec<_>>(), [1]);
    drop(service);
}
