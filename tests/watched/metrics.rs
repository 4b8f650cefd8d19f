//! Numbers for Prometheus: what a running service says, before and after a restart, and to clients that mean no good.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::house::{House, NEVER, PATIENCE, SCHEDULE, await_that, copy_of, none_exists, text};

/// A port that is free now.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Puts keys at the top of the configuration.
pub fn configure(house: &House, keys: &str) {
    let config = copy_of(&house.path("retentiond.yaml"));
    house.write("retentiond.yaml", &config.replacen("node: house\n", &format!("node: house\n{keys}\n"), 1));
}

pub fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // Who is thrown out in the middle of a request is told so, or finds the connection reset.
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// The numbers that a service says, as Prometheus asks for them.
pub fn scrape(port: u16) -> BTreeMap<String, f64> {
    let answer = ask(port, &format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/plain\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), body.len());
    parse(body)
}

/// Reads the text format strictly: every series stands once, behind the help and type of its family, under a name of the conventions.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let name_is_fine = |name: &str| name.starts_with("retentiond_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let (mut helped, mut typed, mut series) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(name_is_fine(name) && help.len() > 5 && helped.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(matches!(kind, "gauge" | "counter") && helped.contains(name), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(typed.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            name.clone_into(&mut family);
        } else {
            let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let (name, labels) = key.split_once('{').map_or((key, None), |(name, labels)| (name, Some(labels)));
            assert_eq!(name, family, "{line}");
            let labels = labels.map(|labels| labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}")));
            for label in labels.into_iter().flat_map(|labels| labels.split("\",")) {
                let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                assert!(["store", "dataset", "verdict", "end", "anchor", "channel", "version"].contains(&name), "{line}");
                assert!(!value.is_empty(), "{line}");
            }
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(series.insert(key.to_owned(), value).is_none(), "{line}");
        }
    }
    assert!(series.len() > 20, "{text}");
    series
}

/// What Debian's `prometheus` says of the text, where it is installed.
fn promtool_agrees(text: &str) {
    let spawned =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else { return println!("skipped: there is no promtool") };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", crate::house::text(&output));
}

fn about(series: &BTreeMap<String, f64>, name: &str, labels: &str) -> Option<f64> {
    series.get(&if labels.is_empty() { format!("retentiond_{name}") } else { format!("retentiond_{name}{{{labels}}}") }).copied()
}

/// The numbers that say how datasets and log stand, not what the process does.
fn lasting(series: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let passing = [
        "_start_",
        "_loaded_",
        "_total",
        "_anchor_",
        "_log_entries",
        "_log_bytes",
        "_log_checkpoint",
        "_running",
        "_next_run_",
        "build_info",
    ];
    series.iter().filter(|(name, _)| !passing.iter().any(|word| name.contains(word))).map(|(name, value)| (name.clone(), *value)).collect()
}

