//! What became of records whose removal a crash interrupted.
//!
//! After a crash the log may hold intents without outcome for some records. Nothing is known of them but that they may be gone, so recovery
//! **looks**: it finds each record in its store and writes a `recovered` entry that says what it found.
//!
//! - `gone`: the record is not there. The intent was durable before the record was touched, so it went under that intent.
//! - `anonymised`: it is there, and holds what the interrupted run was to write into it.
//! - `present`: it is there. It is judged again by the next run, as any other.
//! - `remains`: the record is gone, but companion files are left. They are removed now, under a new intent, through the one door.
//!
//! The keys behind the pseudonyms come from the plan that the interrupted run left. When that is gone too, the whole dataset is scanned and each
//! record's pseudonym compared: what a complete scan does not find is gone. When the store cannot be asked, when the dataset is no longer configured,
//! or when another place than the run worked on stands under the store's name (a disk that is not mounted), the intent stays open: a person is told,
//! and the next start tries again. Nothing is guessed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::sync::mpsc;

use crate::audit::{Draft, Kind as EntryKind, Reader};
use crate::clock;
use crate::config::{Dataset, Mode};
use crate::dispose::{BY, Erasure, spend};
use crate::error::{Error, Kind, Result};
use crate::finding::Finding;
use crate::plan::{Item, Tally};
use crate::register::{OpenIntent, Projected, Unfinished};
use crate::review::{self, Batch};
use crate::scan::source;
use crate::session::{Progress, Session};
use crate::spool::{self, Spool, Writer};
use crate::store::{Act, BATCH, Found, Query};

/// What looking for one record brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Gone,
    Present,
    Anonymised,
    Remains,
}

/// The items of records whose keys are known, by the records' names, and what looking brought for each.
type Looked = (HashMap<String, Item>, Vec<(String, Look)>);

/// What the plan of an interrupted run says of the records that it left open. A run leaves several intents, and its plan may be long: it is read once for
/// all of them.
#[derive(Default)]
struct Planned {
    run: String,
    items: HashMap<String, Item>,
}

impl Look {
    fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Present => "present",
            Self::Anonymised => "anonymised",
            Self::Remains => "remains",
        }
    }
}

impl Session {
    /// Settles every open intent that can be settled, then closes the runs that a crash interrupted; answers what a person should know. No run may be
    /// under way.
    pub(crate) async fn recover(&self) -> Result<Vec<Finding>> {
        let projected = self.project().await?;
        self.settle_all(projected).await
    }

    /// Brings register and holds up to the end of the log; answers what is open there.
    pub(crate) async fn project(&self) -> Result<Projected> {
        let projected = self.register.project(&self.log_folder()).await?;
        // Recovery may remove what is left of records; a hold wins here as anywhere.
        if !self.shared.holds_loaded.load(Ordering::Relaxed) {
            self.load_holds().await?;
            self.shared.holds_loaded.store(true, Ordering::Relaxed);
        }
        Ok(projected)
    }

    /// The second half of [`Session::recover`].
    pub(crate) async fn settle_all(&self, projected: Projected) -> Result<Vec<Finding>> {
        let mut told = Vec::new();
        for dataset in &self.config.datasets {
            if projected.open.iter().any(|open| open.store == dataset.store.name() && open.dataset == dataset.name) {
                self.refresh_approvals(dataset).await?;
            }
        }
        let mut closed: HashMap<String, u64> = HashMap::new();
        let mut stuck: BTreeSet<String> = BTreeSet::new();
        let mut planned = Planned::default();
        for open in &projected.open {
            let of_its_run = projected.open.iter().filter(|other| other.run == open.run);
            match self.settle(open, of_its_run, &mut planned, &mut told).await? {
                Some(settled) => *closed.entry(open.run.clone()).or_default() += settled,
                None => drop(stuck.insert(open.run.clone())),
            }
        }
        for unfinished in projected.unfinished {
            if !stuck.contains(&unfinished.run) {
                let recovered = closed.remove(&unfinished.run).unwrap_or(0);
                self.close_run(unfinished, recovered).await?;
            }
        }
        let left = self.register.project(&self.log_folder()).await?;
        let adrift = left.open.iter().map(|open| (format!("{}/{}", open.store, open.dataset), open.records.len() as u64));
        self.shared.hands.set_adrift(adrift);
        self.shared.settled(left.entries, !left.open.is_empty() || !left.unfinished.is_empty()).await;
        let needed: Vec<String> = left.open.into_iter().map(|open| open.run).collect();
        spool::clean(&self.plans(), &needed);
        let configured = |address: &str| self.config.datasets.iter().any(|dataset| dataset.address == address);
        Batch::clean(&review::folder(&self.config), configured)?;
        Ok(told)
    }

