//! The small estate that each strike gets anew, and the judgement over it.

use std::fmt;
use std::fs;

use crate::estate::{Estate, Load, names_in, text};
use crate::ledger::Ledger;
use crate::trace::{CALLS, Call, calls};

/// Every way of destroying, each with something that goes along, and a date that lies in another store.
const CONFIG: &str = r#"
node: crash-1
mode: enforce
schedules: schedule.yaml
state: STATE
limits: unlimited
stores:
  media:
    files: ROOT/media
    datasets:
      footage:
        class: short
        path: "footage/{camera}/{ended:%Y-%m-%d}/*.mp4"
        events: { ended: path }
        companions: ["{stem}.jpg"]
        keys: plain
        prune-empty: true
      tapes: { class: short, path: "tapes/{ended:%Y-%m-%d}-*.wav", events: { ended: path }, erase: overwrite }
  documents:
    files: ROOT/documents
    datasets:
      scans:
        class: short
        path: "scans/{tenancy}/**"
        record: directory
        events: { ended: { lookup: housing.tenancies, by: tenancy } }
  housing:
    sqlite: ROOT/housing.db
    datasets:
      applicants:
        class: short
        table: applicants
        key: id
        where: "status = 'unsuccessful'"
        events: { ended: outcome_date }
        children: [ { table: interviews, key: applicant_id } ]
      tenancies: { class: long, table: tenancies, key: id, events: { ended: ended_on }, keys: plain }
"#;

/// What the program finds when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// No state folder.
    First,
    /// A log with open intents, and a run that was killed while it destroyed.
    AfterKill,
}

impl Scenario {
    pub const ALL: [Self; 2] = [Self::First, Self::AfterKill];
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first run",
            Self::AfterKill => "run after a kill",
        })
    }
}

pub struct Site {
    pub estate: Estate,
}

impl Site {
    pub fn new(scenario: Scenario) -> Self {
        let mut estate = Estate::new();
        estate.configure(CONFIG);
        estate.add(Load { footage: 2, letters: 0, scans: 2, rows: 2 });
        estate.add_tapes(2);
        if scenario == Scenario::AfterKill {
            // Records before it have their outcomes, one is gone without, others are announced and still there.
            let options = ["--trace=unlinkat".to_owned(), "--inject=unlinkat:signal=KILL:when=2".to_owned()];
            let output = estate.command_under_strace(&options, &["run"]).output().unwrap();
            assert_eq!(output.status.code(), None, "the run that is to be killed ended: {}", text(&output));
        }
        Self { estate }
    }

    /// Runs the program undisturbed and answers its calls on the estate.
    pub fn count_calls(&mut self) -> Vec<Call> {
        let options = ["-y".to_owned(), "-Y".to_owned(), format!("--trace={CALLS}")];
        let output = self.estate.command_under_strace(&options, &["run"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let calls = calls(&fs::read_to_string(self.estate.path("strace.out")).unwrap(), self.estate.folder.path());
        self.restart_and_judge();
        calls
    }

    /// Nothing is gone that no durable intent names, whatever state the log is in.
    pub fn expect_no_secret_loss(&mut self) {
        let ledger = Ledger::read(&self.estate.state().join("audit"));
        let rows = self.estate.rows();
        let keys = self.estate.state().join("keys/pseudonym");
        if !names_in(&keys).iter().any(|name| name.split_once(".key").is_some_and(|(_, rest)| rest.is_empty())) {
            for one in &self.estate.known {
                assert!(self.estate.is_there(one, &rows), "{}:{} went before there was a key to name it by", one.dataset, one.key);
            }
            return;
        }
        self.estate.name_records();
        for one in &self.estate.known {
            let intents = ledger.of(one.dataset, one.name.as_deref().unwrap_or_default()).intents;
            assert!(one.due || intents == 0, "{}:{} is not due, and an intent names it", one.dataset, one.key);
            assert!(self.estate.is_there(one, &rows) || intents > 0, "{}:{} is gone, and no intent names it", one.dataset, one.key);
        }
    }

    /// Starts the program again, as an administrator would, and holds everything against the log.
    pub fn restart_and_judge(&mut self) {
        self.estate.run();
        self.estate.check_done();
        let ledger = Ledger::read(&self.estate.state().join("audit"));
        assert_eq!(ledger.unpublished, 0, "a run that ended well has published everything");
        for one in &self.estate.known {
            let said = ledger.of(one.dataset, one.name.as_deref().unwrap_or_default());
            let place = format!("{}:{} (due: {}): {said:?}", one.dataset, one.key, one.due);
            assert_eq!(said.intents, said.outcomes, "{place}");
            assert_eq!(said.gone > 0, one.due, "{place}");
        }
    }
}
