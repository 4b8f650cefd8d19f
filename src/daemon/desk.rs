//! The desk: decides what people are told, when, and when again.
//!
//! Troubles are looked for behind each run, each reload and every few minutes. A new one is told within seconds ([`SETTLE`] lets others of the same
//! night come along); the same one is told again after `again-after`, then after twice as long, up to eight times. One that went away and came back
//! meanwhile is the same. A summary goes out on its timetable.
//!
//! A delivery that failed is tried again, ever less often, and is shown by `status`, the metrics and the journal. What was not delivered is not
//! remembered: the next attempt tells what is true then. No run waits for a delivery, and nothing waits for one at the end.
//!
//! What was told is kept in `STATE/notices.json`, so that a service that is started over and over does not write each time. The file holds names of
//! datasets and times; without it, or after a crash between a delivery and the file, people are told once more.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::shown;
use super::state::{Event, State};
use crate::config::{Config, Notify};
use crate::control::Status;
use crate::control::status;
use crate::notify::{Notice, Trouble, troubles};
use crate::schedule::Asked;

/// How long a new trouble waits for others.
const SETTLE: Duration = Duration::from_secs(3);

/// How often troubles are looked for at least.
const LOOK: Duration = Duration::from_mins(10);

/// How long after the first failure a delivery is tried again, and after many.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MOST: Duration = Duration::from_hours(1);

/// How often the time between two notices of one trouble doubles.
const DOUBLED: u32 = 3;

/// What a delivery was about.
#[derive(Debug)]
pub(super) enum About {
    /// These troubles.
    Troubles(Vec<String>),
    /// A summary.
    Summary,
}

/// When something was told, and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    at: Timestamp,
    times: u32,
    /// When it was last there: what is away for a moment is not new when it comes back, however seldom it is told by now.
    #[serde(default)]
    seen: Option<Timestamp>,
}

/// What went out by one way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Sent {
    delivered: Option<Timestamp>,
    summary: Option<Timestamp>,
    told: BTreeMap<String, Told>,
}

/// How it stands with one way.
#[derive(Default)]
struct Way {
    sent: Sent,
    busy: bool,
    /// When the oldest new trouble was first seen.
    settling: Option<Timestamp>,
    failures: u32,
    failed: u64,
    why: Option<String>,
    retry: Option<Timestamp>,
}

/// See the file's header.
pub(super) struct Desk {
    file: PathBuf,
    ways: BTreeMap<&'static str, Way>,
    /// When it is looked next.
    next: Timestamp,
}

fn ways(config: &Config) -> Vec<&'static str> {
    let notify = config.notify.as_ref();
    let mail = notify.filter(|notify| notify.mail.is_some()).map(|_| "mail");
    mail.into_iter().chain(notify.filter(|notify| notify.webhook.is_some()).map(|_| "webhook")).collect()
}

