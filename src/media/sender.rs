//! What we send: the play queue and the digits, packet by packet.

use std::collections::VecDeque;
use std::time::Duration;

use crate::codec::Codec;
use crate::coder::Encoder;
use crate::digit::Digit;
use crate::limits;
use crate::resample::Resampler;
use crate::rtp::Outgoing;
use crate::session::Session;
use crate::telephone_event;

/// Timestamp units of one frame.
const FRAME_UNITS: u32 = 160;

/// The sending half of a stream.
pub struct Sender {
    ssrc: u32,
    sequence: u16,
    /// Timestamp of the frame that is made next.
    timestamp: u32,
    codec: Codec,
    payload_type: u8,
    event_payload_type: Option<u8>,
    packet_samples: usize,
    encoder: Encoder,
    resampler: Resampler,
    pcm_rate: u32,
    play: VecDeque<i16>,
    frame: Vec<i16>,
    /// At the codec's rate, from `pending_timestamp` on.
    pending: Vec<i16>,
    pending_timestamp: u32,
    digits: VecDeque<(Digit, Duration)>,
    pressed: Option<telephone_event::Sender>,
    /// The next packet of audio begins a talk spurt.
    marker: bool,
    packets: u64,
    bytes: u64,
}

/// What one frame's time brought.
#[derive(Default)]
pub struct Sent {
    /// The play queue ran empty.
    pub play_finished: bool,
    pub digit: Option<Digit>,
    /// Whether queued audio was in the frame.
    pub played: bool,
}

