//! The promises, each a test that any harness can be put to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::{DATASET, Harness, When, done};
use crate::dispose::Permit;
use crate::error::Result;
use crate::judge::Bound;
use crate::record::{Doubt, Key, Moment, Reading, Record};
use crate::schedule::EventName;
use crate::store::{Act, BATCH, Evidence, Fate, Found, Kept, MESSAGE, Order, Query, Scanned, Store};

/// Noon of the day on which all this happens.
fn now() -> Timestamp {
    "2026-06-15T12:00:00Z".parse().unwrap()
}

const OLD: When = When::On(date(2001, 2, 3));
const YOUNG: When = When::On(date(2026, 6, 14));

fn at_most(date: Date) -> Bound {
    let before = TimeZone::get("Europe/London").unwrap().to_timestamp(date.tomorrow().unwrap().at(0, 0, 0, 0)).unwrap();
    Bound::AtMost { event: done(), date, before }
}

impl When {
    /// Whether the judge could find a record with this event due within the bound. This, and not the store's word, is what the store is held to.
    fn may_be_due(self, bound: &Bound) -> bool {
        let moment = match self {
            Self::On(date) => Moment::Date(date),
            Self::At(instant) => Moment::Instant(instant),
            Self::NotYet | Self::Doubt => return false,
        };
        bound.may_hold(&mut |_, date, before| Bound::admits(moment, date, before))
    }

    /// Whether a person must hear of it: no date, or one that is still to come. Of the latter only where some date could be due at all.
    fn is_doubtful(self, bound: &Bound) -> bool {
        let future = match self {
            Self::On(date) => date > date_of(now()).tomorrow().unwrap(),
            Self::At(instant) => instant > now() + jiff::Span::new().hours(48),
            Self::NotYet => false,
            Self::Doubt => return true,
        };
        future && bound.may_hold(&mut |_, _, _| true)
    }

    fn fits(self, reading: &Reading) -> bool {
        match self {
            Self::On(date) => *reading == Reading::At(Moment::Date(date)),
            Self::At(instant) => *reading == Reading::At(Moment::Instant(instant)),
            Self::NotYet => *reading == Reading::NotYet,
            Self::Doubt => matches!(reading, Reading::Doubt(_)),
        }
    }
}

fn date_of(instant: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(instant).date()
}

/// A scan from its beginning to its end.
async fn try_scan(store: &Arc<dyn Store>, bound: Option<Bound>) -> Result<(Vec<Record>, Scanned, u64)> {
    let (sender, mut receiver) = mpsc::channel::<Vec<Record>>(2);
    let query = Query { bound, whole: false, now: now(), seen: Arc::new(AtomicU64::new(0)) };
    let collect = async {
        let mut records: Vec<Record> = Vec::new();
        while let Some(batch) = receiver.recv().await {
            assert!(batch.len() <= MESSAGE, "a batch of {}", batch.len());
            records.extend(batch);
        }
        records
    };
    let (scanned, records) = tokio::join!(store.scan(DATASET, query.clone(), sender), collect);
    let scanned = scanned?;
    let counted = query.seen.load(Ordering::Relaxed);
    assert_eq!(counted, scanned.population, "what watchers are told is what was seen");
    let mut population = scanned.population;
    if scanned.left_out {
        population += store.count_left_out(DATASET, query.clone(), u64::MAX).await?;
        if scanned.population < population {
            let some = store.count_left_out(DATASET, query, 1).await?;
            assert!((1..=population - scanned.population).contains(&some), "counting stops at `enough` and never above the truth: {some}");
        }
    }
    let keys: BTreeSet<&Key> = records.iter().map(|record| &record.key).collect();
    assert_eq!(keys.len(), records.len(), "no record is sent twice");
    Ok((records, scanned, population))
}

