//! What the service costs while it has nothing to do.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::house::{CONFIG, House, NEVER};

fn number_after(text: &str, word: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("no {word} in {text}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How often its threads were woken.
fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path().join("status"));
    tasks.map(|status| number_after(&fs::read_to_string(status).unwrap_or_default(), "voluntary_ctxt_switches:")).sum()
}

pub fn a_service_with_a_hundred_datasets_sleeps() {
    let house = House::new(NEVER);
    let mut config = CONFIG.replace("SCAN", NEVER);
    for store in 0..10 {
        config.push_str(&format!("  more-{store}:\n    files: more-{store}\n    datasets:\n"));
        for dataset in 0..10 {
            config.push_str(&format!("      d{dataset}: {{ class: short, path: \"d{dataset}/*\", events: {{ made: modified }} }}\n"));
        }
        fs::create_dir(house.path(&format!("more-{store}"))).unwrap();
    }
    house.write("retentiond.yaml", &config);
    let begun = std::time::Instant::now();
    let service = house.start();
    let ready = begun.elapsed();
    thread::sleep(Duration::from_secs(2));
    let before = wakeups(service.child.id());
    thread::sleep(Duration::from_mins(1));
    let woken = wakeups(service.child.id()) - before;
    let status = fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let resident = number_after(&status, "VmRSS:");
    println!("ready after {ready:?}; {resident} KiB resident; woken {woken} times in a minute");
    assert!(woken <= 6, "woken {woken} times in a minute");
    // The program as tests build it is larger than the one that is shipped.
    assert!(resident <= 40 * 1024, "{resident} KiB resident");
    assert_eq!(service.stop().0, Some(0));
}
