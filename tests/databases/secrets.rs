//! Passwords: taken from where the configuration says, and said nowhere.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::program::{Program, keeper, key, over_tcp, servers};
use crate::servers::Server;

const PASSWORD: &str = "CanaryPassword8391";

fn stores(server: &Server, user: &str, database: &str, source: &str) -> String {
    format!(
        "  housing:\n    {}: {0}://{user}@127.0.0.1:{}/{database}?{}\n    {source}\n    datasets:\n      \
         people: {{ class: short, table: people, key: id, events: {{ ended: ended_on }} }}\n",
        key(server.engine()),
        server.port(),
        over_tcp(server.engine())
    )
}

#[tokio::test]
async fn a_password_is_taken_from_a_file_or_from_the_service_and_stands_in_nothing_that_is_said_or_written() {
    for server in servers() {
        let database = server.database().await;
        database.run("CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE)").await;
        let role = keeper(&database, PASSWORD).await;
        for source in ["password-file: password", "credential: password"] {
            database.run("INSERT INTO people VALUES (1, '2019-01-01'), (2, NULL)").await;
            let mut program = Program::new(&stores(server, &role.name, database.name(), source));
            program.set("RUST_LOG", "trace");
            program.set("RUST_BACKTRACE", "1");
            let file = program.write(if source.contains("file") { "password" } else { "given/password" }, &format!("{PASSWORD}\n"));
            let only_owner = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            only_owner(0o600);
            if source.contains("credential") {
                // Without the service's folder there is no password, and nothing is guessed.
                let said = program.run(&["run"]);
                assert!(said.code != Some(0) && said.text.contains("CREDENTIALS_DIRECTORY is not set"), "{}", said.text);
                program.set("CREDENTIALS_DIRECTORY", program.path("given").to_str().unwrap());
            } else {
                only_owner(0o644);
                let said = program.run(&["run"]);
                assert!(said.code != Some(0) && said.text.contains("only its owner can read"), "{}", said.text);
                only_owner(0o600);
            }
            assert_eq!(database.number("SELECT count(*) FROM people").await, 2);
            for words in [&["check", "--connect"][..], &["plan"], &["run"], &["status"], &["audit", "list"]] {
                program.run(words);
            }
            assert_eq!(database.texts("SELECT id FROM people").await, ["2"], "{source}");
            // A wrong one, so that what the server says of it is said.
            std::fs::write(&file, format!("{PASSWORD}x")).unwrap();
            let said = program.run(&["run"]);
            assert!(said.code != Some(0) && said.text.contains("did not let us in"), "{}", said.text);
            // In the way of whoever connects where nobody listens.
            std::fs::write(&file, PASSWORD).unwrap();
            program.configure(&stores(server, &role.name, "nowhere", source));
            program.run(&["check", "--connect"]);
            assert_eq!(program.betrays(PASSWORD, &file), Vec::<String>::new(), "{source}");
            // The search works: it finds what was said, and the password where it may stand.
            assert!(program.has_said("housing/people") && program.betrays(PASSWORD, Path::new("/")) == [file.display().to_string()]);
            database.run("DELETE FROM people").await;
        }
    }
}
