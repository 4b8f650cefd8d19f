//! Records that no program reaches: boxes in a cabinet, files at an archive company, a contractor's copies.
//!
//! Somebody keeps a list of them: a CSV file ([`list`]) or a table in any of the databases that hold records themselves
//! ([`sql`](super::sql)). The list is read and never written. Records that are due become tasks for people; a person who has destroyed a record says
//! so, with day, method and the number of a certificate, and only then is there anything to report to the one door.
//!
//! **Removing** here means believing a person: the record is looked up once more, compared, the guard is asked, and then the store says
//! `attested`, the only grade there is, not verified. It does so only under a permit that carries an attestation; without one every record is kept. So
//! neither a run nor recovery can ever come to claim that a box is gone.
//!
//! The line stays the office's: whether it strikes out the box or leaves it, a confirmed record is not asked for again, which the log knows and not the
//! store.

#[cfg(test)]
mod conformance;
mod list;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use self::list::Listing;
use super::{Act, Configure, DatasetHead, Evidence, Fate, Found, Guard, Kept, Kind, Order, Query, Scanned, Store, StoreHead, sql};
use crate::dispose::Permit;
use crate::error::{Result, escape};
use crate::finding::Finding;
use crate::record::{Key, Reading, Record};
use crate::schedule::EventName;
use crate::yaml::{Fields, Node, Problems, suggest};

/// Lists of records that people destroy: `attested: { csv: PATH }`, or the key of a database in its place.
pub const KIND: Kind = Kind { key: "attested", configure };

/// The word of a person is all there is.
const GRADES: &[&str] = &["attested"];

/// The databases that a list may be a table of.
const DATABASES: [Kind; 3] = [sql::SQLITE, sql::POSTGRES, sql::MYSQL];

/// A list, and what it is for.
struct Attested {
    list: Arc<dyn Store>,
}

struct Configuring {
    list: Box<dyn Configure>,
}

fn configure(head: &StoreHead<'_>, place: &Node, _: &mut Fields<'_>, problems: &mut Problems) -> Option<Box<dyn Configure>> {
    const FORM: &str = "where the list of records is: `{ csv: FILE }`, `{ sqlite: FILE }`, `{ postgres: URL }` or `{ mysql: URL }`";
    let mut fields = place.fields(FORM, problems)?;
    let csv = fields.take("csv");
    let databases: Vec<(Kind, &Node)> = DATABASES.into_iter().filter_map(|kind| fields.take(kind.key).map(|node| (kind, node))).collect();
    let list = match (csv, &databases[..]) {
        (Some(node), []) => Listing::configure(head, node, &mut fields, problems),
        (None, [(kind, node)]) => (kind.configure)(head, node, &mut fields, problems),
        (None, []) => {
            problems.add(fields.mark, format!("expected {FORM}"));
            None
        }
        _ => {
            problems.add(fields.mark, "a list is in one place, found several; make two stores of it");
            None
        }
    };
    fields.finish("the place of the list", problems);
    Some(Box::new(Configuring { list: list? }))
}

impl Configure for Configuring {
    fn dataset(&mut self, head: &DatasetHead<'_>, fields: &mut Fields<'_>, problems: &mut Problems) {
        let what = format!("dataset \"{}\"", escape(head.name.as_bytes()));
        if head.anonymises {
            problems
                .add(head.mark, format!("{what}: has a class that anonymises, which no program can do to paper; give it another class"));
        }
        if let Some((grade, mark)) = head.at_least.filter(|(grade, _)| !GRADES.contains(grade)) {
            let hint = suggest(grade, GRADES.iter().copied());
            problems.add(mark, format!("{what}: unknown grade \"{}\"{hint}", escape(grade.as_bytes())));
        }
        // Whatever would be done to rows is never done to these: reading them is all that the database must allow.
        for key in ["children", "anonymise", "anonymised", "triggers", "purge", "statistics"] {
            if fields.has(key) {
                problems.add(fields.mark_of(key), format!("{what}: `{key}` has no meaning for records that people destroy; remove it"));
                fields.take(key);
            }
        }
        let head = DatasetHead {
            name: head.name,
            mark: head.mark,
            events: head.events.clone(),
            class_by: head.class_by,
            subject: head.subject,
            anonymises: false,
            destroys: false,
            enforced: false,
            at_least: None,
        };
        self.list.dataset(&head, fields, problems);
    }

