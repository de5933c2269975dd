//! Tones made by rule.

use std::f32::consts::{PI, TAU};
use std::time::Duration;

/// Over which a tone comes and goes, so that it does not click.
const RAMP_MS: u32 = 10;

/// Appends a sine of that frequency and level (dBov, RMS) with soft edges.
pub fn tone(hertz: f32, dbov: f32, duration: Duration, rate: u32, pcm: &mut Vec<i16>) {
    let samples = (duration.as_millis() as u64 * u64::from(rate) / 1_000) as usize;
    let amplitude = 32_768.0 * std::f32::consts::SQRT_2 * 10f32.powf(dbov.min(-3.1) / 20.0);
    let ramp = (rate / 1_000 * RAMP_MS) as usize;
    pcm.extend((0..samples).map(|i| {
        let edge = i.min(samples - 1 - i).min(ramp) as f32 / ramp.max(1) as f32;
        let gain = 0.5 - 0.5 * (PI * edge).cos();
        let turns = (f64::from(hertz) * i as f64 / f64::from(rate)).fract() as f32;
        (amplitude * gain * (TAU * turns).sin()) as i16
    }));
}

/// The tone after which a caller speaks: 425 Hz, the frequency that ITU-T E.180 prefers for tones, half a second at
/// -18 dBov.
pub fn beep(rate: u32) -> Vec<i16> {
    let mut pcm = Vec::new();
    tone(425.0, -18.0, Duration::from_millis(500), rate, &mut pcm);
    pcm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level;

    #[test]
    fn the_beep_has_its_length_level_and_pitch_and_soft_edges() {
        for rate in [8_000, 16_000] {
            let pcm = beep(rate);
            assert_eq!(pcm.len() as u32, rate / 2);
            let middle = &pcm[pcm.len() / 4..pcm.len() * 3 / 4];
            assert!((level::dbov(middle) + 18.0).abs() < 0.2);
            let crossings = middle.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
            assert!((105..=107).contains(&crossings), "{crossings} in a quarter of a second");
            assert!(pcm[0].abs() < 10 && pcm[pcm.len() - 1].abs() < 10);
        }
    }
}
