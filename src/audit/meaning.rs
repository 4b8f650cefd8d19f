//! What the entries say together: every intent has its outcomes, every outcome its intent, counts add up, nothing went that was held,
//! and what went because people approved it was approved ([`super::reviews`]), or because a person asked for it was decided ([`super::erasures`]).
//!
//! Workers read entries and boil those that matter down to an [`Event`] of a few bytes; [`Meaning`] takes the events in the order of the log.
//! It holds the records whose outcome is not known yet, the counts of runs that have not finished, and the holds in force, so its size does not
//! depend on the length of the log. Names are kept as hashes, never as text.
//!
//! A log may be such that more is open than fits a bounded memory. Then [`Meaning`] keeps to a [`Share`] of it, and the log is read once more for
//! each other share.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::entry::{Head, Kind, MAX_ENTRY};
use super::erasures::{self, Erasures};
use super::fields::{read, scan, text, texts};
use super::holds::{Facts, Holds, Placed, released};
use super::reviews::{Approval, Decided, Reviews};

/// The first half of a SHA-256 over names: enough that nobody finds two alike.
pub(super) type Id = [u8; 16];

/// The kinds that `run-finished` counts, in the order of the counts here.
const COUNTED: [Kind; 8] =
    [Kind::Destroyed, Kind::Anonymised, Kind::Attested, Kind::Flagged, Kind::TaskOpened, Kind::Absent, Kind::Kept, Kind::Failed];

/// A number for each of [`COUNTED`].
type Counts = [u64; COUNTED.len()];

/// Records without outcome, and runs without end, that are held at once: 30 MB. An interrupted run leaves a few thousand.
pub(super) const MOST_OPEN: usize = 1 << 18;

/// What an entry contributes to the meaning of the log.
#[derive(Debug)]
pub(super) enum Event {
    /// These records are about to go.
    Intent { n: u64, context: Arc<Context>, anonymise: bool, records: Vec<Id> },
    /// This became of a record of an intent.
    Outcome {
        n: u64,
        kind: Kind,
        context: Arc<Context>,
        record: Id,
        subject: Option<Id>,
        day: Option<[u8; 10]>,
        intent: Option<u64>,
        approval: Option<Box<Approval>>,
        erasure: Option<u64>,
        /// It went although the last day of its keeping was not over anywhere.
        early: bool,
    },
    /// A record was counted that no intent is needed for.
    Told { kind: Kind, context: Arc<Context> },
    /// A run over a dataset ended with these counts.
    Finished { n: u64, context: Arc<Context>, counts: Counts },
    /// A hold came into force.
    HoldPlaced { n: u64, placed: Box<Placed> },
    /// A hold ended.
    HoldReleased { n: u64, hold: String },
    /// People decided about a review batch.
    Reviewed { n: u64, decided: Box<Decided> },
    /// It was decided that a record goes because a person asked for it.
    ErasureDecided { n: u64, decided: Box<erasures::Decided> },
}

impl Event {
    /// Whether it says something without what came before, which may be archived.
    pub(super) fn stands_alone(&self) -> bool {
        matches!(self, Self::HoldPlaced { .. } | Self::HoldReleased { .. } | Self::Reviewed { .. } | Self::ErasureDecided { .. })
    }
}

/// What an entry has in common with its neighbours: mostly it is computed once a batch.
#[derive(Debug)]
pub(super) struct Context {
    /// Run, store and dataset.
    group: Id,
    /// `store/dataset`.
    dataset: Id,
    class: Option<Id>,
    /// The event that decided.
    event: Option<Id>,
    /// The time in the entry, to the minute.
    at: [u8; 16],
}

