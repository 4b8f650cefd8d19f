//! Requests for erasure: a person asks to be forgotten, and each record about them gets an answer with its lawful reason.
//!
//! The law gives the right and its limits together (GDPR Art. 17 and 17(3); Art. 18 for what is restricted instead), so the answer is the schedule's:
//! each class says what `on-erasure` is ([`crate::schedule::erasure`]). Nothing here looks at a store or a clock; what a scan found and how it was
//! judged comes in, and out comes a [`Decided`] for each record:
//!
//! | where the record stands | what is answered |
//! |---|---|
//! | a hold protects it | refuse: the hold, whatever it is for |
//! | people refused its review, or extended its keeping | refuse, until the day that they said |
//! | something cannot be told, or its dataset was not seen completely | refuse: doubt keeps |
//! | due | what a run would do; what waits for people goes if the class says destroy, and waits otherwise |
//! | not due, every class says destroy, now and before an edit that is not old enough | destroy |
//! | not due, its period has not begun, now or before an edit that is not old enough | refuse: what it is about still goes on |
//! | not due, and the dates of other records are looked up in its dataset | refuse: without it they could never be dated again |
//! | not due otherwise | what the most careful class says: refuse, or restrict, which is a hold on the record |
//! | only people can destroy it | wait, when it is due; else refuse |
//!
//! The [`Case`]s of one request have an id over exactly what was shown ([`case::id_of`]). A person carries out that id and nothing else: everything is
//! scanned and decided once more, and any difference refuses. The decisions are entries of the log before anything happens
//! ([`crate::audit::erasures`]); from those entries, and from nothing else, the one door makes leave to destroy a record before it is due
//! ([`crate::dispose::Erasure`]), and there each record is judged once more.
//!
//! **Never**: it destroys nothing itself, decides nothing about a dataset without `subject:`, and shortens no period: a record that stays is due when
//! it was.

pub mod case;

use jiff::civil::Date;

use crate::assess::{Says, why_kept};
use crate::judge::{Reason, Standing, Verdict};
use crate::schedule::{Answer, Disposition};
use crate::store::Kept;

pub use case::{Case, Words};

/// What happens to a record because a person asked to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// It is destroyed.
    Destroy,
    /// It is due, and its class has it anonymised.
    Anonymise,
    /// It is due, and waits for people.
    Wait,
    /// It stays.
    Refuse,
    /// It stays, and a hold of kind `restriction` is placed on it.
    Restrict,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ground {
    /// Its period is over, and it goes as it would in a run.
    Due,
    /// Its classes say so.
    Class,
    /// A hold protects it.
    Hold,
    /// Something cannot be told.
    Doubt,
    /// Its dataset could not be seen completely.
    Incomplete,
    /// The event that starts its period has not happened.
    NotBegun,
    /// People decide about it first.
    Review,
    /// Only people can destroy it.
    ByHand,
    /// It is due, and its class has it flagged only.
    Flag,
    /// It came before people, who keep it for a while.
    Kept,
    /// The dates of other records are looked up in its dataset.
    LookedUp,
}

/// A decision with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What happens.
    pub decision: Decision,
    /// Why, as a word.
    pub ground: Ground,
    /// Why, in a sentence that names no value of the record.
    pub why: String,
    /// The hold that protects it, as id and kind.
    pub hold: Option<(String, String)>,
}

impl Decision {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 5] = [Self::Destroy, Self::Anonymise, Self::Wait, Self::Refuse, Self::Restrict];

    /// The word of the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Anonymise => "anonymise",
            Self::Wait => "wait",
            Self::Refuse => "refuse",
            Self::Restrict => "restrict",
        }
    }

    /// What is done to the record at once, if something is.
    pub fn act(self) -> Option<Disposition> {
        match self {
            Self::Destroy => Some(Disposition::Destroy),
            Self::Anonymise => Some(Disposition::Anonymise),
            Self::Wait | Self::Refuse | Self::Restrict => None,
        }
    }
}

