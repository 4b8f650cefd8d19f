//! What the entries say together: every intent has its outcomes, every outcome its intent, and counts add up.
//!
//! Workers read entries and boil those that matter down to an [`Event`] of a few bytes; [`Meaning`] takes the events in the order of the log.
//! It holds only the records whose outcome is not known yet and the counts of runs that have not finished, so its size does not depend on
//! the length of the log. Names are kept as hashes, never as text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

use super::entry::{Head, Kind, MAX_ENTRY};

/// The first half of a SHA-256 over names: enough that nobody finds two alike.
type Id = [u8; 16];

/// The kinds that `run-finished` counts, in the order of the counts here.
const COUNTED: [Kind; 6] = [Kind::Destroyed, Kind::Anonymised, Kind::Flagged, Kind::Absent, Kind::Kept, Kind::Failed];

/// What an entry contributes to the meaning of the log.
#[derive(Debug)]
pub(super) enum Event {
    /// These records are about to go.
    Intent { n: u64, group: Id, anonymise: bool, records: Vec<Id> },
    /// This became of a record of an intent.
    Outcome { n: u64, kind: Kind, group: Id, record: Id },
    /// A record was counted that no intent is needed for.
    Flagged { group: Id },
    /// A run over a dataset ended with these counts.
    Finished { n: u64, group: Id, counts: [u64; 6] },
}

/// Reads one stored entry, strictly: its head, and what it contributes. The words of the failure follow the place.
pub(super) fn read_entry<'a>(n: u64, bytes: &'a [u8], groups: &mut Groups) -> Result<(Head<'a>, Option<Event>), String> {
    if bytes.len() > MAX_ENTRY {
        return Err(format!("expected at most {MAX_ENTRY} bytes, found {}", bytes.len()));
    }
    let line = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    if bytes.contains(&b'\n') {
        return Err("expected one line, found a line break".to_owned());
    }
    let head = Head::parse(line)?;
    if head.n != n {
        return Err(format!("expected n {n}, found {}", head.n));
    }
    let mut json = serde_json::Deserializer::from_str(line);
    let body = BodyOf(head.kind).deserialize(&mut json).map_err(|e| e.to_string())?;
    json.end().map_err(|e| e.to_string())?;
    Ok((head, body.event(head, groups)?))
}

/// The run, store and dataset of the entry before: mostly those of this one, so their hash is computed once a batch.
#[derive(Debug, Default)]
pub(super) struct Groups {
    names: [String; 3],
    id: Option<Id>,
}

impl Groups {
    fn id(&mut self, names: [&str; 3]) -> Id {
        match self.id {
            Some(id) if self.names == names => id,
            _ => {
                let id = hash(&names);
                (self.names, self.id) = (names.map(str::to_owned), Some(id));
                id
            }
        }
    }
}

fn hash(parts: &[&str]) -> Id {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    half(hash)
}

fn record_id(group: &Id, record: &str) -> Id {
    half(Sha256::new().chain_update(group).chain_update(record))
}

fn half(hash: Sha256) -> Id {
    let mut id = Id::default();
    id.copy_from_slice(&hash.finalize()[..16]);
    id
}

/// A text, borrowed where it holds no escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields that matter here.
#[derive(Default)]
struct Body<'a> {
    run: Option<Text<'a>>,
    store: Option<Text<'a>>,
    dataset: Option<Text<'a>>,
    record: Option<Text<'a>>,
    act: Option<Text<'a>>,
    records: Vec<Text<'a>>,
    counts: [u64; 6],
}

impl Body<'_> {
    fn event(&self, head: Head<'_>, groups: &mut Groups) -> Result<Option<Event>, String> {
        let kind = head.kind;
        if !(kind.is_outcome() || matches!(kind, Kind::Intent | Kind::Flagged | Kind::RunFinished)) {
            return Ok(None);
        }
        let text = |field: &Option<Text<'_>>, name| match field {
            Some(Text(text)) => Ok(text.to_string()),
            None => Err(format!("expected `{name}` in an entry of kind {kind}, found none")),
        };
        let (Some(Text(run)), Some(Text(store)), Some(Text(dataset))) = (&self.run, &self.store, &self.dataset) else {
            return Err(format!("expected `run`, `store` and `dataset` in an entry of kind {kind}"));
        };
        let (n, group) = (head.n, groups.id([run, store, dataset]));
        Ok(Some(match kind {
            Kind::Intent => {
                let anonymise = match text(&self.act, "act")?.as_str() {
                    "destroy" => false,
                    "anonymise" => true,
                    _ => return Err("expected `act` to be `destroy` or `anonymise`".to_owned()),
                };
                let records = self.records.iter().map(|Text(record)| record_id(&group, record)).collect();
                Event::Intent { n, group, anonymise, records }
            }
            Kind::Flagged => Event::Flagged { group },
            Kind::RunFinished => Event::Finished { n, group, counts: self.counts },
            _ => match &self.record {
                Some(Text(record)) => Event::Outcome { n, kind, group, record: record_id(&group, record) },
                None => return Err(format!("expected `record` in an entry of kind {kind}, found none")),
            },
        }))
    }
}

