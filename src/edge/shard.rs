//! A relay shard: one pinned thread, its own epoll loop, listeners, relay sockets and streams. Nothing on its packet path is
//! shared with another thread.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use postern_config::CertifiedKeyMaterial;
use postern_net::system::{Clock, Reading};
use postern_net::{Event, Events, Interest, Reactor, RecvBatch};
use postern_turn::Server;
use postern_turn::io::{ConnectionId, Now};
use slab::Slab;

use crate::connections::{PeerConnection, SplicedPipe};
use crate::forwarder::{Forwarder, Portable};
use crate::limits;
use crate::listener::Listener;
use crate::listeners::Changes;
use crate::meters::Meters;
use crate::relays::Relay;
use crate::shared::{ListenerSocket, ShardGeneration, Shared, ToShard};
use crate::streams::ClientStream;

/// What a descriptor in the reactor stands for; packed into its 64-bit token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Listener(u16),
    Relay(u32),
    Stream(u32),
    Peer(u32),
    /// The client's or the peer's side of a spliced pipe.
    Pipe(u32),
}

impl Source {
    pub(crate) fn token(self) -> u64 {
        let (kind, index) = match self {
            Self::Listener(index) => (0, u32::from(index)),
            Self::Relay(index) => (1, index),
            Self::Stream(index) => (2, index),
            Self::Peer(id) => (3, id),
            Self::Pipe(index) => (4, index),
        };
        kind << 32 | u64::from(index)
    }

    fn of(token: u64) -> Option<Self> {
        let index = token as u32;
        Some(match token >> 32 {
            0 => Self::Listener(index as u16),
            1 => Self::Relay(index),
            2 => Self::Stream(index),
            3 => Self::Peer(index),
            4 => Self::Pipe(index),
            _ => return None,
        })
    }
}

/// One reading of the clocks, in the forms that core and sockets want.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) now: Now,
    pub(crate) instant: Instant,
}

impl From<Reading> for Turn {
    fn from(reading: Reading) -> Self {
        Self { now: Now { mono_nanos: reading.mono_nanos, unix_secs: reading.unix_secs }, instant: reading.instant }
    }
}

pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) server: Server,
    pub(crate) reactor: Reactor,
    pub(crate) shared: Arc<Shared>,
    pub(crate) meters: Meters,
    pub(crate) forwarder: Box<dyn Forwarder>,
    pub(crate) media: Arc<crate::quality::ClockRates>,
    pub(crate) relay_buffer_bytes: usize,
    /// By the process-wide index; a hole is a listener of another kind or one that is gone.
    pub(crate) listeners: Vec<Option<Listener>>,
    pub(crate) relays: Slab<Relay>,
    pub(crate) streams: Slab<ClientStream>,
    /// Peers' TCP connections that are not spliced yet.
    pub(crate) peers: HashMap<ConnectionId, PeerConnection>,
    pub(crate) pipes: Slab<SplicedPipe>,
    /// The pipe of a spliced connection.
    pub(crate) spliced: HashMap<ConnectionId, u32>,
    /// When to look whether a stream has authenticated, soonest first: deadline, slab index, birth.
    pub(crate) stream_deadlines: BTreeSet<(Instant, u32, u64)>,
    /// What is watched by edge and was left over by a turn's budget: looked at again without sleeping.
    pub(crate) unfinished: Vec<Source>,
    /// The last turn's, being worked off; kept for its memory.
    resumed: Vec<Source>,
    pub(crate) dirty_streams: Vec<u32>,
    pub(crate) batch: RecvBatch,
    /// Counts streams and pipes, so that a slab index used again is not taken for the old one.
    pub(crate) births: u64,
    pub(crate) streams_gauge: Arc<std::sync::atomic::AtomicU64>,
    clock: Clock,
    inbox: Receiver<ToShard>,
    generations: Receiver<Box<ShardGeneration>>,
    /// The turn's budget left messages in the inbox.
    inbox_waits: bool,
    ending: bool,
}

/// What a shard is born with.
pub(crate) struct Birth {
    pub(crate) index: usize,
    pub(crate) server: Server,
    pub(crate) reactor: Reactor,
    pub(crate) shared: Arc<Shared>,
    pub(crate) meters: Meters,
    pub(crate) media: Arc<crate::quality::ClockRates>,
    pub(crate) relay_buffer_bytes: usize,
    pub(crate) inbox: Receiver<ToShard>,
    pub(crate) generations: Receiver<Box<ShardGeneration>>,
    pub(crate) streams_gauge: Arc<std::sync::atomic::AtomicU64>,
    pub(crate) clock: Clock,
}

