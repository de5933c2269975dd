//! What a call says, on its way from the stream to the disk.

use postern_media::event::{Frame, FrameKind};
use postern_media::limits::FRAMES_PER_SEC;
use tokio::sync::mpsc;

use crate::limits;
use crate::media::{Recording, RecordingEnd};

/// Collects frames into pieces, and counts silence.
pub(crate) struct Recorder {
    sink: mpsc::Sender<Vec<i16>>,
    piece: Vec<i16>,
    piece_samples: usize,
    /// What stands for packets that are lost or late; the next packet tells which.
    unsettled: Vec<i16>,
    unsettled_max: usize,
    samples: u64,
    samples_max: u64,
    silence: u64,
    silence_max: u64,
}

/// The end of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) why: RecordingEnd,
    pub(crate) samples: u64,
    /// How many of them, at the end, are silence.
    pub(crate) silence: u64,
}

impl Recorder {
    /// `rate` is the stream's, in samples per second.
    pub(crate) fn new(recording: Recording, rate: u32) -> Self {
        let in_time = |time: std::time::Duration| (time.as_millis() * u128::from(rate) / 1000) as u64;
        let piece_samples = in_time(limits::RECORDED_PIECE) as usize;
        Self {
            sink: recording.sink,
            piece: Vec::with_capacity(piece_samples + (rate / FRAMES_PER_SEC) as usize),
            piece_samples,
            unsettled: Vec::new(),
            unsettled_max: in_time(limits::UNSETTLED_MAX) as usize,
            samples: 0,
            samples_max: recording.samples_max,
            silence: 0,
            silence_max: in_time(recording.silence),
        }
    }

    /// Takes a frame; tells when the recording has ended by it.
    pub(crate) fn take(&mut self, frame: &Frame<'_>) -> Option<Recorded> {
        self.unsettled.truncate(self.unsettled.len().saturating_sub(frame.superfluous));
        let (settled, unsettled) = frame.pcm.split_at(frame.pcm.len().saturating_sub(frame.unsettled));
        if !settled.is_empty() {
            self.settle();
            let silent = frame.silent || matches!(frame.kind, FrameKind::Nothing | FrameKind::ComfortNoise);
            self.add(settled, silent);
        }
        self.unsettled.extend_from_slice(unsettled);
        let waiting = self.unsettled.len() as u64;
        if self.unsettled.len() >= self.unsettled_max
            || self.silence + waiting >= self.silence_max
            || self.samples + waiting >= self.samples_max
        {
            self.settle();
        }
        if self.piece.len() >= self.piece_samples && !self.hand_over() {
            return Some(self.end(RecordingEnd::Overrun));
        }
        let why = if self.silence >= self.silence_max {
            RecordingEnd::Silence
        } else if self.samples >= self.samples_max {
            RecordingEnd::Limit
        } else {
            return None;
        };
        let handed = self.hand_over();
        Some(self.end(if handed { why } else { RecordingEnd::Overrun }))
    }

    /// Nothing has come for what is unsettled: it was silence.
    fn settle(&mut self) {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        self.add(&unsettled, true);
        unsettled.clear();
        self.unsettled = unsettled;
    }

    fn add(&mut self, pcm: &[i16], silent: bool) {
        let room = usize::try_from(self.samples_max - self.samples).unwrap_or(usize::MAX).min(pcm.len());
        self.piece.extend_from_slice(&pcm[..room]);
        self.samples += room as u64;
        self.silence = if silent { self.silence + room as u64 } else { 0 };
    }

    /// The call wants no more.
    pub(crate) fn stop(mut self) -> Recorded {
        self.settle();
        let handed = self.hand_over();
        self.end(if handed { RecordingEnd::Stopped } else { RecordingEnd::Overrun })
    }

    /// Hands the piece to the disk; whether there was room. Nobody who takes it any more is as good as room: the
    /// store has refused the rest, and says so itself.
    fn hand_over(&mut self) -> bool {
        if self.piece.is_empty() {
            return true;
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(self.piece_samples * 2));
        !matches!(self.sink.try_send(piece), Err(mpsc::error::TrySendError::Full(_)))
    }