/// Every record, after a scan that saw everything.
async fn all(store: &Arc<dyn Store>) -> BTreeMap<Key, Record> {
    let (records, scanned, _) = try_scan(store, None).await.unwrap();
    assert_eq!(scanned.incomplete, None);
    records.into_iter().map(|record| (record.key.clone(), record)).collect()
}

/// The records under these keys, in their order.
async fn records(store: &Arc<dyn Store>, keys: &[Key]) -> Vec<Record> {
    let all = all(store).await;
    keys.iter().map(|key| all.get(key).unwrap_or_else(|| panic!("{key} is not there")).clone()).collect()
}

fn destroy() -> Order {
    Order { act: Act::Destroy, at_least: None }
}

async fn remove(store: &Arc<dyn Store>, records: &[Record]) -> Vec<Fate> {
    let fates = store.remove(&Permit::for_test(), DATASET, &destroy(), records, &|_, _| None).await;
    assert_eq!(fates.len(), records.len(), "one fate for each record");
    fates
}

fn is_done(fate: &Fate) -> bool {
    matches!(fate, Fate::Done(Evidence { verified: true, .. }))
}

/// Some records of every sort that the kind can hold.
async fn put_each_sort<H: Harness>(harness: &H, cutoff: Date) -> Vec<(Key, When)> {
    let mut sorts = vec![OLD, YOUNG, When::Doubt, When::On(date(2999, 1, 1)), When::On(cutoff)];
    sorts.extend(
        [cutoff.yesterday().unwrap(), cutoff.tomorrow().unwrap(), date(1970, 1, 1), date(1969, 12, 31), date(2024, 2, 29)].map(When::On),
    );
    if H::ABILITIES.not_yet_and_instants {
        // Midnight of London is an hour before that of UTC in summer; offsets reach from -12 to +14 hours.
        let Bound::AtMost { before, .. } = at_most(cutoff) else { unreachable!() };
        let hours = [-14_i64, -2, 0, 1, 2, 14].map(|hours| before + jiff::Span::new().hours(hours));
        let near = [-1_i64, 0, 1].map(|seconds| before + jiff::Span::new().seconds(seconds));
        sorts.extend(hours.into_iter().chain(near).chain(["2999-01-01T00:00:00Z".parse().unwrap()]).map(When::At));
        sorts.push(When::NotYet);
    }
    let mut made = Vec::new();
    for (at, when) in sorts.into_iter().enumerate() {
        made.push((harness.put("g", &format!("n{at}"), when).await, when));
    }
    made
}

pub(crate) async fn what_is_due_or_in_doubt_is_sent_once_and_everything_is_counted<H: Harness>() {
    let harness = H::new().await;
    let cutoff = date(2025, 8, 31);
    let made = put_each_sort(&harness, cutoff).await;
    let store = harness.store();
    let day = |offset: i64| at_most(cutoff.checked_add(jiff::Span::new().days(offset)).unwrap());
    let bounds = [
        day(0),
        day(-1),
        day(1),
        at_most(date(1, 1, 1)),
        at_most(date(9998, 12, 30)),
        Bound::Never,
        Bound::All(vec![]),
        Bound::Any(vec![]),
        Bound::All(vec![day(0)]),
        Bound::Any(vec![day(0)]),
        Bound::All(vec![day(0), day(-1)]),
        Bound::Any(vec![day(-1), day(1), Bound::Never]),
        Bound::All(vec![day(1), Bound::Any(vec![day(0), day(-1)])]),
        Bound::All(vec![day(1), Bound::Never]),
    ];
    for bound in bounds {
        let (sent, scanned, population) = try_scan(&store, Some(bound.clone())).await.unwrap();
        assert_eq!(scanned.incomplete, None, "{bound:?}");
        assert_eq!(population, made.len() as u64, "{bound:?}");
        for (key, when) in &made {
            let found = sent.iter().find(|record| record.key == *key);
            let asked = when.may_be_due(&bound) || when.is_doubtful(&bound);
            assert!(found.is_some() || !asked, "{when:?} was left out of {bound:?}");
            assert!(found.is_none_or(|record| record.readings.len() == 1 && when.fits(&record.readings[0])), "{when:?}: {found:?}");
        }
    }
}

