//! The deletion log for the monthly review: one row for each outcome, as they stand in the log, written while the log is read.
//!
//! CSV (RFC 4180) for spreadsheets, one HTML file for people, one JSON document for programs. The columns are the same in all three, see [`COLUMNS`].

use std::io::{self, Write};

use serde_json::{Value, json};

use super::markup::{cell, html};
use super::selection::Selection;
use super::signed::Signed;
use crate::audit::{Entry, Kind as EntryKind};
use crate::error::{Error, Kind, Result};

/// The columns and what is in them.
pub const COLUMNS: [(&str, &str); 22] = [
    ("entry", "index of the entry in the audit log"),
    ("at", "when it was written, UTC"),
    (
        "outcome",
        "destroyed, anonymised, attested (destroyed by a person), absent (gone already), kept, failed, or recovered (found out after an interruption)",
    ),
    ("store", "the store"),
    ("dataset", "the dataset in it"),
    ("class", "the record class that decided"),
    ("record", "the record, by its pseudonym, or in plain where its dataset says so"),
    ("size", "bytes"),
    ("event", "the event that started the period"),
    ("event_date", "its date"),
    ("due", "the last day on which the record had to be kept"),
    ("schedule", "SHA-256 of the schedule's text, which is in the log"),
    ("method", "how it went"),
    ("grade", "how thoroughly it went"),
    ("verified", "whether the store was asked again and it was gone"),
    ("caveats", "what speaks against a higher grade"),
    ("beyond_use_until", "the day on which the last backup that may hold it has aged out"),
    ("why", "why it was kept, or what a second look found"),
    ("detail", "more about that, or the error"),
    ("erasure", "the entry that decided it, on a request for erasure"),
    ("run", "the run"),
    ("by", "which program"),
];

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For spreadsheets.
    Csv,
    /// For people.
    Html,
    /// For programs.
    Json,
}

const STYLE: &str = "
@page { size: A4 landscape; margin: 12mm }
html { font: 9pt/1.35 'Liberation Sans', Arial, 'DejaVu Sans', sans-serif; color: #111; background: #fff }
h1 { font-size: 16pt; margin: 0 0 1mm }
p { margin: 0 0 3mm }
table { border-collapse: collapse; width: 100%; font-size: 7.5pt }
caption { text-align: left; padding-bottom: 1mm; color: #444 }
thead { display: table-header-group }
tr { break-inside: avoid }
th, td { text-align: left; vertical-align: top; padding: 0.8mm 1.2mm; border-bottom: 0.4pt solid #aaa; overflow-wrap: anywhere }
thead th { border-bottom: 1pt solid #111; overflow-wrap: normal }
td.n { text-align: right }
";

/// Writes the outcomes that were selected.
pub fn write(signed: &Signed, about: &Selection, form: Form, out: &mut impl Write) -> Result<()> {
    let fail = |error: io::Error| Error::with_source(Kind::Io, "the report cannot be written", error);
    begin(signed, about, form, out).map_err(fail)?;
    let mut rows = 0;
    signed.entries(|entry| {
        if entry.kind.is_outcome() && about.covers(entry) && about.has_class(entry.str("class").unwrap_or_default()) {
            row(entry, form, rows == 0, out).map_err(fail)?;
            rows += 1;
        }
        Ok(())
    })?;
    end(form, rows, out).and_then(|()| out.flush()).map_err(fail)
}

fn begin(signed: &Signed, about: &Selection, form: Form, out: &mut impl Write) -> io::Result<()> {
    let verified = &signed.verified;
    match form {
        Form::Csv => write_cells(out, &COLUMNS.map(|(name, _)| cell(name))),
        Form::Json => {
            let log = json!({"origin": verified.origin, "size": verified.size, "root": verified.root, "intact": true});
            write!(out, "{{\"log\":{log},\"about\":{},\"outcomes\":[", json!(about))
        }
        Form::Html => {
            let (origin, shown) = (html(&verified.origin), html(&about.shown()));
            write!(
                out,
                "<!DOCTYPE html>\n<html lang=\"en-GB\">\n<head>\n<meta charset=\"utf-8\">\n<title>Deletion log, {origin}, {shown}</title>\n\
                 <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Deletion log</h1>\n<p>{origin}, {shown}. The audit log of {} entries was \
                 verified and found intact; root <code>{}</code>.</p>\n<table>\n<caption>One row for each outcome</caption>\n<thead><tr>",
                verified.size,
                html(&verified.root),
            )?;
            for (name, what) in COLUMNS {
                write!(out, "<th scope=\"col\" title=\"{}\">{}</th>", html(what), html(&name.replace('_', " ")))?;
            }
            out.write_all(b"</tr></thead>\n<tbody>\n")
        }
    }
}

fn row(entry: &Entry, form: Form, first: bool, out: &mut impl Write) -> io::Result<()> {
    let values = COLUMNS.map(|(name, _)| value(entry, name));
    match form {
        Form::Csv => write_cells(out, &values.map(|value| cell(&shown(&value)))),
        Form::Json => {
            let object: serde_json::Map<String, Value> = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).zip(values).collect();
            write!(out, "{}\n{}", if first { "" } else { "," }, Value::Object(object))
        }
        Form::Html => {
            out.write_all(b"<tr>")?;
            for value in values {
                let class = if value.is_number() { " class=\"n\"" } else { "" };
                write!(out, "<td{class}>{}</td>", html(&shown(&value)))?;
            }
            out.write_all(b"</tr>\n")
        }
    }
}

fn end(form: Form, rows: u64, out: &mut impl Write) -> io::Result<()> {
    match form {
        Form::Csv => Ok(()),
        Form::Json => writeln!(out, "\n],\"count\":{rows}}}"),
        Form::Html => {
            writeln!(out, "</tbody>\n</table>\n<p>{}</p>\n</main>\n</body>\n</html>", super::count(rows, "outcome"))
        }
    }
}

/// What stands in a column.
fn value(entry: &Entry, column: &str) -> Value {
    let field = |name: &str| entry.fields.get(name).cloned().unwrap_or_default();
    match column {
        "entry" => json!(entry.n),
        "at" => json!(entry.at),
        "outcome" => json!(entry.kind.as_str()),
        "why" => {
            if entry.fields.contains_key("why") {
                field("why")
            } else {
                field("found")
            }
        }
        "detail" => {
            if entry.kind == EntryKind::Attested {
                let text = |name: &str| entry.str(name).unwrap_or_default();
                json!(format!("{} says so; destroyed on {}, certificate {}", text("person"), text("on"), text("certificate")))
            } else if entry.fields.contains_key("detail") {
                field("detail")
            } else {
                field("error")
            }
        }
        other => field(other),
    }
}

/// A value in a cell.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(texts) => texts.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn write_cells(out: &mut impl Write, cells: &[String; COLUMNS.len()]) -> io::Result<()> {
    out.write_all(cells.join(",").as_bytes())?;
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_explains_every_column_as_it_is_explained_here() {
        let page = include_str!("../cli/schema/man-tail.troff").replace("\\-", "-").to_lowercase();
        for (name, what) in COLUMNS {
            assert!(page.contains(&format!("\\fb{name}\\fr\n{}.", what.to_lowercase())), "{name}");
        }
    }
}
