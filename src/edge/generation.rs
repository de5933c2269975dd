//! From a configuration to what the cores are told: the one place where config types become core types.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use postern_config::{CertifiedKeyMaterial, Config, EdgeConfig};
use postern_token::{KeyError, KeyRing, Secret, Verifier};
use postern_turn::live_ports::LivePorts;
use postern_turn::nonce::NonceKeys;
use postern_turn::options::{Alternate, Features, Lifetimes, NatDiscovery, Options, Quotas};
use postern_turn::policy::{PeerPolicy, PolicyOptions};
use rustls::ServerConfig;

/// Without LIFETIME, and at least (RFC 8656 section 7.2).
const DEFAULT_LIFETIME_SECS: u32 = 600;
/// ALPN of TURN, and of STUN alone (RFC 7443).
const ALPN: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];

/// Everything that one generation of the configuration means to the shards.
///
/// # Errors
/// Secrets that cannot be keys; the configuration's own checks leave none.
pub(crate) fn options(config: &Config, own_addresses: &[IpAddr], live: LivePorts) -> Result<Options, KeyError> {
    let edge = &config.edge;
    let keys = key_ring(edge)?;
    Ok(Options {
        realm: edge.realm.clone(),
        nonce_keys: NonceKeys::new(&keys.secrets().collect::<Vec<_>>()),
        credentials: Arc::new(Verifier::new(&keys)),
        policy: PeerPolicy::new(&policy_options(config, own_addresses), live),
        lifetimes: Lifetimes {
            default_secs: DEFAULT_LIFETIME_SECS.min(edge.auth.allocation_lifetime_max_secs),
            allocation_max_secs: edge.auth.allocation_lifetime_max_secs,
            token_max_secs: edge.auth.token_lifetime_max_secs.into(),
        },
        quotas: Quotas {
            allocations_per_identity: edge.auth.allocations_per_identity,
            allocations_max: edge.auth.allocations_max,
        },
        worker_networks: edge.limits.worker_networks.clone(),
        features: Features {
            tcp_allocations: edge.relay.tcp,
            mobility: edge.mobility,
            nat_discovery: edge.nat_discovery.as_ref().map(|discovery| NatDiscovery {
                primary: advertised(edge, discovery.primary),
                alternate: advertised(edge, SocketAddr::new(discovery.alternate_address, discovery.alternate_port)),
            }),
            software: Some(concat!("Postern ", env!("CARGO_PKG_VERSION")).to_owned()),
        },
        alternates: edge
            .drain
            .alternate
            .iter()
            .map(|other| Alternate { address: other.address, domain: other.domain.clone() })
            .collect(),
    })
}

/// The secrets as keys, in file order.
///
/// # Errors
/// As [`options`].
pub(crate) fn key_ring(edge: &EdgeConfig) -> Result<KeyRing, KeyError> {
    let secrets = edge.auth.secrets.iter().map(|secret| Secret::new(&secret.id, secret.value.expose()));
    KeyRing::new(secrets.collect::<Result<Vec<_>, _>>()?)
}

fn policy_options(config: &Config, own_addresses: &[IpAddr]) -> PolicyOptions {
    let edge = &config.edge;
    let listeners = [&edge.udp, &edge.tcp, &edge.tls, &edge.dtls].into_iter().flatten().copied();
    PolicyOptions {
        allow_peers: edge.relay.allow_peers.clone(),
        deny_peers: edge.relay.deny_peers.clone(),
        own_addresses: own_addresses.to_vec(),
        listeners: listeners.chain(discovery_listeners(edge)).collect(),
        services: [config.telemetry.listen]
            .into_iter()
            .chain(edge.tokens.as_ref().map(|tokens| tokens.listen))
            .collect(),
        relay_addresses: edge.relay.addresses.clone(),
        advertise: edge.advertise.iter().map(|(&local, &public)| (local, public)).collect(),
    }
}

/// The three further listeners of NAT behaviour discovery (RFC 5780): other address, other port, both other.
pub(crate) fn discovery_listeners(edge: &EdgeConfig) -> Vec<SocketAddr> {
    let Some(discovery) = &edge.nat_discovery else { return Vec::new() };
    let (primary, address, port) = (discovery.primary, discovery.alternate_address, discovery.alternate_port);
    vec![SocketAddr::new(address, primary.port()), SocketAddr::new(primary.ip(), port), SocketAddr::new(address, port)]
}

fn advertised(edge: &EdgeConfig, local: SocketAddr) -> SocketAddr {
    SocketAddr::new(edge.advertise.get(&local.ip()).copied().unwrap_or(local.ip()), local.port())
}

/// TLS 1.2 and 1.3 as rustls has them, no client certificates asked for.
///
/// # Errors
/// A key that does not fit its certificate; the configuration's own checks leave none.
pub(crate) fn tls_config(material: &CertifiedKeyMaterial) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(material.chain.clone(), material.key.clone_key())?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
