//! Where a service is to be found: the two places that a verb must know to talk to it, read without the rest of the configuration.
//!
//! A configuration or a schedule that does not load is exactly when people ask for the status or want a pause, and the running service does not
//! need those files to answer. So nothing is checked here but these two keys; a verb that would act itself loads everything first.

use std::path::{Path, PathBuf};

use super::service::DEFAULT_CONTROL;
use super::{DEFAULT_FILE, DEFAULT_STATE, path_of};
use crate::error::{Result, escape};
use crate::yaml::{Document, Problems};

/// The state folder and the control socket of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The state folder, by which the service is recognised.
    pub state: PathBuf,
    /// The control socket.
    pub control: PathBuf,
}

impl Whereabouts {
    /// Reads the two keys. Of a file that is no YAML at all they cannot be told; for the file that a service reads when none is named they are then
    /// taken to be the usual ones.
    pub fn read(path: &Path) -> Result<Self> {
        let document = match Document::read(path, &escape(path.as_os_str().as_encoded_bytes())) {
            Ok(document) => document,
            Err(_) if path == Path::new(DEFAULT_FILE) => {
                return Ok(Self { state: PathBuf::from(DEFAULT_STATE), control: PathBuf::from(DEFAULT_CONTROL) });
            }
            Err(error) => return Err(error),
        };
        let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Whatever else is wrong with the file is told by whoever loads it.
        let mut ignored = Problems::new(&document.name);
        let Some(mut fields) = document.root.fields("a configuration", &mut ignored) else {
            ignored.into_result()?;
            return Ok(Self { state: base.join(DEFAULT_STATE), control: PathBuf::from(DEFAULT_CONTROL) });
        };
        let (state, _) = path_of(&mut fields, "state", base, DEFAULT_STATE, &mut ignored);
        let (control, _) = path_of(&mut fields, "control", base, DEFAULT_CONTROL, &mut ignored);
        Ok(Self { state, control })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_whatever_else_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("retentiond.yaml");
        std::fs::write(&file, "node: a b\nstate: there\nnonsense: 1\nstores: []\n").unwrap();
        let found = Whereabouts::read(&file).unwrap();
        assert_eq!(found, Whereabouts { state: folder.path().join("there"), control: PathBuf::from(DEFAULT_CONTROL) });
        std::fs::write(&file, "control: here.sock\n").unwrap();
        let found = Whereabouts::read(&file).unwrap();
        assert_eq!(found, Whereabouts { state: PathBuf::from(DEFAULT_STATE), control: folder.path().join("here.sock") });
        std::fs::write(&file, "control: [\n").unwrap();
        assert!(Whereabouts::read(&file).is_err(), "a file that was named, and of which nothing can be told, is no reason to guess");
    }
}
