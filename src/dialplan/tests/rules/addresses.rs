//! Addresses in the form of their plan, and callers.

use postern_dialplan::{Caller, Plan, UriType};
use postern_sip::Uri;
use proptest::prelude::*;

use crate::support::{decide, options, plan, rules};

const PILOT: &str = "sip:7000@10.20.0.20";

fn caller(headers: &str) -> Caller {
    decide(&rules(options()), PILOT, headers).expect("taken").caller
}

#[test]
fn the_callers_asserted_identity_counts_before_from() {
    let from = "From: \"Bob\" <sip:2002@pbx>;tag=1\r\n";
    let asserted = format!("{from}P-Asserted-Identity: \"Carol\" <sip:2003@pbx>, <tel:2003>\r\n");
    let party = format!("{from}Remote-Party-ID: \"Dave\" <sip:2004@pbx>;party=calling\r\n");
    for (headers, address, name) in [(from, "2002", "Bob"), (&asserted, "2003", "Carol"), (&party, "2004", "Dave")] {
        let caller = caller(headers);
        assert_eq!(
            (caller.address.as_deref(), caller.display_name.as_deref()),
            (Some(address), Some(name)),
            "{headers}"
        );
    }
}

#[test]
fn a_caller_without_a_number_of_the_plan_is_shown_as_it_came() {
    let caller = caller("From: \"Alice\" <sip:alice@example.test>;tag=1\r\n");
    assert_eq!((caller.address, caller.shown.as_deref()), (None, Some("alice")));
}

#[test]
fn a_caller_who_withholds_the_number_is_nobody() {
    for headers in [
        "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1\r\n",
        "From: <sip:Anonymous@pbx.example.test>;tag=1\r\n",
        "From: <sip:2002@pbx>;tag=1\r\nPrivacy: id\r\n",
        "P-Asserted-Identity: <sip:2003@pbx>\r\nPrivacy: header;id\r\n",
    ] {
        assert_eq!(caller(headers), Caller::default(), "{headers}");
    }
    assert!(caller("From: <sip:2002@pbx>;tag=1\r\nPrivacy: none\r\n").address.is_some());
}

#[test]
fn names_of_callers_hold_no_control_characters_and_end_somewhere() {
    let long = format!("From: \"{}\t\u{1b}[0m{}\" <sip:2002@pbx>;tag=1\r\n", "Bób", "x".repeat(400));
    let name = caller(&long).display_name.expect("a name");
    assert!(name.starts_with("Bób[0mx") && name.len() <= 128, "{name}");
}

fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for uri_type in [UriType::Extension, UriType::Sip, UriType::E164] {
        for digits in [0, 4] {
            for domains in [vec![], vec!["example.test".to_string()]] {
                let (country_code, national_prefix) = ("49".into(), "0".into());
                plans.push(Plan { uri_type, digits, domains, country_code, national_prefix, ..plan("p", "7000") });
            }
        }
    }
    plans
}

proptest! {
    #[test]
    fn an_address_in_its_form_stays_as_it_is(text in "(\\+?[0-9*#. ()-]{0,20}|[a-zA-Z0-9._-]{1,12}(@example.test)?)") {
        for plan in plans() {
            if let Some(address) = plan.address_of_text(&text, &[]) {
                let again = plan.address_of_text(&address, &[]);
                prop_assert_eq!(again.as_ref(), Some(&address), "{:?} of {:?}", plan.uri_type, text);
            }
        }
    }

    #[test]
    fn no_uri_makes_an_address_that_is_no_address(text in "(sip|sips|tel):\\PC{0,60}") {
        let Some(uri) = Uri::parse(&text) else { return Ok(()) };
        for plan in plans() {
            let Some(address) = plan.address_of(&uri, &[]) else { continue };
            prop_assert!(!address.is_empty() && address.len() <= 128 && !address.contains(['\r', '\n', ' ']));
            if plan.uri_type == UriType::E164 {
                prop_assert!(address.starts_with('+') && address[1..].bytes().all(|byte| byte.is_ascii_digit()));
            }
            if plan.uri_type != UriType::Sip && plan.digits > 0 {
                prop_assert_eq!(address.trim_start_matches('+').len(), plan.digits as usize);
            }
        }
    }
}
