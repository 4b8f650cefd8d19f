//! Limits on what one run may destroy in one dataset.
//!
//! They are on unless somebody writes `unlimited`: a schedule edited by mistake, a clock or an import gone wrong shows as a plan that is too
//! large, and then nothing is destroyed until a person allows exactly that plan.

use std::fmt;

use crate::error::escape;
use crate::yaml::{Node, Problems, Scalar, Value};

/// The largest plan that is carried out without asking, per dataset and run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Records; `None` without limit. Default 10,000.
    pub records: Option<u64>,
    /// Share of the dataset in per cent, 0 to 100; `None` without limit. Default 20.
    pub share: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: Some(10_000), share: Some(20.0) }
    }
}

impl Limits {
    /// These limits with what the node says instead: `unlimited`, or a mapping with `records` and `share`.
    #[must_use]
    pub fn overridden(mut self, node: &Node, problems: &mut Problems) -> Self {
        if matches!(&node.value, Value::Scalar(Scalar { text, .. }) if text == "unlimited") {
            return Self { records: None, share: None };
        }
        let Some(mut fields) = node.fields("limits such as `{ records: 10000, share: 20% }`, or unlimited", problems) else {
            return self;
        };
        if let Some(node) = fields.take("records")
            && let Some(text) = node.text("a number of records, or unlimited", problems)
        {
            match text.parse::<u64>() {
                _ if text == "unlimited" => self.records = None,
                Ok(records) if !text.starts_with('+') => self.records = Some(records),
                _ => {
                    let digits = text.replace([',', '_', ' '], "");
                    let remedy = digits.parse::<u64>().map_or(String::new(), |number| format!("; write `{number}`"));
                    problems.add(
                        node.mark,
                        format!("expected a whole number of records, or unlimited, found \"{}\"{remedy}", escape(text.as_bytes())),
                    );
                }
            }
        }
        if let Some(node) = fields.take("share")
            && let Some(text) = node.text("a share such as 20%, or unlimited", problems)
        {
            match share_of(text) {
                _ if text == "unlimited" => self.share = None,
                Some(share) => self.share = Some(share),
                None => {
                    let remedy = share_of(&format!("{text}%")).map_or(String::new(), |_| format!("; write `{}%`", text.trim()));
                    problems.add(
                        node.mark,
                        format!("expected a share from 0% to 100%, or unlimited, found \"{}\"{remedy}", escape(text.as_bytes())),
                    );
                }
            }
        }
        fields.finish("limits", problems);
        self
    }

    /// Whether `due` records out of `population` stay within the limits. An empty plan always does.
    pub fn allow(&self, due: u64, population: u64) -> bool {
        due == 0 || (self.records.is_none_or(|most| due <= most) && self.share.is_none_or(|_| population >= self.population_needed(due)))
    }

    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        self.records.is_none() && self.share.is_none()
    }

    /// The smallest population at which `due` records are within the share.
    pub fn population_needed(&self, due: u64) -> u64 {
        match self.share {
            None => 0,
            Some(share) if share <= 0.0 => u64::MAX,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counts of records lie far below 2^52"
            )]
            Some(share) => (due as f64 * 100.0 / share).ceil() as u64,
        }
    }
}

/// A share as people write it: digits, perhaps a decimal point, and `%`. What else a computer would take for a number is refused.
fn share_of(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?.trim_end();
    let plain = number.starts_with(|c: char| c.is_ascii_digit()) && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    number.parse::<f64>().ok().filter(|share| plain && (0.0..=100.0).contains(share))
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.records, self.share) {
            (None, None) => f.write_str("unlimited"),
            (Some(records), None) => write!(f, "{records} records"),
            (None, Some(share)) => write!(f, "{share}% of the dataset"),
            (Some(records), Some(share)) => write!(f, "{records} records or {share}% of the dataset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_limit_is_allowed_and_one_more_is_not() {
        let limits = Limits { records: Some(10), share: Some(20.0) };
        assert!(limits.allow(10, 50));
        assert!(!limits.allow(11, 1_000));
        assert!(!limits.allow(10, 49));
        assert!(limits.allow(0, 0));
        assert!(!Limits { records: None, share: Some(0.0) }.allow(1, 1_000_000));
        assert!(Limits { records: None, share: None }.allow(5, 5));
        assert_eq!(limits.population_needed(10), 50);
    }
}
