//! What must outlive a log that is followed by another: holds in force, what people keep longer, what they destroyed, and interrupted runs.
//!
//! The old log cannot be written any more, so these are written again into the new one, with the fields that they had and the number of the old entry
//! in `carried_from`.
//!
//! - A hold goes on under its id.
//! - A refusal or an extension of a review goes on until its day.
//! - A person's word that a record is destroyed becomes `attested-before`: the intent and the run that it belonged to stand in the old log. Nobody
//!   is asked for the record again.
//! - A run that has no end is begun again with the records of its intents that have no outcome, and the next start looks what became of them, as
//!   after any crash.
//!
//! Flags and tasks are not carried over: the next run finds again what is due. Approvals are not either, since the terms on which they were given are
//! those of a schedule in the old log: they are asked for anew. Schedules are not: the next start writes down those in force.

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
    let draft = |Standing { n, mut kind, mut fields }: Standing| {
        // From a log that was itself begun anew, the number is that of the entry which was carried over.
        fields.insert("carried_from".to_owned(), json!(n));
        if is_word(kind) {
            kind = EntryKind::AttestedBefore;
            ["run", "intent"].into_iter().for_each(|name| drop(fields.remove(name)));
        }
        Draft::new(kind, &fields)
    };
    standing.into_values().map(draft).collect()
}

/// Whether an entry of this kind may be a person's word that a record is destroyed.
fn is_word(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::Attested | EntryKind::AttestedBefore | EntryKind::Lost)
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
        EntryKind::ReviewRefused | EntryKind::ReviewExtended => {
            if let Some(before) = names.insert((EntryKind::ReviewExtended, text("batch")), n) {
                standing.remove(&before);
            }
        }
        EntryKind::ReviewWithdrawn => {
            names.remove(&(EntryKind::ReviewExtended, text("batch"))).map(|decided| standing.remove(&decided));
            return;
        }
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
            if !is_word(kind) {
                return;
            }
        }
        // One that an inventory missed is nobody's word.
        EntryKind::AttestedBefore | EntryKind::Lost if entry.str("certificate").is_some() => {}
        _ => return,
    }
    standing.insert(n, Standing { n, kind: entry.kind, fields: entry.fields });
}
