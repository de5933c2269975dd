//! One slot's task: starts its process, connects to it, moves messages, and tells when it has ended.

use std::io;
use std::time::Duration;

use postern_net::signal::{self, Signal};
use postern_slots::{FromWorker, Lines, Slot, ToWorker, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::launch::Launch;
use crate::limits::{CONNECT_PAUSE, LAST_WORDS_TIME, NEWS_MAX, ORDERS_MAX, READ_BYTES, UNUSABLE_PAUSE, WRITE_TIME};
use crate::place::{Holder, Place};

/// What a keeper is told.
#[derive(Debug)]
pub(crate) enum Order {
    Start { generation: u64 },
    Say(ToWorker),
    Terminate,
    Kill,
}

/// What a keeper tells, of its slot.
#[derive(Debug)]
pub(crate) enum News {
    /// At the start: no worker lives there.
    Nobody,
    Connected,
    Said(FromWorker),
    /// It said what cannot be read.
    Unusable(String),
    Disconnected,
    /// The process is gone, or could not be started; how.
    Ended(String),
}

/// Both keepers, from the side of the service.
pub(crate) struct Keepers {
    orders: [mpsc::Sender<Order>; 2],
    pub(crate) news: mpsc::Receiver<(Slot, News)>,
}

impl Keepers {
    /// Looks into both slots at once. Keepers end, and leave their workers alone, when this is dropped.
    pub(crate) fn start(places: [Place; 2], launch: &Launch) -> Self {
        let (tell, news) = mpsc::channel(NEWS_MAX);
        let orders = places.map(|place| {
            let (order, orders) = mpsc::channel(ORDERS_MAX);
            let keeper = Keeper {
                place,
                launch: launch.clone(),
                news: tell.clone(),
                held: false,
                child: None,
                connection: None,
                pid: None,
                connect_at: Instant::now(),
            };
            tokio::spawn(keeper.run(orders));
            order
        });
        Self { orders, news }
    }

    pub(crate) fn order(&self, slot: Slot, order: Order) {
        if let Err(error) = self.orders[slot.index()].try_send(order) {
            tracing::error!(%slot, %error, "an order to a slot was lost");
        }
    }
}

struct Connection {
    stream: UnixStream,
    lines: Lines,
    buffer: Vec<u8>,
}

/// Why a connection is given up.
enum Lost {
    Gone,
    Unusable(String),
}

struct Keeper {
    place: Place,
    launch: Launch,
    news: mpsc::Sender<(Slot, News)>,
    /// A process lives in the slot, child of ours or not.
    held: bool,
    child: Option<Child>,
    connection: Option<Connection>,
    /// Who listens at the socket, as the system says.
    pid: Option<u32>,
    connect_at: Instant,
}

/// What a keeper waits for.
enum Turn {
    Order(Option<Order>),
    Heard(Result<Vec<FromWorker>, Lost>),
    ChildEnded(String),
    Connect,
}

impl Keeper {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        match self.place.holder() {
            Ok(Holder::Nobody) => self.tell(News::Nobody).await,
            Ok(Holder::Process(_)) => self.held = true,
            Err(error) => {
                tracing::error!(slot = %self.place.slot, %error, "the slot's lock cannot be looked at");
                self.held = true;
            }
        }
        loop {
            let turn = tokio::select! {
                order = orders.recv() => Turn::Order(order),
                heard = hear(&mut self.connection) => Turn::Heard(heard),
                how = end_of(&mut self.child) => Turn::ChildEnded(how),
                () = sleep_until(self.connect_at), if self.held && self.connection.is_none() => Turn::Connect,
            };
            match turn {
                Turn::Order(Some(order)) => self.on_order(order).await,
                Turn::Order(None) => return,
                Turn::Heard(Ok(messages)) => {
                    for message in messages {
                        self.tell(News::Said(message)).await;
                    }
                }
                Turn::Heard(Err(lost)) => self.on_lost(lost).await,
                Turn::ChildEnded(how) => self.on_child_ended(how).await,
                Turn::Connect => self.connect().await,
            }
        }
    }

    async fn tell(&self, news: News) {
        // A service that is gone needs no news.
        let _ = self.news.send((self.place.slot, news)).await;
    }

    async fn on_order(&mut self, order: Order) {
        match order {
            Order::Start { generation } if !self.held => {
                match self.launch.start(self.place.slot, &self.place.socket, generation) {
                    Ok(child) => {
                        self.child = Some(child);
                        self.held = true;
                        self.connect_at = Instant::now() + CONNECT_PAUSE;
                    }
                    Err(error) => {
                        self.tell(News::Ended(format!("{}: {error}", self.launch.program.display()))).await;
                    }
                }
            }
            Order::Start { .. } => tracing::error!(slot = %self.place.slot, "a worker lives there already"),
            Order::Say(message) => self.say(&message).await,
            Order::Terminate => self.signal(Signal::Terminate),
            Order::Kill => self.signal(Signal::Kill),
        }
    }

    async fn say(&mut self, message: &ToWorker) {
        let Some(connection) = &mut self.connection else { return };
        let line = match encode(message) {
            Ok(line) => line,
            Err(error) => return tracing::error!(slot = %self.place.slot, %error, "a message cannot be written"),
        };
        if !matches!(timeout(WRITE_TIME, connection.stream.write_all(&line)).await, Ok(Ok(()))) {
            self.on_lost(Lost::Gone).await;
        }
    }

    /// A child has not been waited for, and who holds the lock has not ended: the id is still its own.
    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().and_then(Child::id);
        let adopted = || match self.place.holder() {
            Ok(Holder::Process(written)) => self.pid.or(written),
            Ok(Holder::Nobody) | Err(_) => None,
        };
        let slot = self.place.slot;
        match child.or_else(adopted).map(|pid| (pid, signal::send(pid, signal))) {
            Some((_, Ok(()))) => {}
            Some((pid, Err(error))) => tracing::warn!(%slot, pid, ?signal, %error, "a worker was not signalled"),
            None => tracing::warn!(%slot, ?signal, "no worker is known to be signalled"),
        }
    }

    async fn connect(&mut self) {
        self.connect_at = Instant::now() + CONNECT_PAUSE;
        let connected = timeout(WRITE_TIME, UnixStream::connect(&self.place.socket)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let pid = stream.peer_cred().ok().and_then(|credentials| credentials.pid());
                self.pid = pid.and_then(|pid| u32::try_from(pid).ok());
                self.connection = Some(Connection { stream, lines: Lines::default(), buffer: vec![0; READ_BYTES] });
                self.tell(News::Connected).await;
            }
            // The end of one that is not our child shows in its lock.
            Err(_) if self.child.is_none() && matches!(self.place.holder(), Ok(Holder::Nobody)) => {
                self.end("not a child of ours, so nobody knows how".into()).await;
            }
            Err(error) => tracing::trace!(slot = %self.place.slot, %error, "a worker does not listen yet"),
        }
    }

    async fn on_lost(&mut self, lost: Lost) {
        self.connection = None;
        self.connect_at = Instant::now();
        if let Lost::Unusable(why) = lost {
            self.connect_at += UNUSABLE_PAUSE;
            self.tell(News::Unusable(why)).await;
        }
        self.tell(News::Disconnected).await;
    }

    async fn on_child_ended(&mut self, how: String) {
        self.child = None;
        // What it said last counts.
        while let Ok(Ok(messages)) = timeout(LAST_WORDS_TIME, hear(&mut self.connection)).await {
            for message in messages {
                self.tell(News::Said(message)).await;
            }
        }
        if self.connection.take().is_some() {
            self.tell(News::Disconnected).await;
        }
        // It found the slot held by another, which was about to listen when we looked.
        if matches!(self.place.holder(), Ok(Holder::Process(_))) {
            self.connect_at = Instant::now();
            return;
        }
        self.end(how).await;
    }

    async fn end(&mut self, how: String) {
        self.held = false;
        self.pid = None;
        self.tell(News::Ended(how)).await;
    }
}

/// The next messages; never, without a connection. Cancel-safe.
async fn hear(connection: &mut Option<Connection>) -> Result<Vec<FromWorker>, Lost> {
    let Some(Connection { stream, lines, buffer }) = connection else { return std::future::pending().await };
    match stream.read(buffer).await {
        Ok(0) | Err(_) => Err(Lost::Gone),
        Ok(read) => lines.push(&buffer[..read]).map_err(|error| Lost::Unusable(error.to_string())),
    }
}

/// How the child ended; never, without one. Cancel-safe.
async fn end_of(child: &mut Option<Child>) -> String {
    let Some(child) = child else { return std::future::pending().await };
    match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => {
            // Cannot happen to a child of ours; not to be asked in a tight loop.
            tokio::time::sleep(Duration::from_secs(1)).await;
            format!("cannot be waited for: {error}")
        }
    }
}
