//! From packets of one source to one frame every 20 ms: when each packet's time has come, what fills the gaps, and how
//! the delay follows jitter and drift.
//!
//! All times are in timestamp units of 1/8000 s, which for all our codecs is one byte of payload. The cursor is the
//! timestamp to be played next; while nothing is there to play, time owed piles up beside it, and only the next packet
//! tells whether that time was lost (its timestamp has moved on) or the network was slow (it has not, and the delay has
//! grown by it).

use std::collections::VecDeque;

use crate::codec::Codec;
use crate::coder::Decoder;
use crate::comfort_noise::ComfortNoise;
use crate::conceal::Concealer;
use crate::event::FrameKind;
use crate::jitter_buffer::{Content, Inserted, JitterBuffer};
use crate::limits;
use crate::resample::Resampler;

/// Units per millisecond.
const PER_MS: u32 = 8;
const FRAME_UNITS: u32 = 160;
const DELAY: u32 = limits::PLAYOUT_DELAY.as_millis() as u32 * PER_MS;
const DELAY_MAX: u32 = limits::PLAYOUT_DELAY_MAX.as_millis() as u32 * PER_MS;
const SPARE_MAX: u32 = limits::PLAYOUT_SPARE_MAX.as_millis() as u32 * PER_MS;

/// A packet that is off by more than this is of another timeline.
const MISFIT: u32 = 1_000 * PER_MS;
const MISFITS_MAX: u32 = 3;

/// Late packets within a window that make the delay grow by a frame.
const LATE_MAX: u32 = 3;

/// Concealed for so long, a gap is told as nothing.
const NOTHING_AFTER: u32 = 200 * PER_MS;

/// Turns packets into frames.
pub struct Playout {
    jitter: JitterBuffer,
    decoder: Decoder,
    resampler: Resampler,
    concealer: Concealer,
    noise: Option<ComfortNoise>,
    pcm_rate: u32,
    /// Decoded and not yet played, at `pcm_rate`.
    decoded: VecDeque<i16>,
    at_codec_rate: Vec<i16>,
    at_pcm_rate: Vec<i16>,
    clock: Clock,
    /// Units made up since the last decoded sample.
    gap: u32,
    /// Units at the end of the last frame that are owed.
    unsettled: u32,
    /// Units owed before the last frame that it showed to be of no time of the sender's.
    superfluous: u32,
    /// The same, of the frame to come: the last one was itself waited for.
    carried: u32,
    /// Nothing is left out to make the delay shorter.
    keeps_all: bool,
}

/// Where the cursor is and how packets arrive around it.
#[derive(Default)]
struct Clock {
    cursor: Option<u32>,
    /// When the first packet's time comes.
    start: u32,
    owed: u32,
    last: Option<Arrival>,
    misfits: u32,
    /// Earliest and latest transit of this window and of the one before.
    windows: [Option<Window>; 2],
    late: u32,
    since_shrink: u32,
}

/// The packet that came last.
#[derive(Clone, Copy)]
struct Arrival {
    timestamp: u32,
    transit: u32,
}

#[derive(Clone, Copy)]
struct Window {
    opened: u32,
    earliest: u32,
    latest: u32,
}

/// Length of one window of transit times.
const WINDOW: u32 = 2_000 * PER_MS;

fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

impl Clock {
    /// Notes how long a packet was under way; `false` when it does not belong to this timeline. With `waits`, one that
    /// goes on where the last one ended belongs to it, however late it comes.
    fn arrived(&mut self, timestamp: u32, now: u32, waits: bool) -> bool {
        let transit = now.wrapping_sub(timestamp);
        let is_off = |a: u32, b: u32| (a.wrapping_sub(b) as i32).unsigned_abs() > MISFIT;
        if let Some(last) = self.last
            && is_off(transit, last.transit)
            && !(waits && !is_off(timestamp, last.timestamp))
        {
            self.misfits += 1;
            return false;
        }
        self.misfits = 0;
        self.last = Some(Arrival { timestamp, transit });
        match &mut self.windows[0] {
            Some(window) if now.wrapping_sub(window.opened) < WINDOW => {
                if after(transit, window.latest) {
                    window.latest = transit;
                }
                if after(window.earliest, transit) {
                    window.earliest = transit;
                }
            }
            current => {
                let fresh = Window { opened: now, earliest: transit, latest: transit };
                self.windows[1] = current.replace(fresh);
                self.late = 0;
            }
        }
        true
    }