pub(crate) async fn without_a_bound_everything_is_sent<H: Harness>() {
    let harness = H::new().await;
    let store = harness.store();
    assert_eq!(all(&store).await.len(), 0, "an empty dataset is no error");
    let made = put_each_sort(&harness, date(2025, 8, 31)).await;
    let (sent, scanned, population) = try_scan(&store, None).await.unwrap();
    assert_eq!((sent.len(), population, scanned.incomplete), (made.len(), made.len() as u64, None));
    for (key, when) in &made {
        let record = sent.iter().find(|record| record.key == *key).unwrap();
        assert!(when.fits(&record.readings[0]), "{when:?}: {record:?}");
        assert_eq!(record.subject.as_deref(), Some("g"), "the dataset names its subject");
        assert!(!record.fingerprint.is_empty(), "a record without fingerprint could never be compared");
    }
    assert_eq!(all(&store).await, all(&store).await, "what nobody changed is read the same again");
}

pub(crate) async fn large_datasets_come_in_batches_each_record_once<H: Harness>() {
    let harness = H::new().await;
    let many = 2 * BATCH + 7;
    let mut keys = BTreeSet::new();
    for at in 0..many {
        keys.insert(harness.put("g", &format!("n{at}"), if at % 5 == 0 { YOUNG } else { OLD }).await);
    }
    let store = harness.store();
    let (sent, _, population) = try_scan(&store, None).await.unwrap();
    assert_eq!(sent.into_iter().map(|record| record.key).collect::<BTreeSet<_>>(), keys);
    assert_eq!(population, many as u64);
    let (sent, _, population) = try_scan(&store, Some(at_most(date(2020, 1, 1)))).await.unwrap();
    assert!(sent.len() >= many - many.div_ceil(5), "{}", sent.len());
    assert_eq!(population, many as u64);
}

pub(crate) async fn a_receiver_that_goes_away_is_no_error<H: Harness>() {
    let harness = H::new().await;
    for at in 0..2 * BATCH {
        harness.put("g", &format!("n{at}"), OLD).await;
    }
    let store = harness.store();
    for wait in [false, true] {
        let (sender, mut receiver) = mpsc::channel(1);
        let query = Query { bound: None, whole: false, now: now(), seen: Arc::default() };
        let listen = async {
            if wait {
                receiver.recv().await.expect("a batch");
            }
            drop(receiver);
        };
        let (scanned, ()) = tokio::join!(store.scan(DATASET, query, sender), listen);
        scanned.expect("a receiver that went away is no error");
    }
}

pub(crate) async fn records_are_found_by_key_in_the_order_asked<H: Harness>() {
    let harness = H::new().await;
    let mut keys = Vec::new();
    for name in ["c", "a", "b", "gone"] {
        keys.push(harness.put("g", name, OLD).await);
    }
    let store = harness.store();
    let scanned = records(&store, &keys).await;
    assert!(remove(&store, &scanned[3..]).await.iter().all(is_done));
    let asked: Vec<Key> =
        [2, 3, 0, 1, 0].iter().map(|at: &usize| keys[*at].clone()).chain([Key::new(*b""), Key::new(*b"never was")]).collect();
    let found = store.fetch(DATASET, &asked).await.unwrap();
    let present = |at: usize| Found::Present(Box::new(scanned[at].clone()));
    assert_eq!(found, [present(2), Found::Absent, present(0), present(1), present(0), Found::Absent, Found::Absent]);
    assert_eq!(store.fetch(DATASET, &[]).await.unwrap(), []);
    let odd: Vec<Key> = [&b"../a"[..], b"/etc/passwd", b"g/../g/a", b"' OR 1 = 1 --", b"a\0b", b"*", b"\xff\xfe", b"."]
        .iter()
        .map(|key| Key::new(*key))
        .collect();
    for (key, found) in odd.iter().zip(store.fetch(DATASET, &odd).await.unwrap()) {
        assert!(matches!(found, Found::Absent | Found::Unknown(_)), "{key}: {found:?}");
    }
}

