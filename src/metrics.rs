//! Numbers for Prometheus, made of the status and nothing else.
//!
//! Whatever the service knows of itself and its datasets is in [`Status`], which `status --json` shows too; here it becomes the text that Prometheus
//! reads, by the library of the Prometheus project. Numbers of the last complete scan, of the log and of past runs come from log and register, so
//! they are the same after a restart; what nobody knows is left out, never 0. Only `_total` counts from the start of the service.
//!
//! Labels name stores, datasets, verdicts, anchors and ways of delivery. **Never** a record, a person, a reason that a person wrote or the text of an
//! error: monitoring is read by people who may not see those.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64};

use jiff::Timestamp;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{Atomic, Gauge};
use prometheus_client::registry::Registry;

use crate::control::Status;
use crate::control::status::{Dataset, Log};

/// What the text is to be announced as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// Families of one type by name, each with its help.
type Named<Metric> = BTreeMap<&'static str, (&'static str, Family<Labels, Metric>)>;

/// The families, made when the first value of each is set.
#[derive(Default)]
struct Families {
    whole: Named<Gauge<i64, AtomicI64>>,
    fractions: Named<Gauge<f64, AtomicU64>>,
    counters: Named<Counter>,
}

impl Families {
    fn set(&mut self, name: &'static str, help: &'static str, labels: &Labels, value: i64) {
        let (_, family) = self.whole.entry(name).or_insert_with(|| (help, Family::default()));
        family.get_or_create(labels).set(value);
    }

    fn number(&mut self, name: &'static str, help: &'static str, labels: &Labels, value: u64) {
        self.set(name, help, labels, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn flag(&mut self, name: &'static str, help: &'static str, labels: &Labels, value: bool) {
        self.set(name, help, labels, i64::from(value));
    }

    /// An instant of the status; left out when there is none.
    fn instant(&mut self, name: &'static str, help: &'static str, labels: &Labels, at: Option<&str>) {
        if let Some(at) = at.and_then(|at| at.parse::<Timestamp>().ok()) {
            self.set(name, help, labels, at.as_second());
        }
    }

    fn seconds(&mut self, name: &'static str, help: &'static str, labels: &Labels, value: f64) {
        let (_, family) = self.fractions.entry(name).or_insert_with(|| (help, Family::default()));
        Atomic::set(family.get_or_create(labels).inner(), value);
    }

    /// `name` without the `_total` that it will end in.
    fn counter(&mut self, name: &'static str, help: &'static str, labels: &Labels, value: u64) {
        let (_, family) = self.counters.entry(name).or_insert_with(|| (help, Family::default()));
        family.get_or_create(labels).inc_by(value);
    }

    fn text(self) -> String {
        let mut registry = Registry::with_prefix("retentiond");
        self.whole.into_iter().for_each(|(name, (help, family))| registry.register(name, help, family));
        self.fractions.into_iter().for_each(|(name, (help, family))| registry.register(name, help, family));
        self.counters.into_iter().for_each(|(name, (help, family))| registry.register(name, help, family));
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = encode_registry(&mut out, &registry);
        as_text_format(&out)
    }
}

/// The older text format, which the textfile collector of node-exporter reads too, calls a counter by its whole name.
fn as_text_format(open_metrics: &str) -> String {
    let counters: Vec<&str> = open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => format!("# {what} {name}_total {rest}\n"),
            _ => format!("{line}\n"),
        }
    };
    open_metrics.lines().map(line).collect()
}

