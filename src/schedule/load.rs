//! Loading schedule files: all of them, or none.
//!
//! `schedules:` names one file or a folder; of a folder, every `*.yaml` and `*.yml` file directly in it is read, in the order of names. When
//! any file has any problem, nothing is loaded and every problem of every file is reported at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::class::{ClassId, Disposition, Keep, RecordClass};
use super::erasure::{Answer, OnErasure};
use super::period::{Counting, Period};
use super::review::Terms;
use super::trigger::{EventName, Trigger};
use super::{Schedule, Schedules};
use crate::error::{Error, Kind, Result, escape, hex};
use crate::yaml::{Document, Fields, Mark, Node, Problems, Value, join, suggest};

impl Schedules {
    /// Loads a file or a folder of files.
    pub fn load(path: &Path) -> Result<Self> {
        let mut lines = Vec::new();
        let mut all: Vec<Arc<Schedule>> = Vec::new();
        for file in files_at(path)? {
            let name = escape(file.as_os_str().as_encoded_bytes());
            match Document::read(&file, &name).and_then(|document| read_schedule(&document)) {
                Ok((mut schedule, marks)) => {
                    schedule.owner_uid = std::fs::metadata(&file).ok().map(|meta| std::os::unix::fs::MetadataExt::uid(&meta));
                    lines.extend(clashes(&all, &schedule, &marks));
                    all.push(Arc::new(schedule));
                }
                Err(error) => lines.push(error.to_string()),
            }
        }
        join(&lines)?;
        Ok(Self { all })
    }

    /// Loads one schedule from text; `name` is how messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let document = Document::parse(name, text.to_owned())?;
        let (schedule, _) = read_schedule(&document)?;
        Ok(Self { all: vec![Arc::new(schedule)] })
    }
}

fn files_at(path: &Path) -> Result<Vec<PathBuf>> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let fail = |error| Error::with_source(Kind::Config, format!("{shown}: expected a schedule file or a folder of schedule files"), error);
    if !std::fs::metadata(path).map_err(fail)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension().is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml")) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::new(Kind::Config, format!("{shown}: expected at least one *.yaml file in this folder, found none")));
    }
    Ok(files)
}

/// Where the ids of a schedule stand in its file.
#[derive(Default)]
struct Marks {
    schedule: Mark,
    classes: BTreeMap<ClassId, Mark>,
}

/// A schedule or class id that an earlier file already uses.
fn clashes(earlier: &[Arc<Schedule>], schedule: &Schedule, marks: &Marks) -> Vec<String> {
    let mut lines = Vec::new();
    for other in earlier {
        if other.id == schedule.id {
            lines.push(format!(
                "{}:{}: the schedule id `{}` is used by {} too; give each file its own id",
                schedule.file, marks.schedule, schedule.id, other.file
            ));
        }
        for (id, mark) in marks.classes.iter().filter(|(id, _)| other.classes.contains_key(*id)) {
            lines.push(format!("{}:{mark}: the class `{id}` stands in {} too; give each class one place", schedule.file, other.file));
        }
    }
    lines
}

fn read_schedule(document: &Document) -> Result<(Schedule, Marks)> {
    let mut problems = Problems::new(&document.name);
    let mut marks = Marks::default();
    let schedule = schedule_of(document, &mut marks, &mut problems);
    problems.into_result()?;
    let schedule = schedule.ok_or_else(|| Error::new(Kind::Config, format!("{}:1:1: expected a schedule", document.name)))?;
    Ok((schedule, marks))
}

