//! What we receive: from the packets of the believed source to frames, digits and counts.

use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::event::{Frame, FrameKind};
use crate::jitter_buffer::{Content, Inserted};
use crate::level::SilenceDetector;
use crate::limits;
use crate::playout::Playout;
use crate::reception::Reception;
use crate::report::{DropReason, Drops, Report};
use crate::rtp::Header;
use crate::session::Session;
use crate::telephone_event::{self, Change};

/// The receiving half of a stream.
pub struct Receiver {
    origin: Instant,
    /// Payload type numbers that were agreed.
    agreed: Vec<(u8, Agreed)>,
    playout: Playout,
    pub reception: Option<Reception>,
    keys: telephone_event::Receiver,
    pub silence: SilenceDetector,
    frame: Vec<i16>,
    frame_silent: bool,
    codec: Option<Codec>,
    audio_packets: u64,
    counts: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Agreed {
    Audio(Codec),
    ComfortNoise,
    TelephoneEvent,
}

#[derive(Default)]
struct Counts {
    packets: u64,
    bytes: u64,
    reordered: u64,
    /// Of former sources.
    lost: u64,
    jitter_max: u32,
    frames: [u64; 4],
    loud: u64,
}

/// Static payload type of comfort noise (RFC 3551).
const COMFORT_NOISE: u8 = 13;

/// What a packet brought.
#[derive(Default)]
pub struct Taken {
    pub keys: [Option<Change>; 3],
    /// Its payload was the first audio of the stream.
    pub first_audio: bool,
}

impl Receiver {
    pub fn new(session: &Session, pcm_rate: u32, silence_dbov: f32, now: Instant) -> Self {
        let mut receiver = Self {
            origin: now,
            agreed: Vec::new(),
            playout: Playout::new(session.codec, pcm_rate),
            reception: None,
            keys: telephone_event::Receiver::default(),
            silence: SilenceDetector::new(silence_dbov),
            frame: Vec::with_capacity((limits::PCM_RATE_MAX / limits::FRAMES_PER_SEC) as usize),
            frame_silent: true,
            codec: None,
            audio_packets: 0,
            counts: Counts::default(),
        };
        receiver.renegotiate(session);
        receiver
    }

    /// Other payload types.
    pub fn renegotiate(&mut self, session: &Session) {
        self.agreed.clear();
        let audio = session.receive.iter().take(limits::PAYLOAD_TYPES_MAX);
        self.agreed.extend(audio.map(|(number, codec)| (*number, Agreed::Audio(*codec))));
        if let Some(numbers) = session.telephone_event {
            self.agreed.push((numbers.receive, Agreed::TelephoneEvent));
        }
        if let Some(numbers) = session.comfort_noise {
            self.agreed.push((numbers.receive, Agreed::ComfortNoise));
        }
        self.agreed.push((COMFORT_NOISE, Agreed::ComfortNoise));
    }

    /// Whether a payload type was agreed.
    pub fn agrees(&self, payload_type: u8) -> bool {
        self.find(payload_type).is_some()
    }

    fn find(&self, payload_type: u8) -> Option<Agreed> {
        self.agreed.iter().find(|(number, _)| *number == payload_type).map(|(_, agreed)| *agreed)
    }

    /// Time in timestamp units.
    fn units(&self, at: Instant) -> u32 {
        (at.saturating_duration_since(self.origin).as_nanos() / 125_000) as u32
    }

    /// Another source speaks now. Tells the key that the former one held down.
    pub fn new_source(&mut self, header: &Header) -> Option<Change> {
        if self.reception.as_ref().is_some_and(|reception| reception.ssrc() == header.ssrc) {
            return None;
        }
        if let Some(former) = self.reception.replace(Reception::new(header.ssrc, header.sequence)) {
            self.counts.lost += former.lost().max(0) as u64;
            self.counts.jitter_max = self.counts.jitter_max.max(former.jitter_max());
        }
        self.playout.reset();
        self.keys.reset()
    }

    /// Time was not played for a while: the next packet starts anew.
    pub fn restart(&mut self) {
        self.playout.reset();
        self.silence.reset();
    }

