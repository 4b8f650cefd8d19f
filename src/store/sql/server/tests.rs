//! What a URL may say, what is refused, and that no password is ever repeated.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::url::TIMEOUT;
use super::*;
use crate::password::LONGEST;
use crate::yaml::Document;

/// Reads a store's keys as the configuration does: the server or the problems.
fn of(engine: Engine, yaml: &str) -> Result<Server, String> {
    let document = Document::parse("t.yaml", yaml.to_owned()).map_err(|error| error.to_string())?;
    let mut problems = Problems::new("t.yaml");
    let mut fields = document.root.fields("a store", &mut problems).unwrap();
    let place = fields.take(engine.key()).unwrap();
    let server = read(engine, place, &mut fields, Path::new("/etc/retentiond"), &mut problems);
    fields.finish("store \"s\"", &mut problems);
    let lines = problems.lines();
    assert_eq!(server.is_none(), !lines.is_empty() && !lines.iter().all(|line| line.contains("unknown key")), "{lines:?}");
    server.filter(|_| lines.is_empty()).ok_or_else(|| lines.join("\n"))
}

fn url(text: &str) -> Result<Server, String> {
    let engine = if text.starts_with("mysql") { Engine::MySql } else { Engine::Postgres };
    of(engine, &format!("{}: '{}'\n", engine.key(), text.replace('\'', "''")))
}

fn refused(text: &str) -> String {
    url(text).expect_err(text)
}

/// Everything that could be printed of a server's options, which only this test may do.
fn printed(text: &str) -> String {
    let server = url(text).unwrap();
    match server.engine {
        Engine::Postgres => format!("{:?}", server.postgres_options().unwrap()),
        Engine::MySql => format!("{:?}", server.mysql_options().unwrap()),
    }
}

fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_url_says_where_and_as_whom_and_nothing_else_is_asked() {
    let options = url("postgres://reten%20tion@DB.example.org:5433/re%2Fcords?sslmode=require").unwrap().postgres_options().unwrap();
    assert_eq!((options.get_host(), options.get_port()), ("db.example.org", 5433));
    assert_eq!((options.get_username(), options.get_database()), ("reten tion", Some("re/cords")));
    assert_eq!((options.get_application_name(), options.get_options()), (Some("retentiond"), None));
    let printed_options = format!("{options:?}");
    assert!(printed_options.contains("password: Some(\"\")"), "PGPASSWORD must not decide: {printed_options}");
    assert!(printed_options.contains("statements_level: Off"), "{printed_options}");
    let options = url("mysql://retention@127.0.0.1/records?sslmode=disable").unwrap().mysql_options().unwrap();
    assert_eq!((options.get_host(), options.get_port(), options.get_charset()), ("127.0.0.1", 3306, "utf8mb4"));
    assert_eq!((options.get_username(), options.get_database()), ("retention", Some("records")));
    let options = format!("{options:?}");
    for expected in ["password: None", "pipes_as_concat: false", "no_engine_substitution: false", "timezone: Some(\"+00:00\")"] {
        assert!(options.contains(expected), "{expected}: {options}");
    }
}

