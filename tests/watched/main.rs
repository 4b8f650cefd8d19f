//! The built program as a service that is watched: by Prometheus, by mail and webhooks, by the journal and by systemd's watchdog.
//!
//! All servers are the tests' own, on the loopback interface or on sockets in folders of their own. Some tests need `openssl`, `promtool`, `python3`
//! or root and are skipped, with the reason, where these are missing.

mod journal;
mod metrics;
mod notices;
mod pulse;
mod rules;
mod servers;
mod soak;

#[allow(dead_code, reason = "each suite of the service uses a part of it")]
#[path = "../service/house.rs"]
mod house;
