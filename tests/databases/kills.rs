//! SIGKILL in the middle of enforcing: of the program, of its recovery, of the server. After each one the next start settles what was open, and
//! every row is held against the log.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::estate::{Dice, Estate};
use crate::program::{ENGINES, Program, key, servers};
use crate::servers::{Options, Server};

/// New rows for each kill, in each of two tables.
const ROWS: i64 = 240;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}: expected a number, found {text}")))
}

/// A new seed for each run of the test, told so that the same can be seen again.
fn dice() -> Dice {
    let seed = number("RETENTIOND_SEED").unwrap_or_else(|| jiff::Timestamp::now().subsec_nanosecond().unsigned_abs().into());
    println!("RETENTIOND_SEED={seed} shows it again, as far as time allows");
    Dice::new(seed)
}

/// Kills it, and answers whether it was still running.
fn kill(mut child: Child) -> bool {
    let hit = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    child.wait().unwrap();
    hit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_killed_at_any_moment_is_settled_by_the_next_start_and_nothing_went_that_was_not_due() {
    let mut dice = dice();
    let kills = number("RETENTIOND_KILLS").unwrap_or(20);
    for server in servers() {
        let mut estate = Estate::new(server.database().await).await;
        estate.add(ROWS).await;
        let began = Instant::now();
        estate.finish().await;
        let whole = began.elapsed();
        let (mut hits, mut early) = (0, 0);
        for round in 0..kills {
            estate.add(ROWS).await;
            // Mostly while it removes, now and then at any other moment.
            let child = if round % 4 == 3 {
                let child = estate.program.start(&["run"]);
                dice.pause(whole / 2).await;
                child
            } else {
                let child = estate.start_until_intent().await;
                dice.pause(Duration::from_millis(200)).await;
                child
            };
            hits += u64::from(kill(child));
            // Recovery is killed as well.
            if dice.below(3) == 0 {
                let child = estate.program.start(&["run", "housing/nothing"]);
                dice.pause(whole / 3).await;
                early += u64::from(kill(child));
            }
            estate.recover();
            estate.check().await;
        }
        estate.finish().await;
        println!(
            "{}: {hits} of {kills} kills hit a run, {early} a recovery; {} settled by looking",
            server.engine().name(),
            estate.recovered
        );
        assert!(hits >= kills / 2, "only {hits} of {kills} kills hit a run");
        assert!(estate.recovered > 0, "no kill left anything to settle");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_a_run_loses_no_record_and_no_outcome_and_the_run_ends_by_itself() {
    let mut dice = dice();
    for engine in ENGINES {
        let Some(mut server) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { continue };
        let mut estate = Estate::new(server.database().await).await;
        let mut hits = 0;
        for round in 0..5 {
            estate.add(ROWS).await;
            let mut child = estate.start_until_intent().await;
            dice.pause(Duration::from_millis(80)).await;
            hits += u32::from(child.try_wait().unwrap().is_none());
            tokio::task::block_in_place(|| {
                server.kill();
                // Now and then it is back while the run goes on.
                if round % 2 == 1 {
                    server.start_again();
                }
            });
            let began = Instant::now();
            while child.try_wait().unwrap().is_none() {
                assert!(began.elapsed() < Duration::from_mins(1), "{}: the run does not end without its server", engine.name());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if round % 2 == 0 {
                tokio::task::block_in_place(|| server.start_again());
            }
            estate.recover();
            estate.check().await;
        }
        estate.finish().await;
        assert!(hits >= 2, "{}: only {hits} kills hit a run", engine.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_interrupted_on_one_server_is_not_settled_on_another_that_stands_under_its_name() {
    for engine in ENGINES {
        let Some(other) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { continue };
        let Some(server) = crate::servers::shared(engine) else { continue };
        let mut estate = Estate::new(server.database().await).await;
        estate.add(ROWS).await;
        // Killed until something is left open.
        let mut open = false;
        for _ in 0..20 {
            let child = estate.start_until_intent().await;
            open = kill(child);
            if open {
                break;
            }
        }
        assert!(open, "{}: no kill hit a run", engine.name());
        let there = estate.database.number("SELECT count(*) FROM letters").await;
        // Another server, whose tables are empty: all would seem to be gone.
        let empty = other.database().await;
        estate.configure_at(&empty).await;
        let said = estate.program.run(&["run", "housing/nothing"]);
        assert!(said.code == Some(1) && said.text.contains("is not the place that the run worked on"), "{}: {}", engine.name(), said.text);
        assert!(estate.program.entries("recovered").is_empty());
        assert_eq!(estate.database.number("SELECT count(*) FROM letters").await, there);
        estate.configure_back();
        estate.recover();
        estate.check().await;
        estate.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_was_made_on_one_server_is_not_spent_on_another() {
    for engine in ENGINES {
        let Some(other) = Server::private(engine, Options { unsynced: true, ..Options::default() }) else { continue };
        let Some(server) = crate::servers::shared(engine) else { continue };
        let mut estate = Estate::new(server.database().await).await;
        estate.add(16).await;
        estate.limit("1");
        let said = estate.program.run(&["run", "housing/letters"]);
        let plan = said.text.split("--allow ").nth(1).and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
        let plan = plan.unwrap_or_else(|| panic!("{}", said.text));
        let database = other.database().await;
        estate.configure_at(&database).await;
        database.run("INSERT INTO letters VALUES (3, 'no', '2019-01-01', 'n')").await;
        let said = estate.program.must(3, &["run", "--allow", &plan]);
        assert!(said.contains("is not the place that the plan was made for"), "{said}");
        assert_eq!(database.number("SELECT count(*) FROM letters").await, 1);
        estate.configure_back();
        estate.program.must(0, &["run", "--allow", &plan]);
        assert_eq!(estate.database.number("SELECT count(*) FROM letters").await, 6);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_run_anonymised_is_told_from_what_it_did_not() {
    const PEOPLE: i64 = 4000;
    let mut dice = dice();
    for server in servers() {
        let database = server.database().await;
        database.run("CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE, name VARCHAR(20), city VARCHAR(20))").await;
        let rows: Vec<String> = (0..PEOPLE).map(|id| format!("({id}, '2019-01-01', 'a', 'b')")).collect();
        database.run(&format!("INSERT INTO people VALUES {}", rows.join(", "))).await;
        let program = Program::new(&format!(
            "  housing:\n    {}: {}\n    datasets:\n      people: {{ class: blank, table: people, key: id, events: {{ ended: ended_on }}, keys: plain, \
             anonymise: {{ name: null, city: {{ sql: \"concat(city, '!')\" }} }} }}\n",
            key(server.engine()),
            database.url()
        ));
        let mut told = 0;
        for _ in 0..8 {
            let child = program.start(&["run"]);
            let began = Instant::now();
            let left = "SELECT count(*) FROM people WHERE name IS NOT NULL";
            let before = database.number(left).await;
            while database.number(left).await == before && began.elapsed() < Duration::from_secs(10) {}
            dice.pause(Duration::from_millis(20)).await;
            kill(child);
            let known = program.entries("recovered").len();
            // The next run settles first, and does the rest.
            let said = program.run(&["run", "housing/people"]);
            assert!(matches!(said.code, Some(0 | 1)), "{}", said.text);
            let recovered = program.entries("recovered");
            told += recovered[known..].iter().filter(|entry| entry["found"] == "anonymised").count();
            assert!(recovered.iter().all(|entry| entry["found"] != "gone"), "nothing goes here");
            if told > 0 {
                break;
            }
            database.run("UPDATE people SET name = 'a', city = 'b'").await;
        }
        assert!(told > 0, "{}: no kill left an anonymised record to settle", server.engine().name());
        assert_eq!(database.number("SELECT count(*) FROM people WHERE name IS NULL AND city = 'b!'").await, PEOPLE, "each once");
        program.must(0, &["audit", "verify"]);
    }
}