pub(crate) async fn look_ups_answer_for_each_value_in_order<H: Harness>() {
    let harness = H::new().await;
    let mut made = Vec::new();
    for (name, when) in [("old", OLD), ("young", YOUNG), ("doubt", When::Doubt), ("odd 100%41", OLD), ("odd 100A", YOUNG), ("odd %25", OLD)]
    {
        made.push((harness.put("g", name, when).await, when));
    }
    if H::ABILITIES.not_yet_and_instants {
        made.push((harness.put("g", "not yet", When::NotYet).await, When::NotYet));
    }
    let store = harness.store();
    let mut values: Vec<&str> = made.iter().map(|(key, _)| std::str::from_utf8(key.as_bytes()).unwrap()).collect();
    values.push("never was");
    values.extend(values.clone().into_iter().rev());
    let readings = store.lookup(DATASET, &done(), None, &values).await.unwrap();
    assert_eq!(readings.len(), values.len());
    for (value, reading) in values.iter().zip(&readings) {
        match made.iter().find(|(key, _)| key.as_bytes() == value.as_bytes()) {
            Some((_, when)) => assert!(when.fits(reading), "{value}: expected {when:?}, found {reading:?}"),
            None => assert!(matches!(reading, Reading::Doubt(Doubt::Missing(_))), "no record gives doubt: {reading:?}"),
        }
    }
    assert_eq!(store.lookup(DATASET, &done(), None, &[]).await.unwrap(), []);
    let unknown = store.lookup(DATASET, &EventName::parse("never").unwrap(), None, &values[..1]).await;
    assert!(unknown.is_err() || matches!(unknown.as_deref(), Ok([Reading::Doubt(_)])), "{unknown:?}");
}

pub(crate) async fn look_ups_of_several_records_give_the_latest_date_or_doubt<H: Harness>() {
    let Some(column) = H::ABILITIES.group else { return };
    let harness = H::new().await;
    let groups = [
        ("alone", vec![OLD]),
        ("several", vec![OLD, YOUNG, When::On(date(2010, 1, 1))]),
        ("one doubtful", vec![OLD, When::Doubt, YOUNG]),
        ("one running", vec![OLD, When::NotYet]),
        ("all running", vec![When::NotYet]),
    ];
    for (group, whens) in groups.iter().filter(|(_, whens)| H::ABILITIES.not_yet_and_instants || !whens.contains(&When::NotYet)) {
        for (at, when) in whens.iter().enumerate() {
            harness.put(group, &format!("{group} {at}"), *when).await;
        }
    }
    let store = harness.store();
    let values = ["several", "alone", "nobody", "one doubtful", "several", "ALONE", "alone "];
    let readings = store.lookup(DATASET, &done(), Some(column), &values).await.unwrap();
    let date_at = |at: usize| if let Reading::At(Moment::Date(date)) = readings[at] { Some(date) } else { None };
    assert_eq!(
        (date_at(0), date_at(1), date_at(4)),
        (Some(date(2026, 6, 14)), Some(date(2001, 2, 3)), Some(date(2026, 6, 14))),
        "{readings:?}"
    );
    for at in [2, 3, 5, 6] {
        assert!(matches!(readings[at], Reading::Doubt(_)), "{}: {:?}", values[at], readings[at]);
    }
    if H::ABILITIES.not_yet_and_instants {
        let readings = store.lookup(DATASET, &done(), Some(column), &["one running", "all running"]).await.unwrap();
        assert!(!matches!(readings[0], Reading::At(_)), "while one runs there is no date: {readings:?}");
        assert_eq!(readings[1], Reading::NotYet);
    }
    let nowhere = store.lookup(DATASET, &done(), Some("nowhere"), &["alone"]).await;
    assert!(nowhere.is_err() || matches!(nowhere.as_deref(), Ok([Reading::Doubt(_)])), "{nowhere:?}");
}