fn schedule_of(document: &Document, marks: &mut Marks, problems: &mut Problems) -> Option<Schedule> {
    let mut fields = document.root.fields("a schedule (a mapping that begins with `schedule: ID`)", problems)?;
    let id = fields.need("schedule", "a schedule", problems).and_then(|node| {
        marks.schedule = node.mark;
        let text = node.text("the schedule's id", problems)?;
        let id = ClassId::parse(text).map_err(|error| problems.add(node.mark, error.replace("class id", "schedule id")));
        id.ok().map(|id| id.as_str().to_owned())
    });
    let title = text_of(&mut fields, "title", problems);
    let owner = text_of(&mut fields, "owner", problems);
    let approved = date_of(&mut fields, "approved", problems);
    let review_by = date_of(&mut fields, "review-by", problems);
    let zone = fields.need("time-zone", "a schedule", problems).and_then(|node| {
        let name = node.text("an IANA time zone such as Europe/London", problems)?;
        zone_named(name).map_err(|error| problems.add(node.mark, error)).ok().map(|zone| (zone, name.to_owned()))
    });
    let mut classes = BTreeMap::new();
    if let Some(node) = fields.need("classes", "a schedule", problems)
        && let Some(list) = node.fields("the classes: a mapping from class id to class", problems)
    {
        for (name, mark, node) in list.names() {
            let id = ClassId::parse(name).map_err(|error| problems.add(mark, error)).ok();
            let class = class_of(name, id.clone(), node, problems);
            if let (Some(id), Some(class)) = (id, class) {
                marks.classes.insert(id.clone(), mark);
                classes.insert(id, Arc::new(class));
            }
        }
        if classes.is_empty() && problems.is_empty() {
            problems.add(node.mark, "expected at least one class, found none: an empty schedule is taken for a mistake");
        }
    }
    fields.finish("schedule", problems);
    let (zone, zone_name) = zone?;
    let id = id?;
    Some(Schedule {
        title: title.unwrap_or_else(|| id.clone()),
        id,
        owner,
        approved,
        review_by,
        zone,
        zone_name,
        classes,
        file: document.name.clone(),
        owner_uid: None,
        text: document.text.clone(),
        sha256: hex(&Sha256::digest(document.text.as_bytes())).into(),
    })
}

/// Finds a time zone by its IANA name, such as `Europe/London`.
///
/// # Errors
/// A sentence that says that no such zone exists, with the nearest name.
pub fn zone_named(name: &str) -> std::result::Result<TimeZone, String> {
    // These load, yet are no zones: the first two follow the machine, so that the same schedule would end its days elsewhere on another
    // one, and the last two mean that nobody has chosen a zone.
    let placeholder = ["localtime", "posixrules", "Factory", "Etc/Unknown"].iter().any(|known| name.eq_ignore_ascii_case(known));
    if !placeholder && let Ok(zone) = TimeZone::get(name) {
        return Ok(zone);
    }
    let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
    let folded = name.to_lowercase().replace(' ', "_");
    // Only names with a place are suggested: between abbreviations a letter is a continent (BST is not EST).
    let city = known.iter().find(|zone| zone.to_lowercase().ends_with(&format!("/{folded}")));
    let nearest = known.iter().filter(|zone| zone.contains('/') && zone.as_str() != "Etc/Unknown");
    let nearest = nearest.map(|zone| (strsim::damerau_levenshtein(&folded, &zone.to_lowercase()), zone)).min();
    let nearest = nearest.filter(|(distance, _)| *distance <= 4 && distance * 3 <= folded.len()).map(|(_, zone)| zone);
    let hint = city.or(nearest).map_or(String::new(), |zone| format!("; did you mean `{zone}`?"));
    Err(format!("expected an IANA time zone such as Europe/London, found \"{}\"{hint}", escape(name.as_bytes())))
}

