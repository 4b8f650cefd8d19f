//! What packages ship beside the program: JSON Schemas, manual page, completions.
//!
//! The schemas are written by hand, for people and their editors, so they are held to the loader here: both know the same keys at every depth,
//! everything that is shipped fits them, and what the loader refuses for its keys they refuse too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use retentiond::config::Config;
use retentiond::schedule::Schedules;
use retentiond::yaml::Document;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn schema(name: &str) -> Value {
    let path = root().join("src/cli/schema").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What of JSON Schema these two schemas use. Whatever else they come to use is refused, so that no keyword is passed over.
struct Validator<'s> {
    root: &'s Value,
}

impl Validator<'_> {
    fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let Value::Object(keywords) = schema else {
            return if schema == &Value::Bool(true) { Ok(()) } else { Err(format!("{value}: not allowed")) };
        };
        keywords.iter().try_for_each(|(keyword, wanted)| {
            self.keyword(schema, keyword, wanted, value)
                .map_err(|error| if error.contains(": ") { error } else { format!("{value}: {error}") })
        })
    }

    fn keyword(&self, schema: &Value, keyword: &str, wanted: &Value, value: &Value) -> Result<(), String> {
        let list = || wanted.as_array().into_iter().flatten();
        let when = |fine: bool| if fine { Ok(()) } else { Err(format!("`{keyword}` asks for {wanted}")) };
        let (object, array, text) = (value.as_object(), value.as_array(), value.as_str());
        let number = |wanted: &Value| wanted.as_u64().unwrap();
        let length = |text: &str| text.chars().count() as u64;
        match keyword {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" | "examples" | "then" | "else" => Ok(()),
            "$ref" => {
                self.fits(self.root.pointer(wanted.as_str().unwrap().strip_prefix('#').unwrap()).expect("what is referred to"), value)
            }
            "type" => when(list().chain([wanted]).filter_map(Value::as_str).any(|name| is_of_type(name, value))),
            "const" => when(value == wanted),
            "enum" => when(list().any(|one| one == value)),
            "pattern" => when(text.is_none_or(|text| regex::Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text))),
            "minLength" => when(text.is_none_or(|text| length(text) >= number(wanted))),
            "maxLength" => when(text.is_none_or(|text| length(text) <= number(wanted))),
            "minimum" => when(value.as_f64().is_none_or(|value| value >= wanted.as_f64().unwrap())),
            "maximum" => when(value.as_f64().is_none_or(|value| value <= wanted.as_f64().unwrap())),
            "minItems" => when(array.is_none_or(|items| items.len() as u64 >= number(wanted))),
            "uniqueItems" => when(array.is_none_or(|items| items.iter().enumerate().all(|(at, item)| !items[..at].contains(item)))),
            "items" => array.into_iter().flatten().try_for_each(|item| self.fits(wanted, item)),
            "minProperties" => when(object.is_none_or(|object| object.len() as u64 >= number(wanted))),
            "maxProperties" => when(object.is_none_or(|object| object.len() as u64 <= number(wanted))),
            "required" => when(object.is_none_or(|object| list().all(|key| object.contains_key(key.as_str().unwrap())))),
            "dependentRequired" => {
                let needs = |key: &String| wanted.get(key).into_iter().flat_map(|list| list.as_array().unwrap());
                when(object.is_none_or(|object| object.keys().flat_map(needs).all(|key| object.contains_key(key.as_str().unwrap()))))
            }
            "propertyNames" => {
                object.into_iter().flat_map(|object| object.keys()).try_for_each(|key| self.fits(wanted, &key.as_str().into()))
            }
            "properties" => object.into_iter().flatten().try_for_each(|(key, value)| match wanted.get(key) {
                Some(schema) => self.fits(schema, value).map_err(|error| format!("{key}: {error}")),
                None => Ok(()),
            }),
            "additionalProperties" => {
                let known = |key: &String| schema.get("properties").is_some_and(|properties| properties.get(key).is_some());
                object
                    .into_iter()
                    .flatten()
                    .filter(|(key, _)| !known(key))
                    .try_for_each(|(key, value)| self.fits(wanted, value).map_err(|error| format!("{key}: {error}")))
            }
            "not" => when(self.fits(wanted, value).is_err()),
            "allOf" => list().try_for_each(|schema| self.fits(schema, value)),
            "anyOf" | "oneOf" => {
                let errors: Vec<String> = list().filter_map(|schema| self.fits(schema, value).err()).collect();
                let fitting = list().count() - errors.len();
                let fine = if keyword == "oneOf" { fitting == 1 } else { fitting > 0 };
                if fine { Ok(()) } else { Err(format!("{fitting} forms fit ({})", errors.join(" | "))) }
            }
            "if" => {
                let branch = if self.fits(wanted, value).is_ok() { "then" } else { "else" };
                schema.get(branch).map_or(Ok(()), |schema| self.fits(schema, value))
            }
            other => panic!("the keyword {other} is not understood by this test"),
        }
    }
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not understood by this test"),
    }
}

fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    Validator { root: schema }.fits(schema, value)
}

/// The same by another implementation, where there is one.
fn fits_elsewhere(schema: &Value, value: &Value) -> Option<bool> {
    let program = "import json, sys, jsonschema\nschema, value = json.load(sys.stdin)\nvalidator = jsonschema.Draft202012Validator\nvalidator.check_schema(schema)\nprint('fits' if validator(schema).is_valid(value) else 'does not fit')";
    let output =
        assert_cmd::Command::new("python3").args(["-c", program]).write_stdin(serde_json::json!([schema, value]).to_string()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim() == "fits")
}

/// Shipped files and the schema each must fit.
fn shipped() -> Vec<(&'static str, PathBuf)> {
    let mut files: Vec<(&str, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(root().join("schedules")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "yaml") {
            files.push(("schedule.json", path));
        }
    }
    assert!(!files.is_empty());
    files.push(("schedule.json", root().join("tests/broken/configurations/schedules/small.yaml")));
    files.push(("configuration.json", root().join("deploy/retentiond.yaml")));
    files.push(("configuration.json", root().join("examples/estate/retentiond.yaml")));
    files
}

#[test]
fn everything_that_is_shipped_fits_its_schema() {
    for (name, path) in shipped() {
        let (schema, value) = (schema(name), yaml(&path));
        fits(&schema, &value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match fits_elsewhere(&schema, &value) {
            Some(fine) => assert!(fine, "{}: python3 jsonschema finds that it does not fit", path.display()),
            None => println!("skipped: python3 with jsonschema is not here, so {} was validated by this test alone", path.display()),
        }
    }
}

#[test]
fn the_example_with_every_key_in_use_fits_too() {
    let text = std::fs::read_to_string(root().join("deploy/retentiond.yaml")).unwrap();
    let turned_on: String = text
        .lines()
        .map(|line| match line.trim_start().strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                format!("{}{key}\n", &line[..line.len() - line.trim_start().len()])
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let value: Value = serde_yaml::from_str(&turned_on).unwrap();
    fits(&schema("configuration.json"), &value).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_key_that_the_loader_refuses_is_refused_by_the_schema() {
    let mut cases = 0;
    for (schema_name, folder) in [("schedule.json", "schedules"), ("configuration.json", "configurations")] {
        let schema = schema(schema_name);
        for entry in std::fs::read_dir(root().join("tests/broken").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // What depends on another part of the file is beyond a schema.
            let beyond = ["event-missing", "events-missing", "anonymise-missing"];
            let within = name.contains("unknown-key") || name.contains("-missing.") || name.contains("-empty.");
            if path.is_file() && within && !beyond.iter().any(|word| name.contains(word)) {
                let Ok(value) = serde_yaml::from_str(&std::fs::read_to_string(&path).unwrap()) else { continue };
                assert!(fits(&schema, &value).is_err(), "{name} fits the schema, and the loader refuses it");
                cases += 1;
            }
        }
    }
    assert!(cases >= 30, "{cases} cases");
}

/// A key that stands nowhere and resembles nothing.
const NONSENSE: &str = "zzzzzzzzzzzzzzzzzzzz";

/// One mapping of a file: a text in which `KEY` is a key of it, and the schemas that describe it.
struct Probe {
    text: &'static str,
    schemas: &'static [&'static str],
}

const SCHEDULE: [Probe; 4] = [
    Probe { text: "schedule: a\ntime-zone: UTC\nclasses: { c: { keep: permanently } }\nKEY: null\n", schemas: &[""] },
    Probe { text: "schedule: a\ntime-zone: UTC\nclasses: { c: { keep: permanently, KEY: null } }\n", schemas: &["/$defs/class"] },
    Probe {
        text: "schedule: a\ntime-zone: UTC\nclasses: { c: { keep: permanently, on-erasure: { KEY: null } } }\n",
        schemas: &["/$defs/class/properties/on-erasure/anyOf/1"],
    },
    Probe {
        text: "schedule: a\ntime-zone: UTC\nclasses: { c: { keep: 1 day, then: flag, after: { KEY: null } } }\n",
        schemas: &["/$defs/trigger/oneOf/1", "/$defs/trigger/oneOf/2", "/$defs/trigger/oneOf/3"],
    },
];

/// The keys that say what kind of store it is. The loader names all of them wherever one may stand; the schema describes each kind by itself.
const KINDS: [&str; 6] = ["files", "sqlite", "postgres", "mysql", "attested", "csv"];

const CONFIGURATION: [Probe; 31] = [
    Probe { text: "metrics: { KEY: null }\n", schemas: &["/$defs/metrics"] },
    Probe { text: "notify: { KEY: null }\n", schemas: &["/$defs/notify"] },
    Probe { text: "notify: { mail: { KEY: null } }\n", schemas: &["/$defs/mail"] },
    Probe { text: "notify: { webhook: { KEY: null } }\n", schemas: &["/$defs/webhook"] },
    Probe { text: "clock: { KEY: null }\n", schemas: &["/properties/clock"] },
    Probe { text: "KEY: null\n", schemas: &[""] },
    Probe { text: "anchors: [ { folder: a, KEY: null } ]\n", schemas: &["/$defs/anchor"] },
    Probe { text: "log: { KEY: null }\n", schemas: &["/$defs/log"] },
    Probe { text: "limits: { KEY: null }\n", schemas: &["/$defs/limits/oneOf/1"] },
    Probe { text: "stores: { s: { files: f, KEY: null } }\n", schemas: &["/$defs/files-store"] },
    Probe { text: "stores: { s: { sqlite: f, KEY: null } }\n", schemas: &["/$defs/sqlite-store"] },
    Probe { text: "stores: { s: { postgres: postgres://u@h/d, KEY: null } }\n", schemas: &["/$defs/postgres-store"] },
    Probe { text: "stores: { s: { mysql: mysql://u@h/d, KEY: null } }\n", schemas: &["/$defs/mysql-store"] },
    Probe { text: "stores: { s: { attested: { csv: f }, KEY: null } }\n", schemas: &["/$defs/attested-store"] },
    Probe { text: "stores: { s: { attested: { csv: f, KEY: null } } }\n", schemas: &["/$defs/attested-store/properties/attested/oneOf/0"] },
    Probe {
        text: "stores: { s: { attested: { sqlite: f, KEY: null } } }\n",
        schemas: &["/$defs/attested-store/properties/attested/oneOf/1"],
    },
    Probe {
        text: "stores: { s: { attested: { postgres: postgres://u@h/d, KEY: null } } }\n",
        schemas: &["/$defs/attested-store/properties/attested/oneOf/2"],
    },
    Probe {
        text: "stores: { s: { attested: { mysql: mysql://u@h/d, KEY: null } } }\n",
        schemas: &["/$defs/attested-store/properties/attested/oneOf/3"],
    },
    Probe { text: "stores: { s: { attested: { csv: f }, datasets: { d: { KEY: null } } } }\n", schemas: &["/$defs/attested-dataset"] },
    Probe { text: "stores: { s: { mysql: mysql://u@h/d, throttle: { KEY: null } } }\n", schemas: &["/$defs/throttle"] },
    Probe {
        text: "stores: { s: { postgres: postgres://u@h/d, datasets: { d: { KEY: null } } } }\n",
        schemas: &["/$defs/postgres-dataset"],
    },
    Probe { text: "stores: { s: { mysql: mysql://u@h/d, datasets: { d: { KEY: null } } } }\n", schemas: &["/$defs/mysql-dataset"] },
    Probe { text: "stores: { s: { files: f, datasets: { d: { KEY: null } } } }\n", schemas: &["/$defs/files-dataset"] },
    Probe { text: "stores: { s: { sqlite: f, datasets: { d: { KEY: null } } } }\n", schemas: &["/$defs/sqlite-dataset"] },
    Probe {
        text: "stores: { s: { files: f, datasets: { d: { class-by: { capture: a, map: { a: b }, KEY: null } } } } }\n",
        schemas: &["/$defs/class-by"],
    },
    Probe {
        text: "stores: { s: { files: f, datasets: { d: { events: { e: { lookup: a.b, KEY: null } } } } } }\n",
        schemas: &["/$defs/look-up"],
    },
    Probe {
        text: "stores: { s: { files: f, datasets: { d: { path: a, events: { e: { sidecar: a, KEY: null } } } } } }\n",
        schemas: &["/$defs/files-event/oneOf/1"],
    },
    Probe {
        text: "stores: { s: { sqlite: f, datasets: { d: { events: { e: { column: a, KEY: null } } } } } }\n",
        schemas: &["/$defs/sqlite-event/oneOf/1"],
    },
    Probe { text: "stores: { s: { sqlite: f, datasets: { d: { statistics: { KEY: null } } } } }\n", schemas: &["/$defs/rows-statistics"] },
    Probe { text: "stores: { s: { sqlite: f, datasets: { d: { children: [ { id: a, KEY: null } ] } } } }\n", schemas: &["/$defs/child"] },
    Probe {
        text: "stores: { s: { sqlite: f, datasets: { d: { anonymise: { a: { KEY: null } } } } } }\n",
        schemas: &["/$defs/new-value/oneOf/1"],
    },
];

impl Probe {
    /// What the loader says when `key` stands there.
    fn refusal(&self, key: &str, load: fn(&str) -> String) -> String {
        // A key may be there already, and standing twice is another fault.
        let text = self.text.replace("KEY: null", &format!("{key}: null"));
        load(&text)
    }

    /// The keys that the schema knows there.
    fn properties(&self, schema: &Value) -> BTreeSet<String> {
        let of = |pointer: &&str| {
            let part = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not there"));
            assert_eq!(part["additionalProperties"], Value::Bool(false), "{pointer}");
            part["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        self.schemas.iter().flat_map(of).collect()
    }
}

fn load_schedule(text: &str) -> String {
    Schedules::parse("t.yaml", text).map_or_else(|error| error.to_string(), |_| String::new())
}

fn load_configuration(text: &str) -> String {
    let document = Document::parse("t.yaml", text.to_owned());
    let config = document.and_then(|document| Config::from_document(&document, root()));
    config.map_or_else(|error| error.to_string(), |_| String::new())
}

fn loader_and_schema_agree(probes: &[Probe], schema: &Value, load: fn(&str) -> String) {
    for probe in probes {
        let in_schema = probe.properties(schema);
        let refusal = probe.refusal(NONSENSE, load);
        let line = refusal
            .lines()
            .find(|line| line.contains(&format!("unknown key `{NONSENSE}`")))
            .unwrap_or_else(|| panic!("{}: a key that nobody knows was not refused: {refusal}", probe.text));
        let known = line.split_once("expected one of: ").unwrap_or_else(|| panic!("{line} does not list the keys")).1;
        let own = |key: &&str| in_schema.contains(*key) || !KINDS.contains(key);
        let known: BTreeSet<String> = known.split(", ").filter(own).map(str::to_owned).collect();
        assert_eq!(known, in_schema, "left: the loader, right: the schema, of {}", probe.text);
        for key in &in_schema {
            let refusal = probe.refusal(key, load);
            assert!(!refusal.contains(&format!("unknown key `{key}`")), "{refusal}");
        }
    }
}

#[test]
fn loader_and_schema_know_the_same_keys_at_every_depth() {
    loader_and_schema_agree(&SCHEDULE, &schema("schedule.json"), load_schedule);
    loader_and_schema_agree(&CONFIGURATION, &schema("configuration.json"), load_configuration);
}

#[test]
fn every_mapping_of_a_schema_is_probed_or_has_names_for_keys() {
    fn mappings(pointer: &str, value: &Value, out: &mut Vec<String>) {
        if value.get("properties").is_some() && value.get("type").is_some() {
            out.push(pointer.to_owned());
        }
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| mappings(&format!("{pointer}/{key}"), value, out)),
            Value::Array(items) => items.iter().enumerate().for_each(|(at, value)| mappings(&format!("{pointer}/{at}"), value, out)),
            _ => {}
        }
    }
    for (name, probes) in [("schedule.json", &SCHEDULE[..]), ("configuration.json", &CONFIGURATION[..])] {
        let mut found = Vec::new();
        mappings("", &schema(name), &mut found);
        let probed: BTreeSet<&str> = probes.iter().flat_map(|probe| probe.schemas.iter().copied()).collect();
        let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found, probed, "{name}");
    }
}

#[test]
fn every_key_has_a_description_and_defaults_are_those_of_the_loader() {
    fn described(root: &Value, pointer: &str, value: &Value) {
        if let (Some(properties), true) = (value.get("properties").and_then(Value::as_object), value.get("type").is_some()) {
            for (key, property) in properties {
                let referred = property.get("$ref").and_then(|to| root.pointer(to.as_str()?.strip_prefix('#')?));
                let text = property.get("description").or_else(|| referred?.get("description"));
                assert!(text.and_then(Value::as_str).is_some_and(|text| text.ends_with('.')), "{pointer}/{key} has no description");
            }
        }
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| described(root, &format!("{pointer}/{key}"), value)),
            Value::Array(items) => items.iter().for_each(|value| described(root, pointer, value)),
            _ => {}
        }
    }
    for name in ["schedule.json", "configuration.json"] {
        let schema = schema(name);
        described(&schema, "", &schema);
    }
    let schema = schema("configuration.json");
    let at = |pointer: &str| schema.pointer(pointer).unwrap().clone();
    let limits = retentiond::config::Limits::default();
    assert_eq!(at("/properties/state/default"), retentiond::config::DEFAULT_STATE);
    assert_eq!(at("/$defs/limits/oneOf/1/properties/records/default"), limits.records.unwrap());
    assert_eq!(at("/$defs/limits/oneOf/1/properties/share/default"), format!("{}%", limits.share.unwrap()));
    assert_eq!(at("/$defs/mode/default"), "report");
}

