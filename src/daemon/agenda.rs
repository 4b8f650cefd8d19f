//! What is to be run when: each dataset's timetable, what was missed, and what failed.
//!
//! This is pure: the caller says what time it is, and draws the lots. A dataset's timetable was last satisfied when a run over it last began, by
//! whomever; that stands in the log, so a run that was missed while the service was down is known, and made up for once. A run that failed is tried
//! again after a minute, then after twice as long each time, up to an hour; the timetable's own next time comes all the same.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Dataset;
use crate::register::LastRun;
use crate::schedule::Asked;

/// A run that begins this much after its time was missed, not merely waited for.
const MISSED: Duration = Duration::from_mins(2);

/// How long after the first failure a run is tried again, and after many.
const RETRY: Duration = Duration::from_mins(1);
const RETRY_MOST: Duration = Duration::from_hours(1);

/// How many times of a timetable tell its longest pause: of one that names weekdays, a week and more.
const TIMES: usize = 10;

/// One dataset on the agenda.
pub struct Slot {
    /// The dataset.
    pub dataset: Arc<Dataset>,
    /// When the timetable was last satisfied, or first looked at.
    satisfied: Timestamp,
    /// How often in a row it could not be run.
    pub failures: u32,
    /// Why.
    pub why: Option<String>,
    retry: Option<Timestamp>,
    /// The missed run that is to be made up for, and when.
    made_up: Option<(Timestamp, Timestamp)>,
    /// The longest time between two runs of the timetable, once somebody asked.
    period: OnceLock<Option<u64>>,
}

/// How a dataset stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It is to be run now.
    Due,
    /// Not before this instant; `None`: only when a person says so.
    Wait(Option<Timestamp>),
}

impl Slot {
    /// A dataset whose last run is known from the log, or that is new.
    pub fn new(dataset: Arc<Dataset>, last: Option<&LastRun>, now: Timestamp) -> Self {
        let mut slot = Self {
            dataset,
            satisfied: last.map_or(now, |last| last.began.min(now)),
            failures: 0,
            why: None,
            retry: None,
            made_up: None,
            period: OnceLock::new(),
        };
        let cut_short = |how: Option<&str>| !matches!(how, Some("done" | "reported" | "refused" | "stopped: window"));
        if let Some(last) = last.filter(|last| cut_short(last.how.as_deref())) {
            slot.why = Some(format!("its last run was {}", last.how.as_deref().unwrap_or("interrupted")));
            slot.retry = Some(now);
        }
        slot
    }

    /// The same dataset under another configuration.
    #[must_use]
    pub fn taken_over(mut self, dataset: Arc<Dataset>) -> Self {
        let same = |one: &Dataset| one.scan.as_ref().map(ToString::to_string);
        if same(&self.dataset) != same(&dataset) {
            self.made_up = None;
        }
        self.dataset = dataset;
        self.period = OnceLock::new();
        self
    }

    /// The longest time in seconds between two runs of its timetable, as far as the next ones tell; `None` without a timetable.
    pub fn period(&self) -> Option<u64> {
        *self.period.get_or_init(|| {
            let (table, zone) = (self.dataset.scan.as_ref()?, self.dataset.zone());
            let mut times = vec![table.next_run(&zone, self.satisfied)?];
            while times.len() < TIMES
                && let Some(next) = table.next_run(&zone, *times.last()?)
            {
                times.push(next);
            }
            times.windows(2).map(|pair| pair[1].duration_since(pair[0]).unsigned_abs().as_secs()).max()
        })
    }

    /// How it stands at `now`. `lot`, from 0 to 1, decides how much of `most` a missed run waits.
    pub fn stand(&mut self, now: Timestamp, most: Duration, lot: f64) -> Stand {
        let Some(table) = &self.dataset.scan else { return Stand::Wait(None) };
        let by_table = match table.asks(&self.dataset.zone(), self.satisfied, now) {
            Asked::Never => None,
            Asked::Next(next) => Some(next),
            Asked::Since(since) => match self.made_up {
                Some((known, at)) if known == since => Some(at),
                _ => {
                    let missed = now.duration_since(since).unsigned_abs() > MISSED;
                    let at = if missed { now + most.mul_f64(lot.clamp(0.0, 1.0)) } else { since };
                    self.made_up = Some((since, at));
                    Some(at)
                }
            },
        };
        let next = match (by_table, self.retry) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if next.is_some_and(|next| next <= now) { Stand::Due } else { Stand::Wait(next) }
    }

    /// A run over it began.
    pub fn began(&mut self, at: Timestamp) {
        self.satisfied = self.satisfied.max(at);
        self.made_up = None;
        self.retry = None;
    }

    /// A run over it did what it could.
    pub fn succeeded(&mut self) {
        (self.failures, self.why, self.retry) = (0, None, None);
    }

    /// It could not be run, or not to its end.
    pub fn failed(&mut self, now: Timestamp, why: String) {
        let doubled = RETRY.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(now + doubled.min(RETRY_MOST));
        // Tried again is enough; asked for once more by the timetable it would be tried twice.
        self.satisfied = self.satisfied.max(now);
        self.made_up = None;
        self.why = Some(why);
    }