/// Reads one stored entry, strictly: its head, and what it contributes. The words of the failure follow the place.
pub(super) fn read_entry<'a>(n: u64, bytes: &'a [u8], before: &mut Before) -> Result<(Head<'a>, Option<Event>), String> {
    if bytes.len() > MAX_ENTRY {
        return Err(format!("expected at most {MAX_ENTRY} bytes, found {}", bytes.len()));
    }
    let line = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let head = Head::parse_behind(line, &mut before.at)?;
    if head.n != n {
        return Err(format!("expected n {n}, found {}", head.n));
    }
    let matters = head.kind.is_outcome() || matches!(head.kind, Kind::Intent | Kind::Flagged | Kind::TaskOpened | Kind::RunFinished);
    let mut body = Body::default();
    scan(line, |name, value| {
        if matters {
            match name {
                "run" => body.run = Some(text(value)?),
                "store" => body.store = Some(text(value)?),
                "dataset" => body.dataset = Some(text(value)?),
                "class" => body.class = Some(text(value)?),
                "event" => body.event = Some(text(value)?),
                "event_date" => body.event_date = Some(text(value)?),
                "due" => body.due = Some(value),
                "record" => body.record = Some(text(value)?),
                "subject" if value != "null" => body.subject = Some(text(value)?),
                "intent" => body.intent = Some(value),
                "act" => body.act = Some(value),
                "records" => body.records = Some(value),
                "counts" => body.counts = Some(value),
                "batch" => body.batch = Some(text(value)?),
                "approval" => body.approval = Some(value),
                "erasure" => body.erasure = Some(value),
                "found" => body.found = Some(value),
                _ => {}
            }
        }
        Ok(())
    })?;
    // Within a text a line break is refused already, so it could only stand between two fields.
    if bytes.contains(&b'\n') {
        return Err("expected one line, found a line break".to_owned());
    }
    let event = match head.kind {
        Kind::HoldPlaced => Some(Event::HoldPlaced { n, placed: Box::new(Placed::parse(line, head.at)?) }),
        Kind::HoldReleased => Some(Event::HoldReleased { n, hold: released(line)? }),
        kind @ (Kind::Approved | Kind::ReviewRefused | Kind::ReviewExtended | Kind::ReviewWithdrawn) => {
            Some(Event::Reviewed { n, decided: Box::new(Decided::parse(kind, line)?) })
        }
        Kind::ErasureDecided => erasures::Decided::parse(line)?.map(|decided| Event::ErasureDecided { n, decided: Box::new(decided) }),
        _ if matters => Some(body.event(head, before)?),
        _ => None,
    };
    Ok((head, event))
}

/// What is remembered of the entry before: mostly it is the same in this one, so that it is computed once a batch.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// The time, which was found to be one.
    at: String,
    names: [String; 5],
    context: Option<Arc<Context>>,
}

impl Before {
    fn context(&mut self, names: [&str; 5], at: &str) -> Arc<Context> {
        if let Some(context) = &self.context
            && self.names == names
            && at.as_bytes().starts_with(&context.at)
        {
            return Arc::clone(context);
        }
        let [run, store, dataset, class, event] = names;
        let context = Context {
            group: id(&[run, store, dataset]),
            dataset: id(&[&format!("{store}/{dataset}")]),
            class: (!class.is_empty()).then(|| id(&[class])),
            event: (!event.is_empty()).then(|| id(&[event])),
            at: at.as_bytes().first_chunk().copied().unwrap_or_default(),
        };
        self.names = names.map(str::to_owned);
        Arc::clone(self.context.insert(Arc::new(context)))
    }
}

/// The short name of some names.
pub(super) fn id(parts: &[&str]) -> Id {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut id = Id::default();
    id.copy_from_slice(&hash.finalize()[..16]);
    id
}

/// The fields that matter here.
#[derive(Default)]
struct Body<'a> {
    run: Option<Cow<'a, str>>,
    store: Option<Cow<'a, str>>,
    dataset: Option<Cow<'a, str>>,
    class: Option<Cow<'a, str>>,
    event: Option<Cow<'a, str>>,
    event_date: Option<Cow<'a, str>>,
    due: Option<&'a str>,
    record: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    intent: Option<&'a str>,
    act: Option<&'a str>,
    records: Option<&'a str>,
    counts: Option<&'a str>,
    batch: Option<Cow<'a, str>>,
    approval: Option<&'a str>,
    erasure: Option<&'a str>,
    found: Option<&'a str>,
}

