//! `audit replay` on logs whose key-holder lied: every hash and signature is right, and what was decided does not follow.

use std::process::Output;

use serde_json::Value;

use crate::estate::{Estate, outsider, text};

/// Entries that can be changed, and are signed again.
struct Story {
    estate: &'static Estate,
    entries: Vec<String>,
}

impl Story {
    fn new() -> Self {
        let estate = Estate::shared();
        Self { estate, entries: estate.entries() }
    }

    /// The first entry of a kind that holds this text.
    fn find(&self, kind: &str, text: &str) -> usize {
        let kind = format!("\"kind\":\"{kind}\"");
        self.entries.iter().position(|entry| entry.contains(&kind) && entry.contains(text)).unwrap()
    }

    fn field(&self, entry: usize, name: &str) -> String {
        serde_json::from_str::<Value>(&self.entries[entry]).unwrap()[name].as_str().unwrap().to_owned()
    }

    fn replace(&mut self, entry: usize, from: &str, to: &str) {
        assert!(self.entries[entry].contains(from), "{}", self.entries[entry]);
        self.entries[entry] = self.entries[entry].replacen(from, to, 1);
    }

    fn replace_everywhere(&mut self, from: &str, to: &str) {
        self.entries.iter_mut().for_each(|entry| *entry = entry.replace(from, to));
    }

    /// Gives the schedule another text, under the hash that it has, wherever the old one is named.
    fn rewrite_schedule(&mut self, from: &str, to: &str) {
        let at = self.find("schedule", "");
        self.replace(at, from, to);
        let before = self.field(at, "sha256");
        let after = retentiond::schedule::Schedules::parse("test", &self.field(at, "text")).unwrap().all[0].sha256.to_string();
        self.replace_everywhere(&before, &after);
    }

    /// Puts an entry in, and numbers all behind it anew.
    fn insert(&mut self, at: usize, kind: &str, body: &str) {
        let like = &self.entries[at];
        let time = &like[like.find("\"at\":\"").unwrap() + 6..][..24];
        let entry = format!("{{\"n\":{at},\"at\":\"{time}\",\"kind\":\"{kind}\",\"nonce\":\"AAAAAAAAAAAAAAAAAAAAAA\",{body}}}");
        self.entries.insert(at, entry);
        for n in at + 1..self.entries.len() {
            let before = n - 1;
            self.replace(n, &format!("{{\"n\":{before},"), &format!("{{\"n\":{n},"));
            let intent = serde_json::from_str::<Value>(&self.entries[n]).unwrap()["intent"].as_u64();
            if let Some(intent) = intent.filter(|intent| *intent >= at as u64) {
                self.replace(n, &format!("\"intent\":{intent},"), &format!("\"intent\":{},", intent + 1));
            }
        }
    }

    /// All of it at noon of its day.
    fn at_noon(&mut self) {
        for entry in &mut self.entries {
            let at = entry.find("\"at\":\"").unwrap() + 6;
            entry.replace_range(at + 10..at + 24, "T12:00:00.000Z");
        }
    }

    fn ask(&self, verb: &str) -> Output {
        let log = self.estate.forge(&self.entries);
        outsider(&["audit", verb, "--log", log.path().to_str().unwrap(), "--key", &self.estate.key()])
    }

    /// `audit verify` finds nothing, and `audit replay` finds this in this entry.
    fn assert_lie(&self, entry: usize, words: &str) {
        let verified = self.ask("verify");
        assert_eq!(verified.status.code(), Some(0), "{words}: {verified:?}");
        let replayed = self.ask("replay");
        let said = text(&replayed.stdout);
        let line = said.lines().find(|line| line.starts_with(&format!("entry {entry} (")));
        assert!(line.is_some_and(|line| line.contains(words)), "expected {words} of entry {entry}, found {said}");
        assert_eq!(replayed.status.code(), Some(4), "{words}: {replayed:?}");
        assert!(text(&replayed.stderr).contains("do not follow from the log"), "{replayed:?}");
    }
}

#[test]
fn a_true_log_follows_from_itself() {
    let story = Story::new();
    let replayed = outsider(&["audit", "replay", "--log", story.estate.log().to_str().unwrap(), "--key", &story.estate.key()]);
    let said = text(&replayed.stdout);
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    assert!(said.contains("every decision follows from it\n  703 decisions derived again, of 2 runs under 1 schedule text"), "{said}");
    let as_json = story.estate.retentiond(&["audit", "replay", "--json"]);
    let as_json: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    assert_eq!((&as_json["replayed"]["decisions"], &as_json["replayed"]["mismatches"]), (&703.into(), &0.into()));
    // The same entries, signed again, are as true.
    assert_eq!(story.ask("replay").status.code(), Some(0));
}

