//! The configuration: where the records live, and how carefully to go about it.
//!
//! Administrators own this file; the schedule, which compliance owns, names no system. Loading joins the two: every dataset is bound to its
//! classes, every class's events to the place where their dates are found. Whatever does not fit is refused with file, line and column, all
//! problems at once, before any store is opened.
//!
//! Secrets never stand in the file. Relative paths are relative to the folder of the file.

mod dataset;
mod limits;
mod log;
mod places;
mod service;
mod watch;
mod whereabouts;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use dataset::{ClassChoice, Dataset, EventSource, KeyNames, Lookup};
pub use limits::Limits;
pub use log::LogRules;
pub use service::{DEFAULT_CONTROL, Service};
pub use watch::{Listen, Metrics, Notify};
pub use whereabouts::Whereabouts;

use crate::audit::{Anchor, Settings};
use crate::error::{Error, Kind, Result, escape};
use crate::finding::Finding;
use crate::record::Address;
use crate::schedule::{Disposition, Period, RecordClass, Schedules, Timetable, Window};
use crate::store::{KINDS, Store, StoreHead};
use crate::yaml::{Document, Fields, Mark, Node, Problems, Value, join, near, suggest};

/// Where the configuration is looked for when nothing else is said.
pub const DEFAULT_FILE: &str = "/etc/retentiond/retentiond.yaml";

/// Where the state is kept when the configuration does not say.
pub const DEFAULT_STATE: &str = "/var/lib/retentiond";

/// The program's configuration, joined with the schedules it names.
pub struct Config {
    /// The file, as messages call it.
    pub file: String,
    /// The name of the log: its origin is `retentiond/<node>`.
    pub node: String,
    /// The folder of audit log, keys and register.
    pub state: PathBuf,
    /// How the service goes about it.
    pub service: Service,
    /// Where monitoring finds its numbers.
    pub metrics: Metrics,
    /// Whom the service tells of troubles, and how.
    pub notify: Option<Notify>,
    /// Where checkpoints of the log go, besides the journal of the system.
    pub anchors: Vec<Anchor>,
    /// What becomes of the log.
    pub log: LogRules,
    /// The schedules in force.
    pub schedules: Schedules,
    /// The stores in the order of the file.
    pub stores: Vec<Arc<dyn Store>>,
    /// The datasets of all stores in the order of the file.
    pub datasets: Vec<Arc<Dataset>>,
}

/// Whether due records are only reported or really disposed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is destroyed.
    Report,
    /// Due records are disposed of.
    Enforce,
}

/// What a dataset takes over from its store, and a store from the file, when it says nothing itself.
#[derive(Clone)]
struct Defaults {
    mode: Mode,
    limits: Limits,
    scan: Option<Timetable>,
    window: Option<Window>,
    backups: Option<Period>,
}

