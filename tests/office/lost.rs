//! Records that vanish before their time are missed, and nothing else is taken for that.

use std::path::Path;

use jiff::{ToSpan as _, Zoned};
use serde_json::Value;

use crate::program::Program;
use crate::servers::Engine;
use crate::table::{Table, evidence};

const SCHEDULE: &str =
    "schedule: test\ntime-zone: Europe/London\nclasses:\n  short: { title: Short, keep: 1 year, after: ended, then: destroy }\n";

fn ago(days: i64) -> String {
    (Zoned::now().date() - days.days()).to_string()
}

/// Records in a table, or in files.
enum Place {
    Files,
    Rows(Table),
}

impl Place {
    async fn all() -> Vec<Self> {
        let mut all = vec![Self::Files];
        all.extend(Table::databases().await.into_iter().map(Self::Rows));
        all
    }

    fn stores(&self, inventory: &str) -> String {
        match self {
            Self::Files => format!(
                "  house:\n    files: media\n    datasets:\n      things: {{ class: short, path: \"{{ended:%Y-%m-%d}}/*.txt\", events: {{ ended: path }}, {inventory} }}\n"
            ),
            Self::Rows(table) => format!(
                "  house:\n    {}\n    datasets:\n      things: {{ class: short, table: things, key: id, where: \"state = 1\", events: {{ ended: {{ column: ended_on, as: date }} }}, {inventory} }}\n",
                table.place()
            ),
        }
    }

    async fn program(&self) -> Program {
        let program = Program::new(&self.stores("inventory: on"));
        program.write("schedule.yaml", SCHEDULE);
        match self {
            Self::Files => std::fs::create_dir_all(program.path("media")).unwrap(),
            Self::Rows(table) => {
                let engine = if let Table::Server(database) = table { Some(database.engine()) } else { None };
                let index = if engine == Some(Engine::Postgres) { "; CREATE INDEX by_date ON things (ended_on, id)" } else { "" };
                table.run(&program, &format!("CREATE TABLE things (id INT PRIMARY KEY, state INT, ended_on VARCHAR(10)){index}")).await;
            }
        }
        program
    }

    async fn put(&self, program: &Program, id: u32, days: i64) {
        match self {
            Self::Files => drop(program.write(&format!("media/{}/{id}.txt", ago(days)), "x")),
            Self::Rows(table) => table.run(program, &format!("INSERT INTO things VALUES ({id}, 1, '{}')", ago(days))).await,
        }
    }

    /// Somebody removes it.
    async fn remove(&self, program: &Program, id: u32, days: i64) {
        match self {
            Self::Files => std::fs::remove_file(program.path(&format!("media/{}/{id}.txt", ago(days)))).unwrap(),
            Self::Rows(table) => table.run(program, &format!("DELETE FROM things WHERE id = {id}")).await,
        }
    }

    fn address(&self, id: u32, days: i64) -> String {
        match self {
            Self::Files => format!("house/things:{}/{id}.txt", ago(days)),
            Self::Rows(_) => format!("house/things:{id}"),
        }
    }
}

/// Runs; answers how many records have been told as lost so far, and what was said.
fn run(program: &Program) -> (u64, String) {
    let said = program.run(&["run"]);
    assert!(matches!(said.code, Some(0 | 1)), "{}", said.text);
    (lost(program), said.text)
}

