//! What the configuration says about the audit log itself: where its checkpoints go, and what becomes of it in the course of years.

use std::path::{Path, PathBuf};

use crate::audit::Anchor;
use crate::audit::anchor::witness::Witness;
use crate::error::escape;
use crate::schedule::{Keep, Period, Rule, Schedules};
use crate::yaml::{Fields, Mark, Node, Problems, suggest};

/// How long after the end of a year the pseudonym key of that year is kept at least, unless the configuration says otherwise: a claim in contract may be
/// brought for six years, and the year after that is for bringing it.
const EVIDENCE: &str = "7 years";

/// The name of the credential that may hold the signing key.
const CREDENTIAL: &str = "log.key";

/// What becomes of the log.
pub struct LogRules {
    /// The rule of the schedule by which entries are archived.
    pub rule: Option<Rule>,
    /// The folder of the archive.
    pub archive: Option<PathBuf>,
    /// How long the pseudonym key of a year is kept at least after its end; `None` for ever.
    pub evidence: Option<Period>,
    /// The name of the systemd credential that may hold the signing key.
    pub credential: String,
}

impl Default for LogRules {
    fn default() -> Self {
        Self { rule: None, archive: None, evidence: Period::parse(EVIDENCE).ok(), credential: CREDENTIAL.to_owned() }
    }
}

/// A folder that the configuration names, for comparing it with the stores.
pub(super) struct Named {
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
    pub(super) mark: Mark,
}

/// Reads `anchors:`.
pub(super) fn anchors(fields: &mut Fields<'_>, base: &Path, named: &mut Vec<Named>, problems: &mut Problems) -> Vec<Anchor> {
    const FORM: &str = "a list of anchors such as `{ folder: /srv/anchors }`";
    let Some(node) = fields.take("anchors") else { return Vec::new() };
    let crate::yaml::Value::Sequence(items) = &node.value else {
        problems.add(node.mark, format!("`anchors`: expected {FORM}, found {}", node.found()));
        return Vec::new();
    };
    items.iter().filter_map(|item| anchor(item, base, named, problems)).collect()
}

fn anchor(node: &Node, base: &Path, named: &mut Vec<Named>, problems: &mut Problems) -> Option<Anchor> {
    const KINDS: &str = "`folder:`, `command:` or `witness:`";
    let mut fields = node.fields("an anchor such as `{ folder: /srv/anchors }`", problems)?;
    let found: Vec<_> = ["folder", "command", "witness"].into_iter().filter(|kind| fields.has(kind)).collect();
    let (folder, command, witness, key) = (fields.take("folder"), fields.take("command"), fields.take("witness"), fields.take("key"));
    fields.finish("anchor", problems);
    if found.len() != 1 {
        let what = if found.is_empty() { "none" } else { "several" };
        problems.add(node.mark, format!("anchor: expected one of {KINDS}, found {what}"));
        return None;
    }
    if let (Some(key), None) = (key, witness) {
        problems.add(key.mark, "anchor: expected `key` only beside `witness`");
        return None;
    }
    if let Some(node) = folder {
        let path = base.join(node.text("a folder that exists, best one of another machine", problems)?);
        named.push(Named { what: "the folder of an anchor", path: path.clone(), mark: node.mark });
        return Some(Anchor::Folder(path));
    }
    if let Some(node) = command {
        let words = node.one_or_more("a command: a program, or a list of it and its arguments", problems);
        let words: Option<Vec<String>> = words.iter().map(|word| word.text("a word of a command", problems).map(str::to_owned)).collect();
        return words.filter(|words| !words.is_empty()).map(Anchor::Command);
    }
    let url = witness?;
    let Some(key) = key else {
        problems.add(
            node.mark,
            "anchor: a witness needs the key `key`, which is missing: the line <name>+<id>+<key> that its operator publishes",
        );
        return None;
    };
    let (text, vkey) = (url.text("the URL of a witness", problems)?, key.text("the key of a witness", problems)?);
    match Witness::new(text, vkey) {
        Ok(witness) => Some(Anchor::Witness(Box::new(witness))),
        Err(why) => {
            let mark = if Witness::new("https://localhost/", vkey).is_err() { key.mark } else { url.mark };
            problems.add(mark, format!("anchor: {why}"));
            None
        }
    }
}

/// Reads `log:`.
pub(super) fn rules(
    fields: &mut Fields<'_>,
    base: &Path,
    schedules: Option<&Schedules>,
    named: &mut Vec<Named>,
    problems: &mut Problems,
) -> LogRules {
    let mut rules = LogRules::default();
    let Some(node) = fields.take("log") else { return rules };
    let Some(mut fields) =
        node.fields("what becomes of the log, such as `{ class: governance.audit-log, archive: /srv/archive }`", problems)
    else {
        return rules;
    };
    if let Some(node) = fields.take("class")
        && let Some(id) = node.text("the class of the log", problems)
        && let Some(schedules) = schedules
    {
        match schedules.rule(id) {
            Some(rule) if matches!(rule.class.keep, Keep::Permanently) => {
                problems.add(
                    node.mark,
                    format!("`log`: class \"{id}\" keeps the log where it is for ever; leave `class` out, or name another"),
                );
            }
            Some(rule) => rules.rule = Some(rule),
            None => {
                let hint = suggest(id, schedules.class_ids().map(crate::schedule::ClassId::as_str));
                problems.add(node.mark, format!("`log`: no schedule has the class \"{}\"{hint}", escape(id.as_bytes())));
            }
        }
    }
    if let Some(node) = fields.take("archive")
        && let Some(text) = node.text("the folder of the archive", problems)
    {
        let path = base.join(text);
        named.push(Named { what: "the archive of the log", path: path.clone(), mark: node.mark });
        rules.archive = Some(path);
    }
    if let Some(node) = fields.take("evidence")
        && let Some(text) = node.text("how long names stay evidence, such as \"7 years\"", problems)
    {
        match Period::parse(text) {
            Ok(period) => rules.evidence = Some(period),
            Err(error) => problems.add(node.mark, format!("`evidence`: period \"{}\" {error}", escape(text.as_bytes()))),
        }
    }
    if let Some(node) = fields.take("credential")
        && let Some(text) = node.text("the name of a credential", problems)
    {
        if text.contains('/') || text.starts_with('.') {
            let found = escape(text.as_bytes());
            problems.add(node.mark, format!("`credential`: expected the name of a credential of the service, no path, found \"{found}\""));
        }
        text.clone_into(&mut rules.credential);
    }
    fields.finish("log", problems);
    rules
}