impl Config {
    /// Loads the configuration and the schedules it names.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_with(path, None)
    }

    /// Loads the configuration with other schedules than it names: an edit that is not in force.
    pub fn load_with(path: &Path, schedules: Option<&Path>) -> Result<Self> {
        let name = escape(path.as_os_str().as_encoded_bytes());
        if path == Path::new(DEFAULT_FILE) && !path.exists() {
            return Err(Error::new(
                Kind::Config,
                format!("{name}: there is no configuration; write one, or name another with --config FILE"),
            ));
        }
        let document = Document::read(path, &name)?;
        let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::read(&document, base, schedules)
    }

    /// The configuration in a document, with relative paths starting at `base`.
    pub fn from_document(document: &Document, base: &Path) -> Result<Self> {
        Self::read(document, base, None)
    }

    fn read(document: &Document, base: &Path, other_schedules: Option<&Path>) -> Result<Self> {
        let mut problems = Problems::new(&document.name);
        let Some(mut fields) = document.root.fields("a configuration (a mapping that begins with `node: NAME`)", &mut problems) else {
            problems.into_result()?;
            return Err(Error::new(Kind::Config, format!("{}:1:1: expected a configuration", document.name)));
        };
        let node = fields.need("node", "a configuration", &mut problems).and_then(|node| node_name(node, &mut problems));
        let (state, state_mark) = path_of(&mut fields, "state", base, DEFAULT_STATE, &mut problems);
        let (schedules_path, schedules_mark) = path_of(&mut fields, "schedules", base, "schedules", &mut problems);
        let schedules_path = other_schedules.map_or(schedules_path, Path::to_owned);
        let defaults = Defaults { mode: Mode::Report, limits: Limits::default(), scan: None, window: None, backups: None };
        let defaults = defaults.overridden(&mut fields, &mut problems);
        let service = Service::read(&mut fields, base, &mut problems);
        // A class that cannot be found is no news while its schedule does not load; both kinds of trouble are reported together all the same.
        let (schedules, schedule_lines) = match Schedules::load(&schedules_path) {
            Ok(schedules) => (Some(schedules), Vec::new()),
            // That there is nothing to load is a matter of this file, which names the place.
            Err(error) if std::fs::metadata(&schedules_path).is_err() => {
                problems.add(schedules_mark, format!("`schedules`: {error}"));
                (None, Vec::new())
            }
            Err(error) => (None, vec![error.to_string()]),
        };
        let mut named = Vec::new();
        let anchors = log::anchors(&mut fields, base, &mut named, &mut problems);
        let log = log::rules(&mut fields, base, schedules.as_ref(), &mut named, &mut problems);
        let metrics = watch::metrics(&mut fields, base, &mut problems);
        let notify = watch::notify(&mut fields, base, schedules.as_ref(), &mut problems);
        let mut reader = StoresReader { base, schedules: schedules.as_ref(), stores: Vec::new(), datasets: Vec::new() };
        if let Some(node) = fields.need("stores", "a configuration", &mut problems)
            && let Some(list) = node.fields("the stores: a mapping from name to store", &mut problems)
        {
            for (name, mark, node) in list.names() {
                if let Err(error) = store_name(name) {
                    problems.add(mark, error);
                }
                reader.store(name, mark, node, &defaults, &mut problems);
            }
            if matches!(&node.value, Value::Mapping(pairs) if pairs.is_empty()) {
                problems.add(node.mark, "expected at least one store, found none: an empty configuration is taken for a mistake");
            }
        }
        fields.finish("configuration", &mut problems);
        let StoresReader { stores, datasets, .. } = reader;
        dataset::check_lookups(&datasets, &mut problems);
        let mut own = vec![
            (log::Named { what: "the state folder", path: state.clone(), mark: state_mark }, "the audit log"),
            (log::Named { what: "the place of the schedules", path: schedules_path, mark: schedules_mark }, "them"),
        ];
        own.extend(named.into_iter().map(|named| (named, "what it holds")));
        places::refuse_meetings(&stores, &own, &mut problems);
        let mut lines = schedule_lines;
        lines.extend(problems.lines());
        join(&lines)?;
        let (Some(node), Some(schedules)) = (node, schedules) else {
            return Err(Error::new(Kind::Config, format!("{}:1:1: expected a configuration", document.name)));
        };
        let datasets = datasets.into_iter().map(|(dataset, _)| Arc::new(dataset)).collect();
        let stores = stores.into_iter().map(|(store, _)| store).collect();
        Ok(Self { file: document.name.clone(), node, state, service, metrics, notify, anchors, log, schedules, stores, datasets })
    }

    /// The audit log that this configuration describes.
    pub fn log_settings(&self) -> Settings {
        let mut settings = Settings::new(&self.state, &self.node);
        settings.credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(&self.log.credential));
        settings.anchors.push(Anchor::Journald);
        settings.anchors.extend(self.anchors.iter().cloned());
        settings
    }

    /// Tells the stores that nothing more is asked of them for now.
    pub async fn leave(&self) {
        for store in &self.stores {
            store.leave().await;
        }
    }

    /// What a person should know about how schedule and stores fit together; opens nothing.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for schedule in &self.schedules.all {
            let used = |class: &&Arc<RecordClass>| {
                let of_log = self.log.rule.as_ref().is_some_and(|rule| rule.class.id == class.id);
                of_log || self.datasets.iter().any(|dataset| dataset.rules().iter().any(|rule| rule.class.id == class.id))
            };
            let unused: Vec<&str> = schedule.classes.values().filter(|class| !used(class)).map(|class| class.id.as_str()).collect();
            if !unused.is_empty() {
                let text =
                    format!("no dataset has these classes, so this service does not look after their records: {}", unused.join(", "));
                findings.push(Finding::note(&schedule.file, text));
            }
        }
        for store in &self.stores {
            for (one, other) in store.overlaps() {
                let text =
                    format!("may match the same records as {}/{other}; such a record is kept until it is due under both", store.name());
                findings.push(Finding::warning(format!("{}/{one}", store.name()), text));
            }
        }
        for dataset in &self.datasets {
            let goes = dataset.mode == Mode::Enforce && dataset.rules().iter().any(|rule| rule.class.then == Some(Disposition::Destroy));
            let askers: Vec<&str> = self.datasets.iter().filter(|one| one.looks_into(dataset)).map(|one| one.address.as_str()).collect();
            if goes && !askers.is_empty() {
                let text = format!(
                    "its records are destroyed, and dates of {} are looked up in them: what is left there when they go can never be dated again, and stays. \
                     Runs take those first; give them no longer period and no lower limits than this",
                    askers.join(", ")
                );
                findings.push(Finding::note(&dataset.address, text));
            }
            if dataset.limits.is_unlimited() && dataset.mode == Mode::Enforce {
                findings.push(Finding::note(&dataset.address, "has no limits: a run may dispose of the whole dataset without asking"));
            }
        }
        findings
    }

    /// The dataset with this address, if there is one.
    pub fn dataset(&self, store: &str, name: &str) -> Option<&Arc<Dataset>> {
        self.datasets.iter().find(|dataset| dataset.store.name() == store && dataset.name == name)
    }

    /// The first dataset whose records have dates that are looked up in this one.
    pub fn looks_into(&self, dataset: &Dataset) -> Option<&str> {
        self.datasets.iter().find(|other| other.looks_into(dataset)).map(|other| other.address.as_str())
    }

    /// The record at an address as people write it, and its dataset; a helpful error when there is no such dataset.
    pub fn find(&self, address: &str) -> Result<(Address, Arc<Dataset>)> {
        let address = Address::parse(address).map_err(|error| Error::new(Kind::Usage, error))?;
        let wanted = format!("{}/{}", address.store, address.dataset);
        let dataset = self.dataset(&address.store, &address.dataset).cloned().ok_or_else(|| {
            let hint = suggest(&wanted, self.datasets.iter().map(|dataset| dataset.address.as_str()));
            Error::new(Kind::Usage, format!("no dataset is called \"{}\"{hint}", escape(wanted.as_bytes())))
        })?;
        Ok((address, dataset))
    }

    /// The datasets that `STORE` or `STORE/DATASET` selects; all for `None`. A dataset whose dates lie in another one comes before that: were
    /// the dates destroyed first, nobody could tell any more what is due.
    pub fn select(&self, selection: Option<&str>) -> Result<Vec<Arc<Dataset>>> {
        let Some(selection) = selection else {
            return Ok(askers_first(&self.datasets));
        };
        let matches = |dataset: &&Arc<Dataset>| dataset.address == selection || dataset.store.name() == selection;
        let found: Vec<_> = self.datasets.iter().filter(matches).cloned().collect();
        if found.is_empty() {
            let known = self.datasets.iter().flat_map(|dataset| [dataset.store.name(), dataset.address.as_str()]);
            let hint = suggest(selection, known);
            return Err(Error::new(Kind::Usage, format!("no store or dataset is called \"{}\"{hint}", escape(selection.as_bytes()))));
        }
        Ok(askers_first(&found))
    }
}

