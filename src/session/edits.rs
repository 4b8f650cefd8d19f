//! Edits: what came into force is written down before it is used, and what became due only through an edit waits, or a person confirms it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Session, TEXT_PIECE, pieces};
use crate::assess::Formers;
use crate::audit::Kind as EntryKind;
use crate::config::{ClassChoice, Config};
use crate::dispose::BY;
use crate::error::{Error, Kind, Result, escape, hex};
use crate::register::Register;
use crate::schedule::history::{Former, History, TextKind};

/// What waits through edits of schedule and bindings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The id of all that is in force now, by which a person confirms it.
    pub id: String,
    /// When the last of what waits is old enough.
    pub until: Timestamp,
}

/// What was in force within the edit delay, for each dataset. Without a register there is nothing before.
pub async fn formers(config: &Config, register: Option<&Register>, now: Timestamp) -> Result<Formers> {
    let delay = SignedDuration::try_from(config.service.edit_delay).unwrap_or(SignedDuration::MAX);
    let (Some(register), false) = (register, delay.is_zero()) else { return Ok(Formers::new()) };
    let since = now.checked_sub(delay).unwrap_or(Timestamp::MIN);
    let (written, confirmed) = (register.written_since(since).await?, register.confirmed().await?);
    let bindings = config.datasets.iter().map(|dataset| (dataset.address.clone(), sha256(&dataset.binding_text()))).collect();
    let history = History::new(&written, confirmed, &config.schedules, &bindings, now, delay);
    let former = |dataset: &Arc<crate::config::Dataset>| {
        let former = history.former(&dataset.address, &dataset.binding());
        (!former.is_empty()).then(|| (dataset.address.clone(), former))
    };
    Ok(config.datasets.iter().filter_map(former).collect())
}

/// What waits through an edit, if anything may: one that was undone, or made periods longer, holds nothing back.
pub fn edit(config: &Config, formers: &Formers) -> Option<Edit> {
    let felt = |address: &str, former: &Former| match config.datasets.iter().find(|one| one.address == address).map(|one| &one.classes) {
        Some(ClassChoice::All(rules)) => former.is_felt(None, rules),
        Some(ClassChoice::By { map, .. }) => map.iter().any(|(value, rules)| former.is_felt(Some(value), rules)),
        None => true,
    };
    let of = |(address, formers): (&String, &Vec<Former>)| formers.iter().filter(|one| felt(address, one)).map(|one| one.until).max();
    let until = formers.iter().filter_map(of).max()?;
    Some(Edit { id: edit_id(config), until })
}

/// Names all that is in force: the texts of the schedules, and the classes of each dataset.
pub fn edit_id(config: &Config) -> String {
    let schedules = config.schedules.all.iter().map(|schedule| (schedule.id.as_str(), schedule.sha256.to_string()));
    let bindings = config.datasets.iter().map(|dataset| (dataset.address.as_str(), sha256(&dataset.binding_text())));
    let mut all: Vec<_> = schedules.chain(bindings).collect();
    all.sort();
    let mut hash = Sha256::new();
    for (name, sha256) in all {
        hash.update(name);
        hash.update([0]);
        hash.update(sha256);
    }
    hex(&hash.finalize()[..8])
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// A text in the bodies of as many entries as it needs, which stand next to each other in the log.
fn in_parts(head: &Value, text: &str) -> Vec<Value> {
    let pieces = pieces(text, TEXT_PIECE);
    let body = |(at, piece): (usize, &&str)| {
        let mut body = head.clone();
        body["part"] = json!(at + 1);
        body["parts"] = json!(pieces.len());
        body["text"] = json!(piece);
        body
    };
    pieces.iter().enumerate().map(body).collect()
}

impl Session {
    /// Every schedule in force, and every dataset's binding to classes, whose text is not in the log as it stands goes into the log in full, so that
    /// an auditor can derive each due date; and what is no longer in force is withdrawn.
    pub async fn write_down(&self) -> Result<()> {
        let mut edition = self.shared.edition.write().await;
        *edition = None;
        let mut known = self.register.in_force().await?;
        for schedule in &self.config.schedules.all {
            if known.remove(&(TextKind::Schedule, schedule.id.clone())).is_none_or(|sha256| sha256 != *schedule.sha256) {
                let mut head = json!({"id": schedule.id, "sha256": &*schedule.sha256, "title": schedule.title, "by": BY});
                if let Some(uid) = schedule.owner_uid {
                    // Whose file it is: who wrote into it, or became another user to do so, nobody can tell.
                    head["edited_by"] = json!(crate::control::peer::person(uid, None));
                }
                self.tell(EntryKind::Schedule, in_parts(&head, &schedule.text)).await?;
            }
        }
        let mut bindings = Vec::new();
        for dataset in &self.config.datasets {
            let text = dataset.binding_text();
            let sha256 = sha256(&text);
            if known.remove(&(TextKind::Binding, dataset.address.clone())).is_none_or(|known| known != sha256) {
                let head = json!({"store": dataset.store.name(), "dataset": dataset.name, "sha256": sha256, "by": BY});
                bindings.extend(in_parts(&head, &text));
            }
        }
        if !bindings.is_empty() {
            self.tell(EntryKind::Bound, bindings).await?;
        }
        for ((kind, id), sha256) in known {
            let (kind, mut body) = match kind {
                TextKind::Schedule => (EntryKind::Schedule, json!({"id": id})),
                TextKind::Binding => {
                    let (store, dataset) = id.split_once('/').unwrap_or((&id, ""));
                    (EntryKind::Bound, json!({"store": store, "dataset": dataset}))
                }
            };
            body["sha256"] = json!(sha256);
            body["withdrawn"] = json!(true);
            body["by"] = json!(BY);
            self.tell(kind, vec![body]).await?;
        }
        *edition = Some(edit_id(&self.config));
        Ok(())
    }

    /// Whether schedule or configuration were loaded anew since this session took its own: none of its runs can begin any more.
    pub async fn is_superseded(&self) -> Result<bool> {
        let edition = self.shared.edition.read().await;
        Ok(!self.is_current(edition.as_deref()).await?)
    }

    /// Whether this edition is what the session goes by, and no other was in between: an edit to and fro leaves the same in force, and what was so for a
    /// moment counts as well.
    pub(super) async fn is_current(&self, edition: Option<&str>) -> Result<bool> {
        Ok(edition == Some(&*edit_id(&self.config)) && self.register.last_text().await? == self.texts)
    }

    /// What waits through an edit, if anything may.
    pub fn edit(&self) -> Option<Edit> {
        edit(&self.config, &self.formers)
    }

    /// A person confirms all that is in force now: nothing waits any more through edits until now.
    pub async fn confirm(&self, id: &str, person: &str) -> Result<()> {
        let current = edit_id(&self.config);
        if id != current {
            let text = format!(
                "\"{}\" names no edit that is in force; what is in force now is {current}: look at `plan` before you confirm it",
                escape(id.as_bytes())
            );
            return Err(Error::new(Kind::Usage, text));
        }
        if self.edit().is_none() {
            return Err(Error::new(
                Kind::Usage,
                "nothing waits to be confirmed: no edit younger than `edit-delay` made anything due, terms easier, or lets more go on a request for erasure",
            ));
        }
        let schedules: Vec<_> =
            self.config.schedules.all.iter().map(|schedule| json!({"id": schedule.id, "sha256": &*schedule.sha256})).collect();
        self.tell(EntryKind::Confirmed, vec![json!({"edit": id, "schedules": schedules, "person": person, "by": BY})]).await.map(drop)
    }
}
