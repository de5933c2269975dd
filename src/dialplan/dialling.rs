//! What a dialled text means in a plan, and whether it may be called: own calls of mailbox owners and transfers alike.

use std::fmt;

use postern_sip::host::Host;
use postern_sip::{SipUri, Uri};

use crate::dial_rule::DialRule;
use crate::limits::{ADDRESS_BYTES_MAX, DIALLED_BYTES_MAX};
use crate::number::{digits_of, to_e164};
use crate::peer::{Gateway, Status};
use crate::plan::{Plan, UriType};
use crate::rules::Rules;

/// Somebody who may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialTarget {
    /// At whichever gateway is asked: digits, with `+` before an E.164 number. A plan's own operator may be any user.
    Number(String),
    /// At this host, by way of a gateway.
    User {
        /// `sips:`.
        secure: bool,
        user: String,
        host: Host,
    },
}

/// Why a text is not called; the fault of who dialled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialRefusal {
    #[error("the number is empty")]
    Empty,
    #[error("the number is too long")]
    TooLong,
    /// Control characters, or others beyond ASCII, digits of other scripts among them.
    #[error("the number holds characters that cannot be dialled")]
    Unprintable,
    #[error("the number holds something other than digits")]
    NotANumber,
    /// `;phone-context`, `?header`, a port, a password, an escape: whatever could lead a call elsewhere than it seems.
    #[error("the address holds parameters")]
    Parameters,
    #[error("the address is of no kind that can be called")]
    Scheme,
    #[error("the dial plan does not allow calls there")]
    NotAllowed,
}

impl DialTarget {
    /// The Request-URI of a call to it through the gateway at `gateway`.
    pub fn uri(&self, gateway: &SipUri) -> SipUri {
        match self {
            Self::Number(number) => SipUri::new(gateway.host.clone())
                .with_port(gateway.port)
                .with_user(number)
                .with_param("user", Some("phone")),
            Self::User { secure, user, host } => {
                let mut uri = SipUri::new(host.clone()).with_user(user);
                uri.secure = *secure;
                uri
            }
        }
    }

    fn is_allowed_by(&self, rule: &DialRule) -> bool {
        match (self, rule) {
            (Self::Number(number), DialRule::Number(allowed)) => number == allowed,
            (Self::Number(number), DialRule::Prefix(prefix)) => number.starts_with(prefix.as_str()),
            (Self::User { host, .. }, DialRule::Host(allowed)) => host == allowed,
            _ => false,
        }
    }
}

impl fmt::Display for DialTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => f.write_str(number),
            Self::User { secure, user, host } => {
                write!(f, "{}:{user}@{host}", if *secure { "sips" } else { "sip" })
            }
        }
    }
}

impl Rules {
    /// What `text` calls in the plan `plan`, if its users may call that: a number with or without visual separators, a
    /// `tel:` URI, a `sip:` or `sips:` URI of user and host alone; in plans of type SIP `user@host` and `user` too. Cost:
    /// linear in the plan's rules.
    ///
    /// # Errors
    /// It means nothing that can be called, or the plan does not allow it. A plan that is not there allows nothing.
    pub fn dial(&self, plan: &str, text: &str) -> Result<DialTarget, DialRefusal> {
        let target = self.plan(plan).ok_or(DialRefusal::NotAllowed).and_then(|plan| Ok((plan, plan.meant(text)?)));
        let (plan, target) = target?;
        match plan.allows(&target) {
            true => Ok(target),
            false => Err(DialRefusal::NotAllowed),
        }
    }

