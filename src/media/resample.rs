//! Resampling between 8 and 16 kHz with a half-band filter: 63 taps, of which every second is zero.

use std::sync::LazyLock;

/// Non-zero taps on one side of the centre.
const SIDE_TAPS: usize = 16;

/// Taps at odd distances 1, 3, .. 31 from the centre, of a windowed sinc with its cut at a quarter of the higher rate.
static TAPS: LazyLock<[f32; SIDE_TAPS]> = LazyLock::new(|| {
    use std::f32::consts::PI;
    let mut taps = [0.0; SIDE_TAPS];
    for (j, tap) in taps.iter_mut().enumerate() {
        let n = (2 * j + 1) as f32;
        let x = n / 32.0;
        // Blackman window: the stop band lies 70 dB down.
        let window = 0.42 + 0.5 * (PI * x).cos() + 0.08 * (2.0 * PI * x).cos();
        *tap = (PI * n / 2.0).sin() / (PI * n) * window;
    }
    // Unity gain at DC: centre 0.5 and twice the side taps.
    let sum: f32 = taps.iter().sum();
    taps.iter_mut().for_each(|tap| *tap *= 0.25 / sum);
    taps
});

/// Converts a stream of samples from one rate to another, frame by frame.
pub enum Resampler {
    /// Rates are equal.
    Same,
    /// 8 to 16 kHz; delays by 16 samples of the lower rate.
    Up(Box<[f32; UP_HISTORY]>),
    /// 16 to 8 kHz; delays by 31 samples of the higher rate.
    Down(Box<[f32; DOWN_HISTORY]>),
}

const UP_HISTORY: usize = 2 * SIDE_TAPS - 1;
const DOWN_HISTORY: usize = 4 * SIDE_TAPS - 2;

impl Resampler {
    /// From and to samples per second; both are 8000 or 16000, anything else is passed through.
    pub fn new(from: u32, to: u32) -> Self {
        match (from, to) {
            (8_000, 16_000) => Self::Up(Box::new([0.0; UP_HISTORY])),
            (16_000, 8_000) => Self::Down(Box::new([0.0; DOWN_HISTORY])),
            _ => Self::Same,
        }
    }

    /// Appends the converted samples: twice as many, half as many (of an even number), or the same.
    pub fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        match self {
            Self::Same => out.extend_from_slice(pcm),
            Self::Up(history) => up(history, pcm, out),
            Self::Down(history) => down(history, pcm, out),
        }
    }
}

/// Samples that are converted at once, on the stack.
const CHUNK: usize = 320;

fn up(history: &mut [f32; UP_HISTORY], pcm: &[i16], out: &mut Vec<i16>) {
    let taps = &*TAPS;
    let mut line = [0.0; UP_HISTORY + CHUNK];
    for chunk in pcm.chunks(CHUNK) {
        line[..UP_HISTORY].copy_from_slice(history);
        for (slot, sample) in line[UP_HISTORY..].iter_mut().zip(chunk) {
            *slot = f32::from(*sample);
        }
        for i in 0..chunk.len() {
            let window = &line[i..i + 2 * SIDE_TAPS];
            let between: f32 =
                (0..SIDE_TAPS).map(|j| taps[j] * (window[SIDE_TAPS - 1 - j] + window[SIDE_TAPS + j])).sum();
            out.push(window[SIDE_TAPS - 1] as i16);
            out.push((2.0 * between).round() as i16);
        }
        history.copy_from_slice(&line[chunk.len()..chunk.len() + UP_HISTORY]);
    }
}

fn down(history: &mut [f32; DOWN_HISTORY], pcm: &[i16], out: &mut Vec<i16>) {
    let taps = &*TAPS;
    let mut line = [0.0; DOWN_HISTORY + CHUNK];
    for chunk in pcm.chunks(CHUNK) {
        let chunk = &chunk[..chunk.len() & !1];
        line[..DOWN_HISTORY].copy_from_slice(history);
        for (slot, sample) in line[DOWN_HISTORY..].iter_mut().zip(chunk) {
            *slot = f32::from(*sample);
        }
        for i in (0..chunk.len()).step_by(2) {
            let centre = i + 2 * SIDE_TAPS - 1;
            let sides: f32 =
                (0..SIDE_TAPS).map(|j| taps[j] * (line[centre - 2 * j - 1] + line[centre + 2 * j + 1])).sum();
            out.push((0.5 * line[centre] + sides).round() as i16);
        }
        history.copy_from_slice(&line[chunk.len()..chunk.len() + DOWN_HISTORY]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::dbov;

    fn tone(hertz: f32, rate: f32, samples: usize) -> Vec<i16> {
        (0..samples).map(|i| (16_000.0 * (i as f32 * hertz * std::f32::consts::TAU / rate).sin()) as i16).collect()
    }

    fn convert(from: u32, to: u32, pcm: &[i16]) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to);
        let mut out = Vec::new();
        pcm.chunks(160).for_each(|frame| resampler.process(frame, &mut out));
        out
    }

    #[test]
    fn speech_frequencies_keep_their_level_both_ways() {
        for hertz in [200.0, 1_000.0, 3_000.0, 3_400.0] {
            let up = convert(8_000, 16_000, &tone(hertz, 8_000.0, 8_000));
            assert_eq!(up.len(), 16_000);
            let down = convert(16_000, 8_000, &tone(hertz, 16_000.0, 16_000));
            assert_eq!(down.len(), 8_000);
            let want = dbov(&tone(hertz, 8_000.0, 8_000));
            for measured in [dbov(&up[400..]), dbov(&down[200..])] {
                assert!((measured - want).abs() < 1.0, "{hertz} Hz: {measured} instead of {want}");
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        for hertz in [5_000.0, 6_000.0, 7_500.0] {
            let down = convert(16_000, 8_000, &tone(hertz, 16_000.0, 16_000));
            assert!(dbov(&down[200..]) < -60.0, "{hertz} Hz: {}", dbov(&down[200..]));
        }
        // Nor does going up make an image of 1 kHz at 7 kHz: its samples are those of the tone itself.
        let up = convert(8_000, 16_000, &tone(1_000.0, 8_000.0, 8_000));
        let want = tone(1_000.0, 16_000.0, 16_000);
        let delay = 2 * SIDE_TAPS - 2 + 2;
        let worst = (400..8_000).map(|i| (0..8).map(|d| (up[i + delay - d] - want[i]).abs()).min().unwrap()).max();
        assert!(worst < Some(6_500), "{worst:?}");
        let error: f64 = (400..8_000).map(|i| f64::from(up[i + delay] - want[i]).powi(2)).sum();
        assert!((error / 7_600.0).sqrt() < 100.0, "{}", (error / 7_600.0).sqrt());
    }

    #[test]
    fn frames_of_any_size_make_the_same_stream() {
        let pcm = tone(700.0, 16_000.0, 3_200);
        let whole = convert(16_000, 8_000, &pcm);
        let mut resampler = Resampler::new(16_000, 8_000);
        let mut pieces = Vec::new();
        pcm.chunks(962).for_each(|frame| resampler.process(frame, &mut pieces));
        assert_eq!(whole, pieces);
    }
}