/// Standard output of `retentiond generate …`, which ends well and says nothing else.
fn generated(arguments: &[&str]) -> Vec<u8> {
    let output = assert_cmd::Command::cargo_bin("retentiond").unwrap().arg("generate").args(arguments).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stdout.is_empty(), "{arguments:?}");
    output.stdout
}

#[test]
fn the_program_prints_its_schemas() {
    for name in ["schedule", "configuration"] {
        let printed: Value = serde_json::from_slice(&generated(&["schema", name])).unwrap();
        assert_eq!(printed, schema(&format!("{name}.json")));
    }
}

#[test]
fn the_manual_page_names_every_verb_and_has_no_fault_that_groff_finds() {
    let page = generated(&["man"]);
    let text = String::from_utf8(page.clone()).unwrap();
    for verb in [
        "check",
        "plan",
        "run",
        "explain",
        "reload",
        "audit verify",
        "audit replay",
        "audit prove",
        "audit check-proof",
        "register rebuild",
        "generate schema",
    ] {
        assert!(text.contains(&format!(".SS \"retentiond {verb}\"")), "{verb}");
    }
    for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "FILES", "ENVIRONMENT", "EXIT STATUS"] {
        assert!(text.contains(&format!(".SH \"{section}\"")) || text.contains(&format!(".SH {section}\n")), "{section}");
    }
    groff_finds_no_fault(page);
}

