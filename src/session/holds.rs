//! Placing, extending and releasing holds, while runs go on.
//!
//! A hold is in force when the call that placed it returns: no record that it covers is destroyed after that, by any run of this process, and there
//! is no other process. The order of steps is what makes it so:
//!
//! 1. The plain names go into the register, where only people look for them. A crash leaves a name without a hold, which the next start forgets.
//! 2. The hold goes into the memory that every guard asks. From here on no guard lets a covered record pass.
//! 3. Whatever passed a guard before that is waited for ([`crate::dispose::Hands`]): it is gone, or it is kept.
//! 4. The entry is committed. So an intent that follows it in the log belongs to a batch whose guards knew the hold, which is what `audit verify` checks.
//!
//! A crash before 4 leaves no hold, and nobody was told of one. When 4 fails the hold stays in memory: what is in doubt is kept.
//!
//! Releasing goes the other way: the entry first, then the memory.
//!
//! In memory a hold keeps the pseudonyms that it came with: a run that began before New Year knows no key of the new year. The log gets the names of
//! the new year as soon as there are sessions that use its key, so that `audit verify` can compare them.

use std::sync::PoisonError;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Session;
use crate::audit::{EpochKey, Kind as EntryKind, plain_record};
use crate::clock;
use crate::config::{Config, KeyNames};
use crate::dispose::BY;
use crate::error::{Error, Kind, Result, escape, hex};
use crate::hold::{About, EventRange, Hold, HoldKind, Scope, Wish, mistake_of_text};
use crate::record::Address;
use crate::register::HoldNames;
use crate::schedule::ClassId;
use crate::yaml::suggest;

/// What a person orders about holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HoldOrder {
    /// Place these.
    Place {
        /// The holds.
        holds: Vec<Wish>,
    },
    /// Let these last longer, or be reviewed on another day.
    Extend {
        /// Which.
        which: Which,
        /// The new last day.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Date>,
        /// The new day of review.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        review: Option<Date>,
        /// Why.
        reason: String,
    },
    /// Release these.
    Release {
        /// Which.
        which: Which,
        /// Why.
        reason: String,
    },
}

/// Which holds are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// Those with these ids.
    Ids(Vec<String>),
    /// All of a matter.
    Matter(String),
}

/// What is to change about holds that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// The new last day.
    pub until: Option<Date>,
    /// The new day of review.
    pub review: Option<Date>,
    /// Why.
    pub reason: String,
}

/// A hold together with the plain names that people gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedHold {
    /// The hold.
    pub hold: Hold,
    /// The names; empty when nobody knows them any more.
    pub names: HoldNames,
}

impl Session {
    /// Takes the holds in force into memory; later changes all come through here.
    pub(crate) async fn load_holds(&self) -> Result<()> {
        let placed = self.register.holds().await?;
        self.register.forget_names().await?;
        let mut holds = self.holds.write().unwrap_or_else(PoisonError::into_inner);
        placed.into_iter().for_each(|hold| holds.insert(hold));
        Ok(())
    }

    /// Every hold that was placed and not released, oldest first, with its names.
    pub async fn named_holds(&self) -> Result<Vec<NamedHold>> {
        Ok(named(self.register.holds().await?, self.register.hold_names().await?))
    }

    /// Places holds: all of them or, when one of the wishes has a mistake, none. They are in force when this returns.
    pub async fn place(&self, wishes: &[Wish], person: &str) -> Result<Vec<NamedHold>> {
        let now = clock::now();
        let mut placed = Vec::with_capacity(wishes.len());
        let mut mistakes = Vec::new();
        for (at, wish) in wishes.iter().enumerate() {
            match hold(&self.config, &self.epoch, wish, person, now) {
                Ok(hold) => placed.push(NamedHold { hold: Hold { id: self.new_id()?, ..hold.hold }, ..hold }),
                Err(what) if wishes.len() > 1 => mistakes.push(format!("hold {}: {what}", at + 1)),
                Err(what) => mistakes.push(what),
            }
        }
        if !mistakes.is_empty() {
            return Err(Error::new(Kind::Usage, mistakes.join("\n")));
        }
        for one in &mut placed {
            one.names.hold.clone_from(&one.hold.id);
        }
        let names: Vec<HoldNames> =
            placed.iter().map(|one| one.names.clone()).filter(|names| names.subject.is_some() || names.record.is_some()).collect();
        self.register.name_holds(&names).await?;
        {
            let mut holds = self.holds.write().unwrap_or_else(PoisonError::into_inner);
            placed.iter().for_each(|one| holds.insert(one.hold.clone()));
        }
        self.shared.hands.pass().await;
        let bodies = placed.iter().map(|one| body(&one.hold)).collect();
        self.tell(EntryKind::HoldPlaced, bodies).await?;
        Ok(placed)
    }

