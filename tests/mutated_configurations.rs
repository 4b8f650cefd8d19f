//! Valid configurations with mutations: whatever becomes of a file, reading it ends with a configuration or with messages, never with a panic, and
//! a key that nobody knows is never passed over.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use retentiond::config::Config;
use retentiond::error::{Kind, Result};
use retentiond::yaml::Document;

/// Scalars that mean something to one reader or another.
const SCALARS: [&str; 40] = [
    "",
    "~",
    "null",
    "true",
    "no",
    "0",
    "-1",
    "1e9",
    "0x10",
    ".inf",
    ".nan",
    "18446744073709551616",
    "10%",
    "101%",
    "unlimited",
    "report",
    "enforce",
    "path",
    "modified",
    "\"{a}/**\"",
    "\"{a:%Y-%m-%d}/*\"",
    "\"**/{a}/**\"",
    "\"{\"",
    "\"../*\"",
    "\"[\"",
    "[]",
    "{}",
    "[[]]",
    "{ a: b }",
    "&a b",
    "*a",
    "!!str a",
    "|",
    ">-",
    "\"\\0\"",
    "\"\\u202e\"",
    "'",
    "\"",
    "P6M",
    "6m",
];

static BASES: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let example = read("deploy/retentiond.yaml");
    // The example with every key in use, without comments.
    let uncommented = |line: &str| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match rest.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_alphabetic()) => Some(format!("{indent}{key}")),
            Some(_) => None,
            None => Some(line.to_owned()).filter(|line| !line.trim().is_empty()),
        }
    };
    let lines = |text: &str| text.lines().map(str::to_owned).collect();
    vec![example.lines().filter_map(uncommented).collect(), lines(&example), lines(&read("examples/estate/retentiond.yaml"))]
});

#[derive(Clone, Debug)]
enum Mutation {
    Delete(prop::sample::Index),
    Duplicate(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Scalar(prop::sample::Index, prop::sample::Index),
    Key(prop::sample::Index, String),
    Indent(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    Cut(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        at().prop_map(Mutation::Delete),
        at().prop_map(Mutation::Duplicate),
        (at(), at()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        (at(), at()).prop_map(|(line, scalar)| Mutation::Scalar(line, scalar)),
        (at(), "[a-zA-Z -]{0,12}").prop_map(|(line, key)| Mutation::Key(line, key)),
        (at(), 0_usize..12).prop_map(|(line, indent)| Mutation::Indent(line, indent)),
        (at(), "\\PC{0,12}|[\\x00-\\x1f\u{85}\u{2028}\u{feff}]{1,3}").prop_map(|(place, text)| Mutation::Insert(place, text)),
        at().prop_map(Mutation::Cut),
    ]
}

fn apply(lines: &mut Vec<String>, mutation: &Mutation) {
    if lines.is_empty() {
        return;
    }
    match mutation {
        Mutation::Delete(at) => _ = lines.remove(at.index(lines.len())),
        Mutation::Duplicate(at) => {
            let at = at.index(lines.len());
            lines.insert(at, lines[at].clone());
        }
        Mutation::Swap(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        Mutation::Scalar(at, scalar) => {
            let count = at_least_one(lines.len());
            let line = &mut lines[at.index(count)];
            if let Some((key, _)) = line.split_once(": ") {
                *line = format!("{key}: {}", scalar.get(&SCALARS));
            }
        }
        Mutation::Key(at, key) => {
            let count = at_least_one(lines.len());
            let line = &mut lines[at.index(count)];
            if let Some((before, value)) = line.split_once(':') {
                let indent = before.len() - before.trim_start().len();
                *line = format!("{}{key}:{value}", " ".repeat(indent));
            }
        }
        Mutation::Indent(at, indent) => {
            let count = at_least_one(lines.len());
            let line = &mut lines[at.index(count)];
            *line = format!("{}{}", " ".repeat(*indent), line.trim_start());
        }
        Mutation::Insert(at, text) => {
            let count = at_least_one(lines.len());
            let line = &mut lines[at.index(count)];
            let places: Vec<usize> = line.char_indices().map(|(place, _)| place).chain([line.len()]).collect();
            line.insert_str(*at.get(&places), text);
        }
        Mutation::Cut(at) => lines.truncate(at.index(lines.len())),
    }
}

fn at_least_one(length: usize) -> usize {
    length.max(1)
}

fn load(lines: &[String]) -> Result<()> {
    let document = Document::parse("t.yaml", lines.join("\n") + "\n")?;
    Config::from_document(&document, Path::new(env!("CARGO_MANIFEST_DIR"))).map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_mutation_makes_the_loader_panic_and_every_refusal_has_a_place(
        base in 0_usize..3,
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let mut lines = BASES[base].clone();
        mutations.iter().for_each(|mutation| apply(&mut lines, mutation));
        if let Err(error) = load(&lines) {
            prop_assert_eq!(error.kind(), Kind::Config);
            for line in error.to_string().lines() {
                prop_assert!(!line.contains(char::is_control), "{}", line);
                let place: Vec<&str> = line.split(':').take(3).collect();
                let numbers = place.iter().skip(1).all(|number| number.parse::<usize>().is_ok_and(|number| number > 0));
                prop_assert!(place.len() == 3 && numbers, "no place: {}", line);
            }
        }
    }

    #[test]
    fn an_unknown_key_is_refused_wherever_it_stands(base in 0_usize..3, at: prop::sample::Index) {
        let mut lines = BASES[base].clone();
        let is_key = |line: &String| {
            let text = line.trim_start();
            text.split_once(':').is_some_and(|(key, _)| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        };
        let keys: Vec<usize> = (0..lines.len()).filter(|at| is_key(&lines[*at])).collect();
        let at = *at.get(&keys);
        let indent = lines[at].len() - lines[at].trim_start().len();
        prop_assert!(load(&lines).is_ok());
        lines.insert(at, format!("{}nobody-knows-this: []", " ".repeat(indent)));
        prop_assert!(load(&lines).is_err(), "{}", lines.join("\n"));
    }
}
