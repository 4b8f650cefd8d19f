//! `retentiond report`: what people sign, and what they review every month. Made from a verified log, or not at all.

use std::io::BufWriter;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use jiff::civil::Date;

use super::audit::Place;
use super::{Common, DONE, print, print_line};
use crate::clock;
use crate::error::{Error, Kind, Result, escape};
use crate::report::{Certificate, Form, Selection, Signed, Statistics, write_deletion_log};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Print a certificate of destruction, for one run or for a time
    Certificate(CertificateOptions),
    /// Print the deletion log, one row for each outcome
    Log(LogOptions),
    /// Print what was counted of records before they went; small counts are not shown
    Statistics(StatisticsOptions),
}

#[derive(Args)]
#[command(group(ArgGroup::new("about").required(true).args(["run", "from"])))]
pub(crate) struct CertificateOptions {
    /// Only this run
    #[arg(long, value_name = "RUN", conflicts_with_all = ["from", "to"])]
    run: Option<String>,
    /// From the beginning of this day (UTC)
    #[arg(long, value_name = "DATE", value_parser = parse_day, requires = "to")]
    from: Option<Date>,
    /// To the end of this day (UTC)
    #[arg(long, value_name = "DATE", value_parser = parse_day, requires = "from")]
    to: Option<Date>,
    /// Only this record class; may be repeated
    #[arg(long, value_name = "CLASS")]
    class: Vec<String>,
    /// The organisation's name, as it is to stand at the top
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// In which form; --json is the same as json
    #[arg(long, value_enum, value_name = "FORM", default_value_t = CertificateForm::Html)]
    format: CertificateForm,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum CertificateForm {
    Html,
    Json,
}

#[derive(Args)]
pub(crate) struct LogOptions {
    /// From the beginning of this day (UTC)
    #[arg(long, value_name = "DATE", value_parser = parse_day)]
    from: Option<Date>,
    /// To the end of this day (UTC)
    #[arg(long, value_name = "DATE", value_parser = parse_day)]
    to: Option<Date>,
    /// Only this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only this record class; may be repeated
    #[arg(long, value_name = "CLASS")]
    class: Vec<String>,
    /// Only this store or dataset
    #[arg(long, value_name = "STORE[/DATASET]")]
    store: Option<String>,
    /// In which form; --json is the same as json
    #[arg(long, value_enum, value_name = "FORM", default_value_t = LogForm::Csv)]
    format: LogForm,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogForm {
    Csv,
    Html,
    Json,
}

#[derive(Args)]
pub(crate) struct StatisticsOptions {
    /// Only this store or dataset
    #[arg(long, value_name = "STORE[/DATASET]")]
    store: Option<String>,
    /// In which form; --json is the same as json
    #[arg(long, value_enum, value_name = "FORM", default_value_t = StatisticsForm::Csv)]
    format: StatisticsForm,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum StatisticsForm {
    Csv,
    Json,
}

pub(crate) fn execute(common: &Common, verb: Verb) -> Result<u8> {
    match verb {
        Verb::Certificate(options) => certificate(common, options),
        Verb::Log(options) => log(common, options),
        Verb::Statistics(options) => statistics(common, &options),
    }
}

fn certificate(common: &Common, options: CertificateOptions) -> Result<u8> {
    check_days(options.from, options.to)?;
    let signed = open(common, &options.place, "no certificate can be made of this log")?;
    let about = Selection { run: options.run, from: options.from, to: options.to, classes: options.class, store: None };
    let certificate = Certificate::gather(&signed, about, options.organisation, format!("{:.0}", clock::now()))?;
    if common.json || options.format == CertificateForm::Json {
        let text = serde_json::to_string_pretty(&certificate);
        print_line(&text.map_err(|error| Error::with_source(Kind::Io, "the certificate cannot be written", error))?)?;
    } else {
        print(&certificate.html())?;
    }
    Ok(DONE)
}

fn log(common: &Common, options: LogOptions) -> Result<u8> {
    check_days(options.from, options.to)?;
    let signed = open(common, &options.place, "no report can be made of this log")?;
    let about = Selection { run: options.run, from: options.from, to: options.to, classes: options.class, store: options.store };
    let form = match options.format {
        _ if common.json => Form::Json,
        LogForm::Csv => Form::Csv,
        LogForm::Html => Form::Html,
        LogForm::Json => Form::Json,
    };
    let mut out = BufWriter::with_capacity(1 << 16, super::Output);
    write_deletion_log(&signed, &about, form, &mut out)?;
    Ok(DONE)
}

fn statistics(common: &Common, options: &StatisticsOptions) -> Result<u8> {
    let signed = open(common, &options.place, "no statistics can be made of this log")?;
    let statistics = Statistics::gather(&signed, options.store.as_deref())?;
    if common.json || options.format == StatisticsForm::Json {
        print_line(&statistics.json().to_string())?;
    } else {
        print(&statistics.csv())?;
    }
    Ok(DONE)
}

/// Verifies the log; `refusal` says what cannot be if it is not intact.
fn open(common: &Common, place: &Place, refusal: &str) -> Result<Signed> {
    let (log, key) = place.find(common)?;
    Signed::open(&log, &key).map_err(|error| if error.kind() == Kind::NotIntact { error.context(refusal) } else { error })
}

fn check_days(from: Option<Date>, to: Option<Date>) -> Result<()> {
    if let (Some(from), Some(to)) = (from, to)
        && to < from
    {
        return Err(Error::new(Kind::Usage, format!("--to {to}: expected a day not before --from {from}")));
    }
    Ok(())
}

fn parse_day(text: &str) -> std::result::Result<Date, String> {
    text.parse().map_err(|_| format!("expected a day such as 2026-11-01, found \"{}\"", escape(text.as_bytes())))
}
