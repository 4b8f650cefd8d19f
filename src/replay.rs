//! Every past decision, derived once more from the log alone.
//!
//! The log holds the full text of every schedule that was in force, and each outcome says which class, schedule, event and date decided. So
//! whoever has the log can work out when each record was due, whether its class allowed what was done to it, and whether that was done too early,
//! by the same arithmetic that a run uses, with neither configuration nor stores. For each entry:
//!
//! - `schedule`: the pieces make a text with the SHA-256 that they name, and it is a schedule. From here on it is in force, in place of the one before
//!   with its id.
//! - `run-started`: each rule is a class of a schedule in force, unless it was carried over from the log before; `today` is not ahead of the entry's own time; a plan that is allowed was refused before.
//! - outcomes and `flagged`: the schedule was in force when the run began; the class is in it, its period starts with that event, and from that date it
//!   ends on the day that the entry says; that day was over in the schedule's zone, on the run's `today` and when the entry was written; the class, and every class that
//!   the run says applies, allows what was done.
//! - what went although a class says `then: review`: enough different people approved it, in time, and nobody took it back ([`reviews`]).
//! - `destroyed` and `anonymised`: holds were checked, and no hold placed before the intent and not over in the schedule's zone covers the record.
//! - `attested`: the same as `destroyed`, and the person destroyed it after that day.
//! - `lost`, where it names a rule: the period ends on the day that the entry says, and the record went no later.
//! - `erasure-decided`: every class that had to be asked was, each says what the entry tells, and so does what was in force within the edit delay
//!   ([`erasures`]). What went before its period was over went by such a decision, for just that record, while its classes still said so.
//! - `intent`: not in report mode.
//!
//! What does not come out the same is a [`Mismatch`]: the log says what cannot have been decided. That the entries are those that were written, that
//! intents and outcomes belong together and counts add up is [`crate::audit::verify`]'s business, and is to be asked first.
//!
//! Entries are read one by one. Held are the schedules, the runs that have not ended, the holds in force, what people
//! decided about review batches and requests for erasure, and the ids of refused plans.

mod erasures;
mod reviews;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

use crate::audit::{Entry, Kind as EntryKind, Reader};
use crate::error::{Error, Kind, Result, escape, hex};
use crate::hold::{Hold, Holds, Subject};
use crate::schedule::{Answer, Disposition, RecordClass, Schedule, Schedules, Terms};

use erasures::Erasures;
use reviews::{Rested, Reviews};

/// Runs without end that are held at most: every crash leaves one for each dataset at work, and the next start ends them.
const MOST_RUNS: usize = 1 << 16;

/// A decision that does not follow from what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Index of the entry.
    pub entry: u64,
    /// Its time.
    pub at: String,
    /// Its kind.
    pub kind: EntryKind,
    /// What the log says.
    pub says: String,
    /// What follows from the rest of the log.
    pub derived: String,
}

/// What replaying a log brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Entries read.
    pub entries: u64,
    /// Texts of schedules.
    pub schedules: u64,
    /// Runs.
    pub runs: u64,
    /// Decisions about single records that were derived again.
    pub decisions: u64,
    /// Outcomes that name no rule, because the plan was lost in a crash: there is nothing to derive.
    pub without_rule: u64,
    /// Decisions under a schedule whose language this version does not read.
    pub unjudged: u64,
    /// Entries of runs so old that some of their entries are archived; without the archive nothing can be derived of them.
    pub archived: u64,
    /// Decisions, schedules and runs that do not follow from the log.
    pub mismatches: u64,
}

