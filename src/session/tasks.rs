//! Records that only people can destroy: they become tasks, and a person says when one is done.
//!
//! A run in enforce mode writes `task-opened` for each record that is due and was no task before. Whoever has destroyed it confirms it, with the day, the
//! method and the certificate; the word goes through the one door like any other disposal, as a run of its own with the reason `attestation`, so it has
//! its intent, the hold and the date are tested where they always are, and what a crash leaves open is settled by looking. The outcome is `attested`.
//!
//! A record that a hold protects cannot be confirmed: the answer is the hold. One that was destroyed before it was due is another matter: it is gone, and
//! nobody gains by a log that says otherwise. So that is written down as what it is, `lost`, and told as a finding.

use std::sync::Arc;

use jiff::civil::Date;
use serde_json::json;

use super::{End, Mode, Progress, Ran, Run, Session, another_place};
use crate::audit::{Draft, Kind as EntryKind};
use crate::clock::{self, Today};
use crate::config::Dataset;
use crate::dispose::{Attestation, BY, spend};
use crate::error::{Error, Kind, Result, escape};
use crate::finding::Finding;
use crate::judge::{Reason, Standing, Verdict};
use crate::plan::{Item, Tally};
use crate::record::{Address, Record};
use crate::register::Task;
use crate::scan::{look_at_store, source};
use crate::schedule::Disposition;
use crate::spool::{Spool, Writer};
use crate::store::{BATCH, Found};

/// The longest method or certificate number, in bytes.
const LONGEST: usize = 200;

/// What became of a person's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attested {
    /// The record's outcome stands in the log.
    Confirmed {
        /// The run that carried it there.
        run: String,
    },
    /// It was destroyed before its time, which stands in the log.
    Early {
        /// Until when it was to be kept, in words.
        why: String,
    },
}

impl Session {
    /// Opens a task for each record of the plan that people are to destroy and that is none yet; ends those that the plan no longer names.
    pub(super) async fn open_tasks(&self, run: &Run, plan: &Spool, ran: &mut Ran) -> Result<()> {
        let dataset = run.dataset();
        if !dataset.store.is_attested() || dataset.mode == Mode::Report {
            return Ok(());
        }
        let mut batch: Vec<Item> = Vec::with_capacity(BATCH);
        for item in plan.items()? {
            let item = item?;
            if item.then == Disposition::Destroy {
                batch.push(item);
            }
            if batch.len() == BATCH {
                ran.tasks += self.open_batch(run, std::mem::take(&mut batch)).await?;
            }
        }
        ran.tasks += self.open_batch(run, batch).await?;
        let ended = self.register.close_other_tasks(&dataset.address, &run.id).await?;
        if ended > 0 {
            let text = format!(
                "{ended} tasks ended without a confirmation: their records are no longer due, or no longer in the list; see that none was \
                 destroyed without a certificate"
            );
            ran.findings.push(Finding::warning(&dataset.address, text));
        }
        Ok(())
    }

    async fn open_batch(&self, run: &Run, items: Vec<Item>) -> Result<u64> {
        let dataset = run.dataset();
        let (mut drafts, mut tasks) = (Vec::new(), Vec::with_capacity(items.len()));
        // What a person takes back is known here before it is in the log, and nobody takes anything back between this look and the entry.
        let _alone = self.shared.reviewing.lock().await;
        for item in items {
            if item.approval.as_ref().is_some_and(|approval| !self.shared.approvals.has(approval, clock::now())) {
                continue;
            }
            let mut names = self.pseudonyms.all_for(dataset.store.name(), &dataset.name, item.record.key.as_bytes());
            names.push(run.name(&item.record));
            let known = self.register.task(&dataset.address, &names).await?;
            let facts = &item.deciding;
            let rule = dataset.rules().into_iter().find(|rule| rule.class.id == facts.class);
            let mut task = Task {
                record: run.name(&item.record),
                since: format!("{:.3}", self.now),
                class: facts.class.as_str().to_owned(),
                due: facts.due,
                ceiling: rule.and_then(|rule| rule.class.keep.overdue_after(facts.event_date)),
            };
            if let Some(known) = known {
                (task.record, task.since) = (known.record, known.since);
            } else {
                let mut body = json!({
                    "run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "class": task.class, "record": task.record,
                    "schedule": &*facts.schedule, "event": facts.event.as_str(), "event_date": facts.event_date.to_string(),
                    "due": facts.due.to_string(), "ceiling": task.ceiling.map(|day| day.to_string()),
                });
                if let Some(approval) = &item.approval {
                    body["batch"] = json!(approval.batch);
                    body["approval"] = json!(approval.entries);
                }
                drafts.push(Draft::new(EntryKind::TaskOpened, &body)?);
            }
            tasks.push(task);
        }
        let new = drafts.len() as u64;
        if !drafts.is_empty() {
            self.log.commit(drafts).await?;
        }
        self.register.open_tasks(&dataset.address, &run.id, &tasks).await?;
        Ok(new)
    }

