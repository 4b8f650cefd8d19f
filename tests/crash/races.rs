//! People and applications who change things while the program destroys: renamed and replaced directories, rewritten, linked and moved files,
//! rows that are opened again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use retentiond::audit::{Kind, Pseudonyms};
use sqlx::{Connection, Row};

use crate::estate::{APPLICANTS, Dice, Estate, KEEP, Load, connect, text};

const BOXES: u64 = 6;
const SHELVES: u64 = 6;
const FILES: u64 = 40;

/// What somebody did to files, and what must therefore be true in the end.
#[derive(Default)]
struct Deeds {
    /// Written anew: must be there with this content.
    rewritten: HashMap<PathBuf, String>,
    /// Linked from outside: the content must be there.
    linked: Vec<(PathBuf, String)>,
    /// Moved out of the root and perhaps back: where it is said nothing of.
    moved: BTreeSet<PathBuf>,
    /// Names that folders bore for a moment, with their own. A file that goes meanwhile goes under such a name.
    put_aside: BTreeMap<PathBuf, PathBuf>,
}

impl Deeds {
    /// A name for `place` that nothing else ever bears.
    fn aside(&mut self, inbox: &Path, place: &Path) -> PathBuf {
        let aside = inbox.join(format!("aside-{}", self.put_aside.len()));
        self.put_aside.insert(aside.clone(), place.to_owned());
        aside
    }

    /// Where the file at `path` belongs.
    fn home(&self, path: &Path) -> PathBuf {
        let aside = path.ancestors().find_map(|above| Some((above, self.put_aside.get(above)?)));
        aside.map_or_else(|| path.to_owned(), |(above, place)| place.join(path.strip_prefix(above).unwrap()))
    }
}

/// An old file per name; `content` tells which one.
fn fill(root: &Path, prefix: &str) {
    let old = SystemTime::now() - Duration::from_hours(24 * u64::try_from(KEEP + 5).unwrap());
    for (number, shelf) in shelves(root).into_iter().enumerate() {
        fs::create_dir_all(&shelf).unwrap();
        // A folder that only the program's own user may write to is not watched as closely: there is nobody to race with.
        fs::set_permissions(&shelf, fs::Permissions::from_mode(0o777)).unwrap();
        for n in 0..FILES {
            let path = shelf.join(format!("{n}.dat"));
            fs::write(&path, format!("{prefix} {number} {n}")).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        }
    }
}

fn shelves(root: &Path) -> Vec<PathBuf> {
    (0..BOXES).flat_map(|b| (0..SHELVES).map(move |s| format!("box-{b}/shelf-{s}"))).map(|below| root.join(below)).collect()
}

/// Every file below a folder with its content; no link is followed.
fn contents(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.insert(entry.path(), fs::read_to_string(entry.path()).unwrap());
        }
    }
    found
}

/// Does one thing after the other until told to stop. Only ever fails where the program was quicker.
fn disturb(inbox: &Path, outside: &Path, stop: &AtomicBool, seed: u64) -> Deeds {
    let mut dice = Dice::new(seed);
    let mut deeds = Deeds::default();
    let all = shelves(inbox);
    let mut serial = 0;
    while !stop.load(Ordering::Relaxed) {
        serial += 1;
        let shelf = &all[usize::try_from(dice.below(all.len() as u64)).unwrap()];
        let file = shelf.join(format!("{}.dat", dice.below(FILES)));
        let pause = Duration::from_micros(dice.below(1500));
        match dice.below(7) {
            // The folder is put aside and a link to somebody's precious files takes its place.
            0 => {
                let place = if dice.below(2) == 0 { shelf.clone() } else { shelf.parent().unwrap().to_owned() };
                let precious = outside.join("precious").join(place.strip_prefix(inbox).unwrap());
                let aside = deeds.aside(inbox, &place);
                if fs::rename(&place, &aside).is_ok() {
                    symlink(&precious, &place).unwrap();
                    thread::sleep(pause);
                    fs::remove_file(&place).unwrap();
                    fs::rename(&aside, &place).unwrap();
                }
            }
            // Renamed and named back, so that a listing may show it twice or not at all.
            1 => {
                let aside = deeds.aside(inbox, shelf);
                if fs::rename(shelf, &aside).is_ok() {
                    thread::sleep(pause / 8);
                    fs::rename(&aside, shelf).unwrap();
                }
            }
            // Written in place. The program may have unlinked it between opening and writing: then it was not rewritten.
            2 => {
                if let Ok(mut open) = fs::File::options().write(true).open(&file) {
                    let text = format!("rewritten {serial}                    ");
                    open.write_all(text.as_bytes()).unwrap();
                    if open.metadata().unwrap().nlink() > 0 && !deeds.moved.contains(&file) {
                        deeds.rewritten.insert(file, text);
                    }
                }
            }
            // Replaced by another file, as most programs save.
            3 => {
                let new = inbox.join("new");
                let text = format!("replaced {serial}");
                fs::write(&new, &text).unwrap();
                fs::rename(&new, &file).unwrap();
                deeds.moved.remove(&file);
                deeds.rewritten.insert(file, text);
            }
            4 => {
                let link = outside.join("links").join(serial.to_string());
                if fs::hard_link(&file, &link).is_ok() {
                    // A later rewriting in place would change the content under both names.
                    let text = fs::read_to_string(&link).unwrap();
                    deeds.linked.push((link, text));
                }
            }
            // Moved out, and sometimes back in.
            _ => {
                let away = outside.join("away").join(serial.to_string());
                if fs::rename(&file, &away).is_ok() {
                    deeds.moved.insert(file.clone());
                    deeds.rewritten.remove(&file);
                    if dice.below(2) == 0 {
                        thread::sleep(pause / 8);
                        fs::rename(&away, &file).unwrap();
                    }
                }
            }
        }
        thread::sleep(Duration::from_micros(dice.below(300)));
    }
    deeds
}