    fn earliest(&self) -> Option<u32> {
        let [a, b] = self.windows;
        let later = |a: u32, b: u32| if after(a, b) { b } else { a };
        match (a, b) {
            (Some(a), Some(b)) => Some(later(a.earliest, b.earliest)),
            (a, b) => a.or(b).map(|window| window.earliest),
        }
    }

    fn latest(&self) -> Option<u32> {
        let [a, b] = self.windows;
        match (a, b) {
            (Some(a), Some(b)) => Some(if after(a.latest, b.latest) { a.latest } else { b.latest }),
            (a, b) => a.or(b).map(|window| window.latest),
        }
    }

    /// Time that the slowest packet of late had to spare before it was played.
    fn spare(&self, now: u32) -> i32 {
        match (self.cursor, self.latest()) {
            (Some(cursor), Some(latest)) => now.wrapping_sub(cursor).wrapping_sub(latest) as i32,
            _ => 0,
        }
    }

    /// Moves the cursor over the time owed, now that `timestamp` is to be played next. Answers how much of it was not
    /// lost but waited for. With `waits` there is no longest delay.
    fn settle(&mut self, timestamp: u32, now: u32, waits: bool) -> u32 {
        let Some(cursor) = self.cursor else { return 0 };
        let ahead = timestamp.wrapping_sub(cursor) as i32;
        let lost = self.owed.min(ahead.max(0) as u32);
        let mut cursor = cursor.wrapping_add(lost);
        let mut waited = self.owed - lost;
        self.owed = 0;
        // What could not be told as lost has made the delay longer.
        if let Some(earliest) = self.earliest().filter(|_| !waits) {
            let longest = earliest.wrapping_add(DELAY_MAX);
            let offset = now.wrapping_sub(cursor);
            if after(offset, longest) {
                // So much was waited for in vain.
                waited = waited.saturating_sub(offset.wrapping_sub(longest));
                cursor = now.wrapping_sub(longest);
            }
        }
        self.cursor = Some(cursor);
        waited
    }
}

/// What a frame was made of.
#[derive(Default)]
struct Mixture {
    audio: bool,
    concealed: bool,
    noise: bool,
}

impl Mixture {
    fn kind(&self) -> FrameKind {
        match self {
            Self { concealed: true, .. } => FrameKind::Concealed,
            Self { audio: true, .. } => FrameKind::Audio,
            Self { noise: true, .. } => FrameKind::ComfortNoise,
            _ => FrameKind::Nothing,
        }
    }
}

/// Why samples are to be made up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// Packets are missing, or nothing is there.
    Missing,
    /// The sender skipped time without skipping a number: it had nothing to say.
    Pause,
}

impl Playout {
    /// For frames at `pcm_rate`.
    pub fn new(codec: Codec, pcm_rate: u32) -> Self {
        Self {
            jitter: JitterBuffer::default(),
            decoder: Decoder::new(codec),
            resampler: Resampler::new(codec.rate(), pcm_rate),
            concealer: Concealer::new(pcm_rate),
            noise: None,
            pcm_rate,
            decoded: VecDeque::with_capacity(limits::PACKET_BYTES_MAX),
            at_codec_rate: Vec::with_capacity(limits::PACKET_BYTES_MAX),
            at_pcm_rate: Vec::with_capacity(limits::PACKET_BYTES_MAX),
            clock: Clock::default(),
            gap: NOTHING_AFTER,
            unsettled: 0,
            superfluous: 0,
            carried: 0,
            keeps_all: false,
        }
    }

    /// Whether all that comes is played to its end, however long it has waited. Off at first.
    pub fn keep_all(&mut self, keeps_all: bool) {
        self.keeps_all = keeps_all;
    }

    /// Samples at the end of the last frame for which nothing had come: lost, or late.
    pub fn unsettled(&self) -> usize {
        (self.unsettled * self.samples_per_unit()) as usize
    }

