//! What lies below a store: file system, mount options, device. Decides what overwriting can mean there.
//!
//! The facts were measured by searching raw block images: on ext2/3/4 without data journal and on XFS an overwrite in place followed by
//! `fdatasync` leaves nothing of the current content; on btrfs it leaves everything, unless the file is exempt from copy-on-write. Every other
//! file system is not on the list, and nothing is claimed there. Where a fact cannot be read it counts against the claim.

use procfs::process::{MountInfo, Process};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::store::data_journal::data_journal;

/// What is known of the place of a store.
#[derive(Clone, Debug, Default)]
pub struct Medium {
    /// Why nothing can be overwritten in place here: the caveat.
    pub refuses: Option<&'static str>,
    /// Only files that are exempt from copy-on-write can be overwritten in place.
    pub only_without_copy: bool,
    /// Whether a handle tells how many names a file has left: not so where the server keeps its own books.
    pub counts_links: bool,
    /// One journal takes the changes of all directories in their order, so that a directory's sync makes durable what was done in any of them
    /// before: ext3 and ext4 with a journal (a sync commits the transaction of the directory's last change), and XFS (it forces the log up to it).
    pub one_journal: bool,
    /// Caveats of every outcome.
    pub always: Vec<&'static str>,
    /// Caveats of an overwrite.
    pub of_overwrite: Vec<&'static str>,
}

const EXT: u64 = 0xEF53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683E;
const TMPFS: u64 = 0x0102_1994;
const ZFS: u64 = 0x2FC1_2FC1;
const F2FS: u64 = 0xF2F5_2010;
const BCACHEFS: u64 = 0xCA45_1A4E;

impl Medium {
    /// Looks at the mount that an open directory is on.
    pub fn of(dir: impl AsFd) -> Self {
        let mut medium = Self { always: vec!["backups-not-reached"], of_overwrite: vec!["prior-versions-unknown"], ..Self::default() };
        let mount = mount(&dir);
        #[allow(clippy::cast_sign_loss)] // The type of this number differs between machines; its bits do not.
        let kind = rustix::fs::fstatfs(&dir).map_or(0, |stat| stat.f_type as u64 & 0xFFFF_FFFF);
        medium.counts_links = matches!(kind, EXT | XFS | BTRFS | TMPFS | F2FS | ZFS);
        medium.one_journal = kind == XFS || (kind == EXT && mount.as_ref().is_some_and(has_journal));
        match kind {
            EXT => medium.refuses = ext(mount.as_ref()),
            XFS => {}
            BTRFS => medium.only_without_copy = true,
            TMPFS => medium.refuses = Some("medium-is-memory"),
            ZFS | F2FS | BCACHEFS => medium.refuses = Some("copy-on-write"),
            _ => medium.refuses = Some("file-system-unknown"),
        }
        match kind {
            TMPFS => {}
            EXT | XFS => medium.always.push("name-in-journal"),
            _ => medium.always.extend(["name-in-journal", "snapshots-possible"]),
        }
        let device = mount.as_ref().and_then(device);
        if device.as_ref().is_some_and(|device| device.snapshots) && !medium.always.contains(&"snapshots-possible") {
            medium.always.push("snapshots-possible");
        }
        match device {
            Some(Device { is_virtual: true, .. }) => medium.of_overwrite.push("medium-virtual"),
            Some(Device { rotational: Some(false), .. }) => medium.of_overwrite.push("medium-nonrotational"),
            Some(Device { rotational: Some(true), .. }) => {}
            _ => medium.of_overwrite.push("medium-unknown"),
        }
        medium
    }
}

/// ext2, ext3 and ext4 share their number; a data journal keeps a second copy, and only the options in force tell.
fn ext(mount: Option<&MountInfo>) -> Option<&'static str> {
    match mount {
        None => Some("mount-unknown"),
        Some(mount) if !matches!(mount.fs_type.as_str(), "ext2" | "ext3" | "ext4") => Some("file-system-unknown"),
        // It has no journal.
        Some(mount) if mount.fs_type == "ext2" => None,
        Some(mount) => {
            let number = |text: &str| text.parse().ok();
            let device = mount.majmin.split_once(':').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
            match device.and_then(|(major, minor)| data_journal(major, minor)) {
                Some(false) => None,
                Some(true) => Some("data-journal"),
                None => Some("mount-unknown"),
            }
        }
    }
}

/// The kernel shows a folder for each journal in use: `<device>-<inode of the journal>`.
fn has_journal(mount: &MountInfo) -> bool {
    let name = mount.mount_source.as_deref().and_then(|source| std::path::Path::new(source).file_name()?.to_str());
    name.is_some_and(|name| std::path::Path::new("/proc/fs/jbd2").join(format!("{name}-8")).is_dir())
}

fn mount(dir: impl AsFd) -> Option<MountInfo> {
    let stat = statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    if !StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID) {
        return None;
    }
    let all = Process::myself().ok()?.mountinfo().ok()?;
    all.into_iter().find(|mount| u64::try_from(mount.mnt_id).is_ok_and(|id| id == stat.stx_mnt_id))
}

struct Device {
    is_virtual: bool,
    snapshots: bool,
    rotational: Option<bool>,
}

/// The block device of a mount; `None` where the system does not say.
fn device(mount: &MountInfo) -> Option<Device> {
    let node = if mount.majmin.starts_with("0:") {
        // btrfs and others show no device number of their own; the source is the device.
        let source = mount.mount_source.as_deref().filter(|source| source.starts_with("/dev/"))?;
        let stat = rustix::fs::stat(source).ok()?;
        format!("/sys/dev/block/{}:{}", rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
    } else {
        format!("/sys/dev/block/{}", mount.majmin)
    };
    let path = std::fs::canonicalize(&node).ok()?;
    let text = path.to_string_lossy();
    let is_virtual = ["/virtual/", "/virtio", "/loop", "/dm-", "/md", "/xen", "/vbd", "/vd"].iter().any(|part| text.contains(part));
    // A partition's queue is its disk's.
    let rotational = [path.join("queue/rotational"), path.join("../queue/rotational")]
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok())
        .map(|text| text.trim() != "0");
    Some(Device { is_virtual, snapshots: text.contains("/dm-"), rotational })
}
