//! Scan and judge one dataset: the way to a plan, for dry and real runs alike.
//!
//! The store sends batches, the assessor judges them, and every due record goes into the spool. Memory holds a few batches, however many records
//! there are. A plan comes out only of a complete scan; otherwise there are numbers and the reason, and nothing to spend.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::assess::{Assessment, Assessor};
use crate::config::Dataset;
use crate::dispose::Brake;
use crate::error::{Error, Kind, Result};
use crate::finding::{Finding, Severity};
use crate::judge::Standing;
use crate::plan::Tally;
use crate::record::Record;
use crate::schedule::Disposition;
use crate::spool::{Source, Spool, Writer};
use crate::store::twins::twin_of;
use crate::store::{BATCH, Query, Store};

/// Messages on their way from the store to the judge: enough that neither waits for the other, few enough to hold in memory.
const IN_FLIGHT: usize = 3;

/// How often a scan looks whether it is to stop: so often that people do not notice the wait.
const STOP_CHECKED: Duration = Duration::from_millis(100);

/// What came out of a scan.
pub struct Planned {
    /// The plan, when the scan was complete and its items were to be written.
    pub plan: Option<Spool>,
    /// The numbers.
    pub tally: Tally,
    /// Why there is no plan.
    pub incomplete: Option<String>,
    /// Things seen on the way.
    pub findings: Vec<Finding>,
}

impl Planned {
    /// No plan, because the store could not be scanned.
    pub fn failed(why: String) -> Self {
        Self { plan: None, tally: Tally::default(), incomplete: Some(why), findings: Vec::new() }
    }
}

/// Called for each record that the scan was sent, in listings.
pub type Listen<'a> = dyn FnMut(&Record, &Assessment) + Send + 'a;

