//! A worker's place in its slot: the lock, the socket, and what is said over it. The signalling loop owns the [`Desk`],
//! so a loop that hangs falls silent.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use postern_dialplan::Listeners;
use postern_sip::host::Host;
use postern_slots::{
    CallKey, Contacts, FromWorker, Lines, Order, OrderId, Progress, Readiness, RecentCall, Slot, Status, ToWorker,
    encode,
    limits::{HEARTBEAT, VERSION},
    recent_calls_parts, story_parts,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::limits;
use crate::orders::Orders;
use crate::signalling::Duty;

/// The place that a worker is started in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub slot: Slot,
    /// Path of the socket; the lock lies beside it.
    pub socket: PathBuf,
    /// As given by who started it.
    pub generation: u64,
}

/// Why a place cannot be taken; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    #[error("slot {slot} is held by a living worker (process {pid}); its lock is {path}")]
    Held { slot: Slot, path: PathBuf, pid: String },
    #[error("{path}: {error}; um.runtime_directory must be one that the worker may write")]
    Unusable { path: PathBuf, error: io::Error },
}

impl Seat {
    /// Takes the slot's lock, waiting a moment for a predecessor to end. Held until the file is dropped.
    ///
    /// # Errors
    /// [`SeatError`].
    pub async fn take(&self) -> Result<File, SeatError> {
        let path = self.socket.with_file_name(self.slot.lock_name());
        let unusable = |error| SeatError::Unusable { path: path.clone(), error };
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(unusable)?;
        let until = Instant::now() + limits::LOCK_TIME;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(Duration::from_millis(50)).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(SeatError::Held { slot: self.slot, pid: written(&mut file), path });
                }
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(unusable)?;
        Ok(file)
    }

    /// Listens on the socket, in place of whoever did before; the lock is held by then.
    fn listen(&self) -> Result<UnixListener, SeatError> {
        let unusable = |error| SeatError::Unusable { path: self.socket.clone(), error };
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
            _ => UnixListener::bind(&self.socket).map_err(unusable),
        }
    }
}

/// What a holder wrote into its lock.
fn written(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    read.map_or_else(|_| "unknown".into(), |_| text.trim().to_owned())
}

/// The listeners of the other slot, as the rules of calls know them.
fn listeners(contacts: Contacts) -> Listeners {
    let tls = contacts.tls.and_then(|named| Some((Host::parse(&named.host)?, named.port)));
    Listeners { tcp: contacts.tcp, tls }
}

/// One end of a connection, from the desk's side.
struct Peer {
    lines: mpsc::Sender<Vec<u8>>,
    /// It said hello: it is a UM service.
    greeted: bool,
}

/// What connections bring.
pub(crate) enum Heard {
    Opened(mpsc::Sender<Vec<u8>>),
    Said(ToWorker),
    Closed,
}

/// What happened at the desk.
pub(crate) enum Turn {
    Heard(u64, Heard),
    Beat,
    Store,
}

/// What the signalling loop is to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Further calls are 486.
    CallsMax(usize),
    /// Tell a story: to this connection, in answer to this question.
    Story { peer: u64, question: u64, call: CallKey },
    /// Name the calls that stories can be told of.
    RecentCalls { peer: u64, question: u64 },
    /// Place a call; it counts already.
    Place(Box<Order>),
    /// Hang up an outgoing call.
    HangUp(OrderId),
}

/// All connections to a worker's socket, and what is told to them.
pub(crate) struct Desk {
    seat: Seat,
    contacts: Contacts,
    heard: mpsc::Receiver<(u64, Heard)>,
    peers: HashMap<u64, Peer>,
    duty: watch::Sender<Duty>,
    store_writable: watch::Receiver<bool>,
    calls: BTreeSet<CallKey>,
    orders: Orders,
    beat: Interval,
    began: Instant,
    draining: Option<Instant>,
}

