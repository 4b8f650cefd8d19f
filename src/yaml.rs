//! Reading YAML so that every complaint can name its line and column.
//!
//! A retention schedule is a legal document: nothing in it may be read in two ways, and nothing may be passed over. So both files of the
//! product are read into a tree of [`Node`]s that know where they stand, and taken apart with [`Fields`], which notices every key that nobody
//! asked for. All problems of a file are collected before it is refused, so that an administrator mends it once.
//!
//! **Two readers.** `saphyr-parser` gives events with positions; `serde_yaml` gives each scalar its YAML type (null, boolean, number, string).
//! Both must see the same structure. Where two independent readers of a legal document disagree, the file is in doubt and is refused.
//!
//! **Not accepted**: duplicate keys, anchors and aliases, tags, several documents in one file, keys that are not plain text, nesting deeper
//! than 32. None of them is needed, and each has surprised somebody.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::error::{Error, Kind, Result, escape};

/// What YAML makes of a scalar: null, a boolean, a number or a string.
pub use serde_yaml::Value as Typed;

/// Deeper nesting than this is refused: no schedule needs it, and a recursive reader must not be led to overflow its stack.
const DEPTH: usize = 32;

/// Longest file that is read, in bytes. The full text of a schedule goes into the audit log; configurations are far smaller than this too.
const LONGEST: u64 = 4 << 20;

/// A place in a file: line and column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One value of a YAML file and the place where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where the value begins.
    pub mark: Mark,
    /// The value.
    pub value: Value,
}

/// The three shapes of a YAML value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text, a number, a boolean or null.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping in the order of the file, each key with its own place.
    Mapping(Vec<(String, Mark, Node)>),
}

/// A scalar as it is written and as YAML types it.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// The text as written, quotes removed.
    pub text: String,
    /// What YAML makes of it.
    pub typed: serde_yaml::Value,
}

/// One file that was read: its name for messages and its root.
#[derive(Clone, Debug)]
pub struct Document {
    /// The path as the administrator wrote it.
    pub name: String,
    /// The exact text.
    pub text: String,
    /// The topmost value.
    pub root: Node,
}

/// What is wrong with one file: every problem with its place.
#[derive(Debug)]
pub struct Problems {
    file: String,
    found: Vec<(Mark, String)>,
}

impl Problems {
    /// An empty list for the named file.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), found: Vec::new() }
    }

    /// Notes one problem.
    pub fn add(&mut self, mark: Mark, message: impl Into<String>) {
        self.found.push((mark, message.into()));
    }

    /// Takes over the problems of a part, each with the part's name before it unless it says the name already.
    pub fn absorb(&mut self, part: Self, name: &str) {
        for (mark, message) in part.found {
            self.found.push((mark, if message.starts_with(name) { message } else { format!("{name}: {message}") }));
        }
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The name of the file that the problems are in.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The problems as `file:line:column: message` lines in the order of the file, or nothing when there are none.
    pub fn lines(mut self) -> Vec<String> {
        self.found.sort_by_key(|(mark, _)| *mark);
        self.found.into_iter().map(|(mark, message)| format!("{}:{mark}: {message}", self.file)).collect()
    }

    /// Ok when nothing is wrong; otherwise one configuration error with a line for each problem.
    pub fn into_result(self) -> Result<()> {
        join(self.lines())
    }
}

