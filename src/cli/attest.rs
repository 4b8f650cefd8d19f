//! `retentiond attest`: records that only people can destroy.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::plan::spool_folder;
use super::{Common, DONE, FINDINGS, print_line, progress};
use crate::clock::Today;
use crate::config::{Config, Dataset, Mode};
use crate::control::{Client, Reply, Request, peer};
use crate::dispose::{Attestation, Brake};
use crate::error::{Error, Kind, Result, escape, hex};
use crate::plan::Item;
use crate::record::Address;
use crate::report;
use crate::scan::scan;
use crate::schedule::Disposition;
use crate::schedule::load::parse_date;
use crate::session::{self, Onlooker, Progress, Session};

/// The folder under the state folder in which copies of certificates are kept, named by their SHA-256.
const CERTIFICATES: &str = "certificates";

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List the records that people are to destroy, as their lists have them now
    List {
        /// Only this store or dataset [default: all]
        #[arg(value_name = "STORE[/DATASET]")]
        selection: Option<String>,
    },
    /// Confirm that a record is destroyed
    Confirm(Confirm),
}

#[derive(Args)]
pub(crate) struct Confirm {
    /// The record, such as cabinets/boxes:1234
    #[arg(value_name = "STORE/DATASET:KEY")]
    address: String,
    /// The day on which it was destroyed
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
    on: Date,
    /// How it was destroyed, such as "shredded, DIN 66399 P-4"; it is written to the log
    #[arg(long, value_name = "TEXT")]
    method: String,
    /// The number of the certificate of destruction; it is written to the log
    #[arg(long, value_name = "NUMBER")]
    number: String,
    /// The scanned certificate: its SHA-256 is written to the log
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Keep a copy of the scanned certificate in the state folder
    #[arg(long, requires = "certificate")]
    keep: bool,
}

pub(crate) async fn execute(common: &Common, verb: &Verb) -> Result<u8> {
    match verb {
        Verb::List { selection } => list(common, selection.as_deref()).await,
        Verb::Confirm(options) => confirm(common, options).await,
    }
}

async fn list(common: &Common, selection: Option<&str>) -> Result<u8> {
    let config = common.load()?;
    let known = Onlooker::open(Arc::clone(&config), Today::now()).await?;
    let datasets: Vec<_> = config.select(selection)?.into_iter().filter(|dataset| dataset.store.is_attested()).collect();
    if datasets.is_empty() {
        let place = selection.map_or("no store".to_owned(), |selection| format!("{}: nothing there", escape(selection.as_bytes())));
        return Err(Error::new(Kind::Usage, format!("{place} is of the kind `attested:`, whose records people destroy")));
    }
    let (folder, _) = spool_folder(&config)?;
    let mut attention = false;
    for dataset in datasets {
        let assessor = known.assessor(&dataset);
        let progress = Progress::default();
        let shown = progress::show(&dataset.address, &progress);
        let planned = scan(&assessor, Some(&folder), progress.seen, &Brake::default(), false, None).await;
        drop(shown);
        let mut planned = planned?;
        if let (Some(reviews), true) = (known.reviews(), session::is_reviewed(&config, &dataset)) {
            // What people approved is a task as well.
            session::review_planned(&reviews, &assessor, &known.pseudonyms, &folder, &mut planned).await?;
        }
        let mut listed = 0_u64;
        if let Some(plan) = &planned.plan {
            for item in plan.items()? {
                let item = item?;
                if item.then == Disposition::Destroy {
                    listed += 1;
                    print_line(&task(&dataset, &item, known.today, common.json))?;
                }
            }
        }
        attention |= planned.incomplete.is_some() || planned.tally.overdue + planned.tally.undetermined > 0;
        if let Some(why) = planned.incomplete {
            eprintln!("{}: the list could not be read completely: {}", dataset.address, escape(why.as_bytes()));
        } else if !common.json {
            let report = if dataset.mode == Mode::Report { "; in report mode nobody is asked for them" } else { "" };
            print_line(&format!("{}: {} to be destroyed by people{report}", dataset.address, report::count(listed, "record")))?;
        }
    }
    Ok(if attention { FINDINGS } else { DONE })
}

