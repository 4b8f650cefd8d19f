//! `retentiond subject`: everything that is held about one person or tenancy.
//!
//! Every record of every dataset that names its subjects is read and compared with the name as it stands. Nothing is changed, and nothing is logged:
//! what is printed is personal data, and whoever prints it is answerable for it.

use std::sync::{Arc, RwLock};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Common, DONE, FINDINGS, plan::read_holds, print_line, progress};
use crate::assess::{Assessment, Assessor};
use crate::audit::Pseudonyms;
use crate::clock::Today;
use crate::config::{Config, Dataset};
use crate::dispose::Brake;
use crate::error::{Error, Kind, Result, escape};
use crate::judge::Standing;
use crate::record::Record;
use crate::register::Register;
use crate::report;
use crate::scan::{Planned, scan};
use crate::session::{self, Progress};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List every record about a person or tenancy: where it is, under which class, until when, and under which holds
    Report(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// The person or tenancy, as the stores name it
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// Only this store or dataset [default: all]
    #[arg(long, value_name = "STORE[/DATASET]")]
    only: Option<String>,
}

/// What was found in one dataset.
struct Found {
    records: u64,
    held: u64,
    due: u64,
    incomplete: Option<String>,
}

pub(crate) async fn execute(common: &Common, verb: Verb) -> Result<u8> {
    let Verb::Report(options) = verb;
    let config = common.load()?;
    let (named, nameless): (Vec<_>, Vec<_>) =
        config.select(options.only.as_deref())?.into_iter().partition(|dataset| dataset.subject.is_some());
    if named.is_empty() {
        let text = "no dataset there names its subjects, so nothing can be found; write `subject:` in the configuration";
        return Err(Error::new(Kind::Usage, text));
    }
    let pseudonyms = Arc::new(Pseudonyms::open(&config.state.join("keys"))?);
    let holds = Arc::new(RwLock::new(read_holds(&config).await?));
    let register = Register::open_for_reading(&config.state).await?;
    let today = Today::now();
    let formers = Arc::new(session::formers(&config, register.as_ref(), today.instant()).await?);
    let (mut all, mut incomplete) = (0, false);
    let mut rows = Vec::new();
    for dataset in &named {
        let (holds, pseudonyms, formers) = (Arc::clone(&holds), Arc::clone(&pseudonyms), Arc::clone(&formers));
        let assessor = Assessor::new(Arc::clone(&config), Arc::clone(dataset), today, holds, pseudonyms, formers);
        let found = look(common, &assessor, &options.subject).await?;
        all += found.records;
        incomplete |= found.incomplete.is_some();
        if common.json {
            rows.push(json!({
                "dataset": dataset.address, "records": found.records, "held": found.held, "due": found.due, "incomplete": found.incomplete,
            }));
        } else {
            tell(&config, dataset, &found)?;
        }
    }
    let nameless: Vec<&str> = nameless.iter().map(|dataset| dataset.address.as_str()).collect();
    if common.json {
        print_line(&json!({"datasets": rows, "records": all, "not_searched": nameless}).to_string())?;
    } else {
        print_line(&format!("{} in {}", report::count(all, "record"), report::count(named.len() as u64, "dataset")))?;
        if !nameless.is_empty() {
            print_line(&format!("NOT searched, for their records name no subject: {}", nameless.join(", ")))?;
        }
    }
    Ok(if incomplete { FINDINGS } else { DONE })
}

/// Prints each record of the subject as it comes.
async fn look(common: &Common, assessor: &Assessor, subject: &str) -> Result<Found> {
    let dataset = Arc::clone(assessor.dataset());
    let mut found = Found { records: 0, held: 0, due: 0, incomplete: None };
    let mut failed = None;
    let mut listen = |record: &Record, assessment: &Assessment| {
        if record.subject.as_deref() != Some(subject) {
            return;
        }
        found.records += 1;
        found.held += u64::from(assessment.verdict.standing == Standing::Held);
        found.due += u64::from(assessment.verdict.standing == Standing::Due);
        if let Err(error) = print_line(&report::listed(&dataset, record, assessment, common.json)) {
            failed.get_or_insert(error);
        }
    };
    let watched = Progress::default();
    let shown = progress::show(&dataset.address, &watched);
    let planned = match scan(assessor, None, watched.seen, &Brake::default(), true, Some(&mut listen)).await {
        Err(error) if error.kind() == Kind::Store => Ok(Planned::failed(error.to_string())),
        other => other,
    };
    drop(shown);
    failed.map_or(Ok(()), Err)?;
    found.incomplete = planned?.incomplete;
    Ok(found)
}

fn tell(config: &Config, dataset: &Dataset, found: &Found) -> Result<()> {
    let titles: Vec<String> = dataset
        .rules()
        .iter()
        .map(|rule| {
            let authority = rule.class.authority.as_deref().map(|text| format!(", by authority of {}", escape(text.as_bytes())));
            format!("{} ({}){}", escape(rule.class.title.as_bytes()), rule.class.keep, authority.unwrap_or_default())
        })
        .collect();
    let place = config.stores.iter().find(|store| store.name() == dataset.store.name()).map(|store| store.place()).unwrap_or_default();
    print_line(&format!("{}: {}; {}", dataset.address, report::count(found.records, "record"), titles.join(", ")))?;
    print_line(&format!("  in {place}; {} held, {} due", found.held, found.due))?;
    match &found.incomplete {
        Some(why) => print_line(&format!("  it could NOT be seen completely: {}", escape(why.as_bytes()))),
        None => Ok(()),
    }
}
