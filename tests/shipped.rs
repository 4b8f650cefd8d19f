//! The package: everything that is meant for an administrator is in it, and what it lists is there.
//!
//! The list of the package is in `Cargo.toml` under `package.metadata.deb`. A file that is added below `deploy`, `systemd` or `schedules` and is in
//! neither that list nor the one here fails this test: somebody has to say what becomes of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;

/// What stays in the repository, and why.
const NOT_SHIPPED: [(&str, &str); 7] = [
    ("deploy/package", "builds the package"),
    ("deploy/quickstart", "builds the program and shows it at work, from a checkout"),
    ("deploy/container/Containerfile", "builds an image from a checkout; who has the package needs none"),
    ("deploy/container/compose.yaml", "starts that image"),
    ("deploy/debian/postinst", "is in the package as one of its scripts"),
    ("deploy/debian/postrm", "is in the package as one of its scripts"),
    ("deploy/debian/prerm", "is in the package as one of its scripts"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One line of the package's list.
struct Asset {
    source: String,
    dest: String,
}

/// The lines of the list, as `Cargo.toml` has them: one asset a line.
fn assets() -> Vec<Asset> {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, rest) = text.split_once("\nassets = [\n").expect("a list of assets");
    let (list, _) = rest.split_once("\n]\n").unwrap();
    let value = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name} = \"")).unwrap_or_else(|| panic!("{line}: expected `{name}`"));
        rest.split_once('"').unwrap().0.to_owned()
    };
    list.lines().map(|line| Asset { source: value(line, "source"), dest: value(line, "dest") }).collect()
}

/// Every file below a folder of the repository, by its path in it.
fn files(below: &str) -> BTreeSet<String> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![PathBuf::from(below)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                files.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    files
}

fn all_files() -> BTreeSet<String> {
    ["deploy", "systemd", "schedules"].into_iter().flat_map(files).collect()
}

/// The files that a line of the list takes.
fn taken<'a>(asset: &Asset, all: &'a BTreeSet<String>) -> Vec<&'a str> {
    // A star stands for no slash, for cargo-deb as for us.
    let glob = GlobBuilder::new(&asset.source).literal_separator(true).build().unwrap().compile_matcher();
    all.iter().map(String::as_str).filter(|file| glob.is_match(file)).collect()
}

#[test]
fn every_file_is_in_the_package_or_it_is_said_why_not() {
    let all = all_files();
    let shipped: BTreeSet<&str> = assets().iter().flat_map(|asset| taken(asset, &all)).collect();
    let stays: BTreeSet<&str> = NOT_SHIPPED.iter().map(|(file, _)| *file).collect();
    let forgotten: Vec<&String> = all.iter().filter(|file| !shipped.contains(file.as_str()) && !stays.contains(file.as_str())).collect();
    assert!(forgotten.is_empty(), "in neither the list of the package (Cargo.toml) nor the list of this test: {forgotten:?}");
    let both: Vec<&&str> = stays.intersection(&shipped).collect();
    assert!(both.is_empty(), "in the package, although it is said why they are not: {both:?}");
    let gone: Vec<&&str> = stays.iter().filter(|file| !all.contains(**file)).collect();
    assert!(gone.is_empty(), "there are no such files: {gone:?}");
}

#[test]
fn everything_that_the_package_lists_is_there() {
    let here: BTreeSet<String> = all_files().into_iter().chain(files("src/cli/schema")).collect();
    let package = std::fs::read_to_string(root().join("deploy/package")).unwrap();
    for Asset { source, dest } in assets() {
        if let Some(made) = source.strip_prefix("target/package/") {
            // Completions are made in a loop over the shells.
            let (_, shell) = made.rsplit_once('.').unwrap();
            let looped = package.lines().any(|line| line.starts_with("for shell in") && line.contains(shell));
            assert!(looped || package.contains(made), "{source}: `deploy/package` makes no such file");
        } else if !source.starts_with("target/release/") {
            let asset = Asset { source: source.clone(), dest: dest.clone() };
            assert!(root().join(&source).is_file() || !taken(&asset, &here).is_empty(), "{source}: there is no such file");
        }
        assert!(!dest.starts_with('/') && (dest.ends_with('/') || !source.contains('*')), "{source}: several files become one, {dest}");
    }
}

#[test]
fn the_scripts_of_the_package_are_those_that_dpkg_knows() {
    let known = ["preinst", "postinst", "prerm", "postrm", "config", "templates", "triggers", "conffiles"];
    let said: Vec<&str> = NOT_SHIPPED.iter().filter(|(_, why)| why.contains("one of its scripts")).map(|(file, _)| *file).collect();
    assert!(!said.is_empty() && said.iter().all(|file| known.iter().any(|name| *file == format!("deploy/debian/{name}"))), "{said:?}");
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(text.contains("maintainer-scripts = \"deploy/debian\""));
}
