//! Clients that mean no good, or know no better.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use crate::house::{House, NEVER, PROGRAM, await_that, has, is_root, none_exists, text};

#[test]
fn garbage_huge_lines_and_half_requests_do_no_harm() {
    let house = House::new(NEVER);
    let service = house.start();
    let huge = vec![b'x'; 1 << 20];
    let deep = [vec![b'['; 60_000], b"\n".to_vec()].concat();
    for bytes in [
        &b"\n"[..],
        b"hello\n",
        b"\0\xff\xfe\n",
        b"{}\n",
        b"{\"verb\":\"destroy\"}\n",
        b"{\"verb\":\"run\",\"everything\":true}\n",
        b"{\"verb\":\"pause\"}\n",
        &deep,
        &huge,
    ] {
        let answer = house.ask_raw(bytes);
        assert!(!answer.contains("\"code\":0"), "{answer}");
    }
    // Gone in the middle of a word.
    UnixStream::connect(house.path("control.sock")).unwrap().write_all(b"{\"verb\":\"pau").unwrap();
    assert!(house.ask_raw(b"{\"verb\":\"status\"}\n").contains("\"answer\":\"status\""));
    assert_eq!(service.stop().0, Some(0));
    let kinds: Vec<String> = house.entries().iter().map(|entry| entry.kind.to_string()).collect();
    assert_eq!(kinds, ["opened", "schedule", "bound", "bound", "bound", "stopped"], "nothing was done");
}

pub fn many_slow_clients_neither_stop_the_service_nor_stay_for_ever() {
    let mut house = House::new("* * * * *");
    let service = house.start();
    let slow: Vec<UnixStream> = (0..200).filter_map(|_| UnixStream::connect(house.path("control.sock")).ok()).collect();
    assert!(slow.len() >= 32, "{}", slow.len());
    let due = house.add("one/films", 24, 3);
    await_that("the timetable goes on", || none_exists(&due));
    // Those that had a place and asked for nothing are sent away, and there is room again.
    await_that("there is room", || house.ask_raw(b"{\"verb\":\"status\"}\n").contains("\"answer\":\"status\""));
    let mut first = &slow[0];
    first.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut said = String::new();
    first.read_to_string(&mut said).unwrap();
    assert!(said.contains("hello"), "{said}");
    assert_eq!(service.stop().0, Some(0));
}

#[test]
fn a_client_that_goes_away_does_not_stop_the_run_that_it_ordered() {
    let mut house = House::new(NEVER);
    let due = house.add("one/films", 24, 2000);
    let service = house.start();
    house.order("{\"verb\":\"run\"}");
    await_that("everything due is gone", || none_exists(&due));
    await_that("the run is over", || house.row("one/films")["last"]["how"] == "done");
    assert_eq!(service.stop().0, Some(0));
    house.verify();
}

#[test]
fn somebody_in_no_group_is_turned_away() {
    if !is_root() || !has("setpriv", &["--version"]) {
        return println!("skipped: only root can become somebody else");
    }
    let mut house = House::new(NEVER);
    let due = house.add("one/films", 24, 1);
    let service = house.start();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(house.path(""), open).unwrap();
    let program = house.path("program");
    std::fs::copy(PROGRAM, &program).unwrap();
    for verb in ["run", "status"] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).arg("--config").arg(house.path("retentiond.yaml"));
        let output = command.arg(verb).env("SUDO_USER", "root").output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{verb}: {}", text(&output));
        assert!(text(&output).contains("uid 65534 is neither root nor in the group"), "{}", text(&output));
    }
    assert!(due[0].exists());
    assert_eq!(service.stop().0, Some(0));
}