impl Ground {
    /// The word of the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Class => "class",
            Self::Hold => "hold",
            Self::Doubt => "doubt",
            Self::Incomplete => "incomplete",
            Self::NotBegun => "not-begun",
            Self::Review => "review",
            Self::ByHand => "by-hand",
            Self::Flag => "flag",
            Self::Kept => "kept",
            Self::LookedUp => "looked-up",
        }
    }
}

/// What is known of a record besides its verdict.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// Its dataset could not be seen completely.
    pub incomplete: bool,
    /// Only people can destroy it.
    pub by_hand: bool,
    /// It came before people, who keep it through this day.
    pub kept: Option<Date>,
    /// The dataset whose dates are looked up in that of the record.
    pub needed_by: Option<&'a str>,
}

/// Decides about one record, by its verdict and by what its classes say.
pub fn decide(verdict: &Verdict, says: &[Says], seen: Seen<'_>) -> Decided {
    let decided = |decision, ground, why: String| Decided { decision, ground, why, hold: None };
    let refuse = |ground, why: String| decided(Decision::Refuse, ground, why);
    // Both come from the same classes; were they ever to differ, the more careful one counts.
    let answer = says.iter().map(Says::answer).max().unwrap_or_default().max(verdict.on_erasure);
    let due = verdict.deciding.as_ref().map(|facts| facts.due);
    match verdict.standing {
        Standing::Held => {
            let hold = verdict.reasons.iter().find_map(hold_of);
            let why = hold.as_ref().map_or_else(|| "a hold protects it".to_owned(), |(id, kind)| format!("held by {id} ({kind})"));
            return Decided { hold, ..refuse(Ground::Hold, why) };
        }
        Standing::Undetermined => return refuse(Ground::Doubt, reasons(verdict)),
        _ if seen.incomplete => return refuse(Ground::Incomplete, "its dataset could not be seen completely".into()),
        _ => {}
    }
    if let Some(until) = seen.kept {
        return refuse(Ground::Kept, format!("people keep it through {until}, whose review it was; see `review list`"));
    }
    let is_due = verdict.standing == Standing::Due;
    if seen.by_hand && is_due && matches!(verdict.then, Some(Disposition::Destroy)) {
        return decided(Decision::Wait, Ground::ByHand, "its period is over, and only a person can destroy it: see `attest list`".into());
    }
    if seen.by_hand && answer == Answer::Destroy && !is_due {
        let until = due.map_or(String::new(), |due| format!(", which it is not before the end of {due}"));
        return refuse(Ground::ByHand, format!("only a person can destroy it, and confirm it once it is due{until}"));
    }
    match (is_due, verdict.then, answer) {
        (true, Some(Disposition::Destroy), _) => {
            decided(Decision::Destroy, Ground::Due, format!("its period is over: {}", reasons(verdict)))
        }
        (true, _, Answer::Destroy) if !seen.by_hand => decided(Decision::Destroy, Ground::Class, by_class(says, answer, verdict)),
        (true, Some(Disposition::Anonymise), _) => {
            decided(Decision::Anonymise, Ground::Due, format!("its period is over, and its class says anonymise: {}", reasons(verdict)))
        }
        (true, Some(Disposition::Review), _) => {
            decided(Decision::Wait, Ground::Review, "its period is over, and people decide about it: see `review list`".into())
        }
        (true, ..) => refuse(Ground::Flag, "its period is over, and its class does not say that it is destroyed".into()),
        (false, _, Answer::Destroy) if let Some(other) = seen.needed_by => refuse(
            Ground::LookedUp,
            format!("dates of {other} are looked up in its dataset, and would be lost with it; it goes when it is due"),
        ),
        (false, _, Answer::Destroy) if may_go(verdict) => decided(Decision::Destroy, Ground::Class, by_class(says, answer, verdict)),
        (false, _, Answer::Destroy) => {
            let now = || (Ground::NotBegun, format!("its period has not begun, so what it is about goes on: {}", reasons(verdict)));
            let (ground, why) = not_begun_before(verdict).unwrap_or_else(now);
            refuse(ground, why)
        }
        (false, _, Answer::Refuse) => refuse(Ground::Class, by_class(says, answer, verdict)),
        (false, _, Answer::Restrict) => decided(Decision::Restrict, Ground::Class, by_class(says, answer, verdict)),
    }
}

