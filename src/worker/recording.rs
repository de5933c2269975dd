//! What a call says, on its way from the stream to the disk.

use postern_media::limits::FRAMES_PER_SEC;
use tokio::sync::mpsc;

use crate::limits;
use crate::media::{Recording, RecordingEnd};

/// Collects frames into pieces, and counts silence.
pub(crate) struct Recorder {
    sink: mpsc::Sender<Vec<i16>>,
    piece: Vec<i16>,
    piece_samples: usize,
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
            samples: 0,
            samples_max: recording.samples_max,
            silence: 0,
            silence_max: in_time(recording.silence),
        }
    }

    /// Takes a frame; tells when the recording has ended by it.
    pub(crate) fn take(&mut self, pcm: &[i16], silent: bool) -> Option<Recorded> {
        let room = usize::try_from(self.samples_max - self.samples).unwrap_or(usize::MAX).min(pcm.len());
        self.piece.extend_from_slice(&pcm[..room]);
        self.samples += room as u64;
        self.silence = if silent { self.silence + room as u64 } else { 0 };
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

    /// The call wants no more.
    pub(crate) fn stop(mut self) -> Recorded {
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

    fn taken(pieces: &mut mpsc::Receiver<Vec<i16>>) -> usize {
        std::iter::from_fn(|| pieces.try_recv().ok()).map(|piece| piece.len()).sum()
    }

    #[test]
    fn a_recording_ends_after_its_silence() {
        let (mut recorder, mut pieces) = recorder(80_000, 60, 8);
        assert_eq!(recorder.take(&[1; 160], false), None);
        assert_eq!(recorder.take(&[0; 160], true), None);
        assert_eq!(recorder.take(&[1; 160], false), None, "speech begins the count anew");
        assert_eq!(recorder.take(&[0; 160], true), None);
        assert_eq!(recorder.take(&[0; 160], true), None);
        let ended = recorder.take(&[0; 160], true).unwrap();
        assert_eq!((ended.why, ended.samples, ended.silence), (RecordingEnd::Silence, 960, 480));
        assert_eq!(taken(&mut pieces), 960);
    }

    #[test]
    fn a_recording_ends_at_its_limit_to_the_sample() {
        let (mut recorder, mut pieces) = recorder(200, 60, 8);
        assert_eq!(recorder.take(&[1; 160], false), None);
        let ended = recorder.take(&[1; 160], false).unwrap();
        assert_eq!((ended.why, ended.samples), (RecordingEnd::Limit, 200));
        assert_eq!(taken(&mut pieces), 200);
    }

    #[test]
    fn stopping_hands_over_what_is_left() {
        let (mut recorder, mut pieces) = recorder(80_000, 1000, 8);
        assert_eq!(recorder.take(&[1; 160], false), None);
        assert_eq!(recorder.stop().why, RecordingEnd::Stopped);
        assert_eq!(taken(&mut pieces), 160);
    }

    #[test]
    fn a_disk_that_does_not_keep_up_ends_it() {
        let (mut recorder, _pieces) = recorder(80_000, 1000, 1);
        let ends: Vec<_> = (0..12).filter_map(|_| recorder.take(&[1; 160], false)).collect();
        assert_eq!(ends.first().map(|ended| ended.why), Some(RecordingEnd::Overrun));
    }
}
