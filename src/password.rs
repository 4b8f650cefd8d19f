//! Where a password is (of a database's user, of a mail account) or another shared secret, and reading it.
//!
//! It is read at each connection anew and held no longer than that. Nothing here prints it.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::escape;
use crate::yaml::{Fields, Problems, resolve};

/// Where the password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// There is none: the server knows us by our certificate or by our user.
    Nothing,
    /// A credential that systemd hands to the service.
    Credential(String),
    /// A file that only we can read.
    File(PathBuf),
}

/// A password, which does not show itself.
pub(crate) struct Password(pub(crate) String);

/// Longest password that is read, in bytes: tokens of clouds have some thousand.
pub(crate) const LONGEST: u64 = 16 << 10;

/// Where the password is; `None` when what is written there cannot be meant.
pub(crate) fn source(fields: &mut Fields<'_>, base: &Path, problems: &mut Problems) -> Option<Source> {
    let (credential, file) = (fields.take("credential"), fields.take("password-file"));
    match (credential, file) {
        (None, None) => Some(Source::Nothing),
        (Some(_), Some(node)) => {
            problems.add(node.mark, "`credential` and `password-file` stand together, and there is one password; keep one");
            None
        }
        (Some(node), None) => {
            let name = node.text("the name of a credential of the systemd service", problems)?;
            // The name becomes the name of a file, and must not lead out of the folder.
            let fine = name.len() <= 255 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
            if !fine || name.starts_with('.') {
                // Somebody may have written the password itself.
                let expected = "expected the name of a credential, in letters, digits, `.`, `_` and `-`, found something else";
                problems.add(node.mark, format!("{expected}; write the NAME of `LoadCredential=NAME:…` in the service's unit"));
                return None;
            }
            Some(Source::Credential(name.to_owned()))
        }
        (None, Some(node)) => {
            let written = node.text("the path of a file that holds the password", problems)?;
            Some(Source::File(resolve(base, written)))
        }
    }
}

impl Source {
    /// The password as it is now.
    pub(crate) fn password(&self) -> Result<Option<Password>, String> {
        self.password_from(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref())
    }

    pub(crate) fn password_from(&self, credentials: Option<&Path>) -> Result<Option<Password>, String> {
        match self {
            Self::Nothing => Ok(None),
            Self::File(path) => {
                private(path, "password")?;
                password_in(path).map(Some)
            }
            Self::Credential(name) => {
                let Some(folder) = credentials.filter(|folder| folder.is_absolute()) else {
                    return Err(format!(
                        "the credential \"{name}\" is handed over by systemd only, and CREDENTIALS_DIRECTORY is not set; start the service \
                         with `LoadCredential={name}:PATH` in its unit, or write `password-file:`"
                    ));
                };
                let path = folder.join(name);
                if !path.exists() {
                    return Err(format!("the service has no credential \"{name}\"; write `LoadCredential={name}:PATH` in its unit"));
                }
                // Its permissions are systemd's: an access list makes it look readable for a group.
                password_in(&path).map(Some)
            }
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(not shown)")
    }
}

fn shown_path(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

/// Whether a file is there and only its owner can use it.
pub(crate) fn private(path: &Path, what: &str) -> Result<(), String> {
    let shown = shown_path(path);
    let found = std::fs::metadata(path).map_err(|error| format!("{shown}: expected a file with the {what}: {error}"))?;
    if !found.is_file() {
        return Err(format!("{shown}: expected a file with the {what}, found something else"));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "{shown}: expected a {what} that only its owner can read, found mode {mode:04o}; run `chmod 600` on it and consider \
             who has read it"
        ));
    }
    Ok(())
}

/// The password that a file holds, without the line end that editors put behind it.
fn password_in(path: &Path) -> Result<Password, String> {
    let shown = shown_path(path);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{shown}: the password cannot be read: {error}"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("{shown}: expected a password of at most {LONGEST} bytes, found more"));
    }
    // The error of the conversion would hold the bytes.
    let Ok(mut text) = String::from_utf8(bytes) else {
        return Err(format!("{shown}: expected a password in UTF-8, found bytes that are not"));
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(format!("{shown}: expected a password, found nothing"));
    }
    if text.contains('\0') {
        return Err(format!("{shown}: expected a password, found a byte 0 in it, where the server would end it"));
    }
    Ok(Password(text))
}
