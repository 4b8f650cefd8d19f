//! A Debian system that boots: made once by debootstrap, kept below `target`, and started by systemd-nspawn over a layer in memory, so that every
//! run of the tests finds it as it was made. It has no network.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// Where the tree is kept, and whatever else of a run is of use to people afterwards.
pub fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("booted")
}

/// Why this machine cannot boot a container; None where it can.
pub fn hindrance() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("systemd-nspawn needs root".to_owned());
    }
    ["systemd-nspawn", "debootstrap", "nsenter"].iter().find_map(|program| {
        let found = Command::new(program).arg("--version").output();
        found.err().map(|error| format!("{program} cannot be run: {error}"))
    })
}

/// The tree, made if it is not there yet.
pub fn tree() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/booted/tree");
    let made = Command::new(script).arg(place()).stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "tests/booted/tree: {}{}", text(&made.stdout), text(&made.stderr));
    PathBuf::from(text(&made.stdout).trim())
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The running container; it is powered off when it is dropped.
pub struct Container {
    nspawn: Child,
    leader: String,
    console: PathBuf,
    begun: Instant,
}

/// What a command in the container printed, and how it ended.
pub struct Said {
    pub code: i32,
    pub text: String,
}

fn nspawn(tree: &Path) -> Command {
    let mut command = Command::new("systemd-nspawn");
    command.arg("-D").arg(tree).args([
        "--volatile=overlay",
        "--register=no",
        "--keep-unit",
        "--private-network",
        "--link-journal=no",
        "--quiet",
    ]);
    command.stdin(Stdio::null());
    command
}

impl Container {
    /// Boots; or says why systemd-nspawn cannot run here at all.
    pub fn boot(tree: &Path, binds: &[(&Path, &str)], small: &[&str]) -> Result<Self, String> {
        let tried = nspawn(tree).arg("/bin/true").output().map_err(|error| error.to_string())?;
        if !tried.status.success() {
            return Err(format!("systemd-nspawn cannot run: {}", text(&tried.stderr)));
        }
        let console = place().join("console.log");
        let file = File::create(&console).unwrap();
        let mut command = nspawn(tree);
        for (there, here) in binds {
            command.arg(format!("--bind={}:{here}", there.display()));
        }
        for mount in small {
            command.arg(format!("--tmpfs={mount}"));
        }
        // A group of its own, so that a signal to the tests leaves it to the drop below.
        command.args(["--console=pipe", "--boot"]).process_group(0).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        let mut container = Self { leader: String::new(), nspawn: child, console, begun: Instant::now() };
        let children = format!("/proc/{0}/task/{0}/children", container.nspawn.id());
        container.leader = container.soon("the leader of the container", || {
            // nspawn has a helper for a moment; the leader is the one that became systemd.
            let children = fs::read_to_string(&children).ok()?;
            let is_systemd = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "systemd\n");
            children.split_whitespace().find(is_systemd).map(str::to_owned)
        });
        container.soon("the system to be up", || {
            let said = container.run("systemctl is-system-running");
            (said.text.trim() == "running").then_some(())
        });
        Ok(container)
    }

    /// A command line, run by a shell in the container as root.
    pub fn run(&self, line: &str) -> Said {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader, "--all", "--", "/usr/bin/env", "-i"]);
        command.args([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LANG=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        let output: Output = command.args(["/bin/sh", "-c", line]).stdin(Stdio::null()).output().unwrap();
        Said { code: output.status.code().unwrap_or(-1), text: text(&output.stdout) + &text(&output.stderr) }
    }

    /// The same, which must end well; answers what it printed.
    pub fn done(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, 0, "{line}: {}{}", said.text, self.evidence());
        said.text
    }

    /// What a program in the container answers to a line on its socket.
    pub fn ask(&self, socket: &str, line: &str) -> String {
        let mut stream = UnixStream::connect(format!("/proc/{}/root{socket}", self.leader)).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// One property of a unit.
    pub fn unit(&self, unit: &str, property: &str) -> String {
        self.done(&format!("systemctl show --value -p {property} {unit}")).trim().to_owned()
    }

    pub fn journal(&self) -> String {
        self.run("journalctl --no-pager -o short-monotonic -u 'retentiond*'").text
    }

    /// Waits for what must come.
    pub fn soon<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "waited for {what}{}", self.evidence());
            thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn step(&self, name: &str) {
        println!("{:6.1} s  {name}", self.begun.elapsed().as_secs_f64());
    }

    /// What people want to see when a step failed.
    pub fn evidence(&self) -> String {
        if self.leader.is_empty() {
            return format!("\n{}", fs::read_to_string(&self.console).unwrap_or_default());
        }
        let status = self.run("systemctl status --no-pager --full retentiond 2>&1; retentiond status").text;
        format!("\n--- status\n{status}\n--- journal\n{}", self.journal())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // SIGRTMIN+4 asks systemd to power off; whatever does not heed it is killed with its namespace.
        if !self.leader.is_empty() {
            drop(Command::new("kill").args(["-s", "RTMIN+4", &self.leader]).output());
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(15) {
                if matches!(self.nspawn.try_wait(), Ok(Some(_))) {
                    return;
                }
                thread::sleep(Duration::from_millis(100));
            }
            drop(Command::new("kill").args(["-s", "KILL", &self.leader]).output());
        }
        drop(self.nspawn.kill());
        drop(self.nspawn.wait());
    }
}
