//! What a person writes down to place a hold: on the command line, as a line of a table, or as a request to the service.
//!
//! A wish names subjects and records in plain. It is checked here as far as it can be without knowing configuration or clock, and turned into a
//! hold by [`crate::session`]; only the register keeps its plain names.
//!
//! A table is CSV in UTF-8 with a heading: `kind` and any of the columns that [`COLUMNS`] names, in any order. Empty fields count as not given. A
//! table with a mistake is refused as a whole, each mistake with its line.

use std::path::Path;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::HoldKind;
use crate::error::{Error, Kind, Result, escape};
use crate::schedule::load::parse_date;
use crate::yaml::suggest;

/// The columns that a table of holds may have.
pub const COLUMNS: [&str; 13] =
    ["kind", "subject", "record", "class", "dataset", "event", "event-from", "event-to", "until", "review", "owner", "matter", "reason"];

/// The most bytes that a free text may have: it goes into one entry of the log.
const MAX_TEXT: usize = 1000;

/// The most holds that one table may place.
pub const MOST: usize = 10_000;

/// A hold that a person wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wish {
    /// What it is for.
    pub kind: HoldKind,
    /// The person or tenancy, in plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The record, such as `housing/applicants:1234`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The dataset, such as `housing/applicants`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The event whose day is compared; any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The first day on which an event of the record may have fallen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_from: Option<Date>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_to: Option<Date>,
    /// Everything, which must be said: a wish without any scope is a mistake.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
    /// The last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
    /// The day by which somebody is to look whether it is still needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Date>,
    /// Who answers for it; whoever places it, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The reference of the case, claim or request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matter: Option<String>,
    /// Why.
    pub reason: String,
}

impl Wish {
    /// A hold on one record, named as `housing/applicants:1234`.
    pub fn on_record(kind: HoldKind, record: String, reason: String) -> Self {
        Self {
            kind,
            subject: None,
            record: Some(record),
            class: None,
            dataset: None,
            event: None,
            event_from: None,
            event_to: None,
            everything: false,
            until: None,
            review: None,
            owner: None,
            matter: None,
            reason,
        }
    }

    /// What is wrong with it in itself, in words that complete "a hold: ...".
    pub fn mistake(&self) -> Option<String> {
        let scopes = [&self.subject, &self.record, &self.class, &self.dataset];
        let ranged = self.event_from.is_some() || self.event_to.is_some();
        let scoped = ranged || scopes.iter().any(|part| part.is_some());
        if scopes.into_iter().chain([&self.event, &self.owner, &self.matter]).flatten().any(|text| text.trim().is_empty()) {
            return Some("expected every part that is given to say something, found an empty one".into());
        }
        if !scoped && !self.everything {
            return Some(
                "expected what it protects: a subject, record, class, dataset or range of events; to hold everything, say so".into(),
            );
        }
        if scoped && self.everything {
            return Some("everything and a narrower scope exclude each other".into());
        }
        if self.event.is_some() && !ranged {
            return Some("an event without a range of days; say from which day, to which day, or both".into());
        }
        if let (Some(from), Some(to)) = (self.event_from, self.event_to)
            && from > to
        {
            return Some(format!("expected the range of events to begin before it ends, found {from} to {to}"));
        }
        if self.kind.needs_until() && self.until.is_none() {
            return Some(format!("one of kind {} needs a last day: {}", self.kind, self.kind.meaning()));
        }
        if self.kind.needs_review() && self.review.is_none() {
            return Some(format!("one of kind {} needs a day of review: {}", self.kind, self.kind.meaning()));
        }
        if self.reason.trim().is_empty() {
            return Some("expected a reason".into());
        }
        self.texts().into_iter().find_map(|(name, text)| mistake_of_text(name, text, &self.personal()))
    }

    /// The free texts, which the log keeps for ever.
    fn texts(&self) -> Vec<(&'static str, &str)> {
        let optional = [("owner", &self.owner), ("matter", &self.matter)];
        let optional = optional.into_iter().filter_map(|(name, text)| text.as_deref().map(|text| (name, text)));
        optional.chain([("reason", self.reason.as_str())]).collect()
    }

    /// What may not stand in a free text: the log holds no personal data.
    fn personal(&self) -> Vec<String> {
        let key = self.record.as_deref().and_then(|record| record.split_once(':')).map(|(_, key)| key.to_owned());
        self.subject.clone().into_iter().chain(key).collect()
    }
}

/// What is wrong with a free text that goes into the log, if something is. `personal` are names that may not stand in it.
pub fn mistake_of_text(name: &str, text: &str, personal: &[String]) -> Option<String> {
    if text.len() > MAX_TEXT {
        return Some(format!("expected `{name}` to have at most {MAX_TEXT} bytes, found {}", text.len()));
    }
    let folded = text.to_lowercase();
    // Shorter names are found in any text.
    let told = personal.iter().filter(|one| one.trim().len() >= 4).any(|one| folded.contains(&one.trim().to_lowercase()));
    told.then(|| {
        format!("`{name}` names the subject or record; it is written to the log, which keeps it for ever and must hold no personal data: write a reference instead")
    })
}

