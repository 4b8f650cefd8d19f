//! A small estate in memory: one class, one store, one dataset, and its state in a temporary folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;
use retentiond::audit::{Entry, Pseudonyms, Reader, verify};
use retentiond::clock::Today;
use retentiond::config::{ClassChoice, Config, Dataset, EventSource, KeyNames, Limits, LogRules, Lookup, Mode};
use retentiond::error::Result;
use retentiond::record::{Doubt, Reading};
use retentiond::register::Register;
use retentiond::schedule::{EventName, Schedules, Window};
use retentiond::session::{Progress, Ran, Session};
use retentiond::store::Store;
use retentiond::store::memory::{MemoryStore, on};
use tempfile::TempDir;

/// The name of the one dataset.
pub const DATASET: &str = "things";

pub struct Estate {
    folder: TempDir,
    pub store: Arc<MemoryStore>,
    schedule: String,
    options: String,
    lookup: bool,
    window: Option<Window>,
    /// Stands in front of the store, if something does.
    pub front: Option<Arc<dyn Store>>,
}

impl Estate {
    pub fn new(options: &str) -> Self {
        Self::with_class("then: destroy", options)
    }

    /// An estate whose class has these further keys, and whose dataset has these options: `mode: report`, `limits: unlimited`, `keys: plain`.
    pub fn with_class(class: &str, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new("memory", &["done"]));
        Self {
            folder,
            store,
            schedule: Self::schedule("6 months", class),
            options: options.to_owned(),
            lookup: false,
            window: None,
            front: None,
        }
    }

    fn schedule(keep: &str, class: &str) -> String {
        format!("schedule: test\ntime-zone: Europe/London\nclasses:\n  thing.done: {{ keep: {keep}, after: done, {class} }}\n")
    }

    /// From now on the date of every record is looked up in the dataset `dates`, by the record's key.
    pub fn look_up_dates(&mut self) {
        self.lookup = true;
    }

    pub fn set_period(&mut self, keep: &str) {
        self.schedule = Self::schedule(keep, "then: destroy");
    }

    pub fn set_class(&mut self, keep: &str, class: &str) {
        self.schedule = Self::schedule(keep, class);
    }

    pub fn set_window(&mut self, window: Option<Window>) {
        self.window = window;
    }

    pub fn set_options(&mut self, options: &str) {
        options.clone_into(&mut self.options);
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    #[allow(clippy::unused_self, reason = "reads better at its many uses")]
    pub fn today(&self) -> Date {
        Today::now().date_in(&jiff::tz::TimeZone::get("Europe/London").unwrap())
    }

    /// How many days ago an event lies that must still be kept through today.
    pub fn days_to_boundary(&self) -> i64 {
        let period = retentiond::schedule::Period::parse("6 months").unwrap();
        let today = self.today();
        let due = |days: i64| period.due(ago(today, days), retentiond::schedule::Counting::After).unwrap();
        (0..400).find(|days| due(*days) == today).unwrap_or_else(|| (0..400).rfind(|days| due(*days) > today).unwrap())
    }

    pub fn put(&self, key: &str, days_ago: i64) {
        self.store.put(DATASET, key, vec![on(ago(self.today(), days_ago))]);
    }

    pub fn put_not_yet(&self, key: &str) {
        self.store.put(DATASET, key, vec![Reading::NotYet]);
    }

    pub fn put_doubt(&self, key: &str) {
        self.store.put(DATASET, key, vec![Reading::Doubt(Doubt::Unparsable("Mustermann".into()))]);
    }

    pub fn keys(&self) -> Vec<String> {
        self.store.keys(DATASET)
    }

    pub fn config(&self) -> Arc<Config> {
        let schedules = Schedules::parse("test.yaml", &self.schedule).unwrap();
        let rule = schedules.rule("thing.done").unwrap();
        let has = |option: &str| self.options.contains(option);
        let store = self.front.clone().unwrap_or_else(|| Arc::clone(&self.store) as Arc<dyn Store>);
        let done = EventName::parse("done").unwrap();
        let lookup = Lookup { store: "memory".into(), dataset: "dates".into(), by: "key".into(), on: None, event: done.clone() };
        let dataset = |name: &str, source: EventSource| Dataset {
            store: Arc::clone(&store),
            name: name.into(),
            address: format!("memory/{name}"),
            classes: ClassChoice::All(vec![rule.clone()]),
            events: vec![(done.clone(), source)],
            mode: if has("mode: report") { Mode::Report } else { Mode::Enforce },
            limits: if has("limits: unlimited") { Limits { records: None, share: None } } else { Limits::default() },
            scan: None,
            window: self.window.clone(),
            backups: None,
            keys: if has("keys: plain") { KeyNames::Plain } else { KeyNames::Pseudonym },
            subject: None,
            at_least: has("at-least: forgotten-twice").then(|| "forgotten-twice".into()),
            accept_lower: has("else: accept"),
        };
        let source = if self.lookup { EventSource::Lookup(lookup) } else { EventSource::Here };
        let datasets = vec![Arc::new(dataset(DATASET, source)), Arc::new(dataset("dates", EventSource::Here))];
        let service = retentiond::config::Service::default();
        let (anchors, log) = (Vec::new(), LogRules::default());
        Arc::new(Config {
            file: "test".into(),
            node: "test".into(),
            state: self.state(),
            service,
            anchors,
            log,
            schedules,
            stores: vec![store],
            datasets,
        })
    }

    pub async fn try_session(&self) -> Result<Session> {
        Session::open(self.config(), false).await
    }

    pub async fn session(&self) -> Session {
        self.try_session().await.unwrap()
    }

    pub async fn open_and_close(&self) {
        self.session().await.close().await.unwrap();
    }

    pub async fn run(&mut self) -> Ran {
        self.try_run().await.unwrap()
    }

    pub async fn try_run(&mut self) -> Result<Ran> {
        let session = self.session().await;
        let dataset = Arc::clone(session.config.dataset("memory", DATASET).unwrap());
        let ran = session.run(&dataset, &Progress::default()).await;
        session.close().await.unwrap();
        ran
    }

    pub async fn allow(&self, plan: &str) -> Result<Ran> {
        let session = self.session().await;
        let ran = session.allow(plan, "a person", &Progress::default()).await;
        session.close().await.unwrap();
        ran
    }

    pub fn pseudonym(&self, key: &str) -> String {
        let all = Pseudonyms::open(&self.state().join("keys")).unwrap().all_for("memory", DATASET, key.as_bytes());
        all.into_iter().find(|name| !name.starts_with("plain:")).unwrap()
    }

    pub fn log(&self) -> PathBuf {
        self.state().join("audit")
    }

    pub fn entries(&self) -> Vec<Entry> {
        Reader::open(&self.log()).unwrap().entries().map(|item| Entry::parse(&item.unwrap().1).unwrap()).collect()
    }

    pub fn entries_of(&self, kind: &str) -> Vec<Entry> {
        self.entries().into_iter().filter(|entry| entry.kind.as_str() == kind).collect()
    }

    pub fn log_text(&self) -> String {
        Reader::open(&self.log()).unwrap().entries().map(|item| String::from_utf8(item.unwrap().1).unwrap() + "\n").collect()
    }

    pub async fn flags(&self) -> HashMap<String, u64> {
        let register = Register::open_for_reading(&self.state()).await.unwrap().unwrap();
        register.count_flags(&format!("memory/{DATASET}")).await.unwrap()
    }

    /// The log verifies, and no intent is open.
    pub fn verify(&self) {
        assert_eq!(self.verify_open(), 0, "every intent has its outcomes");
    }

    /// The log verifies; how many intents are open.
    pub fn verify_open(&self) -> u64 {
        let key = std::fs::read_to_string(self.state().join("keys/log.vkey")).unwrap();
        verify(&self.log(), key.trim(), &|_, _| {}).unwrap().open_intents
    }
}

pub fn ago(today: Date, days: i64) -> Date {
    today.checked_sub(jiff::Span::new().days(days)).unwrap()
}

pub fn plans_in(state: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(state.join("plans")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
