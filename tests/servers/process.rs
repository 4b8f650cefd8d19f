//! Processes and folders of servers: who runs them, how they die, who clears up.
//!
//! A server must not outlive the process of the test, however that ends, and a static is never dropped. So two things hold, each without the
//! other: the kernel kills the server together with the thread that started it ([`spawn`]), and a small shell waits for the end of this
//! process and then removes what is left ([`Caretaker`]).
//!
//! **Never**: a signal to a process that was found by its name.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// How the folder of a server begins; the id of the process that it belongs to follows.
const PREFIX: &str = "retentiond-servers-";

/// Long enough for a machine that is busy with something else.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until it holds. Whether it did.
pub fn until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if begun.elapsed() > patience {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Looks for a program, also where ordinary users do not look: there servers stand.
pub fn find(program: &str, first: Option<PathBuf>) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
    let folders = first.into_iter().chain(path.split(':').map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Who runs a server.
#[derive(Clone, Copy)]
pub struct User {
    ids: (u32, u32),
    /// Another one than who runs the tests.
    other: bool,
}

impl User {
    /// Servers refuse to run as root. Then it is the first of these users that there is; otherwise whoever runs the tests.
    pub fn of_server(names: &[&str]) -> Result<Self, String> {
        let own = std::fs::metadata("/proc/self").map_err(|error| format!("/proc: {error}"))?;
        if own.uid() != 0 {
            return Ok(Self { ids: (own.uid(), own.gid()), other: false });
        }
        let users = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
        let ids = |name: &&str| {
            let mut fields = users.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(*name))?.skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let ids = names.iter().find_map(ids).ok_or_else(|| format!("there is no user {}", names.join(" or ")))?;
        Ok(Self { ids, other: true })
    }

    /// A program that this user runs and that dies with the thread that starts it.
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if self.other {
            // In one step with the line above: a change of user takes back what was asked for before.
            command.args(["--reuid", &self.ids.0.to_string(), "--regid", &self.ids.1.to_string(), "--clear-groups"]);
        }
        command.arg("--").arg(program).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    pub fn make_folder(self, path: &Path, mode: u32) -> io::Result<()> {
        std::fs::create_dir(path)?;
        self.give(path, mode)
    }

    pub fn write(self, path: &Path, content: &[u8]) -> io::Result<()> {
        std::fs::write(path, content)?;
        self.give(path, 0o600)
    }

    /// Copies what a folder holds into another one, and gives it to this user.
    pub fn copy(self, from: &Path, to: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                self.make_folder(&to, 0o700)?;
                self.copy(&from, &to)?;
            } else {
                std::fs::copy(&from, &to)?;
                self.give(&to, 0o600)?;
            }
        }
        Ok(())
    }

    /// Whether this user gets at what is in the folder; why not.
    pub fn reaches(self, folder: &Path) -> Result<(), String> {
        let closed = |place: &&Path| self.other && std::fs::metadata(place).is_ok_and(|place| place.permissions().mode() & 0o001 == 0);
        let closed = folder.ancestors().find(closed);
        closed.map_or(Ok(()), |place| Err(format!("{}: user {} may not enter it", place.display(), self.ids.0)))
    }

    fn give(self, path: &Path, mode: u32) -> io::Result<()> {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
        if self.other { std::os::unix::fs::chown(path, Some(self.ids.0), Some(self.ids.1)) } else { Ok(()) }
    }

    /// Lets this user reach the folder. Temp folders are closed to others; what lies outside them stays as it is.
    pub fn let_through(self, folder: &Path) -> io::Result<()> {
        let temp = std::env::temp_dir();
        for place in folder.ancestors().filter(|place| self.other && place.starts_with(&temp) && *place != temp) {
            let mode = std::fs::metadata(place)?.permissions().mode();
            std::fs::set_permissions(place, PermissionsExt::from_mode(mode | 0o011))?;
        }
        Ok(())
    }
}

/// Starts a process that lives as long as this one. The kernel kills it with the *thread* that started it, and a thread of a test ends
/// with the test; so all are started by one thread that never ends.
pub fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static STARTER: OnceLock<Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (starter, orders) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        starter
    });
    let (answer, answered) = channel();
    starter.send((command, answer)).expect("the thread that starts servers never ends");
    answered.recv().expect("the thread that starts servers answers")
}

/// State and parent of a process, as the kernel tells them.
fn status(process: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program comes before and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether it has ended. Where nobody collects orphans, one that ended stays in the list.
pub fn gone(process: u32) -> bool {
    status(process).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

/// The processes that this one has started.
pub fn children(process: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|child| status(*child).is_some_and(|(_, parent)| parent == process)).collect()
}

/// Sends a signal. One that has ended meanwhile needs none.
pub fn signal(name: &str, processes: &[u32]) {
    let processes = processes.iter().map(u32::to_string);
    let _ = Command::new("kill").arg(format!("-{name}")).args(processes).stderr(Stdio::null()).status();
}

/// Kills a server and everything that it started, at one blow: it is halted first, so that it starts nothing while its children are counted,
/// and does not see them die.
pub fn kill_whole(mut server: Child) {
    let process = server.id();
    signal("STOP", &[process]);
    until(PATIENCE, || status(process).is_none_or(|(state, _)| matches!(state, 'T' | 't' | 'Z' | 'X')));
    let rest = children(process);
    let _ = server.kill();
    if !rest.is_empty() {
        signal("KILL", &rest);
    }
    let _ = server.wait();
    until(PATIENCE, || rest.iter().all(|process| gone(*process)));
}

/// A new folder for a server, after those of processes that died without a caretaker are removed.
pub fn folder(user: User) -> io::Result<PathBuf> {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(sweep);
    let folder = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir()?.keep();
    user.give(&folder, 0o755)?;
    Ok(folder)
}

fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        if process.is_some_and(gone) {
            let _ = clearing(&entry.path(), &entry.path().join("data")).stdin(Stdio::null()).status();
        }
    }
}

/// Clears up after a server: when it is dropped, and otherwise when this process ends, even by SIGKILL.
pub struct Caretaker(Child);

/// What is left is the folder, and a piece of shared memory that PostgreSQL only removes when it is stopped. The folder may take some tries, as
/// long as the last processes still write.
const CLEAR: &str = r#"
read -r _
sed -n 7p "$2/postmaster.pid" | { read -r _ id; ipcrm -m "$id"; }
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  rm -rf -- "$1" && exit
  sleep 0.1
done
"#;

fn clearing(folder: &Path, data: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", CLEAR, "sh"]).arg(folder).arg(data).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    // Out of reach of what is typed on the terminal, and of who kills a whole group.
    command.process_group(0);
    command
}

impl Caretaker {
    pub fn of(folder: &Path, data: &Path) -> io::Result<Self> {
        // The pipe that it reads from closes when this process ends.
        clearing(folder, data).stdin(Stdio::piped()).spawn().map(Self)
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