impl Body<'_> {
    fn event(&self, head: Head<'_>, before: &mut Before) -> Result<Event, String> {
        let (n, kind) = (head.n, head.kind);
        let (Some(run), Some(store), Some(dataset)) = (&self.run, &self.store, &self.dataset) else {
            return Err(format!("expected `run`, `store` and `dataset` in an entry of kind {kind}"));
        };
        let (class, event) = (self.class.as_deref().unwrap_or_default(), self.event.as_deref().unwrap_or_default());
        let context = before.context([run, store, dataset, class, event], head.at);
        let missing = |name| format!("expected `{name}` in an entry of kind {kind}, found none");
        Ok(match kind {
            Kind::Intent => {
                let anonymise = match self.act {
                    Some("\"destroy\"") => false,
                    Some("\"anonymise\"") => true,
                    Some(_) => return Err("expected `act` to be `destroy` or `anonymise`".to_owned()),
                    None => return Err(missing("act")),
                };
                let mut records = Vec::new();
                texts(self.records.ok_or_else(|| missing("records"))?, |record| records.push(id(&[record])))?;
                Event::Intent { n, context, anonymise, records }
            }
            Kind::Flagged | Kind::TaskOpened => Event::Told { kind, context },
            Kind::RunFinished => Event::Finished { n, context, counts: self.counts.map(counts).transpose()?.unwrap_or_default() },
            _ => {
                let record = id(&[self.record.as_deref().ok_or_else(|| missing("record"))?]);
                let subject = self.subject.as_deref().map(|subject| id(&[subject]));
                let day = self.event_date.as_deref().and_then(|day| day.as_bytes().try_into().ok());
                // What was kept, or found there, needs no approval.
                let gone = match kind {
                    Kind::Recovered => matches!(self.found, Some("\"gone\"" | "\"remains\"" | "\"anonymised\"")),
                    _ => matches!(kind, Kind::Destroyed | Kind::Anonymised | Kind::Attested),
                };
                let approval = Approval::parse(self.batch.as_deref(), self.approval)?.filter(|_| gone);
                let due = self.due.filter(|_| matches!(kind, Kind::Destroyed | Kind::Anonymised | Kind::Attested));
                let early = due.is_some_and(|due| erasures::surely_lasts(due.trim_matches('"'), head.at));
                let intent = self.intent.map(read).transpose()?;
                let erasure = self.erasure.map(read).transpose()?;
                Event::Outcome { n, kind, context, record, subject, day, intent, approval, erasure, early }
            }
        })
    }
}

/// The counts of `run-finished`; what is not there is 0, what is not an outcome is not looked at.
fn counts(value: &str) -> Result<Counts, String> {
    let mut counts = Counts::default();
    scan(value, |name, value| {
        if let Some(i) = COUNTED.iter().position(|kind| kind.as_str() == name) {
            counts[i] = read(value)?;
        }
        Ok(())
    })?;
    Ok(counts)
}

/// Which records and runs are looked at: those whose hash is `part` modulo `of`, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    part: u64,
    of: u64,
}

impl Share {
    /// Everything.
    pub(super) const ALL: Self = Self { part: 0, of: 1 };

    fn has(self, id: &Id) -> bool {
        // Cut to its lower half.
        u128::from_le_bytes(*id) as u64 & (self.of - 1) == self.part
    }
}

/// What is open at a place in the log.
#[derive(Clone, Debug)]
pub(super) struct Meaning {
    share: Share,
    /// The shares that were given up because more was open than may be held.
    left: Vec<Share>,
    most: usize,
    /// Records of intents without an outcome, by run and name: the intent's index, and whether it was to anonymise.
    open: HashMap<(Id, Id), (u64, bool)>,
    /// What has been counted in runs that have not finished.
    counts: HashMap<Id, Counts>,
    holds: Holds,
    reviews: Reviews,
    erasures: Erasures,
}

impl Meaning {
    /// Looks at a share of the records and runs, and holds at most so many of them.
    pub(super) fn of(share: Share, most: usize) -> Self {
        Self {
            share,
            left: Vec::new(),
            most,
            open: HashMap::new(),
            counts: HashMap::new(),
            holds: Holds::default(),
            reviews: Reviews::default(),
            erasures: Erasures::default(),
        }
    }

