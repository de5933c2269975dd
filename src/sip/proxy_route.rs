//! The way of requests through a proxy: our Record-Route and Route entries, and loops (RFC 3261 sections 16.3, 16.4, 16.6).
//!
//! Our entries look like `<sip:CONN-EPOCH-MAC@host;transport=tls;lr;loop=HASH>`. CONN names the connection of the peer that
//! they face, EPOCH this run of ours, MAC ties both to the Call-ID: nobody makes us a relay to wherever it likes.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::header_name::HeaderName;
use crate::message::Request;
use crate::name_addr::NameAddr;
use crate::own_uri;
use crate::proxy_io::ProxyOptions;
use crate::source::{ConnId, Source, Transport};
use crate::target::Target;
use crate::uri::{SipUri, Uri};

/// What our route entries of a request say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passage {
    /// The connection of the peer that the last of our entries faces.
    pub conn: Option<ConnId>,
    /// That peer is to be reached by TLS only.
    pub secured: bool,
    /// That peer came by UDP.
    udp: bool,
}

impl Passage {
    /// The next hop of a request that passes.
    pub fn lead(&self, hop: Target) -> Target {
        let mut hop = hop.over(self.conn);
        if self.udp && !hop.uri.has_param("transport") && !hop.uri.secure {
            hop.uri.set_param("transport", Some(Transport::Udp.param()));
        }
        if self.secured { hop.secured() } else { hop }
    }
}

/// What a request's route set makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routed {
    /// No entry of ours: not a request of a dialog that came through us.
    NotOurs,
    Passing(Passage),
    /// An entry of ours that we did not sign for this call.
    Forged,
}

/// Signs and reads our route entries.
pub(crate) struct Routes {
    signing: Hmac<Sha256>,
    /// Those of keys that signed before, or sign elsewhere.
    believed: Vec<Hmac<Sha256>>,
    /// Connections of another run of ours mean nothing.
    epoch: u32,
}

impl Routes {
    pub fn new(signing: &[u8; 32], believed: &[[u8; 32]], epoch: u32) -> Self {
        // Any length is a key for HMAC.
        let mac = |key: &[u8; 32]| Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
        Self { signing: mac(signing), believed: believed.iter().map(mac).collect(), epoch }
    }

    fn entry(&self, base: SipUri, call_id: &str, conn: Option<ConnId>, loop_hash: &str) -> NameAddr {
        let conn = conn.map_or(0, |conn| conn.0);
        let signature = sign(&self.signing, call_id, conn, self.epoch);
        let user = format!("{conn:x}-{:x}-{signature}", self.epoch);
        NameAddr::new(base.with_user(&user).with_param("lr", None).with_param("loop", Some(loop_hash)))
    }

    /// Writes our entries into a request that goes on to `target`: one for each side, so that a later request tells by
    /// their order which way it goes; a single one where both sides look alike and nobody has a connection. `hash` is the
    /// [`loop_hash`] of the request as it came.
    pub fn record(&self, request: &mut Request, hash: &str, options: &ProxyOptions, source: &Source, target: &Target) {
        let Ok(call_id) = request.headers.call_id().map(String::from) else { return };
        let near = own_uri::seen_by(&options.endpoint, source);
        let far = own_uri::towards(&options.endpoint, &options.addresses, target);
        let two = near != far || source.conn.is_some();
        request.headers.push_first(HeaderName::RecordRoute, self.entry(near, &call_id, source.conn, hash));
        if two {
            request.headers.push_first(HeaderName::RecordRoute, self.entry(far, &call_id, None, hash));
        }
    }

