//! Which peers a client may reach: one function for permissions, channels, Send indications and RFC 6062 connections.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::advertise::Advertise;
use crate::embedded::embedded_ipv4;
use crate::live_ports::LivePorts;

/// No setting opens these: this host, multicast, reserved, the cloud's metadata service, local-use NAT64. `0.0.0.0` is among
/// them, apart from the rest of its network, because a packet sent to it on Linux arrives at this host.
const ALWAYS_DENIED: [&str; 9] = [
    "0.0.0.0/32",
    "127.0.0.0/8",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "169.254.169.254/32",
    "::/128",
    "::1/128",
    "ff00::/8",
    "64:ff9b:1::/48",
];

/// Closed until `allow_peers` names them.
const DENIED_UNLESS_ALLOWED: [&str; 11] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
];

/// What a policy is made of. Everything is in local terms but the second halves of `advertise`.
#[derive(Clone, Debug, Default)]
pub struct PolicyOptions {
    pub allow_peers: Vec<IpNet>,
    pub deny_peers: Vec<IpNet>,
    /// Addresses of this machine's interfaces. Those of listeners, relays and `advertise` are added by themselves.
    pub own_addresses: Vec<IpAddr>,
    /// Where clients reach us, every transport. If all of these are on loopback, `allow_peers` may open loopback and own
    /// addresses, but for the ports of `listeners` and `services`.
    pub listeners: Vec<SocketAddr>,
    /// Other sockets of ours that listen: token service, metrics.
    pub services: Vec<SocketAddr>,
    pub relay_addresses: Vec<IpAddr>,
    /// Local address to public address, behind a 1:1 NAT.
    pub advertise: Vec<(IpAddr, IpAddr)>,
}

/// On which way a client wants to reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// CreatePermission: the port is not looked at (RFC 8656 section 10).
    Permission,
    /// ChannelBind.
    Channel,
    /// A Send indication, or a packet on a channel.
    Send,
    /// Connect (RFC 6062), and a connection that a peer makes.
    Connect,
}

/// The policy's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    Allowed,
    /// 403 (Forbidden); nothing is sent.
    Forbidden,
    /// Nothing is sent, and a request among it fails as it would at a peer that does not answer.
    NothingSent,
}

/// Judges peers; one generation of settings, immutable. Cost of a ruling is linear in the number of configured networks.
#[derive(Clone, Debug)]
pub struct PeerPolicy {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    always: Vec<IpNet>,
    private: Vec<IpNet>,
    /// Sorted.
    own: Vec<IpAddr>,
    /// Sorted ports of everything of ours that listens.
    own_ports: Vec<u16>,
    loopback_only: bool,
    relays: Vec<IpAddr>,
    advertise: Advertise,
    live: LivePorts,
}

/// Which half of a peer's transport address is in the way.
enum Refusal {
    Address,
    Port,
    /// A port of a relay address with no allocation behind it.
    DeadPort,
}

impl PeerPolicy {
    /// `live` is the broker's set of relay ports in use.
    pub fn new(options: &PolicyOptions, live: LivePorts) -> Self {
        let PolicyOptions { listeners, services, .. } = options;
        let relays: Vec<IpAddr> = options.relay_addresses.iter().map(IpAddr::to_canonical).collect();
        let advertise = Advertise::new(&options.advertise, &relays);
        let sockets = || listeners.iter().chain(services);
        let own = options.own_addresses.iter().copied().chain(sockets().map(SocketAddr::ip));
        let own = own.chain(relays.iter().copied()).chain(advertise.addresses());
        Self {
            allow: options.allow_peers.iter().map(IpNet::trunc).collect(),
            deny: options.deny_peers.iter().map(IpNet::trunc).collect(),
            always: networks(&ALWAYS_DENIED),
            private: networks(&DENIED_UNLESS_ALLOWED),
            own: sorted(own.map(|ip| ip.to_canonical()).collect()),
            own_ports: sorted(sockets().map(SocketAddr::port).collect()),
            loopback_only: !listeners.is_empty() && listeners.iter().all(|at| at.ip().to_canonical().is_loopback()),
            relays,
            advertise,
            live,
        }
    }

