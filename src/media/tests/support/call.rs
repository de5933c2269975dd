//! Two streams and a network between them, in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_media::Stream;
use postern_media::event::{Destination, Event, FrameKind};
use postern_media::session::{Component, Options, Session};

/// A side of the call and what it saw.
pub struct Side {
    pub stream: Stream,
    /// Addresses of its components.
    pub addresses: [SocketAddr; 2],
    pub events: Vec<Event>,
    pub pcm: Vec<i16>,
    pub kinds: Vec<FrameKind>,
    pub to_play: VecDeque<i16>,
    pub packets_out: u64,
}

impl Side {
    fn new(stream: Stream, addresses: [SocketAddr; 2]) -> Self {
        Self {
            stream,
            addresses,
            events: Vec::new(),
            pcm: Vec::new(),
            kinds: Vec::new(),
            to_play: VecDeque::new(),
            packets_out: 0,
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.stream.poll_event() {
            self.events.push(event);
        }
        if let Some(frame) = self.stream.poll_frame() {
            self.pcm.extend_from_slice(frame.pcm);
            self.kinds.push(frame.kind);
        }
        let room = self.to_play.len().min(320);
        let taken = self.stream.play(&self.to_play.make_contiguous()[..room]);
        self.to_play.drain(..taken);
    }

    pub fn saw(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }
}

/// What the network does with a packet: `None` loses it.
pub type Network = Box<dyn FnMut(u64) -> Option<Duration>>;

pub struct Call {
    pub sides: [Side; 2],
    pub now: Instant,
    pub network: Network,
    packets: u64,
    /// Due, to which side, component, from, bytes.
    flying: Vec<(Instant, usize, Component, SocketAddr, Vec<u8>)>,
    /// Source of what side 0 sends, as side 1 sees it, when a NAT changes it.
    pub seen_as: Option<[SocketAddr; 2]>,
}

/// Addresses of both sides.
pub fn addresses(side: usize) -> [SocketAddr; 2] {
    let host = ["192.0.2.1", "198.51.100.2"][side];
    [4_000, 4_001].map(|port| SocketAddr::new(host.parse().unwrap(), port))
}

impl Call {
    /// Both sessions as each side sees them.
    pub fn new(sessions: [Session; 2]) -> Self {
        let now = Instant::now();
        let mut seed = 7;
        let sides = sessions.map(|session| {
            seed += 1;
            let options = Options::new([seed; 32], (now, Duration::from_secs(1_700_000_000)), "postern");
            Side::new(Stream::new(options, session, now).unwrap(), addresses(usize::from(seed) - 8))
        });
        Self {
            sides,
            now,
            network: Box::new(|_| Some(Duration::from_millis(5))),
            packets: 0,
            flying: Vec::new(),
            seen_as: None,
        }
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.exchange();
        loop {
            let arrival = self.flying.iter().map(|(due, ..)| *due).min();
            let timeouts = self.sides.iter().map(|side| side.stream.next_timeout());
            let next = timeouts.chain(arrival).min().unwrap();
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            while let Some(at) = self.flying.iter().position(|(due, ..)| *due <= self.now) {
                let (_, to, component, from, bytes) = self.flying.remove(at);
                self.sides[to].stream.handle_packet(component, from, &bytes, self.now);
                self.exchange();
            }
            for side in &mut self.sides {
                if side.stream.next_timeout() <= self.now {
                    side.stream.handle_timeout(self.now);
                }
            }
            self.exchange();
        }
    }

    /// Takes out what both have to send and to say.
    pub fn exchange(&mut self) {
        let addresses = [self.sides[0].addresses, self.sides[1].addresses];
        for from in 0..2 {
            let side = &mut self.sides[from];
            side.drain();
            while let Some(transmit) = side.stream.poll_transmit() {
                let (component, destination, bytes) =
                    (transmit.component, transmit.destination, transmit.bytes.to_vec());
                side.packets_out += 1;
                self.packets += 1;
                let Some(delay) = (self.network)(self.packets) else { continue };
                let source = match (from, self.seen_as) {
                    (0, Some(seen)) => seen[component as usize],
                    _ => addresses[from][component as usize],
                };
                let seen = if from == 1 { self.seen_as.unwrap_or(addresses[0]) } else { addresses[1] };
                let to = match destination {
                    Destination::IcePair => Some(component),
                    Destination::Address(address) => [Component::Rtp, Component::Rtcp]
                        .into_iter()
                        .find(|component| seen[*component as usize] == address),
                };
                if let Some(component) = to {
                    self.flying.push((self.now + delay, 1 - from, component, source, bytes));
                }
            }
        }
    }
}

/// Something like speech, so that its place can be found.
pub fn speech(rate: u32, millis: u32) -> Vec<i16> {
    let mut noise = 0x1234_5678u32;
    let mut low = 0.0f32;
    (0..rate / 1_000 * millis)
        .map(|i| {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let t = i as f32 / rate as f32;
            low += 0.3 * ((noise >> 16) as i16 as f32 / 4.0 - low);
            let envelope = 0.6 + 0.4 * (t * 7.0).sin();
            ((low + 3_000.0 * (t * 180.0 * std::f32::consts::TAU).sin()) * envelope) as i16
        })
        .collect()
}