    /// Whom a caller may be transferred to: what [`dial`](Self::dial) allows, and the plan's own operator as it is
    /// written, which stands in the same file as the rules. The operator of a mailbox is held to the rules: it is kept in
    /// the store, which others than who answers for the bill may write.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub fn transfer(&self, plan: &str, operator: &str) -> Result<DialTarget, DialRefusal> {
        let own = self.plan(plan).map(|plan| plan.operator.as_str()).filter(|own| !own.is_empty());
        if own.is_some_and(|own| own == operator || operator.strip_prefix("sip:") == Some(own)) {
            return Ok(match Uri::parse(operator) {
                Some(Uri::Sip(uri)) => DialTarget::User {
                    secure: false,
                    user: uri.user().unwrap_or_default().into_owned(),
                    host: uri.host,
                },
                _ => DialTarget::Number(operator.into()),
            });
        }
        self.dial(plan, operator)
    }

    /// Gateways that a call of this plan may leave through, in the order in which they are tried.
    pub fn outgoing<'r>(&'r self, plan: &'r str) -> impl Iterator<Item = &'r Gateway> {
        self.reached(plan).filter(|gateway| gateway.outcalls && gateway.status == Status::Enabled)
    }

    /// Gateways that are told of messages that wait in mailboxes of this plan, in file order.
    pub fn notified<'r>(&'r self, plan: &'r str) -> impl Iterator<Item = &'r Gateway> {
        self.reached(plan).filter(|gateway| gateway.mwi && gateway.status != Status::Disabled)
    }

    /// The gateways that lead to this plan, by themselves or by a hunt group, and can be reached.
    fn reached<'r>(&'r self, plan: &'r str) -> impl Iterator<Item = &'r Gateway> {
        self.gateways().filter(move |gateway| gateway.target.is_some() && self.leads_to(gateway, plan))
    }
}

impl Plan {
    /// A number at a host needs two rules: the host would call it at the same expense as the gateway.
    fn allows(&self, target: &DialTarget) -> bool {
        let is_named = |target: &DialTarget| self.allow.iter().any(|rule| target.is_allowed_by(rule));
        let by_number = match target {
            DialTarget::User { user, .. } if digits_of(user).is_some() => {
                self.dialled(user).is_ok_and(|number| is_named(&number))
            }
            _ => true,
        };
        by_number && is_named(target)
    }

    /// What a dialled text means here, allowed or not.
    fn meant(&self, text: &str) -> Result<DialTarget, DialRefusal> {
        if text.trim().is_empty() {
            return Err(DialRefusal::Empty);
        }
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(DialRefusal::TooLong);
        }
        if text.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            return Err(DialRefusal::Unprintable);
        }
        let text = text.trim();
        if text.contains(['%', '?', ';']) {
            return Err(DialRefusal::Parameters);
        }
        let Some((scheme, rest)) = text.split_once(':') else { return self.bare(text) };
        match scheme.to_ascii_lowercase().as_str() {
            "tel" => self.dialled(rest),
            "sip" => user_at_host(false, rest),
            "sips" => user_at_host(true, rest),
            _ => Err(DialRefusal::Scheme),
        }
    }

    /// Without a scheme.
    fn bare(&self, text: &str) -> Result<DialTarget, DialRefusal> {
        match self.dialled(text) {
            Err(DialRefusal::NotANumber) if self.uri_type == UriType::Sip => match self.domains.first() {
                Some(domain) if !text.contains('@') => user_at_host(false, &format!("{text}@{domain}")),
                _ => user_at_host(false, text),
            },
            dialled => dialled,
        }
    }

    /// Visual separators are left out (RFC 3966 section 5.1.1). Keys that switch services (`*`, `#`) are not dialled.
    fn dialled(&self, text: &str) -> Result<DialTarget, DialRefusal> {
        if text.len() > DIALLED_BYTES_MAX {
            return Err(DialRefusal::TooLong);
        }
        let digits = digits_of(text).filter(|digits| !digits.contains(['*', '#'])).ok_or(DialRefusal::NotANumber)?;
        let number = match self.uri_type {
            UriType::E164 => to_e164(&digits, &self.country_code, &self.national_prefix, &self.international_prefix),
            _ => Some(digits),
        };
        number.map(DialTarget::Number).ok_or(DialRefusal::NotANumber)
    }
}

/// `user@host` with nothing besides: no port, no password.
fn user_at_host(secure: bool, text: &str) -> Result<DialTarget, DialRefusal> {
    let (user, host) = text.split_once('@').ok_or(DialRefusal::NotANumber)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~'()+".contains(&byte);
    if user.is_empty() || !user.bytes().all(plain) {
        return Err(DialRefusal::Parameters);
    }
    let host = Host::parse(host).ok_or(DialRefusal::Parameters)?;
    Ok(DialTarget::User { secure, user: user.into(), host })
}