#[test]
fn a_socket_is_named_in_each_engines_own_way_and_has_no_tls() {
    let server = url("postgres://retention@/records?host=/run/postgresql").unwrap();
    let options = server.postgres_options().unwrap();
    assert_eq!(options.get_socket().unwrap(), Path::new("/run/postgresql"));
    assert!(matches!(options.get_ssl_mode(), PgSslMode::Disable));
    assert_eq!(server.shown(), "postgres://retention@/records?host=/run/postgresql");
    let server = url("postgres://retention@:5433/records?host=/run/postgresql").unwrap();
    assert_eq!(server.postgres_options().unwrap().get_port(), 5433);
    assert_eq!(server.shown(), "postgres://retention@:5433/records?host=/run/postgresql");
    for text in ["mysql://retention@localhost/records?socket=/run/a.sock", "mysql://retention@/records?socket=/run/a.sock"] {
        let server = url(text).unwrap();
        let options = server.mysql_options().unwrap();
        assert_eq!(options.get_socket().unwrap(), Path::new("/run/a.sock"));
        assert!(matches!(options.get_ssl_mode(), MySqlSslMode::Disabled));
        assert_eq!(server.shown(), "mysql://retention@localhost/records?socket=/run/a.sock");
    }
    assert!(refused("postgres://u@db.example.org/d?host=/run/postgresql").contains("found a host and `host=`"));
    assert!(url("postgres://u@localhost/d?host=/run/postgresql").is_ok());
    assert!(refused("mysql://u@db/d?socket=/run/a.sock").contains("found a host and `socket=`"));
    assert!(refused("mysql://u@localhost:3306/d?socket=/run/a.sock").contains("found a port and `socket=`"));
    assert!(refused("postgres://u@/d?host=run").contains("expected the whole path of a socket for `host`, such as /run/postgresql"));
    assert!(refused("postgres://u@/d?host=/run/postgresql&sslmode=require").contains("TLS asked for over a socket"));
    assert!(refused("postgres://u@/d").contains("or its socket as `?host=/run/postgresql`, found neither"));
    assert!(refused("mysql://u@/d").contains("or its socket as `?socket=/run/mysqld/mysqld.sock`, found neither"));
}

#[test]
fn over_the_network_the_server_must_prove_who_it_is_unless_the_url_says_less() {
    for (parameter, postgres, mysql) in [
        ("", "VerifyFull", "VerifyIdentity"),
        ("?sslmode=verify-full", "VerifyFull", "VerifyIdentity"),
        ("?sslmode=verify-ca", "VerifyCa", "VerifyCa"),
        ("?sslmode=require", "Require", "Required"),
        ("?sslmode=disable", "Disable", "Disabled"),
    ] {
        for host in ["db.example.org", "localhost", "[::1]"] {
            let mode = printed(&format!("postgres://u@{host}/d{parameter}"));
            assert!(mode.contains(&format!("ssl_mode: {postgres},")), "{parameter}: {mode}");
            let mode = printed(&format!("mysql://u@{host}/d{parameter}"));
            assert!(mode.contains(&format!("ssl_mode: {mysql},")), "{parameter}: {mode}");
        }
    }
    assert_eq!(
        refused("postgres://u@h/d?sslmode=verify_full"),
        "t.yaml:1:11: unknown `sslmode` \"verify_full\"; did you mean `verify-full`?"
    );
    assert!(refused("mysql://u@h/d?sslmode=prefer").ends_with("expected one of: disable, require, verify-ca, verify-full"));
    assert!(refused("mysql://u@h/d?sslmode=").contains("expected a value for the parameter `sslmode`"));
    assert!(refused("postgres://u@h/d?sslmode=require&sslrootcert=ca.pem").contains("which checks no certificate"));
    assert!(refused("postgres://u@h/d?sslmode=disable&sslcert=a&sslkey=b").contains("which shows none"));
    assert!(refused("postgres://u@h/d?sslcert=a").contains("without the other"));
    assert!(refused("postgres://u@h/d?sslrootcert=system").contains("leave `sslrootcert=system` out"));
}

