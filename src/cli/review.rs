//! `retentiond review`

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde_json::{Value, json};

use super::{Common, DONE, print_line};
use crate::clock;
use crate::config::Config;
use crate::control::{Client, PAGE, Reply, Request, answers, peer};
use crate::error::Result;
use crate::register::Register;
use crate::report;
use crate::review::{Order, What};
use crate::schedule::load::parse_date;
use crate::session::{self, Reviews, Session};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List the batches that wait for people, or that people decided about
    List {
        /// Only this store or dataset [default: all]
        #[arg(value_name = "STORE[/DATASET]")]
        selection: Option<String>,
    },
    /// Show the records of a batch, and why each is due
    Show {
        /// The batch's id, or at least its first 8 digits
        #[arg(value_name = "BATCH")]
        batch: String,
    },
    /// Approve that the records of a batch are destroyed
    Approve {
        /// The batch's id, or at least its first 8 digits
        #[arg(value_name = "BATCH")]
        batch: String,
        /// The name of the person who approves; it is written to the log, beside the account
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Leave this record out; may be given several times
        #[arg(long, value_name = "STORE/DATASET:KEY")]
        except: Vec<String>,
    },
    /// Refuse that the records of a batch are destroyed; it is asked again later
    Refuse {
        #[command(flatten)]
        why: Why,
        /// The last day of keeping [default: a year from today]
        #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
        until: Option<Date>,
    },
    /// Keep the records of a batch longer; it is asked again then
    Extend {
        #[command(flatten)]
        why: Why,
        /// The last day of keeping
        #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
        until: Date,
    },
    /// Take back what was decided about a batch
    Withdraw {
        /// The batch's id, or at least its first 8 digits
        #[arg(value_name = "BATCH")]
        batch: String,
        /// Why; it is written to the log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// The name of the person who takes it back
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct Why {
    /// The batch's id, or at least its first 8 digits
    #[arg(value_name = "BATCH")]
    batch: String,
    /// Why; it is written to the log, so it names no person
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The name of the person who decides
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn execute(common: &Common, verb: &Verb) -> Result<u8> {
    let config = common.load()?;
    let service = Client::connect(&config)?;
    let decided = |what, why: &Why, until| Order {
        what,
        batch: why.batch.clone(),
        name: why.name.clone(),
        reason: Some(why.reason.clone()),
        until,
        except: Vec::new(),
    };
    let order = match verb {
        Verb::List { selection } => return list(common, &config, service, selection.as_ref()).await,
        Verb::Show { batch } => return show(common, &config, service, batch),
        Verb::Approve { batch, name, except } => {
            Order { what: What::Approve, batch: batch.clone(), name: Some(name.clone()), reason: None, until: None, except: except.clone() }
        }
        Verb::Refuse { why, until } => decided(What::Refuse, why, *until),
        Verb::Extend { why, until } => decided(What::Extend, why, Some(*until)),
        Verb::Withdraw { batch, reason, name } => {
            let (batch, name, reason) = (batch.clone(), name.clone(), reason.clone());
            Order { what: What::Withdraw, batch, name, reason, until: None, except: Vec::new() }
        }
    };
    if let Some(service) = service {
        return service.ask(&Request::Review { order, on_behalf_of: peer::behind_sudo() }, |reply| tell(common, reply));
    }
    let session = Session::open(config, false).await?;
    let told = answers::review(&session, &order, &peer::myself()).await;
    session.close().await?;
    tell(common, told?)?;
    Ok(DONE)
}

fn tell(common: &Common, reply: Reply) -> Result<()> {
    match reply {
        Reply::Told { json, .. } if common.json => print_line(&json.to_string()),
        Reply::Told { text, .. } => print_line(&text),
        _ => Ok(()),
    }
}

async fn list(common: &Common, config: &Config, service: Option<Client>, selection: Option<&String>) -> Result<u8> {
    if let Some(service) = service {
        return service.ask(&Request::Reviews { selection: selection.cloned() }, |reply| tell(common, reply));
    }
    let rows = match Register::open_for_reading(&config.state).await? {
        Some(register) => {
            let now = clock::now();
            let formers = session::formers(config, Some(&register), now).await?;
            Reviews { config, register: &register, formers: &formers, now }.list(selection.map(String::as_str)).await?
        }
        None => Vec::new(),
    };
    tell(common, Reply::Told { text: report::reviews(&rows), json: json!(rows) })?;
    Ok(DONE)
}

/// In JSON each record is a line of its own.
fn show(common: &Common, config: &Config, service: Option<Client>, batch: &str) -> Result<u8> {
    let told = std::cell::Cell::new(0);
    let mut take = |text: String, json: Value| {
        let rows = json.as_array().map(Vec::as_slice).unwrap_or_default();
        told.set(told.get() + rows.len() as u64);
        if common.json { rows.iter().try_for_each(|row| print_line(&row.to_string())) } else { print_line(&text) }
    };
    let mut service = service;
    let mut from = 0;
    loop {
        let code = if let Some(service) = service.take() {
            let request = Request::ReviewRecords { batch: batch.to_owned(), from };
            service.ask(&request, |reply| if let Reply::Told { text, json } = reply { take(text, json) } else { Ok(()) })?
        } else {
            session::records_of_batch(config, batch, from, &mut take)?;
            DONE
        };
        from += PAGE;
        if code != DONE || told.get() < from {
            return Ok(code);
        }
        service = Client::connect(config)?;
    }
}
