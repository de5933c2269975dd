//! Reading and writing session descriptions.

use postern_sip::limits::{ICE_CANDIDATES_MAX, SDP_BYTES_MAX, SDP_MEDIA_MAX};
use postern_sip::sdp::{ConnectionAddress, SdpError, SessionDescription};
use postern_sip::sdp_crypto::CryptoSuite;
use postern_sip::sdp_ice::{CandidateKind, CandidateTransport, IceCandidate};
use postern_sip::sdp_media::{Direction, Protocol};
use postern_sip::sdp_security::{FingerprintHash, Setup};

const KEY_30: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn parse(text: &str) -> SessionDescription {
    SessionDescription::parse(text.as_bytes()).unwrap()
}

fn audio(attributes: &str) -> SessionDescription {
    parse(&format!(
        "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 0\n{attributes}"
    ))
}

#[test]
fn a_phone_s_offer_is_read_with_all_its_formats() {
    let text = "v=0\r\no=user 3911 2011 IN IP4 192.0.2.7\r\ns=Talk\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
        a=rtcp-xr:rcvr-rtt=all:10000\r\nm=audio 7078 RTP/AVP 96 97 98 0 8 18 99 100 101\r\n\
        a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=fmtp:101 0-15\r\na=ptime:20\r\na=maxptime:40\r\na=rtcp:7090 IN IP4 192.0.2.8\r\n\
        m=video 9078 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=sendonly\r\n";
    let description = parse(text);
    assert_eq!(description.origin.version, 2011);
    assert_eq!(description.media.len(), 2);
    let media = &description.media[0];
    assert!(media.is_audio());
    assert_eq!(media.payload_types().collect::<Vec<_>>(), [96, 97, 98, 0, 8, 18, 99, 100, 101]);
    assert_eq!(media.rtp_map(96).unwrap().channels, 2);
    assert!(media.rtp_map(101).unwrap().is("Telephone-Event", 8000));
    assert!(media.rtp_map(8).unwrap().is("PCMA", 8000));
    assert_eq!(media.parameters_of(101), Some("0-15"));
    assert_eq!((media.ptime_ms, media.maxptime_ms), (Some(20), Some(40)));
    assert_eq!(media.rtcp.as_ref().unwrap().port, 7090);
    assert_eq!(description.direction_of(media), Direction::SendRecv);
    assert_eq!(description.direction_of(&description.media[1]), Direction::SendOnly);
}

#[test]
fn lines_that_a_call_does_not_need_are_skipped_however_odd() {
    let description = parse(
        "v=0\no=- 18446744073709551617 3 IN IP4 h\ns=\nb=CT:many\nt=now never\nz=?\nq=1\nnonsense\nk=prompt\n\
         c=IN IP4 192.0.2.1\nm=audio 4000/2 RTP/AVP 0 abc 8\na=rtpmap:x\na=fmtp:\na=crypto:zz\na=candidate:1\n",
    );
    assert_eq!(description.origin.session_id, "18446744073709551617");
    assert_eq!(description.media[0].port, 4000);
    assert_eq!(description.media[0].payload_types().collect::<Vec<_>>(), [0, 8]);
    assert!(description.media[0].crypto.is_empty());
}

#[test]
fn bytes_that_are_not_utf8_do_not_harm_the_rest() {
    let mut bytes = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=B\xfcro\r\nc=IN IP4 192.0.2.1\r\n".to_vec();
    bytes.extend(b"m=audio 4000 RTP/AVP 0\r\n");
    assert_eq!(SessionDescription::parse(&bytes).unwrap().media.len(), 1);
}

#[test]
fn a_description_without_version_or_with_a_broken_media_line_is_refused() {
    assert_eq!(SessionDescription::parse(b""), Err(SdpError::NoVersion));
    assert_eq!(SessionDescription::parse(b"o=- 1 1 IN IP4 h\r\n"), Err(SdpError::NoVersion));
    for line in ["m=audio", "m=audio x RTP/AVP 0", "m=audio 70000 RTP/AVP 0", "m=audio 1 RTP/AVP"] {
        assert_eq!(
            SessionDescription::parse(format!("v=0\n{line}\n").as_bytes()),
            Err(SdpError::MediaLine(2)),
            "{line}"
        );
    }
    assert_eq!(SessionDescription::parse(b"v=0\nc=IN ATM x\n"), Err(SdpError::ConnectionLine(2)));
}

