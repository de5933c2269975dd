//! Which mailbox a call is for, and what for: the table of the order in which names are looked for.

use postern_dialplan::{Belief, DiversionOrder, Options, Plan, UriType};

use crate::support::{decide, gateway, options, plan, rules, told};

const PILOT: &str = "sip:7000@10.20.0.20:5062;transport=tcp";
const DIRECT: &str = "sip:1001@10.20.0.20:5062;transport=tcp";

#[track_caller]
fn table(options: Options, rows: &[(&str, &str, &str)]) {
    let rules = rules(options);
    for (uri, headers, wanted) in rows {
        let verdict = decide(&rules, uri, headers);
        assert_eq!(told(&verdict), *wanted, "{uri}\n{headers}");
    }
}

#[test]
fn the_first_that_names_a_mailbox_counts() {
    let history = "History-Info: <sip:1003@pbx.example.test>;index=1, <sip:7000@um.example.test>;index=1.1\r\n";
    let diversion = "Diversion: <sip:1002@pbx.example.test>;reason=no-answer\r\n";
    let both = format!("{history}{diversion}");
    let target = "sip:7000@10.20.0.20;target=sip:1001%40pbx.example.test;cause=486";
    table(
        options(),
        &[
            (target, &both, "answer 1001 busy"),
            (PILOT, &both, "answer 1002 no-answer"),
            (PILOT, history, "answer 1003 forward"),
            (PILOT, "", "access - direct"),
            (DIRECT, "", "answer 1001 direct"),
            (DIRECT, diversion, "answer 1002 no-answer"),
        ],
    );
}

#[test]
fn entries_that_name_a_pilot_are_skipped() {
    table(
        options(),
        &[
            (PILOT, "Diversion: <sip:7000@pbx.example.test>, <sip:1002@pbx.example.test>\r\n", "answer 1002 forward"),
            (PILOT, "Diversion: <tel:7000>\r\n", "access - direct"),
            ("sip:7000@h;target=sip:7000%40pbx.example.test", "", "access - direct"),
            (
                PILOT,
                "History-Info: <sip:1003@p>;index=1, <sip:7000@p>;index=1.1, <sip:7000@10.20.0.20>;index=1.1.1\r\n",
                "answer 1003 forward",
            ),
            (PILOT, "History-Info: <sip:7000@10.20.0.20>;index=1\r\n", "access - direct"),
        ],
    );
}

#[test]
fn what_our_own_redirect_left_behind_is_skipped() {
    table(
        options(),
        &[
            (DIRECT, "Diversion: <sip:1001@10.20.0.21:5060>;reason=deflection\r\n", "answer 1001 direct"),
            (DIRECT, "From: <sip:1001@pbx>;tag=1\r\nDiversion: <sip:1001@um.example.test>\r\n", "access 1001 direct"),
            (PILOT, "Diversion: <sip:10.20.0.21>\r\n", "access - direct"),
            (
                DIRECT,
                "History-Info: <sip:1001@10.20.0.21>;index=1, <sip:1001@10.20.0.20>;index=1.1\r\n",
                "answer 1001 direct",
            ),
            // Gateways that write our host into a user's address are understood all the same.
            (PILOT, "Diversion: <sip:1002@10.20.0.21>\r\n", "answer 1002 forward"),
        ],
    );
}

#[test]
fn the_top_diversion_counts_unless_the_gateway_says_bottom() {
    let headers = "Diversion: <sip:1002@pbx>;reason=user-busy\r\nDiversion: <sip:1003@pbx>;reason=no-answer\r\n";
    table(options(), &[(PILOT, headers, "answer 1002 busy")]);
    let mut bottom = options();
    bottom.gateways[0].diversion = DiversionOrder::Bottom;
    let skipped = "Diversion: <sip:1002@pbx>, <sip:1003@pbx>, <sip:7000@pbx>\r\n";
    table(bottom, &[(PILOT, headers, "answer 1003 no-answer"), (PILOT, skipped, "answer 1003 forward")]);
}

#[test]
fn diversions_that_cannot_be_read_are_passed_over_and_counted() {
    let rules = rules(options());
    let headers = "Diversion: <<sip:1009@pbx>\r\nDiversion: <sip:1002@pbx>\r\nDiversion: ;;\r\n";
    let decision = decide(&rules, PILOT, headers).expect("taken");
    assert_eq!(told(&Ok(decision.clone())), "answer 1002 forward");
    assert_eq!((decision.unreadable, decision.belief), (2, Belief::Message));
}

#[test]
fn history_tells_why_the_call_was_diverted() {
    let own = "History-Info: <sip:1003@p?Reason=SIP%3Bcause%3D486>;index=1, <sip:7000@p>;index=1.1\r\n";
    let next = "History-Info: <sip:1003@p>;index=1, <sip:7000@p;cause=408>;index=1.1\r\n";
    let q850 = "History-Info: <sip:1003@p?Reason=Q.850%3Bcause%3D17>;index=1, <sip:7000@p>;index=1.1\r\n";
    let far = "History-Info: <sip:1004@p>;index=1, <sip:1003@p>;index=1.1, <sip:7000@p>;index=1.1.1\r\n";
    let without_us = "History-Info: <sip:1004@p>;index=1, <sip:1003@p>;index=1.1\r\n";
    table(
        options(),
        &[
            (PILOT, own, "answer 1003 busy"),
            (PILOT, next, "answer 1003 no-answer"),
            (PILOT, q850, "answer 1003 forward"),
            (PILOT, far, "answer 1003 forward"),
            (PILOT, without_us, "answer 1003 forward"),
        ],
    );
}

