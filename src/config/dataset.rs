//! One dataset: which class its records belong to, where the dates of their events are, and how far a run may go.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::limits::Limits;
use super::{Defaults, Mode};
use crate::error::escape;
use crate::record::Record;
use crate::schedule::history::Binding;
use crate::schedule::{Disposition, EventName, Period, Rule, Schedules, Timetable, Window};
use crate::store::{Configure, DatasetHead, EventHead, EventPlace, Evidence, Store};
use crate::yaml::{Fields, Mark, Node, Problems, Value, near, suggest};

/// A dataset with everything that is decided about it.
pub struct Dataset {
    /// The store it lives in.
    pub store: Arc<dyn Store>,
    /// Its name within the store.
    pub name: String,
    /// `store/dataset`.
    pub address: String,
    /// The classes of its records.
    pub classes: ClassChoice,
    /// Its events, in the order of every record's readings.
    pub events: Vec<(EventName, EventSource)>,
    /// Whether due records are disposed of.
    pub mode: Mode,
    /// How much one run may dispose of without asking.
    pub limits: Limits,
    /// When it is scanned.
    pub scan: Option<Timetable>,
    /// The times of day at which records may be disposed of; `None`: at any.
    pub window: Option<Window>,
    /// How long backups of the store outlive a record.
    pub backups: Option<Period>,
    /// How its keys appear in the audit log.
    pub keys: KeyNames,
    /// The column or capture that names the subject of a record.
    pub subject: Option<String>,
    /// The lowest grade of destruction; `None`: whatever the store can do.
    pub at_least: Option<String>,
    /// Whether a record is destroyed although the grade cannot be met (`else: accept`).
    pub accept_lower: bool,
    /// Whether an inventory is kept, so that records are missed that vanish too early: what says which records there are, hashed.
    pub inventory: Option<String>,
}

/// How the classes of a record are found.
#[derive(Clone, Debug)]
pub enum ClassChoice {
    /// Every record has these classes; it goes only when due under all.
    All(Vec<Rule>),
    /// A column or capture picks the classes of each record.
    By {
        /// The column or capture.
        source: String,
        /// Its values and the classes they stand for.
        map: BTreeMap<String, Vec<Rule>>,
    },
}

/// Where the date of an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// In the store itself.
    Here,
    /// In another dataset.
    Lookup(Lookup),
}

/// A date that lives in another dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The other dataset's store.
    pub store: String,
    /// The other dataset.
    pub dataset: String,
    /// The column or capture *here* whose value is looked up.
    pub by: String,
    /// The column or capture *there* that it is compared with; `None`: the key.
    pub on: Option<String>,
    /// The event there.
    pub event: EventName,
}

/// How keys of records appear in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNames {
    /// As keyed pseudonyms: the default.
    Pseudonym,
    /// As they are, because they say nothing about a person.
    Plain,
}

impl Dataset {
    /// The rules that apply to a record; empty when the value that picks the class is missing or not in the map.
    pub fn rules_for(&self, record: &Record) -> &[Rule] {
        match &self.classes {
            ClassChoice::All(rules) => rules,
            ClassChoice::By { map, .. } => record.class_value.as_deref().and_then(|value| map.get(value)).map_or(&[], Vec::as_slice),
        }
    }

    /// The zone of its first class's schedule, which its timetable and its people go by.
    pub fn zone(&self) -> TimeZone {
        self.rules().first().map_or(TimeZone::UTC, |rule| rule.schedule.zone.clone())
    }

    /// What binds its records to classes.
    pub fn binding(&self) -> Binding {
        let ids = |rules: &[Rule]| rules.iter().map(|rule| rule.class.id.as_str().to_owned()).collect::<Vec<_>>();
        match &self.classes {
            ClassChoice::All(rules) => Binding::Classes(ids(rules)),
            ClassChoice::By { source, map } => {
                Binding::By { source: source.clone(), map: map.iter().map(|(value, rules)| (value.clone(), ids(rules))).collect() }
            }
        }
    }

    /// [`Dataset::binding`] as it goes into the log.
    pub fn binding_text(&self) -> String {
        serde_json::to_string(&self.binding()).unwrap_or_default()
    }

