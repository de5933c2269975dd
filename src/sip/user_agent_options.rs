//! What a user agent is told at birth.

use std::net::{IpAddr, SocketAddr};

use crate::header_name::HeaderName;
use crate::host::Host;
use crate::limits;
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::options::EndpointOptions;
use crate::session_timer::TimerOptions;
use crate::source::{Source, Transport};
use crate::target::{Security, Target};
use crate::uri::SipUri;

/// What a user agent is told at birth; may be replaced later.
#[derive(Clone, Debug)]
pub struct UserAgentOptions {
    pub endpoint: EndpointOptions,
    /// Server and User-Agent; `None` says nothing.
    pub name: Option<String>,
    /// User part of our Contact, where the call does not bring one.
    pub user: String,
    /// Addresses of ours, for the Contact of outgoing calls.
    pub addresses: Vec<IpAddr>,
    pub timer: TimerOptions,
    /// How OPTIONS is answered.
    pub availability: Availability,
    /// Header lines of every answer to OPTIONS.
    pub options_headers: Vec<(HeaderName, String)>,
    /// Methods outside of calls that the role answers itself, OPTIONS among them if wanted. Others are answered here.
    pub passed_up: Vec<Method>,
    pub calls_max: usize,
}

/// What the answer to OPTIONS says of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// 200.
    Ready,
    /// 503, with Retry-After in seconds. Calls are still the role's to answer.
    Unavailable { retry_after_secs: u32 },
}

impl Default for UserAgentOptions {
    fn default() -> Self {
        Self {
            endpoint: EndpointOptions::default(),
            name: None,
            user: String::new(),
            addresses: Vec::new(),
            timer: TimerOptions {
                session_expires_secs: Some(limits::SESSION_EXPIRES_SECS),
                min_se_secs: limits::MIN_SE_SECS,
            },
            availability: Availability::Ready,
            options_headers: Vec::new(),
            passed_up: Vec::new(),
            calls_max: limits::CALLS_MAX,
        }
    }
}

impl UserAgentOptions {
    /// Our Contact in a dialog with a peer that came to us: the address and transport it used, by name over TLS.
    pub(crate) fn contact_for(&self, source: &Source, user: Option<&str>) -> NameAddr {
        self.contact(source.transport, source.local.ip(), Some(source.local), user)
    }

    /// Our Contact in a dialog with a peer that we go to.
    pub(crate) fn contact_towards(&self, target: &Target, user: Option<&str>) -> NameAddr {
        let transport = transport_of(target);
        let v6 = target.uri.host.address().is_some_and(|address| address.is_ipv6());
        let own = self.addresses.iter().find(|address| address.is_ipv6() == v6).or(self.addresses.first());
        let own = own.copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let socket = self.endpoint.udp.iter().find(|socket| socket.ip() == own).copied();
        self.contact(transport, own, socket.filter(|_| transport == Transport::Udp), user)
    }

    fn contact(&self, transport: Transport, ip: IpAddr, socket: Option<SocketAddr>, user: Option<&str>) -> NameAddr {
        let named = self.endpoint.host.clone().filter(|_| transport == Transport::Tls);
        let port = match transport {
            Transport::Tcp => self.endpoint.tcp_port,
            Transport::Tls => self.endpoint.tls_port,
            Transport::Udp => None,
        };
        let port = port.or(socket.map(|socket| socket.port())).filter(|port| *port != transport.default_port());
        let uri = SipUri::new(named.unwrap_or_else(|| Host::from(ip)))
            .with_user(user.unwrap_or(&self.user))
            .with_port(port)
            .with_param("transport", Some(transport.param()));
        NameAddr::new(uri)
    }
}

/// The transport that a target will most likely be reached by.
fn transport_of(target: &Target) -> Transport {
    let named = target.uri.param("transport").and_then(|name| Transport::from_param(&name));
    if target.security == Security::Tls || target.uri.secure {
        return Transport::Tls;
    }
    named.unwrap_or(Transport::Tcp)
}