/// Reads the body of an entry of a kind; no name may be used twice.
struct BodyOf(Kind);

impl<'de> DeserializeSeed<'de> for BodyOf {
    type Value = Body<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Body<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodyOf {
    type Value = Body<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a json object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body<'de>, A::Error> {
        let matters = self.0.is_outcome() || matches!(self.0, Kind::Intent | Kind::Flagged | Kind::RunFinished);
        let mut body = Body::default();
        let mut seen: Vec<Cow<'de, str>> = Vec::with_capacity(24);
        while let Some(Text(name)) = map.next_key()? {
            if seen.contains(&name) {
                return Err(serde::de::Error::custom("a name is used twice"));
            }
            match name.as_ref() {
                "run" if matters => body.run = Some(map.next_value()?),
                "store" if matters => body.store = Some(map.next_value()?),
                "dataset" if matters => body.dataset = Some(map.next_value()?),
                "record" if self.0.is_outcome() => body.record = Some(map.next_value()?),
                "act" if self.0 == Kind::Intent => body.act = Some(map.next_value()?),
                "records" if self.0 == Kind::Intent => body.records = map.next_value()?,
                "counts" if self.0 == Kind::RunFinished => body.counts = map.next_value::<Counts>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            seen.push(name);
        }
        Ok(body)
    }
}

/// The counts of `run-finished`; what is not there is 0, what is not an outcome is not looked at.
struct Counts([u64; 6]);

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Six;
        impl<'de> Visitor<'de> for Six {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
                let mut counts = [0; 6];
                while let Some(Text(name)) = map.next_key()? {
                    match COUNTED.iter().position(|kind| kind.as_str() == name) {
                        Some(i) => counts[i] = map.next_value()?,
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Counts(counts))
            }
        }
        deserializer.deserialize_map(Six)
    }
}

/// What is open at a place in the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Meaning {
    /// Records of intents without an outcome: the intent's index, and whether it was to anonymise.
    open: HashMap<Id, (u64, bool)>,
    /// What has been counted in runs that have not finished.
    counts: HashMap<Id, [u64; 6]>,
}

