//! WAV files: 16-bit mono, as they leave the house, and what is read of those that come in.

use std::io::Cursor;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

/// Samples and their rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    pub rate: u32,
    pub pcm: Vec<i16>,
}

/// A WAV file that is none, or of a kind that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    #[error("not a WAV file: {0}")]
    Malformed(String),
    #[error("a WAV file of {bits} bits and {channels} channels, where 16-bit mono is taken")]
    Unsupported { bits: u16, channels: u16 },
}

/// A WAV file of 16-bit mono samples.
///
/// # Errors
///
/// [`WavError::Malformed`] when there are more samples than the format can say (4 GiB).
pub fn encode(rate: u32, pcm: &[i16]) -> Result<Vec<u8>, WavError> {
    let spec = WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let malformed = |error: hound::Error| WavError::Malformed(error.to_string());
    let mut file = Cursor::new(Vec::with_capacity(44 + 2 * pcm.len()));
    let mut writer = WavWriter::new(&mut file, spec).map_err(malformed)?;
    for sample in pcm {
        writer.write_sample(*sample).map_err(malformed)?;
    }
    writer.finalize().map_err(malformed)?;
    Ok(file.into_inner())
}

/// Reads a WAV file of 16-bit mono samples at any rate. A data chunk cut short gives the samples that are there.
///
/// # Errors
///
/// [`WavError`].
pub fn decode(file: &[u8]) -> Result<Audio, WavError> {
    let mut reader = WavReader::new(file).map_err(|error| WavError::Malformed(error.to_string()))?;
    let spec = reader.spec();
    if spec.channels != 1 || spec.bits_per_sample != 16 || spec.sample_format != SampleFormat::Int {
        return Err(WavError::Unsupported { bits: spec.bits_per_sample, channels: spec.channels });
    }
    Ok(Audio { rate: spec.sample_rate, pcm: reader.samples::<i16>().map_while(Result::ok).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_survive_a_file() {
        let pcm: Vec<i16> = (-500..500).map(|i| i * 65).collect();
        let file = encode(16_000, &pcm).unwrap();
        assert_eq!(decode(&file), Ok(Audio { rate: 16_000, pcm: pcm.clone() }));
        assert_eq!(decode(&file[..44 + 200]).unwrap().pcm, pcm[..100]);
    }

    #[test]
    fn other_kinds_are_refused_by_name() {
        assert!(matches!(decode(b"RIFFxxxxWAVE"), Err(WavError::Malformed(_))));
        let mut stereo = encode(8_000, &[0; 4]).unwrap();
        stereo[22] = 2;
        stereo[32] = 4;
        stereo[28..32].copy_from_slice(&32_000u32.to_le_bytes());
        assert_eq!(decode(&stereo), Err(WavError::Unsupported { bits: 16, channels: 2 }));
    }
}