    /// How many of the unsettled samples before the last frame were only waited for.
    pub fn superfluous(&self) -> usize {
        (self.superfluous * self.samples_per_unit()) as usize
    }

    /// The codec last decoded.
    pub fn codec(&self) -> Codec {
        self.decoder.codec()
    }

    /// Another source, or another timeline: the next packet starts anew.
    pub fn reset(&mut self) {
        self.jitter.clear();
        self.clock = Clock::default();
    }

    /// Takes a packet that arrived at `now`.
    pub fn insert(&mut self, sequence: u16, timestamp: u32, content: Content, payload: &[u8], now: u32) -> Inserted {
        // The packets of one event bear one timestamp for as long as the key is down.
        if content != Content::Event && !self.clock.arrived(timestamp, now, self.keeps_all) {
            if self.clock.misfits < MISFITS_MAX {
                return Inserted::Late;
            }
            self.reset();
            self.clock.arrived(timestamp, now, self.keeps_all);
        }
        let first = self.jitter.is_empty() && self.clock.cursor.is_none();
        if first {
            self.clock.start = now.wrapping_add(DELAY);
        }
        let inserted = self.jitter.insert(sequence, timestamp, content, payload);
        if inserted == Inserted::Late {
            self.clock.late += 1;
        }
        inserted
    }

    /// Makes the frame that ends at `now`: replaces `frame` by samples of 20 ms.
    pub fn frame(&mut self, now: u32, frame: &mut Vec<i16>) -> FrameKind {
        self.unsettled = 0;
        self.superfluous = std::mem::take(&mut self.carried);
        self.next_frame(now, frame)
    }

    /// A frame of what has come and is not yet due; `None` when nothing is left.
    pub fn rest(&mut self, now: u32, frame: &mut Vec<i16>) -> Option<FrameKind> {
        if self.jitter.is_empty() && self.decoded.is_empty() {
            return None;
        }
        self.clock.start = now;
        Some(self.frame(now, frame))
    }

    fn next_frame(&mut self, now: u32, frame: &mut Vec<i16>) -> FrameKind {
        let samples = (self.pcm_rate / limits::FRAMES_PER_SEC) as usize;
        frame.clear();
        let mut mixture = Mixture::default();
        if self.clock.cursor.is_none() {
            match self.jitter.peek() {
                Some((slot, _)) if !after(self.clock.start, now) => {
                    self.clock.cursor = Some(slot.timestamp);
                }
                _ => {
                    self.fill(FRAME_UNITS, Fill::Missing, frame, &mut mixture);
                    return mixture.kind();
                }
            }
        }
        if self.clock.late >= LATE_MAX && self.decoded.is_empty() && self.clock.spare(now) < 0 {
            // Packets keep missing their turn: let everything wait for a frame.
            self.clock.late = 0;
            self.unsettled = FRAME_UNITS;
            self.carried = FRAME_UNITS;
            self.fill(FRAME_UNITS, Fill::Missing, frame, &mut mixture);
            return mixture.kind();
        }
        // One packet or one gap each time round; a packet without samples goes for good.
        for _ in 0..2 * limits::JITTER_SLOTS {
            if frame.len() == samples {
                break;
            }
            self.step(now, samples, frame, &mut mixture);
        }
        let missing = samples - frame.len();
        self.fill(missing as u32 / self.samples_per_unit(), Fill::Missing, frame, &mut mixture);
        self.shrink(now, samples, frame, &mixture);
        mixture.kind()
    }

    fn samples_per_unit(&self) -> u32 {
        self.pcm_rate / 8_000
    }

