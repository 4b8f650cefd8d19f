//! `retentiond hold`: what a person forbids to destroy.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde_json::json;

use super::{Common, DONE, FINDINGS, agree, print, print_line, progress};
use crate::assess::{Assessment, Assessor};
use crate::audit::Pseudonyms;
use crate::clock::{self, Today};
use crate::config::{Config, Dataset};
use crate::control::{Client, Reply, Request, peer};
use crate::error::{Error, Kind, Result, escape};
use crate::hold::{Hold, HoldKind, Holds, Wish, read_csv};
use crate::protect::{Protected, protected};
use crate::record::Record;
use crate::register::Register;
use crate::report;
use crate::schedule::load::parse_date;
use crate::session::{HoldOrder, NamedHold, Progress, Session, Which, hold_of, named_holds};
use crate::yaml::suggest;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Place a hold, or many from a table: in force the moment the command returns
    Place(Box<Place>),
    /// Let holds last longer, or set another day of review
    Extend(Extend),
    /// Release holds: what they protected is disposed of when its turn comes
    Release(Release),
    /// List the holds in force
    List,
    /// Show a hold, and what it protects now in each store
    Show(Show),
}

#[derive(Args)]
pub(crate) struct Place {
    /// What it is for: litigation, investigation, access-request, complaint, police, restriction (needs --review), training (needs --until) or other
    #[arg(long, value_name = "KIND", required_unless_present = "csv")]
    kind: Option<HoldKind>,
    /// The person or tenancy, as the stores name it
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// A record, such as housing/applicants:1234
    #[arg(long, value_name = "STORE/DATASET:KEY")]
    record: Option<String>,
    /// A class of the schedule
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// A dataset
    #[arg(long, value_name = "STORE/DATASET")]
    dataset: Option<String>,
    /// The event that --event-from and --event-to are about [default: any]
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Records of which an event fell on this day or later
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
    event_from: Option<Date>,
    /// Records of which an event fell on this day or earlier
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
    event_to: Option<Date>,
    /// Everything in every store
    #[arg(long)]
    everything: bool,
    /// The last day of the hold [default: until it is released]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
    until: Option<Date>,
    /// The day by which somebody is to look whether it is still needed
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
    review: Option<Date>,
    /// Who answers for it [default: whoever places it]
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// The reference of the case, claim or request
    #[arg(long, value_name = "REFERENCE")]
    matter: Option<String>,
    /// Why; it is written to the log, which keeps it for ever: no names of persons
    #[arg(long, value_name = "TEXT", required_unless_present = "csv")]
    reason: Option<String>,
    /// A table of holds: a heading with `kind`, `reason` and any other option's name, then a line for each hold
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "kind", "subject", "record", "class", "dataset", "event", "event_from", "event_to", "everything", "until", "review", "owner", "matter",
            "reason"
        ]
    )]
    csv: Option<PathBuf>,
    /// Only show what would be placed, and what it would protect now
    #[arg(long)]
    preview: bool,
    /// Place the holds of a table without asking
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
#[group(id = "which", required = true, multiple = false)]
pub(crate) struct Chosen {
    /// The holds' ids
    #[arg(value_name = "HOLD", group = "which")]
    ids: Vec<String>,
    /// All holds of this matter
    #[arg(long, value_name = "REFERENCE", group = "which")]
    matter: Option<String>,
}