    /// Whether dates of this dataset's records are looked up in the other one.
    pub fn looks_into(&self, other: &Self) -> bool {
        let there = |lookup: &Lookup| lookup.store == other.store.name() && lookup.dataset == other.name;
        self.events.iter().any(|(_, source)| matches!(source, EventSource::Lookup(lookup) if there(lookup)))
    }

    /// Every rule that may apply to some record of the dataset.
    pub fn rules(&self) -> Vec<&Rule> {
        match &self.classes {
            ClassChoice::All(rules) => rules.iter().collect(),
            ClassChoice::By { map, .. } => map.values().flatten().collect(),
        }
    }

    /// Whether records may be disposed of at this moment: whether clocks in the zone of the dataset's first rule show a time of its window.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let Some(window) = &self.window else { return true };
        self.rules().first().is_some_and(|rule| window.contains(rule.schedule.zone.to_datetime(now).time()))
    }

    /// Its window with the zone, as people read it: `22:00-06:00 (Europe/London)`.
    pub fn window_shown(&self) -> Option<String> {
        let zone = self.rules().first().map_or("", |rule| &rule.schedule.zone_name).to_owned();
        self.window.as_ref().map(|window| format!("{window} ({zone})"))
    }

    /// The position of an event in every record's readings.
    pub fn event_index(&self, event: &EventName) -> Option<usize> {
        self.events.iter().position(|(name, _)| name == event)
    }

    /// Whether a grade that was reached is one that the dataset accepts.
    pub fn accepts(&self, grade: &str) -> bool {
        self.accept_lower || self.at_least.as_deref().is_none_or(|least| Evidence::reaches(grade, least, self.store.grades()))
    }
}

/// A dataset that was read but whose store is not built yet.
pub(super) struct Parts {
    classes: ClassChoice,
    events: Vec<(EventName, EventSource)>,
    defaults: Defaults,
    keys: KeyNames,
    subject: Option<String>,
    at_least: Option<String>,
    accept_lower: bool,
    inventory: Option<String>,
}

/// Where a look-up stands in the file, for messages once all datasets are known.
pub(super) struct LookupMark(Mark);

impl Parts {
    pub(super) fn has_inventory(&self) -> bool {
        self.inventory.is_some()
    }

    pub(super) fn into_dataset(self, store: Arc<dyn Store>, name: String) -> Dataset {
        Dataset {
            address: format!("{}/{name}", store.name()),
            store,
            name,
            classes: self.classes,
            events: self.events,
            mode: self.defaults.mode,
            limits: self.defaults.limits,
            scan: self.defaults.scan,
            window: self.defaults.window,
            backups: self.defaults.backups,
            keys: self.keys,
            subject: self.subject,
            at_least: self.at_least,
            accept_lower: self.accept_lower,
            inventory: self.inventory,
        }
    }
}

/// What says which records there are and what they are called, as it is written, hashed: with another one an inventory begins anew.
fn scope_of(node: &Node) -> String {
    fn write(node: &Node, out: &mut String) {
        match &node.value {
            Value::Scalar(scalar) => out.push_str(&format!("{:?}", scalar.text)),
            Value::Sequence(items) => {
                out.push('[');
                items.iter().for_each(|item| write(item, out));
                out.push(']');
            }
            Value::Mapping(pairs) => pairs.iter().for_each(|(key, _, node)| {
                out.push_str(&format!("{key:?}:"));
                write(node, out);
            }),
        }
    }
    let mut text = String::new();
    let Value::Mapping(pairs) = &node.value else { return text };
    for (key, _, node) in pairs.iter().filter(|(key, _, _)| ["path", "record", "table", "key", "where"].contains(&key.as_str())) {
        text.push_str(&format!("{key}="));
        write(node, &mut text);
        text.push(';');
    }
    crate::error::hex(&<sha2::Sha256 as sha2::Digest>::digest(text.as_bytes()))
}

