//! What may be dialled, by whom it is sent, and what is tried to get past that.

use postern_dialplan::{DialRefusal, DialTarget, Gateway, Options, Plan, Rules, Status, UriType};
use postern_sip::{SipUri, Uri};
use proptest::prelude::*;

use crate::support::{gateway, hunt, options, plan, rules};

/// A plan "office" of this type with these rules.
fn dialling(uri_type: UriType, allow: &[&str]) -> Rules {
    let allow = allow.iter().map(|rule| rule.parse().expect("a rule")).collect();
    let plan = Plan {
        uri_type,
        allow,
        operator: "reception@example.test".into(),
        country_code: "49".into(),
        national_prefix: "0".into(),
        international_prefix: "00".into(),
        domains: vec!["example.test".into()],
        ..plan("office", "7000")
    };
    rules(Options { gateways: Vec::new(), plans: vec![plan], ..options() })
}

fn dialled(rules: &Rules, text: &str) -> Result<String, DialRefusal> {
    rules.dial("office", text).map(|target| target.to_string())
}

#[test]
fn without_rules_nothing_may_be_dialled() {
    for uri_type in [UriType::Extension, UriType::E164, UriType::Sip] {
        let rules = dialling(uri_type, &[]);
        for text in ["1001", "+15550100", "tel:+15550100", "sip:alice@example.test", "911", "0"] {
            assert_eq!(dialled(&rules, text), Err(DialRefusal::NotAllowed), "{text}");
        }
        assert_eq!(rules.dial("elsewhere", "1001"), Err(DialRefusal::NotAllowed));
    }
}

#[test]
fn a_number_is_compared_in_the_form_of_the_plan() {
    let extension = dialling(UriType::Extension, &["+1*", "9*", "1001"]);
    for (text, wanted) in [
        ("+1 (555) 01-00", Ok("+15550100")),
        ("tel:+1-555-0100", Ok("+15550100")),
        ("TEL:9.1001", Ok("91001")),
        (" 1001 ", Ok("1001")),
        ("10011", Err(DialRefusal::NotAllowed)),
        ("15550100", Err(DialRefusal::NotAllowed)),
        ("+4930123456", Err(DialRefusal::NotAllowed)),
    ] {
        assert_eq!(dialled(&extension, text).as_deref(), wanted.as_ref().copied(), "{text}");
    }
    let e164 = dialling(UriType::E164, &["+4930*"]);
    for (text, wanted) in [
        ("030 123456", Ok("+4930123456")),
        ("0049-30-123456", Ok("+4930123456")),
        ("tel:+49(30)123456", Ok("+4930123456")),
        ("0040-21-123456", Err(DialRefusal::NotAllowed)),
        ("089 123456", Err(DialRefusal::NotAllowed)),
        ("+1234567890123456", Err(DialRefusal::NotANumber)),
    ] {
        assert_eq!(dialled(&e164, text).as_deref(), wanted.as_ref().copied(), "{text}");
    }
}

#[test]
fn a_uri_passes_only_if_a_rule_names_its_host() {
    let rules = dialling(UriType::Extension, &["*", "sip:*@gw.example.test"]);
    for (text, wanted) in [
        ("sip:alice@gw.example.test", Ok("sip:alice@gw.example.test")),
        ("SIPS:Alice@GW.Example.Test", Ok("sips:Alice@gw.example.test")),
        ("sip:+15550100@gw.example.test", Ok("sip:+15550100@gw.example.test")),
        ("sip:+15550100@example.test", Err(DialRefusal::NotAllowed)),
        ("sip:alice@gw.example.test.evil.test", Err(DialRefusal::NotAllowed)),
        ("sip:alice@evil.test", Err(DialRefusal::NotAllowed)),
        ("sip:alice@203.0.113.7", Err(DialRefusal::NotAllowed)),
        // Digits alone, in whatever base a resolver would read them.
        ("sip:alice@3405803783", Err(DialRefusal::Parameters)),
    ] {
        assert_eq!(dialled(&rules, text).as_deref(), wanted.as_ref().copied(), "{text}");
    }
}

