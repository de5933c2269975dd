//! URIs, addresses and header fields, as odd as the field has them.

use postern_sip::fields::{CSeq, SessionExpires};
use postern_sip::headers::HeaderFault;
use postern_sip::host::Host;
use postern_sip::{HeaderName, Headers, Message, Method, NameAddr, Request, SipUri, StatusCode, Uri};

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|| panic!("not a URI: {text}"))
}

fn sip(text: &str) -> SipUri {
    uri(text).as_sip().unwrap().clone()
}

fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.push(*name, value);
    }
    headers
}

/// A request as a client would send it, with these lines added.
fn request(more: &str) -> String {
    format!(
        "INVITE sip:7000@um.example.test SIP/2.0\r\nv: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bKa\r\nf: <sip:a@b.test>;tag=1\r\n\
         t: <sip:7000@um.example.test>\r\ni: 1\r\nCSeq: 1 INVITE\r\n{more}l: 0\r\n\r\n"
    )
}

fn parse(text: &str) -> Request {
    match Message::parse(text.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn uris_of_rfc_3261_that_mean_the_same_do() {
    for (one, other) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("tel:+1-201-555-0123", "tel:+1(201)5550123"),
        ("tel:7042;phone-context=example.com", "tel:7042;PHONE-CONTEXT=Example.com"),
    ] {
        assert!(uri(one).is_equivalent(&uri(other)), "{one} {other}");
        assert!(uri(other).is_equivalent(&uri(one)), "{other} {one}");
    }
}

#[test]
fn uris_of_rfc_3261_that_mean_something_else_do_not_mean_the_same() {
    for (one, other) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b.test", "sips:a@b.test"),
        ("sip:a%40b@c.test", "sip:a@c.test"),
        ("tel:+12015550123", "tel:2015550123"),
        ("tel:7042;phone-context=example.com", "tel:7042"),
    ] {
        assert!(!uri(one).is_equivalent(&uri(other)), "{one} {other}");
        assert!(!uri(other).is_equivalent(&uri(one)), "{other} {one}");
    }
}

#[test]
fn a_repeated_uri_parameter_counts_as_its_last() {
    let twice = sip("sip:7000@192.0.2.1;transport=tcp;transport=tcp");
    assert_eq!(twice.to_string(), "sip:7000@192.0.2.1;transport=tcp");
    assert_eq!(sip("sip:192.0.2.1;transport=udp;TRANSPORT=tls").param("transport").unwrap(), "tls");
}

#[test]
fn uris_are_written_as_they_were_read_but_for_needless_escapes() {
    for (read, written) in [
        ("sip:a:secret@b.test:5061;lr;x=%22y%22?Subject=a%20b", "sip:a:secret@b.test:5061;lr;x=%22y%22?Subject=a%20b"),
        ("SIPS:%41%2b@[2001:DB8::1]", "sips:A%2B@[2001:db8::1]"),
        ("tel:+49-30-1234;phone-context=+49", "tel:+49-30-1234;phone-context=+49"),
        ("urn:service:sos", "urn:service:sos"),
        ("sip:+15551234;phone-context=x@gw.test;user=phone", "sip:+15551234;phone-context=x@gw.test;user=phone"),
    ] {
        assert_eq!(uri(read).to_string(), written);
        assert_eq!(uri(written).to_string(), written);
    }
}

#[test]
fn what_is_no_uri_is_refused() {
    for text in [
        "",
        "sip:",
        "sip:@b.test",
        "sip:a@",
        "a@b.test",
        "sip:a@b.test:0",
        "sip:a@b.test:65536",
        "sip:a@b c.test",
        "sip:a@b.test;;x",
        "sip:a@b.test;=x",
        "sip:a%4@b.test",
        "sip:a@b@c.test",
        "sip:a@[::1",
        "sip:<a@b.test>",
        "tel:",
        "tel:abcxyz",
        "tel:+",
        "1ip:a",
        "http:",
        "sip:a@b.test\r\n",
        "sip:a@b.test?=x",
    ] {
        assert_eq!(Uri::parse(text), None, "{text}");
    }
    assert_eq!(Uri::parse(&format!("sip:{}", "a".repeat(9000))), None);
    assert_eq!(Uri::parse(&format!("sip:a.test{}", ";p=1".repeat(10))).unwrap().as_sip().unwrap().params().len(), 1);
    let many: String = (0..65).map(|index| format!(";p{index}")).collect();
    assert_eq!(Uri::parse(&format!("sip:a.test{many}")), None);
}

#[test]
fn a_uri_that_is_built_is_escaped() {
    let built = SipUri::new(Host::parse("um.example.test").unwrap())
        .with_user("alice smith;x")
        .with_port(Some(5062))
        .with_param("transport", Some("tcp"))
        .with_param("target", Some("sip:1001@example.test"));
    assert_eq!(
        built.to_string(),
        "sip:alice%20smith;x@um.example.test:5062;transport=tcp;target=sip:1001%40example.test"
    );
    assert_eq!(sip(&built.to_string()), built);
    assert_eq!(built.param("target").unwrap(), "sip:1001@example.test");
    assert_eq!(built.user().unwrap(), "alice smith;x");
}