fn text_of(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Option<String> {
    fields.take(key)?.text(&format!("text for `{key}`"), problems).map(str::to_owned)
}

fn date_of(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Option<Date> {
    let node = fields.take(key)?;
    let text = node.text(&format!("a date such as 2026-11-01 for `{key}`"), problems)?;
    parse_date(text).map_err(|error| problems.add(node.mark, format!("`{key}`: {error}"))).ok()
}

/// A date written as `2026-11-01` and nothing else.
pub fn parse_date(text: &str) -> std::result::Result<Date, String> {
    let shape = text.len() == 10 && text.bytes().enumerate().all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
    let date = if shape { text.parse::<Date>().ok() } else { None };
    date.ok_or_else(|| {
        let hint = if shape { "; the calendar has no such day" } else { "" };
        format!("expected a date such as 2026-11-01, found \"{}\"{hint}", escape(text.as_bytes()))
    })
}

fn class_of(name: &str, id: Option<ClassId>, node: &Node, problems: &mut Problems) -> Option<RecordClass> {
    let what = format!("class \"{}\"", escape(name.as_bytes()));
    let mut inner = Problems::new(problems.file());
    let class = class_fields(&what, id, node, &mut inner);
    problems.absorb(inner, &what);
    class
}

fn class_fields(what: &str, id: Option<ClassId>, node: &Node, problems: &mut Problems) -> Option<RecordClass> {
    let mut fields = node.fields("a class: a mapping with `keep`", problems)?;
    let title = text_of(&mut fields, "title", problems);
    let authority = text_of(&mut fields, "authority", problems);
    let source = text_of(&mut fields, "source", problems);
    let keep = keep_of(&mut fields, problems);
    let then = then_of(&mut fields, keep.as_ref(), problems);
    let review = review_of(&mut fields, then, problems);
    let on_erasure = erasure_of(&mut fields, keep.as_ref(), problems);
    fields.finish(what, problems);
    let id = id?;
    Some(RecordClass {
        title: title.unwrap_or_else(|| id.as_str().to_owned()),
        id,
        keep: keep?,
        then,
        review,
        on_erasure,
        authority,
        source,
    })
}

/// The longest reason of an answer, in characters: it stands in one entry of the log for each record.
const REASON: usize = 1000;

/// What is answered to a request for erasure: a word, or a word with its reason. Without it the class refuses.
fn erasure_of(fields: &mut Fields<'_>, keep: Option<&Keep>, problems: &mut Problems) -> OnErasure {
    fields.take("on-erasure").and_then(|node| answer_of(node, keep, problems)).unwrap_or_default()
}

fn answer_of(node: &Node, keep: Option<&Keep>, problems: &mut Problems) -> Option<OnErasure> {
    const FORMS: &str = "destroy, refuse or restrict, or one of these with its reason such as { refuse: \"Limitation Act 1980, s.5\" }";
    let (answer, reason) = if matches!(node.value, Value::Mapping(_)) {
        let mut fields = node.fields(&format!("`on-erasure` to be {FORMS}"), problems)?;
        let known = Answer::ALL.map(|answer| (answer, fields.take(answer.as_str())));
        let before = problems.is_empty();
        fields.finish("`on-erasure`", problems);
        let given: Vec<_> = known.into_iter().filter_map(|(answer, node)| Some((answer, node?))).collect();
        match given[..] {
            [(answer, reason)] => (answer, Some(reason)),
            // Every key of the mapping is unknown, and has been complained of.
            [] if before && !problems.is_empty() => return None,
            _ => {
                problems.add(node.mark, format!("expected `on-erasure` to be {FORMS}, found {} of them", given.len()));
                return None;
            }
        }
    } else {
        let word = node.text(&format!("`on-erasure` to be {FORMS}"), problems)?;
        let Some(answer) = Answer::of(word) else {
            let hint = match word {
                "delete" | "erase" | "shred" | "allow" => "; did you mean `destroy`?".to_owned(),
                "keep" | "reject" | "deny" => "; did you mean `refuse`?".to_owned(),
                _ => Some(suggest(word, Answer::ALL.map(Answer::as_str)))
                    .filter(|hint| hint.starts_with("; did you mean"))
                    .unwrap_or_default(),
            };
            problems.add(node.mark, format!("expected `on-erasure` to be {FORMS}, found \"{}\"{hint}", escape(word.as_bytes())));
            return None;
        };
        (answer, None)
    };
    if answer == Answer::Destroy && matches!(keep, Some(Keep::Permanently)) {
        problems.add(node.mark, "`on-erasure: destroy` contradicts `keep: permanently`; write refuse or restrict, or a period");
        return None;
    }
    let reason = reason.and_then(|node| {
        let text = node.text(&format!("the lawful reason of `{answer}`, such as \"Limitation Act 1980, s.5\""), problems)?;
        if text.chars().count() > REASON {
            problems.add(node.mark, format!("expected a reason of at most {REASON} characters, found {}", text.chars().count()));
        }
        Some(text.to_owned())
    });
    Some(OnErasure { answer, reason })
}

/// The terms of a review; without `then: review` there are none to be written.
fn review_of(fields: &mut Fields<'_>, then: Option<Disposition>, problems: &mut Problems) -> Terms {
    let mut terms = Terms::default();
    let known = ["approvals", "not-the-editor", "cooling-off", "approval-lasts"].map(|key| (key, fields.take(key)));
    let [(_, approvals), (_, editor), (_, cooling_off), (_, lasts)] = known;
    if then != Some(Disposition::Review) {
        for (key, node) in known {
            if let Some(node) = node {
                problems.add(node.mark, format!("`{key}` has no meaning without `then: review`; remove one of the two"));
            }
        }
        return terms;
    }
    if let Some(node) = approvals {
        match node.text("how many different people must approve: 1 or 2", problems) {
            Some("1") => terms.approvals = 1,
            Some("2") => terms.approvals = 2,
            Some(other) => problems.add(node.mark, format!("expected `approvals` to be 1 or 2, found \"{}\"", escape(other.as_bytes()))),
            None => {}
        }
    }
    terms.not_the_editor = editor
        .and_then(|node| node.boolean("`not-the-editor` to say whether those who edited the schedule may not approve", problems))
        .unwrap_or(false);
    if let Some(node) = cooling_off
        && let Some(text) = node.text("a period such as \"7 days\", or none, for `cooling-off`", problems)
    {
        terms.cooling_off = if text.trim() == "none" { None } else { period_at(node, text, problems) };
    }
    if let Some(node) = lasts
        && let Some(text) = node.text("a period such as \"30 days\" for `approval-lasts`", problems)
    {
        terms.lasts = period_at(node, text, problems).unwrap_or(terms.lasts);
    }
    if let (Some(period), Some(node)) = (terms.cooling_off, lasts.or(cooling_off))
        && terms.never_meet()
    {
        problems.add(
            node.mark,
            format!("`approval-lasts: {}` is over before `cooling-off: {period}` is; an approval must last longer", terms.lasts),
        );
    }
    terms
}

fn keep_of(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Keep> {
    let keep = fields.need("keep", "a class", problems);
    let after = fields.take("after");
    let from = fields.take("from");
    let longest = fields.take("no-longer-than");
    let keep = keep?;
    let text = keep.text("a period such as \"6 months\", or permanently", problems)?;
    if text.trim() == "permanently" {
        for (key, node) in [("after", after), ("from", from), ("no-longer-than", longest)] {
            if let Some(node) = node {
                problems.add(node.mark, format!("`{key}` has no meaning with `keep: permanently`; remove one of the two"));
            }
        }
        return Some(Keep::Permanently);
    }
    if ["permanently", "permanent", "forever", "for ever", "always", "indefinitely"].contains(&text.trim().to_lowercase().as_str()) {
        let found = escape(text.as_bytes());
        problems.add(
            keep.mark,
            format!("expected a period such as \"6 months\", or permanently, found \"{found}\"; write `keep: permanently`"),
        );
        return None;
    }
    let period = period_at(keep, text, problems);
    let (start, counting) = match (after, from) {
        (Some(node), None) => (Some(node), Counting::After),
        (None, Some(node)) => (Some(node), Counting::From),
        (Some(_), Some(node)) => {
            problems.add(node.mark, "`after` and `from` stand together; `from` counts the event's own day, `after` does not: keep one");
            return None;
        }
        (None, None) => {
            problems.add(keep.mark, "`keep` without `after`: name the event that starts the period, such as `after: tenancy-end`");
            (None, Counting::After)
        }
    };
    let trigger = start.and_then(|node| trigger_of(node, problems));
    let ceiling = match longest {
        Some(node) => {
            let text = node.text("a period such as \"9 months\" for `no-longer-than`", problems)?;
            let ceiling = period_at(node, text, problems)?;
            if period.is_some_and(|floor| ceiling.ends_before(floor)) {
                let floor = period.map(|floor| floor.to_string()).unwrap_or_default();
                problems.add(
                    node.mark,
                    format!("`no-longer-than: {ceiling}` ends before `keep: {floor}`; the ceiling must not lie below the floor"),
                );
            }
            Some(ceiling)
        }
        None => None,
    };
    Some(Keep::For { period: period?, counting, trigger: trigger?, ceiling })
}

fn period_at(node: &Node, text: &str, problems: &mut Problems) -> Option<Period> {
    Period::parse(text).map_err(|error| problems.add(node.mark, format!("period \"{}\" {error}", escape(text.as_bytes())))).ok()
}

fn then_of(fields: &mut Fields<'_>, keep: Option<&Keep>, problems: &mut Problems) -> Option<Disposition> {
    let Some(node) = fields.take("then") else {
        if matches!(keep, Some(Keep::For { .. })) {
            problems.add(fields.mark, "a class with a period needs `then`: destroy, review, flag or anonymise");
        }
        return None;
    };
    let text = node.text("what happens then: destroy, review, flag or anonymise", problems)?;
    if matches!(keep, Some(Keep::Permanently)) {
        problems.add(node.mark, "`then` has no meaning with `keep: permanently`; remove one of the two");
        return None;
    }
    let found = Disposition::ALL.into_iter().find(|disposition| disposition.as_str() == text);
    if found.is_none() {
        let meant = match text {
            "anonymize" => Some("anonymise"),
            "delete" | "erase" | "shred" => Some("destroy"),
            _ => None,
        };
        let hint = meant.map_or_else(
            // The words that are understood stand in the message already; only a near one is worth naming again.
            || {
                Some(suggest(text, Disposition::ALL.map(Disposition::as_str)))
                    .filter(|hint| hint.starts_with("; did you mean"))
                    .unwrap_or_default()
            },
            |word| format!("; did you mean `{word}`?"),
        );
        problems.add(
            node.mark,
            format!("expected `then` to be destroy, review, flag or anonymise, found \"{}\"{hint}", escape(text.as_bytes())),
        );
    }
    found
}

fn event_at(node: &Node, problems: &mut Problems) -> Option<EventName> {
    let text = node.text("the name of an event", problems)?;
    EventName::parse(text).map_err(|error| problems.add(node.mark, error)).ok()
}

fn trigger_of(node: &Node, problems: &mut Problems) -> Option<Trigger> {
    const FORMS: &str = "an event name, `{ latest-of: [..] }`, `{ earliest-of: [..] }` or `{ year-end: MM-DD, of: EVENT }`";
    if matches!(node.value, Value::Scalar(_)) {
        return event_at(node, problems).map(Trigger::Event);
    }
    let empty = matches!(&node.value, Value::Mapping(pairs) if pairs.is_empty());
    let mut fields = node.fields(FORMS, problems)?;
    let latest = fields.take("latest-of");
    let earliest = fields.take("earliest-of");
    let year_end = fields.take("year-end");
    let of = fields.take("of");
    fields.finish("the start of the period", problems);
    match (latest, earliest, year_end, of) {
        (Some(list), None, None, None) => events_at(list, problems).map(Trigger::LatestOf),
        (None, Some(list), None, None) => events_at(list, problems).map(Trigger::EarliestOf),
        (None, None, Some(end), Some(of)) => {
            let day = end.text("the last day of the year as MM-DD, such as 04-05", problems)?;
            let of = event_at(of, problems)?;
            // 2024 is a leap year: 02-29 stands for the last day of February.
            let Ok(date) = parse_date(&format!("2024-{day}")) else {
                let turned = day.split_once('-').map(|(day, month)| format!("{month}-{day}"));
                let turned = turned.filter(|turned| parse_date(&format!("2024-{turned}")).is_ok());
                let hint = turned.map_or(String::new(), |turned| format!("; the month comes first: `{turned}`"));
                problems.add(
                    end.mark,
                    format!("expected the last day of the year as MM-DD, such as 04-05, found \"{}\"{hint}", escape(day.as_bytes())),
                );
                return None;
            };
            Some(Trigger::YearEnd { month: date.month(), day: date.day(), of })
        }
        parts => {
            let found = match parts {
                // Every key of the mapping is unknown, and has been complained of.
                (None, None, None, None) if !empty => return None,
                (None, None, None, None) => "an empty mapping",
                (None, None, Some(_), None) => "`year-end` without `of`",
                (None, None, None, Some(_)) => "`of` without `year-end`",
                _ => "more than one of them",
            };
            problems.add(node.mark, format!("expected {FORMS}, found {found}"));
            None
        }
    }
}

fn events_at(list: &Node, problems: &mut Problems) -> Option<Vec<EventName>> {
    let Value::Sequence(items) = &list.value else {
        problems.add(list.mark, format!("expected a list of at least two events, found {}", list.found()));
        return None;
    };
    let names: Vec<EventName> = items.iter().filter_map(|item| event_at(item, problems)).collect();
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            problems.add(items[at].mark, format!("the event `{name}` stands in the list twice"));
        }
    }
    if items.len() < 2 {
        problems
            .add(list.mark, format!("expected a list of at least two events, found {}; for one event write `after: EVENT`", items.len()));
    }
    (names.len() == items.len() && items.len() >= 2).then_some(names)
}
