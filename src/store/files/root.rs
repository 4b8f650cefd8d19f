//! The root of a store, and directories below it, by descriptor only.
//!
//! Every directory is opened relative to the root's descriptor with `openat2`, which refuses symlinks in any position, mount points, and
//! every way out. Whatever a hostile user of the share moves about meanwhile, a descriptor that comes out of here was below the root and in
//! the same mount at the moment of opening. The root's own path may contain symlinks: the administrator wrote it.
//!
//! [`Facts`] are what `statx` says of one file; packed, they are its fingerprint.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result, escape};

/// Never leave the root, follow no symlink, cross no mount.
const STAY: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The root of a store, open.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// What the root itself is.
    pub facts: Facts,
}

/// What is known of one file, directory or other thing by `statx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Device number, major and minor.
    pub dev: (u32, u32),
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last write to the contents: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Last change of anything: seconds and nanoseconds.
    pub ctime: (i64, u32),
    /// Creation, where the file system keeps it.
    pub btime: Option<(i64, u32)>,
    /// The type bits of the mode.
    pub mode: u16,
    /// Number of names.
    pub links: u32,
    /// Whether something is mounted here.
    pub mount: bool,
}

/// Length of a packed fingerprint of one thing.
pub const PACKED: usize = 65;

impl Root {
    /// Opens the root.
    pub fn open(path: &Path) -> Result<Self> {
        let place = || escape(path.as_os_str().as_encoded_bytes());
        let fail = |error: Errno| {
            let message = format!("{}: expected a directory that can be read; create it, mount it, or correct `files:`", place());
            Error::with_source(Kind::Store, message, error)
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(fail)?;
        let facts = Facts::of_handle(&fd).map_err(fail)?;
        match rustix::fs::openat2(&fd, c".", DIRECTORY, Mode::empty(), STAY) {
            Ok(_) => Ok(Self { fd, facts }),
            Err(Errno::NOSYS | Errno::INVAL) => {
                let message = format!("{}: expected a kernel with openat2 (Linux 5.6 or later) that is allowed to this process", place());
                Err(Error::new(Kind::Store, message))
            }
            Err(error) => Err(fail(error)),
        }
    }

    /// Opens a directory by its path below the root; empty is the root itself.
    pub fn dir(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        open_dir(&self.fd, if path.is_empty() { b"." } else { path })
    }

    /// The root's descriptor.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

/// Opens a directory below an open one, under the rules of this module.
pub fn open_dir(below: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    open(below, path, DIRECTORY)
}

/// Opens a file in an open directory, under the rules of this module; never waits for the other end of a pipe.
pub fn open_file(dir: impl AsFd, name: &[u8], access: OFlags) -> rustix::io::Result<OwnedFd> {
    open(dir, name, access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC)
}

/// A handle that names a thing and reads nothing of it.
pub fn open_handle(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    open(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)
}

fn open(below: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    loop {
        match rustix::fs::openat2(below.as_fd(), path, flags, Mode::empty(), STAY) {
            // A rename elsewhere got in the way of a safe walk, or a signal did: again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

/// The place as it is in the file system, for telling two names of one directory apart.
pub fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

impl Facts {
    const MASK: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

    /// What stands under a name in an open directory; symlinks are not followed.
    #[inline]
    pub fn at<P: rustix::path::Arg>(dir: impl AsFd, name: P) -> rustix::io::Result<Self> {
        rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, Self::MASK).map(|stat| Self::new(&stat))
    }

    /// What an open handle is.
    pub fn of_handle(handle: impl AsFd) -> rustix::io::Result<Self> {
        rustix::fs::statx(handle, c"", AtFlags::EMPTY_PATH, Self::MASK).map(|stat| Self::new(&stat))
    }

    #[inline]
    fn new(stat: &Statx) -> Self {
        let born = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        Self {
            dev: (stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            size: stat.stx_size,
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            btime: born.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
            mode: stat.stx_mode & 0o170_000,
            links: stat.stx_nlink,
            mount: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }

    /// What kind of thing it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(u32::from(self.mode))
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    /// Whether this is the same inode, whatever became of its contents.
    pub fn same_inode(&self, other: &Self) -> bool {
        (self.dev, self.ino, self.btime, self.mode) == (other.dev, other.ino, other.btime, other.mode)
    }

    /// The fingerprint: everything but the number of links, a change of which changes ctime anyway.
    pub fn pack(&self) -> [u8; PACKED] {
        let mut packed = [0; PACKED];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            packed[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&self.mode.to_le_bytes());
        put(&self.dev.0.to_le_bytes());
        put(&self.dev.1.to_le_bytes());
        put(&self.ino.to_le_bytes());
        put(&self.size.to_le_bytes());
        for (seconds, nanoseconds) in [self.mtime, self.ctime, self.btime.unwrap_or_default()] {
            put(&seconds.to_le_bytes());
            put(&nanoseconds.to_le_bytes());
        }
        put(&[1, u8::from(self.btime.is_some()), 0]);
        packed
    }

    /// The inode number in a fingerprint; 0 in one of another kind.
    pub fn packed_ino(fingerprint: &[u8]) -> u64 {
        let ino = fingerprint.get(10..18).filter(|_| fingerprint.len() == PACKED);
        ino.and_then(|ino| ino.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    /// In what a fingerprint taken earlier differs from this; `None` when in nothing.
    pub fn differs(&self, earlier: &[u8]) -> Option<&'static str> {
        let now = self.pack();
        if now == earlier {
            return None;
        }
        let differs = |from: usize, to: usize| earlier.get(from..to) != now.get(from..to);
        Some(if earlier.len() != PACKED {
            "it is not the kind of thing that was read"
        } else if !self.is_file() {
            "it is no longer a regular file"
        } else if differs(2, 18) || differs(50, 64) {
            "another file stands in its place"
        } else if differs(18, 38) {
            "it was written to"
        } else {
            "it was renamed, linked, or given other rights"
        })
    }
}

/// A time of the file system as an instant; `None` beyond the calendar.
pub fn instant((seconds, nanoseconds): (i64, u32)) -> Option<Timestamp> {
    // Before 1970 the nanoseconds still count forwards.
    let whole = Timestamp::from_second(seconds).ok()?;
    whole.checked_add(jiff::SignedDuration::from_nanos(i64::from(nanoseconds))).ok()
}

/// An error of the system in plain words, without a path.
pub fn words(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}
