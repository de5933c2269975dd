//! Who may call, under which plan, and how well protected.

use postern_dialplan::{Origin, Refusal, Rules, RulesError, Seals, Security, Status};
use postern_sip::Source;

use crate::support::{NOW, decide, gateway, hunt, invite, options, plan, rules, tcp, tls, told};

const PILOT: &str = "sip:7000@10.20.0.20";
const SEALED: &str = "sip:8000@10.20.0.20";

fn verdict(rules: &Rules, uri: &str, headers: &str, source: &Source) -> String {
    let verdict = rules.decide(&invite(uri, headers), source, &Seals::default(), NOW);
    match &verdict {
        Ok(decision) => format!("{} {}", decision.gateway, decision.plan),
        Err(_) => told(&verdict),
    }
}

#[test]
fn a_gateway_is_known_by_its_address_or_by_its_certificate() {
    let rules = rules(options());
    for (source, uri, wanted) in [
        (tcp("203.0.113.7"), PILOT, "203.0.113.0/24 office"),
        (tls("203.0.113.7", &["other.example.test"]), PILOT, "203.0.113.0/24 office"),
        (tcp("203.0.114.7"), PILOT, "403 unknown-gateway"),
        (tcp("::ffff:203.0.113.7"), PILOT, "203.0.113.0/24 office"),
        (tls("198.51.100.1", &["gw.example.test"]), SEALED, "gw.example.test sealed"),
        (tls("198.51.100.1", &["GW.example.test"]), SEALED, "gw.example.test sealed"),
        (tls("198.51.100.1", &["*.example.test"]), SEALED, "403 unknown-gateway"),
        (tls("198.51.100.1", &[]), SEALED, "403 unknown-gateway"),
        (tcp("198.51.100.1"), SEALED, "403 unknown-gateway"),
        // A name proves more than an address.
        (tls("203.0.113.7", &["gw.example.test"]), SEALED, "gw.example.test sealed"),
    ] {
        assert_eq!(verdict(&rules, uri, "", &source), wanted, "{source:?}");
    }
}

#[test]
fn names_count_under_tls_alone() {
    let rules = rules(options());
    let mut forged = tls("198.51.100.1", &["gw.example.test"]);
    forged.transport = postern_sip::Transport::Tcp;
    assert_eq!(verdict(&rules, SEALED, "", &forged), "403 unknown-gateway");
}

#[test]
fn the_smallest_network_that_holds_the_address_counts() {
    let mut some = options();
    some.gateways =
        vec![gateway("203.0.113.0/24", "office"), gateway("203.0.113.7", "guests"), gateway("203.0.0.0/16", "office")];
    some.plans.push(plan("guests", "7000"));
    let rules = rules(some);
    assert_eq!(verdict(&rules, PILOT, "", &tcp("203.0.113.7")), "203.0.113.7 guests");
    assert_eq!(verdict(&rules, PILOT, "", &tcp("203.0.113.8")), "203.0.113.0/24 office");
    assert_eq!(verdict(&rules, PILOT, "", &tcp("203.0.114.8")), "203.0.0.0/16 office");
}

#[test]
fn a_gateway_may_be_closed() {
    let closed = |status| {
        let mut some = options();
        some.gateways[0].status = status;
        rules(some)
    };
    assert_eq!(told(&decide(&closed(Status::NoNewCalls), PILOT, "")), "480 no-new-calls");
    assert_eq!(told(&decide(&closed(Status::Disabled), PILOT, "")), "403 disabled");
    assert!(closed(Status::NoNewCalls).admits(&tcp("203.0.113.7")));
    assert!(!closed(Status::Disabled).admits(&tcp("203.0.113.7")));
    assert!(closed(Status::Disabled).admits(&tcp("10.20.0.21")));
}

#[test]
fn plans_above_unsecured_take_a_proved_name_under_mutual_tls_only() {
    for security in [Security::SipSecured, Security::Secured] {
        let mut some = options();
        some.plans[0].security = security;
        let rules = rules(some);
        assert_eq!(verdict(&rules, PILOT, "", &tcp("203.0.113.7")), "403 not-secure");
        assert_eq!(verdict(&rules, PILOT, "", &tls("203.0.113.7", &["other.example.test"])), "403 not-secure");
    }
}

#[test]
fn media_follows_the_plan() {
    for (security, tls, srtp, sdes_in_clear) in [
        (Security::Unsecured, false, false, true),
        (Security::SipSecured, true, false, false),
        (Security::Secured, true, true, false),
    ] {
        assert_eq!((security.needs_tls(), security.needs_srtp()), (tls, srtp));
        assert_eq!((security.takes_sdes(false), security.takes_sdes(true)), (sdes_in_clear, true));
    }
}