    /// It waits for something that may pass soon; that is no failure.
    pub fn put_off(&mut self, now: Timestamp, why: String) {
        self.retry = Some(now + RETRY);
        self.satisfied = self.satisfied.max(now);
        self.made_up = None;
        self.why = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::yaml::Document;

    const HOUR: Duration = Duration::from_hours(1);

    fn dataset(scan: &str) -> Arc<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("s.yaml"), "schedule: s\ntime-zone: UTC\nclasses: { c: { keep: permanently } }\n").unwrap();
        let text = format!(
            "node: n\nschedules: s.yaml\n{scan}\nstores: {{ a: {{ files: a, datasets: {{ b: {{ class: c, path: \"*\" }} }} }} }}\n"
        );
        let document = Document::parse("c.yaml", text).unwrap();
        Arc::clone(&Config::from_document(&document, folder.path()).unwrap().datasets[0])
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-11-{text}Z").parse().unwrap()
    }

    fn last(began: &str, how: Option<&str>) -> LastRun {
        LastRun {
            dataset: "a/b".into(),
            run: "r".into(),
            began: at(began),
            ended: None,
            how: how.map(Into::into),
            satisfied: None,
            scanned: None,
        }
    }

    #[test]
    fn a_dataset_is_due_at_its_time_and_not_again_before_the_next() {
        let mut slot = Slot::new(dataset("scan: \"15 2 * * *\""), None, at("20T12:00:00"));
        assert_eq!(slot.stand(at("21T02:14:59"), HOUR, 0.5), Stand::Wait(Some(at("21T02:15:00"))));
        assert_eq!(slot.stand(at("21T02:15:00"), HOUR, 0.5), Stand::Due, "on time there is no delay");
        slot.began(at("21T02:15:00"));
        assert_eq!(slot.stand(at("21T02:15:00"), HOUR, 0.5), Stand::Wait(Some(at("22T02:15:00"))));
        let mut idle = Slot::new(dataset("mode: report"), None, at("20T12:00:00"));
        assert_eq!(idle.stand(at("29T12:00:00"), HOUR, 0.5), Stand::Wait(None), "without a timetable only a person runs it");
    }

    #[test]
    fn the_period_is_the_longest_pause_of_the_timetable() {
        let period = |scan: &str| Slot::new(dataset(scan), None, at("20T12:00:00")).period();
        assert_eq!(period("scan: \"15 2 * * *\""), Some(24 * 3600));
        assert_eq!(period("scan: \"15 2 * * 1-5\""), Some(3 * 24 * 3600));
        assert_eq!(period("scan: \"*/30 8-17 * * *\""), Some(1800), "a night is longer, but the first ten do not reach it");
        assert_eq!(period("mode: report"), None);
    }

    #[test]
    fn what_was_missed_waits_as_long_as_the_lot_says_however_often_it_is_asked() {
        let mut slot = Slot::new(dataset("scan: \"15 2 * * *\""), Some(&last("17T02:15:00", Some("done"))), at("20T12:00:00"));
        assert_eq!(slot.stand(at("20T12:00:00"), HOUR, 0.5), Stand::Wait(Some(at("20T12:30:00"))));
        assert_eq!(slot.stand(at("20T12:29:59"), HOUR, 0.1), Stand::Wait(Some(at("20T12:30:00"))), "lots are drawn once");
        assert_eq!(slot.stand(at("20T12:30:00"), HOUR, 0.9), Stand::Due);
        slot.began(at("20T12:30:00"));
        assert_eq!(slot.stand(at("20T12:30:01"), HOUR, 0.9), Stand::Wait(Some(at("21T02:15:00"))), "three were missed, one is made up for");
    }

    #[test]
    fn a_failure_is_tried_again_ever_less_often_and_the_timetable_comes_all_the_same() {
        let mut slot = Slot::new(dataset("scan: \"0 */6 * * *\""), None, at("20T11:00:00"));
        let mut now = at("20T12:00:00");
        assert_eq!(slot.stand(now, HOUR, 0.5), Stand::Due);
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            slot.began(now);
            slot.failed(now, "the disk is not mounted".into());
            let next = now + Duration::from_mins(minutes);
            assert_eq!(slot.stand(now, HOUR, 0.5), Stand::Wait(Some(next)), "after {} failures", slot.failures);
            now = next;
            assert_eq!(slot.stand(now, HOUR, 0.5), Stand::Due);
        }
        slot.began(at("20T17:59:00"));
        slot.failed(at("20T17:59:30"), "again".into());
        assert_eq!(slot.stand(at("20T17:59:40"), HOUR, 0.5), Stand::Wait(Some(at("20T18:00:00"))));
        slot.succeeded();
        assert_eq!((slot.failures, slot.why.clone()), (0, None));
    }

    #[test]
    fn what_a_crash_or_a_stop_cut_short_is_done_again_at_once() {
        for (how, again) in [
            (None, true),
            (Some("interrupted"), true),
            (Some("incomplete"), true),
            (Some("stopped: signal"), true),
            (Some("stopped: window"), false),
            (Some("refused"), false),
            (Some("done"), false),
        ] {
            let now = at("20T12:00:00");
            let mut slot = Slot::new(dataset("scan: \"15 2 * * *\""), Some(&last("20T02:15:00", how)), now);
            assert_eq!(slot.stand(now, HOUR, 0.5) == Stand::Due, again, "{how:?}");
        }
    }
}
