//! One dataset of a files store, as the configuration describes it.
//!
//! ```yaml
//! path: "{camera}/{recorded:%Y-%m-%d}/*.mp4"   # which paths are records
//! record: file                                 # file (default) | directory: the path then ends in `/**` and the directory is the record
//! events:
//!   recorded: path                             # a dated capture of this name
//!   changed: modified                          # the last write; of a directory, the latest of anything inside
//!   made: created                              # the creation, where the file system keeps it
//!   call: { sidecar: "{stem}.json", field: "meta.recorded", zone: Europe/London }
//! erase: unlink                                # unlink (default) | overwrite
//! companions: ["{stem}.jpg", "{name}.json"]    # go with the record, as every sidecar does
//! prune-empty: false                           # remove directories that become empty, but none that the path names literally
//! readers: 4                                   # threads that scan; default the number of cores, at least 4
//! ```

use jiff::tz::TimeZone;

use super::companion::Template;
use super::erase::{DISCARDED, GRADES, OVERWRITTEN, UNLINKED};
use super::pattern::Pattern;
use crate::error::escape;
use crate::schedule::EventName;
use crate::schedule::load::zone_named;
use crate::store::{DatasetHead, EventPlace};
use crate::yaml::{Fields, Mark, Node, Problems, near};

/// More readers than this gain nothing on any disk.
const MOST_READERS: usize = 256;

/// One dataset.
#[derive(Debug)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// Which files are records; for directories: which directories.
    pub pattern: Pattern,
    /// For directories: everything inside them.
    pub cover: Option<Pattern>,
    /// Its events in the order of the configuration.
    pub events: Vec<(EventName, Source)>,
    /// The capture that picks the class.
    pub class_by: Option<usize>,
    /// The capture that names the subject.
    pub subject: Option<usize>,
    /// What goes with a record, sidecars included.
    pub companions: Vec<Template>,
    /// Whether contents are overwritten before the name is removed.
    pub overwrite: bool,
    /// Whether directories that become empty are removed.
    pub prune_empty: bool,
    /// Threads that scan.
    pub readers: usize,
}

/// Where the date of an event stands.
#[derive(Debug)]
pub enum Source {
    /// In the path: a dated capture.
    Path(usize),
    /// The last write.
    Modified,
    /// The creation.
    Created,
    /// In a JSON file beside the record.
    Sidecar(Sidecar),
    /// In another dataset; this capture is the value to look it up by.
    Elsewhere(usize),
}

/// A JSON file beside a record.
#[derive(Debug)]
pub struct Sidecar {
    /// Its name.
    pub template: Template,
    /// The field, from the outside in.
    pub field: Vec<String>,
    /// The zone of timestamps that carry none.
    pub zone: Option<TimeZone>,
}

impl Dataset {
    /// Whether the records are directories.
    pub fn directories(&self) -> bool {
        self.cover.is_some()
    }

    /// Which paths belong to a record: the record itself, or everything inside it.
    pub fn reach(&self) -> &Pattern {
        self.cover.as_ref().unwrap_or(&self.pattern)
    }

    /// Whether some event needs the file's times, or some sidecar, so that the path alone does not tell.
    pub fn has_sidecars(&self) -> bool {
        self.events.iter().any(|(_, source)| matches!(source, Source::Sidecar(_)))
    }

    /// Reads one dataset; `None` when it cannot be read (the problems are noted).
    pub fn configure(head: &DatasetHead<'_>, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        let path = fields
            .need("path", "a dataset of a files store", problems)
            .and_then(|node| Some((node.text("a pattern", problems)?, node.mark)));
        let record = fields.take("record").and_then(|node| one_of(node, &["file", "directory"], problems));
        let erase = fields.take("erase").and_then(|node| one_of(node, &["unlink", "overwrite"], problems));
        let companions = fields.take("companions").map(|node| templates(node, problems)).unwrap_or_default();
        let prune_empty = fields.take("prune-empty").and_then(|node| node.boolean("prune-empty", problems)).unwrap_or(false);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let readers = fields.take("readers").map_or(Some(cores.max(4)), |node| readers(node, problems));
        let overwrite = erase == Some("overwrite");
        if head.anonymises {
            problems.add(head.mark, "expected a class that destroys, reviews or flags: files cannot be anonymised");
        }
        if let Some((grade, mark)) = head.at_least
            && !GRADES.contains(&grade)
        {
            let (shown, hint) = (escape(grade.as_bytes()), near(grade, [UNLINKED, OVERWRITTEN]));
            problems.add(mark, format!("expected {UNLINKED} or {OVERWRITTEN}, found \"{shown}\"{hint}"));
        } else if let Some((grade, mark)) = head.at_least
            && !overwrite
            && grade != UNLINKED
        {
            let grade = escape(grade.as_bytes());
            problems.add(
                mark,
                format!(
                    "expected a grade that `erase: unlink` reaches, found `{grade}`; write `erase: overwrite` or `at-least: {UNLINKED}`"
                ),
            );
        } else if let Some((DISCARDED, mark)) = head.at_least {
            problems
                .add(mark, format!("expected {UNLINKED} or {OVERWRITTEN}, found \"{DISCARDED}\": no trim is run, so it is never claimed"));
        }
        let (text, mark) = path?;
        let fail =
            |message: String, problems: &mut Problems| problems.add(mark, format!("pattern \"{}\": {message}", escape(text.as_bytes())));
        let (pattern, cover) = match Pattern::parse(text) {
            Err(message) => {
                fail(message, problems);
                return None;
            }
            Ok(whole) if record == Some("directory") => {
                let Some(directory) = whole.directory() else {
                    let message = "with `record: directory` expected one `**`, at the end, after the directory that is the record, such as `{tenancy}/**`";
                    fail(message.into(), problems);
                    return None;
                };
                (directory, Some(whole))
            }
            Ok(whole) => (whole, None),
        };
        let capture = |name: &str, mark: Mark, problems: &mut Problems| {
            let index = pattern.names().iter().position(|known| known == name);
            if index.is_none() {
                let shown = escape(name.as_bytes());
                let remedy = match near(name, pattern.names().iter().map(String::as_str)) {
                    _ if pattern.dates().iter().any(|date| date == name) => "; that is a date, which names nothing".to_owned(),
                    hint if hint.is_empty() => format!("; write {{{shown}}} in `path:`"),
                    hint => hint,
                };
                problems.add(mark, format!("expected a plain capture of the path, found `{shown}`{remedy}"));
            }
            index
        };
        let subject = head.subject.and_then(|(name, mark)| capture(name, mark, problems));
        let class_by = head.class_by.and_then(|(name, mark)| capture(name, mark, problems));
        let mut events = Vec::with_capacity(head.events.len());
        let mut all = companions;
        for event in &head.events {
            let source = match event.source {
                EventPlace::Elsewhere(name, mark) => capture(name, mark, problems).map(Source::Elsewhere),
                EventPlace::Here(node) => source(event.name, node, &pattern, problems),
            };
            if let Some(Source::Sidecar(sidecar)) = &source
                && !all.contains(&sidecar.template)
            {
                all.push(sidecar.template.clone());
            }
            if let Some(source) = source {
                events.push((event.name.clone(), source));
            }
        }
        Some(Self {
            name: head.name.to_owned(),
            pattern,
            cover,
            events,
            class_by,
            subject,
            companions: all,
            overwrite,
            prune_empty,
            readers: readers?,
        })
    }
}

