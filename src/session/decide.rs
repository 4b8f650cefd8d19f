//! What a person decides about a review batch: checked, then an entry of the log, then in force.
//!
//! What ends an approval is made known to runs under way before it is in the log, so no record whose intent stands behind a withdrawal, a refusal
//! or an extension goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::Date;
use serde_json::{Value, json};

use super::{Looked, Session};
use crate::config::{Dataset, Mode};
use crate::dispose::BY;
use crate::error::{Error, Kind, Result, escape};
use crate::record::Address;
use crate::review::batch::{Freezing, Heir};
use crate::review::{self, Batch, Order, Standing, What, same_name, same_person};
use crate::scan::source;
use crate::schedule::{Counting, Disposition, Period, Rule};

/// What came of a decision.
pub struct Told {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
}

fn refused(text: String) -> Error {
    Error::new(Kind::Refused, text)
}

fn usage(text: impl Into<String>) -> Error {
    Error::new(Kind::Usage, text.into())
}

impl Session {
    /// Takes down what a person decided. Nothing is destroyed here: that is the next run's.
    pub async fn decide_review(&self, order: &Order, person: &str) -> Result<Told> {
        // A batch is not frozen anew while somebody decides about it.
        let _alone = self.shared.reviewing.lock().await;
        let folder = review::folder(&self.config);
        let batch = Batch::find(&folder, &order.batch)?;
        let looked = self.reviews().look(&batch).await?;
        let dataset = self.config.dataset(batch.store_name(), batch.dataset_name());
        let (Some(rule), Some(dataset)) = (&looked.rule, dataset) else {
            return Err(refused(format!("{}: the class {} or the dataset is no longer configured", batch.dataset(), batch.asked().class)));
        };
        if !batch.is_intact(dataset, &self.pseudonyms)? {
            let short = batch.short().to_owned();
            self.shared.approvals.remove(&batch.id);
            // What passed a guard before is gone, or stays, when the person is answered.
            self.shared.hands.pass().await;
            batch.remove()?;
            let text = format!(
                "the frozen records of the review batch {short} were changed; nothing of it is destroyed: run {} again, and review what it finds",
                dataset.address
            );
            return Err(refused(text));
        }
        let name = order.name.as_deref().unwrap_or_default().trim();
        let reason = order.reason.as_deref().unwrap_or_default().trim();
        if matches!(order.what, What::Refuse | What::Extend) && reason.is_empty() {
            return Err(usage("this needs a reason: write --reason TEXT"));
        }
        let (batch, until, note) = match order.what {
            What::Approve => {
                may_approve(&batch, &looked, rule, name, person)?;
                let (batch, note) = self.leave_out(batch, dataset, &order.except, &looked).await?;
                (batch, None, note)
            }
            What::Refuse | What::Extend => (batch, Some(last_day(order, &looked)?), None),
            What::Withdraw if !looked.standing.is_decided() => {
                return Err(usage(format!("nothing is decided about the review batch {} that could be taken back", batch.short())));
            }
            What::Withdraw => (batch, None, None),
        };
        let asked = batch.asked();
        let mut body = json!({
            "batch": batch.id, "store": batch.store_name(), "dataset": batch.dataset_name(), "class": asked.class, "month": asked.month,
            "records": batch.records(), "size": asked.bytes, "schedule": &*rule.schedule.sha256, "name": name, "person": person, "by": BY,
        });
        if order.what == What::Approve {
            let terms = if looked.terms.is_empty() { vec![rule.class.review] } else { looked.terms.clone() };
            body["expires"] = json!(terms.iter().filter_map(|terms| terms.last_day(looked.today)).min().map(|day| day.to_string()));
        } else {
            body["reason"] = json!(reason);
            self.shared.approvals.remove(&batch.id);
        }
        if let Some(until) = until {
            body["until"] = json!(until.to_string());
        }
        let committed = self.tell(order.what.kind(), vec![body]).await?;
        let looked = self.reviews().look(&batch).await?;
        let mut text = told(order.what, &batch, &looked, dataset);
        text.extend(note);
        let json = json!({"batch": batch.id, "entry": committed.first(), "standing": looked.standing.word()});
        Ok(Told { text: text.join("\n"), json })
    }

