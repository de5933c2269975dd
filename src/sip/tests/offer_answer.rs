//! Offers and answers: what is agreed, and what is written.

use std::net::SocketAddr;

use postern_sip::offer_answer::{IceReview, OfferAnswer};
use postern_sip::offer_answer_capabilities::{Capabilities, Codec, Local, LocalIce, OfferKeying, Security};
use postern_sip::offer_answer_media::{DtlsRole, Keying, PayloadType, Refusal};
use postern_sip::sdp::SessionDescription;
use postern_sip::sdp_crypto::CryptoSuite;
use postern_sip::sdp_ice::IceCandidate;
use postern_sip::sdp_media::Direction;

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const DIGEST: &str = "01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14";

fn capabilities() -> Capabilities {
    let ours = parse(&format!("v=0\na=fingerprint:sha-1 {DIGEST}\n"));
    Capabilities {
        codecs: vec![Codec::G722, Codec::Pcmu, Codec::Pcma],
        telephone_event: true,
        comfort_noise: true,
        security: Security::SrtpIfOffered,
        sdes: vec![CryptoSuite::AesCm128HmacSha1_80, CryptoSuite::AesCm128HmacSha1_32, CryptoSuite::AeadAes128Gcm],
        dtls: ours.fingerprints,
        offer: OfferKeying::Plain,
        rtcp_mux: false,
        ptime_ms: 20,
    }
}

fn with(change: impl FnOnce(&mut Capabilities)) -> OfferAnswer {
    let mut capabilities = capabilities();
    change(&mut capabilities);
    OfferAnswer::new(capabilities, [7; 32])
}

fn ours() -> OfferAnswer {
    with(|_| {})
}

fn local() -> Local {
    Local { rtp: address("10.0.0.1:20000"), rtcp: address("10.0.0.1:20001"), ice: None, direction: Direction::SendRecv }
}