    /// Whether a client may reach `peer`, as the client named it (public names of relay addresses included).
    ///
    /// `claim` is the `peers` claim of the client's token: it narrows what the policy allows, relay addresses of this edge
    /// included, and never widens it.
    pub fn judge(&self, peer: SocketAddr, claim: Option<&[IpNet]>, purpose: Purpose) -> Ruling {
        let refusal = match self.relay_address(peer.ip()) {
            Some(local) => self.refuse_relay(peer, local, claim, purpose),
            None => self.refuse_other(peer, claim, purpose),
        };
        match (refusal, purpose) {
            (None, _) => Ruling::Allowed,
            (Some(_), Purpose::Send) | (Some(Refusal::DeadPort), Purpose::Connect) => Ruling::NothingSent,
            (Some(_), _) => Ruling::Forbidden,
        }
    }

    /// Between local and public names of our addresses: translate what [`judge`](Self::judge) allowed by
    /// [`inside`](Advertise::inside) before sending, and a peer's source address by [`outside`](Advertise::outside) before
    /// looking up permissions and telling the client.
    pub fn advertise(&self) -> &Advertise {
        &self.advertise
    }

    /// Whether `ip` is a relay address of this edge under either name: what counts there is the port, which may die any time.
    pub fn is_relay_address(&self, ip: IpAddr) -> bool {
        self.relay_address(ip).is_some()
    }

    /// The local name of `ip` when it is a relay address of ours under either name.
    fn relay_address(&self, ip: IpAddr) -> Option<IpAddr> {
        let local = self.advertise.inside_ip(ip);
        [local, ip].into_iter().find(|name| self.relays.contains(name))
    }

    /// Relay to relay on this edge: the address is fine, what counts is the port. Both names of a relay address are judged
    /// alike: `deny_peers` means the one that the world knows, a claim may mean either.
    fn refuse_relay(
        &self,
        peer: SocketAddr,
        local: IpAddr,
        claim: Option<&[IpNet]>,
        purpose: Purpose,
    ) -> Option<Refusal> {
        let public = self.advertise.outside_ip(local);
        let claimed = |nets: &[IpNet]| any_contains(nets, local) || any_contains(nets, public);
        if any_contains(&self.deny, public) || !claim.is_none_or(claimed) {
            return Some(Refusal::Address);
        }
        let tcp = purpose == Purpose::Connect;
        if purpose == Purpose::Permission || self.live.is_live(SocketAddr::new(local, peer.port()), tcp) {
            return None;
        }
        if self.is_own_port(peer.port()) {
            return Some(Refusal::Port);
        }
        let is_open_host = self.loopback_only && any_contains(&self.allow, local);
        (!is_open_host).then_some(Refusal::DeadPort)
    }

    fn refuse_other(&self, peer: SocketAddr, claim: Option<&[IpNet]>, purpose: Purpose) -> Option<Refusal> {
        let ip = peer.ip();
        if self.is_closed(ip) || claim.is_some_and(|nets| !any_contains(nets, ip)) {
            return Some(Refusal::Address);
        }
        if purpose == Purpose::Permission {
            return None;
        }
        let is_ours = self.loopback_only && (ip.is_loopback() || self.is_own(ip));
        (peer.port() == 0 || is_ours && self.is_own_port(peer.port())).then_some(Refusal::Port)
    }

    /// The order is the policy: always denied, `deny_peers`, `allow_peers`, default.
    fn is_closed(&self, ip: IpAddr) -> bool {
        let v6 = match ip {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        };
        let embedded = || v6.into_iter().flat_map(embedded_ipv4).map(IpAddr::V4);
        let local_if_allowed = self.loopback_only && (ip.is_loopback() || self.is_own(ip));
        if !local_if_allowed && self.is_always_denied(ip) || embedded().any(|v4| self.is_always_denied(v4)) {
            return true;
        }
        if any_contains(&self.deny, ip) || embedded().any(|v4| any_contains(&self.deny, v4)) {
            return true;
        }
        if embedded().any(|v4| any_contains(&self.private, v4)) {
            return true;
        }
        if any_contains(&self.allow, ip) {
            return false;
        }
        local_if_allowed || any_contains(&self.private, ip)
    }

    fn is_always_denied(&self, ip: IpAddr) -> bool {
        any_contains(&self.always, ip) || self.is_own(ip)
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.own.binary_search(&ip).is_ok()
    }

    /// Port 0 is nobody's, and no packet to it makes sense.
    fn is_own_port(&self, port: u16) -> bool {
        port == 0 || self.own_ports.binary_search(&port).is_ok()
    }
}

fn any_contains(nets: &[IpNet], ip: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&ip))
}

/// A text of the tables above that were no network would leave a hole, hence the test over both of them.
fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}
