//! Encoders and decoders by codec, with the state that G.722 has.

use ::audio_codec::g722::{G722Decoder, G722Encoder};
use ::audio_codec::{Decoder as _, Encoder as _};

use crate::codec::Codec;
use crate::g711;

/// Turns payloads into samples at the codec's rate.
pub enum Decoder {
    Pcmu,
    Pcma,
    G722(Box<G722Decoder>),
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(codec: Codec) -> Self {
        match codec {
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::G722 => Self::G722(Box::default()),
        }
    }

    /// Its codec.
    pub fn codec(&self) -> Codec {
        match self {
            Self::Pcmu => Codec::Pcmu,
            Self::Pcma => Codec::Pcma,
            Self::G722(_) => Codec::G722,
        }
    }

    /// Appends the payload's samples: one for each byte of G.711, two of G.722.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        match self {
            Self::Pcmu => pcm.extend(payload.iter().map(|byte| g711::decode_ulaw(*byte))),
            Self::Pcma => pcm.extend(payload.iter().map(|byte| g711::decode_alaw(*byte))),
            Self::G722(decoder) => {
                let start = pcm.len();
                pcm.resize(start + 2 * payload.len(), 0);
                let written = decoder.decode_into(payload, &mut pcm[start..]).unwrap_or(0);
                pcm.truncate(start + written);
            }
        }
    }
}

/// Turns samples at the codec's rate into payloads.
pub enum Encoder {
    Pcmu,
    Pcma,
    G722(Box<G722Encoder>),
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(codec: Codec) -> Self {
        match codec {
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::G722 => Self::G722(Box::default()),
        }
    }

    /// Appends the samples' payload. G.722 takes an even number of them.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        match self {
            Self::Pcmu => payload.extend(pcm.iter().map(|sample| g711::encode_ulaw(*sample))),
            Self::Pcma => payload.extend(pcm.iter().map(|sample| g711::encode_alaw(*sample))),
            Self::G722(encoder) => {
                let start = payload.len();
                payload.resize(start + pcm.len() / 2 + 1, 0);
                let written = encoder.encode_into(pcm, &mut payload[start..]).unwrap_or(0);
                payload.truncate(start + written);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f32, samples: usize) -> Vec<i16> {
        (0..samples).map(|i| (8_000.0 * (i as f32 * hertz * std::f32::consts::TAU / 16_000.0).sin()) as i16).collect()
    }

    /// Signal to noise in dB at the best alignment of up to 32 samples, for the filter bank delays.
    fn signal_to_noise(reference: &[i16], coded: &[i16]) -> f32 {
        (0..32)
            .map(|delay| {
                let (mut signal, mut noise) = (0.0f32, 1.0f32);
                for (a, b) in reference.iter().zip(&coded[delay..]).skip(400) {
                    signal += f32::from(*a) * f32::from(*a);
                    noise += (f32::from(*a) - f32::from(*b)).powi(2);
                }
                10.0 * (signal / noise).log10()
            })
            .fold(f32::MIN, f32::max)
    }

    #[test]
    fn g722_keeps_tones_of_both_bands() {
        for (hertz, decibels) in [(300.0, 20.0), (1_000.0, 20.0), (3_000.0, 15.0), (5_000.0, 8.0)] {
            let reference = tone(hertz, 16_000);
            let (mut payload, mut pcm) = (Vec::new(), Vec::new());
            let (mut encoder, mut decoder) = (Encoder::new(Codec::G722), Decoder::new(Codec::G722));
            for frame in reference.chunks(320) {
                payload.clear();
                encoder.encode(frame, &mut payload);
                assert_eq!(payload.len(), 160);
                decoder.decode(&payload, &mut pcm);
            }
            assert_eq!(pcm.len(), reference.len());
            let measured = signal_to_noise(&reference, &pcm);
            assert!(measured > decibels, "{hertz} Hz: {measured} dB");
        }
    }

    #[test]
    fn a_foreign_g722_decoder_hears_the_same() {
        use ezk_g722::libg722::{Bitrate, decoder::Decoder as Foreign};
        let reference: Vec<i16> = (0..16_000i32).map(|i| ((i * i / 50) % 16_000 - 8_000) as i16).collect();
        let (mut payload, mut pcm) = (Vec::new(), Vec::new());
        Encoder::new(Codec::G722).encode(&reference, &mut payload);
        Decoder::new(Codec::G722).decode(&payload, &mut pcm);
        let foreign = Foreign::new(Bitrate::Mode1_64000, false, false).decode(&payload);
        assert_eq!(pcm, foreign);
    }
}