#[test]
fn files_that_people_change_meanwhile_are_kept_and_nothing_outside_is_touched() {
    let shared_memory = Path::new("/dev/shm");
    for round in 0..6_u64 {
        // Listings of folders that change differ between file systems.
        let in_memory = round % 2 == 1 && shared_memory.is_dir();
        let folder = if in_memory { tempfile::tempdir_in(shared_memory).unwrap() } else { tempfile::tempdir().unwrap() };
        let estate = Estate::in_folder(folder, None);
        let (inbox, outside) = (estate.path("media/inbox"), estate.path("outside"));
        fs::create_dir_all(outside.join("links")).unwrap();
        fs::create_dir_all(outside.join("away")).unwrap();
        fill(&inbox, "record");
        fill(&outside.join("precious"), "precious");
        let before = contents(&inbox);
        let precious = contents(&outside.join("precious"));
        let stop = AtomicBool::new(false);
        let seed = u64::from(std::process::id()) + round;
        let deeds = thread::scope(|scope| {
            let disturber = scope.spawn(|| disturb(&inbox, &outside, &stop, seed));
            thread::sleep(Duration::from_millis(20 * round));
            for _ in 0..3 {
                let output = estate.finish(&["run", "media/inbox"]);
                assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output));
            }
            stop.store(true, Ordering::Relaxed);
            disturber.join().unwrap()
        });
        assert_eq!(precious, contents(&outside.join("precious")), "something outside the root was touched");
        let recover = estate.finish(&["run", "media/nothing"]);
        assert_eq!(recover.status.code(), Some(0), "{}", text(&recover));
        estate.verify();
        let after = contents(&inbox);
        // Linux gives nobody a way to remove a file only if it is still the one that was looked at: between the last look and the removal lies a
        // millionth of a second, longer when the processor is taken away in it. Who writes in that very moment loses what was written.
        let lost: Vec<_> = deeds.rewritten.iter().filter(|(path, text)| after.get(*path) != Some(text)).collect();
        assert!(lost.len() <= 1, "were written anew and are lost (seed {seed}): {lost:?}");
        for (link, text) in &deeds.linked {
            let found = fs::read_to_string(link).unwrap();
            assert!(found == *text || found.starts_with("rewritten"), "{}: {found}", link.display());
        }
        let media = estate.path("media");
        let mut said: HashMap<PathBuf, BTreeSet<Kind>> = HashMap::new();
        for kind in [Kind::Destroyed, Kind::Absent, Kind::Recovered] {
            for entry in estate.entries_of(kind).iter().filter(|entry| entry.str("found") != Some("present")) {
                let name = entry.str("record").unwrap().strip_prefix("plain:").unwrap();
                said.entry(deeds.home(&media.join(name))).or_default().insert(kind);
            }
        }
        let mut gone = 0;
        for path in before.keys() {
            let name = path.strip_prefix(&media).unwrap().display();
            let touched = deeds.moved.contains(path) || deeds.rewritten.contains_key(path);
            match (after.contains_key(path), said.get(path)) {
                (false, None) => assert!(deeds.moved.contains(path), "{name}: is gone, and the log knows nothing of it"),
                (false, Some(_)) => gone += 1,
                // Absent for a moment, while its folder was put aside.
                (true, Some(said)) => assert!(touched || !said.contains(&Kind::Destroyed), "{name}: is there and said to be destroyed"),
                (true, None) => {}
            }
        }
        println!("round {round}: {gone} of {} gone, {} rewritten, {} moved", before.len(), deeds.rewritten.len(), deeds.moved.len());
        assert!(gone > 0 && !deeds.rewritten.is_empty());
    }
}

#[test]
fn a_record_that_a_changing_folder_lists_twice_goes_once() {
    let shared_memory = Path::new("/dev/shm");
    let folder = if shared_memory.is_dir() { tempfile::tempdir_in(shared_memory).unwrap() } else { tempfile::tempdir().unwrap() };
    let estate = Estate::in_folder(folder, None);
    let inbox = estate.path("media/inbox");
    let shelf = inbox.join("box/shelf");
    fs::create_dir_all(&shelf).unwrap();
    let old = SystemTime::now() - Duration::from_hours(24 * u64::try_from(KEEP + 5).unwrap());
    let names: Vec<PathBuf> = (0..1700).map(|n| shelf.join(format!("{n:06}.dat"))).collect();
    for _ in 0..8 {
        for path in &names {
            fs::write(path, "old").unwrap();
            fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for path in &names {
                        // Away and back: in memory the newest name is listed first, elsewhere often last.
                        let aside = inbox.join("aside");
                        if fs::rename(path, &aside).is_ok() {
                            fs::rename(&aside, path).unwrap();
                        }
                    }
                }
            });
            let output = estate.finish(&["run", "media/inbox"]);
            stop.store(true, Ordering::Relaxed);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output));
        });
        estate.verify();
    }
    estate.run();
    estate.verify();
    assert_eq!(fs::read_dir(&shelf).unwrap().count(), 0);
}