    /// Takes a packet of the believed source.
    pub fn take(&mut self, header: &Header, payload: &[u8], came: Instant, now: Instant, drops: &mut Drops) -> Taken {
        let mut taken = Taken::default();
        let Some(agreed) = self.find(header.payload_type) else { return taken };
        let arrival = self.units(came);
        self.counts.packets += 1;
        self.counts.bytes += payload.len() as u64;
        if let Some(reception) = &mut self.reception {
            self.counts.reordered += u64::from(reception.count(header.sequence));
            if agreed != Agreed::TelephoneEvent {
                reception.time(header.timestamp, arrival);
            }
        }
        let content = match agreed {
            Agreed::TelephoneEvent => {
                if let Some(event) = telephone_event::Payload::parse(payload) {
                    taken.keys = self.keys.handle(event, header.timestamp, header.marker, now);
                }
                Content::Event
            }
            Agreed::ComfortNoise => Content::ComfortNoise,
            Agreed::Audio(codec) => {
                if payload.is_empty() {
                    return taken;
                }
                self.codec = Some(codec);
                self.audio_packets += 1;
                taken.first_audio = self.audio_packets == 1;
                Content::Audio(codec)
            }
        };
        let payload = if content == Content::Event { &[] } else { payload };
        match self.playout.insert(header.sequence, header.timestamp, content, payload, arrival) {
            Inserted::Stored => {}
            Inserted::Duplicate => drops.count(DropReason::Duplicate),
            Inserted::Late => drops.count(DropReason::Late),
            Inserted::Pushed(packets) => (0..packets).for_each(|_| drops.count(DropReason::Overflow)),
        }
        taken
    }

    /// Makes the frame that ends at `at`; its samples are [`last_frame`](Self::last_frame).
    pub fn make_frame(&mut self, at: Instant) -> FrameKind {
        let now = self.units(at);
        let kind = self.playout.frame(now, &mut self.frame);
        self.count_frame(kind);
        kind
    }

    /// Makes a frame of what has come and is not yet due; `None` when nothing is left.
    pub fn make_rest(&mut self, at: Instant) -> Option<FrameKind> {
        let now = self.units(at);
        let kind = self.playout.rest(now, &mut self.frame)?;
        self.count_frame(kind);
        Some(kind)
    }

    fn count_frame(&mut self, kind: FrameKind) {
        self.frame_silent = self.silence.is_silent(&self.frame);
        self.counts.frames[kind as usize] += 1;
        self.counts.loud += u64::from(!self.frame_silent && kind == FrameKind::Audio);
    }

    /// The frame made last.
    pub fn last_frame(&self, kind: FrameKind) -> Frame<'_> {
        Frame {
            pcm: &self.frame,
            kind,
            silent: self.frame_silent,
            unsettled: self.playout.unsettled(),
            superfluous: self.playout.superfluous(),
        }
    }

    /// Whether all that comes is to be in frames; see [`Playout::keep_all`].
    pub fn keep_all(&mut self, keeps_all: bool) {
        self.playout.keep_all(keeps_all);
    }

    /// A key whose end was lost.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Change> {
        self.keys.handle_timeout(now)
    }

    /// Whether any audio was ever taken.
    pub fn has_audio(&self) -> bool {
        self.audio_packets > 0
    }

    /// Fills its part of a report.
    pub fn report(&self, report: &mut Report) {
        let units = |units: u32| Duration::from_micros(u64::from(units) * 125);
        let counts = &self.counts;
        report.codec = self.codec;
        report.packets_received = counts.packets;
        report.bytes_received = counts.bytes;
        report.packets_reordered = counts.reordered;
        report.packets_lost = counts.lost;
        if let Some(reception) = &self.reception {
            report.packets_lost += reception.lost().max(0) as u64;
            report.jitter = units(reception.jitter());
            report.jitter_max = units(reception.jitter_max().max(counts.jitter_max));
        }
        let frames = |kind: FrameKind| counts.frames[kind as usize];
        report.frames_audio = frames(FrameKind::Audio);
        report.frames_concealed = frames(FrameKind::Concealed);
        report.frames_comfort_noise = frames(FrameKind::ComfortNoise);
        report.frames_nothing = frames(FrameKind::Nothing);
        report.frames_loud = counts.loud;
    }
}
