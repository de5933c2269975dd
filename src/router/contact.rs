//! The URIs of services and workers, and the Contacts of a 302.

use std::net::IpAddr;

use postern_config::{SipTarget, SipTransport};
use postern_dialplan::ServiceStatus;
use postern_sip::host::Host;
use postern_sip::{NameAddr, SipUri};

/// The URI of a service. `None` for a host that is none, which no configuration lets through.
pub(crate) fn uri_of(target: &SipTarget) -> Option<SipUri> {
    let host = match target.host.parse() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::parse(&target.host)?,
    };
    let transport = match target.transport {
        SipTransport::Tcp => "tcp",
        SipTransport::Tls => "tls",
    };
    Some(SipUri::new(host).with_port(target.port).with_param("transport", Some(transport)))
}

/// Where a service's active worker takes calls over `transport`, at an address of the caller's family if it has one. A
/// name may lead to either family.
pub(crate) fn worker_for(status: &ServiceStatus, transport: SipTransport, caller: IpAddr) -> Option<SipUri> {
    let v4 = caller.to_canonical().is_ipv4();
    let reached = |uri: &&&SipUri| uri.host.address().is_none_or(|address| address.is_ipv4() == v4);
    let workers: Vec<&SipUri> = status.workers.iter().filter(|uri| is_over(uri, transport)).collect();
    workers.iter().find(reached).or(workers.first()).map(|uri| (*uri).clone())
}

/// Whether a worker's URI is for calls that came over `transport`.
fn is_over(uri: &SipUri, transport: SipTransport) -> bool {
    let tls = uri.secure || uri.param("transport").is_some_and(|name| name.eq_ignore_ascii_case("tls"));
    tls == (transport == SipTransport::Tls)
}

/// Contacts of a 302, best first: each a tenth less wanted than the one before.
pub(crate) fn ranked(uris: Vec<SipUri>) -> String {
    let contact = |(rank, uri): (usize, SipUri)| {
        let q = format!("{:.1}", 1.0 - 0.1 * rank.min(9) as f64);
        NameAddr::new(uri).with_param("q", Some(&q)).to_string()
    };
    uris.into_iter().enumerate().map(contact).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use postern_sip::Uri;

    use super::*;

    fn service(text: &str) -> SipUri {
        uri_of(&text.parse().expect("a target")).expect("a host")
    }

    #[test]
    fn addresses_of_both_families_and_names_are_hosts() {
        assert_eq!(service("sip:[2001:db8::20]:5062").to_string(), "sip:[2001:db8::20]:5062;transport=tcp");
        assert_eq!(service("sips:um.example.test").to_string(), "sip:um.example.test;transport=tls");
    }

    #[test]
    fn contacts_are_ranked_by_their_place() {
        let uris = vec![service("sip:10.0.0.1:5062"), service("sip:10.0.0.2:5062")];
        assert_eq!(ranked(uris), "<sip:10.0.0.1:5062;transport=tcp>;q=1.0, <sip:10.0.0.2:5062;transport=tcp>;q=0.9");
        let many = ranked(vec![service("sip:10.0.0.1:5062"); 16]);
        assert!(many.ends_with(";q=0.1"), "{many}");
    }

    fn uri(text: &str) -> SipUri {
        match Uri::parse(text) {
            Some(Uri::Sip(uri)) => uri,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_worker_is_named_by_an_address_of_the_caller_s_family() {
        let place = |workers: &[&str], transport, caller: &str| {
            let status = ServiceStatus { free_calls: 1, workers: workers.iter().map(|worker| uri(worker)).collect() };
            worker_for(&status, transport, caller.parse().expect("an address")).map(|place| place.to_string())
        };
        let (v4, v6) = ("sip:10.20.0.20:5065;transport=tcp", "sip:[2001:db8::20]:5065;transport=tcp");
        for (caller, own, other) in [("192.0.2.7", v4, v6), ("::ffff:192.0.2.7", v4, v6), ("2001:db8::7", v6, v4)] {
            assert_eq!(place(&[other, own], SipTransport::Tcp, caller).as_deref(), Some(own), "{caller}");
            assert_eq!(place(&[other], SipTransport::Tcp, caller).as_deref(), Some(other), "{caller}");
            let named = "sip:worker.example.test:5066;transport=tls";
            assert_eq!(place(&[other, named], SipTransport::Tls, caller).as_deref(), Some(named), "{caller}");
            assert_eq!(place(&[own], SipTransport::Tls, caller), None, "{caller}");
        }
    }

    #[test]
    fn a_worker_is_for_calls_of_its_transport() {
        for (text, tls) in [
            ("sip:w:5066;transport=TLS", true),
            ("sips:w", true),
            ("sip:w:5065;transport=tcp", false),
            ("sip:w", false),
        ] {
            assert_eq!(is_over(&uri(text), SipTransport::Tls), tls, "{text}");
            assert_eq!(is_over(&uri(text), SipTransport::Tcp), !tls, "{text}");
        }
    }
}
