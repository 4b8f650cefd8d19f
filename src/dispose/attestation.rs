//! What a person says who has destroyed a record that no program reaches.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A person's word that a record is destroyed, and what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attestation {
    /// Who says so.
    pub person: String,
    /// The day on which the record was destroyed.
    pub on: Date,
    /// How, in the person's words: shredded, burnt, erased by the contractor.
    pub method: String,
    /// The number of the certificate of destruction.
    pub certificate: String,
    /// SHA-256 of the scanned certificate, in hexadecimal digits.
    pub sha256: Option<String>,
}
