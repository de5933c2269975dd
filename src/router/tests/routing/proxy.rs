//! Proxy mode: the caller stays with the router, which follows the UM service's redirect to the worker.

use std::time::Instant;

use postern_sip::{Event, HeaderName, Method, Request, StatusCode, Target};
use postern_transport::Listening;

use crate::harness::*;

struct House {
    um: Service,
    worker: Service,
    router: Router,
}

async fn house() -> House {
    let worker = Service::start(Manner::default());
    let redirect = Some(format!("<sip:7000@{};transport=tcp>", worker.address));
    let um = Service::start(Manner { redirect, ..Manner::free(5) });
    let router = Router::with(&[um.address], "mode = \"proxy\"").await;
    router.until_options_say(200).await;
    House { um, worker, router }
}

/// A request of the caller within the dialog that `invite` and its answer set up.
fn in_dialog(method: Method, invite: &Request, answer: &postern_sip::Response, number: u32) -> Request {
    let contact = answer.headers.contact().expect("readable").expect("a contact");
    let mut request = Request::new(method.clone(), contact.uri);
    for name in [HeaderName::From, HeaderName::CallId] {
        request.headers.copy_from(&invite.headers, name);
    }
    request.headers.copy_from(&answer.headers, HeaderName::To);
    request.headers.push(HeaderName::CSeq, format!("{number} {method}"));
    for route in answer.headers.record_routes().expect("readable").into_iter().rev() {
        request.headers.push(HeaderName::Route, route);
    }
    request
}

#[tokio::test]
async fn a_call_goes_through_to_the_worker_and_its_dialog_after_it() {
    let house = house().await;
    let mut gateway = Party::client();
    let invite =
        request(Method::Invite, &house.router.uri("7000"), &[("Diversion", "<sip:1001@pbx>;reason=user-busy")]);
    let answer = gateway.send(invite.clone()).await.expect("an answer");
    assert_eq!(answer.status.code(), 200);
    let routes = answer.headers.record_routes().expect("readable");
    assert!(!routes.is_empty(), "the router is not in the route set");

    let ack = in_dialog(Method::Ack, &invite, &answer, 1);
    let target = Target::of(&ack).expect("a place to go");
    gateway.endpoint.send_ack(ack, target, Instant::now()).expect("sent");
    let bye = gateway.send(in_dialog(Method::Bye, &invite, &answer, 2)).await.expect("an answer");
    assert_eq!(bye.status.code(), 200);
    house.worker.request(Method::Ack).await;
    house.worker.request(Method::Bye).await;

    let arrived = house.worker.request(Method::Invite).await;
    assert_eq!(arrived.headers.value("Postern-Origin"), Some("127.0.0.1 office 127.0.0.1"));
    assert_eq!(arrived.headers.value(HeaderName::Diversion), Some("<sip:1001@pbx>;reason=user-busy"));
    assert_eq!(arrived.headers.max_forwards().expect("readable"), Some(69));
    assert_eq!(house.um.seen.lock().expect("alone").iter().filter(|r| r.method == Method::Bye).count(), 0);
}

#[tokio::test]
async fn each_request_outside_of_dialogs_counts_once_and_by_its_method() {
    let worker = Service::start(Manner::default());
    let redirect = Some(format!("<sip:7000@{};transport=tcp>", worker.address));
    let um = Service::start(Manner { redirect, ..Manner::free(5) });
    let router = Router::with(&[um.address], "mode = \"proxy\"").await;
    router.until_counted("postern_router_um_services{health=\"healthy\"} 1").await;
    let mut gateway = Party::client();
    let options = gateway.ask(Method::Options, &router.uri("ping"), &[]).await.expect("an answer");
    assert_eq!(options.status.code(), 200);
    let invite = request(Method::Invite, &router.uri("7000"), &[]);
    let answer = gateway.send(invite.clone()).await.expect("an answer");
    assert_eq!(answer.status.code(), 200);
    let bye = gateway.send(in_dialog(Method::Bye, &invite, &answer, 2)).await.expect("an answer");
    assert_eq!(bye.status.code(), 200);
    // What came before this one has been counted when this one is.
    gateway.ask(Method::Register, &router.uri("7000"), &[]).await.expect("an answer");
    router.until_counted("postern_router_requests_total{method=\"other\",result=\"405\"} 1").await;
    let text = router.counted().await;
    let mut counted: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("postern_router_requests_total")).collect();
    counted.retain(|line| !line.ends_with(" 0"));
    let once = |method: &str, result: &str| format!("{{method=\"{method}\",result=\"{result}\"}} 1");
    assert_eq!(counted, [once("invite", "2xx"), once("options", "2xx"), once("other", "405")]);
}

