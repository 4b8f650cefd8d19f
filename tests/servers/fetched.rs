//! A server that Debian has only in its unstable release: fetched once, into the build's own folder.
//!
//! **Never**: anything installed into the machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The folder of MySQL, made if it is not there yet; why there is none otherwise.
pub fn mysql() -> Result<PathBuf, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER.get_or_init(fetch).clone()
}

fn fetch() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    // Cargo's folder has one for the profile, in which tests stand in `deps`.
    let target = own.ancestors().nth(3).ok_or_else(|| format!("{}: is in no folder that cargo builds into", own.display()))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/mysql");
    let made = Command::new(script).arg(target.join("tmp/mysql")).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let said = text(&made.stderr);
    if made.status.success() {
        Ok(text(&made.stdout).into())
    } else {
        Err(said.lines().last().unwrap_or("tests/servers/mysql: it says nothing").to_owned())
    }
}