/// Reads one dataset: the keys every kind of store shares here, the others by the kind.
pub(super) fn read(
    name: &str,
    mark: Mark,
    node: &Node,
    schedules: Option<&Schedules>,
    defaults: &Defaults,
    kind: &mut dyn Configure,
    problems: &mut Problems,
) -> Option<(Parts, Vec<LookupMark>)> {
    let mut fields = node.fields("a dataset: a mapping with `class` and `events`", problems)?;
    let defaults = defaults.clone().overridden(&mut fields, problems);
    let choice = classes_of(&mut fields, schedules, problems);
    let events_node = fields.take("events");
    let (events, places, marks) = events_of(events_node, problems);
    let subject = fields.take("subject").and_then(|node| Some((node.text("a column or capture for `subject`", problems)?, node.mark)));
    let keys = fields.take("keys").map_or(KeyNames::Pseudonym, |node| key_names(node, problems));
    let at_least = fields.take("at-least").and_then(|node| Some((node.text("a grade for `at-least`", problems)?, node.mark)));
    let accept_lower = fields.take("else").is_some_and(|node| {
        let accept = matches!(node.text("`else: accept`", problems), Some("accept"));
        if !accept && !node.is_null() {
            let remedy = "leave it out to keep records whose grade cannot be met";
            problems.add(node.mark, format!("expected `else: accept`, found {}; {remedy}", node.found()));
        }
        accept
    });
    let inventory = fields.take("inventory").and_then(|one| match one.text("`inventory: on` or off", problems)? {
        "on" | "true" => Some(scope_of(node)),
        "off" | "false" => None,
        other => {
            problems.add(one.mark, format!("expected `inventory: on` or off, found \"{}\"", escape(other.as_bytes())));
            None
        }
    });
    if accept_lower && at_least.is_none() {
        problems.add(fields.mark_of("else"), "`else: accept` has no meaning without `at-least`; remove it or name the grade");
    }
    if let Some((choice, _)) = &choice {
        missing_events(choice, events_node, mark, problems);
    }
    let class_by = choice.as_ref().and_then(|(choice, mark)| match choice {
        ClassChoice::By { source, .. } => Some((source.clone(), *mark)),
        ClassChoice::All(_) => None,
    });
    let some_class = |then| choice.as_ref().is_some_and(|(choice, _)| rules_of(choice).iter().any(|rule| rule.class.then == Some(then)));
    let heads = events.iter().zip(places).map(|((name, _), source)| EventHead { name, source }).collect();
    let head = DatasetHead {
        name,
        mark,
        events: heads,
        class_by: class_by.as_ref().map(|(source, mark)| (source.as_str(), *mark)),
        subject,
        anonymises: some_class(Disposition::Anonymise),
        destroys: some_class(Disposition::Destroy),
        enforced: defaults.mode == Mode::Enforce,
        at_least,
    };
    kind.dataset(&head, &mut fields, problems);
    fields.finish(&format!("dataset \"{}\"", escape(name.as_bytes())), problems);
    let (classes, _) = choice?;
    let (subject, at_least) = (subject.map(|(name, _)| name.to_owned()), at_least.map(|(grade, _)| grade.to_owned()));
    Some((Parts { classes, events, defaults, keys, subject, at_least, accept_lower, inventory }, marks))
}

fn rules_of(choice: &ClassChoice) -> Vec<&Rule> {
    match choice {
        ClassChoice::All(rules) => rules.iter().collect(),
        ClassChoice::By { map, .. } => map.values().flatten().collect(),
    }
}

fn key_names(node: &Node, problems: &mut Problems) -> KeyNames {
    match node.text("`keys` to be plain or pseudonym", problems) {
        Some("plain") => KeyNames::Plain,
        Some("pseudonym") | None => KeyNames::Pseudonym,
        Some(other) => {
            problems.add(node.mark, format!("expected `keys` to be plain or pseudonym, found \"{}\"", escape(other.as_bytes())));
            KeyNames::Pseudonym
        }
    }
}

