//! One fault at one call, by `strace`.

use std::fmt;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::estate::{Estate, text};
use crate::site::Scenario;
use crate::trace::{Call, struck};

/// A program that is not done after this long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the program says when what wakes its threads fails, which is no file and cannot fail; after that nothing can be expected of it.
const NO_WAKER: &str = "failed to wake I/O driver";

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The device fails.
    Eio,
    /// The disk is full.
    Enospc,
    /// The program is killed instead.
    Kill,
}

impl Fault {
    pub const ALL: [Self; 3] = [Self::Eio, Self::Enospc, Self::Kill];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eio => "EIO",
            Self::Enospc => "ENOSPC",
            Self::Kill => "SIGKILL",
        })
    }
}

/// A fault at a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Strike {
    pub scenario: Scenario,
    pub fault: Fault,
    /// What the call does, on what kind of file.
    pub kind: String,
    name: String,
    select: Option<String>,
    nth: usize,
}

impl Strike {
    pub fn new(scenario: Scenario, fault: Fault, call: &Call) -> Self {
        Self { scenario, fault, kind: call.kind(), name: call.name.clone(), select: call.select.clone(), nth: call.nth }
    }

    /// Runs the program on everything with this fault in its way, and answers whether the fault struck.
    pub fn strike(&self, estate: &Estate) -> bool {
        let mut options = vec!["-y".to_owned(), "-Y".to_owned(), format!("--trace={}", self.name)];
        if let Some(select) = &self.select {
            options.extend(["-P".to_owned(), select.replace("ROOT", estate.folder.path().to_str().unwrap())]);
        }
        let what = match self.fault {
            Fault::Kill => "signal=KILL".to_owned(),
            // Stops at nothing but the calls that matter; a signal cannot be sent from such a stop.
            error => {
                options.push("--seccomp-bpf".to_owned());
                format!("error={error}")
            }
        };
        options.push(format!("--inject={}:{what}:when={}", self.name, self.nth));
        let said = estate.path("said.out");
        let mut command = estate.command_under_strace(&options, &["run"]);
        let mut child = command.stdout(Stdio::null()).stderr(fs::File::create(&said).unwrap()).spawn().unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().and_then(|()| child.wait()).unwrap();
                let said = fs::read_to_string(&said).unwrap();
                assert!(self.select.is_none() && said.contains(NO_WAKER), "the program hangs\n{said}");
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        };
        let said = fs::read_to_string(&said).unwrap();
        let output = fs::read_to_string(estate.path("strace.out")).unwrap();
        let struck = struck(&output, estate.folder.path()).contains(&self.kind);
        if self.fault == Fault::Kill {
            assert!(status.code().is_none_or(|code| code == 0), "without a fault the run ends well: {status}\n{said}");
            return status.code().is_none() && struck;
        }
        // A call without a path to select it by is one of many on anything.
        if self.select.is_none() && said.contains(NO_WAKER) {
            return false;
        }
        assert!(matches!(status.code(), Some(0..=4)) && !said.contains("panicked"), "{status}\n{said}");
        struck
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.select.as_deref().map_or("", |select| select.trim_start_matches("ROOT/"));
        write!(f, "{}: {} {} {path} #{} ({})", self.scenario, self.fault, self.name, self.nth, self.kind)
    }
}

/// Why `strace` cannot be used here, if so.
pub fn no_strace() -> Option<String> {
    let tried = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "--inject=uname:error=EIO:when=1", "true"]).output();
    match tried {
        Err(error) => Some(format!("strace cannot be started: {error}")),
        Ok(output) if !output.status.success() => Some(format!("strace may not trace here: {}", text(&output).trim())),
        Ok(_) => None,
    }
}
