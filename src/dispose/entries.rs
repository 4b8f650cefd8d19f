//! What the log says of an intent and of each record's outcome.

use jiff::civil::Date;
use serde::Serialize;

use super::batches::Names;
use super::{BY, Run};
use crate::audit::{Body, Draft, Kind as EntryKind, Stem};
use crate::error::Result;
use crate::judge::Deciding;
use crate::plan::Approval;
use crate::record::Record;
use crate::store::{Act, Evidence, Fate};

/// Writes the outcomes of a batch. Most of what one says the one before it has said as well, and that is not written anew each time.
pub(super) struct Outcomes<'o> {
    run: &'o Run,
    intent: u64,
    common: Stem,
    until: Option<String>,
    last: Option<(&'o Deciding, Option<&'o Evidence>, Stem)>,
}

impl<'o> Outcomes<'o> {
    /// The outcomes of a batch, the first of them under this intent.
    pub(super) fn new(run: &'o Run, intent: u64) -> Result<Self> {
        Ok(Self { run, intent, common: common(run, intent)?, until: run.beyond_use_until(), last: None })
    }

    /// Those that follow are under this intent.
    pub(super) fn under(&mut self, intent: u64) -> Result<()> {
        if self.intent != intent {
            (self.intent, self.common, self.last) = (intent, common(self.run, intent)?, None);
        }
        Ok(())
    }

    /// What the entry says that others say as well.
    fn stem(&mut self, deciding: &'o Deciding, evidence: Option<&'o Evidence>) -> Result<&Stem> {
        let alike = |one: &Evidence, other: &Evidence| {
            one.method == other.method && one.grade == other.grade && one.verified == other.verified && one.caveats == other.caveats
        };
        let same = self.last.as_ref().is_some_and(|(known, with, _)| {
            known.basis == deciding.basis
                && match (with, evidence) {
                    (Some(one), Some(other)) => alike(one, other),
                    (one, other) => one.is_none() && other.is_none(),
                }
        });
        if !same {
            let body = Shared {
                class: deciding.class.as_str(),
                schedule: &deciding.schedule,
                event: deciding.event.as_str(),
                method: evidence.map(|evidence| self.run.attestation.as_ref().map_or(evidence.method, |word| &word.method)),
                grade: evidence.map(|evidence| evidence.grade),
                verified: evidence.map(|evidence| evidence.verified),
                caveats: evidence.map(|evidence| &*evidence.caveats),
                asked: evidence.and_then(|evidence| self.run.missed(evidence)),
                beyond_use_until: evidence.and(self.until.as_deref()),
            };
            self.last = Some((deciding, evidence, self.common.and(&body)?));
        }
        Ok(self.last.as_ref().map_or(&self.common, |(_, _, stem)| stem))
    }

    /// The entry for one record; none while its fate is uncertain.
    pub(super) fn outcome(&mut self, what: &About<'_, 'o>, act: Act, (fate, trouble): (&'o Fate, Option<&str>)) -> Result<Option<Draft>> {
        let About { name, subject, record, deciding, approval, erasure } = *what;
        let mut body = Outcome {
            record: name,
            subject,
            size: record.size,
            event_date: deciding.event_date,
            due: deciding.due,
            batch: approval.map(|approval| approval.batch.as_str()),
            approval: approval.map(|approval| approval.entries.as_slice()),
            erasure,
            parts: None,
            why: None,
            detail: None,
            error: trouble,
            found: None,
            person: None,
            on: None,
            certificate: None,
            sha256: None,
        };
        let mut evidence = None;
        let kind = match fate {
            Fate::Done(done) => {
                evidence = Some(done);
                body.parts = Some(done.parts);
                if let Some(word) = &self.run.attestation {
                    body.person = Some(&word.person);
                    body.on = Some(word.on);
                    body.certificate = Some(&word.certificate);
                    body.sha256 = word.sha256.as_deref();
                }
                match (done.method, act) {
                    ("found-gone", _) => {
                        body.found = Some("gone");
                        EntryKind::Recovered
                    }
                    (super::FOUND_ANONYMISED, _) => {
                        body.found = Some("anonymised");
                        EntryKind::Recovered
                    }
                    (_, Act::Destroy) if self.run.attestation.is_some() => EntryKind::Attested,
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
        Draft::written(self.stem(deciding, evidence)?, kind, body.written()).map(Some)
    }
}

/// What all outcomes of an intent say.
fn common(run: &Run, intent: u64) -> Result<Stem> {
    let (store, dataset) = (run.dataset().store.name(), &run.dataset().name);
    Stem::new(&Common { run: &run.id, intent, store, dataset, by: BY, holds_checked: true })
}

impl Run {
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
pub(super) struct About<'a, 'o> {
    pub(super) name: &'a str,
    /// The name of its subject, while some hold names one.
    pub(super) subject: Option<&'a str>,
    pub(super) record: &'a Record,
    pub(super) deciding: &'o Deciding,
    /// What people approved, where that was needed.
    pub(super) approval: Option<&'a Approval>,
    /// The entry that decided it, on a request for erasure.
    pub(super) erasure: Option<u64>,
}

pub(super) struct Intent<'a> {
    pub(super) run: &'a str,
    pub(super) store: &'a str,
    pub(super) dataset: &'a str,
    pub(super) act: Act,
    pub(super) records: &'a Names,
}

impl Intent<'_> {
    /// Its entry.
    pub(super) fn draft(&self) -> Result<Draft> {
        let mut body = Body::with_capacity(self.records.bytes() + 256);
        body.text("run", self.run);
        body.text("store", self.store);
        body.text("dataset", self.dataset);
        body.text("act", self.act.as_str());
        body.texts("records", self.records.iter());
        Draft::written(&Stem::default(), EntryKind::Intent, body)
    }
}

/// What an outcome entry answers, together with [`Shared`] and [`Outcome`]: what, why, who, how, in which run.
#[derive(Serialize)]
struct Common<'a> {
    run: &'a str,
    intent: u64,
    store: &'a str,
    dataset: &'a str,
    by: &'a str,
    holds_checked: bool,
}

/// What an outcome mostly has in common with the one before it.
#[derive(Serialize)]
struct Shared<'a> {
    class: &'a str,
    schedule: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grade: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caveats: Option<&'a [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beyond_use_until: Option<&'a str>,
}

/// Room for what an outcome mostly says of its record, besides the names.
const MOSTLY: usize = 160;

/// What an outcome says of its record alone.
#[cfg_attr(test, derive(Serialize))]
struct Outcome<'a> {
    record: &'a str,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    subject: Option<&'a str>,
    size: u64,
    event_date: Date,
    due: Date,
    /// The review batch that people approved, and the entries that say so.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    batch: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    approval: Option<&'a [u64]>,
    /// The entry that decided it, on a request for erasure.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    erasure: Option<u64>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    parts: Option<u64>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    why: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    detail: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    error: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    found: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    person: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    on: Option<Date>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    certificate: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    sha256: Option<&'a str>,
}