fn one_of(node: &Node, words: &[&'static str], problems: &mut Problems) -> Option<&'static str> {
    let what = words.join(" or ");
    let text = node.text(&what, problems)?;
    let found = words.iter().find(|word| **word == text).copied();
    if found.is_none() {
        problems.add(node.mark, format!("expected {what}, found {}{}", node.found(), near(text, words.iter().copied())));
    }
    found
}

fn template(node: &Node, problems: &mut Problems) -> Option<Template> {
    let text = node.text("the name of a companion", problems)?;
    Template::parse(text).map_err(|message| problems.add(node.mark, message)).ok()
}

fn templates(node: &Node, problems: &mut Problems) -> Vec<Template> {
    let nodes = node.one_or_more("a list of names such as [\"{stem}.jpg\"]", problems);
    nodes.into_iter().filter_map(|node| template(node, problems)).collect()
}

fn readers(node: &Node, problems: &mut Problems) -> Option<usize> {
    let text = node.text("a number of threads", problems)?;
    let number = text.parse().ok().filter(|number| (1..=MOST_READERS).contains(number));
    if number.is_none() {
        problems.add(node.mark, format!("expected a number of threads from 1 to {MOST_READERS}, found {}", node.found()));
    }
    number
}

fn source(event: &EventName, node: &Node, pattern: &Pattern, problems: &mut Problems) -> Option<Source> {
    const WORDS: [&str; 3] = ["path", "modified", "created"];
    const FORMS: &str = "path, modified, created, `{ sidecar: NAME, field: FIELD }` or `{ lookup: STORE.DATASET, by: CAPTURE }`";
    if let crate::yaml::Value::Mapping(pairs) = &node.value {
        let mut fields = node.fields("a sidecar", problems)?;
        if !fields.has("sidecar") {
            let found = pairs.first().map_or("an empty mapping".to_owned(), |(key, ..)| format!("the key `{}`", escape(key.as_bytes())));
            problems.add(node.mark, format!("expected {FORMS}, found {found}"));
            return None;
        }
        let file = fields.need("sidecar", "the source of an event", problems).and_then(|node| template(node, problems));
        let field =
            fields.need("field", "a sidecar", problems).and_then(|node| node.text("the name of a field such as meta.recorded", problems));
        let zone = fields.take("zone").map(|node| {
            let name = node.text("a time zone such as Europe/London", problems)?;
            zone_named(name).map_err(|message| problems.add(node.mark, message)).ok()
        });
        fields.finish("a sidecar", problems);
        // A zone that was written but is wrong must not become no zone.
        let zone = zone.map_or(Some(None), |zone| zone.map(Some))?;
        let field = field?.split('.').map(str::to_owned).collect();
        return Some(Source::Sidecar(Sidecar { template: file?, field, zone }));
    }
    let text = node.text(FORMS, problems)?;
    match text {
        "path" => {
            let index = pattern.dates().iter().position(|name| name == event.as_str());
            if index.is_none() {
                let dates: Vec<String> = pattern.dates().iter().map(|name| format!("{{{name}}}")).collect();
                let found = if dates.is_empty() { "none".to_owned() } else { dates.join(" and ") };
                let remedy = format!("write {{{event}:%Y-%m-%d}} in it, or say where else the date is");
                problems.add(node.mark, format!("expected a date under the event's name in `path:`, found {found}; {remedy}"));
            }
            index.map(Source::Path)
        }
        "modified" => Some(Source::Modified),
        "created" => Some(Source::Created),
        _ => {
            let hint = near(text, WORDS);
            problems.add(node.mark, format!("expected {FORMS}, found {}{hint}", node.found()));
            None
        }
    }
}
