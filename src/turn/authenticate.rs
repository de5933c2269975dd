//! Who sent a request: the long-term credential mechanism from the server's side (RFC 8489 section 9.2.4).

use std::net::IpAddr;

use postern_token::{Grant, Identity, KEYS_MAX};

use crate::attribute::PasswordAlgorithms;
use crate::error_code::ErrorCode;
use crate::integrity::{Integrity, IntegrityKey, PasswordAlgorithm};
use crate::io::{Client, Now, QuotaKey};
use crate::nonce::{self, Features, NonceVerdict, StaleReason};
use crate::opaque_string;
use crate::options::Options;
use crate::request::Request;

/// Somebody who has proven to know a password.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Prepared.
    pub(crate) username: Vec<u8>,
    pub(crate) algorithm: PasswordAlgorithm,
    pub(crate) key: IntegrityKey,
    pub(crate) grant: Grant,
    /// Generation of options under which the key was found.
    pub(crate) generation: u64,
}

impl Session {
    /// Whom a mobility ticket is bound to: the name, since the username changes with each token.
    pub(crate) fn holder(&self) -> &[u8] {
        match &self.grant.identity {
            Identity::Name(name) => name.as_bytes(),
            Identity::ClientAddress => &self.username,
        }
    }

    /// Whom the quota counts; a token that names nobody counts by /32 or /64 of the client.
    pub(crate) fn quota_key(&self, client: &Client) -> QuotaKey {
        match &self.grant.identity {
            Identity::Name(name) => QuotaKey::Identity(name.clone()),
            Identity::ClientAddress => QuotaKey::Address(prefix(client.remote.ip())),
        }
    }

    /// Whether a request by `self` may touch what `owner` made: the same user, or an extended token of the same key,
    /// identity and call with a later expiry. The latter departs from RFC 8656 section 5, which knows the same user
    /// only.
    pub(crate) fn may_act_for(&self, owner: &Session) -> bool {
        self.username == owner.username || self.succeeds(owner)
    }

    pub(crate) fn succeeds(&self, owner: &Session) -> bool {
        let (new, old) = (&self.grant, &owner.grant);
        new.extended
            && old.extended
            && new.key_id == old.key_id
            && new.identity == old.identity
            && new.call_id == old.call_id
            && new.expires_unix_secs > old.expires_unix_secs
    }
}

fn prefix(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (u128::MAX << 64)).into()),
    }
}

/// Why a request is not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// 400, with nothing to authenticate by.
    Malformed,
    /// 401 with REALM and NONCE: no, wrong, unknown or expired credentials all look alike.
    Unauthenticated,
    /// 438 with REALM and NONCE. `familiar`: the nonce was made for this very client, it is just old.
    Stale { familiar: bool },
}

impl Challenge {
    pub(crate) fn code(self) -> ErrorCode {
        match self {
            Self::Malformed => ErrorCode::BAD_REQUEST,
            Self::Unauthenticated => ErrorCode::UNAUTHENTICATED,
            Self::Stale { .. } => ErrorCode::STALE_NONCE,
        }
    }
}

/// Feature bits of the nonces that we issue.
pub(crate) fn nonce_features(options: &Options) -> Features {
    let features = Features::PASSWORD_ALGORITHMS;
    if options.credentials.finds_by_hash() { features.with(Features::USERNAME_ANONYMITY) } else { features }
}

/// Judges a request in the order of RFC 8489 section 9.2.4. `known` is the session that the 5-tuple's allocation was
/// made with: when it fits, one HMAC is enough. `control` is the control connection of a data connection that is to be
/// bound: its nonce serves as well.
///
/// # Errors
/// [`Challenge`]: the sender's fault; nothing was kept.
pub(crate) fn authenticate(
    options: &Options,
    generation: u64,
    now: Now,
    client: &Client,
    request: &Request<'_>,
    known: Option<&Session>,
    control: Option<&Client>,
) -> Result<Session, Challenge> {
    let integrity = request.integrity.ok_or(Challenge::Unauthenticated)?;
    let (Some(realm), Some(nonce)) = (request.realm, request.nonce) else { return Err(Challenge::Malformed) };
    let claimant = Claimant::of(options, request, nonce).ok_or(Challenge::Malformed)?;
    let algorithm = password_algorithm(request, nonce)?;
    let realm_fits = opaque_string::enforce(realm).is_ok_and(|realm| *realm == *options.realm);

    let known = known.filter(|known| {
        known.generation == generation && known.username == claimant.name && known.algorithm == algorithm
    });
    let found = match known {
        Some(known) if integrity.matches(&known.key) => Ok(known.clone()),
        _ => find_key(options, generation, now, &claimant, algorithm, &integrity),
    };
    let session = found.ok().filter(|_| claimant.exists && realm_fits).ok_or(Challenge::Unauthenticated)?;
    // The credential first: a new nonce would not help one that has expired.
    if now.unix_secs >= session.grant.expires_unix_secs {
        return Err(Challenge::Unauthenticated);
    }
    let verify = |client: &Client| options.nonce_keys.verify(nonce, now.unix_secs, client.transport, client.remote);
    match verify(client) {
        NonceVerdict::Fresh(_) => Ok(session),
        NonceVerdict::Stale(_) if control.is_some_and(|control| matches!(verify(control), NonceVerdict::Fresh(_))) => {
            Ok(session)
        }
        NonceVerdict::Stale(reason) => Err(Challenge::Stale { familiar: reason == StaleReason::Expired }),
    }
}

