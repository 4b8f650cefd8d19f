//! The manual pages: retentiond(8) from the command line, retentiond.yaml(5) and retentiond-schedule(5) from the JSON Schemas of those files.
//!
//! What a page says of an option or a key is what the program itself knows of it, so no page can fall behind: the schemas are held to the loaders
//! by a test, and [`keys`] puts every key of a schema into its page. Only what stands around that is written by hand, in `schema/*.troff`.

mod keys;

use std::io::{Result, Write};

use clap::CommandFactory;

use super::Cli;

/// A page.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Page {
    /// retentiond(8): the program and its verbs
    #[value(name = "retentiond")]
    Program,
    /// retentiond.yaml(5): the configuration
    #[value(name = "retentiond.yaml")]
    Configuration,
    /// retentiond-schedule(5): the retention schedule
    #[value(name = "retentiond-schedule")]
    Schedule,
}

impl Page {
    /// Writes the page in troff.
    pub(super) fn write(self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Program => program(out),
            Self::Configuration => {
                file_page(out, "retentiond.yaml", include_str!("../schema/configuration-head.troff"))?;
                keys::write(out, include_str!("../schema/configuration.json"))?;
                out.write_all(include_bytes!("../schema/configuration-tail.troff"))
            }
            Self::Schedule => {
                file_page(out, "retentiond-schedule", include_str!("../schema/schedule-head.troff"))?;
                keys::write(out, include_str!("../schema/schedule.json"))?;
                out.write_all(include_bytes!("../schema/schedule-tail.troff"))
            }
        }
    }
}

/// The beginning of a page of section 5.
fn file_page(out: &mut Vec<u8>, name: &str, head: &str) -> Result<()> {
    let version = concat!("retentiond ", env!("CARGO_PKG_VERSION"));
    write!(out, ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH {} 5 \"\" \"{version}\" retentiond\n{head}", troff(name))
}

/// One page: the program, then every verb with its options, then files, exit codes and environment.
fn program(out: &mut Vec<u8>) -> Result<()> {
    let command = Cli::command();
    let page = clap_mangen::Man::new(command.clone()).section("8").manual("retentiond");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    writeln!(out, ".SH COMMANDS")?;
    verbs(&command, "retentiond", out)?;
    out.write_all(include_bytes!("../schema/man-tail.troff"))
}

fn verbs(command: &clap::Command, path: &str, out: &mut Vec<u8>) -> Result<()> {
    for verb in command.get_subcommands() {
        let path = format!("{path} {}", verb.get_name());
        if verb.has_subcommands() {
            verbs(verb, &path, out)?;
            continue;
        }
        writeln!(out, ".SS \"{path}\"")?;
        writeln!(out, "{}", troff(&verb.get_about().map(ToString::to_string).unwrap_or_default()))?;
        let own = |argument: &&clap::Arg| !argument.is_global_set() && !matches!(argument.get_id().as_str(), "help" | "version");
        for argument in verb.get_arguments().filter(own) {
            let value = argument.get_value_names().map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            let takes = argument.get_action().takes_values();
            let shown = match (argument.get_long(), value) {
                (Some(long), Some(value)) if takes => format!("\\-\\-{} \\fI{value}\\fR", troff(long)),
                (Some(long), _) => format!("\\-\\-{}", troff(long)),
                (None, value) => format!("\\fI{}\\fR", value.unwrap_or_default()),
            };
            let help = troff(&argument.get_help().map(ToString::to_string).unwrap_or_default());
            writeln!(out, ".TP\n\\fB{shown}\\fR\n{help}")?;
        }
    }
    Ok(())
}

/// A text with nothing left in it that troff would take for its own.
fn troff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('^', "\\(ha").replace('~', "\\(ti");
    // A request begins with a dot at the start of a line.
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_a_request_of_troff() {
        assert_eq!(troff(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(troff("'unsuccessful' \\d no-longer"), "\\(aqunsuccessful\\(aq \\ed no\\-longer");
    }
}
