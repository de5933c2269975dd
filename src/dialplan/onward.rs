//! Where a call goes on from here: a listener of the next hop, with what the call brought along.

use std::net::{IpAddr, SocketAddr};

use postern_sip::host::Host;
use postern_sip::{SipUri, Source, Transport, Uri};

/// What of a Request-URI goes with the call: the next hop may have to decide by it as we did.
const KEPT: [&str; 3] = ["target", "cause", "user"];

/// Whether a call must go on over TLS: it came so, or its target is a `sips:` URI.
pub fn keeps_to_tls(source: &Source, called: &Uri) -> bool {
    source.transport == Transport::Tls || called.as_sip().is_some_and(|uri| uri.secure)
}

/// Where a worker takes calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listeners {
    /// In order of preference.
    pub tcp: Vec<SocketAddr>,
    /// By the name in its certificate (RFC 5922), and a port.
    pub tls: Option<(Host, u16)>,
}

impl Listeners {
    /// The one for a caller at `caller`, of its address family if there is one. Without a TLS listener a call over TLS
    /// has none.
    pub fn for_caller(&self, over_tls: bool, caller: IpAddr) -> Option<SipUri> {
        if over_tls {
            return self.over_tls();
        }
        let v4 = caller.to_canonical().is_ipv4();
        let own_family = self.tcp.iter().find(|address| address.is_ipv4() == v4);
        own_family.or(self.tcp.first()).map(over_tcp)
    }

    /// All of them.
    pub fn all(&self) -> Vec<SipUri> {
        self.tcp.iter().map(over_tcp).chain(self.over_tls()).collect()
    }

    fn over_tls(&self) -> Option<SipUri> {
        let (host, port) = self.tls.clone()?;
        Some(SipUri::new(host).with_port(Some(port)).with_param("transport", Some("tls")))
    }
}

fn over_tcp(address: &SocketAddr) -> SipUri {
    SipUri::new(Host::from(address.ip())).with_port(Some(address.port())).with_param("transport", Some("tcp"))
}

/// `place` as the target of the call to `called`: its user, and `sips:` when it came by that.
pub fn towards(place: SipUri, called: &Uri) -> SipUri {
    let mut uri = place.with_user(&called.user().unwrap_or_default());
    if let Uri::Sip(called) = called {
        for name in KEPT.into_iter().filter(|name| called.has_param(name)) {
            uri.set_param(name, called.param(name).as_deref());
        }
        if called.secure {
            uri.remove_param("transport");
            uri.secure = true;
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners() -> Listeners {
        Listeners {
            tcp: vec!["10.20.0.20:5065".parse().expect("an address"), "[2001:db8::20]:5065".parse().expect("one")],
            tls: Host::parse("um.example.test").map(|host| (host, 5066)),
        }
    }

    fn sent_on(over_tls: bool, caller: &str, called: &str) -> String {
        let listener = listeners().for_caller(over_tls, caller.parse().expect("an address")).expect("a listener");
        towards(listener, &Uri::parse(called).expect("a URI")).to_string()
    }

    #[test]
    fn a_call_goes_to_the_listener_of_its_family_and_security() {
        let called = "sip:1001@10.20.0.20:5062;transport=tcp;lr;maddr=10.0.0.1;postern-call=x";
        for (over_tls, caller, wanted) in [
            (false, "10.20.0.9", "sip:1001@10.20.0.20:5065;transport=tcp"),
            (false, "::ffff:10.20.0.9", "sip:1001@10.20.0.20:5065;transport=tcp"),
            (false, "2001:db8::9", "sip:1001@[2001:db8::20]:5065;transport=tcp"),
            (true, "10.20.0.9", "sip:1001@um.example.test:5066;transport=tls"),
        ] {
            assert_eq!(sent_on(over_tls, caller, called), wanted);
        }
    }

    #[test]
    fn what_names_the_mailbox_goes_with_the_call() {
        let called = "sip:7000@10.20.0.20;target=sip:1001%40pbx;cause=486;lr";
        let wanted = "sip:7000@10.20.0.20:5065;transport=tcp;target=sip:1001%40pbx;cause=486";
        assert_eq!(sent_on(false, "10.20.0.9", called), wanted);
        let wanted = "sip:+15550100@10.20.0.20:5065;transport=tcp";
        assert_eq!(sent_on(false, "10.20.0.9", "tel:+15550100"), wanted);
    }

    #[test]
    fn sips_is_used_when_it_came() {
        let place = "sip:um.example.test:5063;transport=tls";
        for (called, wanted) in [
            ("sips:7000@router.example.test", "sips:7000@um.example.test:5063"),
            ("sip:7000@router.example.test", "sip:7000@um.example.test:5063;transport=tls"),
        ] {
            let Some(Uri::Sip(place)) = Uri::parse(place) else { panic!("{place} is no SIP URI") };
            assert_eq!(towards(place, &Uri::parse(called).expect("a URI")).to_string(), wanted);
        }
    }

    #[test]
    fn a_worker_without_an_address_of_the_family_is_reached_by_another() {
        let listeners = Listeners { tcp: listeners().tcp[..1].to_vec(), tls: None };
        let caller = "2001:db8::9".parse().expect("an address");
        assert!(listeners.for_caller(false, caller).is_some());
        assert!(listeners.for_caller(true, caller).is_none());
        assert_eq!(listeners.all().len(), 1);
    }
}