    /// Whether an entry is one that we, or our like with the same keys, wrote for this call. `None`: not of our form.
    fn read(&self, uri: &SipUri, call_id: &str) -> Option<Result<Option<ConnId>, ()>> {
        let user = uri.user()?;
        let mut parts = user.splitn(3, '-');
        let conn = u64::from_str_radix(parts.next()?, 16).ok()?;
        let epoch = u32::from_str_radix(parts.next()?, 16).ok()?;
        let signature = parts.next()?;
        let mut macs = std::iter::once(&self.signing).chain(&self.believed);
        if !macs.any(|mac| sign(mac, call_id, conn, epoch) == signature) {
            return Some(Err(()));
        }
        Some(Ok((epoch == self.epoch && conn != 0).then_some(ConnId(conn))))
    }

    /// Takes our entries off the top of a request's route set (RFC 3261 section 16.4).
    pub fn preprocess(&self, request: &mut Request, options: &ProxyOptions, source: &Source) -> Routed {
        let Ok(call_id) = request.headers.call_id().map(String::from) else { return Routed::NotOurs };
        self.undo_strict_routing(request, options);
        let mut passage = None;
        while let Ok(routes) = request.headers.routes() {
            let Some(Uri::Sip(top)) = routes.first().map(|route| route.uri.clone()) else { break };
            if !options.is_ours(&top) {
                break;
            }
            match self.read(&top, &call_id) {
                Some(Ok(conn)) => {
                    let conn = conn.filter(|conn| Some(*conn) != source.conn);
                    let transport = top.param("transport").and_then(|name| Transport::from_param(&name));
                    let secured = top.secure || transport == Some(Transport::Tls);
                    passage = Some(Passage { conn, secured, udp: transport == Some(Transport::Udp) });
                }
                Some(Err(())) => return Routed::Forged,
                // A route that was configured to lead here.
                None => {}
            }
            request.headers.pop_first_value(HeaderName::Route);
        }
        passage.map_or(Routed::NotOurs, Routed::Passing)
    }

    /// A strict router before us made our entry the Request-URI; what was it stands last among the routes.
    fn undo_strict_routing(&self, request: &mut Request, options: &ProxyOptions) {
        let ours = request.uri.as_sip().is_some_and(|uri| options.is_ours(uri) && uri.is_loose_router());
        let Ok(mut routes) = request.headers.routes() else { return };
        if !ours {
            return;
        }
        if let Some(last) = routes.pop() {
            let entry = NameAddr::new(std::mem::replace(&mut request.uri, last.uri));
            request.headers.remove(HeaderName::Route);
            request.headers.push(HeaderName::Route, entry);
            for route in routes {
                request.headers.push(HeaderName::Route, route);
            }
        }
    }

    /// Did this very request pass here before? (RFC 3261 section 16.3; one that was changed on its way is a spiral, and
    /// may pass.)
    pub fn is_loop(&self, request: &Request, options: &ProxyOptions) -> bool {
        let (Ok(call_id), Ok(entries)) = (request.headers.call_id(), request.headers.record_routes()) else {
            return false;
        };
        let hash = loop_hash(request);
        entries.iter().filter_map(|entry| entry.uri.as_sip()).any(|uri| {
            options.is_ours(uri)
                && uri.param("loop").is_some_and(|known| known == hash)
                && matches!(self.read(uri, call_id), Some(Ok(_)))
        })
    }
}

impl ProxyOptions {
    /// Whether a URI names us: one of our names or addresses at a port that we listen on.
    pub fn is_ours(&self, uri: &SipUri) -> bool {
        let named = self.endpoint.host.as_ref() == Some(&uri.host)
            || uri.host.address().is_some_and(|address| self.addresses.contains(&address));
        let of_param = uri.param("transport").and_then(|name| Transport::from_param(&name));
        let transport = of_param.unwrap_or(if uri.secure { Transport::Tls } else { Transport::Tcp });
        let port = uri.port.unwrap_or(transport.default_port());
        let ports = [self.endpoint.tcp_port, self.endpoint.tls_port].into_iter().flatten();
        let mut ports = ports.chain(self.endpoint.further_ports.iter().copied());
        named && (ports.any(|own| own == port) || self.endpoint.udp.iter().any(|socket| socket.port() == port))
    }
}

