//! Media quality of one allocation, judged from RTP headers that SRTP leaves in clear.
//!
//! No clock and no sockets: each relayed payload is shown to [`Quality::observe`] with the time of its arrival. Cost per
//! packet is constant and nothing is allocated.

use std::sync::Arc;

use postern_telemetry::EdgeCells;
pub use postern_telemetry::labels::Direction;

use crate::rtp::{Header, Interval, Stream, ratio};
pub use crate::rtp::{ClockRates, PROBATION_PACKETS};

/// Streams followed per allocation and direction; further ones are not looked at.
pub const STREAMS_MAX: usize = 4;
/// How often a stream that flows tells its loss and jitter.
pub const INTERVAL_NANOS: u64 = 10_000_000_000;
/// Fewer packets than this in an interval say too little for a ratio.
pub const INTERVAL_PACKETS_MIN: u64 = 16;
/// A direction without RTP for as long, while the other has some, is silent.
pub const SILENCE_NANOS: u64 = 5_000_000_000;

/// What is worth counting, drained by [`Quality::poll`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A stream passed its probation.
    Stream(Direction),
    /// Loss and jitter of one stream since its last such event.
    Interval {
        direction: Direction,
        /// 0 to 1.
        loss_ratio: f64,
        /// `None` when the payload type's clock is unknown.
        jitter_seconds: Option<f64>,
    },
    /// Nothing comes in this direction while the other has media; told once until something comes. An endpoint that
    /// sends nothing while its user is silent looks the same.
    Silence(Direction),
}

/// Totals of one direction over the allocation's life.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WaySummary {
    /// Streams that passed their probation.
    pub streams: u32,
    /// Their packets, duplicates not counted.
    pub packets: u64,
    pub lost_packets: u64,
    /// The worst at the end of an interval; `None` when no payload type's clock was known.
    pub jitter_seconds_max: Option<f64>,
    pub silences: u32,
}

impl WaySummary {
    /// 0 to 1; `None` when there was no RTP.
    pub fn loss_ratio(&self) -> Option<f64> {
        ratio(self.lost_packets, self.packets)
    }
}

/// Totals of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    pub to_peer: WaySummary,
    pub to_client: WaySummary,
}

/// Judges the media of one allocation.
///
/// For each relayed payload: [`observe`](Self::observe), and if it says so [`poll`](Self::poll) until `None` (or
/// [`publish`](Self::publish)). At the end [`finish`](Self::finish), the same again, then [`summary`](Self::summary).
#[derive(Debug)]
pub struct Quality {
    rates: Arc<ClockRates>,
    to_peer: Way,
    to_client: Way,
}

impl Quality {
    pub fn new(rates: Arc<ClockRates>) -> Self {
        Self { rates, to_peer: Way::default(), to_client: Way::default() }
    }

    /// Looks at the header of one relayed payload that arrived at `now_nanos` (monotonic). True when there is something
    /// to [`poll`](Self::poll).
    pub fn observe(&mut self, direction: Direction, payload: &[u8], now_nanos: u64) -> bool {
        let Some(header) = Header::decode(payload) else { return false };
        let (this, other) = match direction {
            Direction::ToPeer => (&mut self.to_peer, &mut self.to_client),
            Direction::ToClient => (&mut self.to_client, &mut self.to_peer),
        };
        let Some(has_news) = this.on_packet(header, now_nanos, &self.rates) else { return false };
        other.on_other_lives(this.lives_since_nanos, now_nanos) | has_news
    }

    /// The next event, in no particular order.
    pub fn poll(&mut self) -> Option<Event> {
        self.to_peer.poll(Direction::ToPeer).or_else(|| self.to_client.poll(Direction::ToClient))
    }

    /// Counts every event that there is to poll.
    pub fn publish(&mut self, cells: &EdgeCells) {
        while let Some(event) = self.poll() {
            match event {
                Event::Stream(direction) => cells.media_streams.add(direction, 1),
                Event::Silence(direction) => cells.media_silences.add(direction, 1),
                Event::Interval { direction, loss_ratio, jitter_seconds } => {
                    cells.media_loss_ratio.observe(direction, loss_ratio);
                    if let Some(jitter_seconds) = jitter_seconds {
                        cells.media_jitter_seconds.observe(direction, jitter_seconds);
                    }
                }
            }
        }
    }

    /// Nothing more comes: what the last intervals hold is due now.
    pub fn finish(&mut self) {
        for way in [&mut self.to_peer, &mut self.to_client] {
            for index in 0..STREAMS_MAX {
                if let Some(stream) = way.streams[index].take() {
                    way.retire(stream);
                }
            }
        }
    }