/// Answers each request with 200, for ever; `seen` is what came.
async fn answer_all(party: &mut Party, seen: &mut Vec<Request>) {
    loop {
        party.transport.drive(&mut party.endpoint).await;
        while let Some(event) = party.endpoint.poll_event() {
            match event {
                Event::Request { tx, request, .. } => {
                    let address = party.transport.listening().tcp.first().copied();
                    let mut response = request.response(StatusCode::OK, Some("answer"));
                    let contact = address.map_or("sip:2001@127.0.0.1:9;transport=tcp".to_owned(), |at| {
                        format!("sip:vm@{at};transport=tcp")
                    });
                    response.headers.push("Contact", format!("<{contact}>"));
                    party.endpoint.send_response(tx, response, Instant::now());
                    seen.push(request);
                }
                Event::Ack { request, .. } => seen.push(request),
                _ => {}
            }
        }
    }
}

/// A request of one party, answered by the other; what it was there.
async fn exchange(from: &mut Party, to: &mut Party, request: Request) -> Request {
    let (method, mut seen) = (request.method.clone(), Vec::new());
    let answer = tokio::select! {
        answer = from.send(request) => answer.expect("an answer"),
        () = answer_all(to, &mut seen) => unreachable!(),
    };
    assert_eq!(answer.status.code(), 200, "{method}");
    seen.into_iter().find(|request| request.method == method).unwrap_or_else(|| panic!("{method} came elsewhere"))
}

#[tokio::test]
async fn after_a_redirect_both_sides_say_what_they_want_within_the_dialog() {
    let listening = Listening { tcp: vec![([127, 0, 0, 1], 0).into()], ..Listening::default() };
    let mut worker = Party::new(listening, None);
    let at = worker.transport.listening().tcp[0];
    let redirect = Some(format!("<sip:7000@{at};transport=tcp>"));
    let um = Service::start(Manner { redirect, ..Manner::free(5) });
    let router = Router::with(&[um.address], "mode = \"proxy\"").await;
    router.until_options_say(200).await;

    let mut gateway = Party::client();
    let invite = request(Method::Invite, &router.uri("7000"), &[]);
    let mut seen = Vec::new();
    let answer = tokio::select! {
        answer = gateway.send(invite.clone()) => answer.expect("an answer"),
        () = answer_all(&mut worker, &mut seen) => unreachable!(),
    };
    assert_eq!(answer.status.code(), 200);
    let arrived = seen.pop().expect("the INVITE");

    let methods = [Method::Invite, Method::Update, Method::Info, Method::Refer, Method::Notify];
    for (number, method) in (2..).zip(methods.clone()) {
        let mut sent = in_dialog(method.clone(), &invite, &answer, number);
        sent.headers.push("Contact", "<sip:2001@127.0.0.1:9;transport=tcp>");
        sent.headers.push("Event", "refer");
        let came = exchange(&mut gateway, &mut worker, sent).await;
        assert_eq!(came.headers.max_forwards().expect("readable"), Some(69), "{method}");
        assert_eq!(came.headers.value("Event"), Some("refer"));
        if method == Method::Invite {
            let ack = in_dialog(Method::Ack, &invite, &answer, number);
            let target = Target::of(&ack).expect("a place to go");
            gateway.endpoint.send_ack(ack, target, Instant::now()).expect("sent");
        }
    }
    // Nobody listens where the caller says that it does: what the called side sends takes the caller's own connection.
    for (number, method) in (1..).zip(methods.into_iter().chain([Method::Bye])) {
        let sent = of_called(method.clone(), &arrived, &answer, number);
        let came = exchange(&mut worker, &mut gateway, sent).await;
        assert_eq!(came.headers.max_forwards().expect("readable"), Some(69), "{method}");
        assert_eq!(came.headers.value(HeaderName::CSeq), Some(format!("{number} {method}").as_str()));
    }
    assert!(
        um.seen.lock().expect("alone").iter().all(|request| matches!(request.method, Method::Invite | Method::Ack))
    );
}

