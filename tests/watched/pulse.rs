//! Signs of life: heartbeats in the log, and the watchdog, which is fed by real progress only.

use std::time::Duration;

use retentiond::audit::Kind;

use crate::house::{House, NEVER, await_that, text};
use crate::metrics::configure;

#[test]
fn a_service_writes_that_it_is_alive_and_a_restart_does_not_hurry_it() {
    let house = House::new(NEVER);
    configure(&house, "heartbeat: 2 seconds\nanchors: [ { folder: nowhere } ]");
    let service = house.start();
    await_that("two heartbeats", || house.entries_of(Kind::Heartbeat).len() >= 2);
    let beats = house.entries_of(Kind::Heartbeat);
    let apart = beats[1].time().unwrap().duration_since(beats[0].time().unwrap());
    assert!(apart.as_millis() >= 1900, "{apart:?}");
    let anchors = beats[1].fields["anchors"].as_array().unwrap();
    assert_eq!((&anchors[0]["anchor"], &anchors[0]["failing"]), (&"journald".into(), &false.into()));
    assert!(anchors[0]["size"].as_u64().unwrap() > 1 && anchors[1]["failing"] == true, "{anchors:?}");
    assert!(beats[1].u64("uptime").unwrap() >= 3 && beats[1].u64("interval") == Some(2), "{beats:?}");
    assert!(beats[1].str("by").unwrap().contains(env!("CARGO_PKG_VERSION")), "{beats:?}");
    let status = house.json(&["status"]);
    assert!(status["log"]["heartbeat"].is_string() && status["log"]["anchors"][1]["failed"].is_string(), "{status}");
    service.kill();
    house.verify();
    let listed = text(&house.finish(&["audit", "list", "--kind", "heartbeat"]));
    assert!(listed.contains("alive for 0 hours") && listed.contains("anchors that take nothing:"), "{listed}");
    // A day between two is a day, however often it is started.
    let many = house.entries_of(Kind::Heartbeat).len();
    let config = crate::house::copy_of(&house.path("retentiond.yaml")).replace("heartbeat: 2 seconds", "heartbeat: 1 day");
    house.write("retentiond.yaml", &config);
    for _ in 0..2 {
        let service = house.start();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(service.stop().0, Some(0));
    }
    assert_eq!(house.entries_of(Kind::Heartbeat).len(), many);
    house.write("retentiond.yaml", &config.replace("heartbeat: 1 day", "heartbeat: 1 second"));
    let service = house.start();
    await_that("what is overdue comes soon", || house.entries_of(Kind::Heartbeat).len() > many);
    assert_eq!(service.stop().0, Some(0));
    house.verify();
    assert_eq!(house.finish(&["audit", "replay"]).status.code(), Some(0));
}