/// The text that Prometheus reads.
pub fn text(status: &Status) -> String {
    let mut families = Families::default();
    let none = Labels::new();
    if let Some(service) = &status.service {
        let version = vec![("version", service.version.clone())];
        families.set("build_info", "The version of the service", &version, 1);
        families.instant("start_timestamp_seconds", "When the service started", &none, Some(&service.since));
        families.instant("loaded_timestamp_seconds", "When schedule and configuration in force were loaded", &none, Some(&service.loaded));
        families.flag("reload_refused", "Whether the last reload was refused", &none, service.reload_refused.is_some());
        families.flag(
            "clock_refused",
            "Whether the clock was not believed when it was last looked at",
            &none,
            service.clock_refused.is_some(),
        );
    }
    families.instant(
        "edit_waits_until_timestamp_seconds",
        "Until when what became due only through an edit waits",
        &none,
        status.edit.as_ref().map(|edit| edit.until.as_str()),
    );
    if let Some(log) = &status.log {
        self::log(&mut families, log);
    }
    for channel in &status.notices {
        let labels = vec![("channel", channel.channel.clone())];
        let arrived = channel.delivered.as_deref();
        families.instant("notices_delivered_timestamp_seconds", "When a notice last arrived", &labels, arrived);
        families.flag("notices_failing", "Whether the last notice could not be delivered", &labels, channel.failures > 0);
        families.counter("notices_failed", "Attempts to deliver a notice that failed", &labels, channel.failed);
    }
    for row in &status.datasets {
        let (store, _) = row.dataset.split_once('/').unwrap_or((&row.dataset, ""));
        let paused = status.pauses.iter().any(|pause| pause.store.as_deref().is_none_or(|one| one == store));
        dataset(&mut families, row, paused);
    }
    families.text()
}

fn log(families: &mut Families, log: &Log) {
    let none = Labels::new();
    families.number("log_entries", "Entries of the audit log under its newest checkpoint", &none, log.entries);
    if let Some(bytes) = log.bytes {
        families.number("log_bytes", "Bytes on the disk that the audit log takes, counted now and then", &none, bytes);
    }
    let (checkpoint, heartbeat) = (log.checkpoint.as_deref(), log.heartbeat.as_deref());
    families.instant("log_checkpoint_timestamp_seconds", "When the newest checkpoint was written", &none, checkpoint);
    families.instant("log_heartbeat_timestamp_seconds", "When the service last wrote to the log that it is alive", &none, heartbeat);
    for anchor in &log.anchors {
        let labels = vec![("anchor", anchor.anchor.clone())];
        families.flag("anchor_failing", "Whether the anchor did not take the newest checkpoint", &labels, anchor.failed.is_some());
        families.instant("anchor_success_timestamp_seconds", "When the anchor last took a checkpoint", &labels, anchor.taken.as_deref());
    }
}

fn dataset(families: &mut Families, row: &Dataset, paused: bool) {
    let (store, name) = row.dataset.split_once('/').unwrap_or((&row.dataset, ""));
    let labels = vec![("store", store.to_owned()), ("dataset", name.to_owned())];
    let with = |name: &'static str, value: &str| {
        let mut labels = labels.clone();
        labels.push((name, value.to_owned()));
        labels
    };
    families.flag("dataset_enforced", "Whether due records are disposed of, not only reported", &labels, row.mode == "enforce");
    families.flag("dataset_paused", "Whether a person paused the store, or everything", &labels, paused);
    families.flag("dataset_running", "Whether a run is under way", &labels, row.running.is_some());
    families.number("dataset_failures", "How often in a row the dataset could not be run", &labels, u64::from(row.failures));
    families.instant("dataset_next_run_timestamp_seconds", "When it is run next", &labels, row.next.as_deref());
    if let Some(period) = row.period {
        families.number("dataset_period_seconds", "The longest time between two runs of its timetable", &labels, period);
    }
    families.instant("dataset_success_timestamp_seconds", "When a run last came to its end", &labels, row.satisfied.as_deref());
    for (end, times) in &row.ends {
        families.counter("dataset_runs", "Runs by how they ended", &with("end", end), *times);
    }
    if let Some(last) = &row.last {
        let refused = last.how.as_deref() == Some("refused");
        families.flag("dataset_refused", "Whether the last run was refused because of its limits", &labels, refused);
        families.instant("dataset_run_timestamp_seconds", "When the last run began", &labels, Some(&last.began));
        if let Some(ended) = &last.ended {
            let took = seconds_between(&last.began, ended);
            took.into_iter().for_each(|took| families.seconds("dataset_run_duration_seconds", "How long the last run took", &labels, took));
        }
    }
    if let Some(scan) = &row.scanned {
        families.instant("dataset_scan_timestamp_seconds", "When the last complete scan ended", &labels, Some(&scan.ended));
        families.number("dataset_records", "Records of the dataset in the last complete scan", &labels, scan.population);
        families.number("dataset_overdue_records", "Records past their ceiling in the last complete scan", &labels, scan.overdue);
        families.number(
            "dataset_failed_records",
            "Records that the run of the last complete scan could not dispose of",
            &labels,
            scan.failed,
        );
        for (verdict, number) in &scan.verdicts {
            let help = "Records that the last complete scan looked at, by verdict";
            families.number("dataset_verdict_records", help, &with("verdict", verdict), *number);
        }
    }
}

