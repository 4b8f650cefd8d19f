//! Encryption: a server is only spoken to when its certificate is of the named authority, in force, and for the name that was asked for.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::program::{ENGINES, Program, keeper, key};
use crate::servers::{Engine, Options, Server};

const PASSWORD: &str = "Password7264";

/// Certificates made for one test.
struct Authority(TempDir);

fn openssl(folder: &Path, words: &str) -> bool {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(folder).output();
    output.is_ok_and(|output| output.status.success() || panic!("openssl {words}: {}", String::from_utf8_lossy(&output.stderr)))
}

impl Authority {
    fn new() -> Option<Self> {
        Command::new("openssl").arg("version").output().ok()?;
        let folder = tempfile::tempdir().unwrap();
        for name in ["ca", "other-ca"] {
            let made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30";
            openssl(folder.path(), &format!("{made} -subj /CN={name} -keyout {name}.key -out {name}.crt"));
        }
        // `x509` cannot make certificates that are over; `ca` can.
        std::fs::write(
            folder.path().join("ca.cnf"),
            "[ca]\ndefault_ca = d\n[d]\ndatabase = index\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\npolicy = p\nunique_subject = no\n[p]\ncommonName = supplied\n",
        )
        .unwrap();
        std::fs::write(folder.path().join("index"), "").unwrap();
        std::fs::write(folder.path().join("serial"), "01\n").unwrap();
        Some(Self(folder))
    }

    fn root(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.crt"))
    }

    /// Key and certificate for these names, in force from one date to the other.
    fn issue(&self, names: &str, from: &str, to: &str) -> (Vec<u8>, Vec<u8>) {
        let folder = self.0.path();
        std::fs::write(folder.join("ext"), format!("subjectAltName = {names}\nextendedKeyUsage = serverAuth\n")).unwrap();
        openssl(folder, "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server -keyout server.key -out server.csr");
        let signed = "ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key -in server.csr -out server.crt -extfile ext";
        openssl(folder, &format!("{signed} -startdate {from} -enddate {to}"));
        (std::fs::read(folder.join("server.key")).unwrap(), std::fs::read(folder.join("server.crt")).unwrap())
    }
}

fn settings(engine: Engine, server: &Server) -> Vec<String> {
    let folder = server.folder().display();
    match engine {
        Engine::Postgres => vec![
            "ssl = on".into(),
            format!("ssl_key_file = '{folder}/server.key'"),
            format!("ssl_cert_file = '{folder}/server.crt'"),
            "log_connections = on".into(),
        ],
        Engine::MariaDb => vec![format!("ssl_key = {folder}/server.key"), format!("ssl_cert = {folder}/server.crt")],
        Engine::MySql => {
            vec!["tls_version = TLSv1.3".into(), format!("ssl_key = {folder}/server.key"), format!("ssl_cert = {folder}/server.crt")]
        }
    }
}

/// What a server wrote down when it let this user in.
fn logins(server: &Server, user: &str) -> Vec<String> {
    let (log, line) = match server.engine() {
        Engine::Postgres => (server.log(), format!("connection authorized: user={user}")),
        Engine::MariaDb | Engine::MySql => (std::fs::read_to_string(server.data().join("logins")).unwrap(), format!("Connect\t{user}@")),
    };
    log.lines().filter(|one| one.contains(&line)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_certificate_is_not_right_is_refused_before_anything_is_read() {
    let Some(authority) = Authority::new() else {
        println!("skipped: there is no openssl");
        return;
    };
    for engine in ENGINES {
        let mut settings_from_the_start: Vec<String> = Vec::new();
        if engine != Engine::Postgres {
            settings_from_the_start.extend(["general_log = ON".into(), "general_log_file = logins".into()]);
        }
        if engine == Engine::MySql {
            // It makes certificates for itself.
            settings_from_the_start.push("tls_version =".into());
        }
        let options = Options { unsynced: true, settings: settings_from_the_start, ..Options::default() };
        let Some(mut server) = Server::private(engine, options) else { continue };
        let database = server.database().await;
        database
            .run("CREATE TABLE people (id INT PRIMARY KEY, ended_on DATE); INSERT INTO people VALUES (1, '2019-01-01'), (2, NULL)")
            .await;
        let role = keeper(&database, PASSWORD).await;
        let program = Program::new("");
        let password = program.write("password", PASSWORD);
        std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let configure = |server: &Server, parameters: &str| {
            program.configure(&format!(
                "  housing:\n    {}: {0}://{}@localhost:{}/{}{parameters}\n    password-file: password\n    datasets:\n      \
                 people: {{ class: short, table: people, key: id, events: {{ ended: ended_on }} }}\n",
                key(engine),
                role.name,
                server.port(),
                database.name()
            ));
        };
        let let_in = |server: &Server| logins(server, &role.name).len();
        let refused = async |server: &Server, what: &str, words: &str| {
            let before = let_in(server);
            let said = program.run(&["check", "--connect"]).text;
            assert!(said.contains(words), "{what}: {said}");
            let run = program.run(&["run"]);
            assert!(run.code != Some(0), "{what}: {}", run.text);
            assert_eq!(database.number("SELECT count(*) FROM people").await, 2, "{what}");
            assert_eq!(let_in(server), before, "{what}: nobody was let in, so nothing was read and no password was sent");
        };
        let trust = |name: &str| format!("?sslmode=verify-full&sslrootcert={}", authority.root(name).display());

        // A server without TLS.
        configure(&server, &trust("ca"));
        refused(&server, "no TLS", "server does not support TLS").await;

        let good = authority.issue("DNS:localhost,IP:127.0.0.1", "20200101000000Z", "20491231000000Z");
        let other_name = authority.issue("DNS:db.example.org", "20200101000000Z", "20491231000000Z");
        let expired = authority.issue("DNS:localhost", "20200101000000Z", "20210101000000Z");
        let not_yet = authority.issue("DNS:localhost", "20480101000000Z", "20491231000000Z");
        let show = |server: &mut Server, (key, certificate): &(Vec<u8>, Vec<u8>)| {
            server.keep("server.key", key);
            server.keep("server.crt", certificate);
            let lines = settings(engine, server);
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            tokio::task::block_in_place(|| {
                server.stop();
                server.set(&lines);
                server.start_again();
            });
        };
        show(&mut server, &other_name);
        refused(&server, "another name", "was not accepted: certificate not valid for name").await;
        show(&mut server, &expired);
        refused(&server, "expired", "was not accepted: certificate expired").await;
        show(&mut server, &not_yet);
        refused(&server, "not yet in force", "was not accepted: certificate not valid yet").await;
        show(&mut server, &good);
        configure(&server, &trust("other-ca"));
        refused(&server, "another authority", "of no authority that is trusted here").await;
        configure(&server, "");
        refused(&server, "an authority that only the configuration could name", "of no authority that is trusted here").await;

        configure(&server, &trust("ca"));
        let before = let_in(&server);
        let said = program.run(&["check", "--connect"]).text;
        assert!(!said.contains("blocks:"), "{said}");
        program.run(&["run"]);
        assert_eq!(database.texts("SELECT id FROM people").await, ["2"]);
        assert!(let_in(&server) > before);
        let encrypted = if engine == Engine::Postgres { "SSL enabled" } else { "using SSL/TLS" };
        assert!(logins(&server, &role.name).iter().all(|line| line.contains(encrypted)), "{:?}", logins(&server, &role.name));
        assert_eq!(program.betrays(PASSWORD, &password), Vec::<String>::new());
    }
}
