//! `retentiond check`

use clap::Args;
use serde_json::json;

use super::{Common, DONE, FINDINGS, print_line};
use crate::clock::Today;
use crate::error::Result;
use crate::finding::{Finding, Severity};
use crate::report;

#[derive(Args)]
pub(crate) struct Options {
    /// Also open the stores and check that everything the datasets name is there; still reads no record
    #[arg(long)]
    connect: bool,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config = common.load()?;
    let today = Today::now();
    let mut findings = crate::schedule::check::check(&config.schedules, |zone| today.date_in(zone));
    findings.extend(config.check());
    if options.connect {
        for store in &config.stores {
            match store.check().await {
                Ok(found) => findings.extend(found),
                Err(error) => findings.push(Finding::blocks(store.name(), error.to_string())),
            }
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
