//! How peers reach us, as Contact and Record-Route say it.

use std::net::{IpAddr, SocketAddr};

use crate::host::Host;
use crate::options::EndpointOptions;
use crate::source::{Source, Transport};
use crate::target::{Security, Target};
use crate::uri::SipUri;

/// Our URI for a peer that came to us: the address, port and transport it used, by name over TLS.
pub(crate) fn seen_by(endpoint: &EndpointOptions, source: &Source) -> SipUri {
    let uri = own_uri(endpoint, source.transport, source.local.ip(), Some(source.local));
    // Another of our ports may be closed to it.
    let came_to = source.local.port();
    if endpoint.further_ports.contains(&came_to) {
        return uri.with_port(Some(came_to).filter(|port| *port != source.transport.default_port()));
    }
    uri
}

/// Our URI for a peer that we go to, from one of our `addresses` of its family.
pub(crate) fn towards(endpoint: &EndpointOptions, addresses: &[IpAddr], target: &Target) -> SipUri {
    let transport = transport_of(target);
    let v6 = target.uri.host.address().is_some_and(|address| address.is_ipv6());
    let own = addresses.iter().find(|address| address.is_ipv6() == v6).or(addresses.first());
    let own = own.copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let socket = endpoint.udp.iter().find(|socket| socket.ip() == own).copied();
    own_uri(endpoint, transport, own, socket.filter(|_| transport == Transport::Udp))
}

fn own_uri(endpoint: &EndpointOptions, transport: Transport, ip: IpAddr, socket: Option<SocketAddr>) -> SipUri {
    let named = endpoint.host.clone().filter(|_| transport == Transport::Tls);
    let listener = match transport {
        Transport::Tcp => endpoint.tcp_port,
        Transport::Tls => endpoint.tls_port,
        Transport::Udp => None,
    };
    let port = listener.or(socket.map(|socket| socket.port())).filter(|port| *port != transport.default_port());
    SipUri::new(named.unwrap_or_else(|| Host::from(ip)))
        .with_port(port)
        .with_param("transport", Some(transport.param()))
}

/// The transport that a target will most likely be reached by.
fn transport_of(target: &Target) -> Transport {
    if target.security == Security::Tls || target.uri.secure {
        return Transport::Tls;
    }
    target.uri.param("transport").and_then(|name| Transport::from_param(&name)).unwrap_or(Transport::Tcp)
}
