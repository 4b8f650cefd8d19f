//! Secret files: made once, whole or not at all, and readable by their owner only.
//!
//! A key that exists half, or that others can read, is worse than none, so a key file is written and synced under another name first and then
//! linked to its own, which fails if that name exists already. A crash leaves either no key or the whole key, and at worst a file whose name
//! ends in `.new`, which the next attempt replaces. The bytes of a secret are written over in one place only, [`destroy`], before its name goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::{self, Error, Result};

/// Writes a new file with permissions `mode`, durably; an existing file of that name is an error and stays as it is.
pub(super) fn create(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be created", shown(path)), e);
    let staged = path.with_added_extension("new");
    match fs::remove_file(&staged) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged).map_err(fail)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(fail)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let folder = File::open(folder).map_err(fail)?;
    fs::hard_link(&staged, path).map_err(fail)?;
    fs::remove_file(&staged).map_err(fail)?;
    folder.sync_all().map_err(fail)
}

/// Writes a file that may exist, durably: whole or not at all. Only for what is no secret, as the bytes of the old file stay where they were.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be written", shown(path)), e);
    let staged = path.with_added_extension("new");
    let folder = File::open(path.parent().unwrap_or_else(|| Path::new("."))).map_err(fail)?;
    match fs::remove_file(&staged) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged).map_err(fail)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(fail)?;
    fs::rename(&staged, path).and_then(|()| folder.sync_all()).map_err(fail)
}

/// Writes over a secret file in place and removes it, durably; a file that is not there is fine.
///
/// What the file system or the disk keeps of the old bytes elsewhere (journals, snapshots, blocks set aside) is beyond this.
pub(super) fn destroy(path: &Path) -> Result<()> {
    let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be destroyed", shown(path)), e);
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fail(e)),
    };
    let folder = File::open(path.parent().unwrap_or_else(|| Path::new("."))).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    // A second name of the file means that a key in use is meant to stay under it.
    if meta.nlink() == 1 {
        let zeros = vec![0; usize::try_from(meta.len()).unwrap_or(0)];
        (&file).write_all(&zeros).and_then(|()| file.sync_all()).map_err(fail)?;
    }
    fs::remove_file(path).and_then(|()| folder.sync_all()).map_err(fail)
}

/// Makes a folder and its missing parents, for the owner only, and syncs the folder above it.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be created", shown(path)), e);
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
    let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(above).and_then(|folder| folder.sync_all()).map_err(fail)
}

/// Reads a secret file; `None` if there is none. Refused with [`error::Kind::Refused`] if anybody but its owner may read or change it.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be read", shown(path)), e);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let mode = file.metadata().map_err(fail)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let message = format!(
            "{}: expected a key that only its owner can read, found mode {mode:04o}; run `chmod 600` on it and consider who has read it",
            shown(path)
        );
        return Err(Error::new(error::Kind::Refused, message));
    }
    let mut content = Vec::new();
    io::Read::read_to_end(&mut file, &mut content).map_err(fail)?;
    Ok(Some(content))
}

/// Reads a secret that the system handed to the service; `None` if there is none. Who may read it is the system's business.
pub(super) fn read_credential(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::with_source(error::Kind::Io, format!("{}: cannot be read", shown(path)), e)),
    }
}

/// A path for a message.
pub(super) fn shown(path: &Path) -> String {
    error::escape(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_written_once_and_never_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        fs::write(dir.path().join("a.key.new"), "left by a crash").unwrap();
        create(&path, b"first", 0o600).unwrap();
        assert!(create(&path, b"second", 0o600).is_err());
        assert_eq!(read(&path).unwrap().unwrap(), b"first");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_is_destroyed_in_place_unless_another_name_still_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a.key"), dir.path().join("b.key"));
        destroy(&path).unwrap();
        create(&path, b"secret", 0o600).unwrap();
        fs::hard_link(&path, &other).unwrap();
        destroy(&path).unwrap();
        assert_eq!((path.exists(), fs::read(&other).unwrap()), (false, b"secret".to_vec()));
        // Another handle sees what is left in the file itself.
        let open = File::open(&other).unwrap();
        destroy(&other).unwrap();
        assert_eq!(io::read_to_string(open).unwrap(), "\0".repeat(6));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        create(&path, b"secret", 0o600).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err();
            assert_eq!(error.kind(), error::Kind::Refused);
            assert!(error.to_string().contains(&format!("found mode {mode:04o}; run `chmod 600`")), "{error}");
        }
        assert!(read(&dir.path().join("none.key")).unwrap().is_none());
    }
}
