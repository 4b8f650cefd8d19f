//! The housing database: applicants and their interviews, tenancies, staff.

use jiff::civil::Date;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::calendar::Calendar;
use crate::expected::{Expected, Outcome, Place};
use crate::{Estate, Result};

const SCHEMA: &str = "
CREATE TABLE applicants (
  id INTEGER PRIMARY KEY,
  person_ref TEXT NOT NULL,
  name TEXT,
  email TEXT,
  post TEXT NOT NULL,
  status TEXT NOT NULL,
  outcome_date TEXT                 -- NULL until there is an outcome
);
CREATE TABLE interviews (
  id INTEGER PRIMARY KEY,
  applicant_id INTEGER NOT NULL REFERENCES applicants (id),
  notes TEXT NOT NULL
);
CREATE INDEX interviews_of_applicant ON interviews (applicant_id);
CREATE TABLE tenancies (
  id INTEGER PRIMARY KEY,
  tenant_ref TEXT NOT NULL,
  address TEXT NOT NULL,
  started_on TEXT NOT NULL,
  ended_on TEXT                     -- NULL while the tenancy runs
);
CREATE TABLE staff (
  id INTEGER PRIMARY KEY,
  person_ref TEXT NOT NULL,
  name TEXT NOT NULL,
  employment_end TEXT               -- NULL while employed here
);
";

const FIRST: [&str; 12] = ["Amina", "Ben", "Carys", "Dele", "Ewa", "Farid", "Grace", "Hugh", "Ines", "Jan", "Kwame", "Lena"];
const LAST: [&str; 10] = ["Adeyemi", "Brown", "Clarke", "Davies", "Evans", "Fofana", "Green", "Hussain", "Iqbal", "Jones"];

