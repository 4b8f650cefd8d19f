//! A dataset whose dates lie in another one that goes on the same day: neither may lose the other's dates first.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;

fn retentiond(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_retentiond")).arg("--config").arg(folder.join("retentiond.yaml")).args(words).output().unwrap()
}

/// A database of tenancies and a folder of files that belong to them. The database comes first in the configuration.
async fn estate() -> TempDir {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let database = folder.join("housing.db");
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", database.display())).await.unwrap();
    let script =
        "CREATE TABLE tenancies (id TEXT PRIMARY KEY, ended TEXT); INSERT INTO tenancies VALUES ('T1', '2010-01-01'), ('T2', NULL)";
    connection.execute(script).await.unwrap();
    connection.close().await.unwrap();
    for tenancy in ["T1", "T2"] {
        fs::create_dir_all(folder.join("files").join(tenancy)).unwrap();
        fs::write(folder.join("files").join(tenancy).join("letter.txt"), tenancy).unwrap();
    }
    fs::create_dir(folder.join("schedules")).unwrap();
    let schedule = "schedule: s\ntime-zone: Europe/London\nclasses:\n  tenancy.file: { title: Files, keep: 6 years, after: tenancy-end, then: destroy }\n";
    fs::write(folder.join("schedules/s.yaml"), schedule).unwrap();
    let configuration = "node: n\nmode: enforce\nstate: state\nschedules: schedules\nlimits: unlimited\nstores:\n  housing:\n    sqlite: housing.db\n    datasets:\n      \
        tenancies: { class: tenancy.file, table: tenancies, key: id, events: { tenancy-end: ended } }\n  \
        papers:\n    files: files\n    datasets:\n      letters:\n        class: tenancy.file\n        path: \"{tenancy}/*.txt\"\n        \
        events: { tenancy-end: { lookup: housing.tenancies, by: tenancy, event: tenancy-end } }\n";
    fs::write(folder.join("retentiond.yaml"), configuration).unwrap();
    temporary
}

#[tokio::test]
async fn a_check_that_opens_the_stores_tells_of_a_column_that_is_not_there() {
    let folder = estate().await;
    let path = folder.path().join("retentiond.yaml");
    let written = fs::read_to_string(&path).unwrap();
    let connected = |on: &str| {
        fs::write(&path, written.replace("by: tenancy,", &format!("by: tenancy, on: {on},"))).unwrap();
        retentiond(folder.path(), &["check", "--connect"])
    };
    let output = connected("tenant");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("papers/letters: `tenancy-end` cannot be looked up in housing/tenancies") && text.contains("tenant"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(connected("id").stdout).unwrap();
    assert!(!text.contains("cannot be looked up"), "{text}");
}

#[tokio::test]
async fn rows_stay_while_the_files_that_they_date_could_not_be_seen() {
    let folder = estate().await;
    // Within the limits for the rows, over them for the files.
    let path = folder.path().join("retentiond.yaml");
    let written = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{written}        limits: {{ records: unlimited, share: 1% }}\n")).unwrap();
    let ran = retentiond(folder.path(), &["run"]);
    assert_eq!(ran.status.code(), Some(3), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("housing/tenancies is left for the next run"));
    assert_eq!(tenancies(folder.path()).await, ["T1", "T2"]);
}

async fn tenancies(folder: &Path) -> Vec<String> {
    let url = format!("sqlite://{}", folder.join("housing.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query_scalar("SELECT id FROM tenancies ORDER BY id").fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn files_go_before_the_rows_that_date_them() {
    let folder = estate().await;
    let checked = retentiond(folder.path(), &["check"]);
    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(text.contains("dates of papers/letters are looked up"), "{text}{}", String::from_utf8_lossy(&checked.stderr));
    let ran = retentiond(folder.path(), &["run"]);
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let letters = ["T1", "T2"].map(|tenancy| folder.path().join("files").join(tenancy).join("letter.txt").exists());
    assert_eq!(letters, [false, true], "{}", String::from_utf8_lossy(&ran.stdout));
    assert_eq!(tenancies(folder.path()).await, ["T2"]);
}
