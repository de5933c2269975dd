//! What a router in proxy mode tells the next hop: by which gateway and plan a call came. Believed from routers only.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use postern_sip::HeaderName;
use postern_sip::headers::Headers;

/// Name of the header: `Postern-Origin: 203.0.113.0/24 office 203.0.113.7`.
pub const ORIGIN_HEADER: &str = "Postern-Origin";

/// By which gateway and plan a call came to a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// [`Gateway::label`](crate::Gateway::label).
    pub gateway: String,
    pub plan: String,
    /// Where the gateway's signalling came from.
    pub address: IpAddr,
}

impl Origin {
    /// Writes it, in place of any that a stranger wrote.
    pub fn set_in(&self, headers: &mut Headers) {
        headers.set(name(), self);
    }

    /// Takes any out of a message that goes to or came from somebody who is no router.
    pub fn remove_from(headers: &mut Headers) {
        headers.remove(name());
    }

    /// What a router wrote; `None` when it is absent, malformed or there twice.
    pub(crate) fn read_from(headers: &Headers) -> Option<Self> {
        let mut values = headers.values(name());
        let origin = values.next()?.parse().ok()?;
        values.next().is_none().then_some(origin)
    }

    pub(crate) fn is_in(headers: &Headers) -> bool {
        headers.contains(name())
    }
}

fn name() -> HeaderName {
    HeaderName::Other(ORIGIN_HEADER.into())
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.gateway, self.plan, self.address)
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split_ascii_whitespace();
        let (Some(gateway), Some(plan), Some(address), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(());
        };
        let address = address.parse().map_err(|_| ())?;
        Ok(Self { gateway: gateway.into(), plan: plan.into(), address })
    }
}