impl Sender {
    /// Starts at numbers drawn by the caller; the sequence number's upper bit is cleared, for SRTP counts wraps.
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32, pcm_rate: u32, session: &Session) -> Self {
        let mut sender = Self {
            ssrc,
            sequence: sequence & 0x7fff,
            timestamp,
            codec: session.codec,
            payload_type: session.payload_type,
            event_payload_type: None,
            packet_samples: 0,
            encoder: Encoder::new(session.codec),
            resampler: Resampler::new(pcm_rate, session.codec.rate()),
            pcm_rate,
            play: VecDeque::with_capacity(play_samples_max(pcm_rate)),
            frame: Vec::with_capacity(limits::PACKET_BYTES_MAX),
            pending: Vec::with_capacity(limits::PACKET_BYTES_MAX),
            pending_timestamp: timestamp,
            digits: VecDeque::new(),
            pressed: None,
            marker: true,
            packets: 0,
            bytes: 0,
        };
        sender.renegotiate(session);
        sender
    }

    /// Another codec, payload type or packet time.
    pub fn renegotiate(&mut self, session: &Session) {
        if session.codec != self.codec {
            self.codec = session.codec;
            self.encoder = Encoder::new(session.codec);
            self.resampler = Resampler::new(self.pcm_rate, session.codec.rate());
            self.pending.clear();
        }
        self.payload_type = session.payload_type & 0x7f;
        self.event_payload_type = session.telephone_event.map(|numbers| numbers.send & 0x7f);
        let ptime_ms = session.ptime_ms.clamp(10, 60) / 10 * 10;
        self.packet_samples = (session.codec.rate() / 1_000 * ptime_ms) as usize;
        if self.event_payload_type.is_none() {
            self.digits.clear();
            self.pressed = None;
        }
    }

    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub fn packets(&self) -> u64 {
        self.packets
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Timestamp of now.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Queues samples, as many as fit; returns how many.
    pub fn play(&mut self, pcm: &[i16]) -> usize {
        let room = play_samples_max(self.pcm_rate).saturating_sub(self.play.len());
        let taken = room.min(pcm.len());
        self.play.extend(&pcm[..taken]);
        taken
    }

    pub fn play_queued(&self) -> usize {
        self.play.len()
    }

    pub fn stop_playing(&mut self) {
        self.play.clear();
    }

    /// Whether telephone-event was agreed.
    pub fn can_send_digits(&self) -> bool {
        self.event_payload_type.is_some()
    }

    /// Queues a digit; `false` when too many wait.
    pub fn send_digit(&mut self, digit: Digit, duration: Duration) -> bool {
        let room = self.digits.len() < limits::DIGITS_QUEUED_MAX;
        if room {
            self.digits.push_back((digit, duration));
        }
        room
    }

    /// Lets a frame's time pass without sending: what is queued waits.
    pub fn skip_frame(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(FRAME_UNITS);
        self.pending.clear();
        self.marker = true;
    }

    /// Makes the packets of one frame's time, each given to `emit` as header and a function's worth of payload.
    pub fn frame(&mut self, mut emit: impl FnMut(Outgoing, &mut dyn FnMut(&mut Vec<u8>))) -> Sent {
        let mut sent = Sent::default();
        let end = self.timestamp.wrapping_add(FRAME_UNITS);
        if !self.send_event(end, &mut sent, &mut emit) {
            self.send_audio(&mut sent, &mut emit);
        }
        self.timestamp = end;
        sent
    }

    /// Samples of the frame made last, at the PCM rate.
    pub fn last_frame(&self) -> &[i16] {
        &self.frame
    }

    fn send_event(
        &mut self,
        end: u32,
        sent: &mut Sent,
        emit: &mut impl FnMut(Outgoing, &mut dyn FnMut(&mut Vec<u8>)),
    ) -> bool {
        let Some(payload_type) = self.event_payload_type else { return false };
        if self.pressed.is_none() {
            let Some((digit, duration)) = self.digits.pop_front() else { return false };
            self.pressed = Some(telephone_event::Sender::new(digit, duration, self.timestamp));
            self.pending.clear();
        }
        let Some(pressed) = &mut self.pressed else { return false };
        let Some((marker, payload)) = pressed.next(end) else {
            sent.digit = Some(pressed.digit());
            self.pressed = None;
            self.marker = true;
            return false;
        };
        let header =
            Outgoing { marker, payload_type, sequence: self.sequence, timestamp: pressed.timestamp, ssrc: self.ssrc };
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.bytes += 4;
        emit(header, &mut |packet| payload.write(packet));
        true
    }

    fn send_audio(&mut self, sent: &mut Sent, emit: &mut impl FnMut(Outgoing, &mut dyn FnMut(&mut Vec<u8>))) {
        let samples = (self.pcm_rate / limits::FRAMES_PER_SEC) as usize;
        let queued = samples.min(self.play.len());
        self.frame.clear();
        self.frame.extend(self.play.drain(..queued));
        self.frame.resize(samples, 0);
        sent.played = queued > 0;
        sent.play_finished = queued > 0 && self.play.is_empty();
        if self.pending.is_empty() {
            self.pending_timestamp = self.timestamp;
        }
        self.resampler.process(&self.frame, &mut self.pending);
        let mut taken = 0;
        while self.pending.len() - taken >= self.packet_samples {
            let pcm = &self.pending[taken..taken + self.packet_samples];
            taken += self.packet_samples;
            let header = Outgoing {
                marker: std::mem::take(&mut self.marker),
                payload_type: self.payload_type,
                sequence: self.sequence,
                timestamp: self.pending_timestamp,
                ssrc: self.ssrc,
            };
            let units = (self.packet_samples as u32) * self.codec.clock_rate() / self.codec.rate();
            self.sequence = self.sequence.wrapping_add(1);
            self.pending_timestamp = self.pending_timestamp.wrapping_add(units);
            self.packets += 1;
            // One byte for each timestamp unit, for all our codecs.
            self.bytes += u64::from(units);
            let encoder = &mut self.encoder;
            emit(header, &mut |packet| encoder.encode(pcm, packet));
        }
        self.pending.drain(..taken);
    }
}

fn play_samples_max(pcm_rate: u32) -> usize {
    (pcm_rate / 1_000 * limits::PLAY_MS_MAX) as usize
}
