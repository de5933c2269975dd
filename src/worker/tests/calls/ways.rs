//! Calls whose media finds its way by ICE. Where edges carry it, the phone reaches relays alone, and relays reach neither
//! worker nor phone, so that no other way is left.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use postern_ice::candidate::Kind;
use postern_media::compare;
use postern_sip::offer_answer_capabilities::{Codec, OfferKeying};
use postern_telemetry::call_labels::{IceOutcome, RestartResult, TokenResult};

use crate::phone::{Ice, Manner, Phone};
use crate::site::{Edge, Plan, Site};
use crate::{Lab, speech};

const FROM: &str = "<sip:2002@127.0.0.1>";

/// The phone's own edge, number 9, which reaches the others and nothing else.
async fn phones_edge(site: &Site, others: &[u8]) -> Edge {
    let others: Vec<_> = others.iter().map(|number| site.ip(*number)).collect();
    site.edge(9, Plan { allow: &others, ..Plan::default() }).await
}

/// An edge of the worker's.
async fn workers_edge(site: &Site, number: u8) -> Edge {
    site.edge(number, Plan { allow: &[site.ip(9)], ..Plan::default() }).await
}

async fn call(lab: &Lab, phones: &Edge) -> Phone {
    let manner = Manner { ice: Ice::Relayed(vec![phones.server()]), ..Manner::new(Codec::Pcmu, OfferKeying::Plain) };
    Phone::dial(FROM, &lab.uri("1001"), manner).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_by_the_relay_under_a_token() {
    let (site, speech) = (Site::new(2), speech());
    let (workers, phones) = (workers_edge(&site, 1).await, phones_edge(&site, &[1]).await);
    let lab = site.lab(&[&workers]).await;
    let mut phone = call(&lab, &phones).await;
    phone.wait_for_tone().await;
    phone.say(&speech).await;
    phone.wait(Duration::from_millis(300)).await;
    let pair = phone.pair.clone().unwrap();
    assert_eq!((pair.local.kind, pair.remote.kind), (Kind::Relayed, Kind::Relayed));
    assert_eq!(pair.remote.address.ip(), workers.ip);
    phone.hang_up().await;

    let verdict = compare::compare(&speech, &lab.audio(&lab.messages().await[0]).await, 8_000).unwrap();
    assert!(verdict.passes(), "{verdict:?}");
    let record = &lab.records(1).await[0];
    assert_eq!((&record["ice_local"], &record["ice_remote"]), (&"relay".into(), &"relay".into()), "{record:#}");
    assert_eq!(record["edge"], workers.name(), "{record:#}");
    assert_eq!(record["shared_call_id"].as_str().unwrap().len(), 16);
    assert!(record.get("no_audio_received").is_none() && record.get("no_audio_sent").is_none(), "{record:#}");
    assert_eq!(lab.worker.cells.ice.value(IceOutcome::Completed), 1);
    // 50 packets per second of each direction, 172 bytes each, for the length of the speech at least.
    let bytes = workers.metric("postern_edge_relayed_bytes_total").await;
    assert!(bytes > 2.0 * 4.7 * 50.0 * 172.0, "{bytes}");
    let story = lab.worker.stories.render(record["call_id"].as_str().unwrap()).unwrap();
    assert!(story.contains("typ relay") && story.contains(", selected,"), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_edge_ice_finds_the_way_on_the_inside() {
    let (lab, speech) = (Lab::new().await, speech());
    let manner = Manner { ice: Ice::Host, ..Manner::new(Codec::G722, OfferKeying::Dtls) };
    let mut phone = Phone::dial(FROM, &lab.uri("1001"), manner).await.unwrap();
    phone.wait_for_tone().await;
    phone.say(&speech).await;
    phone.wait(Duration::from_millis(300)).await;
    phone.hang_up().await;
    let verdict = compare::compare(&speech, &lab.audio(&lab.messages().await[0]).await, 8_000).unwrap();
    assert!(verdict.passes(), "{verdict:?}");
    let record = &lab.records(1).await[0];
    assert_eq!((&record["ice_local"], &record["keying"]), (&"host".into(), &"dtls".into()), "{record:#}");
    assert!(record.get("edge").is_none() && record.get("shared_call_id").is_none(), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_of_either_family_finds_the_worker_by_ice() {
    let (lab, speech) = (Lab::of_both_families().await, speech());
    for host in [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)] {
        let manner = Manner { ice: Ice::Host, host, ..Manner::new(Codec::Pcmu, OfferKeying::Plain) };
        let mut phone = Phone::dial(FROM, &lab.uri("1001"), manner).await.unwrap();
        phone.say(&speech[..8_000]).await;
        let pair = phone.pair.clone().unwrap();
        assert_eq!((pair.local.address.ip(), pair.remote.address.ip()), (host, host));
        phone.hang_up().await;
    }
    for record in lab.records(2).await {
        assert!(record.get("no_audio_received").is_none() && record.get("no_audio_sent").is_none(), "{record:#}");
        let story = lab.worker.stories.render(record["call_id"].as_str().unwrap()).unwrap();
        let told = |host: &str| story.lines().any(|line| line.starts_with("local ") && line.contains(host));
        assert!(told(" 127.0.0.1 ") && told(" ::1 "), "{story}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_outlives_its_token() {
    let (site, speech) = (Site::new(3), speech());
    let plan = Plan { allow: &[site.ip(9)], token_secs_max: 12, ..Plan::default() };
    let (workers, phones) = (site.edge(1, plan).await, phones_edge(&site, &[1]).await);
    let lab = site.lab(&[&workers]).await;
    let mut phone = call(&lab, &phones).await;
    phone.wait_for_tone().await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(18) {
        phone.say(&speech).await;
    }
    assert!(phone.ended.is_none() && phone.answered_offers == 0, "the same allocation goes on");
    phone.hang_up().await;
    let record = &lab.records(1).await[0];
    assert_eq!((&record["drop_cause"], &record["kind"]), (&"caller_hung_up".into(), &"voice_message".into()));
    let length = lab.audio(&lab.messages().await[0]).await.len() as f64 / 8_000.0;
    assert!(length > 17.0, "{length} s are recorded");
    assert!(lab.worker.cells.tokens.value(TokenResult::Issued) > 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_an_edge_dies_the_call_goes_on_through_another_within_three_seconds() {
    let (site, speech) = (Site::new(4), speech());
    let (one, other) = (workers_edge(&site, 1).await, workers_edge(&site, 2).await);
    let phones = phones_edge(&site, &[1, 2]).await;
    let lab = site.lab(&[&one, &other]).await;
    let mut phone = call(&lab, &phones).await;
    phone.wait_for_tone().await;
    phone.say(&speech).await;
    let used = phone.pair.clone().unwrap().remote.address.ip();
    let (dying, living) = if used == one.ip { (&one, &other) } else { (&other, &one) };
    dying.cut();
    let cut = Instant::now();
    while phone.pair.as_ref().unwrap().remote.address.ip() != living.ip {
        phone.wait(Duration::from_millis(20)).await;
        assert!(cut.elapsed() < Duration::from_secs(10) && phone.ended.is_none(), "another way is found");
    }
    let took = cut.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(phone.answered_offers, 1, "by one re-INVITE");
    phone.say(&speech).await;
    phone.wait(Duration::from_millis(300)).await;
    phone.hang_up().await;
    let record = &lab.records(1).await[0];
    assert_eq!((&record["edge"], &record["ice_local"]), (&living.name().into(), &"relay".into()), "{record:#}");
    assert_eq!(record["kind"], "voice_message");
    assert_eq!(lab.worker.cells.ice_restarts.value(RestartResult::Restored), 1);
    // What was said after the loss is in the recording.
    let audio = lab.audio(&lab.messages().await[0]).await;
    let verdict = compare::compare(&speech, &audio[audio.len() - speech.len() - 8_000..], 8_000).unwrap();
    assert!(verdict.correlation > 0.9, "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_edge_the_call_ends_after_ten_seconds_and_its_recording_is_kept() {
    let (site, speech) = (Site::new(5), speech());
    let (workers, phones) = (workers_edge(&site, 1).await, phones_edge(&site, &[1]).await);
    let lab = site.lab(&[&workers]).await;
    let mut phone = call(&lab, &phones).await;
    phone.wait_for_tone().await;
    phone.say(&speech).await;
    workers.cut();
    let cut = Instant::now();
    phone.listen("the worker hangs up", |heard| heard.ended.is_some()).await;
    let took = cut.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(15), "{took:?}");
    let record = &lab.records(1).await[0];
    assert_eq!((&record["drop_cause"], &record["kind"]), (&"edge_lost".into(), &"voice_message".into()), "{record:#}");
    let length = lab.audio(&lab.messages().await[0]).await.len() as f64 / 8_000.0;
    assert!(length > 4.7, "{length} s are kept");
    assert_eq!(lab.worker.cells.edges_usable.value(()), Some(0));
}