impl Shard {
    pub(crate) fn new(birth: Birth) -> Self {
        let Birth { index, server, reactor, shared, meters, media, relay_buffer_bytes, .. } = birth;
        let Birth { inbox, generations, streams_gauge, clock, .. } = birth;
        let forwarder = Box::new(Portable);
        meters.forwarder(forwarder.tier());
        Self {
            index,
            server,
            reactor,
            shared,
            meters,
            forwarder,
            media,
            relay_buffer_bytes,
            listeners: Vec::new(),
            relays: Slab::new(),
            streams: Slab::new(),
            peers: HashMap::new(),
            pipes: Slab::new(),
            spliced: HashMap::new(),
            stream_deadlines: BTreeSet::new(),
            unfinished: Vec::new(),
            resumed: Vec::new(),
            dirty_streams: Vec::new(),
            batch: RecvBatch::new(limits::LISTENER_BATCH),
            births: 0,
            streams_gauge,
            clock,
            inbox,
            generations,
            inbox_waits: false,
            ending: false,
        }
    }

    /// Serves until [`ToShard::End`]. An error of the reactor itself is not survivable.
    ///
    /// # Errors
    /// What epoll answers.
    pub(crate) fn run(mut self) -> std::io::Result<()> {
        let mut events = Events::with_capacity(limits::EVENTS_PER_TURN);
        while !self.ending {
            let before = self.clock.read();
            self.reactor.wait(&mut events, Some(self.sleep(before)))?;
            // The one precise reading of this turn: timers, tokens and queue ages all use it.
            let reading = self.clock.read();
            let turn = Turn::from(reading);
            self.take_messages(turn);
            self.resume(turn);
            for event in events.iter() {
                if let Some(source) = Source::of(event.token) {
                    self.serve(source, event, turn);
                }
            }
            self.on_timers(turn);
            self.flush(turn);
            let took = Duration::from_nanos(self.clock.read().mono_nanos - reading.mono_nanos);
            self.meters.turn_over(&self.server.counters, reading.mono_nanos, took);
        }
        self.take_leave();
        Ok(())
    }

    /// Allocations may still be on their way here from shards that hear later of the end: they end here, with their records.
    fn take_leave(&mut self) {
        self.shared.shard_ended();
        let deadline = Instant::now() + limits::LEAVE_WAIT;
        loop {
            // Asked before the inbox is emptied: what is sent before the last shard ended is then in there.
            let is_last_look = self.shared.all_ended() || Instant::now() >= deadline;
            while let Ok(message) = self.inbox.try_recv() {
                if let ToShard::Adopted(adoption) = message {
                    self.adopt(*adoption, Turn::from(self.clock.read()));
                }
            }
            // Also what came between the end and the last turn of the loop.
            self.end(Turn::from(self.clock.read()));
            if is_last_look {
                return;
            }
            std::thread::sleep(limits::LEAVE_LOOK);
        }
    }

    /// How long the loop may sleep: until the first timer, not at all when work is left over.
    fn sleep(&self, reading: Reading) -> Duration {
        if self.inbox_waits || !self.unfinished.is_empty() {
            return Duration::ZERO;
        }
        let server = self.server.next_timeout().map(|at| Duration::from_nanos(at.saturating_sub(reading.mono_nanos)));
        let stream = self.stream_deadlines.first().map(|(at, ..)| at.saturating_duration_since(reading.instant));
        let dtls = self.listeners.iter().flatten().filter_map(Listener::next_timeout).min();
        let dtls = dtls.map(|at| at.saturating_duration_since(reading.instant));
        [server, stream, dtls].into_iter().flatten().min().unwrap_or(limits::TURN_MAX).min(limits::TURN_MAX)
    }

    /// Goes on with what the last turn left over, each source once, however often an event has told of it too.
    fn resume(&mut self, turn: Turn) {
        std::mem::swap(&mut self.unfinished, &mut self.resumed);
        self.resumed.sort_unstable_by_key(|source| source.token());
        self.resumed.dedup();
        for place in 0..self.resumed.len() {
            let source = self.resumed[place];
            let event = Event { token: source.token(), readable: true, writable: true, error: false, hangup: false };
            self.serve(source, event, turn);
        }
        self.resumed.clear();
    }

    fn serve(&mut self, source: Source, event: Event, turn: Turn) {
        match source {
            Source::Listener(index) => self.on_listener(index, event, turn),
            Source::Relay(index) => self.on_relay(index, event, turn),
            Source::Stream(index) => self.on_stream(index, turn),
            Source::Peer(id) => self.on_peer(ConnectionId(id), turn),
            Source::Pipe(index) => self.on_pipe(index, turn),
        }
    }

