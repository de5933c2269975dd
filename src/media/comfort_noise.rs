//! Comfort noise (RFC 3389): a level, and noise at it. The spectral coefficients that may follow are not used.

/// Level and state of a noise generator.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    amplitude: i32,
    state: u32,
}

impl ComfortNoise {
    /// Noise at the level of a payload: its first byte is -dBov (RFC 3389 section 3). An empty one is silence.
    pub fn new(payload: &[u8], seed: u32) -> Self {
        let amplitude = match payload.first() {
            Some(level) => {
                let rms = 32_768.0 * 10f32.powf(-f32::from(level & 0x7f) / 20.0);
                // Uniform noise has 1/sqrt(3) of its peak as RMS. No louder than -30 dBov, whatever the peer says.
                (rms * 1.732).min(32_768.0 * 0.0548) as i32
            }
            None => 0,
        };
        Self { amplitude, state: seed | 1 }
    }

    /// Appends that many samples.
    pub fn fill(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        for _ in 0..samples {
            // xorshift: noise for the ear, not for secrets.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 17;
            self.state ^= self.state << 5;
            let uniform = (self.state >> 16) as i16;
            pcm.push(((i32::from(uniform) * self.amplitude) >> 15) as i16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level;

    #[test]
    fn noise_has_the_level_that_was_said() {
        for level in [40u8, 50, 60] {
            let mut pcm = Vec::new();
            ComfortNoise::new(&[level], 7).fill(8_000, &mut pcm);
            let measured = level::dbov(&pcm);
            assert!((measured + f32::from(level)).abs() < 1.0, "{measured} for -{level}");
        }
    }

    #[test]
    fn no_level_is_silence_and_full_scale_is_refused() {
        let mut pcm = Vec::new();
        ComfortNoise::new(&[], 7).fill(100, &mut pcm);
        assert!(pcm.iter().all(|sample| *sample == 0));
        pcm.clear();
        ComfortNoise::new(&[0], 7).fill(8_000, &mut pcm);
        assert!(level::dbov(&pcm) < -29.0);
    }
}
