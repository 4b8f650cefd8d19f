//! `retentiond generate`: what packages ship, made from the program itself so that it cannot fall behind.

use clap::{CommandFactory, Subcommand};

use super::manual::Page;
use super::{Cli, DONE, print};
use crate::error::{Error, Kind, Result};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// A manual page, in troff
    Man {
        /// Which page
        #[arg(default_value = "retentiond")]
        page: Page,
    },
    /// Completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The JSON Schema of a file, for editors that check while one types
    Schema {
        /// Which file
        file: SchemaOf,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum SchemaOf {
    /// A retention schedule
    Schedule,
    /// The configuration
    Configuration,
}

pub(crate) fn execute(verb: &Verb) -> Result<u8> {
    let mut out = Vec::new();
    match verb {
        Verb::Man { page } => {
            page.write(&mut out).map_err(|error| Error::with_source(Kind::Io, "the manual page cannot be written", error))?;
        }
        Verb::Completions { shell } => clap_complete::generate(*shell, &mut Cli::command(), "retentiond", &mut out),
        Verb::Schema { file } => out.extend_from_slice(match file {
            SchemaOf::Schedule => include_bytes!("schema/schedule.json").as_slice(),
            SchemaOf::Configuration => include_bytes!("schema/configuration.json").as_slice(),
        }),
    }
    print(&String::from_utf8_lossy(&out))?;
    Ok(DONE)
}
