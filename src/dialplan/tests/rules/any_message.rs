//! Whatever a message says, it is judged: no panic, and no mailbox that is a pilot.

use postern_dialplan::{Options, Plan, Purpose, Seals, UriType};
use postern_sip::Message;
use proptest::prelude::*;

use crate::support::{NOW, options, plan, rules, tcp};

fn of_type(uri_type: UriType, digits: u32) -> Options {
    let mut some = options();
    some.plans[0] = Plan { uri_type, digits, ..plan("office", "7000") };
    some
}

fn entry() -> impl Strategy<Value = String> {
    prop_oneof![
        "<(sip|sips|tel):[a-z0-9+%;=@.:-]{0,24}>(;reason=[a-z-]{0,12})?",
        "<sip:(7000|1001|10\\*1)@(pbx|10.20.0.20)(\\?Reason=SIP%3Bcause%3D[0-9]{3})?>;index=1(.1)?",
        "\\PC{0,40}",
    ]
}

proptest! {
    #[test]
    fn any_invite_is_judged(
        user in "([a-z0-9+*%;=-]{1,16}@)?",
        target in "(;target=[a-z0-9%:.-]{0,24})?(;cause=[0-9]{0,6})?(;postern-call=[A-Za-z0-9_-]{0,80})?",
        diversions in prop::collection::vec(entry(), 0..5),
        histories in prop::collection::vec(entry(), 0..5),
        asserted in prop::collection::vec(entry(), 0..3),
    ) {
        let list = |name: &str, entries: &[String]| -> String {
            entries.iter().map(|entry| format!("{name}: {entry}\r\n")).collect()
        };
        let uri = format!("sip:{user}10.20.0.20{target}");
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 203.0.113.7;branch=z9hG4bK1\r\nFrom: <sip:1@h>;tag=1\r\n\
             To: <sip:2@h>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n{}{}{}\r\n",
            list("Diversion", &diversions), list("History-Info", &histories), list("P-Asserted-Identity", &asserted),
        );
        let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else { return Ok(()) };
        for (uri_type, digits) in [(UriType::Extension, 0), (UriType::Extension, 4), (UriType::Sip, 0)] {
            let verdict = rules(of_type(uri_type, digits)).decide(&request, &tcp("203.0.113.7"), &Seals::default(), NOW);
            if let Ok(decision) = verdict {
                let mailbox = match decision.purpose {
                    Purpose::CallAnswering { mailbox } => Some(mailbox),
                    Purpose::SubscriberAccess { mailbox } => mailbox,
                };
                prop_assert_ne!(mailbox.as_deref(), Some("7000"));
                prop_assert_ne!(mailbox.as_deref(), Some(""));
            }
        }
    }
}
