//! The long-term mechanism from the client's side (RFC 8489 section 9.2): what a challenge taught, and how requests are
//! signed with it.

use std::borrow::Cow;

use crate::attribute::{Attribute, AttributeType, PasswordAlgorithms};
use crate::client_io::{ClientCredentials, IntegrityWish};
use crate::integrity::{IntegrityAlgorithm, IntegrityKey, PasswordAlgorithm};
use crate::message::{Message, MessageWriter};
use crate::nonce::{self, Features};
use crate::opaque_string;

/// Realm, nonce and key for the requests to come.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    /// The list as it came, to be shown to the server: a changed one is noticed there (bid-down).
    algorithms: Option<Vec<u8>>,
    algorithm: PasswordAlgorithm,
    username: Vec<u8>,
    signature: Signature,
}

/// How a request was signed: its answer must be signed alike.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) algorithm: IntegrityAlgorithm,
    pub(crate) key: IntegrityKey,
}

impl Signature {
    /// Whether a message carries our kind of integrity, and it is right.
    pub(crate) fn matches(&self, message: &Message<'_>) -> bool {
        message.integrity_by(self.algorithm).is_some_and(|integrity| integrity.matches(&self.key))
    }
}

/// The nonce says that algorithms are offered and the list is missing, or we know none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAlgorithm;

impl Session {
    /// Whether a challenge has REALM and NONCE.
    pub(crate) fn can_learn(challenge: &Message<'_>) -> bool {
        challenged(challenge).is_some()
    }

    /// What a 401 or 438 teaches.
    ///
    /// # Errors
    /// [`NoAlgorithm`]; the server's fault, or of somebody between.
    pub(crate) fn learn(
        challenge: &Message<'_>,
        credentials: &ClientCredentials,
        wish: IntegrityWish,
    ) -> Result<Self, NoAlgorithm> {
        let (realm, nonce) = challenged(challenge).unwrap_or_default();
        let list = match challenge.find(AttributeType::PASSWORD_ALGORITHMS) {
            Ok(Some(Attribute::PasswordAlgorithms(list))) => Some(list),
            Ok(_) => None,
            Err(_) => return Err(NoAlgorithm),
        };
        let offers = nonce::features(nonce).is_some_and(|features| features.contains(Features::PASSWORD_ALGORITHMS));
        // RFC 8489 section 9.2.5: a bit without its list means that somebody took the list away.
        let (algorithms, algorithm) = match list {
            Some(list) if offers && wish == IntegrityWish::Offered => {
                (Some(list.0.to_vec()), choose(list).ok_or(NoAlgorithm)?)
            }
            None if offers => return Err(NoAlgorithm),
            _ => (None, PasswordAlgorithm::Md5),
        };
        let mut session = Self {
            realm: realm.to_vec(),
            nonce: nonce.to_vec(),
            algorithms,
            algorithm,
            username: Vec::new(),
            signature: Signature { algorithm: IntegrityAlgorithm::Sha1, key: IntegrityKey::short_term(b"") },
        };
        session.use_credentials(credentials);
        Ok(session)
    }

    /// Signs with these from the next request on.
    pub(crate) fn use_credentials(&mut self, credentials: &ClientCredentials) {
        self.username = prepared(&credentials.username).into_owned();
        let key = IntegrityKey::long_term(
            self.algorithm,
            &self.username,
            &prepared(&self.realm),
            &prepared(&credentials.password),
        );
        let algorithm = match self.algorithms {
            Some(_) => IntegrityAlgorithm::Sha256,
            None => IntegrityAlgorithm::Sha1,
        };
        self.signature = Signature { algorithm, key };
    }

    /// Whether a request signed so went by the present credentials.
    pub(crate) fn signs_like(&self, signature: &Signature) -> bool {
        self.signature.key.as_bytes() == signature.key.as_bytes()
    }

    /// Adds credentials and integrity to a request whose other attributes are written.
    pub(crate) fn sign(&self, writer: &mut MessageWriter<'_>) -> Signature {
        writer.attribute(&Attribute::Username(&self.username));
        writer.attribute(&Attribute::Realm(&self.realm));
        writer.attribute(&Attribute::Nonce(&self.nonce));
        if let Some(list) = &self.algorithms {
            writer.attribute(&Attribute::PasswordAlgorithms(PasswordAlgorithms(list)));
            writer.attribute(&self.algorithm.into());
        }
        writer.integrity(self.signature.algorithm, &self.signature.key);
        self.signature.clone()
    }
}

/// REALM and NONCE.
fn challenged<'a>(challenge: &Message<'a>) -> Option<(&'a [u8], &'a [u8])> {
    match (challenge.find(AttributeType::REALM), challenge.find(AttributeType::NONCE)) {
        (Ok(Some(Attribute::Realm(realm))), Ok(Some(Attribute::Nonce(nonce)))) => Some((realm, nonce)),
        _ => None,
    }
}

/// As the OpaqueString profile wants it; bytes that are no text go as they are.
fn prepared(bytes: &[u8]) -> Cow<'_, [u8]> {
    match opaque_string::enforce(bytes) {
        Ok(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        Ok(Cow::Borrowed(_)) | Err(_) => Cow::Borrowed(bytes),
    }
}

/// The server's first choice among those that we know (RFC 8489 section 9.2.5).
fn choose(list: PasswordAlgorithms<'_>) -> Option<PasswordAlgorithm> {
    list.iter()
        .filter(|(_, parameters)| parameters.is_empty())
        .find_map(|(number, _)| PasswordAlgorithm::from_number(number))
}
