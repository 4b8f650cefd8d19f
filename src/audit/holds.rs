//! Holds as the log alone shows them: which are in force, and whether a record that went was under one.
//!
//! A person's hold is an entry `hold-placed`; it is in force until an entry `hold-released` with the same id, or its last day. Their fields:
//!
//! ```text
//! hold-placed     hold       the id; placed again while in force, it has the new scope and last day
//!                 hold_kind  litigation, restriction, ...
//!                 scope      an object: subject, record (pseudonyms), class, dataset (store/dataset), event_from and event_to (days, inclusive, in which
//!                            the event that decides fell; `event`: this one only); all that are given must match, none is everything
//!                 until      the last day, 2026-11-30; not there: until it is released
//!                 review, owner, matter, reason, person: for people
//! hold-released   hold       the id
//!                 reason, person: for people
//! ```
//!
//! A destruction was under a hold when the hold stands in the log **before the intent** that the destruction belongs to: who places a hold must
//! make it known to runs in progress before it is in the log. What was announced before the hold and went after it may have been under way.
//! A last day ends with the day of the schedule's zone, which is not known here, so on it only what is certain in every zone is told; `audit
//! replay` knows the zone. Names are compared as they stand: a hold on a pseudonym of one year does not reach outcomes named with another year's key,
//! so a hold that outlives its year is placed again with the new names. While some hold names a subject, outcomes name theirs (`subject`).

use std::collections::HashMap;

use super::fields::{read, scan, text};
use super::meaning::{Id, id};

/// A part of the scope, if it is limited by it.
type Part = Option<Id>;

/// What a hold protects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    subject: Part,
    record: Part,
    class: Part,
    dataset: Part,
    event: Part,
    /// Days as they are written, whose order is that of time.
    event_from: Option<[u8; 10]>,
    event_to: Option<[u8; 10]>,
}

/// What is compared with a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) subject: Option<Id>,
    pub(super) record: Id,
    pub(super) class: Option<Id>,
    pub(super) dataset: Id,
    /// The event that decided, and its day.
    pub(super) event: Option<Id>,
    pub(super) day: Option<[u8; 10]>,
    /// The time in the entry, to the minute.
    pub(super) at: [u8; 16],
}

/// A hold as an entry places it.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    hold: String,
    scope: Scope,
    /// The minute from which on the last day may be over somewhere.
    over: Option<[u8; 16]>,
    /// The minute of the entry.
    at: [u8; 16],
}

impl Placed {
    /// Reads the body of `hold-placed`, strictly: a hold that is not understood protects who knows what.
    pub(super) fn parse(line: &str, at: &str) -> Result<Self, String> {
        let (mut hold, mut scope, mut over) = (None, None, None);
        scan(line, |name, value| {
            match name {
                "hold" => hold = Some(text(value)?.into_owned()),
                "scope" => scope = Some(Scope::parse(value)?),
                "until" if value != "null" => {
                    let until = day("until", value)?;
                    // The day ends first where clocks are fourteen hours ahead.
                    over = format!("{}T10:00", str::from_utf8(&until).unwrap_or_default()).into_bytes().try_into().ok();
                }
                _ => {}
            }
            Ok(())
        })?;
        let missing = |name| format!("expected `{name}` in an entry of kind hold-placed, found none");
        let at = at.as_bytes().first_chunk().copied().unwrap_or_default();
        Ok(Self { hold: hold.ok_or_else(|| missing("hold"))?, scope: scope.ok_or_else(|| missing("scope"))?, over, at })
    }
}

/// Reads a day, strictly.
fn day(name: &str, value: &str) -> Result<[u8; 10], String> {
    let day = read::<jiff::civil::Date>(value).ok().and_then(|_| text(value).ok()?.as_bytes().try_into().ok());
    day.ok_or_else(|| format!("expected `{name}` to be a day such as 2026-11-30"))
}

