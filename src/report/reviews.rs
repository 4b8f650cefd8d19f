//! Review batches, as text for people.

use std::fmt::Write as _;

use super::{bytes, count};
use crate::review::batch::SHORT;
use crate::session::Listed;

/// The answer of `review list`.
pub fn reviews(rows: &[Listed]) -> String {
    let mut out = String::new();
    for row in rows {
        let title = row.title.as_deref().filter(|title| *title != row.class).map_or(String::new(), |title| format!(" \"{title}\""));
        let id = row.batch.get(..SHORT).unwrap_or(&row.batch);
        let _ = writeln!(out, "{id}  {}: {}{title}, due in {}", row.dataset, row.class, row.month);
        let _ = writeln!(
            out,
            "  {}, {}, asked since {}",
            count(row.records, "record"),
            bytes(row.bytes),
            row.since.get(..10).unwrap_or(&row.since)
        );
        let _ = writeln!(out, "  {}", row.words);
        for terms in &row.terms {
            let _ = writeln!(out, "  asked for: {terms}");
        }
        for decision in &row.decisions {
            let _ = writeln!(out, "  {decision}");
        }
    }
    let waiting: u64 = rows.iter().filter(|row| row.standing == "waiting").map(|row| row.records).sum();
    let _ = match rows.len() {
        0 => write!(out, "nothing waits for people"),
        1 => write!(out, "1 batch; records that wait for people: {waiting}"),
        number => write!(out, "{number} batches; records that wait for people: {waiting}"),
    };
    out
}
