//! What was counted of records before they went: by dataset, by what became of them, by the month of their event, and by the columns that the dataset
//! counts by.
//!
//! Made from the log alone, by reading it once. Held are the cells, and the records whose outcome has not come yet. A count below the smallest one that
//! its dataset shows is not shown, and neither are sums from which it could be found.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::markup::cell;
use super::selection::{Selection, dataset_of};
use super::signed::Signed;
use crate::audit::{Entry, Kind as EntryKind};
use crate::error::{Error, Kind, Result};

/// Cells that are told apart at most: columns that make more of them are no columns to count by.
const MOST: usize = 1 << 20;

/// Where a record is counted: dataset, `destroyed` or `anonymised`, month, values.
type Place = (String, &'static str, String, Vec<Option<String>>);

/// Counts of records that went.
#[derive(Default)]
pub struct Statistics {
    counts: BTreeMap<Place, u64>,
    /// Of each dataset: the columns that it counts by, and the smallest count that is shown, as it said last.
    of: BTreeMap<String, (Vec<String>, u64)>,
    /// Records that went without a word of what they count for.
    uncounted: BTreeMap<String, u64>,
}

/// An intent whose records are counted, and of which some have no outcome yet.
struct Open {
    cells: Vec<Cell>,
    of: HashMap<String, Option<usize>>,
}

/// A month and values.
type Cell = (String, Vec<Option<String>>);

/// What a record counts for.
enum CountsFor {
    /// Its dataset has no statistics.
    Nothing,
    /// It was not there when it was asked for.
    Unknown,
    Cell(Cell),
}

/// What is remembered while the log is read.
#[derive(Default)]
struct Reading {
    statistics: Statistics,
    open: HashMap<u64, Open>,
    /// The last intent and the entries of statistics behind it: its index, the index of the next entry, its records that are not assigned yet.
    last: Option<(u64, u64, std::vec::IntoIter<String>)>,
}

impl Statistics {
    /// Counts what the log says, of one store or dataset or of all.
    pub fn gather(signed: &Signed, store: Option<&str>) -> Result<Self> {
        let about = Selection { run: None, from: None, to: None, classes: Vec::new(), store: store.map(str::to_owned) };
        let mut reading = Reading::default();
        signed.entries(|entry| if about.covers(entry) { reading.take(entry) } else { Ok(()) })?;
        Ok(reading.statistics)
    }

    fn smallest(&self, dataset: &str) -> u64 {
        self.of.get(dataset).map_or(10, |(_, smallest)| *smallest)
    }

    /// For spreadsheets.
    pub fn csv(&self) -> String {
        let mut out = "dataset,outcome,month,counted by,records\r\n".to_owned();
        for ((dataset, outcome, month, values), count) in &self.counts {
            let (by, smallest) = self.of.get(dataset).cloned().unwrap_or_default();
            let values: Vec<String> =
                by.iter().zip(values).map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("(none)"))).collect();
            let shown = if *count < smallest { format!("fewer than {smallest}") } else { count.to_string() };
            let cells = [dataset.as_str(), outcome, month, &values.join("; "), &shown].map(cell);
            out.push_str(&cells.join(","));
            out.push_str("\r\n");
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let row = |((dataset, outcome, month, values), count): (&Place, &u64)| {
            let smallest = self.smallest(dataset);
            let by = self.of.get(dataset).map(|(by, _)| by.as_slice()).unwrap_or_default();
            let values: serde_json::Map<String, Value> = by.iter().cloned().zip(values.iter().map(|value| json!(value))).collect();
            let shown = (*count >= smallest).then_some(*count);
            json!({"dataset": dataset, "outcome": outcome, "month": month, "by": values, "records": shown, "fewer_than": shown.map_or(Some(smallest), |_| None)})
        };
        // Few of them are as telling as few in a cell.
        let uncounted = |(dataset, count): (&String, &u64)| json!({"dataset": dataset, "some": *count > 0});
        json!({"cells": self.counts.iter().map(row).collect::<Vec<_>>(), "uncounted": self.uncounted.iter().map(uncounted).collect::<Vec<_>>()})
    }
}

impl Reading {
    fn take(&mut self, entry: &Entry) -> Result<()> {
        match entry.kind {
            EntryKind::Intent => {
                let records: Vec<String> = entry.strs("records").map(str::to_owned).collect();
                self.last = Some((entry.n, entry.n + 1, records.into_iter()));
            }
            EntryKind::Statistics => self.announced(entry),
            EntryKind::Destroyed | EntryKind::Attested => self.gone(entry, "destroyed")?,
            EntryKind::Anonymised => self.gone(entry, "anonymised")?,
            EntryKind::Recovered => match entry.str("found") {
                Some("anonymised") => self.gone(entry, "anonymised")?,
                Some("gone" | "remains") => self.gone(entry, "destroyed")?,
                _ => self.stays(entry),
            },
            kind if kind.is_outcome() => self.stays(entry),
            _ => {}
        }
        Ok(())
    }

    fn announced(&mut self, entry: &Entry) {
        let Some((intent, next, records)) = self.last.as_mut().filter(|(_, next, _)| *next == entry.n) else { return };
        *next += 1;
        let list = |name: &str| entry.fields.get(name).and_then(Value::as_array).into_iter().flatten();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let by: Vec<String> = list("by").filter_map(text).collect();
        let dataset = dataset_of(entry);
        self.statistics.of.insert(dataset, (by, entry.u64("smallest").unwrap_or(10)));
        let open = self.open.entry(*intent).or_insert_with(|| Open { cells: Vec::new(), of: HashMap::new() });
        let before = open.cells.len();
        open.cells.extend(list("cells").filter_map(Value::as_array).filter_map(|row| {
            let (month, values) = row.split_first()?;
            Some((text(month)?, values.iter().map(text).collect()))
        }));
        for (at, record) in list("of").zip(records) {
            open.of.insert(record, at.as_u64().and_then(|at| usize::try_from(at).ok()).map(|at| before + at));
        }
    }

    /// What the record of an outcome counts for, which is not asked for again.
    fn settle(&mut self, entry: &Entry) -> CountsFor {
        let Some(intent) = entry.u64("intent") else { return CountsFor::Nothing };
        let Some(open) = self.open.get_mut(&intent) else { return CountsFor::Nothing };
        let counts_for = match open.of.remove(entry.str("record").unwrap_or_default()) {
            None => CountsFor::Nothing,
            Some(at) => at.and_then(|at| open.cells.get(at).cloned()).map_or(CountsFor::Unknown, CountsFor::Cell),
        };
        if open.of.is_empty() {
            self.open.remove(&intent);
        }
        counts_for
    }

    fn gone(&mut self, entry: &Entry, outcome: &'static str) -> Result<()> {
        let dataset = dataset_of(entry);
        match self.settle(entry) {
            CountsFor::Nothing => {}
            CountsFor::Unknown => *self.statistics.uncounted.entry(dataset).or_default() += 1,
            CountsFor::Cell((month, values)) => {
                *self.statistics.counts.entry((dataset, outcome, month, values)).or_default() += 1;
                if self.statistics.counts.len() > MOST {
                    let why = format!("the statistics have more than {MOST} cells; ask for one dataset, and count by fewer columns");
                    return Err(Error::new(Kind::Usage, why));
                }
            }
        }
        Ok(())
    }

    fn stays(&mut self, entry: &Entry) {
        self.settle(entry);
    }
}