impl Desk {
    /// Opens the desk of a worker that is reached at `contacts`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(crate) fn open(
        seat: Seat,
        contacts: Contacts,
        duty: watch::Sender<Duty>,
        store_writable: watch::Receiver<bool>,
    ) -> Result<Self, SeatError> {
        let listener = seat.listen()?;
        let (tell, heard) = mpsc::channel(limits::SLOT_MESSAGES_MAX);
        tokio::spawn(accept(listener, tell));
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            seat,
            contacts,
            heard,
            peers: HashMap::new(),
            duty,
            store_writable,
            calls: BTreeSet::new(),
            orders: Orders::default(),
            beat,
            began: Instant::now(),
            draining: None,
        })
    }

    /// The next thing that happens. Cancel-safe.
    pub(crate) async fn turn(&mut self) -> Turn {
        tokio::select! {
            Some((peer, heard)) = self.heard.recv() => Turn::Heard(peer, heard),
            _ = self.beat.tick() => Turn::Beat,
            // The prober lives as long as the worker; until it is gone its last word stands.
            Ok(()) = self.store_writable.changed() => Turn::Store,
        }
    }

    /// Deals with what happened.
    pub(crate) fn on_turn(&mut self, turn: Turn) -> Option<Wanted> {
        match turn {
            Turn::Beat | Turn::Store => {
                self.tell_status();
                None
            }
            Turn::Heard(id, Heard::Opened(lines)) => {
                self.peers.insert(id, Peer { lines, greeted: false });
                None
            }
            Turn::Heard(id, Heard::Closed) => {
                self.peers.remove(&id);
                None
            }
            Turn::Heard(id, Heard::Said(message)) => self.on_message(id, message),
        }
    }

    fn on_message(&mut self, id: u64, message: ToWorker) -> Option<Wanted> {
        let greeted = self.peers.get(&id).is_some_and(|peer| peer.greeted);
        match message {
            ToWorker::Hello { version, calls_max } => {
                self.on_hello(id);
                (version == VERSION).then_some(Wanted::CallsMax(calls_max as usize))
            }
            ToWorker::Story { question, call } => Some(Wanted::Story { peer: id, question, call }),
            ToWorker::RecentCalls { question } => Some(Wanted::RecentCalls { peer: id, question }),
            _ if !greeted => None,
            ToWorker::Drain { elsewhere } => self.set_duty(Duty::Draining { elsewhere: listeners(elsewhere) }),
            ToWorker::Resume => self.set_duty(Duty::Serving),
            ToWorker::Retire => self.set_duty(Duty::Leaving),
            ToWorker::Place(order) => self.on_order(order),
            ToWorker::HangUp { order } => Some(Wanted::HangUp(order)),
        }
    }

    fn set_duty(&self, duty: Duty) -> Option<Wanted> {
        duty.set(&self.duty);
        None
    }

    fn on_order(&mut self, order: Box<Order>) -> Option<Wanted> {
        let now = Instant::now();
        if !self.orders.take(&order, now) {
            return None;
        }
        self.on_began(order.id.call_key().as_str());
        let report = self.orders.report(order.id, now)?;
        self.tell(&FromWorker::Order(report));
        Some(Wanted::Place(order))
    }

    fn on_hello(&mut self, id: u64) {
        let hello = FromWorker::Hello {
            version: VERSION,
            slot: self.seat.slot,
            generation: self.seat.generation,
            pid: std::process::id(),
        };
        let began = self.calls.iter().map(|call| FromWorker::CallBegan { call: call.clone() });
        let orders = self.orders.reports(Instant::now()).into_iter().map(FromWorker::Order);
        let said = std::iter::once(hello).chain(began).chain(orders).chain([self.status()]);
        let lines: Vec<u8> = said.flat_map(|message| line(&message)).collect();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.greeted = true;
            send(&mut self.peers, id, lines);
        }
    }

    /// The worker's duty has changed.
    pub(crate) fn on_duty(&mut self) {
        let is_serving = *self.duty.borrow() == Duty::Serving;
        self.draining = (!is_serving).then(|| self.draining.unwrap_or_else(Instant::now));
        self.tell_status();
    }

    /// A call was let in.
    pub(crate) fn on_began(&mut self, call_id: &str) {
        let call = CallKey::of(call_id);
        if self.calls.insert(call.clone()) {
            self.tell(&FromWorker::CallBegan { call });
        }
    }

    /// Nothing of a call is left to be done.
    pub(crate) fn on_ended(&mut self, call_id: &str) {
        let call = CallKey::of(call_id);
        if self.calls.remove(&call) {
            self.tell(&FromWorker::CallEnded { call });
            if self.calls.is_empty() && self.draining.is_some() {
                self.tell_status();
            }
        }
    }

    /// An outgoing call has come this far.
    pub(crate) fn on_progress(&mut self, order: OrderId, progress: Progress) {
        if let Some(report) = self.orders.advance(order, progress, Instant::now()) {
            self.tell(&FromWorker::Order(report));
        }
    }

    /// Answers a question about a call.
    pub(crate) fn tell_story(&mut self, peer: u64, question: u64, story: &str) {
        let lines = story_parts(question, story).iter().flat_map(line).collect();
        send(&mut self.peers, peer, lines);
    }

    /// Answers the question which calls are known.
    pub(crate) fn tell_recent_calls(&mut self, peer: u64, question: u64, calls: &[RecentCall]) {
        let lines = recent_calls_parts(question, calls).iter().flat_map(line).collect();
        send(&mut self.peers, peer, lines);
    }

    fn status(&self) -> FromWorker {
        let age = |since: Instant| since.elapsed().as_secs();
        FromWorker::Status(Status {
            // The worker ended if the others were not so.
            ready: Readiness { store_writable: *self.store_writable.borrow(), ..Readiness::ALL },
            calls: u32::try_from(self.calls.len()).unwrap_or(u32::MAX),
            memory_bytes: postern_net::system::resident_bytes().unwrap_or(0),
            age_secs: age(self.began),
            draining_secs: self.draining.map(age),
            contacts: self.contacts.clone(),
        })
    }

    fn tell_status(&mut self) {
        self.tell(&self.status());
    }

    /// To every UM service.
    fn tell(&mut self, message: &FromWorker) {
        let greeted: Vec<u64> = self.peers.iter().filter(|(_, peer)| peer.greeted).map(|(id, _)| *id).collect();
        for id in greeted {
            send(&mut self.peers, id, line(message));
        }
    }
}