    /// Takes a person's word that the record at this address is destroyed.
    pub async fn attest(&self, address: &str, word: Attestation) -> Result<Attested> {
        let (address, dataset) = self.config.find(address)?;
        let today = Today::Now(self.now).date_in(&dataset.zone());
        self.may_be_attested(&address, &dataset)?;
        check_word(&word, today)?;
        let record = self.listed(&address, &dataset).await?;
        let assessor = self.assessor(&dataset);
        let assessments = assessor.assess(std::slice::from_ref(&record)).await;
        let refuse = |why: String| Err(Error::new(Kind::Refused, format!("{address}: {why}")));
        if assessor.attested(std::slice::from_ref(&record), &assessments).await?.first() == Some(&true) {
            return refuse("a person confirmed already that it is destroyed; `explain` says who and when".into());
        }
        let Some(verdict) = assessments.first().map(|one| Arc::clone(&one.verdict)) else {
            return refuse("it could not be judged".into());
        };
        match (verdict.standing, verdict.then, &verdict.deciding) {
            (Standing::Held, ..) => refuse(held(&verdict)),
            (Standing::Undetermined, ..) => {
                let why: Vec<String> = verdict.reasons.iter().map(Reason::without_values).collect();
                refuse(format!("it cannot be told whether it was due: {}; mend its line first", why.join("; ")))
            }
            (Standing::Due, Some(Disposition::Destroy), Some(facts)) if word.on > facts.due => {
                let item = Item { then: Disposition::Destroy, deciding: facts.clone(), record, approval: None, erasure: None };
                self.through_the_door(&address, &dataset, item, word).await
            }
            (Standing::Due, Some(Disposition::Review), Some(facts)) if word.on > facts.due => {
                let item = Item { then: Disposition::Review, deciding: facts.clone(), record, approval: None, erasure: None };
                match self.approved(&dataset, &assessor, &item).await? {
                    Some(item) => self.through_the_door(&address, &dataset, item, word).await,
                    None => refuse(format!(
                        "its class {} asks for a review, and nobody has approved that it is destroyed; see `review list`",
                        facts.class
                    )),
                }
            }
            (Standing::Due, Some(Disposition::Flag), Some(facts)) if word.on > facts.due => {
                refuse(format!("its class {} does not say that it is to be destroyed; nobody has approved that", facts.class))
            }
            _ => self.destroyed_early(&dataset, &record, &verdict, &word).await,
        }
    }

    fn may_be_attested(&self, address: &Address, dataset: &Dataset) -> Result<()> {
        let refuse = |kind, why: &str| Err(Error::new(kind, format!("{address}: {why}")));
        if !dataset.store.is_attested() {
            return refuse(Kind::Usage, "the program disposes of such records itself; only those of an `attested:` store are confirmed");
        }
        if dataset.mode == Mode::Report {
            return refuse(
                Kind::Refused,
                "its dataset is in report mode, in which nobody is asked to destroy anything; write `mode: enforce`",
            );
        }
        self.paused(dataset.store.name()).map_or(Ok(()), |pause| refuse(Kind::Refused, &pause))
    }

    /// The record as the list has it now.
    async fn listed(&self, address: &Address, dataset: &Dataset) -> Result<Record> {
        if let (_, Some(why)) = look_at_store(dataset, &self.config.stores).await? {
            return Err(Error::new(Kind::Store, format!("{}: {why}", dataset.address)));
        }
        let found = dataset.store.fetch(&dataset.name, std::slice::from_ref(&address.key)).await?.pop();
        let why = match found {
            Some(Found::Present(record)) => return Ok(*record),
            Some(Found::Absent) => "the list has no such record; put its line back, confirm it, and take the line out again".to_owned(),
            Some(Found::Outside(why) | Found::Unknown(why)) => format!("it is no record of this dataset at present: {why}"),
            _ => "the list says nothing of it that could be judged".to_owned(),
        };
        Err(Error::new(Kind::Refused, format!("{address}: {why}")))
    }

