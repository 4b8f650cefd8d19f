//! `retentiond run`

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, DONE, FINDINGS, REFUSED, progress, tell_line};
use crate::config::Dataset;
use crate::error::{Error, Kind, Result};
use crate::report;
use crate::session::{End, Progress, Ran, Session, anchor_findings};

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
    let mut session = Session::open(config, options.trust_clock).await?;
    watch_signals(&session)?;
    if !common.json {
        for finding in &session.recovered {
            tell_line(&report::finding(finding))?;
        }
    }
    let mut rans = Vec::new();
    let result = run_all(common, options, &session, &datasets, &mut rans).await;
    let rows: Vec<Value> = rans.iter().map(report::ran_json).collect();
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
    if rans.iter().any(|ran| matches!(ran.end, End::Refused { .. })) {
        return Ok(REFUSED);
    }
    Ok(if attention || rans.iter().any(Ran::needs_attention) { FINDINGS } else { DONE })
}

async fn run_all(common: &Common, options: &Options, session: &Session, datasets: &[Arc<Dataset>], rans: &mut Vec<Ran>) -> Result<()> {
    if let Some(plan) = &options.allow {
        let progress = Progress::default();
        let shown = progress::show(plan, &progress);
        let ran = session.allow(plan, &person(), &progress).await;
        drop(shown);
        return tell(common, rans, ran?);
    }
    for dataset in datasets {
        if session.stop.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        if let Some(asker) = waits_for(dataset, rans) {
            // Were its records destroyed now, those of the other that are due could never be dated again.
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

/// The dataset that looks into this one and whose run did not come to its end.
fn waits_for(dataset: &Dataset, rans: &[Ran]) -> Option<String> {
    let undone = |ran: &&Ran| match &ran.end {
        End::Spent(spent) => spent.stopped.is_some(),
        End::Refused { .. } | End::Incomplete(_) => true,
        End::Reported(_) => false,
    };
    let asker = rans.iter().filter(undone).find(|ran| ran.dataset.looks_into(dataset));
    asker.map(|ran| ran.dataset.address.clone())
}

fn tell(common: &Common, rans: &mut Vec<Ran>, ran: Ran) -> Result<()> {
    if !common.json {
        tell_line(&report::ran(&ran, &common.config))?;
    }
    rans.push(ran);
    Ok(())
}

/// The first SIGINT or SIGTERM finishes the records in hand, writes their outcomes and publishes the log; a second one ends the program at once,
/// which is as safe as any crash.
fn watch_signals(session: &Session) -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let stop = || Arc::clone(&session.stop);
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop())
            .and_then(|_| signal_hook::flag::register(signal, stop()))
            .map_err(|error| Error::with_source(Kind::Io, "signals cannot be handled", error))?;
    }
    Ok(())
}

/// Who gave the command, for the log: the account, and the one behind sudo.
pub(super) fn person() -> String {
    let uid = rustix::process::getuid().as_raw();
    let name = |variable: &str| std::env::var(variable).ok().filter(|name| !name.is_empty());
    match name("SUDO_USER").or_else(|| name("USER")) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}