#[test]
fn a_number_at_an_allowed_host_needs_a_rule_for_the_number_too() {
    let extension = dialling(UriType::Extension, &["1*", "sip:*@gw.example.test"]);
    for (text, wanted) in [
        ("sip:1001@gw.example.test", Ok("sip:1001@gw.example.test")),
        ("sip:bob@gw.example.test", Ok("sip:bob@gw.example.test")),
        ("sip:0119005550100@gw.example.test", Err(DialRefusal::NotAllowed)),
        ("sip:(0)11.900-5550100@gw.example.test", Err(DialRefusal::NotAllowed)),
        ("sips:+19005550100@gw.example.test", Err(DialRefusal::NotAllowed)),
        ("sip:1001@evil.test", Err(DialRefusal::NotAllowed)),
    ] {
        assert_eq!(dialled(&extension, text).as_deref(), wanted.as_ref().copied(), "{text}");
    }
    let longest = "1".repeat(65);
    assert_eq!(dialled(&extension, &format!("sip:{longest}@gw.example.test")), Err(DialRefusal::NotAllowed));
    let e164 = dialling(UriType::E164, &["+4930*", "sip:*@gw.example.test"]);
    assert!(dialled(&e164, "sip:030-123456@gw.example.test").is_ok(), "it is compared as it would be dialled");
    assert_eq!(dialled(&e164, "sip:089123456@gw.example.test"), Err(DialRefusal::NotAllowed));
    let sip = dialling(UriType::Sip, &["sip:*@example.test"]);
    assert_eq!(dialled(&sip, "1001@example.test"), Err(DialRefusal::NotAllowed));
}

#[test]
fn letters_are_dialled_in_plans_of_sip_uris_alone() {
    let allow = ["*", "sip:*@example.test"];
    for uri_type in [UriType::Extension, UriType::E164] {
        let rules = dialling(uri_type, &allow);
        for text in
            ["alice", "alice@example.test", "1800FLOWERS", "1001a", "0x10", "tel:alice", "*97", "*21*+15550100#"]
        {
            assert_eq!(dialled(&rules, text), Err(DialRefusal::NotANumber), "{text}");
        }
    }
    let sip = dialling(UriType::Sip, &allow);
    assert_eq!(dialled(&sip, "alice").as_deref(), Ok("sip:alice@example.test"));
    assert_eq!(dialled(&sip, "alice@example.test").as_deref(), Ok("sip:alice@example.test"));
    assert_eq!(dialled(&sip, "alice@evil.test"), Err(DialRefusal::NotAllowed));
    assert_eq!(dialled(&sip, "1001").as_deref(), Ok("1001"));
    let nowhere = rules(Options {
        plans: vec![Plan { uri_type: UriType::Sip, ..plan("office", "7000") }],
        gateways: Vec::new(),
        ..options()
    });
    assert_eq!(dialled(&nowhere, "alice"), Err(DialRefusal::NotANumber));
}

