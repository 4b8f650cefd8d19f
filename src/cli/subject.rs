//! `retentiond subject`: everything that is held about one person or tenancy, and what a request for erasure is answered.
//!
//! Every record of every dataset that names its subjects is read and compared with the name as it stands. What is printed is personal data, and whoever
//! prints it is answerable for it. `report` changes nothing and leaves nothing in the log; nor does `erase` without `--confirm`, but that it looks from
//! where it would act: through the service, or under the lock.

use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde_json::{Value, json};

use super::attend::attend;
use super::{Common, DONE, FINDINGS, print_line, progress, tell_line};
use crate::assess::{Assessment, Assessor};
use crate::clock::Today;
use crate::config::{Config, Dataset};
use crate::control::answers::{self, Erasing};
use crate::control::{Client, Reply, Request, peer};
use crate::dispose::Brake;
use crate::error::{Error, Kind, Result, escape};
use crate::judge::Standing;
use crate::record::Record;
use crate::report;
use crate::scan::{Planned, scan};
use crate::schedule::load::parse_date;
use crate::session::{Confirmation, ErasureOrder, Onlooker, Progress, Session, exit_code};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List every record about a person or tenancy: where it is, under which class, until when, and under which holds
    Report(Options),
    /// Decide record by record what a request for erasure is answered, and show it; with --confirm, carry out what was shown
    Erase(Box<Erase>),
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

#[derive(Args)]
pub(crate) struct Erase {
    /// The person or tenancy, as the stores name it
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// Only this store or dataset [default: all]
    #[arg(long, value_name = "STORE[/DATASET]")]
    only: Option<String>,
    /// Carry out exactly what was shown under this id
    #[arg(long, value_name = "ID", requires_all = ["person", "matter"])]
    confirm: Option<String>,
    /// The name of the person who decides; it is written to the log, beside the account
    #[arg(long, value_name = "NAME", requires = "confirm")]
    person: Option<String>,
    /// The reference of the request; it is written to the log
    #[arg(long, value_name = "REFERENCE", requires = "confirm")]
    matter: Option<String>,
    /// Why; it is written to the log, which keeps it for ever: no names of persons
    #[arg(long, value_name = "TEXT", requires = "confirm")]
    reason: Option<String>,
    /// The day by which somebody looks again at what is restricted [default: a year from today]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date, requires = "confirm")]
    review: Option<Date>,
    /// What goes may be more than the limits of its dataset
    #[arg(long, requires = "confirm")]
    beyond_limits: bool,
}

/// What was found in one dataset.
struct Found {
    records: u64,
    held: u64,
    due: u64,
    incomplete: Option<String>,
}

pub(crate) async fn execute(common: &Common, verb: Verb) -> Result<u8> {
    let options = match verb {
        Verb::Report(options) => options,
        Verb::Erase(options) => return erase(common, *options).await,
    };
    let config = common.load()?;
    let (named, nameless): (Vec<_>, Vec<_>) =
        config.select(options.only.as_deref())?.into_iter().partition(|dataset| dataset.subject.is_some());
    if named.is_empty() {
        let text = "no dataset there names its subjects, so nothing can be found; write `subject:` in the configuration";
        return Err(Error::new(Kind::Usage, text));
    }
    let known = Onlooker::open(Arc::clone(&config), Today::now()).await?;
    let (mut all, mut incomplete) = (0, false);
    let mut rows = Vec::new();
    for dataset in &named {
        let found = look(common, &known.assessor(dataset), &options.subject).await?;
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

async fn erase(common: &Common, options: Erase) -> Result<u8> {
    let Erase { subject, only, confirm, person, matter, reason, review, beyond_limits } = options;
    let confirm = confirm.map(|id| {
        let (person, matter) = (person.unwrap_or_default(), matter.unwrap_or_default());
        Confirmation { id, person, matter, reason, review, beyond_limits }
    });
    let order = ErasureOrder { subject, only, confirm };
    let config = common.load()?;
    if let Some(service) = Client::connect(&config)? {
        return service.ask(&Request::Erase { order, on_behalf_of: peer::behind_sudo() }, |reply| show(common, reply));
    }
    let session = Session::open(config, false).await?;
    Brake::pull_on_signals(&session.stop)?;
    let attending = attend(&session).await;
    let done = decide(common, &session, &order).await;
    drop(attending);
    let closed = session.close().await;
    let code = done?;
    closed.map(|()| code)
}

/// Goes on whether or not somebody still reads. In JSON each record is a line of its own.
fn show(common: &Common, reply: Reply) -> Result<()> {
    let (Reply::Told { text, json } | Reply::Ran { text, json }) = reply else { return Ok(()) };
    match &json {
        Value::Array(rows) if common.json => rows.iter().try_for_each(|row| tell_line(&row.to_string())),
        json if common.json => tell_line(&json.to_string()),
        _ => tell_line(text.trim_end()),
    }
}

/// What the service does for its clients, done here.
async fn decide(common: &Common, session: &Session, order: &ErasureOrder) -> Result<u8> {
    let progress = Progress::default();
    let shown = progress::show("searching", &progress);
    let seen = session.see_erasure(&order.subject, order.only.as_deref(), &progress).await;
    drop(shown);
    let seen = seen?;
    let erasure = match answers::erasure(session, order, (&seen, &peer::myself(), &common.config), |reply| show(common, reply)).await? {
        Erasing::Told(code) => return Ok(code),
        Erasing::Decided(erasure) => erasure,
    };
    let mut rans = Vec::new();
    for (dataset, cases) in seen.going() {
        let progress = Progress::default();
        let shown = progress::show(&dataset.address, &progress);
        let ran = session.carry_out_erasure(&erasure, &dataset, &cases, &progress).await;
        drop(shown);
        let ran = ran?;
        show(common, Reply::Ran { text: report::ran(&ran, &common.config), json: report::ran_json(&ran) })?;
        rans.push(ran);
    }
    Ok(exit_code(&rans, seen.needs_attention()))
}
