//! The configuration as the cores want it; the only place that turns one into the other.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use postern_config::{Config, DialPlanConfig, GatewayStatus, Security, SipIdentity, UmConfig};
use postern_sip::Target;
use postern_sip::announcer::{AnnounceTarget, AnnouncerOptions};
use postern_sip::digest::Credentials;
use postern_sip::host::Host;
use postern_sip::message_summary::{CONTENT_TYPE, PACKAGE};
use postern_sip::options::EndpointOptions;
use postern_slots::Options;
use postern_transport::{ClientCertificates, Listening, TlsIdentity};

use crate::desk::Desk;
use crate::error::UmError;
use crate::waiting::WaitingOptions;

/// `[um]`.
///
/// # Errors
/// [`UmError::Missing`].
pub(crate) fn section(config: &Config) -> Result<&UmConfig, UmError> {
    config.um.as_ref().ok_or(UmError::Missing)
}

pub(crate) fn desk(config: &Config, own_addresses: &[IpAddr]) -> Result<Desk, UmError> {
    let um = section(config)?;
    Ok(Desk {
        rules: config.call_rules(&um.routers, &reached(um, own_addresses), um.identity.as_ref())?,
        seals: config.seals(),
        retry_after_secs: um.retry_after_secs,
    })
}

pub(crate) fn supervision(config: &Config) -> Result<Options, UmError> {
    let um = section(config)?;
    let recycle = &um.recycle;
    let positive = |number: u32| Some(u64::from(number)).filter(|number| *number > 0);
    Ok(Options {
        calls_max: um.max_calls,
        longest_call: config.dial_plans.iter().map(DialPlanConfig::longest_call).max().unwrap_or_default(),
        recycle_age: positive(recycle.age_secs).map(Duration::from_secs),
        recycle_memory_bytes: positive(recycle.memory_mib).map(|mib| mib << 20),
        recycle_interval: Duration::from_secs(recycle.interval_secs_min.into()),
    })
}

pub(crate) fn listening(um: &UmConfig) -> Listening {
    Listening { tcp: um.tcp.clone(), tls: um.tls.clone(), udp: Vec::new() }
}

/// Who is told of messages that wait: gateways with a target, over TLS where their plan demands it.
pub(crate) fn waiting(config: &Config, own_addresses: &[IpAddr]) -> Result<WaitingOptions, UmError> {
    let um = section(config)?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for socket in reached(um, own_addresses) {
        if !addresses.contains(&socket.ip()) {
            addresses.push(socket.ip());
        }
    }
    let named = um.identity.as_ref().and_then(|identity| Host::parse(&identity.host));
    let first = addresses.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let told = config.gateways.iter().filter(|gateway| gateway.mwi && gateway.status != GatewayStatus::Disabled);
    let targets = told.filter_map(|gateway| {
        let target = Target::new(gateway.target.as_ref()?.uri()?);
        let plan = config.dial_plans.iter().find(|plan| plan.name == gateway.dial_plan)?;
        Some(AnnounceTarget {
            name: gateway.peer.to_string(),
            group: plan.name.clone(),
            target: if plan.security == Security::Unsecured { target } else { target.secured() },
            credentials: gateway
                .credentials
                .as_ref()
                .and_then(|known| Credentials::new(&known.username, known.password.expose()).map(Arc::new)),
        })
    });
    Ok(WaitingOptions {
        targets: targets.collect(),
        announcer: AnnouncerOptions { package: PACKAGE, content_type: CONTENT_TYPE, addresses },
        host: named.unwrap_or(Host::from(first)),
        retry_after_secs: um.retry_after_secs,
    })
}

/// Sockets by which others reach us: a wildcard listener stands for every address of its family.
fn reached(um: &UmConfig, own_addresses: &[IpAddr]) -> Vec<SocketAddr> {
    let each = |listener: &SocketAddr| -> Vec<SocketAddr> {
        if !listener.ip().is_unspecified() {
            return vec![*listener];
        }
        let same_family = own_addresses.iter().filter(|own| own.is_ipv4() == listener.is_ipv4());
        same_family.map(|own| SocketAddr::new(*own, listener.port())).collect()
    };
    um.tcp.iter().chain(&um.tls).flat_map(each).collect()
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

pub(crate) fn endpoint(config: &Config, um: &UmConfig) -> EndpointOptions {
    EndpointOptions {
        host: um.identity.as_ref().and_then(|identity| Host::parse(&identity.host)),
        tcp_port: um.tcp.first().map(SocketAddr::port),
        tls_port: um.tls.first().map(SocketAddr::port),
        message_bytes_max: config.sip.message_bytes_max as usize,
        connections_max: config.sip.connections_max as usize,
        connections_per_source_max: config.sip.connections_per_source_max as usize,
        ..EndpointOptions::default()
    }
}