#[test]
fn what_could_lead_a_call_elsewhere_than_it_seems_is_refused() {
    let open = ["*", "+*", "sip:*@example.test", "sip:*@gw.example.test"];
    for uri_type in [UriType::Extension, UriType::E164, UriType::Sip] {
        let rules = dialling(uri_type, &open);
        for (text, why) in [
            ("1001;phone-context=evil.test", DialRefusal::Parameters),
            ("tel:1001;phone-context=+1900", DialRefusal::Parameters),
            ("tel:+15550100;ext=1", DialRefusal::Parameters),
            ("sip:1001;phone-context=evil.test@gw.example.test", DialRefusal::Parameters),
            ("sip:alice@gw.example.test;maddr=203.0.113.7", DialRefusal::Parameters),
            ("sip:alice@gw.example.test;transport=udp", DialRefusal::Parameters),
            ("sip:alice@gw.example.test;user=phone", DialRefusal::Parameters),
            ("sip:alice@gw.example.test?Subject=x", DialRefusal::Parameters),
            ("sip:alice@gw.example.test?Route=%3Csip:evil.test%3E", DialRefusal::Parameters),
            ("sip:alice:secret@gw.example.test", DialRefusal::Parameters),
            ("sip:alice@gw.example.test:5070", DialRefusal::Parameters),
            ("sip:alice%40evil.test@gw.example.test", DialRefusal::Parameters),
            ("sip:alice@gw.example.test@evil.test", DialRefusal::Parameters),
            ("sip:alice@evil.test@gw.example.test", DialRefusal::Parameters),
            ("sip:<alice>@gw.example.test", DialRefusal::Parameters),
            ("sip:ali ce@gw.example.test", DialRefusal::Parameters),
            ("sip:@gw.example.test", DialRefusal::Parameters),
            ("sip:gw.example.test", DialRefusal::NotANumber),
            ("1001%0d%0aContact:evil", DialRefusal::Parameters),
            ("1001\r\nRefer-To: sip:evil.test", DialRefusal::Unprintable),
            ("1001\n", DialRefusal::Unprintable),
            ("sip:alice@gw.example.test\r\nX: y", DialRefusal::Unprintable),
            ("1001\0", DialRefusal::Unprintable),
            ("\u{0661}\u{0662}\u{0663}", DialRefusal::Unprintable),
            ("\u{ff11}\u{ff12}", DialRefusal::Unprintable),
            ("sip:alice@gw\u{3002}example.test", DialRefusal::Unprintable),
            ("", DialRefusal::Empty),
            ("  ", DialRefusal::Empty),
            ("http://gw.example.test", DialRefusal::Scheme),
            ("javascript:1001", DialRefusal::Scheme),
        ] {
            assert_eq!(dialled(&rules, text), Err(why), "{text:?} in {uri_type:?}");
        }
        for long in ["1".repeat(65), format!("sip:{}@gw.example.test", "a".repeat(120))] {
            assert_eq!(dialled(&rules, &long), Err(DialRefusal::TooLong));
        }
    }
}

#[test]
fn a_call_is_asked_of_the_gateway_or_of_the_host_that_was_named() {
    let Some(Uri::Sip(gateway)) = Uri::parse("sip:gw.example.test:5061;transport=tls") else { panic!("a URI") };
    let uri = |rules: &Rules, text: &str| rules.dial("office", text).expect("allowed").uri(&gateway).to_string();
    let rules = dialling(UriType::Extension, &["*", "sip:*@pbx.example.test"]);
    assert_eq!(uri(&rules, "+1 555 0100"), "sip:+15550100@gw.example.test:5061;user=phone");
    assert_eq!(uri(&rules, "sip:alice@pbx.example.test"), "sip:alice@pbx.example.test");
    assert_eq!(uri(&rules, "sips:alice@pbx.example.test"), "sips:alice@pbx.example.test");
}

#[test]
fn the_plan_s_own_operator_is_believed_and_a_mailbox_s_is_held_to_the_rules() {
    let rules = dialling(UriType::Extension, &["9*"]);
    let transferred = |operator: &str| rules.transfer("office", operator).map(|target| target.to_string());
    for own in ["reception@example.test", "sip:reception@example.test"] {
        assert!(transferred(own).is_ok(), "{own}");
    }
    assert_eq!(transferred("sip:reception@example.test").as_deref(), Ok("sip:reception@example.test"));
    assert_eq!(transferred("9000").as_deref(), Ok("9000"));
    for other in
        ["+19005550100", "sip:evil@example.test", "sip:reception@evil.test", "sip:reception@example.test;maddr=1.1.1.1"]
    {
        assert!(transferred(other).is_err(), "{other}");
    }
    assert_eq!(rules.transfer("elsewhere", "reception@example.test"), Err(DialRefusal::NotAllowed));
    let plain = rules_with_operator("*0");
    assert_eq!(plain.transfer("office", "*0"), Ok(DialTarget::Number("*0".into())));
    let none = rules_with_operator("");
    assert_eq!(none.transfer("office", ""), Err(DialRefusal::Empty));
}

