//! A verifier that shares no code with this project accepts our logs and proofs, and refuses every change that ours refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use retentiond::audit::proof::{Subtrees, check_consistency, check_inclusion, prove_consistency, prove_inclusion, root_at};
use retentiond::audit::tile::{self, Level};
use retentiond::audit::tree::{Hash, leaf_hash, root};
use retentiond::audit::{SigningKey, Verifier};
use retentiond::error::Result;

use crate::estate::{Estate, outsider, text, write_log};

/// The independent verifier, built once.
fn verifier() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = folder.join("verifier-go");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifier-go/main.go"))
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode")
            .env("GOCACHE", folder.join("go-cache"))
            .output()
            .expect("expected the Go compiler; install the Debian packages golang-go and golang-golang-x-mod-dev");
        assert!(built.status.success(), "install golang-golang-x-mod-dev: {}", text(&built.stderr));
        program
    })
}

fn independent(arguments: &[&str]) -> Output {
    Command::new(verifier()).args(arguments).output().unwrap()
}

/// Whether ours and the other accept the log.
fn both(log: &Path, key: &str) -> (bool, bool) {
    let log = log.to_str().unwrap();
    let ours = outsider(&["audit", "verify", "--log", log, "--key", key]);
    assert!([Some(0), Some(4)].contains(&ours.status.code()), "{ours:?}");
    let theirs = independent(&["log", log, key]);
    assert!([Some(0), Some(1)].contains(&theirs.status.code()), "{theirs:?}");
    (ours.status.success(), theirs.status.success())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(|file| file.unwrap()) {
        let target = to.join(file.file_name());
        if file.path().is_dir() {
            copy(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

/// Every file that a log of this size is made of, but the journal.
fn files(size: u64) -> Vec<String> {
    let mut files = vec!["checkpoint".to_owned()];
    for level in 0..8_u8 {
        let hashes = size >> (8 * u32::from(level));
        for index in 0..hashes.div_ceil(256) {
            let width = tile::bundle_width(index, hashes);
            files.push(tile::path(Level::Hashes(level), index, width));
            if level == 0 {
                files.push(tile::path(Level::Entries, index, width));
            }
        }
    }
    files
}

/// What a file becomes; `None`: it is gone.
type Change = (String, Option<Vec<u8>>);

/// A damaged log: its name and what is different in it.
type Damage = (String, Vec<Change>);

/// Damage to each file alone: single bits, cuts, growth, loss.
fn damaged_files(log: &Path, size: u64) -> Vec<Damage> {
    let mut all = Vec::new();
    for name in files(size) {
        let content = fs::read(log.join(&name)).unwrap();
        let length = content.len();
        let mut add = |what: &str, changed: Option<Vec<u8>>| {
            if changed.as_ref() != Some(&content) {
                all.push((format!("{name}: {what}"), vec![(name.clone(), changed)]));
            }
        };
        let every = if name == "checkpoint" { 3 } else { length.div_ceil(8).max(1) };
        for at in (0..length).step_by(every).chain([1, 2, length / 2, length - 1]) {
            for bit in [0x01, 0x20] {
                let mut changed = content.clone();
                changed[at] ^= bit;
                add(&format!("byte {at} xor {bit}"), Some(changed));
            }
        }
        for cut in [0, 1, length / 2, length - 32_usize.min(length), length - 1] {
            add(&format!("cut to {cut}"), Some(content[..cut].to_vec()));
        }
        add("a byte more", Some([&content[..], b"\n"].concat()));
        add("a hash more", Some([&content[..], &[7; 32]].concat()));
        add("twice", Some([&content[..], &content[..]].concat()));
        add("gone", None);
    }
    all
}

/// Damage that keeps every file well-formed: entries and hashes changed, exchanged, added and left out.
fn damaged_wholes(log: &Path, size: u64, entries: &[String]) -> Vec<Damage> {
    let mut all = Vec::new();
    let read = |name: &str| fs::read(log.join(name)).unwrap();
    // Two files of a kind and length exchanged.
    let names = files(size);
    for (at, one) in names.iter().enumerate() {
        for other in &names[at + 1..] {
            let (a, b) = (read(one), read(other));
            let level = |name: &str| name.split('/').nth(1).map(str::to_owned);
            if level(one) == level(other) && a != b {
                all.push((format!("{one} and {other} exchanged"), vec![(one.clone(), Some(b)), (other.clone(), Some(a))]));
            }
        }
    }
    // The entries rewritten, with all tiles made anew, but not the checkpoint: what one can do who has not the key.
    let mut rewrite = |what: &str, change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = entries.to_vec();
        change(&mut changed);
        assert!(changed != entries, "{what}");
        let folder = tempfile::tempdir().unwrap();
        write_log(folder.path(), &changed, None);
        let files = files(changed.len() as u64).into_iter().filter(|name| name != "checkpoint");
        let mut changes: Vec<Change> = files.map(|name| (name.clone(), Some(fs::read(folder.path().join(name)).unwrap()))).collect();
        let gone = names.iter().filter(|name| *name != "checkpoint" && !changes.iter().any(|(written, _)| written == *name));
        let gone: Vec<Change> = gone.map(|name| (name.clone(), None)).collect();
        changes.extend(gone);
        all.push((what.to_owned(), changes));
    };
    let last = entries.len() - 1;
    for n in [0, 1, 5, 255, 256, 400, last] {
        // The same grammar and length: a digit of the nonce's alphabet.
        rewrite(&format!("entry {n} with another nonce"), &|entries| {
            let at = entries[n].find("\"nonce\":\"").unwrap() + 9;
            let other = if entries[n].as_bytes()[at] == b'A' { "B" } else { "A" };
            entries[n].replace_range(at..=at, other);
        });
    }
    rewrite("two entries exchanged", &|entries| entries.swap(300, 301));
    rewrite("an entry left out", &|entries| drop(entries.remove(300)));
    rewrite("an entry twice", &|entries| entries.insert(300, entries[300].clone()));
    rewrite("the last entry left out", &|entries| entries.truncate(last));
    rewrite("everything left out but the first bundle", &|entries| entries.truncate(256));
    // Bundles alone rewritten, tiles as they were.
    let name = tile::path(Level::Entries, 1, 256);
    let bundle = read(&name);
    let mut items: Vec<&[u8]> = tile::read_bundle(&bundle, 256).unwrap();
    let mut rebundle = |what: &str, items: &[&[u8]]| {
        let mut changed = Vec::new();
        items.iter().for_each(|entry| tile::append_to_bundle(&mut changed, &[entry]));
        all.push((what.to_owned(), vec![(name.clone(), Some(changed))]));
    };
    rebundle("an entry more in a bundle", &[&items[..], &[&b"{}"[..]]].concat());
    rebundle("an entry less in a bundle", &items[..255]);
    items.swap(3, 4);
    rebundle("two entries of a bundle exchanged", &items);
    all
}

fn with_changes(log: &Path, changes: &[Change], test: impl FnOnce()) {
    let mut before = BTreeMap::new();
    for (name, changed) in changes {
        let path = log.join(name);
        before.insert(path.clone(), fs::read(&path).ok());
        match changed {
            Some(content) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            None => fs::remove_file(path).unwrap(),
        }
    }
    test();
    for (path, content) in before {
        match content {
            Some(content) => fs::write(path, content).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }
}

#[test]
fn the_other_verifier_accepts_our_log_and_refuses_every_change_that_ours_refuses() {
    let estate = Estate::shared();
    let (key, entries) = (estate.key(), estate.entries());
    let copied = tempfile::tempdir().unwrap();
    let log = copied.path().join("log");
    copy(&estate.log(), &log);
    assert_eq!(both(&log, &key), (true, true));
    let size = entries.len() as u64;
    assert!(size > 700, "{size} entries");
    let mut damages = damaged_files(&log, size);
    damages.extend(damaged_wholes(&log, size, &entries));
    assert!(damages.len() > 300, "{}", damages.len());
    let mut missed = Vec::new();
    for (what, changes) in &damages {
        with_changes(&log, changes, || {
            let accepted = both(&log, &key);
            if accepted != (false, false) {
                missed.push(format!("{what}: accepted by ours and theirs: {accepted:?}"));
            }
        });
    }
    assert_eq!(missed, Vec::<String>::new());
    assert_eq!(both(&log, &key), (true, true), "the log is as it was");
}

#[test]
fn both_refuse_a_log_that_another_key_signed_even_under_the_same_name() {
    let estate = Estate::shared();
    let folder = tempfile::tempdir().unwrap();
    let other = SigningKey::generate("evidence-1").unwrap();
    let log = folder.path().join("log");
    write_log(&log, &estate.entries(), Some(&other));
    let theirs = other.verifier().to_string();
    // Its first entry names the key that the log began with, which the other verifier does not read.
    assert_eq!(both(&log, &theirs), (false, true));
    assert_eq!(both(&log, &estate.key()), (false, false));
    // Its signature beside the right one changes nothing; in place of the right one it is none.
    let right = fs::read_to_string(estate.log().join("checkpoint")).unwrap();
    let wrong = fs::read_to_string(log.join("checkpoint")).unwrap();
    let line = wrong.lines().last().unwrap();
    fs::write(log.join("checkpoint"), format!("{right}{line}\n")).unwrap();
    assert_eq!(both(&log, &estate.key()), (true, true));
    fs::write(log.join("checkpoint"), right.replace(right.lines().last().unwrap(), line)).unwrap();
    assert_eq!(both(&log, &estate.key()), (false, false));
}

#[test]
fn both_accept_a_copy_whose_partial_tiles_have_made_way_for_full_ones() {
    let estate = Estate::with_clips(60);
    let copied = tempfile::tempdir().unwrap();
    let log = copied.path().join("log");
    copy(&estate.log(), &log);
    for n in 0..400 {
        estate.put(&format!("clips/{}/more-{n}.mp4", Estate::ago(30)));
    }
    estate.run();
    // The older checkpoint with the newer tiles.
    let checkpoint = fs::read(log.join("checkpoint")).unwrap();
    copy(&estate.log(), &log);
    fs::remove_dir_all(log.join("tile/0/000.p")).unwrap_or_default();
    fs::remove_dir_all(log.join("tile/entries/000.p")).unwrap_or_default();
    fs::write(log.join("checkpoint"), checkpoint).unwrap();
    fs::remove_dir_all(log.join("journal")).unwrap();
    assert_eq!(both(&log, &estate.key()), (true, true));
}

#[test]
fn the_other_verifier_accepts_our_proofs_and_no_changed_one() {
    let estate = Estate::shared();
    let (key, entries) = (estate.key(), estate.entries());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for n in [0, 1, 255, 256, 500, entries.len() - 1] {
        let proven = estate.retentiond(&["audit", "prove", &n.to_string(), "--out", &path("")]);
        assert!(proven.status.success(), "{proven:?}");
        let (proof, entry) = (path(&format!("{n}.tlog-proof")), path(&format!("{n}.json")));
        assert_eq!(fs::read_to_string(&entry).unwrap(), entries[n]);
        let accepted = |entry: &str| {
            let ours = outsider(&["audit", "check-proof", &proof, entry, "--key", &key]);
            (ours.status.code(), independent(&["proof", &proof, entry, &key]).status.code())
        };
        assert_eq!(accepted(&entry), (Some(0), Some(0)), "entry {n}");
        fs::write(path("other"), &entries[(n + 1) % entries.len()]).unwrap();
        assert_eq!(accepted(&path("other")), (Some(4), Some(1)), "entry {n}");
        let content = fs::read(&proof).unwrap();
        for at in (0..content.len()).step_by(29) {
            let mut changed = content.clone();
            changed[at] ^= 1;
            fs::write(&proof, changed).unwrap();
            assert_eq!(accepted(&entry), (Some(4), Some(1)), "entry {n}, byte {at}");
        }
    }
}

/// The tree over "0", "1", "2" and so on.
struct Numbers(Vec<Hash>);

impl Subtrees for Numbers {
    fn root_of(&mut self, height: u32, index: u64) -> Result<Hash> {
        let (begin, count) = (usize::try_from(index).unwrap() << height, 1 << height);
        Ok(root(&self.0[begin..begin + count]))
    }
}

#[test]
fn the_proofs_that_the_other_implementation_makes_are_ours() {
    let output = independent(&["vectors", "62", "400"]);
    assert!(output.status.success(), "{output:?}");
    let mut tree = Numbers((0..1000).map(|n| leaf_hash(n.to_string().as_bytes())).collect());
    let hash = |digits: &str| -> Hash {
        let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    };
    let mut compared = 0;
    for line in text(&output.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        if words[0] == "root" {
            assert_eq!(root_at(number(1), &mut tree).unwrap(), hash(words[2]));
            continue;
        }
        let (one, size) = (number(1), number(2));
        let proof: Vec<Hash> = words[3..].iter().map(|word| hash(word)).collect();
        let new = root_at(size, &mut tree).unwrap();
        if words[0] == "inclusion" {
            assert_eq!(prove_inclusion(one, size, &mut tree).unwrap(), proof, "{line}");
            check_inclusion(one, size, leaf_hash(one.to_string().as_bytes()), new, &proof).unwrap();
        } else {
            assert_eq!(prove_consistency(one, size, &mut tree).unwrap(), proof, "{line}");
            check_consistency(one, root_at(one, &mut tree).unwrap(), size, new, &proof).unwrap();
        }
        compared += 1;
    }
    assert_eq!(compared, 800);
}

#[test]
fn the_note_of_the_specification_is_read_by_both_as_the_same_key() {
    // The verification key that C2SP signed-note prints; both take it, and neither takes it with another id.
    let vector = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    assert!(Verifier::parse(vector).is_ok());
    let log = Estate::shared().log();
    let refused = independent(&["log", log.to_str().unwrap(), vector]);
    assert!(text(&refused.stderr).contains("no verifiable signatures"), "{refused:?}");
    let refused = independent(&["log", log.to_str().unwrap(), &vector.replace("530d", "530e")]);
    assert!(text(&refused.stderr).contains("invalid verifier hash"), "{refused:?}");
}