#[derive(Args)]
pub(crate) struct Extend {
    #[command(flatten)]
    chosen: Chosen,
    /// The new last day; not earlier than the present one
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
    until: Option<Date>,
    /// The new day of review
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
    review: Option<Date>,
    /// Why; it is written to the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Args)]
pub(crate) struct Release {
    #[command(flatten)]
    chosen: Chosen,
    /// Why; it is written to the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The hold's id
    #[arg(value_name = "HOLD")]
    id: String,
    /// List every record that it protects
    #[arg(long)]
    list: bool,
}

pub(crate) async fn execute(common: &Common, verb: Verb) -> Result<u8> {
    match verb {
        Verb::Place(options) => place(common, *options).await,
        Verb::Extend(Extend { chosen, until, review, reason }) => {
            let which = chosen.which();
            order(common, HoldOrder::Extend { which, until, review, reason }).await
        }
        Verb::Release(Release { chosen, reason }) => order(common, HoldOrder::Release { which: chosen.which(), reason }).await,
        Verb::List => list(common).await,
        Verb::Show(options) => show(common, &options).await,
    }
}

impl Chosen {
    fn which(self) -> Which {
        self.matter.map_or(Which::Ids(self.ids), Which::Matter)
    }
}

async fn place(common: &Common, options: Place) -> Result<u8> {
    let table = options.csv.is_some();
    let wishes = match &options.csv {
        Some(path) => read_csv(path)?,
        None => vec![Wish {
            kind: options.kind.unwrap_or(HoldKind::Other),
            subject: options.subject,
            record: options.record,
            class: options.class,
            dataset: options.dataset,
            event: options.event,
            event_from: options.event_from,
            event_to: options.event_to,
            everything: options.everything,
            until: options.until,
            review: options.review,
            owner: options.owner,
            matter: options.matter,
            reason: options.reason.unwrap_or_default(),
        }],
    };
    if options.preview || table && !options.yes {
        let code = preview(common, &common.load()?, &wishes).await?;
        if options.preview {
            return Ok(code);
        }
        agree("These holds are to be placed.", "place")?;
    }
    order(common, HoldOrder::Place { holds: wishes }).await
}

/// Orders it of the service, or does it here. The service knows what is in force, so a file that does not load at the moment keeps nobody from
/// protecting something.
async fn order(common: &Common, order: HoldOrder) -> Result<u8> {
    if let Some(service) = Client::of(&common.config)? {
        let json = common.json;
        return service.ask(&Request::Hold { order, on_behalf_of: peer::behind_sudo() }, |reply| match reply {
            Reply::Told { json: value, .. } if json => print_line(&json!({"holds": value}).to_string()),
            Reply::Told { text, .. } => print_line(&text),
            _ => Ok(()),
        });
    }
    let config = common.load()?;
    // A clock that cannot be believed destroys nothing, and must not keep anybody from protecting something.
    let session = Session::open(Arc::clone(&config), true).await?;
    let done = session.carry_out(&order, &peer::myself()).await;
    let adrift = session.adrift();
    session.close().await?;
    let holds = done?;
    if common.json {
        print_line(&json!({"holds": report::holds_json(&holds)}).to_string())?;
    } else {
        print_line(&report::hold_order(&order, &holds, &config, &adrift))?;
    }
    Ok(DONE)
}

async fn preview(common: &Common, config: &Arc<Config>, wishes: &[Wish]) -> Result<u8> {
    // A key of its own: what is only asked about needs no name in the log.
    let folder = tempfile::tempdir().map_err(|error| Error::with_source(Kind::Io, "no temporary folder can be made", error))?;
    let mut pseudonyms = Pseudonyms::open(folder.path())?;
    let epoch = pseudonyms.create_epoch(1)?;
    let person = peer::myself();
    let (mut holds, mut mistakes) = (Vec::new(), Vec::new());
    for (at, wish) in wishes.iter().enumerate() {
        match hold_of(config, &epoch, wish, &person, clock::now()) {
            Ok(mut one) => {
                one.hold.id = format!("{}", at + 1);
                holds.push(one);
            }
            Err(what) => mistakes.push(format!("hold {}: {what}", at + 1)),
        }
    }
    if !mistakes.is_empty() {
        return Err(Error::new(Kind::Usage, mistakes.join("\n")));
    }
    if !common.json {
        for one in &holds {
            let order = HoldOrder::Place { holds: Vec::new() };
            print_line(
                report::hold_order(&order, std::slice::from_ref(one), config, &[])
                    .replace(" is in force:", ":")
                    .lines()
                    .next()
                    .unwrap_or_default(),
            )?;
        }
    }
    let asked = holds.iter().map(|one| one.hold.clone()).collect();
    let found = look(common, config, asked, pseudonyms, false).await?;
    if common.json {
        print_line(&json!({"holds": report::holds_json(&holds), "protects": found}).to_string())?;
    } else {
        print_line(&report::protected_text(&found))?;
        print_line("Nothing was placed yet.")?;
    }
    Ok(if found.iter().any(|one| one.incomplete.is_some()) { FINDINGS } else { DONE })
}

/// What these holds protect in each dataset that they may reach.
async fn look(common: &Common, config: &Arc<Config>, asked: Vec<Hold>, pseudonyms: Pseudonyms, list: bool) -> Result<Vec<Protected>> {
    let reaches = |dataset: &Dataset, hold: &Hold| {
        let scope = &hold.scope;
        scope.dataset.as_ref().is_none_or(|only| *only == dataset.address)
            && (scope.subject.is_none() || dataset.subject.is_some())
            && scope.class.as_ref().is_none_or(|class| dataset.rules().iter().any(|rule| rule.class.id.as_str() == class))
    };
    let reached: Vec<Arc<Dataset>> =
        config.datasets.iter().filter(|dataset| asked.iter().any(|hold| reaches(dataset, hold))).cloned().collect();
    let (holds, pseudonyms) = (Arc::new(RwLock::new(Holds::new(asked))), Arc::new(pseudonyms));
    let mut found = Vec::new();
    for dataset in reached {
        let assessor = Assessor::new(
            Arc::clone(config),
            Arc::clone(&dataset),
            Today::now(),
            Arc::clone(&holds),
            Arc::clone(&pseudonyms),
            Arc::default(),
        );
        let mut failed = None;
        let mut listen = |record: &Record, _: &Assessment, due: bool| {
            if !list {
                return;
            }
            let line = if common.json {
                json!({"dataset": dataset.address, "key": record.key.to_text(), "due": due}).to_string()
            } else {
                format!("  {}:{}{}", dataset.address, record.key, if due { " (due but for this)" } else { "" })
            };
            if let Err(error) = print_line(&line) {
                failed.get_or_insert(error);
            }
        };
        let watched = Progress::default();
        let shown = progress::show(&dataset.address, &watched);
        let one = protected(&assessor, watched.seen, &mut listen).await;
        drop(shown);
        if let Some(error) = failed {
            return Err(error);
        }
        found.push(one?);
    }
    Ok(found)
}

pub(super) async fn read(config: &Config) -> Result<Vec<NamedHold>> {
    Ok(match Register::open_for_reading(&config.state).await? {
        Some(register) => named_holds(register.holds().await?, register.hold_names().await?),
        None => Vec::new(),
    })
}

async fn list(common: &Common) -> Result<u8> {
    let holds = read(&*common.load()?).await?;
    let now = clock::now();
    if common.json {
        print_line(&json!({"holds": report::holds_json(&holds)}).to_string())?;
    } else {
        print_line(&report::hold_list(&holds, now))?;
    }
    let overdue = holds.iter().any(|one| one.hold.review_is_overdue(now));
    Ok(if overdue { FINDINGS } else { DONE })
}

async fn show(common: &Common, options: &Show) -> Result<u8> {
    let config = common.load()?;
    let holds = read(&config).await?;
    let Some(one) = holds.iter().find(|one| one.hold.id == options.id) else {
        let hint = suggest(&options.id, holds.iter().map(|one| one.hold.id.as_str()));
        return Err(Error::new(Kind::Usage, format!("no hold in force is called \"{}\"{hint}", escape(options.id.as_bytes()))));
    };
    if !common.json {
        let text = report::hold_list(std::slice::from_ref(one), clock::now());
        print(&text.rsplit_once('\n').map_or(String::new(), |(hold, _)| format!("{hold}\n")))?;
    }
    let pseudonyms = Pseudonyms::open(&config.state.join("keys"))?;
    let found = look(common, &config, vec![one.hold.clone()], pseudonyms, options.list).await?;
    if common.json {
        print_line(&json!({"hold": report::holds_json(std::slice::from_ref(one))[0], "protects": found}).to_string())?;
    } else {
        print_line(&report::protected_text(&found))?;
    }
    Ok(if found.iter().any(|one| one.incomplete.is_some()) { FINDINGS } else { DONE })
}