/// An application at work: opens old rows again, dates them anew, or deletes and inserts them. Answers the rows that may not go after what it
/// has committed.
async fn work(database: &Path, ids: &[String], today: &str, stop: &AtomicBool, seed: u64) -> BTreeSet<String> {
    let mut dice = Dice::new(seed);
    let mut db = connect(database).await;
    let mut revived = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let id = &ids[usize::try_from(dice.below(ids.len() as u64)).unwrap()];
        let mut transaction = db.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let row = sqlx::query("SELECT id FROM applicants WHERE id = ?").bind(id).fetch_optional(&mut *transaction).await.unwrap();
        if row.is_none() {
            transaction.rollback().await.unwrap();
            continue;
        }
        match dice.below(3) {
            0 => {
                let query = sqlx::query("UPDATE applicants SET outcome_date = ? WHERE id = ?").bind(today).bind(id);
                query.execute(&mut *transaction).await.unwrap();
            }
            1 => {
                let query = sqlx::query("UPDATE applicants SET status = 'open' WHERE id = ?").bind(id);
                query.execute(&mut *transaction).await.unwrap();
            }
            _ => {
                sqlx::query("DELETE FROM applicants WHERE id = ?").bind(id).execute(&mut *transaction).await.unwrap();
                let query = sqlx::query("INSERT INTO applicants VALUES (?, 'unsuccessful', NULL, 'came back')").bind(id);
                query.execute(&mut *transaction).await.unwrap();
            }
        }
        transaction.commit().await.unwrap();
        revived.insert(id.clone());
        tokio::time::sleep(Duration::from_micros(dice.below(3000))).await;
    }
    db.close().await.unwrap();
    revived
}

#[test]
fn rows_that_an_application_opens_again_are_never_deleted_after_its_commit() {
    for round in 0..3_u64 {
        let mut estate = Estate::new();
        estate.add(Load { footage: 0, letters: 0, scans: 0, rows: 3000 });
        let due: Vec<String> = estate.known.iter().filter(|one| one.dataset == APPLICANTS && one.due).map(|one| one.key.clone()).collect();
        let others: Vec<String> =
            estate.known.iter().filter(|one| one.dataset == APPLICANTS && !one.due).map(|one| one.key.clone()).collect();
        let (stop, today, database) = (AtomicBool::new(false), estate.ago(0).to_string(), estate.database());
        let revived = thread::scope(|scope| {
            let workers: Vec<_> = (0..2)
                .map(|worker| {
                    let (database, due, today, stop) = (&database, &due, &today, &stop);
                    scope.spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                        runtime.block_on(work(database, due, today, stop, round * 2 + worker))
                    })
                })
                .collect();
            for _ in 0..2 {
                let output = estate.finish(&["run", "housing"]);
                assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output));
            }
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<BTreeSet<_>>()
        });
        estate.run();
        estate.verify();
        let rows = estate.in_database(async |db| {
            let rows =
                sqlx::query("SELECT a.id, count(i.id) FROM applicants a LEFT JOIN interviews i ON i.applicant_id = a.id GROUP BY a.id");
            let rows = rows.fetch_all(&mut *db).await.unwrap();
            let orphans = sqlx::query("SELECT count(*) FROM interviews WHERE applicant_id NOT IN (SELECT id FROM applicants)");
            assert_eq!(orphans.fetch_one(db).await.unwrap().get::<i64, _>(0), 0, "children without their row");
            rows.iter().map(|row| (row.get(0), row.get(1))).collect::<HashMap<String, i64>>()
        });
        let pseudonyms = Pseudonyms::open(&estate.state().join("keys")).unwrap();
        let destroyed: BTreeSet<String> =
            estate.entries_of(Kind::Destroyed).iter().map(|entry| entry.str("record").unwrap().to_owned()).collect();
        for id in others.iter().chain(&revived) {
            assert_eq!(rows.get(id), Some(&2), "{id}: was not due when the application committed, and went");
        }
        for id in &due {
            let named = pseudonyms.all_for("housing", "applicants", id.as_bytes()).iter().any(|name| destroyed.contains(name));
            assert_eq!(named, !revived.contains(id), "{id}: the log says destroyed: {named}");
            assert_eq!(rows.contains_key(id), revived.contains(id), "{id}");
        }
        println!("round {round}: {} of {} rows opened again, {} destroyed", revived.len(), due.len(), destroyed.len());
        assert!(revived.len() > 10 && destroyed.len() > 100);
    }
}
