//! The commands that people type: one file a verb.
//!
//! Every verb that shows something has `--json`. Text goes to standard output, progress and log lines to standard error; in a pipe there is no
//! progress and no colour. Exit codes: 0 done; 1 done, with findings or failures; 2 usage or configuration; 3 refused (limit, lock, clock);
//! 4 the audit log is not intact.

mod attend;
mod attest;
mod audit;
mod check;
mod daemon;
mod explain;
mod generate;
mod hold;
mod manual;
mod pause;
mod plan;
mod progress;
mod register;
mod reload;
mod report;
mod resume;
mod review;
mod run;
mod schedule;
mod status;
mod subject;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, DEFAULT_FILE};
use crate::error::{DONE, Error, FINDINGS, Kind, Result};
use crate::logging::LogFormat;

/// Carries out an organisation's retention schedule: finds records whose period is over, flags or destroys them, and keeps a log that outsiders
/// can verify.
#[derive(Parser)]
#[command(name = "retentiond", version, max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// Options of every verb.
#[derive(Args)]
pub(crate) struct Common {
    /// Configuration file
    #[arg(long, short, global = true, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// Print JSON instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// Log more to standard error (-v: what is done, -vv: details)
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Form of what is logged: auto by default
    #[arg(long, global = true, value_name = "FORM")]
    log_format: Option<LogFormat>,
    /// Every configuration that was loaded: their stores are left at the end.
    #[arg(skip)]
    loaded: Mutex<Vec<Arc<Config>>>,
}

#[derive(Subcommand)]
enum Verb {
    /// Load schedules and configuration and report what a person should know; touches no record
    Check(check::Options),
    /// Show what a run would do; changes nothing
    Plan(plan::Options),
    /// Scan, judge, plan and dispose, once
    Run(run::Options),
    /// Run every dataset on its timetable, until a signal ends it
    Daemon,
    /// Show how the service and the last runs stand
    Status,
    /// Have the service load schedule and configuration anew, all or nothing
    Reload,
    /// Do nothing in a store, or anywhere, until it is resumed
    Pause(pause::Options),
    /// Lift the pause of a store, or every pause
    Resume(resume::Options),
    /// Forbid to destroy records: place, extend, release, list and show holds
    #[command(subcommand)]
    Hold(hold::Verb),
    /// The schedule in force, and edits of it
    #[command(subcommand)]
    Schedule(schedule::Verb),
    /// What waits for people to decide whether it goes, and their decisions
    #[command(subcommand)]
    Review(review::Verb),
    /// What is held about one person or tenancy, and requests for erasure
    #[command(subcommand)]
    Subject(subject::Verb),
    /// Say in plain words why a record is kept, due, held or gone
    Explain(explain::Options),
    /// Records that only people can destroy: list what is due, and confirm what is done
    #[command(subcommand)]
    Attest(attest::Verb),
    /// Read, search and verify the audit log
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Make a certificate of destruction, or the deletion log for the monthly review
    #[command(subcommand)]
    Report(report::Verb),
    /// The register, a projection of the audit log
    #[command(subcommand)]
    Register(register::Verb),
    /// Print a manual page, shell completions or a JSON Schema
    #[command(subcommand)]
    Generate(generate::Verb),
}

impl Cli {
    /// The form in which messages are logged, if the command line says it.
    pub fn log_format(&self) -> Option<LogFormat> {
        self.common.log_format
    }

    /// What is logged to standard error when the environment variable `RETENTIOND_LOG` does not say.
    pub fn log_filter(&self) -> &'static str {
        match self.common.verbose {
            0 if matches!(self.verb, Verb::Daemon) => "info,sqlx=error",
            0 => "warn,sqlx=error",
            1 => "info,sqlx=error",
            _ => "debug,sqlx=warn",
        }
    }

    /// Carries out the command; answers the exit code.
    pub async fn execute(self) -> Result<u8> {
        let common = &self.common;
        let code = match self.verb {
            Verb::Check(options) => check::execute(common, &options).await,
            Verb::Plan(options) => plan::execute(common, &options).await,
            Verb::Run(options) => run::execute(common, &options).await,
            Verb::Daemon => daemon::execute(common).await,
            Verb::Status => status::execute(common).await,
            Verb::Reload => reload::execute(common),
            Verb::Pause(options) => pause::execute(common, &options).await,
            Verb::Resume(options) => resume::execute(common, &options).await,
            Verb::Hold(verb) => hold::execute(common, verb).await,
            Verb::Schedule(verb) => schedule::execute(common, &verb).await,
            Verb::Review(verb) => review::execute(common, &verb).await,
            Verb::Subject(verb) => subject::execute(common, verb).await,
            Verb::Explain(options) => explain::execute(common, &options).await,
            Verb::Attest(verb) => attest::execute(common, &verb).await,
            Verb::Audit(verb) => audit::execute(common, verb).await,
            Verb::Report(verb) => report::execute(common, verb),
            Verb::Register(verb) => register::execute(common, &verb).await,
            Verb::Generate(verb) => generate::execute(&verb),
        };
        let loaded = std::mem::take(&mut *common.loaded());
        for config in loaded {
            config.leave().await;
        }
        code
    }
}

impl Common {
    /// Loads the configuration anew, as it is at this moment.
    fn load(&self) -> Result<Arc<Config>> {
        let config = Arc::new(Config::load(&self.config)?);
        self.loaded().push(Arc::clone(&config));
        Ok(config)
    }

    fn loaded(&self) -> MutexGuard<'_, Vec<Arc<Config>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Standard output, for what is too long for one [`print`]. A reader that went away ends the program quietly.
pub(crate) struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match std::io::stdout().lock().write(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => other,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match std::io::stdout().lock().flush() {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => other,
        }
    }
}

/// Asks the person at the terminal to type `word`, unless it is said already that the act is meant.
pub(crate) fn confirm(yes: bool, act: &str, word: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(Kind::Usage, format!("{act} cannot be undone; say --yes if it is meant")));
    }
    tell_line(&format!("{act} cannot be undone. Type {word} to go on:"))?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| Error::with_source(Kind::Io, "standard input cannot be read", error))?;
    if line.trim() == word { Ok(()) } else { Err(Error::new(Kind::Refused, "nothing was done")) }
}

/// Asks the person at the terminal to type `word`, unless it is said already.
pub(crate) fn agree(question: &str, word: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(Kind::Usage, format!("{question} Say --yes if it is meant, or --preview to look only")));
    }
    tell_line(&format!("{question} Type {word} to go on:"))?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| Error::with_source(Kind::Io, "standard input cannot be read", error))?;
    if line.trim() == word { Ok(()) } else { Err(Error::new(Kind::Refused, "nothing was done")) }
}

/// Prints to standard output. A reader that went away (`| head`) ends the program quietly, as it does for any other tool.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| Error::with_source(Kind::Io, "standard output cannot be written", error)),
    }
}

/// Prints a line about work that goes on whether or not somebody still reads.
pub(crate) fn tell_line(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::with_source(Kind::Io, "standard output cannot be written", error))
        }
        _ => Ok(()),
    }
}

/// Prints a line.
pub(crate) fn print_line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}