/// Replays the first `entries` entries of the log in `log_dir`, archived ones from the folder `archive`; each mismatch is told to `tell`.
///
/// Without an archive, runs of which some entries may be archived are left out. What schedules say and what was held is never archived.
///
/// `progress` is told how many entries are done. Fails only if the log cannot be read, or as `tell` does.
pub fn replay(
    log_dir: &Path,
    archive: Option<&Path>,
    entries: u64,
    progress: &dyn Fn(u64),
    tell: &mut dyn FnMut(Mismatch) -> Result<()>,
) -> Result<Replayed> {
    let mut replay = Replay::default();
    let reader = Reader::open(log_dir)?;
    let judged_from = if archive.is_some() { 0 } else { reader.settled_before() };
    // What lies where the log says that it was moved to was not verified.
    let reader = archive.map_or_else(|| reader.clone().own(), |archive| reader.clone().with_archive(archive));
    for item in reader.entries() {
        let (n, bytes) = item?;
        if n >= entries {
            break;
        }
        let entry = Entry::parse(&bytes).map_err(|error| error.context(format_args!("entry {n}")))?;
        let stands_alone = matches!(
            entry.kind,
            EntryKind::Schedule
                | EntryKind::HoldPlaced
                | EntryKind::HoldReleased
                | EntryKind::Refused
                | EntryKind::Confirmed
                | EntryKind::Approved
                | EntryKind::ReviewRefused
                | EntryKind::ReviewExtended
                | EntryKind::ReviewWithdrawn
                | EntryKind::Bound
                | EntryKind::ErasureApproved
                | EntryKind::ErasureDecided
        );
        if n < judged_from && !stands_alone {
            replay.done.archived += 1;
            continue;
        }
        if let Err(Wrong { says, derived }) = replay.see(&entry) {
            replay.done.mismatches += 1;
            tell(Mismatch {
                entry: n,
                at: entry.at.clone(),
                kind: entry.kind,
                says: escape(says.as_bytes()),
                derived: escape(derived.as_bytes()),
            })?;
        }
        if replay.runs.len() > MOST_RUNS {
            return Err(Error::new(Kind::NotIntact, format!("entry {n}: more than {MOST_RUNS} runs have begun and not ended")));
        }
        replay.done.entries += 1;
        if n % 4096 == 0 {
            progress(n);
        }
    }
    Ok(replay.done)
}

/// What the log says, and what follows instead.
struct Wrong {
    says: String,
    derived: String,
}

fn wrong<T>(says: impl Into<String>, derived: impl Into<String>) -> std::result::Result<T, Wrong> {
    Err(Wrong { says: says.into(), derived: derived.into() })
}

type Checked = std::result::Result<(), Wrong>;

/// A schedule's text as far as its pieces have come.
#[derive(Default)]
struct Pieces {
    sha256: String,
    parts: u64,
    text: String,
}

/// A run that has not ended.
struct Run {
    place: [String; 2],
    mode: String,
    /// The day on which it judged, and the name of the zone of that day.
    today: Option<(Date, String)>,
    /// SHA-256 of the schedules in force when it began.
    in_force: Arc<BTreeMap<String, String>>,
    /// The most that all the classes which apply to each record allow; `None` where the class differs from record to record.
    allows: Option<Disposition>,
    /// The same for what people approved.
    on_approval: Option<Disposition>,
    /// What the classes that apply to each record ask for before it goes.
    terms: Vec<Terms>,
    /// What the most careful of them says to a request for erasure.
    answer: Answer,
    /// The request for erasure that it carries out.
    erasure: Option<String>,
    /// Index of its first entry, and its day in any zone.
    began: u64,
    at: Option<jiff::Timestamp>,
    /// It only goes on with what an interrupted run left.
    recovery: bool,
}

#[derive(Default)]
struct Replay {
    done: Replayed,
    pieces: HashMap<String, Pieces>,
    /// By the SHA-256 of their text; `None`: not read by this version.
    known: HashMap<String, Option<Arc<Schedule>>>,
    /// From a schedule's id to the SHA-256 of its text.
    in_force: Arc<BTreeMap<String, String>>,
    runs: HashMap<String, Run>,
    refused: BTreeSet<String>,
    /// The last intent, or what was counted for it: the index of its entry, its run, and how many records it still has.
    announced: (u64, String, usize),
    reviews: Reviews,
    erasures: Erasures,
    holds: BTreeMap<String, (u64, Hold)>,
    arranged: Holds,
}

