//! Choosing from the peer's description what both sides can do. Pure: no state, no keys of ours.

use std::net::{IpAddr, SocketAddr};

use crate::limits::{PTIME_MS_MAX, PTIME_MS_MIN};
use crate::offer_answer_capabilities::{Capabilities, Codec, Local, Security};
use crate::offer_answer_media::Refusal;
use crate::sdp::{ConnectionAddress, SessionDescription};
use crate::sdp_crypto::CryptoLine;
use crate::sdp_media::{Direction, MediaDescription, Protocol};
use crate::sdp_security::Setup;

/// The voice formats of a peer's line that we can use, by the peer's payload types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Formats {
    pub codec: Codec,
    pub payload_type: u8,
    pub telephone_event: Option<u8>,
    pub comfort_noise: Option<u8>,
}

/// How a line can be keyed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyingChoice<'a> {
    Plain,
    Sdes(&'a CryptoLine),
    Dtls,
}

/// The line of an offer that we take.
pub(crate) struct Choice<'a> {
    pub index: usize,
    pub media: &'a MediaDescription,
    pub formats: Formats,
    pub keying: KeyingChoice<'a>,
}

/// Takes the best audio line of an offer: one that can be protected before one that cannot, else the first.
pub(crate) fn choose_line<'a>(offer: &'a SessionDescription, ours: &Capabilities) -> Result<Choice<'a>, Refusal> {
    let mut best: Option<Choice<'a>> = None;
    let mut first_refusal = None;
    for (index, media) in offer.media.iter().enumerate() {
        if !media.is_audio() || media.port == 0 {
            continue;
        }
        let chosen = choose_keying(offer, media, ours).and_then(|keying| Ok((keying, choose_formats(media, ours)?)));
        match chosen {
            Err(refusal) => first_refusal = first_refusal.or(Some(refusal)),
            Ok((keying, formats)) => {
                let choice = Choice { index, media, formats, keying };
                let better = best.as_ref().is_none_or(|best| best.is_plain() && !choice.is_plain());
                if better {
                    best = Some(choice);
                }
            }
        }
    }
    best.ok_or(first_refusal.unwrap_or(Refusal::NoAudio))
}

impl Choice<'_> {
    fn is_plain(&self) -> bool {
        matches!(self.keying, KeyingChoice::Plain)
    }
}

/// The first codec of the line that we have, with its companions at the same clock rate.
pub(crate) fn choose_formats(media: &MediaDescription, ours: &Capabilities) -> Result<Formats, Refusal> {
    let is_codec = |payload_type: u8, codec: Codec| {
        media.rtp_map(payload_type).is_some_and(|map| map.is(codec.name(), codec.clock_hz()))
    };
    let of_ours = |payload_type: u8| {
        ours.codecs.iter().copied().find(|codec| is_codec(payload_type, *codec)).map(|codec| (codec, payload_type))
    };
    let (codec, payload_type) = media.payload_types().find_map(of_ours).ok_or(Refusal::NoCodec)?;
    let companion = |name: &str| {
        let mut numbers = media.payload_types();
        numbers.find(|number| media.rtp_map(*number).is_some_and(|map| map.is(name, codec.clock_hz())))
    };
    Ok(Formats {
        codec,
        payload_type,
        telephone_event: companion("telephone-event").filter(|_| ours.telephone_event),
        comfort_noise: companion("CN").filter(|_| ours.comfort_noise),
    })
}

/// How an offered line can be keyed under our rules. Plain RTP profiles may carry keys too: RFC 8643, and Lync before it.
pub(crate) fn choose_keying<'a>(
    offer: &SessionDescription,
    media: &'a MediaDescription,
    ours: &Capabilities,
) -> Result<KeyingChoice<'a>, Refusal> {
    let sdes = usable_crypto(media, ours).map(KeyingChoice::Sdes);
    let dtls_offered = !offer.fingerprints_of(media).is_empty() && offer.setup_of(media) != Some(Setup::HoldConn);
    let dtls = (dtls_offered && !ours.dtls.is_empty()).then_some(KeyingChoice::Dtls);
    let protected = match media.protocol {
        Protocol::Avp | Protocol::Avpf | Protocol::Savp => sdes.or(dtls),
        Protocol::Savpf => dtls.or(sdes),
        Protocol::DtlsSavp | Protocol::DtlsSavpf => dtls,
        Protocol::Other(_) => return Err(Refusal::NoAudio),
    };
    let may_be_plain = matches!(media.protocol, Protocol::Avp | Protocol::Avpf);
    match (ours.security, protected) {
        (Security::SrtpRequired | Security::SrtpIfOffered, Some(choice)) => Ok(choice),
        (Security::SrtpRequired, None) if may_be_plain => Err(Refusal::SrtpRequired),
        (_, _) if may_be_plain => Ok(KeyingChoice::Plain),
        (_, _) => Err(Refusal::NoKeying),
    }
}

