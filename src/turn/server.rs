//! The TURN server of one shard: requests, data, timers and reloads go in by `handle_*`, work comes out by `poll`.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::adoption::Adoptions;
use crate::allocation::AllocationTable;
use crate::answer_cache::AnswerCache;
use crate::counters::Counters;
use crate::five_tuple::{FiveTuple, SeededHash, seeded_hash};
use crate::framer::{self, Datagram, Frame};
use crate::io::{
    Action, Client, CloseCause, ConnectionId, DropReason, Now, Peer, PeerVerdict, RelayId, StreamProgress, Verdict,
};
use crate::message::{DecodeError, Message, TransactionId};
use crate::options::{Options, Shared};
use crate::tcp_allocation::Connection;
use crate::wheel::Wheel;

/// A STUN and TURN server without sockets or clocks.
///
/// One mutation, then drain: after each `handle_*` call [`poll`](Self::poll) until it answers `None`, in order, before
/// the next input. A call that returns `ToPeer`, `ToClient` or `Drop` queues nothing but what an expiry that it noticed
/// brings about, so a shell may also drain once per batch of datagrams.
#[derive(Debug)]
pub struct Server {
    pub(crate) options: Arc<Options>,
    /// Counts reloads: what was learned under an older one is learned again.
    pub(crate) generation: u64,
    pub(crate) draining: bool,
    pub(crate) shared: Shared,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) hash: SeededHash,
    pub(crate) last_serial: u64,
    pub(crate) actions: VecDeque<Action>,
    /// Allocations that live and that wait for their relay socket, by client.
    pub(crate) clients: HashMap<FiveTuple, u32, SeededHash>,
    pub(crate) allocations: AllocationTable,
    /// The packet path's table: which allocation, and which slot of its channels.
    pub(crate) channels: HashMap<(FiveTuple, u16), (u32, u16), SeededHash>,
    /// Which allocation a relay socket belongs to, by [`RelayId`].
    pub(crate) relays: Vec<Option<u32>>,
    pub(crate) connections: HashMap<ConnectionId, Connection>,
    /// Client streams that became data connections.
    pub(crate) data_streams: HashMap<FiveTuple, ConnectionId, SeededHash>,
    /// Mobile allocations by serial.
    pub(crate) mobile: HashMap<u64, u32>,
    pub(crate) adoptions: Adoptions,
    pub(crate) answers: AnswerCache,
    pub(crate) wheel: Wheel,
    /// Whom a warning of a full quota named in the last minute.
    pub(crate) warned: VecDeque<(u64, String)>,
    /// Read by the shell once per turn of its loop.
    pub counters: Counters,
}