#[test]
fn a_due_date_that_does_not_follow_from_the_schedule_is_told() {
    let mut story = Story::new();
    let at = story.find("destroyed", "");
    let due = story.field(at, "due");
    let earlier = due.parse::<jiff::civil::Date>().unwrap().yesterday().unwrap().to_string();
    story.replace(at, &format!("\"due\":\"{due}\""), &format!("\"due\":\"{earlier}\""));
    story.assert_lie(at, &format!("the log says due on {earlier}; derived: due on {due}: 23 days after recorded from "));
}

#[test]
fn a_record_that_went_before_its_day_was_over_is_told() {
    // Twenty-three days ago: due today, so it is to be kept until midnight.
    let mut story = Story::new();
    story.at_noon();
    let at = story.find("destroyed", "");
    let written = story.entries[at][story.entries[at].find("\"at\":\"").unwrap() + 6..][..10].to_owned();
    let day = written.parse::<jiff::civil::Date>().unwrap();
    let event = day.checked_sub(jiff::ToSpan::days(23)).unwrap().to_string();
    for (name, value) in [("event_date", event.as_str()), ("due", written.as_str())] {
        let before = story.field(at, name);
        story.replace(at, &format!("\"{name}\":\"{before}\""), &format!("\"{name}\":\"{value}\""));
    }
    story.assert_lie(at, &format!("the log says destroyed on {written}; derived: to be kept until the end of {written} (UTC)"));
    // The day before it was over.
    let (event, due) = (event.parse::<jiff::civil::Date>().unwrap().yesterday().unwrap(), day.yesterday().unwrap());
    for (name, value) in [("event_date", event), ("due", due)] {
        let before = story.field(at, name);
        story.replace(at, &format!("\"{name}\":\"{before}\""), &format!("\"{name}\":\"{value}\""));
    }
    assert_eq!(story.ask("replay").status.code(), Some(0));
    // In a run of that day it was not.
    let run = story.find("run-started", "clips");
    let today = story.field(run, "today");
    story.replace(run, &format!("\"today\":\"{today}\""), &format!("\"today\":\"{due}\""));
    story.assert_lie(at, &format!("the log says destroyed in a run of {due}; derived: to be kept until the end of {due}"));
}

#[test]
fn a_rule_that_was_not_in_the_schedule_or_not_in_force_is_told() {
    let story = Story::new;
    let cases: [(&str, &str, &str, &str, &str); 10] = [
        ("destroyed", "", "\"class\":\"clip\"", "\"class\":\"letter\"", "derived: the period of the class letter starts with written"),
        ("destroyed", "", "\"class\":\"clip\"", "\"class\":\"other\"", "derived: the schedule test has no such class"),
        ("destroyed", "", "\"event\":\"recorded\"", "\"event\":\"written\"", "derived: the period of the class clip starts with recorded"),
        ("destroyed", "", "\"schedule\":\"", "\"schedule\":\"0", "derived: no schedule before this entry has this sha256"),
        ("destroyed", "", "\"holds_checked\":true", "\"holds_checked\":false", "derived: one whose holds were checked"),
        ("destroyed", "", "\"due\":", "\"do\":", "derived: one with `class`, `schedule`, `event`, `event_date` and `due`"),
        ("run-started", "clips", "\"class\":\"clip\"", "\"class\":\"other\"", "has no such class"),
        ("run-started", "clips", "\"schedule\":\"", "\"schedule\":\"0", "derived: no schedule in force has this sha256"),
        ("run-finished", "clips", "\"mode\":\"enforce\"", "\"mode\":\"report\"", "derived: it began in enforce mode"),
        ("run-started", "clips", "\"mark\":", "\"plan\":\"0123\",\"mark\":", "derived: no plan of this id was refused before"),
    ];
    for (kind, having, from, to, words) in cases {
        let mut story = story();
        let at = story.find(kind, having);
        story.replace(at, from, to);
        story.assert_lie(at, words);
    }
}

