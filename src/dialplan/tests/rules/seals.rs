//! Decisions that ride to the next hop.

use postern_dialplan::{Belief, Decision, Rules, SEAL_PARAMETER, Seals};
use postern_sip::{SipUri, Uri};
use proptest::prelude::*;

use crate::support::{NOW, gateway, invite, options, rules, tcp, told};

const PILOT: &str = "sip:7000@10.20.0.20";
const CALLED: &str = "Diversion: <sip:1001@pbx>;reason=user-busy\r\nFrom: <sip:2002@pbx>;tag=1\r\n";

fn seals() -> Seals {
    Seals::new(["the-first-secret-of-this-test", "the-second-secret-of-this-test"])
}

fn first_hop(rules: &Rules) -> Decision {
    rules.decide(&invite(PILOT, CALLED), &tcp("203.0.113.7"), &seals(), NOW).expect("taken")
}

fn sealed(rules: &Rules, seals: &Seals) -> SipUri {
    let Some(Uri::Sip(uri)) = Uri::parse(PILOT) else { panic!("no URI") };
    rules.seal(uri, &first_hop(rules), seals, NOW)
}

/// The next hop's decision on an INVITE without any of the headers that the first hop saw.
fn next_hop(rules: &Rules, uri: &SipUri, seals: &Seals, after_secs: u64) -> Decision {
    rules.decide(&invite(&uri.to_string(), ""), &tcp("203.0.113.7"), seals, NOW + after_secs).expect("taken")
}

#[test]
fn the_next_hop_believes_what_was_sealed() {
    let rules = rules(options());
    let uri = sealed(&rules, &seals());
    let decision = next_hop(&rules, &uri, &seals(), 29);
    assert_eq!(decision.belief, Belief::Seal);
    assert_eq!(decision.caller.address.as_deref(), Some("2002"));
    assert_eq!(told(&Ok(decision)), "answer 1001 busy");
}

#[test]
fn each_purpose_survives_its_seal() {
    let rules = rules(options());
    for (uri, headers, wanted) in [
        (PILOT, "", "access - direct"),
        ("sip:1001@10.20.0.20", "", "answer 1001 direct"),
        ("sip:1001@10.20.0.20", "From: <sip:1001@pbx>;tag=1\r\n", "access 1001 direct"),
    ] {
        let first = rules.decide(&invite(uri, headers), &tcp("203.0.113.7"), &seals(), NOW).expect("taken");
        let Some(Uri::Sip(uri)) = Uri::parse(uri) else { panic!("no URI") };
        let next = next_hop(&rules, &rules.seal(uri, &first, &seals(), NOW), &seals(), 0);
        assert_eq!((told(&Ok(next.clone())).as_str(), next.belief), (wanted, Belief::Seal));
    }
}

#[test]
fn a_seal_ends_after_thirty_seconds_and_is_not_from_the_future() {
    let rules = rules(options());
    let uri = sealed(&rules, &seals());
    assert_eq!(next_hop(&rules, &uri, &seals(), 30).belief, Belief::Message);
    let early = |secs: u64| {
        rules.decide(&invite(&uri.to_string(), ""), &tcp("203.0.113.7"), &seals(), NOW - secs).expect("taken").belief
    };
    assert_eq!((early(5), early(6)), (Belief::Seal, Belief::Message));
}

#[test]
fn a_seal_of_another_gateway_counts_for_nothing() {
    let mut two = options();
    two.gateways.push(gateway("198.51.100.0/24", "office"));
    let rules = rules(two);
    let uri = sealed(&rules, &seals());
    let stolen = rules.decide(&invite(&uri.to_string(), ""), &tcp("198.51.100.7"), &seals(), NOW).expect("taken");
    assert_eq!((told(&Ok(stolen.clone())).as_str(), stolen.belief), ("access - direct", Belief::Message));
}

#[test]
fn secrets_rotate_with_overlap() {
    let rules = rules(options());
    let old = Seals::new(["the-second-secret-of-this-test"]);
    assert_eq!(next_hop(&rules, &sealed(&rules, &old), &seals(), 0).belief, Belief::Seal);
    assert_eq!(next_hop(&rules, &sealed(&rules, &seals()), &old, 0).belief, Belief::Message);
}

#[test]
fn without_secrets_nothing_is_sealed_and_nothing_believed() {
    let rules = rules(options());
    assert!(!sealed(&rules, &Seals::default()).has_param(SEAL_PARAMETER));
    let uri = sealed(&rules, &seals());
    assert_eq!(next_hop(&rules, &uri, &Seals::default(), 0).belief, Belief::Message);
    let bare = rules.seal(uri, &first_hop(&rules), &Seals::default(), NOW);
    assert!(!bare.has_param(SEAL_PARAMETER), "an older seal is taken off");
}

#[test]
fn no_secret_is_in_the_debug_form() {
    assert_eq!(format!("{:?}", seals()), "Seals(2 keys)");
}

proptest! {
    #[test]
    fn a_changed_seal_is_none(at in 0usize..400, to in "[A-Za-z0-9_-]") {
        let rules = rules(options());
        let mut uri = sealed(&rules, &seals());
        let text = uri.param(SEAL_PARAMETER).expect("sealed").into_owned();
        let at = at % text.len();
        let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
        prop_assume!(changed != text);
        uri.set_param(SEAL_PARAMETER, Some(&changed));
        prop_assert_eq!(next_hop(&rules, &uri, &seals(), 0).belief, Belief::Message);
    }

    #[test]
    fn no_text_is_taken_for_a_seal(text in "[A-Za-z0-9_=-]{0,1200}") {
        let rules = rules(options());
        let mut uri = sealed(&rules, &seals());
        uri.set_param(SEAL_PARAMETER, Some(&text));
        prop_assert_eq!(next_hop(&rules, &uri, &seals(), 0).belief, Belief::Message);
    }
}