    /// Totals so far. Losses among the newest 64 packets of each stream, and the jitter since its last interval, count
    /// only after [`finish`](Self::finish).
    pub fn summary(&self) -> Summary {
        Summary { to_peer: self.to_peer.summary(), to_client: self.to_client.summary() }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    streams: [Option<Stream>; STREAMS_MAX],
    /// Last packet of a stream past its probation.
    last_nanos: Option<u64>,
    /// Since when there is media without a pause of [`SILENCE_NANOS`].
    lives_since_nanos: u64,
    /// Silent, and told so.
    is_silent: bool,
    /// What waits to be polled.
    due: Due,
    /// What streams that are gone left behind, and what is counted for the whole direction.
    past: WaySummary,
}

#[derive(Debug, Default)]
struct Due {
    streams: u32,
    silence: bool,
    /// Last intervals of streams that are gone.
    intervals: [Option<Interval>; STREAMS_MAX],
}

impl Way {
    /// `None` while the packet belongs to no stream past its probation, else whether there is something to poll.
    fn on_packet(&mut self, header: Header, now_nanos: u64, rates: &ClockRates) -> Option<bool> {
        let index = self.stream_of(header, now_nanos)?;
        let stream = self.streams[index].as_mut()?;
        let was_candidate = stream.is_candidate();
        stream.on_packet(header, now_nanos, rates);
        if stream.is_candidate() {
            return None;
        }
        let ends_interval = stream.ends_interval(now_nanos, INTERVAL_NANOS);
        if was_candidate {
            self.due.streams += 1;
            self.past.streams += 1;
        }
        let before = self.last_nanos.replace(now_nanos);
        if before.is_none_or(|before| now_nanos.saturating_sub(before) >= SILENCE_NANOS) {
            self.lives_since_nanos = now_nanos;
        }
        self.is_silent = false;
        Some(was_candidate || ends_interval)
    }

    /// The place where this SSRC is followed; a new one takes a free place, or one that stands still.
    fn stream_of(&mut self, header: Header, now_nanos: u64) -> Option<usize> {
        let is_it = |place: &Option<Stream>| place.as_ref().is_some_and(|stream| stream.ssrc == header.ssrc);
        if let Some(index) = self.streams.iter().position(is_it) {
            return Some(index);
        }
        let is_free = |place: &Option<Stream>| place.as_ref().is_none_or(|stream| stream.is_stale(now_nanos));
        let index = self.streams.iter().position(is_free)?;
        if let Some(gone) = self.streams[index].replace(Stream::new(header, now_nanos)) {
            self.retire(gone);
        }
        Some(index)
    }

    /// The other direction has media since `since_nanos`: is this one silent beside it? True when that is news.
    fn on_other_lives(&mut self, since_nanos: u64, now_nanos: u64) -> bool {
        let still_since_nanos = self.last_nanos.map_or(since_nanos, |last| last.max(since_nanos));
        if self.is_silent || now_nanos.saturating_sub(still_since_nanos) < SILENCE_NANOS {
            return false;
        }
        self.is_silent = true;
        self.due.silence = true;
        self.past.silences += 1;
        true
    }

    fn poll(&mut self, direction: Direction) -> Option<Event> {
        if self.due.streams > 0 {
            self.due.streams -= 1;
            return Some(Event::Stream(direction));
        }
        if std::mem::take(&mut self.due.silence) {
            return Some(Event::Silence(direction));
        }
        let mut live = self.streams.iter_mut().flatten();
        let live = live.find_map(|stream| stream.take_interval(INTERVAL_PACKETS_MIN));
        let Interval { loss_ratio, jitter_seconds } = match live {
            Some(interval) => {
                self.past.jitter_seconds_max = worse(self.past.jitter_seconds_max, interval.jitter_seconds);
                interval
            }
            None => self.due.intervals.iter_mut().find_map(Option::take)?,
        };
        Some(Event::Interval { direction, loss_ratio, jitter_seconds })
    }

    fn retire(&mut self, mut stream: Stream) {
        if stream.is_candidate() {
            return;
        }
        stream.settle();
        self.past.packets += stream.packets();
        self.past.lost_packets += stream.lost_packets();
        let Some(interval) = stream.cut_interval(INTERVAL_PACKETS_MIN) else { return };
        self.past.jitter_seconds_max = worse(self.past.jitter_seconds_max, interval.jitter_seconds);
        // Whoever does not poll loses intervals, not totals.
        if let Some(place) = self.due.intervals.iter_mut().find(|place| place.is_none()) {
            *place = Some(interval);
        }
    }

    fn summary(&self) -> WaySummary {
        let live = self.streams.iter().flatten().filter(|stream| !stream.is_candidate());
        live.fold(self.past, |sum, stream| WaySummary {
            packets: sum.packets + stream.packets(),
            lost_packets: sum.lost_packets + stream.lost_packets(),
            ..sum
        })
    }
}

/// The larger of two jitters, as far as they are known.
fn worse(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}
