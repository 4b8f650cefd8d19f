//! A command as an anchor: it gets the checkpoint on standard input and says with its exit code whether it took it.
//!
//! The command is run without a shell, once for each checkpoint, and must end within half a minute. Its standard error is the program's own. It is
//! not told where credentials lie.

use std::io::Write as _;
use std::process::{self, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Note, Place};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether it has ended.
const STEP: Duration = Duration::from_millis(10);

pub(super) struct Command {
    words: Vec<String>,
    patience: Duration,
}

impl Command {
    pub(super) fn new(words: &[String]) -> Self {
        Self { words: words.to_vec(), patience: PATIENCE }
    }
}

impl Place for Command {
    fn put(&mut self, note: &Note) -> Result<(), String> {
        let Some((program, arguments)) = self.words.split_first() else { return Err("expected a command, found none".to_owned()) };
        let child = process::Command::new(program)
            .args(arguments)
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut child = child.map_err(|e| format!("cannot be started: {e}"))?;
        if let Some(mut input) = child.stdin.take() {
            // A pipe takes far more than a checkpoint at once. A command that does not read says what it means by its exit code.
            let _ = input.write_all(note.text.as_bytes());
        }
        let end = Instant::now() + self.patience;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("did not take the checkpoint of {} entries: {status}", note.size)),
                Ok(None) if Instant::now() < end => thread::sleep(STEP),
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!(
                        "was ended after {} seconds with the checkpoint of {} entries",
                        self.patience.as_secs(),
                        note.size
                    ));
                }
                Err(e) => return Err(format!("cannot be waited for: {e}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(words: &[&str]) -> Result<(), String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let mut command = Command { words, patience: Duration::from_secs(1) };
        command.put(&Note { size: 7, text: "retentiond/hq-1\n7\n".into() })
    }

    #[test]
    fn a_command_gets_the_checkpoint_and_says_whether_it_took_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("got");
        put(&["tee", file.to_str().unwrap()]).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "retentiond/hq-1\n7\n");
        put(&["true"]).unwrap();
        assert_eq!(put(&["false"]).unwrap_err(), "did not take the checkpoint of 7 entries: exit status: 1");
        assert!(put(&["/nowhere/command"]).unwrap_err().starts_with("cannot be started: No such file"));
        let start = Instant::now();
        assert_eq!(put(&["sleep", "60"]).unwrap_err(), "was ended after 1 seconds with the checkpoint of 7 entries");
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
