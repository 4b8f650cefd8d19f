//! Files on file systems that write in place, and on those that do not.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::elsewhere::{Holder, Mapping};
use crate::image::{
    BTRFS, Canary, EXT4, EXT4_DATA_JOURNAL, EXT4_DATA_JOURNAL_BY_DEFAULT, EXT4_INLINE, FileSystem, XFS, must, run, skip, text,
};
use crate::lab::Lab;

/// An ordinary size: 32 blocks.
const SIZE: usize = 128 << 10;

/// Zeros over the whole file where it lies, synced: what an overwrite does, by other hands.
fn zero_in_place(path: &Path, size: usize) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&vec![0; size], 0).unwrap();
    file.sync_data().unwrap();
}

/// What most programs do: the file is emptied, then written.
fn save(path: &Path, content: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
}

/// A copy that shares every extent.
fn reflink(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    must("cp", &["--reflink=always", text(from), text(to)]);
}

/// Writes a file of 150 MiB that holds 4 KiB.
fn write_sparse(path: &Path, canary: &Canary) -> usize {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    file.write_all(&canary.fill(4096)).unwrap();
    file.set_len(150 << 20).unwrap();
    4096
}

/// Makes a file that is exempt from copy-on-write, and fills it.
fn write_without_copy(path: &Path, canary: &Canary, size: usize) -> usize {
    File::create(path).unwrap();
    Lab::flag(path, "+C");
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(&canary.fill(size)).unwrap();
    size
}

/// Every case that has nothing to do with a peculiarity of the file system, on one that writes in place.
fn in_place(file_system: &'static FileSystem) {
    let Some(mut lab) = Lab::new(file_system) else { return };
    for dataset in ["accept", "insist", "either", "unlink"] {
        lab.put(dataset, "plain", SIZE);
        lab.put(dataset, "small", 512);
        lab.put_with(dataset, "sparse", write_sparse);
        lab.put(dataset, "linked", SIZE);
        lab.put(dataset, "immutable", SIZE);
    }
    for dataset in ["accept", "insist"] {
        // Several writes, and an end within a block.
        lab.put(dataset, "large", (3 << 20) + 4128);
        lab.put(dataset, "empty", 0);
        lab.put(dataset, "reader", SIZE);
        lab.put(dataset, "writer", SIZE);
        lab.put(dataset, "mapped", SIZE);
    }
    // Blocks beyond the end, allocated and never written.
    lab.put_with("insist", "allocated", |path, canary| {
        std::fs::write(path, canary.fill(SIZE)).unwrap();
        must("fallocate", &["--keep-size", "--length", "1MiB", text(path)]);
        SIZE
    });
    // Data, a hole, data that was allocated before it was written.
    lab.put_with("insist", "holes", |path, canary| {
        let file = File::create(path).unwrap();
        must("fallocate", &["--length", "256KiB", text(path)]);
        file.write_all_at(&canary.fill(SIZE), 0).unwrap();
        file.write_all_at(&canary.fill(8192), 200 << 10).unwrap();
        file.sync_all().unwrap();
        must("fallocate", &["--punch-hole", "--offset", "128KiB", "--length", "32KiB", text(path)]);
        SIZE
    });
    let attribute = lab.trace("an extended attribute");
    lab.put_with("insist", "attributed", |path, canary| {
        std::fs::write(path, canary.fill(SIZE)).unwrap();
        must("setfattr", &["--name", "user.note", "--value", attribute.text(), text(path)]);
        SIZE
    });
    lab.put_folder("several", &[("one", SIZE), ("two", 512), ("below/three", SIZE), ("empty", 0)]);
    let twice = lab.put_folder("linked", &[("one", SIZE), ("two", SIZE)]);
    // Controls: the search finds what two other ways of erasing leave, and nothing after the right one.
    let (emptied, zeroed) = (lab.trace("control: emptied, written"), lab.trace("control: zeroed in place"));
    for (name, canary) in [("emptied", &emptied), ("zeroed", &zeroed)] {
        save(&lab.path("controls", name), &canary.fill(SIZE));
    }
    let aside = lab.image.place().join("aside");
    std::fs::create_dir(&aside).unwrap();
    for dataset in ["accept", "insist", "either", "unlink"] {
        std::fs::hard_link(lab.path(dataset, "linked"), aside.join(dataset)).unwrap();
        Lab::flag(&lab.path(dataset, "immutable"), "+i");
    }
    std::fs::hard_link(twice.join("one"), aside.join("folders")).unwrap();
    lab.settle();

    save(&lab.path("controls", "emptied"), &vec![0; SIZE]);
    zero_in_place(&lab.path("controls", "zeroed"), SIZE);
    let readers = ["accept", "insist"].map(|dataset| Holder::of(&lab.path(dataset, "reader"), false));
    let writers = ["accept", "insist"].map(|dataset| (dataset, Holder::of(&lab.path(dataset, "writer"), true)));
    let mappings = ["accept", "insist"].map(|dataset| Mapping::of(&lab.path(dataset, "mapped"), SIZE));
    lab.run();
    for (dataset, writer) in writers {
        // Not all of it: the rest shows what was left before.
        writer.file.write_all_at(&lab.canary(dataset, "writer").fill(4096), 0).unwrap();
        writer.file.sync_all().unwrap();
    }
    for (dataset, mapping) in ["accept", "insist"].into_iter().zip(mappings) {
        mapping.write(lab.canary(dataset, "mapped").text());
    }
    drop(readers);
    for dataset in ["accept", "insist", "either", "unlink"] {
        let other = std::fs::read(aside.join(dataset)).unwrap();
        assert!(other == lab.canary(dataset, "linked").fill(SIZE), "{dataset}: the other name's content is intact");
    }
    assert_eq!(std::fs::read(aside.join("folders")).unwrap().len(), SIZE);
    lab.search();

    judge(&lab);
}

