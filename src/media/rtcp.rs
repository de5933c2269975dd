//! RTCP compound packets (RFC 3550 section 6): sender and receiver reports, CNAME and BYE; the rest is skipped.

use crate::limits;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const CNAME: u8 = 1;
const REPORT_BLOCK_BYTES: usize = 24;

/// A point in time as RTCP writes it: seconds since 1900 in the upper half, fractions in the lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// From the time since the Unix epoch.
    pub fn from_unix(since_epoch: std::time::Duration) -> Self {
        const UNIX_EPOCH_IN_NTP_SECS: u64 = 2_208_988_800;
        let secs = since_epoch.as_secs().wrapping_add(UNIX_EPOCH_IN_NTP_SECS);
        let fraction = (u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        Self(secs << 32 | fraction)
    }

    /// The middle 32 bits, in units of 1/65536 s, as LSR carries them.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// What a sender says of itself (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    pub ntp: NtpTime,
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub bytes: u32,
}

/// How a receiver hears one source (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Loss since the previous report in 1/256.
    pub fraction_lost: u8,
    /// 24 bits, signed: duplicates may make it negative.
    pub cumulative_lost: i32,
    pub extended_highest_sequence: u32,
    /// In timestamp units.
    pub jitter: u32,
    pub last_sender_report: u32,
    /// In 1/65536 s.
    pub delay_since_last_sender_report: u32,
}

/// One packet of a compound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// SR, or RR where `sender` is `None`.
    Report { ssrc: u32, sender: Option<SenderInfo>, blocks: Blocks<'a> },
    /// The sources that leave.
    Bye { ssrcs: Ssrcs<'a> },
    /// SDES, APP and what later standards added.
    Other { packet_type: u8 },
}

/// Not a compound packet: a version or a length is wrong somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RTCP packet")]
pub struct Malformed;

/// The packets of a datagram, checked as a whole first (RFC 3550 appendix A.2), so that no part of a broken compound
/// counts.
///
/// # Errors
///
/// [`Malformed`].
pub fn parse(datagram: &[u8]) -> Result<impl Iterator<Item = Packet<'_>>, Malformed> {
    let mut rest = datagram;
    let mut packets = 0;
    while !rest.is_empty() {
        let (packet, after) = split(rest)?;
        read(packet)?;
        rest = after;
        packets += 1;
    }
    if packets == 0 || packets > limits::RTCP_PACKETS_MAX {
        return Err(Malformed);
    }
    let mut rest = datagram;
    Ok(std::iter::from_fn(move || {
        let (packet, after) = split(rest).ok()?;
        rest = after;
        read(packet).ok()
    }))
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let header: &[u8; 4] = bytes.first_chunk().ok_or(Malformed)?;
    let length = 4 + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 6 != 2 || !(192..=223).contains(&header[1]) {
        return Err(Malformed);
    }
    bytes.split_at_checked(length).ok_or(Malformed)
}

fn read(packet: &[u8]) -> Result<Packet<'_>, Malformed> {
    let count = usize::from(packet[0] & 0x1f);
    match packet[1] {
        SENDER_REPORT => {
            let fixed: &[u8; 28] = packet.first_chunk().ok_or(Malformed)?;
            let sender = SenderInfo {
                ntp: NtpTime(u64::from(word(&fixed[8..])) << 32 | u64::from(word(&fixed[12..]))),
                rtp_timestamp: word(&fixed[16..]),
                packets: word(&fixed[20..]),
                bytes: word(&fixed[24..]),
            };
            let blocks = packet.get(28..28 + count * REPORT_BLOCK_BYTES).ok_or(Malformed)?;
            Ok(Packet::Report { ssrc: word(&fixed[4..]), sender: Some(sender), blocks: Blocks(blocks) })
        }
        RECEIVER_REPORT => {
            let blocks = packet.get(8..8 + count * REPORT_BLOCK_BYTES).ok_or(Malformed)?;
            Ok(Packet::Report { ssrc: word(&packet[4..]), sender: None, blocks: Blocks(blocks) })
        }
        BYE => Ok(Packet::Bye { ssrcs: Ssrcs(packet.get(4..4 + 4 * count).ok_or(Malformed)?) }),
        packet_type => Ok(Packet::Other { packet_type }),
    }
}

/// The report blocks of one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks<'a>(&'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_at_checked(REPORT_BLOCK_BYTES)?;
        self.0 = rest;
        let lost = word(&block[4..]);
        Some(ReportBlock {
            ssrc: word(block),
            fraction_lost: block[4],
            cumulative_lost: (lost << 8) as i32 >> 8,
            extended_highest_sequence: word(&block[8..]),
            jitter: word(&block[12..]),
            last_sender_report: word(&block[16..]),
            delay_since_last_sender_report: word(&block[20..]),
        })
    }
}