#[test]
fn owners_who_call_their_own_number_hear_their_messages() {
    let own = "From: \"Alice\" <sip:1001@pbx>;tag=1\r\n";
    let asserted = "P-Asserted-Identity: <sip:1001@pbx>\r\n";
    let withheld = "From: <sip:1001@pbx>;tag=1\r\nPrivacy: id\r\n";
    let diverted = format!("{own}Diversion: <sip:1001@pbx>\r\n");
    table(
        options(),
        &[
            (DIRECT, own, "access 1001 direct"),
            (DIRECT, asserted, "access 1001 direct"),
            (DIRECT, withheld, "answer 1001 direct"),
            (PILOT, own, "access - direct"),
            (PILOT, &diverted, "answer 1001 forward"),
        ],
    );
}

#[test]
fn a_worker_that_knows_the_owners_other_numbers_may_say_so() {
    let rules = rules(options());
    let direct = decide(&rules, DIRECT, "").expect("taken");
    assert_eq!(told(&Ok(direct.clone().called_by_owner(false))), "answer 1001 direct");
    assert_eq!(told(&Ok(direct.called_by_owner(true))), "access 1001 direct");
    let diverted = decide(&rules, PILOT, "Diversion: <sip:1001@pbx>\r\n").expect("taken");
    assert_eq!(told(&Ok(diverted.called_by_owner(true))), "answer 1001 forward");
}

#[test]
fn addresses_that_lead_nowhere_are_404() {
    table(
        options(),
        &[
            ("sip:alice@10.20.0.20", "", "404 no-such-address"),
            ("sip:10.20.0.20", "", "404 no-such-address"),
            ("urn:service:sos", "", "404 no-such-address"),
            // The pilot of a plan that the gateway does not lead to.
            ("sip:8000@10.20.0.20", "", "404 no-such-address"),
            ("sip:alice@10.20.0.20", "Diversion: <sip:1001@pbx>\r\n", "answer 1001 forward"),
        ],
    );
    let mut four = options();
    four.plans[0].digits = 4;
    table(
        four,
        &[
            ("sip:101@10.20.0.20", "", "404 no-such-address"),
            ("sip:+15551001@10.20.0.20;user=phone", "", "answer 1001 direct"),
            ("sip:+15557000@10.20.0.20", "", "access - direct"),
        ],
    );
}

#[test]
fn too_many_diversions_are_a_loop() {
    let rules = rules(options());
    let entries = |count| "Diversion: <sip:1001@pbx>\r\n".repeat(count);
    assert_eq!(told(&decide(&rules, PILOT, &entries(10))), "answer 1001 forward");
    assert_eq!(told(&decide(&rules, PILOT, &entries(11))), "482 loop");
    assert_eq!(told(&decide(&rules, PILOT, &"Diversion: <\r\n".repeat(11))), "482 loop");
}

#[test]
fn a_mailbox_of_a_sip_plan_is_its_user_at_a_domain_of_the_plan() {
    let mut sip = options();
    sip.gateways = vec![gateway("203.0.113.0/24", "people")];
    let domains = vec!["example.test".to_string(), "example.com".to_string()];
    sip.plans = vec![Plan { uri_type: UriType::Sip, domains, ..plan("people", "voicemail") }];
    table(
        sip.clone(),
        &[
            ("sip:voicemail@um.example.test", "", "access - direct"),
            ("sip:Alice@um.example.test", "", "answer alice@example.test direct"),
            ("sip:alice@example.com", "", "answer alice@example.com direct"),
            ("sip:alice@elsewhere.test", "", "404 no-such-address"),
            (
                "sip:voicemail@um.example.test",
                "Diversion: <sip:bob@example.test>\r\n",
                "answer bob@example.test forward",
            ),
            ("sip:voicemail@um.example.test", "Diversion: <sip:bob@elsewhere.test>\r\n", "access - direct"),
        ],
    );
    sip.plans[0].domains.clear();
    table(sip, &[("sip:Alice@anywhere.test", "", "answer alice direct")]);
}

#[test]
fn a_mailbox_of_an_e164_plan_is_a_whole_number() {
    let mut numbers = options();
    numbers.gateways = vec![gateway("203.0.113.0/24", "numbers")];
    numbers.plans = vec![Plan {
        uri_type: UriType::E164,
        country_code: "49".into(),
        national_prefix: "0".into(),
        international_prefix: "00".into(),
        ..plan("numbers", "+4930700000")
    }];
    table(
        numbers,
        &[
            ("sip:030700000@um.example.test", "", "access - direct"),
            ("sip:+4930700001@um.example.test;user=phone", "", "answer +4930700001 direct"),
            ("sip:004930700001@um.example.test", "", "answer +4930700001 direct"),
            ("sip:+4930700000@h", "Diversion: <tel:+49-30-700-001>\r\n", "answer +4930700001 forward"),
            ("sip:+4930700001@h", "From: <sip:030700001@pbx>;tag=1\r\n", "access +4930700001 direct"),
        ],
    );
}
