//! Which protocol a datagram on a media port speaks, told by its first bytes (RFC 7983 section 7, RFC 5761 section 4).

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First byte 0..=3: for the ICE agent.
    Stun,
    /// 20..=63.
    Dtls,
    /// 64..=79: TURN ChannelData, for the TURN client.
    Channel,
    /// 128..=191, but for the packet types of RTCP.
    Rtp,
    /// 128..=191 with a packet type of 192..=223 in the second byte.
    Rtcp,
    /// Nothing that belongs here.
    Unknown,
}

/// Tells a datagram's kind.
pub fn classify(datagram: &[u8]) -> Kind {
    match (datagram.first(), datagram.get(1)) {
        (Some(0..=3), _) => Kind::Stun,
        (Some(20..=63), _) => Kind::Dtls,
        (Some(64..=79), _) => Kind::Channel,
        (Some(128..=191), Some(192..=223)) => Kind::Rtcp,
        (Some(128..=191), Some(_)) => Kind::Rtp,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let want = match first {
                    0..=3 => Kind::Stun,
                    20..=63 => Kind::Dtls,
                    64..=79 => Kind::Channel,
                    128..=191 if (192..=223).contains(&second) => Kind::Rtcp,
                    128..=191 => Kind::Rtp,
                    _ => Kind::Unknown,
                };
                assert_eq!(classify(&[first, second]), want);
            }
        }
        assert_eq!(classify(&[]), Kind::Unknown);
        assert_eq!(classify(&[0x80]), Kind::Unknown);
    }
}
