//! A witness that was written for this test in another language, honest and hostile.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::estate::{Estate, python};

struct Witness {
    folder: tempfile::TempDir,
    child: Child,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Witness {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("mode", "honest"), ("log.vkeys", ""), ("asked", "")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/witness.py");
        let child = Command::new(python()).arg(script).arg(folder.path()).spawn().unwrap();
        let mut this = Self { folder, child };
        let start = Instant::now();
        while !this.folder.path().join("port").exists() {
            assert!(this.child.try_wait().unwrap().is_none(), "the witness ended; is python3-cryptography installed?");
            assert!(start.elapsed() < Duration::from_mins(1), "the witness does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        this
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn lines(&self) -> String {
        format!("anchors: [ {{ witness: \"http://127.0.0.1:{}/\", key: \"{}\" }} ]", self.read("port"), self.read("vkey"))
    }

    /// The answers since this was asked last.
    fn answers(&self) -> Vec<u16> {
        let found = self.read("asked").lines().map(|line| line.parse().unwrap()).collect();
        self.write("asked", "");
        found
    }

    /// The one cosigned checkpoint that the log keeps.
    fn kept(estate: &Estate) -> String {
        let files: Vec<_> = fs::read_dir(estate.state().join("audit/witnessed")).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        fs::read_to_string(&files[0]).unwrap()
    }
}

/// A log that has begun and that the witness knows.
fn known(witness: &Witness) -> Estate {
    let mut estate = Estate::new("");
    estate.work(1);
    witness.write("log.vkeys", &estate.vkey());
    estate.configure(&witness.lines());
    estate
}

#[test]
fn a_witness_cosigns_each_checkpoint_after_the_one_before() {
    let witness = Witness::start();
    let mut estate = known(&witness);
    for count in [3, 300, 1] {
        estate.work(count);
        let kept = Witness::kept(&estate);
        let checkpoint = fs::read_to_string(estate.state().join("audit/checkpoint")).unwrap();
        let line = kept.strip_prefix(&checkpoint).expect("the newest checkpoint, word for word");
        assert!(line.starts_with("\u{2014} witness.example/w1 ") && line.lines().count() == 1, "{line}");
    }
    let answers = witness.answers();
    assert!(answers.len() >= 3 && answers.iter().all(|status| *status == 200), "{answers:?}");
    // Whoever lost what the witness has is told by it.
    fs::remove_dir_all(estate.state().join("audit/witnessed")).unwrap();
    estate.work(1);
    assert!(witness.answers().starts_with(&[409, 200]));
    // The witness's key is not ours: our own verification goes on, and a new key of ours must be made known to it.
    estate.verify();
    let said = estate.expect(0, &["audit", "rotate-key"]);
    assert!(said.contains("now:"), "{said}");
    estate.add(1);
    let said = estate.expect(1, &["run"]);
    assert!(said.contains("does not know the key of this log"), "{said}");
    witness.write("log.vkeys", &format!("{}\n{}", witness.read("log.vkeys"), estate.vkey()));
    estate.work(1);
}

#[test]
fn a_witness_notices_a_restored_older_copy_and_another_history() {
    let witness = Witness::start();
    let mut estate = known(&witness);
    estate.work(3);
    estate.copy("state", "older");
    estate.work(20);
    estate.copy("older", "state");
    estate.add(2);
    let said = estate.expect(1, &["run"]);
    assert!(said.contains("an older copy of it was restored"), "{said}");
    estate.add(60);
    let said = estate.expect(1, &["run"]);
    assert!(said.contains("does not find the") && said.contains("entries that it cosigned at the beginning of this log"), "{said}");
}

#[test]
fn a_hostile_witness_gets_a_word_and_nothing_else() {
    let witness = Witness::start();
    let mut estate = known(&witness);
    estate.work(1);
    let kept = Witness::kept(&estate);
    let cases = [
        ("garbage", "expected signature lines"),
        ("huge", "expected an answer of at most 16384 bytes, found more"),
        ("redirect", "answered with status 307"),
        ("forever-409", "holds another log of this name"),
        ("wrong-key", "its cosignature does not belong to the checkpoint"),
        ("other-text", "its cosignature does not belong to the checkpoint"),
        ("slow", "anchor witness witness.example/w1"),
    ];
    for (mode, words) in cases {
        witness.write("mode", mode);
        estate.add(1);
        let start = Instant::now();
        let said = estate.expect(1, &["run"]);
        assert!(said.contains(words) && !said.contains("\u{1b}[31m"), "{mode}: {said}");
        assert!(start.elapsed() < Duration::from_mins(1), "{mode} took {:?}", start.elapsed());
        assert_eq!((estate.left(), Witness::kept(&estate)), (0, kept.clone()), "{mode}");
        estate.verify();
    }
}