#[test]
fn what_a_description_can_make_us_hold_is_bounded() {
    let long = vec![b'a'; SDP_BYTES_MAX + 1];
    assert_eq!(SessionDescription::parse(&long), Err(SdpError::TooLong(SDP_BYTES_MAX + 1)));
    let many = format!("v=0\n{}", "m=audio 1 RTP/AVP 0\n".repeat(SDP_MEDIA_MAX + 1));
    assert_eq!(SessionDescription::parse(many.as_bytes()), Err(SdpError::TooManyMedia(SDP_MEDIA_MAX + 2)));
    let candidates = "a=candidate:1 1 UDP 1 192.0.2.1 1 typ host\n".repeat(ICE_CANDIDATES_MAX + 5);
    assert_eq!(audio(&candidates).media[0].ice.candidates.len(), ICE_CANDIDATES_MAX);
    let attributes = "a=x\n".repeat(300);
    let text = format!("v=0\nm=audio 1 RTP/AVP 0\n{attributes}");
    assert!(matches!(SessionDescription::parse(text.as_bytes()), Err(SdpError::TooManyLines(_))));
}

#[test]
fn the_protocols_of_voice_are_told_apart_and_others_are_kept_as_text() {
    for (name, protocol) in [
        ("RTP/AVP", Protocol::Avp),
        ("RTP/AVPF", Protocol::Avpf),
        ("RTP/SAVP", Protocol::Savp),
        ("RTP/SAVPF", Protocol::Savpf),
        ("UDP/TLS/RTP/SAVP", Protocol::DtlsSavp),
        ("UDP/TLS/RTP/SAVPF", Protocol::DtlsSavpf),
        ("TCP/RTP/AVP", Protocol::Other("TCP/RTP/AVP".into())),
    ] {
        let description = parse(&format!("v=0\nm=audio 1 {name} 0\n"));
        assert_eq!(description.media[0].protocol, protocol);
        assert_eq!(description.media[0].protocol.name(), name);
    }
}

#[test]
fn ipv6_addresses_and_names_are_read_and_multicast_suffixes_cut_off() {
    let of = |line: &str| parse(&format!("v=0\n{line}\n")).connection.unwrap();
    assert_eq!(of("c=IN IP6 2001:db8::7"), ConnectionAddress::Ip("2001:db8::7".parse().unwrap()));
    assert_eq!(of("c=IN IP6 [2001:db8::7]"), ConnectionAddress::Ip("2001:db8::7".parse().unwrap()));
    assert_eq!(of("c=IN IP4 233.252.0.1/127/3"), ConnectionAddress::Ip("233.252.0.1".parse().unwrap()));
    assert_eq!(of("c=IN IP4 media.example.test"), ConnectionAddress::Name("media.example.test".into()));
    assert!(of("c=IN IP4 0.0.0.0").is_unspecified());
    assert!(of("c=IN IP6 ::").is_unspecified());
}

#[test]
fn crypto_lines_are_read_in_the_forms_that_peers_write() {
    let description = audio(&format!(
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\n\
         a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{KEY_30}|2^31\n\
         a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^31|1:1\n\
         a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|7:4 WSH=64\n\
         a=crypto:5 AES_256_CM_HMAC_SHA1_80 inline:{}\n\
         a=crypto:6 AEAD_AES_128_GCM inline:{}==\n\
         a=crypto:7 AEAD_AES_256_GCM inline:{}\n",
        "A".repeat(61) + "A=",
        "A".repeat(38),
        "A".repeat(59),
    ));
    let lines = &description.media[0].crypto;
    assert_eq!(lines.iter().map(|line| line.tag).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(lines[0].mki, None);
    assert_eq!(lines[1].lifetime.as_deref(), Some("2^31"));
    assert_eq!(lines[2].mki.map(|mki| (mki.value, mki.length_bytes)), Some((1, 1)));
    assert_eq!(lines[3].mki.map(|mki| (mki.value, mki.length_bytes)), Some((7, 4)));
    assert_eq!(lines[4].suite, CryptoSuite::AesCm256HmacSha1_80);
    let (key, salt) = lines[5].key.split(CryptoSuite::AeadAes128Gcm);
    assert_eq!((key.len(), salt.len()), (16, 12));
}

#[test]
fn crypto_lines_that_would_change_the_wire_in_ways_we_do_not_know_are_skipped() {
    for line in [
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30} UNENCRYPTED_SRTCP"),
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30} KDR=1"),
        format!("1 F8_128_HMAC_SHA1_80 inline:{KEY_30}"),
        format!("1 AES_CM_128_HMAC_SHA1_80 uri:{KEY_30}"),
        String::from("1 AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ="),
        String::from("1 AES_CM_128_HMAC_SHA1_80 inline:***"),
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|1:0"),
        format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}"),
    ] {
        assert!(audio(&format!("a=crypto:{line}\n")).media[0].crypto.is_empty(), "{line}");
    }
}

