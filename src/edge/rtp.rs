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
        Some(Interval {
            loss_ratio: ratio(lost, packets)?,
            jitter_seconds: has_jitter.then_some(self.jitter_seconds),
        })
    }
}

/// Share of `lost` in all packets, 0 to 1; `None` when there were none.
pub(crate) fn ratio(lost: u64, packets: u64) -> Option<f64> {
    let expected = lost + packets;
    (expected > 0).then(|| lost as f64 / expected as f64)
}
