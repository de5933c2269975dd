//! What the shards of one process have in common: the broker, each other's inboxes, sockets on their way between shards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use postern_net::listener::Accepted;
use postern_net::{UdpSocket, Waker};
use postern_telemetry::EdgeCells;
use postern_turn::broker::Broker;
use postern_turn::io::{Client, Family};
use postern_turn::options::Options;

use crate::descriptors::{Descriptor, DescriptorBudget};
use crate::listeners::{Changes, Kind};
use crate::mobility::Adoption;
use crate::ports;
use crate::quality::Summary;
use crate::records::RecordSink;

/// One per process; shards touch it for control work only, never for a packet.
pub(crate) struct Shared {
    broker: Mutex<Broker>,
    /// Sockets of ports that EVEN-PORT reserved, by lease, until their token is redeemed or runs out.
    reserved: Mutex<HashMap<u64, ReservedSocket>>,
    /// What is left of relays that were given back before their allocation's end, by its serial. On whichever shard it ends.
    released: Mutex<HashMap<u64, Vec<ReleasedRelay>>>,
    shards: OnceLock<Vec<ShardHandle>>,
    /// Shards that have ended their allocations for good: they send none to others any more.
    ended: AtomicUsize,
    pub(crate) descriptors: DescriptorBudget,
    pub(crate) records: RecordSink,
    /// Of everything that is no shard.
    control: Arc<EdgeCells>,
    /// Living allocations per listener, over all shards: a removed listener closes when it reaches 0.
    listener_clients: Vec<AtomicI64>,
}

/// Listeners that one process can have had in its life.
pub(crate) const LISTENERS_MAX: usize = 256;

impl Shared {
    pub(crate) fn new(
        broker: Broker,
        descriptors: DescriptorBudget,
        records: RecordSink,
        control: Arc<EdgeCells>,
    ) -> Self {
        Self {
            broker: Mutex::new(broker),
            reserved: Mutex::default(),
            released: Mutex::default(),
            shards: OnceLock::new(),
            ended: AtomicUsize::new(0),
            descriptors,
            records,
            control,
            listener_clients: (0..LISTENERS_MAX).map(|_| AtomicI64::new(0)).collect(),
        }
    }

    /// Once, before the first message.
    pub(crate) fn publish_shards(&self, shards: Vec<ShardHandle>) {
        assert!(self.shards.set(shards).is_ok(), "shards are published once");
    }

    pub(crate) fn shards(&self) -> &[ShardHandle] {
        self.shards.get().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the metrics how many ports are free, after a lease began or ended.
    pub(crate) fn publish_ports(&self) {
        ports::publish(&self.broker(), &self.control);
    }

    pub(crate) fn keep_reserved(&self, lease: u64, socket: ReservedSocket) {
        self.reserved().insert(lease, socket);
    }

    /// The socket closes, and its place is free again, when the answer is dropped.
    pub(crate) fn take_reserved(&self, lease: u64) -> Option<ReservedSocket> {
        self.reserved().remove(&lease)
    }

    fn reserved(&self) -> MutexGuard<'_, HashMap<u64, ReservedSocket>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At most one relay of each living allocation, as each has two at most.
    pub(crate) fn relay_released(&self, serial: u64, relay: ReleasedRelay) {
        self.released().entry(serial).or_default().push(relay);
    }

    pub(crate) fn take_released(&self, serial: u64) -> Vec<ReleasedRelay> {
        self.released().remove(&serial).unwrap_or_default()
    }

    fn released(&self) -> MutexGuard<'_, HashMap<u64, Vec<ReleasedRelay>>> {
        self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This shard sends no allocation to another any more.
    pub(crate) fn shard_ended(&self) {
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether nothing that shards send each other is missing in their inboxes any more.
    pub(crate) fn all_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) >= self.shards().len()
    }

    pub(crate) fn client_came(&self, listener: u16) {
        self.listener_clients[usize::from(listener)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn client_went(&self, listener: u16) {
        self.listener_clients[usize::from(listener)].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn clients(&self, listener: u16) -> i64 {
        self.listener_clients[usize::from(listener)].load(Ordering::Relaxed)
    }

    pub(crate) fn allocations(&self) -> i64 {
        self.listener_clients.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// A bound relay socket that nobody uses yet.
pub(crate) struct ReservedSocket {
    pub(crate) socket: UdpSocket,
    pub(crate) descriptor: Descriptor,
}

/// A relay that its client gave back while the allocation lived on.
pub(crate) struct ReleasedRelay {
    pub(crate) family: Family,
    pub(crate) media: Vec<Summary>,
}

/// The way to one shard.
pub(crate) struct ShardHandle {
    pub(crate) inbox: SyncSender<ToShard>,
    /// Has room for the one generation that a shard may not have taken yet, however full the inbox is.
    pub(crate) generations: SyncSender<Box<ShardGeneration>>,
    pub(crate) waker: Waker,
    /// Client streams it serves, for the choice of the least loaded.
    pub(crate) streams: Arc<AtomicU64>,
}

impl ShardHandle {
    /// The shard must have taken the generation before.
    pub(crate) fn publish(&self, generation: ShardGeneration) {
        let sent = self.generations.try_send(Box::new(generation));
        debug_assert!(!matches!(sent, Err(TrySendError::Full(_))), "the generation before is taken");
        self.waker.wake();
    }

    /// Puts the message into the shard's inbox, or gives it back when that is full.
    pub(crate) fn send(&self, message: ToShard) -> Result<(), ToShard> {
        let result = self.inbox.try_send(message);
        self.waker.wake();
        result.map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }
}

/// Everything that reaches a shard but packets.
pub(crate) enum ToShard {
    /// A client's connection with its first whole message.
    Stream(Box<Accepted>, Descriptor),
    /// Close a listener that was removed: no client of any shard uses it any more.
    CloseListener(u16),
    /// Shard `to` has an authenticated request for the allocation with this mobility ticket: send it there.
    Export {
        to: usize,
        client: Client,
        ticket: Vec<u8>,
        message: Vec<u8>,
    },
    Adopted(Box<Adoption>),
    Drain,
    /// End every allocation and leave the loop.
    End,
}

/// One shard's part of a new generation of the configuration.
pub(crate) struct ShardGeneration {
    pub(crate) options: Arc<Options>,
    pub(crate) media: Arc<crate::quality::ClockRates>,
    /// For DTLS handshakes from here on.
    pub(crate) certificate: Option<Arc<postern_config::CertifiedKeyMaterial>>,
    pub(crate) added: Vec<(u16, ListenerSocket)>,
    pub(crate) changes: Changes,
    pub(crate) taken: std::sync::mpsc::Sender<()>,
}

/// One shard's member of a listener.
pub(crate) struct ListenerSocket {
    pub(crate) socket: UdpSocket,
    pub(crate) kind: Kind,
}

/// Listener indices of NAT behaviour discovery, seen from one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alternates {
    pub(crate) address: u16,
    pub(crate) port: u16,
    pub(crate) both: u16,
}
