//! `retentiond generate`: what packages ship, made from the program itself so that it cannot fall behind.

use clap::{CommandFactory, Subcommand};

use super::{Cli, DONE, print};
use crate::error::{Error, Kind, Result};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// The manual page, in troff
    Man,
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
        Verb::Man => man(&mut out).map_err(|error| Error::with_source(Kind::Io, "the manual page cannot be written", error))?,
        Verb::Completions { shell } => clap_complete::generate(*shell, &mut Cli::command(), "retentiond", &mut out),
        Verb::Schema { file } => out.extend_from_slice(match file {
            SchemaOf::Schedule => include_bytes!("schema/schedule.json").as_slice(),
            SchemaOf::Configuration => include_bytes!("schema/configuration.json").as_slice(),
        }),
    }
    print(&String::from_utf8_lossy(&out))?;
    Ok(DONE)
}

/// One page: the program, then every verb with its options, then files, exit codes and environment.
fn man(out: &mut Vec<u8>) -> std::io::Result<()> {
    use std::io::Write;
    let command = Cli::command();
    let page = clap_mangen::Man::new(command.clone()).section("8").manual("retentiond");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    writeln!(out, ".SH COMMANDS")?;
    verbs(&command, "retentiond", out)?;
    out.write_all(include_bytes!("schema/man-tail.troff"))
}

fn verbs(command: &clap::Command, path: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
    use std::io::Write;
    for verb in command.get_subcommands() {
        let path = format!("{path} {}", verb.get_name());
        if verb.has_subcommands() {
            verbs(verb, &path, out)?;
            continue;
        }
        writeln!(out, ".SS \"{path}\"")?;
        writeln!(out, "{}", verb.get_about().map(ToString::to_string).unwrap_or_default().replace('-', "\\-"))?;
        let own = |argument: &&clap::Arg| !argument.is_global_set() && !matches!(argument.get_id().as_str(), "help" | "version");
        for argument in verb.get_arguments().filter(own) {
            let value = argument.get_value_names().map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            let takes = argument.get_action().takes_values();
            let shown = match (argument.get_long(), value) {
                (Some(long), Some(value)) if takes => format!("\\-\\-{} \\fI{value}\\fR", long.replace('-', "\\-")),
                (Some(long), _) => format!("\\-\\-{}", long.replace('-', "\\-")),
                (None, value) => format!("\\fI{}\\fR", value.unwrap_or_default()),
            };
            writeln!(
                out,
                ".TP\n\\fB{shown}\\fR\n{}",
                argument.get_help().map(ToString::to_string).unwrap_or_default().replace('-', "\\-")
            )?;
        }
    }
    Ok(())
}
