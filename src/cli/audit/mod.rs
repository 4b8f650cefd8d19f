//! `retentiond audit`: read, search and verify the log. None of it needs the lock, a store or the register.

mod find;
mod list;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

pub(crate) use find::entries_about;

use super::Common;
use crate::error::{Error, Kind, Result, escape};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Print entries of the log, oldest first
    List(list::Options),
    /// Print every entry about one record
    Find(find::Options),
    /// Verify the log, offline, with nothing but its folder and the public key
    Verify(verify::Options),
}

pub(crate) fn execute(common: &Common, verb: Verb) -> Result<u8> {
    match verb {
        Verb::List(options) => list::execute(common, &options),
        Verb::Find(options) => find::execute(common, &options),
        Verb::Verify(options) => verify::execute(common, &options),
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
        let state = |part: &str| config.as_ref().map(|config| config.state.join(part)).unwrap_or_default();
        let log = self.log.clone().unwrap_or_else(|| state("audit"));
        let key = match &self.key {
            Some(key) if !Path::new(key).exists() => key.clone(),
            Some(file) => read_key(Path::new(file))?,
            None => read_key(&state("keys").join("log.vkey"))?,
        };
        Ok((log, key.trim().to_owned()))
    }
}

fn read_key(file: &Path) -> Result<String> {
    let shown = escape(file.as_os_str().as_encoded_bytes());
    std::fs::read_to_string(file).map_err(|error| Error::with_source(Kind::Usage, format!("{shown}: expected the log's public key"), error))
}