impl Server {
    /// `seed` comes from the operating system, or from the test.
    pub fn new(options: Arc<Options>, seed: [u8; 32], shared: Shared) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let hash = seeded_hash(rng.next_u64());
        Self {
            options,
            generation: 0,
            draining: false,
            shared,
            rng,
            last_serial: 0,
            actions: VecDeque::new(),
            clients: HashMap::with_hasher(hash.clone()),
            allocations: AllocationTable::default(),
            channels: HashMap::with_hasher(hash.clone()),
            relays: Vec::new(),
            connections: HashMap::new(),
            data_streams: HashMap::with_hasher(hash.clone()),
            mobile: HashMap::new(),
            adoptions: Adoptions::new(hash.clone()),
            answers: AnswerCache::new(hash.clone()),
            hash,
            wheel: Wheel::new(),
            warned: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// A datagram of a client, over UDP or out of a DTLS record. Ranges in the verdict count from the start of
    /// `datagram`.
    pub fn handle_datagram(&mut self, now: Now, client: Client, tos: u8, datagram: &[u8]) -> Verdict {
        let verdict = match framer::classify_datagram(datagram) {
            Datagram::ChannelData => self.on_channel_data(now, &client, tos, datagram),
            Datagram::Stun => self.on_message(now, client, tos, datagram),
            Datagram::Other => Verdict::Drop(DropReason::NotStun),
        };
        self.counted(verdict)
    }

    /// The accumulated, not yet consumed bytes of a TCP or TLS client. Takes at most one frame: carry out the verdict,
    /// drain `poll`, take `consumed` bytes off, call again until nothing is consumed. After an [`Action::Splice`] of
    /// this stream what is left in the buffer is the peer's, and this is called no more.
    pub fn handle_stream(&mut self, now: Now, client: Client, bytes: &[u8]) -> StreamProgress {
        if self.data_streams.contains_key(&FiveTuple::of(&client)) {
            return StreamProgress { consumed: 0, verdict: None };
        }
        let (consumed, verdict) = match framer::frame_stream(bytes) {
            Frame::Incomplete { .. } => return StreamProgress { consumed: 0, verdict: None },
            Frame::Stun { bytes: len } => (len, self.on_message(now, client, 0, &bytes[..len])),
            Frame::ChannelData { bytes: len, padded_bytes } => {
                (padded_bytes, self.on_channel_data(now, &client, 0, &bytes[..len]))
            }
            Frame::Invalid => {
                self.actions.push_back(Action::CloseClient { client, cause: CloseCause::Framing });
                (bytes.len(), Verdict::Drop(DropReason::NotStun))
            }
        };
        StreamProgress { consumed, verdict: Some(self.counted(verdict)) }
    }

    /// A datagram from `peer` to a relay socket. `payload` is its place in `buffer`, with
    /// [`HEADROOM`](crate::io::HEADROOM) bytes free before it and [`TAILROOM`](crate::io::TAILROOM) after it; the frame
    /// in the verdict is a range of the same buffer.
    pub fn handle_peer_datagram(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: Peer,
        tos: u8,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> PeerVerdict {
        let verdict = self.on_peer_datagram(now, relay, peer, tos, buffer, payload);
        if let PeerVerdict::Drop(reason) = verdict {
            self.counters.drops[reason as usize] += 1;
        }
        verdict
    }

    /// From here on a new Allocate is sent elsewhere (300) or refused (508); everything else goes on.
    pub fn handle_drain(&mut self, _now: Now) {
        self.draining = true;
    }

    /// The next piece of work, in the order in which it must be done.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest, in nanoseconds of the monotonic clock.
    pub fn next_timeout(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }

    /// Allocations alive on this shard, those that wait for their relay socket included.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Whether this client has an allocation here, be it one that waits, or a data connection.
    pub fn serves(&self, client: &Client) -> bool {
        let tuple = FiveTuple::of(client);
        self.clients.contains_key(&tuple) || self.data_streams.contains_key(&tuple)
    }

    /// Whether this client has an allocation here, or will have one that is on its way from another shard.
    pub(crate) fn is_taken(&self, now: Now, client: &Client) -> bool {
        self.serves(client) || self.adoptions.awaited(now.mono_nanos, &FiveTuple::of(client)).is_some()
    }

    /// A whole STUN message of a client.
    fn on_message(&mut self, now: Now, client: Client, tos: u8, bytes: &[u8]) -> Verdict {
        match Message::decode(bytes) {
            Ok(message) => self.on_stun(now, client, tos, &message),
            Err(DecodeError::NotStun) => Verdict::Drop(DropReason::NotStun),
            Err(DecodeError::Length | DecodeError::Truncated) => Verdict::Drop(DropReason::Malformed),
            Err(DecodeError::Fingerprint) => Verdict::Drop(DropReason::BadFingerprint),
        }
    }

    #[inline]
    fn counted(&mut self, verdict: Verdict) -> Verdict {
        if let Verdict::Drop(reason) = verdict {
            self.counters.drops[reason as usize] += 1;
        }
        verdict
    }

    pub(crate) fn draw_transaction_id(&mut self) -> TransactionId {
        let mut id = [0; 12];
        self.rng.fill_bytes(&mut id);
        TransactionId::new(id)
    }

    /// Unique in the process: the shard in the high bits.
    pub(crate) fn draw_serial(&mut self) -> u64 {
        self.last_serial += 1;
        u64::from(self.shared.shard) << 48 | self.last_serial
    }

    pub(crate) fn digest(&self, bytes: &[u8]) -> u64 {
        self.hash.hash_one(bytes)
    }
}
