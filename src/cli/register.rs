//! `retentiond register`: the projection of the log that the program works with, and the one thing in it that the log must not know.
//!
//! An export holds the plain names of what holds are on, as JSON, readable by its owner only. With `-` it goes to standard output, for a program that
//! encrypts it, and comes from standard input. Holds protect without it; only people then see pseudonyms.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Common, DONE, FINDINGS, Output, print_line, tell_line};
use crate::error::{Error, Kind, Result, escape};
use crate::register::{HoldNames, Register};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Delete the register and build it again from the audit log; the plain names of holds stay
    Rebuild,
    /// Write the plain names of holds to a new file, which holds personal data; they are nowhere else
    Export {
        /// The file, or - for standard output: `register export - | age -r KEY > names.age`
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Take the plain names of holds in force out of an export
    Import {
        /// The file, or - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(crate) async fn execute(common: &Common, verb: &Verb) -> Result<u8> {
    match verb {
        Verb::Rebuild => rebuild(common).await,
        Verb::Export { file } => export(common, file).await,
        Verb::Import { file } => import(common, file).await,
    }
}

async fn rebuild(common: &Common) -> Result<u8> {
    let config = common.load()?;
    let session = Session::open(config.clone(), true).await?;
    session.register.rebuild(&config.state.join("audit")).await?;
    let entries = session.register.applied().await?;
    session.close().await?;
    print_line(&format!("the register was built again from {entries} entries of the audit log"))?;
    Ok(DONE)
}

fn shown(file: &Path) -> String {
    escape(file.as_os_str().as_encoded_bytes())
}

async fn export(common: &Common, file: &Path) -> Result<u8> {
    let config = common.load()?;
    let names = match Register::open_for_reading(&config.state).await? {
        Some(register) => register.hold_names().await?,
        None => Vec::new(),
    };
    let fail = |error| Error::with_source(Kind::Io, format!("{}: the names cannot be written", shown(file)), error);
    let mut text = serde_json::to_vec_pretty(&names).map_err(|error| fail(error.into()))?;
    text.push(b'\n');
    if file.as_os_str() == "-" {
        Output.write_all(&text).and_then(|()| Output.flush()).map_err(fail)?;
        return Ok(DONE);
    }
    // Never over something else: it may be the last export that can be read.
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(fail)?;
    out.write_all(&text).and_then(|()| out.sync_all()).map_err(fail)?;
    print_line(&format!(
        "{}: the names of {}; it holds personal data, keep it as the records themselves are kept",
        shown(file),
        crate::report::count(names.len() as u64, "hold")
    ))?;
    Ok(DONE)
}

async fn import(common: &Common, file: &Path) -> Result<u8> {
    let config = common.load()?;
    let fail = |error| Error::with_source(Kind::Usage, format!("{}: cannot be read", shown(file)), error);
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(fail)?;
    } else {
        text = std::fs::read_to_string(file).map_err(fail)?;
    }
    let names: Vec<HoldNames> = serde_json::from_str(&text).map_err(|error| {
        let what = format!("{}:{}:{}: expected an export of names", shown(file), error.line(), error.column());
        Error::with_source(Kind::Usage, what, error)
    })?;
    let session = Session::open(config, true).await?;
    let taken = session.take_names(&names).await;
    session.close().await?;
    let (taken, refused) = taken?;
    for what in &refused {
        tell_line(what)?;
    }
    print_line(&format!("took the names of {}", crate::report::count(taken, "hold")))?;
    Ok(if refused.is_empty() { DONE } else { FINDINGS })
}
