//! The file shares: camera recordings, call recordings, tenancy folders, legal documents.

use std::time::SystemTime;

use jiff::civil::{Date, time};

use crate::expected::{Expected, Outcome, Place};
use crate::tables::Tenancy;
use crate::{Estate, Result};

const CAMERAS: [&str; 3] = ["entrance", "car-park", "lift"];
const CLIPS: [&str; 4] = ["0215", "0830", "1405", "2250"];

fn because(age: i64, keep: i64) -> (Outcome, &'static str) {
    match age - keep {
        ..0 => (Outcome::Kept, "its period is running"),
        0 => (Outcome::Kept, "today is the last day of its period, so it must still be here tonight"),
        1 => (Outcome::Destroyed, "yesterday was the last day of its period, so it may go today"),
        _ => (Outcome::Destroyed, "its period is over"),
    }
}

/// `cctv/<camera>/<YYYY-MM-DD>/<HHMM>.mp4`: 3 cameras, 40 days, 4 clips a day.
pub fn cctv(estate: &Estate, expected: &mut Expected) -> Result<()> {
    let mut clip = |path: &str, outcome, why: &str| -> Result<_> {
        expected.record(outcome, &format!("cctv/footage:{path}"), &Place::File(format!("cctv/{path}")), why);
        estate.create_media(&format!("cctv/{path}"), 4096)
    };
    for camera in CAMERAS {
        for age in 1..=40 {
            let day = estate.calendar.days_ago(age);
            let (outcome, why) = because(age, 23);
            for at in CLIPS {
                let file = clip(&format!("{camera}/{day}/{at}.mp4"), outcome, why)?;
                let (hour, minute) = (at[..2].parse()?, at[2..].parse()?);
                let recorded = estate.calendar.zone.to_zoned(day.to_datetime(time(hour, minute, 0, 0)))?;
                let file = std::fs::File::options().append(true).open(file)?;
                file.set_modified(SystemTime::from(recorded.timestamp()))?;
            }
        }
    }
    clip("lift/2024-02-30/0900.mp4", Outcome::Undetermined, "its folder names a day that the calendar does not have")?;
    let ahead = estate.calendar.ahead("9 days");
    clip(&format!("lift/{ahead}/0900.mp4"), Outcome::Undetermined, "its folder names a day that is still to come")?;
    estate.create("cctv/lift/README.txt", "The camera in the lift was replaced in spring.\n")?;
    expected.part(Outcome::Kept, &Place::File("cctv/lift/README.txt".into()), "no dataset matches it");
    Ok(())
}

/// `calls/<YYYY>/<MM>/call-<n>.wav` with `call-<n>.json` beside it, which says when the call was.
pub fn calls(estate: &Estate, expected: &mut Expected) -> Result<()> {
    let calendar = &estate.calendar;
    let last_due = calendar.last_due("3 months");
    let kept_on = last_due + jiff::Span::new().days(1);
    let mut days: Vec<(Date, Outcome, &str)> = Vec::new();
    days.extend((0..13).map(|at| (calendar.days_ago(100 + 11 * at), Outcome::Destroyed, "its period is over")));
    days.push((last_due, Outcome::Destroyed, "yesterday was the last day of its period, so it may go today"));
    days.push((kept_on, Outcome::Kept, "today is the last day of its period, so it must still be here tonight"));
    days.extend((0..20).map(|at| (calendar.days_ago(1 + 4 * at), Outcome::Kept, "its period is running")));
    let mut number = 0;
    let mut call = |day: Date, sidecar: Option<&str>, outcome: Outcome, why: &str| -> Result<()> {
        number += 1;
        let path = format!("{:04}/{:02}/call-{number:04}", day.year(), day.month());
        estate.create_media(&format!("calls/{path}.wav"), 2048)?;
        expected.record(outcome, &format!("calls/recordings:{path}.wav"), &Place::File(format!("calls/{path}.wav")), why);
        if let Some(sidecar) = sidecar {
            estate.create(&format!("calls/{path}.json"), sidecar)?;
            expected.part(outcome, &Place::File(format!("calls/{path}.json")), "the sidecar goes with its recording, and only with it");
        }
        Ok(())
    };
    for (day, outcome, why) in days {
        // Twenty past midnight in London is still the day before by UTC for half of the year: the schedule's own zone decides.
        let started = calendar.zone.to_zoned(day.at(0, 20, 0, 0))?.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        let sidecar = format!("{{ \"call\": {{ \"started\": \"{started}\", \"line\": \"repairs\", \"caller\": \"T-2005\" }} }}\n");
        call(day, Some(&sidecar), outcome, why)?;
    }
    let old = calendar.days_ago(150);
    call(old, None, Outcome::Undetermined, "its sidecar is missing, and with it the date of the call")?;
    call(old, Some("{ \"call\": { \"started\": \"last Tuesday\" } }\n"), Outcome::Undetermined, "its sidecar holds no date")?;
    call(old, Some("{ \"call\": { \"sta"), Outcome::Undetermined, "its sidecar breaks off")?;
    Ok(())
}

/// `documents/tenancies/<tenancy>/…`: one folder is one record, and its date stands in the database.
pub fn tenancy_documents(estate: &Estate, tenancies: &[Tenancy], expected: &mut Expected) -> Result<()> {
    let mut folder = |tenancy: &str, outcome, why: &str| -> Result<()> {
        let path = format!("tenancies/{tenancy}");
        expected.record(outcome, &format!("documents/tenancy-scans:{path}"), &Place::File(format!("documents/{path}")), why);
        for document in ["agreement.pdf", "inventory.pdf", "letters/welcome.txt"] {
            estate.create_media(&format!("documents/{path}/{document}"), 1024)?;
            expected.part(outcome, &Place::File(format!("documents/{path}/{document}")), "part of the folder");
        }
        Ok(())
    };
    for (id, outcome, why) in tenancies {
        folder(&id.to_string(), *outcome, why)?;
    }
    folder("9999", Outcome::Undetermined, "the database knows no tenancy of this number")?;
    Ok(())
}

/// `documents/legal/<YYYY-MM-DD>-lease-<n>.pdf`: the date in the name is the day on which the obligation ended.
pub fn legal_documents(estate: &Estate, expected: &mut Expected) -> Result<()> {
    let calendar = &estate.calendar;
    let last_due = calendar.last_due("12 years");
    let kept_on = last_due + jiff::Span::new().days(1);
    let mut number = 0;
    let mut lease = |completion: &str, outcome, why: &str| -> Result<()> {
        number += 1;
        let path = format!("legal/{completion}-lease-{number:03}.pdf");
        expected.record(outcome, &format!("documents/legal:{path}"), &Place::File(format!("documents/{path}")), why);
        estate.create_media(&format!("documents/{path}"), 1024)?;
        Ok(())
    };
    for years in 13..16 {
        lease(&calendar.ago(&format!("{years} years")).to_string(), Outcome::Review, "its period is over")?;
    }
    lease(&last_due.to_string(), Outcome::Review, "yesterday was the last day of its period, so a person may decide today")?;
    lease(&kept_on.to_string(), Outcome::Kept, "today is the last day of its period, so it must still be here tonight")?;
    for years in 1..12 {
        lease(&calendar.ago(&format!("{years} years")).to_string(), Outcome::Kept, "its period is running")?;
    }
    lease("2011-02-30", Outcome::Undetermined, "its name holds a day that the calendar does not have")?;
    lease(&calendar.ahead("2 years").to_string(), Outcome::Undetermined, "its date lies in the future")?;
    Ok(())
}
