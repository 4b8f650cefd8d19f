//! Findings about schedules that need no store and no configuration.

use jiff::civil::Date;

use super::{Counting, Keep, Schedules, Trigger};
use crate::finding::Finding;

/// What a person should know about the schedules themselves on the day `today` (of each schedule's own zone).
pub fn check(schedules: &Schedules, today: impl Fn(&jiff::tz::TimeZone) -> Date) -> Vec<Finding> {
    let mut findings = Vec::new();
    for schedule in &schedules.all {
        let today = today(&schedule.zone);
        if let Some(day) = schedule.review_by.filter(|day| *day < today) {
            findings.push(Finding::warning(
                &schedule.file,
                format!("the schedule was to be reviewed by {day}, which is past; review it and set a new `review-by`"),
            ));
        }
        if let (Some(approved), Some(review)) = (schedule.approved, schedule.review_by)
            && review <= approved
        {
            findings.push(Finding::warning(&schedule.file, format!("`review-by` {review} does not lie after `approved` {approved}")));
        }
        if let Some(day) = schedule.approved.filter(|day| *day > today) {
            findings.push(Finding::warning(&schedule.file, format!("`approved` {day} lies in the future, yet the schedule is in force")));
        }
        if !schedule.zone_name.contains('/') && schedule.zone_name != "UTC" {
            let text = format!(
                "`time-zone: {}` names a rule and no place, so its days may end at another hour than people expect (GMT knows no summer time); write a place such as Europe/London",
                schedule.zone_name
            );
            findings.push(Finding::warning(&schedule.file, text));
        }
        for class in schedule.classes.values() {
            if class.authority.is_none() && matches!(class.keep, Keep::For { .. }) {
                findings.push(Finding::note(
                    class.id.as_str(),
                    "names no `authority`: an auditor will ask on which law or need the period rests",
                ));
            }
            // "3 years from the end of the tax year" is `after` in this language; `from` would count the year's last day and end a day early.
            if matches!(class.keep, Keep::For { counting: Counting::From, trigger: Trigger::YearEnd { .. }, .. }) {
                findings.push(Finding::warning(
                    class.id.as_str(),
                    "`from` with `year-end` counts the last day of the year and so ends a day early; write `after` if the period follows the year",
                ));
            }
        }
    }
    findings
}