    async fn through_the_door(&self, address: &Address, dataset: &Arc<Dataset>, item: Item, word: Attestation) -> Result<Attested> {
        let mut run = self.new_run(dataset, &Progress::default())?;
        if let Some(run) = Arc::get_mut(&mut run) {
            run.attestation = Some(word);
        }
        let mark = self.started(&run, None, Some("attestation")).await?;
        let mut writer = Writer::create(&self.plans())?;
        writer.add_item(&item)?;
        let mut plan = writer.finish(&source(dataset).await, Tally::default())?;
        let mut ran = Ran::without_a_plan(&run, End::Incomplete(another_place(dataset)));
        if plan.footer.mark == mark {
            plan.keep(&self.plans(), &run.id)?;
            let spent = spend(&run, &plan).await?;
            if spent.open() == 0 {
                plan.discard()?;
            }
            if spent.counts.attested > 0 {
                let mut names = vec![run.name(&item.record)];
                names.extend(self.pseudonyms.all_for(dataset.store.name(), &dataset.name, address.key.as_bytes()));
                self.register.confirm_destroyed(&dataset.address, &names, item.deciding.event_date).await?;
            }
            ran.end = End::Spent(spent);
        }
        self.finished(&run, &ran).await?;
        match &ran.end {
            End::Spent(spent) if spent.counts.attested > 0 => Ok(Attested::Confirmed { run: run.id.clone() }),
            End::Spent(spent) => {
                let why: Vec<String> = spent.troubles.iter().map(|(why, _)| escape(why.as_bytes())).collect();
                Err(Error::new(Kind::Refused, format!("{address}: it was not confirmed: {}", why.join("; "))))
            }
            End::Incomplete(why) => Err(Error::new(Kind::Refused, format!("{address}: {why}"))),
            _ => Err(Error::new(Kind::Refused, format!("{address}: it was not confirmed"))),
        }
    }

    async fn destroyed_early(&self, dataset: &Dataset, record: &Record, verdict: &Verdict, word: &Attestation) -> Result<Attested> {
        let name = match dataset.keys {
            crate::config::KeyNames::Plain => crate::audit::plain_record(record.key.as_bytes()),
            crate::config::KeyNames::Pseudonym => self.epoch.record(dataset.store.name(), &dataset.name, record.key.as_bytes()),
        };
        let class = dataset.rules_for(record).first().map(|rule| rule.class.id.as_str().to_owned());
        let mut body = json!({
            "store": dataset.store.name(), "dataset": dataset.name, "record": name, "class": class, "standing": verdict.standing.as_str(),
            "on": word.on.to_string(), "method": word.method, "certificate": word.certificate, "person": word.person, "by": BY,
        });
        if let Some(sha256) = &word.sha256 {
            body["sha256"] = json!(sha256);
        }
        let mut why = "it was to be kept: the event that starts its period has not happened, or its class keeps it for ever".to_owned();
        if let Some(facts) = &verdict.deciding {
            body["class"] = json!(facts.class.as_str());
            body["schedule"] = json!(&*facts.schedule);
            body["event"] = json!(facts.event.as_str());
            body["event_date"] = json!(facts.event_date.to_string());
            body["due"] = json!(facts.due.to_string());
            why = format!("it was to be kept until the end of {}", facts.due);
        }
        self.tell(EntryKind::Lost, vec![body]).await?;
        let mut names = vec![name];
        names.extend(self.pseudonyms.all_for(dataset.store.name(), &dataset.name, record.key.as_bytes()));
        let date = verdict.deciding.as_ref().map_or(Date::constant(1, 1, 1), |facts| facts.event_date);
        self.register.confirm_destroyed(&dataset.address, &names, date).await?;
        self.log.publish().await?;
        Ok(Attested::Early { why })
    }
}

fn held(verdict: &Verdict) -> String {
    match verdict.reasons.first() {
        Some(Reason::Held { hold, kind }) => format!(
            "it is held by {} ({}); it must not be destroyed before the hold is released. If it is gone all the same, tell who placed the hold",
            escape(hold.as_bytes()),
            escape(kind.as_bytes())
        ),
        _ => "it is held".to_owned(),
    }
}

fn check_word(word: &Attestation, today: Date) -> Result<()> {
    let refuse = |why: String| Err(Error::new(Kind::Usage, why));
    if word.on > today {
        return refuse(format!("{} has not come yet; a record is confirmed once it is destroyed", word.on));
    }
    for (option, text) in [("--method", &word.method), ("--number", &word.certificate)] {
        if text.trim().is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return refuse(format!("{option}: expected at most {LONGEST} bytes of plain text, found \"{}\"", escape(text.as_bytes())));
        }
    }
    if word.sha256.as_ref().is_some_and(|sha256| sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit())) {
        return refuse("expected the SHA-256 of the scanned certificate in 64 hexadecimal digits".into());
    }
    Ok(())
}
