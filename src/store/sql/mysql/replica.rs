//! What a server says of the replication that it takes part in, as a replica.
//!
//! Only a replica knows how far behind it is. It says so in whole seconds, by the clock of its primary, and null while it does not replicate. What
//! it has not even been sent, it does not know of.

use std::time::Duration;

use super::super::session::{Failure, Outcome, Session, Trouble};
use super::super::statement::Statement;
use super::super::value::Cell;

/// Where in a row stand whether it receives and applies, and how far it is behind.
const RUNNING: usize = 10;
const BEHIND: usize = 32;

/// One source that the server replicates from.
struct Source {
    receives: bool,
    applies: bool,
    behind: Option<Duration>,
}

/// Where the server replicates from; `None` when it does not say so to this account.
async fn sources(session: &mut Session) -> Outcome<Option<Vec<Source>>> {
    // MariaDB's words, whose rows begin with the connection and its state; MySQL's, and those that it had before 8.0.22.
    for (asked, from) in [("SHOW ALL SLAVES STATUS", 2), ("SHOW REPLICA STATUS", 0), ("SHOW SLAVE STATUS", 0)] {
        match session.rows(&Statement::new(asked)).await {
            Ok(rows) => return Ok(Some(rows.iter().map(|row| source(row.get(from..).unwrap_or_default())).collect())),
            Err(failure) if failure.trouble == Trouble::Gone => return Err(failure),
            // Not this server's words, or not this account's business.
            Err(_) => {}
        }
    }
    Ok(None)
}

fn source(row: &[Cell]) -> Source {
    let runs = |at: usize| row.get(at).and_then(Cell::text).is_some_and(|text| text == "Yes");
    let behind = row.get(BEHIND).and_then(Cell::text).and_then(|text| text.parse().ok()).map(Duration::from_secs);
    Source { receives: runs(RUNNING), applies: runs(RUNNING + 1), behind }
}

/// Whether the server takes over the changes of another, as far as the account may know.
pub(super) async fn replicates(session: &mut Session) -> Outcome<bool> {
    Ok(sources(session).await?.into_iter().flatten().any(|source| source.receives || source.applies))
}

/// How far this replica is behind.
pub(in super::super) async fn lag(session: &mut Session) -> Outcome<Duration> {
    let Some(sources) = sources(session).await? else {
        return Err(Failure::other(
            "the account may not see how far it is behind; `GRANT REPLICA MONITOR ON *.* TO …` (MySQL: `REPLICATION CLIENT`)",
        ));
    };
    if sources.is_empty() {
        return Err(Failure::other("it is no replica; name the servers that replicate from the store's own"));
    }
    let known = |source: &Source| source.behind.filter(|_| source.receives && source.applies);
    let lags: Option<Vec<Duration>> = sources.iter().map(known).collect();
    lags.and_then(|lags| lags.into_iter().max()).ok_or_else(|| Failure::other("its replication does not run"))
}
