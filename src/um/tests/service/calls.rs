//! What requests are answered.

use std::net::Ipv4Addr;

use postern_slots::Slot;
use postern_um::{Stop, ask_recent_calls, ask_story};
use tokio::io::AsyncWriteExt;

use crate::lab::{Lab, eventually, slot_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_gateway_is_redirected_to_the_active_worker() {
    let lab = Lab::new();
    let _service = lab.ready(10).await;
    let answer = lab.invite("1001").await;
    assert_eq!(answer.status, 302, "{answer:?}");
    let port = answer.port();
    slot_of(port);
    assert_eq!(answer.header("Contact"), Some(format!("<sip:1001@127.0.0.1:{port};transport=tcp>").as_str()));
    assert_eq!(lab.invite("7000").await.port(), port, "the pilot goes there too");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_has_its_one_answer() {
    let lab = Lab::new();
    let _service = lab.ready(10).await;
    let stranger = Ipv4Addr::new(127, 0, 0, 2);
    for (method, user, from, status) in [
        ("INVITE", "1001", stranger, 403),
        ("OPTIONS", "ping", stranger, 403),
        ("INVITE", "no-number", Ipv4Addr::LOCALHOST, 404),
        ("BYE", "1001", Ipv4Addr::LOCALHOST, 481),
        ("REGISTER", "1001", Ipv4Addr::LOCALHOST, 405),
    ] {
        let answer = lab.request(method, user, &lab.next_call_id(), from).await;
        assert_eq!(answer.status, status, "{method} {user} from {from}: {answer:?}");
    }
    let text = lab.scrape("/metrics").await;
    assert!(text.contains("postern_um_refusals_total{reason=\"unknown_gateway\"} 1\n"), "{text}");
    assert!(text.contains("postern_um_refusals_total{reason=\"no_such_address\"} 1\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_more_than_may_be_is_busy_until_one_ends() {
    let lab = Lab::new();
    let _service = lab.ready(2).await;
    let call_id = lab.next_call_id();
    let slot = slot_of(lab.request("INVITE", "1001", &call_id, Ipv4Addr::LOCALHOST).await.port());
    lab.tell(slot, &format!("begin {call_id}")).await;
    assert_eq!(lab.invite("1002").await.status, 302);
    eventually(async || lab.options().await.header("Postern-Free-Calls") == Some("0")).await;
    assert_eq!(lab.invite("1003").await.status, 486);
    lab.tell(slot, &format!("end {call_id}")).await;
    eventually(async || lab.options().await.header("Postern-Free-Calls") == Some("1")).await;
    assert_eq!(lab.invite("1003").await.status, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_tell_how_many_calls_are_taken_and_by_whom() {
    let lab = Lab::new();
    let service = lab.ready(7).await;
    let answer = lab.options().await;
    assert_eq!((answer.status, answer.header("Postern-Free-Calls")), (200, Some("7")), "{answer:?}");
    let port = lab.invite("1001").await.port();
    let worker = format!("<sip:127.0.0.1:{port};transport=tcp>");
    assert_eq!(lab.options().await.header("Postern-Worker"), Some(worker.as_str()));
    lab.tell(slot_of(port), "begin somebody").await;
    service.stops.send(Stop::Drain).await.expect("it runs");
    eventually(async || lab.options().await.status == 503).await;
    let answer = lab.options().await;
    assert_eq!(answer.header("Retry-After"), Some("2"), "{answer:?}");
    assert_eq!(answer.header("Postern-Worker"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sip_is_counted_and_harms_nobody() {
    let lab = Lab::new();
    let _service = lab.ready(10).await;
    let counted = |count: u32| format!("postern_um_malformed_messages_total{{transport=\"tcp\"}} {count}\n");
    assert!(lab.scrape("/metrics").await.contains(&counted(0)));
    let mut stranger = tokio::net::TcpStream::connect(lab.sip).await.expect("it listens");
    stranger.write_all(b"HELLO sip world\r\nthis: is none\r\n\r\n").await.expect("sent");
    eventually(async || lab.scrape("/metrics").await.contains(&counted(1))).await;
    assert_eq!(lab.invite("1001").await.status, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_tells_the_story_of_a_call() {
    let lab = Lab::new();
    let _service = lab.ready(10).await;
    let story = ask_story(&lab.run_directory(), Slot::B, "call-1@gateway").await.expect("a story");
    assert_eq!(story, "call-1@gateway came by slot B\n");
    assert_eq!(ask_recent_calls(&lab.run_directory(), Slot::B).await.expect("an answer"), []);
    lab.tell(Slot::B, "begin somebody").await;
    let known = ask_recent_calls(&lab.run_directory(), Slot::B).await.expect("an answer");
    assert_eq!((known.len(), known[0].call.as_str()), (1, "somebody"));
    lab.kill(Slot::B);
    std::fs::remove_dir_all(lab.run_directory()).expect("own directory");
    let error = ask_story(&lab.run_directory(), Slot::B, "call-1@gateway").await.expect_err("nobody listens");
    assert!(error.to_string().starts_with("no worker listens in slot B: "), "{error}");
}