pub(crate) async fn each_record_has_one_fate_in_order_and_the_others_stay<H: Harness>() {
    let harness = H::new().await;
    let mut keys = Vec::new();
    for at in 0..9 {
        keys.push(harness.put(if at % 2 == 0 { "g" } else { "h" }, &format!("n{at}"), OLD).await);
    }
    let store = harness.store();
    let batch = records(&store, &[5, 1, 7, 3].map(|at: usize| keys[at].clone())).await;
    assert!(remove(&store, &batch[1..2]).await.iter().all(is_done));
    let fates = remove(&store, &batch).await;
    assert!(is_done(&fates[0]) && is_done(&fates[2]) && is_done(&fates[3]), "{fates:?}");
    assert_eq!(fates[1], Fate::Absent);
    for fate in &fates {
        if let Fate::Done(evidence) = fate {
            assert!(store.grades().contains(&evidence.grade) && !evidence.method.is_empty(), "{evidence:?}");
        }
    }
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(harness.is_there(key).await, at % 2 == 0, "{key}");
    }
    assert_eq!(all(&store).await.into_keys().collect::<Vec<_>>().len(), 5);
    assert!(remove(&store, &batch).await.iter().all(|fate| *fate == Fate::Absent), "a second time there is nothing");
    assert!(store.fetch(DATASET, &keys[1..2]).await.unwrap() == [Found::Absent]);
}

pub(crate) async fn a_large_batch_is_removed_whole<H: Harness>() {
    let harness = H::new().await;
    let mut keys = Vec::new();
    for at in 0..BATCH + 90 {
        keys.push(harness.put(&format!("g{}", at % 3), &format!("n{at}"), OLD).await);
    }
    let stays = harness.put("g0", "stays", OLD).await;
    let store = harness.store();
    let mut batch = records(&store, &keys).await;
    batch.reverse();
    let fates = remove(&store, &batch).await;
    assert!(fates.iter().all(is_done), "{:?}", fates.iter().find(|fate| !is_done(fate)));
    assert_eq!(all(&store).await.into_keys().collect::<Vec<_>>(), [stays]);
}

pub(crate) async fn what_changed_is_kept_and_the_rest_goes<H: Harness>() {
    let harness = H::new().await;
    let mut keys = Vec::new();
    for at in 0..6 {
        keys.push(harness.put("g", &format!("n{at}"), OLD).await);
    }
    let store = harness.store();
    let batch = records(&store, &keys).await;
    harness.change(&keys[0]).await;
    harness.change(&keys[4]).await;
    for (at, fate) in remove(&store, &batch).await.iter().enumerate() {
        let changed = at == 0 || at == 4;
        assert_eq!(matches!(fate, Fate::Kept(Kept::Changed(_))), changed, "{at}: {fate:?}");
        assert_eq!(is_done(fate), !changed, "{at}: {fate:?}");
        assert_eq!(harness.is_there(&keys[at]).await, changed, "{at}");
    }
    // Read again, it is a record like any other.
    let again = records(&store, &[keys[0].clone()]).await;
    assert_ne!(again[0].fingerprint, batch[0].fingerprint);
    assert_eq!(again[0].readings, batch[0].readings);
    assert!(is_done(&remove(&store, &again).await[0]));
}

