//! A dialog (RFC 3261 section 12): who talks to whom, by which way, and at which count.

use crate::fields::CSeq;
use crate::header_name::HeaderName;
use crate::headers::Headers;
use crate::limits::ROUTES_MAX;
use crate::message::{Request, Response};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::source::{ConnId, Source, Transport};
use crate::target::Target;
use crate::text::parse_u32;
use crate::uri::Uri;

/// What names a dialog. A peer of RFC 2543 has an empty tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogId {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
}

impl DialogId {
    /// The dialog that a request from the peer belongs to; `None` when its To has no tag.
    pub fn of_incoming(request: &Request) -> Option<DialogId> {
        Some(DialogId {
            call_id: request.headers.call_id().ok()?.to_owned(),
            local_tag: request.headers.to_tag()?,
            remote_tag: request.headers.from_tag().unwrap_or_default(),
        })
    }
}

/// Names the peer's last CSeq in a dialog that is kept.
const REMOTE_CSEQ: &str = "Remote-CSeq";

/// One dialog, early or confirmed.
#[derive(Clone, Debug)]
pub struct Dialog {
    id: DialogId,
    /// From of our requests, with our tag, as it stood in the first message.
    local: String,
    /// To of our requests.
    remote: String,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    /// Nearest first.
    routes: Vec<NameAddr>,
    target: Uri,
    /// The connection that the peer last used: the way back to one behind NAT.
    conn: Option<ConnId>,
    /// What the peer used last: a target that names no transport is reached by the same.
    transport: Transport,
}

/// How a request's CSeq relates to those before it (RFC 3261 section 12.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Next,
    /// Out of order: 500.
    Late,
}

impl Dialog {
    /// The dialog that our response to `request` makes, `local` being the response's To with our tag. `None` when the
    /// request cannot make one: no readable Contact, Record-Route or tag.
    pub fn of_incoming(request: &Request, response: &Response, source: &Source) -> Option<Dialog> {
        let id = DialogId {
            call_id: request.headers.call_id().ok()?.to_owned(),
            local_tag: response.headers.to_tag()?,
            remote_tag: request.headers.from_tag().unwrap_or_default(),
        };
        let target = request.headers.contact().ok()??.uri;
        Some(Dialog {
            id,
            local: response.headers.value(HeaderName::To)?.to_owned(),
            remote: request.headers.value(HeaderName::From)?.to_owned(),
            local_cseq: 0,
            remote_cseq: Some(request.headers.cseq().ok()?.number),
            routes: bounded(request.headers.record_routes().ok()?)?,
            target,
            conn: source.conn,
            transport: source.transport,
        })
    }

    /// The dialog that the peer's response to our `request` makes. `None` when it cannot: a 1xx without tag or Contact.
    pub fn of_outgoing(request: &Request, response: &Response, source: &Source) -> Option<Dialog> {
        let mut routes = bounded(response.headers.record_routes().ok()?)?;
        routes.reverse();
        let remote_tag = response.headers.to_tag();
        if remote_tag.is_none() && response.status.is_provisional() {
            return None;
        }
        // A 2xx without Contact is a fault of many; the Request-URI then stays the target.
        let target = match response.headers.contact() {
            Ok(Some(contact)) => contact.uri,
            _ if response.status.is_success() => request.uri.clone(),
            _ => return None,
        };
        Some(Dialog {
            id: DialogId {
                call_id: request.headers.call_id().ok()?.to_owned(),
                local_tag: request.headers.from_tag()?,
                remote_tag: remote_tag.unwrap_or_default(),
            },
            local: request.headers.value(HeaderName::From)?.to_owned(),
            remote: response.headers.value(HeaderName::To)?.to_owned(),
            local_cseq: request.headers.cseq().ok()?.number,
            remote_cseq: None,
            routes,
            target,
            conn: source.conn,
            transport: source.transport,
        })
    }

    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// Where our requests go, as their Request-URI says it.
    pub fn target(&self) -> Uri {
        request_uri(&self.target)
    }

    /// The dialog as a request that [`of_kept`](Self::of_kept) reads, in this process or a later one, which goes on after
    /// `local_cseq`. It is never sent.
    pub fn keep(&self, method: Method, local_cseq: u32) -> Request {
        let mut request = Request::new(method.clone(), self.target());
        let headers = &mut request.headers;
        headers.push(HeaderName::Via, format!("SIP/2.0/{} kept.invalid;branch=z9hG4bKkept", self.transport.via_name()));
        for route in &self.routes {
            headers.push(HeaderName::Route, route);
        }
        headers.push(HeaderName::From, &self.local);
        headers.push(HeaderName::To, &self.remote);
        headers.push(HeaderName::CallId, &self.id.call_id);
        headers.push(HeaderName::CSeq, CSeq { number: local_cseq, method });
        if let Some(number) = self.remote_cseq {
            headers.push(REMOTE_CSEQ, number);
        }
        request
    }

