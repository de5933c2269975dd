//! A process that speaks the workers' side of the contract, and does what a test tells it by a socket of its own.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use postern_slots::limits::{HEARTBEAT, VERSION};
use postern_slots::{
    CallKey, Contacts, FromWorker, Lines, NamedPort, Readiness, RecentCall, Slot, Status, ToWorker, encode,
    recent_calls_parts, story_parts,
};

pub const SOCKET_VARIABLE: &str = "STAND_IN_SOCKET";
const SLOT_VARIABLE: &str = "STAND_IN_SLOT";
const GENERATION_VARIABLE: &str = "STAND_IN_GENERATION";

/// A script that turns the arguments of a worker into those of this program's own test.
pub fn script(program: &Path) -> String {
    format!(
        "#!/bin/sh\n{SLOT_VARIABLE}=$2 {GENERATION_VARIABLE}=$4 {SOCKET_VARIABLE}=$6 exec '{}' --exact --nocapture \
         a_worker_stands_in_when_it_is_asked_to\n",
        program.display()
    )
}

/// Where tests tell the worker at `socket` what to do.
pub fn control_path(socket: &Path) -> PathBuf {
    socket.with_extension("control")
}

pub struct StandIn {
    slot: Slot,
    generation: u64,
    socket: PathBuf,
}

struct State {
    slot: Slot,
    born: Instant,
    ready: bool,
    /// It listens for TLS too.
    secure: bool,
    calls: BTreeSet<String>,
    draining: Option<Instant>,
    /// Connections that said hello.
    listeners: Vec<UnixStream>,
}

type Shared = Arc<Mutex<State>>;

impl StandIn {
    pub fn asked_for() -> Option<Self> {
        let variable = |name| std::env::var(name).ok();
        Some(Self {
            slot: variable(SLOT_VARIABLE)?.parse().ok()?,
            generation: variable(GENERATION_VARIABLE)?.parse().ok()?,
            socket: variable(SOCKET_VARIABLE)?.into(),
        })
    }

    pub fn live(self) -> ! {
        let _lock = self.take_lock();
        let state = Arc::new(Mutex::new(State {
            slot: self.slot,
            born: Instant::now(),
            ready: true,
            secure: false,
            calls: BTreeSet::new(),
            draining: None,
            listeners: Vec::new(),
        }));
        let _ = std::fs::remove_file(control_path(&self.socket));
        let control = UnixListener::bind(control_path(&self.socket)).expect("a socket for tests");
        let told = Arc::clone(&state);
        std::thread::spawn(move || control.incoming().flatten().for_each(|stream| obey(&told, stream)));
        let _ = std::fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).expect("the slot's socket");
        let (heard, generation) = (Arc::clone(&state), self.generation);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || converse(&heard, stream, generation));
            }
        });
        // A test that is over takes its directory along, and nobody is left behind.
        while self.socket.exists() {
            std::thread::sleep(HEARTBEAT);
            locked(&state).report();
        }
        exit(0)
    }

    fn take_lock(&self) -> File {
        let path = self.socket.with_file_name(self.slot.lock_name());
        let mut file = File::options().write(true).create(true).truncate(false).open(path).expect("the slot's lock");
        for _ in 0..20 {
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0).expect("own file");
                    write!(file, "{}", std::process::id()).expect("own file");
                    return file;
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
                Err(TryLockError::Error(error)) => panic!("{error}"),
            }
        }
        exit(3)
    }
}

fn locked(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().expect("no thread of ours panics")
}

impl State {
    fn say(&mut self, message: &FromWorker) {
        let line = encode(message).expect("a message");
        self.listeners.retain_mut(|listener| listener.write_all(&line).is_ok());
    }

    fn report(&mut self) {
        let base = 5065 + 2 * self.slot.index() as u16;
        let tls = self.secure.then(|| NamedPort { host: "worker.example.test".into(), port: base + 1 });
        let status = Status {
            ready: Readiness { store_writable: self.ready, ..Readiness::ALL },
            calls: self.calls.len() as u32,
            memory_bytes: 1 << 20,
            age_secs: self.born.elapsed().as_secs(),
            draining_secs: self.draining.map(|since| since.elapsed().as_secs()),
            contacts: Contacts { tcp: vec![([127, 0, 0, 1], base).into()], tls },
        };
        self.say(&FromWorker::Status(status));
    }
}

/// One connection of a UM service, or of somebody who wants a story.
fn converse(state: &Shared, mut stream: UnixStream, generation: u64) {
    let (mut lines, mut buffer) = (Lines::default(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        for message in lines.push(&buffer[..read]).expect("what the UM service writes can be read") {
            let mut state = locked(state);
            match message {
                ToWorker::Hello { .. } => {
                    let pid = std::process::id();
                    let hello = FromWorker::Hello { version: VERSION, slot: state.slot, generation, pid };
                    let calls = state.calls.iter().map(|call| FromWorker::CallBegan { call: CallKey::of(call) });
                    let said: Vec<u8> =
                        [hello].into_iter().chain(calls).flat_map(|said| encode(&said).expect("a message")).collect();
                    let mut listener = stream.try_clone().expect("a descriptor");
                    if listener.write_all(&said).is_ok() {
                        state.listeners.push(listener);
                    }
                    state.report();
                }
                ToWorker::Drain { .. } => {
                    state.draining.get_or_insert(Instant::now());
                    state.report();
                }
                ToWorker::Resume => {
                    state.draining = None;
                    state.report();
                }
                ToWorker::Retire => exit(0),
                ToWorker::Place(_) | ToWorker::HangUp { .. } => {}
                ToWorker::Story { question, call } => {
                    for part in story_parts(question, &format!("{} came by slot {}\n", call.as_str(), state.slot)) {
                        let _ = stream.write_all(&encode(&part).expect("a message"));
                    }
                }
                ToWorker::RecentCalls { question } => {
                    let recent = |call: &String| RecentCall {
                        call: CallKey::of(call),
                        began_unix_millis: 1_800_000_000_000,
                        ended_unix_millis: None,
                    };
                    let calls: Vec<_> = state.calls.iter().map(recent).collect();
                    for part in recent_calls_parts(question, &calls) {
                        let _ = stream.write_all(&encode(&part).expect("a message"));
                    }
                }
            }
        }
    }
}

/// `begin ID`, `end ID`, `unready`, `secure`, `babble`; each line is answered by `done`.
fn obey(state: &Shared, stream: UnixStream) {
    let mut answers = stream.try_clone().expect("a descriptor");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let mut state = locked(state);
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("begin", call) => {
                state.calls.insert(call.to_owned());
                state.say(&FromWorker::CallBegan { call: CallKey::of(call) });
            }
            ("end", call) => {
                state.calls.remove(call);
                state.say(&FromWorker::CallEnded { call: CallKey::of(call) });
            }
            ("unready", _) => state.ready = false,
            ("secure", _) => state.secure = true,
            ("babble", _) => {
                // First, since the UM service ends whoever babbles.
                let _ = answers.write_all(b"done\n");
                state.listeners.iter_mut().for_each(|listener| {
                    let _ = listener.write_all(b"what?\n");
                });
                continue;
            }
            (other, _) => panic!("{other} is no order"),
        }
        state.report();
        let _ = answers.write_all(b"done\n");
    }
}
