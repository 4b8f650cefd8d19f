//! A webhook: one POST with the notice as JSON, for chats, tickets and pagers.
//!
//! ```text
//! POST <url>
//! Content-Type: application/json
//! X-Retentiond-Signature: sha256=<64 hex digits>      HMAC-SHA-256 of the body, where a secret is configured
//!
//! {"node":"hq-1","at":"…","occasion":"trouble","troubles":[…],"datasets":[],"subject":"…","text":"…"}
//! ```
//!
//! Any answer of 2xx is a delivery. It goes encrypted, or to this machine; redirects are not followed and no proxy is asked, as a notice is meant for
//! one server. A receiver checks the signature over the body as it came, and `at` against its clock.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{Notice, certificates, clean, is_this_machine};
use crate::error::{escape, hex};
use crate::password::Source;

/// How long a delivery may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The header with the signature.
const SIGNATURE: &str = "X-Retentiond-Signature";

/// Where requests go.
#[derive(Clone)]
pub struct Webhook {
    url: String,
    secret: Source,
    authorities: Option<PathBuf>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Many a URL of this kind is a secret itself.
        write!(f, "Webhook({})", self.host())
    }
}

impl Webhook {
    /// Requests to a URL, signed with a secret if there is one.
    pub(crate) fn new(url: &str, secret: Source, authorities: Option<PathBuf>) -> Result<Self, String> {
        let refuse = || "expected a URL such as https://chat.example.org/hooks/1, or http:// to this machine itself".to_owned();
        let (scheme, rest) = url.split_once("://").ok_or_else(refuse)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let fine = !authority.is_empty() && !authority.contains('@') && url.bytes().all(|b| b.is_ascii_graphic()) && !url.contains('#');
        let this = Self { url: url.to_owned(), secret, authorities };
        let host = this.host();
        let here = is_this_machine(&host);
        if fine && !host.is_empty() && (scheme == "https" || scheme == "http" && here) { Ok(this) } else { Err(refuse()) }
    }

    /// Its host, for messages.
    fn host(&self) -> String {
        let authority = self.url.split("://").nth(1).unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next(),
            None => authority.split(':').next(),
        };
        escape(host.unwrap_or_default().as_bytes())
    }

    /// Sends a notice; waits for the answer.
    pub fn deliver(&self, notice: &Notice) -> Result<(), String> {
        let fail = |text: &str| format!("webhook {}: the notice was not taken: {}", self.host(), clean(text));
        let mut value = serde_json::to_value(notice).map_err(|error| fail(&error.to_string()))?;
        value["subject"] = notice.subject().into();
        value["text"] = notice.text().into();
        let body = value.to_string();
        let mut request = self.agent()?.post(&self.url).content_type("application/json");
        if let Some(secret) = self.secret.password()? {
            let mac = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()).map_err(|error| fail(&error.to_string()))?;
            let mac = mac.chain_update(body.as_bytes()).finalize().into_bytes();
            request = request.header(SIGNATURE, format!("sha256={}", hex(&mac)));
        }
        // What the library says of a URL may repeat it.
        let answer = request.send(body.as_bytes()).map_err(|error| fail(&error.to_string().replace(&self.url, "URL")))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(fail(&format!("it answered with status {}", status.as_u16()))) }
    }

    fn agent(&self) -> Result<ureq::Agent, String> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("retentiond/", env!("CARGO_PKG_VERSION")));
        if self.url.starts_with("https:") {
            let roots = match &self.authorities {
                Some(path) => certificates(path)?,
                None => rustls_native_certs::load_native_certs().certs,
            };
            if roots.is_empty() {
                return Err("no certificate authorities are known on this machine; install ca-certificates".to_owned());
            }
            let roots: Vec<_> = roots.iter().map(|root| ureq::tls::Certificate::from_der(root).to_owned()).collect();
            // Another part of the program may have set the same one.
            let _ = rustls::crypto::ring::default_provider().install_default();
            config = config.tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::Specific(Arc::new(roots))).build());
        }
        Ok(config.build().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_goes_encrypted_or_to_this_machine() {
        for url in ["https://chat.example.org/hooks/1?x=y", "http://127.0.0.1:8080/", "http://[::1]:1/x", "http://localhost/"] {
            assert!(Webhook::new(url, Source::Nothing, None).is_ok(), "{url}");
        }
        for url in [
            "http://chat.example.org/",
            "chat.example.org",
            "https://",
            "https://u:p@h/",
            "https://h/ x",
            "https://h/\r\nX: y",
            "ftp://localhost/",
        ] {
            assert!(Webhook::new(url, Source::Nothing, None).is_err(), "{url:?}");
        }
        let shown = format!("{:?}", Webhook::new("https://h.example/secret", Source::Nothing, None).unwrap());
        assert_eq!(shown, "Webhook(h.example)");
    }
}