/// The name that a request goes by, whether or not anybody has it.
struct Claimant {
    /// Prepared; as received where it cannot be, for work that takes as long.
    name: Vec<u8>,
    /// False when nobody can have this name.
    exists: bool,
}

impl Claimant {
    /// `None` when the request names nobody in a way that its nonce allows.
    fn of(options: &Options, request: &Request<'_>, nonce: &[u8]) -> Option<Self> {
        if let Some(username) = request.username {
            return Some(match opaque_string::enforce(username) {
                Ok(prepared) => Self { name: prepared.as_bytes().to_vec(), exists: true },
                Err(_) => Self { name: username.to_vec(), exists: false },
            });
        }
        let hash = request.userhash?;
        let offered = nonce::features(nonce).is_some_and(|features| features.contains(Features::USERNAME_ANONYMITY));
        if !offered || !options.credentials.finds_by_hash() {
            return None;
        }
        Some(match options.credentials.username_by_hash(hash) {
            Some(name) => Self { name, exists: true },
            None => Self { name: hash.to_vec(), exists: false },
        })
    }
}

/// Which hash makes the key, with the protection against bidding down: what the client says it was offered must be what
/// we offer, and its choice one of that.
fn password_algorithm(request: &Request<'_>, nonce: &[u8]) -> Result<PasswordAlgorithm, Challenge> {
    let offered = nonce::features(nonce).is_some_and(|features| features.contains(Features::PASSWORD_ALGORITHMS));
    if !offered {
        return Ok(PasswordAlgorithm::Md5);
    }
    match (request.password_algorithm, request.password_algorithms) {
        (None, None) => Ok(PasswordAlgorithm::Md5),
        (Some((number, [])), Some(PasswordAlgorithms::OFFERED)) => {
            PasswordAlgorithm::from_number(number).ok_or(Challenge::Malformed)
        }
        _ => Err(Challenge::Malformed),
    }
}

/// Tries every candidate, whichever matches first, so that neither the user's existence nor the key's place shows in
/// time.
fn find_key(
    options: &Options,
    generation: u64,
    now: Now,
    claimant: &Claimant,
    algorithm: PasswordAlgorithm,
    integrity: &Integrity<'_>,
) -> Result<Session, Challenge> {
    let mut passwords = [const { None }; KEYS_MAX];
    options.credentials.passwords(&claimant.name, &mut passwords);
    let mut found = None;
    for (index, password) in passwords.iter().enumerate().take(options.credentials.candidates()) {
        let bytes = password.as_ref().map_or(&[][..], |password| password.as_bytes());
        let key = IntegrityKey::long_term(algorithm, &claimant.name, options.realm.as_bytes(), bytes);
        let matches = integrity.matches(&key) && password.is_some();
        if matches && found.is_none() {
            found = Some((index, key));
        }
    }
    let (index, key) = found.ok_or(Challenge::Unauthenticated)?;
    let grant =
        options.credentials.grant(&claimant.name, index, now.unix_secs).map_err(|_| Challenge::Unauthenticated)?;
    Ok(Session { username: claimant.name.clone(), algorithm, key, grant, generation })
}

/// Whether the key that `session` was found with is still among those that verify.
pub(crate) fn still_verifies(options: &Options, session: &Session) -> bool {
    let mut passwords = [const { None }; KEYS_MAX];
    options.credentials.passwords(&session.username, &mut passwords);
    passwords.iter().flatten().any(|password| {
        let realm = options.realm.as_bytes();
        let key = IntegrityKey::long_term(session.algorithm, &session.username, realm, password.as_bytes());
        key.as_bytes() == session.key.as_bytes()
    })
}