fn rules_with_operator(operator: &str) -> Rules {
    let plan = Plan { operator: operator.into(), ..plan("office", "7000") };
    rules(Options { gateways: Vec::new(), plans: vec![plan], ..options() })
}

#[test]
fn calls_leave_by_gateways_of_the_plan_that_take_them_in_file_order() {
    let reached = |peer: &str, plan: &str| {
        let Some(Uri::Sip(uri)) = Uri::parse(&format!("sip:{peer}")) else { panic!("{peer} is no host") };
        let target: Option<SipUri> = Some(uri);
        Gateway { target, outcalls: true, ..gateway(peer, plan) }
    };
    let house = rules(Options {
        gateways: vec![
            reached("203.0.113.1", "office"),
            gateway("203.0.113.2", "office"),
            Gateway { outcalls: false, ..reached("203.0.113.3", "office") },
            Gateway { status: Status::NoNewCalls, ..reached("203.0.113.4", "office") },
            Gateway { status: Status::Disabled, ..reached("203.0.113.5", "office") },
            reached("203.0.113.6", "sealed"),
            Gateway { mwi: false, ..reached("203.0.113.7", "sealed") },
            reached("203.0.113.8", "office"),
        ],
        hunt_groups: vec![hunt("203.0.113.7", "7100", "office")],
        ..options()
    });
    let outgoing: Vec<String> = house.outgoing("office").map(Gateway::label).collect();
    assert_eq!(outgoing, ["203.0.113.1", "203.0.113.7", "203.0.113.8"]);
    let notified: Vec<String> = house.notified("office").map(Gateway::label).collect();
    assert_eq!(notified, ["203.0.113.1", "203.0.113.3", "203.0.113.4", "203.0.113.8"]);
    assert_eq!(house.outgoing("elsewhere").count(), 0);
}

proptest! {
    #[test]
    fn whatever_is_dialled_is_refused_or_becomes_a_uri_of_an_allowed_host(
        text in prop_oneof![
            "(sips?:|tel:|SIP:)?[a-z0-9+@:;%?&=.()#* -]{0,40}",
            "sip:[a-z0-9]{1,4}@(gw|evil)\\.(example\\.)?test[;?:@%a-z0-9]{0,6}",
            "\\PC{0,30}",
        ],
        at in 0..3_usize,
    ) {
        let uri_type = [UriType::Extension, UriType::E164, UriType::Sip][at];
        let rules = dialling(uri_type, &["+*", "9*", "sip:*@gw.example.test"]);
        let Some(Uri::Sip(gateway)) = Uri::parse("sip:gateway.example.test:5061;transport=tls") else { panic!("a URI") };
        let Ok(target) = rules.dial("office", &text) else { return Ok(()) };
        let written = target.uri(&gateway).to_string();
        prop_assert!(!written.contains(['\r', '\n', '<', '>', ' ', '%', '?', '"']), "{written}");
        let Some(Uri::Sip(read)) = Uri::parse(&written) else { panic!("no URI: {written}") };
        match target {
            DialTarget::Number(number) => {
                prop_assert!(number.starts_with(['+', '9']), "{number}");
                prop_assert!(number.trim_start_matches('+').bytes().all(|byte| byte.is_ascii_digit()), "{number}");
                prop_assert_eq!((read.host.to_string(), read.port), ("gateway.example.test".to_string(), Some(5061)));
            }
            DialTarget::User { .. } => {
                prop_assert_eq!((read.host.to_string(), read.port), ("gw.example.test".to_string(), None));
            }
        }
    }
}
