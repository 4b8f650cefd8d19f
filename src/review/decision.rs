//! What people decided about a batch, and where that leaves it. Pure: used by runs, and by whoever replays the log.
//!
//! ```text
//! approved           batch, store, dataset, class, month, records, size, schedule (the SHA-256 in force), expires, name, person, by
//! review-refused     batch, store, dataset, class, month, records, size, schedule, until, reason, name, person, by
//! review-extended    the same as review-refused
//! review-withdrawn   the same without until
//! ```
//!
//! `person` is the account that the kernel (or sudo) says, `name` what the person said; two people are two only if both differ. Whoever can become
//! root can act as anybody: against that the log is the remedy, not this.
//!
//! A refusal or an extension ends what was approved before, and keeps the records through its day `until`; what is approved meanwhile does not count.
//! A withdrawal takes back whatever there was. An approval is over after its last day; two that are needed must hold on one day.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::schedule::Terms;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The records may go.
    Approve,
    /// They may not; it is asked again later.
    Refuse,
    /// They are kept longer; it is asked again later.
    Extend,
    /// What was decided before is taken back.
    Withdraw,
}

/// One decision about a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Index of its entry.
    pub entry: u64,
    /// What was decided.
    pub what: What,
    /// The day, in the zone of the class's schedule.
    pub on: Date,
    /// The account, such as `alice (uid 1000)`.
    pub person: String,
    /// The name that the person gave.
    pub name: String,
    /// For refusals and extensions, the last day of keeping.
    pub until: Option<Date>,
}

/// Where a batch stands on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for people.
    Waiting {
        /// Entries of the approvals that hold.
        given: Vec<u64>,
        /// How many more are needed.
        missing: u8,
        /// The last day on which those given hold.
        until: Option<Date>,
    },
    /// Enough people approved it; until this day it can be taken back before anything happens.
    CoolingOff {
        /// Entries of the approvals.
        given: Vec<u64>,
        /// The first day on which records may go.
        ready: Date,
    },
    /// The next run disposes of it.
    Approved {
        /// Entries of the approvals.
        given: Vec<u64>,
        /// The last day on which they hold.
        until: Date,
    },
    /// A person keeps it.
    Kept {
        /// Through this day.
        until: Date,
        /// Whether it was refused, as opposed to extended.
        refused: bool,
    },
}

impl What {
    /// The kind of its entry.
    pub fn kind(self) -> crate::audit::Kind {
        use crate::audit::Kind;
        match self {
            Self::Approve => Kind::Approved,
            Self::Refuse => Kind::ReviewRefused,
            Self::Extend => Kind::ReviewExtended,
            Self::Withdraw => Kind::ReviewWithdrawn,
        }
    }

    /// What an entry of this kind decides.
    pub fn of(kind: crate::audit::Kind) -> Option<Self> {
        [Self::Approve, Self::Refuse, Self::Extend, Self::Withdraw].into_iter().find(|what| what.kind() == kind)
    }
}

impl Standing {
    /// Where the decisions, in the order of the log, leave a batch on the day `today`, when all of these terms must be met. `editors` are the accounts
    /// of those who edited or confirmed the schedule.
    pub fn of(decisions: &[Decision], terms: &[Terms], editors: &[String], today: Date) -> Self {
        let default = [Terms::default()];
        let terms = if terms.is_empty() { &default } else { terms };
        let mut given: Vec<&Decision> = Vec::new();
        let mut kept: Option<(Date, bool)> = None;
        for one in decisions {
            match one.what {
                What::Approve => {
                    if kept.is_some_and(|(until, _)| one.on <= until) {
                        continue;
                    }
                    given.push(one);
                }
                What::Refuse | What::Extend => {
                    given.clear();
                    // Without a day it cannot be told, and nothing is ever asked too soon.
                    kept = Some((one.until.unwrap_or(Date::MAX), one.what == What::Refuse));
                }
                What::Withdraw => {
                    given.clear();
                    kept = None;
                }
            }
        }
        if let Some((until, refused)) = kept.filter(|(until, _)| today <= *until) {
            return Self::Kept { until, refused };
        }
        let last_day = |one: &Decision| terms.iter().map(|terms| terms.last_day(one.on)).min().flatten();
        let by_an_editor = |one: &Decision| editors.iter().any(|editor| same_person(editor, &one.person));
        given.retain(|one| one.on <= today && last_day(one).is_some_and(|last| today <= last));
        if terms.iter().any(|terms| terms.not_the_editor) {
            given.retain(|one| !by_an_editor(one));
        }
        let mut different: Vec<&Decision> = Vec::new();
        for one in given {
            if different.iter().all(|other| !same_person(&one.person, &other.person) && !same_name(&one.name, &other.name)) {
                different.push(one);
            }
        }
        let needed = terms.iter().map(|terms| terms.approvals.max(1)).max().unwrap_or(1);
        let missing = needed.saturating_sub(u8::try_from(different.len()).unwrap_or(u8::MAX));
        different.truncate(usize::from(needed));
        let given = different.iter().map(|one| one.entry).collect();
        let until = different.iter().filter_map(|one| last_day(one)).min();
        let ready = |one: &&Decision| terms.iter().map(|terms| terms.ready(one.on).unwrap_or(Date::MAX)).max();
        match (missing, different.last().and_then(ready), until) {
            (0, Some(ready), Some(until)) if ready <= today => Self::Approved { given, until },
            (0, Some(ready), Some(_)) => Self::CoolingOff { given, ready },
            _ => Self::Waiting { given, missing, until },
        }
    }

