//! The units for systemd: how exposed the service is, by systemd's own count.

use std::path::Path;
use std::process::Command;

#[test]
fn the_service_is_hardly_exposed() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/retentiond.service");
    // In tenths: 1.5 at most.
    let asked = Command::new("systemd-analyze").args(["security", "--offline=yes", "--threshold=15", "--no-pager"]).arg(unit).output();
    let Ok(output) = asked else { return println!("skipped: systemd-analyze is not here") };
    let said = String::from_utf8_lossy(&output.stdout);
    if said.trim().is_empty() {
        return println!("skipped: this systemd-analyze cannot do it: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Overall exposure level for retentiond.service"), "{said}");
}