fn groff_finds_no_fault(page: Vec<u8>) {
    if Command::new("groff").arg("--version").output().is_err() {
        println!("skipped: groff is not here, so the page was not set");
        return;
    }
    let set = assert_cmd::Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).write_stdin(page).output().unwrap();
    assert!(set.status.success() && set.stderr.is_empty(), "{}", String::from_utf8_lossy(&set.stderr));
}

/// The keys of every mapping of a schema, by the title that its section of the page has.
fn keys_by_section(title: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let title = value.get("title").and_then(Value::as_str).unwrap_or(title);
    let mut inner = Vec::new();
    match value {
        Value::Object(map) => {
            if let (Some(properties), true) = (value.get("properties").and_then(Value::as_object), value.get("type").is_some()) {
                out.extend(properties.keys().map(|key| (title.to_owned(), key.clone())));
            }
            for (word, value) in map {
                match value {
                    Value::Object(named) if word == "properties" || word == "$defs" => {
                        inner.extend(named.iter().map(|(name, value)| (name.as_str(), value)));
                    }
                    _ => inner.push((title, value)),
                }
            }
        }
        Value::Array(items) => inner.extend(items.iter().map(|item| (title, item))),
        _ => {}
    }
    inner.into_iter().for_each(|(title, value)| keys_by_section(title, value, out));
}