    /// The dialog that [`keep`](Self::keep) wrote; `None` when it did not. Its connection is gone.
    pub fn of_kept(kept: &Request) -> Option<Dialog> {
        let headers = &kept.headers;
        let via = headers.top_via().ok()?;
        Some(Dialog {
            id: DialogId {
                call_id: headers.call_id().ok()?.to_owned(),
                local_tag: headers.from_tag()?,
                remote_tag: headers.to_tag().unwrap_or_default(),
            },
            local: headers.value(HeaderName::From)?.to_owned(),
            remote: headers.value(HeaderName::To)?.to_owned(),
            local_cseq: headers.cseq().ok()?.number,
            remote_cseq: headers.value(REMOTE_CSEQ).and_then(parse_u32),
            routes: bounded(headers.routes().ok()?)?,
            target: kept.uri.clone(),
            conn: None,
            transport: Transport::from_param(&via.transport)?,
        })
    }

    /// Takes note of the way that the peer used. A dialog that began by TLS stays there.
    pub fn note_source(&mut self, source: &Source) {
        if self.transport == Transport::Tls && source.transport != Transport::Tls {
            return;
        }
        self.transport = source.transport;
        if source.conn.is_some() {
            self.conn = source.conn;
        }
    }

    /// Forgets a connection that is gone; whether it was this dialog's.
    pub fn forget_connection(&mut self, conn: ConnId) -> bool {
        let ours = self.conn == Some(conn);
        if ours {
            self.conn = None;
        }
        ours
    }

    /// The next request of ours in this dialog, complete but for what its method needs.
    pub fn request(&mut self, method: Method) -> Request {
        self.local_cseq += 1;
        let cseq = self.local_cseq;
        self.write(method, cseq)
    }

    /// The ACK for a 2xx to our INVITE with this CSeq number (RFC 3261 section 13.2.2.4).
    pub fn ack(&self, cseq: u32) -> Request {
        self.write(Method::Ack, cseq)
    }

    /// CSeq of our last request.
    pub fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Takes a CSeq from another request of ours that travelled outside of this copy (a fork's BYE, a retried INVITE).
    pub fn raise_local_cseq(&mut self, number: u32) {
        self.local_cseq = self.local_cseq.max(number);
    }

    fn write(&self, method: Method, cseq: u32) -> Request {
        let is_loose = |route: &NameAddr| route.uri.as_sip().is_some_and(|uri| uri.is_loose_router());
        let mut request = Request::new(method.clone(), request_uri(&self.target));
        let headers = &mut request.headers;
        headers.push(HeaderName::MaxForwards, 70);
        match self.routes.split_first() {
            // RFC 3261 section 12.2.1.1: a strict router wants to be the Request-URI.
            Some((first, rest)) if !is_loose(first) => {
                request.uri = request_uri(&first.uri);
                for route in rest {
                    headers.push(HeaderName::Route, route);
                }
                headers.push(HeaderName::Route, NameAddr::new(self.target.clone()));
            }
            _ => {
                for route in &self.routes {
                    headers.push(HeaderName::Route, route);
                }
            }
        }
        headers.push(HeaderName::From, &self.local);
        headers.push(HeaderName::To, &self.remote);
        headers.push(HeaderName::CallId, &self.id.call_id);
        headers.push(HeaderName::CSeq, CSeq { number: cseq, method });
        request
    }

    /// Where a request of this dialog goes: its first route or target, over the connection that is there. `None` when
    /// that is no SIP URI.
    pub fn next_hop(&self, request: &Request) -> Option<Target> {
        // With a strict router the Request-URI is the next hop.
        let strict =
            self.routes.first().is_some_and(|first| first.uri.as_sip().is_some_and(|uri| !uri.is_loose_router()));
        let target = match &request.uri {
            Uri::Sip(uri) if strict => Target::new(uri.clone()),
            _ => Target::of(request)?,
        };
        let mut target = target.over(self.conn);
        match self.transport {
            Transport::Tls => target = target.secured(),
            Transport::Udp if !target.uri.has_param("transport") && !target.uri.secure => {
                target.uri.set_param("transport", Some(Transport::Udp.param()));
            }
            Transport::Tcp | Transport::Udp => {}
        }
        Some(target)
    }

    /// Checks and notes the CSeq of a request of the peer (never ACK or CANCEL).
    pub fn take_cseq(&mut self, number: u32) -> Order {
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return Order::Late;
        }
        self.remote_cseq = Some(number);
        Order::Next
    }

    /// A target refresh (RFC 3261 section 12.2): the Contact of a re-INVITE or UPDATE, or of a 2xx to ours.
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Ok(Some(contact)) = headers.contact() {
            self.target = contact.uri;
        }
    }
}

fn request_uri(uri: &Uri) -> Uri {
    match uri {
        Uri::Sip(uri) => Uri::Sip(uri.clone().for_request()),
        other => other.clone(),
    }
}

fn bounded(routes: Vec<NameAddr>) -> Option<Vec<NameAddr>> {
    (routes.len() <= ROUTES_MAX).then_some(routes)
}
