//! Telephone events (RFC 4733): each key press once, whatever of its packets was lost, repeated or came late.
//!
//! ```text
//! |     event     |E|R| volume    |          duration             |
//! ```

use std::time::{Duration, Instant};

use crate::digit::Digit;
use crate::limits;

/// Timestamp units per millisecond: all our codecs have a clock of 8000.
const UNITS_PER_MS: u32 = 8;

/// Longest duration that fits into a packet; a longer event goes on in a new segment (section 2.5.1.3).
const SEGMENT_UNITS: u32 = 0xffff;

/// The fields of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    pub event: u8,
    pub end: bool,
    /// -dBm0.
    pub volume: u8,
    /// In timestamp units.
    pub duration: u16,
}

impl Payload {
    /// Reads a payload; `None` when it is too short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; 4] = payload.first_chunk()?;
        Some(Self {
            event: bytes[0],
            end: bytes[1] & 0x80 != 0,
            volume: bytes[1] & 0x3f,
            duration: u16::from_be_bytes([bytes[2], bytes[3]]),
        })
    }

    /// Appends the payload.
    pub fn write(self, packet: &mut Vec<u8>) {
        packet.push(self.event);
        packet.push(u8::from(self.end) << 7 | self.volume & 0x3f);
        packet.extend_from_slice(&self.duration.to_be_bytes());
    }
}

/// What a packet told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Began(Digit),
    Ended { digit: Digit, duration: Duration },
}

/// Follows the events of one source.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    last: Option<Event>,
}

#[derive(Clone, Debug)]
struct Event {
    code: u8,
    timestamp: u32,
    /// Units of earlier segments.
    before: u32,
    duration: u32,
    ended: bool,
    heard: Instant,
}

impl Event {
    fn end(&mut self) -> Option<Change> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        Digit::from_code(self.code).map(|digit| Change::Ended {
            digit,
            duration: Duration::from_millis(u64::from((self.before + self.duration) / UNITS_PER_MS)),
        })
    }

    /// Whether a packet with another timestamp still speaks of this event: the next segment of a long one, or one of a
    /// sender that moves the timestamp although the key is still down.
    fn goes_on(&self, payload: Payload, timestamp: u32, marker: bool) -> bool {
        let moved = timestamp.wrapping_sub(self.timestamp);
        payload.event == self.code
            && !self.ended
            && !marker
            && (moved == SEGMENT_UNITS || moved <= self.duration && u32::from(payload.duration) > self.duration)
    }
}

impl Receiver {
    /// Takes one packet and tells what is new, the end of a former event first.
    pub fn handle(&mut self, payload: Payload, timestamp: u32, marker: bool, now: Instant) -> [Option<Change>; 3] {
        let duration = u32::from(payload.duration);
        let mut changes = [None; 3];
        match &mut self.last {
            Some(event) if event.timestamp == timestamp => {
                event.duration = event.duration.max(duration);
                event.heard = now;
            }
            Some(event) if (timestamp.wrapping_sub(event.timestamp) as i32) < 0 => return changes,
            Some(event) if event.goes_on(payload, timestamp, marker) => {
                if timestamp.wrapping_sub(event.timestamp) == SEGMENT_UNITS {
                    event.before = event.before.saturating_add(SEGMENT_UNITS);
                    event.duration = duration;
                } else {
                    event.duration = event.duration.max(duration);
                }
                event.timestamp = timestamp;
                event.heard = now;
            }
            last => {
                changes[0] = last.as_mut().and_then(Event::end);
                changes[1] = Digit::from_code(payload.event).map(Change::Began);
                *last = Some(Event { code: payload.event, timestamp, before: 0, duration, ended: false, heard: now });
            }
        }
        if payload.end {
            changes[2] = self.last.as_mut().and_then(Event::end);
        }
        changes
    }

    /// Ends an event whose end packets were all lost.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Change> {
        let event = self.last.as_mut()?;
        if event.ended || now.saturating_duration_since(event.heard) < limits::DIGIT_QUIET {
            return None;
        }
        event.end()
    }

    /// Another source: its timestamps have another origin. Tells the end of what was pressed.
    pub fn reset(&mut self) -> Option<Change> {
        self.last.take().and_then(|mut event| event.end())
    }
}

/// Sends one digit after the other: a packet each frame while the key is down, then three that say so.
#[derive(Clone, Debug)]
pub struct Sender {
    digit: Digit,
    /// Timestamp of the key press, which all its packets bear.
    pub timestamp: u32,
    units_max: u32,
    ends_sent: u8,
    packets: u32,
}

/// Volume that we send, -dBm0.
const VOLUME: u8 = 10;

impl Sender {
    /// A key pressed at `timestamp` for `duration`, which is clamped to what one segment holds.
    pub fn new(digit: Digit, duration: Duration, timestamp: u32) -> Self {
        let millis = duration.clamp(limits::DIGIT_MIN, limits::DIGIT_MAX).as_millis() as u32;
        Self { digit, timestamp, units_max: millis * UNITS_PER_MS, ends_sent: 0, packets: 0 }
    }