/// A peer that does not read is dropped: it connects again and is told everything anew.
fn send(peers: &mut HashMap<u64, Peer>, id: u64, lines: Vec<u8>) {
    if peers.get(&id).is_some_and(|peer| peer.lines.try_send(lines).is_err()) {
        peers.remove(&id);
    }
}

fn line(message: &FromWorker) -> Vec<u8> {
    encode(message).unwrap_or_else(|error| {
        tracing::error!(%error, "a message to the UM service cannot be written");
        Vec::new()
    })
}

async fn accept(listener: UnixListener, tell: mpsc::Sender<(u64, Heard)>) {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(limits::SLOT_CONNECTIONS_MAX));
    for id in 0_u64.. {
        // Beyond the limit they wait in the system's queue.
        let Ok(place) = std::sync::Arc::clone(&places).acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the slot's socket was not taken");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = tell.closed() => return,
        };
        let tell = tell.clone();
        tokio::spawn(async move {
            let (lines, outgoing) = mpsc::channel(limits::SLOT_LINES_MAX);
            if tell.send((id, Heard::Opened(lines))).await.is_ok() {
                if let Err(why) = converse(stream, id, &tell, outgoing).await {
                    tracing::warn!(why, "a connection to the slot's socket is closed");
                }
                // A desk that is gone needs no word.
                let _ = tell.send((id, Heard::Closed)).await;
            }
            drop(place);
        });
    }
}

/// Serves one connection until it ends or the desk drops it.
async fn converse(
    stream: UnixStream,
    id: u64,
    tell: &mpsc::Sender<(u64, Heard)>,
    mut outgoing: mpsc::Receiver<Vec<u8>>,
) -> Result<(), String> {
    let (mut reader, mut writer) = stream.into_split();
    let (mut lines, mut buffer) = (Lines::default(), vec![0; limits::SLOT_READ_BYTES]);
    loop {
        tokio::select! {
            read = reader.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return Ok(()),
                Ok(read) => {
                    let messages = lines.push::<ToWorker>(&buffer[..read]).map_err(|error| error.to_string())?;
                    for message in messages {
                        if tell.send((id, Heard::Said(message))).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            },
            written = outgoing.recv() => match written {
                None => return Ok(()),
                Some(bytes) => match timeout(limits::SLOT_WRITE_TIME, writer.write_all(&bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Ok(()),
                    Err(_) => return Err("its reader is too slow".into()),
                },
            },
        }
    }
}