/// Puts every dataset before those that it looks into, and leaves the order as it is otherwise.
fn askers_first(datasets: &[Arc<Dataset>]) -> Vec<Arc<Dataset>> {
    fn visit(one: &Arc<Dataset>, all: &[Arc<Dataset>], met: &mut HashSet<String>, ordered: &mut Vec<Arc<Dataset>>) {
        // Those that look into each other in a circle are met once all the same.
        if met.insert(one.address.clone()) {
            all.iter().filter(|other| other.looks_into(one)).for_each(|asker| visit(asker, all, met, ordered));
            ordered.push(Arc::clone(one));
        }
    }
    let (mut met, mut ordered) = (HashSet::new(), Vec::with_capacity(datasets.len()));
    datasets.iter().for_each(|one| visit(one, datasets, &mut met, &mut ordered));
    ordered
}

/// Reads the stores one after the other.
struct StoresReader<'a> {
    base: &'a Path,
    schedules: Option<&'a Schedules>,
    stores: Vec<(Arc<dyn Store>, Mark)>,
    datasets: Vec<(Dataset, Vec<dataset::LookupMark>)>,
}

impl StoresReader<'_> {
    fn store(&mut self, name: &str, mark: Mark, node: &Node, defaults: &Defaults, problems: &mut Problems) {
        let what = format!("store \"{}\"", escape(name.as_bytes()));
        let mut inner = Problems::new(problems.file());
        if let Some(mut fields) = node.fields("a store: a mapping such as `files: /srv/cctv` with `datasets`", &mut inner) {
            self.store_fields((name, mark), &what, &mut fields, defaults, &mut inner);
            fields.finish(&what, &mut inner);
        }
        problems.absorb(inner, &what);
    }

    fn store_fields(
        &mut self,
        (name, mark): (&str, Mark),
        what: &str,
        fields: &mut Fields<'_>,
        defaults: &Defaults,
        problems: &mut Problems,
    ) {
        let defaults = defaults.clone().overridden(fields, problems);
        let places: Vec<_> = KINDS.iter().filter_map(|kind| fields.take(kind.key).map(|node| (kind, node))).collect();
        let datasets = fields.need("datasets", what, problems);
        let known = || KINDS.iter().map(|kind| format!("`{}:`", kind.key)).collect::<Vec<_>>().join(" or ");
        let (kind, place) = match places[..] {
            [one] => one,
            [] => return problems.add(fields.mark, format!("expected one key that says where the store is: {}", known())),
            [(one, _), (other, second), ..] => {
                let message = format!("a store is in one place, found `{}:` and `{}:`; make two stores of it", one.key, other.key);
                return problems.add(second.mark, message);
            }
        };
        let head = StoreHead { name, base: self.base };
        let Some(mut configure) = (kind.configure)(&head, place, fields, problems) else {
            return;
        };
        let mut read = Vec::new();
        if let Some(node) = datasets
            && let Some(list) = node.fields("the datasets: a mapping from name to dataset", problems)
        {
            if matches!(&node.value, Value::Mapping(pairs) if pairs.is_empty()) {
                problems.add(node.mark, "expected at least one dataset, found none");
            }
            for (dataset, mark, node) in list.names() {
                if let Err(error) = store_name(dataset) {
                    problems.add(mark, error);
                }
                let what = format!("dataset \"{}\"", escape(dataset.as_bytes()));
                let mut inner = Problems::new(problems.file());
                let part = dataset::read(dataset, mark, node, self.schedules, &defaults, &mut *configure, &mut inner);
                problems.absorb(inner, &what);
                read.extend(part.map(|part| (dataset.to_owned(), part)));
            }
        }
        let store = configure.finish();
        for (dataset, (parts, marks)) in read {
            if store.is_attested() && parts.has_inventory() {
                let why =
                    "`inventory` is not for lists of records that people destroy: what goes from a list is theirs to confirm; remove it";
                problems.add(mark, format!("dataset \"{dataset}\": {why}"));
            }
            self.datasets.push((parts.into_dataset(Arc::clone(&store), dataset), marks));
        }
        self.stores.push((store, mark));
    }
}

