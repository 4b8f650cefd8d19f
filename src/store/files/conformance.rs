//! Files before the suite that every store passes: with the date in a sidecar, with the date in the path, and directories as records.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::KIND;
use crate::record::Key;
use crate::store::Store;
use crate::store::conformance::{Abilities, Harness, When, configure, suite};

const ABILITIES: Abilities = Abilities {
    not_yet_and_instants: false,
    group: Some("group"),
    knows_datasets: true,
    anonymises: false,
    unreachable: Some("overwritten"),
};

struct Folder {
    folder: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl Folder {
    fn new(dataset: &str, event: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = configure(&KIND, folder.path(), dataset, event, "group", false);
        Self { folder, store }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.path().join(std::ffi::OsStr::from_bytes(key.as_bytes()))
    }

    /// Writes a file and answers its key.
    fn write(&self, path: &str, contents: &str) -> Key {
        let at = self.folder.path().join(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        assert!(!at.exists(), "{path} is there already");
        std::fs::write(at, contents).unwrap();
        Key::new(path.as_bytes())
    }
}

fn append(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, text + "more").unwrap();
}

/// A day as it stands in a path; doubt is a day that the calendar does not have.
fn day(when: When) -> String {
    match when {
        When::On(date) => date.to_string(),
        When::Doubt => "2025-02-30".into(),
        When::At(_) | When::NotYet => unreachable!("a path cannot say this"),
    }
}

/// The date in a sidecar, which goes with its record.
struct Sidecars(Folder);

/// The date in the path, so that whole days are left out of a scan.
struct Days(Folder);

/// Directories as records.
struct Directories(Folder);

#[async_trait]
impl Harness for Sidecars {
    const ABILITIES: Abilities = Abilities { not_yet_and_instants: true, ..ABILITIES };

    async fn new() -> Self {
        Self(Folder::new("{ path: \"{group}/*.rec\" }", "{ sidecar: \"{stem}.json\", field: meta.done }"))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        let done = match when {
            When::On(date) => serde_json::json!(date.to_string()),
            When::At(instant) => serde_json::json!(instant.to_string()),
            When::NotYet => serde_json::Value::Null,
            When::Doubt => serde_json::json!("2025-02-30"),
        };
        self.0.write(&format!("{group}/{name}.json"), &serde_json::json!({"meta": {"done": done}}).to_string());
        self.0.write(&format!("{group}/{name}.rec"), "contents")
    }

    async fn change(&self, key: &Key) {
        append(&self.0.path(key));
    }

    async fn is_there(&self, key: &Key) -> bool {
        let path = self.0.path(key);
        let sidecar = PathBuf::from(path.to_str().unwrap().replace(".rec", ".json"));
        assert_eq!(path.exists(), sidecar.exists(), "a sidecar goes with its record and only with it");
        path.exists()
    }
}

#[async_trait]
impl Harness for Days {
    const ABILITIES: Abilities = ABILITIES;

    async fn new() -> Self {
        Self(Folder::new("{ path: \"{done:%Y-%m-%d}/{group}/*\" }", "path"))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        self.0.write(&format!("{}/{group}/{name}", day(when)), "contents")
    }

    async fn change(&self, key: &Key) {
        append(&self.0.path(key));
    }

    async fn is_there(&self, key: &Key) -> bool {
        self.0.path(key).exists()
    }
}

#[async_trait]
impl Harness for Directories {
    const ABILITIES: Abilities = ABILITIES;

    async fn new() -> Self {
        Self(Folder::new("{ path: \"{group}/{done:%Y-%m-%d}/*/**\", record: directory }", "path"))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.store.clone()
    }

    async fn put(&self, group: &str, name: &str, when: When) -> Key {
        let path = format!("{group}/{}/{name}", day(when));
        self.0.write(&format!("{path}/letter.txt"), "contents");
        self.0.write(&format!("{path}/deeper/photo.jpg"), "contents");
        Key::new(path.as_bytes())
    }

    async fn change(&self, key: &Key) {
        append(&self.0.path(key).join("deeper/photo.jpg"));
    }

    async fn is_there(&self, key: &Key) -> bool {
        let path = self.0.path(key);
        let whole = path.join("letter.txt").exists() && path.join("deeper/photo.jpg").exists();
        assert_eq!(path.exists(), whole, "a directory goes whole or stays whole");
        whole
    }
}

suite!(sidecars, super::Sidecars);
suite!(days, super::Days);
suite!(directories, super::Directories);