pub(crate) async fn a_forged_or_foreign_fingerprint_destroys_nothing<H: Harness>() {
    let harness = H::new().await;
    let keys = [harness.put("g", "one", OLD).await, harness.put("g", "two", YOUNG).await];
    let store = harness.store();
    let batch = records(&store, &keys).await;
    let with = |fingerprint: &[u8]| Record { fingerprint: fingerprint.into(), ..batch[0].clone() };
    let mut flipped = batch[0].fingerprint.to_vec();
    if let Some(last) = flipped.last_mut() {
        *last ^= 1;
    }
    let forged = [with(b""), with(b"x"), with(&[0; 200]), with(&batch[1].fingerprint), with(&flipped)];
    for record in forged {
        let fates = remove(&store, std::slice::from_ref(&record)).await;
        assert!(!matches!(fates[0], Fate::Done(_)), "{:?}: {fates:?}", record.fingerprint);
        assert!(harness.is_there(&keys[0]).await && harness.is_there(&keys[1]).await, "{:?}: {fates:?}", record.fingerprint);
    }
}

pub(crate) async fn the_guard_sees_the_record_as_it_is_and_its_word_is_final<H: Harness>() {
    let harness = H::new().await;
    let mut keys = Vec::new();
    for at in 0..5 {
        keys.push(harness.put("g", &format!("n{at}"), OLD).await);
    }
    let store = harness.store();
    let batch = records(&store, &keys).await;
    let asked: Mutex<Vec<(usize, Record)>> = Mutex::default();
    let guard = |position: usize, record: &Record| {
        asked.lock().unwrap().push((position, record.clone()));
        match position {
            1 => Some(Kept::Held("hold-1".into())),
            3 => Some(Kept::NotDue("the schedule changed".into())),
            _ => None,
        }
    };
    let fates = store.remove(&Permit::for_test(), DATASET, &destroy(), &batch, &guard).await;
    assert_eq!(fates[1], Fate::Kept(Kept::Held("hold-1".into())));
    assert_eq!(fates[3], Fate::Kept(Kept::NotDue("the schedule changed".into())));
    for at in [0, 2, 4] {
        assert!(is_done(&fates[at]), "{:?}", fates[at]);
    }
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(harness.is_there(key).await, at % 2 == 1, "{at}");
    }
    let asked = asked.into_inner().unwrap();
    for (at, expected) in batch.iter().enumerate() {
        let seen: Vec<&Record> = asked.iter().filter(|(position, _)| *position == at).map(|(_, record)| record).collect();
        assert!(!seen.is_empty(), "nothing goes without the guard's word");
        assert!(seen.iter().all(|record| *record == expected), "{at}: {seen:?}");
    }
}

pub(crate) async fn a_record_handed_in_twice_goes_once<H: Harness>() {
    let harness = H::new().await;
    let key = harness.put("g", "n", OLD).await;
    let store = harness.store();
    let record = records(&store, std::slice::from_ref(&key)).await.remove(0);
    let fates = remove(&store, &[record.clone(), record]).await;
    assert!(is_done(&fates[0]), "{fates:?}");
    assert_eq!(fates[1], Fate::Absent);
}

pub(crate) async fn a_grade_that_is_not_reached_keeps_the_record<H: Harness>() {
    let harness = H::new().await;
    let store = harness.store();
    let asked = ["vaporised", ""].map(|grade| (grade, false)).into_iter();
    for (at, (grade, known)) in asked.chain(store.grades().iter().map(|grade| (*grade, true))).enumerate() {
        let key = harness.put("g", &format!("n{at}"), OLD).await;
        let batch = records(&store, std::slice::from_ref(&key)).await;
        let order = Order { act: Act::Destroy, at_least: Some(grade.to_owned()) };
        let fates = store.remove(&Permit::for_test(), DATASET, &order, &batch, &|_, _| None).await;
        match &fates[..] {
            [Fate::Done(evidence)] => {
                assert_ne!(Some(grade), H::ABILITIES.unreachable, "{evidence:?}");
                assert!(known && Evidence::reaches(evidence.grade, grade, store.grades()), "{grade} was asked: {evidence:?}");
                assert!(!harness.is_there(&key).await);
            }
            [Fate::Kept(Kept::CannotMeetGrade(why))] => {
                assert!(harness.is_there(&key).await && !why.is_empty(), "{grade}");
            }
            other => panic!("{grade}: {other:?}"),
        }
    }
}

