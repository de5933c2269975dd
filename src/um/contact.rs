//! Where a call is sent on: a listener of the active worker, with what the call brought along.

use std::net::{IpAddr, SocketAddr};

use postern_sip::host::Host;
use postern_sip::{SipUri, Source, Transport, Uri};
use postern_slots::{Contacts, Door};

/// What of a Request-URI goes with the call: the worker may have to decide by it as we did.
const KEPT: [&str; 3] = ["target", "cause", "user"];

/// A call keeps its security: in by TLS, on by TLS; and `sips:` is not for less.
pub(crate) fn door_of(source: &Source, called: &Uri) -> Door {
    let secure = source.transport == Transport::Tls || called.as_sip().is_some_and(|uri| uri.secure);
    if secure { Door::Tls } else { Door::Tcp }
}

/// The worker's listener for a caller at `caller`, of its address family if there is one.
pub(crate) fn listener(contacts: &Contacts, door: Door, caller: IpAddr) -> Option<SipUri> {
    match door {
        Door::Tls => contacts.tls.as_ref().and_then(|named| over_tls(&named.host, named.port)),
        Door::Tcp => {
            let v4 = caller.to_canonical().is_ipv4();
            let own_family = contacts.tcp.iter().find(|address| address.is_ipv4() == v4);
            own_family.or(contacts.tcp.first()).map(|address| over_tcp(*address))
        }
    }
}

/// All of the worker's listeners, for routers that redirect straight to it.
pub(crate) fn listeners(contacts: &Contacts) -> Vec<SipUri> {
    let tcp = contacts.tcp.iter().map(|address| over_tcp(*address));
    let tls = contacts.tls.iter().filter_map(|named| over_tls(&named.host, named.port));
    tcp.chain(tls).collect()
}

fn over_tcp(address: SocketAddr) -> SipUri {
    SipUri::new(Host::from(address.ip())).with_port(Some(address.port())).with_param("transport", Some("tcp"))
}

fn over_tls(host: &str, port: u16) -> Option<SipUri> {
    Some(SipUri::new(Host::parse(host)?).with_port(Some(port)).with_param("transport", Some("tls")))
}

/// `listener` as the target of the call to `called`: its user, and `sips:` when it came by that.
pub(crate) fn towards(listener: SipUri, called: &Uri) -> SipUri {
    let mut uri = listener.with_user(&called.user().unwrap_or_default());
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
    use postern_slots::NamedPort;

    use super::*;

    fn contacts() -> Contacts {
        Contacts {
            tcp: vec!["10.20.0.20:5065".parse().expect("an address"), "[2001:db8::20]:5065".parse().expect("one")],
            tls: Some(NamedPort { host: "um.example.test".into(), port: 5066 }),
        }
    }

    fn sent_on(door: Door, caller: &str, called: &str) -> String {
        let listener = listener(&contacts(), door, caller.parse().expect("an address")).expect("a listener");
        towards(listener, &Uri::parse(called).expect("a URI")).to_string()
    }

    #[test]
    fn a_call_goes_to_the_listener_of_its_family_and_security() {
        let called = "sip:1001@10.20.0.20:5062;transport=tcp;postern-call=x";
        for (door, caller, wanted) in [
            (Door::Tcp, "10.20.0.9", "sip:1001@10.20.0.20:5065;transport=tcp"),
            (Door::Tcp, "::ffff:10.20.0.9", "sip:1001@10.20.0.20:5065;transport=tcp"),
            (Door::Tcp, "2001:db8::9", "sip:1001@[2001:db8::20]:5065;transport=tcp"),
            (Door::Tls, "10.20.0.9", "sip:1001@um.example.test:5066;transport=tls"),
        ] {
            assert_eq!(sent_on(door, caller, called), wanted);
        }
    }

    #[test]
    fn what_names_the_mailbox_goes_with_the_call() {
        let called = "sip:7000@10.20.0.20;target=sip:1001%40pbx;cause=486;lr";
        let wanted = "sip:7000@10.20.0.20:5065;transport=tcp;target=sip:1001%40pbx;cause=486";
        assert_eq!(sent_on(Door::Tcp, "10.20.0.9", called), wanted);
        let wanted = "sip:+15550100@10.20.0.20:5065;transport=tcp";
        assert_eq!(sent_on(Door::Tcp, "10.20.0.9", "tel:+15550100"), wanted);
        assert_eq!(sent_on(Door::Tls, "10.20.0.9", "sips:7000@um.example.test"), "sips:7000@um.example.test:5066");
    }

    #[test]
    fn a_worker_without_an_address_of_the_family_is_reached_by_another() {
        let contacts = Contacts { tcp: contacts().tcp[..1].to_vec(), tls: None };
        let caller = "2001:db8::9".parse().expect("an address");
        assert!(listener(&contacts, Door::Tcp, caller).is_some());
        assert!(listener(&contacts, Door::Tls, caller).is_none());
        assert_eq!(listeners(&contacts).len(), 1);
    }
}
