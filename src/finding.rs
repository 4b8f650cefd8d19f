//! A finding: something a person should know that does not stop the program.
//!
//! `check` prints findings and ends with exit code 1 when there are any; a run prints those that concern its datasets. An error in a file is
//! not a finding: it refuses the file.

use serde::Serialize;

/// One thing a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether records are in danger of the wrong treatment or a person merely should know.
    pub severity: Severity,
    /// What it is about: a file, `store`, `store/dataset` or a class id.
    pub about: String,
    /// What was found and what to do.
    pub message: String,
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The dataset cannot be run as it is; its records stay.
    Blocks,
    /// Something is likely not as intended.
    Warning,
    /// Good to know.
    Note,
}

impl Finding {
    /// A finding that keeps its dataset from running.
    pub fn blocks(about: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Blocks, about: about.into(), message: message.into() }
    }

    /// A finding that something is likely not as intended.
    pub fn warning(about: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, about: about.into(), message: message.into() }
    }

    /// A finding that is good to know.
    pub fn note(about: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, about: about.into(), message: message.into() }
    }
}

impl Severity {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}
