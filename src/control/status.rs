//! How the service stands: what `status` shows, over the socket and without a service.

use serde::{Deserialize, Serialize};

/// How the service stands. Instants are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The running service; `None` when none runs.
    pub service: Option<Service>,
    /// What is paused.
    pub pauses: Vec<Pause>,
    /// How many holds are in force.
    #[serde(default)]
    pub holds: u64,
    /// The ids of holds whose day of review is over.
    #[serde(default)]
    pub holds_to_review: Vec<String>,
    /// The edit through which records may wait.
    pub edit: Option<Edit>,
    /// What waits for people to review it.
    #[serde(default)]
    pub reviews: Option<Reviews>,
    /// The datasets in the order of the configuration.
    pub datasets: Vec<Dataset>,
}

/// What waits for people to review it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reviews {
    /// In how many batches.
    pub batches: u64,
    /// How many records.
    pub records: u64,
    /// Since when the first is asked.
    pub since: String,
}

/// The running service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it started.
    pub since: String,
    /// When schedule and configuration in force were loaded.
    pub loaded: String,
    /// Why the last reload was refused; what was in force before still is.
    pub reload_refused: Option<String>,
    /// Whether it is about to end.
    pub stopping: bool,
}

/// An edit that is not old enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Edit {
    /// The id by which a person confirms it.
    pub id: String,
    /// When it is old enough.
    pub until: String,
}

/// A pause in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pause {
    /// The store; `None`: everything.
    pub store: Option<String>,
    /// Since when.
    pub since: String,
    /// Why.
    pub reason: String,
    /// Who paused it.
    pub person: String,
}

/// One dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Dataset {
    /// `store/dataset`.
    pub dataset: String,
    /// `report` or `enforce`.
    pub mode: String,
    /// Its timetable.
    pub scan: Option<String>,
    /// When it is run next; `None` without a timetable, and without a service.
    pub next: Option<String>,
    /// Its last run that scanned it.
    pub last: Option<Last>,
    /// When a run over it last came to its end.
    pub satisfied: Option<String>,
    /// The run under way.
    pub running: Option<Running>,
    /// How often in a row it could not be run.
    pub failures: u32,
    /// Why it could not be run, or why it waits.
    pub why: Option<String>,
}

/// A run that was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Last {
    /// The run's id.
    pub run: String,
    /// When it began.
    pub began: String,
    /// When it ended.
    pub ended: Option<String>,
    /// How: the word of the log.
    pub how: Option<String>,
}

/// A run under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Running {
    /// Since when.
    pub since: String,
    /// Records seen.
    pub seen: u64,
    /// Records of the plan; 0 while scanning.
    pub planned: u64,
    /// Records of the plan with an outcome.
    pub done: u64,
}

impl Status {
    /// Whether a person must look.
    pub fn needs_attention(&self) -> bool {
        let unwell = |last: &Last| !matches!(last.how.as_deref(), Some("done" | "reported"));
        self.service.as_ref().is_some_and(|service| service.reload_refused.is_some())
            || !self.pauses.is_empty()
            || !self.holds_to_review.is_empty()
            || self.datasets.iter().any(|one| one.failures > 0 || one.running.is_none() && one.last.as_ref().is_some_and(unwell))
    }
}
