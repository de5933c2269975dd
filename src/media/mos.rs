//! A mean opinion score from what a receiver measures: ITU-T G.107, reduced to delay and loss.
//!
//! `R = 93.2 - Id - Ie,eff`, with the standard's defaults for everything that is not measured.
//! - `Id = 0.024 d + 0.11 (d - 177.3) H(d - 177.3)` for the one-way delay `d` in ms: half the round trip, plus twice the
//!   jitter, plus 20 ms of packetisation. The usual fit of the standard's delay terms below 400 ms.
//! - `Ie,eff = 95 P / (P + Bpl)` for `P` per cent of frames made up, with `Bpl` = 25.1: G.711 with concealment, random
//!   loss (G.113 appendix I). G.722 is judged by the same, so that its score too is on the narrow-band scale.
//! - `MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6` (annex B).

use std::time::Duration;

/// The score, 1.0..=4.5. `loss` is the share of frames made up, 0..=1.
pub fn mos(round_trip: Duration, jitter: Duration, loss: f32) -> f32 {
    let delay_ms = round_trip.as_secs_f32() * 500.0 + jitter.as_secs_f32() * 2_000.0 + 20.0;
    let delay = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let equipment = 95.0 * percent / (percent + 25.1);
    let r = (93.2 - delay - equipment).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_falls_with_loss_delay_and_jitter() {
        let ms = Duration::from_millis;
        let best = mos(ms(0), ms(0), 0.0);
        assert!((4.3..4.5).contains(&best), "{best}");
        let mut last = best;
        for loss in [0.01, 0.03, 0.1, 0.3, 1.0] {
            let score = mos(ms(0), ms(0), loss);
            assert!(score < last);
            last = score;
        }
        assert!(last < 1.4, "{last}");
        assert!(mos(ms(600), ms(0), 0.0) < mos(ms(100), ms(0), 0.0));
        assert!(mos(ms(0), ms(100), 0.0) < best);
    }
}
