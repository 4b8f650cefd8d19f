//! What must outlive a log that is followed by another: holds in force, and runs that a crash interrupted.
//!
//! The old log cannot be written any more, so these are written again into the new one, with the fields that they had and the number of the old entry
//! in `carried_from`. A hold goes on under its id. A run that has no end is begun again with the records of its intents that have no outcome, and the
//! next start looks what became of them, as after any crash.
//!
//! Flags are not carried over: the next run flags again what is due. Schedules are not either: the next start writes down those in force.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::audit::{Draft, Entry, Kind as EntryKind, Reader};
use crate::error::{Error, Kind, Result, escape};

/// An entry of the old log that is still in force.
struct Standing {
    n: u64,
    kind: EntryKind,
    fields: Map<String, Value>,
}

/// Reads what is still in force in the log in `folder`, as drafts in the order of the old entries. Signatures are not checked: nobody may be able to.
///
/// [`Kind::Refused`] if the log cannot be read to its end, unless the loss of what stands behind is accepted.
pub fn carried(folder: &Path, accept_loss: bool) -> Result<Vec<Draft>> {
    let mut standing: BTreeMap<u64, Standing> = BTreeMap::new();
    let mut names: HashMap<(EntryKind, String), u64> = HashMap::new();
    let read = Reader::open(folder).and_then(|reader| {
        reader.entries().try_for_each(|item| {
            let (n, bytes) = item?;
            let entry = Entry::parse(&bytes).map_err(|error| error.context(format_args!("entry {n}")))?;
            // Runs before have all ended, whatever of them was archived.
            if n >= reader.settled_before() || !matches!(entry.kind, EntryKind::RunStarted | EntryKind::Intent) {
                see(entry, &mut standing, &mut names);
            }
            Ok(())
        })
    });
    if let Err(error) = read
        && !accept_loss
    {
        let shown = escape(folder.as_os_str().as_encoded_bytes());
        let message = format!(
            "{shown}: the old log cannot be read to its end, so holds may be unknown that protect records: {error}; restore it, or say --accept-loss and place \
             holds again before the next run"
        );
        return Err(Error::new(Kind::Refused, message));
    }
    let draft = |Standing { n, kind, mut fields }: Standing| {
        fields.insert("carried_from".to_owned(), json!(n));
        Draft::new(kind, &fields)
    };
    standing.into_values().map(draft).collect()
}

/// Takes the next entry into account.
fn see(entry: Entry, standing: &mut BTreeMap<u64, Standing>, names: &mut HashMap<(EntryKind, String), u64>) {
    let text = |name: &str| entry.str(name).unwrap_or_default().to_owned();
    let n = entry.n;
    match entry.kind {
        EntryKind::HoldPlaced => {
            if let Some(before) = names.insert((EntryKind::HoldPlaced, text("hold")), n) {
                standing.remove(&before);
            }
        }
        EntryKind::HoldReleased => {
            names.remove(&(EntryKind::HoldPlaced, text("hold"))).map(|placed| standing.remove(&placed));
            return;
        }
        EntryKind::RunStarted => drop(names.insert((EntryKind::RunStarted, text("run")), n)),
        EntryKind::RunFinished => {
            names.remove(&(EntryKind::RunStarted, text("run"))).map(|begun| standing.remove(&begun));
            return;
        }
        EntryKind::Intent => {}
        kind if kind.is_outcome() => {
            let intent = entry.u64("intent").unwrap_or(u64::MAX);
            if let Some(open) = standing.get_mut(&intent)
                && let Some(Value::Array(records)) = open.fields.get_mut("records")
            {
                records.retain(|record| record.as_str() != entry.str("record"));
                if records.is_empty() {
                    standing.remove(&intent);
                }
            }
            return;
        }
        _ => return,
    }
    standing.insert(n, Standing { n, kind: entry.kind, fields: entry.fields });
}
