//! Files that go with a record: named from the record's own name, and standing beside it.
//!
//! A template such as `{stem}.jpg` or `{name}.json` gives the companion of a record. A file that is a companion of a record beside it is no
//! record itself, even where the pattern matches it. Two files that are companions of each other by their names are both records, and neither
//! goes with the other: in doubt a file is judged by its own dates.

use std::collections::HashMap;

use rustix::fd::AsFd;
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::component::Component;
use super::dataset::Dataset;
use super::root::{Facts, open_dir};
use super::walk::LISTING;

/// What a companion is called, given the record's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Text before the record's part.
    pub prefix: String,
    /// Whether the record's part is the name without its last extension.
    pub stem: bool,
    /// Text after it.
    pub suffix: String,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A sentence that says what was expected and what was found.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = || format!("found \"{}\"", crate::error::escape(text.as_bytes()));
        let (mark, stem) = if text.contains("{stem}") { ("{stem}", true) } else { ("{name}", false) };
        let Some((prefix, suffix)) = text.split_once(mark) else {
            return Err(format!("expected a name with {{stem}} or {{name}} in it, such as \"{{stem}}.json\", {}", found()));
        };
        if [prefix, suffix].iter().any(|part| part.contains(['{', '}', '/', '\0'])) {
            return Err(format!("expected one {{stem}} or {{name}} and plain text, without `/`, {}", found()));
        }
        if prefix.is_empty() && suffix.is_empty() {
            return Err(format!("expected a name that differs from the record's own, {}", found()));
        }
        Ok(Self { prefix: prefix.to_owned(), stem, suffix: suffix.to_owned() })
    }

    /// The companion's name; `None` when it is the record's own, or no name.
    pub fn of(&self, name: &[u8]) -> Option<Vec<u8>> {
        let base = if self.stem { stem(name) } else { name };
        let companion = [self.prefix.as_bytes(), base, self.suffix.as_bytes()].concat();
        (companion != name && companion != b"." && companion != b"..").then_some(companion)
    }

    /// The stem or name that a file of this name would belong to.
    fn base<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        let base = name.strip_prefix(self.prefix.as_bytes())?.strip_suffix(self.suffix.as_bytes())?;
        (!base.is_empty()).then_some(base)
    }
}

/// A name without its last extension; a dot at the very beginning is none.
pub fn stem(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

impl Dataset {
    /// Whether the name has the form of a companion, so that it matters what stands beside it.
    pub fn looks_like_companion(&self, name: &[u8]) -> bool {
        self.companions.iter().any(|template| {
            // Where all records end alike, the only record with this name's own stem is the one with this name.
            template.base(name).is_some_and(|base| !(template.stem && stem(name) == base && self.fixes_extension()))
        })
    }

    fn fixes_extension(&self) -> bool {
        self.pattern.last().is_some_and(Component::fixes_extension)
    }

    /// Whether two records may have the same companion, so that it stays until the last of them goes.
    pub fn shares_companions(&self) -> bool {
        self.companions.iter().any(|template| template.stem) && !self.fixes_extension()
    }

    /// The names of what goes with a record, whether it is there or not. `matches` tells whether a name beside it is matched by the pattern.
    pub fn companions_of(&self, record: &[u8], matches: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = Vec::with_capacity(self.companions.len());
        for template in &self.companions {
            if let Some(name) = template.of(record)
                && !names.contains(&name)
                && (self.directories() || !matches(&name) || !self.looks_like_companion(record))
            {
                names.push(name);
            }
        }
        names
    }

    /// For each of `names` in an open directory: a record beside it that it goes with, if there is one. Lists the directory once.
    pub fn owners(&self, dir: impl AsFd, names: &[Vec<u8>], matches: impl Fn(&[u8]) -> bool) -> rustix::io::Result<Vec<Option<Vec<u8>>>> {
        let mut owners = vec![None; names.len()];
        let suspects: HashMap<&[u8], usize> = names
            .iter()
            .enumerate()
            .filter(|(_, name)| self.companions.iter().any(|template| template.base(name).is_some()))
            .map(|(index, name)| (name.as_slice(), index))
            .collect();
        if suspects.is_empty() {
            return Ok(owners);
        }
        let listing = open_dir(&dir, b".")?;
        let mut buffer = Vec::with_capacity(LISTING);
        let mut entries = RawDir::new(listing, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let candidate = entry.file_name().to_bytes();
            if !matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown) || !matches(candidate) {
                continue;
            }
            for companion in self.companions_of(candidate, &matches) {
                let Some(index) = suspects.get(companion.as_slice()).copied().filter(|index| owners[*index].is_none()) else { continue };
                let is_file = entry.file_type() == FileType::RegularFile
                    || match Facts::at(&dir, candidate) {
                        Ok(facts) => facts.is_file(),
                        Err(Errno::NOENT) => false,
                        Err(error) => return Err(error),
                    };
                if is_file {
                    owners[index] = Some(candidate.to_vec());
                }
            }
        }
        Ok(owners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_gives_the_name_of_the_companion() {
        let of = |template: &str, name: &str| {
            Template::parse(template).unwrap().of(name.as_bytes()).map(|name| String::from_utf8(name).unwrap())
        };
        assert_eq!(of("{stem}.jpg", "a.b.mp4").as_deref(), Some("a.b.jpg"));
        assert_eq!(of("{name}.json", "a.mp4").as_deref(), Some("a.mp4.json"));
        assert_eq!(of(".{name}.meta", "a").as_deref(), Some(".a.meta"));
        assert_eq!(of("{stem}.jpg", ".hidden").as_deref(), Some(".hidden.jpg"));
        assert_eq!(of("{stem}.jpg", "a.jpg"), None);
        for bad in ["thumb.jpg", "{name}", "{stem}/x", "{stem}{name}", "x{y}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