    fn end(&self, why: RecordingEnd) -> Recorded {
        Recorded { why, samples: self.samples, silence: self.silence }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn recorder(max: u64, silence_ms: u64, room: usize) -> (Recorder, mpsc::Receiver<Vec<i16>>) {
        let (sink, pieces) = mpsc::channel(room);
        let silence = Duration::from_millis(silence_ms);
        (Recorder::new(Recording { sink, samples_max: max, silence }, 8000), pieces)
    }

    fn frame(pcm: &[i16], silent: bool) -> Frame<'_> {
        Frame { pcm, kind: FrameKind::Audio, silent, unsettled: 0, superfluous: 0 }
    }

    fn taken(pieces: &mut mpsc::Receiver<Vec<i16>>) -> usize {
        std::iter::from_fn(|| pieces.try_recv().ok()).map(|piece| piece.len()).sum()
    }

    #[test]
    fn a_recording_ends_after_its_silence() {
        let (mut recorder, mut pieces) = recorder(80_000, 60, 8);
        assert_eq!(recorder.take(&frame(&[1; 160], false)), None);
        assert_eq!(recorder.take(&frame(&[0; 160], true)), None);
        assert_eq!(recorder.take(&frame(&[1; 160], false)), None, "speech begins the count anew");
        assert_eq!(recorder.take(&frame(&[0; 160], true)), None);
        assert_eq!(recorder.take(&frame(&[0; 160], true)), None);
        let ended = recorder.take(&frame(&[0; 160], true)).unwrap();
        assert_eq!((ended.why, ended.samples, ended.silence), (RecordingEnd::Silence, 960, 480));
        assert_eq!(taken(&mut pieces), 960);
    }

    #[test]
    fn a_recording_ends_at_its_limit_to_the_sample() {
        let (mut recorder, mut pieces) = recorder(200, 60, 8);
        assert_eq!(recorder.take(&frame(&[1; 160], false)), None);
        let ended = recorder.take(&frame(&[1; 160], false)).unwrap();
        assert_eq!((ended.why, ended.samples), (RecordingEnd::Limit, 200));
        assert_eq!(taken(&mut pieces), 200);
    }

    #[test]
    fn stopping_hands_over_what_is_left() {
        let (mut recorder, mut pieces) = recorder(80_000, 1000, 8);
        assert_eq!(recorder.take(&frame(&[1; 160], false)), None);
        assert_eq!(recorder.stop().why, RecordingEnd::Stopped);
        assert_eq!(taken(&mut pieces), 160);
    }

    #[test]
    fn what_came_late_leaves_no_hole_and_what_was_lost_leaves_one_of_its_length() {
        let (mut recorder, mut pieces) = recorder(80_000, 1000, 64);
        let nothing = Frame { unsettled: 160, kind: FrameKind::Nothing, ..frame(&[0; 160], true) };
        assert_eq!(recorder.take(&frame(&[1; 160], false)), None);
        for _ in 0..10 {
            assert_eq!(recorder.take(&nothing), None);
        }
        // Of ten frames seven were late.
        assert_eq!(recorder.take(&Frame { superfluous: 7 * 160, ..frame(&[1; 160], false) }), None);
        assert_eq!(recorder.stop().samples, 5 * 160);
        assert_eq!(taken(&mut pieces), 5 * 160);
    }

    #[test]
    fn silence_counts_also_while_nothing_comes() {
        let (mut recorder, _pieces) = recorder(80_000, 60, 8);
        let nothing = Frame { unsettled: 160, kind: FrameKind::Nothing, ..frame(&[0; 160], true) };
        assert_eq!((recorder.take(&nothing), recorder.take(&nothing)), (None, None));
        assert_eq!(recorder.take(&nothing).map(|ended| (ended.why, ended.silence)), Some((RecordingEnd::Silence, 480)));
    }

    #[test]
    fn a_disk_that_does_not_keep_up_ends_it() {
        let (mut recorder, _pieces) = recorder(80_000, 1000, 1);
        let ends: Vec<_> = (0..12).filter_map(|_| recorder.take(&frame(&[1; 160], false))).collect();
        assert_eq!(ends.first().map(|ended| ended.why), Some(RecordingEnd::Overrun));
    }
}
