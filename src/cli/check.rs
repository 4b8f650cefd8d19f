//! `retentiond check`

use clap::Args;
use serde_json::json;

use super::{Common, DONE, FINDINGS, print_line};
use crate::clock::{self, Today};
use crate::config::{Config, Dataset, EventSource};
use crate::error::{Result, escape};
use crate::finding::{Finding, Severity};
use crate::record::{Doubt, Reading};
use crate::report;
use crate::store::twins::twin_of;

#[derive(Args)]
pub(crate) struct Options {
    /// Also open the stores and check that everything the datasets name is there and that dates can be looked up; changes nothing
    #[arg(long)]
    connect: bool,
}

/// Whether the dates of a dataset can be looked up where they are said to be: asked with a value that nothing has.
async fn look_ups(config: &Config, dataset: &Dataset) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (event, source) in &dataset.events {
        let EventSource::Lookup(lookup) = source else { continue };
        let Some(target) = config.dataset(&lookup.store, &lookup.dataset) else { continue };
        let answer = target.store.lookup(&target.name, &lookup.event, lookup.on.as_deref(), &["retentiond check"]).await;
        let failed = match answer.as_deref() {
            Ok([Reading::Doubt(Doubt::Failed(why))]) => Some(why.clone()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = failed {
            findings.push(Finding::blocks(&dataset.address, format!("`{event}` cannot be looked up in {}: {why}", target.address)));
        }
    }
    findings
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config = common.load()?;
    let today = Today::now();
    let mut findings = crate::schedule::check::check(&config.schedules, |zone| today.date_in(zone));
    findings.extend(config.check());
    for one in super::hold::read(&config).await? {
        if let Some(day) = one.hold.about.review.filter(|_| one.hold.review_is_overdue(clock::now())) {
            let text = format!("was to be reviewed by {day}, which is past; `hold extend` with a new day of review, or `hold release`");
            findings.push(Finding::warning(format!("hold {}", one.hold.id), text));
        }
    }
    for one in super::hold::read(&config).await? {
        let scope = &one.hold.scope;
        let class = scope.class.as_ref().filter(|class| !config.schedules.class_ids().any(|id| id.as_str() == *class));
        let dataset = scope.dataset.as_ref().filter(|dataset| !config.datasets.iter().any(|other| other.address == **dataset));
        for (what, name) in [("class", class), ("dataset", dataset)].into_iter().filter_map(|(what, name)| Some((what, name?))) {
            let text = format!(
                "names the {what} {}, which there is no more; until it is released it protects whatever else it covers, whichever {what} that has",
                escape(name.as_bytes())
            );
            findings.push(Finding::warning(format!("hold {}", one.hold.id), text));
        }
    }
    if options.connect {
        for store in &config.stores {
            match store.check().await {
                Ok(found) => findings.extend(found),
                Err(error) => findings.push(Finding::blocks(store.name(), error.to_string())),
            }
            findings.extend(twin_of(&**store, &config.stores).await.map(|why| Finding::blocks(store.name(), why)));
        }
        for dataset in &config.datasets {
            findings.extend(look_ups(&config, dataset).await);
        }
    }
    findings.sort_by(|one, other| (one.severity, &one.about).cmp(&(other.severity, &other.about)));
    if common.json {
        print_line(&json!({"classes": config.schedules.class_ids().count(), "stores": config.stores.len(), "datasets": config.datasets.len(), "findings": findings}).to_string())?;
    } else {
        print_line(&report::check(&config, &findings, options.connect))?;
    }
    let attention = findings.iter().any(|finding| finding.severity != Severity::Note);
    Ok(if attention { FINDINGS } else { DONE })
}
