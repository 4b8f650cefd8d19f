//! `retentiond audit`: read, search, verify and prove the log, which needs neither lock nor store nor register; and what a person does to the log
//! itself, which needs the lock.

mod archive;
mod begin_anew;
mod check_proof;
mod find;
mod forget;
mod list;
mod prove;
mod replay;
mod rotate_key;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

pub(crate) use find::entries_about;

use super::Common;
use crate::audit::Reader;
use crate::config::Config;
use crate::error::{Error, Kind, Result, escape};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Print entries of the log, oldest first
    List(list::Options),
    /// Print every entry about one record
    Find(find::Options),
    /// Verify the log, offline, with nothing but its folder and the public key
    Verify(verify::Options),
    /// Derive every decision in the log again from the log alone, and report what does not come out the same
    Replay(replay::Options),
    /// Print single entries with the proof that they are in the log, for somebody who has not the log
    Prove(prove::Options),
    /// Check an entry with its proof and the public key, and nothing else
    CheckProof(check_proof::Options),
    /// Change the key that signs the log; the old one signs the change
    RotateKey(rotate_key::Options),
    /// Destroy the key behind the pseudonyms of a year: nobody can find the year's entries by a record's key any more
    Forget(forget::Options),
    /// Move old entries to another folder; the tree that vouches for them stays
    Archive(archive::Options),
    /// Set aside a log that cannot be opened, as its key was lost or it is damaged, and begin one that names it
    BeginAnew(begin_anew::Options),
}

pub(crate) async fn execute(common: &Common, verb: Verb) -> Result<u8> {
    match verb {
        Verb::List(options) => list::execute(common, &options),
        Verb::Find(options) => find::execute(common, &options),
        Verb::Verify(options) => verify::execute(common, &options),
        Verb::Replay(options) => replay::execute(common, &options),
        Verb::Prove(options) => prove::execute(common, &options),
        Verb::CheckProof(options) => check_proof::execute(common, &options),
        Verb::RotateKey(options) => rotate_key::execute(common, &options).await,
        Verb::Forget(options) => forget::execute(common, &options).await,
        Verb::Archive(options) => archive::execute(common, &options).await,
        Verb::BeginAnew(options) => begin_anew::execute(common, &options).await,
    }
}

/// Which log, and the key that verifies it: both named, or those of the configuration.
#[derive(Args)]
pub(crate) struct Place {
    /// The log's folder, which may be a copy [default: audit in the configured state folder]
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// The public key, or a file that holds it [default: keys/log.vkey in the configured state folder]
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
}

impl Place {
    /// The folder and the key; the configuration is read only for what is not named.
    pub(crate) fn find(&self, common: &Common) -> Result<(PathBuf, String)> {
        let config = if self.log.is_some() && self.key.is_some() { None } else { Some(common.load()?) };
        let state = config.as_ref().map(|config| config.state.join("audit")).unwrap_or_default();
        let log = self.log.clone().unwrap_or(state);
        let key = match (&self.key, &config) {
            (Some(key), _) => read_key(key)?,
            (None, Some(config)) => state_key(config)?,
            (None, None) => String::new(),
        };
        Ok((log, key))
    }
}

/// Says on standard error that old entries are not shown, if that is so.
fn warn_of_absent(reader: &Reader) {
    if let Some(absent) = reader.absent() {
        tracing::warn!("{absent}");
    }
}

/// The public key that a person named: itself, or a file that holds it.
fn read_key(key: &str) -> Result<String> {
    let path = Path::new(key);
    if path.exists() { read_key_file(path) } else { Ok(key.trim().to_owned()) }
}

/// The public key of the configured log.
fn state_key(config: &Config) -> Result<String> {
    read_key_file(&config.state.join("keys/log.vkey"))
}

fn read_key_file(file: &Path) -> Result<String> {
    let shown = escape(file.as_os_str().as_encoded_bytes());
    let fail = |error| Error::with_source(Kind::Usage, format!("{shown}: expected the log's public key"), error);
    std::fs::read_to_string(file).map(|key| key.trim().to_owned()).map_err(fail)
}
