//! Dial plans: what a mailbox number is, which numbers are pilots, how well a call must be protected.

use std::borrow::Cow;

use postern_sip::Uri;
use postern_sip::host::Host;

use crate::dial_rule::DialRule;
use crate::limits::ADDRESS_BYTES_MAX;
use crate::number::{digits_of, to_e164};

/// A dial plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Unique among the plans of one set of rules.
    pub name: String,
    pub uri_type: UriType,
    pub security: Security,
    /// Numbers, or users as `user` or `user@host`, that lead to subscriber access.
    pub pilots: Vec<String>,
    /// Digits of a mailbox number; 0 is any number of them. Longer numbers are cut from the left in extension plans.
    pub digits: u32,
    /// Digits before a national number, without `+`; empty when not known.
    pub country_code: String,
    /// What national calls begin with.
    pub national_prefix: String,
    /// What international calls begin with.
    pub international_prefix: String,
    /// Hosts of addresses of type SIP, in lower case; empty takes any, and then a mailbox is its user alone.
    pub domains: Vec<String>,
    /// What its users may call; empty is nothing.
    pub allow: Vec<DialRule>,
    /// Where callers who ask for the operator are sent, as the configuration writes it; empty is nowhere.
    pub operator: String,
}

/// What a mailbox number of a plan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UriType {
    #[default]
    Extension,
    /// `user@host`.
    Sip,
    /// `+` and digits.
    E164,
}

/// How well a call of a plan must be protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// TCP or TLS; RTP, or SRTP when offered.
    #[default]
    Unsecured,
    /// Mutual TLS, else 403; same media.
    SipSecured,
    /// Mutual TLS, else 403; SRTP, else 488.
    Secured,
}

impl Security {
    /// Whether signalling must be under mutual TLS.
    pub fn needs_tls(self) -> bool {
        self != Self::Unsecured
    }

    /// Whether media must be SRTP.
    pub fn needs_srtp(self) -> bool {
        self == Self::Secured
    }

    /// Whether keys may stand in SDP (RFC 4568) of a call that came over TLS or not: in clear in unsecured plans alone.
    pub fn takes_sdes(self, over_tls: bool) -> bool {
        over_tls || self == Self::Unsecured
    }
}

/// Calls of a gateway to a pilot belong to another plan than the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HuntGroup {
    /// [`Gateway::label`](crate::Gateway::label) of its gateway.
    pub gateway: String,
    pub pilot: String,
    pub plan: String,
}

impl Plan {
    /// The one form of an address in this plan, as mailboxes and callers are compared: digits, `+` and digits, or `user`
    /// or `user@host` in lower case. `None` when `uri` names nobody here. `own` are hosts of ours: an address at one of
    /// them belongs to the plan's first domain.
    pub fn address_of(&self, uri: &Uri, own: &[Host]) -> Option<String> {
        let (user, host) = match uri {
            // Parameters may stand within the user of a number (RFC 3261 section 19.1.6).
            Uri::Sip(sip) => (sip.user()?, Some(&sip.host)),
            Uri::Tel(tel) => (Cow::Owned(tel.digits()), None),
            Uri::Other { .. } => return None,
        };
        match self.uri_type {
            UriType::Sip => self.user_at(&user, host, own),
            _ => self.number(&user),
        }
    }

    /// As [`address_of`](Self::address_of), of a text: a number, `user`, `user@host` or a URI.
    pub fn address_of_text(&self, text: &str, own: &[Host]) -> Option<String> {
        if let Some(uri @ (Uri::Sip(_) | Uri::Tel(_))) = Uri::parse(text) {
            return self.address_of(&uri, own);
        }
        match self.uri_type {
            UriType::Sip => {
                let (user, host) = text.split_once('@').map_or((text, None), |(user, host)| (user, Some(host)));
                let host = match host {
                    Some(host) => Some(Host::parse(host)?),
                    None => None,
                };
                self.user_at(user, host.as_ref(), own)
            }
            _ => self.number(text),
        }
    }

    fn number(&self, user: &str) -> Option<String> {
        let digits = digits_of(user)?;
        let number = match self.uri_type {
            UriType::E164 => to_e164(&digits, &self.country_code, &self.national_prefix, &self.international_prefix)?,
            _ => digits,
        };
        let wanted = self.digits as usize;
        let long = number.trim_start_matches('+').len();
        match self.uri_type {
            _ if wanted == 0 || long == wanted => Some(number),
            // The trailing digits of a full number are its extension.
            UriType::Extension if long > wanted => Some(number[number.len() - wanted..].to_string()),
            _ => None,
        }
    }

    fn user_at(&self, user: &str, host: Option<&Host>, own: &[Host]) -> Option<String> {
        let user = user.split(';').next().unwrap_or_default().to_lowercase();
        if user.is_empty() || user.len() > ADDRESS_BYTES_MAX || user.chars().any(|c| c.is_control() || c == ' ') {
            return None;
        }
        let Some(first) = self.domains.first() else { return Some(user) };
        let domain = match host {
            None => first.clone(),
            Some(host) if own.contains(host) => first.clone(),
            Some(host) => {
                let host = host.to_string();
                self.domains.iter().find(|domain| **domain == host)?.clone()
            }
        };
        let address = format!("{user}@{domain}");
        (address.len() <= ADDRESS_BYTES_MAX).then_some(address)
    }

    /// Whether `pilot`, as the configuration writes it, is what `uri` calls.
    pub(crate) fn is_called(&self, pilot: &str, uri: &Uri, own: &[Host]) -> bool {
        let as_written = match uri {
            Uri::Sip(sip) => sip.user().is_some_and(|user| user == pilot),
            _ => false,
        };
        let same = || {
            let (called, pilot) = (self.address_of(uri, own), self.address_of_text(pilot, own));
            called.is_some() && called == pilot
        };
        as_written || same()
    }
}
