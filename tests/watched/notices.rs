//! Notices: what arrives, word for word; once; again after the server was down; and nothing of a record or a password where it may not be.

use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use crate::house::{House, NEVER, SCHEDULE, await_that, copy_of, none_exists, text};
use crate::metrics::configure;
use crate::servers::{Server, Way, certificate};

/// A house where a run is refused, records are overdue, and a store is not there; `notify` is what is configured.
fn troubled(notify: &str) -> House {
    let mut house = House::new(NEVER);
    configure(&house, &format!("notify: {notify}"));
    let config = copy_of(&house.path("retentiond.yaml"));
    house.write("retentiond.yaml", &config.replacen("  two:\n", "  two:\n    limits: { records: 1, share: 100% }\n", 1));
    let titled = SCHEDULE.replace("keep: 23 days", "title: \"Films\\nBcc: evil@example.org\", no-longer-than: 40 days, keep: 23 days");
    house.write("schedule.yaml", &titled);
    house.add("two/films", 60, 4);
    std::fs::write(
        house.path("two/films").join((jiff::Zoned::now().date() - jiff::ToSpan::days(60)).to_string()).join("jane-doe.mp4"),
        "x",
    )
    .unwrap();
    std::fs::rename(house.path("one"), house.path("away")).unwrap();
    house
}

/// Without what differs from one delivery to the next.
fn masked(mail: &str) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some((name @ ("Date" | "Message-ID"), _)) => format!("{name}: ...\n"),
        _ => format!("{line}\n"),
    };
    mail.lines().map(|one| line(one.trim_end())).collect()
}

/// Nothing that names a record, a person or a place of the machine.
fn is_discreet(house: &House, sent: &[String]) {
    for text in sent {
        let folder = house.path("").display().to_string();
        for never in ["jane", "Jane", ".mp4", "/films/20", folder.trim_end_matches('/')] {
            assert!(!text.contains(never), "{never} in {text}");
        }
    }
}

#[test]
fn troubles_go_out_together_once_and_name_no_record() {
    let server = Server::mail(0, Way::Plain);
    let mail = format!(
        "server: \"smtp://localhost:{}\", encryption: none, from: \"Retention <r@example.org>\", to: [dpo@example.org, it@example.org]",
        server.port
    );
    let house = troubled(&format!("{{ mail: {{ {mail} }} }}"));
    let service = house.start();
    assert_eq!(house.finish(&["pause", "one", "--reason", "Jane Doe asked"]).status.code(), Some(0));
    assert_eq!(house.finish(&["resume"]).status.code(), Some(0));
    assert_eq!(house.finish(&["run"]).status.code(), Some(3));
    await_that("a mail comes", || !server.taken().is_empty());
    let first = server.taken()[0].clone();
    insta::assert_snapshot!("mail_of_troubles", masked(&first));
    // Neither a further run nor a start of the service says the same again.
    house.finish(&["run"]);
    await_that("it is shown", || text(&house.finish(&["status"])).contains("notices by mail: the last one arrived at"));
    service.kill();
    let service = house.start();
    house.finish(&["run"]);
    thread::sleep(Duration::from_secs(5));
    assert_eq!(server.taken().len(), 1, "{:?}", server.taken());
    is_discreet(&house, &server.taken());
    assert!(!copy_of(&house.path("state/notices.json")).contains("jane"));
    // Something new is told at once, and only that.
    let schedule = copy_of(&house.path("schedule.yaml"));
    house.write("schedule.yaml", "nonsense");
    service.signal(rustix::process::Signal::HUP);
    await_that("another mail comes", || server.taken().len() == 2);
    let second = server.taken()[1].clone();
    assert!(second.contains("Subject: retentiond house: reload refused") && !second.contains("two/films"), "{second}");
    assert_eq!(service.stop().0, Some(0));
    house.write("schedule.yaml", &schedule);
    house.verify();
}