/// A request of the called side within the dialog that the INVITE, as it arrived, and its answer set up.
fn of_called(method: Method, arrived: &Request, answer: &postern_sip::Response, number: u32) -> Request {
    let contact = arrived.headers.contact().expect("readable").expect("a contact");
    let mut request = Request::new(method.clone(), contact.uri);
    request.headers.push(HeaderName::From, answer.headers.value(HeaderName::To).expect("a To"));
    request.headers.push(HeaderName::To, arrived.headers.value(HeaderName::From).expect("a From"));
    request.headers.copy_from(&arrived.headers, HeaderName::CallId);
    request.headers.push(HeaderName::CSeq, format!("{number} {method}"));
    request.headers.push("Contact", "<sip:vm@127.0.0.1:9;transport=tcp>");
    for route in arrived.headers.record_routes().expect("readable") {
        request.headers.push(HeaderName::Route, route);
    }
    request
}

#[tokio::test]
async fn a_subscription_goes_through_to_the_service_and_its_notifications_come_back() {
    let um = Service::start(Manner::free(5));
    let router = Router::with(&[um.address], "mode = \"proxy\"").await;
    router.until_options_say(200).await;
    let mut gateway = Party::client();
    let subscribe = request(Method::Subscribe, &router.uri("1001"), &[("Event", "message-summary")]);
    let answer = gateway.send(subscribe.clone()).await.expect("an answer");
    assert_eq!(answer.status.code(), 200);
    let arrived = um.request(Method::Subscribe).await;
    assert_eq!(arrived.headers.value("Postern-Origin"), Some("127.0.0.1 office 127.0.0.1"));

    let notify = of_called(Method::Notify, &arrived, &answer, 1);
    let came = exchange(&mut Party::client(), &mut gateway, notify).await;
    assert_eq!(came.headers.value(HeaderName::CSeq), Some("1 NOTIFY"));
    let refreshed = gateway.send(in_dialog(Method::Subscribe, &subscribe, &answer, 2)).await.expect("an answer");
    assert_eq!(refreshed.status.code(), 200);
    let seen = um.seen.lock().expect("alone");
    let counts: Vec<_> = seen.iter().filter_map(|request| request.headers.value(HeaderName::CSeq)).collect();
    assert_eq!(counts, ["1 SUBSCRIBE", "2 SUBSCRIBE"]);
}

#[tokio::test]
async fn what_a_stranger_says_of_its_origin_is_written_over() {
    let house = house().await;
    let forged = [("Postern-Origin", "gw.example.test sealed 192.0.2.1")];
    let answer = Party::client().ask(Method::Invite, &house.router.uri("7000"), &forged).await.expect("an answer");
    assert_eq!(answer.status.code(), 200);
    let arrived = house.worker.request(Method::Invite).await;
    assert_eq!(arrived.headers.values("Postern-Origin").collect::<Vec<_>>(), ["127.0.0.1 office 127.0.0.1"]);
}

#[tokio::test]
async fn a_service_that_refuses_is_followed_by_the_next_one() {
    let worker = Service::start(Manner::default());
    let redirect = Some(format!("<sip:7000@{};transport=tcp>", worker.address));
    let gone =
        Service::start(Manner { redirect: Some("<sip:7000@127.0.0.1:9;transport=tcp>".into()), ..Manner::free(50) });
    let um = Service::start(Manner { redirect, ..Manner::free(5) });
    let router = Router::with(&[gone.address, um.address], "mode = \"proxy\"").await;
    router.until_options_say(200).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let answer = Party::client().ask(Method::Invite, &router.uri("7000"), &[]).await.expect("an answer");
    assert_eq!(answer.status.code(), 200);
    gone.request(Method::Invite).await;
    worker.request(Method::Invite).await;
}

#[tokio::test]
async fn a_request_of_a_dialog_that_never_came_through_is_refused() {
    let house = house().await;
    let mut bye = request(Method::Bye, &house.router.uri("7000"), &[]);
    bye.headers.set(HeaderName::To, "<sip:7000@example.test>;tag=nobody");
    let answer = Party::client().send(bye).await.expect("an answer");
    assert_eq!(answer.status.code(), 481);
}

#[tokio::test]
async fn hops_run_out() {
    let house = house().await;
    let answer = Party::client().ask(Method::Invite, &house.router.uri("7000"), &[("Max-Forwards", "0")]).await;
    assert_eq!(answer.expect("an answer").status.code(), 483);
}
