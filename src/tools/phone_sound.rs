//! What a phone has heard, and what a person would make of it.

/// Samples in a second.
pub(crate) const RATE_HZ: u32 = 8_000;

/// 20 ms: what is judged at once.
const WINDOW: usize = RATE_HZ as usize / 50;

/// The tone after which callers speak.
const TONE_HZ: f64 = 425.0;

/// Mean square of a window in which somebody speaks.
const VOICE_POWER: f64 = 10_000.0;

/// Sound at 8 kHz, in the order in which it was played to the listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sound(pub(crate) Vec<i16>);

impl Sound {
    /// How many samples.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the tone sounded for at least 300 ms, and 100 ms without it followed.
    pub(crate) fn tone_has_ended(&self) -> bool {
        const TONE: usize = 15;
        const AFTER: usize = 5;
        let is_tone: Vec<bool> = self.0.chunks_exact(WINDOW).map(is_tone).collect();
        is_tone.windows(TONE + AFTER).any(|windows| {
            let (tone, after) = windows.split_at(TONE);
            // A packet lost within the tone does not hide it.
            tone.iter().filter(|is| **is).count() >= TONE - 1 && after.iter().all(|is| !is)
        })
    }

    /// Whether somebody has spoken for 300 ms in a row after the first `from` samples.
    pub(crate) fn has_voice_since(&self, from: usize) -> bool {
        const VOICE: usize = 15;
        let is_voice = |window: &[i16]| power(window) >= VOICE_POWER;
        let windows: Vec<bool> = self.0.get(from..).unwrap_or_default().chunks_exact(WINDOW).map(is_voice).collect();
        windows.windows(VOICE).any(|windows| windows.iter().filter(|is| **is).count() >= VOICE - 3)
    }
}

/// Mean square.
fn power(pcm: &[i16]) -> f64 {
    pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / pcm.len().max(1) as f64
}

/// Goertzel's: most of the power lies at the tone's frequency.
fn is_tone(pcm: &[i16]) -> bool {
    let coefficient = 2.0 * (std::f64::consts::TAU * TONE_HZ / f64::from(RATE_HZ)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in pcm {
        let next = f64::from(*sample) + coefficient * last - before;
        (before, last) = (last, next);
    }
    let at_tone = last * last + before * before - coefficient * last * before;
    let whole = power(pcm) * pcm.len() as f64;
    whole > 1e6 && at_tone / (whole * pcm.len() as f64 / 2.0) > 0.7
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, millis: usize) -> Vec<i16> {
        let turn = std::f64::consts::TAU * hz / f64::from(RATE_HZ);
        (0..millis * 8).map(|at| ((at as f64 * turn).sin() * 8_000.0) as i16).collect()
    }

    fn silence(millis: usize) -> Vec<i16> {
        vec![0; millis * 8]
    }

    #[test]
    fn a_tone_counts_once_it_has_ended() {
        let mut sound = Sound([silence(200), tone(TONE_HZ, 400)].concat());
        assert!(!sound.tone_has_ended(), "it still sounds");
        sound.0.extend(silence(200));
        assert!(sound.tone_has_ended());
    }

    #[test]
    fn another_tone_or_a_short_one_does_not_count() {
        for other in [tone(1_000.0, 400), tone(TONE_HZ, 200), silence(400)] {
            assert!(!Sound([other, silence(400)].concat()).tone_has_ended());
        }
    }

    #[test]
    fn voice_counts_from_where_one_began_to_listen() {
        let sound = Sound([tone(300.0, 500), silence(500)].concat());
        assert!(sound.has_voice_since(0));
        assert!(!sound.has_voice_since(4_000));
        assert!(!sound.has_voice_since(1_000_000));
    }
}
