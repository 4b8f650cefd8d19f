//! Where the keys of a log lie, and how the signing key is changed for another without a moment at which none of them counts.
//!
//! ```text
//! STATE/keys/log.key         signs checkpoints (0600); or a credential of systemd, see below
//! STATE/keys/log.vkey        its public half, for auditors (0644)
//! STATE/keys/log.vkeys       the public halves of all keys so far, oldest first, once there is more than one
//! STATE/keys/log.key.next    a key that a rotation has made and that signs nothing yet
//! STATE/keys/log.key.old     a key that signs nothing any more and is being destroyed
//! ```
//!
//! `log.vkey` decides: the signing key is whichever key belongs to it. It is looked for in the credential, if one was given, then in
//! `log.key`, then in `log.key.next`. A credential can only be read, so a rotation leaves the new key in `log.key`; who wants it in a credential
//! again encrypts that file and removes it.
//!
//! **Rotation**, each step durable before the next. 1: the new key, as `log.key.next`. 2: the entry `key-rotated`, which names both public
//! keys, in the journal. 3: a checkpoint over it, signed with the old key. 4: that checkpoint with the new key's signature too, as a file of its
//! own under `STATE/audit/handover`, and then as the checkpoint ([`super::rotation`]). 5: `log.vkeys`, `log.vkey`, then `log.key.next` takes the
//! place of `log.key`. 6: the old key is written over and removed. From 4 on checkpoints are signed with the new key.
//!
//! **Crash.** The next start looks at the newest entry: if it is `key-rotated` and names a key that does not sign yet, the start goes on with
//! step 3. If not, a `log.key.next` was announced to nobody and goes. Nothing else is written to the log in between.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::{SigningKey, Verifier};
use super::secret::{self, shown};
use crate::error::{self, Error, Result};

/// The folder `STATE/keys` of a node, and the credential that may hold the signing key.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    folder: PathBuf,
    node: String,
    credential: Option<PathBuf>,
}

