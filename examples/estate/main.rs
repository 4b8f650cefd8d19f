//! A small estate to try retentiond on: a housing provider's records with dates that suit today.
//!
//! ```text
//! estate write DIR     write the estate into DIR, which must not exist yet or be empty
//! estate verify DIR    compare what is there with EXPECTED.tsv, print the numbers, end with 1 if anything is not as expected
//! estate today         print today's date in the schedule's time zone
//! ```
//!
//! For every rule there are records that are due, records whose period is running, the two days on either side of the boundary, and
//! records whose date cannot be told. What must become of each is written down in `EXPECTED.tsv` while the record is written, with the
//! calendar arithmetic of this file: it shares nothing with the program that it is there to test.

mod calendar;
mod expected;
mod files;
mod tables;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use calendar::Calendar;
use expected::Expected;

/// What goes wrong here is for a person to read and for nobody to handle.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The schedule that is shipped: the estate is kept by it, not by a tame copy.
const SCHEDULE: &str = include_str!("../../schedules/housing.yaml");
const CONFIGURATION: &str = include_str!("retentiond.yaml");

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", dir] => write(Path::new(dir)).await.map(|()| true),
        ["verify", dir] => expected::verify(Path::new(dir)).await,
        ["today"] => Calendar::new().map(|calendar| {
            println!("{}", calendar.today);
            true
        }),
        _ => Err("expected `estate write DIR`, `estate verify DIR` or `estate today`".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("estate: {error}");
            ExitCode::from(2)
        }
    }
}

async fn write(dir: &Path) -> Result<()> {
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{}: expected an empty directory or none, found something in it", dir.display()).into());
    }
    let estate = Estate { dir: dir.to_owned(), calendar: Calendar::new()? };
    let mut expected = Expected::default();
    estate.create("schedules/housing.yaml", schedule_of(&estate.calendar))?;
    estate.create("retentiond.yaml", CONFIGURATION)?;
    let tenancies = tables::write(&estate, &mut expected).await?;
    files::cctv(&estate, &mut expected)?;
    files::calls(&estate, &mut expected)?;
    files::tenancy_documents(&estate, &tenancies, &mut expected)?;
    files::legal_documents(&estate, &mut expected)?;
    expected.write(&estate)?;
    println!("wrote {} records to {}", expected.len(), dir.display());
    Ok(())
}

/// The shipped schedule, approved this year by this estate: the only two lines that every organisation has to change.
fn schedule_of(calendar: &Calendar) -> String {
    let line = |line: &str| match line.split(':').next() {
        Some("approved") => format!("approved: {}", calendar.ago("1 month")),
        Some("review-by") => format!("review-by: {}", calendar.ahead("11 months")),
        _ => line.to_owned(),
    };
    SCHEDULE.lines().map(|one| line(one) + "\n").collect()
}

/// Where the estate is written and which day it is.
pub(crate) struct Estate {
    dir: PathBuf,
    calendar: Calendar,
}

impl Estate {
    fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// Writes a file, and the directories above it.
    fn create(&self, path: &str, contents: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, contents)?;
        Ok(path)
    }

    /// Writes a file of random bytes.
    fn create_media(&self, path: &str, length: usize) -> Result<PathBuf> {
        let mut bytes = vec![0; length];
        getrandom::fill(&mut bytes)?;
        self.create(path, bytes)
    }
}
