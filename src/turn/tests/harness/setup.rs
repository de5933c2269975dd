//! The settings of a pretended edge.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use postern_token::{Credentials, Grant, Identity, KEYS_MAX, KeyRing, Password, Refused, Secret, Verifier};
use postern_turn::broker::PoolOptions;
use postern_turn::integrity::userhash;
use postern_turn::live_ports::LivePorts;
use postern_turn::nonce::NonceKeys;
use postern_turn::options::{Alternate, Features, Lifetimes, Options, Quotas};
use postern_turn::policy::{PeerPolicy, PolicyOptions};

use super::endpoint::REALM;

pub fn edge_v4() -> SocketAddr {
    "203.0.113.10:3478".parse().unwrap()
}

pub fn edge_v6() -> SocketAddr {
    "[2001:db8:10::10]:3478".parse().unwrap()
}

/// What a test may change before the server is born, and at a reload.
pub struct Setup {
    /// Ids and values; the first issues.
    pub secrets: Vec<(String, String)>,
    pub policy: PolicyOptions,
    pub lifetimes: Lifetimes,
    pub quotas: Quotas,
    pub worker_networks: Vec<IpNet>,
    pub features: Features,
    pub alternates: Vec<Alternate>,
    pub ports: RangeInclusive<u16>,
    /// Instead of the verifier of tokens.
    pub credentials: Option<Arc<dyn Credentials>>,
}

impl Default for Setup {
    fn default() -> Self {
        let relay_addresses: Vec<IpAddr> = vec![edge_v4().ip(), edge_v6().ip()];
        Self {
            secrets: vec![("k1".into(), "a secret of sixteen".into())],
            policy: PolicyOptions {
                listeners: vec![edge_v4(), edge_v6()],
                relay_addresses,
                ..PolicyOptions::default()
            },
            lifetimes: Lifetimes::default(),
            quotas: Quotas::default(),
            worker_networks: Vec::new(),
            features: Features::default(),
            alternates: Vec::new(),
            ports: 50_000..=50_999,
            credentials: None,
        }
    }
}

impl Setup {
    pub fn pool(&self) -> PoolOptions {
        PoolOptions { addresses: self.policy.relay_addresses.clone(), ports: self.ports.clone() }
    }

    pub fn ring(&self) -> KeyRing {
        let secret = |(id, value): &(String, String)| Secret::new(id.clone(), value.clone()).unwrap();
        KeyRing::new(self.secrets.iter().map(secret).collect()).unwrap()
    }

    pub fn options(&self, live: LivePorts) -> Arc<Options> {
        let ring = self.ring();
        let secrets: Vec<&[u8]> = ring.secrets().collect();
        Arc::new(Options {
            realm: REALM.to_owned(),
            credentials: self.credentials.clone().unwrap_or_else(|| Arc::new(Verifier::new(&ring))),
            nonce_keys: NonceKeys::new(&secrets),
            policy: PeerPolicy::new(&self.policy, live),
            lifetimes: self.lifetimes,
            quotas: self.quotas,
            worker_networks: self.worker_networks.clone(),
            features: self.features.clone(),
            alternates: self.alternates.clone(),
        })
    }
}

/// Knows one user by name and by hash, as a directory of people would.
pub struct FixedUser {
    pub username: String,
    pub password: String,
}

impl Credentials for FixedUser {
    fn candidates(&self) -> usize {
        1
    }

    fn passwords(&self, username: &[u8], out: &mut [Option<Password>; KEYS_MAX]) {
        let known = username == self.username.as_bytes();
        out[0] = Password::new(if known { self.password.as_bytes() } else { b"nobody knows this one" });
    }

    fn grant(&self, username: &[u8], index: usize, _now_unix_secs: u64) -> Result<Grant, Refused> {
        if username != self.username.as_bytes() || index != 0 {
            return Err(Refused::Malformed);
        }
        Ok(Grant {
            identity: Identity::Name(self.username.clone()),
            expires_unix_secs: u64::MAX,
            key_id: "directory".into(),
            call_id: None,
            peers: None,
            bitrate_bps: None,
            allocations_max: None,
            extended: false,
        })
    }

    fn finds_by_hash(&self) -> bool {
        true
    }

    fn username_by_hash(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        let own = userhash(self.username.as_bytes(), REALM.as_bytes());
        (own == *hash).then(|| self.username.clone().into_bytes())
    }
}
