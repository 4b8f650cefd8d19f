//! The units for systemd: that systemd finds no fault in them, and how exposed each service is, by systemd's own count.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn systemd() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// The units, the commented examples among them; in a folder of their own, under the names that they are installed by, with a program to start.
fn installed() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in std::fs::read_dir(systemd()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_file() {
            let text = std::fs::read_to_string(&path).unwrap().replace("/usr/bin/retentiond", "/bin/true");
            let name = name.trim_end_matches(".example").replace("@.", "@retentiond.service.");
            let unit = folder.path().join(name);
            std::fs::write(&unit, text).unwrap();
            units.push(unit);
        }
    }
    for drop_in in std::fs::read_dir(systemd().join("retentiond.service.d")).unwrap() {
        let path = drop_in.unwrap().path();
        // Whatever is offered in a comment must be right as well.
        let text: String = std::fs::read_to_string(&path).unwrap().lines().map(uncommented).collect();
        for unit in ["retentiond.service.d", "retentiond-verify.service.d"] {
            std::fs::create_dir_all(folder.path().join(unit)).unwrap();
            std::fs::write(folder.path().join(unit).join(path.file_stem().unwrap()), &text).unwrap();
        }
    }
    assert!(units.len() >= 4, "{units:?}");
    (folder, units)
}

fn uncommented(line: &str) -> String {
    let setting = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()) && rest.contains('='));
    format!("{}\n", setting.unwrap_or(line))
}

/// What `systemd-analyze` says; None where it cannot be asked.
fn analyze(arguments: &[&str], units: &[&Path]) -> Option<Output> {
    let asked = Command::new("systemd-analyze").args(arguments).args(units).output();
    match asked {
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("nrecognized option") => Some(output),
        Ok(output) => {
            println!("skipped: this systemd-analyze cannot do it: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            println!("skipped: systemd-analyze is not here: {error}");
            None
        }
    }
}

#[test]
fn the_services_are_hardly_exposed() {
    for name in ["retentiond.service", "retentiond-verify.service"] {
        // In tenths: 1.5 at most.
        let Some(output) = analyze(&["security", "--offline=yes", "--threshold=15", "--no-pager"], &[&systemd().join(name)]) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(&format!("Overall exposure level for {name}")), "{said}");
    }
}

#[test]
fn systemd_finds_no_fault_in_the_units_and_their_examples() {
    let (_folder, units) = installed();
    let units: Vec<&Path> = units.iter().map(PathBuf::as_path).collect();
    let Some(output) = analyze(&["verify", "--man=no", "--recursive-errors=no"], &units) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("retentiond")).collect();
    assert!(ours.is_empty() && (output.status.success() || !said.contains("retentiond")), "{said}");
}

#[test]
fn a_fault_in_a_unit_would_be_found() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("retentiond-faulty.service");
    std::fs::write(&unit, "[Service]\nType=oneshot\nExecStart=/bin/true\nProtectSytem=strict\n").unwrap();
    let Some(output) = analyze(&["verify", "--man=no", "--recursive-errors=no"], &[&unit]) else { return };
    assert!(String::from_utf8_lossy(&output.stderr).contains("ProtectSytem"), "{output:?}");
}
