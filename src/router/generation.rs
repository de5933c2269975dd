//! The configuration as the router's cores want it; the only place that turns one into the other.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postern_config::{Config, RouterConfig, RouterMode, SipIdentity, SipTarget};
use postern_dialplan::{Rules, Seals, route_key};
use postern_sip::host::Host;
use postern_sip::options::EndpointOptions;
use postern_sip::proxy_io::ProxyOptions;
use postern_sip::user_agent_options::UserAgentOptions;
use postern_transport::{ClientCertificates, Listening, TlsIdentity};

use crate::error::RouterError;

/// What may change while the router runs.
pub(crate) struct Generation {
    pub(crate) rules: Rules,
    pub(crate) seals: Seals,
    pub(crate) mode: RouterMode,
    pub(crate) contacts: u32,
    pub(crate) retry_after_secs: u32,
    pub(crate) um_services: Vec<SipTarget>,
    pub(crate) health: HealthTimes,
}

/// How UM services are asked how they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HealthTimes {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// `[router]`.
///
/// # Errors
/// [`RouterError::Missing`].
pub(crate) fn section(config: &Config) -> Result<&RouterConfig, RouterError> {
    config.router.as_ref().ok_or(RouterError::Missing)
}

impl Generation {
    pub(crate) fn new(config: &Config, own_addresses: &[IpAddr]) -> Result<Self, RouterError> {
        let router = section(config)?;
        let reached = reached(router, own_addresses);
        Ok(Self {
            rules: config.call_rules(&[], &reached, router.identity.as_ref())?,
            seals: config.seals(),
            mode: router.mode,
            contacts: router.contacts,
            retry_after_secs: router.retry_after_secs,
            um_services: router.um_services.clone(),
            health: HealthTimes {
                interval: Duration::from_millis(router.health_interval_ms.into()),
                timeout: Duration::from_millis(router.health_timeout_ms.into()),
            },
        })
    }
}

pub(crate) fn listening(router: &RouterConfig) -> Listening {
    Listening { tcp: router.tcp.clone(), tls: router.tls.clone(), udp: router.udp.clone() }
}

/// Sockets by which others reach us: a wildcard listener stands for every address of its family.
fn reached(router: &RouterConfig, own_addresses: &[IpAddr]) -> Vec<SocketAddr> {
    let listeners = router.tcp.iter().chain(&router.tls).chain(&router.udp);
    let each = |listener: &SocketAddr| -> Vec<SocketAddr> {
        if !listener.ip().is_unspecified() {
            return vec![*listener];
        }
        let same_family = own_addresses.iter().filter(|own| own.is_ipv4() == listener.is_ipv4());
        same_family.map(|own| SocketAddr::new(*own, listener.port())).collect()
    };
    listeners.flat_map(each).collect()
}

pub(crate) fn tls_identity(identity: &SipIdentity) -> TlsIdentity {
    let pem = identity.pem();
    TlsIdentity {
        certificate: pem.certificate,
        private_key: pem.private_key.to_vec(),
        ca: pem.ca,
        client_certificates: ClientCertificates::Required,
    }
}

pub(crate) fn proxy_options(config: &Config, own_addresses: &[IpAddr]) -> Result<ProxyOptions, RouterError> {
    let router = section(config)?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for socket in reached(router, own_addresses) {
        if !addresses.contains(&socket.ip()) {
            addresses.push(socket.ip());
        }
    }
    Ok(ProxyOptions {
        endpoint: EndpointOptions { udp: router.udp.clone(), ..endpoint(config, router) },
        addresses,
        route_keys: config.sip.contact_secrets.iter().map(|secret| route_key(secret.value.expose())).collect(),
        timer_c: Duration::from_secs(router.timer_c_secs.into()),
        ..ProxyOptions::default()
    })
}

/// Of the agent that asks UM services how they are: it listens nowhere.
pub(crate) fn asking_options(config: &Config, own_addresses: &[IpAddr]) -> Result<UserAgentOptions, RouterError> {
    let router = section(config)?;
    let addresses = reached(router, own_addresses).iter().map(SocketAddr::ip).collect();
    let endpoint = endpoint(config, router);
    Ok(UserAgentOptions { endpoint, addresses, user: "router".into(), ..UserAgentOptions::default() })
}

fn endpoint(config: &Config, router: &RouterConfig) -> EndpointOptions {
    EndpointOptions {
        host: router.identity.as_ref().and_then(|identity| Host::parse(&identity.host)),
        tcp_port: router.tcp.first().map(SocketAddr::port),
        tls_port: router.tls.first().map(SocketAddr::port),
        further_ports: router.tcp.iter().skip(1).chain(router.tls.iter().skip(1)).map(SocketAddr::port).collect(),
        message_bytes_max: config.sip.message_bytes_max as usize,
        connections_max: config.sip.connections_max as usize,
        connections_per_source_max: config.sip.connections_per_source_max as usize,
        ..EndpointOptions::default()
    }
}
