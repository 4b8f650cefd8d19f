//! What people are to look at: due records that their class has flagged or reviewed, each in the log once, when it is first found due.

use serde_json::json;

use super::Session;
use crate::audit::{Draft, Kind as EntryKind};
use crate::dispose::Run;
use crate::error::Result;
use crate::plan::Item;
use crate::register::Flag;
use crate::scan::acts;
use crate::schedule::Disposition;
use crate::spool::Spool;
use crate::store::BATCH;

impl Session {
    /// Flags what people are to look at: an entry for each record that was not flagged before.
    pub(super) async fn flag(&self, run: &Run, plan: &Spool) -> Result<u64> {
        let dataset = run.dataset();
        if plan.footer.tally.review + plan.footer.tally.flag > 0 {
            let mut flagged = 0;
            let mut batch: Vec<Item> = Vec::with_capacity(BATCH);
            for item in plan.items()? {
                let item = item?;
                if !acts(item.then) {
                    batch.push(item);
                }
                if batch.len() == BATCH {
                    flagged += self.flag_batch(run, std::mem::take(&mut batch)).await?;
                }
            }
            flagged += self.flag_batch(run, batch).await?;
            self.register.unflag_others(&dataset.address, &run.id).await?;
            return Ok(flagged);
        }
        self.register.unflag_others(&dataset.address, &run.id).await?;
        Ok(0)
    }

    async fn flag_batch(&self, run: &Run, items: Vec<Item>) -> Result<u64> {
        let dataset = run.dataset();
        let mut drafts = Vec::new();
        let mut flags = Vec::new();
        for item in items {
            let mut names = self.pseudonyms.all_for(dataset.store.name(), &dataset.name, item.record.key.as_bytes());
            names.push(run.name(&item.record));
            let known = self.register.flags(&dataset.address, &names).await?.into_values().next();
            let disposition = if item.then == Disposition::Review { "review" } else { "flag" };
            let record = known.as_ref().map_or_else(|| run.name(&item.record), |flag| flag.record.clone());
            let since = known.as_ref().map_or_else(|| format!("{:.0}", self.now), |flag| flag.since.clone());
            let due = item.deciding.due.to_string();
            if known.is_none() {
                let body = json!({
                    "run": run.id, "store": dataset.store.name(), "dataset": dataset.name, "class": item.deciding.class.as_str(), "record": record,
                    "then": disposition, "size": item.record.size, "schedule": &*item.deciding.schedule, "event": item.deciding.event.as_str(),
                    "event_date": item.deciding.event_date.to_string(), "due": due,
                });
                drafts.push(Draft::new(EntryKind::Flagged, &body)?);
            }
            flags.push(Flag { record, since, disposition: disposition.to_owned(), due });
        }
        let new = u64::try_from(drafts.len()).unwrap_or(0);
        if !drafts.is_empty() {
            self.log.commit(drafts).await?;
        }
        self.register.flag(&dataset.address, &run.id, &flags).await?;
        Ok(new)
    }
}