    /// Gives holds that are in force a later last day, another day of review, or both.
    pub async fn extend(&self, which: &Which, change: &Extension, person: &str) -> Result<Vec<NamedHold>> {
        let _one_at_a_time = self.shared.holding.lock().await;
        let now = clock::now();
        let mut chosen = self.choose(which).await?;
        if change.until.is_none() && change.review.is_none() {
            return Err(Error::new(Kind::Usage, "expected a new last day or a new day of review; `hold release` ends a hold"));
        }
        Self::check_reason(&change.reason, &chosen)?;
        for NamedHold { hold, .. } in &mut chosen {
            let refuse = |what: String| Err(Error::new(Kind::Usage, format!("the hold {}: {what}", hold.id)));
            if let (Some(until), Some(before)) = (hold.until, change.until)
                && before < until
            {
                return refuse(format!("lasts until {until}, and {before} is earlier; release it when it is no longer needed"));
            }
            if !hold.surely_lasts(now) {
                let until = hold.until.map(|until| until.to_string()).unwrap_or_default();
                return refuse(format!("its last day was {until}, so that records may have gone since; place a new one"));
            }
            if let (None, Some(until)) = (hold.until, change.until) {
                return refuse(format!("lasts until it is released, and {until} would end it; release it when it is no longer needed"));
            }
            if change.review.is_some_and(|review| over(review, now)) {
                return refuse("the new day of review is over".into());
            }
            hold.until = change.until.or(hold.until);
            hold.about.review = change.review.or(hold.about.review);
            hold.about.person = Some(person.to_owned());
            hold.about.reason = Some(change.reason.clone());
        }
        {
            let mut holds = self.holds.write().unwrap_or_else(PoisonError::into_inner);
            for NamedHold { hold, .. } in &chosen {
                // With the names that it has in memory.
                let scope = holds.get(&hold.id).map_or_else(|| hold.scope.clone(), |known| known.scope.clone());
                holds.insert(Hold { scope, ..hold.clone() });
            }
        }
        self.tell(EntryKind::HoldPlaced, chosen.iter().map(|one| body(&one.hold)).collect()).await?;
        Ok(chosen)
    }

    /// Releases holds; what they protected is disposed of again when its turn comes.
    pub async fn release(&self, which: &Which, reason: &str, person: &str) -> Result<Vec<NamedHold>> {
        let _one_at_a_time = self.shared.holding.lock().await;
        let chosen = self.choose(which).await?;
        Self::check_reason(reason, &chosen)?;
        let released = |one: &NamedHold| json!({"hold": one.hold.id, "reason": reason, "person": person, "by": BY});
        self.tell(EntryKind::HoldReleased, chosen.iter().map(released).collect()).await?;
        let mut holds = self.holds.write().unwrap_or_else(PoisonError::into_inner);
        for one in &chosen {
            holds.remove(&one.hold.id);
        }
        Ok(chosen)
    }

    /// Gives the log the names of this session's year for holds that have those of another, as far as the plain names are known.
    pub(super) async fn rename_holds(&self) -> Result<()> {
        let _one_at_a_time = self.shared.holding.lock().await;
        let this_year = format!("{:04}:", self.epoch.year());
        let of_another =
            |name: &Option<String>| name.as_deref().is_some_and(|name| !name.starts_with(&this_year) && !name.starts_with("plain:"));
        let mut bodies = Vec::new();
        for NamedHold { mut hold, names } in self.named_holds().await? {
            let before = hold.scope.clone();
            if let (true, Some(subject)) = (of_another(&hold.scope.subject), &names.subject) {
                hold.scope.subject = Some(self.epoch.subject(subject.as_bytes()));
            }
            if let (true, Some(record)) = (of_another(&hold.scope.record), &names.record)
                && let Ok(address) = Address::parse(record)
            {
                hold.scope.record = Some(self.epoch.record(&address.store, &address.dataset, address.key.as_bytes()));
            }
            if hold.scope != before {
                let mut body = body(&hold);
                body["renamed"] = json!(true);
                bodies.push(body);
            }
        }
        if bodies.is_empty() { Ok(()) } else { self.tell(EntryKind::HoldPlaced, bodies).await.map(drop) }
    }

