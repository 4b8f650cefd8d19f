//! Whether ext3 or ext4 writes the contents of files into its journal, where a copy of them stays whatever is written over them later.
//!
//! `/proc/self/mountinfo` does not tell: it leaves out what is the file system's own default, and `data=journal` can be one, set in the
//! superblock (`tune2fs -o journal_data`). `/proc/fs/ext4/DEVICE/options` names every option in force.

/// For the file system on this device; `None` where it cannot be told. That counts against every claim.
pub fn data_journal(major: u32, minor: u32) -> Option<bool> {
    let device = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let options = std::path::Path::new("/proc/fs/ext4").join(device.file_name()?).join("options");
    Some(journals(&std::fs::read_to_string(options).ok()?))
}

fn journals(options: &str) -> bool {
    options.lines().any(|option| option.trim() == "data=journal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_found_among_the_others() {
        assert!(journals("rw\nbarrier\ndata=journal\nstripe=0\n"));
        assert!(!journals("rw\nbarrier\ndata=ordered\nstripe=0\n"));
        assert!(!journals("rw\nnojournal_checksum\n"));
    }

    #[test]
    fn of_a_device_that_is_not_there_nothing_is_told() {
        assert_eq!(data_journal(4000, 1), None);
    }
}