/// Ok for an empty list; otherwise one configuration error that holds all lines.
pub fn join(lines: Vec<String>) -> Result<()> {
    if lines.is_empty() { Ok(()) } else { Err(Error::new(Kind::Config, lines.join("\n"))) }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Document {
    /// Reads a file. `name` is how messages call it.
    pub fn read(path: &Path, name: &str) -> Result<Self> {
        let fail = |error| Error::with_source(Kind::Config, format!("{name}: expected a readable YAML file"), error);
        let length = std::fs::metadata(path).map_err(fail)?.len();
        if length > LONGEST {
            return Err(Error::new(Kind::Config, format!("{name}: expected at most {LONGEST} bytes, found {length}")));
        }
        // The length of a device or a pipe says nothing, so what is read is bounded too.
        let mut bytes = Vec::new();
        std::fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes)).map_err(fail)?;
        if bytes.len() as u64 > LONGEST {
            return Err(Error::new(Kind::Config, format!("{name}: expected at most {LONGEST} bytes, found more")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let mark = Mark { line: 1 + before.matches('\n').count(), column: 1 + before.chars().rev().take_while(|c| *c != '\n').count() };
            Error::new(Kind::Config, format!("{name}:{mark}: expected UTF-8 text, found bytes that are not; save the file as UTF-8"))
        })?;
        Self::parse(name, text)
    }

    /// Parses text. Fails with every structural problem that can be found before the reader loses its footing.
    pub fn parse(name: &str, text: String) -> Result<Self> {
        let mut problems = Problems::new(name);
        // Some editors begin a file with a byte order mark. It says nothing, and one of the two readers stumbles over it.
        let yaml = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let root = Builder { problems: &mut problems }.document(yaml);
        problems.into_result()?;
        let Some(mut root) = root else {
            let found = if yaml.trim().is_empty() { "an empty file" } else { "nothing but comments" };
            return Err(Error::new(Kind::Config, format!("{name}:1:1: expected a mapping, found {found}")));
        };
        let typed: serde_yaml::Value = serde_yaml::from_str(yaml).map_err(|error| {
            let mark = error.location().map_or(root.mark, |place| Mark { line: place.line(), column: place.column() });
            Error::new(Kind::Config, format!("{name}:{mark}: expected well-formed YAML: {}", escape(error.to_string().as_bytes())))
        })?;
        if let Err(mark) = adopt_types(&mut root, &typed) {
            let message = "two YAML readers disagree about this value; write it in a plainer way, with quotes where in doubt";
            return Err(Error::new(Kind::Config, format!("{name}:{mark}: {message}")));
        }
        Ok(Self { name: name.to_owned(), text, root })
    }
}

/// Gives each scalar the type that `serde_yaml` sees; fails with the place of the first difference in structure.
fn adopt_types(node: &mut Node, typed: &serde_yaml::Value) -> std::result::Result<(), Mark> {
    let mark = node.mark;
    match (&mut node.value, typed) {
        (Value::Sequence(items), serde_yaml::Value::Sequence(values)) if items.len() == values.len() => {
            items.iter_mut().zip(values).try_for_each(|(item, value)| adopt_types(item, value))
        }
        (Value::Mapping(pairs), serde_yaml::Value::Mapping(values)) if pairs.len() == values.len() => {
            pairs.iter_mut().zip(values).try_for_each(
                |((key, mark, item), (name, value))| {
                    if scalar_agrees(key, name) { adopt_types(item, value) } else { Err(*mark) }
                },
            )
        }
        (Value::Scalar(scalar), value) if scalar_agrees(&scalar.text, value) => {
            scalar.typed = value.clone();
            Ok(())
        }
        _ => Err(mark),
    }
}

fn scalar_agrees(text: &str, typed: &serde_yaml::Value) -> bool {
    match typed {
        serde_yaml::Value::String(string) => string == text,
        serde_yaml::Value::Null | serde_yaml::Value::Bool(_) | serde_yaml::Value::Number(_) => true,
        _ => false,
    }
}

/// Builds the tree from parser events.
struct Builder<'a> {
    problems: &'a mut Problems,
}

type Events<'a> = Parser<'a, saphyr_parser::StrInput<'a>>;