/// The sources of one BYE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssrcs<'a>(&'a [u8]);

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (ssrc, rest) = self.0.split_at_checked(4)?;
        self.0 = rest;
        Some(word(ssrc))
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// A compound of ours: SR or RR, SDES with CNAME, and BYE when the call ends.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    pub ssrc: u32,
    /// Makes it a sender report.
    pub sender: Option<SenderInfo>,
    pub block: Option<ReportBlock>,
    /// At most 255 bytes count.
    pub cname: &'a str,
    pub bye: bool,
}

impl Compound<'_> {
    /// Appends the compound.
    pub fn write(&self, out: &mut Vec<u8>) {
        let blocks = u8::from(self.block.is_some());
        let block_words = u16::from(blocks) * (REPORT_BLOCK_BYTES / 4) as u16;
        match self.sender {
            Some(sender) => {
                header(out, blocks, SENDER_REPORT, 6 + block_words);
                out.extend_from_slice(&self.ssrc.to_be_bytes());
                out.extend_from_slice(&sender.ntp.0.to_be_bytes());
                out.extend_from_slice(&sender.rtp_timestamp.to_be_bytes());
                out.extend_from_slice(&sender.packets.to_be_bytes());
                out.extend_from_slice(&sender.bytes.to_be_bytes());
            }
            None => {
                header(out, blocks, RECEIVER_REPORT, 1 + block_words);
                out.extend_from_slice(&self.ssrc.to_be_bytes());
            }
        }
        if let Some(block) = self.block {
            write_block(out, block);
        }
        self.write_cname(out);
        if self.bye {
            header(out, 1, BYE, 1);
            out.extend_from_slice(&self.ssrc.to_be_bytes());
        }
    }

    fn write_cname(&self, out: &mut Vec<u8>) {
        let cname = &self.cname.as_bytes()[..self.cname.len().min(255)];
        // SSRC, item header, text, and one to four bytes of zero that end the chunk on a word boundary.
        let item = 2 + cname.len();
        let padding = 4 - item % 4;
        header(out, 1, SOURCE_DESCRIPTION, (1 + (item + padding) / 4) as u16);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&[CNAME, cname.len() as u8]);
        out.extend_from_slice(cname);
        out.extend_from_slice(&[0; 4][..padding]);
    }
}

fn header(out: &mut Vec<u8>, count: u8, packet_type: u8, words: u16) {
    out.extend_from_slice(&[2 << 6 | count, packet_type]);
    out.extend_from_slice(&words.to_be_bytes());
}

fn write_block(out: &mut Vec<u8>, block: ReportBlock) {
    let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
    out.extend_from_slice(&block.ssrc.to_be_bytes());
    out.extend_from_slice(&(u32::from(block.fraction_lost) << 24 | lost).to_be_bytes());
    out.extend_from_slice(&block.extended_highest_sequence.to_be_bytes());
    out.extend_from_slice(&block.jitter.to_be_bytes());
    out.extend_from_slice(&block.last_sender_report.to_be_bytes());
    out.extend_from_slice(&block.delay_since_last_sender_report.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: SenderInfo =
        SenderInfo { ntp: NtpTime(0x0123_4567_89ab_cdef), rtp_timestamp: 5, packets: 6, bytes: 7 };
    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 9,
        fraction_lost: 128,
        cumulative_lost: -3,
        extended_highest_sequence: 0x1_0002,
        jitter: 11,
        last_sender_report: 12,
        delay_since_last_sender_report: 13,
    };

    #[test]
    fn a_compound_survives_writing_and_reading_with_any_cname() {
        for length in 0..=255 {
            for sender in [Some(SENDER), None] {
                let cname = "c".repeat(length);
                let compound = Compound { ssrc: 1, sender, block: Some(BLOCK), cname: &cname, bye: true };
                let mut bytes = Vec::new();
                compound.write(&mut bytes);
                let packets: Vec<_> = parse(&bytes).unwrap().collect();
                let [Packet::Report { ssrc: 1, sender: read, blocks }, Packet::Other { .. }, Packet::Bye { ssrcs }] =
                    &packets[..]
                else {
                    panic!("{packets:?}");
                };
                assert_eq!(*read, sender);
                assert_eq!(blocks.clone().collect::<Vec<_>>(), [BLOCK]);
                assert_eq!(ssrcs.clone().collect::<Vec<_>>(), [1]);
            }
        }
    }

    #[test]
    fn one_broken_packet_spoils_its_compound() {
        let compound = Compound { ssrc: 1, sender: None, block: None, cname: "a", bye: true };
        let mut bytes = Vec::new();
        compound.write(&mut bytes);
        for cut in 1..bytes.len() {
            if cut % 4 != 0 {
                assert!(parse(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
        let last = bytes.len() - 8;
        bytes[last] = 0x82;
        assert!(parse(&bytes).is_err(), "a BYE of two sources that names one");
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn ntp_time_counts_from_1900() {
        let time = NtpTime::from_unix(std::time::Duration::from_millis(500));
        assert_eq!(time.0, 2_208_988_800 << 32 | 0x8000_0000);
        assert_eq!(time.middle(), (2_208_988_800u64 << 16) as u32 | 0x8000);
    }
}