#[test]
fn what_a_run_could_not_have_done_is_told() {
    let mut report = Story::new();
    let (run, intent) = (report.find("run-started", "clips"), report.find("intent", ""));
    report.replace(run, "\"mode\":\"enforce\"", "\"mode\":\"report\"");
    report.assert_lie(intent, "the log says an intent; derived: none in a run in report mode");

    let mut ahead = Story::new();
    let today = ahead.field(run, "today");
    ahead.replace(run, &format!("\"today\":\"{today}\""), "\"today\":\"2199-01-01\"");
    ahead.assert_lie(run, "the log says today is 2199-01-01; derived: it was ");

    let mut elsewhere = Story::new();
    elsewhere.replace(run, "\"dataset\":\"clips\"", "\"dataset\":\"letters\"");
    elsewhere.assert_lie(intent, "derived: it is one over media/letters");
}

#[test]
fn a_schedule_that_was_changed_afterwards_is_told() {
    // The text alone: its hash no longer fits, and nothing can be derived from it.
    let mut story = Story::new();
    let at = story.find("schedule", "");
    story.replace(at, "keep: 23 days", "keep: 22 days");
    story.assert_lie(at, "derived: its text has ");

    // Text and hash together, everywhere: then the due dates do not fit.
    let mut story = Story::new();
    story.rewrite_schedule("keep: 23 days", "keep: 22 days");
    let first = story.find("destroyed", "");
    story.assert_lie(first, "22 days after recorded from ");
    assert!(text(&story.ask("replay").stderr).contains("700 decisions do not follow"));

    // A class that people were to review.
    let mut story = Story::new();
    story.rewrite_schedule("after: recorded, then: destroy", "after: recorded, then: review");
    story.assert_lie(first, "the log says destroy; derived: the classes of the run allow no more than review");

    // The zone, in which the day ended later than it was said to.
    let mut story = Story::new();
    story.rewrite_schedule("time-zone: UTC", "time-zone: Pacific/Kiritimati");
    assert_eq!(story.ask("replay").status.code(), Some(0), "the record was due for weeks in every zone");
}

#[test]
fn nothing_goes_that_was_held_even_on_the_last_day_of_its_zone() {
    let hold = |scope: &str, until: &str| format!("\"hold\":\"h1\",\"hold_kind\":\"litigation\",\"scope\":{scope},\"until\":{until}");
    let mut story = Story::new();
    let run = story.find("run-started", "clips");
    let record = story.field(story.find("destroyed", ""), "record");
    story.insert(run, "hold-placed", &hold(&format!("{{\"record\":\"{record}\"}}"), "null"));
    let at = story.find("destroyed", &record);
    let verified = story.ask("verify");
    assert_eq!(verified.status.code(), Some(4));
    let words = format!("entry {at}: destroyed, but the hold of entry {run} was in force before its intent");
    assert!(text(&verified.stderr).contains(&words), "{verified:?}");
    story.insert(run + 1, "hold-released", "\"hold\":\"h1\"");
    assert_eq!(story.ask("verify").status.code(), Some(0));
    assert_eq!(story.ask("replay").status.code(), Some(0));

    // At noon the last day of the zone is certainly not over, which a verifier that knows no zone cannot say.
    let mut story = Story::new();
    story.at_noon();
    let today = story.field(run, "today");
    story.insert(run, "hold-placed", &hold("{\"class\":\"clip\"}", &format!("\"{today}\"")));
    let at = story.find("destroyed", "");
    story.assert_lie(at, "the log says a disposal; derived: the hold h1 was in force before its intent");
    let yesterday = today.parse::<jiff::civil::Date>().unwrap().yesterday().unwrap();
    story.replace(run, &format!("\"until\":\"{today}\""), &format!("\"until\":\"{yesterday}\""));
    assert_eq!(story.ask("replay").status.code(), Some(0));
}

#[test]
fn an_outcome_that_names_no_rule_is_counted_and_a_damaged_log_is_not_replayed() {
    let mut story = Story::new();
    let (at, end) = (story.find("destroyed", ""), story.find("run-finished", "clips"));
    let from = story.entries[at].find(",\"class\"").unwrap();
    let record = story.field(at, "record");
    story.entries[at].replace_range(from.., &format!(",\"record\":\"{record}\",\"found\":\"gone\"}}"));
    story.replace(at, "\"kind\":\"destroyed\"", "\"kind\":\"recovered\"");
    story.replace(end, "\"destroyed\":700", "\"destroyed\":699");
    let replayed = story.ask("replay");
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    assert!(text(&replayed.stdout).contains("1 outcome after a crash in which the plan was lost"), "{replayed:?}");

    let mut story = Story::new();
    story.replace(end, "\"destroyed\":700", "\"destroyed\":699");
    let replayed = story.ask("replay");
    assert_eq!((replayed.status.code(), replayed.stdout), (Some(4), Vec::new()));
}

