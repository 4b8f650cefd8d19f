//! What the words of the log mean, in words for people who were not there.

/// What a grade says was reached.
pub(super) fn grade(method: &str, grade: &str) -> &'static str {
    match (method, grade) {
        (_, "unlinked") => "The name was removed. The contents stay on the medium until their blocks are used again.",
        (_, "discarded") => "The name was removed, and the medium was told that the blocks are free.",
        ("delete", "overwritten") => {
            "The row was deleted and zeros written over it, and nothing of it was left in the database's journal or write-ahead log."
        }
        (_, "overwritten") => "The contents were written over in place, once, and this was waited for; then the name was removed.",
        (_, "row-deleted") => "The row is gone for every reader. What its bytes leave in the database's files and logs, the caveats say.",
        (_, "rewritten" | "vacuumed") => "The row was deleted and the whole database file written anew without it.",
        (_, "anonymised") => "What names a person was emptied or replaced. The rest of the row stays.",
        (_, "attested") => "A named person attests the destruction.",
        ("found-gone", _) => "What became of it was not told at once; a later look found it gone. How thoroughly cannot be told.",
        _ => "This program has no explanation for this grade.",
    }
}

/// What a caveat means; nothing for one that is not known here.
pub(super) fn caveat(code: &str) -> &'static str {
    match code {
        "backups-not-reached" => "copies in backups are not reached; see the dates by which they age out",
        "prior-versions-unknown" => "earlier versions of the file may have lain elsewhere on the medium",
        "medium-virtual" => "the disk is virtual: where a block is really written is not known",
        "medium-nonrotational" => "flash media keep old copies of blocks to themselves",
        "medium-unknown" => "the kind of medium is not known",
        "medium-is-memory" => "the file system lies in memory",
        "name-in-journal" => "the file's name may stay in the file system's journal for a while",
        "snapshots-possible" => "the file system can hold snapshots, which are not reached",
        "snapshots-exist" => "snapshots exist, which are not reached",
        "copy-on-write" => "the file system writes changes elsewhere, so the old contents stay",
        "data-journal" => "the file system's journal holds a second copy of contents",
        "hard-links-remain" => "the file has other names, under which it is still there",
        "open-elsewhere" => "another process had the file open",
        "open-elsewhere-unknown" => "it could not be told for every process whether it had the file open",
        "attributes-remain" => "the file had extended attributes, which were not written over",
        "not-writable" => "the file could not be opened for writing",
        "overwrite-incomplete" => "writing over it broke off",
        "changed-meanwhile" => "the file changed while it was written over",
        "extents-unknown" => "where the contents lay could not be told",
        "shared-extents" => "the contents were shared with another file",
        "encoded-extents" => "the contents were stored compressed or encrypted by the file system",
        "inline-data" => "the contents were stored within the file system's own records",
        "file-system-unknown" => "this file system is not known to write in place",
        "mount-unknown" => "how the file system is mounted could not be told",
        "freed-blocks" => "blocks that the database file gave up may hold old pages",
        "freed-journal-blocks" => "blocks of removed journals may hold old pages",
        "wal-frames" => "the write-ahead log may hold old pages until it is written over",
        "earlier-versions-not-reached" => "earlier versions of the row may lie in pages that were freed before",
        "statistics-may-hold-values" => "the database's statistics may hold single values",
        "full-text-index-may-hold-values" => "a full-text index may hold words of the row",
        "could-not-rewrite" => "writing the database file anew did not succeed",
        "could-not-overwrite-wal" => "writing over the write-ahead log did not succeed",
        "could-not-overwrite-journal" => "writing over the journal did not succeed",
        "grade-unknown" => "how thoroughly it went cannot be told",
        _ => "",
    }
}

/// Why a record of a plan was kept after all.
pub(super) fn kept(why: &str) -> &'static str {
    match why {
        "held" => "a hold was in force",
        "changed" => "the record had changed since it was judged",
        "no-longer-due" => "its period was no longer over",
        "run-stopped" => "the run ended before its turn came; the next run takes it up",
        "not-approved" => "people had not approved it, or had taken their approval back",
        "cannot-meet-grade" => "it could not be destroyed as thoroughly as the dataset asks",
        _ => "",
    }
}

/// How a run ended.
pub(super) fn end(word: &str) -> &'static str {
    match word {
        "done" => "to its end",
        "reported" => "report mode: nothing was to be destroyed",
        "refused" => "the plan was over its limits; nothing was destroyed",
        "incomplete" => "not everything could be seen; nothing was destroyed",
        "stopped" => "stopped before its end",
        "interrupted" => "interrupted by a crash; the next start found out what became of its records",
        _ => "",
    }
}

/// A whole number with a thin grouping that people can read: `1,234,567`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_in_threes() {
        let shown = [0, 999, 1000, 1_234_567].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn every_grade_and_caveat_that_a_store_gives_out_is_explained() {
        // Read from the source, so that a new one cannot be forgotten here.
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
        let mut texts = String::new();
        for file in [
            "files/erase.rs",
            "files/medium.rs",
            "sql/sqlite/clean.rs",
            "sql/sqlite/check.rs",
            "sql/postgres/check.rs",
            "sql/mysql/check.rs",
        ] {
            texts.push_str(std::fs::read_to_string(root.join(file)).unwrap().split("#[cfg(test)]").next().unwrap());
        }
        let given = texts.split(|c: char| !(c.is_ascii_lowercase() || c == '-' || c == '"'));
        let given = given.filter_map(|word| word.strip_prefix('"')?.strip_suffix('"')).filter(|word| word.contains('-'));
        let unexplained: Vec<_> = given.filter(|word| caveat(word).is_empty() && grade("", word).contains("no explanation")).collect();
        // Words of those files that are no caveats.
        let others = ["proc-mounts", "unix-ms", "row-deleted", "-wal", "-journal", "-shm"];
        let unexplained: Vec<_> = unexplained.into_iter().filter(|word| !others.contains(word)).collect();
        assert_eq!(unexplained, Vec::<&str>::new());
    }
}