    /// Takes plain names of holds in force that were kept elsewhere, as far as they are what the log names. Answers how many, and what was not taken.
    pub async fn take_names(&self, names: &[HoldNames]) -> Result<(u64, Vec<String>)> {
        let holds = self.register.holds().await?;
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for one in names {
            let id = escape(one.hold.as_bytes());
            let Some(hold) = holds.iter().find(|hold| hold.id == one.hold) else {
                refused.push(format!("{id}: no such hold is in force"));
                continue;
            };
            let subject = one.subject.as_deref().map(|name| self.pseudonyms.all_for_subject(name.as_bytes()));
            let record = one.record.as_deref().and_then(|record| Address::parse(record).ok());
            let record = record.map(|at| self.pseudonyms.all_for(&at.store, &at.dataset, at.key.as_bytes()));
            let fits = |names: Option<Vec<String>>, named: &Option<String>| match (names, named) {
                (None, None) => true,
                (Some(names), Some(named)) => names.contains(named),
                _ => false,
            };
            if fits(subject, &hold.scope.subject) && fits(record, &hold.scope.record) {
                taken.push(one.clone());
            } else {
                refused.push(format!("{id}: what the export names is not what the log names by its pseudonym"));
            }
        }
        self.register.name_holds(&taken).await?;
        Ok((taken.len() as u64, refused))
    }

    /// Records by dataset whose removal began before and of which nobody knows whether it came to pass, or still may: no hold can promise them anything.
    pub fn adrift(&self) -> Vec<(String, u64)> {
        self.shared.hands.adrift()
    }

    /// Carries out what a person ordered.
    pub async fn carry_out(&self, order: &HoldOrder, person: &str) -> Result<Vec<NamedHold>> {
        match order {
            HoldOrder::Place { holds } => self.place(holds, person).await,
            HoldOrder::Extend { which, until, review, reason } => {
                self.extend(which, &Extension { until: *until, review: *review, reason: reason.clone() }, person).await
            }
            HoldOrder::Release { which, reason } => self.release(which, reason, person).await,
        }
    }

    async fn choose(&self, which: &Which) -> Result<Vec<NamedHold>> {
        let all = self.named_holds().await?;
        match which {
            Which::Ids(ids) => {
                let find = |id: &String| {
                    let missing = || {
                        let hint = suggest(id, all.iter().map(|one| one.hold.id.as_str()));
                        Error::new(Kind::Usage, format!("no hold in force is called \"{}\"{hint}", escape(id.as_bytes())))
                    };
                    all.iter().find(|one| one.hold.id == *id).cloned().ok_or_else(missing)
                };
                let mut ids = ids.clone();
                ids.sort();
                ids.dedup();
                ids.iter().map(find).collect()
            }
            Which::Matter(matter) => {
                let found: Vec<NamedHold> = all.iter().filter(|one| one.hold.about.matter.as_ref() == Some(matter)).cloned().collect();
                if found.is_empty() {
                    let hint = suggest(matter, all.iter().filter_map(|one| one.hold.about.matter.as_deref()));
                    let text = format!("no hold in force has the matter \"{}\"{hint}", escape(matter.as_bytes()));
                    return Err(Error::new(Kind::Usage, text));
                }
                Ok(found)
            }
        }
    }

    fn check_reason(reason: &str, holds: &[NamedHold]) -> Result<()> {
        if reason.trim().is_empty() {
            return Err(Error::new(Kind::Usage, "expected a reason: write --reason TEXT; it is written to the log"));
        }
        let key = |record: &String| record.split_once(':').map(|(_, key)| key.to_owned());
        let personal: Vec<String> =
            holds.iter().flat_map(|one| one.names.subject.clone().into_iter().chain(one.names.record.as_ref().and_then(key))).collect();
        mistake_of_text("reason", reason, &personal).map_or(Ok(()), |what| Err(Error::new(Kind::Usage, what)))
    }

    fn new_id(&self) -> Result<String> {
        loop {
            let mut random = [0; 4];
            getrandom::fill(&mut random).map_err(|error| Error::new(Kind::Io, format!("no random numbers can be had: {error}")))?;
            let id = format!("h-{}", hex(&random));
            if self.holds.read().unwrap_or_else(PoisonError::into_inner).get(&id).is_none() {
                return Ok(id);
            }
        }
    }
}

