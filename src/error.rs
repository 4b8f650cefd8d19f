//! The one error type of the program.
//!
//! An error has a *kind*, which decides what the caller does next and which exit code the process ends with, a *message* for people, and
//! the error that caused it. Messages are written in lower case without a full stop, as *where: what was expected, what was found*, with the
//! remedy when it is known. Names that come from outside (paths, keys, YAML scalars) are escaped before they enter a message.

use std::fmt;

/// Exit code: done, and nothing needs attention.
pub const DONE: u8 = 0;
/// Exit code: done, but a person should look.
pub const FINDINGS: u8 = 1;
/// Exit code: refused.
pub const REFUSED: u8 = 3;

/// What kind of trouble an [`Error`] is: decides exit code and whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line was wrong. Exit code 2.
    Usage,
    /// The schedule or the configuration was wrong; nothing was loaded. Exit code 2.
    Config,
    /// The program declined to act: a limit, a lock held by another process, a clock it cannot believe. Exit code 3.
    Refused,
    /// The audit log on disk contradicts itself or its signature. Exit code 4.
    NotIntact,
    /// The audit log could not be written. Everything that destroys stops at once. Exit code 4.
    LogLost,
    /// A connected store could not be read or changed; other stores are unaffected. Exit code 1.
    Store,
    /// The operating system refused something outside a store. Exit code 1.
    Io,
}

impl Kind {
    /// The exit code that the process ends with when an error of this kind ends it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Config => 2,
            Self::Refused => 3,
            Self::NotIntact | Self::LogLost => 4,
            Self::Store | Self::Io => 1,
        }
    }
}

/// An error: its kind, a message for people, and what caused it.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: Kind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without a deeper cause.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error with the error that caused it; the cause is printed after the message.
    pub fn with_source(kind: Kind, message: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// The kind, which decides exit code and retry.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same error with words put before its message, such as the place it came from.
    #[must_use]
    pub fn context(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}

/// Escapes a name that came from outside (a path, a key, a scalar of a file), so that it can neither break a line nor steer a terminal.
///
/// Printable text is kept as it is; control characters, bidirectional overrides and bytes that are not UTF-8 become `\x..` or `\u{..}`.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let steers = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
            if c.is_control() || steers || c == '\\' {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_outside_cannot_break_a_line_or_steer_a_terminal() {
        assert_eq!(escape(b"plain name.mp4"), "plain name.mp4");
        assert_eq!(escape(b"two\nlines\x1b[2J"), "two\\nlines\\u{1b}[2J");
        assert_eq!(escape(b"bad \xff byte"), "bad \\xff byte");
        assert_eq!(escape("Stra\u{df}e \u{202e}txt".as_bytes()), "Stra\u{df}e \\u{202e}txt");
    }

    #[test]
    fn hexadecimal_digits_are_lower_case() {
        assert_eq!(hex(&[0, 10, 171, 255]), "000aabff");
    }

    #[test]
    fn the_message_ends_with_its_causes() {
        let inner = Error::new(Kind::Io, "no space left");
        let outer = Error::with_source(Kind::LogLost, "journal: append failed", inner).context("run");
        assert_eq!(outer.to_string(), "run: journal: append failed: no space left");
        assert_eq!(outer.kind().exit_code(), 4);
    }
}