#[test]
fn keys_and_ice_passwords_do_not_appear_in_debug_output() {
    let description = audio(&format!(
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\na=ice-ufrag:abcd\na=ice-pwd:verysecretpassword\n"
    ));
    let shown = format!("{description:?}");
    assert!(!shown.contains(&KEY_30[..8]) && !shown.contains("verysecret"), "{shown}");
    let bytes = format!("{:?}", description.media[0].crypto[0].key.as_bytes());
    assert!(!shown.contains(&bytes[1..20]));
}

#[test]
fn fingerprints_need_a_known_hash_and_its_whole_length() {
    let digits = ["AB"; 32].join(":");
    let media = audio(&format!("a=fingerprint:SHA-256 {}\na=setup:actpass\n", digits.to_lowercase()));
    assert_eq!(media.media[0].fingerprints[0].hash, FingerprintHash::Sha256);
    assert_eq!(media.media[0].fingerprints[0].digest, [0xab; 32]);
    assert_eq!(media.media[0].setup, Some(Setup::ActPass));
    assert_eq!(media.media[0].fingerprints[0].to_string(), format!("sha-256 {digits}"));
    for bad in [
        format!("md5 {digits}"),
        format!("sha-256 {}", &digits[..92]),
        format!("sha-256 {digits}:AB"),
        "sha-1 +1".into(),
    ] {
        assert!(audio(&format!("a=fingerprint:{bad}\n")).media[0].fingerprints.is_empty(), "{bad}");
    }
}

#[test]
fn a_fingerprint_of_the_session_holds_for_media_without_one() {
    let digits = ["01"; 20].join(":");
    let text = format!(
        "v=0\na=fingerprint:sha-1 {digits}\na=setup:active\na=ice-ufrag:u123\na=ice-pwd:p\nm=audio 1 RTP/SAVP 0\n"
    );
    let description = parse(&text);
    let media = &description.media[0];
    assert_eq!(description.fingerprints_of(media).len(), 1);
    assert_eq!(description.setup_of(media), Some(Setup::Active));
    assert_eq!(description.ice_credentials_of(media), Some(("u123", "p")));
}

#[test]
fn candidates_are_read_in_the_standard_form_and_in_lync_s() {
    let candidate = |text: &str| IceCandidate::parse(text);
    let host = candidate("1 1 UDP 2130706431 192.0.2.1 4000 typ host").unwrap();
    assert_eq!((host.component, host.kind, host.transport), (1, CandidateKind::Host, CandidateTransport::Udp));
    let relay =
        candidate("r 2 udp 16777215 198.51.100.3 50001 typ relay raddr 192.0.2.1 rport 4001 generation 0").unwrap();
    assert_eq!(relay.related, Some("192.0.2.1:4001".parse().unwrap()));
    let tcp = candidate("t 1 TCP 5 2001:db8::1 9 typ host tcptype active").unwrap();
    assert_eq!(tcp.transport, CandidateTransport::TcpActive);
    let lync = candidate("5 1 TCP-PASS 6556159 198.51.100.3 443 typ relay raddr 192.0.2.1 rport 50000 ").unwrap();
    assert_eq!(lync.transport, CandidateTransport::TcpPassive);
    let hidden = candidate("1 1 UDP 5 8c0b3a24.local 4000 typ host").unwrap();
    assert_eq!(hidden.socket_address(), None);
    for bad in [
        "",
        "1 1 UDP 1 192.0.2.1 4000",
        "1 0 UDP 1 192.0.2.1 4000 typ host",
        "1 1 SCTP 1 192.0.2.1 4000 typ host",
        "1 1 UDP 1 192.0.2.1 4000 typ other",
        "Dxk2 1 WpLK UDP 0.830 192.0.2.1 4000",
    ] {
        assert_eq!(candidate(bad), None, "{bad}");
    }
}

