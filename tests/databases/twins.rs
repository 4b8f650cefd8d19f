//! Two stores of one configuration that are one database under two spellings.

use crate::program::{Program, keeper, key, over_tcp, servers};
use crate::servers::Engine;

const ROWS: &str =
    "CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE); INSERT INTO people VALUES (1, '2019-01-01'), (2, '2019-01-01')";
const PASSWORD: &str = "twinsofone";

fn store(name: &str, engine: Engine, url: &str, more: &str) -> String {
    let set = "people: { class: short, table: people, key: id, events: { ended: ended_on } }";
    format!("  {name}:\n    {}: {url}\n{more}    datasets:\n      {set}\n", key(engine))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_database_under_two_spellings_is_refused_before_anything_goes() {
    for server in servers() {
        let engine = server.engine();
        let (database, other) = (server.database().await, server.database().await);
        database.run(ROWS).await;
        other.run(ROWS).await;
        let role = keeper(&database, PASSWORD).await;
        let tcp = format!("{}://{}@127.0.0.1:{}/{}?{}", key(engine), role.name, server.port(), database.name(), over_tcp(engine));
        let program = Program::new("");
        program.write("password", PASSWORD);
        std::fs::set_permissions(program.path("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let socket = store("socket", engine, &database.url(), "");
        let network = store("network", engine, &tcp, "    password-file: password\n");
        // Each alone is well, and so are two databases of one server.
        let beside = store("beside", engine, &other.url(), "");
        for stores in [socket.clone(), network.clone(), format!("{socket}{beside}")] {
            program.configure(&stores);
            let said = program.run(&["check", "--connect"]);
            assert!(!said.text.contains("is the same database"), "{}: {}", engine.name(), said.text);
        }
        program.configure(&format!("{socket}{network}{beside}"));
        let said = program.must(1, &["check", "--connect"]);
        assert_eq!(said.matches("is the same database as that of store").count(), 2, "{}: {said}", engine.name());
        for name in ["socket/people", "network/people"] {
            let said = program.run(&["run", name]);
            assert!(said.text.contains("is the same database as that of store"), "{}: {}", engine.name(), said.text);
        }
        assert_eq!(database.number("SELECT count(*) FROM people").await, 2, "{}", engine.name());
        assert!(program.entries("intent").is_empty());
        // The third store is none of them.
        program.run(&["run", "beside/people"]);
        assert_eq!(other.number("SELECT count(*) FROM people").await, 0, "{}", engine.name());
        program.configure(&socket);
        program.run(&["run", "socket/people"]);
        assert_eq!(database.number("SELECT count(*) FROM people").await, 0, "{}", engine.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_plan_is_not_allowed_once_its_database_has_a_twin() {
    for server in servers() {
        let engine = server.engine();
        let database = server.database().await;
        database.run(ROWS).await;
        let role = keeper(&database, PASSWORD).await;
        let tcp = format!("{}://{}@127.0.0.1:{}/{}?{}", key(engine), role.name, server.port(), database.name(), over_tcp(engine));
        let program = Program::new("");
        program.write("password", PASSWORD);
        std::fs::set_permissions(program.path("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let socket = store("socket", engine, &database.url(), "");
        program.configure(&socket);
        let text = std::fs::read_to_string(program.path("retentiond.yaml")).unwrap();
        let text = text.replace("limits: unlimited", "limits: { records: 1, share: unlimited }");
        std::fs::write(program.path("retentiond.yaml"), text).unwrap();
        program.must(3, &["run"]);
        let plan = program.entries("refused")[0]["plan"].as_str().unwrap().to_owned();
        program.configure(&format!("{socket}{}", store("network", engine, &tcp, "    password-file: password\n")));
        let said = program.must(3, &["run", "--allow", &plan]);
        assert!(said.contains("is the same database as that of store \"network\""), "{said}");
        assert_eq!(database.number("SELECT count(*) FROM people").await, 2);
        program.configure(&socket);
        program.must(0, &["run", "--allow", &plan]);
        assert_eq!(database.number("SELECT count(*) FROM people").await, 0);
    }
}