/// Names that have surprised some program.
const ODD: [&str; 22] = [
    " ",
    "two words",
    " leading",
    "trailing ",
    "n\u{e4}me \u{1f3e0}",
    "it's",
    "\"quoted\"",
    "new\nline",
    "tab\there",
    "100%",
    "%41",
    "%",
    "a,b",
    "a%2Cb",
    "*",
    "?",
    "[a]",
    "{a}",
    "$(x)",
    "-rf",
    "\\",
    "\u{202e}txt",
];

pub(crate) async fn odd_names_are_names_like_others<H: Harness>() {
    let harness = H::new().await;
    let mut keys = Vec::new();
    for name in ODD {
        keys.push(harness.put("g", name, OLD).await);
    }
    let store = harness.store();
    assert_eq!(all(&store).await.into_keys().collect::<BTreeSet<_>>(), keys.iter().cloned().collect());
    for (at, key) in keys.iter().enumerate() {
        let fetched = store.fetch(DATASET, std::slice::from_ref(key)).await.unwrap();
        let [Found::Present(record)] = &fetched[..] else { panic!("{key}: {fetched:?}") };
        assert_eq!(Key::parse(&key.to_text()), *key);
        let readings = store.lookup(DATASET, &done(), None, &[std::str::from_utf8(key.as_bytes()).unwrap()]).await.unwrap();
        assert!(OLD.fits(&readings[0]), "{key}: {readings:?}");
        let fates = remove(&store, std::slice::from_ref(&**record)).await;
        assert!(is_done(&fates[0]), "{key}: {fates:?}");
        assert!(!harness.is_there(key).await, "{key}");
        for other in &keys[at + 1..] {
            assert!(harness.is_there(other).await, "{other} went with {key}");
        }
    }
}

pub(crate) async fn names_that_are_nearly_alike_are_different_records<H: Harness>() {
    let harness = H::new().await;
    let names = ["a", "A", "a ", " a", "aa", "a_", "a%", "\u{e9}", "e\u{301}", "1", "01", "1.0", "+1", "1e0"];
    let mut keys = Vec::new();
    for name in names {
        keys.push(harness.put("g", name, OLD).await);
    }
    let store = harness.store();
    let all = records(&store, &keys).await;
    for (at, key) in keys.iter().enumerate() {
        let fates = remove(&store, &all[at..=at]).await;
        assert!(is_done(&fates[0]), "{key}: {fates:?}");
        for (other, key) in keys.iter().enumerate() {
            assert_eq!(harness.is_there(key).await, other > at, "{key}, after {}", names[at]);
        }
    }
}

pub(crate) async fn what_cannot_be_anonymised_is_not_destroyed_instead<H: Harness>() {
    let harness = H::new().await;
    let keys = [harness.put("g", "one", OLD).await, harness.put("g", "two", OLD).await];
    let store = harness.store();
    let batch = records(&store, &keys).await;
    let order = Order { act: Act::Anonymise, at_least: None };
    let fates = store.remove(&Permit::for_test(), DATASET, &order, &batch[..1], &|_, _| None).await;
    assert!(harness.is_there(&keys[1]).await, "the other stays as it is");
    if H::ABILITIES.anonymises {
        assert!(is_done(&fates[0]), "{fates:?}");
        let left = all(&store).await;
        assert!(!left.contains_key(&keys[0]) && left.contains_key(&keys[1]), "an anonymised record is none any more: {left:?}");
        let again = store.remove(&Permit::for_test(), DATASET, &order, &batch[..1], &|_, _| None).await;
        assert!(!matches!(again[0], Fate::Done(_)), "once is enough: {again:?}");
    } else {
        assert!(matches!(fates[0], Fate::Failed { uncertain: false, .. } | Fate::Kept(_)), "{fates:?}");
        assert!(harness.is_there(&keys[0]).await, "{fates:?}");
    }
}