#[test]
fn ice_attributes_of_odd_peers_are_taken() {
    let description = parse(
        "v=0\na=ice-lite\nm=audio 1 RTP/AVP 0\na=ice-ufrag:abcd\na=ice-pwd:efghijklmnopqrstuvwxyz\na=ice-options:ice2 trickle\n\
         a=x-candidate-ipv6:1 1 UDP 1 2001:db8::1 4000 typ host \na=remote-candidates:1 192.0.2.9 4000 2 192.0.2.9 4001\n\
         a=ice-mismatch\n",
    );
    assert!(description.ice.lite);
    let ice = &description.media[0].ice;
    assert_eq!(ice.options, ["ice2", "trickle"]);
    assert_eq!(ice.candidates.len(), 1);
    assert_eq!(ice.remote_candidates, [(1, "192.0.2.9:4000".parse().unwrap()), (2, "192.0.2.9:4001".parse().unwrap())]);
    assert!(ice.mismatch);
}

#[test]
fn what_is_written_reads_back_the_same() {
    let digits = ["0F"; 48].join(":");
    let text = format!(
        "v=0\r\no=- 77 3 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\nm=audio 4000 UDP/TLS/RTP/SAVP 9 0 101\r\n\
         c=IN IP4 192.0.2.1\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-15\r\na=ptime:20\r\na=maxptime:60\r\na=rtcp:4003 IN IP4 192.0.2.2\r\na=rtcp-mux\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^31|1:1\r\na=fingerprint:sha-384 {digits}\r\na=setup:actpass\r\n\
         a=ice-options:ice2\r\na=ice-ufrag:abcd\r\na=ice-pwd:efghijklmnopqrstuvwxyz\r\n\
         a=candidate:1 1 UDP 99 192.0.2.1 4000 typ srflx raddr 10.0.0.1 rport 4000\r\n\
         a=candidate:2 1 TCP 98 192.0.2.1 9 typ host tcptype active\r\na=remote-candidates:1 192.0.2.9 4000\r\na=sendonly\r\n\
         m=image 0 udptl t38\r\n"
    );
    let description = parse(&text);
    assert_eq!(description.encode(), text);
    assert_eq!(parse(&description.encode()), description);
}

#[test]
fn damaged_descriptions_are_read_or_refused_and_what_was_read_reads_back() {
    let text = format!(
        "v=0\r\no=- 77 3 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000/2 RTP/SAVP 9 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=rtcp:4003 IN IP4 192.0.2.2\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^31|1:1\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\n\
         a=candidate:1 1 UDP 99 192.0.2.1 4000 typ srflx raddr 10.0.0.1 rport 4000\r\n\
         a=remote-candidates:1 192.0.2.9 4000\r\na=sendonly\r\nm=image 0 udptl t38\r\n"
    );
    let mut state = 1_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut read = 0;
    for _ in 0..4_000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..1 + draw(6) {
            let at = draw(bytes.len());
            match draw(4) {
                0 => bytes[at] = draw(256) as u8,
                1 => bytes[at] = b"0123456789:|/ =\n"[draw(16)],
                2 => drop(bytes.drain(at..(at + draw(20)).min(bytes.len()))),
                _ => bytes.extend_from_within(at..(at + draw(20)).min(bytes.len())),
            }
        }
        if let Ok(description) = SessionDescription::parse(&bytes) {
            read += 1;
            let written = description.encode();
            let again = SessionDescription::parse(written.as_bytes()).unwrap();
            assert_eq!(again.encode(), written, "{written}");
        }
    }
    assert!(read > 2_000, "{read}");
}