impl Replay {
    fn see(&mut self, entry: &Entry) -> Checked {
        match entry.kind {
            EntryKind::Schedule => {
                self.reviews.see(entry);
                self.schedule(entry)
            }
            EntryKind::Confirmed
            | EntryKind::Approved
            | EntryKind::ReviewRefused
            | EntryKind::ReviewExtended
            | EntryKind::ReviewWithdrawn => {
                self.reviews.see(entry);
                self.erasures.see(entry);
                Ok(())
            }
            EntryKind::Bound | EntryKind::ErasureApproved => {
                self.erasures.see(entry);
                Ok(())
            }
            EntryKind::ErasureDecided => {
                let judged = self.erasures.decide(entry, &self.known, &self.in_force)?;
                self.done.decisions += u64::from(judged);
                self.done.unjudged += u64::from(!judged);
                Ok(())
            }
            EntryKind::RunStarted => self.started(entry),
            EntryKind::RunFinished => self.finished(entry),
            EntryKind::Intent => {
                let run = self.run_of(entry)?;
                let checked =
                    if run.mode == "enforce" { Ok(()) } else { wrong("an intent", format!("none in a run in {} mode", run.mode)) };
                self.announced = (entry.n, entry.str("run").unwrap_or_default().to_owned(), entry.strs("records").count());
                checked
            }
            EntryKind::Statistics => self.statistics(entry),
            EntryKind::Flagged | EntryKind::TaskOpened => self.decision(entry),
            EntryKind::Lost => self.lost(entry),
            kind if kind.is_outcome() => self.decision(entry),
            EntryKind::Refused => {
                self.refused.extend(entry.str("plan").map(str::to_owned));
                Ok(())
            }
            EntryKind::Allowed => self.refused_before(entry),
            EntryKind::HoldPlaced | EntryKind::HoldReleased => {
                self.hold(entry);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn schedule(&mut self, entry: &Entry) -> Checked {
        if let (Some(id), Some(true)) = (entry.str("id"), entry.bool("withdrawn")) {
            Arc::make_mut(&mut self.in_force).remove(id);
            self.erasures.schedule(entry);
            return Ok(());
        }
        let (Some(id), Some(sha256), Some(text)) = (entry.str("id"), entry.str("sha256"), entry.str("text")) else {
            return wrong("a schedule", "one with `id`, `sha256` and `text`");
        };
        let (part, parts) = (entry.u64("part").unwrap_or(1), entry.u64("parts").unwrap_or(1));
        if part == 1 {
            self.pieces.insert(id.to_owned(), Pieces { sha256: sha256.to_owned(), ..Pieces::default() });
        }
        let pieces = self.pieces.entry(id.to_owned()).or_default();
        if pieces.parts + 1 != part || pieces.sha256 != sha256 {
            let next = pieces.parts + 1;
            self.pieces.remove(id);
            return wrong(format!("part {part} of the schedule {id}"), format!("part {next} of the text that began"));
        }
        pieces.parts = part;
        pieces.text.push_str(text);
        if part < parts {
            return Ok(());
        }
        let text = self.pieces.remove(id).map(|pieces| pieces.text).unwrap_or_default();
        self.done.schedules += 1;
        let found = hex(&<sha2::Sha256 as sha2::Digest>::digest(text.as_bytes()));
        if found != sha256 {
            return wrong(format!("schedule {id} with the sha256 {sha256}"), format!("its text has {found}"));
        }
        let read = Schedules::parse(id, &text).ok().and_then(|mut schedules| schedules.all.pop());
        if let Some(schedule) = &read
            && schedule.id != id
        {
            return wrong(format!("schedule {id}"), format!("its text is that of {}", schedule.id));
        }
        self.known.insert(sha256.to_owned(), read);
        Arc::make_mut(&mut self.in_force).insert(id.to_owned(), sha256.to_owned());
        self.erasures.schedule(entry);
        Ok(())
    }

    fn started(&mut self, entry: &Entry) -> Checked {
        self.done.runs += 1;
        let (Some(id), Some(store), Some(dataset)) = (entry.str("run"), entry.str("store"), entry.str("dataset")) else {
            return wrong("a run", "one with `run`, `store` and `dataset`");
        };
        let text = |rule: &Value, name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let rules = entry.fields.get("rules").and_then(Value::as_array).into_iter().flatten();
        let rules: Vec<[String; 2]> = rules.map(|rule| [text(rule, "class"), text(rule, "schedule")]).collect();
        // Where every record has all classes, none may be allowed more than the most careful of them.
        let all = entry.str("apply") == Some("all");
        let class = |[class, schedule]: &[String; 2]| self.known.get(schedule)?.as_ref()?.classes.get(class.as_str()).cloned();
        let classes: Vec<_> = rules.iter().filter_map(class).filter(|_| all).collect();
        let least = |thens: &mut dyn Iterator<Item = Disposition>| thens.min_by_key(|then| then.reach());
        let allows = least(&mut classes.iter().filter_map(|class| class.then));
        let on_approval = least(&mut classes.iter().filter_map(|class| class.then).map(approved));
        let terms = classes.iter().filter(|class| class.then == Some(Disposition::Review)).map(|class| class.review).collect();
        let answer = classes.iter().map(|class| class.answer()).max().unwrap_or(Answer::Destroy);
        let zone = rules.first().and_then(|[_, schedule]| self.known.get(schedule)?.as_ref().map(|known| known.zone_name.clone()));
        let today = entry.str("today").and_then(|day| day.parse::<Date>().ok()).zip(zone);
        let run = Run {
            place: [store.to_owned(), dataset.to_owned()],
            mode: entry.str("mode").unwrap_or_default().to_owned(),
            today: today.clone(),
            in_force: Arc::clone(&self.in_force),
            allows,
            on_approval,
            terms,
            answer,
            erasure: entry.str("erasure").map(str::to_owned),
            began: entry.n,
            at: entry.time(),
            recovery: entry.str("reason") == Some("recovery"),
        };
        self.runs.insert(id.to_owned(), run);
        // One that was carried over began by schedules, and a plan, that stand in the log before. Nothing but that comes before the first schedule, and
        // what recovery says of its records names no rule.
        let carried = entry.u64("carried_from").is_some() && self.known.is_empty();
        for rule in rules.iter().filter(|_| !carried) {
            let [class_id, schedule] = rule;
            if !self.in_force.values().any(|known| known == schedule) {
                return wrong(format!("a rule of the schedule {schedule}"), "no schedule in force has this sha256");
            }
            if self.known.get(schedule).is_some_and(Option::is_some) && class(rule).is_none() {
                return wrong(format!("a rule of the class {class_id}"), format!("the schedule {schedule} has no such class"));
            }
        }
        if let Some((day, zone)) = &today
            && let Some(written) = TimeZone::get(zone).ok().and_then(|zone| Some(zone.to_datetime(entry.time()?).date()))
            && *day > written
        {
            return wrong(format!("today is {day}"), format!("it was {written} in {zone}"));
        }
        if entry.str("plan").is_some() && !carried { self.refused_before(entry) } else { Ok(()) }
    }

    fn refused_before(&self, entry: &Entry) -> Checked {
        match entry.str("plan") {
            Some(plan) if self.refused.contains(plan) => Ok(()),
            plan => wrong(format!("the plan {} is allowed", plan.unwrap_or("without id")), "no plan of this id was refused before"),
        }
    }

    fn finished(&mut self, entry: &Entry) -> Checked {
        self.run_of(entry)?;
        let run = entry.str("run").and_then(|id| self.runs.remove(id));
        match (run, entry.str("mode")) {
            (Some(run), Some(mode)) if run.mode != mode => wrong(format!("a run in {mode} mode"), format!("it began in {} mode", run.mode)),
            _ => Ok(()),
        }
    }

    /// The run that an entry names, which has begun over the same dataset.
    fn run_of(&self, entry: &Entry) -> std::result::Result<&Run, Wrong> {
        let id = entry.str("run").unwrap_or_default();
        let Some(run) = self.runs.get(id) else { return wrong(format!("run {id}"), "no such run has begun and not ended") };
        let place = [entry.str("store").unwrap_or_default(), entry.str("dataset").unwrap_or_default()];
        if run.place != place {
            return wrong(format!("run {id} over {}", place.join("/")), format!("it is one over {}", run.place.join("/")));
        }
        Ok(run)
    }

    /// An outcome or a flag.
    fn decision(&mut self, entry: &Entry) -> Checked {
        let run = self.run_of(entry)?;
        let names = ["class", "schedule", "event", "event_date", "due"];
        let [Some(class_id), Some(sha256), Some(event), Some(event_date), Some(due)] = names.map(|name| entry.str(name)) else {
            if entry.kind == EntryKind::Recovered && names.iter().all(|name| entry.str(name).is_none()) {
                self.done.without_rule += 1;
                return Ok(());
            }
            return wrong("a decision", "one with `class`, `schedule`, `event`, `event_date` and `due`");
        };
        let Some(known) = self.known.get(sha256) else {
            return wrong(format!("by the schedule {sha256}"), "no schedule before this entry has this sha256");
        };
        if !run.recovery && !run.in_force.values().any(|in_force| in_force == sha256) {
            return wrong(format!("by the schedule {sha256}"), "it was not in force when the run began");
        }
        let Some(schedule) = known else {
            self.done.unjudged += 1;
            return Ok(());
        };
        let Some(class) = schedule.classes.get(class_id) else {
            return wrong(format!("by the class {class_id}"), format!("the schedule {} has no such class", schedule.id));
        };
        let early = self.erasures.rested(entry, run);
        let checked = early.and_then(|early| {
            if early {
                return derives(class, [event, event_date, due]).and_then(|_| answered(entry, run, class));
            }
            when(entry, run, schedule, class, [event, event_date, due]).and_then(|()| self.allowed(entry, run, schedule, class))
        });
        let checked = checked.and_then(|()| self.not_held(entry, schedule, class_id)).and_then(|()| in_time(entry, due));
        self.done.decisions += 1;
        checked
    }

    /// What the records of the intent before it count for.
    fn statistics(&mut self, entry: &Entry) -> Checked {
        let (before, run, left) = &mut self.announced;
        let list = |name: &str| entry.fields.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let (cells, of) = (list("cells"), list("of"));
        if entry.n != *before + 1 || entry.str("run") != Some(run) || of.len() > *left || of.is_empty() {
            return wrong(format!("what {} records count for", of.len()), "an intent with as many records just before it, in the same run");
        }
        (*before, *left) = (entry.n, *left - of.len());
        if of.iter().any(|at| !at.is_null() && at.as_u64().is_none_or(|at| at >= cells.len() as u64)) {
            return wrong("records that count for something", format!("one of its {} cells each", cells.len()));
        }
        Ok(())
    }

    /// A record that a person destroyed too early. What was missed from a list of names has no date in the log, and nothing to derive.
    fn lost(&mut self, entry: &Entry) -> Checked {
        let names = ["class", "schedule", "event_date", "due", "on"];
        let [Some(class_id), Some(sha256), Some(event_date), Some(due), Some(on)] = names.map(|name| entry.str(name)) else {
            return Ok(());
        };
        let Some(known) = self.known.get(sha256) else {
            return wrong(format!("by the schedule {sha256}"), "no schedule before this entry has this sha256");
        };
        let Some(schedule) = known else {
            self.done.unjudged += 1;
            return Ok(());
        };
        self.done.decisions += 1;
        let Some(class) = schedule.classes.get(class_id) else {
            return wrong(format!("by the class {class_id}"), format!("the schedule {} has no such class", schedule.id));
        };
        let (Ok(date), Ok(said), Ok(on)) = (event_date.parse::<Date>(), due.parse::<Date>(), on.parse::<Date>()) else {
            return wrong(format!("an event on {event_date}, due on {due}, destroyed on {on}"), "days such as 2026-11-30");
        };
        let derived = class.keep.due(date);
        if derived != Some(said) {
            let derived = derived.map_or_else(|| "never due".to_owned(), |due| format!("due on {due}"));
            return wrong(format!("due on {due}"), format!("{derived}: {} from {event_date}", class.keep));
        }
        // Past that day something else kept it: another class whose period has not begun or never ends, or an edit that is not old enough. The
        // entry does not say which; that it was to be kept it must say.
        let kept_otherwise = ["waiting", "not-yet-due", "not-started", "permanent"].map(Some).contains(&entry.str("standing"));
        if on > said && !kept_otherwise {
            return wrong(format!("lost on {on}"), format!("due on {said}, so it went in time"));
        }
        Ok(())
    }

    /// Whether the classes allow what was done, by themselves or because people approved it.
    fn allowed(&self, entry: &Entry, run: &Run, schedule: &Schedule, class: &RecordClass) -> Checked {
        let done = match (entry.kind, entry.str("then"), entry.str("found")) {
            (EntryKind::Destroyed | EntryKind::Attested | EntryKind::TaskOpened, ..)
            | (EntryKind::Recovered, _, Some("gone" | "remains")) => Disposition::Destroy,
            (EntryKind::Anonymised, ..) | (EntryKind::Recovered, _, Some("anonymised")) => Disposition::Anonymise,
            (EntryKind::Flagged, Some("review"), _) => Disposition::Review,
            _ => Disposition::Flag,
        };
        let least = |thens: &mut dyn Iterator<Item = Disposition>| thens.min_by_key(|then| then.reach());
        let Some(most) = least(&mut run.allows.into_iter().chain(class.then)) else {
            return wrong(done.as_str(), format!("the class {} has no disposition", class.id));
        };
        if done.reach() <= most.reach() {
            return Ok(());
        }
        let on_approval = least(&mut run.on_approval.into_iter().chain(class.then.map(approved)));
        if most != Disposition::Review || on_approval.is_none_or(|then| done.reach() > then.reach()) {
            return wrong(done.as_str(), format!("the classes of the run allow no more than {}", most.as_str()));
        }
        if entry.str("batch").is_none() {
            return wrong(done.as_str(), "the classes of the run allow no more than review, and no approval is named");
        }
        let mut terms = run.terms.clone();
        if class.then == Some(Disposition::Review) {
            terms.push(class.review);
        }
        let today = match (&run.today, run.at) {
            (Some((day, zone)), _) if *zone == schedule.zone_name => *day,
            (_, at) => at.map_or(Date::MIN, |at| schedule.zone.to_datetime(at).date()),
        };
        let (zone, known) = (&schedule.zone, &self.known);
        self.reviews.check(entry, &Rested { began: run.began, today, zone, schedule, class: class.id.as_str(), terms, known })
    }

    /// Whether the outcome says that holds were checked, and the log knows of none.
    fn not_held(&self, entry: &Entry, schedule: &Schedule, class: &str) -> Checked {
        if !matches!(entry.kind, EntryKind::Destroyed | EntryKind::Anonymised | EntryKind::Attested) {
            return Ok(());
        }
        if entry.bool("holds_checked") != Some(true) {
            return wrong("a disposal", "one whose holds were checked");
        }
        if self.holds.is_empty() {
            return Ok(());
        }
        let text = |name| entry.str(name).unwrap_or_default().to_owned();
        let dataset = format!("{}/{}", text("store"), text("dataset"));
        let it = Subject {
            dataset: &dataset,
            classes: &[class],
            record_names: &|| vec![text("record")],
            subject_names: &|| entry.str("subject").map(str::to_owned).into_iter().collect(),
            // Of the record's events, the log tells the one that decided.
            within: &|range| {
                let day = entry.str("event_date").and_then(|day| day.parse().ok());
                day.is_some_and(|day| range.holds(entry.str("event").unwrap_or_default(), day))
            },
            is_known: &|_| true,
        };
        let today = entry.time().map_or(Date::MAX, |at| schedule.zone.to_datetime(at).date());
        // What was announced before the hold may have been under way.
        let intent = entry.u64("intent").unwrap_or(u64::MAX);
        if self.arranged.protecting(&it, today).is_none() {
            return Ok(());
        }
        let before = self.holds.values().filter(|(since, _)| *since < intent).map(|(_, hold)| hold.clone());
        match Holds::new(before).protecting(&it, today) {
            Some(hold) => wrong("a disposal", format!("the hold {} was in force before its intent, entry {intent}", hold.id)),
            None => Ok(()),
        }
    }

    fn hold(&mut self, entry: &Entry) {
        let id = entry.str("hold").unwrap_or_default().to_owned();
        if entry.kind == EntryKind::HoldReleased {
            self.holds.remove(&id);
            self.arranged.remove(&id);
            return;
        }
        let hold = Hold::of_entry(entry);
        // One that may have been over meanwhile begins anew.
        let lasted = |before: &Hold| before.scope == hold.scope && entry.time().is_some_and(|at| before.surely_lasts(at));
        let since = self.holds.get(&id).filter(|(_, before)| lasted(before)).map_or(entry.n, |(since, _)| *since);
        self.holds.insert(id, (since, hold.clone()));
        self.arranged.insert(hold);
    }
}

/// Whether the classes still said that a record goes on a request for erasure, when the run began that let it go.
fn answered(entry: &Entry, run: &Run, class: &RecordClass) -> Checked {
    let gone = match entry.kind {
        EntryKind::Recovered => matches!(entry.str("found"), Some("gone" | "remains")),
        kind => matches!(kind, EntryKind::Destroyed | EntryKind::Anonymised | EntryKind::Attested),
    };
    let answer = run.answer.max(class.answer());
    if gone && answer != Answer::Destroy {
        return wrong(format!("{} on a request for erasure", entry.kind), format!("the classes of the run say {answer}"));
    }
    Ok(())
}

/// The last day of keeping, where the period of the class starts with this event and ends on that day.
fn derives(class: &RecordClass, [event, event_date, due]: [&str; 3]) -> std::result::Result<Date, Wrong> {
    let id = class.id.as_str();
    let Some(trigger) = class.keep.trigger() else {
        return wrong(format!("due on {due}"), format!("the class {id} is kept permanently"));
    };
    if !trigger.events().iter().any(|name| name.as_str() == event) {
        return wrong(format!("the event {event}"), format!("the period of the class {id} starts with {trigger}"));
    }
    let (Ok(date), Ok(said)) = (event_date.parse::<Date>(), due.parse::<Date>()) else {
        return wrong(format!("an event on {event_date}, due on {due}"), "days such as 2026-11-30");
    };
    let derived = class.keep.due(date);
    if derived != Some(said) {
        let derived = derived.map_or_else(|| "never due".to_owned(), |due| format!("due on {due}"));
        return wrong(format!("due on {due}"), format!("{derived}: {} from {event_date}", class.keep));
    }
    Ok(said)
}

/// Whether the period of the class starts with this event, ends on that day, and was over.
fn when(entry: &Entry, run: &Run, schedule: &Schedule, class: &RecordClass, facts: [&str; 3]) -> Checked {
    let said = derives(class, facts)?;
    let written = entry.time().map_or(Date::MIN, |at| schedule.zone.to_datetime(at).date());
    if said >= written {
        return wrong(format!("{} on {written}", entry.kind), format!("to be kept until the end of {said} ({})", schedule.zone_name));
    }
    if let Some((today, zone)) = &run.today
        && *zone == schedule.zone_name
        && said >= *today
    {
        return wrong(format!("{} in a run of {today}", entry.kind), format!("to be kept until the end of {said} ({zone})"));
    }
    Ok(())
}

/// Whether a person who destroyed a record did so once its period was over.
fn in_time(entry: &Entry, due: &str) -> Checked {
    if entry.kind != EntryKind::Attested {
        return Ok(());
    }
    match (entry.str("on").map(str::parse::<Date>), due.parse::<Date>(), entry.str("person"), entry.str("certificate")) {
        (Some(Ok(on)), Ok(due), Some(_), Some(_)) if on > due => Ok(()),
        (Some(Ok(on)), _, Some(_), Some(_)) => wrong(format!("destroyed on {on}"), format!("to be kept until the end of {due}")),
        _ => wrong("a record that a person destroyed", "one with `on`, `person` and `certificate`"),
    }
}

/// What a disposition comes to once people have approved it.
fn approved(then: Disposition) -> Disposition {
    if then == Disposition::Review { Disposition::Destroy } else { then }
}
