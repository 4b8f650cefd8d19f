//! What a person orders about a review batch, by the command line or through the service's socket.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::decision::What;

/// A decision as a person gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Order {
    /// `approve`, `refuse`, `extend` or `withdraw`.
    pub what: What,
    /// The batch's id, or how it begins.
    pub batch: String,
    /// The person's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a refusal or extension, the last day of keeping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
    /// Of an approval, the addresses of records that it leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}