impl Meaning {
    /// Takes the next event; a contradiction is told with the index of its entry.
    pub(super) fn take(&mut self, event: Event) -> Result<(), (u64, String)> {
        match event {
            Event::Intent { n, group, anonymise, records } => {
                self.counts.entry(group).or_default();
                for record in records {
                    if let Some((earlier, _)) = self.open.insert(record, (n, anonymise)) {
                        return Err((
                            n,
                            format!("a record of this intent is in the intent of entry {earlier} too, which has no outcome for it"),
                        ));
                    }
                }
            }
            Event::Outcome { n, kind, group, record } => {
                let Some((intent, anonymise)) = self.open.remove(&record) else {
                    return Err((n, format!("{kind} without an intent that names the record in this run before it")));
                };
                if (kind == Kind::Destroyed && anonymise) || (kind == Kind::Anonymised && !anonymise) {
                    return Err((n, format!("{kind}, but the intent of entry {intent} was to do the other thing")));
                }
                self.count(group, kind);
            }
            Event::Flagged { group } => self.count(group, Kind::Flagged),
            Event::Finished { n, group, counts } => {
                let found = self.counts.remove(&group).unwrap_or_default();
                for (i, kind) in COUNTED.into_iter().enumerate() {
                    if found[i] != counts[i] {
                        return Err((n, format!("the run's counts say {} {kind}, its entries {}", counts[i], found[i])));
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, group: Id, kind: Kind) {
        if let Some(i) = COUNTED.iter().position(|counted| *counted == kind) {
            self.counts.entry(group).or_default()[i] += 1;
        }
    }

    /// How many records have an intent and no outcome, and the index of the first such intent.
    pub(super) fn open(&self) -> (u64, Option<u64>) {
        (self.open.len() as u64, self.open.values().map(|(n, _)| *n).min())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::entry::Draft;
    use super::*;

    /// Writes entries of the given kinds and bodies, reads them back, and returns the first complaint or what is open.
    fn judge(entries: &[(Kind, Value)]) -> Result<u64, (u64, String)> {
        let (mut meaning, mut groups) = (Meaning::default(), Groups::default());
        for (n, (kind, body)) in (0..).zip(entries) {
            let mut bytes = Vec::new();
            Draft::new(*kind, body).unwrap().write(&mut bytes, n, "2026-11-22T01:02:03.123Z", [0; 16]);
            let (head, event) = read_entry(n, &bytes, &mut groups).map_err(|what| (n, what))?;
            assert_eq!(head.kind, *kind);
            event.map_or(Ok(()), |event| meaning.take(event))?;
        }
        Ok(meaning.open().0)
    }

    fn intent(run: &str, act: &str, records: &[&str]) -> (Kind, Value) {
        (Kind::Intent, json!({"run": run, "store": "s", "dataset": "d", "act": act, "records": records}))
    }

    fn outcome(kind: Kind, run: &str, record: &str) -> (Kind, Value) {
        (kind, json!({"run": run, "store": "s", "dataset": "d", "record": record, "size": 7}))
    }

    fn finished(run: &str, counts: &Value) -> (Kind, Value) {
        (Kind::RunFinished, json!({"run": run, "store": "s", "dataset": "d", "counts": counts}))
    }

    #[test]
    fn a_run_whose_outcomes_match_its_intents_is_in_order() {
        let run = [
            (Kind::RunStarted, json!({"run": "r"})),
            intent("r", "destroy", &["a", "b", "c", "d"]),
            outcome(Kind::Destroyed, "r", "a"),
            outcome(Kind::Flagged, "r", "z"),
            outcome(Kind::Kept, "r", "b"),
            intent("r", "anonymise", &["e"]),
            outcome(Kind::Anonymised, "r", "e"),
            outcome(Kind::Absent, "r", "c"),
            outcome(Kind::Failed, "r", "d"),
            finished("r", &json!({"destroyed": 1, "anonymised": 1, "flagged": 1, "absent": 1, "kept": 1, "failed": 1, "scanned": "many"})),
        ];
        assert_eq!(judge(&run), Ok(0));
    }

    #[test]
    fn an_interrupted_run_stays_open_until_it_is_recovered() {
        let run = [intent("r", "destroy", &["a", "b"]), outcome(Kind::Destroyed, "r", "a"), outcome(Kind::Recovered, "r", "b")];
        assert_eq!(judge(&run[..1]), Ok(2));
        assert_eq!(judge(&run[..2]), Ok(1));
        assert_eq!(judge(&run), Ok(0));
        let mut ended = run.to_vec();
        ended.push(finished("r", &json!({"destroyed": 1})));
        assert_eq!(judge(&ended), Ok(0));
    }

    #[test]
    fn what_does_not_fit_together_is_told_with_its_entry() {
        let a = || intent("r", "destroy", &["a"]);
        let cases = [
            (vec![outcome(Kind::Destroyed, "r", "a")], 0, "destroyed without an intent"),
            (vec![a(), outcome(Kind::Destroyed, "other", "a")], 1, "destroyed without an intent"),
            (vec![a(), outcome(Kind::Absent, "r", "a"), outcome(Kind::Kept, "r", "a")], 2, "kept without an intent"),
            (vec![a(), outcome(Kind::Anonymised, "r", "a")], 1, "anonymised, but the intent of entry 0"),
            (vec![intent("r", "anonymise", &["a"]), outcome(Kind::Destroyed, "r", "a")], 1, "destroyed, but the intent of entry 0"),
            (vec![a(), a()], 1, "in the intent of entry 0 too"),
            (vec![intent("r", "destroy", &["a", "a"])], 0, "in the intent of entry 0 too"),
            (vec![intent("r", "shred", &["a"])], 0, "expected `act` to be"),
            (vec![finished("r", &json!({"destroyed": 1}))], 0, "counts say 1 destroyed, its entries 0"),
            (vec![a(), outcome(Kind::Kept, "r", "a"), finished("r", &json!({}))], 2, "counts say 0 kept, its entries 1"),
            (vec![(Kind::Kept, json!({"run": "r", "store": "s", "dataset": "d"}))], 0, "expected `record`"),
            (vec![(Kind::Kept, json!({"run": "r", "record": "a"}))], 0, "expected `run`, `store` and `dataset`"),
        ];
        for (entries, at, words) in cases {
            let (n, what) = judge(&entries).unwrap_err();
            assert!(n == at && what.contains(words), "entry {n}: {what}, expected {words}");
        }
    }

    #[test]
    fn an_entry_in_another_place_or_with_a_name_twice_is_told() {
        let line = r#"{"n":3,"at":"2026-11-22T01:02:03.123Z","kind":"stopped","nonce":"AAAAAAAAAAAAAAAAAAAAAA","x":1}"#;
        let read = |n, line: &str| read_entry(n, line.as_bytes(), &mut Groups::default()).map(|_| ());
        assert_eq!(read(3, line), Ok(()));
        assert_eq!(read(4, line).unwrap_err(), "expected n 4, found 3");
        for broken in
            [line.replace("\"x\"", "\"n\""), line.replace(":1}", ":1,\"x\":2}"), format!("{line}{line}"), line.replace(":1}", ":01}")]
        {
            assert!(read(3, &broken).is_err(), "{broken}");
        }
    }
}
