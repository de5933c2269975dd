//! One RTP stream as a bystander sees it: header, loss from sequence gaps, jitter from timestamps. Nothing is decrypted.

/// Packets of one SSRC and payload type, in rising sequence, before we believe that it is RTP.
pub const PROBATION_PACKETS: u8 = 16;

/// RFC 3550 appendix A.1: a jump forward by more is a restart.
const DROPOUT_MAX: u16 = 3000;
/// RFC 3550 appendix A.1: what is less far behind is late, what is further is a restart.
const MISORDER_MAX: u16 = 100;
/// A packet this far behind the newest is lost, even if it still comes.
const REORDER_WINDOW: u16 = 64;
/// A candidate that stood still for as long gives its place to a newcomer.
const CANDIDATE_STALE_NANOS: u64 = 1_000_000_000;
/// A stream that stood still for as long gives its place to a newcomer.
const STREAM_STALE_NANOS: u64 = 10_000_000_000;
/// Two clocks that part by more from one packet to the next: the sender's timestamps started anew.
const TRANSIT_JUMP_MAX_SECONDS: f64 = 10.0;

/// RFC 3551 section 6, table 4. G722 counts with 8 kHz although it samples with 16, MPA with 90.
const STATIC_AUDIO: [(u8, u32); 17] = [
    (0, 8000),
    (3, 8000),
    (4, 8000),
    (5, 8000),
    (6, 16000),
    (7, 8000),
    (8, 8000),
    (9, 8000),
    (10, 44100),
    (11, 44100),
    (12, 8000),
    (13, 8000),
    (14, 90000),
    (15, 8000),
    (16, 11025),
    (17, 22050),
    (18, 8000),
];

/// RTP timestamp units per second by payload type: those that RFC 3551 fixes for audio, and those that an operator maps.
#[derive(Clone, Debug)]
pub struct ClockRates([u32; 128]);

impl ClockRates {
    /// The fixed audio types and `mapped` ones (payload type, hertz), which win. Types above 127 do not exist and 0 Hz
    /// is no clock: both are left out.
    pub fn new(mapped: impl IntoIterator<Item = (u8, u32)>) -> Self {
        let mut rates = [0; 128];
        for (payload_type, hertz) in STATIC_AUDIO.into_iter().chain(mapped) {
            if let Some(rate) = rates.get_mut(usize::from(payload_type)) {
                *rate = hertz;
            }
        }
        Self(rates)
    }

    /// `None` for a type whose clock nobody told us.
    fn hertz(&self, payload_type: u8) -> Option<f64> {
        let hertz = self.0.get(usize::from(payload_type)).copied().filter(|&hertz| hertz > 0)?;
        Some(f64::from(hertz))
    }
}

impl Default for ClockRates {
    fn default() -> Self {
        Self::new([])
    }
}

/// What we read of an RTP header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    pub(crate) ssrc: u32,
}

impl Header {
    /// RFC 3550 section 5.1; `None` for everything that cannot be RTP.
    ///
    /// ```text
    ///  0                   1                   2                   3
    ///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    /// |V=2|P|X|  CC   |M|     PT      |       sequence number         |
    /// |                           timestamp                           |
    /// |                             SSRC                              |
    /// ```
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (fixed, rest) = payload.split_first_chunk::<12>()?;
        let &[first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = fixed;
        // RFC 7983 section 7: 128 to 191 is RTP and RTCP; STUN, ZRTP, DTLS, TURN channels and QUIC lie elsewhere.
        let is_rtp_or_rtcp = (128..=191).contains(&first);
        // RFC 5761 section 4: what would be payload types 64 to 95 with the marker set is RTCP.
        let is_rtcp = (192..=223).contains(&second);
        if !is_rtp_or_rtcp || is_rtcp {
            return None;
        }
        let sources_bytes = usize::from(first & 0x0f) * 4;
        let extension = rest.get(sources_bytes..)?;
        if first & 0x10 != 0 {
            let (&[_, _, l0, l1], words) = extension.split_first_chunk::<4>()?;
            words.get(..usize::from(u16::from_be_bytes([l0, l1])) * 4)?;
        }
        Some(Self {
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
        })
    }
}

/// Loss and jitter over one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) loss_ratio: f64,
    pub(crate) jitter_seconds: Option<f64>,
}