    /// Looks for every record of an open intent. `None`: the store could not be asked, and the intent stays open.
    async fn settle(
        &self,
        open: &OpenIntent,
        of_its_run: impl Iterator<Item = &OpenIntent>,
        planned: &mut Planned,
        told: &mut Vec<Finding>,
    ) -> Result<Option<u64>> {
        let address = format!("{}/{}", open.store, open.dataset);
        let Some(dataset) = self.config.dataset(&open.store, &open.dataset).cloned() else {
            let text = format!(
                "{} records of an interrupted run cannot be looked for, because the dataset is no longer configured",
                open.records.len()
            );
            told.push(Finding::blocks(&address, text));
            return Ok(None);
        };
        if !open.mark.is_empty() && open.mark != dataset.store.mark().await {
            // An empty mount point would answer that everything is gone.
            let text = format!(
                "{} records of an interrupted run cannot be looked for: {} is not the place that the run worked on; is a disk not mounted?",
                open.records.len(),
                dataset.store.place()
            );
            told.push(Finding::blocks(&address, text));
            return Ok(None);
        }
        if let Err(why) = dataset.store.at_rest().await {
            let text = format!("{} records of an interrupted run cannot be looked for yet: {why}", open.records.len());
            told.push(Finding::blocks(&address, text));
            return Ok(None);
        }
        let looked = match self.look(open, of_its_run, planned, &dataset).await {
            Ok(looked) => looked,
            Err(why) => {
                let text = format!("{} records of an interrupted run cannot be looked for, and stay open: {why}", open.records.len());
                told.push(Finding::blocks(&address, text));
                return Ok(None);
            }
        };
        let (items, looked) = looked;
        let (mut gone, mut present, mut anonymised) = (0, 0, 0);
        let mut drafts = Vec::with_capacity(looked.len());
        let mut remains = Vec::new();
        for (name, look) in &looked {
            let item = items.get(name);
            match look {
                Look::Gone => gone += 1,
                Look::Present => present += 1,
                Look::Anonymised => anonymised += 1,
                Look::Remains => {
                    gone += 1;
                    remains.extend(item.map(|item| (name.clone(), item.clone())));
                }
            }
            drafts.push(Draft::new(EntryKind::Recovered, &recovered(open, name, *look, item))?);
        }
        let settled = u64::try_from(drafts.len()).unwrap_or(0);
        // First: were it interrupted after the intent is settled, nobody would know of what is left.
        if !self.remove_remains(open, &dataset, remains, told).await? {
            return Ok(None);
        }
        for chunk in chunks(drafts) {
            self.log.commit(chunk).await?;
        }
        let changed = if anonymised > 0 { format!(", {anonymised} are anonymised") } else { String::new() };
        let text = format!(
            "a run was interrupted: of the records it had announced to {}, {gone} are gone{changed} and {present} are still there",
            open.act.as_str()
        );
        told.push(Finding::note(&address, text));
        Ok(Some(settled))
    }

    /// Looks for every record of an open intent: by its key where the plan of the interrupted run still tells it, otherwise among all records.
    async fn look(
        &self,
        open: &OpenIntent,
        of_its_run: impl Iterator<Item = &OpenIntent>,
        planned: &mut Planned,
        dataset: &Arc<Dataset>,
    ) -> std::result::Result<Looked, String> {
        if planned.run != open.run {
            let names = of_its_run.flat_map(|other| &other.records).map(String::as_str).collect();
            let items = self.items_of(&open.run, &names, dataset).map_err(|error| error.to_string())?;
            *planned = Planned { run: open.run.clone(), items };
        }
        let of = |name: &String| planned.items.get(name).map(|item| (name.clone(), item.clone()));
        let items: HashMap<String, Item> = open.records.iter().filter_map(of).collect();
        let looked = if items.len() == open.records.len() {
            self.look_by_key(open.act, dataset, &items).await?
        } else {
            self.look_by_scan(open, dataset).await?
        };
        Ok((items, looked))
    }