#[test]
fn certificates_are_found_from_the_configurations_folder_and_looked_at_when_connecting() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let text = format!("postgres://u@h/d?sslrootcert={}&sslcert={}&sslkey={}", at("ca.pem"), at("c.pem"), at("k.pem"));
    let server = url(&text).unwrap();
    let error = server.postgres_options().unwrap_err();
    assert!(error.contains("ca.pem: expected a certificate: No such file"), "{error}");
    file(folder.path(), "ca.pem", "x", 0o644);
    file(folder.path(), "c.pem", "x", 0o644);
    file(folder.path(), "k.pem", "x", 0o640);
    let error = server.postgres_options().unwrap_err();
    assert!(error.contains("k.pem: expected a key that only its owner can read, found mode 0640"), "{error}");
    file(folder.path(), "k.pem", "x", 0o600);
    let mysql = Server { engine: Engine::MySql, ..server.clone() };
    for options in [format!("{:?}", server.postgres_options().unwrap()), format!("{:?}", mysql.mysql_options().unwrap())] {
        for name in ["ca.pem", "c.pem", "k.pem"] {
            assert!(options.contains(&format!("Some(File({:?}))", at(name))), "{name}: {options}");
        }
    }
    let error = url("postgres://u@h/d?sslrootcert=own/ca.pem").unwrap().postgres_options().unwrap_err();
    assert!(error.starts_with("/etc/retentiond/own/ca.pem: expected a certificate"), "{error}");
}

#[test]
fn a_variable_that_the_driver_would_obey_is_refused() {
    let check = |text: &str, set: &str| url(text).unwrap().refuse_environment(|name| name == set);
    let error = check("postgres://u@h/d", "PGOPTIONS").unwrap_err();
    assert!(error.contains("has the variable PGOPTIONS") && error.ends_with("unset it"), "{error}");
    for variable in ["PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"] {
        assert!(check("postgres://u@h/d", variable).is_err());
        assert!(check("postgres://u@h/d?sslrootcert=a&sslcert=b&sslkey=c", variable).is_ok(), "overridden");
        assert!(check("postgres://u@h/d?sslmode=disable", variable).is_ok(), "without effect");
        assert!(check("postgres://u@/d?host=/run", variable).is_ok(), "without effect");
    }
    for variable in ["PGHOST", "PGPASSWORD", "PGUSER", "PGSSLMODE"] {
        assert!(check("postgres://u@h/d", variable).is_ok(), "overridden");
    }
}

#[test]
fn a_url_that_leaves_something_open_is_refused_with_what_to_write() {
    for (text, expected) in [
        ("postgres://h/d", "expected the database's user before an `@`, found none; write for example postgres://user@"),
        ("postgres://@h/d", "expected the database's user before the `@`"),
        ("postgres://u@h", "expected the name of one database"),
        ("postgres://u@h/", "expected the name of one database"),
        ("postgres://u@h/a/b", "expected the name of one database"),
        ("postgres://u@h/%zz", "expected the name of one database"),
        ("postgres://u@h/%00", "expected the name of one database"),
        ("postgres://u@h:0/d", "expected a port"),
        ("postgres://u@h:+1/d", "expected a port"),
        ("postgres://u@h:70000/d", "expected a port"),
        ("postgres://u@h:/d", "expected a port"),
        ("postgres://u@[::1/d", "expected an IPv6 address in brackets"),
        ("postgres://u@[::1]x/d", "expected `:` and a port"),
        ("postgres://u@::1/d", "expected a port"),
        ("postgres://u@a,b/d", "expected a host in letters"),
        ("postgres://u@%2Frun/d", "expected a host in letters"),
        ("postgres://u@h/d e", "found a space, a `#` or a control character"),
        ("postgres://u@h/d#x", "found a space, a `#` or a control character"),
        ("postgresql://u@h/d", "expected a URL that begins with `postgres://`, found `postgresql://`"),
        ("jdbc://u@h/d", "found another beginning; write for example postgres://user@db.example.org:5432/database"),
        ("db.example.org", "expected a URL that begins with `postgres://`, found something else"),
        ("postgres://u@h/d?connect_timeout=0", "expected `connect_timeout` in seconds, from 1 to 600"),
        ("postgres://u@h/d?sslmod=require", "unknown parameter `sslmod`; did you mean `sslmode`?"),
        ("postgres://u@h/d?ssl-mode=require", "unknown parameter `ssl-mode`; did you mean `sslmode`?"),
        ("postgres://u@h/d?application_name=x", "unknown parameter `application_name`; expected one of: connect_timeout, host, ssl"),
        ("postgres://u@h/d?socket=/run/x", "unknown parameter `socket`"),
        ("mysql://u@h/d?host=/run/x", "unknown parameter `host`"),
        ("postgres://u@h/d?user=u", "unknown parameter `user`; write the user before an `@`"),
        ("postgres://u@h/d?sslmode=require&sslmode=disable", "the parameter `sslmode` stands here twice"),
    ] {
        let error = refused(text);
        assert!(error.starts_with("t.yaml:1:") && error.contains(expected), "{text}: {error}");
    }
    let both = refused("postgres://u@h/d?sslmod=1&conect_timeout=2");
    assert_eq!(both.lines().count(), 2, "all problems at once: {both}");
    assert!(of(Engine::Postgres, "postgres: [a]\n").unwrap_err().contains("expected where the database is, such as postgres://"));
    assert!(of(Engine::Postgres, "postgres: postgres://u@h/d\npassword: x\n").unwrap_err().contains("secrets never stand in this file"));
    assert_eq!(url("postgres://u@h/d?connect_timeout=5").unwrap().connect_timeout(), Duration::from_secs(5));
    assert_eq!(url("postgres://u@h/d").unwrap().connect_timeout(), TIMEOUT);
}