// In the offerer's order. A key with an identifier would lengthen each packet by it; peers that write one offer the same
// key without.
fn usable_crypto<'a>(media: &'a MediaDescription, ours: &Capabilities) -> Option<&'a CryptoLine> {
    media.crypto.iter().find(|line| line.mki.is_none() && ours.sdes.contains(&line.suite))
}

/// What the peer does with the stream, the old form of hold included (RFC 3264 section 8.4). With ICE an unspecified
/// address only says that there is no default candidate.
pub(crate) fn peer_direction(description: &SessionDescription, media: &MediaDescription) -> Direction {
    let stated = description.direction_of(media);
    let nowhere = description.connection_of(media).is_some_and(ConnectionAddress::is_unspecified);
    let ice = description.ice_credentials_of(media).is_some();
    if nowhere && !ice { stated.intersection(Direction::SendOnly) } else { stated }
}

/// Where the peer wants RTP and RTCP.
///
/// # Errors
/// A host name, or a family that our own address is not of, unless ICE finds the way.
pub(crate) fn peer_addresses(
    description: &SessionDescription,
    media: &MediaDescription,
    local: &Local,
    with_ice: bool,
) -> Result<(Option<SocketAddr>, Option<SocketAddr>), Refusal> {
    let address = match description.connection_of(media) {
        Some(ConnectionAddress::Ip(address)) if address.is_unspecified() => return Ok((None, None)),
        Some(ConnectionAddress::Ip(address)) => *address,
        Some(ConnectionAddress::Name(_)) | None if with_ice => return Ok((None, None)),
        Some(ConnectionAddress::Name(_)) | None => return Err(Refusal::HostName),
    };
    if !with_ice && !same_family(address, local.rtp.ip()) {
        return Err(Refusal::AddressFamily);
    }
    let rtp = SocketAddr::new(address, media.port);
    let rtcp = match &media.rtcp {
        Some(rtcp) => {
            let own = rtcp.address.as_ref().and_then(ConnectionAddress::ip).filter(|own| !own.is_unspecified());
            Some(SocketAddr::new(own.unwrap_or(address), rtcp.port))
        }
        None => media.port.checked_add(1).map(|port| SocketAddr::new(address, port)),
    };
    Ok((Some(rtp), rtcp))
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.to_canonical().is_ipv4() == other.to_canonical().is_ipv4()
}

/// Was the default address changed on the way, so that none of the candidates has it? (RFC 8839 section 4.2.5)
pub(crate) fn is_ice_mismatch(description: &SessionDescription, media: &MediaDescription) -> bool {
    let Some(ConnectionAddress::Ip(address)) = description.connection_of(media) else { return false };
    let default = SocketAddr::new(*address, media.port);
    // Port 9 with an unspecified address stands for "no default yet" (RFC 8840 section 4.1.1).
    if address.is_unspecified() || media.port == 9 || media.ice.candidates.is_empty() {
        return false;
    }
    let rtp = media.ice.candidates.iter().filter(|candidate| candidate.component == 1);
    rtp.clone().all(|candidate| candidate.socket_address().is_some())
        && !rtp.clone().any(|c| c.socket_address() == Some(default))
}

/// Milliseconds per packet that suit the peer: what it asks for, below its maximum, within our limits, in steps of 10.
pub(crate) fn ptime_for(media: &MediaDescription, ours: &Capabilities) -> u32 {
    let wanted = media.ptime_ms.unwrap_or(ours.ptime_ms);
    let most = media.maxptime_ms.unwrap_or(PTIME_MS_MAX);
    (wanted.min(most) / 10 * 10).clamp(PTIME_MS_MIN, PTIME_MS_MAX)
}
