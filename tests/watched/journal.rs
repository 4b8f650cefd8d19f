//! The journal, and JSON elsewhere: structured, with priorities, and without a record's key above debug level.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::house::{House, NEVER, PROGRAM, SCHEDULE, Service, await_that, copy_of, has, none_exists};

/// Binds the socket of the journal, starts the service as systemd does, orders what the arguments say, and prints each message as JSON.
const JOURNAL: &str = r#"
import json, os, shutil, socket, struct, subprocess, sys, threading, time
os.makedirs("/run/systemd/journal")
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/run/systemd/journal/socket")
found = []
def listen():
    while True:
        message, fields = s.recv(1 << 20), {}
        while message:
            name, _, message = message.partition(b"\n")
            if b"=" in name:
                name, value = name.split(b"=", 1)
            else:
                size, = struct.unpack("<Q", message[:8])
                value, message = message[8:8 + size], message[9 + size:]
            fields[name.decode()] = value.decode()
        found.append(fields)
threading.Thread(target=listen, daemon=True).start()
out = open(sys.argv[1], "wb")
stat = os.fstat(out.fileno())
os.environ["JOURNAL_STREAM"] = f"{stat.st_dev}:{stat.st_ino}"
house = os.path.dirname(sys.argv[3].replace("--config=", ""))
program = shutil.copy(sys.argv[2], os.path.join(house, "program"))
os.chmod("/run/systemd/journal/socket", 0o666)
for folder, folders, files in os.walk(house):
    for path in [folder] + [os.path.join(folder, name) for name in files]: os.chown(path, 65534, 65534)
# Another user than root cannot look into this one.
os.mkdir(os.path.join(house, "two/films/2019-05-05"), 0o700)
as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program]
service = subprocess.Popen(as_nobody + sys.argv[3:] + ["daemon"], stdout=out, stderr=out)
def wait_for(word):
    end = time.monotonic() + 60
    while not any(word in fields.get("MESSAGE", "") for fields in list(found)):
        assert service.poll() is None and time.monotonic() < end, (word, found)
        time.sleep(0.02)
try:
    wait_for("ready")
    subprocess.call(sys.argv[2:] + ["run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(house, "schedule.yaml"), "w") as file: file.write("nonsense")
    service.send_signal(10)
    wait_for("could not be run:")
    service.send_signal(1)
    wait_for("stays in force")
    service.terminate()
    code = service.wait(60)
finally:
    service.kill()
time.sleep(0.2)
print(json.dumps(found))
sys.exit(code)
"#;

/// A house in which records go, stay because they cannot be told, and fail to go.
fn house() -> House {
    let mut house = House::new(NEVER);
    let config = copy_of(&house.path("retentiond.yaml")).replace(", keys: plain", "");
    house.write("retentiond.yaml", &config);
    house.write("schedule.yaml", &SCHEDULE.replace("then: destroy", "then: destroy, no-longer-than: 40 days"));
    house.add("one/films", 24, 3);
    let day = house.path("two/films/2020-01-01");
    std::fs::create_dir_all(&day).unwrap();
    std::fs::write(day.join("jane-doe.mp4"), "x").unwrap();
    house
}

#[test]
fn the_journal_gets_fields_and_priorities_and_no_key() {
    let house = house();
    let mount = "mount -t tmpfs none /run && exec \"$@\"";
    if !has("unshare", &["--mount", "sh", "-c", mount, "sh", "true"]) || !has("python3", &["--version"]) || !has("setpriv", &["--version"])
    {
        return;
    }
    house.write("journal.py", JOURNAL);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount, "sh", "python3"]).arg(house.path("journal.py")).arg(house.path("stderr")).arg(PROGRAM);
    let output = command.arg(format!("--config={}", house.path("retentiond.yaml").display())).stderr(Stdio::inherit()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", crate::house::text(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = found.as_array().unwrap();
    let own: Vec<&Value> =
        found.iter().filter(|fields| fields["RETENTIOND_CHECKPOINT"].is_null() && fields.get("MESSAGE").is_some()).collect();
    let with = |word: &str| {
        own.iter().find(|fields| fields["MESSAGE"].as_str().unwrap().contains(word)).unwrap_or_else(|| panic!("no {word}: {own:?}"))
    };
    assert!(own.iter().all(|fields| fields["SYSLOG_IDENTIFIER"] == "retentiond" && fields["TARGET"].is_string()), "{own:?}");
    assert_eq!((&with("ready")["PRIORITY"], &with("ready")["RETENTIOND_DATASETS"]), (&"6".into(), &"3".into()));
    let ran = own.iter().find(|fields| fields["MESSAGE"] == "ran" && fields["RETENTIOND_DATASET"] == "one/films").unwrap();
    assert_eq!((&ran["RETENTIOND_STORE"], &ran["RETENTIOND_END"]), (&"one".into(), &"done".into()));
    assert!(ran["RETENTIOND_RUN"].as_str().unwrap().starts_with("20"), "{ran}");
    assert_eq!(with("stays in force")["PRIORITY"], "3");
    // The scan of the other store could not look into a folder, and the status that was logged says that there is a reason, not which.
    assert_eq!(with("could not be run, and is tried again")["RETENTIOND_DATASET"], "two/films");
    assert_eq!(copy_of(&house.path("stderr")), "", "nothing goes to standard error as well");
    let all = Value::from(found.clone()).to_string();
    assert!(!all.contains("jane-doe") && !all.contains(".mp4") && !all.contains("2019-05-05"), "{all}");
}

#[test]
fn elsewhere_messages_are_json_on_request() {
    let mut house = House::new("* * * * *");
    let config = copy_of(&house.path("retentiond.yaml")).replacen("  two:\n    files: two", "  two:\n    files: nowhere", 1);
    house.write("retentiond.yaml", &config);
    let due = house.add("one/films", 24, 2);
    let mut command = house.command(&["daemon"]);
    command.env("RETENTIOND_LOG_FORMAT", "json");
    let service = Service::spawn(command);
    house.await_ready(&service);
    await_that("a run failed by the timetable", || service.said().contains("could not be run"));
    await_that("one run did its work", || none_exists(&due) && service.said().contains("\"end\":\"done\""));
    let said = service.said();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let line = |word: &str| lines.iter().find(|line| line["message"].as_str().unwrap().contains(word)).unwrap();
    let failed = line("could not be run");
    assert_eq!((&failed["level"], &failed["dataset"], &failed["store"]), (&"WARN".into(), &"two/films".into(), &"two".into()));
    assert!(line("ran")["run"].is_string() && line("ran")["timestamp"].is_string(), "{said}");
    assert!(!said.contains(".mp4"), "{said}");
    assert_eq!(service.stop().0, Some(0));
}