impl Desk {
    pub(super) fn open(config: &Config, now: Timestamp) -> Self {
        let file = config.state.join("notices.json");
        let kept = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<BTreeMap<String, Sent>>(&bytes).ok());
        let mut kept = kept.unwrap_or_default();
        let way = |name: &'static str| {
            let mut sent = kept.remove(name).unwrap_or_default();
            // Of a time to come nothing can have been told; the first summary is for the first time that comes.
            sent.told.retain(|_, told| told.at <= now);
            sent.summary = Some(sent.summary.unwrap_or(now).min(now));
            (name, Way { sent, ..Way::default() })
        };
        let ways = ways(config).into_iter().map(way).collect();
        Self { file, ways, next: now }
    }

    /// Goes on under another configuration.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        let mut before = std::mem::replace(self, Self::open(config, crate::clock::now()));
        for (name, way) in &mut self.ways {
            if let Some(known) = before.ways.remove(name) {
                *way = known;
                // The trouble may have been the configuration.
                way.retry = None;
            }
        }
    }

    /// Something happened.
    pub(super) fn changed(&mut self) {
        self.next = Timestamp::MIN;
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.next <= now
    }

    /// How long nothing is due.
    pub(super) fn wake(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.next.duration_since(now)).unwrap_or_default()
    }

    /// How it stands with every way.
    pub(super) fn channels(&self) -> Vec<status::Channel> {
        let channel = |(name, way): (&&str, &Way)| status::Channel {
            channel: (*name).to_owned(),
            delivered: way.sent.delivered.map(shown),
            failures: way.failures,
            failed: way.failed,
            why: way.why.clone(),
        };
        self.ways.iter().map(channel).collect()
    }

    /// Sends what is due.
    pub(super) fn look(&mut self, state: &Arc<State>, config: &Config, notify: &Notify, status: &Status, now: Timestamp) {
        let found = troubles(status, now);
        let mut next = now + LOOK;
        if let Some(table) = &notify.at
            && let Some(summary) = table.next_run(&notify.zone, now)
        {
            next = next.min(summary);
        }
        for (name, way) in &mut self.ways {
            if way.busy {
                continue;
            }
            if let Some(retry) = way.retry.filter(|retry| *retry > now) {
                next = next.min(retry);
                continue;
            }
            let (notice, about) = match way.due(&found, notify, now) {
                Due::Nothing => continue,
                Due::Later(at) => {
                    next = next.min(at);
                    continue;
                }
                Due::Troubles(due) => {
                    let keys = due.iter().map(Trouble::key).collect();
                    (Notice::of_troubles(config, due, now), About::Troubles(keys))
                }
                Due::Summary => (Notice::summary(config, status, now), About::Summary),
            };
            way.busy = true;
            deliver(Arc::clone(state), name, notify.clone(), notice, about);
        }
        self.next = next;
    }

    /// What came of a delivery.
    pub(super) fn delivered(&mut self, channel: &str, about: &About, result: Result<(), String>, now: Timestamp) {
        self.changed();
        let Some(way) = self.ways.get_mut(channel) else { return };
        way.busy = false;
        match result {
            Ok(()) => {
                if way.failures > 0 {
                    tracing::info!(channel, "notices arrive again");
                }
                (way.failures, way.why, way.retry, way.settling) = (0, None, None, None);
                way.sent.delivered = Some(now);
                match about {
                    About::Summary => way.sent.summary = Some(now),
                    About::Troubles(keys) => {
                        for key in keys {
                            let times = way.sent.told.get(key).map_or(0, |told| told.times);
                            way.sent.told.insert(key.clone(), Told { at: now, times: times.saturating_add(1), seen: Some(now) });
                        }
                    }
                }
                self.keep();
            }
            Err(why) => {
                if way.why.as_ref() != Some(&why) {
                    tracing::warn!(channel, "a notice was not delivered and is tried again: {why}");
                }
                let pause = RETRY.saturating_mul(1 << way.failures.min(12)).min(RETRY_MOST);
                (way.failures, way.failed) = (way.failures.saturating_add(1), way.failed + 1);
                (way.why, way.retry) = (Some(why), Some(now + pause));
            }
        }
    }

    fn keep(&self) {
        let kept: BTreeMap<&str, &Sent> = self.ways.iter().map(|(name, way)| (*name, &way.sent)).collect();
        let keep = || -> std::io::Result<()> {
            let folder = self.file.parent().unwrap_or(std::path::Path::new("."));
            let mut file = tempfile::Builder::new().prefix("notices.").suffix(".new").tempfile_in(folder)?;
            file.write_all(&serde_json::to_vec(&kept)?)?;
            file.persist(&self.file).map(drop).map_err(|error| error.error)
        };
        if let Err(error) = keep() {
            tracing::warn!("what people were told cannot be remembered, so they may be told again after a restart: {error}");
        }
    }
}

/// What is due by one way.
enum Due {
    Nothing,
    Later(Timestamp),
    Troubles(Vec<Trouble>),
    Summary,
}

impl Way {
    fn due(&mut self, found: &[Trouble], notify: &Notify, now: Timestamp) -> Due {
        let again = |told: &Told| told.at + notify.again_after.saturating_mul(1 << told.times.saturating_sub(1).min(DOUBLED));
        let present: Vec<String> = found.iter().map(Trouble::key).collect();
        present.iter().for_each(|key| {
            if let Some(told) = self.sent.told.get_mut(key) {
                told.seen = Some(now);
            }
        });
        self.sent.told.retain(|_, told| told.seen.unwrap_or(told.at) + notify.again_after > now);
        let due = |trouble: &&Trouble| self.sent.told.get(&trouble.key()).is_none_or(|told| again(told) <= now);
        let due: Vec<Trouble> = found.iter().filter(due).cloned().collect();
        if !due.is_empty() {
            let settled = *self.settling.get_or_insert(now) + SETTLE;
            return if settled > now && self.failures == 0 { Due::Later(settled) } else { Due::Troubles(due) };
        }
        self.settling = None;
        let last = self.sent.summary.unwrap_or(now);
        match notify.at.as_ref().map(|table| table.asks(&notify.zone, last, now)) {
            Some(Asked::Since(_)) => Due::Summary,
            _ => present.iter().filter_map(|key| self.sent.told.get(key)).map(again).min().map_or(Due::Nothing, Due::Later),
        }
    }
}

