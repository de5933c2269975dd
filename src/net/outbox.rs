//! What waits to be written to one slow stream: control messages, which are never lost, and media, which ages.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{CONTROL_QUEUE_BYTES_MAX, MEDIA_QUEUE_AGE_MAX, MEDIA_QUEUE_BYTES_MAX};

/// Two queues of bytes. Control goes first, except that a media frame once begun is finished before anything else.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    control: VecDeque<u8>,
    /// What is left of each control message.
    control_left: VecDeque<usize>,
    media: VecDeque<u8>,
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are written, and no longer in `media`.
    head_written: usize,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    bytes: usize,
    queued: Instant,
}

impl Outbox {
    pub(crate) fn push_control(&mut self, bytes: &[u8]) {
        self.control.extend(bytes);
        self.control_left.push_back(bytes.len());
    }

    pub(crate) fn control_bytes(&self) -> usize {
        self.control.len()
    }

    /// More control waits than any reader may leave unread.
    pub(crate) fn overflows(&self) -> bool {
        self.control.len() > CONTROL_QUEUE_BYTES_MAX
    }

    /// Queues one whole frame and answers how many were dropped for it: the oldest first, this one if nothing helps.
    pub(crate) fn push_media(&mut self, frame: &[u8], now: Instant) -> usize {
        let mut dropped = self.expire(now);
        while self.media.len() + frame.len() > MEDIA_QUEUE_BYTES_MAX {
            if !self.drop_oldest() {
                return dropped + 1;
            }
            dropped += 1;
        }
        self.media.extend(frame);
        self.frames.push_back(Frame { bytes: frame.len(), queued: now });
        dropped
    }

    /// Drops the frames that are too old to be worth sending; answers how many.
    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        let mut dropped = 0;
        while self.oldest_whole().is_some_and(|frame| now.saturating_duration_since(frame.queued) > MEDIA_QUEUE_AGE_MAX)
        {
            self.drop_oldest();
            dropped += 1;
        }
        dropped
    }

    /// The bytes to write next, in one piece; empty when nothing waits. Frames follow each other without a gap.
    pub(crate) fn front(&self) -> &[u8] {
        let media = self.media.as_slices().0;
        if self.head_written > 0 {
            return &media[..self.head_left().min(media.len())];
        }
        if self.control.is_empty() { media } else { self.control.as_slices().0 }
    }

    /// As [`front`](Self::front), but never beyond one frame: a TLS record then holds one message, which is all that some
    /// clients read of it.
    pub(crate) fn front_frame(&mut self) -> &[u8] {
        let left = self.head_left();
        match self.control_left.front() {
            Some(&message) if self.head_written == 0 => &self.control.make_contiguous()[..message],
            _ if self.media.is_empty() => &[],
            _ => &self.media.make_contiguous()[..left],
        }
    }

    fn advance_control(&mut self, mut written: usize) {
        while let Some(left) = self.control_left.front_mut().filter(|_| written > 0) {
            let taken = written.min(*left);
            *left -= taken;
            written -= taken;
            if *left == 0 {
                self.control_left.pop_front();
            }
        }
    }

    /// Takes away `n` bytes of [`front`](Self::front), which are written.
    pub(crate) fn advance(&mut self, n: usize) {
        if self.head_written == 0 && !self.control.is_empty() {
            self.control.drain(..n);
            self.advance_control(n);
            return;
        }
        self.media.drain(..n);
        let mut written = n;
        while written > 0 {
            let left = self.head_left();
            if written < left {
                self.head_written += written;
                return;
            }
            written -= left;
            self.head_written = 0;
            self.frames.pop_front();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.media.is_empty()
    }

    fn head_left(&self) -> usize {
        self.frames.front().map_or(0, |frame| frame.bytes - self.head_written)
    }

    fn oldest_whole(&self) -> Option<&Frame> {
        self.frames.get(usize::from(self.head_written > 0))
    }

    fn drop_oldest(&mut self) -> bool {
        let (index, start) = if self.head_written > 0 { (1, self.head_left()) } else { (0, 0) };
        let Some(frame) = self.frames.remove(index) else {
            return false;
        };
        self.media.drain(start..start + frame.bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn written(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            let n = outbox.front().len().min(step);
            assert!(n > 0);
            bytes.extend_from_slice(&outbox.front()[..n]);
            outbox.advance(n);
        }
        bytes
    }

    #[test]
    fn control_overtakes_media_but_not_inside_a_frame() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        outbox.push_media(b"one.", now);
        outbox.push_media(b"two.", now);
        outbox.advance(2);
        outbox.push_control(b"CTRL");
        assert_eq!(written(&mut outbox, 3), b"e.CTRLtwo.");
    }

    #[test]
    fn the_oldest_media_gives_way_and_a_frame_once_begun_stays() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        let frame = |mark: u8| vec![mark; MEDIA_QUEUE_BYTES_MAX / 4];
        for mark in 0..4 {
            assert_eq!(outbox.push_media(&frame(mark), now), 0);
        }
        outbox.advance(10);
        assert_eq!(outbox.push_media(&frame(4), now), 1);
        let rest = written(&mut outbox, 1 << 20);
        assert_eq!(rest.len(), MEDIA_QUEUE_BYTES_MAX - 10);
        let marks: Vec<u8> = rest.chunk_by(|a, b| a == b).map(|run| run[0]).collect();
        assert_eq!(marks, [0, 2, 3, 4]);
    }

    #[test]
    fn media_older_than_its_age_is_dropped_and_control_is_not() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        outbox.push_control(b"CTRL");
        outbox.push_media(b"old", now);
        let later = now + MEDIA_QUEUE_AGE_MAX + Duration::from_millis(1);
        assert_eq!(outbox.push_media(b"new", later), 1);
        assert_eq!(outbox.expire(later), 0);
        assert_eq!(written(&mut outbox, 100), b"CTRLnew");
    }

    #[test]
    fn a_frame_that_can_never_fit_is_the_one_dropped() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        outbox.push_media(&[0; 8], now);
        outbox.advance(4);
        assert_eq!(outbox.push_media(&vec![1; MEDIA_QUEUE_BYTES_MAX], now), 1);
        assert_eq!(written(&mut outbox, 100), [0; 4]);
    }

    #[test]
    fn too_much_unread_control_overflows() {
        let mut outbox = Outbox::default();
        outbox.push_control(&vec![0; CONTROL_QUEUE_BYTES_MAX]);
        assert!(!outbox.overflows());
        outbox.push_control(&[0]);
        assert!(outbox.overflows());
    }
}