/// Whether a record that nothing protects has facts by which it can be destroyed early: a period that runs, and has an end, and ran before an edit as well.
fn may_go(verdict: &Verdict) -> bool {
    let runs = matches!(verdict.standing, Standing::Due | Standing::Waiting | Standing::NotYetDue) && verdict.deciding.is_some();
    runs && verdict.not_begun_before.is_none()
}

/// What kept a record before an edit that is not old enough, although its classes said destroy: an edit by which a period begins with another event lets
/// nothing go at once, as one by which it is shorter does not.
fn not_begun_before(verdict: &Verdict) -> Option<(Ground, String)> {
    let (until, standing, reason) = &**verdict.not_begun_before.as_ref()?;
    let ground = if *standing == Standing::Undetermined { Ground::Doubt } else { Ground::NotBegun };
    Some((ground, format!("before an edit that counts from {until:.0} on, {}", reason.without_values())))
}

/// Why a record whose destruction was decided before it is due must be kept, by a verdict of this moment; nothing when it may go. Asked by the one door,
/// which has leave for just this record.
pub fn why_not_erased(verdict: &Verdict) -> Option<Kept> {
    if matches!(verdict.standing, Standing::Held | Standing::Undetermined) || !may_go(verdict) {
        let before = not_begun_before(verdict).map(|(_, why)| why);
        return why_kept(verdict).or_else(|| Some(Kept::NotDue(before.unwrap_or_else(|| reasons(verdict)))));
    }
    (verdict.on_erasure != Answer::Destroy)
        .then(|| Kept::NotApproved("its classes do not say that it is destroyed when a person asks for erasure".into()))
}

