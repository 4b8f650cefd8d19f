//! What a class says to a person who asks to be forgotten before the period is over.
//!
//! ```yaml
//! on-erasure: destroy                    # it goes when the person asks, whatever is left of the period
//! on-erasure: refuse                     # it stays until it is due; why, `authority` or `source` says
//! on-erasure: { refuse: "Limitation Act 1980, s.5: claims may be made for six years" }
//! on-erasure: { restrict: "evidence of a complaint" }    # it stays, under a hold of kind `restriction`
//! ```
//!
//! A class that says nothing refuses: what went too early never comes back. Where several classes apply to a record, the most careful answer counts,
//! in the order destroy, refuse, restrict: what is restricted stays in every case in which what is refused does.

use std::fmt;

use super::class::{Keep, RecordClass};

/// The answer of a class, in the order of care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The record is destroyed.
    Destroy,
    /// It stays until it is due.
    #[default]
    Refuse,
    /// It stays, and a hold forbids to destroy it even then, until a person releases it.
    Restrict,
}

/// `on-erasure` of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnErasure {
    /// What is answered.
    pub answer: Answer,
    /// The lawful reason, where it is written with the answer.
    pub reason: Option<String>,
}

impl Answer {
    /// All answers, for messages and parsing.
    pub const ALL: [Self; 3] = [Self::Destroy, Self::Refuse, Self::Restrict];

    /// The word of the schedule file and of the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Refuse => "refuse",
            Self::Restrict => "restrict",
        }
    }

    /// The answer with this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|answer| answer.as_str() == word)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl RecordClass {
    /// What the class answers. One that keeps for ever never says destroy, whatever a file came to say.
    pub fn answer(&self) -> Answer {
        match self.keep {
            Keep::Permanently => self.on_erasure.answer.max(Answer::Refuse),
            Keep::For { .. } => self.on_erasure.answer,
        }
    }

    /// The lawful reason of the answer: what is written with it, else the authority, else the source, else the period itself.
    pub fn reason(&self) -> String {
        let written = self.on_erasure.reason.as_ref().or(self.authority.as_ref()).or(self.source.as_ref());
        written.cloned().unwrap_or_else(|| match &self.keep {
            Keep::Permanently => format!("the schedule keeps {} permanently", self.id),
            Keep::For { .. } => format!("the schedule keeps {} for {}", self.id, self.keep),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::schedule::{Answer, Schedules};

    fn class(rest: &str) -> (Answer, String) {
        let text = format!("schedule: s\ntime-zone: UTC\nclasses:\n  a.b: {{ {rest} }}\n");
        let schedules = Schedules::parse("s", &text).unwrap_or_else(|error| panic!("{error}"));
        let class = schedules.rule("a.b").unwrap().class;
        (class.answer(), class.reason())
    }

    #[test]
    fn a_class_that_says_nothing_refuses_and_its_reason_is_what_the_schedule_has() {
        let period = "keep: 6 years, after: end, then: destroy";
        let refuse = |reason: &str| (Answer::Refuse, reason.to_owned());
        assert_eq!(class(period), refuse("the schedule keeps a.b for 6 years after end"));
        assert_eq!(class("keep: permanently"), refuse("the schedule keeps a.b permanently"));
        assert_eq!(class(&format!("{period}, source: notice")), refuse("notice"));
        assert_eq!(class(&format!("{period}, source: notice, authority: act")), refuse("act"));
        assert_eq!(class(&format!("{period}, authority: act, on-erasure: {{ refuse: \"s.5\" }}")), refuse("s.5"));
    }

    #[test]
    fn an_answer_is_a_word_or_a_word_with_its_reason() {
        let period = "keep: 6 years, after: end, then: review";
        assert_eq!(class(&format!("{period}, on-erasure: destroy")).0, Answer::Destroy);
        assert_eq!(class(&format!("{period}, on-erasure: restrict")).0, Answer::Restrict);
        assert_eq!(class(&format!("{period}, on-erasure: {{ destroy: consent }}")), (Answer::Destroy, "consent".into()));
        assert_eq!(class("keep: permanently, on-erasure: { restrict: minutes }"), (Answer::Restrict, "minutes".into()));
        assert!(Answer::Destroy < Answer::Refuse && Answer::Refuse < Answer::Restrict);
    }
}
