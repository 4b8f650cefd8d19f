//! Mail: one message by SMTP, from a connection that is made for it and closed after it.
//!
//! What is sent crosses a network encrypted, or not at all: `smtps://` begins with TLS, `smtp://` asks for STARTTLS and goes no further without it.
//! Only a server on this machine may be spoken to in plain text (`encryption: none`). The certificate is checked against the system's authorities, or
//! those of a file. The password is read at each delivery anew. Addresses are taken apart when the configuration is read, and no header is made of
//! anything that could end a line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, SmtpTransport, Transport as _};

use super::{Notice, certificates, clean, is_this_machine};
use crate::error::{escape, hex};
use crate::password::Source;

/// How long each step of a delivery may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most receivers.
const MOST: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    /// From the first byte.
    Tls,
    /// After a few words in plain text.
    StartTls,
    /// Only on this machine.
    None,
}

/// Where mail goes, and how.
#[derive(Clone)]
pub struct Mail {
    host: String,
    port: u16,
    encryption: Encryption,
    user: Option<String>,
    password: Source,
    authorities: Option<PathBuf>,
    from: Option<Mailbox>,
    to: Vec<Mailbox>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mail({}:{}, {:?})", self.host, self.port, self.encryption)
    }
}

impl Mail {
    /// Mail through the server of a URL: `smtps://USER@HOST:PORT` or `smtp://…`; `encrypted` is false where plain text is asked for.
    pub(crate) fn new(url: &str, encrypted: bool, password: Source, authorities: Option<PathBuf>) -> Result<Self, String> {
        // What is written may hold a password, so no word of it is repeated.
        let refuse = || "expected a server such as smtps://retentiond@mail.example.org or smtp://mail.example.org:587".to_owned();
        let (scheme, rest) = url.split_once("://").ok_or_else(refuse)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // The user may be an address itself.
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(
                "a password stands in the URL, and secrets never stand in this file; write `credential:` or `password-file:`".into()
            );
        }
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'\\'));
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => v6.split_once(']').ok_or_else(refuse).map(|(host, port)| (host, port.strip_prefix(':')))?,
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        if !plain(host) || user.is_some_and(|user| !plain(user)) {
            return Err(refuse());
        }
        let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refuse)).transpose()?;
        let (encryption, usual) = match (scheme, encrypted) {
            ("smtps", true) => (Encryption::Tls, 465),
            ("smtp", true) => (Encryption::StartTls, 587),
            ("smtp", false) if is_this_machine(host) => (Encryption::None, 25),
            ("smtp", false) => return Err("`encryption: none` is only for a server on this machine itself".into()),
            ("smtps", false) => return Err("smtps:// is encrypted, and `encryption: none` says the opposite".into()),
            _ => return Err(refuse()),
        };
        match (user, &password) {
            (Some(_), Source::Nothing) => return Err("a user needs a password: write `credential:` or `password-file:`".into()),
            (None, Source::Credential(_) | Source::File(_)) => {
                return Err("a password needs a user: write smtps://USER@HOST".into());
            }
            _ => {}
        }
        let (host, user) = (host.to_owned(), user.map(str::to_owned));
        Ok(Self { host, port: port.unwrap_or(usual), encryption, user, password, authorities, from: None, to: Vec::new() })
    }

    pub(crate) fn set_from(&mut self, text: &str) -> Result<(), String> {
        self.from = Some(address(text)?);
        Ok(())
    }

    pub(crate) fn add_to(&mut self, text: &str) -> Result<(), String> {
        if self.to.len() == MOST {
            return Err(format!("expected at most {MOST} addresses; a mailing list has more room"));
        }
        self.to.push(address(text)?);
        Ok(())
    }

    /// The whole message, as it is handed to the server.
    fn message(&self, notice: &Notice) -> Result<Message, String> {
        let fail = |error: &dyn fmt::Display| format!("the message cannot be made: {}", clean(&error.to_string()));
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| fail(&error))?;
        let id = format!("<{}@{}.retentiond.invalid>", hex(&random), notice.node);
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
        let mut message: MessageBuilder = Message::builder().subject(notice.subject()).message_id(Some(id)).raw_header(automatic);
        message = self.from.iter().fold(message, |message, from| message.from(from.clone()));
        message = self.to.iter().fold(message, |message, to| message.to(to.clone()));
        message.header(ContentType::TEXT_PLAIN).body(notice.text()).map_err(|error| fail(&error))
    }

    /// Hands a notice to the server; waits for its answer.
    pub fn deliver(&self, notice: &Notice) -> Result<(), String> {
        let message = self.message(notice)?;
        let place = format!("{}:{}", escape(self.host.as_bytes()), self.port);
        let fail = |error: lettre::transport::smtp::Error| {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            format!("{place}: the mail was not taken: {}", clean(&text))
        };
        let mut builder = SmtpTransport::builder_dangerous(&self.host).port(self.port).timeout(Some(PATIENCE));
        // The name of this machine is nobody's business.
        builder = builder.hello_name(ClientId::Domain("retentiond.invalid".into()));
        builder = builder.tls(match self.encryption {
            Encryption::None => Tls::None,
            Encryption::Tls => Tls::Wrapper(self.parameters(fail)?),
            Encryption::StartTls => Tls::Required(self.parameters(fail)?),
        });
        if let Some(user) = &self.user
            && let Some(password) = self.password.password()?
        {
            builder = builder.credentials(Credentials::new(user.clone(), password.0));
        }
        builder.build().send(&message).map(drop).map_err(fail)
    }

    fn parameters(&self, fail: impl Fn(lettre::transport::smtp::Error) -> String) -> Result<TlsParameters, String> {
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(path) = &self.authorities {
            builder = builder.certificate_store(CertificateStore::None);
            for certificate in certificates(path)? {
                builder = builder.add_root_certificate(Certificate::from_der(certificate.to_vec()).map_err(&fail)?);
            }
        }
        builder.build_rustls().map_err(fail)
    }
}

