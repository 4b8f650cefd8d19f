//! A plan over its limits, which a person allows: it is spent once, and nothing else is.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::ran::{End, Ran};
use super::{Progress, Session, another_place};
use crate::audit::{Draft, Kind as EntryKind};
use crate::clock;
use crate::config::{Dataset, Mode};
use crate::error::{Error, Kind, Result};
use crate::spool::{self, Spool};
use crate::store::twins::twin_of;

impl Session {
    /// The plan that was refused under this id.
    fn refused_plan(&self, id: &str) -> Result<(PathBuf, Spool)> {
        let path = self.plans().join(format!("{id}.plan"));
        if !spool::is_id(id) || !path.exists() {
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "no refused plan has the id \"{}\"; plans are kept for {} days and spent once: run again to see the present plan",
                    crate::error::escape(id.as_bytes()),
                    spool::KEEP_DAYS
                ),
            ));
        }
        let plan = Spool::open(&path, Some(id))?;
        Ok((path, plan))
    }

    /// The dataset of the plan that was refused under this id.
    pub fn dataset_of_plan(&self, id: &str) -> Result<Arc<Dataset>> {
        let (_, plan) = self.refused_plan(id)?;
        self.dataset_of(&plan).cloned()
    }

    fn dataset_of(&self, plan: &Spool) -> Result<&Arc<Dataset>> {
        let (store, name) = (&plan.footer.store, &plan.footer.dataset);
        let gone = || Error::new(Kind::Refused, format!("the plan is of {store}/{name}, which is no longer configured"));
        self.config.dataset(store, name).ok_or_else(gone)
    }

    /// Spends exactly the plan that was refused under this id.
    pub async fn allow(&self, id: &str, person: &str, progress: &Progress) -> Result<Ran> {
        let (path, plan) = self.refused_plan(id)?;
        let (store, name) = (plan.footer.store.clone(), plan.footer.dataset.clone());
        let dataset = self.dataset_of(&plan)?;
        if let Some(pause) = self.paused(&store) {
            return Err(Error::new(Kind::Refused, format!("{}: {pause}; the plan waits", dataset.address)));
        }
        if dataset.mode == Mode::Report {
            return Err(Error::new(
                Kind::Refused,
                format!("{}: is in report mode; nothing is destroyed before `mode: enforce` is written", dataset.address),
            ));
        }
        self.check_clock(dataset).await?;
        if plan.footer.mark != dataset.store.mark().await {
            let place = dataset.store.place();
            return Err(Error::new(
                Kind::Refused,
                format!("{}: {place} is not the place that the plan was made for; is a disk not mounted?", dataset.address),
            ));
        }
        if let Some(why) = twin_of(&*dataset.store, &self.config.stores).await {
            return Err(Error::new(Kind::Refused, format!("{}: {why}", dataset.address)));
        }
        // The outcomes will say by which schedule each record was due, and that must be one in force.
        let in_force = |rule: &(String, String)| self.config.schedules.rule(&rule.0).is_some_and(|now| *now.schedule.sha256 == *rule.1);
        if !plan.footer.rules.iter().all(in_force) {
            return Err(Error::new(
                Kind::Refused,
                format!("{}: the schedule has changed since the plan was made; run again to see the present plan", dataset.address),
            ));
        }
        // The plan is spent once; outside the window it would be used up for nothing.
        if let Some(window) = dataset.window_shown().filter(|_| !dataset.is_open(clock::now())) {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{}: outside its window {window}; nothing was disposed of; the plan waits, run it again within the window",
                    dataset.address
                ),
            ));
        }
        // What people approved must hold today as well.
        self.refresh_approvals(dataset).await?;
        let run = self.new_run(dataset, progress)?;
        if self.started(&run, Some(id), None).await? != plan.footer.mark {
            let ran = Ran::without_a_plan(&run, End::Incomplete(another_place(dataset)));
            self.finished(&run, &ran).await?;
            return Ok(ran);
        }
        let disposed = plan.footer.tally.disposed();
        let body = json!({"run": run.id, "store": store, "dataset": name, "plan": id, "due": disposed, "person": person});
        self.log.commit(vec![Draft::new(EntryKind::Allowed, &body)?]).await?;
        // From here on the plan belongs to this run: it is spent once, and recovery finds it under the run's id.
        let mine = self.plans().join(format!("{}.plan", run.id));
        let rename = std::fs::rename(&path, &mine).and_then(|()| std::fs::File::open(self.plans())?.sync_all());
        rename.map_err(|error| Error::with_source(Kind::Io, format!("{}: the plan cannot be taken over", path.display()), error))?;
        let plan = Spool::open(&mine, Some(id))?;
        let end = self.spend_and_discard(&run, plan, disposed, progress).await?;
        let ran = Ran::without_a_plan(&run, end);
        self.finished(&run, &ran).await?;
        Ok(ran)
    }
}
