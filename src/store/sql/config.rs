//! What the configuration says about a database and its datasets, read and checked as far as that goes without opening anything.

use std::collections::BTreeMap;

use super::statement::{Condition, Dialect, Name};
use super::value::Cell;
use super::when::When;
use crate::error::escape;
use crate::schedule::EventName;
use crate::store::{DatasetHead, EventPlace};
use crate::yaml::{Fields, Node, Problems, Typed, Value};

/// One dataset: a table and how its rows are records.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "answers to questions that have nothing to do with each other")]
pub(super) struct Dataset {
    pub(super) name: String,
    pub(super) table: Table,
    /// The columns that tell rows apart.
    pub(super) key: Vec<Name>,
    /// Which rows belong to the dataset.
    pub(super) filter: Option<Condition>,
    pub(super) events: Vec<Event>,
    pub(super) subject: Option<Name>,
    pub(super) class_by: Option<Name>,
    pub(super) children: Vec<Child>,
    pub(super) changes: Vec<Change>,
    /// Tells that a row is anonymised already.
    pub(super) anonymised: Option<Condition>,
    /// Whether some class of the dataset anonymises.
    pub(super) anonymises: bool,
    /// Whether some class of the dataset destroys.
    pub(super) destroys: bool,
    /// Whether what is due is acted upon, as opposed to reported.
    pub(super) enforced: bool,
    /// `triggers: accept`.
    pub(super) accept_triggers: bool,
    /// What cleans up behind a run.
    pub(super) purge: Option<Purge>,
    /// How statistics count its records.
    pub(super) counts: Option<Counts>,
}

/// The columns that statistics count by, and the smallest count that is shown.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) by: Vec<Name>,
    pub(super) smallest: u64,
}

/// Counts below this say too much about single people.
const SMALLEST: u64 = 10;

/// What a database is asked to do once rows of a dataset are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purge {
    /// PostgreSQL and SQLite.
    Vacuum,
    /// MySQL and MariaDB.
    Optimize,
}

impl Purge {
    /// The word of the configuration and the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Vacuum => "vacuum",
            Self::Optimize => "optimize",
        }
    }

    fn read(node: &Node, dialect: Dialect, problems: &mut Problems) -> Option<Self> {
        let own = if dialect == Dialect::MySql { Self::Optimize } else { Self::Vacuum };
        match node.text("`purge: none` or what cleans up behind a run", problems)? {
            "none" => None,
            word if word == own.as_str() => Some(own),
            other => {
                let (own, found) = (own.as_str(), escape(other.as_bytes()));
                problems.add(node.mark, format!("expected `purge: {own}` or `purge: none` for this kind of database, found \"{found}\""));
                None
            }
        }
    }
}

/// A table, with its schema for engines that have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) schema: Option<Name>,
    pub(super) name: Name,
}

/// Where the date of one event stands.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) name: EventName,
    pub(super) column: Name,
    /// How the column is read; `None` when the column holds the value to look the date up by elsewhere.
    pub(super) when: Option<When>,
}

/// Rows of another table that go with a record.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) table: Table,
    /// The columns that hold the parent's key.
    pub(super) key: Vec<Name>,
    /// The columns that its own children refer to.
    pub(super) id: Vec<Name>,
    pub(super) children: Vec<Child>,
}

/// What becomes of one column when a record is anonymised.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) column: Name,
    pub(super) to: To,
}

/// The new value of a column.
#[derive(Clone, Debug)]
pub(super) enum To {
    Constant(Cell),
    Expression(Condition),
}

/// Deeper than this nobody nests tables; the reader of YAML has its own bound.
const DEPTH: usize = 8;

