//! Each reason for which a call has no audio, caused.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use postern_media::session::Keying;
use postern_media::srtp_profile::SdesKeying;
use postern_sip::offer_answer_capabilities::{Codec, OfferKeying};
use postern_sip::sdp_media::Direction;
use postern_telemetry::call_labels::EdgeFailure;

use crate::phone::{Ice, Manner, Phone};
use crate::site::{Plan, Site};
use crate::{Lab, speech};

const FROM: &str = "<sip:2002@127.0.0.1>";

/// Calls in this manner, says something, and hangs up; why nothing was received and nothing was heard, by the record.
async fn reasons(lab: &Lab, manner: Manner, speaks: bool) -> [String; 2] {
    let before = std::fs::read_to_string(lab.directory.join("calls.json")).unwrap_or_default().lines().count();
    let mut phone = Phone::dial(FROM, &lab.uri("1001"), manner).await.unwrap();
    if speaks {
        phone.say(&speech()[..8_000]).await;
    } else {
        phone.wait(Duration::from_millis(1200)).await;
    }
    phone.hang_up().await;
    let records = lab.records(before + 1).await;
    let record = &records[before];
    ["no_audio_received", "no_audio_sent"].map(|way| record[way].as_str().unwrap_or("-").to_owned())
}

fn plain() -> Manner {
    Manner::new(Codec::Pcmu, OfferKeying::Plain)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_where_both_are_heard() {
    let lab = Lab::new().await;
    assert_eq!(reasons(&lab, plain(), true).await, ["-", "-"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_nothing_is_nothing_received() {
    let lab = Lab::new().await;
    let manner = Manner { bend: |_| None, ..plain() };
    assert_eq!(reasons(&lab, manner, false).await[0], "nothing_received");
}

#[tokio::test(flavor = "multi_thread")]
async fn media_from_elsewhere_than_signalled_is_the_wrong_source() {
    let lab = Lab::new().await;
    let manner = Manner { claims: Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))), ..plain() };
    assert_eq!(reasons(&lab, manner, true).await[0], "wrong_source");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_type_that_nobody_agreed_on_is_named() {
    let lab = Lab::new().await;
    let manner = Manner {
        bend: |mut session| {
            session.payload_type = 77;
            Some(session)
        },
        ..plain()
    };
    assert_eq!(reasons(&lab, manner, true).await[0], "payload");
}

#[tokio::test(flavor = "multi_thread")]
async fn media_under_another_key_fails_its_authentication() {
    let lab = Lab::new().await;
    let manner = Manner {
        bend: |mut session| {
            if let Keying::Sdes(SdesKeying { profile, local, remote }) = session.keying {
                // Each side's key in the other one's place.
                session.keying = Keying::Sdes(SdesKeying { profile, local: remote, remote: local });
            }
            Some(session)
        },
        ..Manner::new(Codec::Pcmu, OfferKeying::Sdes)
    };
    assert_eq!(reasons(&lab, manner, true).await[0], "srtp_authentication");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_comes_is_dtls_in_both_directions() {
    let lab = Lab::new().await;
    let manner = Manner { bend: |_| None, ..Manner::new(Codec::Pcmu, OfferKeying::Dtls) };
    assert_eq!(reasons(&lab, manner, false).await, ["dtls", "dtls"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_held_from_beginning_to_end_says_so() {
    let lab = Lab::new().await;
    let manner = Manner { direction: Direction::Inactive, ..plain() };
    assert_eq!(reasons(&lab, manner, false).await, ["hold", "hold"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_never_speaks_is_silence() {
    let lab = Lab::new().await;
    assert_eq!(reasons(&lab, plain(), false).await, ["silence", "-"]);
}

fn deaf() -> Manner {
    Manner { ice: Ice::Deaf, bend: |_| None, ..plain() }
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_that_lead_nowhere_are_ice() {
    let lab = Lab::new().await;
    assert_eq!(reasons(&lab, deaf(), false).await, ["ice", "ice"]);
    let record = &lab.records(1).await[0];
    assert!(record["ice_pairs_tried"].as_u64().unwrap() > 0, "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_without_ports_is_told_from_one_that_does_not_answer_and_one_without_credentials() {
    let site = Site::new(1);
    let full = site.edge(1, Plan { ports: "30010-30011", ..Plan::default() }).await;
    let gone = site.edge(2, Plan::default()).await;
    let strange = site.edge(3, Plan { serves: "somebody-else.example.test", ..Plan::default() }).await;

    let lab = site.lab(&[&full]).await;
    // Two calls have both ports of that edge.
    let one = Phone::dial(FROM, &lab.uri("1001"), deaf()).await.unwrap();
    let other = Phone::dial(FROM, &lab.uri("1001"), deaf()).await.unwrap();
    assert_eq!(reasons(&lab, deaf(), false).await, ["edge_ports", "edge_ports"]);
    one.hang_up().await;
    other.hang_up().await;
    assert_eq!(lab.worker.cells.edge_failures.value(EdgeFailure::OutOfPorts), 1);

    let lab = site.lab(&[&gone]).await;
    gone.cut();
    assert_eq!(reasons(&lab, deaf(), false).await, ["edge_unreachable", "edge_unreachable"]);

    let lab = Lab::with(&site.worker_edges(&[&strange])).await;
    assert_eq!(reasons(&lab, deaf(), false).await, ["edge_credentials", "edge_credentials"]);
}