#[test]
fn one_database_has_one_identity_under_all_its_names() {
    let identity = |text: &str| url(text).unwrap().identity();
    assert_eq!(identity("postgres://a@DB.example.org/d"), "postgres:db.example.org:5432/d");
    assert_eq!(identity("postgres://b@db.example.org.:5432/d?sslmode=require"), "postgres:db.example.org:5432/d");
    assert_eq!(identity("mysql://a@[0:0::1]/d"), "mysql:[::1]:3306/d");
    assert_eq!(url("mysql://a@[0:0::1]/d").unwrap().shown(), "mysql://a@[0:0::1]/d");
    assert_ne!(identity("postgres://a@h/d"), identity("postgres://a@h/D"));
    assert_ne!(identity("postgres://a@h/d"), identity("postgres://a@h:5433/d"));
    assert_ne!(identity("postgres://a@h:3306/d"), identity("mysql://a@h/d"));
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    let link = folder.path().join("link");
    symlink(&real, &link).unwrap();
    let socket = |folder: &Path| identity(&format!("postgres://a@/d?host={}", folder.display()));
    assert_eq!(socket(&link), socket(&real));
    assert_eq!(socket(&real), format!("postgres:{}/.s.PGSQL.5432:d", real.display()));
    assert_eq!(identity("mysql://a@/d?socket=/none/my.sock"), "mysql:/none/my.sock:d");
}

#[test]
fn what_is_weaker_than_it_could_be_is_said() {
    let weak = |text: &str| url(text).unwrap().weaknesses();
    for fine in [
        "postgres://u@h/d",
        "mysql://u@h/d?sslmode=verify-full",
        "postgres://u@/d?host=/run",
        "postgres://u@127.0.0.1/d?sslmode=disable",
        "postgres://u@[::1]/d?sslmode=disable",
        "mysql://u@localhost/d?sslmode=disable",
    ] {
        assert_eq!(weak(fine), Vec::<String>::new(), "{fine}");
    }
    for (text, expected) in [
        ("postgres://u@h/d?sslmode=disable", "nothing is encrypted"),
        ("mysql://u@h/d?sslmode=require", "certificate is not checked"),
        ("postgres://u@h/d?sslmode=verify-ca", "name is not checked"),
    ] {
        let said = weak(text);
        assert!(said.len() == 1 && said[0].contains(expected) && said[0].ends_with("write `sslmode=verify-full`"), "{text}: {said:?}");
    }
}