    fn step(&mut self, now: u32, samples: usize, frame: &mut Vec<i16>, mixture: &mut Mixture) {
        let missing = samples - frame.len();
        if !self.decoded.is_empty() {
            let take = missing.min(self.decoded.len());
            frame.extend(self.decoded.drain(..take));
            mixture.audio = true;
            return;
        }
        let missing_units = missing as u32 / self.samples_per_unit();
        let Some((slot, lost_packets)) = self.jitter.peek() else {
            self.clock.owed = self.clock.owed.saturating_add(missing_units);
            self.unsettled += missing_units;
            return self.fill(missing_units, Fill::Missing, frame, mixture);
        };
        let timestamp = slot.timestamp;
        let cursor = self.clock.cursor.unwrap_or(timestamp);
        if !matches!(slot.content, Content::Audio(_)) && !after(timestamp, cursor.wrapping_add(self.clock.owed)) {
            // No audio: it takes no time, and its timestamp tells nothing of the network.
            return self.play_next(cursor);
        }
        self.superfluous += self.clock.settle(timestamp, now, self.keeps_all);
        let cursor = self.clock.cursor.unwrap_or(timestamp);
        let ahead = timestamp.wrapping_sub(cursor) as i32;
        if ahead > 0 {
            let units = missing_units.min(ahead as u32);
            self.clock.cursor = Some(cursor.wrapping_add(units));
            let fill = if lost_packets > 0 { Fill::Missing } else { Fill::Pause };
            return self.fill(units, fill, frame, mixture);
        }
        self.play_next(cursor);
    }

    /// Takes the earliest packet, whose time has come.
    fn play_next(&mut self, cursor: u32) {
        let Some(slot) = self.jitter.pop() else { return };
        match slot.content {
            Content::Event => {}
            Content::ComfortNoise => self.noise = Some(ComfortNoise::new(&slot.payload, slot.timestamp)),
            Content::Audio(codec) => {
                let end = slot.timestamp.wrapping_add(slot.payload.len() as u32);
                if !after(end, cursor) {
                    // Wholly in the past: it was waiting behind a longer delay than we allow.
                    self.clock.late += 1;
                    return;
                }
                self.noise = None;
                if codec != self.decoder.codec() {
                    self.decoder = Decoder::new(codec);
                    self.resampler = Resampler::new(codec.rate(), self.pcm_rate);
                }
                self.at_codec_rate.clear();
                self.at_pcm_rate.clear();
                self.decoder.decode(&slot.payload, &mut self.at_codec_rate);
                self.resampler.process(&self.at_codec_rate, &mut self.at_pcm_rate);
                self.concealer.good(&mut self.at_pcm_rate);
                self.gap = 0;
                let skip = cursor.wrapping_sub(slot.timestamp) as usize * (self.pcm_rate / 8_000) as usize;
                self.decoded.extend(self.at_pcm_rate.iter().skip(skip));
                self.clock.cursor = Some(end);
            }
        }
    }

    fn fill(&mut self, units: u32, fill: Fill, frame: &mut Vec<i16>, mixture: &mut Mixture) {
        if units == 0 {
            return;
        }
        let samples = (units * self.samples_per_unit()) as usize;
        if let Some(noise) = &mut self.noise {
            noise.fill(samples, frame);
            mixture.noise = true;
            return;
        }
        self.concealer.conceal(samples, frame);
        mixture.noise |= fill == Fill::Pause;
        mixture.concealed |= fill == Fill::Missing && self.gap < NOTHING_AFTER;
        self.gap = self.gap.saturating_add(units).min(NOTHING_AFTER);
    }

    /// Leaves out a frame when packets wait needlessly long: a silent one, or any when they wait far too long.
    fn shrink(&mut self, now: u32, samples: usize, frame: &mut [i16], mixture: &Mixture) {
        self.clock.since_shrink = self.clock.since_shrink.saturating_add(FRAME_UNITS);
        // No more than one frame in 200 ms.
        if self.keeps_all || self.clock.since_shrink < 10 * FRAME_UNITS || self.clock.windows[1].is_none() {
            return;
        }
        let spare = self.clock.spare(now);
        let quiet = mixture.kind() != FrameKind::Audio || crate::level::dbov(frame) < -50.0;
        let limit = if quiet { SPARE_MAX } else { 2 * SPARE_MAX };
        if spare > limit as i32 && self.jitter.len() > 1 {
            self.clock.since_shrink = 0;
            let mut skipped = Vec::new();
            std::mem::swap(&mut skipped, &mut self.at_pcm_rate);
            skipped.clear();
            let mut ignored = Mixture::default();
            while skipped.len() < samples && !(self.decoded.is_empty() && self.jitter.is_empty()) {
                self.step(now, samples, &mut skipped, &mut ignored);
            }
            self.at_pcm_rate = skipped;
        }
    }
}
