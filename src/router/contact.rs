//! The URIs of services and workers, and the Contacts of a 302.

use postern_config::{SipTarget, SipTransport};
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

/// Whether a worker's URI is for calls that came over `transport`.
pub(crate) fn is_over(uri: &SipUri, transport: SipTransport) -> bool {
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

    #[test]
    fn a_worker_is_for_calls_of_its_transport() {
        let uri = |text: &str| match Uri::parse(text) {
            Some(Uri::Sip(uri)) => uri,
            other => panic!("{other:?}"),
        };
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