impl Builder<'_> {
    fn document(&mut self, text: &str) -> Option<Node> {
        let mut events = Parser::new_from_str(text);
        let mut root = None;
        while let Some((event, mark)) = self.next(&mut events) {
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    self.problems.add(mark, "expected one YAML document, found a second one; remove the `---` line");
                    break;
                }
                Event::DocumentStart(_) => {
                    let (event, mark) = self.next(&mut events)?;
                    root = Some(self.node(event, mark, &mut events, 0)?);
                }
                _ => {
                    self.problems.add(mark, "expected one YAML document, found something after its end");
                    break;
                }
            }
        }
        root
    }

    fn next<'t>(&mut self, events: &mut Events<'t>) -> Option<(Event<'t>, Mark)> {
        match events.next_event()? {
            Ok((event, span)) => Some((event, Mark { line: span.start.line(), column: span.start.col() + 1 })),
            Err(error) => {
                let mark = Mark { line: error.marker().line(), column: error.marker().col() + 1 };
                self.problems.add(mark, format!("expected well-formed YAML: {}{}", escape(error.info().as_bytes()), remedy(error.info())));
                None
            }
        }
    }

    /// One value; `None` when reading cannot go on (the problem is noted).
    fn node<'t>(&mut self, event: Event<'t>, mark: Mark, events: &mut Events<'t>, depth: usize) -> Option<Node> {
        if depth > DEPTH {
            self.problems.add(mark, format!("expected nesting of at most {DEPTH} levels, found more"));
            return None;
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(mark, anchor, tag.is_some());
                let typed = if style == ScalarStyle::Plain { serde_yaml::Value::Null } else { serde_yaml::Value::String(text.to_string()) };
                Value::Scalar(Scalar { text: text.into_owned(), typed })
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(mark, anchor, tag.is_some());
                let mut items = Vec::new();
                loop {
                    match self.next(events)? {
                        (Event::SequenceEnd, _) => break Value::Sequence(items),
                        (event, mark) => items.push(self.node(event, mark, events, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, tag) => {
                self.plain(mark, anchor, tag.is_some());
                self.mapping(events, depth)?
            }
            _ => {
                self.problems.add(mark, "expected a value, found an alias (`*name`); write the value out");
                return None;
            }
        };
        Some(Node { mark, value })
    }

    fn mapping(&mut self, events: &mut Events<'_>, depth: usize) -> Option<Value> {
        let mut pairs: Vec<(String, Mark, Node)> = Vec::new();
        loop {
            let (event, mark) = self.next(events)?;
            let key = match event {
                Event::MappingEnd => return Some(Value::Mapping(pairs)),
                Event::Scalar(text, _, anchor, tag) => {
                    self.plain(mark, anchor, tag.is_some());
                    text.into_owned()
                }
                _ => {
                    self.problems.add(mark, "expected a key in plain text, found a list, a mapping or an alias");
                    return None;
                }
            };
            let (event, value_mark) = self.next(events)?;
            let node = self.node(event, value_mark, events, depth + 1)?;
            if let Some((_, first, _)) = pairs.iter().find(|(other, _, _)| *other == key) {
                let key = escape(key.as_bytes());
                self.problems.add(mark, format!("the key `{key}` stands here a second time (first at {first}); remove one of the two"));
            } else {
                pairs.push((key, mark, node));
            }
        }
    }

    fn plain(&mut self, mark: Mark, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.problems.add(mark, "expected a plain value, found an anchor (`&name`); write the value out where it is used");
        }
        if tagged {
            self.problems.add(mark, "expected a plain value, found a tag (`!name`); remove it");
        }
    }
}

/// What usually mends a file that the parser gives up on: it names what it saw, and people need to know what to type.
fn remedy(info: &str) -> &'static str {
    let remedies = [
        ("tab", "; indent with spaces, not with tabs"),
        ("unknown anchor", "; aliases (`*name`) are not accepted, write the value out"),
        ("mapping values are not allowed", "; put quotes around a text that contains a colon, or mend the indentation"),
        ("simple key", "; is the space after a colon missing, here or in the line before?"),
        ("did not find expected key", "; keys that belong together begin in the same column"),
        ("quoted scalar", "; is the closing quote missing?"),
        ("flow sequence", "; is the closing bracket `]` missing?"),
        ("flow construct", "; is a closing bracket or brace missing in the line before?"),
        ("flow mapping", "; is the closing brace `}` missing?"),
    ];
    remedies.into_iter().find(|(sign, _)| info.contains(sign)).map_or("", |(_, remedy)| remedy)
}

