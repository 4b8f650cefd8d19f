//! The disk as the writing half of the log sees it: the few file operations whose failure decides what is durable.
//!
//! The journal and the publisher are generic over [`Disk`]. The program uses [`RealDisk`]; the fault table in the tests uses one that fails
//! each operation in turn, once without effect and once after it took effect, and then opens the log again. Reading does not go through here.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with, syncfs};
use rustix::io::Errno;

/// File operations that make something durable or undo it.
pub(super) trait Disk: Clone + Send + Sync + 'static {
    /// Makes a folder and its missing parents; one that exists is fine.
    fn create_folders(&self, path: &Path) -> io::Result<()>;
    /// Makes an empty file for writing; one that exists is an error.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes all of `bytes` at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Waits until the content of a file, and its length, are on stable storage.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Waits until the contents of many files are on stable storage. `system` is a folder of their file system that was opened before they were
    /// written, so that an error in writing any of them is reported here.
    fn sync_many(&self, system: &File, files: &[File]) -> io::Result<()>;
    /// Sets aside blocks for the bytes of a file from `offset` on, without changing its length.
    fn reserve(&self, file: &File, offset: u64, length: u64) -> io::Result<()>;
    /// Cuts a file to a length.
    fn cut(&self, file: &File, length: u64) -> io::Result<()>;
    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name that no file has; [`io::ErrorKind::AlreadyExists`] if one has it, and then nothing changed.
    fn name(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Waits until the names in a folder, which was opened before they changed, are on stable storage.
    fn sync_folder(&self, folder: &File) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with everything in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// The operating system.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        // 0755 less the umask: the log holds no personal data, and auditors copy it.
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_many(&self, system: &File, _files: &[File]) -> io::Result<()> {
        // One commit of the file system instead of one for each file. It waits for what others have written there as well.
        Ok(syncfs(system)?)
    }

    fn reserve(&self, file: &File, offset: u64, length: u64) -> io::Result<()> {
        Ok(fallocate(file, FallocateFlags::KEEP_SIZE, offset, length)?)
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn name(&self, from: &Path, to: &Path) -> io::Result<()> {
        name_by(|from, to| renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE), from, to)
    }

    fn sync_folder(&self, folder: &File) -> io::Result<()> {
        folder.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

/// Renames by `rename`, which replaces nothing, or where the file system has no such call by a look beforehand: there is one writer, so nobody
/// comes in between.
fn name_by(rename: impl Fn(&Path, &Path) -> rustix::io::Result<()>, from: &Path, to: &Path) -> io::Result<()> {
    match rename(from, to) {
        Err(Errno::INVAL | Errno::NOSYS) => match fs::symlink_metadata(to) {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
            Err(e) => Err(e),
        },
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rename = fn(&Path, &Path) -> rustix::io::Result<()>;

    #[test]
    fn a_name_is_given_once_and_never_taken_from_another_file() {
        let replaces_nothing = |from: &Path, to: &Path| renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
        for rename in [replaces_nothing as Rename, |_, _| Err(Errno::INVAL), |_, _| Err(Errno::NOSYS)] {
            let dir = tempfile::tempdir().unwrap();
            let [first, second, name] = ["first", "second", "name"].map(|name| dir.path().join(name));
            fs::write(&first, "1").unwrap();
            fs::write(&second, "2").unwrap();
            name_by(rename, &first, &name).unwrap();
            assert_eq!(name_by(rename, &second, &name).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!((fs::read(&name).unwrap(), fs::read(&second).unwrap(), first.exists()), (b"1".into(), b"2".into(), false));
        }
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        fs::write(&from, "1").unwrap();
        assert!(name_by(|_, _| Err(Errno::IO), &from, &to).is_err() && from.exists() && !to.exists(), "another failure is one");
    }
}