impl Defaults {
    /// These defaults with whatever the fields say instead.
    fn overridden(mut self, fields: &mut Fields<'_>, problems: &mut Problems) -> Self {
        if let Some(mode) = fields.take("mode").and_then(|node| mode_of(node, problems)) {
            self.mode = mode;
        }
        if let Some(node) = fields.take("limits") {
            self.limits = self.limits.overridden(node, problems);
        }
        if let Some(node) = fields.take("scan")
            && let Some(text) = node.text("a timetable such as \"15 2 * * *\"", problems)
        {
            self.scan = Timetable::parse(text).map_err(|error| problems.add(node.mark, error)).ok();
        }
        if let Some(node) = fields.take("window") {
            self.window = window_of(node, problems);
        }
        if let Some(node) = fields.take("backups")
            && let Some(text) = node.text("how long backups are kept, such as \"35 days\"", problems)
        {
            self.backups = Period::parse(text)
                .map_err(|error| problems.add(node.mark, format!("`backups`: period \"{}\" {error}", escape(text.as_bytes()))))
                .ok();
        }
        self
    }
}

/// One range of the time of day, or a list of them.
fn window_of(node: &Node, problems: &mut Problems) -> Option<Window> {
    const FORM: &str = "a range of the time of day such as 22:00-06:00, or a list of them";
    let mut window: Option<Window> = None;
    for node in node.one_or_more(FORM, problems) {
        let one = node.text(FORM, problems).map(Window::parse)?;
        let both = one.and_then(|one| window.take().map_or(Ok(one.clone()), |before| before.and(one)));
        window = Some(both.map_err(|error| problems.add(node.mark, error)).ok()?);
    }
    window
}

