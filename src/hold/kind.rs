//! What holds are for.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::yaml::suggest;

/// The kind of a hold: what it means, and what must be said to place it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// A claim is made or expected.
    Litigation,
    /// An investigation of the organisation's own.
    Investigation,
    /// Somebody asked for what is held about them.
    AccessRequest,
    /// A complaint, or an ombudsman's case.
    Complaint,
    /// Evidence that the police or another authority asked for.
    Police,
    /// A person's right to restriction of processing.
    Restriction,
    /// Kept for training.
    Training,
    /// Something else.
    Other,
}

impl HoldKind {
    /// Every kind, in the order in which they are explained.
    pub const ALL: [Self; 8] = [
        Self::Litigation,
        Self::Investigation,
        Self::AccessRequest,
        Self::Complaint,
        Self::Police,
        Self::Restriction,
        Self::Training,
        Self::Other,
    ];

    /// The word of the log and of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Litigation => "litigation",
            Self::Investigation => "investigation",
            Self::AccessRequest => "access-request",
            Self::Complaint => "complaint",
            Self::Police => "police",
            Self::Restriction => "restriction",
            Self::Training => "training",
            Self::Other => "other",
        }
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Litigation => "a claim is made or expected, and what may be evidence must not go",
            Self::Investigation => "an investigation of the organisation's own needs the records",
            Self::AccessRequest => "a person asked for what is held about them; nothing of it may go before the answer is given",
            Self::Complaint => "a complaint or an ombudsman's case is open",
            Self::Police => "the police or another authority asked for it as evidence",
            Self::Restriction => "a person asked that it be kept and not used (right to restriction)",
            Self::Training => "kept for training beyond its period",
            Self::Other => "another reason, which the reason given explains",
        }
    }

    /// Whether it must have a last day: what is kept for training is kept for a purpose of the organisation's own, which must end.
    pub fn needs_until(self) -> bool {
        self == Self::Training
    }

    /// Whether it must have a day of review: a restriction lasts while its ground does, and somebody has to look.
    pub fn needs_review(self) -> bool {
        self == Self::Restriction
    }
}

impl std::fmt::Display for HoldKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for HoldKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            let hint = suggest(word, all.iter().copied());
            format!("expected one of {}, found \"{}\"{hint}", all.join(", "), crate::error::escape(word.as_bytes()))
        })
    }
}