    fn on_timers(&mut self, turn: Turn) {
        if self.server.next_timeout().is_some_and(|at| at <= turn.now.mono_nanos) {
            self.server.handle_timeout(turn.now);
            self.carry_out(turn);
        }
        self.close_silent_streams(turn);
        self.dtls_timers(turn);
    }

    /// Everything collected for clients in this turn goes out.
    fn flush(&mut self, turn: Turn) {
        for listener in self.listeners.iter_mut().flatten() {
            listener.flush(&mut self.meters);
        }
        self.flush_streams(turn);
    }

    fn take_messages(&mut self, turn: Turn) {
        self.inbox_waits = false;
        if let Ok(generation) = self.generations.try_recv() {
            self.take_generation(*generation, turn);
        }
        for taken in 0.. {
            if taken == limits::MESSAGES_PER_TURN {
                self.inbox_waits = true;
                return;
            }
            let Ok(message) = self.inbox.try_recv() else { return };
            match message {
                ToShard::Stream(accepted, descriptor) => self.take_stream(*accepted, descriptor, turn),
                ToShard::CloseListener(index) => self.close_listener(index),
                ToShard::Export { to, client, ticket, message } => self.export(to, client, &ticket, message, turn),
                ToShard::Adopted(adoption) => self.adopt(*adoption, turn),
                ToShard::Drain => {
                    self.server.handle_drain(turn.now);
                    self.carry_out(turn);
                }
                ToShard::End => self.end(turn),
            }
        }
    }

    /// Between two turns: options first (they end what is no longer allowed), then the listeners.
    fn take_generation(&mut self, generation: ShardGeneration, turn: Turn) {
        self.server.handle_options(turn.now, generation.options);
        self.media = generation.media;
        if let Some(material) = &generation.certificate {
            self.take_certificate(material);
        }
        let certificate = generation.certificate.as_deref();
        for (index, socket) in generation.added {
            self.add_listener(index, socket, certificate);
        }
        self.change_listeners(&generation.changes, certificate);
        self.carry_out(turn);
        // The control plane may have stopped waiting.
        let _ = generation.taken.send(());
    }

    fn change_listeners(&mut self, changes: &Changes, certificate: Option<&CertifiedKeyMaterial>) {
        for (index, place) in self.listeners.iter_mut().enumerate() {
            let Some(listener) = place else { continue };
            let index = index as u16;
            if changes.revived.contains(&index) || changes.retired.contains(&index) {
                listener.set_retired(changes.retired.contains(&index));
            }
            if let Some(&(_, kind)) = changes.converted.iter().find(|(of, _)| *of == index)
                && let Err(error) = listener.set_kind(kind, certificate)
            {
                tracing::error!(shard = self.index, %error, "a listener could not change to DTLS");
            }
            listener.alternates = changes.alternates.iter().find(|(of, _)| *of == index).map(|(_, others)| *others);
        }
    }

    /// For handshakes from here on; sessions go on with the certificate that they saw.
    fn take_certificate(&mut self, material: &CertifiedKeyMaterial) {
        for listener in self.listeners.iter_mut().flatten() {
            if let Err(error) = listener.set_certificate(material) {
                tracing::error!(shard = self.index, %error, "DTLS keeps the old certificate; use an ECDSA one");
            }
        }
    }

    fn add_listener(&mut self, index: u16, socket: ListenerSocket, certificate: Option<&CertifiedKeyMaterial>) {
        let place = usize::from(index);
        if self.listeners.len() <= place {
            self.listeners.resize_with(place + 1, || None);
        }
        match Listener::new(socket, certificate) {
            Ok(listener) => {
                if let Err(error) =
                    self.reactor.register(listener.socket(), Source::Listener(index).token(), Interest::READ)
                {
                    tracing::error!(shard = self.index, %error, "a listener could not be watched");
                }
                self.listeners[place] = Some(listener);
            }
            Err(error) => tracing::error!(shard = self.index, %error, "a DTLS listener could not be opened"),
        }
    }

    fn close_listener(&mut self, index: u16) {
        if let Some(place) = self.listeners.get_mut(usize::from(index)) {
            *place = None;
        }
    }

    fn end(&mut self, turn: Turn) {
        self.server.shutdown(turn.now);
        self.carry_out(turn);
        self.flush(turn);
        self.ending = true;
    }

    /// A stamp that no other stream or pipe of this shard ever had.
    pub(crate) fn birth(&mut self) -> u64 {
        self.births += 1;
        self.births
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_source_and_no_other() {
        for source in [
            Source::Listener(7),
            Source::Relay(u32::MAX),
            Source::Stream(0),
            Source::Peer(0x8000_0001),
            Source::Pipe(3),
        ] {
            assert_eq!(Source::of(source.token()), Some(source));
        }
        assert_eq!(Source::of(9 << 32), None);
    }
}