/// What became of each case of [`in_place`].
fn judge(lab: &Lab) {
    for dataset in ["accept", "insist", "either"] {
        for name in ["plain", "small", "sparse"] {
            lab.overwritten(dataset, name);
        }
    }
    // Four sparse files of 150 MiB would not go unnoticed.
    assert!(lab.growth() < 32 << 20, "sparse files stay sparse: {} bytes were allocated", lab.growth());
    for name in ["large", "allocated", "holes", "attributed"] {
        lab.overwritten("insist", name);
    }
    lab.overwritten("accept", "large");
    assert_eq!(lab.outcome("insist", "empty").word(), "overwritten", "there was nothing in it");
    lab.folder_overwritten("several");
    lab.folder_unlinked("linked", "hard-links-remain");

    for dataset in ["accept", "either"] {
        lab.unlinked(dataset, "linked", "hard-links-remain");
        lab.failed(dataset, "immutable");
    }
    for name in ["plain", "small", "sparse"] {
        lab.unlinked("unlink", name, "backups-not-reached");
    }
    lab.unlinked("unlink", "linked", "hard-links-remain");
    lab.failed("unlink", "immutable");
    for name in ["reader", "writer", "mapped"] {
        lab.unlinked("accept", name, "open-elsewhere");
        lab.kept("insist", name);
    }
    lab.kept("insist", "linked");
    lab.kept("insist", "immutable");

    // What the caveats are about is really there.
    assert!(lab.left("an extended attribute") > 0 && lab.outcome("insist", "attributed").has("attributes-remain"));
    assert!(!lab.outcome("insist", "plain").has("attributes-remain"));
    assert!(lab.left("control: emptied, written") > 0);
    assert_eq!(lab.left("control: zeroed in place"), 0);
}

#[test]
fn on_ext4_what_is_overwritten_is_gone_from_the_raw_disk() {
    in_place(&EXT4);
}

#[test]
fn on_xfs_what_is_overwritten_is_gone_from_the_raw_disk() {
    in_place(&XFS);
}