#[test]
fn what_a_service_says_is_true_and_the_same_after_a_kill() {
    let mut house = House::new("15 2 * * *");
    let port = port();
    configure(&house, &format!("metrics: {{ listen: \"127.0.0.1:{port}\", textfile: numbers.prom }}"));
    let config = copy_of(&house.path("retentiond.yaml")).replacen("  two:\n", "  two:\n    limits: { records: 1, share: 100% }\n", 1);
    house.write("retentiond.yaml", &config);
    house.write("schedule.yaml", &SCHEDULE.replace("then: destroy", "then: destroy, no-longer-than: 40 days"));
    let due = house.add("one/films", 24, 3);
    house.add("one/films", 2, 5);
    house.add("two/films", 60, 4);
    let service = house.start();
    let before = scrape(port);
    let films = "store=\"one\",dataset=\"films\"";
    assert_eq!(about(&before, "dataset_scan_timestamp_seconds", films), None, "what is not known is not said");
    assert_eq!(about(&before, "dataset_period_seconds", films), Some(86_400.0));
    assert_eq!(house.finish(&["run"]).status.code(), Some(3));
    assert!(none_exists(&due));
    await_that("the end is noted", || about(&scrape(port), "dataset_runs_total", &format!("{films},end=\"done\"")) == Some(1.0));
    await_that("the size is known", || about(&scrape(port), "log_bytes", "").is_some());
    let after = scrape(port);
    let now = jiff::Timestamp::now().as_second();
    let recent = |name: &str, labels: &str| {
        let at = about(&after, name, labels).unwrap_or_else(|| panic!("{name}: {after:?}"));
        #[expect(clippy::cast_precision_loss, reason = "an instant of this century")]
        let age = now as f64 - at;
        assert!((-2.0..120.0).contains(&age), "{name}: {age}");
    };
    for name in ["dataset_scan_timestamp_seconds", "dataset_success_timestamp_seconds", "dataset_run_timestamp_seconds"] {
        recent(name, films);
    }
    recent("log_checkpoint_timestamp_seconds", "");
    recent("anchor_success_timestamp_seconds", "anchor=\"journald\"");
    let verdict = |dataset: &str, verdict: &str| about(&after, "dataset_verdict_records", &format!("{dataset},verdict=\"{verdict}\""));
    assert_eq!((verdict(films, "destroy"), verdict(films, "undetermined")), (Some(3.0), Some(0.0)));
    let other = "store=\"two\",dataset=\"films\"";
    assert_eq!((verdict(other, "destroy"), about(&after, "dataset_refused", other)), (Some(4.0), Some(1.0)));
    assert_eq!(about(&after, "dataset_overdue_records", other), Some(4.0));
    assert_eq!(about(&after, "dataset_records", other), Some(4.0));
    assert_eq!(about(&after, "dataset_success_timestamp_seconds", other), None, "a refused run is no success");
    assert!(about(&after, "log_entries", "").unwrap() > 10.0 && about(&after, "log_bytes", "").unwrap() > 4096.0);
    // The file says the same, whole.
    await_that("the file is written", || copy_of(&house.path("numbers.prom")).contains("end=\"refused\""));
    let file = copy_of(&house.path("numbers.prom"));
    assert_eq!(lasting(&parse(&file)), lasting(&after));
    promtool_agrees(&file);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(house.path("numbers.prom")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644);

    service.kill();
    std::fs::remove_file(house.path("state/register.db")).unwrap();
    let service = house.start();
    assert_eq!(lasting(&scrape(port)), lasting(&after), "it comes from the log");
    assert_eq!(house.finish(&["pause", "one", "--reason", "Jane Doe asked"]).status.code(), Some(0));
    house.write("schedule.yaml", "nonsense");
    service.signal(Signal::HUP);
    await_that("the reload is refused", || about(&scrape(port), "reload_refused", "") == Some(1.0));
    let paused = scrape(port);
    assert_eq!((about(&paused, "dataset_paused", films), about(&paused, "dataset_paused", other)), (Some(1.0), Some(0.0)));
    assert!(!paused.keys().any(|name| name.contains("Jane") || name.contains(".mp4")), "{paused:?}");
    assert_eq!(service.stop().0, Some(0));
}

#[test]
fn a_socket_serves_as_well_and_scrapers_that_mean_no_good_do_no_harm() {
    let house = House::new(NEVER);
    configure(&house, "metrics: { listen: ./numbers.sock }");
    let service = house.start();
    let connect = || UnixStream::connect(house.path("numbers.sock")).unwrap();
    let ask = |bytes: &[u8]| {
        let mut stream = connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let good = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    assert!(ask(good).starts_with("HTTP/1.1 200 "));
    let huge = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &vec![b'x'; 1 << 20]].concat();
    for (bytes, status) in [
        (&b"POST /metrics HTTP/1.1\r\n\r\n"[..], "405"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404"),
        (b"{\"verb\":\"run\"}\n", "400"),
        (b"\0\0\0\0\r\n\r\n", "400"),
    ] {
        assert!(ask(bytes).starts_with(&format!("HTTP/1.1 {status} ")), "{status}");
    }
    assert!(!ask(&huge).contains(" 200 "));
    // Slow ones have their few places for a few seconds, and then there is room again.
    let mut slow: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    slow.iter_mut().for_each(|stream| drop(stream.write_all(b"GET /metr")));
    await_that("there is room", || ask(good).starts_with("HTTP/1.1 200 "));
    // The control socket was there all the time.
    assert!(text(&house.finish(&["status"])).contains("one/films"));
    assert_eq!(service.stop().0, Some(0));
    assert!(!house.path("numbers.sock").exists(), "the socket is put away");
}

#[test]
fn a_file_that_cannot_be_written_is_told_once_and_stops_nothing() {
    let mut house = House::new(NEVER);
    configure(&house, "metrics: { textfile: nowhere/numbers.prom }");
    let service = house.start();
    for _ in 0..3 {
        let due = house.add("one/films", 24, 1);
        assert_eq!(house.finish(&["run"]).status.code(), Some(0));
        assert!(none_exists(&due));
    }
    await_that("it is told", || service.said().contains("the numbers for the textfile collector cannot be written"));
    std::fs::create_dir(house.path("nowhere")).unwrap();
    assert_eq!(house.finish(&["run"]).status.code(), Some(0));
    await_that("the file is there", || Path::exists(&house.path("nowhere/numbers.prom")));
    std::thread::sleep(Duration::from_millis(100));
    let said = service.said();
    assert_eq!((said.matches("cannot be written").count(), said.matches("written again").count()), (1, 1), "{said}");
    let left: Vec<_> = std::fs::read_dir(house.path("nowhere")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["numbers.prom"], "nothing half is left");
    assert_eq!(service.stop().0, Some(0));
}