fn mode_of(node: &Node, problems: &mut Problems) -> Option<Mode> {
    match node.text("`mode` to be report or enforce", problems)? {
        "report" => Some(Mode::Report),
        "enforce" => Some(Mode::Enforce),
        other => {
            let hint = near(other, ["report", "enforce"]);
            problems.add(node.mark, format!("expected `mode` to be report or enforce, found \"{}\"{hint}", escape(other.as_bytes())));
            None
        }
    }
}

fn path_of(fields: &mut Fields<'_>, key: &'static str, base: &Path, default: &str, problems: &mut Problems) -> (PathBuf, Mark) {
    let node = fields.take(key);
    let written = node.and_then(|node| node.text(&format!("a path for `{key}`"), problems));
    (base.join(written.unwrap_or(default)), node.map_or(fields.mark, |node| node.mark))
}

/// The node's name goes into the log's origin, which allows no spaces and no `+`.
fn node_name(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text("the node's name, such as hq-1", problems)?;
    let fine = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !fine {
        let found = escape(text.as_bytes());
        problems.add(node.mark, format!("expected the node's name in at most 64 letters, digits, `.`, `_` and `-`, found \"{found}\""));
    }
    fine.then(|| text.to_owned())
}

/// Names of stores and datasets stand in addresses, so they hold no `/` and no `:`.
fn store_name(text: &str) -> std::result::Result<(), String> {
    let fine = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fine {
        Ok(())
    } else {
        Err(format!("expected a name in at most 64 letters, digits, `_` and `-`, found \"{}\"", escape(text.as_bytes())))
    }
}
