//! Packet loss concealment: the last pitch period goes on, fading, in the manner of ITU-T G.711 appendix I.

/// Lowest and highest pitch looked for: 66 to 200 Hz.
const PITCH_MIN_MS: usize = 5;
const PITCH_MAX_MS: usize = 15;

/// Audio that is kept to continue from.
const HISTORY_MS: usize = 40;

/// Full level for the first, none after the last.
const FADE_FROM_MS: usize = 10;
const FADE_TO_MS: usize = 60;

/// Over which made-up audio passes into decoded audio.
const CROSSFADE_MS: usize = 4;

/// Continues one stream of samples over gaps.
pub struct Concealer {
    per_ms: usize,
    history: Vec<i16>,
    /// Length of the period that is repeated, while a gap lasts.
    pitch: usize,
    /// Samples made up since the last good one.
    made_up: usize,
}

impl Concealer {
    /// For samples at that rate.
    pub fn new(rate: u32) -> Self {
        let per_ms = (rate / 1_000) as usize;
        Self { per_ms, history: vec![0; HISTORY_MS * per_ms], pitch: PITCH_MAX_MS * per_ms, made_up: 0 }
    }

    /// Decoded samples: after a gap their start is blended with what would have gone on, unless that has faded away.
    pub fn good(&mut self, pcm: &mut [i16]) {
        if self.made_up > 0 && !self.is_faded() {
            let blend = (CROSSFADE_MS * self.per_ms).min(pcm.len());
            for (i, sample) in pcm[..blend].iter_mut().enumerate() {
                let made_up = i32::from(self.made_up_sample(self.made_up + i));
                let weight = i as i32 + 1;
                let total = blend as i32 + 1;
                *sample = ((made_up * (total - weight) + i32::from(*sample) * weight) / total) as i16;
            }
        }
        self.made_up = 0;
        let keep = self.history.len();
        if pcm.len() >= keep {
            self.history.copy_from_slice(&pcm[pcm.len() - keep..]);
        } else {
            self.history.copy_within(pcm.len().., 0);
            self.history[keep - pcm.len()..].copy_from_slice(pcm);
        }
    }

    /// Appends samples for a gap. After 60 ms of it they are silence.
    pub fn conceal(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        if self.made_up == 0 {
            self.pitch = self.find_pitch();
        }
        for i in 0..samples {
            pcm.push(self.made_up_sample(self.made_up + i));
        }
        self.made_up = self.made_up.saturating_add(samples).min(usize::MAX / 2);
    }

    /// Whether what is made up has faded to silence.
    pub fn is_faded(&self) -> bool {
        self.made_up >= FADE_TO_MS * self.per_ms
    }

    fn made_up_sample(&self, at: usize) -> i16 {
        let (from, to) = (FADE_FROM_MS * self.per_ms, FADE_TO_MS * self.per_ms);
        if at >= to {
            return 0;
        }
        let sample = i32::from(self.history[self.history.len() - self.pitch + at % self.pitch]);
        let gain = (to - at.max(from)) as i32;
        (sample * gain / (to - from) as i32) as i16
    }

    /// The lag at which the end of the history is most like what came before it.
    fn find_pitch(&self) -> usize {
        let window = &self.history[self.history.len() - PITCH_MAX_MS * self.per_ms..];
        let energy = |samples: &[i16]| -> f32 { samples.iter().map(|s| f32::from(*s).powi(2)).sum() };
        let mut best = (PITCH_MAX_MS * self.per_ms, 0.0f32);
        for lag in PITCH_MIN_MS * self.per_ms..=PITCH_MAX_MS * self.per_ms {
            let start = self.history.len() - window.len() - lag;
            let earlier = &self.history[start..start + window.len()];
            let product: f32 = window.iter().zip(earlier).map(|(a, b)| f32::from(*a) * f32::from(*b)).sum();
            let likeness = product / (energy(earlier) + 1.0).sqrt();
            if likeness > best.1 {
                best = (lag, likeness);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(samples: usize) -> Vec<i16> {
        // 110 Hz with harmonics.
        (0..samples)
            .map(|i| {
                let phase = i as f32 * 110.0 * std::f32::consts::TAU / 8_000.0;
                (4_000.0 * (phase.sin() + 0.6 * (2.0 * phase + 1.0).sin() + 0.4 * (3.0 * phase).sin())) as i16
            })
            .collect()
    }

    #[test]
    fn a_gap_in_a_voice_goes_on_like_the_voice() {
        let reference = voice(2_000);
        let mut concealer = Concealer::new(8_000);
        let mut head = reference[..800].to_vec();
        concealer.good(&mut head);
        let mut gap = Vec::new();
        concealer.conceal(80, &mut gap);
        let (mut product, mut a, mut b) = (0.0f32, 0.0f32, 0.0f32);
        for (x, y) in gap.iter().zip(&reference[800..880]) {
            product += f32::from(*x) * f32::from(*y);
            a += f32::from(*x).powi(2);
            b += f32::from(*y).powi(2);
        }
        assert!(product / (a * b).sqrt() > 0.95, "{}", product / (a * b).sqrt());
    }

    #[test]
    fn a_long_gap_fades_to_silence_and_what_follows_is_left_alone() {
        let reference = voice(4_000);
        let mut concealer = Concealer::new(8_000);
        concealer.good(&mut reference[..800].to_vec());
        let mut gap = Vec::new();
        for _ in 0..10 {
            concealer.conceal(160, &mut gap);
        }
        assert_eq!(gap.len(), 1_600);
        assert!(concealer.is_faded());
        assert!(gap[480..].iter().all(|sample| *sample == 0));
        let mut tail = reference[2_400..2_560].to_vec();
        concealer.good(&mut tail);
        assert_eq!(tail, reference[2_400..2_560]);
    }

    #[test]
    fn a_short_gap_passes_into_what_follows_without_a_click() {
        let reference = voice(4_000);
        let mut concealer = Concealer::new(8_000);
        concealer.good(&mut reference[..800].to_vec());
        let mut gap = Vec::new();
        concealer.conceal(160, &mut gap);
        // What follows is of another phase.
        let mut tail = reference[1_000..1_160].to_vec();
        concealer.good(&mut tail);
        let step = (i32::from(tail[0]) - i32::from(gap[159])).abs();
        let unblended = (i32::from(reference[1_000]) - i32::from(gap[159])).abs();
        assert!(step < 1_000 && step < unblended, "{step} instead of {unblended}");
        assert_eq!(tail[40..], reference[1_040..1_160]);
    }
}