/// What the classes that decided say, and until when the record is kept otherwise.
fn by_class(says: &[Says], answer: Answer, verdict: &Verdict) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for one in says.iter().filter(|one| one.answer() == answer) {
        let reason = match (&one.rule, one.until) {
            (Some(rule), None) => format!("{}: {}", rule.class.id, said(&rule.class)),
            (Some(rule), Some(until)) => {
                format!("{}, as it was before an edit that counts from {until:.0} on: {}", rule.class.id, said(&rule.class))
            }
            (None, Some(until)) => format!("what applied before an edit that counts from {until:.0} on cannot be told"),
            (None, None) => format!("other datasets that {} overlaps with could not be asked", one.dataset),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    let mut text = reasons.join("; ");
    if let Some(facts) = &verdict.deciding
        && verdict.standing != Standing::Due
    {
        text += &format!("; its period ends with {}", facts.due);
    }
    text
}

/// What a class says, with its reason: what lets a record go needs none.
fn said(class: &crate::schedule::RecordClass) -> String {
    let written = class.on_erasure.reason.is_some();
    if class.answer() == Answer::Destroy && !written { "its class says `on-erasure: destroy`".to_owned() } else { class.reason() }
}

fn reasons(verdict: &Verdict) -> String {
    verdict.reasons.iter().map(Reason::without_values).collect::<Vec<_>>().join("; ")
}

fn hold_of(reason: &Reason) -> Option<(String, String)> {
    match reason {
        Reason::Held { hold, kind } => Some((hold.clone(), kind.clone())),
        Reason::Elsewhere { reason, .. } => hold_of(reason),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::judge::{RuleToday, judge};
    use crate::record::{Doubt, Moment, Reading};
    use crate::schedule::{Rule, Schedules};

    const TODAY: Date = date(2026, 11, 22);

    fn rules(classes: &[&str]) -> Vec<Rule> {
        let classes: Vec<String> = classes.iter().enumerate().map(|(at, class)| format!("  c{at}: {{ {class} }}")).collect();
        let schedules = Schedules::parse("s", &format!("schedule: s\ntime-zone: UTC\nclasses:\n{}\n", classes.join("\n"))).unwrap();
        (0..classes.len()).map(|at| schedules.rule(&format!("c{at}")).unwrap()).collect()
    }

    fn on(day: Date) -> Reading {
        Reading::At(Moment::Date(day))
    }

    /// The verdict on a record with these classes, and what they say.
    fn judged(classes: &[&str], made: &Reading, held: Option<(&str, &str)>) -> (Verdict, Vec<Says>) {
        let rules = rules(classes);
        let today: Vec<RuleToday> = rules.iter().map(|rule| RuleToday { rule: rule.clone(), today: TODAY }).collect();
        let verdict = judge(&today, |_| Some(made), held);
        (verdict, rules.into_iter().map(|rule| Says { rule: Some(rule), dataset: "a/b".into(), until: None }).collect())
    }

    fn answer(classes: &[&str], made: &Reading, held: Option<(&str, &str)>, seen: Seen<'_>) -> String {
        let (verdict, says) = judged(classes, made, held);
        let Decided { decision, ground, why, .. } = decide(&verdict, &says, seen);
        let goes = decision == Decision::Destroy && ground == Ground::Class;
        assert!(!goes || why_not_erased(&verdict).is_none(), "what is decided may pass the door: {classes:?}");
        let elsewhere = seen.incomplete || seen.by_hand || seen.kept.is_some() || seen.needed_by.is_some();
        assert!(goes || decision.act().is_some() || why_not_erased(&verdict).is_some() || elsewhere, "{classes:?}");
        format!("{} ({}): {why}", decision.as_str(), ground.as_str())
    }

    const DESTROY: &str = "keep: 1 year, after: made, then: destroy, on-erasure: destroy";
    const REFUSE: &str = "keep: 6 years, after: made, then: destroy, authority: Limitation Act";
    const RESTRICT: &str = "keep: 2 years, after: made, then: destroy, on-erasure: { restrict: a complaint }";
    const REVIEW: &str = "keep: 1 year, after: made, then: review";

    #[test]
    fn every_record_gets_one_answer_and_its_lawful_reason() {
        let (young, old) = (on(date(2026, 6, 1)), on(date(2010, 6, 1)));
        let all = |classes: &[&str], made: &Reading| answer(classes, made, None, Seen::default());
        assert_eq!(all(&[DESTROY], &young), "destroy (class): c0: its class says `on-erasure: destroy`; its period ends with 2027-06-01");
        assert_eq!(all(&[REFUSE], &young), "refuse (class): c0: Limitation Act; its period ends with 2032-06-01");
        assert_eq!(all(&[RESTRICT], &young), "restrict (class): c0: a complaint; its period ends with 2028-06-01");
        assert_eq!(all(&["keep: permanently"], &young), "refuse (class): c0: the schedule keeps c0 permanently");
        assert!(all(&[REFUSE], &old).starts_with("destroy (due): its period is over: c0: made was on 2010-06-01"));
        assert!(all(&[REVIEW], &old).starts_with("wait (review)"));
        assert!(all(&["keep: 1 year, after: made, then: review, on-erasure: destroy"], &old).starts_with("destroy (class)"));
        assert!(all(&["keep: 1 year, after: made, then: anonymise"], &old).starts_with("anonymise (due)"));
        assert!(all(&["keep: 1 year, after: made, then: flag"], &old).starts_with("refuse (flag)"));
        assert!(all(&[DESTROY], &Reading::NotYet).starts_with("refuse (not-begun)"));
        assert!(all(&[DESTROY], &Reading::Doubt(Doubt::Missing("x".into()))).starts_with("refuse (doubt)"));
        let held = |kind| answer(&[DESTROY], &young, Some(("h-1", kind)), Seen::default());
        assert_eq!(held("access-request"), "refuse (hold): held by h-1 (access-request)");
        assert_eq!(held("restriction"), "refuse (hold): held by h-1 (restriction)");
    }

    #[test]
    fn of_several_classes_the_most_careful_one_decides() {
        let young = on(date(2026, 6, 1));
        let all = |classes: &[&str]| answer(classes, &young, None, Seen::default());
        assert_eq!(all(&[DESTROY, REFUSE]), "refuse (class): c1: Limitation Act; its period ends with 2032-06-01");
        assert_eq!(all(&[REFUSE, RESTRICT, DESTROY]), "restrict (class): c1: a complaint; its period ends with 2032-06-01");
        assert!(all(&[DESTROY, "keep: permanently"]).starts_with("refuse (class): c1"));
        assert!(all(&[DESTROY, DESTROY]).starts_with("destroy (class)"));
    }

    #[test]
    fn what_is_not_seen_whole_or_only_people_can_destroy_stays() {
        let (young, old) = (on(date(2026, 6, 1)), on(date(2010, 6, 1)));
        let incomplete = Seen { incomplete: true, ..Seen::default() };
        assert!(answer(&[DESTROY], &young, None, incomplete).starts_with("refuse (incomplete)"));
        assert!(answer(&[DESTROY], &old, None, incomplete).starts_with("refuse (incomplete)"));
        let by_hand = Seen { by_hand: true, ..Seen::default() };
        assert!(answer(&[DESTROY], &old, None, by_hand).starts_with("wait (by-hand)"));
        assert!(answer(&[DESTROY], &young, None, by_hand).starts_with("refuse (by-hand)"));
        assert!(answer(&[RESTRICT], &young, None, by_hand).starts_with("restrict (class)"));
        assert!(
            answer(&["keep: 1 year, after: made, then: review, on-erasure: destroy"], &old, None, by_hand).starts_with("wait (review)")
        );
    }

    #[test]
    fn what_dates_other_records_goes_when_it_is_due_and_not_before() {
        let needed = Seen { needed_by: Some("documents/scans"), ..Seen::default() };
        let said = answer(&[DESTROY], &on(date(2026, 6, 1)), None, needed);
        assert_eq!(
            said,
            "refuse (looked-up): dates of documents/scans are looked up in its dataset, and would be lost with it; it goes when it is due"
        );
        assert!(answer(&[DESTROY], &on(date(2010, 6, 1)), None, needed).starts_with("destroy (due)"));
        assert!(answer(&[RESTRICT], &on(date(2026, 6, 1)), None, needed).starts_with("restrict (class)"));
    }

    #[test]
    fn what_people_keep_stays() {
        let kept = Seen { kept: Some(date(2027, 6, 30)), ..Seen::default() };
        for classes in [[DESTROY], [REVIEW], [REFUSE]] {
            let said = answer(&classes, &on(date(2010, 6, 1)), None, kept);
            assert!(said.starts_with("refuse (kept): people keep it through 2027-06-30"), "{said}");
        }
    }

    #[test]
    fn what_was_more_careful_before_an_edit_still_counts() {
        let until = "2026-11-25T00:00:00Z".parse().unwrap();
        for before in [Some(REFUSE), None] {
            let (verdict, mut says) = judged(&[DESTROY], &on(date(2026, 6, 1)), None);
            let rules = before.map(|before| rules(&[before]));
            let today: Option<Vec<RuleToday>> =
                rules.as_ref().map(|rules| rules.iter().map(|rule| RuleToday { rule: rule.clone(), today: TODAY }).collect());
            let made = on(date(2026, 6, 1));
            let verdict = verdict.and_before(until, today.as_deref(), |_| Some(&made));
            assert!(why_not_erased(&verdict).is_some(), "{before:?}");
            let rule = rules.and_then(|rules| rules.into_iter().next());
            says.push(Says { rule, dataset: "a/b".into(), until: Some(until) });
            let decided = decide(&verdict, &says, Seen::default());
            assert_eq!((decided.decision, decided.ground), (Decision::Refuse, Ground::Class), "{before:?}");
            assert!(decided.why.contains("before an edit that counts from 2026-11-25T00:00:00Z on"), "{}", decided.why);
        }
    }
}
