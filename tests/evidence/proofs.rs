//! `audit prove` and `audit check-proof`: the evidence for one entry, handed to somebody who has nothing but the public key.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::estate::{Estate, PROGRAM, outsider, text};

#[test]
fn what_prove_prints_is_checked_from_a_pipe() {
    let estate = Estate::shared();
    let proven = estate.retentiond(&["audit", "prove", "300"]);
    assert!(proven.status.success(), "{proven:?}");
    let printed = text(&proven.stdout);
    assert_eq!(printed.lines().next(), Some(estate.entries()[300].as_str()));
    assert!(printed.contains("\nc2sp.org/tlog-proof@v1\nindex 300\n"), "{printed}");
    let mut check = Command::new(PROGRAM);
    check.args(["audit", "check-proof", "-", "--key", &estate.key()]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(&proven.stdout).unwrap();
    let checked = check.wait_with_output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let said = text(&checked.stdout);
    assert!(said.starts_with("proven: this is entry 300 of the log retentiond/evidence-1, signed when it had "), "{said}");
}

#[test]
fn a_record_is_proven_by_its_address_with_intent_and_outcome() {
    let estate = Estate::shared();
    let folder = tempfile::tempdir().unwrap();
    let address = format!("media/clips:clips/{}/00001.mp4", Estate::ago(40));
    let proven = estate.retentiond(&["audit", "prove", &address, "--json"]);
    assert!(proven.status.success(), "{proven:?}");
    let lines: Vec<serde_json::Value> = text(&proven.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<String> = lines
        .iter()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line["entry"].as_str().unwrap()).unwrap()["kind"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(kinds, ["intent", "destroyed"]);
    for line in &lines {
        let (entry, proof) = (folder.path().join("a.json"), folder.path().join("a.tlog-proof"));
        fs::write(&entry, line["entry"].as_str().unwrap()).unwrap();
        fs::write(&proof, line["proof"].as_str().unwrap()).unwrap();
        // The entry is found beside the proof.
        let checked = outsider(&["audit", "check-proof", proof.to_str().unwrap(), "--key", &estate.key(), "--json"]);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        let said: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!((&said["proven"], &said["index"]), (&true.into(), &line["index"]));
        // An editor's line break is refused, and named.
        fs::write(&entry, format!("{}\n", line["entry"].as_str().unwrap())).unwrap();
        let checked = outsider(&["audit", "check-proof", proof.to_str().unwrap(), "--key", &estate.key()]);
        assert_eq!(checked.status.code(), Some(4));
        assert!(text(&checked.stderr).contains("line break at its end"), "{checked:?}");
    }
    let unknown = estate.retentiond(&["audit", "prove", "media/clips:clips/2020-01-01/none.mp4"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}

#[test]
fn prove_never_overwrites_and_knows_the_end_of_the_log() {
    let estate = Estate::shared();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let prove = |n: &str| estate.retentiond(&["audit", "prove", n, "--out", out]);
    assert!(prove("7").status.success());
    assert!(prove("7").status.success(), "the same content again is no overwriting");
    fs::write(folder.path().join("7.json"), "mine").unwrap();
    let refused = prove("7");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(fs::read_to_string(folder.path().join("7.json")).unwrap(), "mine");
    let beyond = prove("99999");
    assert_eq!(beyond.status.code(), Some(2), "{beyond:?}");
    assert!(text(&beyond.stderr).contains("the log has no entry 99999"));
}

#[test]
fn a_damaged_log_yields_no_proof_and_a_missing_key_is_named() {
    let estate = Estate::with_clips(30);
    let bundle = estate.log().join(format!("tile/entries/000.p/{}", estate.entries().len()));
    let mut content = fs::read(&bundle).unwrap();
    content[40] ^= 1;
    fs::write(&bundle, content).unwrap();
    let refused = estate.retentiond(&["audit", "prove", "0"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert_eq!(refused.stdout, b"");
    let log = estate.log();
    let nokey = outsider(&["audit", "prove", "0", "--log", log.to_str().unwrap(), "--key", "no such file"]);
    assert_eq!(nokey.status.code(), Some(2), "{nokey:?}");
}