impl Node {
    /// A few words for what stands here, for messages: `"text"`, `a list`, `a mapping`, `nothing`.
    pub fn found(&self) -> String {
        match &self.value {
            Value::Scalar(scalar) if scalar.typed.is_null() => "nothing".to_owned(),
            Value::Scalar(scalar) => format!("\"{}\"", escape(scalar.text.as_bytes())),
            Value::Sequence(items) => if items.is_empty() { "an empty list" } else { "a list" }.to_owned(),
            Value::Mapping(pairs) => if pairs.is_empty() { "an empty mapping" } else { "a mapping" }.to_owned(),
        }
    }

    /// Whether this is null: written `null`, `~` or left empty.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.typed.is_null())
    }

    /// The text of a scalar that is not null; otherwise a problem that says `expected {what}`.
    pub fn text(&self, what: &str, problems: &mut Problems) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if !scalar.typed.is_null() && !scalar.text.trim().is_empty() => Some(&scalar.text),
            _ => {
                problems.add(self.mark, format!("expected {what}, found {}", self.found()));
                None
            }
        }
    }

    /// The boolean that stands here (`true` or `false`); otherwise a problem.
    pub fn boolean(&self, what: &str, problems: &mut Problems) -> Option<bool> {
        if let Value::Scalar(Scalar { typed: serde_yaml::Value::Bool(value), .. }) = &self.value {
            Some(*value)
        } else {
            problems.add(self.mark, format!("expected {what} (true or false), found {}", self.found()));
            None
        }
    }

    /// The items of a list; a single scalar counts as a list of one. Anything else is a problem.
    pub fn one_or_more(&self, what: &str, problems: &mut Problems) -> Vec<&Node> {
        match &self.value {
            Value::Sequence(items) if !items.is_empty() => items.iter().collect(),
            Value::Scalar(scalar) if !scalar.typed.is_null() => vec![self],
            _ => {
                problems.add(self.mark, format!("expected {what}, found {}", if self.is_null() { "nothing".into() } else { self.found() }));
                Vec::new()
            }
        }
    }

    /// The mapping that stands here, as fields to be taken out one by one; otherwise a problem.
    pub fn fields(&self, what: &str, problems: &mut Problems) -> Option<Fields<'_>> {
        if let Value::Mapping(pairs) = &self.value {
            Some(Fields { mark: self.mark, pairs, taken: vec![false; pairs.len()], known: Vec::new() })
        } else {
            problems.add(self.mark, format!("expected {what}, found {}", self.found()));
            None
        }
    }
}

/// A mapping that is being taken apart. Whoever takes it apart calls [`Fields::finish`], which complains about every key that was not taken.
pub struct Fields<'a> {
    /// Where the mapping begins.
    pub mark: Mark,
    pairs: &'a [(String, Mark, Node)],
    taken: Vec<bool>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Takes the value of `key`, if it is there. The key counts as known from now on.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        let at = self.pairs.iter().position(|(name, _, _)| name == key)?;
        self.taken[at] = true;
        Some(&self.pairs[at].2)
    }

    /// Takes the value of a key that must be there; a problem otherwise.
    pub fn need(&mut self, key: &'static str, what: &str, problems: &mut Problems) -> Option<&'a Node> {
        let node = self.take(key);
        if node.is_none() {
            problems.add(self.mark, format!("{what} needs the key `{key}`, which is missing"));
        }
        node
    }

    /// Whether the key is there, without taking it.
    pub fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(name, _, _)| name == key)
    }

    /// The place of a key, or of the mapping when the key is not there.
    pub fn mark_of(&self, key: &str) -> Mark {
        self.pairs.iter().find(|(name, _, _)| name == key).map_or(self.mark, |(_, mark, _)| *mark)
    }

    /// All entries of a mapping whose keys are names chosen by the user.
    pub fn names(self) -> impl Iterator<Item = (&'a str, Mark, &'a Node)> {
        self.pairs.iter().map(|(key, mark, node)| (key.as_str(), *mark, node))
    }

    /// Complains about each key that nobody took, with the nearest key that would have been understood.
    pub fn finish(self, what: &str, problems: &mut Problems) {
        for ((key, mark, _), taken) in self.pairs.iter().zip(&self.taken) {
            if !taken {
                let secret = ["password", "passwd", "secret", "token", "credential"].iter().any(|word| key.to_lowercase().contains(word));
                let hint = if secret { "; secrets never stand in this file".to_owned() } else { suggest(key, self.known.iter().copied()) };
                problems.add(*mark, format!("{what}: unknown key `{}`{hint}", escape(key.as_bytes())));
            }
        }
    }
}