#[test]
fn a_schedule_that_this_version_cannot_read_is_a_finding() {
    let mut story = Story::new();
    let at = story.find("schedule", "");
    let before = story.field(at, "sha256");
    story.replace(at, "keep: 23 days", "keep-for: 23 d");
    let text_of = story.field(at, "text");
    let after: String =
        <sha2::Sha256 as sha2::Digest>::digest(text_of.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    story.replace_everywhere(&before, &after);
    let replayed = story.ask("replay");
    assert_eq!(replayed.status.code(), Some(1), "{replayed:?}");
    assert!(text(&replayed.stdout).contains("703 decisions not derived: this version does not read the schedule"), "{replayed:?}");
}

#[test]
fn a_persons_word_that_comes_too_early_from_nobody_or_against_a_hold_is_told() {
    let mut story = Story::new();
    let (at, end) = (story.find("destroyed", ""), story.find("run-finished", "clips"));
    let due = story.field(at, "due");
    story.replace(at, "\"kind\":\"destroyed\"", "\"kind\":\"attested\"");
    story.replace(end, "\"destroyed\":700", "\"attested\":1,\"destroyed\":699");
    story.assert_lie(at, "derived: one with `on`, `person` and `certificate`");
    story.replace(at, ",\"class\":", &format!(",\"person\":\"ann\",\"on\":\"{due}\",\"certificate\":\"C-1\",\"class\":"));
    story.assert_lie(at, &format!("the log says destroyed on {due}; derived: to be kept until the end of {due}"));
    let after = due.parse::<jiff::civil::Date>().unwrap().tomorrow().unwrap();
    story.replace(at, &format!("\"on\":\"{due}\""), &format!("\"on\":\"{after}\""));
    assert_eq!((story.ask("verify").status.code(), story.ask("replay").status.code()), (Some(0), Some(0)));

    // Who destroyed it too early says so truly in an entry of another kind.
    let rule = ["schedule", "event", "event_date", "due"].map(|name| format!("\"{name}\":\"{}\"", story.field(at, name))).join(",");
    let lost = |on: &str| format!("\"store\":\"media\",\"dataset\":\"clips\",\"class\":\"clip\",{rule},\"on\":\"{on}\",\"person\":\"ann\"");
    let behind = end + 1;
    story.insert(behind, "lost", &lost(&due));
    assert_eq!((story.ask("verify").status.code(), story.ask("replay").status.code()), (Some(0), Some(0)));
    story.replace(behind, &format!("\"on\":\"{due}\""), &format!("\"on\":\"{after}\""));
    story.assert_lie(behind, &format!("the log says lost on {after}; derived: due on {due}, so it went in time"));

    let run = story.find("run-started", "clips");
    story.insert(run, "hold-placed", "\"hold\":\"h1\",\"hold_kind\":\"litigation\",\"scope\":{\"class\":\"clip\"},\"until\":null");
    let verified = story.ask("verify");
    assert!(text(&verified.stderr).contains(&format!("entry {}: attested, but the hold of entry {run}", at + 1)), "{verified:?}");
}

#[test]
fn what_records_count_for_belongs_to_the_intent_before_it() {
    let count = |of: &str, run: &str| {
        format!(
            "\"run\":\"{run}\",\"store\":\"media\",\"dataset\":\"clips\",\"by\":[],\"smallest\":10,\"cells\":[[\"2026-10\"]],\"of\":{of}"
        )
    };
    let at = |story: &Story| story.find("intent", "") + 1;
    let run = |story: &Story| story.field(story.find("intent", ""), "run");
    let mut story = Story::new();
    let (behind, id) = (at(&story), run(&story));
    story.insert(behind, "statistics", &count("[0,null,0]", &id));
    story.insert(behind + 1, "statistics", &count("[0]", &id));
    assert_eq!((story.ask("verify").status.code(), story.ask("replay").status.code()), (Some(0), Some(0)));
    for of in ["[0,1]", "[\"0\"]", "[-1]"] {
        let mut story = Story::new();
        story.insert(behind, "statistics", &count(of, &id));
        story.assert_lie(behind, "derived: one of its 1 cells each");
    }
    let words = "derived: an intent with as many records just before it, in the same run";
    for (place, of, run) in [(behind, "[]", &*id), (behind, "[0]", "another"), (behind + 1, "[0]", &*id)] {
        let mut story = Story::new();
        story.insert(place, "statistics", &count(of, run));
        story.assert_lie(place, words);
    }
    let mut story = Story::new();
    story.insert(behind, "statistics", &count(&format!("[{}0]", "0,".repeat(1024)), &id));
    story.assert_lie(behind, words);
}
