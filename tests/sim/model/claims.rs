//! Who sent a request, as the one who issued all tokens and saw all nonces knows it.

use std::net::IpAddr;

use postern_turn::io::{Client, Now, QuotaKey};
use postern_turn::request::Request;

use super::answers::{Answer, algorithm};
use super::ledger::{Model, Nonce};
use super::violation::{Rule, Violation};
use crate::clock::SECOND;
use crate::rules::{Issued, REALM};

const NONCE_LIFE_SECS: u64 = 600;
const NONCE_SKEW_SECS: u64 = 30;
const STRANGERS_PER_SECOND: usize = 20;

impl Model {
    /// The credential that the request proves to know, if it is good for anything now.
    pub(super) fn sender(&self, now: Now, client: &Client, request: &Request<'_>) -> Option<usize> {
        let (integrity, username) = (request.integrity?, request.username?);
        let algorithm = algorithm(request)?;
        if request.realm? != REALM.as_bytes() || !self.is_fresh(now, client, request.nonce?) {
            return None;
        }
        let holds = |(_, issued): &(usize, &Issued)| {
            issued.username == username
                && now.unix_secs < issued.expires_unix_secs
                && self.rules.secrets.iter().any(|(id, _)| *id == issued.key_id)
        };
        let candidates = self.issued.iter().enumerate().filter(holds);
        candidates.map(|(token, _)| token).find(|token| integrity.matches(&self.key(*token, algorithm)))
    }

    fn is_fresh(&self, now: Now, client: &Client, nonce: &[u8]) -> bool {
        self.nonces.get(nonce).is_some_and(|seen| {
            self.is_for(seen, client)
                && now.unix_secs < seen.issued_unix_secs + NONCE_LIFE_SECS
                && seen.issued_unix_secs <= now.unix_secs + NONCE_SKEW_SECS
        })
    }

    fn is_for(&self, nonce: &Nonce, client: &Client) -> bool {
        nonce.transport == client.transport
            && nonce.remote == client.remote
            && self.rules.secrets.iter().any(|(_, value)| *value == nonce.secret)
    }

    /// An answer to somebody who has not authenticated: it grants nothing, and there are not too many.
    pub(super) fn check_challenge(
        &mut self,
        now: Now,
        client: &Client,
        request: &Request<'_>,
        answer: &Answer<'_>,
    ) -> Result<(), Violation> {
        let code = answer.code();
        Rule::Authentication.holds(!answer.is_signed() && matches!(code, Some(400 | 401 | 438)), || {
            format!("a stranger at {} got {code:?}", client.remote)
        })?;
        self.tally.challenged += 1;
        let familiar = request.nonce.and_then(|nonce| self.nonces.get(nonce));
        let familiar = code == Some(438) && familiar.is_some_and(|nonce| self.is_for(nonce, client));
        if let Some(nonce) = answer.nonce() {
            let secret = self.rules.secrets[0].1.clone();
            let seen =
                Nonce { transport: client.transport, remote: client.remote, issued_unix_secs: now.unix_secs, secret };
            self.nonces.insert(nonce, seen);
        }
        if familiar { Ok(()) } else { self.count_stranger(now.mono_nanos, client) }
    }

    pub(super) fn count_stranger(&mut self, now: u64, client: &Client) -> Result<(), Violation> {
        let answered = self.strangers.entry((source(client.remote.ip()), client.transport.is_stream())).or_default();
        answered.push_back(now);
        while answered.front().is_some_and(|at| at + SECOND <= now) {
            answered.pop_front();
        }
        let count = answered.len();
        Rule::Limit.holds(count <= STRANGERS_PER_SECOND, || format!("{count} answers in a second to a stranger"))
    }

    /// Whom an allocation by this credential counts against.
    pub(super) fn quota_key(&self, token: usize, client: &Client) -> QuotaKey {
        match &self.issued[token].identity {
            Some(name) => QuotaKey::Identity(name.clone()),
            None => QuotaKey::Address(source(client.remote.ip())),
        }
    }

    /// How many allocations it may hold; 0 is any number.
    pub(super) fn quota_max(&self, token: usize) -> u32 {
        let quotas = self.rules.quotas;
        match self.issued[token].allocations {
            None => quotas.allocations_per_identity,
            Some(own) if quotas.allocations_max == 0 => own,
            Some(own) => own.min(quotas.allocations_max),
        }
    }

    /// How long the credential is good from now on, in seconds.
    pub(super) fn valid_secs(&self, now: Now, token: usize) -> u64 {
        let left = self.issued[token].expires_unix_secs.saturating_sub(now.unix_secs);
        left.min(self.rules.lifetimes.token_max_secs)
    }

    /// Whether who holds `token` may act on what was made with `owner`: the same name, or a newer extended token for the
    /// same identity and call by the same key.
    pub(super) fn may_act(&self, token: usize, owner: usize) -> bool {
        self.issued[token].username == self.issued[owner].username || self.succeeds(token, owner)
    }

    pub(super) fn succeeds(&self, token: usize, owner: usize) -> bool {
        let (new, old) = (&self.issued[token], &self.issued[owner]);
        new.extended
            && old.extended
            && new.identity == old.identity
            && new.key_id == old.key_id
            && new.call_id == old.call_id
            && new.expires_unix_secs > old.expires_unix_secs
    }
}

/// One source: an IPv4 address or a /64.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}