/// `; did you mean …?` with the nearest of the known names, or else the list of them.
pub fn suggest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    let folded = found.to_lowercase().replace(['_', ' '], "-");
    let nearest = known.iter().map(|name| (strsim::damerau_levenshtein(&folded, name), *name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + name.len() / 5 => format!("; did you mean `{name}`?"),
        _ if known.is_empty() => String::new(),
        _ if known.len() <= 24 => format!("; expected one of: {}", known.join(", ")),
        _ => String::new(),
    }
}

/// `; did you mean …?` where a name is near, for messages that list what is known already; otherwise nothing.
pub fn near<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    Some(suggest(found, known)).filter(|hint| hint.starts_with("; did you mean")).unwrap_or_default()
}

/// A path written in a file, relative to the folder of that file.
pub fn resolve(base: &Path, written: &str) -> PathBuf {
    base.join(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(text: &str) -> String {
        Document::parse("t.yaml", text.to_owned()).map_or_else(|error| error.to_string(), |_| "none".to_owned())
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_with_its_place() {
        assert_eq!(problems_of("a: 1\nb: 2\n"), "none");
        assert_eq!(problems_of("a: 1\na: 2\n"), "t.yaml:2:1: the key `a` stands here a second time (first at 1:1); remove one of the two");
        assert!(problems_of("a: &x 1\nb: *x\n").contains("expected a plain value, found an anchor"));
        assert!(problems_of("a: !!str 1\n").contains("found a tag"));
        assert!(problems_of("a: 1\n---\nb: 2\n").contains("found a second one"));
        assert!(problems_of("? [a]\n: 1\n").contains("expected a key in plain text"));
        assert!(problems_of("").contains("empty file"));
        assert!(problems_of("a: [1, 2\n").starts_with("t.yaml:"));
        assert!(problems_of(&"[".repeat(100)).contains("at most 32 levels"));
    }

    #[test]
    fn keys_that_nobody_takes_are_problems_with_a_suggestion() {
        let document = Document::parse("t.yaml", "keep: 1\naftr: x\nzebra: 2\n".to_owned()).unwrap();
        let mut problems = Problems::new("t.yaml");
        let mut fields = document.root.fields("a class", &mut problems).unwrap();
        fields.take("keep");
        fields.take("after");
        fields.finish("class \"a\"", &mut problems);
        assert_eq!(
            problems.lines(),
            [
                "t.yaml:2:1: class \"a\": unknown key `aftr`; did you mean `after`?",
                "t.yaml:3:1: class \"a\": unknown key `zebra`; expected one of: after, keep"
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[ -~\\n\u{0}-\u{7f}]{0,200}") {
            let _ = Document::parse("t.yaml", text);
        }

        #[test]
        fn no_yaml_like_text_makes_the_reader_panic(text in "([a-c]|: |- |\\[|\\]|\\{|\\}|\n|  |\"|'|&a |\\*a|!t |#|\\||>|\\? |,|\\\\|~|1){0,60}") {
            let _ = Document::parse("t.yaml", text);
        }
    }
}
