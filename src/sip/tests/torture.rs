//! The messages of RFC 4475, each by the name the RFC gives it, with the outcome it asks for.

use std::time::Instant;

use postern_sip::fields::CSeq;
use postern_sip::framer::{Frame, Framer};
use postern_sip::options::EndpointOptions;
use postern_sip::parse::Malformed;
use postern_sip::typed::Contacts;
use postern_sip::user_agent_options::UserAgentOptions;
use postern_sip::{Action, CallEvent, Core, Message, Method, Request, Response, StatusCode, Uri, UserAgent};

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!("data/rfc4475/", $name, ".dat"))
    };
}

fn request(bytes: &[u8]) -> Request {
    match Message::parse(bytes) {
        Ok(Message::Request(request)) => request,
        other => panic!("not a request: {other:?}"),
    }
}

fn response(bytes: &[u8]) -> Response {
    match Message::parse(bytes) {
        Ok(Message::Response(response)) => response,
        other => panic!("not a response: {other:?}"),
    }
}

fn malformed(bytes: &[u8]) -> Malformed {
    Message::parse(bytes).expect_err("read without a fault")
}

/// The status that a request which cannot be read is answered with.
fn refused(bytes: &[u8]) -> u16 {
    malformed(bytes).answer().expect("no answer").status.code()
}

/// What a user agent of ours says to a datagram with these bytes; `None` when it is a call that somebody is to take.
fn user_agent_says(bytes: &[u8]) -> Option<Response> {
    let [here, there] = ["192.0.2.1:5060", "192.0.2.2:5060"].map(|address| address.parse().unwrap());
    let endpoint = EndpointOptions { udp: vec![here], ..EndpointOptions::default() };
    let mut agent = UserAgent::new(UserAgentOptions { endpoint, ..UserAgentOptions::default() }, [7; 32]);
    agent.handle_datagram(here, there, bytes, Instant::now());
    let answers = std::iter::from_fn(|| agent.poll_action()).filter_map(|action| match action {
        Action::SendDatagram { bytes, .. } => Some(response(&bytes)),
        _ => None,
    });
    let answers: Vec<Response> = answers.collect();
    let calls = std::iter::from_fn(|| agent.poll_event()).filter(|event| matches!(event, CallEvent::Incoming { .. }));
    assert_eq!(answers.len() + calls.count(), 1, "{answers:?}");
    answers.into_iter().next()
}

fn status(response: Option<Response>) -> Option<u16> {
    response.map(|response| response.status.code())
}

fn user(uri: &Uri) -> String {
    uri.user().expect("no user").into_owned()
}

// Section 3.1.1: valid messages.

#[test]
fn wsinv_folds_white_space_and_cases_are_read_through() {
    let request = request(vector!("wsinv"));
    let headers = &request.headers;
    assert_eq!(request.uri.as_sip().unwrap().param("unknownparam"), None);
    assert!(request.uri.as_sip().unwrap().has_param("unknownparam"));
    assert_eq!(headers.to_tag().as_deref(), Some("1918181833n"));
    let from = headers.from().unwrap();
    assert_eq!(from.display_name.as_deref(), Some("J Rosenberg \\\""));
    assert_eq!(from.tag(), Some("98asjd8"));
    assert_eq!(headers.max_forwards(), Ok(Some(68)));
    assert_eq!(headers.cseq(), Ok(CSeq { number: 9, method: Method::Invite }));
    let vias = headers.vias().unwrap();
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[0].branch(), Some("390skdjuw"));
    assert_eq!(vias[0].unique_branch(), None);
    assert_eq!(vias[1].transport, "TCP");
    assert_eq!(vias[1].branch(), Some("z9hG4bK9ikj8"));
    assert_eq!(vias[2].branch(), Some("z9hG4bK30239"));
    assert_eq!(headers.value("s"), Some(""));
    assert_eq!(headers.value("NewFangledHeader"), Some("newfangled value continued newfangled value"));
    assert_eq!(headers.value("UnknownHeaderWithUnusualValue"), Some(";;,,;;,;"));
    assert!(headers.routes().unwrap()[0].uri.as_sip().unwrap().is_loose_router());
    let contact = headers.contact().unwrap().unwrap();
    assert_eq!(contact.display_name.as_deref(), Some("Quoted string \"\""));
    assert_eq!(contact.params.value("newparam"), Some("newvalue"));
    assert!(contact.params.contains("secondparam"));
    assert_eq!(contact.q_thousandths(), 330);
    assert_eq!(request.body.len(), 150);
}

