//! The roles as processes, each on cores of its own, with everything they need in one directory.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use postern_mailbox::{AudioId, OwnQuota, Pin, PlanName, Store};
use postern_store::{NewMailbox, PinKey, SqliteStore};

pub const ROUTER: u16 = 25_060;
pub const UM: u16 = 25_062;
pub const WORKER: u16 = 25_065;

/// Signs of life come by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with the configuration of all roles.
pub struct Office {
    pub program: PathBuf,
    pub directory: PathBuf,
}

/// A process of ours, ended with this value.
pub struct Running {
    child: Child,
    name: &'static str,
}

impl Office {
    /// Makes the directory, and mailboxes `1000` and upwards.
    pub async fn furnish(program: &Path, mailboxes: usize) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("postern-bench-{}", std::process::id()));
        fs::create_dir(&directory)?;
        let office = Self { program: program.into(), directory };
        fs::write(office.configuration(), office.text())?;
        let store = office.store().await?;
        for number in 0..mailboxes {
            let mailbox = NewMailbox {
                plan: PlanName("bench".into()),
                addresses: vec![mailbox_number(number).parse().ok().context("a mailbox number")?],
                name: format!("Bench {number}"),
                language: "en".into(),
                time_zone: "UTC".into(),
                operator: None,
                quota: OwnQuota::default(),
                mail: postern_store::MailSettings::default(),
                pin: Pin::new("739182").context("a PIN")?,
                must_change: false,
            };
            store.add_mailbox(mailbox).await?;
        }
        Ok(office)
    }

    pub fn configuration(&self) -> PathBuf {
        self.directory.join("postern.toml")
    }

    fn text(&self) -> String {
        let directory = self.directory.display();
        format!(
            r#"[router]
startup_mode = "tcp"
tcp = ["127.0.0.1:{ROUTER}"]
um_services = ["sip:127.0.0.1:{UM};transport=tcp"]
metrics = "127.0.0.1:25080"
[um]
startup_mode = "tcp"
tcp = ["127.0.0.1:{UM}"]
max_calls = 5000
routers = ["127.0.0.1"]
runtime_directory = "{directory}/run"
metrics = "127.0.0.1:25081"
[worker]
startup_mode = "tcp"
addresses = ["127.0.0.1"]
slots = [{WORKER}, {}]
rtp_ports = "20000-29999"
rtp_rest_secs = 1
media_threads = 1
metrics = ["127.0.0.1:25082", "127.0.0.1:25083"]
[mailbox]
store = "sqlite:{directory}/postern.db"
recordings = "file:{directory}/recordings"
pin_key_file = "{directory}/pin.key"
[[gateway]]
address = "127.0.0.1"
dial_plan = "bench"
[[dial_plan]]
name = "bench"
pilots = ["9999"]
digits = 4
[telemetry]
log = "error"
"#,
            WORKER + 2
        )
    }

    pub async fn store(&self) -> Result<SqliteStore> {
        let key = PinKey::load_or_create(&self.directory.join("pin.key"))?;
        let (database, recordings) = (self.directory.join("postern.db"), self.directory.join("recordings"));
        Ok(SqliteStore::open(postern_store::Options::new(database, recordings, key)).await?.0)
    }

    /// All recordings that mailboxes hold, at 8 kHz.
    pub async fn recordings(&self) -> Result<Vec<Vec<i16>>> {
        let store = self.store().await?;
        let mut all = Vec::new();
        for listed in store.mailboxes().await? {
            for message in store.list_messages(listed.mailbox.id).await? {
                let mut pcm: Vec<i16> = Vec::new();
                loop {
                    let read = store.read_audio(AudioId::Message(message.id), pcm.len() as u64, 160_000).await?;
                    ensure!(read.rate_hz == 8_000, "a recording at {} Hz", read.rate_hz);
                    pcm.extend(&read.samples);
                    if read.is_end {
                        break;
                    }
                }
                all.push(pcm);
            }
        }
        Ok(all)
    }

    /// Starts a role on these cores alone, and waits until it listens on `port`.
    pub fn start(&self, role: &'static str, cores: &str, port: u16) -> Result<Running> {
        let log = fs::File::create(self.directory.join(format!("{role}.log")))?;
        let child = Command::new("taskset")
            .args(["-c", cores])
            .arg(&self.program)
            .args([role, "--config"])
            .arg(self.configuration())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("taskset cannot be run")?;
        let mut running = Running { child, name: role };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = running.child.try_wait()? {
                bail!("{role} ended, {status}: {}", self.log_of(role));
            }
            ensure!(begun.elapsed() < PATIENCE, "{role} does not listen: {}", self.log_of(role));
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    fn log_of(&self, role: &str) -> String {
        fs::read_to_string(self.directory.join(format!("{role}.log"))).unwrap_or_default()
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub fn mailbox_number(number: usize) -> String {
    (1_000 + number).to_string()
}

impl Running {
    /// taskset becomes the program that it starts.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: postern_net::signal::Signal) -> io::Result<()> {
        postern_net::signal::send(self.pid(), signal)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Twice: at once, for a UM service its workers too.
        for _ in 0..2 {
            let _ = self.signal(postern_net::signal::Signal::Terminate);
            std::thread::sleep(Duration::from_millis(100));
        }
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > Duration::from_secs(10) {
                eprintln!("{} does not end and is killed", self.name);
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
