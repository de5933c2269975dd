//! What a user agent is told at birth.

use std::net::IpAddr;

use crate::header_name::HeaderName;
use crate::limits;
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::options::EndpointOptions;
use crate::own_uri;
use crate::session_timer::TimerOptions;
use crate::source::Source;
use crate::target::Target;
use crate::uri::SipUri;

/// What a user agent is told at birth; may be replaced later.
#[derive(Clone, Debug)]
pub struct UserAgentOptions {
    pub endpoint: EndpointOptions,
    /// Server and User-Agent; `None` says nothing.
    pub name: Option<String>,
    /// User part of our Contact, where the call does not bring one.
    pub user: String,
    /// Addresses of ours, for the Contact of outgoing calls.
    pub addresses: Vec<IpAddr>,
    pub timer: TimerOptions,
    /// How OPTIONS is answered.
    pub availability: Availability,
    /// Header lines of every answer to OPTIONS.
    pub options_headers: Vec<(HeaderName, String)>,
    /// Methods outside of calls that the role answers itself, OPTIONS among them if wanted. Others are answered here.
    pub passed_up: Vec<Method>,
    pub calls_max: usize,
}

/// What the answer to OPTIONS says of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// 200.
    Ready,
    /// 503, with Retry-After in seconds. Calls are still the role's to answer.
    Unavailable { retry_after_secs: u32 },
}

impl Default for UserAgentOptions {
    fn default() -> Self {
        Self {
            endpoint: EndpointOptions::default(),
            name: None,
            user: String::new(),
            addresses: Vec::new(),
            timer: TimerOptions {
                session_expires_secs: Some(limits::SESSION_EXPIRES_SECS),
                min_se_secs: limits::MIN_SE_SECS,
            },
            availability: Availability::Ready,
            options_headers: Vec::new(),
            passed_up: Vec::new(),
            calls_max: limits::CALLS_MAX,
        }
    }
}

impl UserAgentOptions {
    /// Our Contact in a dialog with a peer that came to us.
    pub(crate) fn contact_for(&self, source: &Source, user: Option<&str>) -> NameAddr {
        self.contact(own_uri::seen_by(&self.endpoint, source), user)
    }

    /// Our Contact in a dialog with a peer that we go to.
    pub(crate) fn contact_towards(&self, target: &Target, user: Option<&str>) -> NameAddr {
        self.contact(own_uri::towards(&self.endpoint, &self.addresses, target), user)
    }

    fn contact(&self, uri: SipUri, user: Option<&str>) -> NameAddr {
        NameAddr::new(uri.with_user(user.unwrap_or(&self.user)))
    }
}
