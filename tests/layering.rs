//! Who may import whom. Read from the `use` lines and paths of the source, so that the structure in the design stays the structure of the code.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// (path relative to src, code without comments and without the unit tests at its end)
fn code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap().to_owned();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (path.strip_prefix(&root).unwrap().display().to_string(), lines.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(read).filter(|(name, _)| !name.ends_with("tests.rs") && !name.contains("/tests/")).collect()
}

fn in_room(name: &str, room: &str) -> bool {
    name == format!("{room}.rs") || name.starts_with(&format!("{room}/"))
}

/// Files in one of `rooms` that mention one of `words`.
fn offenders(rooms: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in code() {
        if rooms.iter().any(|room| in_room(&name, room)) {
            found.extend(words.iter().filter(|word| text.contains(**word)).map(|word| format!("{name} mentions {word}")));
        }
    }
    found
}

#[test]
fn schedule_judge_and_plan_never_see_a_clock_a_store_tokio_or_sqlx() {
    let words =
        ["crate::clock", "crate::store", "crate::register", "tokio", "sqlx", "Timestamp::now", "SystemTime", "Instant::now", "async fn"];
    assert_eq!(offenders(&["schedule", "judge", "plan"], &words), Vec::<String>::new());
}

#[test]
fn a_store_knows_no_policy() {
    let words = [
        "crate::audit",
        "crate::plan",
        "crate::config",
        "crate::assess",
        "crate::register",
        "crate::session",
        "Disposition",
        "Period::",
        "crate::cli",
        "crate::hold",
    ];
    assert_eq!(offenders(&["store"], &words), Vec::<String>::new());
}

#[test]
fn the_audit_log_stands_alone() {
    let rooms = [
        "schedule", "store", "config", "judge", "plan", "record", "register", "session", "dispose", "scan", "assess", "report", "cli",
        "clock", "hold", "replay",
    ];
    let words: Vec<String> = rooms.iter().map(|room| format!("crate::{room}")).collect();
    assert_eq!(offenders(&["audit"], &words.iter().map(String::as_str).collect::<Vec<_>>()), Vec::<String>::new());
}

#[test]
fn replay_knows_the_log_and_the_schedule_and_neither_store_nor_configuration() {
    let words = ["crate::store", "crate::config", "crate::register", "crate::session", "crate::dispose", "crate::clock", "tokio", "sqlx"];
    assert_eq!(offenders(&["replay"], &words), Vec::<String>::new());
}

#[test]
fn only_the_one_door_removes() {
    let calls = |text: &str| text.contains("store.remove(") || text.contains(".remove(permit") || text.contains(".remove(&permit");
    let found: Vec<String> =
        code().into_iter().filter(|(name, text)| calls(text) && !in_room(name, "store")).map(|(name, _)| name).collect();
    assert_eq!(found, ["dispose/mod.rs"]);
    let makers: Vec<String> =
        code().into_iter().filter(|(_, text)| text.contains("Permit::new(") || text.contains("Permit {")).map(|(name, _)| name).collect();
    assert_eq!(makers, ["dispose/mod.rs"], "only the door makes permits");
}

#[test]
fn only_the_clock_reads_the_clock() {
    let words = ["Timestamp::now(", "SystemTime::now(", "Zoned::now("];
    let found: Vec<String> = code()
        .into_iter()
        // The log writes down when an entry was made; it may not import the rest.
        .filter(|(name, text)| words.iter().any(|word| text.contains(word)) && name != "clock.rs" && !in_room(name, "audit"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn nothing_imports_the_command_line() {
    let found: Vec<String> =
        code().into_iter().filter(|(name, text)| text.contains("crate::cli") && !in_room(name, "cli")).map(|(name, _)| name).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn only_the_command_line_knows_the_service() {
    let rooms = |name: &str| in_room(name, "cli") || in_room(name, "daemon");
    let found: Vec<String> =
        code().into_iter().filter(|(name, text)| text.contains("crate::daemon") && !rooms(name)).map(|(name, _)| name).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn each_external_crate_has_its_home() {
    let homes: [(&str, &[&str]); 26] = [
        ("tracing_journald", &["logging"]),
        ("tracing_subscriber", &["logging"]),
        ("prometheus_client", &["metrics"]),
        ("lettre", &["notify"]),
        ("httparse", &["daemon"]),
        ("sqlx", &["store/sql", "register"]),
        ("rustix", &["store/files", "store/sql", "audit", "clock", "control", "daemon", "logging", "spool"]),
        ("uzers", &["control"]),
        ("sd_notify", &["daemon"]),
        ("signal_hook", &["daemon", "dispose"]),
        ("fiemap", &["store/files", "store/sql"]),
        ("futures_core", &["store/sql"]),
        ("procfs", &["store/files"]),
        ("globset", &["store/files"]),
        ("regex", &["store/files", "store/sql"]),
        ("ed25519_dalek", &["audit"]),
        ("ureq", &["audit/anchor", "notify"]),
        ("rustls", &["audit/anchor", "notify"]),
        ("rustls_native_certs", &["audit/anchor", "notify"]),
        ("hmac", &["audit", "notify"]),
        ("cron", &["schedule"]),
        ("chrono", &["schedule"]),
        ("serde_yaml", &["yaml"]),
        ("saphyr_parser", &["yaml"]),
        ("csv", &["hold", "store/attested"]),
        ("indicatif", &["cli"]),
    ];
    let mut found = Vec::new();
    for (name, text) in code() {
        for (external, rooms) in homes {
            let used = text.lines().any(|line| line.contains(&format!("{external}::")) && !line.contains(&format!("_{external}::")));
            if used && !rooms.iter().any(|room| in_room(&name, room)) {
                found.push(format!("{name} uses {external}"));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_file_is_longer_than_a_person_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let long: Vec<String> = files
        .iter()
        .map(|path| (path, std::fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > 800)
        .map(|(path, lines)| format!("{}: {lines} lines", path.strip_prefix(&root).unwrap().display()))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}
