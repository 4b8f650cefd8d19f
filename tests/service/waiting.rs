//! Tests that mostly wait for a minute to come: all at the same time, each with a service of its own, in threads that bear their names.

use std::thread;

#[test]
fn those_that_wait_for_the_clock_wait_together() {
    let tests: [(&str, fn()); 10] = [
        (
            "edits::the_service_waits_with_an_edit_that_it_reloads_until_it_is_confirmed",
            crate::edits::the_service_waits_with_an_edit_that_it_reloads_until_it_is_confirmed,
        ),
        (
            "alone::a_pause_holds_across_restarts_and_stops_the_timetable",
            crate::alone::a_pause_holds_across_restarts_and_stops_the_timetable,
        ),
        (
            "clients::many_slow_clients_neither_stop_the_service_nor_stay_for_ever",
            crate::clients::many_slow_clients_neither_stop_the_service_nor_stay_for_ever,
        ),
        (
            "clock::the_service_waits_for_the_clock_unless_it_is_told_to_ignore_it",
            crate::clock::the_service_waits_for_the_clock_unless_it_is_told_to_ignore_it,
        ),
        (
            "reload::a_timetable_that_a_reload_brings_is_kept_and_one_that_it_takes_away_is_not",
            crate::reload::a_timetable_that_a_reload_brings_is_kept_and_one_that_it_takes_away_is_not,
        ),
        (
            "restarts::a_store_that_cannot_be_read_is_tried_again_while_others_go_on",
            crate::restarts::a_store_that_cannot_be_read_is_tried_again_while_others_go_on,
        ),
        (
            "nights::in_the_spring_night_a_run_that_the_clocks_skip_comes_once_and_later",
            crate::nights::in_the_spring_night_a_run_that_the_clocks_skip_comes_once_and_later,
        ),
        (
            "nights::in_the_autumn_night_a_time_that_clocks_show_twice_is_run_once",
            crate::nights::in_the_autumn_night_a_time_that_clocks_show_twice_is_run_once,
        ),
        (
            "nights::the_second_half_of_the_autumn_night_and_what_was_missed_are_told_apart",
            crate::nights::the_second_half_of_the_autumn_night_and_what_was_missed_are_told_apart,
        ),
        ("idle::a_service_with_a_hundred_datasets_sleeps", crate::idle::a_service_with_a_hundred_datasets_sleeps),
    ];
    let begin = |(name, test): (&'static str, fn())| (name, thread::Builder::new().name(name.to_owned()).spawn(test).unwrap());
    let failed: Vec<&str> = tests.map(begin).into_iter().filter_map(|(name, test)| test.join().is_err().then_some(name)).collect();
    assert!(failed.is_empty(), "what each said stands above: {failed:#?}");
}
