//! Real speech as RTP, and what a receiver can say about how it arrived.

use std::time::{Duration, Instant};

use crate::doctor_report::{Direction, RoundTrip};

/// About five seconds of speech, G.711 mu-law at 8 kHz in a RIFF file.
const SPEECH_WAV: &[u8] = include_bytes!("assets/speech-mulaw.wav");

/// Length of one packet in time.
pub const PACKET_INTERVAL: Duration = Duration::from_millis(20);

/// Samples, and with G.711 bytes, in one packet.
const PAYLOAD_BYTES: usize = 160;

const HEADER_BYTES: usize = 12;

/// RTP clock ticks in a second (RFC 3551, payload type 0).
const CLOCK_HZ: f64 = 8000.0;

/// A stream of speech packets, the same for the one who sends and the one who judges.
#[derive(Clone)]
pub struct Speech {
    frames: &'static [u8],
    packets: u32,
    ssrc: u32,
    first_sequence: u16,
}

/// What a datagram turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The packet of this index, byte for byte.
    Intact(u32),
    /// Of our stream by its header, but not with the bytes that were sent.
    Altered,
    /// Not of our stream.
    Foreign,
}

impl Speech {
    /// `packets` packets of 20 ms, the speech repeated as often as needed; identified by 32 random bits.
    pub fn new(packets: u32, ssrc: u32) -> Self {
        Self { frames: samples(SPEECH_WAV), packets, ssrc, first_sequence: (ssrc >> 7) as u16 }
    }

    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// The packet of index `index`, counted from 0.
    pub fn packet(&self, index: u32) -> Vec<u8> {
        // RFC 3550 section 5.1: version 2, no padding, extension or CSRC; the marker opens the talk spurt.
        let mut packet = Vec::with_capacity(HEADER_BYTES + PAYLOAD_BYTES);
        packet.extend([0x80, if index == 0 { 0x80 } else { 0 }]);
        packet.extend(self.first_sequence.wrapping_add(index as u16).to_be_bytes());
        packet.extend((index.wrapping_mul(PAYLOAD_BYTES as u32)).to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        let start = index as usize * PAYLOAD_BYTES % self.frames.len();
        packet.extend(&self.frames[start..start + PAYLOAD_BYTES]);
        packet
    }

    /// Compares a datagram with what was sent.
    pub fn judge(&self, datagram: &[u8]) -> Arrival {
        let Some((header, _)) = datagram.split_first_chunk::<HEADER_BYTES>() else {
            return Arrival::Foreign;
        };
        if header[0] >> 6 != 2 || header[8..] != self.ssrc.to_be_bytes() {
            return Arrival::Foreign;
        }
        let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let index = timestamp / PAYLOAD_BYTES as u32;
        if index < self.packets && datagram == self.packet(index) { Arrival::Intact(index) } else { Arrival::Altered }
    }
}

/// The samples of the RIFF file, cut to whole packets.
fn samples(wav: &'static [u8]) -> &'static [u8] {
    let mut chunks = &wav[12..];
    while chunks.len() >= 8 {
        let length = u32::from_le_bytes([chunks[4], chunks[5], chunks[6], chunks[7]]) as usize;
        if &chunks[..4] == b"data" {
            let whole = length / PAYLOAD_BYTES * PAYLOAD_BYTES;
            return &chunks[8..8 + whole];
        }
        chunks = &chunks[8 + length.next_multiple_of(2)..];
    }
    &[]
}

/// Keeps account of the packets that arrive at one end.
pub struct Receiver {
    arrived: Vec<bool>,
    altered: u32,
    duplicated: u32,
    jitter_ticks: f64,
    previous: Option<(u32, Instant)>,
}

impl Receiver {
    pub fn new(speech: &Speech) -> Self {
        let arrived = vec![false; speech.packets as usize];
        Self { arrived, altered: 0, duplicated: 0, jitter_ticks: 0.0, previous: None }
    }

    /// Notes an arrival; true when it is an intact packet seen for the first time.
    pub fn note(&mut self, arrival: Arrival, now: Instant) -> bool {
        let index = match arrival {
            Arrival::Intact(index) => index,
            Arrival::Altered => {
                self.altered += 1;
                return false;
            }
            Arrival::Foreign => return false,
        };
        if std::mem::replace(&mut self.arrived[index as usize], true) {
            self.duplicated += 1;
            return false;
        }
        if let Some((before, at)) = self.previous {
            // RFC 3550 section 6.4.1: the difference of spacing at receiver and sender, smoothed by 1/16.
            let spacing = now.duration_since(at).as_secs_f64() * CLOCK_HZ;
            let sent_spacing = (f64::from(index) - f64::from(before)) * PAYLOAD_BYTES as f64;
            self.jitter_ticks += ((spacing - sent_spacing).abs() - self.jitter_ticks) / 16.0;
        }
        self.previous = Some((index, now));
        true
    }

    pub fn received(&self) -> u32 {
        self.arrived.iter().filter(|arrived| **arrived).count() as u32
    }

    /// The account, where `sent` packets entered this direction.
    pub fn direction(&self, sent: u32) -> Direction {
        Direction {
            sent,
            received: self.received(),
            altered: self.altered,
            duplicated: self.duplicated,
            jitter_ms: self.jitter_ticks / CLOCK_HZ * 1000.0,
        }
    }
}

/// Median, 95th percentile and maximum; `None` where nothing came back.
pub fn round_trip(mut times: Vec<Duration>) -> Option<RoundTrip> {
    times.sort_unstable();
    let last = times.len().checked_sub(1)?;
    let at = |share: f64| times[(last as f64 * share).round() as usize].as_secs_f64() * 1000.0;
    Some(RoundTrip { p50_ms: at(0.5), p95_ms: at(0.95), max_ms: at(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speech_is_four_to_six_seconds_of_sound() {
        let frames = samples(SPEECH_WAV);
        assert!((4 * 8000..6 * 8000).contains(&frames.len()), "{} samples", frames.len());
        // 0xff and 0x7f are silence in mu-law.
        let loud = frames.iter().filter(|sample| !matches!(*sample & 0x7f, 0x70..)).count();
        assert!(loud * 3 > frames.len(), "{loud} of {} samples are not silence", frames.len());
    }

    #[test]
    fn a_stream_longer_than_the_speech_repeats_it() {
        let speech = Speech::new(1000, 7);
        let period = (samples(SPEECH_WAV).len() / PAYLOAD_BYTES) as u32;
        assert_eq!(speech.packet(3)[12..], speech.packet(3 + period)[12..]);
        assert_ne!(speech.packet(3)[12..], speech.packet(40)[12..]);
        for index in [0, 1, 999] {
            assert_eq!(speech.judge(&speech.packet(index)), Arrival::Intact(index));
        }
    }

    #[test]
    fn one_changed_byte_is_noticed() {
        let speech = Speech::new(50, 0x0102_0304);
        for position in [12, 100, 171] {
            let mut packet = speech.packet(9);
            packet[position] ^= 1;
            assert_eq!(speech.judge(&packet), Arrival::Altered);
        }
        assert_eq!(speech.judge(&speech.packet(9)[..171]), Arrival::Altered);
    }

    #[test]
    fn datagrams_of_others_are_foreign() {
        let speech = Speech::new(50, 1);
        assert_eq!(speech.judge(b"hello"), Arrival::Foreign);
        assert_eq!(speech.judge(&Speech::new(50, 2).packet(0)), Arrival::Foreign);
    }

    #[test]
    fn loss_duplication_and_jitter_are_counted() {
        let speech = Speech::new(10, 1);
        let mut receiver = Receiver::new(&speech);
        let start = Instant::now();
        for index in (0..10).filter(|index| *index != 4) {
            receiver.note(Arrival::Intact(index), start + PACKET_INTERVAL * index);
        }
        receiver.note(Arrival::Intact(9), start);
        receiver.note(Arrival::Altered, start);
        let direction = receiver.direction(10);
        assert_eq!((direction.received, direction.duplicated, direction.altered), (9, 1, 1));
        assert!(direction.jitter_ms < 0.001, "{}", direction.jitter_ms);

        let mut late = Receiver::new(&speech);
        late.note(Arrival::Intact(0), start);
        late.note(Arrival::Intact(1), start + PACKET_INTERVAL + Duration::from_millis(16));
        assert!((late.direction(10).jitter_ms - 1.0).abs() < 0.001);
    }

    #[test]
    fn round_trips_are_summed_up_by_rank() {
        let times = (1..=100).map(Duration::from_millis).collect();
        let sum = round_trip(times).unwrap();
        assert_eq!((sum.p50_ms.round(), sum.p95_ms.round(), sum.max_ms.round()), (51.0, 95.0, 100.0));
        assert_eq!(round_trip(vec![]), None);
    }
}
