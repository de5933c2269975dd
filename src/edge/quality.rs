//! Media quality of one allocation, judged from RTP headers that SRTP leaves in clear.
//!
//! No clock and no sockets: each relayed payload is shown to [`Quality::observe`] with the time of its arrival. Cost per
//! packet is constant and nothing is allocated.

use std::sync::Arc;

pub use postern_telemetry::labels::Direction;

pub use crate::rtp::ClockRates;
use crate::rtp::{Header, Interval, Stream, ratio};

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
/// For each relayed payload: [`observe`](Self::observe), and if it says so [`poll`](Self::poll) until `None`. At the end
/// [`finish`](Self::finish), `poll` until `None` again, then [`summary`](Self::summary).
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
        if this.on_packet(header, now_nanos, &self.rates) {
            other.on_other_lives(this.lives_since_nanos, now_nanos);
        }
        this.has_news | other.has_news
    }

    /// The next event, in no particular order.
    pub fn poll(&mut self) -> Option<Event> {
        self.to_peer.next_event(Direction::ToPeer).or_else(|| self.to_client.next_event(Direction::ToClient))
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
    /// What waits to be polled, beside the intervals of live streams.
    due: Due,
    /// Something may wait to be polled.
    has_news: bool,
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
    /// Whether the packet belongs to a stream past its probation.
    fn on_packet(&mut self, header: Header, now_nanos: u64, rates: &ClockRates) -> bool {
        let Some(index) = self.stream_of(header, now_nanos) else { return false };
        let Some(stream) = &mut self.streams[index] else { return false };
        let was_candidate = stream.is_candidate();
        stream.on_packet(header, now_nanos, rates);
        if stream.is_candidate() {
            return false;
        }
        self.has_news |= stream.ends_interval(now_nanos, INTERVAL_NANOS);
        if was_candidate {
            self.has_news = true;
            self.due.streams += 1;
            self.past.streams += 1;
        }
        let before = self.last_nanos.replace(now_nanos);
        if before.is_none_or(|before| now_nanos.saturating_sub(before) >= SILENCE_NANOS) {
            self.lives_since_nanos = now_nanos;
        }
        self.is_silent = false;
        true
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

    /// The other direction has media since `since_nanos`: is this one silent beside it?
    fn on_other_lives(&mut self, since_nanos: u64, now_nanos: u64) {
        let still_since_nanos = self.last_nanos.map_or(since_nanos, |last| last.max(since_nanos));
        if !self.is_silent && now_nanos.saturating_sub(still_since_nanos) >= SILENCE_NANOS {
            self.is_silent = true;
            self.has_news = true;
            self.due.silence = true;
            self.past.silences += 1;
        }
    }

    fn next_event(&mut self, direction: Direction) -> Option<Event> {
        if self.due.streams > 0 {
            self.due.streams -= 1;
            return Some(Event::Stream(direction));
        }
        if std::mem::take(&mut self.due.silence) {
            return Some(Event::Silence(direction));
        }
        let mut live = self.streams.iter_mut().flatten();
        let live = live.find_map(|stream| stream.take_interval(INTERVAL_PACKETS_MIN));
        let interval = live.or_else(|| self.due.intervals.iter_mut().find_map(Option::take));
        self.has_news = interval.is_some();
        let Interval { loss_ratio, jitter_seconds } = interval?;
        self.past.jitter_seconds_max = worse(self.past.jitter_seconds_max, jitter_seconds);
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
        self.has_news = true;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::tests::packet;

    const SECOND_NANOS: u64 = 1_000_000_000;
    const SPACING_NANOS: u64 = 20_000_000;

    fn quality() -> Quality {
        Quality::new(Arc::new(ClockRates::default()))
    }

    fn drain(quality: &mut Quality) -> Vec<Event> {
        std::iter::from_fn(|| quality.poll()).collect()
    }

    /// Speech of `ssrc` from second `from` to second `to`, what it leads to, and whether polling was asked for each time.
    fn speak(quality: &mut Quality, direction: Direction, ssrc: u32, from: u64, to: u64) -> Vec<Event> {
        let mut events = Vec::new();
        for index in from * 50..to * 50 {
            let payload = packet(ssrc, 0, 0, index as u32);
            let has_news = quality.observe(direction, &payload, index * SPACING_NANOS);
            let polled = drain(quality);
            assert!(has_news || polled.is_empty(), "{polled:?} came unannounced");
            events.extend(polled);
        }
        events
    }

    /// Both directions at once.
    fn talk(quality: &mut Quality, from: u64, to: u64) -> Vec<Event> {
        let mut events = Vec::new();
        for second in from..to {
            events.extend(speak(quality, Direction::ToPeer, 1, second, second + 1));
            events.extend(speak(quality, Direction::ToClient, 2, second, second + 1));
        }
        events
    }

    fn silences(events: &[Event]) -> Vec<Direction> {
        let silence = |event: &Event| match event {
            Event::Silence(direction) => Some(*direction),
            _ => None,
        };
        events.iter().filter_map(silence).collect()
    }

    #[test]
    fn a_clean_call_has_two_streams_no_loss_no_jitter_and_no_silence() {
        let mut quality = quality();
        let mut events = talk(&mut quality, 0, 60);
        quality.finish();
        events.extend(drain(&mut quality));
        assert_eq!(events.iter().filter(|event| matches!(event, Event::Stream(_))).count(), 2);
        let intervals: Vec<_> = events.iter().filter(|event| matches!(event, Event::Interval { .. })).collect();
        assert_eq!(intervals.len(), 2 * 6);
        for interval in intervals {
            assert!(
                matches!(interval, Event::Interval { loss_ratio: 0.0, jitter_seconds: Some(0.0), .. }),
                "{interval:?}"
            );
        }
        assert_eq!(silences(&events), []);
        let way = WaySummary { streams: 1, packets: 3000, jitter_seconds_max: Some(0.0), ..WaySummary::default() };
        assert_eq!(quality.summary(), Summary { to_peer: way, to_client: way });
        assert_eq!(way.loss_ratio(), Some(0.0));
    }

    #[test]
    fn dtls_stun_zrtp_quic_channels_and_noise_are_no_streams() {
        let mut quality = quality();
        for index in 0..10_000u32 {
            for first in [0, 1, 16, 20, 22, 63, 64, 79, 127, 192, 255u8] {
                let mut payload = packet(1, 0, 0, index);
                payload[0] = first;
                assert!(!quality.observe(Direction::ToPeer, &payload, u64::from(index) * SPACING_NANOS));
            }
        }
        quality.finish();
        assert_eq!(quality.poll(), None);
        assert_eq!(quality.summary(), Summary::default());
    }

    #[test]
    fn loss_is_told_per_interval_and_in_the_summary() {
        let mut quality = quality();
        let mut ratios = Vec::new();
        for index in 0..1500u64 {
            // One in five is lost in the second ten seconds.
            if (500..1000).contains(&index) && index % 5 == 0 {
                continue;
            }
            quality.observe(Direction::ToClient, &packet(9, 8, 65_000, index as u32), index * SPACING_NANOS);
            ratios.extend(drain(&mut quality).into_iter().filter_map(|event| match event {
                Event::Interval { loss_ratio, direction: Direction::ToClient, .. } => Some(loss_ratio),
                _ => None,
            }));
        }
        quality.finish();
        ratios.extend(drain(&mut quality).into_iter().filter_map(|event| match event {
            Event::Interval { loss_ratio, .. } => Some(loss_ratio),
            _ => None,
        }));
        assert_eq!(ratios.len(), 3);
        assert_eq!(ratios[0], 0.0);
        assert!((0.15..0.2).contains(&ratios[1]), "{ratios:?}: the newest 64 settle in the next interval");
        assert!((0.0..0.05).contains(&ratios[2]), "{ratios:?}");
        let way = quality.summary().to_client;
        assert_eq!((way.packets, way.lost_packets), (1400, 100));
    }

    #[test]
    fn a_direction_that_falls_silent_is_told_once_until_it_comes_back() {
        let mut quality = quality();
        assert_eq!(silences(&talk(&mut quality, 0, 10)), []);
        assert_eq!(silences(&speak(&mut quality, Direction::ToPeer, 1, 10, 14)), []);
        assert_eq!(silences(&speak(&mut quality, Direction::ToPeer, 1, 14, 60)), [Direction::ToClient]);
        assert_eq!(silences(&talk(&mut quality, 60, 70)), []);
        assert_eq!(silences(&speak(&mut quality, Direction::ToClient, 2, 70, 90)), [Direction::ToPeer]);
        let summary = quality.summary();
        assert_eq!((summary.to_client.silences, summary.to_peer.silences), (1, 1));
    }

    #[test]
    fn a_direction_that_never_spoke_is_silent_five_seconds_after_the_other_began() {
        let mut quality = quality();
        assert_eq!(silences(&speak(&mut quality, Direction::ToPeer, 1, 0, 5)), []);
        assert_eq!(silences(&speak(&mut quality, Direction::ToPeer, 1, 5, 30)), [Direction::ToClient]);
    }

    #[test]
    fn a_call_on_hold_is_not_one_way_when_it_resumes() {
        let mut quality = quality();
        talk(&mut quality, 0, 10);
        assert_eq!(silences(&speak(&mut quality, Direction::ToPeer, 1, 100, 104)), []);
        assert_eq!(silences(&talk(&mut quality, 104, 120)), []);
    }

    #[test]
    fn a_fifth_stream_waits_until_one_of_four_stands_still() {
        let mut quality = quality();
        let mut streams = 0;
        for index in 0..100u64 {
            for ssrc in 1..=5 {
                quality.observe(Direction::ToPeer, &packet(ssrc, 0, 0, index as u32), index * SPACING_NANOS);
            }
            streams += drain(&mut quality).len();
        }
        assert_eq!(streams, 4);
        assert_eq!(quality.summary().to_peer.packets, 400);

        let events = speak(&mut quality, Direction::ToPeer, 5, 20, 21);
        assert!(events.contains(&Event::Stream(Direction::ToPeer)));
        let way = quality.summary().to_peer;
        assert_eq!((way.streams, way.packets, way.lost_packets), (5, 450, 0));
    }

    #[test]
    fn candidates_that_went_away_make_room() {
        let mut quality = quality();
        for ssrc in 1..=4 {
            quality.observe(Direction::ToPeer, &packet(ssrc, 0, 0, 0), 0);
        }
        assert_eq!(speak(&mut quality, Direction::ToPeer, 9, 1, 2), [Event::Stream(Direction::ToPeer)]);
    }

    #[test]
    fn an_allocation_pays_less_than_two_kilobytes() {
        assert!(size_of::<Quality>() < 2048, "{}", size_of::<Quality>());
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(
            payloads in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40), 0..20 * SECOND_NANOS), 0..300),
        ) {
            let mut quality = quality();
            let mut now_nanos = 0;
            for (to_peer, payload, pause_nanos) in payloads {
                now_nanos += pause_nanos;
                let direction = if to_peer { Direction::ToPeer } else { Direction::ToClient };
                let has_news = quality.observe(direction, &payload, now_nanos);
                prop_assert!(has_news || quality.poll().is_none());
                drain(&mut quality);
            }
            quality.finish();
        }

        #[test]
        fn an_encrypted_tunnel_is_no_stream(payloads in proptest::collection::vec(any::<[u8; 32]>(), 256)) {
            let mut quality = quality();
            for (payload, index) in payloads.iter().zip(0..) {
                quality.observe(Direction::ToPeer, payload, index * SPACING_NANOS);
            }
            quality.finish();
            prop_assert_eq!(quality.summary(), Summary::default());
        }
    }
}
