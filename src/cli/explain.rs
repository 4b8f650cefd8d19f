//! `retentiond explain ADDRESS`: why this record is kept, due, held or gone.

use std::sync::Arc;

use clap::Args;
use jiff::civil::Date;
use serde_json::json;

use super::{Common, DONE, FINDINGS, print_line};
use crate::assess::Assessment;
use crate::audit::Entry;
use crate::clock::Today;
use crate::erasure::{Seen, decide};
use crate::error::{Kind, Result};
use crate::record::Address;
use crate::report;
use crate::review::Standing;
use crate::schedule::Disposition;
use crate::session::{self, Onlooker, Reviews};
use crate::store::Found;

#[derive(Args)]
pub(crate) struct Options {
    /// The record, such as housing/applicants:1234 or cctv/footage:cam-07/2026-10-01/0412.mp4
    #[arg(value_name = "STORE/DATASET:KEY")]
    address: String,
}

pub(crate) async fn execute(common: &Common, options: &Options) -> Result<u8> {
    let config = common.load()?;
    let (address, dataset) = config.find(&options.address)?;
    let known = Onlooker::open(Arc::clone(&config), Today::now()).await?;
    let names = known.pseudonyms.all_for(&address.store, &address.dataset, address.key.as_bytes());
    let entries = super::audit::entries_about(&config.state.join("audit"), &names)?;
    let assessor = known.assessor(&dataset);
    // A store that needs looking at before it can be read is looked at; what it finds is said by `check`.
    dataset.store.check().await.map_err(|error| error.context(&dataset.address))?;
    let found = dataset.store.fetch(&dataset.name, std::slice::from_ref(&address.key)).await?.pop();
    let found = found.unwrap_or_else(|| Found::Unknown("the store gave no answer".into()));
    let assessment = match &found {
        Found::Present(record) => assessor.assess(std::slice::from_ref(record)).await.pop(),
        _ => None,
    };
    let attested = match (&found, &assessment) {
        (Found::Present(record), Some(assessment)) if dataset.store.is_attested() => {
            assessor.attested(std::slice::from_ref(record), std::slice::from_ref(assessment)).await? == [true]
        }
        _ => false,
    };
    let (review, kept) = match known.reviews() {
        Some(reviews) => where_it_is_reviewed(&reviews, &address, assessment.as_ref()).await?,
        None => (None, None),
    };
    let erasure = match (&found, &assessment) {
        (Found::Present(record), Some(assessment)) => {
            let says = assessor.says_on_erasure(std::slice::from_ref(record)).await.pop().unwrap_or_default();
            let needed_by = config.looks_into(&dataset);
            let seen = Seen { incomplete: false, by_hand: dataset.store.is_attested(), kept, needed_by };
            Some(decide(&assessment.verdict, &says, seen))
        }
        _ => None,
    };
    if common.json {
        let mut json = as_json(&address, &found, attested, assessment.as_ref(), &entries);
        json["review"] = json!(review);
        json["erasure"] = json!(
            erasure
                .filter(|_| !attested)
                .map(|decided| { json!({"decision": decided.decision.as_str(), "ground": decided.ground.as_str(), "why": decided.why}) })
        );
        print_line(&json.to_string())?;
    } else {
        print_line(&report::explained(&address, &dataset, &found, attested, assessment.as_ref(), &entries))?;
        review.map_or(Ok(()), |review| print_line(&format!("  review: {review}")))?;
        let subject = dataset.subject.is_some();
        erasure.filter(|_| !attested).map_or(Ok(()), |decided| print_line(&report::on_erasure(&decided, subject)))?;
    }
    Ok(if matches!(found, Found::Unknown(_) | Found::Remains) { FINDINGS } else { DONE })
}

/// Where the review of a record stands, in a sentence, and through which day people keep it. A user who may not read the batches is told nothing of it.
async fn where_it_is_reviewed(
    reviews: &Reviews<'_>,
    address: &Address,
    assessment: Option<&Assessment>,
) -> Result<(Option<String>, Option<Date>)> {
    let batch = match session::batch_of(reviews.config, address) {
        Err(error) if error.kind() == Kind::Io => return Ok((None, None)),
        found => found?,
    };
    let asked = assessment.is_some_and(|assessment| assessment.verdict.then == Some(Disposition::Review));
    let Some(batch) = batch else {
        let coming = "it comes before people with the next run; until then, and until they decide, it stays";
        return Ok((asked.then(|| coming.to_owned()), None));
    };
    let looked = reviews.look(&batch).await?;
    let mut text =
        format!("in the batch {}, due in {}, asked since {}: {}", batch.short(), batch.asked().month, batch.asked().since, looked.words());
    for decision in &looked.decisions {
        text += &format!("; {decision}");
    }
    let kept = if let Standing::Kept { until, .. } = looked.standing { Some(until) } else { None };
    Ok((Some(text), kept))
}

fn as_json(address: &Address, found: &Found, attested: bool, assessment: Option<&Assessment>, entries: &[Entry]) -> serde_json::Value {
    let state = match found {
        Found::Present(_) if attested => "attested",
        Found::Present(_) => "present",
        Found::Anonymised(_) => "anonymised",
        Found::Absent => "absent",
        Found::Remains => "remains",
        Found::Outside(_) => "outside",
        Found::Unknown(_) => "unknown",
    };
    json!({
        "address": address.to_string(),
        "found": state,
        "error": if let Found::Unknown(why) = found { Some(why) } else { None },
        "verdict": assessment.filter(|_| !attested).map(|assessment| report::verdict_json(&assessment.verdict)),
        "entries": entries,
    })
}
