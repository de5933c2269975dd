//! What a worker tells of its calls: records, stories, metrics.

use postern_sip::offer_answer_capabilities::{Codec, OfferKeying};
use postern_telemetry::call_labels::{
    CallEnd, CallKind, CallRefusal, MailboxEvent, MailboxResult, OfferResult, SipMethod, SipResult,
};
use postern_worker::Duty;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::phone::Phone;
use crate::{Lab, speech};

const FROM: &str = "<sip:2002@127.0.0.1>";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_in_one_record_a_story_and_the_metrics() {
    let (lab, speech) = (Lab::new().await, speech());
    lab.leave(&speech, Codec::Pcmu, OfferKeying::Sdes).await;
    let message = &lab.messages().await[0];
    let records = lab.records(1).await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    for (column, value) in [
        ("called", "1001"),
        ("caller", "2002"),
        ("dialled", "1001"),
        ("dial_plan", "office"),
        ("gateway", "127.0.0.1"),
        ("server", "127.0.0.1"),
        ("slot", "a"),
        ("kind", "voice_message"),
        ("offer_result", "answered"),
        ("drop_cause", "caller_hung_up"),
        ("reason", "direct"),
        ("codec", "PCMU"),
        ("keying", "sdes"),
        ("message", &message.id.to_string()),
    ] {
        assert_eq!(record[column], value, "{column} of {record:#}");
    }
    let secs = record["duration_secs"].as_f64().unwrap();
    assert!(secs > 4.7 && secs < 60.0, "{secs}");
    assert!(record["nmos"].as_f64().unwrap() > 4.0, "{record:#}");
    assert!(record.get("no_audio_received").is_none() && record.get("no_audio_sent").is_none(), "{record:#}");

    let call_id = record["call_id"].as_str().unwrap();
    let story = lab.worker.stories.render(call_id).unwrap();
    let ladder: Vec<&str> = story.lines().filter_map(|line| line.split_once(" s  ").map(|(_, what)| what)).collect();
    let expected = ["--> INVITE  (CSeq 1 INVITE)", "<-- 200 OK  (CSeq 1 INVITE)", "--> ACK  (CSeq 1 ACK)"];
    let ladder: Vec<&str> = ladder.into_iter().filter(|line| !line.contains("100 Trying")).collect();
    assert_eq!(ladder[..3], expected, "{story}");
    assert!(story.contains("--> BYE") && story.contains("\nended ") && story.contains("frames of 20 ms"), "{story}");

    let cells = &lab.worker.cells;
    assert_eq!(cells.calls.value(CallKind::Answering), 0);
    assert_eq!(cells.calls_ended.value((CallKind::Answering, CallEnd::CallerHungUp)), 1);
    assert_eq!(cells.mailbox_calls.value(MailboxResult::VoiceMessage), 1);
    assert_eq!(cells.mailbox_events.value(MailboxEvent::MessageLeft), 1);
    assert_eq!((cells.offers.value(OfferResult::Answered), cells.mos.count(())), (1, 1));
    assert_eq!(cells.requests.value((SipMethod::Invite, SipResult::Success)), 1);
    assert_eq!(cells.recordings.value(()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_taken_has_its_record_and_its_reason() {
    let lab = Lab::new().await;
    let refused = Phone::call(FROM, &lab.uri("12"), Codec::Pcmu, OfferKeying::Plain).await;
    assert!(refused.is_err());
    let record = &lab.records(1).await[0];
    assert_eq!((&record["offer_result"], &record["status"]), (&"rejected".into(), &404.into()), "{record:#}");
    assert_eq!(record["dialled"], "12");
    assert_eq!(lab.worker.cells.refusals.value(CallRefusal::NoSuchAddress), 1);
    assert_eq!(lab.worker.cells.offers.value(OfferResult::Rejected), 1);
    let story = lab.worker.stories.render(record["call_id"].as_str().unwrap()).unwrap();
    assert!(story.contains("<-- 404 "), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_pressed_reach_neither_record_nor_story() {
    let lab = Lab::new().await;
    let mut phone =
        Phone::call("<sip:1001@127.0.0.1>", &lab.uri("7000"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    phone.wait(std::time::Duration::from_millis(300)).await;
    phone.press("739182#").await;
    phone.wait(std::time::Duration::from_secs(1)).await;
    phone.hang_up().await;
    let record = &lab.records(1).await[0];
    assert_eq!(record["kind"], "subscriber_access", "the PIN was heard: {record:#}");
    let story = lab.worker.stories.render(record["call_id"].as_str().unwrap()).unwrap();
    for text in [record.to_string(), story] {
        assert!(!text.contains("739182"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_leaves_hangs_up_keeps_what_was_said_and_says_so() {
    let (lab, speech) = (Lab::new().await, speech());
    let mut phone = Phone::call(FROM, &lab.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    phone.wait_for_tone().await;
    phone.say(&speech).await;
    lab.worker.duty.send(Duty::Leaving).unwrap();
    phone.listen("the worker hangs up", |heard| heard.ended.is_some()).await;
    let record = &lab.records(1).await[0];
    assert_eq!((&record["drop_cause"], &record["kind"]), (&"shutdown".into(), &"voice_message".into()), "{record:#}");
    assert_eq!(lab.messages().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_are_served_by_each_worker() {
    let lab = Lab::new().await;
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", lab.port + 4)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200"));
    let metrics = get("/metrics").await;
    for line in [
        "postern_worker_media_threads 1",
        "postern_worker_media_threads_turning 1",
        "postern_worker_generation{slot=\"a\"} 1",
        "postern_worker_rtp_port_pairs 1000",
        "postern_worker_rtp_port_pairs_free 1000",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
}