impl Dataset {
    /// Reads a dataset's own keys. `None` when something is missing without which it means nothing; the problems are noted.
    pub(super) fn read(
        head: &DatasetHead<'_>,
        dialect: Dialect,
        grades: &[&str],
        fields: &mut Fields<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let what = format!("dataset \"{}\"", escape(head.name.as_bytes()));
        let table = fields.need("table", &what, problems).and_then(|node| table(node, problems));
        let key = fields.need("key", &what, problems).map(|node| names(node, "the key column or a list of them", problems));
        let filter = fields.take("where").and_then(|node| {
            let filter = condition(node, dialect, problems)?;
            // A file is locked as a whole; of a server's tables only the record's own row is.
            if dialect != Dialect::Sqlite && filter.reads_tables() {
                problems.add(node.mark, "expected a condition on the row itself, found one that reads other tables, which may change at the very moment of removal; name a column, or place holds");
                return None;
            }
            Some(filter)
        });
        let children = fields.take("children").map_or_else(Vec::new, |node| children(node, key.as_ref().map_or(0, Vec::len), 0, problems));
        let (mark, says_how) = (fields.mark_of("anonymise"), fields.has("anonymise"));
        let changes = fields.take("anonymise").map_or_else(Vec::new, |node| changes(node, dialect, problems));
        let anonymised = fields.take("anonymised").and_then(|node| condition(node, dialect, problems));
        let accept_triggers = fields.take("triggers").is_some_and(|node| match node.text("`triggers: accept`", problems) {
            Some("accept") => true,
            Some(_) => {
                problems.add(
                    node.mark,
                    format!("expected `triggers: accept`, found {}; leave it out to refuse tables with triggers", node.found()),
                );
                false
            }
            None => false,
        });
        let purge = fields.take("purge").and_then(|node| Purge::read(node, dialect, problems));
        let counts = fields.take("statistics").and_then(|node| Some((node.mark, counts(node, problems)?)));
        if head.anonymises && !says_how {
            problems.add(
                head.mark,
                format!("{what} has a class that anonymises, so it needs `anonymise:` with the columns and their new values"),
            );
        }
        let constant = changes.iter().any(|change| matches!(change.to, To::Constant(_)));
        if !changes.is_empty() && !constant && anonymised.is_none() {
            let remedy = "give one column a constant, or write `anonymised:` with a condition that such rows satisfy";
            problems.add(mark, format!("{what}: it could not be told which rows are anonymised already; {remedy}"));
        }
        if let Some((grade, mark)) = head.at_least
            && !grades.contains(&grade)
        {
            let hint = crate::yaml::suggest(grade, grades.iter().copied());
            problems.add(mark, format!("{what}: unknown grade \"{}\"{hint}", escape(grade.as_bytes())));
        }
        let events = head.events.iter().filter_map(|event| {
            let (column, when) = match &event.source {
                EventPlace::Here(node) => here(node, problems)?,
                EventPlace::Elsewhere(column, mark) => (Name::new(column).map_err(|error| problems.add(*mark, error)).ok()?, None),
            };
            Some(Event { name: event.name.clone(), column, when })
        });
        let events = events.collect();
        let mut column = |named: Option<(&str, crate::yaml::Mark)>| {
            named.and_then(|(name, mark)| Name::new(name).map_err(|error| problems.add(mark, error)).ok())
        };
        let (subject, class_by) = (column(head.subject), column(head.class_by));
        let (table, key) = (table?, key?);
        if let Some(child) = find(&children, &|child: &Child| child.table.same(&table)) {
            problems.add(head.mark, format!("{what}: the child table `{}` is the dataset's own table", child.table.shown()));
        }
        if let Some(change) = changes.iter().find(|change| key.iter().any(|key| key.is(change.column.as_str()))) {
            problems.add(mark, format!("{what}: the key column `{}` cannot be anonymised", change.column.shown()));
        }
        if let Some((mark, counts)) = &counts {
            let subject = subject.iter();
            for column in &counts.by {
                let is = |other: &Name| other.is(column.as_str());
                let why = match column {
                    _ if key.iter().any(is) => "tells records apart",
                    _ if subject.clone().any(is) => "names a person",
                    _ if changes.iter().any(|change| is(&change.column)) => "is anonymised, so it points to a person",
                    _ => continue,
                };
                problems.add(*mark, format!("{what}: statistics cannot be counted by `{}`, which {why}", column.shown()));
            }
        }
        Some(Self {
            name: head.name.to_owned(),
            anonymises: head.anonymises,
            destroys: head.destroys,
            enforced: head.enforced,
            table,
            key,
            filter,
            events,
            subject,
            class_by,
            children,
            changes,
            anonymised,
            accept_triggers,
            purge,
            counts: counts.map(|(_, counts)| counts),
        })
    }

