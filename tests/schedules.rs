//! The schedules that are shipped: they load, and they say what the published statements say.

use std::path::{Path, PathBuf};

use jiff::civil::{Date, date};
use retentiond::schedule::{Counting, Disposition, Keep, Period, RecordClass, Schedules, Trigger, check};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schedules")
}

fn shipped() -> Schedules {
    Schedules::load(&folder()).expect("the shipped schedules load")
}

fn classes(schedules: &Schedules) -> Vec<RecordClass> {
    schedules.all.iter().flat_map(|schedule| schedule.classes.values().map(|class| class.as_ref().clone())).collect()
}

fn class(schedules: &Schedules, id: &str) -> RecordClass {
    schedules.rule(id).unwrap_or_else(|| panic!("no class {id}")).class.as_ref().clone()
}

fn period(text: &str) -> Period {
    Period::parse(text).expect("a period")
}

/// Asserts the whole rule of a class: period, counting, one event, disposition, ceiling.
#[track_caller]
fn assert_rule(id: &str, keep: &str, event: &str, then: Disposition, ceiling: Option<&str>) {
    let class = class(&shipped(), id);
    let Keep::For { period: found, counting, trigger: Trigger::Event(name), ceiling: longest } = &class.keep else {
        panic!("{id}: {:?}", class.keep)
    };
    assert_eq!((*found, *counting, name.as_str()), (period(keep), Counting::After, event), "{id}");
    assert_eq!((class.then, *longest), (Some(then), ceiling.map(period)), "{id}");
}

#[test]
fn every_yaml_file_in_the_folder_loads_on_its_own_and_all_load_together() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            Schedules::load(&path).unwrap_or_else(|error| panic!("{error}"));
            count += 1;
        }
    }
    assert!(count > 0);
    assert_eq!(shipped().all.len(), count);
}

#[test]
fn unsuccessful_applications_go_six_months_after_the_outcome_and_are_overdue_after_nine() {
    assert_rule("recruitment.unsuccessful", "6 months", "outcome", Disposition::Destroy, Some("9 months"));
    let keep = class(&shipped(), "recruitment.unsuccessful").keep;
    assert_eq!(keep.due(date(2026, 8, 31)), Some(date(2027, 2, 28)));
    assert_eq!(keep.overdue_after(date(2026, 8, 31)), Some(date(2027, 5, 31)));
}

#[test]
fn tenancy_files_are_reviewed_six_years_after_the_tenancy_ends() {
    assert_rule("tenancy.file", "6 years", "tenancy-end", Disposition::Review, None);
    assert_eq!(class(&shipped(), "tenancy.file").keep.due(date(2020, 2, 29)), Some(date(2026, 2, 28)));
}

#[test]
fn cctv_footage_goes_23_days_after_it_was_recorded_and_is_late_after_24() {
    assert_rule("cctv.footage", "23 days", "recorded", Disposition::Destroy, Some("24 days"));
    let keep = class(&shipped(), "cctv.footage").keep;
    assert_eq!(keep.due(date(2026, 10, 10)), Some(date(2026, 11, 2)));
    assert_eq!(keep.cutoff(date(2026, 11, 2)), Some(date(2026, 10, 9)));
    assert_eq!(keep.cutoff(date(2026, 11, 3)), Some(date(2026, 10, 10)));
}

#[test]
fn call_recordings_go_three_months_after_the_call() {
    assert_rule("calls.recording", "3 months", "call", Disposition::Destroy, None);
    assert_eq!(class(&shipped(), "calls.recording").keep.due(date(2026, 11, 30)), Some(date(2027, 2, 28)));
}

#[test]
fn legal_documents_are_reviewed_twelve_years_after_completion() {
    assert_rule("legal.document", "12 years", "completion", Disposition::Review, None);
    assert_eq!(class(&shipped(), "legal.document").keep.due(date(2020, 2, 29)), Some(date(2032, 2, 29)));
}

#[test]
fn staff_files_are_reviewed_six_years_after_employment_ends() {
    assert_rule("staff.file", "6 years", "employment-end", Disposition::Review, None);
}

