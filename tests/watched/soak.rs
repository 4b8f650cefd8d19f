//! A short piece of `benches/soak`: scans, reloads, vanished stores and kills as fast as they go, and nothing grows or is lost.

use std::path::Path;
use std::process::Command;

use crate::house::{PROGRAM, has, text};

#[test]
fn compressed_life_leaves_no_memory_descriptor_or_thread_behind() {
    if !has("python3", &["--version"]) {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/soak");
    // The heap is still finding its size; an hour shows more, and allows no more.
    let words = ["--seconds", "40", "--growth", "3"];
    let output = Command::new("python3").arg(script).args(words).arg("--binary").arg(PROGRAM).output().unwrap();
    println!("{}", text(&output));
    assert!(output.status.success(), "{}", text(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (what, least) in [("scans", 30), ("reloads", 2), ("kills", 5), ("rounds", 10)] {
        assert!(report[what].as_u64() >= Some(least), "too little happened: {report}");
    }
}