    /// The position of an event.
    pub(super) fn event(&self, name: &EventName) -> Option<usize> {
        self.events.iter().position(|event| event.name == *name)
    }

    /// Every child table at every depth.
    pub(super) fn every_child(&self) -> Vec<&Child> {
        fn collect<'a>(children: &'a [Child], out: &mut Vec<&'a Child>) {
            for child in children {
                out.push(child);
                collect(&child.children, out);
            }
        }
        let mut out = Vec::new();
        collect(&self.children, &mut out);
        out
    }
}

impl Table {
    /// Whether both are the same table; engines fold the case of names.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.name.is(other.name.as_str())
            && match (&self.schema, &other.schema) {
                (Some(one), Some(two)) => one.is(two.as_str()),
                _ => true,
            }
    }

    /// The name for messages.
    pub(super) fn shown(&self) -> String {
        self.schema.as_ref().map_or_else(|| self.name.shown(), |schema| format!("{}.{}", schema.shown(), self.name.shown()))
    }
}

fn find<'a>(children: &'a [Child], test: &impl Fn(&Child) -> bool) -> Option<&'a Child> {
    children.iter().find_map(|child| if test(child) { Some(child) } else { find(&child.children, test) })
}

fn table(node: &Node, problems: &mut Problems) -> Option<Table> {
    let text = node.text("the name of a table", problems)?;
    let (schema, name) = match text.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, text),
    };
    let mut check = |text: &str| Name::new(text).map_err(|error| problems.add(node.mark, error)).ok();
    let schema = match schema {
        Some(schema) => Some(check(schema)?),
        None => None,
    };
    Some(Table { schema, name: check(name)? })
}

fn name(node: &Node, what: &str, problems: &mut Problems) -> Option<Name> {
    Name::new(node.text(what, problems)?).map_err(|error| problems.add(node.mark, error)).ok()
}

fn names(node: &Node, what: &str, problems: &mut Problems) -> Vec<Name> {
    let nodes = node.one_or_more(what, problems);
    let names: Vec<Name> = nodes.into_iter().filter_map(|node| name(node, "the name of a column", problems)).collect();
    if let Some(twice) =
        names.iter().enumerate().find_map(|(at, name)| names[..at].iter().any(|other| other.is(name.as_str())).then_some(name))
    {
        problems.add(node.mark, format!("the column `{}` stands here twice; remove one of the two", twice.shown()));
    }
    names
}

fn condition(node: &Node, dialect: Dialect, problems: &mut Problems) -> Option<Condition> {
    Condition::new(node.text("an SQL condition", problems)?, dialect).map_err(|error| problems.add(node.mark, error)).ok()
}

fn here(node: &Node, problems: &mut Problems) -> Option<(Name, Option<When>)> {
    let (column, mark, when) = When::of_column(node, problems)?;
    Some((Name::new(column).map_err(|error| problems.add(mark, error)).ok()?, Some(when)))
}

