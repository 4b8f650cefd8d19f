//! `retentiond plan`: what a run would do. It builds the same plan with the same code and stops before spending it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::{Common, DONE, FINDINGS, print, print_line, progress};
use crate::assess::Assessment;
use crate::clock::Today;
use crate::compare::{Change, Compared, compare};
use crate::config::{Config, Dataset, Mode};
use crate::dispose::Brake;
use crate::error::{Error, Kind, Result, escape};
use crate::finding::Severity;
use crate::record::Record;
use crate::report;
use crate::scan::{Planned, scan};
use crate::schedule::load::parse_date;
use crate::session::{self, Onlooker, Progress, plans_folder};

#[derive(Args)]
pub(crate) struct Options {
    /// Only this store or dataset [default: all]
    #[arg(value_name = "STORE[/DATASET]")]
    selection: Option<String>,
    /// Ask what a run on this day would do [default: today]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
    on: Option<Date>,
    /// List every record with its reasons; with --against, every record that the edit changes
    #[arg(long)]
    list: bool,
    /// Ask what this edited schedule, a file or a folder of files, would change before it is put in force
    #[arg(long, value_name = "FILE|DIR")]
    against: Option<PathBuf>,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config = common.load()?;
    let today = options.on.map_or_else(Today::now, Today::On);
    let known = Onlooker::open(Arc::clone(&config), today).await?;
    if let Some(schedules) = &options.against {
        return against(common, options, &known, schedules).await;
    }
    let mut waiting = 0;
    let mut spools: Option<(PathBuf, bool)> = None;
    let (mut attention, never) = (false, Brake::default());
    let mut rows: Vec<Value> = Vec::new();
    for dataset in config.select(options.selection.as_deref())? {
        let assessor = known.assessor(&dataset);
        let progress = Progress::default();
        let shown = progress::show(&dataset.address, &progress);
        let mut listed = Vec::new();
        let mut failed = None;
        let mut listen = |record: &Record, assessment: &Assessment| {
            let line = report::listed(&dataset, record, assessment, common.json);
            // Printing as records come keeps memory flat; in JSON each record is a line of its own.
            if let Err(error) = if common.json {
                print_line(&line)
            } else {
                listed.push(line);
                print(&report::flush(&mut listed))
            } {
                failed.get_or_insert(error);
            }
        };
        // The items are needed to keep a plan that a person may allow, and for its id; otherwise they are not even written.
        let refusable = options.on.is_none() && dataset.mode == Mode::Enforce && !dataset.limits.is_unlimited();
        let reviewed = known.register.is_some() && session::is_reviewed(&config, &dataset);
        if spools.is_none() && (refusable || reviewed || common.json) {
            spools = Some(spool_folder(&config)?);
        }
        let spool = spools.as_ref().filter(|_| refusable || reviewed || common.json);
        let keeps = refusable && spool.is_some_and(|(_, keeps)| *keeps);
        let planned = scan(
            &assessor,
            spool.map(|(folder, _)| folder.as_path()),
            progress.seen,
            &never,
            options.list,
            options.list.then_some(&mut listen as &mut _),
        )
        .await;
        drop(shown);
        if let Some(error) = failed {
            return Err(error);
        }
        let mut planned = match planned {
            Ok(planned) => planned,
            Err(error) if error.kind() == Kind::Store => Planned::failed(error.to_string()),
            Err(error) => return Err(error),
        };
        if let (Some(reviews), true, Some((folder, _))) = (known.reviews(), reviewed, spool) {
            session::review_planned(&reviews, &assessor, &known.pseudonyms, folder, &mut planned).await?;
        }
        waiting += planned.tally.waiting;
        let allow = allow_command(common, &dataset, &mut planned, keeps, &config)?;
        attention |= planned.incomplete.is_some()
            || planned.tally.over(&dataset.limits).is_some()
            || planned.tally.undetermined + planned.tally.overdue > 0
            || planned.findings.iter().any(|finding| finding.severity != Severity::Note);
        if common.json {
            rows.push(report::planned_json(&dataset, &planned, allow.as_deref())?);
        } else {
            print_line(&report::planned(&dataset, &planned, allow.as_deref()))?;
        }
    }
    let edit = known.edit().filter(|_| waiting > 0);
    if common.json {
        print_line(&json!({"edit": edit.as_ref().map(|edit| json!({"id": edit.id, "until": format!("{:.0}", edit.until)})), "on": options.on.map(|day| day.to_string()), "plans": rows}).to_string())?;
    } else {
        if let Some(edit) = edit {
            print_line(&report::waiting(waiting, &edit, &common.config))?;
        }
        print_line("Nothing was changed: this is a plan.")?;
    }
    Ok(if attention { FINDINGS } else { DONE })
}

