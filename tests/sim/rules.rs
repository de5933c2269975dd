//! What the operator has set: read by the server as options, and by the model as the law.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use postern_token::{Claims, Credentials, Issuer, KeyRing, Secret, Token, Verifier};
use postern_turn::broker::PoolOptions;
use postern_turn::live_ports::LivePorts;
use postern_turn::nonce::NonceKeys;
use postern_turn::options::{Alternate, Features, Lifetimes, Options, Quotas};
use postern_turn::policy::{PeerPolicy, PolicyOptions};

pub const REALM: &str = "sim.test";

/// One generation of settings.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Ids and values; the first issues.
    pub secrets: Vec<(String, String)>,
    pub allow_peers: Vec<IpNet>,
    pub deny_peers: Vec<IpNet>,
    /// Local addresses that clients reach us at.
    pub listeners: Vec<SocketAddr>,
    pub relays: Vec<IpAddr>,
    /// Local and public.
    pub advertise: Vec<(IpAddr, IpAddr)>,
    pub ports: RangeInclusive<u16>,
    pub lifetimes: Lifetimes,
    pub quotas: Quotas,
    pub mobility: bool,
    pub alternates: Vec<SocketAddr>,
}

impl Rules {
    pub fn pool(&self) -> PoolOptions {
        PoolOptions { addresses: self.relays.clone(), ports: self.ports.clone() }
    }

    pub fn issuer(&self) -> Issuer {
        Issuer::new(&self.ring())
    }

    /// `credentials` stands between the server and the verifier of tokens.
    pub fn options(&self, live: LivePorts, credentials: impl FnOnce(Verifier) -> Arc<dyn Credentials>) -> Arc<Options> {
        let ring = self.ring();
        let secrets: Vec<&[u8]> = ring.secrets().collect();
        let policy = PolicyOptions {
            allow_peers: self.allow_peers.clone(),
            deny_peers: self.deny_peers.clone(),
            listeners: self.listeners.clone(),
            relay_addresses: self.relays.clone(),
            advertise: self.advertise.clone(),
            ..PolicyOptions::default()
        };
        Arc::new(Options {
            realm: REALM.to_owned(),
            credentials: credentials(Verifier::new(&ring)),
            nonce_keys: NonceKeys::new(&secrets),
            policy: PeerPolicy::new(&policy, live),
            lifetimes: self.lifetimes,
            quotas: self.quotas,
            worker_networks: Vec::new(),
            features: Features { mobility: self.mobility, software: Some("sim".into()), ..Features::default() },
            alternates: self.alternates.iter().map(|&address| Alternate { address, domain: None }).collect(),
        })
    }

    /// What the world calls a local address.
    pub fn outside(&self, local: SocketAddr) -> SocketAddr {
        let pair = self.advertise.iter().find(|pair| pair.0 == local.ip());
        SocketAddr::new(pair.map_or(local.ip(), |pair| pair.1), local.port())
    }

    /// What we call a public address.
    pub fn inside(&self, public: SocketAddr) -> SocketAddr {
        let pair = self.advertise.iter().find(|pair| pair.1 == public.ip());
        SocketAddr::new(pair.map_or(public.ip(), |pair| pair.0), public.port())
    }

    fn ring(&self) -> KeyRing {
        let secret = |(id, value): &(String, String)| Secret::new(id.clone(), value.clone()).expect("a long secret");
        KeyRing::new(self.secrets.iter().map(secret).collect()).expect("secrets with different ids")
    }
}

/// A credential as it was issued, with all that it says.
#[derive(Clone, Debug)]
pub struct Issued {
    pub username: Vec<u8>,
    pub password: Vec<u8>,
    pub key_id: String,
    pub expires_unix_secs: u64,
    /// `None` counts by address.
    pub identity: Option<String>,
    pub extended: bool,
    pub call_id: Option<String>,
    pub peers: Option<Vec<IpNet>>,
    pub bitrate_bps: Option<u64>,
    pub allocations: Option<u32>,
}

impl Issued {
    pub fn classic(rules: &Rules, identity: Option<&str>, expires_unix_secs: u64) -> Self {
        let token = rules.issuer().issue_classic(identity, expires_unix_secs).expect("a plain identity");
        Self::of(&token, identity)
    }

    pub fn extended(rules: &Rules, claims: &Claims) -> Self {
        let token = rules.issuer().issue_extended(claims).expect("short claims");
        Self {
            extended: true,
            call_id: claims.call_id.clone(),
            peers: claims.peers.clone(),
            bitrate_bps: claims.bitrate_bps,
            allocations: claims.allocations,
            ..Self::of(&token, Some(&claims.identity))
        }
    }

    fn of(token: &Token, identity: Option<&str>) -> Self {
        Self {
            username: token.username.clone().into_bytes(),
            password: token.password().as_bytes().to_vec(),
            key_id: token.key_id.clone(),
            expires_unix_secs: token.expires_unix_secs,
            identity: identity.map(str::to_owned),
            extended: false,
            call_id: None,
            peers: None,
            bitrate_bps: None,
            allocations: None,
        }
    }
}