fn local_ice(fragment: &str) -> Local {
    let candidates = ["1 1 UDP 9 10.0.0.1 20000 typ host", "1 2 UDP 8 10.0.0.1 20001 typ host"];
    let candidates = candidates.iter().map(|text| IceCandidate::parse(text).unwrap()).collect();
    let password = String::from("ourpasswordourpassword");
    let ice = LocalIce { user_fragment: fragment.into(), password, candidates, remote_candidates: Vec::new() };
    Local { ice: Some(ice), ..local() }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn parse(text: &str) -> SessionDescription {
    SessionDescription::parse(text.as_bytes()).unwrap()
}

/// A description at 192.0.2.1 with these m= lines and attributes.
fn sdp(rest: &str) -> SessionDescription {
    parse(&format!("v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n{rest}"))
}

fn refusal(mut ours: OfferAnswer, offer: &SessionDescription) -> Refusal {
    ours.answer(offer, &local()).unwrap_err()
}

#[test]
fn the_first_codec_of_the_offer_that_we_have_is_answered_alone() {
    let offer = sdp("m=audio 7078 RTP/AVP 96 8 0 9 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000\n");
    let (media, text) = ours().answer(&offer, &local()).unwrap();
    assert_eq!(media.codec, Codec::Pcma);
    assert_eq!(media.remote_rtp, Some(address("192.0.2.1:7078")));
    assert_eq!(media.remote_rtcp, Some(address("192.0.2.1:7079")));
    assert_eq!(media.keying, Keying::Plain);
    assert!(text.contains("m=audio 20000 RTP/AVP 8 101\r\n"), "{text}");
    assert!(text.contains("c=IN IP4 10.0.0.1\r\n") && text.contains("a=sendrecv\r\n"));
}

#[test]
fn our_codec_list_does_not_overrule_the_offer_s_order() {
    let (media, _) = ours().answer(&sdp("m=audio 7078 RTP/AVP 0 9\n"), &local()).unwrap();
    assert_eq!(media.codec, Codec::Pcmu);
}

#[test]
fn dtmf_and_comfort_noise_take_the_offer_s_payload_types_at_the_codec_s_clock() {
    let offer =
        sdp("m=audio 7078 RTP/AVP 9 99 97 13\na=rtpmap:99 telephone-event/48000\na=rtpmap:97 telephone-event/8000\n");
    let (media, text) = ours().answer(&offer, &local()).unwrap();
    assert_eq!(media.codec, Codec::G722);
    assert_eq!(media.telephone_event, Some(PayloadType { send: 97, receive: 97 }));
    assert_eq!(media.comfort_noise, Some(PayloadType { send: 13, receive: 13 }));
    assert!(text.contains("m=audio 20000 RTP/AVP 9 13 97\r\n"), "{text}");
    assert!(text.contains("a=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\n"), "{text}");
}

#[test]
fn a_codec_under_a_dynamic_payload_type_is_found() {
    let (media, text) = ours().answer(&sdp("m=audio 7078 RTP/AVP 102\na=rtpmap:102 pcmu/8000\n"), &local()).unwrap();
    assert_eq!((media.codec, media.payload_type.receive), (Codec::Pcmu, 102));
    assert!(text.contains("a=rtpmap:102 PCMU/8000"));
    assert_eq!((media.telephone_event, media.comfort_noise), (None, None));
}

#[test]
fn an_offer_without_a_codec_in_common_is_refused() {
    assert_eq!(refusal(ours(), &sdp("m=audio 7078 RTP/AVP 18\n")), Refusal::NoCodec);
    assert_eq!(refusal(ours(), &sdp("m=video 7078 RTP/AVP 96\n")), Refusal::NoAudio);
    assert_eq!(refusal(ours(), &sdp("m=audio 0 RTP/AVP 0\n")), Refusal::NoAudio);
    assert_eq!(refusal(ours(), &sdp("m=audio 7078 TCP/RTP/AVP 0\n")), Refusal::NoAudio);
}

#[test]
fn video_and_other_lines_are_refused_with_port_0_in_their_order() {
    let offer = sdp(
        "m=video 9078 RTP/AVP 96 97\na=rtpmap:96 VP8/90000\nm=audio 7078 RTP/AVP 0\nm=application 5 UDP/DTLS/SCTP webrtc-datachannel\n",
    );
    let (_, text) = ours().answer(&offer, &local()).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        ["m=video 0 RTP/AVP 96 97", "m=audio 20000 RTP/AVP 0", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"]
    );
}

#[test]
fn of_two_audio_lines_the_protected_one_is_taken() {
    let offer = sdp(&format!(
        "m=audio 7078 RTP/AVP 0\nm=audio 7080 RTP/SAVP 0\na=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:{KEY}\n"
    ));
    let (media, text) = ours().answer(&offer, &local()).unwrap();
    assert!(matches!(media.keying, Keying::Sdes(_)));
    assert_eq!(media.remote_rtp, Some(address("192.0.2.1:7080")));
    assert!(text.contains("m=audio 0 RTP/AVP 0\r\n") && text.contains("m=audio 20000 RTP/SAVP 0\r\n"), "{text}");
    let (media, _) = with(|ours| ours.security = Security::PlainOnly).answer(&offer, &local()).unwrap();
    assert_eq!(media.remote_rtp, Some(address("192.0.2.1:7078")));
}

#[test]
fn sdes_is_answered_with_the_first_suite_that_we_have_under_its_tag() {
    let offer = sdp(&format!(
        "m=audio 7078 RTP/SAVP 0\na=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:{}\n\
         a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}\na=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n",
        "A".repeat(61) + "A="
    ));
    let (media, text) = ours().answer(&offer, &local()).unwrap();
    let Keying::Sdes(keys) = media.keying else { panic!() };
    assert_eq!(keys.suite, CryptoSuite::AesCm128HmacSha1_32);
    assert_eq!(keys.remote, offer.media[0].crypto[1].key);
    assert_ne!(keys.local, keys.remote);
    let answer = SessionDescription::parse(text.as_bytes()).unwrap();
    assert_eq!(answer.media[0].crypto.len(), 1);
    assert_eq!((answer.media[0].crypto[0].tag, &answer.media[0].crypto[0].key), (2, &keys.local));
}

#[test]
fn a_key_with_an_identifier_is_passed_over_for_the_same_without() {
    let offer = sdp(&format!(
        "m=audio 7078 RTP/SAVP 0\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:1\n\
         a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31\n"
    ));
    let (_, text) = ours().answer(&offer, &local()).unwrap();
    assert!(text.contains("a=crypto:3 "), "{text}");
}

#[test]
fn sdes_where_keys_would_travel_in_clear_is_refused_or_ignored() {
    let required = sdp(&format!("m=audio 7078 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n"));
    assert_eq!(refusal(with(|ours| ours.sdes.clear()), &required), Refusal::NoKeying);
    let optional = sdp(&format!("m=audio 7078 RTP/AVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n"));
    let (media, text) = with(|ours| ours.sdes.clear()).answer(&optional, &local()).unwrap();
    assert_eq!(media.keying, Keying::Plain);
    assert!(!text.contains("crypto"));
}

#[test]
fn plain_rtp_is_refused_where_srtp_is_required() {
    let secured = || with(|ours| ours.security = Security::SrtpRequired);
    assert_eq!(refusal(secured(), &sdp("m=audio 7078 RTP/AVP 0\n")), Refusal::SrtpRequired);
    let optional = sdp(&format!("m=audio 7078 RTP/AVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n"));
    assert!(matches!(secured().answer(&optional, &local()).unwrap().0.keying, Keying::Sdes(_)));
}

#[test]
fn srtp_without_a_usable_key_is_refused_rather_than_answered_plain() {
    assert_eq!(refusal(ours(), &sdp("m=audio 7078 RTP/SAVP 0\n")), Refusal::NoKeying);
    assert_eq!(refusal(with(|ours| ours.dtls.clear()), &sdp(&dtls_line("actpass"))), Refusal::NoKeying);
    assert_eq!(refusal(ours(), &sdp(&dtls_line("holdconn"))), Refusal::NoKeying);
}

#[test]
fn an_optional_crypto_line_keeps_the_plain_profile_except_for_lync() {
    let offer = format!("m=audio 7078 RTP/AVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n");
    let (media, text) = ours().answer(&sdp(&offer), &local()).unwrap();
    assert!(matches!(media.keying, Keying::Sdes(_)));
    assert!(text.contains("m=audio 20000 RTP/AVP 0\r\n") && text.contains("a=crypto:1 "), "{text}");
    let (_, text) = ours().answer(&sdp(&(offer + "a=encryption:optional\n")), &local()).unwrap();
    assert!(text.contains("m=audio 20000 RTP/SAVP 0\r\n") && text.contains("|2^31\r\n"), "{text}");
}

fn dtls_line(setup: &str) -> String {
    format!("m=audio 7078 UDP/TLS/RTP/SAVP 0\na=fingerprint:sha-1 {DIGEST}\na=setup:{setup}\n")
}

#[test]
fn we_open_the_dtls_association_unless_the_offerer_wants_to() {
    for (offered, role, answered) in [
        ("actpass", DtlsRole::Client, "active"),
        ("passive", DtlsRole::Client, "active"),
        ("active", DtlsRole::Server, "passive"),
    ] {
        let (media, text) = ours().answer(&sdp(&dtls_line(offered)), &local()).unwrap();
        let Keying::Dtls(parameters) = media.keying else { panic!() };
        assert_eq!(parameters.role, role);
        assert_eq!(parameters.fingerprints[0].to_string(), format!("sha-1 {DIGEST}"));
        assert!(text.contains(&format!("a=setup:{answered}\r\n")), "{text}");
        assert!(text.contains("m=audio 20000 UDP/TLS/RTP/SAVP 0\r\n") && text.contains("a=fingerprint:sha-1 01:02"));
    }
}

#[test]
fn a_reoffer_keeps_the_dtls_role_of_the_running_association() {
    let mut ours = ours();
    ours.answer(&sdp(&dtls_line("active")), &local()).unwrap();
    let (media, _) = ours.answer(&sdp(&dtls_line("actpass")), &local()).unwrap();
    let Keying::Dtls(parameters) = media.keying else { panic!() };
    assert_eq!(parameters.role, DtlsRole::Server);
}

#[test]
fn hold_in_any_form_is_answered_by_sending_nothing() {
    for (offered, nowhere, answered) in [
        ("a=sendonly\n", false, "recvonly"),
        ("a=inactive\n", false, "inactive"),
        ("", true, "recvonly"),
        ("a=sendrecv\n", true, "recvonly"),
        ("a=sendonly\n", true, "recvonly"),
        ("a=inactive\n", true, "inactive"),
    ] {
        let connection = if nowhere { "c=IN IP4 0.0.0.0\n" } else { "" };
        let mut ours = ours();
        ours.answer(&sdp("m=audio 7078 RTP/AVP 0\n"), &local()).unwrap();
        let (media, text) =
            ours.answer(&sdp(&format!("m=audio 7078 RTP/AVP 0\n{connection}{offered}")), &local()).unwrap();
        assert!(media.is_on_hold());
        assert_eq!(media.remote_rtp.is_none(), nowhere);
        assert!(text.contains(&format!("a={answered}\r\n")), "{offered:?} {nowhere}: {text}");
        let (media, _) = ours.answer(&sdp("m=audio 7078 RTP/AVP 0\n"), &local()).unwrap();
        assert!(!media.is_on_hold());
    }
}

#[test]
fn a_recvonly_offer_is_answered_sendonly() {
    let (media, text) = ours().answer(&sdp("a=recvonly\nm=audio 7078 RTP/AVP 0\n"), &local()).unwrap();
    assert_eq!(media.direction, Direction::SendOnly);
    assert!(text.contains("a=sendonly\r\n"));
}

#[test]
fn an_unspecified_address_with_ice_is_no_hold() {
    let offer = sdp("m=audio 9 RTP/AVP 0\nc=IN IP4 0.0.0.0\na=ice-ufrag:abcd\na=ice-pwd:efghijklmnopqrstuvwxyz\n\
         a=candidate:1 1 UDP 9 192.0.2.1 7078 typ host\n");
    let (media, _) = ours().answer(&offer, &local_ice("ours")).unwrap();
    assert_eq!(media.direction, Direction::SendRecv);
    assert_eq!(media.remote_rtp, None);
    assert_eq!(media.ice.unwrap().candidates.len(), 1);
}

#[test]
fn packet_times_follow_the_offer_within_10_to_60_ms() {
    for (attributes, ptime) in [
        ("", 20),
        ("a=ptime:30\n", 30),
        ("a=ptime:5\n", 10),
        ("a=ptime:200\n", 60),
        ("a=maxptime:10\n", 10),
        ("a=ptime:35\n", 30),
    ] {
        let (media, text) = ours().answer(&sdp(&format!("m=audio 7078 RTP/AVP 0\n{attributes}")), &local()).unwrap();
        assert_eq!(media.ptime_ms, ptime, "{attributes}");
        assert!(text.contains(&format!("a=ptime:{ptime}\r\n")));
    }
}

#[test]
fn rtcp_goes_where_the_offer_says_and_sharing_is_never_required() {
    let (media, text) = ours().answer(&sdp("m=audio 7078 RTP/AVP 0\na=rtcp:9001\na=rtcp-mux\n"), &local()).unwrap();
    assert_eq!(media.remote_rtcp, Some(address("192.0.2.1:9001")));
    assert!(!media.rtcp_mux && !text.contains("rtcp-mux") && text.contains("a=rtcp:20001\r\n"));
    let (media, _) = ours().answer(&sdp("m=audio 7078 RTP/AVP 0\na=rtcp:9001 IN IP4 192.0.2.9\n"), &local()).unwrap();
    assert_eq!(media.remote_rtcp, Some(address("192.0.2.9:9001")));
    let mut sharing = with(|ours| ours.rtcp_mux = true);
    let (media, text) = sharing.answer(&sdp("m=audio 7078 RTP/AVP 0\na=rtcp-mux\n"), &local()).unwrap();
    assert_eq!(media.remote_rtcp, Some(address("192.0.2.1:7078")));
    assert!(text.contains("a=rtcp-mux\r\n"));
}

#[test]
fn an_ipv6_offer_is_answered_from_ipv6_and_not_from_ipv4() {
    let offer = parse("v=0\no=- 1 1 IN IP6 2001:db8::1\ns=-\nc=IN IP6 2001:db8::1\nt=0 0\nm=audio 7078 RTP/AVP 0\n");
    assert_eq!(ours().review(&offer).wants_ipv6, Some(true));
    assert_eq!(refusal(ours(), &offer), Refusal::AddressFamily);
    let local = Local { rtp: address("[2001:db8::2]:20000"), rtcp: address("[2001:db8::2]:20001"), ..local() };
    let (media, text) = ours().answer(&offer, &local).unwrap();
    assert_eq!(media.remote_rtp, Some(address("[2001:db8::1]:7078")));
    assert!(text.contains("c=IN IP6 2001:db8::2\r\n"));
}

#[test]
fn a_host_name_as_address_is_refused() {
    let offer = parse("v=0\no=- 1 1 IN IP4 h\ns=-\nc=IN IP4 media.example.test\nt=0 0\nm=audio 7078 RTP/AVP 0\n");
    assert_eq!(refusal(ours(), &offer), Refusal::HostName);
}

fn ice_offer(fragment: &str, default: &str) -> SessionDescription {
    sdp(&format!(
        "m=audio 7078 RTP/AVP 0\nc=IN IP4 {default}\na=ice-ufrag:{fragment}\na=ice-pwd:efghijklmnopqrstuvwxyz\n\
         a=candidate:1 1 UDP 9 192.0.2.1 7078 typ host\na=candidate:1 2 UDP 8 192.0.2.1 7079 typ host\n"
    ))
}

#[test]
fn ice_is_answered_with_our_credentials_and_candidates_as_the_controlled_side() {
    let mut ours = ours();
    let offer = ice_offer("abcd", "192.0.2.1");
    assert_eq!(ours.review(&offer).ice, IceReview::Begins);
    let (media, text) = ours.answer(&offer, &local_ice("mine")).unwrap();
    let ice = media.ice.unwrap();
    assert_eq!((ice.user_fragment.as_str(), ice.controlling, ice.restarted), ("abcd", false, false));
    assert!(
        text.contains("a=ice-ufrag:mine\r\n") && text.contains("a=candidate:1 1 UDP 9 10.0.0.1 20000 typ host\r\n")
    );
    assert!(!text.contains("password\r\na=ice-pwd:efgh"));
}

#[test]
fn new_credentials_restart_ice_and_the_same_ones_do_not() {
    let mut ours = ours();
    ours.answer(&ice_offer("abcd", "192.0.2.1"), &local_ice("mine")).unwrap();
    assert_eq!(ours.review(&ice_offer("abcd", "192.0.2.1")).ice, IceReview::Continues);
    let (media, _) = ours.answer(&ice_offer("abcd", "192.0.2.1"), &local_ice("mine")).unwrap();
    assert!(!media.ice.unwrap().restarted);
    assert_eq!(ours.review(&ice_offer("efgh", "192.0.2.1")).ice, IceReview::Restarts);
    let (media, text) = ours.answer(&ice_offer("efgh", "192.0.2.1"), &local_ice("next")).unwrap();
    assert!(media.ice.as_ref().unwrap().restarted && !media.ice.unwrap().controlling);
    assert!(text.contains("a=ice-ufrag:next\r\n"));
}

#[test]
fn a_lite_peer_is_controlled_by_us_whoever_offers() {
    let mut offer = ice_offer("abcd", "192.0.2.1");
    offer.ice.lite = true;
    let (media, _) = ours().answer(&offer, &local_ice("mine")).unwrap();
    assert!(media.ice.as_ref().unwrap().lite && media.ice.unwrap().controlling);
}

#[test]
fn an_address_changed_on_the_way_ends_ice_for_the_call() {
    let offer = ice_offer("abcd", "192.0.2.77");
    let (media, text) = ours().answer(&offer, &local_ice("mine")).unwrap();
    assert!(media.ice.is_none() && media.ice_mismatch);
    assert_eq!(media.remote_rtp, Some(address("192.0.2.77:7078")));
    assert!(text.contains("a=ice-mismatch\r\n") && !text.contains("ice-ufrag"), "{text}");
}

#[test]
fn a_call_without_an_agent_answers_without_ice() {
    let (media, text) = ours().answer(&ice_offer("abcd", "192.0.2.1"), &local()).unwrap();
    assert!(media.ice.is_none() && !media.ice_mismatch && !text.contains("ice-"));
}

fn version(text: &str) -> u64 {
    parse(text).origin.version
}

#[test]
fn the_version_grows_with_each_change_and_only_then() {
    let mut ours = ours();
    let offer = sdp("m=audio 7078 RTP/AVP 0\n");
    let (_, first) = ours.answer(&offer, &local()).unwrap();
    assert!(ours.review(&offer).unchanged);
    let (_, again) = ours.answer(&offer, &local()).unwrap();
    let (_, held) = ours.answer(&sdp("m=audio 7078 RTP/AVP 0\na=inactive\n"), &local()).unwrap();
    assert_eq!(first, again);
    assert_eq!(version(&held), version(&first) + 1);
    let id = |text: &str| parse(text).origin.session_id;
    assert_eq!(id(&first), id(&held));
}

#[test]
fn a_refused_reoffer_changes_nothing() {
    let mut ours = ours();
    let (media, _) = ours.answer(&sdp("m=audio 7078 RTP/AVP 0\n"), &local()).unwrap();
    assert_eq!(ours.answer(&sdp("m=audio 7078 RTP/AVP 18\n"), &local()).unwrap_err(), Refusal::NoCodec);
    assert_eq!(
        ours.answer(&sdp("m=audio 0 RTP/AVP 0\nm=image 9 udptl t38\n"), &local()).unwrap_err(),
        Refusal::NoAudio
    );
    assert_eq!(ours.media(), Some(&media));
}

#[test]
fn a_reoffer_that_switches_the_voice_off_is_answered_inactive() {
    let mut ours = ours();
    ours.answer(&sdp("m=audio 7078 RTP/AVP 0\n"), &local()).unwrap();
    let (media, text) = ours.answer(&sdp("m=audio 0 RTP/AVP 0\n"), &local()).unwrap();
    assert_eq!(media.direction, Direction::Inactive);
    assert!(text.contains("m=audio 0 RTP/AVP 0\r\n"));
}

#[test]
fn a_reoffer_may_change_the_codec() {
    let mut ours = ours();
    ours.answer(&sdp("m=audio 7078 RTP/AVP 0\n"), &local()).unwrap();
    let (media, _) = ours.answer(&sdp("m=audio 7078 RTP/AVP 9\n"), &local()).unwrap();
    assert_eq!(media.codec, Codec::G722);
}

#[test]
fn our_sdes_key_stays_over_reoffers_and_the_peer_s_new_one_is_taken() {
    let line = |key: &str| sdp(&format!("m=audio 7078 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\n"));
    let mut ours = ours();
    let Keying::Sdes(first) = ours.answer(&line(KEY), &local()).unwrap().0.keying else { panic!() };
    let Keying::Sdes(second) = ours.answer(&line(&"A".repeat(40)), &local()).unwrap().0.keying else { panic!() };
    assert_eq!(first.local, second.local);
    assert_ne!(first.remote, second.remote);
}

/// Both ends are ours: one offers under `keying`, the other answers.
fn exchange(keying: OfferKeying, answerer: OfferAnswer) -> (OfferAnswer, OfferAnswer, String, String) {
    let (mut offerer, mut answerer) = (with(|ours| ours.offer = keying), answerer);
    let offer = offerer.offer(&local_ice("aaaa"));
    let (_, answer) = answerer.answer(&parse(&offer), &local_ice("bbbb")).unwrap();
    offerer.on_answer(&parse(&answer)).unwrap();
    (offerer, answerer, offer, answer)
}

#[test]
fn our_offer_lists_our_codecs_and_the_answer_settles_one() {
    let (offerer, answerer, offer, _) = exchange(OfferKeying::Plain, with(|theirs| theirs.codecs = vec![Codec::Pcma]));
    assert!(offer.contains("m=audio 20000 RTP/AVP 9 0 8 13 101\r\n"), "{offer}");
    let (media, other) = (offerer.media().unwrap(), answerer.media().unwrap());
    assert_eq!((media.codec, other.codec), (Codec::Pcma, Codec::Pcma));
    assert!(media.ice.as_ref().unwrap().controlling && !other.ice.as_ref().unwrap().controlling);
    assert_eq!(media.telephone_event, Some(PayloadType { send: 101, receive: 101 }));
}

#[test]
fn both_ends_of_sdes_hold_the_same_two_keys() {
    for keying in [OfferKeying::Sdes, OfferKeying::SdesOptional] {
        let answerer = OfferAnswer::new(capabilities(), [9; 32]);
        let (offerer, answerer, offer, _) = exchange(keying, answerer);
        let profile = if keying == OfferKeying::Sdes { "RTP/SAVP" } else { "RTP/AVP" };
        assert!(offer.contains(&format!("m=audio 20000 {profile} 9")), "{offer}");
        let (Keying::Sdes(one), Keying::Sdes(other)) =
            (&offerer.media().unwrap().keying, &answerer.media().unwrap().keying)
        else {
            panic!()
        };
        assert_eq!((&one.local, &one.remote, one.suite), (&other.remote, &other.local, other.suite));
        assert_ne!(one.local, one.remote);
    }
}

#[test]
fn both_ends_of_dtls_take_opposite_roles() {
    let (offerer, answerer, ..) = exchange(OfferKeying::Dtls, ours());
    let (Keying::Dtls(one), Keying::Dtls(other)) =
        (&offerer.media().unwrap().keying, &answerer.media().unwrap().keying)
    else {
        panic!()
    };
    assert_eq!((one.role, other.role), (DtlsRole::Server, DtlsRole::Client));
}

#[test]
fn optional_sdes_may_be_answered_plain_unless_srtp_is_required() {
    let answer = sdp("m=audio 7078 RTP/AVP 0\n");
    let mut relaxed = with(|ours| ours.offer = OfferKeying::SdesOptional);
    relaxed.offer(&local());
    assert_eq!(relaxed.on_answer(&answer).unwrap().keying, Keying::Plain);
    let mut strict = with(|ours| (ours.offer, ours.security) = (OfferKeying::SdesOptional, Security::SrtpRequired));
    strict.offer(&local());
    assert_eq!(strict.on_answer(&answer), Err(Refusal::SrtpRequired));
    let mut sdes = with(|ours| ours.offer = OfferKeying::Sdes);
    sdes.offer(&local());
    assert_eq!(sdes.on_answer(&answer), Err(Refusal::NoKeying));
}

#[test]
fn an_answer_that_changes_tag_or_suite_is_no_answer() {
    let mut ours = with(|ours| ours.offer = OfferKeying::Sdes);
    ours.offer(&local());
    let answer = sdp(&format!("m=audio 7078 RTP/SAVP 0\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n"));
    assert_eq!(ours.on_answer(&answer), Err(Refusal::NoKeying));
}

#[test]
fn an_answer_may_number_the_formats_differently() {
    let mut ours = ours();
    ours.offer(&local());
    let answer = sdp("m=audio 7078 RTP/AVP 0 96\na=rtpmap:96 telephone-event/8000\n");
    let media = ours.on_answer(&answer).unwrap();
    assert_eq!(media.telephone_event, Some(PayloadType { send: 96, receive: 101 }));
    assert_eq!(media.comfort_noise, None);
}

#[test]
fn an_answer_without_audio_or_without_an_offer_is_an_error() {
    let mut ours = ours();
    assert_eq!(ours.on_answer(&sdp("m=audio 1 RTP/AVP 0\n")), Err(Refusal::NothingOffered));
    ours.offer(&local());
    assert!(ours.is_offering());
    assert_eq!(ours.on_answer(&sdp("m=video 1 RTP/AVP 0\n")), Err(Refusal::AnswerUnfit));
    assert!(!ours.is_offering());
    ours.offer(&local());
    assert_eq!(ours.on_answer(&sdp("m=audio 0 RTP/AVP 0\n")), Err(Refusal::NoAudio));
    ours.offer(&local());
    assert_eq!(ours.on_answer(&sdp("")), Err(Refusal::AnswerUnfit));
}

#[test]
fn our_reoffer_keeps_lines_numbers_codec_and_keys() {
    let mut ours = ours();
    let offer = sdp(&format!(
        "m=video 9078 RTP/AVP 96\nm=audio 7078 RTP/SAVP 8 97\na=rtpmap:97 telephone-event/8000\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}\n"
    ));
    let (media, answer) = ours.answer(&offer, &local()).unwrap();
    let Keying::Sdes(keys) = &media.keying else { panic!() };
    let held = Local { direction: Direction::SendOnly, ..local() };
    let reoffer = ours.offer(&held);
    let lines: Vec<_> = reoffer.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(lines, ["m=video 0 RTP/AVP 96", "m=audio 20000 RTP/SAVP 8 9 0 13 97"]);
    let again = parse(&reoffer);
    assert_eq!(again.media[1].crypto[0].suite, CryptoSuite::AesCm128HmacSha1_32);
    assert_eq!(again.media[1].crypto[0].key, keys.local);
    assert_eq!(again.origin.version, version(&answer) + 1);
    assert_eq!(again.media[1].direction, Some(Direction::SendOnly));
}

#[test]
fn a_number_that_the_peer_uses_otherwise_is_not_taken_for_dtmf() {
    let mut ours = ours();
    ours.answer(&sdp("m=audio 7078 RTP/AVP 0 101\na=rtpmap:101 opus/48000/2\n"), &local()).unwrap();
    let reoffer = parse(&ours.offer(&local()));
    let dtmf = reoffer.media[0].rtp_maps.iter().find(|map| map.encoding == "telephone-event").unwrap();
    assert_ne!(dtmf.payload_type, 101);
}

#[test]
fn a_failed_reoffer_goes_back_to_what_was_agreed_with_a_higher_version_next() {
    let mut ours = ours();
    let (media, answer) = ours.answer(&sdp("m=audio 7078 RTP/AVP 0\n"), &local()).unwrap();
    let failed = ours.offer(&Local { direction: Direction::Inactive, ..local() });
    ours.on_offer_failed();
    assert!(!ours.is_offering());
    assert_eq!(ours.media(), Some(&media));
    let next = ours.offer(&Local { direction: Direction::SendOnly, ..local() });
    assert!(version(&answer) < version(&failed) && version(&failed) < version(&next));
}

#[test]
fn the_peer_s_hold_answer_to_our_offer_is_heard() {
    let mut ours = ours();
    ours.offer(&local());
    let media = ours.on_answer(&sdp("m=audio 7078 RTP/AVP 0\na=inactive\n")).unwrap();
    assert_eq!(media.direction, Direction::Inactive);
    assert!(media.is_on_hold());
}

#[test]
fn a_second_answer_to_the_same_offer_replaces_the_first() {
    let mut ours = ours();
    ours.offer(&local());
    ours.on_answer(&sdp("m=audio 7078 RTP/AVP 0\n")).unwrap();
    let media = ours.on_answer(&sdp("m=audio 7090 RTP/AVP 8\n")).unwrap();
    assert_eq!((media.codec, media.remote_rtp), (Codec::Pcma, Some(address("192.0.2.1:7090"))));
    assert_eq!(ours.on_answer(&sdp("m=audio 7090 RTP/AVP 18\n")), Err(Refusal::NoCodec));
    assert_eq!(ours.media(), Some(&media));
    ours.answer(&sdp("m=audio 7078 RTP/AVP 0\n"), &local()).unwrap();
    assert_eq!(ours.on_answer(&sdp("m=audio 7090 RTP/AVP 8\n")), Err(Refusal::NothingOffered));
}

#[test]
fn what_we_write_is_read_the_same_by_a_reader_of_others() {
    let keyings = [OfferKeying::Plain, OfferKeying::SdesOptional, OfferKeying::Sdes, OfferKeying::Dtls];
    for keying in keyings {
        let (_, _, offer, answer) = exchange(keying, ours());
        for text in [offer, answer] {
            let theirs = sdp_types::Session::parse(text.as_bytes()).unwrap();
            let ours = parse(&text);
            assert_eq!(theirs.origin.sess_version, ours.origin.version);
            let (media, line) = (&theirs.medias[0], &ours.media[0]);
            assert_eq!(
                (media.port, &media.proto, &media.fmt),
                (line.port, &line.protocol.name().into(), &line.formats.join(" "))
            );
            let of = |name: &str| media.attributes.iter().filter(|one| one.attribute == name).count();
            assert_eq!((of("rtpmap"), of("crypto")), (line.rtp_maps.len(), line.crypto.len()));
            assert_eq!((of("candidate"), of("fingerprint")), (line.ice.candidates.len(), line.fingerprints.len()));
            let direction = line.direction.unwrap().name();
            assert_eq!(of(direction), 1);
        }
    }
}