/// One task in a line.
fn task(dataset: &Dataset, item: &Item, today: Today, json: bool) -> String {
    let facts = &item.deciding;
    let rule = dataset.rules().into_iter().find(|rule| rule.class.id == facts.class);
    let ceiling = rule.and_then(|rule| Some((rule.class.keep.overdue_after(facts.event_date)?, today.date_in(&rule.schedule.zone))));
    let address = Address { store: dataset.store.name().into(), dataset: dataset.name.clone(), key: item.record.key.clone() };
    if json {
        let (day, overdue) = ceiling.map_or((None, false), |(day, today)| (Some(day.to_string()), day < today));
        return json!({
            "address": address.to_string(), "class": facts.class.as_str(), "event": facts.event.as_str(),
            "event_date": facts.event_date.to_string(), "due": facts.due.to_string(), "ceiling": day, "overdue": overdue,
            "mode": dataset.mode.as_str(),
        })
        .to_string();
    }
    let until = match ceiling {
        Some((day, today)) if day < today => format!("OVERDUE: it should have been gone after {day}"),
        Some((day, _)) => format!("it must be gone after {day}"),
        None => "no ceiling".to_owned(),
    };
    format!("{address}\t{}: {} on {}, kept until the end of {}; {until}", facts.class, facts.event, facts.event_date, facts.due)
}

async fn confirm(common: &Common, options: &Confirm) -> Result<u8> {
    let config = common.load()?;
    let sha256 = options.certificate.as_deref().map(|path| hash(path, options.keep.then_some(&config))).transpose()?;
    let show = |text: &str, json: &serde_json::Value| print_line(&if common.json { json.to_string() } else { text.to_owned() });
    let (on, method, certificate) = (options.on, options.method.clone(), options.number.clone());
    if let Some(service) = Client::connect(&config)? {
        let (address, on_behalf_of) = (options.address.clone(), peer::behind_sudo());
        let request = Request::Attest { address, on, method, certificate, sha256, on_behalf_of };
        return service.ask(&request, |reply| match reply {
            Reply::Attested { text, json } => show(&text, &json),
            _ => Ok(()),
        });
    }
    let session = Session::open(config, false).await?;
    let word = Attestation { person: peer::myself(), on, method, certificate, sha256 };
    let attested = session.attest(&options.address, word).await;
    session.close().await?;
    let (text, json, code) = report::attested(&options.address, &attested?);
    show(&text, &json)?;
    Ok(code)
}

/// The SHA-256 of a scanned certificate. A copy that is asked for is durable, under its hash, before anybody's word rests on it; one that no word came
/// to rest on does no harm.
fn hash(path: &Path, keep: Option<&Arc<Config>>) -> Result<String> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let fail = |error| Error::with_source(Kind::Io, format!("{shown}: the scanned certificate cannot be read"), error);
    let mut file = File::open(path).map_err(fail)?;
    let mut hash = Sha256::new();
    let folder = keep.map(|config| config.state.join(CERTIFICATES));
    let lost = |error| Error::with_source(Kind::Io, "the copy of the certificate cannot be kept", error);
    let mut copy = None;
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder).map_err(lost)?;
        copy = Some(tempfile::NamedTempFile::new_in(folder).map_err(lost)?);
    }
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut piece).map_err(fail)?;
        if read == 0 {
            break;
        }
        hash.update(&piece[..read]);
        if let Some(copy) = &mut copy {
            copy.write_all(&piece[..read]).map_err(lost)?;
        }
    }
    let sha256 = hex(&hash.finalize());
    if let (Some(copy), Some(folder)) = (copy, &folder) {
        copy.as_file().sync_all().map_err(lost)?;
        copy.persist(folder.join(&sha256)).map_err(|error| lost(error.error))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(lost)?;
    }
    Ok(sha256)
}
