//! The configuration's gateways, dial plans and hunt groups as the rules by which router, UM service and worker judge a
//! call. They stand here, and not in each role, so that the three cannot come to differ.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_dialplan as dialplan;
use postern_sip::host::Host;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::sip_target::SipTarget;
use crate::tree::Config;
use crate::tree_call::{
    DialPlanConfig, DiversionOrder, GatewayConfig, GatewayStatus, Peer, Security, SipIdentity, UriType,
};

impl Config {
    /// The rules of a role that accepts `routers` besides the gateways, listens on `listeners` and is named by
    /// `identity`.
    ///
    /// # Errors
    /// A name that leads nowhere; none in a configuration that was loaded.
    pub fn call_rules(
        &self,
        routers: &[Peer],
        listeners: &[SocketAddr],
        identity: Option<&SipIdentity>,
    ) -> Result<dialplan::Rules, dialplan::RulesError> {
        let named = identity.and_then(|identity| Host::parse(&identity.host));
        let bound = listeners.iter().map(|listener| Host::from(listener.ip()));
        dialplan::Rules::new(dialplan::Options {
            gateways: self.gateways.iter().map(gateway).collect(),
            plans: self.dial_plans.iter().map(plan).collect(),
            hunt_groups: self
                .hunt_groups
                .iter()
                .map(|group| dialplan::HuntGroup {
                    gateway: group.gateway.to_string(),
                    pilot: group.pilot.clone(),
                    plan: group.dial_plan.clone(),
                })
                .collect(),
            routers: routers.iter().map(peer).collect(),
            own: bound.chain(named).collect(),
            diversions_max: self.sip.diversions_max,
        })
    }

    /// The keys under which one hop seals its decision for the next.
    pub fn seals(&self) -> dialplan::Seals {
        dialplan::Seals::new(self.sip.contact_secrets.iter().map(|secret| secret.value.expose()))
    }
}

fn peer(peer: &Peer) -> dialplan::Peer {
    match peer {
        Peer::Network(network) => dialplan::Peer::Network(*network),
        Peer::Name(name) => dialplan::Peer::Name(name.clone()),
    }
}

fn gateway(gateway: &GatewayConfig) -> dialplan::Gateway {
    dialplan::Gateway {
        peer: peer(&gateway.peer),
        plan: gateway.dial_plan.clone(),
        status: match gateway.status {
            GatewayStatus::Enabled => dialplan::Status::Enabled,
            GatewayStatus::NoNewCalls => dialplan::Status::NoNewCalls,
            GatewayStatus::Disabled => dialplan::Status::Disabled,
        },
        diversion: match gateway.diversion {
            DiversionOrder::Top => dialplan::DiversionOrder::Top,
            DiversionOrder::Bottom => dialplan::DiversionOrder::Bottom,
        },
        symmetric_rtp: gateway.symmetric_rtp,
        contacts: gateway.contacts,
        target: gateway.target.as_ref().and_then(SipTarget::uri),
        outcalls: gateway.outcalls,
        mwi: gateway.mwi,
    }
}

fn plan(plan: &DialPlanConfig) -> dialplan::Plan {
    dialplan::Plan {
        name: plan.name.clone(),
        uri_type: match plan.uri_type {
            UriType::Extension => dialplan::UriType::Extension,
            UriType::Sip => dialplan::UriType::Sip,
            UriType::E164 => dialplan::UriType::E164,
        },
        security: match plan.security {
            Security::Unsecured => dialplan::Security::Unsecured,
            Security::SipSecured => dialplan::Security::SipSecured,
            Security::Secured => dialplan::Security::Secured,
        },
        pilots: plan.pilots.clone(),
        digits: plan.digits,
        country_code: plan.country_code.clone(),
        national_prefix: plan.national_prefix.clone(),
        international_prefix: plan.international_prefix.clone(),
        domains: plan.domains.clone(),
        allow: plan.allow.clone(),
        operator: plan.operator.clone(),
    }
}

/// An identity as PEM, the form in which transports take it.
pub struct IdentityPem {
    /// The chain, leaf first.
    pub certificate: Vec<u8>,
    pub private_key: Zeroizing<Vec<u8>>,
    pub ca: Vec<u8>,
}

impl SipIdentity {
    /// The identity as it was loaded, whatever its files hold by now.
    pub fn pem(&self) -> IdentityPem {
        let certificates = |ders: &[CertificateDer<'_>]| -> Vec<u8> {
            ders.iter().flat_map(|der| pem("CERTIFICATE", der).to_vec()).collect()
        };
        let key = &self.certificate.material.key;
        let label = match key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        IdentityPem {
            certificate: certificates(&self.certificate.material.chain),
            private_key: pem(label, key.secret_der()),
            ca: certificates(&self.client_ca),
        }
    }
}

/// RFC 7468: 64 characters a line.
fn pem(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(Vec::with_capacity(text.len() + text.len() / 64 + 80));
    pem.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in text.as_bytes().chunks(64) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    pem
}
