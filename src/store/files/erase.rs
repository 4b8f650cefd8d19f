//! Overwriting, and the honest name of what was reached.
//!
//! Grades, from the lowest: `unlinked` (the name is gone; the contents stay on the medium until their blocks are used again), `discarded` (a trim
//! of the file system ran afterwards; nothing here runs one, so nothing here claims it), `overwritten` (see below).
//!
//! `overwritten` is claimed only when all of this was seen: a file system on the list of [`super::medium`], one link, nobody else seen to have the
//! file open or mapped, no extent that is shared, encoded, inline or of unknown place; then the data written over in place *without truncating*, synced,
//! and the same physical extents afterwards. `File::create` truncates and would leave every byte on the disk; it is used nowhere here. Holes stay
//! holes, so a sparse file does not grow. One pass of zeros: more passes only cost time.
//!
//! Everything that can be known beforehand is known before the first byte is touched, so that a dataset that insists on a grade loses nothing
//! when it cannot be had. What goes wrong in the middle is not undone: the file is damaged, and the outcome says so.
//!
//! After a crash during an overwrite the file is still there, partly zeros, with a new modification time; the intent in the log is open.

use std::collections::HashSet;

use fiemap::{Fiemap, FiemapExtentFlags as Extent, FiemapFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{IFlags, OFlags, SeekFrom, fdatasync, flistxattr, ioctl_getflags, seek};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::medium::Medium;
use super::root::{Facts, open_file, words};

/// The name is gone.
pub const UNLINKED: &str = "unlinked";
/// The name is gone and the file system was trimmed.
pub const DISCARDED: &str = "discarded";
/// The contents were written over in place.
pub const OVERWRITTEN: &str = "overwritten";
/// From the lowest up.
pub const GRADES: &[&str] = &[UNLINKED, DISCARDED, OVERWRITTEN];

/// Bytes per write.
const CHUNK: usize = 1 << 20;

/// What one batch needs to overwrite.
pub struct Eraser {
    /// What lies below.
    pub medium: Medium,
    open: Option<Open>,
    zeros: Vec<u8>,
}

/// Files that some process has open or mapped, as far as this one may see.
struct Open {
    files: HashSet<((u32, u32), u64)>,
    /// Inodes mapped on file systems without a device of their own. Several may go by the number that the kernel shows of a mapping (btrfs has
    /// one for each subvolume), so there the inode alone decides.
    mapped: HashSet<u64>,
    /// Whether some processes could not be looked at.
    partly: bool,
}

/// A file that can be overwritten, open for writing.
pub struct Prepared {
    fd: OwnedFd,
    size: u64,
    extents: [u8; 32],
}

/// What has been reached so far for one record: the lowest grade of its parts, and every caveat.
#[derive(Debug)]
pub struct Account {
    /// Whether everything so far was overwritten.
    pub overwritten: bool,
    /// What speaks against a higher claim.
    pub caveats: Vec<&'static str>,
    /// Parts that went with the record.
    pub parts: u64,
}

impl Account {
    /// Nothing done yet.
    pub fn new(overwrite: bool) -> Self {
        Self { overwritten: overwrite, caveats: Vec::new(), parts: 0 }
    }

    /// Notes why a part was not overwritten.
    pub fn lower(&mut self, caveat: &'static str) {
        self.overwritten = false;
        self.note(caveat);
    }

    /// Notes a caveat once.
    pub fn note(&mut self, caveat: &'static str) {
        if !self.caveats.contains(&caveat) {
            self.caveats.push(caveat);
        }
    }

    /// Notes other names of a file.
    pub fn links(&mut self, facts: &Facts) {
        if facts.links > 1 {
            self.lower("hard-links-remain");
        }
    }

    /// The grade reached, and the caveats that belong to it.
    pub fn close(mut self, medium: &Medium) -> (&'static str, Vec<&'static str>, u64) {
        for caveat in &medium.always {
            self.note(caveat);
        }
        if self.overwritten {
            for caveat in &medium.of_overwrite {
                self.note(caveat);
            }
        }
        (if self.overwritten { OVERWRITTEN } else { UNLINKED }, self.caveats, self.parts)
    }
}

impl Eraser {
    /// For one batch on the mount of an open directory. Looks at who has files open only when something is to be overwritten.
    pub fn new(dir: impl AsFd, overwrite: bool) -> Self {
        let medium = Medium::of(dir);
        let open = (overwrite && medium.refuses.is_none()).then(Open::now);
        Self { medium, open, zeros: Vec::new() }
    }

    /// Whether a file can be overwritten in place; otherwise the caveat and a sentence. Touches nothing.
    pub fn examine(&self, dir: impl AsFd, name: &[u8], facts: &Facts) -> Result<Prepared, (&'static str, String)> {
        let no = |caveat, why: &str| Err((caveat, why.to_owned()));
        if let Some(caveat) = self.medium.refuses {
            return Err((caveat, format!("this file system cannot be overwritten in place ({caveat})")));
        }
        if facts.links != 1 {
            return no("hard-links-remain", "the file has other names, whose contents would go too");
        }
        if self.open.as_ref().is_some_and(|open| open.has(facts)) {
            return no("open-elsewhere", "another process has the file open");
        }
        let fd = match open_file(dir, name, OFlags::RDWR) {
            Ok(fd) => fd,
            Err(error) => return Err(("not-writable", format!("the file cannot be opened for writing: {}", words(error)))),
        };
        match Facts::of_handle(&fd) {
            Ok(now) if now == *facts => {}
            _ => return no("not-writable", "the file changed while it was being opened"),
        }
        match ioctl_getflags(&fd) {
            Ok(flags) if flags.contains(IFlags::JOURNALING) => return no("data-journal", "the file's data goes through the journal"),
            Ok(flags) if self.medium.only_without_copy && !flags.contains(IFlags::NOCOW) => {
                return no("copy-on-write", "the file system writes changes elsewhere");
            }
            Ok(_) => {}
            Err(error) => return Err(("extents-unknown", format!("the file's attributes cannot be read: {}", words(error)))),
        }
        let extents = extents(&fd, facts.size)?;
        Ok(Prepared { fd, size: facts.size, extents })
    }

    /// Overwrites a prepared file and notes what that reached.
    pub fn wipe(&mut self, prepared: &Prepared, account: &mut Account) {
        if self.open.as_ref().is_none_or(|open| open.partly) {
            account.note("open-elsewhere-unknown");
        }
        if has_attributes(&prepared.fd) {
            account.note("attributes-remain");
        }
        if self.zeros.is_empty() {
            self.zeros = vec![0; CHUNK];
        }
        match prepared.zero(&self.zeros) {
            Ok(()) => match extents(&prepared.fd, prepared.size) {
                Ok(after) if after == prepared.extents => {}
                Ok(_) => account.lower("copy-on-write"),
                Err((caveat, _)) => account.lower(caveat),
            },
            Err(_) => account.lower("overwrite-incomplete"),
        }
        match Facts::of_handle(&prepared.fd) {
            Ok(facts) if facts.links <= 1 && facts.size == prepared.size => {}
            Ok(facts) if facts.links > 1 => account.lower("hard-links-remain"),
            _ => account.lower("changed-meanwhile"),
        }
    }

    /// Examines and overwrites.
    pub fn overwrite(&mut self, dir: impl AsFd, name: &[u8], facts: &Facts, account: &mut Account) {
        match self.examine(dir, name, facts) {
            Ok(prepared) => self.wipe(&prepared, account),
            Err((caveat, _)) => account.lower(caveat),
        }
    }
}

impl Prepared {
    /// What the file is now.
    pub fn facts(&self) -> rustix::io::Result<Facts> {
        Facts::of_handle(&self.fd)
    }

    /// Writes zeros over every data segment and waits until they are on the medium.
    fn zero(&self, zeros: &[u8]) -> rustix::io::Result<()> {
        let mut at = 0;
        while at < self.size {
            let from = match seek(&self.fd, SeekFrom::Data(at)) {
                Ok(from) => from,
                // No data from here on.
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error),
            };
            let to = seek(&self.fd, SeekFrom::Hole(from))?.min(self.size);
            at = from;
            while at < to {
                let length = usize::try_from(to - at).unwrap_or(CHUNK).min(zeros.len());
                match rustix::io::pwrite(&self.fd, &zeros[..length], at) {
                    Ok(0) => return Err(Errno::IO),
                    Ok(written) => at += written as u64,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        fdatasync(&self.fd)
    }
}

/// A digest of where the data of a file lies, extents that touch joined; an error when some of it does not lie in a place of its own.
fn extents(fd: &OwnedFd, size: u64) -> Result<[u8; 32], (&'static str, String)> {
    let mut digest = Sha256::new();
    let mut run: Option<(u64, u64, u64)> = None;
    let mut put = |(logical, physical, length): (u64, u64, u64)| {
        digest.update(logical.to_le_bytes());
        digest.update(physical.to_le_bytes());
        // What was allocated beyond the end may be given back at any time.
        digest.update(length.min(size.saturating_sub(logical)).to_le_bytes());
    };
    for extent in Fiemap::with_flags(fd, FiemapFlags::SYNC) {
        let extent = extent.map_err(|error| ("extents-unknown", format!("the file's extents cannot be read: {error}")))?;
        let has = |flags: Extent| extent.fe_flags.intersects(flags);
        let caveat = if has(Extent::SHARED) {
            "shared-extents"
        } else if has(Extent::ENCODED | Extent::DATA_ENCRYPTED) {
            "encoded-extents"
        } else if has(Extent::DATA_INLINE | Extent::DATA_TAIL | Extent::NOT_ALIGNED) {
            "inline-data"
        } else if has(Extent::UNKNOWN | Extent::DELALLOC) {
            "extents-unknown"
        } else {
            ""
        };
        if !caveat.is_empty() {
            return Err((caveat, format!("the file's data does not lie in blocks of its own ({caveat})")));
        }
        if has(Extent::UNWRITTEN) || extent.fe_logical >= size {
            continue;
        }
        let (logical, physical, length) = (extent.fe_logical, extent.fe_physical, extent.fe_length);
        run = match run {
            Some((l, p, n)) if l + n == logical && p + n == physical => Some((l, p, n + length)),
            Some(done) => {
                put(done);
                Some((logical, physical, length))
            }
            None => Some((logical, physical, length)),
        };
    }
    run.into_iter().for_each(&mut put);
    Ok(digest.finalize().into())
}

/// Whether a file has extended attributes that people or programs gave it: their contents lie elsewhere than the file's and are not written over.
fn has_attributes(fd: &OwnedFd) -> bool {
    // As much as Linux lets the names of one file take.
    let mut names = vec![0; 1 << 16];
    match flistxattr(fd, &mut names) {
        // Labels of the system (security, access rights) hold nothing of the record.
        Ok(length) => names[..length].split(|byte| *byte == 0).any(|name| name.starts_with(b"user.") || name.starts_with(b"trusted.")),
        Err(Errno::NOTSUP) => false,
        Err(_) => true,
    }
}

impl Open {
    fn now() -> Self {
        let mut open = Self { files: HashSet::new(), mapped: HashSet::new(), partly: false };
        let me = std::process::id().to_string();
        let Ok(processes) = std::fs::read_dir("/proc") else {
            open.partly = true;
            return open;
        };
        for process in processes {
            let Ok(process) = process else {
                open.partly = true;
                continue;
            };
            let name = process.file_name();
            let name = name.to_string_lossy();
            if !name.bytes().all(|byte| byte.is_ascii_digit()) || *name == *me {
                continue;
            }
            match std::fs::read_dir(process.path().join("fd")) {
                Ok(handles) => {
                    for handle in handles.flatten() {
                        match rustix::fs::statx(
                            rustix::fs::CWD,
                            handle.path(),
                            rustix::fs::AtFlags::empty(),
                            rustix::fs::StatxFlags::BASIC_STATS,
                        ) {
                            Ok(stat) => {
                                open.files.insert(((stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino));
                            }
                            Err(Errno::NOENT | Errno::SRCH) => {}
                            Err(_) => open.partly = true,
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => open.partly = true,
            }
            // A mapping outlives the descriptor that it was made from.
            match std::fs::read(process.path().join("maps")) {
                Ok(maps) => maps.split(|byte| *byte == b'\n').for_each(|line| open.add_mapping(line)),
                Err(error) if matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::NOENT | Errno::SRCH)) => {}
                Err(_) => open.partly = true,
            }
        }
        open
    }

    /// One line of `/proc/PID/maps`: `55d0-55d4 r--p 00000000 fd:01 1837 /usr/bin/cat`.
    fn add_mapping(&mut self, line: &[u8]) {
        let mut fields = line.split(|byte| *byte == b' ').filter_map(|field| std::str::from_utf8(field).ok());
        let Some((major, minor)) = fields.nth(3).and_then(|device| device.split_once(':')) else { return };
        let number = |text| u32::from_str_radix(text, 16).ok();
        match (number(major), number(minor), fields.next().and_then(|inode| inode.parse().ok())) {
            // Memory that belongs to no file.
            (.., Some(0)) => {}
            (Some(0), _, Some(inode)) => drop(self.mapped.insert(inode)),
            (Some(major), Some(minor), Some(inode)) => drop(self.files.insert(((major, minor), inode))),
            _ => self.partly = true,
        }
    }

    fn has(&self, facts: &Facts) -> bool {
        self.files.contains(&(facts.dev, facts.ino)) || facts.dev.0 == 0 && self.mapped.contains(&facts.ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use std::os::unix::fs::MetadataExt;

    fn directory() -> (tempfile::TempDir, OwnedFd) {
        let temp = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(temp.path(), OFlags::RDONLY | OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        (temp, fd)
    }

    #[test]
    fn an_overwrite_zeroes_the_data_in_place_and_a_sparse_file_does_not_grow() {
        let (temp, dir) = directory();
        let path = temp.path().join("sparse");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&[b'x'; 5000]).unwrap();
        file.seek(std::io::SeekFrom::Start(30 << 20)).unwrap();
        file.write_all(&[b'y'; 10]).unwrap();
        file.sync_all().unwrap();
        drop(file);
        let before = std::fs::metadata(&path).unwrap();
        let mut eraser = Eraser::new(&dir, true);
        let mut account = Account::new(true);
        let facts = Facts::at(&dir, "sparse").unwrap();
        match eraser.examine(&dir, b"sparse", &facts) {
            Ok(prepared) => {
                eraser.wipe(&prepared, &mut account);
                assert!(account.overwritten, "{:?}", account.caveats);
                assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
            }
            // Where the temporary folder lies on a file system that is not on the list, nothing may be claimed.
            Err((caveat, _)) => {
                assert!(eraser.medium.refuses.is_some() || eraser.medium.only_without_copy || caveat == "inline-data", "{caveat}");
            }
        }
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!((before.len(), before.blocks(), before.ino()), (after.len(), after.blocks(), after.ino()));
    }

    #[test]
    fn a_file_with_other_names_or_other_readers_is_not_overwritten() {
        let (temp, dir) = directory();
        std::fs::write(temp.path().join("one"), "content").unwrap();
        std::fs::hard_link(temp.path().join("one"), temp.path().join("two")).unwrap();
        std::fs::write(temp.path().join("open"), "content").unwrap();
        let medium = Medium { counts_links: true, ..Medium::default() };
        let facts = |name: &str| Facts::at(&dir, name).unwrap();
        let open = facts("open");
        let files = HashSet::from([(open.dev, open.ino)]);
        let open = Open { files, mapped: HashSet::new(), partly: false };
        let eraser = Eraser { medium, open: Some(open), zeros: Vec::new() };
        let caveat = |name: &str| eraser.examine(&dir, name.as_bytes(), &facts(name)).err().map(|(caveat, _)| caveat);
        assert_eq!(caveat("one"), Some("hard-links-remain"));
        assert_eq!(caveat("open"), Some("open-elsewhere"));
        assert_eq!(std::fs::read(temp.path().join("one")).unwrap(), b"content");
    }

    #[test]
    fn a_file_that_another_process_has_open_is_seen() {
        let (temp, dir) = directory();
        let path = temp.path().join("held");
        std::fs::write(&path, "content").unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").stdin(std::fs::File::open(&path).unwrap()).spawn().unwrap();
        let facts = Facts::at(&dir, "held").unwrap();
        assert!(Open::now().files.contains(&(facts.dev, facts.ino)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!Open::now().files.contains(&(facts.dev, facts.ino)));
    }
}