fn classes_of(fields: &mut Fields<'_>, schedules: Option<&Schedules>, problems: &mut Problems) -> Option<(ClassChoice, Mark)> {
    let class = fields.take("class");
    let by = fields.take("class-by");
    match (class, by) {
        (Some(node), None) => Some((ClassChoice::All(rules_at(node, schedules, problems)?), node.mark)),
        (None, Some(node)) => {
            let mut by = node.fields("`class-by: { column: NAME, map: { VALUE: CLASS } }`", problems)?;
            let column = by.take("column");
            let capture = by.take("capture");
            let ((Some(source), None) | (None, Some(source))) = (column, capture) else {
                let found = if column.is_some() { "both; keep one" } else { "neither" };
                problems.add(node.mark, format!("`class-by` needs either `column` or `capture`, which picks the class, found {found}"));
                return None;
            };
            let text = source.text("the name of a column or capture", problems)?.to_owned();
            let mut map = BTreeMap::new();
            let map_node = by.need("map", "`class-by`", problems)?;
            if let Some(list) = map_node.fields("a mapping from values to classes", problems) {
                if matches!(&map_node.value, Value::Mapping(pairs) if pairs.is_empty()) {
                    problems.add(map_node.mark, "expected at least one value with its class, found none");
                }
                for (value, _, node) in list.names() {
                    if let Some(rules) = rules_at(node, schedules, problems) {
                        map.insert(value.to_owned(), rules);
                    }
                }
            }
            by.finish("`class-by`", problems);
            Some((ClassChoice::By { source: text, map }, source.mark))
        }
        (Some(_), Some(node)) => {
            problems.add(node.mark, "`class` and `class-by` stand together; keep one");
            None
        }
        (None, None) => {
            problems.add(fields.mark, "a dataset needs `class`: the class of the schedule that its records belong to");
            None
        }
    }
}

fn rules_at(node: &Node, schedules: Option<&Schedules>, problems: &mut Problems) -> Option<Vec<Rule>> {
    let mut rules: Vec<Rule> = Vec::new();
    let nodes = node.one_or_more("a class id or a list of class ids", problems);
    for node in &nodes {
        let id = node.text("a class id", problems)?;
        // Without schedules there is nothing to look the class up in; their own problems are reported instead.
        let schedules = schedules?;
        if rules.iter().any(|rule| rule.class.id.as_str() == id) {
            problems.add(node.mark, format!("the class `{}` stands in the list twice; remove one of the two", escape(id.as_bytes())));
        }
        if let Some(rule) = schedules.rule(id) {
            rules.push(rule);
        } else {
            let hint = suggest(id, schedules.class_ids().map(crate::schedule::ClassId::as_str));
            problems.add(node.mark, format!("no schedule has the class \"{}\"{hint}", escape(id.as_bytes())));
        }
    }
    (!nodes.is_empty() && rules.len() == nodes.len()).then_some(rules)
}

type Events<'a> = (Vec<(EventName, EventSource)>, Vec<EventPlace<'a>>, Vec<LookupMark>);

fn events_of<'a>(node: Option<&'a Node>, problems: &mut Problems) -> Events<'a> {
    let (mut events, mut places, mut marks) = (Vec::new(), Vec::new(), Vec::new());
    let list = node.and_then(|node| node.fields("the events: a mapping from event to the place of its date", problems));
    for (name, mark, node) in list.into_iter().flat_map(Fields::names) {
        let name = match EventName::parse(name) {
            Ok(name) => name,
            Err(error) => {
                problems.add(mark, error);
                continue;
            }
        };
        let is_lookup = matches!(&node.value, Value::Mapping(pairs) if pairs.iter().any(|(key, _, _)| key == "lookup"));
        if !is_lookup {
            events.push((name, EventSource::Here));
            places.push(EventPlace::Here(node));
        } else if let Some((lookup, by, by_mark)) = lookup_of(&name, node, problems) {
            events.push((name, EventSource::Lookup(lookup)));
            places.push(EventPlace::Elsewhere(by, by_mark));
            marks.push(LookupMark(node.mark));
        }
    }
    (events, places, marks)
}