impl Outcome<'_> {
    /// Written by hand, since there are as many as records: what the JSON library would write of it, to the byte.
    fn written(&self) -> Body {
        let mut body = Body::with_capacity(MOSTLY + self.record.len() + self.subject.map_or(0, str::len));
        let given = |body: &mut Body, name, value: Option<&str>| value.into_iter().for_each(|value| body.text(name, value));
        body.text("record", self.record);
        given(&mut body, "subject", self.subject);
        body.number("size", self.size);
        body.date("event_date", self.event_date);
        body.date("due", self.due);
        given(&mut body, "batch", self.batch);
        self.approval.into_iter().for_each(|entries| body.numbers("approval", entries));
        self.erasure.into_iter().for_each(|entry| body.number("erasure", entry));
        self.parts.into_iter().for_each(|parts| body.number("parts", parts));
        given(&mut body, "why", self.why);
        given(&mut body, "detail", self.detail);
        given(&mut body, "error", self.error);
        given(&mut body, "found", self.found);
        given(&mut body, "person", self.person);
        self.on.into_iter().for_each(|on| body.date("on", on));
        given(&mut body, "certificate", self.certificate);
        given(&mut body, "sha256", self.sha256);
        body
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[derive(Serialize)]
    struct IntentByLibrary<'a> {
        run: &'a str,
        store: &'a str,
        dataset: &'a str,
        act: Act,
        records: Vec<&'a str>,
    }

    #[test]
    fn an_intent_is_written_as_the_library_writes_it() {
        let mut names = Names::default();
        for act in [Act::Destroy, Act::Anonymise] {
            let (run, store, dataset) = ("20261122T033931Z-81742c50f73c", "a \"store\"", "d\u{e4}ta");
            let by_hand = Intent { run, store, dataset, act, records: &names }.draft().unwrap();
            let by_library = IntentByLibrary { run, store, dataset, act, records: names.iter().collect() };
            assert_eq!(by_hand, Draft::new(EntryKind::Intent, &by_library).unwrap());
            for name in ["2026:yM-8cx1dcRFudenZsp3OnD9T2fnFaEnjckOunXCXLKY", "plain:C:\\a \"b\""] {
                names.add(|text| text.push_str(name));
            }
        }
    }

    proptest! {
        #[test]
        fn an_outcome_is_written_as_the_library_writes_it(
            texts in proptest::collection::vec(proptest::option::of(".{0,40}"), 10), numbers: [Option<u64>; 3], list: Option<Vec<u64>>,
            days in 0..40_000_i32, on: bool, size: u64
        ) {
            let text = |at: usize| texts[at].as_deref();
            let due = date(1990, 1, 1).saturating_add(jiff::Span::new().days(days));
            let outcome = Outcome {
                record: text(0).unwrap_or("2026:yM-8cx1dcRFudenZsp3OnD9T2fnFaEnjckOunXCXLKY"),
                subject: text(1),
                size,
                event_date: date(2026, 2, 28),
                due,
                batch: text(2),
                approval: list.as_deref(),
                erasure: numbers[0],
                parts: numbers[1],
                why: text(3),
                detail: text(4),
                error: text(5),
                found: text(6),
                person: text(7),
                on: on.then_some(due),
                certificate: text(8),
                sha256: text(9),
            };
            let stem = Stem::new(&serde_json::json!({"run": "r", "intent": size})).unwrap();
            for stem in [stem, Stem::default()] {
                let by_hand = Draft::written(&stem, EntryKind::Destroyed, outcome.written()).unwrap();
                prop_assert_eq!(by_hand, Draft::on(&stem, EntryKind::Destroyed, &outcome).unwrap());
            }
        }
    }
}
