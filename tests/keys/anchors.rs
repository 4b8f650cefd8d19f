//! Anchors of the built program.

use std::fs;
use std::process::Command;

use crate::estate::{Estate, PROGRAM, expect, python};

#[test]
fn a_restored_older_copy_is_noticed_by_the_next_start_and_destroys_nothing() {
    let mut estate = Estate::new("anchors: [ { folder: anchors } ]");
    fs::create_dir(estate.path("anchors")).unwrap();
    estate.work(5);
    estate.copy("state", "older");
    estate.work(5);
    let folder = estate.path("anchors").display().to_string();
    let said = estate.expect(0, &["audit", "verify", "--anchors", &folder]);
    assert!(said.contains("each a prefix of the log"), "{said}");

    estate.copy("state", "newer");
    estate.copy("older", "state");
    estate.add(3);
    let said = estate.expect(4, &["run"]);
    assert!(said.contains("was anchored here") && said.contains("an older copy of it was restored"), "{said}");
    assert_eq!(estate.left(), 3);
    let said = estate.expect(4, &["audit", "verify", "--anchors", &folder]);
    assert!(said.contains("an older copy of it was restored"), "{said}");
    estate.verify();

    estate.copy("newer", "state");
    estate.expect(0, &["run"]);
    assert_eq!(estate.left(), 0);
    // Nothing is shown by a folder that holds nothing.
    fs::create_dir(estate.path("empty")).unwrap();
    estate.expect(1, &["audit", "verify", "--anchors", &estate.path("empty").display().to_string()]);
}

#[test]
fn a_failing_anchor_is_reported_and_costs_the_log_nothing() {
    let mut estate = Estate::new("anchors: [ { command: [sh, -c, \"cat > got\"] }, { command: \"false\" }, { folder: nowhere } ]");
    estate.add(5);
    let output = estate.command(&["run"]).current_dir(estate.path("")).output().unwrap();
    let said = expect(1, &output, "run");
    assert!(said.contains("anchor command false: did not take the checkpoint of"), "{said}");
    assert!(said.contains("nowhere: expected a folder, found none; is a disk not mounted?"), "{said}");
    assert_eq!(estate.left(), 0);
    estate.verify();
    assert_eq!(fs::read(estate.path("got")).unwrap(), fs::read(estate.state().join("audit/checkpoint")).unwrap());
    let output = estate.command(&["--json", "run"]).current_dir(estate.path("")).output().unwrap();
    let row: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(row["anchors"][0]["anchor"], "journald");
    assert!(row["anchors"][1]["size"].as_u64().unwrap() > 5 && row["anchors"][2]["failed"].is_string(), "{row}");
}

/// Binds the socket of the journal, runs the program, and prints the checkpoints that came.
const JOURNAL: &str = r#"
import os, socket, struct, subprocess, sys
os.makedirs("/run/systemd/journal")
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/run/systemd/journal/socket")
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
s.setblocking(False)
while True:
    try: message = s.recv(65536)
    except BlockingIOError: break
    while message:
        name, _, message = message.partition(b"\n")
        size, = struct.unpack("<Q", message[:8])
        if name == b"RETENTIOND_CHECKPOINT": sys.stdout.buffer.write(message[8:8 + size])
        message = message[9 + size:]
sys.exit(code)
"#;

#[test]
fn every_checkpoint_goes_to_the_journal_of_the_system_word_for_word() {
    let mut estate = Estate::new("anchors: [ { folder: anchors } ]");
    fs::create_dir(estate.path("anchors")).unwrap();
    estate.add(5);
    fs::write(estate.path("journal.py"), JOURNAL).unwrap();
    // With a /run of its own, so that no real journal hears of it.
    let mount = "mount -t tmpfs none /run && exec \"$@\"";
    if !Command::new("unshare").args(["--mount", "sh", "-c", mount, "sh", "true"]).status().is_ok_and(|status| status.success()) {
        return println!("skipped: only root can have a /run of its own");
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount, "sh", python()]).arg(estate.path("journal.py")).arg(PROGRAM);
    let output = command.arg("--config").arg(estate.path("retentiond.yaml")).arg("run").output().unwrap();
    let said = expect(0, &output, "run");
    let file = fs::read_dir(estate.path("anchors/retentiond-keys-1")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(said, fs::read_to_string(file).unwrap());
    assert!(said.ends_with(&fs::read_to_string(estate.state().join("audit/checkpoint")).unwrap()));
}
