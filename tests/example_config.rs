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
    assert_eq!(config.stores.len(), 3);
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