fn lost(program: &Program) -> u64 {
    program.entries("lost").iter().filter(|entry| entry["part"] == 1).map(|entry| entry["count"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn what_others_remove_too_early_is_missed_once_and_what_we_remove_is_not() {
    for place in Place::all().await {
        let program = place.program().await;
        for (id, days) in [(1, 400), (2, 400), (3, 100), (4, 100), (5, 100), (6, 380)] {
            place.put(&program, id, days).await;
        }
        let (none, said) = run(&program);
        assert!(none == 0 && said.contains("a new inventory of 6 records begins: there was none before"), "{said}");
        assert_eq!(program.entries("destroyed").len(), 3);
        assert_eq!(run(&program).0, 0, "what the program destroyed is not lost");
        place.put(&program, 7, 400).await;
        program.run(&["plan"]);
        place.remove(&program, 7, 400).await;
        assert_eq!(run(&program).0, 0, "what was due might go");

        place.remove(&program, 3, 100).await;
        place.put(&program, 8, 50).await;
        let (one, said) = run(&program);
        assert!(one == 1 && said.contains("1 records are LOST") && said.contains("1 new ones are there"), "{said}");
        let address = place.address(3, 100);
        assert!(program.must(0, &["explain", &address]).contains("LOST: it was missed"));
        let names = program.entries("lost")[0]["records"].as_array().unwrap().clone();
        assert!(names.len() == 1 && names[0].as_str().unwrap().starts_with("20"), "{names:?}");
        let status: Value = serde_json::from_str(program.must(1, &["status", "--json"]).trim()).unwrap();
        assert_eq!(status["datasets"][0]["lost"]["records"], 1);
        assert_eq!(run(&program).0, 1, "it is told once");
        let status = program.run(&["status"]);
        assert!(status.text.contains("1 LOST before their time"), "{}", status.text);
        std::fs::remove_file(program.path("state/register.db")).unwrap();
        run(&program);
        assert!(program.run(&["status"]).text.contains("1 LOST before their time"), "the log knows");

        if let Place::Rows(table) = &place {
            // Re-dated, or no longer one of the dataset's, it is still there.
            table
                .run(&program, &format!("UPDATE things SET state = 2 WHERE id = 4; UPDATE things SET ended_on = '{}' WHERE id = 5", ago(3)))
                .await;
            assert_eq!(run(&program).0, 1);
            table.run(&program, "UPDATE things SET state = 1 WHERE id = 4").await;
            assert_eq!(run(&program).0, 1);
        }
        // Which records there are is said otherwise: there is nothing to compare with.
        let text = std::fs::read_to_string(program.path("retentiond.yaml")).unwrap();
        let other = text.replace("state = 1", "state = 1 AND id > 0").replace("*.txt", "*.{txt,doc}");
        assert_ne!(text, other);
        program.write("retentiond.yaml", &other);
        place.remove(&program, 8, 50).await;
        let (still, said) = run(&program);
        assert!(still == 1 && said.contains("configured otherwise than before"), "{said}");
        place.put(&program, 9, 50).await;
        run(&program);
        place.remove(&program, 9, 50).await;
        assert_eq!(run(&program).0, 2);
        evidence(&program);
    }
}

/// The plan that a run refused.
fn refused(said: &str) -> String {
    let line = said.lines().find(|line| line.contains("run --allow ")).unwrap_or_else(|| panic!("{said}"));
    line.rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_was_held_when_the_inventory_was_taken_and_went_with_an_allowed_plan_is_not_lost() {
    for place in Place::all().await {
        for keys in ["pseudonym", "plain"] {
            let program = place.program().await;
            let text = std::fs::read_to_string(program.path("retentiond.yaml")).unwrap();
            program.write(
                "retentiond.yaml",
                &text.replace("inventory: on", &format!("inventory: on, keys: {keys}, limits: {{ records: 1 }}")),
            );
            for (id, days) in [(1, 400), (2, 400), (3, 100), (4, 100)] {
                place.put(&program, id, days).await;
            }
            let plan = refused(&program.must(3, &["run"]));
            program.must(0, &["hold", "place", "--kind", "other", "--record", &place.address(1, 400), "--reason", "r", "--matter", "M"]);
            // One is due now, which the limit allows; but this inventory says of the other that it is to be kept.
            place.remove(&program, 2, 400).await;
            place.put(&program, 5, 400).await;
            place.put(&program, 6, 400).await;
            program.must(3, &["run"]);
            program.must(0, &["hold", "release", "--matter", "M", "--reason", "over"]);
            program.run(&["run", "--allow", &plan]);
            assert_eq!(program.entries("destroyed").len(), 1, "{}", place.address(1, 400));
            // What others do meanwhile is noticed all the same.
            place.remove(&program, 3, 100).await;
            let said = program.must(3, &["run"]);
            assert_eq!(lost(&program), 1, "{said}");
            assert!(program.must(0, &["explain", &place.address(3, 100)]).contains("LOST: it was missed"), "{said}");
            evidence(&program);
            if let Place::Rows(table) = &place {
                table.run(&program, "DROP TABLE things").await;
            }
        }
    }
}

#[tokio::test]
async fn a_place_that_is_not_there_or_another_one_loses_nothing() {
    let place = Place::Files;
    let program = place.program().await;
    for id in 0..50 {
        place.put(&program, id, 100).await;
    }
    run(&program);
    let (media, away) = (program.path("media"), program.path("away"));
    std::fs::rename(&media, &away).unwrap();
    let said = program.run(&["run"]);
    assert!(said.code == Some(1) && said.text.contains("nothing was done"), "{}", said.text);
    std::fs::create_dir(&media).unwrap();
    let (none, said) = run(&program);
    assert!(none == 0 && said.contains("is not the place that the inventory of"), "{said}");
    std::fs::remove_dir(&media).unwrap();
    std::fs::rename(&away, &media).unwrap();
    place.remove(&program, 7, 100).await;
    let (one, said) = run(&program);
    assert!(one == 1, "the inventory is the one of the place: {said}");
    // A damaged inventory is none.
    let file = program.path("state/inventory/house.things");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    place.remove(&program, 8, 100).await;
    let (one, said) = run(&program);
    assert!(one == 1 && said.contains("is damaged") && said.contains("a new inventory of 48 records begins"), "{said}");
}

#[tokio::test]
async fn a_new_year_is_no_loss_and_hides_none() {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    if !Path::new(LIBRARY).exists() {
        return println!("skipped: libfaketime is not here");
    }
    let place = Place::Files;
    let mut program = place.program().await;
    for id in 0..2000 {
        place.put(&program, id, 100).await;
    }
    let year = Zoned::now().year();
    program.set("LD_PRELOAD", LIBRARY);
    program.set("FAKETIME", format!("@{year}-12-31 12:00:00"));
    run(&program);
    place.remove(&program, 5, 100).await;
    program.set("FAKETIME", format!("@{}-01-01 12:00:00", year + 1));
    let (one, said) = run(&program);
    assert!(one == 1, "{said}");
    let name = program.entries("lost")[0]["records"][0].as_str().unwrap().to_owned();
    assert!(name.starts_with(&format!("{year}:")), "it is named as the log named it: {name}");
    place.remove(&program, 6, 100).await;
    program.set("FAKETIME", format!("@{}-01-01 12:30:00", year + 1));
    assert_eq!(run(&program).0, 2);
    let name = program.entries("lost")[1]["records"][0].as_str().unwrap().to_owned();
    assert!(name.starts_with(&format!("{}:", year + 1)), "{name}");
    program.set("FAKETIME", format!("@{}-01-01 13:00:00", year + 1));
    assert_eq!(run(&program).0, 2);
}

#[tokio::test]
async fn of_what_went_under_names_of_a_new_year_nobody_is_accused() {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    if !Path::new(LIBRARY).exists() {
        return println!("skipped: libfaketime is not here");
    }
    let place = Place::Files;
    let mut program = place.program().await;
    let text = std::fs::read_to_string(program.path("retentiond.yaml")).unwrap();
    program.write("retentiond.yaml", &text.replace("inventory: on", "inventory: on, limits: { records: 1 }"));
    for (id, days) in [(1, 400), (2, 400), (3, 100), (4, 100)] {
        place.put(&program, id, days).await;
    }
    let year = Zoned::now().year();
    program.set("LD_PRELOAD", LIBRARY);
    program.set("FAKETIME", format!("@{year}-12-31 12:00:00"));
    let plan = refused(&program.must(3, &["run"]));
    // The file of the plan is as old as its store's clock says, which knows nothing of the days that pass here.
    let kept = std::fs::File::options().append(true).open(program.path(&format!("state/plans/{plan}.plan"))).unwrap();
    kept.set_modified(std::time::SystemTime::now() + std::time::Duration::from_hours(24 * 400)).unwrap();
    program.set("FAKETIME", format!("@{year}-12-31 12:10:00"));
    program.must(0, &["hold", "place", "--kind", "other", "--record", &place.address(1, 400), "--reason", "r", "--matter", "M"]);
    program.set("FAKETIME", format!("@{year}-12-31 12:20:00"));
    // One of two is held, so the other goes by itself.
    run(&program);
    program.set("FAKETIME", format!("@{}-01-01 12:00:00", year + 1));
    program.must(0, &["hold", "release", "--matter", "M", "--reason", "over"]);
    program.set("FAKETIME", format!("@{}-01-01 12:10:00", year + 1));
    let said = program.run(&["run", "--allow", &plan]).text;
    assert_eq!(program.entries("destroyed").len(), 2, "{said}");
    program.set("FAKETIME", format!("@{}-01-01 12:20:00", year + 1));
    let (none, said) = run(&program);
    assert!(none == 0 && said.contains("it cannot be told whether any was lost"), "{said}");
    // From then on all names are of the new year.
    place.remove(&program, 3, 100).await;
    program.set("FAKETIME", format!("@{}-01-01 12:30:00", year + 1));
    assert_eq!(run(&program).0, 1);
}

#[tokio::test]
async fn kills_leave_one_inventory_or_the_other_and_lose_nothing() {
    let place = Place::Files;
    let program = place.program().await;
    for id in 0..600 {
        place.put(&program, id, if id % 2 == 0 { 400 } else { 100 }).await;
    }
    let (mut killed, mut step) = (0, 20);
    loop {
        let mut child = program.start(&["run"]);
        std::thread::sleep(std::time::Duration::from_millis(step));
        step = step * 4 / 3 + 1;
        let done = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if done {
            break;
        }
        killed += 1;
    }
    assert!(killed > 2);
    run(&program);
    assert_eq!(run(&program).0, 0, "nothing that the program destroyed is lost, whenever it was killed");
    place.remove(&program, 1, 100).await;
    assert_eq!(run(&program).0, 1);
    evidence(&program);
}

#[tokio::test]
async fn many_losses_are_told_in_pieces() {
    let place = Place::Files;
    let program = place.program().await;
    for id in 0..2500 {
        place.put(&program, id, 100).await;
    }
    run(&program);
    std::fs::remove_dir_all(program.path(&format!("media/{}", ago(100)))).unwrap();
    let (all, said) = run(&program);
    assert!(all == 2500 && said.contains("2500 records are LOST"), "{said}");
    assert_eq!(
        program.entries("lost").iter().map(|entry| entry["records"].as_array().unwrap().len()).collect::<Vec<_>>(),
        [1000, 1000, 500]
    );
    let status: Value = serde_json::from_str(program.must(1, &["status", "--json"]).trim()).unwrap();
    assert_eq!(status["datasets"][0]["lost"]["records"], 2500);
    evidence(&program);
}