    /// Whether the batch stays as it is: a decision about it holds.
    pub fn is_decided(&self) -> bool {
        !matches!(self, Self::Waiting { given, .. } if given.is_empty())
    }

    /// The word for JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::CoolingOff { .. } => "cooling-off",
            Self::Approved { .. } => "approved",
            Self::Kept { refused: true, .. } => "refused",
            Self::Kept { refused: false, .. } => "extended",
        }
    }
}

/// Whether two accounts, as the log writes them, may be the same person's. An account is the same directly and through sudo; one whose name is not
/// known is told by its number.
pub fn same_person(one: &str, other: &str) -> bool {
    let parts = |account: &str| {
        let (name, uid) = account.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (uid ")).unwrap_or(("", account));
        (name.to_owned(), uid.trim_start_matches("uid ").to_owned())
    };
    let (mine, theirs) = (parts(one), parts(other));
    if one == other || (!mine.0.is_empty() && mine.0 == theirs.0) {
        return true;
    }
    // Root acts for others, so its number tells nobody apart.
    mine.1 == theirs.1 && mine.1 != "0"
}

/// Whether two names are the same but for case, spaces and marks.
pub fn same_name(one: &str, other: &str) -> bool {
    let folded = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    folded(one) == folded(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Period;
    use jiff::civil::date;

    fn day(number: i8) -> Date {
        date(2026, 11, number)
    }

    fn decision(entry: u64, what: What, on: i8, who: &str) -> Decision {
        let (person, name) = who.split_once('/').unwrap();
        Decision { entry, what, on: day(on), person: person.into(), name: name.into(), until: None }
    }

    fn approve(entry: u64, on: i8, who: &str) -> Decision {
        decision(entry, What::Approve, on, who)
    }

    fn terms(approvals: u8, cooling_off: &str, lasts: &str) -> Terms {
        let cooling_off = Period::parse(cooling_off).ok();
        Terms { approvals, not_the_editor: false, cooling_off, lasts: Period::parse(lasts).unwrap() }
    }

    fn shown(decisions: &[Decision], terms: &[Terms], editors: &[&str], today: i8) -> String {
        let editors: Vec<String> = editors.iter().map(|&editor| editor.to_owned()).collect();
        match Standing::of(decisions, terms, &editors, day(today)) {
            Standing::Waiting { given, missing, .. } => format!("waits for {missing} after {given:?}"),
            Standing::CoolingOff { given, ready } => format!("{given:?} from {ready}"),
            Standing::Approved { given, until } => format!("{given:?} until {until}"),
            Standing::Kept { until, refused } => format!("kept until {until}, {}", if refused { "refused" } else { "extended" }),
        }
    }

    #[test]
    fn one_approval_cools_off_holds_and_is_over() {
        let (one, all) = ([terms(1, "7 days", "20 days")], [approve(5, 1, "a (uid 1)/A")]);
        assert_eq!(shown(&[], &one, &[], 1), "waits for 1 after []");
        assert_eq!(shown(&all, &one, &[], 1), "[5] from 2026-11-09");
        assert_eq!(shown(&all, &one, &[], 8), "[5] from 2026-11-09");
        assert_eq!(shown(&all, &one, &[], 9), "[5] until 2026-11-21");
        assert_eq!(shown(&all, &one, &[], 21), "[5] until 2026-11-21");
        assert_eq!(shown(&all, &one, &[], 22), "waits for 1 after []");
        assert_eq!(shown(&[approve(5, 9, "a (uid 1)/A")], &one, &[], 8), "waits for 1 after []", "an approval of tomorrow is none");
        assert_eq!(shown(&all, &[terms(1, "none", "20 days")], &[], 1), "[5] until 2026-11-21");
    }

    #[test]
    fn two_people_are_two_accounts_and_two_names() {
        let two = [terms(2, "none", "20 days")];
        let after = |second: &str| shown(&[approve(1, 1, "alice (uid 1000)/Alice Ames"), approve(2, 2, second)], &two, &[], 3);
        assert_eq!(after("bob (uid 1001)/Bob Brown"), "[1, 2] until 2026-11-21");
        for same in [
            "alice (uid 1000)/Alice Ames",
            "alice (uid 1000)/Bob Brown",
            "alice (uid 0)/Bob Brown",
            "uid 1000/Bob Brown",
            "alicia (uid 1000)/Bob Brown",
            "bob (uid 1001)/ALICE  ames.",
        ] {
            assert_eq!(after(same), "waits for 1 after [1]", "{same}");
        }
        assert_eq!(after("bob (uid 0)/Bob Brown"), "[1, 2] until 2026-11-21", "each through sudo");
        let three = [approve(1, 1, "a (uid 1)/A"), approve(2, 2, "a (uid 1)/B"), approve(3, 3, "c (uid 3)/C")];
        assert_eq!(shown(&three, &two, &[], 3), "[1, 3] until 2026-11-21");
    }

    #[test]
    fn two_that_are_needed_must_hold_on_one_day_and_the_second_begins_the_cooling_off() {
        let two = [terms(2, "7 days", "10 days")];
        let both = [approve(1, 1, "a (uid 1)/A"), approve(2, 3, "b (uid 2)/B")];
        assert_eq!(shown(&both, &two, &[], 10), "[1, 2] from 2026-11-11");
        assert_eq!(shown(&both, &two, &[], 11), "[1, 2] until 2026-11-11");
        assert_eq!(shown(&both, &two, &[], 12), "waits for 1 after [2]", "the first is over");
    }

    #[test]
    fn an_editor_does_not_count_where_the_class_says_so() {
        let careful = [Terms { not_the_editor: true, ..terms(1, "none", "20 days") }];
        let all = [approve(1, 1, "alice (uid 1000)/A")];
        assert_eq!(shown(&all, &careful, &["alice (uid 1000)"], 1), "waits for 1 after []");
        assert_eq!(shown(&all, &careful, &["alice (uid 0)"], 1), "waits for 1 after []", "through sudo");
        assert_eq!(shown(&all, &careful, &["root (uid 0)"], 1), "[1] until 2026-11-21");
        assert_eq!(shown(&all, &[terms(1, "none", "20 days")], &["alice (uid 1000)"], 1), "[1] until 2026-11-21");
    }

    #[test]
    fn of_several_terms_each_must_be_met() {
        let all = [approve(1, 1, "a (uid 1)/A")];
        let lax = terms(1, "none", "20 days");
        assert_eq!(shown(&all, &[lax, terms(2, "none", "20 days")], &[], 1), "waits for 1 after [1]");
        assert_eq!(shown(&all, &[lax, terms(1, "7 days", "9 days")], &[], 1), "[1] from 2026-11-09");
        assert_eq!(shown(&all, &[lax, terms(1, "7 days", "9 days")], &[], 11), "waits for 1 after []");
        assert_eq!(shown(&all, &[], &[], 1), "[1] from 2026-11-09", "without any, the ordinary ones");
    }

    #[test]
    fn a_refusal_keeps_and_a_withdrawal_takes_back() {
        let one = [terms(1, "none", "20 days")];
        let kept = |what, until| Decision { until: Some(day(until)), ..decision(2, what, 2, "b (uid 2)/B") };
        let a = || approve(1, 1, "a (uid 1)/A");
        assert_eq!(shown(&[a(), kept(What::Refuse, 10)], &one, &[], 10), "kept until 2026-11-10, refused");
        assert_eq!(shown(&[a(), kept(What::Extend, 10)], &one, &[], 3), "kept until 2026-11-10, extended");
        assert_eq!(shown(&[a(), kept(What::Refuse, 10)], &one, &[], 11), "waits for 1 after []", "asked again, not approved again");
        let late = || approve(3, 5, "c (uid 3)/C");
        assert_eq!(shown(&[kept(What::Refuse, 10), late()], &one, &[], 11), "waits for 1 after []", "approved while it was refused");
        let back = || decision(4, What::Withdraw, 6, "b (uid 2)/B");
        assert_eq!(shown(&[a(), back()], &one, &[], 6), "waits for 1 after []");
        assert_eq!(shown(&[kept(What::Refuse, 10), back(), approve(5, 7, "c (uid 3)/C")], &one, &[], 7), "[5] until 2026-11-27");
        let forever = Decision { until: None, ..decision(2, What::Refuse, 2, "b (uid 2)/B") };
        assert!(shown(&[forever], &one, &[], 30).starts_with("kept"), "without a day it is never asked too soon");
    }
}
