//! What the role must be allowed: everything that is missing is said at once, and what `deploy/roles/postgres.sql` grants is enough.

use std::process::Command;

use super::*;

/// The tables of examples/estate, as far as the role is concerned.
const ESTATE: &str = "CREATE TABLE applicants (id int PRIMARY KEY, status text, outcome_date date); CREATE TABLE interviews (id int PRIMARY KEY, applicant_id int REFERENCES applicants, note text);
    CREATE TABLE tenancies (id int PRIMARY KEY, ended_on date); CREATE TABLE staff (id int PRIMARY KEY, name text, left_on date); CREATE TABLE others (id int PRIMARY KEY, ended_on date);
    INSERT INTO applicants VALUES (1, 'no', '2020-01-01'), (2, 'no', NULL); INSERT INTO interviews VALUES (1, 1, 'n'), (2, 1, 'n'), (3, 2, 'n');
    INSERT INTO tenancies VALUES (1, '2020-01-01'); INSERT INTO staff VALUES (1, 'A', '2020-01-01'); INSERT INTO others VALUES (1, '2020-01-01');";

const APPLICANTS: &str = "  people: { table: applicants, key: id, events: { end: outcome_date }, where: \"status = 'no'\", children: [ { table: interviews, key: applicant_id } ] }\n";
const TENANCIES: &str = "  people: { table: tenancies, key: id, events: { end: ended_on } }\n";
const STAFF: &str = "  people: { table: staff, key: id, events: { end: left_on }, anonymise: { name: null } }\n";

/// Runs the shipped script against the database, with a role's name of its own. Answers the role's URL.
fn run_shipped_script(db: &Db) -> String {
    let server = servers::postgres().unwrap();
    let role = format!("shipped_{}", db.0.name());
    let script = include_str!("../../../../../deploy/roles/postgres.sql");
    let own = script
        .replace("\\set role retentiond", &format!("\\set role {role}"))
        .replace("\\set database housing", &format!("\\set database {}", db.0.name()));
    assert_ne!(script, own);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), own).unwrap();
    let mut command = Command::new("psql");
    command.arg("--no-psqlrc").arg("--host").arg(server.folder()).args(["--port", &server.port().to_string(), "--username", "tester"]);
    let output = command.args(["--dbname", db.0.name()]).arg("--file").arg(file.path()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    db.0.url().replace("tester@", &format!("{role}@"))
}

#[tokio::test]
async fn with_exactly_the_rights_of_the_shipped_role_everything_works() {
    let Some(db) = Db::new(ESTATE).await else { return };
    let url = run_shipped_script(&db);
    let store = store_at(&url, APPLICANTS);
    assert_eq!(blocked(&store).await, Vec::<String>::new());
    let (records, scanned) = scan(&store, due("2021-01-01")).await;
    assert_eq!((keys(&records), scanned.population), (vec!["1".to_owned()], 2));
    assert_eq!(done(&destroy(&store, &records).await[0]).parts, 2);
    let store = store_at(&url, STAFF);
    assert_eq!(blocked(&store).await, Vec::<String>::new(), "who only anonymises needs no DELETE");
    let records = all(&store).await;
    assert!(done(&remove(&store, Act::Anonymise, None, &records).await[0]).verified);
    assert_eq!(db.texts("SELECT name FROM staff").await, ["NULL"]);
    // Looked up only. That records of it cannot go is a matter of the datasets that destroy.
    let store = store_at(&url, TENANCIES);
    let found = store.lookup("people", &super::super::super::tests::event("end"), None, &["1"]).await.unwrap();
    assert!(matches!(found[0], Reading::At(_)));
    let records = all(&store).await;
    assert!(certain(&destroy(&store, &records).await[0]).contains("the role lacks a privilege"));
    // And nothing else.
    let store = store_at(&url, "  people: { table: others, key: id, events: { end: ended_on } }\n");
    assert!(!blocked(&store).await.is_empty());
    // It may be run again.
    run_shipped_script(&db);
}

#[tokio::test]
async fn everything_that_is_missing_is_said_at_once_with_the_grant_that_mends_it() {
    let Some(db) = Db::new(ESTATE).await else { return };
    let role = db.0.role("bare", None, &[]).await;
    let both = "  people: { table: applicants, key: id, events: { end: outcome_date }, where: \"status = 'no'\", children: [ { table: interviews, key: applicant_id } ], anonymise: { status: x } }\n";
    let store = store_at(&role.url, both);
    let said = blocked(&store).await.join("\n");
    let grants = |said: &str| -> Vec<String> {
        let found = said.split("`GRANT ").skip(1).map(|rest| format!("GRANT {}", rest.split('`').next().unwrap()));
        let mut found: Vec<String> = found.map(|grant| grant.replace("TO …", &format!("TO {}", role.name))).collect();
        found.sort();
        found.dedup();
        found
    };
    let needed = grants(&said);
    for grant in ["GRANT SELECT ON applicants", "GRANT UPDATE (status) ON applicants", "GRANT SELECT ON interviews"] {
        assert!(needed.iter().any(|one| one.starts_with(grant)), "{grant}: {said}");
    }
    // What is said is all that is needed: no second round.
    for grant in &needed {
        db.run(grant).await;
    }
    assert_eq!(blocked(&store).await, Vec::<String>::new(), "after {needed:?}");
    let records = all(&store).await;
    assert!(done(&remove(&store, Act::Anonymise, None, &records).await[0]).verified);

    // A schema that the role may not look into.
    db.run("CREATE SCHEMA closed; CREATE TABLE closed.people (id int PRIMARY KEY, ended_on date)").await;
    let store = store_at(&role.url, "  people: { table: closed.people, key: id, events: { end: ended_on } }\n");
    let said = blocked(&store).await.join("\n");
    assert!(grants(&said).contains(&format!("GRANT USAGE ON SCHEMA closed TO {}", role.name)), "{said}");
}