#[test]
fn a_password_file_is_read_at_each_connection_and_belongs_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.password");
    let server = of(Engine::Postgres, &format!("postgres: postgres://u@h/d\npassword-file: {}\n", path.display())).unwrap();
    let password = || server.source.password().map(|password| password.unwrap().0);
    assert!(password().unwrap_err().contains("db.password: expected a file with the password: No such file"));
    for (content, expected) in [("one\n", "one"), ("two", "two"), ("three\r\n", "three"), ("fo ur\n\n", "fo ur\n"), (" \n", " ")] {
        file(folder.path(), "db.password", content, 0o600);
        assert_eq!(password().unwrap(), expected);
    }
    assert!(format!("{:?}", server.postgres_options().unwrap()).contains("password: Some(\" \")"));
    for (content, expected) in [("", "found nothing"), ("\n", "found nothing"), ("a\0b", "found a byte 0")] {
        file(folder.path(), "db.password", content, 0o400);
        assert!(password().unwrap_err().contains(expected));
        std::fs::remove_file(&path).unwrap();
    }
    file(folder.path(), "db.password", [0xff, b'h', b'u', b'n'], 0o600);
    assert!(password().unwrap_err().ends_with("expected a password in UTF-8, found bytes that are not"));
    file(folder.path(), "db.password", vec![b'a'; LONGEST as usize + 1], 0o600);
    assert!(password().unwrap_err().contains("found more"));
    for mode in [0o640, 0o604, 0o620] {
        file(folder.path(), "db.password", "one", mode);
        let error = password().unwrap_err();
        assert!(error.contains(&format!("found mode {mode:04o}; run `chmod 600`")), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(password().unwrap_err().contains("found something else"));
    let relative = of(Engine::MySql, "mysql: mysql://u@h/d\npassword-file: db.password\n").unwrap();
    assert_eq!(relative.source, Source::File("/etc/retentiond/db.password".into()));
}

#[test]
fn a_credential_is_what_systemd_hands_to_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let server = of(Engine::MySql, "mysql: mysql://u@h/d\ncredential: hr.db\n").unwrap();
    assert!(
        server
            .source
            .password_from(None)
            .unwrap_err()
            .contains("CREDENTIALS_DIRECTORY is not set; start the service with `LoadCredential=hr.db:")
    );
    assert!(
        server
            .source
            .password_from(Some(folder.path()))
            .unwrap_err()
            .contains("no credential \"hr.db\"; write `LoadCredential=hr.db:PATH`")
    );
    file(folder.path(), "hr.db", "secret\n", 0o440);
    assert_eq!(server.source.password_from(Some(folder.path())).unwrap().unwrap().0, "secret");
    for name in ["../etc/shadow", "a/b", ".", "..", "with space", "'@!'"] {
        let error = of(Engine::MySql, &format!("mysql: mysql://u@h/d\ncredential: {name}\n")).unwrap_err();
        assert!(error.starts_with("t.yaml:2:13: expected the name of a credential"), "{error}");
        assert!(!error.contains(name) || name == ".", "{error}");
    }
    let both = of(Engine::MySql, "mysql: mysql://u@h/d\ncredential: a\npassword-file: b\n").unwrap_err();
    assert!(both.contains("t.yaml:3:16") && both.contains("stand together") && both.ends_with("keep one"), "{both}");
    assert!(of(Engine::MySql, "mysql: mysql://u@h/d\ncredential:\n").unwrap_err().contains("found nothing"));
}

