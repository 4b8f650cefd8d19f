//! How the service is watched: where monitoring finds its numbers, and whom it tells of troubles.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::service::span_of;
use crate::error::escape;
use crate::notify::{Mail, Webhook};
use crate::password::{self, Source};
use crate::schedule::{Schedules, Timetable};
use crate::yaml::{Fields, Node, Problems};

/// How long the same trouble is not told again, unless the configuration says otherwise.
const AGAIN_AFTER: Duration = Duration::from_hours(24);

/// Where monitoring finds its numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where Prometheus asks.
    pub listen: Option<Listen>,
    /// The file that the textfile collector of node-exporter reads.
    pub textfile: Option<PathBuf>,
}

/// A place to listen at that only this machine reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A port of the loopback interface.
    Loopback(SocketAddr),
    /// A Unix socket.
    Socket(PathBuf),
}

/// Whom the service tells of troubles.
#[derive(Clone, Debug)]
pub struct Notify {
    /// When it sends a summary.
    pub at: Option<Timetable>,
    /// The zone of that timetable.
    pub zone: TimeZone,
    /// How long the same trouble is not told again.
    pub again_after: Duration,
    /// By mail.
    pub mail: Option<Mail>,
    /// By a request to a web server.
    pub webhook: Option<Webhook>,
}

/// Reads `metrics:`.
pub(super) fn metrics(fields: &mut Fields<'_>, base: &Path, problems: &mut Problems) -> Metrics {
    let mut metrics = Metrics::default();
    let Some(node) = fields.take("metrics") else { return metrics };
    let Some(mut inner) = node.fields("where the numbers go, such as `{ listen: \"127.0.0.1:9465\" }`", problems) else { return metrics };
    let (listen, textfile) = (inner.take("listen"), inner.take("textfile"));
    inner.finish("metrics", problems);
    if listen.is_none() && textfile.is_none() {
        problems.add(node.mark, "`metrics`: expected `listen:`, `textfile:` or both, found neither");
    }
    metrics.listen = listen.and_then(|node| listen_at(node, base, problems));
    if let Some(node) = textfile
        && let Some(text) = node.text("the path of a file that ends in .prom", problems)
    {
        let path = base.join(text);
        if path.extension().is_none_or(|end| end != "prom") {
            let found = escape(text.as_bytes());
            problems.add(
                node.mark,
                format!("`textfile`: expected a name that ends in .prom, since the collector reads no other, found \"{found}\""),
            );
        }
        metrics.textfile = Some(path);
    }
    metrics
}

fn listen_at(node: &Node, base: &Path, problems: &mut Problems) -> Option<Listen> {
    let text = node.text("a port of this machine, such as 127.0.0.1:9465, or the path of a socket", problems)?;
    let refuse = |why: &str| {
        let found = escape(text.as_bytes());
        format!(
            "`listen`: expected a port of this machine such as 127.0.0.1:9465 or [::1]:9465, or the path of a socket with a / in it, found {why}\"{found}\""
        )
    };
    match text.parse::<SocketAddr>() {
        Ok(at) if at.ip().is_loopback() => Some(Listen::Loopback(at)),
        Ok(_) => {
            problems.add(node.mark, refuse("an address that other machines reach: "));
            None
        }
        // A mistyped address is no path.
        Err(_) if text.contains('/') => Some(Listen::Socket(base.join(text))),
        Err(_) => {
            problems.add(node.mark, refuse(""));
            None
        }
    }
}

/// Reads `notify:`.
pub(super) fn notify(fields: &mut Fields<'_>, base: &Path, schedules: Option<&Schedules>, problems: &mut Problems) -> Option<Notify> {
    let node = fields.take("notify")?;
    let mut inner = node.fields("whom to tell, such as `{ mail: … }` or `{ webhook: … }`", problems)?;
    let mut notify = Notify {
        at: None,
        zone: schedules.and_then(|schedules| schedules.all.first()).map_or(TimeZone::UTC, |schedule| schedule.zone.clone()),
        again_after: AGAIN_AFTER,
        mail: None,
        webhook: None,
    };
    if let Some(node) = inner.take("at")
        && let Some(text) = node.text("a timetable such as \"0 8 * * 1\"", problems)
    {
        notify.at = Timetable::parse(text).map_err(|error| problems.add(node.mark, format!("`at`: {error}"))).ok();
    }
    if let Some(span) = inner.take("again-after").and_then(|node| span_of("again-after", node, false, problems)) {
        notify.again_after = span;
    }
    let (mail, webhook) = (inner.take("mail"), inner.take("webhook"));
    inner.finish("notify", problems);
    if mail.is_none() && webhook.is_none() {
        problems.add(node.mark, "`notify`: expected `mail:`, `webhook:` or both, found neither");
    }
    notify.mail = mail.and_then(|node| mail_of(node, base, problems));
    notify.webhook = webhook.and_then(|node| webhook_of(node, base, problems));
    Some(notify)
}

fn mail_of(node: &Node, base: &Path, problems: &mut Problems) -> Option<Mail> {
    let mut fields = node.fields("how mail is sent: a mapping with `server`, `from` and `to`", problems)?;
    let (server, from, to) =
        (fields.need("server", "mail", problems), fields.need("from", "mail", problems), fields.need("to", "mail", problems));
    let (encryption, authorities) = (fields.take("encryption"), fields.take("authorities"));
    let password = password::source(&mut fields, base, problems);
    fields.finish("mail", problems);
    let server = server?;
    let url = server.text("the server, such as smtps://retentiond@mail.example.org", problems)?;
    let encrypted = match encryption.map(|node| (node, node.text("`encryption` to be starttls or none", problems))) {
        None | Some((_, None | Some("starttls"))) => true,
        Some((_, Some("none"))) => false,
        Some((node, Some(other))) => {
            let found = escape(other.as_bytes());
            problems.add(node.mark, format!("expected `encryption` to be starttls or none, found \"{found}\""));
            true
        }
    };
    let authorities = authorities.and_then(|node| node.text("a file of certificates", problems)).map(|text| base.join(text));
    let password = password?;
    let mut mail =
        Mail::new(url, encrypted, password, authorities).map_err(|why| problems.add(server.mark, format!("mail: {why}"))).ok()?;
    let from = from?;
    let text = from.text("an address such as retentiond@example.org", problems)?;
    mail.set_from(text).map_err(|why| problems.add(from.mark, format!("`from`: {why}"))).ok()?;
    for node in to?.one_or_more("an address such as dpo@example.org, or a list of them", problems) {
        let text = node.text("an address such as dpo@example.org", problems)?;
        mail.add_to(text).map_err(|why| problems.add(node.mark, format!("`to`: {why}"))).ok()?;
    }
    Some(mail)
}

fn webhook_of(node: &Node, base: &Path, problems: &mut Problems) -> Option<Webhook> {
    let mut fields = node.fields("where requests go: a mapping with `url`", problems)?;
    let (url, authorities) = (fields.need("url", "webhook", problems), fields.take("authorities"));
    let secret = password::source(&mut fields, base, problems);
    fields.finish("webhook", problems);
    let authorities = authorities.and_then(|node| node.text("a file of certificates", problems)).map(|text| base.join(text));
    let url = url?;
    let text = url.text("a URL such as https://chat.example.org/hooks/1", problems)?;
    Webhook::new(text, secret.unwrap_or(Source::Nothing), authorities).map_err(|why| problems.add(url.mark, format!("webhook: {why}"))).ok()
}
