//! What records count for in statistics: read before they go, and written down before they go.
//!
//! The counts stand in the log, in entries right behind the intent and committed with it, so they are as durable as the intent before anything is
//! touched. A record is counted once its outcome says that it went, whether the run wrote that or recovery did; one that was kept is not. Since each
//! record of an intent has exactly one outcome, nothing is counted twice or lost, whatever crashes, and the table can be made anew from the log.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Run;
use super::batches::Names;
use crate::audit::{Draft, Kind as EntryKind};
use crate::error::{Error, Kind, Result};
use crate::judge::Deciding;
use crate::record::{Key, Record};
use crate::store::Cell;

/// Bytes of cells in one entry: well below what an entry holds, however JSON escapes them.
const ENTRY_BYTES: usize = 8 * 1024;

/// The longest value that is counted by; what is longer is cut, for nobody counts by texts.
const LONGEST: usize = 100;

/// Cells of the records from some place on, as far as they fit into one entry.
#[derive(Default)]
struct Piece {
    cells: Vec<Value>,
    known: HashMap<(String, Cell), usize>,
    of: Vec<Option<usize>>,
    bytes: usize,
}

impl Run {
    /// For each intent of a batch the entries that say what its records count for.
    pub(super) async fn counted_by_intent(&self, intents: &[Names], records: &[Record], deciding: &[Deciding]) -> Result<Vec<Vec<Draft>>> {
        let (mut counted, mut begin) = (Vec::with_capacity(intents.len()), 0);
        for names in intents {
            let its = begin..begin + names.count();
            begin = its.end;
            counted.push(self.counted(&records[its.clone()], &deciding[its]).await?);
        }
        Ok(counted)
    }

    /// The entries that say what the records of an intent count for; none where the dataset has no statistics.
    async fn counted(&self, records: &[Record], deciding: &[Deciding]) -> Result<Vec<Draft>> {
        let dataset = self.dataset();
        let Some(counts) = dataset.store.counts(&dataset.name) else { return Ok(Vec::new()) };
        let keys: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
        let cells = dataset.store.cells(&dataset.name, &keys).await?;
        if cells.len() != records.len() {
            return Err(Error::new(Kind::Store, "the store answered for another number of records"));
        }
        let draft = |piece: Piece| {
            let body = json!({
                "run": self.id, "store": dataset.store.name(), "dataset": dataset.name, "by": counts.by, "smallest": counts.smallest,
                "cells": piece.cells, "of": piece.of,
            });
            Draft::new(EntryKind::Statistics, &body)
        };
        let (mut drafts, mut piece) = (Vec::new(), Piece::default());
        for (cell, facts) in cells.into_iter().zip(deciding) {
            if piece.bytes > ENTRY_BYTES {
                drafts.push(draft(std::mem::take(&mut piece))?);
            }
            piece.add(&facts.event_date.strftime("%Y-%m").to_string(), cell);
        }
        drafts.push(draft(piece)?);
        Ok(drafts)
    }
}

impl Piece {
    fn add(&mut self, month: &str, cell: Option<Cell>) {
        self.bytes += 6;
        let Some(cell) = cell else { return self.of.push(None) };
        let cell: Cell = cell.into_iter().map(|value| value.map(|value| value.chars().take(LONGEST).collect())).collect();
        let next = self.cells.len();
        let at = *self.known.entry((month.to_owned(), cell.clone())).or_insert(next);
        if at == next {
            self.bytes += month.len() + cell.iter().flatten().map(|value| value.len() + 4).sum::<usize>();
            let mut row = vec![json!(month)];
            row.extend(cell.into_iter().map(Value::from));
            self.cells.push(Value::from(row));
        }
        self.of.push(Some(at));
    }
}
