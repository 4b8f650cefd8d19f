//! The control socket: how other verbs, and programs of others, talk to the running service.
//!
//! One request a connection. The service greets with `hello`; the client sends one line of JSON, such as `{"verb":"status"}`; the service answers
//! with lines of JSON, the last of which is `done` with the exit code that the same verb would have ended with on its own. The service asks the
//! kernel who is at the other end ([`peer`]): root, the service's own user and the group `retentiond` may change things, the group
//! `retentiond-read` may ask for the status, everybody else is turned away. A line is at most [`MAX_LINE`] bytes, or [`MAX_ORDER`] of who may change
//! things.
//!
//! A verb that finds no service behind the socket acts itself, under the lock of the state folder. So there is one writer at any time, and the log
//! is the same either way. While `retentiond run` has that lock, it answers behind the socket itself, to what cannot wait: holds, pauses, the status.

pub mod answers;
pub mod client;
pub mod listen;
pub mod peer;
pub mod status;

use serde::{Deserialize, Serialize};

use crate::review::Order;

pub use client::Client;
pub use status::Status;

use crate::session::{ErasureOrder, HoldOrder};

/// The longest line that either side takes.
pub const MAX_LINE: usize = 64 * 1024;

/// The longest line taken of who may change things: a table of holds.
pub const MAX_ORDER: usize = 16 * 1024 * 1024;

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the service stands.
    Status {},
    /// Run datasets now.
    Run {
        /// A store or dataset; all without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selection: Option<String>,
        /// The refused plan that is allowed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allow: Option<String>,
        /// The clock is right although it is far ahead.
        #[serde(default)]
        trust_clock: bool,
        /// Whom root acts for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Pause a store, or everything.
    Pause {
        /// The store.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        store: Option<String>,
        /// Why.
        reason: String,
        /// Whom root acts for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Lift the pause of a store, or every pause.
    Resume {
        /// The store.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        store: Option<String>,
        /// Whom root acts for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Confirm the edit that is in force.
    Confirm {
        /// Its id.
        edit: String,
        /// Whom root acts for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Place, extend or release holds.
    Hold {
        /// What to do.
        order: HoldOrder,
        /// Whom root acts for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Take a person's word that a record is destroyed which no program reaches.
    Attest {
        /// The record: `store/dataset:key`.
        address: String,
        /// The day on which it was destroyed.
        on: jiff::civil::Date,
        /// How.
        method: String,
        /// The number of the certificate.
        certificate: String,
        /// SHA-256 of the scanned certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
        /// Whom root acts for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// The review batches, without any key.
    Reviews {
        /// A store or dataset; all without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selection: Option<String>,
    },
    /// Records of a review batch, at most [`PAGE`] of them.
    ReviewRecords {
        /// The batch's id, or how it begins.
        batch: String,
        /// How many records are passed over.
        #[serde(default)]
        from: u64,
    },
    /// Decide about a review batch.
    Review {
        /// What is decided.
        order: Order,
        /// Whom root acts for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Decide about everything that is held about a person who asks for erasure; with a confirmation, carry it out.
    Erase {
        /// What is asked.
        order: ErasureOrder,
        /// Whom root acts for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Load schedule and configuration anew.
    Reload {},
}

/// Records of a review batch that are asked for at once.
pub const PAGE: u64 = 10_000;

/// What the service answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Reply {
    /// Who is here.
    Hello {
        /// The program's version.
        version: String,
        /// The state folder, so that a client does not talk to the service of another one.
        state: String,
    },
    /// The status.
    Status(Box<Status>),
    /// What a verb shows or says.
    Told {
        /// For people.
        text: String,
        /// For programs.
        json: serde_json::Value,
    },
    /// What a run over one dataset did.
    Ran {
        /// For people.
        text: String,
        /// For programs.
        json: serde_json::Value,
    },
    /// What became of a person's word.
    Attested {
        /// For people.
        text: String,
        /// For programs.
        json: serde_json::Value,
    },
    /// The end of the answer.
    Done {
        /// The exit code.
        code: u8,
        /// What went wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

impl Request {
    /// Whether it only asks.
    pub fn only_reads(&self) -> bool {
        matches!(self, Self::Status {} | Self::Reviews { .. })
    }

    /// Whom root says that it acts for.
    pub fn on_behalf_of(&self) -> Option<&str> {
        match self {
            Self::Confirm { on_behalf_of, .. }
            | Self::Attest { on_behalf_of, .. }
            | Self::Erase { on_behalf_of, .. }
            | Self::Run { on_behalf_of, .. }
            | Self::Pause { on_behalf_of, .. }
            | Self::Hold { on_behalf_of, .. }
            | Self::Review { on_behalf_of, .. }
            | Self::Resume { on_behalf_of, .. } => on_behalf_of.as_deref(),
            Self::Status {} | Self::Reviews { .. } | Self::ReviewRecords { .. } | Self::Reload {} => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_the_documentation_writes_them() {
        let read = |line: &str| serde_json::from_str::<Request>(line);
        assert_eq!(read(r#"{"verb":"status"}"#).unwrap(), Request::Status {});
        let pause = read(r#"{"verb":"pause","store":"cctv","reason":"the disk is being replaced"}"#).unwrap();
        assert!(matches!(pause, Request::Pause { store: Some(store), .. } if store == "cctv"));
        assert!(read(r#"{"verb":"pause","store":"cctv"}"#).is_err(), "a pause needs a reason");
        assert!(read(r#"{"verb":"run","selektion":"cctv"}"#).is_err(), "a misspelt key must not run everything");
        assert!(read(r#"{"verb":"destroy"}"#).is_err());
    }
}