#[test]
fn a_server_that_is_down_stops_no_run_and_gets_the_notice_later_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let Some(config) = certificate(folder.path(), "authority") else { return println!("skipped: there is no openssl") };
    for implicit in [false, true] {
        let port = Server::web(0, &[]).port;
        let scheme = if implicit { "smtps" } else { "smtp" };
        let authorities = folder.path().join("authority.crt");
        let mail = format!(
            "server: \"{scheme}://me@localhost:{port}\", authorities: {}, password-file: password, from: r@example.org, to: dpo@example.org",
            authorities.display()
        );
        let mut house = troubled(&format!("{{ mail: {{ {mail} }} }}"));
        house.write("password", "CanaryPassword8391\n");
        std::fs::set_permissions(house.path("password"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(house.path("away"), house.path("one")).unwrap();
        let due = house.add("one/films", 24, 2);
        let service = house.start();
        assert_eq!(house.finish(&["run"]).status.code(), Some(3));
        assert!(none_exists(&due), "the run went on");
        let notices = || house.json(&["status"])["notices"][0].clone();
        await_that("the failure is shown", || notices()["failures"].as_u64() > Some(0));
        assert!(notices()["why"].as_str().unwrap().contains("the mail was not taken"), "{}", notices());
        assert!(text(&house.finish(&["status"])).contains("notices by mail do NOT ARRIVE"));
        assert!(service.said().contains("a notice was not delivered and is tried again"), "{}", service.said());
        // A server that offers no encryption, or cannot show that it is the one, gets neither mail nor password.
        let other = certificate(folder.path(), "other").unwrap();
        let wrong = if implicit { Way::Tls(other) } else { Way::Plain };
        let server = Server::mail(port, wrong);
        let before = notices()["failed"].as_u64();
        await_that("it is tried again", || notices()["failed"].as_u64() > before);
        let heard = server.heard.lock().unwrap().join("");
        assert!(server.taken().is_empty() && !heard.contains("AUTH") && !heard.contains("MAIL"), "{heard}");
        drop(server);
        let right = if implicit { Way::Tls(config.clone()) } else { Way::StartTls(config.clone()) };
        let server = Server::mail(port, right);
        await_that("the mail comes", || !server.taken().is_empty());
        assert!(server.heard.lock().unwrap().iter().any(|line| line.starts_with("AUTH ")));
        assert!(server.taken()[0].contains("two/films"), "{:?}", server.taken());
        is_discreet(&house, &server.taken());
        await_that("the failure is over", || notices()["failures"] == 0 && notices()["delivered"].is_string());
        assert!(service.said().contains("notices arrive again") && !service.said().contains("CanaryPassword"), "{}", service.said());
        assert_eq!(service.stop().0, Some(0));
        house.verify();
    }
}

#[test]
fn a_webhook_gets_signed_json_at_once_and_a_summary_at_its_time() {
    let server = Server::web(0, &[500, 302]);
    let webhook = format!("url: \"http://127.0.0.1:{}/hook/secret\", password-file: secret", server.port);
    let house = troubled(&format!("{{ at: \"* * * * *\", webhook: {{ {webhook} }} }}"));
    house.write("secret", "hook secret\n");
    std::fs::set_permissions(house.path("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let service = house.start();
    assert_eq!(house.finish(&["run"]).status.code(), Some(3));
    await_that("a summary comes behind the trouble", || server.taken().iter().any(|one| one.contains("\"occasion\":\"summary\"")));
    let taken = server.taken();
    let mut occasions = Vec::new();
    for request in &taken {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /hook/secret HTTP/1.1"), "{head}");
        let mac = Hmac::<Sha256>::new_from_slice(b"hook secret").unwrap().chain_update(body).finalize().into_bytes();
        let mac = retentiond::error::hex(&mac);
        assert!(head.to_lowercase().contains(&format!("x-retentiond-signature: sha256={mac}")), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        occasions.push(body["occasion"].as_str().unwrap().to_owned());
        assert_eq!(body["node"], "house");
    }
    // Twice not taken, once taken; what comes behind is no second telling of the same.
    assert_eq!(occasions[..3], ["trouble", "trouble", "trouble"], "{occasions:?}");
    assert!(occasions[3..].iter().all(|one| one == "summary"), "{occasions:?}");
    let summary: Value = serde_json::from_str(taken.last().unwrap().split_once("\r\n\r\n").unwrap().1).unwrap();
    let at = summary["text"].as_str().unwrap().to_owned();
    let scanned = summary["datasets"].as_array().unwrap().iter().find_map(|row| row["scanned"].as_str()).unwrap();
    insta::assert_snapshot!("summary", at.replace(scanned, "[time]").replace("2 times in a row", "once"));
    is_discreet(&house, &taken);
    assert!(!service.said().contains("/hook/secret"), "{}", service.said());
    assert_eq!(service.stop().0, Some(0));
}
