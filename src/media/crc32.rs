//! CRC-32 as in IEEE 802.3, for the frames of recordings.

static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// The checksum of `bytes` after others whose checksum was `seed`; 0 begins.
pub fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(!seed, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)]);
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_standard_holds_in_one_piece_and_in_two() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
    }
}
