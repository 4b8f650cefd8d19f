//! The keys of a file, from its JSON Schema: a section for each mapping, an entry for each key, both in the order of the schema.
//!
//! Sections follow from the outermost mapping inwards. Mappings of one title share a section, as the datasets of the three kinds of databases do; a
//! key that differs between them says for which it is meant. A key that every store and dataset may write again is described once, at the top.

use std::collections::BTreeMap;
use std::io::{Error, Result, Write};

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

use super::troff;

/// What of JSON Schema a page is made of.
#[derive(Clone, Deserialize, Default)]
#[serde(default)]
struct Schema {
    title: Option<String>,
    description: Option<String>,
    default: Option<Value>,
    examples: Vec<Value>,
    #[serde(rename = "$ref")]
    refers: Option<String>,
    #[serde(rename = "type")]
    is: Value,
    #[serde(rename = "enum")]
    values: Vec<Value>,
    #[serde(rename = "const")]
    value: Option<Value>,
    #[serde(rename = "oneOf")]
    forms: Vec<Schema>,
    #[serde(rename = "anyOf")]
    any: Vec<Schema>,
    items: Option<Box<Schema>>,
    required: Vec<String>,
    properties: Ordered,
    #[serde(rename = "additionalProperties")]
    others: Others,
    #[serde(rename = "$defs")]
    defined: Ordered,
}

/// `additionalProperties`: whether there may be others, or what they are.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Others {
    Allowed(#[allow(dead_code)] bool),
    Each(Box<Schema>),
}

impl Default for Others {
    fn default() -> Self {
        Self::Allowed(true)
    }
}

/// Schemas by name, in the order of the text.
#[derive(Clone, Default)]
struct Ordered(Vec<(String, Schema)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Ordered;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("schemas by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A mapping of the file: the section that it belongs to, for what it is meant, and its keys.
struct Mapping {
    section: String,
    about: Option<String>,
    meant_for: String,
    keys: Vec<(String, Entry)>,
}

/// What a page says of one key.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    text: String,
    required: bool,
}

/// Writes the sections of a schema.
pub(super) fn write(out: &mut Vec<u8>, schema: &str) -> Result<()> {
    let root: Schema = serde_json::from_str(schema)?;
    let mut page = Page { root: &root, mappings: Vec::new(), seen: Vec::new() };
    page.walk()?;
    page.print(out)
}

struct Page<'s> {
    root: &'s Schema,
    mappings: Vec<Mapping>,
    /// What is described already, by the name under which it is referred to.
    seen: Vec<String>,
}

/// A schema inside another that may hold mappings: itself, the name it goes by when it has no title, and for which kind of store it is meant.
struct Inner<'s>(&'s Schema, String, String);

impl<'s> Page<'s> {
    fn referred(&self, schema: &Schema) -> Result<Option<(&'s str, &'s Schema)>> {
        let Some(name) = &schema.refers else { return Ok(None) };
        let found = name.strip_prefix("#/$defs/").and_then(|name| self.root.defined.0.iter().find(|(known, _)| known == name));
        found.map(|(name, schema)| Some((name.as_str(), schema))).ok_or_else(|| Error::other(format!("{name} is not in the schema")))
    }

    /// Notes the outermost mapping, and then whatever mappings its keys hold, level by level.
    fn walk(&mut self) -> Result<()> {
        let mut level = vec![Inner(self.root, "keys".to_owned(), String::new())];
        while !level.is_empty() {
            let mut next = Vec::new();
            for Inner(schema, name, meant_for) in level {
                self.look(schema, &name, &meant_for, &mut next)?;
            }
            level = next;
        }
        Ok(())
    }

    /// Notes a schema if it is a mapping, and gathers what lies inside.
    fn look(&mut self, schema: &'s Schema, name: &str, meant_for: &str, next: &mut Vec<Inner<'s>>) -> Result<()> {
        if let Some((referred, there)) = self.referred(schema)? {
            if !self.seen.iter().any(|seen| seen == referred) {
                self.seen.push(referred.to_owned());
                self.look(there, there.title.as_deref().unwrap_or(name), meant_for, next)?;
            }
            return Ok(());
        }
        // A kind of store passes its name on to its datasets.
        let title = schema.title.as_deref().unwrap_or(name);
        let meant_for = title.strip_prefix("Store in ").unwrap_or(meant_for).to_owned();
        if !schema.properties.0.is_empty() {
            let entry = |(key, property): &(String, Schema)| {
                Ok((key.clone(), Entry { text: self.described(property)?, required: schema.required.contains(key) }))
            };
            let keys = schema.properties.0.iter().map(entry).collect::<Result<_>>()?;
            let top = std::ptr::eq(schema, self.root);
            self.mappings.push(Mapping {
                section: if top { name.to_owned() } else { title.to_owned() },
                about: schema.description.clone().filter(|_| !top),
                meant_for: meant_for.clone(),
                keys,
            });
        }
        for (key, property) in &schema.properties.0 {
            next.push(Inner(property, property.title.clone().unwrap_or_else(|| key.clone()), meant_for.clone()));
        }
        let others = match &schema.others {
            Others::Each(others) => Some(&**others),
            Others::Allowed(_) => None,
        };
        // Forms and items are the same thing by another spelling: they are looked at in the same step.
        for form in schema.forms.iter().chain(&schema.any).chain(schema.items.as_deref()).chain(others) {
            let is_condition = form.refers.is_none() && form.properties.0.is_empty() && form.items.is_none();
            if !is_condition || matches!(form.others, Others::Each(_)) || !form.forms.is_empty() {
                self.look(form, title, &meant_for, next)?;
            }
        }
        Ok(())
    }