/// Joins holds with the names that are known for them.
pub fn named(holds: Vec<Hold>, names: Vec<HoldNames>) -> Vec<NamedHold> {
    let mut names: std::collections::HashMap<String, HoldNames> = names.into_iter().map(|names| (names.hold.clone(), names)).collect();
    holds.into_iter().map(|hold| NamedHold { names: names.remove(&hold.id).unwrap_or_default(), hold }).collect()
}

fn body(hold: &Hold) -> serde_json::Value {
    let mut body = hold.to_body();
    body["by"] = json!(BY);
    body
}

/// Whether a day is over everywhere.
fn over(day: Date, now: Timestamp) -> bool {
    Hold { until: Some(day), ..Hold::default() }.is_surely_over(now)
}

/// The hold that a wish asks for, without an id; or what is wrong with the wish.
pub fn hold(config: &Config, epoch: &EpochKey, wish: &Wish, person: &str, now: Timestamp) -> std::result::Result<NamedHold, String> {
    if let Some(what) = wish.mistake() {
        return Err(what);
    }
    let mut scope = Scope { class: wish.class.clone(), dataset: wish.dataset.clone(), ..Scope::default() };
    if let Some(class) = &wish.class
        && !config.schedules.class_ids().any(|id| id.as_str() == class)
    {
        let hint = suggest(class, config.schedules.class_ids().map(ClassId::as_str));
        return Err(format!("no class is called \"{}\"{hint}", escape(class.as_bytes())));
    }
    if let Some(dataset) = &wish.dataset
        && !config.datasets.iter().any(|one| one.address == *dataset)
    {
        let hint = suggest(dataset, config.datasets.iter().map(|one| one.address.as_str()));
        return Err(format!("no dataset is called \"{}\"{hint}", escape(dataset.as_bytes())));
    }
    if let Some(event) = &wish.event
        && !config.datasets.iter().any(|one| one.events.iter().any(|(name, _)| name.as_str() == event))
    {
        let events = config.datasets.iter().flat_map(|one| one.events.iter().map(|(name, _)| name.as_str()));
        let hint = suggest(event, events);
        return Err(format!("no dataset has an event called \"{}\"{hint}", escape(event.as_bytes())));
    }
    if let Some(record) = &wish.record {
        let (address, dataset) = config.find(record).map_err(|error| error.to_string())?;
        if scope.dataset.as_ref().is_some_and(|other| *other != dataset.address) {
            return Err(format!("the record is one of {}, and the dataset given is another", dataset.address));
        }
        let key = address.key.as_bytes();
        let name = match dataset.keys {
            KeyNames::Plain => plain_record(key),
            KeyNames::Pseudonym => epoch.record(&address.store, &address.dataset, key),
        };
        (scope.record, scope.dataset) = (Some(name), Some(dataset.address.clone()));
    }
    if let Some(subject) = &wish.subject {
        let reaches =
            |one: &crate::config::Dataset| one.subject.is_some() && scope.dataset.as_ref().is_none_or(|only| *only == one.address);
        if !config.datasets.iter().any(|one| reaches(one)) {
            let which = scope.dataset.as_ref().map_or_else(|| "no dataset names".to_owned(), |dataset| format!("{dataset} does not name"));
            return Err(format!(
                "{which} its subjects, so a hold on a subject would protect nothing; write `subject:` in the configuration"
            ));
        }
        scope.subject = Some(epoch.subject(subject.as_bytes()));
    }
    if wish.event_from.is_some() || wish.event_to.is_some() {
        scope.events = Some(EventRange { event: wish.event.clone(), from: wish.event_from, to: wish.event_to });
    }
    for (name, day) in [("last day", wish.until), ("day of review", wish.review)] {
        if let Some(day) = day.filter(|day| over(*day, now)) {
            return Err(format!("expected a {name} that is not over, found {day}"));
        }
    }
    let about = About {
        review: wish.review,
        owner: Some(wish.owner.clone().unwrap_or_else(|| person.to_owned())),
        matter: wish.matter.clone(),
        reason: Some(wish.reason.clone()),
        person: Some(person.to_owned()),
        at: Some(format!("{now:.3}")),
    };
    let names = HoldNames { hold: String::new(), subject: wish.subject.clone(), record: wish.record.clone() };
    let kind: HoldKind = wish.kind;
    Ok(NamedHold { hold: Hold { id: String::new(), kind: kind.as_str().to_owned(), scope, until: wish.until, about }, names })
}
