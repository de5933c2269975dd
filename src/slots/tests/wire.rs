//! The messages as lines.

use postern_slots::limits::{CALL_KEY_CHARS_MAX, LINE_BYTES_MAX, RECENT_CALLS_MAX, STORY_BYTES_MAX, VERSION};
use postern_slots::{
    CallKey, Contacts, FromWorker, Lines, NamedPort, Order, OrderCause, OrderId, OrderPurpose, OrderReport, OrderState,
    OrderTarget, Progress, Readiness, RecentCall, Slot, Status, ToWorker, WireError, encode, recent_calls_parts,
    story_parts,
};

fn status() -> Status {
    Status {
        ready: Readiness::ALL,
        calls: 3,
        memory_bytes: 64 << 20,
        age_secs: 7,
        draining_secs: None,
        contacts: Contacts {
            tcp: vec!["10.20.0.20:5065".parse().unwrap(), "[2001:db8::20]:5065".parse().unwrap()],
            tls: Some(NamedPort { host: "um.example.test".into(), port: 5066 }),
        },
    }
}

fn to_worker() -> Vec<ToWorker> {
    vec![
        ToWorker::Hello { version: VERSION, calls_max: 100 },
        ToWorker::Drain { elsewhere: status().contacts },
        ToWorker::Drain { elsewhere: Contacts::default() },
        ToWorker::Resume,
        ToWorker::Retire,
        ToWorker::Place(Box::new(order())),
        ToWorker::HangUp { order: order().id },
        ToWorker::Story { question: 9, call: CallKey::of("a\"b\n@c") },
        ToWorker::RecentCalls { question: 10 },
    ]
}

fn from_worker() -> Vec<FromWorker> {
    vec![
        FromWorker::Hello { version: VERSION, slot: Slot::B, generation: 4, pid: 77 },
        FromWorker::Status(status()),
        FromWorker::Status(Status { draining_secs: Some(0), ..Status::default() }),
        FromWorker::CallBegan { call: CallKey::of("x@y") },
        FromWorker::CallEnded { call: CallKey::of("x@y") },
        FromWorker::Order(report(Progress { state: OrderState::Alerted, cause: None, sip_status: Some(180) })),
        FromWorker::Order(report(Progress::over(OrderCause::NoAnswer, Some(480)))),
        FromWorker::Story { question: 9, text: "INVITE →\n".into(), more: false },
        FromWorker::RecentCalls { question: 10, calls: vec![recent("a"), recent("b")], more: false },
    ]
}

fn order() -> Order {
    Order {
        id: OrderId::new([7; 16]),
        mailbox: "01J".into(),
        plan: "office".into(),
        number: "1001".into(),
        purpose: OrderPurpose::PlayMessage { message: "01K".into() },
        target: OrderTarget::Number("+4930123456".into()),
        dialled: "030 123456".into(),
        gateways: vec!["gw1.example.test".into(), "10.20.0.9".into()],
    }
}

fn report(progress: Progress) -> OrderReport {
    OrderReport { order: order().id, mailbox: "01J".into(), age_secs: 9, over_secs: 0, progress }
}

fn recent(call_id: &str) -> RecentCall {
    RecentCall { call: CallKey::of(call_id), began_unix_millis: 1_800_000_000_000, ended_unix_millis: None }
}

#[test]
fn every_message_survives_the_wire_however_it_is_cut() {
    let bytes: Vec<u8> = to_worker().iter().flat_map(|message| encode(message).unwrap()).collect();
    for step in [1, 2, 7, bytes.len()] {
        let mut lines = Lines::default();
        let read: Vec<ToWorker> = bytes.chunks(step).flat_map(|part| lines.push(part).unwrap()).collect();
        assert_eq!(read, to_worker(), "in steps of {step}");
    }
    let bytes: Vec<u8> = from_worker().iter().flat_map(|message| encode(message).unwrap()).collect();
    assert_eq!(Lines::default().push::<FromWorker>(&bytes).unwrap(), from_worker());
}