#[tokio::test]
async fn who_destroys_needs_delete_on_the_table_and_its_children_and_update_to_lock() {
    let Some(db) = Db::new(ESTATE).await else { return };
    let role = db.0.role("reader", None, &["SELECT ON applicants, interviews"]).await;
    let store = store_at(&role.url, APPLICANTS);
    let said = blocked(&store).await;
    for grant in ["GRANT DELETE ON applicants TO …", "GRANT UPDATE ON applicants TO …", "GRANT DELETE ON interviews TO …"] {
        assert!(said.iter().any(|one| one.contains(grant)), "{grant}: {said:?}");
    }
    // Nothing is half done without them.
    for rights in ["", "GRANT DELETE ON applicants TO ", "GRANT UPDATE (id) ON applicants TO "] {
        if !rights.is_empty() {
            db.run(&format!("{rights}{}", role.name)).await;
        }
        let records = all(&store).await;
        for fate in destroy(&store_at(&role.url, APPLICANTS), &records[..1]).await {
            assert!(certain(&fate).contains("the role lacks a privilege"));
        }
        assert_eq!(db.number("SELECT (SELECT count(*) FROM applicants) * 10 + (SELECT count(*) FROM interviews)").await, 23);
    }
}

#[tokio::test]
async fn row_level_security_is_refused_as_long_as_it_could_hide_rows() {
    let Some(db) = Db::new(ESTATE).await else { return };
    let role = db.0.role("seer", None, &["SELECT, DELETE, UPDATE ON tenancies"]).await;
    let store = store_at(&role.url, TENANCIES);
    assert_eq!(blocked(&store).await, Vec::<String>::new());
    let records = all(&store).await;
    for policy in ["", "CREATE POLICY everything ON tenancies USING (true)"] {
        db.run("ALTER TABLE tenancies ENABLE ROW LEVEL SECURITY").await;
        db.run(policy).await;
        let said = blocked(&store).await;
        assert!(said.iter().any(|one| one.contains("row-level security") && one.contains("BYPASSRLS")), "{said:?}");
        // A row that is hidden must not look absent, and a hidden tenancy not like one that ended.
        assert!(store.lookup("people", &super::super::super::tests::event("end"), None, &["1"]).await.is_err());
        assert!(store.fetch("people", &[records[0].key.clone()]).await.is_err());
        certain(&destroy(&store, &records).await[0]);
    }
    db.run(&format!("ALTER ROLE {} BYPASSRLS", role.name)).await;
    assert_eq!(blocked(&store).await, Vec::<String>::new());
    assert!(done(&destroy(&store, &records).await[0]).verified);
}

#[tokio::test]
async fn a_scan_makes_do_with_the_two_connections_that_the_role_may_have() {
    let Some(db) = Db::new(
        "CREATE TABLE t (id int PRIMARY KEY, ended_on date); INSERT INTO t SELECT n, '2020-01-01' FROM generate_series(1, 145000) AS n;",
    )
    .await
    else {
        return;
    };
    let role = format!("few_{}", db.0.name());
    let url = db.0.url().replace("tester@", &format!("{role}@"));
    db.0.run(&format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 2; GRANT SELECT ON t TO {role};")).await;
    let store = store_at(&url, "  people: { table: t, key: id, events: { end: ended_on } }\n");
    let (records, scanned) = scan(&store, due("2021-01-01")).await;
    assert_eq!((records.len(), scanned.population, scanned.incomplete), (145_000, 145_000, None));
    assert!(records.is_sorted_by_key(|record| record.key.to_text().parse::<u32>().unwrap()));
    store.leave().await;
    db.0.run(&format!("ALTER ROLE {role} CONNECTION LIMIT 1;")).await;
    let store = store_at(&url, "  people: { table: t, key: id, events: { end: ended_on } }\n");
    let query = crate::store::Query { bound: None, whole: false, now: jiff::Timestamp::now(), seen: Arc::default() };
    let refused = store.scan("people", query, tokio::sync::mpsc::channel(1).0).await.unwrap_err().to_string();
    assert!(refused.contains("the server takes no more connections"), "{refused}");
}
