//! Judges usernames: implements [`Credentials`] for a ring of secrets, in equal time for all names.

use crate::claims::Claims;
use crate::credentials::{Credentials, Grant, Identity, KEYS_MAX, Password, Refused};
use crate::form::Form;
use crate::keys::KeyRing;
use crate::mac::{LABEL_EXTENDED, LABEL_UNKNOWABLE, PasswordKey};

/// Verifies classic and extended tokens with every secret of a ring.
///
/// # Time
/// For every username, [`passwords`](Credentials::passwords) does one pass over its bytes to tell its form, then
/// exactly one HMAC-SHA1 over all of it per secret: under the secret itself for the classic form, under the derived
/// key for an extended one that names this secret, under the unknowable key for everything else. What differs is only
/// which ready-made key state is copied. So neither a well-formed name, nor a known key id, nor the claims (decoded in
/// [`grant`](Credentials::grant), after integrity) can be told from the time; what remains depends on the username's
/// length, which its sender knows.
///
/// # Forms do not mix
/// A username beginning with a digit is classic, with `p1.` extended. For `p1...` an issuer of classic tokens makes
/// HMAC-SHA1(secret, username) at best, whatever identity or even whole username its users pick, and that is the
/// password of no extended token, since their key is another.
pub struct Verifier {
    keys: Vec<VerifyingKey>,
}

struct VerifyingKey {
    id: String,
    classic: PasswordKey,
    extended: PasswordKey,
    unknowable: PasswordKey,
}

impl Verifier {
    pub fn new(ring: &KeyRing) -> Self {
        let keys = ring.iter().map(|secret| VerifyingKey {
            id: secret.id().to_owned(),
            classic: PasswordKey::new(secret.value()),
            extended: PasswordKey::derived(secret.value(), LABEL_EXTENDED),
            unknowable: PasswordKey::derived(secret.value(), LABEL_UNKNOWABLE),
        });
        Self { keys: keys.collect() }
    }

    /// Ids of the secrets, in key order.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }
}

impl Credentials for Verifier {
    fn candidates(&self) -> usize {
        self.keys.len()
    }

    fn passwords(&self, username: &[u8], out: &mut [Option<Password>; KEYS_MAX]) {
        let form = Form::parse(username);
        out.fill(None);
        for (key, slot) in self.keys.iter().zip(out) {
            let chosen = match form {
                Ok(Form::Classic { .. }) => &key.classic,
                Ok(Form::Extended { key_id, .. }) if key_id == key.id => &key.extended,
                Ok(Form::Extended { .. }) | Err(_) => &key.unknowable,
            };
            *slot = Password::new(chosen.password(username).as_slice());
        }
    }

    fn grant(&self, username: &[u8], index: usize, now_unix_secs: u64) -> Result<Grant, Refused> {
        let key = self.keys.get(index).ok_or(Refused::Malformed)?;
        let grant = match Form::parse(username).map_err(|_| Refused::Malformed)? {
            Form::Classic { expires_unix_secs, identity } => classic_grant(&key.id, expires_unix_secs, identity),
            Form::Extended { key_id, claims } if key_id == key.id => {
                extended_grant(&key.id, Claims::decode(claims).map_err(|_| Refused::Malformed)?)
            }
            Form::Extended { .. } => return Err(Refused::Malformed),
        };
        if now_unix_secs >= grant.expires_unix_secs { Err(Refused::Expired) } else { Ok(grant) }
    }
}

fn classic_grant(key_id: &str, expires_unix_secs: u64, identity: Option<&str>) -> Grant {
    Grant {
        identity: identity.map_or(Identity::ClientAddress, |name| Identity::Name(name.to_owned())),
        expires_unix_secs,
        key_id: key_id.to_owned(),
        call_id: None,
        peers: None,
        bitrate_bps: None,
        allocations_max: None,
        extended: false,
    }
}

fn extended_grant(key_id: &str, claims: Claims) -> Grant {
    Grant {
        identity: Identity::Name(claims.identity),
        expires_unix_secs: claims.expires_unix_secs,
        key_id: key_id.to_owned(),
        call_id: claims.call_id,
        peers: claims.peers,
        bitrate_bps: claims.bitrate_bps,
        allocations_max: claims.allocations,
        extended: true,
    }
}