fn seconds_between(from: &str, to: &str) -> Option<f64> {
    let (from, to) = (from.parse::<Timestamp>().ok()?, to.parse::<Timestamp>().ok()?);
    Some(to.duration_since(from).as_secs_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::{Anchor, Channel, Last, Scanned, Service};

    fn status() -> Status {
        Status {
            service: Some(Service {
                version: "0.1.0".into(),
                since: "2026-11-25T00:00:00Z".into(),
                loaded: "2026-11-25T00:00:01Z".into(),
                ..Service::default()
            }),
            log: Some(Log {
                entries: 7,
                bytes: Some(4096),
                checkpoint: Some("2026-11-25T00:00:02Z".into()),
                heartbeat: None,
                anchors: vec![Anchor { anchor: "command \"x\\y\"".into(), taken: None, failed: Some("record key 1234".into()) }],
            }),
            notices: vec![Channel { channel: "mail".into(), failures: 2, failed: 5, why: Some("secret".into()), ..Channel::default() }],
            datasets: vec![Dataset {
                dataset: "cctv/footage".into(),
                mode: "enforce".into(),
                why: Some("/srv/cctv/jane-doe.mp4: permission denied".into()),
                last: Some(Last {
                    run: "r".into(),
                    began: "2026-11-25T02:15:00.000Z".into(),
                    ended: Some("2026-11-25T02:15:01.500Z".into()),
                    how: Some("refused".into()),
                }),
                scanned: Some(Scanned {
                    ended: "2026-11-25T02:15:01Z".into(),
                    population: 12,
                    overdue: 2,
                    verdicts: BTreeMap::from([("destroy".into(), 3), ("kept".into(), 9)]),
                    ..Scanned::default()
                }),
                ends: BTreeMap::from([("refused".into(), 4)]),
                ..Dataset::default()
            }],
            ..Status::default()
        }
    }

    #[test]
    fn the_text_says_what_the_status_says_and_no_more() {
        let text = text(&status());
        for line in [
            "retentiond_build_info{version=\"0.1.0\"} 1",
            "retentiond_reload_refused 0",
            "retentiond_log_entries 7",
            "retentiond_log_bytes 4096",
            "retentiond_anchor_failing{anchor=\"command \\\"x\\\\y\\\"\"} 1",
            "# TYPE retentiond_notices_failed_total counter",
            "retentiond_notices_failed_total{channel=\"mail\"} 5",
            "retentiond_dataset_runs_total{store=\"cctv\",dataset=\"footage\",end=\"refused\"} 4",
            "retentiond_dataset_refused{store=\"cctv\",dataset=\"footage\"} 1",
            "retentiond_dataset_run_duration_seconds{store=\"cctv\",dataset=\"footage\"} 1.5",
            "retentiond_dataset_overdue_records{store=\"cctv\",dataset=\"footage\"} 2",
            "retentiond_dataset_verdict_records{store=\"cctv\",dataset=\"footage\",verdict=\"destroy\"} 3",
            "retentiond_dataset_scan_timestamp_seconds{store=\"cctv\",dataset=\"footage\"} 1795572901",
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
        }
        for never in ["jane", "1234", "secret", "heartbeat", "anchor_success", "# EOF"] {
            assert!(!text.contains(never), "{never} in\n{text}");
        }
    }

    #[test]
    fn what_nobody_knows_is_left_out() {
        let unknown = Status { datasets: vec![Dataset { dataset: "a/b".into(), ..Dataset::default() }], ..Status::default() };
        let text = text(&unknown);
        assert!(text.contains("retentiond_dataset_running{store=\"a\",dataset=\"b\"} 0"), "{text}");
        for never in ["records", "timestamp", "refused", "log_", "duration"] {
            let told = text.lines().filter(|line| !line.starts_with('#')).any(|line| line.contains(never));
            assert!(!told, "{never} in\n{text}");
        }
    }
}
