//! SRTP and SRTCP (RFC 3711, 7714) behind a trait of our own.
//!
//! The crate that does the work makes state for an SSRC before it authenticates a packet of it, lets the first packet,
//! forged or not, set the replay window, takes SRTCP whose encryption bit is clear without looking at its tag, and
//! indexes short packets without looking. So every source gets a context of its own only after a packet of it was
//! authenticated by a spare one; the spare is thrown away after each failure; and lengths and the bit are judged here.

use ::rtp::header::Header as CrateHeader;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::limits;
use crate::rtp;
use crate::srtp_profile::{KeyLength, MasterKey, SrtpProfile};

/// Why a packet could not be taken or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    #[error("too short, or not RTP or RTCP")]
    Malformed,
    #[error("the tag is not right")]
    Authentication,
    #[error("seen before, or too old to tell")]
    Replay,
    #[error("more sources than one call has")]
    TooManySources,
    #[error("the key is used up")]
    KeyExhausted,
}

/// Protects what we send. One master key, one SSRC.
pub trait Protect: Send {
    /// Makes SRTP of RTP, in place.
    ///
    /// # Errors
    ///
    /// [`SrtpError::KeyExhausted`] after 2^48 packets, [`SrtpError::Malformed`] when it is no RTP.
    fn protect_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError>;

    /// Makes SRTCP of RTCP, in place.
    ///
    /// # Errors
    ///
    /// As for RTP.
    fn protect_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError>;
}

/// Opens what we receive.
pub trait Unprotect: Send {
    /// Makes RTP of SRTP: appends it to `out`, which the caller has emptied. Changes no state that lasts unless the
    /// packet is authentic and new.
    ///
    /// # Errors
    ///
    /// [`SrtpError`]; the peer's fault, or somebody else's packet.
    fn unprotect_rtp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError>;

    /// Makes RTCP of SRTCP, likewise.
    ///
    /// # Errors
    ///
    /// As for RTP.
    fn unprotect_rtcp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError>;
}

/// [`Protect`] by the crate webrtc-srtp.
pub struct Outbound {
    context: Context,
}

impl Outbound {
    /// # Errors
    ///
    /// [`KeyLength`] when the key is not one of that profile.
    pub fn new(profile: SrtpProfile, key: &MasterKey) -> Result<Self, KeyLength> {
        Ok(Self { context: context(profile, key)? })
    }
}

impl Protect for Outbound {
    fn protect_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let header = crate_header(packet)?;
        let protected = self.context.encrypt_rtp_with_header(packet, &header).map_err(|_| SrtpError::KeyExhausted)?;
        packet.clear();
        packet.extend_from_slice(&protected);
        Ok(())
    }

    fn protect_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        if packet.len() < RTCP_HEADER_BYTES {
            return Err(SrtpError::Malformed);
        }
        let protected = self.context.encrypt_rtcp(packet).map_err(|_| SrtpError::KeyExhausted)?;
        packet.clear();
        packet.extend_from_slice(&protected);
        Ok(())
    }
}

/// [`Unprotect`] by the crate webrtc-srtp.
pub struct Inbound {
    profile: SrtpProfile,
    key: MasterKey,
    rtp: Sources,
    rtcp: Sources,
}

/// Contexts of authenticated sources. RTP and RTCP are apart, so that neither opens the other's replay window.
struct Sources {
    known: Vec<(u32, Context)>,
    spare: Option<Context>,
}

impl Inbound {
    /// # Errors
    ///
    /// [`KeyLength`] when the key is not one of that profile.
    pub fn new(profile: SrtpProfile, key: &MasterKey) -> Result<Self, KeyLength> {
        let sources = || -> Result<Sources, KeyLength> {
            Ok(Sources { known: Vec::with_capacity(1), spare: Some(context(profile, key)?) })
        };
        Ok(Self { profile, key: key.clone(), rtp: sources()?, rtcp: sources()? })
    }

    /// Bytes that SRTCP adds: index, and tag.
    fn rtcp_overhead(&self) -> usize {
        4 + match self.profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 16,
            _ => 10,
        }
    }

    /// Offset from the end of the word with the encryption bit.
    fn rtcp_index_from_end(&self) -> usize {
        match self.profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 4,
            _ => 14,
        }
    }
}