#[test]
fn minutes_are_kept_permanently_and_never_due() {
    let minutes = class(&shipped(), "governance.minutes");
    assert_eq!((minutes.keep.clone(), minutes.then), (Keep::Permanently, None));
    assert_eq!((minutes.keep.due(date(1900, 1, 1)), minutes.keep.cutoff(Date::MAX)), (None, None));
}

#[test]
fn pay_records_wait_for_the_end_of_the_tax_year() {
    let keep = class(&shipped(), "payroll.statutory-pay").keep;
    assert_eq!(keep.due(date(2019, 4, 5)), Some(date(2022, 4, 5)));
    assert_eq!(keep.due(date(2019, 4, 6)), Some(date(2023, 4, 5)));
}

#[test]
fn every_class_has_a_title_of_its_own_and_every_class_with_a_period_names_an_authority() {
    for class in classes(&shipped()) {
        assert_ne!(class.title, class.id.as_str(), "{} has no title", class.id);
        assert!(class.authority.is_some_and(|text| text.len() > 20), "{} names no authority", class.id);
    }
}

#[test]
fn the_schedule_uses_every_form_that_the_language_has_for_the_classes_that_need_it() {
    let classes = classes(&shipped());
    assert!(classes.len() >= 24, "{} classes", classes.len());
    for disposition in Disposition::ALL {
        assert!(classes.iter().any(|class| class.then == Some(disposition)), "nobody uses {}", disposition.as_str());
    }
    let any = |form: fn(&Keep) -> bool| classes.iter().any(|class| form(&class.keep));
    assert!(any(|keep| matches!(keep, Keep::For { counting: Counting::From, .. })));
    assert!(any(|keep| matches!(keep, Keep::For { trigger: Trigger::LatestOf(_), .. })));
    assert!(any(|keep| matches!(keep, Keep::For { trigger: Trigger::YearEnd { month: 4, day: 5, .. }, .. })));
    assert!(any(|keep| matches!(keep, Keep::For { ceiling: Some(_), .. })));
    assert!(any(|keep| *keep == Keep::Permanently));
}

#[test]
fn what_the_organisation_must_decide_stands_in_the_list_of_decisions() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let open: Vec<RecordClass> = classes(&shipped())
        .into_iter()
        .filter(|class| class.authority.as_ref().is_some_and(|text| text.contains("organisation must decide")))
        .collect();
    assert!(!open.is_empty());
    for class in open {
        assert!(readme.contains(&format!("`{}`", class.id)), "README.md does not list {}", class.id);
    }
}

#[test]
fn check_warns_of_a_period_that_counts_the_last_day_of_the_year_it_should_follow() {
    let text = |word: &str| {
        format!(
            "schedule: a\ntime-zone: UTC\nclasses:\n  pay: {{ keep: 3 years, {word}: {{ year-end: 04-05, of: paid }}, then: destroy, authority: PAYE }}\n"
        )
    };
    let found = |word| check::check(&Schedules::parse("a.yaml", &text(word)).unwrap(), |_| date(2026, 11, 1));
    assert_eq!(found("after"), []);
    let [finding] = &found("from")[..] else { panic!("one finding") };
    assert_eq!((finding.about.as_str(), finding.severity.as_str()), ("pay", "warning"));
    assert!(finding.message.contains("ends a day early; write `after`"));
}

#[test]
fn check_finds_nothing_until_the_review_date_is_past() {
    let schedules = shipped();
    for today in [date(2026, 11, 1), date(2027, 11, 1)] {
        assert_eq!(check::check(&schedules, |_| today), []);
    }
    let early = check::check(&schedules, |_| date(2026, 10, 31));
    assert!(early.iter().all(|finding| finding.message.contains("lies in the future")));
    assert_eq!(early.len(), schedules.all.len());
    let late = check::check(&schedules, |_| date(2027, 11, 2));
    assert!(late.iter().all(|finding| finding.message.contains("to be reviewed by 2027-11-01, which is past")));
    assert_eq!(late.len(), schedules.all.len());
}
