//! Our side's session descriptions.

use std::net::SocketAddr;

use crate::offer_answer_capabilities::{Codec, Local};
use crate::offer_answer_payloads::PayloadTypes;
use crate::sdp::{ConnectionAddress, Origin, SessionDescription};
use crate::sdp_ice::IceAttributes;
use crate::sdp_media::{Direction, MediaDescription, Protocol, RtcpAddress, RtpMap};

/// The audio line with its formats. `companions`: telephone-event, comfort noise.
pub(crate) fn audio_line(
    protocol: Protocol,
    local: &Local,
    direction: Direction,
    numbers: &PayloadTypes,
    codecs: &[Codec],
    companions: &(bool, bool),
) -> MediaDescription {
    let mut maps: Vec<RtpMap> =
        codecs.iter().map(|codec| map(numbers.of_codec(*codec), codec.name(), codec.clock_hz())).collect();
    let clock_hz = codecs.first().map_or(8000, |codec| codec.clock_hz());
    if companions.1 {
        maps.push(map(numbers.comfort_noise(), "CN", clock_hz));
    }
    let mut parameters = Vec::new();
    if companions.0 {
        maps.push(map(numbers.telephone_event(), "telephone-event", clock_hz));
        parameters.push((numbers.telephone_event(), String::from("0-15")));
    }
    let formats = maps.iter().map(|map| map.payload_type.to_string()).collect();
    let mut line = MediaDescription::new("audio", local.rtp.port(), protocol, formats);
    line.rtp_maps = maps;
    line.format_parameters = parameters;
    line.direction = Some(direction);
    line.rtcp = Some(rtcp_of(local.rtp, local.rtcp));
    line
}

fn map(payload_type: u8, encoding: &str, clock_hz: u32) -> RtpMap {
    RtpMap { payload_type, encoding: encoding.into(), clock_hz, channels: 1 }
}

fn rtcp_of(rtp: SocketAddr, rtcp: SocketAddr) -> RtcpAddress {
    let address = (rtp.ip() != rtcp.ip()).then(|| ConnectionAddress::Ip(rtcp.ip()));
    RtcpAddress { port: rtcp.port(), address }
}

pub(crate) fn session(
    session_id: u64,
    version: u64,
    local: &Local,
    media: Vec<MediaDescription>,
) -> SessionDescription {
    let address = ConnectionAddress::Ip(local.rtp.ip());
    SessionDescription {
        origin: Origin { username: "-".into(), session_id: session_id.to_string(), version, address: address.clone() },
        connection: Some(address),
        direction: None,
        ice: IceAttributes::default(),
        fingerprints: Vec::new(),
        setup: None,
        media,
    }
}

/// Do both say the same, whatever their versions?
pub(crate) fn same_but_for_version(one: &SessionDescription, other: &SessionDescription) -> bool {
    let mut other = other.clone();
    other.origin.version = one.origin.version;
    *one == other
}