/// Delivers in a thread of its own, for which nobody waits.
fn deliver(state: Arc<State>, channel: &'static str, notify: Notify, notice: Notice, about: About) {
    tokio::task::spawn_blocking(move || {
        let result = match (channel, &notify.mail, &notify.webhook) {
            ("mail", Some(mail), _) => mail.deliver(&notice),
            ("webhook", _, Some(webhook)) => webhook.deliver(&notice),
            _ => Ok(()),
        };
        state.tell(Event::Delivered { channel, about, result });
    });
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::schedule::Timetable;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-{text}Z").parse().unwrap()
    }

    fn notify(table: Option<&str>) -> Notify {
        let at = table.map(|table| Timetable::parse(table).unwrap());
        Notify { at, zone: TimeZone::UTC, again_after: Duration::from_hours(24), mail: None, webhook: None }
    }

    fn trouble(kind: &'static str) -> Trouble {
        Trouble { kind, about: "a/b".into(), what: String::new(), todo: String::new() }
    }

    /// What is told at these times while the trouble lasts, in hours from the first.
    fn told(way: &mut Way, found: &[Trouble], hours: std::ops::Range<i64>) -> Vec<i64> {
        let mut told = Vec::new();
        for hour in hours {
            let now = at("01T00:00:00") + jiff::SignedDuration::from_hours(hour);
            for now in [now, now + SETTLE] {
                if let Due::Troubles(due) = way.due(found, &notify(None), now) {
                    told.push(hour);
                    for trouble in due {
                        let times = way.sent.told.get(&trouble.key()).map_or(0, |told| told.times);
                        way.sent.told.insert(trouble.key(), Told { at: now, times: times + 1, seen: Some(now) });
                    }
                }
            }
        }
        told
    }

    #[test]
    fn the_same_trouble_is_told_ever_less_often_and_a_new_one_at_once() {
        let mut way = Way::default();
        let hours = told(&mut way, &[trouble("refused")], 0..600);
        let between: Vec<i64> = hours.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // The clock is looked at each hour here, so it comes up to an hour late, and never early.
        let days = [1, 2, 4, 8, 8];
        assert_eq!((hours[0], between.len()), (0, days.len()), "{hours:?}");
        assert!(between.iter().zip(days).all(|(hours, days)| (0..=1).contains(&(hours - 24 * days))), "{hours:?}");
        assert_eq!(told(&mut way, &[trouble("refused"), trouble("overdue")], 600..603), [600], "only the new one");
        // Gone for an hour it is the same, gone for days it is new.
        assert_eq!(told(&mut way, &[trouble("overdue")], 603..604), Vec::<i64>::new());
        assert_eq!(told(&mut way, &[trouble("refused"), trouble("overdue")], 604..605), Vec::<i64>::new());
        assert_eq!(told(&mut way, &[], 605..700), Vec::<i64>::new());
        assert_eq!(told(&mut way, &[trouble("refused")], 700..701), [700]);
    }

    #[test]
    fn troubles_of_one_night_go_out_together() {
        let mut way = Way::default();
        let now = at("01T02:15:00");
        assert!(matches!(way.due(&[trouble("refused")], &notify(None), now), Due::Later(later) if later == now + SETTLE));
        let both = [trouble("refused"), trouble("overdue")];
        assert!(matches!(way.due(&both, &notify(None), now + SETTLE), Due::Troubles(due) if due.len() == 2));
    }

    #[test]
    fn a_summary_comes_at_its_time_once_and_troubles_go_first() {
        let mut way = Way::default();
        way.sent.summary = Some(at("01T12:00:00"));
        let notify = notify(Some("0 8 * * *"));
        assert!(matches!(way.due(&[], &notify, at("02T07:59:59")), Due::Nothing));
        assert!(matches!(way.due(&[], &notify, at("02T08:00:00")), Due::Summary));
        assert!(matches!(way.due(&[trouble("refused")], &notify, at("02T08:00:00")), Due::Later(_)));
        way.sent.summary = Some(at("02T08:00:01"));
        assert!(matches!(way.due(&[], &notify, at("02T23:00:00")), Due::Nothing));
        assert!(matches!(way.due(&[], &notify, at("09T23:00:00")), Due::Summary), "many that were missed are one");
    }
}