fn lookup_of<'a>(name: &EventName, node: &'a Node, problems: &mut Problems) -> Option<(Lookup, &'a str, Mark)> {
    const FORM: &str = "`{ lookup: STORE.DATASET, by: COLUMN_OR_CAPTURE }`";
    let mut fields = node.fields(FORM, problems)?;
    let target = fields.need("lookup", "a look-up", problems);
    let by = fields.need("by", "a look-up", problems);
    let on = fields.take("on").and_then(|node| node.text("a column or capture of the other dataset for `on`", problems));
    let event = fields.take("event").map(|node| {
        let text = node.text("the name of an event of the other dataset", problems)?;
        EventName::parse(text).map_err(|error| problems.add(node.mark, error)).ok()
    });
    fields.finish("a look-up", problems);
    let target_node = target?;
    let target = target_node.text("STORE.DATASET", problems)?;
    let Some((store, dataset)) = target.split_once(['.', '/']) else {
        problems
            .add(target_node.mark, format!("expected STORE.DATASET, such as housing.tenancies, found \"{}\"", escape(target.as_bytes())));
        return None;
    };
    let by_node = by?;
    let by = by_node.text("the column or capture of this dataset", problems)?;
    let event = match event {
        Some(event) => event?,
        None => name.clone(),
    };
    let lookup = Lookup { store: store.to_owned(), dataset: dataset.to_owned(), by: by.to_owned(), on: on.map(str::to_owned), event };
    Some((lookup, by, by_node.mark))
}

/// Every event that some class of the dataset needs must have a place. A place that was named and could not be read is reported by itself.
fn missing_events(choice: &ClassChoice, node: Option<&Node>, dataset: Mark, problems: &mut Problems) {
    let (mark, events) = match node.map(|node| (node.mark, &node.value)) {
        None => (dataset, &[][..]),
        Some((mark, Value::Mapping(pairs))) => (mark, pairs.as_slice()),
        Some(_) => return,
    };
    let mut said: Vec<&EventName> = Vec::new();
    for rule in rules_of(choice) {
        for event in rule.class.keep.trigger().into_iter().flat_map(crate::schedule::Trigger::events) {
            if !events.iter().any(|(name, ..)| name == event.as_str()) && !said.contains(&event) {
                said.push(event);
                let near =
                    near(event.as_str(), events.iter().map(|(name, ..)| name.as_str())).replace("did you mean", "is it what you call");
                problems
                    .add(mark, format!("the class `{}` needs the event `{event}`; say in `events` where its date is{near}", rule.class.id));
            }
        }
    }
}

/// Look-ups must lead to a dataset that holds the date itself.
pub(super) fn check_lookups(datasets: &[(Dataset, Vec<LookupMark>)], problems: &mut Problems) {
    for (dataset, marks) in datasets {
        let lookups = dataset.events.iter().filter_map(|(_, source)| match source {
            EventSource::Lookup(lookup) => Some(lookup),
            EventSource::Here => None,
        });
        for (lookup, LookupMark(mark)) in lookups.zip(marks) {
            let target =
                datasets.iter().map(|(other, _)| other).find(|other| other.store.name() == lookup.store && other.name == lookup.dataset);
            let Some(target) = target else {
                let known: Vec<String> = datasets.iter().map(|(other, _)| format!("{}.{}", other.store.name(), other.name)).collect();
                let wanted = format!("{}.{}", lookup.store, lookup.dataset);
                let hint = suggest(&wanted, known.iter().map(String::as_str));
                problems.add(*mark, format!("no dataset is called \"{}\"{hint}", escape(wanted.as_bytes())));
                continue;
            };
            match target.events.iter().find(|(name, _)| *name == lookup.event) {
                Some((_, EventSource::Here)) => {}
                Some((_, EventSource::Lookup(_))) => problems.add(
                    *mark,
                    format!(
                        "the event `{}` of {} is itself looked up elsewhere; look it up where its date stands",
                        lookup.event, target.address
                    ),
                ),
                None => {
                    let hint = suggest(lookup.event.as_str(), target.events.iter().map(|(name, _)| name.as_str()));
                    problems.add(*mark, format!("{} has no event `{}`{hint}", target.address, lookup.event));
                }
            }
        }
    }
}
