//! RTP packets (RFC 3550 section 5.1), read in place and written into a buffer of the caller's.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! |                           timestamp                           |
//! |                             SSRC                              |
//! |                      CC * CSRC, extension                     |
//! ```

/// Bytes of a header without CSRCs and extension.
pub const HEADER_BYTES: usize = 12;

/// The fields of a header, without its CSRCs and extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Whether the last byte counts padding.
    pub padding: bool,
    /// Bytes before the payload.
    pub bytes: usize,
}

/// Not an RTP packet: wrong version, or shorter than its fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RTP packet")]
pub struct Malformed;

impl Header {
    /// Reads the header, which SRTP leaves in clear.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when header, CSRCs and extension do not fit into the packet.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let fixed: &[u8; HEADER_BYTES] = packet.first_chunk().ok_or(Malformed)?;
        if fixed[0] >> 6 != 2 {
            return Err(Malformed);
        }
        let mut bytes = HEADER_BYTES + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            let words = packet.get(bytes + 2..bytes + 4).ok_or(Malformed)?;
            bytes += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        if bytes > packet.len() {
            return Err(Malformed);
        }
        Ok(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            padding: fixed[0] & 0x20 != 0,
            bytes,
        })
    }

    /// The payload of a packet in clear that this header was read from, without padding.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when the padding is longer than what follows the header, or counts not even itself.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let payload = packet.get(self.bytes..).ok_or(Malformed)?;
        if !self.padding {
            return Ok(payload);
        }
        let padding = usize::from(*payload.last().ok_or(Malformed)?);
        if padding == 0 || padding > payload.len() {
            return Err(Malformed);
        }
        Ok(&payload[..payload.len() - padding])
    }
}

/// A packet of ours to be written: no CSRCs, no extension, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Outgoing {
    /// Appends the header; the payload follows it.
    pub fn write(&self, packet: &mut Vec<u8>) {
        packet.push(2 << 6);
        packet.push(u8::from(self.marker) << 7 | self.payload_type & 0x7f);
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_survives_writing_and_reading() {
        let outgoing = Outgoing { marker: true, payload_type: 101, sequence: 65_535, timestamp: 0xdead_beef, ssrc: 7 };
        let mut packet = Vec::new();
        outgoing.write(&mut packet);
        packet.extend_from_slice(b"payload");
        let header = Header::parse(&packet).unwrap();
        assert_eq!(
            (header.marker, header.payload_type, header.sequence, header.timestamp, header.ssrc),
            (true, 101, 65_535, 0xdead_beef, 7)
        );
        assert_eq!(header.payload(&packet), Ok(&b"payload"[..]));
    }

    #[test]
    fn contributors_extension_and_padding_are_no_payload() {
        let mut packet = vec![0xb2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
        packet.extend_from_slice(&[1, 2, 3, 0, 0, 3]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.payload(&packet), Ok(&[1, 2, 3][..]));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9];
        assert!(Header::parse(&packet[..11]).is_err());
        packet[0] = 0x81;
        assert!(Header::parse(&packet).is_err(), "a CSRC is missing");
        packet[0] = 0x90;
        assert!(Header::parse(&packet).is_err(), "the extension is cut");
        packet[0] = 0x40;
        assert!(Header::parse(&packet).is_err(), "version 1");
        packet[0] = 0xa0;
        let header = Header::parse(&packet).unwrap();
        assert!(header.payload(&packet).is_err(), "9 bytes of padding in 2");
        packet[13] = 0;
        assert!(header.payload(&packet).is_err(), "padding of no byte");
    }
}