#[test]
fn a_hunt_group_leads_a_pilot_of_one_gateway_to_another_plan() {
    let mut some = options();
    some.gateways.push(gateway("198.51.100.0/24", "office"));
    some.plans.push(plan("sales", "7900"));
    some.hunt_groups = vec![hunt("203.0.113.0/24", "7100", "sales")];
    let rules = rules(some);
    assert_eq!(verdict(&rules, "sip:7100@10.20.0.20", "", &tcp("203.0.113.7")), "203.0.113.0/24 sales");
    assert_eq!(verdict(&rules, PILOT, "", &tcp("203.0.113.7")), "203.0.113.0/24 office");
    assert_eq!(verdict(&rules, "sip:7100@10.20.0.20", "", &tcp("198.51.100.7")), "198.51.100.0/24 office");
    assert_eq!(told(&decide(&rules, "sip:7100@10.20.0.20", "")), "access - direct");
    assert_eq!(
        told(&decide(&rules, "sip:7100@10.20.0.20", "Diversion: <sip:7100@p>, <sip:1001@p>\r\n")),
        "answer 1001 forward"
    );
}

#[test]
fn a_hunt_group_into_a_secured_plan_asks_for_the_name_too() {
    let mut some = options();
    some.hunt_groups = vec![hunt("203.0.113.0/24", "8000", "sealed")];
    assert_eq!(told(&decide(&rules(some), SEALED, "")), "403 not-secure");
}

#[test]
fn a_router_is_believed_in_what_it_tells() {
    let rules = rules(options());
    let office = "Postern-Origin: 203.0.113.0/24 office 203.0.113.9\r\n";
    let sealed = "Postern-Origin: gw.example.test sealed 198.51.100.1\r\n";
    let by_name = tls("10.20.0.99", &["router.example.test"]);
    for (source, uri, headers, wanted) in [
        (tcp("10.20.0.21"), PILOT, office, "203.0.113.0/24 office"),
        (by_name.clone(), PILOT, office, "203.0.113.0/24 office"),
        (by_name.clone(), SEALED, sealed, "gw.example.test sealed"),
        // A router known by address alone speaks for no secured plan.
        (tcp("10.20.0.21"), SEALED, sealed, "403 not-secure"),
        (tcp("10.20.0.21"), PILOT, "", "403 no-origin"),
        (tcp("10.20.0.21"), PILOT, "Postern-Origin: elsewhere office 10.0.0.1\r\n", "403 no-origin"),
        (tcp("10.20.0.21"), PILOT, "Postern-Origin: 203.0.113.0/24 nowhere 10.0.0.1\r\n", "403 no-origin"),
        (tcp("10.20.0.21"), PILOT, "Postern-Origin: 203.0.113.0/24 office\r\n", "403 no-origin"),
        (tcp("10.20.0.21"), PILOT, &format!("{office}{office}"), "403 no-origin"),
        // Nobody else is.
        (tcp("203.0.113.7"), PILOT, sealed, "203.0.113.0/24 office"),
        (tcp("198.51.100.1"), PILOT, office, "403 unknown-gateway"),
    ] {
        assert_eq!(verdict(&rules, uri, headers, &source), wanted, "{source:?} {headers}");
    }
    let told = rules.decide(&invite(PILOT, office), &tcp("10.20.0.21"), &Seals::default(), NOW).expect("taken");
    assert_eq!(told.signalling.to_string(), "203.0.113.9");
}

#[test]
fn what_a_router_writes_is_what_the_next_hop_reads() {
    let rules = rules(options());
    let first = decide(&rules, PILOT, "Postern-Origin: gw.example.test sealed 1.1.1.1\r\n").expect("taken");
    let mut request = invite(PILOT, "Postern-Origin: gw.example.test sealed 1.1.1.1\r\n");
    rules.origin(&first).set_in(&mut request.headers);
    let next = rules.decide(&request, &tcp("10.20.0.21"), &Seals::default(), NOW).expect("taken");
    assert_eq!((next.gateway, next.plan, next.signalling), (first.gateway, first.plan, first.signalling));
    Origin::remove_from(&mut request.headers);
    let refusal = rules.decide(&request, &tcp("10.20.0.21"), &Seals::default(), NOW).expect_err("nothing is told");
    assert_eq!(refusal, Refusal::NoOrigin);
}

#[test]
fn rules_whose_names_lead_nowhere_are_none() {
    let broken = |change: fn(&mut postern_dialplan::Options)| {
        let mut some = options();
        change(&mut some);
        Rules::new(some).expect_err("broken")
    };
    assert_eq!(broken(|o| o.gateways[0].plan = "x".into()), RulesError::UnknownPlan("x".into()));
    assert_eq!(broken(|o| o.plans[1].name = "office".into()), RulesError::RepeatedPlan("office".into()));
    assert_eq!(broken(|o| o.hunt_groups = vec![hunt("203.0.113.0/24", "1", "x")]), RulesError::UnknownPlan("x".into()));
    assert_eq!(broken(|o| o.hunt_groups = vec![hunt("x", "1", "office")]), RulesError::UnknownGateway("x".into()));
}

#[test]
fn each_refusal_has_one_status_and_a_name_of_its_own() {
    let statuses: Vec<u16> = Refusal::ALL.iter().map(|refusal| refusal.status().code()).collect();
    assert_eq!(statuses, [403, 403, 403, 403, 404, 480, 482, 486, 488, 503]);
    let names: std::collections::BTreeSet<&str> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
    assert_eq!(names.len(), Refusal::ALL.len());
}