/// Scans the dataset, judges every record, and freezes what is due in the folder `spool`; without one there are only the numbers. `everything` asks the store for records that cannot be due as well, so that a
/// listing can show them; the plan is the same. When the brake is pulled it ends soon, without a plan; the store may go on reading until it has something
/// to send.
pub async fn scan(
    assessor: &Assessor,
    spool: Option<&Path>,
    seen: Arc<AtomicU64>,
    brake: &Brake,
    everything: bool,
    mut listen: Option<&mut Listen<'_>>,
) -> Result<Planned> {
    let dataset = Arc::clone(assessor.dataset());
    let (mut findings, blocked) = look_at_store(&dataset, assessor.stores()).await?;
    if let Some(why) = blocked {
        return Ok(Planned { findings, ..Planned::failed(why) });
    }
    let now = assessor.today().instant();
    let query = Query { bound: if everything { None } else { Some(assessor.bound()) }, whole: false, now, seen };
    let (out, mut messages) = mpsc::channel::<Vec<Record>>(IN_FLIGHT);
    let scanning = tokio::spawn({
        let (dataset, query) = (Arc::clone(&dataset), query.clone());
        async move { dataset.store.scan(&dataset.name, query, out).await }
    });
    // Not after the scan: should another database have taken the place of this one by then, the plan is none of its.
    let mark = spool.map(|_| {
        let dataset = Arc::clone(&dataset);
        tokio::spawn(async move { dataset.store.mark().await })
    });
    let by_hand = dataset.store.is_attested();
    let mut tally = Tally::default();
    let mut writer = spool.map(Writer::create).transpose()?;
    let mut trouble = None;
    let mut stopped = std::pin::pin!(stopped(brake));
    loop {
        let message = tokio::select! {
            biased;
            () = &mut stopped => {
                scanning.abort();
                return Ok(Planned { findings, ..Planned::failed("it was told to stop".into()) });
            }
            message = messages.recv() => message,
        };
        let Some(message) = message else { break };
        for batch in message.chunks(BATCH) {
            let assessments = assessor.assess(batch).await;
            let gone = if by_hand { assessor.attested(batch, &assessments).await? } else { Vec::new() };
            for (at, (record, assessment)) in batch.iter().zip(&assessments).enumerate() {
                let verdict = &assessment.verdict;
                if gone.get(at) == Some(&true) {
                    tally.attested += 1;
                    continue;
                }
                if by_hand {
                    tally.count_by_hand(verdict, record);
                } else {
                    tally.count(verdict, record);
                }
                if let Some(listen) = &mut listen {
                    listen(record, assessment);
                }
                if let (Some(writer), Standing::Due, Some(then), Some(deciding)) =
                    (&mut writer, verdict.standing, verdict.then, &verdict.deciding)
                {
                    trouble = trouble.or(writer.add(record, then, deciding).err());
                }
            }
        }
        if trouble.is_some() {
            break;
        }
    }
    drop(messages);
    let scanned = scanning
        .await
        .map_err(|error| Error::with_source(Kind::Store, format!("{}: the scan ended abnormally", dataset.address), error))?;
    if let Some(error) = trouble {
        return Err(error);
    }
    let scanned = scanned.map_err(|error| error.context(&dataset.address))?;
    tally.population = scanned.population;
    tally.population_is_least = scanned.left_out;
    let needed = dataset.limits.population_needed(tally.disposed());
    if scanned.left_out && scanned.incomplete.is_none() && tally.population < needed {
        // The share looks too large only because young parts were not counted: count as many of them as it takes to know.
        let more = dataset
            .store
            .count_left_out(&dataset.name, query, needed - tally.population)
            .await
            .map_err(|error| error.context(&dataset.address))?;
        tally.population += more;
    }
    let whole = writer.filter(|_| scanned.incomplete.is_none());
    let plan = match whole.zip(mark) {
        Some((writer, mark)) => {
            let ended = |error| Error::with_source(Kind::Store, format!("{}: the store's mark could not be asked", dataset.address), error);
            Some(writer.finish(&source_of(&dataset, mark.await.map_err(ended)?), tally.clone())?)
        }
        None => None,
    };
    findings.extend(scanned.findings);
    Ok(Planned { plan, tally, incomplete: scanned.incomplete, findings })
}

/// Where and when a plan of this dataset is made.
pub(crate) async fn source(dataset: &Dataset) -> Source<'_> {
    source_of(dataset, dataset.store.mark().await)
}

fn source_of(dataset: &Dataset, mark: String) -> Source<'_> {
    Source { store: dataset.store.name(), dataset: &dataset.name, mark, made: format!("{:.0}", crate::clock::now()) }
}

/// Returns when the brake was pulled.
async fn stopped(brake: &Brake) {
    while brake.pulled().is_none() {
        tokio::time::sleep(STOP_CHECKED).await;
    }
}

/// What the store, one of these, finds about this dataset before it is read; and whether something keeps the dataset from being run.
pub(crate) async fn look_at_store(dataset: &Dataset, stores: &[Arc<dyn Store>]) -> Result<(Vec<Finding>, Option<String>)> {
    let about_this = |finding: &Finding| finding.about == dataset.address || finding.about == dataset.store.name();
    let found: Vec<Finding> = dataset.store.check().await?.into_iter().filter(about_this).collect();
    let mut blocks: Vec<String> =
        found.iter().filter(|finding| finding.severity == Severity::Blocks).map(|finding| finding.message.clone()).collect();
    blocks.extend(twin_of(&*dataset.store, stores).await);
    // Notes are for `check`; a run repeats what a person should act on.
    let findings = found.into_iter().filter(|finding| finding.severity == Severity::Warning).collect();
    Ok((findings, (!blocks.is_empty()).then(|| blocks.join("; "))))
}

/// Whether a plan holds anything that would be done to records, as opposed to told about them.
pub fn acts(then: Disposition) -> bool {
    matches!(then, Disposition::Destroy | Disposition::Anonymise)
}
