//! The system's journal as an anchor, by the native protocol that systemd documents.
//!
//! A message is one datagram to a socket: `NAME=value` and a line break for a value without one, and for others the name, a line break, the
//! length (u64, little-endian), the value and a line break. That is all that is needed here, so there is no library for it. The checkpoint is in the
//! field `RETENTIOND_CHECKPOINT`, word for word:
//!
//! ```text
//! journalctl --output=cat --output-fields=RETENTIOND_CHECKPOINT SYSLOG_IDENTIFIER=retentiond
//! ```
//!
//! Where there is no journal (in a container) the checkpoint is a message of the program at the level `info`.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Note, Place};

/// The socket of the journal.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// How long a journal that is busy is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Journald {
    socket: PathBuf,
}

impl Journald {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }
}

/// Appends a field whose value may have line breaks.
fn field(message: &mut Vec<u8>, name: &str, value: &str) {
    message.extend_from_slice(name.as_bytes());
    message.push(b'\n');
    message.extend_from_slice(&(value.len() as u64).to_le_bytes());
    message.extend_from_slice(value.as_bytes());
    message.push(b'\n');
}

impl Place for Journald {
    fn put(&mut self, note: &Note) -> Result<(), String> {
        let origin = note.text.lines().next().unwrap_or_default();
        let mut message = Vec::new();
        field(&mut message, "MESSAGE", &format!("{origin}: checkpoint of {} entries", note.size));
        field(&mut message, "PRIORITY", "6");
        field(&mut message, "SYSLOG_IDENTIFIER", "retentiond");
        field(&mut message, "RETENTIOND_SIZE", &note.size.to_string());
        field(&mut message, "RETENTIOND_CHECKPOINT", &note.text);
        let send = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.send_to(&message, &self.socket)
        };
        match send() {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                tracing::info!(checkpoint = &*note.text, "{origin}: checkpoint of {} entries", note.size);
                Ok(())
            }
            Err(e) => Err(format!("the checkpoint of {} entries was not taken: {e}", note.size)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_the_checkpoint_word_for_word_in_a_field_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut journald = Journald::new(&path);
        let note = Note { size: 7, text: "retentiond/hq-1\n7\nroot\n\n\u{2014} retentiond/hq-1 abc\n".into() };
        journald.put(&note).unwrap();
        let socket = UnixDatagram::bind(&path).unwrap();
        journald.put(&note).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        let mut rest = &buffer[..length];
        let mut fields = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (name, behind) = rest.split_at(end);
            let size = usize::try_from(u64::from_le_bytes(behind[1..9].try_into().unwrap())).unwrap();
            fields.push((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(&behind[9..9 + size]).into_owned()));
            assert_eq!(behind[9 + size], b'\n');
            rest = &behind[10 + size..];
        }
        let value = |name: &str| fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        assert_eq!(value("RETENTIOND_CHECKPOINT"), Some(&*note.text));
        assert_eq!(value("MESSAGE"), Some("retentiond/hq-1: checkpoint of 7 entries"));
        assert_eq!((value("RETENTIOND_SIZE"), value("SYSLOG_IDENTIFIER"), fields.len()), (Some("7"), Some("retentiond"), 5));
    }
}