#[test]
fn the_wire_form_is_what_it_was() {
    let line = encode(&FromWorker::Status(status())).unwrap();
    let expected = concat!(
        r#"{"type":"status","ready":{"store-writable":true,"ports-bound":true,"prompts-loaded":true},"calls":3,"#,
        r#""memory-bytes":67108864,"age-secs":7,"draining-secs":null,"contacts":{"tcp":["10.20.0.20:5065","#,
        r#""[2001:db8::20]:5065"],"tls":{"host":"um.example.test","port":5066}}}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(line).unwrap(), expected);
    let line = encode(&ToWorker::Hello { version: 1, calls_max: 100 }).unwrap();
    assert_eq!(String::from_utf8(line).unwrap(), "{\"type\":\"hello\",\"version\":1,\"calls-max\":100}\n");
    let line = encode(&ToWorker::Place(Box::new(order()))).unwrap();
    let expected = concat!(
        r#"{"type":"place","id":"07070707070707070707070707070707","mailbox":"01J","plan":"office","number":"1001","#,
        r#""purpose":{"do":"play-message","message":"01K"},"target":{"number":"+4930123456"},"#,
        r#""dialled":"030 123456","gateways":["gw1.example.test","10.20.0.9"]}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

#[test]
fn fields_and_types_of_a_later_version_are_passed_over() {
    let text = "{\"type\":\"weather\",\"rain\":true}\n{\"type\":\"resume\",\"soon\":1}\n";
    assert_eq!(Lines::default().push::<ToWorker>(text.as_bytes()).unwrap(), [ToWorker::Resume]);
}

#[test]
fn rubbish_is_malformed() {
    for text in ["\n", "{}\n", "[]\n", "nonsense\n", "{\"type\":\"drain\"}\n", "{\"type\":1}\n", "\u{1}\u{2}\n"] {
        let read = Lines::default().push::<ToWorker>(text.as_bytes());
        assert!(matches!(read, Err(WireError::Malformed(_))), "{text:?} gives {read:?}");
    }
    assert!(matches!(Lines::default().push::<ToWorker>(b"\xff\xfe\n"), Err(WireError::Malformed(_))));
}

#[test]
fn a_line_without_end_is_given_up() {
    let mut lines = Lines::default();
    for _ in 0..(LINE_BYTES_MAX / 1024) - 1 {
        assert_eq!(lines.push::<ToWorker>(&[b' '; 1024]).unwrap(), []);
    }
    assert!(matches!(lines.push::<ToWorker>(&[b' '; 1024]), Err(WireError::TooLong)));
}

#[test]
fn a_long_story_comes_whole_in_parts_and_a_longer_one_is_cut() {
    let tell = |story: &str| {
        let bytes: Vec<u8> = story_parts(5, story).iter().flat_map(|part| encode(part).unwrap()).collect();
        let parts = Lines::default().push::<FromWorker>(&bytes).unwrap();
        let last = parts.len() - 1;
        let mut told = String::new();
        for (at, part) in parts.into_iter().enumerate() {
            let FromWorker::Story { question: 5, text, more } = part else { panic!("{part:?}") };
            assert_eq!(more, at != last);
            told.push_str(&text);
        }
        told
    };
    let ladder = "→ INVITE\u{1}\n".repeat(20_000);
    assert_eq!(tell(&ladder), ladder);
    assert_eq!(tell(""), "");
    let long = "→".repeat(STORY_BYTES_MAX);
    let told = tell(&long);
    assert!(long.starts_with(&told) && told.len() > STORY_BYTES_MAX - 3 && told.len() <= STORY_BYTES_MAX);
}

#[test]
fn recent_calls_come_whole_in_parts_whatever_their_names() {
    for count in [0, 1, 32, 33, 1_000, RECENT_CALLS_MAX + 1] {
        let calls: Vec<_> = (0..count).map(|at| recent(&format!("{at}{}", "\u{1}".repeat(9999)))).collect();
        let parts = recent_calls_parts(5, &calls);
        let bytes: Vec<u8> = parts.iter().flat_map(|part| encode(part).unwrap()).collect();
        let (mut read, mut further) = (Vec::new(), true);
        for part in Lines::default().push::<FromWorker>(&bytes).unwrap() {
            assert!(further);
            let FromWorker::RecentCalls { question: 5, calls, more } = part else { panic!("{part:?}") };
            read.extend(calls);
            further = more;
        }
        assert!(!further && read == calls[..count.min(RECENT_CALLS_MAX)]);
    }
}

#[test]
fn long_call_ids_are_told_apart_by_both_ends() {
    let middle = "m".repeat(4 * CALL_KEY_CHARS_MAX);
    let key = CallKey::of(&format!("a{middle}z"));
    assert_eq!(key.as_str().chars().count(), CALL_KEY_CHARS_MAX);
    assert_ne!(key, CallKey::of(&format!("b{middle}z")));
    assert_ne!(key, CallKey::of(&format!("a{middle}y")));
    assert_eq!(CallKey::of(key.as_str()), key);
}

#[test]
fn slots_are_read_as_they_are_written() {
    for slot in Slot::BOTH {
        assert_eq!(slot.to_string().parse(), Ok(slot));
        assert_eq!(slot.other().other(), slot);
    }
    assert_eq!("C".parse::<Slot>().unwrap_err().to_string(), "there is no slot C; the slots are A and B");
}

#[test]
fn what_is_missing_has_a_name() {
    let ready = Readiness { store_writable: false, ..Readiness::ALL };
    assert!(!ready.is_ready());
    assert_eq!(ready.missing().collect::<Vec<_>>(), ["the store is not writable"]);
    assert_eq!(Readiness::ALL.missing().count(), 0);
}