    /// The items behind the pseudonyms that an interrupted run left open, as far as its plan is still there and is one.
    ///
    /// A plan that is there and cannot be read at this moment is a failure: only with the key can be told what is left of a record, and once the
    /// intent is settled nobody looks again.
    fn items_of(&self, run: &str, names: &HashSet<&str>, dataset: &Dataset) -> Result<HashMap<String, Item>> {
        let path = self.plans().join(format!("{run}.plan"));
        let mut items = HashMap::new();
        let there = path.try_exists().map_err(|error| Error::with_source(Kind::Io, "the plan cannot be looked for", error))?;
        let listed = match Spool::open(&path, None).and_then(|plan| plan.items()) {
            Ok(listed) => listed,
            Err(error) if error.kind() == Kind::Io && there => return Err(error),
            Err(_) => return Ok(items),
        };
        for item in listed {
            let item = match item {
                Ok(item) => item,
                Err(error) if error.kind() == Kind::Io => return Err(error),
                Err(_) => break,
            };
            if let Some(name) = self.known_as(dataset, |name| names.contains(name), item.record.key.as_bytes()) {
                items.insert(name, item);
            }
        }
        Ok(items)
    }

    /// The name that a record with this key goes by, if that is among those that are looked for.
    fn known_as(&self, dataset: &Dataset, is_among: impl Fn(&str) -> bool, key: &[u8]) -> Option<String> {
        self.pseudonyms.all_for(dataset.store.name(), &dataset.name, key).into_iter().find(|name| is_among(name))
    }

    async fn look_by_key(
        &self,
        act: Act,
        dataset: &Dataset,
        items: &HashMap<String, Item>,
    ) -> std::result::Result<Vec<(String, Look)>, String> {
        let mut looked = Vec::with_capacity(items.len());
        let all: Vec<(&String, &Item)> = items.iter().collect();
        for batch in all.chunks(BATCH) {
            let keys: Vec<_> = batch.iter().map(|(_, item)| item.record.key.clone()).collect();
            let found = dataset.store.fetch(&dataset.name, &keys).await.map_err(|error| error.to_string())?;
            if found.len() != keys.len() {
                return Err("the store answered for another number of records".into());
            }
            for ((name, _), found) in batch.iter().zip(found) {
                let look = match found {
                    // What was so before it was announced would not have been announced.
                    Found::Anonymised(_) if act == Act::Anonymise => Look::Anonymised,
                    Found::Present(_) | Found::Anonymised(_) | Found::Outside(_) => Look::Present,
                    Found::Absent => Look::Gone,
                    Found::Remains => Look::Remains,
                    Found::Unknown(why) => return Err(why),
                };
                looked.push(((*name).clone(), look));
            }
        }
        Ok(looked)
    }

    async fn look_by_scan(&self, open: &OpenIntent, dataset: &Arc<Dataset>) -> std::result::Result<Vec<(String, Look)>, String> {
        // Without its key nothing would bear the name, and all would seem gone.
        let nameless = open.records.iter().filter_map(|name| year_of(name)).find(|year| self.pseudonyms.epoch(*year).is_none());
        if let Some(year) = nameless {
            return Err(format!("the key of {year}, by which they are named, is not in the state folder; restore it"));
        }
        let (out, mut batches) = mpsc::channel(4);
        let query = Query { bound: None, whole: true, now: self.now, seen: Arc::default() };
        let scanning = tokio::spawn({
            let dataset = Arc::clone(dataset);
            async move { dataset.store.scan(&dataset.name, query, out).await }
        });
        let mut present = HashSet::new();
        while let Some(batch) = batches.recv().await {
            present.extend(
                batch.iter().filter_map(|record| self.known_as(dataset, |name| open.records.contains(name), record.key.as_bytes())),
            );
        }
        let scanned = scanning.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if let Some(why) = scanned.incomplete {
            // It may name folders, and this goes to the journal of the system.
            tracing::debug!("{}: the scan for interrupted records was incomplete: {why}", dataset.address);
            return Err("it could not be seen completely; `plan` says why".into());
        }
        let look = |name: &String| if present.contains(name) { Look::Present } else { Look::Gone };
        Ok(open.records.iter().map(|name| (name.clone(), look(name))).collect())
    }