const RTCP_HEADER_BYTES: usize = 8;

impl Unprotect for Inbound {
    fn unprotect_rtp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        let header = crate_header(packet)?;
        let Self { profile, key, rtp, .. } = self;
        rtp.open(*profile, key, header.ssrc, out, |context| context.decrypt_rtp_with_header(packet, &header))
    }

    fn unprotect_rtcp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        if packet.len() < RTCP_HEADER_BYTES + self.rtcp_overhead() {
            return Err(SrtpError::Malformed);
        }
        // RFC 3711 section 3.4: unencrypted SRTCP is for those who agreed on it, which we never do.
        if packet[packet.len() - self.rtcp_index_from_end()] & 0x80 == 0 {
            return Err(SrtpError::Authentication);
        }
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let Self { profile, key, rtcp, .. } = self;
        rtcp.open(*profile, key, ssrc, out, |context| context.decrypt_rtcp(packet))
    }
}

impl Sources {
    fn open(
        &mut self,
        profile: SrtpProfile,
        key: &MasterKey,
        ssrc: u32,
        out: &mut Vec<u8>,
        decrypt: impl FnOnce(&mut Context) -> Result<bytes::Bytes, webrtc_srtp::Error>,
    ) -> Result<(), SrtpError> {
        if let Some((_, context)) = self.known.iter_mut().find(|(known, _)| *known == ssrc) {
            out.extend_from_slice(&decrypt(context).map_err(judge)?);
            return Ok(());
        }
        if self.known.len() == limits::SRTP_SOURCES_MAX {
            return Err(SrtpError::TooManySources);
        }
        let mut spare = match self.spare.take() {
            Some(spare) => spare,
            None => context(profile, key).map_err(|_| SrtpError::Malformed)?,
        };
        // On failure the spare, which has now seen the forger's numbers, is dropped.
        out.extend_from_slice(&decrypt(&mut spare).map_err(judge)?);
        self.known.push((ssrc, spare));
        Ok(())
    }
}

fn judge(error: webrtc_srtp::Error) -> SrtpError {
    use webrtc_srtp::Error;
    match error {
        Error::SrtpSsrcDuplicated(..) | Error::SrtcpSsrcDuplicated(..) => SrtpError::Replay,
        Error::ErrTooShortRtp | Error::ErrTooShortRtcp | Error::SrtpTooSmall(..) | Error::SrtcpTooSmall(..) => {
            SrtpError::Malformed
        }
        _ => SrtpError::Authentication,
    }
}

fn context(profile: SrtpProfile, key: &MasterKey) -> Result<Context, KeyLength> {
    let want = profile.key_bytes() + profile.salt_bytes();
    let got = key.key().len() + key.salt().len();
    let profile = match profile {
        SrtpProfile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpProfile::Aes128CmHmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        SrtpProfile::Aes256CmHmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
        SrtpProfile::Aes256CmHmacSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    Context::new(
        key.key(),
        key.salt(),
        profile,
        Some(srtp_replay_protection(limits::SRTP_REPLAY_WINDOW)),
        Some(srtcp_replay_protection(limits::SRTP_REPLAY_WINDOW)),
    )
    .map_err(|_| KeyLength { want, got })
}

/// The crate's idea of a header, made from ours: the length of one with odd extensions must be right, for it says where
/// encryption begins.
fn crate_header(packet: &[u8]) -> Result<CrateHeader, SrtpError> {
    let header = rtp::Header::parse(packet).map_err(|_| SrtpError::Malformed)?;
    let contributors = usize::from(packet[0] & 0x0f);
    let extension = packet[0] & 0x10 != 0;
    let extension_bytes = header.bytes - rtp::HEADER_BYTES - 4 * contributors;
    Ok(CrateHeader {
        version: 2,
        padding: header.padding,
        extension,
        marker: header.marker,
        payload_type: header.payload_type,
        sequence_number: header.sequence,
        timestamp: header.timestamp,
        ssrc: header.ssrc,
        csrc: vec![0; contributors],
        extension_profile: 0,
        extensions: Vec::new(),
        extensions_padding: extension_bytes.saturating_sub(4),
    })
}
