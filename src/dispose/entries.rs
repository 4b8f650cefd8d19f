//! What the log says of an intent and of each record's outcome.

use std::sync::Arc;

use jiff::civil::Date;
use serde::Serialize;

use super::{BY, Run};
use crate::audit::{Draft, Kind as EntryKind, Stem};
use crate::error::Result;
use crate::judge::Deciding;
use crate::plan::Approval;
use crate::record::Record;
use crate::store::{Act, Evidence, Fate};

impl Run {
    /// What the outcomes of one intent have in common.
    pub(super) fn common(&self, intent: u64) -> Result<Stem> {
        let dataset = self.dataset();
        Stem::new(&Common { run: &self.id, intent, store: dataset.store.name(), dataset: &dataset.name, by: BY, holds_checked: true })
    }

    /// The entry for one record; none while its fate is uncertain.
    pub(super) fn outcome(
        &self,
        common: &Stem,
        what: &About<'_>,
        act: Act,
        (fate, trouble): (&Fate, Option<&str>),
    ) -> Result<Option<Draft>> {
        let About { name, subject, record, deciding, approval } = *what;
        let mut body = Outcome {
            class: deciding.class.as_str(),
            record: name,
            subject,
            size: record.size,
            schedule: &deciding.schedule,
            event: deciding.event.as_str(),
            event_date: deciding.event_date,
            due: deciding.due,
            batch: approval.map(|approval| approval.batch.as_str()),
            approval: approval.map(|approval| approval.entries.as_slice()),
            method: None,
            grade: None,
            verified: None,
            caveats: None,
            parts: None,
            asked: None,
            beyond_use_until: None,
            why: None,
            detail: None,
            error: trouble,
            found: None,
        };
        let kind = match fate {
            Fate::Done(evidence) => {
                body.method = Some(evidence.method);
                body.grade = Some(evidence.grade);
                body.verified = Some(evidence.verified);
                body.caveats = Some(&evidence.caveats);
                body.parts = Some(evidence.parts);
                body.beyond_use_until = self.beyond_use_until();
                body.asked = self.missed(evidence);
                match (evidence.method, act) {
                    ("found-gone", _) => {
                        body.found = Some("gone");
                        EntryKind::Recovered
                    }
                    (super::FOUND_ANONYMISED, _) => {
                        body.found = Some("anonymised");
                        EntryKind::Recovered
                    }
                    (_, Act::Destroy) => EntryKind::Destroyed,
                    (_, Act::Anonymise) => EntryKind::Anonymised,
                }
            }
            Fate::Absent => EntryKind::Absent,
            Fate::Kept(kept) => {
                body.why = Some(kept.code());
                body.detail = Some(kept.detail());
                EntryKind::Kept
            }
            Fate::Failed { uncertain: true, .. } => return Ok(None),
            Fate::Failed { error, uncertain: false } => {
                body.error = Some(error);
                EntryKind::Failed
            }
        };
        Draft::on(common, kind, &body).map(Some)
    }

    /// The grade that the dataset asks for, when a record went with a lower one.
    pub(super) fn missed(&self, evidence: &Evidence) -> Option<&str> {
        let dataset = self.dataset();
        dataset.at_least.as_deref().filter(|least| !Evidence::reaches(evidence.grade, least, dataset.store.grades()))
    }

    /// The day on which the last backup that may hold the record has aged out.
    fn beyond_use_until(&self) -> Option<String> {
        let dataset = self.dataset();
        let zone = &dataset.rules().first()?.schedule.zone;
        let today = self.assessor.today().date_in(zone);
        let until = dataset.backups?.due(today, crate::schedule::Counting::After)?;
        Some(until.to_string())
    }
}

/// The record that an outcome is about.
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    /// The name of its subject, while some hold names one.
    pub(super) subject: Option<&'a str>,
    pub(super) record: &'a Record,
    pub(super) deciding: &'a Deciding,
    pub(super) approval: Option<&'a Approval>,
}

#[derive(Serialize)]
pub(super) struct Intent<'a> {
    pub(super) run: &'a str,
    pub(super) store: &'a str,
    pub(super) dataset: &'a str,
    pub(super) act: Act,
    pub(super) records: &'a [Arc<str>],
}

/// What an outcome entry answers, together with [`Outcome`]: what, why, who, how, in which run.
#[derive(Serialize)]
struct Common<'a> {
    run: &'a str,
    intent: u64,
    store: &'a str,
    dataset: &'a str,
    by: &'a str,
    holds_checked: bool,
}

/// What an outcome says of its record.
#[derive(Serialize)]
struct Outcome<'a> {
    class: &'a str,
    record: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    size: u64,
    schedule: &'a str,
    event: &'a str,
    event_date: Date,
    due: Date,
    /// The review batch that people approved, and the entries that say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'a [u64]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grade: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caveats: Option<&'a [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beyond_use_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<&'a str>,
}
