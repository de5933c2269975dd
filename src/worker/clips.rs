//! What a call hears: prompts at hand, and stored audio that is read while it is played.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use postern_mailbox::{AudioId, Clip, Store, StoreError};
use postern_media::resample::Resampler;
use postern_telemetry::call_labels::StoreRequest;

use crate::meters::Meters;
use crate::prompts::Prompts;

/// One playback's clips, read piece by piece.
pub(crate) struct ClipReader {
    clips: VecDeque<Clip>,
    rate_hz: u32,
    /// The stored audio that is being read: what, its next sample, and what brings it to the call's rate.
    reading: Option<(AudioId, u64, Option<Resampler>)>,
}

/// A piece, and whether another follows.
pub(crate) struct Piece {
    pub(crate) samples: Arc<[i16]>,
    pub(crate) more: bool,
}

/// Why a playback was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClipError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("a prompt that is not there")]
    NoSuchPrompt,
}

impl ClipReader {
    pub(crate) fn new(clips: Vec<Clip>, rate_hz: u32) -> Self {
        Self { clips: clips.into(), rate_hz, reading: None }
    }

    /// Prompts that need no waiting, from the front; the rest is for [`next`](Self::next).
    pub(crate) fn at_hand(&mut self, prompts: &Prompts) -> Result<Vec<Arc<[i16]>>, ClipError> {
        let mut pieces = Vec::new();
        while let Some(clip) = self.clips.front()
            && !matches!(clip, Clip::Audio(_))
        {
            pieces.push(prompts.clip(clip, self.rate_hz).ok_or(ClipError::NoSuchPrompt)?);
            self.clips.pop_front();
        }
        Ok(pieces)
    }

    /// Whether there is more to play.
    pub(crate) fn has_more(&self) -> bool {
        self.reading.is_some() || !self.clips.is_empty()
    }

    /// The next piece: a prompt, or up to two seconds of stored audio.
    pub(crate) async fn next(
        &mut self,
        prompts: &Prompts,
        store: &dyn Store,
        meters: &Meters,
    ) -> Result<Piece, ClipError> {
        if self.reading.is_none() {
            match self.clips.pop_front() {
                Some(Clip::Audio(audio)) => self.reading = Some((audio, 0, None)),
                Some(clip) => {
                    let samples = prompts.clip(&clip, self.rate_hz).ok_or(ClipError::NoSuchPrompt)?;
                    return Ok(Piece { samples, more: self.has_more() });
                }
                None => return Ok(Piece { samples: Arc::from([]), more: false }),
            }
        }
        let Some((audio, from, resampler)) = &mut self.reading else {
            return Ok(Piece { samples: Arc::from([]), more: self.has_more() });
        };
        let asked = Instant::now();
        let read = store.read_audio(*audio, *from, 2 * self.rate_hz as usize).await;
        meters.stored(StoreRequest::ReadAudio, asked.elapsed(), read.as_ref().err().copied());
        let read = read?;
        *from += read.samples.len() as u64;
        let samples = if read.rate_hz == self.rate_hz {
            read.samples
        } else {
            let resampler = resampler.get_or_insert_with(|| Resampler::new(read.rate_hz, self.rate_hz));
            let mut out = Vec::with_capacity(read.samples.len() * 2);
            resampler.process(&read.samples, &mut out);
            out
        };
        if read.is_end {
            self.reading = None;
        }
        Ok(Piece { samples: samples.into(), more: self.has_more() })
    }
}