#[test]
fn a_request_uri_loses_what_may_not_stand_there() {
    assert_eq!(sip("sip:a@b.test;method=INVITE;lr?Subject=x").for_request().to_string(), "sip:a@b.test;lr");
}

#[test]
fn addresses_are_read_as_the_field_writes_them() {
    for (text, name, written) in [
        ("sip:a@b.test;tag=1", None, "<sip:a@b.test>;tag=1"),
        ("<sip:a@b.test;lr>;tag=1", None, "<sip:a@b.test;lr>;tag=1"),
        ("Alice Ng <sip:a@b.test>", Some("Alice Ng"), "\"Alice Ng\" <sip:a@b.test>"),
        ("Jürgen (Büro) <sip:a@b.test>", Some("Jürgen (Büro)"), "\"Jürgen (Büro)\" <sip:a@b.test>"),
        (r#""A \"B\" \\" <sip:a@b.test>"#, Some(r#"A "B" \"#), r#""A \"B\" \\" <sip:a@b.test>"#),
        ("\"\" <sip:a@b.test>", None, "<sip:a@b.test>"),
        ("\"a\"<sip:a@b.test> ; tag = 1 ;", Some("a"), "\"a\" <sip:a@b.test>;tag=1"),
    ] {
        let address = NameAddr::parse(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(address.display_name.as_deref(), name, "{text}");
        assert_eq!(address.to_string(), written);
        assert_eq!(NameAddr::parse(written), Some(address));
    }
    for text in [
        "",
        "Alice",
        "\"Alice\"",
        "<sip:a@b.test",
        "sip:a@b.test>",
        "A, B <sip:a@b.test>",
        "<sip:a@b.test>x",
        "\"A <sip:a@b.test>",
        "<sip:a@b.test>;tag=1;tag=2",
        "sip:a@b.test?x=y",
        "<>",
        "<sip:a@b.test><sip:c@d.test>",
    ] {
        assert_eq!(NameAddr::parse(text), None, "{text}");
    }
}

#[test]
fn an_unreadable_diversion_is_passed_over_and_counted() {
    let headers = headers(&[
        ("Diversion", "<sip:1001@pbx.test>;reason=no-answer;counter=1, <sip:"),
        ("Diversion", "\"open <sip:1003@pbx.test>"),
        ("Diversion", "<tel:+4930123>;reason=\"user-busy\""),
    ]);
    let diversions = headers.diversions();
    assert_eq!(diversions.unreadable, 2);
    let users: Vec<_> = diversions.list.iter().map(|address| address.uri.user().unwrap().into_owned()).collect();
    assert_eq!(users, ["1001", "+4930123"]);
    assert_eq!(diversions.list[0].params.value("reason"), Some("no-answer"));
    assert_eq!(diversions.list[1].params.value("reason"), Some("user-busy"));
}

#[test]
fn history_info_keeps_its_index_and_the_reason_within_the_uri() {
    let headers = headers(&[(
        "History-Info",
        "<sip:1001@pbx.test?Reason=SIP%3Bcause%3D486>;index=1, <sip:7000@pbx.test;cause=486>;index=1.1;mp=1",
    )]);
    let history = headers.history_info();
    assert_eq!((history.list.len(), history.unreadable), (2, 0));
    assert_eq!(history.list[0].uri.as_sip().unwrap().header("reason").unwrap(), "SIP;cause=486");
    assert_eq!(history.list[1].params.value("index"), Some("1.1"));
    assert_eq!(history.list[1].uri.as_sip().unwrap().param("cause").unwrap(), "486");
}

#[test]
fn each_single_header_that_is_repeated_makes_a_request_unreadable() {
    for line in [
        "Call-ID: 2\r\n",
        "CSeq: 1 INVITE\r\n",
        "From: <sip:a@b.test>;tag=2\r\n",
        "t: <sip:x@y.test>\r\n",
        "l: 0\r\n",
        "Max-Forwards: 1\r\nMax-Forwards: 1\r\n",
        "c: a/b\r\nContent-Type: a/b\r\n",
    ] {
        let malformed = Message::parse(request(line).as_bytes()).expect_err(line);
        assert_eq!(malformed.answer().unwrap().status, StatusCode::BAD_REQUEST, "{line}");
    }
}

#[test]
fn lines_are_what_crlf_ends_and_nothing_else() {
    for line in ["X: a\nVia: b\r\n", "X: a\rb\r\n", "NoColon\r\n", ": empty\r\n", "X Y: 1\r\n"] {
        assert!(Message::parse(request(line).as_bytes()).is_err(), "{line:?}");
    }
    assert_eq!(parse(&request("X : a\r\n\tb\r\n  c\r\n")).headers.value("x"), Some("a b c"));
}

#[test]
fn unknown_headers_keep_their_place_and_spelling() {
    let text = request("X-oDd: 1\r\nMs-Mras-Address: <sip:edge.test>\r\nx-odd: 2\r\n");
    let written = String::from_utf8(parse(&text).encode()).unwrap();
    let odd: Vec<_> = written.lines().filter(|line| line.to_lowercase().starts_with("x-odd")).collect();
    assert_eq!(odd, ["X-oDd: 1", "x-odd: 2"]);
    let order: Vec<_> = written.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    assert_eq!(
        order[1..],
        ["Via", "From", "To", "Call-ID", "CSeq", "X-oDd", "Ms-Mras-Address", "x-odd", "Content-Length"]
    );
}

#[test]
fn names_in_latin_1_do_not_make_a_call_fail() {
    let mut bytes = request("").into_bytes();
    let at = bytes.windows(3).position(|window| window == b"f: ").unwrap() + 3;
    bytes.splice(at..at, *b"J\xfcrgen ");
    let Ok(Message::Request(request)) = Message::parse(&bytes) else { panic!("refused") };
    assert_eq!(request.headers.from().unwrap().display_name.as_deref(), Some("J\u{fffd}rgen"));
}

#[test]
fn a_header_says_what_is_wrong_with_it() {
    let headers = headers(&[("Session-Expires", "soon"), ("Contact", "<sip:"), ("Min-SE", "90"), ("Min-SE", "90")]);
    assert_eq!(headers.session_expires().unwrap_err().fault, HeaderFault::Malformed);
    assert_eq!(headers.contacts().unwrap_err().name, HeaderName::Contact);
    assert_eq!(headers.min_se_secs().unwrap_err().to_string(), "Min-SE stands more than once");
    assert_eq!(headers.cseq().unwrap_err().fault, HeaderFault::Missing);
    assert_eq!(headers.refer_to(), Ok(None));
}

#[test]
fn typed_readings_take_compact_names_and_lists() {
    let request = parse(&request(
        "x: 1800;refresher=uac\r\nk: timer, 100rel\r\nRequire: replaces\r\nr: \"T\" <sip:2@b.test?Replaces=1%3Bto-tag%3D2>\r\n\
         o: message-summary;id=4\r\nAllow: INVITE, ACK\r\nReason: SIP;cause=200, Q.850;cause=16\r\nRAck: 5 1 INVITE\r\n",
    ));
    let headers = &request.headers;
    assert_eq!(headers.session_expires().unwrap().unwrap().secs, 1800);
    assert!(headers.supports("100REL") && headers.supports("replaces") && !headers.supports("norefersub"));
    assert_eq!(headers.refer_to().unwrap().unwrap().uri.as_sip().unwrap().header("replaces").unwrap(), "1;to-tag=2");
    assert_eq!(headers.event().unwrap().unwrap().package, "message-summary");
    assert_eq!(headers.allowed().unwrap(), ["INVITE", "ACK"]);
    assert_eq!(headers.reasons().len(), 2);
    assert_eq!(headers.rack().unwrap().unwrap().cseq, CSeq { number: 1, method: Method::Invite });
    assert_eq!(SessionExpires::parse("90;refresher=nobody").unwrap().refresher, None);
}

#[test]
fn a_contacts_q_is_counted_in_thousandths() {
    for (text, thousandths) in
        [("", 1000), (";q=0.7", 700), (";q=1", 1000), (";q=0", 0), (";q=.25", 250), (";q=1.5", 1000), (";q=x", 1000)]
    {
        let contact = NameAddr::parse(&format!("<sip:a@b.test>{text}")).unwrap();
        assert_eq!(contact.q_thousandths(), thousandths, "{text}");
    }
}

#[test]
fn a_message_cannot_be_split_by_what_is_put_into_it() {
    let mut request = parse(&request(""));
    request.headers.push("Subject", "a\r\nVia: SIP/2.0/UDP evil.test\r\n\r\nx");
    request.headers.push("X-Name", NameAddr::new(uri("sip:a@b.test")).with_display_name("a\r\nb\""));
    let again = parse(&String::from_utf8(request.encode()).unwrap());
    assert_eq!(again.headers.vias().unwrap().len(), 1);
    assert_eq!(again.headers, {
        let mut headers = request.headers.clone();
        headers.remove("Content-Length");
        headers.push("Content-Length", "0");
        headers
    });
    let mut response = again.response(StatusCode::OK, Some("x"));
    response.phrase = "OK\r\nVia: x".into();
    assert_eq!(Message::parse(&response.encode()).unwrap().headers().vias().unwrap().len(), 1);
}

#[test]
fn reading_takes_time_in_proportion_to_the_length() {
    // Each of these would take minutes if it were quadratic in a debug build.
    let long = 60_000;
    for filler in ["<", "\"", "\\", ",", ";", "\r\n ", "a=b;", "%41", ":", "@", "<sip:a@b.test>,", "\r\nX: y"] {
        let value = filler.repeat(long / filler.len());
        for name in ["X", "Contact", "Via", "From", "Route", "Diversion"] {
            let text = request(&format!("{name}: {value}\r\n"));
            if let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) {
                let _ = (request.headers.diversions(), request.headers.history_info(), request.encode());
            }
        }
    }
}