/// What a request has to keep for its second coming to be a loop (RFC 3261 section 16.6 step 8).
pub(crate) fn loop_hash(request: &Request) -> String {
    let mut hash = Sha256::new();
    let text = |name: HeaderName| request.headers.value(name).unwrap_or_default().to_owned();
    let parts = [
        request.uri.to_string(),
        request.headers.from_tag().unwrap_or_default(),
        request.headers.to_tag().unwrap_or_default(),
        text(HeaderName::CallId),
        request.headers.cseq().map_or(String::new(), |cseq| cseq.number.to_string()),
        text(HeaderName::Route),
        text(HeaderName::ProxyRequire),
    ];
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize()[..6])
}

fn sign(mac: &Hmac<Sha256>, call_id: &str, conn: u64, epoch: u32) -> String {
    let mut mac = mac.clone();
    mac.update(format!("{conn:x} {epoch:x} {call_id}").as_bytes());
    hex(&mac.finalize().into_bytes()[..12])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::Host;
    use crate::method::Method;
    use crate::options::EndpointOptions;

    #[test]
    fn an_entry_of_a_former_key_is_believed_and_one_of_an_unknown_key_is_not() {
        let endpoint = EndpointOptions { tcp_port: Some(5060), ..EndpointOptions::default() };
        let options = ProxyOptions { endpoint, addresses: vec![[203, 0, 113, 40].into()], ..ProxyOptions::default() };
        let source = Source {
            transport: Transport::Tcp,
            local: ([203, 0, 113, 40], 5060).into(),
            remote: ([203, 0, 113, 100], 20_000).into(),
            names: Arc::default(),
            conn: None,
        };
        let Some(Uri::Sip(uri)) = Uri::parse("sip:7000@10.0.0.2;transport=tcp") else { panic!("no SIP URI") };
        let mut invite = Request::new(Method::Invite, uri.clone());
        invite.headers.push(HeaderName::CallId, "1@example.test");
        let routes = Routes::new(&[1; 32], &[], 7);
        routes.record(&mut invite, "hash", &options, &source, &Target::new(uri.clone()));
        let read_by = |routes: Routes| {
            let mut bye = Request::new(Method::Bye, uri.clone());
            bye.headers.copy_from(&invite.headers, HeaderName::CallId);
            for entry in invite.headers.record_routes().unwrap() {
                bye.headers.push(HeaderName::Route, entry);
            }
            routes.preprocess(&mut bye, &options, &source)
        };
        assert!(matches!(read_by(Routes::new(&[2; 32], &[[1; 32]], 8)), Routed::Passing(_)));
        assert_eq!(read_by(Routes::new(&[2; 32], &[], 8)), Routed::Forged);
    }

    #[test]
    fn a_peer_that_came_to_a_further_port_is_led_back_to_that_one() {
        let endpoint = EndpointOptions {
            host: Host::parse("gate.example.test"),
            tls_port: Some(5061),
            further_ports: vec![443, 5061],
            ..EndpointOptions::default()
        };
        let options = ProxyOptions { endpoint, ..ProxyOptions::default() };
        let entry_of = |port: u16| {
            let source = Source {
                transport: Transport::Tls,
                local: ([203, 0, 113, 40], port).into(),
                remote: ([203, 0, 113, 100], 20_000).into(),
                names: Arc::default(),
                conn: None,
            };
            own_uri::seen_by(&options.endpoint, &source)
        };
        assert_eq!(entry_of(443).port, Some(443));
        // The default port; and a connection of our own making, whose port nobody listens on.
        assert_eq!((entry_of(5061).port, entry_of(40_000).port), (None, None));
        assert!([443, 5061, 40_000].into_iter().all(|port| options.is_ours(&entry_of(port))));
        assert!(!options.is_ours(&entry_of(443).with_port(Some(444))));
    }
}