/// What was in blocks that the file gave back is out of reach; the claim is about its contents now, and `prior-versions-unknown` goes with it.
#[test]
fn an_earlier_version_is_out_of_reach_and_the_caveat_says_so() {
    for file_system in [&EXT4, &XFS] {
        for truncates in [false, true] {
            // An image for each: whatever is written next may take the blocks.
            let Some(mut lab) = Lab::new(file_system) else { continue };
            let earlier = lab.trace("the earlier version");
            lab.put_with("insist", "saved", |path, canary| {
                if truncates {
                    save(path, &[canary.fill(SIZE), earlier.fill(8 * SIZE)].concat());
                    OpenOptions::new().write(true).open(path).unwrap().set_len(SIZE as u64).unwrap();
                } else {
                    save(path, &earlier.fill(8 * SIZE));
                    save(path, &canary.fill(SIZE));
                }
                SIZE
            });
            lab.settle();
            lab.run();
            lab.search();
            lab.overwritten("insist", "saved");
            assert!(lab.left("the earlier version") > 0, "{}", file_system.name);
        }
    }
}

#[test]
fn extents_that_a_copy_shares_are_never_said_to_be_overwritten() {
    let Some(mut lab) = Lab::new(&XFS) else { return };
    let copies = lab.image.place().join("copies");
    for dataset in ["accept", "insist", "either"] {
        reflink(&lab.put(dataset, "copied", SIZE), &copies.join(dataset));
        // The copy is gone again, and so is the sharing.
        let copy = copies.join("gone");
        reflink(&lab.put(dataset, "copied-once", SIZE), &copy);
        std::fs::remove_file(&copy).unwrap();
        must("sync", &["-f", text(&copies)]);
    }
    // One extent of several is shared.
    lab.put_with("insist", "partly", |path, canary| {
        std::fs::write(path, canary.fill(SIZE)).unwrap();
        reflink(path, &copies.join("partly"));
        let file = OpenOptions::new().write(true).open(copies.join("partly")).unwrap();
        file.write_all_at(&vec![b'x'; SIZE - 8192], 0).unwrap();
        SIZE
    });
    let folder = lab.put_folder("copied", &[("one", SIZE), ("two", SIZE)]);
    reflink(&folder.join("two"), &copies.join("two"));
    lab.settle();
    // A change within shared extents makes XFS set blocks aside for the next ones, where they are not shared any more.
    let late = lab.put("accept", "aside", SIZE);
    reflink(&late, &copies.join("aside"));
    File::options().write(true).open(&late).unwrap().write_all_at(&lab.canary("accept", "aside").fill(4096), 0).unwrap();
    std::fs::remove_file(copies.join("aside")).unwrap();
    lab.settle_mounted();
    lab.run();
    assert!(std::fs::read(copies.join("insist")).unwrap() == lab.canary("insist", "copied").fill(SIZE));
    lab.search();
    for dataset in ["accept", "either"] {
        lab.unlinked(dataset, "copied", "shared-extents");
        lab.overwritten(dataset, "copied-once");
    }
    lab.overwritten("insist", "copied-once");
    for name in ["copied", "partly"] {
        lab.kept("insist", name);
    }
    // Nothing is shared any more, and still the zeros went elsewhere. Only the extents afterwards tell.
    lab.unlinked("accept", "aside", "copy-on-write");
    lab.folder_unlinked("copied", "shared-extents");
}