fn counts(node: &Node, problems: &mut Problems) -> Option<Counts> {
    let mut fields = node.fields("a mapping with `by`, the columns to count by", problems)?;
    let by = fields.need("by", "statistics", problems).map(|node| names(node, "the columns to count by", problems));
    let smallest = fields.take("smallest").map_or(Some(SMALLEST), |node| {
        let number = match &node.value {
            Value::Scalar(scalar) => scalar.typed.as_u64().filter(|number| *number > 0),
            _ => None,
        };
        if number.is_none() {
            problems.add(node.mark, format!("expected the smallest count that is shown, such as 10, found {}", node.found()));
        }
        number
    });
    fields.finish("statistics", problems);
    Some(Counts { by: by?, smallest: smallest? })
}

fn children(node: &Node, parent_key: usize, depth: usize, problems: &mut Problems) -> Vec<Child> {
    if depth > DEPTH {
        problems.add(node.mark, format!("expected at most {DEPTH} levels of children, found more"));
        return Vec::new();
    }
    let Value::Sequence(items) = &node.value else {
        problems.add(node.mark, format!("expected a list of child tables, found {}", node.found()));
        return Vec::new();
    };
    let mut out = Vec::new();
    for item in items {
        let Some(mut fields) = item.fields("a mapping with `table` and `key`", problems) else { continue };
        let table = fields.need("table", "a child", problems).and_then(|node| table(node, problems));
        let key = fields.need("key", "a child", problems).map(|node| names(node, "the column that holds the parent's key", problems));
        let id = fields.take("id").map(|node| names(node, "the child's own key", problems)).unwrap_or_default();
        if let Some(key) = key.as_ref().filter(|key| key.len() != parent_key && parent_key > 0) {
            problems.add(item.mark, format!("expected as many key columns as the parent has ({parent_key}), found {}", key.len()));
        }
        let below = match fields.take("children") {
            Some(node) if id.is_empty() => {
                problems.add(node.mark, "a child with children needs `id:`, the column that they refer to");
                Vec::new()
            }
            Some(node) => children(node, id.len(), depth + 1, problems),
            None => Vec::new(),
        };
        fields.finish("a child", problems);
        if let (Some(table), Some(key)) = (table, key) {
            out.push(Child { table, key, id, children: below });
        }
    }
    out
}

fn changes(node: &Node, dialect: Dialect, problems: &mut Problems) -> Vec<Change> {
    let Some(fields) = node.fields("a mapping from columns to their new values", problems) else { return Vec::new() };
    if matches!(&node.value, Value::Mapping(pairs) if pairs.is_empty()) {
        problems.add(node.mark, "expected at least one column, found none");
    }
    let mut out = BTreeMap::new();
    for (column, mark, node) in fields.names() {
        let Ok(name) = Name::new(column).map_err(|error| problems.add(mark, error)) else { continue };
        let twice = format!("the column `{}` stands here a second time, in other letters; remove one of the two", name.shown());
        if let Some(to) = new_value(node, dialect, problems)
            && out.insert(name.as_str().to_lowercase(), Change { column: name, to }).is_some()
        {
            problems.add(mark, twice);
        }
    }
    out.into_values().collect()
}

fn new_value(node: &Node, dialect: Dialect, problems: &mut Problems) -> Option<To> {
    let Value::Scalar(scalar) = &node.value else {
        let mut fields = node.fields("null, text, a number, a boolean or { sql: EXPRESSION }", problems)?;
        let expression = fields.need("sql", "a computed value", problems).and_then(|node| condition(node, dialect, problems));
        fields.finish("a computed value", problems);
        return expression.map(To::Expression);
    };
    Some(To::Constant(match &scalar.typed {
        Typed::Null => Cell::Null,
        Typed::Bool(value) => Cell::Int(i64::from(*value)),
        Typed::Number(number) => match (number.as_i64(), number.as_f64().filter(|value| value.is_finite())) {
            (Some(value), _) => Cell::Int(value),
            (None, Some(value)) => Cell::Real(value),
            (None, None) => {
                problems.add(node.mark, format!("expected a number that a column can hold, found {}", node.found()));
                return None;
            }
        },
        _ => Cell::Text(scalar.text.as_str().into()),
    }))
}
