//! What a proxy tells its role, what the role decides, and what a proxy is told at birth.

use std::net::IpAddr;
use std::time::Duration;

use crate::header_name::HeaderName;
use crate::io::FailCause;
use crate::limits;
use crate::message::Request;
use crate::method::Method;
use crate::options::EndpointOptions;
use crate::source::Source;
use crate::status::StatusCode;
use crate::target::Target;
use crate::uri::SipUri;

/// Our handle of a request that is being forwarded; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardHandle(pub u64);

/// What happened, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum ProxyEvent {
    /// A request outside of dialogs: `forward` or `respond`. Those within find their way by themselves.
    Incoming { handle: ForwardHandle, request: Box<Request>, source: Source },
    /// A target was left for the next one, or for good.
    TargetFailed { handle: ForwardHandle, uri: SipUri, fault: TargetFault },
    /// The final answer to a request outside of dialogs went back; `uri` gave it, if any did. The handle means nothing
    /// from here on.
    Finished { handle: ForwardHandle, method: Method, status: StatusCode, uri: Option<SipUri> },
    /// The caller gave up, or its transaction went.
    Withdrawn { handle: ForwardHandle },
}

/// Why a target was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFault {
    /// It gave this final answer.
    Status(StatusCode),
    NoAnswer(FailCause),
    /// It cannot be sent to as asked.
    NotSent,
}

/// Where a request is to go.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Tried one after the other until one answers with 2xx or 6xx.
    pub targets: Vec<ProxyTarget>,
    /// Header lines to set, or with `None` to take out: before anything is trusted that a stranger could have written.
    pub headers: Vec<(HeaderName, Option<String>)>,
    /// Whether a 3xx is followed here or goes back.
    pub follow_redirects: bool,
    /// TLS or nothing, on redirections too.
    pub secured: bool,
    /// How long each address may take to answer anything at all.
    pub answer_time: Option<Duration>,
}

/// One target.
#[derive(Clone, Debug)]
pub struct ProxyTarget {
    /// The new Request-URI.
    pub uri: SipUri,
    /// The next hop, if it is not the Request-URI.
    pub hop: Option<Target>,
}

/// What a proxy is told at birth.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// [`refuse_merged`](EndpointOptions::refuse_merged) is taken as false: loops are found, spirals pass.
    pub endpoint: EndpointOptions,
    /// Addresses of ours.
    pub addresses: Vec<IpAddr>,
    /// The first signs our Record-Route and each is believed, so that only parties of a call send requests through it.
    /// Proxies that stand in for one another, or restart within a call, share them. None: a random one for this run.
    pub route_keys: Vec<[u8; 32]>,
    pub timer_c: Duration,
    pub forwarded_max: usize,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            endpoint: EndpointOptions::default(),
            addresses: Vec::new(),
            route_keys: Vec::new(),
            timer_c: limits::TIMER_C,
            forwarded_max: limits::FORWARDED_MAX,
        }
    }
}