#[test]
fn the_pages_of_both_files_have_every_key_in_its_section() {
    for (page, name, least) in [("retentiond.yaml", "configuration.json", 100), ("retentiond-schedule", "schedule.json", 18)] {
        let schema = schema(name);
        let mut keys = Vec::new();
        keys_by_section("", &schema, &mut keys);
        assert!(keys.len() >= least, "{name} has {} keys", keys.len());
        let text = String::from_utf8(generated(&["man", page])).unwrap();
        for (title, key) in keys {
            // The outermost mapping has the title of the whole file.
            let heading = if schema["title"] == title.as_str() { "KEYS".to_owned() } else { title.to_uppercase() };
            let section = text.split(".SH ").find_map(|section| section.strip_prefix(&format!("\"{}\"\n", heading.replace('-', "\\-"))));
            let section = section.unwrap_or_else(|| panic!("{page} has no section {heading}"));
            assert!(section.contains(&format!("\\fB{}\\fR", key.replace('-', "\\-"))), "{page}: {heading} does not describe {key}");
        }
        for section in ["NAME", "DESCRIPTION", "EXAMPLE", "FILES", "SEE ALSO"] {
            assert!(text.contains(&format!(".SH {section}\n")), "{page}: {section}");
        }
        groff_finds_no_fault(text.into_bytes());
    }
}

/// An example that does not load would teach a mistake.
#[test]
fn the_examples_of_the_pages_load() {
    let example = |page: &str| {
        let text = String::from_utf8(generated(&["man", page])).unwrap();
        let example = text.split(".SH EXAMPLE\n.nf\n").nth(1).and_then(|rest| rest.split(".fi\n").next()).unwrap();
        example.replace("\\-", "-")
    };
    assert_eq!(load_schedule(&example("retentiond-schedule")), "");
    assert_eq!(load_configuration(&example("retentiond.yaml")), "");
}

#[test]
fn completions_name_the_verbs_and_are_understood_by_their_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = generated(&["completions", shell]);
        let text = String::from_utf8(script.clone()).unwrap();
        for word in ["check", "explain", "audit", "config"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
        if Command::new(shell).arg("--version").output().is_err() {
            println!("skipped: {shell} is not here, so its completions were not read by it");
            continue;
        }
        let read = assert_cmd::Command::new(shell).args(["-n"]).write_stdin(script).output().unwrap();
        assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
    }
}