/// What an edited schedule would change.
async fn against(common: &Common, options: &Options, known: &Onlooker, schedules: &Path) -> Result<u8> {
    let config = &known.config;
    let edited = Arc::new(Config::load_with(&common.config, Some(schedules))?);
    let (mut rows, mut attention) = (Vec::new(), false);
    for dataset in config.select(options.selection.as_deref())? {
        let Some(other) = edited.dataset(dataset.store.name(), &dataset.name) else { continue };
        let mut failed = None;
        let mut listen = |change: Change, record: &Record, after: &Assessment| {
            if options.list
                && let Err(error) = print_line(&report::changed(change, other, record, after, common.json))
            {
                failed.get_or_insert(error);
            }
        };
        let compared = match compare(&known.assessor_of(config, &dataset), &known.assessor_of(&edited, other), &mut listen).await {
            Ok(compared) => compared,
            Err(error) if error.kind() == Kind::Store => Compared { incomplete: Some(error.to_string()), ..Compared::default() },
            Err(error) => return Err(error),
        };
        if let Some(error) = failed {
            return Err(error);
        }
        attention |= compared.incomplete.is_some() || !compared.newly_due.is_empty() || !compared.otherwise.is_empty();
        if common.json {
            rows.push(json!({"dataset": dataset.address, "mode": dataset.mode.as_str(), "changes": compared}));
        } else {
            print_line(&report::compared(&dataset, &compared))?;
        }
    }
    if common.json {
        print_line(&json!({"on": options.on.map(|day| day.to_string()), "against": rows}).to_string())?;
    } else {
        print_line("Nothing was changed: this compares what is in force with an edit of it.")?;
    }
    Ok(if attention { FINDINGS } else { DONE })
}

/// When the plan is over its limits and this user may write the state, keeps it and answers the command that allows it.
fn allow_command(common: &Common, dataset: &Dataset, planned: &mut Planned, keeps: bool, config: &Config) -> Result<Option<String>> {
    let over = planned.tally.over(&dataset.limits).is_some();
    let Some(plan) = planned.plan.as_mut().filter(|_| over && keeps) else {
        return Ok(None);
    };
    let id = plan.id()?;
    plan.keep(&plans_folder(config), &id)?;
    Ok(Some(report::allow_command(&common.config, &id)))
}

/// Where the plan is spooled: in the state folder when this user may write there, else in a folder for temporary files (and then no plan is kept).
pub(super) fn spool_folder(config: &Config) -> Result<(PathBuf, bool)> {
    let folder = plans_folder(config);
    if config.state.is_dir() && std::fs::create_dir_all(&folder).is_ok() && tempfile::tempfile_in(&folder).is_ok() {
        return Ok((folder, true));
    }
    let folder = std::env::temp_dir();
    match tempfile::tempfile_in(&folder) {
        Ok(_) => Ok((folder, false)),
        Err(error) => {
            Err(Error::with_source(Kind::Io, format!("{}: no plan can be written", escape(folder.as_os_str().as_encoded_bytes())), error))
        }
    }
}