/// A date as it stands in a column, and what follows from it.
type Case = (Option<String>, Outcome, &'static str);

/// A tenancy whose documents lie in the file store, and what must become of them.
pub type Tenancy = (i64, Outcome, &'static str);

/// Writes the database. Returns the tenancies.
pub async fn write(estate: &Estate, expected: &mut Expected) -> Result<Vec<Tenancy>> {
    let mut housing = SqliteConnectOptions::new().filename(estate.path("housing.db")).create_if_missing(true).connect().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut housing).await?;
    sqlx::query("BEGIN").execute(&mut housing).await?;
    applicants(&mut housing, &estate.calendar, expected).await?;
    let tenancies = tenancies(&mut housing, &estate.calendar, expected).await?;
    staff(&mut housing, &estate.calendar, expected).await?;
    sqlx::query("COMMIT").execute(&mut housing).await?;
    Ok(tenancies)
}

fn name(at: i64) -> (String, String) {
    let at = usize::try_from(at).unwrap_or_default();
    let (first, last) = (FIRST[at % FIRST.len()], LAST[at % LAST.len()]);
    (format!("{first} {last}"), format!("{}.{}.{at}@example.org", first.to_lowercase(), last.to_lowercase()))
}

/// The cases that every rule has: old, on both sides of the boundary, young, and dates that say nothing.
fn cases(calendar: &Calendar, keep: &str, due: Outcome, old: &[Date], young: &[Date]) -> Vec<Case> {
    let last_due = calendar.last_due(keep);
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |text: String, outcome, why| cases.push((Some(text), outcome, why));
    for date in old {
        add(date.to_string(), due, "its period is over");
    }
    add(last_due.to_string(), due, "yesterday was the last day of its period, so it may go today");
    add(
        (last_due + jiff::Span::new().days(1)).to_string(),
        Outcome::Kept,
        "today is the last day of its period, so it must still be here tonight",
    );
    for date in young {
        add(date.to_string(), Outcome::Kept, "its period is running");
    }
    add("31/02/2019".into(), Outcome::Undetermined, "31/02/2019 is no date that the column is declared to hold, nor any other");
    add("not recorded".into(), Outcome::Undetermined, "somebody wrote words where a date belongs");
    add(String::new(), Outcome::Undetermined, "an empty text is not NULL and not a date");
    add(calendar.ahead("4 months").to_string(), Outcome::Undetermined, "its date lies in the future, which no record of the past can have");
    cases
}

async fn applicants(housing: &mut SqliteConnection, calendar: &Calendar, expected: &mut Expected) -> Result<()> {
    let old: Vec<Date> = (0..17).map(|at| calendar.days_ago(200 + 29 * at)).collect();
    let young: Vec<Date> = (0..94).map(|at| calendar.days_ago(1 + 2 * at % 178)).collect();
    let mut cases = cases(calendar, "6 months", Outcome::Destroyed, &old, &young);
    cases.push((None, Outcome::Kept, "there is no outcome yet, so its period has not started"));
    let unsuccessful = cases.len();
    // Others than unsuccessful applicants are in no dataset, however old they are.
    for _ in 0..8 {
        cases.push((Some(calendar.ago("3 years").to_string()), Outcome::Kept, "a successful application is no record of this dataset"));
    }
    let mut interview = 0;
    for (at, (outcome_date, outcome, why)) in cases.into_iter().enumerate() {
        let id = 1001 + i64::try_from(at)?;
        let status = if at < unsuccessful { "unsuccessful" } else { "appointed" };
        let (name, email) = name(id);
        sqlx::query("INSERT INTO applicants VALUES (?, ?, ?, ?, 'Housing officer', ?, ?)")
            .bind(id)
            .bind(format!("P-{id}"))
            .bind(name)
            .bind(email)
            .bind(status)
            .bind(outcome_date)
            .execute(&mut *housing)
            .await?;
        let row = Place::Row { table: "applicants", column: "id", value: id };
        match status {
            "unsuccessful" => expected.record(outcome, &format!("housing/applicants:{id}"), &row, why),
            _ => expected.part(outcome, &row, why),
        }
        for _ in 0..id % 3 {
            interview += 1;
            sqlx::query("INSERT INTO interviews VALUES (?, ?, 'Answered well, little experience')")
                .bind(interview)
                .bind(id)
                .execute(&mut *housing)
                .await?;
            let row = Place::Row { table: "interviews", column: "id", value: interview };
            expected.part(outcome, &row, "an interview goes with the application, in the same transaction, and only with it");
        }
    }
    Ok(())
}

async fn tenancies(housing: &mut SqliteConnection, calendar: &Calendar, expected: &mut Expected) -> Result<Vec<Tenancy>> {
    let old: Vec<Date> = (0..7).map(|at| calendar.days_ago(366 * 6 + 10 + 140 * at)).collect();
    let young: Vec<Date> = (0..20).map(|at| calendar.days_ago(365 + 90 * at)).collect();
    let mut cases = cases(calendar, "6 years", Outcome::Review, &old, &young);
    for _ in 0..30 {
        cases.push((None, Outcome::Kept, "the tenancy runs, so its period has not started"));
    }
    let mut tenancies = Vec::new();
    for (at, (ended_on, outcome, why)) in cases.into_iter().enumerate() {
        let id = 2001 + i64::try_from(at)?;
        sqlx::query("INSERT INTO tenancies VALUES (?, ?, ?, ?, ?)")
            .bind(id)
            .bind(format!("T-{id}"))
            .bind(format!("{} Canal Street", at + 1))
            .bind(calendar.ago("15 years").to_string())
            .bind(ended_on)
            .execute(&mut *housing)
            .await?;
        let row = Place::Row { table: "tenancies", column: "id", value: id };
        expected.record(outcome, &format!("housing/tenancies:{id}"), &row, why);
        tenancies.push((id, outcome, why));
    }
    Ok(tenancies)
}

async fn staff(housing: &mut SqliteConnection, calendar: &Calendar, expected: &mut Expected) -> Result<()> {
    let old: Vec<Date> = (0..3).map(|at| calendar.days_ago(366 * 6 + 30 + 200 * at)).collect();
    let young: Vec<Date> = (0..8).map(|at| calendar.days_ago(30 + 200 * at)).collect();
    let mut cases = cases(calendar, "6 years", Outcome::Review, &old, &young);
    for _ in 0..12 {
        cases.push((None, Outcome::Kept, "the employment goes on, so its period has not started"));
    }
    for (at, (employment_end, outcome, why)) in cases.into_iter().enumerate() {
        let id = 3001 + i64::try_from(at)?;
        sqlx::query("INSERT INTO staff VALUES (?, ?, ?, ?)")
            .bind(id)
            .bind(format!("S-{id}"))
            .bind(name(id).0)
            .bind(employment_end)
            .execute(&mut *housing)
            .await?;
        let row = Place::Row { table: "staff", column: "id", value: id };
        expected.record(outcome, &format!("housing/staff:{id}"), &row, why);
    }
    Ok(())
}