#[test]
fn a_password_in_the_url_is_refused_and_not_repeated() {
    for text in [
        "postgres://user:hunter2@h/d",
        "postgres://user:@h/d",
        "postgres://:hunter2@h/d",
        "postgres://user%3Ahunter2@h/d",
        "postgres://user:hun@ter2@h/d",
        "postgres://user:hun/ter2?hunter2#@h/d",
        "mysql://u@h/d?password=hunter2",
        "mysql://u@h/d?PASSWD=a&hunter2=1",
        "mysql://h/d?user=u&pwd=hunter2",
        "user:hunter2@h/d",
    ] {
        let error = refused(text);
        assert!(error.contains("secrets never stand in the file") && error.contains("`credential:`"), "{text}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("ter2"), "{error}");
    }
    for text in [
        "postgres://user:hunter2/d",
        "postgres://hunter2",
        "hunter2",
        "hunter2://u@h/d",
        "postgres://u@hunter2:hunter2/d",
        "mysql://user:?hunter2/d",
    ] {
        assert!(!refused(text).contains("hunter2"));
    }
    assert!(url("postgres://u@h:5432/d?sslrootcert=/etc/a%40b.pem").is_ok());
}

/// Odd passwords, with a word in them that is nowhere else.
fn odd() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::strategy::Strategy as _;
    ("[@:%/?&#= a\n\r\\\\\"'ü]{0,6}", "[@:%/?&#= a\n\r\\\\\"'ü]{0,6}").prop_map(|(before, after)| format!("{before}hunter2{after}"))
}

proptest::proptest! {
    #[test]
    fn no_message_repeats_a_password_that_stands_in_a_url(
        password in odd(),
        scheme in "postgres|postgresql|mysql",
        rest in "@h/d|@h:5432/d|@/d[?]host=/run|@h/d[?]sslmode=x|/d||@",
        parameter in "password|passwd|pwd",
    ) {
        for text in [format!("{scheme}://user:{password}{rest}"), format!("{scheme}://u@h/d?{parameter}={password}")] {
            for engine in [Engine::Postgres, Engine::MySql] {
                let wrong = parse(engine, &text, Path::new("/")).expect_err(&text);
                proptest::prop_assert!(!wrong.concat().contains("hunter2"), "{}: {:?}", text, wrong);
            }
        }
    }

    #[test]
    fn a_password_reaches_the_driver_as_it_is_and_is_shown_nowhere_else(password in odd()) {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), "p", format!("{password}\n"), 0o600);
        let yaml = format!("postgres: postgres://u@h/d\npassword-file: {}\n", folder.path().join("p").display());
        let server = of(Engine::Postgres, &yaml).unwrap();
        let read = server.source.password().unwrap().unwrap();
        // A line end of its own before the file's is part of the password only when it is not the first half of the file's.
        proptest::prop_assert_eq!(&read.0, password.strip_suffix('\r').unwrap_or(&password));
        let options = format!("{:?}", server.postgres_options().unwrap());
        let held = format!("password: Some({:?})", read.0);
        proptest::prop_assert!(options.contains(&held));
        let visible = format!("{read:?} {server:?} {} {} {:?}", server.shown(), server.identity(), server.weaknesses());
        proptest::prop_assert!(!visible.contains("hunter2"), "{}", visible);
    }

    #[test]
    fn what_is_shown_leads_to_the_same_server(
        user in "[^\\p{C}:]{1,12}", database in "[^\\p{C}]{1,12}", port in 1u16.., socket in "(/[^\\p{C}]{1,6}){1,3}",
    ) {
        let way = [
            Way::Tcp { host: "db.example.org".into(), port, tls: Tls { mode: Mode::VerifyFull, root: None, client: None } },
            Way::Socket { path: socket.into(), port },
        ];
        for way in way {
            let server = Server {
                engine: Engine::Postgres, user: user.clone(), database: database.clone(), way, source: Source::Nothing, timeout: TIMEOUT,
            };
            let shown = server.shown();
            proptest::prop_assert_eq!(parse(Engine::Postgres, &shown, Path::new("/")), Ok(server), "{}", shown);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(postgres|mysql)://[ -~ü]{0,60}") {
        let _ = parse(Engine::Postgres, &text, Path::new("/"));
        let _ = parse(Engine::MySql, &text, Path::new("/"));
    }
}