#[test]
fn on_btrfs_nothing_is_said_to_be_overwritten_but_files_without_copy_on_write() {
    let Some(mut lab) = Lab::new(&BTRFS) else { return };
    let place = lab.image.place();
    for dataset in ["accept", "insist"] {
        lab.put(dataset, "in-a-snapshot", SIZE);
        lab.put_with(dataset, "without-copy-in-a-snapshot", |path, canary| write_without_copy(path, canary, SIZE));
    }
    must("sync", &["-f", text(&place)]);
    must("btrfs", &["-q", "subvolume", "snapshot", "-r", text(&place), text(&place.join("snapshot"))]);
    for dataset in ["accept", "insist", "either"] {
        lab.put(dataset, "plain", SIZE);
        lab.put(dataset, "small", 512);
        lab.put_with(dataset, "without-copy", |path, canary| write_without_copy(path, canary, SIZE));
        lab.put_with(dataset, "small-without-copy", |path, canary| write_without_copy(path, canary, 512));
        lab.put_with(dataset, "compressed", |path, canary| {
            File::create(path).unwrap();
            must("btrfs", &["property", "set", text(path), "compression", "lzo"]);
            std::fs::write(path, canary.fill(SIZE)).unwrap();
            SIZE
        });
        reflink(&lab.put(dataset, "copied", SIZE), &place.join("copies").join(dataset));
        let copied = lab.put_with(dataset, "without-copy-copied", |path, canary| write_without_copy(path, canary, SIZE));
        let copy = place.join("copies").join(format!("without-{dataset}"));
        File::create(&copy).unwrap();
        Lab::flag(&copy, "+C");
        reflink(&copied, &copy);
        lab.put_with(dataset, "sparse-without-copy", |path, canary| {
            write_without_copy(path, canary, 0);
            write_sparse(path, canary)
        });
    }
    lab.put("unlink", "plain", SIZE);
    lab.put_folder("several", &[("one", SIZE), ("two", 512)]);
    let zeroed = lab.trace("control: zeroed in place");
    save(&lab.path("controls", "zeroed"), &zeroed.fill(SIZE));
    lab.settle();
    zero_in_place(&lab.path("controls", "zeroed"), SIZE);
    lab.run();
    let kept = std::fs::read(place.join("snapshot/insist").join(crate::lab::DAY).join("in-a-snapshot")).unwrap();
    assert!(kept == lab.canary("insist", "in-a-snapshot").fill(SIZE));
    lab.search();
    for dataset in ["accept", "insist", "either"] {
        for name in ["without-copy", "sparse-without-copy"] {
            assert!(lab.overwritten(dataset, name).has("snapshots-possible"));
        }
    }
    assert!(lab.growth() < 32 << 20, "sparse files stay sparse: {} bytes were allocated", lab.growth());
    for dataset in ["accept", "either"] {
        for name in ["plain", "compressed", "copied"] {
            lab.unlinked(dataset, name, "copy-on-write");
        }
        lab.unlinked(dataset, "small", "copy-on-write");
        lab.unlinked(dataset, "without-copy-copied", "shared-extents");
    }
    lab.unlinked("accept", "in-a-snapshot", "copy-on-write");
    lab.unlinked("accept", "without-copy-in-a-snapshot", "shared-extents");
    for name in ["plain", "small", "compressed", "copied", "without-copy-copied", "in-a-snapshot", "without-copy-in-a-snapshot"] {
        lab.kept("insist", name);
    }
    // Depending on the kernel in its inode or not; what is claimed of it was checked with the rest.
    assert!(["overwritten", "kept: cannot-meet-grade"].contains(&lab.outcome("insist", "small-without-copy").word().as_str()));
    lab.unlinked("unlink", "plain", "snapshots-possible");
    lab.folder_unlinked("several", "copy-on-write");
    assert!(lab.left("control: zeroed in place") > 0, "zeros went elsewhere");
}

/// Everything that is written goes into the journal first, and stays there.
fn journalled(file_system: &'static FileSystem) {
    let Some(mut lab) = Lab::new(file_system) else { return };
    for dataset in ["accept", "insist", "either", "unlink"] {
        lab.put(dataset, "plain", SIZE);
        lab.put(dataset, "small", 512);
    }
    lab.put_folder("several", &[("one", SIZE), ("two", 512)]);
    let zeroed = lab.trace("control: zeroed in place");
    let path = lab.path("controls", "zeroed");
    save(&path, &zeroed.fill(SIZE));
    lab.settle_mounted();
    zero_in_place(&path, SIZE);
    lab.run();
    lab.search();
    for name in ["plain", "small"] {
        lab.unlinked("accept", name, "data-journal");
        lab.unlinked("either", name, "data-journal");
        lab.unlinked("unlink", name, "backups-not-reached");
        lab.kept("insist", name);
    }
    lab.folder_unlinked("several", "data-journal");
    assert!(lab.left("control: zeroed in place") > 0, "a copy is in the journal");
}

