//! One token judged for a person: valid, or why not, in words that say what to do.

use std::fmt;

use serde::Serialize;
use subtle::ConstantTimeEq;

use crate::claims::{Claims, ClaimsError};
use crate::credentials::{Credentials, Grant, Identity, KEYS_MAX, Refused};
use crate::form::{Form, FormError};
use crate::verifier::Verifier;

/// What is to be said about a username and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Valid(Grant),
    Invalid(WhyInvalid),
}

/// Why a token is worth nothing here. A server tells no client any of this: there it is 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyInvalid {
    #[error("{0}")]
    Form(FormError),
    #[error("it was made with the secret {key_id:?}, which is not configured here")]
    UnknownKey { key_id: String },
    #[error(
        "the password was not made for this username with any configured secret: issuer and edge hold different secrets, or one of the two was copied wrongly"
    )]
    Password,
    #[error("the password is right but the claims are not believed: {0}")]
    Claims(ClaimsError),
    #[error(
        "the password is right but the token expired {ago_secs} s ago (at {expires_unix_secs}): ask for a new one, and compare clocks if it is fresh"
    )]
    Expired { expires_unix_secs: u64, ago_secs: u64 },
}

impl Verifier {
    /// Judges a username and its password at `now_unix_secs`; passwords are compared in constant time.
    pub fn judge(&self, username: &[u8], password: &[u8], now_unix_secs: u64) -> Judgement {
        match self.try_judge(username, password, now_unix_secs) {
            Ok(grant) => Judgement::Valid(grant),
            Err(why) => Judgement::Invalid(why),
        }
    }

    fn try_judge(&self, username: &[u8], password: &[u8], now_unix_secs: u64) -> Result<Grant, WhyInvalid> {
        let form = Form::parse(username).map_err(WhyInvalid::Form)?;
        if let Form::Extended { key_id, .. } = form
            && !self.key_ids().any(|known| known == key_id)
        {
            return Err(WhyInvalid::UnknownKey { key_id: key_id.to_owned() });
        }
        let index = self.matching_key(username, password).ok_or(WhyInvalid::Password)?;
        self.grant(username, index, now_unix_secs).map_err(|refused| match (refused, form) {
            (Refused::Expired, _) => expired(form, now_unix_secs),
            (Refused::Malformed, Form::Extended { claims, .. }) => match Claims::decode(claims) {
                Err(error) => WhyInvalid::Claims(error),
                Ok(_) => WhyInvalid::Password,
            },
            (Refused::Malformed, Form::Classic { .. }) => WhyInvalid::Password,
        })
    }

    fn matching_key(&self, username: &[u8], password: &[u8]) -> Option<usize> {
        let mut candidates = [const { None }; KEYS_MAX];
        self.passwords(username, &mut candidates);
        let matches = candidates.iter().flatten().map(|own| bool::from(own.as_bytes().ct_eq(password)));
        // All are compared, though the first match would do.
        matches.enumerate().fold(None, |found, (index, same)| found.or(same.then_some(index)))
    }
}

fn expired(form: Form<'_>, now_unix_secs: u64) -> WhyInvalid {
    let expires_unix_secs = match form {
        Form::Classic { expires_unix_secs, .. } => expires_unix_secs,
        Form::Extended { claims, .. } => Claims::decode(claims).map_or(0, |claims| claims.expires_unix_secs),
    };
    WhyInvalid::Expired { expires_unix_secs, ago_secs: now_unix_secs.saturating_sub(expires_unix_secs) }
}

impl Judgement {
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(_))
    }

    /// The judgement as `postern token verify` prints it.
    pub fn to_json(&self, now_unix_secs: u64) -> JudgementJson {
        match self {
            Self::Valid(grant) => JudgementJson::of_grant(grant, now_unix_secs),
            Self::Invalid(why) => JudgementJson { reason: Some(why.to_string()), ..JudgementJson::default() },
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid(grant) => {
                let form = if grant.extended { "extended" } else { "classic" };
                write!(f, "valid {form} token, key {}, expires at {}", grant.key_id, grant.expires_unix_secs)
            }
            Self::Invalid(why) => write!(f, "not valid: {why}"),
        }
    }
}

/// A judgement for a program to read.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct JudgementJson {
    pub valid: bool,
    /// Why not; only when `valid` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<crate::TokenForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Absent for a bare expiry, which names nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_unix_secs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_secs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<ipnet::IpNet>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate_bps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocations: Option<u32>,
}

impl JudgementJson {
    fn of_grant(grant: &Grant, now_unix_secs: u64) -> Self {
        let form = if grant.extended { crate::TokenForm::Extended } else { crate::TokenForm::Classic };
        Self {
            valid: true,
            reason: None,
            form: Some(form),
            key_id: Some(grant.key_id.clone()),
            identity: match &grant.identity {
                Identity::Name(name) => Some(name.clone()),
                Identity::ClientAddress => None,
            },
            expires_unix_secs: Some(grant.expires_unix_secs),
            remaining_secs: Some(grant.expires_unix_secs.saturating_sub(now_unix_secs)),
            call_id: grant.call_id.clone(),
            peers: grant.peers.clone(),
            bitrate_bps: grant.bitrate_bps,
            allocations: grant.allocations_max,
        }
    }
}
