//! Which server it is that answers.
//!
//! MySQL has a UUID in its data folder, which goes with the data. MariaDB has no such thing, only a hash of the machine's network address and the
//! port (`server_uid`); a server that moves to another machine is another one by that. Both are told apart from their replicas, which have every
//! row and would answer for them.
//!
//! **Go-betweens.** A name with several addresses, or a proxy that spreads connections, may lead to another server each time: what one of them
//! locks another one changes. Each new connection is therefore compared with the last one to the same address. Where another server took over for
//! good, it is believed after a while. A proxy that spreads the statements of one connection is noticed in the transaction itself
//! ([`super::Connection::begin`]).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::server::Server;
use super::super::session::{Failure, Outcome};
use super::super::value::Cell;
use super::catalog::words;
use crate::error::escape;

/// What [`Identity::read`] reads the answer to.
pub(super) const ASKED: &str =
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'server_id', 'hostname', 'port')";

/// How long a server that answered at an address speaks against another one there. Whoever hands over to a replica takes no longer.
const REMEMBERED: Duration = Duration::from_mins(5);

/// Who answered last, by address.
static MET: Mutex<Option<HashMap<String, (Identity, Instant)>>> = Mutex::new(None);

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Identity {
    /// MySQL's UUID, or MariaDB's hash; empty when it has neither.
    unique: String,
    /// The number by which replicas and primaries tell each other apart.
    number: String,
    host: String,
    port: String,
}

impl Identity {
    /// Reads what [`ASKED`] answers.
    pub(super) fn read(rows: &[Vec<Cell>]) -> Self {
        let value =
            |name: &str| rows.iter().find(|row| row.first().map(words).as_deref() == Some(name)).and_then(|row| row.get(1)).map(words);
        let unique = value("server_uuid").or_else(|| value("server_uid")).unwrap_or_default();
        let own = |name: &str| value(name).unwrap_or_default();
        Self { unique, number: own("server_id"), host: own("hostname"), port: own("port") }
    }

    /// What stays the same for as long as it is this server; nothing when it does not say.
    pub(super) fn mark(&self, database: &str) -> String {
        if self.unique.is_empty() { String::new() } else { format!("{}/{}/{database}", self.unique, self.number) }
    }

    /// All of it, by which sessions of one server are told from those of another.
    pub(super) fn whole(&self) -> String {
        format!("{}/{}/{}:{}", self.unique, self.number, self.host, self.port)
    }

    fn shown(&self) -> String {
        format!("{}:{} (server_id {})", escape(self.host.as_bytes()), escape(self.port.as_bytes()), escape(self.number.as_bytes()))
    }

    /// Compares with who answered at this address a moment ago.
    pub(super) fn meet(&self, server: &Server) -> Outcome<()> {
        self.meet_at(&server.identity(), Instant::now())
    }

    fn meet_at(&self, address: &str, now: Instant) -> Outcome<()> {
        let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
        let met = met.get_or_insert_default();
        if let Some((other, at)) = met.get(address)
            && other != self
            && now.saturating_duration_since(*at) < REMEMBERED
        {
            return Err(Failure::other(format!(
                "two servers answer at this address, {} and {}, and what one of them locks the other may change; name one of them, or wait {} minutes \
                 where one has taken the other's place",
                other.shown(),
                self.shown(),
                REMEMBERED.as_secs() / 60
            )));
        }
        met.insert(address.to_owned(), (self.clone(), now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: &str) -> Identity {
        let text = |text: &str| Cell::Text(text.into());
        Identity::read(&[vec![text("server_id"), text(number)], vec![text("hostname"), text("db")], vec![text("port"), text("3306")]])
    }

    #[test]
    fn two_servers_behind_one_address_are_noticed_and_one_that_takes_over_is_believed_after_a_while() {
        let (one, two, address) = (server("1"), server("2"), "mysql:a test's own address");
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        one.meet_at(address, now).unwrap();
        one.meet_at(address, after(60)).unwrap();
        let refused = two.meet_at(address, after(61)).unwrap_err().text;
        assert!(refused.contains("db:3306 (server_id 1) and db:3306 (server_id 2)"), "{refused}");
        two.meet_at("mysql:another address", after(61)).unwrap();
        assert!(two.meet_at(address, after(359)).is_err(), "that it was refused does not count as seen");
        two.meet_at(address, after(361)).unwrap();
        assert!(one.meet_at(address, after(362)).is_err());
    }

    #[test]
    fn a_server_that_says_nothing_unique_has_no_mark() {
        assert_eq!(server("1").mark("d"), "");
        let text = |text: &str| Cell::Text(text.into());
        for name in ["server_uuid", "server_uid"] {
            let said = Identity::read(&[vec![text(name), text("u")], vec![text("server_id"), text("7")]]);
            assert_eq!(said.mark("d"), "u/7/d");
        }
    }
}