pub(crate) async fn unknown_datasets_and_empty_orders_do_nothing<H: Harness>() {
    let harness = H::new().await;
    let key = harness.put("g", "n", OLD).await;
    let store = harness.store();
    assert_eq!(remove(&store, &[]).await, []);
    let batch = records(&store, std::slice::from_ref(&key)).await;
    let fates = store.remove(&Permit::for_test(), "nowhere", &destroy(), &batch, &|_, _| None).await;
    assert!(fates.len() == 1 && !matches!(fates[0], Fate::Done(_)), "{fates:?}");
    assert!(harness.is_there(&key).await);
    if H::ABILITIES.knows_datasets {
        assert!(matches!(fates[0], Fate::Failed { uncertain: false, .. }), "it is not gone, it was not looked for: {fates:?}");
        assert!(store.fetch("nowhere", std::slice::from_ref(&key)).await.is_err());
        assert!(store.lookup("nowhere", &done(), None, &["n"]).await.is_err());
        let (sender, _receiver) = mpsc::channel(1);
        assert!(store.scan("nowhere", Query { bound: None, whole: false, now: now(), seen: Arc::default() }, sender).await.is_err());
    }
}

pub(crate) async fn scans_beside_a_removal_see_what_stays_exactly_once<H: Harness>() {
    let harness = H::new().await;
    let (mut stays, mut goes) = (BTreeSet::new(), Vec::new());
    for at in 0..BATCH + 200 {
        let key = harness.put("g", &format!("n{at}"), OLD).await;
        if at % 3 == 0 {
            stays.insert(key);
        } else {
            goes.push(key);
        }
    }
    let store = harness.store();
    let batch = records(&store, &goes).await;
    let scanning = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut scans = Vec::new();
            for at in 0..6 {
                let bound = (at % 2 == 0).then(|| at_most(date(2020, 1, 1)));
                scans.push(try_scan(&store, bound).await);
            }
            scans
        })
    };
    for part in batch.chunks(40) {
        assert!(remove(&store, part).await.iter().all(is_done));
    }
    for scan in scanning.await.unwrap() {
        // A scan may fail or say that it could not see everything; one that says it saw everything must have.
        let Ok((sent, scanned, _)) = scan else { continue };
        if scanned.incomplete.is_none() {
            let seen: BTreeSet<Key> = sent.into_iter().map(|record| record.key).collect();
            assert!(
                stays.is_subset(&seen),
                "a complete scan missed {} records that were there throughout",
                stays.difference(&seen).count()
            );
        }
    }
    assert_eq!(all(&store).await.into_keys().collect::<BTreeSet<_>>(), stays);
}

pub(crate) async fn two_removals_at_once_destroy_each_record_at_most_once<H: Harness>() {
    let harness = H::new().await;
    let mut keys = Vec::new();
    for at in 0..120 {
        keys.push(harness.put("g", &format!("n{at}"), OLD).await);
    }
    let store = harness.store();
    let batch = records(&store, &keys).await;
    let removal = |batch: Vec<Record>| {
        let store = store.clone();
        tokio::spawn(async move { remove(&store, &batch).await })
    };
    let (one, other) = tokio::join!(removal(batch.clone()), removal(batch.clone()));
    for (at, (one, other)) in one.unwrap().iter().zip(&other.unwrap()).enumerate() {
        let done = [one, other].into_iter().filter(|fate| matches!(fate, Fate::Done(_))).count();
        assert!(done <= 1, "destroyed twice: {one:?} and {other:?}");
        let gone = !harness.is_there(&keys[at]).await;
        let uncertain = [one, other].into_iter().any(|fate| matches!(fate, Fate::Failed { uncertain: true, .. }));
        assert!(gone == (done == 1) || uncertain, "gone: {gone}: {one:?} and {other:?}");
    }
    let rest = all(&store).await.into_values().collect::<Vec<_>>();
    assert!(remove(&store, &rest).await.iter().all(is_done));
    assert_eq!(all(&store).await.len(), 0);
}
