//! The watchdog of the service: fed while a scan makes progress, however slow, and not while it makes none.
//!
//! Between the program and a real server stands a relay that lets through as much as it is told. What systemd would be told arrives at a socket of
//! the test.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{Program, keeper};
use crate::servers::{self, Engine};

const PASSWORD: &str = "CanaryPassword8391";

/// How long the watchdog may hear nothing, and a run make no progress.
const WATCHDOG: Duration = Duration::from_secs(3);
const STALLED: Duration = Duration::from_secs(3);

/// Lets through what the server sends, at a rate that can be changed; nothing at 0.
struct Relay {
    port: u16,
    bytes_a_second: Arc<AtomicU64>,
}

impl Relay {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes_a_second = Arc::new(AtomicU64::new(u64::MAX));
        let rate = Arc::clone(&bytes_a_second);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from_client, &mut to_server);
                    let _ = to_server.shutdown(Shutdown::Both);
                });
                let rate = Arc::clone(&rate);
                thread::spawn(move || trickle(server, client, &rate));
            }
        });
        Self { port, bytes_a_second }
    }
}

fn trickle(mut from: TcpStream, mut to: TcpStream, rate: &AtomicU64) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let bytes_a_second = rate.load(Ordering::Relaxed);
        if bytes_a_second == 0 {
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        match from.read(&mut buffer) {
            Ok(read) if read > 0 && to.write_all(&buffer[..read]).is_ok() => {
                // Only what is long takes long: it is a narrow line, not a far one.
                thread::sleep(Duration::from_micros(read as u64 * 1_000_000 / bytes_a_second));
            }
            _ => return drop(to.shutdown(Shutdown::Both)),
        }
    }
}

/// The service; ended when it is dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// When systemd was told that the service is alive.
struct Told(Arc<Mutex<Vec<Instant>>>);

impl Told {
    fn listen(path: &std::path::Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let told: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let at = Arc::clone(&told);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "WATCHDOG=1") {
                    at.lock().unwrap().push(Instant::now());
                }
            }
        });
        Self(told)
    }

    fn since(&self, from: Instant) -> Vec<Instant> {
        self.0.lock().unwrap().iter().filter(|at| **at >= from).copied().collect()
    }

    /// The longest silence from an instant until now.
    fn silence(&self, from: Instant) -> Duration {
        let ends = self.since(from).into_iter().chain([Instant::now()]);
        let mut before = from;
        ends.map(|at| at.duration_since(std::mem::replace(&mut before, at))).max().unwrap()
    }
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_mins(1), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn slow_progress_feeds_the_watchdog_and_none_starves_it() {
    let Some(server) = servers::shared(Engine::Postgres) else { return };
    let database = server.database().await;
    database.run("CREATE TABLE people (id TEXT PRIMARY KEY, ended_on DATE)").await;
    database.run("INSERT INTO people SELECT repeat('x', 60) || n, '2019-01-01' FROM generate_series(1, 90000) n").await;
    let role = keeper(&database, PASSWORD).await;
    let relay = Relay::before(server.port());
    let program = Program::new(&format!(
        "  housing:\n    mode: report\n    postgres: postgres://{}@127.0.0.1:{}/{}?sslmode=disable\n    password-file: password\n    datasets:\n      \
         people: {{ class: short, table: people, key: id, events: {{ ended: ended_on }} }}\n",
        role.name,
        relay.port,
        database.name(),
    ));
    let file = program.write("password", PASSWORD);
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    let config = std::fs::read_to_string(program.path("retentiond.yaml")).unwrap();
    program.write("retentiond.yaml", &format!("control: control.sock\nstalled-after: {} seconds\n{config}", STALLED.as_secs()));
    let told = Told::listen(&program.path("notify.sock"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_retentiond"));
    command.arg("--config").arg(program.path("retentiond.yaml")).arg("daemon").env("NOTIFY_SOCKET", program.path("notify.sock"));
    let said = std::fs::File::create(program.path("said")).unwrap();
    command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()).stdin(Stdio::null()).stderr(said);
    let mut service = Service(command.spawn().unwrap());
    let said = || std::fs::read_to_string(program.path("said")).unwrap();
    let ask = || program.run(&["status"]).text;
    await_that("the service is ready", || said().contains("ready"));

    relay.bytes_a_second.store(800_000, Ordering::Relaxed);
    let begun = Instant::now();
    let mut order = Command::new(env!("CARGO_BIN_EXE_retentiond"));
    order.arg("--config").arg(program.path("retentiond.yaml")).arg("run").stdout(Stdio::null()).stderr(Stdio::null());
    let mut order = Service(order.spawn().unwrap());
    await_that("records are seen", || ask().contains("running since") && !ask().contains(": 0 records seen"));
    let running = Instant::now();
    thread::sleep(STALLED * 2 + Duration::from_millis(500));
    assert!(ask().contains("running since"), "it was over too soon: {}", said());
    assert!(told.silence(begun) < WATCHDOG, "slow is not stuck: {:?} of {:?}", told.silence(begun), running.elapsed());
    assert!(told.since(running).len() >= 3 && !said().contains("no progress"));

    relay.bytes_a_second.store(0, Ordering::Relaxed);
    await_that("it is noticed", || said().contains("no progress for 3 seconds; the watchdog is no longer fed"));
    let starving = Instant::now();
    thread::sleep(WATCHDOG + Duration::from_millis(500));
    assert_eq!(told.since(starving), [], "systemd restarts it by now");
    // The service itself is well, and says what is wrong.
    assert!(ask().contains("running since"));

    relay.bytes_a_second.store(u64::MAX, Ordering::Relaxed);
    await_that("it is fed again", || !told.since(starving).is_empty());
    // That the event's column has no index is a finding.
    assert!(matches!(order.0.wait().unwrap().code(), Some(0 | 1)));
    assert!(ask().contains("90000 records, 90000 due"), "{}", ask());
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(service.0.id()).unwrap()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
}