/// An address, with a name or without it.
fn address(text: &str) -> Result<Mailbox, String> {
    let fine = !text.chars().any(char::is_control);
    let parsed = text.parse::<Mailbox>().ok().filter(|_| fine);
    parsed.ok_or_else(|| format!("expected an address such as dpo@example.org, found \"{}\"", escape(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::super::{Occasion, Trouble};
    use super::*;

    fn refused(url: &str, encrypted: bool) -> String {
        Mail::new(url, encrypted, Source::Nothing, None).unwrap_err()
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_plain_text_and_no_password_stands_in_the_file() {
        let mail = Mail::new("smtp://localhost:2525", false, Source::Nothing, None).unwrap();
        assert_eq!((mail.encryption, mail.port), (Encryption::None, 2525));
        let mail = Mail::new("smtp://mail.example.org/", true, Source::Nothing, None).unwrap();
        assert_eq!((mail.encryption, mail.port), (Encryption::StartTls, 587));
        let mail = Mail::new("smtps://me@example.org@mail.example.org", true, Source::Credential("mail".into()), None).unwrap();
        assert_eq!((mail.encryption, mail.port, mail.user.as_deref()), (Encryption::Tls, 465, Some("me@example.org")));
        assert!(Mail::new("smtp://[::1]:25", false, Source::Nothing, None).is_ok());
        assert!(refused("smtp://mail.example.org", false).contains("only for a server on this machine"));
        assert!(refused("smtp://localhost.example.org", false).contains("only for a server on this machine"));
        assert!(refused("smtps://localhost", false).contains("the opposite"));
        for url in ["smtps://me:hunter2@mail.example.org", "smtp://me:hunter2@localhost"] {
            let why = refused(url, true);
            assert!(why.contains("secrets never stand in this file") && !why.contains("hunter2"), "{why}");
        }
        assert!(refused("smtps://me@mail.example.org", true).contains("a user needs a password"));
        for url in
            ["mail.example.org", "http://mail.example.org", "smtps://", "smtps://a b", "smtps://h:0", "smtps://h:x", "smtps://h/path"]
        {
            assert!(refused(url, true).contains("expected a server"), "{url}");
        }
    }

    #[test]
    fn nothing_from_outside_makes_a_header() {
        for text in [
            "a@b.example\nBcc: x@evil.example",
            "a@b.example\r\nX: y",
            "A\u{0}B <a@b.example>",
            "not an address",
            "a@b.example, c@d.example",
            "",
        ] {
            assert!(address(text).is_err(), "{text:?}");
        }
        let mut mail = Mail::new("smtp://localhost", false, Source::Nothing, None).unwrap();
        mail.set_from("Retention <from@example.org>").unwrap();
        mail.add_to("to@example.org").unwrap();
        let evil = "films (Nights\r\nBcc: x@evil.example\r\n\r\nbody)";
        let trouble = Trouble { kind: "failing", about: evil.into(), what: "x\r\n.\r\nMAIL FROM:<evil>".into(), todo: String::new() };
        let notice =
            Notice { node: "hq".into(), at: String::new(), occasion: Occasion::Trouble, troubles: vec![trouble], datasets: Vec::new() };
        let message = mail.message(&notice).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> =
            head.lines().filter(|line| !line.starts_with([' ', '\t'])).filter_map(|line| line.split(':').next()).collect();
        assert!(!names.contains(&"Bcc") && names.contains(&"Subject"), "{head}");
        assert_eq!(message.envelope().to().len(), 1);
    }
}