    /// The packet due at `now_timestamp`: marker and payload; `None` when all were sent.
    pub fn next(&mut self, now_timestamp: u32) -> Option<(bool, Payload)> {
        if self.ends_sent == limits::DIGIT_ENDS {
            return None;
        }
        let elapsed = now_timestamp.wrapping_sub(self.timestamp);
        let end = elapsed >= self.units_max;
        if end {
            self.ends_sent += 1;
        }
        let marker = self.packets == 0;
        self.packets += 1;
        let payload =
            Payload { event: self.digit.code(), end, volume: VOLUME, duration: elapsed.min(self.units_max) as u16 };
        Some((marker, payload))
    }

    /// The key.
    pub fn digit(&self) -> Digit {
        self.digit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Peer {
        receiver: Receiver,
        now: Instant,
        heard: String,
        durations: Vec<u64>,
    }

    impl Peer {
        fn new() -> Self {
            Self { receiver: Receiver::default(), now: Instant::now(), heard: String::new(), durations: Vec::new() }
        }

        fn packet(&mut self, key: char, timestamp: u32, duration: u16, end: bool, marker: bool) {
            self.now += Duration::from_millis(20);
            let payload = Payload { event: Digit::from_char(key).unwrap().code(), end, volume: 10, duration };
            let changes = self.receiver.handle(payload, timestamp, marker, self.now);
            changes.into_iter().flatten().for_each(|change| self.note(change));
        }

        fn note(&mut self, change: Change) {
            if let Change::Ended { digit, duration } = change {
                self.heard.push(digit.as_char());
                self.durations.push(duration.as_millis() as u64);
            }
        }

        fn wait(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
            if let Some(change) = self.receiver.handle_timeout(self.now) {
                self.note(change);
            }
        }
    }

    #[test]
    fn a_key_press_of_many_packets_is_one_digit() {
        let mut peer = Peer::new();
        for i in 1..=7u16 {
            peer.packet('5', 1_000, 160 * i, false, i == 1);
        }
        for _ in 0..3 {
            peer.packet('5', 1_000, 1_120, true, false);
        }
        peer.wait(1_000);
        assert_eq!((peer.heard.as_str(), &peer.durations[..]), ("5", &[140][..]));
    }

    #[test]
    fn a_lost_start_a_lost_end_and_a_late_packet_change_nothing() {
        let mut peer = Peer::new();
        peer.packet('1', 1_000, 800, true, false);
        peer.packet('1', 3_000, 160, false, true);
        peer.packet('1', 3_000, 320, false, false);
        // The end of the second is lost, the third begins; then a straggler of the second.
        peer.packet('1', 5_000, 160, false, true);
        peer.packet('1', 3_000, 480, true, false);
        peer.packet('1', 5_000, 320, true, false);
        assert_eq!(peer.heard, "111");
    }

    #[test]
    fn an_end_that_never_comes_is_found_by_the_clock() {
        let mut peer = Peer::new();
        peer.packet('#', 1_000, 160, false, true);
        peer.packet('#', 1_000, 400, false, false);
        peer.wait(100);
        assert_eq!(peer.heard, "");
        peer.wait(300);
        peer.packet('#', 1_000, 560, true, false);
        assert_eq!((peer.heard.as_str(), &peer.durations[..]), ("#", &[50][..]));
    }

    #[test]
    fn an_event_of_several_segments_is_one_digit() {
        let mut peer = Peer::new();
        for segment in 0..3u32 {
            for duration in [0x4000, 0x8000, 0xffff] {
                peer.packet('*', 1_000 + segment * 0xffff, duration, false, segment == 0 && duration == 0x4000);
            }
        }
        peer.packet('*', 1_000 + 3 * 0xffff, 800, true, false);
        assert_eq!((peer.heard.as_str(), &peer.durations[..]), ("*", &[(3 * 65_535 + 800) / 8][..]));
    }

    #[test]
    fn a_sender_that_moves_the_timestamp_presses_once() {
        let mut peer = Peer::new();
        for i in 1..=5u16 {
            peer.packet('9', 1_000 + 160 * (u32::from(i) - 1), 160 * i, i == 5, i == 1);
        }
        assert_eq!(peer.heard, "9");
    }

    #[test]
    fn events_that_are_no_keys_are_not_told() {
        let mut receiver = Receiver::default();
        let flash = Payload { event: 16, end: true, volume: 0, duration: 400 };
        assert_eq!(receiver.handle(flash, 1, true, Instant::now()), [None; 3]);
    }

    #[test]
    fn what_the_sender_sends_is_what_the_receiver_hears() {
        let mut peer = Peer::new();
        let mut timestamp = 0u32.wrapping_sub(400);
        for key in "1470*#ABCD".chars() {
            let mut sender = Sender::new(Digit::from_char(key).unwrap(), Duration::from_millis(100), timestamp);
            let mut ends = 0;
            while let Some((marker, payload)) = sender.next(timestamp) {
                ends += u32::from(payload.end);
                peer.packet(key, sender.timestamp, payload.duration, payload.end, marker);
                timestamp = timestamp.wrapping_add(160);
            }
            assert_eq!(ends, 3);
        }
        assert_eq!(peer.heard, "1470*#ABCD");
        assert!(peer.durations.iter().all(|millis| *millis == 100));
    }
}