    fn finish(self: Box<Self>) -> Arc<dyn Store> {
        Arc::new(Attested { list: self.list.finish() })
    }
}

#[async_trait]
impl Store for Attested {
    fn name(&self) -> &str {
        self.list.name()
    }

    fn place(&self) -> String {
        format!("what {} lists", self.list.place())
    }

    // The same database may hold records that the program does destroy; the list is another thing than they are.
    fn identity(&self) -> String {
        format!("attested {}", self.list.identity())
    }

    async fn mark(&self) -> String {
        self.list.mark().await
    }

    async fn leave(&self) {
        self.list.leave().await;
    }

    fn grades(&self) -> &'static [&'static str] {
        GRADES
    }

    fn is_attested(&self) -> bool {
        true
    }

    fn overlaps(&self) -> Vec<(String, String)> {
        self.list.overlaps()
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        self.list.check().await
    }

    async fn scan(&self, dataset: &str, query: Query, out: mpsc::Sender<Vec<Record>>) -> Result<Scanned> {
        self.list.scan(dataset, query, out).await
    }

    async fn count_left_out(&self, dataset: &str, query: Query, enough: u64) -> Result<u64> {
        self.list.count_left_out(dataset, query, enough).await
    }

    async fn fetch(&self, dataset: &str, keys: &[Key]) -> Result<Vec<Found>> {
        self.list.fetch(dataset, keys).await
    }

    async fn lookup(&self, dataset: &str, event: &EventName, on: Option<&str>, values: &[&str]) -> Result<Vec<Reading>> {
        self.list.lookup(dataset, event, on, values).await
    }

    async fn elsewhere(&self, dataset: &str, records: &[Record]) -> Result<Vec<Vec<(String, Record)>>> {
        self.list.elsewhere(dataset, records).await
    }

    async fn remove(&self, permit: &Permit, dataset: &str, order: &Order, records: &[Record], guard: &Guard<'_>) -> Vec<Fate> {
        let keys: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
        let failed = |error: String| Fate::Failed { error, uncertain: false };
        let found = match self.list.fetch(dataset, &keys).await {
            Ok(found) if found.len() == records.len() => found,
            Ok(_) => return vec![failed("the list answered for another number of records".into()); records.len()],
            Err(error) => return vec![failed(error.to_string()); records.len()],
        };
        let believed = permit.is_attestation() && order.act == Act::Destroy;
        let fate = |(position, (planned, found)): (usize, (&Record, Found))| match found {
            _ if !believed => Fate::Kept(Kept::CannotMeetGrade("only a person can destroy it, and none says so".into())),
            Found::Present(fresh) if fresh.fingerprint != planned.fingerprint => Fate::Kept(Kept::Changed("its line in the list".into())),
            Found::Present(fresh) => guard(position, &fresh).map_or_else(
                || Fate::Done(Evidence { method: "attested", grade: GRADES[0], verified: false, caveats: Cow::default(), parts: 0 }),
                Fate::Kept,
            ),
            Found::Outside(why) => Fate::Kept(Kept::NotDue(why)),
            Found::Absent => Fate::Absent,
            Found::Anonymised(_) | Found::Remains => failed("the list says of it what no list can say".into()),
            Found::Unknown(why) => failed(why),
        };
        records.iter().zip(found).enumerate().map(fate).collect()
    }

    fn path(&self) -> Option<&Path> {
        None
    }
}
