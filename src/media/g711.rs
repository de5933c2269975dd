//! G.711 (ITU-T G.711): PCMU and PCMA, through tables made at compile time from the standard's segments.

/// Linear value of a µ-law byte.
pub fn decode_ulaw(byte: u8) -> i16 {
    ULAW_TO_LINEAR[usize::from(byte)]
}

/// Linear value of an A-law byte.
pub fn decode_alaw(byte: u8) -> i16 {
    ALAW_TO_LINEAR[usize::from(byte)]
}

/// The µ-law byte of a linear value.
pub fn encode_ulaw(sample: i16) -> u8 {
    // 14 bits matter: 8,192 magnitudes, the sign apart.
    let negative = sample < 0;
    let magnitude = (i32::from(sample).abs() >> 2).min(8_191) as usize;
    LINEAR_TO_ULAW[magnitude] ^ if negative { 0x80 } else { 0 }
}

/// The A-law byte of a linear value.
pub fn encode_alaw(sample: i16) -> u8 {
    // 13 bits matter. Negative values are mirrored about -1, so that -1 lies in the first interval below zero.
    let negative = sample < 0;
    let magnitude = if negative { !sample } else { sample } >> 3;
    LINEAR_TO_ALAW[magnitude as usize] ^ if negative { 0x80 } else { 0 }
}

const ULAW_BIAS: i32 = 33;

static ULAW_TO_LINEAR: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = ulaw_value(byte as u8);
        byte += 1;
    }
    table
};

static ALAW_TO_LINEAR: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = alaw_value(byte as u8);
        byte += 1;
    }
    table
};

/// Bytes of positive values, by the value's upper 13 bits.
static LINEAR_TO_ULAW: [u8; 8_192] = {
    let mut table = [0; 8_192];
    let mut magnitude = 0;
    while magnitude < 8_192 {
        table[magnitude] = ulaw_byte(magnitude as i32);
        magnitude += 1;
    }
    table
};

static LINEAR_TO_ALAW: [u8; 4_096] = {
    let mut table = [0; 4_096];
    let mut magnitude = 0;
    while magnitude < 4_096 {
        table[magnitude] = alaw_byte(magnitude as i32);
        magnitude += 1;
    }
    table
};

/// 14-bit code value scaled to 16 bits.
const fn ulaw_value(byte: u8) -> i16 {
    let bits = !byte;
    let segment = (bits >> 4) & 7;
    let step = (bits & 15) as i32;
    let magnitude = ((((step << 1) + ULAW_BIAS) << segment) - ULAW_BIAS) << 2;
    (if bits & 0x80 != 0 { -magnitude } else { magnitude }) as i16
}

/// 13-bit code value scaled to 16 bits.
const fn alaw_value(byte: u8) -> i16 {
    let bits = byte ^ 0x55;
    let segment = (bits >> 4) & 7;
    let step = (bits & 15) as i32;
    let magnitude = match segment {
        0 => (step << 4) + 8,
        segment => ((step << 4) + 0x108) << (segment - 1),
    };
    (if bits & 0x80 != 0 { magnitude } else { -magnitude }) as i16
}

const fn ulaw_byte(magnitude: i32) -> u8 {
    let biased = magnitude + ULAW_BIAS;
    let biased = if biased > 8_191 { 8_191 } else { biased };
    let segment = (31 - (biased as u32).leading_zeros()) - 5;
    let step = (biased >> (segment + 1)) & 15;
    !((segment as u8) << 4 | step as u8)
}

const fn alaw_byte(magnitude: i32) -> u8 {
    let bits = if magnitude < 32 {
        magnitude >> 1
    } else {
        let segment = (31 - (magnitude as u32).leading_zeros()) - 4;
        ((segment as i32) << 4) | ((magnitude >> segment) & 15)
    };
    bits as u8 ^ 0xd5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_of_the_standard() {
        // Zero, the extremes, and the first step of each law.
        assert_eq!((decode_ulaw(0xff), decode_ulaw(0x7f)), (0, 0));
        assert_eq!((decode_ulaw(0x80), decode_ulaw(0x00)), (32_124, -32_124));
        assert_eq!((decode_ulaw(0xfe), decode_ulaw(0x7e)), (8, -8));
        assert_eq!((decode_alaw(0xd5), decode_alaw(0x55)), (8, -8));
        assert_eq!((decode_alaw(0xaa), decode_alaw(0x2a)), (32_256, -32_256));
        assert_eq!((encode_ulaw(0), encode_alaw(0)), (0xff, 0xd5));
        assert_eq!((encode_ulaw(i16::MAX), encode_alaw(i16::MAX)), (0x80, 0xaa));
        assert_eq!((encode_ulaw(i16::MIN), encode_alaw(i16::MIN)), (0x00, 0x2a));
    }

    #[test]
    fn every_byte_survives_decoding_and_encoding() {
        for byte in 0..=255 {
            assert_eq!(encode_alaw(decode_alaw(byte)), byte);
            // µ-law has two zeros; the negative one becomes the positive.
            let want = if byte == 0x7f { 0xff } else { byte };
            assert_eq!(encode_ulaw(decode_ulaw(byte)), want);
        }
    }

    #[test]
    fn every_sample_is_coded_to_the_nearest_or_its_neighbour() {
        for sample in i16::MIN..=i16::MAX {
            for value in [decode_ulaw(encode_ulaw(sample)), decode_alaw(encode_alaw(sample))] {
                let error = (i32::from(value) - i32::from(sample)).abs();
                assert!(error <= 8 + (i32::from(sample).abs() >> 4).min(1_024), "{sample} became {value}");
            }
        }
    }
}