    /// Description, values, default and examples of a key.
    fn described(&self, property: &'s Schema) -> Result<String> {
        let there = self.referred(property)?.map(|(_, schema)| schema);
        let own_or_there = |of: fn(&Schema) -> Option<&String>| of(property).or_else(|| there.and_then(of));
        let mut text = own_or_there(|schema| schema.description.as_ref()).map(|text| marked(text)).unwrap_or_default();
        let schema = there.unwrap_or(property);
        // Where the names under a key are the administrator's own, what stands there is described with the key.
        if let Others::Each(each) = &schema.others {
            let each = self.referred(each)?.map_or(&**each, |(_, schema)| schema);
            if let (Some(about), true) = (&each.description, each.properties.0.is_empty()) {
                text += &format!(" {}", marked(about));
            }
        }
        let values = if schema.values.is_empty() {
            property.value.as_ref().or(schema.value.as_ref()).into_iter().collect()
        } else {
            schema.values.iter().collect::<Vec<_>>()
        };
        if !values.is_empty() {
            let names: Vec<String> = values.into_iter().map(|value| format!("\\fB{}\\fR", troff(&plain(value)))).collect();
            text += &if let [one] = &names[..] { format!(" The only value is {one}.") } else { format!(" One of {}.", names.join(", ")) };
        } else if schema.is == "boolean" {
            text += " \\fBtrue\\fR or \\fBfalse\\fR.";
        }
        if let Some(default) = property.default.as_ref().or(schema.default.as_ref())
            && !text.contains("The default is")
        {
            text += &format!(" The default is \\fB{}\\fR.", troff(&plain(default)));
        }
        let examples = if property.examples.is_empty() { &schema.examples } else { &property.examples };
        if !examples.is_empty() {
            let shown: Vec<String> = examples.iter().map(|one| format!("\\fB{}\\fR", troff(&plain(one)))).collect();
            text += &format!(" For example {}.", shown.join(", "));
        }
        Ok(text.trim_start().to_owned())
    }

    fn print(&self, out: &mut Vec<u8>) -> Result<()> {
        let top: BTreeMap<&str, &Entry> =
            self.mappings.first().into_iter().flat_map(|mapping| &mapping.keys).map(|(key, entry)| (key.as_str(), entry)).collect();
        let mut done: Vec<&str> = Vec::new();
        for (at, first) in self.mappings.iter().enumerate() {
            if done.contains(&first.section.as_str()) {
                continue;
            }
            done.push(&first.section);
            writeln!(out, ".SH \"{}\"", troff(&first.section.to_uppercase()))?;
            if let Some(about) = &first.about {
                writeln!(out, "{}", marked(about))?;
            }
            let same = self.mappings[at..].iter().filter(|mapping| mapping.section == first.section);
            let is_above = |key: &Described<'_>| {
                at > 0 && key.said.len() == 1 && top.get(key.name).is_some_and(|entry| entry.text == key.said[0].0.text)
            };
            let (again, keys): (Vec<Described<'_>>, Vec<Described<'_>>) = Described::of(same).into_iter().partition(is_above);
            for key in &keys {
                for (entry, meant_for) in &key.said {
                    let whom = if key.said.len() > 1 { format!(" ({})", troff(&meant_for.join(", "))) } else { String::new() };
                    let required = if entry.required { " Required." } else { "" };
                    writeln!(out, ".TP\n\\fB{}\\fR{whom}\n{}{required}", troff(key.name), entry.text)?;
                }
            }
            if !again.is_empty() {
                let names: Vec<String> = again.iter().map(|key| format!("\\fB{}\\fR", troff(key.name))).collect();
                writeln!(out, ".TP\n{}\nAs at the top, for this alone.", names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// A key of a section: what is said of it, and, where that differs, for which kinds of store.
struct Described<'p> {
    name: &'p str,
    said: Vec<(&'p Entry, Vec<&'p str>)>,
}

impl<'p> Described<'p> {
    /// The keys of mappings that share a section.
    fn of(mappings: impl Iterator<Item = &'p Mapping>) -> Vec<Self> {
        let mut keys: Vec<Self> = Vec::new();
        for mapping in mappings {
            for (name, entry) in &mapping.keys {
                let at = keys.iter().position(|key| key.name == name).unwrap_or_else(|| {
                    keys.push(Self { name, said: Vec::new() });
                    keys.len() - 1
                });
                match keys[at].said.iter_mut().find(|(known, _)| *known == entry) {
                    Some((_, meant_for)) => meant_for.push(&mapping.meant_for),
                    None => keys[at].said.push((entry, vec![&mapping.meant_for])),
                }
            }
        }
        keys
    }
}

/// A value as people write it in YAML.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A description, with `code` set in bold.
fn marked(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        let part = troff(part);
        out += &if at % 2 == 1 { format!("\\fB{part}\\fR") } else { part };
    }
    out
}