    /// Freezes the batch anew without some records, which make a batch of their own; the approval is of the rest.
    async fn leave_out(&self, batch: Batch, dataset: &Arc<Dataset>, except: &[String], looked: &Looked) -> Result<(Batch, Option<String>)> {
        if except.is_empty() {
            return Ok((batch, None));
        }
        let mut keys = BTreeSet::new();
        for text in except {
            let address = Address::parse(text).map_err(usage)?;
            if address.store != dataset.store.name() || address.dataset != dataset.name {
                return Err(usage(format!("{}: the batch is of {}", escape(text.as_bytes()), dataset.address)));
            }
            keys.insert(address.key);
        }
        let folder = review::folder(&self.config);
        let (mut rest, mut left_out): (Option<Freezing>, Option<Freezing>) = (None, None);
        for item in batch.items()? {
            let item = item?;
            let side = if keys.remove(&item.record.key) { &mut left_out } else { &mut rest };
            let freezing = match side {
                Some(freezing) => freezing,
                none => none.insert(Freezing::begin(
                    &folder,
                    dataset,
                    &self.epoch,
                    &item,
                    Heir { since: batch.asked().since.clone(), nonce: None },
                )?),
            };
            freezing.add(&item)?;
        }
        if let Some(key) = keys.first() {
            return Err(usage(format!("the batch has no record {}:{key}", dataset.address)));
        }
        let (Some(rest), Some(left_out)) = (rest, left_out) else {
            return Err(usage("nothing would be left to approve; to keep all of it, write `review refuse`"));
        };
        let of = source(dataset).await;
        let left_out = left_out.finish(&folder, &of)?;
        let rest = rest.finish(&folder, &of)?;
        let begun = !matches!(&looked.standing, Standing::Waiting { given, .. } if given.is_empty());
        batch.remove()?;
        let mut note = format!("what was left out waits in the batch {}", left_out.get(..16).unwrap_or(&left_out));
        if begun {
            note += "; what others approved before was another set, and counts no more";
        }
        Ok((Batch::find(&folder, &rest)?, Some(note)))
    }
}

/// Refuses an approval that would not count.
fn may_approve(batch: &Batch, looked: &Looked, rule: &Rule, name: &str, person: &str) -> Result<()> {
    let short = batch.short();
    if !name.chars().any(char::is_alphabetic) {
        return Err(usage("an approval needs the name of the person who gives it: write --name \"NAME\""));
    }
    match &looked.standing {
        Standing::Kept { until, refused: word } => {
            let word = if *word { "refused" } else { "extended" };
            return Err(refused(format!("the review batch {short} was {word} until {until}; `review withdraw` takes that back first")));
        }
        Standing::CoolingOff { .. } | Standing::Approved { .. } => {
            return Err(refused(format!("the review batch {short} is approved already; see `review list`")));
        }
        Standing::Waiting { given, .. } => {
            let before = looked.decisions.iter().filter(|one| given.contains(&one.entry));
            for one in before {
                if same_person(&one.person, person) || same_name(&one.name, name) {
                    let (name, account) = (escape(one.name.as_bytes()), escape(one.person.as_bytes()));
                    let text = format!(
                        "the review batch {short} was approved by {name}, {account}, before; the second approval must be another person's, with another account and another name"
                    );
                    return Err(refused(text));
                }
            }
        }
    }
    let strict = rule.class.review.not_the_editor || looked.terms.iter().any(|terms| terms.not_the_editor);
    if strict && looked.editors.iter().any(|editor| same_person(editor, person)) {
        let text = format!(
            "{} edited or confirmed the schedule {}, and the class {} says `not-the-editor`; somebody else must approve",
            escape(person.as_bytes()),
            rule.schedule.id,
            rule.class.id
        );
        return Err(refused(text));
    }
    if rule.class.then != Some(Disposition::Review) && looked.terms.is_empty() {
        return Err(refused(format!("the class {} no longer asks for a review", rule.class.id)));
    }
    Ok(())
}

/// Through which day a refusal or extension keeps.
fn last_day(order: &Order, looked: &Looked) -> Result<Date> {
    let until = match (order.until, order.what) {
        (Some(until), _) => until,
        (None, What::Extend) => return Err(usage("an extension needs the last day of keeping: write --until YYYY-MM-DD")),
        // Nothing is kept for ever because somebody once said no.
        (None, _) => Period::parse("1 year").ok().and_then(|year| year.due(looked.today, Counting::After)).unwrap_or(Date::MAX),
    };
    if until <= looked.today {
        return Err(usage(format!("expected a day after today, {}, found {until}", looked.today)));
    }
    Ok(until)
}

/// What a decision comes to, in sentences.
fn told(what: What, batch: &Batch, looked: &Looked, dataset: &Dataset) -> Vec<String> {
    let (records, asked) = (batch.records(), batch.asked());
    let records = if records == 1 { "1 record".to_owned() } else { format!("{records} records") };
    let done = match what {
        What::Approve => "approved",
        What::Refuse => "refused",
        What::Extend => "extended",
        What::Withdraw => "withdrawn",
    };
    let mut lines =
        vec![format!("{done}: {records} of {}, {}, due in {} (batch {})", dataset.address, asked.class, asked.month, batch.short())];
    match &looked.standing {
        Standing::Waiting { missing, until, .. } => {
            let more = if *missing == 1 { "1 more person".to_owned() } else { format!("{missing} people") };
            let by = until.map_or(String::new(), |until| format!(", by {until}"));
            lines.push(format!("it waits for the approval of {more}{by}"));
        }
        Standing::CoolingOff { ready, .. } => {
            lines.push(format!("nothing goes before {ready}; until then `review withdraw {}` takes it back", batch.short()));
        }
        Standing::Approved { until, .. } => {
            lines.push(format!("the next run destroys what is still due, unchanged and not held; the approval is over after {until}"));
        }
        Standing::Kept { until, .. } => lines.push(format!("it is kept through {until}, and asked again then")),
    }
    if dataset.mode == Mode::Report && what == What::Approve {
        lines.push("the dataset is in report mode: nothing is destroyed before `mode: enforce` is written".to_owned());
    }
    lines
}
