//! `deploy/retentiond.yaml`, the configuration that administrators start from: it loads as it stands, and with every key in use.

use std::path::Path;

use retentiond::config::{Config, Mode};
use retentiond::yaml::Document;

/// Loads a text as the configuration of a folder that holds the shipped schedules.
fn load(text: &str) -> Config {
    let document = Document::parse("retentiond.yaml", text.to_owned()).unwrap_or_else(|error| panic!("{error}"));
    Config::from_document(&document, Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|error| panic!("{error}"))
}

fn example() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/retentiond.yaml")).unwrap()
}

/// The example with every `#key` turned into `key`; `# words` stay comments.
fn with_every_key() -> String {
    let uncommented = |line: &str| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match rest.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_alphabetic()) => format!("{indent}{key}\n"),
            _ => format!("{line}\n"),
        }
    };
    example().lines().map(uncommented).collect()
}

#[test]
fn the_example_loads_as_it_stands_and_destroys_nothing() {
    let config = load(&example());
    assert_eq!(config.stores.len(), 6);
    assert!(config.datasets.iter().all(|dataset| dataset.mode == Mode::Report));
    assert!(config.datasets.iter().all(|dataset| dataset.limits.to_string() == "10000 records or 20% of the dataset"));
}

#[test]
fn the_example_loads_with_every_key_in_use() {
    let text = with_every_key();
    assert!(text.contains("\nscan: \"15 2 * * *\"\n"), "keys at the top are turned on");
    assert!(text.contains("\n        erase: unlink\n"), "keys of datasets are turned on");
    let config = load(&text);
    assert_eq!(config.datasets.len(), load(&example()).datasets.len());
    assert!(config.datasets.iter().all(|dataset| dataset.mode == Mode::Report && dataset.scan.is_some() && dataset.backups.is_some()));
}

#[test]
fn defaults_that_the_example_names_are_the_defaults() {
    let plain = load(&example());
    let turned_on = load(&with_every_key().replace("limits: { share: 10% }", ""));
    for (one, other) in plain.datasets.iter().zip(&turned_on.datasets) {
        assert_eq!((one.mode, one.limits, one.keys), (other.mode, other.limits, other.keys), "{}", one.address);
    }
}

#[test]
fn the_five_rules_of_the_readme_load() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [schedule, configuration] = blocks[..] else { panic!("expected a schedule and a configuration, found {} blocks", blocks.len()) };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("schedules")).unwrap();
    std::fs::write(folder.path().join("schedules/housing.yaml"), schedule).unwrap();
    std::fs::write(folder.path().join("retentiond.yaml"), configuration).unwrap();
    let config = Config::load(&folder.path().join("retentiond.yaml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.schedules.class_ids().count(), config.datasets.len()), (5, 6));
    assert!(config.datasets.iter().all(|dataset| dataset.mode == Mode::Report));
}

/// The keys are taken from the code that reads them, so that a new one cannot be forgotten here.
#[test]
fn every_key_that_the_program_reads_stands_in_the_example() {
    let example = example();
    let mut keys = std::collections::BTreeSet::new();
    let mut folders =
        vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config"), Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let code = std::fs::read_to_string(&path).unwrap();
            for call in [".take(\"", ".need(\""] {
                keys.extend(code.split(call).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }
    assert!(keys.len() > 25, "{keys:?}");
    let absent = |key: &&String| !example.lines().any(|line| line.contains(&format!("{key}:")) || line.contains(&format!("#   {key} ")));
    let missing: Vec<&String> = keys.iter().filter(absent).collect();
    assert!(missing.is_empty(), "deploy/retentiond.yaml does not show {missing:?}");
}
