//! Binding (RFC 8489 section 3), with NAT behaviour discovery where it is configured (RFC 5780 section 6).

use std::net::{IpAddr, SocketAddr};

use crate::attribute::Attribute;
use crate::error_code::ErrorCode;
use crate::io::{Action, Client, Now, ReplyFrom, Transport, Verdict};
use crate::limits::PADDING_BYTES_MAX;
use crate::options::NatDiscovery;
use crate::reply::ReplyTo;
use crate::request::Request;
use crate::server::Server;

/// Where an answer to a Binding goes, and what it says beside the mapped address.
struct Discovery {
    to: SocketAddr,
    from: ReplyFrom,
    origin: SocketAddr,
    other: SocketAddr,
}

impl Server {
    pub(crate) fn on_binding(&mut self, now: Now, request: &Request<'_>, reply: &ReplyTo) -> Verdict {
        let client = reply.client;
        if !self.serves(&client) && !self.may_answer_stranger(now, &client) {
            return self.turn_away(now, client);
        }
        if !request.unknown.is_empty() {
            let message =
                reply.error(ErrorCode::UNKNOWN_ATTRIBUTE, &[Attribute::UnknownAttributes(request.unknown.list())]);
            return self.answer_binding(client, Some(ErrorCode::UNKNOWN_ATTRIBUTE), message, None);
        }
        // RFC 5780 section 6.1: PADDING goes with no other port.
        if request.malformed.is_some() || request.padding_bytes.is_some() && request.response_port.is_some() {
            let message = reply.error(ErrorCode::BAD_REQUEST, &[]);
            return self.answer_binding(client, Some(ErrorCode::BAD_REQUEST), message, None);
        }
        let discovery = self.discovery(&client).map(|pair| discover(pair, self.outside(&client), request, &client));
        let padding = [0; PADDING_BYTES_MAX];
        let mut attributes = vec![Attribute::XorMappedAddress(client.reflexive())];
        if let Some(discovery) = &discovery {
            attributes.push(Attribute::OtherAddress(discovery.other));
            // A bare request over IPv6 is so short that one more address would more than double it.
            if client.remote.is_ipv4() || request.change_request.is_some() || request.padding_bytes.is_some() {
                attributes.push(Attribute::ResponseOrigin(discovery.origin));
            }
            if let Some(bytes) = request.padding_bytes {
                attributes.push(Attribute::Padding(&padding[..bytes.min(PADDING_BYTES_MAX)]));
            }
        }
        let message = reply.success(&attributes);
        self.answer_binding(client, None, message, discovery)
    }

    fn answer_binding(
        &mut self,
        client: Client,
        error: Option<ErrorCode>,
        message: Vec<u8>,
        way: Option<Discovery>,
    ) -> Verdict {
        self.counters.count_answer(crate::message::Method::Binding, error);
        let (to, from) = way.map_or((client.remote, ReplyFrom::Same), |discovery| (discovery.to, discovery.from));
        self.actions.push_back(Action::ToClient { client, to, from, message });
        Verdict::Control
    }

    /// Whether RFC 5780 is spoken on the listener that this client came to.
    pub(crate) fn speaks_discovery(&self, client: &Client) -> bool {
        self.discovery(client).is_some()
    }

    fn discovery(&self, client: &Client) -> Option<NatDiscovery> {
        let pair = self.options.features.nat_discovery.filter(|_| client.transport == Transport::Udp)?;
        let came_to = self.outside(client);
        let known = |ip: IpAddr| ip == pair.primary.ip() || ip == pair.alternate.ip();
        let port = came_to.port() == pair.primary.port() || came_to.port() == pair.alternate.port();
        (known(came_to.ip()) && port).then_some(pair)
    }

    /// The listener's address as the world knows it.
    fn outside(&self, client: &Client) -> SocketAddr {
        self.options.policy.advertise().outside(client.local)
    }
}

/// Only our own two addresses and the client's own address ever come into it: no third address gets an answer.
fn discover(pair: NatDiscovery, came_to: SocketAddr, request: &Request<'_>, client: &Client) -> Discovery {
    let other_ip = if came_to.ip() == pair.primary.ip() { pair.alternate.ip() } else { pair.primary.ip() };
    let other_port = if came_to.port() == pair.primary.port() { pair.alternate.port() } else { pair.primary.port() };
    let (address, port) = request.change_request.map_or((false, false), |change| (change.address, change.port));
    let origin_ip = if address { other_ip } else { came_to.ip() };
    let origin_port = if port { other_port } else { came_to.port() };
    let to_port = request.response_port.unwrap_or(client.remote.port());
    Discovery {
        to: SocketAddr::new(client.remote.ip(), to_port),
        from: if address || port { ReplyFrom::Alternate { address, port } } else { ReplyFrom::Same },
        origin: SocketAddr::new(origin_ip, origin_port),
        other: SocketAddr::new(other_ip, other_port),
    }
}