#[test]
fn intmeth_takes_every_character_that_is_allowed() {
    let request = request(vector!("intmeth"));
    assert_eq!(request.method.as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(request.headers.cseq().unwrap().method, request.method);
    assert_eq!(
        user(&request.uri),
        "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
            .split(':')
            .next()
            .unwrap()
    );
    let to = request.headers.to().unwrap();
    assert_eq!(to.display_name.as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    let from = request.headers.from().unwrap();
    assert_eq!(from.display_name.as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert_eq!(from.tag(), Some("_token~1'+`*%!-."));
    assert_eq!(
        from.params.value("fromParam''~+*_!.-%"),
        Some("\u{440}\u{430}\u{431}\u{43e}\u{442}\u{430}\u{44e}\u{449}\u{438}\u{439}")
    );
    assert_eq!(request.headers.call_id(), Ok("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"));
    assert_eq!(request.headers.max_forwards(), Ok(Some(255)));
    assert_eq!(request.headers.value("extensionHeader-!.%*+_`'~"), Some("\u{feff}\u{5927}\u{505c}\u{96fb}"));
    assert_eq!(status(user_agent_says(vector!("intmeth"))), Some(501));
}

#[test]
fn esc01_escapes_in_uris_are_meaning_not_form() {
    let request = request(vector!("esc01"));
    assert_eq!(user(&request.uri), "sips:user@example.com");
    assert_eq!(request.uri.as_sip().unwrap().host.to_string(), "example.net");
    assert!(request.headers.to().unwrap().uri.is_equivalent(&Uri::parse("sip:user@example.com").unwrap()));
    assert_eq!(user(&request.headers.from().unwrap().uri), "I have spaces");
    let contact = request.headers.contact().unwrap().unwrap();
    let contact = contact.uri.as_sip().unwrap();
    assert_eq!(contact.user().unwrap(), "caller");
    assert!(contact.is_loose_router());
    assert_eq!(contact.param("name").unwrap(), "value%41");
}

#[test]
fn escnull_an_escaped_nul_is_a_character_like_others() {
    let request = request(vector!("escnull"));
    assert_eq!(user(&request.headers.to().unwrap().uri), "null-\0-null");
    let Ok(Contacts::List(contacts)) = request.headers.contacts() else { panic!("no contacts") };
    assert_eq!(contacts.iter().map(|contact| user(&contact.uri)).collect::<Vec<_>>(), ["\0", "\0\0"]);
    assert_eq!(contacts[0].uri.to_string(), "sip:%00@host5.example.com");
}

#[test]
fn esc02_a_percent_sign_outside_of_uris_is_no_escape() {
    let request = request(vector!("esc02"));
    assert_eq!(request.method, Method::Other("RE%47IST%45R".into()));
    assert_eq!(request.headers.to().unwrap().display_name.as_deref(), Some("%Z%45"));
    let Ok(Contacts::List(contacts)) = request.headers.contacts() else { panic!("no contacts") };
    assert_eq!(contacts.iter().map(|contact| user(&contact.uri)).collect::<Vec<_>>(), ["alias1", "alias3"]);
    assert_eq!(request.headers.value("C%6Fntact"), Some("<sip:alias2@host2.example.com>"));
    assert_eq!(request.headers.top_via().unwrap().branch(), Some("z9hG4bK209%fzsnel234"));
}

#[test]
fn lwsdisp_needs_no_space_behind_a_display_name() {
    let from = request(vector!("lwsdisp")).headers.from().unwrap();
    assert_eq!(from.display_name.as_deref(), Some("caller"));
    assert_eq!(user(&from.uri), "caller");
}

#[test]
fn longreq_long_values_are_kept_whole() {
    let request = request(vector!("longreq"));
    let to = request.headers.to().unwrap();
    assert!(to.display_name.unwrap().starts_with("I have a user name of extreme"));
    assert_eq!(request.headers.from_tag().unwrap().len(), 155);
    assert_eq!(request.headers.vias().unwrap().len(), 34);
    assert!(request.headers.contact().unwrap().is_some());
    assert_eq!(request.body.len(), 150);
}

#[test]
fn dblreq_what_follows_in_a_datagram_is_passed_over_and_on_a_stream_is_the_next_message() {
    let datagram = request(vector!("dblreq"));
    assert_eq!(datagram.method, Method::Register);
    assert!(datagram.body.is_empty());
    let mut framer = Framer::new(65_536);
    framer.push(vector!("dblreq"));
    let mut methods = Vec::new();
    while let Some(frame) = framer.pop() {
        if let Frame::Message(Ok(Message::Request(request))) = frame {
            methods.push(request.method);
        }
    }
    assert_eq!(methods, [Method::Register, Method::Invite]);
}

#[test]
fn semiuri_a_semicolon_before_the_at_sign_belongs_to_the_user() {
    let request = request(vector!("semiuri"));
    let uri = request.uri.as_sip().unwrap();
    assert_eq!(uri.user().unwrap(), "user;par=u@example.net");
    assert!(uri.params().is_empty());
    assert_eq!(request.headers.list("Accept").unwrap().len(), 6);
    assert_eq!(status(user_agent_says(vector!("semiuri"))), Some(200));
}

#[test]
fn transports_unknown_ones_in_via_are_no_fault() {
    let vias = request(vector!("transports")).headers.vias().unwrap();
    assert_eq!(
        vias.iter().map(|via| via.transport.as_str()).collect::<Vec<_>>(),
        ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]
    );
}

#[test]
fn mpart01_a_binary_body_is_kept_to_the_byte() {
    let request = request(vector!("mpart01"));
    assert_eq!(request.body.len(), 553);
    let content = request.headers.content_type().unwrap().unwrap();
    assert!(content.is("multipart/mixed"));
    assert_eq!(content.params.value("boundary"), Some("7a9cbec02ceef655"));
    assert!(request.body.ends_with(b"--7a9cbec02ceef655--\r\n"));
}

#[test]
fn unreason_a_phrase_may_hold_any_text() {
    let response = response(vector!("unreason"));
    assert_eq!(response.status, StatusCode::OK);
    assert!(response.phrase.starts_with("= 2**3 * 5**2 \u{43d}\u{43e}"));
}

#[test]
fn noreason_a_phrase_may_be_empty() {
    let response = response(vector!("noreason"));
    assert_eq!((response.status, response.phrase.as_str()), (StatusCode::TRYING, ""));
}

// Section 3.1.2: invalid messages.

#[test]
fn badinv01_extra_separators_are_refused() {
    assert_eq!(malformed(vector!("badinv01")).answer(), None, "its Via cannot be read: no way for an answer");
}

#[test]
fn clerr_a_body_shorter_than_said_is_refused_in_a_datagram_and_waited_for_on_a_stream() {
    assert_eq!(refused(vector!("clerr")), 400);
    let mut framer = Framer::new(65_536);
    framer.push(vector!("clerr"));
    assert_eq!(framer.pop(), None);
    assert!(framer.is_within_message());
}

#[test]
fn ncl_a_negative_length_is_refused_and_breaks_a_stream() {
    assert_eq!(refused(vector!("ncl")), 400);
    let mut framer = Framer::new(65_536);
    framer.push(vector!("ncl"));
    let Some(Frame::Broken(malformed)) = framer.pop() else { panic!("the stream goes on") };
    assert_eq!(malformed.answer().unwrap().status, StatusCode::BAD_REQUEST);
    assert_eq!(framer.pop(), None);
}

#[test]
fn scalar02_numbers_too_large_are_refused_in_requests() {
    assert_eq!(refused(vector!("scalar02")), 400);
}

#[test]
fn scalarlg_numbers_too_large_make_a_response_be_dropped() {
    assert_eq!(malformed(vector!("scalarlg")).answer(), None);
}

#[test]
fn quotbal_an_open_quotation_is_refused() {
    assert_eq!(refused(vector!("quotbal")), 400);
}

#[test]
fn ltgtruri_a_request_uri_in_brackets_is_refused() {
    assert_eq!(refused(vector!("ltgtruri")), 400);
}

#[test]
fn lwsruri_a_request_uri_with_white_space_is_refused() {
    assert_eq!(refused(vector!("lwsruri")), 400);
}

#[test]
fn lwsstart_more_than_one_space_in_the_start_line_is_refused() {
    assert_eq!(refused(vector!("lwsstart")), 400);
}

#[test]
fn trws_spaces_behind_the_start_line_are_refused() {
    assert_eq!(refused(vector!("trws")), 400);
}

#[test]
fn escruri_headers_in_a_request_uri_are_refused() {
    assert_eq!(refused(vector!("escruri")), 400);
}

#[test]
fn baddate_a_date_that_nobody_reads_harms_nobody() {
    let request = request(vector!("baddate"));
    assert_eq!(request.headers.value("Date"), Some("Fri, 01 Jan 2010 16:00:00 EST"));
    assert_eq!(status(user_agent_says(vector!("baddate"))), None);
}

#[test]
fn regbadct_a_bare_contact_uri_with_a_question_mark_is_refused() {
    assert_eq!(refused(vector!("regbadct")), 400);
}

#[test]
fn badaspec_white_space_inside_the_brackets_is_refused() {
    assert_eq!(refused(vector!("badaspec")), 400);
}

#[test]
fn baddn_a_comma_in_an_unquoted_display_name_is_refused() {
    assert_eq!(refused(vector!("baddn")), 400);
}

#[test]
fn badvers_another_version_gets_505() {
    assert_eq!(refused(vector!("badvers")), 505);
}

#[test]
fn mismatch01_a_cseq_of_another_method_is_refused() {
    assert_eq!(refused(vector!("mismatch01")), 400);
}

#[test]
fn mismatch02_a_cseq_of_another_method_is_refused_for_an_unknown_method_too() {
    assert_eq!(refused(vector!("mismatch02")), 400);
}

#[test]
fn bigcode_a_status_code_beyond_699_makes_a_response_be_dropped() {
    assert_eq!(malformed(vector!("bigcode")).answer(), None);
}

// Section 3.2: transaction layer.

#[test]
fn badbranch_a_branch_of_nothing_but_the_cookie_identifies_nothing() {
    let request = request(vector!("badbranch"));
    assert_eq!(request.headers.top_via().unwrap().unique_branch(), None);
    assert_eq!(status(user_agent_says(vector!("badbranch"))), Some(200));
}

// Section 3.3: application layer.

#[test]
fn insuf_missing_headers_are_refused() {
    let answer = malformed(vector!("insuf")).answer().cloned().unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.headers.cseq().unwrap().number, 193942);
    assert!(!answer.headers.contains("Call-ID"));
}

#[test]
fn unkscm_an_unknown_scheme_of_the_request_uri_gets_416() {
    assert_eq!(status(user_agent_says(vector!("unkscm"))), Some(416));
}

#[test]
fn novelsc_a_known_scheme_of_another_protocol_gets_416() {
    assert_eq!(status(user_agent_says(vector!("novelsc"))), Some(416));
}

#[test]
fn unksm2_unknown_schemes_elsewhere_can_be_read() {
    let request = request(vector!("unksm2"));
    assert!(matches!(request.headers.to().unwrap().uri, Uri::Other { scheme, .. } if scheme == "isbn"));
    assert!(matches!(request.headers.from().unwrap().uri, Uri::Other { scheme, .. } if scheme == "http"));
    assert_eq!(request.headers.from_tag().as_deref(), Some("3234233"));
    assert_eq!(status(user_agent_says(vector!("unksm2"))), Some(405), "there is no registrar");
}

#[test]
fn bext01_unknown_required_extensions_get_420_and_are_named() {
    let request = request(vector!("bext01"));
    let refusal = user_agent_says(vector!("bext01")).unwrap();
    assert_eq!(refusal.status, StatusCode::BAD_EXTENSION);
    assert_eq!(refusal.headers.value("Unsupported"), Some("nothingSupportsThis, nothingSupportsThisEither"));
    assert_eq!(request.headers.proxy_required().len(), 2);
}

#[test]
fn invut_an_unknown_type_of_body_gets_415_with_what_is_known() {
    let refusal = user_agent_says(vector!("invut")).unwrap();
    assert_eq!(refusal.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(refusal.headers.value("Accept").unwrap().contains("application/sdp"));
}

#[test]
fn regaut01_credentials_of_an_unknown_scheme_are_kept_for_who_asks() {
    let request = request(vector!("regaut01"));
    assert_eq!(request.headers.value("Authorization"), Some("NoOneKnowsThisScheme opaque-data=here"));
    assert_eq!(status(user_agent_says(vector!("regaut01"))), Some(405), "there is no registrar");
}

#[test]
fn multi01_repeated_single_headers_are_refused() {
    assert_eq!(refused(vector!("multi01")), 400);
}

#[test]
fn mcl01_two_lengths_are_refused_and_break_a_stream() {
    assert_eq!(refused(vector!("mcl01")), 400);
    let mut framer = Framer::new(65_536);
    framer.push(vector!("mcl01"));
    assert!(matches!(framer.pop(), Some(Frame::Broken(_))));
}

#[test]
fn bcast_a_response_with_a_via_more_than_we_sent_shows_it() {
    // That it is dropped is the endpoint's doing: it knows how many Vias went out.
    let vias = response(vector!("bcast")).headers.vias().unwrap();
    assert_eq!(vias.len(), 2);
    assert_eq!(vias[1].host.to_string(), "255.255.255.255");
}

#[test]
fn zeromf_no_forwards_left_does_not_hinder_who_is_meant() {
    let request = request(vector!("zeromf"));
    assert_eq!(request.headers.max_forwards(), Ok(Some(0)));
    assert_eq!(status(user_agent_says(vector!("zeromf"))), Some(200));
}

#[test]
fn cparam01_a_parameter_behind_a_bare_uri_belongs_to_the_header() {
    let contact = request(vector!("cparam01")).headers.contact().unwrap().unwrap();
    assert!(contact.params.contains("unknownparam"));
    assert!(!contact.uri.as_sip().unwrap().has_param("unknownparam"));
}

#[test]
fn cparam02_a_parameter_within_the_brackets_belongs_to_the_uri() {
    let contact = request(vector!("cparam02")).headers.contact().unwrap().unwrap();
    assert!(contact.params.is_empty());
    assert!(contact.uri.as_sip().unwrap().has_param("unknownparam"));
}

#[test]
fn regescrt_headers_of_a_contact_uri_are_unescaped_by_name() {
    let contact = request(vector!("regescrt")).headers.contact().unwrap().unwrap();
    assert_eq!(contact.uri.as_sip().unwrap().header("Route").unwrap(), "<sip:sip.example.com>");
}

#[test]
fn sdp01_a_sender_that_takes_no_description_gets_406() {
    assert_eq!(status(user_agent_says(vector!("sdp01"))), Some(406));
}

// Section 3.4: backward compatibility.

#[test]
fn inv2543_a_request_of_the_old_standard_is_read() {
    let request = request(vector!("inv2543"));
    assert_eq!(request.headers.from_tag(), None);
    assert_eq!(request.headers.max_forwards(), Ok(None));
    assert_eq!(request.headers.top_via().unwrap().branch(), None);
    assert!(!request.body.is_empty(), "without a length the body reaches to the end");
    let to = request.headers.to().unwrap();
    assert_eq!(to.params.value("user"), Some("phone"));
}

// Not in the RFC but among its vectors.

#[test]
fn test_a_request_line_without_a_version_is_refused() {
    assert_eq!(malformed(vector!("test")).answer(), None, "it has no Via");
}

#[test]
fn every_vector_has_its_test() {
    let tests = include_str!("torture.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rfc4475")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".dat").unwrap();
        assert!(tests.contains(&format!("vector!(\"{name}\")")), "{name}");
    }
}