/// Reads a table of holds.
pub fn read_csv(path: &Path) -> Result<Vec<Wish>> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let text = std::fs::read_to_string(path).map_err(|error| Error::with_source(Kind::Usage, format!("{shown}: cannot be read"), error))?;
    parse_csv(&shown, text.trim_start_matches('\u{feff}'))
}

fn parse_csv(shown: &str, text: &str) -> Result<Vec<Wish>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let unreadable = |error: &csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        Error::new(Kind::Usage, format!("{shown}:{line}: not a table of comma-separated values: {}", escape(error.to_string().as_bytes())))
    };
    let heading = reader.headers().map_err(|error| unreadable(&error))?.clone();
    for (at, name) in heading.iter().enumerate() {
        if !COLUMNS.contains(&name) {
            let hint = suggest(name, COLUMNS);
            return Err(Error::new(Kind::Usage, format!("{shown}:1: no column is called \"{}\"{hint}", escape(name.as_bytes()))));
        }
        if heading.iter().position(|other| other == name) != Some(at) {
            return Err(Error::new(Kind::Usage, format!("{shown}:1: the column `{name}` stands there twice")));
        }
    }
    let (mut wishes, mut mistakes) = (Vec::new(), Vec::new());
    for row in reader.records() {
        let row = row.map_err(|error| unreadable(&error))?;
        let line = row.position().map_or(0, csv::Position::line);
        match wish(&heading, &row) {
            Ok(wish) => wishes.push(wish),
            Err(what) => mistakes.push(format!("{shown}:{line}: {what}")),
        }
        if wishes.len() > MOST {
            return Err(Error::new(Kind::Usage, format!("{shown}: expected at most {MOST} holds in a table; split it")));
        }
    }
    if !mistakes.is_empty() {
        return Err(Error::new(Kind::Usage, mistakes.join("\n")));
    }
    if wishes.is_empty() {
        return Err(Error::new(Kind::Usage, format!("{shown}: expected a hold below the heading, found none")));
    }
    Ok(wishes)
}

fn wish(heading: &csv::StringRecord, row: &csv::StringRecord) -> std::result::Result<Wish, String> {
    let text = |name: &str| heading.iter().position(|one| one == name).and_then(|at| row.get(at)).filter(|text| !text.is_empty());
    let owned = |name: &str| text(name).map(str::to_owned);
    let day = |name: &str| text(name).map(parse_date).transpose().map_err(|what| format!("`{name}`: {what}"));
    let wish = Wish {
        kind: text("kind")
            .ok_or("`kind`: expected what the hold is for, found nothing")?
            .parse()
            .map_err(|what| format!("`kind`: {what}"))?,
        subject: owned("subject"),
        record: owned("record"),
        class: owned("class"),
        dataset: owned("dataset"),
        event: owned("event"),
        event_from: day("event-from")?,
        event_to: day("event-to")?,
        everything: false,
        until: day("until")?,
        review: day("review")?,
        owner: owned("owner"),
        matter: owned("matter"),
        reason: owned("reason").unwrap_or_default(),
    };
    wish.mistake().map_or(Ok(wish), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gives_one_hold_a_line_and_each_mistake_has_its_line() {
        let good = "kind,subject,reason,until\nlitigation,T-100,claim 7,\ntraining,T-200,\"course, autumn\",2027-01-31\n";
        let wishes = parse_csv("holds.csv", good).unwrap();
        assert_eq!(wishes.len(), 2);
        assert_eq!((wishes[1].subject.as_deref(), wishes[1].reason.as_str()), (Some("T-200"), "course, autumn"));
        let bad = "kind,subject,reason,until\nlitigaton,T-100,claim 7,\ntraining,T-200,course,\nother,,x,\npolice,T-300,wanted,31/01/2027\npolice,T-300,\"about T-300\",\n";
        let error = parse_csv("holds.csv", bad).unwrap_err().to_string();
        insta::assert_snapshot!(error, @r#"
        holds.csv:2: `kind`: expected one of litigation, investigation, access-request, complaint, police, restriction, training, other, found "litigaton"; did you mean `litigation`?
        holds.csv:3: one of kind training needs a last day: kept for training beyond its period
        holds.csv:4: expected what it protects: a subject, record, class, dataset or range of events; to hold everything, say so
        holds.csv:5: `until`: expected a date such as 2026-11-01, found "31/01/2027"
        holds.csv:6: `reason` names the subject or record; it is written to the log, which keeps it for ever and must hold no personal data: write a reference instead
        "#);
        let error = |text: &str| parse_csv("holds.csv", text).unwrap_err().to_string();
        assert!(error("kind,subjekt,reason\n").contains("holds.csv:1: no column is called \"subjekt\"; did you mean `subject`?"));
        assert!(error("kind,kind\n").contains("holds.csv:1: the column `kind` stands there twice"));
        assert!(error("kind,reason\n").contains("expected a hold below the heading, found none"));
        assert!(error("kind,reason\nother\n").contains("holds.csv:2: not a table of comma-separated values"));
    }
}
