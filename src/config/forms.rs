//! The forms of single values: addresses, networks, ranges, names. What is wrong with one is told at its own line.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::reader::{Notes, Value, quoted};
use crate::tree::PortRange;
use crate::uri::{RelayTransport, RelayUri};

/// RFC 8489 section 14.9: fewer than 128 characters.
const REALM_CHARS_MAX: usize = 127;
/// A key id is part of usernames of at most 508 bytes.
const KEY_ID_BYTES_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 253;

pub(crate) fn realm(value: &Value<'_>) -> Option<String> {
    let realm = value.string()?;
    let length = realm.chars().count();
    if length == 0 || length > REALM_CHARS_MAX {
        return value.error(format!("has {length} characters"), format!("choose 1 to {REALM_CHARS_MAX} of them"));
    }
    if realm.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return value.error("holds a quote, backslash or control character", "write a plain domain name");
    }
    Some(realm.into())
}

/// An address with a port other than 0; a wildcard is well.
pub(crate) fn listen_address(value: &Value<'_>) -> Option<SocketAddr> {
    let address: SocketAddr =
        value.parsed("an address with port, like \"203.0.113.10:3478\" or \"[2001:db8::10]:3478\"")?;
    judged(value, address.ip())?;
    if address.port() == 0 {
        return value.error("has port 0", "name the port: clients must know it");
    }
    Some(address)
}

/// An address with a port that others can be sent to.
pub(crate) fn remote_address(value: &Value<'_>) -> Option<SocketAddr> {
    let address = listen_address(value)?;
    if address.ip().is_unspecified() {
        return value.error("is a wildcard", "write the address of the other edge");
    }
    Some(address)
}

/// One address that is no wildcard.
pub(crate) fn unicast_address(value: &Value<'_>) -> Option<IpAddr> {
    let address: IpAddr = value.parsed("an address, like \"203.0.113.10\" or \"2001:db8::10\"")?;
    judged(value, address)?;
    if address.is_unspecified() {
        return value.error("is a wildcard", "write the address itself: peers see it as the source of what is relayed");
    }
    Some(address)
}

fn judged(value: &Value<'_>, address: IpAddr) -> Option<()> {
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return value.error("is an IPv4-mapped address", format!("write {v4}"));
    }
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || broadcast {
        return value.error("is no unicast address", "write an address of this machine");
    }
    Some(())
}

/// A network in CIDR form, or one address.
pub(crate) fn network(value: &Value<'_>, notes: &Notes) -> Option<IpNet> {
    let text = value.string()?;
    let Some(network) = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) else {
        return value
            .error(format!("{} is no network", quoted(text)), "write one like \"10.20.0.0/24\" or \"fd00:20::/64\"");
    };
    if network.trunc() != network {
        notes.warn(value.path(), format!("has bits beyond its prefix; {} is meant", network.trunc()), "write that");
    }
    Some(network.trunc())
}

/// `"FIRST-LAST"`, both included.
pub(crate) fn port_range(value: &Value<'_>) -> Option<PortRange> {
    let text = value.string()?;
    let ends = text.split_once('-').and_then(|(first, last)| Some((port(first.trim())?, port(last.trim())?)));
    match ends {
        None => value.error(format!("{} is no range of ports", quoted(text)), "write one like \"50000-59999\""),
        Some((first, last)) if first > last => {
            value.error("ends before it starts", format!("write \"{last}-{first}\""))
        }
        Some((first, _)) if first < 1024 => value.error("holds privileged ports", "start it at 1024 or above"),
        Some((first, last)) if last == first => {
            value.error("holds a single port", "widen it: each allocation takes one")
        }
        Some((first, last)) => Some(PortRange { first, last }),
    }
}

fn port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

pub(crate) fn key_id(value: &Value<'_>) -> Option<String> {
    let id = value.string()?;
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if id.is_empty() || id.len() > KEY_ID_BYTES_MAX || !id.bytes().all(safe) {
        let remedy = format!("choose 1 to {KEY_ID_BYTES_MAX} of A-Z a-z 0-9 _ -");
        return value.error(format!("{} is no key id", quoted(id)), remedy);
    }
    Some(id.into())
}

/// A path as written; [`crate::Source`] knows what it is relative to.
pub(crate) fn path<'a>(value: &Value<'a>) -> Option<&'a str> {
    let path = value.string()?;
    if path.contains('\0') {
        return value.error("holds a NUL", "write a path");
    }
    Some(path)
}

/// A name in a certificate, in lower case, without wildcard.
pub(crate) fn name_or_domain(value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return value
            .error(format!("{} is no name", quoted(name)), "write a whole DNS name, like \"worker.example.test\"");
    }
    Some(name.to_ascii_lowercase())
}

pub(crate) fn relay_uri(value: &Value<'_>) -> Option<RelayUri> {
    let text = value.string()?;
    match text.parse() {
        Ok(uri) => Some(uri),
        Err(what) => value.error(
            format!("{} {what}", quoted(text)),
            "write one like \"turn:edge.example.test:3478?transport=udp\" (RFC 7065)",
        ),
    }
}

/// `"udp"`, `"tcp"`, `"tls"` or `"dtls"`.
pub(crate) fn relay_transport(value: &Value<'_>) -> Option<RelayTransport> {
    let text = value.string()?;
    match text {
        "udp" => Some(RelayTransport::Udp),
        "tcp" => Some(RelayTransport::Tcp),
        "tls" => Some(RelayTransport::Tls),
        "dtls" => Some(RelayTransport::Dtls),
        _ => value.error(format!("{} is no transport", quoted(text)), "write udp, tcp, tls or dtls"),
    }
}

/// `LEVEL`, or `TARGET=LEVEL`, comma-separated.
pub(crate) fn log_directives(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let level = |text: &str| {
        matches!(text.to_ascii_lowercase().as_str(), "off" | "error" | "warn" | "info" | "debug" | "trace")
    };
    let target = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
    };
    let well = text.split(',').all(|directive| match directive.trim().split_once('=') {
        Some((name, to)) => target(name) && level(to),
        None => level(directive.trim()),
    });
    if !well || text.len() > 1024 {
        let remedy = "write off, error, warn, info, debug or trace, or directives like \"info,postern_turn=debug\"";
        return value.error(format!("{} is no log level", quoted(text)), remedy);
    }
    Some(text.into())
}
