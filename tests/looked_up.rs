//! A dataset whose dates lie in another one that goes on the same day: neither may lose the other's dates first.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sqlx::{Connection as _, Executor as _};

fn retentiond(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_retentiond")).arg("--config").arg(folder.join("retentiond.yaml")).args(words).output().unwrap()
}

/// A database of tenancies and a folder of files that belong to them. The database comes first in the configuration.
async fn estate(folder: &Path) {
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
}

#[tokio::test]
async fn files_go_before_the_rows_that_date_them() {
    let folder = tempfile::tempdir().unwrap();
    estate(folder.path()).await;
    let checked = retentiond(folder.path(), &["check"]);
    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(text.contains("dates of papers/letters are looked up"), "{text}{}", String::from_utf8_lossy(&checked.stderr));
    let ran = retentiond(folder.path(), &["run"]);
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let letters = ["T1", "T2"].map(|tenancy| folder.path().join("files").join(tenancy).join("letter.txt").exists());
    assert_eq!(letters, [false, true], "{}", String::from_utf8_lossy(&ran.stdout));
    let mut connection =
        sqlx::SqliteConnection::connect(&format!("sqlite://{}", folder.path().join("housing.db").display())).await.unwrap();
    let left: Vec<(String,)> = sqlx::query_as("SELECT id FROM tenancies").fetch_all(&mut connection).await.unwrap();
    assert_eq!(left, [("T2".to_owned(),)]);
}