    /// Takes the next event; a contradiction is told with the index of its entry.
    pub(super) fn take(&mut self, event: Event) -> Result<(), (u64, String)> {
        match event {
            Event::Intent { n, context, anonymise, records } => {
                self.count(context.group, None);
                for record in records.into_iter().filter(|record| self.share.has(record)) {
                    if let Some((earlier, _)) = self.open.insert((context.group, record), (n, anonymise)) {
                        return Err((
                            n,
                            format!("a record of this intent is in the intent of entry {earlier} too, which has no outcome for it"),
                        ));
                    }
                }
                while self.open.len() + self.counts.len() > self.most {
                    self.narrow();
                }
            }
            Event::Outcome { n, kind, context, record, subject, day, intent: named, approval, erasure, early } => {
                self.count(context.group, Some(kind));
                if !self.share.has(&record) {
                    return Ok(());
                }
                let Some((intent, anonymise)) = self.open.remove(&(context.group, record)) else {
                    return Err((n, format!("{kind} without an intent that names the record in this run before it")));
                };
                if let Some(named) = named.filter(|named| *named != intent) {
                    return Err((n, format!("{kind} under the intent of entry {named}, but the record is in that of entry {intent}")));
                }
                if (matches!(kind, Kind::Destroyed | Kind::Attested) && anonymise) || (kind == Kind::Anonymised && !anonymise) {
                    return Err((n, format!("{kind}, but the intent of entry {intent} was to do the other thing")));
                }
                if let Some(approval) = approval {
                    let checked = self.reviews.check(&approval, intent, &context.dataset, context.class.as_ref());
                    checked.map_err(|why| (n, format!("{kind}, but {why}")))?;
                }
                if let Some(entry) = erasure {
                    let checked = self.erasures.check(entry, (intent, anonymise), &context.dataset, &record);
                    checked.map_err(|why| (n, format!("{kind}, but {why}")))?;
                } else if early {
                    let what = "the last day of its keeping was not over, and no decision on a request for erasure is named";
                    return Err((n, format!("{kind}, but {what}")));
                }
                if matches!(kind, Kind::Destroyed | Kind::Anonymised | Kind::Attested) {
                    let Context { class, dataset, event, at, .. } = *context;
                    let facts = Facts { subject, record, class, dataset, event, day, at };
                    if let Some(hold) = self.holds.protecting(&facts, intent) {
                        return Err((n, format!("{kind}, but the hold of entry {hold} was in force before its intent, entry {intent}")));
                    }
                }
            }
            Event::Told { kind, context } => self.count(context.group, Some(kind)),
            Event::Finished { n, context, counts } => {
                if !self.share.has(&context.group) {
                    return Ok(());
                }
                let found = self.counts.remove(&context.group).unwrap_or_default();
                for (i, kind) in COUNTED.into_iter().enumerate() {
                    if found[i] != counts[i] {
                        return Err((n, format!("the run's counts say {} {kind}, its entries {}", counts[i], found[i])));
                    }
                }
            }
            Event::Reviewed { n, decided } => self.reviews.decide(n, *decided),
            Event::ErasureDecided { n, decided } => self.erasures.decide(n, *decided),
            Event::HoldPlaced { n, placed } => self.holds.place(n, *placed),
            Event::HoldReleased { n, hold } => {
                if !self.holds.release(&hold) {
                    let hold = crate::error::escape(hold.as_bytes());
                    return Err((n, format!("releases the hold \"{hold}\", which is not in force")));
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, group: Id, kind: Option<Kind>) {
        if !self.share.has(&group) {
            return;
        }
        let counts = self.counts.entry(group).or_default();
        if let Some(i) = COUNTED.iter().position(|counted| Some(*counted) == kind) {
            counts[i] += 1;
        }
    }

    /// Gives up half of the share, for another reading of the log.
    fn narrow(&mut self) {
        let Share { part, of } = self.share;
        self.left.push(Share { part: part + of, of: 2 * of });
        self.share = Share { part, of: 2 * of };
        let share = self.share;
        self.open.retain(|(_, record), _| share.has(record));
        self.counts.retain(|group, _| share.has(group));
    }

    /// The shares that were given up.
    pub(super) fn left(&self) -> &[Share] {
        &self.left
    }

    /// How many records of the share have an intent and no outcome, and the index of the first such intent.
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
        let (mut meaning, mut before) = (Meaning::of(Share::ALL, MOST_OPEN), Before::default());
        for (n, (kind, body)) in (0..).zip(entries) {
            let mut bytes = Vec::new();
            Draft::new(*kind, body).unwrap().write(&mut bytes, n, "2026-11-22T01:02:03.123Z", [0; 16]);
            let (head, event) = read_entry(n, &bytes, &mut before).map_err(|what| (n, what))?;
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
            (
                vec![a(), (Kind::Kept, json!({"run": "r", "store": "s", "dataset": "d", "record": "a", "intent": 7}))],
                1,
                "under the intent of entry 7, but the record is in that of entry 0",
            ),
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

    fn placed(scope: &Value, until: Option<&str>) -> (Kind, Value) {
        (Kind::HoldPlaced, json!({"hold": "h1", "hold_kind": "litigation", "scope": scope, "until": until}))
    }

    fn released() -> (Kind, Value) {
        (Kind::HoldReleased, json!({"hold": "h1"}))
    }

    fn destroyed(record: &str) -> (Kind, Value) {
        (
            Kind::Destroyed,
            json!({"run": "r", "store": "s", "dataset": "d", "record": record, "class": "c", "subject": "2026:s", "event": "e", "event_date": "2026-02-01"}),
        )
    }

    #[test]
    fn nothing_may_go_whose_hold_stands_before_the_intent() {
        let gone = |hold: Vec<(Kind, Value)>| {
            let mut entries = hold;
            entries.extend([intent("r", "destroy", &["a"]), destroyed("a")]);
            judge(&entries)
        };
        let scopes = [
            json!({}),
            json!({"record": "a"}),
            json!({"subject": "2026:s"}),
            json!({"class": "c"}),
            json!({"dataset": "s/d"}),
            json!({"record": "a", "subject": "2026:s", "class": "c", "dataset": "s/d"}),
            json!({"record": null, "class": "c"}),
            json!({"event_from": "2026-02-01", "event_to": "2026-02-01"}),
            json!({"event": "e", "event_from": "2026-01-31", "event_to": null}),
            json!({"event_to": "2026-02-01", "class": "c"}),
        ];
        for scope in scopes {
            let (n, what) = gone(vec![placed(&scope, None)]).unwrap_err();
            assert!(n == 2 && what.contains("the hold of entry 0 was in force before its intent, entry 1"), "{n}: {what}");
            assert!(gone(vec![placed(&scope, None), released()]).is_ok(), "released: {scope}");
            // The entries of this test are of 22 November 2026.
            assert!(gone(vec![placed(&scope, Some("2026-11-22"))]).is_err(), "on its last day: {scope}");
            assert!(gone(vec![placed(&scope, Some("2026-11-21"))]).is_ok(), "over: {scope}");
            let kept = [placed(&scope, None), intent("r", "destroy", &["a"]), outcome(Kind::Kept, "r", "a")];
            assert!(judge(&kept).is_ok(), "kept: {scope}");
            let under_way = [intent("r", "destroy", &["a"]), placed(&scope, None), destroyed("a")];
            assert!(judge(&under_way).is_ok(), "announced before: {scope}");
            let again = [placed(&scope, None), intent("r", "destroy", &["a"]), placed(&scope, None), destroyed("a")];
            assert!(judge(&again).is_err(), "placed again with the same scope: {scope}");
        }
        for scope in [
            json!({"record": "b"}),
            json!({"subject": "2025:s"}),
            json!({"class": "d"}),
            json!({"dataset": "s/e"}),
            json!({"record": "a", "class": "d"}),
            json!({"event_from": "2026-02-02"}),
            json!({"event_to": "2026-01-31"}),
            json!({"event": "f", "event_from": "2026-01-31"}),
        ] {
            assert!(gone(vec![placed(&scope, None)]).is_ok(), "of others: {scope}");
        }
    }

    #[test]
    fn a_hold_that_is_not_understood_is_no_hold() {
        let cases = [
            (placed(&json!({"matter": "x"}), None), "found `matter`"),
            (placed(&json!({"class": 1}), None), "expected a text"),
            (placed(&json!([]), None), "expected an object"),
            (placed(&json!({}), Some("tomorrow")), "expected `until` to be a day"),
            (placed(&json!({}), Some("2026-11-22T00:00")), "expected `until` to be a day"),
            ((Kind::HoldPlaced, json!({"hold": "h1"})), "expected `scope`"),
            ((Kind::HoldPlaced, json!({"scope": {}})), "expected `hold`"),
            ((Kind::HoldReleased, json!({})), "expected `hold`"),
            (released(), "releases the hold \"h1\", which is not in force"),
        ];
        for (entry, words) in cases {
            let (_, what) = judge(&[entry]).unwrap_err();
            assert!(what.contains(words), "{what}, expected {words}");
        }
    }

    fn decided(kind: Kind, person: &str, name: &str) -> (Kind, Value) {
        (kind, json!({"batch": "b1", "store": "s", "dataset": "d", "class": "c", "person": person, "name": name}))
    }

    fn on_approval(entries: &[u64]) -> Vec<(Kind, Value)> {
        let mut gone = destroyed("a");
        gone.1["batch"] = json!("b1");
        gone.1["approval"] = json!(entries);
        vec![intent("r", "destroy", &["a"]), gone]
    }

    #[test]
    fn what_rests_on_an_approval_has_one_that_nobody_ended() {
        let alice = || decided(Kind::Approved, "alice (uid 1)", "Alice");
        let bob = || decided(Kind::Approved, "bob (uid 2)", "Bob");
        let ended = |kind| decided(kind, "bob (uid 2)", "");
        let all = |before: Vec<(Kind, Value)>, entries: &[u64]| judge(&[before, on_approval(entries)].concat());
        assert_eq!(all(vec![alice()], &[0]), Ok(0));
        assert_eq!(all(vec![alice(), bob()], &[0, 1]), Ok(0));
        assert_eq!(all(vec![ended(Kind::ReviewWithdrawn), alice()], &[1]), Ok(0), "approved after it");
        let cases = [
            (vec![], vec![], "it names no approval"),
            (vec![], vec![0], "entry 0 is no approval"),
            (vec![alice()], vec![1], "entry 1 is no approval"),
            (vec![ended(Kind::ReviewRefused)], vec![0], "entry 0 is no approval"),
            (vec![alice(), ended(Kind::ReviewWithdrawn)], vec![0], "was ended by entry 1"),
            (vec![alice(), ended(Kind::ReviewRefused)], vec![0], "was ended by entry 1"),
            (vec![alice(), ended(Kind::ReviewExtended)], vec![0], "was ended by entry 1"),
            (vec![alice(), alice()], vec![0, 1], "somebody who had approved already"),
            (vec![alice(), decided(Kind::Approved, "alice (uid 1)", "Bob")], vec![0, 1], "somebody who had approved already"),
            (vec![alice(), decided(Kind::Approved, "bob (uid 2)", " ALICE ")], vec![0, 1], "somebody who had approved already"),
        ];
        for (before, entries, words) in cases {
            let (_, what) = all(before, &entries).unwrap_err();
            assert!(what.contains(words), "{what}, expected {words}");
        }
        for field in ["batch", "dataset", "class"] {
            let mut other = alice();
            other.1[field] = json!("another");
            assert!(all(vec![other], &[0]).is_err(), "of another {field}");
        }
        let mut late = on_approval(&[1]);
        late.insert(1, alice());
        assert!(judge(&late).unwrap_err().1.contains("no approval of its review batch before its intent"));
        let under_way =
            [vec![alice()], on_approval(&[0])[..1].to_vec(), vec![ended(Kind::ReviewWithdrawn)], on_approval(&[0])[1..].to_vec()];
        assert_eq!(judge(&under_way.concat()), Ok(0), "announced before it was taken back");
        for broken in [json!({"batch": "b1"}), json!({"approval": [0]})] {
            let mut gone = destroyed("a");
            gone.1.as_object_mut().unwrap().extend(broken.as_object().unwrap().clone());
            assert!(judge(&[alice(), intent("r", "destroy", &["a"]), gone]).unwrap_err().1.contains("together"));
        }
        let nobody = decided(Kind::Approved, "alice (uid 1)", " ");
        assert!(judge(&[nobody]).unwrap_err().1.contains("found nobody"));
    }

    #[test]
    fn what_goes_on_a_request_for_erasure_was_decided_before_for_just_that_record() {
        let decided = |record: &str, decision: &str| {
            (Kind::ErasureDecided, json!({"erasure": "e", "store": "s", "dataset": "d", "record": record, "decision": decision}))
        };
        let gone = |erasure: Option<u64>| {
            let mut gone = destroyed("a");
            gone.1["due"] = json!("2031-01-01");
            if let Some(entry) = erasure {
                gone.1["erasure"] = json!(entry);
            }
            vec![intent("r", "destroy", &["a"]), gone]
        };
        let all = |before: Vec<(Kind, Value)>, erasure| judge(&[before, gone(erasure)].concat());
        assert_eq!(all(vec![decided("a", "destroy")], Some(0)), Ok(0));
        let cases = [
            (vec![decided("a", "destroy")], None, "no decision on a request for erasure is named"),
            (vec![], Some(0), "entry 0 is no decision"),
            (vec![decided("a", "refuse")], Some(0), "entry 0 is no decision"),
            (vec![decided("a", "wait")], Some(0), "entry 0 is no decision"),
            (vec![decided("a", "destroy")], Some(1), "entry 1 is no decision"),
            (vec![decided("b", "destroy")], Some(0), "about another record"),
            (vec![decided("a", "anonymise")], Some(0), "the other thing"),
        ];
        for (before, erasure, words) in cases {
            let (_, what) = all(before, erasure).unwrap_err();
            assert!(what.contains(words), "{what}, expected {words}");
        }
        let mut late = gone(Some(1));
        late.insert(1, decided("a", "destroy"));
        assert!(judge(&late).unwrap_err().1.contains("entry 1 is no decision before its intent"));
        assert!(judge(&[decided("a", "perhaps")]).unwrap_err().1.contains("expected `decision`"));
        // The entries of this test are of 22 November 2026, at one in the morning: somewhere the 21st is over, the 22nd nowhere.
        for (due, early) in [("2026-11-20", false), ("2026-11-21", false), ("2026-11-22", true)] {
            let mut entries = gone(None);
            entries[1].1["due"] = json!(due);
            assert_eq!(judge(&entries).is_err(), early, "{due}");
        }
    }

    #[test]
    fn more_open_than_may_be_held_is_looked_at_in_shares() {
        let records: Vec<String> = (0..1000).map(|n| format!("record-{n}")).collect();
        let names: Vec<&str> = records.iter().map(String::as_str).collect();
        let mut entries: Vec<(Kind, Value)> = names.chunks(10).map(|names| intent("r", "destroy", names)).collect();
        entries.extend(names[..500].iter().map(|name| outcome(Kind::Destroyed, "r", name)));
        let look = |entries: &[(Kind, Value)]| {
            let (mut shares, mut open, mut failed, mut readings) = (vec![Share::ALL], 0, Vec::new(), 0);
            while let Some(share) = shares.pop() {
                let (mut meaning, mut before) = (Meaning::of(share, 100), Before::default());
                readings += 1;
                for (n, (kind, body)) in (0..).zip(entries) {
                    let mut bytes = Vec::new();
                    Draft::new(*kind, body).unwrap().write(&mut bytes, n, "2026-11-22T01:02:03.123Z", [0; 16]);
                    let event = read_entry(n, &bytes, &mut before).unwrap().1.unwrap();
                    failed.extend(meaning.take(event).err().map(|(n, _)| n));
                    assert!(meaning.open.len() + meaning.counts.len() <= 100);
                }
                shares.extend(meaning.left());
                open += meaning.open().0;
            }
            (open, failed, readings)
        };
        let (open, failed, readings) = look(&entries);
        assert_eq!((open, failed), (500, Vec::new()));
        assert!((10..60).contains(&readings), "{readings} readings");
        // An outcome without intent is found, and only in the share that it belongs to.
        entries.push(outcome(Kind::Destroyed, "r", "nobody"));
        entries.push(finished("r", &json!({"destroyed": 500})));
        assert_eq!(look(&entries).1, [600, 601]);
    }

    #[test]
    fn an_entry_in_another_place_or_with_a_name_twice_is_told() {
        let line = r#"{"n":3,"at":"2026-11-22T01:02:03.123Z","kind":"stopped","nonce":"AAAAAAAAAAAAAAAAAAAAAA","x":1}"#;
        let read = |n, line: &str| read_entry(n, line.as_bytes(), &mut Before::default()).map(|_| ());
        assert_eq!(read(3, line), Ok(()));
        assert_eq!(read(4, line).unwrap_err(), "expected n 4, found 3");
        for broken in
            [line.replace("\"x\"", "\"n\""), line.replace(":1}", ":1,\"x\":2}"), format!("{line}{line}"), line.replace(":1}", ":01}")]
        {
            assert!(read(3, &broken).is_err(), "{broken}");
        }
    }
}
