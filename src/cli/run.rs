//! `retentiond run`

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::attend::attend;
use super::{Common, progress, tell_line};
use crate::config::Dataset;
use crate::control::{Client, Reply, Request, peer};
use crate::dispose::Brake;
use crate::error::Result;
use crate::report;
use crate::session::{Progress, Ran, Session, anchor_findings, exit_code, waits_for};

#[derive(Args)]
pub(crate) struct Options {
    /// Only this store or dataset [default: all]
    #[arg(value_name = "STORE[/DATASET]")]
    selection: Option<String>,
    /// Spend exactly the plan that was refused under this id, and nothing more
    #[arg(long, value_name = "PLAN", conflicts_with = "selection")]
    allow: Option<String>,
    /// The clock is right although it is far ahead of the audit log's newest entry
    #[arg(long)]
    trust_clock: bool,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config = common.load()?;
    let datasets = config.select(options.selection.as_deref())?;
    if let Some(service) = Client::connect(&config)? {
        return ask(common, options, service);
    }
    let mut session = Session::open(config, options.trust_clock).await?;
    Brake::pull_on_signals(&session.stop)?;
    if !common.json {
        for finding in &session.recovered {
            tell_line(&report::finding(finding))?;
        }
    }
    let attending = attend(&session).await;
    let mut rans = Vec::new();
    let result = run_all(common, options, &session, &datasets, &mut rans).await;
    let rows: Vec<Value> = rans.iter().map(report::ran_json).collect();
    drop(attending);
    let (recovered, anchors) = (std::mem::take(&mut session.recovered), session.log.anchors());
    let closed = session.close().await;
    let anchors = anchors.states();
    let anchored = anchor_findings(&anchors);
    if common.json {
        tell_line(&json!({"runs": rows, "recovered": recovered, "anchors": anchors}).to_string())?;
    } else {
        for finding in &anchored {
            tell_line(&report::finding(finding))?;
        }
    }
    let cut_short = options.allow.is_none() && rans.len() < datasets.len();
    let attention = cut_short || recovered.iter().chain(&anchored).any(|finding| finding.severity != crate::finding::Severity::Note);
    result?;
    closed?;
    Ok(exit_code(&rans, attention))
}

/// Lets the running service do it.
fn ask(common: &Common, options: &Options, service: Client) -> Result<u8> {
    let request = Request::Run {
        selection: options.selection.clone(),
        allow: options.allow.clone(),
        trust_clock: options.trust_clock,
        on_behalf_of: peer::behind_sudo(),
    };
    let mut rows = Vec::new();
    let code = service.ask(&request, |reply| match reply {
        Reply::Ran { json, .. } if common.json => {
            rows.push(json);
            Ok(())
        }
        Reply::Ran { text, .. } => tell_line(&text),
        _ => Ok(()),
    })?;
    if common.json {
        rows.retain(|row| !row.is_null());
        tell_line(&json!({"runs": rows, "recovered": []}).to_string())?;
    }
    Ok(code)
}

async fn run_all(common: &Common, options: &Options, session: &Session, datasets: &[Arc<Dataset>], rans: &mut Vec<Ran>) -> Result<()> {
    if let Some(plan) = &options.allow {
        let progress = Progress::default();
        let shown = progress::show(plan, &progress);
        let ran = session.allow(plan, &peer::myself(), &progress).await;
        drop(shown);
        return tell(common, rans, ran?);
    }
    for dataset in datasets {
        if session.stop.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        if let Some(asker) = waits_for(dataset, rans) {
            tracing::warn!("{} is left for the next run: dates of {asker} are looked up in it, which could not be done", dataset.address);
            continue;
        }
        let progress = Progress::default();
        let shown = progress::show(&dataset.address, &progress);
        let ran = session.run(dataset, &progress).await;
        drop(shown);
        tell(common, rans, ran?)?;
    }
    Ok(())
}

fn tell(common: &Common, rans: &mut Vec<Ran>, ran: Ran) -> Result<()> {
    if !common.json {
        tell_line(&report::ran(&ran, &common.config))?;
    }
    rans.push(ran);
    Ok(())
}