    /// Removes companion files whose record is gone, as a run of its own. Answers whether that was possible: outside the dataset's window nothing
    /// is removed, and whoever settles the intent then would be the last to know of them.
    async fn remove_remains(
        &self,
        open: &OpenIntent,
        dataset: &Arc<Dataset>,
        mut remains: Vec<(String, Item)>,
        told: &mut Vec<Finding>,
    ) -> Result<bool> {
        if open.carried {
            // What people approved or decided stands in the log before this one, and nothing here may rest on it.
            let before = remains.len();
            remains.retain(|(_, item)| item.approval.is_none() && item.erasure.is_none());
            if remains.len() < before {
                let text = format!(
                    "companion files of {} records that people had approved or decided to destroy, by the log before this one, are left; \
                     remove them by hand",
                    before - remains.len()
                );
                told.push(Finding::warning(&dataset.address, text));
            }
        }
        if remains.is_empty() || dataset.mode == Mode::Report {
            return Ok(true);
        }
        if let Some(window) = dataset.window_shown().filter(|_| !dataset.is_open(clock::now())) {
            let text = format!(
                "companion files of {} records that are gone are left from an interrupted run; the next start within the window {window} removes them",
                remains.len()
            );
            told.push(Finding::note(&dataset.address, text));
            return Ok(false);
        }
        if let Some(pause) = self.paused(dataset.store.name()) {
            let text = format!("companion files of {} records that are gone are left from an interrupted run: {pause}", remains.len());
            told.push(Finding::note(&dataset.address, text));
            return Ok(false);
        }
        let mut run = self.new_run(dataset, &Progress::default())?;
        if let Some(run) = Arc::get_mut(&mut run) {
            // In another year too a record goes by the name under which it was announced, and decided about.
            if let Some(epoch) = open.records.iter().find_map(|name| self.pseudonyms.epoch(year_of(name)?)) {
                run.epoch = epoch;
            }
            if remains.iter().any(|(_, item)| item.erasure.is_some()) {
                let log = Reader::open(&self.log_folder())?;
                run.erasure = Erasure::of_what_is_left(&log, dataset, &remains)?.map(Arc::new);
            }
        }
        let mark = self.started(&run, None, Some("recovery")).await?;
        let mut writer = Writer::create(&self.plans())?;
        for (_, item) in &remains {
            writer.add_item(item)?;
        }
        let mut plan = writer.finish(&source(dataset).await, Tally::default())?;
        if plan.footer.mark != mark {
            return Ok(false);
        }
        plan.keep(&self.plans(), &run.id)?;
        let spent = spend(&run, &plan).await?;
        if spent.open() == 0 {
            plan.discard()?;
            let end = if spent.stopped.is_some() { "stopped" } else { "done" };
            let counts = std::collections::BTreeMap::from([
                ("absent", spent.counts.absent),
                ("kept", spent.counts.kept),
                ("failed", spent.counts.failed),
                ("destroyed", spent.counts.destroyed),
            ]);
            let body = json!({"run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "end": end, "counts": counts, "reason": "recovery"});
            self.finish_run(&run.id, body).await?;
        }
        Ok(spent.stopped.is_none())
    }

    /// Writes the end of a run that a crash interrupted.
    async fn close_run(&self, unfinished: Unfinished, recovered: u64) -> Result<()> {
        let mut counts = unfinished.counts;
        *counts.entry(EntryKind::Recovered.as_str()).or_default() += recovered;
        let body = json!({"run": unfinished.run, "store": unfinished.store, "dataset": unfinished.dataset, "end": "interrupted", "counts": counts, "by": BY});
        self.finish_run(&unfinished.run, body).await
    }
}

/// The year whose key made a pseudonym; `None` for a plain name.
fn year_of(name: &str) -> Option<i16> {
    name.split_once(':')?.0.parse().ok()
}

fn recovered(open: &OpenIntent, name: &str, look: Look, item: Option<&Item>) -> serde_json::Value {
    let mut body = json!({
        "run": open.run, "intent": open.entry, "store": open.store, "dataset": open.dataset, "act": open.act, "record": name, "found": look.word(), "by": BY,
    });
    // By which schedule it was announced, and what people approved or decided, stands in the log before when the intent was carried over from there: the
    // numbers of those entries are those of others here. As of a record whose plan was lost, the entry then says only what was found.
    if let Some(item) = item.filter(|_| !open.carried) {
        body["class"] = json!(item.deciding.class.as_str());
        body["size"] = json!(item.record.size);
        body["schedule"] = json!(&*item.deciding.schedule);
        body["event"] = json!(item.deciding.event.as_str());
        body["event_date"] = json!(item.deciding.event_date.to_string());
        body["due"] = json!(item.deciding.due.to_string());
        if let Some(approval) = &item.approval {
            body["batch"] = json!(approval.batch);
            body["approval"] = json!(approval.entries);
        }
        if let Some(entry) = item.erasure {
            body["erasure"] = json!(entry);
        }
    }
    body
}

fn chunks(mut drafts: Vec<Draft>) -> Vec<Vec<Draft>> {
    let mut chunks = Vec::new();
    while drafts.len() > BATCH {
        let rest = drafts.split_off(BATCH);
        chunks.push(std::mem::replace(&mut drafts, rest));
    }
    chunks.push(drafts);
    chunks
}
