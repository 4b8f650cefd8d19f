//! What `deploy/roles/mysql.sql` grants is enough, on both engines, and no more.

use super::super::super::tests::configured;
use super::*;

/// The tables of examples/estate, as far as the account is concerned.
const ESTATE: &str = "CREATE TABLE applicants (id INT PRIMARY KEY, status VARCHAR(9), done DATE);
    CREATE TABLE interviews (id INT PRIMARY KEY, applicant_id INT, FOREIGN KEY (applicant_id) REFERENCES applicants (id));
    CREATE TABLE tenancies (id INT PRIMARY KEY, done DATE); CREATE TABLE staff (id INT PRIMARY KEY, name VARCHAR(9), done DATE);
    CREATE TABLE others (id INT PRIMARY KEY, done DATE);
    INSERT INTO applicants VALUES (1, 'no', '2020-01-01'), (2, 'no', NULL); INSERT INTO interviews VALUES (1, 1), (2, 1), (3, 2);
    INSERT INTO tenancies VALUES (1, '2020-01-01'); INSERT INTO staff VALUES (1, 'A', '2020-01-01'); INSERT INTO others VALUES (1, '2020-01-01')";

const APPLICANTS: &str = "{ table: applicants, key: id, where: \"status = 'no'\", children: [ { table: interviews, key: applicant_id } ] }";
const STAFF: &str = "  things: { table: staff, key: id, events: { done: done }, anonymise: { name: null } }\n";

#[tokio::test]
async fn with_exactly_the_rights_of_the_shipped_account_everything_works() {
    for database in databases(ESTATE).await {
        let (engine, name) = (database.engine().name(), database.name());
        let account = format!("shipped_{name}");
        let script = include_str!("../../../../../deploy/roles/mysql.sql");
        let own = script.replace("ON housing.", &format!("ON {name}.")).replace("'retentiond'@'%'", &format!("'{account}'@'localhost'"));
        let own = own.replace("REQUIRE SSL", "REQUIRE NONE");
        assert_ne!(script, own);
        // It may be run again.
        for _ in 0..2 {
            database.run(&own).await;
        }
        database.run(&format!("ALTER USER '{account}'@'localhost' ACCOUNT UNLOCK")).await;
        let url = database.url().replace("tester@", &format!("{account}@"));

        let store = store(&url, APPLICANTS, "done");
        let found = findings(&store).await;
        assert!(!found.contains("Blocks"), "{engine}: {found}");
        let (records, scanned) = scan(&store, Some(due("2021-01-01"))).await;
        assert_eq!((keys(&records), scanned.population), (vec!["1".to_owned()], 2));
        assert_eq!(done(&destroy(&store, &records).await[0]), 2);
        let store = configured(&MYSQL, &url, Path::new("/"), STAFF).unwrap();
        let found = findings(&store).await;
        assert!(!found.contains("Blocks"), "{engine}: who only anonymises needs no DELETE: {found}");
        let records = all(&store).await;
        done(&remove(&store, Act::Anonymise, &records).await[0]);
        assert_eq!(database.texts("SELECT name FROM staff").await, ["NULL"]);
        // Looked up only: nothing of it can go, and of others nothing is even seen.
        let store = self::store(&url, "{ table: tenancies, key: id }", "done");
        let records = all(&store).await;
        assert!(matches!(&destroy(&store, &records).await[0], Fate::Failed { uncertain: false, .. }));
        let found = findings(&self::store(&url, "{ table: others, key: id }", "done")).await;
        assert!(found.contains("Blocks"), "{engine}: {found}");
        assert_eq!(database.number("SELECT (SELECT count(*) FROM tenancies) + (SELECT count(*) FROM others)").await, 2);
    }
}
