//! One UM service with a directory of its own, and a gateway that calls it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use postern_config::{Source, load_source};
use postern_net::signal::{self, Signal};
use postern_slots::Slot;
use postern_um::{Launch, Origin, Stop, UmError, run};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::stand_in::{control_path, script};

/// Longest wait of any test for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    pub directory: PathBuf,
    pub sip: SocketAddr,
    pub metrics: SocketAddr,
    /// Further lines of the gateway.
    pub gateway: String,
    calls: AtomicU32,
}

/// A service at work.
pub struct Running {
    pub stops: mpsc::Sender<Stop>,
    pub task: JoinHandle<Result<(), UmError>>,
}

/// What came back for a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.text.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Port of the worker that a 302 names.
    pub fn port(&self) -> u16 {
        let contact = self.header("Contact").expect("a Contact");
        let after = contact.split_once("@127.0.0.1:").expect("an address").1;
        after.split(';').next().expect("a port").parse().expect("a number")
    }
}

impl Lab {
    pub fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("um-{}-{number}", std::process::id()));
        std::fs::create_dir_all(directory.join("run")).expect("a directory of our own");
        let program = directory.join("worker");
        std::fs::write(&program, script(&std::env::current_exe().expect("this program"))).expect("own directory");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("own file");
        // Both are held at once, so that they differ.
        let free = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
        let [sip, metrics] = free.map(|listener| listener.local_addr().expect("bound"));
        Self { directory, sip, metrics, gateway: String::new(), calls: AtomicU32::new(0) }
    }

    fn configuration(&self, calls_max: u32) -> String {
        let Self { sip, metrics, gateway, .. } = self;
        let directory = self.directory.display();
        format!(
            r#"
[um]
startup_mode = "tcp"
tcp = ["{sip}"]
max_calls = {calls_max}
runtime_directory = "{directory}/run"
metrics = "{metrics}"
[um.recycle]
interval_secs_min = 0
[worker]
startup_mode = "tcp"
addresses = ["127.0.0.1"]
[mailbox]
store = "sqlite:postern.db"
recordings = "file:recordings"
[[gateway]]
address = "127.0.0.1"
dial_plan = "office"
{gateway}
[[dial_plan]]
name = "office"
pilots = ["7000"]
digits = 4
"#
        )
    }

    pub fn launch(&self) -> Launch {
        Launch { program: self.directory.join("worker"), arguments: Vec::new() }
    }

    pub fn run_directory(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// Starts a service; it has bound its ports when this returns.
    pub async fn start(&self, calls_max: u32) -> Running {
        let (stops, told) = mpsc::channel(4);
        let (tell, ready) = oneshot::channel();
        let task = tokio::spawn(self.service(calls_max, told, move || assert!(tell.send(()).is_ok())));
        match ready.await {
            Ok(()) => Running { stops, task },
            Err(_) => panic!("the service does not start: {:?}", task.await),
        }
    }

    /// A service that has not been started.
    pub fn service(
        &self,
        calls_max: u32,
        stops: mpsc::Receiver<Stop>,
        ready: impl FnOnce() + Send + 'static,
    ) -> impl Future<Output = Result<(), UmError>> + Send + 'static {
        let source = Source::text("lab", &self.configuration(calls_max), &self.directory);
        let loaded = load_source(&source, &[]).unwrap_or_else(|faults| {
            panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        let launch = self.launch();
        async move { run(loaded, Origin::Embedded, launch, stops, |_| ready()).await }
    }

    /// Starts a service and waits until calls are taken, and both workers are there.
    pub async fn ready(&self, calls_max: u32) -> Running {
        let running = self.start(calls_max).await;
        self.until_standby().await;
        running
    }

    /// Waits until one worker is active and the other waits to replace it.
    pub async fn until_standby(&self) {
        let wanted = ["state=\"active\"} 1", "state=\"ready\"} 1"];
        eventually(async || {
            let text = self.scrape("/metrics").await;
            wanted.iter().all(|wanted| {
                text.lines().any(|line| line.starts_with("postern_um_slot_state_info") && line.contains(wanted))
            })
        })
        .await;
    }

    pub fn next_call_id(&self) -> String {
        format!("call-{}@gateway", self.calls.fetch_add(1, Ordering::Relaxed))
    }

    pub async fn invite(&self, user: &str) -> Answer {
        self.request("INVITE", user, &self.next_call_id(), Ipv4Addr::LOCALHOST).await
    }

    pub async fn options(&self) -> Answer {
        self.request("OPTIONS", "ping", &self.next_call_id(), Ipv4Addr::LOCALHOST).await
    }

    /// A request by TCP from this address, on a connection of its own.
    pub async fn request(&self, method: &str, user: &str, call_id: &str, from: Ipv4Addr) -> Answer {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("loopback");
        let stream = socket.connect(self.sip).await.expect("the service listens");
        let local = stream.local_addr().expect("connected");
        let text = format!(
            "{method} sip:{user}@{sip} SIP/2.0\r\n\
             Via: SIP/2.0/TCP {local};branch=z9hG4bK{call_id}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:5550100@{local}>;tag=1\r\n\
             To: <sip:{user}@{sip}>\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: 1 {method}\r\n\
             Contact: <sip:5550100@{local};transport=tcp>\r\n\
             Content-Length: 0\r\n\r\n",
            sip = self.sip,
        );
        let mut stream = stream;
        stream.write_all(text.as_bytes()).await.expect("a request");
        tokio::time::timeout(PATIENCE, final_answer(stream)).await.expect("an answer in time")
    }

    /// A page of the service's telemetry, with its status line; empty when nobody listens.
    pub async fn scrape(&self, path: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(self.metrics).await else { return String::new() };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut text = String::new();
        if stream.write_all(request.as_bytes()).await.is_ok() {
            // A service that ends meanwhile has nothing more to say.
            let _ = stream.read_to_string(&mut text).await;
        }
        text
    }

    /// Tells the worker in a slot what to do.
    pub async fn tell(&self, slot: Slot, order: &str) {
        let path = control_path(&self.run_directory().join(slot.socket_name()));
        let mut stream = BufReader::new(UnixStream::connect(path).await.expect("a worker lives there"));
        stream.write_all(format!("{order}\n").as_bytes()).await.expect("it hears");
        let mut answer = String::new();
        stream.read_line(&mut answer).await.expect("it answers");
        assert_eq!(answer, "done\n");
    }

    pub fn pid(&self, slot: Slot) -> Option<u32> {
        let text = std::fs::read_to_string(self.run_directory().join(slot.lock_name())).ok()?;
        text.trim().parse().ok()
    }

    pub fn kill(&self, slot: Slot) {
        signal::send(self.pid(slot).expect("a worker lived there"), Signal::Kill).expect("it lives");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for slot in Slot::BOTH {
            let lock = self.run_directory().join(slot.lock_name());
            if let Some(pid) = self.pid(slot)
                && is_held(&lock)
            {
                let _ = signal::send(pid, Signal::Kill);
            }
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Whether a living process holds this lock.
pub fn is_held(path: &Path) -> bool {
    std::fs::File::open(path).is_ok_and(|file| file.try_lock().is_err())
}

/// Slot of the worker that listens there, as stand-ins do.
pub fn slot_of(port: u16) -> Slot {
    match port {
        5065 => Slot::A,
        5067 => Slot::B,
        other => panic!("{other} is no worker's port"),
    }
}

/// Waits until it is so.
pub async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "did not happen in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn final_answer(stream: TcpStream) -> Answer {
    let mut stream = BufReader::new(stream);
    loop {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut text).await.expect("text"), 0, "closed after {text:?}");
        }
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        if status >= 200 {
            return Answer { status, text };
        }
    }
}