/// Packets of one SSRC; a candidate until its probation is over.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) ssrc: u32,
    probation_packets: u8,
    /// Of the probation; afterwards a stream may change its type (telephone events among speech).
    payload_type: u8,
    last_nanos: u64,
    /// The newest sequence number.
    newest: u16,
    /// Which of the newest [`REORDER_WINDOW`] came: bit 0 is the newest. Those before the first count as come.
    came: u64,
    /// The sequence number that must follow for a jump to be a restart.
    restart: Option<u16>,
    transit: Option<Transit>,
    jitter_seconds: f64,
    counts: Counts,
    /// As they were when the interval began.
    interval: Counts,
    interval_start_nanos: u64,
    interval_due: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Duplicates not counted.
    packets: u64,
    /// Never came, and left the window.
    lost: u64,
    /// Packets that the jitter was judged by.
    jittered: u64,
}

/// The packet that the next one's spacing is compared with.
#[derive(Clone, Copy, Debug)]
struct Transit {
    arrival_nanos: u64,
    timestamp: u32,
    payload_type: u8,
}

impl Stream {
    /// A candidate that has not seen its first packet, `header`, yet.
    pub(crate) fn new(header: Header, now_nanos: u64) -> Self {
        Self {
            ssrc: header.ssrc,
            probation_packets: 0,
            payload_type: header.payload_type,
            last_nanos: now_nanos,
            newest: header.sequence.wrapping_sub(1),
            came: u64::MAX,
            restart: None,
            transit: None,
            jitter_seconds: 0.0,
            counts: Counts::default(),
            interval: Counts::default(),
            interval_start_nanos: now_nanos,
            interval_due: false,
        }
    }

    pub(crate) fn is_candidate(&self) -> bool {
        self.probation_packets < PROBATION_PACKETS
    }

    pub(crate) fn is_stale(&self, now_nanos: u64) -> bool {
        let limit_nanos = if self.is_candidate() { CANDIDATE_STALE_NANOS } else { STREAM_STALE_NANOS };
        now_nanos.saturating_sub(self.last_nanos) >= limit_nanos
    }

    pub(crate) fn packets(&self) -> u64 {
        self.counts.packets
    }

    pub(crate) fn lost_packets(&self) -> u64 {
        self.counts.lost
    }

    pub(crate) fn on_packet(&mut self, header: Header, now_nanos: u64, rates: &ClockRates) {
        self.last_nanos = now_nanos;
        if self.is_candidate() && !self.passes_probation(header) {
            *self = Self::new(header, now_nanos);
            self.probation_packets = 1;
        }
        if self.is_first_of(header.sequence) {
            self.counts.packets += 1;
            self.judge_spacing(header, now_nanos, rates);
        }
    }

    /// Whether a candidate may go on: the same payload type and, but for repeats, a rising sequence.
    fn passes_probation(&mut self, header: Header) -> bool {
        let step = header.sequence.wrapping_sub(self.newest);
        if header.payload_type != self.payload_type || step > DROPOUT_MAX {
            return false;
        }
        self.probation_packets += u8::from(step > 0);
        true
    }

    /// Whether the packet with this sequence number comes for the first time, and in time.
    fn is_first_of(&mut self, sequence: u16) -> bool {
        let ahead = sequence.wrapping_sub(self.newest);
        let behind = self.newest.wrapping_sub(sequence);
        if (1..=DROPOUT_MAX).contains(&ahead) {
            self.restart = None;
            self.advance(ahead);
            return true;
        }
        if behind < REORDER_WINDOW {
            let bit = 1 << behind;
            let is_first = self.came & bit == 0;
            self.came |= bit;
            return is_first;
        }
        if behind <= MISORDER_MAX {
            return false;
        }
        // RFC 3550 appendix A.1: a large jump is believed when a second packet follows on the first.
        if self.restart != Some(sequence) {
            self.restart = Some(sequence.wrapping_add(1));
            return false;
        }
        self.settle();
        self.newest = sequence;
        self.restart = None;
        self.transit = None;
        true
    }

    /// Moves the window so that its newest is `step` further; what falls out of it without having come is lost.
    fn advance(&mut self, step: u16) {
        let step_bits = u32::from(step);
        let (leaving_absent, staying) = if step_bits < u64::BITS {
            let leaving = self.came >> (u64::BITS - step_bits);
            (step_bits - leaving.count_ones(), self.came << step_bits)
        } else {
            (self.came.count_zeros() + step_bits - u64::BITS, 0)
        };
        self.counts.lost += u64::from(leaving_absent);
        self.came = staying | 1;
        self.newest = self.newest.wrapping_add(step);
    }

    /// What has not come by now is lost.
    pub(crate) fn settle(&mut self) {
        self.counts.lost += u64::from(self.came.count_zeros());
        self.came = u64::MAX;
    }

