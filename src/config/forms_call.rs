//! The forms of single values that only calls need: SIP targets, peers, pilots, plans, locations.

use std::net::IpAddr;

use ipnet::IpNet;
use postern_dialplan::DialRule;

use crate::forms::{name_or_domain, network, port_range, unicast_address};
use crate::reader::{Notes, Value, quoted};
use crate::sip_target::{SipTarget, split_port};
use crate::tree::PortRange;
use crate::tree_call::{Peer, UriType};

/// A plan's name rides in Contact parameters and metric labels.
const PLAN_NAME_BYTES_MAX: usize = 32;
/// E.164 has 15 digits; extensions with prefixes are longer at times.
const NUMBER_BYTES_MAX: usize = 32;
const USER_BYTES_MAX: usize = 128;

pub(crate) fn sip_target(value: &Value<'_>) -> Option<SipTarget> {
    let text = value.string()?;
    match text.parse() {
        Ok(target) => Some(target),
        Err(what) => {
            let remedy = "write one like \"sip:10.20.0.20:5062;transport=tcp\" or \
                          \"sip:um.example.test:5063;transport=tls\"";
            value.error(format!("{} {what}", quoted(text)), remedy)
        }
    }
}

/// An address of this machine that others can be told.
pub(crate) fn own_address(value: &Value<'_>) -> Option<IpAddr> {
    unicast_address(value)
}

/// Room for at least one pair of an even port and the odd one after it.
pub(crate) fn rtp_ports(value: &Value<'_>) -> Option<PortRange> {
    let range = port_range(value)?;
    if rtp_pairs(range) == 0 {
        return value.error("holds no even port with the odd one after it", "write one like \"20000-29999\"");
    }
    Some(range)
}

/// Pairs of an even port and the odd one after it within `range`.
pub(crate) fn rtp_pairs(range: PortRange) -> u32 {
    let first = u32::from(range.first).next_multiple_of(2);
    (u32::from(range.last) + 1).saturating_sub(first) / 2
}

/// A network, an address, or a name in a certificate.
pub(crate) fn peer(value: &Value<'_>, notes: &Notes) -> Option<Peer> {
    let text = value.string()?;
    if text.contains('/') || text.parse::<IpAddr>().is_ok() {
        return network(value, notes).map(Peer::Network);
    }
    name_or_domain(value).map(Peer::Name)
}

/// A network or an address; a name has a key of its own.
pub(crate) fn peer_network(value: &Value<'_>, notes: &Notes) -> Option<Peer> {
    let text = value.string()?;
    if text.parse::<IpNet>().is_err() && text.parse::<IpAddr>().is_err() {
        let remedy = "write an address or a network, or name = \"...\" for the name in the gateway's certificate";
        return value.error(format!("{} is no address", quoted(text)), remedy);
    }
    network(value, notes).map(Peer::Network)
}

/// A name in a certificate; an address has a key of its own.
pub(crate) fn peer_name(value: &Value<'_>) -> Option<Peer> {
    let text = value.string()?;
    if text.contains('/') || text.parse::<IpAddr>().is_ok() {
        return value.error(format!("{} is an address", quoted(text)), "write address = \"...\", or the name itself");
    }
    name_or_domain(value).map(Peer::Name)
}

pub(crate) fn plan_name(value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > PLAN_NAME_BYTES_MAX || !name.bytes().all(plain) {
        let remedy = format!("choose 1 to {PLAN_NAME_BYTES_MAX} of A-Z a-z 0-9 - _");
        return value.error(format!("{} is no name of a dial plan", quoted(name)), remedy);
    }
    Some(name.into())
}

/// What an address looks like in a plan of this type.
pub(crate) fn address_of_plan(value: &Value<'_>, uri_type: UriType) -> Option<String> {
    let text = value.string()?;
    let (well, wanted) = match uri_type {
        UriType::Extension => (is_number(text), "digits, like \"7000\""),
        UriType::E164 => (text.starts_with('+') && is_number(text), "a + and digits, like \"+15550100\""),
        UriType::Sip => (is_user(text), "a user, like \"voicemail\" or \"voicemail@example.test\""),
    };
    if !well {
        return value.error(format!("{} is no address in this plan", quoted(text)), format!("write {wanted}"));
    }
    Some(text.into())
}

/// What users of a plan may call.
pub(crate) fn dial_rule(value: &Value<'_>) -> Option<DialRule> {
    let text = value.string()?;
    match text.parse() {
        Ok(rule) => Some(rule),
        Err(what) => {
            let remedy = "write numbers like \"+1*\" (all that begin so) or \"7000\", or a host like \
                          \"sip:*@pbx.example.test\"";
            value.error(format!("{} {what}", quoted(text)), remedy)
        }
    }
}

/// A number that can be dialled, or the address of a plan of any type; empty is none.
pub(crate) fn operator(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    if !text.is_empty() && !is_user(text) {
        return value.error(format!("{} cannot be called", quoted(text)), "write a number, or user@host");
    }
    Some(text.into())
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    !digits.is_empty()
        && digits.len() <= NUMBER_BYTES_MAX
        && digits.bytes().all(|b| b.is_ascii_digit() || b"*#".contains(&b))
}

fn is_user(text: &str) -> bool {
    let (user, host) = text.split_once('@').map_or((text, None), |(user, host)| (user, Some(host)));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,#".contains(&byte);
    let named = host.is_none_or(|host| matches!(split_port(host), Ok((_, None))));
    !user.is_empty() && text.len() <= USER_BYTES_MAX && user.bytes().all(plain) && named
}

/// Up to eight digits, or none.
pub(crate) fn prefix(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    if text.len() > 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.error(format!("{} is no prefix", quoted(text)), "write up to eight digits, without +");
    }
    Some(text.into())
}

/// A language tag (RFC 5646), or the name of a time zone: letters, digits and what joins them.
pub(crate) fn tag(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/+".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return value.error(format!("{} is no name", quoted(text)), "write one like \"en-US\" or \"Europe/Berlin\"");
    }
    Some(text.into())
}

/// `https://HOST[:PORT]`, the host as the certificate has it.
pub(crate) fn https(value: &Value<'_>) -> Option<(String, u16)> {
    let text = value.string()?;
    let wanted = "write one like \"https://10.20.0.10:8443\"";
    let Some(rest) = text.strip_prefix("https://") else {
        return value.error(format!("{} does not start with https://", quoted(text)), wanted);
    };
    match split_port(rest.strip_suffix('/').unwrap_or(rest)) {
        Ok((host, port)) => Some((host.to_ascii_lowercase(), port.unwrap_or(443))),
        Err(what) => value.error(format!("{} {what}", quoted(text)), wanted),
    }
}