/// Reads the id in the body of `hold-released`.
pub(super) fn released(line: &str) -> Result<String, String> {
    let mut hold = None;
    scan(line, |name, value| {
        if name == "hold" {
            hold = Some(text(value)?.into_owned());
        }
        Ok(())
    })?;
    hold.ok_or_else(|| "expected `hold` in an entry of kind hold-released, found none".to_owned())
}

impl Scope {
    fn parse(value: &str) -> Result<Self, String> {
        let mut scope = Self::default();
        scan(value, |name, value| {
            let part = match name {
                "subject" => &mut scope.subject,
                "record" => &mut scope.record,
                "class" => &mut scope.class,
                "dataset" => &mut scope.dataset,
                "event" => &mut scope.event,
                "event_from" | "event_to" => {
                    let part = if name == "event_from" { &mut scope.event_from } else { &mut scope.event_to };
                    if value != "null" {
                        *part = Some(day(name, value)?);
                    }
                    return Ok(());
                }
                _ => {
                    return Err(format!(
                        "expected only subject, record, class, dataset, event, event_from and event_to in `scope`, found `{}`",
                        crate::error::escape(name.as_bytes())
                    ));
                }
            };
            if value != "null" {
                *part = Some(id(&[&text(value)?]));
            }
            Ok(())
        })?;
        Ok(scope)
    }

    fn covers(&self, it: &Facts) -> bool {
        let fits = |part: Part, fact: Option<Id>| part.is_none() || part == fact;
        fits(self.subject, it.subject)
            && fits(self.record, Some(it.record))
            && fits(self.class, it.class)
            && fits(self.dataset, Some(it.dataset))
            && fits(self.event, it.event)
            && self.event_from.is_none_or(|from| it.day.is_some_and(|day| from <= day))
            && self.event_to.is_none_or(|to| it.day.is_some_and(|day| day <= to))
    }

    /// Under which name holds of this scope are looked up: one that few records share.
    fn key(&self) -> Part {
        self.record.or(self.subject)
    }
}

/// A hold in force.
#[derive(Clone, Debug)]
struct Hold {
    /// Index of the entry from which on it is in force.
    since: u64,
    scope: Scope,
    over: Option<[u8; 16]>,
}

/// The holds in force at a place in the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds {
    all: HashMap<String, Hold>,
    /// Their ids by the name they are looked up with.
    by_key: HashMap<Part, Vec<String>>,
}

impl Holds {
    /// A hold is placed, or placed anew.
    pub(super) fn place(&mut self, n: u64, placed: Placed) {
        let Placed { hold, scope, over, at } = placed;
        let before = self.remove(&hold);
        // One that may have been over meanwhile begins anew.
        let lasted = |before: &Hold| before.scope == scope && before.over.is_none_or(|over| at < over);
        let since = before.filter(lasted).map_or(n, |before| before.since);
        self.by_key.entry(scope.key()).or_default().push(hold.clone());
        self.all.insert(hold, Hold { since, scope, over });
    }

    /// A hold is released; false if there is none with this id.
    pub(super) fn release(&mut self, hold: &str) -> bool {
        self.remove(hold).is_some()
    }

    fn remove(&mut self, hold: &str) -> Option<Hold> {
        let removed = self.all.remove(hold)?;
        let key = removed.scope.key();
        if let Some(ids) = self.by_key.get_mut(&key) {
            ids.retain(|id| id != hold);
            if ids.is_empty() {
                self.by_key.remove(&key);
            }
        }
        Some(removed)
    }

    /// The entry since which a hold has protected a record that was announced in the entry `intent`, if one did.
    pub(super) fn protecting(&self, it: &Facts, intent: u64) -> Option<u64> {
        if self.all.is_empty() {
            return None;
        }
        let keys = [Some(None), Some(Some(it.record)), it.subject.map(Some)];
        let held = |id: &String| {
            self.all.get(id).filter(|hold| hold.since < intent && hold.scope.covers(it) && hold.over.is_none_or(|over| it.at < over))
        };
        keys.into_iter().flatten().filter_map(|key| self.by_key.get(&key)).flatten().find_map(held).map(|hold| hold.since)
    }
}