    /// RFC 3550 section 6.4.1, in seconds. Packets of types without a known clock are left out, and so is the first one
    /// after a change of type.
    fn judge_spacing(&mut self, header: Header, now_nanos: u64, rates: &ClockRates) {
        let Header { payload_type, timestamp, .. } = header;
        let here = Transit { arrival_nanos: now_nanos, timestamp, payload_type };
        let last = self.transit.replace(here).filter(|last| last.payload_type == payload_type);
        let Some((last, hertz)) = last.zip(rates.hertz(payload_type)) else { return };

        let arrived_seconds = now_nanos.saturating_sub(last.arrival_nanos) as f64 / 1e9;
        let sent_seconds = f64::from(timestamp.wrapping_sub(last.timestamp).cast_signed()) / hertz;
        let difference_seconds = (arrived_seconds - sent_seconds).abs();
        if difference_seconds <= TRANSIT_JUMP_MAX_SECONDS {
            self.jitter_seconds += (difference_seconds - self.jitter_seconds) / 16.0;
            self.counts.jittered += 1;
        }
    }

    /// Whether an interval of `interval_nanos` is over; it is due from then on.
    pub(crate) fn ends_interval(&mut self, now_nanos: u64, interval_nanos: u64) -> bool {
        if now_nanos.saturating_sub(self.interval_start_nanos) >= interval_nanos {
            self.interval_start_nanos = now_nanos;
            self.interval_due = true;
        }
        self.interval_due
    }

    /// The interval that is due. One with fewer than `packets_min` packets, lost ones included, goes on instead.
    pub(crate) fn take_interval(&mut self, packets_min: u64) -> Option<Interval> {
        if !std::mem::take(&mut self.interval_due) {
            return None;
        }
        self.cut_interval(packets_min)
    }

    /// Loss and jitter since the last interval, whether it is due or not.
    pub(crate) fn cut_interval(&mut self, packets_min: u64) -> Option<Interval> {
        let packets = self.counts.packets - self.interval.packets;
        let lost = self.counts.lost - self.interval.lost;
        if packets + lost < packets_min {
            return None;
        }
        let has_jitter = self.counts.jittered > self.interval.jittered;
        self.interval = self.counts;
        Some(Interval { loss_ratio: ratio(lost, packets)?, jitter_seconds: has_jitter.then_some(self.jitter_seconds) })
    }
}