#[test]
fn with_a_data_journal_nothing_is_said_to_be_overwritten() {
    journalled(&EXT4_DATA_JOURNAL);
}

#[test]
fn a_data_journal_is_noticed_when_only_the_superblock_tells() {
    journalled(&EXT4_DATA_JOURNAL_BY_DEFAULT);
}

#[test]
fn a_file_whose_data_goes_through_the_journal_is_not_said_to_be_overwritten() {
    let Some(mut lab) = Lab::new(&EXT4) else { return };
    for dataset in ["accept", "insist"] {
        let path = lab.path(dataset, "journalled");
        File::create(&path).unwrap();
        if let Err(why) = run("chattr", &["+j", text(&path)]) {
            return skip("a file of ext4 with `chattr +j`", &why);
        }
        lab.put_with(dataset, "journalled", |path, canary| {
            std::fs::write(path, canary.fill(SIZE)).unwrap();
            SIZE
        });
    }
    lab.settle_mounted();
    lab.run();
    lab.search();
    lab.unlinked("accept", "journalled", "data-journal");
    lab.kept("insist", "journalled");
}

#[test]
fn a_file_inside_its_inode_is_not_said_to_be_overwritten() {
    let Some(mut lab) = Lab::new(&EXT4_INLINE) else { return };
    for dataset in ["accept", "insist", "either"] {
        lab.put(dataset, "inline", 160);
        lab.put(dataset, "plain", SIZE);
    }
    lab.settle_mounted();
    lab.run();
    lab.search();
    for dataset in ["accept", "either"] {
        lab.unlinked(dataset, "inline", "inline-data");
        lab.overwritten(dataset, "plain");
    }
    lab.overwritten("insist", "plain");
    lab.kept("insist", "inline");
}

#[test]
fn through_an_overlay_nothing_is_said_to_be_overwritten() {
    let Some(mut lab) = Lab::new(&EXT4) else { return };
    for dataset in ["accept", "insist", "either"] {
        lab.put(dataset, "plain", SIZE);
    }
    lab.settle();
    let Some(upper) = lab.image.mount_above("upper", "tmpfs", "size=4m") else { return };
    for folder in ["changes", "work"] {
        std::fs::create_dir(upper.join(folder)).unwrap();
    }
    let options = format!("lowerdir={},upperdir={1}/changes,workdir={1}/work", lab.image.place().display(), upper.display());
    let Some(merged) = lab.image.mount_above("merged", "overlay", &options) else { return };
    lab.look_at(merged);
    lab.run();
    lab.search();
    lab.unlinked("accept", "plain", "file-system-unknown");
    lab.unlinked("either", "plain", "file-system-unknown");
    lab.kept("insist", "plain");
}

#[test]
fn in_memory_nothing_is_said_to_be_overwritten() {
    // The image is only the place to mount in.
    let Some(mut lab) = Lab::new(&EXT4) else { return };
    let Some(memory) = lab.image.mount_above("memory", "tmpfs", "size=4m") else { return };
    lab.look_at(memory);
    for dataset in ["accept", "insist"] {
        lab.put(dataset, "plain", SIZE);
    }
    lab.run();
    let outcome = lab.outcome("accept", "plain");
    assert_eq!(outcome.word(), "unlinked");
    assert!(outcome.has("medium-is-memory"), "{}", outcome.remarks());
    assert_eq!(lab.outcome("insist", "plain").word(), "kept: cannot-meet-grade");
}
