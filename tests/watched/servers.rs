//! The tests' own servers for mail and for webhooks, as small as the tests allow.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a server took, in the order of arrival.
pub type Taken = Arc<Mutex<Vec<String>>>;

/// How a mail server is spoken to.
#[derive(Clone)]
pub enum Way {
    Plain,
    /// It offers STARTTLS and takes nothing without it.
    StartTls(Arc<ServerConfig>),
    Tls(Arc<ServerConfig>),
}

/// A server; it ends when it is dropped.
pub struct Server {
    pub port: u16,
    pub taken: Taken,
    /// All that clients said, passwords too.
    pub heard: Taken,
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(port: u16, serve: impl Fn(TcpStream, &Taken, &Taken) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (taken, heard, ended): (Taken, Taken, Arc<AtomicBool>) = Default::default();
        let thread = thread::spawn({
            let (taken, heard, ended) = (Arc::clone(&taken), Arc::clone(&heard), Arc::clone(&ended));
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    serve(stream, &taken, &heard);
                }
            }
        });
        Self { port, taken, heard, ended, thread: Some(thread) }
    }

    /// A mail server.
    pub fn mail(port: u16, way: Way) -> Self {
        Self::start(port, move |stream, taken, heard| match &way {
            Way::Plain => drop(smtp(BufReader::new(stream), true, "", taken, heard)),
            Way::Tls(config) => drop(smtp(secured(stream, config), true, "AUTH PLAIN LOGIN", taken, heard)),
            Way::StartTls(config) => {
                let plain = BufReader::new(stream.try_clone().unwrap());
                if smtp(plain, true, "STARTTLS", taken, heard) == Some(true) {
                    let _ = smtp(secured(stream, config), false, "AUTH PLAIN LOGIN", taken, heard);
                }
            }
        })
    }

    /// A web server that answers with these statuses, and then with 204.
    pub fn web(port: u16, statuses: &[u16]) -> Self {
        let statuses = Mutex::new(statuses.to_vec());
        Self::start(port, move |stream, taken, _| {
            let mut statuses = statuses.lock().unwrap();
            let status = if statuses.is_empty() { 204 } else { statuses.remove(0) };
            let _ = http(BufReader::new(stream), status, taken);
        })
    }

    pub fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // So that it looks.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        let _ = self.thread.take().unwrap().join();
    }
}

fn secured(stream: TcpStream, config: &Arc<ServerConfig>) -> BufReader<StreamOwned<ServerConnection, TcpStream>> {
    BufReader::new(StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream))
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

/// Speaks SMTP; answers whether the client asked for TLS, and nothing when it went away.
fn smtp<S: Both>(mut stream: BufReader<S>, greets: bool, offers: &str, taken: &Taken, heard: &Taken) -> Option<bool> {
    let say = |stream: &mut BufReader<S>, text: &str| stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).ok();
    if greets {
        say(&mut stream, "220 test")?;
    }
    let mut mail = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        heard.lock().unwrap().push(line.clone());
        let word = line.split_whitespace().next().unwrap_or_default().to_uppercase();
        match word.as_str() {
            "EHLO" if offers.is_empty() => say(&mut stream, "250 test")?,
            "EHLO" => say(&mut stream, &format!("250-test\r\n250 {offers}"))?,
            "STARTTLS" => {
                say(&mut stream, "220 go ahead")?;
                return Some(true);
            }
            "MAIL" if offers == "STARTTLS" => say(&mut stream, "530 STARTTLS first")?,
            "AUTH" => say(&mut stream, "235 welcome")?,
            "MAIL" | "RCPT" => {
                mail.push_str(&line);
                say(&mut stream, "250 fine")?;
            }
            "DATA" => {
                say(&mut stream, "354 go ahead")?;
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).ok()? == 0 || line == ".\r\n" {
                        break;
                    }
                    mail.push_str(&line);
                }
                taken.lock().unwrap().push(std::mem::take(&mut mail));
                say(&mut stream, "250 taken")?;
            }
            "QUIT" => {
                say(&mut stream, "221 bye")?;
                return Some(false);
            }
            _ => say(&mut stream, "500 what?")?,
        }
    }
}

fn http(mut stream: BufReader<TcpStream>, status: u16, taken: &Taken) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    taken.lock().unwrap().push(format!("{head}{}", String::from_utf8(body).ok()?));
    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes()).ok()
}

/// Makes an authority in a folder, `NAME.crt`, and a server's certificate by it; nothing where there is no `openssl`.
pub fn certificate(folder: &Path, name: &str) -> Option<Arc<ServerConfig>> {
    let openssl = |words: &str| {
        let output = Command::new("openssl").args(words.split(' ')).current_dir(folder).output().ok()?;
        assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
        Some(())
    };
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {curve} -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt"))?;
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    openssl(&format!("req {curve} -subj /CN=server -keyout {name}-server.key -out server.csr"))?;
    openssl(&format!("x509 -req -in server.csr -CA {name}.crt -CAkey {name}.key -days 2 -extfile names -out {name}-server.crt"))?;
    let certificates = CertificateDer::pem_file_iter(folder.join(format!("{name}-server.crt"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}-server.key"))).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider())).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(certificates.map(Result::unwrap).collect(), key);
    Some(Arc::new(config.unwrap()))
}