/// Share of `lost` in all packets, 0 to 1; `None` when there were none.
pub(crate) fn ratio(lost: u64, packets: u64) -> Option<f64> {
    let expected = lost + packets;
    (expected > 0).then(|| lost as f64 / expected as f64)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPACING_NANOS: u64 = 20_000_000;

    /// A PCMU packet of 20 ms, number `index` of its stream.
    pub(crate) fn packet(ssrc: u32, payload_type: u8, first_sequence: u16, index: u32) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type];
        packet.extend(first_sequence.wrapping_add(index as u16).to_be_bytes());
        packet.extend(index.wrapping_mul(160).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0xd5; 160]);
        packet
    }

    fn header(first_sequence: u16, index: u32) -> Header {
        Header::decode(&packet(1, 0, first_sequence, index)).expect("an RTP packet")
    }

    /// A stream past its probation that has seen packets 0 to 15.
    fn proven(first_sequence: u16, rates: &ClockRates) -> Stream {
        let mut stream = Stream::new(header(first_sequence, 0), 0);
        for index in 0..u32::from(PROBATION_PACKETS) {
            stream.on_packet(header(first_sequence, index), u64::from(index) * SPACING_NANOS, rates);
        }
        assert!(!stream.is_candidate());
        stream
    }

    fn feed(stream: &mut Stream, first_sequence: u16, indices: impl IntoIterator<Item = u32>) {
        let rates = ClockRates::default();
        for index in indices {
            stream.on_packet(header(first_sequence, index), u64::from(index) * SPACING_NANOS, &rates);
        }
    }

    #[test]
    fn only_the_first_bytes_of_rtp_count_as_rtp() {
        for first in 0..=255u8 {
            let mut bytes = packet(1, 0, 0, 0);
            bytes[12..].fill(0);
            bytes[0] = first;
            assert_eq!(Header::decode(&bytes).is_some(), (128..=191).contains(&first), "{first}");
        }
    }

    #[test]
    fn rtcp_is_never_rtp() {
        for second in 0..=255u8 {
            let mut bytes = packet(1, 0, 0, 0);
            bytes[1] = second;
            assert_eq!(Header::decode(&bytes).is_none(), (192..=223).contains(&second), "{second}");
        }
    }

    #[test]
    fn a_packet_shorter_than_its_header_says_is_not_rtp() {
        let mut bytes = packet(1, 0, 0, 0);
        bytes[0] = 0x80 | 0x10 | 2;
        bytes[12 + 8 + 2..12 + 8 + 4].copy_from_slice(&3u16.to_be_bytes());
        let whole = 12 + 8 + 4 + 12;
        assert!(Header::decode(&bytes[..whole]).is_some());
        for cut in 0..whole {
            assert!(Header::decode(&bytes[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn every_tenth_packet_lost_is_a_tenth_even_across_the_wrap_of_the_sequence() {
        let first = 65_400;
        let mut stream = proven(first, &ClockRates::default());
        feed(&mut stream, first, (16..1016).filter(|index| index % 10 != 9));
        stream.settle();
        assert_eq!((stream.packets(), stream.lost_packets()), (16 + 900, 100));
    }

    #[test]
    fn reordered_packets_are_not_lost_and_duplicates_are_no_gain() {
        let mut stream = proven(0, &ClockRates::default());
        for group in 0..50 {
            let base = 16 + group * 4;
            feed(&mut stream, 0, [base + 1, base, base + 3, base + 3, base + 2, base]);
        }
        stream.settle();
        assert_eq!((stream.packets(), stream.lost_packets()), (16 + 200, 0));
    }

    #[test]
    fn a_packet_that_comes_after_the_window_is_lost_all_the_same() {
        let mut stream = proven(0, &ClockRates::default());
        feed(&mut stream, 0, 17..17 + u32::from(REORDER_WINDOW));
        feed(&mut stream, 0, [16]);
        stream.settle();
        assert_eq!((stream.packets(), stream.lost_packets()), (80, 1));
    }

    #[test]
    fn a_gap_longer_than_the_window_counts_whole() {
        let mut stream = proven(0, &ClockRates::default());
        feed(&mut stream, 0, 1016..1116);
        stream.settle();
        assert_eq!((stream.packets(), stream.lost_packets()), (116, 1000));
    }

    #[test]
    fn a_sender_that_starts_anew_elsewhere_has_lost_nothing_but_one_packet_of_proof() {
        let mut stream = proven(100, &ClockRates::default());
        feed(&mut stream, 30_000, 0..100);
        stream.settle();
        assert_eq!((stream.packets(), stream.lost_packets()), (16 + 99, 0));
    }

    #[test]
    fn a_single_stray_sequence_number_changes_nothing() {
        let mut stream = proven(100, &ClockRates::default());
        feed(&mut stream, 40_000, [0]);
        feed(&mut stream, 100, 16..116);
        stream.settle();
        assert_eq!((stream.packets(), stream.lost_packets()), (116, 0));
    }

    #[test]
    fn a_candidate_that_changes_its_type_or_falls_back_starts_over() {
        let rates = ClockRates::default();
        for disturbance in [packet(1, 8, 0, 10), packet(1, 0, 0, 3), packet(1, 0, 20_000, 0)] {
            let mut stream = Stream::new(header(0, 0), 0);
            for index in 0..10 {
                stream.on_packet(header(0, index), 0, &rates);
            }
            stream.on_packet(Header::decode(&disturbance).expect("RTP"), 0, &rates);
            for index in 11..26 {
                assert!(stream.is_candidate());
                stream.on_packet(header(0, index), 0, &rates);
            }
        }
    }

    #[test]
    fn the_same_packet_over_and_over_proves_nothing() {
        let rates = ClockRates::default();
        let mut stream = Stream::new(header(0, 0), 0);
        for _ in 0..1000 {
            stream.on_packet(header(0, 0), 0, &rates);
        }
        assert!(stream.is_candidate());
    }

    #[test]
    fn even_spacing_has_no_jitter_and_uneven_spacing_that_of_the_formula() {
        let rates = ClockRates::default();
        let mut stream = proven(0, &rates);
        assert_eq!(stream.cut_interval(1).and_then(|interval| interval.jitter_seconds), Some(0.0));

        // Every other packet 3 ms late: each spacing is off by 3 ms, so that the estimate tends to 3 ms.
        let mut expected_seconds = 0.0;
        for index in 16..216 {
            let late_nanos = if index % 2 == 0 { 3_000_000 } else { 0 };
            stream.on_packet(header(0, index), u64::from(index) * SPACING_NANOS + late_nanos, &rates);
            expected_seconds += (0.003 - expected_seconds) / 16.0;
        }
        let jitter = stream.cut_interval(1).and_then(|interval| interval.jitter_seconds).expect("PCMU has a clock");
        assert!((jitter - expected_seconds).abs() < 1e-9, "{jitter}");
        assert!((0.0029..0.0031).contains(&jitter));
    }

    #[test]
    fn jitter_needs_a_known_clock() {
        let dynamic = |rates: &ClockRates| {
            let decode = |index| Header::decode(&packet(1, 111, 0, index)).expect("RTP");
            let mut stream = Stream::new(decode(0), 0);
            for index in 0..100 {
                stream.on_packet(decode(index), u64::from(index) * SPACING_NANOS, rates);
            }
            stream.cut_interval(1).expect("100 packets").jitter_seconds
        };
        assert_eq!(dynamic(&ClockRates::default()), None);
        assert_eq!(dynamic(&ClockRates::new([(111, 0), (200, 8000)])), None);
        assert_eq!(dynamic(&ClockRates::new([(111, 8000)])), Some(0.0));
    }

    #[test]
    fn telephone_events_among_speech_leave_the_jitter_alone() {
        let rates = ClockRates::default();
        let mut stream = proven(0, &rates);
        for index in 16..200 {
            // Events repeat one timestamp while they last.
            let mut bytes = packet(1, if (50..70).contains(&index) { 101 } else { 0 }, 0, index);
            if (50..70).contains(&index) {
                bytes[4..8].copy_from_slice(&8000u32.to_be_bytes());
            }
            stream.on_packet(Header::decode(&bytes).expect("RTP"), u64::from(index) * SPACING_NANOS, &rates);
        }
        assert_eq!(stream.cut_interval(1).and_then(|interval| interval.jitter_seconds), Some(0.0));
    }

    #[test]
    fn timestamps_that_start_anew_are_no_jitter() {
        let rates = ClockRates::default();
        let mut stream = proven(0, &rates);
        for index in 16..40 {
            let mut bytes = packet(1, 0, 0, index);
            bytes[4..8].copy_from_slice(&(2_000_000_000 + index * 160).to_be_bytes());
            stream.on_packet(Header::decode(&bytes).expect("RTP"), u64::from(index) * SPACING_NANOS, &rates);
        }
        assert_eq!(stream.cut_interval(1).and_then(|interval| interval.jitter_seconds), Some(0.0));
    }

    proptest! {
        #[test]
        fn what_came_and_what_was_lost_add_up(
            first_sequence: u16,
            keep in proptest::collection::vec(0..10u8, 1..2000),
            swaps in proptest::collection::vec((0..2000usize, 0..30usize), 0..50),
        ) {
            let mut order: Vec<u32> = (16..).zip(&keep).filter(|&(_, &luck)| luck > 1).map(|(index, _)| index).collect();
            // Local reordering only: packets move by less than the window.
            let mut moved = 0;
            for (at, by) in swaps {
                if at >= moved && at + by < order.len() {
                    order.swap(at, at + by);
                    moved = at + by + 1;
                }
            }
            let mut stream = proven(first_sequence, &ClockRates::default());
            // A gap of the swap's reach and lost ones between may pass the window; those count as lost, never twice.
            feed(&mut stream, first_sequence, order.iter().copied());
            stream.settle();
            let last = order.iter().copied().max().unwrap_or(15);
            prop_assert_eq!(stream.packets() + stream.lost_packets(), u64::from(last) + 1);
            prop_assert!(stream.packets() <= 16 + order.len() as u64);
        }

        #[test]
        fn no_bytes_disturb_the_count(
            packets in proptest::collection::vec((any::<u8>(), any::<u16>(), any::<u32>(), any::<u64>()), 0..200),
        ) {
            let rates = ClockRates::new([(96, u32::MAX), (97, 1)]);
            let mut stream = proven(7, &rates);
            for (payload_type, sequence, timestamp, now_nanos) in packets {
                let header = Header { payload_type: payload_type & 0x7f, sequence, timestamp, ssrc: 1 };
                stream.on_packet(header, now_nanos, &rates);
                stream.ends_interval(now_nanos, 10);
                if let Some(Interval { loss_ratio, jitter_seconds }) = stream.take_interval(1) {
                    prop_assert!((0.0..=1.0).contains(&loss_ratio));
                    prop_assert!(jitter_seconds.is_none_or(|jitter| (0.0..=TRANSIT_JUMP_MAX_SECONDS).contains(&jitter)));
                }
            }
        }
    }
}
