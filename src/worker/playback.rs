//! What a call hears: pieces of audio, one after the other.

use std::collections::VecDeque;
use std::sync::Arc;

use postern_media::Stream;

use crate::limits;
use crate::media::MediaEvent;

/// One playback at a time.
#[derive(Default)]
pub(crate) struct Playback {
    playing: Option<Playing>,
}

struct Playing {
    number: u32,
    pieces: VecDeque<Arc<[i16]>>,
    /// Samples of the first piece that the stream has.
    taken: usize,
    /// Others follow.
    more: bool,
    /// The next piece was asked for.
    asked: bool,
}

fn samples(duration: std::time::Duration, rate: u32) -> usize {
    duration.as_millis() as usize * rate as usize / 1000
}

impl Playback {
    pub(crate) fn begin(&mut self, number: u32, pieces: Vec<Arc<[i16]>>, more: bool) {
        self.playing = Some(Playing { number, pieces: pieces.into(), taken: 0, more, asked: false });
    }

    /// A piece of a playback that was stopped is of no use.
    pub(crate) fn go_on(&mut self, number: u32, piece: Arc<[i16]>, more: bool) {
        let Some(playing) = self.playing.as_mut().filter(|playing| playing.number == number) else { return };
        playing.pieces.push_back(piece);
        playing.more = more;
        playing.asked = false;
    }

    /// Hands the stream what it will need next.
    pub(crate) fn feed(&mut self, stream: &mut Stream) {
        let Some(playing) = &mut self.playing else { return };
        let ahead = samples(limits::PLAY_AHEAD, stream.pcm_rate());
        while stream.play_queued() < ahead {
            let Some(piece) = playing.pieces.front() else { return };
            let rest = &piece[playing.taken..];
            let wanted = rest.len().min(ahead - stream.play_queued());
            let taken = stream.play(&rest[..wanted]);
            playing.taken += taken;
            if playing.taken == piece.len() {
                playing.pieces.pop_front();
                playing.taken = 0;
            } else if taken == 0 {
                return;
            }
        }
    }

    /// What to tell of it: that it runs low, or that all was played. `queued` samples are still with the stream.
    pub(crate) fn poll_event(&mut self, queued: usize, rate: u32) -> Option<MediaEvent> {
        let playing = self.playing.as_mut()?;
        let left = playing.pieces.iter().map(|piece| piece.len()).sum::<usize>() - playing.taken + queued;
        if playing.more {
            let is_low = !playing.asked && left < samples(limits::PLAY_LOW, rate);
            playing.asked |= is_low;
            return is_low.then_some(MediaEvent::PlaybackLow(playing.number));
        }
        if left > 0 {
            return None;
        }
        let number = playing.number;
        self.playing = None;
        Some(MediaEvent::PlaybackFinished(number))
    }
}