impl Keys {
    pub(super) fn new(folder: &Path, node: &str, credential: Option<PathBuf>) -> Self {
        Self { folder: folder.to_owned(), node: node.to_owned(), credential }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The key that signs; `None` if there is none at all.
    ///
    /// A public file that is missing is written again. Refused: a key file others can read ([`error::Kind::Refused`]), a key of another node
    /// ([`error::Kind::Config`]), one that is damaged, or none that belongs to the public file ([`error::Kind::NotIntact`]).
    pub(super) fn load(&self) -> Result<Option<SigningKey>> {
        let public = self.public()?;
        let mut found = Vec::new();
        if let Some(path) = &self.credential {
            found.extend(secret::read_credential(path)?.map(|content| (path.clone(), content)));
        }
        for path in [self.path("log.key"), self.path("log.key.next")] {
            found.extend(secret::read(&path)?.map(|content| (path, content)));
        }
        if found.iter().all(|(path, _)| *path == self.path("log.key.next")) && public.is_none() {
            return Ok(None);
        }
        let mut others = Vec::new();
        for (path, content) in found {
            let key = SigningKey::parse(&content, &path, &self.node)?;
            if public.as_ref().is_none_or(|public| *public == key.verifier()) {
                self.write_public(&key)?;
                return Ok(Some(key));
            }
            others.push(shown(&path));
        }
        if others.is_empty() {
            return Ok(None);
        }
        let path = self.path("log.vkey");
        let message = format!("{}: expected the public half of {}, found another; one of the two was replaced", shown(&path), others[0]);
        Err(Error::new(error::Kind::NotIntact, message))
    }

    /// Makes the first key of a log; an existing key file is an error.
    pub(super) fn create(&self) -> Result<SigningKey> {
        secret::create_folder(&self.folder)?;
        let key = SigningKey::generate(&self.node)?;
        secret::create(&self.path("log.key"), key.secret().as_bytes(), 0o600)?;
        self.write_public(&key)?;
        Ok(key)
    }

    /// Makes the key that a rotation changes to. One left by an attempt that came to nothing is destroyed.
    pub(super) fn create_next(&self) -> Result<SigningKey> {
        let path = self.path("log.key.next");
        secret::destroy(&path)?;
        let key = SigningKey::generate(&self.node)?;
        secret::create(&path, key.secret().as_bytes(), 0o600)?;
        Ok(key)
    }

    /// The key that a rotation changes to, if it is there.
    pub(super) fn next(&self) -> Result<Option<SigningKey>> {
        let path = self.path("log.key.next");
        secret::read(&path)?.map(|content| SigningKey::parse(&content, &path, &self.node)).transpose()
    }

    /// Gives the key `now` the place of `before`: the steps 5 and 6. Nothing changes if it has that place.
    pub(super) fn promote(&self, before: &Verifier, now: &Verifier) -> Result<()> {
        let mut all = self.all()?;
        if all.last() != Some(now) {
            if all.last() != Some(before) {
                all.push(before.clone());
            }
            all.push(now.clone());
            let lines: Vec<String> = all.iter().map(|key| format!("{key}\n")).collect();
            secret::replace(&self.path("log.vkeys"), lines.concat().as_bytes(), 0o644)?;
        }
        secret::replace(&self.path("log.vkey"), format!("{now}\n").as_bytes(), 0o644)?;
        self.settle(now)
    }

    /// Finishes what a crash left of a rotation to the key `now`, which signs: it gets its name, and what signs no more is destroyed.
    pub(super) fn settle(&self, now: &Verifier) -> Result<()> {
        let (key, next, old) = (self.path("log.key"), self.path("log.key.next"), self.path("log.key.old"));
        let fail = |e: io::Error| Error::with_source(error::Kind::Io, format!("{}: cannot be put in its place", shown(&next)), e);
        secret::destroy(&old)?;
        match self.next()? {
            None => return Ok(()),
            // Announced to nobody.
            Some(other) if other.verifier() != *now => return secret::destroy(&next),
            Some(_) => {}
        }
        let folder = File::open(&self.folder).map_err(fail)?;
        if key.exists() {
            fs::hard_link(&key, &old).map_err(fail)?;
        }
        fs::rename(&next, &key).map_err(fail)?;
        folder.sync_all().map_err(fail)?;
        secret::destroy(&old)
    }

    /// The public keys so far, oldest first; none if there has only been one.
    fn all(&self) -> Result<Vec<Verifier>> {
        let path = self.path("log.vkeys");
        match fs::read_to_string(&path) {
            Ok(text) => text.lines().map(Verifier::parse).collect::<Result<_>>().map_err(|e| e.context(shown(&path))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(unread(&path, e)),
        }
    }

    fn public(&self) -> Result<Option<Verifier>> {
        let path = self.path("log.vkey");
        match fs::read_to_string(&path) {
            Ok(text) => Verifier::parse(&text).map(Some).map_err(|e| Error::new(error::Kind::NotIntact, format!("{}: {e}", shown(&path)))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unread(&path, e)),
        }
    }

    fn write_public(&self, key: &SigningKey) -> Result<()> {
        let path = self.path("log.vkey");
        if path.exists() {
            return Ok(());
        }
        secret::create_folder(&self.folder)?;
        secret::create(&path, format!("{}\n", key.verifier()).as_bytes(), 0o644)
    }
}

fn unread(path: &Path, e: io::Error) -> Error {
    Error::with_source(error::Kind::Io, format!("{}: cannot be read", shown(path)), e)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn keys(state: &Path, node: &str) -> Keys {
        Keys::new(&state.join("keys"), node, None)
    }

    #[test]
    fn keys_are_made_once_and_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys(dir.path(), "hq-1");
        assert!(keys.load().unwrap().is_none());
        let first = keys.create().unwrap();
        assert!(keys.create().is_err());
        fs::remove_file(keys.path("log.vkey")).unwrap();
        let loaded = keys.load().unwrap().unwrap();
        assert_eq!(loaded.verifier(), first.verifier());
        assert_eq!(Verifier::parse(&fs::read_to_string(keys.path("log.vkey")).unwrap()).unwrap(), first.verifier());
        let mode = |name: &str| fs::metadata(keys.path(name)).unwrap().mode() & 0o777;
        assert_eq!((mode("log.key"), mode("log.vkey")), (0o600, 0o644));

        let other = Keys::new(&dir.path().join("keys"), "hq-2", None);
        assert_eq!(other.load().unwrap_err().kind(), error::Kind::Config);
        fs::write(keys.path("log.vkey"), "another").unwrap();
        assert_eq!(keys.load().unwrap_err().kind(), error::Kind::NotIntact);
        fs::write(keys.path("log.vkey"), SigningKey::generate("hq-1").unwrap().verifier().to_string()).unwrap();
        let error = keys.load().unwrap_err();
        assert!(error.to_string().ends_with("log.key, found another; one of the two was replaced"), "{error}");
    }

    #[test]
    fn a_credential_signs_while_it_belongs_to_the_public_key_and_the_file_after_that() {
        let dir = tempfile::tempdir().unwrap();
        let credential = dir.path().join("credential");
        let first = SigningKey::generate("hq-1").unwrap();
        fs::write(&credential, first.secret()).unwrap();
        // As systemd leaves it where an access control list lets the service in.
        fs::set_permissions(&credential, fs::Permissions::from_mode(0o440)).unwrap();
        let keys = Keys::new(&dir.path().join("keys"), "hq-1", Some(credential));
        assert_eq!(keys.load().unwrap().unwrap().verifier(), first.verifier());
        assert!(!keys.path("log.key").exists() && keys.path("log.vkey").exists());
        let next = keys.create_next().unwrap();
        assert_eq!(keys.load().unwrap().unwrap().verifier(), first.verifier());
        keys.promote(&first.verifier(), &next.verifier()).unwrap();
        assert_eq!(keys.load().unwrap().unwrap().verifier(), next.verifier());
        assert!(keys.path("log.key").exists() && !keys.path("log.key.next").exists());
    }

    #[test]
    fn a_change_of_keys_that_broke_off_anywhere_is_finished() {
        for step in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let keys = keys(dir.path(), "hq-1");
            let old = keys.create().unwrap().verifier();
            let new = keys.create_next().unwrap().verifier();
            let write = |name: &str, text: String| fs::write(keys.path(name), text).unwrap();
            if step > 0 {
                write("log.vkeys", format!("{old}\n{new}\n"));
            }
            if step > 1 {
                write("log.vkey", format!("{new}\n"));
            }
            if step > 2 {
                fs::hard_link(keys.path("log.key"), keys.path("log.key.old")).unwrap();
            }
            if step > 3 {
                fs::rename(keys.path("log.key.next"), keys.path("log.key")).unwrap();
            }
            let signs = keys.load().unwrap().unwrap().verifier();
            assert_eq!(signs == new, step > 1, "step {step}");
            keys.promote(&signs, &new).unwrap();
            assert_eq!(keys.load().unwrap().unwrap().verifier(), new, "step {step}");
            assert_eq!(fs::read_to_string(keys.path("log.vkeys")).unwrap(), format!("{old}\n{new}\n"), "step {step}");
            let mut left: Vec<_> = fs::read_dir(dir.path().join("keys")).unwrap().map(|file| file.unwrap().file_name()).collect();
            left.sort();
            assert_eq!(left, ["log.key", "log.vkey", "log.vkeys"], "step {step}");
        }
    }

    #[test]
    fn a_key_that_was_announced_to_nobody_is_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys(dir.path(), "hq-1");
        let key = keys.create().unwrap().verifier();
        keys.create_next().unwrap();
        keys.settle(&key).unwrap();
        assert!(keys.next().unwrap().is_none());
        assert_eq!(keys.load().unwrap().unwrap().verifier(), key);
    }
}
