//! Calls redirected, and calls refused.

use postern_sip::Method;
use tokio::io::AsyncWriteExt;

use crate::harness::*;

async fn status(router: &Router, user: &str, headers: &[(&str, &str)]) -> u16 {
    let answer = Party::client().ask(Method::Invite, &router.uri(user), headers).await;
    answer.expect("an answer").status.code()
}

#[tokio::test]
async fn a_call_is_redirected_to_the_services_with_most_free_calls_first() {
    let (few, many) = (Service::start(Manner::free(5)), Service::start(Manner::free(50)));
    let router = Router::with(&[few.address, many.address], "").await;
    router.until_options_say(200).await;
    // The second one may not have answered yet.
    let mut answer = None;
    for _ in 0..100 {
        let now = Party::client().ask(Method::Invite, &router.uri("7000"), &[]).await.expect("an answer");
        assert_eq!(now.status.code(), 302);
        let whole = contacts(&now).len() == 2;
        answer = Some(now);
        if whole {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let wanted = [
        format!("sip:7000@{};transport=tcp 1000", many.address),
        format!("sip:7000@{};transport=tcp 900", few.address),
    ];
    assert_eq!(contacts(&answer.expect("one")), wanted);
    router.end().await;
}

#[tokio::test]
async fn a_gateway_that_takes_one_contact_gets_one() {
    let (one, other) = (Service::start(Manner::free(5)), Service::start(Manner::free(5)));
    for (more, gateway) in [("contacts = 1", ""), ("", "contacts = 1")] {
        let gateway = format!("address = \"127.0.0.1\"\n{gateway}");
        let router = Router::start(&[one.address, other.address], more, &gateway).await;
        router.until_options_say(200).await;
        let answer = Party::client().ask(Method::Invite, &router.uri("7000"), &[]).await.expect("an answer");
        assert_eq!(contacts(&answer).len(), 1);
    }
}

#[tokio::test]
async fn the_called_party_goes_with_the_call() {
    let um = Service::start(Manner::free(5));
    let router = Router::with(&[um.address], "").await;
    router.until_options_say(200).await;
    let called = format!("sip:7000@{};transport=tcp;target=sip:1001%40pbx;cause=486", router.address);
    let answer = Party::client().ask(Method::Invite, &called, &[]).await.expect("an answer");
    let wanted = format!("sip:7000@{};transport=tcp;target=sip:1001%40pbx;cause=486 1000", um.address);
    assert_eq!(contacts(&answer), [wanted]);
}

#[tokio::test]
async fn strangers_and_closed_gateways_are_refused() {
    let um = Service::start(Manner::free(5));
    for (gateway, invite, options) in [
        ("address = \"192.0.2.1\"", 403, 403),
        ("address = \"127.0.0.1\"\nstatus = \"disabled\"", 403, 403),
        ("address = \"127.0.0.1\"\nstatus = \"no-new-calls\"", 480, 200),
    ] {
        let router = Router::start(&[um.address], "", gateway).await;
        router.until_options_say(options).await;
        assert_eq!(status(&router, "7000", &[]).await, invite, "{gateway}");
    }
}

#[tokio::test]
async fn numbers_that_lead_nowhere_and_loops_are_refused() {
    let um = Service::start(Manner::free(5));
    let router = Router::with(&[um.address], "").await;
    router.until_options_say(200).await;
    assert_eq!(status(&router, "nobody", &[]).await, 404);
    assert_eq!(status(&router, "1001", &[]).await, 302);
    let diversion = ["<sip:1001@pbx>"; 11].join(", ");
    assert_eq!(status(&router, "7000", &[("Diversion", &diversion)]).await, 482);
}

#[tokio::test]
async fn without_a_healthy_service_calls_are_503_for_a_short_time() {
    let router = Router::with(&[([127, 0, 0, 1], free_port()).into()], "").await;
    router.until_options_say(503).await;
    let answer = Party::client().ask(Method::Invite, &router.uri("7000"), &[]).await.expect("an answer");
    assert_eq!(answer.status.code(), 503);
    assert!(answer.headers.retry_after_secs().is_some_and(|secs| (1..=5).contains(&secs)));
}

#[tokio::test]
async fn services_without_free_calls_are_busy() {
    let um = Service::start(Manner::free(0));
    let router = Router::with(&[um.address], "").await;
    router.until_options_say(200).await;
    assert_eq!(status(&router, "7000", &[]).await, 486);
}

#[tokio::test]
async fn other_methods_are_answered_with_those_that_are_known() {
    let um = Service::start(Manner::free(5));
    let router = Router::with(&[um.address], "").await;
    let answer = Party::client().ask(Method::Register, &router.uri("7000"), &[]).await.expect("an answer");
    assert_eq!(answer.status.code(), 405);
    assert!(answer.headers.allowed().is_some_and(|methods| methods.contains(&"INVITE")));
}

#[tokio::test]
async fn what_is_no_sip_is_counted_and_so_are_connections() {
    let router = Router::with(&[], "").await;
    let mut stranger = tokio::net::TcpStream::connect(router.address).await.expect("it listens");
    router.until_counted("postern_router_connections{transport=\"tcp\"} 1").await;
    stranger.write_all(b"HELLO sip world\r\nthis: is none\r\n\r\n").await.expect("sent");
    router.until_counted("postern_router_malformed_messages_total{transport=\"tcp\"} 1").await;
    router.until_counted("postern_router_malformed_messages_total{transport=\"udp\"} 0").await;
}

#[tokio::test]
async fn in_single_hop_mode_the_active_worker_is_named() {
    let mut manner = Manner::free(5);
    let workers = "<sip:worker.example.test:5066;transport=tls>, <sip:10.20.0.20:5065;transport=tcp>";
    manner.status.push(("Postern-Worker".into(), workers.into()));
    let um = Service::start(manner);
    let router = Router::with(&[um.address], "mode = \"single-hop\"").await;
    router.until_options_say(200).await;
    let answer = Party::client().ask(Method::Invite, &router.uri("7000"), &[]).await.expect("an answer");
    assert_eq!(contacts(&answer), ["sip:7000@10.20.0.20:5065;transport=tcp 1000"]);
    // A call that came by TCP is not sent to a worker that takes TLS alone, nor the other way round.
    um.manner.lock().expect("alone").status.pop();
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(status(&router, "7000", &[]).await, 503);
}

#[tokio::test]
async fn a_subscription_is_redirected_to_the_service_whatever_the_mode() {
    let um = Service::start(Manner::free(5));
    for mode in ["", "mode = \"single-hop\""] {
        let router = Router::with(&[um.address], mode).await;
        router.until_options_say(200).await;
        let headers = [("Event", "message-summary")];
        let answer = Party::client().ask(Method::Subscribe, &router.uri("1001"), &headers).await.expect("an answer");
        assert_eq!(answer.status.code(), 302);
        assert_eq!(contacts(&answer), [format!("sip:1001@{};transport=tcp 1000", um.address)], "{mode}");
        let answer = Party::client().ask(Method::Subscribe, &router.uri("nobody"), &headers).await.expect("an answer");
        assert_eq!(answer.status.code(), 404);
    }
}
